//! The result of the scheduled checks, as the ledger keeps it, and what it says at a later time.

use super::{ReadinessCheck, ReadinessFinding, ReadinessSeverity};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A result that is older says nothing of now. The checks run each 30 minutes, so three runs are missing.
pub const MAX_READINESS_AGE_SECS: i64 = 90 * 60;

/// Maximum size of the stored findings, in bytes of JSON. An item of DynamoDB holds 400 KB, and the monitor
/// reads it each minute.
const MAX_FINDINGS_BYTES: usize = 32_000;

/// Maximum length of a text of a stored finding, in characters. Names in it may be of any length.
const MAX_TEXT_CHARS: usize = 1000;

/// The number of findings of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessCounts {
    /// Blockers.
    pub blockers: usize,
    /// Warnings.
    pub warnings: usize,
    /// What could not be read.
    pub unknown: usize,
    /// Notes.
    pub notes: usize,
}

impl ReadinessCounts {
    /// Counts findings.
    #[must_use]
    pub fn of(findings: &[ReadinessFinding]) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            let count = match finding.severity {
                ReadinessSeverity::Blocker => &mut counts.blockers,
                ReadinessSeverity::Warning => &mut counts.warnings,
                ReadinessSeverity::Unknown => &mut counts.unknown,
                ReadinessSeverity::Note => &mut counts.notes,
            };
            *count += 1;
        }
        counts
    }
}

/// The result of one run of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessReport {
    /// When reading began.
    pub checked_at: Timestamp,
    /// The number of findings, those that are left out included.
    pub counts: ReadinessCounts,
    /// The first findings in their order, at most [`MAX_FINDINGS_BYTES`], with long texts cut.
    pub findings: Vec<ReadinessFinding>,
    /// The checks that found a blocker, also one that is left out.
    pub blocking_checks: BTreeSet<ReadinessCheck>,
    /// The checks that could not read what they need, also those of findings that are left out.
    pub unknown_checks: BTreeSet<ReadinessCheck>,
}

impl ReadinessReport {
    /// The report of all findings, in their order.
    #[must_use]
    pub fn new(findings: &[ReadinessFinding], checked_at: Timestamp) -> Self {
        let checks = |severity| {
            let of_severity = findings.iter().filter(move |f| f.severity == severity);
            of_severity.map(|finding| finding.check).collect()
        };
        let mut bytes = 0;
        let shortened = findings.iter().map(shorten_texts).take_while(|finding| {
            let json = serde_json::to_string(finding);
            bytes += json.map_or(MAX_FINDINGS_BYTES, |json| json.len());
            bytes <= MAX_FINDINGS_BYTES
        });
        Self {
            checked_at,
            counts: ReadinessCounts::of(findings),
            findings: shortened.collect(),
            blocking_checks: checks(ReadinessSeverity::Blocker),
            unknown_checks: checks(ReadinessSeverity::Unknown),
        }
    }

    /// The report of a run in `region` that was ended after `secs` seconds, before everything was read.
    #[must_use]
    pub fn incomplete(region: &str, secs: i64, checked_at: Timestamp) -> Self {
        let finding = ReadinessFinding {
            severity: ReadinessSeverity::Unknown,
            check: ReadinessCheck::TimeLimit,
            region: region.to_owned(),
            subject: "all checks".to_owned(),
            problem: format!("not everything could be read within {secs} s"),
            effect: "Whether the standby could take over is not known.".to_owned(),
            remedy: format!(
                "twinlake doctor --region {region} runs the same checks without a time limit."
            ),
        };
        Self::new(&[finding], checked_at)
    }
}

/// A finding with its texts cut to [`MAX_TEXT_CHARS`]. A command that is cut could be pasted, so it is left
/// out.
fn shorten_texts(finding: &ReadinessFinding) -> ReadinessFinding {
    let cut = |text: &str| match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    };
    let is_long = finding.remedy.chars().nth(MAX_TEXT_CHARS).is_some();
    ReadinessFinding {
        subject: cut(&finding.subject),
        problem: cut(&finding.problem),
        effect: cut(&finding.effect),
        remedy: match is_long {
            true => format!(
                "twinlake doctor --region {} shows what to do.",
                finding.region
            ),
            false => finding.remedy.clone(),
        },
        ..finding.clone()
    }
}

/// When the checks last read everything, and what they found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownReadiness {
    /// When reading began.
    pub checked_at: Timestamp,
    /// The number of findings; none is unknown.
    pub counts: ReadinessCounts,
}

/// The results of the scheduled checks that the ledger of a Region keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessRecord {
    /// The last run; `None` if there was none.
    pub report: Option<ReadinessReport>,
    /// The last run in which everything could be read. It stays while the other Region is out of reach.
    pub known: Option<KnownReadiness>,
}

/// What the scheduled checks say of a takeover at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakeoverReadiness {
    /// No check has run yet.
    NotChecked,
    /// The last check is older than [`MAX_READINESS_AGE_SECS`].
    Outdated,
    /// There is a blocker.
    Blocked,
    /// No blocker was found, and something could not be read.
    Unknown,
    /// Everything could be read, and no blocker was found.
    Possible,
}

/// How far the clocks of two functions may differ.
const CLOCK_SKEW_SECS: i64 = 60;

/// Whether a time lies in the future: a clock that was ahead wrote it, so it does not say when something happened.
fn is_in_future(at: Timestamp, now: Timestamp) -> bool {
    at > now.plus_secs(CLOCK_SKEW_SECS)
}

impl ReadinessRecord {
    /// Adds the result of a run. A later result that is stored already stays, unless it is of a clock that was
    /// ahead.
    #[must_use]
    pub fn with_report(self, report: ReadinessReport) -> Self {
        let stored_at = self.report.as_ref().map(|stored| stored.checked_at);
        let now = report.checked_at;
        if stored_at.is_some_and(|at| at > now && !is_in_future(at, now)) {
            return self;
        }
        let is_known = report.counts.unknown == 0;
        let known = is_known.then_some(KnownReadiness {
            checked_at: report.checked_at,
            counts: report.counts,
        });
        Self {
            known: known.or(self
                .known
                .filter(|known| !is_in_future(known.checked_at, now))),
            report: Some(report),
        }
    }

    /// When the checks last read everything, as far as a clock at `now` can know.
    #[must_use]
    pub fn known_at(&self, now: Timestamp) -> Option<Timestamp> {
        let known_at = self.known.map(|known| known.checked_at);
        known_at.filter(|at| !is_in_future(*at, now))
    }

    /// What the checks say at a time.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> TakeoverReadiness {
        let Some(report) = &self.report else {
            return TakeoverReadiness::NotChecked;
        };
        let is_outdated = now > report.checked_at.plus_secs(MAX_READINESS_AGE_SECS)
            || is_in_future(report.checked_at, now);
        match (is_outdated, report.counts.blockers, report.counts.unknown) {
            (true, _, _) => TakeoverReadiness::Outdated,
            (false, 0, 0) => TakeoverReadiness::Possible,
            (false, 0, _) => TakeoverReadiness::Unknown,
            (false, _, _) => TakeoverReadiness::Blocked,
        }
    }

    /// The number of findings as of a time. Without a current result, one is unknown.
    #[must_use]
    pub fn counts_at(&self, now: Timestamp) -> ReadinessCounts {
        let counts = self.report.as_ref().map(|report| report.counts);
        let counts = counts.unwrap_or_default();
        match self.state_at(now) {
            TakeoverReadiness::NotChecked | TakeoverReadiness::Outdated => ReadinessCounts {
                unknown: counts.unknown.max(1),
                ..counts
            },
            TakeoverReadiness::Blocked
            | TakeoverReadiness::Unknown
            | TakeoverReadiness::Possible => counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: ReadinessSeverity, subject: &str) -> ReadinessFinding {
        ReadinessFinding {
            severity,
            check: match severity {
                ReadinessSeverity::Blocker => ReadinessCheck::Versioning,
                ReadinessSeverity::Warning => ReadinessCheck::DeleteMarkers,
                ReadinessSeverity::Unknown => ReadinessCheck::Trail,
                ReadinessSeverity::Note => ReadinessCheck::NotReplicated,
            },
            region: "ap-south-1".to_owned(),
            subject: subject.to_owned(),
            problem: "p".to_owned(),
            effect: "e".to_owned(),
            remedy: "r".to_owned(),
        }
    }

    fn report(severities: &[ReadinessSeverity], secs: i64) -> ReadinessReport {
        let findings: Vec<ReadinessFinding> = severities
            .iter()
            .map(|severity| finding(*severity, "lake"))
            .collect();
        ReadinessReport::new(&findings, Timestamp::from_secs(secs))
    }

    fn state(report: ReadinessReport, secs: i64) -> TakeoverReadiness {
        let record = ReadinessRecord::default().with_report(report);
        record.state_at(Timestamp::from_secs(secs))
    }

    use ReadinessSeverity::{Blocker, Note, Unknown, Warning};

    #[test]
    fn a_clock_that_was_ahead_makes_no_pass_and_hides_no_later_result() {
        let times = [0, 60, 61, 5400, 5401, 86_400];
        let possible = TakeoverReadiness::Possible;
        for stored_at in times {
            for now in times {
                let record = ReadinessRecord::default().with_report(report(&[], stored_at));
                let at = Timestamp::from_secs(now);
                let is_current = (-60..=5400).contains(&(now - stored_at));
                assert_eq!(
                    record.state_at(at) == possible,
                    is_current,
                    "{stored_at} {now}"
                );
                assert_eq!(record.known_at(at).is_some(), now - stored_at >= -60);
                let record = record.with_report(report(&[Blocker, Unknown], now));
                let is_newer = stored_at <= now || stored_at > now + 60;
                let blocked = record.state_at(at) == TakeoverReadiness::Blocked;
                assert_eq!(blocked, is_newer, "{stored_at} {now}");
                let known = record.known_at(at);
                assert!(
                    known.is_none_or(|known| known <= at.plus_secs(60)),
                    "{stored_at} {now}"
                );
            }
        }
    }

    #[test]
    fn only_a_current_result_without_blockers_in_which_everything_was_read_is_a_pass() {
        let none = ReadinessRecord::default();
        assert_eq!(
            none.state_at(Timestamp::from_millis(0)),
            TakeoverReadiness::NotChecked
        );
        assert_eq!(none.counts_at(Timestamp::from_millis(0)).unknown, 1);
        let possible = TakeoverReadiness::Possible;
        assert_eq!(state(report(&[Warning, Note], 0), 60), possible);
        assert_eq!(state(report(&[Unknown], 0), 60), TakeoverReadiness::Unknown);
        assert_eq!(
            state(report(&[Blocker, Unknown], 0), 60),
            TakeoverReadiness::Blocked
        );
        let incomplete = ReadinessReport::incomplete("ap-south-1", 280, Timestamp::from_millis(0));
        assert_eq!(state(incomplete, 60), TakeoverReadiness::Unknown);
    }

    #[test]
    fn a_result_of_long_ago_says_nothing_of_now() {
        let limit = MAX_READINESS_AGE_SECS;
        assert_eq!(state(report(&[], 0), limit), TakeoverReadiness::Possible);
        for severities in [&[][..], &[Blocker], &[Unknown]] {
            let record = ReadinessRecord::default().with_report(report(severities, 0));
            let now = Timestamp::from_secs(limit + 1);
            assert_eq!(record.state_at(now), TakeoverReadiness::Outdated);
            let counts = record.counts_at(now);
            assert_eq!(counts.unknown, 1);
            assert_eq!(counts.blockers, report(severities, 0).counts.blockers);
        }
    }

    #[test]
    fn what_was_last_known_stays_while_something_cannot_be_read() {
        let record = ReadinessRecord::default().with_report(report(&[Warning], 1));
        let record = record.with_report(report(&[Unknown], 2));
        let known = record.known.unwrap();
        assert_eq!(known.checked_at, Timestamp::from_secs(1));
        assert_eq!(known.counts.warnings, 1);
        let record = record.with_report(report(&[Blocker], 3));
        assert_eq!(record.known.unwrap().counts.blockers, 1);
        // A run that began earlier ends later.
        assert_eq!(record.clone().with_report(report(&[], 2)), record);
    }

    #[test]
    fn a_stored_report_is_small_and_counts_what_it_leaves_out() {
        let long = "\u{1}\u{202e}".repeat(100_000);
        let findings: Vec<ReadinessFinding> = (0..10_000)
            .map(|number| ReadinessFinding {
                problem: long.clone(),
                remedy: long.clone(),
                ..finding(Blocker, &number.to_string())
            })
            .chain([finding(Unknown, "last")])
            .collect();
        let report = ReadinessReport::new(&findings, Timestamp::from_millis(0));
        assert_eq!(report.counts.blockers, 10_000);
        assert_eq!(
            report.unknown_checks,
            BTreeSet::from([ReadinessCheck::Trail])
        );
        let first = report.findings.first().unwrap();
        assert!(first.problem.ends_with("...") && first.remedy.starts_with("twinlake doctor"));
        assert!(report.findings.len() < 10_000);
        let record = ReadinessRecord::default().with_report(report);
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.len() < 40_000, "{}", json.len());
        let read: ReadinessRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read, record);
    }
}
