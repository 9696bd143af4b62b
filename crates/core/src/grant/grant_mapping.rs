//! Maps principals and data locations of listed grants to those of the standby.

use super::{Principal, PrincipalPatterns};
use crate::location::{Location, LocationMap, Mapped};
use crate::policy::Policy;
use crate::topology::{AwsPartition, Epoch, Site, SiteId};
use std::collections::BTreeMap;

/// Maps the principals and locations of one site to the standby's, and says whose grants are
/// ignored.
///
/// The grants of both sites are mapped to the standby's principals and locations, so that
/// they can be compared grant by grant.
#[derive(Clone, Debug)]
pub struct GrantMapping {
    /// Principals that have another ARN in the standby.
    principals: BTreeMap<String, String>,
    /// The location pairs; `None` maps every location to itself.
    locations: Option<LocationMap>,
    /// The site whose grants are mapped.
    site: SiteId,
    standby: SiteId,
    partition: AwsPartition,
    ignored: PrincipalPatterns,
}

/// What a principal maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MappedPrincipal {
    /// A principal of the standby.
    To(Principal),
    /// The policy ignores its grants.
    Ignored,
    /// Its kind is not known.
    Unknown,
    /// Another principal maps to it, so the grants of the two could not be distinguished.
    Ambiguous,
}

impl Default for GrantMapping {
    /// Maps every principal to itself, and no location.
    fn default() -> Self {
        Self {
            principals: BTreeMap::new(),
            locations: Some(LocationMap::default()),
            site: Epoch::INITIAL.primary(),
            standby: Epoch::INITIAL.standby(),
            partition: AwsPartition::Aws,
            ignored: PrincipalPatterns::default(),
        }
    }
}

impl GrantMapping {
    /// The mapping for grants of the primary.
    #[must_use]
    pub fn of_primary(policy: &Policy, epoch: Epoch) -> Self {
        let pairs = policy.principals.iter();
        let principals = pairs.map(|pair| {
            let mapped = pair.get(epoch.standby());
            (pair.get(epoch.primary()).clone(), mapped.clone())
        });
        Self {
            principals: principals.collect(),
            site: epoch.primary(),
            ..Self::of_standby(policy, epoch)
        }
    }

    /// The mapping for grants of the standby.
    #[must_use]
    pub fn of_standby(policy: &Policy, epoch: Epoch) -> Self {
        Self {
            principals: BTreeMap::new(),
            locations: Some(policy.locations.clone()),
            site: epoch.standby(),
            standby: epoch.standby(),
            partition: policy.standby(epoch).partition(),
            ignored: policy.ignored_principals.clone(),
        }
    }

    /// Maps every principal and every location of a site to itself, whatever the policy ignores or covers.
    #[must_use]
    pub fn as_listed(site: &Site) -> Self {
        Self {
            locations: None,
            partition: site.partition(),
            ..Self::default()
        }
    }

    pub(super) fn principal(&self, principal: &Principal) -> MappedPrincipal {
        if self.ignored.contains(&principal.0) {
            return MappedPrincipal::Ignored;
        }
        let mapped = match self.principals.get(&principal.0) {
            Some(mapped) => Principal(mapped.clone()),
            None if self
                .principals
                .values()
                .any(|mapped| *mapped == principal.0) =>
            {
                return MappedPrincipal::Ambiguous;
            }
            None => principal.clone(),
        };
        match mapped.kind() {
            Some(_) => MappedPrincipal::To(mapped),
            None => MappedPrincipal::Unknown,
        }
    }

    /// The principal of the standby that an administrator, the principal of an opt-in, or another
    /// principal outside of grants corresponds to, by the rules for the principals of grants. `None`
    /// if the policy ignores it.
    ///
    /// # Errors
    /// Why it corresponds to none.
    pub fn principal_outside_grants(
        &self,
        principal: &Principal,
    ) -> Result<Option<Principal>, &'static str> {
        match self.principal(principal) {
            MappedPrincipal::To(mapped) => Ok(Some(mapped)),
            MappedPrincipal::Ignored => Ok(None),
            MappedPrincipal::Unknown => Err("it was deleted, or its kind is not known"),
            MappedPrincipal::Ambiguous => Err("a [[principal]] pair maps another principal to it"),
        }
    }

    /// The ARN of a principal in the standby.
    #[must_use]
    pub fn counterpart(&self, principal: &str) -> String {
        let mapped = self.principals.get(principal);
        mapped.cloned().unwrap_or_else(|| principal.to_owned())
    }

    /// The ARN of a data location in the standby, if a pair of the policy contains it. A
    /// location of the primary maps to its counterpart.
    #[must_use]
    pub fn location(&self, text: &str) -> Option<String> {
        let arn = Location::parse(text).ok()?.as_arn(self.partition);
        let Some(locations) = &self.locations else {
            return Some(arn);
        };
        match locations.counterpart_from(self.site, &arn) {
            Ok(Mapped::To(_)) if self.site == self.standby => Some(arn),
            Ok(Mapped::To(mapped)) => Location::parse(&mapped)
                .ok()
                .map(|location| location.as_arn(self.partition)),
            Ok(Mapped::Unmapped) | Err(_) => None,
        }
    }
}
