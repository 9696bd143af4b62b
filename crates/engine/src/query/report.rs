//! The alerts of a run: one for each kind, about the query tools as a whole.

use super::QueryToolsOutcome;
use crate::alerts::{
    CheckedSubjects, kind_of_error, kind_of_finding_kind, kind_of_rule, max_samples,
};
use std::collections::BTreeMap;
use twinlake_core::query::{QUERY_SUBJECT, QueryStep};
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::{Alert, AlertKind, Timestamp};

/// The alerts for the outcome of a scheduled run.
#[must_use]
pub fn query_alerts(outcome: &QueryToolsOutcome, region: &str, now: Timestamp) -> Vec<Alert> {
    let problems = problems(outcome).into_iter();
    problems
        .map(|(kind, details)| Alert {
            count: details.len(),
            samples: details.iter().take(max_samples(kind)).cloned().collect(),
            ..Alert::new(
                kind,
                region,
                QUERY_SUBJECT,
                text(kind, details.len(), region),
                now,
            )
        })
        .collect()
}

/// The alert for a scheduled run that ended early, with the reason as a clause: what it would have said about
/// the objects is not known.
#[must_use]
pub fn query_unfinished(reason: &str, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!("The resync of the query tools did not end: {reason}."),
        "What it had not reached is as it was, and may differ from the primary. The catalog is resynced \
         independently."
            .to_owned(),
        format!(
            "The next scheduled resync tries again. If this continues, correct what the reason names, and run \
             `twinlake resync --domain query --region {region}`, which has no time limit."
        ),
    ];
    Alert::new(AlertKind::ReadFailed, region, QUERY_SUBJECT, sentences, now)
}

/// What a run checked: the incidents of the kinds that it did not find are resolved. A run that could not
/// read everything, or did not try every step, resolves nothing.
#[must_use]
pub fn query_checked(outcome: &QueryToolsOutcome, started: Timestamp) -> CheckedSubjects {
    let reads_failed = outcome
        .findings
        .iter()
        .any(|finding| finding.kind.is_failed_read());
    if reads_failed || !outcome.is_complete {
        return CheckedSubjects::default();
    }
    let found = problems(outcome).into_keys();
    let found = found.map(|kind| (kind, QUERY_SUBJECT.to_owned()));
    CheckedSubjects::default()
        .with_healthy(QUERY_SUBJECT, started)
        .with_found(found)
}

/// The problems by the kind of their alert.
fn problems(outcome: &QueryToolsOutcome) -> BTreeMap<AlertKind, Vec<String>> {
    let mut problems: BTreeMap<AlertKind, Vec<String>> = BTreeMap::new();
    let mut add = |kind, detail| problems.entry(kind).or_default().push(detail);
    for rejection in &outcome.rejections {
        add(kind_of_rule(rejection.rule), rejection.to_string());
    }
    for (step, error) in &outcome.failed {
        let kind = match step {
            QueryStep::Narrow { .. } => AlertKind::ExcessAccess,
            QueryStep::Create { .. }
            | QueryStep::Update { .. }
            | QueryStep::SetTags { .. }
            | QueryStep::Sleep { .. }
            | QueryStep::Delete { .. } => kind_of_error(error.kind),
        };
        add(kind, format!("{}: {error}", step.primary()));
    }
    for finding in &outcome.findings {
        if let Some(kind) = kind_of_finding_kind(finding.kind) {
            add(kind, format!("{}: {}", finding.object, finding.detail));
        }
    }
    problems
}

fn excess_access_text(count: usize, status: &str) -> (String, &'static str, String) {
    (
        format!(
            "{} in the standby access that the primary's {}, and it could not be taken away.",
            one_or_many(count, "A query tool gives", "Query tools give"),
            one_or_many(count, "does not", "do not")
        ),
        "Nothing else of them was changed: nobody got more.",
        format!(
            "Take it away yourself, as the reasons below name it; the next run tries again, and {status} lists all."
        ),
    )
}

/// What happened, the state of the standby, and what to do.
fn text(kind: AlertKind, count: usize, region: &str) -> [String; 3] {
    let plan = format!("`twinlake plan --domain query --region {region}`");
    let status = format!("`twinlake status --domain query --region {region}`");
    let [steps, cases, tools] = ["step", "case", "query tool"].map(|noun| counted(count, noun));
    let (what, state, action) = match kind {
        AlertKind::DeletionsHeld => (
            format!(
                "{count} {} held.",
                one_or_many(
                    count,
                    "deletion of a query tool exceeds the deletion limit and is",
                    "deletions of query tools exceed the deletion limit and are"
                )
            ),
            "The standby keeps them. Everything else was applied.",
            format!(
                "If they are intended, run `twinlake apply --domain query --approve-deletions --region {region}`; {plan} shows them."
            ),
        ),
        AlertKind::PlanRejected => (
            format!("The audit rejected {steps} for query tools."),
            "They were not applied; everything else was.",
            format!(
                "{plan} shows what the audit rejects. Keep the log of the resync function, and open an issue in Twinlake's repository."
            ),
        ),
        AlertKind::TwinlakeAccessDenied => (
            format!("Twinlake's role lacks rights for query tools ({cases})."),
            "The objects concerned are unchanged. Nothing was deleted because of this.",
            format!(
                "Restore the rights of the resync function's role; then run `twinlake resync --domain query --region {region}`."
            ),
        ),
        AlertKind::ReadFailed => (
            format!("{tools} could not be read."),
            "They stay as they were.",
            format!(
                "If this continues, look for the failing call in the log of the resync function; {status} lists them."
            ),
        ),
        AlertKind::NotReplicated => (
            format!(
                "{tools}, or parts of {} not replicated.",
                one_or_many(count, "it, is", "them, are")
            ),
            "The standby does not have them.",
            format!(
                "Read the reasons below; where one names a policy key, a pair there replicates the object. {status} lists all."
            ),
        ),
        AlertKind::ExcessAccess => excess_access_text(count, &status),
        AlertKind::Conflict
        | AlertKind::PolicyUnusable
        | AlertKind::Drift
        | AlertKind::ReplicationFailed
        | AlertKind::ReplicationLate
        | AlertKind::JobFailed
        | AlertKind::UserAccessDenied
        | AlertKind::DeadLetters
        | AlertKind::Alarm
        | AlertKind::Lagging
        | AlertKind::ChannelStalled
        | AlertKind::CallCeilingReached
        | AlertKind::ReadinessLost
        | AlertKind::ReadinessUnknown
        | AlertKind::DataPending
        | AlertKind::DataLost
        | AlertKind::Digest => (
            format!(
                "{} of query tools could not be corrected.",
                counted(count, "difference")
            ),
            "The objects concerned differ from the primary, or do not exist.",
            format!("Correct what the reasons below name; {status} lists all."),
        ),
    };
    [what, state.to_owned(), action]
}
