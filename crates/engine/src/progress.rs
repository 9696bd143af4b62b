//! The progress of a reconciliation, for a person who waits for it.

use twinlake_core::Name;

/// Receives the progress of reads and writes. What is expected may grow while a reconciliation
/// runs, since each round reads again what changed.
pub trait WorkProgress {
    /// A round is about to read this many databases with their contents.
    fn databases_expected(&self, _count: usize) {}
    /// One of these databases was read.
    fn database_read(&self, _name: &Name) {}
    /// The tables that are read now have this many more reads ahead of them.
    fn reads_expected(&self, _count: usize) {}
    /// One of these reads ended.
    fn read_finished(&self) {}
    /// This many steps are about to be applied.
    fn steps_expected(&self, _count: usize) {}
    /// This many of them succeeded or failed.
    fn steps_finished(&self, _count: usize) {}
}

/// Nobody waits.
impl WorkProgress for () {}
