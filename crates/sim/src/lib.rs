//! In-memory simulator of Glue and Lake Formation in several Regions, with the documented quirks
//! of the real services and with fault injection.
//!
//! One [`SimState`] has three interfaces: the engine's ports (tests that run in milliseconds),
//! AWS's wire protocol over HTTP (for the real SDK, the real binaries and boto3), and an event
//! sink that receives, for every change, the events that AWS would send.
//!
//! The simulator is not a complete copy of AWS. It implements the behaviour that Twinlake depends
//! on, as far as documentation and public code describe it. Every [`Quirk`] names its source.
//!
//! # Invariants
//!
//! - Deterministic: the only clock is a counter.
//! - Independent of the AWS adapters: neither crate depends on the other.

mod answer_style;
mod api;
mod caller;
mod error;
mod events;
mod fault_injection;
mod glue;
pub mod http;
mod lakeformation;
mod ports;
mod query_tools;
mod quirk;
mod quirk_answers;
mod raw_state;
mod redshift;
mod state;
mod table_files;

pub use answer_style::{AnswerStyle, UnusualAnswer};
pub use error::ApiError;
pub use glue::BulkSize;
pub use query_tools::SimQueryTools;
pub use redshift::{SimExternalSchema, SimRedshift, SimWarehouse, StatementFate, UnendedStatus};

pub use fault_injection::{InjectedFault, KillSwitch, RandomFaults};
pub use ports::{
    Sim, SimEnvironment, SimRegion, run_interrupted, run_until_killed, run_watched, yield_once,
};
pub use quirk::Quirk;
pub use quirk_answers::QuirkAnswers;
pub use raw_state::GrantedResource;
pub use table_files::SimTableFiles;

pub use state::{EmittedEvent, RecordedCall, SimState, StoredGrant};
