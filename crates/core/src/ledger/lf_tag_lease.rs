//! The lease on changes of access by LF-Tags.
//!
//! What a grant by LF-Tags gives depends on the LF-Tags of every table, and which LF-Tags a table may
//! have depends on every such grant. Who changes either must know both, so only one run at a time may.

use super::CLOCK_SKEW_SECS;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a lease lasts: longer than a function can run.
const LEASE_SECS: i64 = 16 * 60;

/// How long a run may need to end after it should stop, and the difference of two clocks.
const END_SECS: i64 = 10 + CLOCK_SKEW_SECS;

/// The lease as the ledger stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LfTagLease {
    /// The random number of the run that holds it or held it last.
    pub holder: u64,
    /// When it ends by itself; `None` once it was given back.
    pub until: Option<Timestamp>,
    /// When it was taken or given back last.
    pub at: Timestamp,
    /// When another run than the holder may have changed something last.
    #[serde(default)]
    pub other_at: Option<Timestamp>,
}

/// What others did before a lease was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierHolder {
    /// Nobody changed anything since the new holder began to read.
    None,
    /// Another reconciliation of the same run did.
    SameRun,
    /// Another run did.
    OtherRun,
    /// A reconciliation died, or could not give the lease back: grants that it revoked for the time of
    /// a change may be missing.
    Died,
}

impl LfTagLease {
    /// The lease of a run that takes it now, or takes it again, after the lease that is stored. It lasts
    /// for as long as a function can run, or until shortly after `stop_at`, when the run ends.
    #[must_use]
    pub fn taken(
        holder: u64,
        now: Timestamp,
        stop_at: Option<Timestamp>,
        earlier: Option<&Self>,
    ) -> Self {
        let longest = now.plus_secs(LEASE_SECS);
        let until = stop_at.map_or(longest, |stop_at| stop_at.max(now).plus_secs(END_SECS));
        let other_at = earlier.and_then(|earlier| match earlier.holder == holder {
            true => earlier.other_at,
            false if earlier.until.is_some() => Some(now),
            false => Some(earlier.at),
        });
        Self {
            holder,
            until: Some(until.min(longest)),
            at: now,
            other_at,
        }
    }

    /// The lease once its holder has given it back.
    #[must_use]
    pub const fn given_back(self, now: Timestamp) -> Self {
        Self {
            until: None,
            at: now,
            ..self
        }
    }

    /// When the lease of another run ends, if it has not ended. No run takes one that ends later than
    /// [`LEASE_SECS`] from then on: one that ends later than any clock allows is of no run, and held by nobody. Whoever
    /// takes it finds that its holder died.
    #[must_use]
    pub fn held_by_other_until(&self, holder: u64, now: Timestamp) -> Option<Timestamp> {
        let latest = now.plus_secs(LEASE_SECS + CLOCK_SKEW_SECS);
        self.until
            .filter(|until| self.holder != holder && *until > now && *until <= latest)
    }

    /// Whether its holder has to take it again before it goes on.
    #[must_use]
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        let soon = now.plus_secs(END_SECS);
        self.until.is_none_or(|until| until < soon)
    }

    /// What other runs did since `started`, when the new holder began to read. What the holder's own
    /// run did is not stored.
    #[must_use]
    pub fn earlier_holder(&self, holder: u64, started: Timestamp) -> EarlierHolder {
        let is_recent = |at: Timestamp| at.plus_secs(CLOCK_SKEW_SECS) >= started;
        match (self.holder == holder, self.until) {
            (_, Some(_)) => EarlierHolder::Died,
            (true, None) if self.other_at.is_some_and(is_recent) => EarlierHolder::OtherRun,
            (false, None) if is_recent(self.at) => EarlierHolder::OtherRun,
            (_, None) => EarlierHolder::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_lease_is_free_when_it_was_given_back_or_has_ended() {
        let lease = LfTagLease::taken(1, at(0), None, None);
        assert_eq!(lease.held_by_other_until(2, at(1)), Some(at(LEASE_SECS)));
        assert_eq!(lease.held_by_other_until(1, at(1)), None);
        assert_eq!(lease.held_by_other_until(2, at(LEASE_SECS)), None);
        let given_back = lease.given_back(at(2));
        assert_eq!(given_back.held_by_other_until(2, at(2)), None);
        let short = LfTagLease::taken(1, at(0), Some(at(50)), None);
        assert_eq!(short.until, Some(at(50 + END_SECS)));
    }

    #[test]
    fn a_lease_that_ends_later_than_any_run_takes_one_is_held_by_nobody() {
        let ahead = LfTagLease::taken(1, at(CLOCK_SKEW_SECS), None, None);
        let until = ahead.until;
        assert_eq!(ahead.held_by_other_until(2, at(0)), until, "another clock");
        let years = LfTagLease {
            until: Some(at(100 * 365 * 86_400)),
            ..ahead
        };
        assert_eq!(years.held_by_other_until(2, at(0)), None);
        assert_eq!(years.earlier_holder(2, at(0)), EarlierHolder::Died);
    }

    #[test]
    fn what_the_earlier_holder_did_is_known_by_how_it_left() {
        let lease = LfTagLease::taken(1, at(0), None, None);
        assert_eq!(lease.earlier_holder(2, at(900)), EarlierHolder::Died);
        let lease = lease.given_back(at(100));
        assert_eq!(lease.earlier_holder(2, at(160)), EarlierHolder::OtherRun);
        assert_eq!(lease.earlier_holder(2, at(161)), EarlierHolder::None);
        assert_eq!(lease.earlier_holder(1, at(100)), EarlierHolder::None);
    }

    #[test]
    fn another_run_is_not_forgotten_behind_a_later_holder_of_the_same_run() {
        let other = LfTagLease::taken(2, at(90), None, None).given_back(at(100));
        let ours = LfTagLease::taken(1, at(110), None, Some(&other)).given_back(at(120));
        let again = LfTagLease::taken(1, at(130), None, Some(&ours)).given_back(at(140));
        assert_eq!(again.earlier_holder(1, at(95)), EarlierHolder::OtherRun);
        assert_eq!(again.earlier_holder(1, at(161)), EarlierHolder::None);
        let dead = LfTagLease::taken(2, at(0), None, None);
        let ours = LfTagLease::taken(1, at(990), None, Some(&dead)).given_back(at(995));
        assert_eq!(ours.earlier_holder(1, at(980)), EarlierHolder::OtherRun);
    }
}
