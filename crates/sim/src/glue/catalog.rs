//! Operations on connections, table optimizers, catalog encryption and the resource policy.

use super::ApiResult;
use crate::api::{array_field, required_text, table_id, to_json};
use crate::caller::Caller;
use crate::state::SimState;
use serde_json::{Value, json};

impl SimState {
    /// Runs an operation on objects that Twinlake counts or reports but does not replicate. Returns
    /// `None` if there is no operation of this name.
    pub(super) fn catalog_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
        request: &Value,
    ) -> Option<ApiResult> {
        let empty = || Ok(json!({}));
        Some(match call {
            "CreateConnection" => {
                self.create_connection(caller, request.get("ConnectionInput").unwrap_or(request))
            }
            "GetCatalogs" => Ok(json!({ "CatalogList": [] })),
            "CreateTableOptimizer" => table_id(request, "TableName").and_then(|id| {
                self.region_mut(caller.region)?.optimizers.insert(id);
                empty()
            }),
            "BatchGetTableOptimizer" => self.region(caller.region).map(|region| {
                let entries = array_field(request, "Entries").iter();
                let found = entries.filter(|entry| {
                    let id = crate::api::table_id_from(entry, "databaseName", "tableName");
                    let is_compaction =
                        entry.get("type").and_then(Value::as_str) == Some("compaction");
                    is_compaction && id.is_ok_and(|id| region.optimizers.contains(&id))
                });
                let found: Vec<Value> = found
                    .map(|entry| {
                        let mut found = entry.clone();
                        let optimizer = json!({
                            "type": "compaction", "configuration": { "enabled": true },
                        });
                        if let Some(fields) = found.as_object_mut() {
                            fields.insert("tableOptimizer".to_owned(), optimizer);
                        }
                        found
                    })
                    .collect();
                json!({ "TableOptimizers": found })
            }),
            "PutDataCatalogEncryptionSettings" => {
                let settings = request.get("DataCatalogEncryptionSettings").cloned();
                self.put_setting(
                    caller,
                    "encryption of the catalog",
                    settings.unwrap_or_default(),
                )
            }
            "GetDataCatalogEncryptionSettings" => {
                let set = self.get_setting(caller, "encryption of the catalog");
                Ok(json!({ "DataCatalogEncryptionSettings": set.unwrap_or(json!({})) }))
            }
            "PutResourcePolicy" => {
                let policy = request.get("PolicyInJson").cloned().unwrap_or_default();
                self.put_setting(caller, "resource policy", policy)
            }
            "GetResourcePolicy" => match self.get_setting(caller, "resource policy") {
                Some(policy) => Ok(json!({ "PolicyInJson": policy })),
                None => Err(crate::error::ApiError::not_found()),
            },
            _ => return None,
        })
    }

    fn create_connection(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        let mut connection = request.as_object().cloned().unwrap_or_default();
        connection.insert("CreationTime".to_owned(), to_json(&self.tick()));
        let region = self.region_mut(caller.region)?;
        region.connections.insert(name.clone());
        region
            .tools
            .insert(("Connection", name), Value::Object(connection));
        Ok(json!({}))
    }

    fn put_setting(&mut self, caller: Caller<'_>, name: &str, value: Value) -> ApiResult {
        let text = value.to_string();
        let settings = &mut self.region_mut(caller.region)?.catalog_settings;
        settings.insert(name.to_owned(), text);
        Ok(json!({}))
    }

    fn get_setting(&self, caller: Caller<'_>, name: &str) -> Option<Value> {
        let settings = &self.region(caller.region).ok()?.catalog_settings;
        serde_json::from_str(settings.get(name)?).ok()
    }
}
