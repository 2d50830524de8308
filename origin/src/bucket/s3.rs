//! The client: [`Bucket`] over any S3-compatible store, through aws-sdk-s3.
//!
//! Reads, plain writes and deletions are repeated by the SDK, a bounded number of times. Conditional writes are sent once: a second
//! attempt that is refused would hide that the first had been carried out. What became of such a write is for the
//! caller to find out, by reading.

use std::error::Error as StdError;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use release::bucket::{Bucket, BucketError, Listing, Object, Written};

use crate::http_client::Http;

/// For one attempt, beside the time that its bytes may take.
const ATTEMPT_MS_MAX: u64 = 10_000;
/// For all attempts of one call, likewise.
const CALL_MS_MAX: u64 = 30_000;
/// The slowest line on which a large object still arrives: 256 KiB in a second.
const BYTES_PER_MS_MIN: u64 = 262;
/// Attempts of what may be repeated.
const ATTEMPTS_MAX: u32 = 3;
/// Where neither the configuration nor the environment names a region: many stores that are not AWS have none.
const REGION_DEFAULT: &str = "us-east-1";

/// Which store, and how to speak with it.
#[derive(Clone, Default)]
pub struct Config {
    /// Where the store answers, as a URL; none: AWS in that region, or what the standard variables and profile say.
    pub endpoint: Option<String>,
    /// None: what the standard variables, the profile or the machine say, or else `us-east-1`.
    pub region: Option<String>,
    /// The bucket's name.
    pub bucket: String,
    /// None: the standard chain: variables, profiles, web identity, container, instance.
    pub credentials: Option<super::embedded::Credentials>,
    /// Whether the bucket is in the path (`http://host/bucket/key`) rather than in the host name. None: it is where an
    /// endpoint is given, as stores that are not AWS expect.
    pub path_style: Option<bool>,
    /// Whether to send and verify the SDK's own checksums always. Several stores refuse them, and our digests guard
    /// the content, so the default is only where S3 insists.
    pub checksums: Checksums,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("path_style", &self.path_style)
            .field("checksums", &self.checksums)
            .finish_non_exhaustive()
    }
}

/// When the SDK adds and verifies checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// Only where an operation requires one.
    #[default]
    WhenRequired,
    /// Wherever an operation can carry one.
    WhenSupported,
}

/// A bucket of an S3-compatible store. A clone shares the connections.
#[derive(Clone)]
pub struct S3Bucket {
    client: Client,
    http: Http,
    bucket: Arc<str>,
    /// Where the store is, for messages.
    place: Arc<str>,
}

impl std::fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Bucket").field("place", &self.place).finish_non_exhaustive()
    }
}

impl S3Bucket {
    /// Makes a client. Nothing is sent to the store yet; the standard chain may ask the machine for its region.
    ///
    /// # Errors
    /// Where a store behind TLS is meant and the machine trusts no certificate.
    pub async fn new(config: Config) -> io::Result<Self> {
        // The certificates of a machine take some time to load: a plain endpoint with its own credentials needs none.
        let is_plain = config.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let http = Http::new(!(is_plain && config.credentials.is_some()))?;
        let timeouts = timeouts(0);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX));
        if let Some(keys) = &config.credentials {
            loader = loader.credentials_provider(aws_credential_types::Credentials::new(
                keys.access_key_id.clone(),
                keys.secret_access_key.clone(),
                None,
                None,
                "bakehouse",
            ));
            // With keys and endpoint given, the region has no other use than to be signed.
            let region = config.region.clone().unwrap_or_else(|| REGION_DEFAULT.to_owned());
            loader = loader.region(aws_config::Region::new(region));
        } else if let Some(region) = &config.region {
            loader = loader.region(aws_config::Region::new(region.clone()));
        }
        if let Some(endpoint) = &config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let shared = loader.load().await;
        let endpoint = shared.endpoint_url().map(str::to_owned);
        let mut builder = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(config.path_style.unwrap_or(endpoint.is_some()));
        if shared.region().is_none() {
            builder = builder.region(aws_sdk_s3::config::Region::new(REGION_DEFAULT));
        }
        builder = match config.checksums {
            Checksums::WhenRequired => builder
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired),
            Checksums::WhenSupported => builder
                .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
                .response_checksum_validation(ResponseChecksumValidation::WhenSupported),
        };
        let place = match endpoint {
            Some(endpoint) => format!("{}/{}", endpoint.trim_end_matches('/'), config.bucket),
            None => format!("s3://{}", config.bucket),
        };
        let client = Client::from_conf(builder.build());
        Ok(Self { client, http, bucket: config.bucket.into(), place: place.into() })
    }

    /// Where the bucket is, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Reads with a request that is signed now and expired long ago. `true`: the store refused it.
    ///
    /// # Errors
    /// Where the store gave no answer.
    pub(super) async fn refuses_expired(&self, key: &str, now: SystemTime) -> Result<bool, BucketError> {
        const OP: &str = "an expired read";
        count(OP);
        let expired = PresigningConfig::builder()
            .start_time(now - Duration::from_secs(3600))
            .expires_in(Duration::from_secs(60))
            .build()
            .map_err(|error| unknown(OP, key, error))?;
        let request = self
            .client
            .get_object()
            .bucket(&*self.bucket)
            .key(key)
            .presigned(expired)
            .await
            .map_err(|error| classify(OP, key, error))?;
        let status = send(&self.http, &request).await.map_err(|error| unknown(OP, key, error))?;
        match status.as_u16() {
            200..=299 => Ok(false),
            400..=499 => Ok(true),
            status => Err(unknown(OP, key, format!("status {status}"))),
        }
    }

    async fn write(
        &self,
        op: &'static str,
        key: &str,
        bytes: Bytes,
        condition: Option<Condition<'_>>,
    ) -> Result<Written, BucketError> {
        count(op);
        let mut once = aws_sdk_s3::config::Builder::default().timeout_config(timeouts(bytes.len() as u64));
        let mut request =
            self.client.put_object().bucket(&*self.bucket).key(key).body(ByteStream::from(bytes));
        match &condition {
            None => {}
            Some(Condition::Absent) => request = request.if_none_match("*"),
            Some(Condition::Tag(tag)) => request = request.if_match(*tag),
        }
        if condition.is_some() {
            once = once.retry_config(RetryConfig::disabled());
        }
        match request.customize().config_override(once).send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                let is_gone =
                    matches!(condition, Some(Condition::Tag(_))) && error.code() == Some("NoSuchKey");
                match (condition, status) {
                    (Some(_), Some(409 | 412)) => Ok(Written::Refused),
                    _ if is_gone => Ok(Written::Refused),
                    _ => Err(classify(op, key, error)),
                }
            }
        }
    }

    async fn read(
        &self,
        op: &'static str,
        key: &str,
        range: Option<&Range<u64>>,
        bytes_max: u64,
    ) -> Result<Option<Object>, BucketError> {
        count(op);
        let mut request = self.client.get_object().bucket(&*self.bucket).key(key);
        if let Some(range) = range {
            request = request.range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                return Ok(None);
            }
            Err(error) => return Err(classify(op, key, error)),
        };
        let too_large = || BucketError::TooLarge { key: key.to_owned(), max: bytes_max };
        let length = response.content_length().and_then(|length| u64::try_from(length).ok());
        if length.is_some_and(|length| length > bytes_max) {
            return Err(too_large());
        }
        let tag = response.e_tag().unwrap_or_default().to_owned();
        let mut body = response.body;
        let deadline = Duration::from_millis(CALL_MS_MAX + length.unwrap_or(bytes_max) / BYTES_PER_MS_MIN);
        let whole = async {
            let mut bytes = BytesMut::new();
            while let Some(piece) = body.try_next().await.map_err(|error| unknown(op, key, error))? {
                if bytes.len() as u64 + piece.len() as u64 > bytes_max {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.freeze())
        };
        let bytes =
            tokio::time::timeout(deadline, whole).await.map_err(|error| unknown(op, key, error))??;
        if length.is_some_and(|length| length != bytes.len() as u64) {
            return Err(unknown(op, key, "the answer ended early"));
        }
        Ok(Some(Object { bytes, tag }))
    }
}

enum Condition<'a> {
    Absent,
    Tag(&'a str),
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Object>, BucketError> {
        self.read("get", key, None, bytes_max).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BucketError> {
        let length = range.end.saturating_sub(range.start);
        if length == 0 {
            return Err(unknown("get_range", key, "an empty range"));
        }
        match self.read("get_range", key, Some(&range), length).await {
            Ok(Some(object)) if object.bytes.len() as u64 == length => Ok(Some(object.bytes)),
            Ok(Some(object)) => {
                let got = object.bytes.len();
                Err(unknown("get_range", key, format!("{got} bytes came where {length} were asked for")))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.write("put", key, bytes, None).await.map(|_| ())
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<Written, BucketError> {
        self.write("create", key, bytes, Some(Condition::Absent)).await
    }

    async fn replace(&self, key: &str, bytes: Bytes, tag: &str) -> Result<Written, BucketError> {
        self.write("replace", key, bytes, Some(Condition::Tag(tag))).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Listing, BucketError> {
        count("list");
        let response = self
            .client
            .list_objects_v2()
            .bucket(&*self.bucket)
            .prefix(prefix)
            .set_start_after(after.map(str::to_owned))
            .max_keys(max.clamp(1, 1000) as i32)
            .send()
            .await
            .map_err(|error| classify("list", prefix, error))?;
        let more = response.is_truncated().unwrap_or(false);
        let keys =
            response.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
        Ok(Listing { keys, more })
    }

    async fn delete(&self, key: &str) -> Result<(), BucketError> {
        count("delete");
        let request = self.client.delete_object().bucket(&*self.bucket).key(key);
        request.send().await.map(|_| ()).map_err(|error| classify("delete", key, error))
    }
}

fn count(op: &'static str) {
    metrics::counter!("bakehouse_bucket_requests_total", "op" => op).increment(1);
}

fn timeouts(bytes: u64) -> TimeoutConfig {
    let transfer = bytes / BYTES_PER_MS_MIN;
    TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(ATTEMPT_MS_MAX + transfer))
        .operation_timeout(Duration::from_millis(CALL_MS_MAX + transfer * u64::from(ATTEMPTS_MAX)))
        .build()
}

/// Sends a presigned request as anyone could who was given it.
async fn send(
    http: &Http,
    request: &PresignedRequest,
) -> Result<StatusCode, Box<dyn StdError + Send + Sync>> {
    let mut plain = http::Request::builder().method(request.method()).uri(request.uri());
    for (name, value) in request.headers() {
        plain = plain.header(name, value);
    }
    let exchange = http.send(plain.body(SdkBody::empty())?);
    let response = tokio::time::timeout(Duration::from_millis(ATTEMPT_MS_MAX), exchange).await??;
    Ok(response.status())
}

fn unknown(op: &'static str, key: &str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> BucketError {
    BucketError::Unknown { op, key: key.to_owned(), source: source.into() }
}

/// Whether the store has refused, so that nothing was done, or what was done is not known.
fn classify<E>(op: &'static str, key: &str, error: SdkError<E, HttpResponse>) -> BucketError
where
    E: StdError + Send + Sync + ProvideErrorMetadata + 'static,
{
    let denied = |reason: String| BucketError::Denied { op, key: key.to_owned(), reason };
    if let Some(error) = no_credentials(&error) {
        return denied(format!("no credentials: {}", in_words(error)));
    }
    match &error {
        SdkError::ConstructionFailure(_) => denied(in_words(&error)),
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or("an error without a code");
            let message = answer.err().message().unwrap_or_default();
            match status {
                // 408: the store had not received it all; 429: it wants to be asked more slowly.
                400..=407 | 409..=428 | 430..=499 | 501 => denied(format!("{status} {code}: {message}")),
                507 => BucketError::Full {
                    op,
                    key: key.to_owned(),
                    reason: format!("{status} {code}: {message}"),
                },
                _ => unknown(op, key, format!("{status} {code}: {message}")),
            }
        }
        _ => unknown(op, key, in_words(&error)),
    }
}

/// An error with its causes, in the words that they have for people.
fn in_words(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&(dyn StdError + 'static)| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn no_credentials<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
