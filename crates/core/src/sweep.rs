//! Compares all partitions of a table on both sides, of however many, by digest.
//!
//! Of each partition of the primary only the values and a fingerprint are kept; the
//! secondary's are held against them one page at a time. Whole partitions stay for
//! a bounded number of those that differ; the values of the others come out too, to
//! be asked for by name.

use crate::catalog::{DRIFTING_PARAMETER, Partition, fingerprint};
use crate::reading::{Extent, Partitions};
use crate::translate::Translator;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// The values of one partition, one for each partition key.
pub type Values = Vec<String>;

/// A comparison under way: first every partition of the primary, then every one of
/// the secondary.
#[derive(Debug)]
pub struct Sweep<'a> {
    translator: Translator<'a>,
    /// How many more partitions may be kept whole, in this comparison and in those
    /// beside it.
    room: &'a Cell<usize>,
    /// What the secondary should hold.
    wanted: BTreeMap<Values, Wanted>,
    /// Partitions of the primary that may differ.
    here: BTreeMap<Values, Partition>,
    /// Partitions of the secondary that differ.
    there: BTreeMap<Values, Partition>,
    /// Partitions of the secondary that the primary did not show.
    extra: BTreeSet<Values>,
    /// Those that differ and were not kept.
    later: Vec<Values>,
    totals: (usize, usize),
    noted: Option<(usize, String)>,
}

#[derive(Debug)]
struct Wanted {
    /// `None` where the policy holds the partition back.
    fingerprint: Option<u128>,
    /// The secondary showed it: a listing may show a partition twice.
    seen: bool,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Swept {
    /// The primary's partitions.
    pub primary: Partitions,
    /// The secondary's.
    pub secondary: Partitions,
    /// Values of partitions that differ as well, and are still to be asked for.
    pub later: Vec<Values>,
    /// Values of partitions that are still to be deleted as well.
    pub gone_later: Vec<Values>,
}

impl<'a> Sweep<'a> {
    /// A comparison that keeps partitions whole as long as there is room.
    #[must_use]
    pub fn new(translator: Translator<'a>, room: &'a Cell<usize>) -> Self {
        Self {
            translator,
            room,
            wanted: BTreeMap::new(),
            here: BTreeMap::new(),
            there: BTreeMap::new(),
            extra: BTreeSet::new(),
            later: Vec::new(),
            totals: (0, 0),
            noted: None,
        }
    }

    /// Takes a partition of the primary.
    pub fn primary(&mut self, partition: Partition) {
        self.totals.0 += 1;
        let fingerprint = match self.translator.partition(&partition) {
            Ok(desired) => {
                if let Some(note) = desired.notes.into_iter().next() {
                    self.noted.get_or_insert((0, note)).0 += 1;
                }
                Some(fingerprint(&desired.object))
            }
            Err(_) => None,
        };
        let wanted = Wanted {
            fingerprint,
            seen: false,
        };
        self.wanted.insert(partition.values.clone(), wanted);
        let room = self.room.get();
        if room > 0
            && self
                .here
                .insert(partition.values.clone(), partition)
                .is_none()
        {
            self.room.set(room - 1);
        }
    }

    /// How many partitions of the primary it took.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.totals.0
    }

    /// Takes a partition of the secondary, after the last one of the primary.
    pub fn secondary(&mut self, mut partition: Partition) {
        self.totals.1 += 1;
        partition.parameters.remove(DRIFTING_PARAMETER);
        let values = partition.values.clone();
        let Some(wanted) = self.wanted.get_mut(&values) else {
            // All of a partition that has to go is its values.
            self.extra.insert(values);
            return;
        };
        if std::mem::replace(&mut wanted.seen, true) {
            return;
        }
        let equal = wanted.fingerprint == Some(fingerprint(&partition));
        if equal {
            self.forget(&values);
        } else if self.here.contains_key(&values) {
            self.there.insert(values, partition);
        } else {
            self.later.push(values);
        }
    }

    fn forget(&mut self, values: &Values) {
        if self.here.remove(values).is_some() {
            self.room.set(self.room.get().saturating_add(1));
        }
    }

    /// Partitions of the secondary that the primary did not show. They may have been
    /// made in the meantime, so it has to be asked for them by name.
    #[must_use]
    pub fn extra(&self) -> Vec<&[String]> {
        self.extra.iter().map(Vec::as_slice).collect()
    }

    /// Takes back what the primary holds all the same: it is asked for by name later.
    pub fn found(&mut self, partitions: Vec<Partition>) {
        for partition in partitions {
            if self.extra.remove(&partition.values) {
                self.totals.0 += 1;
                self.later.push(partition.values);
            }
        }
    }

    /// What it came to. Of what the primary lacks only so much goes at once.
    #[must_use]
    pub fn finish(mut self, most: usize) -> Swept {
        let wanted = std::mem::take(&mut self.wanted).into_iter();
        let missing = wanted.filter(|(_, wanted)| !wanted.seen);
        let beyond = missing.map(|(values, _)| values);
        let here = std::mem::take(&mut self.here);
        let mut later = std::mem::take(&mut self.later);
        later.extend(beyond.filter(|values| !here.contains_key(values)));
        let mut extra: Vec<Values> = std::mem::take(&mut self.extra).into_iter().collect();
        let gone_later = extra.split_off(most.min(extra.len()));
        let whole = |total: usize| Extent::Whole { total };
        Swept {
            primary: Partitions {
                shown: here,
                extra: BTreeSet::new(),
                extent: whole(self.totals.0),
                noted: self.noted.take(),
            },
            secondary: Partitions {
                shown: std::mem::take(&mut self.there),
                extra: extra.into_iter().collect(),
                extent: whole(self.totals.1),
                noted: None,
            },
            later,
            gone_later,
        }
    }
}

impl Drop for Sweep<'_> {
    /// What is not finished gives its room back.
    fn drop(&mut self) {
        self.room
            .set(self.room.get().saturating_add(self.here.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Epoch;
    use crate::policy::Policy;

    fn partition(number: usize, version: usize) -> Partition {
        serde_json::from_value(serde_json::json!({
            "Values": [number.to_string()], "Parameters": {"v": version.to_string()},
            "StorageDescriptor": {"Location": format!("s3://a/t/{number}")},
        }))
        .unwrap()
    }

    fn policy() -> Policy {
        Policy::parse(
            "[first]\nregion = \"us-east-1\"\naccount = \"111122223333\"\n[second]\n\
             region = \"ap-south-1\"\naccount = \"111122223333\"\n[[location]]\n\
             first = \"s3://a\"\nsecond = \"s3://b\"\n",
        )
        .unwrap()
    }

    fn values(all: &BTreeMap<Values, Partition>) -> Vec<&str> {
        all.keys().map(|values| values[0].as_str()).collect()
    }

    #[test]
    fn only_what_differs_comes_out_and_only_so_much_of_it_whole() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch(0));
        let there = |number, version| translator.partition(&partition(number, version)).unwrap();
        let room = Cell::new(4);
        let mut sweep = Sweep::new(translator, &room);
        for number in 0..8 {
            sweep.primary(partition(number, 1));
        }
        for number in [0, 1, 4, 9] {
            sweep.secondary(there(number, 1).object);
        }
        for number in [2, 5] {
            sweep.secondary(there(number, 0).object);
        }
        // Listed twice: neither missing nor too much.
        sweep.secondary(there(4, 1).object);
        sweep.secondary(there(5, 0).object);
        assert_eq!(sweep.extra(), [["9".to_owned()]]);
        let swept = sweep.finish(10);
        assert_eq!(values(&swept.primary.shown), ["2", "3"]);
        assert_eq!(values(&swept.secondary.shown), ["2"]);
        assert_eq!(swept.secondary.extra, [vec!["9".to_owned()]].into());
        assert_eq!(room.get(), 2, "what is equal makes room");
        assert_eq!(swept.primary.extent, Extent::Whole { total: 8 });
        assert_eq!(swept.secondary.extent, Extent::Whole { total: 8 });
        let later: Vec<&str> = swept.later.iter().map(|v| v[0].as_str()).collect();
        assert_eq!(later, ["5", "6", "7"]);
    }

    #[test]
    fn what_drifts_by_itself_is_no_difference() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch(0));
        let mut there = translator.partition(&partition(1, 1)).unwrap().object;
        there
            .parameters
            .insert(DRIFTING_PARAMETER.to_owned(), "7".to_owned());
        let room = Cell::new(4);
        let mut sweep = Sweep::new(translator, &room);
        sweep.primary(partition(1, 1));
        sweep.secondary(there);
        let swept = sweep.finish(10);
        assert!(swept.primary.shown.is_empty() && swept.secondary.shown.is_empty());
    }

    #[test]
    fn what_the_primary_got_in_the_meantime_is_not_deleted() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch(0));
        let room = Cell::new(4);
        let mut sweep = Sweep::new(translator, &room);
        for number in 1..4 {
            let there = translator.partition(&partition(number, 1)).unwrap();
            sweep.secondary(there.object);
        }
        sweep.found(vec![partition(2, 1)]);
        let swept = sweep.finish(1);
        assert_eq!(swept.secondary.extra, [vec!["1".to_owned()]].into());
        let later: Vec<&str> = swept.later.iter().map(|v| v[0].as_str()).collect();
        assert_eq!(later, ["2"]);
        assert_eq!(swept.gone_later, [["3"]], "the rest goes in another share");
    }
}
