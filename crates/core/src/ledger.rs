//! What Twinlake remembers: who is primary, what is paired, how each subject is.

mod pending;

pub use pending::{LOOKED_FOR, Missing, Pending, Replica};

use crate::catalog::PrincipalPermissions;
use crate::scope::{Facet, Subject};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number that names the primary: even, the policy's first Region; odd, the
/// second. It only grows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Whether the policy's first Region is the primary.
    #[must_use]
    pub fn first_is_primary(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// What a Region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its catalog is the truth. Twinlake writes nothing there.
    Primary,
    /// It follows the primary.
    Standby,
    /// It returned with an older epoch: it changes nothing until a person
    /// decides.
    Fenced,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::Fenced => "fenced",
        })
    }
}

/// The role of a Region from the epochs that it can read.
///
/// `peer` is `None` while the other ledger is out of reach: then the own epoch
/// decides, since a standby must go on while it cannot know better.
#[must_use]
pub fn role(is_first: bool, own: Epoch, peer: Option<Epoch>) -> Role {
    if peer.is_some_and(|peer| peer > own) {
        return Role::Fenced;
    }
    if own.first_is_primary() == is_first {
        Role::Primary
    } else {
        Role::Standby
    }
}

/// The counterpart of a primary object in the secondary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// When the primary object was made.
    pub primary_created: Option<Timestamp>,
    /// When the secondary object was made. If it reads otherwise one day,
    /// somebody made it anew and it is no longer ours.
    pub secondary_created: Option<Timestamp>,
    /// Digest of what was last found or put in the secondary.
    pub digest: String,
    /// The counterpart is a resource link: nothing is ever written below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub link: bool,
}

/// How a subject stands. `Current` is the only one that needs nobody's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Equal to the primary when last looked at.
    Current,
    /// Known to differ, and being worked on.
    Behind,
    /// Kept back by the policy or the brake, until a person decides.
    Held,
    /// The entry is there and the files behind it are not yet.
    DataPending,
    /// It cannot be brought in step; the reason says why.
    Blocked,
}

impl State {
    /// Every state but [`State::Current`].
    pub const TROUBLES: [Self; 4] = [Self::Behind, Self::Held, Self::DataPending, Self::Blocked];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Held => "held",
            Self::DataPending => "data-pending",
            Self::Blocked => "blocked",
        })
    }
}

/// One change of a subject's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// What it became.
    pub state: State,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// So many changes of its state a row remembers.
pub const REMEMBERED: usize = 10;

/// All that the ledger holds on one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whom the row is about.
    pub subject: Subject,
    /// Its counterpart. Without one nothing in the secondary is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// Digest of what we were about to create. Written before the call, so that
    /// after a crash our own object is recognised even if the primary went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intended: Option<String>,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Why, unless it is current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was looked at when it was last found not to be current: only a look at as
    /// much finds it current again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub by: BTreeSet<Facet>,
    /// Whether it is the brake that holds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub braked: bool,
    /// The primary's own default for new tables, at rest while the secondary's
    /// is closed; restored at promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_default: Option<Vec<PrincipalPermissions>>,
    /// Where its files are in the primary, of a table: what S3 tells of objects is mapped by
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How it came to stand so: the last changes of its state, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Transition>,
    /// How many partitions the secondary held when they were last counted.
    #[serde(default)]
    pub partitions: usize,
    /// Marks of what is paired of a subject of the lake: LF-Tags, expressions,
    /// registrations, administrators. Only those are ever taken away.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub owned: BTreeSet<String>,
}

impl Row {
    /// Whether the brake holds deletions of it, until a person releases them.
    #[must_use]
    pub fn is_braked(&self) -> bool {
        self.braked && self.state == State::Held
    }

    /// Writes a change of the state down.
    #[must_use]
    pub fn following(mut self, old: Option<&Self>) -> Self {
        self.past = old.map(|old| old.past.clone()).unwrap_or_default();
        if old.is_none_or(|old| old.state != self.state) {
            let change = Transition {
                at: self.since,
                state: self.state,
                reason: self.reason.clone(),
            };
            self.past.insert(0, change);
            self.past.truncate(REMEMBERED);
        }
        self
    }

    /// A row that pairs nothing yet.
    #[must_use]
    pub fn new(subject: Subject, state: State, since: Timestamp) -> Self {
        Self {
            subject,
            pairing: None,
            intended: None,
            state,
            since,
            reason: None,
            by: BTreeSet::new(),
            braked: false,
            table_default: None,
            place: None,
            past: Vec::new(),
            partitions: 0,
            owned: BTreeSet::new(),
        }
    }
}

/// Rows by subject.
pub type Rows = BTreeMap<Subject, Row>;

/// How many objects of each kind are paired, and how many were deleted lately:
/// what the brake measures a plan against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Databases.
    pub databases: usize,
    /// Tables.
    pub tables: usize,
    /// Partitions.
    pub partitions: usize,
}

/// When all partitions of a table were last looked at because events asked for it,
/// and when they will be next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweeps {
    /// The last time.
    pub last: Option<Timestamp>,
    /// The next time, if it is set.
    pub next: Option<Timestamp>,
}

/// What becomes of an event that asks for a look at all partitions of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweeping {
    /// They are looked at now.
    Now,
    /// They are looked at then.
    At(Timestamp),
    /// They are looked at then anyway.
    Covered(Timestamp),
}

/// How long after one look at all partitions of a table events may ask for another.
pub const SWEEP_SECS: i64 = 300;

impl Sweeps {
    /// What becomes of one more event, and the times as they are then.
    ///
    /// A look that is set for later sees what changed before it, so it covers every
    /// event until then.
    #[must_use]
    pub fn ask(self, now: Timestamp) -> (Sweeping, Self) {
        let due = self.next.filter(|next| *next <= now);
        let last = self.last.max(due);
        let free = last.map(|last| last.plus_secs(SWEEP_SECS));
        match (self.next.filter(|next| *next > now), free) {
            (Some(next), _) => (Sweeping::Covered(next), self),
            (None, Some(free)) if free > now => {
                let next = Some(free);
                (Sweeping::At(free), Self { last, next })
            }
            (None, _) => {
                let last = Some(now);
                (Sweeping::Now, Self { last, next: None })
            }
        }
    }
}

/// One resync from start to end, over however many messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Names the run.
    pub id: String,
    /// When its first read began: if it completes, `verified_at`.
    pub started: Timestamp,
    /// Parts that have not ended yet, by name.
    pub outstanding: BTreeSet<String>,
    /// Set when a part could not be read; such a run verifies nothing.
    #[serde(default)]
    pub unread: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_events_come_to_one_look_in_five_minutes_and_the_last_is_seen() {
        let at = Timestamp::from_secs;
        let mut sweeps = Sweeps::default();
        let mut ask = |now| {
            let (what, then) = sweeps.ask(at(now));
            sweeps = then;
            what
        };
        assert_eq!(ask(0), Sweeping::Now);
        assert_eq!(ask(10), Sweeping::At(at(300)));
        assert_eq!(ask(20), Sweeping::Covered(at(300)));
        assert_eq!(ask(299), Sweeping::Covered(at(300)));
        assert_eq!(
            ask(300),
            Sweeping::At(at(600)),
            "it may have been read already"
        );
        assert_eq!(ask(1200), Sweeping::Now);
    }

    #[test]
    fn the_epoch_names_the_primary_and_an_older_one_is_fenced() {
        assert_eq!(role(true, Epoch(0), Some(Epoch(0))), Role::Primary);
        assert_eq!(role(false, Epoch(0), Some(Epoch(0))), Role::Standby);
        assert_eq!(role(true, Epoch(1), None), Role::Standby);
        assert_eq!(role(false, Epoch(1), Some(Epoch(1))), Role::Primary);
        assert_eq!(role(true, Epoch(0), Some(Epoch(1))), Role::Fenced);
        assert_eq!(role(false, Epoch(1), Some(Epoch(0))), Role::Primary);
    }
}
