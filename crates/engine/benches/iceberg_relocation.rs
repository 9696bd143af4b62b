//! The work on Iceberg tables that `tests/local/bench_iceberg.py` measures: one measurement for each process, so that the
//! caller reads its processor time from the system. Prints what was counted, and the peak memory in KiB. The caller also makes
//! the tables.
//!
//! ```text
//! iceberg_relocation read-and-rewrite MANIFEST TIMES OUTPUT SOURCE TARGET
//! iceberg_relocation relocate METADATA DATA_FILES MEMORY SOURCE TARGET
//! iceberg_relocation rewrite-deletes FILE OUTPUT SOURCE TARGET
//! ```
#![allow(
    clippy::print_stdout,
    reason = "a program whose result is what it prints"
)]

use futures_util::FutureExt as _;
use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;
use twinlake_core::catalog::digest;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::iceberg::{
    FileProgress, HeldFiles, MAX_HELD_BYTES, RelocationMemory, RelocationOutcome,
    RelocationRequest, RelocationSource, WorkLimits, relocate_with_memory,
};
use twinlake_engine::ports::TableFiles;
use twinlake_iceberg::{
    PathMap, Relocations, read_and_relocate_manifest, relocate_position_deletes,
};

/// The size of each data file, as the manifests give it.
const DATA_BYTES: u64 = 134_217_728;

/// Metadata in a directory, and data files that are there by their names only: `LOCATION/data/00000000.parquet` and so
/// on.
struct BenchFiles {
    location: String,
    data_files: usize,
}

fn failed(path: &str, error: &std::io::Error) -> CallError {
    let detail = format!("{path}: {error}");
    CallError::new(CallErrorKind::Invalid, "read", "local", detail)
}

impl TableFiles for BenchFiles {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        if path.ends_with(".parquet") {
            return Ok(Some(DATA_BYTES));
        }
        Ok(std::fs::metadata(path).ok().map(|file| file.len()))
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        if Path::new(prefix) == Path::new(&self.location) {
            for number in 0..self.data_files {
                let path = format!("{}/data/{number:08}.parquet", self.location);
                visit(&path, DATA_BYTES);
            }
            return Ok(());
        }
        let Ok(entries) = std::fs::read_dir(prefix) else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed(prefix, &error))?;
            let file = entry.metadata().map_err(|error| failed(prefix, &error))?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            visit(&path, file.len());
        }
        Ok(())
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        if let Some(parent) = Path::new(path).parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(path, &error))?;
        }
        std::fs::write(path, content).map_err(|error| failed(path, &error))?;
        Ok(true)
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        std::fs::remove_file(path).map_err(|error| failed(path, &error))
    }
}

struct NoProgress;

impl FileProgress for NoProgress {
    fn files_expected(&self, _: usize) {}
    fn file_finished(&self) {}
}

/// The most memory that this process had, in KiB, as Linux counts it.
fn peak_memory_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("/proc/self/status has no VmHWM")?.parse()?)
}

/// Reads a manifest as a relocation does, and rewrites it, several times. Returns the number of its entries.
fn read_and_rewrite(
    manifest: &str,
    times: usize,
    output: &str,
    map: &PathMap,
) -> Result<usize, Box<dyn Error>> {
    let bytes = std::fs::read(manifest)?;
    let (mut entries, mut rewritten) = (0, Vec::new());
    for _ in 0..times {
        let relocated = read_and_relocate_manifest(manifest, &bytes, map, &Relocations::default())?;
        entries = relocated.manifest.entries.len();
        rewritten = relocated.bytes.ok_or("the manifest was not rewritten")?;
    }
    std::fs::write(output, rewritten)?;
    Ok(entries)
}

/// Relocates a table. Reads the memory of earlier relocations from a file, compares it with the new one, and stores that,
/// as a function does with the memory in its ledger. Returns how many files were written.
fn relocate(
    metadata: &str,
    data_files: usize,
    memory_file: &str,
    target: &str,
    map: PathMap,
) -> Result<usize, Box<dyn Error>> {
    let loaded: RelocationMemory = match std::fs::read(memory_file) {
        Ok(stored) => serde_json::from_slice(&stored)?,
        Err(_) => RelocationMemory::default(),
    };
    let mut memory = loaded.clone();
    let request = RelocationRequest {
        metadata_path: metadata.to_owned(),
        map,
        table_location: None,
        pairing_id: None,
        source: RelocationSource::Replica,
    };
    let limits = WorkLimits {
        is_late: &|| false,
        held: &HeldFiles::new(MAX_HELD_BYTES),
    };
    let files = BenchFiles {
        location: target.to_owned(),
        data_files,
    };
    let run = relocate_with_memory(&files, &request, &mut memory, limits, &NoProgress);
    let outcome = run.now_or_never().ok_or("a local file was waited for")??;
    let written = match outcome {
        RelocationOutcome::Relocated(relocation) => relocation.written,
        RelocationOutcome::Pending(_) | RelocationOutcome::Unfinished { .. } => {
            return Err(format!("the table is not relocated: {outcome:.200?}").into());
        }
    };
    if memory == loaded {
        return Err("the relocation is not remembered".into());
    }
    let stored = serde_json::to_string(&memory)?;
    // The name of the object that the memory of a large table is stored in.
    let _ = digest(&memory);
    std::fs::write(memory_file, stored)?;
    Ok(written)
}

/// Rewrites a file of position deletes. Returns the length of the result.
fn rewrite_deletes(file: &str, output: &str, map: &PathMap) -> Result<usize, Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    let rewritten = relocate_position_deletes(file, bytes.into(), map)?.bytes;
    let length = rewritten.len();
    std::fs::write(output, rewritten)?;
    Ok(length)
}

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> = std::env::args().filter(|one| one != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let counted = match arguments.as_slice() {
        ["read-and-rewrite", manifest, times, output, source, target] => {
            let map = PathMap::new([(*source, *target)])?;
            read_and_rewrite(manifest, times.parse()?, output, &map)?
        }
        ["relocate", metadata, data_files, memory, source, target] => {
            let map = PathMap::new([(*source, *target)])?;
            relocate(metadata, data_files.parse()?, memory, target, map)?
        }
        ["rewrite-deletes", file, output, source, target] => {
            let map = PathMap::new([(*source, *target)])?;
            rewrite_deletes(file, output, &map)?
        }
        _ => {
            return Err(
                "expected read-and-rewrite, relocate or rewrite-deletes with their arguments"
                    .into(),
            );
        }
    };
    println!("{counted} {}", peak_memory_kib()?);
    Ok(())
}
