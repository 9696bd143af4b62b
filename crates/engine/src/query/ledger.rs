//! The rows of the domain in the ledger, each written on the condition that nobody wrote it meanwhile.

use super::{Problem, QueryToolsContext, QueryToolsOutcome, Round};
use crate::ports::{Clock, ConditionalWrites, DocumentStore};
use crate::versioned_item::{self, ItemUpdate, VersionedItem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use twinlake_core::ledger::{DeletionLog, Pairing, SubjectState, format};
use twinlake_core::query::{
    ObjectKey, QueryCounts, QueryFinding, QueryObject, QueryPlan, QueryRow, QueryRows,
    QuerySnapshot, QueryStep,
};
use twinlake_core::topology::{BySite, Epoch, SiteId};
use twinlake_core::{CallError, CallErrorKind, Timestamp};

/// The families of documents.
const ROWS: &str = "query_rows";
const META: &str = "query";
/// The documents of [`META`].
const DELETIONS: &str = "deletions";
const RESYNC: &str = "resync";
/// The most findings that the record of a run keeps.
const MAX_FINDINGS: usize = 200;

/// The last run over the domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryResyncRecord {
    /// The format of the record.
    pub format: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When the last run began that read everything and left no step undone.
    pub settled_at: Option<Timestamp>,
    /// The paired objects.
    pub paired: QueryCounts,
    /// What it found, at most 200.
    pub findings: Vec<QueryFinding>,
}

/// A document as a versioned item.
struct DocumentItem<'a, L, T> {
    store: &'a L,
    family: &'static str,
    id: String,
    content: PhantomData<T>,
}

impl<'a, L, T> DocumentItem<'a, L, T> {
    fn new(store: &'a L, family: &'static str, id: String) -> Self {
        Self {
            store,
            family,
            id,
            content: PhantomData,
        }
    }
}

impl<L: DocumentStore, T: Serialize + DeserializeOwned> VersionedItem for DocumentItem<'_, L, T> {
    type Value = T;

    fn description(&self) -> String {
        format!("the document {} of {}", self.id, self.family)
    }

    async fn read(&self) -> Result<Option<(T, u64)>, CallError> {
        let stored = self.store.document(self.family, &self.id).await?;
        stored
            .map(|(text, version)| Ok((parse(&text)?, version)))
            .transpose()
    }

    async fn write(&self, value: Option<&T>, expected: Option<u64>) -> Result<bool, CallError> {
        // Keys of maps are texts, so writing to memory cannot fail.
        let text = value.map(|value| serde_json::to_string(value).unwrap_or_default());
        let store = self.store;
        store
            .put_document(self.family, &self.id, text.as_deref(), expected)
            .await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.store, attempt).await;
    }
}

/// Parses a document that this version can read.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, CallError> {
    #[derive(Deserialize)]
    struct Format {
        #[serde(default)]
        format: u32,
    }
    let refuse =
        |message: String| CallError::new(CallErrorKind::Invalid, "ledger", "this Region", message);
    let found = serde_json::from_str::<Format>(text).map_or(0, |found| found.format);
    if found > format::LEDGER {
        return Err(refuse(format::unknown("an item of the query tools", found)));
    }
    serde_json::from_str(text).map_err(|error| {
        refuse(format!(
            "the ledger contains a document that cannot be parsed: {error}"
        ))
    })
}

/// The rows of one run.
pub(super) struct QueryLedger<'a, L> {
    store: &'a L,
    primary: SiteId,
    pub(super) rows: QueryRows,
    versions: BTreeMap<ObjectKey, u64>,
}

/// The rows of the domain and the record of its last run.
///
/// # Errors
/// The ledger cannot be reached, or a newer Twinlake wrote it.
pub async fn read_query_ledger<L: DocumentStore>(
    store: &L,
    primary: SiteId,
) -> Result<(QueryRows, Option<QueryResyncRecord>), CallError> {
    let ledger = QueryLedger::open(store, primary).await?;
    let record = ledger.resync_record().await?;
    Ok((ledger.rows, record))
}

impl<'a, L: DocumentStore> QueryLedger<'a, L> {
    pub(super) async fn open(store: &'a L, primary: SiteId) -> Result<Self, CallError> {
        let mut ledger = Self {
            store,
            primary,
            rows: QueryRows::new(),
            versions: BTreeMap::new(),
        };
        for (text, version) in store.documents(ROWS).await?.into_values() {
            let row: QueryRow = parse(&text)?;
            // Rows from before a switch are of the other direction.
            let Some(key) = row.key_in(primary).cloned() else {
                continue;
            };
            ledger.versions.insert(key.clone(), version);
            ledger.rows.insert(key, row);
        }
        Ok(ledger)
    }

    /// Changes a row by `next` of the stored one, which returns the new row, or `None` to delete it.
    pub(super) async fn change<R>(
        &mut self,
        key: &ObjectKey,
        mut next: impl FnMut(Option<QueryRow>) -> (Option<QueryRow>, R),
    ) -> Result<R, CallError> {
        let id = QueryRow::stored_id(self.primary, key);
        let item = DocumentItem::<L, QueryRow>::new(self.store, ROWS, id);
        let known = self
            .rows
            .get(key)
            .cloned()
            .zip(self.versions.get(key).copied());
        let (row, result, version) = versioned_item::update(&item, known, |stored| {
            let (row, result) = next(stored.clone());
            match row {
                row if row == stored => ItemUpdate::Keep((row, result, Stored::Unchanged)),
                Some(row) => ItemUpdate::Put(row.clone(), (Some(row), result, Stored::Written)),
                None => ItemUpdate::Delete((None, result, Stored::Written)),
            }
        })
        .await?;
        match version {
            Stored::Unchanged => {}
            // The next write reads the version again.
            Stored::Written => {
                self.versions.remove(key);
            }
        }
        match row {
            Some(row) => self.rows.insert(key.clone(), row),
            None => self.rows.remove(key),
        };
        Ok(result)
    }

    /// Records adopted objects, new creation times and digests, and deletes the rows of what neither Region
    /// has.
    pub(super) async fn adopt<P, S, C: Clock>(
        &mut self,
        context: &QueryToolsContext<'_, P, S, L, C>,
        round: &Round,
    ) -> Result<(), CallError> {
        let (now, epoch) = (context.clock.now(), context.epoch);
        let mut pairs: BTreeMap<ObjectKey, ObjectKey> = round.plan.adopted.clone();
        // What was not compared keeps its pairing, and with it what is known of the time before a switch.
        let compared = |key: &&ObjectKey| round.plan.compared.contains(*key);
        for (key, row) in self.rows.iter().filter(|(key, _)| compared(key)) {
            if let (Some(_), Some(standby)) = (&row.pairing, row.key_in(epoch.standby())) {
                pairs.entry(key.clone()).or_insert_with(|| standby.clone());
            }
        }
        for (key, standby) in pairs {
            let primary = round.primary.present(&key);
            let Some((primary, standby)) = primary.zip(round.standby.present(&standby)) else {
                continue;
            };
            let is_adopted = round.plan.adopted.contains_key(&key);
            self.change(&key, |stored| {
                let mut row =
                    stored.unwrap_or_else(|| QueryRow::new(epoch, &key, &primary.describe(), now));
                if is_adopted || row.pairs(epoch.standby(), standby) {
                    row.pair(epoch, primary, standby);
                    row.intents.clear();
                }
                (Some(row), ())
            })
            .await?;
        }
        for key in &round.plan.forgotten {
            self.forget(key, (context.run, now)).await?;
        }
        Ok(())
    }

    /// Records what is about to be created, and what objects that have no identity of their own may be like when
    /// only some of the calls take effect. Returns false if another run may be creating one of them.
    pub(super) async fn record_intents<P, S, C: Clock>(
        &mut self,
        context: &QueryToolsContext<'_, P, S, L, C>,
        steps: &[QueryStep],
        standby: &QuerySnapshot,
    ) -> Result<bool, CallError> {
        let (now, run, epoch) = (context.clock.now(), context.run, context.epoch);
        for step in steps {
            let QueryStep::Create { primary, object } = step else {
                continue;
            };
            let digest = object.as_created().digest_with_tags();
            let is_recorded = self
                .change(primary, |stored| {
                    let mut row = stored
                        .unwrap_or_else(|| QueryRow::new(epoch, primary, &object.describe(), now));
                    let mut intents = row.intents.iter();
                    if intents.any(|intent| intent.run != run && intent.is_recent(now)) {
                        return (Some(row), false);
                    }
                    row.record_intent(run, &digest, now);
                    (Some(row), true)
                })
                .await?;
            if !is_recorded {
                return Ok(false);
            }
        }
        for (primary, digests) in changed_contents(steps, standby) {
            self.change(&primary, |stored| {
                let row = stored.map(|mut row| {
                    for digest in &digests {
                        row.record_intent(run, digest, now);
                    }
                    row
                });
                (row, ())
            })
            .await?;
        }
        Ok(true)
    }

    /// Records an object that was just created, with the id that the service gave it, and with the time of its creation
    /// if it is known.
    pub(super) async fn record_created<P, S, C: Clock>(
        &mut self,
        context: &QueryToolsContext<'_, P, S, L, C>,
        primary: &ObjectKey,
        (object, created, time): (&QueryObject, &ObjectKey, Option<Timestamp>),
    ) -> Result<(), CallError> {
        let (now, epoch) = (context.clock.now(), context.epoch);
        self.change(primary, |stored| {
            let mut row =
                stored.unwrap_or_else(|| QueryRow::new(epoch, primary, &object.describe(), now));
            row.keys = BySite::from_roles(epoch, Some(primary.clone()), Some(created.clone()));
            row.pairing = Some(Pairing {
                created: BySite::from_roles(epoch, None, time),
                digest: BySite::from_roles(epoch, None, Some(object.digest_with_tags())),
                link: false,
            });
            row.paired_in = epoch;
            (Some(row), ())
        })
        .await
    }

    /// Deletes the row of what exists in no Region, unless another run wrote it since this one read it, or may be
    /// creating the object at this moment.
    pub(super) async fn forget(
        &mut self,
        key: &ObjectKey,
        (run, now): (u64, Timestamp),
    ) -> Result<(), CallError> {
        let known = self.rows.get(key).cloned();
        self.change(key, |stored| {
            let is_kept = stored.as_ref().is_some_and(|row| {
                let mut intents = row.intents.iter();
                let is_under_way = intents.any(|one| one.run != run && one.is_recent(now));
                is_under_way || Some(row) != known.as_ref()
            });
            (stored.filter(|_| is_kept), ())
        })
        .await
    }

    /// Records the states. Objects that are not in sync have a row although nothing pairs them. Those that have
    /// no problem and were not found equal keep their state: nothing is known of them.
    pub(super) async fn record_states(
        &mut self,
        epoch: Epoch,
        (problems, equal): (&BTreeMap<ObjectKey, Problem>, &BTreeSet<ObjectKey>),
        now: Timestamp,
    ) -> Result<(), CallError> {
        let mut keys: Vec<ObjectKey> = self.rows.keys().cloned().collect();
        keys.extend(
            problems
                .keys()
                .filter(|key| !self.rows.contains_key(*key))
                .cloned(),
        );
        for key in keys {
            let problem = problems.get(&key).cloned();
            self.change(&key, |stored| {
                let Some(mut row) = stored.or_else(|| {
                    let problem = problem.as_ref()?;
                    Some(QueryRow::new(epoch, &key, &problem.description, now))
                }) else {
                    return (None, ());
                };
                match problem.clone() {
                    Some(problem) => row.set_state(problem.state, Some(problem.reason), now),
                    None if row.pairing.is_some() && equal.contains(&key) => {
                        row.set_state(SubjectState::InSync, None, now);
                    }
                    None => {}
                }
                (Some(row), ())
            })
            .await?;
        }
        Ok(())
    }

    async fn resync_record(&self) -> Result<Option<QueryResyncRecord>, CallError> {
        let item = DocumentItem::<L, QueryResyncRecord>::new(self.store, META, RESYNC.to_owned());
        Ok(item.read().await?.map(|(record, _)| record))
    }

    pub(super) async fn record_run(
        &self,
        started_at: Timestamp,
        outcome: &QueryToolsOutcome,
    ) -> Result<(), CallError> {
        let item = DocumentItem::<L, QueryResyncRecord>::new(self.store, META, RESYNC.to_owned());
        versioned_item::update(&item, None, |stored| {
            let earlier = stored.and_then(|stored| stored.settled_at);
            let record = QueryResyncRecord {
                format: format::LEDGER,
                started_at,
                settled_at: outcome.is_settled.then_some(started_at).or(earlier),
                paired: outcome.paired.clone(),
                findings: outcome
                    .findings
                    .iter()
                    .take(MAX_FINDINGS)
                    .cloned()
                    .collect(),
            };
            ItemUpdate::Put(record, ())
        })
        .await
    }

    pub(super) async fn deleted_last_hour(&self, now: Timestamp) -> Result<QueryCounts, CallError> {
        let item = self.deletion_log();
        Ok(item.read().await?.unwrap_or_default().0.last_hour(now))
    }

    fn deletion_log(&self) -> DocumentItem<'a, L, DeletionLog<QueryCounts>> {
        DocumentItem::new(self.store, META, DELETIONS.to_owned())
    }

    /// Audits a plan by the deletions of the last hour, and adds its own to them if it is approved.
    pub(super) async fn charge_deletions<T, R>(
        &self,
        now: Timestamp,
        plan: &QueryPlan,
        audit: impl Fn(QueryCounts) -> Result<T, R>,
    ) -> Result<Result<T, R>, CallError> {
        let mut planned = QueryCounts::default();
        for step in plan.steps.iter().filter(|step| step.is_deletion()) {
            planned.add(step.primary().kind);
        }
        if planned == QueryCounts::default() {
            return Ok(audit(QueryCounts::default()));
        }
        versioned_item::update(&self.deletion_log(), None, |log| {
            let log = log.unwrap_or_default();
            let audited = audit(log.last_hour(now));
            match audited.is_ok() {
                true => ItemUpdate::Put(log.with(now, planned.clone()), audited),
                false => ItemUpdate::Keep(audited),
            }
        })
        .await
    }
}

/// Whether a row was written.
enum Stored {
    Unchanged,
    Written,
}

/// The digests of the contents that changes may give to objects that the service does not tell from a later one
/// of the same name, by their object of the primary: after each call, whichever of the calls take effect.
fn changed_contents(
    steps: &[QueryStep],
    standby: &QuerySnapshot,
) -> BTreeMap<ObjectKey, BTreeSet<String>> {
    let mut contents: BTreeMap<ObjectKey, Vec<QueryObject>> = BTreeMap::new();
    for step in steps {
        let (primary, key) = match step {
            QueryStep::Update {
                primary, object, ..
            } => (primary, &object.key),
            QueryStep::SetTags {
                primary, standby, ..
            } => (primary, standby),
            QueryStep::Narrow {
                primary, object, ..
            } => (primary, &object.key),
            QueryStep::Create { .. } | QueryStep::Sleep { .. } | QueryStep::Delete { .. } => {
                continue;
            }
        };
        // What was made by a call without an answer is narrowed before it is paired.
        let may_be_unpaired = matches!(step, QueryStep::Narrow { .. });
        let found = standby.present(key);
        let Some(found) = found.filter(|found| may_be_unpaired || !found.has_identity()) else {
            continue;
        };
        let known = contents
            .entry(primary.clone())
            .or_insert_with(|| vec![found.clone()]);
        let changed: Vec<QueryObject> = known
            .iter()
            .flat_map(|one| after_calls(one, step))
            .collect();
        known.extend(changed);
    }
    let digests = contents.into_iter().map(|(key, contents)| {
        let digests = contents.iter().map(QueryObject::digest_with_tags);
        (key, digests.collect())
    });
    digests.collect()
}

/// What an object may be after some of the calls of a step.
fn after_calls(object: &QueryObject, step: &QueryStep) -> Vec<QueryObject> {
    match step {
        QueryStep::Narrow {
            object: desired, ..
        }
        | QueryStep::Update {
            object: desired, ..
        } => vec![QueryObject {
            fields: desired.fields.clone(),
            ..object.clone()
        }],
        QueryStep::SetTags { set, remove, .. } => {
            let tags = object.tags.clone().unwrap_or_default();
            let with_set = tags.clone().into_iter().chain(set.clone()).collect();
            let without = |tags: &BTreeMap<String, String>| {
                let mut left = tags.clone();
                left.retain(|name, _| !remove.contains(name));
                left
            };
            [without(&tags), without(&with_set), with_set]
                .map(|tags| QueryObject {
                    tags: Some(tags),
                    ..object.clone()
                })
                .to_vec()
        }
        QueryStep::Create { .. } | QueryStep::Sleep { .. } | QueryStep::Delete { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryLedger;
    use futures_util::FutureExt as _;
    use twinlake_core::query::QueryKind;

    fn ready<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing here waits")
    }

    fn open(store: &InMemoryLedger) -> QueryLedger<'_, InMemoryLedger> {
        ready(QueryLedger::open(store, SiteId::A)).unwrap()
    }

    /// A run finds that an object exists nowhere, and deletes its row after another run, which began later, has
    /// changed the row.
    #[test]
    fn what_another_run_wrote_meanwhile_is_not_forgotten() {
        let key = ObjectKey::new(QueryKind::WorkGroup, "etl");
        let now = Timestamp::from_secs(1000);
        let row = QueryRow::new(Epoch::INITIAL, &key, "etl", now);
        let put = |ledger: &mut QueryLedger<'_, InMemoryLedger>, row: Option<QueryRow>| {
            ready(ledger.change(&key, |_| (row.clone(), ()))).unwrap();
        };
        let created = |secs| {
            let mut row = row.clone();
            row.record_intent(7, "digest", now.plus_secs(secs));
            row
        };
        let old = created(-7200);
        // What the first run has read, what the other one then writes, and whether the row stays.
        let cases = [
            (Some(row.clone()), None, false),
            (Some(old.clone()), None, false),
            (Some(created(0)), None, true),
            (Some(row.clone()), Some(Some(created(0))), true),
            (Some(row.clone()), Some(Some(old)), true),
            (Some(row.clone()), Some(None), false),
            (None, Some(Some(row.clone())), true),
        ];
        for (read, written, stays) in cases {
            let store = InMemoryLedger::default();
            put(&mut open(&store), read.clone());
            let mut first = open(&store);
            if let Some(written) = written.clone() {
                let mut other = open(&store);
                put(&mut other, None);
                put(&mut other, written);
            }
            ready(first.forget(&key, (1, now))).unwrap();
            let left = open(&store).rows;
            assert_eq!(left.contains_key(&key), stays, "{read:?}, {written:?}");
            assert_eq!(first.rows, left, "{read:?}, {written:?}");
        }
    }
}
