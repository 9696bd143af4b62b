//! Filters, assigned LF-Tags, opt-ins, and what is of the lake as a whole.

mod write;

use super::SimRegion;
use crate::lake::linked_role;
use crate::state::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{
    CellsFilter, FilterColumns, LakeSettings, OptIn, Part, PartKey, Progress, Registration,
    SavedExpression, SeenPart,
};
use twinlake_core::grant::TagExpression;
use twinlake_core::{Fault, Lake, Name, Principal, Subject, TableId};

fn there(part: Part) -> SeenPart {
    SeenPart {
        part,
        progress: Progress::There,
    }
}

/// Whether parts of this kind are Lake Formation's.
pub(super) fn is_of_lake(key: &PartKey) -> bool {
    match key {
        PartKey::Index(_) | PartKey::Statistics(_) | PartKey::Tag(_) => false,
        PartKey::Filter(_)
        | PartKey::Assigned { .. }
        | PartKey::OptIn(_)
        | PartKey::TagValue { .. }
        | PartKey::Expression(_)
        | PartKey::Registration(_) => true,
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
    let all = texts(value, key);
    all.iter().filter_map(|text| Name::new(text).ok()).collect()
}

fn principals(value: &Value, key: &str) -> BTreeSet<Principal> {
    let all = list(value, key).iter();
    all.filter_map(|one| text(one, "DataLakePrincipalIdentifier"))
        .map(Principal)
        .collect()
}

/// The settings as they come over the wire.
pub(super) fn settings(from: Option<&Value>) -> LakeSettings {
    let none = Value::Null;
    let from = from.unwrap_or(&none);
    let flag = |key: &str| from.get(key).and_then(Value::as_bool).unwrap_or_default();
    let parameters = from.get("Parameters").and_then(Value::as_object);
    LakeSettings {
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

fn written(settings: &LakeSettings, defaults: (Value, Value)) -> Value {
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

fn filter(from: &Value) -> CellsFilter {
    let rows = from.get("RowFilter").unwrap_or(&Value::Null);
    CellsFilter {
        name: text(from, "Name").unwrap_or_default(),
        rows: text(rows, "FilterExpression"),
        columns: match from.get("ColumnWildcard").filter(|w| !w.is_null()) {
            Some(wildcard) => FilterColumns::AllBut(names(wildcard, "ExcludedColumnNames")),
            None => FilterColumns::Only(names(from, "ColumnNames")),
        },
    }
}

fn filter_back(id: &TableId, filter: &CellsFilter, version: Option<String>) -> Value {
    let rows = match &filter.rows {
        Some(rows) => json!({"FilterExpression": rows}),
        None => json!({"AllRowsWildcard": {}}),
    };
    let mut data = json!({
        "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
        "Name": filter.name, "RowFilter": rows, "VersionId": version,
    });
    let (key, columns) = match &filter.columns {
        FilterColumns::Only(names) => ("ColumnNames", json!(names)),
        FilterColumns::AllBut(names) => ("ColumnWildcard", json!({"ExcludedColumnNames": names})),
    };
    if let Some(object) = data.as_object_mut() {
        object.insert(key.to_owned(), columns);
    }
    data
}

fn expression(from: &Value) -> TagExpression {
    let all = list(from, "Expression").iter();
    all.filter_map(|one| Some((text(one, "TagKey")?, texts(one, "TagValues"))))
        .collect()
}

fn resource(subject: &Subject, column: Option<&Name>) -> Value {
    match (subject, column) {
        (Subject::Database(name), _) => json!({"Database": {"Name": name.as_str()}}),
        (Subject::Table(id), None) => json!({"Table": {
            "DatabaseName": id.database.as_str(), "Name": id.table.as_str(),
        }}),
        (Subject::Table(id), Some(column)) => json!({"TableWithColumns": {
            "DatabaseName": id.database.as_str(), "Name": id.table.as_str(),
            "ColumnNames": [column.as_str()],
        }}),
        (Subject::Catalog | Subject::Lake(_) | Subject::Function(_), _) => json!({"Catalog": {}}),
    }
}

impl SimRegion {
    /// A listing of Lake Formation's, page by page.
    async fn every(&self, call: &str, mut request: Value, key: &str) -> Result<Vec<Value>, Fault> {
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

    pub(super) async fn list_filters(&self, id: &TableId) -> Result<Vec<SeenPart>, Fault> {
        let table = json!({"DatabaseName": id.database.as_str(), "Name": id.table.as_str()});
        let request = json!({"Table": table});
        let all = self
            .every("ListDataCellsFilter", request, "DataCellsFilters")
            .await?;
        Ok(all
            .iter()
            .map(|one| there(Part::Filter(filter(one))))
            .collect())
    }

    pub(super) async fn list_assigned(&self, subject: &Subject) -> Result<Vec<SeenPart>, Fault> {
        let request = json!({
            "Resource": resource(subject, None), "ShowAssignedLFTags": true,
        });
        let answer = self.call("GetResourceLFTags", &request).await?;
        let own = match subject {
            Subject::Database(_) => "LFTagOnDatabase",
            Subject::Catalog | Subject::Lake(_) | Subject::Table(_) | Subject::Function(_) => {
                "LFTagsOnTable"
            }
        };
        let pairs = |column: Option<Name>, tags: &[Value]| -> Vec<SeenPart> {
            let one = |tag: &Value| {
                Some(there(Part::Assigned {
                    column: column.clone(),
                    key: text(tag, "TagKey")?,
                    value: texts(tag, "TagValues").into_iter().next()?,
                }))
            };
            tags.iter().filter_map(one).collect()
        };
        let mut all = pairs(None, list(&answer, own));
        for column in list(&answer, "LFTagsOnColumns") {
            let name = text(column, "Name").and_then(|text| Name::new(&text).ok());
            all.extend(pairs(name, list(column, "LFTags")));
        }
        Ok(all)
    }

    pub(super) async fn list_items(&self, lake: Lake) -> Result<Vec<SeenPart>, Fault> {
        let parts: Vec<Part> = match lake {
            Lake::Tags => {
                let all = self.every("ListLFTags", json!({}), "LFTags").await?;
                let values = all.iter().flat_map(|tag| {
                    let key = text(tag, "TagKey").unwrap_or_default();
                    texts(tag, "TagValues").into_iter().map(move |value| {
                        let key = key.clone();
                        Part::TagValue { key, value }
                    })
                });
                values.collect()
            }
            Lake::Expressions => {
                let all = self
                    .every("ListLFTagExpressions", json!({}), "LFTagExpressions")
                    .await?;
                let saved = all.iter().map(|one| {
                    Part::Expression(SavedExpression {
                        name: text(one, "Name").unwrap_or_default(),
                        description: text(one, "Description"),
                        expression: expression(one),
                    })
                });
                saved.collect()
            }
            Lake::Locations => {
                let all = self
                    .every("ListResources", json!({}), "ResourceInfoList")
                    .await?;
                let linked = linked_role(&self.sim.world().account);
                all.iter().map(|one| place(one, &linked)).collect()
            }
            Lake::Permissions | Lake::Settings => Vec::new(),
        };
        Ok(parts.into_iter().map(there).collect())
    }

    pub(super) async fn list_opt_ins(&self) -> Result<Vec<OptIn>, Fault> {
        self.pages("ListLakeFormationOptIns", 1000, |world: &World, caller| {
            if world.is_blind(caller.region, caller.principal) {
                return Ok(Vec::new());
            }
            Ok(world
                .region(caller.region)?
                .opt_ins
                .iter()
                .cloned()
                .collect())
        })
        .await
    }
}

fn place(from: &Value, linked: &str) -> Part {
    let flag = |key: &str| from.get(key).and_then(Value::as_bool).unwrap_or_default();
    Part::Registration(Registration {
        arn: text(from, "ResourceArn").unwrap_or_default(),
        role: text(from, "RoleArn").filter(|role| role != linked),
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
    fn settings_survive_the_wire() {
        let all = LakeSettings {
            admins: [Principal("a".to_owned())].into(),
            parameters: BTreeMap::from([("SET_CONTEXT".to_owned(), "TRUE".to_owned())]),
            session_tag_values: ["x".to_owned()].into(),
            ..LakeSettings::default()
        };
        let json = written(&all, (json!([]), json!([])));
        assert_eq!(settings(Some(&json)), all);
    }
}
