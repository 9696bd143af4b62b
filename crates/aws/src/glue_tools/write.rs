//! Creates, updates and deletes classifiers, security configurations, jobs, workflows, crawlers and triggers, and puts
//! crawlers and triggers to sleep.

use super::{GlueTools, convert};
use twinlake_core::query::QueryObject;
use twinlake_core::{CallError, CallErrorKind};

/// Sets the one of the four shapes of a classifier that the input has.
macro_rules! with_classifier {
    ($call:expr, $input:expr) => {
        $call
            .set_grok_classifier($input.grok_classifier)
            .set_xml_classifier($input.xml_classifier)
            .set_json_classifier($input.json_classifier)
            .set_csv_classifier($input.csv_classifier)
    };
}

/// Sets the fields that creations and updates of crawlers share: all but the schedule, which no call here sets.
macro_rules! with_crawler {
    ($call:expr, $input:expr) => {
        $call
            .set_role($input.role)
            .set_database_name($input.database_name)
            .set_description($input.description)
            .targets($input.targets)
            .set_classifiers($input.classifiers)
            .set_table_prefix($input.table_prefix)
            .set_schema_change_policy($input.schema_change_policy)
            .set_recrawl_policy($input.recrawl_policy)
            .set_lineage_configuration($input.lineage_configuration)
            .set_lake_formation_configuration($input.lake_formation_configuration)
            .set_configuration($input.configuration)
            .set_crawler_security_configuration($input.crawler_security_configuration)
            .set_catalog_id($input.catalog_id)
    };
}

impl GlueTools {
    pub(crate) async fn create_classifier(&self, object: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "CreateClassifier";
        let input = convert::to_new_classifier(object).map_err(self.unwritable(CALL))?;
        let call = with_classifier!(self.glue.create_classifier(), input);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn update_classifier(&self, desired: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "UpdateClassifier";
        let input = convert::to_changed_classifier(desired).map_err(self.unwritable(CALL))?;
        let call = with_classifier!(self.glue.update_classifier(), input);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn delete_classifier(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_classifier().name(name);
        call.send().await.map_err(self.failed("DeleteClassifier"))?;
        Ok(())
    }

    pub(crate) async fn create_security_configuration(
        &self,
        object: &QueryObject,
    ) -> Result<(), CallError> {
        let configuration = convert::to_encryption_configuration(object);
        let call = self.glue.create_security_configuration();
        let call = call
            .name(&object.key.id)
            .encryption_configuration(configuration);
        let created = call.send().await;
        created.map_err(self.failed("CreateSecurityConfiguration"))?;
        Ok(())
    }

    pub(crate) async fn delete_security_configuration(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_security_configuration().name(name);
        let deleted = call.send().await;
        deleted.map_err(self.failed("DeleteSecurityConfiguration"))?;
        Ok(())
    }

    pub(crate) async fn create_connection(&self, object: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "CreateConnection";
        let input = convert::to_connection(object).map_err(self.unwritable(CALL))?;
        let call = self.glue.create_connection().connection_input(input);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    /// Replaces a connection: what is not named is unset.
    pub(crate) async fn update_connection(&self, desired: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "UpdateConnection";
        let input = convert::to_connection(desired).map_err(self.unwritable(CALL))?;
        let call = self.glue.update_connection().name(&desired.key.id);
        let updated = call.connection_input(input).send().await;
        updated.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn delete_connection(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_connection().connection_name(name);
        call.send().await.map_err(self.failed("DeleteConnection"))?;
        Ok(())
    }

    pub(crate) async fn create_job(&self, object: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "CreateJob";
        let input = convert::to_job(object).map_err(self.unwritable(CALL))?;
        let call = self.glue.create_job().name(&object.key.id);
        let call = call
            .set_job_mode(input.job_mode)
            .set_job_run_queuing_enabled(input.job_run_queuing_enabled)
            .set_description(input.description)
            .set_log_uri(input.log_uri)
            .set_role(input.role)
            .set_execution_property(input.execution_property)
            .set_command(input.command)
            .set_default_arguments(input.default_arguments)
            .set_non_overridable_arguments(input.non_overridable_arguments)
            .set_connections(input.connections)
            .max_retries(input.max_retries)
            .set_timeout(input.timeout)
            .set_max_capacity(input.max_capacity)
            .set_worker_type(input.worker_type)
            .set_number_of_workers(input.number_of_workers)
            .set_security_configuration(input.security_configuration)
            .set_notification_property(input.notification_property)
            .set_glue_version(input.glue_version)
            .set_execution_class(input.execution_class)
            .set_maintenance_window(input.maintenance_window);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    /// Replaces the definition of a job: what is not named is unset.
    pub(crate) async fn update_job(&self, desired: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "UpdateJob";
        let input = convert::to_job(desired).map_err(self.unwritable(CALL))?;
        let call = self.glue.update_job().job_name(&desired.key.id);
        let updated = call.job_update(input).send().await;
        updated.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn delete_job(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_job().job_name(name);
        call.send().await.map_err(self.failed("DeleteJob"))?;
        Ok(())
    }

    pub(crate) async fn create_workflow(&self, object: &QueryObject) -> Result<(), CallError> {
        let input = convert::to_workflow(object);
        let call = self.glue.create_workflow().name(&object.key.id);
        let call = call
            .set_description(input.description)
            .set_default_run_properties(input.default_run_properties)
            .set_max_concurrent_runs(input.max_concurrent_runs);
        call.send().await.map_err(self.failed("CreateWorkflow"))?;
        Ok(())
    }

    pub(crate) async fn update_workflow(&self, desired: &QueryObject) -> Result<(), CallError> {
        let input = convert::to_workflow(desired);
        let call = self.glue.update_workflow().name(&desired.key.id);
        // Whether an update keeps what it leaves out is not documented.
        let call = call
            .description(input.description.unwrap_or_default())
            .set_default_run_properties(Some(input.default_run_properties.unwrap_or_default()))
            .set_max_concurrent_runs(input.max_concurrent_runs);
        call.send().await.map_err(self.failed("UpdateWorkflow"))?;
        Ok(())
    }

    pub(crate) async fn delete_workflow(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_workflow().name(name);
        call.send().await.map_err(self.failed("DeleteWorkflow"))?;
        Ok(())
    }

    pub(crate) async fn create_crawler(&self, object: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "CreateCrawler";
        let input = convert::to_new_crawler(object).map_err(self.unwritable(CALL))?;
        let call = with_crawler!(self.glue.create_crawler().name(&object.key.id), input);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn update_crawler(&self, desired: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "UpdateCrawler";
        let input = convert::to_changed_crawler(desired).map_err(self.unwritable(CALL))?;
        let call = with_crawler!(self.glue.update_crawler().name(&desired.key.id), input);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn delete_crawler(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_crawler().name(name);
        call.send().await.map_err(self.failed("DeleteCrawler"))?;
        Ok(())
    }

    /// Ends the schedule of a crawler. A run that has begun ends by itself.
    pub(crate) async fn stop_crawler_schedule(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.stop_crawler_schedule().crawler_name(name);
        let stopped = call
            .send()
            .await
            .map_err(self.failed("StopCrawlerSchedule"));
        stopped.map(|_| ()).or_else(unless_done)
    }

    pub(crate) async fn create_trigger(&self, object: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "CreateTrigger";
        let input = convert::to_trigger(object).map_err(self.unwritable(CALL))?;
        let call = self.glue.create_trigger().name(&object.key.id);
        let call = call
            .set_type(convert::trigger_type(object))
            .set_workflow_name(convert::workflow_name(object))
            .start_on_creation(false)
            .set_description(input.description)
            .set_schedule(input.schedule)
            .set_actions(input.actions)
            .set_predicate(input.predicate);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn update_trigger(&self, desired: &QueryObject) -> Result<(), CallError> {
        const CALL: &str = "UpdateTrigger";
        let input = convert::to_trigger(desired).map_err(self.unwritable(CALL))?;
        let call = self.glue.update_trigger().name(&desired.key.id);
        let call = call.trigger_update(input);
        call.send().await.map_err(self.failed(CALL))?;
        Ok(())
    }

    pub(crate) async fn delete_trigger(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_trigger().name(name);
        call.send().await.map_err(self.failed("DeleteTrigger"))?;
        Ok(())
    }

    pub(crate) async fn stop_trigger(&self, name: &str) -> Result<(), CallError> {
        let call = self.glue.stop_trigger().name(name);
        let stopped = call.send().await.map_err(self.failed("StopTrigger"));
        stopped.map(|_| ()).or_else(unless_done)
    }
}

/// What sleeps already is as it should be.
fn unless_done(error: CallError) -> Result<(), CallError> {
    match error.kind == CallErrorKind::AlreadyInState {
        true => Ok(()),
        false => Err(error),
    }
}
