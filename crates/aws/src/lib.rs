//! The engine's ports over AWS's SDK.
//!
//! Thin by intent: a call, its pages, its batches, its second attempts, and the conversion between
//! the SDK's types and the core's. What is created, changed or deleted is decided by the core.
//!
//! Ids such as F-2 name facts about AWS: `docs/assumptions.md` explains them.
//!
//! # Invariants
//!
//! - Only [`call_error`] classifies errors by code and message; the rest of the crate looks at the
//!   kind of an error.
//! - A listing is complete or it failed: no page is left out.
//! - Every entry of a batch call has its own result (LF-13).
//! - Nothing here reads the environment; the SDK's own configuration does.

mod batch_replication;
mod bucket_setup;
mod call_counter;
pub mod call_error;
mod call_limits;
mod call_rate;
mod clients;
mod data_access_events;
mod dead_letter_queues;
#[cfg(test)]
mod debug_fields;
pub mod glue_convert;
mod glue_tools;
mod infrastructure;
mod lake_setup;
pub mod lakeformation_convert;
pub mod ledger;
mod limited_http;
mod messaging;
mod pages;
pub mod permission_convert;
mod query_tools;
mod redshift_data;
mod region;
mod role_queries;
mod s3_canaries;
mod s3_object_versions;
mod s3_replicas;
mod s3_table_files;
mod ssm_parameter;
mod system_clock;

pub use batch_replication::S3BatchReplication;
pub use bucket_setup::S3BucketSetup;
pub use call_counter::{api_calls, api_errors, throttled_calls};
pub use call_limits::{CallLimits, SharedCeiling};
pub use clients::{APP_NAME, Clients};
pub use data_access_events::DataAccessEvents;
pub use dead_letter_queues::{DeadLetter, SqsDeadLetterQueues, list_queue_urls};
pub use glue_tools::SleepingTools;
pub use infrastructure::AwsInfrastructure;
pub use lake_setup::{LakeSetup, SetupKey};
pub use ledger::DynamoLedger;
pub use messaging::{DefaultEventBus, SnsAlerts, SqsRetryQueue};
pub use query_tools::QueryToolsRegion;
pub use region::AwsRegion;
pub use role_queries::AthenaRoleQueries;
pub use s3_canaries::S3Canaries;
pub use s3_object_versions::S3ObjectVersions;
pub use s3_replicas::S3Replicas;
pub use s3_table_files::S3TableFiles;
pub use ssm_parameter::SsmParameters;
pub use system_clock::SystemClock;
