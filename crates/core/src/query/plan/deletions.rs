//! Plans the deletion of what the primary no longer has, once that is proven.

use super::{Planner, QueryStep};
use crate::plan::FindingKind;
use crate::policy::DeletionPolicy;
use crate::query::external_schema;
use crate::query::object::ObjectKey;
use crate::query::row::QueryRow;
use crate::query::rules::{ControlObject, QueryKind};
use crate::snapshot::Observation;
use std::collections::BTreeSet;

impl Planner<'_> {
    pub(super) fn deletions(&mut self) {
        let inputs = self.inputs;
        let covered = inputs.rows.iter();
        let covered = covered.filter(|(key, _)| key.is_covered(inputs.query));
        for (key, row) in covered {
            match inputs.primary.objects.get(key) {
                Some(Observation::Present(_) | Observation::Unknown(_)) => {}
                Some(Observation::Absent(proof)) if proof.is_complete() => self.gone(key, row),
                Some(Observation::Absent(_)) if self.is_gone_from_standby(key, row) => {
                    self.plan.forgotten.insert(key.clone());
                }
                Some(Observation::Absent(proof)) => {
                    let reason = match &proof.read_error {
                        Some(error) => error.to_string(),
                        None if key.kind.rules().control == ControlObject::PairedSibling => {
                            format!(
                                "no other {} is listed there that is paired, and was before this one was missed, so it may \
                             be another database; if it was dropped, drop that of the standby yourself",
                                key.kind
                            )
                        }
                        None if key.kind.rules().control.is_sibling() => format!(
                            "no other {} is listed; if it was the last one, delete that of the standby yourself",
                            key.kind
                        ),
                        None => "its listing does not show everything".to_owned(),
                    };
                    let detail = format!(
                        "the primary does not return it, which does not prove that it was deleted: {reason}"
                    );
                    self.find(
                        FindingKind::Unreadable,
                        (Some(key), &row.description),
                        detail,
                    );
                }
                None => self.ask(key),
            }
        }
        self.keep_workflows_with_triggers();
    }

    /// Keeps each workflow of which the standby has a trigger that is not deleted before it.
    fn keep_workflows_with_triggers(&mut self) {
        let standby = self.inputs.standby;
        let steps = std::mem::take(&mut self.plan.steps);
        let deleted = |key: &ObjectKey| {
            let mut steps = steps.iter();
            steps.any(
                |step| matches!(step, QueryStep::Delete { current, .. } if current.key == *key),
            )
        };
        let keeps = |workflow: &ObjectKey| {
            let mut triggers = standby.objects.iter();
            let is_left = triggers.any(|(key, found)| match found {
                Observation::Present(found) => {
                    key.kind == QueryKind::Trigger
                        && found.text("WorkflowName") == Some(&*workflow.id)
                        && !deleted(key)
                }
                Observation::Unknown(_) => key.kind == QueryKind::Trigger,
                Observation::Absent(_) => false,
            });
            let trigger = ObjectKey::new(QueryKind::Trigger, "");
            is_left || standby.listing_error(&trigger).is_some()
        };
        let (kept, left): (Vec<QueryStep>, Vec<QueryStep>) =
            steps.iter().cloned().partition(|step| match step {
                QueryStep::Delete { current, .. } => {
                    current.key.kind == QueryKind::Workflow && keeps(&current.key)
                }
                QueryStep::Create { .. }
                | QueryStep::Update { .. }
                | QueryStep::SetTags { .. }
                | QueryStep::Narrow { .. }
                | QueryStep::Sleep { .. } => false,
            });
        self.plan.steps = left;
        for step in kept {
            let key = step.primary();
            let detail = "the primary no longer has it, and the standby's has triggers that stay, or may: delete them, \
                          and it is deleted";
            self.find(
                FindingKind::Unmanaged,
                (Some(key), &key.to_string()),
                detail,
            );
        }
    }

    /// Whether the standby does not have it either, so that its row says nothing any more: of kinds whose absence only
    /// another object proves.
    fn is_gone_from_standby(&self, key: &ObjectKey, row: &QueryRow) -> bool {
        let standby = row.key_in(self.inputs.epoch.standby()).unwrap_or(key);
        let snapshot = self.inputs.standby;
        key.kind.rules().control.is_sibling()
            && !snapshot.objects.contains_key(standby)
            && snapshot.listing_error(standby).is_none()
    }

    /// Asks for a read by name, of the workgroup as well if that is not listed.
    fn ask(&mut self, key: &ObjectKey) {
        if self.inputs.primary.listing_error(key).is_some() {
            // The listing is reported; nothing is decided without it.
            return;
        }
        if let Some(parent) = key.parent_key()
            && !self.inputs.primary.objects.contains_key(&parent)
        {
            self.plan.needs.insert(parent);
            return;
        }
        self.plan.needs.insert(key.clone());
    }

    fn gone(&mut self, key: &ObjectKey, row: &QueryRow) {
        let inputs = self.inputs;
        let about = (Some(key), row.description.as_str());
        let paired = row.pairing.as_ref().and(row.key_in(inputs.epoch.standby()));
        let Some(standby) = paired else {
            self.forget(key, row);
            return;
        };
        let current = match inputs.standby.objects.get(standby) {
            Some(Observation::Present(object)) => {
                if !row.pairs(inputs.epoch.standby(), object) {
                    // Somebody made another one of this name.
                    self.forget(key, row);
                    return;
                }
                object
            }
            Some(Observation::Unknown(error)) => {
                self.unread(key, "the standby", error);
                return;
            }
            Some(Observation::Absent(_)) | None => {
                if inputs.standby.listing_error(standby).is_none() {
                    self.plan.forgotten.insert(key.clone());
                }
                return;
            }
        };
        if let Some(held) = inputs.held.get(key) {
            self.find(FindingKind::OnHold, about, held.reason.clone());
            return;
        }
        if let Some(reason) = external_schema::unnameable(standby) {
            let detail = format!("the primary no longer has it, and {reason}: drop it yourself");
            self.find(FindingKind::OnHold, about, detail);
            return;
        }
        if self.is_of_earlier_primary(key, current) {
            let detail = "the primary does not have it, and it was changed in the standby while that Region was \
                          the primary: create it in the primary, or delete the standby's";
            self.find(FindingKind::Unmanaged, about, detail);
            return;
        }
        if inputs.policy.deletions == DeletionPolicy::Retain {
            let detail = "the primary no longer has it, and `deletions = \"retain\"` keeps it";
            self.find(FindingKind::OnHold, about, detail);
            return;
        }
        let is_held = |other: &ObjectKey| other.parent_key().as_ref() == Some(key);
        if key.kind == QueryKind::WorkGroup && inputs.held.keys().any(is_held) {
            let detail = "the primary no longer has it, and what is in it is held";
            self.find(FindingKind::OnHold, about, detail);
            return;
        }
        if key.kind == QueryKind::WorkGroup && self.has_others(standby) {
            let detail = "the primary no longer has it, and the standby's holds queries or statements that \
                          Twinlake does not manage: move or delete them, and it is deleted";
            self.find(FindingKind::Unmanaged, about, detail);
            return;
        }
        self.plan.steps.push(QueryStep::Delete {
            primary: key.clone(),
            current: Box::new(current.clone()),
        });
    }

    /// Forgets a row that pairs nothing, unless what it names runs by itself in the standby, or may: the row is what it is
    /// put to sleep by.
    fn forget(&mut self, key: &ObjectKey, row: &QueryRow) {
        let inputs = self.inputs;
        let standby = row.standby_key(inputs.epoch, key);
        let may_run = match inputs.standby.objects.get(standby) {
            Some(Observation::Present(found)) => {
                found.is_awake() && row.may_narrow(inputs.epoch.standby(), found)
            }
            Some(Observation::Unknown(_)) => true,
            Some(Observation::Absent(_)) | None => inputs.standby.listing_error(standby).is_some(),
        };
        if !(key.kind.is_put_to_sleep() && may_run) {
            self.plan.forgotten.insert(key.clone());
        }
    }

    /// Whether a workgroup of the standby holds something that no row pairs, or that cannot be listed.
    fn has_others(&self, workgroup: &ObjectKey) -> bool {
        let standby = self.inputs.standby;
        let (rows, site) = (self.inputs.rows.values(), self.inputs.epoch.standby());
        let is_paired = |row: &QueryRow, key: &ObjectKey| {
            let found = standby.present(key);
            found.is_none_or(|object| row.pairs(site, object))
        };
        let paired: BTreeSet<&ObjectKey> = rows
            .filter(|row| row.pairing.is_some())
            .filter_map(|row| row.key_in(site).filter(|key| is_paired(row, key)))
            .collect();
        let is_inside = |key: &&ObjectKey| key.parent_key().as_ref() == Some(workgroup);
        let mut inside = standby.objects.keys().filter(is_inside);
        let unlisted = [QueryKind::NamedQuery, QueryKind::PreparedStatement]
            .into_iter()
            .any(|kind| {
                let key = ObjectKey::within(kind, &workgroup.id, "");
                standby.listing_error(&key).is_some()
            });
        unlisted || inside.any(|key| !paired.contains(key))
    }
}
