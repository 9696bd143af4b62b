//! How often a resync reads what has no listing across tables, and of which tables it is due.

use crate::name::TableId;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a resync reads something of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScanInterval {
    /// In every resync.
    EveryResync,
    /// Once a day.
    Daily,
    /// Once a week.
    Weekly,
}

impl ScanInterval {
    /// Seconds within which everything is read once; `None` if every resync reads it.
    #[must_use]
    pub fn period_secs(self) -> Option<i64> {
        const DAY: i64 = 86_400;
        match self {
            Self::EveryResync => None,
            Self::Daily => Some(DAY),
            Self::Weekly => Some(7 * DAY),
        }
    }
}

/// The time that a resync run has to account for: from the start of the last complete run to its own.
///
/// Each table has its moment in every period, spread evenly over the tables by a digest of the name. A
/// run reads the tables whose moment lies in its window. The windows of complete runs leave no gap, so
/// nothing is skipped for longer than a period and the time until the next complete run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanWindow {
    /// The start of the last complete run.
    pub since: Timestamp,
    /// The start of this run.
    pub until: Timestamp,
}

impl ScanWindow {
    /// Whether the moment of a table lies in the window.
    #[must_use]
    pub fn contains(&self, interval: ScanInterval, id: &TableId) -> bool {
        let Some(period) = interval.period_secs() else {
            return true;
        };
        let offset = offset_secs(id, period);
        let periods_until = |at: Timestamp| (at.secs() - offset).div_euclid(period);
        periods_until(self.since) < periods_until(self.until)
    }
}

/// The moment of a table, in seconds from the start of each period.
fn offset_secs(id: &TableId, period: i64) -> i64 {
    let digest = crate::catalog::digest(id);
    let number = digest
        .get(..8)
        .and_then(|digits| i64::from_str_radix(digits, 16).ok());
    number.unwrap_or_default().rem_euclid(period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn table(n: usize) -> TableId {
        TableId::new(
            Name::new("d").unwrap(),
            Name::new(&format!("t{n}")).unwrap(),
        )
    }

    #[test]
    fn windows_without_a_gap_contain_the_moment_of_a_table_once_in_each_period() {
        // Ends of runs at uneven times, over three weeks.
        let mut ends = vec![0i64];
        while let Some(last) = ends.last().copied().filter(|last| *last < 21 * 86_400) {
            ends.push(last + 3_600 + (last / 7) % 40_000);
        }
        let windows: Vec<ScanWindow> = ends
            .windows(2)
            .map(|pair| ScanWindow {
                since: Timestamp::from_secs(pair[0]),
                until: Timestamp::from_secs(pair[1]),
            })
            .collect();
        let intervals = [
            (ScanInterval::Daily, 86_400),
            (ScanInterval::Weekly, 7 * 86_400),
        ];
        for (interval, period) in intervals {
            for id in (0..50).map(table) {
                let of_table = windows
                    .iter()
                    .filter(|window| window.contains(interval, &id));
                let ends: Vec<i64> = of_table.map(|window| window.until.secs()).collect();
                let whole_periods = windows.last().unwrap().until.secs() / period;
                assert!(ends.len() as i64 >= whole_periods, "{id}: {ends:?}");
                for pair in ends.windows(2) {
                    assert!(pair[1] - pair[0] <= period + 50_000, "{id}: {ends:?}");
                }
            }
        }
    }

    #[test]
    fn the_moments_of_tables_are_spread_over_the_period() {
        let quarter = |n: i64| ScanWindow {
            since: Timestamp::from_secs(n * 21_600),
            until: Timestamp::from_secs((n + 1) * 21_600),
        };
        for n in 0..4 {
            let tables = (0..1000).map(table);
            let due = tables
                .filter(|id| quarter(n).contains(ScanInterval::Daily, id))
                .count();
            assert!(
                (200..300).contains(&due),
                "{due} of 1000 in one of four windows"
            );
        }
    }

    #[test]
    fn what_every_resync_reads_is_in_every_window() {
        let now = Timestamp::from_secs(5);
        let window = ScanWindow {
            since: now,
            until: now,
        };
        assert!(window.contains(ScanInterval::EveryResync, &table(0)));
        assert!(!window.contains(ScanInterval::Daily, &table(0)));
    }
}
