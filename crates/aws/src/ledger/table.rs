//! The table behind the ledger: items, batches, conditions.

use super::DynamoLedger;
use crate::fault;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, WriteRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use twinlake_core::ledger::{Rows, Run, Sweeps, Tally};
use twinlake_core::{Fault, FaultKind, Lake, Row, Subject, Timestamp};
const WRITE_BATCH: usize = 25;

pub(super) type Item = BTreeMap<String, AttributeValue>;

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn key_of(subject: &Subject) -> (String, String) {
    match subject {
        Subject::Catalog => ("meta".to_owned(), "catalog".to_owned()),
        Subject::Lake(lake) => ("lake".to_owned(), lake.to_string()),
        Subject::Database(name) => ("databases".to_owned(), name.to_string()),
        // Beside the tables, so that one query finds both; no name begins like this.
        Subject::Function(id) => (
            format!("tables#{}", id.database),
            format!("\u{1}{}", id.function),
        ),
        Subject::Table(id) => (format!("tables#{}", id.database), id.table.to_string()),
    }
}

/// Of a subject of the lake there is an item with its marks, too.
pub(super) fn keys_of(subject: &Subject) -> Vec<(String, String)> {
    let mut keys = vec![key_of(subject)];
    if let Subject::Lake(lake) = subject {
        keys.push((MARKS.to_owned(), lake.to_string()));
    }
    keys
}

const MARKS: &str = "marks";

pub(super) fn is_marks(item: &Item) -> bool {
    textual(item, "pk").is_some_and(|pk| pk == MARKS)
}

/// Whether the marks of an item are those of a subject of the lake.
pub(super) fn is_of(item: &Item, lake: Lake) -> bool {
    textual(item, "sk").is_some_and(|sk| sk == lake.to_string())
}

pub(super) fn marked(item: &Item) -> BTreeSet<String> {
    let marks = item.get("marks").and_then(|value| value.as_ss().ok());
    marks.into_iter().flatten().cloned().collect()
}

impl DynamoLedger {
    /// Adds marks to the set, or takes them away, whatever else is in it.
    pub(super) async fn change_marks(
        &self,
        lake: Lake,
        change: &str,
        marks: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        if marks.is_empty() {
            return Ok(());
        }
        let marks = AttributeValue::Ss(marks.iter().cloned().collect());
        let call = self.client.update_item().table_name(&self.table);
        let call = call
            .key("pk", text(MARKS))
            .key("sk", text(&lake.to_string()))
            .update_expression(change)
            .expression_attribute_names("#m", "marks")
            .expression_attribute_values(":m", marks);
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("UpdateItem", &self.region, &e))
    }

    pub(super) fn broken(&self, what: &str) -> Fault {
        let message = format!("the ledger holds a {what} that cannot be read");
        Fault::new(FaultKind::Invalid, "ledger", &self.region, message)
    }

    pub(super) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, Fault> {
        let call = self.client.get_item().table_name(&self.table);
        let call = call
            .key("pk", text(pk))
            .key("sk", text(sk))
            .consistent_read(true);
        let answer = call.send().await;
        let answer = answer.map_err(|e| fault::of("GetItem", &self.region, &e))?;
        Ok(answer.item.map(|item| item.into_iter().collect()))
    }

    pub(super) async fn put(
        &self,
        pk: &str,
        sk: &str,
        fields: &[(&str, AttributeValue)],
    ) -> Result<(), Fault> {
        let mut call = self.client.put_item().table_name(&self.table);
        call = call.item("pk", text(pk)).item("sk", text(sk));
        for (name, value) in fields {
            call = call.item(*name, value.clone());
        }
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("PutItem", &self.region, &e))
    }

    pub(super) async fn meta_number(&self, sk: &str) -> Result<Option<i64>, Fault> {
        let item = self.get("meta", sk).await?;
        item.map(|item| numeric(&item, "value").ok_or_else(|| self.broken(sk)))
            .transpose()
    }

    pub(super) async fn query(&self, pk: &str, after: Option<&str>) -> Result<Vec<Item>, Fault> {
        let condition = match after {
            Some(_) => "pk = :pk AND sk > :key",
            None => "pk = :pk",
        };
        self.query_by(condition, pk, after).await
    }

    /// The items whose sort key begins like this.
    pub(super) async fn query_within(&self, pk: &str, start: &str) -> Result<Vec<Item>, Fault> {
        let condition = "pk = :pk AND begins_with(sk, :key)";
        self.query_by(condition, pk, Some(start)).await
    }

    async fn query_by(
        &self,
        condition: &str,
        pk: &str,
        key: Option<&str>,
    ) -> Result<Vec<Item>, Fault> {
        let mut all = Vec::new();
        let mut start = None;
        loop {
            let mut call = self.client.query().table_name(&self.table);
            call = call
                .key_condition_expression(condition)
                .expression_attribute_values(":pk", text(pk))
                .set_exclusive_start_key(start)
                .consistent_read(true);
            if let Some(key) = key {
                call = call.expression_attribute_values(":key", text(key));
            }
            let answer = call.send().await;
            let answer = answer.map_err(|e| fault::of("Query", &self.region, &e))?;
            let items = answer.items.unwrap_or_default();
            all.extend(items.into_iter().map(|item| item.into_iter().collect()));
            start = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) fn row(&self, item: &Item) -> Result<Row, Fault> {
        let body = textual(item, "body").ok_or_else(|| self.broken("row"))?;
        serde_json::from_str(body).map_err(|_| self.broken("row"))
    }

    pub(super) fn by_subject(&self, items: &[Item]) -> Result<Rows, Fault> {
        let rows = items.iter().map(|item| self.row(item));
        rows.map(|row| row.map(|row| (row.subject.clone(), row)))
            .collect()
    }

    /// Writes in batches, until nothing is left unprocessed.
    pub(super) async fn write(&self, requests: Vec<WriteRequest>) -> Result<(), Fault> {
        for batch in requests.chunks(WRITE_BATCH) {
            let mut left = batch.to_vec();
            let mut tries = 0;
            while !left.is_empty() {
                tries += 1;
                let call = self.client.batch_write_item();
                let answer = call.request_items(&self.table, left).send().await;
                let answer = answer.map_err(|e| fault::of("BatchWriteItem", &self.region, &e))?;
                let mut unprocessed = answer.unprocessed_items.unwrap_or_default();
                left = unprocessed.remove(&self.table).unwrap_or_default();
                self.pause(tries, left.is_empty()).await?;
            }
        }
        Ok(())
    }

    /// Waits a little before what DynamoDB left unprocessed is tried again.
    pub(super) async fn pause(&self, tries: u32, is_done: bool) -> Result<(), Fault> {
        const MOST: u32 = 8;
        if is_done {
            return Ok(());
        }
        if tries >= MOST {
            let message = "it leaves items unprocessed";
            return Err(Fault::new(
                FaultKind::Busy,
                "BatchWriteItem",
                &self.region,
                message,
            ));
        }
        tokio::time::sleep(std::time::Duration::from_millis(25 << tries)).await;
        Ok(())
    }

    /// Stores when a table is looked at, unless somebody else has in the meantime.
    pub(super) async fn put_sweeps(
        &self,
        (pk, sk): (&str, &str),
        known: &Sweeps,
        then: &Sweeps,
    ) -> Result<bool, Fault> {
        const DAY_SECS: i64 = 86_400;
        let mut call = self.client.put_item().table_name(&self.table);
        call = call.item("pk", text(pk)).item("sk", text(sk));
        let latest = then.next.max(then.last).unwrap_or_default();
        call = call.item("expires", number(latest.plus_secs(DAY_SECS).secs()));
        for (name, at) in [("last", then.last), ("next", then.next)] {
            if let Some(at) = at {
                call = call.item(name, number(at.0));
            }
        }
        let call = call
            .expression_attribute_names("#l", "last")
            .expression_attribute_names("#n", "next");
        let call = match (known.last, known.next) {
            (None, _) => call.condition_expression("attribute_not_exists(#l)"),
            (Some(last), None) => call
                .condition_expression("#l = :last AND attribute_not_exists(#n)")
                .expression_attribute_values(":last", number(last.0)),
            (Some(last), Some(next)) => call
                .condition_expression("#l = :last AND #n = :next")
                .expression_attribute_values(":last", number(last.0))
                .expression_attribute_values(":next", number(next.0)),
        };
        let call = match known.last {
            // A name that no condition uses is refused.
            None => call.set_expression_attribute_names(Some(names(&[("#l", "last")]))),
            Some(_) => call,
        };
        unless_condition(call.send(), &self.region).await
    }

    pub(super) fn unbuildable(&self, call: &str) -> impl Fn(BuildError) -> Fault {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |error| fault::unbuildable(&call, &region, &error)
    }
    pub(super) async fn change_run(
        &self,
        run: &str,
        change: &str,
        part: &str,
        unread: Option<AttributeValue>,
    ) -> Result<Option<Item>, Fault> {
        const CALL: &str = "UpdateItem";
        let mut call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text("runs"))
            .key("sk", text(run))
            .update_expression(change)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#p", "parts")
            .expression_attribute_values(":part", AttributeValue::Ss(vec![part.to_owned()]))
            .return_values(ReturnValue::AllNew);
        if let Some(unread) = unread {
            call = call
                .expression_attribute_names("#u", "unread")
                .expression_attribute_values(":unread", unread);
        }
        match call
            .send()
            .await
            .map_err(|e| fault::of(CALL, &self.region, &e))
        {
            Ok(answer) => Ok(answer.attributes.map(|item| item.into_iter().collect())),
            // The run is over, or was never begun.
            Err(fault) if fault::is_failed_condition(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

pub(super) fn textual<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn numeric(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn counted(item: &Item, name: &str) -> usize {
    let count = numeric(item, name).unwrap_or_default();
    usize::try_from(count).unwrap_or_default()
}

pub(super) fn run_of(id: &str, item: &Item) -> Run {
    let parts = item.get("parts").and_then(|parts| parts.as_ss().ok());
    Run {
        id: id.to_owned(),
        started: Timestamp(numeric(item, "started").unwrap_or_default()),
        outstanding: parts.into_iter().flatten().cloned().collect(),
        unread: item
            .get("unread")
            .and_then(|unread| unread.as_bool().ok())
            .copied()
            .unwrap_or(false),
    }
}

/// Whether a conditional write was made; that its condition failed is an answer.
pub(super) async fn unless_condition<T, E, R>(
    sent: impl Future<Output = Result<T, aws_smithy_runtime_api::client::result::SdkError<E, R>>>,
    region: &str,
) -> Result<bool, Fault>
where
    E: std::error::Error + aws_smithy_types::error::metadata::ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    match sent.await.map_err(|e| fault::of("PutItem", region, &e)) {
        Ok(_) => Ok(true),
        Err(fault) if fault::is_failed_condition(&fault) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Names behind placeholders: many plain words are reserved in expressions.
pub(super) fn names<M: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> M {
    let owned = pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned()));
    owned.collect()
}

pub(super) fn tally_of(item: &Item) -> Tally {
    Tally {
        databases: counted(item, "databases"),
        tables: counted(item, "tables"),
        partitions: counted(item, "partitions"),
    }
}

/// The minute of a time, as a key that sorts by time.
pub(super) fn minute(at: Timestamp) -> String {
    format!("{:012}", at.secs().div_euclid(60))
}
