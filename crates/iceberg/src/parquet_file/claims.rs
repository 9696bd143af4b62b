//! Reads what the footer and the page headers of a file claim before the Parquet library does, which reserves memory for
//! numbers in them before it looks whether the file has so many bytes, and follows a schema however deep it is (Thrift
//! compact protocol; `parquet.thrift`).

/// Structures nest at most this deep.
const MAX_DEPTH: usize = 24;
/// Fields of a schema nest at most this deep.
const MAX_SCHEMA_DEPTH: usize = 100;
/// The largest page, decompressed, that is read. Writers begin a new page after 1 MiB.
const MAX_PAGE_BYTES: i64 = 256 << 20;

/// What of a page header is looked at.
#[derive(Debug, Default)]
struct PageHeader {
    decompressed: i64,
    compressed: i64,
    values: i64,
}

impl PageHeader {
    /// Records a number of the header by the ids of its fields, from the outside in.
    fn record(&mut self, fields: &[i16], number: i64) {
        match fields {
            [2] => self.decompressed = number,
            [3] => self.compressed = number,
            // Of a data page, a dictionary and a data page of version 2.
            [5 | 7 | 8, 1] => self.values = self.values.max(number),
            _ => {}
        }
    }
}

/// What the schema in a footer claims: a list of fields, in which each is followed by its children.
#[derive(Debug, Default)]
struct SchemaClaims {
    children_of_next: i64,
    all_children: i64,
    /// The children that are still to come, of each field that the next one lies in.
    open: Vec<i64>,
    is_too_deep: bool,
}

impl SchemaClaims {
    fn record(&mut self, fields: &[i16], number: i64) {
        match fields {
            [2, ITEM, 5] => self.children_of_next = number,
            [2, ITEM] => self.end_field(),
            _ => {}
        }
    }

    fn end_field(&mut self) {
        let children = std::mem::take(&mut self.children_of_next);
        self.all_children = self.all_children.saturating_add(children.max(0));
        if let Some(siblings) = self.open.last_mut() {
            *siblings -= 1;
        }
        if children > 0 {
            self.open.push(children);
        }
        self.is_too_deep |= self.open.len() > MAX_SCHEMA_DEPTH;
        while self.open.last().is_some_and(|siblings| *siblings <= 0) {
            self.open.pop();
        }
    }
}

/// Looks at the schema in the footer of a file.
///
/// # Errors
/// The footer is damaged, or its fields claim more children than it has bytes, or nest too deep.
pub(super) fn check_footer(file: &[u8]) -> Result<(), &'static str> {
    let (rest, _) = file.split_last_chunk::<4>().ok_or(CUT)?;
    let (rest, length) = rest.split_last_chunk::<4>().ok_or(CUT)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let start = rest.len().checked_sub(length).ok_or(CUT)?;
    let mut claims = SchemaClaims::default();
    let mut walk = Walk {
        bytes: rest,
        position: start,
        fields: Vec::new(),
    };
    walk.structure(&mut |fields, number| claims.record(fields, number))?;
    if claims.is_too_deep {
        return Err("its schema nests too deep");
    }
    match usize::try_from(claims.all_children) {
        Ok(children) if children <= length => Ok(()),
        Ok(_) | Err(_) => Err("its schema claims more fields than it has"),
    }
}

/// Looks at the headers of the pages in a span of the file.
///
/// # Errors
/// A header is damaged, or claims more bytes or values than a page may have: `most_values` of the chunk.
pub(super) fn check_pages(
    file: &[u8],
    span: std::ops::Range<usize>,
    most_values: i64,
) -> Result<(), &'static str> {
    let mut position = span.start;
    let mut values: i64 = 0;
    while position < span.end {
        let mut header = PageHeader::default();
        let mut walk = Walk {
            bytes: file,
            position,
            fields: Vec::new(),
        };
        walk.structure(&mut |fields, number| header.record(fields, number))?;
        if !(0..=MAX_PAGE_BYTES).contains(&header.decompressed) {
            return Err("a page claims more than 256 MiB");
        }
        values = values.saturating_add(header.values);
        if header.values < 0 || values > most_values {
            return Err("its pages claim more values than the column");
        }
        let length =
            usize::try_from(header.compressed).map_err(|_| "a page has a negative size")?;
        let end = walk.position.checked_add(length);
        position = end
            .filter(|end| *end <= file.len())
            .ok_or("a page is longer than the file")?;
    }
    Ok(())
}

/// A position in data of the compact protocol.
struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The ids of the fields that the position is in.
    fields: Vec<i16>,
}

/// In place of the id of a field: an item of a list or a map.
const ITEM: i16 = -1;
const CUT: &str = "its footer or a page header is cut off";

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self.bytes.get(self.position).ok_or(CUT)?;
        self.position += 1;
        Ok(byte)
    }

    fn unsigned(&mut self) -> Result<u64, &'static str> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has more than ten bytes")
    }

    fn signed(&mut self) -> Result<i64, &'static str> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn skip(&mut self, length: u64) -> Result<(), &'static str> {
        let end = usize::try_from(length).ok();
        let end = end.and_then(|length| self.position.checked_add(length));
        self.position = end.filter(|end| *end <= self.bytes.len()).ok_or(CUT)?;
        Ok(())
    }

    /// Calls `visit` with each number of a structure, and with the number of each item of a list behind it.
    fn structure(&mut self, visit: &mut dyn FnMut(&[i16], i64)) -> Result<(), &'static str> {
        if self.fields.len() > MAX_DEPTH {
            return Err("a structure nests too deep");
        }
        self.fields.push(0);
        loop {
            let head = self.byte()?;
            if head == 0 {
                break;
            }
            let id = match head >> 4 {
                0 => i16::try_from(self.signed()?).map_err(|_| "a structure has an odd field")?,
                delta => self
                    .fields
                    .last()
                    .map_or(0, |last| last.wrapping_add(i16::from(delta))),
            };
            if let Some(last) = self.fields.last_mut() {
                *last = id;
            }
            // The value of a boolean field stands in its head.
            if !matches!(head & 0x0f, 1 | 2) {
                self.value(head & 0x0f, visit)?;
            }
        }
        self.fields.pop();
        Ok(())
    }

    fn value(&mut self, kind: u8, visit: &mut dyn FnMut(&[i16], i64)) -> Result<(), &'static str> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => {
                let number = self.signed()?;
                visit(&self.fields, number);
                Ok(())
            }
            7 => self.skip(8),
            8 => {
                let length = self.unsigned()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.unsigned()?,
                    count => u64::from(count),
                };
                self.items(count, &[head & 0x0f], visit)
            }
            11 => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.items(count, &[kinds >> 4, kinds & 0x0f], visit)
            }
            12 => self.structure(visit),
            13 => self.skip(16),
            _ => Err("a structure has a field of an unknown type"),
        }
    }

    /// Items of a list or a map. Each has at least one byte, so their number is bounded by the file.
    fn items(
        &mut self,
        count: u64,
        kinds: &[u8],
        visit: &mut dyn FnMut(&[i16], i64),
    ) -> Result<(), &'static str> {
        if self.fields.len() > MAX_DEPTH {
            return Err("a structure nests too deep");
        }
        self.fields.push(ITEM);
        for number in 0..count {
            for kind in kinds {
                self.value(*kind, visit)?;
            }
            visit(&self.fields, i64::try_from(number).unwrap_or(i64::MAX));
        }
        self.fields.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page header of a data page: type 0, sizes, and the number of values.
    fn header(decompressed: u32, compressed: u8, values: u8) -> Vec<u8> {
        let mut bytes = vec![0x15, 0, 0x15];
        let mut rest = u64::from(decompressed) << 1;
        while rest >= 0x80 {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        // A data page header (5) with its number of values (1), and the ends of both structures.
        bytes.extend([0x15, compressed << 1, 0x2c, 0x15, values << 1, 0, 0]);
        bytes
    }

    fn checked(mut bytes: Vec<u8>, content: usize, most_values: i64) -> Result<(), &'static str> {
        bytes.extend(vec![0; content]);
        let length = bytes.len();
        check_pages(&bytes, 0..length, most_values)
    }

    #[test]
    fn pages_that_claim_no_more_than_there_is_pass() {
        assert_eq!(checked(header(40, 9, 3), 9, 3), Ok(()));
        let mut two = header(40, 0, 3);
        two.extend(header(40, 2, 4));
        assert_eq!(checked(two, 2, 7), Ok(()));
    }

    #[test]
    fn lengths_that_the_file_cannot_have_are_refused() {
        assert!(checked(header(1 << 30, 9, 3), 9, 3).is_err());
        assert!(checked(header(40, 9, 3), 8, 3).is_err());
        assert!(checked(header(40, 9, 4), 9, 3).is_err());
        // Statistics whose least value has a length of many terabytes.
        let mut claims = vec![0x5c, 0x5c, 0x18];
        claims.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert!(checked(claims, 0, 3).is_err());
        // A list of which no item takes a byte, and lists in lists.
        assert!(checked(vec![0x19, 0xfc, 0xff, 0xff, 0xff, 0x7f], 40, 3).is_err());
        assert!(checked(vec![0x19; 200], 0, 3).is_err());
    }

    /// A footer with a schema of fields that have so many children.
    fn footer(children: &[u8]) -> Vec<u8> {
        // The field 2: a list of structures, each with the field 5, a number of 32 bits.
        let mut bytes = vec![0x29, 0xfc];
        let count = u8::try_from(children.len()).unwrap();
        assert!(count < 0x80);
        bytes.push(count);
        for children in children {
            bytes.extend([0x55, children << 1, 0]);
        }
        bytes.push(0);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes.extend(length.to_le_bytes());
        bytes.extend(b"PAR1");
        bytes
    }

    #[test]
    fn a_schema_claims_no_more_than_it_has_and_is_no_tower() {
        assert_eq!(check_footer(&footer(&[2, 1, 0, 0])), Ok(()));
        assert_eq!(check_footer(&footer(&[1; 90])), Ok(()));
        assert!(check_footer(&footer(&[60, 0])).is_err());
        assert!(check_footer(&footer(&[1; 110])).is_err());
        assert!(check_footer(b"PAR1").is_err());
        assert!(check_footer(b"\xff\xff\xff\xffPAR1").is_err());
    }
}
