//! Reads and writes the LF-Tags that are assigned to databases, tables and columns.

use super::present;
use crate::region::AwsRegion;
use crate::{call_error, lakeformation_convert, permission_convert};
use aws_sdk_lakeformation::error::BuildError;
use aws_sdk_lakeformation::types as lakeformation;
use std::collections::BTreeMap;
use twinlake_core::catalog::{Attachment, ObservedAttachment};
use twinlake_core::grant::ListedResource;
use twinlake_core::snapshot::LfTags;
use twinlake_core::{CallError, Name, Subject};
use twinlake_engine::ports::EntryResults;

/// The index in the batch, the key of the LF-Tag and its value; without a value the assignment is
/// removed.
pub(super) type Assignment<'a> = (usize, (&'a str, Option<&'a str>));

/// The resource of an assignment; `None` if LF-Tags cannot be assigned to the subject.
fn tagged_resource(subject: &Subject, column: Option<&Name>) -> Option<ListedResource> {
    match (subject, column) {
        (Subject::Database(name), _) => Some(ListedResource::Database(name.clone())),
        (Subject::Table(id), None) => Some(ListedResource::Table(id.clone())),
        (Subject::Table(id), Some(column)) => {
            Some(ListedResource::Columns(id.clone(), [column.clone()].into()))
        }
        (Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_), _) => None,
    }
}

/// The LF-Tags of a database or table, or of one column of a table, as attachments.
fn attachments_of(column: Option<&Name>, tags: LfTags) -> Vec<Attachment> {
    let assignment = |(key, value)| Attachment::LfTagAssignment {
        column: column.cloned(),
        key,
        value,
    };
    tags.into_iter().map(assignment).collect()
}

/// The LF-Tags of one call. An assignment without a value gets the assigned one; without that, there
/// is nothing to remove, and it is left out.
fn lf_tag_pairs(
    column: Option<&Name>,
    assignments: &[Assignment<'_>],
    assigned: &[ObservedAttachment],
) -> Result<Vec<lakeformation::LfTagPair>, BuildError> {
    let assigned_value = |key: &str| {
        assigned.iter().find_map(|observed| {
            let Attachment::LfTagAssignment {
                column: assigned_column,
                key: assigned_key,
                value,
            } = &observed.attachment
            else {
                return None;
            };
            (assigned_column.as_ref() == column && assigned_key == key).then(|| value.clone())
        })
    };
    let pairs = assignments.iter().filter_map(|(_, (key, value))| {
        let value = value.map(str::to_owned).or_else(|| assigned_value(key))?;
        let pair = lakeformation::LfTagPair::builder().tag_key(*key);
        Some(pair.tag_values(value).build())
    });
    pairs.collect()
}

impl AwsRegion {
    /// Reads the LF-Tags assigned to a database or to a table and its columns, without inherited
    /// ones (LF-25).
    pub(in crate::region) async fn read_lf_tag_assignments(
        &self,
        subject: &Subject,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        const CALL: &str = "GetResourceLFTags";
        let Some(resource) = tagged_resource(subject, None) else {
            return Ok(Vec::new());
        };
        let resource = self.build_result(
            CALL,
            permission_convert::to_sdk_resource(&resource, &self.account),
        )?;
        let call = self.lakeformation.get_resource_lf_tags().resource(resource);
        let response = call.show_assigned_lf_tags(true).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let tags_on_subject = match subject {
            Subject::Database(_) => response.lf_tag_on_database,
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Table(_)
            | Subject::Function(_) => response.lf_tags_on_table,
        };
        let tags_of = |pairs| {
            let tags = lakeformation_convert::from_sdk_lf_tags(pairs, &self.account);
            tags.map_err(|e| self.unreadable_entry_error(CALL, e))
        };
        let mut attachments = attachments_of(None, tags_of(tags_on_subject)?);
        for column in response.lf_tags_on_columns.unwrap_or_default() {
            let name = Name::from_service(&column.name.unwrap_or_default());
            let tags = tags_of(column.lf_tags)?;
            attachments.extend(attachments_of(Some(&name), tags));
        }
        Ok(attachments.into_iter().map(present).collect())
    }

    /// Adds LF-Tags to one resource, or removes them if the assignments have no value, and stores
    /// the result of each assignment.
    ///
    /// # Errors
    /// The call failed as a whole, and it is the only one of its batch.
    pub(super) async fn change_lf_tag_assignments(
        &self,
        subject: &Subject,
        column: Option<&Name>,
        assignments: &[Assignment<'_>],
        results: &mut EntryResults,
    ) -> Result<(), CallError> {
        let response = self
            .send_lf_tag_assignments(subject, column, assignments)
            .await;
        if let (Err(error), true) = (&response, assignments.len() == results.len()) {
            return Err(error.clone());
        }
        for (index, (key, _)) in assignments {
            let result = match &response {
                Err(error) => Err(error.clone()),
                Ok(failures) => match failures.get(*key) {
                    Some(error) => Err(error.clone()),
                    None => Ok(()),
                },
            };
            if let Some(slot) = results.get_mut(*index) {
                *slot = result;
            }
        }
        Ok(())
    }

    /// Sends one call and returns its failures by the key of the LF-Tag (LF-13).
    async fn send_lf_tag_assignments(
        &self,
        subject: &Subject,
        column: Option<&Name>,
        assignments: &[Assignment<'_>],
    ) -> Result<BTreeMap<String, CallError>, CallError> {
        let is_add = assignments.iter().all(|(_, (_, value))| value.is_some());
        let call = match is_add {
            true => "AddLFTagsToResource",
            false => "RemoveLFTagsFromResource",
        };
        let Some(resource) = tagged_resource(subject, column) else {
            return Ok(BTreeMap::new());
        };
        let resource = self.build_result(
            call,
            permission_convert::to_sdk_resource(&resource, &self.account),
        )?;
        // A removal must name the assigned value.
        let assigned = match is_add {
            true => Vec::new(),
            false => self.read_lf_tag_assignments(subject).await?,
        };
        let pairs = self.build_result(call, lf_tag_pairs(column, assignments, &assigned))?;
        if pairs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let failures = match is_add {
            true => {
                let add = self
                    .lakeformation
                    .add_lf_tags_to_resource()
                    .resource(resource);
                let response = add.set_lf_tags(Some(pairs)).send().await;
                response
                    .map_err(|e| call_error::from_sdk(call, &self.region, &e))?
                    .failures
            }
            false => {
                let remove = self
                    .lakeformation
                    .remove_lf_tags_from_resource()
                    .resource(resource);
                let response = remove.set_lf_tags(Some(pairs)).send().await;
                response
                    .map_err(|e| call_error::from_sdk(call, &self.region, &e))?
                    .failures
            }
        };
        self.failures_by_key(call, failures.unwrap_or_default())
    }

    /// The failures of a call by the key of the LF-Tag.
    ///
    /// # Errors
    /// A failure that names no LF-Tag: it may belong to any of them.
    fn failures_by_key(
        &self,
        call: &str,
        failures: Vec<lakeformation::LfTagError>,
    ) -> Result<BTreeMap<String, CallError>, CallError> {
        let mut by_key = BTreeMap::new();
        for failure in failures {
            let (code, message) = match failure.error {
                Some(detail) => (
                    detail.error_code.unwrap_or_default(),
                    detail.error_message.unwrap_or_default(),
                ),
                None => (
                    String::new(),
                    "the response contains a failure without a reason".to_owned(),
                ),
            };
            let error = call_error::from_code(call, &self.region, &code, &message);
            match failure.lf_tag {
                Some(tag) => by_key.insert(tag.tag_key.to_lowercase(), error),
                None => return Err(error),
            };
        }
        Ok(by_key)
    }
}
