//! Writes down how each subject is left.

use super::ROUNDS;
use super::after::{facets_after, values_of};
use super::share::to_follow;
use super::work::Work;
use crate::ports::{Clock, Ledger, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::{self, Veto};
use twinlake_core::ledger::Rows;
use twinlake_core::plan::Standing;
use twinlake_core::reading::Observation;
use twinlake_core::scope::{Facet, Look, WHOLE_DATABASE, WHOLE_TABLE};
use twinlake_core::{Fault, Plan, Row, Scope, State, Subject, Timestamp};

impl<'a, P, S, L, C> Work<'a, P, S, L, C>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    /// Writes down how each subject is left.
    pub(super) async fn finish(&mut self, rows: &Rows, plan: &Plan) -> Result<(), Fault> {
        let tables = self.readings.primary.tables.iter();
        self.outcome.iceberg = tables
            .filter(|(_, seen)| seen.present().is_some_and(|seen| seen.object.is_iceberg()))
            .map(|(id, _)| id.clone())
            .collect();
        self.note_looked();
        let mut put = Vec::new();
        let mut forget = Vec::new();
        if self.rounds > ROUNDS && !plan.is_empty() && self.outcome.waiting.is_none() {
            let reason = format!("still different after {ROUNDS} rounds");
            self.outcome.waiting = Some((self.asked.clone(), reason));
        }
        self.outcome
            .findings
            .extend(std::mem::take(&mut self.earlier));
        self.wait_for_what_is_left(plan);
        let reasons = self.reasons(plan);
        for (subject, standing) in &plan.standings {
            let old = rows.get(subject);
            if standing.gone {
                if old.is_some() {
                    forget.push(subject.clone());
                }
                continue;
            }
            self.mark(subject, old, standing).await?;
            let row = self.row_after(subject, old, standing, reasons.get(subject), plan);
            if row.state != State::Current {
                self.outcome.ill.insert(subject.clone(), row.state);
                let reason = row.reason.clone();
                let reason = reason.map(|reason| (subject.clone(), reason));
                self.outcome.reasons.extend(reason);
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

    fn note_looked(&mut self) {
        for (subject, look) in &self.asked.looks {
            self.outcome.looked.insert(subject.clone());
            if let Subject::Database(name) = subject
                && look.facets.contains(&Facet::Contents)
            {
                self.outcome.whole.insert(name.clone());
            }
        }
    }

    /// Writes down what has come to be paired of a subject of the lake, and what no longer
    /// is.
    async fn mark(
        &self,
        subject: &Subject,
        old: Option<&Row>,
        standing: &Standing,
    ) -> Result<(), Fault> {
        let (Subject::Lake(lake), Some(owned)) = (subject, &standing.owned) else {
            return Ok(());
        };
        let known = old.map(|old| old.owned.clone()).unwrap_or_default();
        let add: BTreeSet<String> = owned.difference(&known).cloned().collect();
        let drop: BTreeSet<String> = known.difference(owned).cloned().collect();
        if add.is_empty() && drop.is_empty() {
            return Ok(());
        }
        self.context.ledger.mark(*lake, &add, &drop).await
    }

    /// How a subject's row reads after the run.
    fn row_after(
        &self,
        subject: &Subject,
        old: Option<&Row>,
        standing: &Standing,
        found: Option<&(State, String)>,
        plan: &Plan,
    ) -> Row {
        let now = self.context.clock.now();
        let (state, reason) = match found {
            Some((state, reason)) => (*state, Some(reason.clone())),
            None => (standing.state, standing.reason.clone()),
        };
        let mut row = row_of(subject, old, standing, (state, reason), now);
        row.braked = self.is_braked() && plan.steps.iter().any(|s| s.subject() == *subject);
        let known = old.and_then(|old| old.pairing.as_ref());
        // A table that was made anew is told by this, until its partitions follow.
        let counted = match subject {
            Subject::Table(id) => self.partitions.get(id).copied(),
            Subject::Catalog | Subject::Lake(_) | Subject::Database(_) | Subject::Function(_) => {
                None
            }
        };
        row.partitions = counted.unwrap_or(row.partitions);
        row.place = self.place(subject).or(row.place);
        let pending = !self.outcome.vetoes.is_empty() || self.has_more(subject, counted);
        if let (Some(known), Some(pairing), true) = (known, &mut row.pairing, pending)
            && known.secondary_created == pairing.secondary_created
        {
            pairing.primary_created = known.primary_created;
        }
        let by = match found {
            None => Some(standing.by),
            Some(_) if self.trouble.contains_key(subject) => Some(Facet::Partitions),
            Some(_) => None,
        };
        self.keep_what_was_found(subject, old, by, &mut row);
        row.following(old)
    }

    /// Where a table's files are in the primary, if it was seen there.
    fn place(&self, subject: &Subject) -> Option<String> {
        let Subject::Table(id) = subject else {
            return None;
        };
        let seen = self.readings.primary.tables.get(id)?.present()?;
        let storage = seen.object.storage_descriptor.as_ref()?;
        storage.location.clone().filter(|place| !place.is_empty())
    }

    /// What a wider look found to be wrong, only such a look takes back.
    fn keep_what_was_found(
        &self,
        subject: &Subject,
        old: Option<&Row>,
        by: Option<Facet>,
        row: &mut Row,
    ) {
        let covered = self.covered(subject);
        let wider = old.filter(|old| old.state != State::Current && !old.by.is_subset(&covered));
        match wider {
            Some(old) if row.state == State::Current => {
                row.state = old.state;
                row.since = old.since;
                row.reason.clone_from(&old.reason);
                row.braked = old.braked;
                row.by.clone_from(&old.by);
            }
            Some(_) | None if row.state == State::Current => row.by.clear(),
            Some(_) | None => {
                row.by = match (self.is_unfinished(subject), by) {
                    (true, _) => [Facet::Definition, Facet::Partitions].into(),
                    (false, Some(by)) => [Facet::Definition, by].into(),
                    (false, None) => covered,
                };
                row.by.extend(wider.iter().flat_map(|old| &old.by));
                let failed = self.outcome.failed.iter();
                if failed
                    .into_iter()
                    .any(|(step, _)| step.subject() == *subject && values_of(step).is_some())
                {
                    row.by.insert(Facet::Partitions);
                }
            }
        }
    }

    /// What has to wait without being in the way of the rest, and what time ran out for.
    fn wait_for_what_is_left(&mut self, plan: &Plan) {
        let mut scope = Scope::default();
        let mut why = None;
        for (step, fault) in &self.aside {
            let mut look = Look::at(facets_after(step));
            look.facets.insert(Facet::Definition);
            look.values.extend(values_of(step).map(<[String]>::to_vec));
            scope.look(step.subject(), look);
            why = Some(fault.to_string());
        }
        for id in std::mem::take(&mut self.readings.timed_out) {
            let subject = Subject::Table(id);
            let asked = self.asked.looks.get(&subject);
            let look = Look {
                partition_deletion_named: asked.is_some_and(|look| look.partition_deletion_named),
                ..Look::at(&[Facet::Definition, Facet::Partitions])
            };
            // It is handed on, so it is not what nobody could read.
            self.outcome
                .findings
                .retain(|finding| finding.subject != subject);
            self.outcome.out_of_time = true;
            why = Some("time ran out before its partitions were listed".to_owned());
            scope.look(subject, look);
        }
        for subject in &plan.waits {
            let reason = plan.standings.get(subject).and_then(|s| s.reason.clone());
            let asked = self.asked.looks.get(subject).cloned();
            scope.look(
                subject.clone(),
                asked.unwrap_or_else(|| whole_look(subject)),
            );
            why = reason.or(why);
        }
        let Some(why) = why else {
            return;
        };
        match &mut self.outcome.waiting {
            Some((known, _)) => known.absorb(scope),
            none @ None => *none = Some((scope, why)),
        }
    }

    /// The facets of a subject that were looked at. What was asked for by its values
    /// alone is not all of the partitions.
    fn covered(&self, subject: &Subject) -> BTreeSet<Facet> {
        let all = WHOLE_TABLE.into_iter().chain(WHOLE_DATABASE);
        let home = subject.database().cloned().map(Subject::Database);
        let whole = |home: &Subject| {
            let look = self.asked.looks.get(home);
            look.is_some_and(|look| look.facets.contains(&Facet::Contents))
        };
        if self.asked.looks.contains_key(&Subject::Catalog) || home.is_some_and(|h| whole(&h)) {
            return all.collect();
        }
        let look = self.asked.looks.get(subject);
        let mut facets = look.map(|look| look.facets.clone()).unwrap_or_default();
        if matches!(subject, Subject::Lake(_)) {
            // What is no object has no definition to be looked at.
            facets.insert(Facet::Definition);
        }
        facets
    }

    /// Whether nothing but the rest of its partitions is in the way.
    fn is_unfinished(&self, subject: &Subject) -> bool {
        let waits = self.outcome.waiting.as_ref();
        let out_of_time = self.outcome.out_of_time
            && waits.is_some_and(|(scope, _)| scope.looks.contains_key(subject));
        let later = self.readings.later.keys();
        out_of_time || later.cloned().map(Subject::Table).any(|id| id == *subject)
    }

    /// Whether partitions of a table are still to be looked at.
    fn has_more(&self, subject: &Subject, counted: Option<usize>) -> bool {
        let Subject::Table(id) = subject else {
            return counted.is_none();
        };
        let table = self.readings.primary.tables.get(id);
        let table = table.and_then(Observation::present);
        let keyed = table.is_some_and(|seen| !seen.object.partition_keys.is_empty());
        self.readings.later.contains_key(id) || (keyed && counted.is_none())
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
        for (step, fault) in &self.aside {
            reasons.insert(step.subject(), (State::Behind, fault.to_string()));
        }
        for (step, fault) in &self.outcome.failed {
            reasons.insert(step.subject(), (State::Blocked, fault.to_string()));
        }
        reasons
    }
}

fn whole_look(subject: &Subject) -> Look {
    match subject {
        Subject::Table(_) => Look::at(&WHOLE_TABLE),
        Subject::Database(_) => Look::at(&WHOLE_DATABASE),
        Subject::Lake(lake) => Look::at(lake.facets()),
        Subject::Catalog | Subject::Function(_) => Look::at(&[Facet::Definition]),
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
        by: old.map(|old| old.by.clone()).unwrap_or_default(),
        place: old.and_then(|old| old.place.clone()),
        past: Vec::new(),
        table_default: standing
            .table_default
            .clone()
            .or_else(|| old.and_then(|old| old.table_default.clone())),
        partitions: old.map_or(0, |old| old.partitions),
        owned: old.map(|old| old.owned.clone()).unwrap_or_default(),
    }
}
