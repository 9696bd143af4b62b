//! The columns of a table with their nested fields, and whether an update of a table may show other
//! data to those who have access to it.

use crate::catalog::{Column, Comparable as _, Parameters, Table};
use crate::name::Name;
use std::collections::BTreeSet;

/// Parameters that describe a table and do not decide which data a query returns: comments,
/// statistics, and what engines and crawlers note about themselves.
const DESCRIPTIVE_PARAMETERS: [&str; 16] = [
    "comment",
    "transient_lastDdlTime",
    "last_modified_by",
    "last_modified_time",
    "numRows",
    "numFiles",
    "totalSize",
    "rawDataSize",
    "COLUMN_STATS_ACCURATE",
    "recordCount",
    "averageRecordSize",
    "objectCount",
    "sizeKey",
    "UPDATED_BY_CRAWLER",
    "CrawlerSchemaSerializerVersion",
    "CrawlerSchemaDeserializerVersion",
];

/// A column or nested field.
#[derive(PartialEq, Eq)]
struct Field {
    path: String,
    /// What decides how its data is read.
    kind: String,
}

/// How an update changes the standby's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableChange {
    /// It adds columns or nested fields.
    pub(super) adds: bool,
    /// It drops columns or nested fields.
    pub(super) drops: bool,
    /// Who has access to the table may see other data than before. A drop alone reveals nothing, unless what
    /// stays is then read from other positions of the data.
    pub(super) reveals: bool,
}

impl TableChange {
    /// The change that a new table is.
    pub(super) const CREATION: Self = Self {
        adds: true,
        drops: true,
        reveals: true,
    };

    pub(super) fn of(current: &Table, written: &Table) -> Self {
        let (before, after) = (column_paths(current), column_paths(written));
        let adds = !after.is_subset(&before);
        let written = written.clone().into_comparable();
        let current = current.clone().into_comparable().comparable_view(&written);
        let positions = match reads_by_name(&written) {
            true => Positions::Ignored,
            false => Positions::Compared,
        };
        let (left, known) = (fields(&written, positions), fields(&current, positions));
        Self {
            adds,
            drops: !before.is_subset(&after),
            reveals: adds
                || !is_subsequence(&left, &known)
                || data_source(written) != data_source(current),
        }
    }
}

/// Returns the paths of all columns and nested fields, in lower case. The path of a column is its
/// name; that of a nested field is written as data cells filters write it: `"address"."zip"` (F-6).
/// The elements of arrays and maps have no segment of their own.
pub(super) fn column_paths(table: &Table) -> BTreeSet<String> {
    let fields = fields(table, Positions::Ignored);
    fields.into_iter().map(|field| field.path).collect()
}

/// Returns the column that a path belongs to.
pub(super) fn root_column(path: &str) -> &str {
    let quoted = path.strip_prefix('"');
    let root = quoted.and_then(|path| path.split_once("\".\""));
    root.map_or(path, |(root, _)| root)
}

/// Whether a name of a data cells filter is one of the paths. What is nested in a column without
/// known fields counts as there.
pub(super) fn names_path(paths: &BTreeSet<String>, name: &Name) -> bool {
    if paths.contains(name.as_str()) {
        return true;
    }
    let segments: Vec<String> = name.segments().into_iter().map(str::to_owned).collect();
    let root = name.root_column();
    let mut nested = paths.iter().filter(|path| *path != root);
    let has_fields = nested.any(|path| root_column(path) == root);
    paths.contains(&path_of(&segments)) || (paths.contains(root) && !has_fields)
}

fn path_of(segments: &[String]) -> String {
    match segments {
        [column] => column.clone(),
        nested => format!("\"{}\"", nested.join("\".\"")),
    }
}

/// SerDes that find a column and what is nested in it by name, unless a parameter says otherwise. Any other one,
/// as those of text and ORC, may find them by position.
const SERDES_BY_NAME: [&str; 4] = [
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
    "org.apache.hive.hcatalog.data.JsonSerDe",
    "org.openx.data.jsonserde.JsonSerDe",
];

/// Whether every engine finds the columns of a table by name. Athena reads Parquet by position where a parameter
/// says so: <https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html>.
fn reads_by_name(table: &Table) -> bool {
    let is_iceberg = table.parameters.contains_key("metadata_location");
    let Some(descriptor) = &table.storage_descriptor else {
        return true;
    };
    let serde = descriptor.serde_info.as_ref();
    let library = serde.and_then(|serde| serde.serialization_library.as_deref());
    let by_index = |parameters: &Parameters| {
        let mut keys = parameters.keys();
        keys.any(|key| key.to_lowercase().contains("column.index.access"))
    };
    let has_parameter = by_index(&table.parameters)
        || by_index(&descriptor.parameters)
        || serde.is_some_and(|serde| by_index(&serde.parameters));
    let is_listed = library.is_some_and(|library| SERDES_BY_NAME.contains(&library));
    is_iceberg || (is_listed && !has_parameter)
}

/// Whether the position of a field among its siblings decides which data it shows.
#[derive(Clone, Copy)]
enum Positions {
    Compared,
    Ignored,
}

impl Positions {
    /// What is compared of a position.
    fn label(self, position: usize) -> String {
        match self {
            Self::Compared => format!("{position} "),
            Self::Ignored => String::new(),
        }
    }
}

fn fields(table: &Table, positions: Positions) -> Vec<Field> {
    let mut fields = Vec::new();
    let data = table.storage_descriptor.iter().flat_map(|sd| &sd.columns);
    for (position, column) in data.enumerate() {
        add_column(column, &positions.label(position), positions, &mut fields);
    }
    // The value of a partition key stands in the catalog under its name.
    for key in &table.partition_keys {
        add_column(key, "key ", positions, &mut fields);
    }
    fields
}

fn add_column(column: &Column, role: &str, positions: Positions, fields: &mut Vec<Field>) {
    let first = fields.len();
    let kind = column.kind.as_deref().unwrap_or_default().to_lowercase();
    add_fields(&[column.name.to_lowercase()], &kind, positions, fields);
    if let Some(root) = fields.get_mut(first) {
        let parameters = &column.parameters;
        root.kind = match parameters.is_empty() {
            true => format!("{role}{}", root.kind),
            false => format!("{role}{} {parameters:?}", root.kind),
        };
    }
}

/// Adds a field of a type in lower case and what is nested in it.
fn add_fields(path: &[String], kind: &str, positions: Positions, fields: &mut Vec<Field>) {
    let kind = kind.trim();
    let Some((constructor, arguments)) = split_type(kind) else {
        add_field(path, kind, fields);
        return;
    };
    add_field(path, constructor, fields);
    for (position, argument) in arguments.into_iter().enumerate() {
        let first = fields.len();
        add_nested(path, constructor, argument, positions, fields);
        if let Some(nested) = fields.get_mut(first) {
            nested.kind.insert_str(0, &positions.label(position));
        }
    }
}

fn add_field(path: &[String], kind: &str, fields: &mut Vec<Field>) {
    fields.push(Field {
        path: path_of(path),
        kind: kind.to_owned(),
    });
}

fn add_nested(
    path: &[String],
    constructor: &str,
    argument: &str,
    positions: Positions,
    fields: &mut Vec<Field>,
) {
    let nested = |segment: &str| [path, &[segment.trim().to_owned()]].concat();
    match (constructor, argument.split_once(':')) {
        ("struct", Some((name, kind))) => add_fields(&nested(name), kind, positions, fields),
        // A type that is not understood is a field of its own, so each change of it counts.
        ("struct", None) => add_field(&nested(argument), argument, fields),
        (_, _) if split_type(argument.trim()).is_some() => {
            let first = fields.len();
            add_fields(path, argument, positions, fields);
            if let Some(element) = fields.get_mut(first) {
                element.kind = format!("{constructor} of {}", element.kind);
            }
        }
        (_, _) => add_field(
            path,
            &format!("{constructor} of {}", argument.trim()),
            fields,
        ),
    }
}

/// Splits a type with arguments into its constructor and the arguments.
fn split_type(kind: &str) -> Option<(&str, Vec<&str>)> {
    let (constructor, rest) = kind.split_once('<')?;
    let inner = rest.strip_suffix('>')?;
    let mut depth = 0_i32;
    let mut arguments = Vec::new();
    let mut start = 0;
    for (position, c) in inner.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            ',' if depth == 0 => {
                arguments.extend(inner.get(start..position));
                start = position + 1;
            }
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    arguments.extend(inner.get(start..));
    arguments.retain(|argument| !argument.trim().is_empty());
    (depth == 0).then(|| (constructor.trim(), arguments))
}

fn is_subsequence(part: &[Field], whole: &[Field]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|field| rest.any(|other| other == field))
}

/// Returns the table without its columns and without what only describes it.
fn data_source(mut table: Table) -> Table {
    table.description = None;
    table.owner = None;
    table.last_access_time = None;
    table.last_analyzed_time = None;
    table.retention = 0;
    table.partition_keys.clear();
    drop_descriptions(&mut table.parameters);
    if let Some(descriptor) = &mut table.storage_descriptor {
        descriptor.columns.clear();
        drop_descriptions(&mut descriptor.parameters);
    }
    table
}

fn drop_descriptions(parameters: &mut Parameters) {
    parameters.retain(|key, _| !DESCRIPTIVE_PARAMETERS.contains(&key.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARQUET: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";
    const TEXT: &str = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe";

    fn table(columns: &[(&str, &str)]) -> Table {
        table_of(PARQUET, columns)
    }

    fn table_of(library: &str, columns: &[(&str, &str)]) -> Table {
        let columns: Vec<_> = columns
            .iter()
            .map(|(name, kind)| serde_json::json!({"Name": name, "Type": kind}))
            .collect();
        let serde = serde_json::json!({"SerializationLibrary": library});
        let descriptor =
            serde_json::json!({"Columns": columns, "Location": "s3://b/t/", "SerdeInfo": serde});
        let table = serde_json::json!({"Name": "t", "StorageDescriptor": descriptor});
        serde_json::from_value(table).unwrap()
    }

    fn change(current: &[(&str, &str)], written: &[(&str, &str)]) -> (bool, bool, bool) {
        let change = TableChange::of(&table(current), &table(written));
        (change.adds, change.drops, change.reveals)
    }

    #[test]
    fn nested_fields_of_structs_arrays_and_maps_are_listed() {
        let kind = "STRUCT<Geo:array<struct<lat:decimal(10,2),tags:map<string,struct<x:int>>>>,zip:string>";
        let listed: Vec<String> = column_paths(&table(&[("Address", kind), ("a.b", "int")]))
            .into_iter()
            .collect();
        let nested = [
            r#""address"."geo""#,
            r#""address"."geo"."lat""#,
            r#""address"."geo"."tags""#,
            r#""address"."geo"."tags"."x""#,
            r#""address"."zip""#,
        ];
        assert_eq!(listed, [&nested[..], &["a.b", "address"]].concat());
        assert_eq!(root_column(nested[3]), "address");
        assert_eq!(root_column("a.b"), "a.b");
    }

    #[test]
    fn a_filter_names_a_nested_field_only_if_the_table_has_it() {
        let paths = column_paths(&table(&[("address", "struct<zip:int>"), ("raw", "json")]));
        let named = |name: &str| names_path(&paths, &Name::from_service(name));
        assert!(named("\"Address\".\"zip\"") && named("address.zip") && named("address"));
        assert!(!named("\"address\".\"ssn\"") && !named("ssn"));
        assert!(named("\"raw\".\"anything\""), "its fields are not known");
    }

    #[test]
    fn a_change_that_only_drops_reveals_nothing() {
        let wide = [("id", "int"), ("address", "struct<zip:string,ssn:string>")];
        for narrow in [&[("address", "struct<zip:string>")][..], &wide[..1]] {
            assert_eq!(change(&wide, narrow), (false, true, false));
            assert_eq!(change(narrow, &wide), (true, false, true));
        }
        assert_eq!(change(&wide, &wide), (false, false, false));
    }

    #[test]
    fn where_columns_are_read_by_position_a_drop_reveals_unless_it_is_at_the_end() {
        let wide = [("a", "struct<x:int,y:int>"), ("b", "int"), ("c", "int")];
        let last_field = [("a", "struct<x:int>"), wide[1], wide[2]];
        let first_field = [("a", "struct<y:int>"), wide[1], wide[2]];
        let reveals = |library: &str, parameter: Option<&str>, narrow: &[(&str, &str)]| {
            let mut narrow = table_of(library, narrow);
            let mut current = table_of(library, &wide);
            for table in [&mut narrow, &mut current] {
                let parameter = parameter.map(|key| (key.to_owned(), "true".to_owned()));
                table.parameters.extend(parameter);
            }
            TableChange::of(&current, &narrow).reveals
        };
        for kept in [&wide[..2], &last_field] {
            assert!(!reveals(TEXT, None, kept), "{kept:?}");
        }
        for shifted in [&wide[1..], &[wide[0], wide[2]][..], &first_field] {
            assert!(reveals(TEXT, None, shifted), "{shifted:?}");
            assert!(reveals("", None, shifted), "{shifted:?}");
            assert!(!reveals(PARQUET, None, shifted), "{shifted:?}");
            let by_index = Some("parquet.column.index.access");
            assert!(reveals(PARQUET, by_index, shifted), "{shifted:?}");
            assert!(
                !reveals(TEXT, Some("metadata_location"), shifted),
                "{shifted:?}"
            );
        }
    }

    #[test]
    fn other_types_and_another_order_reveal_other_data() {
        let current = [("a", "array<int>"), ("b", "struct<x:int,y:int>")];
        let changed = [
            [("a", "array<string>"), current[1]],
            [current[1], current[0]],
            [current[0], ("b", "struct<y:int,x:int>")],
            [("a", "map<int,int>"), current[1]],
        ];
        for written in changed {
            assert_eq!(
                change(&current, &written),
                (false, false, true),
                "{written:?}"
            );
        }
        let broken = change(&[("b", "struct<x int>")], &[("b", "struct<x int,y int>")]);
        assert_eq!(broken, (true, false, true));
    }

    #[test]
    fn what_decides_on_the_data_reveals_and_descriptions_do_not() {
        let current = table(&[("a", "int")]);
        let reveals = |change_it: &dyn Fn(&mut Table)| {
            let mut written = current.clone();
            change_it(&mut written);
            TableChange::of(&current, &written).reveals
        };
        let parameter = |key: &str| {
            let key = key.to_owned();
            move |table: &mut Table| {
                table.parameters.insert(key.clone(), "1".to_owned());
            }
        };
        assert!(reveals(&parameter("metadata_location")) && reveals(&parameter("x")));
        assert!(!reveals(&parameter("numRows")));
        assert!(!reveals(&|table| table.description = Some("d".to_owned())));
        assert!(!reveals(&|table| table.retention = 3));
        assert!(reveals(
            &|table| table.view_expanded_text = Some("select 1".to_owned())
        ));
        assert!(reveals(&|table| {
            let descriptor = table.storage_descriptor.as_mut().unwrap();
            descriptor.location = Some("s3://b/other/".to_owned());
        }));
        assert!(!reveals(&|table| {
            let descriptor = table.storage_descriptor.as_mut().unwrap();
            descriptor.columns[0].comment = Some("c".to_owned());
        }));
    }
}
