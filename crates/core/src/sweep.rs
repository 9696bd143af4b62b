//! Compares all partitions of a table on both sides, of however many, by digest.
//!
//! Of each partition of the primary only the values and sixteen bytes are kept; the
//! secondary's are held against them one page at a time. Whole partitions stay for
//! a bounded number of those that differ; the values of the others come out too, to
//! be asked for by name.

use crate::catalog::{DRIFTING_PARAMETER, Partition, fingerprint};
use crate::reading::{Extent, Partitions};
use crate::translate::Translator;
use std::collections::BTreeMap;

/// The values of one partition, one for each partition key.
pub type Values = Vec<String>;

/// A comparison under way: first every partition of the primary, then every one of
/// the secondary.
#[derive(Debug)]
pub struct Sweep<'a> {
    translator: Translator<'a>,
    /// How many partitions of a side are kept whole.
    keep: usize,
    /// What the secondary should hold and was not seen to; `None` where the policy
    /// holds a partition back.
    wanted: BTreeMap<Values, Option<u128>>,
    /// Partitions of the primary that may differ.
    here: BTreeMap<Values, Partition>,
    /// Partitions of the secondary that differ, or that the primary lacks.
    there: BTreeMap<Values, Partition>,
    /// Those that differ and were not kept.
    later: Vec<Values>,
    totals: (usize, usize),
    noted: Option<(usize, String)>,
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
}

impl<'a> Sweep<'a> {
    /// A comparison that keeps at most so many partitions of a side whole.
    #[must_use]
    pub fn new(translator: Translator<'a>, keep: usize) -> Self {
        Self {
            translator,
            keep,
            wanted: BTreeMap::new(),
            here: BTreeMap::new(),
            there: BTreeMap::new(),
            later: Vec::new(),
            totals: (0, 0),
            noted: None,
        }
    }

    /// Takes a partition of the primary.
    pub fn primary(&mut self, partition: Partition) {
        self.totals.0 += 1;
        let wanted = match self.translator.partition(&partition) {
            Ok(desired) => {
                if let Some(note) = desired.notes.into_iter().next() {
                    self.noted.get_or_insert((0, note)).0 += 1;
                }
                Some(fingerprint(&desired.object))
            }
            Err(_) => None,
        };
        self.wanted.insert(partition.values.clone(), wanted);
        if self.here.len() < self.keep {
            self.here.insert(partition.values.clone(), partition);
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
        match self.wanted.remove(&values) {
            // All of a partition that has to go is its values.
            None => {
                self.there.insert(values.clone(), Partition::named(values));
            }
            Some(wanted) if wanted == Some(fingerprint(&partition)) => {
                self.here.remove(&values);
            }
            Some(_) if self.here.contains_key(&values) => {
                self.there.insert(values, partition);
            }
            Some(_) => self.later.push(values),
        }
    }

    /// What it came to.
    #[must_use]
    pub fn finish(mut self) -> Swept {
        let missing = self.wanted.into_keys();
        let beyond = missing.filter(|values| !self.here.contains_key(values));
        self.later.extend(beyond);
        let whole = |total: usize| Extent::Whole { total };
        Swept {
            primary: Partitions {
                shown: self.here,
                extent: whole(self.totals.0),
                noted: self.noted,
            },
            secondary: Partitions {
                shown: self.there,
                extent: whole(self.totals.1),
                noted: None,
            },
            later: self.later,
        }
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
        let mut sweep = Sweep::new(translator, 4);
        for number in 0..8 {
            sweep.primary(partition(number, 1));
        }
        for number in [0, 1, 4, 9] {
            sweep.secondary(there(number, 1).object);
        }
        for number in [2, 5] {
            sweep.secondary(there(number, 0).object);
        }
        let swept = sweep.finish();
        assert_eq!(values(&swept.primary.shown), ["2", "3"]);
        assert_eq!(values(&swept.secondary.shown), ["2", "9"]);
        assert_eq!(swept.primary.extent, Extent::Whole { total: 8 });
        assert_eq!(swept.secondary.extent, Extent::Whole { total: 6 });
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
        let mut sweep = Sweep::new(translator, 4);
        sweep.primary(partition(1, 1));
        sweep.secondary(there);
        let swept = sweep.finish();
        assert!(swept.primary.shown.is_empty() && swept.secondary.shown.is_empty());
    }
}
