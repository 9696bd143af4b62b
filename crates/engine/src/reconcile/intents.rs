//! Intents: what a plan is about to create is recorded in the ledger before the calls, so that a
//! later run recognizes it as Twinlake's after a crash.
//!
//! A database, table, function or link is recorded in the row of its subject, an LF-Tag, LF-Tag
//! expression or registered location among the managed keys of its Lake Formation subject, and
//! an administrator as a managed key. Everything else (partitions, indexes, statistics, Glue
//! tags, filters, LF-Tag assignments, opt-ins, grants) belongs to a subject that is paired, or is
//! compared whoever made it.

use super::paging::deferred_reason;
use super::session::Session;
use crate::ports::{Clock, Environment, Ledger, next_version_of_permanent_item};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Comparable as _, MaybeLink as _, digest};
use twinlake_core::ledger::{
    LedgerRows, Pairing, admin_intent, admin_key, dated_intent, has_item_intent, item_intent,
    managed_item_key, read_only_admin_key,
};
use twinlake_core::scope::Facet;
use twinlake_core::snapshot::{Attachments, Observation};
use twinlake_core::topology::BySite;
use twinlake_core::{
    ApprovedPlan, CallError, LedgerRow, LfSubject, Step, Subject, SubjectState, Timestamp,
};

impl<E: Environment> Session<'_, E> {
    /// Records in the ledger what the plan is about to create, and which tables are replicated in
    /// several pages. Returns false, before anything is applied, if another run has changed a
    /// row that this plan was made from: then both Regions and the rows have to be read again.
    pub(super) async fn record_intents(
        &mut self,
        rows: &mut LedgerRows,
        approved: &ApprovedPlan,
    ) -> Result<bool, CallError> {
        for (lf_subject, added) in self.intended_items(approved) {
            let own = self.item_intents.entry(lf_subject).or_default();
            own.extend(added.iter().cloned());
            let stored = self.stored_managed_keys.get(&lf_subject);
            let (mut keys, version) = stored.cloned().unwrap_or_default();
            keys.extend(added);
            let ledger = self.context.ledger;
            if !ledger.put_managed_keys(lf_subject, &keys, version).await? {
                return Ok(false);
            }
            let stored = (keys, Some(next_version_of_permanent_item(version)));
            self.stored_managed_keys.insert(lf_subject, stored);
        }
        let creations = approved.steps().iter().filter_map(|step| {
            let digest = digest_of_creation(step)?;
            Some((step.subject(), digest))
        });
        self.intents.extend(creations);
        let intended = self.intended_rows(rows, approved);
        if intended.is_empty() {
            return Ok(true);
        }
        let changed = self.context.ledger.put_rows(&intended).await?;
        for row in intended {
            if !changed.contains(&row.subject) {
                self.record_own_problem(rows.get(&row.subject), &row);
                let version = Some(row.next_version());
                rows.insert(row.subject.clone(), LedgerRow { version, ..row });
            }
        }
        Ok(changed.is_empty())
    }

    /// The rows that the plan changes before its steps are applied.
    fn intended_rows(&self, rows: &LedgerRows, approved: &ApprovedPlan) -> Vec<LedgerRow> {
        let now = self.context.clock.now();
        let mut intended = LedgerRows::new();
        for step in approved.steps() {
            let Some(digest) = digest_of_creation(step) else {
                continue;
            };
            let subject = step.subject();
            let row = rows.get(&subject).cloned();
            let mut row = row
                .unwrap_or_else(|| LedgerRow::new(subject.clone(), SubjectState::OutOfSync, now));
            row.record_intent(self.run, &digest, now);
            intended.insert(subject, row);
        }
        for (subject, pairing) in self.updated_unpaired(rows, approved) {
            if let Some(row) = rows.get(&subject) {
                let row = LedgerRow {
                    pairing: Some(pairing),
                    ..row.clone()
                };
                intended.insert(subject, row);
            }
        }
        if let Some(row) = self.permissions_row_with_grant_calls(rows) {
            intended.insert(row.subject.clone(), row);
        }
        for (id, deferred) in &self.snapshots.deferred {
            let subject = Subject::Table(id.clone());
            let known_row = intended
                .remove(&subject)
                .or_else(|| rows.get(&subject).cloned());
            if let Some(row) = known_row {
                let out_of_sync = LedgerRow {
                    state: SubjectState::OutOfSync,
                    reason: Some(deferred_reason(deferred)),
                    ..row
                };
                intended.insert(subject, out_of_sync);
            }
        }
        let is_changed = |row: &LedgerRow| rows.get(&row.subject) != Some(row);
        intended.into_values().filter(is_changed).collect()
    }

    /// The pairings of the objects that the plan updates and that the ledger does not pair: only an
    /// intent proves that they are Twinlake's, and it no longer does once their content changes.
    fn updated_unpaired(
        &self,
        rows: &LedgerRows,
        approved: &ApprovedPlan,
    ) -> BTreeMap<Subject, Pairing> {
        let standby = self.context.epoch.standby();
        let created =
            |pairing: Option<&Pairing>| pairing.map(|pairing| pairing.created_in(standby));
        let outcomes = &approved.plan().subject_outcomes;
        let updated = approved.steps().iter().filter(|step| is_update(step));
        let unpaired = updated.filter_map(|step| {
            let subject = step.subject();
            let found = outcomes.get(&subject)?.pairing.as_ref();
            let known = rows.get(&subject).and_then(|row| row.pairing.as_ref());
            (created(known) != created(found)).then_some(())?;
            Some((subject, found?.clone()))
        });
        unpaired.collect()
    }

    /// The managed keys and intents of the items that the plan creates.
    fn intended_items(&self, approved: &ApprovedPlan) -> BTreeMap<LfSubject, BTreeSet<String>> {
        let now = self.context.clock.now();
        let mut intended: BTreeMap<LfSubject, BTreeSet<String>> = BTreeMap::new();
        for step in approved.steps() {
            if let Step::PutAttachment {
                subject: Subject::LakeFormation(lf_subject),
                attachment,
                ..
            } = step
            {
                let existing = self.items_in_standby(*lf_subject);
                if existing.is_some_and(|existing| !existing.contains_key(&attachment.key())) {
                    let added = intended.entry(*lf_subject).or_default();
                    added.insert(dated_intent(&item_intent(attachment), now));
                }
            }
            if let Step::PutSettings {
                added_admins,
                added_read_only_admins,
                ..
            } = step
            {
                let read_only = added_read_only_admins.iter().map(read_only_admin_key);
                let added = added_admins.iter().map(admin_key).chain(read_only);
                let added = added.map(|key| dated_intent(&admin_intent(&key), now));
                intended
                    .entry(LfSubject::Settings)
                    .or_default()
                    .extend(added);
            }
        }
        intended.retain(|_, added| !added.is_empty());
        intended
    }

    /// The items of a Lake Formation subject in the standby, if they were read.
    pub(super) fn items_in_standby(&self, lf_subject: LfSubject) -> Option<&Attachments> {
        let facet_key = (Subject::LakeFormation(lf_subject), Facet::Items);
        let items = self.snapshots.standby.attachments.get(&facet_key);
        items.and_then(Observation::present)
    }

    /// The keys of all items of a Lake Formation subject in the standby, whoever made them, in the
    /// form of managed keys. `None` if the items were not read.
    pub(super) fn keys_of_all_items_in_standby(
        &self,
        lf_subject: LfSubject,
    ) -> Option<BTreeSet<String>> {
        if let Some(items) = self.items_in_standby(lf_subject) {
            return Some(items.keys().map(managed_item_key).collect());
        }
        let settings = self.snapshots.standby.settings.as_ref()?.present()?;
        let settings = &settings.data_lake_settings;
        let read_only = settings.read_only_admins.iter().map(read_only_admin_key);
        let keys = settings.admins.iter().map(admin_key).chain(read_only);
        (lf_subject == LfSubject::Settings).then(|| keys.collect())
    }

    /// Puts what this session created, and what it paired by intents, into the rows, even if another
    /// run has overwritten the intent meanwhile.
    pub(super) fn restore_own_intents(&mut self, rows: &mut LedgerRows) {
        let now = self.context.clock.now();
        self.unstored_intents.clear();
        for (subject, digest) in &self.intents {
            let row = rows
                .entry(subject.clone())
                .or_insert_with(|| LedgerRow::new(subject.clone(), SubjectState::OutOfSync, now));
            if row.record_intent(self.run, digest, now) {
                self.unstored_intents.insert(subject.clone());
            }
        }
        let epoch = self.context.epoch;
        for (subject, pairing) in &self.intended_pairings {
            if let Some(row) = rows.get_mut(subject) {
                let known = row.pairing.take();
                let is_newer = |known: &Pairing| known.is_of_newer_object(pairing, epoch);
                row.pairing = known.filter(is_newer).or(Some(pairing.clone()));
            }
        }
    }

    /// Pairs the objects of the standby that have the content of an intent and that the primary
    /// lacks: the run that created them ended before it recorded the pairing, and only what is
    /// paired is read in full and deleted. Returns whether there are such objects: then they have
    /// to be read again.
    pub(super) fn pair_intended_objects(&mut self, rows: &LedgerRows) -> bool {
        let mut is_new = false;
        for (subject, row) in rows {
            if row.intents.is_empty() {
                continue;
            }
            let found = self.object_only_in_standby(subject);
            let Some((created, digest, link)) = found.filter(|(_, digest, _)| row.intends(digest))
            else {
                continue;
            };
            let epoch = self.context.epoch;
            let pairing = Pairing {
                created: BySite::from_roles(epoch, None, created),
                digest: BySite::from_roles(epoch, None, Some(digest)),
                link,
            };
            let known = row.pairing.as_ref();
            if known.is_none_or(|known| known.created_in(epoch.standby()) != created) {
                self.intended_pairings.insert(subject.clone(), pairing);
                is_new = true;
            }
        }
        is_new
    }

    /// When the standby's object was created, its digest, and whether it is a link, if the primary
    /// lacks it.
    fn object_only_in_standby(
        &self,
        subject: &Subject,
    ) -> Option<(Option<Timestamp>, String, bool)> {
        let (primary, standby) = (&self.snapshots.primary, &self.snapshots.standby);
        let database = primary.databases.get(subject.database()?);
        // Without its database, an object is not read.
        let lacks_database = matches!(database, Some(Observation::Absent(_)));
        match subject {
            Subject::Catalog | Subject::LakeFormation(_) => None,
            Subject::Database(name) => {
                let found = standby.databases.get(name)?.present()?;
                let digest = digest(&found.object.clone().into_comparable());
                lacks_database.then(|| (found.created, digest, found.is_link()))
            }
            Subject::Table(id) => {
                let found = standby.tables.get(id)?.present()?;
                let in_primary = primary.tables.get(id);
                let digest = digest(&found.object.clone().into_comparable());
                (lacks_database || matches!(in_primary, Some(Observation::Absent(_))))
                    .then(|| (found.created, digest, found.is_link()))
            }
            Subject::Function(id) => {
                let found = standby.functions.get(id)?.present()?;
                let in_primary = primary.functions.get(id);
                (lacks_database || matches!(in_primary, Some(Observation::Absent(_))))
                    .then(|| (found.created, digest(&found.object), false))
            }
        }
    }

    /// Adds to the managed keys of the rows those of items that have the content of an intent, and what this
    /// session was about to create, even if another run has overwritten the intent meanwhile.
    pub(super) fn recognize_intended_items(&mut self, rows: &mut LedgerRows) {
        self.stored_managed_keys.clear();
        for (subject, row) in rows.iter_mut() {
            let Subject::LakeFormation(lf_subject) = subject else {
                continue;
            };
            let stored = row.managed_keys.clone();
            let mut known = stored.clone();
            known.extend(
                self.item_intents
                    .get(lf_subject)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            let items = self.items_in_standby(*lf_subject);
            for (key, observed) in items.into_iter().flatten() {
                if has_item_intent(&known, &item_intent(&observed.attachment)) {
                    row.managed_keys.insert(managed_item_key(key));
                }
            }
            if *lf_subject == LfSubject::Settings {
                let existing = self.keys_of_all_items_in_standby(*lf_subject);
                let mut existing = existing.unwrap_or_default();
                existing.retain(|key| has_item_intent(&known, &admin_intent(key)));
                row.managed_keys.extend(existing);
            }
            let version = row.managed_keys_version;
            self.stored_managed_keys
                .insert(*lf_subject, (stored, version));
        }
    }
}

/// Whether a step changes the content of an object that has a row.
fn is_update(step: &Step) -> bool {
    match step {
        Step::UpdateDatabase { .. } | Step::UpdateTable { .. } | Step::UpdateFunction { .. } => {
            true
        }
        Step::CreateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutAttachment { .. }
        | Step::PutSettings { .. }
        | Step::RemoveAttachment { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => false,
    }
}

/// The digest of the object that a step creates; `None` if it creates none that has a row.
fn digest_of_creation(step: &Step) -> Option<String> {
    match step {
        Step::CreateDatabase { database } => Some(digest(&database.clone().into_comparable())),
        Step::CreateTable { table, .. } => Some(digest(&table.clone().into_comparable())),
        Step::CreateFunction { function, .. } => Some(digest(function)),
        Step::UpdateDatabase { .. }
        | Step::UpdateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutAttachment { .. }
        | Step::PutSettings { .. }
        | Step::RemoveAttachment { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => None,
    }
}
