//! Triggers. Their state is read, and no call here activates one.

use super::{as_value, entries, fields, number, text, text_map, texts_to_json};
use aws_sdk_glue::types as glue;
use serde_json::{Value, json};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

pub(in crate::glue_tools) fn from_trigger(found: &glue::Trigger) -> QueryObject {
    let actions = found.actions.as_ref();
    let object = json!({
        "Type": found.r#type.as_ref().map(|kind| kind.as_str()),
        "WorkflowName": found.workflow_name,
        "State": found.state.as_ref().map(|state| state.as_str()),
        "Description": found.description,
        "Schedule": found.schedule,
        "Actions": actions.map(|actions| actions.iter().map(action_to_json).collect::<Value>()),
        "Predicate": found.predicate.as_ref().map(predicate_to_json),
        "EventBatchingCondition": found.event_batching_condition.as_ref().map(|one| json!({
            "BatchSize": one.batch_size, "BatchWindow": one.batch_window})),
    });
    let name = found.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(QueryKind::Trigger, name);
    QueryObject::normalized(key, fields(object))
}

fn action_to_json(found: &glue::Action) -> Value {
    json!({
        "JobName": found.job_name,
        "CrawlerName": found.crawler_name,
        "Arguments": texts_to_json(found.arguments.as_ref()),
        "Timeout": found.timeout,
        "SecurityConfiguration": found.security_configuration,
        "NotificationProperty": found.notification_property.as_ref().map(|one| json!({
            "NotifyDelayAfter": one.notify_delay_after})),
    })
}

fn predicate_to_json(found: &glue::Predicate) -> Value {
    let conditions = found.conditions.as_ref();
    json!({
        "Logical": found.logical.as_ref().map(|logical| logical.as_str()),
        "Conditions": conditions.map(|all| all.iter().map(|one| json!({
            "LogicalOperator": one.logical_operator.as_ref().map(|operator| operator.as_str()),
            "JobName": one.job_name,
            "State": one.state.as_ref().map(|state| state.as_str()),
            "CrawlerName": one.crawler_name,
            "CrawlState": one.crawl_state.as_ref().map(|state| state.as_str()),
        })).collect::<Value>()),
    })
}

pub(in crate::glue_tools) fn trigger_type(object: &QueryObject) -> Option<glue::TriggerType> {
    object.text("Type").map(glue::TriggerType::from)
}

/// The workflow that a trigger is made in; no update changes it.
pub(in crate::glue_tools) fn workflow_name(object: &QueryObject) -> Option<String> {
    object.text("WorkflowName").map(str::to_owned)
}

/// What creations and updates of a trigger share: an update replaces all of it.
pub(in crate::glue_tools) fn to_trigger(
    object: &QueryObject,
) -> Result<glue::TriggerUpdate, String> {
    if object.field("EventBatchingCondition").is_some() {
        return Err("Twinlake does not write EventBatchingCondition of a trigger".to_owned());
    }
    let value = as_value(&object.fields);
    Ok(glue::TriggerUpdate::builder()
        .set_description(text(&value, "Description"))
        .set_schedule(text(&value, "Schedule"))
        .set_actions(entries(&value, "Actions", to_action))
        .set_predicate(value.get("Predicate").map(to_predicate))
        .build())
}

fn to_action(value: &Value) -> glue::Action {
    let notification = value.get("NotificationProperty").map(|one| {
        glue::NotificationProperty::builder()
            .set_notify_delay_after(number(one, "NotifyDelayAfter"))
            .build()
    });
    glue::Action::builder()
        .set_job_name(text(value, "JobName"))
        .set_crawler_name(text(value, "CrawlerName"))
        .set_arguments(text_map(value, "Arguments"))
        .set_timeout(number(value, "Timeout"))
        .set_security_configuration(text(value, "SecurityConfiguration"))
        .set_notification_property(notification)
        .build()
}

fn to_predicate(value: &Value) -> glue::Predicate {
    let logical = text(value, "Logical");
    glue::Predicate::builder()
        .set_logical(logical.as_deref().map(glue::Logical::from))
        .set_conditions(entries(value, "Conditions", to_condition))
        .build()
}

fn to_condition(value: &Value) -> glue::Condition {
    let operator = text(value, "LogicalOperator");
    let (state, crawl_state) = (text(value, "State"), text(value, "CrawlState"));
    glue::Condition::builder()
        .set_logical_operator(operator.as_deref().map(glue::LogicalOperator::from))
        .set_job_name(text(value, "JobName"))
        .set_state(state.as_deref().map(glue::JobRunState::from))
        .set_crawler_name(text(value, "CrawlerName"))
        .set_crawl_state(crawl_state.as_deref().map(glue::CrawlState::from))
        .build()
}
