//! What one round of reads told about one Region.

use crate::catalog::{
    Database, Function, LakeSettings, Part, PartKey, Partition, Seen, SeenPart, Table,
};
use crate::fault::Fault;
use crate::grant::{Grants, Principal, TagExpression, TagRule, TagTarget};
use crate::name::{FunctionId, Name, TableId};
use crate::scope::{Facet, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// What was learnt of one thing.
///
/// A failed read is `Unknown`, so a denied or throttled read can never be
/// mistaken for a deletion.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation<T> {
    /// It is there.
    Present(T),
    /// The service said that it is not there, with what else speaks for that.
    Absent(Proof),
    /// It could not be told.
    Unknown(Fault),
}

impl<T> Observation<T> {
    /// The thing, if it is there.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(thing) => Some(thing),
            Self::Absent(_) | Self::Unknown(_) => None,
        }
    }
}

/// What speaks for an absence. AWS answers a lost right with the same
/// "not found" as a missing object, so that answer alone proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The service said "not found" when asked by name.
    pub not_found: bool,
    /// The parent was listed completely and the name was not in it.
    pub unlisted: bool,
    /// Our role is still an administrator there.
    pub administrator: bool,
    /// Another object in that parent was seen, so the listing is not empty for
    /// want of rights.
    pub control_seen: bool,
    /// An event named this very deletion.
    pub deletion_named: bool,
}

impl Proof {
    /// Whether the absence is proven: not found, unlisted, and proof in the same
    /// round that everything is still seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.not_found
            && self.unlisted
            && self.administrator
            && (self.control_seen || self.deletion_named)
    }
}

/// The data lake settings that bear on what may be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Data lake administrators and read-only administrators.
    pub administrators: BTreeSet<Principal>,
    /// `CreateDatabaseDefaultPermissions` is not empty: a new database is born
    /// open to `IAM_ALLOWED_PRINCIPALS`.
    pub database_defaults_open: bool,
    /// All of them.
    pub whole: LakeSettings,
}

impl Settings {
    /// From the whole document.
    #[must_use]
    pub fn of(whole: LakeSettings) -> Self {
        Self {
            administrators: whole.administrators(),
            database_defaults_open: whole.database_defaults_open,
            whole,
        }
    }
}

/// LF-Tags of one resource: a value for each key.
pub type TagSet = BTreeMap<String, String>;

/// What `SearchDatabasesByLFTags` or `SearchTablesByLFTags` found: a database, or a
/// table with its columns, and the LF-Tags on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// `Database` or `Table.DatabaseName`.
    pub database: String,
    /// `Table.Name`, of a table.
    pub table: Option<String>,
    /// `LFTagOnDatabase`.
    pub on_database: TagSet,
    /// `LFTagsOnTable`.
    pub on_table: TagSet,
    /// `LFTagsOnColumns`.
    pub on_columns: BTreeMap<String, TagSet>,
}

/// A search: what kind of resources, by which tags.
pub type TagSearch = (TagTarget, TagRule);

/// Grants by LF-Tag policies, and the saved expressions that they name: what opens
/// whatever is made or tagged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagGrants {
    /// The grants.
    pub grants: Grants,
    /// Saved expressions by name, as far as they were needed.
    pub expressions: BTreeMap<String, TagExpression>,
    /// They come from the reading of all grants, twice.
    pub whole: bool,
}

/// What a look at a table's partitions showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Partitions {
    /// Partitions by their values. After a look at all of them only those that may
    /// differ between the sides: the others are equal.
    pub shown: BTreeMap<Vec<String>, Partition>,
    /// Of the secondary, after a look at all: those that the primary lacks. It was
    /// asked for each of them by name, too.
    pub extra: BTreeSet<Vec<String>>,
    /// How far the look went.
    pub extent: Extent,
    /// How many were copied with a reservation, and the first one's.
    pub noted: Option<(usize, String)>,
}

/// How far a look at a table's partitions went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of them: so many.
    Whole {
        /// How many there are.
        total: usize,
    },
    /// Those that were asked for by these values.
    Named(BTreeSet<Vec<String>>),
}

impl Partitions {
    /// None at all, of a table that is not there yet.
    #[must_use]
    pub fn none() -> Self {
        Self {
            shown: BTreeMap::new(),
            extra: BTreeSet::new(),
            extent: Extent::Whole { total: 0 },
            noted: None,
        }
    }

    /// Those that answered to the values they were asked for by.
    #[must_use]
    pub fn named(asked: &BTreeSet<Vec<String>>, found: Vec<Partition>) -> Self {
        let shown = found.into_iter().map(|p| (p.values.clone(), p));
        Self {
            shown: shown.collect(),
            extra: BTreeSet::new(),
            extent: Extent::Named(asked.clone()),
            noted: None,
        }
    }

    /// How many there are, if all were looked at.
    #[must_use]
    pub fn total(&self) -> Option<usize> {
        match self.extent {
            Extent::Whole { total } => Some(total),
            Extent::Named(_) => None,
        }
    }
}

/// The parts of one owner, by their keys.
pub type Parts = BTreeMap<PartKey, SeenPart>;

/// Keys listed parts.
#[must_use]
pub fn by_key(parts: Vec<SeenPart>) -> Parts {
    let keyed = parts.into_iter().map(|seen| (Part::key(&seen.part), seen));
    keyed.collect()
}

/// Whose grants: those of a database with the ones on all its tables, or those
/// of one table with its columns.
pub type GrantsOf = Subject;

/// One Region, as far as a scope asked for it.
///
/// What is not in a map was not asked for, which is not the same as absent.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Databases by name.
    pub databases: BTreeMap<Name, Observation<Seen<Database>>>,
    /// Tables.
    pub tables: BTreeMap<TableId, Observation<Seen<Table>>>,
    /// Partitions of tables that are there.
    pub partitions: BTreeMap<TableId, Observation<Partitions>>,
    /// Functions.
    pub functions: BTreeMap<FunctionId, Observation<Seen<Function>>>,
    /// Databases whose functions were listed: completely, or in vain.
    pub functions_listed: BTreeMap<Name, Result<(), Fault>>,
    /// Parts of one kind, by their owner.
    pub parts: BTreeMap<(Subject, Facet), Observation<Parts>>,
    /// Grants by the subject that they are on.
    pub grants: BTreeMap<GrantsOf, Observation<Grants>>,
    /// Grants on all tables of a database, where a table in it is about to be made or
    /// shown anew and the database's own grants were not asked for.
    pub wildcards: BTreeMap<Name, Observation<Grants>>,
    /// The names of all tables of a database, where they were listed completely.
    pub listed: BTreeMap<Name, BTreeSet<Name>>,
    /// Grants by LF-Tag policies, where something is about to be made, shown or tagged
    /// anew.
    pub tag_grants: Option<Observation<TagGrants>>,
    /// What LF-Tag policies that are about to be granted would open.
    pub tagged: BTreeMap<TagSearch, Observation<Vec<Tagged>>>,
    /// Subjects whose grants come from the reading of all grants, twice.
    pub grants_whole: BTreeSet<GrantsOf>,
    /// Subjects whose grants come from such a reading that held some grant, so an
    /// empty answer is not the sign of a lost right.
    pub grants_controlled: BTreeSet<GrantsOf>,
    /// The settings, where they were asked for.
    pub settings: Option<Observation<Settings>>,
    /// Our role is an administrator by these settings.
    pub administrator: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_proof_is_needed() {
        let whole = Proof {
            not_found: true,
            unlisted: true,
            administrator: true,
            control_seen: true,
            deletion_named: false,
        };
        assert!(whole.is_complete());
        let lacking: [fn(&mut Proof); 4] = [
            |p| p.not_found = false,
            |p| p.unlisted = false,
            |p| p.administrator = false,
            |p| p.control_seen = false,
        ];
        for lack in lacking {
            let mut proof = whole.clone();
            lack(&mut proof);
            assert!(!proof.is_complete(), "{proof:?}");
        }
        let named = Proof {
            control_seen: false,
            deletion_named: true,
            ..whole
        };
        assert!(named.is_complete());
    }
}
