//! Two Regions of Glue and Lake Formation in memory, with the quirks of the real
//! ones and with faults to order.
//!
//! One state serves three users: the ports of the engine (tests, in
//! milliseconds), AWS's own wire protocol over HTTP (the real SDK, the real
//! binaries, boto3), and a sink that is told of every change as the event that
//! AWS would send.
//!
//! It is no copy of AWS: it holds what Twinlake meets, as far as documentation
//! and public code tell. Every [`Quirk`] names its source.
//!
//! # Invariants
//!
//! - Deterministic: the only clock is a counter.
//! - Knows nothing of the AWS adapters, as they know nothing of it.

mod api;
mod error;
mod events;
mod fault;
mod glue;
pub mod http;
mod inspect;
mod lake;
mod port;
mod quirk;
mod state;

pub use error::ApiError;
pub use events::Emitted;
pub use fault::{Chaos, Kill, Trouble};
pub use inspect::Holding;
pub use port::{Sim, SimRegion, run_until_killed};
pub use quirk::Quirk;
pub use state::{Call, StoredGrant, World};
