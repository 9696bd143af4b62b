//! Records at the end of a session which items of a Lake Formation subject Twinlake manages.
//!
//! Several runs may do so at the same time. What a run removes from the managed keys rests on what it read: it
//! removes nothing if another run has written them since, and nothing of an item that another run may be creating
//! at this moment. An item has no creation time that would tell one from the next one of its name.

use super::session::Session;
use crate::ports::{Clock, Environment, Ledger};
use crate::versioned_item::{self, ItemUpdate, ManagedKeysItem};
use std::collections::BTreeSet;
use twinlake_core::ledger::{intended_item, item_under_way};
use twinlake_core::plan::SubjectOutcome;
use twinlake_core::{CallError, LfSubject, Subject};

/// What changes in the managed keys of a subject.
struct KeyChanges {
    added: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl<E: Environment> Session<'_, E> {
    /// Adds and removes keys of paired items in the row of a Lake Formation subject. Returns false if another run
    /// has written them since this session read them: then only what this session created is added, and the
    /// subject has to be reconciled again.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub(super) async fn record_managed_keys(
        &self,
        subject: &Subject,
        subject_outcome: &SubjectOutcome,
    ) -> Result<bool, CallError> {
        let (Subject::LakeFormation(lf_subject), Some(managed)) =
            (subject, &subject_outcome.managed_keys)
        else {
            return Ok(true);
        };
        let stored = self.stored_managed_keys.get(lf_subject);
        let (known, version) = stored.cloned().unwrap_or_default();
        let KeyChanges { added, removed } = self.key_changes(*lf_subject, managed, &known);
        // Who was about to create something writes in any case: another run that rests on what it read before
        // that must not remove the key.
        let is_written = self.item_intents.contains_key(lf_subject);
        if added.is_empty() && removed.is_empty() && !is_written {
            return Ok(true);
        }
        let ledger = self.context.ledger;
        let mut keys = known;
        keys.extend(added.iter().cloned());
        keys.retain(|key| !removed.contains(key));
        if ledger.put_managed_keys(*lf_subject, &keys, version).await? {
            return Ok(true);
        }
        let own = self.item_intents.get(lf_subject).into_iter().flatten();
        let own: BTreeSet<&str> = own
            .filter_map(|key| intended_item(key))
            .map(|(key, _)| key)
            .collect();
        let existing = self.keys_of_all_items_in_standby(*lf_subject);
        let mut created = existing.unwrap_or_default();
        created.retain(|key| own.contains(key.as_str()));
        let item = ManagedKeysItem {
            ledger,
            lf_subject: *lf_subject,
        };
        versioned_item::update(&item, None, |stored| {
            let stored = stored.unwrap_or_default();
            match created.is_subset(&stored) {
                true => ItemUpdate::Keep(()),
                false => ItemUpdate::Put(stored.union(&created).cloned().collect(), ()),
            }
        })
        .await?;
        Ok(false)
    }

    fn key_changes(
        &self,
        lf_subject: LfSubject,
        managed: &BTreeSet<String>,
        known: &BTreeSet<String>,
    ) -> KeyChanges {
        let now = self.context.clock.now();
        let existing = self.keys_of_all_items_in_standby(lf_subject);
        let is_there = |key: &str| {
            existing
                .as_ref()
                .is_none_or(|existing| existing.contains(key))
        };
        let is_of_settings = lf_subject == LfSubject::Settings;
        let no_intents = BTreeSet::new();
        let own = self.item_intents.get(&lf_subject).unwrap_or(&no_intents);
        // An item that could not be created is not managed: whoever creates it later owns it.
        let added = managed.difference(known).filter(|key| is_there(key));
        let added = added.cloned().collect();
        let others = known.difference(own);
        let under_way: BTreeSet<&str> = others.filter_map(|key| item_under_way(key, now)).collect();
        let is_obsolete = |key: &&String| match intended_item(key) {
            // The intents of this session may have led to items that it has not seen yet. The settings are
            // read after each write: an administrator that they lack was not added.
            Some((item, _)) if own.contains(*key) => {
                existing.is_some() && (is_of_settings || is_there(item))
            }
            Some((item, _)) => !under_way.contains(item),
            None => !under_way.contains(key.as_str()),
        };
        let removed = known.difference(managed).filter(is_obsolete);
        let mut removed: BTreeSet<String> = removed.cloned().collect();
        if is_of_settings && let Some(existing) = &existing {
            // Whoever adds an administrator later that the settings lack owns it.
            let missing = known.difference(existing).filter(is_obsolete);
            removed.extend(missing.cloned());
        }
        KeyChanges { added, removed }
    }
}
