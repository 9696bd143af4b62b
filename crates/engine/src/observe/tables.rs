//! Tables and their partitions.

use super::{Observer, PARTS, Readings, both, gather, observe_own};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::Seen;
use twinlake_core::reading::{Observation, Proof, Reading};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::{Database, Fault, FaultKind, Name, Subject, Table, TableId};

/// From so many tables of one database on, it is listed instead.
const LIST_FROM: usize = 3;

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    pub(super) async fn tables(&self, looks: &[(&TableId, &Look)], readings: &mut Readings) {
        let wants = |facet: Facet| {
            looks
                .iter()
                .filter(move |(_, look)| look.facets.contains(&facet))
                .map(|(id, _)| *id)
        };
        let wanted: Vec<&TableId> = wants(Facet::Definition).collect();
        self.definitions_of(&wanted, readings).await;
        // Of what is made anew everything is read, whatever was asked for.
        let anew: BTreeSet<&TableId> = wanted
            .iter()
            .copied()
            .filter(|id| self.is_new(id, readings))
            .collect();
        let partitioned: BTreeSet<&TableId> =
            wants(Facet::Partitions).chain(anew.clone()).collect();
        let partitioned: Vec<&TableId> = partitioned.into_iter().collect();
        self.partitions(&partitioned, readings).await;
        for (id, look) in looks {
            if !look.values.is_empty() && !partitioned.contains(id) {
                self.partitions_named(id, &look.values, readings).await;
            }
        }
        let parts: BTreeSet<(&TableId, Facet)> = PARTS
            .into_iter()
            .flat_map(|facet| wants(facet).chain(anew.clone()).map(move |id| (id, facet)))
            .collect();
        let parts: Vec<(Subject, Facet)> = parts
            .into_iter()
            .map(|(id, facet)| (Subject::Table(id.clone()), facet))
            .collect();
        self.parts(&parts, readings).await;
        let mut asked: BTreeSet<&TableId> = wants(Facet::Grants).collect();
        // Nothing is made or shown anew before the grants on it are known.
        asked.extend(wants(Facet::Definition).filter(|id| changes(id, readings)));
        for id in asked {
            self.grants(&Subject::Table(id.clone()), readings).await;
        }
        let opened: BTreeSet<&Name> = wants(Facet::Definition)
            .filter(|id| changes(id, readings))
            .map(|id| &id.database)
            .filter(|name| {
                let own = Subject::Database((*name).clone());
                !readings.secondary.grants.contains_key(&own)
            })
            .collect();
        for database in opened {
            self.wildcards(database, readings).await;
        }
    }

    /// The tables themselves, with the proof where one is gone from the primary.
    async fn definitions_of(&self, wanted: &[&TableId], readings: &mut Readings) {
        for (id, primary, secondary) in self.table_definitions(wanted).await {
            let primary_gone = matches!(primary, Observation::Absent(_));
            let secondary_gone = matches!(secondary, Observation::Absent(_));
            let proves = primary_gone && secondary.present().is_some();
            readings.primary.tables.insert(id.clone(), primary);
            readings.secondary.tables.insert(id.clone(), secondary);
            // A name in a database that is a link would be written in its target.
            let known = self.pairing_of(id).is_some_and(|pairing| {
                let there = readings
                    .secondary
                    .tables
                    .get(id)
                    .and_then(Observation::present);
                !pairing.link && there.is_some_and(|t| t.created == pairing.secondary_created)
            });
            let writes = primary_gone != secondary_gone || !(known || primary_gone);
            if writes && !readings.secondary.databases.contains_key(&id.database) {
                let database = observe_own(self.secondary.database(&id.database).await);
                readings.asked.insert(id.database.clone());
                readings
                    .secondary
                    .databases
                    .insert(id.database.clone(), database);
            }
            if proves {
                self.list_tables(id, readings).await;
            }
        }
    }

    /// Whether the primary's table has no counterpart yet, or is another one than the
    /// one that was paired.
    fn is_new(&self, id: &TableId, readings: &Readings) -> bool {
        let here = readings
            .primary
            .tables
            .get(id)
            .and_then(Observation::present);
        let there = readings
            .secondary
            .tables
            .get(id)
            .and_then(Observation::present);
        let Some(here) = here else {
            return false;
        };
        let pairing = self.pairing_of(id);
        there.is_none() || pairing.is_some_and(|pairing| pairing.primary_created != here.created)
    }

    /// Tables by name, or by listing where many of one database are asked for. What
    /// a listing lacks is asked for by name: only that answer can be "not found".
    pub(super) async fn table_definitions<'i>(
        &self,
        ids: &[&'i TableId],
    ) -> Vec<(
        &'i TableId,
        Observation<Seen<Table>>,
        Observation<Seen<Table>>,
    )> {
        let mut counts: BTreeMap<&Name, usize> = BTreeMap::new();
        for id in ids {
            *counts.entry(&id.database).or_default() += 1;
        }
        let by_name = self.prefetched.tables_by_name;
        let counts = counts.into_iter();
        let many = counts.filter(|(_, count)| *count >= LIST_FROM && !by_name);
        let calls = many.map(|(database, _)| async move {
            let listed = both(
                self.primary.tables(database),
                self.secondary.tables(database),
            );
            (database, listed.await)
        });
        type Listed = BTreeMap<Name, Seen<Table>>;
        let mut listed: BTreeMap<&Name, (Listed, Listed)> = BTreeMap::new();
        for (database, (primary, secondary)) in gather(calls, self.parallel).await {
            let by_name = |tables: Result<Vec<Seen<Table>>, Fault>| -> Listed {
                let tables = tables.unwrap_or_default().into_iter();
                tables.map(|t| (t.object.name.clone(), t)).collect()
            };
            listed.insert(database, (by_name(primary), by_name(secondary)));
        }
        let calls = ids.iter().map(|id| {
            let known = listed.get(&id.database);
            let here = known.and_then(|(here, _)| here.get(&id.table).cloned());
            let there = known.and_then(|(_, there)| there.get(&id.table).cloned());
            async move {
                let primary = async {
                    match here {
                        Some(seen) => Ok(seen),
                        None => self.primary.table(id).await,
                    }
                };
                let secondary = async {
                    match there {
                        Some(seen) => Ok(seen),
                        None => self.secondary.table(id).await,
                    }
                };
                let (primary, secondary) = both(primary, secondary).await;
                (*id, observe_own(primary), observe_own(secondary))
            }
        });
        gather(calls, self.parallel).await
    }

    /// Looks for a table that the primary does not know in its database's complete
    /// listing.
    pub(super) async fn list_tables(&self, id: &TableId, readings: &mut Readings) {
        let seen = match self.primary.tables(&id.database).await {
            Ok(all) => Observation::Absent(Proof {
                not_found: true,
                unlisted: all.iter().all(|seen| seen.object.name != id.table),
                control_seen: all.iter().any(|seen| seen.object.name != id.table),
                ..Proof::default()
            }),
            // The database went with it.
            Err(fault) if fault.kind == FaultKind::Absent => {
                Observation::Absent(self.prove_database_gone(&id.database).await)
            }
            Err(fault) => Observation::Unknown(fault),
        };
        readings.primary.tables.insert(id.clone(), seen);
    }

    pub(super) async fn prove_database_gone(&self, name: &Name) -> Proof {
        let listed = self.primary.databases().await;
        let others = |all: &[Seen<Database>]| all.iter().any(|seen| seen.object.name != *name);
        Proof {
            not_found: true,
            unlisted: listed
                .as_ref()
                .is_ok_and(|all| all.iter().all(|seen| seen.object.name != *name)),
            control_seen: listed.as_ref().is_ok_and(|all| others(all)),
            ..Proof::default()
        }
    }
}

/// The databases of tables that are about to be made, shown or tagged anew, and those
/// whose own LF-Tags differ.
pub(super) fn opened(readings: &Readings) -> BTreeSet<Subject> {
    let here = |id: &TableId| {
        let seen = readings.primary.tables.get(id);
        seen.and_then(Observation::present).is_some()
    };
    let tables = readings.primary.tables.keys();
    let changed = tables.filter(|id| here(id) && changes(id, readings));
    let mut databases: BTreeSet<Subject> = changed
        .map(|id| Subject::Database(id.database.clone()))
        .collect();
    for (at, assigned) in &readings.primary.parts {
        let there = readings
            .secondary
            .parts
            .get(at)
            .and_then(Observation::present);
        let differs = assigned.present().is_some_and(|assigned| match there {
            Some(there) => assigned != there,
            None => !assigned.is_empty(),
        });
        if at.1 == Facet::Assigned && differs {
            databases.extend(at.0.database().cloned().map(Subject::Database));
        }
    }
    databases
}

/// Whether a table is there on one side only, or has other columns on the other.
pub(super) fn changes(id: &TableId, readings: &Readings) -> bool {
    let columns = |reading: &Reading| -> Option<BTreeSet<String>> {
        let seen = reading.tables.get(id).and_then(Observation::present)?;
        Some(seen.object.columns().map(|c| c.name.clone()).collect())
    };
    columns(&readings.primary) != columns(&readings.secondary)
}
