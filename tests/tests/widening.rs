//! No step ever widens access: neither of a plan's prefixes, nor of a spoilt plan that the
//! auditor lets pass. The judge of access is [`twinlake_tests::access`].

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use twinlake_core::catalog::{FilterColumns, Part, PartKey};
use twinlake_core::{Resource, Step};
use twinlake_sim::Quirk;
use twinlake_tests::history::{Histories, acts, crossings, risky_acts};
use twinlake_tests::plans::{IS_FIXED, config, drifted, judge, means, plan_of, widenings, wider};

/// How often each means would have opened something.
type Counts = BTreeMap<&'static str, usize>;

fn table(title: &str, counts: &Counts) {
    for (means, count) in counts {
        println!("{title}: {count:4} by {means}");
    }
}

fn histories() -> impl Strategy<Value = Histories> {
    prop_oneof![
        1 => (acts(25), acts(25), acts(25)),
        2 => (risky_acts(30), risky_acts(20), risky_acts(20)),
        3 => crossings(),
    ]
}

/// No step of any plan makes the secondary allow what the primary does not: every
/// prefix is judged by effective access.
#[test]
fn never_widens() {
    let seen: Mutex<(usize, usize, usize, Counts)> = Mutex::default();
    proptest!(config(), |((b, p, s) in histories(), lingers in any::<bool>())| {
        let build = || {
            let lab = drifted(&b, &p, &s);
            lab.sim.world().set_quirk(Quirk::GrantsOutliveTables, lingers);
            lab
        };
        let lab = build();
        let (plan, judged) = plan_of(&lab);
        prop_assert_eq!(judged, Ok(()));
        let start = wider(&lab);
        let found = widenings(&lab, &plan.steps);
        prop_assert!(found.is_empty(), "{found:?} in {:#?}", plan.steps);
        let _ = lab.resync();
        prop_assert_eq!(wider(&lab), BTreeSet::new());
        // Was there something to get wrong? In the opposite order, or without what
        // narrows, there is.
        let backwards: Vec<Step> = plan.steps.iter().rev().cloned().collect();
        let narrows = |step: &&Step| !matches!(step, Step::Revoke { .. });
        let careless: Vec<Step> = plan.steps.iter().filter(narrows).cloned().collect();
        let mut by = BTreeSet::new();
        for steps in [backwards, careless] {
            let found = widenings(&build(), &steps);
            by.extend(found.iter().map(|(at, _)| means(&steps[*at])));
        }
        let mut seen = seen.lock().unwrap();
        seen.0 += 1;
        seen.1 += usize::from(!start.is_empty());
        seen.2 += usize::from(!by.is_empty());
        for means in by {
            *seen.3.entry(means).or_default() += 1;
        }
    });
    let (cases, already, had_one, by) = seen.into_inner().unwrap();
    println!(
        "never_widens: {cases} cases, {had_one} had a widening to avoid, and {already} one to \
         remove from the start"
    );
    table("to avoid", &by);
    assert!(
        had_one * 3 > cases,
        "only {had_one} of {cases} cases tested anything"
    );
    for means in TO_AVOID.iter().filter(|_| IS_FIXED) {
        assert!(by.contains_key(means), "no case tested {means}");
    }
}

/// What the cases have to put to the test.
const TO_AVOID: [&str; 11] = [
    "IAM_ALLOWED_PRINCIPALS",
    "a column",
    "a filter",
    "a grant by LF-Tags",
    "a grant on a filter",
    "a grant on a table",
    "a grant with exclusions",
    "an LF-Tag assigned",
    "an LF-Tag taken away",
    "an opt-out",
    "something made",
];

/// Whatever is done to a plan that would widen access, the auditor sees it.
#[test]
fn auditor_rejects_mutants() {
    let seen: Mutex<BTreeMap<&'static str, (usize, usize)>> = Mutex::default();
    proptest!(config(), |(
        (b, p, s) in histories(), pick in any::<prop::sample::Index>(),
    )| {
        let (plan, _) = plan_of(&drifted(&b, &p, &s));
        for kind in MUTANTS {
            let Some(mutant) = mutate(&plan, kind, pick) else {
                continue;
            };
            let lab = drifted(&b, &p, &s);
            let verdict = judge(&lab, mutant.clone());
            let found = widenings(&lab, &mutant.steps);
            let mut seen = seen.lock().unwrap();
            let (mutants, wide) = seen.entry(kind).or_default();
            *mutants += 1;
            if let Some(widening) = found.first() {
                *wide += 1;
                prop_assert!(verdict.is_err(), "{kind}: {widening:?} in {:#?}", mutant.steps);
            }
        }
    });
    let seen = seen.into_inner().unwrap();
    for (kind, (mutants, wide)) in &seen {
        println!("auditor_rejects_mutants: {mutants:4}, {wide:4} would have widened: {kind}");
    }
    for kind in MUTANTS.iter().filter(|_| IS_FIXED) {
        assert!(
            seen.get(kind).is_some_and(|(_, wide)| *wide > 0),
            "no case tested: {kind}"
        );
    }
}

const DROPPED: &str = "a revoke is dropped";
const BACKWARDS: &str = "the steps are swapped";
const LATE: &str = "a revoke comes last";
const WIDENED: &str = "a column becomes the table, an exclusion is forgotten";
const EXCLUDES_LESS: &str = "one of several exclusions is forgotten";
const OPTION: &str = "a grant option is added";
const STRANGER: &str = "somebody else gets it";
const ALL_TABLES: &str = "a table becomes all tables";
const EARLY_TAG: &str = "an LF-Tag is assigned before anything else";
const EARLY_UNTAG: &str = "an LF-Tag is taken away before anything else";
const OTHER_VALUE: &str = "another value of an LF-Tag is assigned";
const EARLY_COLUMN: &str = "a column comes before anything else";
const EARLY_TABLE: &str = "a table comes before anything else";
const TAGS_DROPPED: &str = "a grant by LF-Tags does not step aside";
const EARLY_FILTER: &str = "a filter changes before anything else";
const ALL_ROWS: &str = "a filter shows all rows and columns";
const EARLY_OPT_OUT: &str = "an opt-out comes before anything else";

const MUTANTS: [&str; 17] = [
    DROPPED,
    BACKWARDS,
    LATE,
    WIDENED,
    EXCLUDES_LESS,
    OPTION,
    STRANGER,
    ALL_TABLES,
    EARLY_TAG,
    EARLY_UNTAG,
    OTHER_VALUE,
    EARLY_COLUMN,
    EARLY_TABLE,
    TAGS_DROPPED,
    EARLY_FILTER,
    ALL_ROWS,
    EARLY_OPT_OUT,
];

/// Spoils a plan in one of the ways that a broken planner might.
fn mutate(
    plan: &twinlake_core::Plan,
    kind: &str,
    pick: prop::sample::Index,
) -> Option<twinlake_core::Plan> {
    let mut plan = plan.clone();
    let at = |is: &dyn Fn(&Step) -> bool| -> Option<usize> {
        let steps = plan.steps.iter().enumerate();
        let all: Vec<usize> = steps.filter(|(_, s)| is(s)).map(|(at, _)| at).collect();
        (!all.is_empty()).then(|| all[pick.index(all.len())])
    };
    let is_revoke = |step: &Step| matches!(step, Step::Revoke { .. });
    let is_grant = |step: &Step| matches!(step, Step::Grant { .. });
    let is_early = |step: &Step| match (kind, step) {
        (EARLY_TAG, Step::PutPart { part, .. }) => matches!(part, Part::Assigned { .. }),
        (EARLY_UNTAG, Step::RemovePart { key, .. }) => matches!(key, PartKey::Assigned { .. }),
        (EARLY_COLUMN, step) => matches!(step, Step::UpdateTable { .. }),
        (EARLY_TABLE, step) => matches!(step, Step::CreateTable { .. }),
        (EARLY_FILTER, Step::PutPart { part, .. }) => matches!(part, Part::Filter(_)),
        (EARLY_OPT_OUT, Step::RemovePart { key, .. }) => matches!(key, PartKey::OptIn(_)),
        _ => false,
    };
    let resource = |at: usize| match &plan.steps[at] {
        Step::Grant { atom, .. } => Some(atom.resource.clone()),
        _ => None,
    };
    match kind {
        DROPPED => drop(plan.steps.remove(at(&is_revoke)?)),
        TAGS_DROPPED => {
            let by_tags = |step: &Step| {
                matches!(step, Step::Revoke { atom, .. }
                if matches!(atom.resource, Resource::TagPolicy { .. }))
            };
            drop(plan.steps.remove(at(&by_tags)?));
        }
        BACKWARDS => plan.steps.reverse(),
        LATE => {
            let step = plan.steps.remove(at(&is_revoke)?);
            plan.steps.push(step);
        }
        WIDENED | EXCLUDES_LESS | ALL_TABLES => {
            let at = at(&|step| match (kind, step) {
                (WIDENED, Step::Grant { atom, .. }) => {
                    matches!(
                        atom.resource,
                        Resource::Column(..) | Resource::ColumnsExcept(..)
                    )
                }
                (EXCLUDES_LESS, Step::Grant { atom, .. }) => {
                    matches!(&atom.resource, Resource::ColumnsExcept(_, names) if names.len() > 1)
                }
                (_, step) => is_grant(step),
            })?;
            let wider = match (kind, resource(at)?) {
                (EXCLUDES_LESS, Resource::ColumnsExcept(id, mut names)) => {
                    names.pop_first();
                    Resource::ColumnsExcept(id, names)
                }
                (WIDENED, narrow) => Resource::Table(narrow.table()?.clone()),
                (_, narrow) => Resource::AllTables(narrow.database()?.clone()),
            };
            if let Step::Grant { atom, .. } = &mut plan.steps[at] {
                atom.resource = wider;
            }
        }
        OPTION | STRANGER => {
            let at = at(&is_grant)?;
            if let Step::Grant { atom, grantable } = &mut plan.steps[at] {
                match kind {
                    OPTION => *grantable = true,
                    _ => {
                        "arn:aws:iam::111122223333:role/Stranger".clone_into(&mut atom.principal.0)
                    }
                }
            }
        }
        OTHER_VALUE | ALL_ROWS => {
            let at = at(&|step| match (kind, step) {
                (OTHER_VALUE, Step::PutPart { part, .. }) => matches!(part, Part::Assigned { .. }),
                (ALL_ROWS, Step::PutPart { part, .. }) => matches!(part, Part::Filter(_)),
                _ => false,
            })?;
            if let Step::PutPart { part, .. } = &mut plan.steps[at] {
                match part {
                    Part::Assigned { value, .. } => {
                        let other = if value == "v2" { "v1" } else { "v2" };
                        other.clone_into(value);
                    }
                    Part::Filter(filter) => {
                        filter.columns = FilterColumns::AllBut(BTreeSet::new());
                        filter.rows = None;
                    }
                    _ => {}
                }
            }
        }
        _ => {
            let step = plan.steps.remove(at(&is_early)?);
            plan.steps.insert(0, step);
        }
    }
    Some(plan)
}
