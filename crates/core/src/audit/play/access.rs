//! What a step would open.

use super::{Judged, Play, names, seen, veto};
use crate::audit::Rule;
use crate::grant::{Atom, Grants, IAM_ALLOWED_PRINCIPALS, Resource};
use crate::name::{Name, TableId};
use crate::scope::{Subject, subject_of};
use std::collections::BTreeMap;

impl<'a> Play<'a> {
    /// No grant on the subject is held that the primary, as read, does not give.
    pub(super) fn no_extras(&self, subject: &Subject) -> Judged {
        let extra = self.held.iter().find(|(atom, grantable)| {
            subject_of(atom) == *subject
                && !self.is_ignored(atom)
                && !self.primary_allows(atom, **grantable)
        });
        match extra {
            None => Ok(()),
            Some((atom, _)) => veto(
                Rule::Wider,
                format!("{subject} would grow while the secondary still holds {atom}"),
            ),
        }
    }

    /// The secondary holds no table of the database that the primary lacks: a grant
    /// on all tables would open it.
    pub(super) fn no_table_beyond(&self, database: &Name) -> Judged {
        let here = self.inputs.primary.listed.get(database);
        let there = self.inputs.secondary.listed.get(database);
        let made_here = self.made.contains(&Subject::Database(database.clone()));
        let beyond = |name: &&Name| {
            let id = TableId::new(database.clone(), (*name).clone());
            !here.is_some_and(|here| here.contains(*name))
                && !self.deleted.contains(&Subject::Table(id))
        };
        match there {
            None if made_here => Ok(()),
            None => veto(
                Rule::Wider,
                format!("the tables of {database} were not listed"),
            ),
            Some(there) => match there.iter().find(beyond) {
                None => Ok(()),
                Some(table) => {
                    let detail = format!("a grant on all tables of {database} would open {table}");
                    veto(Rule::Wider, detail)
                }
            },
        }
    }

    /// No table that a grant covers has a column that the primary dropped: the grant
    /// would open it.
    pub(super) fn no_column_beyond(&self, resource: &Resource) -> Judged {
        let covered = |id: &TableId| match resource {
            Resource::AllTables(database) => {
                id.database == *database && !self.deleted.contains(&Subject::Table(id.clone()))
            }
            Resource::Table(table) | Resource::ColumnsExcept(table, _) => table == id,
            Resource::Filter(table, name) => table == id && self.is_open_ended(id, name),
            Resource::Database(_)
            | Resource::Column(..)
            | Resource::Catalog
            | Resource::Location(_)
            | Resource::Tag { .. }
            | Resource::TagPolicy { .. }
            | Resource::Expression(_) => false,
        };
        for (id, columns) in self.columns.iter().filter(|(id, _)| covered(id)) {
            let here = self.inputs.primary.tables.get(id);
            let Some(here) = seen(here).map(|here| names(&here.object)) else {
                continue;
            };
            if let Some(column) = columns.difference(&here).next() {
                let detail =
                    format!("a grant on {resource} would open the column {column} of {id}");
                return veto(Rule::Wider, detail);
            }
        }
        Ok(())
    }

    /// No grant on all tables of a database is held that is more than the primary gives,
    /// whether it was read with the database or beside a table's own.
    pub(super) fn no_wildcard_beyond(&self, database: &Name) -> Judged {
        let is_on_all =
            |atom: &Atom| matches!(&atom.resource, Resource::AllTables(of) if of == database);
        let extra = self.held.iter().find(|(atom, grantable)| {
            is_on_all(atom) && !self.is_ignored(atom) && !self.primary_allows(atom, **grantable)
        });
        if let Some((atom, _)) = extra {
            return veto(Rule::Wider, format!("{atom} would open what is new there"));
        }
        let Some(there) = self.inputs.secondary.wildcards.get(database) else {
            return Ok(());
        };
        let here = seen(self.inputs.primary.wildcards.get(database));
        let Some(there) = seen(Some(there)) else {
            let detail = format!("the grants on all tables of {database} were not read");
            return veto(Rule::Wider, detail);
        };
        for atom in there.keys().filter(|atom| !self.is_ignored(atom)) {
            if !here.is_some_and(|here| here.contains_key(atom)) {
                return veto(Rule::Wider, format!("{atom} would open what is new there"));
            }
        }
        Ok(())
    }

    pub(super) fn primary_allows(&self, atom: &Atom, grantable: bool) -> bool {
        let may_grant = self
            .primary_grants(atom)
            .and_then(|grants| grants.get(atom));
        may_grant.is_some_and(|may_grant| *may_grant || !grantable)
    }

    /// The primary's grants on what a grant is on; those by LF-Tag policies may have
    /// been read by themselves.
    pub(super) fn primary_grants(&self, atom: &Atom) -> Option<&Grants> {
        let on_subject = seen(self.inputs.primary.grants.get(&subject_of(atom)));
        let by_tags = matches!(atom.resource, Resource::TagPolicy { .. })
            .then(|| seen(self.inputs.primary.tag_grants.as_ref()))
            .flatten();
        on_subject.or_else(|| by_tags.map(|tags| &tags.grants))
    }

    /// Whether the absence of a grant in the primary comes from a reading of all.
    pub(super) fn reads_all(&self, atom: &Atom, subject: &Subject) -> bool {
        let by_tags = matches!(atom.resource, Resource::TagPolicy { .. })
            && seen(self.inputs.primary.tag_grants.as_ref()).is_some_and(|tags| tags.whole);
        self.inputs.primary.grants_controlled.contains(subject) || by_tags
    }

    /// What the primary shows of a table is all of it: our role there may select every
    /// column, or nobody is kept from any.
    pub(super) fn reader_sees(&self, id: &TableId) -> Judged {
        let primary = self.inputs.primary;
        let on_table = seen(primary.grants.get(&Subject::Table(id.clone())));
        let on_database = seen(primary.grants.get(&Subject::Database(id.database.clone())));
        let on_all = seen(primary.wildcards.get(&id.database));
        let mut all = [on_table, on_database, on_all]
            .into_iter()
            .flatten()
            .flat_map(BTreeMap::keys);
        let whole = |resource: &Resource| {
            *resource == Resource::Table(id.clone())
                || *resource == Resource::AllTables(id.database.clone())
        };
        let proves = |atom: &Atom| {
            let reader = atom.principal == *self.inputs.reader
                && atom.permission == crate::Permission::Select;
            let open = atom.principal.0 == IAM_ALLOWED_PRINCIPALS
                && atom.permission == crate::Permission::All;
            whole(&atom.resource) && atom.condition.is_none() && (reader || open)
        };
        match all.any(proves) {
            true => Ok(()),
            false => veto(
                Rule::Unproven,
                format!("our role may not see every column of {id} in the primary"),
            ),
        }
    }
}
