//! The projection of calls and cost that `twinlake init` prints.

use std::fmt::Write as _;
use twinlake_core::render::counted as number_of;
use twinlake_engine::call_projection::{LakeInventory, ProjectedCalls};
use twinlake_engine::cost::{AS_OF, DATA_PRICES, TRAIL_COPY_MILLION_EVENTS};
use twinlake_engine::monthly_cost::{CostProjection, RESYNCS_PER_DAY};
use twinlake_engine::observe::MAX_TABLES_PER_INVOCATION;

/// Counts, calls and cost, one fact a line.
pub(crate) fn describe(lake: &LakeInventory, projection: &CostProjection) -> String {
    let mut text = counts(lake);
    let unchanged = &projection.unchanged_resync;
    text.push_str("\nProjected calls to Glue and Lake Formation:\n");
    for (name, projected) in [
        ("first resync", projection.first_resync),
        (
            "resync of an unchanged lake, if no scan is due",
            unchanged.always,
        ),
        (
            "resync of an unchanged lake, if all scans are due",
            unchanged.full(),
        ),
        (
            "resync of an unchanged lake, on average",
            projection.average_resync,
        ),
    ] {
        text.push_str(&calls(name, projected));
    }
    text.push_str(
        "Assignments of LF-Tags, data cells filters, partition indexes and column statistics are not \
         counted:\nthe first resync makes a call or more for each.\n",
    );
    if lake
        .databases
        .iter()
        .any(|database| database.tables.len() > MAX_TABLES_PER_INVOCATION)
    {
        let _ = writeln!(
            text,
            "A database has more than {MAX_TABLES_PER_INVOCATION} tables: resyncs are split, and make more \
             calls than that."
        );
    }
    add_cost(&mut text, projection);
    text
}

fn counts(lake: &LakeInventory) -> String {
    let tables = || lake.databases.iter().flat_map(|database| &database.tables);
    let partitioned = tables().filter(|table| table.is_partitioned);
    let counted: Vec<usize> = tables().filter_map(|table| table.partitions).collect();
    let partitions: usize = counted.iter().sum();
    let (counted, partitioned) = (counted.len(), partitioned.count());
    let mut text = format!(
        "The primary holds {}, {}, {}, {} and {}.\n",
        number_of(lake.databases.len(), "database"),
        number_of(tables().count(), "table"),
        number_of(partitions, "partition"),
        number_of(lake.grants, "grant"),
        number_of(lake.lf_tags, "LF-Tag")
    );
    if counted < partitioned {
        let _ = writeln!(
            text,
            "Partitions were counted in {counted} of {}; those of the others are left out of the projection.",
            number_of(partitioned, "table")
        );
    }
    let held = tables().filter(|table| !table.is_carried).count();
    if held > 0 {
        let _ = writeln!(
            text,
            "Of the tables, the drafted policy holds {held}: they are read in every resync, and not created."
        );
    }
    text
}

fn calls(name: &str, calls: ProjectedCalls) -> String {
    format!(
        "  {:>9}  {name} ({} to Glue, {} to Lake Formation)\n",
        calls.total(),
        calls.glue,
        calls.lake_formation
    )
}

fn add_cost(text: &mut String, projection: &CostProjection) {
    const MILLION: f64 = 1_000_000.0;
    text.push_str("\nProjected cost of Twinlake in a month without changes, in US dollars:\n");
    for (service, dollars) in &projection.by_service {
        let _ = writeln!(text, "  {dollars:>9.2}  {service}");
    }
    let _ = writeln!(text, "  {:>9.2}  in all", projection.total());
    let copy = projection.calls_per_month * TRAIL_COPY_MILLION_EVENTS / MILLION;
    let _ = write!(
        text,
        "The first resync costs {:.2} once. Each trail that copies management events beside the first \
         of its\nRegion costs up to {copy:.2} a month for Twinlake's own calls, and more for those of others.\n\
         \nBeside Twinlake, by the amount of data, which is not known here:\n",
        projection.first_resync_cost
    );
    for price in DATA_PRICES {
        let _ = writeln!(text, "  {:>9.2}  {}", price.dollars, price.unit);
    }
    let _ = writeln!(
        text,
        "Assumed: list prices of us-east-1 as of {AS_OF}, without free tiers and logs; {RESYNCS_PER_DAY} \
         resyncs a day and\nthe default parameters of the stack. Other Regions have other prices. \
         docs/operations.md, Cost, says what changes cost."
    );
}
