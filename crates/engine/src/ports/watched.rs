//! What is looked at beside the catalog: dead letters, replicas, the peer.

use std::collections::BTreeMap;
use twinlake_core::Fault;
use twinlake_core::ledger::Replica;

/// The dead-letter queues of a Region.
pub trait Letters {
    /// How many messages wait in each queue, by its name.
    ///
    /// # Errors
    /// A queue cannot be asked.
    async fn waiting(&self) -> Result<BTreeMap<String, usize>, Fault>;

    /// The bodies of some messages of a queue, which stay there.
    ///
    /// # Errors
    /// The queue cannot be read.
    async fn peek(&self, queue: &str) -> Result<Vec<Vec<u8>>, Fault>;
}

/// Objects in the secondary's buckets.
pub trait Replicas {
    /// Whether an object has arrived: its very version, or one that was made no earlier.
    ///
    /// # Errors
    /// The bucket cannot be asked.
    async fn has_arrived(&self, replica: &Replica) -> Result<bool, Fault>;
}

/// The other Region's bus.
pub trait Peer {
    /// Tells it something, as an event of ours.
    ///
    /// # Errors
    /// It was not taken.
    async fn tell(&self, kind: &str, detail: &str) -> Result<(), Fault>;
}
