//! The SNS message of an alert: a subject line, plain text for people, JSON for programs.

use super::{Alert, AlertState, MAX_AFFECTED, clip};
use crate::name::Name;
use crate::render::{counted, escape, escape_json};
use std::collections::BTreeSet;

/// Maximum length of a subject line: SNS requires fewer than 100 ASCII characters without line
/// breaks.
const MAX_SUBJECT_CHARS: usize = 99;
/// Maximum size of the JSON and of the text, in bytes each. SNS accepts 262,144 bytes for the whole
/// message, and quoting the JSON once more may double its size.
const MAX_BODY_BYTES: usize = 48_000;

impl Alert {
    /// Returns the subject line, which is also the text of SMS messages.
    #[must_use]
    pub fn subject_line(&self) -> String {
        let severity = match self.state {
            AlertState::New | AlertState::Repeated => self.kind.severity().as_str(),
            AlertState::Resolved => self.state.as_str(),
        };
        let line = format!(
            "[{}] Twinlake {}: {} ({})",
            severity.to_uppercase(),
            self.kind,
            self.subject,
            self.region
        );
        let plain = |c: char| {
            if c.is_ascii() && !c.is_control() {
                c
            } else {
                '?'
            }
        };
        line.chars().map(plain).take(MAX_SUBJECT_CHARS).collect()
    }

    /// Returns the SNS message with message structure `json`: text for e-mail, the subject line for
    /// SMS, and JSON for every other protocol.
    #[must_use]
    pub fn message(&self) -> String {
        serde_json::json!({
            "default": self.json(), "email": self.text(), "sms": self.subject_line(),
        })
        .to_string()
    }

    /// Returns the alert as plain text, with control characters escaped.
    #[must_use]
    pub fn text(&self) -> String {
        self.shortened(Self::full_text)
    }

    /// Returns the alert as JSON, in ASCII.
    #[must_use]
    pub fn json(&self) -> String {
        self.shortened(Self::full_json)
    }

    fn full_text(&self) -> String {
        let mut text = format!(
            "What happened: {}\nCurrent state: {}\nWhat to do: {}\n",
            escape(&self.summary),
            escape(&self.current_state),
            escape(&self.action)
        );
        if self.state != AlertState::New {
            text.push_str(&format!(
                "\nSince {}: {}.\n",
                self.since,
                counted(self.total, "occurrence")
            ));
        }
        for sample in &self.samples {
            text.push_str(&format!("  - {}\n", escape(sample)));
        }
        text.push_str(&format!(
            "\nDetected at {}. Alert {}. Runbook: docs/operations.md#{}\n",
            self.detected_at,
            self.key(),
            self.kind
        ));
        text
    }

    fn full_json(&self) -> String {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            let keys = match self.keys.is_empty() {
                true => BTreeSet::from([self.key()]),
                false => self.keys.clone(),
            };
            object.insert("keys".to_owned(), serde_json::json!(keys));
            object.insert("key".to_owned(), self.key().into());
            object.insert("severity".to_owned(), self.kind.severity().as_str().into());
            let runbook = format!("docs/operations.md#{}", self.kind);
            object.insert("runbook".to_owned(), runbook.into());
        }
        escape_json(&json.to_string())
    }

    /// Renders the alert, and drops names from it until the result fits into [`MAX_BODY_BYTES`].
    fn shortened(&self, render: impl Fn(&Self) -> String) -> String {
        let samples = self.samples.iter().map(|sample| clip(sample)).collect();
        let mut alert = Self {
            samples,
            ..self.clone()
        };
        loop {
            let body = render(&alert);
            if body.len() <= MAX_BODY_BYTES || !alert.drop_half_of_names() {
                return body;
            }
        }
    }

    /// Drops half of all names. Returns whether there was one to drop.
    fn drop_half_of_names(&mut self) -> bool {
        fn truncate_to_half<T: Ord + Clone>(set: &mut BTreeSet<T>) {
            let kept = set.iter().take(set.len() / 2).cloned().collect();
            *set = kept;
        }
        let name_count = |alert: &Self| {
            let sets = alert.affected.len() + alert.databases.len() + alert.keys.len();
            sets + alert.samples.len()
        };
        let before = name_count(self);
        truncate_to_half(&mut self.affected);
        truncate_to_half(&mut self.databases);
        truncate_to_half(&mut self.keys);
        self.samples.truncate(self.samples.len() / 2);
        name_count(self) < before
    }

    /// Returns the SNS message attributes for filter policies, all of type `String`.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kind", self.kind.as_str().to_owned()),
            ("severity", self.kind.severity().as_str().to_owned()),
            ("region", self.region.clone()),
            ("state", self.state.as_str().to_owned()),
        ]
    }

    /// Returns the message attribute `database`, of type `String.Array`: a filter policy matches if
    /// it names one of the databases.
    #[must_use]
    pub fn database_attribute(&self) -> Option<String> {
        let names: Vec<&str> = self
            .databases
            .iter()
            .take(MAX_AFFECTED)
            .map(Name::as_str)
            .collect();
        (!names.is_empty()).then(|| serde_json::json!(names).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertKind;
    use crate::alert::tests::alert;
    use crate::timestamp::Timestamp;

    #[test]
    fn a_subject_line_meets_the_limits_of_sns() {
        let line = alert(&format!("t\n\u{e9}{}", "x".repeat(200))).subject_line();
        assert!(
            line.starts_with("[PAGE] Twinlake twinlake-access-denied: t??x"),
            "{line}"
        );
        assert_eq!(line.len(), MAX_SUBJECT_CHARS);
    }

    #[test]
    fn the_text_has_no_unescaped_control_characters() {
        assert!(!alert("x").text().contains('\u{1b}'));
        assert!(alert("x").text().contains("\\u{1b}[2J"));
    }

    #[test]
    fn the_json_is_ascii_and_parses_to_the_same_alert() {
        let mut hostile = alert("x");
        hostile.summary = "\u{202e}\u{1b}\u{85}".to_owned();
        hostile.keys = BTreeSet::from([hostile.key()]);
        let json = hostile.json();
        assert!(json.is_ascii(), "{json}");
        let read: Alert = serde_json::from_str(&json).unwrap();
        assert_eq!(read, hostile);
    }

    #[test]
    fn the_longest_alert_meets_the_size_limit_of_sns() {
        let long = "\u{202e}\"".repeat(100_000);
        let sentences = [long.clone(), long.clone(), long.clone()];
        let at = Timestamp::from_secs(0);
        let name = |n: usize| format!("{n:03}{}", "n".repeat(252));
        let names = || (0..MAX_AFFECTED).map(name);
        let alert = Alert {
            databases: names().filter_map(|name| Name::new(&name).ok()).collect(),
            affected: names().map(|name| format!("table {name}.{name}")).collect(),
            samples: names().map(|name| name + &long).collect(),
            keys: names().collect(),
            ..Alert::new(AlertKind::JobFailed, "us-east-1", &long, sentences, at)
        };
        let attribute = alert.database_attribute().unwrap_or_default();
        assert!(alert.message().len() + attribute.len() + 1000 < 262_144);
        let read: Alert = serde_json::from_str(&alert.json()).unwrap();
        assert!(!read.affected.is_empty() && read.summary.ends_with("..."));
        assert_eq!(read.key(), alert.key());
    }

    #[test]
    fn a_message_has_text_for_email_and_json_for_queues() {
        let sent: serde_json::Value = serde_json::from_str(&alert("x").message()).unwrap();
        let body = |protocol: &str| sent[protocol].as_str().unwrap_or_default();
        assert!(body("email").starts_with("What happened: GetTable was denied."));
        assert!(body("email").ends_with("Runbook: docs/operations.md#twinlake-access-denied\n"));
        assert_eq!(
            body("sms"),
            "[PAGE] Twinlake twinlake-access-denied: x (us-east-1)"
        );
        let data: serde_json::Value = serde_json::from_str(body("default")).unwrap();
        assert_eq!(data["key"], alert("x").key());
        assert_eq!(data["keys"][0], alert("x").key());
        assert_eq!(data["runbook"], "docs/operations.md#twinlake-access-denied");
    }
}
