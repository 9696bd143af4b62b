//! The Region that a takeover makes the primary, as the commands open it.

use super::switch_options::SwitchOptions;
use crate::connect::{ledger_in, policy_in};
use crate::{CliError, output};
use std::time::Duration;
use twinlake_aws::{Clients, DynamoLedger};
use twinlake_core::topology::{Epoch, FENCE_WAIT_SECS, SiteId};
use twinlake_core::{Policy, Principal};
use twinlake_engine::failover::{FENCE_WAIT, has_frozen_grants};
use twinlake_engine::region_authority::NotReady;

/// The policy, the site and the ledger of the surviving Region.
pub(super) struct NewPrimaryRegion {
    pub(super) region: String,
    pub(super) policy: Policy,
    pub(super) site: SiteId,
    pub(super) ledger: DynamoLedger,
    /// Whether the command prints JSON at its end, and nothing before.
    pub(super) is_quiet: bool,
    /// How long it waits after the epoch was written.
    pub(super) fence_wait: Duration,
}

impl NewPrimaryRegion {
    pub(super) async fn open(
        ledger_table: &str,
        region: &str,
        options: &SwitchOptions,
    ) -> Result<Self, CliError> {
        let fence_wait = fence_wait(region, options.local_wait).await?;
        let ledger = ledger_in(ledger_table, region).await;
        let policy = policy_in(&ledger, region).await?;
        let Some(site) = policy.sites.find(region) else {
            let (a, b) = (&policy.sites.a.region, &policy.sites.b.region);
            let names = (a.clone(), b.clone(), region.to_owned());
            return Err(NotReady::UnknownRegion(names.0, names.1, names.2).into());
        };
        Ok(Self {
            region: region.to_owned(),
            policy,
            site,
            ledger,
            is_quiet: options.json,
            fence_wait,
        })
    }

    /// An epoch with the Region that it makes the primary.
    pub(super) fn epoch_text(&self, epoch: Epoch) -> String {
        let primary = &self.policy.sites.get(epoch.primary()).region;
        format!("{} (primary: {primary})", epoch.number())
    }

    pub(super) fn other_region(&self) -> &str {
        &self.policy.sites.get(self.site.other()).region
    }

    /// Who calls, if grants are frozen by which it matters, and if it can be told.
    pub(super) async fn caller_if_frozen(&self) -> Result<Option<Principal>, CliError> {
        if !has_frozen_grants(&self.ledger).await? {
            return Ok(None);
        }
        Ok(Clients::connect(&self.region).await.caller().await.ok())
    }
}

/// The wait after the epoch was written. An AWS on this computer has no requests that are still under way.
async fn fence_wait(region: &str, local_wait: Option<u64>) -> Result<Duration, CliError> {
    let Some(secs) = local_wait else {
        return Ok(FENCE_WAIT);
    };
    if !Clients::connect(region).await.is_local() {
        let problem =
            "--local-wait is for an AWS on this computer, with AWS_ENDPOINT_URL on 127.0.0.1";
        return Err(CliError::Usage(problem.to_owned()));
    }
    output::note(&format!(
        "The wait after the epoch is {secs} s instead of {FENCE_WAIT_SECS} s: this AWS is on this computer."
    ));
    Ok(Duration::from_secs(secs))
}
