//! What LF-Tags open. Judged by what is open before and after a step, and not by what
//! kind of step it is.

use super::{Judged, Play, seen, veto};
use crate::audit::Rule;
use crate::catalog::{Part, PartKey};
use crate::grant::{Atom, Resource, TagExpression, TagRule, TagTarget};
use crate::name::{Name, TableId};
use crate::reading::{Reading, Tagged};
use crate::scope::{Facet, Lake, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// LF-Tags of a subject: by column (none is itself) and key.
pub(super) type Assigned = BTreeMap<(Option<String>, String), String>;

/// What is open: a grant, and the database, table or column that it opens.
type Open<'a> = BTreeSet<(&'a Atom, String)>;

/// The LF-Tags that a Region showed.
pub(super) fn assigned(reading: &Reading) -> BTreeMap<Subject, Assigned> {
    let mut all: BTreeMap<Subject, Assigned> = BTreeMap::new();
    for ((subject, facet), parts) in &reading.parts {
        let (Facet::Assigned, Some(parts)) = (facet, seen(Some(parts))) else {
            continue;
        };
        let own = all.entry(subject.clone()).or_default();
        for part in parts.values() {
            if let Part::Assigned { column, key, value } = &part.part {
                let column = column.as_ref().map(|column| column.as_str().to_owned());
                own.insert((column, key.clone()), value.clone());
            }
        }
    }
    all
}

fn own(all: Option<&Assigned>, column: Option<&str>) -> BTreeMap<String, String> {
    let all = all.into_iter().flatten();
    all.filter(|((of, _), _)| of.as_deref() == column)
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

fn satisfied(expression: &TagExpression, tags: &BTreeMap<String, String>) -> bool {
    for (key, values) in expression {
        let Some(value) = tags.get(key) else {
            return false;
        };
        if !values.contains(value) && !values.contains("*") {
            return false;
        }
    }
    true
}

fn expression<'e>(reading: &'e Reading, rule: &'e TagRule) -> Option<&'e TagExpression> {
    let name = match rule {
        TagRule::Inline(expression) => return Some(expression),
        TagRule::Saved(name) => name,
    };
    let at = (Subject::Lake(Lake::Expressions), Facet::Items);
    let listed = seen(reading.parts.get(&at));
    let listed = listed.and_then(|all| all.get(&PartKey::Expression(name.clone())));
    if let Some(Part::Expression(saved)) = listed.map(|one| &one.part) {
        return Some(&saved.expression);
    }
    seen(reading.tag_grants.as_ref())?.expressions.get(name)
}

/// A table or a database with the LF-Tags around it.
struct Around<'a> {
    reading: &'a Reading,
    database: Option<&'a Assigned>,
    table: Option<&'a Assigned>,
    columns: Option<&'a BTreeSet<String>>,
}

impl Around<'_> {
    fn open<'g>(&self, subject: &Subject, atoms: &[&'g Atom]) -> Open<'g> {
        let mut open = Open::new();
        let of_database = own(self.database, None);
        let mut places = Vec::new();
        let (name, target) = match subject {
            Subject::Table(id) => (id.to_string(), TagTarget::Table),
            Subject::Catalog | Subject::Lake(_) | Subject::Database(_) | Subject::Function(_) => {
                (subject.to_string(), TagTarget::Database)
            }
        };
        let mut of_table = of_database;
        of_table.extend(own(self.table, None));
        for column in self.columns.into_iter().flatten() {
            let column = column.to_lowercase();
            let mut tags = of_table.clone();
            tags.extend(own(self.table, Some(&column)));
            places.push((format!("{name}.{column}"), tags));
        }
        places.push((name, of_table));
        for atom in atoms {
            let Resource::TagPolicy { target: of, rule } = &atom.resource else {
                continue;
            };
            let rule = expression(self.reading, rule);
            let fits = |tags: &BTreeMap<String, String>| {
                rule.is_none_or(|rule| satisfied(rule, tags)) && *of == target
            };
            let some = places.iter().filter(|(_, tags)| fits(tags));
            open.extend(some.map(|(place, _)| (*atom, place.clone())));
        }
        open
    }
}

impl Play<'_> {
    /// What LF-Tag policies open of a subject in the secondary at this point.
    fn open<'g>(&self, subject: &Subject, atoms: &[&'g Atom]) -> Open<'g> {
        self.open_by(self.inputs.secondary, subject, atoms)
    }

    fn open_by<'g>(
        &self,
        expressions: &Reading,
        subject: &Subject,
        atoms: &[&'g Atom],
    ) -> Open<'g> {
        let columns = match subject {
            Subject::Table(id) => self.columns.get(id),
            Subject::Catalog | Subject::Lake(_) | Subject::Database(_) | Subject::Function(_) => {
                None
            }
        };
        self.open_with(expressions, &self.assigned, columns, subject, atoms)
    }

    /// What they opened of it before the plan.
    fn open_before<'g>(&self, subject: &Subject, atoms: &[&'g Atom]) -> Open<'g> {
        let there = self.inputs.secondary;
        let columns = match subject {
            Subject::Table(id) => seen(there.tables.get(id)),
            Subject::Catalog | Subject::Lake(_) | Subject::Database(_) | Subject::Function(_) => {
                None
            }
        };
        let columns = columns.map(|table| super::names(&table.object));
        self.open_with(
            there,
            &self.assigned_before,
            columns.as_ref(),
            subject,
            atoms,
        )
    }

    fn open_with<'g>(
        &self,
        expressions: &Reading,
        assigned: &BTreeMap<Subject, Assigned>,
        columns: Option<&BTreeSet<String>>,
        subject: &Subject,
        atoms: &[&'g Atom],
    ) -> Open<'g> {
        if matches!(subject, Subject::Table(_)) && columns.is_none() {
            return Open::new();
        }
        let home = subject.database().cloned().map(Subject::Database);
        let around = Around {
            reading: expressions,
            database: home.as_ref().and_then(|home| assigned.get(home)),
            table: columns.and_then(|_| assigned.get(subject)),
            columns,
        };
        around.open(subject, atoms)
    }

    /// The same in the primary, as it was read.
    fn open_in_primary<'g>(&self, subject: &Subject, atoms: &[&'g Atom]) -> Open<'g> {
        let all = &self.assigned_here;
        let home = subject.database().cloned().map(Subject::Database);
        let database = home.as_ref().and_then(|home| all.get(home));
        let mut columns = None;
        if let Subject::Table(id) = subject {
            let table = seen(self.inputs.primary.tables.get(id));
            let (Some(table), true) = (table, all.contains_key(subject)) else {
                return Open::new();
            };
            columns = Some(super::names(&table.object));
        }
        if database.is_none() {
            return Open::new();
        }
        let around = Around {
            reading: self.inputs.primary,
            database,
            table: columns.as_ref().and_then(|_| all.get(subject)),
            columns: columns.as_ref(),
        };
        let given: Vec<&Atom> = atoms
            .iter()
            .copied()
            .filter(|atom| self.primary_allows(atom, false))
            .collect();
        around.open(subject, &given)
    }

    /// Plays a step, and judges that nothing is open after it that was not before and is
    /// not in the primary.
    pub(super) fn nothing_opens(
        &mut self,
        subject: &Subject,
        play: impl FnOnce(&mut Self),
    ) -> Judged {
        let atoms: Vec<Atom> = self.held.keys().cloned().collect();
        let by_tags = |atom: &&Atom| {
            matches!(atom.resource, Resource::TagPolicy { .. }) && !self.is_ignored(atom)
        };
        let atoms: Vec<&Atom> = atoms.iter().filter(by_tags).collect();
        let known = seen(self.inputs.secondary.tag_grants.as_ref()).is_some()
            || seen(
                self.inputs
                    .secondary
                    .grants
                    .get(&Subject::Lake(Lake::Permissions)),
            )
            .is_some();
        if !known {
            play(self);
            let detail =
                format!("the grants by LF-Tag policies were not read, and {subject} changes");
            return veto(Rule::Wider, detail);
        }
        let mut places = vec![subject.clone()];
        if let Subject::Database(name) = subject {
            let listed = self.inputs.secondary.listed.get(name);
            let tables = listed.into_iter().flatten();
            places.extend(tables.map(|t| Subject::Table(TableId::new(name.clone(), t.clone()))));
        }
        let before: Vec<Open<'_>> = places.iter().map(|one| self.open(one, &atoms)).collect();
        play(self);
        for (place, before) in places.iter().zip(before) {
            let after = self.open(place, &atoms);
            let mut opened = after.difference(&before).peekable();
            if opened.peek().is_none() {
                continue;
            }
            let allowed = self.open_in_primary(place, &atoms);
            if let Some((atom, what)) = opened.find(|one| !allowed.contains(*one)) {
                return veto(Rule::Wider, format!("{atom} would open {what}"));
            }
        }
        Ok(())
    }

    pub(super) fn assign(
        &mut self,
        subject: &Subject,
        column: Option<&Name>,
        key: &str,
        value: Option<&str>,
    ) -> Judged {
        let at = (column.map(|name| name.as_str().to_owned()), key.to_owned());
        self.nothing_opens(subject, |play| {
            let own = play.assigned.entry(subject.clone()).or_default();
            match value {
                Some(value) => own.insert(at, value.to_owned()),
                None => own.remove(&at),
            };
        })
    }

    /// A grant by a LF-Tag policy opens nothing that it does not open in the primary; or
    /// it was only taken away for the length of this plan.
    pub(super) fn no_tags_beyond(&self, atom: &Atom) -> Judged {
        let Resource::TagPolicy { target, rule } = &atom.resource else {
            return Ok(());
        };
        self.no_columns_beyond(atom)?;
        if self.aside.contains(atom) {
            return Ok(());
        }
        let search = (*target, rule.clone());
        let here = seen(self.inputs.primary.tagged.get(&search));
        let there = seen(self.inputs.secondary.tagged.get(&search));
        let known = expression(self.inputs.primary, rule);
        let (Some(here), Some(there), Some(known)) = (here, there, known) else {
            return veto(Rule::Wider, format!("what {atom} opens was not read"));
        };
        if let TagRule::Saved(name) = rule {
            let there = expression(self.inputs.secondary, rule);
            if there != Some(known) && !self.puts_expression(name) {
                let detail = format!("{atom}, and its expression is another one there");
                return veto(Rule::Wider, detail);
            }
        }
        let here: BTreeSet<String> = here.iter().flat_map(|one| found(one, known)).collect();
        let beyond = there.iter().flat_map(|one| found(one, known));
        match beyond.into_iter().find(|place| !here.contains(place)) {
            None => Ok(()),
            Some(place) => veto(Rule::Wider, format!("{atom} would open {place}")),
        }
    }
}

impl Play<'_> {
    fn puts_expression(&self, name: &str) -> bool {
        let key = PartKey::Expression(name.to_owned());
        let mut steps = self.steps.iter();
        steps.any(|step| matches!(step, crate::Step::PutPart { part, .. } if part.key() == key))
    }

    /// What a grant opens of the databases and tables that were read is open in the primary,
    /// too, or was before the plan: a column that the primary dropped is not.
    fn no_columns_beyond(&self, atom: &Atom) -> Judged {
        let atoms = [atom];
        // An expression that the plan puts is the primary's by now.
        let mut by = self.inputs.secondary;
        if let Resource::TagPolicy {
            rule: TagRule::Saved(name),
            ..
        } = &atom.resource
            && self.puts_expression(name)
        {
            by = self.inputs.primary;
        }
        for subject in self.assigned_here.keys() {
            let now = self.open_by(by, subject, &atoms);
            if now.is_empty() {
                continue;
            }
            let allowed = self.open_in_primary(subject, &atoms);
            let was = match self.aside.contains(atom) {
                true => self.open_before(subject, &atoms),
                false => Open::new(),
            };
            if let Some((_, what)) = now
                .iter()
                .find(|one| !allowed.contains(*one) && !was.contains(*one))
            {
                return veto(Rule::Wider, format!("{atom} would open {what}"));
            }
        }
        Ok(())
    }
}

/// What of a search satisfies an expression.
fn found(one: &Tagged, expression: &TagExpression) -> Vec<String> {
    let Some(table) = &one.table else {
        let fits = satisfied(expression, &one.on_database);
        return fits.then(|| one.database.clone()).into_iter().collect();
    };
    let name = format!("{}.{table}", one.database);
    let around: BTreeMap<String, String> = one
        .on_database
        .iter()
        .chain(&one.on_table)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut places = Vec::new();
    for (column, own) in &one.on_columns {
        let mut tags = around.clone();
        tags.extend(own.clone());
        if satisfied(expression, &tags) {
            places.push(format!("{name}.{column}"));
        }
    }
    if satisfied(expression, &around) {
        places.push(name);
    }
    places
}
