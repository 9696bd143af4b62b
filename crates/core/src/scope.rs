//! Where to look: all that an event, a resync or a person can ask for.

mod lake;

pub use lake::Lake;

use crate::grant::{Atom, EntryResource, Resource};
use crate::heartbeat::{self, Channel};
use crate::name::{FunctionId, Name, TableId};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One object of the catalog together with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The whole catalog: every database and what it holds.
    Catalog,
    /// What Lake Formation keeps for the catalog as a whole. Before the databases,
    /// whose permissions rest on it.
    Lake(Lake),
    /// A database.
    Database(Name),
    /// A table, its partitions and its grants.
    Table(TableId),
    /// A user-defined function.
    Function(FunctionId),
}

impl Subject {
    /// The database that the subject is or lies in.
    #[must_use]
    pub fn database(&self) -> Option<&Name> {
        match self {
            Self::Catalog | Self::Lake(_) => None,
            Self::Database(name) => Some(name),
            Self::Table(id) => Some(&id.database),
            Self::Function(id) => Some(&id.database),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.write_str("catalog"),
            Self::Database(name) => write!(f, "database {name}"),
            Self::Table(id) => write!(f, "table {id}"),
            Self::Function(id) => write!(f, "function {id}"),
            Self::Lake(lake) => lake.fmt(f),
        }
    }
}

/// A part of a subject that is read by a call of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facet {
    /// The object itself. Always read.
    Definition,
    /// A table's partitions.
    Partitions,
    /// The grants on the subject; on a database, those on all its tables too.
    Grants,
    /// Every table of a database, with all its facets, and every function.
    Contents,
    /// A table's partition indexes.
    Indexes,
    /// The statistics of a table's columns.
    Statistics,
    /// Glue's tags on a database or a table.
    Tags,
    /// A table's data cells filters.
    Filters,
    /// The LF-Tags that are assigned to a database, or to a table and its columns.
    Assigned,
    /// Lake Formation opt-ins on the subject.
    OptIns,
    /// What a subject of the lake consists of: tags, expressions, registrations.
    Items,
}

/// What to look at on one subject, and what the event said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The facets to read.
    pub facets: BTreeSet<Facet>,
    /// An event named the deletion of the subject itself.
    #[serde(default)]
    pub deletion_named: bool,
    /// An event named the deletion of some of its partitions.
    #[serde(default)]
    pub partition_deletion_named: bool,
    /// Partitions that go if the primary lacks them, whoever lists what: an event named
    /// their deletion, or all of the primary's were listed without them, or this very
    /// run made them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deletable: BTreeSet<Vec<String>>,
    /// Partitions that an event named by their values: where all of them are not
    /// looked at anyway, these are asked for by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<Vec<String>>,
}

/// More partitions than this are looked for by a look at all of them.
pub const MOST_VALUES: usize = 1000;

impl Look {
    /// A look at these facets, with nothing said about deletions.
    #[must_use]
    pub fn at(facets: &[Facet]) -> Self {
        Self {
            facets: facets.iter().copied().collect(),
            ..Self::default()
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.facets.extend(&other.facets);
        self.deletion_named |= other.deletion_named;
        self.partition_deletion_named |= other.partition_deletion_named;
        self.values.extend(other.values.iter().cloned());
        self.deletable.extend(other.deletable.iter().cloned());
        if self.values.len() > MOST_VALUES {
            self.partition_deletion_named |= !self.deletable.is_empty();
            self.values.clear();
            self.deletable.clear();
            self.facets.extend([Facet::Definition, Facet::Partitions]);
        }
    }

    /// A look at a table and at partitions of it that were named by their values.
    #[must_use]
    pub fn at_values(values: BTreeSet<Vec<String>>, deleted: bool) -> Self {
        let deletable = match deleted {
            true => values.clone(),
            false => BTreeSet::new(),
        };
        let mut look = Self::at(&[Facet::Definition]);
        look.absorb(&Self {
            values,
            deletable,
            ..Self::default()
        });
        look
    }
}

/// The subjects to look at and the grants that a revoke has just named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// What to look at.
    #[serde(with = "pairs")]
    pub looks: BTreeMap<Subject, Look>,
    /// Grants that an event said were revoked, and whether their grant option
    /// was named. They are revoked in the secondary whenever the primary lacks
    /// them, whatever a listing of the secondary shows: that listing may be one
    /// write old.
    #[serde(with = "pairs", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suspects: BTreeMap<Atom, bool>,
    /// Heartbeats that asked for the look at their table: when the newest one of each
    /// channel was sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beats: BTreeMap<Channel, Timestamp>,
}

/// Every facet of a table.
pub const WHOLE_TABLE: [Facet; 9] = [
    Facet::Definition,
    Facet::Partitions,
    Facet::Grants,
    Facet::Indexes,
    Facet::Statistics,
    Facet::Tags,
    Facet::Filters,
    Facet::Assigned,
    Facet::OptIns,
];
/// A table itself, without what it holds. All the rest is read too where it is new.
pub const TABLE_ITSELF: [Facet; 2] = [Facet::Definition, Facet::Grants];
/// A database itself, without its tables.
pub const DATABASE_ITSELF: [Facet; 2] = [Facet::Definition, Facet::Grants];
/// A database and every table in it.
pub const WHOLE_DATABASE: [Facet; 6] = [
    Facet::Definition,
    Facet::Grants,
    Facet::Contents,
    Facet::Tags,
    Facet::Assigned,
    Facet::OptIns,
];

impl Scope {
    /// The whole catalog.
    #[must_use]
    pub fn catalog() -> Self {
        let mut scope = Self::default();
        scope.look(Subject::Catalog, Look::at(&WHOLE_DATABASE));
        scope
    }

    /// What Lake Formation keeps for the catalog as a whole.
    #[must_use]
    pub fn lake() -> Self {
        let mut scope = Self::default();
        for lake in Lake::EVERY {
            scope.look(Subject::Lake(lake), Look::at(lake.facets()));
        }
        scope
    }

    /// LF-Tags, expressions, registrations and settings, to which this look only adds:
    /// what goes, goes when the grants on it are looked at.
    #[must_use]
    pub fn lake_items() -> Self {
        let mut scope = Self::default();
        for lake in [
            Lake::Tags,
            Lake::Expressions,
            Lake::Locations,
            Lake::Settings,
        ] {
            scope.look(Subject::Lake(lake), Look::at(&[Facet::Items]));
        }
        scope
    }

    /// A database with everything in it.
    #[must_use]
    pub fn database(name: Name) -> Self {
        let mut scope = Self::default();
        scope.look(Subject::Database(name), Look::at(&WHOLE_DATABASE));
        scope
    }

    /// A table with everything that belongs to it.
    #[must_use]
    pub fn table(id: TableId) -> Self {
        let mut scope = Self::default();
        scope.look(Subject::Table(id), Look::at(&WHOLE_TABLE));
        scope
    }

    /// Adds a look, merged with what is already looked at there.
    pub fn look(&mut self, subject: Subject, look: Look) {
        self.looks.entry(subject).or_default().absorb(&look);
    }

    /// Takes another scope in: the union of both.
    pub fn absorb(&mut self, other: Self) {
        for (subject, look) in other.looks {
            self.look(subject, look);
        }
        for (atom, grant_option) in other.suspects {
            *self.suspects.entry(atom).or_default() |= grant_option;
        }
        for (channel, sent) in other.beats {
            let known = self.beats.entry(channel).or_default();
            *known = sent.max(*known);
        }
    }

    /// Takes the scope apart into one for each subject; a suspect goes with the
    /// subject that it is on.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        let homes: Vec<Subject> = self.looks.keys().cloned().collect();
        // Its own subject, else the database that it lies in, else everything.
        let home = |atom: &Atom| {
            let parent = atom.resource.database().cloned().map(Subject::Database);
            [Some(subject_of(atom)), parent, Some(Subject::Catalog)]
                .into_iter()
                .flatten()
                .find(|home| homes.contains(home))
        };
        for (subject, look) in self.looks {
            let suspects = self
                .suspects
                .iter()
                .filter(|(atom, _)| home(atom).as_ref() == Some(&subject))
                .map(|(atom, option)| (atom.clone(), *option))
                .collect();
            let beats = match &subject {
                Subject::Table(id) if heartbeat::is_table(id) => self.beats.clone(),
                Subject::Catalog
                | Subject::Lake(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_) => BTreeMap::new(),
            };
            parts.push(Self {
                looks: BTreeMap::from([(subject, look)]),
                suspects,
                beats,
            });
        }
        parts
    }

    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.looks.is_empty()
    }
}

/// The subject that a grant belongs to.
#[must_use]
pub fn subject_of(atom: &Atom) -> Subject {
    match &atom.resource {
        Resource::Database(name) | Resource::AllTables(name) => Subject::Database(name.clone()),
        Resource::Table(id)
        | Resource::Column(id, _)
        | Resource::ColumnsExcept(id, _)
        | Resource::Filter(id, _) => Subject::Table(id.clone()),
        Resource::Catalog | Resource::TagPolicy { .. } => Subject::Lake(Lake::Permissions),
        Resource::Location(_) => Subject::Lake(Lake::Locations),
        Resource::Tag { .. } => Subject::Lake(Lake::Tags),
        Resource::Expression(_) => Subject::Lake(Lake::Expressions),
    }
}

/// The subject that a listed resource belongs to.
#[must_use]
pub fn home_of(resource: &EntryResource) -> Option<Subject> {
    Some(match resource {
        EntryResource::Database(name) | EntryResource::TableWildcard(name) => {
            Subject::Database(name.clone())
        }
        EntryResource::Table(id)
        | EntryResource::Columns(id, _)
        | EntryResource::ColumnWildcard(id, _)
        | EntryResource::Filter(id, _) => Subject::Table(id.clone()),
        EntryResource::Catalog | EntryResource::TagPolicy(..) => Subject::Lake(Lake::Permissions),
        EntryResource::Location(_) => Subject::Lake(Lake::Locations),
        EntryResource::Tag(..) => Subject::Lake(Lake::Tags),
        EntryResource::Expression(_) => Subject::Lake(Lake::Expressions),
        EntryResource::Other(_) => return None,
    })
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.looks.keys().take(4).map(Subject::to_string).collect();
        f.write_str(&names.join(", "))?;
        match self.looks.len().saturating_sub(4) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Maps whose keys are no strings, in JSON: a list of pairs.
pub mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    /// Writes the map as a list of pairs, in the order of its keys.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    /// Reads a list of pairs; of two with one key the later one counts.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Permission, Principal, Resource};

    fn table(name: &str) -> TableId {
        TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap())
    }

    #[test]
    fn splitting_keeps_each_suspect_with_its_subject() {
        let mut scope = Scope::table(table("orders"));
        scope.absorb(Scope::table(table("items")));
        let atom = Atom {
            principal: Principal::iam_allowed(),
            resource: Resource::Column(table("orders"), Name::new("ssn").unwrap()),
            permission: Permission::Select,
            condition: None,
        };
        scope.suspects.insert(atom, true);
        let parts = scope.split();
        assert_eq!(parts.len(), 2);
        assert!(parts[0].suspects.is_empty(), "items has none");
        assert_eq!(parts[1].suspects.len(), 1);
    }

    #[test]
    fn too_many_values_become_a_look_at_all() {
        let values = |numbers: std::ops::Range<usize>| -> BTreeSet<Vec<String>> {
            numbers.map(|n| vec![n.to_string()]).collect()
        };
        let mut scope = Scope::default();
        let subject = Subject::Table(table("orders"));
        scope.look(subject.clone(), Look::at_values(values(0..600), false));
        assert_eq!(scope.looks[&subject].facets, [Facet::Definition].into());
        scope.look(subject.clone(), Look::at_values(values(600..1001), true));
        let look = &scope.looks[&subject];
        assert_eq!(look.facets, [Facet::Definition, Facet::Partitions].into());
        assert!(look.values.is_empty() && look.partition_deletion_named);
    }

    #[test]
    fn a_scope_survives_the_queue() {
        let mut scope = Scope::table(table("orders"));
        scope.absorb(Scope::database(Name::new("sales").unwrap()));
        let json = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    }
}
