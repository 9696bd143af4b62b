//! Reads and writes the attachments that belong to Lake Formation: dispatches each kind to its
//! module.

mod data_cells_filters;
mod lf_tag_assignments;
mod lf_tags;
mod opt_ins;
mod registrations;
mod settings;

use super::AwsRegion;
use crate::call_error;
use lf_tag_assignments::Assignment;
use std::collections::BTreeMap;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, IndexStatus, NamedLfTagExpression, ObservedAttachment,
};
use twinlake_core::{CallError, CallErrorKind, LfSubject, Name, Subject};
use twinlake_engine::ports::EntryResults;

/// Whether a creation may have failed because the object exists. The error of a duplicate is not
/// documented for every call, so a read decides (F-1).
fn may_be_duplicate(error: &CallError) -> bool {
    matches!(
        error.kind,
        CallErrorKind::AlreadyInState | CallErrorKind::Invalid
    )
}

/// The result of a write that has two forms, for an object that exists and for one that does not:
/// the other form was tried because the first one found the object otherwise than expected.
fn result_of_both(first: CallError, second: Result<(), CallError>) -> Result<(), CallError> {
    match second {
        // The second form shows that the first one was right, and failed for a reason of its own.
        Err(error)
            if matches!(
                error.kind,
                CallErrorKind::NotFound | CallErrorKind::AlreadyInState
            ) =>
        {
            Err(first)
        }
        second => second,
    }
}

/// An attachment that exists. Only partition indexes have another status.
fn present(attachment: Attachment) -> ObservedAttachment {
    ObservedAttachment {
        attachment,
        index_status: IndexStatus::Present,
    }
}

/// Whether attachments of this kind belong to Lake Formation.
pub(super) fn is_lakeformation(key: &AttachmentKey) -> bool {
    match key {
        AttachmentKey::Index(_) | AttachmentKey::Statistics(_) | AttachmentKey::GlueTag(_) => false,
        AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::LfTagAssignment { .. }
        | AttachmentKey::OptIn(_)
        | AttachmentKey::LfTagValue { .. }
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => true,
    }
}

impl AwsRegion {
    /// Turns a build error of the SDK into the error of a call.
    pub(super) fn build_result<T, E: std::error::Error>(
        &self,
        call: &str,
        built: Result<T, E>,
    ) -> Result<T, CallError> {
        built.map_err(|e| call_error::from_build_error(call, &self.region, &e))
    }

    /// Reads the LF-Tags, named expressions or registered locations of a Lake Formation subject.
    pub(super) async fn read_lf_subject_items(
        &self,
        lf_subject: LfSubject,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        let attachments = match lf_subject {
            LfSubject::LfTags => self.read_lf_tag_values().await?,
            LfSubject::LfTagExpressions => self.read_named_expressions().await?,
            LfSubject::DataLocations => self.read_registrations().await?,
            LfSubject::Permissions | LfSubject::Settings => Vec::new(),
        };
        Ok(attachments.into_iter().map(present).collect())
    }

    /// Creates or updates attachments. Assignments on one resource and values of one LF-Tag share a
    /// call; the other kinds take one call each. Those of Glue are errors.
    pub(super) async fn write_lf_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
        may_replace: bool,
    ) -> Result<EntryResults, CallError> {
        let existing_expressions = self.existing_expressions(attachments).await?;
        let mut results: EntryResults = vec![Ok(()); attachments.len()];
        let mut assignments_by_column: BTreeMap<Option<&Name>, Vec<Assignment<'_>>> =
            BTreeMap::new();
        let mut values: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
        for (index, attachment) in attachments.iter().enumerate() {
            let result = match (subject, attachment) {
                (_, Attachment::LfTagAssignment { column, key, value }) => {
                    let assignments = assignments_by_column.entry(column.as_ref()).or_default();
                    assignments.push((index, (key, Some(value))));
                    continue;
                }
                (Subject::Table(id), Attachment::DataCellsFilter(filter)) => {
                    self.put_data_cells_filter(id, filter).await
                }
                (_, Attachment::OptIn(opt_in)) => self.create_opt_in(opt_in).await,
                (_, Attachment::LfTagValue { key, value }) => {
                    values.entry(key).or_default().push((index, value));
                    continue;
                }
                (_, Attachment::NamedExpression(named_expression)) => {
                    let existing = existing_expressions.get(&named_expression.name);
                    self.put_named_expression(named_expression, existing, may_replace)
                        .await
                }
                (_, Attachment::Registration(registration)) => {
                    self.put_registration(registration, may_replace).await
                }
                (
                    _,
                    Attachment::DataCellsFilter(_)
                    | Attachment::Index(_)
                    | Attachment::Statistics(_)
                    | Attachment::GlueTag { .. },
                ) => Err(self.unsupported_attachment("put_attachments")),
            };
            if let Some(slot) = results.get_mut(index) {
                *slot = result;
            }
        }
        for (column, assignments) in assignments_by_column {
            self.change_lf_tag_assignments(subject, column, &assignments, &mut results)
                .await?;
        }
        for (key, values) in values {
            self.write_lf_tag_values(key, &values, &mut results).await?;
        }
        Ok(results)
    }

    /// Adds values to one LF-Tag, and stores the result of each.
    ///
    /// # Errors
    /// A call failed, and the batch has no other values.
    async fn write_lf_tag_values(
        &self,
        key: &str,
        values: &[(usize, &str)],
        results: &mut EntryResults,
    ) -> Result<(), CallError> {
        let texts: Vec<&str> = values.iter().map(|(_, value)| *value).collect();
        let result = self.add_lf_tag_values(key, &texts).await;
        if values.len() == results.len() {
            return result;
        }
        for (index, _) in values {
            if let Some(slot) = results.get_mut(*index) {
                slot.clone_from(&result);
            }
        }
        Ok(())
    }

    /// The standby's named expressions by name, if some are to be written.
    async fn existing_expressions(
        &self,
        attachments: &[&Attachment],
    ) -> Result<BTreeMap<String, NamedLfTagExpression>, CallError> {
        let is_expression =
            |attachment: &&Attachment| matches!(attachment, Attachment::NamedExpression(_));
        if !attachments.iter().any(is_expression) {
            return Ok(BTreeMap::new());
        }
        self.named_expressions().await
    }

    /// The result of a creation that found another item of the name: nothing is replaced that was made since the
    /// plan read that there was none, unless it equals what would be made.
    fn result_of_duplicate(&self, call: &str, is_equal: bool) -> Result<(), CallError> {
        match is_equal {
            true => Ok(()),
            false => {
                let message = "somebody has made another one of this name since it was read; it was left as it is";
                let kind = CallErrorKind::Contended;
                Err(CallError::new(kind, call, &self.region, message))
            }
        }
    }

    /// Deletes attachments. Assignments on one resource share a call; the other kinds take one call
    /// each. Those of Glue are errors.
    pub(super) async fn delete_lf_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError> {
        let mut results: EntryResults = vec![Ok(()); keys.len()];
        let mut assignments_by_column: BTreeMap<Option<&Name>, Vec<Assignment<'_>>> =
            BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            let result = match (subject, key) {
                (_, AttachmentKey::LfTagAssignment { column, key }) => {
                    let assignments = assignments_by_column.entry(column.as_ref()).or_default();
                    assignments.push((index, (key, None)));
                    continue;
                }
                (Subject::Table(id), AttachmentKey::DataCellsFilter(name)) => {
                    self.delete_data_cells_filter(id, name).await
                }
                (_, AttachmentKey::OptIn(opt_in)) => self.delete_opt_in(opt_in).await,
                (_, AttachmentKey::LfTagValue { key, value }) => {
                    self.delete_lf_tag_value(key, value).await
                }
                (_, AttachmentKey::NamedExpression(name)) => {
                    let response = self
                        .lakeformation
                        .delete_lf_tag_expression()
                        .name(name)
                        .send()
                        .await;
                    response.map(drop).map_err(|e| {
                        call_error::from_sdk("DeleteLFTagExpression", &self.region, &e)
                    })
                }
                (_, AttachmentKey::Registration(arn)) => self.deregister_resource(arn).await,
                (
                    _,
                    AttachmentKey::DataCellsFilter(_)
                    | AttachmentKey::Index(_)
                    | AttachmentKey::Statistics(_)
                    | AttachmentKey::GlueTag(_),
                ) => Err(self.unsupported_attachment("remove_attachments")),
            };
            if let Some(slot) = results.get_mut(index) {
                *slot = result;
            }
        }
        for (column, assignments) in assignments_by_column {
            self.change_lf_tag_assignments(subject, column, &assignments, &mut results)
                .await?;
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests;
