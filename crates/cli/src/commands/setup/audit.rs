//! `twinlake setup audit`: makes a trail in each Region that has no suitable one, as `stacks/audit.yaml` does.

use super::setup_run::{SetupMode, SetupRun};
use super::storage::{KeyNames, account_of_caller, ensure_key, ensure_private_bucket};
use super::{AuditArgs, UnreadableTrail};
use crate::{CliError, CommandOutcome, output};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use twinlake_aws::{AwsInfrastructure, Clients, LakeSetup, S3BucketSetup};
use twinlake_core::lake_setup::{
    AuditTrail, BucketEncryption, SetupState, TrailNeed, attached_bucket_policy,
    logging_of_existing, trail_need,
};
use twinlake_core::render::{counted, escape};
use twinlake_engine::ports::ReadInfrastructure as _;

/// The longest name of a trail: the name of its bucket holds the account and the Region, too.
pub(super) const MAX_NAME_CHARS: usize = 28;

const OTHER_NAME: &str = "Choose another name with --trail-name.";

/// The trail of one Region, and what reads and makes it.
struct RegionTrail {
    trail: AuditTrail,
    setup: LakeSetup,
    buckets: S3BucketSetup,
    infrastructure: AwsInfrastructure,
    /// The bucket that takes the log files, if it is not one of the trail's own.
    attached: Option<String>,
}

impl RegionTrail {
    async fn connect(args: &AuditArgs, account: &str, region: &str) -> Self {
        let clients = Clients::connect(region).await;
        Self {
            trail: AuditTrail {
                name: args.trail_name.clone(),
                account: account.to_owned(),
                region: region.to_owned(),
            },
            setup: LakeSetup::new(&clients, account),
            buckets: S3BucketSetup::new(&clients),
            infrastructure: AwsInfrastructure::new(&clients),
            attached: None,
        }
    }

    /// What stands in the place of an own trail: another one that logs all management events of the Region, or that
    /// counts as such.
    async fn suitable_trail(&self, args: &AuditArgs) -> Result<Option<String>, CliError> {
        let trails = self.infrastructure.trails().await?;
        let unread = match trail_need(&trails, &self.trail.arn()) {
            TrailNeed::Own => return Ok(None),
            TrailNeed::Suitable(arn) => {
                return Ok(Some(format!("the trail {arn} logs all management events")));
            }
            TrailNeed::Unknown(unread) => unread,
        };
        match args.unreadable_trail {
            Some(UnreadableTrail::Ignore) => Ok(None),
            Some(UnreadableTrail::Accept) => {
                let trails: Vec<String> = unread.into_keys().collect();
                let trails = trails.join(", ");
                Ok(Some(format!(
                    "not readable, and accepted as one that logs all management events: {trails}"
                )))
            }
            None => Err(CliError::Usage(unreadable(&self.trail.region, &unread))),
        }
    }

    async fn ensure_trail(&self, run: &mut SetupRun, args: &AuditArgs) -> Result<(), CliError> {
        let (trail, setup) = (&self.trail, &self.setup);
        let names = KeyNames {
            alias: trail.key_alias(),
            description: trail.key_description(),
            policy: trail.key_policy(),
        };
        let key = ensure_key(run, setup, &names, OTHER_NAME).await?;
        let bucket = match &self.attached {
            Some(bucket) => {
                self.ensure_delivery(run, bucket).await?;
                bucket.clone()
            }
            None => self.ensure_bucket(run, args).await?,
        };
        let name = &trail.name;
        let state = setup.trail(name, &bucket, &key).await;
        let is_there = matches!(state, Ok(SetupState::Equal));
        run.ensure_or_fail(
            &format!("create the trail {name}, with log validation"),
            state,
            async || setup.create_trail(name, &bucket, &key).await,
            OTHER_NAME,
        )
        .await?;
        let logging = match is_there {
            true => {
                let selectors = setup.event_selectors(name).await?;
                logging_of_existing(selectors, setup.logging(name).await?)
            }
            false => SetupState::Missing,
        };
        run.ensure("log all management events", Ok(logging), async || {
            // Nobody else has chosen what a trail selects that this run has made.
            if !is_there {
                setup.select_management_events(name).await?;
            }
            setup.start_logging(name).await
        })
        .await
    }

    /// The trail's own bucket. Returns its name.
    async fn ensure_bucket(
        &self,
        run: &mut SetupRun,
        args: &AuditArgs,
    ) -> Result<String, CliError> {
        let (trail, setup) = (&self.trail, &self.setup);
        let bucket = trail.bucket();
        ensure_private_bucket(run, setup, &self.buckets, &bucket, OTHER_NAME).await?;
        // CloudTrail itself encrypts with the key that the trail names.
        run.ensure(
            &format!("encrypt new objects of {bucket} with keys of S3"),
            setup.encryption(&bucket, &BucketEncryption::S3).await,
            async || Ok(()),
        )
        .await?;
        let rules = trail.lifecycle(args.log_days);
        run.ensure(
            &format!(
                "delete the log files in {bucket} after {}",
                counted(args.log_days, "day")
            ),
            setup.lifecycle(&bucket, &rules).await,
            async || setup.put_lifecycle(&bucket, &rules).await,
        )
        .await?;
        let policy = trail.bucket_policy();
        run.ensure(
            &format!("set the policy of {bucket}: TLS only, and CloudTrail may write"),
            setup.bucket_policy_state(&bucket, &policy).await,
            async || setup.put_bucket_policy(&bucket, &policy).await,
        )
        .await?;
        Ok(bucket)
    }

    /// Lets CloudTrail write to a bucket that exists.
    async fn ensure_delivery(&self, run: &mut SetupRun, bucket: &str) -> Result<(), CliError> {
        let found = self.setup.bucket_policy_text(bucket).await?;
        let policy = attached_bucket_policy(found.as_deref(), &self.trail, bucket);
        let policy = policy.map_err(|problem| CliError::Usage(format!("{bucket}: {problem}")))?;
        let (state, policy) = match policy {
            None => (SetupState::Equal, serde_json::Value::Null),
            Some(policy) => (SetupState::Missing, policy),
        };
        run.ensure(
            &format!("add two statements to the policy of {bucket}: CloudTrail may write"),
            Ok(state),
            async || self.setup.put_bucket_policy(bucket, &policy).await,
        )
        .await
    }
}

fn unreadable(region: &str, trails: &BTreeMap<String, String>) -> String {
    let mut text = format!(
        "{region}: it is unknown whether these trails log all management events, read-only ones too:"
    );
    for (arn, error) in trails {
        let _ = write!(text, "\n{arn}: {error}");
    }
    text.push_str(
        "\nAsk their owner. Then add --unreadable-trail accept if one does, or --unreadable-trail ignore to \
         make a trail of this account, which CloudTrail charges for if it is a further copy.",
    );
    text
}

pub(super) async fn run(args: &AuditArgs, regions: [&str; 2]) -> Result<CommandOutcome, CliError> {
    let [primary, standby] = regions;
    let account = account_of_caller(primary).await?;
    let mut trails = [
        RegionTrail::connect(args, &account, primary).await,
        RegionTrail::connect(args, &account, standby).await,
    ];
    for bucket in &args.attach {
        attach(&mut trails, bucket).await?;
    }
    // Both Regions are examined before one is changed.
    let mut needed = Vec::new();
    for trail in &trails {
        match trail.suitable_trail(args).await? {
            None => needed.push(trail),
            Some(other) => output::print(&format!(
                "{}: {}. No trail is made.",
                trail.trail.region,
                escape(&other)
            )),
        }
    }
    let shown = walk(&needed, args, SetupMode::Show).await?;
    if shown.missing == 0 {
        output::print("No changes are needed.");
        return Ok(CommandOutcome::done_if(!shown.has_differences));
    }
    if args.dry_run || (!args.yes && !output::confirm("Make these changes?")?) {
        return Ok(CommandOutcome::AttentionNeeded);
    }
    let made = walk(&needed, args, SetupMode::Make).await?;
    output::print(match made.has_differences {
        false => "Done. The trails log from now on.",
        true => {
            "What is listed as not done differs from what Twinlake makes: nothing of it was changed."
        }
    });
    Ok(CommandOutcome::done_if(!made.has_differences))
}

async fn walk(
    trails: &[&RegionTrail],
    args: &AuditArgs,
    mode: SetupMode,
) -> Result<SetupRun, CliError> {
    let mut run = SetupRun::new(mode);
    for trail in trails {
        run.enter(&trail.trail.region);
        trail.ensure_trail(&mut run, args).await?;
    }
    Ok(run)
}

/// Gives a bucket to the trail of its Region.
async fn attach(trails: &mut [RegionTrail; 2], bucket: &str) -> Result<(), CliError> {
    let mut answers = Vec::new();
    for trail in trails {
        match trail.setup.bucket(bucket).await? {
            SetupState::Equal if trail.attached.is_none() => {
                trail.attached = Some(bucket.to_owned());
                return Ok(());
            }
            SetupState::Equal => {
                answers.push("its Region has an attached bucket already".to_owned());
            }
            SetupState::Missing => answers.push("there is no such bucket".to_owned()),
            SetupState::Different(difference) => answers.push(difference),
        }
    }
    answers.dedup();
    let answers = answers.join("; ");
    Err(CliError::Usage(format!(
        "the bucket {bucket} cannot be attached: {answers}. Name buckets of this account in the two Regions, \
         one in each"
    )))
}
