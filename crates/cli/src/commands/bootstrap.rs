//! `twinlake bootstrap`: gives Twinlake's roles their Lake Formation rights, once per deployment,
//! with the rights of the operator.

use crate::common_options::DEFAULT_LEDGER_TABLE;
use crate::connect::{known_epoch, ledger_in};
use crate::files::{read_json, read_policy, write_json};
use crate::progress::TerminalProgress;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use twinlake_aws::{AwsRegion, Clients, DynamoLedger, SystemClock};
use twinlake_core::topology::{Epoch, RegionRole, Site};
use twinlake_core::{CallError, CallErrorKind, Policy, Principal, render};
use twinlake_engine::own_access::{
    AccessChanges, AccessRequirements, ReaderTarget, apply_changes, required_changes,
    revert_changes,
};
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{GuardedRegion, Ledger as _};

/// Arguments of `twinlake bootstrap`.
#[derive(Debug, Clone, Args)]
pub struct BootstrapArgs {
    /// The policy file, which names the two Regions
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// A role that gets the rights: each ARN in the output `Roles` of both stacks, or the principal
    /// that runs the commands; repeatable; required unless --undo is given
    #[arg(long = "twinlake-role", value_name = "ARN")]
    pub roles: Vec<String>,
    /// Show the changes, or with --undo what it reverts, without making them; exits with 2 if there
    /// are any
    #[arg(long)]
    pub dry_run: bool,
    /// Revert the changes that are recorded in the file of --record
    #[arg(long)]
    pub undo: bool,
    /// The file in which the changes are recorded, and from which --undo reverts them
    #[arg(long, value_name = "FILE", default_value = "twinlake-bootstrap.json")]
    pub record: PathBuf,
    /// The Region that is primary [default: as the deployed ledger says, else the policy's region "a"]
    #[arg(long, value_name = "REGION")]
    pub primary: Option<String>,
    /// The DynamoDB table of the deployed ledger, which says which Region is primary
    #[arg(long, value_name = "TABLE", default_value = DEFAULT_LEDGER_TABLE)]
    pub ledger_table: String,
}

/// The changes made in each Region, by Region name: enough to revert them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct BootstrapRecord {
    pub(crate) regions: BTreeMap<String, AccessChanges>,
}

/// Makes the roles data lake administrators in both Regions, clears the default permissions of the
/// standby, and grants the roles DESCRIBE and SELECT on every table of the primary, so that Lake
/// Formation hides no columns from them.
///
/// # Errors
/// A call failed, or the record cannot be read or written.
pub(crate) async fn run(args: &BootstrapArgs) -> Result<CommandOutcome, CliError> {
    let policy = read_policy(&args.policy)?;
    let record = read_record(&args.record)?;
    if args.undo {
        let record = record.ok_or_else(|| no_record(&args.record))?;
        // The Regions in any order: what is reverted does not depend on which one is primary.
        let undo_args = UndoArgs {
            dry_run: args.dry_run,
            record: &args.record,
        };
        return undo(&[&policy.sites.a, &policy.sites.b], undo_args, record).await;
    }
    if args.roles.is_empty() {
        let problem = "no role is given; add --twinlake-role ARN for each role in the output \
                       `Roles` of both stacks";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let mut record = record.unwrap_or_default();
    let epoch = known_epoch(args.primary.as_deref(), &args.ledger_table, &policy).await?;
    let (primary, standby) = (policy.primary(epoch), policy.standby(epoch));
    let roles: BTreeSet<Principal> = args.roles.iter().cloned().map(Principal).collect();
    let mut text = String::new();
    let mut outcome = CommandOutcome::Done;
    let progress = TerminalProgress::new();
    for (site, is_primary) in [(primary, true), (standby, false)] {
        let epoch = (epoch, args.primary.is_some());
        let region = guarded_region(&args.ledger_table, &policy, site, epoch).await?;
        let requirements = AccessRequirements {
            roles: roles.clone(),
            requires_empty_defaults: !is_primary,
            readers: match is_primary {
                true => roles.clone(),
                false => BTreeSet::new(),
            },
        };
        progress.begin("Reading the settings and the grants");
        let changes = required_changes(&region, &requirements).await;
        progress.end();
        let changes = changes?;
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
        progress.begin("Granting");
        let applied = repeat_until_propagated(|| apply_changes(&region, &changes, &progress)).await;
        progress.end();
        applied?;
    }
    output::print(text.trim_end());
    Ok(outcome)
}

/// A Region to which the command writes under the lease on its role, where a ledger is deployed.
///
/// # Errors
/// The Region is fenced, or has another role than the command takes it for.
async fn guarded_region(
    ledger_table: &str,
    policy: &Policy,
    site: &Site,
    (epoch, is_primary_given): (Epoch, bool),
) -> Result<GuardedRegion<AwsRegion, DynamoLedger, SystemClock>, CliError> {
    let clients = Clients::connect(&site.region).await;
    let region = AwsRegion::new(&clients, &site.account);
    let ledger = ledger_in(ledger_table, &site.region).await;
    let site_id = policy.sites.find(&site.region);
    let is_deployed = match ledger.epoch().await {
        Ok(_) => true,
        Err(error) if error.kind == CallErrorKind::NotFound => false,
        // A person says which Region is primary.
        Err(_) if is_primary_given => false,
        Err(error) => return Err(error.into()),
    };
    let Some(site_id) = site_id.filter(|_| is_deployed) else {
        return Ok(GuardedRegion::new(region, None));
    };
    let peer = ledger_in(ledger_table, &policy.sites.get(site_id.other()).region).await;
    let fence = WriteFence::new(ledger, Some(peer), SystemClock);
    let role = match site_id == epoch.primary() {
        true => RegionRole::Primary,
        false => RegionRole::Standby,
    };
    let writer = WriterRole {
        site: site_id,
        epoch,
        role,
    };
    fence.allow(writer, None);
    if let Err(error) = fence.check(&site.region).await {
        return Err(match error.kind {
            CallErrorKind::Contended => CliError::Usage(format!(
                "nothing is written in {}: {}; docs/takeover.md says what to do about a Region that is fenced",
                site.region, error.message
            )),
            CallErrorKind::NotFound
            | CallErrorKind::AlreadyInState
            | CallErrorKind::NotPropagated
            | CallErrorKind::Denied
            | CallErrorKind::Invalid
            | CallErrorKind::Unsupported
            | CallErrorKind::Unavailable => error.into(),
        });
    }
    clients.limits().require_lease(fence.lease().clone());
    Ok(GuardedRegion::new(region, Some(Arc::new(fence))))
}

/// How long a new role may be unknown to Lake Formation (D-9), and the pause between two attempts.
const PROPAGATION_TIME: Duration = Duration::from_secs(120);
const PROPAGATION_PAUSE: Duration = Duration::from_secs(5);

/// Makes changes again while Lake Formation does not know a role that they name, for up to
/// [`PROPAGATION_TIME`].
async fn repeat_until_propagated<F: Future<Output = Result<(), CallError>>>(
    make_changes: impl Fn() -> F,
) -> Result<(), CliError> {
    let deadline = Instant::now() + PROPAGATION_TIME;
    let mut is_noted = false;
    loop {
        match make_changes().await {
            Err(error) if error.kind == CallErrorKind::NotPropagated => {
                if Instant::now() >= deadline {
                    return Err(CliError::Usage(format!("{error}. {DELETED_ROLE}")));
                }
                if !is_noted {
                    output::note(
                        "Lake Formation does not know a role yet; it is tried again for 2 minutes.",
                    );
                    is_noted = true;
                }
                tokio::time::sleep(PROPAGATION_PAUSE).await;
            }
            result => return Ok(result?),
        }
    }
}

/// What else than a new role makes Lake Formation refuse a principal (D-8).
const DELETED_ROLE: &str = "Check that each role given exists. Check also that no deleted role, such as one \
                            of an earlier deployment, is still a data lake administrator: `twinlake uninstall \
                            --policy FILE --twinlake-role ARN` removes it";

/// Reads the record of earlier changes, or returns `None` if there is none.
pub(crate) fn read_record(path: &Path) -> Result<Option<BootstrapRecord>, CliError> {
    path.exists().then(|| read_json(path)).transpose()
}

/// The error of `--undo` without a record. Only the record tells the administrators, grants and
/// default permissions that this command changed from those that were there before.
pub(crate) fn no_record(path: &Path) -> CliError {
    let problem = "this record of the changes does not exist, so nothing is reverted. `twinlake \
                   bootstrap` writes it to the directory in which it runs: run --undo there, or \
                   name the file with --record FILE. If it is lost, revert the changes yourself: \
                   remove Twinlake's roles from the data lake administrators of both Regions, \
                   revoke their grants in the primary, and restore the default permissions of the \
                   standby";
    CliError::File {
        path: path.display().to_string(),
        problem: problem.to_owned(),
    }
}

/// How recorded changes are reverted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UndoArgs<'a> {
    /// Show the changes only.
    pub(crate) dry_run: bool,
    /// The file of the record.
    pub(crate) record: &'a Path,
}

/// Reverts recorded changes in Regions. A Region that was reverted leaves the record.
pub(crate) async fn undo(
    sites: &[&Site],
    args: UndoArgs<'_>,
    mut record: BootstrapRecord,
) -> Result<CommandOutcome, CliError> {
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut text = String::new();
    let mut would_revert = false;
    for site in sites {
        let Some(changes) = record.regions.get(&site.region).cloned() else {
            let _ = writeln!(text, "{}: no changes are recorded", site.region);
            continue;
        };
        let _ = writeln!(
            text,
            "{}: {verb} {} and {}{}",
            site.region,
            render::counted(changes.administrators.len(), "administrator"),
            render::counted(changes.grants.len(), "grant"),
            match (
                changes.cleared_database_defaults || changes.cleared_table_defaults,
                args.dry_run
            ) {
                (false, _) => "",
                (true, true) => ", and would restore the default permissions",
                (true, false) => ", and restored the default permissions",
            }
        );
        if args.dry_run {
            would_revert |= !changes.is_empty();
            continue;
        }
        let region = AwsRegion::new(&Clients::connect(&site.region).await, &site.account);
        revert_changes(&region, &changes).await?;
        record.regions.remove(&site.region);
        write_json(args.record, &record)?;
    }
    let named = |region: &String| sites.iter().any(|site| site.region == *region);
    let others: Vec<&str> = record
        .regions
        .keys()
        .filter(|region| !named(region))
        .map(String::as_str)
        .collect();
    if !others.is_empty() {
        let _ = writeln!(
            text,
            "Not reverted: the record also has changes in {}, which the policy does not name. Run \
             --undo with the policy that names it.",
            render::escape(&others.join(", "))
        );
    }
    output::print(text.trim_end());
    Ok(CommandOutcome::done_if(others.is_empty() && !would_revert))
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
    if changes.cleared_database_defaults {
        let _ = writeln!(text, "  {verb_clear} CreateDatabaseDefaultPermissions");
    }
    if changes.cleared_table_defaults {
        let _ = writeln!(text, "  {verb_clear} CreateTableDefaultPermissions");
    }
    for grant in &changes.grants {
        let permissions: Vec<&str> = grant.permissions.iter().map(String::as_str).collect();
        let permissions = permissions.join(", ");
        let role = render::escape(&grant.principal.0);
        let database = render::escape(grant.database.as_str());
        let verb = verb("would grant", "granted");
        let target = match grant.target {
            ReaderTarget::AllTables => "all tables of",
            ReaderTarget::Database => "the database",
        };
        let _ = writeln!(
            text,
            "  {verb} {permissions} on {target} {database} to {role}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn a_dry_run_of_undo_needs_attention_if_the_record_has_changes() {
        let site = Site {
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            role: None,
        };
        let args = UndoArgs {
            dry_run: true,
            record: Path::new(""),
        };
        let changes = AccessChanges {
            administrators: BTreeSet::from([Principal("arn:aws:iam::1:role/r".to_owned())]),
            ..AccessChanges::default()
        };
        for (changes, expected) in [
            (changes, CommandOutcome::AttentionNeeded),
            (AccessChanges::default(), CommandOutcome::Done),
        ] {
            let regions = BTreeMap::from([(site.region.clone(), changes)]);
            let outcome = undo(&[&site], args, BootstrapRecord { regions }).await;
            assert_eq!(outcome.unwrap(), expected);
        }
        let nothing = undo(&[&site], args, BootstrapRecord::default()).await;
        assert_eq!(nothing.unwrap(), CommandOutcome::Done);
    }

    #[test]
    fn a_missing_record_is_an_error_that_names_the_file_and_what_to_do() {
        let path = std::env::temp_dir().join(format!("twinlake-record-{}", std::process::id()));
        assert!(read_record(&path).unwrap().is_none());
        let error = no_record(&path).to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        assert!(error.contains("--record FILE"), "{error}");
        std::fs::write(&path, "{}").unwrap();
        let damaged = read_record(&path);
        std::fs::write(&path, r#"{"regions": {}}"#).unwrap();
        let empty = read_record(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(
            damaged.is_err(),
            "a damaged record is not taken for an empty one"
        );
        assert!(empty.unwrap().is_some());
    }

    fn failing(times: usize, kind: CallErrorKind) -> (Cell<usize>, CallError) {
        (
            Cell::new(times),
            CallError::new(kind, "PutDataLakeSettings", "us-east-1", "x".to_owned()),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_role_has_two_minutes_to_become_known() {
        let attempts = |(left, error): (Cell<usize>, CallError)| async move {
            let started = Instant::now();
            let result = repeat_until_propagated(|| {
                let is_refused = left.get() > 0;
                left.set(left.get().saturating_sub(1));
                let result = if is_refused {
                    Err(error.clone())
                } else {
                    Ok(())
                };
                async { result }
            });
            (result.await, started.elapsed())
        };
        let (result, _) = attempts(failing(20, CallErrorKind::NotPropagated)).await;
        assert!(result.is_ok(), "100 s");
        let (result, elapsed) = attempts(failing(usize::MAX, CallErrorKind::NotPropagated)).await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains("no deleted role"), "{text}");
        assert_eq!(elapsed, PROPAGATION_TIME);
        let (result, elapsed) = attempts(failing(1, CallErrorKind::Denied)).await;
        assert!(result.is_err() && elapsed.is_zero(), "a denial is final");
    }
}
