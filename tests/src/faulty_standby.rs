//! A standby of which writes fail as a test decides, and whose access is compared with the primary's
//! before and after each write that may give access.

use crate::access_oracle::{AccessComparison, EffectiveRight};
use crate::faults::{AccessEffect, Fault, FaultRules, Write};
use crate::plans::access_comparison;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{
    Attachment, AttachmentKey, Observed, ObservedAttachment, OptIn, PartitionIndex,
};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, Database, Facet, Function, FunctionId, Name, Partition, Step, Subject, Table,
    TableId,
};
use twinlake_engine::ports::{
    EntryResults, GrantFilter, PartitionsByValues, SettingsChange, UnreplicatedInventory,
};
use twinlake_engine::{Environment, InMemoryLedger, ReadRegion, WriteRegion};
use twinlake_sim::{Sim, SimRegion};

/// Access that a write gave and that the primary does not allow.
#[derive(Clone, Debug)]
pub struct Widening {
    /// The name of the write.
    pub write: String,
    /// The rights.
    pub rights: BTreeSet<EffectiveRight>,
}

#[derive(Debug)]
struct Writes {
    rules: FaultRules,
    attempts: BTreeMap<String, u8>,
    comparison: AccessComparison,
    /// The excess access, unless a write that takes access away has changed it since.
    excess: Option<BTreeSet<EffectiveRight>>,
    found: Vec<Widening>,
    closing_write_failed: bool,
    log: Vec<String>,
}

/// A standby of which writes fail by [`FaultRules`]. Other writes are made, and the access is compared
/// after each.
#[derive(Debug)]
pub struct FaultyStandby {
    sim: Sim,
    standby: SimRegion,
    writes: RefCell<Writes>,
}

/// The simulator with a standby of which writes fail.
#[derive(Debug)]
pub struct FaultyEnvironment;

impl Environment for FaultyEnvironment {
    type Primary = SimRegion;
    type Standby = FaultyStandby;
    type Ledger = InMemoryLedger;
    type Clock = Sim;
}

impl FaultyStandby {
    /// Returns a client of the standby that writes to it as Twinlake.
    #[must_use]
    pub fn new(sim: &Sim, standby: SimRegion, rules: FaultRules) -> Self {
        let comparison = access_comparison(sim);
        Self {
            sim: sim.clone(),
            standby,
            writes: RefCell::new(Writes {
                rules,
                attempts: BTreeMap::new(),
                comparison,
                excess: None,
                found: Vec::new(),
                closing_write_failed: false,
                log: Vec::new(),
            }),
        }
    }

    /// Lets every later write succeed.
    pub fn clear_faults(&self) {
        let mut writes = self.writes.borrow_mut();
        writes.rules = FaultRules::none();
        writes.log.push("no write fails from here on".to_owned());
    }

    /// Returns the access that writes gave and that the primary does not allow.
    #[must_use]
    pub fn widenings(&self) -> Vec<Widening> {
        self.writes.borrow().found.clone()
    }

    /// Whether a write failed, without effect, that only takes access away.
    #[must_use]
    pub fn has_closing_write_failed(&self) -> bool {
        self.writes.borrow().closing_write_failed
    }

    /// Returns the writes in order, with how they failed.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.writes.borrow().log.clone()
    }

    /// Counts an attempt at a write, and returns how it fails.
    fn fault(&self, write: &Write) -> Option<Fault> {
        let mut writes = self.writes.borrow_mut();
        let fault = writes.rules.find(write).cloned()?;
        let attempts = writes.attempts.entry(write.name.clone()).or_default();
        *attempts = attempts.saturating_add(1);
        if fault.attempts.is_some_and(|failing| *attempts > failing) {
            return None;
        }
        writes.closing_write_failed |= write.effect == AccessEffect::Closes && !fault.takes_effect;
        let effect = if fault.takes_effect {
            " after its effect"
        } else {
            ""
        };
        writes
            .log
            .push(format!("FAILED ({}{effect}): {}", fault.kind, write.name));
        Some(fault)
    }

    fn error(&self, fault: &Fault) -> CallError {
        CallError::new(fault.kind, "a write", self.standby.region(), "injected")
    }

    fn begin(&self, effect: AccessEffect) {
        let mut writes = self.writes.borrow_mut();
        if effect == AccessEffect::MayOpen && writes.excess.is_none() {
            writes.excess = Some(writes.comparison.excess(&self.sim.state()));
        }
    }

    /// Compares the access after a write that may give some.
    fn end(&self, effect: AccessEffect, name: &str) {
        let mut writes = self.writes.borrow_mut();
        writes.log.push(name.to_owned());
        match effect {
            AccessEffect::Unrelated => {}
            AccessEffect::Closes => writes.excess = None,
            AccessEffect::MayOpen => {
                let now = writes.comparison.excess(&self.sim.state());
                let before = writes.excess.take().unwrap_or_default();
                let rights: BTreeSet<EffectiveRight> = now.difference(&before).cloned().collect();
                if !rights.is_empty() {
                    writes.log.push(format!("    OPENS {rights:?}"));
                    let write = name.to_owned();
                    writes.found.push(Widening { write, rights });
                }
                writes.excess = Some(now);
            }
        }
    }

    async fn write_one(
        &self,
        write: Write,
        call: impl Future<Output = Result<(), CallError>>,
    ) -> Result<(), CallError> {
        let fault = self.fault(&write);
        match fault {
            Some(fault) if !fault.takes_effect => Err(self.error(&fault)),
            fault => {
                self.begin(write.effect);
                let result = call.await;
                self.end(write.effect, &write.name);
                fault.map_or(result, |fault| Err(self.error(&fault)))
            }
        }
    }

    async fn write_permissions(
        &self,
        entries: &[&ListedPermission],
        verb: &str,
    ) -> Result<EntryResults, CallError> {
        let writes: Vec<Vec<Write>> = entries
            .iter()
            .map(|entry| Write::of_entry(verb, entry))
            .collect();
        let faults: Vec<Option<Fault>> = writes
            .iter()
            .map(|writes| writes.iter().find_map(|write| self.fault(write)))
            .collect();
        let fails_whole_call =
            |fault: &Option<Fault>| fault.as_ref().is_some_and(|fault| fault.fails_whole_call);
        let failing = faults.iter().position(fails_whole_call);
        let takes_effect = |index: &usize| {
            let fault = faults.get(*index).and_then(Option::as_ref);
            fault.is_none_or(|fault| fault.takes_effect)
        };
        let whole = failing.and_then(|index| faults.get(index)?.as_ref());
        let count = match (failing, whole) {
            (Some(index), Some(fault)) if fault.takes_effect => index + 1,
            (Some(_), _) => 0,
            (None, _) => entries.len(),
        };
        let sent: Vec<usize> = (0..count).filter(takes_effect).collect();
        let mut results: BTreeMap<usize, Result<(), CallError>> = BTreeMap::new();
        if !sent.is_empty() {
            let chosen: Vec<&ListedPermission> = sent.iter().map(|index| entries[*index]).collect();
            let effect = writes[sent[0]][0].effect;
            self.begin(effect);
            let answer = match verb {
                "revoke" => self.standby.revoke(&chosen).await,
                _ => self.standby.grant(&chosen).await,
            };
            let names = sent.iter().flat_map(|index| &writes[*index]);
            let names: Vec<&str> = names.map(|write| write.name.as_str()).collect();
            self.end(effect, &names.join("; "));
            results.extend(sent.iter().copied().zip(answer?));
        }
        if let Some(fault) = whole {
            return Err(self.error(fault));
        }
        for (index, fault) in faults.iter().enumerate() {
            if let Some(fault) = fault {
                results.insert(index, Err(self.error(fault)));
            }
        }
        Ok(results.into_values().collect())
    }

    async fn write_attachments<T>(
        &self,
        entries: &[T],
        write_of: impl Fn(&T) -> Write,
        call: impl AsyncFn(&T) -> Result<EntryResults, CallError>,
    ) -> Result<EntryResults, CallError> {
        let mut results = EntryResults::new();
        for entry in entries {
            let write = write_of(entry);
            let fails_whole_call = self.fails_whole_call(&write);
            let result = self.write_one(write, async {
                let mut result = call(entry).await?;
                result.pop().unwrap_or(Ok(()))
            });
            match result.await {
                Err(error) if fails_whole_call => return Err(error),
                result => results.push(result),
            }
        }
        Ok(results)
    }

    fn fails_whole_call(&self, write: &Write) -> bool {
        let writes = self.writes.borrow();
        let fault = writes.rules.find(write);
        fault.is_some_and(|fault| fault.fails_whole_call)
    }
}

impl WriteRegion for FaultyStandby {
    async fn create_database(&self, database: &Database) -> Result<(), CallError> {
        let write = Write::of_step(&Step::CreateDatabase {
            database: database.clone(),
        });
        let call = self.standby.create_database(database);
        self.write_one(write, call).await
    }

    async fn update_database(&self, database: &Database) -> Result<(), CallError> {
        let write = Write::of_step(&Step::UpdateDatabase {
            database: database.clone(),
            clears_default_permissions: false,
            changes: Vec::new(),
        });
        let call = self.standby.update_database(database);
        self.write_one(write, call).await
    }

    async fn delete_database(&self, name: &Name) -> Result<(), CallError> {
        let write = Write::of_step(&Step::DeleteDatabase { name: name.clone() });
        let call = self.standby.delete_database(name);
        self.write_one(write, call).await
    }

    async fn create_table(
        &self,
        database: &Name,
        table: &Table,
        indexes: &[&PartitionIndex],
    ) -> Result<(), CallError> {
        let write = Write::of_step(&Step::CreateTable {
            id: TableId::new(database.clone(), table.name.clone()),
            table: table.clone(),
        });
        let call = self.standby.create_table(database, table, indexes);
        self.write_one(write, call).await
    }

    async fn update_table(
        &self,
        database: &Name,
        table: &Table,
        version: Option<&str>,
    ) -> Result<(), CallError> {
        let write = Write::of_step(&Step::UpdateTable {
            id: TableId::new(database.clone(), table.name.clone()),
            table: table.clone(),
            version: None,
            changes: Vec::new(),
        });
        let call = self.standby.update_table(database, table, version);
        self.write_one(write, call).await
    }

    async fn delete_table(&self, id: &TableId) -> Result<(), CallError> {
        let write = Write::of_step(&Step::DeleteTable { id: id.clone() });
        let call = self.standby.delete_table(id);
        self.write_one(write, call).await
    }

    async fn create_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError> {
        self.standby.create_partitions(id, partitions).await
    }

    async fn update_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError> {
        self.standby.update_partitions(id, partitions).await
    }

    async fn delete_partitions(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<EntryResults, CallError> {
        self.standby.delete_partitions(id, values).await
    }

    async fn create_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError> {
        self.standby.create_function(id, function).await
    }

    async fn update_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError> {
        self.standby.update_function(id, function).await
    }

    async fn delete_function(&self, id: &FunctionId) -> Result<(), CallError> {
        self.standby.delete_function(id).await
    }

    async fn put_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
        may_replace: bool,
    ) -> Result<EntryResults, CallError> {
        self.write_attachments(
            attachments,
            |one| Write::of_attachment("put", subject, &one.key()),
            async |one| {
                WriteRegion::put_attachments(&self.standby, subject, &[one], may_replace).await
            },
        )
        .await
    }

    async fn remove_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError> {
        self.write_attachments(
            keys,
            |key| Write::of_attachment("remove", subject, key),
            async |key| WriteRegion::remove_attachments(&self.standby, subject, &[key]).await,
        )
        .await
    }

    async fn put_settings(&self, change: &SettingsChange) -> Result<(), CallError> {
        let write = Write::new(AccessEffect::Closes, "put settings".to_owned());
        let call = self.standby.put_settings(change);
        self.write_one(write, call).await
    }

    async fn grant(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError> {
        self.write_permissions(entries, "grant").await
    }

    async fn revoke(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError> {
        self.write_permissions(entries, "revoke").await
    }
}

/// Reads are those of the standby.
impl ReadRegion for FaultyStandby {
    fn region(&self) -> &str {
        self.standby.region()
    }

    async fn database(&self, name: &Name) -> Result<Observed<Database>, CallError> {
        self.standby.database(name).await
    }

    async fn databases(&self) -> Result<Vec<Observed<Database>>, CallError> {
        self.standby.databases().await
    }

    async fn table(&self, id: &TableId) -> Result<Observed<Table>, CallError> {
        self.standby.table(id).await
    }

    async fn tables(&self, database: &Name) -> Result<Vec<Observed<Table>>, CallError> {
        self.standby.tables(database).await
    }

    async fn partitions_page(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), CallError> {
        self.standby.partitions_page(id, segment, token).await
    }

    async fn partitions_by_values(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<PartitionsByValues, CallError> {
        self.standby.partitions_by_values(id, values).await
    }

    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError> {
        self.standby.functions(database).await
    }

    async fn function(&self, id: &FunctionId) -> Result<Observed<Function>, CallError> {
        self.standby.function(id).await
    }

    async fn attachments(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        self.standby.attachments(subject, facet, columns).await
    }

    async fn list_grants(
        &self,
        filter: Option<&GrantFilter>,
        receive: &mut dyn FnMut(Vec<ListedPermission>),
    ) -> Result<(), CallError> {
        self.standby.list_grants(filter, receive).await
    }

    async fn opt_ins(&self) -> Result<Vec<OptIn>, CallError> {
        self.standby.opt_ins().await
    }

    async fn search_by_lf_tags(
        &self,
        target: LfTagPolicyTarget,
        expression: &LfTagExpression,
    ) -> Result<Vec<LfTaggedResource>, CallError> {
        self.standby.search_by_lf_tags(target, expression).await
    }

    async fn settings(&self) -> Result<ObservedSettings, CallError> {
        self.standby.settings().await
    }

    async fn unreplicated_inventory(&self) -> UnreplicatedInventory {
        self.standby.unreplicated_inventory().await
    }

    async fn optimizer_count(&self, tables: &[TableId]) -> Result<usize, CallError> {
        self.standby.optimizer_count(tables).await
    }
}
