//! Single faults of a sound pair, each with the finding that it leads to.

use super::super::*;
use super::sound_access::delegating_policy;
use super::sound_pair::*;
use crate::grant::Principal;

pub(super) type SingleFault = fn(&mut ReadinessReadings);

/// Single faults, each with the check, the severity and the Region of the only finding.
pub(super) const FAULTS: &[(&str, SingleFault, ReadinessCheck, ReadinessSeverity, &str)] = {
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
            "the notifications go to a queue of others",
            |r| {
                bucket_of(&mut r.primary).notifications = Reading::Read(vec![S3EventTarget {
                    target: "arn:aws:sqs:us-east-1:111122223333:failures".to_owned(),
                    events: std::collections::BTreeSet::from(["s3:Replication:*".to_owned()]),
                    prefix: String::new(),
                    has_suffix: false,
                }]);
            },
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
                        arn: KEY_B.to_owned(),
                        state: "Disabled".to_owned(),
                        policy: Reading::Read(delegating_policy()),
                    }),
                );
            },
            C::ReplicaKey,
            Blocker,
            B,
        ),
        (
            "objects from before the rule",
            |r| put_samples(r, missing(None)),
            C::ObjectStatus,
            Blocker,
            A,
        ),
        (
            "objects that were replicated elsewhere",
            |r| put_samples(r, missing(Some("COMPLETED"))),
            C::ObjectStatus,
            Blocker,
            A,
        ),
        (
            "the replicas are denied",
            |r| {
                let denied = Reading::Unread("AccessDenied".to_owned());
                put_samples(
                    r,
                    Reading::Read(vec![SampledObject {
                        replica: denied,
                        ..sample(None)
                    }]),
                );
            },
            C::ObjectStatus,
            Unknown,
            B,
        ),
        (
            "the replicas go to an archive",
            |r| first_rule(&mut r.primary).archive_class = Some("DEEP_ARCHIVE".to_owned()),
            C::StorageClass,
            Blocker,
            A,
        ),
        (
            "encrypted objects do not come back",
            |r| first_rule(&mut r.standby).replicates_kms_objects = false,
            C::KmsObjects,
            Warning,
            B,
        ),
        (
            "replicas under another key that is disabled",
            |r| {
                let other = KEY_B.replace("key/b", "key/old");
                let mut object = sample(Some("COMPLETED"));
                if let Reading::Read(Some(replica)) = &mut object.replica {
                    replica.encryption = ObjectEncryption::Kms(Some(other.clone()));
                }
                put_samples(r, Reading::Read(vec![object]));
                let key = KmsKey {
                    arn: other.clone(),
                    state: "Disabled".to_owned(),
                    policy: Reading::Read(delegating_policy()),
                };
                r.standby.keys.insert(other, Reading::Read(key));
            },
            C::ReplicaKey,
            Blocker,
            B,
        ),
        (
            "the primary expires objects that the standby keeps",
            |r| {
                bucket_of(&mut r.primary).lifecycle =
                    Reading::Read(vec![lifecycle_rule(true, None)]);
            },
            C::Lifecycle,
            Warning,
            B,
        ),
        (
            "the reader is no administrator",
            |r| r.reader = Principal("arn:aws:iam::111122223333:role/other".to_owned()),
            C::TableLocations,
            Unknown,
            A,
        ),
        (
            "a registration above the pair",
            |r| {
                let above = "arn:aws:s3:::lake-a".to_owned();
                if let Reading::Read(registrations) = &mut r.primary.registrations {
                    for registration in registrations {
                        registration.arn.clone_from(&above);
                    }
                }
                r.standby.registrations = Reading::Read(Vec::new());
            },
            C::Registrations,
            Blocker,
            B,
        ),
        (
            "the encryption of the catalog is denied",
            |r| {
                let denied = ("encryption".to_owned(), "AccessDenied".to_owned());
                r.standby.unread_inventory.extend([denied]);
            },
            C::NotReplicated,
            Unknown,
            B,
        ),
        (
            "locations were not sampled",
            |r| r.unsampled_locations = 3,
            C::ObjectStatus,
            Note,
            A,
        ),
        (
            "objects that failed",
            |r| put_samples(r, missing(Some("FAILED"))),
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
            |r| put_samples(r, Reading::Unread("AccessDenied".to_owned())),
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
            "grants are revoked for a switchover that is not under way",
            |r| deployment(r).abandoned_grants = Reading::Read(2),
            C::FrozenGrants,
            Warning,
            A,
        ),
        (
            "what is revoked for a switchover is not known",
            |r| deployment(r).abandoned_grants = Reading::Unread("AccessDenied".to_owned()),
            C::FrozenGrants,
            Unknown,
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
fn the_operation_document_says_how_old_a_resync_may_be() {
    let with_limit = |limit: i64| {
        findings(|r| {
            deployment(r).seconds_since_verified = Reading::Read(Some(14 * 3600));
            deployment(r).verified_age_limit_secs = limit;
        })
    };
    assert!(with_limit(14 * 3600).is_empty());
    assert_eq!(with_limit(14 * 3600 - 1).len(), 1);
}
