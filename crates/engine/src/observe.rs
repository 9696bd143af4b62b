//! Reads both Regions, as far as a scope asks.
//!
//! A name that the service does not know is not taken for a deletion. Where the
//! primary answers "not found" for what the secondary holds, the rest of the
//! proof is gathered in the same round: the parent's complete listing, our
//! standing as administrator, another object seen there.

use crate::listing::GrantIndex;
use crate::ports::{GrantFilter, ReadRegion};
use futures_util::{StreamExt as _, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use twinlake_core::catalog::Seen;
use twinlake_core::grant::Entry;
use twinlake_core::ledger::{Rows, Tally};
use twinlake_core::reading::{Observation, Partitions, Proof, Reading, Settings};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::{
    Atom, Database, Fault, FaultKind, Grants, Name, Policy, Principal, Resource, Subject, Table,
    TableId,
};

/// The two readings that a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Of the primary.
    pub primary: Reading,
    /// Of the secondary.
    pub secondary: Reading,
}

/// A listing of both sides: the primary's, then the secondary's.
pub type Sides<T> = (Observation<T>, Observation<T>);

/// Listings that are made once for many subjects.
#[derive(Clone, Debug, Default)]
pub struct Prefetched {
    /// Every grant.
    pub grants: Option<Sides<GrantIndex>>,
    /// Every database.
    pub databases: Option<Sides<BTreeMap<Name, Seen<Database>>>>,
    /// The data lake settings.
    pub settings: Option<Sides<Settings>>,
}

impl Prefetched {
    /// Lists every grant of both sides.
    pub async fn grants(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
        account: &str,
    ) -> Sides<GrantIndex> {
        let index = |listed: Result<Vec<Entry>, Fault>| {
            observe(listed.map(|entries| GrantIndex::new(&entries, account)))
        };
        let (here, there) = both(primary.all_grants(), secondary.all_grants()).await;
        (index(here), index(there))
    }

    /// Lists every database of both sides.
    pub async fn databases(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
    ) -> Sides<BTreeMap<Name, Seen<Database>>> {
        let by_name = |listed: Result<Vec<Seen<Database>>, Fault>| {
            observe(listed.map(|all| {
                all.into_iter()
                    .map(|seen| (seen.object.name.clone(), seen))
                    .collect()
            }))
        };
        let (here, there) = both(primary.databases(), secondary.databases()).await;
        (by_name(here), by_name(there))
    }

    /// Reads the settings of both sides.
    pub async fn settings(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
    ) -> Sides<Settings> {
        let (here, there) = both(primary.settings(), secondary.settings()).await;
        (observe(here), observe(there))
    }
}

/// One round's reads.
#[derive(Debug)]
pub struct Observer<'a, P, S> {
    /// The primary.
    pub primary: &'a P,
    /// The secondary.
    pub secondary: &'a S,
    /// The policy: what it leaves out is not read in depth.
    pub policy: &'a Policy,
    /// The account whose principals are replicated.
    pub account: &'a str,
    /// Our role in the primary, to be found among its administrators.
    pub reader: &'a Principal,
    /// Rows of the subjects, to know what is paired.
    pub rows: &'a Rows,
    /// Calls under way at once.
    pub parallel: usize,
    /// Listings that were made for many subjects at once.
    pub prefetched: &'a Prefetched,
}

/// From so many tables of one database on, it is listed instead.
const LIST_FROM: usize = 3;

fn observe<T>(result: Result<T, Fault>) -> Observation<T> {
    match result {
        Ok(thing) => Observation::Present(thing),
        Err(fault) if fault.kind == FaultKind::Absent => Observation::Absent(Proof {
            not_found: true,
            ..Proof::default()
        }),
        Err(fault) => Observation::Unknown(fault),
    }
}

async fn gather<T, F: Future<Output = T>>(
    calls: impl Iterator<Item = F>,
    parallel: usize,
) -> Vec<T> {
    stream::iter(calls)
        .buffer_unordered(parallel.max(1))
        .collect()
        .await
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    futures_util::future::join(a, b).await
}

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads what the looks ask for into the readings, replacing what they held
    /// of it from an earlier round.
    pub async fn read(
        &self,
        looks: &BTreeMap<Subject, Look>,
        asks_settings: bool,
        readings: &mut Readings,
    ) {
        for (subject, look) in looks {
            if let Subject::Database(name) = subject {
                self.database(name, look, readings).await;
            }
        }
        let tables: Vec<(&TableId, &Look)> = looks
            .iter()
            .filter_map(|(subject, look)| match subject {
                Subject::Table(id) => Some((id, look)),
                Subject::Catalog | Subject::Database(_) => None,
            })
            .collect();
        self.tables(&tables, readings).await;
        if asks_settings || self.needs_settings(readings) {
            self.settings(readings).await;
        }
        self.complete_proofs(looks, readings);
    }

    async fn database(&self, name: &Name, look: &Look, readings: &mut Readings) {
        let subject = Subject::Database(name.clone());
        if look.facets.contains(&Facet::Definition) {
            let (primary, secondary) = self.definitions(name).await;
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
        let gone = matches!(
            readings.primary.databases.get(name),
            Some(Observation::Absent(_))
        );
        if look.facets.contains(&Facet::Contents) || gone {
            self.contents(name, readings).await;
        } else if needs_tables(name, readings) {
            self.list_names(name, readings).await;
        }
    }

    /// The names of a database's tables, where a grant on all of them is missing: it
    /// would open a table that the primary lacks.
    async fn list_names(&self, name: &Name, readings: &mut Readings) {
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

    async fn definitions(
        &self,
        name: &Name,
    ) -> (Observation<Seen<Database>>, Observation<Seen<Database>>) {
        let Some((all_here, all_there)) = &self.prefetched.databases else {
            let (primary, secondary) =
                both(self.primary.database(name), self.secondary.database(name)).await;
            return (observe(primary), observe(secondary));
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
        let secondary = listed(all_there);
        if let Observation::Absent(proof) = &mut primary
            && secondary.present().is_some()
        {
            match self.primary.database(name).await {
                Err(fault) if fault.kind == FaultKind::Absent => proof.not_found = true,
                Err(fault) => primary = Observation::Unknown(fault),
                // Made after the listing: the next round or run sees it whole.
                Ok(seen) => primary = Observation::Present(seen),
            }
        }
        (primary, secondary)
    }

    /// Looks for a database that the primary does not know in its complete listing.
    async fn list_databases(&self, name: &Name, readings: &mut Readings) {
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

    /// Every table of a database, on both sides.
    async fn contents(&self, database: &Name, readings: &mut Readings) {
        let there = |reading: &Reading| {
            reading
                .databases
                .get(database)
                .is_some_and(|seen| seen.present().is_some())
        };
        let is_link = |reading: &Reading| {
            let seen = reading.databases.get(database);
            let seen = seen.and_then(Observation::present);
            seen.is_some_and(|seen| seen.object.target_database.is_some())
        };
        let wants = |reading: &Reading| there(reading) && !is_link(reading);
        let (from, to) = (wants(&readings.primary), wants(&readings.secondary));
        let (primary, secondary) = both(
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
        .await;
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
                    for seen in listed {
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
        self.place_tables(database, &union, (primary, secondary), parent, readings)
            .await;
        self.contents_facets(&union, readings).await;
    }

    fn paired_in(&self, database: &Name) -> impl Iterator<Item = TableId> {
        let rows = self.rows.keys().filter_map(|subject| match subject {
            Subject::Table(id) if id.database == *database => Some(id.clone()),
            Subject::Table(_) | Subject::Catalog | Subject::Database(_) => None,
        });
        rows.collect::<Vec<_>>().into_iter()
    }

    async fn place_tables(
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
                (Some(seen), _, _) | (None, Some(Ok(seen)), _) => Observation::Present(seen),
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

    async fn contents_facets(&self, union: &BTreeSet<TableId>, readings: &mut Readings) {
        let covered: Vec<&TableId> = union
            .iter()
            .filter(|id| self.policy.covers_table(id))
            .collect();
        self.partitions(&covered, readings).await;
        for id in &covered {
            let subject = Subject::Table((*id).clone());
            self.grants(&subject, readings).await;
        }
    }

    fn is_paired(&self, id: &TableId) -> bool {
        self.rows
            .get(&Subject::Table(id.clone()))
            .is_some_and(|row| row.pairing.is_some())
    }

    async fn tables(&self, looks: &[(&TableId, &Look)], readings: &mut Readings) {
        let wants = |facet: Facet| {
            looks
                .iter()
                .filter(move |(_, look)| look.facets.contains(&facet))
                .map(|(id, _)| *id)
        };
        let wanted: Vec<&TableId> = wants(Facet::Definition).collect();
        for (id, primary, secondary) in self.table_definitions(&wanted).await {
            let primary_gone = matches!(primary, Observation::Absent(_));
            let secondary_gone = matches!(secondary, Observation::Absent(_));
            let proves = primary_gone && secondary.present().is_some();
            readings.primary.tables.insert(id.clone(), primary);
            readings.secondary.tables.insert(id.clone(), secondary);
            // A name in a database that is a link would be written in its target.
            let writes = primary_gone != secondary_gone;
            if writes && !readings.secondary.databases.contains_key(&id.database) {
                let database = observe(self.secondary.database(&id.database).await);
                readings
                    .secondary
                    .databases
                    .insert(id.database.clone(), database);
            }
            if proves {
                self.list_tables(id, readings).await;
            }
        }
        let partitioned: Vec<&TableId> = wants(Facet::Partitions).collect();
        self.partitions(&partitioned, readings).await;
        for id in wants(Facet::Grants) {
            self.grants(&Subject::Table(id.clone()), readings).await;
        }
    }

    /// Tables by name, or by listing where many of one database are asked for. What
    /// a listing lacks is asked for by name: only that answer can be "not found".
    async fn table_definitions<'i>(
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
        let many = counts.into_iter().filter(|(_, count)| *count >= LIST_FROM);
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
                (*id, observe(primary), observe(secondary))
            }
        });
        gather(calls, self.parallel).await
    }

    /// Looks for a table that the primary does not know in its database's complete
    /// listing.
    async fn list_tables(&self, id: &TableId, readings: &mut Readings) {
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

    async fn prove_database_gone(&self, name: &Name) -> Proof {
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

    /// Partitions of the tables that have partition keys; of the secondary only
    /// where the table is there.
    async fn partitions(&self, ids: &[&TableId], readings: &mut Readings) {
        let has_keys = |reading: &Reading, id: &TableId| {
            let seen = reading.tables.get(id).and_then(Observation::present);
            seen.is_some_and(|seen| {
                !seen.object.partition_keys.is_empty() && seen.object.target_table.is_none()
            })
        };
        let wanted: Vec<(&TableId, bool)> = ids
            .iter()
            .filter(|id| has_keys(&readings.primary, id))
            .map(|id| (*id, has_keys(&readings.secondary, id)))
            .collect();
        let calls = wanted.into_iter().map(|(id, there)| async move {
            let secondary = async {
                match there {
                    true => Some(self.secondary.partitions(id).await),
                    false => None,
                }
            };
            let (primary, secondary) = both(self.primary.partitions(id), secondary).await;
            (id, primary, secondary)
        });
        for (id, primary, secondary) in gather(calls, self.parallel).await {
            let keyed = |listed: Result<Vec<twinlake_core::Partition>, Fault>| {
                observe(listed.map(|all| -> Partitions {
                    all.into_iter().map(|p| (p.values.clone(), p)).collect()
                }))
            };
            readings
                .primary
                .partitions
                .insert(id.clone(), keyed(primary));
            match secondary {
                Some(listed) => readings
                    .secondary
                    .partitions
                    .insert(id.clone(), keyed(listed)),
                None => readings.secondary.partitions.remove(id),
            };
        }
    }

    async fn grants(&self, subject: &Subject, readings: &mut Readings) {
        if let Some((here, there)) = &self.prefetched.grants {
            let sides = [
                (here, &mut readings.primary),
                (there, &mut readings.secondary),
            ];
            for (index, reading) in sides {
                let grants = match index {
                    Observation::Present(index) => {
                        if index.any {
                            reading.grants_controlled.insert(subject.clone());
                        }
                        Observation::Present(index.on(subject))
                    }
                    Observation::Absent(proof) => Observation::Absent(proof.clone()),
                    Observation::Unknown(fault) => Observation::Unknown(fault.clone()),
                };
                reading.grants.insert(subject.clone(), grants);
            }
            return;
        }
        let (primary, secondary) = both(
            self.list_grants(self.primary, subject),
            self.list_grants(self.secondary, subject),
        )
        .await;
        for ((grants, any), reading) in [
            (primary, &mut readings.primary),
            (secondary, &mut readings.secondary),
        ] {
            if any {
                reading.grants_controlled.insert(subject.clone());
            } else {
                reading.grants_controlled.remove(subject);
            }
            reading.grants.insert(subject.clone(), grants);
        }
    }

    /// The grants on a subject, and whether the listing held any entry at all.
    async fn list_grants<R: ReadRegion>(
        &self,
        region: &R,
        subject: &Subject,
    ) -> (Observation<Grants>, bool) {
        let filters = match subject {
            Subject::Catalog => Vec::new(),
            Subject::Database(name) => vec![
                GrantFilter::Database(name.clone()),
                GrantFilter::AllTables(name.clone()),
            ],
            Subject::Table(id) => vec![GrantFilter::Table(id.clone())],
        };
        let mut entries = Vec::new();
        for filter in filters {
            match region.grants_on(&filter).await {
                Ok(listed) => entries.extend(listed),
                // Nothing can be granted on what is not there.
                Err(fault) if fault.kind == FaultKind::Absent => {}
                Err(fault) => return (Observation::Unknown(fault), false),
            }
        }
        let index = GrantIndex::new(&entries, self.account);
        (Observation::Present(index.on(subject)), index.any)
    }

    /// Settings decide whose grants are compared, whether an absence counts, and
    /// whether a new database would be born open: asked for only then.
    fn needs_settings(&self, readings: &Readings) -> bool {
        let differs = readings
            .primary
            .grants
            .iter()
            .any(|(subject, grants)| readings.secondary.grants.get(subject) != Some(grants));
        let gone = |absent: bool, there: bool| absent && there;
        let table_gone = readings.primary.tables.iter().any(|(id, seen)| {
            let there = readings.secondary.tables.get(id);
            let there = there.and_then(Observation::present).is_some();
            gone(matches!(seen, Observation::Absent(_)), there)
        });
        let database = readings.primary.databases.iter().any(|(name, seen)| {
            let there = readings.secondary.databases.get(name);
            let there = there.and_then(Observation::present).is_some();
            seen.present().is_some() != there
        });
        differs || table_gone || database
    }

    async fn settings(&self, readings: &mut Readings) {
        let (here, there) = match &self.prefetched.settings {
            Some(settings) => settings.clone(),
            None => Prefetched::settings(self.primary, self.secondary).await,
        };
        readings.primary.settings = Some(here);
        readings.secondary.settings = Some(there);
        let settings = readings.primary.settings.as_ref();
        readings.primary.administrator = settings
            .and_then(Observation::present)
            .is_some_and(|settings| settings.administrators.contains(self.reader));
    }

    /// Adds to each absence what was learnt beside it: our standing, and whether an
    /// event named the deletion.
    fn complete_proofs(&self, looks: &BTreeMap<Subject, Look>, readings: &mut Readings) {
        let administrator = readings.primary.administrator;
        let named = |subject: &Subject| looks.get(subject).is_some_and(|look| look.deletion_named);
        for (name, seen) in &mut readings.primary.databases {
            if let Observation::Absent(proof) = seen {
                proof.administrator = administrator;
                proof.deletion_named |= named(&Subject::Database(name.clone()));
            }
        }
        for (id, seen) in &mut readings.primary.tables {
            if let Observation::Absent(proof) = seen {
                proof.administrator = administrator;
                proof.deletion_named |= named(&Subject::Table(id.clone()));
                proof.deletion_named |= named(&Subject::Database(id.database.clone()));
            }
        }
    }
}

fn needs_tables(name: &Name, readings: &Readings) -> bool {
    let subject = Subject::Database(name.clone());
    let atoms = |reading: &Reading| -> Grants {
        let grants = reading.grants.get(&subject).and_then(Observation::present);
        let wildcard = |atom: &Atom| matches!(atom.resource, Resource::AllTables(_));
        let all = grants.into_iter().flatten();
        all.filter(|(atom, _)| wildcard(atom))
            .map(|(atom, grantable)| (atom.clone(), *grantable))
            .collect()
    };
    let missing = atoms(&readings.primary) != atoms(&readings.secondary);
    let there = readings.secondary.databases.get(name);
    missing && there.is_none_or(|seen| seen.present().is_some())
}

/// Counts what the rows pair.
#[must_use]
pub fn tally(rows: &Rows) -> Tally {
    let mut tally = Tally::default();
    for row in rows.values().filter(|row| row.pairing.is_some()) {
        match row.subject {
            Subject::Catalog => {}
            Subject::Database(_) => tally.databases += 1,
            Subject::Table(_) => {
                tally.tables += 1;
                tally.partitions += row.partitions;
            }
        }
    }
    tally
}
