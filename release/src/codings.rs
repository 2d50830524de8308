//! Content codings, made once, when content is published.
//!
//! The levels are a compromise for publishing while someone waits: all three codings of a page of 15 KB together take
//! 2 ms, and the slowest levels would save another 1 to 4 % for ten times that. The same bytes give the same codings with
//! the same version of this program, so that two machines which publish the same content write the same blob.

use std::io::Write;

use bytes::Bytes;

use crate::{Coding, CodingName, Content, Digest};

/// Bytes of the largest content for which codings are made: they are made in memory, three at a
/// time, by as many threads as render.
pub const CODED_BYTES_MAX: usize = 16 << 20;
/// Bytes of the smallest content for which codings are made: below, fields cost more than is saved.
pub const CODED_BYTES_MIN: usize = 256;
/// Bytes that a coding must save to be kept.
const SAVED_BYTES_MIN: usize = 64;
/// Percent of the content that a coding must save to be kept.
const SAVED_PERCENT_MIN: usize = 3;
/// Bytes from which content takes quicker levels: it would hold the publish up.
const LARGE_BYTES: usize = 1 << 20;

/// Content with its codings, and the blob that holds them.
#[derive(Debug, Clone)]
pub struct Coded {
    /// What the entry says.
    pub content: Content,
    /// The blob: identity, then each coding in the order of `content.coded`.
    pub blob: Bytes,
}

/// A coding could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {reason}", coding.as_str())]
pub struct CodingError {
    /// Which.
    pub coding: CodingName,
    /// What the compressor says.
    pub reason: String,
}

/// Whether codings of content of this type are worth trying: text, and what is text inside.
pub fn compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/javascript"
                | "application/json"
                | "application/xml"
                | "application/wasm"
                | "application/x-ndjson"
                | "application/rtf"
                | "application/vnd.ms-fontobject"
                | "font/ttf"
                | "font/otf"
                | "font/collection"
                | "image/bmp"
                | "image/x-icon"
                | "image/vnd.microsoft.icon"
        )
}

/// Content without codings; the blob is the content itself.
pub fn plain(body: Bytes) -> Coded {
    let identity = Coding::of(CodingName::Identity, 0, &body);
    Coded { content: Content { blob: identity.digest, identity, coded: Vec::new() }, blob: body }
}

/// Content with those codings that save something.
///
/// # Errors
/// Where a compressor fails, which none does on bytes in memory.
pub fn code(content_type: Option<&str>, body: Bytes) -> Result<Coded, CodingError> {
    let worth = content_type.is_some_and(compressible);
    if !worth || !(CODED_BYTES_MIN..=CODED_BYTES_MAX).contains(&body.len()) {
        return Ok(plain(body));
    }
    let failed =
        |coding: CodingName| move |error: std::io::Error| CodingError { coding, reason: error.to_string() };
    let mut coded = [
        (CodingName::Br, brotli(&body).map_err(failed(CodingName::Br))?),
        (CodingName::Zstd, zstd(&body).map_err(failed(CodingName::Zstd))?),
        (CodingName::Gzip, gzip(&body).map_err(failed(CodingName::Gzip))?),
    ];
    coded.sort_by_key(|(name, bytes)| (bytes.len(), *name));
    let mut blob = Vec::with_capacity(body.len() + coded.iter().map(|(_, b)| b.len()).sum::<usize>());
    blob.extend_from_slice(&body);
    let mut codings = Vec::new();
    for (name, bytes) in coded.iter().filter(|(_, bytes)| saves(bytes.len(), body.len())) {
        codings.push(Coding::of(*name, blob.len() as u64, bytes));
        blob.extend_from_slice(bytes);
    }
    if codings.is_empty() {
        return Ok(plain(body));
    }
    let identity = Coding::of(CodingName::Identity, 0, &body);
    let content = Content { blob: Digest::of(&blob), identity, coded: codings };
    Ok(Coded { content, blob: blob.into() })
}

fn saves(coded: usize, identity: usize) -> bool {
    coded + SAVED_BYTES_MIN <= identity && coded * 100 <= identity * (100 - SAVED_PERCENT_MIN)
}

fn brotli(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: if body.len() < LARGE_BYTES { 5 } else { 4 },
        // A window larger than the content costs whoever decodes some memory. Windows of 16 bits and
        // less make this encoder take another hasher: ten times slower, and no smaller.
        lgwin: (usize::BITS - body.len().leading_zeros()).clamp(18, 22) as i32,
        size_hint: body.len(),
        ..Default::default()
    };
    let mut out = Vec::with_capacity(body.len() / 2);
    brotli::BrotliCompress(&mut &*body, &mut out, &params)?;
    Ok(out)
}

fn zstd(body: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(body, if body.len() < LARGE_BYTES { 9 } else { 3 })
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let level = flate2::Compression::new(if body.len() < LARGE_BYTES { 6 } else { 4 });
    // No name and no time: both would make the bytes depend on more than the content.
    let mut encoder = flate2::GzBuilder::new().write(Vec::with_capacity(body.len() / 2), level);
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn page() -> Bytes {
        let lines = (0..400).map(|i| format!("<p>Line {i} of a page about bread, and {}.</p>\n", i * i));
        lines.collect::<String>().into()
    }

    fn decode(name: CodingName, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match name {
            CodingName::Identity => out.extend_from_slice(bytes),
            CodingName::Br => brotli::BrotliDecompress(&mut &*bytes, &mut out).unwrap(),
            CodingName::Zstd => out = zstd::decode_all(bytes).unwrap(),
            CodingName::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
            }
        }
        out
    }

    #[test]
    fn every_coding_decodes_to_the_content() {
        let coded = code(Some("text/html; charset=utf-8"), page()).unwrap();
        assert_eq!(coded.content.coded.len(), 3);
        assert_eq!(Digest::of(&coded.blob), coded.content.blob);
        assert_eq!(coded.content.length(), coded.blob.len() as u64);
        assert!(coded.content.coded.is_sorted_by_key(|c| c.length));
        for coding in coded.content.codings() {
            let bytes = &coded.blob[coding.offset as usize..(coding.offset + coding.length) as usize];
            assert_eq!(Digest::of(bytes), coding.digest, "{}", coding.name);
            assert_eq!(decode(coding.name, bytes), page(), "{}", coding.name);
        }
    }

    #[test]
    fn the_same_content_gives_the_same_blob() {
        let digest = || code(Some("text/css"), page()).unwrap().content.blob;
        assert_eq!(digest(), digest());
    }

    #[test]
    fn what_saves_nothing_is_left_out() {
        let mut noise = vec![0u8; 10_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let noise = Bytes::from(noise);
        for (content_type, body) in [
            (Some("text/html"), noise),
            (Some("image/png"), page()),
            (None, page()),
            (Some("text/html"), page().slice(..CODED_BYTES_MIN - 1)),
        ] {
            let coded = code(content_type, body.clone()).unwrap();
            assert!(coded.content.coded.is_empty(), "{content_type:?}");
            assert_eq!(coded.content.blob, Digest::of(&body));
        }
    }
}
