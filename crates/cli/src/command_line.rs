//! The command line: the list of commands, with the help of each. The arguments of a command are in
//! its module under `commands`.

use crate::commands::access::AccessArgs;
use crate::commands::apply::ApplyArgs;
use crate::commands::approve_deletions::ApproveDeletionsArgs;
use crate::commands::bootstrap::BootstrapArgs;
use crate::commands::divergence::DivergenceArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::drill::DrillArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::failover::FailoverArgs;
use crate::commands::iceberg::IcebergCommand;
use crate::commands::init::InitArgs;
use crate::commands::pending::PendingCommand;
use crate::commands::plan::PlanArgs;
use crate::commands::policy::PolicyCommand;
use crate::commands::redrive::RedriveArgs;
use crate::commands::report::ReportArgs;
use crate::commands::resync::ResyncArgs;
use crate::commands::sandbox::SandboxArgs;
use crate::commands::scenario::{self, ScenarioArgs};
use crate::commands::setup::SetupCommand;
use crate::commands::status::StatusArgs;
use crate::commands::switchover::SwitchoverArgs;
use crate::commands::uninstall::UninstallArgs;
use crate::common_options::{WithCommon, WithLedger};
use clap::{Arg, Parser, Subcommand};

/// Replicates Glue Data Catalog metadata and Lake Formation permissions to a standby Region.
///
/// Twinlake compares the catalogs and the permissions of two Regions and makes the standby equal
/// to the primary. Start with `twinlake init`, which drafts a policy, then `twinlake policy check` and
/// `twinlake plan`: none of them needs a deployment, and none writes anything in AWS.
///
/// Every command exits with 0 if nothing is left to do, with 2 if something is left to do or to
/// look at, and with 1 if it failed or its arguments are not valid. The help of a command says when
/// it exits with 2.
#[derive(Debug, Parser)]
#[command(name = "twinlake", version, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draft a policy from the S3 replication rules of the primary
    ///
    /// Lists the tables of the primary, reads the replication rules of the buckets that hold their data,
    /// and writes a policy file with a location pair for each rule to the standby. Comments in the file
    /// say which tables lie outside the pairs and why, and what Twinlake does not replicate. Writes
    /// nothing in AWS. Exits with 2 if a table lies outside the pairs, or if you are no data lake
    /// administrator of the primary, so that tables may be hidden from you.
    Init(InitArgs),
    /// Show the changes that would make the standby equal to the primary, field by field
    ///
    /// Also shows which changes are held, and why. Writes nothing in AWS. Exits with 2 if there are
    /// changes, if one is held or rejected, if an object could not be read, if the data of a table has not arrived or
    /// is lost, or if you lack rights.
    #[command(visible_alias = "diff", mut_arg("no_deployment", not_taken))]
    Plan(WithCommon<PlanArgs>),
    /// Make the standby equal to the primary: apply a new plan, or a stored one
    ///
    /// A new plan covers the databases and tables that are named, or the whole catalog. With a
    /// stored plan, checks that it still holds, and then reconciles the same objects: it is refused
    /// if the policy or either Region has changed since it was made. Shows the plan and asks for
    /// confirmation. Exits with 2 if you do not confirm, or if a change is held, rejected, failed
    /// or has to wait.
    ///
    /// Runs with your own rights: you must be a data lake administrator of both Regions, with SELECT on
    /// all tables of the primary, and ALL on what others created in the standby.
    Apply(WithCommon<ApplyArgs>),
    /// Apply the plan of objects with held deletions, with the deletions
    ///
    /// Deletions are held if they exceed the deletion limit; `twinlake status` counts them. The
    /// command applies the whole plan of these objects, not only the deletions. It shows this plan,
    /// with the deletions at its end, and asks for confirmation. Exits as `apply`, and with 0 if no
    /// deletions are held.
    ///
    /// Runs with your own rights: you must be a data lake administrator of both Regions, with SELECT on
    /// all tables of the primary, and ALL on what others created in the standby.
    ApproveDeletions(WithCommon<ApproveDeletionsArgs>),
    /// Reconcile the whole catalog now, as the scheduled resync does
    ///
    /// Applies all changes without asking; deletions beyond the deletion limit stay held. Exits with
    /// 2 if a change is held, rejected, failed or has to wait, or if the resync is not complete,
    /// because a read failed.
    ///
    /// Runs with your own rights: you must be a data lake administrator of both Regions, with SELECT on
    /// all tables of the primary, and ALL on what others created in the standby.
    Resync(WithCommon<ResyncArgs>),
    /// Show the replication lag, the open alerts, and the objects that are not in sync
    ///
    /// Reads what the deployed functions, or the last command with this ledger, have recorded;
    /// `twinlake plan` compares the two Regions. Exits with 2 if attention is needed: an object is
    /// not in sync, a lag exceeds its threshold or is unknown, an alert is open, no resync that
    /// began in the last 13 hours (or `verified-age-limit-seconds` of the operation document) has
    /// completed, the last readiness check found a blocker, could not read everything or is older
    /// than 90 minutes, or the standby is fenced. With OBJECT, exits with 2 if it, or anything in
    /// it, is not in sync, has a held deletion, or is affected by an open alert.
    Status(WithLedger<StatusArgs>),
    /// Write the status as a self-contained HTML page
    ///
    /// Exits with 0 if the page was written, whatever it says.
    Report(WithLedger<ReportArgs>),
    /// List what stands between the standby and a takeover: storage, encryption, trails, settings
    ///
    /// Checks what `twinlake plan` does not see: whether S3 replicates the location of each table, both
    /// ways and with its encryption keys; whether the objects that are there have been replicated;
    /// trails, data lake settings and registered locations. Each finding says what it means for a
    /// takeover and how to correct it. Without --fix it writes nothing. A read that is denied is a finding,
    /// and never passes. Exits with 2 if there is a blocker, a warning, or something that could not be read.
    #[command(mut_arg("no_deployment", not_taken))]
    Doctor(WithCommon<DoctorArgs>),
    /// Make the standby the primary, because the primary is gone
    ///
    /// Changes that have not arrived are lost. Shows how far the surviving Region is behind, asks for
    /// confirmation, makes the Region the primary, waits two minutes until nothing of the former roles
    /// takes effect any more, and restores the default permissions of the databases. Calls the ledger and
    /// Glue of the surviving Region only, and Lake Formation there if a switchover had revoked grants in it. If it ends
    /// early, run it again: it goes on where it was. Start with --validate-only. Exits with 2 if you do not confirm,
    /// if the default permissions of a database, or grants that a switchover had revoked, could not be restored, or if
    /// with --undo grants are still revoked.
    Failover(FailoverArgs),
    /// Show what a Region that returns after a failover has and the primary has not, and accept it
    ///
    /// Until a person accepts the report by its digest, the Region stays fenced and nothing is changed in
    /// it. Lists what was created, changed and deleted there in the catalog and in the permissions, and the
    /// keys in S3 that it has written lately. Accepting makes the Region the standby: what is listed is given up,
    /// except keys that have arrived since, and the next resync replaces it by what the primary has. Objects in S3
    /// are never changed. Exits with 2 if something is listed or could not be read, or if you do not confirm.
    #[command(mut_arg("ledger", not_taken), mut_arg("no_deployment", not_taken))]
    Divergence(WithCommon<DivergenceArgs>),
    /// Make the standby the primary, and the primary the standby, while both Regions are healthy
    ///
    /// Nothing is lost: the command refuses unless the lag is within its limits, every object is in sync,
    /// and each key in S3 shows the same object in both. It runs a full resync and compares both Regions
    /// before it writes the epoch, and again before the former primary becomes the standby. Stop the
    /// writers first: what somebody writes meanwhile leaves the former primary fenced, for `twinlake
    /// divergence`. --region names the Region that becomes the primary. If it ends early, run it again: it
    /// goes on where it was. Exits with 2 if you do not confirm, if the default permissions of a database, or
    /// grants that a switchover had revoked, could not be restored, if the former primary is not the standby, or if
    /// with --undo not everything was granted again.
    #[command(
        mut_arg("region", becomes_primary),
        mut_arg("policy", not_taken),
        mut_arg("ledger", not_taken),
        mut_arg("no_deployment", not_taken)
    )]
    Switchover(WithCommon<SwitchoverArgs>),
    /// Go back after a failover, once the report of `twinlake divergence` was accepted
    ///
    /// Until then the Region is fenced, and the command refuses. It is a switchover to the Region of
    /// --region, which was the primary before, and has the same gates, steps and exit codes.
    #[command(
        mut_arg("region", becomes_primary),
        mut_arg("policy", not_taken),
        mut_arg("ledger", not_taken),
        mut_arg("no_deployment", not_taken)
    )]
    Failback(WithCommon<SwitchoverArgs>),
    /// Rehearse a takeover without the switch, and write a dated report
    ///
    /// Runs the checks of `twinlake doctor`, asks what a failover would do now, and makes the queries of
    /// [drill] in the operation document as real roles: those that should be answered, and those that
    /// should be refused. Writes a JSON file and a page, with the digest of the report before, into the
    /// directory of --history. Changes nothing in AWS, but for what Athena keeps of a query. Exits with 2
    /// unless everything was as it should be and could be proved.
    #[command(
        mut_arg("policy", not_taken),
        mut_arg("ledger", not_taken),
        mut_arg("no_deployment", not_taken)
    )]
    Drill(WithCommon<DrillArgs>),
    /// Manage S3 objects that a table waits for
    #[command(subcommand)]
    Pending(PendingCommand),
    /// Send messages from dead-letter queues back to their source queues
    ///
    /// Correct the cause first. Shows the number of messages in each queue, and what up to ten of
    /// them are about: the table, database or permissions whose change failed. Then asks for
    /// confirmation. Exits with 0 if there are no messages or all were sent, and with 2 if you do
    /// not confirm or one could not be sent.
    Redrive(RedriveArgs),
    /// Compare the permissions of a principal in both Regions, down to columns and rows
    ///
    /// Names the grants behind each permission. IAM policies are not evaluated. Exits with 2 if the
    /// Regions differ, or if a part of them could not be read.
    #[command(mut_arg("no_deployment", not_taken))]
    Access(WithCommon<AccessArgs>),
    /// Give Twinlake's roles their rights: data lake administrator, and DESCRIBE and SELECT in the
    /// primary
    ///
    /// Runs with your own rights, which must include PutDataLakeSettings in both Regions. You must
    /// be a data lake administrator of the primary, or name yourself with --twinlake-role, because
    /// the command grants DESCRIBE and SELECT on its tables. Clears the default permissions for new
    /// databases and tables of the standby. Removes nobody. The changes are recorded in the file of
    /// --record. Keep it: --undo needs it to revert them. Exits with 2 if --dry-run shows a change
    /// to make or to revert, or if --undo could not revert all that is recorded.
    Bootstrap(BootstrapArgs),
    /// Revert what `bootstrap` changed, before the stacks are deleted
    ///
    /// Takes Twinlake's roles out of the data lake administrators of both Regions, and restores the
    /// default permissions of the standby, as --undo of `bootstrap` does. Then checks that no role
    /// of Twinlake is left, and names the stacks to delete and what stays. A role that is deleted
    /// while it is an administrator makes every later change of the data lake settings fail. Exits
    /// with 2 if a role is left, or if --dry-run shows something to revert.
    Uninstall(UninstallArgs),
    /// Make the storage of a lake or its trails, or add S3 replication to buckets that exist
    #[command(subcommand)]
    Setup(SetupCommand),
    /// Relocate an Iceberg table to the standby, or check a copy of one
    #[command(subcommand)]
    Iceberg(IcebergCommand),
    /// Show what an event leads to: which objects are read, or why it is ignored
    Explain(ExplainArgs),
    /// Check a policy, store it in both Regions, or show what it does with an object
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run a scenario script in two simulated Regions and print its transcript
    #[command(after_long_help = scenario::LANGUAGE)]
    Scenario(ScenarioArgs),
    /// Serve two simulated Regions of Glue and Lake Formation on 127.0.0.1
    Sandbox(SandboxArgs),
}

/// `--region` of a command that switches the Regions.
fn becomes_primary(region: Arg) -> Arg {
    region
        .help("The Region that becomes the primary; required")
        .long_help(
            "The Region that becomes the primary; required. Policy and ledgers are those of its deployment",
        )
}

/// An option that a command refuses, or that means nothing to it: it is not listed.
fn not_taken(option: Arg) -> Arg {
    option.hide(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::collections::BTreeSet;

    /// The long options that the help of a command lists.
    fn options(path: &[&str]) -> Vec<String> {
        let mut command = Cli::command();
        command.build();
        let mut found = &command;
        for name in path {
            found = found.find_subcommand(name).unwrap();
        }
        let listed = found.get_arguments().filter(|arg| !arg.is_hide_set());
        let mut options: Vec<String> = listed
            .filter_map(|arg| arg.get_long())
            .filter(|long| *long != "help")
            .map(str::to_owned)
            .collect();
        options.sort();
        options
    }

    /// A command's own options with those that it shares with others, in the order of [`options`].
    fn with(own: &[&'static str], shared: &[&'static str]) -> Vec<&'static str> {
        let mut all = [own, shared].concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_definition_of_the_commands_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn setup_takes_a_bucket_or_two_regions() {
        assert_eq!(
            options(&["setup", "storage"]),
            [
                "attach",
                "dry-run",
                "lake-name",
                "noncurrent-version-days",
                "policy",
                "primary",
                "replica-key",
                "replication-role",
                "replication-time-control",
                "result-days",
                "stack",
                "standby",
                "yes"
            ]
        );
    }

    #[test]
    fn a_command_lists_only_the_options_that_it_reads() {
        assert_eq!(options(&["scenario"]), ["answers"]);
        assert!(options(&["policy", "check"]).is_empty());
        assert_eq!(
            options(&["sandbox"]),
            [
                "account",
                "answers",
                "events-to",
                "port",
                "reader-role",
                "twinlake-role",
                "with-region"
            ]
        );
        assert_eq!(
            options(&["policy", "push"]),
            ["ledger-table", "operation", "region"]
        );
        assert_eq!(
            options(&["explain"]),
            ["ignore-role", "json", "policy", "primary"]
        );
        let ledger = ["ledger", "ledger-table", "policy", "region"];
        assert_eq!(
            options(&["status"]),
            with(&["all", "domain", "json", "watch"], &ledger)
        );
        assert_eq!(options(&["report"]), with(&["days", "out"], &ledger));
        assert_eq!(options(&["pending", "dismiss"]), ledger);
        let policy = ["ledger-table", "policy", "region"];
        assert_eq!(options(&["policy", "explain"]), policy);
        assert_eq!(options(&["redrive"]), with(&["stack", "yes"], &policy));
        let regions = with(
            &[
                "caller-arn",
                "ignore-role",
                "max-calls-per-second",
                "parallel",
            ],
            &ledger,
        );
        let writes = with(&["no-deployment"], &regions);
        assert_eq!(
            options(&["resync"]),
            with(&["domain", "full", "json"], &writes)
        );
        assert_eq!(
            options(&["apply"]),
            with(&["approve-deletions", "domain", "plan", "yes"], &writes)
        );
        assert_eq!(options(&["approve-deletions"]), with(&["yes"], &writes));
        // Only these work without a ledger, which says which Region is primary.
        assert_eq!(
            options(&["plan"]),
            with(&["domain", "json", "out", "primary", "summary"], &regions)
        );
        assert_eq!(options(&["access"]), with(&["primary"], &regions));
        assert_eq!(
            options(&["doctor"]),
            with(
                &[
                    "batch-role",
                    "fix",
                    "json",
                    "primary",
                    "twinlake-role",
                    "yes"
                ],
                &regions
            )
        );
    }

    #[test]
    fn a_failover_names_its_region_and_no_policy_or_second_region() {
        assert_eq!(
            options(&["failover"]),
            [
                "accept-loss",
                "epoch",
                "force",
                "json",
                "ledger-table",
                "region",
                "undo",
                "validate-only",
                "yes"
            ]
        );
    }

    #[test]
    fn a_divergence_lists_no_ledger_file_which_it_refuses() {
        let listed = options(&["divergence"]);
        assert!(listed.iter().any(|option| option == "region"));
        assert!(
            !listed.iter().any(|option| option == "ledger"),
            "{listed:?}"
        );
    }

    #[test]
    fn a_switchover_names_its_region_and_no_policy() {
        for command in ["switchover", "failback"] {
            let listed = options(&[command]);
            assert!(listed.iter().any(|option| option == "region"));
            let refused = ["policy", "ledger"];
            assert!(
                !listed
                    .iter()
                    .any(|option| refused.contains(&option.as_str()))
            );
        }
    }

    #[test]
    fn the_commands_for_iceberg_tables_need_no_policy() {
        assert_eq!(
            options(&["iceberg", "relocate"]),
            [
                "from-originals",
                "json",
                "map",
                "pairing-id",
                "region",
                "source-region"
            ]
        );
        assert_eq!(
            options(&["iceberg", "check"]),
            ["allow-location", "json", "region"]
        );
        assert_eq!(options(&["iceberg", "show"]), ["json", "region"]);
    }

    #[test]
    fn every_command_that_can_need_attention_names_exit_code_2() {
        let mut command = Cli::command();
        command.build();
        for name in [
            "init",
            "plan",
            "apply",
            "resync",
            "status",
            "doctor",
            "failover",
            "redrive",
            "access",
            "bootstrap",
            "uninstall",
            "setup storage",
            "setup audit",
            "iceberg relocate",
            "iceberg check",
            "iceberg show",
        ] {
            let mut help = &mut command;
            for part in name.split(' ') {
                help = help.find_subcommand_mut(part).unwrap();
            }
            let help = help.render_long_help().to_string();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(help.contains("with 2 if"), "{name}: {help}");
        }
    }

    const OPERATIONS: &str = include_str!("../../../docs/operations.md");
    const DEPLOY: &str = include_str!("../../../docs/deploy.md");

    /// Every command that does something, as the words that call it, with its listed options.
    fn leaf_commands() -> Vec<(String, Vec<String>)> {
        fn add(command: &clap::Command, path: &[&str], found: &mut Vec<(String, Vec<String>)>) {
            let subcommands: Vec<_> = command.get_subcommands().collect();
            if subcommands.is_empty() {
                found.push((path.join(" "), options(path)));
            }
            for subcommand in subcommands
                .into_iter()
                .filter(|one| one.get_name() != "help")
            {
                add(
                    subcommand,
                    &[path, &[subcommand.get_name()]].concat(),
                    found,
                );
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut found = Vec::new();
        add(&command, &[], &mut found);
        found
    }

    /// The rows of the table under a heading of docs/operations.md, as their cells.
    fn rows(heading: &str) -> Vec<Vec<&'static str>> {
        let (_, section) = OPERATIONS.split_once(heading).unwrap();
        let lines = section.lines().skip_while(|line| !line.starts_with("|---"));
        let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect()
    }

    /// The commands that a text names in backticks, without their options and arguments.
    fn named(text: &str) -> Vec<String> {
        let quoted = text.split('`').skip(1).step_by(2);
        let words = |one: &str| {
            let words = one.split(' ').take_while(|word| !word.starts_with("--"));
            let words =
                words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            words.collect::<Vec<_>>().join(" ")
        };
        quoted.map(words).filter(|name| !name.is_empty()).collect()
    }

    /// The commands that one of these names is, or begins.
    fn expanded(names: &[String], all: &BTreeSet<String>) -> BTreeSet<String> {
        for name in names {
            let is_one =
                |command: &String| command == name || command.starts_with(&format!("{name} "));
            assert!(all.iter().any(is_one), "there is no command {name}");
        }
        let is_named = |command: &&String| {
            let mut names = names.iter();
            names.any(|name| *command == name || command.starts_with(&format!("{name} ")))
        };
        all.iter().filter(is_named).cloned().collect()
    }

    #[test]
    fn the_operations_page_has_the_exit_codes_of_every_command() {
        let documented: BTreeSet<String> = rows("### Exit codes")
            .iter()
            .flat_map(|row| named(row[0]))
            .filter_map(|name| name.split(' ').next().map(str::to_owned))
            .collect();
        let command = Cli::command();
        let names = command.get_subcommands().flat_map(|one| {
            let aliases = one.get_visible_aliases();
            std::iter::once(one.get_name())
                .chain(aliases)
                .map(str::to_owned)
        });
        assert_eq!(documented, names.collect());
    }

    #[test]
    fn the_operations_page_names_the_commands_of_each_option() {
        let leaves = leaf_commands();
        let all: BTreeSet<String> = leaves.iter().map(|(name, _)| name.clone()).collect();
        let with_option = |option: &str| -> BTreeSet<String> {
            let takes = |options: &[String]| options.iter().any(|one| one == option);
            let found = leaves.iter().filter(|(_, options)| takes(options));
            found.map(|(name, _)| name.clone()).collect()
        };
        let rows = rows("### Options");
        assert!(rows.len() > 10, "{rows:?}");
        for row in rows {
            let option = row[0].trim_matches('`').trim_start_matches("--");
            let option = option.split(' ').next().unwrap();
            let documented = match row[1].strip_prefix("all with `--region`, except ") {
                None => expanded(&named(row[1]), &all),
                Some(text) => {
                    let (except, also) = text.split_once("; also ").unwrap_or((text, ""));
                    let except = expanded(&named(except), &all);
                    let with_region = with_option("region");
                    let mut documented: BTreeSet<String> =
                        with_region.difference(&except).cloned().collect();
                    documented.extend(expanded(&named(also), &all));
                    documented
                }
            };
            assert_eq!(documented, with_option(option), "--{option}");
        }
    }

    #[test]
    fn the_deployment_page_names_the_commands_that_take_the_arn_of_the_caller() {
        let text = DEPLOY.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, text) = text.split_once("also add `--caller-arn ARN` to ").unwrap();
        let (text, _) = text.split_once('.').unwrap();
        let documented: BTreeSet<String> = named(text).into_iter().collect();
        let takes = |options: &[String]| options.iter().any(|one| one == "caller-arn");
        let leaves = leaf_commands().into_iter();
        let taking = leaves.filter(|(_, options)| takes(options));
        assert_eq!(documented, taking.map(|(name, _)| name).collect());
    }

    #[test]
    fn the_help_of_scenario_lists_the_commands_of_a_script() {
        let mut command = Cli::command();
        command.build();
        let scenario = command.find_subcommand_mut("scenario").unwrap();
        let help = scenario.render_long_help().to_string();
        assert!(help.contains("deliver [lost|twice|reversed]"), "{help}");
    }

    #[test]
    fn a_required_option_shows_no_default() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).map(drop);
        let without_policy = parse(&["twinlake", "bootstrap", "--undo"]).unwrap_err();
        assert!(without_policy.to_string().contains("--policy <FILE>"));
        assert!(parse(&["twinlake", "bootstrap", "--undo", "--policy", "p.toml"]).is_ok());
        let stored_and_named = parse(&["twinlake", "apply", "--plan", "plan.json", "sales"]);
        assert!(stored_and_named.is_err());
    }
}
