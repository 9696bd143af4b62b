//! Resource links: Twinlake never writes to their targets.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use twinlake_core::{Alert, AlertKind, Name, Scope};
use twinlake_engine::observe::Prefetched;
use twinlake_sim::{SimState, run_until_killed};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, UNRELATED_REGION, policy};
use twinlake_tests::history::{HistoryAction, perform, random_actions, set_up_primary};

/// A resource link.
#[derive(Clone, Debug)]
struct Link {
    database: u8,
    /// The table that is a link, or `None` if the database is one.
    table: Option<u8>,
    target: u8,
    region: Option<&'static str>,
    /// An object with the name of the link is deleted first.
    replaces: bool,
}

fn any_link() -> impl Strategy<Value = Link> {
    let regions = prop::sample::select(vec![
        None,
        Some(PRIMARY),
        Some(STANDBY),
        Some(UNRELATED_REGION),
    ]);
    let table = prop::option::of(0..3u8);
    (0..3u8, table, 0..2u8, regions, any::<bool>()).prop_map(
        |(database, table, target, region, replaces)| Link {
            database,
            table,
            target,
            region,
            replaces,
        },
    )
}

fn create_link(harness: &TestHarness, region: &str, link: &Link) {
    let database = format!("db{}", link.database);
    let target_database = format!("db{}", link.target);
    match link.table {
        None => {
            if link.replaces {
                let _ = harness.call(region, "DeleteDatabase", &json!({"Name": database}));
            }
            let target = json!({"DatabaseName": target_database, "Region": link.region});
            let input = json!({"Name": database, "TargetDatabase": target});
            let _ = harness.call(region, "CreateDatabase", &json!({ "DatabaseInput": input }));
        }
        Some(table) => {
            let table = format!("t{table}");
            if link.replaces {
                let request = json!({"DatabaseName": database, "Name": table});
                let _ = harness.call(region, "DeleteTable", &request);
            }
            let target =
                json!({"DatabaseName": target_database, "Name": "t0", "Region": link.region});
            let input = json!({"Name": table, "TargetTable": target});
            let request = json!({"DatabaseName": database, "TableInput": input});
            let _ = harness.call(region, "CreateTable", &request);
        }
    }
}

/// Returns what is stored in a Region, without the data lake settings.
fn raw_state(state: &SimState, region: &str) -> Value {
    json!([
        format!("{:?}", state.raw_databases(region)),
        format!("{:?}", state.raw_tables(region)),
        format!("{:?}", state.raw_partitions(region)),
        format!("{:?}", state.raw_grants(region)),
        format!("{:?}", state.raw_functions(region)),
        format!("{:?}", state.raw_attachments(region)),
        format!("{:?}", state.raw_lakeformation(region)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    /// Links in either Region, into any Region, under names that are objects in the other Region,
    /// created before and after a name was paired: neither the primary nor another Region is
    /// written through them.
    #[test]
    fn nothing_is_written_through_a_link(
        before in random_actions(8),
        first_links in prop::collection::vec((any_link(), any::<bool>()), 0..4),
        second_links in prop::collection::vec((any_link(), any::<bool>()), 1..6),
        after in random_actions(8),
    ) {
        let keys = "glue-tags = \"copy\"\ndeletion-limit = { fraction = 1.0, minimum = 10000 }";
        let harness = TestHarness::new(policy(keys));
        set_up_primary(&harness, &before);
        perform(&harness, UNRELATED_REGION, &HistoryAction::CreateDatabase(0));
        perform(&harness, UNRELATED_REGION, &HistoryAction::CreateTable(0, 0, 3));
        for (links, actions) in [(&first_links, [].as_slice()), (&second_links, after.as_slice())] {
            for (link, in_primary) in links {
                create_link(&harness, if *in_primary { PRIMARY } else { STANDBY }, link);
            }
            for action in actions {
                perform(&harness, PRIMARY, action);
            }
            let events = harness.take_events();
            let _ = harness.queue.take();
            let states = || {
                let state = harness.sim.state();
                [raw_state(&state, PRIMARY), raw_state(&state, UNRELATED_REGION)]
            };
            let unchanged = states();
            for event in events {
                let result = harness.deliver(&[event]).unwrap();
                prop_assert!(result.failed.is_empty(), "{:?}", result.errors);
                prop_assert_eq!(&states(), &unchanged);
            }
            let is_rejection = |alert: &Alert| alert.kind == AlertKind::PlanRejected;
            let alerts = harness.topic.take();
            prop_assert!(!alerts.iter().any(is_rejection), "{alerts:?}");
            let report = harness.resync().unwrap();
            prop_assert_eq!(&states(), &unchanged);
            prop_assert!(report.outcome.rejections.is_empty(), "{:?}", report.outcome.rejections);
            let _ = harness.take_calls();
            let second = harness.resync().unwrap();
            prop_assert!(second.outcome.applied.is_empty(), "{:?}", second.outcome.applied);
        }
    }
}

/// A resync lists the databases once, at its start. It does not write minutes later through a
/// database that has become a link since.
#[test]
fn a_link_created_after_the_listing_is_detected() {
    let harness = TestHarness::new(policy(""));
    set_up_primary(&harness, &[]);
    let _ = harness.resync();
    perform(&harness, PRIMARY, &HistoryAction::CreateTable(0, 2, 15));
    let staging =
        json!({"DatabaseInput": {"Name": "staging", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &staging).unwrap();
    let context = harness.context();
    let listed = Prefetched::databases(context.primary, context.standby);
    let prefetched = Prefetched {
        databases: Some(run_until_killed(&harness.sim, listed).unwrap()),
        ..Prefetched::default()
    };
    let request = json!({"Name": "db0"});
    harness.call(STANDBY, "DeleteDatabase", &request).unwrap();
    let target = json!({"DatabaseName": "staging", "Region": PRIMARY});
    let link = json!({"DatabaseInput": {"Name": "db0", "TargetDatabase": target}});
    harness.call(STANDBY, "CreateDatabase", &link).unwrap();
    let unchanged = raw_state(&harness.sim.state(), PRIMARY);
    let scope = Scope::database(Name::new("db0").unwrap());
    let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
    let outcome = run_until_killed(&harness.sim, run).unwrap().unwrap();
    assert!(outcome.applied.is_empty(), "{:?}", outcome.applied);
    assert_eq!(raw_state(&harness.sim.state(), PRIMARY), unchanged);
}

/// A link that Twinlake created is replaced by the database that the primary has under its name
/// now, with the contents of that database.
#[test]
fn a_link_is_replaced_by_a_database_of_its_name() {
    let harness = TestHarness::new(policy(""));
    set_up_primary(&harness, &[]);
    let link = Link {
        database: 2,
        table: None,
        target: 0,
        region: None,
        replaces: false,
    };
    create_link(&harness, PRIMARY, &link);
    let _ = harness.resync();
    let name = json!({"Name": "db2"});
    harness.call(PRIMARY, "DeleteDatabase", &name).unwrap();
    let plain = json!({"DatabaseInput": {"Name": "db2", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &plain).unwrap();
    let function = json!({"DatabaseName": "db2", "FunctionInput": {"FunctionName": "f"}});
    harness
        .call(PRIMARY, "CreateUserDefinedFunction", &function)
        .unwrap();
    let report = harness.resync().unwrap();
    assert!(
        report.outcome.is_settled(),
        "{:?}",
        report.outcome.rejections
    );
    let found = twinlake_tests::equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{found:?}");
}
