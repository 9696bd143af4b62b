//! Plans for two Regions that differ: applies them one step at a time, and finds the excess access
//! that each step causes.

use crate::access_oracle::{self, AccessComparison};
use crate::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};
use crate::history::{DATABASES, HistoryAction, perform, set_up_primary};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use std::collections::BTreeSet;
use twinlake_core::audit::DeletionBudget;
use twinlake_core::catalog::{Attachment, AttachmentKey};
use twinlake_core::grant::IAM_ALLOWED_PRINCIPALS;
use twinlake_core::{Resource, Scope, Step};
use twinlake_sim::Sim;

/// A policy under which the deletion limit holds back no plan.
const POLICY_WITHOUT_DELETION_LIMIT: &str =
    "glue-tags = \"copy\"\ndeletion-limit = { fraction = 1.0, minimum = 10000 }";

/// Returns a harness whose policy never holds deletions back.
#[must_use]
pub fn harness_without_deletion_limit() -> TestHarness {
    TestHarness::new(policy(POLICY_WITHOUT_DELETION_LIMIT))
}

const IGNORED_PRINCIPALS: [&str; 2] = [TWINLAKE_ROLE, ADMIN_ROLE];

/// Whether the cases are generated from a fixed seed. `make explore` uses random seeds.
pub const USES_FIXED_SEED: bool = option_env!("TWINLAKE_EXPLORE").is_none();

/// Returns the configuration of the properties: the number of cases and the seed.
#[must_use]
pub fn proptest_config() -> ProptestConfig {
    proptest_config_with_cases(256)
}

/// Returns the configuration of a property with another number of cases. With random seeds, the
/// environment variables `PROPTEST_CASES` and `PROPTEST_RNG_SEED` set the number and the seed.
#[must_use]
pub fn proptest_config_with_cases(cases: u32) -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    let is_default = from_environment.cases == 256;
    ProptestConfig {
        cases: match USES_FIXED_SEED || is_default {
            true => cases,
            false => from_environment.cases,
        },
        failure_persistence: None,
        max_shrink_iters: 2000,
        rng_seed: match USES_FIXED_SEED {
            true => RngSeed::Fixed(20_261_124),
            false => from_environment.rng_seed,
        },
        ..from_environment
    }
}

/// The cases of a property that runs whole histories several times for each.
const CASES_OF_LONG_PROPERTIES: u32 = 64;

/// Returns the configuration of properties that take long: fewer cases. With random seeds, as many
/// as `PROPTEST_CASES` says.
#[must_use]
pub fn long_proptest_config() -> ProptestConfig {
    ProptestConfig {
        cases: match USES_FIXED_SEED {
            true => CASES_OF_LONG_PROPERTIES,
            false => ProptestConfig::default().cases,
        },
        max_shrink_iters: 400,
        ..proptest_config()
    }
}

/// Returns a harness whose Regions were in sync after `before`, and then changed by `primary` and
/// `standby`.
#[must_use]
pub fn harness_with_drift(
    before: &[HistoryAction],
    primary: &[HistoryAction],
    standby: &[HistoryAction],
) -> TestHarness {
    let harness = harness_without_deletion_limit();
    set_up_primary(&harness, before);
    let _ = harness.resync();
    let _ = diverge(&harness, primary, standby);
    harness
}

/// Makes the Regions diverge. Returns the events of each change in the primary.
pub fn diverge(
    harness: &TestHarness,
    primary: &[HistoryAction],
    standby: &[HistoryAction],
) -> Vec<Vec<Vec<u8>>> {
    let _ = harness.take_events();
    let mut events = Vec::new();
    for action in primary {
        perform(harness, PRIMARY, action);
        events.push(harness.take_events());
    }
    for action in standby {
        // Databases and tables created in the standby would not be managed by Twinlake.
        if matches!(
            action,
            HistoryAction::Grant(_)
                | HistoryAction::Revoke(_)
                | HistoryAction::UpdatePartition(..)
                | HistoryAction::CreateForeignTable(..)
                | HistoryAction::OpenRegionDefaults
        ) || matches!(action, HistoryAction::LakeFormation(action) if action.kind.is_on_objects())
        {
            perform(harness, STANDBY, action);
        }
    }
    let _ = harness.take_events();
    let _ = harness.take_calls();
    events
}

/// Returns the scope of all databases of the histories, and of Lake Formation's metadata.
#[must_use]
pub fn scope_of_everything() -> Scope {
    let numbered = (0..DATABASES).map(|n| format!("db{n}"));
    let names = std::iter::once("base".to_owned()).chain(numbered);
    let mut scope = Scope::default();
    for name in names {
        scope.merge(Scope::database(twinlake_core::Name::new(&name).unwrap()));
    }
    scope.merge(Scope::lake_formation());
    scope
}

/// Returns the plan for everything, and the rejections of its audit.
///
/// # Panics
/// The ledger, which is in memory, returns an error.
pub fn preview_everything(
    harness: &TestHarness,
) -> (twinlake_core::Plan, Vec<twinlake_core::Rejection>) {
    let context = harness.context();
    let scope = scope_of_everything();
    let prefetched = twinlake_engine::observe::Prefetched::default();
    let preview = twinlake_engine::reconcile::preview(&context, &scope, &prefetched);
    twinlake_sim::run_until_killed(&harness.sim, preview)
        .unwrap()
        .unwrap()
}

/// Applies one step in the standby, without the others of its plan. Errors are ignored.
pub(crate) fn apply_step(sim: &Sim, step: &Step) {
    use twinlake_core::grant::{Grants, to_batch_entries};
    use twinlake_engine::WriteRegion;
    let standby = sim.region(STANDBY, TWINLAKE_ROLE);
    let standby = &standby;
    let batch_entry = |grant: &twinlake_core::PermissionGrant, grantable: bool| {
        let grants = Grants::from([(grant.clone(), grantable)]);
        to_batch_entries(&grants).remove(0).0
    };
    let applied = async move {
        match step {
            Step::CreateDatabase { database } => standby.create_database(database).await.is_ok(),
            Step::UpdateDatabase { database, .. } => {
                standby.update_database(database).await.is_ok()
            }
            Step::CreateTable { id, table } => {
                standby.create_table(&id.database, table, &[]).await.is_ok()
            }
            Step::UpdateTable {
                id, table, version, ..
            } => standby
                .update_table(&id.database, table, version.as_deref())
                .await
                .is_ok(),
            Step::CreatePartition { id, partition } => {
                standby.create_partitions(id, &[partition]).await.is_ok()
            }
            Step::UpdatePartition { id, partition, .. } => {
                standby.update_partitions(id, &[partition]).await.is_ok()
            }
            Step::CreateFunction { id, function } => {
                standby.create_function(id, function).await.is_ok()
            }
            Step::UpdateFunction { id, function, .. } => {
                standby.update_function(id, function).await.is_ok()
            }
            Step::DeleteFunction { id } => standby.delete_function(id).await.is_ok(),
            Step::PutAttachment {
                subject,
                attachment,
                replaces,
                ..
            } => standby
                .put_attachments(subject, &[attachment], *replaces)
                .await
                .is_ok(),
            Step::PutSettings { .. } => true,
            Step::RemoveAttachment { subject, key } => {
                standby.remove_attachments(subject, &[key]).await.is_ok()
            }
            Step::Grant { grant, grantable } => standby
                .grant(&[&batch_entry(grant, *grantable)])
                .await
                .is_ok(),
            Step::Revoke {
                grant, grantable, ..
            } => standby
                .revoke(&[&batch_entry(grant, *grantable)])
                .await
                .is_ok(),
            Step::DeletePartition { id, values } => {
                standby.delete_partitions(id, &[values]).await.is_ok()
            }
            Step::DeleteTable { id } => standby.delete_table(id).await.is_ok(),
            Step::DeleteDatabase { name } => standby.delete_database(name).await.is_ok(),
        }
    };
    let _ = twinlake_sim::run_until_killed(sim, applied);
}

/// Compares the access in the standby with that in the primary as it is now.
#[must_use]
pub fn access_comparison(sim: &Sim) -> AccessComparison {
    AccessComparison::new(&sim.state(), PRIMARY, STANDBY, &IGNORED_PRINCIPALS)
}

/// Returns the access that the standby allows and the primary does not.
#[must_use]
pub fn excess_access(harness: &TestHarness) -> BTreeSet<access_oracle::EffectiveRight> {
    access_oracle::excess_access(&harness.sim.state(), PRIMARY, STANDBY, &IGNORED_PRINCIPALS)
}

/// Applies the steps one at a time. Returns each access right that a step added and that the
/// primary does not allow, with the index of the step.
#[must_use]
pub fn excess_access_by_step(
    harness: &TestHarness,
    steps: &[Step],
) -> Vec<(usize, access_oracle::EffectiveRight)> {
    let comparison = access_comparison(&harness.sim);
    let mut known = comparison.excess(&harness.sim.state());
    let mut found = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        apply_step(&harness.sim, step);
        let now = comparison.excess(&harness.sim.state());
        found.extend(now.difference(&known).map(|right| (index, right.clone())));
        known = now;
    }
    found
}

/// Makes each step of a plan require all steps before it.
pub fn require_all_before(plan: &mut twinlake_core::Plan) {
    plan.requires = (0..plan.steps.len())
        .map(|index| (0..index).collect())
        .collect();
}

/// Returns how a step can cause access, for the statistics of the properties.
#[must_use]
pub fn access_cause(step: &Step) -> &'static str {
    match step {
        Step::Grant { grant, .. } if grant.principal.0 == IAM_ALLOWED_PRINCIPALS => {
            "IAM_ALLOWED_PRINCIPALS"
        }
        Step::Grant { grant, .. } => match grant.resource {
            Resource::Database(_) => "a grant on a database",
            Resource::AllTables(_) => "a grant on all tables",
            Resource::Table(_) => "a grant on a table",
            Resource::Column(..) => "a grant on a column",
            Resource::ColumnsExcept(..) => "a grant with exclusions",
            Resource::DataCellsFilter(..) => "a grant on a filter",
            Resource::LfTagPolicy { .. } => "a grant by LF-Tags",
            Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagExpression(_) => "a grant of another kind",
        },
        Step::CreateDatabase { .. } | Step::CreateTable { .. } => "a created object",
        Step::UpdateDatabase { .. } | Step::UpdateTable { .. } => "a column",
        Step::PutAttachment { attachment, .. } => match attachment {
            Attachment::DataCellsFilter(_) => "a filter",
            Attachment::LfTagAssignment { .. } => "an LF-Tag assignment",
            Attachment::NamedExpression(_) => "an expression",
            Attachment::Index(_)
            | Attachment::Statistics(_)
            | Attachment::GlueTag { .. }
            | Attachment::OptIn(_)
            | Attachment::LfTagValue { .. }
            | Attachment::Registration(_) => "another attachment",
        },
        Step::RemoveAttachment { key, .. } => match key {
            AttachmentKey::LfTagAssignment { .. } => "a removed LF-Tag assignment",
            AttachmentKey::OptIn(_) => "an opt-out",
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::DataCellsFilter(_)
            | AttachmentKey::LfTagValue { .. }
            | AttachmentKey::NamedExpression(_)
            | AttachmentKey::Registration(_) => "another attachment",
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

/// Audits a plan against new reads of both Regions.
///
/// # Errors
/// The rejections of the audit.
///
/// # Panics
/// The ledger, which is in memory, returns an error.
pub fn audit_plan(
    harness: &TestHarness,
    plan: twinlake_core::Plan,
) -> Result<twinlake_core::ApprovedPlan, Vec<twinlake_core::Rejection>> {
    let context = harness.context();
    let scope = scope_of_everything();
    let (rows, snapshots) = twinlake_sim::run_until_killed(
        &harness.sim,
        twinlake_engine::reconcile::observe_once(&context, &scope),
    )
    .unwrap()
    .unwrap();
    let inputs = twinlake_core::plan::Inputs {
        scope: &scope,
        epoch: context.epoch,
        policy: &harness.policy,
        primary: &snapshots.primary,
        standby: &snapshots.standby,
        rows: &rows,
        own_roles: context.own_roles,
        reader_role: context.reader_role,
        excluded_steps: &twinlake_core::plan::ExcludedSteps::default(),
    };
    twinlake_core::audit(&inputs, plan, &DeletionBudget::default())
}
