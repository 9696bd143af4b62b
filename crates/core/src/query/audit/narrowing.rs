//! A step that narrows takes away, and nothing else; and nothing is given to anybody as long as such a step is left.

use super::{Auditor, Check, refuse};
use crate::audit::AuditRule;
use crate::query::object::{Fields, ObjectKey, QueryObject};
use crate::query::plan::QueryStep;
use crate::query::rules::QueryKind;
use serde_json::Value;

/// The grants of an external schema as read, of kinds that are known.
fn grants(object: &QueryObject) -> Vec<Value> {
    let grants = object.field("Grants").and_then(Value::as_array);
    grants.cloned().unwrap_or_default()
}

fn without(object: &QueryObject, names: &[&str]) -> Fields {
    let mut fields = object.fields.clone();
    fields.retain(|name, _| !names.contains(&name.as_str()));
    fields
}

impl Auditor<'_> {
    pub(super) fn check_narrowing(
        &self,
        primary: &ObjectKey,
        (current, object): (&QueryObject, &QueryObject),
    ) -> Check {
        let row = self.inputs.rows.get(primary);
        let found = self.inputs.standby.present(&current.key);
        if found != Some(current) || object.key != current.key {
            return refuse(AuditRule::NotManaged, "it is not what was read");
        }
        let site = self.inputs.epoch.standby();
        if !row.is_some_and(|row| row.may_narrow(site, current)) {
            return refuse(AuditRule::NotManaged, "no row of the ledger pairs it");
        }
        let Some(original) = self.inputs.primary.present(primary) else {
            return refuse(AuditRule::Unproven, "the primary's object was not read");
        };
        let takes_away_only = match current.key.kind {
            QueryKind::ExternalSchema => takes_grants_away(original, (current, object)),
            QueryKind::WorkGroup => {
                original.text("State") == Some("DISABLED")
                    && object.text("State") == Some("DISABLED")
                    && without(object, &["State"]) == without(current, &["State"])
            }
            QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::Crawler
            | QueryKind::Trigger => false,
        };
        match takes_away_only && object.tags == current.tags {
            true => Ok(()),
            false => refuse(
                AuditRule::Altered,
                "it would change something else than to take away what the primary's does not give",
            ),
        }
    }

    /// Whether a step gives access to an object that gives more than the primary's, before what takes that away.
    pub(super) fn is_widened_too_early(&self, at: usize, step: &QueryStep) -> bool {
        let QueryStep::Update {
            primary, current, ..
        } = step
        else {
            return false;
        };
        if current.key.kind != QueryKind::ExternalSchema {
            return false;
        }
        let given = self.inputs.primary.present(primary).map(grants);
        let given = given.unwrap_or_default();
        let is_excess = |found: &QueryObject| grants(found).iter().any(|one| !given.contains(one));
        let is_narrowed = |earlier: &QueryStep| matches!(earlier, QueryStep::Narrow { primary: narrowed, .. } if narrowed == primary);
        let found = self.inputs.standby.present(&current.key);
        let needs_narrowing = found.is_some_and(is_excess);
        let earlier = &self.plan.steps.get(..at).unwrap_or_default();
        is_excess(current) || (needs_narrowing && !earlier.iter().any(is_narrowed))
    }
}

/// Whether the only difference is that grants are gone which the primary's lacks, and an owner that it does not have.
fn takes_grants_away(
    original: &QueryObject,
    (current, object): (&QueryObject, &QueryObject),
) -> bool {
    let (given, found, left) = (grants(original), grants(current), grants(object));
    let mut taken = found.iter().filter(|grant| !left.contains(grant));
    let owner_stays = object.text("Owner") == current.text("Owner");
    let owner_goes = object.text("Owner").is_none()
        && original.field("Unread.Owner").is_none()
        && original.text("Owner") != current.text("Owner");
    let others = ["Grants", "Owner"];
    left.iter().all(|grant| found.contains(grant))
        && taken.all(|grant| !given.contains(grant))
        && (owner_stays || owner_goes)
        && without(object, &others) == without(current, &others)
}
