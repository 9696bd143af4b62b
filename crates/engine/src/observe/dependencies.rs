//! Reads what decisions on the requested subjects depend on.

use super::{Observer, Snapshots, tables};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::scope::ReadRequest;
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::{Facet, Grants, PermissionGrant, Principal, Resource, Subject};

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads what decisions on the requested subjects depend on: opt-ins where access is about to be
    /// decided by IAM alone, data cells filters where they are granted or columns are new, and LF-Tags
    /// that may give access.
    pub(super) async fn read_dependencies(
        &self,
        read_requests: &BTreeMap<Subject, ReadRequest>,
        snapshots: &mut Snapshots,
    ) {
        let mut subjects: BTreeSet<Subject> = snapshots.primary.grants.keys().cloned().collect();
        let requests_opt_ins = |request: &ReadRequest| request.facets.contains(&Facet::OptIns);
        let requested = read_requests
            .iter()
            .filter(|(_, request)| requests_opt_ins(request));
        subjects.extend(requested.map(|(subject, _)| subject.clone()));
        let mut with_opt_ins = Vec::new();
        let mut with_filters = Vec::new();
        for subject in &subjects {
            let opt_ins = (subject.clone(), Facet::OptIns);
            let is_requested = read_requests.get(subject).is_some_and(requests_opt_ins);
            let is_read = snapshots.primary.attachments.contains_key(&opt_ins);
            if is_requested || (needs_opt_ins(subject, snapshots) && !is_read) {
                with_opt_ins.push(subject.clone());
            }
            let filters = (subject.clone(), Facet::DataCellsFilters);
            let is_read = snapshots.primary.attachments.contains_key(&filters);
            if !is_read && needs_filters(subject, snapshots) {
                with_filters.push(filters);
            }
        }
        self.read_attachments(&with_filters, snapshots).await;
        if !with_opt_ins.is_empty() {
            self.read_opt_ins(&with_opt_ins, snapshots).await;
        }
        let databases = tables::databases_with_new_access(snapshots);
        self.read_database_lf_tags(&databases, snapshots).await;
    }
}

/// Whether the standby has attachments that affect permissions and that the primary lacks: they are
/// removed only while Twinlake's role is an administrator of the primary.
pub(super) fn has_extra_permission_attachments(snapshots: &Snapshots) -> bool {
    let affects_permissions = |facet: &Facet| match facet {
        Facet::DataCellsFilters | Facet::LfTagAssignments | Facet::OptIns | Facet::Items => true,
        Facet::Definition
        | Facet::Partitions
        | Facet::Grants
        | Facet::Contents
        | Facet::Indexes
        | Facet::Statistics
        | Facet::GlueTags => false,
    };
    let attachments = snapshots.standby.attachments.iter();
    let mut attachments = attachments.filter(|((_, facet), _)| affects_permissions(facet));
    attachments.any(|(owner, standby)| {
        let primary = snapshots
            .primary
            .attachments
            .get(owner)
            .and_then(Observation::present);
        let standby = standby.present().into_iter().flatten();
        primary.is_some_and(|primary| {
            standby
                .into_iter()
                .any(|(key, _)| !primary.contains_key(key))
        })
    })
}

/// Whether access to a resource of the subject is decided by IAM alone in the primary and not in the
/// standby. Then opt-ins matter.
fn needs_opt_ins(subject: &Subject, snapshots: &Snapshots) -> bool {
    let open_to_iam = |snapshot: &Snapshot| -> BTreeSet<Resource> {
        let grants = snapshot.grants.get(subject).and_then(Observation::present);
        let grants = grants.into_iter().flat_map(Grants::keys);
        let of_iam_allowed = grants.filter(|grant| grant.principal == Principal::iam_allowed());
        of_iam_allowed.map(|grant| grant.resource.clone()).collect()
    };
    let primary = open_to_iam(&snapshots.primary);
    !primary.is_empty() && !primary.is_subset(&open_to_iam(&snapshots.standby))
}

/// Whether grants on data cells filters differ, or a granted filter may expose new columns.
fn needs_filters(subject: &Subject, snapshots: &Snapshots) -> bool {
    let Subject::Table(id) = subject else {
        return false;
    };
    let primary = filter_grants(subject, &snapshots.primary);
    let standby = filter_grants(subject, &snapshots.standby);
    primary != standby || (!standby.is_empty() && tables::has_different_columns(id, snapshots))
}

/// Whether a data cells filter of a table is, or may be, granted to somebody in either Region.
pub(super) fn has_filter_grants(subject: &Subject, snapshots: &Snapshots) -> bool {
    let snapshots = [&snapshots.primary, &snapshots.standby];
    snapshots.iter().any(|snapshot| {
        let grants = snapshot.grants.get(subject);
        matches!(grants, Some(Observation::Unknown(_)))
            || !filter_grants(subject, snapshot).is_empty()
    })
}

fn filter_grants(subject: &Subject, snapshot: &Snapshot) -> BTreeSet<PermissionGrant> {
    let grants = snapshot.grants.get(subject).and_then(Observation::present);
    let grants = grants.into_iter().flat_map(Grants::keys);
    let is_on_filter =
        |grant: &&PermissionGrant| matches!(grant.resource, Resource::DataCellsFilter(..));
    grants.filter(is_on_filter).cloned().collect()
}
