//! What a grant is on.

use crate::name::{Name, TableId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// LF-Tag keys, each with the values of which any will do: a resource matches if it
/// carries one of them for every key.
pub type TagExpression = BTreeMap<String, BTreeSet<String>>;

/// Which resources an LF-Tag policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TagTarget {
    /// `DATABASE`.
    Database,
    /// `TABLE`: tables and their columns.
    Table,
}

impl TagTarget {
    /// AWS's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "DATABASE",
            Self::Table => "TABLE",
        }
    }

    /// Reads AWS's spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Database, Self::Table]
            .into_iter()
            .find(|target| target.as_str() == text)
    }
}

/// How an LF-Tag policy says which tags it means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagRule {
    /// By its own expression.
    Inline(TagExpression),
    /// By a saved expression, by its name.
    Saved(String),
}

impl fmt::Display for TagRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(expression) => f.write_str(&spelled(expression)),
            Self::Saved(name) => write!(f, "expression {name}"),
        }
    }
}

/// An expression as a person reads it: `a=x|y and b=z`.
fn spelled(expression: &TagExpression) -> String {
    let parts = expression.iter().map(|(key, values)| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        format!("{key}={}", values.join("|"))
    });
    parts.collect::<Vec<_>>().join(" and ")
}

/// What a grant is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A database.
    Database(Name),
    /// Every table of a database, present and to come.
    AllTables(Name),
    /// A table with all its columns.
    Table(TableId),
    /// One column of a table.
    Column(TableId, Name),
    /// All columns of a table but these. Never empty: without exclusions it is
    /// the table.
    ColumnsExcept(TableId, BTreeSet<Name>),
    /// A data cells filter of a table, by its name.
    Filter(TableId, String),
    /// The catalog.
    Catalog,
    /// A place in S3, by its ARN without a slash at the end.
    Location(String),
    /// One value of an LF-Tag.
    Tag {
        /// The key, in lower case.
        key: String,
        /// The value, in lower case; `*` for every value.
        value: String,
    },
    /// Whatever carries certain LF-Tags.
    TagPolicy {
        /// Databases, or tables.
        target: TagTarget,
        /// Which tags.
        rule: TagRule,
    },
    /// A saved LF-Tag expression itself, by its name.
    Expression(String),
}

impl Resource {
    /// The database that the resource is or lies in, if it does.
    #[must_use]
    pub fn database(&self) -> Option<&Name> {
        match self {
            Self::Database(name) | Self::AllTables(name) => Some(name),
            Self::Table(id)
            | Self::Column(id, _)
            | Self::ColumnsExcept(id, _)
            | Self::Filter(id, _) => Some(&id.database),
            Self::Catalog
            | Self::Location(_)
            | Self::Tag { .. }
            | Self::TagPolicy { .. }
            | Self::Expression(_) => None,
        }
    }

    /// The table that the resource is or lies in.
    #[must_use]
    pub fn table(&self) -> Option<&TableId> {
        match self {
            Self::Table(id)
            | Self::Column(id, _)
            | Self::ColumnsExcept(id, _)
            | Self::Filter(id, _) => Some(id),
            Self::Database(_)
            | Self::AllTables(_)
            | Self::Catalog
            | Self::Location(_)
            | Self::Tag { .. }
            | Self::TagPolicy { .. }
            | Self::Expression(_) => None,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => write!(f, "database {name}"),
            Self::AllTables(name) => write!(f, "all tables of {name}"),
            Self::Table(id) => write!(f, "table {id}"),
            Self::Column(id, column) => write!(f, "column {column} of {id}"),
            Self::ColumnsExcept(id, excluded) => {
                let names: Vec<&str> = excluded.iter().map(Name::as_str).collect();
                write!(f, "all columns but {} of {id}", names.join(", "))
            }
            Self::Filter(id, name) => write!(f, "data cells filter {name} of {id}"),
            Self::Catalog => f.write_str("the catalog"),
            Self::Location(place) => write!(f, "data location {place}"),
            Self::Tag { key, value } => write!(f, "LF-Tag {key}={value}"),
            Self::TagPolicy { target, rule } => {
                let what = match target {
                    TagTarget::Database => "databases",
                    TagTarget::Table => "tables",
                };
                write!(f, "{what} with {rule}")
            }
            Self::Expression(name) => write!(f, "LF-Tag expression {name}"),
        }
    }
}
