//! What the scheduled checks say of a takeover, in one line of `status` and `report`.

use crate::output::duration;
use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::readiness::{
    ReadinessCheck, ReadinessCounts, ReadinessRecord, ReadinessReport, TakeoverReadiness,
};
use twinlake_core::render::counted;
use twinlake_core::{NextCommands, Timestamp};

/// The maximum number of checks that the line names.
const MAX_NAMED_CHECKS: usize = 3;

/// The line about the standby `region`, without a period at its end.
pub(crate) fn readiness_line(
    record: &ReadinessRecord,
    region: &str,
    next: &NextCommands,
    now: Timestamp,
) -> String {
    let next = next.doctor();
    let unknown = format!("it is not known whether {region} could take over");
    let Some(report) = &record.report else {
        return format!("{unknown}: the readiness function has not run yet; next: {next}");
    };
    let age = duration(now.secs() - report.checked_at.secs());
    let counts = report.counts;
    match record.state_at(now) {
        TakeoverReadiness::Possible => format!(
            "{region} could take over now: {}; checked {age} ago",
            found(counts)
        ),
        TakeoverReadiness::Blocked => format!(
            "{region} could not take over: {} ({}); checked {age} ago; next: {next}",
            found(counts),
            named(&report.blocking_checks)
        ),
        TakeoverReadiness::Unknown => format!(
            "{unknown}: {} ({}); checked {age} ago{}; next: {next}",
            found(counts),
            named(&report.unknown_checks),
            last_known(record, now)
        ),
        TakeoverReadiness::NotChecked | TakeoverReadiness::Outdated => format!(
            "{unknown}: the last check is {age} old, and found {}; the readiness function no longer runs, or \
             fails; next: {next}",
            found(counts)
        ),
    }
}

/// Why the readiness needs attention, as a clause. That no check has run yet is reported by an alert of the
/// monitor function, once a check is missing.
pub(crate) fn readiness_problem(record: &ReadinessRecord, now: Timestamp) -> Option<String> {
    let counts = record.counts_at(now);
    match record.state_at(now) {
        TakeoverReadiness::NotChecked | TakeoverReadiness::Possible => None,
        TakeoverReadiness::Blocked => Some(match counts.blockers {
            1 => "1 blocker of a takeover was found".to_owned(),
            count => format!("{count} blockers of a takeover were found"),
        }),
        TakeoverReadiness::Unknown | TakeoverReadiness::Outdated => {
            Some("it is not known whether a takeover is possible".to_owned())
        }
    }
}

/// The same for programs.
pub(crate) fn readiness_json(
    record: &ReadinessRecord,
    next: &NextCommands,
    now: Timestamp,
) -> serde_json::Value {
    let report = record.report.as_ref();
    let at = |report: &ReadinessReport| report.checked_at.to_string();
    let age = |report: &ReadinessReport| now.secs() - report.checked_at.secs();
    let known = record
        .known
        .map(|known| json!({ "checked_at": known.checked_at.to_string(), "counts": known.counts }));
    json!({
        "state": record.state_at(now),
        "checked_at": report.map(at),
        "age_seconds": report.map(age),
        "counts": report.map(|report| report.counts),
        "unknown_checks": report.map(|report| &report.unknown_checks),
        "findings": report.map(|report| &report.findings),
        "last_known": known,
        "next": next.doctor(),
    })
}

/// The number of findings that matter, as in `1 blocker, 2 warnings`.
fn found(counts: ReadinessCounts) -> String {
    let named = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let found: Vec<String> = [
        named(counts.blockers, "blocker", "blockers"),
        named(counts.warnings, "warning", "warnings"),
        named(counts.unknown, "unknown", "unknown"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match found.is_empty() {
        true => "no blocker, no warning".to_owned(),
        false => found.join(", "),
    }
}

fn named(checks: &BTreeSet<ReadinessCheck>) -> String {
    let names: Vec<&str> = checks.iter().map(|check| check.as_str()).collect();
    match names.get(..MAX_NAMED_CHECKS) {
        Some(first) if names.len() > MAX_NAMED_CHECKS => {
            let more = counted(names.len() - MAX_NAMED_CHECKS, "more check");
            format!("{} and {more}", first.join(", "))
        }
        Some(_) | None => names.join(", "),
    }
}

fn last_known(record: &ReadinessRecord, now: Timestamp) -> String {
    match record.known {
        Some(known) => format!(
            "; last known {} ago: {}",
            duration(now.secs() - known.checked_at.secs()),
            found(known.counts)
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::readiness::{ReadinessFinding, ReadinessSeverity};

    fn finding(severity: ReadinessSeverity, check: ReadinessCheck) -> ReadinessFinding {
        ReadinessFinding {
            severity,
            check,
            region: "ap-south-1".to_owned(),
            subject: "lake".to_owned(),
            problem: String::new(),
            effect: String::new(),
            remedy: String::new(),
        }
    }

    fn line(record: &ReadinessRecord, minute: i64) -> String {
        let next = NextCommands::new("--region ap-south-1", None, "ap-south-1");
        let now = Timestamp::from_secs(60 * minute);
        let problem = readiness_problem(record, now);
        let state = record.state_at(now);
        let needs_attention = !matches!(
            state,
            TakeoverReadiness::Possible | TakeoverReadiness::NotChecked
        );
        assert_eq!(problem.is_some(), needs_attention, "{problem:?}");
        readiness_line(record, "ap-south-1", &next, now)
    }

    fn at(minute: i64, findings: &[ReadinessFinding]) -> ReadinessReport {
        ReadinessReport::new(findings, Timestamp::from_secs(60 * minute))
    }

    #[test]
    fn each_state_has_its_line_and_only_a_pass_says_so() {
        use ReadinessSeverity::{Blocker, Unknown, Warning};
        let none = ReadinessRecord::default();
        assert_eq!(
            line(&none, 0),
            "it is not known whether ap-south-1 could take over: the readiness function has not run yet; \
             next: `twinlake doctor --region ap-south-1`"
        );
        let sound = none.with_report(at(0, &[]));
        assert_eq!(
            line(&sound, 12),
            "ap-south-1 could take over now: no blocker, no warning; checked 12 min ago"
        );
        let warning = finding(Warning, ReadinessCheck::DeleteMarkers);
        let warned = sound
            .clone()
            .with_report(at(10, &[warning.clone(), warning.clone()]));
        assert_eq!(
            line(&warned, 12),
            "ap-south-1 could take over now: 2 warnings; checked 2 min ago"
        );
        let denied = finding(Unknown, ReadinessCheck::Trail);
        let unread = warned.with_report(at(40, &[denied.clone(), warning]));
        assert_eq!(
            line(&unread, 42),
            "it is not known whether ap-south-1 could take over: 1 warning, 1 unknown (trail); checked 2 min \
             ago; last known 32 min ago: 2 warnings; next: `twinlake doctor --region ap-south-1`"
        );
        let blocker = finding(Blocker, ReadinessCheck::Versioning);
        let blocked = unread.with_report(at(70, &[blocker, denied]));
        assert_eq!(
            line(&blocked, 72),
            "ap-south-1 could not take over: 1 blocker, 1 unknown (versioning); checked 2 min ago; next: \
             `twinlake doctor --region ap-south-1`"
        );
        assert_eq!(
            line(&sound, 91),
            "it is not known whether ap-south-1 could take over: the last check is 91 min old, and found no \
             blocker, no warning; the readiness function no longer runs, or fails; next: `twinlake doctor \
             --region ap-south-1`"
        );
    }

    #[test]
    fn a_line_names_at_most_three_checks() {
        use ReadinessCheck::{Bucket, Lifecycle, Trail, Versioning};
        let checks = |checks: &[ReadinessCheck]| named(&checks.iter().copied().collect());
        let three = [Bucket, Versioning, Trail];
        assert_eq!(checks(&three), "bucket, versioning, trail");
        let four = [Bucket, Versioning, Lifecycle, Trail];
        assert_eq!(
            checks(&four),
            "bucket, versioning, lifecycle and 1 more check"
        );
    }

    #[test]
    fn the_json_has_the_state_and_the_findings() {
        let next = NextCommands::new("--region ap-south-1", None, "ap-south-1");
        let none = readiness_json(
            &ReadinessRecord::default(),
            &next,
            Timestamp::from_millis(0),
        );
        assert_eq!(none["state"], "not-checked");
        let blocker = finding(ReadinessSeverity::Blocker, ReadinessCheck::Versioning);
        let record = ReadinessRecord::default().with_report(at(0, &[blocker]));
        let json = readiness_json(&record, &next, Timestamp::from_secs(60));
        assert_eq!(json["state"], "blocked");
        assert_eq!(json["age_seconds"], 60);
        assert_eq!(json["counts"]["blockers"], 1);
        assert_eq!(json["findings"][0]["check"], "versioning");
        assert_eq!(json["last_known"]["checked_at"], "1970-01-01T00:00:00Z");
    }
}
