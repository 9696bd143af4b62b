//! Reads single values of an entry, with their spans.

use super::cursor::{Cursor, put_block, put_bytes, put_long};
use super::schema::{AvroError, AvroType, RecordField, Schema, TypeId};
use std::collections::BTreeMap;
use std::ops::Range;

/// A value and its span: without the index of the union's branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// Which of `known` a field is: by its id, or by its name if it has no id. `known` lists ids and names.
pub(crate) fn known_id(field: &RecordField, known: &[(i64, &str)]) -> Option<i64> {
    let found = known.iter().find(|(id, name)| match field.id {
        Some(field_id) => field_id == *id,
        None => field.name == *name,
    });
    found.map(|(id, _)| *id)
}

impl<'a> Cursor<'a> {
    /// An optional `int` or `long`.
    pub(crate) fn number(
        &mut self,
        schema: &Schema,
        id: TypeId,
    ) -> Result<Option<Spanned<i64>>, AvroError> {
        let Some(id) = self.enter(schema, id)? else {
            return Ok(None);
        };
        if !matches!(schema.get(id)?, AvroType::Int | AvroType::Long) {
            return Err("a number was expected");
        }
        let start = self.position();
        let value = self.long()?;
        Ok(Some(Spanned {
            value,
            span: start..self.position(),
        }))
    }

    /// Optional `bytes`, or an optional `string`.
    pub(crate) fn binary(
        &mut self,
        schema: &Schema,
        id: TypeId,
    ) -> Result<Option<Spanned<&'a [u8]>>, AvroError> {
        let Some(id) = self.enter(schema, id)? else {
            return Ok(None);
        };
        if !matches!(schema.get(id)?, AvroType::Bytes | AvroType::String) {
            return Err("bytes were expected");
        }
        let start = self.position();
        let value = self.bytes()?;
        Ok(Some(Spanned {
            value,
            span: start..self.position(),
        }))
    }

    /// An optional `string`.
    pub(crate) fn text(
        &mut self,
        schema: &Schema,
        id: TypeId,
    ) -> Result<Option<Spanned<&'a str>>, AvroError> {
        let Some(Spanned { value, span }) = self.binary(schema, id)? else {
            return Ok(None);
        };
        let value = std::str::from_utf8(value).map_err(|_| "a text is not valid UTF-8")?;
        Ok(Some(Spanned { value, span }))
    }

    /// The span of an optional array, and the type of its items. The cursor moves behind it.
    pub(crate) fn array_span(
        &mut self,
        schema: &Schema,
        id: TypeId,
    ) -> Result<Option<ArraySpan>, AvroError> {
        let Some(id) = self.enter(schema, id)? else {
            return Ok(None);
        };
        let AvroType::Array { items, .. } = schema.get(id)? else {
            return Err("an array was expected");
        };
        let start = self.position();
        self.skip(schema, id)?;
        Ok(Some(ArraySpan {
            items: *items,
            span: start..self.position(),
        }))
    }
}

/// Where an array stands.
#[derive(Clone, Debug)]
pub(crate) struct ArraySpan {
    items: TypeId,
    pub span: Range<usize>,
}

/// A new value for a key of a map that is encoded as an array of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MapChange {
    Bytes(Vec<u8>),
    Long(i64),
    Remove,
}

impl ArraySpan {
    /// The value of a key, as `bytes`.
    pub(crate) fn bytes_of<'a>(
        &self,
        cursor: Cursor<'a>,
        schema: &Schema,
        key: i64,
    ) -> Result<Option<&'a [u8]>, AvroError> {
        for block in cursor.at(self.span.start).array(schema, self.items)? {
            for item in block.items {
                let (found, value, is_bytes) = self.pair(cursor, schema, &item)?;
                if found == key && is_bytes {
                    return cursor.at(value.start).bytes().map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The array with other values of some keys; `None` if it has none of them.
    pub(crate) fn with_changes(
        &self,
        cursor: Cursor<'_>,
        schema: &Schema,
        changes: &BTreeMap<i64, MapChange>,
    ) -> Result<Option<Vec<u8>>, AvroError> {
        let mut out = Vec::with_capacity(self.span.len() + 64);
        let mut changed = false;
        for block in cursor.at(self.span.start).array(schema, self.items)? {
            let mut items = Vec::with_capacity(block.items.len());
            for item in block.items {
                let (key, value, is_bytes) = self.pair(cursor, schema, &item)?;
                let change = changes.get(&key);
                changed |= change.is_some();
                let mut encoded = cursor.span(item.start..value.start).to_vec();
                match (change, is_bytes) {
                    (None, _) => encoded.extend_from_slice(cursor.span(value.clone())),
                    (Some(MapChange::Remove), _) => continue,
                    (Some(MapChange::Bytes(bytes)), true) => put_bytes(&mut encoded, bytes),
                    (Some(MapChange::Long(number)), false) => put_long(&mut encoded, *number),
                    (Some(MapChange::Bytes(_)), false) | (Some(MapChange::Long(_)), true) => {
                        return Err("a value of a map has another type than the specification's");
                    }
                }
                encoded.extend_from_slice(cursor.span(value.end..item.end));
                items.push(encoded);
            }
            put_block(&mut out, &items, block.has_size);
        }
        out.push(0);
        Ok(changed.then_some(out))
    }

    /// Key, span of the value without a union's branch, and whether it is `bytes`, of one item.
    fn pair(
        &self,
        cursor: Cursor<'_>,
        schema: &Schema,
        item: &Range<usize>,
    ) -> Result<(i64, Range<usize>, bool), AvroError> {
        let mut cursor = cursor.at(item.start);
        let entered = cursor
            .enter(schema, self.items)?
            .ok_or("an item of a map is null")?;
        let [key, value] = schema.fields(entered)? else {
            return Err("a record of key and value was expected");
        };
        let key = cursor.number(schema, key.type_id)?.ok_or("a key is null")?;
        let entered = cursor
            .enter(schema, value.type_id)?
            .ok_or("a value is null")?;
        let start = cursor.position();
        cursor.skip(schema, entered)?;
        let is_bytes = matches!(schema.get(entered)?, AvroType::Bytes);
        Ok((key.value, start..cursor.position(), is_bytes))
    }

    /// An array of numbers, encoded as one block.
    pub(crate) fn encode_numbers(numbers: &[i64]) -> Vec<u8> {
        let encode = |number: &i64| {
            let mut item = Vec::new();
            put_long(&mut item, *number);
            item
        };
        let items: Vec<Vec<u8>> = numbers.iter().map(encode).collect();
        let mut out = Vec::new();
        put_block(&mut out, &items, false);
        out.push(0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_item_of_a_map_is_read_behind_the_index_of_its_branch() {
        let schema = br#"{"type":"array","logicalType":"map","items":["null",{"type":"record","name":"p","fields":[
            {"name":"key","type":"int"},{"name":"value","type":"bytes"}]}]}"#;
        let schema = Schema::parse(schema).unwrap();
        // One item of the second branch: key 7, value "ab".
        let bytes = [2, 2, 14, 4, b'a', b'b', 0];
        let mut cursor = Cursor::new(&bytes);
        let span = cursor.array_span(&schema, schema.root()).unwrap().unwrap();
        let read = |key| span.bytes_of(Cursor::new(&bytes), &schema, key);
        assert_eq!(read(7), Ok(Some(&b"ab"[..])));
        assert_eq!(read(1), Ok(None));
        let changes = [(7, MapChange::Bytes(b"c".to_vec()))].into();
        let changed = span.with_changes(Cursor::new(&bytes), &schema, &changes);
        let changed = changed.unwrap().unwrap();
        let read = span.bytes_of(Cursor::new(&changed), &schema, 7);
        assert_eq!(read, Ok(Some(&b"c"[..])));
        // The item of the first branch is null.
        let null = [2, 0, 0];
        assert!(span.bytes_of(Cursor::new(&null), &schema, 7).is_err());
    }
}
