//! `twinlake init`: drafts a policy from the replication rules that exist.

use crate::{CliError, CommandOutcome, output, projection_text};
use clap::Args;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use twinlake_aws::{AwsInfrastructure, AwsRegion, Clients, LakeSetup, QueryToolsRegion};
use twinlake_core::arn::Arn;
use twinlake_core::policy::{self, PolicyDraft};
use twinlake_core::readiness::Reading;
use twinlake_core::render::{counted, escape};
use twinlake_core::topology::{Site, is_region_name};
use twinlake_core::{Policy, Principal};
use twinlake_engine::cost::Prices;
use twinlake_engine::policy_draft::{self, DraftReadings};
use twinlake_engine::{LimitedRegion, ReadRegion, monthly_cost};

/// Arguments of `twinlake init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The Region that is the primary at first
    #[arg(long, value_name = "REGION")]
    pub primary: String,
    /// The Region that is the standby at first
    #[arg(long, value_name = "REGION")]
    pub standby: String,
    /// The policy file to write; it must not exist
    #[arg(long, value_name = "FILE", default_value = "policy.toml")]
    pub out: PathBuf,
    /// The IAM principal that the command runs as, if it is a role with a path, which STS omits
    #[arg(long, value_name = "ARN")]
    pub caller_arn: Option<String>,
    /// The maximum number of concurrent calls to Glue
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub parallel: usize,
}

/// Reads the tables of the primary and the rules of their buckets, writes a policy file, and prints the
/// projected calls and cost.
///
/// # Errors
/// The file exists, a name is no Region, or the tables cannot be listed.
pub(crate) async fn run(args: &InitArgs) -> Result<CommandOutcome, CliError> {
    for region in [&args.primary, &args.standby] {
        if !is_region_name(region) {
            let problem = format!("{region} is no Region; name one such as us-east-1");
            return Err(CliError::Usage(problem));
        }
    }
    if args.primary == args.standby {
        let problem = "--primary and --standby name the same Region; name two";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if args.out.exists() {
        return Err(file_error(&args.out, EXISTS.to_owned()));
    }
    let clients = Clients::connect(&args.primary).await;
    let caller = clients.caller().await?;
    let account = Arn::parse(&caller.0).map_or("", |arn| arn.account);
    let site = |region: &String| Site {
        region: region.clone(),
        account: account.to_owned(),
        role: None,
    };
    let catalog = LimitedRegion::new(AwsRegion::new(&clients, account), args.parallel);
    let infrastructure = (
        &AwsInfrastructure::new(&clients),
        &AwsInfrastructure::new(&Clients::connect(&args.standby).await),
    );
    let (primary, standby) = (site(&args.primary), site(&args.standby));
    let mut readings = policy_draft::read(&catalog, infrastructure, primary, standby).await?;
    let standby_keys = LakeSetup::new(&Clients::connect(&args.standby).await, account);
    add_key_aliases(&mut readings, &standby_keys).await;
    let standby_clients = Clients::connect(&args.standby).await;
    let athena = QueryToolsRegion::new(&clients, account);
    readings
        .add_workgroups(&athena, &QueryToolsRegion::new(&standby_clients, account))
        .await;
    let inputs = &readings.inputs;
    let draft = policy::draft(inputs)?;
    write_new(&args.out, &draft.text)?;
    print_projection(&catalog, &readings, &draft).await?;
    output::print(&describe(&args.out, inputs.databases, &draft));
    let reader = args.caller_arn.clone().map_or(caller, Principal);
    let administrators = catalog
        .settings()
        .await
        .map(|settings| settings.administrators);
    let sees_all = administrators.is_ok_and(|administrators| administrators.contains(&reader));
    if !sees_all {
        output::note(&format!(
            "{} is not known to be a data lake administrator of {}: Lake Formation may hide databases and \
             tables from it, and the policy may lack their location pairs. Run the command as an \
             administrator; add --caller-arn ARN if the role has a path.",
            escape(&reader.0),
            args.primary
        ));
    }
    Ok(CommandOutcome::done_if(
        sees_all && draft.tables_outside == 0,
    ))
}

/// Reads the aliases of the keys that the rules name for replicas.
async fn add_key_aliases(readings: &mut DraftReadings, keys: &LakeSetup) {
    let rules = readings.inputs.rules.values().filter_map(Reading::read);
    let named = rules.flatten().filter_map(|rule| rule.replica_key.clone());
    // An alias says its name itself, and `ListAliases` takes none.
    let named: BTreeSet<String> = named.filter(|key| !key.contains("alias/")).collect();
    for key in named {
        let aliases = keys.key_aliases(&key).await.into();
        readings.inputs.key_aliases.insert(key, aliases);
    }
}

/// Prints counts, and the projected calls and cost. The policy is written before: what cannot be counted
/// is no reason to have none.
async fn print_projection<R: ReadRegion>(
    catalog: &R,
    readings: &DraftReadings,
    draft: &PolicyDraft,
) -> Result<(), CliError> {
    let policy = Policy::parse(&draft.text)?;
    match readings.lake_inventory(catalog, &policy).await {
        Ok(lake) => {
            let projection = monthly_cost::project(&lake, &policy, &Prices::default());
            output::print(&projection_text::describe(&lake, &projection));
            output::print("");
        }
        Err(error) => output::note(&escape(&format!(
            "Calls and cost cannot be projected: {error}. They need glue:GetPartitions, \
             lakeformation:ListPermissions and lakeformation:ListLFTags."
        ))),
    }
    Ok(())
}

const EXISTS: &str = "it exists, and is not overwritten; name another file with --out";

fn file_error(path: &Path, problem: String) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        problem,
    }
}

/// Writes a file that does not exist.
fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let file = std::fs::File::create_new(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let problem = if exists {
            EXISTS.to_owned()
        } else {
            error.to_string()
        };
        file_error(path, problem)
    })
}

fn describe(path: &Path, databases: usize, draft: &PolicyDraft) -> String {
    let path = path.display();
    let outside = match draft.tables_outside {
        0 => "none lies outside".to_owned(),
        1 => "1 lies outside, and is listed in the file".to_owned(),
        count => format!("{count} lie outside, and are listed in the file"),
    };
    format!(
        "{path} is written. Of the tables of {} with data in S3, {} in its location \
         pairs; {outside}.\nRead the comments in the file, then run: twinlake doctor --policy {path} --ledger twinlake.ledger",
        counted(databases, "database"),
        lie(draft.tables_in_pairs)
    )
}

fn lie(count: usize) -> String {
    match count {
        1 => "1 lies".to_owned(),
        count => format!("{count} lie"),
    }
}
