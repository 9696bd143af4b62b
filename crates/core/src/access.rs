//! What one principal may do with one database or table, and by what: for a person who
//! asks, from what was read of one Region.
//!
//! IAM's own policies are not read: where `IAM_ALLOWED_PRINCIPALS` holds an object and no
//! opt-in keeps the principal to its grants, IAM decides, and that is what is said.

use crate::catalog::{FilterColumns, Part};
use crate::grant::{
    Atom, IAM_ALLOWED_PRINCIPALS, Principal, Resource, TagExpression, TagRule, TagTarget,
};
use crate::reading::{Observation, Reading, TagSet};
use crate::scope::{Facet, Lake, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that may be done: the permission, and a column of the table unless it is on
/// the whole object, and which rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct May {
    /// `SELECT`, `DESCRIBE`, ...; `ALL` stands by itself, as AWS lists it.
    pub permission: String,
    /// The column.
    pub column: Option<String>,
    /// The row filter; none is every row.
    pub rows: Option<String>,
    /// It may be granted on.
    pub grantable: bool,
}

impl fmt::Display for May {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.permission)?;
        if let Some(column) = &self.column {
            write!(f, " column {column}")?;
        }
        if let Some(rows) = &self.rows {
            write!(f, " where {rows}")?;
        }
        match self.grantable {
            true => f.write_str(", with grant option"),
            false => Ok(()),
        }
    }
}

/// What a principal may do, each with what it is by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Rights, with the grants that give them.
    pub rights: BTreeMap<May, BTreeSet<String>>,
    /// What else bears on it, in words.
    pub notes: Vec<String>,
}

/// What a principal may do with a database or a table, by one Region's reading.
#[must_use]
pub fn of(reading: &Reading, principal: &Principal, subject: &Subject) -> Access {
    let mut asked = Asked {
        reading,
        subject,
        columns: columns(reading, subject),
        access: Access::default(),
    };
    let opted = asked.note_standing(principal);
    let whose = [principal.0.as_str(), IAM_ALLOWED_PRINCIPALS];
    let everyone = principal.0.split(':').nth(4).unwrap_or_default();
    let everyone = format!("{everyone}:IAMPrincipals");
    for grants in reading.grants.values().filter_map(Observation::present) {
        for (atom, grantable) in grants {
            let holder = atom.principal.0.as_str();
            let concerns = whose.contains(&holder) || holder == everyone;
            if !concerns || (holder == IAM_ALLOWED_PRINCIPALS && opted) {
                continue;
            }
            asked.add(atom, *grantable);
        }
    }
    asked.access
}

fn columns(reading: &Reading, subject: &Subject) -> BTreeSet<String> {
    let Subject::Table(id) = subject else {
        return BTreeSet::new();
    };
    let seen = reading.tables.get(id).and_then(Observation::present);
    let columns = seen.into_iter().flat_map(|seen| seen.object.columns());
    columns.map(|column| column.name.to_lowercase()).collect()
}

struct Asked<'r> {
    reading: &'r Reading,
    subject: &'r Subject,
    columns: BTreeSet<String>,
    access: Access,
}

impl Asked<'_> {
    /// Notes what stands beside the grants; answers whether an opt-in keeps the principal
    /// to them.
    fn note_standing(&mut self, principal: &Principal) -> bool {
        let settings = self.reading.settings.as_ref();
        let settings = settings.and_then(Observation::present);
        if settings.is_some_and(|settings| settings.administrators.contains(principal)) {
            let note = "it is a data lake administrator, who may grant itself anything";
            self.access.notes.push(note.to_owned());
        }
        let mut subjects = vec![self.subject.clone()];
        subjects.extend(self.subject.database().cloned().map(Subject::Database));
        let opted = subjects.into_iter().any(|subject| {
            let parts = self.reading.parts.get(&(subject, Facet::OptIns));
            let parts = parts.and_then(Observation::present).into_iter().flatten();
            parts.into_iter().any(
                |(_, seen)| matches!(&seen.part, Part::OptIn(one) if one.principal == *principal),
            )
        });
        if opted {
            let note = "it is opted in: Lake Formation's grants decide, and not IAM alone";
            self.access.notes.push(note.to_owned());
        }
        opted
    }

    fn add(&mut self, atom: &Atom, grantable: bool) {
        match &atom.resource {
            Resource::Database(name) => {
                if *self.subject == Subject::Database(name.clone()) {
                    self.put(atom, grantable, None, None);
                }
            }
            Resource::AllTables(database) => {
                if matches!(self.subject, Subject::Table(id) if id.database == *database) {
                    self.whole(atom, grantable);
                }
            }
            Resource::Table(id) => {
                if *self.subject == Subject::Table(id.clone()) {
                    self.whole(atom, grantable);
                }
            }
            Resource::Column(id, column) => {
                if *self.subject == Subject::Table(id.clone()) {
                    self.select(atom, grantable, None, &|one| one == column.as_str());
                }
            }
            Resource::ColumnsExcept(id, excluded) => {
                if *self.subject == Subject::Table(id.clone()) {
                    let shown = |one: &str| !excluded.iter().any(|name| name.as_str() == one);
                    self.select(atom, grantable, None, &shown);
                }
            }
            Resource::Filter(id, name) => {
                if *self.subject == Subject::Table(id.clone()) {
                    self.through_filter(atom, grantable, name);
                }
            }
            Resource::TagPolicy { target, rule } => self.by_tags(atom, grantable, *target, rule),
            Resource::Catalog
            | Resource::Location(_)
            | Resource::Tag { .. }
            | Resource::Expression(_) => {}
        }
    }

    fn put(&mut self, atom: &Atom, grantable: bool, column: Option<&str>, rows: Option<&str>) {
        let may = May {
            permission: atom.permission.to_string(),
            column: column.map(str::to_owned),
            rows: rows.map(str::to_owned),
            grantable,
        };
        let by = self.access.rights.entry(may).or_default();
        by.insert(atom.to_string());
    }

    fn whole(&mut self, atom: &Atom, grantable: bool) {
        match atom.permission == crate::Permission::Select {
            true => self.select(atom, grantable, None, &|_| true),
            false => self.put(atom, grantable, None, None),
        }
    }

    fn select(
        &mut self,
        atom: &Atom,
        grantable: bool,
        rows: Option<&str>,
        shown: &dyn Fn(&str) -> bool,
    ) {
        for column in self.columns.clone() {
            if shown(&column) {
                self.put(atom, grantable, Some(&column), rows);
            }
        }
    }

    fn through_filter(&mut self, atom: &Atom, grantable: bool, name: &str) {
        let at = (self.subject.clone(), Facet::Filters);
        let filters = self.reading.parts.get(&at).and_then(Observation::present);
        let found = filters.into_iter().flatten().find_map(|(_, seen)| {
            if let Part::Filter(filter) = &seen.part
                && filter.name == name
            {
                return Some(filter.clone());
            }
            None
        });
        let Some(filter) = found else {
            let note = format!("{atom} gives nothing: there is no such filter");
            self.access.notes.push(note);
            return;
        };
        let named = |names: &BTreeSet<crate::Name>, one: &str| {
            names.iter().any(|name| name.as_str() == one)
        };
        let shown = |one: &str| match &filter.columns {
            FilterColumns::Only(names) => named(names, one),
            FilterColumns::AllBut(names) => !named(names, one),
        };
        self.select(atom, grantable, filter.rows.as_deref(), &shown);
    }

    fn by_tags(&mut self, atom: &Atom, grantable: bool, target: TagTarget, rule: &TagRule) {
        let Some(expression) = self.expression(rule) else {
            let note = format!("{atom} gives nothing: there is no such expression");
            self.access.notes.push(note);
            return;
        };
        let home = self.subject.database().cloned().map(Subject::Database);
        let mut around = home.map(|home| self.tags(&home, None)).unwrap_or_default();
        let is_table = matches!(self.subject, Subject::Table(_));
        match (target, is_table) {
            (TagTarget::Database, false) if satisfies(&expression, &around) => {
                self.put(atom, grantable, None, None);
            }
            (TagTarget::Table, true) => {
                around.extend(self.tags(self.subject, None));
                if atom.permission == crate::Permission::Select {
                    let with_own: BTreeSet<String> = self
                        .columns
                        .iter()
                        .filter(|column| {
                            let mut tags = around.clone();
                            tags.extend(self.tags(self.subject, Some(column)));
                            satisfies(&expression, &tags)
                        })
                        .cloned()
                        .collect();
                    self.select(atom, grantable, None, &|one| with_own.contains(one));
                } else if satisfies(&expression, &around) {
                    self.put(atom, grantable, None, None);
                }
            }
            (TagTarget::Database | TagTarget::Table, _) => {}
        }
    }

    fn expression(&self, rule: &TagRule) -> Option<TagExpression> {
        let name = match rule {
            TagRule::Inline(expression) => return Some(expression.clone()),
            TagRule::Saved(name) => name,
        };
        let at = (Subject::Lake(Lake::Expressions), Facet::Items);
        let all = self.reading.parts.get(&at).and_then(Observation::present)?;
        all.values().find_map(|seen| match &seen.part {
            Part::Expression(saved) if saved.name == *name => Some(saved.expression.clone()),
            Part::Expression(_)
            | Part::Index(_)
            | Part::Statistics(_)
            | Part::Tag { .. }
            | Part::Filter(_)
            | Part::Assigned { .. }
            | Part::OptIn(_)
            | Part::TagValue { .. }
            | Part::Registration(_) => None,
        })
    }

    fn tags(&self, subject: &Subject, column: Option<&str>) -> TagSet {
        let at = (subject.clone(), Facet::Assigned);
        let parts = self.reading.parts.get(&at).and_then(Observation::present);
        let mut tags = TagSet::new();
        for seen in parts.into_iter().flat_map(BTreeMap::values) {
            if let Part::Assigned {
                column: of,
                key,
                value,
            } = &seen.part
                && of.as_ref().map(crate::Name::as_str) == column
            {
                tags.insert(key.clone(), value.clone());
            }
        }
        tags
    }
}

fn satisfies(expression: &TagExpression, tags: &TagSet) -> bool {
    expression.iter().all(|(key, values)| {
        let value = tags.get(key);
        value.is_some_and(|value| values.contains(value) || values.contains("*"))
    })
}
