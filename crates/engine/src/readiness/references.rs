//! Reads, in one listing of the primary's catalog, where its tables lie and what it points at.

use super::{MAX_CONCURRENT_CALLS, table_in_s3};
use crate::observe::run_concurrently;
use crate::ports::ReadRegion;
use std::collections::BTreeMap;
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::readiness::{
    CatalogReferences, IcebergTable, PartitionSamples, Reading, SampledPartitions, TableLocation,
    is_location_outside,
};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, CallErrorKind, Name, Policy, Table, TableId};

/// Partitioned tables of which the first page of partitions is read.
const MAX_PARTITIONED_TABLES: usize = 50;
/// Iceberg tables whose optimizers are read.
const MAX_ICEBERG_TABLES: usize = 300;
/// Databases whose functions are read, where the listing of all functions does not say which database a
/// function is in.
const MAX_FUNCTION_DATABASES: usize = 100;

/// What a listing of the catalog shows.
pub(super) struct Catalog {
    pub(super) tables: Reading<Vec<TableLocation>>,
    pub(super) references: Reading<CatalogReferences>,
    pub(super) function_files: Reading<BTreeMap<String, Vec<String>>>,
    pub(super) partitions: PartitionSamples,
    pub(super) iceberg_tables: BTreeMap<TableId, IcebergTable>,
    pub(super) unsampled_iceberg_tables: usize,
}

/// The tables of the listing.
#[derive(Default)]
struct Listing {
    references: CatalogReferences,
    databases: Vec<Name>,
    locations: Vec<TableLocation>,
    partitioned: Vec<TableId>,
    iceberg: BTreeMap<TableId, IcebergTable>,
}

/// Lists the databases and tables that the policy replicates, and reads a limited number of partitions and
/// functions.
pub(super) async fn read<R: ReadRegion>(catalog: &R, policy: &Policy, epoch: Epoch) -> Catalog {
    let listing = match list(catalog, policy).await {
        Ok(listing) => listing,
        Err(error) => {
            // All that is not known then is one finding, of the tables.
            let error = error.to_string();
            return Catalog {
                tables: Reading::Unread(error.clone()),
                references: Reading::Unread(error),
                function_files: Reading::Read(BTreeMap::new()),
                partitions: PartitionSamples::default(),
                iceberg_tables: BTreeMap::new(),
                unsampled_iceberg_tables: 0,
            };
        }
    };
    let partitions = sample_partitions(catalog, &listing.partitioned, policy, epoch).await;
    let function_files = function_files(catalog, &listing.databases, policy).await;
    let all = listing.iceberg.len();
    let step = all.div_ceil(MAX_ICEBERG_TABLES).max(1);
    let iceberg_tables: BTreeMap<_, _> = listing.iceberg.into_iter().step_by(step).collect();
    Catalog {
        tables: Reading::Read(listing.locations),
        references: Reading::Read(listing.references),
        function_files: function_files.into(),
        partitions,
        unsampled_iceberg_tables: all - iceberg_tables.len(),
        iceberg_tables,
    }
}

async fn list<R: ReadRegion>(catalog: &R, policy: &Policy) -> Result<Listing, CallError> {
    let mut listing = Listing::default();
    for database in catalog
        .databases()
        .await?
        .into_iter()
        .map(|listed| listed.object)
    {
        let is_link = database.is_link();
        let is_covered = policy.covers_database(&database.name);
        listing.references.databases.insert(database.name.clone());
        match database.target_database {
            Some(target) if is_covered => {
                let links = &mut listing.references.links;
                links.insert(database.name.to_string(), target);
            }
            Some(_) | None => {}
        }
        if is_covered && !is_link {
            listing.databases.push(database.name);
        }
    }
    let databases = listing.databases.clone();
    // The whole tables of one database are dropped before the next is listed: all of them may be larger
    // than the memory of a function.
    let calls = databases.iter().map(async |database| {
        let mut part = Listing::default();
        for table in catalog.tables(database).await? {
            part.add(database, table.object, policy);
        }
        Ok::<_, CallError>(part)
    });
    for part in run_concurrently(calls, MAX_CONCURRENT_CALLS).await {
        listing.extend(part?);
    }
    listing.locations.sort();
    listing.partitioned.sort();
    Ok(listing)
}

impl Listing {
    fn add(&mut self, database: &Name, table: Table, policy: &Policy) {
        let id = TableId::new(database.clone(), table.name.clone());
        if !policy.covers_table(&id) {
            return;
        }
        self.references.add_table(&id, &table);
        if !table.partition_keys.is_empty() && !table.is_link() && !table.is_view() {
            self.partitioned.push(id.clone());
        }
        if table.is_iceberg() && !table.is_link() {
            let iceberg = IcebergTable::from_parameters(&table.parameters);
            self.iceberg.insert(id, iceberg);
        }
        self.locations.extend(table_in_s3(database, table));
    }

    /// Adds the tables of another listing.
    fn extend(&mut self, part: Self) {
        let Self {
            references,
            databases,
            locations,
            partitioned,
            iceberg,
        } = part;
        self.references.tables.extend(references.tables);
        self.references.links.extend(references.links);
        self.references.views.extend(references.views);
        self.databases.extend(databases);
        self.locations.extend(locations);
        self.partitioned.extend(partitioned);
        self.iceberg.extend(iceberg);
    }
}

/// Reads the first page of the partitions of some tables. Of more than [`MAX_PARTITIONED_TABLES`] it takes
/// some at equal distances.
async fn sample_partitions<R: ReadRegion>(
    catalog: &R,
    tables: &[TableId],
    policy: &Policy,
    epoch: Epoch,
) -> PartitionSamples {
    let step = tables.len().div_ceil(MAX_PARTITIONED_TABLES).max(1);
    let calls = tables.iter().step_by(step).map(async |id| {
        let page = catalog.partitions_page(id, None, None).await;
        let sampled = page.map(|(partitions, next)| {
            let looked_at = partitions.len();
            let locations = partitions.into_iter().filter_map(|partition| {
                let storage = partition.storage_descriptor?;
                storage.location
            });
            SampledPartitions {
                looked_at,
                has_more: next.is_some(),
                outside: locations
                    .filter(|location| is_location_outside(policy, epoch, location))
                    .collect(),
            }
        });
        (id.clone(), sampled.into())
    });
    let sampled: BTreeMap<_, _> = run_concurrently(calls, MAX_CONCURRENT_CALLS)
        .await
        .into_iter()
        .collect();
    PartitionSamples {
        unsampled_tables: tables.len() - sampled.len(),
        tables: sampled,
    }
}

/// The files of the functions of the databases that the policy replicates.
async fn function_files<R: ReadRegion>(
    catalog: &R,
    databases: &[Name],
    policy: &Policy,
) -> Result<BTreeMap<String, Vec<String>>, CallError> {
    let functions = match catalog.functions(None).await {
        Err(error) if error.kind == CallErrorKind::Unsupported => {
            if databases.len() > MAX_FUNCTION_DATABASES {
                return Err(error);
            }
            let mut functions = Vec::new();
            for database in databases {
                functions.extend(catalog.functions(Some(database)).await?);
            }
            functions
        }
        functions => functions?,
    };
    let covered = functions
        .into_iter()
        .filter(|(id, _)| policy.covers_database(&id.database));
    let files = covered.map(|(id, function)| {
        let uris = function.object.resource_uris.into_iter();
        (id.to_string(), uris.filter_map(|file| file.uri).collect())
    });
    Ok(files.collect())
}
