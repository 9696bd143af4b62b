//! Between the SDK's Lake Formation types and the core's.

use aws_sdk_lakeformation::error::BuildError;
use aws_sdk_lakeformation::types as lake;
use std::collections::BTreeSet;
use twinlake_core::grant::{Entry, EntryResource, ListedColumns, named};
use twinlake_core::reading::Settings;
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

fn entry_resource(from: lake::Resource, account: &str) -> EntryResource {
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
    let kinds = [
        ("Catalog", from.catalog.is_some()),
        ("DataLocation", from.data_location.is_some()),
        ("DataCellsFilter", from.data_cells_filter.is_some()),
        ("LFTag", from.lf_tag.is_some()),
        ("LFTagPolicy", from.lf_tag_policy.is_some()),
        ("LFTagExpression", from.lf_tag_expression.is_some()),
    ];
    let kind = kinds.into_iter().find(|(_, is_set)| *is_set);
    other(kind.map_or("an unknown kind of resource", |(kind, _)| kind))
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
pub fn resource(from: &EntryResource) -> Result<lake::Resource, BuildError> {
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
        // Nothing of another kind is ever planned.
        EntryResource::Other(_) => builder.build(),
    })
}

/// One entry of a batch; its id is its place in the batch.
///
/// # Errors
/// The SDK refuses to build it.
pub fn batch_entry(
    at: usize,
    from: &Entry,
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
        .resource(resource(&from.resource)?)
        .set_permissions(words(&from.permissions))
        .set_permissions_with_grant_option(words(&from.grantable))
        .set_condition(condition)
        .build()
}

/// The settings, as far as they bear on what may be done.
#[must_use]
pub fn settings(from: Option<lake::DataLakeSettings>) -> Settings {
    let Some(from) = from else {
        return Settings::default();
    };
    let admins = from.data_lake_admins.unwrap_or_default().into_iter();
    let readers = from.read_only_admins.unwrap_or_default().into_iter();
    let defaults = from.create_database_default_permissions;
    Settings {
        administrators: admins
            .chain(readers)
            .filter_map(|principal| principal.data_lake_principal_identifier)
            .map(Principal)
            .collect(),
        database_defaults_open: defaults.is_some_and(|all| !all.is_empty()),
    }
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
        let all = [
            EntryResource::Database(Name::new("sales").unwrap()),
            EntryResource::Table(orders()),
            EntryResource::TableWildcard(Name::new("sales").unwrap()),
            EntryResource::Columns(orders(), names(&["a", "b"])),
            EntryResource::ColumnWildcard(orders(), names(&["ssn"])),
            EntryResource::ColumnWildcard(orders(), names(&[])),
        ];
        for one in all {
            let back = entry_resource(resource(&one).unwrap(), ACCOUNT);
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
        let batch = batch_entry(3, &sent).unwrap();
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
        let location = lake::DataLocationResource::builder()
            .resource_arn("arn:aws:s3:::b")
            .build()
            .unwrap();
        let resource = lake::Resource::builder().data_location(location).build();
        assert_eq!(
            entry_resource(resource, ACCOUNT),
            EntryResource::Other("DataLocation".to_owned())
        );
        let shared = lake::DatabaseResource::builder()
            .catalog_id("444455556666")
            .name("sales")
            .build()
            .unwrap();
        let resource = lake::Resource::builder().database(shared).build();
        assert!(matches!(
            entry_resource(resource, ACCOUNT),
            EntryResource::Other(_)
        ));
    }
}
