//! Names of databases, tables, functions and columns: carried as the service lists them, compared
//! without case.

pub(crate) mod notation;

pub use notation::{NotationError, ObjectName, dotted};

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The maximum length of a name in Glue, in characters (F-8).
pub const MAX_NAME_CHARS: usize = 255;

/// A database, table, function or column name.
///
/// Spellings that differ only by case are the same name, because Glue stores the names of databases
/// and tables in lower case (GL-05), and keeps the case of columns but compares them without it
/// (F-9). A name that the service lists keeps its spelling, which is what is sent back to AWS.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Name {
    /// The name in lower case. Only this is compared.
    folded: String,
    /// The listed spelling, where it is not in lower case.
    listed: Option<Box<str>>,
}

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty.
    #[error("a name is empty")]
    Empty,
    /// The text has more than 255 characters.
    #[error("a name has {0} characters; the maximum in Glue is {MAX_NAME_CHARS}")]
    TooLong(usize),
    /// The text has a character that Glue's name pattern does not allow.
    #[error("a name contains the character U+{0:04X}, which Glue does not allow")]
    Character(u32),
}

impl Name {
    /// Parses the name of a database, table or function that a person or an event gives, in upper,
    /// lower or mixed case. The result is in lower case, as Glue stores it.
    ///
    /// # Errors
    /// AWS does not admit the name (F-8): it is empty, longer than 255 characters, or contains U+FFFE,
    /// U+FFFF, or a control character below U+0020 that is no tab.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        // Some characters have a longer form in lower case, and Glue stores that.
        let folded = text.to_lowercase();
        let length = text.chars().count().max(folded.chars().count());
        if length > MAX_NAME_CHARS {
            return Err(NameError::TooLong(length));
        }
        match text.chars().find(|c| !is_admitted(*c)) {
            Some(c) => Err(NameError::Character(u32::from(c))),
            None => Ok(Self {
                folded,
                listed: None,
            }),
        }
    }

    /// Takes over a name that the service lists, whatever it is, with its spelling.
    ///
    /// A conversion of a listing has no reason to leave an element out: a name that AWS does not
    /// admit is refused by AWS where it is sent, and only the object of that name fails.
    #[must_use]
    pub fn from_service(text: &str) -> Self {
        let folded = text.to_lowercase();
        let listed = (folded != text).then(|| text.into());
        Self { folded, listed }
    }

    /// Returns the name in lower case, for comparisons and keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.folded
    }

    /// Returns the name as the service lists it, for requests to AWS.
    #[must_use]
    pub fn as_listed(&self) -> &str {
        self.listed.as_deref().unwrap_or(&self.folded)
    }

    /// Returns the top-level column, in lower case, of a nested column in the qualified form of
    /// data cells filters, as in `"address"."zip"` (F-6). A name without quotation marks
    /// ends at its first dot.
    #[must_use]
    pub fn root_column(&self) -> &str {
        let root = match self.folded.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"'),
            None => self.folded.split_once('.'),
        };
        root.map_or(self.as_str(), |(root, _)| root)
    }

    /// Returns the segments, in lower case, of a nested column in either form of data cells filters:
    /// `"address"."zip"` (F-6) or `address.zip`. Any other name is one segment.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        let quoted = self.folded.strip_prefix('"');
        match quoted.and_then(|quoted| quoted.strip_suffix('"')) {
            Some(quoted) => quoted.split("\".\"").collect(),
            None => self.folded.split('.').collect(),
        }
    }

    /// Whether this is one of the columns, or nested in one of them. The columns are in lower case.
    #[must_use]
    pub fn is_in_columns(&self, columns: &BTreeSet<String>) -> bool {
        columns.contains(&self.folded) || columns.contains(self.root_column())
    }

    /// Whether this is nested in the column, which is in lower case. A column is not nested in
    /// itself.
    #[must_use]
    pub fn is_nested_in(&self, column: &str) -> bool {
        self.folded != column && self.root_column() == column
    }
}

/// Whether AWS's pattern for names admits a character (F-8).
fn is_admitted(c: char) -> bool {
    c == '\t' || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded.cmp(&other.folded)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::from_service(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.listed.map_or(name.folded, Self::from)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.folded)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_listed())
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
        f.write_str(&dotted([self.database.as_str(), self.table.as_str()]))
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
        f.write_str(&dotted([self.database.as_str(), self.function.as_str()]))
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
        // U+0130 has two characters in lower case.
        assert_eq!(
            Name::new(&"\u{130}".repeat(128)),
            Err(NameError::TooLong(256))
        );
        assert_eq!(Name::new("a\u{1b}[31m"), Err(NameError::Character(0x1b)));
        assert_eq!(Name::new("a\u{ffff}"), Err(NameError::Character(0xffff)));
    }

    #[test]
    fn every_name_that_aws_admits_is_a_name() {
        let admitted = [
            "salary \u{e2}\u{80}\u{93} gross",
            "a.b/c",
            "\t",
            "\u{7f}",
            "\u{202e}\u{10ffff}",
            &"\u{1f600}".repeat(255),
        ];
        for text in admitted {
            assert_eq!(Name::new(text), Ok(Name::from_service(text)), "{text:?}");
        }
    }

    #[test]
    fn a_listed_name_keeps_its_spelling_and_is_compared_without_case() {
        for text in ["userId", "USERID", "", "a\u{0}b", "\"Address\".\"Zip\""] {
            let name = Name::from_service(text);
            assert_eq!(name.as_listed(), text);
            assert_eq!(name.as_str(), text.to_lowercase());
            assert_eq!(name, Name::from_service(&text.to_uppercase()));
            let json = serde_json::to_string(&name).unwrap();
            let read: Name = serde_json::from_str(&json).unwrap();
            assert_eq!(read.as_listed(), text);
        }
        assert_eq!(Name::new("userId").unwrap().as_listed(), "userid");
    }

    #[test]
    fn a_nested_column_belongs_to_its_top_level_column() {
        let columns = BTreeSet::from(["address".to_owned(), "a.b".to_owned()]);
        let named = |text: &str| Name::from_service(text);
        for known in [
            "Address",
            "\"Address\".\"zip\"",
            "\"address\".\"geo\".\"lat\"",
            "address.zip",
            "a.b",
        ] {
            assert!(named(known).is_in_columns(&columns), "{known}");
        }
        for unknown in ["\"addresses\".\"zip\"", "\"zip\"", "a.c", "", "\""] {
            assert!(!named(unknown).is_in_columns(&columns), "{unknown}");
        }
        assert_eq!(named("\"A\".\"b.c\"").segments(), ["a", "b.c"]);
        assert_eq!(named("a.zip").segments(), ["a", "zip"]);
        assert_eq!(named("\"").segments(), ["\""]);
        assert!(named("\"address\".\"zip\"").is_nested_in("address"));
        assert!(!named("address").is_nested_in("address"));
        assert!(!named("a.b").is_nested_in("a.b"));
    }
}
