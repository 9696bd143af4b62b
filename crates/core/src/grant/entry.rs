//! Converts permissions in the shapes that Lake Formation lists and accepts to grants, and back.

use super::grant_mapping::{GrantMapping, MappedPrincipal};
use super::{
    ALL_TABLES, Grants, LfTagPolicy, LfTagPolicyTarget, Permission, PermissionGrant, Principal,
    Resource,
};
use crate::location::Location;
use crate::name::{Name, TableId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A resource in the shape that Lake Formation lists and accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListedResource {
    /// `Database`.
    Database(Name),
    /// `Table` with a name.
    Table(TableId),
    /// `Table` with `TableWildcard`.
    TableWildcard(Name),
    /// `TableWithColumns` with `ColumnNames`.
    Columns(TableId, BTreeSet<Name>),
    /// `TableWithColumns` with `ColumnWildcard`, and the excluded columns.
    ColumnWildcard(TableId, BTreeSet<Name>),
    /// `DataCellsFilter`.
    DataCellsFilter(TableId, String),
    /// `Catalog`.
    Catalog,
    /// `DataLocation`, as a URI or an ARN.
    DataLocation(String),
    /// `LFTag`, with its key and values.
    LfTag(String, BTreeSet<String>),
    /// `LFTagPolicy`.
    LfTagPolicy(LfTagPolicyTarget, LfTagPolicy),
    /// `LFTagExpression`.
    LfTagExpression(String),
    /// Any other resource, by its AWS name.
    Other(String),
}

impl ListedResource {
    /// How the name of a resource in another catalog ends.
    const OF_OTHER_CATALOG: &'static str = "of another catalog";

    /// A resource in another catalog than the account's default one.
    #[must_use]
    pub fn in_other_catalog(what: &str) -> Self {
        Self::Other(format!("{what} {}", Self::OF_OTHER_CATALOG))
    }

    /// Whether it is one of [`ListedResource::in_other_catalog`]: it decides on nothing in the default catalog.
    #[must_use]
    pub fn is_in_other_catalog(&self) -> bool {
        match self {
            Self::Other(kind) => kind.ends_with(Self::OF_OTHER_CATALOG),
            Self::Database(_)
            | Self::Table(_)
            | Self::TableWildcard(_)
            | Self::Columns(..)
            | Self::ColumnWildcard(..)
            | Self::DataCellsFilter(..)
            | Self::Catalog
            | Self::DataLocation(_)
            | Self::LfTag(..)
            | Self::LfTagPolicy(..)
            | Self::LfTagExpression(_) => false,
        }
    }

    /// The database that the resource is or belongs to, if any.
    #[must_use]
    pub fn database(&self) -> Option<&Name> {
        match self {
            Self::Database(name) | Self::TableWildcard(name) => Some(name),
            Self::Catalog
            | Self::DataLocation(_)
            | Self::LfTag(..)
            | Self::LfTagPolicy(..)
            | Self::LfTagExpression(_)
            | Self::Other(_) => None,
            Self::Table(_)
            | Self::Columns(..)
            | Self::ColumnWildcard(..)
            | Self::DataCellsFilter(..) => self.table().map(|id| &id.database),
        }
    }

    /// The table that the resource is or belongs to, if any.
    #[must_use]
    pub fn table(&self) -> Option<&TableId> {
        match self {
            Self::Table(id)
            | Self::Columns(id, _)
            | Self::ColumnWildcard(id, _)
            | Self::DataCellsFilter(id, _) => Some(id),
            Self::Database(_)
            | Self::TableWildcard(_)
            | Self::Catalog
            | Self::DataLocation(_)
            | Self::LfTag(..)
            | Self::LfTagPolicy(..)
            | Self::LfTagExpression(_)
            | Self::Other(_) => None,
        }
    }
}

/// One `PrincipalResourcePermissions` as listed, or one batch entry to send.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedPermission {
    /// The principal.
    pub principal: Principal,
    /// The resource.
    pub resource: ListedResource,
    /// The permissions, as AWS spells them.
    pub permissions: BTreeSet<String>,
    /// The permissions that the principal holds with the grant option.
    pub grantable: BTreeSet<String>,
    /// A Cedar condition.
    pub condition: Option<String>,
}

/// Converts listed permissions to grants. The second map counts the ones that are not
/// replicated, by kind.
#[must_use]
pub fn normalize(
    entries: &[ListedPermission],
    mapping: &GrantMapping,
) -> (Grants, BTreeMap<String, usize>) {
    let mut grants = Grants::new();
    let mut unsupported: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        let principal = match mapping.principal(&entry.principal) {
            MappedPrincipal::To(principal) => principal,
            MappedPrincipal::Ignored => continue,
            MappedPrincipal::Ambiguous => {
                let kind =
                    "grant to a principal that a [[principal]] pair maps another principal to";
                *unsupported.entry(kind.to_owned()).or_default() += 1;
                continue;
            }
            MappedPrincipal::Unknown => {
                let kind = "grant to a deleted principal, or to one of an unknown kind; revoke it";
                *unsupported.entry(kind.to_owned()).or_default() += 1;
                continue;
            }
        };
        let resources = match to_resources(&entry.resource, mapping) {
            Ok(resources) => resources,
            Err(kind) => {
                *unsupported.entry(format!("grant on {kind}")).or_default() += 1;
                continue;
            }
        };
        for permission_name in entry.permissions.union(&entry.grantable) {
            let Some(permission) = Permission::parse(permission_name) else {
                *unsupported
                    .entry(format!("permission {permission_name}"))
                    .or_default() += 1;
                continue;
            };
            for resource in &resources {
                let grant = PermissionGrant {
                    principal: principal.clone(),
                    resource: resource.clone(),
                    permission,
                    condition: entry.condition.clone(),
                };
                let grantable = entry.grantable.contains(permission_name);
                *grants.entry(grant).or_default() |= grantable;
            }
        }
    }
    (grants, unsupported)
}

fn to_resources(listed: &ListedResource, mapping: &GrantMapping) -> Result<Vec<Resource>, String> {
    Ok(match listed {
        ListedResource::Database(name) => vec![Resource::Database(name.clone())],
        ListedResource::TableWildcard(database) => vec![Resource::AllTables(database.clone())],
        ListedResource::Table(id) => vec![Resource::Table(id.clone())],
        ListedResource::ColumnWildcard(id, excluded) if excluded.is_empty() => {
            vec![Resource::Table(id.clone())]
        }
        ListedResource::ColumnWildcard(id, excluded) => {
            vec![Resource::ColumnsExcept(id.clone(), excluded.clone())]
        }
        ListedResource::Columns(id, columns) => columns
            .iter()
            .map(|column| Resource::Column(id.clone(), column.clone()))
            .collect(),
        ListedResource::DataCellsFilter(id, name) => {
            vec![Resource::DataCellsFilter(id.clone(), name.clone())]
        }
        ListedResource::Catalog => vec![Resource::Catalog],
        ListedResource::DataLocation(text) => match mapping.location(text) {
            Some(arn) => vec![Resource::DataLocation(arn)],
            None => return Err(Location::describe_unmapped(text).to_owned()),
        },
        ListedResource::LfTag(key, values) => values
            .iter()
            .map(|value| Resource::LfTag {
                key: key.to_lowercase(),
                value: value.to_lowercase(),
            })
            .collect(),
        // An expression without tags would match every resource.
        ListedResource::LfTagPolicy(_, LfTagPolicy::Expression(expression))
            if expression.is_empty() =>
        {
            return Err("an LF-Tag policy without tags".to_owned());
        }
        ListedResource::LfTagPolicy(target, policy) => vec![Resource::LfTagPolicy {
            target: *target,
            policy: to_lower_case(policy),
        }],
        ListedResource::LfTagExpression(name) => vec![Resource::LfTagExpression(name.clone())],
        ListedResource::Other(kind) => return Err(kind.clone()),
    })
}

/// Returns the policy in lower case, as Lake Formation stores LF-Tag keys and values.
fn to_lower_case(policy: &LfTagPolicy) -> LfTagPolicy {
    match policy {
        LfTagPolicy::NamedExpression(name) => LfTagPolicy::NamedExpression(name.clone()),
        LfTagPolicy::Expression(expression) => {
            let mut lower = super::LfTagExpression::new();
            for (key, values) in expression {
                let values = values.iter().map(|value| value.to_lowercase());
                lower.entry(key.to_lowercase()).or_default().extend(values);
            }
            LfTagPolicy::Expression(lower)
        }
    }
}

/// Returns the resource for a listed table name and its columns. The name must be as listed, not
/// in lower case: the wildcard is listed as a table called `ALL_TABLES` (LF-02), while a table of
/// that name is listed in lower case.
#[must_use]
pub fn listed_table_resource(
    database: Name,
    raw_name: &str,
    columns: Option<ListedColumns>,
) -> ListedResource {
    if raw_name == ALL_TABLES {
        return match columns {
            None => ListedResource::TableWildcard(database),
            Some(ListedColumns::AllBut(excluded)) if excluded.is_empty() => {
                ListedResource::TableWildcard(database)
            }
            Some(_) => ListedResource::Other("some columns of all tables".to_owned()),
        };
    }
    let id = TableId::new(database, Name::from_service(raw_name));
    match columns {
        None => ListedResource::Table(id),
        Some(ListedColumns::Only(names)) => ListedResource::Columns(id, names),
        Some(ListedColumns::AllBut(excluded)) => ListedResource::ColumnWildcard(id, excluded),
    }
}

/// The columns of a `TableWithColumns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedColumns {
    /// `ColumnNames`.
    Only(BTreeSet<Name>),
    /// `ColumnWildcard`, with the excluded columns.
    AllBut(BTreeSet<Name>),
}

/// Whose resources stand together in one entry: columns of a table, or values of an LF-Tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CommonOwner<'a> {
    ColumnsOf(&'a TableId),
    ValuesOf(&'a str),
}

/// What grants on several columns of a table, or on several values of an LF-Tag, have in common if
/// one entry contains them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ColumnsOrValuesKey<'a> {
    principal: &'a Principal,
    owner: CommonOwner<'a>,
    permission: Permission,
    grantable: bool,
    condition: Option<&'a str>,
}

impl ColumnsOrValuesKey<'_> {
    fn to_entry(&self, grants: &[&PermissionGrant]) -> ListedPermission {
        let permissions = BTreeSet::from([self.permission.as_str().to_owned()]);
        let resource = match self.owner {
            CommonOwner::ColumnsOf(id) => {
                let columns = grants
                    .iter()
                    .filter_map(|grant| column_name(&grant.resource));
                ListedResource::Columns(id.clone(), columns.cloned().collect())
            }
            CommonOwner::ValuesOf(key) => {
                let values = grants.iter().filter_map(|grant| tag_value(&grant.resource));
                ListedResource::LfTag(key.to_owned(), values.map(str::to_owned).collect())
            }
        };
        ListedPermission {
            principal: self.principal.clone(),
            resource,
            grantable: match self.grantable {
                true => permissions.clone(),
                false => BTreeSet::new(),
            },
            permissions,
            condition: self.condition.map(str::to_owned),
        }
    }
}

fn column_name(resource: &Resource) -> Option<&Name> {
    if let Resource::Column(_, column) = resource {
        return Some(column);
    }
    None
}

fn tag_value(resource: &Resource) -> Option<&str> {
    if let Resource::LfTag { value, .. } = resource {
        return Some(value);
    }
    None
}

/// What grants of several permissions on one resource have in common if one entry contains them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ResourceKey<'a> {
    principal: &'a Principal,
    resource: &'a Resource,
    condition: Option<&'a str>,
}

impl ResourceKey<'_> {
    /// Converts grants, each with whether it has the grant option, to an entry.
    fn to_entry(&self, grants: &[(&PermissionGrant, bool)]) -> ListedPermission {
        let permission_names = |with_option_only: bool| {
            let chosen = grants
                .iter()
                .filter(|(_, grantable)| *grantable || !with_option_only);
            chosen
                .map(|(grant, _)| grant.permission.as_str().to_owned())
                .collect()
        };
        ListedPermission {
            principal: self.principal.clone(),
            resource: to_listed_resource(self.resource),
            permissions: permission_names(false),
            grantable: permission_names(true),
            condition: self.condition.map(str::to_owned),
        }
    }
}

/// Groups grants into the fewest entries of a batch call, in a stable order: one for each
/// principal, resource and condition.
///
/// Each entry is returned with its grants, so that the result of the entry can be reported for
/// each of them.
#[must_use]
pub fn to_batch_entries(grants: &Grants) -> Vec<(ListedPermission, Vec<PermissionGrant>)> {
    let mut by_resource: BTreeMap<ResourceKey<'_>, Vec<(&PermissionGrant, bool)>> = BTreeMap::new();
    let mut by_owner: BTreeMap<ColumnsOrValuesKey<'_>, Vec<&PermissionGrant>> = BTreeMap::new();
    for (grant, grantable) in grants {
        let condition = grant.condition.as_deref();
        let key_of = |owner| ColumnsOrValuesKey {
            principal: &grant.principal,
            owner,
            permission: grant.permission,
            grantable: *grantable,
            condition,
        };
        match &grant.resource {
            Resource::Column(id, _) => {
                let key = key_of(CommonOwner::ColumnsOf(id));
                by_owner.entry(key).or_default().push(grant);
            }
            Resource::LfTag { key, .. } => {
                let key = key_of(CommonOwner::ValuesOf(key));
                by_owner.entry(key).or_default().push(grant);
            }
            Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::ColumnsExcept(..)
            | Resource::DataCellsFilter(..)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTagPolicy { .. }
            | Resource::LfTagExpression(_) => {
                let key = ResourceKey {
                    principal: &grant.principal,
                    resource: &grant.resource,
                    condition,
                };
                let grants = by_resource.entry(key).or_default();
                grants.push((grant, *grantable));
            }
        }
    }
    let resource_entries = by_resource.into_iter().map(|(key, grants)| {
        let entry = key.to_entry(&grants);
        let grants = grants.into_iter().map(|(grant, _)| grant.clone());
        (entry, grants.collect())
    });
    let owner_entries = by_owner.into_iter().map(|(key, grants)| {
        let entry = key.to_entry(&grants);
        (entry, grants.into_iter().cloned().collect())
    });
    resource_entries.chain(owner_entries).collect()
}

fn to_listed_resource(resource: &Resource) -> ListedResource {
    match resource {
        Resource::Database(name) => ListedResource::Database(name.clone()),
        Resource::AllTables(name) => ListedResource::TableWildcard(name.clone()),
        Resource::Table(id) => ListedResource::Table(id.clone()),
        Resource::Column(id, column) => {
            ListedResource::Columns(id.clone(), BTreeSet::from([column.clone()]))
        }
        Resource::ColumnsExcept(id, excluded) => {
            ListedResource::ColumnWildcard(id.clone(), excluded.clone())
        }
        Resource::DataCellsFilter(id, name) => {
            ListedResource::DataCellsFilter(id.clone(), name.clone())
        }
        Resource::Catalog => ListedResource::Catalog,
        Resource::DataLocation(arn) => ListedResource::DataLocation(arn.clone()),
        Resource::LfTag { key, value } => {
            ListedResource::LfTag(key.clone(), BTreeSet::from([value.clone()]))
        }
        Resource::LfTagPolicy { target, policy } => {
            ListedResource::LfTagPolicy(*target, policy.clone())
        }
        Resource::LfTagExpression(name) => ListedResource::LfTagExpression(name.clone()),
    }
}
