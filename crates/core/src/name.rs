//! Names of databases, tables and columns, converted to lower case in one place.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The maximum length of a name in Glue, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// A database, table or column name, in lower case as Glue stores it (GL-05).
///
/// Spellings that differ only by case are the same name. The constructor converts to lower case, so
/// all other code compares names with `==`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty.
    #[error("a name is empty")]
    Empty,
    /// The text has more than 255 bytes.
    #[error("a name has {0} bytes; the maximum in Glue is {MAX_NAME_BYTES}")]
    TooLong(usize),
    /// The text has a control character, which Glue's name pattern does not allow.
    #[error("a name contains the control character U+{0:04X}")]
    Control(u32),
}

impl Name {
    /// Parses a name in upper, lower or mixed case.
    ///
    /// # Errors
    /// The text is empty, longer than 255 bytes, or contains a control character.
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

    /// Returns the name as sent to AWS.
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

/// A table, identified by its database and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId {
    /// The database that contains the table.
    pub database: Name,
    /// The table's name.
    pub table: Name,
}

impl TableId {
    /// Creates the identifier of a table.
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

/// A user-defined function, identified by its database and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionId {
    /// The database that contains the function.
    pub database: Name,
    /// The function's name.
    pub function: Name,
}

impl FunctionId {
    /// Creates the identifier of a function.
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
    fn spellings_that_differ_by_case_are_the_same_name() {
        assert_eq!(Name::new("Sales"), Name::new("sALES"));
    }

    #[test]
    fn a_name_that_glue_rejects_is_an_error_with_the_reason() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(256)), Err(NameError::TooLong(256)));
        assert!(Name::new(&"x".repeat(255)).is_ok());
        assert_eq!(Name::new("a\u{1b}[31m"), Err(NameError::Control(0x1b)));
    }

    #[test]
    fn a_name_from_json_is_lower_cased_and_validated() {
        let name: Name = serde_json::from_str("\"Orders\"").unwrap();
        assert_eq!(name.as_str(), "orders");
        assert!(serde_json::from_str::<Name>("\"a\\u0000b\"").is_err());
    }
}
