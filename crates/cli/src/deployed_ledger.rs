//! The ledger that is deployed in a Region.

use twinlake_aws::{Clients, DynamoLedger};

/// The deployed ledger of a Region.
pub(crate) async fn ledger_in(ledger_table: &str, region: &str) -> DynamoLedger {
    DynamoLedger::new(&Clients::connect(region).await, ledger_table)
}
