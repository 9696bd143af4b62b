//! What a step does, by kind of object and by action, for people who read a plan.

use crate::catalog::{AttachmentKey, Change};
use crate::step::Step;
use serde::{Deserialize, Serialize};

/// The kinds of objects that steps change. The names are part of the interface of `twinlake plan
/// --summary --json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// Databases, resource links included.
    Databases,
    /// Tables, resource links included.
    Tables,
    /// Partitions.
    Partitions,
    /// User-defined functions.
    Functions,
    /// Partition indexes.
    PartitionIndexes,
    /// Statistics of columns.
    ColumnStatistics,
    /// Glue tags.
    GlueTags,
    /// Data cells filters.
    DataCellsFilters,
    /// Values of LF-Tags.
    LfTags,
    /// Named LF-Tag expressions.
    LfTagExpressions,
    /// LF-Tags of databases, tables and columns.
    LfTagAssignments,
    /// Opt-ins.
    OptIns,
    /// Registered locations.
    DataLocations,
    /// The data lake settings.
    DataLakeSettings,
    /// Grants of Lake Formation permissions.
    Grants,
}

impl ObjectKind {
    /// The kind as a plural noun.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Databases => "databases",
            Self::Tables => "tables",
            Self::Partitions => "partitions",
            Self::Functions => "functions",
            Self::PartitionIndexes => "partition indexes",
            Self::ColumnStatistics => "column statistics",
            Self::GlueTags => "Glue tags",
            Self::DataCellsFilters => "data cells filters",
            Self::LfTags => "LF-Tag values",
            Self::LfTagExpressions => "LF-Tag expressions",
            Self::LfTagAssignments => "LF-Tag assignments",
            Self::OptIns => "opt-ins",
            Self::DataLocations => "data locations",
            Self::DataLakeSettings => "data lake settings",
            Self::Grants => "grants",
        }
    }

    fn of_attachment(key: &AttachmentKey) -> Self {
        match key {
            AttachmentKey::Index(_) => Self::PartitionIndexes,
            AttachmentKey::Statistics(_) => Self::ColumnStatistics,
            AttachmentKey::GlueTag(_) => Self::GlueTags,
            AttachmentKey::DataCellsFilter(_) => Self::DataCellsFilters,
            AttachmentKey::LfTagAssignment { .. } => Self::LfTagAssignments,
            AttachmentKey::OptIn(_) => Self::OptIns,
            AttachmentKey::LfTagValue { .. } => Self::LfTags,
            AttachmentKey::NamedExpression(_) => Self::LfTagExpressions,
            AttachmentKey::Registration(_) => Self::DataLocations,
        }
    }
}

/// What a step does with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepAction {
    /// It creates an object.
    Create,
    /// It changes an existing object.
    Change,
    /// It deletes an object.
    Delete,
    /// It grants a permission.
    Grant,
    /// It revokes a permission.
    Revoke,
}

/// Parameters in which engines and crawlers record what they found: counts, sizes and their own
/// state. Of Hive and Spark, `StatsSetupConst` of the Hive metastore; of crawlers,
/// <https://docs.aws.amazon.com/glue/latest/dg/table-properties-crawler.html>.
const RECORDED_PARAMETERS: [&str; 14] = [
    "COLUMN_STATS_ACCURATE",
    "numFiles",
    "numPartitions",
    "numRows",
    "rawDataSize",
    "totalSize",
    "spark.sql.statistics.numRows",
    "spark.sql.statistics.totalSize",
    "CrawlerSchemaDeserializerVersion",
    "CrawlerSchemaSerializerVersion",
    "averageRecordSize",
    "objectCount",
    "recordCount",
    "sizeKey",
];

/// The parameter in which a crawler records its name.
const CRAWLER_PARAMETER: &str = "UPDATED_BY_CRAWLER";

/// Fields of tables and partitions that hold the time of an access or an analysis.
const RECORDED_TIMES: [&str; 2] = ["LastAccessTime", "LastAnalyzedTime"];

/// Whether a field holds only what engines and crawlers record about an object.
fn is_recorded(change: &Change) -> bool {
    let field = change.field.as_str();
    let field = field.strip_prefix("StorageDescriptor.").unwrap_or(field);
    match field.strip_prefix("Parameters.") {
        Some(key) => RECORDED_PARAMETERS.contains(&key) || key == CRAWLER_PARAMETER,
        None => RECORDED_TIMES.contains(&field),
    }
}

impl Step {
    /// The kind of the object that it changes.
    #[must_use]
    pub fn object_kind(&self) -> ObjectKind {
        match self {
            Self::CreateDatabase { .. }
            | Self::UpdateDatabase { .. }
            | Self::DeleteDatabase { .. } => ObjectKind::Databases,
            Self::CreateTable { .. } | Self::UpdateTable { .. } | Self::DeleteTable { .. } => {
                ObjectKind::Tables
            }
            Self::CreatePartition { .. }
            | Self::UpdatePartition { .. }
            | Self::DeletePartition { .. } => ObjectKind::Partitions,
            Self::CreateFunction { .. }
            | Self::UpdateFunction { .. }
            | Self::DeleteFunction { .. } => ObjectKind::Functions,
            Self::PutAttachment { attachment, .. } => ObjectKind::of_attachment(&attachment.key()),
            Self::RemoveAttachment { key, .. } => ObjectKind::of_attachment(key),
            Self::PutSettings { .. } => ObjectKind::DataLakeSettings,
            Self::Grant { .. } | Self::Revoke { .. } => ObjectKind::Grants,
        }
    }

    /// What it does with its object.
    #[must_use]
    pub fn action(&self) -> StepAction {
        match self {
            Self::CreateDatabase { .. }
            | Self::CreateTable { .. }
            | Self::CreatePartition { .. }
            | Self::CreateFunction { .. }
            | Self::PutAttachment {
                replaces: false, ..
            } => StepAction::Create,
            Self::UpdateDatabase { .. }
            | Self::UpdateTable { .. }
            | Self::UpdatePartition { .. }
            | Self::UpdateFunction { .. }
            | Self::PutSettings { .. }
            | Self::PutAttachment { replaces: true, .. } => StepAction::Change,
            Self::DeleteDatabase { .. }
            | Self::DeleteTable { .. }
            | Self::DeletePartition { .. }
            | Self::DeleteFunction { .. }
            | Self::RemoveAttachment { .. } => StepAction::Delete,
            Self::Grant { .. } => StepAction::Grant,
            Self::Revoke { .. } => StepAction::Revoke,
        }
    }

    /// The differing fields of an update.
    #[must_use]
    pub fn changed_fields(&self) -> &[Change] {
        match self {
            Self::UpdateDatabase { changes, .. }
            | Self::UpdateTable { changes, .. }
            | Self::UpdatePartition { changes, .. }
            | Self::UpdateFunction { changes, .. } => changes,
            Self::CreateDatabase { .. }
            | Self::CreateTable { .. }
            | Self::CreatePartition { .. }
            | Self::CreateFunction { .. }
            | Self::DeleteFunction { .. }
            | Self::PutAttachment { .. }
            | Self::PutSettings { .. }
            | Self::RemoveAttachment { .. }
            | Self::Grant { .. }
            | Self::Revoke { .. }
            | Self::DeletePartition { .. }
            | Self::DeleteTable { .. }
            | Self::DeleteDatabase { .. } => &[],
        }
    }

    /// Whether it deletes or revokes something, or removes administrators.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        if let Self::PutSettings {
            removed_admins,
            removed_read_only_admins,
            ..
        } = self
        {
            return !removed_admins.is_empty() || !removed_read_only_admins.is_empty();
        }
        match self.action() {
            StepAction::Delete | StepAction::Revoke => true,
            StepAction::Create | StepAction::Change | StepAction::Grant => false,
        }
    }

    /// Whether it changes only what engines and crawlers record about an object: counts, sizes,
    /// times and the state of a crawler.
    #[must_use]
    pub fn is_bookkeeping(&self) -> bool {
        let changes = self.changed_fields();
        let clears_defaults = matches!(
            self,
            Self::UpdateDatabase {
                clears_default_permissions: true,
                ..
            }
        );
        !clears_defaults && !changes.is_empty() && changes.iter().all(is_recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, TableId};

    fn update(fields: &[&str]) -> Step {
        let name = |text| Name::new(text).unwrap();
        let change = |field: &&str| Change {
            field: (*field).to_owned(),
            current: None,
            desired: Some(serde_json::json!("1")),
        };
        Step::UpdateTable {
            id: TableId::new(name("sales"), name("orders")),
            table: serde_json::from_value(serde_json::json!({"Name": "orders"})).unwrap(),
            version: None,
            changes: fields.iter().map(change).collect(),
        }
    }

    #[test]
    fn an_update_is_bookkeeping_only_if_each_of_its_fields_is() {
        assert!(update(&["Parameters.numRows"]).is_bookkeeping());
        let recorded = ["StorageDescriptor.Parameters.recordCount", "LastAccessTime"];
        assert!(update(&recorded).is_bookkeeping());
        assert!(update(&["Parameters.UPDATED_BY_CRAWLER"]).is_bookkeeping());
        assert!(!update(&["Parameters.numRows", "Description"]).is_bookkeeping());
        // A field of the SerDe, a key of the user's, and no field at all.
        assert!(!update(&["StorageDescriptor.SerdeInfo.Parameters.numRows"]).is_bookkeeping());
        assert!(!update(&["Parameters.my.numRows"]).is_bookkeeping());
        assert!(!update(&[]).is_bookkeeping());
    }

    #[test]
    fn the_removal_of_administrators_takes_away_although_it_is_a_change() {
        let settings = |removed: &[&str]| Step::PutSettings {
            added_admins: [].into(),
            added_read_only_admins: [].into(),
            removed_admins: removed
                .iter()
                .map(|arn| crate::Principal((*arn).to_owned()))
                .collect(),
            removed_read_only_admins: [].into(),
            other_settings: None,
            kept_admins: [].into(),
            kept_read_only_admins: [].into(),
            only_narrows: true,
        };
        assert!(settings(&["arn"]).takes_away());
        assert!(!settings(&[]).takes_away());
        assert_eq!(settings(&["arn"]).action(), StepAction::Change);
    }
}
