//! Plans of a drifted pair of Regions, made step by step, and what each step opens.

use crate::access;
use crate::history::{Act, perform, settle};
use crate::lab::{ADMIN, Lab, PRIMARY, ROLE, SECONDARY, policy};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use std::collections::BTreeSet;
use twinlake_core::audit::BrakeReading;
use twinlake_core::catalog::{Part, PartKey};
use twinlake_core::grant::IAM_ALLOWED_PRINCIPALS;
use twinlake_core::{Resource, Scope, Step};

/// A policy whose brake is out of the way.
const UNBRAKED: &str = "tags = \"copy\"\nbrake = { share = 1.0, minimum = 10000 }";

/// A laboratory under such a policy.
#[must_use]
pub fn unbraked() -> Lab {
    Lab::new(policy(UNBRAKED))
}

const IGNORED: [&str; 2] = [ROLE, ADMIN];

/// Whether the cases are the same for everybody; `make explore` looks at others.
pub const IS_FIXED: bool = option_env!("TWINLAKE_EXPLORE").is_none();

/// How many cases, and which.
#[must_use]
pub fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        failure_persistence: None,
        max_shrink_iters: 2000,
        rng_seed: match IS_FIXED {
            true => RngSeed::Fixed(20_261_124),
            false => RngSeed::Random,
        },
        ..ProptestConfig::default()
    }
}

/// A synchronised pair of Regions that both went on since, each in its own way.
#[must_use]
pub fn drifted(before: &[Act], primary: &[Act], secondary: &[Act]) -> Lab {
    let lab = unbraked();
    settle(&lab, before);
    let _ = lab.resync();
    for act in primary {
        perform(&lab, PRIMARY, act);
    }
    for act in secondary {
        // Databases and tables that somebody makes in the secondary are foreign.
        if matches!(
            act,
            Act::Grant(_) | Act::Revoke(_) | Act::UpdatePartition(..)
        ) || matches!(act, Act::Lake(act) if act.kind.is_on_objects())
        {
            perform(&lab, SECONDARY, act);
        }
    }
    let _ = lab.take_events();
    let _ = lab.take_calls();
    lab
}

/// The plan for everything, and how it was judged.
///
/// # Panics
/// The ledger, which is in memory, was out of reach.
pub fn plan_of(lab: &Lab) -> (twinlake_core::Plan, Result<(), Vec<twinlake_core::Veto>>) {
    let context = lab.context();
    let mut scope = Scope::default();
    for name in ["base", "db0", "db1"] {
        scope.absorb(Scope::database(twinlake_core::Name::new(name).unwrap()));
    }
    scope.absorb(Scope::lake());
    let fresh = twinlake_engine::observe::Prefetched::default();
    let preview = twinlake_engine::reconcile::preview(&context, &scope, &fresh);
    twinlake_sim::run_until_killed(&lab.sim, preview)
        .unwrap()
        .unwrap()
}

/// Makes one step in the secondary, alone.
fn make(lab: &Lab, step: &Step) {
    use twinlake_core::grant::{Grants, entries};
    use twinlake_engine::WriteRegion;
    let there = lab.sim.region(SECONDARY, ROLE);
    let there = &there;
    let one = |atom: &twinlake_core::Atom, grantable: bool| {
        let alone = Grants::from([(atom.clone(), grantable)]);
        entries(&alone).remove(0).0
    };
    let made = async move {
        match step {
            Step::CreateDatabase { database } => there.create_database(database).await.is_ok(),
            Step::UpdateDatabase { database, .. } => there.update_database(database).await.is_ok(),
            Step::CreateTable { id, table } => {
                there.create_table(&id.database, table, &[]).await.is_ok()
            }
            Step::UpdateTable {
                id, table, version, ..
            } => there
                .update_table(&id.database, table, version.as_deref())
                .await
                .is_ok(),
            Step::CreatePartition { id, partition } => {
                there.create_partitions(id, &[partition]).await.is_ok()
            }
            Step::UpdatePartition { id, partition, .. } => {
                there.update_partitions(id, &[partition]).await.is_ok()
            }
            Step::CreateFunction { id, function } => {
                there.create_function(id, function).await.is_ok()
            }
            Step::UpdateFunction { id, function, .. } => {
                there.update_function(id, function).await.is_ok()
            }
            Step::DeleteFunction { id } => there.delete_function(id).await.is_ok(),
            Step::PutPart { subject, part, .. } => there.put_parts(subject, &[part]).await.is_ok(),
            Step::PutSettings { .. } => true,
            Step::RemovePart { subject, key } => there.remove_parts(subject, &[key]).await.is_ok(),
            Step::Grant { atom, grantable } => there.grant(&[&one(atom, *grantable)]).await.is_ok(),
            Step::Revoke {
                atom, grantable, ..
            } => there.revoke(&[&one(atom, *grantable)]).await.is_ok(),
            Step::DeletePartition { id, values } => {
                there.delete_partitions(id, &[values]).await.is_ok()
            }
            Step::DeleteTable { id } => there.delete_table(id).await.is_ok(),
            Step::DeleteDatabase { name } => there.delete_database(name).await.is_ok(),
        }
    };
    let _ = twinlake_sim::run_until_killed(&lab.sim, made);
}

/// What the secondary allows beyond the primary.
#[must_use]
pub fn wider(lab: &Lab) -> BTreeSet<access::Right> {
    access::wider(&lab.sim.world(), PRIMARY, SECONDARY, &IGNORED)
}

/// Makes the steps one by one; answers each right that a step added beyond what the
/// primary allows, with the number of the step.
#[must_use]
pub fn widenings(lab: &Lab, steps: &[Step]) -> Vec<(usize, access::Right)> {
    let mut known = wider(lab);
    let mut found = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        make(lab, step);
        let now = wider(lab);
        found.extend(now.difference(&known).map(|right| (at, right.clone())));
        known = now;
    }
    found
}

/// By what a step opened something.
#[must_use]
pub fn means(step: &Step) -> &'static str {
    match step {
        Step::Grant { atom, .. } if atom.principal.0 == IAM_ALLOWED_PRINCIPALS => {
            "IAM_ALLOWED_PRINCIPALS"
        }
        Step::Grant { atom, .. } => match atom.resource {
            Resource::Database(_) => "a grant on a database",
            Resource::AllTables(_) => "a grant on all tables",
            Resource::Table(_) => "a grant on a table",
            Resource::Column(..) => "a grant on a column",
            Resource::ColumnsExcept(..) => "a grant with exclusions",
            Resource::Filter(..) => "a grant on a filter",
            Resource::TagPolicy { .. } => "a grant by LF-Tags",
            Resource::Catalog
            | Resource::Location(_)
            | Resource::Tag { .. }
            | Resource::Expression(_) => "a grant on the lake",
        },
        Step::CreateDatabase { .. } | Step::CreateTable { .. } => "something made",
        Step::UpdateDatabase { .. } | Step::UpdateTable { .. } => "a column",
        Step::PutPart { part, .. } => match part {
            Part::Filter(_) => "a filter",
            Part::Assigned { .. } => "an LF-Tag assigned",
            Part::Expression(_) => "an expression",
            Part::Index(_)
            | Part::Statistics(_)
            | Part::Tag { .. }
            | Part::OptIn(_)
            | Part::TagValue { .. }
            | Part::Registration(_) => "another part",
        },
        Step::RemovePart { key, .. } => match key {
            PartKey::Assigned { .. } => "an LF-Tag taken away",
            PartKey::OptIn(_) => "an opt-out",
            PartKey::Index(_)
            | PartKey::Statistics(_)
            | PartKey::Tag(_)
            | PartKey::Filter(_)
            | PartKey::TagValue { .. }
            | PartKey::Expression(_)
            | PartKey::Registration(_) => "another part",
        },
        Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeletePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::Revoke { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => "another step",
    }
}

/// Judges a plan against what both Regions show now.
///
/// # Errors
/// The auditor's vetoes.
///
/// # Panics
/// The ledger, which is in memory, was out of reach.
pub fn judge(
    lab: &Lab,
    plan: twinlake_core::Plan,
) -> Result<twinlake_core::ApprovedPlan, Vec<twinlake_core::Veto>> {
    let context = lab.context();
    let mut scope = Scope::default();
    for name in ["base", "db0", "db1"] {
        scope.absorb(Scope::database(twinlake_core::Name::new(name).unwrap()));
    }
    scope.absorb(Scope::lake());
    let (rows, readings) = twinlake_sim::run_until_killed(
        &lab.sim,
        twinlake_engine::reconcile::observe_once(&context, &scope, true),
    )
    .unwrap()
    .unwrap();
    let inputs = twinlake_core::plan::Inputs {
        scope: &scope,
        epoch: context.epoch,
        policy: &lab.policy,
        primary: &readings.primary,
        secondary: &readings.secondary,
        rows: &rows,
        ours: context.ours,
        reader: context.reader,
    };
    twinlake_core::audit(&inputs, plan, &BrakeReading::default())
}
