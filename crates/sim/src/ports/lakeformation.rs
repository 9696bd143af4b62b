//! Reads of data cells filters, LF-Tags, opt-ins, registrations and data lake settings.

mod write;

use super::SimRegion;
use crate::api::column_names_json;
use crate::lakeformation::service_linked_role;
use crate::state::SimState;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, DataCellsFilter, DataLakeSettings, FilterColumns, IndexStatus,
    NamedLfTagExpression, ObservedAttachment, OptIn, Registration,
};
use twinlake_core::grant::LfTagExpression;
use twinlake_core::{CallError, LfSubject, Name, Principal, Subject, TableId};

fn present(attachment: Attachment) -> ObservedAttachment {
    ObservedAttachment {
        attachment,
        index_status: IndexStatus::Present,
    }
}

/// Whether attachments of this kind belong to Lake Formation.
pub(super) fn is_lakeformation_attachment(key: &AttachmentKey) -> bool {
    match key {
        AttachmentKey::Index(_) | AttachmentKey::Statistics(_) | AttachmentKey::GlueTag(_) => false,
        AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::LfTagAssignment { .. }
        | AttachmentKey::OptIn(_)
        | AttachmentKey::LfTagValue { .. }
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => true,
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn texts(value: &Value, key: &str) -> BTreeSet<String> {
    let all = list(value, key).iter().filter_map(Value::as_str);
    all.map(str::to_owned).collect()
}

fn names(value: &Value, key: &str) -> BTreeSet<Name> {
    let all = list(value, key).iter();
    all.map(|text| Name::from_service(text.as_str().unwrap_or_default()))
        .collect()
}

fn principals(value: &Value, key: &str) -> BTreeSet<Principal> {
    let all = list(value, key).iter();
    all.filter_map(|one| text(one, "DataLakePrincipalIdentifier"))
        .map(Principal)
        .collect()
}

/// Parses the data lake settings from the JSON of a response.
pub(super) fn parse_settings(from: &Value) -> DataLakeSettings {
    let flag = |key: &str| from.get(key).and_then(Value::as_bool).unwrap_or_default();
    let parameters = from.get("Parameters").and_then(Value::as_object);
    DataLakeSettings {
        admins: principals(from, "DataLakeAdmins"),
        read_only_admins: principals(from, "ReadOnlyAdmins"),
        database_defaults_open: !list(from, "CreateDatabaseDefaultPermissions").is_empty(),
        table_defaults_open: !list(from, "CreateTableDefaultPermissions").is_empty(),
        parameters: parameters
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        trusted_resource_owners: texts(from, "TrustedResourceOwners"),
        external_data_filtering: flag("AllowExternalDataFiltering"),
        full_table_external_access: flag("AllowFullTableExternalDataAccess"),
        external_allow_list: principals(from, "ExternalDataFilteringAllowList"),
        session_tag_values: texts(from, "AuthorizedSessionTagValueList"),
    }
}

fn settings_json(settings: &DataLakeSettings, defaults: (Value, Value)) -> Value {
    let principals = |all: &BTreeSet<Principal>| -> Value {
        all.iter()
            .map(|one| json!({"DataLakePrincipalIdentifier": one.0}))
            .collect()
    };
    json!({
        "DataLakeAdmins": principals(&settings.admins),
        "ReadOnlyAdmins": principals(&settings.read_only_admins),
        "CreateDatabaseDefaultPermissions": defaults.0,
        "CreateTableDefaultPermissions": defaults.1,
        "Parameters": settings.parameters,
        "TrustedResourceOwners": settings.trusted_resource_owners,
        "AllowExternalDataFiltering": settings.external_data_filtering,
        "AllowFullTableExternalDataAccess": settings.full_table_external_access,
        "ExternalDataFilteringAllowList": principals(&settings.external_allow_list),
        "AuthorizedSessionTagValueList": settings.session_tag_values,
    })
}

fn parse_filter(from: &Value) -> DataCellsFilter {
    let rows = from.get("RowFilter").unwrap_or(&Value::Null);
    DataCellsFilter {
        name: text(from, "Name").unwrap_or_default(),
        rows: text(rows, "FilterExpression"),
        columns: match from.get("ColumnWildcard").filter(|w| !w.is_null()) {
            Some(wildcard) => FilterColumns::AllBut(names(wildcard, "ExcludedColumnNames")),
            None => FilterColumns::Only(names(from, "ColumnNames")),
        },
    }
}

fn filter_json(id: &TableId, filter: &DataCellsFilter, version: Option<String>) -> Value {
    let rows = match &filter.rows {
        Some(rows) => json!({"FilterExpression": rows}),
        None => json!({"AllRowsWildcard": {}}),
    };
    let mut data = json!({
        "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
        "Name": filter.name, "RowFilter": rows, "VersionId": version,
    });
    let (key, columns) = match &filter.columns {
        FilterColumns::Only(names) => ("ColumnNames", column_names_json(names)),
        FilterColumns::AllBut(names) => {
            let excluded = column_names_json(names);
            ("ColumnWildcard", json!({ "ExcludedColumnNames": excluded }))
        }
    };
    if let Some(object) = data.as_object_mut() {
        object.insert(key.to_owned(), columns);
    }
    data
}

fn parse_expression(from: &Value) -> LfTagExpression {
    let all = list(from, "Expression").iter();
    all.filter_map(|one| Some((text(one, "TagKey")?, texts(one, "TagValues"))))
        .collect()
}

fn subject_resource_json(subject: &Subject, column: Option<&Name>) -> Value {
    match (subject, column) {
        (Subject::Database(name), _) => json!({"Database": {"Name": name.as_str()}}),
        (Subject::Table(id), None) => json!({"Table": {
            "DatabaseName": id.database.as_str(), "Name": id.table.as_str(),
        }}),
        (Subject::Table(id), Some(column)) => json!({"TableWithColumns": {
            "DatabaseName": id.database.as_str(), "Name": id.table.as_str(),
            "ColumnNames": [column.as_listed()],
        }}),
        (Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_), _) => {
            json!({"Catalog": {}})
        }
    }
}

impl SimRegion {
    /// Returns all items of a paged Lake Formation listing.
    async fn list_all_pages(
        &self,
        call: &str,
        mut request: Value,
        key: &str,
    ) -> Result<Vec<Value>, CallError> {
        let mut all = Vec::new();
        loop {
            let answer = self.call(call, &request).await?;
            all.extend(list(&answer, key).iter().cloned());
            let Some(token) = text(&answer, "NextToken") else {
                return Ok(all);
            };
            if let Some(object) = request.as_object_mut() {
                object.insert("NextToken".to_owned(), token.into());
            }
        }
    }

    pub(super) async fn list_filters(
        &self,
        id: &TableId,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        let table = json!({"DatabaseName": id.database.as_str(), "Name": id.table.as_str()});
        let request = json!({"Table": table});
        let all = self
            .list_all_pages("ListDataCellsFilter", request, "DataCellsFilters")
            .await?;
        Ok(all
            .iter()
            .map(|one| present(Attachment::DataCellsFilter(parse_filter(one))))
            .collect())
    }

    pub(super) async fn list_assigned(
        &self,
        subject: &Subject,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        let request = json!({
            "Resource": subject_resource_json(subject, None), "ShowAssignedLFTags": true,
        });
        let answer = self.call("GetResourceLFTags", &request).await?;
        let own = match subject {
            Subject::Database(_) => "LFTagOnDatabase",
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Table(_)
            | Subject::Function(_) => "LFTagsOnTable",
        };
        let pairs = |column: Option<Name>, tags: &[Value]| -> Vec<ObservedAttachment> {
            let one = |tag: &Value| {
                Some(present(Attachment::LfTagAssignment {
                    column: column.clone(),
                    key: text(tag, "TagKey")?,
                    value: texts(tag, "TagValues").into_iter().next()?,
                }))
            };
            tags.iter().filter_map(one).collect()
        };
        let mut all = pairs(None, list(&answer, own));
        for column in list(&answer, "LFTagsOnColumns") {
            let name = text(column, "Name").unwrap_or_default();
            let name = Name::from_service(&name);
            all.extend(pairs(Some(name), list(column, "LFTags")));
        }
        Ok(all)
    }

    pub(super) async fn list_items(
        &self,
        lake: LfSubject,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        let attachments: Vec<Attachment> = match lake {
            LfSubject::LfTags => {
                let all = self
                    .list_all_pages("ListLFTags", json!({}), "LFTags")
                    .await?;
                let values = all.iter().flat_map(|tag| {
                    let key = text(tag, "TagKey").unwrap_or_default();
                    texts(tag, "TagValues").into_iter().map(move |value| {
                        let key = key.clone();
                        Attachment::LfTagValue { key, value }
                    })
                });
                values.collect()
            }
            LfSubject::LfTagExpressions => {
                let all = self
                    .list_all_pages("ListLFTagExpressions", json!({}), "LFTagExpressions")
                    .await?;
                let saved = all.iter().map(|one| {
                    Attachment::NamedExpression(NamedLfTagExpression {
                        name: text(one, "Name").unwrap_or_default(),
                        description: text(one, "Description"),
                        expression: parse_expression(one),
                    })
                });
                saved.collect()
            }
            LfSubject::DataLocations => {
                let all = self
                    .list_all_pages("ListResources", json!({}), "ResourceInfoList")
                    .await?;
                let linked_role = service_linked_role(&self.sim.state().account);
                all.iter()
                    .map(|one| registration(one, &linked_role))
                    .collect()
            }
            LfSubject::Permissions | LfSubject::Settings => Vec::new(),
        };
        Ok(attachments.into_iter().map(present).collect())
    }

    pub(super) async fn list_opt_ins(&self) -> Result<Vec<OptIn>, CallError> {
        self.read_pages(
            "ListLakeFormationOptIns",
            1000,
            |state: &SimState, caller| {
                if state.sees_empty_catalog(caller.region, caller.principal) {
                    return Ok(Vec::new());
                }
                Ok(state
                    .region(caller.region)?
                    .opt_ins
                    .iter()
                    .cloned()
                    .collect())
            },
        )
        .await
    }
}

fn registration(from: &Value, linked_role: &str) -> Attachment {
    let flag = |key: &str| from.get(key).and_then(Value::as_bool).unwrap_or_default();
    Attachment::Registration(Registration {
        arn: text(from, "ResourceArn").unwrap_or_default(),
        role: text(from, "RoleArn").filter(|role| role != linked_role),
        with_federation: flag("WithFederation"),
        hybrid_access: flag("HybridAccessEnabled"),
        privileged_access: flag("WithPrivilegedAccess"),
        owner: text(from, "ExpectedResourceOwnerAccount"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn settings_round_trip_through_json() {
        let all = DataLakeSettings {
            admins: [Principal("a".to_owned())].into(),
            parameters: BTreeMap::from([("SET_CONTEXT".to_owned(), "TRUE".to_owned())]),
            session_tag_values: ["x".to_owned()].into(),
            ..DataLakeSettings::default()
        };
        let json = settings_json(&all, (json!([]), json!([])));
        assert_eq!(parse_settings(&json), all);
    }
}
