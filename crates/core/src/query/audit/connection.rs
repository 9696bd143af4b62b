//! A connection names the replica of a secret, and networks that the policy pairs; it never has a password.

use super::{Auditor, Check, leaves, refuse};
use crate::audit::AuditRule;
use crate::query::object::QueryObject;
use crate::query::rules::QueryKind;
use serde_json::Value;

/// The properties that name a secret of Secrets Manager.
pub(super) const SECRET_PROPERTIES: [&str; 2] = [
    "ConnectionProperties.SECRET_ID",
    "ConnectionProperties.KAFKA_SASL_SCRAM_SECRETS_ARN",
];

impl Auditor<'_> {
    pub(super) fn check_connection(&self, original: &QueryObject, object: &QueryObject) -> Check {
        if object.key.kind != QueryKind::Connection {
            return Ok(());
        }
        let has_more = ["Passwords", "NotCarried"]
            .into_iter()
            .any(|name| object.field(name).is_some());
        if has_more {
            return refuse(
                AuditRule::Altered,
                "a connection with a password is not made",
            );
        }
        for path in SECRET_PROPERTIES {
            let wanted = original.text(path).map(|text| self.replica_of(text));
            if wanted.as_deref() != object.text(path) {
                return refuse(
                    AuditRule::Altered,
                    format!("{path} is not the replica of the primary's secret"),
                );
            }
        }
        let (theirs, ours) = (network_ids(original), network_ids(object));
        let (from, to) = (self.inputs.epoch.primary(), self.inputs.epoch.standby());
        let is_paired = |(theirs, ours): (&String, &String)| {
            let mut pairs = self.inputs.query.networks.iter();
            pairs.any(|pair| pair.get(from) == theirs && pair.get(to) == ours)
        };
        match theirs.len() == ours.len() && theirs.iter().zip(&ours).all(is_paired) {
            true => Ok(()),
            false => refuse(
                AuditRule::Altered,
                "it names a network that no pair gives for the primary's",
            ),
        }
    }

    /// The name of a secret, or its ARN in the other Region.
    fn replica_of(&self, text: &str) -> String {
        let site = self.inputs.policy.standby(self.inputs.epoch);
        let mut parts: Vec<&str> = text.split(':').collect();
        if let ["arn", _, _, region, account, ..] = parts.as_mut_slice() {
            *region = &site.region;
            *account = &site.account;
        }
        parts.join(":")
    }
}

/// The ids of subnets, security groups and availability zones, in order.
fn network_ids(object: &QueryObject) -> Vec<String> {
    let fields = object.comparable().into_iter();
    let network = fields.filter(|(name, _)| name == "PhysicalConnectionRequirements");
    let found = leaves(&network.collect()).into_iter();
    found.flat_map(|(_, value)| texts(&value)).collect()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
