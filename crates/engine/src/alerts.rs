//! From what a reconciliation came to, to what people are told.

mod over;
mod tell;

pub use over::{Looked, REPLICAS, fade, heal, learn, newest, remind};
pub use tell::{conclude, publish};

use crate::reconcile::Outcome;
use crate::resync::Report;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::alert::ABOUT;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::render;
use twinlake_core::{Alert, AlertKind, Fault, FaultKind, Step, Timestamp};

/// What an alert is about when nothing may be applied at all: well as soon as something
/// may be.
pub const READY: &str = "the policy";

/// What an alert is about when an event made no sense.
pub(crate) const AN_EVENT: &str = "an event";

/// How many things an alert names.
const SAMPLES: usize = 5;
/// How many things are kept for the digest.
const GATHERED: usize = 100;

/// The alerts that an outcome calls for: at most one of each kind for each database.
#[must_use]
pub fn of_outcome(outcome: &Outcome, region: &str, now: Timestamp) -> Vec<Alert> {
    let mut groups: BTreeMap<(AlertKind, String), Vec<(String, String)>> = BTreeMap::new();
    let mut add = |kind: AlertKind, subject: String, detail: String| {
        let group = group_of(&subject).to_owned();
        groups
            .entry((kind, group))
            .or_default()
            .push((subject, detail));
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
        // What its row says is gathered from there.
        let gathered = of_finding(finding) == Some(AlertKind::Unsupported);
        if gathered && outcome.reasons.get(&finding.subject) == Some(&finding.detail) {
            continue;
        }
        if let Some(kind) = of_finding(finding) {
            let detail = format!("{}: {}", finding.subject, finding.detail);
            add(kind, finding.subject.to_string(), detail);
        }
    }
    groups
        .into_iter()
        .map(|((kind, _), told)| alert(kind, &told, region, now))
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

/// The alert for a message that made no sense: redelivery cannot help it.
#[must_use]
pub fn of_refusal(reason: &str, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!("An event could not be understood: {reason}."),
        "Whatever it told of is seen by the next resync at the latest, if it was about the \
         catalog or its permissions."
            .to_owned(),
        "If it comes again, look at what the rules of the buses, and the queues, let through."
            .to_owned(),
    ];
    Alert::new(AlertKind::Unreadable, region, AN_EVENT, sentences, now)
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

/// The alerts that a resync, or a part of one, calls for.
#[must_use]
pub fn of_report(report: &Report, region: &str, now: Timestamp) -> Vec<Alert> {
    let outcome = &report.outcome;
    let mut told = of_outcome(outcome, region, now);
    if let Some((_, reason)) = &outcome.waiting {
        told.extend(of_giving_up(outcome, reason, region, now));
    }
    if !report.first {
        told.extend(of_drift(&outcome.applied, region, now));
    }
    told
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

/// What repeats are grouped by: the database, or what is in none.
fn group_of(subject: &str) -> &str {
    database_in(subject).unwrap_or(subject)
}

fn alert(kind: AlertKind, told: &[(String, String)], region: &str, now: Timestamp) -> Alert {
    let subjects: BTreeSet<&str> = told.iter().map(|(subject, _)| subject.as_str()).collect();
    let first = subjects.first().copied().unwrap_or("catalog");
    let subject = match subjects.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first} and {} more", count - 1),
    };
    let (what, truth, todo) = sentences(kind, told.len());
    let sentences = [what, truth.to_owned(), todo.to_owned()];
    let about = subjects
        .iter()
        .take(ABOUT)
        .map(|&subject| subject.to_owned());
    Alert {
        databases: databases_of(&subjects),
        group: group_of(first).to_owned(),
        about: about.collect(),
        count: told.len(),
        samples: told
            .iter()
            .take(samples_of(kind))
            .map(|(_, detail)| detail.clone())
            .collect(),
        ..Alert::new(kind, region, &subject, sentences, now)
    }
}

/// What is gathered for the digest is told by kind, so more of it is kept.
fn samples_of(kind: AlertKind) -> usize {
    match kind == AlertKind::Unsupported {
        true => GATHERED,
        false => SAMPLES,
    }
}

/// The database that a subject, told by name, is or lies in.
fn database_in(subject: &str) -> Option<&str> {
    let (kind, name) = subject.split_once(' ')?;
    match kind {
        "table" | "function" => name.split('.').next(),
        "database" => Some(name),
        _ => None,
    }
}

/// The databases that subjects are or lie in.
fn databases_of(subjects: &BTreeSet<&str>) -> BTreeSet<twinlake_core::Name> {
    let names = subjects.iter().filter_map(|subject| database_in(subject));
    names
        .filter_map(|name| twinlake_core::Name::new(name).ok())
        .collect()
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
        AlertKind::ReplicationFailed
        | AlertKind::ReplicationLate
        | AlertKind::JobFailed
        | AlertKind::Unauthorized
        | AlertKind::DeadLetters
        | AlertKind::Alarm
        | AlertKind::Lagging
        | AlertKind::Silent
        | AlertKind::Digest => (
            format!("{count} failures were reported."),
            "See below.",
            "See below.",
        ),
    }
}
