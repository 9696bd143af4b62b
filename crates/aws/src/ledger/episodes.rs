//! The troubles that people are told of.

use super::table::{Item, number, numeric, text, textual, unless_condition};
use super::{DAY_SECS, DynamoLedger};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::BTreeMap;
use twinlake_core::{Episode, Fault};

/// What nobody has found again for so long is forgotten.
const KEPT_SECS: i64 = 14 * DAY_SECS;

/// The trouble that an item holds. One that cannot be read is as good as none, and is
/// replaced.
pub(super) fn episode_of(item: &Item) -> Option<(Episode, u64)> {
    let body = textual(item, "body").and_then(|body| serde_json::from_str(body).ok());
    let version = numeric(item, "version").and_then(|version| u64::try_from(version).ok());
    body.zip(version)
}

/// The condition that an item is still of the version that was read.
fn still(was: Option<u64>) -> (&'static str, Option<BTreeMap<String, AttributeValue>>) {
    match was {
        Some(was) => {
            let values = BTreeMap::from([(":was".to_owned(), number(was))]);
            ("#v = :was", Some(values))
        }
        None => ("attribute_not_exists(#v)", None),
    }
}

impl DynamoLedger {
    pub(super) async fn store_episode(
        &self,
        key: &str,
        episode: &Episode,
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        let body = serde_json::to_string(episode).unwrap_or_default();
        let seen = episode.alert.at.max(episode.sent.unwrap_or_default());
        let expires = number(seen.plus_secs(KEPT_SECS).secs());
        let fields = [("body", text(&body)), ("expires", expires)];
        self.put_version("alerts", key, &fields, was).await
    }

    /// Puts an item that is still of the version that was read.
    pub(super) async fn put_version(
        &self,
        pk: &str,
        sk: &str,
        fields: &[(&str, AttributeValue)],
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        let mut call = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text(pk))
            .item("sk", text(sk))
            .item("version", number(was.map_or(0, |was| was + 1)));
        for (name, value) in fields {
            call = call.item(*name, value.clone());
        }
        let (condition, values) = still(was);
        let call = call
            .condition_expression(condition)
            .expression_attribute_names("#v", "version")
            .set_expression_attribute_values(values.map(|values| values.into_iter().collect()));
        unless_condition(call.send(), &self.region).await
    }

    /// Deletes an item that is still of the version that was read.
    pub(super) async fn drop_version(
        &self,
        pk: &str,
        sk: &str,
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text(sk));
        let (condition, values) = still(was);
        let call = call
            .condition_expression(condition)
            .expression_attribute_names("#v", "version")
            .set_expression_attribute_values(values.map(|values| values.into_iter().collect()));
        unless_condition(call.send(), &self.region).await
    }
}
