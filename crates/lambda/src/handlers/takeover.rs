//! The takeover function: runs an operation of [`twinlake_engine::failover`], or resumes it, in the Region of the
//! function. The commands `twinlake failover` and `twinlake switchover` run the same machine.
//!
//! A failover calls the ledger, Glue and Lake Formation of this Region, and nothing else. A switchover also has
//! [the other Region](both_regions), and needs rights that the stack gives only if it is deployed with them.

mod answer;
mod both_regions;

use crate::config::Config;
use crate::runtime::init_logging;
use answer::{TakeoverAnswer, TakeoverRefusal, attention};
use both_regions::SwitchedRegions;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};
use twinlake_aws::{AwsRegion, Clients, DynamoLedger, SleepingTools, SystemClock};
use twinlake_core::failover::{
    EpochRecord, FailoverDecision, FailoverJournal, FailoverStep, RecoveryPoint, SwitchOperation,
    SwitchoverReadings, TakeoverInvocation, TakeoverInvoker, WakeRecord,
};
use twinlake_core::query::QueryKind;
use twinlake_core::render::counted;
use twinlake_core::topology::{Epoch, RegionRole, SiteId};
use twinlake_core::{CallError, Policy, Principal, Timestamp, render};
use twinlake_engine::failover::{
    self, FENCE_WAIT, FailoverError, FailoverProgress, FencedWakeTools, Handover,
    MAX_CONCURRENT_RESTORES, NewPrimary, has_frozen_grants, kinds_to_wake, undo_failover, wake,
};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::region_authority::{NotReady, StackSites};
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{Clock as _, GuardedRegion, Ledger as _};

/// An invocation ends this long before its timeout.
const SHUTDOWN_MARGIN_SECS: i64 = 20;

/// Why a switchover is not made.
const NO_SWITCHOVER: &str = "the stack of this Region was deployed without SwitchoverByFunction, so its function has no \
                             rights in the other Region; deploy it with that parameter, or run `twinlake switchover`";

/// What the function keeps between invocations. Clients are made anew for each: takeovers are rare.
#[derive(Debug)]
pub struct TakeoverRuntime {
    config: Config,
}

impl TakeoverRuntime {
    /// Reads the environment and sets up logging. Makes no AWS call.
    ///
    /// # Errors
    /// An environment variable is missing or invalid.
    pub fn from_environment() -> Result<Self, Error> {
        init_logging();
        let config = Config::from_environment()?;
        Ok(Self { config })
    }
}

/// Runs or resumes an operation, until it has an end or little time is left.
///
/// # Errors
/// A call failed that may succeed later: run it again. For ARC Region switch, which knows no other answer, also
/// everything after which this Region is not the primary.
pub async fn takeover(
    runtime: &TakeoverRuntime,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    let region = runtime.config.region.as_str();
    let invocation = TakeoverInvocation::parse(&event);
    let invocation = invocation.and_then(|invocation| {
        invocation.check_region(region)?;
        Ok(invocation)
    });
    let invocation = match invocation {
        Ok(invocation) => invocation,
        Err(invalid) if TakeoverInvoker::of(&event) == TakeoverInvoker::StateMachine => {
            let message = render::escape(&invalid.to_string());
            warn!(message, "invalid input");
            return Ok(json!({"outcome": "invalid", "region": region, "message": message}));
        }
        Err(invalid) => return Err(render::escape(&invalid.to_string()).into()),
    };
    let deadline = i64::try_from(context.deadline).unwrap_or(i64::MAX);
    let stop_at = Timestamp::from_millis(deadline).plus_secs(-SHUTDOWN_MARGIN_SECS);
    let operation = invocation.input.operation;
    let new_primary = NewPrimaryRegion::open(&runtime.config, stop_at).await;
    let (answer, record) = match &new_primary {
        Ok(new_primary) => (
            new_primary.answer(&invocation).await?,
            new_primary.ledger.epoch_record().await.ok(),
        ),
        Err(NotReady::Ledger(error)) => return Err(error.clone().into()),
        Err(not_ready) => (TakeoverAnswer::Failed(not_ready.to_string()), None),
    };
    // A ledger without a record holds epoch 0.
    let record =
        record.map(|stored| stored.map_or_else(EpochRecord::default, |(record, _)| record));
    let message = render::escape(&answer.message(operation, region));
    info!(
        outcome = answer.outcome(),
        operation = operation.as_str(),
        execution = render::escape(&invocation.execution),
        message,
        "invocation ended"
    );
    match invocation.invoker {
        TakeoverInvoker::RegionSwitch if !answer.is_primary() => Err(message.into()),
        TakeoverInvoker::RegionSwitch | TakeoverInvoker::StateMachine => {
            Ok(answer.json(operation, region, record.as_ref()))
        }
    }
}

/// The Region that becomes the primary: that of the function.
struct NewPrimaryRegion<'a> {
    config: &'a Config,
    policy: Policy,
    site: SiteId,
    ledger: DynamoLedger,
    fence_wait: Duration,
    stop_at: Timestamp,
}

impl<'a> NewPrimaryRegion<'a> {
    /// Reads the policy. The ledger of the other Region is not asked.
    async fn open(config: &'a Config, stop_at: Timestamp) -> Result<Self, NotReady> {
        let clients = Clients::connect(&config.region).await;
        let ledger = DynamoLedger::new(&clients, &config.ledger_table);
        let text = ledger.policy().await.map_err(NotReady::Ledger)?;
        let text = text.ok_or_else(|| NotReady::NoPolicy(config.region.clone()))?;
        let policy = Policy::parse(&text)?;
        let stack = StackSites {
            region: &config.region,
            peer_region: &config.peer_region,
            account: &config.account,
        };
        stack.check(&policy)?;
        let Some(site) = policy.sites.find(&config.region) else {
            let (a, b) = (&policy.sites.a.region, &policy.sites.b.region);
            let names = (a.clone(), b.clone(), config.region.clone());
            return Err(NotReady::UnknownRegion(names.0, names.1, names.2));
        };
        // An AWS on this computer has no requests that are still under way.
        let local_wait = config.local_wait_secs.filter(|_| clients.is_local());
        Ok(Self {
            config,
            policy,
            site,
            ledger,
            fence_wait: local_wait.map_or(FENCE_WAIT, Duration::from_secs),
            stop_at,
        })
    }

    async fn answer(&self, invocation: &TakeoverInvocation) -> Result<TakeoverAnswer, CallError> {
        let input = &invocation.input;
        match (input.operation, input.undo) {
            (SwitchOperation::Failover, true) => self.undo_failover().await,
            (SwitchOperation::Failover, false) => {
                let mut answer = self.switch(invocation, None, &()).await?;
                if let TakeoverAnswer::Primary { attention, .. } = &mut answer
                    && !input.validate_only
                {
                    attention.extend(self.wake_in_time().await);
                }
                Ok(answer)
            }
            (SwitchOperation::Switchover, _) if !self.config.may_switch_over => {
                Ok(TakeoverAnswer::Failed(NO_SWITCHOVER.to_owned()))
            }
            (SwitchOperation::Switchover, is_undo) => {
                match (SwitchedRegions::open(self).await, is_undo) {
                    (Ok(regions), true) => regions.undo().await,
                    (Ok(regions), false) => regions.switch(invocation).await,
                    (Err(NotReady::Ledger(error)), _) => Err(error),
                    (Err(not_ready), _) => Ok(TakeoverAnswer::Failed(not_ready.to_string())),
                }
            }
        }
    }

    /// Looks at the gates, and runs the steps if they are open.
    async fn switch<H: Handover>(
        &self,
        invocation: &TakeoverInvocation,
        readings: Option<SwitchoverReadings>,
        handover: &H,
    ) -> Result<TakeoverAnswer, CallError> {
        let request = invocation.request(readings);
        let ledger = &self.ledger;
        let preview = failover::preview(self.site, ledger, &SystemClock, &request).await?;
        let next = match preview.decision {
            Ok(FailoverDecision::Start(record) | FailoverDecision::Resume(record)) => record,
            Ok(FailoverDecision::AlreadyPrimary) => {
                let record = preview.record.with_later_handover();
                return Ok(primary(record.failover.as_ref(), false));
            }
            Err(refusal) => return Ok(TakeoverAnswer::Refused(refusal.into())),
        };
        if invocation.input.validate_only {
            return Ok(validated(&next, preview.recovery_point));
        }
        let to = next
            .failover
            .as_ref()
            .map_or(next.epoch, |journal| journal.to);
        let caller = self.caller_if_frozen().await?;
        let region = self.writable_region(to).await;
        let new_primary = NewPrimary {
            site: self.site,
            region: &region,
            ledger,
            timer: &SystemClock,
            policy: &self.policy,
            max_concurrent_calls: MAX_CONCURRENT_RESTORES,
            fence_wait: self.fence_wait,
            progress: &LoggedProgress,
            handover,
            caller: caller.as_ref(),
            stop_at: Some(self.stop_at),
        };
        let run = failover::run(&new_primary, &request);
        match tokio::time::timeout(self.time_left(), run).await {
            Ok(Ok(journal)) => Ok(primary(journal.as_ref(), true)),
            Ok(Err(error)) => ended(error),
            Err(_) => {
                let record = ledger.epoch_record().await?;
                Ok(out_of_time(
                    &record.map(|(record, _)| record).unwrap_or_default(),
                ))
            }
        }
    }

    /// What is left of the invocation.
    fn time_left(&self) -> Duration {
        let millis = self.stop_at.millis() - SystemClock.now().millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// The catalog of this Region, written under a lease on being its primary by this epoch.
    async fn writable_region(
        &self,
        epoch: Epoch,
    ) -> GuardedRegion<AwsRegion, DynamoLedger, SystemClock> {
        let (clients, fence) = self.fenced_clients(epoch).await;
        GuardedRegion::new(AwsRegion::new(&clients, &self.config.account), Some(fence))
    }

    async fn fenced_clients(
        &self,
        epoch: Epoch,
    ) -> (Clients, Arc<WriteFence<DynamoLedger, SystemClock>>) {
        let clients = Clients::connect(&self.config.region).await;
        let fence = Arc::new(WriteFence::new(self.ledger.clone(), None, SystemClock));
        let writer = WriterRole {
            site: self.site,
            epoch,
            role: RegionRole::Primary,
        };
        fence.allow(writer, None);
        clients.limits().require_lease(fence.lease().clone());
        (clients, fence)
    }

    /// The role of the function, where it matters: what a data lake administrator does not find is gone.
    async fn caller_if_frozen(&self) -> Result<Option<Principal>, CallError> {
        let is_frozen = has_frozen_grants(&self.ledger).await?;
        Ok(is_frozen.then(|| Principal(self.config.function_role_arn.clone())))
    }

    async fn undo_failover(&self) -> Result<TakeoverAnswer, CallError> {
        match undo_failover(&self.ledger, &SystemClock).await {
            Ok(0) => Ok(TakeoverAnswer::Undone {
                attention: Vec::new(),
            }),
            Ok(frozen) => Ok(TakeoverAnswer::Undone {
                attention: vec![format!(
                    "{} to write, which a switchover before it has revoked, stay revoked until that is undone, too",
                    counted(frozen, "grant")
                )],
            }),
            Err(error) => ended(error),
        }
    }

    /// Wakes crawlers and triggers, as the operation document asks for, and returns what is left to do. Whatever becomes
    /// of it changes nothing about the takeover.
    async fn wake_in_time(&self) -> Vec<String> {
        let mut left = Vec::new();
        match tokio::time::timeout(self.time_left(), self.wake()).await {
            Ok(Ok(woken)) => {
                let asleep = woken.iter().filter(|(_, record)| record.not_awake > 0);
                left.extend(asleep.map(|(kind, record)| {
                    format!("{} not awake", counted(record.not_awake, kind.as_str()))
                }));
            }
            Ok(Err(error)) => left.push(format!(
                "it is not known which crawlers and triggers are awake: {error}"
            )),
            Err(_) => left.push(
                "no time was left to wake all crawlers and triggers: start another execution"
                    .to_owned(),
            ),
        }
        left
    }

    async fn wake(&self) -> Result<BTreeMap<QueryKind, WakeRecord>, CallError> {
        let (operation, _) = OperationConfig::load(&self.ledger).await?;
        let wanted = operation.takeover.map(|one| one.wake).unwrap_or_default();
        let record = self.ledger.epoch_record().await?;
        let record = record.map(|(record, _)| record).unwrap_or_default();
        if kinds_to_wake(&record, self.site, &wanted).is_empty() {
            let journal = record.failover.filter(|journal| journal.to == record.epoch);
            return Ok(journal.map(|journal| journal.woken).unwrap_or_default());
        }
        let (clients, fence) = self.fenced_clients(record.epoch).await;
        let tools = FencedWakeTools::new(SleepingTools::new(&clients), fence);
        let at = (&self.ledger, &SystemClock);
        wake(&tools, at, self.site, &wanted, &()).await
    }
}

/// Logs each step.
struct LoggedProgress;

impl FailoverProgress for LoggedProgress {
    fn step_started(&self, step: FailoverStep) {
        info!(step = step.description(), "step started");
    }

    fn waiting(&self, _: Duration) {}
}

fn primary(journal: Option<&FailoverJournal>, is_new: bool) -> TakeoverAnswer {
    TakeoverAnswer::Primary {
        is_new,
        attention: journal.map(attention).unwrap_or_default(),
    }
}

fn validated(next: &EpochRecord, recovery_point: RecoveryPoint) -> TakeoverAnswer {
    let journal = next.failover.as_ref();
    let from = journal.and_then(FailoverJournal::next_step);
    let steps = journal.map_or(&[][..], |journal| journal.operation.steps());
    let steps = steps.iter().copied();
    TakeoverAnswer::Validated {
        steps: steps.skip_while(|step| Some(*step) != from).collect(),
        recovery_point: Box::new(recovery_point),
    }
}

/// The answer of an invocation that was over in the middle of a step. After the epoch, each step gets further when it is
/// repeated. Before it, one begins anew.
fn out_of_time(record: &EpochRecord) -> TakeoverAnswer {
    let journal = record.failover.as_ref();
    let step = journal.and_then(FailoverJournal::next_step);
    let is_before_epoch = journal.is_none_or(FailoverJournal::is_before_epoch);
    match step.filter(|_| !is_before_epoch) {
        Some(step) => TakeoverAnswer::Continue(step),
        None => TakeoverAnswer::Refused(TakeoverRefusal {
            gate: "time-limit".to_owned(),
            limit: "what comes before the epoch ends within one invocation of the function"
                .to_owned(),
            measured: match step {
                Some(step) => format!("it was over in the step \"{}\"", step.description()),
                None => "it was over before the first step".to_owned(),
            },
            action: "run the command `twinlake`, which has no such limit; it goes on from here"
                .to_owned(),
        }),
    }
}

/// The answer to an operation that ended before it was completed.
///
/// # Errors
/// A call failed that may succeed later.
fn ended(error: FailoverError) -> Result<TakeoverAnswer, CallError> {
    Ok(match error {
        FailoverError::Refused(refusal) => TakeoverAnswer::Refused(refusal.into()),
        FailoverError::NotUndone(refusal) => TakeoverAnswer::Refused(refusal.into()),
        FailoverError::Stopped(step) => TakeoverAnswer::Continue(step),
        FailoverError::UndoneMeanwhile
        | FailoverError::NotVerified(_)
        | FailoverError::NotFrozen(_) => TakeoverAnswer::Failed(error.to_string()),
        FailoverError::Call(error) if error.kind.is_transient() => return Err(error),
        FailoverError::Call(error) => TakeoverAnswer::Failed(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::CallErrorKind;
    use twinlake_core::failover::UndoRefusal;

    /// The record of a switchover in a stage.
    fn record(stage: &str) -> EpochRecord {
        let stored = json!({"epoch": 0, "primary": "a", "failover": {
            "operation": "switchover", "from": {"epoch": 0, "primary": "a"}, "to": {"epoch": 1, "primary": "b"},
            "stage": stage, "reached": {}, "recovery_point": {"read_at": 0, "databases": 1, "heartbeats": {},
            "verified_at": null, "not_in_sync": {}, "behind": [], "pending_tables": 0, "pending": [], "unread": []}}});
        serde_json::from_value(stored).unwrap()
    }

    #[test]
    fn an_invocation_that_is_over_goes_on_after_the_epoch_and_is_refused_before_it() {
        for (stage, step) in [
            ("epoch-written", FailoverStep::WaitForWriters),
            ("writers-stopped", FailoverStep::RestoreDefaults),
            ("defaults-restored", FailoverStep::HandOver),
        ] {
            assert_eq!(out_of_time(&record(stage)), TakeoverAnswer::Continue(step));
        }
        for (record, expected) in [
            (EpochRecord::default(), "it was over before the first step"),
            (record("started"), "resync the standby"),
            (record("verified"), "write the epoch"),
        ] {
            let answer = out_of_time(&record);
            assert_eq!(answer.outcome(), "refused");
            let message = answer.message(SwitchOperation::Switchover, "ap-south-1");
            assert!(message.contains("gate time-limit"), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn only_a_call_that_may_succeed_later_is_an_error_that_is_repeated() {
        let call = |kind| CallError::new(kind, "GetItem", "ap-south-1", "x");
        ended(call(CallErrorKind::Unavailable).into()).unwrap_err();
        for (error, outcome) in [
            (call(CallErrorKind::Denied).into(), "failed"),
            (FailoverError::NotVerified("x".to_owned()), "failed"),
            (UndoRefusal::NothingToUndo.into(), "refused"),
            (FailoverError::Stopped(FailoverStep::HandOver), "continue"),
        ] {
            assert_eq!(ended(error).unwrap().outcome(), outcome);
        }
    }
}
