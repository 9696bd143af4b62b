//! What `twinlake status` says of the standby's role, by the epochs of both ledgers, and of the last switch, from the
//! ledger of the primary.

use crate::commands::failover::left_frozen_line;
use crate::commands::takeover_wake::woken_lines;
use crate::common_options::LedgerOptions;
use crate::connect::ledger_in;
use crate::{CliError, CommandOutcome, output};
use std::collections::BTreeMap;
use twinlake_core::Timestamp;
use twinlake_core::client_address::ADDRESS_PARAMETER;
use twinlake_core::failover::EpochRecord;
use twinlake_core::render::{self, counted, one_or_many};
use twinlake_core::topology::{Epoch, RegionRole, SiteId, region_role};
use twinlake_engine::Ledger as _;
use twinlake_engine::failover::{FrozenCounts, frozen_grants};
use twinlake_engine::operation_document::OperationConfig;

/// Whether Twinlake changes the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandbyRole {
    /// It does: the standby is fenced by no other epoch.
    Follows,
    /// It does not: the standby holds a lower epoch.
    Fenced,
    /// It changes neither Region: their ledgers hold epochs with this number and different primaries.
    Disputed(u64),
}

impl StandbyRole {
    /// Reads the epoch that the standby holds, and compares it with that of the primary.
    ///
    /// # Errors
    /// The ledger of the standby cannot be read.
    pub(crate) async fn read(
        options: &LedgerOptions,
        epoch: Epoch,
        standby: &str,
    ) -> Result<Self, CliError> {
        let ledger = ledger_in(&options.ledger_table, standby).await;
        Ok(Self::of(epoch.standby(), ledger.epoch().await?, epoch))
    }

    /// The role of a site that holds an epoch, by that of the other site.
    fn of(standby: SiteId, held: Epoch, primary: Epoch) -> Self {
        match region_role(standby, held, Some(primary)) {
            RegionRole::Fenced if held.is_disputed_by(primary) => Self::Disputed(held.number()),
            RegionRole::Fenced => Self::Fenced,
            RegionRole::Primary | RegionRole::Standby => Self::Follows,
        }
    }

    /// Whether nothing is changed in the standby.
    pub(crate) fn is_fenced(self) -> bool {
        self != Self::Follows
    }

    /// The line about a standby that is fenced.
    pub(crate) fn fenced_line(self, primary: &str, standby: &str) -> Option<String> {
        match self {
            Self::Follows => None,
            Self::Fenced => Some(format!(
                "{standby} is fenced: it was the primary before a switch, and nothing is changed in it until you \
                 accept the changes that it will lose. Run `twinlake divergence --region {primary}`."
            )),
            Self::Disputed(number) => Some(disputed_line(number, (primary, standby))),
        }
    }
}

/// What is said of two Regions whose ledgers hold epochs with this number and different primaries. An even number names
/// site `a` and an odd one site `b` wherever Twinlake writes it, so one of the two was changed by hand.
pub(crate) fn disputed_line(number: u64, (one, other): (&str, &str)) -> String {
    format!(
        "{one} and {other} are both fenced: their ledgers hold epoch {number} with different primaries, which no command \
         of Twinlake writes. Nothing is changed in either Region until one of them is corrected: docs/takeover.md, \
         \"Two ledgers that disagree\"."
    )
}

/// Shows what the ledger of the primary knows while that of the standby cannot be read.
///
/// # Errors
/// The ledger of the primary cannot be read, either.
pub(crate) async fn show_without_standby(
    options: &LedgerOptions,
    (primary, standby): (&str, &str),
    error: &twinlake_core::CallError,
    is_json: bool,
) -> Result<CommandOutcome, CliError> {
    let ledger = ledger_in(&options.ledger_table, primary).await;
    let epoch = ledger.epoch().await?;
    let record = ledger.epoch_record().await?;
    let record = record.map(|(record, _)| record).unwrap_or_default();
    if is_json {
        output::json(&serde_json::json!({
            "epoch": epoch, "primary": primary, "standby": standby, "standby_unreachable": error.to_string(),
            "switched_at": record.switched_at.map(|at| at.to_string()), "failover": record.failover,
        }));
        return Ok(CommandOutcome::AttentionNeeded);
    }
    output::print(&format!(
        "{primary} is the primary by epoch {}.",
        epoch.number()
    ));
    output::print(&render::escape(&format!(
        "The ledger of {standby}, the standby, cannot be read: {error}. While that lasts, nothing is known to be \
         replicated to it."
    )));
    if let Some(line) = switch_line(&record) {
        output::print(&line);
    }
    let (operation, _) = OperationConfig::load(&ledger).await?;
    if let Some(line) = clients_line(&record).filter(|_| operation.takeover.is_some()) {
        output::print(&line);
    }
    Ok(CommandOutcome::AttentionNeeded)
}

/// The last switch in a line.
fn switch_line(record: &EpochRecord) -> Option<String> {
    let journal = record.failover.as_ref()?;
    Some(format!(
        "The last switch was a {} to epoch {}: {} since {}.",
        journal.operation.as_str(),
        journal.to.number(),
        journal.stage,
        journal.reached.get(&journal.stage)?
    ))
}

/// What clients have been told of the last switch, in a line.
fn clients_line(record: &EpochRecord) -> Option<String> {
    let journal = record.failover.as_ref();
    let journal = journal.filter(|journal| journal.to == record.epoch)?;
    let announced = journal.announced.clone().unwrap_or_default();
    let address = match announced.address_at {
        Some(at) => format!("the parameter {ADDRESS_PARAMETER} has the new address since {at}"),
        None => format!("the parameter {ADDRESS_PARAMETER} does not have the new address yet"),
    };
    let event = match announced.event_at {
        Some(at) => format!("the event was sent at {at}"),
        None => "no event was sent".to_owned(),
    };
    Some(format!("Clients: {address}; {event}."))
}

/// What `twinlake status` says of takeovers: of a freeze, and of the last switch by the ledger of the primary.
#[derive(Clone, Debug, Default)]
pub(crate) struct TakeoverState {
    /// The record of the epoch in the ledger of the standby: a switchover that is under way.
    pub(crate) in_standby: EpochRecord,
    /// That in the ledger of the primary: the last switch. `None` if it cannot be read.
    pub(crate) in_primary: Option<EpochRecord>,
    /// What is frozen.
    pub(crate) frozen: FrozenCounts,
}

impl TakeoverState {
    /// Reads both ledgers.
    ///
    /// # Errors
    /// The ledger of the standby cannot be read.
    pub(crate) async fn read(
        options: &LedgerOptions,
        epoch: Epoch,
        (primary, standby): (&str, &str),
    ) -> Result<Self, CliError> {
        let ledger = ledger_in(&options.ledger_table, standby).await;
        let in_standby = ledger.epoch_record().await?;
        let frozen = frozen_grants(&ledger, epoch).await?;
        let in_primary = ledger_in(&options.ledger_table, primary).await;
        let in_primary = in_primary.epoch_record().await.ok();
        let in_primary = in_primary.map(|stored| stored.map(|(record, _)| record));
        Ok(Self {
            in_standby: in_standby.map(|(record, _)| record).unwrap_or_default(),
            in_primary: in_primary.map(Option::unwrap_or_default),
            frozen,
        })
    }

    /// Whether a freeze waits for a person: grants are revoked in the primary, and nothing was switched.
    pub(crate) fn is_frozen(&self) -> bool {
        !self.frozen.in_primary.is_empty()
    }

    /// The lines about it. `tells_clients` says whether clients are told an address.
    pub(crate) fn lines(
        &self,
        (primary, standby): (&str, &str),
        tells_clients: bool,
        now: Timestamp,
    ) -> Vec<String> {
        let mut lines = self.freeze_lines((primary, standby), now);
        if let Some(record) = &self.in_primary {
            let journal = record.failover.as_ref();
            let journal = journal.filter(|journal| journal.to == record.epoch);
            lines.extend(journal.and_then(|journal| left_frozen_line(journal, primary)));
            lines.extend(clients_line(record).filter(|_| tells_clients));
            lines.extend(
                journal
                    .into_iter()
                    .flat_map(|journal| woken_lines(&journal.woken)),
            );
        }
        lines
    }

    /// What is frozen, since when, and what to run.
    fn freeze_lines(&self, (primary, standby): (&str, &str), now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        let (frozen, count) = (&self.frozen.in_primary, total(&self.frozen.in_primary));
        if count > 0 {
            let journal = self.in_standby.failover.as_ref();
            let since = journal.and_then(|journal| journal.frozen_since);
            lines.push(format!(
                "Frozen: {} to write of {} {} revoked in {primary} since {} by a switchover to {standby} that has not \
                 switched. To go on: `twinlake switchover --region {standby} --writers-stopped`. To grant them again: \
                 `twinlake switchover --region {standby} --undo`.",
                counted(count, "grant"),
                counted(frozen.len(), "principal"),
                one_or_many(count, "is", "are"),
                since.map_or_else(|| "an unknown time".to_owned(), |at| at.to_string()),
            ));
            let named = frozen.iter().take(MAX_PRINCIPALS);
            lines.extend(named.map(|(principal, count)| format!("  {principal}: {count}")));
            if let Some(more) = frozen.len().checked_sub(MAX_PRINCIPALS + 1) {
                lines.push(format!("  and {} more", more + 1));
            }
        }
        let until = self.in_standby.failover.as_ref();
        if let Some(until) = until.and_then(|journal| journal.changes_grants_until(now)) {
            lines.push(format!(
                "A run of `twinlake switchover --region {standby}` changes grants in {primary} at this moment, or has until \
                 a moment ago: until {until}, an undo, or a new run beside an undo, is refused."
            ));
        }
        let kept = total(&self.frozen.in_standby);
        if kept > 0 {
            lines.push(format!(
                "{} to write {} revoked in {standby}, which was the primary before, and granted there again when it is the \
                 primary again.",
                counted(kept, "grant"),
                one_or_many(kept, "is", "are"),
            ));
        }
        lines
    }

    /// The freeze as JSON; `null` without one.
    pub(crate) fn freeze_json(&self) -> serde_json::Value {
        let journal = self.in_standby.failover.as_ref();
        let text = |at: Timestamp| at.to_string();
        match self.is_frozen() {
            false => serde_json::Value::Null,
            true => serde_json::json!({
                "principals": self.frozen.in_primary,
                "since": journal.and_then(|journal| journal.frozen_since).map(text),
                "changes_until": journal.and_then(|journal| journal.grants_change_until).map(text),
            }),
        }
    }
}

/// The most principals with frozen grants that get a line each.
const MAX_PRINCIPALS: usize = 10;

fn total(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::failover::{Announcement, FailoverJournal, FailoverStage};

    #[test]
    fn a_standby_with_an_older_epoch_or_another_primary_is_fenced_and_the_line_says_what_to_do() {
        let primary = Epoch::new(3, SiteId::A);
        let role = |held| StandbyRole::of(SiteId::B, held, primary);
        let line = |held| role(held).fenced_line("us-east-1", "ap-south-1");
        assert_eq!(role(primary), StandbyRole::Follows);
        assert_eq!(line(primary), None);
        let older = Epoch::new(2, SiteId::B);
        assert!(role(older).is_fenced());
        let older = line(older).unwrap();
        assert!(
            older.contains("twinlake divergence --region us-east-1"),
            "{older}"
        );
        let disputed = Epoch::new(3, SiteId::B);
        assert_eq!(role(disputed), StandbyRole::Disputed(3));
        assert!(role(disputed).is_fenced());
        let disputed = line(disputed).unwrap();
        assert!(
            disputed.contains("hold epoch 3 with different primaries"),
            "{disputed}"
        );
    }

    #[test]
    fn a_freeze_is_shown_with_its_principals_its_time_and_both_commands() {
        let stored = r#"{"epoch":0,"primary":"a","failover":{"operation":"switchover","from":{"epoch":0,"primary":"a"},
            "to":{"epoch":1,"primary":"b"},"stage":"started","reached":{},"freeze":"grants","frozen_since":0,
            "grants_change_until":60,"recovery_point":{"read_at":0,"databases":0,"heartbeats":{},
            "verified_at":null,"not_in_sync":{},"behind":[],"pending_tables":0,"pending":[],"unread":[]}}}"#;
        let state = TakeoverState {
            in_standby: serde_json::from_str(stored).unwrap(),
            in_primary: None,
            frozen: FrozenCounts {
                in_primary: (0..12).map(|n| (format!("role/{n:02}"), 1)).collect(),
                in_standby: [("role/old".to_owned(), 3)].into(),
            },
        };
        let lines = |secs| {
            let now = Timestamp::from_secs(secs);
            state
                .lines(("us-east-1", "ap-south-1"), true, now)
                .join("\n")
        };
        let shown = lines(59);
        for expected in [
            "12 grants to write of 12 principals are revoked in us-east-1 since 1970-01-01T00:00:00Z",
            "`twinlake switchover --region ap-south-1 --writers-stopped`",
            "`twinlake switchover --region ap-south-1 --undo`",
            "role/09: 1\n  and 2 more",
            "changes grants in us-east-1 at this moment",
            "3 grants to write are revoked in ap-south-1",
        ] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        assert!(!lines(60).contains("at this moment"));
        assert!(state.is_frozen());
        assert_eq!(state.freeze_json()["principals"]["role/00"], 1);
        assert!(TakeoverState::default().freeze_json().is_null());
    }

    #[test]
    fn the_line_says_what_clients_have_been_told() {
        let stored = r#"{"epoch":1,"primary":"b","failover":{"from":{"epoch":0,"primary":"a"},"to":{"epoch":1,"primary":"b"},
            "stage":"completed","reached":{},"recovery_point":{"read_at":0,"databases":0,"heartbeats":{},
            "verified_at":null,"not_in_sync":{},"behind":[],"pending_tables":0,"pending":[],"unread":[]}}}"#;
        let mut record: EpochRecord = serde_json::from_str(stored).unwrap();
        let line = clients_line(&record).unwrap();
        assert!(
            line.contains("does not have the new address yet; no event"),
            "{line}"
        );
        let journal: &mut FailoverJournal = record.failover.as_mut().unwrap();
        assert_eq!(journal.stage, FailoverStage::Completed);
        journal.announced = Some(Announcement {
            address_at: Some(Timestamp::from_millis(0)),
            event_at: Some(Timestamp::from_millis(0)),
        });
        let line = clients_line(&record).unwrap();
        assert!(
            line.contains("since 1970") && line.contains("sent at 1970"),
            "{line}"
        );
        assert_eq!(clients_line(&EpochRecord::default()), None);
    }
}
