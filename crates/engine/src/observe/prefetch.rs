//! Listings that cover many subjects.

use super::{Items, ObservationPair, OptIns, join, lakeformation, present_or_unknown};
use crate::grant_index::{GrantIndex, LIST_PERMISSIONS_PAGE_SIZE};
use crate::ports::{GrantFilter, PermissionResourceType, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{MaybeLink, Observed};
use twinlake_core::grant::{ListedPermission, PrincipalMapping};
use twinlake_core::snapshot::ObservedSettings;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, CallErrorKind, Database, Function, FunctionId, Name, Policy};

/// Listings that cover many subjects. `None` means that subjects are read one by one.
#[derive(Clone, Debug, Default)]
pub struct Prefetched {
    /// All grants.
    pub grants: Option<ObservationPair<GrantIndex>>,
    /// All databases.
    pub databases: Option<ObservationPair<BTreeMap<Name, Observed<Database>>>>,
    /// All functions.
    pub functions: Option<ObservationPair<BTreeMap<FunctionId, Observed<Function>>>>,
    /// Whether tables are read by name, however many: few tables of each database are requested.
    pub tables_by_name: bool,
    /// The data lake settings.
    pub settings: Option<ObservationPair<ObservedSettings>>,
    /// LF-Tags, named LF-Tag expressions and location registrations.
    pub lake_formation: Option<(Items, Items)>,
    /// All opt-ins.
    pub opt_ins: Option<ObservationPair<OptIns>>,
}

/// How principals and locations of the primary and of the standby are translated.
pub type PrincipalMappings = (PrincipalMapping, PrincipalMapping);

/// The mappings of both Regions.
#[must_use]
pub fn principal_mappings(policy: &Policy, epoch: Epoch) -> PrincipalMappings {
    (
        PrincipalMapping::of_primary(policy, epoch),
        PrincipalMapping::of_standby(policy, epoch),
    )
}

/// Lists all grants of a Region in two ways: without a filter, and by resource type.
async fn all_grants(
    region: &impl ReadRegion,
    mapping: &PrincipalMapping,
) -> Result<GrantIndex, CallError> {
    let pages =
        |entries: &[ListedPermission]| entries.len().div_ceil(LIST_PERMISSIONS_PAGE_SIZE).max(1);
    let listed = region.all_grants().await?;
    let mut calls = pages(&listed);
    let unfiltered = GrantIndex::new(&listed, mapping);
    drop(listed);
    // Listings by type overlap. The set avoids counting unsupported permissions twice.
    let mut typed: BTreeSet<ListedPermission> = BTreeSet::new();
    for kind in PermissionResourceType::ALL {
        match region.grants_on(&GrantFilter::Type(kind)).await {
            Ok(listed) => {
                calls += pages(&listed);
                typed.extend(listed);
            }
            // The Region does not know this type.
            Err(error)
                if matches!(
                    error.kind,
                    CallErrorKind::Invalid | CallErrorKind::Unsupported
                ) => {}
            Err(error) => return Err(error),
        }
    }
    let typed: Vec<ListedPermission> = typed.into_iter().collect();
    let typed = GrantIndex::new(&typed, mapping);
    Ok(GrantIndex {
        calls,
        ..unfiltered.merge(typed)
    })
}

impl Prefetched {
    /// Lists all grants of both Regions.
    pub async fn grants(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) -> ObservationPair<GrantIndex> {
        let (primary, standby) = join(
            all_grants(primary, &mappings.0),
            all_grants(standby, &mappings.1),
        )
        .await;
        (present_or_unknown(primary), present_or_unknown(standby))
    }

    /// Lists LF-Tags, named LF-Tag expressions and location registrations of both Regions.
    pub async fn lake_formation(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) -> (Items, Items) {
        join(
            lakeformation::list_all_items(primary, &mappings.0),
            lakeformation::list_all_items(standby, &mappings.1),
        )
        .await
    }

    /// Lists all opt-ins of both Regions.
    pub async fn opt_ins(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) -> ObservationPair<OptIns> {
        join(
            lakeformation::list_opt_ins(primary, &mappings.0),
            lakeformation::list_opt_ins(standby, &mappings.1),
        )
        .await
    }

    /// Lists all functions of both Regions. `None` if a Region can only list those of one database.
    pub async fn functions(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
    ) -> Option<ObservationPair<BTreeMap<FunctionId, Observed<Function>>>> {
        let (primary, standby) = join(primary.functions(None), standby.functions(None)).await;
        let is_unsupported = |listed: &Result<Vec<(FunctionId, Observed<Function>)>, CallError>| {
            let error = listed.as_ref().err();
            error.is_some_and(|error| error.kind == CallErrorKind::Unsupported)
        };
        if is_unsupported(&primary) || is_unsupported(&standby) {
            return None;
        }
        let by_id = |listed: Result<Vec<(FunctionId, Observed<Function>)>, CallError>| {
            present_or_unknown(listed.map(|all| all.into_iter().collect()))
        };
        Some((by_id(primary), by_id(standby)))
    }

    /// Lists all databases of both Regions.
    pub async fn databases(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
    ) -> ObservationPair<BTreeMap<Name, Observed<Database>>> {
        let by_name = |listed: Result<Vec<Observed<Database>>, CallError>| {
            present_or_unknown(listed.map(|all| {
                all.into_iter()
                    .map(|observed| {
                        (
                            observed.object.name.clone(),
                            observed.without_target_fields(),
                        )
                    })
                    .collect()
            }))
        };
        let (primary, standby) = join(primary.databases(), standby.databases()).await;
        (by_name(primary), by_name(standby))
    }

    /// Reads the data lake settings of both Regions.
    pub async fn settings(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
    ) -> ObservationPair<ObservedSettings> {
        let (primary, standby) = join(primary.settings(), standby.settings()).await;
        (present_or_unknown(primary), present_or_unknown(standby))
    }
}
