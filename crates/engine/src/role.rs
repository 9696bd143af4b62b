//! Who may write: read before every application.

use crate::ports::Ledger;
use twinlake_core::ledger::{Epoch, Role, role};
use twinlake_core::policy::PolicyError;
use twinlake_core::{Fault, FaultKind, Policy};

/// What the two ledgers say together.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The policy, equal in both.
    pub policy: Policy,
    /// The highest epoch that could be read.
    pub epoch: Epoch,
    /// What this Region is by it.
    pub role: Role,
}

/// Why nothing may be done.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// No policy was pushed.
    #[error("no policy is in the ledger of {0}; run `twinlake policy push`")]
    NoPolicy(String),
    /// The policy in the ledger is broken.
    #[error("the policy in the ledger is not valid: {0}")]
    Policy(#[from] PolicyError),
    /// The two ledgers hold different policies.
    #[error("the two Regions hold different policies ({0} and {1}); push one to both")]
    Mismatch(String, String),
    /// This Region is not in the policy.
    #[error("the policy names {0} and {1}, and this Region is {2}")]
    Stranger(String, String, String),
    /// The own ledger is out of reach.
    #[error("the ledger cannot be read")]
    Ledger(#[source] Fault),
}

/// Reads policy and epoch from the own ledger and, as far as it is in reach, from
/// the peer's.
///
/// While the peer's ledger is out of reach the own one decides: a standby goes on
/// while it cannot know better.
///
/// # Errors
/// Why nothing may be done.
pub async fn standing<L: Ledger>(region: &str, own: &L, peer: &L) -> Result<Standing, Unready> {
    let text = own.policy().await.map_err(Unready::Ledger)?;
    let text = text.ok_or_else(|| Unready::NoPolicy(region.to_owned()))?;
    let policy = Policy::parse(&text)?;
    let epoch = own.epoch().await.map_err(Unready::Ledger)?;
    let is_first = policy.first.region == region;
    if !is_first && policy.second.region != region {
        let (first, second) = (policy.first.region.clone(), policy.second.region.clone());
        return Err(Unready::Stranger(first, second, region.to_owned()));
    }
    let (peer_epoch, theirs) = futures_util::future::join(peer.epoch(), peer.policy()).await;
    let peer_epoch = peer_epoch.ok();
    if let Ok(Some(theirs)) = theirs {
        let theirs = Policy::parse(&theirs)?;
        if theirs.digest() != policy.digest() {
            let short = |digest: &str| digest.chars().take(12).collect();
            return Err(Unready::Mismatch(
                short(policy.digest()),
                short(theirs.digest()),
            ));
        }
    }
    Ok(Standing {
        role: role(is_first, epoch, peer_epoch),
        epoch: peer_epoch.map_or(epoch, |peer| peer.max(epoch)),
        policy,
    })
}

impl Unready {
    /// As a fault, for callers that only pass it on.
    #[must_use]
    pub fn fault(&self, region: &str) -> Fault {
        match self {
            Self::Ledger(fault) => fault.clone(),
            Self::NoPolicy(_) | Self::Policy(_) | Self::Mismatch(..) | Self::Stranger(..) => {
                Fault::new(FaultKind::Invalid, "policy", region, self.to_string())
            }
        }
    }
}
