//! Listings that cover many subjects.

use super::{Items, ObservationPair, OptIns, join, lakeformation, present_or_unknown};
use crate::grant_index::{GrantIndex, LIST_PERMISSIONS_PAGE_SIZE};
use crate::ports::{GrantFilter, PermissionResourceType, ReadRegion};
use futures_util::future::{join_all, join3};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{MaybeLink, Observed};
use twinlake_core::grant::{GrantMapping, ListedPermission};
use twinlake_core::snapshot::ObservedSettings;
use twinlake_core::topology::Epoch;
use twinlake_core::{
    CallError, CallErrorKind, Database, Function, FunctionId, Name, Policy, TableId, Timestamp,
};

/// Listings that cover many subjects. `None` means that subjects are read one by one.
#[derive(Clone, Debug, Default)]
pub struct Prefetched {
    /// The grants: all, or those on databases and tables only ([`GrantIndex::of_objects`]).
    pub grants: Option<ObservationPair<GrantIndex>>,
    /// The grants that the round lists itself, while it reads definitions.
    pub list_grants: Option<GrantsToList>,
    /// All databases.
    pub databases: Option<ObservationPair<BTreeMap<Name, Observed<Database>>>>,
    /// All user-defined functions.
    pub functions: Option<ObservationPair<BTreeMap<FunctionId, Observed<Function>>>>,
    /// Whether tables are read by name, however many: few tables of each database are requested.
    pub tables_by_name: bool,
    /// The data lake settings.
    pub settings: Option<ObservationPair<ObservedSettings>>,
    /// LF-Tags, named LF-Tag expressions and location registrations.
    pub lake_formation: Option<(Items, Items)>,
    /// Tables of which searches by LF-Tags show a difference between the Regions. For every other table in
    /// sync, its LF-Tags are not read one by one.
    pub tables_with_differing_lf_tags: Option<BTreeSet<TableId>>,
    /// All opt-ins.
    pub opt_ins: Option<ObservationPair<OptIns>>,
    /// When the listings of Lake Formation began, if that was before the reconciliation.
    pub listed_since: Option<Timestamp>,
}

/// How principals and locations of the primary and of the standby are translated.
pub type PrincipalMappings = (GrantMapping, GrantMapping);

/// The mappings of both Regions.
#[must_use]
pub fn principal_mappings(policy: &Policy, epoch: Epoch) -> PrincipalMappings {
    (
        GrantMapping::of_primary(policy, epoch),
        GrantMapping::of_standby(policy, epoch),
    )
}

/// Which grants to list, both without a filter and by resource type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantsToList {
    /// All.
    All,
    /// Those on databases and tables.
    OfObjects,
}

impl GrantsToList {
    fn types(self) -> &'static [PermissionResourceType] {
        match self {
            Self::All => &PermissionResourceType::ALL,
            Self::OfObjects => &PermissionResourceType::OBJECT_TYPES,
        }
    }
}

/// Lists the grants of a Region in two ways: without a filter, and by resource type. The
/// listings are read at the same time. Grants of a type whose listing the Region refuses are listed once: of them,
/// nothing is proven absent.
pub(crate) async fn all_grants(
    region: &impl ReadRegion,
    mapping: &GrantMapping,
    wanted: GrantsToList,
) -> Result<GrantIndex, CallError> {
    let unfiltered = async {
        let listed = region.all_grants().await?;
        Ok((pages_of(&listed), GrantIndex::new(&listed, mapping)))
    };
    let by_type = all_grants_by_type(region, wanted.types());
    let (unfiltered, typed) = join(unfiltered, by_type).await;
    let (calls, unfiltered) = unfiltered?;
    let typed = typed?;
    let entries: Vec<ListedPermission> = typed.entries.into_iter().collect();
    let by_type = GrantIndex::new(&entries, mapping);
    let is_object_type =
        |kind: &&PermissionResourceType| PermissionResourceType::OBJECT_TYPES.contains(kind);
    let object_calls = typed.calls.iter().filter(|(kind, _)| is_object_type(kind));
    let object_calls: usize = object_calls.map(|(_, calls)| calls).sum();
    let merged = unfiltered.merge(by_type).with_refused_types(typed.refused);
    Ok(GrantIndex {
        of_objects: wanted == GrantsToList::OfObjects,
        calls: calls + typed.calls.values().sum::<usize>(),
        object_calls: calls + object_calls,
        ..merged
    })
}

/// The listings of grants by resource type.
#[derive(Default)]
struct TypedListings {
    /// The entries. Listings by type overlap: the set avoids counting unsupported permissions twice.
    entries: BTreeSet<ListedPermission>,
    /// The number of calls of each type.
    calls: BTreeMap<PermissionResourceType, usize>,
    /// The types that the Region refused to list. It may not know them; the same error may have other causes.
    refused: BTreeMap<PermissionResourceType, CallError>,
}

/// Lists the grants of these resource types.
async fn all_grants_by_type(
    region: &impl ReadRegion,
    types: &[PermissionResourceType],
) -> Result<TypedListings, CallError> {
    let listings = types
        .iter()
        .map(|kind| async move { (*kind, region.grants_on(&GrantFilter::Type(*kind)).await) });
    let mut typed = TypedListings::default();
    for (kind, listing) in join_all(listings).await {
        match listing {
            Ok(listed) => {
                typed.calls.insert(kind, pages_of(&listed));
                typed.entries.extend(listed);
            }
            Err(error)
                if matches!(
                    error.kind,
                    CallErrorKind::Invalid | CallErrorKind::Unsupported
                ) =>
            {
                typed.calls.insert(kind, 0);
                typed.refused.insert(kind, error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(typed)
}

/// The number of calls that a listing took.
fn pages_of(entries: &[ListedPermission]) -> usize {
    entries.len().div_ceil(LIST_PERMISSIONS_PAGE_SIZE).max(1)
}

impl Prefetched {
    /// Makes all listings of both Regions at the same time.
    pub async fn everything(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) -> Self {
        let mut all = Self::default();
        let lake_formation = all.refresh_lake_formation(primary, standby, mappings);
        let databases = Self::databases(primary, standby);
        let functions = Self::functions(primary, standby);
        let ((), databases, functions) = join3(lake_formation, databases, functions).await;
        Self {
            databases: Some(databases),
            functions,
            ..all
        }
    }

    /// Lists Lake Formation's grants, items, opt-ins and settings again.
    pub async fn refresh_lake_formation(
        &mut self,
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) {
        let (grants, listed) = join(
            Self::grants(primary, standby, mappings, GrantsToList::All),
            Self::lake_formation_without_grants(primary, standby, mappings),
        )
        .await;
        self.grants = Some(grants);
        self.lake_formation = listed.lake_formation;
        self.opt_ins = listed.opt_ins;
        self.settings = listed.settings;
    }

    /// Lists Lake Formation's items, opt-ins and settings, without the grants.
    pub async fn lake_formation_without_grants(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) -> Self {
        let (items, opt_ins, settings) = join3(
            Self::lake_formation(primary, standby, mappings),
            Self::opt_ins(primary, standby, mappings),
            Self::settings(primary, standby),
        )
        .await;
        Self {
            lake_formation: Some(items),
            opt_ins: Some(opt_ins),
            settings: Some(settings),
            ..Self::default()
        }
    }

    /// Lists the grants of both Regions.
    pub(crate) async fn grants(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
        wanted: GrantsToList,
    ) -> ObservationPair<GrantIndex> {
        let (primary, standby) = join(
            all_grants(primary, &mappings.0, wanted),
            all_grants(standby, &mappings.1, wanted),
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
        let (primary, standby) = ((primary, &mappings.0), (standby, &mappings.1));
        lakeformation::list_items_of_both(primary, standby).await
    }

    /// Lists all opt-ins of both Regions.
    pub async fn opt_ins(
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        mappings: &PrincipalMappings,
    ) -> ObservationPair<OptIns> {
        let (primary, standby) = ((primary, &mappings.0), (standby, &mappings.1));
        lakeformation::list_opt_ins_of_both(primary, standby).await
    }

    /// Lists all user-defined functions of both Regions. `None` if a Region can only list those of one database.
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
