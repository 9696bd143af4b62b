//! Classifiers: `Type` says which of the four shapes one has.

use super::{as_value, fields, flag, text, texts, timestamp, unless_default};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::operation::create_classifier::CreateClassifierInput;
use aws_sdk_glue::operation::update_classifier::UpdateClassifierInput;
use aws_sdk_glue::types as glue;
use aws_smithy_types::DateTime;
use serde_json::{Value, json};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

/// What Glue answers for a classifier that does not say whether there is a header.
const UNKNOWN_HEADER: &str = "UNKNOWN";

/// A classifier; `None` if it has none of the shapes that this version knows.
pub(in crate::glue_tools) fn from_classifier(found: &glue::Classifier) -> Option<QueryObject> {
    if let Some(grok) = &found.grok_classifier {
        let content = json!({
            "Type": "GROK",
            "Classification": grok.classification,
            "GrokPattern": grok.grok_pattern,
            "CustomPatterns": grok.custom_patterns,
        });
        return Some(object(&grok.name, grok.creation_time.as_ref(), content));
    }
    if let Some(xml) = &found.xml_classifier {
        let content = json!({
            "Type": "XML",
            "Classification": xml.classification,
            "RowTag": xml.row_tag,
        });
        return Some(object(&xml.name, xml.creation_time.as_ref(), content));
    }
    if let Some(json) = &found.json_classifier {
        let content = json!({"Type": "JSON", "JsonPath": json.json_path});
        return Some(object(&json.name, json.creation_time.as_ref(), content));
    }
    let csv = found.csv_classifier.as_ref()?;
    let header = csv.contains_header.as_ref().map(|header| header.as_str());
    let content = json!({
        "Type": "CSV",
        "Delimiter": csv.delimiter,
        "QuoteSymbol": csv.quote_symbol,
        "ContainsHeader": unless_default(header, UNKNOWN_HEADER),
        "Header": csv.header,
        "DisableValueTrimming": csv.disable_value_trimming,
        "AllowSingleColumn": csv.allow_single_column,
        "CustomDatatypeConfigured": csv.custom_datatype_configured,
        "CustomDatatypes": csv.custom_datatypes,
        "Serde": csv.serde.as_ref().map(|serde| serde.as_str()),
    });
    Some(object(&csv.name, csv.creation_time.as_ref(), content))
}

fn object(name: &str, created: Option<&DateTime>, content: Value) -> QueryObject {
    let key = ObjectKey::new(QueryKind::Classifier, name);
    QueryObject {
        created: timestamp(created),
        ..QueryObject::normalized(key, fields(content))
    }
}

/// The input that creates a classifier.
pub(in crate::glue_tools) fn to_new_classifier(
    object: &QueryObject,
) -> Result<CreateClassifierInput, String> {
    let input = CreateClassifierInput::builder();
    let (value, name) = (as_value(&object.fields), &object.key.id);
    let input = match object.text("Type") {
        Some("GROK") => {
            let grok = glue::CreateGrokClassifierRequest::builder()
                .name(name)
                .set_classification(text(&value, "Classification"))
                .set_grok_pattern(text(&value, "GrokPattern"))
                .set_custom_patterns(text(&value, "CustomPatterns"));
            input.grok_classifier(grok.build().map_err(describe)?)
        }
        Some("XML") => {
            let xml = glue::CreateXmlClassifierRequest::builder()
                .name(name)
                .set_classification(text(&value, "Classification"))
                .set_row_tag(text(&value, "RowTag"));
            input.xml_classifier(xml.build().map_err(describe)?)
        }
        Some("JSON") => {
            let json = glue::CreateJsonClassifierRequest::builder()
                .name(name)
                .set_json_path(text(&value, "JsonPath"));
            input.json_classifier(json.build().map_err(describe)?)
        }
        Some("CSV") => {
            let csv = glue::CreateCsvClassifierRequest::builder()
                .name(name)
                .set_delimiter(text(&value, "Delimiter"))
                .set_quote_symbol(text(&value, "QuoteSymbol"))
                .set_contains_header(header(&value))
                .set_header(texts(&value, "Header"))
                .set_disable_value_trimming(flag(&value, "DisableValueTrimming"))
                .set_allow_single_column(flag(&value, "AllowSingleColumn"))
                .set_custom_datatype_configured(flag(&value, "CustomDatatypeConfigured"))
                .set_custom_datatypes(texts(&value, "CustomDatatypes"))
                .set_serde(serde(&value));
            input.csv_classifier(csv.build().map_err(describe)?)
        }
        Some(_) | None => return Err(unknown_type(object)),
    };
    input.build().map_err(describe)
}

/// The input that makes a classifier equal to another one, with each field that it may unset.
pub(in crate::glue_tools) fn to_changed_classifier(
    object: &QueryObject,
) -> Result<UpdateClassifierInput, String> {
    let input = UpdateClassifierInput::builder();
    let (value, name) = (as_value(&object.fields), &object.key.id);
    let input = match object.text("Type") {
        Some("GROK") => {
            let grok = glue::UpdateGrokClassifierRequest::builder()
                .name(name)
                .set_classification(text(&value, "Classification"))
                .set_grok_pattern(text(&value, "GrokPattern"))
                .custom_patterns(text(&value, "CustomPatterns").unwrap_or_default());
            input.grok_classifier(grok.build().map_err(describe)?)
        }
        Some("XML") => {
            let xml = glue::UpdateXmlClassifierRequest::builder()
                .name(name)
                .set_classification(text(&value, "Classification"))
                .set_row_tag(text(&value, "RowTag"));
            input.xml_classifier(xml.build().map_err(describe)?)
        }
        Some("JSON") => {
            let json = glue::UpdateJsonClassifierRequest::builder()
                .name(name)
                .set_json_path(text(&value, "JsonPath"));
            input.json_classifier(json.build().map_err(describe)?)
        }
        Some("CSV") => {
            let is_set = |name: &str| flag(&value, name).unwrap_or_default();
            let csv = glue::UpdateCsvClassifierRequest::builder()
                .name(name)
                .set_delimiter(text(&value, "Delimiter"))
                .set_quote_symbol(text(&value, "QuoteSymbol"))
                .contains_header(
                    header(&value).unwrap_or_else(|| glue::CsvHeaderOption::from(UNKNOWN_HEADER)),
                )
                .set_header(Some(texts(&value, "Header").unwrap_or_default()))
                .disable_value_trimming(is_set("DisableValueTrimming"))
                .allow_single_column(is_set("AllowSingleColumn"))
                .custom_datatype_configured(is_set("CustomDatatypeConfigured"))
                .set_custom_datatypes(Some(texts(&value, "CustomDatatypes").unwrap_or_default()))
                .set_serde(serde(&value));
            input.csv_classifier(csv.build().map_err(describe)?)
        }
        Some(_) | None => return Err(unknown_type(object)),
    };
    input.build().map_err(describe)
}

fn header(value: &Value) -> Option<glue::CsvHeaderOption> {
    text(value, "ContainsHeader").map(|header| glue::CsvHeaderOption::from(header.as_str()))
}

fn serde(value: &Value) -> Option<glue::CsvSerdeOption> {
    text(value, "Serde").map(|serde| glue::CsvSerdeOption::from(serde.as_str()))
}

fn describe(error: BuildError) -> String {
    error.to_string()
}

fn unknown_type(object: &QueryObject) -> String {
    format!(
        "the type {} of a classifier is not known to this version of Twinlake",
        object.text("Type").unwrap_or("none")
    )
}
