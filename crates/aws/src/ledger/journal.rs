//! What is remembered of how it goes, in the ledger's table.

use super::table::{Item, minute, names, number, numeric, text, textual, unless_condition};
use super::{DAY_SECS, DynamoLedger};
use crate::fault;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::Select;
use std::collections::BTreeMap;
use twinlake_core::heartbeat::{Beat, Channel, Pulse, Sample};
use twinlake_core::ledger::{Pending, Rows};
use twinlake_core::location::Location;
use twinlake_core::{Fault, Name, Row, State, TableId, Timestamp};
use twinlake_engine::Journal;
use twinlake_engine::ports::Counts;

/// The index of rows that are not current.
const TROUBLES: &str = "troubles";
/// Numbers of hours and what is pending are kept for so long.
const KEPT_SECS: i64 = 90 * DAY_SECS;
const LAGS_SECS: i64 = 7 * DAY_SECS;
/// Bytes of a sort key (DynamoDB's limit).
const LONGEST_KEY: usize = 1024;
/// Between a place and the table there; no key holds it.
const APART: char = '\u{1}';

/// What puts a row into the index, if it is not current.
pub(super) fn trouble_of(row: &Row) -> Option<String> {
    (row.state != State::Current).then(|| row.state.to_string())
}

/// The item by which objects are mapped to a row's table.
pub(super) fn place_of(row: &Row) -> Option<(String, String)> {
    let twinlake_core::Subject::Table(id) = &row.subject else {
        return None;
    };
    let place = Location::parse(row.place.as_deref()?).ok()?;
    let key = format!("{}{APART}{id}", place.prefix());
    // Objects of a table whose place is too long for a key are told by their bucket.
    (key.len() <= LONGEST_KEY).then(|| (format!("places#{}", place.bucket()), key))
}

fn table_of(text: &str) -> Option<TableId> {
    let (database, table) = text.split_once('.')?;
    Some(TableId::new(
        Name::new(database).ok()?,
        Name::new(table).ok()?,
    ))
}

fn beat_of(item: &Item) -> Option<Beat> {
    let at = |name: &str| numeric(item, name).map(Timestamp);
    let (sent, done) = at("sent").zip(at("done"))?;
    Some(Beat { sent, done })
}

impl DynamoLedger {
    fn update_of(&self, pk: &str, sk: &str) -> UpdateItemFluentBuilder {
        let call = self.client.update_item().table_name(&self.table);
        call.key("pk", text(pk)).key("sk", text(sk))
    }

    /// Asks for the rows in a state that needs eyes.
    fn in_state(&self, state: State) -> QueryFluentBuilder {
        let call = self.client.query().table_name(&self.table);
        call.index_name(TROUBLES)
            .key_condition_expression("#t = :t")
            .expression_attribute_names("#t", "trouble")
            .expression_attribute_values(":t", text(&state.to_string()))
    }
}

/// What is pending of a table, as an item has it.
fn pending_of(item: &Item) -> Option<(Pending, u64)> {
    let pending = serde_json::from_str(textual(item, "body")?).ok()?;
    let version = u64::try_from(numeric(item, "version")?).ok()?;
    Some((pending, version))
}

impl Journal for DynamoLedger {
    async fn pulse(&self, channel: Channel, now: Timestamp) -> Result<Pulse, Fault> {
        let item = self.get("beats", channel.as_str()).await?;
        let item = item.unwrap_or_default();
        let since = numeric(&item, "since").map(Timestamp);
        let last = beat_of(&item);
        if since.is_none() && last.is_none() {
            let call = self
                .update_of("beats", channel.as_str())
                .update_expression("SET #s = if_not_exists(#s, :now)")
                .expression_attribute_names("#s", "since")
                .expression_attribute_values(":now", number(now.0));
            let answer = call.send().await;
            answer.map_err(|e| fault::of("UpdateItem", &self.region, &e))?;
        }
        let since = since.or(last.map(|beat| beat.done)).unwrap_or(now);
        Ok(Pulse { since, last })
    }

    async fn hear(&self, channel: Channel, beat: Beat) -> Result<(), Fault> {
        let call = self
            .update_of("beats", channel.as_str())
            .update_expression("SET #s = :s, #d = :d")
            .condition_expression("attribute_not_exists(#s) OR #s < :s")
            .set_expression_attribute_names(Some(names(&[("#s", "sent"), ("#d", "done")])))
            .expression_attribute_values(":s", number(beat.sent.0))
            .expression_attribute_values(":d", number(beat.done.0));
        unless_condition(call.send(), &self.region).await.map(drop)
    }

    async fn put_sample(&self, sample: &Sample) -> Result<(), Fault> {
        let fields = [
            ("at", number(sample.at.0)),
            ("catalog", number(sample.catalog)),
            ("permissions", number(sample.permissions)),
            ("expires", number(sample.at.plus_secs(LAGS_SECS).secs())),
        ];
        self.put("lag", &minute(sample.at), &fields).await
    }

    async fn samples(&self, since: Timestamp) -> Result<Vec<Sample>, Fault> {
        let after = minute(since.plus_secs(-60));
        let items = self.query("lag", Some(&after)).await?;
        let samples = items.iter().filter_map(|item| {
            Some(Sample {
                at: Timestamp(numeric(item, "at")?),
                catalog: numeric(item, "catalog")?,
                permissions: numeric(item, "permissions")?,
            })
        });
        Ok(samples.filter(|sample| sample.at >= since).collect())
    }

    async fn troubles(&self) -> Result<Rows, Fault> {
        let mut rows = Rows::new();
        for state in State::TROUBLES {
            let mut start = None;
            loop {
                let call = self.in_state(state).set_exclusive_start_key(start);
                let answer = call.send().await;
                let answer = answer.map_err(|e| fault::of("Query", &self.region, &e))?;
                let items = answer.items.unwrap_or_default().into_iter();
                let items: Vec<Item> = items.map(|item| item.into_iter().collect()).collect();
                rows.extend(self.by_subject(&items)?);
                start = answer.last_evaluated_key.filter(|key| !key.is_empty());
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(rows)
    }

    async fn trouble_counts(&self) -> Result<BTreeMap<State, usize>, Fault> {
        let mut counts = BTreeMap::new();
        for state in State::TROUBLES {
            let mut count = 0;
            let mut start = None;
            loop {
                let call = self.in_state(state).set_exclusive_start_key(start);
                let answer = call.select(Select::Count).send().await;
                let answer = answer.map_err(|e| fault::of("Query", &self.region, &e))?;
                count += usize::try_from(answer.count).unwrap_or_default();
                start = answer.last_evaluated_key.filter(|key| !key.is_empty());
                if start.is_none() {
                    break;
                }
            }
            counts.insert(state, count);
        }
        Ok(counts)
    }

    async fn count(&self, at: Timestamp, counts: &Counts) -> Result<(), Fault> {
        let counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
        if counts.is_empty() {
            return Ok(());
        }
        let mut call = self
            .update_of("hours", &at.hour())
            .expression_attribute_names("#e", "expires")
            .expression_attribute_values(":e", number(at.plus_secs(KEPT_SECS).secs()));
        let mut adds = Vec::new();
        for (place, (name, count)) in counts.iter().enumerate() {
            adds.push(format!("#n{place} :n{place}"));
            call = call
                .expression_attribute_names(format!("#n{place}"), *name)
                .expression_attribute_values(format!(":n{place}"), number(count));
        }
        let change = format!("ADD {} SET #e = :e", adds.join(", "));
        let answer = call.update_expression(change).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("UpdateItem", &self.region, &e))
    }

    async fn counted(&self, since: Timestamp) -> Result<Counts, Fault> {
        let before = since.plus_secs(-3600).hour();
        let mut sum = Counts::new();
        for item in self.query("hours", Some(&before)).await? {
            for name in item.keys().filter(|name| *name != "expires") {
                let number = numeric(&item, name).and_then(|n| u64::try_from(n).ok());
                *sum.entry(name.clone()).or_default() += number.unwrap_or_default();
            }
        }
        sum.retain(|name, _| name != "pk" && name != "sk");
        Ok(sum)
    }

    async fn pendings(&self) -> Result<BTreeMap<TableId, (Pending, u64)>, Fault> {
        let items = self.query("pending", None).await?;
        let pendings = items.iter().filter_map(|item| {
            let id = table_of(textual(item, "sk")?)?;
            Some((id, pending_of(item)?))
        });
        Ok(pendings.collect())
    }

    async fn pending(&self, table: &TableId) -> Result<Option<(Pending, u64)>, Fault> {
        let item = self.get("pending", &table.to_string()).await?;
        Ok(item.as_ref().and_then(pending_of))
    }

    async fn put_pending(
        &self,
        table: &TableId,
        pending: Option<&Pending>,
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        let key = table.to_string();
        match pending {
            Some(pending) => {
                let body = serde_json::to_string(pending).unwrap_or_default();
                let expires = pending.since.plus_secs(KEPT_SECS);
                let fields = [("body", text(&body)), ("expires", number(expires.secs()))];
                self.put_version("pending", &key, &fields, was).await
            }
            None => self.drop_version("pending", &key, was).await,
        }
    }

    async fn tables_at(&self, bucket: &str, prefix: &str) -> Result<Vec<TableId>, Fault> {
        let (pk, start) = (format!("places#{bucket}"), format!("{prefix}{APART}"));
        let items = self.query_within(&pk, &start).await?;
        let tables = items.iter().filter_map(|item| {
            let (_, table) = textual(item, "sk")?.rsplit_once(APART)?;
            table_of(table)
        });
        let tables: Vec<TableId> = tables.collect();
        // A place that a table has left behind is not its own any more.
        let subjects = tables.iter().cloned().map(twinlake_core::Subject::Table);
        let rows = twinlake_engine::Ledger::rows(self, &subjects.collect()).await?;
        let here = |row: &Row| {
            let place = row.place.as_deref().and_then(|at| Location::parse(at).ok());
            place.is_some_and(|place| place.bucket() == bucket && place.prefix() == prefix)
        };
        let is_there = |id: &TableId| {
            let row = rows.get(&twinlake_core::Subject::Table(id.clone()));
            row.is_some_and(here)
        };
        Ok(tables.into_iter().filter(is_there).collect())
    }
}
