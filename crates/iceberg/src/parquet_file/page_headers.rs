//! Reads the page headers of a column chunk before the Parquet library does, which reserves memory for the lengths
//! in them before it looks whether the file has so many bytes (Thrift compact protocol; `parquet.thrift`).

/// Structures nest at most this deep.
const MAX_DEPTH: usize = 16;
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
const CUT: &str = "a page header is cut off";

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

    /// Calls `visit` with each number of a structure.
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
        for _ in 0..count {
            for kind in kinds {
                self.value(*kind, visit)?;
            }
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
}
