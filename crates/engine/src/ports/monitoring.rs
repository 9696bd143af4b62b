//! What monitoring needs beside the catalog: dead-letter queues, replicated objects, the peer's
//! event bus.

use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_core::ledger::ExpectedReplica;

/// The dead-letter queues of a Region.
pub trait DeadLetterQueues {
    /// Number of messages in each queue, by queue name.
    ///
    /// # Errors
    /// A queue cannot be reached.
    async fn message_counts(&self) -> Result<BTreeMap<String, usize>, CallError>;

    /// The bodies of some messages of a queue. The messages stay in the queue.
    ///
    /// # Errors
    /// The queue cannot be read.
    async fn peek(&self, queue: &str) -> Result<Vec<Vec<u8>>, CallError>;
}

/// The objects in the standby's S3 buckets.
pub trait StandbyObjects {
    /// Whether S3 has replicated an object: its version, or one that is not older.
    ///
    /// # Errors
    /// The bucket cannot be read.
    async fn has_arrived(&self, replica: &ExpectedReplica) -> Result<bool, CallError>;
}

/// The default event bus of this Region. A rule forwards some of its events to the peer Region.
pub trait EventBus {
    /// Sends an event with Twinlake as its source.
    ///
    /// # Errors
    /// The bus did not accept the event. Nothing is known of its way to the peer Region.
    async fn send(&self, detail_type: &str, detail: &str) -> Result<(), CallError>;
}
