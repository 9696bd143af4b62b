//! What a table shows: the paths of its columns and nested fields, and the data behind them.

use crate::catalog::{Comparable as _, Table};
use serde_json::Value;
use std::collections::BTreeSet;

/// Parameters that engines and crawlers keep for people and optimizers; no reader finds data by them.
const INFORMATIONAL_PARAMETERS: [&str; 16] = [
    "averageRecordSize",
    "COLUMN_STATS_ACCURATE",
    "comment",
    "CrawlerSchemaDeserializerVersion",
    "CrawlerSchemaSerializerVersion",
    "last_modified_by",
    "last_modified_time",
    "numFiles",
    "numRows",
    "objectCount",
    "rawDataSize",
    "recordCount",
    "sizeKey",
    "totalSize",
    "transient_lastDdlTime",
    "UPDATED_BY_CRAWLER",
];

/// Returns the paths of the columns of a table and of what is nested in them, in lower case: grants
/// and filters name them without case. What is nested is written `"column"."field"` (F-6).
pub(super) fn column_paths(table: &Table) -> BTreeSet<String> {
    let shown = shown_fields(table, false);
    shown.into_iter().map(|(path, _)| path).collect()
}

/// Returns the column of a path.
pub(super) fn column_of(path: &str) -> &str {
    match path.find("\".\"") {
        Some(end) if path.starts_with('"') => path.get(1..end).unwrap_or(path),
        Some(_) | None => path,
    }
}

/// Whether a name in a data cells filter is the path itself, or that of something around it.
pub(super) fn is_within(path: &str, name: &crate::Name) -> bool {
    let whole = name.as_str();
    let quoted = match whole.starts_with('"') {
        true => whole.to_owned(),
        false => format!("\"{}\"", whole.replace('.', "\".\"")),
    };
    let as_quoted = |path: &str| match column_of(path) == path {
        true => format!("\"{path}\""),
        false => path.to_owned(),
    };
    let path_or_above = format!("{}.", as_quoted(path));
    path == whole || path_or_above.starts_with(&format!("{quoted}."))
}

/// Whether somebody with access to a table may see other data after an update. Leaving something out
/// shows nothing else, unless what follows it then shows the data of another position.
pub(super) fn shows_other_data(current: &Table, sent: &Table) -> bool {
    let sent = sent.clone().into_comparable();
    let current = current.clone().into_comparable().comparable_view(&sent);
    let by_position = may_be_read_by_position(&sent);
    let mut known = shown_fields(&current, by_position).into_iter();
    let is_known = |field: (String, String)| known.by_ref().any(|other| other == field);
    !shown_fields(&sent, by_position).into_iter().all(is_known)
        || data_source(&current) != data_source(&sent)
}

/// Whether an engine may take the n-th column of a table from the n-th position of the data. It takes them by name
/// from JSON, Avro, Iceberg, and Parquet without a parameter about an index; nothing else is known to.
fn may_be_read_by_position(table: &Table) -> bool {
    let all = serde_json::to_value(table).unwrap_or_default();
    let Some(descriptor) = all.get("StorageDescriptor") else {
        return false;
    };
    if all.pointer("/Parameters/metadata_location").is_some() {
        return false;
    }
    let library = descriptor.pointer("/SerdeInfo/SerializationLibrary");
    let class = library
        .and_then(Value::as_str)
        .and_then(|name| name.rsplit('.').next());
    let by_name = ["JsonSerDe", "AvroSerDe", "ParquetHiveSerDe"];
    !class.is_some_and(|class| by_name.contains(&class))
        || all.to_string().contains(".index.access")
}

/// The fields of a table in order, each with its type, and with its position if that is asked for.
fn shown_fields(table: &Table, by_position: bool) -> Vec<(String, String)> {
    let data = table.storage_descriptor.iter().flat_map(|sd| &sd.columns);
    let data = data
        .enumerate()
        .map(|(position, column)| match by_position {
            true => (position.to_string(), column),
            false => (String::new(), column),
        });
    let keys = table.partition_keys.iter();
    let keys = keys.map(|column| ("by".to_owned(), column));
    let mut all = Vec::new();
    for (role, column) in data.chain(keys) {
        let name = column.name.to_lowercase();
        let about = format!("{role}{:?}", column.parameters);
        all.push((name.clone(), about));
        let kind = column.kind.as_deref().unwrap_or_default().to_lowercase();
        let mut scan = TypeScan::new(name.clone(), by_position);
        match kind.chars().all(|c| scan.read(c)) && scan.finish() {
            true => all.append(&mut scan.found),
            // Of a type that cannot be read, every change counts.
            false => all.push((format!("\"{name}\".\"{kind}\""), kind)),
        }
    }
    all
}

/// Reads a type from left to right.
struct TypeScan {
    path: Vec<String>,
    /// For each open `<`, whether it is that of a struct.
    open: Vec<bool>,
    /// For each open struct, whether the name of the current field was read.
    in_field: Vec<bool>,
    by_position: bool,
    /// For each open struct, how many of its fields ended.
    positions: Vec<usize>,
    parentheses: usize,
    text: String,
    found: Vec<(String, String)>,
}

impl TypeScan {
    fn new(column: String, by_position: bool) -> Self {
        Self {
            path: vec![column],
            open: Vec::new(),
            in_field: Vec::new(),
            by_position,
            positions: Vec::new(),
            parentheses: 0,
            text: String::new(),
            found: Vec::new(),
        }
    }

    fn here(&self) -> String {
        match self.path.len() {
            1 => self.path.concat(),
            _ => format!("\"{}\"", self.path.join("\".\"")),
        }
    }

    fn add(&mut self, text: String) {
        let position = self.positions.last().filter(|_| self.by_position);
        let about = position.map_or_else(|| text.clone(), |position| format!("{position} {text}"));
        self.found.push((self.here(), about));
    }

    /// Whether a field's name comes next.
    fn expects_name(&self) -> bool {
        self.open.last() == Some(&true) && self.in_field.last() == Some(&false)
    }

    fn read(&mut self, c: char) -> bool {
        match c {
            '(' => self.parentheses += 1,
            ')' if self.parentheses == 0 => return false,
            ')' => self.parentheses -= 1,
            _ => {}
        }
        match c {
            '<' => return self.begin(),
            ':' if self.expects_name() => {
                let name = std::mem::take(&mut self.text);
                self.path.push(name.trim().to_owned());
                if let Some(in_field) = self.in_field.last_mut() {
                    *in_field = true;
                }
                return true;
            }
            ',' if self.parentheses == 0 && !self.open.is_empty() => return self.end_part(),
            '>' => return self.end_part() && self.close(),
            _ => self.text.push(c),
        }
        true
    }

    fn begin(&mut self) -> bool {
        if self.expects_name() {
            return false;
        }
        let constructor = std::mem::take(&mut self.text).trim().to_owned();
        let is_struct = constructor == "struct";
        self.add(format!("{constructor}<"));
        self.open.push(is_struct);
        if is_struct {
            self.in_field.push(false);
            self.positions.push(0);
        }
        true
    }

    /// Ends a field of a struct, or an argument of another type.
    fn end_part(&mut self) -> bool {
        let text = std::mem::take(&mut self.text).trim().to_owned();
        if self.expects_name() {
            return text.is_empty();
        }
        if !text.is_empty() {
            self.add(text);
        }
        if self.open.last() == Some(&true)
            && let Some(in_field) = self.in_field.last_mut()
        {
            *in_field = false;
            self.path.pop();
            if let Some(position) = self.positions.last_mut() {
                *position += 1;
            }
        }
        true
    }

    fn close(&mut self) -> bool {
        let closed = self.open.pop();
        if closed == Some(true) {
            self.in_field.pop();
            self.positions.pop();
        }
        closed.is_some()
    }

    fn finish(&mut self) -> bool {
        let text = std::mem::take(&mut self.text).trim().to_owned();
        if !text.is_empty() {
            self.add(text);
        }
        self.open.is_empty() && self.parentheses == 0
    }
}

/// Everything else of a table by which a reader finds and reads its data.
fn data_source(table: &Table) -> Value {
    let mut all = serde_json::to_value(table).unwrap_or_default();
    let described = [
        "Description",
        "LastAccessTime",
        "LastAnalyzedTime",
        "Owner",
        "PartitionKeys",
        "Retention",
    ];
    without(&mut all, &described);
    if let Some(descriptor) = all.get_mut("StorageDescriptor") {
        without(descriptor, &["Columns"]);
        without_informational_parameters(descriptor);
    }
    without_informational_parameters(&mut all);
    all
}

fn without(object: &mut Value, keys: &[&str]) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

fn without_informational_parameters(object: &mut Value) {
    if let Some(parameters) = object.get_mut("Parameters") {
        without(parameters, &INFORMATIONAL_PARAMETERS);
        if parameters.as_object().is_some_and(|left| left.is_empty()) {
            without(object, &["Parameters"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)], rest: Value) -> Table {
        let columns: Vec<Value> = columns
            .iter()
            .map(|(name, kind)| serde_json::json!({"Name": name, "Type": kind}))
            .collect();
        let serde =
            serde_json::json!({"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe"});
        let descriptor = serde_json::json!({"Columns": columns, "SerdeInfo": serde});
        let mut table = serde_json::json!({"Name": "t", "StorageDescriptor": descriptor});
        table
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        serde_json::from_value(table).unwrap()
    }

    fn plain(columns: &[(&str, &str)]) -> Table {
        table(columns, serde_json::json!({}))
    }

    #[test]
    fn what_is_nested_has_a_path_at_any_depth() {
        let kind = "struct<A:array<struct<b:decimal(3, 1)>>,c:map<int,struct<d:int>>,e:int>";
        let found: Vec<String> = column_paths(&plain(&[("X", kind), ("a.b", "int")]))
            .into_iter()
            .collect();
        let nested = [
            r#""x"."a""#,
            r#""x"."a"."b""#,
            r#""x"."c""#,
            r#""x"."c"."d""#,
            r#""x"."e""#,
        ];
        assert_eq!(found, [&nested[..], &["a.b", "x"]].concat());
        let columns: Vec<&str> = found.iter().map(|path| column_of(path)).collect();
        assert_eq!(columns, ["x", "x", "x", "x", "x", "a.b", "x"]);
    }

    #[test]
    fn a_filter_hides_what_is_nested_in_the_named() {
        let hides = |name: &str, path: &str| is_within(path, &crate::Name::from_service(name));
        let nested = r#""x"."a"."b""#;
        assert!(hides("X", nested) && hides(r#""x"."a""#, nested) && hides("x.a.b", nested));
        assert!(hides("a.b", "a.b"));
        assert!(!hides(r#""x"."a"."b"."c""#, nested) && !hides("x.aa", nested) && !hides("y", "x"));
    }

    #[test]
    fn dropped_fields_show_no_data_and_added_replaced_and_reordered_ones_do() {
        let before = [("a", "struct<x:int,y:array<int>>"), ("b", "int")];
        let shows = |after: &[(&str, &str)]| shows_other_data(&plain(&before), &plain(after));
        for narrower in [
            &before[..],
            &before[..1],
            &before[1..],
            &[("a", "struct<y:array<int>>"), ("b", "int")],
        ] {
            assert!(!shows(narrower), "{narrower:?}");
        }
        for other in [
            [("a", "struct<x:int,y:array<int>,z:int>"), before[1]],
            [("a", "struct<x:int,y:array<string>>"), before[1]],
            [("a", "struct<y:array<int>,x:int>"), before[1]],
            [("a", "struct<x:int,y:array<int"), before[1]],
            [before[1], before[0]],
        ] {
            assert!(shows(&other), "{other:?}");
        }
    }

    #[test]
    fn what_moves_to_another_position_shows_other_data_unless_names_decide() {
        let before = [
            ("a", "struct<x:int,y:array<int>>"),
            ("b", "int"),
            ("c", "int"),
        ];
        let sent = |library: &str, columns: &[(&str, &str)]| {
            let mut table = plain(columns);
            let serde = serde_json::json!({"SerializationLibrary": library});
            let descriptor = table.storage_descriptor.as_mut().unwrap();
            descriptor.serde_info = Some(serde_json::from_value(serde).unwrap());
            table
        };
        let shows = |library: &str, after: &[(&str, &str)]| {
            shows_other_data(&sent(library, &before), &sent(library, after))
        };
        let text = "org.apache.hadoop.hive.serde2.OpenCSVSerde";
        let orc = "org.apache.hadoop.hive.ql.io.orc.OrcSerde";
        for library in [text, orc, ""] {
            assert!(!shows(library, &before[..2]), "{library}");
            assert!(!shows(
                library,
                &[("a", "struct<x:int>"), before[1], before[2]]
            ));
            assert!(shows(library, &before[1..]), "{library}");
            assert!(shows(library, &[before[0], before[2]]), "{library}");
            assert!(shows(
                library,
                &[("a", "struct<y:array<int>>"), before[1], before[2]]
            ));
        }
    }

    #[test]
    fn another_origin_shows_other_data_and_another_description_does_not() {
        let before = plain(&[("a", "int")]);
        let shows = |rest: Value| shows_other_data(&before, &table(&[("a", "int")], rest));
        assert!(shows(
            serde_json::json!({"Parameters": {"metadata_location": "s3://b/m"}})
        ));
        assert!(shows(serde_json::json!({"ViewExpandedText": "select 1"})));
        assert!(shows(serde_json::json!({"StorageDescriptor": {
            "Columns": [{"Name": "a", "Type": "int"}], "Location": "s3://b/x/"}})));
        assert!(!shows(
            serde_json::json!({"Parameters": {"numRows": "1"}, "Retention": 2})
        ));
        assert!(!shows(
            serde_json::json!({"Description": "d", "Owner": "o"})
        ));
    }
}
