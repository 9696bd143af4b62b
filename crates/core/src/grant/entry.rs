//! Grants in the shapes that Lake Formation lists and takes, to atoms and back.

use super::terms::{Terms, Told};
use super::{ALL_TABLES, Atom, Grants, Permission, Principal, Resource, TagRule, TagTarget};
use crate::name::{Name, TableId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A resource in the shape that Lake Formation lists and takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// `DataCellsFilter`.
    Filter(TableId, String),
    /// `Catalog`.
    Catalog,
    /// `DataLocation`, as a URI or an ARN.
    Location(String),
    /// `LFTag`, with the values that it lists.
    Tag(String, BTreeSet<String>),
    /// `LFTagPolicy`.
    TagPolicy(TagTarget, TagRule),
    /// `LFTagExpression`.
    Expression(String),
    /// Anything else, by its AWS name.
    Other(String),
}

impl EntryResource {
    /// The database that the resource is or lies in, if it does.
    #[must_use]
    pub fn database(&self) -> Option<&Name> {
        match self {
            Self::Database(name) | Self::TableWildcard(name) => Some(name),
            Self::Catalog
            | Self::Location(_)
            | Self::Tag(..)
            | Self::TagPolicy(..)
            | Self::Expression(_)
            | Self::Other(_) => None,
            Self::Table(_) | Self::Columns(..) | Self::ColumnWildcard(..) | Self::Filter(..) => {
                self.table().map(|id| &id.database)
            }
        }
    }

    /// The table that the resource is or lies in.
    #[must_use]
    pub fn table(&self) -> Option<&TableId> {
        match self {
            Self::Table(id)
            | Self::Columns(id, _)
            | Self::ColumnWildcard(id, _)
            | Self::Filter(id, _) => Some(id),
            Self::Database(_)
            | Self::TableWildcard(_)
            | Self::Catalog
            | Self::Location(_)
            | Self::Tag(..)
            | Self::TagPolicy(..)
            | Self::Expression(_)
            | Self::Other(_) => None,
        }
    }
}

/// One `PrincipalResourcePermissions` as listed, or one batch entry to send.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
pub fn normalize(entries: &[Entry], terms: &Terms) -> (Grants, BTreeMap<String, usize>) {
    let mut grants = Grants::new();
    let mut unsupported: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        let principal = match terms.principal(&entry.principal) {
            Told::As(principal) => principal,
            Told::Ignored => continue,
            Told::Taken => {
                let kind = "grant to a principal that a [[principal]] pair makes out of another";
                *unsupported.entry(kind.to_owned()).or_default() += 1;
                continue;
            }
            Told::Unknown => {
                let kind =
                    "grant to a principal that was deleted or is of no known kind; revoke it";
                *unsupported.entry(kind.to_owned()).or_default() += 1;
                continue;
            }
        };
        let resources = match resources(&entry.resource, terms) {
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
                    principal: principal.clone(),
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

fn resources(listed: &EntryResource, terms: &Terms) -> Result<Vec<Resource>, String> {
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
        EntryResource::Filter(id, name) => vec![Resource::Filter(id.clone(), name.clone())],
        EntryResource::Catalog => vec![Resource::Catalog],
        EntryResource::Location(text) => match terms.location(text) {
            Some(arn) => vec![Resource::Location(arn)],
            None => return Err("a data location that no [[location]] pair holds".to_owned()),
        },
        EntryResource::Tag(key, values) => values
            .iter()
            .map(|value| Resource::Tag {
                key: key.to_lowercase(),
                value: value.to_lowercase(),
            })
            .collect(),
        // Without tags it would be on everything.
        EntryResource::TagPolicy(_, TagRule::Inline(rule)) if rule.is_empty() => {
            return Err("an LF-Tag policy that names no tag".to_owned());
        }
        EntryResource::TagPolicy(target, rule) => vec![Resource::TagPolicy {
            target: *target,
            rule: lowered(rule),
        }],
        EntryResource::Expression(name) => vec![Resource::Expression(name.clone())],
        EntryResource::Other(kind) => return Err(kind.clone()),
    })
}

/// Keys and values of LF-Tags are stored in lower case.
fn lowered(rule: &TagRule) -> TagRule {
    match rule {
        TagRule::Saved(name) => TagRule::Saved(name.clone()),
        TagRule::Inline(expression) => {
            let mut lower = super::TagExpression::new();
            for (key, values) in expression {
                let values = values.iter().map(|value| value.to_lowercase());
                lower.entry(key.to_lowercase()).or_default().extend(values);
            }
            TagRule::Inline(lower)
        }
    }
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

/// What goes together into one entry: columns of a table, or values of an LF-Tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Several<'a> {
    Columns(&'a TableId),
    Values(&'a str),
}

/// What the atoms of one entry have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Common<'a> {
    principal: &'a Principal,
    of: Several<'a>,
    permission: Permission,
    grantable: bool,
    condition: Option<&'a str>,
}

impl Common<'_> {
    fn entry(&self, atoms: &[&Atom]) -> Entry {
        let word = BTreeSet::from([self.permission.as_str().to_owned()]);
        let resource = match self.of {
            Several::Columns(id) => {
                let columns = atoms.iter().filter_map(|atom| column_of(&atom.resource));
                EntryResource::Columns(id.clone(), columns.cloned().collect())
            }
            Several::Values(key) => {
                let values = atoms.iter().filter_map(|atom| value_of(&atom.resource));
                EntryResource::Tag(key.to_owned(), values.map(str::to_owned).collect())
            }
        };
        Entry {
            principal: self.principal.clone(),
            resource,
            grantable: match self.grantable {
                true => word.clone(),
                false => BTreeSet::new(),
            },
            permissions: word,
            condition: self.condition.map(str::to_owned),
        }
    }
}

fn column_of(resource: &Resource) -> Option<&Name> {
    if let Resource::Column(_, column) = resource {
        return Some(column);
    }
    None
}

fn value_of(resource: &Resource) -> Option<&str> {
    if let Resource::Tag { value, .. } = resource {
        return Some(value);
    }
    None
}

/// Puts atoms together into the fewest entries that say the same, in a stable
/// order: one for each principal, resource and condition.
///
/// Each entry comes with the atoms that it stands for, so that its outcome can
/// be told of each of them.
#[must_use]
pub fn entries(atoms: &Grants) -> Vec<(Entry, Vec<Atom>)> {
    type Whole<'a> = (&'a Principal, &'a Resource, Option<&'a str>);
    let mut plain: BTreeMap<Whole<'_>, Vec<(&Atom, bool)>> = BTreeMap::new();
    let mut several: BTreeMap<Common<'_>, Vec<&Atom>> = BTreeMap::new();
    for (atom, grantable) in atoms {
        let condition = atom.condition.as_deref();
        let together = |of| Common {
            principal: &atom.principal,
            of,
            permission: atom.permission,
            grantable: *grantable,
            condition,
        };
        match &atom.resource {
            Resource::Column(id, _) => several
                .entry(together(Several::Columns(id)))
                .or_default()
                .push(atom),
            Resource::Tag { key, .. } => several
                .entry(together(Several::Values(key)))
                .or_default()
                .push(atom),
            Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::ColumnsExcept(..)
            | Resource::Filter(..)
            | Resource::Catalog
            | Resource::Location(_)
            | Resource::TagPolicy { .. }
            | Resource::Expression(_) => plain
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
    let several = several.into_iter().map(|(common, atoms)| {
        let entry = common.entry(&atoms);
        (entry, atoms.into_iter().cloned().collect())
    });
    whole.chain(several).collect()
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
        Resource::Filter(id, name) => EntryResource::Filter(id.clone(), name.clone()),
        Resource::Catalog => EntryResource::Catalog,
        Resource::Location(arn) => EntryResource::Location(arn.clone()),
        Resource::Tag { key, value } => {
            EntryResource::Tag(key.clone(), BTreeSet::from([value.clone()]))
        }
        Resource::TagPolicy { target, rule } => EntryResource::TagPolicy(*target, rule.clone()),
        Resource::Expression(name) => EntryResource::Expression(name.clone()),
    }
}
