//! `twinlake uninstall`: takes Twinlake's roles out of the data lake administrators and restores the
//! default permissions, before the stacks are deleted.
//!
//! A role that is deleted while it is a data lake administrator makes every later change of the data
//! lake settings of that Region fail (D-8).

use crate::commands::bootstrap::{UndoArgs, no_record, read_record, undo};
use crate::common_options::DEFAULT_LEDGER_TABLE;
use crate::files::{read_policy, write_json};
use crate::stack_names::deployed_stack;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use twinlake_aws::{AwsRegion, Clients};
use twinlake_core::arn::Arn;
use twinlake_core::client_address::ADDRESS_PARAMETER;
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
    /// The name of the stacks, for the commands that are shown: those named NAME or NAME-REGION are
    /// found
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
    let mut stacks = Vec::new();
    for site in sites {
        // Who may not list queues learns the name that the option has.
        let found = deployed_stack(&args.stack, &site.region).await;
        let stack = found.unwrap_or_else(|_| Some(args.stack.clone()));
        stacks.push((site.region.as_str(), stack));
    }
    output::print(&next_steps(args, &stacks));
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

/// What is left to a person: the stacks of the Regions, and what stays after them. The deletion of a stack that
/// does not exist succeeds, so only those are named that were found.
fn next_steps(args: &UninstallArgs, stacks: &[(&str, Option<String>)]) -> String {
    let mut text =
        "No role of Twinlake is a data lake administrator. Now delete the stacks:".to_owned();
    for (region, stack) in stacks {
        let _ = match stack {
            Some(stack) => write!(
                text,
                "\n  aws cloudformation delete-stack --region {region} --stack-name {}",
                render::escape(stack)
            ),
            None => write!(
                text,
                "\n  {region}: no stack {0} or {0}-{region} is there; name another one with --stack",
                render::escape(&args.stack)
            ),
        };
    }
    text.push_str(
        "\nThen delete the address for clients, where there is one. A deployment with a new ledger could not replace \
         it:",
    );
    for (region, _) in stacks {
        let _ = write!(
            text,
            "\n  aws ssm delete-parameter --region {region} --name {ADDRESS_PARAMETER}"
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
    fn the_stacks_that_were_found_and_the_parameters_are_named() {
        let args = UninstallArgs {
            policy: PathBuf::new(),
            roles: Vec::new(),
            dry_run: false,
            record: PathBuf::new(),
            stack: "twinlake".to_owned(),
            ledger_table: "twinlake-ledger".to_owned(),
        };
        let found = Some("twinlake-us-east-1".to_owned());
        let text = next_steps(&args, &[("us-east-1", found), ("ap-south-1", None)]);
        for line in [
            "  aws cloudformation delete-stack --region us-east-1 --stack-name twinlake-us-east-1\n",
            "  ap-south-1: no stack twinlake or twinlake-ap-south-1 is there;",
            "  aws ssm delete-parameter --region us-east-1 --name /twinlake/address\n",
            "  aws ssm delete-parameter --region ap-south-1 --name /twinlake/address\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("--region ap-south-1 --stack-name"), "{text}");
    }

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
