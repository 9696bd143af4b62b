//! Writes down how each subject is left.

use super::ROUNDS;
use super::share::to_follow;
use super::work::Work;
use crate::ports::{Clock, Ledger, ReadRegion};
use std::collections::BTreeMap;
use twinlake_core::audit::{self, Veto};
use twinlake_core::ledger::Rows;
use twinlake_core::plan::Standing;
use twinlake_core::{Fault, Plan, Row, State, Subject, Timestamp};

impl<'a, P, S, L, C> Work<'a, P, S, L, C>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    /// Writes down how each subject is left.
    pub(super) async fn finish(&mut self, rows: &Rows, plan: &Plan) -> Result<(), Fault> {
        let now = self.context.clock.now();
        let tables = self.readings.primary.tables.iter();
        self.outcome.iceberg = tables
            .filter(|(_, seen)| seen.present().is_some_and(|seen| seen.object.is_iceberg()))
            .map(|(id, _)| id.clone())
            .collect();
        let mut put = Vec::new();
        let mut forget = Vec::new();
        if self.rounds > ROUNDS && !plan.is_empty() && self.outcome.waiting.is_none() {
            let reason = format!("still different after {ROUNDS} rounds");
            self.outcome.waiting = Some((self.scope.clone(), reason));
        }
        self.outcome
            .findings
            .extend(std::mem::take(&mut self.earlier));
        let reasons = self.reasons(plan);
        for (subject, standing) in &plan.standings {
            let old = rows.get(subject);
            if standing.gone {
                if old.is_some() {
                    forget.push(subject.clone());
                }
                continue;
            }
            let (state, reason) = match reasons.get(subject) {
                Some((state, reason)) => (*state, Some(reason.clone())),
                None => (standing.state, standing.reason.clone()),
            };
            let mut row = row_of(subject, old, standing, (state, reason), now);
            row.braked = self.is_braked() && plan.steps.iter().any(|s| s.subject() == *subject);
            let known = old.and_then(|old| old.pairing.as_ref());
            // A table that was made anew is told by this, until its partitions follow.
            let counted = match subject {
                Subject::Table(id) => self.partitions.get(id).copied(),
                Subject::Catalog | Subject::Database(_) | Subject::Function(_) => None,
            };
            row.partitions = counted.unwrap_or(row.partitions);
            let pending = !self.outcome.vetoes.is_empty() || counted.is_none();
            if let (Some(known), Some(pairing), true) = (known, &mut row.pairing, pending)
                && known.secondary_created == pairing.secondary_created
            {
                pairing.primary_created = known.primary_created;
            }
            if Some(&row) != old {
                put.push(row);
            }
        }
        if !put.is_empty() {
            self.context.ledger.put_rows(&put).await?;
        }
        if !forget.is_empty() {
            self.context.ledger.forget(&forget).await?;
        }
        Ok(())
    }

    /// Whether the brake refused the plan, and nothing else did.
    fn is_braked(&self) -> bool {
        let vetoes = &self.outcome.vetoes;
        let braked = |veto: &Veto| veto.rule == audit::Rule::Brake;
        !vetoes.is_empty() && vetoes.iter().all(braked)
    }

    /// Subjects whose steps did not all come about, and why.
    pub(super) fn reasons(&self, plan: &Plan) -> BTreeMap<Subject, (State, String)> {
        let mut reasons = BTreeMap::new();
        let vetoed = !self.outcome.vetoes.is_empty();
        let held = self.is_braked();
        let waiting = self.outcome.waiting.as_ref().map(|(_, reason)| reason);
        if vetoed || waiting.is_some() {
            let veto = self.outcome.vetoes.first().map(Veto::to_string);
            let reason = veto.or(waiting.cloned()).unwrap_or_default();
            let state = if held { State::Held } else { State::Behind };
            for step in &plan.steps {
                reasons.insert(step.subject(), (state, reason.clone()));
            }
        }
        if let (true, Some((scope, reason))) = (self.outcome.out_of_time, &self.outcome.waiting) {
            let unfinished = scope.looks.keys().cloned();
            reasons.extend(unfinished.map(|subject| (subject, (State::Behind, reason.clone()))));
        }
        for (id, later) in &self.readings.later {
            reasons.insert(
                Subject::Table(id.clone()),
                (State::Behind, to_follow(later)),
            );
        }
        for (subject, trouble) in &self.trouble {
            reasons
                .entry(subject.clone())
                .or_insert_with(|| trouble.clone());
        }
        for (step, fault) in &self.outcome.failed {
            reasons.insert(step.subject(), (State::Blocked, fault.to_string()));
        }
        reasons
    }
}

fn row_of(
    subject: &Subject,
    old: Option<&Row>,
    standing: &Standing,
    (state, reason): (State, Option<String>),
    now: Timestamp,
) -> Row {
    let unchanged = old.filter(|old| old.state == state);
    let kept = old.and_then(|old| old.intended.clone());
    Row {
        subject: subject.clone(),
        pairing: standing.pairing.clone(),
        intended: kept.filter(|_| standing.pairing.is_none()),
        state,
        since: unchanged.map_or(now, |old| old.since),
        reason,
        braked: false,
        table_default: standing
            .table_default
            .clone()
            .or_else(|| old.and_then(|old| old.table_default.clone())),
        partitions: old.map_or(0, |old| old.partitions),
    }
}
