//! `twinlake bootstrap`: gives Twinlake's roles their Lake Formation rights, once per deployment,
//! with the rights of the operator.

use crate::common_options::Common;
use crate::connect::known_epoch;
use crate::files::{read_json, read_policy, write_json};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use twinlake_aws::{AwsRegion, Clients};
use twinlake_core::topology::Site;
use twinlake_core::{Principal, render};
use twinlake_engine::lake_access::{
    AccessChanges, AccessRequirements, apply_changes, required_changes, revert_changes,
};

/// Arguments of `twinlake bootstrap`.
#[derive(Debug, Clone, Args)]
pub struct BootstrapArgs {
    /// A role of Twinlake, from the output `Roles` of either stack; repeatable
    #[arg(long = "twinlake-role", value_name = "ARN")]
    pub roles: Vec<String>,
    /// Show the changes without making them
    #[arg(long)]
    pub dry_run: bool,
    /// Revert the changes in the record
    #[arg(long)]
    pub undo: bool,
    /// The file in which the changes are recorded
    #[arg(long, value_name = "FILE", default_value = "twinlake-bootstrap.json")]
    pub record: PathBuf,
}

/// The changes made in each Region, by Region name: enough to revert them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct BootstrapRecord {
    regions: BTreeMap<String, AccessChanges>,
}

/// Makes the roles data lake administrators in both Regions, clears the default permissions of the
/// standby, and grants the roles SELECT on every table of the primary, so that Lake Formation
/// hides no columns from them.
///
/// # Errors
/// A call failed, or the record cannot be read or written.
pub(crate) async fn run(common: &Common, args: &BootstrapArgs) -> Result<CommandOutcome, CliError> {
    let Some(file) = &common.policy else {
        let problem = "no policy is given; add --policy FILE, which names the two Regions";
        return Err(CliError::Usage(problem.to_owned()));
    };
    let policy = read_policy(file)?;
    let epoch = known_epoch(common, &policy).await?;
    let (primary, standby) = (policy.primary(epoch), policy.standby(epoch));
    let mut record = match args.record.exists() {
        true => read_json(&args.record)?,
        false => BootstrapRecord::default(),
    };
    if args.undo {
        return undo(&[primary, standby], args, record).await;
    }
    if args.roles.is_empty() {
        let problem = "no role is given; add --twinlake-role ARN for each role in the output \
                       `Roles` of both stacks";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let roles: BTreeSet<Principal> = args.roles.iter().cloned().map(Principal).collect();
    let mut text = String::new();
    let mut outcome = CommandOutcome::Done;
    for (site, is_primary) in [(primary, true), (standby, false)] {
        let region = AwsRegion::new(&Clients::connect(&site.region).await, &site.account);
        let requirements = AccessRequirements {
            roles: roles.clone(),
            closes_defaults: !is_primary,
            readers: match is_primary {
                true => roles.clone(),
                false => BTreeSet::new(),
            },
        };
        let changes = required_changes(&region, &requirements).await?;
        describe_changes(&mut text, site, &changes, args.dry_run);
        if changes.is_empty() {
            continue;
        }
        if args.dry_run {
            outcome = CommandOutcome::AttentionNeeded;
            continue;
        }
        // Recorded before they are made, so that changes made in part can be reverted, too.
        let recorded = record.regions.entry(site.region.clone()).or_default();
        recorded.merge(changes.clone());
        write_json(&args.record, &record)?;
        apply_changes(&region, &changes).await?;
    }
    output::print(text.trim_end());
    Ok(outcome)
}

async fn undo(
    sites: &[&Site],
    args: &BootstrapArgs,
    mut record: BootstrapRecord,
) -> Result<CommandOutcome, CliError> {
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut text = String::new();
    for site in sites {
        let Some(changes) = record.regions.get(&site.region).cloned() else {
            let _ = writeln!(text, "{}: no changes are recorded", site.region);
            continue;
        };
        let _ = writeln!(
            text,
            "{}: {verb} {} administrators and {} grants{}",
            site.region,
            changes.administrators.len(),
            changes.grants.len(),
            match (
                changes.closed_databases || changes.closed_tables,
                args.dry_run
            ) {
                (false, _) => "",
                (true, true) => ", and would restore the default permissions",
                (true, false) => ", and restored the default permissions",
            }
        );
        if args.dry_run {
            continue;
        }
        let region = AwsRegion::new(&Clients::connect(&site.region).await, &site.account);
        revert_changes(&region, &changes).await?;
        record.regions.remove(&site.region);
        write_json(&args.record, &record)?;
    }
    output::print(text.trim_end());
    Ok(CommandOutcome::Done)
}

fn describe_changes(text: &mut String, site: &Site, changes: &AccessChanges, is_dry_run: bool) {
    let verb = |would: &'static str, did: &'static str| if is_dry_run { would } else { did };
    let _ = writeln!(text, "{}:", site.region);
    if changes.is_empty() {
        let _ = writeln!(text, "  no changes are needed");
    }
    for role in &changes.administrators {
        let role = render::escape(&role.0);
        let verb = verb("would make", "made");
        let _ = writeln!(text, "  {verb} {role} a data lake administrator");
    }
    let verb_clear = verb("would clear", "cleared");
    if changes.closed_databases {
        let _ = writeln!(text, "  {verb_clear} CreateDatabaseDefaultPermissions");
    }
    if changes.closed_tables {
        let _ = writeln!(text, "  {verb_clear} CreateTableDefaultPermissions");
    }
    for grant in &changes.grants {
        let permissions: Vec<&str> = grant.permissions.iter().map(String::as_str).collect();
        let permissions = permissions.join(", ");
        let role = render::escape(&grant.principal.0);
        let database = render::escape(grant.database.as_str());
        let verb = verb("would grant", "granted");
        let _ = writeln!(
            text,
            "  {verb} {permissions} on all tables of {database} to {role}"
        );
    }
}
