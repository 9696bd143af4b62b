//! Connections without their secrets: of a property that holds one only the name is read.

use super::{as_value, fields, text, texts, timestamp};
use aws_sdk_glue::types as glue;
use serde_json::{Map, Value, json};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

/// The property that names a secret with user and password.
const SECRET: &str = "SECRET_ID";
/// The property that names a secret of Kafka.
const KAFKA_SECRET: &str = "KAFKA_SASL_SCRAM_SECRETS_ARN";

pub(in crate::glue_tools) fn from_connection(found: &glue::Connection) -> QueryObject {
    let mut properties = Map::new();
    let mut passwords = Vec::new();
    for (name, value) in found.connection_properties.iter().flatten() {
        match has_password(name.as_str(), value) {
            true => passwords.push(name.as_str()),
            false => drop(properties.insert(name.as_str().to_owned(), value.as_str().into())),
        }
    }
    // A user without a secret has a password, which is hidden.
    let has_secret = [SECRET, KAFKA_SECRET]
        .iter()
        .any(|name| properties.contains_key(*name));
    if passwords.is_empty() && !has_secret {
        let names = found.connection_properties.iter().flatten();
        let users = names.map(|(name, _)| name.as_str());
        passwords.extend(users.filter(|name| name.ends_with("USERNAME")));
    }
    passwords.sort_unstable();
    let object = json!({
        "Description": found.description,
        "ConnectionType": found.connection_type.as_ref().map(|kind| kind.as_str()),
        "MatchCriteria": found.match_criteria,
        "ConnectionProperties": properties,
        "PhysicalConnectionRequirements": found.physical_connection_requirements.as_ref().map(
            |one| json!({
                "SubnetId": one.subnet_id,
                "SecurityGroupIdList": one.security_group_id_list,
                "AvailabilityZone": one.availability_zone})),
        "Passwords": passwords.join(", "),
        "NotCarried": not_carried(found).join(", "),
    });
    let name = found.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(QueryKind::Connection, name);
    QueryObject {
        created: timestamp(found.creation_time.as_ref()),
        ..QueryObject::normalized(key, fields(object))
    }
}

/// Whether a property holds a password, in itself or in a URL.
fn has_password(name: &str, value: &str) -> bool {
    name.contains("PASSWORD") || value.to_ascii_lowercase().contains("password=")
}

/// The fields that are not written.
fn not_carried(found: &glue::Connection) -> Vec<&'static str> {
    let maps = [
        (
            found.authentication_configuration.is_some(),
            "AuthenticationConfiguration",
        ),
        (
            found.spark_properties.iter().flatten().next().is_some(),
            "SparkProperties",
        ),
        (
            found.athena_properties.iter().flatten().next().is_some(),
            "AthenaProperties",
        ),
        (
            found.python_properties.iter().flatten().next().is_some(),
            "PythonProperties",
        ),
    ];
    maps.into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect()
}

/// What creations and updates of a connection share: an update replaces all of it.
pub(in crate::glue_tools) fn to_connection(
    object: &QueryObject,
) -> Result<glue::ConnectionInput, String> {
    for name in ["Passwords", "NotCarried"] {
        if let Some(names) = object.text(name) {
            return Err(format!("Twinlake does not write {names} of a connection"));
        }
    }
    let value = as_value(&object.fields);
    let kind = text(&value, "ConnectionType");
    let network = value.get("PhysicalConnectionRequirements").map(|one| {
        glue::PhysicalConnectionRequirements::builder()
            .set_subnet_id(text(one, "SubnetId"))
            .set_security_group_id_list(texts(one, "SecurityGroupIdList"))
            .set_availability_zone(text(one, "AvailabilityZone"))
            .build()
    });
    let properties = value.get("ConnectionProperties").and_then(Value::as_object);
    let properties = properties
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let name = glue::ConnectionPropertyKey::from(name.as_str());
            Some((name, value.as_str()?.to_owned()))
        });
    glue::ConnectionInput::builder()
        .name(&object.key.id)
        .set_description(text(&value, "Description"))
        .set_connection_type(kind.as_deref().map(glue::ConnectionType::from))
        .set_match_criteria(texts(&value, "MatchCriteria"))
        .set_connection_properties(Some(properties.collect()))
        .set_physical_connection_requirements(network)
        .build()
        .map_err(|error| error.to_string())
}
