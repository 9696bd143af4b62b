//! Checks a plan before any of it is applied. The audit is independent: it shares only data types
//! with [`plan`](crate::plan), and the functions `scope::subject_of_*`, which say what a grant or
//! an opt-in is on. It does not use the reasons why a step was planned.
//!
//! Steps can fail. It checks each step in the states that failures of other steps can leave: after
//! the steps that it requires alone, and together with steps that may open access to the same
//! resource and that are not ordered with it.
//!
//! # Invariants
//!
//! - Only this module creates an [`ApprovedPlan`], and only an approved plan can be applied.
//! - A rejection names the steps that break a rule. The plan is made again without them.

mod content_check;
mod failure_sets;
mod plan_replay;

use crate::ledger::ObjectCounts;
use crate::plan::{Inputs, Plan};
use crate::render::counted;
use crate::scope::Facet;
use crate::step::{Step, StepTarget};
use failure_sets::FailureSets;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A plan that passed the audit. Only [`audit`] creates one.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovedPlan {
    plan: Plan,
}

impl ApprovedPlan {
    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.plan.steps
    }

    /// The plan that was approved.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// The rule that a plan breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditRule {
    /// After some step, the standby would allow access that the primary does not.
    WiderAccess,
    /// The plan deletes or revokes something whose absence from the primary is not proven.
    Unproven,
    /// The plan changes something that Twinlake does not manage, or writes through a resource link.
    NotManaged,
    /// The written content differs from the primary's in more than the mapped locations.
    Altered,
    /// The plan deletes more than the deletion limit allows.
    DeletionLimit,
    /// The plan was made for another policy or epoch.
    OtherPolicyOrEpoch,
    /// A step requires a later one.
    Order,
}

/// Why a plan is rejected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejection {
    /// The rule that it breaks.
    pub rule: AuditRule,
    /// A description for the operator: what breaks the rule, and how.
    pub detail: String,
    /// What the steps that break the rule write. Empty if the whole plan breaks it.
    #[serde(skip)]
    pub targets: BTreeSet<StepTarget>,
}

impl Rejection {
    fn new(rule: AuditRule, detail: impl Into<String>) -> Self {
        Self {
            rule,
            detail: detail.into(),
            targets: BTreeSet::new(),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            AuditRule::WiderAccess => "it would give access that the primary does not",
            AuditRule::Unproven => "an absence from the primary is not proven",
            AuditRule::NotManaged => "it changes what Twinlake does not manage",
            AuditRule::Altered => "it would write content that differs from the primary's",
            AuditRule::DeletionLimit => "it deletes more than the deletion limit allows",
            AuditRule::OtherPolicyOrEpoch => "it was made for another policy or epoch",
            AuditRule::Order => "its steps are in the wrong order",
        };
        write!(f, "{rule}: {}", self.detail)
    }
}

/// The deletions that a person has approved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApprovedDeletions {
    /// None: the deletion limit applies to all.
    #[default]
    None,
    /// All, for a plan that is only shown.
    All,
    /// Those that were shown, by their targets.
    Only(BTreeSet<StepTarget>),
}

impl ApprovedDeletions {
    /// Approves the deletions of a plan that was shown.
    #[must_use]
    pub fn shown(steps: &[Step]) -> Self {
        let is_counted =
            |step: &&Step| deletions(std::slice::from_ref(*step)) != ObjectCounts::default();
        Self::Only(steps.iter().filter(is_counted).map(Step::target).collect())
    }

    /// Whether a deletion is approved.
    #[must_use]
    pub fn contains(&self, target: &StepTarget) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Only(targets) => targets.contains(target),
        }
    }
}

/// What the deletion limit compares a plan with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionBudget {
    /// The number of paired objects of each kind.
    pub paired: ObjectCounts,
    /// The number of objects of each kind that were deleted in the last hour.
    pub deleted_last_hour: ObjectCounts,
    /// The number of objects of each kind that later plans of the same run will delete.
    pub upcoming: ObjectCounts,
    /// The deletions to which the limit does not apply.
    pub approved: ApprovedDeletions,
}

/// Approves a plan, or returns every rule that it breaks.
///
/// # Errors
/// The rejections, at least one.
pub fn audit(
    inputs: &Inputs<'_>,
    plan: Plan,
    budget: &DeletionBudget,
) -> Result<ApprovedPlan, Vec<Rejection>> {
    let mut rejections = Vec::new();
    if plan.epoch != inputs.epoch || plan.policy_digest != inputs.policy.digest() {
        let detail = "read both Regions again and make a new plan";
        rejections.push(Rejection::new(AuditRule::OtherPolicyOrEpoch, detail));
    }
    rejections.extend(check_steps(inputs, &plan));
    let is_limited = |step: &&Step| !budget.approved.contains(&step.target());
    let limited: Vec<Step> = plan.steps.iter().filter(is_limited).cloned().collect();
    rejections.extend(check_deletion_limit(inputs, &limited, budget));
    if rejections.is_empty() {
        Ok(ApprovedPlan { plan })
    } else {
        Err(rejections)
    }
}

/// Checks each step in every state that failures of other steps can leave.
fn check_steps(inputs: &Inputs<'_>, plan: &Plan) -> Vec<Rejection> {
    let Some(sets) = FailureSets::new(&plan.steps, &plan.requires) else {
        let detail = "a step requires a later one";
        return vec![Rejection::new(AuditRule::Order, detail)];
    };
    let mut rejections = Vec::new();
    let mut replay = plan_replay::PlanReplay::new(inputs, &plan.steps);
    for (position, step) in plan.steps.iter().enumerate() {
        let states: BTreeSet<_> = sets.before(position).into_iter().collect();
        let broken = states.iter().find_map(|before| {
            let mut saved = Vec::new();
            for earlier in before.iter().filter_map(|earlier| plan.steps.get(*earlier)) {
                saved.push(replay.save(earlier));
                replay.apply_effect(earlier);
            }
            saved.push(replay.save(step));
            let checked = replay.apply_step(step);
            for saved in saved.into_iter().rev() {
                replay.restore(saved);
            }
            checked.err()
        });
        rejections.extend(broken.map(|rejection| Rejection {
            targets: [step.target()].into(),
            ..rejection
        }));
    }
    rejections
}

/// Returns the number of objects of each kind that the steps delete.
#[must_use]
pub fn deletions(steps: &[Step]) -> ObjectCounts {
    let mut counts = ObjectCounts::default();
    for step in steps {
        match step {
            Step::DeleteDatabase { .. } => counts.databases += 1,
            Step::DeleteTable { .. } => counts.tables += 1,
            Step::DeletePartition { .. } => counts.partitions += 1,
            Step::RemoveAttachment { key, .. } if key.facet() == Facet::Items => counts.items += 1,
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
            | Step::Revoke { .. } => {}
        }
    }
    counts
}

fn is_deletion_of(kind: &str, step: &Step) -> bool {
    let deleted = deletions(std::slice::from_ref(step));
    match kind {
        "database" => deleted.databases > 0,
        "table" => deleted.tables > 0,
        "partition" => deleted.partitions > 0,
        _ => deleted.items > 0,
    }
}

/// Returns a rejection for each kind of object of which the plan deletes more than the limit
/// allows.
fn check_deletion_limit(
    inputs: &Inputs<'_>,
    steps: &[Step],
    budget: &DeletionBudget,
) -> Vec<Rejection> {
    let mut planned_deletions = deletions(steps);
    let upcoming = budget.upcoming.partitions;
    planned_deletions.partitions = planned_deletions.partitions.saturating_add(upcoming);
    let rule = inputs.policy.deletion_limit;
    let kinds = [
        (
            "database",
            planned_deletions.databases,
            budget.deleted_last_hour.databases,
            budget.paired.databases,
        ),
        (
            "table",
            planned_deletions.tables,
            budget.deleted_last_hour.tables,
            budget.paired.tables,
        ),
        (
            "partition",
            planned_deletions.partitions,
            budget.deleted_last_hour.partitions,
            budget.paired.partitions,
        ),
        (
            "Lake Formation item",
            planned_deletions.items,
            budget.deleted_last_hour.items,
            budget.paired.items,
        ),
    ];
    let mut rejections = Vec::new();
    for (kind, planned, deleted_last_hour, paired) in kinds {
        let limit = rule.allowed(paired);
        if planned > 0 && planned.saturating_add(deleted_last_hour) > limit {
            let detail = format!(
                "{} in this plan and {deleted_last_hour} in the last hour, of \
                 {paired}; the limit without approval is {limit}",
                counted(planned, kind)
            );
            let deleted = steps.iter().filter(|step| is_deletion_of(kind, step));
            rejections.push(Rejection {
                targets: deleted.map(Step::target).collect(),
                ..Rejection::new(AuditRule::DeletionLimit, detail)
            });
        }
    }
    rejections
}
