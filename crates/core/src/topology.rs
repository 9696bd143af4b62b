//! Regions, sites, AWS partitions, the epoch, and the roles of the Regions.
//!
//! The policy names two sites, `a` and `b`. The epoch names the site that is primary;
//! the other one is the standby. Only this module computes with epochs, and no code assumes that
//! site `a` is primary.
//!
//! - [`Site`]: one Region of one account.
//! - [`BySite`]: a value for each site, whichever is primary.
//! - [`Epoch`]: which site is primary, and since which switch.
//! - [`RegionRole`]: what the Region that runs the code may do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// For how long a process writes after it began to read the role of a Region, in seconds.
pub const WRITE_LEASE_SECS: u64 = 30;

/// The time-out of one attempt of a call, in seconds: Lake Formation may take a minute for a batch of grants
/// (F-11). Up to this long after it was sent, a request may still take effect.
pub const LONGEST_ATTEMPT_SECS: u64 = 60;

/// What is added to the longest life of a request, in seconds: for the connection, for a service that goes on
/// with a request which its caller has given up, and for clocks that run at different rates.
pub const FENCE_MARGIN_SECS: u64 = 30;

/// After an epoch was written, the time until nothing of the former epoch takes effect any more, in seconds:
/// the lease of a writer that read the role just before, the life of the request that it sends last, and the
/// margin.
pub const FENCE_WAIT_SECS: u64 = WRITE_LEASE_SECS + LONGEST_ATTEMPT_SECS + FENCE_MARGIN_SECS;

/// One of the two sites of a policy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum SiteId {
    /// The site that the policy calls `a`.
    #[default]
    A,
    /// The site that the policy calls `b`.
    B,
}

impl SiteId {
    /// Both sites.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other site.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The id as policies and ledgers spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a text has the form of a Region's name, as in `us-east-1`.
#[must_use]
pub fn is_region_name(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.split('-').count() >= 3 && text.chars().all(valid)
}

/// One Region of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The AWS Region, as in `us-east-1`.
    pub region: String,
    /// The account that owns the catalog, twelve digits.
    pub account: String,
    /// Always `None` in this version: a role for a site in another account, which the policy's parser refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl Site {
    /// The AWS partition that the Region belongs to.
    #[must_use]
    pub fn partition(&self) -> AwsPartition {
        AwsPartition::of_region(&self.region)
    }
}

/// A value for each site, whichever is primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BySite<T> {
    /// The value of site `a`.
    pub a: T,
    /// The value of site `b`.
    pub b: T,
}

impl<T> BySite<T> {
    /// The value of a site.
    pub fn get(&self, site: SiteId) -> &T {
        match site {
            SiteId::A => &self.a,
            SiteId::B => &self.b,
        }
    }

    /// The value of a site, to be changed.
    pub fn get_mut(&mut self, site: SiteId) -> &mut T {
        match site {
            SiteId::A => &mut self.a,
            SiteId::B => &mut self.b,
        }
    }

    /// Both values, from the values of the primary and of the standby.
    pub fn from_roles(epoch: Epoch, primary: T, standby: T) -> Self {
        match epoch.primary() {
            SiteId::A => Self {
                a: primary,
                b: standby,
            },
            SiteId::B => Self {
                a: standby,
                b: primary,
            },
        }
    }

    /// Both sites with their values.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &T)> {
        [(SiteId::A, &self.a), (SiteId::B, &self.b)].into_iter()
    }
}

impl BySite<Site> {
    /// The site of a Region.
    #[must_use]
    pub fn find(&self, region: &str) -> Option<SiteId> {
        SiteId::ALL
            .into_iter()
            .find(|site| self.get(*site).region == region)
    }
}

/// A set of Regions with accounts, ARNs and domain names of their own.
///
/// The Regions are assigned by the prefixes of the SDK's own partition data
/// (`regionRegex`); a Region that matches none belongs to `aws`, as it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AwsPartition {
    /// The commercial Regions.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud (US).
    AwsUsGov,
    /// The European Sovereign Cloud.
    AwsEusc,
    /// Isolated Regions of the US.
    AwsIso,
    /// Further isolated Regions of the US.
    AwsIsoB,
    /// Isolated Regions of Europe.
    AwsIsoE,
    /// Further isolated Regions of the US.
    AwsIsoF,
}

impl AwsPartition {
    /// Every partition.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsEusc,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
    ];

    /// The partition of a Region.
    #[must_use]
    pub fn of_region(region: &str) -> Self {
        let prefixes = [
            ("cn-", Self::AwsCn),
            ("us-gov-", Self::AwsUsGov),
            ("eusc-", Self::AwsEusc),
            ("us-iso-", Self::AwsIso),
            ("us-isob-", Self::AwsIsoB),
            ("eu-isoe-", Self::AwsIsoE),
            ("us-isof-", Self::AwsIsoF),
        ];
        prefixes
            .into_iter()
            .find(|(prefix, _)| region.starts_with(prefix))
            .map_or(Self::Aws, |(_, partition)| partition)
    }

    /// The partition as ARNs spell it, as in `arn:aws-cn:`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
        }
    }

    /// The partition of this name, spelled as in an ARN: `aws-cn`. A whole ARN is no name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

impl fmt::Display for AwsPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which site is primary, and since which switch. Stored as `{"epoch": 1, "primary": "b"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    #[serde(rename = "epoch")]
    number: u64,
    primary: SiteId,
}

impl Epoch {
    /// The epoch before any switch: site `a` is primary.
    pub const INITIAL: Self = Self {
        number: 0,
        primary: SiteId::A,
    };

    /// An epoch as a ledger holds it.
    #[must_use]
    pub const fn new(number: u64, primary: SiteId) -> Self {
        Self { number, primary }
    }

    /// The number of switches before it.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    /// The site that is primary.
    #[must_use]
    pub fn primary(self) -> SiteId {
        self.primary
    }

    /// The site that is standby.
    #[must_use]
    pub fn standby(self) -> SiteId {
        self.primary.other()
    }

    /// Epoch 0 with this site as primary, for commands that read no ledger and whose caller names the primary.
    /// No ledger holds it for site `b`: never compare it with one that a ledger holds.
    #[must_use]
    pub fn without_ledger(primary: SiteId) -> Self {
        Self {
            primary,
            ..Self::INITIAL
        }
    }

    /// The epoch after a switch: the standby is the primary.
    #[must_use]
    pub fn switched(self) -> Self {
        Self {
            number: self.number + 1,
            primary: self.standby(),
        }
    }

    /// Whether this epoch is earlier than another: a Region that holds it is fenced by one that holds the other.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.number < other.number
    }

    /// The number of switches between an earlier epoch and this one; 0 if the other one is not earlier.
    #[must_use]
    pub fn switches_since(self, earlier: Self) -> u64 {
        self.number.saturating_sub(earlier.number)
    }

    /// Whether this epoch and another have one number and name different primaries: both Regions were made the
    /// primary, and each is fenced by the other.
    #[must_use]
    pub fn is_disputed_by(self, other: Self) -> bool {
        self.number == other.number && self.primary != other.primary
    }

    /// The later of two epochs.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        match other.number > self.number {
            true => other,
            false => self,
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (primary: site {})", self.number, self.primary)
    }
}

/// What a Region may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionRole {
    /// The source of truth. Twinlake writes only its heartbeat, its canaries and grants to its own roles there.
    Primary,
    /// It equals the primary: Twinlake writes there.
    Standby,
    /// The peer's epoch has a higher number, or the same number and another primary: Twinlake writes
    /// nothing here until an operator decides.
    Fenced,
}

impl fmt::Display for RegionRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::Fenced => "fenced",
        })
    }
}

/// Returns the role of the local site, from the epochs that it can read.
///
/// `peer` is `None` while the peer's ledger is out of reach. The local epoch then decides, so that
/// a standby continues during an outage of the primary. A higher number at the peer fences this Region
/// alone. Two epochs of one number that name
/// different primaries fence both Regions.
#[must_use]
pub fn region_role(site: SiteId, local: Epoch, peer: Option<Epoch>) -> RegionRole {
    let fences = |peer: Epoch| local.is_before(peer) || local.is_disputed_by(peer);
    if peer.is_some_and(fences) {
        RegionRole::Fenced
    } else if local.primary == site {
        RegionRole::Primary
    } else {
        RegionRole::Standby
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_names_the_primary_and_an_older_one_is_fenced() {
        let (first, second) = (Epoch::INITIAL, Epoch::new(1, SiteId::B));
        let role = |site, local, peer| region_role(site, local, Some(peer));
        assert_eq!(role(SiteId::A, first, first), RegionRole::Primary);
        assert_eq!(role(SiteId::B, first, first), RegionRole::Standby);
        assert_eq!(role(SiteId::B, second, second), RegionRole::Primary);
        assert_eq!(role(SiteId::A, second, second), RegionRole::Standby);
        assert_eq!(role(SiteId::A, first, second), RegionRole::Fenced);
        assert_eq!(role(SiteId::B, second, first), RegionRole::Primary);
        assert_eq!(region_role(SiteId::A, second, None), RegionRole::Standby);
    }

    #[test]
    fn one_number_with_two_primaries_fences_both_regions() {
        let (one, other) = (Epoch::new(3, SiteId::A), Epoch::new(3, SiteId::B));
        assert_eq!(region_role(SiteId::A, one, Some(other)), RegionRole::Fenced);
        assert_eq!(region_role(SiteId::B, other, Some(one)), RegionRole::Fenced);
        assert!(one.is_disputed_by(other) && !one.is_before(other));
        assert!(!one.is_disputed_by(one) && !one.is_disputed_by(other.switched()));
    }

    #[test]
    fn a_switch_fences_the_former_primary_and_whoever_has_not_heard_of_it() {
        let before = Epoch::new(3, SiteId::B);
        let after = before.switched();
        assert_eq!(after, Epoch::new(4, SiteId::A));
        let role = |site, local, peer| region_role(site, local, Some(peer));
        assert_eq!(role(SiteId::A, after, before), RegionRole::Primary);
        assert_eq!(role(SiteId::B, before, after), RegionRole::Fenced);
    }

    #[test]
    fn an_epoch_is_stored_with_its_primary_by_name() {
        let json = serde_json::to_value(Epoch::new(1, SiteId::B)).unwrap();
        assert_eq!(json, serde_json::json!({"epoch": 1, "primary": "b"}));
    }

    #[test]
    fn a_region_belongs_to_the_partition_of_its_prefix() {
        let cases = [
            ("us-east-1", "aws"),
            ("mx-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("eusc-de-east-1", "aws-eusc"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
        ];
        for (region, partition) in cases {
            assert_eq!(AwsPartition::of_region(region).as_str(), partition);
            assert_eq!(
                AwsPartition::named(partition),
                Some(AwsPartition::of_region(region))
            );
        }
    }
}
