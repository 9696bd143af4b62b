//! From what a reconciliation came to, to what people are told.

use crate::ports::{Alerts, Ledger};
use crate::reconcile::Outcome;
use std::collections::BTreeMap;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::render;
use twinlake_core::{Alert, AlertKind, Fault, FaultKind, Step, Timestamp};

/// How many things an alert names.
const SAMPLES: usize = 5;

/// An alert is repeated after so long, at the earliest.
const QUIET_SECS: i64 = 3600;
/// A digest comes once a day.
const DIGEST_SECS: i64 = 86_400;

/// The alerts that an outcome calls for: at most one of each kind.
#[must_use]
pub fn of_outcome(outcome: &Outcome, region: &str, now: Timestamp) -> Vec<Alert> {
    let mut groups: BTreeMap<AlertKind, Vec<(String, String)>> = BTreeMap::new();
    let mut add = |kind: AlertKind, subject: String, detail: String| {
        groups.entry(kind).or_default().push((subject, detail));
    };
    let vetoed = outcome.vetoed.as_ref();
    let vetoed = vetoed.map_or_else(|| "a plan".to_owned(), ToString::to_string);
    for veto in &outcome.vetoes {
        add(AlertKind::Vetoed, vetoed.clone(), veto.to_string());
    }
    for (step, fault) in &outcome.failed {
        let kind = of_failure(step, fault);
        let detail = format!("{}: {fault}", render::step(step));
        add(kind, step.subject().to_string(), detail);
    }
    for finding in &outcome.findings {
        if let Some(kind) = of_finding(finding) {
            let detail = format!("{}: {}", finding.subject, finding.detail);
            add(kind, finding.subject.to_string(), detail);
        }
    }
    groups
        .into_iter()
        .map(|(kind, told)| alert(kind, &told, region, now))
        .collect()
}

/// The alert for revokes that did not come about, while they are still tried: whoever
/// holds them has more than in the primary.
#[must_use]
pub fn of_unrevoked(outcome: &Outcome, region: &str, now: Timestamp) -> Option<Alert> {
    let open: Vec<(String, String)> = outcome
        .unrevoked
        .iter()
        .map(|(step, fault)| {
            let detail = format!("{}: {fault}", render::step(step));
            (step.subject().to_string(), detail)
        })
        .collect();
    (!open.is_empty()).then(|| alert(AlertKind::Widening, &open, region, now))
}

/// The alerts for what is not tried again before the next resync.
#[must_use]
pub fn of_giving_up(outcome: &Outcome, reason: &str, region: &str, now: Timestamp) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = of_unrevoked(outcome, region, now).into_iter().collect();
    let scope = outcome.waiting.as_ref().map(|(scope, _)| scope.to_string());
    let subject = scope.unwrap_or_else(|| "a scope".to_owned());
    let told = [(subject.clone(), format!("{subject}: {reason}"))];
    alerts.push(alert(AlertKind::Diverged, &told, region, now));
    alerts
}

/// The alert for what a resync mended and no event had told of.
#[must_use]
pub fn of_drift(mended: &[Step], region: &str, now: Timestamp) -> Option<Alert> {
    let told: Vec<(String, String)> = mended
        .iter()
        .map(|step| (step.subject().to_string(), render::step(step)))
        .collect();
    (!told.is_empty()).then(|| alert(AlertKind::Drift, &told, region, now))
}

fn of_failure(step: &Step, fault: &Fault) -> AlertKind {
    let narrows = matches!(step, Step::Revoke { .. });
    match fault.kind {
        _ if narrows => AlertKind::Widening,
        FaultKind::Denied => AlertKind::Denied,
        FaultKind::Absent
        | FaultKind::AlreadyDone
        | FaultKind::Busy
        | FaultKind::NotYet
        | FaultKind::Invalid
        | FaultKind::Unsupported
        | FaultKind::Unavailable => AlertKind::Diverged,
    }
}

fn of_finding(finding: &Finding) -> Option<AlertKind> {
    match finding.kind {
        FindingKind::Denied => Some(AlertKind::Denied),
        FindingKind::Unreadable => Some(AlertKind::Unreadable),
        FindingKind::Foreign | FindingKind::DefaultsOpen => Some(AlertKind::Diverged),
        FindingKind::Held | FindingKind::Unsupported => Some(AlertKind::Unsupported),
        // True as long as the policy stays as it is; it stands in the plan.
        FindingKind::Note => None,
    }
}

fn alert(kind: AlertKind, told: &[(String, String)], region: &str, now: Timestamp) -> Alert {
    let subjects: std::collections::BTreeSet<&str> =
        told.iter().map(|(subject, _)| subject.as_str()).collect();
    let first = subjects.first().copied().unwrap_or("catalog");
    let subject = match subjects.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first} and {} more", count - 1),
    };
    let (what, truth, todo) = sentences(kind, told.len());
    Alert {
        kind,
        region: region.to_owned(),
        database: database_of(&subjects),
        subject,
        what,
        now: truth.to_owned(),
        todo: todo.to_owned(),
        at: now,
        count: told.len(),
        samples: told
            .iter()
            .take(SAMPLES)
            .map(|(_, detail)| detail.clone())
            .collect(),
    }
}

/// The database, where all subjects lie in one.
fn database_of(subjects: &std::collections::BTreeSet<&str>) -> Option<twinlake_core::Name> {
    let databases: std::collections::BTreeSet<&str> = subjects
        .iter()
        .filter_map(|subject| {
            let (kind, name) = subject.split_once(' ')?;
            match kind {
                "table" => name.split('.').next(),
                "database" => Some(name),
                _ => None,
            }
        })
        .collect();
    let only = (databases.len() == 1).then(|| databases.first().copied())?;
    only.and_then(|name| twinlake_core::Name::new(name).ok())
}

fn sentences(kind: AlertKind, count: usize) -> (String, &'static str, &'static str) {
    match kind {
        AlertKind::Widening => (
            format!("{count} grants that the primary lacks could not be revoked."),
            "The secondary allows more than the primary does.",
            "Revoke what is named below by hand in the secondary, then run `twinlake resync`.",
        ),
        AlertKind::Vetoed => (
            "A plan was refused, and nothing of it was applied.".to_owned(),
            "The secondary is as it was before.",
            "Read the reason below; deletions that are meant: `twinlake release`.",
        ),
        AlertKind::Denied => (
            format!("Twinlake's role lacks a right, or no longer sees everything ({count})."),
            "What is named below is as it was; nothing was deleted or revoked because of it.",
            "Give the role its rights back (it must be a data lake administrator in both \
             Regions), then run `twinlake resync`.",
        ),
        AlertKind::Diverged => (
            format!("{count} differences could not be mended."),
            "What is named below differs from the primary.",
            "Mend what the reason names; `twinlake plan` shows what would be done.",
        ),
        AlertKind::Unreadable => (
            format!("{count} subjects could not be read."),
            "What is named below is as it was when it was last read.",
            "If it lasts, look at the function's log for the call that fails.",
        ),
        AlertKind::Drift => (
            format!("A resync made {count} changes that no event had told of."),
            "The secondary equals the primary again.",
            "If it happens often, check that the trail is logging and that the rules forward.",
        ),
        AlertKind::Unsupported => (
            format!("{count} things are not replicated."),
            "The secondary does not have them.",
            "Read the reasons below; each names the policy key, or that it is not supported.",
        ),
        AlertKind::ReplicationFailed | AlertKind::ReplicationLate | AlertKind::JobFailed => (
            format!("{count} failures were reported."),
            "See below.",
            "See below.",
        ),
    }
}

/// Publishes alerts that are due; one that was sent within the hour (a digest:
/// within the day) is not repeated. With the ledger out of reach it is sent.
///
/// # Errors
/// An alert could not be published.
pub async fn publish<A: Alerts, L: Ledger>(
    topic: &A,
    ledger: &L,
    alerts: &[Alert],
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut sent = 0;
    for alert in alerts {
        let quiet = match alert.kind {
            AlertKind::Unsupported => DIGEST_SECS,
            AlertKind::Widening
            | AlertKind::Vetoed
            | AlertKind::Denied
            | AlertKind::Diverged
            | AlertKind::Unreadable
            | AlertKind::Drift
            | AlertKind::ReplicationFailed
            | AlertKind::ReplicationLate
            | AlertKind::JobFailed => QUIET_SECS,
        };
        let due = ledger.alert_is_due(&alert.key(), now, quiet).await;
        if due.unwrap_or(true) {
            topic.publish(alert).await?;
            // Told twice is better than not at all, so this comes after.
            let _ = ledger.alert_sent(&alert.key(), now).await;
            sent += 1;
        }
    }
    Ok(sent)
}
