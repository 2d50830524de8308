//! A request's body on its way to a file: counted, bounded, digested, and compared with what its sender said of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use super::answer::{blocking, to_s3};
use super::folder::{FolderStore, Temp};

/// Bytes collected before they are hashed and written together. Small bodies need one switch of threads for all;
/// every connection may hold as much.
const COLLECTED_BYTES_MAX: usize = 256 * 1024;

const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];
const HEADER_PREFIX: &str = "x-amz-checksum-";

/// What the sender says about the body.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) content_length: Option<i64>,
    /// Base64 of an MD5.
    pub(super) content_md5: Option<String>,
    /// Base64 by algorithm.
    checksums: BTreeMap<String, String>,
    /// The algorithm that comes after the body.
    trailer: Option<String>,
    /// Not sent, but to be computed and stored.
    wanted: Option<String>,
    trailing: Option<TrailingHeaders>,
}

impl Claims {
    /// Reads the claims from the fields of a request.
    pub(super) fn of(
        headers: &HeaderMap,
        trailing: Option<TrailingHeaders>,
        content_length: Option<i64>,
        content_md5: Option<String>,
    ) -> S3Result<Self> {
        let mut claims = Self { content_length, content_md5, trailing, ..Self::default() };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        for algorithm in ALGORITHMS {
            if let Some(value) = text(&format!("{HEADER_PREFIX}{algorithm}")) {
                claims.checksums.insert(algorithm.to_owned(), value.to_owned());
            }
        }
        for name in text("x-amz-trailer").unwrap_or_default().split(',').map(str::trim) {
            let name = name.to_ascii_lowercase();
            if let Some(algorithm) = name.strip_prefix(HEADER_PREFIX) {
                claims.trailer = Some(known(algorithm)?);
            }
        }
        claims.wanted = text("x-amz-sdk-checksum-algorithm").map(known).transpose()?;
        Ok(claims)
    }

    fn hasher(&self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        let all = self.checksums.keys().chain(&self.trailer).chain(&self.wanted);
        for algorithm in all {
            start(&mut hasher, algorithm);
        }
        hasher
    }
}

/// Makes the hasher compute this algorithm too.
pub(super) fn start(hasher: &mut ChecksumHasher, algorithm: &str) {
    match algorithm {
        "crc32" => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
        "crc32c" => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
        "crc64nvme" => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
        "sha1" => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
        "sha256" => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
        _ => {}
    }
}

fn known(algorithm: &str) -> S3Result<String> {
    let algorithm = algorithm.to_ascii_lowercase();
    if ALGORITHMS.contains(&algorithm.as_str()) {
        Ok(algorithm)
    } else {
        Err(s3_error!(InvalidRequest, "the checksum algorithm {algorithm:?} is not supported"))
    }
}

/// By algorithm, what of it is set.
pub(super) fn by_algorithm(checksum: Checksum) -> BTreeMap<String, String> {
    [
        ("crc32", checksum.checksum_crc32),
        ("crc32c", checksum.checksum_crc32c),
        ("crc64nvme", checksum.checksum_crc64nvme),
        ("sha1", checksum.checksum_sha1),
        ("sha256", checksum.checksum_sha256),
    ]
    .into_iter()
    .filter_map(|(algorithm, value)| Some((algorithm.to_owned(), value?)))
    .collect()
}

/// A body that arrived whole and is what its sender said.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) temp: Temp,
    /// MD5 in hex.
    pub(super) md5: String,
    /// Base64 by algorithm: what the sender claimed or asked for.
    pub(super) checksums: BTreeMap<String, String>,
    pub(super) size: u64,
}

struct Writer {
    store: FolderStore,
    temp: Option<Temp>,
    md5: Md5,
    hasher: ChecksumHasher,
    collected: Vec<Bytes>,
    size: u64,
}

impl Writer {
    fn write(&mut self) -> S3Result<()> {
        if self.temp.is_none() {
            self.temp = Some(self.store.temp().map_err(to_s3)?);
        }
        for bytes in std::mem::take(&mut self.collected) {
            self.md5.update(&bytes);
            self.hasher.update(&bytes);
            if let Some(temp) = &mut self.temp {
                temp.write(&bytes).map_err(to_s3)?;
            }
        }
        Ok(())
    }
}

/// Receives a body and then runs `then` with it, on the same thread that wrote its last bytes.
pub(super) async fn receive<T: Send + 'static>(
    store: FolderStore,
    body: Option<StreamingBlob>,
    claims: Claims,
    then: impl FnOnce(&FolderStore, Received) -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    let bytes_max = store.limits().object_bytes_max;
    let too_large =
        || s3_error!(EntityTooLarge, "the body is larger than {bytes_max} bytes, the limit of this store");
    if claims.content_length.is_some_and(|length| length as u64 > bytes_max) {
        return Err(too_large());
    }
    let mut writer = Writer {
        store,
        temp: None,
        md5: Md5::new(),
        hasher: claims.hasher(),
        collected: Vec::new(),
        size: 0,
    };
    let mut collected = 0;
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| broken_body(&*error))?;
            writer.size += bytes.len() as u64;
            if writer.size > bytes_max {
                return Err(too_large());
            }
            collected += bytes.len();
            writer.collected.push(bytes);
            if collected >= COLLECTED_BYTES_MAX {
                collected = 0;
                writer = blocking(move || writer.write().map(|()| writer)).await?;
            }
        }
    }
    blocking(move || {
        writer.write()?;
        let Writer { store, temp: Some(temp), md5, hasher, size, .. } = writer else {
            return Err(s3_error!(InternalError));
        };
        let digest = md5.finalize();
        let checksums = by_algorithm(hasher.finalize());
        claims.check(size, &digest, &checksums)?;
        let md5 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        then(&store, Received { temp, md5, checksums, size })
    })
    .await
}

impl Claims {
    fn check(&self, size: u64, md5: &[u8], computed: &BTreeMap<String, String>) -> S3Result<()> {
        // An aws-chunked body can end early without its reader noticing.
        if self.content_length.is_some_and(|length| length as u64 != size) {
            return Err(s3_error!(
                IncompleteBody,
                "the body has {size} bytes, not as many as it was said to have"
            ));
        }
        if let Some(expected) = &self.content_md5 {
            let Some(expected) = from_base64(expected).filter(|expected| expected.len() == 16) else {
                return Err(s3_error!(InvalidDigest, "Content-MD5 is not the Base64 of 16 bytes"));
            };
            if expected != md5 {
                return Err(s3_error!(
                    BadDigest,
                    "the Content-MD5 you specified did not match what we received"
                ));
            }
        }
        let mut claimed = self.checksums.clone();
        if let Some(algorithm) = &self.trailer {
            let name = format!("{HEADER_PREFIX}{algorithm}");
            let value = self.trailing.as_ref().and_then(|trailing| {
                trailing.read(|fields| Some(fields.get(&name)?.to_str().ok()?.trim().to_owned()))?
            });
            let Some(value) = value else {
                return Err(S3Error::with_message(
                    S3ErrorCode::InvalidRequest,
                    format!("the trailer {name} was announced and did not come"),
                ));
            };
            claimed.insert(algorithm.clone(), value);
        }
        for (algorithm, value) in claimed {
            if computed.get(&algorithm) != Some(&value) {
                return Err(S3Error::with_message(
                    S3ErrorCode::BadDigest,
                    format!(
                        "The {} you specified did not match the calculated checksum.",
                        algorithm.to_ascii_uppercase()
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// What is wrong with a body that ended in an error. The errors of s3s are private types: only their names tell.
fn broken_body(error: &(dyn std::error::Error + Send + Sync + 'static)) -> S3Error {
    let text = error.to_string();
    let has = |name: &str| text.contains(name);
    let code = if has("Sha256Mismatch") {
        S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
    } else if has("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else if has("FormatError") || has("TooLarge") || has("TooMany") {
        S3ErrorCode::InvalidRequest
    } else if has("no byte came") {
        S3ErrorCode::RequestTimeout
    } else {
        S3ErrorCode::IncompleteBody
    };
    let mut answer = S3Error::with_message(code, format!("the body could not be read: {text}"));
    if answer.status_code().is_none() {
        answer.set_status_code(http::StatusCode::BAD_REQUEST);
    }
    answer
}

pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    fn digit(byte: u8) -> Option<u32> {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    }
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, byte| Some((bits << 6) | digit(*byte)?))?;
        let bits = bits << (6 * (4 - group.len()));
        let [_, a, b, c] = bits.to_be_bytes();
        bytes.extend_from_slice(&[a, b, c][..group.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("Zm9vYg==", b"foob")]
        {
            assert_eq!(from_base64(text).as_deref(), Some(bytes));
        }
        for text in ["Z", "Zg", "Zg=", "=", "Z===", "Zm9v!A==", "Zg==Zg=="] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}
