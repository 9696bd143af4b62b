//! Plays a plan through over what was read, one step after the other.

use super::content::Content;
use super::{Rule, Veto};
use crate::catalog::{self, Database, Seen, Table};
use crate::grant::{Atom, Grants, IAM_ALLOWED_PRINCIPALS, Resource};
use crate::name::{Name, TableId};
use crate::plan::Inputs;
use crate::reading::Observation;
use crate::scope::{Subject, subject_of};
use crate::step::{RevokeCause, Step};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Play<'a> {
    inputs: &'a Inputs<'a>,
    steps: &'a [Step],
    content: Content<'a>,
    /// Grants that the secondary holds at this point of the plan.
    held: BTreeMap<Atom, bool>,
    /// Columns that tables of the secondary have at this point.
    columns: BTreeMap<TableId, BTreeSet<String>>,
    /// Subjects made by an earlier step.
    made: BTreeSet<Subject>,
    /// Subjects deleted by an earlier step.
    deleted: BTreeSet<Subject>,
}

type Judged = Result<(), Veto>;

fn veto(rule: Rule, detail: impl Into<String>) -> Judged {
    Err(Veto {
        rule,
        detail: detail.into(),
    })
}

fn seen<T>(observation: Option<&Observation<T>>) -> Option<&T> {
    match observation {
        Some(Observation::Present(thing)) => Some(thing),
        Some(Observation::Absent(_) | Observation::Unknown(_)) | None => None,
    }
}

impl<'a> Play<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, steps: &'a [Step]) -> Self {
        let shown = inputs.secondary.grants.values();
        let held = shown.filter_map(|grants| seen(Some(grants)));
        Self {
            inputs,
            steps,
            content: Content {
                policy: inputs.policy,
                to_second: inputs.epoch.0.is_multiple_of(2),
            },
            held: held
                .flatten()
                .map(|(atom, grantable)| (atom.clone(), *grantable))
                .collect(),
            columns: inputs
                .secondary
                .tables
                .iter()
                .filter_map(|(id, table)| Some((id.clone(), names(&seen(Some(table))?.object))))
                .collect(),
            made: BTreeSet::new(),
            deleted: BTreeSet::new(),
        }
    }

    /// Judges a step where it stands, then plays it.
    pub(super) fn take(&mut self, step: &Step) -> Judged {
        match step {
            Step::CreateDatabase { database } => self.create_database(database),
            Step::UpdateDatabase { database, .. } => self.update_database(database),
            Step::CreateTable { id, table } => self.create_table(id, table),
            Step::UpdateTable { id, table, .. } => self.update_table(id, table),
            Step::CreatePartition { id, partition }
            | Step::UpdatePartition { id, partition, .. } => self.write_partition(id, partition),
            Step::Grant { atom, grantable } => self.grant(atom, *grantable),
            Step::Revoke { atom, cause, .. } => self.revoke(atom, *cause),
            Step::DeletePartition { id, values } => self.delete_partition(id, values),
            Step::DeleteTable { id } => self.delete_table(id),
            Step::DeleteDatabase { name } => self.delete_database(name),
        }
    }

    fn create_database(&mut self, database: &Database) -> Judged {
        let subject = Subject::Database(database.name.clone());
        let primary = self.primary_database(&database.name)?;
        self.check_content(&subject, &primary.object, database)?;
        self.no_extras(&subject)?;
        let settings = seen(self.inputs.secondary.settings.as_ref());
        if settings.is_none_or(|settings| settings.database_defaults_open) {
            let born_with = Atom {
                principal: crate::Principal(IAM_ALLOWED_PRINCIPALS.to_owned()),
                resource: Resource::Database(database.name.clone()),
                permission: crate::Permission::All,
                condition: None,
            };
            if !self.primary_allows(&born_with, false) {
                return veto(Rule::Wider, format!("{subject} would be born open"));
            }
        }
        self.made.insert(subject);
        Ok(())
    }

    fn update_database(&self, database: &Database) -> Judged {
        let subject = Subject::Database(database.name.clone());
        let primary = self.primary_database(&database.name)?;
        self.check_content(&subject, &primary.object, database)?;
        self.must_be_ours(&subject)
    }

    fn create_table(&mut self, id: &TableId, table: &Table) -> Judged {
        let subject = Subject::Table(id.clone());
        let primary = self.primary_table(id)?;
        self.check_name(&subject, &id.table, &table.name)?;
        self.check_content(&subject, &primary.object, table)?;
        self.must_be_ours(&Subject::Database(id.database.clone()))?;
        self.no_extras(&subject)?;
        self.no_extras(&Subject::Database(id.database.clone()))?;
        self.made.insert(subject);
        Ok(())
    }

    fn update_table(&mut self, id: &TableId, table: &Table) -> Judged {
        let subject = Subject::Table(id.clone());
        let primary = self.primary_table(id)?;
        self.check_name(&subject, &id.table, &table.name)?;
        self.check_content(&subject, &primary.object, table)?;
        self.must_be_ours(&subject)?;
        let now = seen(self.inputs.secondary.tables.get(id));
        let shown: BTreeSet<&str> = now
            .into_iter()
            .flat_map(|there| there.object.columns().map(|column| column.name.as_str()))
            .collect();
        if table.columns().any(|c| !shown.contains(c.name.as_str())) {
            self.no_extras(&subject)?;
        }
        self.columns.insert(id.clone(), names(table));
        Ok(())
    }

    fn write_partition(&self, id: &TableId, partition: &catalog::Partition) -> Judged {
        let subject = Subject::Table(id.clone());
        self.must_be_ours(&subject)?;
        let listed = seen(self.inputs.primary.partitions.get(id));
        match listed.and_then(|listed| listed.get(&partition.values)) {
            Some(primary) => self.check_content(&subject, primary, partition),
            None => veto(
                Rule::Altered,
                format!("the primary has no such partition of {subject}"),
            ),
        }
    }

    fn grant(&mut self, atom: &Atom, grantable: bool) -> Judged {
        let subject = subject_of(atom);
        if self.is_ignored(atom) {
            return veto(
                Rule::NotOurs,
                format!("{atom}: this principal is left alone"),
            );
        }
        if !self.primary_allows(atom, grantable) {
            return veto(Rule::Wider, format!("the primary does not grant {atom}"));
        }
        self.must_be_ours(&subject)?;
        self.no_extras(&subject)?;
        if let Resource::AllTables(database) = &atom.resource {
            self.no_table_beyond(database)?;
        }
        self.no_column_beyond(&atom.resource)?;
        let by_column = matches!(
            atom.resource,
            Resource::Column(..) | Resource::ColumnsExcept(..)
        );
        let table_is_open = self.held.keys().any(|held| {
            held.principal.0 == IAM_ALLOWED_PRINCIPALS
                && subject_of(held) == subject
                && held.resource.table().is_some()
        });
        if by_column && table_is_open && atom.principal.0 != IAM_ALLOWED_PRINCIPALS {
            let detail = format!(
                "{atom}, given while IAM_ALLOWED_PRINCIPALS holds the table, covers every column"
            );
            return veto(Rule::Wider, detail);
        }
        self.held.insert(atom.clone(), grantable);
        Ok(())
    }

    fn revoke(&mut self, atom: &Atom, cause: RevokeCause) -> Judged {
        let subject = subject_of(atom);
        if self.is_ignored(atom) {
            return veto(
                Rule::NotOurs,
                format!("{atom}: this principal is left alone"),
            );
        }
        self.must_be_ours(&subject)?;
        let given_again = |step: &Step| matches!(step, Step::Grant { atom: a, .. } if a == atom);
        let deleted = |step: &Step| match step {
            Step::DeleteTable { .. } | Step::DeleteDatabase { .. } => step.subject() == subject,
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::Grant { .. }
            | Step::Revoke { .. }
            | Step::DeletePartition { .. } => false,
        };
        let named = self.inputs.scope.suspects.contains_key(atom);
        let primary = seen(self.inputs.primary.grants.get(&subject));
        let justified = match cause {
            RevokeCause::Replace => self.steps.iter().any(given_again),
            RevokeCause::Deletion => self.steps.iter().any(deleted),
            RevokeCause::Suspect => named && primary.is_some_and(|g| !g.contains_key(atom)),
            RevokeCause::Extra => {
                let sees_all = self.inputs.primary.administrator
                    && self.inputs.primary.grants_controlled.contains(&subject);
                primary.is_some_and(|g| !g.contains_key(atom)) && (named || sees_all)
            }
        };
        if !justified {
            return veto(Rule::Unproven, format!("revoking {atom}"));
        }
        self.held.remove(atom);
        Ok(())
    }

    fn delete_partition(&self, id: &TableId, values: &[String]) -> Judged {
        let subject = Subject::Table(id.clone());
        self.must_be_ours(&subject)?;
        let Some(listed) = seen(self.inputs.primary.partitions.get(id)) else {
            return veto(
                Rule::Unproven,
                format!("partitions of {subject} were not read"),
            );
        };
        let look = self.inputs.scope.looks.get(&subject);
        let named = look.is_some_and(|look| look.partition_deletion_named);
        if listed.contains_key(values) || (listed.is_empty() && !named) {
            return veto(Rule::Unproven, format!("deleting a partition of {subject}"));
        }
        Ok(())
    }

    fn delete_table(&mut self, id: &TableId) -> Judged {
        let subject = Subject::Table(id.clone());
        let there = seen(self.inputs.secondary.tables.get(id));
        let link = there.is_none_or(|there| there.object.target_table.is_some());
        if link || self.in_link(&id.database) || !self.is_paired(&subject) {
            return veto(Rule::NotOurs, format!("deleting {subject}"));
        }
        match self.inputs.primary.tables.get(id) {
            Some(Observation::Absent(proof)) if proof.is_complete() => {}
            Some(Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_))
            | None => return veto(Rule::Unproven, format!("deleting {subject}")),
        }
        self.deleted.insert(subject);
        Ok(())
    }

    fn delete_database(&mut self, name: &Name) -> Judged {
        let subject = Subject::Database(name.clone());
        if self.in_link(name) || !self.is_paired(&subject) {
            return veto(Rule::NotOurs, format!("deleting {subject}"));
        }
        match self.inputs.primary.databases.get(name) {
            Some(Observation::Absent(proof)) if proof.is_complete() => {}
            Some(Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_))
            | None => return veto(Rule::Unproven, format!("deleting {subject}")),
        }
        let tables = &self.inputs.secondary.tables;
        let left = tables.iter().any(|(id, table)| {
            id.database == *name
                && seen(Some(table)).is_some()
                && !self.deleted.contains(&Subject::Table(id.clone()))
        });
        if left || !self.inputs.secondary.listed.contains_key(name) {
            return veto(Rule::NotOurs, format!("{subject} may still hold tables"));
        }
        Ok(())
    }

    fn primary_database(&self, name: &Name) -> Result<&Seen<Database>, Veto> {
        seen(self.inputs.primary.databases.get(name)).ok_or_else(|| Veto {
            rule: Rule::Altered,
            detail: format!("the primary shows no database {name}"),
        })
    }

    fn primary_table(&self, id: &TableId) -> Result<&Seen<Table>, Veto> {
        seen(self.inputs.primary.tables.get(id)).ok_or_else(|| Veto {
            rule: Rule::Altered,
            detail: format!("the primary shows no table {id}"),
        })
    }

    fn check_name(&self, subject: &Subject, named: &Name, sent: &Name) -> Judged {
        if named == sent {
            return Ok(());
        }
        veto(
            Rule::Altered,
            format!("{subject} would be written as {sent}"),
        )
    }

    fn check_content<T: serde::Serialize>(
        &self,
        subject: &Subject,
        primary: &T,
        sent: &T,
    ) -> Judged {
        self.content.check(primary, sent).map_err(|why| Veto {
            rule: Rule::Altered,
            detail: format!("{subject}: {why}"),
        })
    }

    /// No grant on the subject is held that the primary, as read, does not give.
    fn no_extras(&self, subject: &Subject) -> Judged {
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
    fn no_table_beyond(&self, database: &Name) -> Judged {
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
    fn no_column_beyond(&self, resource: &Resource) -> Judged {
        let covered = |id: &TableId| match resource {
            Resource::AllTables(database) => {
                id.database == *database && !self.deleted.contains(&Subject::Table(id.clone()))
            }
            Resource::Table(table) | Resource::ColumnsExcept(table, _) => table == id,
            Resource::Database(_) | Resource::Column(..) => false,
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

    fn primary_allows(&self, atom: &Atom, grantable: bool) -> bool {
        let grants: Option<&Grants> = seen(self.inputs.primary.grants.get(&subject_of(atom)));
        let may_grant = grants.and_then(|grants| grants.get(atom));
        may_grant.is_some_and(|may_grant| *may_grant || !grantable)
    }

    fn is_ignored(&self, atom: &Atom) -> bool {
        let readings = [self.inputs.primary, self.inputs.secondary];
        let settings = readings.iter().filter_map(|r| seen(r.settings.as_ref()));
        self.inputs.ours.contains(&atom.principal.0)
            || settings
                .into_iter()
                .any(|s| s.administrators.contains(&atom.principal))
    }

    fn in_link(&self, name: &Name) -> bool {
        seen(self.inputs.secondary.databases.get(name))
            .is_some_and(|there| there.object.target_database.is_some())
    }

    fn is_paired(&self, subject: &Subject) -> bool {
        let row = self.inputs.rows.get(subject);
        let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
            return false;
        };
        let created = match subject {
            Subject::Catalog => return false,
            Subject::Database(name) => {
                seen(self.inputs.secondary.databases.get(name)).map(|there| there.created)
            }
            Subject::Table(id) => {
                seen(self.inputs.secondary.tables.get(id)).map(|there| there.created)
            }
        };
        created == Some(pairing.secondary_created)
    }

    /// Whether the subject in the secondary is the counterpart of the primary's:
    /// made in this plan, paired, about to be paired, or equal to it.
    fn must_be_ours(&self, subject: &Subject) -> Judged {
        if self.made.contains(subject) {
            return Ok(());
        }
        let intended = self
            .inputs
            .rows
            .get(subject)
            .and_then(|row| row.intended.as_deref());
        let ours = match subject {
            Subject::Catalog => false,
            Subject::Database(name) if !self.inputs.secondary.databases.contains_key(name) => {
                let row = self.inputs.rows.get(subject);
                row.is_some_and(|row| row.pairing.is_some())
            }
            Subject::Database(name) => {
                let there = seen(self.inputs.secondary.databases.get(name));
                there.is_some_and(|there| {
                    there.object.target_database.is_none()
                        && (self.is_paired(subject)
                            || is_intended(&there.object, intended)
                            || self.equals_database(name, &there.object))
                })
            }
            Subject::Table(id) => {
                let there = seen(self.inputs.secondary.tables.get(id));
                // A grant may linger on a table that is about to be made.
                let unmade = there.is_none() && self.creates(id);
                unmade
                    || there.is_some_and(|there| {
                        there.object.target_table.is_none()
                            && !self.in_link(&id.database)
                            && (self.is_paired(subject)
                                || is_intended(&there.object, intended)
                                || self.equals_table(id, &there.object))
                    })
            }
        };
        if ours {
            return Ok(());
        }
        veto(
            Rule::NotOurs,
            format!("{subject} in the secondary is not ours"),
        )
    }

    fn creates(&self, id: &TableId) -> bool {
        let creates =
            |step: &Step| matches!(step, Step::CreateTable { id: made, .. } if made == id);
        self.steps.iter().any(creates)
    }

    fn equals_database(&self, name: &Name, there: &Database) -> bool {
        let mut closed = there.clone();
        closed.create_table_default_permissions = Some(Vec::new());
        closed.parameters.remove("transient_lastDdlTime");
        self.primary_database(name)
            .is_ok_and(|primary| self.content.check(&primary.object, &closed).is_ok())
    }

    fn equals_table(&self, id: &TableId, there: &Table) -> bool {
        let mut there = there.clone();
        there.parameters.remove("transient_lastDdlTime");
        self.primary_table(id)
            .is_ok_and(|primary| self.content.check(&primary.object, &there).is_ok())
    }
}

fn names(table: &Table) -> BTreeSet<String> {
    table.columns().map(|column| column.name.clone()).collect()
}

/// The digest of an intention is of the object without what drifts by itself.
fn is_intended(object: &impl Recognised, intended: Option<&str>) -> bool {
    intended.is_some_and(|intended| object.settled_digest() == intended)
}

trait Recognised {
    fn settled_digest(&self) -> String;
}

impl Recognised for Database {
    fn settled_digest(&self) -> String {
        let mut settled = self.clone();
        settled.parameters.remove("transient_lastDdlTime");
        catalog::digest(&settled)
    }
}

impl Recognised for Table {
    fn settled_digest(&self) -> String {
        let mut settled = self.clone();
        settled.parameters.remove("transient_lastDdlTime");
        catalog::digest(&settled)
    }
}
