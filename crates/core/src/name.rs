//! Names of databases, tables and columns, lower-cased once.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name that Glue accepts, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// A database, table or column name, as Glue keeps it: lower case (GL-05).
///
/// Two spellings that differ by case are one name. Constructing is the only
/// place where the case is folded, so comparing names elsewhere is plain `==`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty.
    #[error("a name is empty")]
    Empty,
    /// Glue takes 255 bytes at most.
    #[error("a name has {0} bytes, and Glue takes {MAX_NAME_BYTES} at most")]
    TooLong(usize),
    /// Glue's name pattern admits no control character.
    #[error("a name holds the control character U+{0:04X}")]
    Control(u32),
}

impl Name {
    /// Reads a name in any spelling.
    ///
    /// # Errors
    /// The text is empty, longer than 255 bytes, or holds a control character.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let lower = text.to_lowercase();
        if lower.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(lower.len()));
        }
        match lower.chars().find(|c| c.is_control() && *c != '\t') {
            Some(c) => Err(NameError::Control(u32::from(c))),
            None => Ok(Self(lower)),
        }
    }

    /// The name as it is sent to AWS.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A table within its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId {
    /// The database that holds the table.
    pub database: Name,
    /// The table's own name.
    pub table: Name,
}

impl TableId {
    /// A table's identity from its two names.
    #[must_use]
    pub fn new(database: Name, table: Name) -> Self {
        Self { database, table }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// A user-defined function within its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionId {
    /// The database that holds the function.
    pub database: Name,
    /// The function's own name.
    pub function: Name,
}

impl FunctionId {
    /// A function's identity from its two names.
    #[must_use]
    pub fn new(database: Name, function: Name) -> Self {
        Self { database, function }
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_differ_by_case_are_one_name() {
        assert_eq!(Name::new("Sales"), Name::new("sALES"));
    }

    #[test]
    fn what_glue_refuses_is_refused_with_the_reason() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(256)), Err(NameError::TooLong(256)));
        assert!(Name::new(&"x".repeat(255)).is_ok());
        assert_eq!(Name::new("a\u{1b}[31m"), Err(NameError::Control(0x1b)));
    }

    #[test]
    fn a_name_from_json_is_lowered_and_checked_too() {
        let name: Name = serde_json::from_str("\"Orders\"").unwrap();
        assert_eq!(name.as_str(), "orders");
        assert!(serde_json::from_str::<Name>("\"a\\u0000b\"").is_err());
    }
}
