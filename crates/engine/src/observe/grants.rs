//! Grants on a subject.

use super::{Observer, Readings, both};
use crate::listing::GrantIndex;
use crate::ports::{GrantFilter, GrantType, ReadRegion};
use twinlake_core::catalog::Linkable as _;
use twinlake_core::grant::{Entry, Terms};
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
                        reading.grants_whole.insert(subject.clone());
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
            self.list_grants(self.primary, subject, links.0, &self.terms.0),
            self.list_grants(self.secondary, subject, links.1, &self.terms.1),
        )
        .await;
        for (grants, reading) in [
            (primary, &mut readings.primary),
            (secondary, &mut readings.secondary),
        ] {
            // By resource nothing is shown to be gone.
            reading.grants_whole.remove(subject);
            reading.grants_controlled.remove(subject);
            reading.grants.insert(subject.clone(), grants);
        }
    }

    /// Grants on all tables of a database: the secondary's would open what is new, and
    /// the primary's say whether we are shown all of it.
    pub(super) async fn wildcards(&self, database: &Name, readings: &mut Readings) {
        let filter = GrantFilter::AllTables(database.clone());
        let index = |listed: Result<Vec<Entry>, Fault>, terms: &Terms| match listed {
            Ok(entries) => {
                let index = GrantIndex::new(&entries, terms);
                Observation::Present(index.on(&Subject::Database(database.clone())))
            }
            Err(fault) if fault.kind == FaultKind::Absent => Observation::Present(Grants::new()),
            Err(fault) => Observation::Unknown(fault),
        };
        let (here, there) = both(
            self.primary.grants_on(&filter),
            self.secondary.grants_on(&filter),
        )
        .await;
        let (here, there) = (index(here, &self.terms.0), index(there, &self.terms.1));
        readings.primary.wildcards.insert(database.clone(), here);
        readings.secondary.wildcards.insert(database.clone(), there);
    }

    /// The grants on a subject, as listed by resource.
    pub(super) async fn list_grants<R: ReadRegion>(
        &self,
        region: &R,
        subject: &Subject,
        is_link: bool,
        terms: &Terms,
    ) -> Observation<Grants> {
        let filters = match subject {
            Subject::Catalog | Subject::Function(_) => Vec::new(),
            Subject::Lake(lake) => {
                let types = GrantType::of(*lake).iter();
                types.map(|kind| GrantFilter::Type(*kind)).collect()
            }
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
                Err(fault) => return Observation::Unknown(fault),
            }
        }
        let index = GrantIndex::new(&entries, terms);
        Observation::Present(index.on(subject))
    }
}

fn is_link(reading: &Reading, subject: &Subject) -> bool {
    match subject {
        Subject::Database(name) => {
            let seen = reading.databases.get(name).and_then(Observation::present);
            seen.is_some_and(|seen| seen.is_link())
        }
        Subject::Catalog | Subject::Lake(_) | Subject::Table(_) | Subject::Function(_) => false,
    }
}
