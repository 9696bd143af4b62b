//! Plans what only the tools of Glue need: sleep, and that what they name exists in the standby.

use super::{Planner, QueryStep, RUNS_BY_ITSELF, failed_read};
use crate::plan::FindingKind;
use crate::query::glue_tools::References;
use crate::query::object::{ObjectKey, QueryObject};
use crate::snapshot::Observation;
use crate::topology::Epoch;
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Plans sleep for what is Twinlake's and runs by itself in the standby, whatever becomes of it otherwise.
    pub(super) fn put_to_sleep(&mut self) {
        let inputs = self.inputs;
        let site = inputs.epoch.standby();
        for (key, row) in inputs.rows {
            if !key.is_covered(inputs.query) || self.holds_narrowing(key) {
                continue;
            }
            let found = inputs.standby.present(row.standby_key(inputs.epoch, key));
            let is_own = |found: &&QueryObject| row.may_narrow(site, found);
            let Some(found) = found.filter(is_own).filter(|found| found.is_awake()) else {
                continue;
            };
            let step = QueryStep::Sleep {
                primary: key.clone(),
                standby: found.key.clone(),
            };
            self.plan.findings.extend(step.finding());
            self.plan.steps.push(step);
        }
    }

    /// Reports each crawler and trigger of the standby that runs by itself there, and that no step puts to sleep. After
    /// a switch, the standby is the former primary: what it goes on writing there, somebody should know.
    pub(super) fn report_awake(&mut self) {
        let inputs = self.inputs;
        let steps = self.plan.steps.iter();
        let sleeps: BTreeSet<ObjectKey> = steps
            .filter_map(|step| match step {
                QueryStep::Sleep { standby, .. } => Some(standby.clone()),
                QueryStep::Create { .. }
                | QueryStep::Update { .. }
                | QueryStep::SetTags { .. }
                | QueryStep::Narrow { .. }
                | QueryStep::Delete { .. } => None,
            })
            .collect();
        let has_switched = inputs.epoch.switches_since(Epoch::INITIAL) > 0;
        for (key, observation) in &inputs.standby.objects {
            let may_run = match observation {
                Observation::Present(object) => object.is_awake(),
                Observation::Unknown(_) => key.kind.is_put_to_sleep(),
                Observation::Absent(_) => false,
            };
            if !may_run || !key.is_covered(inputs.query) || sleeps.contains(key) {
                continue;
            }
            self.plan.awake.insert(key.clone());
            if self.is_told_to_be_awake(key) {
                continue;
            }
            if let Observation::Unknown(error) = observation {
                self.unread(key, "the standby", error);
                continue;
            }
            let kind = match has_switched {
                true => FindingKind::Unmanaged,
                false => FindingKind::Note,
            };
            let detail = format!(
                "{RUNS_BY_ITSELF}, and Twinlake does not manage it: stop it there, unless it should run"
            );
            let is_replicated = inputs.primary.objects.contains_key(key);
            self.find(
                kind,
                (is_replicated.then_some(key), &key.to_string()),
                detail,
            );
        }
    }

    /// Whether a finding says of a tool that it runs in the standby, or why nobody knows; or a step that failed does.
    fn is_told_to_be_awake(&self, key: &ObjectKey) -> bool {
        let findings = self.plan.findings.iter();
        let mut of_it = findings.filter(|finding| finding.key.as_ref() == Some(key));
        self.holds_narrowing(key)
            || of_it.any(|finding| {
                finding.kind.is_failed_read() || finding.detail.ends_with(RUNS_BY_ITSELF)
            })
    }

    /// Whether the standby has this object, and it runs by itself.
    pub(super) fn is_awake_in_standby(&self, key: &ObjectKey) -> bool {
        let found = self.inputs.standby.present(key);
        found.is_some_and(QueryObject::is_awake)
    }

    /// Reports an object that is not replicated. One that was before stays as it is, which somebody should know.
    pub(super) fn unsupported(&mut self, key: &ObjectKey, described: &str, reasons: &[String]) {
        let is_paired = self.row(key).is_some_and(|row| row.pairing.is_some());
        let kind = match is_paired {
            true => FindingKind::OnHold,
            false => FindingKind::Unsupported,
        };
        for reason in reasons {
            self.find(kind, (Some(key), described), reason.clone());
        }
    }

    /// What an object names that the standby does not have, or not as the primary has it.
    pub(super) fn missing_references(&self, object: &QueryObject) -> Vec<(FindingKind, String)> {
        let references = References::of(object);
        let is_created = |key: &ObjectKey| {
            let mut steps = self.plan.steps.iter();
            steps.any(|step| matches!(step, QueryStep::Create { primary, .. } if primary == key))
        };
        let missing = references.tools.iter();
        let missing = missing.filter(|key| !self.plan.compared.contains(*key) && !is_created(key));
        missing.filter_map(|key| self.missing_tool(key)).collect()
    }

    /// What keeps an object from naming a tool that is not equal in the standby; `None` if nothing does.
    fn missing_tool(&self, key: &ObjectKey) -> Option<(FindingKind, String)> {
        if !key.kind.is_named_whoever_made_it() {
            let detail = format!("it names the {key}, which is not replicated, see there");
            return Some((FindingKind::OnHold, detail));
        }
        let standby = self.inputs.standby;
        if let Some(Err(error)) = standby.listings.get(&(key.kind, None)) {
            let detail = format!(
                "it names the {key}, and those of the standby could not be listed: {error}"
            );
            return Some((failed_read(error), detail));
        }
        let detail = format!(
            "it names the {key}, which the standby does not have: correct what the finding of that one says, or \
             create it there under this name, and it is replicated"
        );
        let is_there = standby.objects.contains_key(key);
        (!is_there).then_some((FindingKind::OnHold, detail))
    }
}
