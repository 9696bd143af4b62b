//! What people are told: one alert, its severity, and three sentences.

mod episode;

pub use episode::{Episode, News};

use crate::name::Name;
use crate::render::{escape, escape_json};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The kinds of alerts. Each has a row in the README that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// The secondary shows access that the primary lacks, and it could not be
    /// removed.
    Widening,
    /// The auditor refused a plan, or the brake held it.
    Vetoed,
    /// Our role lacks a right, or no longer sees everything.
    Denied,
    /// Still different after the allowed rounds.
    Diverged,
    /// It could not be observed.
    Unreadable,
    /// The resync mended what no event explained.
    Drift,
    /// S3 did not replicate an object.
    ReplicationFailed,
    /// S3 replicated an object late, or stopped tracking it.
    ReplicationLate,
    /// A Glue job or crawler failed.
    JobFailed,
    /// Somebody was refused access.
    Unauthorized,
    /// Messages wait in a dead-letter queue.
    DeadLetters,
    /// A CloudWatch alarm of ours went off.
    Alarm,
    /// A channel is behind its objective.
    Lagging,
    /// Nothing comes over a channel.
    Silent,
    /// What is not replicated, by kind and count. It is gathered for the digest.
    Unsupported,
    /// How the last day went.
    Digest,
}

/// How soon a person should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// At once.
    Page,
    /// Within the day.
    Warn,
    /// Once a day, gathered.
    Digest,
}

impl AlertKind {
    /// Every kind.
    pub const EVERY: [Self; 16] = [
        Self::Widening,
        Self::Vetoed,
        Self::Denied,
        Self::Diverged,
        Self::Unreadable,
        Self::Drift,
        Self::ReplicationFailed,
        Self::ReplicationLate,
        Self::JobFailed,
        Self::Unauthorized,
        Self::DeadLetters,
        Self::Alarm,
        Self::Lagging,
        Self::Silent,
        Self::Unsupported,
        Self::Digest,
    ];

    /// The kind as it stands in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Widening => "widening",
            Self::Vetoed => "vetoed",
            Self::Denied => "denied",
            Self::Diverged => "diverged",
            Self::Unreadable => "unreadable",
            Self::Drift => "drift",
            Self::ReplicationFailed => "replication-failed",
            Self::ReplicationLate => "replication-late",
            Self::JobFailed => "job-failed",
            Self::Unauthorized => "unauthorized",
            Self::DeadLetters => "dead-letters",
            Self::Alarm => "alarm",
            Self::Lagging => "lagging",
            Self::Silent => "silent",
            Self::Unsupported => "unsupported",
            Self::Digest => "digest",
        }
    }

    /// How soon a person should look.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Widening | Self::Vetoed | Self::Denied | Self::Lagging | Self::Silent => {
                Severity::Page
            }
            Self::Diverged
            | Self::Unreadable
            | Self::Drift
            | Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::JobFailed
            | Self::Unauthorized
            | Self::DeadLetters
            | Self::Alarm => Severity::Warn,
            Self::Unsupported | Self::Digest => Severity::Digest,
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Severity {
    /// The severity as it stands in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Warn => "warn",
            Self::Digest => "digest",
        }
    }
}

/// Where in its trouble an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// The first message.
    New,
    /// It lasts, or came again.
    Again,
    /// It is over.
    Resolved,
}

impl AlertState {
    /// The state as it stands in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Again => "again",
            Self::Resolved => "resolved",
        }
    }
}

/// One message to the operations team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What kind.
    pub kind: AlertKind,
    /// Where in its trouble it stands.
    pub state: AlertState,
    /// The Region that it is about.
    pub region: String,
    /// The databases that it is about, for filter policies.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub databases: BTreeSet<Name>,
    /// Whom it is about, short: a table, a bucket, the catalog.
    pub subject: String,
    /// What its repeats are grouped by: mostly a database, or the subject itself.
    pub group: String,
    /// What has to be well again before it is over; no more than [`ABOUT`] of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub about: BTreeSet<String>,
    /// What happened.
    pub what: String,
    /// What is true in the secondary now.
    pub now: String,
    /// What to do.
    pub todo: String,
    /// When it was found.
    pub at: Timestamp,
    /// How many things it speaks for.
    pub count: usize,
    /// When the trouble was first found.
    pub since: Timestamp,
    /// How many things were found since then.
    pub total: usize,
    /// Some of them by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

/// Of so many subjects an alert remembers that they are in trouble.
pub const ABOUT: usize = 200;

/// SNS takes subjects of fewer than 100 characters, in ASCII without line ends.
const SUBJECT_CHARS: usize = 99;

impl Alert {
    /// A first message about one thing: what happened, what is true in the secondary now,
    /// what to do.
    #[must_use]
    pub fn new(
        kind: AlertKind,
        region: &str,
        subject: &str,
        [what, now, todo]: [String; 3],
        at: Timestamp,
    ) -> Self {
        Self {
            kind,
            state: AlertState::New,
            region: region.to_owned(),
            databases: BTreeSet::new(),
            subject: subject.to_owned(),
            group: subject.to_owned(),
            about: BTreeSet::from([subject.to_owned()]),
            what,
            now,
            todo,
            at,
            count: 1,
            since: at,
            total: 1,
            samples: Vec::new(),
        }
    }

    /// The same for every repetition, so that repeats can be grouped.
    #[must_use]
    pub fn key(&self) -> String {
        let words = (self.kind, &self.region, &self.group);
        let digest = crate::catalog::digest(&words);
        let short: String = digest.chars().take(16).collect();
        format!("{}-{short}", self.kind)
    }

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

    /// The three sentences as plain text, with nothing unescaped in it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "What happened: {}\nIn the secondary now: {}\nWhat to do: {}\n",
            escape(&self.what),
            escape(&self.now),
            escape(&self.todo)
        );
        if self.state == AlertState::Again {
            text.push_str(&format!("\nSince {}, {} in all.\n", self.since, self.total));
        }
        for sample in &self.samples {
            text.push_str(&format!("  - {}\n", escape(sample)));
        }
        let anchor = self.kind;
        text.push_str(&format!(
            "\nFound at {}. Alert {}. See \"{anchor}\" in the README's table of alerts.\n",
            self.at,
            self.key()
        ));
        text
    }

    /// The whole alert for programs.
    #[must_use]
    pub fn json(&self) -> String {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            object.insert("key".to_owned(), self.key().into());
            object.insert("severity".to_owned(), self.kind.severity().as_str().into());
        }
        escape_json(&json.to_string())
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

    fn alert(subject: &str) -> Alert {
        let sentences = [
            "GetTable was denied.\u{1b}[2J",
            "The table is as it was.",
            "Give the role back its rights.",
        ];
        let sentences = sentences.map(str::to_owned);
        let at = Timestamp::from_secs(0);
        Alert {
            databases: [Name::new("sales").unwrap()].into(),
            ..Alert::new(AlertKind::Denied, "us-east-1", subject, sentences, at)
        }
    }

    #[test]
    fn repeats_share_a_key_whenever_they_are_found() {
        let mut later = alert("table sales.orders");
        later.at = Timestamp::from_secs(99);
        later.what = "Again.".to_owned();
        assert_eq!(alert("table sales.orders").key(), later.key());
        assert_ne!(
            alert("table sales.orders").key(),
            alert("table sales.x").key()
        );
    }

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
        let json = hostile.json();
        assert!(json.is_ascii(), "{json}");
        let read: Alert = serde_json::from_str(&json).unwrap();
        assert_eq!(read, hostile);
    }

    #[test]
    fn the_severity_is_by_kind() {
        let pages: Vec<AlertKind> = AlertKind::EVERY
            .into_iter()
            .filter(|kind| kind.severity() == Severity::Page)
            .collect();
        assert_eq!(
            pages,
            [
                AlertKind::Widening,
                AlertKind::Vetoed,
                AlertKind::Denied,
                AlertKind::Lagging,
                AlertKind::Silent,
            ]
        );
    }
}
