//! In whose terms grants are read: the primary's are told in the secondary's.

use super::{OwnRoles, Principal};
use crate::ledger::Epoch;
use crate::location::{Location, LocationMap, Mapped};
use crate::policy::Policy;
use std::collections::BTreeMap;

/// How a Region's principals and places are told, and whose grants are left alone.
///
/// Both readings are told in the secondary's terms, so that they can be compared
/// atom by atom.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Principals that are another one in the secondary.
    principals: BTreeMap<String, String>,
    locations: LocationMap,
    to_second: bool,
    is_primary: bool,
    ignored: OwnRoles,
}

/// What becomes of a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is this one in the secondary.
    As(Principal),
    /// The policy leaves its grants alone.
    Ignored,
    /// It is of no known kind.
    Unknown,
    /// Another one becomes it, so that their grants would mix.
    Taken,
}

impl Terms {
    /// For what the primary shows.
    #[must_use]
    pub fn of_primary(policy: &Policy, epoch: Epoch) -> Self {
        let pairs = policy.principals.iter();
        let principals = pairs.map(|(first, second)| match epoch.first_is_primary() {
            true => (first.clone(), second.clone()),
            false => (second.clone(), first.clone()),
        });
        Self {
            principals: principals.collect(),
            is_primary: true,
            ..Self::of_secondary(policy, epoch)
        }
    }

    /// For what the secondary shows.
    #[must_use]
    pub fn of_secondary(policy: &Policy, epoch: Epoch) -> Self {
        Self {
            principals: BTreeMap::new(),
            locations: policy.locations.clone(),
            to_second: epoch.first_is_primary(),
            is_primary: false,
            ignored: policy.ignored.clone(),
        }
    }

    pub(super) fn principal(&self, principal: &Principal) -> Told {
        if self.ignored.contains(&principal.0) {
            return Told::Ignored;
        }
        let told = match self.principals.get(&principal.0) {
            Some(there) => Principal(there.clone()),
            None if self.principals.values().any(|there| *there == principal.0) => {
                return Told::Taken;
            }
            None => principal.clone(),
        };
        match told.kind() {
            Some(_) => Told::As(told),
            None => Told::Unknown,
        }
    }

    /// The principal that one of the primary is in the secondary.
    #[must_use]
    pub fn counterpart(&self, principal: &str) -> String {
        let there = self.principals.get(principal);
        there.cloned().unwrap_or_else(|| principal.to_owned())
    }

    /// A place in the secondary, as its ARN, if some pair of the policy holds it. Of
    /// the primary's places it is the counterpart.
    #[must_use]
    pub fn location(&self, text: &str) -> Option<String> {
        let arn = Location::parse(text).ok()?.as_arn();
        let mapped = match self.is_primary {
            true => self.locations.map(&arn, self.to_second),
            false => self.locations.map(&arn, !self.to_second),
        };
        match mapped {
            Ok(Mapped::To(there)) if self.is_primary => Location::parse(&there)
                .ok()
                .map(|location| location.as_arn()),
            Ok(Mapped::To(_)) => Some(arn),
            Ok(Mapped::Unmapped) | Err(_) => None,
        }
    }
}
