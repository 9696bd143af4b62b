//! Alerts: the messages to the operations team, their kinds and severities, and the incidents
//! that group repeated alerts.

mod incident;
mod kind;
mod message;

pub use incident::{Incident, IncidentUpdate};
pub use kind::{AlertKind, AlertState, Severity};

use crate::name::{Name, ObjectName};
use crate::scope::Subject;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One message to the operations team: what happened, the state of the standby, and the action
/// to take, with the data that programs filter on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The kind of problem, which determines the severity and the runbook entry.
    pub kind: AlertKind,
    /// Whether the incident is new, repeated or resolved.
    pub state: AlertState,
    /// The affected Region.
    pub region: String,
    /// The affected databases, for SNS filter policies.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub databases: BTreeSet<Name>,
    /// A short name of the affected object: a table, a bucket, the catalog.
    pub subject: String,
    /// The object by which repeated alerts are grouped: usually a database, or the subject itself.
    pub group: String,
    /// The affected subjects, at most [`MAX_AFFECTED`]. The incident is resolved when all of them
    /// are in order again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub affected: BTreeSet<String>,
    /// What happened.
    pub summary: String,
    /// The current state of the standby.
    pub current_state: String,
    /// What to do.
    pub action: String,
    /// When the problem was detected.
    pub detected_at: Timestamp,
    /// Number of occurrences that this message reports.
    pub count: usize,
    /// When the incident was first detected.
    pub since: Timestamp,
    /// Number of occurrences since then.
    pub total: usize,
    /// Some of the occurrences by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// The keys of all alerts that this message combines, if there are several.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<String>,
}

/// Maximum number of affected subjects that an alert lists.
pub const MAX_AFFECTED: usize = 200;

/// Maximum length of a sentence, a subject or a sample, in characters. They may quote text of
/// arbitrary length.
const MAX_TEXT_CHARS: usize = 1000;

impl Alert {
    /// Creates the first alert about one subject. The three sentences are the summary, the current
    /// state of the standby, and the action to take.
    #[must_use]
    pub fn new(
        kind: AlertKind,
        region: &str,
        subject: &str,
        [summary, current_state, action]: [String; 3],
        detected_at: Timestamp,
    ) -> Self {
        let subject = clip(subject);
        Self {
            kind,
            state: AlertState::New,
            region: region.to_owned(),
            databases: BTreeSet::new(),
            group: subject.clone(),
            affected: BTreeSet::from([subject.clone()]),
            subject,
            summary: clip(&summary),
            current_state: clip(&current_state),
            action: clip(&action),
            detected_at,
            count: 1,
            since: detected_at,
            total: 1,
            samples: Vec::new(),
            keys: BTreeSet::new(),
        }
    }

    /// Returns the key of the incident that the alert belongs to. It depends only on the kind, the
    /// Region and the group, so every repetition has the same key.
    #[must_use]
    pub fn key(&self) -> String {
        let identity = (self.kind, &self.region, &self.group);
        let digest = crate::catalog::digest(&identity);
        let short: String = digest.chars().take(16).collect();
        format!("{}-{short}", self.kind)
    }

    /// Whether the alert lists a subject, alone or with a reason.
    #[must_use]
    pub fn is_about(&self, subject: &Subject) -> bool {
        let subject = subject.to_string();
        let is_listed = |text: &String| {
            let rest = text.strip_prefix(&subject);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(REASON_SEPARATOR))
        };
        self.affected.iter().any(is_listed)
    }
}

/// Separates a subject from the reason of its alert, where one subject may have several alerts.
pub const REASON_SEPARATOR: &str = ": ";

/// Returns the database that a subject, given by its text, is or belongs to.
#[must_use]
pub fn database_in(subject: &str) -> Option<Name> {
    let (kind, name) = subject.split_once(' ')?;
    match kind {
        "table" | "function" => Some(ObjectName::parse(name).ok()?.database().clone()),
        "database" => Some(Name::from_service(name)),
        _ => None,
    }
}

/// Selects the subjects that an alert lists: at most [`MAX_AFFECTED`]. Subjects outside databases come
/// first, since [`Alert::databases`] stands for all others.
#[must_use]
pub fn listed_subjects<'a>(subjects: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let (inside, outside): (Vec<&str>, Vec<&str>) = subjects
        .into_iter()
        .partition(|subject| database_in(subject).is_some());
    let listed = outside.into_iter().chain(inside).take(MAX_AFFECTED);
    listed.map(str::to_owned).collect()
}

/// Truncates a text to [`MAX_TEXT_CHARS`] characters; three dots mark the truncation.
fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn alert(subject: &str) -> Alert {
        let sentences = [
            "GetTable was denied.\u{1b}[2J",
            "The table is unchanged.",
            "Grant the role its permissions again.",
        ];
        let sentences = sentences.map(str::to_owned);
        let at = Timestamp::from_secs(0);
        Alert {
            databases: [Name::new("sales").unwrap()].into(),
            ..Alert::new(
                AlertKind::TwinlakeAccessDenied,
                "us-east-1",
                subject,
                sentences,
                at,
            )
        }
    }

    #[test]
    fn repeated_alerts_share_a_key_whenever_they_are_detected() {
        let mut later = alert("table sales.orders");
        later.detected_at = Timestamp::from_secs(99);
        later.summary = "Again.".to_owned();
        assert_eq!(alert("table sales.orders").key(), later.key());
        assert_ne!(
            alert("table sales.orders").key(),
            alert("table sales.x").key()
        );
    }

    #[test]
    fn an_alert_is_about_the_subject_that_it_lists_with_a_reason_or_without() {
        let table = |database, table| {
            let part = |text| Name::new(text).unwrap();
            Subject::Table(crate::TableId::new(part(database), part(table)))
        };
        for text in [
            "table sales.orders",
            "table sales.orders: DstBucketNotFound",
        ] {
            assert!(alert(text).is_about(&table("sales", "orders")), "{text}");
            assert!(!alert(text).is_about(&table("sales", "order")), "{text}");
            assert!(!alert(text).is_about(&table("sales", "orders_2")), "{text}");
            let database = Subject::Database(Name::new("sales").unwrap());
            assert!(!alert(text).is_about(&database), "{text}");
        }
    }

    #[test]
    fn only_these_kinds_have_severity_page() {
        let pages: Vec<AlertKind> = AlertKind::EVERY
            .into_iter()
            .filter(|kind| kind.severity() == Severity::Page)
            .collect();
        assert_eq!(
            pages,
            [
                AlertKind::ExcessAccess,
                AlertKind::PlanRejected,
                AlertKind::PolicyUnusable,
                AlertKind::DeletionsHeld,
                AlertKind::TwinlakeAccessDenied,
                AlertKind::DataLost,
                AlertKind::Lagging,
                AlertKind::ChannelStalled,
            ]
        );
    }
}
