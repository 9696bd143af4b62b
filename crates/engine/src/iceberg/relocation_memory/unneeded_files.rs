//! Rewritten files that are not needed any more, until they are removed.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::Timestamp;

/// How long a file stays that the table does not need: a query that began with an older commit may read it.
pub const UNNEEDED_GRACE_SECS: i64 = 24 * 3600;

/// How long after a removal began its file may be written again. A Lambda function ends within 15 minutes, so
/// none removes it by then; the rest is for clocks that differ.
pub const REMOVAL_SECS: i64 = 20 * 60;

/// The most files that one run removes.
const MAX_REMOVED_FILES: usize = 500;

/// Files that relocations wrote and that no commit needs which may be shown, by their paths in the standby.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnneededFiles {
    /// Since when the catalog entry is known to show a commit without the file.
    since: BTreeMap<String, Option<Timestamp>>,
    /// Files that a run is removing, and since when. Nobody may rely on them, nor write them again.
    being_removed: BTreeMap<String, Timestamp>,
}

impl UnneededFiles {
    pub(super) fn release(&mut self, path: String) {
        self.since.entry(path).or_default();
    }

    /// Takes a file back that is needed again. Returns whether it was unneeded.
    pub(super) fn reclaim(&mut self, path: &str) -> bool {
        self.since.remove(path).is_some()
    }

    pub(super) fn is_being_removed(&self, path: &str) -> bool {
        self.being_removed.contains_key(path)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.since.contains_key(path) || self.is_being_removed(path)
    }

    /// Forgets the files for which a predicate says that they do not exist.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.since.retain(|path, _| !is_gone(path));
    }

    /// Forgets files that were to be removed, and are gone.
    pub(super) fn forget_removed(&mut self, gone: &BTreeSet<String>) {
        self.being_removed.retain(|path, _| !gone.contains(path));
    }

    /// Records that the catalog entry shows a commit which needs none of the files. The files of
    /// removals that must have ended are due again a day after these began; [`Self::forget`] drops those that are gone.
    pub(super) fn record_shown(&mut self, now: Timestamp) {
        for since in self.since.values_mut() {
            since.get_or_insert(now);
        }
        let being_removed = std::mem::take(&mut self.being_removed);
        for (path, at) in being_removed {
            match at.plus_secs(REMOVAL_SECS) <= now {
                true => drop(self.since.insert(path, Some(at))),
                false => drop(self.being_removed.insert(path, at)),
            }
        }
    }

    fn is_due(since: Option<Timestamp>, now: Timestamp) -> bool {
        since.is_some_and(|at| at.plus_secs(UNNEEDED_GRACE_SECS) <= now)
    }

    /// The files that are to be removed.
    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        let due = self.since.iter();
        due.filter(move |(_, since)| Self::is_due(**since, now))
            .map(|(path, _)| path.as_str())
    }

    /// Marks the files that are due, and may be removed, as being removed, and returns them. Delete them only after
    /// this is stored.
    pub(super) fn begin_removal(
        &mut self,
        now: Timestamp,
        may_be_removed: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let due = self.due(now).filter(|path| may_be_removed(path));
        let due: Vec<String> = due.take(MAX_REMOVED_FILES).map(str::to_owned).collect();
        for path in &due {
            self.since.remove(path);
            self.being_removed.insert(path.clone(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = UNNEEDED_GRACE_SECS;

    fn has_due(files: &UnneededFiles, now: Timestamp) -> bool {
        files.due(now).next().is_some()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(0).plus_secs(secs)
    }

    #[test]
    fn a_file_is_removed_a_day_after_the_entry_showed_a_commit_without_it() {
        let mut files = UnneededFiles::default();
        files.release("f".to_owned());
        assert!(!has_due(&files, at(9 * DAY)), "the entry may still need it");
        files.record_shown(at(100));
        files.release("f".to_owned());
        files.record_shown(at(200));
        assert!(!has_due(&files, at(DAY + 99)) && has_due(&files, at(DAY + 100)));
        assert_eq!(
            files.begin_removal(at(DAY + 99), |_| true),
            Vec::<String>::new()
        );
        assert_eq!(files.begin_removal(at(DAY + 100), |_| true), ["f"]);
        assert!(files.is_being_removed("f") && !files.reclaim("f"));
    }

    #[test]
    fn what_is_needed_again_stays() {
        let mut files = UnneededFiles::default();
        files.release("f".to_owned());
        files.record_shown(at(0));
        assert!(files.reclaim("f") && !files.reclaim("f"));
        assert_eq!(
            files.begin_removal(at(9 * DAY), |_| true),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_removal_that_failed_is_repeated_once_nobody_can_be_at_it() {
        let mut files = UnneededFiles::default();
        files.release("f".to_owned());
        files.record_shown(at(0));
        assert_eq!(files.begin_removal(at(DAY), |_| true).len(), 1);
        files.record_shown(at(DAY + REMOVAL_SECS - 1));
        assert!(files.is_being_removed("f"));
        files.record_shown(at(DAY + REMOVAL_SECS));
        assert!(!files.is_being_removed("f"));
        let later = at(2 * DAY + REMOVAL_SECS);
        assert_eq!(files.clone().begin_removal(later, |_| true), ["f"]);
        files.forget(|path| path == "f");
        assert!(!has_due(&files, later));
    }

    #[test]
    fn a_look_removes_a_bounded_number_of_files() {
        let mut files = UnneededFiles::default();
        for number in 0..MAX_REMOVED_FILES + 7 {
            files.release(number.to_string());
        }
        files.record_shown(at(0));
        assert_eq!(
            files.begin_removal(at(DAY), |_| true).len(),
            MAX_REMOVED_FILES
        );
        assert_eq!(files.begin_removal(at(DAY), |_| true).len(), 7);
    }
}
