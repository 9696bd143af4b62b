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
                None => world.unfiltered(caller).map(|all| all.to_vec()),
                filter => world.permissions(caller, filter).map(|all| all.to_vec()),
            },
        )
        .await
    }

    pub(super) async fn grants_of_type(&self, kind: GrantType) -> Result<Vec<Entry>, Fault> {
        self.pages("ListPermissions", PERMISSION_PAGE, |world, caller| {
            let all = world.permissions(caller, None)?;
            let of_kind = all
                .iter()
                .filter(|entry| is_of_type(&entry.resource, kind.as_str()));
            Ok(of_kind.cloned().collect())
        })
        .await
    }
}
