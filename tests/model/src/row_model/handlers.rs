//! The handlers: how they read, plan, write, and keep the row.

use super::*;

/// The handlers.
impl RowModel {
    pub(super) fn proceed(&self, next: &mut RowState, mut handler: Working) {
        match handler.phase.clone() {
            Phase::ReadRow => self.read_row(next, &mut handler),
            Phase::ReadRegions => self.read_regions(next, &mut handler),
            Phase::RecordIntent(plan) => self.record_intent(next, &mut handler, plan),
            Phase::Apply(_) => {}
            Phase::WriteRow => {
                if self.write_row(next, &mut handler) {
                    next.queue += usize::from(handler.has_to_wait);
                    return;
                }
                handler.phase = Phase::MergeRow;
            }
            Phase::MergeRow => {
                self.merge_row(next, &mut handler);
                next.queue += usize::from(handler.has_to_wait);
                return;
            }
        }
        next.handlers.push(handler);
    }

    /// Reads the row, and puts into it what the handler created and what it paired by intents.
    pub(super) fn read_row(&self, next: &RowState, handler: &mut Working) {
        handler.rounds += 1;
        let mut row = next.row.clone();
        handler.read.has_unstored_intent = false;
        if let Some(content) = handler.intent {
            let row = row.get_or_insert_with(Row::default);
            handler.read.has_unstored_intent = row.intents.insert(content);
        }
        if let (Some(row), Some(pairing)) = (&mut row, handler.intended_pairing) {
            let known = row.pairing.take();
            let is_newer =
                |known: &PairedObject| known.created_in_standby > pairing.created_in_standby;
            row.pairing = known.filter(is_newer).or(Some(pairing));
        }
        handler.read.row = row;
        handler.phase = Phase::ReadRegions;
    }

    pub(super) fn read_regions(&self, next: &mut RowState, handler: &mut Working) {
        handler.read.primary = next.primary;
        handler.read.standby = next.standby;
        if self.pair_intended_object(handler) {
            return handler.read_again();
        }
        let row = handler.read.row.clone().unwrap_or_default();
        let question = Question {
            primary: next.primary,
            standby: next.standby,
            pairing: row.pairing,
            intents: row.intents,
            held: handler.held.clone(),
        };
        let decision = self
            .decisions
            .answer(&question, |question| self.plan_and_audit(question));
        let Some((steps, outcome)) = decision else {
            next.has_rejection = true;
            return;
        };
        handler.outcome = outcome;
        let plan = RunningPlan::new(steps);
        if plan.is_empty() {
            handler.phase = Phase::WriteRow;
        } else if handler.rounds > MAX_ROUNDS {
            handler.has_to_wait = true;
            handler.phase = Phase::WriteRow;
        } else if self.has_to_record(handler, &plan) {
            handler.phase = Phase::RecordIntent(plan);
        } else {
            handler.phase = Phase::Apply(plan);
        }
    }

    /// Pairs a table that the primary lacks and that has the content of an intent. Returns whether
    /// it is a new pairing.
    pub(super) fn pair_intended_object(&self, handler: &mut Working) -> bool {
        let (Some(row), None, Some(found)) = (
            &handler.read.row,
            handler.read.primary,
            handler.read.standby,
        ) else {
            return false;
        };
        let known = row.pairing.map(|paired| paired.created_in_standby);
        if !row.intents.contains(&found.content) || known == Some(found.created) {
            return false;
        }
        handler.intended_pairing = Some(PairedObject {
            created_in_primary: None,
            created_in_standby: found.created,
            content: found.content,
        });
        true
    }

    /// Whether the row changes before the steps of a plan are applied: with the pairing of what they
    /// write, or at least with the time of an intent.
    pub(super) fn has_to_record(&self, handler: &Working, plan: &RunningPlan<TableStep>) -> bool {
        let creates = |step| matches!(step, TableStep::Create(_));
        let records = self.mutant != Some(Mutant::RecordsNoIntents);
        records
            && (plan.remaining().any(creates)
                || self.intended_row(handler, plan) != handler.read.row)
    }

    /// The row before the steps of a plan are applied: with what it creates, and with the pairing of
    /// what it writes.
    pub(super) fn intended_row(
        &self,
        handler: &Working,
        plan: &RunningPlan<TableStep>,
    ) -> Option<Row> {
        let mut row = handler.read.row.clone().unwrap_or_default();
        for step in plan.remaining() {
            match step {
                TableStep::Create(content) => {
                    row.intents.insert(content);
                }
                TableStep::Update(_) if self.mutant != Some(Mutant::PairsAtTheEnd) => {
                    let found = handler.outcome.and_then(|outcome| outcome.pairing);
                    row.pairing = self.merge(row.pairing, found, row.pairing);
                }
                TableStep::Update(_) | TableStep::Delete => {}
            }
        }
        Some(row)
    }

    pub(super) fn record_intent(
        &self,
        next: &mut RowState,
        handler: &mut Working,
        plan: RunningPlan<TableStep>,
    ) {
        for step in plan.remaining() {
            if let TableStep::Create(content) = step {
                handler.intent = Some(content);
            }
        }
        let row = self.intended_row(handler, &plan).unwrap_or_default();
        if next.write_row(Some(row.clone()), row.version, self.mutant) {
            handler.read.row.clone_from(&next.row);
            handler.phase = Phase::Apply(plan);
        } else {
            handler.read_again();
        }
    }

    pub(super) fn apply_step(&self, next: &mut RowState, mut handler: Working, result: CallResult) {
        let Phase::Apply(mut plan) = handler.phase.clone() else {
            return;
        };
        let Some(step) = plan.next_step() else {
            return;
        };
        let result = match self.send(next, step, result) {
            // There is nothing left to delete.
            CallResult::Failed if step == TableStep::Delete && next.standby.is_none() => {
                CallResult::Applied
            }
            sent => sent,
        };
        plan.record(result, self.mutant);
        let kind = match step {
            TableStep::Create(_) | TableStep::Update(_) => StepKind::Write,
            TableStep::Delete => StepKind::Delete,
        };
        let is_creation = matches!(step, TableStep::Create(_));
        let exists_already = is_creation && result == CallResult::Failed && next.standby.is_some();
        if result == CallResult::Refused || (exists_already && handler.has_refused_creation) {
            handler.held.insert(kind);
        }
        handler.has_refused_creation |= exists_already;
        handler.has_to_wait |= plan.has_to_wait;
        if plan.next_step().is_some() {
            handler.phase = Phase::Apply(plan);
        } else if handler.has_to_wait {
            handler.phase = Phase::WriteRow;
        } else {
            handler.read_again();
        }
        next.handlers.push(handler);
    }

    /// Sends a step to the standby. One that its state forbids fails, whatever the result would be.
    pub(super) fn send(
        &self,
        next: &mut RowState,
        step: TableStep,
        result: CallResult,
    ) -> CallResult {
        match (step, next.standby) {
            (TableStep::Create(_), Some(_)) | (TableStep::Update(_) | TableStep::Delete, None) => {
                return CallResult::Failed;
            }
            (TableStep::Create(content), None) if result.has_effect() => {
                next.standby = Some(next.create(content));
            }
            (TableStep::Update(content), Some(object)) if result.has_effect() => {
                next.has_written_foreign |= next.is_foreign();
                next.standby = Some(Object { content, ..object });
            }
            (TableStep::Delete, Some(_)) if result.has_effect() => {
                next.has_written_foreign |= next.is_foreign();
                next.standby = None;
            }
            (TableStep::Create(_) | TableStep::Update(_) | TableStep::Delete, _) => {}
        }
        result
    }

    /// The row after the session, with what `old` knows. Intents that may be of another handler at
    /// work stay.
    pub(super) fn new_row(
        &self,
        is_resynced: bool,
        handler: &Working,
        old: Option<&Row>,
        (pairing, is_in_sync): (Option<PairedObject>, bool),
    ) -> Row {
        let paired = old.and_then(|old| old.pairing);
        let pairing = self.merge(paired, pairing, paired);
        let are_old = is_resynced || self.mutant == Some(Mutant::ClearsIntentsOfOthers);
        let intents = match handler.is_paired_object_seen(pairing) && are_old {
            true => BTreeSet::new(),
            false => old.map(|old| old.intents.clone()).unwrap_or_default(),
        };
        Row {
            version: old.and_then(|old| old.version),
            pairing,
            intents,
            is_in_sync,
        }
    }

    /// Whether the handler's outcome makes the table in sync, if its row was not changed meanwhile.
    pub(super) fn is_in_sync(handler: &Working, outcome: Outcome) -> bool {
        outcome.is_in_sync && handler.held.is_empty() && !handler.has_to_wait
    }

    /// Writes the row at the end of a session. Returns false if another handler has changed it.
    pub(super) fn write_row(&self, next: &mut RowState, handler: &mut Working) -> bool {
        let Some(outcome) = handler.outcome else {
            return true;
        };
        let old = handler.read.row.clone();
        if outcome.is_gone {
            let obsolete = old.filter(|row| self.may_forget(next, handler, row));
            return obsolete.is_none_or(|row| next.write_row(None, row.version, self.mutant));
        }
        let paired = old.as_ref().and_then(|row| row.pairing);
        let is_outdated = paired
            .zip(outcome.pairing)
            .is_some_and(|(paired, found)| paired.created_in_standby > found.created_in_standby);
        let is_in_sync = Self::is_in_sync(handler, outcome) && !is_outdated;
        let row = self.new_row(
            next.is_resynced,
            handler,
            old.as_ref(),
            (outcome.pairing, is_in_sync),
        );
        handler.has_to_wait |= is_outdated;
        if Some(&row) == old.as_ref() && !handler.read.has_unstored_intent {
            return true;
        }
        let version = row.version;
        next.write_row(Some(row), version, self.mutant)
    }

    /// Merges the row with the stored one, which another handler has changed.
    pub(super) fn merge_row(&self, next: &mut RowState, handler: &mut Working) {
        let Some(outcome) = handler.outcome else {
            return;
        };
        let base = handler.read.row.as_ref();
        let in_sync = Self::is_in_sync(handler, outcome);
        let own_row = self.new_row(next.is_resynced, handler, base, (outcome.pairing, in_sync));
        let known = [
            base.map(Row::ownership).unwrap_or_default(),
            own_row.ownership(),
        ];
        let stored = next.row.clone();
        let is_outdated = stored
            .as_ref()
            .is_some_and(|stored| !known.contains(&stored.ownership()));
        let may_forget = stored
            .as_ref()
            .is_some_and(|row| self.may_forget(next, handler, row));
        let version = next.stored_version();
        if outcome.is_gone {
            if may_forget && !is_outdated {
                next.write_row(None, version, self.mutant);
            }
            return;
        }
        let base_pairing = base.and_then(|base| base.pairing);
        let stored_pairing = stored.as_ref().and_then(|row| row.pairing);
        let pairing = self.merge(base_pairing, outcome.pairing, stored_pairing);
        let is_confirmed = in_sync && pairing == outcome.pairing;
        let is_outdated = is_outdated && !is_confirmed;
        let row = self.new_row(
            next.is_resynced,
            handler,
            stored.as_ref(),
            (pairing, in_sync && !is_outdated),
        );
        handler.has_to_wait |= is_outdated;
        if Some(&row) != stored.as_ref() {
            next.write_row(Some(row), version, self.mutant);
        }
    }

    /// One handler without failures reads and writes until it ends.
    pub(super) fn resync(&self, next: &mut RowState) {
        next.is_resynced = true;
        next.handlers.push(Working::new());
        while let Some(handler) = next.handlers.pop() {
            match handler.phase {
                Phase::Apply(_) => self.apply_step(next, handler, CallResult::Applied),
                Phase::ReadRow
                | Phase::ReadRegions
                | Phase::RecordIntent(_)
                | Phase::WriteRow
                | Phase::MergeRow => self.proceed(next, handler),
            }
            if next.has_rejection {
                return;
            }
        }
    }
}
