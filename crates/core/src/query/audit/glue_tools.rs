//! No step makes anything run by itself in the standby, or gives a crawler a role of its own choice.

use super::{Auditor, Check, refuse};
use crate::arn::Arn;
use crate::audit::AuditRule;
use crate::query::object::{ObjectKey, QueryObject};
use crate::query::plan::QueryStep;
use crate::query::rules::QueryKind;

/// Whether an object as read runs by itself.
pub(super) fn runs(object: &QueryObject) -> bool {
    match object.key.kind {
        QueryKind::Crawler => {
            !matches!(object.text("Schedule.State"), None | Some("NOT_SCHEDULED"))
        }
        QueryKind::Trigger => object
            .text("State")
            .is_some_and(|state| state.starts_with("ACTIVAT")),
        QueryKind::WorkGroup
        | QueryKind::DataCatalog
        | QueryKind::NamedQuery
        | QueryKind::PreparedStatement
        | QueryKind::Classifier
        | QueryKind::SecurityConfiguration
        | QueryKind::Connection
        | QueryKind::Job
        | QueryKind::Workflow
        | QueryKind::ExternalSchema => false,
    }
}

impl Auditor<'_> {
    /// What is written has nothing that schedules, activates or starts it.
    pub(super) fn check_asleep(&self, primary: &ObjectKey, object: &QueryObject) -> Check {
        let forbidden: &[&str] = match object.key.kind {
            QueryKind::Crawler => &["Schedule", "State"],
            QueryKind::Trigger => &["State", "StartOnCreation"],
            // What starts a job is another object, or a person.
            QueryKind::Job => &[],
            QueryKind::Workflow => return Ok(()),
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::ExternalSchema => return Ok(()),
        };
        if let Some(name) = forbidden.iter().find(|name| object.field(name).is_some()) {
            return refuse(
                AuditRule::Altered,
                format!("its {name} would make it run by itself in the standby"),
            );
        }
        if object.text("Type") == Some("EVENT") {
            return refuse(
                AuditRule::Altered,
                "an EVENT trigger is not made before a takeover",
            );
        }
        self.check_role(primary, object)
    }

    /// A crawler or job has the role of the primary's, or the one that a pair of the policy gives for it.
    fn check_role(&self, primary: &ObjectKey, object: &QueryObject) -> Check {
        let original = self.inputs.primary.present(primary);
        let (wanted, found) = (
            original.and_then(|original| original.text("Role")),
            object.text("Role"),
        );
        if wanted == found {
            return Ok(());
        }
        let (from, to) = (self.inputs.epoch.primary(), self.inputs.epoch.standby());
        let name_of = |arn: &str| {
            let name = Arn::parse(arn)?.resource.strip_prefix("role/")?;
            Some(name.to_owned())
        };
        let mut pairs = self.inputs.policy.principals.iter();
        let is_paired = pairs.any(|pair| {
            name_of(pair.get(from)).as_deref() == wanted
                && name_of(pair.get(to)).as_deref() == found
        });
        match is_paired {
            true => Ok(()),
            false => refuse(
                AuditRule::Altered,
                "its role is neither that of the primary's nor the one that a pair gives for it",
            ),
        }
    }

    /// A workflow is deleted only after each trigger of it.
    pub(super) fn check_workflow_is_empty(&self, standby: &ObjectKey) -> Check {
        if standby.kind != QueryKind::Workflow {
            return Ok(());
        }
        let is_of_it = |found: &&QueryObject| {
            found.key.kind == QueryKind::Trigger && found.text("WorkflowName") == Some(&*standby.id)
        };
        let position = |key: &ObjectKey| {
            let mut steps = self.plan.steps.iter();
            steps.position(
                |step| matches!(step, QueryStep::Delete { current, .. } if current.key == *key),
            )
        };
        let own = position(standby);
        let mut triggers = self.inputs.standby.all_present().filter(is_of_it);
        match triggers.all(|found| position(&found.key).is_some_and(|at| Some(at) < own)) {
            true => Ok(()),
            false => refuse(AuditRule::Order, "a trigger of the workflow is left"),
        }
    }

    /// Only what is Twinlake's and runs by itself is put to sleep.
    pub(super) fn check_sleep(&self, primary: &ObjectKey, standby: &ObjectKey) -> Check {
        let row = self.inputs.rows.get(primary);
        let found = self.inputs.standby.present(standby);
        let Some((row, found)) = row.zip(found) else {
            return refuse(AuditRule::NotManaged, "no row of the ledger names it");
        };
        if !row.may_narrow(self.inputs.epoch.standby(), found) {
            return refuse(AuditRule::NotManaged, "no row of the ledger pairs it");
        }
        match runs(found) {
            true => Ok(()),
            false => refuse(AuditRule::Altered, "it does not run by itself"),
        }
    }
}
