//! Multi-dialect views (`ViewDefinitionInput`).

use super::Parameters;
use serde::{Deserialize, Serialize};

/// `ViewDefinitionInput`. `IsStale`, which a read adds to a representation, is omitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ViewDefinition {
    /// `IsProtected`: engines must not push down operations that could reveal rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_protected: Option<bool>,
    /// `IsManaged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_managed: Option<bool>,
    /// `Definer`: the ARN of the role with whose permissions the view reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definer: Option<String>,
    /// `Representations`: one for each dialect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub representations: Vec<ViewRepresentation>,
    /// `ViewVersionId`.
    #[serde(default)]
    pub view_version_id: i64,
    /// `ViewVersionToken`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_version_token: Option<String>,
    /// `RefreshSeconds`, of a materialized view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<i64>,
    /// `LastRefreshType`, of a materialized view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refresh_type: Option<String>,
    /// `SubObjects`: ARNs of the tables that the view reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_objects: Vec<String>,
    /// `SubObjectVersionIds`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_object_version_ids: Vec<i64>,
    /// `SubObjectsStatistics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_objects_statistics: Vec<SubObjectStatistics>,
    /// `SparkPipelineInfo`.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub spark_pipeline_info: Parameters,
}

/// `ViewRepresentationInput`: the view in one engine's dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ViewRepresentation {
    /// `Dialect`: ATHENA, REDSHIFT, SPARK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// `DialectVersion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect_version: Option<String>,
    /// `ViewOriginalText`: the SQL text as entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_original_text: Option<String>,
    /// `ValidationConnection`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_connection: Option<String>,
    /// `ViewExpandedText`: the SQL text with fully qualified names, which may be ARNs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_expanded_text: Option<String>,
}

/// `SubObjectStatistics`: a source table of a materialized view at its last refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubObjectStatistics {
    /// `SourceType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
    /// `GlueVersionId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glue_version_id: Option<String>,
    /// `PartitionCount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_count: Option<i64>,
    /// `FileCount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_count: Option<i64>,
    /// `TotalFileBytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_file_bytes: Option<i64>,
}
