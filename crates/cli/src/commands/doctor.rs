//! `twinlake doctor`: lists what stands between the standby and a takeover, beside the catalog.

use crate::address_check;
use crate::common_options::{Common, PrimaryOption};
use crate::connect::{Connection, WithoutLedger};
use crate::{CliError, CommandOutcome, output};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use twinlake_aws::{Clients, S3BatchReplication};
use twinlake_core::arn::Arn;
use twinlake_core::readiness::{
    self, BatchReplicationJob, ReadinessFinding, ReadinessSeverity, UnjudgedSamples,
};
use twinlake_core::{Principal, render};
use twinlake_engine::operation_document::OperationConfig;

/// Arguments of `twinlake doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// A role of Twinlake that must be a data lake administrator: each ARN in the output `Roles` of
    /// both stacks; repeatable [default: one role with the path /twinlake/ is enough]
    #[arg(long = "twinlake-role", value_name = "ARN")]
    pub roles: Vec<String>,
    /// Print the findings as JSON
    #[arg(long, conflicts_with = "fix")]
    pub json: bool,
    /// Mend what the findings name, after the findings and a confirmation
    #[arg(long, value_name = "WHAT", requires = "batch_role")]
    pub fix: Option<DoctorFix>,
    /// With --fix batch: the role of the jobs, which must trust batchoperations.s3.amazonaws.com and may
    /// s3:InitiateReplication
    #[arg(long, value_name = "ARN", requires = "fix")]
    pub batch_role: Option<String>,
    /// With --fix: do not ask for confirmation
    #[arg(long, requires = "fix")]
    pub yes: bool,
    /// The primary, if no ledger says it.
    #[command(flatten)]
    pub primary: PrimaryOption,
}

/// What is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorFix {
    /// Objects that no rule covered when they were written, that S3 failed to replicate, or that count as replicated
    /// and are missing in the standby: by a job of S3 Batch Replication for each location, which takes every object
    /// of the location with the replication status of a missing sample (NONE, FAILED or COMPLETED)
    Batch,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct DoctorReport<'a> {
    primary: &'a str,
    standby: &'a str,
    findings: &'a [ReadinessFinding],
}

/// Reads both Regions, and prints the findings of all checks.
///
/// # Errors
/// The policy or the ledger cannot be read. A Region that cannot be read is a finding.
pub(crate) async fn run(common: &Common, args: &DoctorArgs) -> Result<CommandOutcome, CliError> {
    if let Some(role) = args.batch_role.as_deref()
        && !Arn::parse(role)
            .is_some_and(|arn| arn.service == "iam" && arn.resource.starts_with("role/"))
    {
        let problem = format!("--batch-role {role}: not the ARN of a role");
        return Err(CliError::Usage(problem));
    }
    let connection = Connection::open(common, WithoutLedger::Inspects(&args.primary)).await?;
    let roles: BTreeSet<Principal> = args.roles.iter().cloned().map(Principal).collect();
    let readings = connection.readiness(&common.ledger, roles).await;
    let (policy, epoch) = (&connection.policy, connection.epoch);
    let mut findings = readiness::check(&readings, policy, epoch);
    let (operation, _) = OperationConfig::load(&connection.ledger).await?;
    if let Some(takeover) = &operation.takeover {
        findings.extend(address_check::findings(takeover, policy, epoch).await);
        findings.sort();
    }
    let (primary, standby) = (&policy.primary(epoch).region, &policy.standby(epoch).region);
    if args.json {
        output::json(&DoctorReport {
            primary,
            standby,
            findings: &findings,
        });
    } else {
        output::print(&render_findings(primary, standby, &findings));
    }
    if let (Some(DoctorFix::Batch), Some(role)) = (args.fix, &args.batch_role) {
        let jobs = readiness::batch_replication_jobs(&readings, policy, epoch);
        if jobs.is_empty() {
            let unjudged = readiness::unjudged_samples(&readings, policy, epoch);
            output::print(&no_jobs_line(unjudged));
        }
        make_batch_jobs(&jobs, role, args.yes).await?;
    }
    let needs_attention = |finding: &ReadinessFinding| match finding.severity {
        ReadinessSeverity::Blocker | ReadinessSeverity::Warning | ReadinessSeverity::Unknown => {
            true
        }
        ReadinessSeverity::Note => false,
    };
    Ok(CommandOutcome::done_if(
        !findings.iter().any(needs_attention),
    ))
}

/// What is said if the samples call for no job.
fn no_jobs_line(unjudged: UnjudgedSamples) -> String {
    let verdict = "The samples that could be read call for no batch job";
    let clauses = unjudged.clauses();
    match clauses.is_empty() {
        true => format!("{verdict}."),
        false => format!("{verdict}; not known: {}.", clauses.join("; ")),
    }
}

/// Makes jobs of S3 Batch Replication, and prints their IDs. The findings stay until the jobs are done; a job
/// that is under way is not made again.
async fn make_batch_jobs(
    jobs: &[BatchReplicationJob],
    role: &str,
    is_confirmed: bool,
) -> Result<(), CliError> {
    let mut missing = Vec::new();
    for job in jobs {
        let batch = S3BatchReplication::new(&Clients::connect(&job.region).await);
        let listed = batch.list(&job.account).await?;
        if let Some(other) = job.under_way(&listed) {
            let state = format!("is under way ({})", other.status);
            print_job(job, &other.id, &state);
            continue;
        }
        let statuses: Vec<&str> = job.statuses.iter().copied().collect();
        let (bucket, prefix) = (&job.bucket_arn, &job.prefix);
        output::print(&render::escape(&format!(
            "would make a job in {}: objects of {bucket}/{prefix}* with the replication status {}",
            job.region,
            statuses.join(" or ")
        )));
        missing.push((batch, job, job.client_request_token(role, &listed)));
    }
    let question = "S3 charges for each job, and for each object. Make these jobs?";
    if missing.is_empty() || (!is_confirmed && !output::confirm(question)?) {
        return Ok(());
    }
    for (batch, job, token) in missing {
        let id = batch.create(job, role, &token).await?;
        print_job(job, &id, "was made");
    }
    Ok(())
}

fn print_job(job: &BatchReplicationJob, id: &str, state: &str) {
    let (region, account) = (&job.region, &job.account);
    output::print(&render::escape(&format!(
        "{}/{}*: job {id} {state}. Its state: aws s3control describe-job --region {region} --account-id {account} \
         --job-id {id}",
        job.bucket_arn, job.prefix
    )));
}

/// The findings in their order, with the number of each severity at the end.
fn render_findings(primary: &str, standby: &str, findings: &[ReadinessFinding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = finding.severity.as_str().to_uppercase();
        let check = finding.check.as_str();
        let (region, subject) = (&finding.region, &finding.subject);
        let heading = format!(
            "{severity} {check} · {region} · {subject}: {}",
            finding.problem
        );
        let _ = writeln!(text, "{}", render::escape(&heading));
        let _ = writeln!(text, "    {}", render::escape(&finding.effect));
        let _ = writeln!(text, "    -> {}", render::escape(&finding.remedy));
    }
    let count = |severity| {
        let found = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        found.count()
    };
    let (blockers, warnings) = (
        count(ReadinessSeverity::Blocker),
        count(ReadinessSeverity::Warning),
    );
    let unknown = count(ReadinessSeverity::Unknown);
    let verdict = match (blockers, unknown, warnings) {
        (0, 0, 0) => "nothing stands in the way of a takeover, as far as configuration shows it",
        (0, 0, _) => "a takeover is possible, with the losses above",
        (0, _, _) => "not known to be ready for a takeover: see what could not be read",
        (_, _, _) => "not ready for a takeover",
    };
    let _ = writeln!(
        text,
        "{standby} as the standby of {primary}: {verdict}. Blockers: {blockers}, warnings: {warnings}, \
         unknown: {unknown}."
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::readiness::ReadinessCheck;

    fn finding(severity: ReadinessSeverity) -> ReadinessFinding {
        ReadinessFinding {
            severity,
            check: ReadinessCheck::Versioning,
            region: "us-east-1".to_owned(),
            subject: "lake\u{202e}".to_owned(),
            problem: "versioning is off".to_owned(),
            effect: "S3 replicates nothing.".to_owned(),
            remedy: "aws s3api put-bucket-versioning".to_owned(),
        }
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let verdict = |findings: &[ReadinessFinding]| {
            let text = render_findings("us-east-1", "ap-south-1", findings);
            text.lines().last().unwrap_or_default().to_owned()
        };
        assert!(verdict(&[]).contains("nothing stands in the way"));
        let unknown = verdict(&[finding(ReadinessSeverity::Unknown)]);
        assert!(unknown.contains("not known to be ready") && unknown.contains("unknown: 1"));
        let warned = verdict(&[finding(ReadinessSeverity::Warning)]);
        assert!(warned.contains("with the losses above"));
        let blocked = verdict(&[finding(ReadinessSeverity::Blocker)]);
        assert!(blocked.contains("not ready") && blocked.contains("Blockers: 1"));
    }

    #[test]
    fn where_no_job_is_called_for_what_the_samples_do_not_tell_is_said() {
        let line = no_jobs_line(UnjudgedSamples::default());
        assert_eq!(
            line,
            "The samples that could be read call for no batch job."
        );
        let line = no_jobs_line(UnjudgedSamples {
            failed_reads: 1,
            pending: 0,
            unsampled_locations: 3,
        });
        assert!(
            line.ends_with("; not known: 1 read failed; of 3 locations no object was looked at."),
            "{line}"
        );
    }

    #[test]
    fn a_finding_is_escaped_and_ends_with_its_remedy() {
        let text = render_findings("a", "b", &[finding(ReadinessSeverity::Blocker)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "BLOCKER versioning · us-east-1 · lake\\u{202e}: versioning is off",
                "    S3 replicates nothing.",
                "    -> aws s3api put-bucket-versioning",
            ]
        );
    }
}
