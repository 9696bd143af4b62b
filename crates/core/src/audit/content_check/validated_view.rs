//! What is written of a Data Catalog view that Glue validates: less than a read shows (F-4).

use crate::catalog::athena_view_sql;
use serde_json::Value;

fn representations(table: &Value) -> &[Value] {
    let all = table.pointer("/ViewDefinition/Representations");
    all.and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn is_dialect(representation: &Value, dialect: &str) -> bool {
    let own = representation.get("Dialect").and_then(Value::as_str);
    own.is_some_and(|own| own.eq_ignore_ascii_case(dialect))
}

/// Whether Glue derives the storage descriptor of a view. Glue refuses a storage descriptor with a view
/// of the ATHENA dialect, and with a validation connection unless the view is of the SPARK dialect,
/// which needs one.
pub(super) fn has_derived_storage(table: &Value) -> bool {
    let all = representations(table);
    let connects = |one: &Value| {
        one.get("ValidationConnection")
            .is_some_and(Value::is_string)
    };
    let is_spark = all.iter().any(|one| is_dialect(one, "SPARK"));
    all.iter().any(|one| is_dialect(one, "ATHENA")) || (!is_spark && all.iter().any(connects))
}

/// Leaves the columns of the storage descriptor: they are known to the plan, and not written.
pub(super) fn reduce_storage(table: &mut Value) {
    let storage = table.get_mut("StorageDescriptor");
    if let Some(storage) = storage.and_then(Value::as_object_mut) {
        storage.retain(|field, _| field == "Columns");
    }
}

/// Reduces what a read shows of the primary's view to what may be written.
///
/// # Errors
/// The SQL of the view is not shown.
pub(super) fn reduce_read(table: &mut Value) -> Result<(), String> {
    reduce_storage(table);
    if let Some(fields) = table.as_object_mut() {
        fields.retain(|field, _| field != "ViewOriginalText" && field != "ViewExpandedText");
    }
    let all = table.pointer_mut("/ViewDefinition/Representations");
    let all = all.and_then(Value::as_array_mut).into_iter().flatten();
    for representation in all.filter(|one| is_dialect(one, "ATHENA")) {
        let text = representation.get("ViewOriginalText");
        let sql = text.and_then(Value::as_str).and_then(athena_view_sql);
        let sql = sql.ok_or("the primary does not show the SQL of the view")?;
        if let Some(fields) = representation.as_object_mut() {
            fields.retain(|field, _| field != "ViewExpandedText");
            fields.insert("ViewOriginalText".to_owned(), sql.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_an_athena_view_only_the_sql_is_expected() {
        let mut read = json!({
            "Name": "v", "ViewOriginalText": "x", "ViewExpandedText": "x",
            "StorageDescriptor": {"Columns": [{"Name": "a"}], "Location": "", "Compressed": false},
            "ViewDefinition": {"Definer": "d", "Representations": [{
                "Dialect": "ATHENA", "ViewExpandedText": "/* Presto View */",
                "ViewOriginalText": "/* Presto View: eyJvcmlnaW5hbFNxbCI6InNlbGVjdCAxIn0= */",
            }]},
        });
        assert!(has_derived_storage(&read));
        reduce_read(&mut read).unwrap();
        let expected = json!({
            "Name": "v", "StorageDescriptor": {"Columns": [{"Name": "a"}]},
            "ViewDefinition": {"Definer": "d", "Representations": [{
                "Dialect": "ATHENA", "ViewOriginalText": "select 1",
            }]},
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_view_whose_sql_is_not_shown_is_not_written() {
        let mut read = json!({"ViewDefinition": {"Representations": [{"Dialect": "ATHENA"}]}});
        assert!(reduce_read(&mut read).is_err());
    }

    #[test]
    fn other_views_are_compared_in_full() {
        for representations in [
            json!([{"Dialect": "SPARK", "ValidationConnection": "arn"}]),
            json!([{"Dialect": "REDSHIFT"}]),
        ] {
            let view = json!({"ViewDefinition": {"Representations": representations}});
            assert!(!has_derived_storage(&view), "{view}");
        }
        assert!(!has_derived_storage(&json!({"Name": "t"})));
    }
}
