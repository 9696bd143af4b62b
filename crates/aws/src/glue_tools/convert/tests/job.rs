use super::*;

/// A job in which every field is set that Twinlake writes, but for `MaxCapacity`, which workers exclude.
fn full() -> QueryObject {
    let content = json!({
        "JobMode": "NOTEBOOK",
        "JobRunQueuingEnabled": true,
        "Description": "loads orders",
        "LogUri": "s3://lake/logs/",
        "Role": "service-role/load",
        "ExecutionProperty": {"MaxConcurrentRuns": 3},
        "Command": {"Name": "glueetl", "ScriptLocation": "s3://lake/scripts/load.py",
            "PythonVersion": "3", "Runtime": "Ray2.4"},
        "DefaultArguments": {"--TempDir": "s3://lake/tmp/", "--enable-metrics": ""},
        "NonOverridableArguments": {"--job-bookmark-option": "job-bookmark-enable"},
        "Connections": {"Connections": ["net"]},
        "MaxRetries": 2,
        "Timeout": 60,
        "WorkerType": "G.1X",
        "NumberOfWorkers": 4,
        "SecurityConfiguration": "sse",
        "NotificationProperty": {"NotifyDelayAfter": 6},
        "GlueVersion": "4.0",
        "ExecutionClass": "FLEX",
        "MaintenanceWindow": "Mon:10",
    });
    object(QueryKind::Job, content)
}

/// The object as it is read after it was written.
fn written(object: &QueryObject) -> QueryObject {
    let input = to_job(object).unwrap();
    let found = glue::Job::builder()
        .name("x")
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
        .set_maintenance_window(input.maintenance_window)
        .build();
    from_job(&found)
}

#[test]
fn every_field_of_jobs_round_trips() {
    let full = full();
    assert_eq!(written(&full), full);
    let parts = without_each(&full);
    assert_eq!(parts.len(), 23);
    for (path, part) in parts {
        assert_eq!(written(&part), part, "{path}");
    }
    let shell = object(
        QueryKind::Job,
        json!({"Command": {"Name": "pythonshell"}, "MaxCapacity": 0.0625}),
    );
    assert_eq!(written(&shell), shell);
}

#[test]
fn the_capacity_of_workers_is_computed_and_never_written() {
    let found = glue::Job::builder()
        .name("x")
        .worker_type("G.1X".into())
        .number_of_workers(4)
        .max_capacity(4.0)
        .build();
    let found = from_job(&found);
    assert_eq!(found.field("MaxCapacity"), None);
    let input = to_job(&found).unwrap();
    assert_eq!(input.max_capacity, None);
}

#[test]
fn an_argument_without_a_value_stays_and_secrets_of_source_control_are_not_read() {
    let source = glue::SourceControlDetails::builder()
        .provider("GITHUB".into())
        .repository("etl")
        .owner("us")
        .branch("main")
        .folder("jobs")
        .last_commit_id("c0ffee")
        .auth_strategy("PERSONAL_ACCESS_TOKEN".into())
        .auth_token("secret")
        .build();
    let nodes = glue::CodeGenConfigurationNode::builder().build();
    let found = glue::Job::builder()
        .name("x")
        .role("arn:aws:iam::111122223333:role/load")
        .default_arguments("--enable-metrics", "")
        .source_control_details(source)
        .code_gen_configuration_nodes("node-1", nodes)
        .profile_name("small")
        .created_on(aws_smithy_types::DateTime::from_millis(1500))
        .build();
    let found = from_job(&found);
    let expected = object(
        QueryKind::Job,
        json!({"Role": "load", "DefaultArguments": {"--enable-metrics": ""},
            "SourceControlDetails": {"Provider": "GITHUB", "Repository": "etl", "Owner": "us",
                "Branch": "main", "Folder": "jobs"},
            "CodeGenConfigurationNodes": ["node-1"], "ProfileName": "small"}),
    );
    assert_eq!(found.fields, expected.fields);
    assert_eq!(found.created, Some(Timestamp::from_millis(1500)));
    assert!(to_job(&found).is_err(), "a visual job is not written");
}

#[test]
fn every_field_of_jobs_is_known() {
    let definition = "job_mode job_run_queuing_enabled description log_uri role execution_property command default_arguments non_overridable_arguments connections max_retries allocated_capacity timeout max_capacity worker_type number_of_workers security_configuration notification_property glue_version code_gen_configuration_nodes execution_class source_control_details maintenance_window";
    let create = aws_sdk_glue::operation::create_job::CreateJobInput::builder();
    assert_known(&[
        (
            debug(&glue::Job::builder().build()),
            "name job_mode job_run_queuing_enabled description log_uri role created_on last_modified_on execution_property command default_arguments non_overridable_arguments connections max_retries allocated_capacity timeout max_capacity worker_type number_of_workers security_configuration notification_property glue_version code_gen_configuration_nodes execution_class source_control_details maintenance_window profile_name auto_upgrade_metadata",
        ),
        (debug(&glue::JobUpdate::builder().build()), definition),
        (
            debug(&create.build().unwrap()),
            "name job_mode job_run_queuing_enabled description log_uri role execution_property command default_arguments non_overridable_arguments connections max_retries allocated_capacity timeout max_capacity security_configuration tags notification_property glue_version number_of_workers worker_type code_gen_configuration_nodes execution_class source_control_details maintenance_window",
        ),
        (
            debug(&glue::JobCommand::builder().build()),
            "name script_location python_version runtime",
        ),
        (
            debug(&glue::ExecutionProperty::builder().build()),
            "max_concurrent_runs",
        ),
        (
            debug(&glue::ConnectionsList::builder().build()),
            "connections",
        ),
        (
            debug(&glue::SourceControlDetails::builder().build()),
            "provider repository owner branch folder last_commit_id auth_strategy auth_token",
        ),
    ]);
}
