//! Include and exclude patterns over databases and tables.

use crate::name::{Name, TableId};
use globset::{Glob, GlobMatcher};

/// Which databases and tables are replicated.
///
/// A pattern without a dot is for databases and takes all their tables with it;
/// one with a dot, `database.table`, is for tables. `*`, `?` and `[...]` match as
/// in a shell, on lower-cased names. What is excluded is excluded, whatever else
/// includes it.
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

#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    database: GlobMatcher,
    table: Option<GlobMatcher>,
}

impl Pattern {
    /// Reads one pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let glob = |part: &str| {
            if part.is_empty() {
                return Err("a pattern, or a part of one, is empty".to_owned());
            }
            Glob::new(part)
                .map(|glob| glob.compile_matcher())
                .map_err(|e| format!("this is no pattern: {}", e.kind()))
        };
        let (database, table) = match lower.split_once('.') {
            Some((database, table)) => (glob(database)?, Some(glob(table)?)),
            None => (glob(&lower)?, None),
        };
        Ok(Self {
            text: lower,
            database,
            table,
        })
    }

    fn takes_database_whole(&self, name: &Name) -> bool {
        self.table.is_none() && self.database.is_match(name.as_str())
    }

    fn takes_table(&self, id: &TableId) -> bool {
        let table = self.table.as_ref();
        self.database.is_match(id.database.as_str())
            && table.is_none_or(|glob| glob.is_match(id.table.as_str()))
    }
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
        let named = |p: &Pattern| p.database.is_match(name.as_str());
        let whole = |p: &Pattern| p.takes_database_whole(name);
        self.include.iter().any(named) && !self.exclude.iter().any(whole)
    }

    pub(super) fn covers_table(&self, id: &TableId) -> bool {
        let takes = |p: &Pattern| p.takes_table(id);
        self.include.iter().any(takes) && !self.exclude.iter().any(takes)
    }
}
