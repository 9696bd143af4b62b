//! A sound pair of Regions has no finding, and each single fault has its own.

mod access;
mod canaries;
mod catalog_references;
mod faults;
mod iceberg;
mod limits;
mod remedies;
mod sound_access;
mod sound_pair;

use super::*;
use crate::grant::Principal;
use faults::FAULTS;
use sound_access::simulate_missing;
use sound_pair::*;
use std::collections::BTreeSet;

/// Checks, severities and Regions of findings.
fn told(found: &[ReadinessFinding]) -> Vec<(ReadinessCheck, ReadinessSeverity, &str)> {
    let told = found.iter();
    told.map(|f| (f.check, f.severity, f.region.as_str()))
        .collect()
}

#[test]
fn a_sound_pair_has_no_finding() {
    assert_eq!(findings(|_| {}), []);
}

#[test]
fn each_single_fault_has_its_own_finding() {
    for (fault, change, check, severity, region) in FAULTS {
        let found = findings(|readings| {
            change(readings);
            simulate_missing(readings, &Policy::parse(POLICY).unwrap());
        });
        let told: Vec<_> = found
            .iter()
            .map(|finding| (finding.check, finding.severity, finding.region.as_str()))
            .collect();
        assert_eq!(told, [(*check, *severity, *region)], "{fault}: {found:#?}");
    }
}

#[test]
fn the_batch_jobs_replicate_what_the_findings_report() {
    let jobs = |change: fn(&mut ReadinessReadings)| {
        let mut readings = sound();
        change(&mut readings);
        let policy = Policy::parse(POLICY).unwrap();
        let epoch = Epoch::default();
        let jobs = batch_replication_jobs(&readings, &policy, epoch);
        let found = check(&readings, &policy, epoch);
        for job in &jobs {
            let [finding] = found.as_slice() else {
                panic!("{found:?}");
            };
            assert!(finding.remedy.starts_with(&job.command()), "{finding:?}");
        }
        jobs
    };
    assert_eq!(jobs(|_| {}), []);
    let [job] = jobs(|r| put_samples(r, missing(None))).try_into().unwrap();
    assert_eq!(
        (job.region.as_str(), job.account.as_str()),
        ("us-east-1", "111122223333")
    );
    assert_eq!(job.statuses, BTreeSet::from(["NONE"]));
    let [job] = jobs(|r| put_samples(r, missing(Some("FAILED"))))
        .try_into()
        .unwrap();
    assert_eq!(job.statuses, BTreeSet::from(["FAILED"]));
    // S3 replicates these by itself.
    assert_eq!(jobs(|r| put_samples(r, missing(Some("PENDING")))), []);
}

#[test]
fn what_the_samples_do_not_tell_is_counted() {
    let unjudged = |change: fn(&mut ReadinessReadings)| {
        let mut readings = sound();
        change(&mut readings);
        unjudged_samples(&readings, &Policy::parse(POLICY).unwrap(), Epoch::default()).clauses()
    };
    assert_eq!(unjudged(|_| {}), Vec::<String>::new());
    assert_eq!(
        unjudged(|r| put_samples(r, missing(None))),
        Vec::<String>::new()
    );
    let pending = unjudged(|r| put_samples(r, missing(Some("PENDING"))));
    assert_eq!(pending, ["S3 is still replicating 1 sampled object"]);
    let unread = unjudged(|r| {
        let sample = SampledObject {
            replica: Reading::Unread("AccessDenied".to_owned()),
            ..sample(None)
        };
        put_samples(r, Reading::Read(vec![sample.clone(), sample]));
    });
    assert_eq!(unread, ["2 reads failed"]);
    let unlisted = unjudged(|r| put_samples(r, Reading::Unread("AccessDenied".to_owned())));
    assert_eq!(unlisted, ["1 read failed"]);
    assert_eq!(
        unjudged(|r| r.unsampled_locations = 2),
        ["of 2 locations no object was looked at"]
    );
}

#[test]
fn a_rule_covers_a_prefix_as_text() {
    // S3 compares prefixes as text: `sal` covers `sales/`.
    assert_eq!(
        findings(|r| first_rule(&mut r.primary).prefix = "sal".to_owned()),
        []
    );
    assert_eq!(
        findings(|r| first_rule(&mut r.primary).prefix = String::new()),
        []
    );
}

#[test]
fn rules_of_each_table_are_enough() {
    let narrow = |r: &mut ReadinessReadings, prefix: &str| {
        first_rule(&mut r.primary).prefix = prefix.to_owned();
    };
    assert_eq!(findings(|r| narrow(r, "sales/orders/")), []);
    let found = findings(|r| {
        narrow(r, "sales/orders/");
        r.tables = Reading::Read(vec![
            table("orders", "s3://lake-a/sales/orders/"),
            table("returns", "s3://lake-a/sales/returns/"),
        ]);
    });
    let problem = &found.first().unwrap().problem;
    assert!(
        problem.contains("1 table without a rule: sales.returns"),
        "{problem}"
    );
    assert!(
        problem.contains("only the prefix sales/orders/"),
        "{problem}"
    );
}

#[test]
fn a_rule_with_a_higher_priority_decides_for_its_part() {
    let found = findings(|r| {
        let Reading::Read(rules) = &mut bucket_of(&mut r.primary).rules else {
            return;
        };
        rules.push(ReplicationRule {
            id: "part".to_owned(),
            priority: 2,
            prefix: "sales/orders/".to_owned(),
            replicates_delete_markers: false,
            ..rule("lake-b", KEY_B)
        });
    });
    let told: Vec<_> = found
        .iter()
        .map(|f| (f.check, f.subject.as_str()))
        .collect();
    assert_eq!(
        told,
        [(
            ReadinessCheck::DeleteMarkers,
            "rule part of the bucket lake-a"
        )]
    );
}

#[test]
fn a_pair_with_two_prefixes_is_nothing_that_s3_can_copy() {
    let policy = POLICY.replace("s3://lake-b/sales/", "s3://lake-b/dr/sales/");
    let found = check(&sound(), &Policy::parse(&policy).unwrap(), Epoch::INITIAL);
    let is_told = |f: &ReadinessFinding| {
        f.check == ReadinessCheck::ReplicationRule && f.problem.contains("under its own key")
    };
    assert!(found.iter().any(is_told), "{found:#?}");
}

#[test]
fn a_rule_that_decides_nothing_is_not_judged() {
    let with = |id: &str, priority, prefix: &str, kms| ReplicationRule {
        id: id.to_owned(),
        priority,
        prefix: prefix.to_owned(),
        replicates_kms_objects: kms,
        ..rule("lake-b", KEY_B)
    };
    let found = findings(|r| {
        let rules = vec![with("all", 1, "", false), with("sales", 5, "sales/", true)];
        bucket_of(&mut r.primary).rules = Reading::Read(rules);
    });
    assert_eq!(found, []);
}

#[test]
fn an_object_that_waits_for_replication_is_no_fault() {
    assert_eq!(findings(|r| put_samples(r, missing(Some("PENDING")))), []);
    // A replica is there, whatever the status says of another destination.
    let failed_elsewhere = Reading::Read(vec![sample(Some("FAILED"))]);
    assert_eq!(findings(|r| put_samples(r, failed_elsewhere)), []);
}

#[test]
fn a_shorter_expiration_in_the_primary_covers_that_of_the_standby() {
    let rule = |days| LifecycleRule {
        expires_after_days: Some(days),
        definition: format!("after {days} days"),
        ..lifecycle_rule(true, None)
    };
    let severities = |primary, standby| -> Vec<ReadinessSeverity> {
        let found = findings(|r| {
            bucket_of(&mut r.primary).lifecycle = Reading::Read(vec![rule(primary)]);
            bucket_of(&mut r.standby).lifecycle = Reading::Read(vec![rule(standby)]);
        });
        found.into_iter().map(|finding| finding.severity).collect()
    };
    assert_eq!(severities(30, 30), []);
    assert_eq!(severities(30, 365), [ReadinessSeverity::Warning]);
    assert_eq!(severities(365, 30), [ReadinessSeverity::Blocker]);
}

#[test]
fn a_standby_archives_no_object_that_the_primary_keeps_longer() {
    let rule = |prefix: &str, days: Option<i32>| LifecycleRule {
        prefix: prefix.to_owned(),
        archives_after_days: days,
        definition: format!("{prefix} after {days:?} days"),
        ..lifecycle_rule(false, Some("GLACIER"))
    };
    let finds = |primary: LifecycleRule, standby: LifecycleRule| {
        let found = findings(|r| {
            bucket_of(&mut r.primary).lifecycle = Reading::Read(vec![primary]);
            bucket_of(&mut r.standby).lifecycle = Reading::Read(vec![standby]);
        });
        !found.is_empty()
    };
    assert!(!finds(rule("", Some(30)), rule("", Some(30))));
    assert!(!finds(rule("", Some(30)), rule("", Some(90))));
    assert!(finds(rule("", Some(3650)), rule("", Some(1))));
    // The primary archives less, or nobody knows when.
    assert!(finds(rule("sales/old/", Some(1)), rule("", Some(1))));
    assert!(finds(rule("", None), rule("", Some(1))));
}

#[test]
fn trails_may_record_reads_and_writes_apart() {
    let selections = |parts: &[(bool, bool, bool)]| {
        let trails = parts.iter().map(|&(logging, writes, reads)| Trail {
            is_logging: Reading::Read(logging),
            selection: Reading::Read(TrailEventSelection { writes, reads }),
            ..trail(&mut sound().primary).clone()
        });
        let trails = trails.collect::<Vec<_>>();
        findings(|r| r.primary.trails = Reading::Read(trails))
    };
    assert_eq!(selections(&[(true, true, false), (true, false, true)]), []);
    let stopped = selections(&[(false, true, true), (true, true, false)]);
    let told: Vec<_> = stopped.iter().map(|f| (f.check, f.severity)).collect();
    assert_eq!(told, [(ReadinessCheck::Trail, ReadinessSeverity::Warning)]);
}

#[test]
fn the_trail_of_another_region_is_changed_there() {
    let found = findings(|r| {
        let trail = trail(&mut r.standby);
        trail.arn = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/all".to_owned();
        trail.is_logging = Reading::Read(false);
    });
    let remedy = &found.first().unwrap().remedy;
    assert!(
        remedy.contains("start-logging --region eu-west-1"),
        "{remedy}"
    );
}

#[test]
fn an_equal_lifecycle_rule_in_the_primary_is_no_fault() {
    let same = || Reading::Read(vec![lifecycle_rule(true, None)]);
    let found = findings(|r| {
        bucket_of(&mut r.primary).lifecycle = same();
        bucket_of(&mut r.standby).lifecycle = same();
    });
    assert_eq!(found, []);
}

#[test]
fn one_sound_trail_is_enough() {
    let found = findings(|r| {
        let Reading::Read(trails) = &mut r.primary.trails else {
            return;
        };
        let stopped = Trail {
            is_logging: Reading::Read(false),
            ..trails.first().unwrap().clone()
        };
        trails.insert(0, stopped);
    });
    assert_eq!(found, []);
}

#[test]
fn the_sites_change_places_with_the_epoch() {
    let mut readings = sound();
    std::mem::swap(&mut readings.primary, &mut readings.standby);
    readings.tables = Reading::Read(vec![table("orders", "s3://lake-b/sales/orders/")]);
    let policy = Policy::parse(POLICY).unwrap();
    let led_by_b = Epoch::without_ledger(policy.sites.find("ap-south-1").unwrap());
    assert_eq!(check(&readings, &policy, led_by_b), []);
}

#[test]
fn locations_that_something_else_copies_need_no_rules() {
    let policy = POLICY.replace(
        "b = \"s3://lake-b/sales/\"",
        "b = \"s3://lake-b/sales/\"\ncopied-by = \"other\"",
    );
    let mut readings = sound();
    readings.deployment = None;
    bucket_of(&mut readings.primary).rules = Reading::Read(Vec::new());
    bucket_of(&mut readings.primary).versioning = Reading::Read(Versioning::Off);
    assert_eq!(
        check(&readings, &Policy::parse(&policy).unwrap(), Epoch::INITIAL),
        []
    );
}

#[test]
fn without_named_roles_one_role_of_twinlake_is_enough() {
    let without_roles = |r: &mut ReadinessReadings| r.twinlake_roles.clear();
    assert_eq!(findings(without_roles), []);
    let found = findings(|r| {
        without_roles(r);
        settings(&mut r.primary).admins =
            BTreeSet::from([Principal("arn:aws:iam::1:role/x".to_owned())]);
    });
    assert_eq!(found.first().unwrap().check, ReadinessCheck::Administrators);
}
