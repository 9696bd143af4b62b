//! Plans the entries of Iceberg tables that are relocated: which commit they show, and what waits.

use super::{FindingKind, PlanBuilder};
use crate::catalog::{Observed, Table};
use crate::iceberg_replica::{
    IcebergEntry, IcebergReplica, RelocatedCommit, RelocationObstacle, WaitingCommit,
};
use crate::ledger::SubjectState;
use crate::name::TableId;
use crate::policy::IcebergPolicy;
use crate::render::{counted, one_or_many};
use crate::scope::Subject;
use crate::snapshot::Observation;

/// The relocated commit that the entry of a table in the standby is to show.
pub(super) fn commit_of<'a>(
    builder: &PlanBuilder<'a>,
    id: &TableId,
    wanted: &Observed<Table>,
) -> Option<&'a RelocatedCommit> {
    let row = builder.inputs.rows.get(&Subject::Table(id.clone()))?;
    row.iceberg.as_ref()?.commit_for(&IcebergEntry::of(wanted)?)
}

/// Records that no commit of a table that its entry may show is in the standby.
pub(super) fn mark_not_relocated(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    let Subject::Table(id) = subject else {
        return;
    };
    let in_primary = builder.inputs.primary.tables.get(id);
    let entry = in_primary
        .and_then(Observation::present)
        .and_then(IcebergEntry::of);
    let Some(entry) = entry else {
        let reason = "it is an Iceberg table, and its entry names no metadata_location".to_owned();
        let kind = FindingKind::Unsupported;
        return builder.mark_not_in_sync(subject, SubjectState::Blocked, kind, reason);
    };
    let row = builder.inputs.rows.get(subject);
    let replica = row.and_then(|row| row.iceberg.as_ref());
    let (state, kind, reason) = describe(replica, &entry, false);
    builder.mark_not_in_sync(subject, state, kind, reason);
}

/// Records which of the planned tables show an older commit than the primary's, and which have lost files.
/// Everything else of them is planned as for any table.
pub(super) fn mark_older_commits(builder: &mut PlanBuilder<'_>) {
    if builder.inputs.policy.iceberg != IcebergPolicy::Relocate {
        return;
    }
    let subjects: Vec<Subject> = builder.subject_outcomes.keys().cloned().collect();
    for subject in subjects {
        let Subject::Table(id) = &subject else {
            continue;
        };
        let in_primary = builder.inputs.primary.tables.get(id);
        let wanted = in_primary.and_then(Observation::present);
        let Some(wanted) = wanted.filter(|wanted| wanted.object.is_iceberg()) else {
            continue;
        };
        let row = builder.inputs.rows.get(&subject);
        let (Some(replica), Some(entry)) = (
            row.and_then(|row| row.iceberg.as_ref()),
            IcebergEntry::of(wanted),
        ) else {
            continue;
        };
        if let Some(lost) = &replica.lost {
            let reason = format!(
                "{} of the commit that it shows {} not exist any more, or {} another size, such as {}",
                counted(lost.missing, "file"),
                one_or_many(lost.missing, "does", "do"),
                one_or_many(lost.missing, "has", "have"),
                lost.samples.join(", ")
            );
            let kind = FindingKind::DataLost;
            builder.mark_not_in_sync(&subject, SubjectState::OutOfSync, kind, reason);
        }
        if replica.commit_for(&entry).is_some() && !replica.is_relocated(&entry) {
            add_problem(builder, &subject, describe(Some(replica), &entry, true));
        }
        if let Some(why) = &replica.unverified {
            let reason = format!(
                "the files of the commit that it shows were not looked for since 12 hours or longer: {why}"
            );
            let kind = FindingKind::DataOverdue;
            add_problem(builder, &subject, (SubjectState::DataPending, kind, reason));
        }
    }
}

/// Marks a table by a problem. If there is another one, that one is told by the state, and this one by its finding.
pub(super) fn add_problem(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    (state, kind, reason): (SubjectState, FindingKind, String),
) {
    match builder.is_in_sync(subject) {
        true => builder.mark_not_in_sync(subject, state, kind, reason),
        false => builder.add_finding(kind, subject, reason),
    }
}

/// The state of a table whose newest commit is not relocated, with the finding.
fn describe(
    replica: Option<&IcebergReplica>,
    entry: &IcebergEntry,
    shows_older: bool,
) -> (SubjectState, FindingKind, String) {
    let waiting = replica.and_then(|replica| replica.obstacle(entry));
    let (state, kind, why) = match waiting {
        None => (
            SubjectState::DataPending,
            match replica.is_some_and(|replica| replica.is_overdue(entry)) {
                true => FindingKind::DataOverdue,
                false => FindingKind::DataPending,
            },
            "it is not relocated yet".to_owned(),
        ),
        Some(waiting) => describe_obstacle(waiting, shows_older),
    };
    let source = &entry.source;
    let shown = match shows_older {
        true => "the standby shows an older commit",
        false => "the entry in the standby is not changed",
    };
    let reason = format!("the newest commit is {source}: {why}; {shown}");
    (state, kind, reason)
}

fn describe_obstacle(
    waiting: &WaitingCommit,
    shows_older: bool,
) -> (SubjectState, FindingKind, String) {
    let pending = match waiting.is_overdue {
        true => FindingKind::DataOverdue,
        false => FindingKind::DataPending,
    };
    match &waiting.obstacle {
        RelocationObstacle::DataPending { missing, first } => (
            SubjectState::DataPending,
            pending,
            format!(
                "at least {missing} of its files {} not arrived, such as {first}",
                one_or_many(*missing, "has", "have")
            ),
        ),
        RelocationObstacle::Unfinished { left } => (
            SubjectState::DataPending,
            pending,
            format!(
                "there was no time yet to rewrite and to find all of its files: {left} or more are left"
            ),
        ),
        RelocationObstacle::Refused(finding) => (
            SubjectState::Blocked,
            // A table that was followed until now is worth more than a line in the digest.
            match shows_older {
                true => FindingKind::ChangeRequired,
                false => FindingKind::Unsupported,
            },
            format!("it cannot be relocated: {finding}"),
        ),
        RelocationObstacle::Failed {
            error, is_denied, ..
        } => (
            SubjectState::OutOfSync,
            // The table is looked at by messages of its own: nothing else has to read it again.
            match is_denied {
                true => FindingKind::Denied,
                false => pending,
            },
            match is_denied {
                true => format!(
                    "{error}; the parameter IcebergBucketArns of the stack gives the rights"
                ),
                false => error.clone(),
            },
        ),
    }
}
