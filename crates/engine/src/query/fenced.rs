//! The query tools of a Region to which a process writes only under the lease of its role.

use crate::ports::{Clock, ReadQueryRegion, WriteQueryRegion};
use crate::write_fence::{EpochSource, WriteFence};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_core::CallError;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject, UnreplicatedKind};

/// A Region whose calls that write ask a fence first. Reads ask nobody.
#[derive(Debug)]
pub struct FencedQueryRegion<R, L, C> {
    region: R,
    fence: Option<Arc<WriteFence<L, C>>>,
}

impl<R, L, C> FencedQueryRegion<R, L, C> {
    /// Puts a fence before the writes. `None` is for a Region that no function writes to.
    #[must_use]
    pub const fn new(region: R, fence: Option<Arc<WriteFence<L, C>>>) -> Self {
        Self { region, fence }
    }
}

impl<R: ReadQueryRegion, L: EpochSource, C: Clock> FencedQueryRegion<R, L, C> {
    async fn check(&self) -> Result<(), CallError> {
        match &self.fence {
            Some(fence) => fence.check(self.region.region()).await,
            None => Ok(()),
        }
    }
}

impl<R: ReadQueryRegion, L: EpochSource, C: Clock> ReadQueryRegion for FencedQueryRegion<R, L, C> {
    fn region(&self) -> &str {
        self.region.region()
    }

    async fn list(
        &self,
        kind: QueryKind,
        parent: Option<&str>,
        tags: bool,
    ) -> Result<Vec<(ObjectKey, Result<QueryObject, CallError>)>, CallError> {
        self.region.list(kind, parent, tags).await
    }

    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        self.region.read(key).await
    }

    async fn unreplicated_counts(&self) -> Result<BTreeMap<String, usize>, CallError> {
        self.region.unreplicated_counts().await
    }

    async fn unreplicated_names(
        &self,
        kind: UnreplicatedKind,
    ) -> Result<BTreeSet<String>, CallError> {
        self.region.unreplicated_names(kind).await
    }
}

impl<R: WriteQueryRegion, L: EpochSource, C: Clock> WriteQueryRegion
    for FencedQueryRegion<R, L, C>
{
    async fn create(&self, object: &QueryObject, token: &str) -> Result<ObjectKey, CallError> {
        self.check().await?;
        self.region.create(object, token).await
    }

    async fn update(&self, current: &QueryObject, desired: &QueryObject) -> Result<(), CallError> {
        self.check().await?;
        self.region.update(current, desired).await
    }

    async fn change_tags(
        &self,
        key: &ObjectKey,
        set: &BTreeMap<String, String>,
        remove: &BTreeSet<String>,
    ) -> Result<(), CallError> {
        self.check().await?;
        self.region.change_tags(key, set, remove).await
    }

    async fn sleep(&self, key: &ObjectKey) -> Result<(), CallError> {
        self.check().await?;
        self.region.sleep(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), CallError> {
        self.check().await?;
        self.region.delete(key).await
    }
}
