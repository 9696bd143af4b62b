//! What the ledger stores of the objects of the domain: one row for each.

use super::object::{ObjectKey, QueryObject};
use super::rules::QueryKind;
use crate::ledger::{DeletionCounts, Intent, Pairing, SubjectState, format};
use crate::timestamp::Timestamp;
use crate::topology::{BySite, Epoch, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What ran by itself in the primary and sleeps in the standby: what wakes it after a takeover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimarySchedule {
    /// Its cron expression; a conditional trigger has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The epoch in which the primary's was last seen to run by itself.
    pub epoch: Epoch,
}

/// The row of one object of the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRow {
    /// The format of the row.
    pub format: u32,
    /// The object in each site; the ids of saved queries differ.
    pub keys: BySite<Option<ObjectKey>>,
    /// The object as a person knows it.
    pub description: String,
    /// The pairing. Without one, Twinlake does not manage the standby's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// The epoch in which they were last paired. The rows of versions that did not record it are of the first.
    #[serde(default)]
    pub paired_in: Epoch,
    /// What made the primary's object run by itself, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<PrimarySchedule>,
    /// Of a job the option with which the primary's keeps bookmarks: no call carries them, so a takeover wakes no trigger
    /// that starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmarks: Option<String>,
    /// Of a row that was handed over at a switch and pairs nothing yet: when the object of the standby was created
    /// that was paired before. It tells what is to be put to sleep there, whatever was changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before_switch: Option<Timestamp>,
    /// What is about to be created, recorded before the call.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub intents: BTreeSet<Intent>,
    /// The state.
    pub state: SubjectState,
    /// When it entered this state.
    pub since: Timestamp,
    /// The reason for the state, unless it is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl QueryRow {
    /// A row of an object of the primary that is not paired.
    #[must_use]
    pub fn new(epoch: Epoch, object: &ObjectKey, description: &str, now: Timestamp) -> Self {
        Self {
            format: format::LEDGER,
            keys: BySite::from_roles(epoch, Some(object.clone()), None),
            description: description.to_owned(),
            pairing: None,
            paired_in: epoch,
            schedule: None,
            bookmarks: None,
            created_before_switch: None,
            intents: BTreeSet::new(),
            state: SubjectState::OutOfSync,
            since: now,
            reason: None,
        }
    }

    /// The row of the two objects once their sites have changed roles, by its object of the primary; `None` if this
    /// row pairs nothing. It pairs nothing itself: the object of the standby is taken for the counterpart only if it is
    /// still the one that was paired, by its digest.
    #[must_use]
    pub fn turned(&self, epoch: Epoch, now: Timestamp) -> Option<(ObjectKey, Self)> {
        let pairing = self.pairing.as_ref()?;
        let key = self.key_in(epoch.primary())?.clone();
        let digest = pairing.digest.get(epoch.standby()).clone()?;
        let mut row = Self::new(epoch, &key, &self.description, now);
        row.schedule.clone_from(&self.schedule);
        row.bookmarks.clone_from(&self.bookmarks);
        row.created_before_switch = pairing.created_in(epoch.standby());
        row.reason =
            Some("it has not been compared since the Region became the standby".to_owned());
        // As old as can be: nobody is creating it now.
        let at = Timestamp::default();
        row.intents.insert(Intent { at, run: 0, digest });
        Some((key, row))
    }

    /// Takes over what the ledger of the other Region knows of the same pair from a later epoch: its objects, what they
    /// were like when they were last compared, and what ran by itself.
    pub fn take_over(&mut self, other: &Self) {
        if !self.paired_in.is_before(other.paired_in) {
            return;
        }
        self.keys = other.keys.clone();
        self.pairing.clone_from(&other.pairing);
        self.paired_in = other.paired_in;
        self.schedule.clone_from(&other.schedule);
        self.bookmarks.clone_from(&other.bookmarks);
    }

    /// The id under which the ledger stores the row of an object.
    #[must_use]
    pub fn stored_id(primary: SiteId, key: &ObjectKey) -> String {
        let parent = key.parent.as_deref().unwrap_or_default();
        // Where a kind has parents, no name contains a slash but that of a saved query, which is stored by its id.
        format!("{primary}/{}/{parent}/{}", key.kind, key.id)
    }

    /// The object of a site.
    #[must_use]
    pub fn key_in(&self, site: SiteId) -> Option<&ObjectKey> {
        self.keys.get(site).as_ref()
    }

    /// Pairs two objects that are equal or were just made so.
    pub fn pair(&mut self, epoch: Epoch, primary: &QueryObject, standby: &QueryObject) {
        self.keys = BySite::from_roles(epoch, Some(primary.key.clone()), Some(standby.key.clone()));
        self.description = primary.describe();
        self.pairing = Some(Pairing {
            created: BySite::from_roles(epoch, primary.created, standby.created),
            digest: BySite::from_roles(
                epoch,
                Some(primary.digest_with_tags()),
                Some(standby.digest_with_tags()),
            ),
            link: false,
        });
        self.paired_in = epoch;
        self.created_before_switch = None;
        self.record_schedule(epoch, primary);
        self.bookmarks = primary.kept_bookmarks().map(str::to_owned);
    }

    /// Records what makes the primary's object run by itself. What ran in the former primary and does not run in
    /// this one has not been woken since the switch: it is kept, for whoever wakes it.
    fn record_schedule(&mut self, epoch: Epoch, primary: &QueryObject) {
        let is_of_this_epoch = |known: &PrimarySchedule| known.epoch == epoch;
        if primary.is_awake() {
            let cron = primary.cron().map(str::to_owned);
            self.schedule = Some(PrimarySchedule { cron, epoch });
        } else if self.schedule.as_ref().is_some_and(is_of_this_epoch) {
            self.schedule = None;
        }
    }

    /// What ran by itself in one of the two epochs before this one, and has not run since. What has slept for longer
    /// was left asleep in each Region while that was the primary.
    #[must_use]
    pub fn asleep_since_switch(&self, epoch: Epoch) -> Option<&PrimarySchedule> {
        let schedule = self.schedule.as_ref();
        schedule.filter(|schedule| matches!(epoch.switches_since(schedule.epoch), 1 | 2))
    }

    /// Whether it was seen to run by itself in the epoch before this one: in the former primary.
    #[must_use]
    pub fn ran_in_former_primary(&self, epoch: Epoch) -> bool {
        let schedule = self.schedule.as_ref();
        schedule.is_some_and(|schedule| epoch.switches_since(schedule.epoch) == 1)
    }

    /// Whether the standby's object is not as it was when an earlier epoch last paired it.
    #[must_use]
    pub fn was_changed_since_earlier_epoch(&self, epoch: Epoch, object: &QueryObject) -> bool {
        let is_paired_as =
            |pairing: &Pairing| pairing.has_digest(epoch.standby(), &object.digest_with_tags());
        self.paired_in != epoch && !self.pairing.as_ref().is_some_and(is_paired_as)
    }

    /// Whether an object of the standby is the one that the row pairs. A name that somebody else deleted and
    /// made again, at another time, is not. Where a time is not known, an object is the paired one if it has the
    /// content that was paired, or one that Twinlake was about to give it; ids that the service gives are enough.
    #[must_use]
    pub fn pairs(&self, standby: SiteId, object: &QueryObject) -> bool {
        let Some(pairing) = &self.pairing else {
            return false;
        };
        let is_same = match (pairing.created_in(standby), object.created) {
            (Some(paired), Some(found)) => paired == found,
            (None, _) | (_, None) => {
                object.key.kind.rules().id_by_service
                    || pairing.has_digest(standby, &object.digest_with_tags())
                    || self.intends(object)
            }
        };
        self.key_in(standby) == Some(&object.key) && is_same
    }

    /// Whether Twinlake takes from an object of the standby what it should not have: what lets it run by itself, and
    /// access to it. That is so of what the row pairs, of what Twinlake was about to make, and of what was paired before
    /// a switch.
    #[must_use]
    pub fn may_narrow(&self, standby: SiteId, object: &QueryObject) -> bool {
        let created = self.created_before_switch;
        let was_paired = created.is_some() && created == object.created;
        self.pairs(standby, object) || self.intends(object) || was_paired
    }

    /// The object of the standby that the row is about, whether or not it pairs it.
    #[must_use]
    pub fn standby_key<'k>(&'k self, epoch: Epoch, key: &'k ObjectKey) -> &'k ObjectKey {
        // A row from before a switch pairs nothing, and names what was paired by its content.
        let paired = self.pairing.as_ref().and(self.key_in(epoch.standby()));
        paired.unwrap_or(key)
    }

    /// Records that a run is about to create an object with this digest, or to give it to the paired one. Intents of runs that have ended are
    /// removed, but for the newest: its creation may have succeeded.
    pub fn record_intent(&mut self, run: u64, digest: &str, now: Timestamp) {
        let newest = self.intents.last().cloned();
        self.intents
            .retain(|intent| intent.is_recent(now) || Some(intent) == newest.as_ref());
        let is_same = |intent: &Intent| intent.run == run && intent.digest == digest;
        if !self.intents.iter().any(is_same) {
            self.intents.insert(Intent {
                at: now,
                run,
                digest: digest.to_owned(),
            });
        }
    }

    /// Whether Twinlake was about to make an object with these fields and tags.
    #[must_use]
    pub fn intends(&self, object: &QueryObject) -> bool {
        let digest = object.digest_with_tags();
        self.intents.iter().any(|intent| intent.digest == digest)
    }

    /// Sets the state with its reason. The time of the state changes only with the state.
    pub fn set_state(&mut self, state: SubjectState, reason: Option<String>, now: Timestamp) {
        if self.state != state {
            self.since = now;
        }
        self.state = state;
        self.reason = reason;
    }
}

/// Rows by the object of the primary.
pub type QueryRows = BTreeMap<ObjectKey, QueryRow>;

/// Numbers of objects by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryCounts(pub BTreeMap<QueryKind, usize>);

impl QueryCounts {
    /// The number of objects of a kind.
    #[must_use]
    pub fn of(&self, kind: QueryKind) -> usize {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// Counts one more object.
    pub fn add(&mut self, kind: QueryKind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// The number of objects.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// The paired objects of rows.
    #[must_use]
    pub fn paired(rows: &QueryRows) -> Self {
        let mut counts = Self::default();
        for key in rows.iter().filter(|(_, row)| row.pairing.is_some()) {
            counts.add(key.0.kind);
        }
        counts
    }
}

impl DeletionCounts for QueryCounts {
    fn plus(mut self, other: Self) -> Self {
        for (kind, count) in other.0 {
            let sum = self.0.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
        self
    }
}
