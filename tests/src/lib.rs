//! What the tests share: a laboratory of two Regions, histories to live through
//! in it, and two judges that know nothing of the product's own code:
//!
//! - [`access`] computes who may do what, from the simulator's raw store.
//! - [`plans`] makes plans step by step and tells what each step opens.
//! - [`twin`] compares the two Regions, with a mapping of its own.

pub mod access;
pub mod history;
pub mod lab;
pub mod plans;
pub mod twin;
