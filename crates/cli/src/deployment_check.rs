//! Whether Twinlake is deployed for the Regions of a policy. A command that takes its epoch from elsewhere than the
//! deployed ledgers would write in the wrong direction after a takeover, and without the fence.

use crate::CliError;
use crate::common_options::DEFAULT_LEDGER_TABLE;
use crate::deployed_ledger::ledger_in;
use std::collections::BTreeSet;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, CallErrorKind, Policy};
use twinlake_engine::Ledger;

/// What the deployed ledger of a Region says.
#[derive(Debug, PartialEq, Eq)]
enum Deployed {
    /// The Region has no such table.
    Nothing,
    /// The table is of another pair of Regions, or was never used.
    OtherPair,
    /// It is the ledger of the policy's Regions, or may be: a policy that cannot be parsed names none.
    ThisPair,
}

async fn deployed<L: Ledger>(ledger: &L, policy: &Policy) -> Result<Deployed, CallError> {
    let text = match ledger.policy().await {
        Ok(text) => text,
        Err(error) if error.kind == CallErrorKind::NotFound => return Ok(Deployed::Nothing),
        Err(error) => return Err(error),
    };
    let Some(text) = text else {
        return Ok(match ledger.epoch_record().await? {
            Some(_) => Deployed::ThisPair,
            None => Deployed::OtherPair,
        });
    };
    let regions = |policy: &Policy| -> BTreeSet<String> {
        policy
            .sites
            .iter()
            .map(|(_, site)| site.region.clone())
            .collect()
    };
    Ok(match Policy::parse(&text) {
        Ok(stored) if regions(&stored) != regions(policy) => Deployed::OtherPair,
        Ok(_) | Err(_) => Deployed::ThisPair,
    })
}

/// Refuses to write with a ledger in a file where the Regions have a deployed one.
///
/// # Errors
/// They have one; or whether they do cannot be read.
pub(crate) async fn refuse_beside_deployment(
    ledger_table: &str,
    policy: &Policy,
) -> Result<(), CliError> {
    for (_, site) in policy.sites.iter() {
        let (ledger, region) = (ledger_in(ledger_table, &site.region).await, &site.region);
        let problem = match deployed(&ledger, policy).await {
            Ok(Deployed::Nothing | Deployed::OtherPair) => continue,
            Ok(Deployed::ThisPair) => format!(
                "Twinlake is deployed in {region}, and its ledger {ledger_table} says which Region is primary; \
                 run the command without --ledger"
            ),
            Err(error) => format!(
                "whether Twinlake is deployed in {region} is not known: {error}; allow dynamodb:GetItem on the \
                 table {ledger_table}, or add --no-deployment if you know that it is not"
            ),
        };
        return Err(CliError::Usage(format!(
            "nothing is written with a ledger in a file: {problem}"
        )));
    }
    Ok(())
}

/// The latest epoch in the deployed ledgers of both Regions; `None` if neither has one.
///
/// # Errors
/// A ledger cannot be read, or neither Region has a table of a name that is not the default.
pub(crate) async fn deployed_epoch(
    ledger_table: &str,
    policy: &Policy,
) -> Result<Option<Epoch>, CliError> {
    let mut latest: Option<Epoch> = None;
    for (_, site) in policy.sites.iter() {
        match ledger_in(ledger_table, &site.region).await.epoch().await {
            Ok(epoch) => latest = Some(latest.map_or(epoch, |latest| latest.latest(epoch))),
            Err(error) if error.kind == CallErrorKind::NotFound => {}
            Err(error) => {
                return Err(CliError::Usage(format!(
                    "which Region is primary is not known: {error}; allow dynamodb:GetItem on the table \
                     {ledger_table} in {}, or name the primary with --primary",
                    site.region
                )));
            }
        }
    }
    if latest.is_none() && ledger_table != DEFAULT_LEDGER_TABLE {
        return Err(CliError::Usage(format!(
            "--ledger-table {ledger_table}: neither Region has this table"
        )));
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::failover::EpochRecord;
    use twinlake_core::topology::SiteId;
    use twinlake_engine::InMemoryLedger;

    fn policy(a: &str, b: &str) -> (String, Policy) {
        let site = |id: &str, region: &str| {
            format!(
                "[[region]]\nid = \"{id}\"\nregion = \"{region}\"\naccount = \"111122223333\"\n"
            )
        };
        let text = format!("{}{}", site("a", a), site("b", b));
        let policy = Policy::parse(&text).unwrap();
        (text, policy)
    }

    #[tokio::test]
    async fn a_ledger_of_the_same_regions_is_a_deployment() {
        let ours = policy("us-east-1", "ap-south-1").1;
        let cases = [
            (policy("us-east-1", "ap-south-1").0, Deployed::ThisPair),
            (policy("ap-south-1", "us-east-1").0, Deployed::ThisPair),
            (policy("us-east-1", "eu-west-1").0, Deployed::OtherPair),
            ("no policy".to_owned(), Deployed::ThisPair),
        ];
        for (text, expected) in cases {
            let ledger = InMemoryLedger::default();
            ledger.put_policy(&text).await.unwrap();
            assert_eq!(deployed(&ledger, &ours).await.unwrap(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_ledger_without_a_policy_counts_if_a_takeover_used_it() {
        let ours = policy("us-east-1", "ap-south-1").1;
        let ledger = InMemoryLedger::default();
        let found = deployed(&ledger, &ours).await.unwrap();
        assert_eq!(found, Deployed::OtherPair);
        let record = EpochRecord {
            epoch: Epoch::new(3, SiteId::B),
            ..EpochRecord::default()
        };
        assert!(ledger.put_epoch_record(&record, None).await.unwrap());
        let found = deployed(&ledger, &ours).await.unwrap();
        assert_eq!(found, Deployed::ThisPair);
    }
}
