//! A bound on the files of tables that are held in memory at the same time.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The longest file that a function reads, and the length of all that it holds at the same time, in bytes.
/// Decoded and rewritten, a file takes several times its length of the 512 MB of the function.
pub const MAX_HELD_BYTES: u64 = 64 * 1024 * 1024;

/// What is assumed of a file whose length is not known, in bytes: the usual target size of a manifest.
const ASSUMED_BYTES: u64 = 8 * 1024 * 1024;

/// The manifests and delete files that relocations hold at the same time. Lists and metadata are not counted.
#[derive(Debug)]
pub struct HeldFiles {
    permits: Semaphore,
    total: u32,
}

impl HeldFiles {
    /// Files of so many bytes together, rounded up to KiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let total = kib(bytes);
        let permits = usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            total,
        }
    }

    /// Waits until a file of this length can be held. One that is longer than the bound is held alone. The
    /// holder of one waits for no other.
    pub(crate) async fn hold(&self, bytes: Option<u64>) -> Option<SemaphorePermit<'_>> {
        let wanted = kib(bytes.unwrap_or(ASSUMED_BYTES)).min(self.total);
        // It is never closed.
        self.permits.acquire_many(wanted).await.ok()
    }
}

/// As the number of permits: at least one, and no more than a semaphore of 32 bits has.
fn kib(bytes: u64) -> u32 {
    let kib = bytes.div_ceil(1024).max(1);
    let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
    u32::try_from(kib).unwrap_or(u32::MAX).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn files_wait_for_each_other_and_a_longer_one_is_held_alone() {
        let held = HeldFiles::new(10 * 1024);
        let first = held.hold(Some(6 * 1024)).now_or_never().unwrap();
        assert!(held.hold(Some(5 * 1024)).now_or_never().is_none());
        assert!(held.hold(Some(4 * 1024)).now_or_never().is_some());
        assert!(held.hold(None).now_or_never().is_none());
        drop(first);
        let alone = held.hold(Some(u64::MAX)).now_or_never().unwrap();
        assert!(held.hold(Some(0)).now_or_never().is_none());
        drop(alone);
    }
}
