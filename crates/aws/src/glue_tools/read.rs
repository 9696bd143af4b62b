//! Reads classifiers, security configurations, connections, jobs, workflows, crawlers and triggers.

use super::{GlueTools, Listed, convert, listed};
use crate::pages::all_pages;
use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

/// Entries of a `BatchGetWorkflows` call (Glue's limit).
const MAX_WORKFLOWS_PER_CALL: usize = 25;

impl GlueTools {
    pub(crate) async fn classifiers(&self) -> Result<Vec<Listed>, CallError> {
        let found = all_pages(("GetClassifiers", &self.region), |token| async {
            let call = self.glue.get_classifiers().set_next_token(token);
            let page = call.send().await.map_err(self.failed("GetClassifiers"))?;
            Ok((page.classifiers.unwrap_or_default(), page.next_token))
        })
        .await?;
        // One of a shape that this version does not know cannot be left out: the listing would seem complete.
        let objects: Option<Vec<QueryObject>> =
            found.iter().map(convert::from_classifier).collect();
        let objects = objects.ok_or_else(|| self.missing_object_error("GetClassifiers"))?;
        Ok(listed(objects.into_iter()))
    }

    pub(crate) async fn security_configurations(&self) -> Result<Vec<Listed>, CallError> {
        const CALL: &str = "GetSecurityConfigurations";
        let found = all_pages((CALL, &self.region), |token| async {
            let call = self.glue.get_security_configurations();
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(self.failed(CALL))?;
            let found = page.security_configurations.unwrap_or_default();
            Ok((found, page.next_token))
        })
        .await?;
        let objects = found.iter().map(convert::from_security_configuration);
        Ok(listed(objects))
    }

    pub(crate) async fn jobs(&self) -> Result<Vec<Listed>, CallError> {
        let found = all_pages(("GetJobs", &self.region), |token| async {
            let call = self.glue.get_jobs().set_next_token(token);
            let page = call.send().await.map_err(self.failed("GetJobs"))?;
            Ok((page.jobs.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed(found.iter().map(convert::from_job)))
    }

    /// The workflows without their graphs: the triggers of a workflow say what it is made of.
    pub(crate) async fn workflows(&self) -> Result<Vec<Listed>, CallError> {
        const CALL: &str = "BatchGetWorkflows";
        let names = self.workflow_names().await?;
        let mut all = Vec::new();
        for batch in names.chunks(MAX_WORKFLOWS_PER_CALL) {
            let call = self.glue.batch_get_workflows().include_graph(false);
            let response = call.set_names(Some(batch.to_vec())).send().await;
            let response = response.map_err(self.failed(CALL))?;
            let found = response.workflows.unwrap_or_default();
            let found = found.iter().map(convert::from_workflow);
            let mut found: BTreeMap<ObjectKey, QueryObject> =
                found.map(|one| (one.key.clone(), one)).collect();
            for name in batch {
                let key = ObjectKey::new(QueryKind::Workflow, name);
                let object = found.remove(&key);
                let object = object.ok_or_else(|| self.missing_object_error(CALL));
                all.push((key, object));
            }
        }
        Ok(all)
    }

    pub(crate) async fn crawlers(&self) -> Result<Vec<Listed>, CallError> {
        let found = all_pages(("GetCrawlers", &self.region), |token| async {
            let call = self.glue.get_crawlers().set_next_token(token);
            let page = call.send().await.map_err(self.failed("GetCrawlers"))?;
            Ok((page.crawlers.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed(found.iter().map(convert::from_crawler)))
    }

    pub(crate) async fn triggers(&self) -> Result<Vec<Listed>, CallError> {
        let found = all_pages(("GetTriggers", &self.region), |token| async {
            let call = self.glue.get_triggers().set_next_token(token);
            let page = call.send().await.map_err(self.failed("GetTriggers"))?;
            Ok((page.triggers.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed(found.iter().map(convert::from_trigger)))
    }

    pub(crate) async fn classifier(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetClassifier";
        let response = self.glue.get_classifier().name(name).send().await;
        let found = response.map_err(self.failed(CALL))?.classifier;
        let object = found.as_ref().and_then(convert::from_classifier);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }

    pub(crate) async fn security_configuration(
        &self,
        name: &str,
    ) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetSecurityConfiguration";
        let call = self.glue.get_security_configuration().name(name);
        let response = call.send().await;
        let found = response.map_err(self.failed(CALL))?.security_configuration;
        let object = found.as_ref().map(convert::from_security_configuration);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }

    pub(crate) async fn job(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetJob";
        let response = self.glue.get_job().job_name(name).send().await;
        let found = response.map_err(self.failed(CALL))?.job;
        let object = found.as_ref().map(convert::from_job);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }

    pub(crate) async fn workflow(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetWorkflow";
        let call = self.glue.get_workflow().name(name).include_graph(false);
        let found = call.send().await.map_err(self.failed(CALL))?.workflow;
        let object = found.as_ref().map(convert::from_workflow);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }

    pub(crate) async fn crawler(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetCrawler";
        let response = self.glue.get_crawler().name(name).send().await;
        let found = response.map_err(self.failed(CALL))?.crawler;
        let object = found.as_ref().map(convert::from_crawler);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }

    pub(crate) async fn trigger(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetTrigger";
        let response = self.glue.get_trigger().name(name).send().await;
        let found = response.map_err(self.failed(CALL))?.trigger;
        let object = found.as_ref().map(convert::from_trigger);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }

    async fn workflow_names(&self) -> Result<Vec<String>, CallError> {
        all_pages(("ListWorkflows", &self.region), |token| async {
            let call = self.glue.list_workflows().set_next_token(token);
            let page = call.send().await.map_err(self.failed("ListWorkflows"))?;
            Ok((page.workflows.unwrap_or_default(), page.next_token))
        })
        .await
    }

    /// The connections without their passwords.
    pub(crate) async fn connections(&self) -> Result<Vec<Listed>, CallError> {
        let found = all_pages(("GetConnections", &self.region), |token| async {
            let call = self.glue.get_connections().hide_password(true);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(self.failed("GetConnections"))?;
            Ok((page.connection_list.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed(found.iter().map(convert::from_connection)))
    }

    /// A connection without its password.
    pub(crate) async fn connection(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetConnection";
        let call = self.glue.get_connection().name(name).hide_password(true);
        let found = call.send().await.map_err(self.failed(CALL))?.connection;
        let object = found.as_ref().map(convert::from_connection);
        object.ok_or_else(|| self.missing_object_error(CALL))
    }
}
