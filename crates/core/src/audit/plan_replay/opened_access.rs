//! Checks that a step gives no access that the primary does not.

use super::table_content::column_of;
use super::{Check, PlanReplay, column_paths, present, reject};
use crate::audit::AuditRule;
use crate::grant::{Grants, IAM_ALLOWED_PRINCIPALS, LfTagPolicyTarget, PermissionGrant, Resource};
use crate::name::{Name, TableId};
use crate::scope::{Subject, subject_of_grant};
use std::collections::{BTreeMap, BTreeSet};

impl<'a> PlanReplay<'a> {
    /// Requires that the standby has no grant on the subject that the primary lacks.
    pub(super) fn require_no_extra_grant(&self, subject: &Subject) -> Check {
        self.require_no_extra_grant_on(subject, |_| true)
    }

    /// Requires the same of grants on some of the subject's resources.
    pub(super) fn require_no_extra_grant_on(
        &self,
        subject: &Subject,
        is_affected: impl Fn(&Resource) -> bool,
    ) -> Check {
        let extra = self.current_grants.iter().find(|(grant, grantable)| {
            subject_of_grant(grant) == *subject
                && is_affected(&grant.resource)
                && !self.is_ignored(grant)
                && !self.primary_allows(grant, **grantable)
        });
        match extra {
            None => Ok(()),
            Some((grant, _)) => reject(
                AuditRule::WiderAccess,
                format!("{subject} would change while the standby still has {grant}"),
            ),
        }
    }

    pub(super) fn find_extra_grants(&self) -> Vec<PermissionGrant> {
        let held = self.current_grants.iter();
        held.filter(|(grant, grantable)| {
            !self.is_ignored(grant) && !self.primary_allows(grant, **grantable)
        })
        .map(|(grant, _)| grant.clone())
        .collect()
    }

    /// Requires that no grant that the primary lacks lets somebody read the table.
    pub(super) fn require_no_extra_access_to(&self, id: &TableId) -> Check {
        let still_held = |grant: &&PermissionGrant| {
            let held = self.current_grants.get(*grant);
            held.is_some_and(|grantable| !self.primary_allows(grant, *grantable))
        };
        let covers = |grant: &&PermissionGrant| match &grant.resource {
            Resource::Table(table)
            | Resource::Column(table, _)
            | Resource::ColumnsExcept(table, _)
            | Resource::DataCellsFilter(table, _) => table == id,
            Resource::AllTables(database) => *database == id.database,
            Resource::LfTagPolicy { target, .. } => {
                *target == LfTagPolicyTarget::Table && self.may_open_table(id, grant)
            }
            Resource::Database(_)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagExpression(_) => false,
        };
        let mut extra = self.extra_grants.iter().filter(covers);
        match extra.find(still_held) {
            None => Ok(()),
            Some(grant) => reject(
                AuditRule::WiderAccess,
                format!("{grant} would show other data of {id}"),
            ),
        }
    }

    /// Requires that the standby has no grant on some Lake Formation items that the primary lacks.
    pub(super) fn require_grants_read_and_none_extra(
        &self,
        subject: &Subject,
        is_affected: impl Fn(&Resource) -> bool,
    ) -> Check {
        if present(self.inputs.standby.grants.get(subject)).is_none() {
            let detail = format!("the grants on {subject} were not read");
            return reject(AuditRule::WiderAccess, detail);
        }
        self.require_no_extra_grant_on(subject, is_affected)
    }

    /// Requires that a new table of the database gets no default permissions.
    pub(super) fn require_no_default_grants(&self, database: &Name) -> Check {
        let is_created = self.created.contains(&Subject::Database(database.clone()));
        if is_created || self.cleared_defaults.contains(database) {
            return Ok(());
        }
        let Some(in_standby) = present(self.inputs.standby.databases.get(database)) else {
            let detail = format!("the default permissions of {database} were not read");
            return reject(AuditRule::WiderAccess, detail);
        };
        let defaults = in_standby.object.create_table_default_permissions.as_ref();
        match defaults.is_some_and(Vec::is_empty) {
            true => Ok(()),
            false => reject(
                AuditRule::WiderAccess,
                format!("a new table of {database} would get default permissions"),
            ),
        }
    }

    /// Requires that the grants on an object and its database, which decide alone once an opt-in is removed, were
    /// read, and that the standby has none that the primary lacks.
    pub(super) fn require_no_extra_grant_without_opt_in(&self, subject: &Subject) -> Check {
        let database = subject.database().cloned().map(Subject::Database);
        for one in database.into_iter().chain([subject.clone()]) {
            let is_read = present(self.inputs.standby.grants.get(&one)).is_some();
            if !is_read && !self.created.contains(&one) {
                return reject(
                    AuditRule::WiderAccess,
                    format!("the grants on {one} were not read, and an opt-in would be removed"),
                );
            }
            self.require_no_extra_grant(&one)?;
        }
        Ok(())
    }

    /// Requires that the standby has no table in the database that the primary lacks: a grant on
    /// all tables would apply to it.
    pub(super) fn require_no_extra_table(&self, database: &Name) -> Check {
        let in_primary = self.inputs.primary.table_names.get(database);
        let in_standby = self.inputs.standby.table_names.get(database);
        let is_created_by_plan = self.created.contains(&Subject::Database(database.clone()));
        let is_extra = |name: &&Name| {
            let id = TableId::new(database.clone(), (*name).clone());
            !in_primary.is_some_and(|in_primary| in_primary.contains(*name))
                && !self.deleted.contains(&Subject::Table(id))
        };
        match in_standby {
            None if is_created_by_plan => Ok(()),
            None => reject(
                AuditRule::WiderAccess,
                format!("the tables of {database} were not listed"),
            ),
            Some(in_standby) => match in_standby.iter().find(is_extra) {
                None => Ok(()),
                Some(table) => {
                    let detail =
                        format!("a grant on all tables of {database} would give access to {table}");
                    reject(AuditRule::WiderAccess, detail)
                }
            },
        }
    }

    /// Requires that no table that a grant covers has a column that the primary dropped: the grant
    /// would apply to it.
    pub(super) fn require_no_dropped_column(&self, resource: &Resource) -> Check {
        let covered = |id: &TableId| match resource {
            Resource::AllTables(database) => {
                id.database == *database && !self.deleted.contains(&Subject::Table(id.clone()))
            }
            Resource::Table(table)
            | Resource::Column(table, _)
            | Resource::ColumnsExcept(table, _) => table == id,
            Resource::DataCellsFilter(table, name) => table == id && self.is_open_ended(id, name),
            Resource::Database(_)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagPolicy { .. }
            | Resource::LfTagExpression(_) => false,
        };
        let mut all: BTreeSet<TableId> = match resource {
            Resource::AllTables(database) => {
                let listed = self.inputs.standby.table_names.get(database);
                let listed = listed.into_iter().flatten();
                listed
                    .map(|name| TableId::new(database.clone(), name.clone()))
                    .collect()
            }
            Resource::Table(id)
            | Resource::ColumnsExcept(id, _)
            | Resource::DataCellsFilter(id, _) => [id.clone()].into(),
            // A grant on a column of a table that was not read is refused, or gives nothing.
            Resource::Column(..) => BTreeSet::new(),
            Resource::Database(_)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagPolicy { .. }
            | Resource::LfTagExpression(_) => return Ok(()),
        };
        all.extend(self.columns.keys().filter(|id| covered(id)).cloned());
        for id in all.iter().filter(|id| covered(id)) {
            let in_primary = present(self.inputs.primary.tables.get(id));
            let (Some(columns), Some(in_primary)) = (self.columns.get(id), in_primary) else {
                let detail = format!("a grant on {resource}: the columns of {id} were not read");
                return reject(AuditRule::WiderAccess, detail);
            };
            let in_primary = column_paths(&in_primary.object);
            let is_shown = |column: &&String| !matches!(resource, Resource::Column(_, granted) if granted.as_str() != column_of(column));
            if let Some(column) = columns.difference(&in_primary).find(is_shown) {
                let detail = format!(
                    "a grant on {resource} would give access to the column {column} of {id}"
                );
                return reject(AuditRule::WiderAccess, detail);
            }
        }
        Ok(())
    }

    /// Requires that the standby has no grant on all tables of the database that the primary lacks,
    /// whether it was read with the database or with a table.
    pub(super) fn require_no_extra_all_tables_grant(&self, database: &Name) -> Check {
        let is_on_all = |grant: &PermissionGrant| matches!(&grant.resource, Resource::AllTables(name) if name == database);
        let extra = self.current_grants.iter().find(|(grant, grantable)| {
            is_on_all(grant) && !self.is_ignored(grant) && !self.primary_allows(grant, **grantable)
        });
        if let Some((grant, _)) = extra {
            return reject(
                AuditRule::WiderAccess,
                format!("{grant} would apply to the new table or columns"),
            );
        }
        let listed = self.inputs.standby.all_tables_grants.get(database);
        match listed.is_some_and(|listed| listed.present().is_none()) {
            false => Ok(()),
            true => reject(
                AuditRule::WiderAccess,
                format!("the grants on all tables of {database} were not read"),
            ),
        }
    }

    /// Whether the primary has a grant, with the grant option if `grantable`.
    pub(super) fn primary_allows(&self, grant: &PermissionGrant, grantable: bool) -> bool {
        let primary_grantable = self
            .primary_grants(grant)
            .and_then(|grants| grants.get(grant));
        primary_grantable.is_some_and(|primary_grantable| *primary_grantable || !grantable)
    }

    /// Returns the primary's grants on the subject of a grant. Grants by LF-Tag policies and on all
    /// tables of a database may have been read separately.
    pub(super) fn primary_grants(&self, grant: &PermissionGrant) -> Option<&Grants> {
        let on_subject = present(self.inputs.primary.grants.get(&subject_of_grant(grant)));
        if let Resource::LfTagPolicy { .. } = grant.resource {
            let by_policies = present(self.inputs.primary.lf_tag_policy_grants.as_ref());
            return on_subject.or_else(|| by_policies.map(|tags| &tags.grants));
        }
        if let Resource::AllTables(database) = &grant.resource {
            let on_all_tables = self.inputs.primary.all_tables_grants.get(database);
            return on_subject.or_else(|| present(on_all_tables));
        }
        on_subject
    }

    /// Whether all grants of the primary were read, so that the absence of one is meaningful.
    pub(super) fn has_full_grant_read(&self, grant: &PermissionGrant, subject: &Subject) -> bool {
        let by_policies = matches!(grant.resource, Resource::LfTagPolicy { .. })
            && present(self.inputs.primary.lf_tag_policy_grants.as_ref())
                .is_some_and(|tags| tags.from_full_read);
        self.inputs
            .primary
            .nonempty_full_grant_reads
            .contains(subject)
            || by_policies
    }

    /// Requires that Twinlake's role could see every column of the primary's table: the role, or
    /// `IAM_ALLOWED_PRINCIPALS`, has a grant on the whole table.
    pub(super) fn require_all_columns_visible(&self, id: &TableId) -> Check {
        let primary = self.inputs.primary;
        let on_table = present(primary.grants.get(&Subject::Table(id.clone())));
        let on_database = present(primary.grants.get(&Subject::Database(id.database.clone())));
        let on_all = present(primary.all_tables_grants.get(&id.database));
        let mut all = [on_table, on_database, on_all]
            .into_iter()
            .flatten()
            .flat_map(BTreeMap::keys);
        let covers_table = |resource: &Resource| {
            *resource == Resource::Table(id.clone())
                || *resource == Resource::AllTables(id.database.clone())
        };
        let proves_visibility = |grant: &PermissionGrant| {
            let is_reader = grant.principal == *self.inputs.reader_role
                && grant.permission == crate::Permission::Select;
            let is_iam_allowed = grant.principal.0 == IAM_ALLOWED_PRINCIPALS
                && grant.permission == crate::Permission::All;
            covers_table(&grant.resource)
                && grant.condition.is_none()
                && (is_reader || is_iam_allowed)
        };
        match all.any(proves_visibility) {
            true => Ok(()),
            false => reject(
                AuditRule::Unproven,
                format!(
                    "it is not proven that Twinlake's role sees every column of {id} in the primary"
                ),
            ),
        }
    }
}
