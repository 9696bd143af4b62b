//! Multi-dialect views (`ViewDefinitionInput`).

use super::{Parameters, StorageDescriptor, Table};
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

const ATHENA: &str = "ATHENA";
const SPARK: &str = "SPARK";

/// The start of the text that Glue shows for an ATHENA representation: the base64 of a JSON object,
/// in a comment.
const PRESTO_VIEW_PREFIX: &str = "/* Presto View: ";
const PRESTO_VIEW_SUFFIX: &str = "*/";

impl ViewRepresentation {
    fn is_of(&self, dialect: &str) -> bool {
        let own = self.dialect.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(dialect))
    }
}

impl Table {
    fn representations(&self) -> &[ViewRepresentation] {
        let view = self.view_definition.as_ref();
        view.map(|view| view.representations.as_slice())
            .unwrap_or_default()
    }

    /// Whether Glue validates the view and derives its storage descriptor from the SQL. Then
    /// `CreateTable` and `UpdateTable` take no storage descriptor (F-4).
    #[must_use]
    pub fn has_derived_storage(&self) -> bool {
        let all = self.representations();
        let has_connection = all.iter().any(|one| one.validation_connection.is_some());
        all.iter().any(|one| one.is_of(ATHENA))
            || (has_connection && !all.iter().any(|one| one.is_of(SPARK)))
    }

    /// Returns the form of a validated view for comparing: what can be written of it, and its
    /// columns. Other tables are returned unchanged.
    ///
    /// A read shows more than `CreateTable` takes: texts beside the definition, an expanded text of
    /// the ATHENA dialect, and the SQL of that dialect in an encoded form (F-4).
    #[must_use]
    pub fn normalized_view(mut self) -> Self {
        if !self.has_derived_storage() {
            return self;
        }
        self.view_original_text = None;
        self.view_expanded_text = None;
        self.storage_descriptor = self.storage_descriptor.map(|derived| StorageDescriptor {
            columns: derived.columns,
            ..StorageDescriptor::default()
        });
        let view = self.view_definition.iter_mut();
        for one in view.flat_map(|view| &mut view.representations) {
            if one.is_of(ATHENA) {
                one.view_expanded_text = None;
                if let Some(text) = &one.view_original_text {
                    one.view_original_text = athena_view_sql(text);
                }
            }
        }
        self
    }

    /// Returns the form for sending, which `CreateTable` and `UpdateTable` take: a validated view
    /// without its storage descriptor. Other tables are returned unchanged.
    #[must_use]
    pub fn into_view_input(self) -> Self {
        let mut table = self.normalized_view();
        if table.has_derived_storage() {
            table.storage_descriptor = None;
        }
        table
    }

    /// Returns a table as it is compared with the desired one. Of a validated view, the fields that
    /// cannot be written count as equal: its columns, and validation connections that a read does not
    /// show.
    #[must_use]
    pub fn comparable_view(self, desired: &Self) -> Self {
        let mut table = self.normalized_view();
        if !desired.has_derived_storage() || !table.has_derived_storage() {
            return table;
        }
        table
            .storage_descriptor
            .clone_from(&desired.storage_descriptor);
        let view = table.view_definition.iter_mut();
        for one in view.flat_map(|view| &mut view.representations) {
            let dialect = one.dialect.clone();
            let mut wanted = desired.representations().iter();
            let wanted = wanted.find(|wanted| wanted.dialect == dialect);
            if let (None, Some(wanted)) = (&one.validation_connection, wanted) {
                one.validation_connection
                    .clone_from(&wanted.validation_connection);
            }
        }
        table
    }

    /// Returns the reason why a view cannot be created from what a read shows of it.
    #[must_use]
    pub fn view_obstacle(&self) -> Option<String> {
        let all = self.representations();
        if all.is_empty() {
            return None;
        }
        let has = |dialect: &str| all.iter().any(|one| one.is_of(dialect));
        if has(ATHENA) && has(SPARK) {
            return Some(
                "it is a view of the dialects ATHENA, which takes no storage descriptor, and SPARK, \
                 which needs one: create it in the standby manually, one dialect after the other"
                    .to_owned(),
            );
        }
        let columns = self.storage_descriptor.as_ref().map(|sd| sd.columns.len());
        if has(SPARK) && columns.unwrap_or_default() == 0 {
            return Some(
                "it is a view of the dialect SPARK without columns, which Glue does not create"
                    .to_owned(),
            );
        }
        let has_sql = |one: &ViewRepresentation| match (one.is_of(ATHENA), &one.view_original_text)
        {
            (true, Some(text)) => athena_view_sql(text).is_some(),
            (true, None) => false,
            (false, text) => text.is_some() || one.view_expanded_text.is_some(),
        };
        let hidden = all.iter().find(|one| !has_sql(one))?;
        let dialect = hidden.dialect.as_deref().unwrap_or("unknown");
        Some(format!(
            "Glue does not show the SQL of its dialect {dialect}: create the view in the standby \
             manually with the same definition"
        ))
    }
}

/// Returns the SQL of an ATHENA representation: the text itself, or the `originalSql` that it
/// encodes. `None` if the text is encoded and cannot be decoded.
#[must_use]
pub fn athena_view_sql(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let Some(encoded) = trimmed.strip_prefix(PRESTO_VIEW_PREFIX) else {
        return (!trimmed.starts_with("/* Presto View")).then(|| text.to_owned());
    };
    let encoded = encoded.strip_suffix(PRESTO_VIEW_SUFFIX)?;
    let json = decode_base64(encoded.trim())?;
    let json: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let sql = json.get("originalSql")?.as_str()?;
    Some(sql.to_owned())
}

/// Decodes base64 of the standard alphabet; `None` if the text is not base64.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for character in text.trim_end_matches('=').bytes() {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(digit)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ENCODED: &str = "/* Presto View: eyJvcmlnaW5hbFNxbCI6InNlbGVjdCBhY2NvdW50aWQgYXMgYWNjb3VudF9pZCBmcm9tIGFjY291bnRzIn0= */";
    const SQL: &str = "select accountid as account_id from accounts";

    fn view(representations: Value, columns: Value) -> Table {
        serde_json::from_value(json!({
            "Name": "v", "TableType": "VIRTUAL_VIEW",
            "ViewOriginalText": "/* Presto View */", "ViewExpandedText": "/* Presto View */",
            "StorageDescriptor": {"Columns": columns, "Location": "", "SerdeInfo": {}},
            "ViewDefinition": {"IsProtected": true, "Representations": representations},
        }))
        .unwrap()
    }

    fn athena(text: Option<&str>) -> Value {
        json!([{
            "Dialect": "ATHENA", "DialectVersion": "3", "ViewOriginalText": text,
            "ViewExpandedText": "/* Presto View */",
        }])
    }

    #[test]
    fn an_athena_view_is_written_as_its_sql_alone() {
        let read = view(athena(Some(ENCODED)), json!([{"Name": "account_id"}]));
        assert_eq!(read.view_obstacle(), None);
        let written = serde_json::to_value(read.clone().into_view_input()).unwrap();
        for field in ["StorageDescriptor", "ViewOriginalText", "ViewExpandedText"] {
            assert_eq!(written.get(field), None, "{field}");
        }
        let representation = &written["ViewDefinition"]["Representations"][0];
        assert_eq!(representation["ViewOriginalText"], SQL);
        assert_eq!(representation.get("ViewExpandedText"), None);
        assert_eq!(written["TableType"], "VIRTUAL_VIEW");
        assert_eq!(read.normalized_view().columns().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_counts_as_equal_and_the_sql_does_not() {
        let desired = view(athena(Some(SQL)), json!([{"Name": "a"}])).normalized_view();
        let read = view(athena(Some(ENCODED)), json!([{"Name": "b"}]));
        assert_eq!(read.comparable_view(&desired), desired);
        let other = view(athena(Some("select 1")), json!([{"Name": "a"}]));
        assert_ne!(other.comparable_view(&desired), desired);
    }

    #[test]
    fn a_connection_that_a_read_does_not_show_counts_as_equal() {
        let redshift = |connection: Option<&str>| {
            json!([{
                "Dialect": "REDSHIFT", "ViewOriginalText": SQL, "ValidationConnection": connection,
            }, {"Dialect": "ATHENA", "ViewOriginalText": SQL}])
        };
        let desired = view(redshift(Some("arn:c")), json!([])).normalized_view();
        let read = view(redshift(None), json!([{"Name": "a"}]));
        assert_eq!(read.comparable_view(&desired), desired);
    }

    #[test]
    fn a_view_whose_sql_is_not_shown_is_not_created() {
        let reason = |table: Table| table.view_obstacle().unwrap_or_default();
        assert!(reason(view(athena(None), json!([]))).contains("does not show the SQL"));
        let unreadable = athena(Some("/* Presto View: !! */"));
        assert!(reason(view(unreadable, json!([]))).contains("does not show the SQL"));
        let without_sql = athena(Some("/* Presto View */"));
        assert!(reason(view(without_sql, json!([]))).contains("does not show the SQL"));
    }

    #[test]
    fn a_spark_view_keeps_its_storage_descriptor_and_needs_columns() {
        let spark = json!([{
            "Dialect": "SPARK", "ViewOriginalText": SQL, "ViewExpandedText": SQL,
        }]);
        let with_columns = view(spark.clone(), json!([{"Name": "a"}]));
        assert_eq!(with_columns.view_obstacle(), None);
        let written = with_columns.clone().into_view_input();
        assert_eq!(written, with_columns);
        assert!(view(spark.clone(), json!([])).view_obstacle().is_some());
        let mut both = spark;
        both.as_array_mut()
            .unwrap()
            .push(athena(Some(SQL))[0].take());
        assert!(view(both, json!([{"Name": "a"}])).view_obstacle().is_some());
    }

    #[test]
    fn other_tables_are_left_alone() {
        let table: Table = serde_json::from_value(json!({
            "Name": "t", "ViewOriginalText": "/* Presto View: e30= */",
            "StorageDescriptor": {"Location": "s3://a/t"},
        }))
        .unwrap();
        assert_eq!(table.clone().into_view_input(), table);
        assert_eq!(table.view_obstacle(), None);
    }

    #[test]
    fn base64_is_decoded_with_and_without_padding() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8", "fo"), ("Zm9v", "foo")] {
            assert_eq!(decode_base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode_base64("Zm9!"), None);
    }
}
