//! Documents: JSON in the attribute `body` of an item with a version, by family (`pk`) and id (`sk`).

use super::DynamoLedger;
use super::items::{Item, number_attribute, string_attribute, string_value};
use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_engine::ports::DocumentStore;

impl DynamoLedger {
    fn parse_document(&self, item: &Item) -> Result<(String, u64), CallError> {
        let body = string_attribute(item, "body").map(str::to_owned);
        let version = number_attribute(item, "version");
        let version = version.and_then(|version| u64::try_from(version).ok());
        body.zip(version)
            .ok_or_else(|| self.unreadable_error("document", item))
    }
}

impl DocumentStore for DynamoLedger {
    async fn documents(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError> {
        let items = self.query(family, None).await?;
        let documents = items.iter().map(|item| {
            let id = string_attribute(item, "sk").unwrap_or_default().to_owned();
            Ok((id, self.parse_document(item)?))
        });
        documents.collect()
    }

    async fn document(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError> {
        let item = self.get_item(family, id).await?;
        item.map(|item| self.parse_document(&item)).transpose()
    }

    async fn put_document(
        &self,
        family: &str,
        id: &str,
        document: Option<&str>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match document {
            Some(document) => {
                let fields = [("body", string_value(document))];
                self.put_if_version(family, id, &fields, expected_version)
                    .await
            }
            None => self.delete_if_version(family, id, expected_version).await,
        }
    }
}
