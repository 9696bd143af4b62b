//! Work that is given up when the time of a function ends, so that what it did until then can be recorded.

use std::time::Duration;
use twinlake_core::Timestamp;

/// The result of work that ends before `stop_at`; `None` if it is given up then. Without a runtime, as in
/// simulations, nothing waits, and the work ends.
pub(crate) async fn within<T>(
    work: impl Future<Output = T>,
    stop_at: Timestamp,
    now: Timestamp,
) -> Option<T> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Some(work.await);
    }
    let time_left =
        u64::try_from(stop_at.millis().saturating_sub(now.millis())).unwrap_or_default();
    let limit = Duration::from_millis(time_left);
    tokio::time::timeout(limit, work).await.ok()
}

/// The same. Without a `stop_at`, the work ends.
pub(crate) async fn before<T>(
    work: impl Future<Output = T>,
    (stop_at, now): (Option<Timestamp>, Timestamp),
) -> Option<T> {
    match stop_at {
        Some(stop_at) => within(work, stop_at, now).await,
        None => Some(work.await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_does_not_end_is_given_up() {
        let now = Timestamp::from_millis(0);
        let endless = std::future::pending::<()>();
        assert_eq!(within(endless, now.plus_secs(-1), now).await, None);
        assert_eq!(within(async {}, now.plus_secs(60), now).await, Some(()));
    }
}
