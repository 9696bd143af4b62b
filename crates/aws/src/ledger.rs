//! The ledger and the statistics in a DynamoDB table: the items that a Region's Twinlake stores.
//!
//! | `pk` | `sk` | holds: attributes beside the key |
//! |---|---|---|
//! | `meta` | `epoch` | the epoch, when a switch wrote it, the journal of the last one, and the accepted report: `body`, `version` |
//! | `meta` | `policy` | the policy document: `value` |
//! | `meta` | `operation` | the operation document: `value` |
//! | `meta` | `verified_at` | the last complete resync: its start, `value`, the hash of its `policy` and the number of its `epoch` |
//! | `meta` | `deletions` | deletions of the last hour: `body`, `version` |
//! | `meta` | `lf_tag_lease` | the lease on LF-Tags: `body`, `version` |
//! | `meta` | `paired_counts` | paired objects: `databases`, `tables`, `partitions`, `items` |
//! | `rows#catalog` | `catalog` | the row of the catalog: `body`, `version` |
//! | `rows#lakeformation` | LF SUBJECT | its row, without managed keys: `body`, `version` |
//! | `managed_keys` | LF SUBJECT | the managed keys of its row: `managed_keys` (string set), `version` |
//! | `rows#databases` | DATABASE | the row of a database: `body`, `version` |
//! | `rows#tables#DATABASE` | TABLE | the row of a table: `body`, `version` |
//! | `rows#tables#DATABASE` | U+0001 FUNCTION | the row of a function: `body`, `version` |
//! | `source_locations#BUCKET` | PREFIX U+0001 TABLE ID | a table with files there: `database`, `table` |
//! | `resync_runs` | RUN | a resync run: `started_at`, `outstanding_parts`, `has_unread_part` |
//! | `meta` | `catalog_scan` | scans of the catalog: `last_scan_at`, `next_scan_at` |
//! | `partition_scans#DATABASE` | TABLE | partition scans: `last_scan_at`, `next_scan_at` |
//! | `incidents` | ALERT KEY | an open incident: `body`, `version` |
//! | `readiness` | `latest` | the results of the scheduled checks of the readiness: `body`, `version` |
//! | `pending_objects` | TABLE ID | objects to replicate: `database`, `table`, `body`, `version` |
//! | `frozen_grants` | EPOCH-DIGEST | grants that a switchover has revoked in the primary of the epoch: `body`, `version` |
//! | `relocations` | TABLE ID | what relocations of an Iceberg table remember: `database`, `table`, `body`, `version` |
//! | `heartbeats` | CHANNEL | the newest heartbeat: `monitored_since`, `sent_at`, `done_at` |
//! | `meta` | `canaries` | the canaries that the Region sends and receives: `body` |
//! | `lag_samples` | MINUTE | `sampled_at`, `catalog_lag_secs`, `permissions_lag_secs`, `storage_lag_secs` |
//! | `reserved_calls#REGION` | SECOND | calls to the Region, below its ceiling: `second`, `calls` |
//! | `query_rows` | SITE/KIND/WORKGROUP/ID | the row of an object of the query tools: `body`, `version` |
//! | `query` | `deletions`, `resync` | deletions of query tools of the last hour; their last resync: `body`, `version` |
//! | `hourly_counters` | HOUR | the counters of the hour, each an attribute of its name |
//!
//! LF SUBJECT is `lf-tags`, `lf-tag-expressions`, `data-locations`, `permissions` or `settings`.
//! TABLE ID is DATABASE U+0001 TABLE, or U+0001 and a digest of both if that is longer than a sort
//! key may be. No name in Glue contains U+0001 (F-8), while it may contain dots and `#`; where a
//! partition key ends in a name, nothing follows it. So different objects have different keys. A
//! key is not parsed: the attributes `database` and `table` name the table.
//!
//! SECOND and MINUTE are seconds and minutes since the Unix epoch, HOUR the text of an hour; all sort by time. `body` is
//! JSON. Source locations are those of the primary's tables. Partition scans are those that events
//! requested. Managed keys have an item of their own, since they may be many. It may exist before the row: items that are
//! about to be created are recorded there first. It is never deleted.
//!
//! Every item has `format`, the version of its layout; an item of a higher one is refused.
//!
//! Times are milliseconds since the Unix epoch. `version` grows by one with each write; a write is conditional on the
//! version that was read. It starts at 0 under `meta`, where nothing is deleted; at the time since when a row has its
//! state; and at a random number elsewhere: what is deleted and made again gets no version that it had before.
//!
//! The table's TTL attribute is `expires_at`, in seconds. Retention: 1 hour for `reserved_calls`, 1 day for
//! `catalog_scan` and `partition_scans`, 7 days for `resync_runs` and `lag_samples`, 14 days without a new finding for
//! `incidents`, 90 days for `hourly_counters`. Other items do not expire; those of `pending_objects` are deleted when
//! the objects have arrived or are dismissed.
//!
//! A row that is not in sync also has `not_in_sync_state` (S): its state, and the partition key of
//! the sparse index `not-in-sync`, which finds such rows without reading the others.

mod documents;
mod incidents;
mod items;
mod rows;
mod stats;

use incidents::parse_incident;
use items::{
    EXPIRES_AT, FORMAT, Item, condition_held, has_lf_subject_key, is_managed_keys_item, item_keys,
    number_attribute, number_value, parse_managed_keys, parse_object_counts, parse_run, row_key,
    scan_key, string_attribute, string_value,
};
use stats::{DATABASE_ATTRIBUTE, TABLE_ATTRIBUTE, location_key};

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use twinlake_core::failover::EpochRecord;
use twinlake_core::ledger::{
    DeletionLog, LedgerRows, LfTagLease, ObjectCounts, ResyncRun, ScanSchedule, ScanTarget,
    VerifiedRun, format,
};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, Incident, LedgerRow, LfSubject, Name, Subject, Timestamp};
use twinlake_engine::Ledger;
use twinlake_engine::ports::ConditionalWrites;

/// The ledger table of one Region.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    region: String,
    table: String,
    client: Client,
}

/// Subjects per `BatchGetItem` call: DynamoDB takes 100 keys, and a subject has up to two.
const MAX_SUBJECTS_PER_READ: usize = 50;
const DAY_SECS: i64 = 86_400;
/// The longest pause after the first conflict of a conditional write; it doubles with each further
/// one up to the maximum.
const FIRST_PAUSE_MILLIS: u64 = 20;
const MAX_PAUSE_MILLIS: u64 = 1000;

impl DynamoLedger {
    /// The ledger of a Region, by its table's name.
    #[must_use]
    pub fn new(clients: &Clients, table: &str) -> Self {
        Self {
            region: clients.region().to_owned(),
            table: table.to_owned(),
            client: clients.dynamodb(),
        }
    }

    /// The ledger of the other Region, of which each call ends after `limit`: a Region that does not answer
    /// must not hold up this one.
    #[must_use]
    pub fn of_peer(clients: &Clients, table: &str, limit: Duration) -> Self {
        Self {
            client: clients.dynamodb_within(limit),
            ..Self::new(clients, table)
        }
    }
}

impl ConditionalWrites for DynamoLedger {
    async fn wait_after_conflict(&self, attempt: u32) {
        let longest = (FIRST_PAUSE_MILLIS << attempt.min(16)).min(MAX_PAUSE_MILLIS);
        let pause = fastrand::u64(0..=longest);
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
    }
}

impl Ledger for DynamoLedger {
    async fn epoch(&self) -> Result<Epoch, CallError> {
        let Some(item) = self.get_item("meta", "epoch").await? else {
            return Ok(Epoch::INITIAL);
        };
        let body = string_attribute(&item, "body");
        body.and_then(|body| serde_json::from_str(body).ok())
            .ok_or_else(|| self.unreadable_error("epoch", &item))
    }

    async fn epoch_record(&self) -> Result<Option<(EpochRecord, u64)>, CallError> {
        self.versioned_meta("epoch").await
    }

    async fn put_epoch_record(
        &self,
        record: &EpochRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.put_versioned_meta("epoch", record, expected_version)
            .await
    }

    async fn policy(&self) -> Result<Option<String>, CallError> {
        let item = self.get_item("meta", "policy").await?;
        Ok(item.and_then(|item| string_attribute(&item, "value").map(str::to_owned)))
    }

    async fn put_policy(&self, policy: &str) -> Result<(), CallError> {
        self.put_item("meta", "policy", &[("value", string_value(policy))])
            .await?;
        self.forget_verified_policy().await
    }

    async fn operation_document(&self) -> Result<Option<String>, CallError> {
        let item = self.get_item("meta", "operation").await?;
        Ok(item.and_then(|item| string_attribute(&item, "value").map(str::to_owned)))
    }

    async fn put_operation_document(&self, operation: &str) -> Result<(), CallError> {
        let fields = [("value", string_value(operation))];
        self.put_item("meta", "operation", &fields).await
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<LedgerRows, CallError> {
        const CALL: &str = "BatchGetItem";
        let mut items: Vec<Item> = Vec::new();
        let all: Vec<&Subject> = subjects.iter().collect();
        for batch in all.chunks(MAX_SUBJECTS_PER_READ) {
            let keys = batch.iter().flat_map(|subject| item_keys(subject));
            let keys = keys.map(|(pk, sk)| {
                [
                    ("pk".to_owned(), string_value(&pk)),
                    ("sk".to_owned(), string_value(&sk)),
                ]
                .into_iter()
                .collect()
            });
            let mut keys: Vec<_> = keys.collect();
            let mut tries = 0;
            while !keys.is_empty() {
                tries += 1;
                let request = KeysAndAttributes::builder()
                    .set_keys(Some(keys))
                    .consistent_read(true)
                    .build()
                    .map_err(self.build_error(CALL))?;
                let call = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, request);
                let response = call.send().await;
                let response =
                    response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
                let mut found = response.responses.unwrap_or_default();
                let found = found.remove(&self.table).unwrap_or_default();
                for item in found {
                    items.push(self.with_readable_format(item.into_iter().collect())?);
                }
                let mut unprocessed = response.unprocessed_keys.unwrap_or_default();
                keys = unprocessed
                    .remove(&self.table)
                    .map(|unprocessed| unprocessed.keys)
                    .unwrap_or_default();
                self.wait_unless_done(CALL, tries, keys.is_empty()).await?;
            }
        }
        let (managed_keys, items): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(is_managed_keys_item);
        let mut rows = self.parse_rows(&items)?;
        for item in &managed_keys {
            let mut lf_subjects = LfSubject::EVERY.into_iter();
            let Some(lf_subject) =
                lf_subjects.find(|lf_subject| has_lf_subject_key(item, *lf_subject))
            else {
                continue;
            };
            // What was about to be created is recorded before the subject has a row.
            let row = rows.entry(Subject::LakeFormation(lf_subject));
            let row =
                row.or_insert_with(|| LedgerRow::of_managed_keys(lf_subject, BTreeSet::new()));
            row.managed_keys = parse_managed_keys(item);
            let version = number_attribute(item, "version");
            row.managed_keys_version = version.and_then(|version| u64::try_from(version).ok());
        }
        Ok(rows)
    }

    async fn put_managed_keys(
        &self,
        lf_subject: LfSubject,
        keys: &BTreeSet<String>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.put_managed_key_item(lf_subject, keys, expected_version)
            .await
    }

    async fn database_rows(&self) -> Result<LedgerRows, CallError> {
        self.parse_rows(&self.query("rows#databases", None).await?)
    }

    async fn rows_in_database(&self, database: &Name) -> Result<LedgerRows, CallError> {
        let own = BTreeSet::from([Subject::Database(database.clone())]);
        let mut rows = self.rows(&own).await?;
        let tables = self.query(&format!("rows#tables#{database}"), None).await?;
        rows.extend(self.parse_rows(&tables)?);
        Ok(rows)
    }

    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        const CALL: &str = "BatchWriteItem";
        let locations = rows.iter().filter_map(location_key).map(|(pk, sk, table)| {
            let put = PutRequest::builder()
                .item("pk", string_value(&pk))
                .item("sk", string_value(&sk))
                .item(DATABASE_ATTRIBUTE, string_value(table.database.as_str()))
                .item(TABLE_ATTRIBUTE, string_value(table.table.as_str()))
                .item(FORMAT, number_value(format::LEDGER))
                .build()
                .map_err(self.build_error(CALL))?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        // A location is written whole and only names its table, so nothing can be lost in a batch.
        self.batch_write(locations.collect::<Result<_, CallError>>()?)
            .await?;
        self.write_rows(rows, |row| self.put_row(row)).await
    }

    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        self.write_rows(rows, |row| async move {
            let (pk, sk) = row_key(&row.subject);
            self.delete_if_version(&pk, &sk, row.version).await
        })
        .await
    }

    async fn paired_counts(&self) -> Result<ObjectCounts, CallError> {
        let item = self
            .get_item("meta", "paired_counts")
            .await?
            .unwrap_or_default();
        Ok(parse_object_counts(&item))
    }

    async fn put_paired_counts(&self, counts: &ObjectCounts) -> Result<(), CallError> {
        let fields = [
            ("databases", number_value(counts.databases)),
            ("tables", number_value(counts.tables)),
            ("partitions", number_value(counts.partitions)),
            ("items", number_value(counts.items)),
        ];
        self.put_item("meta", "paired_counts", &fields).await
    }

    async fn lf_tag_lease(&self) -> Result<Option<(LfTagLease, u64)>, CallError> {
        self.versioned_meta("lf_tag_lease").await
    }

    async fn put_lf_tag_lease(
        &self,
        lease: &LfTagLease,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.put_versioned_meta("lf_tag_lease", lease, expected_version)
            .await
    }

    // Without a record that cannot be read, the limit would allow more deletions: that is an error.
    async fn deletion_log(&self) -> Result<Option<(DeletionLog, u64)>, CallError> {
        self.versioned_meta("deletions").await
    }

    async fn put_deletion_log(
        &self,
        log: &DeletionLog,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.put_versioned_meta("deletions", log, expected_version)
            .await
    }

    async fn begin_resync_run(&self, run: &ResyncRun) -> Result<(), CallError> {
        let parts: Vec<String> = run.outstanding_parts.iter().cloned().collect();
        let fields = [
            ("started_at", number_value(run.started_at.millis())),
            ("outstanding_parts", AttributeValue::Ss(parts)),
            ("has_unread_part", AttributeValue::Bool(run.has_unread_part)),
            (
                EXPIRES_AT,
                number_value(run.started_at.plus_secs(7 * DAY_SECS).secs()),
            ),
        ];
        self.put_item("resync_runs", &run.id, &fields).await
    }

    async fn add_run_part(&self, run: &str, part: &str) -> Result<(), CallError> {
        self.update_run(run, "ADD #p :part", part, None)
            .await
            .map(drop)
    }

    async fn end_run_part(
        &self,
        run: &str,
        part: &str,
        unread: bool,
    ) -> Result<Option<ResyncRun>, CallError> {
        let update_expression = match unread {
            true => "DELETE #p :part SET #u = :unread",
            false => "DELETE #p :part",
        };
        let unread = unread.then_some(AttributeValue::Bool(true));
        let item = self
            .update_run(run, update_expression, part, unread)
            .await?;
        Ok(item.map(|item| parse_run(run, &item)))
    }

    async fn verified_run(&self) -> Result<Option<VerifiedRun>, CallError> {
        let Some(item) = self.get_item("meta", "verified_at").await? else {
            return Ok(None);
        };
        let millis = number_attribute(&item, "value");
        let millis = millis.ok_or_else(|| self.unreadable_error("time of a resync", &item))?;
        Ok(Some(VerifiedRun {
            started_at: Timestamp::from_millis(millis),
            policy_digest: string_attribute(&item, "policy")
                .unwrap_or_default()
                .to_owned(),
            epoch: number_attribute(&item, "epoch")
                .and_then(|epoch| u64::try_from(epoch).ok())
                .unwrap_or_default(),
        }))
    }

    async fn forget_verified_policy(&self) -> Result<(), CallError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", string_value("meta"))
            .key("sk", string_value("verified_at"))
            .update_expression("REMOVE #p")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#p", "policy");
        condition_held("UpdateItem", call.send(), &self.region)
            .await
            .map(drop)
    }

    async fn put_verified_run(&self, run: &VerifiedRun, now: Timestamp) -> Result<(), CallError> {
        let at = run.started_at;
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", string_value("meta"))
            .item("sk", string_value("verified_at"))
            .item(FORMAT, number_value(format::LEDGER))
            .item("value", number_value(at.millis()))
            .item("policy", string_value(&run.policy_digest))
            .item("epoch", AttributeValue::N(run.epoch.to_string()))
            .condition_expression("attribute_not_exists(pk) OR #v < :at OR #v > :now")
            .expression_attribute_names("#v", "value")
            .expression_attribute_values(":at", number_value(at.millis()))
            .expression_attribute_values(":now", number_value(now.millis()));
        condition_held("PutItem", call.send(), &self.region)
            .await
            .map(drop)
    }

    async fn scan_schedule(&self, target: &ScanTarget) -> Result<ScanSchedule, CallError> {
        let (pk, sk) = scan_key(target);
        let item = self.get_item(&pk, &sk).await?.unwrap_or_default();
        let at = |name: &str| number_attribute(&item, name).map(Timestamp::from_millis);
        Ok(ScanSchedule {
            last_scan_at: at("last_scan_at"),
            next_scan_at: at("next_scan_at"),
        })
    }

    async fn put_scan_schedule(
        &self,
        target: &ScanTarget,
        current: ScanSchedule,
        updated: ScanSchedule,
    ) -> Result<bool, CallError> {
        self.put_scan_item(scan_key(target), &current, &updated)
            .await
    }

    async fn incident(&self, key: &str) -> Result<Option<(Incident, u64)>, CallError> {
        let item = self.get_item("incidents", key).await?;
        Ok(item.as_ref().and_then(parse_incident))
    }

    async fn incidents(&self) -> Result<BTreeMap<String, (Incident, u64)>, CallError> {
        let mut all = BTreeMap::new();
        for item in self.query("incidents", None).await? {
            let key = string_attribute(&item, "sk").unwrap_or_default();
            all.extend(parse_incident(&item).map(|incident| (key.to_owned(), incident)));
        }
        Ok(all)
    }

    async fn unreadable_incidents(&self) -> Result<BTreeMap<String, String>, CallError> {
        let items = self.query("incidents", None).await?;
        let unreadable = items.iter().filter(|item| parse_incident(item).is_none());
        let commands = unreadable.map(|item| {
            let key = string_attribute(item, "sk").unwrap_or_default();
            (key.to_owned(), self.deletion_command("incidents", key))
        });
        Ok(commands.collect())
    }

    async fn put_incident(
        &self,
        key: &str,
        incident: Option<&Incident>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match incident {
            Some(incident) => {
                self.put_incident_item(key, incident, expected_version)
                    .await
            }
            None => self.delete_incident_item(key, expected_version).await,
        }
    }
}
