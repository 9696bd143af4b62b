use super::*;

#[test]
fn what_is_never_written_is_read_with_every_field() {
    let jdbc = glue::JdbcTarget::builder()
        .connection_name("orders-db")
        .path("sales/%")
        .exclusions("sales/tmp")
        .enable_additional_metadata(glue::JdbcMetadataEntry::Comments)
        .build();
    let mongo = glue::MongoDbTarget::builder()
        .connection_name("events-db")
        .path("events/%")
        .scan_all(true)
        .build();
    let dynamo = glue::DynamoDbTarget::builder()
        .path("sessions")
        .scan_all(true)
        .scan_rate(0.5)
        .build();
    let targets = glue::CrawlerTargets::builder()
        .jdbc_targets(jdbc)
        .mongo_db_targets(mongo)
        .dynamo_db_targets(dynamo)
        .build();
    let crawler = glue::Crawler::builder().name("x").targets(targets).build();
    let expected = object(
        QueryKind::Crawler,
        json!({"Targets": {
            "JdbcTargets": [{"ConnectionName": "orders-db", "Path": "sales/%",
                "Exclusions": ["sales/tmp"], "EnableAdditionalMetadata": ["COMMENTS"]}],
            "MongoDBTargets": [
                {"ConnectionName": "events-db", "Path": "events/%", "ScanAll": true}],
            "DynamoDBTargets": [{"Path": "sessions", "scanAll": true, "scanRate": 0.5}],
        }}),
    );
    assert_eq!(from_crawler(&crawler), expected);
    let batching = glue::EventBatchingCondition::builder()
        .batch_size(5)
        .batch_window(900)
        .build();
    let trigger = glue::Trigger::builder()
        .name("x")
        .r#type(glue::TriggerType::Event)
        .workflow_name("nightly")
        .event_batching_condition(batching.unwrap())
        .build();
    let expected = object(
        QueryKind::Trigger,
        json!({"Type": "EVENT", "WorkflowName": "nightly",
            "EventBatchingCondition": {"BatchSize": 5, "BatchWindow": 900}}),
    );
    assert_eq!(from_trigger(&trigger), expected);
}
