//! What people are told: one alert, its severity, and three sentences.

mod episode;
mod kind;
mod message;

pub use episode::{Episode, News};
pub use kind::{AlertKind, AlertState, Severity};

use crate::name::Name;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// The keys of all alerts that one message speaks for, if there are several.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<String>,
}

/// Of so many subjects an alert remembers that they are in trouble.
pub const ABOUT: usize = 200;

/// Of a sentence that quotes others so many characters are kept, and of a sample.
const LONGEST: usize = 1000;

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
        let subject = clip(subject);
        Self {
            kind,
            state: AlertState::New,
            region: region.to_owned(),
            databases: BTreeSet::new(),
            group: subject.clone(),
            about: BTreeSet::from([subject.clone()]),
            subject,
            what: clip(&what),
            now: clip(&now),
            todo: clip(&todo),
            at,
            count: 1,
            since: at,
            total: 1,
            samples: Vec::new(),
            keys: BTreeSet::new(),
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
}

/// A text that is not too long; what is cut off is told by three dots.
fn clip(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn alert(subject: &str) -> Alert {
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
