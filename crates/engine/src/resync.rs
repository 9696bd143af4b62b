//! The scheduled look at everything: what events missed, it mends.

mod preview;
mod size;
mod survey;

pub use preview::{expand, preview};

use crate::message::{Message, Part};
use crate::observe::{Prefetched, tally};
use crate::ports::{Clock, Ledger, Outbox, ReadRegion, WriteRegion};
use crate::reconcile::relist::listing_calls;
use crate::reconcile::{Context, Measure, NOTED, Outcome, Reconciled, reconcile};
use size::size_of;
use std::collections::BTreeSet;
use survey::{note_optimizers, note_survey};
use twinlake_core::floor;
use twinlake_core::ledger::{Rows, Run};
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::reading::Observation;
use twinlake_core::scope::{Look, WHOLE_DATABASE};
use twinlake_core::{Fault, Name, Scope, Subject, TableId, Timestamp};

/// How a resync, or a part of one, ended.
#[derive(Debug, Default)]
pub struct Report {
    /// What came of all its databases together.
    pub outcome: Outcome,
    /// Databases looked at.
    pub databases: usize,
    /// Set when the run is complete: everything not listed as behind, held or
    /// blocked equalled the primary as of then.
    pub verified_at: Option<Timestamp>,
    /// This was the first complete look, so that nothing it did is drift.
    pub first: bool,
    /// Databases and tables handed on to later messages.
    pub handed_on: usize,
    /// Calls to Glue and Lake Formation that it took.
    pub calls: u64,
    /// The fewest calls that a whole resync can take, where this ended one.
    pub floor: Option<usize>,
}

/// What a resync tells while it goes.
pub trait Progress {
    /// How many databases there are.
    fn total(&self, databases: usize);
    /// One of them is done.
    fn database(&self, name: &Name);
    /// A part of it was reconciled.
    fn reconciled(&self, _: &Reconciled) {}
}

impl Progress for () {
    fn total(&self, _: usize) {}
    fn database(&self, _: &Name) {}
}

/// Looks at every database, or at those that a part of a run names.
///
/// When [`Context::stop_at`] comes, the rest is handed on: what remains goes to the queue
/// as a part of the same run.
///
/// # Errors
/// The ledger or the queue is out of reach.
pub async fn resync<P, S, L, C, O>(
    context: &Context<'_, P, S, L, C>,
    part: Option<(&Part, &Scope)>,
    outbox: Option<&O>,
    progress: &impl Progress,
) -> Result<Report, Fault>
where
    P: ReadRegion,
    S: WriteRegion,
    L: Ledger,
    C: Clock,
    O: Outbox,
{
    let first = context.ledger.verified_at().await?.is_none();
    let calls = context.primary.calls();
    let (part, scope) = match part {
        Some((part, scope)) => (part.clone(), scope.clone()),
        None => (open_run(context).await?, Scope::catalog()),
    };
    let mut report = Report {
        first,
        ..Report::default()
    };
    let prefetched = prefetch(context).await;
    note_survey(context, &scope, &prefetched, &mut report.outcome).await;
    let mut names = databases(context, &scope, &prefetched, &mut report.outcome).await?;
    progress.total(names.len());
    let hand = Hand {
        context,
        outbox,
        part: &part,
        progress,
    };
    let late = || {
        context
            .stop_at
            .is_some_and(|stop_at| context.clock.now() >= stop_at)
    };
    let whole = scope.looks.contains_key(&Subject::Catalog);
    if whole {
        // What databases and tables name has to be there before them.
        hand.reconcile(&Scope::lake_items(), &prefetched, &mut report)
            .await?;
    }
    let lake = scope_of(&scope, |subject| matches!(subject, Subject::Lake(_)));
    if !lake.is_empty() {
        hand.reconcile(&lake, &prefetched, &mut report).await?;
    }
    let tables = scope_of(&scope, |subject| matches!(subject, Subject::Table(_)));
    if !tables.is_empty() {
        let by_name = Prefetched {
            tables_by_name: true,
            ..prefetched.clone()
        };
        hand.reconcile(&tables, &by_name, &mut report).await?;
    }
    while let Some(name) = names.pop_first() {
        if outbox.is_some() && late() {
            names.insert(name);
            hand.share_out(names, &mut report).await?;
            break;
        }
        let scope = Scope::database(name.clone());
        hand.reconcile(&scope, &prefetched, &mut report).await?;
        report.databases += 1;
        progress.database(&name);
    }
    if whole && outbox.is_some() && late() {
        hand.on(Scope::lake(), &mut report).await?;
    } else if whole {
        // Grants by LF-Tags come last: they open what was tagged on the way.
        let nothing = Prefetched::default();
        let fresh = match report.outcome.counts.total() {
            0 => &prefetched,
            _ => &nothing,
        };
        hand.reconcile(&Scope::lake(), fresh, &mut report).await?;
    }
    note_optimizers(context, &mut report.outcome).await;
    let listed = listing_calls(&prefetched).unwrap_or_default();
    close(context, &part, listed, &mut report).await?;
    report.calls = context.primary.calls().saturating_sub(calls);
    Ok(report)
}

async fn open_run<P, S, L: Ledger, C: Clock>(
    context: &Context<'_, P, S, L, C>,
) -> Result<Part, Fault> {
    let started = context.clock.now();
    let part = Part {
        run: format!("run-{}", started.0),
        name: "start".to_owned(),
    };
    let run = Run {
        id: part.run.clone(),
        started,
        outstanding: BTreeSet::from([part.name.clone()]),
        unread: false,
    };
    context.ledger.begin_run(&run).await?;
    Ok(part)
}

async fn prefetch<P: ReadRegion, S: ReadRegion, L, C>(
    context: &Context<'_, P, S, L, C>,
) -> Prefetched {
    let terms = crate::observe::terms(context.policy, context.epoch);
    let (primary, secondary) = (context.primary, context.secondary);
    Prefetched {
        databases: Some(Prefetched::databases(primary, secondary).await),
        grants: Some(Prefetched::grants(primary, secondary, &terms).await),
        lake: Some(Prefetched::lake(primary, secondary, &terms).await),
        opt_ins: Some(Prefetched::opt_ins(primary, secondary, &terms).await),
        functions: Some(Prefetched::functions(primary, secondary).await),
        settings: Some(Prefetched::settings(primary, secondary).await),
        tables_by_name: false,
    }
}

/// The databases of the scope: of both Regions and of the ledger, so that one that
/// is gone everywhere is forgotten too.
async fn databases<P, S, L: Ledger, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
    prefetched: &Prefetched,
    outcome: &mut Outcome,
) -> Result<BTreeSet<Name>, Fault> {
    let whole = |subject: &Subject| match subject {
        Subject::Database(name) => Some(name.clone()),
        Subject::Catalog | Subject::Lake(_) | Subject::Table(_) | Subject::Function(_) => None,
    };
    let mut names: BTreeSet<Name> = scope.looks.keys().filter_map(whole).collect();
    if scope.looks.contains_key(&Subject::Catalog) {
        let sides = prefetched.databases.iter();
        for side in sides.flat_map(|(here, there)| [here, there]) {
            match side {
                Observation::Present(all) => names.extend(all.keys().cloned()),
                Observation::Unknown(fault) => {
                    outcome.findings.insert(unreadable(fault));
                }
                Observation::Absent(_) => {}
            }
        }
        let rows = context.ledger.database_rows().await?;
        names.extend(rows.keys().filter_map(|row| row.database().cloned()));
    }
    names.retain(|name| context.policy.covers_database(name));
    Ok(names)
}

fn unreadable(fault: &Fault) -> Finding {
    let denied = fault.kind == twinlake_core::FaultKind::Denied;
    Finding {
        kind: if denied {
            FindingKind::Denied
        } else {
            FindingKind::Unreadable
        },
        subject: Subject::Catalog,
        detail: fault.to_string(),
    }
}

/// What a scope names of one kind.
fn scope_of(scope: &Scope, kind: fn(&Subject) -> bool) -> Scope {
    let mut some = Scope::default();
    for (subject, look) in scope.looks.iter().filter(|(subject, _)| kind(subject)) {
        some.look(subject.clone(), look.clone());
    }
    some
}

/// What is left of a run when time runs out is shared out among so many messages.
const SHARES: usize = 8;

/// Tables of a large database that one message asks for.
const TABLES_A_PART: usize = 500;

/// Hands on what a part of a run leaves to others.
struct Hand<'a, P, S, L, C, O, G> {
    context: &'a Context<'a, P, S, L, C>,
    outbox: Option<&'a O>,
    part: &'a Part,
    progress: &'a G,
}

impl<P, S, L, C, O, G> Hand<'_, P, S, L, C, O, G>
where
    P: ReadRegion,
    S: WriteRegion,
    L: Ledger,
    C: Clock,
    O: Outbox,
    G: Progress,
{
    /// Reconciles a scope, and takes what came of it in.
    async fn reconcile(
        &self,
        scope: &Scope,
        prefetched: &Prefetched,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let measure = Measure::begin(self.context);
        let outcome = reconcile(self.context, scope, prefetched).await?;
        let done = measure.end(self.context, scope, "resync", &outcome);
        self.progress.reconciled(&done);
        self.settle(outcome, report).await
    }

    /// Takes an outcome in. What waits in it, time having run out, becomes a part of
    /// the run of its own.
    async fn settle(&self, mut outcome: Outcome, report: &mut Report) -> Result<(), Fault> {
        let unfinished = outcome.out_of_time && self.outbox.is_some();
        if let (true, Some((scope, _))) = (unfinished, &outcome.waiting) {
            self.on(scope.clone(), report).await?;
            outcome.waiting = None;
        }
        let too_many: Vec<TableId> = std::mem::take(&mut outcome.too_many).into_iter().collect();
        for some in too_many.chunks(TABLES_A_PART) {
            let mut scope = Scope::default();
            for id in some {
                scope.absorb(Scope::table(id.clone()));
            }
            self.on(scope, report).await?;
        }
        merge(&mut report.outcome, outcome);
        Ok(())
    }

    /// Shares databases out, so that what one function cannot do several do.
    async fn share_out(&self, names: BTreeSet<Name>, report: &mut Report) -> Result<(), Fault> {
        let mut shares: Vec<Scope> = vec![Scope::default(); SHARES.min(names.len())];
        let count = shares.len().max(1);
        for (at, name) in names.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(at % count) {
                share.look(Subject::Database(name), Look::at(&WHOLE_DATABASE));
            }
        }
        for share in shares {
            self.on(share, report).await?;
        }
        Ok(())
    }

    /// Sends a scope as a part of the same run, which is not complete before it ends.
    async fn on(&self, scope: Scope, report: &mut Report) -> Result<(), Fault> {
        let Some(outbox) = self.outbox else {
            return Ok(());
        };
        // The same scope has the same name, however often it is handed on.
        let digest = twinlake_core::catalog::digest(&scope);
        let next = Part {
            run: self.part.run.clone(),
            name: digest.get(..16).unwrap_or(&digest).to_owned(),
        };
        if next.name == self.part.name {
            // It had all the time that there is.
            return Ok(());
        }
        let of_catalog = |subject: &&Subject| !matches!(subject, Subject::Lake(_));
        report.handed_on += scope.looks.keys().filter(of_catalog).count();
        let ledger = self.context.ledger;
        ledger.add_part(&next.run, &next.name).await?;
        let message = Message {
            scope,
            attempt: 0,
            deadline: self.context.clock.now().plus_secs(6 * 3600),
            part: Some(next),
        };
        outbox.send(&message, 0).await
    }
}

fn merge(all: &mut Outcome, one: Outcome) {
    all.rounds = all.rounds.max(one.rounds);
    all.counts.absorb(&one.counts);
    let room = NOTED.saturating_sub(all.applied.len());
    all.applied.extend(one.applied.into_iter().take(room));
    all.findings.extend(one.findings);
    all.vetoes.extend(one.vetoes);
    all.failed.extend(one.failed);
    all.unrevoked.extend(one.unrevoked);
    all.looked.extend(one.looked);
    all.whole.extend(one.whole);
    all.ill.extend(one.ill);
    all.reasons.extend(one.reasons);
    all.iceberg.extend(one.iceberg);
    all.vetoed = all.vetoed.take().or(one.vetoed);
    if let Some((scope, reason)) = one.waiting {
        match &mut all.waiting {
            Some((known, _)) => known.absorb(scope),
            none @ None => *none = Some((scope, reason)),
        }
    }
}

/// Ends the part; if it was the last, and nothing stayed unread, the run's start is
/// what the secondary is verified as of.
async fn close<P, S, L: Ledger, C: Clock>(
    context: &Context<'_, P, S, L, C>,
    part: &Part,
    listed: usize,
    report: &mut Report,
) -> Result<(), Fault> {
    let unread = !report.outcome.is_read();
    let run = context
        .ledger
        .end_part(&part.run, &part.name, unread)
        .await?;
    let Some(run) = run.filter(|run| run.outstanding.is_empty()) else {
        return Ok(());
    };
    let mut rows = Rows::new();
    for subject in context.ledger.database_rows().await?.keys() {
        if let Subject::Database(name) = subject {
            rows.extend(context.ledger.rows_in(name).await?);
        }
    }
    context.ledger.put_paired(&tally(&rows)).await?;
    let size = size_of(&rows, listed);
    report.floor = Some(floor::of_resync(&size, context.policy));
    if !run.unread {
        context.ledger.put_verified_at(run.started).await?;
        report.verified_at = Some(run.started);
    }
    Ok(())
}
