//! The frame of an Avro file: header, blocks, codecs, sync markers.

use super::cursor::{Cursor, put_bytes, put_length, put_long};
use super::schema::{AvroError, Schema};
use crate::compression::AvroCodec;
use crate::table_finding::TableFinding;
use std::collections::BTreeMap;
use std::ops::Range;

/// The first bytes of an Avro file.
const MAGIC: &[u8] = b"Obj\x01";
/// The length of the marker behind each block.
const SYNC_BYTES: usize = 16;

/// An Avro file: its header parsed, its blocks not yet.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    path: &'a str,
    bytes: &'a [u8],
    /// The metadata of the header.
    pub header: BTreeMap<String, &'a [u8]>,
    /// The schema of the entries.
    pub schema: Schema,
    codec: AvroCodec,
    sync: &'a [u8],
    /// The end of the header.
    blocks_at: usize,
}

impl<'a> Container<'a> {
    /// Parses the header.
    pub(crate) fn parse(path: &'a str, bytes: &'a [u8]) -> Result<Self, TableFinding> {
        let malformed = |problem: &str| {
            TableFinding::malformed(path, format!("it is no Avro file: {problem}")).at("header")
        };
        let (header, sync, blocks_at) = parse_header(bytes).map_err(malformed)?;
        let codec = AvroCodec::parse(path, header.get("avro.codec").copied())?;
        let schema = header
            .get("avro.schema")
            .ok_or_else(|| malformed("it has no avro.schema"))?;
        let schema = Schema::parse(schema).map_err(|problem| malformed(&problem))?;
        Ok(Self {
            path,
            bytes,
            header,
            schema,
            codec,
            sync,
            blocks_at,
        })
    }

    /// A text of the header.
    pub(crate) fn header_text(&self, key: &str) -> Option<&'a str> {
        self.header
            .get(key)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    fn malformed(&self, block: usize, problem: &str) -> TableFinding {
        TableFinding::malformed(self.path, problem).at(format!("block {block}"))
    }

    /// Calls `visit` with the number of each entry and a cursor at it. `visit` moves the cursor to the end
    /// of the entry.
    pub(crate) fn read(
        &self,
        mut visit: impl FnMut(usize, &mut Cursor<'_>) -> Result<(), TableFinding>,
    ) -> Result<(), TableFinding> {
        self.each_block(|first, count, _, data| {
            let mut cursor = Cursor::new(data);
            for index in first..first + count {
                visit(index, &mut cursor)?;
            }
            Ok(cursor.is_at_end())
        })
    }

    /// The file with edited entries: `edit` moves the cursor to the end of an entry, and appends
    /// replacements of spans, in any order; spans do not overlap. Header and sync markers stay, and so does a block
    /// without replacements.
    pub(crate) fn rewrite(
        &self,
        mut edit: impl FnMut(usize, &mut Cursor<'_>, &mut SpanEdits) -> Result<(), TableFinding>,
    ) -> Result<Vec<u8>, TableFinding> {
        let edit = |index, cursor: &mut Cursor<'_>, edits: &mut SpanEdits| {
            edit(index, cursor, edits).map(|()| true)
        };
        self.rewrite_while(edit).map(Option::unwrap_or_default)
    }

    /// As [`Self::rewrite`], as long as `edit` returns `true`. It is called for each entry all the same; the result is
    /// `None` if it returned `false` once.
    pub(crate) fn rewrite_while(
        &self,
        mut edit: impl FnMut(usize, &mut Cursor<'_>, &mut SpanEdits) -> Result<bool, TableFinding>,
    ) -> Result<Option<Vec<u8>>, TableFinding> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 8);
        out.extend_from_slice(self.bytes.get(..self.blocks_at).unwrap_or_default());
        let mut out = Some(out);
        let mut edits = SpanEdits::default();
        self.each_block(|first, count, compressed, data| {
            let mut cursor = Cursor::new(data);
            edits.clear();
            for index in first..first + count {
                if !edit(index, &mut cursor, &mut edits)? {
                    out = None;
                }
            }
            if let Some(out) = &mut out {
                self.put_block(out, count, compressed, data, &mut edits)?;
            }
            Ok(cursor.is_at_end())
        })?;
        Ok(out)
    }

    /// Appends a block with its edits applied, or as it is if there are none.
    fn put_block(
        &self,
        out: &mut Vec<u8>,
        count: usize,
        compressed: &[u8],
        data: &[u8],
        edits: &mut SpanEdits,
    ) -> Result<(), TableFinding> {
        let edited = match edits.spans.is_empty() {
            true => None,
            false => {
                let problem = |problem: &str| TableFinding::malformed(self.path, problem);
                let edited = edits.apply(data).map_err(problem)?;
                Some(self.codec.compress(edited).map_err(|e| problem(&e))?)
            }
        };
        let block = edited.as_deref().unwrap_or(compressed);
        put_length(out, count);
        put_length(out, block.len());
        out.extend_from_slice(block);
        out.extend_from_slice(self.sync);
        Ok(())
    }

    /// Calls `visit` with the number of the first entry of each block, the number of its entries, and its
    /// bytes as they are and decompressed. `visit` returns whether the entries end with the block.
    fn each_block(
        &self,
        mut visit: impl FnMut(usize, usize, &'a [u8], &[u8]) -> Result<bool, TableFinding>,
    ) -> Result<(), TableFinding> {
        let mut file = Cursor::new(self.bytes).at(self.blocks_at);
        let (mut block, mut entries) = (0, 0);
        while !file.is_at_end() {
            let (count, compressed) = self
                .next_block(&mut file)
                .map_err(|problem| self.malformed(block, problem))?;
            let data = self.codec.decompress(compressed);
            let data = data.map_err(|problem| self.malformed(block, &problem))?;
            // An entry of no bytes would let a few bytes stand for any number of entries.
            if count > data.len() {
                return Err(self.malformed(block, "it has more entries than bytes"));
            }
            if !visit(entries, count, compressed, &data)? {
                return Err(self.malformed(block, "bytes are left behind its last entry"));
            }
            block += 1;
            entries += count;
        }
        Ok(())
    }

    fn next_block(&self, file: &mut Cursor<'a>) -> Result<(usize, &'a [u8]), AvroError> {
        let count = usize::try_from(file.long()?).map_err(|_| "its count is negative")?;
        let compressed = file.bytes()?;
        match file.take(SYNC_BYTES)? == self.sync {
            true => Ok((count, compressed)),
            false => Err("the sync marker behind it is not the file's"),
        }
    }
}

type Header<'a> = (BTreeMap<String, &'a [u8]>, &'a [u8], usize);

fn parse_header(bytes: &[u8]) -> Result<Header<'_>, AvroError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err("it does not begin with Obj1");
    }
    let mut header = BTreeMap::new();
    loop {
        let count = cursor.long()?;
        if count == 0 {
            break;
        }
        if count < 0 {
            cursor.long()?;
        }
        for _ in 0..count.unsigned_abs() {
            let key = std::str::from_utf8(cursor.bytes()?).map_err(|_| "a key is no UTF-8")?;
            if header.insert(key.to_owned(), cursor.bytes()?).is_some() {
                return Err("a key stands twice");
            }
        }
    }
    let sync = cursor.take(SYNC_BYTES)?;
    Ok((header, sync, cursor.position()))
}

/// Replacements of spans of a block, in any order.
#[derive(Debug, Default)]
pub(crate) struct SpanEdits {
    /// What is replaced, and where its replacement stands in `values`.
    spans: Vec<(Range<usize>, Range<usize>)>,
    values: Vec<u8>,
}

impl SpanEdits {
    /// Replaces an encoded value.
    pub(crate) fn replace(&mut self, span: Range<usize>, value: &[u8]) {
        self.put(span, |values| values.extend_from_slice(value));
    }

    /// Replaces a `string`.
    pub(crate) fn replace_string(&mut self, span: Range<usize>, text: &str) {
        self.put(span, |values| put_bytes(values, text.as_bytes()));
    }

    /// Replaces a `long`.
    pub(crate) fn replace_long(&mut self, span: Range<usize>, number: i64) {
        self.put(span, |values| put_long(values, number));
    }

    fn put(&mut self, span: Range<usize>, append: impl FnOnce(&mut Vec<u8>)) {
        let start = self.values.len();
        append(&mut self.values);
        self.spans.push((span, start..self.values.len()));
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.values.clear();
    }

    fn apply(&mut self, data: &[u8]) -> Result<Vec<u8>, AvroError> {
        self.spans.sort_by_key(|(span, _)| span.start);
        let mut out = Vec::with_capacity(data.len() + self.values.len());
        let mut done = 0;
        for (span, value) in &self.spans {
            let copied = data.get(done..span.start).ok_or("two edits overlap")?;
            out.extend_from_slice(copied);
            out.extend_from_slice(self.values.get(value.clone()).unwrap_or_default());
            done = span.end;
        }
        out.extend_from_slice(data.get(done..).ok_or("an edit lies outside the block")?);
        Ok(out)
    }
}
