//! The calls that write.

use super::{SimRegion, filter_back, list, resource, settings, text, texts, written};
use crate::lake::resource_json;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::catalog::{CellsFilter, OptIn, Part, PartKey};
use twinlake_core::{Fault, FaultKind, Subject, TableId};
use twinlake_engine::ports::{EntryResults, SettingsChange};

impl SimRegion {
    pub(in crate::port) async fn put_of_lake(
        &self,
        subject: &Subject,
        parts: &[&Part],
    ) -> Result<EntryResults, Fault> {
        let mut results = EntryResults::new();
        for part in parts {
            results.push(self.put_one(subject, part).await);
        }
        Ok(results)
    }

    async fn put_one(&self, subject: &Subject, part: &Part) -> Result<(), Fault> {
        match (subject, part) {
            (Subject::Table(id), Part::Filter(filter)) => self.put_filter(id, filter).await,
            (_, Part::Assigned { column, key, value }) => {
                let tags = json!([{"TagKey": key, "TagValues": [value]}]);
                let request = json!({
                    "Resource": resource(subject, column.as_ref()), "LFTags": tags,
                });
                self.assign("AddLFTagsToResource", request).await
            }
            (_, Part::OptIn(opt_in)) => self.opt("CreateLakeFormationOptIn", opt_in).await,
            (_, Part::TagValue { key, value }) => {
                let make = json!({"TagKey": key, "TagValues": [value]});
                match self.write("CreateLFTag", make).await {
                    Err(fault) if fault.kind == FaultKind::AlreadyDone => {
                        let add = json!({"TagKey": key, "TagValuesToAdd": [value]});
                        self.write("UpdateLFTag", add).await
                    }
                    made => made,
                }
            }
            (_, Part::Expression(saved)) => {
                let listed: Vec<Value> = saved
                    .expression
                    .iter()
                    .map(|(key, values)| json!({"TagKey": key, "TagValues": values}))
                    .collect();
                let request = json!({
                    "Name": saved.name, "Description": saved.description, "Expression": listed,
                });
                match self.write("CreateLFTagExpression", request.clone()).await {
                    Err(fault) if fault.kind == FaultKind::AlreadyDone => {
                        self.write("UpdateLFTagExpression", request).await
                    }
                    made => made,
                }
            }
            (_, Part::Registration(one)) => {
                let request = json!({
                    "ResourceArn": one.arn, "RoleArn": one.role,
                    "UseServiceLinkedRole": one.role.is_none(),
                    "WithFederation": one.with_federation,
                    "HybridAccessEnabled": one.hybrid_access,
                    "WithPrivilegedAccess": one.privileged_access,
                    "ExpectedResourceOwnerAccount": one.owner,
                });
                match self.write("RegisterResource", request.clone()).await {
                    Err(fault) if fault.kind == FaultKind::AlreadyDone => {
                        let gone = json!({"ResourceArn": one.arn});
                        self.write("DeregisterResource", gone).await?;
                        self.write("RegisterResource", request).await
                    }
                    made => made,
                }
            }
            (_, Part::Filter(_) | Part::Index(_) | Part::Statistics(_) | Part::Tag { .. }) => {
                Ok(())
            }
        }
    }

    async fn put_filter(&self, id: &TableId, filter: &CellsFilter) -> Result<(), Fault> {
        let make = json!({"TableData": filter_back(id, filter, None)});
        match self.write("CreateDataCellsFilter", make).await {
            Err(fault) if fault.kind == FaultKind::AlreadyDone => {}
            made => return made,
        }
        let named = json!({
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
            "Name": filter.name,
        });
        let answer = self.call("GetDataCellsFilter", &named).await?;
        let version = answer
            .get("DataCellsFilter")
            .and_then(|one| text(one, "VersionId"));
        let update = json!({"TableData": filter_back(id, filter, version)});
        self.write("UpdateDataCellsFilter", update).await
    }

    /// A failure of the one tag that was sent is the call's.
    async fn assign(&self, call: &str, request: Value) -> Result<(), Fault> {
        let answer = self.call(call, &request).await?;
        match list(&answer, "Failures").first() {
            Some(failure) => Err(self.entry_fault(call, failure.get("Error"))),
            None => Ok(()),
        }
    }

    async fn opt(&self, call: &str, opt_in: &OptIn) -> Result<(), Fault> {
        let condition = opt_in.condition.as_ref().map(|c| json!({"Expression": c}));
        let request = json!({
            "Principal": {"DataLakePrincipalIdentifier": opt_in.principal.0},
            "Resource": resource_json(&opt_in.resource), "Condition": condition,
        });
        self.write(call, request).await
    }

    pub(in crate::port) async fn remove_of_lake(
        &self,
        subject: &Subject,
        keys: &[&PartKey],
    ) -> Result<EntryResults, Fault> {
        let mut results = EntryResults::new();
        for key in keys {
            results.push(self.remove_one(subject, key).await);
        }
        Ok(results)
    }

    async fn remove_one(&self, subject: &Subject, key: &PartKey) -> Result<(), Fault> {
        match (subject, key) {
            (Subject::Table(id), PartKey::Filter(name)) => {
                let request = json!({
                    "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
                    "Name": name,
                });
                self.write("DeleteDataCellsFilter", request).await
            }
            (_, PartKey::Assigned { column, key }) => {
                let tags = json!([{"TagKey": key, "TagValues": []}]);
                let request = json!({
                    "Resource": resource(subject, column.as_ref()), "LFTags": tags,
                });
                self.assign("RemoveLFTagsFromResource", request).await
            }
            (_, PartKey::OptIn(opt_in)) => self.opt("DeleteLakeFormationOptIn", opt_in).await,
            (_, PartKey::TagValue { key, value }) => {
                let known = self.call("GetLFTag", &json!({"TagKey": key})).await?;
                let last = texts(&known, "TagValues") == BTreeSet::from([value.clone()]);
                match last {
                    true => self.write("DeleteLFTag", json!({"TagKey": key})).await,
                    false => {
                        let drop = json!({"TagKey": key, "TagValuesToDelete": [value]});
                        self.write("UpdateLFTag", drop).await
                    }
                }
            }
            (_, PartKey::Expression(name)) => {
                self.write("DeleteLFTagExpression", json!({"Name": name}))
                    .await
            }
            (_, PartKey::Registration(arn)) => {
                self.write("DeregisterResource", json!({"ResourceArn": arn}))
                    .await
            }
            (
                _,
                PartKey::Filter(_) | PartKey::Index(_) | PartKey::Statistics(_) | PartKey::Tag(_),
            ) => Ok(()),
        }
    }

    pub(in crate::port) async fn change_settings(
        &self,
        change: &SettingsChange,
    ) -> Result<(), Fault> {
        const CALL: &str = "PutDataLakeSettings";
        let answer = self.call("GetDataLakeSettings", &json!({})).await?;
        let now = answer.get("DataLakeSettings").cloned().unwrap_or_default();
        let wanted = change.applied_to(&settings(Some(&now)));
        let open = |open: bool| match open {
            false => json!([]),
            true => json!([{
                "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
                "Permissions": ["ALL"],
            }]),
        };
        let defaults = (
            open(wanted.database_defaults_open),
            open(wanted.table_defaults_open),
        );
        let whole = json!({"DataLakeSettings": written(&wanted, defaults)});
        self.write(CALL, whole).await?;
        let back = self.call("GetDataLakeSettings", &json!({})).await?;
        match settings(back.get("DataLakeSettings")) == wanted {
            true => Ok(()),
            false => {
                let message = "what was written is not what is read back";
                Err(Fault::new(FaultKind::Busy, CALL, &self.region, message))
            }
        }
    }
}
