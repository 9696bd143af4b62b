//! The reconcile loop: read both Regions, plan, audit, apply, and repeat until a plan from fresh
//! reads is empty. It exists once, in [`reconcile`]; events, resyncs and commands call it with a
//! scope.
//!
//! The [`ports`] are the narrow traits for everything outside. The AWS adapters and the simulator
//! implement them.
//!
//! # Invariants
//!
//! - The primary is accessed through [`ports::ReadRegion`], which has no call that writes. The
//!   only exceptions are the [`heartbeat`], which Twinlake writes in the primary, and the freeze of a switchover
//!   ([`failover::FrozenRegion`]), which revokes grants there and grants them again.
//! - Only an [`ApprovedPlan`](twinlake_core::ApprovedPlan) is applied. A takeover restores besides what a ledger holds: default
//!   permissions, and grants that a freeze has revoked.
//! - Deployed functions and commands write through a [`GuardedRegion`], under a lease that the role of the Region
//!   renews.
//! - The engine uses no AWS crate, no system clock and no environment: time comes from
//!   [`ports::Clock`].

#![allow(
    async_fn_in_trait,
    reason = "the ports are used within one task; their futures need not be Send"
)]

pub mod alerts;
pub mod api_call_lower_bound;
pub mod apply;
pub mod call_ceiling;
pub mod call_projection;
pub mod canaries;
pub mod client_address;
pub mod cost;
pub mod daily_digest;
pub mod dead_letter_summary;
pub mod divergence;
pub mod drill;
pub mod event_batch;
pub mod failover;
pub mod grant_index;
mod guarded_region;
pub mod heartbeat;
pub mod iceberg;
pub mod in_memory_ledger;
mod limited_region;
pub mod monitor;
pub mod monthly_cost;
pub mod observe;
pub mod operation_document;
pub mod out_of_band_changes;
pub mod own_access;
pub mod policy_draft;
pub mod ports;
pub mod progress;
pub mod query;
pub mod readiness;
pub mod reconcile;
pub mod region_authority;
pub mod resync;
pub mod retry_message;
pub mod s3_replication;
mod table_log;
pub mod takeover_readiness;
mod time_limit;
mod versioned_item;
pub mod write_fence;

pub use guarded_region::GuardedRegion;
pub use in_memory_ledger::InMemoryLedger;
pub use limited_region::LimitedRegion;
pub use ports::{
    AlertTopic, Clock, Environment, Ledger, ReadRegion, RetryQueue, StatsStore, WriteRegion,
};
pub use reconcile::{Context, LfTagLeaseOfRun, ReconcileOutcome, reconcile};
pub use retry_message::RetryMessage;
