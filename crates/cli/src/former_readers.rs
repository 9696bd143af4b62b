//! Who still reads in the former primary after a takeover, for an hour: a line of `twinlake status`.

use std::time::Duration;
use twinlake_aws::{Clients, DataAccessEvents};
use twinlake_core::event::DataReaders;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::{CallError, CallErrorKind, Timestamp};

/// How long after a takeover the readers are counted, in seconds.
const COUNTED_SECS: i64 = 3600;

/// The most principals that are named.
const MAX_READERS: usize = 10;

/// How long the event history of a Region is waited for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether readers are counted now, after a takeover at this time.
fn is_counted(switched_at: Timestamp, now: Timestamp) -> bool {
    let age = now.secs().saturating_sub(switched_at.secs());
    (0..=COUNTED_SECS).contains(&age)
}

/// Counts the readers in both Regions since the takeover, if it was in the last hour. Returns the lines about them.
pub(crate) async fn reader_lines(
    (primary, former): (&str, &str),
    switched_at: Option<Timestamp>,
    now: Timestamp,
) -> Vec<String> {
    let Some(at) = switched_at.filter(|at| is_counted(*at, now)) else {
        return Vec::new();
    };
    let mut lines = lines_about(former, true, at, &lookup(former, at).await);
    lines.extend(lines_about(primary, false, at, &lookup(primary, at).await));
    lines
}

async fn lookup(region: &str, from: Timestamp) -> Result<DataReaders, CallError> {
    let read = async {
        DataAccessEvents::new(&Clients::connect(region).await)
            .since(from)
            .await
    };
    match tokio::time::timeout(LOOKUP_TIMEOUT, read).await {
        Ok(read) => read,
        Err(_) => {
            let message = format!("no answer in {} s", LOOKUP_TIMEOUT.as_secs());
            let kind = CallErrorKind::Unavailable;
            Err(CallError::new(kind, "LookupEvents", region, message))
        }
    }
}

fn lines_about(
    region: &str,
    is_former: bool,
    since: Timestamp,
    read: &Result<DataReaders, CallError>,
) -> Vec<String> {
    let still = if is_former { "still in " } else { "in " };
    let readers = match read {
        Ok(readers) => readers,
        Err(error) => return vec![format!("Readers {still}{region}: unknown: {error}.")],
    };
    let total = readers.total();
    let Some(last) = readers.last.filter(|_| total > 0) else {
        return vec![format!(
            "Readers {still}{region}: none since {since} that CloudTrail shows yet; it shows a request after about five \
             minutes."
        )];
    };
    let at_least = if readers.has_more { "at least " } else { "" };
    let mut lines = vec![format!(
        "Readers {still}{region}: {at_least}{} for data by {} since {since}, the last at {last}.",
        counted(total, "request"),
        counted(readers.requests.len(), "principal"),
    )];
    if is_former {
        let named = readers.requests.iter().take(MAX_READERS);
        lines.extend(named.map(|(principal, count)| format!("  {principal}: {count}")));
        let more = readers.requests.len().saturating_sub(MAX_READERS);
        if more > 0 {
            let verb = one_or_many(more, "reads", "read");
            lines.push(format!("  and {more} more that {verb} there"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_counted_for_an_hour_after_a_takeover_and_named_in_the_former_primary() {
        let at = Timestamp::from_secs(10_000);
        assert!(is_counted(at, at));
        assert!(is_counted(at, at.plus_secs(3600)));
        assert!(!is_counted(at, at.plus_secs(3601)));
        assert!(!is_counted(at, at.plus_secs(-1)));
        let readers = DataReaders {
            requests: (0..12).map(|n| (format!("role/{n:02}"), 2)).collect(),
            last: Some(at.plus_secs(60)),
            has_more: true,
        };
        let lines = |is_former, read: Result<DataReaders, CallError>| {
            lines_about("us-east-1", is_former, at, &read).join("\n")
        };
        let shown = lines(true, Ok(readers.clone()));
        for expected in [
            "still in us-east-1: at least 24 requests for data by 12 principals since 1970-01-01T02:46:40Z",
            "  role/09: 2\n  and 2 more that read there",
        ] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        assert!(!lines(false, Ok(readers)).contains("role/"));
        let none = lines(true, Ok(DataReaders::default()));
        assert!(none.contains("none since"), "{none}");
        let kind = CallErrorKind::Denied;
        let error = CallError::new(kind, "LookupEvents", "us-east-1", "denied");
        assert!(lines(true, Err(error)).contains("us-east-1: unknown:"));
    }
}
