//! What the findings say of trails, administrators and lifecycle rules, and what mends them.

use super::super::*;
use super::sound_pair::*;
use crate::grant::Principal;

const TRAIL: &str = "arn:aws:cloudtrail:us-east-1:111122223333:trail/audit";

/// The trails of the primary: whether each logs, and records writes and reads.
fn with_trails(
    trails: &[(&str, bool, bool, bool)],
    change: fn(&mut Trail),
) -> Vec<ReadinessFinding> {
    let trails = trails.iter().map(|&(name, logging, writes, reads)| {
        let mut trail = Trail {
            arn: TRAIL.replace("audit", name),
            is_logging: Reading::Read(logging),
            selection: Reading::Read(TrailEventSelection { writes, reads }),
            ..trail(&mut sound().primary).clone()
        };
        change(&mut trail);
        trail
    });
    let trails = trails.collect();
    findings(|readings| readings.primary.trails = Reading::Read(trails))
}

/// Subject, problem and remedy of the only finding.
fn only(found: &[ReadinessFinding]) -> (&str, &str, &str) {
    let [finding] = found else {
        panic!("{found:#?}");
    };
    (&finding.subject, &finding.problem, &finding.remedy)
}

#[test]
fn a_trail_that_logs_names_what_it_records_alone() {
    let unchanged: fn(&mut Trail) = |_| {};
    for (writes, word) in [(true, "write"), (false, "read")] {
        let found = with_trails(&[("audit", true, writes, !writes)], unchanged);
        let (subject, problem, remedy) = only(&found);
        assert_eq!(subject, TRAIL);
        assert_eq!(problem, format!("the trail records only calls that {word}"));
        let command =
            format!("aws cloudtrail put-event-selectors --region us-east-1 --trail-name {TRAIL} ");
        assert!(remedy.starts_with(&command), "{remedy}");
    }
    let found = with_trails(&[("audit", true, true, false)], |trail| {
        trail.arn = TRAIL.replace("us-east-1", "eu-west-1");
    });
    let (_, _, remedy) = only(&found);
    assert!(remedy.contains("--region eu-west-1 "), "{remedy}");
}

#[test]
fn advanced_selectors_are_not_replaced() {
    let found = with_trails(&[("audit", true, true, false)], |trail| {
        trail.has_advanced_selectors = true;
    });
    let (_, _, remedy) = only(&found);
    assert!(
        remedy.starts_with("Add a selector of all management events"),
        "{remedy}"
    );
}

#[test]
fn a_trail_of_the_organization_is_changed_in_its_management_account() {
    for logging in [true, false] {
        let found = with_trails(&[("audit", logging, true, !logging)], |trail| {
            trail.is_of_organization = true;
        });
        let (_, _, remedy) = only(&found);
        assert!(
            remedy.contains("management account of the organization"),
            "{remedy}"
        );
    }
}

#[test]
fn the_stopped_trail_that_records_what_lacks_is_started() {
    let unchanged: fn(&mut Trail) = |_| {};
    let started = |found: &[ReadinessFinding], name: &str| {
        let (subject, problem, remedy) = only(found);
        let arn = TRAIL.replace("audit", name);
        assert_eq!(subject, arn);
        assert_eq!(problem, "logging is stopped");
        let command = format!("aws cloudtrail start-logging --region us-east-1 --name {arn}");
        assert_eq!(remedy, command);
    };
    // Reads lack: a stopped trail of writes does not help.
    let lacks_reads = [
        ("logs", true, true, false),
        ("writes", false, true, false),
        ("reads", false, false, true),
    ];
    started(&with_trails(&lacks_reads, unchanged), "reads");
    let lacks_writes = [
        ("logs", true, false, true),
        ("reads", false, false, true),
        ("writes", false, true, false),
    ];
    started(&with_trails(&lacks_writes, unchanged), "writes");
    // No stopped one records what lacks.
    let found = with_trails(
        &[("writes", false, true, false), ("logs", true, true, false)],
        unchanged,
    );
    assert_eq!(only(&found).0, TRAIL.replace("audit", "logs"));
    // A trail of data events alone.
    let found = with_trails(&[("data", true, false, false)], unchanged);
    let (subject, problem, remedy) = only(&found);
    assert_eq!(
        (subject, problem),
        (
            "trails",
            "no trail records management events of this Region"
        )
    );
    assert!(remedy.contains("create a trail in us-east-1"), "{remedy}");
}

#[test]
fn a_trail_that_was_not_read_may_be_the_sound_one() {
    for of in [
        (|trail| trail.is_logging = Reading::Unread("AccessDenied".to_owned())) as fn(&mut Trail),
        |trail| trail.selection = Reading::Unread("AccessDenied".to_owned()),
    ] {
        let found = findings(|readings| {
            let Reading::Read(trails) = &mut readings.primary.trails else {
                panic!("the trails are read");
            };
            let mut stopped = trails.first().unwrap().clone();
            stopped.is_logging = Reading::Read(false);
            of(trails.first_mut().unwrap());
            trails.push(stopped);
        });
        let [finding] = found.as_slice() else {
            panic!("{found:#?}");
        };
        assert_eq!(finding.severity, ReadinessSeverity::Unknown);
        assert!(finding.problem.contains("AccessDenied"), "{finding:?}");
    }
}

#[test]
fn a_failed_delivery_counts_of_a_trail_that_logs() {
    let refused: fn(&mut Trail) = |trail| {
        trail.delivery_error = Some("AccessDenied".to_owned());
    };
    let found = with_trails(&[("audit", true, true, true)], refused);
    let (subject, problem, remedy) = only(&found);
    assert_eq!(subject, TRAIL);
    assert_eq!(problem, "the last delivery failed: AccessDenied");
    let command = format!("get-trail-status --region us-east-1 --name {TRAIL}");
    assert!(remedy.ends_with(&command), "{remedy}");
    // Beside a sound one, the stopped trail has nothing to deliver.
    let found = findings(|readings| {
        let Reading::Read(trails) = &mut readings.primary.trails else {
            panic!("the trails are read");
        };
        let mut stopped = trails.first().unwrap().clone();
        stopped.is_logging = Reading::Read(false);
        refused(&mut stopped);
        trails.push(stopped);
    });
    assert_eq!(found, []);
}

#[test]
fn the_command_names_the_roles_or_says_where_they_stand() {
    let remedy_of = |has_roles: bool| {
        let found = findings(|readings| {
            if !has_roles {
                readings.twinlake_roles.clear();
            }
            let other = Principal("arn:aws:iam::111122223333:role/other".to_owned());
            settings(&mut readings.standby).admins = [other].into();
        });
        only(&found).2.to_owned()
    };
    let named = format!("twinlake bootstrap --policy FILE --twinlake-role {ROLE}");
    assert_eq!(remedy_of(true), named);
    assert_eq!(
        remedy_of(false),
        "twinlake bootstrap --policy FILE --twinlake-role ARN # for each ARN in the output Roles of both stacks"
    );
}

#[test]
fn an_archive_of_both_buckets_is_no_fault_and_another_rule_is_no_archive() {
    let with_primary = |rule: LifecycleRule| {
        findings(|readings| {
            bucket_of(&mut readings.primary).lifecycle = Reading::Read(vec![rule]);
            let archive = lifecycle_rule(false, Some("GLACIER"));
            bucket_of(&mut readings.standby).lifecycle = Reading::Read(vec![archive]);
        })
    };
    assert_eq!(
        with_primary(lifecycle_rule(false, Some("DEEP_ARCHIVE"))),
        []
    );
    let found = with_primary(lifecycle_rule(false, None));
    let (_, problem, _) = only(&found);
    assert!(problem.contains("moves objects to GLACIER"), "{problem}");
    let disabled = LifecycleRule {
        is_enabled: false,
        ..lifecycle_rule(false, Some("GLACIER"))
    };
    assert_eq!(with_primary(disabled).len(), 1);
}
