//! Decides which writes of Twinlake fail, and how.

use proptest::prelude::*;
use std::fmt;
use twinlake_core::catalog::AttachmentKey;
use twinlake_core::grant::{Grants, ListedPermission, ListedResource, to_batch_entries};
use twinlake_core::{CallErrorKind, PermissionGrant, Step, Subject};

/// What a write can do to the access that the tests compare. They do not compare settings, default
/// permissions, partitions and functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessEffect {
    /// It only takes access away.
    Closes,
    /// It may give access.
    MayOpen,
    /// It does not concern the compared access.
    Unrelated,
}

/// One write: the change of one object, attachment or permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What is written; attempts at the same change have the same name.
    pub name: String,
    /// What it can do to access.
    pub effect: AccessEffect,
}

impl Write {
    /// Creates a write.
    #[must_use]
    pub fn new(effect: AccessEffect, name: String) -> Self {
        Self { name, effect }
    }

    /// Returns the write that puts (`put`) or removes an attachment.
    #[must_use]
    pub fn of_attachment(verb: &str, subject: &Subject, key: &AttachmentKey) -> Self {
        let is_put = verb == "put";
        let effect = match key {
            AttachmentKey::OptIn(_) if is_put => AccessEffect::Closes,
            AttachmentKey::DataCellsFilter(_) if !is_put => AccessEffect::Closes,
            AttachmentKey::OptIn(_)
            | AttachmentKey::DataCellsFilter(_)
            | AttachmentKey::LfTagAssignment { .. }
            | AttachmentKey::LfTagValue { .. }
            | AttachmentKey::NamedExpression(_) => AccessEffect::MayOpen,
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::Registration(_) => AccessEffect::Unrelated,
        };
        Self::new(effect, format!("{verb} {subject}: {key:?}"))
    }

    /// Returns the writes of an entry that is granted (`grant`) or revoked (`revoke`): one for each
    /// permission and column or LF-Tag value.
    #[must_use]
    pub fn of_entry(verb: &str, entry: &ListedPermission) -> Vec<Self> {
        let resources: Vec<ListedResource> = match &entry.resource {
            ListedResource::Columns(id, names) => names
                .iter()
                .map(|name| ListedResource::Columns(id.clone(), [name.clone()].into()))
                .collect(),
            ListedResource::LfTag(key, values) => values
                .iter()
                .map(|value| ListedResource::LfTag(key.clone(), [value.clone()].into()))
                .collect(),
            other => vec![other.clone()],
        };
        let effect = match verb {
            "revoke" => AccessEffect::Closes,
            _ => AccessEffect::MayOpen,
        };
        let permissions = entry.permissions.iter();
        permissions
            .flat_map(|permission| {
                resources.iter().map(move |resource| {
                    let name = format!("{verb} {permission} on {resource:?} {}", entry.principal);
                    Self::new(effect, name)
                })
            })
            .collect()
    }

    fn of_grant(verb: &str, grant: &PermissionGrant, grantable: bool) -> Self {
        let grants = Grants::from([(grant.clone(), grantable)]);
        let (entry, _) = to_batch_entries(&grants).remove(0);
        Self::of_entry(verb, &entry).remove(0)
    }

    /// Returns the write of a step.
    #[must_use]
    pub fn of_step(step: &Step) -> Self {
        use AccessEffect::{Closes, MayOpen, Unrelated};
        match step {
            Step::CreateDatabase { database } => {
                Self::new(MayOpen, format!("create database {}", database.name))
            }
            Step::UpdateDatabase { database, .. } => {
                Self::new(Unrelated, format!("update database {}", database.name))
            }
            Step::CreateTable { id, .. } => Self::new(MayOpen, format!("create table {id}")),
            Step::UpdateTable { id, .. } => Self::new(MayOpen, format!("update table {id}")),
            Step::DeleteTable { id } => Self::new(Closes, format!("delete table {id}")),
            Step::DeleteDatabase { name } => Self::new(Closes, format!("delete database {name}")),
            Step::PutAttachment {
                subject,
                attachment,
                ..
            } => Self::of_attachment("put", subject, &attachment.key()),
            Step::RemoveAttachment { subject, key } => Self::of_attachment("remove", subject, key),
            Step::Grant { grant, grantable } => Self::of_grant("grant", grant, *grantable),
            Step::Revoke {
                grant, grantable, ..
            } => Self::of_grant("revoke", grant, *grantable),
            Step::PutSettings { .. } => Self::new(Closes, "put settings".to_owned()),
            Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::DeletePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. } => Self::new(Unrelated, step.subject().to_string()),
        }
    }
}

/// How a write fails.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of the error.
    pub kind: CallErrorKind,
    /// The number of attempts that fail; `None` if all do.
    pub attempts: Option<u8>,
    /// The service makes the change and returns an error all the same.
    pub takes_effect: bool,
    /// The whole call fails. If `takes_effect`, the entries before this one take effect, too; the others
    /// do not.
    pub fails_whole_call: bool,
}

/// Decides which writes fail. The hash of a write's name selects a slot; the write fails with the slot's
/// fault if the slot's number is at least the threshold.
#[derive(Clone)]
pub struct FaultRules {
    named: Vec<(String, Fault)>,
    closing: (u8, Vec<(u8, Fault)>),
    other: (u8, Vec<(u8, Fault)>),
}

impl fmt::Debug for FaultRules {
    /// Shows the slots of which writes fail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entries(self.named.iter().map(|(name, fault)| (name, fault)));
        for (name, (threshold, slots)) in [("closing", &self.closing), ("other", &self.other)] {
            for (index, (roll, fault)) in slots.iter().enumerate() {
                if roll >= threshold {
                    map.entry(&format!("{name} {index}"), fault);
                }
            }
        }
        map.finish()
    }
}

impl FaultRules {
    /// No write fails.
    #[must_use]
    pub fn none() -> Self {
        Self::by_name_prefix(Vec::new())
    }

    /// Every write fails whose name begins with one of these texts.
    #[must_use]
    pub fn by_name_prefix(named: Vec<(String, Fault)>) -> Self {
        Self {
            named,
            closing: (u8::MAX, Vec::new()),
            other: (u8::MAX, Vec::new()),
        }
    }

    /// Returns how a write fails, if it does.
    #[must_use]
    pub fn find(&self, write: &Write) -> Option<&Fault> {
        let mut named = self.named.iter();
        if let Some((_, fault)) = named.find(|(name, _)| write.name.starts_with(name)) {
            return Some(fault);
        }
        let (threshold, slots) = match write.effect {
            AccessEffect::Closes => &self.closing,
            AccessEffect::MayOpen | AccessEffect::Unrelated => &self.other,
        };
        // FNV-1a: the same slot in every run.
        let hash = write
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let count = u64::try_from(slots.len()).ok().filter(|count| *count > 0)?;
        let (roll, fault) = slots.get(usize::try_from(hash % count).ok()?)?;
        (roll >= threshold).then_some(fault)
    }
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let kinds = vec![
        CallErrorKind::Unavailable,
        CallErrorKind::Contended,
        CallErrorKind::NotPropagated,
        CallErrorKind::Denied,
        CallErrorKind::Invalid,
        CallErrorKind::Unsupported,
        // An error is no proof of an effect: a lost right is answered like a missing object.
        CallErrorKind::NotFound,
    ];
    (
        prop::sample::select(kinds),
        prop::option::of(1..4u8),
        prop::bool::weighted(0.25),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(kind, attempts, takes_effect, fails_whole_call)| Fault {
            kind,
            attempts,
            takes_effect,
            fails_whole_call,
        })
}

/// Generates rules by which writes fail; writes that only take access away fail more often.
pub fn any_fault_rules() -> impl Strategy<Value = FaultRules> {
    let slots = |percent: Vec<u8>| {
        let threshold = prop::sample::select(percent).prop_map(|percent| 100 - percent);
        (
            threshold,
            prop::collection::vec((0..100u8, any_fault()), 24),
        )
    };
    (slots(vec![40, 70, 100]), slots(vec![0, 10, 30])).prop_map(|(closing, other)| FaultRules {
        named: Vec::new(),
        closing,
        other,
    })
}
