//! Resource links: nothing is ever written to what they point at.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use twinlake_core::{Alert, AlertKind, Name, Scope};
use twinlake_engine::observe::Prefetched;
use twinlake_sim::{World, run_until_killed};
use twinlake_tests::history::{Act, acts, perform, settle};
use twinlake_tests::lab::{ELSEWHERE, Lab, PRIMARY, SECONDARY, policy};

/// A link that somebody makes, in place of whatever has its name.
#[derive(Clone, Debug)]
struct Link {
    database: u8,
    /// In that database, or the database itself.
    table: Option<u8>,
    target: u8,
    region: Option<&'static str>,
    /// A name on this side is taken by it first.
    replaces: bool,
}

fn link() -> impl Strategy<Value = Link> {
    let regions = prop::sample::select(vec![None, Some(PRIMARY), Some(SECONDARY), Some(ELSEWHERE)]);
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

fn make(lab: &Lab, region: &str, link: &Link) {
    let database = format!("db{}", link.database);
    let far = format!("db{}", link.target);
    match link.table {
        None => {
            if link.replaces {
                let _ = lab.call(region, "DeleteDatabase", &json!({"Name": database}));
            }
            let target = json!({"DatabaseName": far, "Region": link.region});
            let input = json!({"Name": database, "TargetDatabase": target});
            let _ = lab.call(region, "CreateDatabase", &json!({ "DatabaseInput": input }));
        }
        Some(table) => {
            let table = format!("t{table}");
            if link.replaces {
                let request = json!({"DatabaseName": database, "Name": table});
                let _ = lab.call(region, "DeleteTable", &request);
            }
            let target = json!({"DatabaseName": far, "Name": "t0", "Region": link.region});
            let input = json!({"Name": table, "TargetTable": target});
            let request = json!({"DatabaseName": database, "TableInput": input});
            let _ = lab.call(region, "CreateTable", &request);
        }
    }
}

/// Everything that a Region holds, grants included.
fn state(world: &World, region: &str) -> Value {
    json!([
        format!("{:?}", world.raw_databases(region)),
        format!("{:?}", world.raw_tables(region)),
        format!("{:?}", world.raw_partitions(region)),
        format!("{:?}", world.raw_grants(region)),
        format!("{:?}", world.raw_functions(region)),
        format!("{:?}", world.raw_parts(region)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    /// Links on either side, into any Region, under names that are objects on the
    /// other side, made before and after a name was paired: neither the primary nor
    /// another Region is ever written, through whatever they point at.
    #[test]
    fn nothing_is_written_through_a_link(
        before in acts(8),
        first in prop::collection::vec((link(), any::<bool>()), 0..4),
        then in prop::collection::vec((link(), any::<bool>()), 1..6),
        after in acts(8),
    ) {
        let unbraked = "tags = \"copy\"\nbrake = { share = 1.0, minimum = 10000 }";
        let lab = Lab::new(policy(unbraked));
        settle(&lab, &before);
        perform(&lab, ELSEWHERE, &Act::CreateDatabase(0));
        perform(&lab, ELSEWHERE, &Act::CreateTable(0, 0, 3));
        for (links, acts) in [(&first, [].as_slice()), (&then, after.as_slice())] {
            for (link, here) in links {
                make(&lab, if *here { PRIMARY } else { SECONDARY }, link);
            }
            for act in acts {
                perform(&lab, PRIMARY, act);
            }
            let events = lab.take_events();
            let _ = lab.queue.take();
            let states = || {
                let world = lab.sim.world();
                [state(&world, PRIMARY), state(&world, ELSEWHERE)]
            };
            let untouched = states();
            for event in events {
                let answer = lab.deliver(&[event]).unwrap();
                prop_assert!(answer.failed.is_empty(), "{:?}", answer.faults);
                prop_assert_eq!(&states(), &untouched);
            }
            let vetoed = |alert: &Alert| alert.kind == AlertKind::Vetoed;
            let told = lab.topic.take();
            prop_assert!(!told.iter().any(vetoed), "{told:?}");
            let report = lab.resync().unwrap();
            prop_assert_eq!(&states(), &untouched);
            prop_assert!(report.outcome.vetoes.is_empty(), "{:?}", report.outcome.vetoes);
            let _ = lab.take_calls();
            let again = lab.resync().unwrap();
            prop_assert!(again.outcome.applied.is_empty(), "{:?}", again.outcome.applied);
        }
    }
}

/// A resync lists the databases once, at its start. What it writes minutes later is
/// not written through what has become a link since.
#[test]
fn a_link_that_came_after_the_listing_is_seen() {
    let lab = Lab::new(policy(""));
    settle(&lab, &[]);
    let _ = lab.resync();
    perform(&lab, PRIMARY, &Act::CreateTable(0, 2, 15));
    let staging =
        json!({"DatabaseInput": {"Name": "staging", "CreateTableDefaultPermissions": []}});
    lab.call(PRIMARY, "CreateDatabase", &staging).unwrap();
    let context = lab.context();
    let listed = Prefetched::databases(context.primary, context.secondary);
    let prefetched = Prefetched {
        databases: Some(run_until_killed(&lab.sim, listed).unwrap()),
        ..Prefetched::default()
    };
    let gone = json!({"Name": "db0"});
    lab.call(SECONDARY, "DeleteDatabase", &gone).unwrap();
    let target = json!({"DatabaseName": "staging", "Region": PRIMARY});
    let link = json!({"DatabaseInput": {"Name": "db0", "TargetDatabase": target}});
    lab.call(SECONDARY, "CreateDatabase", &link).unwrap();
    let untouched = state(&lab.sim.world(), PRIMARY);
    let scope = Scope::database(Name::new("db0").unwrap());
    let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
    let outcome = run_until_killed(&lab.sim, run).unwrap().unwrap();
    assert!(outcome.applied.is_empty(), "{:?}", outcome.applied);
    assert_eq!(state(&lab.sim.world(), PRIMARY), untouched);
}

/// Our own link makes room for what the primary has under the name now, with what is
/// in it.
#[test]
fn a_link_becomes_a_database_again() {
    let lab = Lab::new(policy(""));
    settle(&lab, &[]);
    let link = Link {
        database: 2,
        table: None,
        target: 0,
        region: None,
        replaces: false,
    };
    make(&lab, PRIMARY, &link);
    let _ = lab.resync();
    let name = json!({"Name": "db2"});
    lab.call(PRIMARY, "DeleteDatabase", &name).unwrap();
    let plain = json!({"DatabaseInput": {"Name": "db2", "CreateTableDefaultPermissions": []}});
    lab.call(PRIMARY, "CreateDatabase", &plain).unwrap();
    let function = json!({"DatabaseName": "db2", "FunctionInput": {"FunctionName": "f"}});
    lab.call(PRIMARY, "CreateUserDefinedFunction", &function)
        .unwrap();
    let report = lab.resync().unwrap();
    assert!(report.outcome.is_settled(), "{:?}", report.outcome.vetoes);
    let found = twinlake_tests::twin::differences(&lab.sim.world(), &[]);
    assert!(found.is_empty(), "{found:?}");
}
