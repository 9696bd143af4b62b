//! Reads what Twinlake does not replicate: objects that it counts and settings that it compares.

use super::AwsRegion;
use crate::call_error;
use crate::pages::all_pages;
use aws_sdk_glue::types::{BatchGetTableOptimizerEntry, TableOptimizerType};
use futures_util::future::{join_all, join3};
use twinlake_core::{CallError, CallErrorKind, TableId};
use twinlake_engine::ports::UnreplicatedInventory;

/// Tables per `BatchGetTableOptimizer` call. Each table has three entries, one for each type of
/// optimizer: a number of entries that is safe to send.
pub(crate) const TABLES_PER_OPTIMIZER_CALL: usize = 30;

/// The kinds of objects that are counted.
const COUNTED_KINDS: [&str; 2] = ["connection", "nested or federated catalog"];

impl AwsRegion {
    pub(super) async fn read_unreplicated(&self) -> UnreplicatedInventory {
        let (counts, encryption, policy) = join3(
            join_all(COUNTED_KINDS.map(|kind| self.count_kind(kind))),
            self.read_encryption_settings(),
            self.read_resource_policy(),
        )
        .await;
        let mut inventory = UnreplicatedInventory::default();
        for (kind, count) in COUNTED_KINDS.into_iter().zip(counts) {
            match count {
                Ok(0) => {}
                Ok(count) => {
                    inventory.kinds.insert(kind.to_owned(), count);
                }
                Err(error) => {
                    inventory.unread.insert(kind.to_owned(), error.to_string());
                }
            }
        }
        for (name, setting) in [
            ("encryption of the catalog", encryption),
            ("resource policy", policy),
        ] {
            match setting {
                Ok(setting) => inventory.settings.insert(name.to_owned(), setting),
                Err(error) => inventory.unread.insert(name.to_owned(), error.to_string()),
            };
        }
        inventory
    }

    /// Describes whether the catalog and the passwords of connections are encrypted; KMS keys differ
    /// by Region and are left out.
    async fn read_encryption_settings(&self) -> Result<String, CallError> {
        const CALL: &str = "GetDataCatalogEncryptionSettings";
        let call = self.glue.get_data_catalog_encryption_settings();
        let response = call.send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let settings = response.data_catalog_encryption_settings;
        let at_rest = settings
            .as_ref()
            .and_then(|settings| settings.encryption_at_rest());
        let mode = at_rest.map_or_else(
            || "DISABLED".to_owned(),
            |rest| rest.catalog_encryption_mode().as_str().to_owned(),
        );
        let passwords = settings.and_then(|settings| settings.connection_password_encryption);
        let passwords =
            passwords.is_some_and(|setting| setting.return_connection_password_encrypted);
        let passwords = if passwords { "encrypted" } else { "plain" };
        Ok(format!("{mode}, passwords of connections {passwords}"))
    }

    async fn read_resource_policy(&self) -> Result<String, CallError> {
        let response = self.glue.get_resource_policy().send().await;
        match response {
            Ok(response) => Ok(response.policy_in_json.unwrap_or_default()),
            Err(error) => {
                let found = call_error::from_sdk("GetResourcePolicy", &self.region, &error);
                match found.kind == CallErrorKind::NotFound {
                    true => Ok("none".to_owned()),
                    false => Err(found),
                }
            }
        }
    }

    pub(super) async fn read_optimizer_count(
        &self,
        tables: &[TableId],
    ) -> Result<usize, CallError> {
        const CALL: &str = "BatchGetTableOptimizer";
        let kinds = [
            TableOptimizerType::Compaction,
            TableOptimizerType::Retention,
            TableOptimizerType::OrphanFileDeletion,
        ];
        let mut count = 0;
        for batch in tables.chunks(TABLES_PER_OPTIMIZER_CALL) {
            let entries = batch.iter().flat_map(|id| {
                kinds.iter().map(|kind| {
                    BatchGetTableOptimizerEntry::builder()
                        .catalog_id(&self.account)
                        .database_name(id.database.as_str())
                        .table_name(id.table.as_str())
                        .r#type(kind.clone())
                        .build()
                })
            });
            let call = self.glue.batch_get_table_optimizer();
            let response = call.set_entries(Some(entries.collect())).send().await;
            let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            count += response.table_optimizers.unwrap_or_default().len();
        }
        Ok(count)
    }

    async fn count_kind(&self, kind: &str) -> Result<usize, CallError> {
        let counted: Result<Vec<()>, CallError> = match kind {
            "connection" => {
                all_pages(("GetConnections", &self.region), |token| async {
                    let call = self.glue.get_connections().hide_password(true);
                    let call = call.max_results(1000).set_next_token(token);
                    let page = call.send().await;
                    let page =
                        page.map_err(|e| call_error::from_sdk("GetConnections", &self.region, &e))?;
                    let listed = page.connection_list.unwrap_or_default();
                    Ok((vec![(); listed.len()], page.next_token))
                })
                .await
            }
            _ => {
                all_pages(("GetCatalogs", &self.region), |token| async {
                    let call = self.glue.get_catalogs().recursive(true).max_results(1000);
                    let page = call.set_next_token(token).send().await;
                    let page =
                        page.map_err(|e| call_error::from_sdk("GetCatalogs", &self.region, &e))?;
                    Ok((vec![(); page.catalog_list.len()], page.next_token))
                })
                .await
            }
        };
        counted.map(|all| all.len())
    }
}
