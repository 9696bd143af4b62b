//! What the functions share: one start-up, and one handler for each kind of
//! message. The functions themselves are the small binaries beside this file.
//!
//! # Invariants
//!
//! - The binaries hold no branch on an event's content.
//! - Only [`config`] reads the environment.
//! - The role is read before every application: a Region that is not the standby
//!   drops what it hears.

pub mod config;
mod handle;
mod start;

pub use handle::{Handled, catalog_changes, operations, replication_notices, resync, standing};
pub use start::Start;
