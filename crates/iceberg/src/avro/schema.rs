//! The schema of an Avro file, with the field ids that Iceberg adds.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Why bytes are no Avro data of a schema.
pub(crate) type AvroError = &'static str;

/// Schemas nest at most this deep.
const MAX_DEPTH: usize = 64;

/// The index of a type in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeId(usize);

/// A type, as far as its encoding and Iceberg's attributes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AvroType {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum,
    Array {
        items: TypeId,
        /// `logicalType` is `map`: the items are records of a key and a value.
        is_map: bool,
    },
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<RecordField>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordField {
    pub name: String,
    /// Iceberg's `field-id`.
    pub id: Option<i64>,
    pub type_id: TypeId,
}

/// The types of a file. Recursive types are possible.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    types: Vec<AvroType>,
    root: TypeId,
}

impl Schema {
    /// Parses the JSON of a header's `avro.schema`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let mut parser = SchemaParser::default();
        let root = parser.parse(&value, "", 0)?;
        Ok(Self {
            types: parser.types,
            root,
        })
    }

    pub(crate) const fn root(&self) -> TypeId {
        self.root
    }

    pub(crate) fn get(&self, id: TypeId) -> Result<&AvroType, AvroError> {
        self.types.get(id.0).ok_or("a type is missing")
    }

    /// The fields of a record, also of an optional one.
    pub(crate) fn fields(&self, id: TypeId) -> Result<&[RecordField], AvroError> {
        let id = self.value_type(id)?;
        let AvroType::Record(fields) = self.get(id)? else {
            return Err("a record was expected");
        };
        Ok(fields)
    }

    /// The only branch of an optional type that is not null; a type that is no union is returned as it is.
    pub(crate) fn value_type(&self, id: TypeId) -> Result<TypeId, AvroError> {
        let AvroType::Union(branches) = self.get(id)? else {
            return Ok(id);
        };
        let mut found = None;
        for &branch in branches {
            if *self.get(branch)? != AvroType::Null && found.replace(branch).is_some() {
                return Err("a union of several types is not expected");
            }
        }
        found.ok_or("a union has only null")
    }
}

#[derive(Default)]
struct SchemaParser {
    types: Vec<AvroType>,
    names: BTreeMap<String, TypeId>,
}

impl SchemaParser {
    fn add(&mut self, parsed: AvroType) -> TypeId {
        self.types.push(parsed);
        TypeId(self.types.len() - 1)
    }

    fn parse(&mut self, value: &Value, namespace: &str, depth: usize) -> Result<TypeId, String> {
        if depth > MAX_DEPTH {
            return Err("the schema nests too deep".to_owned());
        }
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let mut ids = Vec::new();
                for branch in branches {
                    ids.push(self.parse(branch, namespace, depth + 1)?);
                }
                Ok(self.add(AvroType::Union(ids)))
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.complex(kind, value, namespace, depth),
                Some(nested @ (Value::Object(_) | Value::Array(_))) => {
                    self.parse(nested, namespace, depth + 1)
                }
                Some(_) | None => Err("a schema has no type".to_owned()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => Err(format!("{value} is no schema")),
        }
    }

    fn complex(
        &mut self,
        kind: &str,
        value: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId, String> {
        match kind {
            "array" => {
                let items = value.get("items").ok_or("an array has no items")?;
                let items = self.parse(items, namespace, depth + 1)?;
                let is_map = value.get("logicalType").and_then(Value::as_str) == Some("map");
                Ok(self.add(AvroType::Array { items, is_map }))
            }
            "map" => {
                let values = value.get("values").ok_or("a map has no values")?;
                let values = self.parse(values, namespace, depth + 1)?;
                Ok(self.add(AvroType::Map(values)))
            }
            "fixed" => {
                let size = value.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let id = self.add(AvroType::Fixed(size.ok_or("a fixed type has no size")?));
                self.define(value, namespace, id)?;
                Ok(id)
            }
            "enum" => {
                let id = self.add(AvroType::Enum);
                self.define(value, namespace, id)?;
                Ok(id)
            }
            "record" | "error" => self.record(value, namespace, depth),
            name => self.named(name, namespace),
        }
    }

    fn record(&mut self, value: &Value, namespace: &str, depth: usize) -> Result<TypeId, String> {
        // A record may contain itself, so its name is known before its fields.
        let id = self.add(AvroType::Record(Vec::new()));
        let namespace = self.define(value, namespace, id)?;
        let listed = value.get("fields").and_then(Value::as_array);
        let mut fields = Vec::new();
        // Of two fields with one id, engines differ in which they read.
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for field in listed.ok_or("a record has no fields")? {
            let name = field.get("name").and_then(Value::as_str);
            let name = name.ok_or("a field has no name")?.to_owned();
            let field_id = field.get("field-id").and_then(Value::as_i64);
            let parsed = field.get("type").ok_or("a field has no type")?;
            let is_new = names.insert(name.clone()) && field_id.is_none_or(|id| ids.insert(id));
            if !is_new {
                return Err(format!(
                    "another field of the record has the name or the field ID of {name}"
                ));
            }
            fields.push(RecordField {
                name,
                id: field_id,
                type_id: self.parse(parsed, &namespace, depth + 1)?,
            });
        }
        if let Some(slot) = self.types.get_mut(id.0) {
            *slot = AvroType::Record(fields);
        }
        Ok(id)
    }

    /// Records the name of a type, and returns the namespace of what is in it.
    fn define(&mut self, value: &Value, outer: &str, id: TypeId) -> Result<String, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let name = text("name").ok_or("a named type has no name")?;
        let (namespace, full) = match (name.rsplit_once('.'), text("namespace")) {
            (Some((namespace, _)), _) => (namespace, name.to_owned()),
            (None, namespace) => {
                let namespace = namespace.unwrap_or(outer);
                (namespace, full_name(name, namespace))
            }
        };
        if self.names.insert(full.clone(), id).is_some() {
            return Err(format!("the type {full} is defined twice"));
        }
        Ok(namespace.to_owned())
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<TypeId, String> {
        let primitive = match name {
            "null" => Some(AvroType::Null),
            "boolean" => Some(AvroType::Boolean),
            "int" => Some(AvroType::Int),
            "long" => Some(AvroType::Long),
            "float" => Some(AvroType::Float),
            "double" => Some(AvroType::Double),
            "bytes" => Some(AvroType::Bytes),
            "string" => Some(AvroType::String),
            _ => None,
        };
        if let Some(primitive) = primitive {
            return Ok(self.add(primitive));
        }
        let found = self
            .names
            .get(&full_name(name, namespace))
            .or_else(|| self.names.get(name));
        found
            .copied()
            .ok_or_else(|| format!("the type {name} is not defined"))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    match namespace.is_empty() || name.contains('.') {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_attributes_and_references_are_parsed() {
        let json = r#"{"type":"record","name":"e","namespace":"n","fields":[
            {"name":"a","type":["null",{"type":"array","logicalType":"map","items":
                {"type":"record","name":"k1","fields":[{"name":"key","type":"int","field-id":126}]}}],"field-id":125},
            {"name":"b","type":"k1"},{"name":"c","type":"n.k1"},
            {"name":"d","type":{"type":"fixed","name":"f","size":16,"logicalType":"uuid"}}]}"#;
        let schema = Schema::parse(json.as_bytes()).unwrap();
        let fields = schema.fields(schema.root()).unwrap();
        assert_eq!(fields[0].id, Some(125));
        assert_eq!(fields[1].type_id, fields[2].type_id);
        let array = schema.value_type(fields[0].type_id).unwrap();
        assert!(matches!(
            schema.get(array),
            Ok(AvroType::Array { is_map: true, .. })
        ));
        assert_eq!(schema.get(fields[3].type_id), Ok(&AvroType::Fixed(16)));
    }

    #[test]
    fn what_is_no_schema_is_an_error() {
        for json in [
            "3",
            r#""unknown""#,
            r#"{"type":"record","name":"r"}"#,
            r#"{"type":"fixed","name":"f","size":-1}"#,
            r#"{"type":"array"}"#,
            r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int","field-id":1},{"name":"b","type":"int","field-id":1}]}"#,
            r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"a","type":"int","field-id":1}]}"#,
        ] {
            assert!(Schema::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
