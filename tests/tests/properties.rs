//! The properties that Twinlake promises, each over random histories.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use twinlake_core::audit::{BrakeReading, Rule};
use twinlake_core::{Scope, Step, Subject};
use twinlake_sim::{ApiError, Chaos, Kill, Quirk, Trouble};
use twinlake_tests::access;
use twinlake_tests::history::{Act, acts, perform, settle};
use twinlake_tests::lab::{ADMIN, Lab, PRIMARY, ROLE, SECONDARY, policy};
use twinlake_tests::twin;

/// A policy whose brake is out of the way.
const UNBRAKED: &str = "tags = \"copy\"\nbrake = { share = 1.0, minimum = 10000 }";

fn lab() -> Lab {
    Lab::new(policy(UNBRAKED))
}

const IGNORED: [&str; 2] = [ROLE, ADMIN];

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        failure_persistence: None,
        max_shrink_iters: 2000,
        // The same cases for everybody; `make explore` looks at others.
        rng_seed: match option_env!("TWINLAKE_EXPLORE") {
            None => RngSeed::Fixed(20_261_124),
            Some(_) => RngSeed::Random,
        },
        ..ProptestConfig::default()
    }
}

fn equal(lab: &Lab) -> Result<(), TestCaseError> {
    let found = twin::differences(&lab.sim.world(), &[]);
    prop_assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// A synchronised pair of Regions that both went on since, each in its own way.
fn drifted(before: &[Act], primary: &[Act], secondary: &[Act]) -> Lab {
    let lab = lab();
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

/// The plan for everything, with what it was judged on.
fn plan_of(lab: &Lab) -> (twinlake_core::Plan, Result<(), Vec<twinlake_core::Veto>>) {
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

fn wider(lab: &Lab) -> BTreeSet<access::Right> {
    access::wider(&lab.sim.world(), PRIMARY, SECONDARY, &IGNORED)
}

/// Makes the steps one by one; answers the first right that a step added beyond
/// what the primary allows.
fn first_widening(lab: &Lab, steps: &[Step]) -> Option<(usize, access::Right)> {
    let mut known = wider(lab);
    for (at, step) in steps.iter().enumerate() {
        make(lab, step);
        let now = wider(lab);
        if let Some(new) = now.difference(&known).next() {
            return Some((at, new.clone()));
        }
        known = now;
    }
    None
}

proptest! {
    #![proptest_config(config())]

    /// Whatever events are lost, doubled or reordered, and wherever a handler is
    /// killed: one resync later the Regions are equal.
    #[test]
    fn converges(
        before in acts(20),
        after in acts(20),
        order in any::<u64>(),
        kill in 0..40usize,
        after_effect in any::<bool>(),
        chaos in any::<u64>(),
        percent in prop::sample::select(vec![0u64, 2, 2, 10]),
    ) {
        let lab = lab();
        settle(&lab, &before);
        let _ = lab.resync();
        let _ = lab.take_events();
        for act in &after {
            perform(&lab, PRIMARY, act);
        }
        let mut bodies = lab.take_events();
        // A shuffle, a loss and a double, all from one number.
        let mut seed = order;
        let mut shuffled = Vec::new();
        while !bodies.is_empty() {
            let at = usize::try_from(seed % bodies.len() as u64).unwrap();
            let body = bodies.remove(at);
            match seed % 5 {
                0 => {}
                1 => shuffled.extend([body.clone(), body]),
                _ => shuffled.push(body),
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
        }
        lab.sim.world().order_chaos(Chaos::new(chaos, percent), ROLE);
        lab.sim.world().order_kill(Kill { at: kill, after_effect });
        for batch in shuffled.chunks(3) {
            if lab.deliver(batch).is_none() {
                lab.sim.world().calm();
                lab.sim.world().order_chaos(Chaos::new(!chaos, percent), ROLE);
                lab.deliver(batch);
            }
            // What has to wait comes again, in the same weather.
            let later: Vec<Vec<u8>> = lab.queue.take().iter().map(|m| m.body().into_bytes()).collect();
            let _ = lab.deliver(&later);
        }
        lab.sim.world().calm();
        let mut report = lab.resync().unwrap();
        // An index on its way out is waited for (GL-06).
        for _ in 0..3 {
            if report.outcome.waiting.is_some() {
                report = lab.resync().unwrap();
            }
        }
        prop_assert!(report.outcome.vetoes.is_empty(), "{:?}", report.outcome.vetoes);
        prop_assert!(report.outcome.is_settled(), "{:?}", report.outcome);
        equal(&lab)?;
    }

    /// A resync of what is equal writes nothing.
    #[test]
    fn is_idempotent(before in acts(30)) {
        let lab = lab();
        settle(&lab, &before);
        let _ = lab.resync();
        equal(&lab)?;
        let _ = lab.take_calls();
        let report = lab.resync().unwrap();
        let (reads, writes) = lab.take_calls();
        prop_assert_eq!(writes, 0, "{:?}", report.outcome.applied);
        prop_assert!(reads > 0);
    }

    /// The auditor lets every plan of the planner pass.
    #[test]
    fn auditor_accepts_planner(b in acts(20), p in acts(20), s in acts(20)) {
        let lab = drifted(&b, &p, &s);
        let (plan, judged) = plan_of(&lab);
        prop_assert_eq!(judged, Ok(()), "{:#?}", plan.steps);
    }

    /// Handling the events of a change, by whichever channel they come, mends just
    /// what the change broke: the scope of an event is never too small.
    #[test]
    fn scope_is_sound(before in acts(20), act in twinlake_tests::history::act(), native in any::<bool>()) {
        let lab = lab();
        settle(&lab, &before);
        let _ = lab.resync();
        let _ = lab.take_events();
        perform(&lab, PRIMARY, &act);
        let is_native = |body: &[u8]| String::from_utf8_lossy(body).contains("State Change");
        let all = lab.take_events();
        let has_native = all.iter().any(|body| is_native(body));
        for body in all {
            // UpdateDatabase and permissions have no native event.
            if is_native(&body) == (native && has_native) {
                lab.deliver(&[body]);
            }
        }
        equal(&lab)?;
    }

    /// Events that are delivered in any order end in the same state.
    #[test]
    fn order_does_not_matter(before in acts(15), after in acts(15), seed in any::<u64>()) {
        let lab = lab();
        settle(&lab, &before);
        let _ = lab.resync();
        let _ = lab.take_events();
        for act in &after {
            perform(&lab, PRIMARY, act);
        }
        let mut bodies = lab.take_events();
        let mut seed = seed;
        while !bodies.is_empty() {
            let at = usize::try_from(seed % bodies.len() as u64).unwrap();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
            lab.deliver(&[bodies.remove(at)]);
        }
        // Nothing was lost, so nothing is left for the resync to find; a second
        // look is owed only to what waited for its database.
        for message in lab.queue.take() {
            lab.deliver(&[message.body().into_bytes()]);
        }
        equal(&lab)?;
    }

    /// A lost right, at whatever call, deletes nothing and revokes nothing.
    #[test]
    fn absence_needs_proof(before in acts(25), at in 0..12usize) {
        let lab = lab();
        settle(&lab, &before);
        let _ = lab.resync();
        let held = |lab: &Lab| {
            let world = lab.sim.world();
            let tables: Vec<_> = world.raw_tables(SECONDARY).into_keys().collect();
            let partitions: Vec<_> = world.raw_partitions(SECONDARY).into_iter().collect();
            let lake = world.raw_lake(SECONDARY);
            (tables, partitions, world.raw_grants(SECONDARY), lake)
        };
        let whole = held(&lab);
        // The rights go in the middle of the run: the first calls still see all.
        lab.sim.world().order(Trouble {
            region: Some(PRIMARY.to_owned()),
            call: None,
            after: at,
            times: usize::MAX,
            error: ApiError::new(
                twinlake_core::FaultKind::Absent,
                "EntityNotFoundException",
                "Entity Not Found",
            ),
            with_effect: false,
        });
        let report = lab.resync().unwrap();
        prop_assert_eq!(held(&lab), whole.clone());
        lab.sim.world().calm();
        lab.sim.world().take_rights(PRIMARY, ROLE);
        let blind = lab.resync().unwrap();
        prop_assert_eq!(held(&lab), whole);
        prop_assert!(blind.verified_at.is_none(), "{:?}", blind.outcome.findings);
        prop_assert!(!blind.outcome.is_read());
        let _ = report;
    }

    /// What is not paired, and what a link points at, is never touched.
    #[test]
    fn keeps_its_hands_off(before in acts(15), foreign in acts(15), after in acts(10)) {
        let lab = lab();
        // Somebody works in the secondary first, and differently.
        let database = serde_json::json!({"DatabaseInput": {
            "Name": "db0", "Description": "not yours", "CreateTableDefaultPermissions": [],
        }});
        lab.call(SECONDARY, "CreateDatabase", &database).unwrap();
        let link = serde_json::json!({"DatabaseInput": {
            "Name": "db1", "CreateTableDefaultPermissions": [],
            "TargetDatabase": {"DatabaseName": "base", "CatalogId": "111122223333", "Region": PRIMARY},
        }});
        lab.call(SECONDARY, "CreateDatabase", &link).unwrap();
        for act in &foreign {
            if !matches!(act, Act::CreateDatabase(_) | Act::DeleteDatabase(_) | Act::DescribeDatabase(..)) {
                perform(&lab, SECONDARY, act);
            }
        }
        let theirs = |lab: &Lab| {
            let world = lab.sim.world();
            let mut tables = world.raw_tables(SECONDARY);
            tables.retain(|id, _| id.database.as_str() != "base");
            let mut databases = world.raw_databases(SECONDARY);
            databases.retain(|name, _| name.as_str() != "base");
            (databases, tables)
        };
        settle(&lab, &before);
        let primary = |lab: &Lab| {
            let world = lab.sim.world();
            (world.raw_databases(PRIMARY), world.raw_tables(PRIMARY))
        };
        let (there, here) = (theirs(&lab), primary(&lab));
        let _ = lab.resync();
        prop_assert_eq!(theirs(&lab), there.clone());
        prop_assert_eq!(primary(&lab), here);
        for act in &after {
            perform(&lab, PRIMARY, act);
        }
        let here = primary(&lab);
        let _ = lab.deliver(&lab.take_events());
        prop_assert_eq!(theirs(&lab), there);
        prop_assert_eq!(primary(&lab), here);
    }
}

/// No step of any plan makes the secondary allow what the primary does not: every
/// prefix is judged by effective access.
#[test]
fn never_widens() {
    let cases = AtomicUsize::new(0);
    let had_one = AtomicUsize::new(0);
    let already = AtomicUsize::new(0);
    proptest!(config(), |(b in acts(25), p in acts(25), s in acts(25), lingers in any::<bool>())| {
        let build = || {
            let lab = drifted(&b, &p, &s);
            lab.sim.world().set_quirk(Quirk::GrantsOutliveTables, lingers);
            lab
        };
        let lab = build();
        let (plan, judged) = plan_of(&lab);
        prop_assert_eq!(judged, Ok(()));
        let start = wider(&lab);
        let found = first_widening(&lab, &plan.steps);
        prop_assert!(found.is_none(), "{found:?} in {:#?}", plan.steps);
        let _ = lab.resync();
        prop_assert_eq!(wider(&lab), BTreeSet::new());
        // Was there something to get wrong? In the opposite order there is.
        cases.fetch_add(1, Ordering::Relaxed);
        let careless: Vec<Step> = plan.steps.iter().rev().cloned().collect();
        if !start.is_empty() {
            already.fetch_add(1, Ordering::Relaxed);
        }
        if !start.is_empty() || first_widening(&build(), &careless).is_some() {
            had_one.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (cases, had_one, already) = (
        cases.into_inner(),
        had_one.into_inner(),
        already.into_inner(),
    );
    println!(
        "never_widens: {cases} cases, {had_one} had a widening to avoid or to remove \
         ({already} were wider at the start)"
    );
    assert!(
        had_one * 3 > cases,
        "only {had_one} of {cases} cases tested anything"
    );
}

/// Whatever is done to a plan that would widen access, the auditor sees it.
#[test]
fn auditor_rejects_mutants() {
    let judged_wide = AtomicUsize::new(0);
    let mutants = AtomicUsize::new(0);
    proptest!(config(), |(
        b in acts(25), p in acts(25), s in acts(25), kind in 0..7u8, pick in any::<prop::sample::Index>(),
    )| {
        let lab = drifted(&b, &p, &s);
        let (plan, _) = plan_of(&lab);
        let Some(mutant) = mutate(&plan, kind, pick) else {
            return Ok(());
        };
        mutants.fetch_add(1, Ordering::Relaxed);
        let verdict = judge(&lab, mutant.clone());
        let widens = first_widening(&lab, &mutant.steps);
        if let Some(widening) = widens {
            judged_wide.fetch_add(1, Ordering::Relaxed);
            prop_assert!(verdict.is_err(), "kind {kind}: {widening:?} in {:#?}", mutant.steps);
        }
    });
    let (mutants, wide) = (mutants.into_inner(), judged_wide.into_inner());
    println!("auditor_rejects_mutants: {mutants} mutants, {wide} would have widened access");
    assert!(wide > 20, "only {wide} of {mutants} mutants were dangerous");
}

/// Spoils a plan in one of the ways that a broken planner might.
fn mutate(
    plan: &twinlake_core::Plan,
    kind: u8,
    pick: prop::sample::Index,
) -> Option<twinlake_core::Plan> {
    use twinlake_core::Resource;
    let mut plan = plan.clone();
    let chosen = |is: fn(&Step) -> bool| -> Vec<usize> {
        let steps = plan.steps.iter().enumerate();
        steps
            .filter(|(_, step)| is(step))
            .map(|(at, _)| at)
            .collect()
    };
    let revokes = chosen(|step| matches!(step, Step::Revoke { .. }));
    let grants = chosen(|step| matches!(step, Step::Grant { .. }));
    let at = |from: &[usize]| (!from.is_empty()).then(|| from[pick.index(from.len())]);
    match kind {
        0 => {
            plan.steps.remove(at(&revokes)?);
        }
        1 => plan.steps.reverse(),
        2 => {
            let (from, to) = (at(&revokes)?, plan.steps.len() - 1);
            let step = plan.steps.remove(from);
            plan.steps.insert(to, step);
        }
        // A column becomes the table, an exclusion is forgotten.
        3 => {
            let Step::Grant { atom, .. } = &mut plan.steps[at(&grants)?] else {
                return None;
            };
            let table = atom.resource.table()?.clone();
            atom.resource = Resource::Table(table);
        }
        4 => {
            let Step::Grant { grantable, .. } = &mut plan.steps[at(&grants)?] else {
                return None;
            };
            *grantable = true;
        }
        // Somebody else gets it.
        5 => {
            let Step::Grant { atom, .. } = &mut plan.steps[at(&grants)?] else {
                return None;
            };
            let stranger = "arn:aws:iam::111122223333:role/Stranger";
            atom.principal = twinlake_core::Principal(stranger.to_owned());
        }
        // One table becomes all tables.
        _ => {
            let Step::Grant { atom, .. } = &mut plan.steps[at(&grants)?] else {
                return None;
            };
            atom.resource = Resource::AllTables(atom.resource.database()?.clone());
        }
    }
    Some(plan)
}

/// Judges a plan against what both Regions show now.
fn judge(
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

#[test]
fn the_brake_holds_a_mass_deletion_and_people_are_told() {
    let lab = Lab::new(policy("brake = { share = 0.0, minimum = 2 }"));
    settle(
        &lab,
        &[
            Act::CreateDatabase(0),
            Act::CreateTable(0, 0, 1),
            Act::CreateTable(0, 1, 1),
            Act::CreateTable(0, 2, 1),
        ],
    );
    let _ = lab.resync();
    for table in 0..3 {
        perform(&lab, PRIMARY, &Act::DeleteTable(0, table));
    }
    let report = lab.resync().unwrap();
    assert_eq!(report.outcome.vetoes.len(), 1);
    assert_eq!(report.outcome.vetoes[0].rule, Rule::Brake);
    assert!(report.outcome.applied.is_empty());
    let rows = lab.ledger.book().rows;
    let held = rows
        .values()
        .filter(|row| row.state == twinlake_core::State::Held)
        .count();
    assert_eq!(held, 3);
    // One of them, by its event, passes.
    let id = twinlake_core::TableId::new(
        twinlake_core::Name::new("db0").unwrap(),
        twinlake_core::Name::new("t0").unwrap(),
    );
    let mut scope = Scope::table(id.clone());
    scope
        .looks
        .values_mut()
        .for_each(|look| look.deletion_named = true);
    let outcome = lab.reconcile(&scope).unwrap();
    assert!(outcome.vetoes.is_empty());
    assert!(!lab.ledger.book().rows.contains_key(&Subject::Table(id)));
}

proptest! {
    #![proptest_config(config())]

    /// What is taken apart, written down or mapped comes back as it was.
    #[test]
    fn round_trips(b in acts(20), p in acts(20), s in acts(20)) {
        use twinlake_core::grant::{Terms, entries, normalize};
        use twinlake_core::ledger::Epoch;
        use twinlake_core::translate::Translator;
        let lab = drifted(&b, &p, &s);
        // A plan, in a file.
        let (plan, _) = plan_of(&lab);
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(&serde_json::from_str::<twinlake_core::Plan>(&json).unwrap(), &plan);
        // Grants, as listed and as sent.
        let listed = lab.sim.world().listed_grants(PRIMARY);
        let (grants, _) = normalize(&listed, &Terms::default());
        let sent: Vec<_> = entries(&grants).into_iter().map(|(entry, _)| entry).collect();
        prop_assert_eq!(normalize(&sent, &Terms::default()).0, grants);
        let atoms: usize = entries(&normalize(&listed, &Terms::default()).0)
            .iter()
            .map(|(_, atoms)| atoms.len())
            .sum();
        prop_assert_eq!(atoms, normalize(&sent, &Terms::default()).0.len());
        // Tables and partitions, there and back.
        let there = Translator::new(&lab.policy, Epoch(0));
        let back = Translator::new(&lab.policy, Epoch(1));
        for seen in lab.sim.world().raw_tables(PRIMARY).into_values() {
            let translated = there.table(&seen.object).unwrap().object;
            prop_assert_eq!(back.table(&translated).unwrap().object, seen.object);
        }
        for all in lab.sim.world().raw_partitions(PRIMARY).into_values() {
            for partition in all.into_values() {
                let translated = there.partition(&partition).unwrap().object;
                prop_assert_eq!(back.partition(&translated).unwrap().object, partition);
            }
        }
        // The ledger, in a file.
        let book = lab.ledger.book();
        let json = serde_json::to_string(&book).unwrap();
        prop_assert_eq!(serde_json::from_str::<twinlake_engine::memory::Book>(&json).unwrap(), book);
    }
}
