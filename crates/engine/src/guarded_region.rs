//! A Region to which a process writes only while it holds the lease of its [`WriteFence`].

use crate::ports::region_calls::{read_region_calls, write_region_calls};
use crate::ports::{
    Clock, EntryResults, GrantFilter, PartitionsByValues, ReadRegion, SettingsChange,
    UnreplicatedInventory, WriteRegion,
};
use crate::write_fence::{EpochSource, WriteFence};
use std::sync::Arc;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, Observed, ObservedAttachment, OptIn, PartitionIndex,
};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, Database, Facet, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};

/// A Region whose writing calls check the lease first. Calls that read do not.
#[derive(Debug)]
pub struct GuardedRegion<R, L, C> {
    region: R,
    fence: Option<Arc<WriteFence<L, C>>>,
}

impl<R, L, C> GuardedRegion<R, L, C> {
    /// Checks the lease before each write to a Region. `None` is for a Region whose ledger is kept in a file: no
    /// Lambda function writes to it.
    #[must_use]
    pub const fn new(region: R, fence: Option<Arc<WriteFence<L, C>>>) -> Self {
        Self { region, fence }
    }
}

macro_rules! delegated {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> $result {
            self.region.$name($($argument),*).await
        }
    )*};
}

macro_rules! fenced {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> $result {
            if let Some(fence) = &self.fence {
                fence.check(self.region.region()).await?;
            }
            self.region.$name($($argument),*).await
        }
    )*};
}

impl<R: ReadRegion, L: EpochSource, C: Clock> ReadRegion for GuardedRegion<R, L, C> {
    fn region(&self) -> &str {
        self.region.region()
    }

    fn call_count(&self) -> u64 {
        self.region.call_count()
    }

    read_region_calls! { delegated }
}

impl<R: WriteRegion, L: EpochSource, C: Clock> WriteRegion for GuardedRegion<R, L, C> {
    write_region_calls! { fenced }
}
