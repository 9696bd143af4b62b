//! A read-only plan for any scope.

use super::unreplicated_inventory::{read_inventories, report_unreplicated};
use super::{databases_in_scope, prefetch};
use crate::observe::Prefetched;
use crate::ports::Environment;
use crate::reconcile::{Context, ReconcileOutcome};
use futures_util::future::join;
use twinlake_core::snapshot::Observation;
use twinlake_core::{CallError, Scope, Subject};

/// Expands the whole-catalog scope to one read request for each database. Returns any other scope
/// unchanged.
///
/// # Errors
/// A listing of databases failed, or the ledger is out of reach.
pub async fn expand<E: Environment>(
    context: &Context<'_, E>,
    scope: &Scope,
) -> Result<Scope, CallError> {
    if !scope.read_requests.contains_key(&Subject::Catalog) {
        return Ok(scope.clone());
    }
    let databases = Prefetched::databases(context.primary, context.standby).await;
    for observation in [&databases.0, &databases.1] {
        if let Observation::Unknown(error) = observation {
            return Err(error.clone());
        }
    }
    let prefetched = Prefetched {
        databases: Some(databases),
        ..Prefetched::default()
    };
    let mut expanded = Scope::default();
    let names = databases_in_scope(
        context,
        scope,
        &prefetched,
        &mut ReconcileOutcome::default(),
    )
    .await?;
    expanded.merge(Scope::lake_formation());
    for name in names {
        expanded.merge(Scope::database(name));
    }
    Ok(expanded)
}

/// Reads both Regions once, for a scope of any size, and returns the plan and its audit result.
/// Writes nothing.
///
/// # Errors
/// A listing of databases failed, or the ledger is out of reach.
pub async fn preview<E: Environment>(
    context: &Context<'_, E>,
    scope: &Scope,
) -> Result<(twinlake_core::Plan, Vec<twinlake_core::Rejection>), CallError> {
    let expanded = expand(context, scope).await?;
    let is_whole_catalog = scope.read_requests.contains_key(&Subject::Catalog);
    let (prefetched, inventories) = match is_whole_catalog {
        true => join(prefetch(context, true), read_inventories(context, true)).await,
        false => (Prefetched::default(), None),
    };
    let (mut plan, rejections) = crate::reconcile::preview(context, &expanded, &prefetched).await?;
    let mut outcome = ReconcileOutcome::default();
    report_unreplicated(context, inventories, &prefetched, &mut outcome);
    plan.findings.extend(outcome.findings);
    Ok((plan, rejections))
}
