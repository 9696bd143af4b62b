/// Connections.
mod connection;
/// Jobs.
mod job;
/// Security configurations.
mod security_configuration;
/// What Twinlake reads and never writes.
mod unwritten;
/// Workflows.
mod workflow;

use super::*;
use crate::debug_fields::fields as sdk_fields;
use aws_sdk_glue::types as glue;
use serde_json::json;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

fn object(kind: QueryKind, content: Value) -> QueryObject {
    QueryObject::normalized(ObjectKey::new(kind, "x"), fields(content))
}

/// A classifier of each shape in which every field is set.
fn full_classifiers() -> Vec<QueryObject> {
    let contents = [
        json!({"Type": "GROK", "Classification": "log", "GrokPattern": "%{WORD:w}", "CustomPatterns": "W \\w+"}),
        json!({"Type": "XML", "Classification": "xml", "RowTag": "<row>"}),
        json!({"Type": "JSON", "JsonPath": "$[*]"}),
        json!({"Type": "CSV", "Delimiter": ";", "QuoteSymbol": "'", "ContainsHeader": "PRESENT",
            "Header": ["a", "b"], "DisableValueTrimming": true, "AllowSingleColumn": true,
            "CustomDatatypeConfigured": true, "CustomDatatypes": ["INT", "DATE"], "Serde": "OpenCSVSerDe"}),
    ];
    contents
        .into_iter()
        .map(|content| object(QueryKind::Classifier, content))
        .collect()
}

/// A crawler in which every field is set that Twinlake writes.
fn full_crawler() -> QueryObject {
    let queue = "arn:aws:sqs:ap-south-1:111122223333:q";
    let content = json!({
        "Role": "service-role/crawl",
        "DatabaseName": "sales",
        "Description": "nightly",
        "Targets": {
            "S3Targets": [{"Path": "s3://lake/a/", "Exclusions": ["**.tmp"], "ConnectionName": "vpc",
                "SampleSize": 7, "EventQueueArn": queue, "DlqEventQueueArn": queue}],
            "CatalogTargets": [{"DatabaseName": "sales", "Tables": ["orders"], "ConnectionName": "vpc",
                "EventQueueArn": queue, "DlqEventQueueArn": queue}],
            "DeltaTargets": [{"DeltaTables": ["s3://lake/d/"], "ConnectionName": "vpc",
                "WriteManifest": true, "CreateNativeDeltaTable": true}],
            "IcebergTargets": [{"Paths": ["s3://lake/i/"], "ConnectionName": "vpc",
                "Exclusions": ["x"], "MaximumTraversalDepth": 3}],
            "HudiTargets": [{"Paths": ["s3://lake/h/"], "ConnectionName": "vpc",
                "Exclusions": ["y"], "MaximumTraversalDepth": 4}],
        },
        "Classifiers": ["csv"],
        "TablePrefix": "t_",
        "Configuration": "{\"Version\":1.0}",
        "CrawlerSecurityConfiguration": "encrypted",
        "CatalogId": "111122223333",
        "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"},
        "SchemaChangePolicy": {"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"},
        "LineageConfiguration": {"CrawlerLineageSettings": "ENABLE"},
        "LakeFormationConfiguration": {
            "UseLakeFormationCredentials": true, "AccountId": "111122223333"},
    });
    object(QueryKind::Crawler, content)
}

/// A trigger in which every field is set that Twinlake writes.
fn full_trigger() -> QueryObject {
    let content = json!({
        "Type": "CONDITIONAL",
        "WorkflowName": "night",
        "Description": "after the load",
        "Schedule": "cron(0 1 * * ? *)",
        "Actions": [{"JobName": "load", "CrawlerName": "crawl", "Arguments": {"--day": "1"},
            "Timeout": 5, "SecurityConfiguration": "encrypted",
            "NotificationProperty": {"NotifyDelayAfter": 6}}],
        "Predicate": {"Logical": "AND", "Conditions": [{"LogicalOperator": "EQUALS",
            "JobName": "load", "State": "SUCCEEDED", "CrawlerName": "crawl", "CrawlState": "FAILED"}]},
    });
    object(QueryKind::Trigger, content)
}

/// The classifier as it is read after a creation, and after an update.
fn written_classifier(object: &QueryObject) -> [QueryObject; 2] {
    let (new, changed) = (
        to_new_classifier(object).unwrap(),
        to_changed_classifier(object).unwrap(),
    );
    let grok = |class: Option<String>, pattern: Option<String>, custom: Option<String>| {
        glue::GrokClassifier::builder()
            .name("x")
            .set_classification(class)
            .set_grok_pattern(pattern)
            .set_custom_patterns(custom)
            .build()
            .unwrap()
    };
    let xml = |class: Option<String>, tag: Option<String>| {
        glue::XmlClassifier::builder()
            .name("x")
            .set_classification(class)
            .set_row_tag(tag)
            .build()
            .unwrap()
    };
    let json = |path: Option<String>| {
        glue::JsonClassifier::builder()
            .name("x")
            .set_json_path(path)
            .build()
            .unwrap()
    };
    macro_rules! csv {
        ($input:expr) => {
            $input.csv_classifier.map(|one| {
                glue::CsvClassifier::builder()
                    .name(one.name)
                    .set_delimiter(one.delimiter)
                    .set_quote_symbol(one.quote_symbol)
                    .set_contains_header(one.contains_header)
                    .set_header(one.header)
                    .set_disable_value_trimming(one.disable_value_trimming)
                    .set_allow_single_column(one.allow_single_column)
                    .set_custom_datatype_configured(one.custom_datatype_configured)
                    .set_custom_datatypes(one.custom_datatypes)
                    .set_serde(one.serde)
                    .build()
                    .unwrap()
            })
        };
    }
    let created = glue::Classifier::builder()
        .set_grok_classifier(new.grok_classifier.map(|one| {
            grok(
                Some(one.classification),
                Some(one.grok_pattern),
                one.custom_patterns,
            )
        }))
        .set_xml_classifier(
            new.xml_classifier
                .map(|one| xml(Some(one.classification), one.row_tag)),
        )
        .set_json_classifier(new.json_classifier.map(|one| json(Some(one.json_path))))
        .set_csv_classifier(csv!(new))
        .build();
    let updated = glue::Classifier::builder()
        .set_grok_classifier(
            changed
                .grok_classifier
                .map(|one| grok(one.classification, one.grok_pattern, one.custom_patterns)),
        )
        .set_xml_classifier(
            changed
                .xml_classifier
                .map(|one| xml(one.classification, one.row_tag)),
        )
        .set_json_classifier(changed.json_classifier.map(|one| json(one.json_path)))
        .set_csv_classifier(csv!(changed))
        .build();
    [created, updated].map(|one| from_classifier(&one).unwrap())
}

/// The crawler as it is read after a creation, and after an update.
fn written_crawler(object: &QueryObject) -> [QueryObject; 2] {
    let inputs = [
        to_new_crawler(object).unwrap(),
        to_changed_crawler(object).unwrap(),
    ];
    inputs.map(|input| {
        let found = glue::Crawler::builder()
            .name("x")
            .set_role(input.role)
            .set_database_name(input.database_name)
            .set_description(input.description)
            .targets(input.targets)
            .set_classifiers(input.classifiers)
            .set_table_prefix(input.table_prefix)
            .set_schema_change_policy(input.schema_change_policy)
            .set_recrawl_policy(input.recrawl_policy)
            .set_lineage_configuration(input.lineage_configuration)
            .set_lake_formation_configuration(input.lake_formation_configuration)
            .set_configuration(input.configuration)
            .set_crawler_security_configuration(input.crawler_security_configuration)
            .set_catalog_id(input.catalog_id)
            .build();
        from_crawler(&found)
    })
}

fn written_trigger(object: &QueryObject) -> QueryObject {
    let input = to_trigger(object).unwrap();
    let found = glue::Trigger::builder()
        .name("x")
        .set_type(trigger_type(object))
        .set_workflow_name(workflow_name(object))
        .set_description(input.description)
        .set_schedule(input.schedule)
        .set_actions(input.actions)
        .set_predicate(input.predicate)
        .build();
    from_trigger(&found)
}

/// The pointers of the leaves of a value; lists are leaves unless they hold objects.
fn leaves(path: &str, value: &Value) -> Vec<String> {
    let below = |(name, value): (String, &Value)| leaves(&format!("{path}/{name}"), value);
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .flat_map(below)
            .collect(),
        Value::Array(items) if items.iter().any(Value::is_object) => items
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .flat_map(below)
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            vec![path.to_owned()]
        }
    }
}

/// The object without each of its leaves in turn.
fn without_each(object: &QueryObject) -> Vec<(String, QueryObject)> {
    let full = as_value(&object.fields);
    let paths = leaves("", &full);
    let parts = paths.into_iter().map(|path| {
        let mut value = full.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(name);
        let part = QueryObject::normalized(object.key.clone(), fields(value));
        assert_ne!(part, *object, "{path}");
        (path, part)
    });
    parts.collect()
}

/// Fails if a line of a converter is lost: each field is written alone missing, and with all others.
#[test]
fn every_field_round_trips_alone_and_with_the_others() {
    // What an SDK type, or Glue, demands.
    let required = ["Type", "Classification", "GrokPattern", "JsonPath"];
    for full in full_classifiers() {
        assert_eq!(written_classifier(&full), [full.clone(), full.clone()]);
        for (path, part) in without_each(&full) {
            if required.iter().all(|name| !path.ends_with(name)) {
                assert_eq!(written_classifier(&part), [part.clone(), part], "{path}");
            }
        }
    }
    let full = full_crawler();
    assert_eq!(written_crawler(&full), [full.clone(), full.clone()]);
    let parts = without_each(&full);
    assert!(parts.len() > 35, "{}", parts.len());
    for (path, part) in parts {
        if !path.starts_with("/Targets/CatalogTargets/0/") {
            assert_eq!(written_crawler(&part), [part.clone(), part], "{path}");
        }
    }
    let full = full_trigger();
    assert_eq!(written_trigger(&full), full);
    for (path, part) in without_each(&full) {
        assert_eq!(written_trigger(&part), part, "{path}");
    }
}

#[test]
fn what_glue_fills_in_equals_what_was_never_set_and_roles_are_names() {
    let bare = glue::Crawler::builder().name("x").role("crawl").build();
    let filled = glue::Crawler::builder()
        .name("x")
        .role("arn:aws:iam::111122223333:role/crawl")
        .description("")
        .set_classifiers(Some(Vec::new()))
        .recrawl_policy(
            glue::RecrawlPolicy::builder()
                .recrawl_behavior("CRAWL_EVERYTHING".into())
                .build(),
        )
        .schema_change_policy(
            glue::SchemaChangePolicy::builder()
                .update_behavior("UPDATE_IN_DATABASE".into())
                .delete_behavior("DEPRECATE_IN_DATABASE".into())
                .build(),
        )
        .lineage_configuration(
            glue::LineageConfiguration::builder()
                .crawler_lineage_settings("DISABLE".into())
                .build(),
        )
        .lake_formation_configuration(
            glue::LakeFormationConfiguration::builder()
                .use_lake_formation_credentials(false)
                .account_id("")
                .build(),
        )
        .build();
    assert_eq!(from_crawler(&bare), from_crawler(&filled));
    assert_eq!(from_crawler(&bare).text("Role"), Some("crawl"));
}

#[test]
fn an_update_names_what_it_unsets() {
    let bare = object(QueryKind::Crawler, json!({"Role": "crawl"}));
    let changed = to_changed_crawler(&bare).unwrap();
    for text in [
        &changed.description,
        &changed.table_prefix,
        &changed.database_name,
        &changed.crawler_security_configuration,
    ] {
        assert_eq!(text.as_deref(), Some(""));
    }
    assert_eq!(changed.classifiers, Some(Vec::new()));
    assert!(changed.recrawl_policy.is_some() && changed.schema_change_policy.is_some());
    let csv = object(QueryKind::Classifier, json!({"Type": "CSV"}));
    let csv = to_changed_classifier(&csv).unwrap().csv_classifier.unwrap();
    assert_eq!(
        (csv.header, csv.custom_datatypes),
        (Some(vec![]), Some(vec![]))
    );
    assert_eq!(csv.allow_single_column, Some(false));
    assert_eq!(csv.contains_header.unwrap().as_str(), "UNKNOWN");
}

#[test]
fn what_is_never_written_is_refused() {
    for kind in ["JdbcTargets", "MongoDBTargets", "DynamoDBTargets"] {
        let crawler = object(
            QueryKind::Crawler,
            json!({"Role": "r", "Targets": {kind: [{"Path": "p"}]}}),
        );
        assert!(to_new_crawler(&crawler).unwrap_err().contains(kind));
    }
    let event = json!({"Type": "EVENT", "EventBatchingCondition": {"BatchSize": 1}});
    assert!(to_trigger(&object(QueryKind::Trigger, event)).is_err());
    let other = object(QueryKind::Classifier, json!({"Type": "AVRO"}));
    assert!(to_new_classifier(&other).is_err() && to_changed_classifier(&other).is_err());
}

#[test]
fn what_runs_by_itself_is_read() {
    let schedule = glue::Schedule::builder()
        .schedule_expression("cron(0 1 * * ? *)")
        .state(glue::ScheduleState::Scheduled)
        .build();
    let crawler = glue::Crawler::builder()
        .name("x")
        .schedule(schedule)
        .build();
    let crawler = from_crawler(&crawler);
    assert!(crawler.is_awake() && crawler.cron() == Some("cron(0 1 * * ? *)"));
    let trigger = glue::Trigger::builder()
        .name("x")
        .state(glue::TriggerState::Activated)
        .build();
    assert!(from_trigger(&trigger).is_awake());
}

/// Compares the fields of SDK values, each by its `Debug` text, with those that are known. Fails when an upgrade
/// adds one. Decide then whether it is replicated, mapped or held: an object would lose a field that is none of these.
fn assert_known(cases: &[(String, &str)]) {
    for (debug, expected) in cases {
        assert_eq!(sdk_fields(debug).join(" "), *expected);
    }
}

/// The text of a value, in lines.
fn debug(value: &impl std::fmt::Debug) -> String {
    format!("{value:#?}")
}

#[test]
fn every_field_of_classifiers_is_known() {
    let [grok, xml, json, csv] = full_classifiers().try_into().unwrap();
    let new = |one: &QueryObject| to_new_classifier(one).unwrap();
    let changed = |one: &QueryObject| to_changed_classifier(one).unwrap();
    let of_csv = "name delimiter quote_symbol contains_header header disable_value_trimming allow_single_column custom_datatype_configured custom_datatypes serde";
    let read_csv = "name creation_time last_updated version delimiter quote_symbol contains_header header disable_value_trimming allow_single_column custom_datatype_configured custom_datatypes serde";
    assert_known(&[
        (
            debug(&glue::Classifier::builder().build()),
            "grok_classifier xml_classifier json_classifier csv_classifier",
        ),
        (
            debug(&new(&grok)),
            "grok_classifier xml_classifier json_classifier csv_classifier",
        ),
        (
            debug(&changed(&grok)),
            "grok_classifier xml_classifier json_classifier csv_classifier",
        ),
        (
            debug(&new(&grok).grok_classifier.unwrap()),
            "classification name grok_pattern custom_patterns",
        ),
        (
            debug(&changed(&grok).grok_classifier.unwrap()),
            "name classification grok_pattern custom_patterns",
        ),
        (
            debug(&new(&xml).xml_classifier.unwrap()),
            "classification name row_tag",
        ),
        (
            debug(&changed(&xml).xml_classifier.unwrap()),
            "name classification row_tag",
        ),
        (
            debug(&new(&json).json_classifier.unwrap()),
            "name json_path",
        ),
        (
            debug(&changed(&json).json_classifier.unwrap()),
            "name json_path",
        ),
        (debug(&new(&csv).csv_classifier.unwrap()), of_csv),
        (debug(&changed(&csv).csv_classifier.unwrap()), of_csv),
        (
            debug(
                &glue::GrokClassifier::builder()
                    .name("x")
                    .classification("c")
                    .grok_pattern("p")
                    .build()
                    .unwrap(),
            ),
            "name classification creation_time last_updated version grok_pattern custom_patterns",
        ),
        (
            debug(
                &glue::XmlClassifier::builder()
                    .name("x")
                    .classification("c")
                    .build()
                    .unwrap(),
            ),
            "name classification creation_time last_updated version row_tag",
        ),
        (
            debug(
                &glue::JsonClassifier::builder()
                    .name("x")
                    .json_path("$")
                    .build()
                    .unwrap(),
            ),
            "name creation_time last_updated version json_path",
        ),
        (
            debug(&glue::CsvClassifier::builder().name("x").build().unwrap()),
            read_csv,
        ),
    ]);
}

#[test]
fn every_field_of_crawlers_is_known() {
    use aws_sdk_glue::operation as calls;
    let inputs = "role database_name description targets schedule classifiers table_prefix schema_change_policy recrawl_policy lineage_configuration lake_formation_configuration configuration crawler_security_configuration";
    let create = calls::create_crawler::CreateCrawlerInput::builder();
    let update = calls::update_crawler::UpdateCrawlerInput::builder();
    let catalog = glue::CatalogTarget::builder()
        .database_name("d")
        .set_tables(Some(vec![]))
        .build()
        .unwrap();
    assert_known(&[
        (
            debug(&glue::Crawler::builder().build()),
            "name role targets database_name description classifiers recrawl_policy schema_change_policy lineage_configuration state table_prefix schedule crawl_elapsed_time creation_time last_updated last_crawl version configuration crawler_security_configuration lake_formation_configuration catalog_id",
        ),
        (
            debug(&create.build().unwrap()),
            &format!("name {inputs} tags catalog_id"),
        ),
        (
            debug(&update.build().unwrap()),
            &format!("name {inputs} catalog_id"),
        ),
        (
            debug(&glue::CrawlerTargets::builder().build()),
            "s3_targets jdbc_targets mongo_db_targets dynamo_db_targets catalog_targets delta_targets iceberg_targets hudi_targets",
        ),
        (
            debug(&glue::S3Target::builder().build()),
            "path exclusions connection_name sample_size event_queue_arn dlq_event_queue_arn",
        ),
        (
            debug(&catalog),
            "database_name tables connection_name event_queue_arn dlq_event_queue_arn",
        ),
        (
            debug(&glue::DeltaTarget::builder().build()),
            "delta_tables connection_name write_manifest create_native_delta_table",
        ),
        (
            debug(&glue::IcebergTarget::builder().build()),
            "paths connection_name exclusions maximum_traversal_depth",
        ),
        (
            debug(&glue::HudiTarget::builder().build()),
            "paths connection_name exclusions maximum_traversal_depth",
        ),
        (
            debug(&glue::JdbcTarget::builder().build()),
            "connection_name path exclusions enable_additional_metadata",
        ),
        (
            debug(&glue::MongoDbTarget::builder().build()),
            "connection_name path scan_all",
        ),
        (
            debug(&glue::DynamoDbTarget::builder().build()),
            "path scan_all scan_rate",
        ),
        (
            debug(&glue::SchemaChangePolicy::builder().build()),
            "update_behavior delete_behavior",
        ),
        (
            debug(&glue::RecrawlPolicy::builder().build()),
            "recrawl_behavior",
        ),
        (
            debug(&glue::LineageConfiguration::builder().build()),
            "crawler_lineage_settings",
        ),
        (
            debug(&glue::LakeFormationConfiguration::builder().build()),
            "use_lake_formation_credentials account_id",
        ),
        (
            debug(&glue::Schedule::builder().build()),
            "schedule_expression state",
        ),
    ]);
}

#[test]
fn every_field_of_triggers_is_known() {
    use aws_sdk_glue::operation as calls;
    let create = calls::create_trigger::CreateTriggerInput::builder();
    let update = calls::update_trigger::UpdateTriggerInput::builder();
    assert_known(&[
        (
            debug(&glue::Trigger::builder().build()),
            "name workflow_name id type state description schedule actions predicate event_batching_condition",
        ),
        (
            debug(&create.build().unwrap()),
            "name workflow_name type schedule predicate actions description start_on_creation tags event_batching_condition",
        ),
        (debug(&update.build().unwrap()), "name trigger_update"),
        (
            debug(&glue::TriggerUpdate::builder().build()),
            "name description schedule actions predicate event_batching_condition",
        ),
        (
            debug(&glue::Action::builder().build()),
            "job_name arguments timeout security_configuration notification_property crawler_name",
        ),
        (
            debug(&glue::NotificationProperty::builder().build()),
            "notify_delay_after",
        ),
        (
            debug(&glue::Predicate::builder().build()),
            "logical conditions",
        ),
        (
            debug(&glue::Condition::builder().build()),
            "logical_operator job_name state crawler_name crawl_state",
        ),
        (
            debug(
                &glue::EventBatchingCondition::builder()
                    .batch_size(1)
                    .build()
                    .unwrap(),
            ),
            "batch_size batch_window",
        ),
    ]);
}
