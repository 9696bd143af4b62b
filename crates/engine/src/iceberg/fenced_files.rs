//! The files of a Region to which a process writes only under the lease of its role.

use crate::ports::{Clock, TableFiles};
use crate::write_fence::{EpochSource, WriteFence};
use std::sync::Arc;
use twinlake_core::CallError;

/// Files whose calls that write ask a fence first. Reads ask nobody.
#[derive(Debug)]
pub struct FencedTableFiles<F, L, C> {
    files: F,
    region: String,
    fence: Arc<WriteFence<L, C>>,
}

impl<F, L, C> FencedTableFiles<F, L, C> {
    /// Puts a fence before the writes to the files of a Region.
    #[must_use]
    pub fn new(files: F, region: &str, fence: Arc<WriteFence<L, C>>) -> Self {
        Self {
            files,
            region: region.to_owned(),
            fence,
        }
    }
}

impl<F: TableFiles, L: EpochSource, C: Clock> TableFiles for FencedTableFiles<F, L, C> {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.files.get(path).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        self.files.size(path).await
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        self.files.list(prefix, visit).await
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        self.fence.check(&self.region).await?;
        self.files.create(path, content).await
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        self.fence.check(&self.region).await?;
        self.files.remove(path).await
    }
}
