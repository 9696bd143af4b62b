//! Jobs. No call here runs one.

use super::{
    as_value, fields, flag, number, role_name, text, text_map, texts, texts_to_json, timestamp,
    unless_default,
};
use aws_sdk_glue::types as glue;
use serde_json::{Value, json};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

/// What Glue fills in where a definition says nothing.
const MODE: &str = "SCRIPT";
const CLASS: &str = "STANDARD";

/// A job. Of its source control only the place is read: the rest is a secret, or changes with each commit.
pub(in crate::glue_tools) fn from_job(found: &glue::Job) -> QueryObject {
    let mode = found.job_mode.as_ref().map(|mode| mode.as_str());
    let class = found.execution_class.as_ref().map(|class| class.as_str());
    let has_workers = found.worker_type.is_some() || found.number_of_workers.is_some();
    // Glue computes the capacity of workers, and takes one or the other.
    let capacity = found.max_capacity.filter(|_| !has_workers);
    let object = json!({
        "JobMode": unless_default(mode, MODE),
        "JobRunQueuingEnabled": found.job_run_queuing_enabled,
        "Description": found.description,
        "LogUri": found.log_uri,
        "Role": found.role.as_deref().map(role_name),
        "ExecutionProperty": found.execution_property.as_ref().map(|one| json!({
            "MaxConcurrentRuns": one.max_concurrent_runs})),
        "Command": found.command.as_ref().map(command_to_json),
        "DefaultArguments": texts_to_json(found.default_arguments.as_ref()),
        "NonOverridableArguments": texts_to_json(found.non_overridable_arguments.as_ref()),
        "Connections": found.connections.as_ref().map(|one| json!({
            "Connections": one.connections})),
        "MaxRetries": Some(found.max_retries).filter(|retries| *retries != 0),
        "Timeout": found.timeout,
        "MaxCapacity": capacity,
        "WorkerType": found.worker_type.as_ref().map(|worker| worker.as_str()),
        "NumberOfWorkers": found.number_of_workers,
        "SecurityConfiguration": found.security_configuration,
        "NotificationProperty": found.notification_property.as_ref().map(|one| json!({
            "NotifyDelayAfter": one.notify_delay_after})),
        "GlueVersion": found.glue_version,
        "CodeGenConfigurationNodes": nodes(found),
        "ExecutionClass": unless_default(class, CLASS),
        "SourceControlDetails": found.source_control_details.as_ref().map(source_to_json),
        "MaintenanceWindow": found.maintenance_window,
        "ProfileName": found.profile_name,
    });
    let name = found.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(QueryKind::Job, name);
    QueryObject {
        created: timestamp(found.created_on.as_ref()),
        ..QueryObject::normalized(key, fields(object))
    }
}

fn command_to_json(found: &glue::JobCommand) -> Value {
    json!({
        "Name": found.name,
        "ScriptLocation": found.script_location,
        "PythonVersion": found.python_version,
        "Runtime": found.runtime,
    })
}

/// The names of the nodes of a visual job, which show that it is one.
fn nodes(found: &glue::Job) -> Vec<&str> {
    let nodes = found.code_gen_configuration_nodes.iter().flatten();
    let mut names: Vec<&str> = nodes.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn source_to_json(found: &glue::SourceControlDetails) -> Value {
    json!({
        "Provider": found.provider.as_ref().map(|provider| provider.as_str()),
        "Repository": found.repository,
        "Owner": found.owner,
        "Branch": found.branch,
        "Folder": found.folder,
    })
}

/// What creations and updates of a job share: an update replaces all of it.
pub(in crate::glue_tools) fn to_job(object: &QueryObject) -> Result<glue::JobUpdate, String> {
    if object.field("CodeGenConfigurationNodes").is_some() {
        return Err("Twinlake does not write CodeGenConfigurationNodes of a job".to_owned());
    }
    let value = as_value(&object.fields);
    let (mode, class) = (text(&value, "JobMode"), text(&value, "ExecutionClass"));
    let worker = text(&value, "WorkerType");
    let notification = value.get("NotificationProperty").map(|one| {
        glue::NotificationProperty::builder()
            .set_notify_delay_after(number(one, "NotifyDelayAfter"))
            .build()
    });
    let execution = value.get("ExecutionProperty").map(|one| {
        glue::ExecutionProperty::builder()
            .set_max_concurrent_runs(number(one, "MaxConcurrentRuns"))
            .build()
    });
    let connections = value.get("Connections").map(|one| {
        glue::ConnectionsList::builder()
            .set_connections(texts(one, "Connections"))
            .build()
    });
    Ok(glue::JobUpdate::builder()
        .set_job_mode(mode.as_deref().map(glue::JobMode::from))
        .set_job_run_queuing_enabled(flag(&value, "JobRunQueuingEnabled"))
        .set_description(text(&value, "Description"))
        .set_log_uri(text(&value, "LogUri"))
        .set_role(text(&value, "Role"))
        .set_execution_property(execution)
        .set_command(value.get("Command").map(to_command))
        .set_default_arguments(text_map(&value, "DefaultArguments"))
        .set_non_overridable_arguments(text_map(&value, "NonOverridableArguments"))
        .set_connections(connections)
        .set_max_retries(number(&value, "MaxRetries"))
        .set_timeout(number(&value, "Timeout"))
        .set_max_capacity(value.get("MaxCapacity").and_then(Value::as_f64))
        .set_worker_type(worker.as_deref().map(glue::WorkerType::from))
        .set_number_of_workers(number(&value, "NumberOfWorkers"))
        .set_security_configuration(text(&value, "SecurityConfiguration"))
        .set_notification_property(notification)
        .set_glue_version(text(&value, "GlueVersion"))
        .set_execution_class(class.as_deref().map(glue::ExecutionClass::from))
        .set_maintenance_window(text(&value, "MaintenanceWindow"))
        .build())
}

fn to_command(value: &Value) -> glue::JobCommand {
    glue::JobCommand::builder()
        .set_name(text(value, "Name"))
        .set_script_location(text(value, "ScriptLocation"))
        .set_python_version(text(value, "PythonVersion"))
        .set_runtime(text(value, "Runtime"))
        .build()
}
