//! Implements the engine's ports over the simulator.

mod attachments;
mod grants;
mod lakeformation;
mod write;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::glue::{MAX_DATABASES_PER_PAGE, MAX_FUNCTIONS_PER_PAGE, MAX_TABLES_PER_PAGE};
use crate::lakeformation::entry_json;
use crate::state::{SimState, WildcardFormat};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use twinlake_core::catalog::{Observed, ObservedAttachment, OptIn};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission, ListedResource};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, CallErrorKind, Database, Facet, Function, FunctionId, Name, Partition, Subject,
    Table, TableId, Timestamp,
};
use twinlake_engine::ports::{
    EntryResults, GrantFilter, PARTITION_SEGMENTS, PartitionsByValues, UnreplicatedInventory,
};
use twinlake_engine::{Clock, Environment, InMemoryLedger, ReadRegion};

/// A handle to a simulator state that several callers share.
#[derive(Clone, Debug)]
pub struct Sim(Arc<Mutex<SimState>>);

impl Sim {
    /// Creates a shared handle.
    #[must_use]
    pub fn new(state: SimState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Locks the state, for direct inspection and changes.
    pub fn state(&self) -> MutexGuard<'_, SimState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a client of a Region that calls as a principal.
    #[must_use]
    pub fn region(&self, region: &str, principal: &str) -> SimRegion {
        SimRegion {
            sim: self.clone(),
            region: region.to_owned(),
            principal: principal.to_owned(),
        }
    }
}

impl Clock for Sim {
    fn now(&self) -> Timestamp {
        self.state().now()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.state().now().millis()).unwrap_or_default())
    }
}

/// A client of one Region that calls as one principal.
#[derive(Clone, Debug)]
pub struct SimRegion {
    sim: Sim,
    region: String,
    principal: String,
}

/// The simulator as the environment of a reconciliation, with a ledger in memory.
#[derive(Debug)]
pub struct SimEnvironment;

impl Environment for SimEnvironment {
    type Primary = SimRegion;
    type Standby = SimRegion;
    type Ledger = InMemoryLedger;
    type Clock = Sim;
}

/// Runs a future to its end and returns its value, or `None` if the kill switch stopped the caller.
///
/// # Panics
/// The future waits for something that never comes.
pub fn run_until_killed<T>(sim: &Sim, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut calls = sim.state().calls.len();
    let mut idle_polls = 0;
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending if sim.state().is_killed() => return None,
            // A future with many calls yields occasionally.
            Poll::Pending => {}
        }
        let calls_now = sim.state().calls.len();
        idle_polls = match std::mem::replace(&mut calls, calls_now) == calls_now {
            true => idle_polls + 1,
            false => 0,
        };
        assert!(idle_polls < MAX_IDLE_POLLS, "the caller is stuck");
    }
}

/// Runs a future to its end and returns its value. Before its call with this index, counted from
/// the next call, `meanwhile` runs; returns `None` in place of its value if there is no such call.
pub fn run_interrupted<T, U>(
    sim: &Sim,
    future: impl Future<Output = T>,
    call_index: usize,
    meanwhile: impl FnOnce() -> U,
) -> (T, Option<U>) {
    run_pausing(sim, future, call_index, meanwhile, None::<fn(&U)>)
}

/// Like [`run_interrupted`], and `watch` looks at what `meanwhile` returned before each later call.
pub fn run_watched<T, U>(
    sim: &Sim,
    future: impl Future<Output = T>,
    call_index: usize,
    meanwhile: impl FnOnce() -> U,
    watch: impl FnMut(&U),
) -> (T, Option<U>) {
    run_pausing(sim, future, call_index, meanwhile, Some(watch))
}

fn run_pausing<T, U>(
    sim: &Sim,
    future: impl Future<Output = T>,
    call_index: usize,
    meanwhile: impl FnOnce() -> U,
    mut watch: Option<impl FnMut(&U)>,
) -> (T, Option<U>) {
    sim.state().pause_before(call_index);
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut meanwhile = Some(meanwhile);
    let mut result = None;
    loop {
        let polled = future.as_mut().poll(&mut context);
        if sim.state().end_pause() {
            match (&result, &mut watch) {
                (Some(result), Some(watch)) => watch(result),
                (Some(_), None) => {}
                (None, _) => result = meanwhile.take().map(|meanwhile| meanwhile()),
            }
            if watch.is_some() {
                sim.state().pause_before(1);
            }
        }
        if let Poll::Ready(value) = polled {
            sim.state().pause_at = None;
            return (value, result);
        }
    }
}

/// Lets others run once.
pub async fn yield_once() {
    let mut is_resumed = false;
    poll_fn(|context| match std::mem::replace(&mut is_resumed, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// How often a future is polled without a call before it counts as stuck.
const MAX_IDLE_POLLS: usize = 100_000;

impl SimRegion {
    /// Makes an API call in this Region. `name` is the AWS operation name.
    ///
    /// # Errors
    /// The service's error response.
    pub async fn call(&self, name: &str, request: &Value) -> Result<Value, CallError> {
        self.run_call(name, |state| {
            state.call(&self.region, &self.principal, name, request)
        })
        .await
    }

    /// Runs a call, or never returns if the kill switch stops the caller at this call.
    async fn run_call<T>(
        &self,
        name: &str,
        operation: impl FnOnce(&mut SimState) -> Result<T, ApiError>,
    ) -> Result<T, CallError> {
        let waits = self.sim.state().yields_before_call();
        for _ in 0..waits {
            yield_once().await;
        }
        self.wait_for_calls(1).await;
        // All callers pause: a collection of futures goes on with the others.
        while self.sim.state().begin_pause_if_due() {
            yield_once().await;
        }
        let result = {
            let mut state = self.sim.state();
            let call_index = state.calls.len();
            let kill = state
                .kill_switch
                // The pages of one listing are recorded together, so the index may be passed.
                .filter(|kill| kill.call_index <= call_index);
            if kill.is_some_and(|kill| !kill.after_effect) {
                state.killed = true;
            }
            if state.killed {
                None
            } else {
                let result = operation(&mut state);
                state.killed = kill.is_some();
                (!state.killed).then_some(result)
            }
        };
        match result {
            Some(result) => result.map_err(|error| error.into_call_error(name, &self.region)),
            None => std::future::pending().await,
        }
    }

    /// Waits for as long as this number of calls takes, one after the other.
    async fn wait_for_calls(&self, calls: usize) {
        let latency = self.sim.state().latency(&self.region);
        if !latency.is_zero() {
            tokio::time::sleep(latency * u32::try_from(calls).unwrap_or(u32::MAX)).await;
        }
    }

    /// Returns all items of a listing, and records one call for each page of `page_size` items.
    async fn read_pages<T>(
        &self,
        name: &str,
        page_size: usize,
        operation: impl FnOnce(&SimState, Caller<'_>) -> Result<Vec<T>, ApiError>,
    ) -> Result<Vec<T>, CallError> {
        self.read_listing(name, page_size, |state, caller| {
            let all = operation(state, caller)?;
            let count = all.len();
            Ok((all, count))
        })
        .await
    }

    /// Returns a listing, and records one call for each page of `page_size` items. The operation also returns how
    /// many items there are.
    async fn read_listing<T>(
        &self,
        name: &str,
        page_size: usize,
        operation: impl FnOnce(&SimState, Caller<'_>) -> Result<(T, usize), ApiError>,
    ) -> Result<T, CallError> {
        let (all, count) = self
            .run_call(name, |state| {
                let caller = Caller {
                    region: &self.region,
                    principal: &self.principal,
                };
                let lost_response_error = state.begin_call(caller, name)?;
                let style = state.answer_style;
                let found = operation(state, caller).map_err(|error| style.error(error))?;
                for _ in 1..found.1.div_ceil(page_size) {
                    state.begin_call(caller, name)?;
                }
                lost_response_error.map_or(Ok(found), Err)
            })
            .await?;
        let later_pages = count.div_ceil(page_size).saturating_sub(1);
        self.wait_for_calls(later_pages).await;
        Ok(all)
    }

    async fn read_one<T>(
        &self,
        name: &str,
        operation: impl FnOnce(&SimState, Caller<'_>) -> Result<T, ApiError>,
    ) -> Result<T, CallError> {
        self.read_one_mut(name, |state, caller| operation(state, caller))
            .await
    }

    /// Makes a read that changes the state, for example the progress of an index creation.
    async fn read_one_mut<T>(
        &self,
        name: &str,
        operation: impl FnOnce(&mut SimState, Caller<'_>) -> Result<T, ApiError>,
    ) -> Result<T, CallError> {
        self.run_call(name, |state| {
            let caller = Caller {
                region: &self.region,
                principal: &self.principal,
            };
            let lost_response_error = state.begin_call(caller, name)?;
            let style = state.answer_style;
            let observed = operation(state, caller).map_err(|error| style.error(error))?;
            lost_response_error.map_or(Ok(observed), Err)
        })
        .await
    }

    async fn write(&self, name: &str, request: Value) -> Result<(), CallError> {
        self.call(name, &request).await.map(drop)
    }

    /// Makes a batch call on partitions and returns the result of each entry, in the order of
    /// `values`.
    async fn partition_batch(
        &self,
        name: &str,
        request: Value,
        values: Vec<&[String]>,
    ) -> Result<EntryResults, CallError> {
        let answer = self.call(name, &request).await?;
        let errors = answer.get("Errors").and_then(Value::as_array);
        let failures = errors.into_iter().flatten().map(|error| {
            let named = error.get("PartitionValues");
            let named = named.or_else(|| error.get("PartitionValueList"));
            let index = values
                .iter()
                .position(|values| named == Some(&json!(values)));
            (index, self.entry_error(name, error.get("ErrorDetail")))
        });
        entry_results(values.len(), failures)
    }

    /// Converts the error of a batch entry. Its class comes from the injected error or the known
    /// error with this code and message, else from a known error with this code.
    fn entry_error(&self, call: &str, detail: Option<&Value>) -> CallError {
        let text = |key: &str| {
            let value = detail.and_then(|detail| detail.get(key));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (code, message) = (text("ErrorCode"), text("ErrorMessage"));
        let known = [
            ApiError::not_found(),
            ApiError::already_exists(""),
            ApiError::nothing_to_revoke(),
            ApiError::no_such_column(),
            ApiError::denied(""),
            ApiError::concurrent_modification(""),
            ApiError::invalid(""),
        ];
        let exact = known
            .iter()
            .find(|k| k.code == code && k.message == message);
        let by_code = exact.or_else(|| known.iter().rev().find(|k| k.code == code));
        let injected = self.sim.state().injected_error_kind(&code, &message);
        let kind = injected
            .or(by_code.map(|known| known.kind))
            .unwrap_or(twinlake_core::CallErrorKind::Invalid);
        ApiError::new(kind, &code, message).into_call_error(call, &self.region)
    }

    /// Makes a batch call on permissions and returns the result of each entry.
    async fn permission_batch(
        &self,
        name: &str,
        entries: &[&ListedPermission],
    ) -> Result<EntryResults, CallError> {
        let sent: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let mut json = entry_json(entry, WildcardFormat::default());
                if let Some(object) = json.as_object_mut() {
                    object.insert("Id".to_owned(), index.to_string().into());
                }
                json
            })
            .collect();
        let answer = self.call(name, &json!({ "Entries": sent })).await?;
        let failures = answer.get("Failures").and_then(Value::as_array);
        let failures = failures.into_iter().flatten().map(|failure| {
            let id = failure
                .get("RequestEntry")
                .and_then(|entry| entry.get("Id"));
            let index = id.and_then(Value::as_str).and_then(|id| id.parse().ok());
            (index, self.entry_error(name, failure.get("Error")))
        });
        entry_results(entries.len(), failures)
    }
}

/// Returns the result of each of `count` entries of a batch call from its failures, which have the
/// index of an entry.
///
/// # Errors
/// A failure names none of several entries: the result of each of them is unknown.
fn entry_results(
    count: usize,
    failures: impl Iterator<Item = (Option<usize>, CallError)>,
) -> Result<EntryResults, CallError> {
    let mut results: EntryResults = vec![Ok(()); count];
    for (index, error) in failures {
        let index = match (index, count) {
            (None, 1) => Some(0),
            (index, _) => index,
        };
        match index.and_then(|index| results.get_mut(index)) {
            Some(result) => *result = Err(error),
            None => return Err(error),
        }
    }
    Ok(results)
}

impl ReadRegion for SimRegion {
    fn region(&self) -> &str {
        &self.region
    }

    async fn database(&self, name: &Name) -> Result<Observed<Database>, CallError> {
        self.read_one("GetDatabase", |state, caller| {
            state.get_database(caller, name)
        })
        .await
    }

    async fn databases(&self) -> Result<Vec<Observed<Database>>, CallError> {
        self.read_pages(
            "GetDatabases",
            MAX_DATABASES_PER_PAGE,
            SimState::get_databases,
        )
        .await
    }

    async fn table(&self, id: &TableId) -> Result<Observed<Table>, CallError> {
        self.read_one("GetTable", |state, caller| state.get_table(caller, id))
            .await
    }

    async fn tables(&self, database: &Name) -> Result<Vec<Observed<Table>>, CallError> {
        self.read_pages("GetTables", MAX_TABLES_PER_PAGE, |state, caller| {
            state.get_tables(caller, database)
        })
        .await
    }

    async fn partitions_page(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), CallError> {
        self.read_one("GetPartitions", |state, caller| {
            state.partition_page(
                caller,
                id,
                segment.map(|n| (n, PARTITION_SEGMENTS)),
                token.as_deref(),
            )
        })
        .await
    }

    async fn partitions_by_values(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<PartitionsByValues, CallError> {
        let (found, unprocessed) = self
            .read_one("BatchGetPartition", |state, caller| {
                state.partitions_by_values(caller, id, values)
            })
            .await?;
        let mut named = PartitionsByValues {
            found,
            unread: BTreeMap::new(),
        };
        for values in unprocessed {
            let read = self.read_one("GetPartition", |state, caller| {
                state.partition_by_values(caller, id, &values)
            });
            match read.await {
                Ok(partition) => named.found.push(partition),
                Err(error) if error.kind == CallErrorKind::NotFound => {}
                Err(error) => {
                    named.unread.insert(values, error);
                }
            }
        }
        Ok(named)
    }

    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError> {
        self.read_pages(
            "GetUserDefinedFunctions",
            MAX_FUNCTIONS_PER_PAGE,
            |state, caller| state.get_functions(caller, database),
        )
        .await
    }

    async fn function(&self, id: &FunctionId) -> Result<Observed<Function>, CallError> {
        self.read_one("GetUserDefinedFunction", |state, caller| {
            state.get_function(caller, id)
        })
        .await
    }

    async fn attachments(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        self.list_attachments(subject, facet, columns).await
    }

    async fn list_grants(
        &self,
        filter: Option<&GrantFilter>,
        receive: &mut dyn FnMut(Vec<ListedPermission>),
    ) -> Result<(), CallError> {
        let resource = match filter {
            None => None,
            Some(GrantFilter::Database(name)) => Some(ListedResource::Database(name.clone())),
            Some(GrantFilter::AllTables(name)) => Some(ListedResource::TableWildcard(name.clone())),
            Some(GrantFilter::Table(id)) => Some(ListedResource::Table(id.clone())),
            Some(GrantFilter::Type(kind)) => return self.grants_of_type(*kind, receive).await,
            Some(GrantFilter::TablesWithRelated) => return self.refuse_related(),
        };
        self.grants(resource, receive).await
    }

    async fn settings(&self) -> Result<ObservedSettings, CallError> {
        Ok(ObservedSettings::new(self.read_settings().await?))
    }

    async fn opt_ins(&self) -> Result<Vec<OptIn>, CallError> {
        self.list_opt_ins().await
    }

    async fn search_by_lf_tags(
        &self,
        target: LfTagPolicyTarget,
        expression: &LfTagExpression,
    ) -> Result<Vec<LfTaggedResource>, CallError> {
        let call = match target {
            LfTagPolicyTarget::Database => "SearchDatabasesByLFTags",
            LfTagPolicyTarget::Table => "SearchTablesByLFTags",
        };
        self.read_pages(call, 100, |state, caller| {
            state.search_tags(caller, target, expression)
        })
        .await
    }

    async fn unreplicated_inventory(&self) -> UnreplicatedInventory {
        let state = self.sim.state();
        let mut inventory = UnreplicatedInventory::default();
        if let Ok(region) = state.region(&self.region) {
            inventory
                .kinds
                .insert("connection".to_owned(), region.connections.len());
            inventory.settings.clone_from(&region.catalog_settings);
        }
        inventory.kinds.retain(|_, count| *count > 0);
        inventory
    }

    async fn optimizer_count(&self, tables: &[TableId]) -> Result<usize, CallError> {
        self.read_one("BatchGetTableOptimizer", |state, caller| {
            let with_optimizer = &state.region(caller.region)?.optimizers;
            Ok(tables
                .iter()
                .filter(|id| with_optimizer.contains(*id))
                .count())
        })
        .await
    }
}
