//! Writes of rows, each on the condition of its version.

use super::DynamoLedger;
use super::items::{row_key, string_value};
use super::stats::not_in_sync_state;
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeSet;
use std::future::Future;
use twinlake_core::{CallError, LedgerRow, Subject};

/// Most rows that are written at the same time: about as many as one partition of DynamoDB takes,
/// 1000 write units in a second, at some milliseconds each.
const MAX_CONCURRENT_ROW_WRITES: usize = 8;

impl DynamoLedger {
    /// Writes a row if the stored one still has its version. Returns whether it did.
    pub(super) async fn put_row(&self, row: &LedgerRow) -> Result<bool, CallError> {
        let (pk, sk) = row_key(&row.subject);
        // The version is an attribute, and managed keys are stored in an item of their own.
        let stored = LedgerRow {
            version: None,
            ..row.clone().with_managed_keys_of(None)
        };
        let body = serde_json::to_string(&stored).unwrap_or_default();
        let mut fields = vec![("body", string_value(&body))];
        if let Some(state) = not_in_sync_state(row) {
            fields.push(("not_in_sync_state", string_value(&state)));
        }
        let next = row.next_version();
        self.put_version(&pk, &sk, &fields, (row.version, next))
            .await
    }

    /// Writes rows by single conditional calls, several at a time: `BatchWriteItem` takes no
    /// conditions, and a transaction costs twice the write units and fails as a whole. Only rows
    /// that change are written, each beside calls to Glue that take longer. Returns the subjects
    /// whose condition did not hold.
    pub(super) async fn write_rows<'r, F: Future<Output = Result<bool, CallError>>>(
        &self,
        rows: &'r [LedgerRow],
        write: impl Fn(&'r LedgerRow) -> F,
    ) -> Result<BTreeSet<Subject>, CallError> {
        let writes = rows.iter().map(|row| {
            let written = write(row);
            async move { written.await.map(|is_written| (row, is_written)) }
        });
        let results: Vec<_> = stream::iter(writes)
            .buffer_unordered(MAX_CONCURRENT_ROW_WRITES)
            .collect()
            .await;
        let mut refused = BTreeSet::new();
        for result in results {
            let (row, is_written) = result?;
            if !is_written {
                refused.insert(row.subject.clone());
            }
        }
        Ok(refused)
    }
}
