//! Permissions of grants.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The permissions that are replicated. Any other permission is reported as unsupported
/// (LF-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// `ALL`, "Super" in the console. Compared literally: it is one more permission beside the
    /// others, and does not imply them.
    All,
    /// `ALTER`.
    Alter,
    /// `ASSOCIATE`, on LF-Tags: to assign them.
    Associate,
    /// `CREATE_CATALOG`, on the catalog.
    CreateCatalog,
    /// `CREATE_DATABASE`, on the catalog.
    CreateDatabase,
    /// `CREATE_LF_TAG`, on the catalog.
    CreateLfTag,
    /// `CREATE_LF_TAG_EXPRESSION`, on the catalog.
    CreateLfTagExpression,
    /// `CREATE_TABLE`, on databases.
    CreateTable,
    /// `DATA_LOCATION_ACCESS`, on data locations.
    DataLocationAccess,
    /// `DELETE`.
    Delete,
    /// `DESCRIBE`.
    Describe,
    /// `DROP`.
    Drop,
    /// `EXECUTE`.
    Execute,
    /// `GRANT_WITH_LF_TAG_EXPRESSION`, on LF-Tags and named expressions.
    GrantWithLfTagExpression,
    /// `INSERT`.
    Insert,
    /// `SELECT`.
    Select,
}

impl Permission {
    /// Every permission, in AWS's alphabetical order.
    pub const EVERY: [Self; 16] = [
        Self::All,
        Self::Alter,
        Self::Associate,
        Self::CreateCatalog,
        Self::CreateDatabase,
        Self::CreateLfTag,
        Self::CreateLfTagExpression,
        Self::CreateTable,
        Self::DataLocationAccess,
        Self::Delete,
        Self::Describe,
        Self::Drop,
        Self::Execute,
        Self::GrantWithLfTagExpression,
        Self::Insert,
        Self::Select,
    ];

    /// AWS's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Alter => "ALTER",
            Self::Associate => "ASSOCIATE",
            Self::CreateCatalog => "CREATE_CATALOG",
            Self::CreateDatabase => "CREATE_DATABASE",
            Self::CreateLfTag => "CREATE_LF_TAG",
            Self::CreateLfTagExpression => "CREATE_LF_TAG_EXPRESSION",
            Self::CreateTable => "CREATE_TABLE",
            Self::DataLocationAccess => "DATA_LOCATION_ACCESS",
            Self::Delete => "DELETE",
            Self::Describe => "DESCRIBE",
            Self::Drop => "DROP",
            Self::Execute => "EXECUTE",
            Self::GrantWithLfTagExpression => "GRANT_WITH_LF_TAG_EXPRESSION",
            Self::Insert => "INSERT",
            Self::Select => "SELECT",
        }
    }

    /// Parses AWS's spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|p| p.as_str() == text)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
