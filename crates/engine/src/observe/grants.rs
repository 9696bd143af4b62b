//! Grants on a subject.

use super::{Observer, Readings, both};
use crate::listing::GrantIndex;
use crate::ports::{GrantFilter, ReadRegion};
use twinlake_core::catalog::Linkable as _;
use twinlake_core::grant::Entry;
use twinlake_core::reading::{Observation, Reading};
use twinlake_core::{Fault, FaultKind, Grants, Name, Subject};

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    pub(super) async fn grants(&self, subject: &Subject, readings: &mut Readings) {
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
                        } else {
                            reading.grants_controlled.remove(subject);
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
        let links = (
            is_link(&readings.primary, subject),
            is_link(&readings.secondary, subject),
        );
        let (primary, secondary) = both(
            self.list_grants(self.primary, subject, links.0),
            self.list_grants(self.secondary, subject, links.1),
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

    /// Grants on all tables of a database; those of the primary only where the
    /// secondary holds some.
    pub(super) async fn wildcards(&self, database: &Name, readings: &mut Readings) {
        let filter = GrantFilter::AllTables(database.clone());
        let index = |listed: Result<Vec<Entry>, Fault>| match listed {
            Ok(entries) => {
                let index = GrantIndex::new(&entries, self.account);
                Observation::Present(index.on(&Subject::Database(database.clone())))
            }
            Err(fault) if fault.kind == FaultKind::Absent => Observation::Present(Grants::new()),
            Err(fault) => Observation::Unknown(fault),
        };
        let there = index(self.secondary.grants_on(&filter).await);
        // Our own rights there are no news, and need no second listing.
        let others = |grants: &Grants| {
            grants
                .keys()
                .any(|atom| !self.ours.contains(&atom.principal.0))
        };
        let some = there.present().is_none_or(others);
        let here = match some {
            true => index(self.primary.grants_on(&filter).await),
            false => Observation::Present(Grants::new()),
        };
        readings.primary.wildcards.insert(database.clone(), here);
        readings.secondary.wildcards.insert(database.clone(), there);
    }

    /// The grants on a subject, and whether the listing held any entry at all.
    pub(super) async fn list_grants<R: ReadRegion>(
        &self,
        region: &R,
        subject: &Subject,
        is_link: bool,
    ) -> (Observation<Grants>, bool) {
        let filters = match subject {
            Subject::Catalog | Subject::Function(_) => Vec::new(),
            // What lies below a link cannot be asked for by its name (LF-24).
            Subject::Database(name) if is_link => vec![GrantFilter::Database(name.clone())],
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
}

fn is_link(reading: &Reading, subject: &Subject) -> bool {
    match subject {
        Subject::Database(name) => {
            let seen = reading.databases.get(name).and_then(Observation::present);
            seen.is_some_and(|seen| seen.is_link())
        }
        Subject::Catalog | Subject::Table(_) | Subject::Function(_) => false,
    }
}
