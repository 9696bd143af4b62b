//! Creates, updates and deletes the query tools.

use super::{QueryToolsRegion, convert};
use crate::call_error;
use aws_sdk_athena::types::{DataCatalogType, Tag, WorkGroupState};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::CallError;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_engine::ports::{WriteQueryRegion, external_schema_call};

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn to_tags(tags: Option<&BTreeMap<String, String>>) -> Option<Vec<Tag>> {
    let tags = tags.filter(|tags| !tags.is_empty())?.iter();
    let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
    Some(tags.collect())
}

/// The parameters of a data catalog, in the map that the SDK takes.
fn parameters<M: FromIterator<(String, String)>>(object: &QueryObject) -> Option<M> {
    let fields = object.field("Parameters")?.as_object()?.iter();
    let text = fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some(text.collect())
}

impl WriteQueryRegion for QueryToolsRegion {
    async fn create(&self, object: &QueryObject, token: &str) -> Result<ObjectKey, CallError> {
        let key = &object.key;
        let parent = owned(key.parent.as_deref());
        match key.kind {
            QueryKind::WorkGroup => self.create_workgroup(object).await?,
            QueryKind::DataCatalog => {
                let call = self.athena.create_data_catalog().name(&key.id);
                let call = call
                    .set_type(object.text("Type").map(DataCatalogType::from))
                    .set_description(owned(object.text("Description")))
                    .set_parameters(parameters(object))
                    .set_tags(to_tags(object.tags.as_ref()));
                call.send()
                    .await
                    .map_err(self.failed("CreateDataCatalog"))?;
            }
            QueryKind::NamedQuery => {
                let call = self.athena.create_named_query().client_request_token(token);
                let call = call
                    .set_name(owned(object.text("Name")))
                    .set_description(owned(object.text("Description")))
                    .set_database(owned(object.text("Database")))
                    .set_query_string(owned(object.text("QueryString")))
                    .set_work_group(parent.clone());
                let response = call.send().await.map_err(self.failed("CreateNamedQuery"))?;
                let id = response.named_query_id.unwrap_or_default();
                return Ok(ObjectKey { id, ..key.clone() });
            }
            QueryKind::PreparedStatement => {
                let call = self.athena.create_prepared_statement();
                let call = call
                    .statement_name(&key.id)
                    .set_work_group(parent)
                    .set_query_statement(owned(object.text("QueryStatement")))
                    .set_description(owned(object.text("Description")));
                call.send()
                    .await
                    .map_err(self.failed("CreatePreparedStatement"))?;
            }
            QueryKind::Classifier => self.glue_tools.create_classifier(object).await?,
            QueryKind::SecurityConfiguration => {
                self.glue_tools
                    .create_security_configuration(object)
                    .await?;
            }
            QueryKind::Connection => self.glue_tools.create_connection(object).await?,
            QueryKind::Job => self.glue_tools.create_job(object).await?,
            QueryKind::Workflow => self.glue_tools.create_workflow(object).await?,
            QueryKind::Crawler => self.glue_tools.create_crawler(object).await?,
            QueryKind::Trigger => self.glue_tools.create_trigger(object).await?,
            QueryKind::ExternalSchema => return Err(external_schema_call(&self.region)),
        }
        Ok(key.clone())
    }

    async fn update(&self, current: &QueryObject, desired: &QueryObject) -> Result<(), CallError> {
        let key = &current.key;
        let parent = owned(key.parent.as_deref());
        // An empty description removes one.
        let description = desired.text("Description").unwrap_or_default();
        match key.kind {
            QueryKind::WorkGroup => self.update_workgroup(current, desired).await?,
            QueryKind::DataCatalog => {
                let call = self.athena.update_data_catalog().name(&key.id);
                let call = call
                    .set_type(desired.text("Type").map(DataCatalogType::from))
                    .description(description)
                    .set_parameters(parameters(desired));
                call.send()
                    .await
                    .map_err(self.failed("UpdateDataCatalog"))?;
            }
            QueryKind::NamedQuery => {
                let call = self.athena.update_named_query().named_query_id(&key.id);
                let call = call
                    .set_name(owned(desired.text("Name")))
                    .description(description)
                    .set_query_string(owned(desired.text("QueryString")));
                call.send().await.map_err(self.failed("UpdateNamedQuery"))?;
            }
            QueryKind::PreparedStatement => {
                let call = self.athena.update_prepared_statement();
                let call = call
                    .statement_name(&key.id)
                    .set_work_group(parent)
                    .set_query_statement(owned(desired.text("QueryStatement")))
                    .description(description);
                call.send()
                    .await
                    .map_err(self.failed("UpdatePreparedStatement"))?;
            }
            QueryKind::Classifier => self.glue_tools.update_classifier(desired).await?,
            QueryKind::SecurityConfiguration => return Err(self.glue_tools.no_update(key)),
            QueryKind::Connection => self.glue_tools.update_connection(desired).await?,
            QueryKind::Job => self.glue_tools.update_job(desired).await?,
            QueryKind::Workflow => self.glue_tools.update_workflow(desired).await?,
            QueryKind::Crawler => self.glue_tools.update_crawler(desired).await?,
            QueryKind::Trigger => self.glue_tools.update_trigger(desired).await?,
            QueryKind::ExternalSchema => return Err(external_schema_call(&self.region)),
        }
        Ok(())
    }

    async fn change_tags(
        &self,
        key: &ObjectKey,
        set: &BTreeMap<String, String>,
        remove: &BTreeSet<String>,
    ) -> Result<(), CallError> {
        let Some(arn) = self.arn(key) else {
            return Ok(());
        };
        if let Some(tags) = to_tags(Some(set)) {
            let call = self.athena.tag_resource().resource_arn(&arn);
            let response = call.set_tags(Some(tags)).send().await;
            response.map_err(self.failed("TagResource"))?;
        }
        if !remove.is_empty() {
            let keys = remove.iter().cloned().collect();
            let call = self.athena.untag_resource().resource_arn(&arn);
            let response = call.set_tag_keys(Some(keys)).send().await;
            response.map_err(self.failed("UntagResource"))?;
        }
        Ok(())
    }

    async fn sleep(&self, key: &ObjectKey) -> Result<(), CallError> {
        match key.kind {
            QueryKind::Crawler => self.glue_tools.stop_crawler_schedule(&key.id).await,
            QueryKind::Trigger => self.glue_tools.stop_trigger(&key.id).await,
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::ExternalSchema => Ok(()),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), CallError> {
        let parent = owned(key.parent.as_deref());
        match key.kind {
            QueryKind::WorkGroup => {
                let call = self.athena.delete_work_group().work_group(&key.id);
                let call = call.recursive_delete_option(false);
                call.send().await.map_err(self.failed("DeleteWorkGroup"))?;
            }
            QueryKind::DataCatalog => {
                let call = self.athena.delete_data_catalog().name(&key.id);
                call.send()
                    .await
                    .map_err(self.failed("DeleteDataCatalog"))?;
            }
            QueryKind::NamedQuery => {
                let call = self.athena.delete_named_query().named_query_id(&key.id);
                call.send().await.map_err(self.failed("DeleteNamedQuery"))?;
            }
            QueryKind::PreparedStatement => {
                let call = self.athena.delete_prepared_statement();
                let call = call.statement_name(&key.id).set_work_group(parent);
                call.send()
                    .await
                    .map_err(self.failed("DeletePreparedStatement"))?;
            }
            QueryKind::Classifier => self.glue_tools.delete_classifier(&key.id).await?,
            QueryKind::SecurityConfiguration => {
                self.glue_tools
                    .delete_security_configuration(&key.id)
                    .await?;
            }
            QueryKind::Connection => self.glue_tools.delete_connection(&key.id).await?,
            QueryKind::Job => self.glue_tools.delete_job(&key.id).await?,
            QueryKind::Workflow => self.glue_tools.delete_workflow(&key.id).await?,
            QueryKind::Crawler => self.glue_tools.delete_crawler(&key.id).await?,
            QueryKind::Trigger => self.glue_tools.delete_trigger(&key.id).await?,
            QueryKind::ExternalSchema => return Err(external_schema_call(&self.region)),
        }
        Ok(())
    }
}

impl QueryToolsRegion {
    async fn create_workgroup(&self, object: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "CreateWorkGroup";
        let configuration = convert::to_configuration(object);
        let configuration = configuration
            .map_err(|error| call_error::from_build_error(CALL, &self.region, &error))?;
        let call = self.athena.create_work_group().name(&object.key.id);
        let call = call
            .configuration(configuration)
            .set_description(owned(object.text("Description")))
            .set_tags(to_tags(object.tags.as_ref()));
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    async fn update_workgroup(
        &self,
        current: &QueryObject,
        desired: &QueryObject,
    ) -> Result<(), CallError> {
        const CALL: &str = "UpdateWorkGroup";
        let call = self.athena.update_work_group().work_group(&current.key.id);
        let updates = convert::to_configuration_updates(current, desired);
        let updates =
            updates.map_err(|error| call_error::from_build_error(CALL, &self.region, &error))?;
        let description = desired.text("Description").unwrap_or_default();
        let state = desired.text("State");
        let call = call
            .set_configuration_updates(updates)
            .set_description(
                (desired.text("Description") != current.text("Description"))
                    .then(|| description.to_owned()),
            )
            .set_state(
                state
                    .filter(|state| Some(*state) != current.text("State"))
                    .map(WorkGroupState::from),
            );
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }
}
