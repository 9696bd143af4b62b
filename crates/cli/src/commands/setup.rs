//! `twinlake setup`: makes what Twinlake needs beside itself, with the rights of the operator.

mod attached_buckets;
mod audit;
mod setup_run;
mod storage;

use crate::{CliError, CommandOutcome};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use twinlake_core::lake_setup::is_setup_name;
use twinlake_core::topology::is_region_name;

/// What is set up.
#[derive(Debug, Clone, Subcommand)]
pub enum SetupCommand {
    /// Make the storage of a lake in two Regions, or add S3 replication to buckets that exist
    ///
    /// With --primary and --standby: makes in both Regions a KMS key, a bucket that replicates to the
    /// other Region, the roles of the replication and of the registered locations, these locations, and
    /// an Athena workgroup, as stacks/storage.yaml does. What exists and is equal stays; what exists and
    /// differs stays too, and the command says so. It may be repeated, and continues after a break.
    ///
    /// With --attach: for each bucket, and each location pair of the policy that it is in, turns on
    /// versioning, adds a replication rule to the bucket of the other Region, and sends S3's
    /// replication notifications to the queue of Twinlake's stack. Attach the buckets of both Regions
    /// to replicate both ways. Rules and notifications that are there stay, and what contradicts them
    /// is not added; the command says why.
    ///
    /// Shows the changes and asks for confirmation. Exits with 2 if --dry-run shows a change, if you do
    /// not confirm, or if something was not added.
    Storage(StorageArgs),
    /// Make a trail in each of two Regions that has none that logs all management events
    ///
    /// A trail of one Region with log validation, its bucket and its KMS key, as stacks/audit.yaml
    /// makes them. A Region in which another trail logs all management events gets none: CloudTrail
    /// charges for each further copy. It may be repeated, and continues after a break. Shows the changes
    /// and asks for confirmation. Exits with 2 if --dry-run shows a change, if you do not confirm, or if
    /// something that exists differs.
    Audit(AuditArgs),
}

/// Arguments of `twinlake setup storage`.
#[derive(Debug, Clone, Args)]
pub struct StorageArgs {
    /// Make the storage, with this Region as the primary
    #[arg(
        long,
        value_name = "REGION",
        required_unless_present = "attach",
        conflicts_with = "attach",
        requires = "standby"
    )]
    pub primary: Option<String>,
    /// Make the storage, with this Region as the standby
    #[arg(long, value_name = "REGION", requires = "primary")]
    pub standby: Option<String>,
    /// The beginning of the names of the buckets and roles, and the name of the workgroup
    #[arg(
        long,
        value_name = "NAME",
        default_value = "lake",
        conflicts_with = "attach"
    )]
    pub lake_name: String,
    /// Keep overwritten and deleted objects of the lake for this many days
    #[arg(long, value_name = "DAYS", default_value_t = 90, conflicts_with = "attach",
          value_parser = clap::value_parser!(i32).range(1..))]
    pub noncurrent_version_days: i32,
    /// Keep results of Athena queries for this many days
    #[arg(long, value_name = "DAYS", default_value_t = 30, conflicts_with = "attach",
          value_parser = clap::value_parser!(i32).range(1..))]
    pub result_days: i32,
    /// With --attach: the policy file, which names the two Regions and the location pairs
    #[arg(long, value_name = "FILE", requires = "attach")]
    pub policy: Option<PathBuf>,
    /// A bucket that exists and may be changed; repeatable
    #[arg(long, value_name = "BUCKET", requires = "policy")]
    pub attach: Vec<String>,
    /// With --attach: the role that S3 replicates with, for buckets without a replication configuration;
    /// the others keep theirs
    #[arg(long, value_name = "ARN", requires = "attach")]
    pub replication_role: Option<String>,
    /// With --attach: a KMS key for replicas, one for each Region; repeatable [default: the default key of
    /// the destination bucket]
    #[arg(long = "replica-key", value_name = "ARN", requires = "attach")]
    pub replica_keys: Vec<String>,
    /// Use S3 Replication Time Control in added rules, which S3 charges for by the gigabyte
    #[arg(long)]
    pub replication_time_control: bool,
    /// The name of the stacks whose queue receives notifications: those named NAME or NAME-REGION are
    /// found
    #[arg(long, value_name = "NAME", default_value = "twinlake")]
    pub stack: String,
    /// Show the changes without making them
    #[arg(long)]
    pub dry_run: bool,
    /// Make the changes without asking for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `twinlake setup audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// One of the two Regions
    #[arg(long, value_name = "REGION")]
    pub primary: String,
    /// The other Region
    #[arg(long, value_name = "REGION")]
    pub standby: String,
    /// A bucket that exists and takes the log files of the trail of its Region; repeatable [default: a
    /// bucket is made]
    ///
    /// Two statements are added to its policy. The rest of its configuration stays.
    #[arg(long, value_name = "BUCKET")]
    pub attach: Vec<String>,
    /// The name of the trails, and the beginning of the names of their buckets
    #[arg(long, value_name = "NAME", default_value = "twinlake-audit")]
    pub trail_name: String,
    /// Keep log files for this many days, in buckets that are made
    #[arg(long, value_name = "DAYS", default_value_t = 400,
          value_parser = clap::value_parser!(i32).range(1..))]
    pub log_days: i32,
    /// What a trail that cannot be read counts as: one that logs all management events, or none
    #[arg(long, value_name = "CHOICE")]
    pub unreadable_trail: Option<UnreadableTrail>,
    /// Show the changes without making them
    #[arg(long)]
    pub dry_run: bool,
    /// Make the changes without asking for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// What a trail that cannot be read counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnreadableTrail {
    /// It logs all management events: no trail is made.
    Accept,
    /// It does not: a trail is made.
    Ignore,
}

pub(crate) async fn run(command: &SetupCommand) -> Result<CommandOutcome, CliError> {
    match command {
        SetupCommand::Storage(args) => match (&args.policy, &args.primary, &args.standby) {
            (Some(policy), _, _) => attached_buckets::run(args, policy).await,
            (None, Some(primary), Some(standby)) => {
                check_names([primary, standby], &args.lake_name, storage::MAX_NAME_CHARS)?;
                storage::run(args, [primary, standby]).await
            }
            (None, _, _) => Err(CliError::Usage(
                "name the Regions with --primary and --standby, or the buckets with --attach"
                    .to_owned(),
            )),
        },
        SetupCommand::Audit(args) => {
            let regions = [args.primary.as_str(), args.standby.as_str()];
            check_names(regions, &args.trail_name, audit::MAX_NAME_CHARS)?;
            audit::run(args, regions).await
        }
    }
}

/// Checks the names before any call.
fn check_names(regions: [&str; 2], name: &str, max_chars: usize) -> Result<(), CliError> {
    for region in regions {
        if !is_region_name(region) {
            let problem = format!("{region} is no Region; name one such as us-east-1");
            return Err(CliError::Usage(problem));
        }
    }
    let [primary, standby] = regions;
    if primary == standby {
        let problem = "--primary and --standby name the same Region; name two";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if !is_setup_name(name, max_chars) {
        return Err(CliError::Usage(format!(
            "the name {name:?} is not possible: give 3 to {max_chars} small letters, digits and hyphens, with a \
             letter first and no hyphen last"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_names_are_refused_before_any_call() {
        let check = |regions, name| check_names(regions, name, 16);
        assert!(check(["us-east-1", "ap-south-1"], "lake").is_ok());
        for (regions, name, problem) in [
            (["us-east-1", "us-east-1"], "lake", "same Region"),
            (["us-east-1", "mars"], "lake", "mars"),
            (["us-east-1", "ap-south-1"], "Lake", "small letters"),
        ] {
            let error = check(regions, name).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
