//! Decides what must change in the secondary Region, and does nothing else.
//!
//! Everything here is a function of its arguments: no clock, no environment, no
//! network, no randomness. The same inputs give the same plan, byte for byte,
//! which is what lets a plan be stored, compared and replayed.
//!
//! One event walks through the crate like this:
//!
//! ```text
//! bytes --event::parse--> Scope --(engine observes)--> Reading x 2
//!       --plan::plan--> Plan --audit::audit--> ApprovedPlan --(engine applies)-->
//!       and again, until a fresh plan is empty
//! ```
//!
//! # Invariants
//!
//! - No I/O, no async, no clock, no environment, no randomness, no AWS crate.
//! - An event says where to look and never what to do: nothing of an event's
//!   parameters reaches a step, apart from the grants that a revoke names, which
//!   can only be taken away.
//! - Every prefix of a plan is safe to stop after: no prefix widens access.
//! - Absence needs proof. An [`Observation::Unknown`] never leads to a delete
//!   or a revoke.
//! - [`audit`] shares no code with [`plan`], so one bug cannot excuse itself, and
//!   only [`audit`] can make an [`ApprovedPlan`].
//! - Names are lower-cased in one place, [`Name`].

pub mod access;
pub mod alert;
pub mod arn;
pub mod audit;
pub mod catalog;
pub mod event;
pub mod fault;
pub mod floor;
pub mod grant;
pub mod heartbeat;
pub mod ledger;
pub mod location;
pub mod metric;
pub mod name;
pub mod plan;
pub mod policy;
pub mod price;
#[doc = include_str!("quirks.md")]
pub mod quirks {}
pub mod reading;
pub mod render;
pub mod scope;
pub mod step;
pub mod sweep;
pub mod timestamp;
pub mod translate;

pub use alert::{Alert, AlertKind, AlertState, Episode};
pub use audit::{ApprovedPlan, Veto, audit};
pub use catalog::{Column, Database, Function, Partition, StorageDescriptor, Table};
pub use fault::{Fault, FaultKind};
pub use grant::{Atom, Grants, OwnRoles, Permission, Principal, Resource};
pub use heartbeat::Channel;
pub use ledger::{Pairing, Row, State};
pub use name::{FunctionId, Name, TableId};
pub use plan::{Plan, plan};
pub use policy::Policy;
pub use reading::{Observation, Proof, Reading};
pub use scope::{Facet, Lake, Scope, Subject};
pub use step::Step;
pub use timestamp::Timestamp;
