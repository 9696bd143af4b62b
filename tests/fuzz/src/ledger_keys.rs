//! Fuzzes the keys of the ledger's items: different objects, with any names that AWS admits, have
//! different keys, of a length that DynamoDB takes.
#![no_main]

mod local_dynamodb;

use libfuzzer_sys::fuzz_target;
use local_dynamodb::with_items;
use serde_json::Value;
use std::collections::BTreeSet;
use twinlake_core::ledger::{PendingObjects, ScanSchedule, ScanTarget};
use twinlake_core::{FunctionId, LedgerRow, Name, Subject, SubjectState, TableId, Timestamp};
use twinlake_engine::{Ledger, StatsStore};

fuzz_target!(|texts: (&str, &str, &str, &str, &str)| {
    let [Ok(a), Ok(b), Ok(c), Ok(d)] = [texts.0, texts.1, texts.2, texts.3].map(Name::new) else {
        return;
    };
    let mut tables = BTreeSet::new();
    for (database, table) in [(&a, &b), (&c, &d), (&a, &d), (&b, &a)] {
        tables.insert(TableId::new(database.clone(), table.clone()));
    }
    let mut subjects: BTreeSet<Subject> = tables.iter().cloned().map(Subject::Table).collect();
    subjects.extend(
        tables
            .iter()
            .map(|id| Subject::Function(FunctionId::new(id.database.clone(), id.table.clone()))),
    );
    subjects.extend([a, b, c, d].map(Subject::Database));
    let location = format!("s3://lake/{}", texts.4);
    check_rows(&subjects, &location);
    check_tables(&tables);
});

/// The rows of the subjects and the items of their locations have different keys.
fn check_rows(subjects: &BTreeSet<Subject>, location: &str) {
    let rows: Vec<LedgerRow> = subjects
        .iter()
        .map(|subject| LedgerRow {
            source_location: Some(location.to_owned()),
            ..LedgerRow::new(subject.clone(), SubjectState::OutOfSync, Timestamp::from_millis(0))
        })
        .collect();
    let (written, requests) = with_items(Vec::new(), async |ledger| ledger.put_rows(&rows).await);
    written.expect("the rows are written");
    let puts = requests
        .iter()
        .flat_map(|request| list(&request["RequestItems"]["ledger"]));
    // Locations are written in batches, and rows one by one on the condition of their version.
    let in_batches = puts.map(|put| &put["PutRequest"]["Item"]);
    let alone = requests.iter().filter_map(|request| request.get("Item"));
    let items: Vec<&Value> = in_batches.chain(alone).collect();
    let of_rows = items.iter().filter(|item| item.get("body").is_some());
    assert_eq!(of_rows.count(), subjects.len());
    check_different(&items);
}

/// The partition scans and the pending objects of the tables have different keys.
fn check_tables(tables: &BTreeSet<TableId>) {
    let pending = PendingObjects::default();
    let (written, requests) = with_items(Vec::new(), async |ledger| {
        for table in tables {
            let target = ScanTarget::Partitions(table.clone());
            let (_, updated) = ScanSchedule::default().request(Timestamp::from_millis(0), 300);
            let before = ScanSchedule::default();
            ledger.put_scan_schedule(&target, before, updated).await?;
            ledger
                .put_pending_objects(table, Some(&pending), None)
                .await?;
        }
        Ok::<_, twinlake_core::CallError>(())
    });
    written.expect("the items are written");
    let items = requests.iter().filter_map(|request| request.get("Item"));
    let items: Vec<&Value> = items.collect();
    assert_eq!(items.len(), 2 * tables.len());
    check_different(&items);
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn check_different(items: &[&Value]) {
    let mut keys = BTreeSet::new();
    for item in items {
        let part = |name: &str| {
            item[name]["S"]
                .as_str()
                .expect("a key is a text")
                .to_owned()
        };
        let (pk, sk) = (part("pk"), part("sk"));
        assert!((1..=2048).contains(&pk.len()), "{}", pk.len());
        assert!((1..=1024).contains(&sk.len()), "{}", sk.len());
        assert!(keys.insert((pk, sk)), "{keys:?}");
    }
}
