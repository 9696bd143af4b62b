//! What a switchover has revoked in one of the Regions, in the snapshot of the primary.

use super::session::Session;
use crate::failover::freeze::{after_reading, is_mapped_back, mapped};
use crate::failover::frozen_documents::{StoredFreeze, grants_of, prune, stored};
use crate::ports::Environment;
use twinlake_core::failover::{FrozenGrant, FrozenGrants};
use twinlake_core::grant::GrantMapping;
use twinlake_core::scope::subject_of_grant;
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::{CallError, Grants, PermissionGrant, Resource};

impl<E: Environment> Session<'_, E> {
    /// Lets the primary count as having what is frozen in it, and as not having what is frozen in the standby. It reads
    /// the ledger after the primary: a grant is stored before it is revoked, so one that was found missing because of
    /// the freeze is known by now.
    pub(super) async fn apply_frozen_grants(&mut self) -> Result<(), CallError> {
        let primary = &self.snapshots.primary;
        let is_any_read = !primary.grants.is_empty()
            || !primary.all_tables_grants.is_empty()
            || primary.lf_tag_policy_grants.is_some();
        if !is_any_read {
            return Ok(());
        }
        let stored = stored(self.context.ledger).await?;
        let epoch = self.context.epoch;
        let to_standby = GrantMapping::of_primary(self.context.policy, epoch);
        let in_primary = grants_of(&stored, |frozen| frozen.is_of_primary(epoch));
        for (grant, grantable) in mapped(&in_primary, &to_standby) {
            for grants in read_grants(&mut self.snapshots.primary, &grant) {
                grants.entry(grant.clone()).or_insert(grantable);
            }
            self.scope.remove_named_revoke(&grant);
        }
        let is_withheld =
            |frozen: &FrozenGrants| frozen.is_of_former_primary(epoch.standby(), epoch);
        let withheld = grants_of(&stored, is_withheld);
        self.forget_revoked(stored, is_withheld).await?;
        for grant in withheld.keys() {
            for grants in read_grants(&mut self.snapshots.primary, grant) {
                grants.remove(grant);
            }
            self.withheld_grants.insert(grant.clone());
        }
        Ok(())
    }

    /// Forgets of what is frozen in the standby the grants that the primary does not have any more: they are not
    /// granted again.
    async fn forget_revoked(
        &self,
        stored: Vec<StoredFreeze>,
        is_withheld: impl Fn(&FrozenGrants) -> bool,
    ) -> Result<(), CallError> {
        let primary = &self.snapshots.primary;
        let terms = (self.context.policy, self.context.epoch);
        let keep = |frozen: &FrozenGrant| {
            let grant = &frozen.grant;
            let subject = subject_of_grant(grant);
            let listed = primary.grants.get(&subject).and_then(Observation::present);
            // What was taken out of it in an earlier round proves nothing.
            let is_as_read = !self.withheld_grants.contains(grant);
            let Some(listed) = listed.filter(|_| is_as_read) else {
                return Some(frozen.clone());
            };
            let is_complete = primary.is_administrator
                && primary.nonempty_full_grant_reads.contains(&subject)
                && is_mapped_back(terms, grant);
            let is_proven = is_complete || self.scope.is_named_by_event(grant);
            after_reading(frozen, listed.get(grant).copied(), is_proven)
        };
        prune(self.context.ledger, stored, is_withheld, keep).await
    }
}

/// The grants in a snapshot among which a grant is.
fn read_grants<'s>(
    snapshot: &'s mut Snapshot,
    grant: &PermissionGrant,
) -> impl Iterator<Item = &'s mut Grants> {
    fn present<T>(observed: Option<&mut Observation<T>>) -> Option<&mut T> {
        match observed {
            Some(Observation::Present(found)) => Some(found),
            Some(Observation::Absent(_) | Observation::Unknown(_)) | None => None,
        }
    }
    let on_subject = present(snapshot.grants.get_mut(&subject_of_grant(grant)));
    let (on_all_tables, by_policy) = match &grant.resource {
        Resource::AllTables(database) => {
            (present(snapshot.all_tables_grants.get_mut(database)), None)
        }
        Resource::LfTagPolicy { .. } => {
            let by_policies = present(snapshot.lf_tag_policy_grants.as_mut());
            (None, by_policies.map(|found| &mut found.grants))
        }
        Resource::Database(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagExpression(_) => (None, None),
    };
    on_subject.into_iter().chain(on_all_tables).chain(by_policy)
}
