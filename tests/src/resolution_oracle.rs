//! Judges published resolutions by the raw state of both Regions and by the ledger.

use crate::equality_oracle;
use crate::harness::{PRIMARY, STANDBY, TestHarness};
use crate::plans::excess_access;
use crate::reported_problems;
use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::{AlertKind, FunctionId, LfSubject, Name, Subject, SubjectState, TableId};

/// The kinds of alerts that a scan resolves.
pub const SCANNED_KINDS: [AlertKind; 7] = [
    AlertKind::ExcessAccess,
    AlertKind::PlanRejected,
    AlertKind::DeletionsHeld,
    AlertKind::TwinlakeAccessDenied,
    AlertKind::Conflict,
    AlertKind::ReadFailed,
    AlertKind::Drift,
];

/// Returns the subject of the text in an alert.
#[must_use]
pub fn parse_subject(text: &str) -> Option<Subject> {
    let lf_subjects = LfSubject::EVERY.into_iter().map(Subject::LakeFormation);
    let mut whole = lf_subjects.chain([Subject::Catalog]);
    if let Some(subject) = whole.find(|subject| subject.to_string() == text) {
        return Some(subject);
    }
    let (kind, name) = text.split_once(' ')?;
    let part = |text: &str| Name::new(text).ok();
    match (kind, name.split_once('.')) {
        ("database", None) => Some(Subject::Database(part(name)?)),
        ("table", Some((database, table))) => {
            Some(Subject::Table(TableId::new(part(database)?, part(table)?)))
        }
        ("function", Some((database, function))) => {
            let id = FunctionId::new(part(database)?, part(function)?);
            Some(Subject::Function(id))
        }
        _ => None,
    }
}

/// Whether a difference is of a subject itself or of its own grants and attachments: for a database,
/// not of what is in it.
#[must_use]
pub fn is_of(difference: &str, subject: &Subject) -> bool {
    let has = |texts: &[&str]| texts.iter().any(|text| difference.contains(text));
    match subject {
        Subject::Database(name) => {
            let own = [
                format!(" database|{name}"),
                format!("attachment|{name}|"),
                format!("assigned|database {name}|"),
                format!("Database(\"{name}\")"),
                format!("AllTables(\"{name}\")"),
                format!("AllTablesAllColumns(\"{name}\")"),
            ];
            own.iter().any(|text| difference.contains(text))
        }
        Subject::LakeFormation(LfSubject::LfTags) => has(&["lakeformation|tag|", "grant|LfTag("]),
        Subject::LakeFormation(LfSubject::LfTagExpressions) => {
            has(&["lakeformation|expression|", "grant|LfTagExpression("])
        }
        Subject::LakeFormation(LfSubject::DataLocations) => {
            has(&["lakeformation|registration|", "grant|DataLocation("])
        }
        Subject::LakeFormation(LfSubject::Permissions) => {
            has(&["grant|LfTagPolicy(", "grant|Catalog"])
        }
        Subject::LakeFormation(LfSubject::Settings) | Subject::Catalog => false,
        Subject::Table(_) => !has(&["function|"]) && equality_oracle::is_about(difference, subject),
        Subject::Function(_) => {
            has(&["function|"]) && equality_oracle::is_about(difference, subject)
        }
    }
}

/// Whether a Region has a subject; those that always exist count as present.
#[must_use]
pub fn exists(harness: &TestHarness, region: &str, subject: &Subject) -> bool {
    let state = harness.sim.state();
    match subject {
        Subject::Database(name) => state.raw_databases(region).contains_key(name),
        Subject::Table(id) => state.raw_tables(region).contains_key(id),
        Subject::Function(id) => state.raw_functions(region).contains_key(id),
        Subject::LakeFormation(_) | Subject::Catalog => true,
    }
}

fn state_of(harness: &TestHarness, subject: &Subject) -> SubjectState {
    let rows = harness.ledger.contents().rows;
    rows.get(subject)
        .map_or(SubjectState::InSync, |row| row.state)
}

/// The subjects of the open incidents that a scan resolves, by kind.
#[must_use]
pub fn open_problems(harness: &TestHarness) -> BTreeSet<(AlertKind, String)> {
    let incidents = harness.ledger.contents().incidents.into_values();
    let open = incidents.flat_map(|(incident, _)| {
        let kind = incident.alert.kind;
        incident
            .alert
            .affected
            .into_iter()
            .map(move |subject| (kind, subject))
    });
    open.filter(|(kind, _)| SCANNED_KINDS.contains(kind))
        .collect()
}

/// Returns why a problem that was reported as resolved is not gone, or `None` if it is.
#[must_use]
pub fn remaining_problem(harness: &TestHarness, kind: AlertKind, text: &str) -> Option<String> {
    let subject = parse_subject(text)?;
    let state = state_of(harness, &subject);
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    let mut own = differences.into_iter().filter(|one| is_of(one, &subject));
    let is_held = exists(harness, STANDBY, &subject) && !exists(harness, PRIMARY, &subject);
    match kind {
        AlertKind::DeletionsHeld => {
            // The limit holds it no more if another alert says why it is not deleted.
            let other_cause =
                |(other, about): &(AlertKind, String)| *other != kind && about == text;
            let is_held = is_held && !open_problems(harness).iter().any(other_cause);
            is_held.then(|| format!("{text} is not deleted"))
        }
        AlertKind::ExcessAccess => {
            let mut excess = excess_access(harness).into_iter();
            let name = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let of_subject = excess.find(|right| {
                let object = right.1.as_str();
                object == name || object.starts_with(&format!("{name}."))
            });
            of_subject.map(|right| format!("{text} gives {right:?}"))
        }
        AlertKind::Conflict
        | AlertKind::PlanRejected
        | AlertKind::PolicyUnusable
        | AlertKind::TwinlakeAccessDenied
        | AlertKind::ReadFailed
        | AlertKind::Drift => {
            let is_wrong = match kind == AlertKind::Conflict {
                true => matches!(state, SubjectState::OutOfSync | SubjectState::Blocked),
                false => state == SubjectState::OutOfSync,
            };
            if is_wrong {
                return Some(format!("{text} is {state}"));
            }
            let open = open_problems(harness);
            let is_reported =
                state != SubjectState::InSync || open.iter().any(|(_, other)| other == text);
            match is_reported {
                true => None,
                false => own.next().map(|one| format!("{text}: {one}")),
            }
        }
        AlertKind::ReplicationFailed
        | AlertKind::ReplicationLate
        | AlertKind::DataPending
        | AlertKind::DataLost
        | AlertKind::JobFailed
        | AlertKind::UserAccessDenied
        | AlertKind::DeadLetters
        | AlertKind::Alarm
        | AlertKind::Lagging
        | AlertKind::ChannelStalled
        | AlertKind::CallCeilingReached
        | AlertKind::ReadinessLost
        | AlertKind::ReadinessUnknown
        | AlertKind::NotReplicated
        | AlertKind::Digest => None,
    }
}

/// Deletes the reported items of the standby whose deletion no resync can prove, as the runbook says:
/// the primary has no other of their kind, and the event of the deletion was lost.
///
/// # Panics
/// The standby refuses a deletion.
pub fn delete_unproven_items(harness: &TestHarness) {
    let problems = reported_problems::of_ledger(harness);
    let is_reported = |key: &str| problems.keys().any(|subject| is_of(key, subject));
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    for difference in differences.iter().filter(|key| is_reported(key)) {
        let mut parts = difference.split('|');
        let (call, request) = match (parts.next(), parts.next(), parts.next()) {
            (Some("extra lakeformation"), Some("registration"), Some(arn)) => {
                ("DeregisterResource", json!({"ResourceArn": arn}))
            }
            (Some("extra lakeformation"), Some("expression"), Some(name)) => {
                ("DeleteLFTagExpression", json!({"Name": name}))
            }
            _ => continue,
        };
        harness.call(STANDBY, call, &request).unwrap();
    }
}
