//! Plans the grants of one subject: revokes first, then grants.

use super::absence::unproven_sight;
use super::administrators::{Ignored, ignored, without_implicit};
use super::{
    FindingKind, PlanBuilder, attachment, column_visibility, finding_kind, lakeformation, link,
};
use crate::catalog::MaybeLink;
use crate::grant::{Grants, Permission, PermissionGrant, Principal, Resource};
use crate::ledger::{LedgerRow, SubjectState};
use crate::render::counted;
use crate::scope::{Facet, Subject, subject_of_grant};
use crate::snapshot::Observation;
use crate::step::{RevokeCause, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the grants of a subject that Twinlake manages in the standby. Returns whether the plan
/// revokes every grant that the primary lacks.
pub(super) fn plan(builder: &mut PlanBuilder<'_>, subject: &Subject) -> bool {
    reconcile(builder, subject, true)
}

/// Plans the revokes of grants that the primary lacks, and no grants.
pub(super) fn plan_revokes_only(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    reconcile(builder, subject, false);
}

fn reconcile(builder: &mut PlanBuilder<'_>, subject: &Subject, plan_grants: bool) -> bool {
    let inputs = builder.inputs;
    let (Some(primary), Some(standby)) = (
        inputs.primary.grants.get(subject),
        inputs.standby.grants.get(subject),
    ) else {
        return true;
    };
    let (wanted, existing) = match (primary, standby) {
        (Observation::Present(wanted), Observation::Present(existing)) => (wanted, existing),
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            let pairing = builder
                .subject_outcomes
                .get(subject)
                .and_then(|outcome| outcome.pairing.clone());
            builder.plan_facet(subject, Facet::Grants, |builder| {
                builder.mark_unread(subject, error);
            });
            if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
                outcome.pairing = pairing;
            }
            // What an event named is revoked whether or not the standby lists it.
            plan_named_revokes_only(builder, subject);
            return false;
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return true,
    };
    let named_revokes = named_revokes_on(builder, subject);
    if wanted == existing && named_revokes.is_empty() {
        return true;
    }
    let Some(ignored) = ignored(builder) else {
        let reason =
            "the data lake settings could not be read, so its grants are not changed".to_owned();
        let kind = kind_of_unread_settings(builder);
        mark_not_in_sync(builder, subject, SubjectState::OutOfSync, kind, reason);
        return false;
    };
    // Grants on what is below a resource link belong to the link's target.
    let comparable = |grants: &Grants, is_link: bool| -> Grants {
        let kept = grants.iter().filter(|(grant, _)| {
            let is_ignored = ignored.contains(grant) || (is_link && !is_on_whole_object(grant));
            !is_ignored && lakeformation::is_managed_resource(builder, &grant.resource)
        });
        kept.map(|(grant, grantable)| (grant.clone(), *grantable))
            .collect()
    };
    let wanted = comparable(wanted, link::is_link(inputs.primary, subject));
    let existing = comparable(existing, link::is_link(inputs.standby, subject));
    let wanted = without_implicit(builder, wanted, &existing);
    let mut wanted = without_missing_targets(builder, subject, wanted, &existing);
    let on_dropped_columns = grants_on_dropped_columns(builder, &existing);
    wanted.retain(|grant, _| !on_dropped_columns.contains(grant));
    let mut revokes = find_revokes(
        (&wanted, &existing),
        (&named_revokes, &inputs.scope.own_grants),
        &ignored,
    );
    let are_revokes_complete = hold_unproven_revokes(builder, subject, &wanted, &mut revokes);
    for grant in on_dropped_columns {
        revokes.insert(grant, RevokeCause::ColumnDropped);
    }
    if plan_grants && are_revokes_complete {
        suspend_blocking_grants(&wanted, &existing, &mut revokes);
    }
    if plan_grants && are_revokes_complete {
        for (grant, grantable) in missing_grants(&wanted, &existing, &revokes) {
            plan_grant(builder, grant, grantable);
        }
    }
    let revokes = revokes.into_iter().map(|(grant, cause)| Step::Revoke {
        grantable: existing.get(&grant) == Some(&true) || named_revokes.get(&grant) == Some(&true),
        grant,
        cause,
    });
    builder.steps.extend(revokes);
    are_revokes_complete
}

/// Plans a grant. Grants on all tables of a database and by LF-Tag policies are decided once the
/// tables are planned, and grants on LF-Tags and expressions once these are.
fn plan_grant(builder: &mut PlanBuilder<'_>, grant: PermissionGrant, grantable: bool) {
    match &grant.resource {
        Resource::AllTables(database) => {
            builder
                .all_tables_grants
                .push((database.clone(), grant, grantable));
        }
        Resource::LfTagPolicy { .. } => builder.lf_tag_policy_grants.push((grant, grantable)),
        Resource::LfTag { .. } | Resource::LfTagExpression(_) => {
            builder.lf_item_grants.push((grant, grantable));
        }
        Resource::Database(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_) => builder.steps.push(Step::Grant { grant, grantable }),
    }
}

/// Whether the grant is on a database or table itself, and not on what is below it.
fn is_on_whole_object(grant: &PermissionGrant) -> bool {
    match grant.resource {
        Resource::Database(_) | Resource::Table(_) => true,
        Resource::AllTables(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagPolicy { .. }
        | Resource::LfTagExpression(_) => false,
    }
}

/// Plans only the revokes that an event named, for a subject of which nothing else can be decided.
pub(super) fn plan_named_revokes_only(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    let named_revokes = named_revokes_on(builder, subject);
    let scope = builder.inputs.scope;
    plan_revokes_where(builder, subject, |grant| {
        named_revokes.contains_key(grant) && scope.is_named_by_event(grant)
    });
}

/// Plans the revokes that are justified by themselves: an event named them, or the primary provably
/// lacks the grant. Where all grants have to be read for the proof, the plan asks for that.
pub(super) fn plan_own_revokes(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    let snapshots = [builder.inputs.primary, builder.inputs.standby];
    let [in_primary, in_standby] = snapshots.map(|snapshot| {
        let grants = snapshot.grants.get(subject);
        grants.and_then(Observation::present)
    });
    if let (Some(in_primary), Some(in_standby), false) = (
        in_primary,
        in_standby,
        is_whole_listing_read(builder, subject),
    ) {
        let ignored = ignored(builder).unwrap_or_default();
        let extra = in_standby.keys().filter(|grant| {
            !in_primary.contains_key(*grant)
                && !ignored.contains(grant)
                && lakeformation::is_managed_resource(builder, &grant.resource)
        });
        builder.needs_full_grant_read += extra.count();
    }
    plan_revokes_where(builder, subject, |_| true);
}

fn plan_revokes_where(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    is_wanted: impl Fn(&PermissionGrant) -> bool,
) {
    let Some(ignored) = ignored(builder) else {
        return;
    };
    let own = own_revokes(builder, subject, &ignored).into_iter();
    let steps: Vec<Step> = own
        .filter(|(grant, _)| is_wanted(grant))
        .map(|(grant, (grantable, cause))| Step::Revoke {
            grant,
            grantable,
            cause,
        })
        .collect();
    builder.steps.extend(steps);
}

/// Whether the standby's object, which is not paired, has the name of an object that Twinlake
/// managed there: somebody replaced that one, and grants on a name can outlive its object.
pub(super) fn is_replaced(row: Option<&LedgerRow>, existing: &impl MaybeLink) -> bool {
    let pairing = row.and_then(|row| row.pairing.as_ref());
    pairing.is_some_and(|pairing| !pairing.link) && !existing.is_link()
}

/// The revokes on a subject that are justified whatever else the plan does, with their grant option
/// and cause: of grants that the primary lacks, where an event named the revoke or the whole
/// listing proves it.
fn own_revokes(
    builder: &PlanBuilder<'_>,
    subject: &Subject,
    ignored: &Ignored<'_>,
) -> BTreeMap<PermissionGrant, (bool, RevokeCause)> {
    let (primary, standby) = (builder.inputs.primary, builder.inputs.standby);
    let Some(wanted) = primary.grants.get(subject).and_then(Observation::present) else {
        return BTreeMap::new();
    };
    let is_link = link::is_link(standby, subject);
    let is_proven = primary.is_administrator && is_listing_trusted(builder, subject);
    let scope = builder.inputs.scope;
    let mut named_revokes = named_revokes_on(builder, subject);
    named_revokes.retain(|grant, _| is_proven || scope.is_named_by_event(grant));
    let listed = standby.grants.get(subject).and_then(Observation::present);
    let listed = listed.into_iter().flatten();
    let mut revokes: BTreeMap<PermissionGrant, (bool, RevokeCause)> = named_revokes
        .iter()
        .map(|(grant, grantable)| {
            let cause = cause_of_unlisted(grant, &scope.own_grants);
            (grant.clone(), (*grantable, cause))
        })
        .collect();
    for (grant, grantable) in listed {
        let is_managed = lakeformation::is_managed_resource(builder, &grant.resource)
            && (!is_link || is_on_whole_object(grant));
        let is_named = named_revokes.get(grant);
        if is_named.is_some() || (is_proven && is_managed) {
            let grantable = *grantable || is_named == Some(&true);
            revokes.insert(grant.clone(), (grantable, RevokeCause::NotInPrimary));
        }
    }
    revokes.retain(|grant, _| !wanted.contains_key(grant) && !ignored.contains(grant));
    revokes
}

/// Plans the revoke of every grant on a subject that is about to be deleted. Returns whether that
/// was possible. A revoke that is justified by itself is made even if the deletion is not.
pub(super) fn revoke_all(builder: &mut PlanBuilder<'_>, subject: &Subject) -> bool {
    let Some(existing) = builder.inputs.standby.grants.get(subject) else {
        return true;
    };
    let Some(ignored) = ignored(builder) else {
        let reason = "the data lake settings could not be read, so it is not deleted".to_owned();
        let kind = kind_of_unread_settings(builder);
        mark_not_in_sync(builder, subject, SubjectState::OutOfSync, kind, reason);
        return false;
    };
    let is_link = link::is_link(builder.inputs.standby, subject);
    let grants = existing.present().into_iter().flatten();
    let mut revokes = own_revokes(builder, subject, &ignored);
    for (grant, grantable) in grants {
        if !ignored.contains(grant) && (!is_link || is_on_whole_object(grant)) {
            let with_deletion = (*grantable, RevokeCause::Deletion);
            revokes.entry(grant.clone()).or_insert(with_deletion);
        }
    }
    let steps = revokes
        .into_iter()
        .map(|(grant, (grantable, cause))| Step::Revoke {
            grant,
            grantable,
            cause,
        });
    builder.steps.extend(steps);
    true
}

fn named_revokes_on(
    builder: &PlanBuilder<'_>,
    subject: &Subject,
) -> BTreeMap<PermissionGrant, bool> {
    let all = builder.inputs.scope.named_revokes.iter();
    let is_link = link::is_link(builder.inputs.standby, subject);
    all.filter(|(grant, _)| subject_of_grant(grant) == *subject)
        .filter(|(grant, _)| !is_link || is_on_whole_object(grant))
        .filter(|(grant, _)| lakeformation::is_managed_resource(builder, &grant.resource))
        .map(|(grant, grantable)| (grant.clone(), *grantable))
        .collect()
}

/// Why a grant is revoked that the standby does not list: an event named it, or a session made it.
fn cause_of_unlisted(
    grant: &PermissionGrant,
    own_grants: &BTreeSet<PermissionGrant>,
) -> RevokeCause {
    match own_grants.contains(grant) {
        true => RevokeCause::NotInPrimary,
        false => RevokeCause::NamedByEvent,
    }
}

fn find_revokes(
    (wanted, existing): (&Grants, &Grants),
    (named_revokes, own_grants): (&BTreeMap<PermissionGrant, bool>, &BTreeSet<PermissionGrant>),
    ignored: &Ignored<'_>,
) -> BTreeMap<PermissionGrant, RevokeCause> {
    let mut revokes = BTreeMap::new();
    for (grant, grantable) in existing {
        match wanted.get(grant) {
            None => {
                revokes.insert(grant.clone(), RevokeCause::NotInPrimary);
            }
            Some(primary_grantable) if *grantable && !primary_grantable => {
                revokes.insert(grant.clone(), RevokeCause::Replace);
            }
            Some(_) => {}
        }
    }
    for (grant, grantable) in named_revokes {
        if ignored.contains(grant) {
            continue;
        }
        match wanted.get(grant) {
            // Of a grant that the standby lists, the primary's listing decides.
            None => {
                let cause = cause_of_unlisted(grant, own_grants);
                revokes.entry(grant.clone()).or_insert(cause);
            }
            Some(primary_grantable) if *grantable && !primary_grantable => {
                revokes.insert(grant.clone(), RevokeCause::Replace);
            }
            Some(_) => {}
        }
    }
    revokes
}

/// Drops the revokes whose absence from the primary is not proven: no event named them, and not
/// all grants were read as administrator. Returns whether none was dropped.
fn hold_unproven_revokes(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    wanted: &Grants,
    revokes: &mut BTreeMap<PermissionGrant, RevokeCause>,
) -> bool {
    let primary = builder.inputs.primary;
    if primary.is_administrator && is_listing_trusted(builder, subject) {
        return true;
    }
    let before = revokes.len();
    let scope = builder.inputs.scope;
    revokes.retain(|grant, _| wanted.contains_key(grant) || scope.is_named_by_event(grant));
    let dropped = before - revokes.len();
    if dropped == 0 {
        return true;
    }
    if !is_whole_listing_read(builder, subject) {
        builder.needs_full_grant_read += dropped;
        let reason = format!(
            "the primary seems to lack {}, and not all of its grants were read",
            counted(dropped, "grant")
        );
        mark_not_in_sync(
            builder,
            subject,
            SubjectState::OutOfSync,
            FindingKind::Unreadable,
            reason,
        );
        return false;
    }
    let (kind, reason) = unproven_sight(primary).unwrap_or((
        FindingKind::Unreadable,
        "the primary lists no grant at all, or refuses to list those of a resource type",
    ));
    let reason = format!(
        "the primary seems to lack {}, and that is not proven: {reason}",
        counted(dropped, "grant")
    );
    mark_not_in_sync(builder, subject, SubjectState::OutOfSync, kind, reason);
    false
}

/// The kind of the finding that the data lake settings of a Region could not be read.
fn kind_of_unread_settings(builder: &PlanBuilder<'_>) -> FindingKind {
    let regions = [builder.inputs.primary, builder.inputs.standby];
    let mut kinds = regions
        .into_iter()
        .filter_map(|snapshot| match &snapshot.settings {
            Some(Observation::Unknown(error)) => Some(finding_kind(error)),
            Some(Observation::Present(_) | Observation::Absent(_)) | None => None,
        });
    // Where one read is denied, another attempt does not help.
    match kinds.any(|kind| kind == FindingKind::Denied) {
        true => FindingKind::Denied,
        false => FindingKind::Unreadable,
    }
}

/// Records that a subject is not in sync because of its grants.
fn mark_not_in_sync(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    state: SubjectState,
    kind: FindingKind,
    reason: String,
) {
    builder.plan_facet(subject, Facet::Grants, |builder| {
        builder.mark_not_in_sync(subject, state, kind, reason);
    });
}

/// Whether the grants on a subject come from full reads in both Regions.
fn is_whole_listing_read(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    let snapshots = [builder.inputs.primary, builder.inputs.standby];
    let mut snapshots = snapshots.iter();
    snapshots.all(|snapshot| snapshot.full_grant_reads.contains(subject))
}

/// Whether these full reads show what the primary lacks: there, some grant was listed.
fn is_listing_trusted(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    let primary = builder.inputs.primary;
    is_whole_listing_read(builder, subject) && primary.nonempty_full_grant_reads.contains(subject)
}

/// Returns a column that a grant names and the primary's table lacks. Such a grant gives no
/// access, and Lake Formation refuses to create it again.
fn missing_column(builder: &PlanBuilder<'_>, grant: &PermissionGrant) -> Option<crate::Name> {
    let (id, named) = match &grant.resource {
        Resource::Column(id, column) => (id, BTreeSet::from([column.clone()])),
        Resource::ColumnsExcept(id, excluded) => (id, excluded.clone()),
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagPolicy { .. }
        | Resource::LfTagExpression(_) => return None,
    };
    let table = builder.inputs.primary.tables.get(id)?.present()?;
    let known: BTreeSet<String> = table
        .object
        .columns()
        .map(|column| column.name.to_lowercase())
        .collect();
    named.into_iter().find(|name| !name.is_in_columns(&known))
}

/// Returns the standby's grants on columns that the standby's table has and the primary's does not.
fn grants_on_dropped_columns(
    builder: &PlanBuilder<'_>,
    existing: &Grants,
) -> BTreeSet<PermissionGrant> {
    let is_on_dropped_column = |grant: &&PermissionGrant| {
        let Resource::Column(id, column) = &grant.resource else {
            return false;
        };
        let in_standby = builder.inputs.standby.tables.get(id);
        let in_standby = in_standby.and_then(Observation::present);
        let exists = in_standby.is_some_and(|table| {
            let mut columns = table.object.columns();
            columns.any(|listed| listed.name.eq_ignore_ascii_case(column.as_str()))
        });
        exists
            && missing_column(builder, grant).is_some()
            && column_visibility::are_all_columns_visible(builder.inputs, id)
    };
    existing
        .keys()
        .filter(is_on_dropped_column)
        .cloned()
        .collect()
}

/// Revokes the grants that prevent a missing column grant; they are granted again after
/// it. These are the grants to `IAM_ALLOWED_PRINCIPALS` on the table, which make Lake Formation
/// store a column grant as one on every column (LF-14), and the principal's own SELECT on the
/// whole table, which makes it refuse the column grant (LF-16).
fn suspend_blocking_grants(
    wanted: &Grants,
    existing: &Grants,
    revokes: &mut BTreeMap<PermissionGrant, RevokeCause>,
) {
    let iam_allowed = Principal::iam_allowed();
    let missing = missing_grants(wanted, existing, revokes);
    let principals: BTreeSet<&Principal> = missing
        .keys()
        .filter(|grant| grant.is_on_part_of_table() && grant.principal != iam_allowed)
        .map(|grant| &grant.principal)
        .collect();
    for grant in existing.keys() {
        let is_select_on_table =
            grant.permission == Permission::Select && !grant.is_on_part_of_table();
        let is_blocking = match grant.principal == iam_allowed {
            true => !principals.is_empty(),
            false => is_select_on_table && principals.contains(&grant.principal),
        };
        if is_blocking && wanted.contains_key(grant) && !revokes.contains_key(grant) {
            revokes.insert(grant.clone(), RevokeCause::Replace);
        }
    }
}

/// Leaves out the grants that Lake Formation would refuse to create, because they name a column, a
/// filter, an LF-Tag or an expression that the primary lacks. They give no access there either.
fn without_missing_targets(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    mut wanted: Grants,
    existing: &Grants,
) -> Grants {
    let missing: Vec<PermissionGrant> = missing_grants(&wanted, existing, &BTreeMap::new())
        .into_keys()
        .collect();
    for grant in missing {
        let missing_target = match missing_column(builder, &grant) {
            Some(column) => Some(format!("its table has no column {column}")),
            None => attachment::missing_filter(builder, &grant)
                .or_else(|| lakeformation::missing_target(builder, &grant)),
        };
        if let Some(reason) = missing_target {
            let detail = format!("{grant} is not replicated: {reason}; revoke it in the primary");
            builder.add_finding(FindingKind::OnHold, subject, detail);
            if !existing.contains_key(&grant) {
                wanted.remove(&grant);
            }
        }
    }
    wanted
}

fn missing_grants(
    wanted: &Grants,
    existing: &Grants,
    revokes: &BTreeMap<PermissionGrant, RevokeCause>,
) -> Grants {
    let is_missing = |grant: &PermissionGrant, grantable: bool| {
        let existing = existing.get(grant).filter(|_| !revokes.contains_key(grant));
        existing.is_none_or(|existing_grantable| grantable && !existing_grantable)
    };
    wanted
        .iter()
        .filter(|(grant, grantable)| is_missing(grant, **grantable))
        .map(|(grant, grantable)| (grant.clone(), *grantable))
        .collect()
}
