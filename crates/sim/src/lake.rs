//! Lake Formation.

mod batch;
mod governed;
mod listed;
mod places;
mod shapes;
mod tags;

pub(crate) use places::linked_role;
pub(crate) use shapes::is_of_type;
pub(crate) use shapes::{entry_json, resource_database, resource_json, resource_table};
use shapes::{parse_resource, places};

use crate::api::{Caller, input, items, page, text};
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{StoredGrant, StoredResource, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::grant::{Entry, EntryResource, IAM_ALLOWED_PRINCIPALS, TagRule};
use twinlake_core::{Name, TableId};

type Answer = Result<Value, ApiError>;

pub(crate) const PERMISSION_PAGE: usize = 1000;

impl World {
    /// Answers a Lake Formation call; `None` if the name is none of its.
    pub(crate) fn lake(&mut self, c: Caller<'_>, call: &str, r: &Value) -> Option<Answer> {
        Some(match call {
            "GrantPermissions" => self.change(c, r, true),
            "RevokePermissions" => self.change(c, r, false),
            "BatchGrantPermissions" => self.batch(c, r, true),
            "BatchRevokePermissions" => self.batch(c, r, false),
            "ListPermissions" => self.list_permissions(c, r).map(|all| {
                page(
                    r,
                    "PrincipalResourcePermissions",
                    PERMISSION_PAGE,
                    &all,
                    |entry| entry_json(entry, self.spelling()),
                )
            }),
            "GetDataLakeSettings" => self.get_settings(c),
            "PutDataLakeSettings" => self.put_settings(c, r),
            _ => return self.governed(c, call, r),
        })
    }

    fn change(&mut self, c: Caller<'_>, r: &Value, grants: bool) -> Answer {
        let principal = r.get("Principal").unwrap_or(&Value::Null);
        let principal = text(principal, "DataLakePrincipalIdentifier")?.to_owned();
        let resource = parse_resource(r.get("Resource").unwrap_or(&Value::Null))?;
        let permissions: BTreeSet<String> = input(r, "Permissions")?;
        let options = items(r, "PermissionsWithGrantOption").iter();
        let options: BTreeSet<String> = options
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        let condition = r.get("Condition").and_then(|c| c.get("Expression"));
        let entry = Entry {
            principal: twinlake_core::Principal(principal),
            resource,
            permissions,
            grantable: options,
            condition: condition.and_then(Value::as_str).map(str::to_owned),
        };
        let changed = match grants {
            true => self.grant_entry(c, &entry),
            false => self.revoke_entry(c, &entry),
        };
        changed.map(|()| json!({}))
    }

    /// Stores a grant as Lake Formation would.
    pub(crate) fn grant_entry(&mut self, c: Caller<'_>, entry: &Entry) -> Result<(), ApiError> {
        self.must_exist(c, &entry.resource)?;
        if !entry.grantable.is_subset(&entry.permissions) {
            return Err(ApiError::invalid("Permissions modification is invalid."));
        }
        self.must_be_selectable(entry)?;
        let resource = self.widened(c, entry)?;
        self.refuse_beside_table(c, entry, &resource)?;
        self.tick();
        let region = self.region_mut(c.region)?;
        let mut before = Vec::new();
        for permission in &entry.permissions {
            let grantable = entry.grantable.contains(permission);
            for place in places(&resource, permission) {
                let key = StoredGrant {
                    principal: entry.principal.0.clone(),
                    resource: place,
                    condition: entry.condition.clone(),
                };
                before.push((key.clone(), region.grants.get(&key).cloned()));
                let held = region.grants.entry(key).or_default();
                let option = held.entry(permission.clone()).or_default();
                *option |= grantable;
            }
        }
        region.grants_before = before;
        Ok(())
    }

    /// Takes a grant away, with its grant option.
    pub(crate) fn revoke_entry(&mut self, c: Caller<'_>, entry: &Entry) -> Result<(), ApiError> {
        if let Err(error) = self.must_exist(c, &entry.resource) {
            // What outlives its table can still be revoked.
            let of_lake = entry.resource.database().is_none();
            if !self.has(Quirk::GrantsOutliveTables) && !of_lake {
                return Err(error);
            }
        }
        self.tick();
        let region = self.region_mut(c.region)?;
        let mut before = Vec::new();
        let mut found = false;
        for permission in &entry.permissions {
            for place in places(&entry.resource, permission) {
                let key = StoredGrant {
                    principal: entry.principal.0.clone(),
                    resource: place,
                    condition: entry.condition.clone(),
                };
                before.push((key.clone(), region.grants.get(&key).cloned()));
                if let Some(held) = region.grants.get_mut(&key) {
                    found |= held.remove(permission).is_some();
                    if held.is_empty() {
                        region.grants.remove(&key);
                    }
                }
            }
        }
        region.grants_before = before;
        let is_ghost = entry.resource == EntryResource::Catalog
            && entry.permissions.contains("CREATE_DATABASE");
        if found && is_ghost && self.has(Quirk::RevokedStaysListed) {
            self.region_mut(c.region)?.ghosts.push(entry.clone());
        }
        if found {
            Ok(())
        } else {
            Err(ApiError::nothing_to_revoke())
        }
    }

    pub(super) fn must_exist(
        &self,
        c: Caller<'_>,
        resource: &EntryResource,
    ) -> Result<(), ApiError> {
        let region = self.region(c.region)?;
        let table = |id: &TableId| {
            if !region.tables.contains_key(id) {
                return Err(ApiError::not_found());
            }
            Ok(())
        };
        let columns = |id: &TableId, names: &BTreeSet<Name>| {
            table(id)?;
            let seen = region.tables.get(id);
            let known: BTreeSet<String> = seen
                .into_iter()
                .flat_map(|seen| seen.object.columns().map(|c| c.name.to_lowercase()))
                .collect();
            match names.iter().all(|name| known.contains(name.as_str())) {
                true => Ok(()),
                false => Err(ApiError::no_such_column()),
            }
        };
        match resource {
            EntryResource::Database(name) | EntryResource::TableWildcard(name) => {
                match region.databases.contains_key(name) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            EntryResource::Table(id) => table(id),
            EntryResource::Columns(id, names) | EntryResource::ColumnWildcard(id, names) => {
                columns(id, names)
            }
            EntryResource::Filter(id, name) => {
                table(id)?;
                let filters = region.filters.get(id);
                let made = filters.is_some_and(|filters| filters.contains_key(name));
                match made && self.is_hatched(region, id, name) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            EntryResource::Tag(key, values) => {
                let known = region.tags.get(key);
                let holds = |value: &String| {
                    value == "*" || known.is_some_and(|known| known.contains(value))
                };
                match known.is_some() && values.iter().all(holds) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            EntryResource::TagPolicy(_, TagRule::Inline(expression)) => {
                let known = expression.iter().all(|(key, values)| {
                    let known = region.tags.get(key);
                    known.is_some_and(|known| values.is_subset(known))
                });
                match known {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            EntryResource::TagPolicy(_, TagRule::Saved(name)) | EntryResource::Expression(name) => {
                match region.expressions.contains_key(name) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            EntryResource::Catalog | EntryResource::Location(_) | EntryResource::Other(_) => Ok(()),
        }
    }

    fn must_be_selectable(&self, entry: &Entry) -> Result<(), ApiError> {
        let by_column = matches!(
            entry.resource,
            EntryResource::Columns(..) | EntryResource::ColumnWildcard(..)
        );
        if by_column && entry.permissions.iter().any(|p| p != "SELECT") {
            return Err(ApiError::invalid("Permissions modification is invalid."));
        }
        Ok(())
    }

    /// LF-14: beside `IAM_ALLOWED_PRINCIPALS` a column grant covers every column.
    fn widened(&self, c: Caller<'_>, entry: &Entry) -> Result<EntryResource, ApiError> {
        let id = match &entry.resource {
            EntryResource::Columns(id, _) => id,
            EntryResource::ColumnWildcard(id, excluded) if !excluded.is_empty() => id,
            EntryResource::ColumnWildcard(..)
            | EntryResource::Database(_)
            | EntryResource::Table(_)
            | EntryResource::TableWildcard(_)
            | EntryResource::Filter(..)
            | EntryResource::Catalog
            | EntryResource::Location(_)
            | EntryResource::Tag(..)
            | EntryResource::TagPolicy(..)
            | EntryResource::Expression(_)
            | EntryResource::Other(_) => return Ok(entry.resource.clone()),
        };
        let grants = &self.region(c.region)?.grants;
        let open = grants.keys().any(|grant| {
            grant.principal == IAM_ALLOWED_PRINCIPALS && resource_table(&grant.resource) == Some(id)
        });
        let named = entry.principal.0 != IAM_ALLOWED_PRINCIPALS;
        if open && named && self.has(Quirk::ColumnGrantWidens) {
            return Ok(EntryResource::ColumnWildcard(id.clone(), BTreeSet::new()));
        }
        Ok(entry.resource.clone())
    }

    /// LF-16: no column grant beside SELECT on the whole table.
    fn refuse_beside_table(
        &self,
        c: Caller<'_>,
        entry: &Entry,
        resource: &EntryResource,
    ) -> Result<(), ApiError> {
        let id = match resource {
            EntryResource::Columns(id, _) => id,
            EntryResource::ColumnWildcard(id, excluded) if !excluded.is_empty() => id,
            EntryResource::ColumnWildcard(..)
            | EntryResource::Database(_)
            | EntryResource::Table(_)
            | EntryResource::TableWildcard(_)
            | EntryResource::Filter(..)
            | EntryResource::Catalog
            | EntryResource::Location(_)
            | EntryResource::Tag(..)
            | EntryResource::TagPolicy(..)
            | EntryResource::Expression(_)
            | EntryResource::Other(_) => return Ok(()),
        };
        let whole = StoredGrant {
            principal: entry.principal.0.clone(),
            resource: StoredResource::Columns(id.clone(), BTreeSet::new()),
            condition: None,
        };
        let held = self.region(c.region)?.grants.contains_key(&whole);
        if held && self.has(Quirk::ColumnBesideTableRefused) {
            return Err(ApiError::invalid("Permissions modification is invalid."));
        }
        Ok(())
    }

    fn get_settings(&self, c: Caller<'_>) -> Answer {
        let region = self.region(c.region)?;
        let principals = |all: &[String]| -> Vec<Value> {
            all.iter()
                .map(|p| json!({"DataLakePrincipalIdentifier": p}))
                .collect()
        };
        let mut settings = json!({
            "DataLakeAdmins": principals(&region.administrators),
            "ReadOnlyAdmins": principals(&region.read_only_administrators),
            "CreateDatabaseDefaultPermissions": region.database_defaults,
            "CreateTableDefaultPermissions": region.table_defaults,
            "Parameters": {"CROSS_ACCOUNT_VERSION": "4", "SET_CONTEXT": "TRUE"},
        });
        if let (Some(all), Some(more)) =
            (settings.as_object_mut(), region.more_settings.as_object())
        {
            all.extend(more.clone());
        }
        Ok(json!({"DataLakeSettings": settings}))
    }

    /// Replaces the whole document: what is left out is cleared.
    fn put_settings(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let settings = r.get("DataLakeSettings").cloned().unwrap_or_default();
        let principals = |key: &str| -> Vec<String> {
            let all = items(&settings, key).iter();
            all.filter_map(|p| p.get("DataLakePrincipalIdentifier"))
                .filter_map(|p| p.as_str().map(str::to_owned))
                .collect()
        };
        let list = |key: &str| settings.get(key).cloned().unwrap_or_else(|| json!([]));
        let region = self.region_mut(c.region)?;
        region.administrators = principals("DataLakeAdmins");
        region.read_only_administrators = principals("ReadOnlyAdmins");
        region.database_defaults = list("CreateDatabaseDefaultPermissions");
        region.table_defaults = list("CreateTableDefaultPermissions");
        let mut more = settings.clone();
        if let Some(more) = more.as_object_mut() {
            let apart = [
                "DataLakeAdmins",
                "ReadOnlyAdmins",
                "CreateDatabaseDefaultPermissions",
                "CreateTableDefaultPermissions",
            ];
            more.retain(|key, _| !apart.contains(&key.as_str()));
            // What is left out is cleared.
            more.entry("Parameters").or_insert_with(|| json!({}));
        }
        region.more_settings = more;
        Ok(json!({}))
    }
}
