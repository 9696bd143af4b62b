//! The files of tables in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::TableFiles;

/// The files of both Regions by their paths, with a log of what was done to them.
#[derive(Debug, Default)]
pub struct SimTableFiles {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    log: Mutex<Vec<String>>,
    /// Locations that do not answer, such as the buckets of a lost Region.
    lost: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimTableFiles {
    /// The files, to inspect and change them.
    pub fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        lock(&self.files)
    }

    /// Lets the calls for a location fail.
    pub fn lose(&self, location: &str) {
        lock(&self.lost).push(location.to_owned());
    }

    /// The calls since the last time, such as `get s3://lake-b/t/metadata/m0.avro`.
    #[must_use]
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.log))
    }

    fn record(&self, call: &str, path: &str) -> Result<(), CallError> {
        lock(&self.log).push(format!("{call} {path}"));
        if lock(&self.lost)
            .iter()
            .any(|location| path.starts_with(location))
        {
            let kind = CallErrorKind::Unavailable;
            return Err(CallError::new(
                kind,
                call,
                "S3",
                format!("{path} does not answer"),
            ));
        }
        Ok(())
    }
}

impl TableFiles for SimTableFiles {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.record("get", path)?;
        Ok(self.files().get(path).cloned())
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        self.record("size", path)?;
        let files = self.files();
        let length = files.get(path).map(Vec::len);
        Ok(length.and_then(|length| u64::try_from(length).ok()))
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        self.record("list", prefix)?;
        for (path, content) in self
            .files()
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
        {
            visit(path, u64::try_from(content.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        self.record("create", path)?;
        let mut files = self.files();
        let is_new = !files.contains_key(path);
        if is_new {
            files.insert(path.to_owned(), content);
        }
        Ok(is_new)
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        self.record("remove", path)?;
        self.files().remove(path);
        Ok(())
    }
}
