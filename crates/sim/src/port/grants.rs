//! Listings of grants.

use super::SimRegion;
use crate::lake::{PERMISSION_PAGE, is_of_type};
use twinlake_core::Fault;
use twinlake_core::grant::{Entry, EntryResource};
use twinlake_engine::ports::GrantType;

impl SimRegion {
    pub(super) async fn grants(&self, filter: Option<EntryResource>) -> Result<Vec<Entry>, Fault> {
        self.pages(
            "ListPermissions",
            PERMISSION_PAGE,
            |world, caller| match filter.as_ref() {
                None => world.unfiltered(caller),
                filter => world.permissions(caller, filter),
            },
        )
        .await
    }

    pub(super) async fn grants_of_type(&self, kind: GrantType) -> Result<Vec<Entry>, Fault> {
        self.pages("ListPermissions", PERMISSION_PAGE, |world, caller| {
            let mut all = world.permissions(caller, None)?;
            all.retain(|entry| is_of_type(&entry.resource, kind.as_str()));
            Ok(all)
        })
        .await
    }
}
