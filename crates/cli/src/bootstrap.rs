//! `twinlake bootstrap`: what a person does once, with his own rights.

use crate::args::{BootstrapArgs, Common};
use crate::store::read_policy;
use crate::{CliError, Left, out};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use twinlake_aws::AwsRegion;
use twinlake_core::ledger::Epoch;
use twinlake_core::policy::Side;
use twinlake_core::{Principal, render};
use twinlake_engine::standing::{Done, Wanted, look, prepare, undo};

/// What was done, Region by Region: enough to undo it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    regions: BTreeMap<String, Done>,
}

/// Makes our roles administrators in both Regions, closes the standby's defaults, and
/// lets the roles be shown every column of the primary.
///
/// # Errors
/// A call was refused, or the record cannot be read or written.
pub(crate) async fn bootstrap(common: &Common, args: &BootstrapArgs) -> Result<Left, CliError> {
    let Some(file) = &common.policy else {
        let problem = "name the policy with --policy FILE: it names the two Regions";
        return Err(CliError::Usage(problem.to_owned()));
    };
    let policy = read_policy(file)?;
    let (primary, secondary) = (policy.primary(Epoch(0)), policy.secondary(Epoch(0)));
    let record = read(&args.record)?;
    if args.undo {
        return take_back(&[primary, secondary], args, record).await;
    }
    if args.roles.is_empty() {
        let problem = "name Twinlake's roles with --for ARN, once for each: they stand in the \
                       output `Roles` of the stacks";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let roles: std::collections::BTreeSet<Principal> =
        args.roles.iter().cloned().map(Principal).collect();
    let mut record = record;
    let mut text = String::new();
    let mut left = Left::Nothing;
    for (side, is_primary) in [(primary, true), (secondary, false)] {
        let region = AwsRegion::connect(&side.region, &side.account).await;
        let wanted = Wanted {
            roles: roles.clone(),
            closes_defaults: !is_primary,
            readers: match is_primary {
                true => roles.clone(),
                false => std::collections::BTreeSet::new(),
            },
        };
        let todo = look(&region, &wanted).await?;
        tell(&mut text, side, &todo, args.dry_run);
        if todo.is_empty() {
            continue;
        }
        if args.dry_run {
            left = Left::Something;
            continue;
        }
        // Written down first: what is half done can be undone, too.
        let known = record.regions.entry(side.region.clone()).or_default();
        known.absorb(todo.clone());
        write(&args.record, &record)?;
        prepare(&region, &todo).await?;
    }
    out::print(text.trim_end());
    Ok(left)
}

async fn take_back(
    sides: &[&Side],
    args: &BootstrapArgs,
    mut record: Record,
) -> Result<Left, CliError> {
    let mut text = String::new();
    for side in sides {
        let Some(done) = record.regions.get(&side.region).cloned() else {
            let _ = writeln!(text, "{}: nothing was done there", side.region);
            continue;
        };
        let _ = writeln!(
            text,
            "{}: takes back {} administrators, {} grants{}",
            side.region,
            done.administrators.len(),
            done.grants.len(),
            match done.closed_databases || done.closed_tables {
                true => ", and opens the defaults as they were",
                false => "",
            }
        );
        if args.dry_run {
            continue;
        }
        let region = AwsRegion::connect(&side.region, &side.account).await;
        undo(&region, &done).await?;
        record.regions.remove(&side.region);
        write(&args.record, &record)?;
    }
    out::print(text.trim_end());
    Ok(Left::Nothing)
}

fn tell(text: &mut String, side: &Side, todo: &Done, dry: bool) {
    let verb = if dry { "would" } else { "did" };
    let _ = writeln!(text, "{}:", side.region);
    if todo.is_empty() {
        let _ = writeln!(text, "  all is as it should be");
    }
    for role in &todo.administrators {
        let role = render::escape(&role.0);
        let _ = writeln!(text, "  {verb} make {role} a data lake administrator");
    }
    if todo.closed_databases {
        let _ = writeln!(text, "  {verb} close CreateDatabaseDefaultPermissions");
    }
    if todo.closed_tables {
        let _ = writeln!(text, "  {verb} close CreateTableDefaultPermissions");
    }
    for grant in &todo.grants {
        let words: Vec<&str> = grant.permissions.iter().map(String::as_str).collect();
        let (words, role) = (words.join(", "), render::escape(&grant.principal.0));
        let database = render::escape(grant.database.as_str());
        let _ = writeln!(
            text,
            "  {verb} grant {words} on all tables of {database} to {role}"
        );
    }
}

fn failed(path: &Path, problem: &dyn std::fmt::Display) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

fn read(path: &Path) -> Result<Record, CliError> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| failed(path, &e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(failed(path, &error)),
    }
}

fn write(path: &Path, record: &Record) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(record).map_err(|e| failed(path, &e))?;
    std::fs::write(path, json).map_err(|e| failed(path, &e))
}
