//! Incidents in the ledger's table, and writes and deletions on the condition of an item's version.

use super::items::{
    EXPIRES_AT, FORMAT, Item, condition_held, number_attribute, number_value, string_attribute,
    string_value,
};
use super::{DAY_SECS, DynamoLedger};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use twinlake_core::ledger::format;
use twinlake_core::{CallError, Incident};

/// Retention of an incident after it was last found.
const RETENTION_SECS: i64 = 14 * DAY_SECS;

/// The incident of an item and its version. An incident that cannot be parsed counts as missing and
/// is replaced.
pub(super) fn parse_incident(item: &Item) -> Option<(Incident, u64)> {
    let body = string_attribute(item, "body").and_then(|body| serde_json::from_str(body).ok());
    let version = number_attribute(item, "version").and_then(|version| u64::try_from(version).ok());
    body.zip(version)
}

/// The condition that an item still has the expected version, or does not exist.
fn version_condition(
    expected_version: Option<u64>,
) -> (&'static str, Option<BTreeMap<String, AttributeValue>>) {
    match expected_version {
        Some(expected_version) => {
            let values = BTreeMap::from([(":expected".to_owned(), number_value(expected_version))]);
            ("#v = :expected", Some(values))
        }
        None => ("attribute_not_exists(#v)", None),
    }
}

impl DynamoLedger {
    /// Stores an incident if it still has the expected version, or if `None` is expected and it
    /// does not exist. Returns whether it was stored.
    pub(super) async fn put_incident_item(
        &self,
        key: &str,
        incident: &Incident,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let body = serde_json::to_string(incident).unwrap_or_default();
        let last_found = incident
            .alert
            .detected_at
            .max(incident.last_sent.unwrap_or_default());
        let expires = number_value(last_found.plus_secs(RETENTION_SECS).secs());
        let fields = [("body", string_value(&body)), (EXPIRES_AT, expires)];
        self.put_if_version("incidents", key, &fields, expected_version)
            .await
    }

    /// Deletes an incident if it still has the expected version. Returns whether it was deleted.
    pub(super) async fn delete_incident_item(
        &self,
        key: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.delete_if_version("incidents", key, expected_version)
            .await
    }

    /// Returns a record that is stored as JSON, and its version.
    pub(super) async fn versioned_meta<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<(T, u64)>, CallError> {
        let Some(item) = self.get_item("meta", key).await? else {
            return Ok(None);
        };
        let body = string_attribute(&item, "body").and_then(|body| serde_json::from_str(body).ok());
        let version = number_attribute(&item, "version");
        let version = version.and_then(|version| u64::try_from(version).ok());
        let stored = body.zip(version);
        stored
            .map(Some)
            .ok_or_else(|| self.unreadable_error(key, &item))
    }

    /// Stores a record as JSON if it still has the expected version, as [`Self::put_if_version`] does.
    pub(super) async fn put_versioned_meta<T: Serialize>(
        &self,
        key: &str,
        record: &T,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let body = serde_json::to_string(record).unwrap_or_default();
        let fields = [("body", string_value(&body))];
        self.put_if_version("meta", key, &fields, expected_version)
            .await
    }

    /// Stores an item if it still has the expected version, or if `None` is expected and it does
    /// not exist. Returns whether it was stored.
    pub(super) async fn put_if_version(
        &self,
        pk: &str,
        sk: &str,
        fields: &[(&str, AttributeValue)],
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let next = expected_version.map_or(0, |version| version + 1);
        self.put_version(pk, sk, fields, (expected_version, next))
            .await
    }

    /// Stores an item with the version `next` if it still has the expected version.
    pub(super) async fn put_version(
        &self,
        pk: &str,
        sk: &str,
        fields: &[(&str, AttributeValue)],
        (expected_version, next): (Option<u64>, u64),
    ) -> Result<bool, CallError> {
        let mut call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", string_value(pk))
            .item("sk", string_value(sk))
            .item(FORMAT, number_value(format::LEDGER))
            .item("version", number_value(next));
        for (name, value) in fields {
            call = call.item(*name, value.clone());
        }
        let (condition, values) = version_condition(expected_version);
        let call = call
            .condition_expression(condition)
            .expression_attribute_names("#v", "version")
            .set_expression_attribute_values(values.map(|values| values.into_iter().collect()));
        condition_held("PutItem", call.send(), &self.region).await
    }

    /// Deletes an item if it still has the expected version. Returns whether it was deleted.
    pub(super) async fn delete_if_version(
        &self,
        pk: &str,
        sk: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("pk", string_value(pk))
            .key("sk", string_value(sk));
        let (condition, values) = version_condition(expected_version);
        let call = call
            .condition_expression(condition)
            .expression_attribute_names("#v", "version")
            .set_expression_attribute_values(values.map(|values| values.into_iter().collect()));
        condition_held("DeleteItem", call.send(), &self.region).await
    }
}
