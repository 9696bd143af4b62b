//! All that the ledger knows of how it stands, read once.

use crate::CliError;
use crate::connect::{Connection, Store};
use std::collections::BTreeMap;
use twinlake_core::heartbeat::{Channel, Sample, Verdict, judge};
use twinlake_core::ledger::{Pending, Rows};
use twinlake_core::policy::Objectives;
use twinlake_core::{Alert, AlertKind, Fault, Lake, Row, State, Subject, TableId, Timestamp};
use twinlake_engine::{Clock as _, Journal, Ledger, digest, replication};

/// What is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// When it was read.
    pub now: Timestamp,
    /// A lag function is deployed beside it.
    pub is_watched: bool,
    /// Rows; those of tables whose objects are missing are data-pending.
    pub rows: Rows,
    /// The start of the last complete resync.
    pub verified_at: Option<Timestamp>,
    /// The last lag that was noted, and those before it, in order.
    pub samples: Vec<Sample>,
    /// Tables whose objects are missing.
    pub pendings: BTreeMap<TableId, Pending>,
    /// Troubles that people were told of and that are not over, worst first.
    pub open: Vec<Alert>,
    /// What is not replicated, by kind.
    pub unsupported: BTreeMap<String, usize>,
}

/// A lag that was noted longer ago than this says nothing of now.
const STALE_SECS: i64 = 300;

impl Known {
    /// Reads it, with the lag of so many seconds.
    pub(crate) async fn read(connection: &Connection, lag_secs: i64) -> Result<Self, CliError> {
        let now = connection.clock.now();
        match &connection.store {
            Store::Deployed(ledger) => Ok(Self {
                is_watched: true,
                ..read(ledger, now, lag_secs).await?
            }),
            Store::File(_, ledger) => Ok(read(ledger, now, lag_secs).await?),
            Store::None(_) => {
                let problem = "no ledger is deployed, so nothing is known; `twinlake plan` \
                               compares the Regions without one";
                Err(CliError::Usage(problem.to_owned()))
            }
        }
    }

    /// The lag of now, if the lag function has noted one.
    pub(crate) fn lag(&self) -> Option<&Sample> {
        let last = self.samples.last()?;
        (last.at.plus_secs(STALE_SECS) >= self.now).then_some(last)
    }

    /// Whether nothing needs eyes.
    pub(crate) fn is_well(&self, objectives: &Objectives) -> bool {
        let current = |row: &Row| row.state == State::Current;
        let fresh = |sample: &Sample| {
            let mut channels = Channel::EVERY.into_iter();
            channels
                .all(|channel| judge(sample.of(channel), objectives.of(channel)) == Verdict::Fresh)
        };
        self.verified_at.is_some()
            && self.rows.values().all(current)
            && self.open.is_empty()
            && (!self.is_watched || self.lag().is_some_and(fresh))
    }

    /// How many subjects are in each state.
    pub(crate) fn counts(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        for row in self.rows.values() {
            *counts.entry(row.state).or_default() += 1;
        }
        counts
    }

    /// Rows that need eyes, or all, worst first.
    pub(crate) fn worst_first(&self, all: bool) -> Vec<&Row> {
        let rows = self.rows.values();
        let mut shown: Vec<&Row> = rows
            .filter(|row| all || row.state != State::Current)
            .collect();
        shown.sort_by_key(|row| (std::cmp::Reverse(row.state), row.since));
        shown
    }
}

async fn read<L: Ledger + Journal>(
    ledger: &L,
    now: Timestamp,
    lag_secs: i64,
) -> Result<Known, Fault> {
    let mut rows = Rows::new();
    for subject in ledger.database_rows().await?.keys() {
        if let Subject::Database(name) = subject {
            rows.extend(ledger.rows_in(name).await?);
        }
    }
    // LF-Tags, registered locations and the like are in no database.
    let lake = Lake::EVERY.map(Subject::Lake);
    rows.extend(ledger.rows(&lake.into()).await?);
    let pendings = ledger.pendings().await?.into_iter();
    let pendings: BTreeMap<_, _> = pendings.map(|(id, (pending, _))| (id, pending)).collect();
    for (id, pending) in &pendings {
        // What differs besides is worse.
        let row = rows.get_mut(&Subject::Table(id.clone()));
        if let Some(row) = row.filter(|row| row.state == State::Current) {
            let (since, reason) = replication::told(pending);
            row.state = State::DataPending;
            row.since = since;
            row.reason = Some(reason);
        }
    }
    let episodes = ledger.episodes().await?.into_values();
    let gathered = [AlertKind::Unsupported, AlertKind::Digest];
    let mut open: Vec<Alert> = episodes
        .map(|(episode, _)| episode.alert)
        .filter(|alert| !gathered.contains(&alert.kind))
        .collect();
    open.sort_by_key(|alert| (alert.kind.severity(), alert.since));
    Ok(Known {
        now,
        is_watched: false,
        rows,
        verified_at: ledger.verified_at().await?,
        samples: ledger.samples(now.plus_secs(-lag_secs)).await?,
        pendings,
        open,
        unsupported: digest::unsupported(ledger).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Name;

    #[test]
    fn the_worst_comes_first_and_of_those_alike_the_oldest() {
        let row = |name: &str, state, since| {
            let name = Name::new(name).unwrap();
            let subject = Subject::Database(name);
            (subject.clone(), Row::new(subject, state, Timestamp(since)))
        };
        let known = Known {
            now: Timestamp(9),
            is_watched: false,
            rows: [
                row("a", State::Current, 1),
                row("b", State::Behind, 2),
                row("c", State::Blocked, 4),
                row("d", State::Blocked, 3),
                row("e", State::Held, 5),
            ]
            .into(),
            verified_at: Some(Timestamp(0)),
            samples: Vec::new(),
            pendings: BTreeMap::new(),
            open: Vec::new(),
            unsupported: BTreeMap::new(),
        };
        let shown = |all| -> Vec<String> {
            let rows = known.worst_first(all).into_iter();
            rows.map(|row| row.subject.to_string()).collect()
        };
        let listed = ["d", "c", "e", "b"].map(|name| format!("database {name}"));
        assert_eq!(shown(false), listed);
        assert_eq!(shown(true).last().unwrap(), "database a");
        let objectives = Objectives {
            catalog: 75,
            permissions: 900,
        };
        assert!(!known.is_well(&objectives));
        let well = Known {
            rows: [row("a", State::Current, 1)].into(),
            ..known
        };
        assert!(well.is_well(&objectives));
        let never = Known {
            verified_at: None,
            ..well
        };
        assert!(!never.is_well(&objectives), "it was never verified");
    }
}
