//! Listings that cover many subjects.

use super::{Items, ObservationPair, OptIns, join, lakeformation, present_or_unknown};
use crate::grant_index::{
    GrantIndex, GrantIndexBuilder, GrantListingMethod, LIST_PERMISSIONS_PAGE_SIZE,
};
use crate::ports::{GrantFilter, PermissionResourceType, ReadRegion};
use futures_util::future::{join_all, join3};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{MaybeLink, Observed};
use twinlake_core::grant::{GrantMapping, ListedPermission};
use twinlake_core::snapshot::{Observation, ObservedSettings};
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
    /// Whether the run has changed something since it made these listings. They may show that nothing is to change;
    /// no change is made by them.
    pub is_older_than_changes: bool,
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
/// listings are read at the same time, and indexed page by page. Grants of a type whose listing the Region refuses are
/// listed once: of them, nothing is proven absent.
pub(crate) async fn all_grants(
    region: &impl ReadRegion,
    mapping: &GrantMapping,
    wanted: GrantsToList,
) -> Result<GrantIndex, CallError> {
    let builder = RefCell::new(GrantIndexBuilder::new(mapping));
    for listing in [GrantListingMethod::Unfiltered, GrantListingMethod::ByType] {
        builder.borrow_mut().add(&[], listing);
    }
    let cell = &builder;
    let types = wanted.types().iter().copied();
    let filters = types.map(GrantFilter::Type);
    let filters = filters.chain([GrantFilter::TablesWithRelated]);
    let by_type = filters.map(|filter| async move {
        let listed = list_into(region, Some(&filter), cell).await;
        (filter, listed)
    });
    let unfiltered = list_into(region, None, cell);
    let (unfiltered, by_type) = join(unfiltered, join_all(by_type)).await;
    let mut calls = unfiltered?;
    let mut object_calls = calls;
    let mut refused_types = BTreeMap::new();
    for (filter, listed) in by_type {
        match listed {
            Ok(of_type) => {
                calls += of_type;
                if lists_objects(&filter) {
                    object_calls += of_type;
                }
            }
            // The Region may not know the type; the same error may have other causes.
            Err(error)
                if matches!(
                    error.kind,
                    CallErrorKind::Invalid | CallErrorKind::Unsupported
                ) =>
            {
                if let GrantFilter::Type(kind) = filter {
                    refused_types.insert(kind, error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    let mut index = builder.into_inner().finish();
    index.of_objects = wanted == GrantsToList::OfObjects;
    index.calls = calls;
    index.object_calls = object_calls;
    index.refused_types = refused_types;
    Ok(index)
}

/// Whether a listing is of grants on databases and tables only.
fn lists_objects(filter: &GrantFilter) -> bool {
    match filter {
        GrantFilter::Type(kind) => PermissionResourceType::OBJECT_TYPES.contains(kind),
        GrantFilter::Database(_)
        | GrantFilter::AllTables(_)
        | GrantFilter::Table(_)
        | GrantFilter::TablesWithRelated => true,
    }
}

/// Adds a listing of grants to an index. Returns the number of calls that it took.
async fn list_into(
    region: &impl ReadRegion,
    filter: Option<&GrantFilter>,
    builder: &RefCell<GrantIndexBuilder<'_>>,
) -> Result<usize, CallError> {
    let listing = match filter {
        None => GrantListingMethod::Unfiltered,
        Some(_) => GrantListingMethod::ByType,
    };
    let mut entries = 0;
    let mut receive = |page: Vec<ListedPermission>| {
        entries += page.len();
        builder.borrow_mut().add(&page, listing);
    };
    region.list_grants(filter, &mut receive).await?;
    Ok(entries.div_ceil(LIST_PERMISSIONS_PAGE_SIZE).max(1))
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
        join(
            Self::grants_of(primary, &mappings.0, wanted),
            Self::grants_of(standby, &mappings.1, wanted),
        )
        .await
    }

    /// Lists the grants of a Region.
    pub(crate) async fn grants_of(
        region: &impl ReadRegion,
        mapping: &GrantMapping,
        wanted: GrantsToList,
    ) -> Observation<GrantIndex> {
        present_or_unknown(all_grants(region, mapping, wanted).await)
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
