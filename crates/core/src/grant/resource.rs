//! Resources of grants.

use crate::name::{Name, TableId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// LF-Tag keys, each with its values. A resource matches if, for every key, it has one of the
/// values.
pub type LfTagExpression = BTreeMap<String, BTreeSet<String>>;

/// The resource type of an LF-Tag policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LfTagPolicyTarget {
    /// `DATABASE`.
    Database,
    /// `TABLE`: tables and their columns.
    Table,
}

impl LfTagPolicyTarget {
    /// AWS's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "DATABASE",
            Self::Table => "TABLE",
        }
    }

    /// Parses AWS's spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Database, Self::Table]
            .into_iter()
            .find(|target| target.as_str() == text)
    }
}

/// The LF-Tag expression of an LF-Tag policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LfTagPolicy {
    /// `Expression`: the policy's own expression.
    Expression(LfTagExpression),
    /// `ExpressionName`: a named expression.
    NamedExpression(String),
}

impl fmt::Display for LfTagPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression(expression) => f.write_str(&to_text(expression)),
            Self::NamedExpression(name) => write!(f, "expression {name}"),
        }
    }
}

/// Formats an expression for display: `a=x|y and b=z`.
fn to_text(expression: &LfTagExpression) -> String {
    let parts = expression.iter().map(|(key, values)| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        format!("{key}={}", values.join("|"))
    });
    parts.collect::<Vec<_>>().join(" and ")
}

/// The resource of a grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A database.
    Database(Name),
    /// All tables of a database, including future ones.
    AllTables(Name),
    /// A table with all its columns.
    Table(TableId),
    /// One column of a table.
    Column(TableId, Name),
    /// All columns of a table except these. The set is never empty: without exclusions, the
    /// resource is the table.
    ColumnsExcept(TableId, BTreeSet<Name>),
    /// A data cells filter of a table, by name.
    DataCellsFilter(TableId, String),
    /// The catalog.
    Catalog,
    /// A data location in S3, by its ARN without a trailing slash.
    DataLocation(String),
    /// One value of an LF-Tag.
    LfTag {
        /// The key, in lower case.
        key: String,
        /// The value, in lower case; `*` is every value.
        value: String,
    },
    /// All resources of one type with certain LF-Tags.
    LfTagPolicy {
        /// The resource type.
        target: LfTagPolicyTarget,
        /// The expression that the resources' tags must match.
        policy: LfTagPolicy,
    },
    /// A named LF-Tag expression itself, by name.
    LfTagExpression(String),
}

impl Resource {
    /// The database that the resource is or belongs to, if any.
    #[must_use]
    pub fn database(&self) -> Option<&Name> {
        match self {
            Self::Database(name) | Self::AllTables(name) => Some(name),
            Self::Table(id)
            | Self::Column(id, _)
            | Self::ColumnsExcept(id, _)
            | Self::DataCellsFilter(id, _) => Some(&id.database),
            Self::Catalog
            | Self::DataLocation(_)
            | Self::LfTag { .. }
            | Self::LfTagPolicy { .. }
            | Self::LfTagExpression(_) => None,
        }
    }

    /// The table that the resource is or belongs to, if any.
    #[must_use]
    pub fn table(&self) -> Option<&TableId> {
        match self {
            Self::Table(id)
            | Self::Column(id, _)
            | Self::ColumnsExcept(id, _)
            | Self::DataCellsFilter(id, _) => Some(id),
            Self::Database(_)
            | Self::AllTables(_)
            | Self::Catalog
            | Self::DataLocation(_)
            | Self::LfTag { .. }
            | Self::LfTagPolicy { .. }
            | Self::LfTagExpression(_) => None,
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
                write!(f, "all columns except {} of {id}", names.join(", "))
            }
            Self::DataCellsFilter(id, name) => write!(f, "data cells filter {name} of {id}"),
            Self::Catalog => f.write_str("the catalog"),
            Self::DataLocation(arn) => write!(f, "data location {arn}"),
            Self::LfTag { key, value } => write!(f, "LF-Tag {key}={value}"),
            Self::LfTagPolicy { target, policy } => {
                let resources = match target {
                    LfTagPolicyTarget::Database => "databases",
                    LfTagPolicyTarget::Table => "tables",
                };
                write!(f, "{resources} with {policy}")
            }
            Self::LfTagExpression(name) => write!(f, "LF-Tag expression {name}"),
        }
    }
}
