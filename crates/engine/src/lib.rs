//! The loop: observe both Regions, plan, audit, apply, and again until a fresh
//! plan is empty. It stands once, in [`reconcile`], and everything (an event, a
//! resync, a command) is a scope given to it.
//!
//! What the loop needs from outside are the [`ports`]: narrow traits that the AWS
//! adapters and the simulator both implement.
//!
//! # Invariants
//!
//! - The primary is only ever seen through [`ports::ReadRegion`], which has no
//!   call that writes; but for its own [`heartbeat`], which is made in the primary.
//! - Only an [`ApprovedPlan`](twinlake_core::ApprovedPlan) is applied.
//! - No AWS crate, no clock and no environment: time comes from
//!   [`ports::Clock`].

#![allow(
    async_fn_in_trait,
    reason = "the ports are used within one task; their futures need not be Send"
)]

pub mod alerts;
pub mod apply;
pub mod batch;
pub mod digest;
pub mod hands;
pub mod heartbeat;
pub mod letters;
pub mod listing;
pub mod memory;
pub mod message;
pub mod observe;
pub mod ports;
pub mod reconcile;
pub mod replication;
pub mod resync;
pub mod role;
pub mod standing;
pub mod watch;

pub use memory::MemoryLedger;
pub use message::Message;
pub use ports::{Alerts, Clock, Journal, Ledger, Outbox, ReadRegion, WriteRegion};
pub use reconcile::{Context, Outcome, reconcile};
