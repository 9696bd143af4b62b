//! Reads the table optimizers of Glue.

use crate::call_error;
use crate::region::TABLES_PER_OPTIMIZER_CALL;
use aws_sdk_glue::types::{BatchGetTableOptimizerEntry, BatchTableOptimizer, TableOptimizerType};
use twinlake_core::readiness::{OptimizerKind, TableOptimizer};
use twinlake_core::{CallError, CallErrorKind, Name, TableId};

const CALL: &str = "BatchGetTableOptimizer";

const KINDS: [(OptimizerKind, TableOptimizerType); 3] = [
    (OptimizerKind::Compaction, TableOptimizerType::Compaction),
    (OptimizerKind::Retention, TableOptimizerType::Retention),
    (
        OptimizerKind::OrphanFileDeletion,
        TableOptimizerType::OrphanFileDeletion,
    ),
];

/// The optimizers that are enabled on these tables.
pub(super) async fn read(
    client: &aws_sdk_glue::Client,
    region: &str,
    account: &str,
    tables: &[TableId],
) -> Result<Vec<TableOptimizer>, CallError> {
    let mut found = Vec::new();
    for batch in tables.chunks(TABLES_PER_OPTIMIZER_CALL) {
        let entries = batch.iter().flat_map(|id| {
            KINDS.iter().map(|(_, kind)| {
                BatchGetTableOptimizerEntry::builder()
                    .catalog_id(account)
                    .database_name(id.database.as_str())
                    .table_name(id.table.as_str())
                    .r#type(kind.clone())
                    .build()
            })
        });
        let call = client.batch_get_table_optimizer();
        let response = call.set_entries(Some(entries.collect())).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, region, &e))?;
        for failure in response.failures.unwrap_or_default() {
            let detail = failure.error.as_ref();
            let code = detail
                .and_then(|detail| detail.error_code())
                .unwrap_or("Unknown");
            let message = detail
                .and_then(|detail| detail.error_message())
                .unwrap_or_default();
            let error = call_error::from_code(CALL, region, code, message);
            // A table that has no optimizer, or does not exist, is reported as a failure.
            if error.kind != CallErrorKind::NotFound {
                return Err(error);
            }
        }
        let optimizers = response.table_optimizers.unwrap_or_default();
        found.extend(optimizers.iter().filter_map(optimizer));
    }
    Ok(found)
}

/// An optimizer, if it is enabled.
fn optimizer(found: &BatchTableOptimizer) -> Option<TableOptimizer> {
    let optimizer = found.table_optimizer()?;
    let configuration = optimizer.configuration()?;
    let mut kinds = KINDS.into_iter();
    let (kind, _) = kinds.find(|(_, kind)| optimizer.r#type() == Some(kind))?;
    let database = Name::from_service(found.database_name()?);
    let table = Name::from_service(found.table_name()?);
    let retention = configuration.retention_configuration();
    let retention = retention.and_then(|retention| retention.iceberg_configuration());
    (configuration.enabled() == Some(true)).then(|| TableOptimizer {
        table: TableId::new(database, table),
        kind,
        retention_days: retention.and_then(|found| found.snapshot_retention_period_in_days()),
    })
}
