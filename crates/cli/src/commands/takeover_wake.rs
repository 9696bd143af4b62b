//! What `twinlake failover`, `switchover` and `failback` do once the takeover is complete, with `wake` in `[takeover]` of
//! the operation document: they wake the crawlers and triggers that sleep in the new primary. Whatever becomes of it is
//! told, and changes nothing about the takeover, nor the exit code.

use super::query::put_standby_to_sleep;
use super::surviving_region::NewPrimaryRegion;
use crate::common_options::Common;
use crate::{CliError, output};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_aws::{Clients, SleepingTools, SystemClock};
use twinlake_core::failover::{SwitchOperation, WakeRecord};
use twinlake_core::query::QueryKind;
use twinlake_core::render::{self, counted, one_or_many};
use twinlake_core::topology::RegionRole;
use twinlake_engine::Ledger as _;
use twinlake_engine::failover::{FencedWakeTools, WakeProgress, kinds_to_wake, wake};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::write_fence::{WriteFence, WriterRole};

/// Wakes what is to be woken. After a switchover, `common` leads to the former primary, which is put to sleep first: two
/// crawlers would write two catalogs.
pub(super) async fn wake_tools(new_primary: &NewPrimaryRegion, common: Option<&Common>) {
    let said = match woken(new_primary, common).await {
        Ok(said) => said,
        Err(error) => vec![format!(
            "Crawlers and triggers: it is not known what is awake: {error}. Run the same command again."
        )],
    };
    for line in said {
        let line = render::escape(&line);
        match new_primary.is_quiet {
            true => output::note(&line),
            false => output::print(&line),
        }
    }
}

async fn woken(
    new_primary: &NewPrimaryRegion,
    common: Option<&Common>,
) -> Result<Vec<String>, CliError> {
    let (operation, _) = OperationConfig::load(&new_primary.ledger).await?;
    let wanted: BTreeSet<QueryKind> = operation.takeover.map(|one| one.wake).unwrap_or_default();
    let record = new_primary.ledger.epoch_record().await?;
    let record = record.map(|(record, _)| record.with_later_handover());
    let record = record.unwrap_or_default();
    if kinds_to_wake(&record, new_primary.site, &wanted).is_empty() {
        return Ok(Vec::new());
    }
    let journal = record.failover.as_ref();
    let is_switchover =
        journal.is_some_and(|journal| journal.operation == SwitchOperation::Switchover);
    if is_switchover {
        let other = new_primary.other_region();
        if journal.is_some_and(|journal| journal.not_handed_over.is_some()) {
            return Ok(vec![format!(
                "Nothing is woken: {other} is not the standby yet, and its crawlers and triggers may run. Run the same \
                 command again once it is."
            )]);
        }
        if let Some(common) = common
            && let Some(reason) = put_standby_to_sleep(common).await?
        {
            return Ok(vec![format!(
                "Nothing is woken, since it is not certain that {other} sleeps: {reason}. Run the same command again."
            )]);
        }
    }
    let clients = Clients::connect(&new_primary.region).await;
    let fence = Arc::new(WriteFence::new(
        new_primary.ledger.clone(),
        None,
        SystemClock,
    ));
    let writer = WriterRole {
        site: new_primary.site,
        epoch: record.epoch,
        role: RegionRole::Primary,
    };
    fence.allow(writer, None);
    clients.limits().require_lease(fence.lease().clone());
    let tools = FencedWakeTools::new(SleepingTools::new(&clients), fence);
    let at = (&new_primary.ledger, &SystemClock);
    let progress = PrintedWake {
        is_quiet: new_primary.is_quiet,
    };
    let known = wake(&tools, at, new_primary.site, &wanted, &progress).await?;
    Ok(woken_lines(&known))
}

/// Says which kind begins.
struct PrintedWake {
    is_quiet: bool,
}

impl WakeProgress for PrintedWake {
    fn kind_started(&self, kind: QueryKind, tools: usize) {
        if !self.is_quiet && tools > 0 {
            output::print(&format!("Waking {}.", counted(tools, kind.as_str())));
        }
    }
}

/// What the journal says of what was woken.
pub(crate) fn woken_lines(known: &BTreeMap<QueryKind, WakeRecord>) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, record) in known {
        if record.awake + record.not_awake == 0 {
            continue;
        }
        lines.push(format!(
            "{} {} awake since {}; {} {} not.",
            counted(record.awake, kind.as_str()),
            one_or_many(record.awake, "is", "are"),
            record.ended_at,
            record.not_awake,
            one_or_many(record.not_awake, "is", "are"),
        ));
        let named = record.named.iter();
        lines.extend(named.map(|(name, why)| format!("  {kind} {name}: {why}")));
        let more = record.not_awake.saturating_sub(record.named.len());
        if more > 0 {
            lines.push(format!(
                "  and {more} more, which `twinlake status --domain query` lists"
            ));
        }
        if let Some(waiting) = &record.waiting {
            lines.push(format!(
                "  {} of them {} not looked at: as many as are named here are tried again first",
                waiting.count,
                one_or_many(waiting.count, "was", "were")
            ));
        }
        if !record.is_final() {
            lines.push("  Run the same command again to try what failed once more.".to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::failover::WakeResult;
    use twinlake_core::query::ObjectKey;

    #[test]
    fn the_lines_count_what_is_awake_and_name_what_is_not() {
        let mut record = WakeRecord::default();
        let key = |name: &str| ObjectKey::new(QueryKind::Trigger, name);
        record.add(&key("a"), WakeResult::Awake);
        record.add(
            &key("b"),
            WakeResult::Skipped("it starts the job x".to_owned()),
        );
        let known = BTreeMap::from([(QueryKind::Trigger, record.clone())]);
        let lines = woken_lines(&known).join("\n");
        assert!(lines.starts_with("1 trigger is awake since"), "{lines}");
        assert!(
            lines.contains("trigger b: left asleep: it starts the job x"),
            "{lines}"
        );
        assert!(!lines.contains("again"), "{lines}");
        record.add(&key("c"), WakeResult::Unknown("no answer".to_owned()));
        let lines = woken_lines(&BTreeMap::from([(QueryKind::Trigger, record)])).join("\n");
        assert!(
            lines.contains("trigger c: unknown whether it is awake: no answer"),
            "{lines}"
        );
        assert!(lines.contains("Run the same command again"), "{lines}");
    }
}
