//! The Lake Formation access of Twinlake's roles: they are data lake administrators, the reader
//! roles are shown every column, and the default permissions of a standby are empty.
//!
//! # Invariants
//!
//! - No other principal loses access: administrators are only added, and only those that this
//!   module added are removed again.
//! - The settings are read just before they are written, and read back. They are written only if two reads in
//!   a row show the same administrators to keep: the write replaces all of them.

use crate::ports::{
    DefaultPermissionsChange, GrantFilter, MAX_PERMISSIONS_PER_BATCH, PermissionResourceType,
    ReadRegion, SettingsChange, WriteRegion,
};
use crate::progress::WorkProgress;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::grant::{ListedPermission, ListedResource};
use twinlake_core::{CallError, CallErrorKind, Name, OwnRoles, Principal};

/// What a reader role needs on each database. An administrator may describe every database by one page
/// of AWS, and only some by another (D-2).
const READER_PERMISSIONS: [(ReaderTarget, &[&str]); 2] = [
    (ReaderTarget::Database, &["DESCRIBE"]),
    (ReaderTarget::AllTables, &["DESCRIBE", "SELECT"]),
];

/// Grants Twinlake's reader roles DESCRIBE on the given databases, or on all databases, and SELECT and
/// DESCRIBE on all current and future tables in them. The reader roles are those administrators that
/// are Twinlake roles. Returns the new grants.
///
/// # Errors
/// A listing or a grant failed.
pub async fn grant_readers<R: WriteRegion>(
    region: &R,
    own_roles: &OwnRoles,
    databases: Option<&BTreeSet<Name>>,
) -> Result<Vec<ReaderGrant>, CallError> {
    let settings = region.settings().await?;
    let readers = settings.administrators.into_iter();
    let readers: BTreeSet<Principal> = readers.filter(|role| own_roles.contains(&role.0)).collect();
    let missing = missing_grants(region, &readers, databases).await?;
    grant_all(region, &missing, &()).await?;
    Ok(missing)
}

/// What a grant to a reader role is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReaderTarget {
    /// All tables of a database, later ones too. The only one in records of earlier versions.
    #[default]
    AllTables,
    /// A database itself.
    Database,
}

/// A grant to a reader role on a database, or on all tables of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReaderGrant {
    /// The reader role.
    pub principal: Principal,
    /// The database.
    pub database: Name,
    /// Whether the permissions are on the database or on its tables.
    #[serde(default)]
    pub target: ReaderTarget,
    /// The permissions.
    pub permissions: BTreeSet<String>,
}

impl ReaderGrant {
    fn to_permission(&self) -> ListedPermission {
        ListedPermission {
            principal: self.principal.clone(),
            resource: match self.target {
                ReaderTarget::AllTables => ListedResource::TableWildcard(self.database.clone()),
                ReaderTarget::Database => ListedResource::Database(self.database.clone()),
            },
            permissions: self.permissions.clone(),
            grantable: BTreeSet::new(),
            condition: None,
        }
    }
}

/// Returns the grants that the reader roles lack on databases.
async fn missing_grants<R: ReadRegion>(
    region: &R,
    readers: &BTreeSet<Principal>,
    databases: Option<&BTreeSet<Name>>,
) -> Result<Vec<ReaderGrant>, CallError> {
    if readers.is_empty() {
        return Ok(Vec::new());
    }
    let mut listed: Vec<ListedPermission> = Vec::new();
    let databases: BTreeSet<Name> = match databases {
        Some(names) => {
            for name in names {
                for filter in [
                    GrantFilter::Database(name.clone()),
                    GrantFilter::AllTables(name.clone()),
                ] {
                    match region.grants_on(&filter).await {
                        Ok(entries) => listed.extend(entries),
                        // The database has been deleted meanwhile.
                        Err(error) if error.kind == CallErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            names.clone()
        }
        None => {
            for kind in [
                PermissionResourceType::Database,
                PermissionResourceType::Table,
            ] {
                listed.extend(region.grants_on(&GrantFilter::Type(kind)).await?);
            }
            let databases = region.databases().await?.into_iter();
            databases
                .filter(|observed| !observed.is_link())
                .map(|observed| observed.object.name)
                .collect()
        }
    };
    Ok(missing_of(&listed, readers, &databases))
}

/// The grants of reader roles on databases that a listing lacks.
fn missing_of(
    listed: &[ListedPermission],
    readers: &BTreeSet<Principal>,
    databases: &BTreeSet<Name>,
) -> Vec<ReaderGrant> {
    let mut held: BTreeMap<(&Principal, &Name, ReaderTarget), BTreeSet<&str>> = BTreeMap::new();
    for entry in listed {
        let (database, target) = match &entry.resource {
            ListedResource::TableWildcard(database) => (database, ReaderTarget::AllTables),
            ListedResource::Database(database) => (database, ReaderTarget::Database),
            ListedResource::Catalog
            | ListedResource::Table(_)
            | ListedResource::Columns(..)
            | ListedResource::ColumnWildcard(..)
            | ListedResource::DataCellsFilter(..)
            | ListedResource::DataLocation(_)
            | ListedResource::LfTag(..)
            | ListedResource::LfTagPolicy(..)
            | ListedResource::LfTagExpression(_)
            | ListedResource::Other(_) => continue,
        };
        let held_permissions = held
            .entry((&entry.principal, database, target))
            .or_default();
        held_permissions.extend(entry.permissions.iter().map(String::as_str));
    }
    let mut missing = Vec::new();
    for database in databases {
        for principal in readers {
            for (target, needed) in READER_PERMISSIONS {
                let held_permissions = held.get(&(principal, database, target));
                let is_missing = |permission: &&str| {
                    !held_permissions.is_some_and(|permissions| permissions.contains(permission))
                };
                let permissions = needed.iter().copied().filter(is_missing).map(str::to_owned);
                let permissions: BTreeSet<String> = permissions.collect();
                if !permissions.is_empty() {
                    missing.push(ReaderGrant {
                        principal: principal.clone(),
                        database: database.clone(),
                        target,
                        permissions,
                    });
                }
            }
        }
    }
    missing
}

async fn grant_all<R: WriteRegion>(
    region: &R,
    grants: &[ReaderGrant],
    progress: &impl WorkProgress,
) -> Result<(), CallError> {
    progress.steps_expected(grants.len());
    for batch in grants.chunks(MAX_PERMISSIONS_PER_BATCH) {
        let entries: Vec<ListedPermission> = batch.iter().map(ReaderGrant::to_permission).collect();
        let permissions: Vec<&ListedPermission> = entries.iter().collect();
        for result in region.grant(&permissions).await? {
            match result {
                // The database has been deleted meanwhile.
                Err(error) if error.kind == CallErrorKind::NotFound => {}
                result => result?,
            }
        }
        progress.steps_finished(batch.len());
    }
    Ok(())
}

/// The access that Twinlake's roles require in a Region.
#[derive(Clone, Debug, Default)]
pub struct AccessRequirements {
    /// The roles that must be data lake administrators.
    pub roles: BTreeSet<Principal>,
    /// Whether the default permissions for new databases and tables must be empty, as in the
    /// standby.
    pub requires_empty_defaults: bool,
    /// The roles that must be shown every column, as in the primary.
    pub readers: BTreeSet<Principal>,
}

/// The changes made in a Region, from which they can be reverted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessChanges {
    /// Roles that became administrators.
    pub administrators: BTreeSet<Principal>,
    /// `CreateDatabaseDefaultPermissions` was cleared.
    pub cleared_database_defaults: bool,
    /// `CreateTableDefaultPermissions` was cleared.
    pub cleared_table_defaults: bool,
    /// The grants to reader roles.
    pub grants: Vec<ReaderGrant>,
}

impl AccessChanges {
    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the changes of another run.
    pub fn merge(&mut self, other: Self) {
        self.administrators.extend(other.administrators);
        self.cleared_database_defaults |= other.cleared_database_defaults;
        self.cleared_table_defaults |= other.cleared_table_defaults;
        self.grants.extend(other.grants);
        self.grants.sort();
        self.grants.dedup();
    }
}

/// Returns the changes that a Region still needs. Writes nothing.
///
/// # Errors
/// A listing failed.
pub async fn required_changes<R: ReadRegion>(
    region: &R,
    requirements: &AccessRequirements,
) -> Result<AccessChanges, CallError> {
    let current = region.settings().await?.data_lake_settings;
    Ok(AccessChanges {
        administrators: requirements
            .roles
            .difference(&current.admins)
            .cloned()
            .collect(),
        cleared_database_defaults: requirements.requires_empty_defaults
            && current.database_defaults_open,
        cleared_table_defaults: requirements.requires_empty_defaults && current.table_defaults_open,
        grants: missing_grants(region, &requirements.readers, None).await?,
    })
}

/// Applies changes to a Region.
///
/// # Errors
/// A call failed. The changes made before it stay, and the next run makes the rest.
pub async fn apply_changes<R: WriteRegion>(
    region: &R,
    changes: &AccessChanges,
    progress: &impl WorkProgress,
) -> Result<(), CallError> {
    let clears_defaults = changes.cleared_database_defaults || changes.cleared_table_defaults;
    if clears_defaults || !changes.administrators.is_empty() {
        let known = region.settings().await?.data_lake_settings;
        let change = SettingsChange {
            kept_admins: known.admins,
            kept_read_only_admins: known.read_only_admins,
            added_admins: changes.administrators.clone(),
            default_permissions: match clears_defaults {
                true => DefaultPermissionsChange::Clear,
                false => DefaultPermissionsChange::Keep,
            },
            ..SettingsChange::default()
        };
        region.put_settings(&change).await?;
    }
    grant_all(region, &changes.grants, progress).await
}

/// Reverts changes in a Region: removes only administrators and grants that were added. The
/// administrators are removed even if a grant cannot be: a role that is deleted while it is one makes
/// every later change of the settings fail (D-8). The grants come first, because the caller may be one
/// of these administrators.
///
/// # Errors
/// A call failed. The function can be called again.
pub async fn revert_changes<R: WriteRegion>(
    region: &R,
    changes: &AccessChanges,
) -> Result<(), CallError> {
    let revoked = revoke_all(region, &changes.grants).await;
    revert_settings(region, changes).await?;
    revoked
}

async fn revoke_all<R: WriteRegion>(region: &R, grants: &[ReaderGrant]) -> Result<(), CallError> {
    for batch in grants.chunks(MAX_PERMISSIONS_PER_BATCH) {
        let entries: Vec<ListedPermission> = batch.iter().map(ReaderGrant::to_permission).collect();
        let permissions: Vec<&ListedPermission> = entries.iter().collect();
        for result in region.revoke(&permissions).await? {
            match result {
                Err(error)
                    if matches!(
                        error.kind,
                        CallErrorKind::NotFound | CallErrorKind::AlreadyInState
                    ) => {}
                result => result?,
            }
        }
    }
    Ok(())
}

async fn revert_settings<R: WriteRegion>(
    region: &R,
    changes: &AccessChanges,
) -> Result<(), CallError> {
    let restores_defaults = changes.cleared_database_defaults || changes.cleared_table_defaults;
    if !restores_defaults && changes.administrators.is_empty() {
        return Ok(());
    }
    let known = region.settings().await?.data_lake_settings;
    let kept = known.admins.difference(&changes.administrators);
    let change = SettingsChange {
        kept_admins: kept.cloned().collect(),
        kept_read_only_admins: known.read_only_admins,
        removed_admins: changes.administrators.clone(),
        default_permissions: match restores_defaults {
            true => DefaultPermissionsChange::Restore {
                databases: changes.cleared_database_defaults,
                tables: changes.cleared_table_defaults,
            },
            false => DefaultPermissionsChange::Keep,
        },
        ..SettingsChange::default()
    };
    region.put_settings(&change).await
}
