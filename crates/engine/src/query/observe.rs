//! Reads everything of the domain in one Region.

use super::external_schemas::WarehouseRegion;
use crate::ports::ReadQueryRegion;
use futures_util::{StreamExt as _, stream};
use twinlake_core::policy::{AthenaTagsPolicy, GlueToolsPolicy, QueryPolicy};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject, QuerySnapshot};
use twinlake_core::snapshot::Observation;
use twinlake_core::topology::SiteId;
use twinlake_core::{CallError, CallErrorKind};

/// Workgroups of which the contents are listed at the same time: Athena's limits are a few calls a second.
const CONCURRENT_WORKGROUPS: usize = 2;

type Listed = Result<Vec<(ObjectKey, Result<QueryObject, CallError>)>, CallError>;

/// Reads the objects that the policy covers. Of the primary, what is only counted as well.
pub(super) async fn observe(
    region: &impl ReadQueryRegion,
    (query, site): (&QueryPolicy, SiteId),
    counts: bool,
) -> QuerySnapshot {
    let tags = query.tags == AthenaTagsPolicy::Copy;
    let mut snapshot = QuerySnapshot::default();
    for kind in [QueryKind::WorkGroup, QueryKind::DataCatalog] {
        record(
            &mut snapshot,
            (kind, None),
            region.list(kind, None, tags).await,
        );
    }
    let workgroups = snapshot.objects.keys();
    let workgroups = workgroups
        .filter(|key| key.kind == QueryKind::WorkGroup && key.is_covered(query))
        .map(|key| key.id.clone());
    let listings: Vec<(QueryKind, String)> = workgroups
        .flat_map(|workgroup| {
            [
                (QueryKind::NamedQuery, workgroup.clone()),
                (QueryKind::PreparedStatement, workgroup),
            ]
        })
        .collect();
    let reads = listings.into_iter().map(|(kind, workgroup)| async move {
        let listed = region.list(kind, Some(&workgroup), false).await;
        ((kind, Some(workgroup)), listed)
    });
    let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_WORKGROUPS);
    while let Some((listing, listed)) = reads.next().await {
        record(&mut snapshot, listing, listed);
    }
    if query.glue_tools == GlueToolsPolicy::Copy {
        observe_glue_tools(region, &mut snapshot).await;
    }
    for warehouse in &query.warehouses {
        let listed = WarehouseRegion::new(region, warehouse, site).list().await;
        let listing = (QueryKind::ExternalSchema, Some(warehouse.name.clone()));
        record(&mut snapshot, listing, listed);
    }
    if counts {
        match region.unreplicated_counts().await {
            Ok(counted) => snapshot.counted = counted,
            // A Region without capacity reservations, or a role without the right: a count less.
            Err(error) if error.kind == CallErrorKind::Unsupported => {}
            Err(error) => {
                let kind = format!("capacity reservation, which could not be counted ({error})");
                snapshot.counted.insert(kind, 0);
            }
        }
    }
    snapshot
}

/// Reads the tools of Glue, one listing after the other.
async fn observe_glue_tools(region: &impl ReadQueryRegion, snapshot: &mut QuerySnapshot) {
    for kind in QueryKind::GLUE_TOOLS {
        record(snapshot, (kind, None), region.list(kind, None, false).await);
    }
}

fn record(snapshot: &mut QuerySnapshot, listing: (QueryKind, Option<String>), listed: Listed) {
    let result = listed.map(|objects| {
        for (key, object) in objects {
            let observation = match object {
                Ok(object) => Observation::Present(object),
                Err(error) => Observation::Unknown(error),
            };
            snapshot.objects.insert(key, observation);
        }
    });
    snapshot.listings.insert(listing, result);
}
