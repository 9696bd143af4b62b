//! What is only counted, and settings that are only compared.

use super::{AwsRegion, pages};
use crate::fault;
use aws_sdk_glue::types::{BatchGetTableOptimizerEntry, TableOptimizerType};
use twinlake_core::{Fault, FaultKind, TableId};
use twinlake_engine::ports::Survey;

/// Tables asked for in one `BatchGetTableOptimizer`: with three kinds of optimizer
/// each, so many entries are safe to send.
const TABLES: usize = 30;

/// What is counted.
const KINDS: [&str; 2] = ["connection", "nested or federated catalog"];

impl AwsRegion {
    pub(super) async fn look_around(&self) -> Survey {
        let mut survey = Survey::default();
        for kind in KINDS {
            if let Some(count) = self.count(kind).await.filter(|count| *count > 0) {
                survey.kinds.insert(kind.to_owned(), count);
            }
        }
        if let Some(encryption) = self.encryption().await {
            let name = "encryption of the catalog".to_owned();
            survey.settings.insert(name, encryption);
        }
        if let Some(policy) = self.resource_policy().await {
            survey.settings.insert("resource policy".to_owned(), policy);
        }
        survey
    }

    /// Whether the catalog and its connections' passwords are encrypted. Keys are
    /// another in each Region, and are not compared.
    async fn encryption(&self) -> Option<String> {
        let call = self.glue.get_data_catalog_encryption_settings();
        let answer = call.send().await.ok()?;
        let settings = answer.data_catalog_encryption_settings?;
        let at_rest = settings.encryption_at_rest;
        let mode = at_rest.map_or_else(
            || "DISABLED".to_owned(),
            |rest| rest.catalog_encryption_mode.as_str().to_owned(),
        );
        let passwords = settings.connection_password_encryption;
        let passwords = passwords.is_some_and(|one| one.return_connection_password_encrypted);
        let passwords = if passwords { "encrypted" } else { "plain" };
        Some(format!("{mode}, passwords of connections {passwords}"))
    }

    async fn resource_policy(&self) -> Option<String> {
        let answer = self.glue.get_resource_policy().send().await;
        match answer {
            Ok(answer) => Some(answer.policy_in_json.unwrap_or_default()),
            Err(error) => {
                let found = fault::of("GetResourcePolicy", &self.region, &error);
                (found.kind == FaultKind::Absent).then(|| "none".to_owned())
            }
        }
    }

    pub(super) async fn count_optimizers(&self, tables: &[TableId]) -> Result<usize, Fault> {
        const CALL: &str = "BatchGetTableOptimizer";
        let kinds = [
            TableOptimizerType::Compaction,
            TableOptimizerType::Retention,
            TableOptimizerType::OrphanFileDeletion,
        ];
        let mut count = 0;
        for some in tables.chunks(TABLES) {
            let entries = some.iter().flat_map(|id| {
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
            let answer = call.set_entries(Some(entries.collect())).send().await;
            let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
            count += answer.table_optimizers.unwrap_or_default().len();
        }
        Ok(count)
    }

    async fn count(&self, kind: &str) -> Option<usize> {
        let counted: Result<Vec<()>, ()> = match kind {
            "connection" => {
                pages(|token| async {
                    let call = self.glue.get_connections().hide_password(true);
                    let call = call.max_results(1000).set_next_token(token);
                    let page = call.send().await.map_err(drop)?;
                    let listed = page.connection_list.unwrap_or_default();
                    Ok((vec![(); listed.len()], page.next_token))
                })
                .await
            }
            _ => {
                pages(|token| async {
                    let call = self.glue.get_catalogs().recursive(true).max_results(1000);
                    let page = call.set_next_token(token).send().await.map_err(drop)?;
                    Ok((vec![(); page.catalog_list.len()], page.next_token))
                })
                .await
            }
        };
        counted.ok().map(|all| all.len())
    }
}
