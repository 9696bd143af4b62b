//! The memory of relocations as it is stored: in the ledger, and in an object beside the rewritten files
//! where it is too long for an item of the ledger.

use crate::iceberg::RelocationMemory;
use crate::ports::{StatsStore, TableFiles};
use serde::{Deserialize, Serialize};
use twinlake_core::catalog::digest;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, TableId};

/// The longest memory that is stored in the ledger, in bytes. An item of DynamoDB has at most 400 KB.
const MAX_LEDGER_BYTES: usize = 350_000;

/// What the ledger holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Record {
    Memory(Box<RelocationMemory>),
    /// The path of the object with the memory.
    Index(String),
}

/// What became of a memory that was to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoreOutcome {
    /// There was nothing new.
    Unchanged,
    /// The next look goes on from it.
    Stored,
    /// Another function stored one meanwhile. What was found here may rest on files that it removes.
    Overtaken,
    /// The object of the memory could not be written.
    Failed(CallError),
}

/// The memory of a table, with what is stored of it.
#[derive(Debug, Default)]
pub(super) struct StoredMemory {
    pub(super) memory: RelocationMemory,
    loaded: RelocationMemory,
    index: Option<String>,
    version: Option<u64>,
}

impl StoredMemory {
    /// Reads the memory of a table. One that cannot be read, or that is of another epoch, is empty: everything
    /// is looked at again.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub(super) async fn load(
        files: &impl TableFiles,
        ledger: &impl StatsStore,
        id: &TableId,
        epoch: Epoch,
    ) -> Result<Self, CallError> {
        let empty = RelocationMemory::of_epoch(epoch);
        let Some((body, version)) = ledger.relocation_memory(id).await? else {
            return Ok(Self {
                memory: empty,
                ..Self::default()
            });
        };
        let (loaded, index) = match serde_json::from_str(&body) {
            Ok(Record::Memory(memory)) => (*memory, None),
            Ok(Record::Index(path)) => {
                let bytes = files.get(&path).await.ok().flatten();
                let memory = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                (memory.unwrap_or_default(), Some(path))
            }
            Err(_) => (RelocationMemory::default(), None),
        };
        let memory = match loaded.epoch == Some(epoch) {
            true => loaded.clone(),
            false => empty,
        };
        Ok(Self {
            loaded,
            memory,
            index,
            version: Some(version),
        })
    }

    /// Stores the memory if it changed, and nobody else did meanwhile: another run then remembers
    /// what it did, and the files of both are the same. The object of the earlier memory is removed.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub(super) async fn store(
        &mut self,
        files: &impl TableFiles,
        ledger: &impl StatsStore,
        id: &TableId,
    ) -> Result<StoreOutcome, CallError> {
        self.memory.end_look();
        if self.memory == self.loaded || self.memory.prefix.is_empty() {
            return Ok(StoreOutcome::Unchanged);
        }
        let text = serde_json::to_string(&self.memory).unwrap_or_default();
        let (record, index) = match text.len() > MAX_LEDGER_BYTES {
            false => (Record::Memory(Box::new(self.memory.clone())), None),
            true => {
                let name = digest(&self.memory);
                let name = name.get(..16).unwrap_or_default();
                let path = format!("{}index-{name}.json", self.memory.prefix);
                if let Err(error) = files.create(&path, text.into_bytes()).await {
                    return Ok(StoreOutcome::Failed(error));
                }
                (Record::Index(path.clone()), Some(path))
            }
        };
        let body = serde_json::to_string(&record).unwrap_or_default();
        let is_stored = ledger
            .put_relocation_memory(id, &body, self.version)
            .await?;
        let unused = match is_stored {
            true => self
                .index
                .as_ref()
                .filter(|old| Some(*old) != index.as_ref()),
            // Another function may have stored the same memory.
            false => None,
        };
        if let Some(path) = unused {
            // What stays is a file that nothing names.
            let _ = files.remove(path).await;
        }
        Ok(match is_stored {
            true => StoreOutcome::Stored,
            false => StoreOutcome::Overtaken,
        })
    }
}
