//! Shared test code: a harness of two simulated Regions, random histories of API calls, and
//! oracles that share only data types with Twinlake:
//!
//! - [`harness`] runs Twinlake between two simulated Regions.
//! - [`history`] generates random API calls on catalogs and permissions, and makes them.
//! - [`bad_entry`] places one entry in the primary that cannot be replicated.
//! - [`foreign_objects`] creates objects of somebody else in the standby.
//! - [`narrowing`] takes access away in the primary while other calls fail.
//! - [`plans`] previews, audits and applies plans one step at a time.
//! - [`failing_runs`] runs Twinlake while writes of it fail: [`faults`] says which, and
//!   [`faulty_standby`] makes them fail and compares the access after each.
//! - [`query_lab`] is two simulated Athenas with a ledger and a policy.
//! - [`lf_tag_changes`] makes changes of LF-Tags that rest on each other.
//! - [`requests`] makes requests on small lakes.
//! - [`reported_problems`] collects what a resync and the ledger report.
//! - [`access_oracle`] computes the effective access of principals from the simulator's raw state.
//! - [`resolution_oracle`] judges published resolutions by the raw state and the ledger.
//! - [`equality_oracle`] compares the two Regions, with its own mapping of locations.
//! - [`takeover`] has the clock and the objects of failovers and switchovers.
//! - [`virtual_clock`] measures how long Twinlake takes on a clock that only calls and waits advance.
//! - [`fixtures`] creates Regions with a fixed content, and the events of a heartbeat; [`large_table`]
//!   a table with many partitions.

pub mod access_oracle;
pub mod bad_entry;
pub mod equality_oracle;
pub mod failing_runs;
pub mod faults;
pub mod faulty_standby;
pub mod fixtures;
pub mod foreign_objects;
pub mod harness;
pub mod history;
pub mod large_table;
pub mod lf_tag_changes;
pub mod narrowing;
pub mod plans;
pub mod query_lab;
pub mod reported_problems;
pub mod requests;
pub mod resolution_oracle;
pub mod schema_lab;
pub mod takeover;
pub mod virtual_clock;
