//! Reads partitions of tables: all of them, or some by their values.

use super::{
    DeferredRead, Observer, Snapshots, join, may_mean_absence, present_or_unknown, run_concurrently,
};
use crate::ports::{
    MAX_PARTITIONS_PER_GET, PARTITION_SEGMENTS, PageTokens, PartitionsByValues, ReadRegion,
};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::desired::Translator;
use twinlake_core::partition_diff::{PartitionDiff, PartitionDiffResult, PartitionValues};
use twinlake_core::snapshot::{Observation, Partitions, Snapshot};
use twinlake_core::{CallError, CallErrorKind, Partition, Subject, TableId};

/// Most differing partitions, of all tables together, of which one round keeps the whole
/// definition. The others are read by value in later rounds, in pages of this size.
pub const MAX_PARTITIONS_PER_ROUND: usize = 20_000;

/// Tables with at least this many partitions are listed in parallel segments.
const SEGMENTED_SCAN_MIN_PARTITIONS: usize = 20_000;

/// Most pages that are read one after the other before the listing restarts in segments.
const MAX_SEQUENTIAL_PAGES: usize = 20;

/// The call that lists partitions.
const LISTING: &str = "GetPartitions";

const OUT_OF_TIME: &str = "time ran out before all partitions were listed";

/// The partitions of a table by a listing, and whether the standby has the table.
pub(super) type ListedPartitions<'i> = (&'i TableId, bool, Result<PartitionDiffResult, CallError>);

/// Partitions of a table that were read by their values.
pub(super) struct NamedPartitions<'i> {
    id: &'i TableId,
    primary: Observation<Partitions>,
    /// `None` if the standby lacks the table.
    standby: Option<Observation<Partitions>>,
}

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Lists all partitions of the tables that have partition keys; in the standby only if the
    /// table exists there.
    pub(super) async fn list_partitions<'i>(
        &self,
        ids: &[&'i TableId],
        snapshots: &Snapshots,
    ) -> Vec<ListedPartitions<'i>> {
        let tables: Vec<(&TableId, bool)> = ids
            .iter()
            .filter(|id| has_keys(&snapshots.primary, id))
            .map(|id| (*id, has_keys(&snapshots.standby, id)))
            .collect();
        self.progress.reads_expected(tables.len());
        let calls = tables.into_iter().map(|(id, in_standby)| async move {
            let result = self.diff_partitions(id, in_standby).await;
            self.progress.read_finished();
            (id, in_standby, result)
        });
        run_concurrently(calls, self.max_concurrent_calls).await
    }

    /// Lists all partitions of a table in both Regions and compares them.
    async fn diff_partitions(
        &self,
        id: &TableId,
        in_standby: bool,
    ) -> Result<PartitionDiffResult, CallError> {
        let new_diff = || {
            let translator = Translator::new(self.policy, self.epoch);
            PartitionDiff::new(translator, &self.remaining_partitions)
        };
        let row = self.rows.get(&Subject::Table(id.clone()));
        let is_large = row.is_some_and(|row| row.partitions >= SEGMENTED_SCAN_MIN_PARTITIONS);
        // The first pages of both Regions are read concurrently: most tables have no second page.
        let first_page = async {
            match in_standby && !is_large {
                true => Some(self.standby.partitions_page(id, None, None).await),
                false => None,
            }
        };
        let mut diff = new_diff();
        let mut take = |page: Vec<Partition>| page.into_iter().for_each(|p| diff.add_primary(p));
        let primary = self.read_all(self.primary, id, is_large, &mut take);
        let (is_complete, first_page) = join(primary, first_page).await;
        if !is_complete? {
            // More partitions than the ledger says: read again, in segments.
            drop(diff);
            diff = new_diff();
            let mut take =
                |page: Vec<Partition>| page.into_iter().for_each(|p| diff.add_primary(p));
            self.read_segments(self.primary, id, &mut take).await?;
        }
        if in_standby {
            let is_large = is_large || diff.primary_count() >= SEGMENTED_SCAN_MIN_PARTITIONS;
            let mut take =
                |page: Vec<Partition>| page.into_iter().for_each(|p| diff.add_standby(p));
            match first_page {
                Some(first_page) if !is_large => {
                    let (page, token) = first_page?;
                    take(page);
                    let rest = self.read_pages(self.standby, id, token, usize::MAX, &mut take);
                    rest.await?;
                }
                Some(_) | None => self.read_segments(self.standby, id, &mut take).await?,
            }
        }
        // Partitions created in the primary after its pages were read are not extra.
        let extra = diff.extra();
        let calls = extra
            .chunks(MAX_PARTITIONS_PER_GET)
            .map(|chunk| async move {
                self.check_time(self.primary)?;
                self.primary.partitions_by_values(id, chunk).await
            });
        let mut named = PartitionsByValues::default();
        for chunk in run_concurrently(calls, self.max_concurrent_calls).await {
            merge(&mut named, chunk?);
        }
        drop(extra);
        if self.named_partition_deletions.contains(id) {
            // The event does not say which partitions are gone: what one listing lacks may be there, if the reads
            // by value are refused for another reason.
            self.prove_named_deletions(id, &mut named).await?;
        }
        diff.add_found(named.found);
        diff.add_unread(named.unread);
        Ok(diff.finish(MAX_PARTITIONS_PER_ROUND))
    }

    /// Reads every partition of a table in one Region. Returns false if the table turns out to be
    /// large; the caller then reads it in segments.
    async fn read_all<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        is_large: bool,
        take: &mut impl FnMut(Vec<Partition>),
    ) -> Result<bool, CallError> {
        if is_large {
            self.read_segments(region, id, take).await?;
            return Ok(true);
        }
        let (page, token) = region.partitions_page(id, None, None).await?;
        take(page);
        self.read_pages(region, id, token, MAX_SEQUENTIAL_PAGES, take)
            .await
    }

    /// Reads pages from a token on. Returns false if more pages than `max_pages` are left.
    async fn read_pages<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        mut token: Option<String>,
        max_pages: usize,
        take: &mut impl FnMut(Vec<Partition>),
    ) -> Result<bool, CallError> {
        let (mut pages, mut tokens) = (1, PageTokens::default());
        while let Some(next) = tokens.next(token, (LISTING, region.region()))? {
            if pages >= max_pages {
                return Ok(false);
            }
            self.check_time(region)?;
            let (page, next) = region.partitions_page(id, None, Some(next)).await?;
            take(page);
            token = next;
            pages += 1;
        }
        Ok(true)
    }

    /// Reads all segments of a table in one Region in parallel, one page of each at a time.
    async fn read_segments<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        take: &mut impl FnMut(Vec<Partition>),
    ) -> Result<(), CallError> {
        let mut open: Vec<(usize, Option<String>)> = (0..PARTITION_SEGMENTS)
            .map(|segment| (segment, None))
            .collect();
        let mut tokens: BTreeMap<usize, PageTokens> = BTreeMap::new();
        while !open.is_empty() {
            self.check_time(region)?;
            let calls = open.drain(..).map(|(segment, token)| async move {
                let page = region.partitions_page(id, Some(segment), token).await;
                (segment, page)
            });
            let mut unfinished = Vec::new();
            for (segment, page) in run_concurrently(calls, PARTITION_SEGMENTS).await {
                let (page, token) = page?;
                take(page);
                let tokens = tokens.entry(segment).or_default();
                let token = tokens.next(token, (LISTING, region.region()))?;
                unfinished.extend(token.map(|token| (segment, Some(token))));
            }
            open = unfinished;
        }
        Ok(())
    }

    /// Fails a listing if time ran out.
    fn check_time<R: ReadRegion>(&self, region: &R) -> Result<(), CallError> {
        if !(self.is_out_of_time)() {
            return Ok(());
        }
        let message = OUT_OF_TIME;
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, LISTING, region.region(), message))
    }

    /// Reads partitions of tables by their values in both Regions. Partitions whose write the standby has
    /// just confirmed are not read there again.
    pub(super) async fn get_partitions_by_values<'i>(
        &self,
        wanted: impl Iterator<Item = (&'i TableId, &'i BTreeSet<PartitionValues>)>,
        snapshots: &Snapshots,
    ) -> Vec<NamedPartitions<'i>> {
        // Partitions below a resource link belong to its target.
        let wanted = wanted.filter(|(id, _)| has_keys(&snapshots.primary, id));
        let calls = wanted.map(|(id, values)| self.get_partitions_of(id, values, snapshots));
        run_concurrently(calls, self.max_concurrent_calls).await
    }

    async fn get_partitions_of<'i>(
        &self,
        id: &'i TableId,
        values: &'i BTreeSet<PartitionValues>,
        snapshots: &Snapshots,
    ) -> NamedPartitions<'i> {
        let in_standby = has_keys(&snapshots.standby, id);
        let confirmed = self.confirmed_writes.get(id);
        let confirmed = confirmed.filter(|writes| {
            let mut values = values.iter();
            values.all(|values| writes.contains_key(values))
        });
        let standby = async {
            match (confirmed, in_standby) {
                (Some(writes), _) => {
                    let written = values
                        .iter()
                        .filter_map(|values| writes.get(values)?.clone());
                    Some(Ok(PartitionsByValues {
                        found: written.collect(),
                        unread: BTreeMap::new(),
                    }))
                }
                (None, true) => Some(self.get_by_values(self.standby, id, values).await),
                (None, false) => None,
            }
        };
        let primary = async {
            let mut named = self.get_by_values(self.primary, id, values).await?;
            self.prove_named_deletions(id, &mut named).await?;
            Ok(named)
        };
        let (primary, standby) = join(primary, standby).await;
        // A partition that one Region did not return is compared in neither.
        let mut unread = BTreeMap::new();
        for named in [Some(&primary), standby.as_ref()].into_iter().flatten() {
            unread.extend(named.iter().flat_map(|named| named.unread.clone()));
        }
        let partitions = |named: Result<PartitionsByValues, CallError>| {
            present_or_unknown(named.map(|named| {
                let partitions = Partitions::named(values, named.found);
                partitions.without_unread(&unread)
            }))
        };
        NamedPartitions {
            id,
            primary: partitions(primary),
            standby: standby.map(partitions),
        }
    }

    /// Lists the partitions of a table in the primary if the reads of some by value were refused and
    /// an event named deletions: those that the listing lacks do not exist.
    async fn prove_named_deletions(
        &self,
        id: &TableId,
        named: &mut PartitionsByValues,
    ) -> Result<(), CallError> {
        let mut unread = named.unread.values();
        let is_refused = unread.any(|error| may_mean_absence(error.kind));
        if !is_refused || !self.named_partition_deletions.contains(id) {
            return Ok(());
        }
        let mut listed: BTreeSet<PartitionValues> = BTreeSet::new();
        let mut take =
            |page: Vec<Partition>| listed.extend(page.into_iter().map(|found| found.values));
        if !self.read_all(self.primary, id, false, &mut take).await? {
            self.read_segments(self.primary, id, &mut take).await?;
        }
        drop_refused(named, |values| !listed.contains(values));
        Ok(())
    }

    async fn get_by_values<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        values: &BTreeSet<PartitionValues>,
    ) -> Result<PartitionsByValues, CallError> {
        let values: Vec<&[String]> = values.iter().map(Vec::as_slice).collect();
        let calls = values
            .chunks(MAX_PARTITIONS_PER_GET)
            .map(|chunk| region.partitions_by_values(id, chunk));
        let mut all = PartitionsByValues::default();
        for named in run_concurrently(calls, self.max_concurrent_calls).await {
            merge(&mut all, named?);
        }
        Ok(all)
    }
}

/// Adds listed partitions to the snapshots.
pub(super) fn record_listed(listed: Vec<ListedPartitions<'_>>, snapshots: &mut Snapshots) {
    for (id, in_standby, result) in listed {
        snapshots.deferred.remove(id);
        let (primary, standby) = match result {
            Ok(diff) => {
                if !(diff.deferred_changes.is_empty() && diff.deferred_deletions.is_empty()) {
                    let deferred = DeferredRead {
                        changed: diff.deferred_changes,
                        missing_in_primary: diff.deferred_deletions,
                    };
                    snapshots.deferred.insert(id.clone(), deferred);
                }
                (
                    Observation::Present(diff.primary),
                    Observation::Present(diff.standby),
                )
            }
            Err(error) => {
                if error.message == OUT_OF_TIME {
                    snapshots.timed_out.insert(id.clone());
                }
                (
                    Observation::Unknown(error.clone()),
                    Observation::Unknown(error),
                )
            }
        };
        let standby = in_standby.then_some(standby);
        insert_partitions(id, primary, standby, snapshots);
    }
}

/// Adds partitions that were read by their values to the snapshots.
pub(super) fn record_named(read: Vec<NamedPartitions<'_>>, snapshots: &mut Snapshots) {
    for one in read {
        insert_partitions(one.id, one.primary, one.standby, snapshots);
    }
}

fn insert_partitions(
    id: &TableId,
    primary: Observation<Partitions>,
    standby: Option<Observation<Partitions>>,
    snapshots: &mut Snapshots,
) {
    snapshots.primary.partitions.insert(id.clone(), primary);
    match standby {
        Some(standby) => snapshots.standby.partitions.insert(id.clone(), standby),
        None => snapshots.standby.partitions.remove(id),
    };
}

/// Removes from the unread partitions those whose read was refused and that a listing lacks: they
/// do not exist.
fn drop_refused(named: &mut PartitionsByValues, is_unlisted: impl Fn(&PartitionValues) -> bool) {
    named
        .unread
        .retain(|values, error| !may_mean_absence(error.kind) || !is_unlisted(values));
}

fn merge(all: &mut PartitionsByValues, more: PartitionsByValues) {
    all.found.extend(more.found);
    all.unread.extend(more.unread);
}

/// Whether a table exists, has partition keys and is no resource link.
fn has_keys(snapshot: &Snapshot, id: &TableId) -> bool {
    let observed = snapshot.tables.get(id).and_then(Observation::present);
    observed
        .is_some_and(|observed| !observed.object.partition_keys.is_empty() && !observed.is_link())
}
