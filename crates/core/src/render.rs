//! Renders steps and untrusted text for display.

use crate::catalog::Attachment;
use crate::step::{RevokeCause, Step};
use crate::step_kind::{ObjectKind, StepAction};
use serde::Serialize;
use serde_json::Value;
use std::fmt::{Display, Write as _};

/// Escapes untrusted text for a terminal, a log or a message: control characters, invisible
/// characters, and those that change the direction of text.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a character is invisible, or changes how others are displayed: Unicode's category Cf,
/// line and paragraph separators, and fillers.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Escapes JSON text for display without changing its value: it also escapes the invisible
/// characters that a JSON serializer leaves as they are.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_invisible(c) || ('\u{7f}'..='\u{9f}').contains(&c) {
            // JSON escapes a character above 16 bits as a surrogate pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The largest number of changed fields of an update, or of partitions of a table, that are shown.
const MAX_SHOWN: usize = 12;

/// Renders the steps of a plan, in order. Of many partitions of one table, some are shown.
#[must_use]
pub fn steps(steps: &[Step]) -> String {
    let mut text = String::new();
    let mut remaining = steps;
    while let Some((first, _)) = remaining.split_first() {
        let alike = remaining
            .iter()
            .take_while(|step| is_groupable(first, step));
        let (group, later) = remaining.split_at(alike.count().max(1));
        for step in group.iter().take(MAX_SHOWN) {
            push_step(&mut text, step);
        }
        if group.len() > MAX_SHOWN {
            let more = group.len() - MAX_SHOWN;
            push_line(
                &mut text,
                " ",
                &format!(
                    "  ... and {} of this table",
                    counted(more, "more partition")
                ),
            );
        }
        remaining = later;
    }
    text
}

/// Whether two steps are shown as one group: partition steps of one kind on one table.
fn is_groupable(a: &Step, b: &Step) -> bool {
    let is_on_partition = matches!(
        a,
        Step::CreatePartition { .. } | Step::UpdatePartition { .. } | Step::DeletePartition { .. }
    );
    is_on_partition
        && std::mem::discriminant(a) == std::mem::discriminant(b)
        && a.subject() == b.subject()
}

/// Renders one step as one line, without its changed fields.
#[must_use]
pub fn step(step: &Step) -> String {
    let text = match step {
        Step::CreateDatabase { database } => format!("create database {}", database.name),
        Step::UpdateDatabase {
            database,
            clears_default_permissions: true,
            ..
        } => format!(
            "update database {}, and clear its default permissions for new tables",
            database.name
        ),
        Step::UpdateDatabase { database, .. } => format!("update database {}", database.name),
        Step::CreateTable { id, .. } => format!("create table {id}"),
        Step::UpdateTable { id, .. } => format!("update table {id}"),
        Step::CreatePartition { id, partition } => {
            format!("create partition {} of {id}", values(&partition.values))
        }
        Step::UpdatePartition { id, partition, .. } => {
            format!("update partition {} of {id}", values(&partition.values))
        }
        Step::Grant { grant, grantable } => {
            let option = if *grantable { " with grant option" } else { "" };
            format!("grant {grant}{option}")
        }
        Step::Revoke { grant, cause, .. } => {
            let reason = match cause {
                RevokeCause::NotInPrimary => "the primary does not grant it",
                RevokeCause::NamedByEvent => "a revoke event named it",
                RevokeCause::Replace => "it is granted again later",
                RevokeCause::ExpressionChanged => "its LF-Tag expression changes",
                RevokeCause::Deletion => "its object is deleted",
                RevokeCause::ColumnDropped => "its column is dropped",
            };
            format!("revoke {grant} ({reason})")
        }
        Step::CreateFunction { id, .. } => format!("create function {id}"),
        Step::UpdateFunction { id, .. } => format!("update function {id}"),
        Step::DeleteFunction { id } => format!("delete function {id}"),
        Step::PutAttachment {
            subject,
            attachment,
            ..
        } => {
            format!(
                "put {}{} of {subject}",
                attachment.key(),
                lf_tag_value(attachment)
            )
        }
        Step::PutSettings {
            added_admins,
            added_read_only_admins,
            removed_admins,
            removed_read_only_admins,
            ..
        } => {
            let added = added_admins.len() + added_read_only_admins.len();
            let removed = removed_admins.len() + removed_read_only_admins.len();
            format!(
                "update the data lake settings: add {}, remove {removed}",
                counted(added, "administrator")
            )
        }
        Step::RemoveAttachment { subject, key } => format!("remove {key} of {subject}"),
        Step::DeletePartition { id, values: v } => {
            format!("delete partition {} of {id}", values(v))
        }
        Step::DeleteTable { id } => format!("delete table {id}"),
        Step::DeleteDatabase { name } => format!("delete database {name}"),
    };
    escape(&text)
}

/// The value of an LF-Tag assignment, to be shown after its key.
fn lf_tag_value(attachment: &Attachment) -> String {
    if let Attachment::LfTagAssignment { value, .. } = attachment {
        return format!("={value}");
    }
    String::new()
}

fn values(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

/// The marker at the beginning of the line of a step.
pub(crate) fn marker(step: &Step) -> &'static str {
    match step.action() {
        StepAction::Create | StepAction::Grant => "+",
        StepAction::Change => "~",
        StepAction::Delete | StepAction::Revoke => "-",
    }
}

fn push_step(text: &mut String, planned: &Step) {
    push_line(text, marker(planned), &step(planned));
    let changes = planned.changed_fields();
    for change in changes.iter().take(MAX_SHOWN) {
        let current = value(change.current.as_ref());
        let desired = value(change.desired.as_ref());
        push_line(
            text,
            " ",
            &format!("    {}: {current} -> {desired}", change.field),
        );
    }
    if changes.len() > MAX_SHOWN {
        let more = counted(changes.len() - MAX_SHOWN, "more field");
        push_line(text, " ", &format!("    ... and {more}"));
    }
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(value) => {
            let json = value.to_string();
            match json.char_indices().nth(100) {
                Some((end, _)) => format!("{}...", &json[..end]),
                None => json,
            }
        }
    }
}

fn push_line(text: &mut String, marker: &str, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{marker} {}", escape(content));
}

/// The number of steps by action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepCounts {
    /// Created objects and attachments.
    #[serde(rename = "create")]
    pub created: usize,
    /// Changed objects and attachments.
    #[serde(rename = "change")]
    pub changed: usize,
    /// Deleted objects and attachments.
    #[serde(rename = "delete")]
    pub deleted: usize,
    /// Created grants.
    #[serde(rename = "grant")]
    pub granted: usize,
    /// Revoked grants.
    #[serde(rename = "revoke")]
    pub revoked: usize,
}

impl StepCounts {
    /// Counts a step.
    pub fn add(&mut self, step: &Step) {
        let count = match step.action() {
            StepAction::Create => &mut self.created,
            StepAction::Change => &mut self.changed,
            StepAction::Delete => &mut self.deleted,
            StepAction::Grant => &mut self.granted,
            StepAction::Revoke => &mut self.revoked,
        };
        *count += 1;
    }

    /// The number of all steps.
    #[must_use]
    pub fn total(&self) -> usize {
        self.created + self.changed + self.deleted + self.granted + self.revoked
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Self) {
        self.created += other.created;
        self.changed += other.changed;
        self.deleted += other.deleted;
        self.granted += other.granted;
        self.revoked += other.revoked;
    }
}

/// What follows the first of several things in a sentence: ", and 3 more"; nothing if there are no others.
#[must_use]
pub fn and_more(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(", and {others} more"),
    }
}

/// A number of things whose plural ends in `s`: "1 table" or "3 tables".
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    match count == N::from(1) {
        true => format!("1 {noun}"),
        false => format!("{count} {noun}s"),
    }
}

/// A number of objects of a kind.
#[must_use]
pub fn counted_objects(count: usize, kind: ObjectKind) -> String {
    let plural = kind.label();
    counted(count, plural.strip_suffix('s').unwrap_or(plural))
}

/// The form of a word that agrees with a number, such as `has` or `have`.
#[must_use]
pub fn one_or_many<'a, N: PartialEq + From<u8>>(count: N, one: &'a str, many: &'a str) -> &'a str {
    match count == N::from(1) {
        true => one,
        false => many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_cannot_control_a_terminal_or_change_the_text_direction() {
        assert_eq!(
            escape("a\u{1b}[31mb\n\u{202e}c"),
            "a\\u{1b}[31mb\\u{a}\\u{202e}c"
        );
        assert_eq!(escape("Übung 数据"), "Übung 数据");
        // Invisible characters would make different names look the same.
        assert_eq!(
            escape("or\u{ad}d\u{200b}ers\u{e0041}"),
            "or\\u{ad}d\\u{200b}ers\\u{e0041}"
        );
    }

    #[test]
    fn escaped_json_parses_to_the_same_value() {
        let hostile = "\u{e0041}\u{202e}\u{7f}\u{ad}x";
        let json = serde_json::json!({ "a": hostile }).to_string();
        let shown = escape_json(&json);
        assert!(
            shown.is_ascii() && shown.contains("\\udb40\\udc41"),
            "{shown}"
        );
        let read: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["a"], hostile);
    }

    #[test]
    fn a_noun_and_a_verb_agree_with_their_number() {
        let text = |count: u64| {
            let verb = one_or_many(count, "has", "have");
            format!("{} {verb}", counted(count, "object"))
        };
        let texts = [text(0), text(1), text(2), text(11)];
        assert_eq!(
            texts,
            [
                "0 objects have",
                "1 object has",
                "2 objects have",
                "11 objects have"
            ]
        );
    }

    #[test]
    fn long_values_are_truncated_at_a_character_boundary() {
        let long = Value::String("é".repeat(300));
        assert!(value(Some(&long)).ends_with("..."));
    }
}
