//! Between the SDK's Lake Formation types and the core's.

use aws_sdk_lakeformation::error::BuildError;
use aws_sdk_lakeformation::types as lake;
use std::collections::BTreeSet;
use twinlake_core::grant::{
    Entry, EntryResource, ListedColumns, TagExpression, TagRule, TagTarget, named,
};
use twinlake_core::{Name, Principal, TableId};

/// A listed grant. What cannot be named is kept as a kind of its own, to be counted.
#[must_use]
pub fn entry(from: lake::PrincipalResourcePermissions, account: &str) -> Entry {
    let words = |all: Option<Vec<lake::Permission>>| -> BTreeSet<String> {
        let all = all.unwrap_or_default().into_iter();
        all.map(|permission| permission.as_str().to_owned())
            .collect()
    };
    Entry {
        principal: Principal(
            from.principal
                .and_then(|p| p.data_lake_principal_identifier)
                .unwrap_or_default(),
        ),
        resource: match from.resource {
            Some(resource) => entry_resource(resource, account),
            None => EntryResource::Other("nothing".to_owned()),
        },
        permissions: words(from.permissions),
        grantable: words(from.permissions_with_grant_option),
        condition: from.condition.and_then(|condition| condition.expression),
    }
}

/// A listed resource; what cannot be named is kept as a kind of its own.
#[must_use]
pub fn entry_resource(from: lake::Resource, account: &str) -> EntryResource {
    let other = |kind: &str| EntryResource::Other(kind.to_owned());
    let foreign = |catalog: Option<&String>| catalog.is_some_and(|id| id != account);
    if let Some(database) = from.database {
        if foreign(database.catalog_id.as_ref()) {
            return other("a database of another catalog");
        }
        return match Name::new(&database.name) {
            Ok(name) => EntryResource::Database(name),
            Err(_) => other("a database without a valid name"),
        };
    }
    if let Some(table) = from.table {
        if foreign(table.catalog_id.as_ref()) {
            return other("a table of another catalog");
        }
        return named_table(&table).unwrap_or_else(|| other("a table without a valid name"));
    }
    if let Some(columns) = from.table_with_columns {
        if foreign(columns.catalog_id.as_ref()) {
            return other("a table of another catalog");
        }
        return some_columns(columns).unwrap_or_else(|| other("columns without a valid name"));
    }
    of_lake(from, account).unwrap_or_else(|| other("an unknown kind of resource"))
}

/// A resource that is no database and no table.
fn of_lake(from: lake::Resource, account: &str) -> Option<EntryResource> {
    let elsewhere = |catalog: Option<&String>, what: &str| {
        let foreign = catalog.is_some_and(|id| id != account);
        foreign.then(|| EntryResource::Other(format!("{what} of another catalog")))
    };
    if let Some(filter) = from.data_cells_filter {
        let catalog = filter.table_catalog_id.as_ref();
        let found = cells_filter(&filter);
        return elsewhere(catalog, "a data cells filter").or(found);
    }
    if let Some(place) = from.data_location {
        // Another account's catalog may hold the same place.
        let catalog = place.catalog_id.as_ref();
        let here = EntryResource::Location(place.resource_arn.clone());
        return elsewhere(catalog, "a data location").or(Some(here));
    }
    if let Some(tag) = from.lf_tag {
        let here = EntryResource::Tag(tag.tag_key.clone(), tag.tag_values.into_iter().collect());
        return elsewhere(tag.catalog_id.as_ref(), "an LF-Tag").or(Some(here));
    }
    if let Some(policy) = from.lf_tag_policy {
        let here = tag_policy(&policy);
        return elsewhere(policy.catalog_id.as_ref(), "an LF-Tag policy").or(here);
    }
    if let Some(saved) = from.lf_tag_expression {
        let here = EntryResource::Expression(saved.name);
        return elsewhere(saved.catalog_id.as_ref(), "an LF-Tag expression").or(Some(here));
    }
    let catalog = from.catalog?;
    elsewhere(catalog.id.as_ref(), "the catalog").or(Some(EntryResource::Catalog))
}

fn cells_filter(from: &lake::DataCellsFilterResource) -> Option<EntryResource> {
    let database = Name::new(from.database_name.as_deref()?).ok()?;
    let table = Name::new(from.table_name.as_deref()?).ok()?;
    let id = TableId::new(database, table);
    Some(EntryResource::Filter(id, from.name.clone()?))
}

fn tag_policy(from: &lake::LfTagPolicyResource) -> Option<EntryResource> {
    let target = TagTarget::parse(from.resource_type.as_str())?;
    let saved = from.expression_name.clone().filter(|name| !name.is_empty());
    let rule = match saved {
        Some(name) => TagRule::Saved(name),
        None => TagRule::Inline(expression(&from.expression)),
    };
    Some(EntryResource::TagPolicy(target, rule))
}

/// An expression as it is listed.
#[must_use]
pub fn expression(from: &[lake::LfTag]) -> TagExpression {
    let mut expression = TagExpression::new();
    for tag in from {
        let values = expression.entry(tag.tag_key.to_lowercase()).or_default();
        values.extend(tag.tag_values.iter().map(|value| value.to_lowercase()));
    }
    expression
}

/// An expression as it is sent.
///
/// # Errors
/// The SDK refuses to build it.
pub fn expression_back(from: &TagExpression) -> Result<Vec<lake::LfTag>, BuildError> {
    let tags = from.iter().map(|(key, values)| {
        lake::LfTag::builder()
            .tag_key(key)
            .set_tag_values(Some(values.iter().cloned().collect()))
            .build()
    });
    tags.collect()
}

fn named_table(from: &lake::TableResource) -> Option<EntryResource> {
    let database = Name::new(&from.database_name).ok()?;
    if from.table_wildcard.is_some() {
        return Some(EntryResource::TableWildcard(database));
    }
    named(database, from.name.as_deref()?, None)
}

fn some_columns(from: lake::TableWithColumnsResource) -> Option<EntryResource> {
    let database = Name::new(&from.database_name).ok()?;
    let names = |all: Option<Vec<String>>| -> Option<BTreeSet<Name>> {
        let all = all.unwrap_or_default();
        all.iter().map(|name| Name::new(name).ok()).collect()
    };
    let columns = match from.column_wildcard {
        Some(wildcard) => ListedColumns::AllBut(names(wildcard.excluded_column_names)?),
        None => ListedColumns::Some(names(from.column_names)?),
    };
    named(database, &from.name, Some(columns))
}

/// A resource as it is sent.
///
/// # Errors
/// The SDK refuses to build it.
pub fn resource(from: &EntryResource, account: &str) -> Result<lake::Resource, BuildError> {
    let builder = lake::Resource::builder();
    let table = |id: &TableId| {
        lake::TableResource::builder()
            .database_name(id.database.as_str())
            .name(id.table.as_str())
            .build()
    };
    let columns = |id: &TableId| {
        lake::TableWithColumnsResource::builder()
            .database_name(id.database.as_str())
            .name(id.table.as_str())
    };
    let texts = |names: &BTreeSet<Name>| -> Vec<String> {
        names.iter().map(|name| name.as_str().to_owned()).collect()
    };
    Ok(match from {
        EntryResource::Database(name) => {
            let database = lake::DatabaseResource::builder().name(name.as_str());
            builder.database(database.build()?).build()
        }
        EntryResource::Table(id) => builder.table(table(id)?).build(),
        EntryResource::TableWildcard(name) => {
            let wildcard = lake::TableWildcard::builder().build();
            let table = lake::TableResource::builder()
                .database_name(name.as_str())
                .table_wildcard(wildcard);
            builder.table(table.build()?).build()
        }
        EntryResource::Columns(id, names) => {
            let some = columns(id).set_column_names(Some(texts(names)));
            builder.table_with_columns(some.build()?).build()
        }
        EntryResource::ColumnWildcard(id, excluded) => {
            let excluded = Some(texts(excluded)).filter(|names| !names.is_empty());
            let wildcard = lake::ColumnWildcard::builder()
                .set_excluded_column_names(excluded)
                .build();
            let all = columns(id).column_wildcard(wildcard);
            builder.table_with_columns(all.build()?).build()
        }
        EntryResource::Filter(..)
        | EntryResource::Catalog
        | EntryResource::Location(_)
        | EntryResource::Tag(..)
        | EntryResource::TagPolicy(..)
        | EntryResource::Expression(_)
        | EntryResource::Other(_) => of_lake_back(from, account)?,
    })
}

/// A resource that is no database and no table, as it is sent. A filter needs the
/// catalog's id.
fn of_lake_back(from: &EntryResource, account: &str) -> Result<lake::Resource, BuildError> {
    let builder = lake::Resource::builder();
    Ok(match from {
        EntryResource::Filter(id, name) => {
            let filter = lake::DataCellsFilterResource::builder()
                .table_catalog_id(account)
                .database_name(id.database.as_str())
                .table_name(id.table.as_str())
                .name(name);
            builder.data_cells_filter(filter.build()).build()
        }
        EntryResource::Catalog => {
            let catalog = lake::CatalogResource::builder().build();
            builder.catalog(catalog).build()
        }
        EntryResource::Location(arn) => {
            let place = lake::DataLocationResource::builder().resource_arn(arn);
            builder.data_location(place.build()?).build()
        }
        EntryResource::Tag(key, values) => {
            let tag = lake::LfTagKeyResource::builder()
                .tag_key(key)
                .set_tag_values(Some(values.iter().cloned().collect()));
            builder.lf_tag(tag.build()?).build()
        }
        EntryResource::TagPolicy(target, rule) => {
            let policy = lake::LfTagPolicyResource::builder()
                .resource_type(lake::ResourceType::from(target.as_str()));
            let policy = match rule {
                TagRule::Saved(name) => policy.expression_name(name).set_expression(Some(vec![])),
                TagRule::Inline(expression) => {
                    policy.set_expression(Some(expression_back(expression)?))
                }
            };
            builder.lf_tag_policy(policy.build()?).build()
        }
        EntryResource::Expression(name) => {
            let saved = lake::LfTagExpressionResource::builder().name(name);
            builder.lf_tag_expression(saved.build()?).build()
        }
        EntryResource::Database(_)
        | EntryResource::Table(_)
        | EntryResource::TableWildcard(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..)
        // Nothing of another kind is ever planned.
        | EntryResource::Other(_) => builder.build(),
    })
}

/// One entry of a batch; its id is its place in the batch.
///
/// # Errors
/// The SDK refuses to build it.
pub fn batch_entry(
    at: usize,
    from: &Entry,
    account: &str,
) -> Result<lake::BatchPermissionsRequestEntry, BuildError> {
    let words = |all: &BTreeSet<String>| -> Option<Vec<lake::Permission>> {
        let words = all.iter().map(|word| lake::Permission::from(word.as_str()));
        Some(words.collect::<Vec<_>>()).filter(|all| !all.is_empty())
    };
    let principal = lake::DataLakePrincipal::builder()
        .data_lake_principal_identifier(&from.principal.0)
        .build();
    let condition = from
        .condition
        .as_ref()
        .map(|expression| lake::Condition::builder().expression(expression).build());
    lake::BatchPermissionsRequestEntry::builder()
        .id(at.to_string())
        .principal(principal)
        .resource(resource(&from.resource, account)?)
        .set_permissions(words(&from.permissions))
        .set_permissions_with_grant_option(words(&from.grantable))
        .set_condition(condition)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "111122223333";

    fn names(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| Name::new(name).unwrap()).collect()
    }

    fn orders() -> TableId {
        TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap())
    }

    #[test]
    fn every_resource_round_trips() {
        let tags = TagExpression::from([("a".to_owned(), ["x".to_owned(), "y".to_owned()].into())]);
        let all = [
            EntryResource::Database(Name::new("sales").unwrap()),
            EntryResource::Table(orders()),
            EntryResource::TableWildcard(Name::new("sales").unwrap()),
            EntryResource::Columns(orders(), names(&["a", "b"])),
            EntryResource::ColumnWildcard(orders(), names(&["ssn"])),
            EntryResource::ColumnWildcard(orders(), names(&[])),
            EntryResource::Filter(orders(), "Some Rows".to_owned()),
            EntryResource::Catalog,
            EntryResource::Location("arn:aws:s3:::b/p".to_owned()),
            EntryResource::Tag("a".to_owned(), ["x".to_owned()].into()),
            EntryResource::TagPolicy(TagTarget::Table, TagRule::Inline(tags.clone())),
            EntryResource::TagPolicy(TagTarget::Database, TagRule::Saved("e".to_owned())),
            EntryResource::Expression("e".to_owned()),
        ];
        for one in all {
            let back = entry_resource(resource(&one, ACCOUNT).unwrap(), ACCOUNT);
            assert_eq!(back, one);
        }
    }

    #[test]
    fn an_entry_carries_permissions_option_and_condition() {
        let sent = Entry {
            principal: Principal("arn:aws:iam::111122223333:role/A".to_owned()),
            resource: EntryResource::Table(orders()),
            permissions: ["SELECT".to_owned(), "INSERT".to_owned()].into(),
            grantable: ["SELECT".to_owned()].into(),
            condition: Some("context has x".to_owned()),
        };
        let batch = batch_entry(3, &sent, ACCOUNT).unwrap();
        assert_eq!(batch.id, "3");
        let listed = lake::PrincipalResourcePermissions::builder()
            .set_principal(batch.principal)
            .set_resource(batch.resource)
            .set_permissions(batch.permissions)
            .set_permissions_with_grant_option(batch.permissions_with_grant_option)
            .set_condition(batch.condition)
            .build();
        assert_eq!(entry(listed, ACCOUNT), sent);
    }

    #[test]
    fn what_is_not_replicated_is_named() {
        let unknown = lake::Resource::builder().build();
        let shared = lake::DatabaseResource::builder()
            .catalog_id("444455556666")
            .name("sales")
            .build()
            .unwrap();
        let elsewhere = lake::LfTagKeyResource::builder()
            .catalog_id("444455556666")
            .tag_key("a")
            .tag_values("x")
            .build()
            .unwrap();
        let all = [
            (unknown, "an unknown kind of resource"),
            (
                lake::Resource::builder().database(shared).build(),
                "a database of another catalog",
            ),
            (
                lake::Resource::builder().lf_tag(elsewhere).build(),
                "an LF-Tag of another catalog",
            ),
        ];
        for (resource, kind) in all {
            let other = EntryResource::Other(kind.to_owned());
            assert_eq!(entry_resource(resource, ACCOUNT), other);
        }
    }
}
