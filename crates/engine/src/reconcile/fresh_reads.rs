//! What is read before a plan is applied: what the plan asks for, and once more what was read first and is
//! older than the rest that the plan rests on.

use super::session::Session;
use crate::ports::{Environment, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::plan::lf_tag_change;
use twinlake_core::scope::{Facet, ReadRequest, subject_of_grant};
use twinlake_core::snapshot::Observation;
use twinlake_core::step::RevokeCause;
use twinlake_core::{ApprovedPlan, LfSubject, Plan, Step, Subject, TableId, Timestamp};

impl<E: Environment> Session<'_, E> {
    /// Makes the next round read what a plan asks for, unless that was asked for since the last round that
    /// read what changed. Returns whether there is something to read.
    pub(super) fn read_needs(&mut self, plan: &Plan) -> bool {
        let mut next: BTreeMap<Subject, ReadRequest> = BTreeMap::new();
        for (subject, facets) in &plan.needs {
            let new = facets
                .iter()
                .filter(|facet| self.needed.insert((subject.clone(), **facet)));
            let new: Vec<Facet> = new.copied().collect();
            if !new.is_empty() {
                next.insert(subject.clone(), ReadRequest::for_facets(&new));
            }
        }
        for (subject, request) in &next {
            self.scope.add(subject.clone(), request.clone());
        }
        let is_any = self.read_next(next);
        if is_any {
            self.repeat_round();
        }
        is_any
    }

    /// Makes the next round add these reads to those before. Returns whether there is something to read.
    fn read_next(&mut self, next: BTreeMap<Subject, ReadRequest>) -> bool {
        let is_any = !next.is_empty();
        if is_any {
            self.read_requests = next;
            self.next_read_adds = true;
        }
        is_any
    }

    /// Makes the next round read what was left to the schedule, of the tables that a plan changes or whose
    /// inherited LF-Tags it changes. Returns whether there is something to read.
    pub(super) fn read_changed_tables(&mut self, plan: &Plan) -> bool {
        let mut changed: BTreeSet<TableId> = BTreeSet::new();
        let standby = &self.snapshots.standby;
        for step in &plan.steps {
            match step.subject() {
                Subject::Table(id) => {
                    changed.insert(id);
                }
                Subject::Database(name) if lf_tag_change(step, standby).is_some() => {
                    let left = self.snapshots.left_to_schedule.keys();
                    changed.extend(left.filter(|id| id.database == name).cloned());
                }
                Subject::Database(_)
                | Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Function(_) => {}
            }
        }
        let mut next: BTreeMap<Subject, ReadRequest> = BTreeMap::new();
        for id in changed {
            if let Some(left) = self.snapshots.left_to_schedule.remove(&id) {
                let left: Vec<Facet> = left.into_iter().collect();
                next.insert(Subject::Table(id.clone()), ReadRequest::for_facets(&left));
                self.changed_tables.insert(id);
            }
        }
        self.read_next(next)
    }

    /// Makes the next round read again the grants by which the plan shows more, where all grants were
    /// listed, from `listed_since` on, before what is shown was read: who was revoked in between must not
    /// see what came in between. Returns whether there is something to read.
    pub(super) fn reread_older_grants(
        &mut self,
        plan: &Plan,
        listed_since: Option<Timestamp>,
    ) -> bool {
        let listed_since = listed_since.unwrap_or(self.started);
        let granted: BTreeSet<Subject> = plan.steps.iter().filter_map(granted_subject).collect();
        let mut shown_by: BTreeSet<Subject> = BTreeSet::new();
        for step in &plan.steps {
            match shown(step) {
                Some(Shown::Table(id)) if self.may_have_changed_since(id, listed_since, plan) => {
                    shown_by.insert(Subject::Table(id.clone()));
                    shown_by.insert(Subject::Database(id.database.clone()));
                }
                Some(Shown::Table(_)) | None => {}
                Some(Shown::Attachment(subject)) => {
                    shown_by.extend(subject.database().cloned().map(Subject::Database));
                    shown_by.insert(subject.clone());
                }
                Some(Shown::ByLfTags) => {
                    shown_by.insert(Subject::LakeFormation(LfSubject::Permissions));
                }
            }
        }
        let mut next: BTreeMap<Subject, ReadRequest> = BTreeMap::new();
        for subject in shown_by {
            let is_listed = self.snapshots.primary.full_grant_reads.contains(&subject);
            let has_grants = granted.contains(&subject) || self.is_granted_to_others(&subject);
            if is_listed && has_grants && self.reread_grants.insert(subject.clone()) {
                next.insert(subject, ReadRequest::for_facets(&[Facet::Grants]));
            }
        }
        self.read_next(next)
    }

    /// Whether a table may have changed in the primary since a time: by its `UpdateTime`, which does not
    /// tell of its partitions.
    fn may_have_changed_since(&self, id: &TableId, since: Timestamp, plan: &Plan) -> bool {
        let table = self.snapshots.primary.tables.get(id);
        let updated = table.and_then(Observation::present);
        let updated = updated.and_then(|table| table.updated);
        let is_older = updated.is_some_and(|updated| updated.plus_secs(CLOCK_SKEW_SECS) < since);
        let mut steps = plan.steps.iter();
        !is_older || steps.any(|step| writes_partition_of(step, id))
    }

    /// Whether a principal other than Twinlake's roles has a grant on a subject in the standby.
    fn is_granted_to_others(&self, subject: &Subject) -> bool {
        let grants = self.snapshots.standby.grants.get(subject);
        let grants = grants.and_then(Observation::present);
        let mut grants = grants.into_iter().flat_map(|grants| grants.keys());
        let own_roles = self.context.own_roles;
        grants.any(|grant| !own_roles.contains(&grant.principal.0))
    }

    /// Makes the next round read once more what a plan removes of permissions and of Glue tags, on which IAM policies
    /// may decide: only what two listings of the primary lack, one after the other, is removed. Returns whether there
    /// is something to read.
    pub(super) fn reread_removed(&mut self, plan: &Plan) -> bool {
        let mut next: BTreeMap<Subject, ReadRequest> = BTreeMap::new();
        for step in &plan.steps {
            if let Step::RemoveAttachment { subject, key } = step
                && (key.facet().is_permission() || key.facet() == Facet::GlueTags)
                && self.reread_removals.insert((subject.clone(), key.clone()))
            {
                let request = next.entry(subject.clone()).or_default();
                request.facets.insert(key.facet());
            }
        }
        self.read_next(next)
    }

    /// Whether Twinlake's role, which was an administrator of the primary when the settings were read, is
    /// none any more, or whether that cannot be read. What it may not see seems absent, so this is asked after everything else was read.
    pub(super) async fn has_lost_sight(&mut self, approved: &ApprovedPlan) -> bool {
        let snapshots = &mut self.snapshots;
        if snapshots.are_settings_newest
            || !snapshots.primary.is_administrator
            || !approved.steps().iter().any(rests_on_absence)
        {
            return false;
        }
        // A refused call is tried again before everything is read again.
        let settings = match self.context.primary.settings().await {
            Err(error) if error.kind.is_transient() => self.context.primary.settings().await,
            settings => settings,
        };
        snapshots.are_settings_newest = true;
        let reader_role = self.context.reader_role;
        let is_administrator = settings.is_ok_and(|settings| {
            let administrators = &settings.administrators;
            administrators.contains(reader_role)
        });
        !is_administrator
    }

    /// Makes the next round read everything again, also what plans have asked for.
    pub(super) fn reread_everything(&mut self) {
        for snapshot in [&mut self.snapshots.primary, &mut self.snapshots.standby] {
            snapshot.settings = None;
            snapshot.is_administrator = false;
            // Other sessions may have changed what this one read as a dependency.
            snapshot.attachments.clear();
        }
        self.read_requests = self.scope.read_requests.clone();
    }
}

/// How far the clocks of AWS and of this process may differ.
const CLOCK_SKEW_SECS: i64 = 5;

/// The subject on which a step makes a grant.
fn granted_subject(step: &Step) -> Option<Subject> {
    if let Step::Grant { grant, .. } = step {
        return Some(subject_of_grant(grant));
    }
    None
}

/// Whether a step writes a partition of a table.
fn writes_partition_of(step: &Step, table: &TableId) -> bool {
    let (Step::CreatePartition { id, .. } | Step::UpdatePartition { id, .. }) = step else {
        return false;
    };
    id == table
}

/// What a step may show more of than before.
enum Shown<'a> {
    /// A table, whose `UpdateTime` says when its definition changed, and its partitions, of which nothing says
    /// that.
    Table(&'a TableId),
    /// What an attachment of a subject opens to those who have grants on the subject.
    Attachment(&'a Subject),
    /// What grants by LF-Tags open.
    ByLfTags,
}

/// What a step may show more of than before.
fn shown(step: &Step) -> Option<Shown<'_>> {
    match step {
        Step::CreateTable { id, .. }
        | Step::UpdateTable { id, .. }
        | Step::CreatePartition { id, .. }
        | Step::UpdatePartition { id, .. } => Some(Shown::Table(id)),
        Step::PutAttachment {
            subject,
            attachment,
            ..
        } => shown_by_attachment(subject, attachment.key().facet()),
        Step::RemoveAttachment { subject, key } => shown_by_attachment(subject, key.facet()),
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => None,
    }
}

/// What a changed or removed attachment may show: a data cells filter its rows, an opt-in what IAM allows
/// once it is gone, and LF-Tags and named expressions what is granted by them.
fn shown_by_attachment(subject: &Subject, facet: Facet) -> Option<Shown<'_>> {
    match facet {
        Facet::DataCellsFilters | Facet::OptIns => Some(Shown::Attachment(subject)),
        Facet::LfTagAssignments | Facet::Items => Some(Shown::ByLfTags),
        Facet::Definition
        | Facet::Partitions
        | Facet::Grants
        | Facet::Contents
        | Facet::Indexes
        | Facet::Statistics
        | Facet::GlueTags => None,
    }
}

/// Whether a step takes away what the primary was not found to have.
fn rests_on_absence(step: &Step) -> bool {
    match step {
        Step::Revoke { cause, .. } => match cause {
            RevokeCause::NotInPrimary | RevokeCause::Deletion => true,
            RevokeCause::NamedByEvent
            | RevokeCause::Replace
            | RevokeCause::ExpressionChanged
            | RevokeCause::ColumnDropped => false,
        },
        Step::RemoveAttachment { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. }
        | Step::DeleteFunction { .. } => true,
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::PutAttachment { .. }
        | Step::PutSettings { .. }
        | Step::Grant { .. } => false,
    }
}
