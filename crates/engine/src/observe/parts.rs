//! Functions of databases, and the parts of databases and tables.

use super::{Observer, Readings, both, gather, known, observe};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Function, Linkable as _, Seen};
use twinlake_core::policy::{Statistics, Tags};
use twinlake_core::reading::{Observation, Proof, Reading, by_key};
use twinlake_core::{Facet, FaultKind, FunctionId, Name, Subject};

/// A kind of parts of a subject, with the columns to ask for on each side; none
/// where the secondary has no such subject.
type Asked<'a> = (&'a Subject, Facet, Vec<String>, Option<Vec<String>>);

type Listed = BTreeMap<FunctionId, Seen<Function>>;

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Every function of a database, on both sides, and those that are paired.
    pub(super) async fn functions_in(&self, database: &Name, readings: &mut Readings) {
        let (primary, secondary) = match &self.prefetched.functions {
            Some((here, there)) => (
                within(here, &readings.primary, database),
                within(there, &readings.secondary, database),
            ),
            None => {
                both(
                    list(self.primary, &readings.primary, database),
                    list(self.secondary, &readings.secondary, database),
                )
                .await
            }
        };
        note_listed(&mut readings.primary, database, &primary);
        note_listed(&mut readings.secondary, database, &secondary);
        let sides = [&primary, &secondary];
        let mut union: BTreeSet<FunctionId> = BTreeSet::new();
        for listed in sides.iter().filter_map(|side| side.present()) {
            union.extend(listed.keys().cloned());
        }
        union.extend(self.rows.keys().filter_map(|subject| match subject {
            Subject::Function(id) if id.database == *database => Some(id.clone()),
            Subject::Function(_)
            | Subject::Table(_)
            | Subject::Database(_)
            | Subject::Lake(_)
            | Subject::Catalog => None,
        }));
        for id in union {
            let mut here = one(&primary, &id);
            let mut there = one(&secondary, &id);
            // A listing may be older than what the ledger knows of.
            let paired = self.rows.get(&Subject::Function(id.clone()));
            let paired = paired.is_some_and(|row| row.pairing.is_some());
            if paired && matches!(there, Observation::Absent(_)) {
                there = observe(self.secondary.function(&id).await);
            }
            let tables = readings.primary.listed.get(database);
            let control = tables.is_some_and(|tables| !tables.is_empty());
            if let Observation::Absent(proof) = &mut here {
                proof.control_seen |= control;
                if paired || there.present().is_some() {
                    match self.primary.function(&id).await {
                        Err(fault) if fault.kind == FaultKind::Absent => proof.not_found = true,
                        Err(fault) => here = Observation::Unknown(fault),
                        // Made after the listing: the next look sees it whole.
                        Ok(seen) => here = Observation::Present(seen),
                    }
                }
            }
            readings.primary.functions.insert(id.clone(), here);
            readings.secondary.functions.insert(id, there);
        }
    }

    /// One function by its name, with the rest of the proof where it is gone.
    pub(super) async fn function(&self, id: &FunctionId, readings: &mut Readings) {
        let (primary, secondary) =
            both(self.primary.function(id), self.secondary.function(id)).await;
        let (mut primary, secondary) = (observe(primary), observe(secondary));
        if let Observation::Absent(proof) = &mut primary
            && secondary.present().is_some()
        {
            match self.primary.functions(Some(&id.database)).await {
                Ok(all) => {
                    proof.unlisted = all.iter().all(|(other, _)| other != id);
                    proof.control_seen = all.iter().any(|(other, _)| other != id);
                }
                Err(fault) => primary = Observation::Unknown(fault),
            }
        }
        // Whatever is made in a database that is a link is made in its target.
        if !readings.secondary.databases.contains_key(&id.database) {
            let seen = super::observe_own(self.secondary.database(&id.database).await);
            readings
                .secondary
                .databases
                .insert(id.database.clone(), seen);
            readings.asked.insert(id.database.clone());
        }
        readings.primary.functions.insert(id.clone(), primary);
        readings.secondary.functions.insert(id.clone(), secondary);
    }

    /// The parts of these kinds, of subjects that are there.
    pub(super) async fn parts(&self, wanted: &[(Subject, Facet)], readings: &mut Readings) {
        let wanted: Vec<Asked<'_>> = wanted
            .iter()
            .filter(|(_, facet)| self.copies(*facet))
            .filter_map(|(subject, facet)| {
                let here = columns(&readings.primary, subject, *facet)?;
                let there = columns(&readings.secondary, subject, *facet);
                Some((subject, *facet, here, there))
            })
            .collect();
        let calls = wanted
            .iter()
            .map(|(subject, facet, here, there)| async move {
                let secondary = async {
                    match there {
                        Some(columns) => Some(self.secondary.parts(subject, *facet, columns).await),
                        None => None,
                    }
                };
                let primary = self.primary.parts(subject, *facet, here);
                let (primary, secondary) = both(primary, secondary).await;
                (((*subject).clone(), *facet), primary, secondary)
            });
        for (at, primary, secondary) in gather(calls, self.parallel).await {
            let primary = known(primary.map(by_key));
            match secondary {
                Some(listed) => {
                    let listed = known(listed.map(by_key));
                    readings.secondary.parts.insert(at.clone(), listed);
                }
                None => {
                    readings.secondary.parts.remove(&at);
                }
            }
            readings.primary.parts.insert(at, primary);
        }
    }

    fn copies(&self, facet: Facet) -> bool {
        match facet {
            Facet::Indexes => true,
            Facet::Statistics => self.policy.statistics == Statistics::Tables,
            Facet::Tags => self.policy.tags == Tags::Copy,
            Facet::Filters => true,
            Facet::Assigned => !self.is_tagless(),
            Facet::Definition
            | Facet::Partitions
            | Facet::Grants
            | Facet::Contents
            | Facet::OptIns
            | Facet::Items => false,
        }
    }
}

/// The columns to ask for, where a subject can have parts of this kind at all.
fn columns(reading: &Reading, subject: &Subject, facet: Facet) -> Option<Vec<String>> {
    match subject {
        Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => None,
        Subject::Database(name) => {
            let seen = reading.databases.get(name).and_then(Observation::present)?;
            let has = matches!(facet, Facet::Tags | Facet::Assigned);
            (has && !seen.is_link()).then(Vec::new)
        }
        Subject::Table(id) => {
            let seen = reading.tables.get(id).and_then(Observation::present)?;
            let table = &seen.object;
            if table.is_link() {
                return None;
            }
            match facet {
                Facet::Indexes if table.partition_keys.is_empty() => None,
                Facet::Statistics => {
                    let stored = table.storage_descriptor.iter().flat_map(|sd| &sd.columns);
                    let names: Vec<String> = stored.map(|column| column.name.clone()).collect();
                    (!names.is_empty() && !table.is_view()).then_some(names)
                }
                Facet::Indexes | Facet::Tags | Facet::Filters | Facet::Assigned => Some(Vec::new()),
                Facet::Definition
                | Facet::Partitions
                | Facet::Grants
                | Facet::Contents
                | Facet::OptIns
                | Facet::Items => None,
            }
        }
    }
}

/// The functions of a database; none where the database is not there, or is a link.
async fn list<R: ReadRegion>(
    region: &R,
    reading: &Reading,
    database: &Name,
) -> Observation<Listed> {
    match reading.databases.get(database) {
        Some(Observation::Present(seen)) if !seen.is_link() => {
            let listed = region.functions(Some(database)).await;
            known(listed.map(|all| all.into_iter().collect()))
        }
        Some(Observation::Present(_)) | None => Observation::Present(Listed::new()),
        Some(Observation::Absent(proof)) => Observation::Absent(proof.clone()),
        Some(Observation::Unknown(fault)) => Observation::Unknown(fault.clone()),
    }
}

/// Writes down whether a database's functions are known. Of a database that is not
/// there, or that is a link, there is nothing to know.
fn note_listed(reading: &mut Reading, database: &Name, listed: &Observation<Listed>) {
    let known = match listed {
        Observation::Present(_) | Observation::Absent(_) => Ok(()),
        Observation::Unknown(fault) => Err(fault.clone()),
    };
    reading.functions_listed.insert(database.clone(), known);
}

fn within(listed: &Observation<Listed>, reading: &Reading, database: &Name) -> Observation<Listed> {
    // What holds for the database holds for all that was in it.
    if let Some(Observation::Absent(proof)) = reading.databases.get(database) {
        return Observation::Absent(proof.clone());
    }
    match listed {
        Observation::Present(all) => {
            let mine = all.iter().filter(|(id, _)| id.database == *database);
            Observation::Present(mine.map(|(id, f)| (id.clone(), f.clone())).collect())
        }
        Observation::Absent(proof) => Observation::Absent(proof.clone()),
        Observation::Unknown(fault) => Observation::Unknown(fault.clone()),
    }
}

fn one(listed: &Observation<Listed>, id: &FunctionId) -> Observation<Seen<Function>> {
    match listed {
        Observation::Present(all) => match all.get(id) {
            Some(seen) => Observation::Present(seen.clone()),
            None => Observation::Absent(Proof {
                unlisted: true,
                control_seen: !all.is_empty(),
                ..Proof::default()
            }),
        },
        Observation::Absent(proof) => Observation::Absent(proof.clone()),
        Observation::Unknown(fault) => Observation::Unknown(fault.clone()),
    }
}
