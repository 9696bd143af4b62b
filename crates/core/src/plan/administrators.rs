//! Which listed grants of administrators are compared. What an administrator may do by being one is
//! listed like a grant (LF-06) and cannot be revoked. That holds only in the Region where the
//! principal is an administrator now.

use super::{PlanBuilder, settings};
use crate::catalog::DataLakeSettings;
use crate::grant::Resource;
use crate::grant::{GrantMapping, Grants, OwnRoles, Permission, PermissionGrant, Principal};
use crate::snapshot::{Observation, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the standby's grants that are neither compared nor changed. `None` if the settings of a
/// Region were not read.
pub(super) fn ignored<'a>(builder: &PlanBuilder<'a>) -> Option<Ignored<'a>> {
    settings_of(builder.inputs.primary)?;
    let in_standby = settings_of(builder.inputs.standby)?;
    let to_be_removed = settings::admins_to_remove(builder);
    let mut standings: BTreeMap<Principal, Standing> = BTreeMap::new();
    for principal in &in_standby.read_only_admins {
        standings.insert(principal.clone(), Standing::ReadOnly);
    }
    for principal in &in_standby.admins {
        let standing = match to_be_removed.contains(principal) {
            true => Standing::ToBeRemoved,
            false => Standing::Full,
        };
        standings.insert(principal.clone(), standing);
    }
    Some(Ignored {
        standings,
        own_roles: Some(builder.inputs.own_roles),
    })
}

fn settings_of(snapshot: &Snapshot) -> Option<&DataLakeSettings> {
    let present = snapshot.settings.as_ref().and_then(Observation::present);
    present.map(|settings| &settings.data_lake_settings)
}

/// What a principal is in the standby.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// An administrator, who can grant itself anything.
    Full,
    /// An administrator that Twinlake removes from the settings.
    ToBeRemoved,
    /// A read-only administrator, who sees everything and has no other right.
    ReadOnly,
}

/// The standby's grants that are neither compared nor changed.
#[derive(Default)]
pub(super) struct Ignored<'a> {
    standings: BTreeMap<Principal, Standing>,
    own_roles: Option<&'a OwnRoles>,
}

impl<'a> Ignored<'a> {
    /// Ignores only the grants of Twinlake's own roles.
    pub(super) fn own_roles_only(own_roles: &'a OwnRoles) -> Self {
        Self {
            standings: BTreeMap::new(),
            own_roles: Some(own_roles),
        }
    }
}

impl Ignored<'_> {
    pub(super) fn contains(&self, grant: &PermissionGrant) -> bool {
        let is_own = |roles: &OwnRoles| roles.contains(&grant.principal.0);
        self.own_roles.is_some_and(is_own)
            || match self.standings.get(&grant.principal) {
                Some(Standing::Full) => true,
                Some(Standing::ToBeRemoved) => may_follow_from_administration(grant),
                Some(Standing::ReadOnly) => grant.permission == Permission::Describe,
                None => false,
            }
    }
}

/// Leaves out the grants of the primary that may be listed merely because the principal is an administrator
/// there. Those that the standby has, too, are kept.
pub(super) fn without_implicit(
    builder: &PlanBuilder<'_>,
    in_primary: Grants,
    in_standby: &Grants,
) -> Grants {
    let Some(settings) = settings_of(builder.inputs.primary) else {
        return in_primary;
    };
    let mapping = GrantMapping::of_primary(builder.inputs.policy, builder.inputs.epoch);
    let mapped = |all: &BTreeSet<Principal>| -> BTreeSet<Principal> {
        let all = all.iter();
        all.filter_map(|principal| mapping.principal_outside_grants(principal).ok().flatten())
            .collect()
    };
    let (admins, read_only_admins) = (mapped(&settings.admins), mapped(&settings.read_only_admins));
    let may_be_implicit = |grant: &PermissionGrant| {
        (admins.contains(&grant.principal) && may_follow_from_administration(grant))
            || (read_only_admins.contains(&grant.principal)
                && grant.permission == Permission::Describe)
    };
    let kept = in_primary.into_iter().filter_map(|(grant, grantable)| {
        if !may_be_implicit(&grant) {
            return Some((grant, grantable));
        }
        let in_standby = *in_standby.get(&grant)?;
        Some((grant, grantable && in_standby))
    });
    kept.collect()
}

/// Whether a data lake administrator may have the permission without a grant: it describes
/// everything, and manages LF-Tags, data locations and the catalog as a whole. It cannot read,
/// change or drop what others created (F-14).
fn may_follow_from_administration(grant: &PermissionGrant) -> bool {
    match grant.permission {
        Permission::Associate
        | Permission::CreateCatalog
        | Permission::CreateDatabase
        | Permission::CreateLfTag
        | Permission::CreateLfTagExpression
        | Permission::DataLocationAccess
        | Permission::Describe
        | Permission::GrantWithLfTagExpression => true,
        Permission::All
        | Permission::Alter
        | Permission::CreateTable
        | Permission::Delete
        | Permission::Drop
        | Permission::Execute
        | Permission::Insert
        | Permission::Select => match grant.resource {
            Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagExpression(_) => true,
            Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::Column(..)
            | Resource::ColumnsExcept(..)
            | Resource::DataCellsFilter(..)
            | Resource::LfTagPolicy { .. } => false,
        },
    }
}
