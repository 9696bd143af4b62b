//! Plays a plan through over what was read, one step after the other.

mod access;
mod lake;
mod ours;
mod parts;
mod permissions;
mod tags;

use super::content::Content;
use super::{Rule, Veto};
use crate::catalog::{self, Database, Seen, Table};
use crate::grant::{Atom, IAM_ALLOWED_PRINCIPALS, Resource};
use crate::name::{Name, TableId};
use crate::plan::Inputs;
use crate::reading::{Extent, Observation};
use crate::scope::Subject;
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Play<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) steps: &'a [Step],
    pub(super) content: Content<'a>,
    /// Grants that the secondary holds at this point of the plan.
    pub(super) held: BTreeMap<Atom, bool>,
    /// Columns that tables of the secondary have at this point.
    pub(super) columns: BTreeMap<TableId, BTreeSet<String>>,
    /// LF-Tags that are assigned in the secondary at this point, where they were read.
    pub(super) assigned: BTreeMap<Subject, tags::Assigned>,
    /// Data cells filters of tables of the secondary at this point.
    pub(super) filters: BTreeMap<TableId, BTreeMap<String, catalog::CellsFilter>>,
    /// Opt-ins of the secondary at this point.
    pub(super) opt_ins: BTreeSet<catalog::OptIn>,
    /// Grants that an earlier step took away to be given again.
    pub(super) aside: BTreeSet<Atom>,
    /// LF-Tags that are assigned in the primary, where they were read.
    pub(super) assigned_here: BTreeMap<Subject, tags::Assigned>,
    /// Those of the secondary before the plan.
    pub(super) assigned_before: BTreeMap<Subject, tags::Assigned>,
    /// Subjects made by an earlier step.
    pub(super) made: BTreeSet<Subject>,
    /// Subjects deleted by an earlier step.
    pub(super) deleted: BTreeSet<Subject>,
}

pub(super) type Judged = Result<(), Veto>;

pub(super) fn veto(rule: Rule, detail: impl Into<String>) -> Judged {
    Err(Veto {
        rule,
        detail: detail.into(),
    })
}

pub(super) fn seen<T>(observation: Option<&Observation<T>>) -> Option<&T> {
    match observation {
        Some(Observation::Present(thing)) => Some(thing),
        Some(Observation::Absent(_) | Observation::Unknown(_)) | None => None,
    }
}

impl<'a> Play<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, steps: &'a [Step]) -> Self {
        let shown = inputs.secondary.grants.values();
        let by_tags = seen(inputs.secondary.tag_grants.as_ref()).map(|tags| &tags.grants);
        let held = by_tags
            .into_iter()
            .chain(shown.filter_map(|grants| seen(Some(grants))));
        let parts = inputs.secondary.parts.iter();
        let parts = parts.filter_map(|((owner, _), all)| Some((owner, seen(Some(all))?)));
        let parts: Vec<(&Subject, &catalog::SeenPart)> = parts
            .flat_map(|(owner, all)| all.values().map(move |one| (owner, one)))
            .collect();
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
            assigned: tags::assigned(inputs.secondary),
            assigned_here: tags::assigned(inputs.primary),
            assigned_before: tags::assigned(inputs.secondary),
            filters: lake::filters(&parts),
            opt_ins: lake::opt_ins(&parts),
            aside: BTreeSet::new(),
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
            Step::CreateFunction { id, function } | Step::UpdateFunction { id, function, .. } => {
                self.write_function(id, function)
            }
            Step::DeleteFunction { id } => self.delete_function(id),
            Step::PutPart { subject, part, .. } => self.put_part(subject, part),
            Step::PutSettings {
                add,
                add_readers,
                drop,
                rest,
            } => self.put_settings([add, add_readers], drop, rest),
            Step::RemovePart { subject, key } => self.remove_part(subject, key),
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
        self.no_wildcard_beyond(&id.database)?;
        self.reader_sees(id)?;
        self.made.insert(subject.clone());
        self.nothing_opens(&subject, |play| {
            play.assigned.insert(subject.clone(), tags::Assigned::new());
            play.columns.insert(id.clone(), names(table));
        })
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
        let wanted: BTreeSet<&str> = table.columns().map(|column| column.name.as_str()).collect();
        if wanted != shown {
            self.reader_sees(id)?;
        }
        if wanted.is_subset(&shown) {
            self.columns.insert(id.clone(), names(table));
            return Ok(());
        }
        self.no_extras(&subject)?;
        self.no_wildcard_beyond(&id.database)?;
        self.no_filter_beyond(id)?;
        self.nothing_opens(&subject, |play| {
            play.columns.insert(id.clone(), names(table));
        })
    }

    fn write_partition(&self, id: &TableId, partition: &catalog::Partition) -> Judged {
        let subject = Subject::Table(id.clone());
        self.must_be_ours(&subject)?;
        let listed = seen(self.inputs.primary.partitions.get(id));
        match listed.and_then(|listed| listed.shown.get(&partition.values)) {
            Some(primary) => self.check_content(&subject, primary, partition),
            None => veto(
                Rule::Altered,
                format!("the primary has no such partition of {subject}"),
            ),
        }
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
        let this_one = look.is_some_and(|look| look.deletable.contains(values));
        let named = this_one || look.is_some_and(|look| look.partition_deletion_named);
        let there = seen(self.inputs.secondary.partitions.get(id));
        let found = there
            .is_some_and(|there| there.extra.contains(values) || there.shown.contains_key(values));
        // What is equal on both sides was not kept of a look at all of them.
        let extra = there.is_some_and(|there| there.extra.contains(values));
        let proven = match &listed.extent {
            Extent::Whole { total: 0 } => extra && (named || self.is_remade(id)),
            Extent::Whole { .. } => extra,
            Extent::Named(asked) => this_one && asked.contains(values),
        };
        if listed.shown.contains_key(values) || !found || !proven {
            return veto(Rule::Unproven, format!("deleting a partition of {subject}"));
        }
        Ok(())
    }

    fn delete_table(&mut self, id: &TableId) -> Judged {
        let subject = Subject::Table(id.clone());
        let there = seen(self.inputs.secondary.tables.get(id));
        if self.in_link(&id.database) {
            return veto(Rule::NotOurs, format!("deleting {subject}"));
        }
        if there.is_some_and(|there| there.object.target_table.is_some()) {
            self.delete_link(&subject)?;
            self.deleted.insert(subject);
            return Ok(());
        }
        if !self.is_paired(&subject) {
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
        if self.in_link(name) {
            return self.delete_link(&subject);
        }
        if !self.is_paired(&subject) {
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
        let functions = &self.inputs.secondary.functions;
        let left = left
            || functions.iter().any(|(id, function)| {
                id.database == *name
                    && seen(Some(function)).is_some()
                    && !self.deleted.contains(&Subject::Function(id.clone()))
            });
        let functions = self.inputs.secondary.functions_listed.get(name);
        let listed = self.inputs.secondary.listed.contains_key(name);
        if left || !listed || !functions.is_some_and(Result::is_ok) {
            return veto(Rule::NotOurs, format!("{subject} may still hold something"));
        }
        Ok(())
    }

    pub(super) fn primary_database(&self, name: &Name) -> Result<&Seen<Database>, Veto> {
        seen(self.inputs.primary.databases.get(name)).ok_or_else(|| Veto {
            rule: Rule::Altered,
            detail: format!("the primary shows no database {name}"),
        })
    }

    pub(super) fn primary_table(&self, id: &TableId) -> Result<&Seen<Table>, Veto> {
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
}

pub(super) fn names(table: &Table) -> BTreeSet<String> {
    table.columns().map(|column| column.name.clone()).collect()
}
