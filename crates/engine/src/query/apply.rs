//! Applies an approved plan.

use super::QueryToolsContext;
use super::external_schemas::WarehouseRegion;
use super::ledger::QueryLedger;
use crate::ports::{Clock, DocumentStore, WriteQueryRegion};
use std::collections::BTreeSet;
use twinlake_core::query::{ApprovedQueryPlan, ObjectKey, QueryKind, QueryObject, QueryStep};
use twinlake_core::{CallError, CallErrorKind, Timestamp};

/// What became of the steps.
#[derive(Debug, Default)]
pub(super) struct ApplyResults {
    pub(super) applied: Vec<QueryStep>,
    pub(super) failed: Vec<(QueryStep, CallError)>,
    /// Time ran out before the last step.
    pub(super) is_cut_short: bool,
}

/// Applies the steps in order. What belongs into a workgroup that could not be created is left out, and a
/// workgroup of which a member could not be deleted stays; so does what could not be put to sleep, or not be narrowed:
/// nobody gets anything by it. All are planned again.
pub(super) async fn apply<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    ledger: &mut QueryLedger<'_, L>,
    approved: &ApprovedQueryPlan,
) -> Result<ApplyResults, CallError>
where
    S: WriteQueryRegion,
    L: DocumentStore,
    C: Clock,
{
    let mut results = ApplyResults::default();
    let mut blocked: BTreeSet<ObjectKey> = BTreeSet::new();
    for step in approved.steps() {
        if context
            .stop_at
            .is_some_and(|stop| context.clock.now() >= stop)
        {
            results.is_cut_short = true;
            break;
        }
        let key = step.primary();
        let parent = key.parent_key();
        let is_blocked = match step {
            QueryStep::Create { .. } => parent
                .as_ref()
                .is_some_and(|parent| blocked.contains(parent)),
            QueryStep::Update { .. } | QueryStep::Delete { .. } | QueryStep::SetTags { .. } => {
                blocked.contains(key)
            }
            QueryStep::Narrow { .. } | QueryStep::Sleep { .. } => false,
        };
        if is_blocked {
            continue;
        }
        match send(context, ledger, step).await? {
            Ok(()) => results.applied.push(step.clone()),
            Err(error) => {
                match step {
                    QueryStep::Create { .. }
                    | QueryStep::Narrow { .. }
                    | QueryStep::Sleep { .. } => blocked.insert(key.clone()),
                    QueryStep::Delete { current, .. } => {
                        // A workflow stays as long as a trigger of it does.
                        let workflow = current.text("WorkflowName");
                        let workflow =
                            workflow.map(|name| ObjectKey::new(QueryKind::Workflow, name));
                        let holder = parent.or(workflow);
                        holder.is_some_and(|holder| blocked.insert(holder))
                    }
                    QueryStep::Update { .. } | QueryStep::SetTags { .. } => false,
                };
                results.failed.push((step.clone(), error));
            }
        }
    }
    Ok(results)
}

/// Sends one step. What a service gave an id is recorded before the next step.
async fn send<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    ledger: &mut QueryLedger<'_, L>,
    step: &QueryStep,
) -> Result<Result<(), CallError>, CallError>
where
    S: WriteQueryRegion,
    L: DocumentStore,
    C: Clock,
{
    let standby = context.standby;
    let site = (context.policy.1, context.epoch.standby());
    let warehouse = WarehouseRegion::of(standby, site, step.primary());
    let result = match step {
        QueryStep::Create { primary, object } => match warehouse {
            Some(warehouse) => {
                return create_schema(context, ledger, (&warehouse, primary, object)).await;
            }
            None => {
                // Only a repetition within this run has the token. A later run finds what was made by its content,
                // and with a token of old it might get the id of a query that was deleted since.
                let site = context.epoch.standby();
                let token =
                    twinlake_core::catalog::digest(&(primary, site, object.digest(), context.run));
                match standby.create(&object.as_created(), &token).await {
                    Ok(created) => {
                        let time = creation_time(standby, &created).await;
                        ledger
                            .record_created(context, primary, (object, &created, time))
                            .await?;
                        disable(standby, object).await
                    }
                    Err(error) => Err(error),
                }
            }
        },
        QueryStep::Narrow {
            current, object, ..
        }
        | QueryStep::Update {
            current, object, ..
        } => match warehouse {
            Some(warehouse) => warehouse.update((current, object), context.run).await,
            None => standby.update(current, object).await,
        },
        QueryStep::SetTags {
            standby: key,
            set,
            remove,
            ..
        } => standby.change_tags(key, set, remove).await,
        QueryStep::Sleep { standby: key, .. } => standby.sleep(key).await,
        QueryStep::Delete { primary, current } => {
            match delete(standby, (warehouse, context.run), current).await {
                Ok(()) => {
                    let run = (context.run, context.clock.now());
                    ledger.forget(primary, run).await?;
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
    };
    Ok(result)
}

/// Creates an external schema, records that it is Twinlake's, and gives it its owner and grants.
async fn create_schema<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    ledger: &mut QueryLedger<'_, L>,
    (warehouse, primary, object): (&WarehouseRegion<'_, S>, &ObjectKey, &QueryObject),
) -> Result<Result<(), CallError>, CallError>
where
    S: WriteQueryRegion,
    L: DocumentStore,
    C: Clock,
{
    let created = match warehouse.create(object, context.run).await {
        Ok(created) => created,
        Err(error) => return Ok(Err(error)),
    };
    ledger
        .record_created(context, primary, (object, &created.key, created.created))
        .await?;
    Ok(warehouse.update((&created, object), context.run).await)
}

/// When an object that was just created says that it was; `None` for kinds that do not say, or if it could not be read.
async fn creation_time<S: WriteQueryRegion>(standby: &S, key: &ObjectKey) -> Option<Timestamp> {
    match key.kind {
        QueryKind::WorkGroup
        | QueryKind::Crawler
        | QueryKind::Classifier
        | QueryKind::SecurityConfiguration
        | QueryKind::Connection
        | QueryKind::Job
        | QueryKind::Workflow => standby.read(key).await.ok()?.created,
        QueryKind::DataCatalog
        | QueryKind::NamedQuery
        | QueryKind::PreparedStatement
        | QueryKind::Trigger
        | QueryKind::ExternalSchema => None,
    }
}

/// Deletes an object that is still the one that was read when the deletion was planned.
async fn delete<S: WriteQueryRegion>(
    standby: &S,
    (warehouse, run): (Option<WarehouseRegion<'_, S>>, u64),
    current: &QueryObject,
) -> Result<(), CallError> {
    if let Some(warehouse) = warehouse {
        return warehouse.delete(current, run).await;
    }
    let key = &current.key;
    match standby.read(key).await {
        Ok(found) if !found.is_still(current) => Err(CallError::new(
            CallErrorKind::Contended,
            "Delete",
            standby.region(),
            format!("somebody has changed or replaced the {key} since it was read"),
        )),
        Ok(_) => standby.delete(key).await,
        Err(error) if error.kind == CallErrorKind::NotFound => standby.delete(key).await,
        Err(error) => Err(error),
    }
}

/// Disables a workgroup that was just created and should be disabled. If that fails, it is deleted again:
/// nobody has used it yet, and an enabled one would allow more than the primary's.
async fn disable<S: WriteQueryRegion>(standby: &S, object: &QueryObject) -> Result<(), CallError> {
    if !object.is_disabled_workgroup() {
        return Ok(());
    }
    let Err(error) = standby.update(&object.as_created(), object).await else {
        return Ok(());
    };
    match standby.delete(&object.key).await {
        Ok(()) => Err(error),
        Err(second) => Err(CallError {
            message: format!(
                "{}; so the workgroup is ENABLED in the standby and not in the primary, and deleting it \
                 failed, too: {second}",
                error.message
            ),
            ..error
        }),
    }
}
