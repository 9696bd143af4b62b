//! No step widens access beyond the primary: neither of a plan, nor of a mutated plan that the
//! audit accepts. Access is computed by [`twinlake_tests::access_oracle`].

use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use twinlake_core::catalog::{Attachment, AttachmentKey, FilterColumns};
use twinlake_core::{Resource, Step};
use twinlake_engine::ports::PermissionResourceType;
use twinlake_sim::{Quirk, UnusualAnswer};
use twinlake_tests::failing_runs::{any_failure_case, run_failure_case};
use twinlake_tests::harness::{PRIMARY, STANDBY};
use twinlake_tests::history::{
    DivergingHistories, access_changes, access_hazards, guarded_changes, order_sensitive_histories,
    random_actions,
};
use twinlake_tests::plans::{
    USES_FIXED_SEED, access_cause, audit_plan, excess_access, excess_access_by_step,
    harness_with_drift, preview_everything, proptest_config, proptest_config_with_cases,
    require_all_before,
};

/// The number of cases by cause of excess access.
type Counts = BTreeMap<&'static str, usize>;

fn print_counts(title: &str, counts: &Counts) {
    for (cause, count) in counts {
        println!("{title}: {count:4} by {cause}");
    }
}

fn histories() -> impl Strategy<Value = DivergingHistories> {
    prop_oneof![
        1 => (random_actions(25), random_actions(25), random_actions(25)),
        2 => (access_changes(30), access_changes(20), access_changes(20)),
        3 => order_sensitive_histories(),
    ]
}

/// No step of a plan makes the standby allow what the primary does not. The effective access is
/// compared after every step.
#[test]
fn never_widens() {
    let seen: Mutex<(usize, usize, usize, Counts)> = Mutex::default();
    proptest!(proptest_config(), |((before, in_primary, in_standby) in histories(), grants_remain in any::<bool>())| {
        let build = || {
            let harness = harness_with_drift(&before, &in_primary, &in_standby);
            harness.sim.state().set_quirk(Quirk::GrantsRemainAfterTableDeletion, grants_remain);
            harness
        };
        let harness = build();
        let (plan, verdict) = preview_everything(&harness);
        prop_assert_eq!(verdict, Vec::new());
        let initial_excess = excess_access(&harness);
        let found = excess_access_by_step(&harness, &plan.steps);
        prop_assert!(found.is_empty(), "{found:?} in {:#?}", plan.steps);
        let _ = harness.resync();
        prop_assert_eq!(excess_access(&harness), BTreeSet::new());
        // The case is a real test if the reversed plan, or the plan without revokes, widens access.
        let reversed: Vec<Step> = plan.steps.iter().rev().cloned().collect();
        let is_not_revoke = |step: &&Step| !matches!(step, Step::Revoke { .. });
        let without_revokes: Vec<Step> = plan.steps.iter().filter(is_not_revoke).cloned().collect();
        let mut causes = BTreeSet::new();
        for steps in [reversed, without_revokes] {
            let found = excess_access_by_step(&build(), &steps);
            causes.extend(found.iter().map(|(index, _)| access_cause(&steps[*index])));
        }
        let mut seen = seen.lock().unwrap();
        seen.0 += 1;
        seen.1 += usize::from(!initial_excess.is_empty());
        seen.2 += usize::from(!causes.is_empty());
        for cause in causes {
            *seen.3.entry(cause).or_default() += 1;
        }
    });
    let (cases, already_excess, with_excess_access, causes) = seen.into_inner().unwrap();
    println!(
        "never_widens: {cases} cases; in {with_excess_access} another plan would widen access, in \
         {already_excess} the standby had excess access before the plan"
    );
    print_counts("widening avoided", &causes);
    assert!(
        with_excess_access * 3 > cases,
        "only in {with_excess_access} of {cases} cases another plan would widen access"
    );
    for cause in REQUIRED_CAUSES.iter().filter(|_| USES_FIXED_SEED) {
        assert!(causes.contains_key(cause), "no case tested {cause}");
    }
}

/// A resource type by which a Region refuses to list grants, and whether that is the primary.
fn any_refused_listing() -> impl Strategy<Value = (bool, UnusualAnswer)> {
    let types = PermissionResourceType::ALL.to_vec();
    let refused = prop::sample::select(types).prop_map(UnusualAnswer::RefusesGrantsOfType);
    (any::<bool>(), refused)
}

/// Where a Region refuses a part of its listings, no applied step makes the standby allow what the primary does not, and
/// after the next resyncs with all listings it allows nothing more than before.
#[test]
fn never_widens_where_a_listing_is_refused() {
    let refused = prop::collection::vec(any_refused_listing(), 1..4);
    let (cases, accepted) = (Cell::new(0u32), Cell::new(0u32));
    proptest!(proptest_config_with_cases(256), |((before, in_primary, in_standby) in histories(), refused in refused, unfiltered_omits in any::<bool>())| {
        let harness = harness_with_drift(&before, &in_primary, &in_standby);
        let initial_excess = excess_access(&harness);
        let answer = |on: bool| {
            let mut state = harness.sim.state();
            for (is_primary, answer) in &refused {
                let region = if *is_primary { PRIMARY } else { STANDBY };
                state.set_unusual_answer(region, *answer, on);
            }
            state.set_quirk(Quirk::UnfilteredListOmitsLfTagGrants, unfiltered_omits);
        };
        answer(true);
        let (plan, verdict) = preview_everything(&harness);
        cases.set(cases.get() + 1);
        // What the audit rejects is held.
        if verdict.is_empty() {
            accepted.set(accepted.get() + 1);
            let found = excess_access_by_step(&harness, &plan.steps);
            prop_assert!(found.is_empty(), "{found:?} in {:#?}", plan.steps);
        }
        let _ = harness.resync();
        answer(false);
        let _ = harness.settle();
        // A filter that the primary cannot use, and that somebody changed in the standby, stays as it is.
        prop_assert!(excess_access(&harness).is_subset(&initial_excess));
    });
    let (cases, accepted) = (cases.get(), accepted.get());
    assert!(
        accepted * 10 > cases * 9,
        "the audit accepts only {accepted} of {cases} plans"
    );
}

fn histories_with_hazards() -> impl Strategy<Value = DivergingHistories> {
    prop_oneof![
        2 => histories(),
        4 => guarded_changes(),
        4 => access_hazards(),
    ]
}

/// Whatever writes fail, for good, for a while or after their effect: no write makes the standby
/// allow what the primary does not. The effective access is compared before and after each write
/// that may give access.
#[test]
fn never_widens_where_steps_fail() {
    #[derive(Default)]
    struct Seen {
        cases: usize,
        closing_write_failed: usize,
        other_rule_widens: usize,
    }
    let seen: Mutex<Seen> = Mutex::default();
    let cases = any_failure_case(histories_with_hazards());
    proptest!(proptest_config_with_cases(1024), |(case in cases)| {
        let run = run_failure_case(&case);
        prop_assert!(run.widenings.is_empty(), "{:#?} in {:#?}", run.widenings, run.log);
        let mut seen = seen.lock().unwrap();
        seen.cases += 1;
        seen.closing_write_failed += usize::from(run.closing_write_failed);
        seen.other_rule_widens += usize::from(run.widening_if_blocked_by_subject.is_some());
    });
    let seen = seen.into_inner().unwrap();
    println!(
        "never_widens_where_steps_fail: {} cases; in {} a write fails that only closes, in {} the \
         rule by subject would widen access",
        seen.cases, seen.closing_write_failed, seen.other_rule_widens
    );
    assert!(seen.closing_write_failed * 4 >= seen.cases);
    assert!(seen.other_rule_widens * 5 >= seen.cases);
}

/// The causes of excess access that must occur in the cases.
const REQUIRED_CAUSES: [&str; 11] = [
    "IAM_ALLOWED_PRINCIPALS",
    "a column",
    "a filter",
    "a grant by LF-Tags",
    "a grant on a filter",
    "a grant on a table",
    "a grant with exclusions",
    "an LF-Tag assignment",
    "a removed LF-Tag assignment",
    "an opt-out",
    "a created object",
];

/// The audit rejects every mutated plan that would widen access.
#[test]
fn auditor_rejects_mutants() {
    let seen: Mutex<BTreeMap<&'static str, (usize, usize)>> = Mutex::default();
    proptest!(proptest_config(), |(
        (before, in_primary, in_standby) in histories(), choice in any::<prop::sample::Index>(),
    )| {
        let (plan, _) = preview_everything(&harness_with_drift(&before, &in_primary, &in_standby));
        for kind in MUTANTS {
            let Some(mutant) = mutate(&plan, kind, choice) else {
                continue;
            };
            let harness = harness_with_drift(&before, &in_primary, &in_standby);
            let verdict = audit_plan(&harness, mutant.clone());
            let found = excess_access_by_step(&harness, &mutant.steps);
            let mut seen = seen.lock().unwrap();
            let (mutants, widening_mutants) = seen.entry(kind).or_default();
            *mutants += 1;
            if let Some(widening) = found.first() {
                *widening_mutants += 1;
                prop_assert!(verdict.is_err(), "{kind}: {widening:?} in {:#?}", mutant.steps);
            }
        }
    });
    let seen = seen.into_inner().unwrap();
    for (kind, (mutants, widening_mutants)) in &seen {
        println!(
            "auditor_rejects_mutants: {mutants:4}, of which {widening_mutants:4} widen access: {kind}"
        );
    }
    for kind in MUTANTS.iter().filter(|_| USES_FIXED_SEED) {
        assert!(
            seen.get(kind)
                .is_some_and(|(_, widening_mutants)| *widening_mutants > 0),
            "no case tested: {kind}"
        );
    }
}

const REVOKE_DROPPED: &str = "a revoke is dropped";
const STEPS_REVERSED: &str = "the steps are reversed";
const REVOKE_LAST: &str = "a revoke comes last";
const COLUMNS_IGNORED: &str = "a grant on columns becomes a grant on the table";
const EXCLUSION_DROPPED: &str = "one of several excluded columns is dropped";
const GRANT_OPTION_ADDED: &str = "a grant option is added";
const OTHER_PRINCIPAL: &str = "a grant is made to another principal";
const ALL_TABLES: &str = "a grant becomes a grant on all tables";
const LF_TAG_ASSIGNMENT_FIRST: &str = "an LF-Tag assignment comes first";
const LF_TAG_REMOVAL_FIRST: &str = "a removal of an LF-Tag assignment comes first";
const OTHER_LF_TAG_VALUE: &str = "another value of an LF-Tag is assigned";
const TABLE_UPDATE_FIRST: &str = "an update of a table comes first";
const TABLE_CREATION_FIRST: &str = "the creation of a table comes first";
const LF_TAG_REVOKE_DROPPED: &str = "a revoke of a grant by LF-Tags is dropped";
const FILTER_CHANGE_FIRST: &str = "a change of a data cells filter comes first";
const FILTER_ALLOWS_ALL: &str = "a data cells filter allows all rows and columns";
const OPT_OUT_FIRST: &str = "an opt-out comes first";

const MUTANTS: [&str; 17] = [
    REVOKE_DROPPED,
    STEPS_REVERSED,
    REVOKE_LAST,
    COLUMNS_IGNORED,
    EXCLUSION_DROPPED,
    GRANT_OPTION_ADDED,
    OTHER_PRINCIPAL,
    ALL_TABLES,
    LF_TAG_ASSIGNMENT_FIRST,
    LF_TAG_REMOVAL_FIRST,
    OTHER_LF_TAG_VALUE,
    TABLE_UPDATE_FIRST,
    TABLE_CREATION_FIRST,
    LF_TAG_REVOKE_DROPPED,
    FILTER_CHANGE_FIRST,
    FILTER_ALLOWS_ALL,
    OPT_OUT_FIRST,
];

/// Mutates a plan in one of the ways in which a broken planner might. Returns `None` if the plan
/// has no step to mutate.
fn mutate(
    plan: &twinlake_core::Plan,
    kind: &str,
    choice: prop::sample::Index,
) -> Option<twinlake_core::Plan> {
    let mut plan = plan.clone();
    let find_step = |matches_step: &dyn Fn(&Step) -> bool| -> Option<usize> {
        let steps = plan.steps.iter().enumerate();
        let all: Vec<usize> = steps
            .filter(|(_, step)| matches_step(step))
            .map(|(index, _)| index)
            .collect();
        (!all.is_empty()).then(|| all[choice.index(all.len())])
    };
    let is_revoke = |step: &Step| matches!(step, Step::Revoke { .. });
    let is_grant = |step: &Step| matches!(step, Step::Grant { .. });
    let is_moved_first = |step: &Step| match (kind, step) {
        (LF_TAG_ASSIGNMENT_FIRST, Step::PutAttachment { attachment, .. }) => {
            matches!(attachment, Attachment::LfTagAssignment { .. })
        }
        (LF_TAG_REMOVAL_FIRST, Step::RemoveAttachment { key, .. }) => {
            matches!(key, AttachmentKey::LfTagAssignment { .. })
        }
        (TABLE_UPDATE_FIRST, step) => matches!(step, Step::UpdateTable { .. }),
        (TABLE_CREATION_FIRST, step) => matches!(step, Step::CreateTable { .. }),
        (FILTER_CHANGE_FIRST, Step::PutAttachment { attachment, .. }) => {
            matches!(attachment, Attachment::DataCellsFilter(_))
        }
        (OPT_OUT_FIRST, Step::RemoveAttachment { key, .. }) => {
            matches!(key, AttachmentKey::OptIn(_))
        }
        _ => false,
    };
    let resource = |index: usize| match &plan.steps[index] {
        Step::Grant { grant, .. } => Some(grant.resource.clone()),
        _ => None,
    };
    match kind {
        REVOKE_DROPPED => drop(plan.steps.remove(find_step(&is_revoke)?)),
        LF_TAG_REVOKE_DROPPED => {
            let by_tags = |step: &Step| {
                matches!(step, Step::Revoke { grant, .. }
                if matches!(grant.resource, Resource::LfTagPolicy { .. }))
            };
            drop(plan.steps.remove(find_step(&by_tags)?));
        }
        STEPS_REVERSED => plan.steps.reverse(),
        REVOKE_LAST => {
            let step = plan.steps.remove(find_step(&is_revoke)?);
            plan.steps.push(step);
        }
        COLUMNS_IGNORED | EXCLUSION_DROPPED | ALL_TABLES => {
            let index = find_step(&|step| match (kind, step) {
                (COLUMNS_IGNORED, Step::Grant { grant, .. }) => {
                    matches!(
                        grant.resource,
                        Resource::Column(..) | Resource::ColumnsExcept(..)
                    )
                }
                (EXCLUSION_DROPPED, Step::Grant { grant, .. }) => {
                    matches!(&grant.resource, Resource::ColumnsExcept(_, names) if names.len() > 1)
                }
                (_, step) => is_grant(step),
            })?;
            let wider_resource = match (kind, resource(index)?) {
                (EXCLUSION_DROPPED, Resource::ColumnsExcept(id, mut names)) => {
                    names.pop_first();
                    Resource::ColumnsExcept(id, names)
                }
                (COLUMNS_IGNORED, narrow) => Resource::Table(narrow.table()?.clone()),
                (_, narrow) => Resource::AllTables(narrow.database()?.clone()),
            };
            if let Step::Grant { grant, .. } = &mut plan.steps[index] {
                grant.resource = wider_resource;
            }
        }
        GRANT_OPTION_ADDED | OTHER_PRINCIPAL => {
            let index = find_step(&is_grant)?;
            if let Step::Grant { grant, grantable } = &mut plan.steps[index] {
                match kind {
                    GRANT_OPTION_ADDED => *grantable = true,
                    _ => {
                        "arn:aws:iam::111122223333:role/Stranger".clone_into(&mut grant.principal.0)
                    }
                }
            }
        }
        OTHER_LF_TAG_VALUE | FILTER_ALLOWS_ALL => {
            let index = find_step(&|step| match (kind, step) {
                (OTHER_LF_TAG_VALUE, Step::PutAttachment { attachment, .. }) => {
                    matches!(attachment, Attachment::LfTagAssignment { .. })
                }
                (FILTER_ALLOWS_ALL, Step::PutAttachment { attachment, .. }) => {
                    matches!(attachment, Attachment::DataCellsFilter(_))
                }
                _ => false,
            })?;
            if let Step::PutAttachment { attachment, .. } = &mut plan.steps[index] {
                match attachment {
                    Attachment::LfTagAssignment { value, .. } => {
                        let other = if value == "v2" { "v1" } else { "v2" };
                        other.clone_into(value);
                    }
                    Attachment::DataCellsFilter(filter) => {
                        filter.columns = FilterColumns::AllBut(BTreeSet::new());
                        filter.rows = None;
                    }
                    _ => {}
                }
            }
        }
        _ => {
            let step = plan.steps.remove(find_step(&is_moved_first)?);
            plan.steps.insert(0, step);
        }
    }
    require_all_before(&mut plan);
    Some(plan)
}
