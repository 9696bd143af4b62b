//! `twinlake iceberg`: relocates an Iceberg table, checks a copy of one, or shows one. Needs no deployment.

use crate::local_table_files::CommandTableFiles;
use crate::progress::TerminalProgress;
use crate::{CliError, CommandOutcome, output};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write as _;
use twinlake_aws::{Clients, S3TableFiles};
use twinlake_core::Timestamp;
use twinlake_core::render::{counted, escape, one_or_many};
use twinlake_engine::iceberg::{
    IcebergError, PendingFile, RelocationOutcome, RelocationRequest, RelocationSource,
    ReplicaReport, TableRelocation, TableSummary, check_replica, newest_metadata, relocate_table,
    summarize_table,
};
use twinlake_iceberg::{
    FileLocations, OWN_DIRECTORY, PathMap, TableFinding, bucket_and_key, local_path,
};

/// The missing files that are listed; the others are counted.
const LISTED_FILES: usize = 20;

/// What is done with a table.
#[derive(Debug, Clone, Subcommand)]
pub enum IcebergCommand {
    /// Make the replica of an Iceberg table a table of its own, whose files name no file of the primary
    ///
    /// An Iceberg table names all its files by their full paths, so a replicated table still reads the
    /// primary's bucket. The command writes metadata, manifest lists, manifests and delete files with the
    /// standby's paths, all of them below `_twinlake` in the table's location, and no other file. It prints
    /// the path of the new metadata.json. The catalog is not changed: the command says how to register the
    /// table. A repetition writes only what is missing. What is not known to be right is refused, and the
    /// message names it. Exits with 2 if files have not arrived in the standby: then no new metadata.json is
    /// written.
    Relocate(RelocateArgs),
    /// Check a copy of an Iceberg table, whatever tool made it
    ///
    /// Reads the metadata, the manifest lists, the manifests and the delete files of all snapshots, and
    /// compares the size of each file. Names each fault with its file and entry. Writes nothing. Exits
    /// with 2 if something is wrong.
    Check(CheckArgs),
    /// Show the snapshots of an Iceberg table, and which of their manifests a relocation wrote
    ///
    /// Exits with 2 if the manifest list of a snapshot does not exist.
    Show(ShowArgs),
}

/// The table, and where its files are.
#[derive(Debug, Clone, Args)]
pub struct TableOptions {
    /// A metadata.json, or the location of a table, whose newest metadata.json is taken: in S3, or as an
    /// absolute local path
    ///
    /// The catalog names the metadata.json of a table in the parameter `metadata_location`.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// The Region of the bucket; required for S3
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `twinlake iceberg relocate`.
#[derive(Debug, Clone, Args)]
pub struct RelocateArgs {
    /// The table: in the primary, or its replica in the standby.
    #[command(flatten)]
    pub table: TableOptions,
    /// A location of the primary and the location of the standby that holds the same files, as in
    /// s3://lake-use1/sales=s3://lake-aps1/sales; repeatable
    ///
    /// Pairs must cover every path in the metadata. The longest location that covers a path decides.
    #[arg(long = "map", value_name = "PRIMARY=STANDBY", required = true)]
    pub pairs: Vec<String>,
    /// The name of the directory below `_twinlake` that the files are written into [default: the table's UUID]
    #[arg(long, value_name = "ID")]
    pub pairing_id: Option<String>,
    /// Read the metadata and the delete files in the primary instead of their replicas
    #[arg(long)]
    pub from_originals: bool,
    /// The Region of the primary's buckets, for --from-originals [default: that of --region]
    #[arg(long, value_name = "REGION", requires = "from_originals")]
    pub source_region: Option<String>,
}

/// Arguments of `twinlake iceberg check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableOptions,
    /// Another location that files of the table may lie in; repeatable [default: only the bucket of the
    /// metadata.json, or for a local table its directory]
    #[arg(long, value_name = "LOCATION")]
    pub allow_location: Vec<String>,
}

/// Arguments of `twinlake iceberg show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableOptions,
}

impl From<IcebergError> for CliError {
    fn from(error: IcebergError) -> Self {
        match error {
            IcebergError::Call(error) => Self::CallError(error),
            IcebergError::Refused(finding) => {
                Self::Usage(format!("the table is refused: {finding}"))
            }
            IcebergError::PairingId(error) => Self::Usage(error.to_string()),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// The table is refused, or a file could not be read or written.
pub(crate) async fn run(command: &IcebergCommand) -> Result<CommandOutcome, CliError> {
    let progress = TerminalProgress::new();
    let result = match command {
        IcebergCommand::Relocate(args) => {
            progress.begin("Relocating");
            relocate(args, &progress).await
        }
        IcebergCommand::Check(args) => {
            progress.begin("Checking");
            check(args, &progress).await
        }
        IcebergCommand::Show(args) => show(args).await,
    };
    progress.end();
    result
}

impl TableOptions {
    async fn files(&self) -> CommandTableFiles {
        let s3 = match &self.region {
            Some(region) => Some(S3TableFiles::new(&Clients::connect(region).await)),
            None => None,
        };
        CommandTableFiles { s3 }
    }

    /// The metadata.json that the table names, or its newest.
    async fn metadata_path(
        &self,
        files: &CommandTableFiles,
        location: &str,
    ) -> Result<String, CliError> {
        if location.ends_with(".json") || location.ends_with(".json.gz") {
            return Ok(location.to_owned());
        }
        let newest = newest_metadata(files, location).await?;
        newest.ok_or_else(|| {
            CliError::Usage(format!("{location}/metadata/ has no metadata.json; name the file, or the location of a table"))
        })
    }
}

/// The two locations of a pair. A location may contain `=`, as the directory of a partition does.
fn split_pair(text: &str) -> Result<(&str, &str), CliError> {
    let starts = ["=s3://", "=s3a://", "=s3n://", "=file:", "=/"];
    let at = starts.iter().filter_map(|start| text.find(start)).min();
    let split = at.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)));
    split.ok_or_else(|| {
        CliError::Usage(format!(
            "--map {text}: expected PRIMARY=STANDBY, as in s3://lake-use1=s3://lake-aps1"
        ))
    })
}

async fn relocate(
    args: &RelocateArgs,
    progress: &TerminalProgress,
) -> Result<CommandOutcome, CliError> {
    let usage = |error: &dyn std::error::Error| CliError::Usage(format!("--map {error}"));
    let pairs: Vec<(&str, &str)> = args
        .pairs
        .iter()
        .map(|pair| split_pair(pair))
        .collect::<Result<_, _>>()?;
    let map = PathMap::new(pairs.iter().copied()).map_err(|e| usage(&e))?;
    let mut files = args.table.files().await;
    if let (Some(s3), Some(region)) = (files.s3.take(), &args.source_region) {
        let clients = Clients::connect(region).await;
        let buckets = pairs
            .iter()
            .filter_map(|(source, _)| bucket_and_key(source));
        files.s3 = Some(buckets.fold(s3, |s3, (bucket, _)| s3.with_bucket(bucket, &clients)));
    } else if let Some(region) = &args.table.region {
        files.s3 = Some(S3TableFiles::new(&Clients::connect(region).await));
    }
    let source = match args.from_originals {
        true => RelocationSource::Original,
        false => RelocationSource::Replica,
    };
    // The location that is read; the paths in the metadata are those of the primary in any case.
    let table = &args.table.table;
    let read_at = match source {
        RelocationSource::Replica => map.map(table).unwrap_or_else(|| table.clone()),
        RelocationSource::Original => table.clone(),
    };
    let request = RelocationRequest {
        metadata_path: args.table.metadata_path(&files, &read_at).await?,
        map,
        table_location: None,
        pairing_id: args.pairing_id.clone(),
        source,
    };
    let outcome = relocate_table(&files, &request, progress).await?;
    progress.end();
    match (outcome, args.table.json) {
        (RelocationOutcome::Relocated(relocation), true) => {
            output::json(&RelocationReport::relocated(&relocation));
            Ok(CommandOutcome::Done)
        }
        (RelocationOutcome::Relocated(relocation), false) => {
            output::print(&render_relocation(&relocation));
            Ok(CommandOutcome::Done)
        }
        // The command has no time limit.
        (RelocationOutcome::Unfinished { .. }, _) => Ok(CommandOutcome::AttentionNeeded),
        (RelocationOutcome::Pending(pending), true) => {
            output::json(&RelocationReport::pending(&pending));
            Ok(CommandOutcome::AttentionNeeded)
        }
        (RelocationOutcome::Pending(pending), false) => {
            output::print(&render_pending(&pending));
            Ok(CommandOutcome::AttentionNeeded)
        }
    }
}

/// What `relocate --json` prints.
#[derive(Debug, Default, Serialize)]
struct RelocationReport<'a> {
    metadata_location: Option<&'a str>,
    location: Option<&'a str>,
    written: usize,
    kept: usize,
    notes: &'a [String],
    pending: Vec<&'a str>,
}

impl<'a> RelocationReport<'a> {
    fn relocated(relocation: &'a TableRelocation) -> Self {
        Self {
            metadata_location: Some(&relocation.metadata_path),
            location: Some(&relocation.location),
            written: relocation.written,
            kept: relocation.kept,
            notes: &relocation.notes,
            pending: Vec::new(),
        }
    }

    fn pending(pending: &'a [PendingFile]) -> Self {
        Self {
            pending: pending.iter().map(|file| file.path.as_str()).collect(),
            ..Self::default()
        }
    }
}

fn render_relocation(relocation: &TableRelocation) -> String {
    let TableRelocation {
        metadata_path,
        previous_metadata: _,
        location,
        written,
        kept,
        notes,
    } = relocation;
    let mut text = format!("{}\n", escape(metadata_path));
    let _ = writeln!(
        text,
        "\n{} written, {kept} {} there already.",
        counted(*written, "file"),
        one_or_many(*kept, "was", "were")
    );
    for note in notes {
        let _ = writeln!(text, "Note: {}", escape(note));
    }
    let _ = writeln!(
        text,
        "\nNo catalog was changed. To register the table, name this metadata.json in the standby's catalog:\n  \
         Glue: set the table's parameter metadata_location to it, and the location to {}\n  \
         Spark: CALL <catalog>.system.register_table(table => '<database>.<table>', metadata_file => '<the path above>')\n  \
         pyiceberg: catalog.register_table(\"<database>.<table>\", \"<the path above>\")\n\
         Register it in one catalog only.",
        escape(location)
    );
    text
}

fn render_pending(pending: &[PendingFile]) -> String {
    let mut text = format!(
        "data-pending: {} {} not arrived in the standby. No metadata.json was written. Run the command \
         again when {}.\n",
        counted(pending.len(), "file"),
        one_or_many(pending.len(), "has", "have"),
        one_or_many(pending.len(), "it has", "they have")
    );
    for PendingFile {
        path,
        expected,
        found,
    } in pending.iter().take(LISTED_FILES)
    {
        let problem = match (expected, found) {
            (Some(expected), Some(found)) => {
                format!("{} instead of {expected}", counted(*found, "byte"))
            }
            (Some(_) | None, _) => "missing".to_owned(),
        };
        let _ = writeln!(text, "  {}: {problem}", escape(path));
    }
    if pending.len() > LISTED_FILES {
        let _ = writeln!(text, "  and {} more", pending.len() - LISTED_FILES);
    }
    text
}

/// Where the files of a table may lie by default: the bucket, or the directory of a local table.
fn home_of(metadata_path: &str) -> String {
    if let Some((bucket, _)) = bucket_and_key(metadata_path) {
        return format!("s3://{bucket}");
    }
    let path = local_path(metadata_path).unwrap_or(metadata_path);
    let own = format!("/{OWN_DIRECTORY}/");
    match path.split_once(&own) {
        Some((location, _)) => location.to_owned(),
        None => path.rsplitn(3, '/').nth(2).unwrap_or(path).to_owned(),
    }
}

async fn check(args: &CheckArgs, progress: &TerminalProgress) -> Result<CommandOutcome, CliError> {
    let files = args.table.files().await;
    let metadata_path = args.table.metadata_path(&files, &args.table.table).await?;
    let home = home_of(&metadata_path);
    let locations = FileLocations::new(
        args.allow_location
            .iter()
            .map(String::as_str)
            .chain([home.as_str()]),
    );
    let locations = locations.map_err(|error| CliError::Usage(error.to_string()))?;
    let report = match check_replica(&files, &metadata_path, &locations, progress).await {
        Ok(report) => report,
        // A metadata.json that no engine reads is a fault of the copy.
        Err(IcebergError::Refused(finding)) => ReplicaReport {
            findings: vec![finding],
            ..ReplicaReport::default()
        },
        Err(error @ (IcebergError::Call(_) | IcebergError::PairingId(_))) => {
            return Err(error.into());
        }
    };
    progress.end();
    match args.table.json {
        true => output::json(&report.findings),
        false => output::print(&render_report(&metadata_path, &report)),
    }
    Ok(CommandOutcome::done_if(report.findings.is_empty()))
}

fn render_report(metadata_path: &str, report: &ReplicaReport) -> String {
    let mut text = format!(
        "{}: {}, {}, {}, {}\n",
        escape(metadata_path),
        counted(report.snapshots, "snapshot"),
        counted(report.manifests, "manifest"),
        counted(report.data_files, "data file"),
        counted(report.delete_files, "delete file")
    );
    for TableFinding {
        kind,
        file,
        entry,
        detail,
    } in &report.findings
    {
        let at = if entry.is_empty() {
            String::new()
        } else {
            format!(", {}", escape(entry))
        };
        let _ = writeln!(
            text,
            "\n{}\n  {}{at}\n  {}",
            kind.as_str(),
            escape(file),
            escape(detail)
        );
    }
    match report.findings.len() {
        0 => text.push_str("Nothing is wrong.\n"),
        count => {
            let _ = writeln!(text, "\n{}.", counted(count, "finding"));
        }
    }
    text
}

async fn show(args: &ShowArgs) -> Result<CommandOutcome, CliError> {
    let files = args.table.files().await;
    let metadata_path = args.table.metadata_path(&files, &args.table.table).await?;
    let summary = summarize_table(&files, &metadata_path).await?;
    match args.table.json {
        true => output::json(&summary),
        false => output::print(&render_summary(&metadata_path, &summary)),
    }
    let is_complete = summary
        .snapshots
        .iter()
        .all(|snapshot| snapshot.manifests.is_some());
    Ok(CommandOutcome::done_if(is_complete))
}

fn render_summary(metadata_path: &str, summary: &TableSummary) -> String {
    let mut text = format!(
        "{}\nformat {}, table {}, location {}\n",
        escape(metadata_path),
        summary.format_version,
        escape(&summary.uuid),
        escape(&summary.location)
    );
    for snapshot in &summary.snapshots {
        let time = Timestamp::from_millis(snapshot.timestamp_ms);
        let manifests = match snapshot.manifests {
            Some((all, own)) => format!("{}, {own} relocated", counted(all, "manifest")),
            None => "its manifest list does not exist".to_owned(),
        };
        let names: String = snapshot
            .references
            .iter()
            .map(|name| format!(", {}", escape(name)))
            .collect();
        let current = if snapshot.is_current { ", current" } else { "" };
        let operation = escape(&snapshot.operation);
        let _ = writeln!(
            text,
            "  {} {time} {operation}: {manifests}{names}{current}",
            snapshot.id
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_before_the_second_location() {
        let split = |text| split_pair(text).map_err(|e| e.to_string());
        assert_eq!(split("s3://a=s3://b"), Ok(("s3://a", "s3://b")));
        assert_eq!(
            split("s3://a/dt=1=s3a://b/dt=1"),
            Ok(("s3://a/dt=1", "s3a://b/dt=1"))
        );
        assert_eq!(split("/a=/b"), Ok(("/a", "/b")));
        assert!(split("s3://a").is_err() && split("s3://a=b").is_err());
    }

    #[test]
    fn the_home_of_a_table_is_its_bucket_or_its_directory() {
        assert_eq!(home_of("s3a://b/t/metadata/v1.metadata.json"), "s3://b");
        assert_eq!(home_of("file:///w/t/metadata/v1.metadata.json"), "/w/t");
        assert_eq!(home_of("/w/t/_twinlake/id/x-v1.metadata.json"), "/w/t");
    }
}
