//! Writes of Lake Formation attachments and data lake settings.

use super::{
    SimRegion, filter_json, list, parse_settings, settings_json, subject_resource_json, text, texts,
};
use crate::lakeformation::resource_json;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{Attachment, AttachmentKey, DataCellsFilter, OptIn};
use twinlake_core::{CallError, CallErrorKind, Subject, TableId};
use twinlake_engine::ports::{EntryResults, SettingsChange};

/// Whether a creation may have failed because the object exists (F-1).
fn may_be_duplicate(error: &CallError) -> bool {
    matches!(
        error.kind,
        CallErrorKind::AlreadyInState | CallErrorKind::Invalid
    )
}

impl SimRegion {
    pub(in crate::ports) async fn put_lakeformation_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
    ) -> Result<EntryResults, CallError> {
        let mut results = EntryResults::new();
        for attachment in attachments {
            results.push(self.put_attachment(subject, attachment).await);
        }
        Ok(results)
    }

    async fn put_attachment(
        &self,
        subject: &Subject,
        attachment: &Attachment,
    ) -> Result<(), CallError> {
        match (subject, attachment) {
            (Subject::Table(id), Attachment::DataCellsFilter(filter)) => {
                self.put_filter(id, filter).await
            }
            (_, Attachment::LfTagAssignment { column, key, value }) => {
                let tags = json!([{"TagKey": key, "TagValues": [value]}]);
                let request = json!({
                    "Resource": subject_resource_json(subject, column.as_ref()), "LFTags": tags,
                });
                self.change_lf_tags("AddLFTagsToResource", request).await
            }
            (_, Attachment::OptIn(opt_in)) => {
                self.change_opt_in("CreateLakeFormationOptIn", opt_in).await
            }
            (_, Attachment::LfTagValue { key, value }) => {
                let known = self.call("GetLFTag", &json!({"TagKey": key})).await;
                let update = json!({"TagKey": key, "TagValuesToAdd": [value]});
                let create = json!({"TagKey": key, "TagValues": [value]});
                match known {
                    Ok(_) => self.write("UpdateLFTag", update).await,
                    Err(error) if error.kind.is_transient() => Err(error),
                    Err(_) => match self.write("CreateLFTag", create).await {
                        Err(error) if may_be_duplicate(&error) => {
                            let updated = self.write("UpdateLFTag", update).await;
                            updated.map_err(|_| error)
                        }
                        result => result,
                    },
                }
            }
            (_, Attachment::NamedExpression(named)) => {
                let listed: Vec<Value> = named
                    .expression
                    .iter()
                    .map(|(key, values)| json!({"TagKey": key, "TagValues": values}))
                    .collect();
                let request = json!({
                    "Name": named.name, "Description": named.description, "Expression": listed,
                });
                let answer = self.call("ListLFTagExpressions", &json!({})).await?;
                let mut listed = list(&answer, "LFTagExpressions").iter();
                let exists = listed.any(|one| text(one, "Name").as_ref() == Some(&named.name));
                let call = match exists {
                    true => "UpdateLFTagExpression",
                    false => "CreateLFTagExpression",
                };
                self.write(call, request).await
            }
            (_, Attachment::Registration(registration)) => {
                let request = json!({
                    "ResourceArn": registration.arn, "RoleArn": registration.role,
                    "UseServiceLinkedRole": registration.role.is_none(),
                    "WithFederation": registration.with_federation,
                    "HybridAccessEnabled": registration.hybrid_access,
                    "WithPrivilegedAccess": registration.privileged_access,
                    "ExpectedResourceOwnerAccount": registration.owner,
                });
                match self.write("RegisterResource", request.clone()).await {
                    Err(error) if error.kind == CallErrorKind::AlreadyInState => {
                        let deregister = json!({"ResourceArn": registration.arn});
                        self.write("DeregisterResource", deregister).await?;
                        self.write("RegisterResource", request).await
                    }
                    result => result,
                }
            }
            (
                _,
                Attachment::DataCellsFilter(_)
                | Attachment::Index(_)
                | Attachment::Statistics(_)
                | Attachment::GlueTag { .. },
            ) => Err(self.unsupported_attachment("put_attachments")),
        }
    }

    async fn put_filter(&self, id: &TableId, filter: &DataCellsFilter) -> Result<(), CallError> {
        let create = json!({"TableData": filter_json(id, filter, None)});
        match self.write("CreateDataCellsFilter", create).await {
            Err(error) if error.kind == CallErrorKind::AlreadyInState => {}
            result => return result,
        }
        let key = json!({
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
            "Name": filter.name,
        });
        let answer = self.call("GetDataCellsFilter", &key).await?;
        let version = answer
            .get("DataCellsFilter")
            .and_then(|one| text(one, "VersionId"));
        let update = json!({"TableData": filter_json(id, filter, version)});
        self.write("UpdateDataCellsFilter", update).await
    }

    /// Adds or removes one LF-Tag. Its entry in `Failures` is returned as the error of the call.
    async fn change_lf_tags(&self, call: &str, request: Value) -> Result<(), CallError> {
        let answer = self.call(call, &request).await?;
        match list(&answer, "Failures").first() {
            Some(failure) => Err(self.entry_error(call, failure.get("Error"))),
            None => Ok(()),
        }
    }

    async fn change_opt_in(&self, call: &str, opt_in: &OptIn) -> Result<(), CallError> {
        let condition = opt_in.condition.as_ref().map(|c| json!({"Expression": c}));
        let request = json!({
            "Principal": {"DataLakePrincipalIdentifier": opt_in.principal.0},
            "Resource": resource_json(&opt_in.resource), "Condition": condition,
        });
        self.write(call, request).await
    }

    pub(in crate::ports) async fn remove_lakeformation_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError> {
        let mut results = EntryResults::new();
        for key in keys {
            results.push(self.remove_attachment(subject, key).await);
        }
        Ok(results)
    }

    async fn remove_attachment(
        &self,
        subject: &Subject,
        key: &AttachmentKey,
    ) -> Result<(), CallError> {
        match (subject, key) {
            (Subject::Table(id), AttachmentKey::DataCellsFilter(name)) => {
                let request = json!({
                    "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
                    "Name": name,
                });
                self.write("DeleteDataCellsFilter", request).await
            }
            (_, AttachmentKey::LfTagAssignment { column, key }) => {
                let tags = json!([{"TagKey": key, "TagValues": []}]);
                let request = json!({
                    "Resource": subject_resource_json(subject, column.as_ref()), "LFTags": tags,
                });
                self.change_lf_tags("RemoveLFTagsFromResource", request)
                    .await
            }
            (_, AttachmentKey::OptIn(opt_in)) => {
                self.change_opt_in("DeleteLakeFormationOptIn", opt_in).await
            }
            (_, AttachmentKey::LfTagValue { key, value }) => {
                let known = self.call("GetLFTag", &json!({"TagKey": key})).await?;
                let is_last_value = texts(&known, "TagValues") == BTreeSet::from([value.clone()]);
                match is_last_value {
                    true => self.write("DeleteLFTag", json!({"TagKey": key})).await,
                    false => {
                        let update = json!({"TagKey": key, "TagValuesToDelete": [value]});
                        self.write("UpdateLFTag", update).await
                    }
                }
            }
            (_, AttachmentKey::NamedExpression(name)) => {
                self.write("DeleteLFTagExpression", json!({"Name": name}))
                    .await
            }
            (_, AttachmentKey::Registration(arn)) => {
                self.write("DeregisterResource", json!({"ResourceArn": arn}))
                    .await
            }
            (
                _,
                AttachmentKey::DataCellsFilter(_)
                | AttachmentKey::Index(_)
                | AttachmentKey::Statistics(_)
                | AttachmentKey::GlueTag(_),
            ) => Err(self.unsupported_attachment("remove_attachments")),
        }
    }

    pub(in crate::ports) async fn change_settings(
        &self,
        change: &SettingsChange,
    ) -> Result<(), CallError> {
        const CALL: &str = "PutDataLakeSettings";
        let answer = self.call("GetDataLakeSettings", &json!({})).await?;
        let current = answer.get("DataLakeSettings").cloned().unwrap_or_default();
        let wanted = change.applied_to(&parse_settings(Some(&current)));
        let default_permissions = |granted: bool| match granted {
            false => json!([]),
            true => json!([{
                "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
                "Permissions": ["ALL"],
            }]),
        };
        let defaults = (
            default_permissions(wanted.database_defaults_open),
            default_permissions(wanted.table_defaults_open),
        );
        let document = json!({"DataLakeSettings": settings_json(&wanted, defaults)});
        self.write(CALL, document).await?;
        let read_back = self.call("GetDataLakeSettings", &json!({})).await?;
        match parse_settings(read_back.get("DataLakeSettings")) == wanted {
            true => Ok(()),
            false => {
                let message = "the settings read back differ from the settings written";
                Err(CallError::new(
                    CallErrorKind::Contended,
                    CALL,
                    &self.region,
                    message,
                ))
            }
        }
    }
}
