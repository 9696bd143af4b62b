//! The commands, one module each: its arguments and its `run` function.

pub(crate) mod access;
pub(crate) mod apply;
pub(crate) mod approve_deletions;
pub(crate) mod bootstrap;
pub(crate) mod divergence;
pub(crate) mod doctor;
pub(crate) mod drill;
pub(crate) mod explain;
pub(crate) mod failover;
pub(crate) mod iceberg;
pub(crate) mod init;
pub(crate) mod pending;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod query;
pub(crate) mod redrive;
pub(crate) mod report;
pub(crate) mod resync;
pub(crate) mod sandbox;
pub mod scenario;
pub(crate) mod setup;
pub(crate) mod status;
pub(crate) mod switch_options;
pub(crate) mod switchover;
pub(crate) mod uninstall;
