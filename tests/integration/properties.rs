//! The guarantees of `docs/guarantees.md` that are properties, each over random histories.

use proptest::prelude::*;
use twinlake_core::audit::AuditRule;
use twinlake_core::{Scope, Subject};
use twinlake_sim::{ApiError, InjectedFault, KillSwitch, RandomFaults};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, epoch_led_by, policy};
use twinlake_tests::history::{HistoryAction, perform, random_actions, set_up_primary};
use twinlake_tests::plans::{
    harness_with_drift, harness_without_deletion_limit, preview_everything, proptest_config,
};

fn new_harness() -> TestHarness {
    harness_without_deletion_limit()
}

fn assert_regions_equal(harness: &TestHarness) -> Result<(), TestCaseError> {
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    prop_assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

proptest! {
    #![proptest_config(proptest_config())]

    /// After lost, duplicated and reordered events, failed calls, and a handler killed at any call:
    /// one resync makes the Regions equal, once a lease that the killed handler held has ended.
    #[test]
    fn converges(
        before in random_actions(20),
        after in random_actions(20),
        order in any::<u64>(),
        kill_at_call in 0..40usize,
        after_effect in any::<bool>(),
        fault_seed in any::<u64>(),
        percent in prop::sample::select(vec![0u64, 2, 2, 10]),
    ) {
        let harness = new_harness();
        set_up_primary(&harness, &before);
        let _ = harness.resync();
        let _ = harness.take_events();
        for action in &after {
            perform(&harness, PRIMARY, action);
        }
        let mut bodies = harness.take_events();
        // Shuffles, drops and duplicates events, all derived from one number.
        let mut seed = order;
        let mut shuffled = Vec::new();
        while !bodies.is_empty() {
            let index = usize::try_from(seed % bodies.len() as u64).unwrap();
            let body = bodies.remove(index);
            match seed % 5 {
                0 => {}
                1 => shuffled.extend([body.clone(), body]),
                _ => shuffled.push(body),
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
        }
        harness.sim.state().set_random_faults(RandomFaults::new(fault_seed, percent), TWINLAKE_ROLE);
        harness.sim.state().set_kill_switch(KillSwitch { call_index: kill_at_call, after_effect });
        for batch in shuffled.chunks(3) {
            if harness.deliver(batch).is_none() {
                harness.sim.state().clear_call_faults();
                harness.sim.state().set_random_faults(RandomFaults::new(!fault_seed, percent), TWINLAKE_ROLE);
                harness.deliver(batch);
            }
            // The retries are delivered with the same random faults.
            let retries: Vec<Vec<u8>> = harness.queue.take().iter().map(|message| message.body().into_bytes()).collect();
            let _ = harness.deliver(&retries);
        }
        harness.sim.state().clear_call_faults();
        if harness.ledger.contents().lf_tag_lease.is_some_and(|(lease, _)| lease.until.is_some()) {
            harness.sim.state().advance_secs(16 * 60);
        }
        let mut report = harness.resync().unwrap();
        // A partition index that is being deleted is waited for (GL-06).
        for _ in 0..3 {
            if report.outcome.waiting.is_some() {
                report = harness.resync().unwrap();
            }
        }
        prop_assert!(report.outcome.rejections.is_empty(), "{:?}", report.outcome.rejections);
        prop_assert!(report.outcome.is_settled(), "{:?}", report.outcome);
        assert_regions_equal(&harness)?;
    }

    /// A resync of equal Regions writes nothing.
    #[test]
    fn is_idempotent(before in random_actions(30)) {
        let harness = new_harness();
        set_up_primary(&harness, &before);
        let _ = harness.resync();
        assert_regions_equal(&harness)?;
        let _ = harness.take_calls();
        let report = harness.resync().unwrap();
        let (reads, writes) = harness.take_calls();
        prop_assert_eq!(writes, 0, "{:?}", report.outcome.applied);
        prop_assert!(reads > 0);
    }

    /// The audit accepts every plan of the planner.
    #[test]
    fn auditor_accepts_planner(before in random_actions(20), in_primary in random_actions(20), in_standby in random_actions(20)) {
        let harness = harness_with_drift(&before, &in_primary, &in_standby);
        let (plan, verdict) = preview_everything(&harness);
        prop_assert_eq!(verdict, Vec::new(), "{:#?}", plan.steps);
    }

    /// The events of a change, by either channel, make the Regions equal again: the scope of an
    /// event is never too small.
    #[test]
    fn scope_is_sound(before in random_actions(20), action in twinlake_tests::history::any_action(), by_native_events in any::<bool>()) {
        let harness = new_harness();
        set_up_primary(&harness, &before);
        let _ = harness.resync();
        let _ = harness.take_events();
        perform(&harness, PRIMARY, &action);
        let is_native = |body: &[u8]| String::from_utf8_lossy(body).contains("State Change");
        let all = harness.take_events();
        let has_native = all.iter().any(|body| is_native(body));
        for body in all {
            // UpdateDatabase and permissions have no native event.
            if is_native(&body) == (by_native_events && has_native) {
                harness.deliver(&[body]);
            }
        }
        assert_regions_equal(&harness)?;
    }

    /// The Regions are equal after the events of a history, delivered in any order.
    #[test]
    fn order_does_not_matter(before in random_actions(15), after in random_actions(15), seed in any::<u64>()) {
        let harness = new_harness();
        set_up_primary(&harness, &before);
        let _ = harness.resync();
        let _ = harness.take_events();
        for action in &after {
            perform(&harness, PRIMARY, action);
        }
        let mut bodies = harness.take_events();
        let mut seed = seed;
        while !bodies.is_empty() {
            let index = usize::try_from(seed % bodies.len() as u64).unwrap();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
            harness.deliver(&[bodies.remove(index)]);
        }
        // No event was lost, so no resync is needed. Only objects that waited for their database
        // are retried.
        for message in harness.queue.take() {
            harness.deliver(&[message.body().into_bytes()]);
        }
        assert_regions_equal(&harness)?;
    }

    /// After access is lost, at any call, nothing is deleted and nothing is revoked.
    #[test]
    fn absence_needs_proof(before in random_actions(25), first_failed_call in 0..12usize) {
        let harness = new_harness();
        set_up_primary(&harness, &before);
        let _ = harness.resync();
        let standby_state = |harness: &TestHarness| {
            let state = harness.sim.state();
            let tables: Vec<_> = state.raw_tables(STANDBY).into_keys().collect();
            let partitions: Vec<_> = state.raw_partitions(STANDBY).into_iter().collect();
            let lakeformation = state.raw_lakeformation(STANDBY);
            (tables, partitions, state.raw_grants(STANDBY), lakeformation)
        };
        let before_state = standby_state(&harness);
        // Access is lost during the resync: the first calls still succeed.
        harness.sim.state().inject_fault(InjectedFault {
            region: Some(PRIMARY.to_owned()),
            call: None,
            skip_calls: first_failed_call,
            times: usize::MAX,
            error: ApiError::new(
                twinlake_core::CallErrorKind::NotFound,
                "EntityNotFoundException",
                "Entity Not Found",
            ),
            takes_effect: false,
        });
        let _ = harness.resync().unwrap();
        prop_assert_eq!(standby_state(&harness), before_state.clone());
        harness.sim.state().clear_call_faults();
        harness.sim.state().remove_read_access(PRIMARY, TWINLAKE_ROLE);
        let report_without_access = harness.resync().unwrap();
        prop_assert_eq!(standby_state(&harness), before_state);
        prop_assert!(report_without_access.verified_at.is_none(), "{:?}", report_without_access.outcome.findings);
        prop_assert!(!report_without_access.outcome.is_fully_read());
    }

    /// Objects that are not paired, and the targets of links, are never changed.
    #[test]
    fn changes_only_paired_objects(before in random_actions(15), unmanaged in random_actions(15), after in random_actions(10)) {
        let harness = new_harness();
        // Other objects with the same names are created in the standby first.
        let database = serde_json::json!({"DatabaseInput": {
            "Name": "db0", "Description": "unmanaged", "CreateTableDefaultPermissions": [],
        }});
        harness.call(STANDBY, "CreateDatabase", &database).unwrap();
        let link = serde_json::json!({"DatabaseInput": {
            "Name": "db1", "CreateTableDefaultPermissions": [],
            "TargetDatabase": {"DatabaseName": "base", "CatalogId": "111122223333", "Region": PRIMARY},
        }});
        harness.call(STANDBY, "CreateDatabase", &link).unwrap();
        for action in &unmanaged {
            if !matches!(action, HistoryAction::CreateDatabase(_) | HistoryAction::DeleteDatabase(_) | HistoryAction::UpdateDatabase(..)) {
                perform(&harness, STANDBY, action);
            }
        }
        let unmanaged_objects = |harness: &TestHarness| {
            let state = harness.sim.state();
            let mut tables = state.raw_tables(STANDBY);
            tables.retain(|id, _| id.database.as_str() != "base");
            let mut databases = state.raw_databases(STANDBY);
            databases.retain(|name, _| name.as_str() != "base");
            (databases, tables)
        };
        set_up_primary(&harness, &before);
        let primary = |harness: &TestHarness| {
            let state = harness.sim.state();
            (state.raw_databases(PRIMARY), state.raw_tables(PRIMARY))
        };
        let (unmanaged_before, primary_before) = (unmanaged_objects(&harness), primary(&harness));
        let _ = harness.resync();
        prop_assert_eq!(unmanaged_objects(&harness), unmanaged_before.clone());
        prop_assert_eq!(primary(&harness), primary_before);
        for action in &after {
            perform(&harness, PRIMARY, action);
        }
        let primary_before = primary(&harness);
        let _ = harness.deliver(&harness.take_events());
        prop_assert_eq!(unmanaged_objects(&harness), unmanaged_before);
        prop_assert_eq!(primary(&harness), primary_before);
    }
}

#[test]
fn the_deletion_limit_holds_a_mass_deletion() {
    let harness = TestHarness::new(policy("deletion-limit = { fraction = 0.0, minimum = 2 }"));
    set_up_primary(
        &harness,
        &[
            HistoryAction::CreateDatabase(0),
            HistoryAction::CreateTable(0, 0, 1),
            HistoryAction::CreateTable(0, 1, 1),
            HistoryAction::CreateTable(0, 2, 1),
        ],
    );
    let _ = harness.resync();
    for table in 0..3 {
        perform(&harness, PRIMARY, &HistoryAction::DeleteTable(0, table));
    }
    let report = harness.resync().unwrap();
    assert_eq!(report.outcome.rejections.len(), 1);
    assert_eq!(report.outcome.rejections[0].rule, AuditRule::DeletionLimit);
    assert!(report.outcome.applied.is_empty());
    let rows = harness.ledger.contents().rows;
    let on_hold = rows
        .values()
        .filter(|row| row.state == twinlake_core::SubjectState::OnHold)
        .count();
    assert_eq!(on_hold, 3);
    // One deletion that an event names is applied.
    let id = twinlake_core::TableId::new(
        twinlake_core::Name::new("db0").unwrap(),
        twinlake_core::Name::new("t0").unwrap(),
    );
    let mut scope = Scope::table(id.clone());
    scope
        .read_requests
        .values_mut()
        .for_each(|read_request| read_request.deletion_named = true);
    let outcome = harness.reconcile(&scope).unwrap();
    assert!(outcome.rejections.is_empty());
    assert!(
        !harness
            .ledger
            .contents()
            .rows
            .contains_key(&Subject::Table(id))
    );
}

proptest! {
    #![proptest_config(proptest_config())]

    /// Serialized plans and ledgers, normalized grants and translated objects are restored
    /// unchanged.
    #[test]
    fn round_trips(before in random_actions(20), in_primary in random_actions(20), in_standby in random_actions(20)) {
        use twinlake_core::grant::{GrantMapping, to_batch_entries, normalize};
        use twinlake_core::desired::Translator;
        let harness = harness_with_drift(&before, &in_primary, &in_standby);
        // A plan as JSON.
        let (plan, _) = preview_everything(&harness);
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(&serde_json::from_str::<twinlake_core::Plan>(&json).unwrap(), &plan);
        // Grants as listed, and as sent in batch entries.
        let listed = harness.sim.state().listed_grants(PRIMARY);
        let (grants, _) = normalize(&listed, &GrantMapping::default());
        let entries: Vec<_> = to_batch_entries(&grants).into_iter().map(|(entry, _)| entry).collect();
        prop_assert_eq!(normalize(&entries, &GrantMapping::default()).0, grants);
        let grant_count: usize = to_batch_entries(&normalize(&listed, &GrantMapping::default()).0)
            .iter()
            .map(|(_, grants)| grants.len())
            .sum();
        prop_assert_eq!(grant_count, normalize(&entries, &GrantMapping::default()).0.len());
        // Tables and partitions, translated for the standby and back.
        let to_standby = Translator::new(&harness.policy, epoch_led_by(harness.epoch().primary()));
        let to_primary = Translator::new(&harness.policy, epoch_led_by(harness.epoch().standby()));
        for observed in harness.sim.state().raw_tables(PRIMARY).into_values() {
            let translated = to_standby.table(&observed.object).unwrap().object;
            prop_assert_eq!(to_primary.table(&translated).unwrap().object, observed.object);
        }
        for all in harness.sim.state().raw_partitions(PRIMARY).into_values() {
            for partition in all.into_values() {
                let translated = to_standby.partition(&partition).unwrap().object;
                prop_assert_eq!(to_primary.partition(&translated).unwrap().object, partition);
            }
        }
        // The ledger as JSON.
        let contents = harness.ledger.contents();
        let json = serde_json::to_string(&contents).unwrap();
        prop_assert_eq!(serde_json::from_str::<twinlake_engine::in_memory_ledger::LedgerFile>(&json).unwrap(), contents);
    }
}
