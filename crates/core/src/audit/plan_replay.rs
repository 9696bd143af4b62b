//! Replays a plan step by step on the snapshots, and checks each step.

mod attachments;
mod effects;
mod lakeformation;
mod lf_tags;
mod opened_access;
mod opt_ins;
mod ownership;
mod permissions;
mod settings;
mod table_content;

use super::content_check::ContentCheck;
use super::{AuditRule, Rejection};
use crate::catalog::{self, Database, Observed, Table};
use crate::grant::{IAM_ALLOWED_PRINCIPALS, PermissionGrant, Principal, Resource};
use crate::name::{Name, TableId};
use crate::plan::Inputs;
use crate::scope::Subject;
use crate::snapshot::{Observation, PartitionExtent};
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};
use table_content::{column_paths, shows_other_data};

/// The state of the standby after the steps that were replayed so far.
pub(super) struct PlanReplay<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) steps: &'a [Step],
    pub(super) content: ContentCheck<'a>,
    /// Grants in force in the standby at this point, and whether they have the grant option.
    pub(super) current_grants: BTreeMap<PermissionGrant, bool>,
    /// Grants that the standby had before the plan and the primary lacks.
    pub(super) extra_grants: Vec<PermissionGrant>,
    /// Columns and nested fields of the standby's tables at this point.
    pub(super) columns: BTreeMap<TableId, BTreeSet<String>>,
    /// LF-Tags that are assigned in the standby at this point, for subjects where they were read.
    pub(super) current_lf_tags: BTreeMap<Subject, lf_tags::AssignedLfTags>,
    /// Data cells filters of the standby's tables at this point.
    pub(super) filters: BTreeMap<TableId, BTreeMap<String, catalog::DataCellsFilter>>,
    /// Opt-ins of the standby at this point.
    pub(super) opt_ins: BTreeSet<catalog::OptIn>,
    /// Grants that an earlier step revoked and a later step grants again.
    pub(super) to_regrant: BTreeSet<PermissionGrant>,
    /// LF-Tags that are assigned in the primary, for subjects where they were read.
    pub(super) primary_lf_tags: BTreeMap<Subject, lf_tags::AssignedLfTags>,
    /// LF-Tags that were assigned in the standby before the plan.
    pub(super) initial_lf_tags: BTreeMap<Subject, lf_tags::AssignedLfTags>,
    /// LF-Tag expressions that an earlier step wrote.
    pub(super) put_expressions: BTreeSet<String>,
    /// Databases of which an earlier step cleared the default permissions for new tables.
    pub(super) cleared_defaults: BTreeSet<Name>,
    /// Administrators, other than read-only ones, that an earlier step removed.
    pub(super) removed_admins: BTreeSet<Principal>,
    /// Subjects that an earlier step created.
    pub(super) created: BTreeSet<Subject>,
    /// Subjects that an earlier step deleted.
    pub(super) deleted: BTreeSet<Subject>,
}

pub(super) type Check = Result<(), Rejection>;

pub(super) fn reject(rule: AuditRule, detail: impl Into<String>) -> Check {
    Err(Rejection::new(rule, detail))
}

/// Returns the observed object, if it was read and exists.
pub(super) fn present<T>(observation: Option<&Observation<T>>) -> Option<&T> {
    match observation {
        Some(Observation::Present(object)) => Some(object),
        Some(Observation::Absent(_) | Observation::Unknown(_)) | None => None,
    }
}

impl<'a> PlanReplay<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, steps: &'a [Step]) -> Self {
        let by_subject = inputs.standby.grants.values();
        let by_policies =
            present(inputs.standby.lf_tag_policy_grants.as_ref()).map(|tags| &tags.grants);
        let on_all_tables = inputs.standby.all_tables_grants.values();
        let held = by_policies
            .into_iter()
            .chain(on_all_tables.filter_map(|grants| present(Some(grants))))
            .chain(by_subject.filter_map(|grants| present(Some(grants))));
        let extra_iam_grants = inputs.standby.extra_iam_grants.iter().flatten();
        let attachments = inputs.standby.attachments.iter();
        let attachments =
            attachments.filter_map(|((owner, _), all)| Some((owner, present(Some(all))?)));
        let attachments: Vec<(&Subject, &catalog::ObservedAttachment)> = attachments
            .flat_map(|(owner, all)| all.values().map(move |observed| (owner, observed)))
            .collect();
        let mut replay = Self {
            inputs,
            steps,
            extra_grants: Vec::new(),
            content: ContentCheck {
                policy: inputs.policy,
                epoch: inputs.epoch,
            },
            current_grants: extra_iam_grants
                .map(|grant| (grant.clone(), false))
                .chain(
                    held.flatten()
                        .map(|(grant, grantable)| (grant.clone(), *grantable)),
                )
                .collect(),
            columns: inputs
                .standby
                .tables
                .iter()
                .filter_map(|(id, table)| {
                    Some((id.clone(), column_paths(&present(Some(table))?.object)))
                })
                .collect(),
            current_lf_tags: lf_tags::assigned_lf_tags(inputs.standby),
            primary_lf_tags: lf_tags::assigned_lf_tags(inputs.primary),
            initial_lf_tags: lf_tags::assigned_lf_tags(inputs.standby),
            filters: lakeformation::filters(&attachments),
            opt_ins: opt_ins::in_standby(inputs.standby, &attachments),
            to_regrant: BTreeSet::new(),
            put_expressions: BTreeSet::new(),
            cleared_defaults: BTreeSet::new(),
            removed_admins: BTreeSet::new(),
            created: BTreeSet::new(),
            deleted: BTreeSet::new(),
        };
        replay.extra_grants = replay.find_extra_grants();
        replay
    }

    /// Checks a step at its place in the plan, then applies it to the replayed state.
    pub(super) fn apply_step(&mut self, step: &Step) -> Check {
        match step {
            Step::CreateDatabase { database } => self.create_database(database),
            Step::UpdateDatabase { database, .. } => self.update_database(database),
            Step::CreateTable { id, table } => self.create_table(id, table),
            Step::UpdateTable { id, table, .. } => self.update_table(id, table),
            Step::CreatePartition { id, partition }
            | Step::UpdatePartition { id, partition, .. } => self.write_partition(id, partition),
            Step::Grant { grant, grantable } => self.grant(grant, *grantable),
            Step::Revoke { grant, cause, .. } => self.revoke(grant, *cause),
            Step::CreateFunction { id, function } | Step::UpdateFunction { id, function, .. } => {
                self.write_function(id, function)
            }
            Step::DeleteFunction { id } => self.delete_function(id),
            Step::PutAttachment {
                subject,
                attachment,
                ..
            } => self.put_attachment(subject, attachment),
            Step::PutSettings {
                added_admins,
                added_read_only_admins,
                removed_admins,
                removed_read_only_admins,
                other_settings,
                only_narrows,
                // They can only make the write fail.
                kept_admins: _,
                kept_read_only_admins: _,
            } => self.put_settings(
                [added_admins, added_read_only_admins],
                [removed_admins, removed_read_only_admins],
                other_settings.as_ref(),
                *only_narrows,
            ),
            Step::RemoveAttachment { subject, key } => self.remove_attachment(subject, key),
            Step::DeletePartition { id, values } => self.delete_partition(id, values),
            Step::DeleteTable { id } => self.delete_table(id),
            Step::DeleteDatabase { name } => self.delete_database(name),
        }
    }

    fn create_database(&mut self, database: &Database) -> Check {
        let subject = Subject::Database(database.name.clone());
        let primary = self.primary_database(&database.name)?;
        self.check_content(&subject, &primary.object, database)?;
        self.require_no_extra_grant(&subject)?;
        let settings = present(self.inputs.standby.settings.as_ref());
        if settings.is_none_or(|settings| settings.database_defaults_open) {
            let default_grant = default_grant(&database.name);
            if !self.primary_allows(&default_grant, false) {
                return reject(
                    AuditRule::WiderAccess,
                    format!(
                        "{subject} would be created with a default grant to {IAM_ALLOWED_PRINCIPALS}"
                    ),
                );
            }
            self.require_no_opt_in_before_creation(&subject)?;
            self.current_grants.insert(default_grant, false);
        }
        self.created.insert(subject);
        Ok(())
    }

    fn update_database(&self, database: &Database) -> Check {
        let subject = Subject::Database(database.name.clone());
        let primary = self.primary_database(&database.name)?;
        self.check_content(&subject, &primary.object, database)?;
        self.require_managed(&subject)
    }

    fn create_table(&mut self, id: &TableId, table: &Table) -> Check {
        let subject = Subject::Table(id.clone());
        let primary = self.primary_table(id)?;
        self.check_name(&subject, &id.table, &table.name)?;
        self.check_table_content(&subject, primary, table)?;
        self.require_managed(&Subject::Database(id.database.clone()))?;
        self.require_no_default_grants(&id.database)?;
        self.require_no_extra_grant(&subject)?;
        self.require_no_extra_grant(&Subject::Database(id.database.clone()))?;
        self.require_no_extra_all_tables_grant(&id.database)?;
        self.require_no_iam_access_before_opt_in(id)?;
        self.require_all_columns_visible(id)?;
        self.created.insert(subject.clone());
        self.require_no_extra_access(&subject, |replay| {
            replay
                .current_lf_tags
                .insert(subject.clone(), lf_tags::AssignedLfTags::new());
            replay.columns.insert(id.clone(), column_paths(table));
        })
    }

    fn update_table(&mut self, id: &TableId, table: &Table) -> Check {
        let subject = Subject::Table(id.clone());
        let primary = self.primary_table(id)?;
        self.check_name(&subject, &id.table, &table.name)?;
        self.check_table_content(&subject, primary, table)?;
        self.require_managed(&subject)?;
        let current = present(self.inputs.standby.tables.get(id)).map(|current| &current.object);
        let before = current.map(column_paths).unwrap_or_default();
        let after = column_paths(table);
        if before != after {
            self.require_all_columns_visible(id)?;
        }
        if current.is_some_and(|current| !shows_other_data(current, table)) {
            self.columns.insert(id.clone(), after);
            return Ok(());
        }
        self.require_no_extra_access_to(id)?;
        self.require_no_extra_grant(&subject)?;
        self.require_no_extra_all_tables_grant(&id.database)?;
        self.require_filters_equal_primary(id)?;
        if after.is_subset(&before) {
            self.columns.insert(id.clone(), after);
            return Ok(());
        }
        self.require_no_extra_access(&subject, |replay| {
            replay.columns.insert(id.clone(), after);
        })
    }

    fn write_partition(&self, id: &TableId, partition: &catalog::Partition) -> Check {
        let subject = Subject::Table(id.clone());
        self.require_managed(&subject)?;
        let listed = present(self.inputs.primary.partitions.get(id));
        let Some(primary) = listed.and_then(|listed| listed.to_compare.get(&partition.values))
        else {
            return reject(
                AuditRule::Altered,
                format!("the primary has no such partition of {subject}"),
            );
        };
        self.check_content(&subject, primary, partition)?;
        self.require_no_extra_access_to(id)
    }

    fn delete_partition(&self, id: &TableId, values: &[String]) -> Check {
        let subject = Subject::Table(id.clone());
        self.require_managed(&subject)?;
        let Some(listed) = present(self.inputs.primary.partitions.get(id)) else {
            return reject(
                AuditRule::Unproven,
                format!("the partitions of {subject} were not read"),
            );
        };
        let request = self.inputs.scope.read_requests.get(&subject);
        let is_deletion_allowed =
            request.is_some_and(|request| request.deletable_partitions.contains(values));
        let is_deletion_named = is_deletion_allowed
            || request.is_some_and(|request| request.unnamed_partitions_deleted);
        let in_standby = present(self.inputs.standby.partitions.get(id));
        let found = in_standby.is_some_and(|in_standby| {
            in_standby.extra.contains(values) || in_standby.to_compare.contains_key(values)
        });
        // After a read of all partitions, the snapshots do not contain those that are equal.
        let extra = in_standby.is_some_and(|in_standby| in_standby.extra.contains(values));
        let proven = match &listed.extent {
            PartitionExtent::Complete { total: 0 } => {
                extra && (is_deletion_named || self.is_recreated_in_primary(id))
            }
            PartitionExtent::Complete { .. } => extra,
            PartitionExtent::Named(requested) => is_deletion_allowed && requested.contains(values),
        };
        if listed.to_compare.contains_key(values) || !found || !proven {
            return reject(
                AuditRule::Unproven,
                format!("deleting a partition of {subject}"),
            );
        }
        Ok(())
    }

    fn delete_table(&mut self, id: &TableId) -> Check {
        let subject = Subject::Table(id.clone());
        let in_standby = present(self.inputs.standby.tables.get(id));
        if self.is_database_link(&id.database) {
            return reject(AuditRule::NotManaged, format!("deleting {subject}"));
        }
        if in_standby.is_some_and(|in_standby| in_standby.object.target_table.is_some()) {
            self.check_link_deletion(&subject)?;
            self.deleted.insert(subject);
            return Ok(());
        }
        if !self.is_paired(&subject) {
            return reject(AuditRule::NotManaged, format!("deleting {subject}"));
        }
        match self.inputs.primary.tables.get(id) {
            Some(Observation::Absent(proof)) if proof.is_complete() => {}
            Some(Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_))
            | None => return reject(AuditRule::Unproven, format!("deleting {subject}")),
        }
        self.deleted.insert(subject);
        Ok(())
    }

    fn delete_database(&mut self, name: &Name) -> Check {
        let subject = Subject::Database(name.clone());
        if self.is_database_link(name) {
            return self.check_link_deletion(&subject);
        }
        if !self.is_paired(&subject) {
            return reject(AuditRule::NotManaged, format!("deleting {subject}"));
        }
        match self.inputs.primary.databases.get(name) {
            Some(Observation::Absent(proof)) if proof.is_complete() => {}
            Some(Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_))
            | None => return reject(AuditRule::Unproven, format!("deleting {subject}")),
        }
        let tables = &self.inputs.standby.tables;
        let is_not_empty = tables.iter().any(|(id, table)| {
            id.database == *name
                && present(Some(table)).is_some()
                && !self.deleted.contains(&Subject::Table(id.clone()))
        });
        let functions = &self.inputs.standby.functions;
        let is_not_empty = is_not_empty
            || functions.iter().any(|(id, function)| {
                id.database == *name
                    && present(Some(function)).is_some()
                    && !self.deleted.contains(&Subject::Function(id.clone()))
            });
        let functions = self.inputs.standby.function_listings.get(name);
        let listed = self.inputs.standby.table_names.contains_key(name);
        if is_not_empty || !listed || !functions.is_some_and(Result::is_ok) {
            return reject(
                AuditRule::NotManaged,
                format!("it is not proven that {subject} is empty"),
            );
        }
        Ok(())
    }

    pub(super) fn primary_database(&self, name: &Name) -> Result<&Observed<Database>, Rejection> {
        present(self.inputs.primary.databases.get(name)).ok_or_else(|| {
            let detail = format!("the primary has no database {name}");
            Rejection::new(AuditRule::Altered, detail)
        })
    }

    pub(super) fn primary_table(&self, id: &TableId) -> Result<&Observed<Table>, Rejection> {
        present(self.inputs.primary.tables.get(id)).ok_or_else(|| {
            let detail = format!("the primary has no table {id}");
            Rejection::new(AuditRule::Altered, detail)
        })
    }

    fn check_name(&self, subject: &Subject, named: &Name, sent: &Name) -> Check {
        if named == sent {
            return Ok(());
        }
        reject(
            AuditRule::Altered,
            format!("{subject} would be written as {sent}"),
        )
    }

    /// The entry of an Iceberg table may show only a commit that was relocated.
    fn check_table_content(
        &self,
        subject: &Subject,
        primary: &Observed<Table>,
        sent: &Table,
    ) -> Check {
        let row = self.inputs.rows.get(subject);
        let replica = row.and_then(|row| row.iceberg.as_ref());
        let shown = replica.and_then(|replica| replica.shown.as_ref());
        self.content
            .check_table(primary, sent, shown)
            .map_err(|reason| Rejection::new(AuditRule::Altered, format!("{subject}: {reason}")))
    }

    fn check_content<T: serde::Serialize>(
        &self,
        subject: &Subject,
        primary: &T,
        sent: &T,
    ) -> Check {
        self.content
            .check(primary, sent)
            .map_err(|reason| Rejection::new(AuditRule::Altered, format!("{subject}: {reason}")))
    }
}

/// The grant that a new database gets while the standby's default permissions are open.
pub(super) fn default_grant(database: &Name) -> PermissionGrant {
    PermissionGrant {
        principal: crate::Principal::iam_allowed(),
        resource: Resource::Database(database.clone()),
        permission: crate::Permission::All,
        condition: None,
    }
}
