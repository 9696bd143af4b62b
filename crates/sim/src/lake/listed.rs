//! Which grants a listing shows.

use super::shapes::{is_of_type, is_on, parse_resource};
use crate::api::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::World;
use serde_json::Value;
use std::sync::Arc;
use twinlake_core::grant::{Entry, EntryResource};

impl World {
    pub(crate) fn list_permissions(
        &self,
        c: Caller<'_>,
        r: &Value,
    ) -> Result<Arc<Vec<Entry>>, ApiError> {
        let filter = match r.get("Resource") {
            Some(resource) if !resource.is_null() => Some(parse_resource(resource)?),
            Some(_) | None => None,
        };
        let principal = r
            .get("Principal")
            .and_then(|p| p.get("DataLakePrincipalIdentifier"))
            .and_then(Value::as_str);
        let kind = r.get("ResourceType").and_then(Value::as_str);
        let all = match (&filter, kind) {
            (None, None) => self.unfiltered(c)?,
            (filter, _) => self.permissions(c, filter.as_ref())?,
        };
        if kind.is_none() && principal.is_none() {
            return Ok(all);
        }
        Ok(only(&all, |entry| {
            kind.is_none_or(|kind| is_of_type(&entry.resource, kind))
                && principal.is_none_or(|one| entry.principal.0 == one)
        }))
    }

    /// The listed grants of all kinds, or of those that such a listing covers.
    pub(crate) fn unfiltered(&self, c: Caller<'_>) -> Result<Arc<Vec<Entry>>, ApiError> {
        let all = self.permissions(c, None)?;
        if !self.has(Quirk::UnfilteredLeavesOut) {
            return Ok(all);
        }
        let types = ["LF_TAG", "LF_TAG_POLICY"];
        Ok(only(&all, |entry| {
            !types.iter().any(|kind| is_of_type(&entry.resource, kind))
        }))
    }

    /// The listed grants on a resource, or all.
    pub(crate) fn permissions(
        &self,
        c: Caller<'_>,
        filter: Option<&EntryResource>,
    ) -> Result<Arc<Vec<Entry>>, ApiError> {
        if self.is_blind(c.region, c.principal) {
            return Ok(Arc::default());
        }
        let region = self.region(c.region)?;
        let all = self.listed_grants(c.region);
        let Some(filter) = filter else {
            return Ok(all);
        };
        if let EntryResource::Database(name) | EntryResource::TableWildcard(name) = filter
            && !region.databases.contains_key(name)
        {
            return Err(ApiError::not_found());
        }
        if let EntryResource::Table(id) = filter
            && !region.tables.contains_key(id)
            && !self.has(Quirk::GrantsOutliveTables)
        {
            return Err(ApiError::not_found());
        }
        Ok(only(&all, |entry| is_on(&entry.resource, filter)))
    }
}

fn only(all: &[Entry], stays: impl Fn(&Entry) -> bool) -> Arc<Vec<Entry>> {
    Arc::new(all.iter().filter(|entry| stays(entry)).cloned().collect())
}
