//! Checks grants and revokes.

use super::{Check, PlanReplay, reject};
use crate::audit::AuditRule;
use crate::catalog::Attachment;
use crate::grant::{IAM_ALLOWED_PRINCIPALS, LfTagPolicy, PermissionGrant, Resource};
use crate::name::Name;
use crate::scope::{Subject, subject_of_grant};
use crate::step::{RevokeCause, Step};

impl PlanReplay<'_> {
    pub(super) fn grant(&mut self, grant: &PermissionGrant, grantable: bool) -> Check {
        let subject = subject_of_grant(grant);
        if self.is_for_writer_role(grant, grantable) {
            self.require_grants_managed(&subject, grant)?;
            self.current_grants.insert(grant.clone(), grantable);
            return Ok(());
        }
        if self.is_unchangeable(grant) {
            return reject(
                AuditRule::NotManaged,
                format!("{grant}: grants to this principal are not replicated"),
            );
        }
        if self.may_be_implicit_in_primary(grant) && !self.to_regrant.contains(grant) {
            return reject(
                AuditRule::WiderAccess,
                format!("{grant}: the primary may list it only for an administrator"),
            );
        }
        if !self.primary_allows(grant, grantable) {
            return reject(
                AuditRule::WiderAccess,
                format!("the primary has no grant of {grant}"),
            );
        }
        self.require_grants_managed(&subject, grant)?;
        // Lake Formation widens a grant on columns by other grants on the table (LF-14).
        if matches!(subject, Subject::Table(_) | Subject::Database(_)) {
            self.require_no_extra_grant(&subject)?;
        }
        if let Resource::AllTables(database) = &grant.resource {
            self.require_no_extra_table(database)?;
        }
        self.require_no_dropped_column(&grant.resource)?;
        self.require_policy_grant_allowed(grant)?;
        self.require_granted_filter_equal(grant)?;
        self.require_granted_items_equal(grant)?;
        self.require_opt_ins(grant)?;
        let is_by_column = matches!(
            grant.resource,
            Resource::Column(..) | Resource::ColumnsExcept(..)
        );
        let is_iam_allowed_on_table = self.current_grants.keys().any(|held| {
            held.principal.0 == IAM_ALLOWED_PRINCIPALS
                && subject_of_grant(held) == subject
                && held.resource.table().is_some()
        });
        if is_by_column && is_iam_allowed_on_table && grant.principal.0 != IAM_ALLOWED_PRINCIPALS {
            let detail = format!(
                "{grant} would cover every column while IAM_ALLOWED_PRINCIPALS has a grant on the table"
            );
            return reject(AuditRule::WiderAccess, detail);
        }
        self.current_grants.insert(grant.clone(), grantable);
        Ok(())
    }

    /// Whether a grant lets one of Twinlake's own writer roles change a database and its tables.
    fn is_for_writer_role(&self, grant: &PermissionGrant, grantable: bool) -> bool {
        let subject = subject_of_grant(grant);
        let is_created_link = |name: &Name| {
            let in_primary = self.primary_database(name);
            in_primary.is_ok_and(|database| database.object.target_database.is_some())
        };
        let is_created = self.created.contains(&subject);
        let is_link = match subject.database().filter(|_| is_created) {
            Some(name) => is_created_link(name),
            None => self.is_link(&subject),
        };
        let is_needed = match (&grant.resource, &grant.permission) {
            (Resource::Database(_), crate::Permission::Drop) => is_link,
            (Resource::Database(_) | Resource::AllTables(_), crate::Permission::All) => !is_link,
            (
                Resource::Database(_)
                | Resource::AllTables(_)
                | Resource::Table(_)
                | Resource::Column(..)
                | Resource::ColumnsExcept(..)
                | Resource::DataCellsFilter(..)
                | Resource::Catalog
                | Resource::DataLocation(_)
                | Resource::LfTag { .. }
                | Resource::LfTagPolicy { .. }
                | Resource::LfTagExpression(_),
                _,
            ) => false,
        };
        let is_writer = self.inputs.own_roles.writers().contains(&grant.principal);
        is_writer && is_needed && !grantable && grant.condition.is_none()
    }

    /// Whether the plan writes the named LF-Tag expression that a grant refers to.
    fn changes_expression_of(&self, grant: &PermissionGrant) -> bool {
        let Resource::LfTagPolicy {
            policy: LfTagPolicy::NamedExpression(name),
            ..
        } = &grant.resource
        else {
            return false;
        };
        let puts = |step: &Step| matches!(step, Step::PutAttachment { attachment: Attachment::NamedExpression(saved), .. } if saved.name == *name);
        self.steps.iter().any(puts)
    }

    /// Whether the ledger pairs another object than the one that the standby has under the name, and
    /// neither is a resource link. Grants that Twinlake made on the name can outlive its object.
    fn is_replaced(&self, subject: &Subject) -> bool {
        let row = self.inputs.rows.get(subject);
        let pairing = row.and_then(|row| row.pairing.as_ref());
        let in_link = subject
            .database()
            .is_some_and(|database| self.is_database_link(database));
        pairing.is_some_and(|pairing| !pairing.link) && !in_link && !self.is_link(subject)
    }

    /// Whether a grant is on a column that the primary's table, of which every column is visible,
    /// does not have.
    fn is_on_dropped_column(&self, grant: &PermissionGrant) -> bool {
        let Resource::Column(id, column) = &grant.resource else {
            return false;
        };
        self.require_all_columns_visible(id).is_ok()
            && self.primary_table(id).is_ok_and(|table| {
                let mut columns = table.object.columns();
                !columns.any(|listed| listed.name.eq_ignore_ascii_case(column.as_str()))
            })
    }

    pub(super) fn revoke(&mut self, grant: &PermissionGrant, cause: RevokeCause) -> Check {
        let subject = subject_of_grant(grant);
        if self.is_unchangeable(grant) {
            return reject(
                AuditRule::NotManaged,
                format!("{grant}: grants to this principal are not replicated"),
            );
        }
        let is_named = self.inputs.scope.is_named_by_event(grant);
        let is_own = self.inputs.scope.own_grants.contains(grant);
        let may_be_named = matches!(cause, RevokeCause::NotInPrimary | RevokeCause::NamedByEvent);
        if !(is_named && may_be_named && self.is_replaced(&subject)) {
            self.require_grants_managed(&subject, grant)?;
        }
        let is_granted_again =
            |step: &Step| matches!(step, Step::Grant { grant: other, .. } if other == grant);
        let deletes_subject = |step: &Step| match step {
            Step::DeleteTable { .. } | Step::DeleteDatabase { .. } => step.subject() == subject,
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutAttachment { .. }
            | Step::PutSettings { .. }
            | Step::RemoveAttachment { .. }
            | Step::Grant { .. }
            | Step::Revoke { .. }
            | Step::DeletePartition { .. } => false,
        };
        let primary = self.primary_grants(grant);
        let is_justified = match cause {
            // Without a later grant, the revoke only removes the grant option.
            RevokeCause::Replace => {
                let loses_grant_option = self.current_grants.get(grant) == Some(&true)
                    && primary.is_some_and(|grants| grants.get(grant) == Some(&false));
                loses_grant_option || is_named || is_own || self.steps.iter().any(is_granted_again)
            }
            RevokeCause::ExpressionChanged => self.changes_expression_of(grant),
            RevokeCause::Deletion => self.steps.iter().any(deletes_subject),
            RevokeCause::ColumnDropped => self.is_on_dropped_column(grant),
            RevokeCause::NamedByEvent => {
                is_named && primary.is_some_and(|grants| !grants.contains_key(grant))
            }
            RevokeCause::NotInPrimary => {
                let is_absence_proven = self.inputs.primary.is_administrator
                    && self.has_full_grant_read(grant, &subject);
                primary.is_some_and(|grants| !grants.contains_key(grant))
                    && (is_named || is_absence_proven)
            }
        };
        if !is_justified {
            return reject(AuditRule::Unproven, format!("revoking {grant}"));
        }
        if cause == RevokeCause::Replace {
            self.to_regrant.insert(grant.clone());
        }
        self.current_grants.remove(grant);
        Ok(())
    }
}
