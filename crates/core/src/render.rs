//! Plans, findings and untrusted text, as people read them.

use crate::catalog::{Change, Part};
use crate::plan::Plan;
use crate::step::{RevokeCause, Step};
use serde_json::Value;
use std::fmt::Write as _;

/// Makes untrusted text safe for a terminal, a log or a message: control
/// characters and those that change the direction of text become their escapes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_unseen(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Characters that are not seen, or change how others are: Unicode's category Cf, line and
/// paragraph separators, and fillers.
fn is_unseen(c: char) -> bool {
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

/// JSON that means the same and is safe to show: what JSON leaves unescaped is escaped, too.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unseen(c) || ('\u{7f}'..='\u{9f}').contains(&c) {
            // JSON spells what is beyond 16 bits as a pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// How many fields of an update, or partitions of a table, are shown one by one.
const SHOWN: usize = 12;

/// A plan as an operator approves it: the findings, the steps in order, a count.
#[must_use]
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    for finding in &plan.findings {
        let kind = serde_json::to_value(finding.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default().to_owned();
        line(
            &mut text,
            "!",
            &format!("{kind}: {}: {}", finding.subject, finding.detail),
        );
    }
    let mut rest = plan.steps.as_slice();
    while let Some((first, _)) = rest.split_first() {
        let run = rest.iter().take_while(|step| is_alike(first, step)).count();
        let (shown, later) = rest.split_at(run.max(1));
        for step in shown.iter().take(SHOWN) {
            render_step(&mut text, step);
        }
        if shown.len() > SHOWN {
            let more = shown.len() - SHOWN;
            line(
                &mut text,
                " ",
                &format!("  ... and {more} more partitions of this table"),
            );
        }
        rest = later;
    }
    let counts = count(&plan.steps);
    let _ = if plan.steps.is_empty() {
        writeln!(text, "Nothing to do.")
    } else {
        writeln!(
            text,
            "Plan: {} to create, {} to change, {} to delete, {} to grant, {} to revoke.",
            counts.created, counts.changed, counts.deleted, counts.granted, counts.revoked
        )
    };
    text
}

/// Partition steps of one kind on one table are told together.
fn is_alike(a: &Step, b: &Step) -> bool {
    let of_partition = matches!(
        a,
        Step::CreatePartition { .. } | Step::UpdatePartition { .. } | Step::DeletePartition { .. }
    );
    of_partition
        && std::mem::discriminant(a) == std::mem::discriminant(b)
        && a.subject() == b.subject()
}

/// One step in one line, without its details.
#[must_use]
pub fn step(step: &Step) -> String {
    let text = match step {
        Step::CreateDatabase { database } => format!("create database {}", database.name),
        Step::UpdateDatabase {
            database,
            closes: true,
            ..
        } => format!(
            "close database {} for new tables, and update it",
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
        Step::Grant { atom, grantable } => {
            let option = if *grantable { " with grant option" } else { "" };
            format!("grant {atom}{option}")
        }
        Step::Revoke { atom, cause, .. } => {
            let why = match cause {
                RevokeCause::Extra => "the primary does not grant it",
                RevokeCause::Suspect => "a revoke named it",
                RevokeCause::Replace => "to be granted again",
                RevokeCause::Deletion => "its object goes",
            };
            format!("revoke {atom} ({why})")
        }
        Step::CreateFunction { id, .. } => format!("create function {id}"),
        Step::UpdateFunction { id, .. } => format!("update function {id}"),
        Step::DeleteFunction { id } => format!("delete function {id}"),
        Step::PutPart { subject, part, .. } => {
            format!("put {}{} of {subject}", part.key(), assigned_value(part))
        }
        Step::PutSettings {
            add,
            add_readers,
            drop,
            ..
        } => {
            let (more, less) = (add.len() + add_readers.len(), drop.len());
            format!("write the data lake settings, {more} more administrators and {less} fewer")
        }
        Step::RemovePart { subject, key } => format!("remove {key} of {subject}"),
        Step::DeletePartition { id, values: v } => {
            format!("delete partition {} of {id}", values(v))
        }
        Step::DeleteTable { id } => format!("delete table {id}"),
        Step::DeleteDatabase { name } => format!("delete database {name}"),
    };
    escape(&text)
}

/// The value of an assigned LF-Tag: its key alone says too little.
fn assigned_value(part: &Part) -> String {
    if let Part::Assigned { value, .. } = part {
        return format!("={value}");
    }
    String::new()
}

fn values(values: &[String]) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

fn sign(step: &Step) -> &'static str {
    match step {
        Step::CreateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::CreatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::Grant { .. } => "+",
        Step::UpdateDatabase { .. }
        | Step::UpdateTable { .. }
        | Step::UpdatePartition { .. }
        | Step::UpdateFunction { .. }
        | Step::PutSettings { .. }
        | Step::PutPart { .. } => "~",
        Step::Revoke { .. }
        | Step::RemovePart { .. }
        | Step::DeleteFunction { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => "-",
    }
}

fn changes(step: &Step) -> &[Change] {
    match step {
        Step::UpdateDatabase { changes, .. }
        | Step::UpdateTable { changes, .. }
        | Step::UpdatePartition { changes, .. }
        | Step::UpdateFunction { changes, .. } => changes,
        Step::CreateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::CreatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutPart { .. }
        | Step::PutSettings { .. }
        | Step::RemovePart { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => &[],
    }
}

fn render_step(text: &mut String, of: &Step) {
    line(text, sign(of), &step(of));
    let changes = changes(of);
    for change in changes.iter().take(SHOWN) {
        let now = value(change.now.as_ref());
        let wanted = value(change.wanted.as_ref());
        line(
            text,
            " ",
            &format!("    {}: {now} -> {wanted}", change.field),
        );
    }
    if changes.len() > SHOWN {
        let more = changes.len() - SHOWN;
        line(text, " ", &format!("    ... and {more} more fields"));
    }
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(value) => {
            let json = value.to_string();
            match json.char_indices().nth(100) {
                Some((at, _)) => format!("{}...", &json[..at]),
                None => json,
            }
        }
    }
}

fn line(text: &mut String, sign: &str, rest: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{sign} {}", escape(rest));
}

/// Steps by what they do, for the summary line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Databases, tables, partitions and functions made.
    pub created: usize,
    /// Those changed, in themselves or in a part.
    pub changed: usize,
    /// Those deleted.
    pub deleted: usize,
    /// Grants given.
    pub granted: usize,
    /// Grants taken away.
    pub revoked: usize,
}

impl Counts {
    /// Counts one more step.
    pub fn add(&mut self, step: &Step) {
        match step {
            Step::CreateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::CreatePartition { .. }
            | Step::CreateFunction { .. } => {
                self.created += 1;
            }
            Step::UpdateDatabase { .. }
            | Step::UpdateTable { .. }
            | Step::UpdatePartition { .. }
            | Step::UpdateFunction { .. }
            | Step::PutPart { .. }
            | Step::PutSettings { .. }
            | Step::RemovePart { .. } => self.changed += 1,
            Step::DeleteDatabase { .. }
            | Step::DeleteTable { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteFunction { .. } => self.deleted += 1,
            Step::Grant { .. } => self.granted += 1,
            Step::Revoke { .. } => self.revoked += 1,
        }
    }

    /// How many steps there were.
    #[must_use]
    pub fn total(&self) -> usize {
        self.created + self.changed + self.deleted + self.granted + self.revoked
    }

    /// Counts those of another one, too.
    pub fn absorb(&mut self, other: &Self) {
        self.created += other.created;
        self.changed += other.changed;
        self.deleted += other.deleted;
        self.granted += other.granted;
        self.revoked += other.revoked;
    }
}

/// Counts steps by what they do.
#[must_use]
pub fn count(steps: &[Step]) -> Counts {
    let mut counts = Counts::default();
    steps.iter().for_each(|step| counts.add(step));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_steer_a_terminal_or_turn_text_around() {
        assert_eq!(
            escape("a\u{1b}[31mb\n\u{202e}c"),
            "a\\u{1b}[31mb\\u{a}\\u{202e}c"
        );
        assert_eq!(escape("Übung 数据"), "Übung 数据");
        // What is not seen makes two names look alike.
        assert_eq!(
            escape("or\u{ad}d\u{200b}ers\u{e0041}"),
            "or\\u{ad}d\\u{200b}ers\\u{e0041}"
        );
    }

    #[test]
    fn json_that_is_shown_reads_the_same() {
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
    fn long_values_are_cut_at_a_character() {
        let long = Value::String("é".repeat(300));
        assert!(value(Some(&long)).ends_with("..."));
    }
}
