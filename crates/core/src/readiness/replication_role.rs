//! Checks of the roles of S3 replication, and of the policies of the keys that they use.
//!
//! Source of the actions: S3 user guide, `setting-repl-config-perm-overview` and
//! `replication-config-for-kms-objects`. A simulation knows neither the policies of buckets, nor resource
//! control policies, nor service control policies with conditions: a denial is probable, and only a
//! replicated object proves the contrary.

use super::ReadinessCheck as Check;
use super::policy_document::KeyAccess;
use super::replication::{Route, deciding_rules, routes};
use super::{
    BucketDirection, Checked, ObjectEncryption, ReadinessReadings, ReadinessSeverity, Reading,
    RegionReadings, SimulatedCall, SimulatedDecision, Texts, iam_remedy, shorten,
};
use crate::Policy;
use crate::render::{counted, one_or_many};
use crate::topology::{AwsPartition, Epoch};
use std::collections::{BTreeMap, BTreeSet};

/// The service that assumes the role.
const S3: &str = "s3.amazonaws.com";
/// The name of an object that is nowhere.
const ANY_OBJECT: &str = "object";
/// Simulated calls of all roles together.
const MAX_SIMULATIONS: usize = 200;
/// Keys of one bucket of which calls are simulated.
const MAX_KEYS: usize = 10;

/// The calls of the replication roles that are to be simulated, a limited number.
#[must_use]
pub fn replication_calls(
    readings: &ReadinessReadings,
    policy: &Policy,
    epoch: Epoch,
) -> BTreeSet<SimulatedCall> {
    let checked = Checked::new(readings, policy, epoch);
    let mut calls = BTreeSet::new();
    for route in routes(&checked) {
        let Some(role) = role_of(&route) else {
            continue;
        };
        let needs = needs_of(&checked, &route, role);
        calls.extend(needs.into_iter().flat_map(|need| need.variants));
    }
    calls.into_iter().take(MAX_SIMULATIONS).collect()
}

/// Calls that a role must be allowed to make, on one resource.
struct Need<'a> {
    /// The call, with contexts of which one is enough.
    variants: Vec<SimulatedCall>,
    /// The key, and the Region that holds it.
    key: Option<(&'a RegionReadings, &'a str)>,
}

/// What the role of a route's source may not do.
#[derive(Default)]
struct RoleFindings {
    /// Actions on a resource that its policies do not allow.
    denied: BTreeSet<(String, String)>,
    /// Whether a statement denies one of them.
    is_explicit: bool,
    unread: BTreeSet<String>,
    unmade: usize,
}

pub(super) fn check(checked: &mut Checked<'_>) {
    let mut by_role: BTreeMap<(&str, bool, &str), RoleFindings> = BTreeMap::new();
    for route in routes(checked) {
        let Some(role) = role_of(&route) else {
            continue;
        };
        let is_forward = route.direction == BucketDirection::Forward;
        if check_trust(checked, &route, role) {
            let findings = by_role.entry((role, is_forward, route.region)).or_default();
            judge_role(checked, &route, role, findings);
        }
    }
    for ((role, is_forward, region), findings) in by_role {
        report(checked, role, is_forward, region, findings);
    }
}

fn severity_of(is_forward: bool) -> ReadinessSeverity {
    match is_forward {
        true => ReadinessSeverity::Blocker,
        false => ReadinessSeverity::Warning,
    }
}

/// The role of a bucket with rules that replicate a route.
fn role_of<'a>(route: &Route<'a>) -> Option<&'a str> {
    route.bucket.replication_role.read()?.as_deref()
}

const NOTHING_REPLICATED: &str =
    "S3 replicates nothing with this role: new objects get the status FAILED.";

/// Checks that the role exists, and that S3 may assume it; whether both hold.
fn check_trust(checked: &mut Checked<'_>, route: &Route<'_>, role: &str) -> bool {
    let check = Check::ReplicationRole;
    let name = role_name(role);
    let trust = format!(
        "'{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":{{\"Service\":\
         \"{S3}\"}},\"Action\":\"sts:AssumeRole\"}}]}}'"
    );
    let (problem, remedy) = match checked.readings.access.roles.get(role) {
        None => {
            checked.add_unread(check, route.region, role, "it was not read");
            return false;
        }
        Some(Reading::Unread(error)) => {
            checked.add_unread(check, route.region, role, error);
            return false;
        }
        Some(Reading::Read(None)) => (
            "the role of the replication configuration does not exist",
            format!(
                "aws iam create-role --role-name {name} --assume-role-policy-document {trust} # then run the \
                 command again for the permissions that it needs"
            ),
        ),
        Some(Reading::Read(Some(policy))) if policy.lets_assume(S3) => return true,
        Some(Reading::Read(Some(_))) => (
            "the trust policy of the role does not let S3 assume it",
            format!(
                "aws iam update-assume-role-policy --role-name {name} --policy-document {trust} # replaces \
                 the trust policy"
            ),
        ),
    };
    let texts = Texts {
        problem: problem.to_owned(),
        effect: NOTHING_REPLICATED,
        remedy,
    };
    let severity = severity_of(route.direction == BucketDirection::Forward);
    checked.add(severity, check, route.region, role, texts);
    false
}

fn role_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn judge_role(checked: &mut Checked<'_>, route: &Route<'_>, role: &str, found: &mut RoleFindings) {
    for need in needs_of(checked, route, role) {
        let mut results = Vec::new();
        for call in &need.variants {
            match checked.readings.access.simulations.get(call) {
                Some(Reading::Read(Some(decisions))) => results.push(decisions),
                Some(Reading::Unread(error)) => {
                    found.unread.insert(error.clone());
                }
                // A role that vanished since it was read is found the next time.
                Some(Reading::Read(None)) => {}
                None => found.unmade += 1,
            }
        }
        let Some(call) = need.variants.first() else {
            continue;
        };
        // What one of the contexts allows is allowed.
        let decision_on = |action: &String| {
            let mut decisions = results.iter().filter_map(|decisions| decisions.get(action));
            let first = decisions.next().copied()?;
            let is_allowed = |decision: &SimulatedDecision| *decision == SimulatedDecision::Allowed;
            let allowed = is_allowed(&first) || decisions.any(is_allowed);
            Some(if allowed {
                SimulatedDecision::Allowed
            } else {
                first
            })
        };
        if results.len() < need.variants.len()
            && !call
                .actions
                .iter()
                .all(|action| decision_on(action) == Some(SimulatedDecision::Allowed))
        {
            continue;
        }
        for action in &call.actions {
            let Some(decision) = decision_on(action) else {
                continue;
            };
            let is_denied = match need.key {
                None => decision != SimulatedDecision::Allowed,
                Some((region, key)) => {
                    is_key_denied(checked, route, (role, region, key), action, decision)
                }
            };
            if is_denied {
                found.denied.insert((call.resource.clone(), action.clone()));
                found.is_explicit |= decision == SimulatedDecision::ExplicitDeny;
            }
        }
    }
}

/// Whether the policies of IAM keep a role from using a key. What the policy of the key says of it is
/// reported here.
fn is_key_denied(
    checked: &mut Checked<'_>,
    route: &Route<'_>,
    (role, region, key): (&str, &RegionReadings, &str),
    action: &str,
    decision: SimulatedDecision,
) -> bool {
    let Some(Reading::Read(found)) = region.keys.get(key) else {
        return false;
    };
    let account = &checked.policy.primary(checked.epoch).account;
    let arn = &found.arn;
    let problem = match &found.policy {
        Reading::Unread(error) => {
            checked.add_unread(Check::KeyPolicy, &region.region, arn, error);
            return decision == SimulatedDecision::ExplicitDeny;
        }
        Reading::Read(policy) => match policy.key_access(role, account, action) {
            KeyAccess::Named => return decision == SimulatedDecision::ExplicitDeny,
            KeyAccess::Delegated => return decision != SimulatedDecision::Allowed,
            KeyAccess::NotAllowed => "neither names the role nor lets the policies of IAM decide",
            KeyAccess::Denied => "denies the role",
        },
    };
    let name = &region.region;
    let texts = Texts {
        problem: format!("the key policy {problem}: {action} by {role}"),
        effect: "Replication of objects under this key probably fails: the other Region lacks them.",
        remedy: format!(
            "aws kms get-key-policy --region {name} --key-id {arn} --policy-name default --query Policy \
             --output text > key-policy.json # allow {action} to {role}; then: aws kms put-key-policy \
             --region {name} --key-id {arn} --policy-name default --policy file://key-policy.json"
        ),
    };
    let severity = severity_of(route.direction == BucketDirection::Forward);
    checked.add(severity, Check::KeyPolicy, name, arn, texts);
    false
}

/// What the role of a route's source must be allowed to do: its actions by resource.
fn needs_of<'a>(checked: &Checked<'a>, route: &Route<'a>, role: &str) -> Vec<Need<'a>> {
    let rules = route.bucket.rules.read().map_or(&[][..], Vec::as_slice);
    let rules = deciding_rules(checked, route, rules);
    if rules.is_empty() {
        return Vec::new();
    }
    let partition = checked.policy.primary(checked.epoch).partition();
    let (from, to) = (route.from.bucket(), route.to.bucket());
    let bucket = |name: &str| format!("arn:{partition}:s3:::{name}");
    let objects = |name: &str| format!("{}/{}{ANY_OBJECT}", bucket(name), route.from.prefix());
    let mut on_destination = vec!["s3:ReplicateObject", "s3:ReplicateTags"];
    if rules.iter().any(|rule| rule.replicates_delete_markers) {
        on_destination.push("s3:ReplicateDelete");
    }
    let need = |actions: &[&str], resource: String| Need {
        variants: vec![call(role, actions, resource, BTreeMap::new())],
        key: None,
    };
    let mut needs = vec![
        need(
            &["s3:GetReplicationConfiguration", "s3:ListBucket"],
            bucket(from),
        ),
        need(
            &[
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionTagging",
            ],
            objects(from),
        ),
        need(&on_destination, objects(to)),
    ];
    let (source, destination) = match route.direction {
        BucketDirection::Forward => (&checked.readings.primary, &checked.readings.standby),
        BucketDirection::Reverse => (&checked.readings.standby, &checked.readings.primary),
    };
    if !rules.iter().any(|rule| rule.replicates_kms_objects) {
        return needs;
    }
    for key in source_keys(checked, route).into_iter().take(MAX_KEYS) {
        needs.extend(key_need(
            role,
            "kms:Decrypt",
            (source, key),
            partition,
            (&bucket(from), &objects(from)),
        ));
    }
    let replica_keys: BTreeSet<&str> = rules
        .iter()
        .filter_map(|rule| rule.replica_key.as_deref())
        .collect();
    for key in replica_keys {
        needs.extend(key_need(
            role,
            "kms:Encrypt",
            (destination, key),
            partition,
            (&bucket(to), &objects(to)),
        ));
    }
    needs
}

/// The keys of objects in the source of a route: of those that were looked at, and the default one.
fn source_keys<'a>(checked: &Checked<'a>, route: &Route<'a>) -> BTreeSet<&'a str> {
    let samples = super::encryption::objects_in(checked, route);
    let encryptions = samples.into_iter().map(|object| &object.encryption);
    let default = route.bucket.encryption.read();
    let keys = encryptions
        .chain(default)
        .filter_map(|encryption| match encryption {
            ObjectEncryption::Kms(Some(key)) => Some(key.as_str()),
            ObjectEncryption::Kms(None) | ObjectEncryption::S3 => None,
        });
    keys.collect()
}

/// The use of a key; `None` if the key could not be read, or is in another Region, which is a finding of
/// its own. The encryption context is the object, or the bucket if S3 uses a Bucket Key.
fn key_need<'a>(
    role: &str,
    action: &str,
    (region, key): (&'a RegionReadings, &'a str),
    partition: AwsPartition,
    (bucket, object): (&str, &str),
) -> Option<Need<'a>> {
    let Some(Reading::Read(found)) = region.keys.get(key) else {
        return None;
    };
    let suffix = match partition {
        AwsPartition::AwsCn => "amazonaws.com.cn",
        AwsPartition::Aws
        | AwsPartition::AwsUsGov
        | AwsPartition::AwsEusc
        | AwsPartition::AwsIso
        | AwsPartition::AwsIsoB
        | AwsPartition::AwsIsoE
        | AwsPartition::AwsIsoF => "amazonaws.com",
    };
    let variant = |context: &str| {
        let context = BTreeMap::from([
            (
                "kms:ViaService".to_owned(),
                format!("s3.{}.{suffix}", region.region),
            ),
            (
                "kms:EncryptionContext:aws:s3:arn".to_owned(),
                context.to_owned(),
            ),
        ]);
        call(role, &[action], found.arn.clone(), context)
    };
    Some(Need {
        variants: vec![variant(object), variant(bucket)],
        key: Some((region, key)),
    })
}

fn call(
    principal: &str,
    actions: &[&str],
    resource: String,
    context: BTreeMap<String, String>,
) -> SimulatedCall {
    SimulatedCall {
        principal: principal.to_owned(),
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
        resource,
        context,
    }
}

fn report(
    checked: &mut Checked<'_>,
    role: &str,
    is_forward: bool,
    region: &str,
    findings: RoleFindings,
) {
    let check = Check::ReplicationRole;
    if let Some(error) = findings.unread.first() {
        checked.add_unread(check, region, role, error);
    }
    if findings.unmade > 0 {
        let texts = Texts {
            problem: format!(
                "{} of the role {} not simulated: there are too many",
                counted(findings.unmade, "call"),
                one_or_many(findings.unmade, "was", "were")
            ),
            effect: "Whether the role may replicate all locations is not known.",
            remedy: "The canary object of the location, or S3 Inventory, shows whether S3 replicates it."
                .to_owned(),
        };
        checked.add(ReadinessSeverity::Note, check, region, role, texts);
    }
    if findings.denied.is_empty() {
        return;
    }
    let listed: Vec<String> = findings
        .denied
        .iter()
        .map(|(resource, action)| format!("{action} on {resource}"))
        .collect();
    let (problem, remedy) = match findings.is_explicit {
        true => (
            "a statement of its policies, or its permissions boundary, denies",
            iam_remedy::denying_policies(role),
        ),
        false => (
            "its policies do not allow",
            iam_remedy::put_policy(role, "s3-replication", &findings.denied),
        ),
    };
    let texts = Texts {
        problem: format!("by simulation, {problem}: {}", shorten(&listed)),
        effect: "S3 probably fails to replicate objects with this role: they get the status FAILED.",
        remedy,
    };
    checked.add(severity_of(is_forward), check, region, role, texts);
}
