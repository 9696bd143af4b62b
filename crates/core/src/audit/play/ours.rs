//! Whose things a step touches.

use super::{Judged, Play, seen, veto};
use crate::audit::Rule;
use crate::catalog::{self, Database, Table};
use crate::grant::{Atom, Resource};
use crate::name::{Name, TableId};
use crate::reading::Observation;
use crate::scope::Subject;
use crate::step::Step;

impl<'a> Play<'a> {
    pub(super) fn is_ignored(&self, atom: &Atom) -> bool {
        let readings = [self.inputs.primary, self.inputs.secondary];
        let settings = readings.iter().filter_map(|r| seen(r.settings.as_ref()));
        self.inputs.ours.contains(&atom.principal.0)
            || settings
                .into_iter()
                .any(|s| s.administrators.contains(&atom.principal))
    }

    pub(super) fn in_link(&self, name: &Name) -> bool {
        seen(self.inputs.secondary.databases.get(name))
            .is_some_and(|there| there.object.target_database.is_some())
    }

    /// Whether the secondary's object is a resource link.
    pub(super) fn is_link(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => false,
            Subject::Database(name) => self.in_link(name),
            Subject::Table(id) => seen(self.inputs.secondary.tables.get(id))
                .is_some_and(|there| there.object.target_table.is_some()),
        }
    }

    /// A link goes only if it points where ours did, and the primary proves that it
    /// has none, or shows something else.
    pub(super) fn delete_link(&self, subject: &Subject) -> Judged {
        let proven = match subject {
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => false,
            Subject::Database(name) => match self.inputs.primary.databases.get(name) {
                Some(Observation::Absent(proof)) => proof.is_complete(),
                Some(Observation::Present(_)) => !self.link_equals(subject),
                Some(Observation::Unknown(_)) | None => false,
            },
            Subject::Table(id) => match self.inputs.primary.tables.get(id) {
                Some(Observation::Absent(proof)) => proof.is_complete(),
                Some(Observation::Present(_)) => !self.link_equals(subject),
                Some(Observation::Unknown(_)) | None => false,
            },
        };
        if self.link_is_paired(subject) && proven {
            return Ok(());
        }
        veto(
            Rule::NotOurs,
            format!("deleting the resource link {subject}"),
        )
    }

    fn link_is_paired(&self, subject: &Subject) -> bool {
        let Some(row) = self.inputs.rows.get(subject) else {
            return false;
        };
        let now = match subject {
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => None,
            Subject::Database(name) => seen(self.inputs.secondary.databases.get(name))
                .map(|there| catalog::digest(&there.object)),
            Subject::Table(id) => seen(self.inputs.secondary.tables.get(id))
                .map(|there| catalog::digest(&there.object)),
        };
        let known = row.pairing.as_ref().filter(|pairing| pairing.link);
        let known = known.map(|pairing| &pairing.digest);
        now.is_some() && (now.as_ref() == known || now == row.intended)
    }

    fn link_equals(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => false,
            Subject::Database(name) => {
                seen(self.inputs.secondary.databases.get(name)).is_some_and(|there| {
                    let primary = self.primary_database(name);
                    primary.is_ok_and(|p| self.content.check(&p.object, &there.object).is_ok())
                })
            }
            Subject::Table(id) => seen(self.inputs.secondary.tables.get(id)).is_some_and(|there| {
                let primary = self.primary_table(id);
                primary.is_ok_and(|p| self.content.check(&p.object, &there.object).is_ok())
            }),
        }
    }

    /// Whether grants on the subject are ours to change. On a link only those on the
    /// link itself are; below it stands what belongs to its target.
    pub(super) fn may_be_granted(&self, subject: &Subject, atom: &Atom) -> Judged {
        if !self.is_link(subject) {
            return self.must_be_ours(subject);
        }
        let whole = match atom.resource {
            Resource::Database(_) | Resource::Table(_) => true,
            Resource::AllTables(_)
            | Resource::Column(..)
            | Resource::ColumnsExcept(..)
            | Resource::Filter(..)
            | Resource::Catalog
            | Resource::Location(_)
            | Resource::Tag { .. }
            | Resource::TagPolicy { .. }
            | Resource::Expression(_) => false,
        };
        if whole && (self.link_is_paired(subject) || self.link_equals(subject)) {
            return Ok(());
        }
        veto(Rule::NotOurs, format!("{atom} is on a resource link"))
    }

    pub(super) fn is_paired(&self, subject: &Subject) -> bool {
        let row = self.inputs.rows.get(subject);
        let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
            return false;
        };
        let created = match subject {
            Subject::Catalog | Subject::Lake(_) => return false,
            Subject::Database(name) => {
                seen(self.inputs.secondary.databases.get(name)).map(|there| there.created)
            }
            Subject::Table(id) => {
                seen(self.inputs.secondary.tables.get(id)).map(|there| there.created)
            }
            Subject::Function(id) => {
                seen(self.inputs.secondary.functions.get(id)).map(|there| there.created)
            }
        };
        created == Some(pairing.secondary_created)
    }

    /// Whether the subject in the secondary is the counterpart of the primary's:
    /// made in this plan, paired, about to be paired, or equal to it.
    pub(super) fn must_be_ours(&self, subject: &Subject) -> Judged {
        if self.made.contains(subject) {
            return Ok(());
        }
        let intended = self
            .inputs
            .rows
            .get(subject)
            .and_then(|row| row.intended.as_deref());
        let ours = match subject {
            Subject::Catalog | Subject::Function(_) => false,
            // The policy pairs the two catalogs.
            Subject::Lake(_) => true,
            Subject::Database(name) if !self.inputs.secondary.databases.contains_key(name) => {
                let row = self.inputs.rows.get(subject);
                let pairing = row.and_then(|row| row.pairing.as_ref());
                pairing.is_some_and(|pairing| !pairing.link)
            }
            Subject::Database(name) => {
                let there = seen(self.inputs.secondary.databases.get(name));
                // What a revoke names may linger where a database is about to be made.
                let unmade = there.is_none() && self.creates_database(name);
                unmade
                    || there.is_some_and(|there| {
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

    /// The primary's table is another one than the one that the ledger pairs.
    pub(super) fn is_remade(&self, id: &TableId) -> bool {
        let row = self.inputs.rows.get(&Subject::Table(id.clone()));
        let paired = row
            .and_then(|row| row.pairing.as_ref())
            .and_then(|pairing| pairing.primary_created);
        let now = seen(self.inputs.primary.tables.get(id)).and_then(|seen| seen.created);
        matches!((paired, now), (Some(before), Some(now)) if before != now)
    }

    fn creates_database(&self, name: &Name) -> bool {
        let creates = |step: &Step| matches!(step, Step::CreateDatabase { database } if database.name == *name);
        self.steps.iter().any(creates)
    }

    pub(super) fn creates(&self, id: &TableId) -> bool {
        let creates =
            |step: &Step| matches!(step, Step::CreateTable { id: made, .. } if made == id);
        self.steps.iter().any(creates)
    }

    pub(super) fn equals_database(&self, name: &Name, there: &Database) -> bool {
        let mut closed = there.clone();
        closed.create_table_default_permissions = Some(Vec::new());
        closed.parameters.remove("transient_lastDdlTime");
        self.primary_database(name)
            .is_ok_and(|primary| self.content.check(&primary.object, &closed).is_ok())
    }

    pub(super) fn equals_table(&self, id: &TableId, there: &Table) -> bool {
        let mut there = there.clone();
        there.parameters.remove("transient_lastDdlTime");
        self.primary_table(id)
            .is_ok_and(|primary| self.content.check(&primary.object, &there).is_ok())
    }
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
