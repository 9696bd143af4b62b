//! One Region's Glue and Lake Formation.

mod lake;
mod partitions;
mod parts;
mod survey;
mod write;

use crate::calls::{Counted, Service};
use crate::{convert, fault, grants};
use aws_sdk_lakeformation::types::DataLakeResourceType;
use std::future::Future;
use twinlake_core::catalog::{OptIn, Seen, SeenPart};
use twinlake_core::grant::{Entry, EntryResource, TagExpression, TagTarget};
use twinlake_core::name::NameError;
use twinlake_core::reading::{Settings, Tagged};
use twinlake_core::{
    Database, Facet, Fault, FaultKind, Function, FunctionId, Name, Partition, Subject, Table,
    TableId,
};
use twinlake_engine::ReadRegion;
use twinlake_engine::ports::{GrantFilter, GrantType, Survey};

/// A Region of one account.
#[derive(Clone, Debug)]
pub struct AwsRegion {
    region: String,
    account: String,
    /// Roles that share what is created here.
    writers: Vec<String>,
    glue: aws_sdk_glue::Client,
    lake: aws_sdk_lakeformation::Client,
}

impl AwsRegion {
    /// A Region, with the configuration that the SDK finds.
    pub async fn connect(region: &str, account: &str) -> Self {
        let config = crate::sdk_config(region).await;
        Self {
            region: region.to_owned(),
            account: account.to_owned(),
            writers: Vec::new(),
            glue: aws_sdk_glue::Client::from_conf(
                aws_sdk_glue::config::Builder::from(&config)
                    .interceptor(Counted(Service::Glue))
                    .build(),
            ),
            lake: aws_sdk_lakeformation::Client::from_conf(
                aws_sdk_lakeformation::config::Builder::from(&config)
                    .interceptor(Counted(Service::LakeFormation))
                    .build(),
            ),
        }
    }

    fn nameless(&self, call: &str) -> impl Fn(NameError) -> Fault {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |error| Fault::new(FaultKind::Invalid, &call, &region, error.to_string())
    }

    /// Lets other roles of ours change what this one creates: administrators may
    /// grant, but not alter or drop what another role has made.
    #[must_use]
    pub fn shared_with(self, writers: Vec<String>) -> Self {
        Self { writers, ..self }
    }

    async fn list_grants(
        &self,
        resource: Option<EntryResource>,
        kind: Option<GrantType>,
    ) -> Result<Vec<Entry>, Fault> {
        const CALL: &str = "ListPermissions";
        // Those on data cells filters come with their table only if they are asked for.
        let of_tables =
            matches!(resource, Some(EntryResource::Table(_))) || kind == Some(GrantType::Table);
        let kind = kind.map(|kind| DataLakeResourceType::from(kind.as_str()));
        let resource = resource
            .map(|resource| grants::resource(&resource, &self.account))
            .transpose();
        let resource = resource.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let listed = pages(|token| async {
            let page = self
                .lake
                .list_permissions()
                .set_resource(resource.clone())
                .set_resource_type(kind.clone())
                .set_include_related(of_tables.then(|| "TRUE".to_owned()))
                .max_results(1000)
                .set_next_token(token)
                .send()
                .await
                .map_err(|e| fault::of(CALL, &self.region, &e))?;
            let listed = page.principal_resource_permissions.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await?;
        let entries = listed.into_iter();
        Ok(entries
            .map(|one| grants::entry(one, &self.account))
            .collect())
    }
}

/// Reads every page of a listing, or fails.
async fn pages<T, E, F>(mut page: impl FnMut(Option<String>) -> F) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<(Vec<T>, Option<String>), E>>,
{
    let mut all = Vec::new();
    let mut token = None;
    loop {
        let (items, next) = page(token).await?;
        all.extend(items);
        match next.filter(|next| !next.is_empty()) {
            Some(next) => token = Some(next),
            None => return Ok(all),
        }
    }
}

impl ReadRegion for AwsRegion {
    fn region(&self) -> &str {
        &self.region
    }

    fn calls(&self) -> u64 {
        Service::Glue.calls() + Service::LakeFormation.calls()
    }

    async fn database(&self, name: &Name) -> Result<Seen<Database>, Fault> {
        const CALL: &str = "GetDatabase";
        let call = self.glue.get_database().name(name.as_str()).send().await;
        let answer = call.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let found = answer.database.ok_or_else(|| absent(CALL, &self.region))?;
        convert::database(found).map_err(self.nameless(CALL))
    }

    async fn databases(&self) -> Result<Vec<Seen<Database>>, Fault> {
        const CALL: &str = "GetDatabases";
        let listed = pages(|token| async {
            let call = self
                .glue
                .get_databases()
                .max_results(100)
                .set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(|e| fault::of(CALL, &self.region, &e))?;
            Ok((page.database_list, page.next_token))
        })
        .await?;
        let databases = listed.into_iter().map(convert::database);
        databases
            .collect::<Result<_, _>>()
            .map_err(self.nameless(CALL))
    }

    async fn table(&self, id: &TableId) -> Result<Seen<Table>, Fault> {
        const CALL: &str = "GetTable";
        let call = self.glue.get_table().database_name(id.database.as_str());
        let answer = call.name(id.table.as_str()).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let found = answer.table.ok_or_else(|| absent(CALL, &self.region))?;
        convert::table(found).map_err(self.nameless(CALL))
    }

    async fn tables(&self, database: &Name) -> Result<Vec<Seen<Table>>, Fault> {
        const CALL: &str = "GetTables";
        let listed = pages(|token| async {
            let call = self.glue.get_tables().database_name(database.as_str());
            let call = call.max_results(100).set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(|e| fault::of(CALL, &self.region, &e))?;
            Ok((page.table_list.unwrap_or_default(), page.next_token))
        })
        .await?;
        let tables = listed.into_iter().map(convert::table);
        tables
            .collect::<Result<_, _>>()
            .map_err(self.nameless(CALL))
    }

    async fn partitions(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), Fault> {
        self.partition_page(id, segment, token).await
    }

    async fn partitions_named(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<Vec<Partition>, Fault> {
        self.partition_batch(id, values).await
    }

    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Seen<Function>)>, Fault> {
        self.list_functions(database).await
    }

    async fn function(&self, id: &FunctionId) -> Result<Seen<Function>, Fault> {
        self.one_function(id).await
    }

    async fn parts(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<SeenPart>, Fault> {
        self.list_parts(subject, facet, columns).await
    }

    async fn grants_on(&self, filter: &GrantFilter) -> Result<Vec<Entry>, Fault> {
        let resource = match filter {
            GrantFilter::Database(name) => EntryResource::Database(name.clone()),
            GrantFilter::AllTables(name) => EntryResource::TableWildcard(name.clone()),
            GrantFilter::Table(id) => EntryResource::Table(id.clone()),
            GrantFilter::Type(kind) => return self.list_grants(None, Some(*kind)).await,
        };
        self.list_grants(Some(resource), None).await
    }

    async fn all_grants(&self) -> Result<Vec<Entry>, Fault> {
        self.list_grants(None, None).await
    }

    async fn settings(&self) -> Result<Settings, Fault> {
        let whole = crate::lake::settings(self.lake_settings().await?);
        Ok(Settings::of(whole))
    }

    async fn opt_ins(&self) -> Result<Vec<OptIn>, Fault> {
        self.list_opt_ins().await
    }

    async fn search(
        &self,
        target: TagTarget,
        expression: &TagExpression,
    ) -> Result<Vec<Tagged>, Fault> {
        self.search_tags(target, expression).await
    }

    async fn survey(&self) -> Survey {
        self.look_around().await
    }

    async fn optimizers(&self, tables: &[TableId]) -> Result<usize, Fault> {
        self.count_optimizers(tables).await
    }
}

fn absent(call: &str, region: &str) -> Fault {
    Fault::new(
        FaultKind::Unavailable,
        call,
        region,
        "an answer without the object",
    )
}
