//! What the functions share: one start-up, and one handler for each kind of
//! message. The functions themselves are the small binaries beside this file.
//!
//! # Invariants
//!
//! - The binaries hold no branch on an event's content.
//! - Only [`config`] reads the environment.
//! - The role is read before every application: a Region that is not the standby
//!   drops what it hears.

mod account;
pub mod config;
mod handle;
mod operations;
mod replication;
mod start;
mod told;
mod watch;

pub use handle::{Handled, catalog_changes, resync, standing};
pub use operations::operations;
pub use replication::replication_notices;
pub use start::Start;
pub use watch::{digest, heartbeat, lag};
