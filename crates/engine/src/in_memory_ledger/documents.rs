//! The documents of the in-memory ledger.

use super::InMemoryLedger;
use crate::ports::{DocumentStore, next_version};
use std::collections::BTreeMap;
use twinlake_core::CallError;

impl DocumentStore for InMemoryLedger {
    async fn documents(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError> {
        Ok(self
            .lock()
            .documents
            .get(family)
            .cloned()
            .unwrap_or_default())
    }

    async fn document(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError> {
        let contents = self.lock();
        let documents = contents.documents.get(family);
        Ok(documents.and_then(|documents| documents.get(id)).cloned())
    }

    async fn put_document(
        &self,
        family: &str,
        id: &str,
        document: Option<&str>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let documents = contents.documents.entry(family.to_owned()).or_default();
        let version = documents.get(id).map(|(_, version)| *version);
        if version != expected_version {
            return Ok(false);
        }
        let next = next_version(version);
        match document {
            Some(document) => documents.insert(id.to_owned(), (document.to_owned(), next)),
            None => documents.remove(id),
        };
        Ok(true)
    }
}
