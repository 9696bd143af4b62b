//! Which files of a table name which others, as far as both are rewritten: metadata.json its manifest lists,
//! these the manifests, and these the position deletes.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers from the first to the last one of each range.
///
/// A list names thousands of manifests, and each list almost the same ones. Files are numbered in the order in
/// which they are met, so what a list names is few ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NumberRanges(Vec<(u64, u64)>);

impl NumberRanges {
    fn of(numbers: &BTreeSet<u64>) -> Self {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                Some(_) | None => ranges.push((number, number)),
            }
        }
        Self(ranges)
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    fn names_any(&self, numbers: &BTreeSet<u64>) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|&(first, last)| first <= last && numbers.range(first..=last).next().is_some())
    }
}

/// What files name, by their source paths. Files never change, so what is recorded stays true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileGraph {
    /// The number of the next file that is met.
    next: u64,
    numbers: BTreeMap<String, u64>,
    /// What a file names, by its number.
    names: BTreeMap<u64, NumberRanges>,
}

impl FileGraph {
    fn number_of(&mut self, source: &str) -> u64 {
        if let Some(number) = self.numbers.get(source) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(source.to_owned(), number);
        number
    }

    /// Records all that a file names.
    pub(super) fn record(&mut self, source: &str, named: &[String]) {
        let number = self.number_of(source);
        let named = named.iter().map(|path| self.number_of(path)).collect();
        self.names.insert(number, NumberRanges::of(&named));
    }

    /// Whether what a file names is known.
    pub(super) fn knows(&self, source: &str) -> bool {
        let number = self.numbers.get(source);
        number.is_some_and(|number| self.names.contains_key(number))
    }

    /// The source paths of these files, and of all that they name, directly or not.
    pub(super) fn reached(&self, roots: &BTreeSet<String>) -> BTreeSet<String> {
        let roots = roots.iter().filter_map(|root| self.numbers.get(root));
        let mut open: Vec<u64> = roots.copied().collect();
        let mut reached: BTreeSet<u64> = open.iter().copied().collect();
        while let Some(number) = open.pop() {
            let named = self.names.get(&number);
            let named = named.into_iter().flat_map(NumberRanges::iter);
            open.extend(named.filter(|named| reached.insert(*named)));
        }
        let numbers = self.numbers.iter();
        numbers
            .filter(|(_, number)| reached.contains(number))
            .map(|(source, _)| source.clone())
            .collect()
    }

    /// The source paths of these files, and of all files that name one of them, directly or not.
    pub(super) fn with_dependents(&self, sources: &BTreeSet<String>) -> BTreeSet<String> {
        let numbers = sources
            .iter()
            .filter_map(|source| self.numbers.get(source).copied());
        let mut found: BTreeSet<u64> = numbers.collect();
        loop {
            let names = self.names.iter();
            let more: Vec<u64> = names
                .filter(|(number, named)| !found.contains(number) && named.names_any(&found))
                .map(|(number, _)| *number)
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        let known = self.numbers.iter();
        let known = known.filter(|(_, number)| found.contains(number));
        let known = known.map(|(source, _)| source.clone());
        known.chain(sources.iter().cloned()).collect()
    }

    /// Forgets all other files. No file that is kept may name one of them.
    pub(super) fn keep(&mut self, sources: &BTreeSet<String>) {
        self.numbers.retain(|source, _| sources.contains(source));
        let kept: BTreeSet<u64> = self.numbers.values().copied().collect();
        self.names.retain(|number, _| kept.contains(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn graph() -> FileGraph {
        let mut graph = FileGraph::default();
        graph.record("l1", &strings(&["m1", "m2", "m3"]));
        graph.record("l2", &strings(&["m1", "m3", "m4"]));
        graph.record("m3", &strings(&["d1"]));
        graph.record("m4", &[]);
        graph
    }

    #[test]
    fn what_is_reached_is_what_is_named_directly_or_not() {
        let graph = graph();
        assert_eq!(
            graph.reached(&set(&["l2", "unknown"])),
            set(&["l2", "m1", "m3", "m4", "d1"])
        );
        assert!(graph.knows("m4") && graph.knows("l1") && !graph.knows("m1"));
        assert_eq!(graph.reached(&set(&["m4"])), set(&["m4"]));
    }

    #[test]
    fn dependents_are_all_that_name_a_file() {
        let graph = graph();
        assert_eq!(
            graph.with_dependents(&set(&["d1"])),
            set(&["d1", "m3", "l1", "l2"])
        );
        assert_eq!(graph.with_dependents(&set(&["m2"])), set(&["m2", "l1"]));
        assert_eq!(graph.with_dependents(&set(&["new"])), set(&["new"]));
    }

    #[test]
    fn what_is_kept_keeps_its_numbers_and_new_files_get_others() {
        let mut graph = graph();
        let kept = graph.reached(&set(&["l2"]));
        graph.keep(&kept);
        assert!(!graph.knows("l1"));
        graph.record("l3", &strings(&["m1", "m5"]));
        assert_eq!(graph.reached(&set(&["l3"])), set(&["l3", "m1", "m5"]));
        assert_eq!(graph.reached(&set(&["l2"])), kept);
    }

    #[test]
    fn a_list_of_neighbours_is_one_range() {
        let mut graph = FileGraph::default();
        let many: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
        graph.record("l0", &many);
        graph.record("l1", &many);
        let ranges = graph.names.values().map(|ranges| ranges.0.len());
        assert_eq!(ranges.max(), Some(1));
    }
}
