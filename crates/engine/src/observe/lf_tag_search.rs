//! Which tables have the same LF-Tags in both Regions, by searches: a resync reads the LF-Tags of the
//! other tables one by one.

use super::{Items, Prefetched, join, run_concurrently};
use crate::ports::{MAX_LF_TAGS_PER_CALL, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::AttachmentKey;
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget};
use twinlake_core::snapshot::{Attachments, LfTaggedResource, LfTags, Observation};
use twinlake_core::{CallError, LfSubject, Name, TableId};

/// The LF-Tags that a search shows of a table: of its database, its own, and those of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TableLfTags {
    on_database: LfTags,
    on_table: LfTags,
    on_columns: BTreeMap<String, LfTags>,
}

/// The tables of a Region that have an LF-Tag.
type TaggedTables = BTreeMap<TableId, TableLfTags>;

/// The tagged tables of both Regions.
#[derive(Clone, Debug)]
pub struct LfTagSearches {
    primary: TaggedTables,
    standby: TaggedTables,
}

impl LfTagSearches {
    /// Whether the searches of both Regions show the same LF-Tags of a table, or none.
    pub(super) fn are_equal(&self, id: &TableId) -> bool {
        self.primary.get(id) == self.standby.get(id)
    }
}

impl Prefetched {
    /// Searches the tables by each LF-Tag, if that takes fewer than `max_calls` calls for each Region.
    /// Leaves the LF-Tags of all tables to be read one by one if a search fails: an LF-Tag may be
    /// missing in a Region.
    pub async fn search_lf_tags(
        &mut self,
        primary: &impl ReadRegion,
        standby: &impl ReadRegion,
        (max_calls, max_concurrent_calls): (usize, usize),
    ) {
        self.lf_tag_searches = None;
        let Some((primary_items, standby_items)) = &self.lake_formation else {
            return;
        };
        let searches = expressions([primary_items, standby_items]);
        if searches.is_empty() || searches.len() >= max_calls {
            return;
        }
        let (found_primary, found_standby) = join(
            search_all(primary, &searches, max_concurrent_calls),
            search_all(standby, &searches, max_concurrent_calls),
        )
        .await;
        if let (Ok(primary), Ok(standby)) = (found_primary, found_standby) {
            self.lf_tag_searches = Some(LfTagSearches { primary, standby });
        }
    }
}

/// One expression for each LF-Tag of either Region, with all its values; several if these exceed the
/// limit of a call.
fn expressions(items: [&Items; 2]) -> Vec<LfTagExpression> {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for items in items {
        let tags = items.by_subject.get(&LfSubject::LfTags);
        let tags = tags.and_then(Observation::present);
        for key in tags.into_iter().flat_map(Attachments::keys) {
            if let AttachmentKey::LfTagValue { key, value } = key {
                values.entry(key.clone()).or_default().insert(value.clone());
            }
        }
    }
    let mut expressions = Vec::new();
    for (key, values) in values {
        let values: Vec<String> = values.into_iter().collect();
        for chunk in values.chunks(MAX_LF_TAGS_PER_CALL) {
            let values = chunk.iter().cloned().collect();
            expressions.push(LfTagExpression::from([(key.clone(), values)]));
        }
    }
    expressions
}

async fn search_all(
    region: &impl ReadRegion,
    searches: &[LfTagExpression],
    max_concurrent_calls: usize,
) -> Result<TaggedTables, CallError> {
    let calls = searches
        .iter()
        .map(|expression| region.search_by_lf_tags(LfTagPolicyTarget::Table, expression));
    let mut tables = TaggedTables::new();
    for found in run_concurrently(calls, max_concurrent_calls).await {
        for resource in found? {
            add(&mut tables, resource);
        }
    }
    Ok(tables)
}

/// Adds what one search shows of a table. Each search may show only the LF-Tags that it is for.
fn add(tables: &mut TaggedTables, found: LfTaggedResource) {
    let Some(table) = found.table else {
        return;
    };
    let id = TableId::new(
        Name::from_service(&found.database),
        Name::from_service(&table),
    );
    let tags = tables.entry(id).or_default();
    tags.on_database.extend(found.on_database);
    tags.on_table.extend(found.on_table);
    for (column, on_column) in found.on_columns {
        tags.on_columns.entry(column).or_default().extend(on_column);
    }
}
