//! Resource links: nothing is ever written to what they point at.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use twinlake_sim::World;
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
        let lab = Lab::new(policy("brake = { share = 1.0, minimum = 10000 }"));
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
                let _ = lab.deliver(&[event]);
                prop_assert_eq!(&states(), &untouched);
            }
            let report = lab.resync().unwrap();
            prop_assert_eq!(&states(), &untouched);
            prop_assert!(report.outcome.vetoes.is_empty(), "{:?}", report.outcome.vetoes);
            let _ = lab.take_calls();
            let again = lab.resync().unwrap();
            prop_assert!(again.outcome.applied.is_empty(), "{:?}", again.outcome.applied);
        }
    }
}
