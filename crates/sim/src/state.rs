//! The state of the simulated Regions and of the injected faults.

mod listing;

use crate::answer_style::{AnswerStyle, UnusualAnswer};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::fault_injection::{InjectedFault, KillSwitch, RandomFaults};
use crate::quirk::Quirk;
use crate::quirk_answers::QuirkAnswers;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use twinlake_core::catalog::{
    ColumnStatistics, DataCellsFilter, Function, NamedLfTagExpression, Observed, OptIn,
    PartitionIndex, Registration,
};
use twinlake_core::grant::{LfTagPolicy, LfTagPolicyTarget, ListedPermission};
use twinlake_core::{
    CallErrorKind, Database, FunctionId, Name, Partition, Subject, Table, TableId, Timestamp,
};

/// An event on the default event bus of a Region.
#[derive(Clone, Debug, PartialEq)]
pub struct EmittedEvent {
    /// The Region of the event bus.
    pub region: String,
    /// The event.
    pub event: Value,
}

/// A partition index with its creation or deletion in progress.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredIndex {
    pub(crate) index: PartitionIndex,
    /// The number of reads until the creation or deletion completes.
    pub(crate) reads_left: u8,
    pub(crate) is_deleting: bool,
}

/// One API call that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordedCall {
    /// The Region that was called.
    pub region: String,
    /// The AWS operation name.
    pub name: String,
    /// The calling principal.
    pub principal: String,
}

/// The key of a grant in the permission store: a principal, a resource and a condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredGrant {
    /// The principal that holds the grant.
    pub principal: String,
    /// The resource of the grant.
    pub resource: StoredResource,
    /// The Cedar condition of the grant.
    pub condition: Option<String>,
}

/// A resource in the permission store. SELECT is stored by column (LF-01).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredResource {
    /// A database.
    Database(Name),
    /// A table, for every permission except SELECT.
    Table(TableId),
    /// All tables of a database, for every permission except SELECT.
    AllTables(Name),
    /// One column.
    Column(TableId, Name),
    /// All columns of a table except the listed ones.
    ColumnWildcard(TableId, BTreeSet<Name>),
    /// All columns of all tables of a database.
    AllTablesAllColumns(Name),
    /// A data cells filter.
    DataCellsFilter(TableId, String),
    /// The catalog.
    Catalog,
    /// A data location, by the ARN of the request.
    DataLocation(String),
    /// One value of an LF-Tag.
    LfTag(String, String),
    /// An LF-Tag policy.
    LfTagPolicy(LfTagPolicyTarget, LfTagPolicy),
    /// A named LF-Tag expression.
    LfTagExpression(String),
    /// A resource of another type, which is only stored and listed, by its AWS type name.
    Other(String),
}

/// Values of the LF-Tags assigned to a resource, by column (`None` is the resource itself) and tag
/// key.
pub(crate) type LfTagAssignments = BTreeMap<(Option<Name>, String), String>;

/// The JSON form of a table wildcard in a listing (LF-01, LF-02).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WildcardFormat {
    /// With the table name `ALL_TABLES`.
    pub as_all_tables: bool,
    /// SELECT as `TableWithColumns` with a `ColumnWildcard`.
    pub select_as_column_wildcard: bool,
}

/// Stored grants with their permissions; the flag is the grant option.
pub(crate) type GrantStore = BTreeMap<StoredGrant, BTreeMap<String, bool>>;

/// The state of one Region.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionStore {
    pub databases: BTreeMap<Name, Observed<Database>>,
    pub tables: BTreeMap<TableId, Observed<Table>>,
    pub partitions: BTreeMap<TableId, BTreeMap<Vec<String>, Partition>>,
    pub grants: GrantStore,
    /// The number of archived versions of each table.
    pub archived_versions: BTreeMap<TableId, usize>,
    /// Texts that no write may contain.
    pub refused_texts: BTreeSet<String>,
    /// Values of partitions that `BatchCreatePartition` rejects.
    pub rejected_partitions: BTreeSet<Vec<String>>,
    pub connections: BTreeSet<String>,
    /// Classifiers, crawlers, triggers, jobs, workflows and security configurations, by kind and name, as read.
    pub tools: BTreeMap<(&'static str, String), Value>,
    /// The warehouses of Redshift.
    pub redshift: crate::redshift::SimRedshift,
    /// Tables that have a table optimizer.
    pub optimizers: BTreeSet<TableId>,
    /// The instance of Identity Center that Lake Formation is connected to.
    pub identity_center: Option<String>,
    pub catalog_settings: BTreeMap<String, String>,
    /// The previous state of the grants that the last write changed.
    pub grants_before_last_write: Vec<(StoredGrant, Option<BTreeMap<String, bool>>)>,
    /// Cached result of `listed_grants`, cleared by every change in the Region.
    pub listed_grants_cache: OnceLock<Arc<Vec<ListedPermission>>>,
    pub data_lake_admins: Vec<String>,
    pub read_only_admins: Vec<String>,
    pub database_defaults: Value,
    pub table_defaults: Value,
    pub functions: BTreeMap<FunctionId, Observed<Function>>,
    pub indexes: BTreeMap<TableId, Vec<StoredIndex>>,
    pub statistics: BTreeMap<TableId, BTreeMap<String, ColumnStatistics>>,
    pub glue_tags: BTreeMap<Subject, BTreeMap<String, String>>,
    pub lf_tags: BTreeMap<String, BTreeSet<String>>,
    pub lf_tag_assignments: BTreeMap<Subject, LfTagAssignments>,
    pub lf_tag_expressions: BTreeMap<String, NamedLfTagExpression>,
    pub data_cells_filters: BTreeMap<TableId, BTreeMap<String, (DataCellsFilter, String)>>,
    pub registrations: BTreeMap<String, Registration>,
    pub opt_ins: BTreeSet<OptIn>,
    /// The data lake settings other than administrators and default permissions.
    pub other_settings: Value,
    /// A role that is granted DESCRIBE and SELECT on all tables of each new database, as the
    /// own-access function of the primary's stack does.
    pub reader_role: Option<String>,
    /// Whether listings of grants omit the last write.
    pub stale_grant_listings: bool,
    /// Revoked grants that remain listed (LF-07).
    pub revoked_but_listed: Vec<ListedPermission>,
    /// Creation time of each data cells filter.
    pub filters_created_at: BTreeMap<(TableId, String), Timestamp>,
    /// Principals to which the catalog looks empty in this Region.
    pub principals_without_read_access: BTreeSet<String>,
}

/// All simulated Regions of one account, with the faults to inject.
#[derive(Clone, Debug)]
pub struct SimState {
    pub(crate) account: String,
    pub(crate) regions: BTreeMap<String, RegionStore>,
    pub(crate) quirks: BTreeSet<Quirk>,
    pub(crate) answer_style: AnswerStyle,
    /// The unusual answers of each Region.
    unusual_answers: BTreeSet<(String, UnusualAnswer)>,
    /// The number of writes that took effect.
    pub(crate) writes: u64,
    pub(crate) injected_faults: Vec<InjectedFault>,
    pub(crate) random_faults: Option<RandomFaults>,
    /// The principal whose calls `random_faults` applies to.
    pub(crate) random_faults_principal: String,
    pub(crate) kill_switch: Option<KillSwitch>,
    pub(crate) killed: bool,
    /// The index of the call before which all callers of the ports pause once.
    pub(crate) pause_at: Option<usize>,
    /// At most how many times a call yields to other futures before it takes effect.
    pub(crate) max_yields_per_call: usize,
    /// Whether listings of partitions answer, after the first page, the token that they were asked with.
    pub(crate) repeats_page_tokens: bool,
    /// How long a call to a Region takes on Tokio's clock.
    latencies: BTreeMap<String, Duration>,
    paused: bool,
    pub(crate) calls: Vec<RecordedCall>,
    pub(crate) events: VecDeque<EmittedEvent>,
    elapsed_secs: i64,
    start: Timestamp,
    last_version: u64,
}

/// Default permissions of a new account: ALL to `IAM_ALLOWED_PRINCIPALS`.
fn iam_allowed_principals_defaults() -> Value {
    serde_json::json!([{
        "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
        "Permissions": ["ALL"]
    }])
}

impl SimState {
    /// Creates empty Regions, without administrators and without default permissions for
    /// `IAM_ALLOWED_PRINCIPALS`, as Twinlake requires of a standby.
    #[must_use]
    pub fn new(account: &str, regions: &[&str]) -> Self {
        let region = RegionStore {
            database_defaults: serde_json::json!([]),
            table_defaults: serde_json::json!([]),
            ..RegionStore::default()
        };
        Self {
            account: account.to_owned(),
            regions: regions
                .iter()
                .map(|name| ((*name).to_owned(), region.clone()))
                .collect(),
            quirks: Quirk::DEFAULT.into_iter().collect(),
            answer_style: AnswerStyle::default(),
            unusual_answers: BTreeSet::new(),
            writes: 0,
            injected_faults: Vec::new(),
            random_faults: None,
            random_faults_principal: String::new(),
            kill_switch: None,
            killed: false,
            pause_at: None,
            max_yields_per_call: 0,
            repeats_page_tokens: false,
            latencies: BTreeMap::new(),
            paused: false,
            calls: Vec::new(),
            events: VecDeque::new(),
            elapsed_secs: 0,
            start: Timestamp::from_secs(1_790_000_000),
            last_version: 0,
        }
    }

    /// Makes a principal a data lake administrator.
    pub fn add_data_lake_admin(&mut self, region: &str, principal: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.data_lake_admins.push(principal.to_owned());
        }
    }

    /// Sets a role that is granted SELECT and DESCRIBE on all tables of every database created
    /// from now on, as the own-access function of the primary's stack does. `None` stops this.
    pub fn set_reader_role(&mut self, region: &str, principal: Option<&str>) {
        if let Ok(region) = self.region_mut(region) {
            region.reader_role = principal.map(str::to_owned);
        }
    }

    /// Makes a Region grant new objects to `IAM_ALLOWED_PRINCIPALS`, as a new account does.
    pub fn set_iam_allowed_principals_defaults(&mut self, region: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.database_defaults = iam_allowed_principals_defaults();
            region.table_defaults = iam_allowed_principals_defaults();
        }
    }

    /// Makes reads of the catalog look empty to a principal, which is no administrator any more. Its grants
    /// stay, and its writes are not checked.
    pub fn remove_read_access(&mut self, region: &str, principal: &str) {
        if let Ok(region) = self.region_mut(region) {
            region
                .principals_without_read_access
                .insert(principal.to_owned());
            region.data_lake_admins.retain(|p| p != principal);
            region.read_only_admins.retain(|p| p != principal);
        }
    }

    /// Reverses `remove_read_access`, and makes the principal a data lake administrator.
    pub fn restore_read_access(&mut self, region: &str, principal: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.principals_without_read_access.remove(principal);
            region.data_lake_admins.push(principal.to_owned());
        }
    }

    /// Sets whether a Region's listings of grants omit the last write.
    pub fn set_stale_grant_listings(&mut self, region: &str, on: bool) {
        if let Ok(region) = self.region_mut(region) {
            region.stale_grant_listings = on;
        }
    }

    /// Switches quirks as AWS answered.
    pub fn apply_answers(&mut self, answers: &QuirkAnswers) {
        for (quirk, on) in answers.iter() {
            self.set_quirk(quirk, on);
        }
    }

    /// Switches a quirk on or off.
    pub fn set_quirk(&mut self, quirk: Quirk, on: bool) {
        if on {
            self.quirks.insert(quirk);
        } else {
            self.quirks.remove(&quirk);
        }
        for region in self.regions.values_mut() {
            region.listed_grants_cache.take();
        }
    }

    /// Sets how the services answer.
    pub fn set_answer_style(&mut self, style: AnswerStyle) {
        self.answer_style = style;
    }

    /// Sets whether a Region gives an unusual answer.
    pub fn set_unusual_answer(&mut self, region: &str, answer: UnusualAnswer, on: bool) {
        let answer = (region.to_owned(), answer);
        match on {
            true => self.unusual_answers.insert(answer),
            false => self.unusual_answers.remove(&answer),
        };
    }

    pub(crate) fn answers(&self, region: &str, answer: UnusualAnswer) -> bool {
        self.unusual_answers.contains(&(region.to_owned(), answer))
    }

    /// Returns the JSON form of table wildcards in listings.
    pub(crate) fn wildcard_format(&self) -> WildcardFormat {
        WildcardFormat {
            as_all_tables: self.has(Quirk::TableWildcardListedAsAllTables),
            select_as_column_wildcard: self.has(Quirk::SelectListedAsColumnWildcard),
        }
    }

    pub(crate) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Adds a rule that makes matching calls fail.
    pub fn inject_fault(&mut self, fault: InjectedFault) {
        self.injected_faults.push(fault);
    }

    /// Removes all rules of `inject_fault`.
    pub fn clear_injected_faults(&mut self) {
        self.injected_faults.clear();
    }

    /// Removes the injected faults of calls, random faults and the kill switch. What else was set stays: refused
    /// writes, rejected partitions, lost access, stale listings, pauses and latencies.
    pub fn clear_call_faults(&mut self) {
        self.injected_faults.clear();
        self.random_faults = None;
        self.kill_switch = None;
        self.killed = false;
    }

    /// Makes a Region reject the creation of partitions with these values, in every table.
    pub fn reject_partition(&mut self, region: &str, values: &[&str]) {
        if let Ok(region) = self.region_mut(region) {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            region.rejected_partitions.insert(values);
        }
    }

    /// Makes a Region refuse every write whose request contains a text, as a service does that has
    /// stricter rules than when the other Region accepted the same.
    pub fn refuse_writes_with(&mut self, region: &str, text: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.refused_texts.insert(text.to_owned());
        }
    }

    /// Makes calls of a principal fail at random.
    pub fn set_random_faults(&mut self, faults: RandomFaults, principal: &str) {
        self.random_faults = Some(faults);
        self.random_faults_principal = principal.to_owned();
    }

    /// Stops every caller at a call. The index counts from the next call.
    pub fn set_kill_switch(&mut self, kill_switch: KillSwitch) {
        let call_index = self.calls.len() + kill_switch.call_index;
        self.kill_switch = Some(KillSwitch {
            call_index,
            ..kill_switch
        });
        self.killed = false;
    }

    /// Makes listings of partitions of more than two pages endless: they answer the page token that they were asked
    /// with.
    pub fn repeat_page_tokens(&mut self, repeats: bool) {
        self.repeats_page_tokens = repeats;
    }

    /// Lets each call yield to other futures up to `most` times before it takes effect, so that what a caller does
    /// at once is interleaved. Each number that is no multiple of 7 interleaves in another
    /// way.
    pub fn set_max_yields_per_call(&mut self, most: usize) {
        self.max_yields_per_call = most;
    }

    /// How often the next call yields to other futures first.
    pub(crate) fn yields_before_call(&self) -> usize {
        match self.max_yields_per_call {
            0 => 0,
            most => 1 + self.calls.len() * 7 % most,
        }
    }

    /// Lets each call of the ports to a Region take this long on Tokio's clock; the caller has to run on
    /// its runtime, whose clock may be paused.
    pub fn set_latency(&mut self, region: &str, latency: Duration) {
        self.latencies.insert(region.to_owned(), latency);
    }

    /// How long a call to a Region takes.
    pub(crate) fn latency(&self, region: &str) -> Duration {
        self.latencies.get(region).copied().unwrap_or_default()
    }

    /// Lets all callers pause once before a call. The index counts from the next call.
    pub(crate) fn pause_before(&mut self, call_index: usize) {
        self.pause_at = Some(self.calls.len() + call_index);
        self.paused = false;
    }

    /// Whether calls have to wait: from the call of `pause_before` until `end_pause`.
    pub(crate) fn begin_pause_if_due(&mut self) -> bool {
        // The pages of one listing are recorded together, so the index may be passed.
        let pauses = self.pause_at.is_some_and(|at| at <= self.calls.len());
        if pauses {
            self.pause_at = None;
            self.paused = true;
        }
        self.paused
    }

    /// Ends the pause, and returns whether one was under way.
    pub(crate) fn end_pause(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Whether the caller was killed.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// Removes and returns the recorded calls.
    pub fn take_calls(&mut self) -> Vec<RecordedCall> {
        std::mem::take(&mut self.calls)
    }

    /// Removes and returns the emitted events, in the order of the changes.
    pub fn take_events(&mut self) -> Vec<EmittedEvent> {
        std::mem::take(&mut self.events).into()
    }

    /// The simulated time: a counter that most writes advance by one second.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.start.plus_secs(self.elapsed_secs)
    }

    /// Advances the simulated time.
    pub fn advance_secs(&mut self, secs: i64) {
        self.elapsed_secs += secs;
    }

    /// Advances the simulated time by one second and returns it.
    pub(crate) fn tick(&mut self) -> Timestamp {
        self.elapsed_secs += 1;
        self.now()
    }

    pub(crate) fn next_version(&mut self) -> String {
        self.last_version += 1;
        self.last_version.to_string()
    }

    pub(crate) fn region(&self, name: &str) -> Result<&RegionStore, ApiError> {
        self.regions
            .get(name)
            .ok_or_else(|| ApiError::invalid(format!("unknown Region {name}")))
    }

    pub(crate) fn region_mut(&mut self, name: &str) -> Result<&mut RegionStore, ApiError> {
        let region = self.regions.get_mut(name);
        let region = region.ok_or_else(|| ApiError::invalid(format!("unknown Region {name}")))?;
        region.listed_grants_cache.take();
        Ok(region)
    }

    /// Records a call and applies the injected faults. `Ok(Some(error))` means that the call takes
    /// effect and only its response is lost.
    pub(crate) fn begin_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
    ) -> Result<Option<ApiError>, ApiError> {
        let region = caller.region;
        self.calls.push(RecordedCall {
            region: region.to_owned(),
            name: call.to_owned(),
            principal: caller.principal.to_owned(),
        });
        let faults = self.random_faults.as_mut();
        let faults = faults.filter(|_| caller.principal == self.random_faults_principal);
        if let Some((error, takes_effect)) = faults.and_then(RandomFaults::next_fault) {
            return match takes_effect {
                true => Ok(Some(error)),
                false => Err(error),
            };
        }
        match self.next_injected_fault(region, call) {
            Some((error, true)) => Ok(Some(error)),
            Some((error, false)) => Err(error),
            None => Ok(None),
        }
    }

    /// Returns the injected error of a call, if any, and whether the call still takes effect.
    /// Entries of a batch are matched under the name of the single operation.
    pub(crate) fn next_injected_fault(
        &mut self,
        region: &str,
        call: &str,
    ) -> Option<(ApiError, bool)> {
        let mut faults = self.injected_faults.iter_mut();
        let fault = faults.find_map(|f| f.matches_and_counts(region, call).then_some(f))?;
        Some((fault.error.clone(), fault.takes_effect))
    }

    /// Returns the class of an injected error, found by its code and message.
    pub(crate) fn injected_error_kind(&self, code: &str, message: &str) -> Option<CallErrorKind> {
        let mut errors = self.injected_faults.iter().map(|fault| &fault.error);
        let injected = errors.find(|e| e.code == code && e.message == message);
        injected.map(|error| error.kind)
    }

    /// Whether reads of the catalog look empty to a caller.
    pub(crate) fn sees_empty_catalog(&self, region: &str, caller: &str) -> bool {
        self.has(Quirk::UnauthorizedReadsReturnNotFound)
            && self
                .regions
                .get(region)
                .is_some_and(|region| region.principals_without_read_access.contains(caller))
    }
}
