//! Checks data cells filters, opt-ins, and the items of Lake Formation.

use super::table_content::is_within;
use super::{Check, PlanReplay, present, reject};
use crate::audit::AuditRule;
use crate::catalog::{
    self, Attachment, AttachmentKey, DataCellsFilter, FilterColumns, ObservedAttachment,
};
use crate::grant::{LfTagPolicy, PermissionGrant, Resource};
use crate::name::TableId;
use crate::scope::{DeletedItem, Facet, LfSubject, Subject};
use crate::snapshot::Attachments;
use std::collections::BTreeMap;

/// Returns the data cells filters by table and name.
pub(super) fn filters(
    attachments: &[(&Subject, &ObservedAttachment)],
) -> BTreeMap<TableId, BTreeMap<String, DataCellsFilter>> {
    let mut all: BTreeMap<TableId, BTreeMap<String, DataCellsFilter>> = BTreeMap::new();
    for (owner, observed) in attachments {
        if let (Subject::Table(id), Attachment::DataCellsFilter(filter)) =
            (owner, &observed.attachment)
        {
            let of_table = all.entry(id.clone()).or_default();
            of_table.insert(filter.name.clone(), filter.clone());
        }
    }
    all
}

impl PlanReplay<'_> {
    fn is_filter_granted(&self, id: &TableId, name: &str) -> bool {
        let resource = Resource::DataCellsFilter(id.clone(), name.to_owned());
        let mut current_grants = self.current_grants.keys();
        current_grants.any(|grant| grant.resource == resource && !self.is_ignored(grant))
    }

    /// Whether a filter shows all columns of its table, except those that it excludes.
    pub(super) fn is_open_ended(&self, id: &TableId, name: &str) -> bool {
        let filter = self.filters.get(id).and_then(|all| all.get(name));
        filter.is_none_or(|filter| matches!(filter.columns, FilterColumns::AllBut(_)))
    }

    fn primary_filter(&self, id: &TableId, name: &str) -> Option<&DataCellsFilter> {
        let facet_key = (Subject::Table(id.clone()), Facet::DataCellsFilters);
        let all = present(self.inputs.primary.attachments.get(&facet_key))?;
        let observed = all.get(&AttachmentKey::DataCellsFilter(name.to_owned()))?;
        if let Attachment::DataCellsFilter(filter) = &observed.attachment {
            return Some(filter);
        }
        None
    }

    /// Requires that every filter on which there is a grant equals the primary's: new columns of
    /// the table are visible through a filter that only excludes columns, and other data through
    /// any filter.
    pub(super) fn require_filters_equal_primary(&self, id: &TableId) -> Check {
        for grant in self
            .current_grants
            .keys()
            .filter(|grant| !self.is_ignored(grant))
        {
            let Resource::DataCellsFilter(of, name) = &grant.resource else {
                continue;
            };
            if of != id {
                continue;
            }
            let current = self.filters.get(id).and_then(|all| all.get(name));
            if current.is_none() || current != self.primary_filter(id, name) {
                let detail = format!("an update of {id} would show more through its filter {name}");
                return reject(AuditRule::WiderAccess, detail);
            }
        }
        Ok(())
    }

    /// Requires that the data cells filter of a grant equals the primary's at this point.
    pub(super) fn require_granted_filter_equal(&self, grant: &PermissionGrant) -> Check {
        let Resource::DataCellsFilter(id, name) = &grant.resource else {
            return Ok(());
        };
        let facet_key = (Subject::Table(id.clone()), Facet::DataCellsFilters);
        if present(self.inputs.standby.attachments.get(&facet_key)).is_none()
            && !self.created.contains(&facet_key.0)
        {
            return reject(
                AuditRule::WiderAccess,
                format!("the filters of {id} were not read"),
            );
        }
        let in_standby = self.filters.get(id).and_then(|all| all.get(name));
        // If the standby has no such filter, Lake Formation refuses the grant.
        match in_standby.is_none() || in_standby == self.primary_filter(id, name) {
            true => Ok(()),
            false => reject(
                AuditRule::WiderAccess,
                format!("{grant}: the standby's filter differs from the primary's"),
            ),
        }
    }

    pub(super) fn put_filter(&mut self, subject: &Subject, filter: &DataCellsFilter) -> Check {
        let Subject::Table(id) = subject else {
            return reject(AuditRule::Altered, format!("{subject} has no filters"));
        };
        let exists = self.filters.get(id);
        let exists = exists.is_some_and(|all| all.contains_key(&filter.name));
        let is_known = present(self.inputs.standby.grants.get(subject)).is_some();
        if exists && !is_known && !self.shows_less(id, filter) {
            let detail = format!(
                "the grants on {subject} were not read, and the filter {} changes",
                filter.name
            );
            return reject(AuditRule::WiderAccess, detail);
        }
        if self.is_filter_granted(id, &filter.name) && !self.shows_less(id, filter) {
            let resource = Resource::DataCellsFilter(id.clone(), filter.name.clone());
            self.require_no_extra_grant_on(subject, |affected| *affected == resource)?;
            let in_primary = present(self.inputs.primary.tables.get(id))
                .map(|table| super::column_paths(&table.object));
            let lacks = |column: &&String| {
                let hidden = match &filter.columns {
                    FilterColumns::AllBut(hidden) => hidden,
                    FilterColumns::Only(_) => return false,
                };
                let known = in_primary
                    .as_ref()
                    .is_some_and(|in_primary| in_primary.contains(*column));
                !known && !hidden.iter().any(|name| is_within(column, name))
            };
            let shown = self.columns.get(id).into_iter().flatten();
            if let Some(column) = shown.into_iter().find(lacks) {
                let detail = format!(
                    "filter {} of {id} would give access to the column {column}",
                    filter.name
                );
                return reject(AuditRule::WiderAccess, detail);
            }
        }
        let all = self.filters.entry(id.clone()).or_default();
        all.insert(filter.name.clone(), filter.clone());
        Ok(())
    }

    /// Whether a filter shows no row, and no column that the table has or gains, that the one in its
    /// place does not. Two row filters cannot be compared.
    fn shows_less(&self, id: &TableId, filter: &DataCellsFilter) -> bool {
        let current = self.filters.get(id).and_then(|all| all.get(&filter.name));
        let (Some(current), Some(columns)) = (current, self.columns.get(id)) else {
            return false;
        };
        let is_shown = |columns: &FilterColumns, column: &String| match columns {
            FilterColumns::Only(named) => named.iter().any(|name| is_within(column, name)),
            FilterColumns::AllBut(hidden) => !hidden.iter().any(|name| is_within(column, name)),
        };
        let gains_columns = matches!(
            (&current.columns, &filter.columns),
            (FilterColumns::Only(_), FilterColumns::AllBut(_))
        );
        let has_fewer_rows = current.rows.is_none() || current.rows == filter.rows;
        let mut columns = columns.iter();
        has_fewer_rows
            && !gains_columns
            && columns.all(|column| {
                is_shown(&current.columns, column) || !is_shown(&filter.columns, column)
            })
    }

    /// Requires a proof that the primary lacks a Lake Formation item: it lists others of the kind, or an event or a
    /// person named this one.
    pub(super) fn require_item_deletion_proven(
        &self,
        subject: &Subject,
        key: &AttachmentKey,
    ) -> Check {
        let listed = present(
            self.inputs
                .primary
                .attachments
                .get(&(subject.clone(), Facet::Items)),
        );
        let others_are_listed = listed.is_some_and(|all| !all.is_empty());
        let is_named_item = |item: &DeletedItem| {
            let of_tag = matches!((item, key), (DeletedItem::LfTag(tag), AttachmentKey::LfTagValue { key, .. }) if tag == key);
            let of_value = matches!((item, key), (DeletedItem::LfTagValue { key: tag, value: gone }, AttachmentKey::LfTagValue { key, value }) if (tag, gone) == (key, value));
            let of_name = matches!((item, key), (DeletedItem::NamedExpression(named), AttachmentKey::NamedExpression(name)) if named == name);
            let of_location = matches!((item, key), (DeletedItem::Registration(named), AttachmentKey::Registration(arn)) if named == arn);
            of_tag || of_value || of_name || of_location
        };
        let request = self.inputs.scope.read_requests.get(subject);
        let is_named = request.is_some_and(|request| {
            request.deletion_named || request.deleted_items.iter().any(is_named_item)
        });
        match others_are_listed || is_named {
            true => Ok(()),
            false => reject(
                AuditRule::Unproven,
                format!("removing the {key} of {subject}, of which the primary lists nothing"),
            ),
        }
    }

    /// Requires of a Lake Formation item that it is paired, or does not exist in the standby.
    pub(super) fn require_managed_item(&self, subject: &Subject, key: &AttachmentKey) -> Check {
        let facet_key = (subject.clone(), Facet::Items);
        let Some(in_standby) = present(self.inputs.standby.attachments.get(&facet_key)) else {
            return reject(
                AuditRule::NotManaged,
                format!("the items of {subject} in the standby were not read"),
            );
        };
        let digest = catalog::digest(key);
        let row = self.inputs.rows.get(subject);
        let paired = row.is_some_and(|row| {
            row.managed_keys
                .iter()
                .any(|short_key| digest.starts_with(short_key))
        });
        match paired || !in_standby.contains_key(key) {
            true => Ok(()),
            false => reject(
                AuditRule::NotManaged,
                format!("Twinlake does not manage the {key} in the standby"),
            ),
        }
    }

    /// Requires that the standby has no grant that names an LF-Tag expression that changes, and no
    /// grant on the expression itself that the primary lacks.
    pub(super) fn put_expression(&self, subject: &Subject, name: &str) -> Check {
        let names_expression = |grant: &&PermissionGrant| {
            matches!(&grant.resource, Resource::LfTagPolicy { policy: LfTagPolicy::NamedExpression(named), .. } if named == name)
                && !self.is_ignored(grant)
        };
        if let Some(grant) = self.current_grants.keys().find(names_expression) {
            let detail = format!("{grant} would apply to other resources");
            return reject(AuditRule::WiderAccess, detail);
        }
        self.require_grants_read_and_none_extra(
            subject,
            |on| matches!(on, Resource::LfTagExpression(named) if named == name),
        )
    }

    /// Requires that nobody gets rights on a new LF-Tag value whom the primary gives none.
    pub(super) fn put_lf_tag_value(&self, subject: &Subject, tag: &str, added: &str) -> Check {
        self.require_grants_read_and_none_extra(
            subject,
            |on| matches!(on, Resource::LfTag { key, value } if key == tag && (value == added || value == "*")),
        )
    }

    /// Requires of a grant on every value of an LF-Tag that the standby has no other values than
    /// the primary, and of a grant on an expression that it equals the primary's.
    pub(super) fn require_granted_items_equal(&self, grant: &PermissionGrant) -> Check {
        let is_allowed = match &grant.resource {
            Resource::LfTag { key, value } if value == "*" => self.has_equal_values(key),
            Resource::LfTagExpression(name) => {
                self.put_expressions.contains(name) || self.has_equal_expression(name)
            }
            Resource::LfTag { .. }
            | Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::Column(..)
            | Resource::ColumnsExcept(..)
            | Resource::DataCellsFilter(..)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTagPolicy { .. } => true,
        };
        match is_allowed {
            true => Ok(()),
            false => reject(
                AuditRule::WiderAccess,
                format!(
                    "{grant}: the standby's {} may give more rights",
                    grant.resource
                ),
            ),
        }
    }

    /// The items of a Lake Formation subject in the primary and in the standby, if they were read.
    fn items(&self, lf_subject: LfSubject) -> Option<(&Attachments, &Attachments)> {
        let facet_key = (Subject::LakeFormation(lf_subject), Facet::Items);
        let in_primary = present(self.inputs.primary.attachments.get(&facet_key))?;
        let in_standby = present(self.inputs.standby.attachments.get(&facet_key))?;
        Some((in_primary, in_standby))
    }

    /// Whether every value of an LF-Tag in the standby exists in the primary.
    fn has_equal_values(&self, tag: &str) -> bool {
        let of_tag = |item: &&AttachmentKey| matches!(item, AttachmentKey::LfTagValue { key, .. } if key == tag);
        self.items(LfSubject::LfTags)
            .is_some_and(|(in_primary, in_standby)| {
                let mut values = in_standby.keys().filter(of_tag);
                values.all(|value| in_primary.contains_key(value))
            })
    }

    fn has_equal_expression(&self, name: &str) -> bool {
        let key = AttachmentKey::NamedExpression(name.to_owned());
        let expression = |all: &Attachments| {
            if let Attachment::NamedExpression(saved) = &all.get(&key)?.attachment {
                return Some(saved.expression.clone());
            }
            None
        };
        self.items(LfSubject::LfTagExpressions)
            .is_some_and(|(in_primary, in_standby)| {
                expression(in_primary) == expression(in_standby)
            })
    }
}
