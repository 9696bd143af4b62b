//! Listings of permission grants.

use super::SimRegion;
use crate::answer_style::UnusualAnswer;
use crate::error::ApiError;
use crate::lakeformation::{MAX_PERMISSIONS_PER_PAGE, is_of_type};
use twinlake_core::CallError;
use twinlake_core::grant::{ListedPermission, ListedResource};
use twinlake_engine::ports::PermissionResourceType;

impl SimRegion {
    pub(super) async fn grants(
        &self,
        filter: Option<ListedResource>,
    ) -> Result<Vec<ListedPermission>, CallError> {
        self.read_pages(
            "ListPermissions",
            MAX_PERMISSIONS_PER_PAGE,
            |state, caller| match filter.as_ref() {
                None => state.list_unfiltered_grants(caller).map(|all| all.to_vec()),
                filter => state.list_grants(caller, filter).map(|all| all.to_vec()),
            },
        )
        .await
    }

    pub(super) async fn grants_of_type(
        &self,
        kind: PermissionResourceType,
    ) -> Result<Vec<ListedPermission>, CallError> {
        self.read_pages(
            "ListPermissions",
            MAX_PERMISSIONS_PER_PAGE,
            |state, caller| {
                if state.answers(caller.region, UnusualAnswer::RefusesGrantsOfType(kind)) {
                    return Err(ApiError::invalid("The resource type is not valid."));
                }
                let all = state.list_grants(caller, None)?;
                let of_kind = all
                    .iter()
                    .filter(|entry| is_of_type(&entry.resource, kind.as_str()));
                Ok(of_kind.cloned().collect())
            },
        )
        .await
    }
}
