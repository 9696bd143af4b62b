//! Marks tables with a log, of Delta or Hudi: what of it has not arrived, and what leads out of the table. Their
//! entries are planned as those of any table.

use super::{FindingKind, PlanBuilder};
use crate::ledger::SubjectState;
use crate::log_replica::{LogReplica, LoggedTable};
use crate::policy::IcebergPolicy;
use crate::render::{counted, one_or_many};
use crate::scope::Subject;
use crate::snapshot::Observation;

/// Records what was found of the logs of the planned tables.
pub(super) fn mark_log_findings(builder: &mut PlanBuilder<'_>) {
    if builder.inputs.policy.iceberg != IcebergPolicy::Relocate {
        return;
    }
    let subjects: Vec<Subject> = builder.subject_outcomes.keys().cloned().collect();
    for subject in subjects {
        let Subject::Table(id) = &subject else {
            continue;
        };
        let in_primary = builder.inputs.primary.tables.get(id);
        let table = in_primary
            .and_then(Observation::present)
            .and_then(LoggedTable::of);
        let row = builder.inputs.rows.get(&subject);
        let replica = row.and_then(|row| row.log.as_ref());
        if let Some(replica) = replica.filter(|replica| table.is_some_and(|t| replica.is_of(&t))) {
            mark(builder, &subject, replica);
        }
    }
}

fn mark(builder: &mut PlanBuilder<'_>, subject: &Subject, replica: &LogReplica) {
    let log = replica.table.format.as_str();
    let findings = &replica.findings;
    if replica.leads_out() {
        let count = findings.absolute.count;
        let reason = format!(
            "its {log} names {} by {} full {}, so the replica reads the primary's files: {}",
            counted(count, "file"),
            one_or_many(count, "its", "their"),
            one_or_many(count, "path", "paths"),
            findings.absolute.samples.join("; ")
        );
        let (state, kind) = (SubjectState::Blocked, FindingKind::ChangeRequired);
        super::iceberg::add_problem(builder, subject, (state, kind, reason));
    }
    if let Some(missing) = &findings.missing {
        let reason = format!(
            "the {log} in the standby is ahead of its files: at least {} {} not arrived, such as {}",
            counted(missing.count, "file"),
            one_or_many(missing.count, "has", "have"),
            missing.first
        );
        let kind = match replica.is_overdue {
            true => FindingKind::DataOverdue,
            false => FindingKind::DataPending,
        };
        let state = SubjectState::DataPending;
        super::iceberg::add_problem(builder, subject, (state, kind, reason));
    }
    if let Some(why) = &findings.unread {
        let reason = format!("its {log} was not looked at in full: {why}");
        builder.add_finding(FindingKind::Note, subject, reason);
    }
}
