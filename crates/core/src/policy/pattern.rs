//! Include and exclude patterns over databases and tables.
//!
//! A name may contain the characters that a pattern gives a meaning: dots, `*`, `?`, `[`, `{` and
//! quotation marks (F-8). So a pattern may have several readings. One of `exclude` applies in each
//! of them, and one of `include` is refused unless it has a single reading: a policy never
//! replicates what a person meant to exclude.

use crate::name::notation::{self, NotationError, Parts};
use crate::name::{Name, TableId};
use globset::{Glob, GlobMatcher};

/// Which databases and tables are replicated.
///
/// A pattern without a dot is for databases and takes all their tables with it; one with a dot,
/// `database.table`, is for tables. A part with dots stands in quotation marks: `"fin.hr"`. `*`,
/// `?` and `[...]` match as in a shell, on lower-cased names. What is excluded is excluded,
/// whatever else includes it.
#[derive(Clone, Debug)]
pub struct Patterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

/// A pattern with its readings.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    readings: Vec<Reading>,
}

/// One reading of a pattern: databases, or tables of databases.
#[derive(Clone, Debug)]
struct Reading {
    database: PartPattern,
    table: Option<PartPattern>,
}

/// A pattern for one name.
#[derive(Clone, Debug)]
struct PartPattern {
    glob: GlobMatcher,
    /// A name that matches whatever the glob says: the text of the part.
    literal: Option<String>,
}

impl PartPattern {
    fn new(text: &str, is_literal_too: bool) -> Result<Self, String> {
        let glob = Glob::new(text);
        let glob = glob.map_err(|e| format!("this is no pattern: {}", e.kind()))?;
        Ok(Self {
            glob: glob.compile_matcher(),
            literal: is_literal_too.then(|| text.to_owned()),
        })
    }

    fn is_match(&self, name: &Name) -> bool {
        let name = name.as_str();
        self.glob.is_match(name) || self.literal.as_deref() == Some(name)
    }
}

impl Reading {
    fn new((database, table): &Parts, is_literal_too: bool) -> Result<Self, String> {
        let part = |text: &String| PartPattern::new(text, is_literal_too);
        Ok(Self {
            database: part(database)?,
            table: table.as_ref().map(part).transpose()?,
        })
    }

    fn matches_whole_database(&self, name: &Name) -> bool {
        self.table.is_none() && self.database.is_match(name)
    }

    fn matches_table(&self, id: &TableId) -> bool {
        let table = self.table.as_ref();
        self.database.is_match(&id.database) && table.is_none_or(|glob| glob.is_match(&id.table))
    }
}

impl Pattern {
    /// Parses a pattern of `include`. A pattern without quotation marks is split at its only dot.
    ///
    /// # Errors
    /// What is wrong with it, or that it has several readings.
    pub(super) fn parse_include(text: &str) -> Result<Self, String> {
        let text = text.to_lowercase();
        let parts = notation::parts(&text).map_err(|e| problem(&e))?;
        let glob_parts = [Some(&parts.0), parts.1.as_ref()];
        if glob_parts
            .into_iter()
            .flatten()
            .any(|part| has_unclear_glob(part))
        {
            let problem = "`{`, `}` and `\\` have no meaning in a pattern; write the characters \
                           as `[{]`, `[}]` and `[\\]`";
            return Err(problem.to_owned());
        }
        Ok(Self {
            readings: vec![Reading::new(&parts, false)?],
            text,
        })
    }

    /// Parses a pattern of `exclude`. A pattern without quotation marks has a reading for each of
    /// its dots, and one as a database whose name contains them. Each reading also takes the name
    /// that equals its text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse_exclude(text: &str) -> Result<Self, String> {
        let text = text.to_lowercase();
        let readings = notation::readings(&text).map_err(|e| problem(&e))?;
        let readings = readings.iter().map(|parts| Reading::new(parts, true));
        Ok(Self {
            readings: readings.collect::<Result<_, _>>()?,
            text,
        })
    }

    fn names_database(&self, name: &Name) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|reading| reading.database.is_match(name))
    }

    fn matches_whole_database(&self, name: &Name) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|reading| reading.matches_whole_database(name))
    }

    fn matches_table(&self, id: &TableId) -> bool {
        self.readings
            .iter()
            .any(|reading| reading.matches_table(id))
    }
}

fn problem(error: &NotationError) -> String {
    format!("this pattern is not clear: {error}")
}

/// Whether a part has a character that globs give a meaning which patterns do not have: outside of
/// `[...]`, braces and the backslash.
fn has_unclear_glob(part: &str) -> bool {
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' | '\\' => return true,
            '[' => {
                // A class ends at the first `]` after its first character.
                let mut first = chars.next();
                if matches!(first, Some('!' | '^')) {
                    first = chars.next();
                }
                if first.is_some() {
                    let _ = chars.by_ref().find(|c| *c == ']');
                }
            }
            _ => {}
        }
    }
    false
}

impl Patterns {
    pub(super) fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude }
    }

    pub(super) fn texts(&self) -> (Vec<&str>, Vec<&str>) {
        (
            self.include.iter().map(|p| p.text.as_str()).collect(),
            self.exclude.iter().map(|p| p.text.as_str()).collect(),
        )
    }

    pub(super) fn covers_database(&self, name: &Name) -> bool {
        let named = |p: &Pattern| p.names_database(name);
        let whole = |p: &Pattern| p.matches_whole_database(name);
        self.include.iter().any(named) && !self.exclude.iter().any(whole)
    }

    pub(super) fn covers_table(&self, id: &TableId) -> bool {
        let takes = |p: &Pattern| p.matches_table(id);
        self.include.iter().any(takes) && !self.exclude.iter().any(takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        Patterns::new(
            include
                .iter()
                .map(|text| Pattern::parse_include(text).unwrap())
                .collect(),
            exclude
                .iter()
                .map(|text| Pattern::parse_exclude(text).unwrap())
                .collect(),
        )
    }

    fn covers_database(patterns: &Patterns, name: &str) -> bool {
        patterns.covers_database(&Name::new(name).unwrap())
    }

    fn covers_table(patterns: &Patterns, database: &str, table: &str) -> bool {
        let id = TableId::new(Name::new(database).unwrap(), Name::new(table).unwrap());
        patterns.covers_table(&id)
    }

    #[test]
    fn an_excluded_name_with_dots_is_excluded_in_every_reading() {
        let dotted = patterns(&["*"], &["fin.hr", "Tempdb-Test$21.*", "a.b.c"]);
        let excluded_databases = ["fin.hr", "FIN.HR", "tempdb-test$21.x", "a.b.c"];
        for database in excluded_databases {
            assert!(!covers_database(&dotted, database), "{database}");
            assert!(!covers_table(&dotted, database, "pay"), "{database}");
        }
        for (database, table) in [
            ("fin", "hr"),
            ("tempdb-test$21", "x"),
            ("a", "b.c"),
            ("a.b", "c"),
        ] {
            assert!(
                !covers_table(&dotted, database, table),
                "{database} {table}"
            );
            assert!(covers_database(&dotted, database), "{database}");
        }
        assert!(covers_table(&dotted, "fin", "hr.pay"));
        assert!(covers_table(&dotted, "finxhr", "pay"));
    }

    #[test]
    fn quotation_marks_leave_one_reading() {
        let quoted = patterns(&["\"fin.hr\".pay*", "sales"], &["\"a.b\"", "\"c.d\".e"]);
        assert!(covers_table(&quoted, "fin.hr", "pay_2026"));
        assert!(!covers_table(&quoted, "fin.hr", "staff"));
        assert!(!covers_database(&quoted, "fin"));
        let all = patterns(&["*"], &["\"a.b\"", "\"c.d\".e"]);
        assert!(!covers_database(&all, "a.b"));
        assert!(covers_table(&all, "a", "b"));
        assert!(!covers_table(&all, "c.d", "e"));
        assert!(covers_table(&all, "c", "d.e"));
    }

    #[test]
    fn an_excluded_name_with_special_characters_is_excluded_literally_too() {
        let names = ["data{2}", "logs[1]", "a,b", "we?rd", "back\\slash"];
        for name in names {
            let excluded = patterns(&["*"], &[name]);
            assert!(!covers_database(&excluded, name), "{name}");
        }
        // The glob still applies.
        assert!(!covers_database(&patterns(&["*"], &["logs[1]"]), "logs1"));
    }

    #[test]
    fn an_included_pattern_with_several_readings_is_refused() {
        for text in ["a.b.c", "data{1,2}", "back\\slash", "a\"b", "\"a", ".x", ""] {
            assert!(Pattern::parse_include(text).is_err(), "{text}");
        }
        for text in [
            "a.b",
            "*.tmp_*",
            "[{]x[}]",
            "[]{]",
            "\"a.b.c\"",
            "\"a.b\".c",
        ] {
            assert!(Pattern::parse_include(text).is_ok(), "{text}");
        }
        let error = Pattern::parse_include("a.b.c").unwrap_err();
        assert!(error.contains("\"a.b\".c"), "{error}");
    }
}
