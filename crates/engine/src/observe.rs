//! Reads both Regions, as far as a scope asks.
//!
//! A name that the service does not know is not taken for a deletion. Where the
//! primary answers "not found" for what the secondary holds, the rest of the
//! proof is gathered in the same round: the parent's complete listing, our
//! standing as administrator, another object seen there.

mod around;
mod databases;
mod grants;
pub(crate) mod lake;
mod partitions;
mod parts;
mod prefetch;
mod tables;

use crate::ports::ReadRegion;
use futures_util::{StreamExt as _, stream};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use twinlake_core::catalog::Linkable;
use twinlake_core::ledger::{Epoch, Rows, Tally};
use twinlake_core::reading::{Observation, Proof, Reading};
use twinlake_core::scope::Look;
use twinlake_core::sweep::Values;
use twinlake_core::{
    Facet, Fault, FaultKind, Grants, Lake, Name, OwnRoles, Partition, Policy, Principal, Subject,
    TableId,
};

pub use databases::TABLES_AT_ONCE;
pub use lake::{Items, OptIns};
pub use partitions::KEPT;
pub use prefetch::{BothTerms, Prefetched, terms};

/// The two readings that a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Of the primary.
    pub primary: Reading,
    /// Of the secondary.
    pub secondary: Reading,
    /// Partitions that differ and were not kept whole: to be asked for by name.
    pub later: BTreeMap<TableId, Later>,
    /// Tables whose partitions were not listed since time ran out.
    pub timed_out: BTreeSet<TableId>,
    /// Tables of a database that has too many: not looked at yet.
    pub too_many: BTreeSet<TableId>,
    /// Databases of the secondary that were asked for by name in this very round.
    pub asked: BTreeSet<Name>,
}

/// Partitions of a table that are left for later, by their values.
#[derive(Clone, Debug, Default)]
pub struct Later {
    /// Those that differ.
    pub changed: Vec<Values>,
    /// Those that the primary lacks.
    pub gone: Vec<Values>,
}

impl Later {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changed.len() + self.gone.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Partitions whose writing the secondary confirmed, as they were sent; `None` where it
/// was a deletion.
pub type Confirmed = BTreeMap<TableId, BTreeMap<Values, Option<Partition>>>;

/// The facets of a table that are parts.
const PARTS: [Facet; 5] = [
    Facet::Indexes,
    Facet::Statistics,
    Facet::Tags,
    Facet::Filters,
    Facet::Assigned,
];

/// A listing of both sides: the primary's, then the secondary's.
pub type Sides<T> = (Observation<T>, Observation<T>);

/// One round's reads.
pub struct Observer<'a, P, S> {
    /// The primary.
    pub primary: &'a P,
    /// The secondary.
    pub secondary: &'a S,
    /// The policy: what it leaves out is not read in depth.
    pub policy: &'a Policy,
    /// Who is primary.
    pub epoch: Epoch,
    /// In whose terms permissions are told.
    pub terms: &'a BothTerms,
    /// Our role in the primary, to be found among its administrators.
    pub reader: &'a Principal,
    /// All our roles.
    pub ours: &'a OwnRoles,
    /// Rows of the subjects, to know what is paired.
    pub rows: &'a Rows,
    /// Calls under way at once.
    pub parallel: usize,
    /// Listings that were made for many subjects at once.
    pub prefetched: &'a Prefetched,
    /// How many more partitions may be kept whole in this round.
    pub room: Cell<usize>,
    /// What the secondary has confirmed in the round before.
    pub confirmed: &'a Confirmed,
    /// Whether the tables of a large database are left to be shared out.
    pub shares: bool,
    /// Whether time has run out.
    pub is_late: &'a dyn Fn() -> bool,
}

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

/// An object as itself: of a link, without what a read shows of its target.
pub(crate) fn observe_own<T: Linkable>(result: Result<T, Fault>) -> Observation<T> {
    observe(result.map(Linkable::own))
}

/// What belongs to something that is there: "not found" tells nothing of it.
fn known<T>(result: Result<T, Fault>) -> Observation<T> {
    match result {
        Ok(thing) => Observation::Present(thing),
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
            if let Subject::Lake(lake) = subject {
                self.lake(*lake, look, readings).await;
            }
            if let Subject::Database(name) = subject {
                self.database(name, look, readings).await;
            }
        }
        let tables: Vec<(&TableId, &Look)> = looks
            .iter()
            .filter_map(|(subject, look)| match subject {
                Subject::Table(id) => Some((id, look)),
                Subject::Catalog
                | Subject::Lake(_)
                | Subject::Database(_)
                | Subject::Function(_) => None,
            })
            .collect();
        self.tables(&tables, readings).await;
        self.around(looks, readings).await;
        for subject in looks.keys() {
            if let Subject::Function(id) = subject {
                self.function(id, readings).await;
            }
        }
        if looks.contains_key(&Subject::Lake(Lake::Settings)) {
            self.settings(readings).await;
        }
        let known = readings.primary.settings.is_some() && readings.secondary.settings.is_some();
        let proves = proves_absence(readings);
        let asks = asks_settings || self.needs_settings(readings);
        if proves || (asks && !known) {
            self.settings(readings).await;
        }
        self.complete_proofs(looks, readings);
    }

    /// Settings decide whose grants are compared, whether an absence counts, and
    /// whether a new database would be born open: asked for only then.
    fn needs_settings(&self, readings: &Readings) -> bool {
        let differs = readings
            .primary
            .grants
            .iter()
            .any(|(subject, grants)| readings.secondary.grants.get(subject) != Some(grants));
        let database = readings.primary.databases.iter().any(|(name, seen)| {
            let there = readings.secondary.databases.get(name);
            let there = there.and_then(Observation::present).is_some();
            seen.present().is_some() != there
        });
        let wildcard = readings.secondary.wildcards.iter().any(|(name, there)| {
            let here = readings.primary.wildcards.get(name);
            here.and_then(Observation::present) != there.present() && !self.only_ours(there)
        });
        let tags = [&readings.primary, &readings.secondary].map(|reading| {
            let tags = reading.tag_grants.as_ref().and_then(Observation::present);
            tags.is_some_and(|tags| !tags.grants.is_empty())
        });
        differs || database || wildcard || tags.contains(&true) || around::lacks_parts(readings)
    }

    fn only_ours(&self, grants: &Observation<Grants>) -> bool {
        let all = grants.present().into_iter().flat_map(Grants::keys);
        all.into_iter()
            .all(|atom| self.ours.contains(&atom.principal.0))
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
        for (id, seen) in &mut readings.primary.functions {
            if let Observation::Absent(proof) = seen {
                proof.administrator = administrator;
                proof.deletion_named |= named(&Subject::Function(id.clone()));
                proof.deletion_named |= named(&Subject::Database(id.database.clone()));
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

/// Whether the secondary holds what the primary answers "not found" for: then our
/// standing there has to be known as of this very round.
fn proves_absence(readings: &Readings) -> bool {
    let tables = readings.primary.tables.iter().any(|(id, seen)| {
        let there = readings.secondary.tables.get(id);
        matches!(seen, Observation::Absent(_)) && there.and_then(Observation::present).is_some()
    });
    let databases = readings.primary.databases.iter().any(|(name, seen)| {
        let there = readings.secondary.databases.get(name);
        matches!(seen, Observation::Absent(_)) && there.and_then(Observation::present).is_some()
    });
    let functions = readings.primary.functions.iter().any(|(id, seen)| {
        let there = readings.secondary.functions.get(id);
        matches!(seen, Observation::Absent(_)) && there.and_then(Observation::present).is_some()
    });
    tables || databases || functions
}

/// Counts what the rows pair.
#[must_use]
pub fn tally(rows: &Rows) -> Tally {
    let mut tally = Tally::default();
    for row in rows.values().filter(|row| row.pairing.is_some()) {
        match row.subject {
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => {}
            Subject::Database(_) => tally.databases += 1,
            Subject::Table(_) => {
                tally.tables += 1;
                tally.partitions += row.partitions;
            }
        }
    }
    tally
}
