//! The end of a part of a resync run, and what the whole run checked.

use super::ResyncReport;
use super::lake_size::lake_size_of;
use crate::api_call_lower_bound;
use crate::observe::{Prefetched, count_paired};
use crate::ports::{Clock, Environment, Ledger};
use crate::reconcile::Context;
use crate::retry_message::ResyncPart;
use std::collections::BTreeSet;
use twinlake_core::ledger::{LedgerRows, VerifiedRun};
use twinlake_core::{CallError, Name, Policy, Subject, SubjectState, Timestamp};

/// What all parts of a complete resync run together checked: every database, except for those in
/// [`CompleteRun::not_in_sync`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompleteRun {
    /// When the run began.
    pub started_at: Timestamp,
    /// When the complete run before it began, if that had the same policy and epoch.
    pub previous_started_at: Option<Timestamp>,
    /// The databases that exist in a Region or in the ledger and that the run did not leave in sync
    /// with everything in them, and those that the policy leaves out.
    pub not_in_sync: BTreeSet<Name>,
}

/// What a part knew before it reconciled its scope.
pub(super) struct PartStart {
    /// The number of calls that list all grants.
    pub(super) grant_calls: usize,
    /// The databases of both Regions, if they could be listed.
    pub(super) listed_databases: Option<BTreeSet<Name>>,
    /// When the last complete run began, if that had the same policy and epoch.
    pub(super) previous_started_at: Option<Timestamp>,
}

/// The databases of both Regions; `None` if they could not be listed in both.
pub(super) fn listed_databases(prefetched: &Prefetched) -> Option<BTreeSet<Name>> {
    let (primary, standby) = prefetched.databases.as_ref()?;
    let (primary, standby) = (primary.present()?, standby.present()?);
    Some(primary.keys().chain(standby.keys()).cloned().collect())
}

/// Ends the part. If it was the last one of the run, and everything could be read, the standby is
/// verified as of the start of the run.
pub(super) async fn finish_part<E: Environment>(
    context: &Context<'_, E>,
    part: &ResyncPart,
    part_start: PartStart,
    report: &mut ResyncReport,
) -> Result<(), CallError> {
    // A run whose parts had several policies verifies nothing.
    let is_unread = !report.outcome.is_fully_read() || !part.has_policy(context.policy.digest());
    let run = context
        .ledger
        .end_run_part(&part.run, &part.name, is_unread)
        .await?;
    let Some(run) = run.filter(|run| run.outstanding_parts.is_empty()) else {
        return Ok(());
    };
    let mut rows = LedgerRows::new();
    for subject in context.ledger.database_rows().await?.keys() {
        if let Subject::Database(name) = subject {
            rows.extend(context.ledger.rows_in_database(name).await?);
        }
    }
    context
        .ledger
        .put_paired_counts(&count_paired(&rows))
        .await?;
    let size = lake_size_of(&rows, part_start.grant_calls, context);
    report.api_call_lower_bound = Some(api_call_lower_bound::resync_lower_bound(
        &size,
        context.policy,
    ));
    if !run.has_unread_part {
        let verified_run = VerifiedRun {
            started_at: run.started_at,
            policy_digest: context.policy.digest().to_owned(),
            epoch: context.epoch.number(),
        };
        let now = context.clock.now();
        context.ledger.put_verified_run(&verified_run, now).await?;
        report.verified_at = Some(run.started_at);
        let previous = part_start.previous_started_at;
        let listed = part_start.listed_databases.as_ref();
        report.complete_run = listed.map(|listed| CompleteRun {
            started_at: run.started_at,
            previous_started_at: previous.filter(|previous| *previous < run.started_at),
            not_in_sync: databases_not_in_sync(listed, &rows, context.policy),
        });
    }
    Ok(())
}

/// Returns, of the databases that exist in a Region or in the ledger, those of which something is not
/// in sync or not known: a row in another state, no row, or the policy leaves the database out. What
/// is in no Region and has no row is gone.
fn databases_not_in_sync(
    listed: &BTreeSet<Name>,
    rows: &LedgerRows,
    policy: &Policy,
) -> BTreeSet<Name> {
    let in_ledger: BTreeSet<&Name> = rows.keys().filter_map(Subject::database).collect();
    let troubled = rows
        .values()
        .filter(|row| row.state != SubjectState::InSync);
    let troubled: BTreeSet<&Name> = troubled.filter_map(|row| row.subject.database()).collect();
    let is_in_sync = |name: &Name| {
        in_ledger.contains(name) && !troubled.contains(name) && policy.covers_database(name)
    };
    let existing = listed.iter().chain(in_ledger.iter().copied());
    existing.filter(|name| !is_in_sync(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::{LedgerRow, TableId};

    const POLICY: &str = r#"
        exclude = ["left_out"]
        [[region]]
        id = "a"
        region = "us-east-1"
        account = "111122223333"
        [[region]]
        id = "b"
        region = "ap-south-1"
        account = "111122223333"
        [[location]]
        a = "s3://lake-us"
        b = "s3://lake-in"
        copied-by = "other"
    "#;

    #[test]
    fn a_database_is_in_sync_if_all_its_rows_are_and_the_policy_covers_it() {
        let name = |text: &str| Name::new(text).unwrap();
        let mut rows = LedgerRows::new();
        let mut add = |subject: Subject, state| {
            let row = LedgerRow::new(subject.clone(), state, Timestamp::from_millis(0));
            rows.insert(subject, row);
        };
        for database in ["blocked", "left_out", "sales", "waits"] {
            add(Subject::Database(name(database)), SubjectState::InSync);
        }
        let mut add_table = |database: &str, state| {
            let id = TableId::new(name(database), name("t"));
            add(Subject::Table(id), state);
        };
        add_table("blocked", SubjectState::Blocked);
        add_table("sales", SubjectState::InSync);
        add_table("waits", SubjectState::OutOfSync);
        let listed: BTreeSet<Name> = ["left_out", "sales", "unknown"].map(name).into();
        let expected: BTreeSet<Name> = ["blocked", "left_out", "unknown", "waits"].map(name).into();
        let policy = Policy::parse(POLICY).unwrap();
        assert_eq!(databases_not_in_sync(&listed, &rows, &policy), expected);
    }
}
