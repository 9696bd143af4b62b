//! Compares the LF-Tags of the tables of both Regions by searches: few calls for many tables.

use super::{Items, join, run_concurrently};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::AttachmentKey;
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget};
use twinlake_core::snapshot::LfTaggedResource;
use twinlake_core::{CallError, LfSubject, Name, TableId};

/// Most values of an LF-Tag in one search.
const MAX_VALUES_PER_SEARCH: usize = 50;

/// Tables in a page of a search.
const SEARCH_PAGE_SIZE: usize = 100;

/// The values of each LF-Tag of a Region.
type LfTagValues = BTreeMap<String, BTreeSet<String>>;

/// The tables that searches found, with their LF-Tags.
type TaggedTables = BTreeMap<TableId, LfTaggedResource>;

/// Returns the tables of which a search by one LF-Tag shows other LF-Tags in one Region than in the other,
/// inherited ones included. What is assigned to a table and equals what it inherits is not told apart.
/// `None` if something could not be read, or if reading `tables` tables one by one takes fewer calls.
pub(crate) async fn tables_with_differing_lf_tags(
    (primary, primary_items): (&impl ReadRegion, &Items),
    (standby, standby_items): (&impl ReadRegion, &Items),
    tables: usize,
    max_concurrent_calls: usize,
) -> Option<BTreeSet<TableId>> {
    let primary_values = values_of(primary_items)?;
    let standby_values = values_of(standby_items)?;
    if call_count(&primary_values, tables) + call_count(&standby_values, tables) > 2 * tables {
        return None;
    }
    let keys: BTreeSet<&String> = primary_values.keys().chain(standby_values.keys()).collect();
    let searches = keys.into_iter().map(|key| {
        let (in_primary, in_standby) = (primary_values.get(key), standby_values.get(key));
        async move {
            let found = join(
                tables_with(primary, key, in_primary),
                tables_with(standby, key, in_standby),
            );
            let (in_primary, in_standby) = found.await;
            Ok::<_, CallError>(differing(&in_primary?, &in_standby?))
        }
    });
    let mut all = BTreeSet::new();
    for differing in run_concurrently(searches, max_concurrent_calls).await {
        all.extend(differing.ok()?);
    }
    Some(all)
}

/// The values of the LF-Tags of a Region, if they could be listed.
fn values_of(items: &Items) -> Option<LfTagValues> {
    let tags = items.by_subject.get(&LfSubject::LfTags)?;
    let mut values = LfTagValues::new();
    for key in tags.present()?.keys() {
        match key {
            AttachmentKey::LfTagValue { key, value } => {
                values.entry(key.clone()).or_default().insert(value.clone());
            }
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::DataCellsFilter(_)
            | AttachmentKey::LfTagAssignment { .. }
            | AttachmentKey::OptIn(_)
            | AttachmentKey::NamedExpression(_)
            | AttachmentKey::Registration(_) => {}
        }
    }
    Some(values)
}

/// The most calls that searches by these LF-Tags take, if each table has one value of each.
fn call_count(values: &LfTagValues, tables: usize) -> usize {
    let searches = values.values();
    let searches = searches.map(|values| values.len().div_ceil(MAX_VALUES_PER_SEARCH));
    let later_pages = tables.div_ceil(SEARCH_PAGE_SIZE).saturating_sub(1);
    searches.sum::<usize>() + values.len() * later_pages
}

/// Searches a Region for the tables that have an LF-Tag, whatever its value. A Region that lacks the LF-Tag
/// has none.
async fn tables_with(
    region: &impl ReadRegion,
    key: &str,
    values: Option<&BTreeSet<String>>,
) -> Result<TaggedTables, CallError> {
    let mut found = TaggedTables::new();
    let values: Vec<&String> = values.into_iter().flatten().collect();
    for some in values.chunks(MAX_VALUES_PER_SEARCH) {
        let some = some.iter().map(|value| (*value).clone()).collect();
        let expression = LfTagExpression::from([(key.to_owned(), some)]);
        let tables = region.search_by_lf_tags(LfTagPolicyTarget::Table, &expression);
        for table in tables.await? {
            let name = table.table.clone().unwrap_or_default();
            let database = Name::from_service(&table.database);
            let id = TableId::new(database, Name::from_service(&name));
            let known = found.entry(id).or_insert_with(|| table.clone());
            known.on_columns.extend(table.on_columns);
        }
    }
    Ok(found)
}

/// The tables that only one Region has, or that differ.
fn differing(primary: &TaggedTables, standby: &TaggedTables) -> BTreeSet<TableId> {
    let ids = primary.keys().chain(standby.keys());
    ids.filter(|id| primary.get(*id) != standby.get(*id))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(counts: &[(&str, usize)]) -> LfTagValues {
        let of = |count: usize| (0..count).map(|n| n.to_string()).collect();
        let all = counts.iter();
        all.map(|(key, count)| ((*key).to_owned(), of(*count)))
            .collect()
    }

    #[test]
    fn a_search_takes_50_values_and_a_page_100_tables() {
        assert_eq!(call_count(&values(&[("team", 50)]), 100), 1);
        assert_eq!(call_count(&values(&[("team", 51)]), 100), 2);
        assert_eq!(call_count(&values(&[("team", 1), ("class", 1)]), 101), 4);
        assert_eq!(call_count(&LfTagValues::new(), 1000), 0);
    }
}
