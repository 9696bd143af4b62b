//! Grants in the shapes that Lake Formation lists and takes, to atoms and back.

use super::{ALL_TABLES, Atom, Grants, Permission, Principal, Resource};
use crate::name::{Name, TableId};
use std::collections::{BTreeMap, BTreeSet};

/// A resource in the shape that Lake Formation lists and takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryResource {
    /// `Database`.
    Database(Name),
    /// `Table` with a name.
    Table(TableId),
    /// `Table` with `TableWildcard`.
    TableWildcard(Name),
    /// `TableWithColumns` with `ColumnNames`.
    Columns(TableId, BTreeSet<Name>),
    /// `TableWithColumns` with `ColumnWildcard`, and what that excludes.
    ColumnWildcard(TableId, BTreeSet<Name>),
    /// Anything else, by its AWS name.
    Other(String),
}

/// One `PrincipalResourcePermissions` as listed, or one batch entry to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub principal: Principal,
    /// On what.
    pub resource: EntryResource,
    /// What, as AWS spells it.
    pub permissions: BTreeSet<String>,
    /// Which of these may be granted on.
    pub grantable: BTreeSet<String>,
    /// A Cedar condition.
    pub condition: Option<String>,
}

/// Takes listed entries apart into atoms; the second half counts what has no
/// atom, by the name of what is not replicated.
#[must_use]
pub fn normalize(entries: &[Entry], account: &str) -> (Grants, BTreeMap<String, usize>) {
    let mut grants = Grants::new();
    let mut unsupported: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        if !entry.principal.is_replicated(account) {
            *unsupported
                .entry("grant to a principal that is no IAM user or role of the account".to_owned())
                .or_default() += 1;
            continue;
        }
        let resources = match resources(&entry.resource) {
            Ok(resources) => resources,
            Err(kind) => {
                *unsupported.entry(format!("grant on {kind}")).or_default() += 1;
                continue;
            }
        };
        for word in entry.permissions.union(&entry.grantable) {
            let Some(permission) = Permission::parse(word) else {
                *unsupported.entry(format!("permission {word}")).or_default() += 1;
                continue;
            };
            for resource in &resources {
                let atom = Atom {
                    principal: entry.principal.clone(),
                    resource: resource.clone(),
                    permission,
                    condition: entry.condition.clone(),
                };
                let grantable = entry.grantable.contains(word);
                *grants.entry(atom).or_default() |= grantable;
            }
        }
    }
    (grants, unsupported)
}

fn resources(listed: &EntryResource) -> Result<Vec<Resource>, String> {
    Ok(match listed {
        EntryResource::Database(name) => vec![Resource::Database(name.clone())],
        EntryResource::TableWildcard(database) => vec![Resource::AllTables(database.clone())],
        EntryResource::Table(id) => vec![Resource::Table(id.clone())],
        EntryResource::ColumnWildcard(id, excluded) if excluded.is_empty() => {
            vec![Resource::Table(id.clone())]
        }
        EntryResource::ColumnWildcard(id, excluded) => {
            vec![Resource::ColumnsExcept(id.clone(), excluded.clone())]
        }
        EntryResource::Columns(id, columns) => columns
            .iter()
            .map(|column| Resource::Column(id.clone(), column.clone()))
            .collect(),
        EntryResource::Other(kind) => return Err(kind.clone()),
    })
}

/// What a table's name and its columns come to, before the name is lower-cased: the
/// wildcard lists as a table that is called `ALL_TABLES`, in just this spelling
/// (LF-02). A real table of that name lists in lower case.
#[must_use]
pub fn named(
    database: Name,
    raw_name: &str,
    columns: Option<ListedColumns>,
) -> Option<EntryResource> {
    if raw_name == ALL_TABLES {
        return Some(match columns {
            None => EntryResource::TableWildcard(database),
            Some(ListedColumns::AllBut(excluded)) if excluded.is_empty() => {
                EntryResource::TableWildcard(database)
            }
            Some(_) => EntryResource::Other("some columns of all tables".to_owned()),
        });
    }
    let id = TableId::new(database, Name::new(raw_name).ok()?);
    Some(match columns {
        None => EntryResource::Table(id),
        Some(ListedColumns::Some(names)) => EntryResource::Columns(id, names),
        Some(ListedColumns::AllBut(excluded)) => EntryResource::ColumnWildcard(id, excluded),
    })
}

/// The columns of a `TableWithColumns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedColumns {
    /// `ColumnNames`.
    Some(BTreeSet<Name>),
    /// `ColumnWildcard`, with what it excludes.
    AllBut(BTreeSet<Name>),
}

/// Puts atoms together into the fewest entries that say the same, in a stable
/// order: one for each principal, resource and condition.
///
/// Each entry comes with the atoms that it stands for, so that its outcome can
/// be told of each of them.
#[must_use]
pub fn entries(atoms: &Grants) -> Vec<(Entry, Vec<Atom>)> {
    type Whole<'a> = (&'a Principal, &'a Resource, Option<&'a str>);
    type Part<'a> = (
        &'a Principal,
        &'a TableId,
        Permission,
        bool,
        Option<&'a str>,
    );
    let mut plain: BTreeMap<Whole<'_>, Vec<(&Atom, bool)>> = BTreeMap::new();
    // Columns of one table with one permission and one grant option go together.
    let mut columns: BTreeMap<Part<'_>, Vec<&Atom>> = BTreeMap::new();
    for (atom, grantable) in atoms {
        let condition = atom.condition.as_deref();
        match &atom.resource {
            Resource::Column(id, _) => columns
                .entry((&atom.principal, id, atom.permission, *grantable, condition))
                .or_default()
                .push(atom),
            Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::ColumnsExcept(..) => plain
                .entry((&atom.principal, &atom.resource, condition))
                .or_default()
                .push((atom, *grantable)),
        }
    }
    let whole = plain
        .into_iter()
        .map(|((principal, resource, condition), atoms)| {
            let words = |only: bool| {
                let chosen = atoms.iter().filter(|(_, grantable)| *grantable || !only);
                chosen
                    .map(|(a, _)| a.permission.as_str().to_owned())
                    .collect()
            };
            let entry = Entry {
                principal: principal.clone(),
                resource: entry_resource(resource),
                permissions: words(false),
                grantable: words(true),
                condition: condition.map(str::to_owned),
            };
            (entry, atoms.into_iter().map(|(a, _)| a.clone()).collect())
        });
    let by_column = columns.into_iter().map(
        |((principal, id, permission, grantable, condition), atoms)| {
            let names = atoms.iter().filter_map(|a| match &a.resource {
                Resource::Column(_, column) => Some(column.clone()),
                Resource::Database(_)
                | Resource::AllTables(_)
                | Resource::Table(_)
                | Resource::ColumnsExcept(..) => None,
            });
            let word = BTreeSet::from([permission.as_str().to_owned()]);
            let entry = Entry {
                principal: principal.clone(),
                resource: EntryResource::Columns(id.clone(), names.collect()),
                grantable: if grantable {
                    word.clone()
                } else {
                    BTreeSet::new()
                },
                permissions: word,
                condition: condition.map(str::to_owned),
            };
            (entry, atoms.into_iter().cloned().collect())
        },
    );
    whole.chain(by_column).collect()
}

fn entry_resource(resource: &Resource) -> EntryResource {
    match resource {
        Resource::Database(name) => EntryResource::Database(name.clone()),
        Resource::AllTables(name) => EntryResource::TableWildcard(name.clone()),
        Resource::Table(id) => EntryResource::Table(id.clone()),
        Resource::Column(id, column) => {
            EntryResource::Columns(id.clone(), BTreeSet::from([column.clone()]))
        }
        Resource::ColumnsExcept(id, excluded) => {
            EntryResource::ColumnWildcard(id.clone(), excluded.clone())
        }
    }
}
