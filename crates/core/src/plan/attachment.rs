//! Plans the attachments of a database or a table: partition indexes, column statistics, Glue
//! tags, data cells filters, LF-Tag assignments, opt-ins.

use super::absence::unproven_sight;
use super::columns::{column_paths, names_path};
use super::{FindingKind, PlanBuilder};
use crate::catalog::{
    Attachment, AttachmentKey, DataCellsFilter, FilterColumns, IndexStatus, Observed,
    ObservedAttachment, Table, digest,
};
use crate::grant::{PermissionGrant, Resource};
use crate::ledger::SubjectState;
use crate::name::TableId;
use crate::policy::DeletionPolicy;
use crate::scope::{Facet, Subject};
use crate::snapshot::{Attachments, Observation};
use crate::step::{RevokeCause, Step};
use std::collections::BTreeSet;

/// The facets that consist of attachments.
pub(super) const FACETS: [Facet; 6] = [
    Facet::Indexes,
    Facet::Statistics,
    Facet::GlueTags,
    Facet::DataCellsFilters,
    Facet::LfTagAssignments,
    Facet::OptIns,
];

/// Plans the attachments of one facet of a subject that Twinlake manages in the standby.
pub(super) fn plan(builder: &mut PlanBuilder<'_>, subject: &Subject, facet: Facet) {
    let inputs = builder.inputs;
    let facet_key = (subject.clone(), facet);
    let Some(primary) = inputs.primary.attachments.get(&facet_key) else {
        return;
    };
    // A subject that is about to be created has no attachments yet.
    let no_attachments = Observation::Present(Attachments::new());
    let standby = inputs
        .standby
        .attachments
        .get(&facet_key)
        .unwrap_or(&no_attachments);
    let (wanted, existing) = match (primary, standby) {
        (Observation::Present(wanted), Observation::Present(existing)) => (wanted, existing),
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            let error = error.clone();
            return builder.mark_unread(subject, &error);
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let mut puts = Vec::new();
    for (key, observed) in wanted.iter().filter(|(_, observed)| is_ready(observed)) {
        let put = put(subject, key, &observed.attachment, existing.get(key));
        match put
            .is_some()
            .then(|| missing_filter_column(builder, subject, &observed.attachment))
        {
            Some(Some(column)) => {
                let detail = format!(
                    "its {key} is not replicated: the table has no column {column}; correct the \
                     filter in the primary"
                );
                builder.add_finding(FindingKind::OnHold, subject, detail);
            }
            Some(None) | None => puts.extend(put),
        }
    }
    let is_filter = facet == Facet::DataCellsFilters;
    if is_filter && !puts.is_empty() && !builder.read_or_ask(subject, Facet::Grants) {
        let reason = "the grants on it were not read, by which its data cells filters apply";
        builder.waiting_subjects.insert(subject.clone());
        return builder.mark_not_in_sync(
            subject,
            SubjectState::OutOfSync,
            FindingKind::Unreadable,
            reason.to_owned(),
        );
    }
    let puts = puts
        .into_iter()
        .map(|step| order_filter_update(builder, existing, step));
    let puts: Vec<Step> = puts.collect();
    let removals = removals(builder, subject, facet, wanted, existing);
    // Removals come first: two partition indexes of a table never have the same keys (GL-06).
    let (removes, creates): (Vec<Step>, Vec<Step>) = puts
        .into_iter()
        .partition(|step| matches!(step, Step::RemoveAttachment { .. }));
    builder
        .steps
        .extend(removals.into_iter().chain(removes).chain(creates));
    let failed = existing
        .iter()
        .find(|(_, observed)| observed.index_status == IndexStatus::Failed);
    if let Some((key, _)) = failed {
        let reason = format!("the creation of the {key} failed in the standby; delete it there");
        builder.mark_not_in_sync(subject, SubjectState::Blocked, FindingKind::OnHold, reason);
    }
}

/// Returns a column that a data cells filter names and the primary's table lacks. Lake Formation
/// refuses to create such a filter.
fn missing_filter_column(
    builder: &PlanBuilder<'_>,
    subject: &Subject,
    attachment: &Attachment,
) -> Option<crate::Name> {
    let (Subject::Table(id), Attachment::DataCellsFilter(filter)) = (subject, attachment) else {
        return None;
    };
    let in_primary = builder.inputs.primary.tables.get(id);
    let in_primary = paths_of(in_primary.and_then(Observation::present));
    let mut named = named_columns(filter).iter();
    named.find(|name| !names_path(&in_primary, name)).cloned()
}

fn named_columns(filter: &DataCellsFilter) -> &BTreeSet<crate::Name> {
    match &filter.columns {
        FilterColumns::Only(names) | FilterColumns::AllBut(names) => names,
    }
}

/// Moves the update of an existing data cells filter before the changes of objects, if the
/// standby's table already fits it. If not, the grants on the filter are suspended until it is
/// updated.
fn order_filter_update(builder: &mut PlanBuilder<'_>, existing: &Attachments, step: Step) -> Step {
    let Step::PutAttachment {
        subject: Subject::Table(id),
        attachment: Attachment::DataCellsFilter(filter),
        ..
    } = &step
    else {
        return step;
    };
    if !existing.contains_key(&AttachmentKey::DataCellsFilter(filter.name.clone())) {
        return step;
    }
    let before_object_changes = has_columns(builder, id, filter);
    if !before_object_changes {
        suspend_filter_grants(builder, id, &filter.name);
    }
    Step::PutAttachment {
        subject: Subject::Table(id.clone()),
        attachment: Attachment::DataCellsFilter(filter.clone()),
        replaces: true,
        before_object_changes,
    }
}

/// Whether the standby's table has every column that a filter names, and the filter would not show
/// a column that the primary dropped.
fn has_columns(builder: &PlanBuilder<'_>, id: &TableId, filter: &DataCellsFilter) -> bool {
    let named = named_columns(filter);
    let table = builder.inputs.standby.tables.get(id);
    let table = table.and_then(Observation::present);
    let standby_columns = paths_of(table);
    let in_primary = builder.inputs.primary.tables.get(id);
    let in_primary = paths_of(in_primary.and_then(Observation::present));
    let shows_dropped_columns = match &filter.columns {
        FilterColumns::Only(_) => false,
        FilterColumns::AllBut(_) => !standby_columns.is_subset(&in_primary),
    };
    !shows_dropped_columns && named.iter().all(|name| names_path(&standby_columns, name))
}

fn paths_of(table: Option<&Observed<Table>>) -> BTreeSet<String> {
    table.map_or_else(BTreeSet::new, |observed| column_paths(&observed.object))
}

/// Revokes all grants on a filter, and grants them again once the filter is updated.
fn suspend_filter_grants(builder: &mut PlanBuilder<'_>, id: &TableId, name: &str) {
    let resource = Resource::DataCellsFilter(id.clone(), name.to_owned());
    let subject = Subject::Table(id.clone());
    let snapshots = [builder.inputs.primary, builder.inputs.standby];
    let [in_primary, existing] = snapshots.map(|snapshot| {
        let grants = snapshot.grants.get(&subject);
        grants.and_then(Observation::present)
    });
    let (Some(in_primary), Some(existing)) = (in_primary, existing) else {
        return;
    };
    let ignored = super::administrators::ignored(builder).unwrap_or_default();
    let suspended: Vec<(PermissionGrant, bool)> = existing
        .iter()
        .filter(|(grant, _)| grant.resource == resource && !ignored.contains(grant))
        .filter_map(|(grant, grantable)| {
            Some((grant.clone(), *grantable && *in_primary.get(grant)?))
        })
        .collect();
    for (grant, grantable) in suspended {
        if !builder.revokes(&grant) {
            builder.steps.push(Step::Revoke {
                grant: grant.clone(),
                grantable,
                cause: RevokeCause::Replace,
            });
            builder.steps.push(Step::Grant { grant, grantable });
        }
    }
}

/// Returns the reason why a grant on a data cells filter cannot be created: the primary lacks the
/// filter, or the filter is not replicated, so that the standby lacks it or has another one.
pub(super) fn missing_filter(builder: &PlanBuilder<'_>, grant: &PermissionGrant) -> Option<String> {
    let Resource::DataCellsFilter(id, name) = &grant.resource else {
        return None;
    };
    let facet_key = (Subject::Table(id.clone()), Facet::DataCellsFilters);
    let key = AttachmentKey::DataCellsFilter(name.clone());
    let in_primary = builder
        .inputs
        .primary
        .attachments
        .get(&facet_key)?
        .present()?;
    let existing = builder.inputs.standby.attachments.get(&facet_key);
    let existing = existing.and_then(Observation::present);
    let in_standby = existing.and_then(|existing| existing.get(&key));
    let is_same = |wanted: &ObservedAttachment| {
        in_standby.is_some_and(|one| digest(&one.attachment) == digest(&wanted.attachment))
    };
    match in_primary.get(&key) {
        None => Some(format!("its table has no data cells filter {name}")),
        Some(observed) if is_same(observed) => None,
        Some(observed) => missing_filter_column(builder, &facet_key.0, &observed.attachment)
            .map(|column| format!("the filter names the column {column}, which was dropped")),
    }
}

/// Returns the steps that remove the attachments that the primary lacks. The absence of one that decides on
/// access is proven only while Twinlake's role is an administrator, who sees everything.
fn removals(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    facet: Facet,
    wanted: &Attachments,
    existing: &Attachments,
) -> Vec<Step> {
    let extra = existing.iter().filter(|(key, observed)| {
        // The standby may have an attachment whose creation failed in the primary.
        let in_primary = wanted.get(*key).map(|observed| observed.index_status);
        let is_missing = matches!(in_primary, None | Some(IndexStatus::Deleting));
        observed.index_status == IndexStatus::Present && is_missing
    });
    let extra: Vec<&AttachmentKey> = extra.map(|(key, _)| key).collect();
    if let (Some(first), true, Some((kind, why))) = (
        extra.first(),
        facet.is_permission(),
        unproven_sight(builder.inputs.primary),
    ) {
        let reason = format!(
            "its {first} was not found in the primary, and its deletion is not proven: {why}"
        );
        builder.mark_not_in_sync(subject, SubjectState::OutOfSync, kind, reason);
        return Vec::new();
    }
    if let (Some(first), DeletionPolicy::Retain, false) = (
        extra.first(),
        builder.inputs.policy.deletions,
        facet.is_permission(),
    ) {
        let reason = format!("the policy retains its {first}, which the primary lacks");
        builder.mark_not_in_sync(subject, SubjectState::OnHold, FindingKind::OnHold, reason);
        return Vec::new();
    }
    let remove = |key: &AttachmentKey| Step::RemoveAttachment {
        subject: subject.clone(),
        key: key.clone(),
    };
    extra.into_iter().map(remove).collect()
}

fn is_ready(observed: &ObservedAttachment) -> bool {
    observed.index_status == IndexStatus::Present
}

fn put(
    subject: &Subject,
    key: &AttachmentKey,
    attachment: &Attachment,
    existing: Option<&ObservedAttachment>,
) -> Option<Step> {
    let put = Step::PutAttachment {
        subject: subject.clone(),
        attachment: attachment.clone(),
        // An index that is being deleted is created anew.
        replaces: existing.is_some_and(|existing| existing.index_status == IndexStatus::Present),
        before_object_changes: false,
    };
    let Some(existing) = existing else {
        return Some(put);
    };
    // Columns are compared without case. Digests are equal where NaN != NaN.
    let same =
        existing.attachment == *attachment || digest(&existing.attachment) == digest(attachment);
    match (existing.index_status, attachment) {
        (IndexStatus::Present, _) if same => None,
        // A failed attachment is reported and not tried again.
        (IndexStatus::Failed, _) => None,
        // An index cannot be updated: it is removed, and created in the next round.
        (IndexStatus::Present, Attachment::Index(_)) => Some(Step::RemoveAttachment {
            subject: subject.clone(),
            key: key.clone(),
        }),
        (
            IndexStatus::Present,
            Attachment::Statistics(_)
            | Attachment::GlueTag { .. }
            | Attachment::DataCellsFilter(_)
            | Attachment::LfTagAssignment { .. }
            | Attachment::OptIn(_)
            | Attachment::LfTagValue { .. }
            | Attachment::NamedExpression(_)
            | Attachment::Registration(_),
        )
        | (IndexStatus::Deleting, _) => Some(put),
    }
}

/// Plans all attachments of a subject that were read. A facet that cannot be read or written holds
/// none of the others back.
pub(super) fn plan_all(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    for facet in FACETS {
        builder.plan_facet(subject, facet, |builder| plan(builder, subject, facet));
    }
}

/// Plans the updates of data cells filters that only take rows or columns away, of a table of which
/// nothing else is planned.
pub(super) fn plan_narrower_filters(builder: &mut PlanBuilder<'_>, id: &TableId) {
    let subject = Subject::Table(id.clone());
    let facet_key = (subject.clone(), Facet::DataCellsFilters);
    let snapshots = [builder.inputs.primary, builder.inputs.standby];
    let [in_primary, in_standby] = snapshots.map(|snapshot| {
        let filters = snapshot.attachments.get(&facet_key);
        filters.and_then(Observation::present)
    });
    let in_primary = in_primary.into_iter().flatten();
    for (key, observed) in in_primary {
        let existing = in_standby.and_then(|existing| existing.get(key));
        let (Attachment::DataCellsFilter(wanted), Some(Attachment::DataCellsFilter(existing))) = (
            &observed.attachment,
            existing.map(|existing| &existing.attachment),
        ) else {
            continue;
        };
        let is_valid = missing_filter_column(builder, &subject, &observed.attachment).is_none();
        if is_valid && is_narrower(wanted, existing) && has_columns(builder, id, wanted) {
            builder.steps.push(Step::PutAttachment {
                subject: subject.clone(),
                attachment: observed.attachment.clone(),
                replaces: true,
                before_object_changes: true,
            });
        }
    }
}

/// Whether a filter shows some rows and columns of another one, and no other ones. Two row filters
/// cannot be compared.
fn is_narrower(one: &DataCellsFilter, other: &DataCellsFilter) -> bool {
    let has_fewer_columns = match (&one.columns, &other.columns) {
        (FilterColumns::Only(one), FilterColumns::Only(other)) => one.is_subset(other),
        // A nested column may belong to a hidden one.
        (FilterColumns::Only(one), FilterColumns::AllBut(hidden)) => {
            let hidden: BTreeSet<&str> = hidden.iter().map(crate::Name::root_column).collect();
            one.iter().all(|name| !hidden.contains(name.root_column()))
        }
        (FilterColumns::AllBut(one), FilterColumns::AllBut(other)) => one.is_superset(other),
        (FilterColumns::AllBut(_), FilterColumns::Only(_)) => false,
    };
    let has_fewer_rows = one.rows == other.rows || other.rows.is_none();
    one != other && has_fewer_columns && has_fewer_rows
}
