//! Converts Athena's objects between the SDK's types and JSON with AWS's field names.

mod configuration;
#[cfg(test)]
mod tests;

pub(super) use configuration::{to_configuration, to_configuration_updates};

use aws_sdk_athena::types as athena;
use aws_smithy_types::DateTime;
use serde_json::{Map, Value, json};
use twinlake_core::Timestamp;
use twinlake_core::query::{Fields, ObjectKey, QueryKind, QueryObject};

fn timestamp(at: Option<&DateTime>) -> Option<Timestamp> {
    at.and_then(|at| at.to_millis().ok())
        .map(Timestamp::from_millis)
}

/// The fields of an object, without those that are `null`.
fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields.into_iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Fields::new()
        }
    }
}

fn map_of<'a>(map: Option<impl IntoIterator<Item = (&'a String, &'a String)>>) -> Value {
    map.map_or(Value::Null, |map| {
        let entries = map.into_iter();
        let entries = entries.map(|(key, value)| (key.clone(), Value::String(value.clone())));
        Value::Object(entries.collect::<Map<String, Value>>())
    })
}

pub(super) fn from_workgroup(found: &athena::WorkGroup) -> QueryObject {
    let object = json!({
        "State": found.state.as_ref().map(|state| state.as_str()),
        "Description": found.description,
        "Configuration": found.configuration.as_ref().map(configuration::to_json),
        "IdentityCenterApplicationArn": found.identity_center_application_arn,
    });
    let key = ObjectKey::new(QueryKind::WorkGroup, &found.name);
    QueryObject {
        created: timestamp(found.creation_time.as_ref()),
        ..QueryObject::normalized(key, fields(object))
    }
}

pub(super) fn from_catalog(found: &athena::DataCatalog) -> QueryObject {
    let object = json!({
        "Type": found.r#type.as_str(),
        "Description": found.description,
        "Parameters": map_of(found.parameters.as_ref()),
        "Status": found.status.as_ref().map(|status| status.as_str()),
        "ConnectionType": found.connection_type.as_ref().map(|kind| kind.as_str()),
        "Error": found.error,
    });
    let key = ObjectKey::new(QueryKind::DataCatalog, &found.name);
    QueryObject::normalized(key, fields(object))
}

pub(super) fn from_named_query(found: &athena::NamedQuery, id: &str) -> QueryObject {
    let object = json!({
        "Name": found.name,
        "Description": found.description,
        "Database": found.database,
        "QueryString": found.query_string,
    });
    // Athena's default, where a query names none.
    let workgroup = found.work_group.as_deref().unwrap_or("primary");
    let key = ObjectKey::within(QueryKind::NamedQuery, workgroup, id);
    QueryObject::normalized(key, fields(object))
}

pub(super) fn from_prepared_statement(
    found: &athena::PreparedStatement,
    workgroup: &str,
    name: &str,
) -> QueryObject {
    let object = json!({
        "QueryStatement": found.query_statement,
        "Description": found.description,
    });
    let key = ObjectKey::within(QueryKind::PreparedStatement, workgroup, name);
    QueryObject::normalized(key, fields(object))
}
