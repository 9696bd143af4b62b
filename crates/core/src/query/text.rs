//! Plans of the domain as text for people.

use super::audit::QueryRejection;
use super::plan::{QueryFinding, QueryPlan, QueryStep};
use crate::catalog::differences;
use crate::plan::FindingKind;
use crate::render::{counted, escape};
use std::collections::BTreeSet;

/// The most characters of a value in a line.
const MAX_VALUE_CHARS: usize = 120;

/// A step, one line for what it does and one for each field that it changes.
#[must_use]
pub fn query_step_text(step: &QueryStep) -> String {
    match step {
        QueryStep::Create { object, .. } => format!("+ create {}", escape(&object.describe())),
        QueryStep::Narrow {
            current, object, ..
        }
        | QueryStep::Update {
            current, object, ..
        } => {
            let verb = match step.is_narrowing() {
                true => "narrow",
                false => "update",
            };
            let mut text = format!("~ {verb} {}", escape(&object.describe()));
            for change in differences(&current.comparable(), &object.comparable()) {
                text.push_str(&format!(
                    "\n    {}: {} -> {}",
                    escape(&change.field),
                    value_text(change.current.as_ref()),
                    value_text(change.desired.as_ref())
                ));
            }
            text
        }
        QueryStep::SetTags {
            standby,
            set,
            remove,
            ..
        } => {
            let set: Vec<String> = set
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
            let text = format!(
                "~ tags of {standby}: set {}; remove {}",
                or_none(&set.join(", ")),
                or_none(&remove.join(", "))
            );
            escape(&text)
        }
        QueryStep::Sleep { standby, .. } => {
            format!("~ put to sleep {}", escape(&standby.to_string()))
        }
        QueryStep::Delete { current, .. } => {
            format!("- delete {}", escape(&current.key.to_string()))
        }
    }
}

fn or_none(text: &str) -> &str {
    match text.is_empty() {
        true => "none",
        false => text,
    }
}

fn value_text(value: Option<&serde_json::Value>) -> String {
    let text = value.map_or_else(|| "none".to_owned(), ToString::to_string);
    let text = match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    };
    escape(&text)
}

/// The findings, one line each.
#[must_use]
pub fn query_findings_text(findings: &BTreeSet<QueryFinding>) -> String {
    let lines = findings.iter().map(|finding| {
        let kind = match finding.kind {
            FindingKind::Denied => "denied",
            FindingKind::HiddenColumns | FindingKind::Unreadable => "unreadable",
            FindingKind::Unmanaged | FindingKind::DefaultsOpen => "unmanaged",
            FindingKind::OnHold => "on hold",
            FindingKind::DataPending | FindingKind::DataOverdue | FindingKind::DataLost => {
                "data missing"
            }
            FindingKind::ChangeRequired => "has to be changed",
            FindingKind::Unsupported => "not replicated",
            FindingKind::Note => "note",
        };
        escape(&format!("{kind}: {}: {}", finding.object, finding.detail))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A plan with its findings and the rejections of the audit.
#[must_use]
pub fn query_plan_text(plan: &QueryPlan, rejections: &[QueryRejection]) -> String {
    let mut parts: Vec<String> = plan.steps.iter().map(query_step_text).collect();
    if !plan.findings.is_empty() {
        parts.push(query_findings_text(&plan.findings));
    }
    for rejection in rejections {
        parts.push(escape(&format!("rejected: {rejection}")));
    }
    parts.push(match plan.steps.len() {
        0 => "No changes to the query tools.".to_owned(),
        count => format!("{} to the query tools.", counted(count, "change")),
    });
    parts.join("\n")
}
