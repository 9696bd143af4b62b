//! Decides whether this Region may write. Read before every plan is applied.

use crate::ports::Ledger;
use std::collections::BTreeSet;
use twinlake_core::document::DocumentError;
use twinlake_core::topology::{Epoch, RegionRole, Site, SiteId, region_role};
use twinlake_core::{CallError, CallErrorKind, Policy};

/// The policy, the epoch and the role of this Region, from both ledgers.
#[derive(Clone, Debug)]
pub struct RegionAuthority {
    /// The policy of the local ledger. The peer's ledger holds an equal one or none, or is out of
    /// reach.
    pub policy: Policy,
    /// The latest epoch that could be read.
    pub epoch: Epoch,
    /// The local site.
    pub local: SiteId,
    /// What this Region may do.
    pub role: RegionRole,
}

/// Why nothing may be written.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// No policy was pushed.
    #[error("the ledger of {0} holds no policy; run `twinlake policy push FILE`")]
    NoPolicy(String),
    /// The policy in the ledger is not valid.
    #[error("the policy in the ledger is not valid: {0}")]
    Policy(#[from] DocumentError),
    /// The two ledgers hold different policies.
    #[error(
        "the two Regions hold different policies (policy hashes {0} and {1}); run `twinlake policy \
         push FILE` to write one to both"
    )]
    PoliciesDiffer(String, String),
    /// This Region is not in the policy.
    #[error("the policy names {0} and {1}, and this Region is {2}")]
    UnknownRegion(String, String, String),
    /// The stack of this Region was deployed for other Regions, or another account, than the policy
    /// names.
    #[error("the policy is for {policy}, and the stack of this Region was deployed for {stack}")]
    StackDiffers {
        /// What the policy names.
        policy: String,
        /// What the stack was deployed for.
        stack: String,
    },
    /// The local ledger is out of reach.
    #[error("the local ledger cannot be read")]
    Ledger(#[source] CallError),
}

/// The Regions and the account that a stack was deployed for. Its roles, rules and queues hold these, so
/// it can serve no other policy.
#[derive(Clone, Copy, Debug)]
pub struct StackSites<'a> {
    /// The Region of the stack.
    pub region: &'a str,
    /// The Region of the other stack.
    pub peer_region: &'a str,
    /// The account of both.
    pub account: &'a str,
}

impl StackSites<'_> {
    /// Checks that a policy is for this stack.
    ///
    /// # Errors
    /// [`NotReady::StackDiffers`]: the policy names another Region or account.
    pub fn check(&self, policy: &Policy) -> Result<(), NotReady> {
        let (a, b) = (&policy.sites.a, &policy.sites.b);
        let regions = BTreeSet::from([a.region.as_str(), b.region.as_str()]);
        let accounts = BTreeSet::from([a.account.as_str(), b.account.as_str()]);
        let is_equal = regions == BTreeSet::from([self.region, self.peer_region])
            && accounts == BTreeSet::from([self.account]);
        if is_equal {
            return Ok(());
        }
        let site = |site: &Site| format!("{} of account {}", site.region, site.account);
        Err(NotReady::StackDiffers {
            policy: format!("{} and {}", site(a), site(b)),
            stack: format!(
                "{} and {} of account {}",
                self.region, self.peer_region, self.account
            ),
        })
    }
}

/// Reads policy and epoch from the local ledger and, if it is in reach, from the peer's.
///
/// While the peer's ledger is out of reach, or holds no policy, the local policy decides, so that a
/// standby continues during an outage of the primary.
///
/// # Errors
/// Why nothing may be written.
pub async fn region_authority<L: Ledger>(
    region: &str,
    local: &L,
    peer: &L,
) -> Result<RegionAuthority, NotReady> {
    let text = local.policy().await.map_err(NotReady::Ledger)?;
    let text = text.ok_or_else(|| NotReady::NoPolicy(region.to_owned()))?;
    let policy = Policy::parse(&text)?;
    let epoch = local.epoch().await.map_err(NotReady::Ledger)?;
    let Some(site) = policy.sites.find(region) else {
        let (a, b) = (&policy.sites.a.region, &policy.sites.b.region);
        let names = (a.clone(), b.clone(), region.to_owned());
        return Err(NotReady::UnknownRegion(names.0, names.1, names.2));
    };
    let (peer_epoch, peer_policy) = futures_util::future::join(peer.epoch(), peer.policy()).await;
    let peer_epoch = peer_epoch.ok();
    if let Ok(Some(peer_policy)) = peer_policy {
        let peer_policy = Policy::parse(&peer_policy)?;
        if peer_policy.digest() != policy.digest() {
            let short = |digest: &str| digest.chars().take(12).collect();
            return Err(NotReady::PoliciesDiffer(
                short(policy.digest()),
                short(peer_policy.digest()),
            ));
        }
    }
    Ok(RegionAuthority {
        role: region_role(site, epoch, peer_epoch),
        epoch: peer_epoch.map_or(epoch, |peer| epoch.latest(peer)),
        local: site,
        policy,
    })
}

impl NotReady {
    /// The same as a call error, for callers that only pass it on.
    #[must_use]
    pub fn call_error(&self, region: &str) -> CallError {
        match self {
            Self::Ledger(error) => error.clone(),
            Self::NoPolicy(_)
            | Self::Policy(_)
            | Self::PoliciesDiffer(..)
            | Self::UnknownRegion(..)
            | Self::StackDiffers { .. } => {
                CallError::new(CallErrorKind::Invalid, "policy", region, self.to_string())
            }
        }
    }
}
