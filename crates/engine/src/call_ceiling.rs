//! The ceiling of calls a second to a Region, as the functions share it through the ledger.

use crate::alerts::CheckedSubjects;
use crate::operation_document::OperationConfig;
use crate::ports::StatsStore;
use std::collections::BTreeMap;
use twinlake_core::render::counted;
use twinlake_core::{Alert, AlertKind, CallError, Timestamp};

/// How far back the use of a ceiling is measured, in seconds.
pub const OBSERVED_SECS: i64 = 600;

/// An alert is raised when at least this percentage of the observed seconds were used up.
const BEHIND_PERCENT: usize = 90;

/// The alert is resolved when fewer than this percentage of the observed seconds were used up.
const CAUGHT_UP_PERCENT: usize = 50;

/// The number of calls that a function reserves at once: an eighth of the ceiling, so that several
/// functions can work within one second and reservations stay few.
#[must_use]
pub const fn reserved_at_once(ceiling: u32) -> u32 {
    let part = ceiling / 8;
    if part == 0 { 1 } else { part }
}

/// How a ceiling was used lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingUse {
    /// The ceiling, in calls a second.
    pub ceiling: u32,
    /// Calls that were reserved in the last [`OBSERVED_SECS`].
    pub calls: u64,
    /// Seconds of the last [`OBSERVED_SECS`] in which no function could reserve more calls.
    pub secs_at_ceiling: usize,
}

/// Reads from the ledger how the ceilings of Regions were used lately; `None` for one without a ceiling.
///
/// # Errors
/// The ledger cannot be reached.
pub async fn read_uses<L: StatsStore>(
    ledger: &L,
    operation: &OperationConfig,
    regions: [&str; 2],
    now: Timestamp,
) -> Result<BTreeMap<String, Option<CeilingUse>>, CallError> {
    let mut uses = BTreeMap::new();
    for region in regions {
        let used = match operation.max_calls_per_second.get(region) {
            Some(ceiling) => Some(CeilingUse::read(ledger, region, *ceiling, now).await?),
            None => None,
        };
        uses.insert(region.to_owned(), used);
    }
    Ok(uses)
}

impl CeilingUse {
    async fn read<L: StatsStore>(
        ledger: &L,
        region: &str,
        ceiling: u32,
        now: Timestamp,
    ) -> Result<Self, CallError> {
        let since = now.plus_secs(-OBSERVED_SECS);
        let reserved = ledger.reserved_calls(region, since).await?;
        let is_used_up = |calls: &&u32| **calls + reserved_at_once(ceiling) > ceiling;
        Ok(Self {
            ceiling,
            calls: reserved.values().map(|calls| u64::from(*calls)).sum(),
            secs_at_ceiling: reserved.values().filter(is_used_up).count(),
        })
    }

    fn percent_of_time(&self) -> usize {
        self.secs_at_ceiling * 100 / usize::try_from(OBSERVED_SECS).unwrap_or(1)
    }
}

/// Returns an alert for each Region whose ceiling delays replication, and `checked` with the incidents that
/// are resolved. `region` is the Region of the monitor.
#[must_use]
pub fn ceiling_alerts(
    uses: &BTreeMap<String, Option<CeilingUse>>,
    region: &str,
    now: Timestamp,
    mut checked: CheckedSubjects,
) -> (Vec<Alert>, CheckedSubjects) {
    let mut alerts = Vec::new();
    for (called, used) in uses {
        let subject = format!("calls to {called}");
        let percent = used.as_ref().map_or(0, CeilingUse::percent_of_time);
        if let Some(used) = used
            && percent >= BEHIND_PERCENT
        {
            alerts.push(ceiling_alert(called, used, &subject, region, now));
        }
        if percent < CAUGHT_UP_PERCENT {
            checked = checked.with_resolved(AlertKind::CallCeilingReached, &subject, now);
        }
    }
    (alerts, checked)
}

fn ceiling_alert(
    called: &str,
    used: &CeilingUse,
    subject: &str,
    region: &str,
    now: Timestamp,
) -> Alert {
    let sentences = [
        format!(
            "In {} of the last {OBSERVED_SECS} seconds, Twinlake could reserve no more of the {} a \
             second to Glue and Lake Formation in {called} that the operation document allows.",
            used.secs_at_ceiling,
            counted(used.ceiling, "call")
        ),
        "Changes wait: they arrive in the standby later than without this limit, and access that was \
         revoked in the primary may still be granted in the standby."
            .to_owned(),
        format!(
            "If this lasts, raise `max-calls-per-second` of {called} in the operation document and run \
             `twinlake policy push --operation FILE --region {region}`."
        ),
    ];
    Alert::new(
        AlertKind::CallCeilingReached,
        region,
        subject,
        sentences,
        now,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryLedger;
    use crate::in_memory_ledger::LedgerFile;

    fn checked(secs_at_ceiling: Option<usize>) -> (Vec<Alert>, CheckedSubjects) {
        let used = secs_at_ceiling.map(|secs_at_ceiling| CeilingUse {
            ceiling: 8,
            calls: 0,
            secs_at_ceiling,
        });
        let uses = BTreeMap::from([("us-east-1".to_owned(), used)]);
        let now = Timestamp::from_secs(1000);
        ceiling_alerts(&uses, "ap-south-1", now, CheckedSubjects::default())
    }

    #[test]
    fn an_alert_is_raised_while_hardly_a_second_has_calls_left() {
        assert_eq!(checked(Some(539)).0, []);
        let raised = checked(Some(540)).0;
        let [alert] = raised.as_slice() else {
            panic!("{raised:?}");
        };
        assert_eq!(alert.kind, AlertKind::CallCeilingReached);
        assert_eq!(alert.subject, "calls to us-east-1");
        let is_resolved = |secs| checked(secs).1 != CheckedSubjects::default();
        assert!(is_resolved(Some(299)) && !is_resolved(Some(300)));
        assert!(is_resolved(None), "the ceiling was removed");
    }

    #[tokio::test]
    async fn a_second_is_used_up_once_no_function_can_reserve_more() {
        let calls = [(999, 6), (1000, 15), (1001, 16), (300, 16)];
        let calls = calls.map(|(second, calls)| (Timestamp::from_secs(second), calls));
        let ledger = InMemoryLedger::new(LedgerFile {
            reserved_calls: BTreeMap::from([("us-east-1".to_owned(), calls.into())]),
            ..LedgerFile::default()
        });
        let operation = OperationConfig::parse("[max-calls-per-second]\nus-east-1 = 16\n").unwrap();
        let regions = ["us-east-1", "ap-south-1"];
        let now = Timestamp::from_secs(1002);
        let uses = read_uses(&ledger, &operation, regions, now).await.unwrap();
        let used = uses["us-east-1"].unwrap();
        assert_eq!((used.calls, used.secs_at_ceiling), (37, 2));
        assert_eq!(uses["ap-south-1"], None);
    }
}
