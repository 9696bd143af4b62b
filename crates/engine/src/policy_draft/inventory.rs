//! The size of the primary: what decides the calls of a resync.

use crate::call_projection::{DatabaseInventory, LakeInventory, TableInventory};
use crate::observe::run_concurrently;
use crate::ports::{PageTokens, ReadRegion};
use crate::readiness::{MAX_CONCURRENT_CALLS, table_in_s3};
use futures_util::future::join;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Attachment, MaybeLink as _};
use twinlake_core::location::Mapped;
use twinlake_core::policy::{IcebergPolicy, Policy};
use twinlake_core::readiness::TableLocation;
use twinlake_core::topology::SiteId;
use twinlake_core::{CallError, Facet, LfSubject, Name, Subject, Table, TableId};

/// The pages of `GetPartitions` that are read to count partitions, of all tables together.
const MAX_COUNTED_PAGES: usize = 200;

/// What is kept of a listed table.
#[derive(Clone, Debug)]
pub(super) struct ListedTable {
    id: TableId,
    /// Where its data is, if that is in S3.
    pub(super) location: Option<TableLocation>,
    /// Without what the policy decides.
    size: TableInventory,
}

impl ListedTable {
    pub(super) fn new(database: &Name, table: Table) -> Self {
        let is_link = table.is_link();
        let stored = table.storage_descriptor.as_ref();
        let has_statistics = !is_link && !table.is_view();
        let columns = stored.filter(|_| has_statistics);
        Self {
            id: TableId::new(database.clone(), table.name.clone()),
            size: TableInventory {
                is_link,
                columns: columns.map_or(0, |stored| stored.columns.len()),
                is_partitioned: !is_link && !table.partition_keys.is_empty(),
                partitions: None,
                is_carried: false,
            },
            location: table_in_s3(database, table),
        }
    }

    /// Whether the policy lets the table be created in the standby.
    fn is_carried(&self, policy: &Policy) -> bool {
        let Some(found) = &self.location else {
            return true;
        };
        let is_withheld = found.is_iceberg && policy.iceberg == IcebergPolicy::Withhold;
        let mapped = policy
            .locations
            .counterpart_from(SiteId::A, &found.location);
        !is_withheld && matches!(mapped, Ok(Mapped::To(_)))
    }
}

pub(super) async fn read<R: ReadRegion>(
    catalog: &R,
    (databases, database_links): (&[Name], usize),
    tables: &[ListedTable],
    policy: &Policy,
) -> Result<LakeInventory, CallError> {
    let lf_tags = Subject::LakeFormation(LfSubject::LfTags);
    let (grants, lf_tags) = join(
        catalog.all_grants(),
        catalog.attachments(&lf_tags, Facet::Items, &[]),
    )
    .await;
    let (grants, lf_tags) = (grants?, lf_tags?);
    let keys = lf_tags
        .into_iter()
        .filter_map(|listed| lf_tag_key(listed.attachment));
    let lf_tags = keys.collect::<BTreeSet<String>>().len();
    let empty = |name: &Name| (name.clone(), DatabaseInventory::default());
    let mut found: BTreeMap<Name, DatabaseInventory> = databases.iter().map(empty).collect();
    for grant in &grants {
        let database = grant.resource.database();
        if let Some(database) = database.and_then(|name| found.get_mut(name)) {
            database.grants += 1;
        }
    }
    let partitions = count_partitions(catalog, tables).await?;
    for table in tables {
        if let Some(database) = found.get_mut(&table.id.database) {
            database.tables.push(TableInventory {
                is_carried: table.is_carried(policy),
                partitions: partitions.get(&table.id).copied(),
                ..table.size.clone()
            });
        }
    }
    Ok(LakeInventory {
        databases: found.into_values().collect(),
        database_links,
        grants: grants.len(),
        lf_tags,
    })
}

fn lf_tag_key(attachment: Attachment) -> Option<String> {
    match attachment {
        Attachment::LfTagValue { key, .. } => Some(key),
        Attachment::Registration(_)
        | Attachment::Index(_)
        | Attachment::Statistics(_)
        | Attachment::GlueTag { .. }
        | Attachment::DataCellsFilter(_)
        | Attachment::LfTagAssignment { .. }
        | Attachment::OptIn(_)
        | Attachment::NamedExpression(_) => None,
    }
}

/// Counts the partitions of tables, of as many as [`MAX_COUNTED_PAGES`] pages show.
async fn count_partitions<R: ReadRegion>(
    catalog: &R,
    tables: &[ListedTable],
) -> Result<BTreeMap<TableId, usize>, CallError> {
    let pages_left = Cell::new(MAX_COUNTED_PAGES);
    let pages_left = &pages_left;
    let partitioned = tables.iter().filter(|table| table.size.is_partitioned);
    let calls = partitioned.map(async |table| {
        let (mut count, mut token, mut tokens) = (0, None, PageTokens::default());
        loop {
            if pages_left.get() == 0 {
                return Ok::<Option<(TableId, usize)>, CallError>(None);
            }
            pages_left.set(pages_left.get() - 1);
            let (page, next) = catalog.partitions_page(&table.id, None, token).await?;
            count += page.len();
            token = tokens.next(next, ("GetPartitions", catalog.region()))?;
            if token.is_none() {
                return Ok(Some((table.id.clone(), count)));
            }
        }
    });
    let counted = run_concurrently(calls, MAX_CONCURRENT_CALLS).await;
    let counted: Result<Vec<Option<(TableId, usize)>>, CallError> = counted.into_iter().collect();
    Ok(counted?.into_iter().flatten().collect())
}
