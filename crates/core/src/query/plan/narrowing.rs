//! Plans what takes access away in the standby, whatever becomes of the object otherwise: that another part of it cannot be
//! read, mapped, changed or deleted holds none of it back.

use super::{Planner, QueryStep};
use crate::plan::FindingKind;
use crate::query::external_schema;
use crate::query::object::{ObjectKey, QueryObject};
use crate::query::rules::QueryKind;

impl Planner<'_> {
    /// Takes from each object that is Twinlake's what the primary's does not give. Only objects that were read are
    /// compared: what is not known of the primary takes nothing away.
    pub(super) fn narrow(&mut self) {
        let inputs = self.inputs;
        let site = inputs.epoch.standby();
        for (key, row) in inputs.rows {
            if !key.is_covered(inputs.query) || self.holds_narrowing(key) {
                continue;
            }
            let standby = inputs.standby.present(row.standby_key(inputs.epoch, key));
            let standby = standby.filter(|found| row.may_narrow(site, found));
            let Some((primary, current)) = inputs.primary.present(key).zip(standby) else {
                continue;
            };
            self.report_excess(primary, current);
            let Some(object) = narrowed(primary, current) else {
                continue;
            };
            if let Some(reason) = external_schema::unnameable(&current.key) {
                let detail = format!("the standby's gives more than the primary's: {reason}");
                self.find(
                    FindingKind::Unmanaged,
                    (Some(key), &primary.describe()),
                    detail,
                );
                continue;
            }
            self.narrowed.insert(key.clone(), object.clone());
            self.plan.steps.push(QueryStep::Narrow {
                primary: key.clone(),
                current: Box::new(current.clone()),
                object: Box::new(object),
            });
        }
    }

    pub(super) fn holds_narrowing(&self, key: &ObjectKey) -> bool {
        let held = self.inputs.held.get(key);
        held.is_some_and(|held| held.holds_narrowing)
    }

    /// Reports what the standby's gives, and no statement takes away.
    fn report_excess(&mut self, primary: &QueryObject, standby: &QueryObject) {
        if standby.key.kind != QueryKind::ExternalSchema {
            return;
        }
        for grant in external_schema::excess_unknown_grants(primary, standby) {
            let detail = format!(
                "the standby has the grant of {grant}, which the primary lacks, and Twinlake writes no statement for \
                 this grantee: revoke it"
            );
            let about = (Some(&primary.key), &*primary.describe());
            self.find(FindingKind::Unmanaged, about, detail);
        }
    }

    /// Reports the parts of an external schema that could not be read; with such, it is only narrowed.
    pub(super) fn has_unread_parts(
        &mut self,
        object: &QueryObject,
        about: (Option<&ObjectKey>, &str),
        region: &str,
    ) -> bool {
        let unread = external_schema::unread_parts(object);
        for reason in &unread {
            let detail = format!("it could not be read in {region}: {reason}");
            self.find(FindingKind::Unreadable, about, detail);
        }
        !unread.is_empty()
    }
}

/// An object of the standby without the access that the primary's does not give; `None` if it gives no more.
fn narrowed(primary: &QueryObject, standby: &QueryObject) -> Option<QueryObject> {
    match standby.key.kind {
        QueryKind::ExternalSchema => external_schema::narrowed(primary, standby),
        QueryKind::WorkGroup => {
            let is_open = primary.is_disabled_workgroup() && !standby.is_disabled_workgroup();
            is_open.then(|| {
                let mut disabled = standby.clone();
                disabled
                    .fields
                    .insert("State".to_owned(), "DISABLED".into());
                disabled
            })
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
        | QueryKind::Trigger => None,
    }
}
