//! Plans what only the tools of Glue need: sleep, and that what they name exists in the standby.

use super::{Planner, QueryStep, failed_read};
use crate::plan::FindingKind;
use crate::query::glue_tools::{References, UnreplicatedKind};
use crate::query::object::{ObjectKey, QueryObject};

impl Planner<'_> {
    /// Counts what of Glue is not replicated, and reports what could not be counted.
    pub(super) fn report_unreplicated(&mut self) {
        for (kind, names) in &self.inputs.primary.unreplicated {
            match names {
                Ok(names) if names.is_empty() => {}
                Ok(names) => {
                    let detail = format!("{} x {kind}, which Twinlake does not make", names.len());
                    self.find(FindingKind::Unsupported, (None, "Glue"), detail);
                }
                Err(error) => {
                    let detail = format!("they could not be listed in the primary: {error}");
                    self.find(failed_read(error), (None, &format!("each {kind}")), detail);
                }
            }
        }
    }

    /// Plans sleep for what is Twinlake's and runs by itself in the standby, whatever becomes of it otherwise.
    pub(super) fn put_to_sleep(&mut self) {
        let inputs = self.inputs;
        let site = inputs.epoch.standby();
        for (key, row) in inputs.rows {
            if !key.is_covered(inputs.query) || inputs.held.contains_key(key) {
                continue;
            }
            // A row from before a switch pairs nothing, and names what was paired by its content.
            let paired = row.pairing.as_ref().and(row.key_in(site));
            let found = inputs.standby.present(paired.unwrap_or(key));
            let is_own = |found: &&QueryObject| row.pairs(site, found) || row.intends(found);
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
        let mut found: Vec<(FindingKind, String)> = missing
            .map(|key| {
                let detail = format!("it names the {key}, which is not replicated, see there");
                (FindingKind::OnHold, detail)
            })
            .collect();
        for (kind, names) in &references.others {
            found.extend(self.missing_names(*kind, names.iter().map(String::as_str)));
        }
        found
    }

    fn missing_names<'n>(
        &self,
        kind: UnreplicatedKind,
        names: impl Iterator<Item = &'n str>,
    ) -> Vec<(FindingKind, String)> {
        match self.inputs.standby.unreplicated.get(&kind) {
            Some(Ok(known)) => names
                .filter(|name| !known.contains(*name))
                .map(|name| {
                    let detail = format!(
                        "it names the {kind} {name}, which the standby does not have: create it there, and it is \
                         replicated"
                    );
                    (FindingKind::OnHold, detail)
                })
                .collect(),
            Some(Err(error)) => {
                let detail = format!(
                    "it names a {kind}, and those of the standby could not be listed: {error}"
                );
                vec![(failed_read(error), detail)]
            }
            None => {
                let detail =
                    format!("it names a {kind}, and those of the standby were not listed");
                vec![(FindingKind::Unreadable, detail)]
            }
        }
    }
}
