//! The Glue Data Catalog.

mod catalog;
mod fill;
mod functions;
mod links;
mod partitions;
mod parts;

pub(crate) use functions::function_id;
pub(crate) use parts::StoredIndex;

use crate::api::{Caller, input, items, name, optional_name, page, table_id, to_json};
use crate::error::ApiError;
use crate::lake::{resource_database, resource_table};
use crate::quirk::Quirk;
use crate::state::{StoredGrant, StoredResource, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::catalog::Seen;
use twinlake_core::{Database, Name, Subject, Table, TableId};

type Answer = Result<Value, ApiError>;

pub(crate) const DATABASE_PAGE: usize = 100;
pub(crate) const TABLE_PAGE: usize = 100;
pub(crate) const PARTITION_PAGE: usize = 1000;
pub(crate) const FUNCTION_PAGE: usize = 100;

impl World {
    /// Answers a Glue call; `None` if the name is none of Glue's.
    pub(crate) fn glue(&mut self, c: Caller<'_>, call: &str, r: &Value) -> Option<Answer> {
        Some(match call {
            "CreateDatabase" => self.create_database(c, r),
            "UpdateDatabase" => self.update_database(c, r),
            "DeleteDatabase" => self.delete_database(c, r),
            "GetDatabase" => name(r, "Name").and_then(|name| {
                let seen = self.get_database(c, &name)?;
                Ok(json!({"Database": self.database_json(&seen)}))
            }),
            "GetDatabases" => self.get_databases(c).map(|all| {
                page(r, "DatabaseList", DATABASE_PAGE, &all, |seen| {
                    self.database_json(seen)
                })
            }),
            "CreateTable" => self.create_table(c, r),
            "UpdateTable" => self.update_table(c, r),
            "DeleteTable" => table_id(r, "Name").and_then(|id| self.delete_table(c, &id)),
            "BatchDeleteTable" => self.batch_delete_table(c, r),
            "GetTable" => table_id(r, "Name").and_then(|id| {
                let seen = self.get_table(c, &id)?;
                Ok(json!({"Table": self.table_json(&id.database, &seen)}))
            }),
            "GetTables" => name(r, "DatabaseName").and_then(|database| {
                let all = self.get_tables(c, &database)?;
                Ok(page(r, "TableList", TABLE_PAGE, &all, |seen| {
                    self.table_json(&database, seen)
                }))
            }),
            "GetPartitions" => self.list_partitions(c, r),
            "BatchGetPartition" => self.batch_get_partition(c, r),
            "GetPartition" => self.get_partition(c, r),
            "CreatePartition" => self.create_partition(c, r),
            "BatchCreatePartition" => self.batch_create_partition(c, r),
            "UpdatePartition" => self.update_partition(c, r),
            "BatchUpdatePartition" => self.batch_update_partition(c, r),
            "DeletePartition" => self.delete_partition(c, r),
            "BatchDeletePartition" => self.batch_delete_partition(c, r),
            "GetUserDefinedFunctions" => optional_name(r, "DatabaseName").and_then(|database| {
                let all = self.get_functions(c, database.as_ref())?;
                let key = "UserDefinedFunctions";
                Ok(page(r, key, FUNCTION_PAGE, &all, |(id, seen)| {
                    functions::function_json(id, seen)
                }))
            }),
            "GetUserDefinedFunction" => function_id(r).and_then(|id| {
                let seen = self.get_function(c, &id)?;
                Ok(json!({"UserDefinedFunction": functions::function_json(&id, &seen)}))
            }),
            "CreateUserDefinedFunction" => self.write_function(c, r, true),
            "UpdateUserDefinedFunction" => self.write_function(c, r, false),
            "DeleteUserDefinedFunction" => {
                function_id(r).and_then(|id| self.delete_function(c, &id))
            }
            "GetPartitionIndexes" => self.list_indexes(c, r),
            "CreatePartitionIndex" => self.create_index(c, r),
            "DeletePartitionIndex" => self.delete_index(c, r),
            "GetColumnStatisticsForTable" => self.list_statistics(c, r),
            "UpdateColumnStatisticsForTable" => self.update_statistics(c, r),
            "DeleteColumnStatisticsForTable" => self.delete_statistics(c, r),
            "GetTags" | "TagResource" | "UntagResource" => self.tags_call(c, call, r),
            _ => return self.catalog_call(c, call, r),
        })
    }

    fn create_database(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let mut database: Database = input(r, "DatabaseInput")?;
        let now = self.tick();
        let absent_is_open = self.has(Quirk::AbsentDefaultIsOpen);
        let region = self.region_mut(c.region)?;
        if region.databases.contains_key(&database.name) {
            return Err(ApiError::already_exists("Database"));
        }
        if database.create_table_default_permissions.is_none() && absent_is_open {
            database.create_table_default_permissions =
                serde_json::from_value(region.table_defaults.clone()).ok();
        }
        let name = database.name.clone();
        let defaults = region.database_defaults.clone();
        let seen = Seen {
            object: database,
            created: Some(now),
            version: None,
        };
        region.databases.insert(name.clone(), seen);
        self.show_to_reader(c.region, &name);
        let resource = StoredResource::Database(name);
        self.give_defaults(c.region, &resource, &defaults);
        self.give_creator(c, resource);
        Ok(json!({}))
    }

    fn update_database(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let name = name(r, "Name")?;
        let database: Database = input(r, "DatabaseInput")?;
        let (region, name) = self.resolve(c.region, &name);
        self.tick();
        let region = self.region_mut(&region)?;
        let seen = region.databases.get_mut(&name);
        let seen = seen.ok_or_else(ApiError::not_found)?;
        seen.object = Database { name, ..database };
        Ok(json!({}))
    }

    fn delete_database(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let name = name(r, "Name")?;
        self.tick();
        let region = self.region_mut(c.region)?;
        let gone = region.databases.remove(&name);
        let gone = gone.ok_or_else(ApiError::not_found)?;
        // A link goes alone: what it points at stays.
        if gone.object.target_database.is_none() {
            region.tables.retain(|id, _| id.database != name);
            region.partitions.retain(|id, _| id.database != name);
            self.drop_parts(c.region, |subject| subject.database() == Some(&name));
        }
        self.drop_grants(c.region, |resource| {
            resource_database(resource) == Some(&name)
        });
        Ok(json!({}))
    }

    pub(crate) fn get_database(
        &self,
        c: Caller<'_>,
        name: &Name,
    ) -> Result<Seen<Database>, ApiError> {
        if self.is_blind(c.region, c.principal) {
            return Err(ApiError::not_found());
        }
        let seen = self.region(c.region)?.databases.get(name).cloned();
        Ok(self.shown_database(c, seen.ok_or_else(ApiError::not_found)?))
    }

    pub(crate) fn get_databases(&self, c: Caller<'_>) -> Result<Vec<Seen<Database>>, ApiError> {
        if self.is_blind(c.region, c.principal) {
            return Ok(Vec::new());
        }
        let all = self.region(c.region)?.databases.values().cloned();
        Ok(all.map(|seen| self.shown_database(c, seen)).collect())
    }

    fn create_table(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let asked = name(r, "DatabaseName")?;
        let table: Table = input(r, "TableInput")?;
        let (region_name, database) = self.resolve(c.region, &asked);
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
        let seen = Seen {
            object: table,
            created: Some(now),
            version: Some(version),
        };
        region.tables.insert(id.clone(), seen);
        region.partitions.insert(id.clone(), BTreeMap::new());
        self.give_defaults(&region_name, &StoredResource::Table(id.clone()), &defaults);
        self.give_creator(c, StoredResource::Table(id.clone()));
        self.make_indexes(&id, &region_name, r)
    }

    fn update_table(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let asked = name(r, "DatabaseName")?;
        let table: Table = input(r, "TableInput")?;
        let lock = r.get("VersionId").and_then(Value::as_str);
        let archives = r.get("SkipArchive").and_then(Value::as_bool) != Some(true);
        let (region, id) =
            self.resolve_table(c.region, &TableId::new(asked, table.name.clone()))?;
        self.tick();
        let version = self.next_version();
        let seen = self.region_mut(&region)?.tables.get_mut(&id);
        let seen = seen.ok_or_else(ApiError::not_found)?;
        if lock.is_some_and(|lock| seen.version.as_deref() != Some(lock)) {
            return Err(ApiError::concurrent(
                "Update table failed due to concurrent modifications.",
            ));
        }
        seen.object = Table {
            name: id.table.clone(),
            ..table
        };
        seen.version = Some(version);
        if archives {
            let archived = &mut self.region_mut(&region)?.archived;
            *archived.entry(id.clone()).or_default() += 1;
        }
        let seen = self.region(&region)?.tables.get(&id);
        let seen = seen.ok_or_else(ApiError::not_found)?;
        // Statistics go with their column.
        let columns: Vec<String> = seen.object.columns().map(|c| c.name.clone()).collect();
        let statistics = self.region_mut(&region)?.statistics.get_mut(&id);
        if let Some(statistics) = statistics {
            statistics.retain(|column, _| columns.contains(column));
        }
        Ok(json!({}))
    }

    fn delete_table(&mut self, c: Caller<'_>, id: &TableId) -> Answer {
        let (region_name, database) = self.resolve(c.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        self.tick();
        let lingers = self.has(Quirk::GrantsOutliveTables);
        let region = self.region_mut(&region_name)?;
        region.tables.remove(&id).ok_or_else(ApiError::not_found)?;
        region.partitions.remove(&id);
        self.drop_parts(&region_name, |subject| {
            *subject == Subject::Table(id.clone())
        });
        if !lingers {
            self.drop_grants(&region_name, |resource| {
                resource_table(resource) == Some(&id)
            });
        }
        Ok(json!({}))
    }

    fn batch_delete_table(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let database = name(r, "DatabaseName")?;
        let mut errors = Vec::new();
        for table in items(r, "TablesToDelete") {
            let name = table.as_str().and_then(|text| Name::new(text).ok());
            let gone = match name {
                Some(name) => self.delete_table(c, &TableId::new(database.clone(), name)),
                None => Err(ApiError::invalid("TablesToDelete")),
            };
            if let Err(error) = gone {
                errors.push(json!({"TableName": table, "ErrorDetail": detail(&error)}));
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(crate) fn get_table(&self, c: Caller<'_>, id: &TableId) -> Result<Seen<Table>, ApiError> {
        if self.is_blind(c.region, c.principal) {
            return Err(ApiError::not_found());
        }
        let (region, database) = self.resolve(c.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let seen = self.region(&region)?.tables.get(&id);
        let seen = seen.ok_or_else(ApiError::not_found)?;
        Ok(self.shown_table(&region, &id, seen))
    }

    pub(crate) fn get_tables(
        &self,
        c: Caller<'_>,
        database: &Name,
    ) -> Result<Vec<Seen<Table>>, ApiError> {
        self.get_database(c, database)?;
        let (region, database) = self.resolve(c.region, database);
        let tables = &self.region(&region)?.tables;
        let mine = tables.iter().filter(|(id, _)| id.database == database);
        let shown = mine.map(|(id, seen)| self.shown_table(&region, id, seen));
        Ok(shown.collect())
    }

    fn database_json(&self, seen: &Seen<Database>) -> Value {
        let mut json = to_json(&seen.object);
        if let Some(object) = json.as_object_mut() {
            object.insert("CreateTime".to_owned(), to_json(&seen.created));
            object.insert("CatalogId".to_owned(), self.account.clone().into());
        }
        json
    }

    fn table_json(&self, database: &Name, seen: &Seen<Table>) -> Value {
        let mut json = to_json(&seen.object);
        if let Some(object) = json.as_object_mut() {
            object.insert("DatabaseName".to_owned(), database.as_str().into());
            object.insert("CreateTime".to_owned(), to_json(&seen.created));
            object.insert("UpdateTime".to_owned(), to_json(&seen.created));
            object.insert("VersionId".to_owned(), to_json(&seen.version));
            object.insert("CatalogId".to_owned(), self.account.clone().into());
            object.insert("IsRegisteredWithLakeFormation".to_owned(), false.into());
        }
        json
    }

    /// What the defaults give on a new object.
    fn give_defaults(&mut self, region: &str, resource: &StoredResource, defaults: &Value) {
        for default in defaults.as_array().into_iter().flatten() {
            let principal = default
                .get("Principal")
                .and_then(|p| p.get("DataLakePrincipalIdentifier"))
                .and_then(Value::as_str);
            let Some(principal) = principal else {
                continue;
            };
            for permission in items(default, "Permissions")
                .iter()
                .filter_map(Value::as_str)
            {
                self.store_grant(region, principal, resource.clone(), permission, false);
            }
        }
    }

    /// Grants a role what lets it be shown all of a database, where that was ordered.
    fn show_to_reader(&mut self, region: &str, database: &Name) {
        let reader = self.region(region).ok();
        if let Some(reader) = reader.and_then(|region| region.reader.clone()) {
            let all = StoredResource::AllTables(database.clone());
            let columns = StoredResource::AllColumns(database.clone());
            self.store_grant(region, &reader, all, "DESCRIBE", false);
            self.store_grant(region, &reader, columns, "SELECT", false);
        }
    }

    fn give_creator(&mut self, c: Caller<'_>, resource: StoredResource) {
        if self.has(Quirk::CreatorHoldsAll) {
            self.store_grant(c.region, c.principal, resource, "ALL", true);
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

    fn drop_grants(&mut self, region: &str, goes: impl Fn(&StoredResource) -> bool) {
        if let Ok(region) = self.region_mut(region) {
            region.grants.retain(|grant, _| !goes(&grant.resource));
        }
    }
}

fn detail(error: &ApiError) -> Value {
    json!({"ErrorCode": error.code, "ErrorMessage": error.message})
}
