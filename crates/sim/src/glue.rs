//! Operations of the Glue Data Catalog.

mod attachments;
mod bulk_fixture;
mod catalog;
mod functions;
mod links;
mod partitions;
mod tools;
mod views;

pub(crate) use functions::function_id;

pub use bulk_fixture::BulkSize;

use crate::api::{array_field, page, parse_field, required_name, stored_name, table_id, to_json};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::lakeformation::{resource_database, resource_table};
use crate::quirk::Quirk;
use crate::state::{SimState, StoredGrant, StoredResource};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::catalog::Observed;
use twinlake_core::{Database, Name, Subject, Table, TableId};

type ApiResult = Result<Value, ApiError>;

pub(crate) const MAX_DATABASES_PER_PAGE: usize = 100;
pub(crate) const MAX_TABLES_PER_PAGE: usize = 100;
pub(crate) const MAX_PARTITIONS_PER_PAGE: usize = 1000;
pub(crate) const MAX_FUNCTIONS_PER_PAGE: usize = 100;

impl SimState {
    /// Runs a Glue operation. Returns `None` if Glue has no operation of this name.
    pub(crate) fn glue_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
        request: &Value,
    ) -> Option<ApiResult> {
        Some(match call {
            "CreateDatabase" => self.create_database(caller, request),
            "UpdateDatabase" => self.update_database(caller, request),
            "DeleteDatabase" => self.delete_database(caller, request),
            "GetDatabase" => required_name(request, "Name").and_then(|name| {
                let observed = self.get_database(caller, &name)?;
                Ok(json!({"Database": self.database_json(&observed)}))
            }),
            "GetDatabases" => self.get_databases(caller).map(|all| {
                page(
                    request,
                    "DatabaseList",
                    MAX_DATABASES_PER_PAGE,
                    &all,
                    |observed| self.database_json(observed),
                )
            }),
            "CreateTable" => self.create_table(caller, request),
            "UpdateTable" => self.update_table(caller, request),
            "DeleteTable" => {
                table_id(request, "Name").and_then(|id| self.delete_table(caller, &id))
            }
            "BatchDeleteTable" => self.batch_delete_table(caller, request),
            "GetTable" => table_id(request, "Name").and_then(|id| {
                let observed = self.get_table(caller, &id)?;
                Ok(json!({"Table": self.table_json(&id.database, &observed)}))
            }),
            "GetTables" => required_name(request, "DatabaseName").and_then(|database| {
                let all = self.get_tables(caller, &database)?;
                Ok(page(
                    request,
                    "TableList",
                    MAX_TABLES_PER_PAGE,
                    &all,
                    |observed| self.table_json(&database, observed),
                ))
            }),
            "GetPartitions" => self.list_partitions(caller, request),
            "BatchGetPartition" => self.batch_get_partition(caller, request),
            "GetPartition" => self.get_partition(caller, request),
            "CreatePartition" => self.create_partition(caller, request),
            "BatchCreatePartition" => self.batch_create_partition(caller, request),
            "UpdatePartition" => self.update_partition(caller, request),
            "BatchUpdatePartition" => self.batch_update_partition(caller, request),
            "DeletePartition" => self.delete_partition(caller, request),
            "BatchDeletePartition" => self.batch_delete_partition(caller, request),
            "GetUserDefinedFunctions" => self.list_functions(caller, request),
            "GetUserDefinedFunction" => function_id(request).and_then(|id| {
                let observed = self.get_function(caller, &id)?;
                Ok(json!({"UserDefinedFunction": functions::function_json(&id, &observed)}))
            }),
            "CreateUserDefinedFunction" => self.write_function(caller, request, true),
            "UpdateUserDefinedFunction" => self.write_function(caller, request, false),
            "DeleteUserDefinedFunction" => {
                function_id(request).and_then(|id| self.delete_function(caller, &id))
            }
            "GetPartitionIndexes" => self.get_partition_indexes(caller, request),
            "CreatePartitionIndex" => self.create_index(caller, request),
            "DeletePartitionIndex" => self.delete_index(caller, request),
            "GetColumnStatisticsForTable" => self.get_column_statistics_for_table(caller, request),
            "UpdateColumnStatisticsForTable" => self.update_statistics(caller, request),
            "DeleteColumnStatisticsForTable" => self.delete_statistics(caller, request),
            "GetTags" | "TagResource" | "UntagResource" => {
                self.glue_tags_call(caller, call, request)
            }
            _ => {
                let answer = self.tools_call(caller, call, request);
                return answer.or_else(|| self.catalog_call(caller, call, request));
            }
        })
    }

    fn create_database(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let mut database: Database = parse_field(request, "DatabaseInput")?;
        database.name = stored_name(&database.name)?;
        let now = self.tick();
        let applies_region_defaults =
            self.has(Quirk::MissingTableDefaultsGrantIamAllowedPrincipals);
        let region = self.region_mut(caller.region)?;
        if region.databases.contains_key(&database.name) {
            return Err(ApiError::already_exists("Database"));
        }
        if database.create_table_default_permissions.is_none() && applies_region_defaults {
            database.create_table_default_permissions =
                serde_json::from_value(region.table_defaults.clone()).ok();
        }
        let name = database.name.clone();
        let defaults = region.database_defaults.clone();
        let observed = Observed {
            object: database,
            created: Some(now),
            updated: None,
            version: None,
        };
        region.databases.insert(name.clone(), observed);
        self.grant_to_reader_role(caller.region, &name);
        let resource = StoredResource::Database(name);
        self.grant_defaults(caller.region, &resource, &defaults);
        self.grant_to_creator(caller, resource);
        Ok(json!({}))
    }

    fn update_database(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_name(request, "Name")?;
        let mut database: Database = parse_field(request, "DatabaseInput")?;
        database.name = stored_name(&database.name)?;
        let (region, name) = self.resolve_database(caller.region, &name);
        self.tick();
        let region = self.region_mut(&region)?;
        let observed = region.databases.get_mut(&name);
        let observed = observed.ok_or_else(ApiError::not_found)?;
        observed.object = Database { name, ..database };
        Ok(json!({}))
    }

    fn delete_database(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_name(request, "Name")?;
        self.tick();
        let region = self.region_mut(caller.region)?;
        let removed = region.databases.remove(&name);
        let removed = removed.ok_or_else(ApiError::not_found)?;
        // Deleting a resource link does not affect its target.
        if removed.object.target_database.is_none() {
            region.tables.retain(|id, _| id.database != name);
            region.partitions.retain(|id, _| id.database != name);
            self.remove_dependents(caller.region, |subject| subject.database() == Some(&name));
        }
        self.remove_grants(caller.region, |resource| {
            resource_database(resource) == Some(&name)
        });
        Ok(json!({}))
    }

    pub(crate) fn get_database(
        &self,
        caller: Caller<'_>,
        name: &Name,
    ) -> Result<Observed<Database>, ApiError> {
        if self.sees_empty_catalog(caller.region, caller.principal) {
            return Err(ApiError::not_found());
        }
        let observed = self.region(caller.region)?.databases.get(name).cloned();
        Ok(self.database_as_read(caller, observed.ok_or_else(ApiError::not_found)?))
    }

    pub(crate) fn get_databases(
        &self,
        caller: Caller<'_>,
    ) -> Result<Vec<Observed<Database>>, ApiError> {
        if self.sees_empty_catalog(caller.region, caller.principal) {
            return Ok(Vec::new());
        }
        let all = self.region(caller.region)?.databases.values().cloned();
        Ok(all
            .map(|observed| self.database_as_read(caller, observed))
            .collect())
    }

    fn create_table(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let database_name = required_name(request, "DatabaseName")?;
        let mut table: Table = parse_field(request, "TableInput")?;
        self.check_view_input(&table)?;
        table.name = stored_name(&table.name)?;
        let (region_name, database) = self.resolve_database(caller.region, &database_name);
        let now = self.tick();
        let version = self.next_version();
        let region = self.region_mut(&region_name)?;
        let Some(parent) = region.databases.get(&database) else {
            return Err(ApiError::not_found());
        };
        let defaults = to_json(&parent.object.create_table_default_permissions);
        let id = TableId::new(database, table.name.clone());
        if region.tables.contains_key(&id) {
            return Err(ApiError::already_exists("Table"));
        }
        let observed = Observed {
            object: table,
            created: Some(now),
            updated: Some(now),
            version: Some(version),
        };
        region.tables.insert(id.clone(), observed);
        region.partitions.insert(id.clone(), BTreeMap::new());
        self.grant_defaults(&region_name, &StoredResource::Table(id.clone()), &defaults);
        self.grant_to_creator(caller, StoredResource::Table(id.clone()));
        self.create_table_indexes(&id, &region_name, request)
    }

    fn update_table(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let database_name = required_name(request, "DatabaseName")?;
        let mut table: Table = parse_field(request, "TableInput")?;
        self.check_view_input(&table)?;
        table.name = stored_name(&table.name)?;
        let expected_version = request.get("VersionId").and_then(Value::as_str);
        let archives = request.get("SkipArchive").and_then(Value::as_bool) != Some(true);
        let (region, id) = self.resolve_table(
            caller.region,
            &TableId::new(database_name, table.name.clone()),
        )?;
        let now = self.tick();
        let version = self.next_version();
        let observed = self.region_mut(&region)?.tables.get_mut(&id);
        let observed = observed.ok_or_else(ApiError::not_found)?;
        if expected_version
            .is_some_and(|expected_version| observed.version.as_deref() != Some(expected_version))
        {
            return Err(ApiError::concurrent_modification(
                "Update table failed due to concurrent modifications.",
            ));
        }
        observed.object = Table {
            name: id.table.clone(),
            ..table
        };
        observed.version = Some(version);
        observed.updated = Some(now);
        if archives {
            let archived = &mut self.region_mut(&region)?.archived_versions;
            *archived.entry(id.clone()).or_default() += 1;
        }
        let observed = self.region(&region)?.tables.get(&id);
        let observed = observed.ok_or_else(ApiError::not_found)?;
        // Glue deletes the statistics of a dropped column.
        let columns: Vec<String> = observed.object.columns().map(|c| c.name.clone()).collect();
        let statistics = self.region_mut(&region)?.statistics.get_mut(&id);
        if let Some(statistics) = statistics {
            statistics.retain(|column, _| columns.contains(column));
        }
        Ok(json!({}))
    }

    fn delete_table(&mut self, caller: Caller<'_>, id: &TableId) -> ApiResult {
        let (region_name, database) = self.resolve_database(caller.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        self.tick();
        let keeps_grants = self.has(Quirk::GrantsRemainAfterTableDeletion);
        let region = self.region_mut(&region_name)?;
        region.tables.remove(&id).ok_or_else(ApiError::not_found)?;
        region.partitions.remove(&id);
        self.remove_dependents(&region_name, |subject| {
            *subject == Subject::Table(id.clone())
        });
        if !keeps_grants {
            self.remove_grants(&region_name, |resource| {
                resource_table(resource) == Some(&id)
            });
        }
        Ok(json!({}))
    }

    fn batch_delete_table(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let database = required_name(request, "DatabaseName")?;
        let mut errors = Vec::new();
        for table in array_field(request, "TablesToDelete") {
            let name = table.as_str().and_then(|text| Name::new(text).ok());
            let result = match name {
                Some(name) => self.delete_table(caller, &TableId::new(database.clone(), name)),
                None => Err(ApiError::invalid("TablesToDelete: invalid table name")),
            };
            if let Err(error) = result {
                errors.push(json!({"TableName": table, "ErrorDetail": error_detail(&error)}));
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(crate) fn get_table(
        &self,
        caller: Caller<'_>,
        id: &TableId,
    ) -> Result<Observed<Table>, ApiError> {
        if self.sees_empty_catalog(caller.region, caller.principal) {
            return Err(ApiError::not_found());
        }
        let (region, database) = self.resolve_database(caller.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let observed = self.region(&region)?.tables.get(&id);
        let observed = observed.ok_or_else(ApiError::not_found)?;
        Ok(self.table_as_read(&region, &id, observed))
    }

    pub(crate) fn get_tables(
        &self,
        caller: Caller<'_>,
        database: &Name,
    ) -> Result<Vec<Observed<Table>>, ApiError> {
        self.get_database(caller, database)?;
        let (region, database) = self.resolve_database(caller.region, database);
        let tables = &self.region(&region)?.tables;
        let mine = tables.iter().filter(|(id, _)| id.database == database);
        let shown = mine.map(|(id, observed)| self.table_as_read(&region, id, observed));
        Ok(shown.collect())
    }

    fn database_json(&self, observed: &Observed<Database>) -> Value {
        let mut json = to_json(&observed.object);
        if let Some(object) = json.as_object_mut() {
            object.insert("CreateTime".to_owned(), to_json(&observed.created));
            object.insert("CatalogId".to_owned(), self.account.clone().into());
        }
        json
    }

    fn table_json(&self, database: &Name, observed: &Observed<Table>) -> Value {
        let mut json = to_json(&observed.object);
        if let Some(object) = json.as_object_mut() {
            object.insert("DatabaseName".to_owned(), database.as_str().into());
            object.insert("CreateTime".to_owned(), to_json(&observed.created));
            object.insert("UpdateTime".to_owned(), to_json(&observed.updated));
            object.insert("VersionId".to_owned(), to_json(&observed.version));
            object.insert("CatalogId".to_owned(), self.account.clone().into());
            object.insert("IsRegisteredWithLakeFormation".to_owned(), false.into());
        }
        json
    }

    /// Grants the default permissions on a new object.
    fn grant_defaults(&mut self, region: &str, resource: &StoredResource, defaults: &Value) {
        for default in defaults.as_array().into_iter().flatten() {
            let principal = default
                .get("Principal")
                .and_then(|p| p.get("DataLakePrincipalIdentifier"))
                .and_then(Value::as_str);
            let Some(principal) = principal else {
                continue;
            };
            for permission in array_field(default, "Permissions")
                .iter()
                .filter_map(Value::as_str)
            {
                self.store_grant(region, principal, resource.clone(), permission, false);
            }
        }
    }

    /// Grants the Region's reader role, if set, DESCRIBE and SELECT on all tables of a database.
    fn grant_to_reader_role(&mut self, region: &str, database: &Name) {
        let region_store = self.region(region).ok();
        if let Some(role) = region_store.and_then(|region| region.reader_role.clone()) {
            let all = StoredResource::AllTables(database.clone());
            let columns = StoredResource::AllTablesAllColumns(database.clone());
            self.store_grant(region, &role, all, "DESCRIBE", false);
            self.store_grant(region, &role, columns, "SELECT", false);
        }
    }

    fn grant_to_creator(&mut self, caller: Caller<'_>, resource: StoredResource) {
        if self.has(Quirk::CreatorGetsAllWithGrantOption) {
            self.store_grant(caller.region, caller.principal, resource, "ALL", true);
        }
    }

    fn store_grant(
        &mut self,
        region: &str,
        principal: &str,
        resource: StoredResource,
        permission: &str,
        grantable: bool,
    ) {
        if let Ok(region) = self.region_mut(region) {
            let key = StoredGrant {
                principal: principal.to_owned(),
                resource,
                condition: None,
            };
            let held = region.grants.entry(key).or_default();
            held.insert(permission.to_owned(), grantable);
        }
    }

    fn remove_grants(&mut self, region: &str, matches: impl Fn(&StoredResource) -> bool) {
        if let Ok(region) = self.region_mut(region) {
            region.grants.retain(|grant, _| !matches(&grant.resource));
        }
    }
}

fn error_detail(error: &ApiError) -> Value {
    json!({"ErrorCode": error.code, "ErrorMessage": error.message})
}
