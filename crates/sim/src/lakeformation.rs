//! Operations on Lake Formation permissions and data lake settings.

mod batch;
mod filters_and_opt_ins;
mod lf_tags;
mod list_permissions;
mod registrations;
mod wire;

pub(crate) use registrations::service_linked_role;
pub(crate) use wire::is_of_type;
pub(crate) use wire::{entry_json, resource_database, resource_json, resource_table};
use wire::{parse_resource, stored_resources};

use crate::answer_style::UnusualAnswer;
use crate::api::{array_field, page, parse_field, required_text};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{SimState, StoredGrant, StoredResource};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::grant::{IAM_ALLOWED_PRINCIPALS, LfTagPolicy, ListedPermission, ListedResource};
use twinlake_core::{Name, TableId};

type ApiResult = Result<Value, ApiError>;

pub(crate) const MAX_PERMISSIONS_PER_PAGE: usize = 1000;

impl SimState {
    /// Runs a Lake Formation operation. Returns `None` if Lake Formation has no operation of this
    /// name.
    pub(crate) fn lakeformation_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
        request: &Value,
    ) -> Option<ApiResult> {
        Some(match call {
            "GrantPermissions" => self.change_permissions(caller, request, true),
            "RevokePermissions" => self.change_permissions(caller, request, false),
            "BatchGrantPermissions" => self.batch_change_permissions(caller, request, true),
            "BatchRevokePermissions" => self.batch_change_permissions(caller, request, false),
            "ListPermissions" => self.list_permissions(caller, request).map(|all| {
                page(
                    request,
                    "PrincipalResourcePermissions",
                    MAX_PERMISSIONS_PER_PAGE,
                    &all,
                    |entry| entry_json(entry, self.wildcard_format()),
                )
            }),
            "GetDataLakeSettings" => self.get_settings(caller),
            "PutDataLakeSettings" => self.put_settings(caller, request),
            _ => return self.other_lakeformation_call(caller, call, request),
        })
    }

    /// `GrantPermissions`, `RevokePermissions`, or one entry of their batch calls.
    fn change_permissions(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
        is_grant: bool,
    ) -> ApiResult {
        let principal = request.get("Principal").unwrap_or(&Value::Null);
        let principal = required_text(principal, "DataLakePrincipalIdentifier")?.to_owned();
        let resource = parse_resource(request.get("Resource").unwrap_or(&Value::Null))?;
        let permissions: BTreeSet<String> = parse_field(request, "Permissions")?;
        let grantable = array_field(request, "PermissionsWithGrantOption").iter();
        let grantable: BTreeSet<String> = grantable
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        let condition = request.get("Condition").and_then(|c| c.get("Expression"));
        let entry = ListedPermission {
            principal: twinlake_core::Principal(principal),
            resource,
            permissions,
            grantable,
            condition: condition.and_then(Value::as_str).map(str::to_owned),
        };
        let changed = match is_grant {
            true => self.grant_entry(caller, &entry),
            false => self.revoke_entry(caller, &entry),
        };
        changed.map(|()| json!({}))
    }

    /// Stores a grant as Lake Formation does.
    pub(crate) fn grant_entry(
        &mut self,
        caller: Caller<'_>,
        entry: &ListedPermission,
    ) -> Result<(), ApiError> {
        self.check_resource_exists(caller, &entry.resource)?;
        if !entry.grantable.is_subset(&entry.permissions) {
            return Err(ApiError::invalid("Permissions modification is invalid."));
        }
        self.check_column_permissions(entry)?;
        let resource = self.effective_resource(caller, entry)?;
        self.reject_column_grant_beside_table(caller, entry, &resource)?;
        self.tick();
        let region = self.region_mut(caller.region)?;
        let mut grants_before = Vec::new();
        for permission in &entry.permissions {
            let grantable = entry.grantable.contains(permission);
            for stored_resource in stored_resources(&resource, permission) {
                let key = StoredGrant {
                    principal: entry.principal.0.clone(),
                    resource: stored_resource,
                    condition: entry.condition.clone(),
                };
                grants_before.push((key.clone(), region.grants.get(&key).cloned()));
                let held = region.grants.entry(key).or_default();
                let option = held.entry(permission.clone()).or_default();
                *option |= grantable;
            }
        }
        region.grants_before_last_write = grants_before;
        Ok(())
    }

    /// Revokes permissions and their grant options.
    pub(crate) fn revoke_entry(
        &mut self,
        caller: Caller<'_>,
        entry: &ListedPermission,
    ) -> Result<(), ApiError> {
        if let Err(error) = self.check_resource_exists(caller, &entry.resource) {
            // Grants on a deleted database or table can be revoked only if they remain.
            // Others, as on a deleted LF-Tag, can always be revoked.
            let is_in_database = entry.resource.database().is_some();
            if is_in_database && !self.has(Quirk::GrantsRemainAfterTableDeletion) {
                return Err(error);
            }
        }
        self.tick();
        let region = self.region_mut(caller.region)?;
        let mut grants_before = Vec::new();
        let mut is_any_revoked = false;
        for permission in &entry.permissions {
            for stored_resource in stored_resources(&entry.resource, permission) {
                let key = StoredGrant {
                    principal: entry.principal.0.clone(),
                    resource: stored_resource,
                    condition: entry.condition.clone(),
                };
                grants_before.push((key.clone(), region.grants.get(&key).cloned()));
                if let Some(held) = region.grants.get_mut(&key) {
                    is_any_revoked |= held.remove(permission).is_some();
                    if held.is_empty() {
                        region.grants.remove(&key);
                    }
                }
            }
        }
        region.grants_before_last_write = grants_before;
        let is_create_database = entry.resource == ListedResource::Catalog
            && entry.permissions.contains("CREATE_DATABASE");
        if is_any_revoked && is_create_database && self.has(Quirk::RevokedCreateDatabaseStaysListed)
        {
            self.region_mut(caller.region)?
                .revoked_but_listed
                .push(entry.clone());
        }
        if is_any_revoked {
            Ok(())
        } else {
            Err(ApiError::nothing_to_revoke())
        }
    }

    /// Fails if the resource of a grant, or a column that it names, does not exist.
    pub(super) fn check_resource_exists(
        &self,
        caller: Caller<'_>,
        resource: &ListedResource,
    ) -> Result<(), ApiError> {
        let region = self.region(caller.region)?;
        let table = |id: &TableId| {
            if !region.tables.contains_key(id) {
                return Err(ApiError::not_found());
            }
            Ok(())
        };
        let columns = |id: &TableId, names: &BTreeSet<Name>| {
            table(id)?;
            let observed = region.tables.get(id);
            let known: BTreeSet<String> = observed
                .into_iter()
                .flat_map(|observed| observed.object.columns().map(|c| c.name.to_lowercase()))
                .collect();
            match names.iter().all(|name| name.is_in_columns(&known)) {
                true => Ok(()),
                false => Err(ApiError::no_such_column()),
            }
        };
        match resource {
            ListedResource::Database(name) | ListedResource::TableWildcard(name) => {
                match region.databases.contains_key(name) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            ListedResource::Table(id) => table(id),
            ListedResource::Columns(id, names) | ListedResource::ColumnWildcard(id, names) => {
                columns(id, names)
            }
            ListedResource::DataCellsFilter(id, name) => {
                table(id)?;
                let filters = region.data_cells_filters.get(id);
                let exists = filters.is_some_and(|filters| filters.contains_key(name));
                match exists && self.is_filter_visible(region, id, name) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            ListedResource::LfTag(key, values) => {
                let known = region.lf_tags.get(key);
                let holds = |value: &String| {
                    value == "*" || known.is_some_and(|known| known.contains(value))
                };
                match known.is_some() && values.iter().all(holds) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            ListedResource::LfTagPolicy(_, LfTagPolicy::Expression(expression)) => {
                let known = expression.iter().all(|(key, values)| {
                    let known = region.lf_tags.get(key);
                    known.is_some_and(|known| values.is_subset(known))
                });
                match known {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            ListedResource::LfTagPolicy(_, LfTagPolicy::NamedExpression(name))
            | ListedResource::LfTagExpression(name) => {
                match region.lf_tag_expressions.contains_key(name) {
                    true => Ok(()),
                    false => Err(ApiError::not_found()),
                }
            }
            ListedResource::Catalog
            | ListedResource::DataLocation(_)
            | ListedResource::Other(_) => Ok(()),
        }
    }

    /// Fails if a grant on columns has permissions other than SELECT.
    fn check_column_permissions(&self, entry: &ListedPermission) -> Result<(), ApiError> {
        let is_column_grant = matches!(
            entry.resource,
            ListedResource::Columns(..) | ListedResource::ColumnWildcard(..)
        );
        if is_column_grant && entry.permissions.iter().any(|p| p != "SELECT") {
            return Err(ApiError::invalid("Permissions modification is invalid."));
        }
        Ok(())
    }

    /// Returns the resource that a grant is stored on. LF-14: while `IAM_ALLOWED_PRINCIPALS` has a
    /// grant on the table, a column grant covers every column.
    fn effective_resource(
        &self,
        caller: Caller<'_>,
        entry: &ListedPermission,
    ) -> Result<ListedResource, ApiError> {
        let id = match &entry.resource {
            ListedResource::Columns(id, _) => id,
            ListedResource::ColumnWildcard(id, excluded) if !excluded.is_empty() => id,
            ListedResource::ColumnWildcard(..)
            | ListedResource::Database(_)
            | ListedResource::Table(_)
            | ListedResource::TableWildcard(_)
            | ListedResource::DataCellsFilter(..)
            | ListedResource::Catalog
            | ListedResource::DataLocation(_)
            | ListedResource::LfTag(..)
            | ListedResource::LfTagPolicy(..)
            | ListedResource::LfTagExpression(_)
            | ListedResource::Other(_) => return Ok(entry.resource.clone()),
        };
        let grants = &self.region(caller.region)?.grants;
        let has_iam_allowed_principals_grant = grants.keys().any(|grant| {
            grant.principal == IAM_ALLOWED_PRINCIPALS && resource_table(&grant.resource) == Some(id)
        });
        let is_other_principal = entry.principal.0 != IAM_ALLOWED_PRINCIPALS;
        if has_iam_allowed_principals_grant
            && is_other_principal
            && self.has(Quirk::ColumnGrantWidensBesideIamAllowedPrincipals)
        {
            return Ok(ListedResource::ColumnWildcard(id.clone(), BTreeSet::new()));
        }
        Ok(entry.resource.clone())
    }

    /// LF-16: rejects a column grant if the principal holds SELECT on the whole table.
    fn reject_column_grant_beside_table(
        &self,
        caller: Caller<'_>,
        entry: &ListedPermission,
        resource: &ListedResource,
    ) -> Result<(), ApiError> {
        let id = match resource {
            ListedResource::Columns(id, _) => id,
            ListedResource::ColumnWildcard(id, excluded) if !excluded.is_empty() => id,
            ListedResource::ColumnWildcard(..)
            | ListedResource::Database(_)
            | ListedResource::Table(_)
            | ListedResource::TableWildcard(_)
            | ListedResource::DataCellsFilter(..)
            | ListedResource::Catalog
            | ListedResource::DataLocation(_)
            | ListedResource::LfTag(..)
            | ListedResource::LfTagPolicy(..)
            | ListedResource::LfTagExpression(_)
            | ListedResource::Other(_) => return Ok(()),
        };
        let table_select = StoredGrant {
            principal: entry.principal.0.clone(),
            resource: StoredResource::ColumnWildcard(id.clone(), BTreeSet::new()),
            condition: None,
        };
        let held = self
            .region(caller.region)?
            .grants
            .contains_key(&table_select);
        if held && self.has(Quirk::ColumnGrantRejectedBesideTableSelect) {
            return Err(ApiError::invalid("Permissions modification is invalid."));
        }
        Ok(())
    }

    fn get_settings(&self, caller: Caller<'_>) -> ApiResult {
        if self.answers(caller.region, UnusualAnswer::OmitsSettings) {
            return Ok(json!({}));
        }
        let region = self.region(caller.region)?;
        let principals = |all: &[String]| -> Vec<Value> {
            all.iter()
                .map(|p| json!({"DataLakePrincipalIdentifier": p}))
                .collect()
        };
        let mut settings = json!({
            "DataLakeAdmins": principals(&region.data_lake_admins),
            "ReadOnlyAdmins": principals(&region.read_only_admins),
            "CreateDatabaseDefaultPermissions": region.database_defaults,
            "CreateTableDefaultPermissions": region.table_defaults,
            "Parameters": {"CROSS_ACCOUNT_VERSION": "4", "SET_CONTEXT": "TRUE"},
        });
        if let (Some(all), Some(other_settings)) =
            (settings.as_object_mut(), region.other_settings.as_object())
        {
            all.extend(other_settings.clone());
        }
        if self.answers(caller.region, UnusualAnswer::EmptyAdministrators)
            && let Some(all) = settings.as_object_mut()
        {
            all.insert("DataLakeAdmins".to_owned(), json!([]));
        }
        Ok(json!({"DataLakeSettings": settings}))
    }

    /// Replaces all settings: a setting that the request omits is cleared.
    fn put_settings(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let settings = request.get("DataLakeSettings").cloned().unwrap_or_default();
        let principals = |key: &str| -> Vec<String> {
            let all = array_field(&settings, key).iter();
            all.filter_map(|p| p.get("DataLakePrincipalIdentifier"))
                .filter_map(|p| p.as_str().map(str::to_owned))
                .collect()
        };
        let list = |key: &str| settings.get(key).cloned().unwrap_or_else(|| json!([]));
        let region = self.region_mut(caller.region)?;
        region.data_lake_admins = principals("DataLakeAdmins");
        region.read_only_admins = principals("ReadOnlyAdmins");
        region.database_defaults = list("CreateDatabaseDefaultPermissions");
        region.table_defaults = list("CreateTableDefaultPermissions");
        let mut other_settings = settings.clone();
        if let Some(other_settings) = other_settings.as_object_mut() {
            let stored_separately = [
                "DataLakeAdmins",
                "ReadOnlyAdmins",
                "CreateDatabaseDefaultPermissions",
                "CreateTableDefaultPermissions",
            ];
            other_settings.retain(|key, _| !stored_separately.contains(&key.as_str()));
            other_settings
                .entry("Parameters")
                .or_insert_with(|| json!({}));
        }
        region.other_settings = other_settings;
        Ok(json!({}))
    }
}
