//! The scheduled checks of the readiness: stores their results, and raises the alerts for blockers and
//! for a readiness that is not known.
//!
//! # Invariants
//!
//! - Only a run in which everything could be read, and that found no blocker, resolves the alert for
//!   blockers.
//! - All blockers together are one incident.

use crate::alerts::CheckedSubjects;
use crate::ports::StatsStore;
use crate::versioned_item::{self, ItemUpdate, VersionedItem};
use twinlake_core::readiness::{
    MAX_READINESS_AGE_SECS, ReadinessFinding, ReadinessRecord, ReadinessReport, ReadinessSeverity,
    TakeoverReadiness,
};
use twinlake_core::render::counted;
use twinlake_core::{Alert, AlertKind, CallError, Timestamp};

/// The subject of both alerts.
const SUBJECT: &str = "takeover readiness";

/// The maximum number of findings in an alert.
const MAX_SAMPLES: usize = 10;
/// The maximum length of a finding in an alert, in characters. A longer one is without its remedy.
const MAX_SAMPLE_CHARS: usize = 900;

/// The results of the scheduled checks.
struct ReadinessItem<'a, L> {
    ledger: &'a L,
}

impl<L: StatsStore> VersionedItem for ReadinessItem<'_, L> {
    type Value = ReadinessRecord;

    fn description(&self) -> String {
        "the results of the readiness checks".to_owned()
    }

    async fn read(&self) -> Result<Option<(ReadinessRecord, u64)>, CallError> {
        self.ledger.readiness().await
    }

    async fn write(
        &self,
        value: Option<&ReadinessRecord>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let none = ReadinessRecord::default();
        let record = value.unwrap_or(&none);
        self.ledger.put_readiness(record, expected_version).await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        self.ledger.wait_after_conflict(attempt).await;
    }
}

/// Stores the result of a run.
///
/// # Errors
/// The ledger is out of reach, or other runs keep writing.
pub async fn record<L: StatsStore>(ledger: &L, report: &ReadinessReport) -> Result<(), CallError> {
    versioned_item::update(&ReadinessItem { ledger }, None, |stored| {
        let record = stored.unwrap_or_default().with_report(report.clone());
        ItemUpdate::Put(record, ())
    })
    .await
}

/// The alert for the blockers that a run found in the standby `region`. Without one, and if everything
/// could be read, the earlier alert is resolved.
#[must_use]
pub fn blockers_alert(
    report: &ReadinessReport,
    region: &str,
    now: Timestamp,
) -> (Option<Alert>, CheckedSubjects) {
    let checked = CheckedSubjects::default();
    let blockers = report.counts.blockers;
    if blockers == 0 {
        let is_known = report.counts.unknown == 0;
        let checked = match is_known {
            true => checked.with_resolved(AlertKind::ReadinessLost, SUBJECT, report.checked_at),
            false => checked,
        };
        return (None, checked);
    }
    let sentences = [
        format!(
            "{region} could not take over: {}.",
            match blockers {
                1 => "a check found 1 blocker".to_owned(),
                count => format!("checks found {count} blockers"),
            }
        ),
        "Replication goes on. After a takeover, data or access would be missing or wrong, or principals \
         would have access that they do not have in the primary: the findings below say which."
            .to_owned(),
        format!(
            "Correct each finding as the text after its arrow says. The next check, within 30 minutes, \
             resolves this alert if it can read everything and finds no blocker. `twinlake doctor --region \
             {region}` shows all findings now."
        ),
    ];
    let alert = Alert {
        count: blockers,
        samples: samples(report, ReadinessSeverity::Blocker),
        ..Alert::new(AlertKind::ReadinessLost, region, SUBJECT, sentences, now)
    };
    (Some(alert), checked)
}

/// The alert for a readiness of the standby `region` that was not known for [`MAX_READINESS_AGE_SECS`]: no
/// check ran, or it could not read everything. A check that can read everything resolves the alert. `monitored_since` is when
/// monitoring began.
#[must_use]
pub fn unknown_readiness_alert(
    record: &ReadinessRecord,
    monitored_since: Timestamp,
    region: &str,
    now: Timestamp,
) -> (Option<Alert>, CheckedSubjects) {
    let checked = CheckedSubjects::default();
    let known_at = record.known_at(now);
    let since = known_at.unwrap_or(monitored_since);
    if now <= since.plus_secs(MAX_READINESS_AGE_SECS) {
        let checked = match known_at {
            Some(_) => checked.with_resolved(AlertKind::ReadinessUnknown, SUBJECT, now),
            None => checked,
        };
        return (None, checked);
    }
    let (reason, samples, count) = match (&record.report, record.state_at(now)) {
        (None, _) => ("no check has run".to_owned(), Vec::new(), 1),
        (Some(report), TakeoverReadiness::Outdated) => {
            let reason = format!("the last check began at {}", report.checked_at);
            (reason, Vec::new(), 1)
        }
        (
            Some(report),
            TakeoverReadiness::NotChecked
            | TakeoverReadiness::Blocked
            | TakeoverReadiness::Unknown
            | TakeoverReadiness::Possible,
        ) => {
            let count = report.counts.unknown;
            let reason = match count {
                1 => "1 read of the last check failed or was denied".to_owned(),
                count => format!("{count} reads of the last check failed or were denied"),
            };
            (reason, samples(report, ReadinessSeverity::Unknown), count)
        }
    };
    let minutes = (now.secs() - since.secs()) / 60;
    let sentences = [
        format!(
            "Whether {region} could take over has not been known for {}: {reason}.",
            counted(minutes, "minute")
        ),
        "Replication is not affected. Blockers of a takeover may be undetected.".to_owned(),
        format!(
            "Grant the role of the readiness function the rights that the findings below name. If there is no \
             finding, read the log of that function. `twinlake doctor --region {region}` runs the checks with your rights."
        ),
    ];
    let alert = Alert {
        count: count.max(1),
        samples,
        ..Alert::new(AlertKind::ReadinessUnknown, region, SUBJECT, sentences, now)
    };
    (Some(alert), checked)
}

/// Resolves both alerts in a Region that is not the standby: there are no checks there.
#[must_use]
pub fn resolve_readiness_alerts(checked: CheckedSubjects, now: Timestamp) -> CheckedSubjects {
    [AlertKind::ReadinessLost, AlertKind::ReadinessUnknown]
        .into_iter()
        .fold(checked, |checked, kind| {
            checked.with_resolved(kind, SUBJECT, now)
        })
}

/// The first findings of a severity, each in one line that ends with what to do.
fn samples(report: &ReadinessReport, severity: ReadinessSeverity) -> Vec<String> {
    let of_severity = report.findings.iter().filter(|f| f.severity == severity);
    of_severity.take(MAX_SAMPLES).map(sample).collect()
}

fn sample(finding: &ReadinessFinding) -> String {
    let check = finding.check.as_str();
    let ReadinessFinding {
        region,
        subject,
        problem,
        effect,
        remedy,
        ..
    } = finding;
    let found = format!("{check} · {region} · {subject}: {problem}. {effect}");
    let whole = format!("{found} -> {remedy}");
    // A truncated command must not be shown: somebody could run it.
    match whole.chars().count() <= MAX_SAMPLE_CHARS {
        true => whole,
        false => {
            let found: String = found.chars().take(MAX_SAMPLE_CHARS).collect();
            format!("{found} -> twinlake doctor --region {region} shows what to do")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryLedger;
    use crate::alerts::{publish_and_resolve, resolve_incidents};
    use crate::ports::AlertTopic;
    use futures_util::FutureExt as _;
    use std::cell::RefCell;
    use twinlake_core::AlertState;
    use twinlake_core::readiness::ReadinessCheck;

    const REGION: &str = "ap-south-1";

    #[derive(Default)]
    struct Topic(RefCell<Vec<Alert>>);

    impl AlertTopic for Topic {
        async fn publish(&self, alert: &Alert) -> Result<(), CallError> {
            self.0.borrow_mut().push(alert.clone());
            Ok(())
        }
    }

    fn finding(severity: ReadinessSeverity, subject: &str) -> ReadinessFinding {
        ReadinessFinding {
            severity,
            check: ReadinessCheck::Versioning,
            region: REGION.to_owned(),
            subject: subject.to_owned(),
            problem: "versioning is off".to_owned(),
            effect: "S3 replicates nothing.".to_owned(),
            remedy: "aws s3api put-bucket-versioning".to_owned(),
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing here waits")
    }

    fn minutes(minutes: i64) -> Timestamp {
        Timestamp::from_secs(60 * minutes)
    }

    /// Checks, and returns the messages that were sent: the state, and the number of samples.
    fn check(
        (ledger, topic): (&InMemoryLedger, &Topic),
        findings: &[ReadinessFinding],
        minute: i64,
    ) -> Vec<(AlertState, usize)> {
        let report = ReadinessReport::new(findings, minutes(minute));
        run(record(ledger, &report)).unwrap();
        let now = minutes(minute);
        let (alert, checked) = blockers_alert(&report, REGION, now);
        let alerts: Vec<Alert> = alert.into_iter().collect();
        run(publish_and_resolve(topic, ledger, (&alerts, &checked), now)).unwrap();
        let sent = topic.0.take().into_iter();
        sent.map(|alert| (alert.state, alert.samples.len()))
            .collect()
    }

    use ReadinessSeverity::{Blocker, Unknown, Warning};

    #[test]
    fn many_blockers_are_one_incident_that_only_a_whole_check_without_one_resolves() {
        let ports = (&InMemoryLedger::default(), &Topic::default());
        let blockers = [finding(Blocker, "one"), finding(Blocker, "two")];
        assert_eq!(check(ports, &blockers, 0), [(AlertState::New, 2)]);
        assert_eq!(check(ports, &blockers, 30), [], "no message for each run");
        let denied = [finding(Unknown, "one")];
        assert_eq!(check(ports, &denied, 60), [], "a denied read is no pass");
        let incomplete = ReadinessReport::incomplete(REGION, 280, minutes(90));
        assert_eq!(check(ports, &incomplete.findings, 90), []);
        let other = [finding(Blocker, "three")];
        assert_eq!(check(ports, &other, 120), [(AlertState::Repeated, 1)]);
        let warning = [finding(Warning, "late")];
        assert_eq!(check(ports, &warning, 150), [(AlertState::Resolved, 0)]);
        assert_eq!(check(ports, &warning, 180), []);
    }

    #[test]
    fn a_sample_ends_with_the_command_unless_it_would_be_cut() {
        let report = ReadinessReport::new(&[finding(Blocker, "lake")], minutes(0));
        let (alert, _) = blockers_alert(&report, REGION, minutes(0));
        assert_eq!(
            alert.unwrap().samples,
            [
                "versioning · ap-south-1 · lake: versioning is off. S3 replicates nothing. -> aws s3api put-bucket-versioning"
            ]
        );
        let long = ReadinessFinding {
            remedy: "x".repeat(MAX_SAMPLE_CHARS),
            ..finding(Blocker, "lake")
        };
        let report = ReadinessReport::new(&[long], minutes(0));
        let (alert, _) = blockers_alert(&report, REGION, minutes(0));
        let samples = alert.unwrap().samples;
        assert!(samples[0].ends_with("-> twinlake doctor --region ap-south-1 shows what to do"));
    }

    /// What the monitor says: the text of the alert, or else whether it resolves an earlier one.
    fn known(record: &ReadinessRecord, minute: i64) -> Result<String, bool> {
        let (alert, checked) = unknown_readiness_alert(record, minutes(0), REGION, minutes(minute));
        let resolves = checked != CheckedSubjects::default();
        alert.map(|alert| alert.summary).ok_or(resolves)
    }

    #[test]
    fn a_readiness_that_is_not_known_for_90_minutes_is_an_alert() {
        let never = ReadinessRecord::default();
        assert_eq!(known(&never, 90), Err(false), "the first check is due");
        assert!(known(&never, 91).unwrap().ends_with("no check has run."));
        let report =
            |findings: &[ReadinessFinding], minute| ReadinessReport::new(findings, minutes(minute));
        let checked = never.with_report(report(&[finding(Blocker, "x")], 100));
        assert_eq!(known(&checked, 101), Err(true), "a blocker is known");
        assert_eq!(known(&checked, 190), Err(true));
        assert!(
            known(&checked, 191)
                .unwrap()
                .contains("the last check began at")
        );
        // Checks run, and cannot read everything.
        let denied = checked.with_report(report(&[finding(Unknown, "x")], 180));
        assert_eq!(known(&denied, 190), Err(true));
        let summary = known(&denied, 191).unwrap();
        assert!(summary.contains("1 read of the last check"), "{summary}");
        let again = denied.with_report(report(&[], 195));
        assert_eq!(known(&again, 196), Err(true));
    }

    #[test]
    fn a_region_that_is_no_standby_has_neither_alert() {
        let ports = (&InMemoryLedger::default(), &Topic::default());
        check(ports, &[finding(Blocker, "one")], 0);
        let checked = resolve_readiness_alerts(CheckedSubjects::default(), minutes(1));
        run(resolve_incidents(ports.1, ports.0, &checked, minutes(1))).unwrap();
        let sent: Vec<AlertState> = ports.1.0.take().iter().map(|alert| alert.state).collect();
        assert_eq!(sent, [AlertState::Resolved]);
    }

    #[test]
    fn the_record_is_written_on_the_condition_of_its_version() {
        let ledger = InMemoryLedger::default();
        let report = ReadinessReport::new(&[], minutes(1));
        run(record(&ledger, &report)).unwrap();
        let (stored, version) = run(ledger.readiness()).unwrap().unwrap();
        assert_eq!(stored.report, Some(report));
        let other = ReadinessRecord::default();
        assert_eq!(run(ledger.put_readiness(&other, None)), Ok(false));
        assert_eq!(run(ledger.put_readiness(&other, Some(version))), Ok(true));
    }
}
