//! Codecs of metadata files and of Avro blocks.

use crate::table_finding::{TableFinding, TableFindingKind};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::borrow::Cow;
use std::cell::RefCell;
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
            Self::Deflate => DEFLATE
                .with_borrow_mut(|state| state.decompress(block, MAX_BLOCK_BYTES).map(Cow::Owned)),
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
            Self::Deflate => DEFLATE.with_borrow_mut(|state| state.compress(&bytes)),
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

thread_local! {
    static DEFLATE: RefCell<DeflateState> = RefCell::new(DeflateState::new());
}

/// What deflate needs beside its input and output, about 300 KB. It is kept for the next block: where it is allocated for
/// each of thousands of small manifests, what is remembered of these lies in the gaps, and gigabytes are taken.
struct DeflateState {
    compress: Compress,
    decompress: Decompress,
}

impl DeflateState {
    fn new() -> Self {
        Self {
            compress: Compress::new(Compression::new(DEFLATE_LEVEL), false),
            decompress: Decompress::new(false),
        }
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.compress.reset();
        let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
        loop {
            let rest = unread(bytes, self.compress.total_in());
            let status = self
                .compress
                .compress_vec(rest, &mut out, FlushCompress::Finish);
            match status.map_err(|e| e.to_string())? {
                Status::StreamEnd => return Ok(out),
                Status::Ok | Status::BufError => out.reserve(bytes.len() / 4 + 64),
            }
        }
    }

    /// Fails if that is more than `limit` bytes.
    fn decompress(&mut self, block: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        self.decompress.reset(false);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(block.len().saturating_mul(4).clamp(64, limit.max(64)));
        loop {
            let rest = unread(block, self.decompress.total_in());
            let status = self
                .decompress
                .decompress_vec(rest, &mut out, FlushDecompress::None);
            let status = status.map_err(|e| e.to_string())?;
            if out.len() > limit {
                return Err(format!("more than {limit} bytes after decompression"));
            }
            match status {
                Status::StreamEnd => return Ok(out),
                Status::Ok | Status::BufError if out.len() < out.capacity() => {
                    return Err("deflate data ends before its last block".to_owned());
                }
                // One byte more than the limit tells that there are more.
                Status::Ok | Status::BufError => {
                    out.reserve_exact(out.len().max(64).min(limit + 1 - out.len()));
                }
            }
        }
    }
}

/// What a codec has not read yet.
fn unread(bytes: &[u8], read: u64) -> &[u8] {
    let read = usize::try_from(read).unwrap_or(usize::MAX);
    bytes.get(read..).unwrap_or_default()
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
    fn deflate_depends_on_nothing_but_its_input() {
        let mut texts = vec![Vec::new(), vec![7; 300_000], vec![b'a']];
        // Bytes that do not compress take more than the memory that is reserved at first.
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        texts.push((0..100_000).map(|_| random()).collect());
        texts.push(
            (0..50_000)
                .map(|n| (n % 251) as u8 ^ (random() & 3))
                .collect(),
        );
        let mut used = DeflateState::new();
        for text in texts.iter().chain(texts.iter().rev()) {
            let block = used.compress(text).unwrap();
            assert_eq!(block, DeflateState::new().compress(text).unwrap());
            assert_eq!(&used.decompress(&block, 300_000).unwrap(), text);
            let cut = block.get(..block.len() - 1).unwrap();
            assert!(used.decompress(cut, 300_000).is_err());
        }
    }

    #[test]
    fn a_block_of_more_than_the_limit_is_refused() {
        let mut state = DeflateState::new();
        for (length, limit) in [
            (0, 0),
            (1, 1),
            (5000, 5000),
            (2, 1),
            (5001, 5000),
            (90_000, 5000),
        ] {
            let block = state.compress(&vec![7; length]).unwrap();
            let read = state.decompress(&block, limit).map(|bytes| bytes.len());
            let is_refused = u64::try_from(length).unwrap() > limit;
            assert_eq!(
                read.ok(),
                (!is_refused).then_some(length),
                "{length} {limit}"
            );
        }
    }

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
