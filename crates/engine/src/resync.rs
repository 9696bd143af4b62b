//! The scheduled look at everything: what events missed, it mends.

use crate::message::{Message, Part};
use crate::observe::{Prefetched, tally};
use crate::ports::{Clock, Ledger, Outbox, ReadRegion, WriteRegion};
use crate::reconcile::{Context, Outcome, reconcile};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::ledger::Run;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::reading::Observation;
use twinlake_core::scope::{Look, WHOLE_DATABASE};
use twinlake_core::{Fault, Name, Scope, Subject, Timestamp};

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
    /// Databases handed on to a later message.
    pub handed_on: usize,
}

/// What a resync tells while it goes.
pub trait Progress {
    /// How many databases there are.
    fn total(&self, databases: usize);
    /// One of them is done.
    fn database(&self, name: &Name);
}

impl Progress for () {
    fn total(&self, _: usize) {}
    fn database(&self, _: &Name) {}
}

/// Looks at every database, or at those that a part of a run names.
///
/// `stop_at` is when to hand the rest on: the remaining databases go to the queue
/// as a part of the same run.
///
/// # Errors
/// The ledger or the queue is out of reach.
pub async fn resync<P, S, L, C, O>(
    context: &Context<'_, P, S, L, C>,
    part: Option<(&Part, &Scope)>,
    outbox: Option<&O>,
    stop_at: Option<Timestamp>,
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
    while let Some(name) = names.pop_first() {
        if let (Some(outbox), Some(stop_at)) = (outbox, stop_at)
            && context.clock.now() >= stop_at
        {
            names.insert(name);
            report.handed_on = names.len();
            hand_on(context, outbox, &part, names, report.databases).await?;
            break;
        }
        let scope = Scope::database(name.clone());
        let outcome = reconcile(context, &scope, &prefetched).await?;
        merge(&mut report.outcome, outcome);
        report.databases += 1;
        progress.database(&name);
    }
    note_optimizers(context, &mut report.outcome).await;
    close(context, &part, &mut report).await?;
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
    let account = &context.policy.secondary(context.epoch).account;
    let (primary, secondary) = (context.primary, context.secondary);
    Prefetched {
        databases: Some(Prefetched::databases(primary, secondary).await),
        grants: Some(Prefetched::grants(primary, secondary, account).await),
        functions: Some(Prefetched::functions(primary, secondary).await),
        settings: Some(Prefetched::settings(primary, secondary).await),
    }
}

/// Counts what is not replicated and compares what is not written, once a run.
async fn note_survey<P: ReadRegion, S: ReadRegion, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
    prefetched: &Prefetched,
    outcome: &mut Outcome,
) {
    if !scope.looks.contains_key(&Subject::Catalog) {
        return;
    }
    let (primary, secondary) =
        futures_util::future::join(context.primary.survey(), context.secondary.survey()).await;
    let mut counts = primary.kinds;
    let grants = prefetched.grants.as_ref().map(|(primary, _)| primary);
    if let Some(index) = grants.and_then(Observation::present) {
        counts.extend(index.unsupported.clone());
    }
    let mut find = |kind: FindingKind, detail: String| {
        outcome.findings.insert(Finding {
            kind,
            subject: Subject::Catalog,
            detail,
        });
    };
    for (kind, count) in counts {
        find(FindingKind::Unsupported, format!("{count} x {kind}"));
    }
    let (from, to) = (
        context.policy.primary(context.epoch),
        context.policy.secondary(context.epoch),
    );
    for (name, here) in primary.settings {
        let wanted = twinlake_core::arn::moved(&here, from, to);
        match secondary.settings.get(&name) {
            Some(there) if *there != wanted => {
                let values = match here.len().max(there.len()) {
                    0..=100 => format!(": {here} in the primary, {there} in the secondary"),
                    _ => String::new(),
                };
                let detail = format!(
                    "the {name} differs between the Regions, and is not replicated{values}"
                );
                find(FindingKind::Unsupported, detail);
            }
            Some(_) | None => {}
        }
    }
}

/// Counts the optimizers of the Iceberg tables that were seen.
async fn note_optimizers<P: ReadRegion, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    outcome: &mut Outcome,
) {
    let tables = std::mem::take(&mut outcome.iceberg);
    if tables.is_empty() {
        return;
    }
    if let Ok(count) = context.primary.optimizers(&tables).await
        && count > 0
    {
        outcome.findings.insert(Finding {
            kind: FindingKind::Unsupported,
            subject: Subject::Catalog,
            detail: format!("{count} x table optimizer"),
        });
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
    let mut names: BTreeSet<Name> = scope
        .looks
        .keys()
        .filter_map(|subject| subject.database().cloned())
        .collect();
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

async fn hand_on<P, S, L: Ledger, C: Clock>(
    context: &Context<'_, P, S, L, C>,
    outbox: &impl Outbox,
    part: &Part,
    names: BTreeSet<Name>,
    done: usize,
) -> Result<(), Fault> {
    let next = Part {
        run: part.run.clone(),
        name: format!("{}+{done}", part.name),
    };
    let mut scope = Scope::default();
    for name in names {
        scope.look(Subject::Database(name), Look::at(&WHOLE_DATABASE));
    }
    context.ledger.add_part(&next.run, &next.name).await?;
    let message = Message {
        scope,
        attempt: 0,
        deadline: context.clock.now().plus_secs(6 * 3600),
        part: Some(next),
    };
    outbox.send(&message, 0).await
}

fn merge(all: &mut Outcome, one: Outcome) {
    all.rounds = all.rounds.max(one.rounds);
    all.applied.extend(one.applied);
    all.findings.extend(one.findings);
    all.vetoes.extend(one.vetoes);
    all.failed.extend(one.failed);
    all.unrevoked.extend(one.unrevoked);
    all.iceberg.extend(one.iceberg);
    all.vetoed = all.vetoed.take().or(one.vetoed);
    all.standings.extend(one.standings);
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
    let mut rows = BTreeMap::new();
    for subject in context.ledger.database_rows().await?.keys() {
        if let Subject::Database(name) = subject {
            rows.extend(context.ledger.rows_in(name).await?);
        }
    }
    context.ledger.put_paired(&tally(&rows)).await?;
    if !run.unread {
        context.ledger.put_verified_at(run.started).await?;
        report.verified_at = Some(run.started);
    }
    Ok(())
}

/// The whole catalog as one look for each database; any other scope as it is.
///
/// # Errors
/// A listing of databases failed, or the ledger is out of reach.
pub async fn expand<P, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
) -> Result<Scope, Fault>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
{
    if !scope.looks.contains_key(&Subject::Catalog) {
        return Ok(scope.clone());
    }
    let listed = Prefetched::databases(context.primary, context.secondary).await;
    for side in [&listed.0, &listed.1] {
        if let Observation::Unknown(fault) = side {
            return Err(fault.clone());
        }
    }
    let prefetched = Prefetched {
        databases: Some(listed),
        ..Prefetched::default()
    };
    let mut expanded = Scope::default();
    let names = databases(context, scope, &prefetched, &mut Outcome::default()).await?;
    for name in names {
        expanded.absorb(Scope::database(name));
    }
    Ok(expanded)
}

/// Reads both Regions once, for a scope of any size, and plans; writes nothing.
///
/// # Errors
/// A listing of databases failed, or the ledger is out of reach.
pub async fn preview<P, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
) -> Result<(twinlake_core::Plan, Result<(), Vec<twinlake_core::Veto>>), Fault>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    let expanded = expand(context, scope).await?;
    let prefetched = match scope.looks.contains_key(&Subject::Catalog) {
        true => prefetch(context).await,
        false => Prefetched::default(),
    };
    let (mut plan, judged) = crate::reconcile::preview(context, &expanded, &prefetched).await?;
    let mut outcome = Outcome::default();
    note_survey(context, scope, &prefetched, &mut outcome).await;
    plan.findings.extend(outcome.findings);
    Ok((plan, judged))
}
