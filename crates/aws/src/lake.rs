//! Between the SDK's types of what Lake Formation keeps beside grants and the core's.

use crate::grants::{entry_resource, expression};
use aws_sdk_lakeformation::error::BuildError;
use aws_sdk_lakeformation::types as lake;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{
    CellsFilter, FilterColumns, LakeSettings, OptIn, Part, Registration, SavedExpression,
};
use twinlake_core::grant::IAM_ALLOWED_PRINCIPALS;
use twinlake_core::location::Location;
use twinlake_core::reading::{TagSet, Tagged};
use twinlake_core::{Name, Principal, TableId};
use twinlake_engine::ports::DefaultsChange;

/// The path of the role that Lake Formation makes for itself.
const LINKED_ROLE: &str = ":role/aws-service-role/lakeformation.amazonaws.com/\
                           AWSServiceRoleForLakeFormationDataAccess";

fn names(from: Option<Vec<String>>) -> BTreeSet<Name> {
    let all = from.unwrap_or_default();
    all.iter().filter_map(|text| Name::new(text).ok()).collect()
}

/// A data cells filter. Its version and its catalog are regional and left out.
#[must_use]
pub fn filter(from: lake::DataCellsFilter) -> CellsFilter {
    CellsFilter {
        name: from.name,
        rows: from.row_filter.and_then(|rows| rows.filter_expression),
        columns: match from.column_wildcard {
            Some(wildcard) => FilterColumns::AllBut(names(wildcard.excluded_column_names)),
            None => FilterColumns::Only(names(from.column_names)),
        },
    }
}

/// A filter as it is sent, with the version that is there, if it is.
///
/// # Errors
/// The SDK refuses to build it.
pub fn filter_back(
    from: &CellsFilter,
    id: &TableId,
    account: &str,
    version: Option<String>,
) -> Result<lake::DataCellsFilter, BuildError> {
    let rows = lake::RowFilter::builder();
    let rows = match &from.rows {
        Some(expression) => rows.filter_expression(expression),
        None => rows.all_rows_wildcard(lake::AllRowsWildcard::builder().build()),
    };
    let texts = |names: &BTreeSet<Name>| -> Vec<String> {
        names.iter().map(|name| name.as_str().to_owned()).collect()
    };
    let filter = lake::DataCellsFilter::builder()
        .table_catalog_id(account)
        .database_name(id.database.as_str())
        .table_name(id.table.as_str())
        .name(&from.name)
        .row_filter(rows.build())
        .set_version_id(version);
    let filter = match &from.columns {
        FilterColumns::Only(names) => filter.set_column_names(Some(texts(names))),
        FilterColumns::AllBut(names) => {
            let excluded = Some(texts(names)).filter(|names| !names.is_empty());
            let wildcard = lake::ColumnWildcard::builder().set_excluded_column_names(excluded);
            filter.column_wildcard(wildcard.build())
        }
    };
    filter.build()
}

/// LF-Tags of one resource: it has one value for each key.
#[must_use]
pub fn tag_set(from: Option<Vec<lake::LfTagPair>>) -> TagSet {
    let pairs = from.unwrap_or_default().into_iter();
    pairs
        .filter_map(|pair| {
            let value = pair.tag_values.into_iter().next()?;
            Some((pair.tag_key.to_lowercase(), value.to_lowercase()))
        })
        .collect()
}

/// Assigned LF-Tags as parts: of the owner itself, or of a column.
#[must_use]
pub fn assigned(column: Option<&Name>, tags: TagSet) -> Vec<Part> {
    let one = |(key, value)| Part::Assigned {
        column: column.cloned(),
        key,
        value,
    };
    tags.into_iter().map(one).collect()
}

/// The values of a listed LF-Tag, one by one.
#[must_use]
pub fn tag_values(from: lake::LfTagPair) -> Vec<Part> {
    let key = from.tag_key.to_lowercase();
    let one = |value: String| Part::TagValue {
        key: key.clone(),
        value: value.to_lowercase(),
    };
    from.tag_values.into_iter().map(one).collect()
}

/// A saved expression.
#[must_use]
pub fn saved(from: lake::LfTagExpression) -> SavedExpression {
    SavedExpression {
        name: from.name.unwrap_or_default(),
        description: from.description.filter(|text| !text.is_empty()),
        expression: expression(&from.expression.unwrap_or_default()),
    }
}

/// A registered location.
#[must_use]
pub fn registration(from: lake::ResourceInfo) -> Registration {
    let arn = from.resource_arn.unwrap_or_default();
    let arn = Location::parse(&arn).map_or(arn, |place| place.as_arn());
    let role = from.role_arn.filter(|role| !role.ends_with(LINKED_ROLE));
    Registration {
        arn,
        role,
        with_federation: from.with_federation.unwrap_or_default(),
        hybrid_access: from.hybrid_access_enabled.unwrap_or_default(),
        privileged_access: from.with_privileged_access.unwrap_or_default(),
        owner: from.expected_resource_owner_account,
    }
}

/// An opt-in; none where it names nobody or nothing.
#[must_use]
pub fn opt_in(from: lake::LakeFormationOptInsInfo, account: &str) -> Option<OptIn> {
    let principal = from.principal?.data_lake_principal_identifier?;
    Some(OptIn {
        principal: Principal(principal),
        resource: entry_resource(from.resource?, account),
        condition: from.condition.and_then(|condition| condition.expression),
    })
}

/// A database that a search found.
#[must_use]
pub fn tagged_database(from: lake::TaggedDatabase) -> Option<Tagged> {
    Some(Tagged {
        database: from.database?.name.to_lowercase(),
        on_database: tag_set(from.lf_tags),
        ..Tagged::default()
    })
}

/// A table that a search found.
#[must_use]
pub fn tagged_table(from: lake::TaggedTable) -> Option<Tagged> {
    let table = from.table?;
    let columns = from.lf_tags_on_columns.unwrap_or_default().into_iter();
    let on_columns: BTreeMap<String, TagSet> = columns
        .filter_map(|column| Some((column.name?.to_lowercase(), tag_set(column.lf_tags))))
        .collect();
    Some(Tagged {
        database: table.database_name.to_lowercase(),
        table: Some(table.name?.to_lowercase()),
        on_database: tag_set(from.lf_tag_on_database),
        on_table: tag_set(from.lf_tags_on_table),
        on_columns,
    })
}

fn principals(from: Option<Vec<lake::DataLakePrincipal>>) -> BTreeSet<Principal> {
    let all = from.unwrap_or_default().into_iter();
    all.filter_map(|principal| principal.data_lake_principal_identifier)
        .map(Principal)
        .collect()
}

/// The settings, whole.
#[must_use]
pub fn settings(from: Option<lake::DataLakeSettings>) -> LakeSettings {
    let Some(from) = from else {
        return LakeSettings::default();
    };
    let is_open = |all: Option<Vec<lake::PrincipalPermissions>>| {
        all.is_some_and(|permissions| !permissions.is_empty())
    };
    LakeSettings {
        admins: principals(from.data_lake_admins),
        read_only_admins: principals(from.read_only_admins),
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
        external_allow_list: principals(from.external_data_filtering_allow_list),
        session_tag_values: from
            .authorized_session_tag_value_list
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

/// The settings as they are written: the defaults as they are there, or closed.
#[must_use]
pub fn settings_back(
    wanted: &LakeSettings,
    now: Option<lake::DataLakeSettings>,
    defaults: DefaultsChange,
) -> lake::DataLakeSettings {
    let back = |all: &BTreeSet<Principal>| -> Option<Vec<lake::DataLakePrincipal>> {
        let built = all.iter().map(|one| {
            lake::DataLakePrincipal::builder()
                .data_lake_principal_identifier(&one.0)
                .build()
        });
        Some(built.collect())
    };
    let (databases, tables) = now.map_or_else(Default::default, |now| {
        (
            now.create_database_default_permissions.unwrap_or_default(),
            now.create_table_default_permissions.unwrap_or_default(),
        )
    });
    let open = defaults.applied_to((!databases.is_empty(), !tables.is_empty()));
    let after = |now: Vec<lake::PrincipalPermissions>, open: bool| match (open, now.is_empty()) {
        (false, _) => Vec::new(),
        (true, false) => now,
        (true, true) => vec![open_to_iam()],
    };
    let (databases, tables) = (after(databases, open.0), after(tables, open.1));
    lake::DataLakeSettings::builder()
        .set_data_lake_admins(back(&wanted.admins))
        .set_read_only_admins(back(&wanted.read_only_admins))
        .set_create_database_default_permissions(Some(databases))
        .set_create_table_default_permissions(Some(tables))
        .set_parameters(Some(wanted.parameters.clone().into_iter().collect()))
        .set_trusted_resource_owners(Some(
            wanted.trusted_resource_owners.iter().cloned().collect(),
        ))
        .allow_external_data_filtering(wanted.external_data_filtering)
        .allow_full_table_external_data_access(wanted.full_table_external_access)
        .set_external_data_filtering_allow_list(back(&wanted.external_allow_list))
        .set_authorized_session_tag_value_list(Some(
            wanted.session_tag_values.iter().cloned().collect(),
        ))
        .build()
}

/// The only default that there is but none.
fn open_to_iam() -> lake::PrincipalPermissions {
    let group = lake::DataLakePrincipal::builder()
        .data_lake_principal_identifier(IAM_ALLOWED_PRINCIPALS)
        .build();
    lake::PrincipalPermissions::builder()
        .principal(group)
        .permissions(lake::Permission::All)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> TableId {
        TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap())
    }

    #[test]
    fn filters_survive_the_wire() {
        let column = |name: &str| BTreeSet::from([Name::new(name).unwrap()]);
        let all = [
            (Some("region = 'eu'"), FilterColumns::Only(column("id"))),
            (None, FilterColumns::AllBut(column("ssn"))),
            (None, FilterColumns::AllBut(BTreeSet::new())),
        ];
        for (rows, columns) in all {
            let one = CellsFilter {
                name: "f".to_owned(),
                rows: rows.map(str::to_owned),
                columns,
            };
            let sent = filter_back(&one, &orders(), "1", Some("v".to_owned())).unwrap();
            assert_eq!(sent.version_id.as_deref(), Some("v"));
            assert!(sent.row_filter.is_some());
            assert_eq!(filter(sent), one);
        }
    }

    #[test]
    fn settings_survive_the_wire_and_defaults_stay_or_close() {
        let open = lake::PrincipalPermissions::builder().build();
        let now = lake::DataLakeSettings::builder()
            .create_database_default_permissions(open)
            .parameters("SET_CONTEXT", "TRUE")
            .trusted_resource_owners("1")
            .allow_external_data_filtering(true)
            .authorized_session_tag_value_list("x")
            .build();
        let mut wanted = settings(Some(now.clone()));
        wanted.admins.insert(Principal("a".to_owned()));
        let kept = settings_back(&wanted, Some(now.clone()), DefaultsChange::Keep);
        assert_eq!(settings(Some(kept)), wanted);
        wanted.database_defaults_open = false;
        let closed = settings_back(&wanted, Some(now), DefaultsChange::Close);
        assert_eq!(settings(Some(closed.clone())), wanted);
        let reopen = DefaultsChange::Reopen {
            databases: true,
            tables: false,
        };
        wanted.database_defaults_open = true;
        let open = settings_back(&wanted, Some(closed), reopen);
        assert_eq!(settings(Some(open)), wanted);
    }

    #[test]
    fn the_service_linked_role_is_told_from_others() {
        let with = |role: String| {
            let info = lake::ResourceInfo::builder().resource_arn("arn:aws:s3:::b/p/");
            registration(info.role_arn(role).build())
        };
        let linked = with(format!("arn:aws:iam::1{LINKED_ROLE}"));
        assert_eq!(
            (linked.role, linked.arn.as_str()),
            (None, "arn:aws:s3:::b/p")
        );
        let own = "arn:aws:iam::1:role/AWSServiceRoleForLakeFormationDataAccess";
        assert_eq!(with(own.to_owned()).role.as_deref(), Some(own));
    }
}
