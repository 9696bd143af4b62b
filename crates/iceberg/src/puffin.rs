//! Puffin files of deletion vectors (Puffin specification; Iceberg specification, "Deletion Vectors").
//!
//! The blobs stay where they are; only the footer names data files, in a property of each blob.

use crate::json_spans::{JsonEdits, elements, members, quoted, string};
use crate::path_map::PathMap;
use crate::table_finding::{TableFinding, TableFindingKind};
use serde_json::value::RawValue;
use std::ops::Range;

const MAGIC: &[u8; 4] = b"PFA1";
/// Behind the payload: its size, four bytes of flags, the magic.
const TRAILER_BYTES: usize = 12;
/// Bit 0 of the flags: the payload is compressed with LZ4.
const COMPRESSED_PAYLOAD: u8 = 1;
const VECTOR_BLOB: &str = "deletion-vector-v1";
const REFERENCED_DATA_FILE: &str = "referenced-data-file";

/// A deletion vector in a Puffin file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionVector {
    /// Where its blob begins.
    pub offset: i64,
    /// How many bytes its blob has.
    pub length: i64,
    /// The data file that it is for.
    pub referenced_data_file: String,
    /// The number of deleted positions; `None` if the footer does not say.
    pub cardinality: Option<i64>,
    /// Whether the blob is framed as a vector, and its checksum is right.
    pub is_intact: bool,
}

fn refused(path: &str, problem: impl Into<String>) -> TableFinding {
    TableFinding::new(TableFindingKind::UnsupportedPuffin, path, problem).at("footer")
}

/// The span of the footer's JSON.
fn payload_span(path: &str, bytes: &[u8]) -> Result<Range<usize>, TableFinding> {
    let malformed = |problem: &str| TableFinding::malformed(path, problem).at("footer");
    let not_puffin = || malformed("it is no Puffin file");
    if !bytes.starts_with(MAGIC) {
        return Err(not_puffin());
    }
    let payload_end = bytes
        .len()
        .checked_sub(TRAILER_BYTES)
        .ok_or_else(not_puffin)?;
    let trailer = bytes.get(payload_end..).unwrap_or_default();
    let Some((size, rest)) = trailer.split_first_chunk::<4>() else {
        return Err(not_puffin());
    };
    let Some((flags, magic)) = rest.split_first_chunk::<4>() else {
        return Err(not_puffin());
    };
    if magic != MAGIC {
        return Err(not_puffin());
    }
    match flags {
        [0, 0, 0, 0] => {}
        [COMPRESSED_PAYLOAD, 0, 0, 0] => {
            return Err(refused(path, "the footer is compressed with LZ4"));
        }
        other => return Err(refused(path, format!("the flags {other:?} are not known"))),
    }
    let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
    let start = payload_end
        .checked_sub(size)
        .ok_or_else(|| malformed("the footer is longer than the file"))?;
    let before = start
        .checked_sub(MAGIC.len())
        .and_then(|at| bytes.get(at..start));
    match before == Some(MAGIC.as_slice()) && start >= 2 * MAGIC.len() {
        true => Ok(start..payload_end),
        false => Err(malformed("the footer does not begin where its size says")),
    }
}

/// The deletion vectors of a file.
///
/// # Errors
/// The file is no Puffin file, its footer is compressed, or it has other blobs than deletion vectors.
pub fn read_deletion_vectors(
    path: &str,
    bytes: &[u8],
) -> Result<Vec<DeletionVector>, TableFinding> {
    let mut vectors = Vec::new();
    edit_footer(path, bytes, |vector, _| {
        vectors.push(vector);
        Ok(None)
    })?;
    Ok(vectors)
}

/// The file with the standby's paths in its footer. All blobs keep their offsets.
///
/// # Errors
/// As [`read_deletion_vectors`]; or a path lies outside the pairs.
pub fn relocate_deletion_vectors(
    path: &str,
    bytes: &[u8],
    map: &PathMap,
) -> Result<Vec<u8>, TableFinding> {
    edit_footer(path, bytes, |vector, index| {
        let referenced = &vector.referenced_data_file;
        let mapped = map.map(referenced).ok_or_else(|| {
            let problem = format!("no location pair covers {referenced}");
            TableFinding::new(TableFindingKind::OutsidePairs, path, problem)
                .at(format!("blob {index}"))
        })?;
        Ok(Some(mapped))
    })
}

/// The properties of a blob in the footer's JSON.
#[derive(Default)]
struct FooterBlob<'a> {
    kind: String,
    codec: Option<String>,
    offset: Option<i64>,
    length: Option<i64>,
    /// With its position in the JSON.
    referenced: Option<(String, &'a RawValue)>,
    cardinality: Option<i64>,
}

impl<'a> FooterBlob<'a> {
    fn parse(blob: &'a RawValue) -> Result<Self, serde_json::Error> {
        let mut parsed = Self::default();
        for (key, value) in members(blob.get())? {
            match key.as_str() {
                "type" => parsed.kind = string(value)?.unwrap_or_default(),
                "compression-codec" => parsed.codec = string(value)?,
                "offset" => parsed.offset = serde_json::from_str(value.get())?,
                "length" => parsed.length = serde_json::from_str(value.get())?,
                "properties" => parsed.parse_properties(value)?,
                _ => {}
            }
        }
        Ok(parsed)
    }

    fn parse_properties(&mut self, properties: &'a RawValue) -> Result<(), serde_json::Error> {
        for (key, value) in members(properties.get())? {
            let text = string(value)?;
            match key.as_str() {
                REFERENCED_DATA_FILE => self.referenced = text.map(|text| (text, value)),
                "cardinality" => self.cardinality = text.and_then(|text| text.parse().ok()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Calls `edit` with each vector, and replaces the path of its data file by what that returns.
fn edit_footer(
    path: &str,
    bytes: &[u8],
    mut edit: impl FnMut(DeletionVector, usize) -> Result<Option<String>, TableFinding>,
) -> Result<Vec<u8>, TableFinding> {
    let span = payload_span(path, bytes)?;
    let malformed = |problem: String| TableFinding::malformed(path, problem).at("footer");
    let json = |error: serde_json::Error| malformed(error.to_string());
    let payload = bytes.get(span.clone()).unwrap_or_default();
    let payload = std::str::from_utf8(payload).map_err(|e| malformed(e.to_string()))?;
    let mut edits = JsonEdits::new(payload);
    let top = members(payload).map_err(json)?;
    let blobs = top.iter().find(|(key, _)| key == "blobs");
    let (_, blobs) = blobs.ok_or_else(|| malformed("it has no blobs".to_owned()))?;
    for (index, blob) in elements(blobs.get()).map_err(json)?.into_iter().enumerate() {
        let blob = FooterBlob::parse(blob).map_err(json)?;
        if blob.kind != VECTOR_BLOB {
            let problem = format!(
                "blob {index} has the type {:?}, whose content is not known",
                blob.kind
            );
            return Err(refused(path, problem));
        }
        if let Some(codec) = blob.codec {
            return Err(refused(
                path,
                format!("blob {index} is compressed with {codec:?}"),
            ));
        }
        let (Some(offset), Some(length)) = (blob.offset, blob.length) else {
            return Err(malformed(format!(
                "blob {index} has no offset or no length"
            )));
        };
        let Some((referenced_data_file, value)) = blob.referenced else {
            return Err(malformed(format!(
                "blob {index} has no {REFERENCED_DATA_FILE}"
            )));
        };
        let vector = DeletionVector {
            offset,
            length,
            referenced_data_file,
            cardinality: blob.cardinality,
            is_intact: is_intact(bytes, offset, length, span.start),
        };
        if let Some(new) = edit(vector, index)? {
            edits.replace(value, quoted(&new));
        }
    }
    let edited = edits.apply();
    let edited = edited.ok_or_else(|| malformed("the edits do not fit".to_owned()))?;
    let size = u32::try_from(edited.len()).map_err(|e| malformed(e.to_string()))?;
    let mut out = Vec::with_capacity(bytes.len() + edited.len());
    out.extend_from_slice(bytes.get(..span.start).unwrap_or_default());
    out.extend_from_slice(edited.as_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(bytes.get(span.end + 4..).unwrap_or_default());
    Ok(out)
}

/// Whether a blob is a vector: the length of what follows (big-endian), the magic `D1D33964`, the bitmap,
/// and the CRC-32 of magic and bitmap (big-endian).
fn is_intact(bytes: &[u8], offset: i64, length: i64, end: usize) -> bool {
    let blob = (|| {
        let start = usize::try_from(offset).ok()?;
        let stop = start.checked_add(usize::try_from(length).ok()?)?;
        bytes.get(..end)?.get(start..stop)
    })();
    let Some((size, rest)) = blob.and_then(|blob| blob.split_first_chunk::<4>()) else {
        return false;
    };
    let Some((content, checksum)) = rest.split_last_chunk::<4>() else {
        return false;
    };
    usize::try_from(u32::from_be_bytes(*size)).is_ok_and(|size| size == content.len())
        && content.starts_with(&[0xd1, 0xd3, 0x39, 0x64])
        && crc32fast::hash(content) == u32::from_be_bytes(*checksum)
}
