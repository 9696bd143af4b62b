//! Grants in the shapes that the service lists.

use super::{GrantStore, Region, StoredResource, World};
use crate::quirk::Quirk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_core::grant::{Entry, EntryResource};
use twinlake_core::{Name, Principal, TableId};

impl World {
    /// Every grant of a Region, in the shapes that the service lists.
    #[must_use]
    pub fn listed_grants(&self, region: &str) -> Arc<Vec<Entry>> {
        let Ok(stored) = self.region(region) else {
            return Arc::default();
        };
        let list = || {
            let mut all = match stored.lists_are_old {
                true => self.list(&stored.grants_as_before()),
                false => self.list(&stored.grants),
            };
            all.extend(stored.ghosts.iter().cloned());
            Arc::new(all)
        };
        Arc::clone(stored.listed.get_or_init(list))
    }

    fn list(&self, store: &GrantStore) -> Vec<Entry> {
        let mut columns: BTreeMap<(String, TableId, bool, Option<String>), BTreeSet<Name>> =
            BTreeMap::new();
        let mut tags: BTreeMap<TagKey, BTreeSet<String>> = BTreeMap::new();
        let mut entries = Vec::new();
        for (grant, permissions) in store {
            if let StoredResource::Tag(key, value) = &grant.resource {
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
            entries.push(Entry {
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
            entries.push(Entry {
                principal: Principal(principal),
                resource: EntryResource::Tag(key, values),
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
            entries.push(Entry {
                principal: Principal(principal),
                resource: EntryResource::Columns(id, names),
                permissions: select.clone(),
                grantable: if grantable { select } else { BTreeSet::new() },
                condition,
            });
        }
        entries
    }

    fn listed_resource(&self, resource: &StoredResource) -> EntryResource {
        let apart = self.has(Quirk::SelectListsApart);
        match resource {
            StoredResource::Database(name) => EntryResource::Database(name.clone()),
            StoredResource::Table(id) => EntryResource::Table(id.clone()),
            StoredResource::AllTables(database) | StoredResource::AllColumns(database) => {
                EntryResource::TableWildcard(database.clone())
            }
            StoredResource::Columns(id, excluded) if excluded.is_empty() && !apart => {
                EntryResource::Table(id.clone())
            }
            StoredResource::Columns(id, excluded) => {
                EntryResource::ColumnWildcard(id.clone(), excluded.clone())
            }
            StoredResource::Column(id, column) => {
                EntryResource::Columns(id.clone(), BTreeSet::from([column.clone()]))
            }
            StoredResource::Filter(id, name) => EntryResource::Filter(id.clone(), name.clone()),
            StoredResource::Catalog => EntryResource::Catalog,
            StoredResource::Location(place) => EntryResource::Location(place.clone()),
            StoredResource::Tag(key, value) => {
                EntryResource::Tag(key.clone(), BTreeSet::from([value.clone()]))
            }
            StoredResource::TagPolicy(target, rule) => {
                EntryResource::TagPolicy(*target, rule.clone())
            }
            StoredResource::Expression(name) => EntryResource::Expression(name.clone()),
            StoredResource::Other(kind) => EntryResource::Other(kind.clone()),
        }
    }
}

impl Region {
    fn grants_as_before(&self) -> GrantStore {
        let mut store = self.grants.clone();
        for (grant, held) in self.grants_before.iter().rev() {
            match held {
                Some(held) => store.insert(grant.clone(), held.clone()),
                None => store.remove(grant),
            };
        }
        store
    }
}

/// Grants on values of one LF-Tag that list together.
type TagKey = (String, String, String, bool);
