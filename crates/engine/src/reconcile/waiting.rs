//! What has to wait for a later message, and what is kept of steps that were not made.

use super::MAX_ROUNDS;
use super::bookkeeping::full_request;
use super::lf_tag_lease::may_narrow;
use super::session::Session;
use super::step_effects::{facets_after, partition_values_of};
use crate::apply::{Applied, StepResult};
use crate::ports::Environment;
use std::collections::BTreeSet;
use twinlake_core::scope::{Facet, ReadRequest, subject_of_grant};
use twinlake_core::snapshot::Observation;
use twinlake_core::step::RevokeCause;
use twinlake_core::{
    ApprovedPlan, CallError, CallErrorKind, PermissionGrant, Plan, Scope, Step, Subject,
    SubjectState,
};

impl<E: Environment> Session<'_, E> {
    /// Lets what was requested wait for a later message, as far as it may rest on these subjects.
    pub(super) fn wait_for(&mut self, subjects: &BTreeSet<Subject>, reason: String) {
        let overlaps =
            |requested: &Subject| subjects.iter().any(|subject| subject.overlaps(requested));
        let mut scope = self.requested_scope.clone();
        scope.named_revokes.clone_from(&self.scope.named_revokes);
        scope.own_grants.clone_from(&self.scope.own_grants);
        scope.read_requests.retain(|subject, _| overlaps(subject));
        scope
            .named_revokes
            .retain(|grant, _| overlaps(&subject_of_grant(grant)));
        let named = &scope.named_revokes;
        scope.own_grants.retain(|grant| named.contains_key(grant));
        for subject in &self.suspended_subjects {
            let facets = [Facet::Definition, Facet::Grants];
            scope.add(subject.clone(), ReadRequest::for_facets(&facets));
        }
        match &mut self.outcome.waiting {
            Some((waiting, _)) => waiting.merge(scope),
            none @ None => *none = Some((scope, reason)),
        }
    }

    /// Gives up the steps of a plan that is not empty after the allowed rounds: they wait for a later
    /// message.
    pub(super) fn give_up(&mut self, plan: &Plan) {
        let reason = format!("the Regions still differ after {MAX_ROUNDS} rounds");
        let subjects: BTreeSet<Subject> = plan.steps.iter().map(Step::subject).collect();
        self.wait_for(&subjects, reason.clone());
        for step in &plan.steps {
            let held = &mut self.excluded_steps.targets;
            held.insert(step.target(), reason.clone());
            self.postponed.push((step.clone(), reason.clone()));
        }
    }

    /// A grant that was revoked to be granted again, and was not granted again in this round, is
    /// planned as a missing grant from now on, whatever the requested scope is.
    pub(super) fn keep_suspended_grants_in_scope(
        &mut self,
        approved: &ApprovedPlan,
        applied: &Applied,
    ) {
        let results = || approved.steps().iter().zip(&applied.results);
        let granted: BTreeSet<&PermissionGrant> = results()
            .filter(|(_, result)| is_done(result))
            .filter_map(|(step, _)| granted_by(step))
            .collect();
        let suspended = results()
            .filter(|(_, result)| is_done(result))
            .filter_map(|(step, _)| suspended_by(step))
            .filter(|grant| !granted.contains(grant))
            .map(subject_of_grant);
        for subject in suspended.collect::<BTreeSet<Subject>>() {
            let request = ReadRequest::for_facets(&[Facet::Definition, Facet::Grants]);
            self.scope.add(subject.clone(), request.clone());
            let next = self.read_requests.entry(subject.clone()).or_default();
            next.facets.extend(request.facets);
            self.suspended_subjects.insert(subject);
        }
    }

    /// Ends the revoke of a grant that is listed late. To an administrator the answer proves that there is no
    /// such grant, whatever is listed. Else the revoke is held, and an alert follows if an earlier session,
    /// [`LATE_LISTING_SECS`] ago or more, found the subject out of sync too.
    pub(super) fn end_listed_late(&mut self, step: &Step, error: &CallError) {
        if self.are_writers_administrators() {
            self.record_grant(step);
            return;
        }
        let since = self.out_of_sync_since.get(&step.subject());
        let oldest = self.started.plus_secs(-LATE_LISTING_SECS);
        if since.is_some_and(|since| *since <= oldest) {
            self.hold_failed(step, error);
            self.outcome.failed.push((step.clone(), error.clone()));
            return;
        }
        let reason = format!("the standby lists a grant that it does not know: {error}");
        self.excluded_steps.targets.insert(step.target(), reason);
    }

    /// Whether the roles that write are administrators of the standby, as this session read it. Whoever is none
    /// may be answered that a grant does not exist which it may not see.
    fn are_writers_administrators(&self) -> bool {
        let standby = &self.snapshots.standby;
        let settings = standby.settings.as_ref().and_then(Observation::present);
        let mut writers = self.context.own_roles.writers().iter();
        standby.is_administrator
            && settings.is_some_and(|settings| {
                writers.all(|writer| settings.administrators.contains(writer))
            })
    }

    /// Adds to the last rejections those of earlier rounds and pages about partitions.
    pub(super) fn add_rejections_of_pages(&mut self) {
        for (target, rejection) in std::mem::take(&mut self.rejected_partitions) {
            if self
                .rejected
                .insert(target.clone(), rejection.rule)
                .is_some()
            {
                continue;
            }
            let held = &mut self.excluded_steps.targets;
            held.insert(target, rejection.to_string());
            if !self.outcome.rejections.contains(&rejection) {
                self.outcome.rejections.push(rejection);
            }
        }
    }

    /// Adds to the waiting scope: postponed steps, tables for which time ran out, subjects that
    /// depend on work under way elsewhere, and those of grants that are still suspended.
    pub(super) fn add_waiting_subjects(&mut self, plan: &Plan) {
        let mut scope = Scope::default();
        let mut last_reason = None;
        for (step, reason) in &self.postponed {
            let mut request = ReadRequest::for_facets(facets_after(step));
            request.facets.insert(Facet::Definition);
            request
                .partition_values
                .extend(partition_values_of(step).map(<[String]>::to_vec));
            scope.add(step.subject(), request);
            last_reason = Some(reason.clone());
            if may_narrow(step, &self.snapshots.standby) {
                self.outcome.narrowing_waits.insert(step.subject());
            }
        }
        for id in std::mem::take(&mut self.snapshots.timed_out) {
            let subject = Subject::Table(id);
            let requested = self.requested_scope.read_requests.get(&subject);
            let request = ReadRequest {
                unnamed_partitions_deleted: requested
                    .is_some_and(|request| request.unnamed_partitions_deleted),
                ..ReadRequest::for_facets(&[Facet::Definition, Facet::Partitions])
            };
            // The read continues in a later message, so it did not fail.
            self.outcome
                .findings
                .retain(|finding| finding.subject != subject);
            self.outcome.out_of_time = true;
            last_reason = Some("time ran out before its partitions were listed".to_owned());
            scope.add(subject, request);
        }
        let is_missing = |subject: &&Subject| {
            let outcome = plan.subject_outcomes.get(*subject);
            outcome.is_some_and(|outcome| outcome.state != SubjectState::InSync)
        };
        let suspended = self.suspended_subjects.iter().filter(is_missing);
        for subject in plan.waiting_subjects.iter().chain(suspended) {
            let reason = plan
                .subject_outcomes
                .get(subject)
                .and_then(|outcome| outcome.reason.clone());
            let requested = self.requested_scope.read_requests.get(subject).cloned();
            scope.add(
                subject.clone(),
                requested.unwrap_or_else(|| full_request(subject)),
            );
            last_reason = reason.or(last_reason);
        }
        let Some(reason) = last_reason else {
            return;
        };
        match &mut self.outcome.waiting {
            Some((waiting, _)) => waiting.merge(scope),
            none @ None => *none = Some((scope, reason)),
        }
    }
}

/// For how long a listing may show CREATE_DATABASE after its revoke without an alert (LF-07).
const LATE_LISTING_SECS: i64 = 3600;

/// Whether a step with this error is not attempted again in the same session.
pub(super) fn needs_time(error: &CallError) -> bool {
    match error.kind {
        CallErrorKind::NotPropagated | CallErrorKind::Unavailable => true,
        CallErrorKind::NotFound
        | CallErrorKind::AlreadyInState
        | CallErrorKind::Contended
        | CallErrorKind::Denied
        | CallErrorKind::Invalid
        | CallErrorKind::Unsupported => false,
    }
}

pub(super) fn is_done(result: &Option<StepResult>) -> bool {
    matches!(result, Some(StepResult::Applied | StepResult::AlreadyDone))
}

fn granted_by(step: &Step) -> Option<&PermissionGrant> {
    if let Step::Grant { grant, .. } = step {
        return Some(grant);
    }
    None
}

fn suspended_by(step: &Step) -> Option<&PermissionGrant> {
    if let Step::Revoke {
        grant,
        cause: RevokeCause::Replace,
        ..
    } = step
    {
        return Some(grant);
    }
    None
}
