//! An external schema of the standby reads the standby's catalog, with the primary's roles or those that a pair gives
//! for them.

use super::{Auditor, Check, refuse};
use crate::audit::AuditRule;
use crate::query::object::{ObjectKey, QueryObject};
use crate::query::rules::QueryKind;
use serde_json::Value;

impl Auditor<'_> {
    pub(super) fn check_external_schema(&self, primary: &ObjectKey, object: &QueryObject) -> Check {
        if object.key.kind != QueryKind::ExternalSchema {
            return Ok(());
        }
        let region_of = |site| self.inputs.policy.sites.get(site).region.as_str();
        let original = self.inputs.primary.present(primary);
        let epoch = self.inputs.epoch;
        let read_there = original.and_then(|original| original.text("Region"));
        if read_there != Some(region_of(epoch.primary()))
            || object.text("Region") != Some(region_of(epoch.standby()))
        {
            return refuse(
                AuditRule::Altered,
                "it would not read the catalog of its own Region, as the primary's does",
            );
        }
        let is_unread = |object: &QueryObject| object.field("Unread").is_some();
        if original.is_some_and(is_unread) || is_unread(object) {
            return refuse(AuditRule::Unproven, "a part of it could not be read");
        }
        let grants = object.field("Grants").and_then(Value::as_array);
        let mut kinds = grants.into_iter().flatten().map(|grant| grant.get("Type"));
        if !kinds.all(|kind| {
            matches!(
                kind.and_then(Value::as_str),
                Some("public" | "user" | "role" | "group")
            )
        }) {
            return refuse(
                AuditRule::Altered,
                "it grants to a grantee of a kind that is not known",
            );
        }
        if original.is_none_or(|original| original.field("OtherOptions").is_some()) {
            return refuse(AuditRule::Altered, "it has options that are not known");
        }
        for field in ["IamRole", "CatalogRole"] {
            let there = original.and_then(|original| original.text(field));
            if !self.has_roles_of(there, object.text(field)) {
                return refuse(
                    AuditRule::Altered,
                    format!(
                        "its {field} is neither that of the primary's nor the one that a pair gives for it"
                    ),
                );
            }
        }
        Ok(())
    }

    fn has_roles_of(&self, there: Option<&str>, here: Option<&str>) -> bool {
        let (Some(there), Some(here)) = (there, here) else {
            return there == here;
        };
        let (from, to) = (self.inputs.epoch.primary(), self.inputs.epoch.standby());
        let is_counterpart = |(one, other): (&str, &str)| {
            let mut pairs = self.inputs.policy.principals.iter();
            match pairs.find(|pair| pair.get(from) == one) {
                Some(pair) => pair.get(to) == other,
                None => one == other,
            }
        };
        let count = |text: &str| text.split(',').count();
        count(there) == count(here) && there.split(',').zip(here.split(',')).all(is_counterpart)
    }
}

#[cfg(test)]
mod tests;
