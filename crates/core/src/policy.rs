//! The policy: one TOML document that says what is replicated, where to, and
//! what to do in the cases where a person has to choose.
//!
//! It is symmetric: it names a first and a second side, and which of them is
//! primary is the epoch's business, so a switch needs no new policy.
//!
//! ```toml
//! [first]
//! region = "us-east-1"
//! account = "111122223333"
//!
//! [second]
//! region = "ap-south-1"
//! account = "111122223333"
//!
//! [[location]]
//! first = "s3://sales-us-east-1/"
//! second = "s3://sales-ap-south-1/"
//! ```

mod pattern;
mod source;

pub use pattern::Patterns;
pub use source::PolicyError;

use crate::grant::OwnRoles;
use crate::heartbeat::Channel;
use crate::ledger::Epoch;
use crate::location::LocationMap;
use crate::name::{Name, TableId};
use crate::price::Prices;
use serde::{Deserialize, Serialize};

/// One side of the pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The AWS Region, as in `us-east-1`.
    pub region: String,
    /// The account that owns the catalog, twelve digits.
    pub account: String,
}

/// What to do with an object whose location no pair holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unmapped {
    /// Hold the object back and say so.
    #[default]
    Refuse,
    /// Copy the entry with the location as it is: it then reads the primary's
    /// bucket. A standing finding says so.
    Keep,
}

/// What to do with Iceberg tables while their files cannot follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Iceberg {
    /// Hold the table back and say so.
    #[default]
    Withhold,
    /// Copy the catalog entry as it is, with a standing finding: its metadata
    /// names the primary's files.
    Pointer,
}

/// What to do when an object is gone from the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deletions {
    /// Delete it in the secondary too, once the absence is proven.
    #[default]
    Propagate,
    /// Keep it, and say so.
    Retain,
}

/// Which column statistics are copied. They are read table by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// Those of tables.
    #[default]
    Tables,
    /// None.
    None,
}

/// Of which tables a look at whole databases asks for data cells filters. They are read
/// table by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filters {
    /// Of all.
    #[default]
    All,
    /// Of those on which one is granted: a filter that is granted to nobody is seen by the
    /// event that tells of it alone.
    Granted,
}

/// Whether Glue's tags on databases and tables are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tags {
    /// They are left to whoever tags in each Region. IAM policies may rest on them.
    #[default]
    Leave,
    /// They are copied.
    Copy,
}

/// What to do where the data lake settings of both Regions differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settings {
    /// It is reported.
    #[default]
    Report,
    /// Those of the secondary follow: administrators are added, and taken away again
    /// if they came from the primary; defaults for new objects are only ever closed.
    Merge,
}

/// How many deletions pass without a person. A plan with more is vetoed whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Brake {
    /// The share of all paired objects of a kind that one plan, or one hour, may
    /// delete: 0 to 1.
    pub share: f64,
    /// So many always pass, however small the catalog.
    pub minimum: usize,
}

/// The lag from which on people are told, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Objectives {
    /// Of changes of the catalog.
    pub catalog: i64,
    /// Of changes of permissions. CloudTrail takes minutes.
    pub permissions: i64,
}

impl Objectives {
    /// The objective of a channel.
    #[must_use]
    pub fn of(&self, channel: Channel) -> i64 {
        match channel {
            Channel::Catalog => self.catalog,
            Channel::Permissions => self.permissions,
        }
    }
}

/// A checked policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The side that is primary while the epoch is even.
    pub first: Side,
    /// The other side.
    pub second: Side,
    /// What is replicated.
    pub patterns: Patterns,
    /// Which places hold the same objects.
    pub locations: LocationMap,
    /// Catalogs of others that resource links point at, first and second.
    pub catalogs: Vec<(String, String)>,
    /// Principals that are another one in the other Region, first and second: of
    /// grants, opt-ins, administrators, and roles of registered locations.
    pub principals: Vec<(String, String)>,
    /// Principals whose grants and opt-ins are left alone.
    pub ignored: OwnRoles,
    /// What to do with the data lake settings.
    pub settings: Settings,
    /// What to do with unmapped locations.
    pub unmapped_location: Unmapped,
    /// What to do with Iceberg tables.
    pub iceberg: Iceberg,
    /// Which column statistics are copied.
    pub statistics: Statistics,
    /// Of which tables data cells filters are looked for.
    pub filters: Filters,
    /// Whether Glue's tags are copied.
    pub tags: Tags,
    /// What to do with deletions.
    pub deletions: Deletions,
    /// The brake on deletions.
    pub brake: Brake,
    /// From which lag on people are told.
    pub lag: Objectives,
    /// What AWS charges, for the digest.
    pub prices: Prices,
    digest: String,
    text: String,
}

impl Policy {
    /// Reads and checks a policy document.
    ///
    /// # Errors
    /// What is wrong, with the line and the key.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        source::parse(text)
    }

    /// A fingerprint of what the policy says; comments and layout do not count.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The document as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The primary's side at an epoch.
    #[must_use]
    pub fn primary(&self, epoch: Epoch) -> &Side {
        if epoch.first_is_primary() {
            &self.first
        } else {
            &self.second
        }
    }

    /// The secondary's side at an epoch.
    #[must_use]
    pub fn secondary(&self, epoch: Epoch) -> &Side {
        if epoch.first_is_primary() {
            &self.second
        } else {
            &self.first
        }
    }

    /// The counterpart of a catalog that resource links point at, if a pair names it.
    #[must_use]
    pub fn catalog(&self, id: &str, to_second: bool) -> Option<&str> {
        let sided = self.catalogs.iter().map(|(first, second)| match to_second {
            true => (first, second),
            false => (second, first),
        });
        let mut sided = sided.filter(|(here, _)| *here == id);
        sided.next().map(|(_, there)| there.as_str())
    }

    /// Whether a database is replicated, or at least some tables of it.
    #[must_use]
    pub fn covers_database(&self, name: &Name) -> bool {
        crate::heartbeat::is_database(name) || self.patterns.covers_database(name)
    }

    /// Whether a table is replicated.
    #[must_use]
    pub fn covers_table(&self, id: &TableId) -> bool {
        crate::heartbeat::is_table(id) || self.patterns.covers_table(id)
    }
}
