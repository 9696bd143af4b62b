//! The replication status from the ledger, read once for `status` and `report`.

use crate::CliError;
use crate::command_ledger::CommandLedger;
use crate::connect::LedgerConnection;
use crate::output::duration;
use crate::progress::TerminalProgress;
use crate::readiness_line::readiness_problem;
use std::collections::BTreeMap;
use twinlake_core::canary::CanaryState;
use twinlake_core::heartbeat::{Channel, LagSample, LagStatus, lag_status};
use twinlake_core::ledger::{LedgerRows, PendingObjects};
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::{
    Alert, AlertKind, CallError, LedgerRow, LfSubject, Subject, SubjectState, TableId, Timestamp,
};
use twinlake_engine::call_ceiling::{self, CeilingUse};
use twinlake_engine::operation_document::{LagAlertThresholds, OperationConfig};
use twinlake_engine::progress::WorkProgress as _;
use twinlake_engine::{Clock as _, Ledger, StatsStore, daily_digest, s3_replication};

/// The replication status at one time.
#[derive(Debug)]
pub(crate) struct StatusSnapshot {
    /// When it was read.
    pub now: Timestamp,
    /// Whether a monitor function is deployed: it measures the lag each minute.
    pub is_monitored: bool,
    /// The ledger rows. A row in sync becomes `DataPending` if its table has pending S3 objects.
    pub rows: LedgerRows,
    /// The start of the last complete resync.
    pub verified_at: Option<Timestamp>,
    /// The lag samples of the requested time window, oldest first.
    pub lag_samples: Vec<LagSample>,
    /// The canaries of S3 replication; `None` if the function has not run.
    pub canaries: Option<CanaryState>,
    /// The S3 objects that have not arrived in the standby, by table.
    pub pending_objects: BTreeMap<TableId, PendingObjects>,
    /// Open alerts, the most severe first. Alerts that only the digest reports are left out.
    pub open_alerts: Vec<Alert>,
    /// The number of objects that are not replicated, by kind.
    pub not_replicated: BTreeMap<String, usize>,
    /// How the ceilings of calls were used lately, by called Region.
    pub call_ceilings: BTreeMap<String, CeilingUse>,
    /// A verification older than this many seconds no longer counts.
    pub verified_age_limit_secs: i64,
    /// The results of the scheduled checks of the readiness; `None` without a deployment.
    pub readiness: Option<ReadinessRecord>,
}

/// A lag sample older than this does not count as the current lag.
const MAX_CURRENT_LAG_AGE_SECS: i64 = 300;

impl StatusSnapshot {
    /// Reads the status, with the lag samples of the last `lag_window_secs`.
    pub(crate) async fn read(
        connection: &LedgerConnection,
        lag_window_secs: i64,
    ) -> Result<Self, CliError> {
        let now = connection.clock.now();
        let (policy, epoch) = (&connection.policy, connection.epoch);
        let regions = [policy.primary(epoch), policy.standby(epoch)];
        let regions = regions.map(|site| site.region.as_str());
        let (ledger, operation) = (&connection.ledger, &connection.operation);
        let progress = TerminalProgress::new();
        progress.begin("Reading the ledger");
        let window = (now, lag_window_secs);
        let status = read(ledger, operation, regions, window, &progress).await;
        progress.end();
        Ok(status?)
    }

    /// The current lag, if the monitor function has measured it lately.
    pub(crate) fn current_lag(&self) -> Option<&LagSample> {
        let last = self.lag_samples.last()?;
        (last.at.plus_secs(MAX_CURRENT_LAG_AGE_SECS) >= self.now).then_some(last)
    }

    /// Why the standby is not ready, as clauses. It is ready, and there are none, if it is verified,
    /// every object is in sync, no alert is open, the lag is below its thresholds, and a takeover is possible.
    pub(crate) fn problems(&self, thresholds: &LagAlertThresholds) -> Vec<String> {
        let mut problems = Vec::new();
        let counts = self.counts();
        for state in SubjectState::NOT_IN_SYNC {
            match counts.get(&state).copied().unwrap_or_default() {
                0 => {}
                1 => problems.push(format!("1 object is {state}")),
                count => problems.push(format!("{count} objects are {state}")),
            }
        }
        match self.open_alerts.len() {
            0 => {}
            1 => problems.push("1 alert is open".to_owned()),
            count => problems.push(format!("{count} alerts are open")),
        }
        match self.current_lag() {
            Some(sample) if self.is_monitored => {
                for channel in Channel::EVERY {
                    let Some(secs) = sample.lag(channel) else {
                        continue;
                    };
                    if lag_status(secs, thresholds.of(channel)) != LagStatus::WithinThreshold {
                        let lag = duration(secs);
                        problems.push(format!("the {channel} lag of {lag} exceeds its threshold"));
                    }
                }
            }
            None if self.is_monitored => problems.push("the lag is unknown".to_owned()),
            Some(_) | None => {}
        }
        match self.verified_at {
            None => problems.push("no resync has completed yet".to_owned()),
            Some(at) if self.needs_resync() => {
                let age = duration(self.now.secs() - at.secs());
                problems.push(format!("the last complete resync began {age} ago"));
            }
            Some(_) => {}
        }
        let readiness = self.readiness.as_ref();
        problems.extend(readiness.and_then(|record| readiness_problem(record, self.now)));
        problems
    }

    /// Whether no complete resync has begun lately.
    pub(crate) fn needs_resync(&self) -> bool {
        let valid_until = |at: Timestamp| at.plus_secs(self.verified_age_limit_secs);
        self.verified_at.is_none_or(|at| valid_until(at) < self.now)
    }

    /// Whether a row needs attention: its subject is not in sync or has a held deletion, or an open
    /// alert affects it.
    pub(crate) fn needs_attention(&self, row: &LedgerRow) -> bool {
        let mut alerts = self.open_alerts.iter();
        row.state != SubjectState::InSync
            || row.over_deletion_limit
            || alerts.any(|alert| alert.is_about(&row.subject))
    }

    /// The number of subjects in each state.
    pub(crate) fn counts(&self) -> BTreeMap<SubjectState, usize> {
        let mut counts = BTreeMap::new();
        for row in self.rows.values() {
            *counts.entry(row.state).or_default() += 1;
        }
        counts
    }

    /// The rows that are not in sync, or all rows: worst state first, then oldest.
    pub(crate) fn worst_first(&self, all: bool) -> Vec<&LedgerRow> {
        let rows = self.rows.values();
        let mut shown: Vec<&LedgerRow> = rows
            .filter(|row| all || row.state != SubjectState::InSync)
            .collect();
        shown.sort_by_key(|row| (std::cmp::Reverse(row.state), row.since));
        shown
    }
}

async fn read(
    ledger: &CommandLedger,
    operation: &OperationConfig,
    regions: [&str; 2],
    (now, lag_window_secs): (Timestamp, i64),
    progress: &TerminalProgress,
) -> Result<StatusSnapshot, CallError> {
    let mut rows = LedgerRows::new();
    let databases = ledger.database_rows().await?;
    progress.databases_expected(databases.len());
    for subject in databases.keys() {
        if let Subject::Database(name) = subject {
            rows.extend(ledger.rows_in_database(name).await?);
            progress.database_read(name);
        }
    }
    // LF-Tags, registered locations and the like belong to no database.
    let lf_subjects = LfSubject::EVERY.map(Subject::LakeFormation);
    rows.extend(ledger.rows(&lf_subjects.into()).await?);
    let pending_objects: BTreeMap<_, _> = ledger
        .all_pending_objects()
        .await?
        .into_iter()
        .map(|(id, (pending, _))| (id, pending))
        .collect();
    for (id, pending) in &pending_objects {
        // Any other state is worse than missing objects, so it stays.
        let row = rows.get_mut(&Subject::Table(id.clone()));
        if let Some(row) = row.filter(|row| row.state == SubjectState::InSync) {
            let (since, reason) = s3_replication::describe_pending(pending);
            row.state = SubjectState::DataPending;
            row.since = since;
            row.reason = Some(reason);
        }
    }
    let incidents = ledger.incidents().await?.into_values();
    let digest_only = [AlertKind::NotReplicated, AlertKind::Digest];
    let mut open_alerts: Vec<Alert> = incidents
        .filter(|(incident, _)| !incident.is_resolved_copy())
        .map(|(incident, _)| incident.alert)
        .filter(|alert| !digest_only.contains(&alert.kind))
        .collect();
    open_alerts.sort_by_key(|alert| (alert.kind.severity(), alert.since));
    let readiness = match ledger.is_deployed() {
        true => Some(
            ledger
                .readiness()
                .await?
                .map(|(record, _)| record)
                .unwrap_or_default(),
        ),
        false => None,
    };
    let uses = call_ceiling::read_uses(ledger, operation, regions, now).await?;
    Ok(StatusSnapshot {
        now,
        is_monitored: ledger.is_deployed(),
        rows,
        verified_at: ledger.verified_at().await?,
        lag_samples: ledger.lag_samples(now.plus_secs(-lag_window_secs)).await?,
        canaries: ledger.canaries().await?,
        pending_objects,
        open_alerts,
        not_replicated: daily_digest::unreplicated_counts(ledger).await?,
        call_ceilings: uses
            .into_iter()
            .filter_map(|(region, used)| Some((region, used?)))
            .collect(),
        verified_age_limit_secs: operation.verified_age_limit_secs(),
        readiness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Name;

    #[test]
    fn rows_are_ordered_by_worst_state_and_then_by_age() {
        let row = |name: &str, state, since| {
            let name = Name::new(name).unwrap();
            let subject = Subject::Database(name);
            (
                subject.clone(),
                LedgerRow::new(subject, state, Timestamp::from_millis(since)),
            )
        };
        let snapshot = StatusSnapshot {
            now: Timestamp::from_millis(9),
            is_monitored: false,
            rows: [
                row("a", SubjectState::InSync, 1),
                row("b", SubjectState::OutOfSync, 2),
                row("c", SubjectState::Blocked, 4),
                row("d", SubjectState::Blocked, 3),
                row("e", SubjectState::OnHold, 5),
            ]
            .into(),
            verified_at: Some(Timestamp::from_millis(0)),
            lag_samples: Vec::new(),
            canaries: None,
            pending_objects: BTreeMap::new(),
            open_alerts: Vec::new(),
            not_replicated: BTreeMap::new(),
            call_ceilings: BTreeMap::new(),
            verified_age_limit_secs: 46_800,
            readiness: None,
        };
        let shown = |all| -> Vec<String> {
            let rows = snapshot.worst_first(all).into_iter();
            rows.map(|row| row.subject.to_string()).collect()
        };
        let listed = ["d", "c", "e", "b"].map(|name| format!("database {name}"));
        assert_eq!(shown(false), listed);
        assert_eq!(shown(true).last().unwrap(), "database a");
        let thresholds = LagAlertThresholds {
            catalog: 75,
            permissions: 900,
            storage: 1800,
        };
        assert_eq!(
            snapshot.problems(&thresholds),
            [
                "1 object is out-of-sync",
                "1 object is on-hold",
                "2 objects are blocked"
            ]
        );
        let ready = StatusSnapshot {
            rows: [row("a", SubjectState::InSync, 1)].into(),
            ..snapshot
        };
        assert!(ready.problems(&thresholds).is_empty());
        let unverified = StatusSnapshot {
            verified_at: None,
            ..ready
        };
        assert_eq!(
            unverified.problems(&thresholds),
            ["no resync has completed yet"]
        );
    }

    fn snapshot_of(row: LedgerRow) -> StatusSnapshot {
        StatusSnapshot {
            now: Timestamp::from_millis(9),
            is_monitored: false,
            rows: [(row.subject.clone(), row)].into(),
            verified_at: Some(Timestamp::from_millis(0)),
            lag_samples: Vec::new(),
            canaries: None,
            pending_objects: BTreeMap::new(),
            open_alerts: Vec::new(),
            not_replicated: BTreeMap::new(),
            call_ceilings: BTreeMap::new(),
            readiness: None,
            verified_age_limit_secs: 46_800,
        }
    }

    fn row_in_sync() -> LedgerRow {
        let subject = Subject::Database(Name::new("a").unwrap());
        LedgerRow::new(subject, SubjectState::InSync, Timestamp::from_millis(1))
    }

    #[test]
    fn a_held_deletion_and_an_open_alert_need_attention_beside_a_row_in_sync() {
        let in_sync = row_in_sync();
        let mut snapshot = snapshot_of(in_sync.clone());
        assert!(!snapshot.needs_attention(&in_sync));
        let held = LedgerRow {
            over_deletion_limit: true,
            ..in_sync.clone()
        };
        assert!(snapshot.needs_attention(&held));
        snapshot.open_alerts = vec![Alert::new(
            AlertKind::ReadFailed,
            "ap-south-1",
            "database a",
            [""; 3].map(str::to_owned),
            Timestamp::from_millis(1),
        )];
        assert!(snapshot.needs_attention(&in_sync));
    }

    #[test]
    fn a_verification_of_long_ago_is_a_problem() {
        let thresholds = LagAlertThresholds {
            catalog: 75,
            permissions: 900,
            storage: 1800,
        };
        let at = |secs| StatusSnapshot {
            now: Timestamp::from_secs(secs),
            ..snapshot_of(row_in_sync())
        };
        let problems = at(46_800).problems(&thresholds);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            at(46_801).problems(&thresholds),
            ["the last complete resync began 13 h ago"]
        );
        // The operation document may allow more.
        let daily = StatusSnapshot {
            verified_age_limit_secs: 26 * 3600,
            ..at(46_801)
        };
        assert!(daily.problems(&thresholds).is_empty());
    }
}
