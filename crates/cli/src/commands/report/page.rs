//! The page of the report: what the template `templates/report.html` shows.
//!
//! The template escapes every value for HTML. It knows nothing of control and invisible
//! characters, so text that somebody else wrote is escaped for those here.

use super::chart::LagChart;
use crate::output::duration;
use crate::readiness_line::readiness_line;
use crate::status_snapshot::StatusSnapshot;
use askama::Template;
use std::collections::BTreeMap;
use twinlake_core::canary::CanaryState;
use twinlake_core::heartbeat::Channel;
use twinlake_core::readiness::{ReadinessFinding, ReadinessSeverity};
use twinlake_core::render::{counted, escape};
use twinlake_core::{
    Alert, AlertKind, LedgerRow, LfSubject, NextCommands, Subject, SubjectState, Timestamp,
};
use twinlake_engine::operation_document::LagAlertThresholds;

/// The table of objects that are not in sync lists at most this many rows.
const MAX_LISTED_ROWS: usize = 500;

/// The page of the report.
#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct ReportPage {
    primary: String,
    standby: String,
    now: Timestamp,
    is_ready: bool,
    /// Why the standby is not ready, as a list of clauses.
    problems: String,
    /// What the scheduled checks say of a takeover; `None` without a deployment.
    takeover: Option<String>,
    /// The findings of these checks, without the notes.
    findings: Vec<FindingRow>,
    /// The last complete resync.
    last_resync: Option<LastResync>,
    tiles: Vec<Tile>,
    /// The time that the lag chart covers, as in `2 days`.
    lag_window: String,
    /// The lag chart, unless no lag was measured.
    lag_chart: Option<LagChart>,
    alerts: Vec<AlertRow>,
    /// The objects that are not in sync, at most `MAX_LISTED_ROWS`.
    objects: Vec<ObjectRow>,
    /// The number of further objects that are not in sync.
    unlisted_objects: usize,
    /// The number of replicated objects, by kind.
    replicated: BTreeMap<String, usize>,
    /// The number of objects that are not replicated, by kind.
    not_replicated: Vec<(String, usize)>,
    /// The S3 replication that no canary proves, with the reasons.
    unproven: Vec<String>,
}

/// When the last complete resync started, and how long ago that was.
struct LastResync {
    at: Timestamp,
    age: String,
}

/// A number with its name.
struct Tile {
    name: String,
    value: String,
    /// Whether the value is a word, which needs a smaller font than a number.
    is_small: bool,
}

/// A row of the table of open alerts.
struct AlertRow {
    severity: &'static str,
    kind: AlertKind,
    region: String,
    summary: String,
    since: Timestamp,
    occurrences: String,
    current_state: String,
    action: String,
}

/// A row of the table of findings of the checks of the readiness.
struct FindingRow {
    severity: &'static str,
    check: &'static str,
    region: String,
    subject: String,
    problem: String,
    effect: String,
    remedy: String,
}

/// A row of the table of objects that are not in sync.
struct ObjectRow {
    subject: String,
    state: SubjectState,
    since: Timestamp,
    reason: String,
}

impl ReportPage {
    /// Prepares the page from the status. The lag chart covers the last `days`.
    pub(super) fn new(
        (primary, standby): (&str, &str),
        next: &NextCommands,
        thresholds: &LagAlertThresholds,
        status: &StatusSnapshot,
        days: i64,
    ) -> Self {
        let from = status.now.plus_secs(-days * 86_400);
        let problems = status.problems(thresholds);
        let objects = status.worst_first(false);
        Self {
            primary: escape(primary),
            standby: escape(standby),
            now: status.now,
            is_ready: problems.is_empty(),
            problems: problems.join(", "),
            takeover: status
                .readiness
                .as_ref()
                .map(|record| escape(&readiness_line(record, standby, next, status.now))),
            findings: finding_rows(status),
            last_resync: status.verified_at.map(|at| LastResync {
                at,
                age: duration(status.now.secs() - at.secs()),
            }),
            tiles: tiles(status),
            lag_window: if days == 1 {
                "day".to_owned()
            } else {
                format!("{days} days")
            },
            lag_chart: (!status.lag_samples.is_empty())
                .then(|| LagChart::new(&status.lag_samples, from, status.now)),
            alerts: status.open_alerts.iter().map(AlertRow::new).collect(),
            objects: objects
                .iter()
                .take(MAX_LISTED_ROWS)
                .map(|row| ObjectRow::new(row))
                .collect(),
            unlisted_objects: objects.len().saturating_sub(MAX_LISTED_ROWS),
            replicated: replicated(status),
            not_replicated: status
                .not_replicated
                .iter()
                .map(|(kind, count)| (escape(kind), *count))
                .collect(),
            unproven: unproven(status),
        }
    }
}

impl Tile {
    fn new(name: String, value: String) -> Self {
        Self {
            is_small: !value.starts_with(|c: char| c.is_ascii_digit()),
            name,
            value,
        }
    }
}

impl AlertRow {
    fn new(alert: &Alert) -> Self {
        Self {
            severity: alert.kind.severity().as_str(),
            kind: alert.kind,
            region: escape(&alert.region),
            summary: escape(&alert.summary),
            since: alert.since,
            occurrences: counted(alert.total, "occurrence"),
            current_state: escape(&alert.current_state),
            action: escape(&alert.action),
        }
    }
}

impl ObjectRow {
    fn new(row: &LedgerRow) -> Self {
        Self {
            subject: escape(&row.subject.to_string()),
            state: row.state,
            since: row.since,
            reason: escape(row.reason.as_deref().unwrap_or_default()),
        }
    }
}

/// The findings of the last check of the readiness, without the notes.
fn finding_rows(status: &StatusSnapshot) -> Vec<FindingRow> {
    let report = status.readiness.as_ref().and_then(|r| r.report.as_ref());
    let findings = report.map_or(&[][..], |report| report.findings.as_slice());
    let matters = |finding: &&ReadinessFinding| match finding.severity {
        ReadinessSeverity::Blocker | ReadinessSeverity::Warning | ReadinessSeverity::Unknown => {
            true
        }
        ReadinessSeverity::Note => false,
    };
    let row = |finding: &ReadinessFinding| FindingRow {
        severity: finding.severity.as_str(),
        check: finding.check.as_str(),
        region: escape(&finding.region),
        subject: escape(&finding.subject),
        problem: escape(&finding.problem),
        effect: escape(&finding.effect),
        remedy: escape(&finding.remedy),
    };
    findings.iter().filter(matters).map(row).collect()
}

/// The number of objects in each state, and the current lag of each channel.
fn tiles(status: &StatusSnapshot) -> Vec<Tile> {
    let counts = status.counts();
    let states = [SubjectState::InSync]
        .into_iter()
        .chain(SubjectState::NOT_IN_SYNC);
    let mut tiles: Vec<Tile> = states
        .map(|state| {
            let count = counts.get(&state).copied().unwrap_or_default();
            Tile::new(state.to_string(), count.to_string())
        })
        .collect();
    for channel in Channel::EVERY {
        let lag = status.current_lag().and_then(|sample| sample.lag(channel));
        let lag = lag.map(duration);
        let lag = lag.unwrap_or_else(|| "unknown".to_owned());
        tiles.push(Tile::new(format!("lag, {channel}"), lag));
    }
    tiles
}

/// The S3 replication that no canary proves, each with the reason.
fn unproven(status: &StatusSnapshot) -> Vec<String> {
    let canaries = status.canaries.iter();
    let unproven = canaries.flat_map(CanaryState::unproven);
    unproven
        .map(|unproven| escape(&format!("{}: {}", unproven.subject(), unproven.reason)))
        .collect()
}

/// The number of replicated objects, by kind.
fn replicated(status: &StatusSnapshot) -> BTreeMap<String, usize> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (subject, row) in &status.rows {
        let paired = usize::from(row.pairing.is_some());
        let (kind, count) = match subject {
            Subject::Database(_) => ("databases".to_owned(), paired),
            Subject::Table(_) => ("tables".to_owned(), paired),
            Subject::Function(_) => ("functions".to_owned(), paired),
            Subject::LakeFormation(
                lf_subject @ (LfSubject::LfTags
                | LfSubject::LfTagExpressions
                | LfSubject::DataLocations),
            ) => (lf_subject.to_string(), row.managed_keys.len()),
            Subject::Catalog
            | Subject::LakeFormation(LfSubject::Permissions | LfSubject::Settings) => continue,
        };
        *kinds.entry(kind).or_default() += count;
        *kinds.entry("partitions".to_owned()).or_default() += row.partitions;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Name;
    use twinlake_core::canary::{ReceivedCanaries, UnprovenReplication};
    use twinlake_core::heartbeat::LagSample;
    use twinlake_core::readiness::{ReadinessCheck, ReadinessRecord, ReadinessReport};

    const NOW: Timestamp = Timestamp::from_millis(7_200_000);

    fn ready_status() -> StatusSnapshot {
        StatusSnapshot {
            now: NOW,
            is_monitored: true,
            rows: BTreeMap::new(),
            verified_at: Some(Timestamp::from_millis(0)),
            lag_samples: vec![LagSample {
                at: NOW,
                catalog: 5,
                permissions: 130,
                storage: Some(240),
            }],
            canaries: Some(CanaryState {
                received: ReceivedCanaries {
                    unproven: vec![UnprovenReplication {
                        bucket: "lake".to_owned(),
                        rule: Some("tagged".to_owned()),
                        reason: "it has a tag filter".to_owned(),
                    }],
                    ..ReceivedCanaries::default()
                },
                ..CanaryState::default()
            }),
            pending_objects: BTreeMap::new(),
            open_alerts: Vec::new(),
            not_replicated: BTreeMap::new(),
            call_ceilings: BTreeMap::new(),
            verified_age_limit_secs: 46_800,
            readiness: None,
        }
    }

    fn html(primary: &str, status: &StatusSnapshot) -> String {
        let thresholds = LagAlertThresholds {
            catalog: 75,
            permissions: 900,
            storage: 1800,
        };
        let next = NextCommands::new("--region eu-west-1", None, "eu-west-1");
        let page = ReportPage::new((primary, "eu-west-1"), &next, &thresholds, status, 2);
        page.render().unwrap()
    }

    #[test]
    fn the_page_of_a_ready_standby() {
        let html = html("us-east-1", &ready_status());
        for part in [
            "<h1>Replication from us-east-1 to eu-west-1</h1>",
            "system-ui, \"Segoe UI\", Roboto",
            "<div class=\"verdict\">",
            "<p>Every object is in sync.</p>",
            "as of 1970-01-01T00:00:00Z, 2 h ago.</p>",
            "<div class=\"tile\"><b>0</b>in-sync</div>",
            "<div class=\"tile\"><b>2 min</b>lag, permissions</div>",
            "<div class=\"tile\"><b>4 min</b>lag, storage</div>",
            "<h2>Lag over the last 2 days</h2><svg viewBox=\"0 0 ",
            "<polyline class=\"catalog\" points=\"",
            "<polyline class=\"storage\" points=\"",
            "<p>S3 replication that no canary proves: rule tagged of the bucket lake: it has a tag filter.</p>",
            "<h2>Open alerts</h2><p>None.</p>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("Not in sync"), "{html}");
        assert!(
            !html.contains("Takeover"),
            "without a deployment there are no checks"
        );
    }

    #[test]
    fn the_page_shows_whether_a_takeover_is_possible_and_each_finding_with_its_remedy() {
        let finding = |severity, subject: &str| ReadinessFinding {
            severity,
            check: ReadinessCheck::Versioning,
            region: "eu-west-1".to_owned(),
            subject: subject.to_owned(),
            problem: "versioning is off".to_owned(),
            effect: "S3 replicates nothing.".to_owned(),
            remedy: "aws s3api put-bucket-versioning".to_owned(),
        };
        let findings = [
            finding(ReadinessSeverity::Blocker, "<lake>"),
            finding(ReadinessSeverity::Note, "noted"),
        ];
        let checked_at = NOW.plus_secs(-300);
        let record = ReadinessRecord::default();
        let html_of = |record| {
            let status = StatusSnapshot {
                readiness: Some(record),
                ..ready_status()
            };
            html("us-east-1", &status)
        };
        let unchecked = html_of(record.clone());
        assert!(unchecked.contains("it is not known whether eu-west-1 could take over"));
        let blocked = html_of(record.with_report(ReadinessReport::new(&findings, checked_at)));
        for part in [
            "<div class=\"verdict attention\">",
            "eu-west-1 could not take over: 1 blocker (versioning); checked 5 min ago",
            "versioning is off",
            "aws s3api put-bucket-versioning",
        ] {
            assert!(blocked.contains(part), "{part} in {blocked}");
        }
        assert!(
            !blocked.contains("<lake>") && !blocked.contains("noted"),
            "{blocked}"
        );
    }

    #[test]
    fn untrusted_text_is_never_markup() {
        let untrusted = "<script>\"'&\u{202e}\u{1b}";
        let subject = Subject::Database(Name::new("sales").unwrap());
        let mut row = LedgerRow::new(subject.clone(), SubjectState::Blocked, NOW);
        row.reason = Some(untrusted.to_owned());
        let sentences = [untrusted; 3].map(str::to_owned);
        let status = StatusSnapshot {
            rows: [(subject, row)].into(),
            open_alerts: vec![Alert::new(
                AlertKind::JobFailed,
                untrusted,
                "job",
                sentences,
                NOW,
            )],
            not_replicated: [(untrusted.to_owned(), 1)].into(),
            ..ready_status()
        };
        let html = html(untrusted, &status);
        assert!(html.contains("<p>Attention needed: 1 object is blocked, 1 alert is open.</p>"));
        // The primary stands in the title and in the heading. Then come the Region, the three
        // sentences, the reason, and the kind of object.
        let escaped = "&#60;script&#62;&#34;&#39;&#38;\\u{202e}\\u{1b}";
        assert_eq!(html.matches(escaped).count(), 8, "{html}");
        assert_eq!(html.matches("script").count(), 8, "{html}");
        assert!(!html.contains(['\u{202e}', '\u{1b}']), "{html}");
    }
}
