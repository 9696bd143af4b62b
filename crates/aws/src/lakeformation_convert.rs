//! Converts Lake Formation's objects other than grants between the SDK's types and the core's: data
//! cells filters, LF-Tags, named expressions, registered locations, opt-ins and data lake settings.

use crate::permission_convert::{
    from_sdk_column_names, from_sdk_conditional, from_sdk_expression, to_sdk_column_names,
};
use aws_sdk_lakeformation::error::BuildError;
use aws_sdk_lakeformation::types as lakeformation;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{
    Attachment, DataCellsFilter, DataLakeSettings, FilterColumns, NamedLfTagExpression, OptIn,
    Registration,
};
use twinlake_core::grant::IAM_ALLOWED_PRINCIPALS;
use twinlake_core::location::Location;
use twinlake_core::snapshot::{LfTaggedResource, LfTags};
use twinlake_core::{Principal, TableId};
use twinlake_engine::ports::DefaultPermissionsChange;

/// How the ARN of Lake Formation's service-linked role ends.
const SERVICE_LINKED_ROLE_SUFFIX: &str = ":role/aws-service-role/lakeformation.amazonaws.com/\
                           AWSServiceRoleForLakeFormationDataAccess";

/// Converts a data cells filter, without version and catalog id, which differ by Region. Lake Formation lists a
/// filter of all rows with the expression `TRUE`, with or without the wildcard, so an expression counts beside one.
///
/// # Errors
/// The filter does not say which rows or which columns it shows: what it leaves out would open all of them.
pub fn from_sdk_data_cells_filter(
    from: lakeformation::DataCellsFilter,
) -> Result<DataCellsFilter, String> {
    let (expression, all_rows) = match from.row_filter {
        Some(rows) => (rows.filter_expression, rows.all_rows_wildcard.is_some()),
        None => (None, false),
    };
    let rows = expression.filter(|expression| !expression.is_empty());
    if rows.is_none() && !all_rows {
        return Err(format!(
            "the data cells filter {} does not say which rows it shows",
            from.name
        ));
    }
    let names = from.column_names.filter(|names| !names.is_empty());
    let columns = match (from.column_wildcard, names) {
        (Some(wildcard), None) => {
            FilterColumns::AllBut(from_sdk_column_names(wildcard.excluded_column_names))
        }
        (None, Some(names)) => FilterColumns::Only(from_sdk_column_names(Some(names))),
        (Some(_), Some(_)) | (None, None) => {
            return Err(format!(
                "the data cells filter {} does not say which columns it shows",
                from.name
            ));
        }
    };
    Ok(DataCellsFilter {
        name: from.name,
        rows,
        columns,
    })
}

/// Converts a data cells filter to the SDK's type. `version` is the version that an update
/// replaces; `None` for a new filter.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_data_cells_filter(
    from: &DataCellsFilter,
    id: &TableId,
    account: &str,
    version: Option<String>,
) -> Result<lakeformation::DataCellsFilter, BuildError> {
    let rows = lakeformation::RowFilter::builder();
    let rows = match &from.rows {
        Some(expression) => rows.filter_expression(expression),
        None => rows.all_rows_wildcard(lakeformation::AllRowsWildcard::builder().build()),
    };
    let filter = lakeformation::DataCellsFilter::builder()
        .table_catalog_id(account)
        .database_name(id.database.as_str())
        .table_name(id.table.as_str())
        .name(&from.name)
        .row_filter(rows.build())
        .set_version_id(version);
    let filter = match &from.columns {
        FilterColumns::Only(names) => filter.set_column_names(Some(to_sdk_column_names(names))),
        FilterColumns::AllBut(names) => {
            let excluded = Some(to_sdk_column_names(names)).filter(|names| !names.is_empty());
            let wildcard =
                lakeformation::ColumnWildcard::builder().set_excluded_column_names(excluded);
            filter.column_wildcard(wildcard.build())
        }
    };
    filter.build()
}

/// Whether a catalog id is not that of the account's default catalog. A missing id means that one.
fn is_foreign(catalog: Option<&str>, account: &str) -> bool {
    catalog.is_some_and(|id| id != account)
}

/// Converts the LF-Tags of one resource, which has one value for each key (LF-25), to lower case.
/// LF-Tags of other catalogs are left out: one of the same key in the default catalog is another
/// LF-Tag, with other grants.
///
/// # Errors
/// An LF-Tag does not have exactly one value. The message names it.
pub fn from_sdk_lf_tags(
    from: Option<Vec<lakeformation::LfTagPair>>,
    account: &str,
) -> Result<LfTags, String> {
    let mut tags = LfTags::new();
    let listed = from.unwrap_or_default().into_iter();
    for pair in listed.filter(|pair| !is_foreign(pair.catalog_id.as_deref(), account)) {
        let [value] = pair.tag_values.as_slice() else {
            let (key, count) = (pair.tag_key, pair.tag_values.len());
            return Err(format!("the LF-Tag {key} of a resource has {count} values"));
        };
        let value = value.to_lowercase();
        let other = tags.insert(pair.tag_key.to_lowercase(), value.clone());
        if other.is_some_and(|other| other != value) {
            return Err(format!(
                "the LF-Tag {} of a resource has several values",
                pair.tag_key
            ));
        }
    }
    Ok(tags)
}

/// Converts a listed LF-Tag to one attachment for each of its values, in lower case. An LF-Tag of
/// another catalog, which is shared with the account, has none.
///
/// # Errors
/// The LF-Tag is listed without values: every LF-Tag has one.
pub fn from_sdk_lf_tag_values(
    from: lakeformation::LfTagPair,
    account: &str,
) -> Result<Vec<Attachment>, String> {
    if is_foreign(from.catalog_id.as_deref(), account) {
        return Ok(Vec::new());
    }
    let key = from.tag_key.to_lowercase();
    if from.tag_values.is_empty() {
        return Err(format!("the LF-Tag {key} is listed without values"));
    }
    let attachment = |value: String| Attachment::LfTagValue {
        key: key.clone(),
        value: value.to_lowercase(),
    };
    Ok(from.tag_values.into_iter().map(attachment).collect())
}

/// Converts a named LF-Tag expression; `None` for one of another catalog.
///
/// # Errors
/// It has no name, or its expression is not one that [`from_sdk_expression`] can read.
pub fn from_sdk_named_expression(
    from: lakeformation::LfTagExpression,
    account: &str,
) -> Result<Option<NamedLfTagExpression>, String> {
    if is_foreign(from.catalog_id.as_deref(), account) {
        return Ok(None);
    }
    let name = from.name.ok_or("a named LF-Tag expression has no name")?;
    let Some(expression) = from_sdk_expression(&from.expression.unwrap_or_default()) else {
        return Err(format!(
            "the LF-Tag expression {name} is listed without what it requires"
        ));
    };
    Ok(Some(NamedLfTagExpression {
        name,
        description: from.description.filter(|text| !text.is_empty()),
        expression,
    }))
}

/// Converts a registered location. The role is `None` for the service-linked role.
///
/// # Errors
/// It has no ARN.
pub fn from_sdk_registration(from: lakeformation::ResourceInfo) -> Result<Registration, String> {
    let arn = from.resource_arn.filter(|arn| !arn.is_empty());
    let arn = arn.ok_or("a registered location has no ARN")?;
    let arn = Location::parse(&arn).map_or(arn, |location| location.without_trailing_slash());
    let role = from
        .role_arn
        .filter(|role| !role.ends_with(SERVICE_LINKED_ROLE_SUFFIX));
    Ok(Registration {
        arn,
        role,
        with_federation: from.with_federation.unwrap_or_default(),
        hybrid_access: from.hybrid_access_enabled.unwrap_or_default(),
        privileged_access: from.with_privileged_access.unwrap_or_default(),
        owner: from.expected_resource_owner_account,
    })
}

/// Converts an opt-in. One without a resource, or with a condition that the response does not show, becomes one on
/// `ListedResource::Other`.
#[must_use]
pub fn from_sdk_opt_in(from: lakeformation::LakeFormationOptInsInfo, account: &str) -> OptIn {
    let principal = from.principal;
    let principal = principal.and_then(|principal| principal.data_lake_principal_identifier);
    let (resource, condition) = from_sdk_conditional(from.resource, from.condition, account);
    OptIn {
        principal: Principal(principal.unwrap_or_default()),
        resource,
        condition,
    }
}

/// Converts a database found by `SearchDatabasesByLFTags`; `None` for one of another catalog.
///
/// # Errors
/// The result has no database, or an LF-Tag without exactly one value.
pub fn from_sdk_tagged_database(
    from: lakeformation::TaggedDatabase,
    account: &str,
) -> Result<Option<LfTaggedResource>, String> {
    let database = from.database.ok_or("a result has no database")?;
    if is_foreign(database.catalog_id.as_deref(), account) {
        return Ok(None);
    }
    Ok(Some(LfTaggedResource {
        database: database.name.to_lowercase(),
        on_database: from_sdk_lf_tags(from.lf_tags, account)?,
        ..LfTaggedResource::default()
    }))
}

/// Converts a table found by `SearchTablesByLFTags`; `None` for one of another catalog.
///
/// # Errors
/// The result has no table or a column without a name, or an LF-Tag without exactly one value.
pub fn from_sdk_tagged_table(
    from: lakeformation::TaggedTable,
    account: &str,
) -> Result<Option<LfTaggedResource>, String> {
    let table = from.table.ok_or("a result has no table")?;
    if is_foreign(table.catalog_id.as_deref(), account) {
        return Ok(None);
    }
    let name = table.name.ok_or("a table has no name")?;
    let mut on_columns: BTreeMap<String, LfTags> = BTreeMap::new();
    for column in from.lf_tags_on_columns.unwrap_or_default() {
        let name = column.name.ok_or("a column has no name")?;
        on_columns.insert(
            name.to_lowercase(),
            from_sdk_lf_tags(column.lf_tags, account)?,
        );
    }
    Ok(Some(LfTaggedResource {
        database: table.database_name.to_lowercase(),
        table: Some(name.to_lowercase()),
        on_database: from_sdk_lf_tags(from.lf_tag_on_database, account)?,
        on_table: from_sdk_lf_tags(from.lf_tags_on_table, account)?,
        on_columns,
    }))
}

fn from_sdk_principals(from: Option<Vec<lakeformation::DataLakePrincipal>>) -> BTreeSet<Principal> {
    let all = from.unwrap_or_default().into_iter();
    all.map(|principal| Principal(principal.data_lake_principal_identifier.unwrap_or_default()))
        .collect()
}

/// Converts the data lake settings.
#[must_use]
pub fn from_sdk_settings(from: lakeformation::DataLakeSettings) -> DataLakeSettings {
    let is_open = |all: Option<Vec<lakeformation::PrincipalPermissions>>| {
        all.is_some_and(|permissions| !permissions.is_empty())
    };
    DataLakeSettings {
        admins: from_sdk_principals(from.data_lake_admins),
        read_only_admins: from_sdk_principals(from.read_only_admins),
        database_defaults_open: is_open(from.create_database_default_permissions),
        table_defaults_open: is_open(from.create_table_default_permissions),
        parameters: from.parameters.unwrap_or_default().into_iter().collect(),
        trusted_resource_owners: from
            .trusted_resource_owners
            .unwrap_or_default()
            .into_iter()
            .collect(),
        external_data_filtering: from.allow_external_data_filtering.unwrap_or_default(),
        full_table_external_access: from
            .allow_full_table_external_data_access
            .unwrap_or_default(),
        external_allow_list: from_sdk_principals(from.external_data_filtering_allow_list),
        session_tag_values: from
            .authorized_session_tag_value_list
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

/// Converts the data lake settings to the SDK's type. The defaults for new databases and tables
/// are those of `current`, cleared or restored as `default_permissions` says.
#[must_use]
pub fn to_sdk_settings(
    desired: &DataLakeSettings,
    current: lakeformation::DataLakeSettings,
    default_permissions: DefaultPermissionsChange,
) -> lakeformation::DataLakeSettings {
    let to_sdk = |all: &BTreeSet<Principal>| -> Option<Vec<lakeformation::DataLakePrincipal>> {
        let built = all.iter().map(|principal| {
            lakeformation::DataLakePrincipal::builder()
                .data_lake_principal_identifier(&principal.0)
                .build()
        });
        Some(built.collect())
    };
    let databases = current.create_database_default_permissions;
    let tables = current.create_table_default_permissions;
    let (databases, tables) = (databases.unwrap_or_default(), tables.unwrap_or_default());
    let open = default_permissions.applied_to((!databases.is_empty(), !tables.is_empty()));
    let changed = |current: Vec<lakeformation::PrincipalPermissions>, open: bool| match (
        open,
        current.is_empty(),
    ) {
        (false, _) => Vec::new(),
        (true, false) => current,
        (true, true) => vec![iam_allowed_principals_all()],
    };
    let (databases, tables) = (changed(databases, open.0), changed(tables, open.1));
    lakeformation::DataLakeSettings::builder()
        .set_data_lake_admins(to_sdk(&desired.admins))
        .set_read_only_admins(to_sdk(&desired.read_only_admins))
        .set_create_database_default_permissions(Some(databases))
        .set_create_table_default_permissions(Some(tables))
        .set_parameters(Some(desired.parameters.clone().into_iter().collect()))
        .set_trusted_resource_owners(Some(
            desired.trusted_resource_owners.iter().cloned().collect(),
        ))
        .allow_external_data_filtering(desired.external_data_filtering)
        .allow_full_table_external_data_access(desired.full_table_external_access)
        .set_external_data_filtering_allow_list(to_sdk(&desired.external_allow_list))
        .set_authorized_session_tag_value_list(Some(
            desired.session_tag_values.iter().cloned().collect(),
        ))
        .build()
}

/// ALL for `IAM_ALLOWED_PRINCIPALS`: the only value that an open default can have.
fn iam_allowed_principals_all() -> lakeformation::PrincipalPermissions {
    let group = lakeformation::DataLakePrincipal::builder()
        .data_lake_principal_identifier(IAM_ALLOWED_PRINCIPALS)
        .build();
    lakeformation::PrincipalPermissions::builder()
        .principal(group)
        .permissions(lakeformation::Permission::All)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Name;
    use twinlake_core::grant::ListedResource;

    const ACCOUNT: &str = "111122223333";

    fn orders() -> TableId {
        TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap())
    }

    #[test]
    fn filters_round_trip() {
        let column = |name: &str| BTreeSet::from([Name::from_service(name)]);
        let all = [
            (Some("region = 'eu'"), FilterColumns::Only(column("id"))),
            (None, FilterColumns::AllBut(column("ssn"))),
            (None, FilterColumns::AllBut(BTreeSet::new())),
            (None, FilterColumns::AllBut(column("userId"))),
            (None, FilterColumns::AllBut(column("pay \u{80}\u{93}"))),
            (None, FilterColumns::AllBut(column(&"\u{e9}".repeat(255)))),
            (None, FilterColumns::AllBut(column("a\u{0}b"))),
            (None, FilterColumns::Only(column("\"address\".\"Zip\""))),
        ];
        for (rows, columns) in all {
            let one = DataCellsFilter {
                name: "f".to_owned(),
                rows: rows.map(str::to_owned),
                columns,
            };
            let sent =
                to_sdk_data_cells_filter(&one, &orders(), "1", Some("v".to_owned())).unwrap();
            assert_eq!(sent.version_id.as_deref(), Some("v"));
            assert!(sent.row_filter.is_some());
            let read = from_sdk_data_cells_filter(sent).unwrap();
            assert_eq!(read, one);
            let listed = |filter: &DataCellsFilter| -> Vec<String> {
                let (FilterColumns::Only(names) | FilterColumns::AllBut(names)) = &filter.columns;
                to_sdk_column_names(names)
            };
            assert_eq!(listed(&read), listed(&one));
        }
    }

    #[test]
    fn a_filter_that_does_not_say_what_it_shows_is_an_error_and_not_one_of_everything() {
        type Rows = lakeformation::RowFilter;
        let filter = |rows: Option<Rows>, names: Option<&str>, all_columns: bool| {
            let wildcard = lakeformation::ColumnWildcard::builder().build();
            let filter = lakeformation::DataCellsFilter::builder()
                .table_catalog_id(ACCOUNT)
                .database_name("sales")
                .table_name("orders")
                .name("f")
                .set_row_filter(rows)
                .set_column_names(names.map(|name| vec![name.to_owned()]))
                .set_column_wildcard(all_columns.then_some(wildcard));
            from_sdk_data_cells_filter(filter.build().unwrap())
        };
        let all_rows = || lakeformation::AllRowsWildcard::builder().build();
        let rows = |expression: Option<&str>, wildcard: bool| {
            let rows = Rows::builder().set_filter_expression(expression.map(str::to_owned));
            let rows = rows.set_all_rows_wildcard(wildcard.then(all_rows));
            Some(rows.build())
        };
        for bare in [None, rows(None, false), rows(Some(""), false)] {
            assert!(filter(bare, Some("id"), false).is_err());
        }
        assert!(filter(rows(None, true), None, false).is_err());
        assert!(filter(rows(None, true), Some("id"), true).is_err());
        let read = |rows| filter(rows, Some("id"), false).unwrap().rows;
        assert_eq!(read(rows(None, true)), None);
        // Lake Formation lists a filter of all rows like this.
        assert_eq!(read(rows(Some("TRUE"), true)).as_deref(), Some("TRUE"));
    }

    #[test]
    fn items_without_what_they_consist_of_are_errors() {
        let expression = lakeformation::LfTagExpression::builder().name("e").build();
        assert!(from_sdk_named_expression(expression, ACCOUNT).is_err());
        let info = lakeformation::ResourceInfo::builder().build();
        assert!(from_sdk_registration(info).is_err());
        let bare = lakeformation::LfTagPair::builder().tag_key("class");
        let bare = bare.set_tag_values(Some(Vec::new())).build().unwrap();
        assert!(from_sdk_lf_tag_values(bare, ACCOUNT).is_err());
    }

    #[test]
    fn an_lf_tag_without_exactly_one_value_is_an_error_and_not_left_out() {
        let pair = |values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            let pair = lakeformation::LfTagPair::builder().tag_key("Team");
            pair.set_tag_values(Some(values)).build().unwrap()
        };
        let one = LfTags::from([("team".to_owned(), "a".to_owned())]);
        assert_eq!(from_sdk_lf_tags(Some(vec![pair(&["A"])]), ACCOUNT), Ok(one));
        for listed in [
            vec![pair(&[])],
            vec![pair(&["a", "b"])],
            vec![pair(&["a"]), pair(&["b"])],
        ] {
            assert!(from_sdk_lf_tags(Some(listed), ACCOUNT).is_err());
        }
        let tagged = lakeformation::TaggedTable::builder().build();
        assert!(from_sdk_tagged_table(tagged, ACCOUNT).is_err());
    }

    #[test]
    fn an_opt_in_without_a_principal_or_resource_is_not_left_out() {
        let bare = lakeformation::LakeFormationOptInsInfo::builder().build();
        let read = from_sdk_opt_in(bare, "1");
        assert_eq!(read.principal, Principal(String::new()));
        assert!(matches!(read.resource, ListedResource::Other(_)));
    }

    #[test]
    fn lf_tags_and_resources_of_other_catalogs_are_left_out() {
        let pair = |catalog: Option<&str>, key: &str| {
            lakeformation::LfTagPair::builder()
                .set_catalog_id(catalog.map(str::to_owned))
                .tag_key(key)
                .tag_values("x")
                .build()
                .unwrap()
        };
        let nested = format!("{ACCOUNT}:s3tablescatalog/analytics-bucket");
        let listed = vec![
            pair(None, "a"),
            pair(Some(ACCOUNT), "b"),
            pair(Some("444455556666"), "c"),
            pair(Some(&nested), "b"),
        ];
        let own = [("a", "x"), ("b", "x")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            from_sdk_lf_tags(Some(listed), ACCOUNT),
            Ok(LfTags::from(own))
        );
        assert_eq!(
            from_sdk_lf_tag_values(pair(Some(&nested), "b"), ACCOUNT),
            Ok(Vec::new())
        );
        assert_eq!(
            from_sdk_lf_tag_values(pair(Some(ACCOUNT), "b"), ACCOUNT)
                .unwrap()
                .len(),
            1
        );
        let expression = lakeformation::LfTagExpression::builder().name("e");
        let expression = expression.catalog_id("444455556666").build();
        assert_eq!(from_sdk_named_expression(expression, ACCOUNT), Ok(None));
        let database = lakeformation::DatabaseResource::builder().name("sales");
        let database = database.catalog_id(&nested).build().unwrap();
        let tagged = lakeformation::TaggedDatabase::builder()
            .database(database)
            .build();
        assert_eq!(from_sdk_tagged_database(tagged, ACCOUNT), Ok(None));
        let table = lakeformation::TableResource::builder().database_name("sales");
        let table = table.name("orders").catalog_id(nested).build().unwrap();
        let tagged = lakeformation::TaggedTable::builder().table(table).build();
        assert_eq!(from_sdk_tagged_table(tagged, ACCOUNT), Ok(None));
    }

    #[test]
    fn settings_round_trip_and_defaults_are_kept_cleared_or_restored() {
        let open = lakeformation::PrincipalPermissions::builder().build();
        let current = lakeformation::DataLakeSettings::builder()
            .create_database_default_permissions(open)
            .parameters("SET_CONTEXT", "TRUE")
            .trusted_resource_owners("1")
            .allow_external_data_filtering(true)
            .authorized_session_tag_value_list("x")
            .build();
        let mut desired = from_sdk_settings(current.clone());
        desired.admins.insert(Principal("a".to_owned()));
        let kept = to_sdk_settings(&desired, current.clone(), DefaultPermissionsChange::Keep);
        assert_eq!(from_sdk_settings(kept), desired);
        desired.database_defaults_open = false;
        let cleared = to_sdk_settings(&desired, current, DefaultPermissionsChange::Clear);
        assert_eq!(from_sdk_settings(cleared.clone()), desired);
        let restore = DefaultPermissionsChange::Restore {
            databases: true,
            tables: false,
        };
        desired.database_defaults_open = true;
        let open = to_sdk_settings(&desired, cleared, restore);
        assert_eq!(from_sdk_settings(open), desired);
    }

    #[test]
    fn the_service_linked_role_is_distinguished_from_a_custom_role_of_its_name() {
        let with = |role: String| {
            let info = lakeformation::ResourceInfo::builder().resource_arn("arn:aws:s3:::b/p/");
            from_sdk_registration(info.role_arn(role).build()).unwrap()
        };
        let linked = with(format!("arn:aws:iam::1{SERVICE_LINKED_ROLE_SUFFIX}"));
        assert_eq!(
            (linked.role, linked.arn.as_str()),
            (None, "arn:aws:s3:::b/p")
        );
        let own = "arn:aws:iam::1:role/AWSServiceRoleForLakeFormationDataAccess";
        assert_eq!(with(own.to_owned()).role.as_deref(), Some(own));
    }
}
