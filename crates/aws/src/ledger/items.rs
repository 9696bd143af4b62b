//! Reads and writes of items of the DynamoDB table: their keys and attributes, batches, and
//! conditional writes.

use super::DynamoLedger;
use crate::call_error;
use crate::pages::all_pages;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, WriteRequest};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use twinlake_core::ledger::{
    LedgerRows, ObjectCounts, ResyncRun, ScanSchedule, ScanTarget, format,
};
use twinlake_core::{CallError, CallErrorKind, LedgerRow, LfSubject, Subject, Timestamp};
use twinlake_engine::ports::next_version_of_permanent_item;

/// Items per `BatchWriteItem` call (DynamoDB's limit).
const MAX_ITEMS_PER_WRITE: usize = 25;

/// The attribute that holds the format of an item.
pub(super) const FORMAT: &str = "format";
/// The table's TTL attribute: when DynamoDB deletes the item, in seconds since the Unix epoch.
pub(super) const EXPIRES_AT: &str = "expires_at";

pub(super) type Item = BTreeMap<String, AttributeValue>;

pub(super) fn string_value(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number_value(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The partition and sort key of the row of a subject.
pub(super) fn row_key(subject: &Subject) -> (String, String) {
    match subject {
        Subject::Catalog => ("rows#catalog".to_owned(), "catalog".to_owned()),
        Subject::LakeFormation(lf_subject) => (
            "rows#lakeformation".to_owned(),
            lf_subject_key(*lf_subject).to_owned(),
        ),
        Subject::Database(name) => ("rows#databases".to_owned(), name.to_string()),
        // In the partition of the tables, so that one query reads both. No name of a table contains
        // U+0001 (F-8).
        Subject::Function(id) => (
            format!("rows#tables#{}", id.database),
            format!("\u{1}{}", id.function),
        ),
        Subject::Table(id) => (format!("rows#tables#{}", id.database), id.table.to_string()),
    }
}

/// The primary keys of the items of a subject: its row and, of a Lake Formation subject, the set of the
/// LF-Tags, expressions, locations or administrators that Twinlake created or adopted (the managed keys).
pub(super) fn item_keys(subject: &Subject) -> Vec<(String, String)> {
    let mut keys = vec![row_key(subject)];
    if let Subject::LakeFormation(lf_subject) = subject {
        keys.push((
            MANAGED_KEYS.to_owned(),
            lf_subject_key(*lf_subject).to_owned(),
        ));
    }
    keys
}

/// The sort key of the items of a Lake Formation subject.
fn lf_subject_key(lf_subject: LfSubject) -> &'static str {
    match lf_subject {
        LfSubject::LfTags => "lf-tags",
        LfSubject::LfTagExpressions => "lf-tag-expressions",
        LfSubject::DataLocations => "data-locations",
        LfSubject::Permissions => "permissions",
        LfSubject::Settings => "settings",
    }
}

/// The partition key of the managed keys, and the name of their attribute.
const MANAGED_KEYS: &str = "managed_keys";

pub(super) fn is_managed_keys_item(item: &Item) -> bool {
    string_attribute(item, "pk").is_some_and(|pk| pk == MANAGED_KEYS)
}

/// Whether the sort key of an item is that of this Lake Formation subject.
pub(super) fn has_lf_subject_key(item: &Item, lf_subject: LfSubject) -> bool {
    string_attribute(item, "sk").is_some_and(|sk| sk == lf_subject_key(lf_subject))
}

pub(super) fn parse_managed_keys(item: &Item) -> BTreeSet<String> {
    let keys = item.get(MANAGED_KEYS).and_then(|value| value.as_ss().ok());
    keys.into_iter().flatten().cloned().collect()
}

impl DynamoLedger {
    /// Stores the managed keys of a subject if they still have the expected version. DynamoDB has no empty set.
    pub(super) async fn put_managed_key_item(
        &self,
        lf_subject: LfSubject,
        keys: &BTreeSet<String>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let stored = AttributeValue::Ss(keys.iter().cloned().collect());
        let fields = (!keys.is_empty()).then_some((MANAGED_KEYS, stored));
        let next = next_version_of_permanent_item(expected_version);
        self.put_version(
            MANAGED_KEYS,
            lf_subject_key(lf_subject),
            fields.as_slice(),
            (expected_version, next),
        )
        .await
    }

    /// The error for an item that is not a valid `what`. Nobody but Twinlake writes items.
    pub(super) fn unreadable_error(&self, what: &str, item: &Item) -> CallError {
        let key = |name| string_attribute(item, name).unwrap_or_default();
        let message = format!(
            "item `{}`, `{}` of table `{}` is not a valid {what}: something other than Twinlake changed it. \
             Restore the table under another name to a time before that (`aws dynamodb \
             restore-table-to-point-in-time --region {} --source-table-name {}`), and copy this item back",
            key("pk"),
            key("sk"),
            self.table,
            self.region,
            self.table
        );
        CallError::new(CallErrorKind::Invalid, "GetItem", &self.region, message)
    }

    /// The command that deletes an item.
    pub(super) fn deletion_command(&self, pk: &str, sk: &str) -> String {
        let key = serde_json::json!({"pk": {"S": pk}, "sk": {"S": sk}});
        let key = key.to_string().replace('\'', r"'\''");
        format!(
            "aws dynamodb delete-item --region {} --table-name {} --key '{key}'",
            self.region, self.table
        )
    }

    pub(super) async fn get_item(&self, pk: &str, sk: &str) -> Result<Option<Item>, CallError> {
        let call = self.client.get_item().table_name(&self.table);
        let call = call
            .key("pk", string_value(pk))
            .key("sk", string_value(sk))
            .consistent_read(true);
        let response = call.send().await;
        let response = response.map_err(|e| call_error::from_sdk("GetItem", &self.region, &e))?;
        let item = response.item.map(|item| item.into_iter().collect());
        item.map(|item| self.with_readable_format(item)).transpose()
    }

    /// Returns the item; refuses one in a format that only a newer Twinlake reads.
    pub(super) fn with_readable_format(&self, item: Item) -> Result<Item, CallError> {
        let found = number_attribute(&item, FORMAT).and_then(|found| u32::try_from(found).ok());
        match found.filter(|found| *found > format::LEDGER) {
            None => Ok(item),
            Some(found) => {
                let kind = string_attribute(&item, "pk").unwrap_or_default();
                let message = format::unknown(&format!("an item of `{kind}`"), found);
                let kind = CallErrorKind::Invalid;
                Err(CallError::new(kind, "ledger", &self.region, message))
            }
        }
    }

    pub(super) async fn put_item(
        &self,
        pk: &str,
        sk: &str,
        fields: &[(&str, AttributeValue)],
    ) -> Result<(), CallError> {
        let mut call = self.client.put_item().table_name(&self.table);
        call = call
            .item("pk", string_value(pk))
            .item("sk", string_value(sk))
            .item(FORMAT, number_value(format::LEDGER));
        for (name, value) in fields {
            call = call.item(*name, value.clone());
        }
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("PutItem", &self.region, &e))
    }

    /// The items of a partition, or those whose sort key is greater than `after`.
    pub(super) async fn query(
        &self,
        pk: &str,
        after: Option<&str>,
    ) -> Result<Vec<Item>, CallError> {
        let condition = match after {
            Some(_) => "pk = :pk AND sk > :key",
            None => "pk = :pk",
        };
        self.query_condition(condition, pk, after).await
    }

    /// The items of a partition whose sort key starts with a prefix.
    pub(super) async fn query_prefix(
        &self,
        pk: &str,
        prefix: &str,
    ) -> Result<Vec<Item>, CallError> {
        let condition = "pk = :pk AND begins_with(sk, :key)";
        self.query_condition(condition, pk, Some(prefix)).await
    }

    async fn query_condition(
        &self,
        condition: &str,
        pk: &str,
        key: Option<&str>,
    ) -> Result<Vec<Item>, CallError> {
        let mut call = self.client.query().table_name(&self.table);
        call = call
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", string_value(pk))
            .consistent_read(true);
        if let Some(key) = key {
            call = call.expression_attribute_values(":key", string_value(key));
        }
        self.all_items(&call).await
    }

    /// The items of all pages of a query.
    pub(super) async fn all_items(
        &self,
        query: &QueryFluentBuilder,
    ) -> Result<Vec<Item>, CallError> {
        self.query_pages(query, |page| {
            let items = page.items.unwrap_or_default().into_iter();
            let items = items.map(|item| self.with_readable_format(item.into_iter().collect()));
            items.collect()
        })
        .await
    }

    /// What `read` takes of each page of a query.
    pub(super) async fn query_pages<T>(
        &self,
        query: &QueryFluentBuilder,
        read: impl Fn(QueryOutput) -> Result<Vec<T>, CallError>,
    ) -> Result<Vec<T>, CallError> {
        let listing = ("Query", self.region.as_str());
        all_pages(listing, |start: Option<Item>| async {
            let start = start.map(|start| start.into_iter().collect());
            let page = query.clone().set_exclusive_start_key(start).send().await;
            let mut page = page.map_err(|e| call_error::from_sdk("Query", &self.region, &e))?;
            let next = page.last_evaluated_key.take();
            let next = next.map(|next| next.into_iter().collect());
            Ok((read(page)?, next))
        })
        .await
    }

    pub(super) fn parse_row(&self, item: &Item) -> Result<LedgerRow, CallError> {
        let body =
            string_attribute(item, "body").ok_or_else(|| self.unreadable_error("row", item))?;
        let version = number_attribute(item, "version");
        let row: LedgerRow =
            serde_json::from_str(body).map_err(|_| self.unreadable_error("row", item))?;
        Ok(LedgerRow {
            version: version.and_then(|version| u64::try_from(version).ok()),
            ..row
        })
    }

    pub(super) fn parse_rows(&self, items: &[Item]) -> Result<LedgerRows, CallError> {
        let rows = items.iter().map(|item| self.parse_row(item));
        rows.map(|row| row.map(|row| (row.subject.clone(), row)))
            .collect()
    }

    /// Writes in batches, and repeats what DynamoDB left unprocessed.
    pub(super) async fn batch_write(&self, requests: Vec<WriteRequest>) -> Result<(), CallError> {
        for batch in requests.chunks(MAX_ITEMS_PER_WRITE) {
            let mut unprocessed_requests = batch.to_vec();
            let mut tries = 0;
            while !unprocessed_requests.is_empty() {
                tries += 1;
                let call = self.client.batch_write_item();
                let response = call
                    .request_items(&self.table, unprocessed_requests)
                    .send()
                    .await;
                let response = response
                    .map_err(|e| call_error::from_sdk("BatchWriteItem", &self.region, &e))?;
                let mut unprocessed = response.unprocessed_items.unwrap_or_default();
                unprocessed_requests = unprocessed.remove(&self.table).unwrap_or_default();
                self.wait_unless_done("BatchWriteItem", tries, unprocessed_requests.is_empty())
                    .await?;
            }
        }
        Ok(())
    }

    /// Waits before the items that `call` left unprocessed are sent again; returns at once if there are none
    /// (`is_done`). The pause doubles with each try.
    ///
    /// # Errors
    /// Items are still unprocessed after the last try.
    pub(super) async fn wait_unless_done(
        &self,
        call: &str,
        tries: u32,
        is_done: bool,
    ) -> Result<(), CallError> {
        const MAX_TRIES: u32 = 8;
        if is_done {
            return Ok(());
        }
        if tries >= MAX_TRIES {
            let message = format!(
                "table `{}` left items unprocessed after {MAX_TRIES} tries: DynamoDB throttles it; see its \
                 throttled requests in CloudWatch",
                self.table
            );
            return Err(CallError::new(
                CallErrorKind::Contended,
                call,
                &self.region,
                message,
            ));
        }
        tokio::time::sleep(std::time::Duration::from_millis(25 << tries)).await;
        Ok(())
    }

    /// Stores a schedule of scans if the stored one is still `current`. Returns whether
    /// it was stored.
    pub(super) async fn put_scan_item(
        &self,
        (pk, sk): (String, String),
        current: &ScanSchedule,
        updated: &ScanSchedule,
    ) -> Result<bool, CallError> {
        const DAY_SECS: i64 = 86_400;
        let mut call = self.client.put_item().table_name(&self.table);
        call = call
            .item("pk", string_value(&pk))
            .item("sk", string_value(&sk))
            .item(FORMAT, number_value(format::LEDGER));
        let latest = updated
            .next_scan_at
            .max(updated.last_scan_at)
            .unwrap_or_default();
        call = call.item(EXPIRES_AT, number_value(latest.plus_secs(DAY_SECS).secs()));
        for (name, time) in [
            ("last_scan_at", updated.last_scan_at),
            ("next_scan_at", updated.next_scan_at),
        ] {
            if let Some(time) = time {
                call = call.item(name, number_value(time.millis()));
            }
        }
        let call = call
            .expression_attribute_names("#l", "last_scan_at")
            .expression_attribute_names("#n", "next_scan_at");
        let call = match (current.last_scan_at, current.next_scan_at) {
            (None, _) => call.condition_expression("attribute_not_exists(#l)"),
            (Some(last), None) => call
                .condition_expression("#l = :last AND attribute_not_exists(#n)")
                .expression_attribute_values(":last", number_value(last.millis())),
            (Some(last), Some(next)) => call
                .condition_expression("#l = :last AND #n = :next")
                .expression_attribute_values(":last", number_value(last.millis()))
                .expression_attribute_values(":next", number_value(next.millis())),
        };
        let call = match current.last_scan_at {
            // DynamoDB rejects an attribute name that the condition does not use.
            None => call
                .set_expression_attribute_names(Some(attribute_names(&[("#l", "last_scan_at")]))),
            Some(_) => call,
        };
        condition_held("PutItem", call.send(), &self.region).await
    }

    /// Converts a build error of the SDK into the error of a call.
    pub(super) fn build_error(&self, call: &str) -> impl Fn(BuildError) -> CallError {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |error| call_error::from_build_error(&call, &region, &error)
    }

    /// Updates a resync run and returns its item after that; `None` if there is no such run. In
    /// `update_expression`, `#p` is the set of outstanding parts and `:part` the set of `part`; with
    /// `unread`, `#u` is the mark of an unread part and `:unread` its value.
    pub(super) async fn update_run(
        &self,
        run: &str,
        update_expression: &str,
        part: &str,
        unread: Option<AttributeValue>,
    ) -> Result<Option<Item>, CallError> {
        const CALL: &str = "UpdateItem";
        let mut call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", string_value("resync_runs"))
            .key("sk", string_value(run))
            .update_expression(update_expression)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#p", "outstanding_parts")
            .expression_attribute_values(":part", AttributeValue::Ss(vec![part.to_owned()]))
            .return_values(ReturnValue::AllNew);
        if let Some(unread) = unread {
            call = call
                .expression_attribute_names("#u", "has_unread_part")
                .expression_attribute_values(":unread", unread);
        }
        match call
            .send()
            .await
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
        {
            Ok(response) => Ok(response.attributes.map(|item| item.into_iter().collect())),
            // There is no such run: it has expired, or it was never begun.
            Err(error) if call_error::is_condition_failure(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The key of the schedule of a target's scans.
pub(super) fn scan_key(target: &ScanTarget) -> (String, String) {
    match target {
        ScanTarget::Catalog => ("meta".to_owned(), "catalog_scan".to_owned()),
        ScanTarget::Partitions(table) => (
            format!("partition_scans#{}", table.database),
            table.table.as_str().to_owned(),
        ),
    }
}

pub(super) fn string_attribute<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn number_attribute(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn count_attribute(item: &Item, name: &str) -> usize {
    let count = number_attribute(item, name).unwrap_or_default();
    usize::try_from(count).unwrap_or_default()
}

pub(super) fn parse_run(id: &str, item: &Item) -> ResyncRun {
    let parts = item
        .get("outstanding_parts")
        .and_then(|parts| parts.as_ss().ok());
    ResyncRun {
        format: format::LEDGER,
        id: id.to_owned(),
        started_at: Timestamp::from_millis(
            number_attribute(item, "started_at").unwrap_or_default(),
        ),
        outstanding_parts: parts.into_iter().flatten().cloned().collect(),
        has_unread_part: item
            .get("has_unread_part")
            .and_then(|unread| unread.as_bool().ok())
            .copied()
            .unwrap_or(false),
    }
}

/// Sends the conditional write `sent`, an operation named `call`. Returns false if DynamoDB refused it because its condition did not
/// hold.
pub(super) async fn condition_held<T, E>(
    call: &str,
    sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    region: &str,
) -> Result<bool, CallError>
where
    E: std::error::Error + aws_smithy_types::error::metadata::ProvideErrorMetadata + 'static,
{
    match sent
        .await
        .map_err(|e| call_error::from_sdk(call, region, &e))
    {
        Ok(_) => Ok(true),
        Err(error) if call_error::is_condition_failure(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Attribute names by placeholder: DynamoDB reserves many common words in expressions.
pub(super) fn attribute_names<M: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> M {
    let owned = pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned()));
    owned.collect()
}

pub(super) fn parse_object_counts(item: &Item) -> ObjectCounts {
    ObjectCounts {
        databases: count_attribute(item, "databases"),
        tables: count_attribute(item, "tables"),
        partitions: count_attribute(item, "partitions"),
        items: count_attribute(item, "items"),
    }
}

/// The sort key of the minute that contains `at`. Such keys sort by time.
pub(super) fn minute_key(at: Timestamp) -> String {
    format!("{:012}", at.secs().div_euclid(60))
}
