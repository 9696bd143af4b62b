//! Workflows, without their graphs. No call here runs one.

use super::{as_value, fields, number, text, text_map, texts_to_json, timestamp};
use aws_sdk_glue::types as glue;
use serde_json::json;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

pub(in crate::glue_tools) fn from_workflow(found: &glue::Workflow) -> QueryObject {
    let object = json!({
        "Description": found.description,
        "DefaultRunProperties": texts_to_json(found.default_run_properties.as_ref()),
        "MaxConcurrentRuns": found.max_concurrent_runs,
        "BlueprintDetails": found.blueprint_details.as_ref().map(|one| json!({
            "BlueprintName": one.blueprint_name})),
    });
    let name = found.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(QueryKind::Workflow, name);
    QueryObject {
        created: timestamp(found.created_on.as_ref()),
        ..QueryObject::normalized(key, fields(object))
    }
}

/// What creations and updates of a workflow share.
pub(in crate::glue_tools) fn to_workflow(object: &QueryObject) -> glue::Workflow {
    let value = as_value(&object.fields);
    glue::Workflow::builder()
        .set_description(text(&value, "Description"))
        .set_default_run_properties(text_map(&value, "DefaultRunProperties"))
        .set_max_concurrent_runs(number(&value, "MaxConcurrentRuns"))
        .build()
}
