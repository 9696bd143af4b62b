//! Converts the tools of Glue between the SDK's types and JSON with AWS's field names.
//!
//! Glue keeps what an update leaves out, so an update of a crawler or classifier names every field that it may
//! unset. What Glue fills in by itself equals an unset field.

mod classifier;
mod connection;
mod crawler;
mod job;
mod security_configuration;
#[cfg(test)]
mod tests;
mod trigger;
mod workflow;

pub(super) use classifier::{from_classifier, to_changed_classifier, to_new_classifier};
pub(super) use connection::{from_connection, to_connection};
pub(super) use crawler::{from_crawler, to_changed_crawler, to_new_crawler};
pub(super) use job::{from_job, to_job};
pub(super) use security_configuration::{from_security_configuration, to_encryption_configuration};
pub(super) use trigger::{from_trigger, to_trigger, trigger_type, workflow_name};
pub(super) use workflow::{from_workflow, to_workflow};

use aws_smithy_types::DateTime;
use serde_json::Value;
use twinlake_core::Timestamp;
use twinlake_core::arn::Arn;
use twinlake_core::query::Fields;

fn timestamp(at: Option<&DateTime>) -> Option<Timestamp> {
    at.and_then(|at| at.to_millis().ok())
        .map(Timestamp::from_millis)
}

/// The fields of an object.
fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields.into_iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Fields::new()
        }
    }
}

/// A text, unless it is the one that Glue fills in.
fn unless_default<'t>(text: Option<&'t str>, default: &str) -> Option<&'t str> {
    text.filter(|text| *text != default)
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn texts(value: &Value, name: &str) -> Option<Vec<String>> {
    let texts = value.get(name)?.as_array()?.iter();
    Some(texts.filter_map(Value::as_str).map(str::to_owned).collect())
}

fn number(value: &Value, name: &str) -> Option<i32> {
    let number = value.get(name)?.as_i64()?;
    i32::try_from(number).ok()
}

fn flag(value: &Value, name: &str) -> Option<bool> {
    value.get(name).and_then(Value::as_bool)
}

/// A role by its name with its path: Glue takes and answers either that or the ARN, and a role of its own account
/// only.
fn role_name(role: &str) -> &str {
    let arn = Arn::parse(role).filter(|arn| arn.service == "iam");
    let name = arn.and_then(|arn| arn.resource.strip_prefix("role/"));
    name.unwrap_or(role)
}

/// A map of texts by their names, such as arguments.
fn texts_to_json<'t>(found: Option<impl IntoIterator<Item = (&'t String, &'t String)>>) -> Value {
    let texts = found.into_iter().flatten();
    let texts = texts.map(|(name, value)| (name.clone(), Value::String(value.clone())));
    Value::Object(texts.collect())
}

/// A map of texts in the type that the SDK takes; `None` if there is none.
fn text_map<M: FromIterator<(String, String)>>(value: &Value, name: &str) -> Option<M> {
    let texts = value.get(name)?.as_object()?.iter();
    let texts = texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Some(texts.collect())
}

/// The entries of a list, each converted; `None` if there is no list.
fn entries<T>(value: &Value, name: &str, convert: impl Fn(&Value) -> T) -> Option<Vec<T>> {
    let entries = value.get(name)?.as_array()?;
    Some(entries.iter().map(convert).collect())
}

/// All fields as one value.
fn as_value(fields: &Fields) -> Value {
    Value::Object(fields.clone().into_iter().collect())
}
