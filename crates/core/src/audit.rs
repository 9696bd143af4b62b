//! Judges a plan before anything of it is applied. A second opinion: it shares no
//! code with [`plan`](crate::plan), and knows nothing of why a step is there.
//!
//! It plays the steps through, one after the other, over what was read of the
//! secondary, and asks of every prefix whether it is safe to stop there.
//!
//! # Invariants
//!
//! - Only this module makes an [`ApprovedPlan`], and only that can be applied.
//! - A veto is of the whole plan: nothing of it is applied.

mod content;
mod play;

use crate::ledger::Tally;
use crate::plan::{Inputs, Plan};
use crate::step::Step;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A plan that was judged safe. There is no other way to get one than [`audit`].
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

/// Which rule a plan breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Some prefix would let the secondary allow what the primary does not.
    Wider,
    /// A deletion or a revoke rests on an absence that is not proven.
    Unproven,
    /// It changes what is not ours, or through a resource link.
    NotOurs,
    /// What it writes differs from the primary in more than the mapped places.
    Altered,
    /// It deletes more than the brake lets pass.
    Brake,
    /// It was made for another epoch or another policy.
    Stale,
}

/// Why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Veto {
    /// The rule that it breaks.
    pub rule: Rule,
    /// Where and how, in words.
    pub detail: String,
}

impl fmt::Display for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::Wider => "it would widen access",
            Rule::Unproven => "an absence is not proven",
            Rule::NotOurs => "it changes what Twinlake did not make",
            Rule::Altered => "it would write something else than the primary holds",
            Rule::Brake => "it deletes more than the brake lets pass",
            Rule::Stale => "it was made for another policy or epoch",
        };
        write!(f, "{rule}: {}", self.detail)
    }
}

/// What the brake measures a plan against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrakeReading {
    /// How many objects of each kind are paired.
    pub paired: Tally,
    /// How many were deleted in the last hour.
    pub spent: Tally,
    /// How many more a later share of the same look is to delete.
    pub to_follow: Tally,
    /// A person has said that the deletions are meant.
    pub released: bool,
}

/// Approves a plan, or says every rule that it breaks.
///
/// # Errors
/// The vetoes, at least one.
pub fn audit(
    inputs: &Inputs<'_>,
    plan: Plan,
    brake: &BrakeReading,
) -> Result<ApprovedPlan, Vec<Veto>> {
    let mut vetoes = Vec::new();
    if plan.epoch != inputs.epoch || plan.policy_digest != inputs.policy.digest() {
        vetoes.push(Veto {
            rule: Rule::Stale,
            detail: "read both Regions again and make a new plan".to_owned(),
        });
    }
    let mut play = play::Play::new(inputs, &plan.steps);
    for step in &plan.steps {
        if let Err(veto) = play.take(step) {
            vetoes.push(veto);
        }
    }
    if !brake.released {
        vetoes.extend(brake_vetoes(inputs, &plan.steps, brake));
    }
    if vetoes.is_empty() {
        Ok(ApprovedPlan { plan })
    } else {
        Err(vetoes)
    }
}

/// How many objects of each kind a plan deletes.
#[must_use]
pub fn deletions(steps: &[Step]) -> Tally {
    let mut tally = Tally::default();
    for step in steps {
        match step {
            Step::DeleteDatabase { .. } => tally.databases += 1,
            Step::DeleteTable { .. } => tally.tables += 1,
            Step::DeletePartition { .. } => tally.partitions += 1,
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutPart { .. }
            | Step::PutSettings { .. }
            | Step::RemovePart { .. }
            | Step::Grant { .. }
            | Step::Revoke { .. } => {}
        }
    }
    tally
}

fn brake_vetoes(inputs: &Inputs<'_>, steps: &[Step], brake: &BrakeReading) -> Vec<Veto> {
    let mut goes = deletions(steps);
    goes.partitions += brake.to_follow.partitions;
    let rule = inputs.policy.brake;
    let kinds = [
        (
            "databases",
            goes.databases,
            brake.spent.databases,
            brake.paired.databases,
        ),
        (
            "tables",
            goes.tables,
            brake.spent.tables,
            brake.paired.tables,
        ),
        (
            "partitions",
            goes.partitions,
            brake.spent.partitions,
            brake.paired.partitions,
        ),
    ];
    let mut vetoes = Vec::new();
    for (kind, planned, spent, paired) in kinds {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of catalog objects, times a share between 0 and 1"
        )]
        let share = (paired as f64 * rule.share) as usize;
        let budget = share.max(rule.minimum);
        if planned > 0 && planned + spent > budget {
            vetoes.push(Veto {
                rule: Rule::Brake,
                detail: format!(
                    "{planned} {kind} now and {spent} in the last hour, of {paired}; \
                     {budget} may go without a person"
                ),
            });
        }
    }
    vetoes
}
