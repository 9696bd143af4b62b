//! Plans what only external schemas need: a query that shows that each works.

use super::{Planner, QueryStep, failed_read};
use crate::plan::FindingKind;
use crate::query::object::ObjectKey;
use crate::query::rules::QueryKind;
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Says of each warehouse that the catalog that Redshift mounts by itself needs nothing.
    pub(super) fn report_mounted_catalogs(&mut self) {
        for warehouse in &self.inputs.query.warehouses {
            let object = format!("database awsdatacatalog of warehouse {}", warehouse.name);
            let detail = "Redshift mounts it by itself, with the Data Catalog of its own Region: it needs nothing";
            self.find(FindingKind::Note, (None, &object), detail);
        }
    }

    /// Asks for the canary query of each schema that is what it should be, and reports those that failed.
    pub(super) fn canaries(&mut self) {
        let changed: BTreeSet<ObjectKey> = {
            let steps = self.plan.steps.iter();
            steps.map(QueryStep::primary).cloned().collect()
        };
        let compared = self.plan.compared.iter();
        let equal: Vec<ObjectKey> = compared
            .filter(|key| key.kind == QueryKind::ExternalSchema && !changed.contains(*key))
            .cloned()
            .collect();
        for key in equal {
            match self.inputs.standby.canaries.get(&key) {
                None => {
                    self.plan.canaries.insert(key);
                }
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let detail = format!(
                        "it is what it should be, and the query that lists one of its tables failed in the standby: \
                         {error}"
                    );
                    let described = key.to_string();
                    self.find(failed_read(error), (Some(&key), &described), detail);
                }
            }
        }
    }
}
