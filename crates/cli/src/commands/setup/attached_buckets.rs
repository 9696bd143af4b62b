//! `twinlake setup storage --attach`: adds S3 replication to buckets that exist.

use super::StorageArgs;
use crate::files::read_policy;
use crate::stack_names::is_queue_of;
use crate::{CliError, CommandOutcome, output};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use twinlake_aws::{AwsInfrastructure, Clients, S3BucketSetup, list_queue_urls};
use twinlake_core::readiness::{BucketReadings, S3EventTarget};
use twinlake_core::replication_setup::{BucketChange, BucketSetup, SetupRequest, buckets_of, plan};
use twinlake_core::topology::{BySite, Site};
use twinlake_core::{Policy, render};
use twinlake_engine::ports::ReadInfrastructure as _;

pub(super) async fn run(args: &StorageArgs, policy: &Path) -> Result<CommandOutcome, CliError> {
    let policy = read_policy(policy)?;
    let request = SetupRequest {
        buckets: args.attach.iter().cloned().collect(),
        replication_role: args.replication_role.clone(),
        replica_keys: args.replica_keys.iter().cloned().collect(),
        queues: BySite {
            a: find_queue(&policy.sites.a, &args.stack).await?,
            b: find_queue(&policy.sites.b, &args.stack).await?,
        },
    };
    check_buckets(&policy, &request.buckets)?;
    let setups = plan(&policy, &read_buckets(&policy).await, &request);
    output::print(&describe(&policy, &setups));
    let has_problems = setups.iter().any(|setup| !setup.problems.is_empty());
    if setups.iter().all(|setup| setup.changes.is_empty()) {
        return Ok(CommandOutcome::done_if(!has_problems));
    }
    if args.dry_run || (!args.yes && !output::confirm("Make these changes?")?) {
        return Ok(CommandOutcome::AttentionNeeded);
    }
    // A put replaces what is there, so nothing may have changed since the plan was shown.
    if plan(&policy, &read_buckets(&policy).await, &request) != setups {
        let problem = "the buckets have changed since the changes were shown; repeat the command";
        return Err(CliError::Usage(problem.to_owned()));
    }
    apply(&policy, &setups, args).await?;
    output::print(
        "Done. S3 replicates what is written from now on; S3 Batch Replication copies older objects.",
    );
    Ok(CommandOutcome::done_if(!has_problems))
}

fn check_buckets(policy: &Policy, requested: &BTreeSet<String>) -> Result<(), CliError> {
    let known = buckets_of(policy);
    let is_unknown = |name: &&String| !known.a.contains(*name) && !known.b.contains(*name);
    match requested.iter().find(is_unknown) {
        None => Ok(()),
        Some(name) => Err(CliError::Usage(format!(
            "the policy has no [[location]] pair that S3 copies with the bucket {name:?}"
        ))),
    }
}

async fn read_buckets(policy: &Policy) -> BySite<BTreeMap<String, BucketReadings>> {
    let names = buckets_of(policy);
    let mut readings = BySite::default();
    for (id, site) in policy.sites.iter() {
        let infrastructure = AwsInfrastructure::new(&Clients::connect(&site.region).await);
        let found: &mut BTreeMap<_, _> = readings.get_mut(id);
        for name in names.get(id) {
            found.insert(name.clone(), infrastructure.bucket(name).await);
        }
    }
    readings
}

/// The ARN of the queue for replication notifications of the stack in one Region, if it is there.
pub(super) async fn find_queue(site: &Site, stack: &str) -> Result<Option<String>, CliError> {
    let region = &site.region;
    for url in list_queue_urls(region, stack).await? {
        if is_queue_of(stack, region, S3EventTarget::QUEUE, &url) {
            let name = url.rsplit('/').next().unwrap_or_default();
            let (partition, account) = (site.partition(), &site.account);
            return Ok(Some(format!(
                "arn:{partition}:sqs:{region}:{account}:{name}"
            )));
        }
    }
    Ok(None)
}

/// The changes to each bucket, and why something is left as it is.
fn describe(policy: &Policy, setups: &[BucketSetup]) -> String {
    let mut text = String::new();
    for setup in setups {
        let region = &policy.sites.get(setup.site).region;
        let _ = writeln!(text, "{} ({region}):", render::escape(&setup.bucket));
        if setup.changes.is_empty() && setup.problems.is_empty() {
            let _ = writeln!(text, "  no changes are needed");
        }
        for change in &setup.changes {
            let _ = writeln!(text, "  would {}", render::escape(&change.describe()));
        }
        for problem in &setup.problems {
            let _ = writeln!(text, "  not added: {}", render::escape(problem));
        }
    }
    text
}

/// Makes the changes: versioning of all buckets first, because a rule requires it of both.
async fn apply(
    policy: &Policy,
    setups: &[BucketSetup],
    args: &StorageArgs,
) -> Result<(), CliError> {
    let buckets = BySite {
        a: S3BucketSetup::new(&Clients::connect(&policy.sites.a.region).await),
        b: S3BucketSetup::new(&Clients::connect(&policy.sites.b.region).await),
    };
    for setup in setups {
        if setup.changes.contains(&BucketChange::EnableVersioning) {
            let region: &S3BucketSetup = buckets.get(setup.site);
            region.enable_versioning(&setup.bucket).await?;
        }
    }
    for setup in setups {
        let region = buckets.get(setup.site);
        let mut rules = Vec::new();
        let mut queues = Vec::new();
        for change in &setup.changes {
            match change {
                BucketChange::EnableVersioning => {}
                BucketChange::AddRule(rule) => rules.push(rule.clone()),
                BucketChange::AddNotification(queue) => queues.push(queue),
            }
        }
        if !rules.is_empty() {
            let role = args.replication_role.as_deref();
            let time_control = args.replication_time_control;
            region
                .add_rules(&setup.bucket, &rules, role, time_control)
                .await?;
        }
        for queue in queues {
            region.add_notification(&setup.bucket, queue).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::topology::SiteId;

    #[test]
    fn untrusted_text_is_escaped() {
        let policy = Policy::parse(
            "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n",
        )
        .unwrap();
        let text = describe(
            &policy,
            &[BucketSetup {
                site: SiteId::A,
                bucket: "lake\u{1b}".to_owned(),
                changes: vec![BucketChange::AddNotification("q\u{1b}".to_owned())],
                problems: vec!["The rule \u{1b}.".to_owned()],
            }],
        );
        assert!(!text.contains('\u{1b}'));
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
