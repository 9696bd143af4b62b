//! The queries of a drill: as real roles, one after the other, in the Region that would take over. Nothing is
//! written, but for what Athena keeps of a query.

use crate::failover::FailoverPreview;
use crate::ports::{Clock, ReadRegion};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use twinlake_core::drill::{
    DrillCheck, DrillConfig, DrillOutcome, DrillQuery, DrillResult, QueryEnd, ValidatedTakeover,
    judge, judge_counts,
};
use twinlake_core::failover::{FailoverDecision, FailoverJournal};
use twinlake_core::{CallError, CallErrorKind, TableId, Timestamp};

/// The longest time of one query.
pub const QUERY_LIMIT: Duration = Duration::from_secs(120);

/// The largest byte limit of a workgroup for drills: 10 GB.
pub const MAX_BYTES_PER_QUERY: u64 = 10_000_000_000;

/// What a drill has to know of its workgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkgroupLimits {
    /// Whether it runs queries.
    pub is_enabled: bool,
    /// Whether its settings hold for every query.
    pub is_enforced: bool,
    /// The bytes after which Athena cancels a query.
    pub bytes_per_query: Option<u64>,
}

/// Athena of a Region, as real roles.
pub trait RoleQueries {
    /// `GetWorkGroup`, as the caller.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    async fn workgroup(&self, name: &str) -> Result<WorkgroupLimits, CallError>;

    /// Assumes a role and runs a statement in a workgroup. With `counts`, the answer is a number. A query without an
    /// end within `limit` is stopped.
    async fn run(
        &self,
        role: &str,
        workgroup: &str,
        statement: &Statement,
        limit: Duration,
    ) -> QueryEnd;
}

/// A statement of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// Whether its answer is one number.
    pub counts: bool,
}

/// Why a workgroup is not used for a drill, if it is not: a query must not scan without a limit, and must not write
/// its results elsewhere.
#[must_use]
pub fn unusable_workgroup(
    name: &str,
    region: &str,
    limits: &Result<WorkgroupLimits, CallError>,
) -> Option<String> {
    let limits = match limits {
        Ok(limits) => limits,
        Err(error) if error.kind == CallErrorKind::NotFound => {
            return Some(format!("the workgroup {name} does not exist in {region}"));
        }
        Err(error) => {
            return Some(format!(
                "the workgroup {name} of {region} could not be read: {error}"
            ));
        }
    };
    let problem = match limits {
        WorkgroupLimits {
            is_enabled: false, ..
        } => "is disabled".to_owned(),
        WorkgroupLimits {
            is_enforced: false, ..
        } => "does not enforce its settings (EnforceWorkGroupConfiguration)".to_owned(),
        WorkgroupLimits {
            bytes_per_query: Some(bytes),
            ..
        } if *bytes <= MAX_BYTES_PER_QUERY => return None,
        WorkgroupLimits { .. } => format!(
            "has no limit of at most {MAX_BYTES_PER_QUERY} bytes a query (BytesScannedCutoffPerQuery)"
        ),
    };
    Some(format!("the workgroup {name} of {region} {problem}"))
}

/// The tables of a Region.
pub trait DrilledCatalog {
    /// The Region, as in `us-east-1`.
    fn region_name(&self) -> &str;

    /// The names of the columns of a table, in small letters.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    async fn columns(&self, id: &TableId) -> Result<BTreeSet<String>, CallError>;
}

impl<R: ReadRegion> DrilledCatalog for R {
    fn region_name(&self) -> &str {
        self.region()
    }

    async fn columns(&self, id: &TableId) -> Result<BTreeSet<String>, CallError> {
        let table = self.table(id).await?.object;
        let storage = table.storage_descriptor.into_iter();
        let columns = storage.flat_map(|storage| storage.columns);
        let columns = columns.chain(table.partition_keys);
        Ok(columns.map(|column| column.name.to_lowercase()).collect())
    }
}

/// A Region in which a drill makes queries.
pub struct DrilledRegion<'a, R, Q> {
    /// Its catalog, read as the caller: a role that is refused is not told whether a column exists.
    pub catalog: &'a R,
    /// Athena.
    pub queries: &'a Q,
}

/// The Regions of a drill.
pub struct Drill<'a, R, P, Q, T> {
    /// The Region that would take over.
    pub standby: DrilledRegion<'a, R, Q>,
    /// The primary, for counts that are compared.
    pub primary: DrilledRegion<'a, P, Q>,
    /// The clock.
    pub timer: &'a T,
    /// What is asked.
    pub config: &'a DrillConfig,
}

impl<R: DrilledCatalog, P: DrilledCatalog, Q: RoleQueries, T: Clock> Drill<'_, R, P, Q, T> {
    /// Makes the queries.
    ///
    /// # Errors
    /// Why none was made: a workgroup cannot be used.
    pub async fn run(&self) -> Result<Vec<DrillResult>, String> {
        let name = &self.config.workgroup;
        let limits = self.standby.queries.workgroup(name).await;
        let region = self.standby.catalog.region_name();
        if let Some(reason) = unusable_workgroup(name, region, &limits) {
            return Err(reason);
        }
        let mut checks = self.config.checks.iter();
        if checks.any(|check| check.query == DrillQuery::RowsInBothRegions) {
            let limits = self.primary.queries.workgroup(name).await;
            let region = self.primary.catalog.region_name();
            if let Some(reason) = unusable_workgroup(name, region, &limits) {
                return Err(reason);
            }
        }
        let mut tables = BTreeMap::new();
        let mut results = Vec::new();
        for check in &self.config.checks {
            let columns = match tables.entry(check.table.clone()) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(unread) => {
                    unread.insert(self.standby.catalog.columns(&check.table).await)
                }
            };
            let at = self.timer.now().to_string();
            let ((outcome, detail), took) = match missing(check, columns) {
                Some(missing) => (missing, Duration::ZERO),
                None => self.ask(check).await,
            };
            results.push(DrillResult {
                check: check.clone(),
                sql: check.sql(),
                outcome,
                detail,
                at,
                milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            });
        }
        Ok(results)
    }

    async fn ask(&self, check: &DrillCheck) -> ((DrillOutcome, String), Duration) {
        let statement = Statement {
            sql: check.sql(),
            counts: match check.query {
                DrillQuery::Columns(_) => false,
                DrillQuery::Rows | DrillQuery::RowsInBothRegions => true,
            },
        };
        let workgroup = &self.config.workgroup;
        let started = self.timer.monotonic();
        let here = self.standby.queries;
        let end = here
            .run(&check.role, workgroup, &statement, QUERY_LIMIT)
            .await;
        let took = self.timer.monotonic().saturating_sub(started);
        let judged = match check.query {
            DrillQuery::RowsInBothRegions => {
                let there = self.primary.queries;
                let other = there
                    .run(&check.role, workgroup, &statement, QUERY_LIMIT)
                    .await;
                judge_counts(&end, &other)
            }
            DrillQuery::Columns(_) | DrillQuery::Rows => judge(check.expect, &end),
        };
        (judged, took)
    }
}

/// What a check comes to without its query, if the standby does not have what it asks for: a refusal of what does not
/// exist proves nothing.
fn missing(
    check: &DrillCheck,
    columns: &Result<BTreeSet<String>, CallError>,
) -> Option<(DrillOutcome, String)> {
    use twinlake_core::drill::DrillExpectation::{Allowed, Denied};
    let outcome = match check.expect {
        Allowed => DrillOutcome::Failed,
        Denied => DrillOutcome::Unknown,
    };
    let table = &check.table;
    let columns = match columns {
        Ok(columns) => columns,
        Err(error) if error.kind == CallErrorKind::NotFound => {
            return Some((outcome, format!("{table} does not exist in the standby")));
        }
        Err(error) => {
            let reason = format!("{table} could not be read in the standby: {error}");
            return Some((DrillOutcome::Unknown, reason));
        }
    };
    let mut named = check.columns().iter();
    let missing = named.find(|column| !columns.contains(&column.to_lowercase()))?;
    let reason = format!("{table} has no column {missing} in the standby");
    Some((outcome, reason))
}

/// What the preview of a failover says, for the report.
#[must_use]
pub fn validated(preview: &FailoverPreview, now: Timestamp) -> ValidatedTakeover {
    let point = &preview.recovery_point;
    let (journal, refusal) = match &preview.decision {
        Ok(FailoverDecision::Start(record)) => (record.failover.as_ref(), None),
        Ok(FailoverDecision::Resume(_)) => (
            None,
            Some("a failover or switchover is under way in this Region".to_owned()),
        ),
        Ok(FailoverDecision::AlreadyPrimary) => {
            (None, Some("this Region is the primary already".to_owned()))
        }
        Err(refusal) => (None, Some(refusal.to_string())),
    };
    let steps = journal.map(|journal: &FailoverJournal| journal.operation.steps());
    let seconds = point.heartbeats.iter().map(|(channel, at)| {
        let age = now.secs().saturating_sub(at.secs());
        (channel.to_string(), age)
    });
    ValidatedTakeover {
        epoch: preview.record.epoch.number(),
        steps: steps
            .unwrap_or_default()
            .iter()
            .map(|step| step.description().to_owned())
            .collect(),
        refusal,
        recovery_point_seconds: seconds.collect(),
        verified_at: point.verified_at.map(|at| at.to_string()),
        not_in_sync: point.not_in_sync.values().sum(),
        tables_with_pending_objects: point.pending_tables,
        unread: point.unread.iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
