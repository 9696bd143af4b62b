//! Plans the difference between the query tools of the two Regions.

mod deletions;
mod external_schemas;
mod glue_tools;
mod narrowing;
mod pairing;

use super::mapping::{MappedObject, map_to_standby};
use super::object::{ObjectKey, QueryObject};
use super::row::{QueryRow, QueryRows};
use super::rules::QueryKind;
use super::snapshot::QuerySnapshot;
use crate::call_error::{CallError, CallErrorKind};
use crate::plan::FindingKind;
use crate::policy::{Policy, QueryPolicy};
use crate::snapshot::Observation;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use pairing::Counterpart;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct QueryInputs<'a> {
    /// What was read of the primary.
    pub primary: &'a QuerySnapshot,
    /// What was read of the standby.
    pub standby: &'a QuerySnapshot,
    /// The rows of the ledger.
    pub rows: &'a QueryRows,
    /// The policy.
    pub policy: &'a Policy,
    /// Its part about the query tools.
    pub query: &'a QueryPolicy,
    /// Which site is primary.
    pub epoch: Epoch,
    /// Objects that are left as they are in this run: steps that were rejected or failed.
    pub held: &'a HeldObjects,
    /// The time, and the number of this run: an intent of another run that is still recent means that it may
    /// be creating the object at this moment.
    pub run: (Timestamp, u64),
}

/// Why an object is left as it is in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldObject {
    /// The reason.
    pub reason: String,
    /// Whether what narrows it is held, too: only if that itself was rejected, was not confirmed, or failed.
    pub holds_narrowing: bool,
}

/// Objects that are left as they are in a run, by their object of the primary.
pub type HeldObjects = BTreeMap<ObjectKey, HeldObject>;

/// One write in the standby.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum QueryStep {
    /// Creates the counterpart of an object of the primary.
    Create {
        /// The object of the primary.
        primary: ObjectKey,
        /// What to create. The id of a saved query is not used.
        object: Box<QueryObject>,
    },
    /// Replaces the fields of a paired object.
    Update {
        /// The object of the primary.
        primary: ObjectKey,
        /// The object of the standby as read.
        current: Box<QueryObject>,
        /// What it should be.
        object: Box<QueryObject>,
    },
    /// Changes the tags of a paired object.
    SetTags {
        /// The object of the primary.
        primary: ObjectKey,
        /// The object of the standby.
        standby: ObjectKey,
        /// Tags to add or to change.
        set: BTreeMap<String, String>,
        /// Keys of tags to remove.
        remove: BTreeSet<String>,
    },
    /// Takes access away that an object of the standby gives and the primary's does not: of an external schema grants
    /// and its owner; a workgroup is disabled.
    Narrow {
        /// The object of the primary.
        primary: ObjectKey,
        /// The object of the standby as read.
        current: Box<QueryObject>,
        /// The same, without what is taken away.
        object: Box<QueryObject>,
    },
    /// Puts an object of the standby to sleep that runs by itself there.
    Sleep {
        /// The object of the primary.
        primary: ObjectKey,
        /// The object of the standby.
        standby: ObjectKey,
    },
    /// Deletes a paired object that the primary no longer has.
    Delete {
        /// The object that the primary had.
        primary: ObjectKey,
        /// The object of the standby as read: one of the same name that was made since is not deleted.
        current: Box<QueryObject>,
    },
}

impl QueryStep {
    /// The object of the primary that the step is for.
    #[must_use]
    pub fn primary(&self) -> &ObjectKey {
        match self {
            Self::Create { primary, .. }
            | Self::Update { primary, .. }
            | Self::SetTags { primary, .. }
            | Self::Narrow { primary, .. }
            | Self::Sleep { primary, .. }
            | Self::Delete { primary, .. } => primary,
        }
    }

    /// Whether it deletes an object.
    #[must_use]
    pub const fn is_deletion(&self) -> bool {
        match self {
            Self::Delete { .. } => true,
            Self::Create { .. }
            | Self::Update { .. }
            | Self::SetTags { .. }
            | Self::Narrow { .. }
            | Self::Sleep { .. } => false,
        }
    }

    /// Whether it only takes away: such steps come first, and nothing else of an object holds them back.
    #[must_use]
    pub const fn is_narrowing(&self) -> bool {
        match self {
            Self::Narrow { .. } | Self::Sleep { .. } => true,
            Self::Create { .. }
            | Self::Update { .. }
            | Self::SetTags { .. }
            | Self::Delete { .. } => false,
        }
    }

    /// What a person should know of it beyond the step.
    #[must_use]
    pub fn finding(&self) -> Option<QueryFinding> {
        match self {
            Self::Sleep { primary, standby } => Some(QueryFinding {
                kind: FindingKind::Note,
                object: standby.to_string(),
                detail: "it ran by itself in the standby, where only a person wakes it after a takeover: it is \
                         put to sleep"
                    .to_owned(),
                key: Some(primary.clone()),
            }),
            Self::Create { .. }
            | Self::Update { .. }
            | Self::SetTags { .. }
            | Self::Narrow { .. }
            | Self::Delete { .. } => None,
        }
    }
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueryFinding {
    /// The kind.
    pub kind: FindingKind,
    /// The object, or what of the Region it is about.
    pub object: String,
    /// What was found, and what to do if that is not obvious.
    pub detail: String,
    /// The object of the primary, if it is about one.
    #[serde(skip)]
    pub key: Option<ObjectKey>,
}

/// The difference between the Regions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QueryPlan {
    /// The writes, in order: parents are created before and deleted after their children.
    pub steps: Vec<QueryStep>,
    /// What holds something back, or is not replicated.
    pub findings: BTreeSet<QueryFinding>,
    /// Objects that count as paired from now on, because they are equal, or were made by an earlier run:
    /// of the primary, and of the standby.
    #[serde(skip)]
    pub adopted: BTreeMap<ObjectKey, ObjectKey>,
    /// Objects of the primary of which the counterpart was read and compared. They are equal but for what the
    /// steps change and the findings name.
    #[serde(skip)]
    pub compared: BTreeSet<ObjectKey>,
    /// Objects of rows that neither Region has any more.
    #[serde(skip)]
    pub forgotten: BTreeSet<ObjectKey>,
    /// Objects of the primary to read by name before their absence counts; without them the plan is final.
    #[serde(skip)]
    pub needs: BTreeSet<ObjectKey>,
    /// Crawlers and triggers of the standby that run by themselves, or may, and that no step puts to sleep.
    #[serde(skip)]
    pub awake: BTreeSet<ObjectKey>,
    /// External schemas of the standby to query: each is what it should be, and no query has shown that it works.
    #[serde(skip)]
    pub canaries: BTreeSet<ObjectKey>,
    /// The digest of the policy that it was made with.
    pub policy_digest: String,
    /// The epoch that it was made in.
    pub epoch: Epoch,
}

/// Plans the difference. A plan with `needs` is not final: read these objects of the primary by name, record
/// them with [`QuerySnapshot::record_read`], and plan again.
#[must_use]
pub fn plan_query(inputs: &QueryInputs<'_>) -> QueryPlan {
    let mut planner = Planner {
        inputs,
        plan: QueryPlan {
            policy_digest: inputs.policy.digest().to_owned(),
            epoch: inputs.epoch,
            ..QueryPlan::default()
        },
        taken: inputs
            .rows
            .values()
            .filter(|row| row.pairing.is_some())
            .filter_map(|row| row.key_in(inputs.epoch.standby()).cloned())
            .collect(),
        missing_parents: BTreeSet::new(),
        narrowed: BTreeMap::new(),
    };
    planner.report_listings();
    planner.report_mounted_catalogs();
    planner.put_to_sleep();
    planner.narrow();
    for (key, observation) in &inputs.primary.objects {
        if !key.is_covered(inputs.query) {
            continue;
        }
        match observation {
            Observation::Present(object) => planner.object(object),
            Observation::Unknown(error) => planner.unread(key, "the primary", error),
            Observation::Absent(_) => {}
        }
    }
    planner.deletions();
    planner.canaries();
    planner.report_awake();
    for (kind, count) in &inputs.primary.counted {
        let detail = format!("{count} x {kind}");
        planner.find(FindingKind::Unsupported, (None, "Athena"), detail);
    }
    planner.plan.steps.sort_by_key(order);
    planner.plan
}

/// What is put to sleep and narrowed first, then creations and updates with parents first, then deletions with children first.
fn order(step: &QueryStep) -> (usize, usize, ObjectKey) {
    let key = step.primary().clone();
    let rank = QueryKind::EVERY.iter().position(|kind| *kind == key.kind);
    let rank = rank.unwrap_or_default();
    match step {
        QueryStep::Sleep { .. } | QueryStep::Narrow { .. } => (0, rank, key),
        QueryStep::Create { .. } | QueryStep::Update { .. } | QueryStep::SetTags { .. } => {
            (1, rank, key)
        }
        QueryStep::Delete { .. } => (2, QueryKind::EVERY.len() - rank, key),
    }
}

/// The finding of a read that failed.
fn failed_read(error: &CallError) -> FindingKind {
    match error.kind == CallErrorKind::Denied {
        true => FindingKind::Denied,
        false => FindingKind::Unreadable,
    }
}

/// What a finding says of a tool that is awake.
const RUNS_BY_ITSELF: &str = "it runs by itself in the standby";

struct Planner<'a> {
    inputs: &'a QueryInputs<'a>,
    plan: QueryPlan,
    /// Objects of the standby that are paired already.
    taken: BTreeSet<ObjectKey>,
    /// Workgroups that the standby will not have: nothing is created in them.
    missing_parents: BTreeSet<ObjectKey>,
    /// Objects of the standby as they are once what narrows them has taken effect, by their object of the primary.
    narrowed: BTreeMap<ObjectKey, QueryObject>,
}

impl Planner<'_> {
    fn find(
        &mut self,
        kind: FindingKind,
        (key, object): (Option<&ObjectKey>, &str),
        detail: impl Into<String>,
    ) {
        self.plan.findings.insert(QueryFinding {
            kind,
            object: object.to_owned(),
            detail: detail.into(),
            key: key.cloned(),
        });
    }

    fn unread(&mut self, key: &ObjectKey, region: &str, error: &CallError) {
        let kind = failed_read(error);
        if key.kind == QueryKind::WorkGroup {
            self.missing_parents.insert(key.clone());
        }
        let detail = format!("it could not be read in {region}: {error}");
        self.find(kind, (Some(key), &key.to_string()), detail);
    }

    fn report_listings(&mut self) {
        let both = [
            ("the primary", self.inputs.primary),
            ("the standby", self.inputs.standby),
        ];
        for (region, snapshot) in both {
            for ((kind, parent), result) in &snapshot.listings {
                let Err(error) = result else {
                    continue;
                };
                let object = match parent {
                    Some(parent) => format!("each {kind} of {} {parent}", kind.parent_noun()),
                    None => format!("each {kind}"),
                };
                let finding = failed_read(error);
                let detail = format!("they could not be listed in {region}: {error}");
                self.find(finding, (None, &object), detail);
            }
        }
    }

    /// Plans one object that the primary has.
    fn object(&mut self, object: &QueryObject) {
        let (key, described) = (&object.key, object.describe());
        let about = (Some(key), described.as_str());
        if let Some(held) = self.inputs.held.get(key) {
            self.missing_parent(key);
            self.find(FindingKind::OnHold, about, held.reason.clone());
            return;
        }
        if self.has_unread_parts(object, about, "the primary") {
            return;
        }
        let mapped = map_to_standby(
            object,
            self.inputs.policy,
            self.inputs.query,
            self.inputs.epoch,
        );
        for note in &mapped.notes {
            self.find(FindingKind::Note, about, note.clone());
        }
        if !mapped.unsupported.is_empty() {
            self.unsupported(key, &described, &mapped.unsupported);
            return;
        }
        if !mapped.holds.is_empty() {
            self.missing_parent(key);
            for hold in &mapped.holds {
                self.find(FindingKind::OnHold, about, hold.clone());
            }
            return;
        }
        let missing = self.missing_references(object);
        if !missing.is_empty() {
            for (kind, detail) in missing {
                self.find(kind, about, detail);
            }
            return;
        }
        match self.counterpart(object, &mapped.object) {
            Counterpart::Paired(standby)
                if self.is_of_earlier_primary(key, standby)
                    && !mapped.object.is_equal_to(standby) =>
            {
                let detail = "it was changed in the standby while that Region was the primary, and the primary \
                              lacks the change: carry over what should stay, or delete the standby's; once \
                              both are equal, it is replicated again";
                self.find(FindingKind::Unmanaged, about, detail);
            }
            Counterpart::Paired(standby) => self.paired(object, &mapped, standby),
            Counterpart::Adopted(standby) => {
                self.taken.insert(standby.key.clone());
                self.plan.adopted.insert(key.clone(), standby.key.clone());
                self.paired(object, &mapped, standby);
            }
            Counterpart::None => self.create(object, &mapped),
            Counterpart::Foreign => {
                // AWS makes `primary` in each Region; any other is somebody's, with what is in it.
                if key.kind == QueryKind::WorkGroup && key.id != "primary" {
                    self.missing_parents.insert(key.clone());
                }
                let detail = "the standby has another object of this name, which Twinlake does not manage, or one \
                              with other tags: delete it, or make it equal, and it is replicated";
                let detail = match self.is_awake_in_standby(key) {
                    true => format!("{detail}; {RUNS_BY_ITSELF}"),
                    false => detail.to_owned(),
                };
                self.find(FindingKind::Unmanaged, about, detail);
            }
            Counterpart::Unread(error) => self.unread(key, "the standby", &error),
            Counterpart::Unlisted(reason) => {
                let detail =
                    format!("nothing is done as long as the standby cannot be listed: {reason}");
                self.find(FindingKind::Unreadable, about, detail);
            }
        }
    }

    /// Remembers that the standby may not have a workgroup.
    fn missing_parent(&mut self, key: &ObjectKey) {
        let exists = self.inputs.standby.present(key).is_some();
        if key.kind == QueryKind::WorkGroup && !exists {
            self.missing_parents.insert(key.clone());
        }
    }

    fn create(&mut self, object: &QueryObject, mapped: &MappedObject) {
        let (key, described) = (&object.key, object.describe());
        let about = (Some(key), described.as_str());
        if key
            .parent_key()
            .is_some_and(|parent| self.missing_parents.contains(&parent))
        {
            let detail = "its workgroup is not in the standby, or not Twinlake's, see there";
            self.find(FindingKind::OnHold, about, detail);
            return;
        }
        let (now, run) = self.inputs.run;
        let row = self.inputs.rows.get(key);
        let mut intents = row.into_iter().flat_map(|row| &row.intents);
        if intents.any(|intent| intent.run != run && intent.is_recent(now)) {
            let detail = "another run of Twinlake may be creating it; the next resync looks again";
            self.find(FindingKind::OnHold, about, detail);
            return;
        }
        self.plan.steps.push(QueryStep::Create {
            primary: key.clone(),
            object: Box::new(mapped.object.clone()),
        });
    }

    /// Compares a paired object with what it should be.
    fn paired(&mut self, primary: &QueryObject, mapped: &MappedObject, standby: &QueryObject) {
        let (desired, key) = (&mapped.object, &primary.key);
        let described = primary.describe();
        let about = (Some(key), described.as_str());
        if self.has_unread_parts(standby, about, "the standby") {
            return;
        }
        let narrowed = self.narrowed.get(key).cloned();
        let standby = narrowed.as_ref().unwrap_or(standby);
        let rules = key.kind.rules();
        for path in rules.reported_fields() {
            let (theirs, ours) = (primary.field(path), standby.field(path));
            if path.ends_with("EffectiveEngineVersion") && theirs != ours {
                let text = |value: Option<&serde_json::Value>| {
                    value.map_or_else(|| "none".to_owned(), ToString::to_string)
                };
                let detail = format!(
                    "{path} is {} in the primary and {} in the standby; Athena decides it",
                    text(theirs),
                    text(ours)
                );
                self.find(FindingKind::Note, about, detail);
            }
        }
        let fixed = rules.fixed_fields();
        let different: Vec<&str> = fixed
            .filter(|path| desired.field(path) != standby.field(path))
            .collect();
        if !different.is_empty() {
            let detail = format!(
                "{} differs in the standby and cannot be changed after creation: delete the standby's, \
                 and it is created again",
                different.join(", ")
            );
            self.find(FindingKind::Unmanaged, about, detail);
            return;
        }
        let mut unset = rules.never_unset.iter();
        if let Some(path) =
            unset.find(|path| desired.field(path).is_none() && standby.field(path).is_some())
        {
            let detail = format!(
                "{path} is not set in the primary, and no update unsets it: delete the standby's, and it is \
                 created again"
            );
            self.find(FindingKind::Unmanaged, about, detail);
            return;
        }
        self.plan.compared.insert(key.clone());
        if desired.comparable() != standby.comparable() {
            self.plan.steps.push(QueryStep::Update {
                primary: key.clone(),
                current: Box::new(standby.clone()),
                object: Box::new(QueryObject {
                    key: standby.key.clone(),
                    ..desired.clone()
                }),
            });
        }
        self.compare_tags(key, desired, standby);
    }

    fn compare_tags(&mut self, key: &ObjectKey, desired: &QueryObject, standby: &QueryObject) {
        let (Some(wanted), Some(found)) = (&desired.tags, &standby.tags) else {
            return;
        };
        let set: BTreeMap<String, String> = wanted
            .iter()
            .filter(|(name, value)| found.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let remove: BTreeSet<String> = found
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        if !set.is_empty() || !remove.is_empty() {
            self.plan.steps.push(QueryStep::SetTags {
                primary: key.clone(),
                standby: standby.key.clone(),
                set,
                remove,
            });
        }
    }

    /// Whether the standby's object was changed since an earlier epoch paired it: at that time its Region may
    /// have been the primary, and the change the newest one.
    fn is_of_earlier_primary(&self, key: &ObjectKey, standby: &QueryObject) -> bool {
        let row = self.row(key);
        row.is_some_and(|row| row.was_changed_since_earlier_epoch(self.inputs.epoch, standby))
    }

    fn row(&self, key: &ObjectKey) -> Option<&QueryRow> {
        self.inputs.rows.get(key)
    }
}
