//! Crawlers. Their schedule is read, and never written.

use super::{
    as_value, entries, fields, flag, number, role_name, text, texts, timestamp, unless_default,
};
use aws_sdk_glue::types as glue;
use serde_json::{Value, json};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

/// What Glue fills in where a creation says nothing.
const RECRAWL: &str = "CRAWL_EVERYTHING";
const UPDATES: &str = "UPDATE_IN_DATABASE";
const DELETIONS: &str = "DEPRECATE_IN_DATABASE";
const LINEAGE: &str = "DISABLE";

pub(in crate::glue_tools) fn from_crawler(found: &glue::Crawler) -> QueryObject {
    let recrawl = found.recrawl_policy.as_ref();
    let recrawl = recrawl.and_then(|policy| policy.recrawl_behavior.as_ref());
    let changes = found.schema_change_policy.as_ref();
    let updates = changes.and_then(|policy| policy.update_behavior.as_ref());
    let deletions = changes.and_then(|policy| policy.delete_behavior.as_ref());
    let lineage = found.lineage_configuration.as_ref();
    let lineage = lineage.and_then(|one| one.crawler_lineage_settings.as_ref());
    let object = json!({
        "Role": found.role.as_deref().map(role_name),
        "DatabaseName": found.database_name,
        "Description": found.description,
        "Targets": found.targets.as_ref().map(targets_to_json),
        "Classifiers": found.classifiers,
        "TablePrefix": found.table_prefix,
        "Configuration": found.configuration,
        "CrawlerSecurityConfiguration": found.crawler_security_configuration,
        "CatalogId": found.catalog_id,
        "RecrawlPolicy": {
            "RecrawlBehavior": unless_default(recrawl.map(|one| one.as_str()), RECRAWL)},
        "SchemaChangePolicy": {
            "UpdateBehavior": unless_default(updates.map(|one| one.as_str()), UPDATES),
            "DeleteBehavior": unless_default(deletions.map(|one| one.as_str()), DELETIONS)},
        "LineageConfiguration": {
            "CrawlerLineageSettings": unless_default(lineage.map(|one| one.as_str()), LINEAGE)},
        "LakeFormationConfiguration": found.lake_formation_configuration.as_ref().map(|one| json!({
            "UseLakeFormationCredentials": one.use_lake_formation_credentials,
            "AccountId": one.account_id})),
        "Schedule": found.schedule.as_ref().map(|schedule| json!({
            "ScheduleExpression": schedule.schedule_expression,
            "State": schedule.state.as_ref().map(|state| state.as_str())})),
    });
    let name = found.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(QueryKind::Crawler, name);
    QueryObject {
        created: timestamp(found.creation_time.as_ref()),
        ..QueryObject::normalized(key, fields(object))
    }
}

fn targets_to_json(found: &glue::CrawlerTargets) -> Value {
    json!({
        "S3Targets": list(found.s3_targets.as_deref(), |one| json!({
            "Path": one.path, "Exclusions": one.exclusions,
            "ConnectionName": one.connection_name, "SampleSize": one.sample_size,
            "EventQueueArn": one.event_queue_arn, "DlqEventQueueArn": one.dlq_event_queue_arn})),
        "JdbcTargets": list(found.jdbc_targets.as_deref(), |one| json!({
            "ConnectionName": one.connection_name, "Path": one.path, "Exclusions": one.exclusions,
            "EnableAdditionalMetadata": list(one.enable_additional_metadata.as_deref(),
                |entry| entry.as_str().into())})),
        "MongoDBTargets": list(found.mongo_db_targets.as_deref(), |one| json!({
            "ConnectionName": one.connection_name, "Path": one.path, "ScanAll": one.scan_all})),
        "DynamoDBTargets": list(found.dynamo_db_targets.as_deref(), |one| json!({
            "Path": one.path, "scanAll": one.scan_all, "scanRate": one.scan_rate})),
        "CatalogTargets": list(found.catalog_targets.as_deref(), |one| json!({
            "DatabaseName": one.database_name, "Tables": one.tables,
            "ConnectionName": one.connection_name,
            "EventQueueArn": one.event_queue_arn, "DlqEventQueueArn": one.dlq_event_queue_arn})),
        "DeltaTargets": list(found.delta_targets.as_deref(), |one| json!({
            "DeltaTables": one.delta_tables, "ConnectionName": one.connection_name,
            "WriteManifest": one.write_manifest,
            "CreateNativeDeltaTable": one.create_native_delta_table})),
        "IcebergTargets": list(found.iceberg_targets.as_deref(), |one| json!({
            "Paths": one.paths, "ConnectionName": one.connection_name, "Exclusions": one.exclusions,
            "MaximumTraversalDepth": one.maximum_traversal_depth})),
        "HudiTargets": list(found.hudi_targets.as_deref(), |one| json!({
            "Paths": one.paths, "ConnectionName": one.connection_name, "Exclusions": one.exclusions,
            "MaximumTraversalDepth": one.maximum_traversal_depth})),
    })
}

fn list<T>(found: Option<&[T]>, convert: impl Fn(&T) -> Value) -> Value {
    found.map_or(Value::Null, |found| found.iter().map(convert).collect())
}

/// What creations and updates of a crawler share.
#[derive(Debug, PartialEq)]
pub(in crate::glue_tools) struct CrawlerInput {
    pub(in crate::glue_tools) role: Option<String>,
    pub(in crate::glue_tools) database_name: Option<String>,
    pub(in crate::glue_tools) description: Option<String>,
    pub(in crate::glue_tools) targets: glue::CrawlerTargets,
    pub(in crate::glue_tools) classifiers: Option<Vec<String>>,
    pub(in crate::glue_tools) table_prefix: Option<String>,
    pub(in crate::glue_tools) schema_change_policy: Option<glue::SchemaChangePolicy>,
    pub(in crate::glue_tools) recrawl_policy: Option<glue::RecrawlPolicy>,
    pub(in crate::glue_tools) lineage_configuration: Option<glue::LineageConfiguration>,
    pub(in crate::glue_tools) lake_formation_configuration:
        Option<glue::LakeFormationConfiguration>,
    pub(in crate::glue_tools) configuration: Option<String>,
    pub(in crate::glue_tools) crawler_security_configuration: Option<String>,
    pub(in crate::glue_tools) catalog_id: Option<String>,
}

/// The input that creates a crawler: what is not set is left out.
pub(in crate::glue_tools) fn to_new_crawler(object: &QueryObject) -> Result<CrawlerInput, String> {
    let value = as_value(&object.fields);
    let part = |name: &str| value.get(name).cloned();
    Ok(CrawlerInput {
        role: text(&value, "Role"),
        database_name: text(&value, "DatabaseName"),
        description: text(&value, "Description"),
        targets: to_targets(value.get("Targets").unwrap_or(&Value::Null))?,
        classifiers: texts(&value, "Classifiers"),
        table_prefix: text(&value, "TablePrefix"),
        schema_change_policy: part("SchemaChangePolicy").as_ref().map(to_changes),
        recrawl_policy: part("RecrawlPolicy").as_ref().map(to_recrawl),
        lineage_configuration: part("LineageConfiguration").as_ref().map(to_lineage),
        lake_formation_configuration: part("LakeFormationConfiguration")
            .as_ref()
            .map(to_lake_formation),
        configuration: text(&value, "Configuration"),
        crawler_security_configuration: text(&value, "CrawlerSecurityConfiguration"),
        catalog_id: text(&value, "CatalogId"),
    })
}

/// The input that makes a crawler equal to another one: what is not set is named as Glue fills it in.
pub(in crate::glue_tools) fn to_changed_crawler(
    object: &QueryObject,
) -> Result<CrawlerInput, String> {
    let new = to_new_crawler(object)?;
    let nothing = Value::Null;
    Ok(CrawlerInput {
        database_name: Some(new.database_name.unwrap_or_default()),
        description: Some(new.description.unwrap_or_default()),
        classifiers: Some(new.classifiers.unwrap_or_default()),
        table_prefix: Some(new.table_prefix.unwrap_or_default()),
        schema_change_policy: new
            .schema_change_policy
            .or_else(|| Some(to_changes(&nothing))),
        recrawl_policy: new.recrawl_policy.or_else(|| Some(to_recrawl(&nothing))),
        lineage_configuration: new
            .lineage_configuration
            .or_else(|| Some(to_lineage(&nothing))),
        lake_formation_configuration: new
            .lake_formation_configuration
            .or_else(|| Some(to_lake_formation(&nothing))),
        crawler_security_configuration: Some(
            new.crawler_security_configuration.unwrap_or_default(),
        ),
        role: new.role,
        targets: new.targets,
        configuration: new.configuration,
        catalog_id: new.catalog_id,
    })
}

fn to_changes(value: &Value) -> glue::SchemaChangePolicy {
    let behavior =
        |name: &str, default: &str| text(value, name).unwrap_or_else(|| default.to_owned());
    glue::SchemaChangePolicy::builder()
        .update_behavior(behavior("UpdateBehavior", UPDATES).as_str().into())
        .delete_behavior(behavior("DeleteBehavior", DELETIONS).as_str().into())
        .build()
}

fn to_recrawl(value: &Value) -> glue::RecrawlPolicy {
    let behavior = text(value, "RecrawlBehavior");
    let behavior = behavior.as_deref().unwrap_or(RECRAWL);
    glue::RecrawlPolicy::builder()
        .recrawl_behavior(behavior.into())
        .build()
}

fn to_lineage(value: &Value) -> glue::LineageConfiguration {
    let settings = text(value, "CrawlerLineageSettings");
    let settings = settings.as_deref().unwrap_or(LINEAGE);
    glue::LineageConfiguration::builder()
        .crawler_lineage_settings(settings.into())
        .build()
}

fn to_lake_formation(value: &Value) -> glue::LakeFormationConfiguration {
    glue::LakeFormationConfiguration::builder()
        .use_lake_formation_credentials(
            flag(value, "UseLakeFormationCredentials").unwrap_or_default(),
        )
        .account_id(text(value, "AccountId").unwrap_or_default())
        .build()
}

/// The targets, each of a kind that may be written.
fn to_targets(value: &Value) -> Result<glue::CrawlerTargets, String> {
    const WRITTEN: [&str; 5] = [
        "S3Targets",
        "CatalogTargets",
        "DeltaTargets",
        "IcebergTargets",
        "HudiTargets",
    ];
    let mut kinds = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, _)| kind);
    if let Some(kind) = kinds.find(|kind| !WRITTEN.contains(&kind.as_str())) {
        return Err(format!("Twinlake does not write {kind} of a crawler"));
    }
    let catalog = entries(value, "CatalogTargets", to_catalog_target);
    let catalog: Option<Result<Vec<_>, String>> = catalog.map(|all| all.into_iter().collect());
    Ok(glue::CrawlerTargets::builder()
        .set_s3_targets(entries(value, "S3Targets", to_s3_target))
        .set_catalog_targets(catalog.transpose()?)
        .set_delta_targets(entries(value, "DeltaTargets", |one| {
            glue::DeltaTarget::builder()
                .set_delta_tables(texts(one, "DeltaTables"))
                .set_connection_name(text(one, "ConnectionName"))
                .set_write_manifest(flag(one, "WriteManifest"))
                .set_create_native_delta_table(flag(one, "CreateNativeDeltaTable"))
                .build()
        }))
        .set_iceberg_targets(entries(value, "IcebergTargets", |one| {
            glue::IcebergTarget::builder()
                .set_paths(texts(one, "Paths"))
                .set_connection_name(text(one, "ConnectionName"))
                .set_exclusions(texts(one, "Exclusions"))
                .set_maximum_traversal_depth(number(one, "MaximumTraversalDepth"))
                .build()
        }))
        .set_hudi_targets(entries(value, "HudiTargets", |one| {
            glue::HudiTarget::builder()
                .set_paths(texts(one, "Paths"))
                .set_connection_name(text(one, "ConnectionName"))
                .set_exclusions(texts(one, "Exclusions"))
                .set_maximum_traversal_depth(number(one, "MaximumTraversalDepth"))
                .build()
        }))
        .build())
}

fn to_s3_target(one: &Value) -> glue::S3Target {
    glue::S3Target::builder()
        .set_path(text(one, "Path"))
        .set_exclusions(texts(one, "Exclusions"))
        .set_connection_name(text(one, "ConnectionName"))
        .set_sample_size(number(one, "SampleSize"))
        .set_event_queue_arn(text(one, "EventQueueArn"))
        .set_dlq_event_queue_arn(text(one, "DlqEventQueueArn"))
        .build()
}

fn to_catalog_target(one: &Value) -> Result<glue::CatalogTarget, String> {
    glue::CatalogTarget::builder()
        .set_database_name(text(one, "DatabaseName"))
        .set_tables(texts(one, "Tables"))
        .set_connection_name(text(one, "ConnectionName"))
        .set_event_queue_arn(text(one, "EventQueueArn"))
        .set_dlq_event_queue_arn(text(one, "DlqEventQueueArn"))
        .build()
        .map_err(|error| error.to_string())
}
