//! Compares all partitions of a table in both Regions by fingerprint, whatever their number.
//!
//! Of each partition of the primary, only the values and a fingerprint are kept. The partitions of
//! the standby are compared with them one page at a time. Complete partitions are kept for a
//! bounded number of those that differ. Of the other differing ones the result has the values, so
//! that they can be read by name later.

use crate::call_error::CallError;
use crate::catalog::{Comparable as _, Partition, fingerprint};
use crate::desired::Translator;
use crate::snapshot::{PartitionExtent, Partitions};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// The values of one partition, one for each partition key.
pub type PartitionValues = Vec<String>;

/// A comparison in progress. All partitions of the primary are added first, then those of the
/// standby.
#[derive(Debug)]
pub struct PartitionDiff<'a> {
    translator: Translator<'a>,
    /// The number of further complete partitions that may be kept, by this comparison and the
    /// concurrent ones together.
    capacity: &'a Cell<usize>,
    /// The partitions that the standby should have, by their values.
    desired: BTreeMap<PartitionValues, DesiredPartition>,
    /// Partitions of the primary that may differ.
    primary_partitions: BTreeMap<PartitionValues, Partition>,
    /// Partitions of the standby that differ.
    standby_partitions: BTreeMap<PartitionValues, Partition>,
    /// Partitions of the standby that the primary did not list.
    extra: BTreeSet<PartitionValues>,
    /// Partitions that differ and were not kept.
    deferred_changes: Vec<PartitionValues>,
    /// The number of partitions of the primary and of the standby.
    totals: (usize, usize),
    /// See [`Partitions::notes`].
    notes: Option<(usize, String)>,
    /// See [`Partitions::unread`].
    unread: BTreeMap<PartitionValues, CallError>,
}

#[derive(Debug)]
struct DesiredPartition {
    /// `None` if the partition cannot be replicated.
    fingerprint: Option<u128>,
    /// Whether the standby listed the partition. A listing may contain a partition twice.
    is_in_standby: bool,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionDiffResult {
    /// The primary's partitions that may differ.
    pub primary: Partitions,
    /// The standby's partitions that differ.
    pub standby: Partitions,
    /// Values of further partitions that differ; they have to be read by name.
    pub deferred_changes: Vec<PartitionValues>,
    /// Values of further partitions that have to be deleted.
    pub deferred_deletions: Vec<PartitionValues>,
}

impl<'a> PartitionDiff<'a> {
    /// Creates a comparison that keeps complete partitions while there is capacity.
    #[must_use]
    pub fn new(translator: Translator<'a>, capacity: &'a Cell<usize>) -> Self {
        Self {
            translator,
            capacity,
            desired: BTreeMap::new(),
            primary_partitions: BTreeMap::new(),
            standby_partitions: BTreeMap::new(),
            extra: BTreeSet::new(),
            deferred_changes: Vec::new(),
            totals: (0, 0),
            notes: None,
            unread: BTreeMap::new(),
        }
    }

    /// Adds a partition of the primary.
    pub fn add_primary(&mut self, partition: Partition) {
        self.totals.0 += 1;
        let fingerprint = match self.translator.partition(&partition) {
            Ok(desired) => {
                if let Some(note) = desired.notes.into_iter().next() {
                    self.notes.get_or_insert((0, note)).0 += 1;
                }
                Some(fingerprint(&desired.object.into_comparable()))
            }
            Err(_) => None,
        };
        let desired = DesiredPartition {
            fingerprint,
            is_in_standby: false,
        };
        self.desired.insert(partition.values.clone(), desired);
        let capacity = self.capacity.get();
        if capacity > 0
            && self
                .primary_partitions
                .insert(partition.values.clone(), partition)
                .is_none()
        {
            self.capacity.set(capacity - 1);
        }
    }

    /// Returns the number of partitions of the primary that were added.
    #[must_use]
    pub fn primary_count(&self) -> usize {
        self.totals.0
    }

    /// Adds a partition of the standby. All partitions of the primary have to be added before.
    pub fn add_standby(&mut self, partition: Partition) {
        self.totals.1 += 1;
        let partition = partition.into_comparable();
        let values = partition.values.clone();
        let Some(desired) = self.desired.get_mut(&values) else {
            // The deletion of a partition needs only its values.
            self.extra.insert(values);
            return;
        };
        if std::mem::replace(&mut desired.is_in_standby, true) {
            return;
        }
        let equal = desired.fingerprint == Some(fingerprint(&partition));
        if equal {
            self.drop_equal(&values);
        } else if self.primary_partitions.contains_key(&values) {
            self.standby_partitions.insert(values, partition);
        } else {
            self.deferred_changes.push(values);
        }
    }

    fn drop_equal(&mut self, values: &PartitionValues) {
        if self.primary_partitions.remove(values).is_some() {
            self.capacity.set(self.capacity.get().saturating_add(1));
        }
    }

    /// Returns the values of the standby's partitions that the primary did not list. They may have
    /// been created there since, so the caller has to read them in the primary by name.
    #[must_use]
    pub fn extra(&self) -> Vec<&[String]> {
        self.extra.iter().map(Vec::as_slice).collect()
    }

    /// Removes from the extra partitions those that the caller found in the primary. They are
    /// compared later.
    pub fn add_found(&mut self, partitions: Vec<Partition>) {
        for partition in partitions {
            if self.extra.remove(&partition.values) {
                self.totals.0 += 1;
                self.deferred_changes.push(partition.values);
            }
        }
    }

    /// Removes from the extra partitions those of which the caller could not read whether the primary
    /// has them: they are not deleted.
    pub fn add_unread(&mut self, unread: BTreeMap<PartitionValues, CallError>) {
        for values in unread.keys() {
            self.extra.remove(values);
        }
        self.unread.extend(unread);
    }

    /// Returns the result. At most `max_deletions` of the extra partitions are deleted at once; the
    /// others are deferred.
    #[must_use]
    pub fn finish(mut self, max_deletions: usize) -> PartitionDiffResult {
        let desired = std::mem::take(&mut self.desired).into_iter();
        let unseen = desired.filter(|(_, desired)| !desired.is_in_standby);
        let missing_in_standby = unseen.map(|(values, _)| values);
        let primary_partitions = std::mem::take(&mut self.primary_partitions);
        let mut deferred_changes = std::mem::take(&mut self.deferred_changes);
        deferred_changes
            .extend(missing_in_standby.filter(|values| !primary_partitions.contains_key(values)));
        let mut extra: Vec<PartitionValues> = std::mem::take(&mut self.extra).into_iter().collect();
        let deferred_deletions = extra.split_off(max_deletions.min(extra.len()));
        let whole_extent = |total: usize| PartitionExtent::Complete { total };
        PartitionDiffResult {
            primary: Partitions {
                to_compare: primary_partitions,
                extra: BTreeSet::new(),
                extent: whole_extent(self.totals.0),
                notes: self.notes.take(),
                unread: std::mem::take(&mut self.unread),
            },
            standby: Partitions {
                to_compare: std::mem::take(&mut self.standby_partitions),
                extra: extra.into_iter().collect(),
                extent: whole_extent(self.totals.1),
                notes: None,
                unread: BTreeMap::new(),
            },
            deferred_changes,
            deferred_deletions,
        }
    }
}

impl Drop for PartitionDiff<'_> {
    /// Releases the capacity that the kept partitions used.
    fn drop(&mut self) {
        self.capacity.set(
            self.capacity
                .get()
                .saturating_add(self.primary_partitions.len()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::topology::Epoch;

    fn partition(number: usize, version: usize) -> Partition {
        serde_json::from_value(serde_json::json!({
            "Values": [number.to_string()], "Parameters": {"v": version.to_string()},
            "StorageDescriptor": {"Location": format!("s3://a/t/{number}")},
        }))
        .unwrap()
    }

    fn policy() -> Policy {
        Policy::parse(
            "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n[[region]]\nid = \"b\"\n\
             region = \"ap-south-1\"\naccount = \"111122223333\"\n[[location]]\n\
             a = \"s3://a\"\nb = \"s3://b\"\n",
        )
        .unwrap()
    }

    fn values(all: &BTreeMap<PartitionValues, Partition>) -> Vec<&str> {
        all.keys().map(|values| values[0].as_str()).collect()
    }

    #[test]
    fn only_differing_partitions_are_returned_and_complete_ones_are_bounded() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let in_standby =
            |number, version| translator.partition(&partition(number, version)).unwrap();
        let capacity = Cell::new(4);
        let mut diff = PartitionDiff::new(translator, &capacity);
        for number in 0..8 {
            diff.add_primary(partition(number, 1));
        }
        for number in [0, 1, 4, 9] {
            diff.add_standby(in_standby(number, 1).object);
        }
        for number in [2, 5] {
            diff.add_standby(in_standby(number, 0).object);
        }
        // A partition that is listed twice is neither missing nor extra.
        diff.add_standby(in_standby(4, 1).object);
        diff.add_standby(in_standby(5, 0).object);
        assert_eq!(diff.extra(), [["9".to_owned()]]);
        let result = diff.finish(10);
        assert_eq!(values(&result.primary.to_compare), ["2", "3"]);
        assert_eq!(values(&result.standby.to_compare), ["2"]);
        assert_eq!(result.standby.extra, [vec!["9".to_owned()]].into());
        assert_eq!(capacity.get(), 2, "equal partitions release capacity");
        assert_eq!(
            result.primary.extent,
            PartitionExtent::Complete { total: 8 }
        );
        assert_eq!(
            result.standby.extent,
            PartitionExtent::Complete { total: 8 }
        );
        let deferred_changes: Vec<&str> = result
            .deferred_changes
            .iter()
            .map(|v| v[0].as_str())
            .collect();
        assert_eq!(deferred_changes, ["5", "6", "7"]);
    }

    #[test]
    fn a_drifting_parameter_is_no_difference() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let mut in_standby = translator.partition(&partition(1, 1)).unwrap().object;
        in_standby.parameters.insert(
            crate::catalog::LAST_DDL_TIME_PARAMETER.to_owned(),
            "7".to_owned(),
        );
        let capacity = Cell::new(4);
        let mut diff = PartitionDiff::new(translator, &capacity);
        diff.add_primary(partition(1, 1));
        diff.add_standby(in_standby);
        let result = diff.finish(10);
        assert!(result.primary.to_compare.is_empty() && result.standby.to_compare.is_empty());
    }

    #[test]
    fn a_partition_created_in_the_primary_meanwhile_is_not_deleted() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let capacity = Cell::new(4);
        let mut diff = PartitionDiff::new(translator, &capacity);
        for number in 1..4 {
            let in_standby = translator.partition(&partition(number, 1)).unwrap();
            diff.add_standby(in_standby.object);
        }
        diff.add_found(vec![partition(2, 1)]);
        let result = diff.finish(1);
        assert_eq!(result.standby.extra, [vec!["1".to_owned()]].into());
        let deferred_changes: Vec<&str> = result
            .deferred_changes
            .iter()
            .map(|v| v[0].as_str())
            .collect();
        assert_eq!(deferred_changes, ["2"]);
        assert_eq!(
            result.deferred_deletions,
            [["3"]],
            "the other deletions are deferred"
        );
    }

    #[test]
    fn a_partition_that_was_not_read_in_the_primary_is_not_deleted() {
        let policy = policy();
        let translator = Translator::new(&policy, Epoch::INITIAL);
        let capacity = Cell::new(4);
        let mut diff = PartitionDiff::new(translator, &capacity);
        diff.add_standby(partition(1, 1));
        diff.add_standby(partition(2, 1));
        let error = CallError::new(
            crate::CallErrorKind::Denied,
            "GetPartition",
            "us-east-1",
            "no",
        );
        diff.add_unread(BTreeMap::from([(vec!["2".to_owned()], error)]));
        let result = diff.finish(10);
        assert_eq!(result.standby.extra, BTreeSet::from([vec!["1".to_owned()]]));
        assert!(result.primary.unread.contains_key(&vec!["2".to_owned()]));
    }
}
