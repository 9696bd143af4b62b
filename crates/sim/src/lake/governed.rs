//! Data cells filters and opt-ins, and the door to all calls beside grants.

use super::Answer;
use super::shapes::{parse_resource, resource_json};
use crate::api::{Caller, items, page, table_of, text};
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{Region, StoredResource, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{CellsFilter, FilterColumns, OptIn};
use twinlake_core::grant::TagTarget;
use twinlake_core::{Name, Principal, Subject, TableId};

fn names(list: &[Value]) -> Result<BTreeSet<Name>, ApiError> {
    let texts = list.iter().filter_map(Value::as_str);
    texts
        .map(|text| Name::new(text).map_err(|e| ApiError::invalid(e.to_string())))
        .collect()
}

fn filter(data: &Value) -> Result<(TableId, CellsFilter), ApiError> {
    let id = table_of(data, "DatabaseName", "TableName")?;
    let rows = data
        .get("RowFilter")
        .and_then(|r| r.get("FilterExpression"));
    let wildcard = data.get("ColumnWildcard").filter(|w| !w.is_null());
    let columns = match wildcard {
        Some(wildcard) => FilterColumns::AllBut(names(items(wildcard, "ExcludedColumnNames"))?),
        None => FilterColumns::Only(names(items(data, "ColumnNames"))?),
    };
    let filter = CellsFilter {
        name: text(data, "Name")?.to_owned(),
        rows: rows.and_then(Value::as_str).map(str::to_owned),
        columns,
    };
    Ok((id, filter))
}

fn filter_json(account: &str, id: &TableId, filter: &CellsFilter, version: &str) -> Value {
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
            FilterColumns::Only(names) => object.insert("ColumnNames".to_owned(), json!(names)),
            FilterColumns::AllBut(names) => {
                let wildcard = json!({"ExcludedColumnNames": names});
                object.insert("ColumnWildcard".to_owned(), wildcard)
            }
        };
    }
    json
}

/// How long a filter that was made may not be there (LF-26).
const HATCHING_SECS: i64 = 120;

impl World {
    /// Answers the calls beside grants and settings; `None` if the name is none of them.
    pub(super) fn governed(&mut self, c: Caller<'_>, call: &str, r: &Value) -> Option<Answer> {
        Some(match call {
            "CreateLFTag" => self.create_tag(c, r),
            "GetLFTag" => self.get_tag(c, r),
            "UpdateLFTag" => self.update_tag(c, r),
            "DeleteLFTag" => self.delete_tag(c, r),
            "ListLFTags" => self.list_tags(c, r),
            "AddLFTagsToResource" => self.assign(c, r, true),
            "RemoveLFTagsFromResource" => self.assign(c, r, false),
            "GetResourceLFTags" => self.resource_tags(c, r),
            "CreateLFTagExpression" => self.put_expression(c, r, true),
            "UpdateLFTagExpression" => self.put_expression(c, r, false),
            "DeleteLFTagExpression" => self.delete_expression(c, r),
            "ListLFTagExpressions" => self.list_expressions(c, r),
            "SearchDatabasesByLFTags" => self.search_call(c, r, TagTarget::Database),
            "SearchTablesByLFTags" => self.search_call(c, r, TagTarget::Table),
            "RegisterResource" => self.register(c, r),
            "UpdateResource" => self.update_registration(c, r),
            "DeregisterResource" => self.deregister(c, r),
            "ListResources" => self.list_registrations(c, r),
            "CreateDataCellsFilter" => self.create_filter(c, r),
            "UpdateDataCellsFilter" => self.update_filter(c, r),
            "DeleteDataCellsFilter" => self.delete_filter(c, r),
            "GetDataCellsFilter" => self.get_filter(c, r),
            "ListDataCellsFilter" => self.list_filters(c, r),
            "CreateLakeFormationOptIn" => self.opt(c, r, true),
            "DeleteLakeFormationOptIn" => self.opt(c, r, false),
            "ListLakeFormationOptIns" => self.list_opt_ins(c, r),
            _ => return None,
        })
    }

    fn create_filter(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let (id, filter) = filter(r.get("TableData").unwrap_or(&Value::Null))?;
        self.must_be_there(c, &Subject::Table(id.clone()))?;
        self.must_have_columns(c, &id, &filter)?;
        let version = self.next_version();
        let now = self.now();
        let region = self.region_mut(c.region)?;
        let all = region.filters.entry(id.clone()).or_default();
        if all.contains_key(&filter.name) {
            return Err(ApiError::already_exists("Data cells filter"));
        }
        region.filters_made.insert((id, filter.name.clone()), now);
        all.insert(filter.name.clone(), (filter, version));
        Ok(json!({}))
    }

    /// Whether a filter that was made is there yet (LF-26).
    pub(super) fn is_hatched(&self, region: &Region, id: &TableId, name: &str) -> bool {
        let made = region.filters_made.get(&(id.clone(), name.to_owned()));
        let ready = made.is_none_or(|made| made.plus_secs(HATCHING_SECS) <= self.now());
        ready || !self.has(Quirk::FiltersTakeTheirTime)
    }

    /// Holds to the version that is named (LF-26).
    fn update_filter(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let data = r.get("TableData").unwrap_or(&Value::Null);
        let (id, filter) = filter(data)?;
        self.must_have_columns(c, &id, &filter)?;
        let lock = data.get("VersionId").and_then(Value::as_str);
        let next = self.next_version();
        let all = self.region_mut(c.region)?.filters.entry(id).or_default();
        let known = all.get_mut(&filter.name).ok_or_else(ApiError::not_found)?;
        if lock.is_some_and(|lock| lock != known.1) {
            return Err(ApiError::concurrent("another version of the filter"));
        }
        *known = (filter, next);
        Ok(json!({}))
    }

    fn must_have_columns(
        &self,
        c: Caller<'_>,
        id: &TableId,
        filter: &CellsFilter,
    ) -> Result<(), ApiError> {
        let named = match &filter.columns {
            FilterColumns::Only(names) | FilterColumns::AllBut(names) => names,
        };
        let table = self.region(c.region)?.tables.get(id);
        let table = table.ok_or_else(ApiError::not_found)?;
        let known: BTreeSet<String> = table
            .object
            .columns()
            .map(|column| column.name.to_lowercase())
            .collect();
        match named.iter().all(|name| known.contains(name.as_str())) {
            true => Ok(()),
            false => Err(ApiError::invalid(
                "the filter names a column that is not there",
            )),
        }
    }

    fn delete_filter(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_of(r, "DatabaseName", "TableName")?;
        let name = text(r, "Name")?;
        let all = self
            .region_mut(c.region)?
            .filters
            .entry(id.clone())
            .or_default();
        all.remove(name).ok_or_else(ApiError::not_found)?;
        self.forget(c, |resource| {
            matches!(resource, StoredResource::Filter(of, held) if *of == id && held == name)
        });
        Ok(json!({}))
    }

    fn get_filter(&self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_of(r, "DatabaseName", "TableName")?;
        let all = self.region(c.region)?.filters.get(&id);
        let one = all.and_then(|all| all.get(text(r, "Name").ok()?));
        let (filter, version) = one
            .filter(|(filter, _)| {
                self.region(c.region)
                    .is_ok_and(|region| self.is_hatched(region, &id, &filter.name))
            })
            .ok_or_else(ApiError::not_found)?;
        Ok(json!({"DataCellsFilter": filter_json(&self.account, &id, filter, version)}))
    }

    fn list_filters(&self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_of(
            r.get("Table").unwrap_or(&Value::Null),
            "DatabaseName",
            "Name",
        )?;
        self.must_be_there(c, &Subject::Table(id.clone()))?;
        let all = match self.is_blind(c.region, c.principal) {
            true => None,
            false => self.region(c.region)?.filters.get(&id),
        };
        let region = self.region(c.region)?;
        let all = all.into_iter().flat_map(|all| all.values());
        let all: Vec<&(CellsFilter, String)> = all
            .filter(|(filter, _)| self.is_hatched(region, &id, &filter.name))
            .collect();
        Ok(page(
            r,
            "DataCellsFilters",
            1000,
            &all,
            |(filter, version)| filter_json(&self.account, &id, filter, version),
        ))
    }

    fn opt(&mut self, c: Caller<'_>, r: &Value, adds: bool) -> Answer {
        let principal = r.get("Principal").unwrap_or(&Value::Null);
        let condition = r.get("Condition").and_then(|c| c.get("Expression"));
        let one = OptIn {
            principal: Principal(text(principal, "DataLakePrincipalIdentifier")?.to_owned()),
            resource: parse_resource(r.get("Resource").unwrap_or(&Value::Null))?,
            condition: condition.and_then(Value::as_str).map(str::to_owned),
        };
        self.must_exist(c, &one.resource)?;
        let all = &mut self.region_mut(c.region)?.opt_ins;
        let done = match adds {
            true => {
                all.insert(one);
                true
            }
            false => all.remove(&one),
        };
        done.then(|| json!({})).ok_or_else(ApiError::not_found)
    }

    fn list_opt_ins(&self, c: Caller<'_>, r: &Value) -> Answer {
        let all: Vec<&OptIn> = match self.is_blind(c.region, c.principal) {
            true => Vec::new(),
            false => self.region(c.region)?.opt_ins.iter().collect(),
        };
        Ok(page(r, "LakeFormationOptInsInfoList", 1000, &all, |one| {
            let condition = one.condition.as_ref().map(|c| json!({"Expression": c}));
            json!({
                "Principal": {"DataLakePrincipalIdentifier": one.principal.0},
                "Resource": resource_json(&one.resource), "Condition": condition,
            })
        }))
    }
}
