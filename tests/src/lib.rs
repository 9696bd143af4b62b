//! What the tests share: a laboratory of two Regions, histories to live through
//! in it, and two judges that know nothing of the product's own code.
//!
//! - [`access`] computes who may do what, from the simulator's raw store.
//! - [`twin`] compares the two Regions, with a mapping of its own.

pub mod access;
pub mod history;
pub mod lab;
pub mod twin;
