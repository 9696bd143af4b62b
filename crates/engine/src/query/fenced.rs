//! The query tools of a Region to which a process writes only under the lease of its role.

use crate::ports::{
    Clock, ReadQueryRegion, ReadWarehouses, StatementDescription, WriteQueryRegion, WriteWarehouses,
};
use crate::write_fence::{EpochSource, WriteFence};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_core::CallError;
use twinlake_core::policy::WarehouseSite;
use twinlake_core::query::{
    ApprovedStatement, ObjectKey, QueryKind, QueryObject, WarehouseQuery, WarehouseRow,
};

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

impl<R: ReadWarehouses, L: EpochSource, C: Clock> ReadWarehouses for FencedQueryRegion<R, L, C> {
    async fn submit_query(
        &self,
        warehouse: &WarehouseSite,
        query: &WarehouseQuery,
    ) -> Result<String, CallError> {
        self.region.submit_query(warehouse, query).await
    }

    async fn describe_statement(&self, id: &str) -> Result<StatementDescription, CallError> {
        self.region.describe_statement(id).await
    }

    async fn statement_rows(
        &self,
        id: &str,
        token: Option<String>,
    ) -> Result<(Vec<WarehouseRow>, Option<String>), CallError> {
        self.region.statement_rows(id, token).await
    }

    // It only takes back what this process has sent, so it asks no fence.
    async fn cancel_statement(&self, id: &str) -> Result<(), CallError> {
        self.region.cancel_statement(id).await
    }
}

impl<R: ReadQueryRegion + WriteWarehouses, L: EpochSource, C: Clock> WriteWarehouses
    for FencedQueryRegion<R, L, C>
{
    async fn submit_statement(
        &self,
        warehouse: &WarehouseSite,
        statement: &ApprovedStatement,
        token: &str,
    ) -> Result<String, CallError> {
        self.check().await?;
        self.region
            .submit_statement(warehouse, statement, token)
            .await
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
