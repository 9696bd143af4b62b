//! A look at any scope that writes nothing.

use super::survey::note_survey;
use super::{databases, prefetch};
use crate::observe::Prefetched;
use crate::ports::{Clock, Ledger, ReadRegion};
use crate::reconcile::{Context, Outcome};
use twinlake_core::reading::Observation;
use twinlake_core::{Fault, Scope, Subject};

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
    expanded.absorb(Scope::lake());
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
