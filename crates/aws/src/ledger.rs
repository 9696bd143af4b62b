//! The ledger in a DynamoDB table.
//!
//! | `pk` | `sk` | holds |
//! |---|---|---|
//! | `meta` | `epoch`, `policy`, `paired`, `verified` | one value each |
//! | `databases` | database | a row |
//! | `tables#DATABASE` | table | a row |
//! | `runs` | run | a resync run with its outstanding parts |
//! | `spent` | minute | deletions made in it |
//! | `alerts` | key | a trouble that people were told of, until it is over |
//! | `beats` | channel | the newest heartbeat |
//! | `lag` | minute | the lag of each channel then |
//! | `hours` | hour | numbers of that hour |
//! | `pending` | table | objects that S3 has not replicated |
//! | `places#BUCKET` | prefix and table | where tables' files are in the primary |
//!
//! Items of `runs`, `spent`, `alerts`, `lag`, `hours` and `pending` carry `expires` for the
//! table's TTL. Rows that are not current carry their state as `trouble`, the key of the
//! index `troubles`.

mod episodes;
mod journal;
mod table;

use episodes::episode_of;
use journal::{place_of, trouble_of};
use table::{
    Item, is_marks, is_of, key_of, keys_of, marked, minute, names, number, numeric, run_of,
    tally_of, text, textual, unless_condition,
};

use crate::calls::{Counted, Service};
use crate::fault;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::ledger::{Epoch, Rows, Run, Sweeping, Sweeps, Tally};
use twinlake_core::{Episode, Fault, Lake, Name, Row, Subject, TableId, Timestamp};
use twinlake_engine::Ledger;

/// A ledger in one Region.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    region: String,
    table: String,
    client: Client,
}

const READ_BATCH: usize = 100;
/// The budget of deletions is counted over so long.
const BUDGET_SECS: i64 = 3600;
const DAY_SECS: i64 = 86_400;

impl DynamoLedger {
    /// A ledger by its Region and table.
    pub async fn connect(region: &str, table: &str) -> Self {
        Self {
            region: region.to_owned(),
            table: table.to_owned(),
            client: Client::from_conf(
                aws_sdk_dynamodb::config::Builder::from(&crate::sdk_config(region).await)
                    .interceptor(Counted(Service::DynamoDb))
                    .build(),
            ),
        }
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
            let keys = batch.iter().flat_map(|subject| keys_of(subject));
            let keys = keys.map(|(pk, sk)| {
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
        let (marks, items): (Vec<Item>, Vec<Item>) = items.into_iter().partition(is_marks);
        let mut rows = self.by_subject(&items)?;
        for item in &marks {
            for (subject, row) in &mut rows {
                if matches!(subject, Subject::Lake(lake) if is_of(item, *lake)) {
                    row.owned = marked(item);
                }
            }
        }
        Ok(rows)
    }

    async fn mark(
        &self,
        lake: Lake,
        add: &BTreeSet<String>,
        drop: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        self.change_marks(lake, "ADD #m :m", add).await?;
        self.change_marks(lake, "DELETE #m :m", drop).await
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
            // Marks have an item of their own.
            let row = Row {
                owned: BTreeSet::new(),
                ..row.clone()
            };
            let body = serde_json::to_string(&row).unwrap_or_default();
            let mut put = PutRequest::builder()
                .item("pk", text(&pk))
                .item("sk", text(&sk))
                .item("body", text(&body));
            if let Some(trouble) = trouble_of(&row) {
                put = put.item("trouble", text(&trouble));
            }
            let put = put.build().map_err(self.unbuildable(CALL))?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let places = rows.iter().filter_map(place_of).map(|(pk, sk)| {
            let put = PutRequest::builder()
                .item("pk", text(&pk))
                .item("sk", text(&sk))
                .build()
                .map_err(self.unbuildable(CALL))?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let requests = requests.chain(places);
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

    async fn ask_sweep(&self, table: &TableId, now: Timestamp) -> Result<Sweeping, Fault> {
        let (pk, sk) = (format!("sweeps#{}", table.database), table.table.as_str());
        // Somebody else asked in the meantime: their answer is looked at, too.
        for _ in 0..4 {
            let item = self.get(&pk, sk).await?.unwrap_or_default();
            let at = |name: &str| numeric(&item, name).map(Timestamp);
            let known = Sweeps {
                last: at("last"),
                next: at("next"),
            };
            let (what, then) = known.ask(now);
            if matches!(what, Sweeping::Covered(_))
                || self.put_sweeps((&pk, sk), &known, &then).await?
            {
                return Ok(what);
            }
        }
        // One look too many harms nobody.
        Ok(Sweeping::Now)
    }

    async fn episode(&self, key: &str) -> Result<Option<(Episode, u64)>, Fault> {
        let item = self.get("alerts", key).await?;
        Ok(item.as_ref().and_then(episode_of))
    }

    async fn episodes(&self) -> Result<BTreeMap<String, (Episode, u64)>, Fault> {
        let mut all = BTreeMap::new();
        for item in self.query("alerts", None).await? {
            let key = textual(&item, "sk").unwrap_or_default();
            all.extend(episode_of(&item).map(|episode| (key.to_owned(), episode)));
        }
        Ok(all)
    }

    async fn put_episode(
        &self,
        key: &str,
        episode: Option<&Episode>,
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        match episode {
            Some(episode) => self.store_episode(key, episode, was).await,
            None => self.drop_version("alerts", key, was).await,
        }
    }
}
