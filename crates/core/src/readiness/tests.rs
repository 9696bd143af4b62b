//! A sound pair of Regions has no finding, and each single fault has its own.

mod sound_pair;

use super::*;
use crate::grant::Principal;
use sound_pair::*;
use std::collections::BTreeSet;

#[test]
fn a_sound_pair_has_no_finding() {
    assert_eq!(findings(|_| {}), []);
}

type Change = fn(&mut ReadinessReadings);

/// Single faults, each with the check, the severity and the Region of the only finding.
const FAULTS: &[(&str, Change, ReadinessCheck, ReadinessSeverity, &str)] = {
    use ReadinessCheck as C;
    use ReadinessSeverity::{Blocker, Note, Unknown, Warning};
    const A: &str = "us-east-1";
    const B: &str = "ap-south-1";
    &[
        (
            "the primary's bucket is gone",
            |r| bucket_of(&mut r.primary).region = Reading::Read(None),
            C::Bucket,
            Blocker,
            A,
        ),
        (
            "the standby's bucket is in a third Region",
            |r| bucket_of(&mut r.standby).region = Reading::Read(Some("eu-west-1".to_owned())),
            C::Bucket,
            Blocker,
            B,
        ),
        (
            "versioning is off",
            |r| bucket_of(&mut r.primary).versioning = Reading::Read(Versioning::Off),
            C::Versioning,
            Blocker,
            A,
        ),
        (
            "versioning of the standby is suspended",
            |r| bucket_of(&mut r.standby).versioning = Reading::Read(Versioning::Suspended),
            C::Versioning,
            Blocker,
            B,
        ),
        (
            "the rule is disabled",
            |r| first_rule(&mut r.primary).is_enabled = false,
            C::ReplicationRule,
            Blocker,
            A,
        ),
        (
            "the rule has another prefix",
            |r| first_rule(&mut r.primary).prefix = "sales/2024/".to_owned(),
            C::ReplicationRule,
            Blocker,
            A,
        ),
        (
            "the rule filters by tags",
            |r| first_rule(&mut r.primary).has_tag_filter = true,
            C::ReplicationRule,
            Blocker,
            A,
        ),
        (
            "the rule has another destination",
            |r| first_rule(&mut r.primary).destination = "backup".to_owned(),
            C::ReplicationRule,
            Blocker,
            A,
        ),
        (
            "there is no rule back",
            |r| bucket_of(&mut r.standby).rules = Reading::Read(Vec::new()),
            C::ReverseReplicationRule,
            Warning,
            B,
        ),
        (
            "delete markers stay",
            |r| first_rule(&mut r.primary).replicates_delete_markers = false,
            C::DeleteMarkers,
            Warning,
            A,
        ),
        (
            "changes of replicas stay",
            |r| first_rule(&mut r.standby).replicates_modifications = false,
            C::ReplicaModifications,
            Warning,
            B,
        ),
        (
            "no metrics",
            |r| first_rule(&mut r.primary).publishes_metrics = false,
            C::ReplicationMetrics,
            Warning,
            A,
        ),
        (
            "no notifications",
            |r| bucket_of(&mut r.primary).notifications = Reading::Read(Vec::new()),
            C::ReplicationNotifications,
            Warning,
            A,
        ),
        (
            "encrypted objects are left out",
            |r| first_rule(&mut r.primary).replicates_kms_objects = false,
            C::KmsObjects,
            Blocker,
            A,
        ),
        (
            "the key of the replicas is of the primary",
            |r| first_rule(&mut r.primary).replica_key = Some(KEY_A.to_owned()),
            C::ReplicaKey,
            Blocker,
            A,
        ),
        (
            "the key of the replicas is disabled",
            |r| {
                r.standby.keys.insert(
                    KEY_B.to_owned(),
                    Reading::Read(KmsKey {
                        state: "Disabled".to_owned(),
                    }),
                );
            },
            C::ReplicaKey,
            Blocker,
            B,
        ),
        (
            "objects from before the rule",
            |r| {
                bucket_of(&mut r.primary).objects.insert(
                    "sales/".to_owned(),
                    Reading::Read(vec![ObjectSample {
                        replication_status: None,
                        ..sample("")
                    }]),
                );
            },
            C::ObjectStatus,
            Blocker,
            A,
        ),
        (
            "objects that failed",
            |r| {
                bucket_of(&mut r.primary)
                    .objects
                    .insert("sales/".to_owned(), Reading::Read(vec![sample("FAILED")]));
            },
            C::ObjectStatus,
            Blocker,
            A,
        ),
        (
            "the standby expires objects",
            |r| {
                bucket_of(&mut r.standby).lifecycle =
                    Reading::Read(vec![lifecycle_rule(true, None)]);
            },
            C::Lifecycle,
            Blocker,
            B,
        ),
        (
            "the standby archives objects",
            |r| {
                bucket_of(&mut r.standby).lifecycle =
                    Reading::Read(vec![lifecycle_rule(false, Some("GLACIER"))]);
            },
            C::Lifecycle,
            Blocker,
            B,
        ),
        (
            "a table lies outside the pairs",
            |r| r.tables = Reading::Read(vec![table("returns", "s3://lake-a/returns/")]),
            C::TableLocations,
            Blocker,
            A,
        ),
        (
            "there is no trail",
            |r| r.primary.trails = Reading::Read(Vec::new()),
            C::Trail,
            Blocker,
            A,
        ),
        (
            "the trail is stopped",
            |r| trail(&mut r.standby).is_logging = Reading::Read(false),
            C::Trail,
            Blocker,
            B,
        ),
        (
            "the trail records writes only",
            |r| {
                trail(&mut r.primary).selection = Reading::Read(TrailEventSelection {
                    writes: true,
                    reads: false,
                });
            },
            C::Trail,
            Warning,
            A,
        ),
        (
            "the trail records reads only",
            |r| {
                trail(&mut r.primary).selection = Reading::Read(TrailEventSelection {
                    writes: false,
                    reads: true,
                });
            },
            C::Trail,
            Blocker,
            A,
        ),
        (
            "the trail cannot deliver",
            |r| trail(&mut r.primary).delivery_error = Some("AccessDenied".to_owned()),
            C::Trail,
            Warning,
            A,
        ),
        (
            "a role is no administrator",
            |r| settings(&mut r.standby).admins.clear(),
            C::Administrators,
            Blocker,
            B,
        ),
        (
            "the standby is open by default",
            |r| settings(&mut r.standby).table_defaults_open = true,
            C::DefaultPermissions,
            Blocker,
            B,
        ),
        (
            "a location is not registered",
            |r| r.standby.registrations = Reading::Read(Vec::new()),
            C::Registrations,
            Blocker,
            B,
        ),
        (
            "the rules are denied",
            |r| bucket_of(&mut r.primary).rules = Reading::Unread("AccessDenied".to_owned()),
            C::ReplicationRule,
            Unknown,
            A,
        ),
        (
            "the versioning is denied",
            |r| bucket_of(&mut r.primary).versioning = Reading::Unread("AccessDenied".to_owned()),
            C::Versioning,
            Unknown,
            A,
        ),
        (
            "the bucket is denied",
            |r| bucket_of(&mut r.primary).region = Reading::Unread("AccessDenied".to_owned()),
            C::Bucket,
            Unknown,
            A,
        ),
        (
            "the objects are denied",
            |r| {
                bucket_of(&mut r.primary).objects.insert(
                    "sales/".to_owned(),
                    Reading::Unread("AccessDenied".to_owned()),
                );
            },
            C::ObjectStatus,
            Unknown,
            A,
        ),
        (
            "the key is denied",
            |r| {
                r.standby
                    .keys
                    .insert(KEY_B.to_owned(), Reading::Unread("AccessDenied".to_owned()));
            },
            C::ReplicaKey,
            Unknown,
            B,
        ),
        (
            "the notifications are denied",
            |r| {
                bucket_of(&mut r.primary).notifications =
                    Reading::Unread("AccessDenied".to_owned());
            },
            C::ReplicationNotifications,
            Unknown,
            A,
        ),
        (
            "the lifecycle is denied",
            |r| bucket_of(&mut r.standby).lifecycle = Reading::Unread("AccessDenied".to_owned()),
            C::Lifecycle,
            Unknown,
            B,
        ),
        (
            "the trails are denied",
            |r| r.standby.trails = Reading::Unread("AccessDenied".to_owned()),
            C::Trail,
            Unknown,
            B,
        ),
        (
            "the selectors are denied",
            |r| trail(&mut r.primary).selection = Reading::Unread("AccessDenied".to_owned()),
            C::Trail,
            Unknown,
            A,
        ),
        (
            "the settings are denied",
            |r| r.standby.settings = Reading::Unread("AccessDenied".to_owned()),
            C::Administrators,
            Unknown,
            B,
        ),
        (
            "an Iceberg table",
            |r| {
                r.tables = Reading::Read(vec![TableLocation {
                    is_iceberg: true,
                    ..table("orders", "s3://lake-a/sales/orders/")
                }]);
            },
            C::IcebergTables,
            Blocker,
            B,
        ),
        (
            "the catalogs are encrypted otherwise",
            |r| {
                r.standby
                    .catalog_settings
                    .insert("encryption".to_owned(), "none".to_owned());
            },
            C::CatalogSettings,
            Warning,
            B,
        ),
        (
            "something that is not replicated",
            |r| {
                r.primary.not_replicated.insert("connections".to_owned(), 2);
            },
            C::NotReplicated,
            Note,
            B,
        ),
        (
            "no stack in the primary",
            |r| deployment(r).primary_policy = Reading::Read(DeployedPolicy::NoLedger),
            C::Deployment,
            Blocker,
            A,
        ),
        (
            "no policy in the standby",
            |r| deployment(r).standby_policy = Reading::Read(DeployedPolicy::None),
            C::Deployment,
            Blocker,
            B,
        ),
        (
            "another policy in the standby",
            |r| {
                deployment(r).standby_policy =
                    Reading::Read(DeployedPolicy::Digest("other".to_owned()));
            },
            C::Deployment,
            Blocker,
            B,
        ),
        (
            "no resync has completed",
            |r| deployment(r).seconds_since_verified = Reading::Read(None),
            C::Resync,
            Blocker,
            B,
        ),
        (
            "the last resync is old",
            |r| deployment(r).seconds_since_verified = Reading::Read(Some(14 * 3600)),
            C::Resync,
            Warning,
            B,
        ),
        (
            "the ledger is denied",
            |r| deployment(r).primary_policy = Reading::Unread("AccessDenied".to_owned()),
            C::Deployment,
            Unknown,
            A,
        ),
        (
            "the last resync is denied",
            |r| {
                deployment(r).seconds_since_verified = Reading::Unread("AccessDenied".to_owned());
            },
            C::Resync,
            Unknown,
            B,
        ),
        (
            "the registrations are denied",
            |r| r.standby.registrations = Reading::Unread("AccessDenied".to_owned()),
            C::Registrations,
            Unknown,
            B,
        ),
        (
            "the tables are denied",
            |r| r.tables = Reading::Unread("AccessDenied".to_owned()),
            C::TableLocations,
            Unknown,
            A,
        ),
    ]
};

#[test]
fn each_single_fault_has_its_own_finding() {
    for (fault, change, check, severity, region) in FAULTS {
        let found = findings(*change);
        let told: Vec<_> = found
            .iter()
            .map(|finding| (finding.check, finding.severity, finding.region.as_str()))
            .collect();
        assert_eq!(told, [(*check, *severity, *region)], "{fault}: {found:#?}");
    }
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
    let led_by_b = Epoch::led_by(policy.sites.find("ap-south-1").unwrap());
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
