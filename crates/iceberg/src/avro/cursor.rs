//! Reads and writes Avro's primitive encodings (Avro 1.12 specification, "Binary Encoding").

use super::schema::{AvroError, AvroType, Schema, TypeId};
use std::ops::Range;

/// Values nest at most this deep.
const MAX_DEPTH: usize = 64;

/// A position in decompressed Avro data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// A block of an array or a map: its items, and where they begin and end.
#[derive(Clone, Debug)]
pub(crate) struct ItemBlock {
    /// The spans of the items.
    pub items: Vec<Range<usize>>,
    /// The block carries its size in bytes.
    pub has_size: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The same data at another position.
    pub(crate) const fn at(self, position: usize) -> Self {
        Self { position, ..self }
    }

    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// The bytes of a span.
    pub(crate) fn span(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], AvroError> {
        let end = self
            .position
            .checked_add(length)
            .ok_or("a length overflows")?;
        let taken = self
            .bytes
            .get(self.position..end)
            .ok_or("the data ends in a value")?;
        self.position = end;
        Ok(taken)
    }

    /// An `int` or `long`.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, AvroError> {
        match self.bytes.get(self.position) {
            // Most numbers have one byte: keys, counts, lengths, branches of unions.
            Some(&byte) if byte & 0x80 == 0 => {
                self.position += 1;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            Some(_) | None => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<i64, AvroError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self
                .bytes
                .get(self.position)
                .ok_or("the data ends in a number")?;
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("a number has more than ten bytes")
    }

    /// `bytes` or a `string`.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], AvroError> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| "a length is negative")?)
    }

    /// The count of a block of an array or map, and whether its size in bytes followed. 0 ends it.
    fn block_count(&mut self) -> Result<(usize, bool), AvroError> {
        let count = self.long()?;
        let has_size = count < 0;
        if has_size && usize::try_from(self.long()?).map_or(true, |size| size > self.remaining()) {
            return Err("the size of a block exceeds the data");
        }
        let count = usize::try_from(count.unsigned_abs()).map_err(|_| "a count overflows")?;
        // An item of no bytes would let a few bytes stand for any number of items.
        if count > self.remaining() {
            return Err("a block has more items than bytes");
        }
        Ok((count, has_size))
    }

    /// Skips a value.
    pub(crate) fn skip(&mut self, schema: &Schema, id: TypeId) -> Result<(), AvroError> {
        self.skip_nested(schema, id, 0)
    }

    fn skip_nested(&mut self, schema: &Schema, id: TypeId, depth: usize) -> Result<(), AvroError> {
        if depth > MAX_DEPTH {
            return Err("values nest too deep");
        }
        match schema.get(id)? {
            AvroType::Null => {}
            AvroType::Boolean => drop(self.take(1)?),
            AvroType::Int | AvroType::Long | AvroType::Enum => drop(self.long()?),
            AvroType::Float => drop(self.take(4)?),
            AvroType::Double => drop(self.take(8)?),
            AvroType::Bytes | AvroType::String => drop(self.bytes()?),
            AvroType::Fixed(size) => drop(self.take(*size)?),
            AvroType::Array { items, .. } => loop {
                let (count, _) = self.block_count()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    self.skip_nested(schema, *items, depth + 1)?;
                }
            },
            AvroType::Map(values) => loop {
                let (count, _) = self.block_count()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    self.bytes()?;
                    self.skip_nested(schema, *values, depth + 1)?;
                }
            },
            AvroType::Union(branches) => {
                let branch = *self.branch(branches)?;
                self.skip_nested(schema, branch, depth + 1)?;
            }
            AvroType::Record(fields) => {
                for field in fields {
                    self.skip_nested(schema, field.type_id, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn branch<'t>(&mut self, branches: &'t [TypeId]) -> Result<&'t TypeId, AvroError> {
        let index = usize::try_from(self.long()?).map_err(|_| "a union has no such branch")?;
        branches.get(index).ok_or("a union has no such branch")
    }

    /// Enters an optional value: the type of the branch that is taken, or the type itself if it is no
    /// union. `None` if it is null.
    pub(crate) fn enter(
        &mut self,
        schema: &Schema,
        id: TypeId,
    ) -> Result<Option<TypeId>, AvroError> {
        let mut id = id;
        if let AvroType::Union(branches) = schema.get(id)? {
            id = *self.branch(branches)?;
        }
        let entered = schema.get(id)?;
        if matches!(entered, AvroType::Union(_)) {
            return Err("a union is directly in a union");
        }
        Ok((*entered != AvroType::Null).then_some(id))
    }

    /// The blocks of an array whose items have a type.
    pub(crate) fn array(
        &mut self,
        schema: &Schema,
        items: TypeId,
    ) -> Result<Vec<ItemBlock>, AvroError> {
        let mut blocks = Vec::new();
        loop {
            let (count, has_size) = self.block_count()?;
            if count == 0 {
                return Ok(blocks);
            }
            let mut spans = Vec::with_capacity(count.min(1024));
            for _ in 0..count {
                let start = self.position;
                self.skip(schema, items)?;
                spans.push(start..self.position);
            }
            blocks.push(ItemBlock {
                items: spans,
                has_size,
            });
        }
    }
}

/// Appends an `int` or `long`.
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a count or a length.
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_long(out, i64::try_from(length).unwrap_or(i64::MAX));
}

/// Appends `bytes` or a `string`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends one block of an array or map; `has_size` as it was read.
pub(crate) fn put_block(out: &mut Vec<u8>, items: &[Vec<u8>], has_size: bool) {
    if items.is_empty() {
        return;
    }
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if has_size {
        put_long(out, -count);
        put_length(out, items.iter().map(Vec::len).sum());
    } else {
        put_long(out, count);
    }
    for item in items {
        out.extend_from_slice(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(value: i64) {
            let mut bytes = Vec::new();
            put_long(&mut bytes, value);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.long(), Ok(value));
            prop_assert!(cursor.is_at_end());
        }
    }

    #[test]
    fn a_few_bytes_do_not_stand_for_many_items() {
        let schema = Schema::parse(br#"{"type":"array","items":"null"}"#).unwrap();
        let mut bytes = Vec::new();
        put_long(&mut bytes, i64::MAX);
        assert!(Cursor::new(&bytes).skip(&schema, schema.root()).is_err());
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = br#"{"type":"record","name":"r","fields":[{"name":"f","type":"r"}]}"#;
        let schema = Schema::parse(schema).unwrap();
        assert!(Cursor::new(&[]).skip(&schema, schema.root()).is_err());
    }
}
