//! The properties that Twinlake promises, each over random histories.

use proptest::prelude::*;
use twinlake_core::audit::Rule;
use twinlake_core::{Scope, Subject};
use twinlake_sim::{ApiError, Chaos, Kill, Trouble};
use twinlake_tests::history::{Act, acts, perform, settle};
use twinlake_tests::lab::{Lab, PRIMARY, ROLE, SECONDARY, policy};
use twinlake_tests::plans::{config, drifted, plan_of, unbraked};
use twinlake_tests::twin;

fn lab() -> Lab {
    unbraked()
}

fn equal(lab: &Lab) -> Result<(), TestCaseError> {
    let found = twin::differences(&lab.sim.world(), &[]);
    prop_assert!(found.is_empty(), "{found:#?}");
    Ok(())
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
