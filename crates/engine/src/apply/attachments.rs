//! Writes attachments in batches of one subject and kind.

use super::partition_batches::BatchDivision;
use super::{Calls, StepResults};
use crate::ports::{EntryResults, MAX_LF_TAGS_PER_CALL, MAX_STATISTICS_PER_UPDATE, WriteRegion};
use futures_util::FutureExt as _;
use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use twinlake_core::catalog::AttachmentKey;
use twinlake_core::{CallError, Step, Subject};

/// What the entries of one call share: what it does with them, their kind, and the column or the
/// LF-Tag that the call names.
type CallKey = (CallAction, Discriminant<AttachmentKey>, Option<String>);

/// What a call does with its entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CallAction {
    Create,
    /// Replaces what exists.
    Replace,
    Remove,
}

/// Steps that one call carries.
type Batch = (CallKey, Vec<usize>);

/// Returns the calls for steps on attachments. One subject's batches are sent one after the other:
/// concurrent Lake Formation writes on one table conflict (LF-12).
pub(super) fn calls<'a, S: WriteRegion>(
    steps: &'a [Step],
    positions: &[usize],
    standby: &'a S,
) -> Vec<Calls<'a>> {
    let mut groups: BTreeMap<(&'a Subject, Option<String>), Vec<Batch>> = BTreeMap::new();
    for &position in positions {
        let (subject, key, action) = match steps.get(position) {
            Some(Step::PutAttachment {
                subject,
                attachment,
                replaces,
                ..
            }) => {
                let key = attachment.key();
                // The calls of the other kinds are the same for what exists.
                let action = match *replaces || !is_created_or_updated(&key) {
                    true => CallAction::Replace,
                    false => CallAction::Create,
                };
                (subject, key, action)
            }
            Some(Step::RemoveAttachment { subject, key, .. }) => {
                (subject, key.clone(), CallAction::Remove)
            }
            Some(_) | None => continue,
        };
        let batches = groups.entry((subject, catalog_item(&key))).or_default();
        let call_key = (action, discriminant(&key), shared_target(&key));
        match batches
            .iter_mut()
            .find(|(other, batch)| *other == call_key && batch.len() < batch_limit(&key))
        {
            Some((_, batch)) => batch.push(position),
            None => batches.push((call_key, vec![position])),
        }
    }
    let calls = groups.into_iter().map(|((subject, _), batches)| {
        let of_subject = async move {
            let mut of_subject = StepResults::new();
            for ((action, _, _), batch) in batches {
                let results = send_divided(steps, &batch, (subject, action), standby).await;
                of_subject.extend(batch.into_iter().zip(results));
            }
            of_subject
        };
        of_subject.boxed_local()
    });
    calls.collect()
}

/// The catalog-wide item that an attachment is or belongs to: writes of different items do not conflict,
/// while those of one table or database do (LF-12).
fn catalog_item(key: &AttachmentKey) -> Option<String> {
    match key {
        AttachmentKey::LfTagValue { key, .. } => Some(key.clone()),
        AttachmentKey::NamedExpression(name) => Some(name.clone()),
        AttachmentKey::Registration(location) => Some(location.clone()),
        AttachmentKey::LfTagAssignment { .. }
        | AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::OptIn(_) => None,
    }
}

/// Whether the item has one call that creates it and another that replaces it, and belongs to no paired object, so
/// that one that exists may be somebody's.
fn is_created_or_updated(key: &AttachmentKey) -> bool {
    match key {
        AttachmentKey::NamedExpression(_) | AttachmentKey::Registration(_) => true,
        AttachmentKey::LfTagValue { .. }
        | AttachmentKey::LfTagAssignment { .. }
        | AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::OptIn(_) => false,
    }
}

/// The column of an assigned LF-Tag, or the LF-Tag of a value: one call names only one of them.
fn shared_target(key: &AttachmentKey) -> Option<String> {
    match key {
        AttachmentKey::LfTagAssignment { column, .. } => column.as_ref().map(ToString::to_string),
        AttachmentKey::LfTagValue { key, .. } => Some(key.clone()),
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::OptIn(_)
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => None,
    }
}

/// Sends a batch, and in parts if a call fails as a whole. Returns one result for each step.
async fn send_divided<S: WriteRegion>(
    steps: &[Step],
    batch: &[usize],
    target: (&Subject, CallAction),
    standby: &S,
) -> EntryResults {
    let mut division = BatchDivision::new(batch);
    while let Some(part) = division.next_part() {
        let result = send(steps, &part, target, standby).await;
        division.record(&part, result);
    }
    division.into_results(batch)
}

/// Most attachments of a kind in one batch.
fn batch_limit(key: &AttachmentKey) -> usize {
    match key {
        AttachmentKey::LfTagValue { .. } | AttachmentKey::LfTagAssignment { .. } => {
            MAX_LF_TAGS_PER_CALL
        }
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::OptIn(_)
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => MAX_STATISTICS_PER_UPDATE,
    }
}

/// Sends a batch: all of its steps put attachments, or all remove attachments.
async fn send<S: WriteRegion>(
    steps: &[Step],
    batch: &[usize],
    (subject, action): (&Subject, CallAction),
    standby: &S,
) -> Result<EntryResults, CallError> {
    let mut attachments = Vec::new();
    let mut keys = Vec::new();
    for step in batch.iter().filter_map(|&index| steps.get(index)) {
        if let Step::PutAttachment { attachment, .. } = step {
            attachments.push(attachment);
        }
        if let Step::RemoveAttachment { key, .. } = step {
            keys.push(key);
        }
    }
    match action {
        CallAction::Create => standby.put_attachments(subject, &attachments, false).await,
        CallAction::Replace => standby.put_attachments(subject, &attachments, true).await,
        CallAction::Remove => standby.remove_attachments(subject, &keys).await,
    }
}
