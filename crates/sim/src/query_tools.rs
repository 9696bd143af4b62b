//! The query tools of one Region in memory: Athena's workgroups, data catalogs, saved queries and prepared
//! statements, Glue's classifiers, security configurations, connections, jobs, workflows, crawlers and triggers, and Redshift's
//! warehouses.
//!
//! As the service: `primary` and `AwsDataCatalog` exist always, ids of saved queries are the service's, a
//! repeated creation with the same token makes nothing, and a workgroup that is not empty is not deleted
//! without the recursive option. A crawler is created with the schedule that the call gives, a trigger is activated
//! only by whoever starts it, and a crawler that runs is not updated.

mod faults;
mod waking;

use crate::redshift::SimRedshift;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use twinlake_core::policy::{WarehouseEndpoint, WarehouseLogin, WarehouseSite};
use twinlake_core::query::{
    ApprovedStatement, ObjectKey, QueryKind, QueryObject, WarehouseQuery, WarehouseRow,
};
use twinlake_core::{CallError, CallErrorKind, Timestamp};
use twinlake_engine::ports::{
    ReadQueryRegion, ReadWarehouses, StatementDescription, StatementStatus, WriteQueryRegion,
    WriteWarehouses, external_schema_call,
};

/// Athena of one Region.
#[derive(Debug)]
pub struct SimQueryTools {
    region: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectKey, QueryObject>,
    tokens: BTreeMap<String, ObjectKey>,
    next_id: u64,
    seconds: i64,
    reservations: usize,
    /// Triggers and crawlers that do not start although the call succeeds.
    stuck: BTreeSet<ObjectKey>,
    /// Crawlers that run at this moment.
    running: BTreeSet<ObjectKey>,
    /// Calls that fail, by their name, with the error and how often.
    failures: BTreeMap<String, (CallErrorKind, usize)>,
    /// Calls that fail once, by their name, with the error and how many succeed before.
    later_failures: BTreeMap<String, (CallErrorKind, usize)>,
    /// Calls that take effect although the answer is lost, by their name, and how often.
    lost_answers: BTreeMap<String, usize>,
    /// Kinds whose listings never end.
    hanging_listings: BTreeSet<QueryKind>,
    /// Objects that somebody makes, in place of those of the same key, when a call begins, by its name.
    replacements: BTreeMap<String, QueryObject>,
    /// Objects that listings leave out, and that reads by name deny.
    hidden: BTreeSet<ObjectKey>,
    reads: usize,
    writes: Vec<String>,
    redshift: SimRedshift,
}

impl SimQueryTools {
    /// Athena as AWS sets it up in a Region.
    #[must_use]
    pub fn new(region: &str) -> Self {
        let mut state = State::default();
        for (kind, id, fields) in [
            (
                QueryKind::WorkGroup,
                "primary",
                serde_json::json!({"State": "ENABLED"}),
            ),
            (
                QueryKind::DataCatalog,
                "AwsDataCatalog",
                serde_json::json!({"Type": "GLUE"}),
            ),
        ] {
            let key = ObjectKey::new(kind, id);
            let fields = serde_json::from_value(fields).unwrap_or_default();
            state
                .objects
                .insert(key.clone(), QueryObject::normalized(key, fields));
        }
        Self {
            region: region.to_owned(),
            state: Mutex::new(state),
        }
    }

    /// Puts an object, as its owner does. A new saved query gets an id unless its key has one. Returns the
    /// key.
    pub fn put(&self, mut object: QueryObject) -> ObjectKey {
        let mut state = self.lock();
        if object.key.id.is_empty() {
            state.next_id += 1;
            object.key.id = format!("{}-{}", self.region, state.next_id);
        }
        state.insert(object)
    }

    /// Removes an object, as its owner does; a workgroup with what is in it.
    pub fn remove(&self, key: &ObjectKey) {
        self.lock()
            .objects
            .retain(|other, _| other != key && other.parent_key().as_ref() != Some(key));
    }

    /// The objects, without what AWS sets up.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<ObjectKey, QueryObject> {
        self.lock().objects.clone()
    }

    /// Sets the number of capacity reservations.
    pub fn set_reservations(&self, count: usize) {
        self.lock().reservations = count;
    }

    /// Puts a job, with its option for bookmarks.
    pub fn put_job(&self, name: &str, bookmarks: Option<&str>) {
        let arguments = bookmarks.map(|option| json!({ QueryObject::BOOKMARK_ARGUMENT: option }));
        let fields = json!({"Role": "load", "Command": {"Name": "glueetl"},
            "DefaultArguments": arguments});
        let fields = serde_json::from_value(fields).unwrap_or_default();
        self.put(QueryObject::normalized(
            ObjectKey::new(QueryKind::Job, name),
            fields,
        ));
    }

    /// Lets the calls that wake an object succeed without effect.
    pub fn keep_asleep(&self, key: &ObjectKey) {
        self.lock().stuck.insert(key.clone());
    }

    /// Sets whether a crawler runs.
    pub fn set_running(&self, key: &ObjectKey, runs: bool) {
        let running = &mut self.lock().running;
        match runs {
            true => running.insert(key.clone()),
            false => running.remove(key),
        };
    }

    /// Changes or looks at the warehouses of Redshift.
    pub fn with_redshift<T>(&self, change: impl FnOnce(&mut SimRedshift) -> T) -> T {
        change(&mut self.lock().redshift)
    }

    /// The calls that wrote something, in order, since the last call of this function.
    #[must_use]
    pub fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().writes)
    }

    /// The number of calls that read something, since the last call of this function.
    #[must_use]
    pub fn take_reads(&self) -> usize {
        std::mem::take(&mut self.lock().reads)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: CallErrorKind, call: &str, message: &str) -> CallError {
        CallError::new(kind, call, &self.region, message)
    }

    /// Fails a call if a test wants it to.
    fn check(&self, state: &mut State, call: &str) -> Result<(), CallError> {
        if let Some((kind, successes)) = state.later_failures.get_mut(call) {
            match successes.checked_sub(1) {
                Some(left) => *successes = left,
                None => {
                    let kind = *kind;
                    state.later_failures.remove(call);
                    return Err(self.error(kind, call, "injected"));
                }
            }
        }
        let Some((kind, times)) = state.failures.get_mut(call).filter(|(_, times)| *times > 0)
        else {
            return Ok(());
        };
        *times -= 1;
        Err(self.error(*kind, call, "injected"))
    }

    fn begin_write(&self, call: &str, key: &ObjectKey) -> Result<MutexGuard<'_, State>, CallError> {
        let mut state = self.lock();
        self.check(&mut state, call)?;
        state.writes.push(format!("{call} {key}"));
        if let Some(object) = state.replacements.remove(call) {
            state.objects.remove(&object.key);
            state.insert(object);
        }
        Ok(state)
    }

    /// The answer of a write that took effect.
    fn answer<T>(
        &self,
        mut state: MutexGuard<'_, State>,
        call: &str,
        value: T,
    ) -> Result<T, CallError> {
        match state.lost_answers.get_mut(call).filter(|times| **times > 0) {
            Some(times) => {
                *times -= 1;
                Err(self.error(CallErrorKind::Unavailable, call, "the answer was lost"))
            }
            None => Ok(value),
        }
    }
}

impl State {
    fn insert(&mut self, mut object: QueryObject) -> ObjectKey {
        self.seconds += 1;
        let has_time = matches!(
            object.key.kind,
            QueryKind::WorkGroup
                | QueryKind::Classifier
                | QueryKind::SecurityConfiguration
                | QueryKind::Connection
                | QueryKind::Job
                | QueryKind::Workflow
                | QueryKind::Crawler
        );
        if has_time {
            let known = self
                .objects
                .get(&object.key)
                .and_then(|known| known.created);
            object.created = known.or(Some(Timestamp::from_secs(self.seconds)));
        }
        let key = object.key.clone();
        self.objects.insert(key.clone(), object);
        key
    }
}

/// The operation that an action stands for.
fn call_of(action: &str, kind: QueryKind) -> String {
    let noun = match kind {
        QueryKind::WorkGroup => "WorkGroup",
        QueryKind::DataCatalog => "DataCatalog",
        QueryKind::NamedQuery => "NamedQuery",
        QueryKind::PreparedStatement => "PreparedStatement",
        QueryKind::Classifier => "Classifier",
        QueryKind::SecurityConfiguration => "SecurityConfiguration",
        QueryKind::Connection => "Connection",
        QueryKind::Job => "Job",
        QueryKind::Workflow => "Workflow",
        QueryKind::Crawler => "Crawler",
        QueryKind::Trigger => "Trigger",
        QueryKind::ExternalSchema => "ExternalSchema",
    };
    format!("{action}{noun}")
}

impl ReadQueryRegion for SimQueryTools {
    fn region(&self) -> &str {
        &self.region
    }

    async fn list(
        &self,
        kind: QueryKind,
        parent: Option<&str>,
        tags: bool,
    ) -> Result<Vec<(ObjectKey, Result<QueryObject, CallError>)>, CallError> {
        if kind == QueryKind::ExternalSchema {
            return Err(external_schema_call(&self.region));
        }
        let hangs = self.lock().hanging_listings.contains(&kind);
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.lock();
        state.reads += 1;
        let call = call_of("List", kind);
        self.check(&mut state, &call)?;
        if let Some(parent) = parent
            && !state
                .objects
                .contains_key(&ObjectKey::new(QueryKind::WorkGroup, parent))
        {
            return Err(self.error(CallErrorKind::Invalid, &call, "WorkGroup is not found"));
        }
        let is_listed = |key: &&ObjectKey| key.kind == kind && key.parent.as_deref() == parent;
        let keys: Vec<ObjectKey> = state.objects.keys().filter(is_listed).cloned().collect();
        let mut listed = Vec::new();
        for key in keys {
            if state.hidden.contains(&key) {
                continue;
            }
            state.reads += 1;
            let object = match self.check(&mut state, &call_of("Get", kind)) {
                Ok(()) => state.objects.get(&key).cloned().map_or_else(
                    || Err(self.error(CallErrorKind::Invalid, &call, "not found")),
                    Ok,
                ),
                Err(error) => Err(error),
            };
            let has_tags = tags && kind.rules().has_tags;
            let object = object.map(|object| QueryObject {
                tags: has_tags.then(|| object.tags.unwrap_or_default()),
                ..object
            });
            listed.push((key, object));
        }
        Ok(listed)
    }

    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        if key.kind == QueryKind::ExternalSchema {
            return Err(external_schema_call(&self.region));
        }
        let mut state = self.lock();
        state.reads += 1;
        let call = call_of("Get", key.kind);
        self.check(&mut state, &call)?;
        if state.hidden.contains(key) {
            return Err(self.error(CallErrorKind::Denied, &call, "not authorized"));
        }
        let object = state.objects.get(key).cloned();
        object.ok_or_else(|| self.error(CallErrorKind::NotFound, &call, "not found"))
    }

    async fn unreplicated_counts(&self) -> Result<BTreeMap<String, usize>, CallError> {
        let mut state = self.lock();
        state.reads += 1;
        self.check(&mut state, "ListCapacityReservations")?;
        Ok(match state.reservations {
            0 => BTreeMap::new(),
            count => BTreeMap::from([("capacity reservation".to_owned(), count)]),
        })
    }
}

impl SimQueryTools {
    /// Runs an operation of the Redshift Data API.
    fn redshift(&self, operation: &str, request: &Value) -> Result<Value, CallError> {
        let mut state = self.lock();
        self.check(&mut state, operation)?;
        let answer = state.redshift.call(operation, request);
        let answer = answer.unwrap_or_else(|| Ok(json!({})));
        let answer = answer.map_err(|error| self.error(error.kind, operation, &error.message));
        let answer = answer?;
        self.answer(state, operation, answer)
    }

    fn submit(
        &self,
        warehouse: &WarehouseSite,
        sql: &str,
        more: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<String, CallError> {
        let mut request = json!({"Sql": sql, "Database": warehouse.database});
        let (endpoint, name) = match &warehouse.endpoint {
            WarehouseEndpoint::Cluster(name) => ("ClusterIdentifier", name),
            WarehouseEndpoint::Workgroup(name) => ("WorkgroupName", name),
        };
        let login = match &warehouse.login {
            WarehouseLogin::IamIdentity => None,
            WarehouseLogin::DbUser(user) => Some(("DbUser", user)),
            WarehouseLogin::Secret(arn) => Some(("SecretArn", arn)),
        };
        if let Some(fields) = request.as_object_mut() {
            fields.insert(endpoint.to_owned(), name.clone().into());
            fields.extend(login.map(|(key, value)| (key.to_owned(), value.clone().into())));
            fields.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        }
        let answer = self.redshift("ExecuteStatement", &request)?;
        Ok(text_of(&answer, "Id").unwrap_or_default())
    }
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

impl ReadWarehouses for SimQueryTools {
    async fn submit_query(
        &self,
        warehouse: &WarehouseSite,
        query: &WarehouseQuery,
    ) -> Result<String, CallError> {
        let parameters = query.parameters().into_iter();
        let parameters: Vec<Value> = parameters
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        self.submit(warehouse, query.sql(), [("Parameters", parameters.into())])
    }

    async fn describe_statement(&self, id: &str) -> Result<StatementDescription, CallError> {
        let answer = self.redshift("DescribeStatement", &json!({ "Id": id }))?;
        let status = match text_of(&answer, "Status").as_deref() {
            Some("PICKED") => StatementStatus::Picked,
            Some("STARTED") => StatementStatus::Started,
            Some("FINISHED") => StatementStatus::Finished,
            Some("FAILED") => StatementStatus::Failed,
            Some("ABORTED") => StatementStatus::Aborted,
            Some(_) | None => StatementStatus::Submitted,
        };
        Ok(StatementDescription {
            status,
            error: text_of(&answer, "Error"),
        })
    }

    async fn statement_rows(
        &self,
        id: &str,
        token: Option<String>,
    ) -> Result<(Vec<WarehouseRow>, Option<String>), CallError> {
        let request = json!({"Id": id, "NextToken": token});
        let answer = self.redshift("GetStatementResult", &request)?;
        let column = |field: &Value| {
            let fields = field.as_object()?;
            let (kind, value) = fields.iter().next()?;
            match (kind.as_str(), value) {
                ("isNull", _) => None,
                (_, Value::String(text)) => Some(text.clone()),
                (_, other) => Some(other.to_string()),
            }
        };
        let records = answer.get("Records").and_then(Value::as_array);
        let rows = records.into_iter().flatten().filter_map(Value::as_array);
        let rows = rows.map(|row| row.iter().map(column).collect()).collect();
        Ok((rows, text_of(&answer, "NextToken")))
    }

    async fn cancel_statement(&self, id: &str) -> Result<(), CallError> {
        self.redshift("CancelStatement", &json!({ "Id": id }))
            .map(drop)
    }
}

impl WriteWarehouses for SimQueryTools {
    async fn submit_statement(
        &self,
        warehouse: &WarehouseSite,
        statement: &ApprovedStatement,
        token: &str,
    ) -> Result<String, CallError> {
        self.submit(warehouse, statement.text(), [("ClientToken", token.into())])
    }
}

impl WriteQueryRegion for SimQueryTools {
    async fn create(&self, object: &QueryObject, token: &str) -> Result<ObjectKey, CallError> {
        if object.key.kind == QueryKind::ExternalSchema {
            return Err(external_schema_call(&self.region));
        }
        let call = call_of("Create", object.key.kind);
        let mut state = self.begin_write(&call, &object.key)?;
        let parent = object.key.parent_key();
        if parent.is_some_and(|parent| !state.objects.contains_key(&parent)) {
            return Err(self.error(CallErrorKind::Invalid, &call, "WorkGroup is not found"));
        }
        let mut object = object.clone();
        if object.key.kind == QueryKind::NamedQuery {
            if let Some(key) = state.tokens.get(token).cloned() {
                return self.answer(state, &call, key);
            }
            state.next_id += 1;
            object.key.id = format!("{}-{}", self.region, state.next_id);
            state.tokens.insert(token.to_owned(), object.key.clone());
        } else if state.objects.contains_key(&object.key) {
            return Err(self.error(CallErrorKind::Invalid, &call, "it already exists"));
        }
        if object.key.kind == QueryKind::WorkGroup {
            // CreateWorkGroup has no state: a new workgroup is enabled.
            object.fields.insert("State".to_owned(), "ENABLED".into());
        }
        if object.key.kind == QueryKind::Trigger {
            let starts = object.fields.remove("StartOnCreation") == Some(true.into());
            let trigger_state = if starts { "ACTIVATED" } else { "CREATED" };
            object
                .fields
                .insert("State".to_owned(), trigger_state.into());
        }
        let key = state.insert(object);
        self.answer(state, &call, key)
    }

    async fn update(&self, current: &QueryObject, desired: &QueryObject) -> Result<(), CallError> {
        let call = call_of("Update", current.key.kind);
        if !current.key.kind.has_update() {
            return Err(self.error(CallErrorKind::Unsupported, &call, "there is no such call"));
        }
        let mut state = self.begin_write(&call, &current.key)?;
        let Some(found) = state.objects.get(&current.key).cloned() else {
            return Err(self.error(CallErrorKind::Invalid, &call, "not found"));
        };
        if state.running.contains(&current.key) {
            return Err(self.error(CallErrorKind::Contended, &call, "the crawler is running"));
        }
        let mut fields = desired.fields.clone();
        // What an update does not name stays.
        let kept = match current.key.kind {
            QueryKind::Crawler => Some("Schedule"),
            QueryKind::Trigger => Some("State"),
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::ExternalSchema => None,
        };
        if let Some((name, value)) = kept.and_then(|name| Some((name, found.fields.get(name)?))) {
            let value = value.clone();
            fields.entry(name.to_owned()).or_insert(value);
        }
        let updated = QueryObject { fields, ..found };
        state.insert(updated);
        self.answer(state, &call, ())
    }

    async fn change_tags(
        &self,
        key: &ObjectKey,
        set: &BTreeMap<String, String>,
        remove: &BTreeSet<String>,
    ) -> Result<(), CallError> {
        let mut state = self.begin_write("TagResource", key)?;
        let Some(object) = state.objects.get_mut(key) else {
            return Err(self.error(CallErrorKind::Invalid, "TagResource", "not found"));
        };
        let tags = object.tags.get_or_insert_default();
        tags.extend(set.clone());
        tags.retain(|name, _| !remove.contains(name));
        self.answer(state, "TagResource", ())
    }

    async fn sleep(&self, key: &ObjectKey) -> Result<(), CallError> {
        let (call, path, stopped) = match key.kind {
            QueryKind::Crawler => ("StopCrawlerSchedule", "Schedule", "NOT_SCHEDULED"),
            QueryKind::Trigger => ("StopTrigger", "State", "DEACTIVATED"),
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::ExternalSchema => {
                return Err(self.error(CallErrorKind::Invalid, "Stop", "it cannot be stopped"));
            }
        };
        let mut state = self.begin_write(call, key)?;
        let Some(object) = state.objects.get_mut(key) else {
            return Err(self.error(CallErrorKind::NotFound, call, "not found"));
        };
        match object.fields.get_mut(path) {
            Some(serde_json::Value::Object(schedule)) => {
                schedule.insert("State".to_owned(), stopped.into());
            }
            Some(value) => *value = stopped.into(),
            None => {}
        }
        self.answer(state, call, ())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), CallError> {
        let call = call_of("Delete", key.kind);
        let mut state = self.begin_write(&call, key)?;
        let mut objects = state.objects.keys();
        if objects.any(|other| other.parent_key().as_ref() == Some(key)) {
            return Err(self.error(CallErrorKind::Invalid, &call, "WorkGroup is not empty"));
        }
        state.objects.remove(key);
        self.answer(state, &call, ())
    }
}
