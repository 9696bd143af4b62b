//! Shared test code: a harness of two simulated Regions, random histories of API calls, and two
//! oracles that share only data types with Twinlake:
//!
//! - [`harness`] runs Twinlake between two simulated Regions.
//! - [`history`] generates random API calls on catalogs and permissions, and makes them.
//! - [`plans`] previews, audits and applies plans one step at a time.
//! - [`failing_runs`] runs Twinlake while writes of it fail: [`faults`] says which, and
//!   [`faulty_standby`] makes them fail and compares the access after each.
//! - [`access_oracle`] computes the effective access of principals from the simulator's raw state.
//! - [`equality_oracle`] compares the two Regions, with its own mapping of locations.
//! - [`fixtures`] creates Regions with a fixed content, and the events of a heartbeat.

pub mod access_oracle;
pub mod equality_oracle;
pub mod failing_runs;
pub mod faults;
pub mod faulty_standby;
pub mod fixtures;
pub mod harness;
pub mod history;
pub mod plans;
