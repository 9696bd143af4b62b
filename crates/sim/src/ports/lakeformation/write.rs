//! Writes of Lake Formation attachments and data lake settings.

use super::{
    SimRegion, filter_json, list, parse_settings, settings_json, subject_resource_json, text, texts,
};
use crate::lakeformation::resource_json;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, DataCellsFilter, DataLakeSettings, NamedLfTagExpression, OptIn,
    Registration,
};
use twinlake_core::{CallError, CallErrorKind, LfSubject, Subject, TableId};
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
        may_replace: bool,
    ) -> Result<EntryResults, CallError> {
        let mut results = EntryResults::new();
        for attachment in attachments {
            results.push(self.put_attachment(subject, attachment, may_replace).await);
        }
        Ok(results)
    }

    async fn put_attachment(
        &self,
        subject: &Subject,
        attachment: &Attachment,
        may_replace: bool,
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
                self.put_named_expression(named, may_replace).await
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
        }
    }

    async fn put_named_expression(
        &self,
        named: &NamedLfTagExpression,
        may_replace: bool,
    ) -> Result<(), CallError> {
        let listed: Vec<Value> = named
            .expression
            .iter()
            .map(|(key, values)| json!({"TagKey": key, "TagValues": values}))
            .collect();
        let request = json!({
            "Name": named.name, "Description": named.description, "Expression": listed,
        });
        let wanted = Attachment::NamedExpression(named.clone());
        let existing = self
            .existing_item(LfSubject::LfTagExpressions, &wanted)
            .await?;
        match (existing, may_replace) {
            (None, _) => self.write("CreateLFTagExpression", request).await,
            (Some(_), true) => self.write("UpdateLFTagExpression", request).await,
            (Some(existing), false) => {
                self.result_of_duplicate("CreateLFTagExpression", existing == wanted)
            }
        }
    }

    async fn put_registration(
        &self,
        registration: &Registration,
        may_replace: bool,
    ) -> Result<(), CallError> {
        const REGISTER: &str = "RegisterResource";
        let request = json!({
            "ResourceArn": registration.arn, "RoleArn": registration.role,
            "UseServiceLinkedRole": registration.role.is_none(),
            "WithFederation": registration.with_federation,
            "HybridAccessEnabled": registration.hybrid_access,
            "WithPrivilegedAccess": registration.privileged_access,
            "ExpectedResourceOwnerAccount": registration.owner,
        });
        let refused = match self.write(REGISTER, request.clone()).await {
            Err(error) if may_be_duplicate(&error) => error,
            result => return result,
        };
        if may_replace && refused.kind == CallErrorKind::AlreadyInState {
            let deregister = json!({"ResourceArn": registration.arn});
            self.write("DeregisterResource", deregister).await?;
            return self.write(REGISTER, request).await;
        }
        let wanted = Attachment::Registration(registration.clone());
        match self
            .existing_item(LfSubject::DataLocations, &wanted)
            .await?
        {
            Some(existing) if !may_replace => {
                self.result_of_duplicate(REGISTER, existing == wanted)
            }
            Some(_) | None => Err(refused),
        }
    }

    /// The item of the Region with the key of another one.
    async fn existing_item(
        &self,
        lf_subject: LfSubject,
        wanted: &Attachment,
    ) -> Result<Option<Attachment>, CallError> {
        let listed = self.list_items(lf_subject).await?.into_iter();
        let mut listed = listed.map(|observed| observed.attachment);
        Ok(listed.find(|one| one.key() == wanted.key()))
    }

    fn result_of_duplicate(&self, call: &str, is_equal: bool) -> Result<(), CallError> {
        match is_equal {
            true => Ok(()),
            false => {
                let kind = CallErrorKind::Contended;
                Err(CallError::new(
                    kind,
                    call,
                    &self.region,
                    "another one exists",
                ))
            }
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
                let update = json!({"TagKey": key, "TagValuesToDelete": [value]});
                let refused = match self.write("UpdateLFTag", update).await {
                    Err(error) if !error.kind.is_transient() => error,
                    result => return result,
                };
                let known = self.call("GetLFTag", &json!({"TagKey": key})).await?;
                let is_last_value = texts(&known, "TagValues") == BTreeSet::from([value.clone()]);
                match is_last_value {
                    true => self.write("DeleteLFTag", json!({"TagKey": key})).await,
                    false => Err(refused),
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

    /// Reads the settings. An answer without them, or without a list of administrators, is a failed read.
    pub(in crate::ports) async fn read_settings(&self) -> Result<DataLakeSettings, CallError> {
        const CALL: &str = "GetDataLakeSettings";
        let answer = self.call(CALL, &json!({})).await?;
        let settings = answer.get("DataLakeSettings");
        let settings = settings.filter(|settings| settings.get("DataLakeAdmins").is_some());
        settings.map(parse_settings).ok_or_else(|| {
            let kind = CallErrorKind::Unavailable;
            CallError::new(kind, CALL, &self.region, "the answer has no settings")
        })
    }

    pub(in crate::ports) async fn change_settings(
        &self,
        change: &SettingsChange,
    ) -> Result<(), CallError> {
        const CALL: &str = "PutDataLakeSettings";
        let current = self.read_settings().await?;
        change.check_current(&current, &self.region)?;
        let wanted = change.applied_to(&current);
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
        match self.read_settings().await? == wanted {
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
