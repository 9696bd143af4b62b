//! The subjects that are no database.

use super::Facet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What Lake Formation keeps for the catalog as a whole: one subject for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lake {
    /// LF-Tags, their values, and the grants on them.
    Tags,
    /// Saved LF-Tag expressions, and the grants on them.
    Expressions,
    /// Registered locations, and the grants on data locations.
    Locations,
    /// Grants on the catalog and by LF-Tag policies.
    Permissions,
    /// The data lake settings.
    Settings,
}

impl Lake {
    /// Every one, in the order in which they are looked at.
    pub const EVERY: [Self; 5] = [
        Self::Tags,
        Self::Expressions,
        Self::Locations,
        Self::Permissions,
        Self::Settings,
    ];

    /// What is read of it.
    #[must_use]
    pub fn facets(self) -> &'static [Facet] {
        match self {
            Self::Tags | Self::Expressions | Self::Locations => &[Facet::Items, Facet::Grants],
            Self::Permissions => &[Facet::Grants, Facet::OptIns],
            Self::Settings => &[Facet::Items],
        }
    }
}

impl fmt::Display for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tags => "LF-Tags",
            Self::Expressions => "LF-Tag expressions",
            Self::Locations => "data locations",
            Self::Permissions => "permissions of the catalog",
            Self::Settings => "data lake settings",
        })
    }
}
