//! Converts grants and their resources between the Lake Formation SDK's types and the core's.

use aws_sdk_lakeformation::error::BuildError;
use aws_sdk_lakeformation::types as lakeformation;
use std::collections::BTreeSet;
use twinlake_core::grant::{
    LfTagExpression, LfTagPolicy, LfTagPolicyTarget, ListedColumns, ListedPermission,
    ListedResource, listed_table_resource,
};
use twinlake_core::{Name, Principal, TableId};

/// Converts an entry of `ListPermissions`. A resource that Twinlake does not support becomes
/// `ListedResource::Other`, so that it is counted.
#[must_use]
pub fn from_sdk_permission(
    from: lakeformation::PrincipalResourcePermissions,
    account: &str,
) -> ListedPermission {
    let permissions_of = |all: Option<Vec<lakeformation::Permission>>| -> BTreeSet<String> {
        let all = all.unwrap_or_default().into_iter();
        all.map(|permission| permission.as_str().to_owned())
            .collect()
    };
    let (resource, condition) = from_sdk_conditional(from.resource, from.condition, account);
    ListedPermission {
        principal: Principal(
            from.principal
                .and_then(|p| p.data_lake_principal_identifier)
                .unwrap_or_default(),
        ),
        resource,
        permissions: permissions_of(from.permissions),
        grantable: permissions_of(from.permissions_with_grant_option),
        condition,
    }
}

/// Converts the resource and the condition of a grant or an opt-in. A condition without its expression is not the
/// same as none, which would apply always: the resource becomes `ListedResource::Other`.
pub(crate) fn from_sdk_conditional(
    resource: Option<lakeformation::Resource>,
    condition: Option<lakeformation::Condition>,
    account: &str,
) -> (ListedResource, Option<String>) {
    let other = |kind: &str| ListedResource::Other(kind.to_owned());
    let resource = match resource {
        Some(resource) => from_sdk_resource(resource, account),
        None => other("no resource"),
    };
    match condition {
        None => (resource, None),
        Some(condition) => match condition.expression.filter(|text| !text.is_empty()) {
            Some(expression) => (resource, Some(expression)),
            None if resource.is_in_other_catalog() => (resource, None),
            None => (
                other("a resource under a condition that is not shown"),
                None,
            ),
        },
    }
}

/// Converts a resource of a grant or an opt-in. A resource that Twinlake does not support becomes
/// `ListedResource::Other`.
#[must_use]
pub fn from_sdk_resource(from: lakeformation::Resource, account: &str) -> ListedResource {
    let other = |kind: &str| ListedResource::Other(kind.to_owned());
    let is_foreign = |catalog: Option<&String>| catalog.is_some_and(|id| id != account);
    if let Some(database) = from.database {
        if is_foreign(database.catalog_id.as_ref()) {
            return ListedResource::in_other_catalog("a database");
        }
        return ListedResource::Database(Name::from_service(&database.name));
    }
    if let Some(table) = from.table {
        if is_foreign(table.catalog_id.as_ref()) {
            return ListedResource::in_other_catalog("a table");
        }
        return from_sdk_table_resource(&table).unwrap_or_else(|| other("a table without a name"));
    }
    if let Some(columns) = from.table_with_columns {
        if is_foreign(columns.catalog_id.as_ref()) {
            return ListedResource::in_other_catalog("a table");
        }
        return from_sdk_columns_resource(columns);
    }
    from_sdk_other_resource(from, account).unwrap_or_else(|| other("an unknown kind of resource"))
}

/// Converts a resource that is neither a database nor a table nor columns.
fn from_sdk_other_resource(from: lakeformation::Resource, account: &str) -> Option<ListedResource> {
    let if_foreign = |catalog: Option<&String>, what: &str| {
        let is_foreign = catalog.is_some_and(|id| id != account);
        is_foreign.then(|| ListedResource::in_other_catalog(what))
    };
    if let Some(filter) = from.data_cells_filter {
        let catalog = filter.table_catalog_id.as_ref();
        let found = from_sdk_data_cells_filter_resource(&filter);
        return if_foreign(catalog, "a data cells filter").or(found);
    }
    if let Some(location) = from.data_location {
        // Another account's catalog may register the same S3 location.
        let catalog = location.catalog_id.as_ref();
        let listed = ListedResource::DataLocation(location.resource_arn.clone());
        return if_foreign(catalog, "a data location").or(Some(listed));
    }
    if let Some(tag) = from.lf_tag {
        let listed =
            ListedResource::LfTag(tag.tag_key.clone(), tag.tag_values.into_iter().collect());
        return if_foreign(tag.catalog_id.as_ref(), "an LF-Tag").or(Some(listed));
    }
    if let Some(policy) = from.lf_tag_policy {
        let listed = from_sdk_lf_tag_policy(&policy);
        return if_foreign(policy.catalog_id.as_ref(), "an LF-Tag policy").or(listed);
    }
    if let Some(named_expression) = from.lf_tag_expression {
        let listed = ListedResource::LfTagExpression(named_expression.name);
        return if_foreign(named_expression.catalog_id.as_ref(), "an LF-Tag expression")
            .or(Some(listed));
    }
    let catalog = from.catalog?;
    if_foreign(catalog.id.as_ref(), "the catalog").or(Some(ListedResource::Catalog))
}

fn from_sdk_data_cells_filter_resource(
    from: &lakeformation::DataCellsFilterResource,
) -> Option<ListedResource> {
    let database = Name::from_service(from.database_name.as_deref()?);
    let table = Name::from_service(from.table_name.as_deref()?);
    let id = TableId::new(database, table);
    Some(ListedResource::DataCellsFilter(id, from.name.clone()?))
}

fn from_sdk_lf_tag_policy(from: &lakeformation::LfTagPolicyResource) -> Option<ListedResource> {
    let target = LfTagPolicyTarget::parse(from.resource_type.as_str())?;
    let named_expression = from.expression_name.clone().filter(|name| !name.is_empty());
    let policy_expression = match named_expression {
        Some(name) => LfTagPolicy::NamedExpression(name),
        None => LfTagPolicy::Expression(from_sdk_expression(&from.expression)?),
    };
    Some(ListedResource::LfTagPolicy(target, policy_expression))
}

/// Converts an LF-Tag expression; keys and values become lower case. `None` for one that requires no LF-Tag, names
/// a key without values, or names a key twice: an expression covers what has every key that it names, so what is
/// left out or merged covers more.
#[must_use]
pub fn from_sdk_expression(from: &[lakeformation::LfTag]) -> Option<LfTagExpression> {
    let mut expression = LfTagExpression::new();
    for tag in from {
        let values = tag.tag_values.iter().map(|value| value.to_lowercase());
        let values: BTreeSet<String> = values.collect();
        let is_empty = values.is_empty();
        let other = expression.insert(tag.tag_key.to_lowercase(), values);
        if is_empty || other.is_some() {
            return None;
        }
    }
    Some(expression).filter(|expression| !expression.is_empty())
}

/// Converts an LF-Tag expression to the SDK's type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_expression(from: &LfTagExpression) -> Result<Vec<lakeformation::LfTag>, BuildError> {
    let tags = from.iter().map(|(key, values)| {
        lakeformation::LfTag::builder()
            .tag_key(key)
            .set_tag_values(Some(values.iter().cloned().collect()))
            .build()
    });
    tags.collect()
}

fn from_sdk_table_resource(from: &lakeformation::TableResource) -> Option<ListedResource> {
    let database = Name::from_service(&from.database_name);
    if from.table_wildcard.is_some() {
        return Some(ListedResource::TableWildcard(database));
    }
    let name = from.name.as_deref()?;
    Some(listed_table_resource(database, name, None))
}

fn from_sdk_columns_resource(from: lakeformation::TableWithColumnsResource) -> ListedResource {
    let database = Name::from_service(&from.database_name);
    let names = from.column_names.filter(|names| !names.is_empty());
    let columns = match (from.column_wildcard, names) {
        (Some(wildcard), None) => {
            ListedColumns::AllBut(from_sdk_column_names(wildcard.excluded_column_names))
        }
        // Named columns are fewer than all but some.
        (Some(_) | None, Some(names)) => ListedColumns::Only(from_sdk_column_names(Some(names))),
        (None, None) => return ListedResource::Other("a table without columns".to_owned()),
    };
    listed_table_resource(database, &from.name, Some(columns))
}

/// Converts a list of column names, with their spelling.
pub(crate) fn from_sdk_column_names(from: Option<Vec<String>>) -> BTreeSet<Name> {
    let all = from.unwrap_or_default();
    all.iter().map(|text| Name::from_service(text)).collect()
}

/// Converts column names to text, as the service lists them.
pub(crate) fn to_sdk_column_names(names: &BTreeSet<Name>) -> Vec<String> {
    let listed = names.iter().map(Name::as_listed);
    listed.map(str::to_owned).collect()
}

/// Converts a resource to the SDK's type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_resource(
    from: &ListedResource,
    account: &str,
) -> Result<lakeformation::Resource, BuildError> {
    let builder = lakeformation::Resource::builder();
    let table = |id: &TableId| {
        lakeformation::TableResource::builder()
            .database_name(id.database.as_str())
            .name(id.table.as_str())
            .build()
    };
    let columns = |id: &TableId| {
        lakeformation::TableWithColumnsResource::builder()
            .database_name(id.database.as_str())
            .name(id.table.as_str())
    };
    Ok(match from {
        ListedResource::Database(name) => {
            let database = lakeformation::DatabaseResource::builder().name(name.as_str());
            builder.database(database.build()?).build()
        }
        ListedResource::Table(id) => builder.table(table(id)?).build(),
        ListedResource::TableWildcard(name) => {
            let wildcard = lakeformation::TableWildcard::builder().build();
            let table = lakeformation::TableResource::builder()
                .database_name(name.as_str())
                .table_wildcard(wildcard);
            builder.table(table.build()?).build()
        }
        ListedResource::Columns(id, names) => {
            let included = columns(id).set_column_names(Some(to_sdk_column_names(names)));
            builder.table_with_columns(included.build()?).build()
        }
        ListedResource::ColumnWildcard(id, excluded) => {
            let excluded = Some(to_sdk_column_names(excluded)).filter(|names| !names.is_empty());
            let wildcard = lakeformation::ColumnWildcard::builder()
                .set_excluded_column_names(excluded)
                .build();
            let all = columns(id).column_wildcard(wildcard);
            builder.table_with_columns(all.build()?).build()
        }
        ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::DataLocation(_)
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_)
        | ListedResource::Other(_) => to_sdk_other_resource(from, account)?,
    })
}

/// Converts a resource that is neither a database nor a table nor columns to the SDK's type. A
/// data cells filter needs the catalog id.
fn to_sdk_other_resource(
    from: &ListedResource,
    account: &str,
) -> Result<lakeformation::Resource, BuildError> {
    let builder = lakeformation::Resource::builder();
    Ok(match from {
        ListedResource::DataCellsFilter(id, name) => {
            let filter = lakeformation::DataCellsFilterResource::builder()
                .table_catalog_id(account)
                .database_name(id.database.as_str())
                .table_name(id.table.as_str())
                .name(name);
            builder.data_cells_filter(filter.build()).build()
        }
        ListedResource::Catalog => {
            let catalog = lakeformation::CatalogResource::builder().build();
            builder.catalog(catalog).build()
        }
        ListedResource::DataLocation(arn) => {
            let location = lakeformation::DataLocationResource::builder().resource_arn(arn);
            builder.data_location(location.build()?).build()
        }
        ListedResource::LfTag(key, values) => {
            let tag = lakeformation::LfTagKeyResource::builder()
                .tag_key(key)
                .set_tag_values(Some(values.iter().cloned().collect()));
            builder.lf_tag(tag.build()?).build()
        }
        ListedResource::LfTagPolicy(target, policy_expression) => {
            let policy = lakeformation::LfTagPolicyResource::builder()
                .resource_type(lakeformation::ResourceType::from(target.as_str()));
            let policy = match policy_expression {
                LfTagPolicy::NamedExpression(name) => policy.expression_name(name).set_expression(Some(vec![])),
                LfTagPolicy::Expression(expression) => {
                    policy.set_expression(Some(to_sdk_expression(expression)?))
                }
            };
            builder.lf_tag_policy(policy.build()?).build()
        }
        ListedResource::LfTagExpression(name) => {
            let named_expression = lakeformation::LfTagExpressionResource::builder().name(name);
            builder.lf_tag_expression(named_expression.build()?).build()
        }
        ListedResource::Database(_)
        | ListedResource::Table(_)
        | ListedResource::TableWildcard(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        // Plans contain no grants on other kinds of resources.
        | ListedResource::Other(_) => builder.build(),
    })
}

/// Converts a grant to an entry of a batch call; the entry id is its index in the batch.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_batch_entry(
    index: usize,
    from: &ListedPermission,
    account: &str,
) -> Result<lakeformation::BatchPermissionsRequestEntry, BuildError> {
    let permissions_of = |all: &BTreeSet<String>| -> Option<Vec<lakeformation::Permission>> {
        let permissions = all
            .iter()
            .map(|permission| lakeformation::Permission::from(permission.as_str()));
        Some(permissions.collect::<Vec<_>>()).filter(|all| !all.is_empty())
    };
    let principal = lakeformation::DataLakePrincipal::builder()
        .data_lake_principal_identifier(&from.principal.0)
        .build();
    let condition = from.condition.as_ref().map(|expression| {
        lakeformation::Condition::builder()
            .expression(expression)
            .build()
    });
    lakeformation::BatchPermissionsRequestEntry::builder()
        .id(index.to_string())
        .principal(principal)
        .resource(to_sdk_resource(&from.resource, account)?)
        .set_permissions(permissions_of(&from.permissions))
        .set_permissions_with_grant_option(permissions_of(&from.grantable))
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
        let tags =
            LfTagExpression::from([("a".to_owned(), ["x".to_owned(), "y".to_owned()].into())]);
        let all = [
            ListedResource::Database(Name::new("sales").unwrap()),
            ListedResource::Table(orders()),
            ListedResource::TableWildcard(Name::new("sales").unwrap()),
            ListedResource::Columns(orders(), names(&["a", "b"])),
            ListedResource::ColumnWildcard(orders(), names(&["ssn"])),
            ListedResource::ColumnWildcard(orders(), names(&[])),
            ListedResource::DataCellsFilter(orders(), "Some Rows".to_owned()),
            ListedResource::Catalog,
            ListedResource::DataLocation("arn:aws:s3:::b/p".to_owned()),
            ListedResource::LfTag("a".to_owned(), ["x".to_owned()].into()),
            ListedResource::LfTagPolicy(
                LfTagPolicyTarget::Table,
                LfTagPolicy::Expression(tags.clone()),
            ),
            ListedResource::LfTagPolicy(
                LfTagPolicyTarget::Database,
                LfTagPolicy::NamedExpression("e".to_owned()),
            ),
            ListedResource::LfTagExpression("e".to_owned()),
        ];
        for one in all {
            let back = from_sdk_resource(to_sdk_resource(&one, ACCOUNT).unwrap(), ACCOUNT);
            assert_eq!(back, one);
        }
    }

    #[test]
    fn names_of_any_spelling_are_sent_as_they_are_listed() {
        let spellings = [
            "userId",
            "salary \u{e2}\u{80}\u{93} gross",
            "a.b/c",
            "a\u{0}b",
            "\"address\".\"Zip\"",
            &"\u{e9}".repeat(255),
        ];
        for text in spellings {
            let builder = lakeformation::TableWithColumnsResource::builder();
            let columns = builder.database_name("sales").name("orders");
            let columns = columns.column_names(text).build().unwrap();
            let resource = lakeformation::Resource::builder();
            let resource = resource.table_with_columns(columns).build();
            let listed = from_sdk_resource(resource.clone(), ACCOUNT);
            assert_eq!(to_sdk_resource(&listed, ACCOUNT).unwrap(), resource);
        }
    }

    #[test]
    fn a_batch_entry_contains_permissions_grant_option_and_condition() {
        let sent = ListedPermission {
            principal: Principal("arn:aws:iam::111122223333:role/A".to_owned()),
            resource: ListedResource::Table(orders()),
            permissions: ["SELECT".to_owned(), "INSERT".to_owned()].into(),
            grantable: ["SELECT".to_owned()].into(),
            condition: Some("context has x".to_owned()),
        };
        let batch = to_sdk_batch_entry(3, &sent, ACCOUNT).unwrap();
        assert_eq!(batch.id, "3");
        let listed = lakeformation::PrincipalResourcePermissions::builder()
            .set_principal(batch.principal)
            .set_resource(batch.resource)
            .set_permissions(batch.permissions)
            .set_permissions_with_grant_option(batch.permissions_with_grant_option)
            .set_condition(batch.condition)
            .build();
        assert_eq!(from_sdk_permission(listed, ACCOUNT), sent);
    }

    #[test]
    fn a_condition_that_is_not_shown_makes_no_unconditional_grant() {
        let catalog = || {
            let catalog = lakeformation::CatalogResource::builder().build();
            lakeformation::Resource::builder().catalog(catalog).build()
        };
        let read = |condition: Option<lakeformation::Condition>| {
            let listed = lakeformation::PrincipalResourcePermissions::builder()
                .resource(catalog())
                .set_condition(condition.clone());
            let opt_in = lakeformation::LakeFormationOptInsInfo::builder()
                .resource(catalog())
                .set_condition(condition);
            let permission = from_sdk_permission(listed.build(), ACCOUNT);
            let opt_in = crate::lakeformation_convert::from_sdk_opt_in(opt_in.build(), ACCOUNT);
            [permission.resource, opt_in.resource]
        };
        assert_eq!(
            read(None),
            [ListedResource::Catalog, ListedResource::Catalog]
        );
        let bare = lakeformation::Condition::builder().build();
        for resource in read(Some(bare)) {
            assert!(matches!(resource, ListedResource::Other(_)), "{resource:?}");
        }
        let shown = lakeformation::Condition::builder().expression("x").build();
        assert_eq!(
            read(Some(shown)),
            [ListedResource::Catalog, ListedResource::Catalog]
        );
    }

    #[test]
    fn an_expression_that_leaves_out_what_it_requires_is_none() {
        let tag = |key: &str, values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            let tag = lakeformation::LfTag::builder().tag_key(key);
            tag.set_tag_values(Some(values)).build().unwrap()
        };
        assert!(from_sdk_expression(&[]).is_none());
        assert!(from_sdk_expression(&[tag("a", &["x"]), tag("b", &[])]).is_none());
        assert!(from_sdk_expression(&[tag("a", &["x"]), tag("A", &["y"])]).is_none());
        let both = from_sdk_expression(&[tag("a", &["x"]), tag("b", &["y"])]);
        assert_eq!(both.unwrap().len(), 2);
        let policy = lakeformation::LfTagPolicyResource::builder()
            .resource_type(lakeformation::ResourceType::Table)
            .set_expression(Some(Vec::new()))
            .build();
        let resource = lakeformation::Resource::builder().lf_tag_policy(policy.unwrap());
        let listed = from_sdk_resource(resource.build(), ACCOUNT);
        assert!(matches!(listed, ListedResource::Other(_)), "{listed:?}");
        let columns = lakeformation::TableWithColumnsResource::builder();
        let columns = columns
            .database_name("sales")
            .name("orders")
            .build()
            .unwrap();
        let resource = lakeformation::Resource::builder().table_with_columns(columns);
        let listed = from_sdk_resource(resource.build(), ACCOUNT);
        assert!(matches!(listed, ListedResource::Other(_)), "{listed:?}");
    }

    #[test]
    fn unsupported_resources_are_named() {
        let unknown = lakeformation::Resource::builder().build();
        let shared = lakeformation::DatabaseResource::builder()
            .catalog_id("444455556666")
            .name("sales")
            .build()
            .unwrap();
        let foreign_tag = lakeformation::LfTagKeyResource::builder()
            .catalog_id("444455556666")
            .tag_key("a")
            .tag_values("x")
            .build()
            .unwrap();
        let all = [
            (unknown, "an unknown kind of resource"),
            (
                lakeformation::Resource::builder().database(shared).build(),
                "a database of another catalog",
            ),
            (
                lakeformation::Resource::builder()
                    .lf_tag(foreign_tag)
                    .build(),
                "an LF-Tag of another catalog",
            ),
        ];
        for (resource, kind) in all {
            let other = ListedResource::Other(kind.to_owned());
            assert_eq!(from_sdk_resource(resource, ACCOUNT), other);
        }
    }
}
