//! Partitions of tables: all of them, or those that were named.

use super::{Later, Observer, Readings, both, gather, known};
use crate::ports::{GET_BATCH, ReadRegion, SEGMENTS};
use std::collections::BTreeSet;
use twinlake_core::catalog::Linkable as _;
use twinlake_core::reading::{Observation, Partitions, Reading};
use twinlake_core::sweep::{Sweep, Swept, Values};
use twinlake_core::translate::Translator;
use twinlake_core::{Fault, FaultKind, Partition, Subject, TableId};

/// Partitions that differ are kept whole up to this many in one round, of all tables
/// together; the rest is asked for by name, as many at a time.
pub const KEPT: usize = 20_000;

/// From so many partitions on, they are listed in segments side by side.
const LARGE: usize = 20_000;

/// How many pages are read one after the other before that.
const PAGES: usize = 20;

const OUT_OF_TIME: &str = "time ran out before all of them were listed";

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// All partitions of the tables that have partition keys; of the secondary only
    /// where the table is there.
    pub(super) async fn partitions(&self, ids: &[&TableId], readings: &mut Readings) {
        let wanted: Vec<(&TableId, bool)> = ids
            .iter()
            .filter(|id| has_keys(&readings.primary, id))
            .map(|id| (*id, has_keys(&readings.secondary, id)))
            .collect();
        let calls = wanted
            .into_iter()
            .map(|(id, there)| async move { (id, there, self.sweep(id, there).await) });
        for (id, there, swept) in gather(calls, self.parallel).await {
            readings.later.remove(id);
            let (primary, secondary) = match swept {
                Ok(swept) => {
                    if !(swept.later.is_empty() && swept.gone_later.is_empty()) {
                        let later = Later {
                            changed: swept.later,
                            gone: swept.gone_later,
                        };
                        readings.later.insert(id.clone(), later);
                    }
                    let (here, there) = (swept.primary, swept.secondary);
                    (Observation::Present(here), Observation::Present(there))
                }
                Err(fault) => {
                    if fault.message == OUT_OF_TIME {
                        readings.timed_out.insert(id.clone());
                    }
                    let here = Observation::Unknown(fault.clone());
                    (here, Observation::Unknown(fault))
                }
            };
            readings.primary.partitions.insert(id.clone(), primary);
            match there {
                true => readings.secondary.partitions.insert(id.clone(), secondary),
                false => readings.secondary.partitions.remove(id),
            };
        }
    }

    async fn sweep(&self, id: &TableId, there: bool) -> Result<Swept, Fault> {
        let begin = || Sweep::new(Translator::new(self.policy, self.epoch), &self.room);
        let known = self.rows.get(&Subject::Table(id.clone()));
        let large = known.is_some_and(|row| row.partitions >= LARGE);
        // The first page of both sides at once: most tables have no second one.
        let first = async {
            match there && !large {
                true => Some(self.secondary.partitions(id, None, None).await),
                false => None,
            }
        };
        let mut sweep = begin();
        let mut take = |page: Vec<Partition>| page.into_iter().for_each(|p| sweep.primary(p));
        let primary = self.read_all(self.primary, id, large, &mut take);
        let (whole, first) = both(primary, first).await;
        if !whole? {
            // More than was thought: again, side by side.
            drop(sweep);
            sweep = begin();
            let mut take = |page: Vec<Partition>| page.into_iter().for_each(|p| sweep.primary(p));
            self.in_segments(self.primary, id, &mut take).await?;
        }
        if there {
            let large = large || sweep.seen() >= LARGE;
            let mut take = |page: Vec<Partition>| page.into_iter().for_each(|p| sweep.secondary(p));
            match first {
                Some(first) if !large => {
                    let (page, token) = first?;
                    take(page);
                    let rest = self.pages_from(self.secondary, id, token, usize::MAX, &mut take);
                    rest.await?;
                }
                Some(_) | None => self.in_segments(self.secondary, id, &mut take).await?,
            }
        }
        // What was made in the primary since its pages were read is none too much.
        let extra = sweep.extra();
        let calls = extra.chunks(GET_BATCH).map(|some| async move {
            self.in_time(self.primary)?;
            self.primary.partitions_named(id, some).await
        });
        let mut found = Vec::new();
        for some in gather(calls, self.parallel).await {
            found.extend(some?);
        }
        drop(extra);
        sweep.found(found);
        Ok(sweep.finish(KEPT))
    }

    /// Reads every partition of one side. Answers whether it did: a table that turns
    /// out to be large is left to be read in segments.
    async fn read_all<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        large: bool,
        take: &mut impl FnMut(Vec<Partition>),
    ) -> Result<bool, Fault> {
        if large {
            self.in_segments(region, id, take).await?;
            return Ok(true);
        }
        let (page, token) = region.partitions(id, None, None).await?;
        take(page);
        self.pages_from(region, id, token, PAGES, take).await
    }

    async fn pages_from<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        mut token: Option<String>,
        most: usize,
        take: &mut impl FnMut(Vec<Partition>),
    ) -> Result<bool, Fault> {
        let mut pages = 1;
        while let Some(next) = token {
            if pages >= most {
                return Ok(false);
            }
            self.in_time(region)?;
            let (page, next) = region.partitions(id, None, Some(next)).await?;
            take(page);
            token = next;
            pages += 1;
        }
        Ok(true)
    }

    /// Reads the segments of one side, a page of each at a time.
    async fn in_segments<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        take: &mut impl FnMut(Vec<Partition>),
    ) -> Result<(), Fault> {
        let mut open: Vec<(usize, Option<String>)> = (0..SEGMENTS).map(|n| (n, None)).collect();
        while !open.is_empty() {
            self.in_time(region)?;
            let calls = open.drain(..).map(|(segment, token)| async move {
                let page = region.partitions(id, Some(segment), token).await;
                (segment, page)
            });
            let mut left = Vec::new();
            for (segment, page) in gather(calls, SEGMENTS).await {
                let (page, token) = page?;
                take(page);
                left.extend(token.map(|token| (segment, Some(token))));
            }
            open = left;
        }
        Ok(())
    }

    /// A listing that does not fit into the time that there is has failed.
    fn in_time<R: ReadRegion>(&self, region: &R) -> Result<(), Fault> {
        if !(self.is_late)() {
            return Ok(());
        }
        let message = OUT_OF_TIME;
        let kind = FaultKind::Unavailable;
        Err(Fault::new(kind, "GetPartitions", region.region(), message))
    }

    /// The partitions of a table that were named by their values, on both sides. What
    /// the secondary has just confirmed is not asked for again.
    pub(super) async fn partitions_named(
        &self,
        id: &TableId,
        values: &BTreeSet<Values>,
        readings: &mut Readings,
    ) {
        // What a link shows below it belongs to its target.
        if !has_keys(&readings.primary, id) {
            return;
        }
        let there = has_keys(&readings.secondary, id);
        let confirmed = self.confirmed.get(id);
        let confirmed = confirmed.filter(|all| values.iter().all(|v| all.contains_key(v)));
        let secondary = async {
            match (confirmed, there) {
                (Some(all), _) => {
                    let those = values.iter().filter_map(|v| all.get(v)?.clone());
                    Some(Ok(those.collect()))
                }
                (None, true) => Some(self.named(self.secondary, id, values).await),
                (None, false) => None,
            }
        };
        let primary = self.named(self.primary, id, values);
        let (primary, secondary) = both(primary, secondary).await;
        let partitions = |found: Result<Vec<Partition>, Fault>| {
            known(found.map(|found| Partitions::named(values, found)))
        };
        let primary = partitions(primary);
        readings.primary.partitions.insert(id.clone(), primary);
        match secondary {
            Some(found) => {
                let found = partitions(found);
                readings.secondary.partitions.insert(id.clone(), found)
            }
            None => readings.secondary.partitions.remove(id),
        };
    }

    async fn named<R: ReadRegion>(
        &self,
        region: &R,
        id: &TableId,
        values: &BTreeSet<Values>,
    ) -> Result<Vec<Partition>, Fault> {
        let values: Vec<&[String]> = values.iter().map(Vec::as_slice).collect();
        let calls = values
            .chunks(GET_BATCH)
            .map(|some| region.partitions_named(id, some));
        let mut all = Vec::new();
        for found in gather(calls, self.parallel).await {
            all.extend(found?);
        }
        Ok(all)
    }
}

fn has_keys(reading: &Reading, id: &TableId) -> bool {
    let seen = reading.tables.get(id).and_then(Observation::present);
    seen.is_some_and(|seen| !seen.object.partition_keys.is_empty() && !seen.is_link())
}
