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
use twinlake_engine::ports::{next_version, next_version_of_permanent_item};

/// Retention of an incident after it was last found.
const RETENTION_SECS: i64 = 14 * DAY_SECS;

/// The incident of an item and its version. An incident that cannot be parsed counts as missing, is replaced by
/// a new alert with its key, and is reported until then ([`Ledger::unreadable_incidents`]).
///
/// [`Ledger::unreadable_incidents`]: twinlake_engine::Ledger::unreadable_incidents
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
        self.put_readable(
            "incidents",
            key,
            (&fields, expected_version),
            parse_incident,
        )
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

    /// Stores a record as JSON if it still has the expected version, or if `None` is expected and it does not
    /// exist. Returns whether it was stored. Such a record is never deleted, so its versions begin at 0.
    pub(super) async fn put_versioned_meta<T: Serialize>(
        &self,
        key: &str,
        record: &T,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let body = serde_json::to_string(record).unwrap_or_default();
        let fields = [("body", string_value(&body))];
        let next = next_version_of_permanent_item(expected_version);
        self.put_version("meta", key, &fields, (expected_version, next))
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
        let next = next_version(expected_version);
        self.put_version(pk, sk, fields, (expected_version, next))
            .await
    }

    /// Stores an item as [`Self::put_if_version`] does. One that `parse` cannot read was read as none, so it is
    /// replaced where `None` is expected.
    pub(super) async fn put_readable<T>(
        &self,
        pk: &str,
        sk: &str,
        (fields, expected_version): (&[(&str, AttributeValue)], Option<u64>),
        parse: impl Fn(&Item) -> Option<T>,
    ) -> Result<bool, CallError> {
        let is_stored = self
            .put_if_version(pk, sk, fields, expected_version)
            .await?;
        if is_stored || expected_version.is_some() {
            return Ok(is_stored);
        }
        let stored = self.get_item(pk, sk).await?;
        let unreadable = stored.filter(|item| parse(item).is_none());
        let version = unreadable.and_then(|item| number_attribute(&item, "version"));
        match version.and_then(|version| u64::try_from(version).ok()) {
            Some(version) => self.put_if_version(pk, sk, fields, Some(version)).await,
            None => Ok(false),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};
    use twinlake_core::ledger::PendingObjects;
    use twinlake_core::{Alert, AlertKind, Name, TableId, Timestamp};
    use twinlake_engine::alerts::alerts_of_unreadable_incidents;
    use twinlake_engine::ports::DocumentStore as _;
    use twinlake_engine::{Ledger as _, StatsStore as _};

    /// A table that puts and deletes items on the condition of their version, and has one item at most.
    #[derive(Clone, Debug, Default)]
    struct OneItemTable(Arc<Mutex<Option<Value>>>);

    impl OneItemTable {
        /// The version of its item.
        fn version(&self) -> Option<u64> {
            let item = self.0.lock().unwrap();
            let version = item.as_ref()?["version"]["N"].as_str()?;
            Some(version.parse().unwrap())
        }

        fn answer(&self, request: &Value) -> (u16, Value) {
            let Some(condition) = request["ConditionExpression"].as_str() else {
                let item = self.0.lock().unwrap().clone();
                return (200, json!({"Item": item, "Items": [item]}));
            };
            let stored = self.version().map(|version| version.to_string());
            let expected = match condition {
                "#v = :expected" => request["ExpressionAttributeValues"][":expected"]["N"].as_str(),
                "attribute_not_exists(#v)" => None,
                other => panic!("{other}"),
            };
            if stored.as_deref() != expected {
                let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                return (400, json!({"__type": kind, "message": "x"}));
            }
            *self.0.lock().unwrap() = request.get("Item").cloned();
            (200, json!({}))
        }
    }

    impl HttpConnector for OneItemTable {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let request = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let (status, body) = self.answer(&request);
            HttpConnectorFuture::ready(Ok(HttpResponse::new(
                status.try_into().unwrap(),
                SdkBody::from(body.to_string()),
            )))
        }
    }

    fn ledger_on(table: &OneItemTable) -> DynamoLedger {
        let connector = SharedHttpConnector::new(table.clone());
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        DynamoLedger {
            region: "us-east-1".to_owned(),
            table: "ledger".to_owned(),
            client: aws_sdk_dynamodb::Client::from_conf(config),
        }
    }

    /// One session reads, another one deletes the item and makes it again, and the first one writes.
    #[tokio::test]
    async fn what_rests_on_a_deleted_item_is_not_written_to_the_one_made_after_it() {
        let name = |text| Name::new(text).unwrap();
        let id = TableId::new(name("sales"), name("orders"));
        let pending = PendingObjects::default();
        for is_document in [true, false] {
            let table = OneItemTable::default();
            let ledger = ledger_on(&table);
            let write = async |is_kept: bool, expected| {
                let written = match is_document {
                    true => {
                        let document = is_kept.then_some("{}");
                        ledger.put_document("query", "x", document, expected).await
                    }
                    false => {
                        let pending = is_kept.then_some(&pending);
                        ledger.put_pending_objects(&id, pending, expected).await
                    }
                };
                written.unwrap()
            };
            assert!(write(true, None).await);
            let read = table.version();
            assert!(write(false, read).await && write(true, None).await);
            let made_again = table.version();
            assert!(!write(true, read).await && !write(false, read).await);
            assert_eq!(table.version(), made_again);
            assert!(write(true, made_again).await);
            assert_eq!(table.version(), made_again.map(|version| version + 1));
        }
    }

    #[tokio::test]
    async fn an_incident_that_cannot_be_parsed_is_named_with_its_removal_and_one_that_can_is_not() {
        let table = OneItemTable::default();
        let ledger = ledger_on(&table);
        let sentences = ["a", "b", "c"].map(str::to_owned);
        let now = Timestamp::from_secs(1);
        let alert = Alert::new(AlertKind::Drift, "us-east-1", "sales", sentences, now);
        let incident = Incident::mirror_peer(alert);
        assert!(
            ledger
                .put_incident("KEY", Some(&incident), None)
                .await
                .unwrap()
        );
        assert_eq!(ledger.unreadable_incidents().await, Ok(BTreeMap::new()));
        assert_eq!(ledger.incidents().await.unwrap().len(), 1);
        table.0.lock().unwrap().as_mut().unwrap()["body"] = json!({"S": "{"});
        let unreadable = ledger.unreadable_incidents().await.unwrap();
        let command = unreadable.get("KEY").unwrap();
        for part in [
            "delete-item",
            "us-east-1",
            "ledger",
            "\"incidents\"",
            "\"KEY\"",
        ] {
            assert!(command.contains(part), "{command}");
        }
        let alerts = alerts_of_unreadable_incidents(&ledger, "us-east-1", now).await;
        let [alert]: [Alert; 1] = alerts.unwrap().try_into().unwrap();
        assert_eq!(alert.kind, AlertKind::ReadFailed);
        assert!(alert.action.contains(command), "{}", alert.action);
        assert_eq!(ledger.incidents().await, Ok(BTreeMap::new()));
    }

    /// What a run decides from managed keys that it read before another one wrote them, it does not write.
    #[tokio::test]
    async fn managed_keys_are_written_by_one_call_on_the_condition_of_their_version() {
        use twinlake_core::LfSubject;

        let table = OneItemTable::default();
        let ledger = ledger_on(&table);
        let put = async |keys: &[&str], expected| {
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            let put = ledger.put_managed_keys(LfSubject::LfTags, &keys, expected);
            put.await.unwrap()
        };
        assert!(put(&["a", "b"], None).await);
        assert!(!put(&["c"], None).await);
        assert!(put(&["b", "c"], Some(0)).await);
        assert!(!put(&["a"], Some(0)).await);
        let stored = || table.0.lock().unwrap().clone().unwrap();
        assert_eq!(stored()["managed_keys"], json!({"SS": ["b", "c"]}));
        // DynamoDB has no empty set, and the item keeps its version.
        assert!(put(&[], Some(1)).await);
        assert_eq!(stored().get("managed_keys"), None);
        assert_eq!(table.version(), Some(2));
        // An item of an earlier version of Twinlake has none.
        table
            .0
            .lock()
            .unwrap()
            .as_mut()
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("version");
        assert!(put(&["d"], None).await);
        assert_eq!(table.version(), Some(0));
    }

    /// It was read as none: whoever expects none must not be refused for ever.
    #[tokio::test]
    async fn an_item_that_cannot_be_parsed_is_replaced_and_one_that_can_is_not() {
        let name = |text| Name::new(text).unwrap();
        let id = TableId::new(name("sales"), name("orders"));
        let pending = PendingObjects::default();
        let table = OneItemTable::default();
        let ledger = ledger_on(&table);
        let put = async |expected| {
            let put = ledger.put_pending_objects(&id, Some(&pending), expected);
            put.await.unwrap()
        };
        assert!(put(None).await);
        assert!(!put(None).await, "it can be parsed");
        let read = table.version();
        let broken = |item: &mut Value| item["body"] = json!({"S": "{"});
        broken(table.0.lock().unwrap().as_mut().unwrap());
        assert_eq!(ledger.pending_objects(&id).await, Ok(None));
        assert!(put(None).await);
        assert_eq!(table.version(), read.map(|version| version + 1));
        let (stored, _) = ledger.pending_objects(&id).await.unwrap().unwrap();
        assert_eq!(stored, pending);
    }
}
