//! Implements `ReadRegion` and `WriteRegion` over the Glue and Lake Formation clients of a Region.

mod attachments;
mod function_pattern;
mod functions;
mod lakeformation;
mod partitions;
mod unreplicated;
mod write;

pub(crate) use unreplicated::TABLES_PER_OPTIMIZER_CALL;

use crate::call_counter::Service;
use crate::clients::Clients;
use crate::pages::{all_pages, each_page};
use crate::{call_error, glue_convert, permission_convert};
use aws_sdk_lakeformation::types::{DataLakeResourceType, PrincipalResourcePermissions};
use function_pattern::FunctionPattern;
use std::sync::Arc;
use twinlake_core::catalog::{Observed, ObservedAttachment, OptIn};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission, ListedResource};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, CallErrorKind, Database, Facet, Function, FunctionId, Name, Partition, Subject,
    Table, TableId,
};
use twinlake_engine::ReadRegion;
use twinlake_engine::ports::{
    GrantFilter, PartitionsByValues, PermissionResourceType, UnreplicatedInventory,
};

/// Glue and Lake Formation in one Region of one account.
#[derive(Clone, Debug)]
pub struct AwsRegion {
    region: String,
    account: String,
    glue: aws_sdk_glue::Client,
    lakeformation: aws_sdk_lakeformation::Client,
    /// How the service reads the pattern of function names.
    function_pattern: Arc<FunctionPattern>,
}

impl AwsRegion {
    /// The Region of some clients, in an account.
    #[must_use]
    pub fn new(clients: &Clients, account: &str) -> Self {
        Self {
            region: clients.region().to_owned(),
            account: account.to_owned(),
            glue: clients.glue(),
            lakeformation: clients.lakeformation(),
            function_pattern: Arc::default(),
        }
    }

    /// The error of a response with an entry that cannot be represented.
    fn unreadable_entry_error(&self, call: &str, reason: String) -> CallError {
        CallError::new(CallErrorKind::Invalid, call, &self.region, reason)
    }

    async fn read_grant_pages(
        &self,
        resource: Option<ListedResource>,
        kind: Option<PermissionResourceType>,
        include_related: bool,
        receive: &mut dyn FnMut(Vec<ListedPermission>),
    ) -> Result<(), CallError> {
        const CALL: &str = "ListPermissions";
        let kind = kind.map(|kind| DataLakeResourceType::from(kind.as_str()));
        let resource = resource
            .map(|resource| permission_convert::to_sdk_resource(&resource, &self.account))
            .transpose();
        let resource =
            resource.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let page = |token| async {
            let page = self
                .lakeformation
                .list_permissions()
                .set_resource(resource.clone())
                .set_resource_type(kind.clone())
                .set_include_related(include_related.then(|| "TRUE".to_owned()))
                .max_results(1000)
                .set_next_token(token)
                .send()
                .await
                .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let listed = page.principal_resource_permissions.unwrap_or_default();
            Ok::<_, CallError>((listed, page.next_token))
        };
        let receive = |page: Vec<PrincipalResourcePermissions>| {
            let entries = page.into_iter();
            let entries =
                entries.map(|entry| permission_convert::from_sdk_permission(entry, &self.account));
            receive(entries.collect());
        };
        each_page((CALL, &self.region), page, receive).await
    }
}

impl ReadRegion for AwsRegion {
    fn region(&self) -> &str {
        &self.region
    }

    fn call_count(&self) -> u64 {
        Service::Glue.calls() + Service::LakeFormation.calls()
    }

    async fn database(&self, name: &Name) -> Result<Observed<Database>, CallError> {
        const CALL: &str = "GetDatabase";
        let call = self.glue.get_database().name(name.as_str()).send().await;
        let response = call.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let found = response
            .database
            .ok_or_else(|| missing_object(CALL, &self.region))?;
        Ok(glue_convert::from_sdk_database(found))
    }

    async fn databases(&self) -> Result<Vec<Observed<Database>>, CallError> {
        const CALL: &str = "GetDatabases";
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self
                .glue
                .get_databases()
                .max_results(100)
                .set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            Ok((page.database_list, page.next_token))
        })
        .await?;
        Ok(listed
            .into_iter()
            .map(glue_convert::from_sdk_database)
            .collect())
    }

    async fn table(&self, id: &TableId) -> Result<Observed<Table>, CallError> {
        const CALL: &str = "GetTable";
        // The status holds the SQL of a view that Glue does not show otherwise (F-4).
        let call = self.glue.get_table().include_status_details(true);
        let call = call.database_name(id.database.as_str());
        let response = call.name(id.table.as_str()).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let found = response
            .table
            .ok_or_else(|| missing_object(CALL, &self.region))?;
        Ok(glue_convert::from_sdk_table(found))
    }

    async fn tables(&self, database: &Name) -> Result<Vec<Observed<Table>>, CallError> {
        const CALL: &str = "GetTables";
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self.glue.get_tables().include_status_details(true);
            let call = call.database_name(database.as_str());
            let call = call.max_results(100).set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            Ok((page.table_list.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed
            .into_iter()
            .map(glue_convert::from_sdk_table)
            .collect())
    }

    async fn partitions_page(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), CallError> {
        self.read_partition_page(id, segment, token).await
    }

    async fn partitions_by_values(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<PartitionsByValues, CallError> {
        self.read_partition_batch(id, values).await
    }

    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError> {
        self.read_functions(database).await
    }

    async fn function(&self, id: &FunctionId) -> Result<Observed<Function>, CallError> {
        self.read_function(id).await
    }

    async fn attachments(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        self.read_attachments(subject, facet, columns).await
    }

    async fn list_grants(
        &self,
        filter: Option<&GrantFilter>,
        receive: &mut dyn FnMut(Vec<ListedPermission>),
    ) -> Result<(), CallError> {
        let (resource, kind) = match filter {
            None => (None, None),
            Some(GrantFilter::Database(name)) => {
                (Some(ListedResource::Database(name.clone())), None)
            }
            Some(GrantFilter::AllTables(name)) => {
                (Some(ListedResource::TableWildcard(name.clone())), None)
            }
            Some(GrantFilter::Table(id)) => (Some(ListedResource::Table(id.clone())), None),
            Some(GrantFilter::Type(kind)) => (None, Some(*kind)),
            Some(GrantFilter::TablesWithRelated) => (None, Some(PermissionResourceType::Table)),
        };
        // Grants on data cells filters are listed with their table only with IncludeRelated.
        let with_related = matches!(
            filter,
            Some(GrantFilter::Table(_) | GrantFilter::TablesWithRelated)
        );
        self.read_grant_pages(resource, kind, with_related, receive)
            .await
    }

    async fn settings(&self) -> Result<ObservedSettings, CallError> {
        let settings =
            crate::lakeformation_convert::from_sdk_settings(self.read_data_lake_settings().await?);
        Ok(ObservedSettings::new(settings))
    }

    async fn opt_ins(&self) -> Result<Vec<OptIn>, CallError> {
        self.read_opt_ins().await
    }

    async fn search_by_lf_tags(
        &self,
        target: LfTagPolicyTarget,
        expression: &LfTagExpression,
    ) -> Result<Vec<LfTaggedResource>, CallError> {
        self.read_lf_tag_search(target, expression).await
    }

    async fn unreplicated_inventory(&self) -> UnreplicatedInventory {
        self.read_unreplicated().await
    }

    async fn optimizer_count(&self, tables: &[TableId]) -> Result<usize, CallError> {
        self.read_optimizer_count(tables).await
    }
}

fn missing_object(call: &str, region: &str) -> CallError {
    CallError::new(
        CallErrorKind::Unavailable,
        call,
        region,
        "the response does not contain the object",
    )
}
