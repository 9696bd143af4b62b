//! An alert as it is sent: a subject, text for people, JSON for programs.

use super::{ABOUT, Alert, AlertState, clip};
use crate::name::Name;
use crate::render::{escape, escape_json};
use std::collections::BTreeSet;

/// SNS takes subjects of fewer than 100 characters, in ASCII without line ends.
const SUBJECT_CHARS: usize = 99;
/// Bytes of the JSON and of the text. SNS takes 262,144 with everything, and quoting the JSON
/// once more may double it.
const MOST_BYTES: usize = 48_000;

impl Alert {
    /// A subject line fit for a phone.
    #[must_use]
    pub fn subject_line(&self) -> String {
        let severity = match self.state {
            AlertState::New | AlertState::Again => self.kind.severity().as_str(),
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
        line.chars().map(plain).take(SUBJECT_CHARS).collect()
    }

    /// The message as SNS takes it with the structure `json`: text for e-mail, the subject for
    /// phones, and JSON for all else.
    #[must_use]
    pub fn message(&self) -> String {
        serde_json::json!({
            "default": self.json(), "email": self.text(), "sms": self.subject_line(),
        })
        .to_string()
    }

    /// The three sentences as plain text, with nothing unescaped in it.
    #[must_use]
    pub fn text(&self) -> String {
        self.fitting(Self::whole_text)
    }

    /// The whole alert for programs.
    #[must_use]
    pub fn json(&self) -> String {
        self.fitting(Self::whole_json)
    }

    fn whole_text(&self) -> String {
        let mut text = format!(
            "What happened: {}\nIn the secondary now: {}\nWhat to do: {}\n",
            escape(&self.what),
            escape(&self.now),
            escape(&self.todo)
        );
        if self.state != AlertState::New {
            text.push_str(&format!("\nSince {}, {} in all.\n", self.since, self.total));
        }
        for sample in &self.samples {
            text.push_str(&format!("  - {}\n", escape(sample)));
        }
        text.push_str(&format!(
            "\nFound at {}. Alert {}. Runbook: README.md#{}\n",
            self.at,
            self.key(),
            self.kind
        ));
        text
    }

    fn whole_json(&self) -> String {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            let keys = match self.keys.is_empty() {
                true => BTreeSet::from([self.key()]),
                false => self.keys.clone(),
            };
            object.insert("keys".to_owned(), serde_json::json!(keys));
            object.insert("key".to_owned(), self.key().into());
            object.insert("severity".to_owned(), self.kind.severity().as_str().into());
            let runbook = format!("README.md#{}", self.kind);
            object.insert("runbook".to_owned(), runbook.into());
        }
        escape_json(&json.to_string())
    }

    /// What is shown of an alert, with fewer names in it the longer they are.
    fn fitting(&self, show: impl Fn(&Self) -> String) -> String {
        let samples = self.samples.iter().map(|sample| clip(sample)).collect();
        let mut alert = Self {
            samples,
            ..self.clone()
        };
        loop {
            let shown = show(&alert);
            if shown.len() <= MOST_BYTES || !alert.leave_out() {
                return shown;
            }
        }
    }

    /// Leaves out half of all names. Answers whether there were any.
    fn leave_out(&mut self) -> bool {
        fn half<T: Ord + Clone>(set: &mut BTreeSet<T>) {
            let kept = set.iter().take(set.len() / 2).cloned().collect();
            *set = kept;
        }
        let named = |alert: &Self| {
            let sets = alert.about.len() + alert.databases.len() + alert.keys.len();
            sets + alert.samples.len()
        };
        let before = named(self);
        half(&mut self.about);
        half(&mut self.databases);
        half(&mut self.keys);
        self.samples.truncate(self.samples.len() / 2);
        named(self) < before
    }

    /// SNS message attributes for filter policies, all of type String.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kind", self.kind.as_str().to_owned()),
            ("severity", self.kind.severity().as_str().to_owned()),
            ("region", self.region.clone()),
            ("state", self.state.as_str().to_owned()),
        ]
    }

    /// The attribute `database`, of type `String.Array`: a filter policy lets it pass if it
    /// names one of them.
    #[must_use]
    pub fn database_attribute(&self) -> Option<String> {
        let names: Vec<&str> = self
            .databases
            .iter()
            .take(ABOUT)
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
    fn a_subject_line_is_what_sns_takes() {
        let line = alert(&format!("t\n\u{e9}{}", "x".repeat(200))).subject_line();
        assert!(line.starts_with("[PAGE] Twinlake denied: t??x"), "{line}");
        assert_eq!(line.len(), SUBJECT_CHARS);
    }

    #[test]
    fn nothing_reaches_the_text_unescaped() {
        assert!(!alert("x").text().contains('\u{1b}'));
        assert!(alert("x").text().contains("\\u{1b}[2J"));
    }

    #[test]
    fn nothing_reaches_a_program_unescaped_and_it_reads_the_same() {
        let mut hostile = alert("x");
        hostile.what = "\u{202e}\u{1b}\u{85}".to_owned();
        hostile.keys = BTreeSet::from([hostile.key()]);
        let json = hostile.json();
        assert!(json.is_ascii(), "{json}");
        let read: Alert = serde_json::from_str(&json).unwrap();
        assert_eq!(read, hostile);
    }

    #[test]
    fn the_longest_alert_is_one_that_sns_takes() {
        let long = "\u{202e}\"".repeat(100_000);
        let sentences = [long.clone(), long.clone(), long.clone()];
        let at = Timestamp::from_secs(0);
        let name = |n: usize| format!("{n:03}{}", "n".repeat(252));
        let names = || (0..ABOUT).map(name);
        let alert = Alert {
            databases: names().filter_map(|name| Name::new(&name).ok()).collect(),
            about: names().map(|name| format!("table {name}.{name}")).collect(),
            samples: names().map(|name| name + &long).collect(),
            keys: names().collect(),
            ..Alert::new(AlertKind::JobFailed, "us-east-1", &long, sentences, at)
        };
        let attribute = alert.database_attribute().unwrap_or_default();
        assert!(alert.message().len() + attribute.len() + 1000 < 262_144);
        let read: Alert = serde_json::from_str(&alert.json()).unwrap();
        assert!(!read.about.is_empty() && read.what.ends_with("..."));
        assert_eq!(read.key(), alert.key());
    }

    #[test]
    fn a_message_is_text_for_people_and_data_for_queues() {
        let sent: serde_json::Value = serde_json::from_str(&alert("x").message()).unwrap();
        let of = |protocol: &str| sent[protocol].as_str().unwrap_or_default();
        assert!(of("email").starts_with("What happened: GetTable was denied."));
        assert!(of("email").ends_with("Runbook: README.md#denied\n"));
        assert_eq!(of("sms"), "[PAGE] Twinlake denied: x (us-east-1)");
        let data: serde_json::Value = serde_json::from_str(of("default")).unwrap();
        assert_eq!(data["key"], alert("x").key());
        assert_eq!(data["keys"][0], alert("x").key());
        assert_eq!(data["runbook"], "README.md#denied");
    }
}
