//! Files of tables in S3 or in a local directory, by their path.

use std::io::ErrorKind;
use std::path::Path;
use twinlake_aws::S3TableFiles;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::TableFiles;
use twinlake_iceberg::{bucket_and_key, local_path};

/// What stands for the Region in errors of local files.
const LOCAL: &str = "the local file system";

/// The files of a command.
pub(crate) struct CommandTableFiles {
    /// `None` if no Region was named.
    pub s3: Option<S3TableFiles>,
}

fn local(path: &str) -> Result<&Path, CallError> {
    let problem = || format!("{path} is neither a path in S3 nor an absolute local path");
    let found = local_path(path).map(Path::new);
    found.ok_or_else(|| CallError::new(CallErrorKind::Invalid, "open", LOCAL, problem()))
}

fn failed(call: &str, path: &Path, error: &std::io::Error) -> CallError {
    let kind = match error.kind() == ErrorKind::PermissionDenied {
        true => CallErrorKind::Denied,
        false => CallErrorKind::Invalid,
    };
    CallError::new(kind, call, LOCAL, format!("{}: {error}", path.display()))
}

/// `None` for a file that does not exist.
fn found<T>(call: &str, path: &Path, result: std::io::Result<T>) -> Result<Option<T>, CallError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(call, path, &error)),
    }
}

impl CommandTableFiles {
    fn s3(&self) -> Result<&S3TableFiles, CallError> {
        let problem = "no Region is named; add --region REGION, the Region of the bucket";
        self.s3
            .as_ref()
            .ok_or_else(|| CallError::new(CallErrorKind::Invalid, "connect", "S3", problem))
    }
}

impl TableFiles for CommandTableFiles {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        if bucket_and_key(path).is_some() {
            return self.s3()?.get(path).await;
        }
        let file = local(path)?;
        found("read", file, std::fs::read(file))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        if bucket_and_key(path).is_some() {
            return self.s3()?.size(path).await;
        }
        let file = local(path)?;
        let size = found("stat", file, std::fs::metadata(file))?;
        Ok(size
            .filter(std::fs::Metadata::is_file)
            .map(|file| file.len()))
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        if bucket_and_key(prefix).is_some() {
            return self.s3()?.list(prefix, visit).await;
        }
        let mut directories = vec![(prefix.to_owned(), local(prefix)?.to_owned())];
        while let Some((name, directory)) = directories.pop() {
            let error = |error: &std::io::Error| failed("list", &directory, error);
            let Some(entries) = found("list", &directory, std::fs::read_dir(&directory))? else {
                continue;
            };
            for entry in entries {
                let entry = entry.map_err(|e| error(&e))?;
                let metadata = entry.metadata().map_err(|e| error(&e))?;
                // A name that is no UTF-8 is in no metadata.
                let Some(child) = entry
                    .file_name()
                    .to_str()
                    .map(|child| format!("{name}{child}"))
                else {
                    continue;
                };
                match metadata.is_dir() {
                    true => directories.push((format!("{child}/"), entry.path())),
                    false => visit(&child, metadata.len()),
                }
            }
        }
        Ok(())
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        if bucket_and_key(path).is_some() {
            return self.s3()?.create(path, content).await;
        }
        let file = local(path)?;
        let directory = file.parent().unwrap_or(file);
        std::fs::create_dir_all(directory).map_err(|e| failed("create", directory, &e))?;
        // Linked into place, so that a reader never sees a part of the file, and a file that exists stays.
        let mut temporary = file.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = Path::new(&temporary);
        std::fs::write(temporary, content).map_err(|e| failed("write", temporary, &e))?;
        let linked = std::fs::hard_link(temporary, file);
        std::fs::remove_file(temporary).map_err(|e| failed("remove", temporary, &e))?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed("create", file, &error)),
        }
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        if bucket_and_key(path).is_some() {
            return self.s3()?.remove(path).await;
        }
        let file = local(path)?;
        found("remove", file, std::fs::remove_file(file)).map(drop)
    }
}
