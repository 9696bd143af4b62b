//! Statistics in the ledger's table: heartbeats, lag samples, counters, pending objects and states.

use super::items::{
    EXPIRES_AT, FORMAT, Item, attribute_names, condition_held, minute_key, number_attribute,
    number_value, string_attribute, string_value,
};
use super::{DAY_SECS, DynamoLedger};
use crate::call_error;
use crate::call_limits::SharedCeiling;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use twinlake_core::canary::CanaryState;
use twinlake_core::catalog::digest;
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat, LagSample};
use twinlake_core::ledger::format;
use twinlake_core::ledger::{LedgerRows, PendingObjects};
use twinlake_core::location::Location;
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::{CallError, LedgerRow, Name, SubjectState, TableId, Timestamp};
use twinlake_engine::StatsStore;
use twinlake_engine::ports::StatCounters;

/// The index of the rows that are not in sync.
const NOT_IN_SYNC_INDEX: &str = "not-in-sync";
/// Retention of hourly counters.
const RETENTION_SECS: i64 = 90 * DAY_SECS;
const RESERVED_CALLS_RETENTION_SECS: i64 = 3600;
const LAG_SAMPLE_RETENTION_SECS: i64 = 7 * DAY_SECS;
/// Length of a sort key (DynamoDB's limit).
const MAX_SORT_KEY_BYTES: usize = 1024;
/// Separates the parts of a sort key. No name in Glue contains it (F-8); an S3 key may.
const SEPARATOR: char = '\u{1}';
/// The attributes that name the table of an item.
pub(super) const DATABASE_ATTRIBUTE: &str = "database";
pub(super) const TABLE_ATTRIBUTE: &str = "table";

/// The index key of a row; `None` if it is in sync.
pub(super) fn not_in_sync_state(row: &LedgerRow) -> Option<String> {
    (row.state != SubjectState::InSync).then(|| row.state.to_string())
}

/// The key of the item that maps the location of a table's files to the table, and the table.
pub(super) fn location_key(row: &LedgerRow) -> Option<(String, String, &TableId)> {
    let twinlake_core::Subject::Table(id) = &row.subject else {
        return None;
    };
    let location = Location::parse(row.source_location.as_deref()?).ok()?;
    let key = format!("{}{SEPARATOR}{}", location.prefix(), table_key(id));
    // A location that is too long for a key has no item: its objects are reported by bucket.
    (key.len() <= MAX_SORT_KEY_BYTES)
        .then(|| (format!("source_locations#{}", location.bucket()), key, id))
}

/// The sort key of a table among those of all databases.
fn table_key(id: &TableId) -> String {
    let (database, table) = (id.database.as_str(), id.table.as_str());
    let key = format!("{database}{SEPARATOR}{table}");
    match key.len() <= MAX_SORT_KEY_BYTES {
        true => key,
        // No database is called "", so the key is none of the first form.
        false => format!("{SEPARATOR}{}", digest(&(database, table))),
    }
}

/// The table that an item is about.
fn table_of(item: &Item) -> Option<TableId> {
    let name = |attribute| string_attribute(item, attribute).map(Name::from_service);
    Some(TableId::new(
        name(DATABASE_ATTRIBUTE)?,
        name(TABLE_ATTRIBUTE)?,
    ))
}

fn parse_heartbeat(item: &Item) -> Option<Heartbeat> {
    let at = |name: &str| number_attribute(item, name).map(Timestamp::from_millis);
    let (sent, done) = at("sent_at").zip(at("done_at"))?;
    Some(Heartbeat { sent, done })
}

impl DynamoLedger {
    fn update_item(&self, pk: &str, sk: &str) -> UpdateItemFluentBuilder {
        let call = self.client.update_item().table_name(&self.table);
        call.key("pk", string_value(pk)).key("sk", string_value(sk))
    }

    /// A query for the rows in one of the states other than in sync.
    fn query_by_state(&self, state: SubjectState) -> QueryFluentBuilder {
        let call = self.client.query().table_name(&self.table);
        call.index_name(NOT_IN_SYNC_INDEX)
            .key_condition_expression("#s = :s")
            .expression_attribute_names("#s", "not_in_sync_state")
            .expression_attribute_values(":s", string_value(&state.to_string()))
    }
}

/// The partition of what relocations of Iceberg tables remember.
const RELOCATIONS: &str = "relocations";

/// The attributes of the pending objects of a table. They do not expire: the item ends when the objects
/// have arrived or are dismissed.
fn pending_objects_fields(
    table: &TableId,
    pending: &PendingObjects,
) -> [(&'static str, AttributeValue); 3] {
    let body = serde_json::to_string(pending).unwrap_or_default();
    [
        (DATABASE_ATTRIBUTE, string_value(table.database.as_str())),
        (TABLE_ATTRIBUTE, string_value(table.table.as_str())),
        ("body", string_value(&body)),
    ]
}

/// The pending objects of a table and their version.
fn parse_pending_objects(item: &Item) -> Option<(PendingObjects, u64)> {
    let pending = serde_json::from_str(string_attribute(item, "body")?).ok()?;
    let version = u64::try_from(number_attribute(item, "version")?).ok()?;
    Some((pending, version))
}

/// The key of the results of the scheduled checks. Their partition is their own, so that the role of the
/// function that writes them can be kept from all others.
const READINESS_KEY: (&str, &str) = ("readiness", "latest");

/// The results of the scheduled checks and their version. What cannot be parsed counts as no result.
fn parse_readiness(item: &Item) -> Option<(ReadinessRecord, u64)> {
    let body = string_attribute(item, "body").and_then(|body| serde_json::from_str(body).ok());
    let version = u64::try_from(number_attribute(item, "version")?).ok()?;
    Some((body.unwrap_or_default(), version))
}

/// The partition key of the calls to a Region that are reserved.
fn reserved_calls_key(region: &str) -> String {
    format!("reserved_calls#{region}")
}

/// The sort key of a second since the Unix epoch; it sorts by time.
fn second_key(second: i64) -> String {
    format!("{second:011}")
}

impl SharedCeiling for DynamoLedger {
    fn reserve_calls<'a>(
        &'a self,
        region: &'a str,
        second: i64,
        calls: u32,
        most: u32,
    ) -> BoxFuture<'a, Result<bool, CallError>> {
        let number = |number: u32| number_value(i64::from(number));
        let call = self
            .update_item(&reserved_calls_key(region), &second_key(second))
            .update_expression("SET #s = :s, #f = :f, #e = :e ADD #c :c")
            .condition_expression("attribute_not_exists(#c) OR #c <= :left")
            .set_expression_attribute_names(Some(attribute_names(&[
                ("#s", "second"),
                ("#f", FORMAT),
                ("#e", EXPIRES_AT),
                ("#c", "calls"),
            ])))
            .expression_attribute_values(":s", number_value(second))
            .expression_attribute_values(":f", number_value(format::LEDGER))
            .expression_attribute_values(":e", number_value(second + RESERVED_CALLS_RETENTION_SECS))
            .expression_attribute_values(":c", number(calls))
            .expression_attribute_values(":left", number(most.saturating_sub(calls)));
        Box::pin(condition_held("UpdateItem", call.send(), &self.region))
    }
}

impl StatsStore for DynamoLedger {
    async fn channel_health(
        &self,
        channel: Channel,
        now: Timestamp,
    ) -> Result<ChannelHealth, CallError> {
        let item = self.get_item("heartbeats", channel.as_str()).await?;
        let item = item.unwrap_or_default();
        let since = number_attribute(&item, "monitored_since").map(Timestamp::from_millis);
        let last = parse_heartbeat(&item);
        if since.is_none() && last.is_none() {
            let call = self
                .update_item("heartbeats", channel.as_str())
                .update_expression("SET #s = if_not_exists(#s, :now), #f = :f")
                .expression_attribute_names("#s", "monitored_since")
                .expression_attribute_names("#f", FORMAT)
                .expression_attribute_values(":f", number_value(format::LEDGER))
                .expression_attribute_values(":now", number_value(now.millis()));
            let response = call.send().await;
            response.map_err(|e| call_error::from_sdk("UpdateItem", &self.region, &e))?;
        }
        let since = since
            .or(last.map(|heartbeat| heartbeat.done))
            .unwrap_or(now);
        Ok(ChannelHealth { since, last })
    }

    async fn record_heartbeat(
        &self,
        channel: Channel,
        heartbeat: Heartbeat,
    ) -> Result<(), CallError> {
        let call = self
            .update_item("heartbeats", channel.as_str())
            .update_expression("SET #s = :s, #d = :d, #f = :f")
            .condition_expression("attribute_not_exists(#s) OR #s < :s")
            .set_expression_attribute_names(Some(attribute_names(&[
                ("#s", "sent_at"),
                ("#d", "done_at"),
                ("#f", FORMAT),
            ])))
            .expression_attribute_values(":s", number_value(heartbeat.sent.millis()))
            .expression_attribute_values(":d", number_value(heartbeat.done.millis()))
            .expression_attribute_values(":f", number_value(format::LEDGER));
        condition_held("UpdateItem", call.send(), &self.region)
            .await
            .map(drop)
    }

    async fn canaries(&self) -> Result<Option<CanaryState>, CallError> {
        let Some(item) = self.get_item("meta", "canaries").await? else {
            return Ok(None);
        };
        let body = string_attribute(&item, "body");
        let state = body.and_then(|body| serde_json::from_str(body).ok());
        let state = state.ok_or_else(|| self.unreadable_error("state of canaries", &item))?;
        Ok(Some(state))
    }

    async fn put_canaries(&self, state: &CanaryState) -> Result<(), CallError> {
        let body = serde_json::to_string(state).unwrap_or_default();
        let fields = [("body", string_value(&body))];
        self.put_item("meta", "canaries", &fields).await
    }

    async fn put_lag_sample(&self, sample: &LagSample) -> Result<(), CallError> {
        let mut fields = vec![
            ("sampled_at", number_value(sample.at.millis())),
            ("catalog_lag_secs", number_value(sample.catalog)),
            ("permissions_lag_secs", number_value(sample.permissions)),
            (
                EXPIRES_AT,
                number_value(sample.at.plus_secs(LAG_SAMPLE_RETENTION_SECS).secs()),
            ),
        ];
        let storage = sample.storage.map(number_value);
        fields.extend(storage.map(|lag| ("storage_lag_secs", lag)));
        self.put_item("lag_samples", &minute_key(sample.at), &fields)
            .await
    }

    async fn lag_samples(&self, since: Timestamp) -> Result<Vec<LagSample>, CallError> {
        let after = minute_key(since.plus_secs(-60));
        let items = self.query("lag_samples", Some(&after)).await?;
        let samples = items.iter().filter_map(|item| {
            Some(LagSample {
                at: Timestamp::from_millis(number_attribute(item, "sampled_at")?),
                catalog: number_attribute(item, "catalog_lag_secs")?,
                permissions: number_attribute(item, "permissions_lag_secs")?,
                storage: number_attribute(item, "storage_lag_secs"),
            })
        });
        Ok(samples.filter(|sample| sample.at >= since).collect())
    }

    async fn reserved_calls(
        &self,
        region: &str,
        since: Timestamp,
    ) -> Result<BTreeMap<Timestamp, u32>, CallError> {
        let partition = reserved_calls_key(region);
        let after = second_key(since.plus_secs(-1).secs());
        let items = self.query(&partition, Some(&after)).await?;
        let reserved = items.iter().filter_map(|item| {
            let second = number_attribute(item, "second")?;
            let calls = number_attribute(item, "calls")?;
            Some((Timestamp::from_secs(second), u32::try_from(calls).ok()?))
        });
        Ok(reserved.collect())
    }

    async fn rows_not_in_sync(&self) -> Result<LedgerRows, CallError> {
        let mut rows = LedgerRows::new();
        for state in SubjectState::NOT_IN_SYNC {
            let items = self.all_items(&self.query_by_state(state)).await?;
            rows.extend(self.parse_rows(&items)?);
        }
        Ok(rows)
    }

    async fn state_counts(&self) -> Result<BTreeMap<SubjectState, usize>, CallError> {
        let mut counts = BTreeMap::new();
        for state in SubjectState::NOT_IN_SYNC {
            let query = self.query_by_state(state).select(Select::Count);
            let of_page = |page: QueryOutput| usize::try_from(page.count).unwrap_or_default();
            let pages = self.query_pages(&query, |page| Ok(vec![of_page(page)]));
            counts.insert(state, pages.await?.into_iter().sum());
        }
        Ok(counts)
    }

    async fn add_counters(&self, at: Timestamp, counts: &StatCounters) -> Result<(), CallError> {
        let counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
        if counts.is_empty() {
            return Ok(());
        }
        let mut call = self
            .update_item("hourly_counters", &at.hour())
            .expression_attribute_names("#e", EXPIRES_AT)
            .expression_attribute_values(":e", number_value(at.plus_secs(RETENTION_SECS).secs()))
            .expression_attribute_names("#f", FORMAT)
            .expression_attribute_values(":f", number_value(format::LEDGER));
        let mut adds = Vec::new();
        for (index, (name, count)) in counts.iter().enumerate() {
            adds.push(format!("#n{index} :n{index}"));
            call = call
                .expression_attribute_names(format!("#n{index}"), *name)
                .expression_attribute_values(format!(":n{index}"), number_value(count));
        }
        let update_expression = format!("ADD {} SET #e = :e, #f = :f", adds.join(", "));
        let response = call.update_expression(update_expression).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("UpdateItem", &self.region, &e))
    }

    async fn counters_since(&self, since: Timestamp) -> Result<StatCounters, CallError> {
        let previous_hour = since.plus_secs(-3600).hour();
        let mut sum = StatCounters::new();
        for item in self.query("hourly_counters", Some(&previous_hour)).await? {
            for name in item
                .keys()
                .filter(|name| ![EXPIRES_AT, "pk", "sk", FORMAT].contains(&name.as_str()))
            {
                let number = number_attribute(&item, name).and_then(|n| u64::try_from(n).ok());
                let total: &mut u64 = sum.entry(name.clone()).or_default();
                *total = total.saturating_add(number.unwrap_or_default());
            }
        }
        Ok(sum)
    }

    async fn readiness(&self) -> Result<Option<(ReadinessRecord, u64)>, CallError> {
        let (pk, sk) = READINESS_KEY;
        let item = self.get_item(pk, sk).await?;
        Ok(item.as_ref().and_then(parse_readiness))
    }

    async fn put_readiness(
        &self,
        record: &ReadinessRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let (pk, sk) = READINESS_KEY;
        let body = serde_json::to_string(record).unwrap_or_default();
        let fields = [("body", string_value(&body))];
        self.put_if_version(pk, sk, &fields, expected_version).await
    }

    async fn all_pending_objects(
        &self,
    ) -> Result<BTreeMap<TableId, (PendingObjects, u64)>, CallError> {
        let items = self.query("pending_objects", None).await?;
        let pending_by_table = items
            .iter()
            .filter_map(|item| Some((table_of(item)?, parse_pending_objects(item)?)));
        Ok(pending_by_table.collect())
    }

    async fn pending_objects(
        &self,
        table: &TableId,
    ) -> Result<Option<(PendingObjects, u64)>, CallError> {
        let item = self.get_item("pending_objects", &table_key(table)).await?;
        Ok(item.as_ref().and_then(parse_pending_objects))
    }

    async fn put_pending_objects(
        &self,
        table: &TableId,
        pending: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let key = table_key(table);
        match pending {
            Some(pending) => {
                let fields = pending_objects_fields(table, pending);
                let written = (fields.as_slice(), expected_version);
                self.put_readable("pending_objects", &key, written, parse_pending_objects)
                    .await
            }
            None => {
                self.delete_if_version("pending_objects", &key, expected_version)
                    .await
            }
        }
    }

    async fn relocation_memory(&self, table: &TableId) -> Result<Option<(String, u64)>, CallError> {
        let item = self.get_item(RELOCATIONS, &table_key(table)).await?;
        Ok(item.as_ref().and_then(|item| {
            let body = string_attribute(item, "body")?.to_owned();
            let version = u64::try_from(number_attribute(item, "version")?).ok()?;
            Some((body, version))
        }))
    }

    async fn put_relocation_memory(
        &self,
        table: &TableId,
        memory: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let fields = [
            (DATABASE_ATTRIBUTE, string_value(table.database.as_str())),
            (TABLE_ATTRIBUTE, string_value(table.table.as_str())),
            ("body", string_value(memory)),
        ];
        self.put_if_version(RELOCATIONS, &table_key(table), &fields, expected_version)
            .await
    }

    async fn tables_at_location(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<TableId>, CallError> {
        let (pk, start) = (
            format!("source_locations#{bucket}"),
            format!("{prefix}{SEPARATOR}"),
        );
        let items = self.query_prefix(&pk, &start).await?;
        let tables: Vec<TableId> = items.iter().filter_map(table_of).collect();
        // Items of former locations remain when a table moves, and a prefix that contains the
        // separator is found with the shorter one; the row has the current location.
        let subjects = tables.iter().cloned().map(twinlake_core::Subject::Table);
        let rows = twinlake_engine::Ledger::rows(self, &subjects.collect()).await?;
        let is_at_location = |row: &LedgerRow| {
            let location = row
                .source_location
                .as_deref()
                .and_then(|location| Location::parse(location).ok());
            location
                .is_some_and(|location| location.bucket() == bucket && location.prefix() == prefix)
        };
        let is_current = |id: &TableId| {
            let row = rows.get(&twinlake_core::Subject::Table(id.clone()));
            row.is_some_and(is_at_location)
        };
        Ok(tables.into_iter().filter(is_current).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::{item_keys, row_key};
    use super::*;
    use std::collections::BTreeSet;
    use twinlake_core::{FunctionId, Subject};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Names that differ, but not if they are joined by a dot or by `#`.
    const NAMES: [&str; 8] = ["a", "a.b", "b", "b.c", "c", "a#b", "tables#a", "\"a\".b"];

    #[test]
    fn different_objects_have_different_keys() {
        let (mut rows, mut tables, mut locations) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for database in NAMES.map(name) {
            assert!(rows.insert(row_key(&Subject::Database(database.clone()))));
            for text in NAMES {
                let id = TableId::new(database.clone(), name(text));
                assert!(tables.insert(table_key(&id)), "{id}");
                let subject = Subject::Table(id.clone());
                let row = LedgerRow {
                    source_location: Some("s3://lake-us/x/".to_owned()),
                    ..LedgerRow::new(subject, SubjectState::InSync, Timestamp::from_millis(0))
                };
                let (pk, sk, of) = location_key(&row).unwrap();
                assert!(locations.insert((pk, sk)), "{id}");
                assert_eq!(*of, id);
                let function = FunctionId::new(database.clone(), name(text));
                for subject in [Subject::Table(id), Subject::Function(function)] {
                    for key in item_keys(&subject) {
                        assert!(rows.insert(key), "{subject}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_of_any_length_have_a_key() {
        let long = "\u{1f600}".repeat(255);
        let (one, other) = (
            TableId::new(name(&long), name(&long)),
            TableId::new(name(&long), name("b")),
        );
        for id in [&one, &other] {
            let key = table_key(id);
            assert!(
                (1..=MAX_SORT_KEY_BYTES).contains(&key.len()),
                "{}",
                key.len()
            );
        }
        assert_ne!(table_key(&one), table_key(&other));
    }

    #[test]
    fn results_of_another_version_count_as_none_and_can_be_replaced() {
        let item: Item = [
            (
                "body".to_owned(),
                string_value("{\"report\": {\"newer\": true}}"),
            ),
            ("version".to_owned(), number_value(7)),
        ]
        .into();
        assert_eq!(
            parse_readiness(&item),
            Some((ReadinessRecord::default(), 7))
        );
    }

    #[test]
    fn pending_objects_do_not_expire() {
        let id = TableId::new(name("sales"), name("orders"));
        let pending = PendingObjects {
            since: Timestamp::from_secs(1),
            ..PendingObjects::default()
        };
        let fields = pending_objects_fields(&id, &pending);
        assert!(fields.iter().all(|(name, _)| *name != EXPIRES_AT));
        let mut item: Item = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        item.insert("version".to_owned(), number_value(0));
        assert_eq!(table_of(&item), Some(id));
        assert_eq!(parse_pending_objects(&item), Some((pending, 0)));
    }

    #[test]
    fn the_table_of_an_item_is_read_from_its_attributes() {
        let id = TableId::new(name("fin.hr"), name("a#b.c"));
        let item = Item::from([
            (
                DATABASE_ATTRIBUTE.to_owned(),
                string_value(id.database.as_str()),
            ),
            (TABLE_ATTRIBUTE.to_owned(), string_value(id.table.as_str())),
        ]);
        assert_eq!(table_of(&item), Some(id));
        assert_eq!(table_of(&Item::new()), None);
    }
}
