//! The commands of the model: a switch and an acceptance, step by step.

use super::*;
use twinlake_core::failover::{
    AcceptedDivergence, FailoverDecision, FailoverRequest, FailoverStep, ForceableGate,
    RecoveryPoint, SwitchStepResult, SwitchoverReadings, after_step, decide,
};

/// What a person asks for. Every gate is forced that may be.
fn request(operation: SwitchOperation, peer_epoch: Option<Epoch>) -> FailoverRequest {
    FailoverRequest {
        accepts_loss: true,
        seen_epoch: None,
        forced: ForceableGate::EVERY.into(),
        switchover: match operation {
            SwitchOperation::Failover => None,
            SwitchOperation::Switchover => Some(SwitchoverReadings {
                peer_epoch,
                writers_stopped: true,
                ..SwitchoverReadings::default()
            }),
        },
        execution: None,
    }
}

impl TakeoverModel {
    pub(super) fn begin_switch(
        state: &mut State,
        site: SiteId,
        operation: SwitchOperation,
    ) -> Option<()> {
        if operation == SwitchOperation::Switchover && state.is_partitioned {
            return None;
        }
        let peer_epoch = state.peer_epoch(site, true);
        let region = state.region(site);
        let asked = request(operation, peer_epoch);
        let (record, is_stored) =
            match decide(&region.record.0, site, &asked, &RecoveryPoint::default()).ok()? {
                FailoverDecision::Start(record) => (record, false),
                FailoverDecision::Resume(record) => (record, true),
                FailoverDecision::AlreadyPrimary => return None,
            };
        let version = region.version;
        state.commands_left -= 1;
        state.commands.push(Command::Switch {
            site,
            record: Record(record),
            version,
            is_stored,
            waited: 0,
        });
        Some(())
    }

    /// The next step of a switch. Returns the command while it goes on.
    fn go_on_switching(&self, state: &mut State, command: Command) -> Option<Option<Command>> {
        let Command::Switch {
            site,
            record: Record(record),
            version,
            is_stored,
            waited,
        } = command
        else {
            return None;
        };
        if !is_stored {
            let is_put = state.put(site, record.clone(), version);
            let record = Record(record);
            let next = Command::Switch {
                site,
                record,
                version: version + 1,
                is_stored: true,
                waited: 0,
            };
            return Some(is_put.then_some(next));
        }
        let Some(step) = record
            .failover
            .as_ref()
            .and_then(|journal| journal.next_step())
        else {
            return Some(None);
        };
        let former = site.other();
        let is_equal = state.region(site).level == state.region(former).level;
        let mut result = SwitchStepResult::default();
        let (mut record, mut version) = (record, version);
        match step {
            FailoverStep::Verify if state.is_partitioned || !is_equal => return Some(None),
            FailoverStep::WaitForWriters if waited < self.wait() => return None,
            FailoverStep::HandOver => {
                if state.is_partitioned {
                    return Some(None);
                }
                match is_equal || self.is(Mutant::HandsOverUncompared) {
                    true => {
                        let stored = state.region(former);
                        let next = EpochRecord {
                            epoch: record.epoch,
                            ..EpochRecord::default()
                        };
                        if stored.record.0.epoch.is_before(record.epoch) {
                            let former_version = stored.version;
                            state.put(former, next, former_version);
                            if is_equal {
                                state.region_mut(former).has_unaccepted = false;
                            }
                        }
                    }
                    false => result.not_handed_over = Some("it differs".to_owned()),
                }
                let stored = state.region(site);
                (record, version) = (stored.record.0.clone(), stored.version);
                if record
                    .failover
                    .as_ref()
                    .and_then(|journal| journal.next_step())
                    != Some(step)
                {
                    return Some(None);
                }
            }
            // The model has no freeze: nobody is stopped from writing.
            FailoverStep::FreezeGrants
            | FailoverStep::Verify
            | FailoverStep::WaitForWriters
            | FailoverStep::WriteEpoch
            | FailoverStep::RestoreDefaults => {}
        }
        let record = after_step(&record, step, Timestamp::default(), result);
        let is_put = state.put(site, record.clone(), version);
        let record = Record(record);
        let next = Command::Switch {
            site,
            record,
            version: version + 1,
            is_stored: true,
            waited: 0,
        };
        Some(is_put.then_some(next))
    }

    fn wait(&self) -> u8 {
        match self.is(Mutant::WaitsForTheLeaseOnly) {
            true => LEASE,
            false => WAIT,
        }
    }

    /// Compares both Regions, and begins to accept that what the former primary has is lost.
    pub(super) fn begin_acceptance(state: &mut State, primary: SiteId) -> Option<()> {
        let epoch = state.epoch(primary);
        let former = state.region(primary.other());
        let is_former = former.record.0.epoch.is_before(epoch) && epoch.primary() == primary;
        let journal = state.region(primary).record.0.failover.as_ref();
        let step = journal.and_then(|journal| journal.next_step());
        let is_under_way = step.is_some_and(|step| step != FailoverStep::HandOver);
        if state.is_partitioned || !is_former || is_under_way {
            return None;
        }
        let former_version = former.version;
        state.commands_left -= 1;
        state.commands.push(Command::Accept {
            primary,
            epoch,
            former_version,
            is_noted: false,
        });
        Some(())
    }

    fn go_on_accepting(&self, state: &mut State, command: Command) -> Option<Option<Command>> {
        let Command::Accept {
            primary,
            epoch,
            former_version,
            is_noted,
        } = command
        else {
            return None;
        };
        if state.is_partitioned {
            return Some(None);
        }
        let accepted = AcceptedDivergence {
            epoch: epoch.number(),
            digest: String::new(),
            at: Timestamp::default(),
            completed_at: None,
        };
        if !is_noted {
            let stored = state.region(primary);
            if stored.record.0.epoch != epoch {
                return Some(None);
            }
            let (record, version) = (stored.record.0.clone(), stored.version);
            state.put(
                primary,
                EpochRecord {
                    accepted: Some(accepted),
                    ..record
                },
                version,
            );
            return Some(Some(Command::Accept {
                primary,
                epoch,
                former_version,
                is_noted: true,
            }));
        }
        let former = primary.other();
        let version = match self.is(Mutant::AcceptsUnconditionally) {
            true => state.region(former).version,
            false => former_version,
        };
        let record = EpochRecord {
            epoch,
            accepted: Some(accepted),
            ..EpochRecord::default()
        };
        if state.put(former, record, version) {
            state.region_mut(former).has_unaccepted = false;
        }
        Some(None)
    }

    pub(super) fn command_goes_on(&self, state: &mut State, at: usize) -> Option<()> {
        let command = state.commands[at].clone();
        let next = match command {
            Command::Switch { .. } => self.go_on_switching(state, command),
            Command::Accept { .. } => self.go_on_accepting(state, command),
        }?;
        match next {
            Some(next) => state.commands[at] = next,
            None => drop(state.commands.remove(at)),
        }
        Some(())
    }
}
