//! Looks at the logs of Delta and Hudi tables in the standby, and records in the ledger what of them has not
//! arrived and what leads out of the table. Nothing is written beside the ledger: these formats name their files
//! relative to the table, so the entry is replicated as it is.
//!
//! What a log means is decided by `twinlake_iceberg::table_log`, which does no I/O.

mod delta;
mod hudi;
mod log_look;
mod symlink;

use crate::iceberg::{
    Follower, LOOK_INTERVAL_SECS, NextCheck, OVERDUE_SECS, SLOW_LOOK_INTERVAL_SECS,
    SLOW_LOOKS_AFTER_SECS, STOP_MARGIN_SECS, path_map,
};
use crate::ports::{Clock, Ledger, TableFiles};
use crate::time_limit;
use crate::versioned_item::{self, ItemUpdate, RowItem};
use log_look::LogLook;
use std::collections::BTreeSet;
use twinlake_core::log_replica::{LogFindings, LogFormat, LogReplica, LoggedTable};
use twinlake_core::{CallError, LedgerRow, Subject, TableId, Timestamp};

impl<F: TableFiles, L: Ledger, C: Clock> Follower<'_, F, L, C> {
    /// Looks at the log of a table. The look ends at `stop_at` at the latest.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub async fn look_at_log(
        &self,
        id: &TableId,
        table: &LoggedTable,
        stop_at: Timestamp,
    ) -> Result<NextCheck, CallError> {
        let subject = Subject::Table(id.clone());
        let mut rows = self.ledger.rows(&BTreeSet::from([subject.clone()])).await?;
        let Some(row) = rows.remove(&subject) else {
            // The reconciliation that found the table writes its row, and sends a message if it cannot.
            return Ok(NextCheck::Later(LOOK_INTERVAL_SECS));
        };
        let known = row.log.filter(|log| log.is_of(table));
        let now = self.clock.now();
        if known.as_ref().is_some_and(|log| !log.is_due(table, now)) {
            return Ok(NextCheck::None);
        }
        let is_late = || self.clock.now().plus_secs(STOP_MARGIN_SECS) >= stop_at;
        let known = known.map(|log| log.findings).unwrap_or_default();
        let look = self.findings(table, &known, &is_late);
        let found = time_limit::within(look, stop_at, now).await;
        let findings = found.unwrap_or_else(|| LogFindings {
            unread: Some("there was no time to look at all of it".to_owned()),
            ..known.clone()
        });
        self.record_log(&subject, table, findings).await
    }

    async fn findings(
        &self,
        table: &LoggedTable,
        known: &LogFindings,
        is_late: &dyn Fn() -> bool,
    ) -> LogFindings {
        let map = match path_map(self.policy, self.epoch) {
            Ok(map) => map,
            Err(error) => return unread(error, known),
        };
        let Some(location) = map.map(&table.location) else {
            let reason = format!("no location pair covers {}", table.location);
            return unread(reason, known);
        };
        let mut look = LogLook::new(self.files, self.held, location, is_late);
        look.missing_before = known.missing.as_ref().map(|missing| missing.first.clone());
        let result = match table.format {
            LogFormat::Delta => look.look_at_delta(known).await,
            LogFormat::Hudi => look.look_at_hudi().await,
            LogFormat::SymlinkManifests => look.look_at_manifests(&map).await,
        };
        match result {
            Ok(()) if look.is_partial => with_known(look.findings, known),
            Ok(()) => look.findings,
            // What was known may still hold.
            Err(error) => unread(error.to_string(), known),
        }
    }

    /// Records a look in the row of the table.
    async fn record_log(
        &self,
        subject: &Subject,
        table: &LoggedTable,
        findings: LogFindings,
    ) -> Result<NextCheck, CallError> {
        let now = self.clock.now();
        let item = RowItem {
            ledger: self.ledger,
            subject,
        };
        versioned_item::update(&item, None, |stored: Option<LedgerRow>| {
            let Some(row) = stored else {
                return ItemUpdate::Keep(NextCheck::Later(LOOK_INTERVAL_SECS));
            };
            let (log, next) = after_look(row.log.as_ref(), table, findings.clone(), now);
            let row = LedgerRow {
                log: Some(log),
                ..row
            };
            ItemUpdate::Put(row, next)
        })
        .await
    }
}

/// What was found, and what was known before and may still hold, since not all of the log was looked at.
fn with_known(found: LogFindings, known: &LogFindings) -> LogFindings {
    let absolute = match found.absolute.count < known.absolute.count {
        true => known.absolute.clone(),
        false => found.absolute,
    };
    LogFindings {
        missing: found.missing.or_else(|| known.missing.clone()),
        absolute,
        ..found
    }
}

/// What is known if a log could not be looked at.
fn unread(reason: String, known: &LogFindings) -> LogFindings {
    LogFindings {
        unread: Some(reason),
        ..known.clone()
    }
}

/// What the ledger knows of a log after a look that ended at `now`, and when to look again.
fn after_look(
    before: Option<&LogReplica>,
    table: &LoggedTable,
    findings: LogFindings,
    now: Timestamp,
) -> (LogReplica, NextCheck) {
    let before = before.filter(|log| log.is_of(table));
    // A table that commits all the time always waits for its newest files. It is overdue once one file has been missing
    // for long.
    let first_of = |findings: &LogFindings| findings.missing.clone().map(|missing| missing.first);
    let same_file = before.filter(|log| first_of(&log.findings) == first_of(&findings));
    let is_missing = findings.missing.is_some();
    let since = is_missing.then(|| same_file.and_then(|log| log.since).unwrap_or(now));
    let is_overdue = since.is_some_and(|since| since.plus_secs(OVERDUE_SECS) <= now);
    // What people are told rests on these; a first look that finds nothing changes nothing.
    let told = |findings: &LogFindings, is_overdue: bool| {
        let LogFindings {
            missing,
            absolute,
            unread,
            checkpoint: _,
        } = findings;
        (
            missing.clone(),
            absolute.clone(),
            unread.clone(),
            is_overdue,
        )
    };
    let told_before = before.map(|log| told(&log.findings, log.is_overdue));
    let told_before = told_before.unwrap_or_else(|| told(&LogFindings::default(), false));
    let has_news =
        told_before != told(&findings, is_overdue) || before.is_some_and(|log| log.has_untold_news);
    // While files arrive, each look finds other ones missing, and a reconciliation that finds files missing looks again
    // at once. Only then do news wait, for as long as the queued message does.
    let is_still_arriving = before.is_some_and(|log| {
        let leads_out = findings.absolute.count > 0;
        let is_still_missing = is_missing && log.findings.missing.is_some();
        is_still_missing && (log.is_overdue, log.leads_out()) == (is_overdue, leads_out)
    });
    let told_at = before.and_then(|log| log.told_at);
    let was_just_told = told_at.is_some_and(|at| at.plus_secs(i64::from(LOOK_INTERVAL_SECS)) > now);
    let is_told = has_news && !(is_still_arriving && was_just_told);
    let next = match since {
        _ if is_told => NextCheck::AtOnce,
        None => NextCheck::None,
        Some(since) if since.plus_secs(SLOW_LOOKS_AFTER_SECS) <= now => {
            NextCheck::Later(SLOW_LOOK_INTERVAL_SECS)
        }
        Some(_) => NextCheck::Later(LOOK_INTERVAL_SECS),
    };
    let log = LogReplica {
        table: table.clone(),
        looked_at: now,
        findings,
        since,
        is_overdue,
        told_at: match is_told {
            true => Some(now),
            false => told_at,
        },
        has_untold_news: has_news && !is_told,
        next_look_at: match next {
            NextCheck::Later(delay) => Some(now.plus_secs(i64::from(delay))),
            NextCheck::AtOnce | NextCheck::None => None,
        },
    };
    (log, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::log_replica::{AbsolutePaths, MissingLoggedFiles};

    fn table() -> LoggedTable {
        LoggedTable {
            format: LogFormat::Delta,
            location: "s3://lake-us/t".to_owned(),
            parameters: String::new(),
            created: None,
        }
    }

    fn missing(count: u64) -> LogFindings {
        LogFindings {
            missing: Some(MissingLoggedFiles {
                count,
                first: "f".to_owned(),
            }),
            ..LogFindings::default()
        }
    }

    #[test]
    fn what_changes_is_told_at_once_and_what_stays_is_looked_at_more_and_more_seldom() {
        let start = Timestamp::from_millis(0);
        let (whole, next) = after_look(None, &table(), LogFindings::default(), start);
        assert_eq!((next, whole.since), (NextCheck::None, None));
        let (log, next) = after_look(Some(&whole), &table(), missing(2), start);
        assert_eq!(
            (next, log.since, log.next_look_at),
            (NextCheck::AtOnce, Some(start), None)
        );
        let (log, next) = after_look(Some(&log), &table(), missing(2), start);
        assert_eq!(next, NextCheck::Later(LOOK_INTERVAL_SECS));
        let late = start.plus_secs(OVERDUE_SECS);
        let (log, next) = after_look(Some(&log), &table(), missing(2), late);
        assert_eq!((next, log.is_overdue), (NextCheck::AtOnce, true));
        let later = start.plus_secs(SLOW_LOOKS_AFTER_SECS);
        let (log, next) = after_look(Some(&log), &table(), missing(2), later);
        assert_eq!(next, NextCheck::Later(SLOW_LOOK_INTERVAL_SECS));
        let (log, next) = after_look(Some(&log), &table(), LogFindings::default(), later);
        assert_eq!(
            (next, log.is_overdue, log.since),
            (NextCheck::AtOnce, false, None)
        );
    }

    #[test]
    fn files_that_arrive_one_after_the_other_are_not_overdue_and_are_looked_for_in_turn() {
        let start = Timestamp::from_millis(0);
        let (mut log, _) = after_look(None, &table(), missing(1), start);
        for look in 1..=60 {
            let findings = LogFindings {
                missing: Some(MissingLoggedFiles {
                    count: look % 7 + 1,
                    first: format!("f{look}"),
                }),
                ..LogFindings::default()
            };
            let now = start.plus_secs(30 * i64::try_from(look).unwrap());
            let next;
            (log, next) = after_look(Some(&log), &table(), findings, now);
            let is_told = look % 2 == 0;
            let expected = match is_told {
                true => NextCheck::AtOnce,
                false => NextCheck::Later(LOOK_INTERVAL_SECS),
            };
            assert_eq!(
                (next, log.since, !log.has_untold_news),
                (expected, Some(now), is_told)
            );
        }
    }

    #[test]
    fn what_else_changes_is_told_at_once_also_right_after_a_look() {
        let start = Timestamp::from_millis(0);
        let absolute = AbsolutePaths {
            count: 1,
            samples: vec!["s3://other/f".to_owned()],
        };
        let unread = Some("it is denied".to_owned());
        let found = |missing: LogFindings, leads_out: bool, is_unread: bool| LogFindings {
            absolute: match leads_out {
                true => absolute.clone(),
                false => AbsolutePaths::default(),
            },
            unread: unread.clone().filter(|_| is_unread),
            ..missing
        };
        let whole = LogFindings::default;
        for (before, now) in [
            (found(whole(), false, false), found(whole(), true, false)),
            (found(whole(), true, false), found(whole(), false, false)),
            (found(whole(), false, false), found(whole(), false, true)),
            (found(whole(), false, true), found(whole(), false, false)),
            (
                found(missing(1), false, false),
                found(missing(1), true, false),
            ),
            (
                found(missing(1), true, false),
                found(missing(1), false, false),
            ),
            (
                found(missing(1), false, false),
                found(whole(), false, false),
            ),
            (
                found(whole(), false, false),
                found(missing(1), false, false),
            ),
        ] {
            let (log, _) = after_look(None, &table(), before.clone(), start);
            let (log, next) = after_look(Some(&log), &table(), now.clone(), start);
            assert_eq!(next, NextCheck::AtOnce, "{before:?} {now:?}");
            assert!(!log.has_untold_news);
        }
    }

    #[test]
    fn what_waits_for_the_next_look_is_told_by_it() {
        let start = Timestamp::from_millis(0);
        let (log, _) = after_look(None, &table(), missing(3), start);
        let (log, next) = after_look(Some(&log), &table(), missing(2), start);
        assert_eq!(next, NextCheck::Later(LOOK_INTERVAL_SECS));
        let later = start.plus_secs(i64::from(LOOK_INTERVAL_SECS));
        let (log, next) = after_look(Some(&log), &table(), missing(2), later);
        assert_eq!(next, NextCheck::AtOnce);
        let (_, next) = after_look(Some(&log), &table(), missing(2), later);
        assert_eq!(next, NextCheck::Later(LOOK_INTERVAL_SECS));
    }

    #[test]
    fn what_was_known_stays_where_not_all_of_the_log_was_looked_at() {
        let absolute = AbsolutePaths {
            count: 1,
            samples: vec!["s3://other/f".to_owned()],
        };
        let known = LogFindings {
            absolute: absolute.clone(),
            ..missing(2)
        };
        let partial = LogFindings {
            unread: Some("it is denied".to_owned()),
            ..LogFindings::default()
        };
        let found = with_known(partial.clone(), &known);
        assert_eq!(
            (&found.missing, &found.absolute),
            (&known.missing, &absolute)
        );
        assert_eq!(found.unread, partial.unread);
    }
}
