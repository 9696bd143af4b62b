//! What the two Regions hold.

mod listing;

use crate::api::Caller;
use crate::error::ApiError;
use crate::events::Emitted;
use crate::fault::{Chaos, Kill, Trouble};
use crate::glue::StoredIndex;
use crate::quirk::Quirk;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use twinlake_core::catalog::{
    CellsFilter, ColumnStatistics, Function, OptIn, Registration, SavedExpression, Seen,
};
use twinlake_core::grant::{Entry, TagRule, TagTarget};
use twinlake_core::{
    Database, FaultKind, FunctionId, Name, Partition, Subject, Table, TableId, Timestamp,
};

/// One call that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The Region that was called.
    pub region: String,
    /// The call, as AWS spells it.
    pub name: String,
    /// Who called.
    pub principal: String,
}

/// Who holds what on what: one entry of the permission store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredGrant {
    /// Who.
    pub principal: String,
    /// On what, in the shape that it lists in.
    pub resource: StoredResource,
    /// A Cedar condition.
    pub condition: Option<String>,
}

/// A resource as the store keeps it. Columns are kept one by one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredResource {
    /// A database.
    Database(Name),
    /// A table, for everything but SELECT.
    Table(TableId),
    /// All tables of a database, for everything but SELECT.
    AllTables(Name),
    /// One column.
    Column(TableId, Name),
    /// All columns but these.
    Columns(TableId, BTreeSet<Name>),
    /// All columns of all tables of a database.
    AllColumns(Name),
    /// A data cells filter.
    Filter(TableId, String),
    /// The catalog.
    Catalog,
    /// A data location, as it was named.
    Location(String),
    /// One value of an LF-Tag.
    Tag(String, String),
    /// An LF-Tag policy.
    TagPolicy(TagTarget, TagRule),
    /// A saved LF-Tag expression.
    Expression(String),
    /// Something that is only kept and listed, by its AWS name.
    Other(String),
}

/// LF-Tags that are assigned to a resource: by column (none is itself) and key.
pub(crate) type Assigned = BTreeMap<(Option<Name>, String), String>;

/// How a wildcard is spelled in a listing (LF-01, LF-02).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spelling {
    pub by_name: bool,
    pub select_apart: bool,
}

pub(crate) type GrantStore = BTreeMap<StoredGrant, BTreeMap<String, bool>>;

/// One Region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Region {
    pub databases: BTreeMap<Name, Seen<Database>>,
    pub tables: BTreeMap<TableId, Seen<Table>>,
    pub partitions: BTreeMap<TableId, BTreeMap<Vec<String>, Partition>>,
    pub grants: GrantStore,
    /// Old versions of tables that updates have archived.
    pub archived: BTreeMap<TableId, usize>,
    /// Partitions that the service refuses to make.
    pub refused_partitions: BTreeSet<Vec<String>>,
    pub connections: BTreeSet<String>,
    pub optimizers: BTreeSet<TableId>,
    pub catalog_settings: BTreeMap<String, String>,
    /// What the last write found where it wrote.
    pub grants_before: Vec<(StoredGrant, Option<BTreeMap<String, bool>>)>,
    /// The grants as they are listed, until something of the Region changes.
    pub listed: OnceLock<Arc<Vec<Entry>>>,
    pub administrators: Vec<String>,
    pub read_only_administrators: Vec<String>,
    pub database_defaults: Value,
    pub table_defaults: Value,
    pub functions: BTreeMap<FunctionId, Seen<Function>>,
    pub indexes: BTreeMap<TableId, Vec<StoredIndex>>,
    pub statistics: BTreeMap<TableId, BTreeMap<String, ColumnStatistics>>,
    pub glue_tags: BTreeMap<Subject, BTreeMap<String, String>>,
    pub tags: BTreeMap<String, BTreeSet<String>>,
    pub assigned: BTreeMap<Subject, Assigned>,
    pub expressions: BTreeMap<String, SavedExpression>,
    pub filters: BTreeMap<TableId, BTreeMap<String, (CellsFilter, String)>>,
    pub registrations: BTreeMap<String, Registration>,
    pub opt_ins: BTreeSet<OptIn>,
    /// The data lake settings beside administrators and defaults.
    pub more_settings: Value,
    /// Who is granted SELECT on all tables of each database that is made, as the
    /// primary's own function does.
    pub reader: Option<String>,
    /// Listings of grants are one write old.
    pub lists_are_old: bool,
    /// What is listed although it was revoked (LF-07).
    pub ghosts: Vec<Entry>,
    /// When each data cells filter was made.
    pub filters_made: BTreeMap<(TableId, String), Timestamp>,
    /// Callers that lost every right here.
    pub lost: BTreeSet<String>,
}

/// Both Regions, and all that is to go wrong in them.
#[derive(Debug)]
pub struct World {
    pub(crate) account: String,
    pub(crate) regions: BTreeMap<String, Region>,
    pub(crate) quirks: BTreeSet<Quirk>,
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) chaos: Option<Chaos>,
    /// Whose calls fail then.
    pub(crate) chaotic_for: String,
    pub(crate) kill: Option<Kill>,
    pub(crate) killed: bool,
    pub(crate) calls: Vec<Call>,
    pub(crate) events: VecDeque<Emitted>,
    ticks: i64,
    start: Timestamp,
    version: u64,
}

/// A Region's settings as a new account has them, open to IAM.
fn open_defaults() -> Value {
    serde_json::json!([{
        "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
        "Permissions": ["ALL"]
    }])
}

impl World {
    /// Two Regions with nothing in them but their administrators, and with closed
    /// defaults, as `twinlake` expects them of a standby.
    #[must_use]
    pub fn new(account: &str, regions: &[&str]) -> Self {
        let region = Region {
            database_defaults: serde_json::json!([]),
            table_defaults: serde_json::json!([]),
            ..Region::default()
        };
        Self {
            account: account.to_owned(),
            regions: regions
                .iter()
                .map(|name| ((*name).to_owned(), region.clone()))
                .collect(),
            quirks: Quirk::USUAL.into_iter().collect(),
            troubles: Vec::new(),
            chaos: None,
            chaotic_for: String::new(),
            kill: None,
            killed: false,
            calls: Vec::new(),
            events: VecDeque::new(),
            ticks: 0,
            start: Timestamp::from_secs(1_790_000_000),
            version: 0,
        }
    }

    /// Makes a principal a data lake administrator.
    pub fn add_administrator(&mut self, region: &str, principal: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.administrators.push(principal.to_owned());
        }
    }

    /// Lets a role be granted SELECT and DESCRIBE on all tables of every database that
    /// is made from now on, as the function of the primary's stack does.
    pub fn set_reader(&mut self, region: &str, principal: Option<&str>) {
        if let Ok(region) = self.region_mut(region) {
            region.reader = principal.map(str::to_owned);
        }
    }

    /// Opens a Region's defaults for new objects, as a new account has them.
    pub fn open_defaults(&mut self, region: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.database_defaults = open_defaults();
            region.table_defaults = open_defaults();
        }
    }

    /// Takes every right from a caller, in the way that looks like an empty catalog.
    pub fn take_rights(&mut self, region: &str, principal: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.lost.insert(principal.to_owned());
            region.administrators.retain(|p| p != principal);
            region.read_only_administrators.retain(|p| p != principal);
        }
    }

    /// Makes a caller that lost every right an administrator again.
    pub fn give_rights_back(&mut self, region: &str, principal: &str) {
        if let Ok(region) = self.region_mut(region) {
            region.lost.remove(principal);
            region.administrators.push(principal.to_owned());
        }
    }

    /// Lets a Region's listings of grants be one write old, or not.
    pub fn set_old_lists(&mut self, region: &str, on: bool) {
        if let Ok(region) = self.region_mut(region) {
            region.lists_are_old = on;
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
            region.listed.take();
        }
    }

    /// How wildcards go over the wire.
    pub(crate) fn spelling(&self) -> Spelling {
        Spelling {
            by_name: self.has(Quirk::WildcardListsByName),
            select_apart: self.has(Quirk::SelectListsApart),
        }
    }

    pub(crate) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Orders trouble.
    pub fn order(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
    }

    /// Ends all trouble that was ordered.
    pub fn end_trouble(&mut self) {
        self.troubles.clear();
    }

    /// Calls off all trouble.
    pub fn calm(&mut self) {
        self.troubles.clear();
        self.chaos = None;
        self.kill = None;
        self.killed = false;
    }

    /// Lets a Region refuse to make a partition, whichever table it is of.
    pub fn refuse_partition(&mut self, region: &str, values: &[&str]) {
        if let Ok(region) = self.region_mut(region) {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            region.refused_partitions.insert(values);
        }
    }

    /// Lets calls of Twinlake fail now and then.
    pub fn order_chaos(&mut self, chaos: Chaos, principal: &str) {
        self.chaos = Some(chaos);
        self.chaotic_for = principal.to_owned();
    }

    /// Kills the caller at a call, counted from now.
    pub fn order_kill(&mut self, kill: Kill) {
        let at = self.calls.len() + kill.at;
        self.kill = Some(Kill { at, ..kill });
        self.killed = false;
    }

    /// Whether the caller was killed.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// The calls made since they were last taken.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// The events since they were last taken, in the order of the changes.
    pub fn take_events(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.events).into()
    }

    /// The time: a counter that every write moves by a second.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.start.plus_secs(self.ticks)
    }

    /// Moves the time on.
    pub fn pass_secs(&mut self, secs: i64) {
        self.ticks += secs;
    }

    pub(crate) fn tick(&mut self) -> Timestamp {
        self.ticks += 1;
        self.now()
    }

    pub(crate) fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    pub(crate) fn region(&self, name: &str) -> Result<&Region, ApiError> {
        self.regions
            .get(name)
            .ok_or_else(|| ApiError::invalid(format!("no such Region: {name}")))
    }

    pub(crate) fn region_mut(&mut self, name: &str) -> Result<&mut Region, ApiError> {
        let region = self.regions.get_mut(name);
        let region = region.ok_or_else(|| ApiError::invalid(format!("no such Region: {name}")))?;
        region.listed.take();
        Ok(region)
    }

    /// Notes a call and lets ordered trouble strike. `Ok(Some(error))` means that
    /// the call has its effect and the answer is lost.
    pub(crate) fn strike(
        &mut self,
        caller: Caller<'_>,
        call: &str,
    ) -> Result<Option<ApiError>, ApiError> {
        let region = caller.region;
        self.calls.push(Call {
            region: region.to_owned(),
            name: call.to_owned(),
            principal: caller.principal.to_owned(),
        });
        let chaos = self.chaos.as_mut();
        let chaos = chaos.filter(|_| caller.principal == self.chaotic_for);
        if let Some((error, with_effect)) = chaos.and_then(Chaos::strikes) {
            return match with_effect {
                true => Ok(Some(error)),
                false => Err(error),
            };
        }
        match self.trouble(region, call) {
            Some((error, true)) => Ok(Some(error)),
            Some((error, false)) => Err(error),
            None => Ok(None),
        }
    }

    /// How a call, or an entry of a batch under the name of the single call, fails by
    /// order; and whether it has its effect all the same.
    pub(crate) fn trouble(&mut self, region: &str, call: &str) -> Option<(ApiError, bool)> {
        let mut troubles = self.troubles.iter_mut();
        let strikes = troubles.find_map(|t| t.strikes(region, call).then_some(t))?;
        Some((strikes.error.clone(), strikes.with_effect))
    }

    /// What an error means that was ordered, by its code and message.
    pub(crate) fn ordered_kind(&self, code: &str, message: &str) -> Option<FaultKind> {
        let mut errors = self.troubles.iter().map(|trouble| &trouble.error);
        let ordered = errors.find(|e| e.code == code && e.message == message);
        ordered.map(|error| error.kind)
    }

    /// Whether a caller sees nothing here.
    pub(crate) fn is_blind(&self, region: &str, caller: &str) -> bool {
        self.has(Quirk::LostRightsLookAbsent)
            && self
                .regions
                .get(region)
                .is_some_and(|region| region.lost.contains(caller))
    }
}
