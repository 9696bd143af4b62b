use super::*;

/// A workflow in which every field is set that Twinlake writes.
fn full() -> QueryObject {
    let content = json!({"Description": "each night", "MaxConcurrentRuns": 1,
        "DefaultRunProperties": {"--day": "yesterday", "--dry-run": ""}});
    object(QueryKind::Workflow, content)
}

#[test]
fn every_field_of_workflows_round_trips() {
    let full = full();
    assert_eq!(written(&full), full);
    let parts = without_each(&full);
    assert_eq!(parts.len(), 4);
    for (path, part) in parts {
        assert_eq!(written(&part), part, "{path}");
    }
}

/// The object as it is read after it was written.
fn written(object: &QueryObject) -> QueryObject {
    let input = to_workflow(object);
    let found = glue::Workflow::builder()
        .name("x")
        .set_description(input.description)
        .set_default_run_properties(input.default_run_properties)
        .set_max_concurrent_runs(input.max_concurrent_runs)
        .build();
    from_workflow(&found)
}

#[test]
fn the_time_and_the_blueprint_of_a_workflow_are_read() {
    let blueprint = glue::BlueprintDetails::builder()
        .blueprint_name("crawl")
        .run_id("r-1");
    let found = glue::Workflow::builder()
        .name("x")
        .created_on(aws_smithy_types::DateTime::from_millis(1500))
        .blueprint_details(blueprint.build())
        .build();
    let found = from_workflow(&found);
    assert_eq!(found.created, Some(Timestamp::from_millis(1500)));
    assert_eq!(found.text("BlueprintDetails.BlueprintName"), Some("crawl"));
    assert!(found.comparable().is_empty());
}

#[test]
fn every_field_of_workflows_is_known() {
    use aws_sdk_glue::operation as calls;
    let create = calls::create_workflow::CreateWorkflowInput::builder();
    let update = calls::update_workflow::UpdateWorkflowInput::builder();
    assert_known(&[
        (
            debug(&glue::Workflow::builder().build()),
            "name description default_run_properties created_on last_modified_on last_run graph max_concurrent_runs blueprint_details",
        ),
        (
            debug(&create.build().unwrap()),
            "name description default_run_properties tags max_concurrent_runs",
        ),
        (
            debug(&update.build().unwrap()),
            "name description default_run_properties max_concurrent_runs",
        ),
        (
            debug(&glue::BlueprintDetails::builder().build()),
            "blueprint_name run_id",
        ),
    ]);
}
