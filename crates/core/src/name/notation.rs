//! The notation of databases and tables in policies, on the command line and in messages:
//! `DATABASE` or `DATABASE.TABLE`.
//!
//! A name may contain dots (F-8). A part with a dot or a quotation mark stands in quotation marks,
//! and a quotation mark in it is doubled: `"fin.hr"`, `"fin.hr".pay`, `sales."a ""b"""`.

use super::{Name, NameError, TableId};
use std::borrow::Cow;
use std::fmt;

/// A database or a table, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    /// A database.
    Database(Name),
    /// A table.
    Table(TableId),
}

/// Why a text names no database and no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// The text, or a part of it, is empty.
    #[error("a part is empty; put a name that starts or ends with a dot in quotation marks")]
    Empty,
    /// A quotation mark is not closed, or stands inside a part without quotation marks.
    #[error(
        "a quotation mark is not closed or stands inside a part; put the whole part in quotation \
         marks and double those inside it"
    )]
    Quotes,
    /// The text has more than two parts.
    #[error("it has more than two parts; put each name that contains a dot in quotation marks")]
    TooManyParts,
    /// The text has several dots and no quotation marks; the spellings of its readings.
    #[error("it can be read as {0}; put each name that contains a dot in quotation marks")]
    Ambiguous(String),
    /// A part is not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A text taken apart: the database, and the table if it names one.
pub(crate) type Parts = (String, Option<String>);

impl ObjectName {
    /// Parses `DATABASE` or `DATABASE.TABLE`. Without quotation marks, the one dot separates the
    /// database from the table.
    ///
    /// # Errors
    /// The text has no single reading, or a part is not a valid name.
    pub fn parse(text: &str) -> Result<Self, NotationError> {
        let (database, table) = parts(text)?;
        let database = Name::new(&database)?;
        Ok(match table {
            Some(table) => Self::Table(TableId::new(database, Name::new(&table)?)),
            None => Self::Database(database),
        })
    }

    /// The database that is named, or that contains the named table.
    #[must_use]
    pub fn database(&self) -> &Name {
        match self {
            Self::Database(name) => name,
            Self::Table(id) => &id.database,
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => f.write_str(&dotted([name.as_str()])),
            Self::Table(id) => id.fmt(f),
        }
    }
}

/// Joins names by dots. Different lists give different texts, because a name with a dot or a
/// quotation mark is put in quotation marks.
#[must_use]
pub fn dotted<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let spelled: Vec<Cow<'n, str>> = names.into_iter().map(spelled).collect();
    spelled.join(".")
}

fn spelled(name: &str) -> Cow<'_, str> {
    match name.contains(['.', '"']) {
        true => Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))),
        false => Cow::Borrowed(name),
    }
}

/// Takes a text apart that has one reading.
///
/// # Errors
/// The text has no reading, or several.
pub(crate) fn parts(text: &str) -> Result<Parts, NotationError> {
    let readings = readings(text)?;
    // Without quotation marks the last reading is that of one name with dots.
    match readings.as_slice() {
        [only] | [only, _] => Ok(only.clone()),
        several => {
            let spellings: Vec<String> = several.iter().map(spelling).collect();
            Err(NotationError::Ambiguous(spellings.join(" or ")))
        }
    }
}

/// Takes a text apart in every way: a text with quotation marks in one way; any other at each of
/// its dots, and not at all.
///
/// # Errors
/// A part is empty, or the quotation marks are misplaced.
pub(crate) fn readings(text: &str) -> Result<Vec<Parts>, NotationError> {
    if text.contains('"') {
        return quoted_parts(text).map(|parts| vec![parts]);
    }
    if text.is_empty() || text.starts_with('.') || text.ends_with('.') {
        return Err(NotationError::Empty);
    }
    let at_each_dot = text.match_indices('.').filter_map(|(at, _)| {
        let (database, rest) = text.split_at_checked(at)?;
        let table = rest.strip_prefix('.')?;
        Some((database.to_owned(), Some(table.to_owned())))
    });
    let undivided = (text.to_owned(), None);
    Ok(at_each_dot.chain([undivided]).collect())
}

fn spelling((database, table): &Parts) -> String {
    dotted([database.as_str()].into_iter().chain(table.as_deref()))
}

fn quoted_parts(text: &str) -> Result<Parts, NotationError> {
    let (database, rest) = take_part(text)?;
    let Some(rest) = rest else {
        return Ok((database, None));
    };
    match take_part(rest)? {
        (table, None) => Ok((database, Some(table))),
        (_, Some(_)) => Err(NotationError::TooManyParts),
    }
}

/// Takes the first part off a text. Returns it with what follows the dot after it, if there is one.
fn take_part(text: &str) -> Result<(String, Option<&str>), NotationError> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (part, rest) = match text.split_once('.') {
            Some((part, rest)) => (part, Some(rest)),
            None => (text, None),
        };
        return match part {
            "" => Err(NotationError::Empty),
            part if part.contains('"') => Err(NotationError::Quotes),
            part => Ok((part.to_owned(), rest)),
        };
    };
    let mut part = String::new();
    loop {
        let (head, tail) = rest.split_once('"').ok_or(NotationError::Quotes)?;
        part.push_str(head);
        if let Some(tail) = tail.strip_prefix('"') {
            part.push('"');
            rest = tail;
            continue;
        }
        return match (part.is_empty(), tail.is_empty(), tail.strip_prefix('.')) {
            (true, _, _) => Err(NotationError::Empty),
            (false, true, _) => Ok((part, None)),
            (false, false, Some(tail)) => Ok((part, Some(tail))),
            (false, false, None) => Err(NotationError::Quotes),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_dot_inside_quotation_marks_separates_nothing() {
        let table = |database, table| ObjectName::Table(TableId::new(name(database), name(table)));
        let cases = [
            ("sales", ObjectName::Database(name("sales"))),
            ("sales.orders", table("sales", "orders")),
            ("\"fin.hr\"", ObjectName::Database(name("fin.hr"))),
            ("\"fin.hr\".pay", table("fin.hr", "pay")),
            ("fin.\"hr.pay\"", table("fin", "hr.pay")),
            ("\"a.b\".\"c.\"\"d\"", table("a.b", "c.\"d")),
            ("\"sales\".\"orders\"", table("sales", "orders")),
        ];
        for (text, expected) in cases {
            assert_eq!(ObjectName::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_text_with_several_readings_is_refused_with_their_spellings() {
        let error = ObjectName::parse("fin.hr.pay").unwrap_err().to_string();
        assert!(
            error.starts_with(
                "it can be read as fin.\"hr.pay\" or \"fin.hr\".pay or \"fin.hr.pay\";"
            ),
            "{error}"
        );
    }

    #[test]
    fn misplaced_dots_and_quotation_marks_are_refused() {
        use NotationError::{Empty, Quotes, TooManyParts};
        let cases = [
            ("", Empty),
            (".x", Empty),
            ("x.", Empty),
            ("\"\"", Empty),
            ("\"a\".", Empty),
            ("\"a", Quotes),
            ("a\"b", Quotes),
            ("\"a\"b", Quotes),
            ("\"a\".b.c", TooManyParts),
        ];
        for (text, expected) in cases {
            assert_eq!(ObjectName::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn different_tables_have_different_texts_and_each_is_parsed_back() {
        let names = ["a", "a.b", "b", "b.c", "c", "a\"", "\"a\".b", "a b"];
        let mut texts = std::collections::BTreeSet::new();
        for database in names {
            for table in names {
                let id = TableId::new(name(database), name(table));
                assert!(texts.insert(id.to_string()), "{id}");
                assert_eq!(
                    ObjectName::parse(&id.to_string()),
                    Ok(ObjectName::Table(id.clone()))
                );
            }
            let one = ObjectName::Database(name(database));
            assert!(texts.insert(one.to_string()), "{one}");
            assert_eq!(ObjectName::parse(&one.to_string()), Ok(one));
        }
    }
}
