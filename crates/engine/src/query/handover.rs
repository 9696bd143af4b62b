//! The rows of the query tools in the ledger of a former primary, by which it follows the primary.

use super::ledger::QueryLedger;
use crate::ports::DocumentStore;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, Timestamp};

/// Gives the ledger of the former primary a row for each pair that the ledger of the primary holds from before the
/// switch. A row that pairs an object there takes over what the ledger of the primary knows from a later epoch. May be
/// repeated.
///
/// # Errors
/// A ledger cannot be reached, or a newer Twinlake wrote it.
pub(crate) async fn hand_over_query_rows<L: DocumentStore>(
    (primary, former): (&L, &L),
    epoch: Epoch,
    now: Timestamp,
) -> Result<(), CallError> {
    let known = QueryLedger::open(primary, epoch.standby()).await?;
    let mut handed_over = QueryLedger::open(former, epoch.primary()).await?;
    for row in known.rows.values() {
        let Some((key, turned)) = row.turned(epoch, now) else {
            continue;
        };
        handed_over
            .change(&key, |stored| {
                let paired = stored.filter(|stored| stored.pairing.is_some());
                let kept = paired.map(|mut kept| {
                    kept.take_over(row);
                    kept
                });
                (Some(kept.unwrap_or_else(|| turned.clone())), ())
            })
            .await?;
    }
    Ok(())
}
