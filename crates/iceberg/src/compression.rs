//! Codecs of metadata files and of Avro blocks.

use crate::table_finding::{TableFinding, TableFindingKind};
use flate2::Compression;
use flate2::read::{DeflateDecoder, MultiGzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use std::borrow::Cow;
use std::io::{Read, Write as _};

/// The largest metadata.json, decompressed, that is read.
pub(crate) const MAX_METADATA_BYTES: u64 = 1 << 30;
/// The largest Avro block, decompressed, that is read. Writers of Avro begin a new block after 64 KiB.
pub(crate) const MAX_BLOCK_BYTES: u64 = 256 << 20;

/// How many bytes one byte of snappy can stand for. Memory is reserved for the length that a block claims.
const MAX_SNAPPY_RATIO: usize = 64;

/// The level of zlib and of Avro's deflate codec in Java.
const DEFLATE_LEVEL: u32 = 6;

/// Reads to the end, and fails if that is more than `limit` bytes.
fn read_limited(reader: impl Read, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit => Ok(bytes),
        Ok(_) | Err(_) => Err(format!("more than {limit} bytes after decompression")),
    }
}

/// Whether the bytes are gzip.
#[must_use]
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Whether the name of a metadata file says that its content is gzip: `v1.gz.metadata.json`, and
/// `v1.metadata.json.gz` of old tables (Iceberg, `TableMetadataParser`).
#[must_use]
pub(crate) fn is_gzip_name(path: &str) -> bool {
    path.ends_with(".gz.metadata.json") || path.ends_with(".metadata.json.gz")
}

/// Decompresses gzip; other bytes are returned as they are.
pub(crate) fn gunzip(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !is_gzip(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    read_limited(MultiGzDecoder::new(bytes), MAX_METADATA_BYTES).map(Cow::Owned)
}

/// Compresses with gzip. The header carries no time, so that equal input gives equal output.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(DEFLATE_LEVEL));
    encoder.write_all(bytes).map_err(|e| e.to_string())?;
    encoder.finish().map_err(|e| e.to_string())
}

/// The codec of the blocks of an Avro file (Avro 1.12 specification, "Required codecs" and "Optional
/// codecs").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AvroCodec {
    Null,
    Deflate,
    /// With the CRC-32 of the decompressed bytes behind each block.
    Snappy,
    Zstandard,
}

impl AvroCodec {
    /// The codec of a name in a header; a file without a name uses none.
    pub(crate) fn parse(file: &str, name: Option<&[u8]>) -> Result<Self, TableFinding> {
        match name {
            None | Some(b"null") => Ok(Self::Null),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(b"snappy") => Ok(Self::Snappy),
            Some(b"zstandard") => Ok(Self::Zstandard),
            Some(other) => {
                let name = String::from_utf8_lossy(other);
                let problem = format!(
                    "the Avro codec {name:?} is not supported; supported are null, deflate, snappy and zstandard"
                );
                Err(TableFinding::new(
                    TableFindingKind::UnsupportedCodec,
                    file,
                    problem,
                ))
            }
        }
    }

    pub(crate) fn decompress(self, block: &[u8]) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Null => Ok(Cow::Borrowed(block)),
            Self::Deflate => {
                read_limited(DeflateDecoder::new(block), MAX_BLOCK_BYTES).map(Cow::Owned)
            }
            Self::Snappy => unsnap(block).map(Cow::Owned),
            Self::Zstandard => {
                let decoder = zstd::Decoder::new(block).map_err(|e| e.to_string())?;
                read_limited(decoder, MAX_BLOCK_BYTES).map(Cow::Owned)
            }
        }
    }

    pub(crate) fn compress(self, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        match self {
            Self::Null => Ok(bytes),
            Self::Deflate => {
                let level = Compression::new(DEFLATE_LEVEL);
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(&bytes).map_err(|e| e.to_string())?;
                encoder.finish().map_err(|e| e.to_string())
            }
            Self::Snappy => {
                let compressed = snap::raw::Encoder::new().compress_vec(&bytes);
                let mut block = compressed.map_err(|e| e.to_string())?;
                block.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
                Ok(block)
            }
            Self::Zstandard => zstd::encode_all(bytes.as_slice(), 0).map_err(|e| e.to_string()),
        }
    }
}

fn unsnap(block: &[u8]) -> Result<Vec<u8>, String> {
    let (compressed, checksum) = block
        .split_last_chunk::<4>()
        .ok_or("a snappy block is shorter than its checksum")?;
    let length = snap::raw::decompress_len(compressed).map_err(|e| e.to_string())?;
    // An element of three bytes copies at most 64.
    if length > compressed.len().saturating_mul(MAX_SNAPPY_RATIO) {
        return Err("a snappy block claims more bytes than it can hold".to_owned());
    }
    if u64::try_from(length).is_ok_and(|length| length > MAX_BLOCK_BYTES) {
        return Err(format!(
            "more than {MAX_BLOCK_BYTES} bytes after decompression"
        ));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(compressed);
    let bytes = bytes.map_err(|e| e.to_string())?;
    match crc32fast::hash(&bytes) == u32::from_be_bytes(*checksum) {
        true => Ok(bytes),
        false => Err("the checksum of a snappy block is wrong".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_codec_round_trips_and_detects_damage() {
        let bytes: Vec<u8> = (0..5000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for name in [&b"null"[..], b"deflate", b"snappy", b"zstandard"] {
            let codec = AvroCodec::parse("f", Some(name)).unwrap();
            let block = codec.compress(bytes.clone()).unwrap();
            assert_eq!(codec.decompress(&block).unwrap(), bytes.as_slice());
            let half = &block[..block.len() / 2];
            let cut = codec.decompress(half).map(Cow::into_owned);
            assert!(
                codec == AvroCodec::Null || cut != Ok(bytes.clone()),
                "{codec:?}"
            );
        }
        assert!(AvroCodec::parse("f", Some(b"bzip2")).is_err());
        let mut wrong = AvroCodec::Snappy.compress(bytes).unwrap();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(AvroCodec::Snappy.decompress(&wrong).is_err());
    }
}
