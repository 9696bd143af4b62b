//! A Region with a limit of calls in flight: one limit for everything that a process does there,
//! however many databases, tables and facets it works on at once.

use crate::ports::region_calls::{read_region_calls, write_region_calls};
use crate::ports::{
    EntryResults, GrantFilter, PartitionsByValues, ReadRegion, SettingsChange,
    UnreplicatedInventory, WriteRegion,
};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};
use twinlake_core::catalog::{
    Attachment, AttachmentKey, Observed, ObservedAttachment, OptIn, PartitionIndex,
};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, Database, Facet, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};

/// Runs at most `max_concurrent_calls` calls at a time; further calls wait. A listing counts as
/// one call: its pages are read one after the other. Clones share the limit.
#[derive(Clone, Debug)]
pub struct LimitedRegion<R> {
    region: R,
    permits: Arc<Semaphore>,
}

impl<R> LimitedRegion<R> {
    /// Limits a Region to `max_concurrent_calls` calls in flight, and to one if that is 0.
    #[must_use]
    pub fn new(region: R, max_concurrent_calls: usize) -> Self {
        Self {
            region,
            permits: Arc::new(Semaphore::new(max_concurrent_calls.max(1))),
        }
    }

    /// Waits for a permit. The semaphore is never closed, so there is always one to wait for.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }
}

macro_rules! limited {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> $result {
            let _permit = self.permit().await;
            // The future of an SDK call is large; it is boxed, because a run holds many.
            Box::pin(self.region.$name($($argument),*)).await
        }
    )*};
}

impl<R: ReadRegion> ReadRegion for LimitedRegion<R> {
    fn region(&self) -> &str {
        self.region.region()
    }

    fn call_count(&self) -> u64 {
        self.region.call_count()
    }

    read_region_calls! { limited }
}

impl<R: WriteRegion> WriteRegion for LimitedRegion<R> {
    write_region_calls! { limited }
}
