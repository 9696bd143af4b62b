//! Operations on data cells filters and opt-ins, and dispatch of all operations other than
//! permissions and settings.

use super::ApiResult;
use super::wire::{parse_resource, resource_json};
use crate::api::{
    array_field, column_names, column_names_json, page, required_text, table_id_from,
};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{RegionStore, SimState, StoredResource};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{DataCellsFilter, FilterColumns, OptIn};
use twinlake_core::grant::LfTagPolicyTarget;
use twinlake_core::{Principal, Subject, TableId};

fn parse_filter(data: &Value) -> Result<(TableId, DataCellsFilter), ApiError> {
    let id = table_id_from(data, "DatabaseName", "TableName")?;
    let rows = data
        .get("RowFilter")
        .and_then(|r| r.get("FilterExpression"));
    let wildcard = data.get("ColumnWildcard").filter(|w| !w.is_null());
    let columns = match wildcard {
        Some(wildcard) => {
            let excluded = column_names(array_field(wildcard, "ExcludedColumnNames"))?;
            FilterColumns::AllBut(excluded)
        }
        None => FilterColumns::Only(column_names(array_field(data, "ColumnNames"))?),
    };
    let filter = DataCellsFilter {
        name: required_text(data, "Name")?.to_owned(),
        rows: rows.and_then(Value::as_str).map(str::to_owned),
        columns,
    };
    Ok((id, filter))
}

fn filter_json(account: &str, id: &TableId, filter: &DataCellsFilter, version: &str) -> Value {
    let rows = match &filter.rows {
        Some(rows) => json!({"FilterExpression": rows}),
        None => json!({"AllRowsWildcard": {}}),
    };
    let mut json = json!({
        "TableCatalogId": account, "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
        "Name": filter.name, "RowFilter": rows, "VersionId": version,
    });
    if let Some(object) = json.as_object_mut() {
        match &filter.columns {
            FilterColumns::Only(names) => {
                object.insert("ColumnNames".to_owned(), column_names_json(names))
            }
            FilterColumns::AllBut(names) => {
                let wildcard = json!({"ExcludedColumnNames": column_names_json(names)});
                object.insert("ColumnWildcard".to_owned(), wildcard)
            }
        };
    }
    json
}

/// The time between the creation of a filter and its visibility (LF-26).
const FILTER_VISIBLE_AFTER_SECS: i64 = 120;

impl SimState {
    /// Runs an operation on LF-Tags, expressions, registrations, data cells filters or opt-ins.
    /// Returns `None` if there is no operation of this name.
    pub(super) fn other_lakeformation_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
        request: &Value,
    ) -> Option<ApiResult> {
        Some(match call {
            "CreateLFTag" => self.create_tag(caller, request),
            "GetLFTag" => self.get_tag(caller, request),
            "UpdateLFTag" => self.update_tag(caller, request),
            "DeleteLFTag" => self.delete_tag(caller, request),
            "ListLFTags" => self.list_tags(caller, request),
            "AddLFTagsToResource" => self.change_lf_tags(caller, request, true),
            "RemoveLFTagsFromResource" => self.change_lf_tags(caller, request, false),
            "GetResourceLFTags" => self.resource_tags(caller, request),
            "CreateLFTagExpression" => self.put_expression(caller, request, true),
            "UpdateLFTagExpression" => self.put_expression(caller, request, false),
            "DeleteLFTagExpression" => self.delete_expression(caller, request),
            "ListLFTagExpressions" => self.list_expressions(caller, request),
            "SearchDatabasesByLFTags" => {
                self.search_call(caller, request, LfTagPolicyTarget::Database)
            }
            "SearchTablesByLFTags" => self.search_call(caller, request, LfTagPolicyTarget::Table),
            "RegisterResource" => self.register(caller, request),
            "UpdateResource" => self.update_registration(caller, request),
            "DeregisterResource" => self.deregister(caller, request),
            "ListResources" => self.list_registrations(caller, request),
            "CreateDataCellsFilter" => self.create_filter(caller, request),
            "UpdateDataCellsFilter" => self.update_filter(caller, request),
            "DeleteDataCellsFilter" => self.delete_filter(caller, request),
            "GetDataCellsFilter" => self.get_filter(caller, request),
            "ListDataCellsFilter" => self.list_filters(caller, request),
            "CreateLakeFormationOptIn" => self.change_opt_in(caller, request, true),
            "DeleteLakeFormationOptIn" => self.change_opt_in(caller, request, false),
            "ListLakeFormationOptIns" => self.list_opt_ins(caller, request),
            "CreateLakeFormationIdentityCenterConfiguration" => {
                self.connect_identity_center(caller, request)
            }
            "DescribeLakeFormationIdentityCenterConfiguration" => {
                let region = self.region(caller.region);
                region.and_then(|region| match &region.identity_center {
                    Some(instance) => Ok(json!({ "InstanceArn": instance })),
                    None => Err(ApiError::not_found()),
                })
            }
            "DeleteLakeFormationIdentityCenterConfiguration" => {
                let region = self.region_mut(caller.region);
                region.map(|region| {
                    region.identity_center = None;
                    json!({})
                })
            }
            _ => return None,
        })
    }

    fn connect_identity_center(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let instance = required_text(request, "InstanceArn")?.to_owned();
        self.region_mut(caller.region)?.identity_center = Some(instance);
        Ok(json!({}))
    }

    fn create_filter(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let (id, filter) = parse_filter(request.get("TableData").unwrap_or(&Value::Null))?;
        self.check_subject_exists(caller, &Subject::Table(id.clone()))?;
        self.check_filter_columns(caller, &id, &filter)?;
        let version = self.next_version();
        let now = self.now();
        let region = self.region_mut(caller.region)?;
        let all = region.data_cells_filters.entry(id.clone()).or_default();
        if all.contains_key(&filter.name) {
            return Err(ApiError::already_exists("Data cells filter"));
        }
        region
            .filters_created_at
            .insert((id, filter.name.clone()), now);
        all.insert(filter.name.clone(), (filter, version));
        Ok(json!({}))
    }

    /// Whether a created filter is visible yet (LF-26).
    pub(super) fn is_filter_visible(&self, region: &RegionStore, id: &TableId, name: &str) -> bool {
        let created_at = region
            .filters_created_at
            .get(&(id.clone(), name.to_owned()));
        let ready = created_at
            .is_none_or(|created_at| created_at.plus_secs(FILTER_VISIBLE_AFTER_SECS) <= self.now());
        ready || !self.has(Quirk::DataCellsFilterVisibleAfterDelay)
    }

    /// Fails if the request names another version than the stored one (LF-26).
    fn update_filter(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let data = request.get("TableData").unwrap_or(&Value::Null);
        let (id, filter) = parse_filter(data)?;
        self.check_filter_columns(caller, &id, &filter)?;
        let expected_version = data.get("VersionId").and_then(Value::as_str);
        let next = self.next_version();
        let all = self
            .region_mut(caller.region)?
            .data_cells_filters
            .entry(id)
            .or_default();
        let known = all.get_mut(&filter.name).ok_or_else(ApiError::not_found)?;
        if expected_version.is_some_and(|expected_version| expected_version != known.1) {
            return Err(ApiError::concurrent_modification(
                "the filter has another version",
            ));
        }
        *known = (filter, next);
        Ok(json!({}))
    }

    fn check_filter_columns(
        &self,
        caller: Caller<'_>,
        id: &TableId,
        filter: &DataCellsFilter,
    ) -> Result<(), ApiError> {
        let (FilterColumns::Only(named) | FilterColumns::AllBut(named)) = &filter.columns;
        let table = self.region(caller.region)?.tables.get(id);
        let table = table.ok_or_else(ApiError::not_found)?;
        let known: BTreeSet<String> = table
            .object
            .columns()
            .map(|column| column.name.to_lowercase())
            .collect();
        // A filter may name fields of a struct column (F-6); only the column is looked up.
        match named.iter().all(|name| name.is_in_columns(&known)) {
            true => Ok(()),
            false => Err(ApiError::invalid(
                "the filter names a column that the table does not have",
            )),
        }
    }

    fn delete_filter(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id_from(request, "DatabaseName", "TableName")?;
        let name = required_text(request, "Name")?;
        let all = self
            .region_mut(caller.region)?
            .data_cells_filters
            .entry(id.clone())
            .or_default();
        all.remove(name).ok_or_else(ApiError::not_found)?;
        self.remove_grants_of_deleted(caller, |resource| {
            matches!(resource, StoredResource::DataCellsFilter(of, held) if *of == id && held == name)
        });
        Ok(json!({}))
    }

    fn get_filter(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id_from(request, "DatabaseName", "TableName")?;
        let all = self.region(caller.region)?.data_cells_filters.get(&id);
        let all = all.filter(|_| !self.sees_empty_catalog(caller.region, caller.principal));
        let one = all.and_then(|all| all.get(required_text(request, "Name").ok()?));
        let (filter, version) = one
            .filter(|(filter, _)| {
                self.region(caller.region)
                    .is_ok_and(|region| self.is_filter_visible(region, &id, &filter.name))
            })
            .ok_or_else(ApiError::not_found)?;
        Ok(json!({"DataCellsFilter": filter_json(&self.account, &id, filter, version)}))
    }

    fn list_filters(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id_from(
            request.get("Table").unwrap_or(&Value::Null),
            "DatabaseName",
            "Name",
        )?;
        self.check_subject_exists(caller, &Subject::Table(id.clone()))?;
        let all = match self.sees_empty_catalog(caller.region, caller.principal) {
            true => None,
            false => self.region(caller.region)?.data_cells_filters.get(&id),
        };
        let region = self.region(caller.region)?;
        let all = all.into_iter().flat_map(|all| all.values());
        let all: Vec<&(DataCellsFilter, String)> = all
            .filter(|(filter, _)| self.is_filter_visible(region, &id, &filter.name))
            .collect();
        Ok(page(
            request,
            "DataCellsFilters",
            1000,
            &all,
            |(filter, version)| filter_json(&self.account, &id, filter, version),
        ))
    }

    fn change_opt_in(&mut self, caller: Caller<'_>, request: &Value, is_create: bool) -> ApiResult {
        let principal = request.get("Principal").unwrap_or(&Value::Null);
        let condition = request.get("Condition").and_then(|c| c.get("Expression"));
        let one = OptIn {
            principal: Principal(
                required_text(principal, "DataLakePrincipalIdentifier")?.to_owned(),
            ),
            resource: parse_resource(request.get("Resource").unwrap_or(&Value::Null))?,
            condition: condition.and_then(Value::as_str).map(str::to_owned),
        };
        self.check_resource_exists(caller, &one.resource)?;
        let all = &mut self.region_mut(caller.region)?.opt_ins;
        let done = match is_create {
            true => {
                all.insert(one);
                true
            }
            false => all.remove(&one),
        };
        done.then(|| json!({})).ok_or_else(ApiError::not_found)
    }

    fn list_opt_ins(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let all: Vec<&OptIn> = match self.sees_empty_catalog(caller.region, caller.principal) {
            true => Vec::new(),
            false => self.region(caller.region)?.opt_ins.iter().collect(),
        };
        Ok(page(
            request,
            "LakeFormationOptInsInfoList",
            1000,
            &all,
            |one| {
                let condition = one.condition.as_ref().map(|c| json!({"Expression": c}));
                json!({
                    "Principal": {"DataLakePrincipalIdentifier": one.principal.0},
                    "Resource": resource_json(&one.resource), "Condition": condition,
                })
            },
        ))
    }
}
