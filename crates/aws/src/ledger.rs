//! The ledger in a DynamoDB table.
//!
//! | `pk` | `sk` | holds |
//! |---|---|---|
//! | `meta` | `epoch`, `policy`, `paired`, `verified` | one value each |
//! | `databases` | database | a row |
//! | `tables#DATABASE` | table | a row |
//! | `runs` | run | a resync run with its outstanding parts |
//! | `spent` | minute | deletions made in it |
//! | `alerts` | key | when the alert was last sent |
//!
//! Items of the last three carry `expires` for the table's TTL.

use crate::fault;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, ReturnValue, WriteRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use twinlake_core::ledger::{Epoch, Rows, Run, Tally};
use twinlake_core::{Fault, FaultKind, Name, Row, Subject, Timestamp};
use twinlake_engine::Ledger;

/// A ledger in one Region.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    region: String,
    table: String,
    client: Client,
}

const READ_BATCH: usize = 100;
const WRITE_BATCH: usize = 25;
/// The budget of deletions is counted over so long.
const BUDGET_SECS: i64 = 3600;
const DAY_SECS: i64 = 86_400;

type Item = BTreeMap<String, AttributeValue>;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn key_of(subject: &Subject) -> (String, String) {
    match subject {
        Subject::Catalog => ("meta".to_owned(), "catalog".to_owned()),
        Subject::Database(name) => ("databases".to_owned(), name.to_string()),
        Subject::Table(id) => (format!("tables#{}", id.database), id.table.to_string()),
    }
}

impl DynamoLedger {
    /// A ledger by its Region and table.
    pub async fn connect(region: &str, table: &str) -> Self {
        Self {
            region: region.to_owned(),
            table: table.to_owned(),
            client: Client::new(&crate::sdk_config(region).await),
        }
    }

    fn broken(&self, what: &str) -> Fault {
        let message = format!("the ledger holds a {what} that cannot be read");
        Fault::new(FaultKind::Invalid, "ledger", &self.region, message)
    }

    async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, Fault> {
        let call = self.client.get_item().table_name(&self.table);
        let call = call
            .key("pk", text(pk))
            .key("sk", text(sk))
            .consistent_read(true);
        let answer = call.send().await;
        let answer = answer.map_err(|e| fault::of("GetItem", &self.region, &e))?;
        Ok(answer.item.map(|item| item.into_iter().collect()))
    }

    async fn put(
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

    async fn meta_number(&self, sk: &str) -> Result<Option<i64>, Fault> {
        let item = self.get("meta", sk).await?;
        item.map(|item| numeric(&item, "value").ok_or_else(|| self.broken(sk)))
            .transpose()
    }

    async fn query(&self, pk: &str, after: Option<&str>) -> Result<Vec<Item>, Fault> {
        let mut all = Vec::new();
        let mut start = None;
        loop {
            let condition = match after {
                Some(_) => "pk = :pk AND sk > :after",
                None => "pk = :pk",
            };
            let mut call = self.client.query().table_name(&self.table);
            call = call
                .key_condition_expression(condition)
                .expression_attribute_values(":pk", text(pk))
                .set_exclusive_start_key(start)
                .consistent_read(true);
            if let Some(after) = after {
                call = call.expression_attribute_values(":after", text(after));
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

    fn row(&self, item: &Item) -> Result<Row, Fault> {
        let body = textual(item, "body").ok_or_else(|| self.broken("row"))?;
        serde_json::from_str(body).map_err(|_| self.broken("row"))
    }

    fn by_subject(&self, items: &[Item]) -> Result<Rows, Fault> {
        let rows = items.iter().map(|item| self.row(item));
        rows.map(|row| row.map(|row| (row.subject.clone(), row)))
            .collect()
    }

    /// Writes in batches, until nothing is left unprocessed.
    async fn write(&self, requests: Vec<WriteRequest>) -> Result<(), Fault> {
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
    async fn pause(&self, tries: u32, is_done: bool) -> Result<(), Fault> {
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

    fn unbuildable(&self, call: &str) -> impl Fn(BuildError) -> Fault {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |error| fault::unbuildable(&call, &region, &error)
    }
}

fn textual<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn numeric(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn counted(item: &Item, name: &str) -> usize {
    let count = numeric(item, name).unwrap_or_default();
    usize::try_from(count).unwrap_or_default()
}

fn run_of(id: &str, item: &Item) -> Run {
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

impl Ledger for DynamoLedger {
    async fn epoch(&self) -> Result<Epoch, Fault> {
        let held = self.meta_number("epoch").await?.unwrap_or_default();
        u64::try_from(held)
            .map(Epoch)
            .map_err(|_| self.broken("epoch"))
    }

    async fn policy(&self) -> Result<Option<String>, Fault> {
        let item = self.get("meta", "policy").await?;
        Ok(item.and_then(|item| textual(&item, "value").map(str::to_owned)))
    }

    async fn put_policy(&self, policy: &str) -> Result<(), Fault> {
        self.put("meta", "policy", &[("value", text(policy))]).await
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<Rows, Fault> {
        const CALL: &str = "BatchGetItem";
        let mut items: Vec<Item> = Vec::new();
        let all: Vec<&Subject> = subjects.iter().collect();
        for batch in all.chunks(READ_BATCH) {
            let keys = batch.iter().map(|subject| {
                let (pk, sk) = key_of(subject);
                [("pk".to_owned(), text(&pk)), ("sk".to_owned(), text(&sk))]
                    .into_iter()
                    .collect()
            });
            let mut keys: Vec<_> = keys.collect();
            let mut tries = 0;
            while !keys.is_empty() {
                tries += 1;
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(keys))
                    .consistent_read(true)
                    .build()
                    .map_err(self.unbuildable(CALL))?;
                let call = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, asked);
                let answer = call.send().await;
                let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
                let mut found = answer.responses.unwrap_or_default();
                let found = found.remove(&self.table).unwrap_or_default();
                items.extend(found.into_iter().map(|item| item.into_iter().collect()));
                let mut left = answer.unprocessed_keys.unwrap_or_default();
                keys = left
                    .remove(&self.table)
                    .map(|left| left.keys)
                    .unwrap_or_default();
                self.pause(tries, keys.is_empty()).await?;
            }
        }
        self.by_subject(&items)
    }

    async fn database_rows(&self) -> Result<Rows, Fault> {
        self.by_subject(&self.query("databases", None).await?)
    }

    async fn rows_in(&self, database: &Name) -> Result<Rows, Fault> {
        let own = BTreeSet::from([Subject::Database(database.clone())]);
        let mut rows = self.rows(&own).await?;
        let tables = self.query(&format!("tables#{database}"), None).await?;
        rows.extend(self.by_subject(&tables)?);
        Ok(rows)
    }

    async fn put_rows(&self, rows: &[Row]) -> Result<(), Fault> {
        const CALL: &str = "BatchWriteItem";
        let requests = rows.iter().map(|row| {
            let (pk, sk) = key_of(&row.subject);
            let body = serde_json::to_string(row).unwrap_or_default();
            let put = PutRequest::builder()
                .item("pk", text(&pk))
                .item("sk", text(&sk))
                .item("body", text(&body))
                .build()
                .map_err(self.unbuildable(CALL))?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        self.write(requests.collect::<Result<_, Fault>>()?).await
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), Fault> {
        const CALL: &str = "BatchWriteItem";
        let requests = subjects.iter().map(|subject| {
            let (pk, sk) = key_of(subject);
            let delete = DeleteRequest::builder()
                .key("pk", text(&pk))
                .key("sk", text(&sk))
                .build()
                .map_err(self.unbuildable(CALL))?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        });
        self.write(requests.collect::<Result<_, Fault>>()?).await
    }

    async fn paired(&self) -> Result<Tally, Fault> {
        let item = self.get("meta", "paired").await?.unwrap_or_default();
        Ok(tally_of(&item))
    }

    async fn put_paired(&self, tally: &Tally) -> Result<(), Fault> {
        let fields = [
            ("databases", number(tally.databases)),
            ("tables", number(tally.tables)),
            ("partitions", number(tally.partitions)),
        ];
        self.put("meta", "paired", &fields).await
    }

    async fn spent(&self, now: Timestamp) -> Result<Tally, Fault> {
        let since = minute(now.plus_secs(-BUDGET_SECS));
        let mut sum = Tally::default();
        for item in self.query("spent", Some(&since)).await? {
            let spent = tally_of(&item);
            sum.databases += spent.databases;
            sum.tables += spent.tables;
            sum.partitions += spent.partitions;
        }
        Ok(sum)
    }

    async fn spend(&self, now: Timestamp, tally: &Tally) -> Result<(), Fault> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text("spent"))
            .key("sk", text(&minute(now)))
            .update_expression("ADD #d :d, #t :t, #p :p SET #e = :e")
            .set_expression_attribute_names(Some(names(&[
                ("#d", "databases"),
                ("#t", "tables"),
                ("#p", "partitions"),
                ("#e", "expires"),
            ])))
            .expression_attribute_values(":d", number(tally.databases))
            .expression_attribute_values(":t", number(tally.tables))
            .expression_attribute_values(":p", number(tally.partitions))
            .expression_attribute_values(":e", number(now.plus_secs(DAY_SECS).secs()));
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("UpdateItem", &self.region, &e))
    }

    async fn begin_run(&self, run: &Run) -> Result<(), Fault> {
        let parts: Vec<String> = run.outstanding.iter().cloned().collect();
        let fields = [
            ("started", number(run.started.0)),
            ("parts", AttributeValue::Ss(parts)),
            ("unread", AttributeValue::Bool(run.unread)),
            (
                "expires",
                number(run.started.plus_secs(7 * DAY_SECS).secs()),
            ),
        ];
        self.put("runs", &run.id, &fields).await
    }

    async fn add_part(&self, run: &str, part: &str) -> Result<(), Fault> {
        self.change_run(run, "ADD #p :part", part, None)
            .await
            .map(drop)
    }

    async fn end_part(&self, run: &str, part: &str, unread: bool) -> Result<Option<Run>, Fault> {
        let change = match unread {
            true => "DELETE #p :part SET #u = :unread",
            false => "DELETE #p :part",
        };
        let unread = unread.then_some(AttributeValue::Bool(true));
        let item = self.change_run(run, change, part, unread).await?;
        Ok(item.map(|item| run_of(run, &item)))
    }

    async fn verified_at(&self) -> Result<Option<Timestamp>, Fault> {
        Ok(self.meta_number("verified").await?.map(Timestamp))
    }

    async fn put_verified_at(&self, at: Timestamp) -> Result<(), Fault> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text("meta"))
            .item("sk", text("verified"))
            .item("value", number(at.0))
            .condition_expression("attribute_not_exists(pk) OR #v < :at")
            .expression_attribute_names("#v", "value")
            .expression_attribute_values(":at", number(at.0));
        unless_condition(call.send(), &self.region).await.map(drop)
    }

    async fn alert_is_due(
        &self,
        key: &str,
        now: Timestamp,
        quiet_secs: i64,
    ) -> Result<bool, Fault> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text("alerts"))
            .item("sk", text(key))
            .item("sent", number(now.0))
            .item("expires", number(now.plus_secs(7 * DAY_SECS).secs()))
            .condition_expression("attribute_not_exists(pk) OR #s <= :before")
            .expression_attribute_names("#s", "sent")
            .expression_attribute_values(":before", number(now.plus_secs(-quiet_secs).0));
        unless_condition(call.send(), &self.region).await
    }
}

impl DynamoLedger {
    async fn change_run(
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

/// Whether a conditional write was made; that its condition failed is an answer.
async fn unless_condition<T, E, R>(
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
fn names<M: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> M {
    let owned = pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned()));
    owned.collect()
}

fn tally_of(item: &Item) -> Tally {
    Tally {
        databases: counted(item, "databases"),
        tables: counted(item, "tables"),
        partitions: counted(item, "partitions"),
    }
}

/// The minute of a time, as a key that sorts by time.
fn minute(at: Timestamp) -> String {
    format!("{:012}", at.secs().div_euclid(60))
}
