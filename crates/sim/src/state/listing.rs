//! Stored grants in the form that `ListPermissions` returns.

use super::{GrantStore, RegionStore, SimState, StoredResource};
use crate::quirk::Quirk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_core::grant::{ListedPermission, ListedResource};
use twinlake_core::{Name, Principal, TableId};

impl SimState {
    /// Returns every grant of a Region in the form that `ListPermissions` returns.
    #[must_use]
    pub fn listed_grants(&self, region: &str) -> Arc<Vec<ListedPermission>> {
        let Ok(region_store) = self.region(region) else {
            return Arc::default();
        };
        let list = || {
            let mut all = match region_store.stale_grant_listings {
                true => self.to_listed(&region_store.grants_before_write()),
                false => self.to_listed(&region_store.grants),
            };
            all.extend(region_store.revoked_but_listed.iter().cloned());
            Arc::new(all)
        };
        Arc::clone(region_store.listed_grants_cache.get_or_init(list))
    }

    fn to_listed(&self, store: &GrantStore) -> Vec<ListedPermission> {
        let mut columns: BTreeMap<(String, TableId, bool, Option<String>), BTreeSet<Name>> =
            BTreeMap::new();
        let mut tags: BTreeMap<LfTagGrantKey, BTreeSet<String>> = BTreeMap::new();
        let mut entries = Vec::new();
        for (grant, permissions) in store {
            if let StoredResource::LfTag(key, value) = &grant.resource {
                for (permission, grantable) in permissions {
                    let key = (
                        grant.principal.clone(),
                        key.clone(),
                        permission.clone(),
                        *grantable,
                    );
                    tags.entry(key).or_default().insert(value.clone());
                }
                continue;
            }
            if let StoredResource::Column(id, column) = &grant.resource {
                for grantable in permissions.values() {
                    let (principal, condition) = (grant.principal.clone(), grant.condition.clone());
                    columns
                        .entry((principal, id.clone(), *grantable, condition))
                        .or_default()
                        .insert(column.clone());
                }
                continue;
            }
            entries.push(ListedPermission {
                principal: Principal(grant.principal.clone()),
                resource: self.listed_resource(&grant.resource),
                permissions: permissions.keys().cloned().collect(),
                grantable: permissions
                    .iter()
                    .filter(|(_, grantable)| **grantable)
                    .map(|(permission, _)| permission.clone())
                    .collect(),
                condition: grant.condition.clone(),
            });
        }
        for ((principal, key, permission, grantable), values) in tags {
            let permissions = BTreeSet::from([permission]);
            entries.push(ListedPermission {
                principal: Principal(principal),
                resource: ListedResource::LfTag(key, values),
                grantable: if grantable {
                    permissions.clone()
                } else {
                    BTreeSet::new()
                },
                permissions,
                condition: None,
            });
        }
        for ((principal, id, grantable, condition), names) in columns {
            let select = BTreeSet::from(["SELECT".to_owned()]);
            entries.push(ListedPermission {
                principal: Principal(principal),
                resource: ListedResource::Columns(id, names),
                permissions: select.clone(),
                grantable: if grantable { select } else { BTreeSet::new() },
                condition,
            });
        }
        entries
    }

    fn listed_resource(&self, resource: &StoredResource) -> ListedResource {
        let as_column_wildcard = self.has(Quirk::SelectListedAsColumnWildcard);
        match resource {
            StoredResource::Database(name) => ListedResource::Database(name.clone()),
            StoredResource::Table(id) => ListedResource::Table(id.clone()),
            StoredResource::AllTables(database) | StoredResource::AllTablesAllColumns(database) => {
                ListedResource::TableWildcard(database.clone())
            }
            StoredResource::ColumnWildcard(id, excluded)
                if excluded.is_empty() && !as_column_wildcard =>
            {
                ListedResource::Table(id.clone())
            }
            StoredResource::ColumnWildcard(id, excluded) => {
                ListedResource::ColumnWildcard(id.clone(), excluded.clone())
            }
            StoredResource::Column(id, column) => {
                ListedResource::Columns(id.clone(), BTreeSet::from([column.clone()]))
            }
            StoredResource::DataCellsFilter(id, name) => {
                ListedResource::DataCellsFilter(id.clone(), name.clone())
            }
            StoredResource::Catalog => ListedResource::Catalog,
            StoredResource::DataLocation(arn) => ListedResource::DataLocation(arn.clone()),
            StoredResource::LfTag(key, value) => {
                ListedResource::LfTag(key.clone(), BTreeSet::from([value.clone()]))
            }
            StoredResource::LfTagPolicy(target, policy) => {
                ListedResource::LfTagPolicy(*target, policy.clone())
            }
            StoredResource::LfTagExpression(name) => ListedResource::LfTagExpression(name.clone()),
            StoredResource::Other(kind) => ListedResource::Other(kind.clone()),
        }
    }
}

impl RegionStore {
    fn grants_before_write(&self) -> GrantStore {
        let mut store = self.grants.clone();
        for (grant, held) in self.grants_before_last_write.iter().rev() {
            match held {
                Some(held) => store.insert(grant.clone(), held.clone()),
                None => store.remove(grant),
            };
        }
        store
    }
}

/// Grants on values of one LF-Tag that are listed as one entry: principal, tag key, permission,
/// grant option.
type LfTagGrantKey = (String, String, String, bool);
