//! Listings that are made once for many subjects.

use super::{Items, OptIns, Sides, both, known, lake, observe};
use crate::listing::{GrantIndex, PAGE};
use crate::ports::{GrantFilter, GrantType, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Linkable, Seen};
use twinlake_core::grant::{Entry, Terms};
use twinlake_core::ledger::Epoch;
use twinlake_core::reading::Settings;
use twinlake_core::{Database, Fault, FaultKind, Function, FunctionId, Name, Policy};

/// Listings that are made once for many subjects.
#[derive(Clone, Debug, Default)]
pub struct Prefetched {
    /// Every grant.
    pub grants: Option<Sides<GrantIndex>>,
    /// Every database.
    pub databases: Option<Sides<BTreeMap<Name, Seen<Database>>>>,
    /// Every function.
    pub functions: Option<Sides<BTreeMap<FunctionId, Seen<Function>>>>,
    /// Tables are asked for by name, however many: they are few of their database's.
    pub tables_by_name: bool,
    /// The data lake settings.
    pub settings: Option<Sides<Settings>>,
    /// LF-Tags, expressions, registrations.
    pub lake: Option<(Items, Items)>,
    /// Every opt-in.
    pub opt_ins: Option<Sides<OptIns>>,
}

/// In whose terms the primary's and the secondary's permissions are told.
pub type BothTerms = (Terms, Terms);

/// The terms of both sides.
#[must_use]
pub fn terms(policy: &Policy, epoch: Epoch) -> BothTerms {
    (
        Terms::of_primary(policy, epoch),
        Terms::of_secondary(policy, epoch),
    )
}

/// Every grant of a Region by two readings: the listing without a filter, and one for
/// each type of resource.
async fn all_grants(region: &impl ReadRegion, terms: &Terms) -> Result<GrantIndex, Fault> {
    let pages = |entries: &[Entry]| entries.len().div_ceil(PAGE).max(1);
    let listed = region.all_grants().await?;
    let mut calls = pages(&listed);
    let unfiltered = GrantIndex::new(&listed, terms);
    drop(listed);
    // Types overlap, and what is not replicated is counted.
    let mut typed: BTreeSet<Entry> = BTreeSet::new();
    for kind in GrantType::EVERY {
        match region.grants_on(&GrantFilter::Type(kind)).await {
            Ok(listed) => {
                calls += pages(&listed);
                typed.extend(listed);
            }
            // It does not know that type.
            Err(fault) if matches!(fault.kind, FaultKind::Invalid | FaultKind::Unsupported) => {}
            Err(fault) => return Err(fault),
        }
    }
    let typed: Vec<Entry> = typed.into_iter().collect();
    let typed = GrantIndex::new(&typed, terms);
    Ok(GrantIndex {
        calls,
        ..unfiltered.beside(typed)
    })
}

impl Prefetched {
    /// Lists every grant of both sides.
    pub async fn grants(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
        terms: &BothTerms,
    ) -> Sides<GrantIndex> {
        let (here, there) = both(
            all_grants(primary, &terms.0),
            all_grants(secondary, &terms.1),
        )
        .await;
        (known(here), known(there))
    }

    /// Lists what both sides keep for the catalog as a whole.
    pub async fn lake(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
        terms: &BothTerms,
    ) -> (Items, Items) {
        both(
            lake::items(primary, &terms.0),
            lake::items(secondary, &terms.1),
        )
        .await
    }

    /// Lists every opt-in of both sides.
    pub async fn opt_ins(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
        terms: &BothTerms,
    ) -> Sides<OptIns> {
        both(
            lake::opt_ins(primary, &terms.0),
            lake::opt_ins(secondary, &terms.1),
        )
        .await
    }

    /// Lists every function of both sides.
    pub async fn functions(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
    ) -> Sides<BTreeMap<FunctionId, Seen<Function>>> {
        let (here, there) = both(primary.functions(None), secondary.functions(None)).await;
        let keyed = |listed: Result<Vec<(FunctionId, Seen<Function>)>, Fault>| {
            known(listed.map(|all| all.into_iter().collect()))
        };
        (keyed(here), keyed(there))
    }

    /// Lists every database of both sides.
    pub async fn databases(
        primary: &impl ReadRegion,
        secondary: &impl ReadRegion,
    ) -> Sides<BTreeMap<Name, Seen<Database>>> {
        let by_name = |listed: Result<Vec<Seen<Database>>, Fault>| {
            observe(listed.map(|all| {
                all.into_iter()
                    .map(|seen| (seen.object.name.clone(), seen.own()))
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
