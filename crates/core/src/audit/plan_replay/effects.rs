//! The effects of steps on the replayed state, without checks, and their reversal.

use super::lf_tags::AssignedLfTags;
use super::{PlanReplay, column_paths, default_grant, present};
use crate::catalog::{Attachment, AttachmentKey, DataCellsFilter, OptIn};
use crate::grant::PermissionGrant;
use crate::name::{Name, TableId};
use crate::scope::Subject;
use crate::step::{RevokeCause, Step};
use std::collections::{BTreeMap, BTreeSet};

/// What a step can change of the replayed state, as it was before.
pub(in crate::audit) struct SavedState {
    subject: Subject,
    is_created: bool,
    is_deleted: bool,
    lf_tags: Option<AssignedLfTags>,
    table: Option<SavedTable>,
    grant: Option<(PermissionGrant, Option<bool>, bool)>,
    opt_in: Option<(OptIn, bool)>,
    expression: Option<(String, bool)>,
    cleared_defaults: Option<(Name, bool)>,
}

struct SavedTable {
    id: TableId,
    columns: Option<BTreeSet<String>>,
    filters: Option<BTreeMap<String, DataCellsFilter>>,
}

fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn set_member<T: Ord>(set: &mut BTreeSet<T>, member: T, is_member: bool) {
    match is_member {
        true => set.insert(member),
        false => set.remove(&member),
    };
}

impl PlanReplay<'_> {
    /// Saves what a step can change.
    pub(in crate::audit) fn save(&self, step: &Step) -> SavedState {
        let subject = step.subject();
        let table = match &subject {
            Subject::Table(id) => Some(SavedTable {
                id: id.clone(),
                columns: self.columns.get(id).cloned(),
                filters: self.filters.get(id).cloned(),
            }),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => None,
        };
        let grant = match step {
            Step::Grant { grant, .. } | Step::Revoke { grant, .. } => {
                let held = self.current_grants.get(grant).copied();
                Some((grant.clone(), held, self.to_regrant.contains(grant)))
            }
            Step::CreateDatabase { database } => {
                let grant = default_grant(&database.name);
                let held = self.current_grants.get(&grant).copied();
                let is_suspended = self.to_regrant.contains(&grant);
                Some((grant, held, is_suspended))
            }
            Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutAttachment { .. }
            | Step::RemoveAttachment { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::PutSettings { .. }
            | Step::DeleteDatabase { .. } => None,
        };
        let opt_in = opt_in_of(step).map(|opt_in| (opt_in.clone(), self.opt_ins.contains(opt_in)));
        let expression = expression_put_by(step)
            .map(|name| (name.to_owned(), self.put_expressions.contains(name)));
        let cleared_defaults = defaults_cleared_by(step)
            .map(|name| (name.clone(), self.cleared_defaults.contains(name)));
        SavedState {
            is_created: self.created.contains(&subject),
            is_deleted: self.deleted.contains(&subject),
            lf_tags: self.current_lf_tags.get(&subject).cloned(),
            subject,
            table,
            grant,
            opt_in,
            expression,
            cleared_defaults,
        }
    }

    /// Puts back what was saved.
    pub(in crate::audit) fn restore(&mut self, saved: SavedState) {
        set_member(&mut self.created, saved.subject.clone(), saved.is_created);
        set_member(&mut self.deleted, saved.subject.clone(), saved.is_deleted);
        put_back(&mut self.current_lf_tags, saved.subject, saved.lf_tags);
        if let Some(table) = saved.table {
            put_back(&mut self.columns, table.id.clone(), table.columns);
            put_back(&mut self.filters, table.id, table.filters);
        }
        if let Some((grant, held, is_suspended)) = saved.grant {
            put_back(&mut self.current_grants, grant.clone(), held);
            set_member(&mut self.to_regrant, grant, is_suspended);
        }
        if let Some((opt_in, is_present)) = saved.opt_in {
            set_member(&mut self.opt_ins, opt_in, is_present);
        }
        if let Some((name, is_put)) = saved.expression {
            set_member(&mut self.put_expressions, name, is_put);
        }
        if let Some((name, is_cleared)) = saved.cleared_defaults {
            set_member(&mut self.cleared_defaults, name, is_cleared);
        }
    }

    /// Applies the effect of a step that succeeded.
    pub(in crate::audit) fn apply_effect(&mut self, step: &Step) {
        let subject = step.subject();
        match step {
            Step::CreateDatabase { database } => {
                let settings = present(self.inputs.standby.settings.as_ref());
                if settings.is_none_or(|settings| settings.database_defaults_open) {
                    let grant = default_grant(&database.name);
                    self.current_grants.insert(grant, false);
                }
                self.created.insert(subject);
            }
            Step::CreateTable { id, table } => {
                self.columns.insert(id.clone(), column_paths(table));
                self.current_lf_tags
                    .insert(subject.clone(), AssignedLfTags::new());
                self.created.insert(subject);
            }
            Step::UpdateTable { id, table, .. } => {
                self.columns.insert(id.clone(), column_paths(table));
            }
            Step::PutAttachment { attachment, .. } => self.put_effect(subject, attachment),
            Step::RemoveAttachment { key, .. } => self.removal_effect(&subject, key),
            Step::Grant { grant, grantable } => {
                self.current_grants.insert(grant.clone(), *grantable);
            }
            Step::Revoke { grant, cause, .. } => {
                self.current_grants.remove(grant);
                if *cause == RevokeCause::Replace {
                    self.to_regrant.insert(grant.clone());
                }
            }
            Step::DeleteTable { .. }
            | Step::DeleteFunction { .. }
            | Step::DeleteDatabase { .. } => {
                self.deleted.insert(subject);
            }
            Step::UpdateDatabase { .. } => {
                self.cleared_defaults
                    .extend(defaults_cleared_by(step).cloned());
            }
            Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeletePartition { .. }
            | Step::PutSettings { .. } => {}
        }
    }

    fn put_effect(&mut self, subject: Subject, attachment: &Attachment) {
        match attachment {
            Attachment::DataCellsFilter(filter) => {
                if let Subject::Table(id) = subject {
                    let of_table = self.filters.entry(id).or_default();
                    of_table.insert(filter.name.clone(), filter.clone());
                }
            }
            Attachment::LfTagAssignment { column, key, value } => {
                let column = column.as_ref().map(|name| name.as_str().to_owned());
                let own_tags = self.current_lf_tags.entry(subject).or_default();
                own_tags.insert((column, key.clone()), value.clone());
            }
            Attachment::OptIn(opt_in) => {
                self.opt_ins.insert((**opt_in).clone());
            }
            Attachment::Index(_)
            | Attachment::Statistics(_)
            | Attachment::GlueTag { .. }
            | Attachment::LfTagValue { .. }
            | Attachment::Registration(_) => {}
            Attachment::NamedExpression(saved) => {
                self.put_expressions.insert(saved.name.clone());
            }
        }
    }

    fn removal_effect(&mut self, subject: &Subject, key: &AttachmentKey) {
        match key {
            AttachmentKey::DataCellsFilter(name) => {
                if let Subject::Table(id) = subject
                    && let Some(of_table) = self.filters.get_mut(id)
                {
                    of_table.remove(name);
                }
            }
            AttachmentKey::LfTagAssignment { column, key } => {
                let column = column.as_ref().map(|name| name.as_str().to_owned());
                if let Some(own_tags) = self.current_lf_tags.get_mut(subject) {
                    own_tags.remove(&(column, key.clone()));
                }
            }
            AttachmentKey::OptIn(opt_in) => {
                self.opt_ins.remove(&**opt_in);
            }
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::LfTagValue { .. }
            | AttachmentKey::NamedExpression(_)
            | AttachmentKey::Registration(_) => {}
        }
    }
}

fn opt_in_of(step: &Step) -> Option<&OptIn> {
    if let Step::PutAttachment {
        attachment: Attachment::OptIn(opt_in),
        ..
    } = step
    {
        return Some(opt_in);
    }
    if let Step::RemoveAttachment {
        key: AttachmentKey::OptIn(opt_in),
        ..
    } = step
    {
        return Some(opt_in);
    }
    None
}

fn expression_put_by(step: &Step) -> Option<&str> {
    if let Step::PutAttachment {
        attachment: Attachment::NamedExpression(saved),
        ..
    } = step
    {
        return Some(&saved.name);
    }
    None
}

fn defaults_cleared_by(step: &Step) -> Option<&Name> {
    if let Step::UpdateDatabase { database, .. } = step
        && database
            .create_table_default_permissions
            .as_ref()
            .is_some_and(Vec::is_empty)
    {
        return Some(&database.name);
    }
    None
}
