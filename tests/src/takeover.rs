//! What tests of failovers, switchovers and returns share: a clock that a wait moves on, the versions of objects, two
//! Regions with a ledger each ([`pair`]), ledgers whose caller dies ([`mortal_ledger`]), and what is withheld from a
//! standby ([`withheld`]).

pub mod mortal_ledger;
pub mod pair;
pub mod withheld;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use twinlake_core::divergence::ListedVersion;
use twinlake_core::{CallError, CallErrorKind, Timestamp};
use twinlake_engine::Clock;
use twinlake_engine::failover::Timer;
use twinlake_engine::ports::{ObjectVersions, VersionMarker, VersionsPage};
use twinlake_sim::{Sim, yield_once};

/// The simulator's clock, which a wait moves on.
#[derive(Debug)]
pub struct SimTimer(pub Sim);

impl Clock for SimTimer {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

impl Timer for SimTimer {
    async fn sleep(&self, duration: Duration) {
        let secs = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        self.0.state().advance_secs(secs.max(1));
    }
}

/// The versions of the objects of a Region, in pages of two.
#[derive(Debug, Default)]
pub struct TestObjects {
    /// The versions, each with its key.
    pub versions: Vec<(String, ListedVersion)>,
    /// The ids of those that are replicas.
    pub replicas: BTreeSet<String>,
    /// Whether listing them is denied.
    pub is_denied: bool,
    /// Whether asking for their origin is denied.
    pub denies_origins: bool,
    /// The questions for origins under way, and the most of them at once.
    origins: Mutex<(usize, usize)>,
}

impl TestObjects {
    /// The most questions for origins that were under way at once.
    ///
    /// # Panics
    /// Another test panicked.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.origins.lock().unwrap().1
    }
}

impl ObjectVersions for TestObjects {
    async fn versions_page(
        &self,
        _: &str,
        prefix: &str,
        after: Option<VersionMarker>,
    ) -> Result<VersionsPage, CallError> {
        if self.is_denied {
            let kind = CallErrorKind::Denied;
            return Err(CallError::new(kind, "ListObjectVersions", "x", "denied"));
        }
        let from: usize = after.map_or(0, |(at, _)| at.parse().unwrap_or_default());
        let page = self.versions.iter().skip(from).take(2);
        let next = (from + 2 < self.versions.len()).then(|| ((from + 2).to_string(), None));
        let versions = page.map(|(key, version)| {
            let of_key = self.versions.iter().filter(|(other, _)| other == key);
            let newest = of_key
                .map(|(_, other)| other)
                .max_by_key(|other| other.modified_at);
            let version = ListedVersion {
                is_latest: newest == Some(version),
                ..version.clone()
            };
            (format!("{prefix}{key}"), version)
        });
        Ok(VersionsPage {
            versions: versions.collect(),
            next,
        })
    }

    async fn is_replica(&self, _: &str, _: &str, id: &str) -> Result<bool, CallError> {
        {
            let mut origins = self.origins.lock().unwrap();
            origins.0 += 1;
            origins.1 = origins.1.max(origins.0);
        }
        yield_once().await;
        self.origins.lock().unwrap().0 -= 1;
        match self.denies_origins {
            true => {
                let kind = CallErrorKind::Denied;
                Err(CallError::new(kind, "HeadObject", "x", "denied"))
            }
            false => Ok(self.replicas.contains(id)),
        }
    }
}

/// An object that was written at a time.
#[must_use]
pub fn object_version(id: &str, at: Timestamp) -> ListedVersion {
    ListedVersion {
        version_id: id.to_owned(),
        e_tag: Some(id.to_owned()),
        modified_at: at,
        is_delete_marker: false,
        is_latest: true,
    }
}

/// The result of a future that waits for nothing.
///
/// # Panics
/// It waits.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a ledger in memory does not wait"),
    }
}
