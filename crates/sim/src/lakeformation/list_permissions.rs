//! Filters of `ListPermissions`.

use super::wire::{is_of_type, matches_filter, parse_resource};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::SimState;
use serde_json::Value;
use std::sync::Arc;
use twinlake_core::grant::{ListedPermission, ListedResource};

impl SimState {
    pub(crate) fn list_permissions(
        &self,
        caller: Caller<'_>,
        request: &Value,
    ) -> Result<Arc<Vec<ListedPermission>>, ApiError> {
        let filter = match request.get("Resource") {
            Some(resource) if !resource.is_null() => Some(parse_resource(resource)?),
            Some(_) | None => None,
        };
        let principal = request
            .get("Principal")
            .and_then(|p| p.get("DataLakePrincipalIdentifier"))
            .and_then(Value::as_str);
        let resource_type = request.get("ResourceType").and_then(Value::as_str);
        let all = match (&filter, resource_type) {
            (None, None) => self.list_unfiltered_grants(caller)?,
            (filter, _) => self.list_grants(caller, filter.as_ref())?,
        };
        if resource_type.is_none() && principal.is_none() {
            return Ok(all);
        }
        Ok(filtered(&all, |entry| {
            resource_type.is_none_or(|resource_type| is_of_type(&entry.resource, resource_type))
                && principal.is_none_or(|one| entry.principal.0 == one)
        }))
    }

    /// Returns the grants that a listing without a filter returns: all, or with the quirk on all
    /// except those on LF-Tags and LF-Tag policies.
    pub(crate) fn list_unfiltered_grants(
        &self,
        caller: Caller<'_>,
    ) -> Result<Arc<Vec<ListedPermission>>, ApiError> {
        let all = self.list_grants(caller, None)?;
        if !self.has(Quirk::UnfilteredListOmitsLfTagGrants) {
            return Ok(all);
        }
        let types = ["LF_TAG", "LF_TAG_POLICY"];
        Ok(filtered(&all, |entry| {
            !types
                .iter()
                .any(|resource_type| is_of_type(&entry.resource, resource_type))
        }))
    }

    /// Returns the listed grants on a resource, or all grants.
    pub(crate) fn list_grants(
        &self,
        caller: Caller<'_>,
        filter: Option<&ListedResource>,
    ) -> Result<Arc<Vec<ListedPermission>>, ApiError> {
        if self.sees_empty_catalog(caller.region, caller.principal) {
            return Ok(Arc::default());
        }
        let region = self.region(caller.region)?;
        let mut all = self.listed_grants(caller.region);
        let is = |principal: &String| principal == caller.principal;
        if self.has(Quirk::OthersListTheirOwnGrants)
            && !region.data_lake_admins.iter().any(is)
            && !region.read_only_admins.iter().any(is)
        {
            all = filtered(&all, |entry| entry.principal.0 == caller.principal);
        }
        let Some(filter) = filter else {
            return Ok(all);
        };
        if let ListedResource::Database(name) | ListedResource::TableWildcard(name) = filter
            && !region.databases.contains_key(name)
        {
            return Err(ApiError::not_found());
        }
        if let ListedResource::Table(id) = filter
            && !region.tables.contains_key(id)
            && !self.has(Quirk::GrantsRemainAfterTableDeletion)
        {
            return Err(ApiError::not_found());
        }
        Ok(filtered(&all, |entry| {
            matches_filter(&entry.resource, filter)
        }))
    }
}

fn filtered(
    all: &[ListedPermission],
    is_kept: impl Fn(&ListedPermission) -> bool,
) -> Arc<Vec<ListedPermission>> {
    Arc::new(all.iter().filter(|entry| is_kept(entry)).cloned().collect())
}
