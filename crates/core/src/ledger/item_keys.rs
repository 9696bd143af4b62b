//! Keys of the items of a Lake Formation subject: LF-Tags, LF-Tag expressions, registered locations,
//! administrators.

use super::{LedgerRow, may_be_under_way};
use crate::catalog::{Attachment, AttachmentKey, digest};
use crate::grant::Principal;
use crate::scope::Subject;
use crate::timestamp::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

/// The number of characters of a digest that a key has.
const KEY_CHARS: usize = 12;

/// The key of a paired item in [`LedgerRow::managed_keys`](super::LedgerRow::managed_keys).
#[must_use]
pub fn managed_item_key(key: &AttachmentKey) -> String {
    short_digest(key)
}

/// What [`LedgerRow::managed_keys`](super::LedgerRow::managed_keys) has of an item that Twinlake is
/// about to create: its key and a digest of its content. After a crash, the item that has this
/// content is Twinlake's, even if the primary's has changed since; one with another content is not.
#[must_use]
pub fn item_intent(item: &Attachment) -> String {
    format!("{}={}", short_digest(&item.key()), short_digest(item))
}

/// The same of an administrator, by its key. It has no content.
#[must_use]
pub fn admin_intent(key: &str) -> String {
    format!("{key}=")
}

/// An intent with the time when it was recorded, as it is stored. While a run may last, no other run removes it.
#[must_use]
pub fn dated_intent(intent: &str, now: Timestamp) -> String {
    format!("{intent}@{}", now.secs())
}

/// Whether managed keys have an intent, with any time or, as earlier versions stored it, without one.
#[must_use]
pub fn has_item_intent(stored: &BTreeSet<String>, intent: &str) -> bool {
    let dated = format!("{intent}@");
    let first = stored.range(dated.clone()..).next();
    stored.contains(intent) || first.is_some_and(|first| first.starts_with(&dated))
}

/// The key of the item that a stored intent is about, and when it was recorded; `None` of the key of an item.
#[must_use]
pub fn intended_item(stored: &str) -> Option<(&str, Timestamp)> {
    let dated = stored.rsplit_once('@');
    let dated = dated.and_then(|(intent, secs)| Some((intent, secs.parse().ok()?)));
    let (intent, secs) = dated.unwrap_or((stored, 0));
    let (key, _) = intent.rsplit_once('=')?;
    Some((key, Timestamp::from_secs(secs)))
}

/// The key of the item that a run may be creating at this moment, if this is its intent.
#[must_use]
pub fn item_under_way(stored: &str, now: Timestamp) -> Option<&str> {
    let (key, at) = intended_item(stored)?;
    may_be_under_way(at, now).then_some(key)
}

/// The key of an administrator that came from the primary.
#[must_use]
pub fn admin_key(principal: &Principal) -> String {
    principal.0.clone()
}

/// The key of a read-only administrator that came from the primary. The two kinds are recorded
/// apart: only what came from the primary is taken away.
#[must_use]
pub fn read_only_admin_key(principal: &Principal) -> String {
    format!("read-only {}", principal.0)
}

fn short_digest(value: &impl Serialize) -> String {
    let whole = digest(value);
    whole.get(..KEY_CHARS).unwrap_or(&whole).to_owned()
}

impl LedgerRow {
    /// The row with the managed keys of the stored one.
    #[must_use]
    pub fn with_managed_keys_of(self, stored: Option<&Self>) -> Self {
        let version = stored.and_then(|stored| stored.managed_keys_version);
        let keys = stored.map(|stored| stored.managed_keys.clone());
        Self {
            managed_keys: keys.unwrap_or_default(),
            managed_keys_version: version,
            ..self
        }
    }

    /// What is left of the row when it is deleted: managed keys are never deleted.
    #[must_use]
    pub fn managed_keys_only(&self) -> Option<Self> {
        let Subject::LakeFormation(lf_subject) = self.subject else {
            return None;
        };
        self.managed_keys_version?;
        let keys = self.managed_keys.clone();
        Some(Self::of_managed_keys(lf_subject, keys).with_managed_keys_of(Some(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::LONGEST_RUN_SECS;
    use super::*;

    #[test]
    fn an_intent_is_found_with_and_without_its_time_and_protects_its_item_while_a_run_may_last() {
        let at = Timestamp::from_secs(1_000);
        let stored = BTreeSet::from(["0a=1".to_owned(), dated_intent("0b=2", at)]);
        for (intent, expected) in [
            ("0a=1", true),
            ("0b=2", true),
            ("0b=1", false),
            ("0b=", false),
        ] {
            assert_eq!(has_item_intent(&stored, intent), expected, "{intent}");
        }
        let later = at.plus_secs(LONGEST_RUN_SECS);
        for intent in ["0b=2", "arn:aws:iam::1:role/a@b="] {
            let key = intent.split_once('=').map(|(key, _)| key);
            let dated = dated_intent(intent, at);
            assert_eq!(item_under_way(&dated, at), key);
            assert_eq!(item_under_way(&dated, later), None);
            let years_before = Timestamp::from_secs(-100 * 365 * 86_400);
            assert_eq!(item_under_way(&dated, years_before), None, "of no clock");
            assert_eq!(intended_item(&dated), key.map(|key| (key, at)));
        }
        assert_eq!(item_under_way("0a=1", at), None);
        for key in [
            "0a",
            "arn:aws:iam::1:role/a@b",
            "read-only arn:aws:iam::1:role/c",
        ] {
            assert_eq!(intended_item(key), None);
        }
    }
}
