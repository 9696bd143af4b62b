//! `twinlake uninstall`: takes Twinlake's roles out of the data lake administrators and restores the
//! default permissions, before the stacks are deleted.
//!
//! A role that is deleted while it is a data lake administrator makes every later change of the data
//! lake settings of that Region fail (D-8).

use crate::commands::bootstrap::{UndoArgs, no_record, read_record, undo};
use crate::common_options::DEFAULT_LEDGER_TABLE;
use crate::files::{read_policy, write_json};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use twinlake_aws::{AwsRegion, Clients};
use twinlake_core::arn::Arn;
use twinlake_core::topology::Site;
use twinlake_core::{Principal, render};
use twinlake_engine::ports::ReadRegion as _;

/// Arguments of `twinlake uninstall`.
#[derive(Debug, Clone, Args)]
pub struct UninstallArgs {
    /// The policy file, which names the two Regions
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// A role to take out of the data lake administrators although the record does not name it;
    /// repeatable
    #[arg(long = "twinlake-role", value_name = "ARN")]
    pub roles: Vec<String>,
    /// Show what would be reverted, without reverting it
    #[arg(long)]
    pub dry_run: bool,
    /// The file in which `twinlake bootstrap` recorded its changes
    #[arg(long, value_name = "FILE", default_value = "twinlake-bootstrap.json")]
    pub record: PathBuf,
    /// The name of the stacks, for the commands that are shown
    #[arg(long, value_name = "NAME", default_value = "twinlake")]
    pub stack: String,
    /// The DynamoDB table of the deployed ledger, which is not deleted
    #[arg(long, value_name = "TABLE", default_value = DEFAULT_LEDGER_TABLE)]
    pub ledger_table: String,
}

/// Reverts what `twinlake bootstrap` changed, then checks that no role of Twinlake is an administrator
/// any more, and says which stacks to delete.
///
/// # Errors
/// A call failed, there is no record and no role is named, or the record cannot be read or written.
pub(crate) async fn run(args: &UninstallArgs) -> Result<CommandOutcome, CliError> {
    let policy = read_policy(&args.policy)?;
    let sites = [&policy.sites.a, &policy.sites.b];
    let mut record = match read_record(&args.record)? {
        Some(record) => record,
        None if args.roles.is_empty() => return Err(no_record(&args.record)),
        None => crate::commands::bootstrap::BootstrapRecord::default(),
    };
    let named: BTreeSet<Principal> = args.roles.iter().cloned().map(Principal).collect();
    for site in sites {
        let present: BTreeSet<Principal> = administrators(site)
            .await?
            .intersection(&named)
            .cloned()
            .collect();
        if !present.is_empty() {
            let changes = record.regions.entry(site.region.clone()).or_default();
            changes.administrators.extend(present);
        }
    }
    if !args.dry_run {
        // Before they are made, so that a repetition after a failure finds them.
        write_json(&args.record, &record)?;
    }
    let undo_args = UndoArgs {
        dry_run: args.dry_run,
        record: &args.record,
    };
    let undone = undo(&sites, undo_args, record).await?;
    if args.dry_run {
        return Ok(undone);
    }
    let mut left = BTreeSet::new();
    for site in sites {
        let roles = administrators(site).await?.into_iter();
        left.extend(roles.filter(|role| is_role_of_twinlake(role, site)));
    }
    if !left.is_empty() {
        output::print(&roles_left(&left));
        return Ok(CommandOutcome::AttentionNeeded);
    }
    output::print(&next_steps(args, &sites));
    Ok(undone)
}

async fn administrators(site: &Site) -> Result<BTreeSet<Principal>, CliError> {
    let region = AwsRegion::new(&Clients::connect(&site.region).await, &site.account);
    Ok(region.settings().await?.data_lake_settings.admins)
}

/// Whether a role has the path that the template gives to its roles.
fn is_role_of_twinlake(role: &Principal, site: &Site) -> bool {
    Arn::parse(&role.0).is_some_and(|arn| {
        arn.service == "iam"
            && arn.account == site.account
            && arn.resource.starts_with("role/twinlake/")
    })
}

fn roles_left(roles: &BTreeSet<Principal>) -> String {
    let mut text = "Roles of Twinlake are still data lake administrators, and the record does not \
                    name them. Do not delete their stack yet: run this command again with"
        .to_owned();
    for role in roles {
        let _ = write!(text, "\n  --twinlake-role {}", render::escape(&role.0));
    }
    text.push_str("\nunless they belong to another deployment.");
    text
}

/// What is left to a person: the stacks, and what stays after them.
fn next_steps(args: &UninstallArgs, sites: &[&Site]) -> String {
    let mut text =
        "No role of Twinlake is a data lake administrator. Now delete the stacks:".to_owned();
    for site in sites {
        let _ = write!(
            text,
            "\n  aws cloudformation delete-stack --region {} --stack-name {}",
            site.region,
            render::escape(&args.stack)
        );
    }
    let _ = write!(
        text,
        "\nThe DynamoDB table {} stays in both Regions, with its content; a later deployment takes it \
         over. Everything in the catalogs stays, too.",
        render::escape(&args.ledger_table)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roles_with_the_path_of_the_template_in_the_own_account_are_twinlakes() {
        let site = Site {
            region: "cn-north-1".to_owned(),
            account: "111122223333".to_owned(),
            role: None,
        };
        let is_own = |arn: &str| is_role_of_twinlake(&Principal(arn.to_owned()), &site);
        assert!(is_own(
            "arn:aws-cn:iam::111122223333:role/twinlake/twinlake-ResyncRole-1"
        ));
        assert!(!is_own(
            "arn:aws-cn:iam::444455556666:role/twinlake/twinlake-ResyncRole-1"
        ));
        assert!(!is_own("arn:aws-cn:iam::111122223333:role/Admin"));
        assert!(!is_own("IAM_ALLOWED_PRINCIPALS"));
    }
}
