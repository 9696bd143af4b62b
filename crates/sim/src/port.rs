//! The simulator behind the engine's ports.

mod grants;
mod lake;
mod parts;
mod write;

use crate::api::Caller;
use crate::error::ApiError;
use crate::glue::{DATABASE_PAGE, FUNCTION_PAGE, TABLE_PAGE};
use crate::lake::entry_json;
use crate::state::{Spelling, World};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use twinlake_core::catalog::{OptIn, Seen, SeenPart};
use twinlake_core::grant::{Entry, EntryResource, TagExpression, TagTarget};
use twinlake_core::reading::{Settings, Tagged};
use twinlake_core::{
    Database, Facet, Fault, Function, FunctionId, Name, Partition, Subject, Table, TableId,
    Timestamp,
};
use twinlake_engine::ports::{EntryResults, GrantFilter, SEGMENTS, Survey};
use twinlake_engine::{Clock, ReadRegion};

/// A world that several callers share.
#[derive(Clone, Debug)]
pub struct Sim(Arc<Mutex<World>>);

impl Sim {
    /// Shares a world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world, to look at and to change by hand.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Region as a principal sees it.
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
        self.world().now()
    }
}

/// One Region, called as one principal.
#[derive(Clone, Debug)]
pub struct SimRegion {
    sim: Sim,
    region: String,
    principal: String,
}

/// Runs a future to its end, or until its caller is killed.
///
/// The simulator's calls never wait, so a future that stays pending was killed.
pub fn run_until_killed<T>(sim: &Sim, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending if sim.world().is_killed() => return None,
            // A future of many calls yields now and then to be fair.
            Poll::Pending => {}
        }
    }
}

impl SimRegion {
    /// Makes a call in this Region.
    ///
    /// # Errors
    /// The service's answer, as a fault.
    pub async fn call(&self, name: &str, request: &Value) -> Result<Value, Fault> {
        self.at_call(name, |world| {
            world.call(&self.region, &self.principal, name, request)
        })
        .await
    }

    async fn at_call<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut World) -> Result<T, ApiError>,
    ) -> Result<T, Fault> {
        let result = {
            let mut world = self.sim.world();
            let at = world.calls.len();
            let kill = world.kill.filter(|kill| kill.at == at);
            if kill.is_some_and(|kill| !kill.after_effect) {
                world.killed = true;
            }
            if world.killed {
                None
            } else {
                let result = act(&mut world);
                world.killed = kill.is_some();
                (!world.killed).then_some(result)
            }
        };
        match result {
            Some(result) => result.map_err(|error| error.fault(name, &self.region)),
            None => std::future::pending().await,
        }
    }

    /// A listing, at the price of its pages.
    async fn pages<T>(
        &self,
        name: &str,
        size: usize,
        act: impl FnOnce(&World, Caller<'_>) -> Result<Vec<T>, ApiError>,
    ) -> Result<Vec<T>, Fault> {
        self.at_call(name, |world| {
            let caller = Caller {
                region: &self.region,
                principal: &self.principal,
            };
            let lost = world.strike(caller, name)?;
            let all = act(world, caller)?;
            for _ in 1..all.len().div_ceil(size) {
                world.strike(caller, name)?;
            }
            lost.map_or(Ok(all), Err)
        })
        .await
    }

    async fn one<T>(
        &self,
        name: &str,
        act: impl FnOnce(&World, Caller<'_>) -> Result<T, ApiError>,
    ) -> Result<T, Fault> {
        self.one_mut(name, |world, caller| act(world, caller)).await
    }

    /// A read that moves the world on.
    async fn one_mut<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut World, Caller<'_>) -> Result<T, ApiError>,
    ) -> Result<T, Fault> {
        self.at_call(name, |world| {
            let caller = Caller {
                region: &self.region,
                principal: &self.principal,
            };
            let lost = world.strike(caller, name)?;
            let seen = act(world, caller)?;
            lost.map_or(Ok(seen), Err)
        })
        .await
    }

    async fn write(&self, name: &str, request: Value) -> Result<(), Fault> {
        self.call(name, &request).await.map(drop)
    }

    /// The outcome of each entry of a batch of partitions.
    async fn partition_batch(
        &self,
        name: &str,
        request: Value,
        values: Vec<&[String]>,
    ) -> Result<EntryResults, Fault> {
        let answer = self.call(name, &request).await?;
        let errors = answer.get("Errors").and_then(Value::as_array);
        let errors: &[Value] = errors.map(Vec::as_slice).unwrap_or_default();
        let of = |values: &[String]| {
            let wanted = json!(values);
            let failed = errors.iter().find(|error| {
                let named = error.get("PartitionValues");
                named.or_else(|| error.get("PartitionValueList")) == Some(&wanted)
            });
            match failed {
                Some(error) => Err(self.entry_fault(name, error.get("ErrorDetail"))),
                None => Ok(()),
            }
        };
        Ok(values.into_iter().map(of).collect())
    }

    fn entry_fault(&self, call: &str, detail: Option<&Value>) -> Fault {
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
            ApiError::concurrent(""),
            ApiError::invalid(""),
        ];
        let exact = known
            .iter()
            .find(|k| k.code == code && k.message == message);
        let like = exact.or_else(|| known.iter().rev().find(|k| k.code == code));
        let ordered = self.sim.world().ordered_kind(&code, &message);
        let kind = ordered
            .or(like.map(|known| known.kind))
            .unwrap_or(twinlake_core::FaultKind::Invalid);
        ApiError::new(kind, &code, message).fault(call, &self.region)
    }

    async fn permission_batch(
        &self,
        name: &str,
        entries: &[&Entry],
    ) -> Result<EntryResults, Fault> {
        let sent: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| {
                let mut json = entry_json(entry, Spelling::default());
                if let Some(object) = json.as_object_mut() {
                    object.insert("Id".to_owned(), at.to_string().into());
                }
                json
            })
            .collect();
        let answer = self.call(name, &json!({ "Entries": sent })).await?;
        let failures = answer.get("Failures").and_then(Value::as_array);
        let failures: &[Value] = failures.map(Vec::as_slice).unwrap_or_default();
        let of = |at: usize| {
            let id = Value::from(at.to_string());
            let failed = failures
                .iter()
                .find(|failure| failure.get("RequestEntry").and_then(|e| e.get("Id")) == Some(&id));
            match failed {
                Some(failure) => Err(self.entry_fault(name, failure.get("Error"))),
                None => Ok(()),
            }
        };
        Ok((0..entries.len()).map(of).collect())
    }
}

impl ReadRegion for SimRegion {
    fn region(&self) -> &str {
        &self.region
    }

    async fn database(&self, name: &Name) -> Result<Seen<Database>, Fault> {
        self.one("GetDatabase", |world, caller| {
            world.get_database(caller, name)
        })
        .await
    }

    async fn databases(&self) -> Result<Vec<Seen<Database>>, Fault> {
        self.pages("GetDatabases", DATABASE_PAGE, World::get_databases)
            .await
    }

    async fn table(&self, id: &TableId) -> Result<Seen<Table>, Fault> {
        self.one("GetTable", |world, caller| world.get_table(caller, id))
            .await
    }

    async fn tables(&self, database: &Name) -> Result<Vec<Seen<Table>>, Fault> {
        self.pages("GetTables", TABLE_PAGE, |world, caller| {
            world.get_tables(caller, database)
        })
        .await
    }

    async fn partitions(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), Fault> {
        self.one("GetPartitions", |world, caller| {
            world.partition_page(caller, id, segment.map(|n| (n, SEGMENTS)), token.as_deref())
        })
        .await
    }

    async fn partitions_named(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<Vec<Partition>, Fault> {
        self.one("BatchGetPartition", |world, caller| {
            world.partitions_by_values(caller, id, values)
        })
        .await
    }

    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Seen<Function>)>, Fault> {
        self.pages("GetUserDefinedFunctions", FUNCTION_PAGE, |world, caller| {
            world.get_functions(caller, database)
        })
        .await
    }

    async fn function(&self, id: &FunctionId) -> Result<Seen<Function>, Fault> {
        self.one("GetUserDefinedFunction", |world, caller| {
            world.get_function(caller, id)
        })
        .await
    }

    async fn parts(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<SeenPart>, Fault> {
        self.list_parts(subject, facet, columns).await
    }

    async fn grants_on(&self, filter: &GrantFilter) -> Result<Vec<Entry>, Fault> {
        let resource = match filter {
            GrantFilter::Database(name) => EntryResource::Database(name.clone()),
            GrantFilter::AllTables(name) => EntryResource::TableWildcard(name.clone()),
            GrantFilter::Table(id) => EntryResource::Table(id.clone()),
            GrantFilter::Type(kind) => return self.grants_of_type(*kind).await,
        };
        self.grants(Some(resource)).await
    }

    async fn all_grants(&self) -> Result<Vec<Entry>, Fault> {
        self.grants(None).await
    }

    async fn settings(&self) -> Result<Settings, Fault> {
        let answer = self.call("GetDataLakeSettings", &json!({})).await?;
        Ok(Settings::of(lake::settings(answer.get("DataLakeSettings"))))
    }

    async fn opt_ins(&self) -> Result<Vec<OptIn>, Fault> {
        self.list_opt_ins().await
    }

    async fn search(
        &self,
        target: TagTarget,
        expression: &TagExpression,
    ) -> Result<Vec<Tagged>, Fault> {
        let call = match target {
            TagTarget::Database => "SearchDatabasesByLFTags",
            TagTarget::Table => "SearchTablesByLFTags",
        };
        self.pages(call, 100, |world, caller| {
            world.search_tags(caller, target, expression)
        })
        .await
    }

    async fn survey(&self) -> Survey {
        let world = self.sim.world();
        let mut survey = Survey::default();
        if let Ok(region) = world.region(&self.region) {
            survey
                .kinds
                .insert("connection".to_owned(), region.connections.len());
            survey.settings.clone_from(&region.catalog_settings);
        }
        survey.kinds.retain(|_, count| *count > 0);
        survey
    }

    async fn optimizers(&self, tables: &[TableId]) -> Result<usize, Fault> {
        self.one("BatchGetTableOptimizer", |world, caller| {
            let with = &world.region(caller.region)?.optimizers;
            Ok(tables.iter().filter(|id| with.contains(*id)).count())
        })
        .await
    }
}
