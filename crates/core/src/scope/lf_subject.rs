//! The subjects that Lake Formation stores for the catalog as a whole.

use super::Facet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A subject that Lake Formation stores for the catalog as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LfSubject {
    /// LF-Tags, their values, and the grants on them.
    LfTags,
    /// Named LF-Tag expressions, and the grants on them.
    LfTagExpressions,
    /// Registered locations, and the grants on data locations.
    DataLocations,
    /// Grants on the catalog and by LF-Tag policies.
    Permissions,
    /// The data lake settings.
    Settings,
}

impl LfSubject {
    /// Every subject, in the order in which they are reconciled.
    pub const EVERY: [Self; 5] = [
        Self::LfTags,
        Self::LfTagExpressions,
        Self::DataLocations,
        Self::Permissions,
        Self::Settings,
    ];

    /// The facets of the subject.
    #[must_use]
    pub fn facets(self) -> &'static [Facet] {
        match self {
            Self::LfTags | Self::LfTagExpressions | Self::DataLocations => {
                &[Facet::Items, Facet::Grants]
            }
            Self::Permissions => &[Facet::Grants, Facet::OptIns],
            Self::Settings => &[Facet::Items],
        }
    }
}

impl fmt::Display for LfSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LfTags => "LF-Tags",
            Self::LfTagExpressions => "LF-Tag expressions",
            Self::DataLocations => "data locations",
            Self::Permissions => "permissions of the catalog",
            Self::Settings => "data lake settings",
        })
    }
}
