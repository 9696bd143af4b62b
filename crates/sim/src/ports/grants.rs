//! Listings of permission grants.

use super::SimRegion;
use crate::answer_style::UnusualAnswer;
use crate::error::ApiError;
use crate::lakeformation::{MAX_PERMISSIONS_PER_PAGE, is_of_type};
use twinlake_core::grant::{ListedPermission, ListedResource};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::PermissionResourceType;

type Receive<'a> = &'a mut dyn FnMut(Vec<ListedPermission>);

impl SimRegion {
    pub(super) async fn grants(
        &self,
        filter: Option<ListedResource>,
        receive: Receive<'_>,
    ) -> Result<(), CallError> {
        let all = self
            .read_listing(
                "ListPermissions",
                MAX_PERMISSIONS_PER_PAGE,
                |state, caller| {
                    let all = match filter.as_ref() {
                        None => state.list_unfiltered_grants(caller)?,
                        filter => state.list_grants(caller, filter)?,
                    };
                    let count = all.len();
                    Ok((all, count))
                },
            )
            .await?;
        deliver(&all, |_| true, receive);
        Ok(())
    }

    /// The type `TABLE` lists data cells filters, and the port of the simulator makes one call of it.
    pub(super) fn refuse_related(&self) -> Result<(), CallError> {
        let problem = "IncludeRelated is for one table only";
        let kind = CallErrorKind::Unsupported;
        Err(CallError::new(
            kind,
            "ListPermissions",
            &self.region,
            problem,
        ))
    }

    pub(super) async fn grants_of_type(
        &self,
        kind: PermissionResourceType,
        receive: Receive<'_>,
    ) -> Result<(), CallError> {
        let is_of_kind = |entry: &ListedPermission| is_of_type(&entry.resource, kind.as_str());
        let all = self
            .read_listing(
                "ListPermissions",
                MAX_PERMISSIONS_PER_PAGE,
                |state, caller| {
                    if state.answers(caller.region, UnusualAnswer::RefusesGrantsOfType(kind)) {
                        return Err(ApiError::invalid("The resource type is not valid."));
                    }
                    let all = state.list_grants(caller, None)?;
                    let count = all.iter().filter(|entry| is_of_kind(entry)).count();
                    Ok((all, count))
                },
            )
            .await?;
        deliver(&all, is_of_kind, receive);
        Ok(())
    }
}

/// Passes on the chosen entries, page by page: a copy of all would take much memory.
fn deliver(
    all: &[ListedPermission],
    is_chosen: impl Fn(&ListedPermission) -> bool,
    receive: Receive<'_>,
) {
    let mut page = Vec::new();
    for entry in all.iter().filter(|entry| is_chosen(entry)) {
        page.push(entry.clone());
        if page.len() == MAX_PERMISSIONS_PER_PAGE {
            receive(std::mem::take(&mut page));
        }
    }
    receive(page);
}
