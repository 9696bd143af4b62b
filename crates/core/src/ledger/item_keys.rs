//! Keys of the items of a Lake Formation subject: LF-Tags, LF-Tag expressions, registered locations,
//! administrators.

use crate::catalog::{Attachment, AttachmentKey, digest};
use crate::grant::Principal;
use serde::Serialize;

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
