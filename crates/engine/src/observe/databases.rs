//! Databases, and every table of one.

use super::around::grants_filters;
use super::{Observer, PARTS, Readings, both, gather, observe_own};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Linkable, Seen};
use twinlake_core::policy::Filters;
use twinlake_core::reading::{Observation, Proof, Reading};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::{
    Atom, Database, Fault, FaultKind, Grants, Name, Pairing, Resource, Subject, Table, TableId,
};

/// A listing of tables; none where there is nothing to list.
type Listed = Option<Result<Vec<Seen<Table>>, Fault>>;

/// Tables of one database that a function looks at by itself.
pub const TABLES_AT_ONCE: usize = 2000;

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    pub(super) async fn database(&self, name: &Name, look: &Look, readings: &mut Readings) {
        let subject = Subject::Database(name.clone());
        if look.facets.contains(&Facet::Definition) {
            let (primary, secondary) = self.definitions(name).await;
            if self.prefetched.databases.is_none() {
                readings.asked.insert(name.clone());
            }
            let gone = matches!(primary, Observation::Absent(_)) && secondary.present().is_some();
            readings.primary.databases.insert(name.clone(), primary);
            readings.secondary.databases.insert(name.clone(), secondary);
            if gone {
                self.list_databases(name, readings).await;
            }
        }
        if look.facets.contains(&Facet::Grants) {
            self.grants(&subject, readings).await;
        }
        let there = readings.secondary.databases.get(name);
        let anew = !matches!(there, Some(Observation::Present(_)));
        if look.facets.contains(&Facet::Tags) || anew {
            self.parts(&[(subject.clone(), Facet::Tags)], readings)
                .await;
        }
        if look.facets.contains(&Facet::Assigned) || anew {
            self.parts(&[(subject.clone(), Facet::Assigned)], readings)
                .await;
        }
        let gone = matches!(
            readings.primary.databases.get(name),
            Some(Observation::Absent(_))
        );
        if look.facets.contains(&Facet::Contents) || gone {
            self.contents(name, readings).await;
        } else if self.needs_tables(name, readings) {
            self.list_names(name, readings).await;
        }
    }

    /// The names of a database's tables, where a grant on all of them is missing: it
    /// would open a table that the primary lacks.
    pub(super) async fn list_names(&self, name: &Name, readings: &mut Readings) {
        let (here, there) = both(self.primary.tables(name), self.secondary.tables(name)).await;
        let sides = [
            (here, &mut readings.primary),
            (there, &mut readings.secondary),
        ];
        for (listed, reading) in sides {
            match listed {
                Ok(listed) => {
                    let names = listed.into_iter().map(|seen| seen.object.name);
                    reading.listed.insert(name.clone(), names.collect());
                }
                Err(_) => {
                    reading.listed.remove(name);
                }
            }
        }
    }

    pub(super) async fn definitions(
        &self,
        name: &Name,
    ) -> (Observation<Seen<Database>>, Observation<Seen<Database>>) {
        let Some((all_here, all_there)) = &self.prefetched.databases else {
            let (primary, secondary) =
                both(self.primary.database(name), self.secondary.database(name)).await;
            return (observe_own(primary), observe_own(secondary));
        };
        let listed = |all: &Observation<BTreeMap<Name, Seen<Database>>>| match all {
            Observation::Present(all) => match all.get(name) {
                Some(seen) => Observation::Present(seen.clone()),
                None => Observation::Absent(Proof {
                    unlisted: true,
                    control_seen: !all.is_empty(),
                    ..Proof::default()
                }),
            },
            Observation::Absent(proof) => Observation::Absent(proof.clone()),
            Observation::Unknown(fault) => Observation::Unknown(fault.clone()),
        };
        let mut primary = listed(all_here);
        let mut secondary = listed(all_there);
        // A listing may be older than what the ledger knows of.
        let row = self.rows.get(&Subject::Database(name.clone()));
        let paired = row.is_some_and(|row| row.pairing.is_some());
        if paired && matches!(secondary, Observation::Absent(_)) {
            secondary = observe_own(self.secondary.database(name).await);
        }
        if let Observation::Absent(proof) = &mut primary
            && (paired || secondary.present().is_some())
        {
            match self.primary.database(name).await {
                Err(fault) if fault.kind == FaultKind::Absent => proof.not_found = true,
                Err(fault) => primary = Observation::Unknown(fault),
                // Made after the listing: the next round or run sees it whole.
                Ok(seen) => primary = Observation::Present(seen.own()),
            }
        }
        (primary, secondary)
    }

    /// Looks for a database that the primary does not know in its complete listing.
    pub(super) async fn list_databases(&self, name: &Name, readings: &mut Readings) {
        let Some(Observation::Absent(proof)) = readings.primary.databases.get_mut(name) else {
            return;
        };
        if proof.unlisted {
            return;
        }
        match self.primary.databases().await {
            Ok(all) => {
                proof.unlisted = all.iter().all(|seen| seen.object.name != *name);
                proof.control_seen = all.iter().any(|seen| seen.object.name != *name);
            }
            Err(fault) => {
                readings
                    .primary
                    .databases
                    .insert(name.clone(), Observation::Unknown(fault));
            }
        }
    }

    /// The tables of a database on each side where it is there, and no link.
    async fn list_sides(&self, database: &Name, readings: &Readings) -> (Listed, Listed) {
        let there = |reading: &Reading| {
            reading
                .databases
                .get(database)
                .is_some_and(|seen| seen.present().is_some())
        };
        let is_link = |reading: &Reading| {
            let seen = reading.databases.get(database);
            let seen = seen.and_then(Observation::present);
            seen.is_some_and(Linkable::is_link)
        };
        let wants = |reading: &Reading| there(reading) && !is_link(reading);
        let (from, to) = (wants(&readings.primary), wants(&readings.secondary));
        both(
            async {
                if from {
                    Some(self.primary.tables(database).await)
                } else {
                    None
                }
            },
            async {
                if to {
                    Some(self.secondary.tables(database).await)
                } else {
                    None
                }
            },
        )
        .await
    }

    /// Every table of a database, on both sides.
    pub(super) async fn contents(&self, database: &Name, readings: &mut Readings) {
        let (primary, secondary) = self.list_sides(database, readings).await;
        let parent = readings.primary.databases.get(database).cloned();
        let mut union: BTreeSet<TableId> = BTreeSet::new();
        let mut sides: Vec<BTreeMap<TableId, Seen<Table>>> = Vec::new();
        for (listed, reading) in [
            (primary, &mut readings.primary),
            (secondary, &mut readings.secondary),
        ] {
            let mut tables = BTreeMap::new();
            match listed {
                Some(Ok(listed)) => {
                    let names = listed.iter().map(|seen| seen.object.name.clone());
                    reading.listed.insert(database.clone(), names.collect());
                    for seen in listed.into_iter().map(Seen::own) {
                        let id = TableId::new(database.clone(), seen.object.name.clone());
                        tables.insert(id, seen);
                    }
                }
                Some(Err(fault)) => {
                    reading.listed.remove(database);
                    reading
                        .databases
                        .insert(database.clone(), Observation::Unknown(fault));
                }
                None => {}
            }
            union.extend(tables.keys().cloned());
            sides.push(tables);
        }
        let secondary = sides.pop().unwrap_or_default();
        let primary = sides.pop().unwrap_or_default();
        union.extend(self.paired_in(database));
        let here = matches!(parent, Some(Observation::Present(_)));
        if self.shares && here && union.len() > TABLES_AT_ONCE {
            // More than one function can look at: the caller shares them out.
            readings.too_many.extend(union);
            self.functions_in(database, readings).await;
            return;
        }
        self.place_tables(database, &union, (primary, secondary), parent, readings)
            .await;
        self.contents_facets(&union, readings).await;
        self.functions_in(database, readings).await;
    }

    pub(super) fn paired_in(&self, database: &Name) -> impl Iterator<Item = TableId> {
        let rows = self.rows.keys().filter_map(|subject| match subject {
            Subject::Table(id) if id.database == *database => Some(id.clone()),
            Subject::Table(_)
            | Subject::Function(_)
            | Subject::Catalog
            | Subject::Lake(_)
            | Subject::Database(_) => None,
        });
        rows.collect::<Vec<_>>().into_iter()
    }

    pub(super) async fn place_tables(
        &self,
        database: &Name,
        union: &BTreeSet<TableId>,
        (mut primary, mut secondary): (
            BTreeMap<TableId, Seen<Table>>,
            BTreeMap<TableId, Seen<Table>>,
        ),
        parent: Option<Observation<Seen<Database>>>,
        readings: &mut Readings,
    ) {
        let listed = readings.primary.listed.contains_key(database);
        let any = !primary.is_empty();
        let missing: Vec<&TableId> = union
            .iter()
            .filter(|id| !primary.contains_key(*id) && self.is_paired(id))
            .collect();
        let mut asked: BTreeMap<TableId, Result<Seen<Table>, Fault>> = BTreeMap::new();
        if listed {
            let calls = missing
                .into_iter()
                .map(|id| async move { (id.clone(), self.primary.table(id).await) });
            asked = gather(calls, self.parallel).await.into_iter().collect();
        }
        for id in union {
            let seen = match (primary.remove(id), asked.remove(id), &parent) {
                (Some(seen), _, _) | (None, Some(Ok(seen)), _) => Observation::Present(seen.own()),
                (None, Some(Err(fault)), _) if fault.kind != FaultKind::Absent => {
                    Observation::Unknown(fault)
                }
                (None, Some(Err(_)), _) => Observation::Absent(Proof {
                    not_found: true,
                    unlisted: true,
                    control_seen: any,
                    ..Proof::default()
                }),
                // What holds for the database holds for all that was in it.
                (None, None, Some(Observation::Absent(proof))) => {
                    Observation::Absent(proof.clone())
                }
                (None, None, Some(Observation::Unknown(fault))) => {
                    Observation::Unknown(fault.clone())
                }
                (None, None, Some(Observation::Present(_)) | None) => {
                    Observation::Absent(Proof::default())
                }
            };
            readings.primary.tables.insert(id.clone(), seen);
            let there = match secondary.remove(id) {
                Some(seen) => Observation::Present(seen),
                None => match readings.secondary.databases.get(database) {
                    Some(Observation::Unknown(fault)) => Observation::Unknown(fault.clone()),
                    Some(Observation::Present(_) | Observation::Absent(_)) | None => {
                        Observation::Absent(Proof::default())
                    }
                },
            };
            readings.secondary.tables.insert(id.clone(), there);
        }
    }

    pub(super) async fn contents_facets(&self, union: &BTreeSet<TableId>, readings: &mut Readings) {
        let covered: Vec<&TableId> = union
            .iter()
            .filter(|id| self.policy.covers_table(id))
            .collect();
        self.partitions(&covered, readings).await;
        for id in &covered {
            let subject = Subject::Table((*id).clone());
            self.grants(&subject, readings).await;
        }
        let mut opted: Vec<Subject> = covered
            .iter()
            .map(|id| Subject::Table((*id).clone()))
            .collect();
        opted.extend(
            covered
                .first()
                .map(|id| Subject::Database(id.database.clone())),
        );
        if !opted.is_empty() {
            self.opt_ins(&opted, readings).await;
        }
        let parts: Vec<(Subject, Facet)> = covered
            .iter()
            .flat_map(|id| PARTS.map(|facet| (Subject::Table((*id).clone()), facet)))
            .filter(|(subject, facet)| {
                *facet != Facet::Filters
                    || self.policy.filters == Filters::All
                    || grants_filters(subject, readings)
            })
            .collect();
        self.parts(&parts, readings).await;
    }

    /// Whether a grant on all tables of a database may be missing.
    fn needs_tables(&self, name: &Name, readings: &Readings) -> bool {
        let subject = Subject::Database(name.clone());
        let atoms = |reading: &Reading| -> Grants {
            let grants = reading.grants.get(&subject).and_then(Observation::present);
            let wildcard = |atom: &Atom| {
                let of_others = !self.ours.contains(&atom.principal.0);
                matches!(atom.resource, Resource::AllTables(_)) && of_others
            };
            let all = grants.into_iter().flatten();
            all.filter(|(atom, _)| wildcard(atom))
                .map(|(atom, grantable)| (atom.clone(), *grantable))
                .collect()
        };
        let missing = atoms(&readings.primary) != atoms(&readings.secondary);
        let there = readings.secondary.databases.get(name);
        missing && there.is_none_or(|seen| seen.present().is_some())
    }

    pub(super) fn is_paired(&self, id: &TableId) -> bool {
        self.pairing_of(id).is_some()
    }

    pub(super) fn pairing_of(&self, id: &TableId) -> Option<&Pairing> {
        let row = self.rows.get(&Subject::Table(id.clone()));
        row.and_then(|row| row.pairing.as_ref())
    }
}
