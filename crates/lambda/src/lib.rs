//! The code that the Lambda functions share: the start-up, and one handler for each kind of
//! message. Each function is a small binary in `src/bin`.
//!
//! # Invariants
//!
//! - The binaries do not branch on the content of an event.
//! - Only [`config`] reads the environment.
//! - The role of the Region is read before changes are applied: a Region that is not the standby
//!   discards catalog and permission events.

pub mod config;
mod handlers;
mod mirrored_alerts;
mod runtime;
mod telemetry;

pub use handlers::canary::canaries;
pub use handlers::operations::operations;
pub use handlers::readiness::{InspectedInfrastructure, readiness};
pub use handlers::replication::replication_notices;
pub use handlers::scheduled::{digest, heartbeat, monitor};
pub use handlers::takeover::{TakeoverRuntime, takeover};
pub use handlers::{BatchResponse, catalog_changes, own_access, resync};
pub use runtime::Runtime;
