//! Fuzzes the reads of every kind of item that the ledger stores: an item with any attributes is
//! read, or refused with an error, and what was read is written again and read as the same.
#![no_main]

mod local_dynamodb;

use libfuzzer_sys::fuzz_target;
use local_dynamodb::with_items;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_aws::DynamoLedger;
use twinlake_core::ledger::{
    ExpectedReplica, Intent, LedgerRows, MissingObjects, Pairing, PendingObjects, ScanTarget,
};
use twinlake_core::topology::{BySite, Epoch};
use twinlake_core::{
    Alert, AlertKind, Channel, FunctionId, Incident, LedgerRow, LfSubject, Name, Subject,
    SubjectState, TableId, Timestamp,
};
use twinlake_engine::{Ledger, StatsStore};

/// An attribute: its name, its type, a number and a text, of which the type uses what it needs.
type Attribute<'a> = (u8, u8, i64, &'a str);

const ATTRIBUTES: [&str; 24] = [
    "pk",
    "sk",
    "body",
    "body",
    "value",
    "version",
    "format",
    "managed_keys",
    "databases",
    "tables",
    "partitions",
    "started_at",
    "outstanding_parts",
    "has_unread_part",
    "last_scan_at",
    "next_scan_at",
    "monitored_since",
    "sent_at",
    "done_at",
    "sampled_at",
    "catalog_lag_secs",
    "permissions_lag_secs",
    "database",
    "table",
];

fuzz_target!(|input: (u8, i64, Vec<Vec<Attribute<'_>>>)| {
    let (call, now, items) = input;
    let items: Vec<Value> = items.iter().take(4).map(|item| to_item(item)).collect();
    // Reads that fail are fine; a panic is not.
    let _ = with_items(items, async |ledger| {
        read(ledger, call, Timestamp::from_millis(now)).await
    });
});

fn to_item(attributes: &[Attribute<'_>]) -> Value {
    let mut item = json!({ "pk": { "S": "incidents" }, "sk": { "S": "key" } });
    for (name, kind, number, text) in attributes.iter().take(12) {
        let name = match ATTRIBUTES.get(usize::from(*name % 32)) {
            Some(name) => name,
            None => *text,
        };
        item[name] = match kind % 10 {
            0 => json!({ "S": text }),
            1 => json!({ "N": number.to_string() }),
            2 => json!({ "N": text }),
            3 => json!({ "SS": [text] }),
            4 => json!({ "BOOL": number % 2 == 0 }),
            5 => json!({ "L": [{ "N": text }, { "M": { *text: { "NULL": true } } }] }),
            6 => json!({ "S": body(*number).to_string() }),
            7 => json!({ "N": i64::MAX.to_string() }),
            // A body of which one value is another one.
            _ => {
                let mut body = body(*number);
                let chosen = usize::try_from(number.unsigned_abs() / 8).unwrap_or_default();
                let count = count_values(&body);
                let other = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
                replace(&mut body, &mut (chosen % count), other);
                json!({ "S": body.to_string() })
            }
        };
    }
    item
}

/// Bodies of the kinds of items that have one.
fn body(kind: i64) -> Value {
    let name = |text| Name::from_service(text);
    let table = TableId::new(name("db"), name("t.x"));
    let body = match kind.rem_euclid(8) {
        0 => serde_json::to_value(Epoch::INITIAL),
        1 => serde_json::to_value(row(Subject::Table(table))),
        2 => serde_json::to_value(row(Subject::Database(name("db")))),
        3 => serde_json::to_value(row(Subject::Function(FunctionId::new(
            name("db"),
            name("f"),
        )))),
        4 => serde_json::to_value(row(Subject::LakeFormation(LfSubject::LfTags))),
        5 => serde_json::to_value(row(Subject::Catalog)),
        6 => serde_json::to_value(incident()),
        _ => serde_json::to_value(pending_objects()),
    };
    body.expect("the bodies are JSON")
}

fn row(subject: Subject) -> LedgerRow {
    let created = Some(Timestamp::from_millis(1_500));
    let digest = Some("0123".to_owned());
    let row = LedgerRow {
        pairing: Some(Pairing {
            created: BySite {
                a: created,
                b: None,
            },
            digest: BySite {
                a: None,
                b: digest,
            },
            link: true,
        }),
        intents: BTreeSet::from([Intent {
            at: Timestamp::from_millis(1_500),
            run: u64::MAX,
            digest: "0123".to_owned(),
        }]),
        reason: Some("held".to_owned()),
        listed_at: created,
        verified_at: created,
        table_default: Some(Vec::new()),
        source_location: Some("s3://lake/db/t/".to_owned()),
        partitions: 3,
        ..LedgerRow::new(subject, SubjectState::Blocked, Timestamp::from_millis(1_500))
    };
    row.with_history_of(None)
}

fn incident() -> Incident {
    let mut incident: Incident = serde_json::from_value(json!({
        "alert": alert(),
        "messages_sent": 1,
        "last_sent": 1.5,
        "claimed_at": null,
        "unreported": 2,
        "overflowed": false,
    }))
    .expect("the incident is valid");
    incident
        .last_found
        .insert("table db.t".to_owned(), Timestamp::from_millis(5));
    incident
}

fn alert() -> Alert {
    let sentences = ["what", "state", "action"].map(str::to_owned);
    Alert::new(
        AlertKind::ExcessAccess,
        "us-east-1",
        "db",
        sentences,
        Timestamp::from_millis(1_500),
    )
}

fn pending_objects() -> PendingObjects {
    let missing = MissingObjects {
        count: 2,
        samples: vec![ExpectedReplica {
            bucket: "lake".to_owned(),
            key: "db/t/x".to_owned(),
            version: None,
            created_at: Timestamp::from_millis(1_500),
        }],
    };
    PendingObjects {
        since: Timestamp::from_millis(1_500),
        reasons: [("denied".to_owned(), missing)].into(),
        looked_at: Some(Timestamp::from_millis(2_500)),
    }
}

fn count_values(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count_values).sum(),
        Value::Object(fields) => fields.values().map(count_values).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Replaces the value with a number, in the order of the JSON text. Returns whether it was found.
fn replace(value: &mut Value, number: &mut usize, other: Value) -> bool {
    if *number == 0 {
        *value = other;
        return true;
    }
    *number -= 1;
    match value {
        Value::Array(values) => values
            .iter_mut()
            .any(|value| replace(value, number, other.clone())),
        Value::Object(fields) => fields
            .values_mut()
            .any(|value| replace(value, number, other.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Makes one of the ledger's reads, and writes what it returned.
async fn read(ledger: &DynamoLedger, call: u8, now: Timestamp) -> Option<()> {
    let name = Name::from_service("db");
    let table = TableId::new(name.clone(), Name::from_service("t.x"));
    match call % 21 {
        0 => drop(ledger.epoch().await.ok()?),
        1 => ledger
            .put_policy(&ledger.policy().await.ok()??)
            .await
            .ok()?,
        2 => ledger
            .put_operation_document(&ledger.operation_document().await.ok()??)
            .await
            .ok()?,
        3 => {
            let subjects = [Subject::Catalog, Subject::LakeFormation(LfSubject::LfTags)];
            write_rows(ledger, &ledger.rows(&subjects.into()).await.ok()?).await;
        }
        4 => write_rows(ledger, &ledger.database_rows().await.ok()?).await,
        5 => write_rows(ledger, &ledger.rows_in_database(&name).await.ok()?).await,
        6 => ledger
            .put_paired_counts(&ledger.paired_counts().await.ok()?)
            .await
            .ok()?,
        7 => {
            let (log, version) = ledger.deletion_log().await.ok()??;
            let counts = log.last_hour(now);
            let log = log.with(now, counts);
            ledger.put_deletion_log(&log, Some(version)).await.ok()?;
        }
        8 => {
            let run = ledger.end_run_part("run", "part", true).await.ok()??;
            ledger.begin_resync_run(&run).await.ok()?;
        }
        9 => ledger
            .put_verified_run(&ledger.verified_run().await.ok()??, Timestamp::from_millis(0))
            .await
            .ok()?,
        10 => {
            let target = ScanTarget::Partitions(table);
            let current = ledger.scan_schedule(&target).await.ok()?;
            let (_, updated) = current.request(now, target.interval_secs());
            let written = ledger.put_scan_schedule(&target, current, updated).await;
            let _was_written: bool = written.ok()?;
        }
        11 => {
            let (incident, version) = ledger.incident("key").await.ok()??;
            let written = ledger
                .put_incident("key", Some(&incident), Some(version))
                .await;
            let _was_written: bool = written.ok()?;
        }
        12 => drop(ledger.incidents().await.ok()?),
        13 => {
            let health = ledger.channel_health(Channel::Catalog, now).await.ok()?;
            let heartbeat = health.last?;
            ledger
                .record_heartbeat(Channel::Catalog, heartbeat)
                .await
                .ok()?;
        }
        14 => {
            for sample in ledger.lag_samples(now).await.ok()? {
                ledger.put_lag_sample(&sample).await.ok()?;
            }
        }
        15 => write_rows(ledger, &ledger.rows_not_in_sync().await.ok()?).await,
        16 => {
            let counters = ledger.counters_since(now).await.ok()?;
            ledger.add_counters(now, &counters).await.ok()?;
        }
        17 => drop(ledger.all_pending_objects().await.ok()?),
        18 => {
            let (pending, version) = ledger.pending_objects(&table).await.ok()??;
            let written = ledger
                .put_pending_objects(&table, Some(&pending), Some(version))
                .await;
            let _was_written: bool = written.ok()?;
        }
        19 => {
            let canaries = ledger.canaries().await.ok()??;
            ledger.put_canaries(&canaries).await.ok()?;
        }
        _ => drop(ledger.tables_at_location("lake", "db/t").await.ok()?),
    }
    Some(())
}

/// Writes rows that were read. The JSON of each is read as the row of the same subject, with the
/// same state and pairing; a time that a JSON number does not hold exactly may differ.
async fn write_rows(ledger: &DynamoLedger, rows: &LedgerRows) {
    for row in rows.values() {
        let json = serde_json::to_string(row).expect("a row is JSON");
        let read: LedgerRow = serde_json::from_str(&json).expect("the JSON is a row's");
        assert_eq!((&read.subject, read.state), (&row.subject, row.state));
        let digests = |row: &LedgerRow| row.pairing.as_ref().map(|pairing| pairing.digest.clone());
        assert_eq!(digests(&read), digests(row));
        assert_eq!(read.managed_keys, row.managed_keys);
    }
    let rows: Vec<LedgerRow> = rows.values().cloned().collect();
    let subjects: BTreeSet<&Subject> = rows.iter().map(|row| &row.subject).collect();
    assert_eq!(subjects.len(), rows.len());
    let _ = ledger.put_rows(&rows).await;
}
