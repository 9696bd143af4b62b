//! What the catalog has beside databases and tables.

use super::Answer;
use crate::api::{Caller, items, table_id, text};
use crate::state::World;
use serde_json::{Value, json};

impl World {
    /// Calls on the catalog as a whole, and on what is only counted.
    pub(super) fn catalog_call(&mut self, c: Caller<'_>, call: &str, r: &Value) -> Option<Answer> {
        let empty = || Ok(json!({}));
        Some(match call {
            "CreateConnection" => self.note(c, r.get("ConnectionInput").unwrap_or(r)),
            "GetConnections" => self.region(c.region).map(|region| {
                let all: Vec<Value> = region
                    .connections
                    .iter()
                    .map(|name| json!({ "Name": name }))
                    .collect();
                json!({ "ConnectionList": all })
            }),
            "GetCatalogs" => Ok(json!({ "CatalogList": [] })),
            "CreateTableOptimizer" => table_id(r, "TableName").and_then(|id| {
                self.region_mut(c.region)?.optimizers.insert(id);
                empty()
            }),
            "BatchGetTableOptimizer" => self.region(c.region).map(|region| {
                let entries = items(r, "Entries").iter();
                let found = entries.filter(|entry| {
                    let id = crate::api::table_of(entry, "databaseName", "tableName");
                    let first = entry.get("type").and_then(Value::as_str) == Some("compaction");
                    first && id.is_ok_and(|id| region.optimizers.contains(&id))
                });
                let found: Vec<&Value> = found.collect();
                json!({ "TableOptimizers": found })
            }),
            "PutDataCatalogEncryptionSettings" => {
                let settings = r.get("DataCatalogEncryptionSettings").cloned();
                self.set(c, "encryption of the catalog", settings.unwrap_or_default())
            }
            "GetDataCatalogEncryptionSettings" => {
                let set = self.setting(c, "encryption of the catalog");
                Ok(json!({ "DataCatalogEncryptionSettings": set.unwrap_or(json!({})) }))
            }
            "PutResourcePolicy" => {
                let policy = r.get("PolicyInJson").cloned().unwrap_or_default();
                self.set(c, "resource policy", policy)
            }
            "GetResourcePolicy" => match self.setting(c, "resource policy") {
                Some(policy) => Ok(json!({ "PolicyInJson": policy })),
                None => Err(crate::error::ApiError::not_found()),
            },
            _ => return None,
        })
    }

    fn note(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let name = text(r, "Name")?.to_owned();
        self.region_mut(c.region)?.connections.insert(name);
        Ok(json!({}))
    }

    fn set(&mut self, c: Caller<'_>, name: &str, value: Value) -> Answer {
        let text = value.to_string();
        let settings = &mut self.region_mut(c.region)?.catalog_settings;
        settings.insert(name.to_owned(), text);
        Ok(json!({}))
    }

    fn setting(&self, c: Caller<'_>, name: &str) -> Option<Value> {
        let settings = &self.region(c.region).ok()?.catalog_settings;
        serde_json::from_str(settings.get(name)?).ok()
    }
}
