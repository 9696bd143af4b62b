//! The decisions of Twinlake: which changes to make in the standby Region.
//!
//! Every function depends on its arguments only: no clock, no environment, no network, no
//! randomness. The same inputs give the same plan, byte for byte, so a plan can be stored, compared
//! and replayed.
//!
//! The path of one event through the crate:
//!
//! ```text
//! bytes --event::parse--> Scope --(engine reads both Regions)--> Snapshot x 2
//!       --plan::plan--> Plan --audit::audit--> ApprovedPlan --(engine applies it)-->
//!       repeat until a new plan is empty
//! ```
//!
//! # Invariants
//!
//! - No I/O, no async, no clock, no environment, no randomness, no AWS crate.
//! - An event determines what to read, not what to write: no step contains an event's parameters,
//!   except the grants named by a revoke event, which a step can only revoke.
//! - A plan is safe to stop after any step: no prefix of it widens access.
//! - Absence needs proof. An [`Observation::Unknown`] never leads to a delete or a revoke.
//! - [`audit`] shares with [`plan`] only data types with their comparisons and digests, and the functions that say
//!   which object a grant or an opt-in is on ([`scope::subject_of_grant`]), so that one bug in a decision cannot affect
//!   both. Only [`audit`] can create an [`ApprovedPlan`].
//! - Only [`Name`] converts names of databases, tables and functions to lower case. Names of columns
//!   are compared in lower case where they are compared.
//!
//! Ids such as F-6, LF-29 or Q-16 name facts about AWS that the code rests on: `docs/assumptions.md` lists them.

pub mod access;
pub mod alert;
pub mod arn;
pub mod audit;
pub mod call_error;
pub mod canary;
pub mod catalog;
pub mod client_address;
pub mod divergence;
pub mod drill;
pub mod event;
pub mod failover;
pub mod grant;
pub mod heartbeat;
pub mod iceberg_replica;
pub mod lake_setup;
pub mod ledger;
pub mod location;
pub mod log_replica;
pub mod metric;
pub mod name;
pub mod next_command;
pub mod plan;
pub mod plan_summary;
pub mod policy;
pub mod query;
#[doc = include_str!("quirks.md")]
pub mod quirks {}
pub mod desired;
pub mod document;
pub mod partition_diff;
pub mod readiness;
pub mod render;
pub mod replication_setup;
pub mod scope;
pub mod snapshot;
pub mod step;
pub mod step_kind;
pub mod timestamp;
pub mod topology;

pub use alert::{Alert, AlertKind, AlertState, Incident};
pub use audit::{ApprovedPlan, Rejection, audit};
pub use call_error::{CallError, CallErrorKind};
pub use catalog::{Column, Database, Function, Partition, StorageDescriptor, Table};
pub use grant::{Grants, OwnRoles, Permission, PermissionGrant, Principal, Resource};
pub use heartbeat::Channel;
pub use ledger::{LedgerRow, Pairing, SubjectState};
pub use name::{FunctionId, Name, TableId};
pub use next_command::NextCommands;
pub use plan::{Plan, plan};
pub use plan_summary::PlanSummary;
pub use policy::Policy;
pub use scope::{Facet, LfSubject, Scope, Subject};
pub use snapshot::{AbsenceProof, Observation, Snapshot};
pub use step::Step;
pub use timestamp::Timestamp;
