//! Checks the access that IAM decides on: beside a grant to `IAM_ALLOWED_PRINCIPALS`, every principal
//! without an opt-in has the access that its IAM policies allow.

use super::{Check, PlanReplay, present, reject};
use crate::audit::{AuditRule, Rejection};
use crate::catalog::{Attachment, ObservedAttachment, OptIn};
use crate::grant::{IAM_ALLOWED_PRINCIPALS, ListedResource, PermissionGrant, Principal, Resource};
use crate::name::TableId;
use crate::scope::{LfSubject, Subject, subject_of_grant, subject_of_opt_in};
use crate::snapshot::{AbsenceProof, Observation, Snapshot};
use std::collections::BTreeSet;

/// Returns the opt-ins of the standby: all, if they were listed.
pub(super) fn in_standby(
    standby: &Snapshot,
    attachments: &[(&Subject, &ObservedAttachment)],
) -> BTreeSet<OptIn> {
    let listed = present(standby.opt_ins.as_ref());
    let mut all = listed.cloned().unwrap_or_default();
    for (_, observed) in attachments {
        if let Attachment::OptIn(opt_in) = &observed.attachment {
            all.insert((**opt_in).clone());
        }
    }
    all
}

/// Whether an administrator of the Region finds an object neither by its name nor in the listing of its parent.
fn is_missing_to_admin(proof: &AbsenceProof) -> bool {
    let is_refused = proof.read_error.is_some() && !proof.deletion_named;
    proof.not_returned && proof.unlisted && proof.is_administrator && !is_refused
}

impl PlanReplay<'_> {
    /// Returns the opt-ins of the primary that may decide on a subject.
    fn primary_opt_ins_on(&self, subject: &Subject) -> Result<Vec<&OptIn>, Rejection> {
        let Some(all) = present(self.inputs.primary.opt_ins.as_ref()) else {
            let detail = format!("the opt-ins that decide on {subject} were not read");
            return Err(Rejection::new(AuditRule::WiderAccess, detail));
        };
        let on_subject = all
            .iter()
            .filter(|opt_in| subject_of_opt_in(opt_in).overlaps(subject));
        Ok(on_subject.collect())
    }

    /// Requires that the primary has no opt-in without a counterpart that may decide on a subject that the
    /// standby has: nobody could make it there. With a principal, only its opt-ins count, and those that may be its.
    fn require_no_unmapped_opt_in(
        &self,
        subject: &Subject,
        principal: Option<&Principal>,
    ) -> Check {
        for opt_in in &self.inputs.primary.unmapped_opt_ins {
            let is_of_other = principal
                .zip(opt_in.principal.as_ref())
                .is_some_and(|(wanted, own)| wanted != own);
            if is_of_other || !opt_in.subject.overlaps(subject) || self.is_absent(&opt_in.subject) {
                continue;
            }
            let detail = format!(
                "the primary limits access to {subject} by an opt-in that the standby cannot have: {}",
                opt_in.description
            );
            return reject(AuditRule::WiderAccess, detail);
        }
        Ok(())
    }

    /// Requires that a grant to `IAM_ALLOWED_PRINCIPALS` comes after the opt-ins of the primary on
    /// what it covers.
    pub(super) fn require_opt_ins(&self, grant: &PermissionGrant) -> Check {
        if grant.principal.0 != IAM_ALLOWED_PRINCIPALS {
            return Ok(());
        }
        let subject = subject_of_grant(grant);
        for opt_in in self.primary_opt_ins_on(&subject)? {
            if !self.is_decided_by(opt_in) {
                return reject(
                    AuditRule::WiderAccess,
                    format!(
                        "{grant} would come before the opt-in of {} on {}",
                        opt_in.principal,
                        subject_of_opt_in(opt_in)
                    ),
                );
            }
        }
        self.require_no_unmapped_opt_in(&subject, None)
    }

    /// Whether the standby has an opt-in of the primary at this point, or lacks what it is on.
    fn is_decided_by(&self, opt_in: &OptIn) -> bool {
        self.opt_ins.contains(opt_in) || self.is_absent(&subject_of_opt_in(opt_in))
    }

    /// Whether a database or table provably does not exist in the standby at this point.
    fn is_absent(&self, subject: &Subject) -> bool {
        if self.created.contains(subject) {
            return false;
        }
        let standby = self.inputs.standby;
        match subject {
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
            Subject::Database(name) => {
                matches!(standby.databases.get(name), Some(Observation::Absent(proof)) if is_missing_to_admin(proof))
            }
            Subject::Table(id) => match standby.tables.get(id) {
                Some(Observation::Absent(proof)) if is_missing_to_admin(proof) => true,
                Some(Observation::Present(_) | Observation::Unknown(_)) => {
                    self.deleted.contains(subject)
                }
                Some(Observation::Absent(_)) | None => {
                    let listed = standby.table_names.get(&id.database);
                    listed.is_some_and(|names| !names.contains(&id.table))
                }
            },
        }
    }

    /// Requires that no grant to `IAM_ALLOWED_PRINCIPALS` on all tables of the database opens a new
    /// table to a principal whose access the primary limits by an opt-in. An opt-in on the table
    /// itself can only be made once the table exists.
    pub(super) fn require_no_iam_access_before_opt_in(&self, id: &TableId) -> Check {
        let covers_table = |grant: &&PermissionGrant| {
            grant.principal.0 == IAM_ALLOWED_PRINCIPALS
                && match &grant.resource {
                    Resource::AllTables(name) => *name == id.database,
                    // The new table inherits the LF-Tags of its database.
                    Resource::LfTagPolicy { .. } => true,
                    Resource::Database(_)
                    | Resource::Table(_)
                    | Resource::Column(..)
                    | Resource::ColumnsExcept(..)
                    | Resource::DataCellsFilter(..)
                    | Resource::Catalog
                    | Resource::DataLocation(_)
                    | Resource::LfTag { .. }
                    | Resource::LfTagExpression(_) => false,
                }
        };
        let Some(grant) = self.current_grants.keys().find(covers_table) else {
            return Ok(());
        };
        for opt_in in self.primary_opt_ins_on(&Subject::Table(id.clone()))? {
            let is_on_database = matches!(
                opt_in.resource,
                ListedResource::TableWildcard(_) | ListedResource::Database(_)
            );
            if !is_on_database || !self.opt_ins.contains(opt_in) {
                let detail = format!(
                    "{grant} would give {} access to {id} before its opt-in is made",
                    opt_in.principal
                );
                return reject(AuditRule::WiderAccess, detail);
            }
        }
        let id = Subject::Table(id.clone());
        match self
            .inputs
            .primary
            .unmapped_opt_ins
            .iter()
            .find(|one| one.subject.overlaps(&id))
        {
            None => Ok(()),
            Some(opt_in) => {
                let detail = format!(
                    "{grant} would open {id} beside the opt-in of {}",
                    opt_in.description
                );
                reject(AuditRule::WiderAccess, detail)
            }
        }
    }

    /// Requires that the primary limits nobody's access to a database by an opt-in: the opt-in could
    /// only be made once the database exists.
    pub(super) fn require_no_opt_in_before_creation(&self, subject: &Subject) -> Check {
        let unmapped = &self.inputs.primary.unmapped_opt_ins;
        if let Some(opt_in) = unmapped.iter().find(|one| one.subject.overlaps(subject)) {
            let detail = format!(
                "{subject} would be open beside the opt-in of {}",
                opt_in.description
            );
            return reject(AuditRule::WiderAccess, detail);
        }
        match self.primary_opt_ins_on(subject)?.first() {
            None => Ok(()),
            Some(opt_in) => reject(
                AuditRule::WiderAccess,
                format!(
                    "{subject} would be open to {} before its opt-in is made",
                    opt_in.principal
                ),
            ),
        }
    }

    /// Requires that, without an opt-in, IAM does not decide for its principal where Lake Formation
    /// decides in the primary: the opt-ins that replace it are there, and the standby has no grant
    /// to `IAM_ALLOWED_PRINCIPALS` that the primary lacks.
    pub(super) fn require_replaced_opt_in(&self, subject: &Subject, removed: &OptIn) -> Check {
        self.require_no_extra_grant_without_opt_in(subject)?;
        self.require_no_unmapped_opt_in(subject, Some(&removed.principal))?;
        let in_primary = self.primary_opt_ins_on(subject)?;
        let missing = in_primary
            .into_iter()
            .find(|one| one.principal == removed.principal && !self.is_decided_by(one));
        if let Some(missing) = missing {
            let detail = format!(
                "{} would lose its opt-in on {subject} before it has the one on {}",
                removed.principal,
                subject_of_opt_in(missing)
            );
            return reject(AuditRule::WiderAccess, detail);
        }
        self.require_no_extra_iam_policy_grant(subject)?;
        if matches!(subject, Subject::Table(_)) {
            return Ok(());
        }
        let Some(extra) = &self.inputs.standby.extra_iam_grants else {
            let detail = format!("not all grants were read, and an opt-in on {subject} would go");
            return reject(AuditRule::WiderAccess, detail);
        };
        let is_managed = |on: &Subject| !matches!(on, Subject::Table(id) if !self.inputs.policy.covers_table(id));
        let is_open = |grant: &&PermissionGrant| {
            let on = subject_of_grant(grant);
            on.overlaps(subject) && is_managed(&on) && self.current_grants.contains_key(*grant)
        };
        match extra.iter().find(is_open) {
            None => self.require_no_extra_table_below_iam_grant(subject),
            Some(grant) => reject(
                AuditRule::WiderAccess,
                format!("an opt-in on {subject} would go while the standby still has {grant}"),
            ),
        }
    }

    /// Requires that no grant to `IAM_ALLOWED_PRINCIPALS` covers a table that only the standby has.
    fn require_no_extra_table_below_iam_grant(&self, subject: &Subject) -> Check {
        let Some(database) = subject.database() else {
            return Ok(());
        };
        let covers_tables = |grant: &PermissionGrant| {
            grant.principal.0 == IAM_ALLOWED_PRINCIPALS
                && match &grant.resource {
                    Resource::AllTables(name) => name == database,
                    Resource::LfTagPolicy { .. } => true,
                    Resource::Database(_)
                    | Resource::Table(_)
                    | Resource::Column(..)
                    | Resource::ColumnsExcept(..)
                    | Resource::DataCellsFilter(..)
                    | Resource::Catalog
                    | Resource::DataLocation(_)
                    | Resource::LfTag { .. }
                    | Resource::LfTagExpression(_) => false,
                }
        };
        if self.current_grants.keys().any(covers_tables) {
            return self.require_no_extra_table(database);
        }
        let Some(in_standby) = self.inputs.standby.table_names.get(database) else {
            let detail =
                format!("the tables of {database} were not listed, and an opt-in would go");
            return reject(AuditRule::WiderAccess, detail);
        };
        let in_primary = self.inputs.primary.table_names.get(database);
        let is_on_extra_table = |grant: &&PermissionGrant| {
            let Resource::Table(id) = &grant.resource else {
                return false;
            };
            grant.principal.0 == IAM_ALLOWED_PRINCIPALS
                && id.database == *database
                && in_standby.contains(&id.table)
                && !in_primary.is_some_and(|names| names.contains(&id.table))
                && !self.deleted.contains(&Subject::Table(id.clone()))
        };
        match self.current_grants.keys().find(is_on_extra_table) {
            None => Ok(()),
            Some(grant) => reject(
                AuditRule::WiderAccess,
                format!(
                    "an opt-in on {subject} would go, and {grant} is on a table that the primary lacks"
                ),
            ),
        }
    }

    /// Requires that the grants by LF-Tag policies of the standby were read, and that none of those to
    /// `IAM_ALLOWED_PRINCIPALS` is missing in the primary: it may cover what an opt-in is on.
    fn require_no_extra_iam_policy_grant(&self, subject: &Subject) -> Check {
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        let standby = self.inputs.standby;
        let is_read = present(standby.grants.get(&permissions)).is_some()
            || present(standby.lf_tag_policy_grants.as_ref()).is_some();
        if !is_read {
            let detail = format!(
                "grants by LF-Tag policies were not read, and an opt-in on {subject} would go"
            );
            return reject(AuditRule::WiderAccess, detail);
        }
        let is_extra = |(grant, grantable): &(&PermissionGrant, &bool)| {
            grant.principal.0 == IAM_ALLOWED_PRINCIPALS
                && matches!(grant.resource, Resource::LfTagPolicy { .. })
                && !self.primary_allows(grant, **grantable)
        };
        match self.current_grants.iter().find(is_extra) {
            None => Ok(()),
            Some((grant, _)) => reject(
                AuditRule::WiderAccess,
                format!("an opt-in on {subject} would go while the standby still has {grant}"),
            ),
        }
    }
}
