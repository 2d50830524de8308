//! Publishes that an origin hands to a renderer, through the bucket: neither knows the other.
//!
//! A job is up to three objects: `request`, which the origin writes; `claim`, which the renderer that
//! takes it creates (of several, one succeeds); and `result`. The origin removes all three when it
//! has the result, or waits no more.

use std::sync::Arc;
use std::time::Duration;

use origin::publish::{Publisher, SourceFile};
use release::bucket::{Bucket, BucketError, OBJECT_BYTES_MAX, Written};
use release::keys::Site;
use release::wire::{Failure, PublishRequest, Published};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::data_folder::random_hex;
use crate::worker::Handle;

/// How often a renderer looks for requests, and an origin for a result.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an origin waits for a result.
const RESULT: Duration = Duration::from_secs(10 * 60);
/// Requests that a renderer looks at in one go.
const LISTED_MAX: usize = 1_000;

/// Jobs in a bucket.
pub struct Jobs {
    bucket: Arc<dyn Bucket>,
}

/// What a renderer is asked.
#[derive(Serialize, Deserialize)]
struct Request {
    version: u32,
    request: PublishRequest,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Published(Box<Published>),
    Failed(Failure),
}

impl Jobs {
    /// The jobs of a bucket.
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        Self { bucket }
    }

    async fn ask(&self, site: &Site, request: PublishRequest) -> Result<Answer, BucketError> {
        let id = random_hex(16);
        let bytes = encode(&Request { version: 1, request });
        self.bucket.put(&site.job(&id, "request"), bytes).await?;
        let deadline = Instant::now() + RESULT;
        let answer = loop {
            if let Some(answer) = self.read(&site.job(&id, "result")).await? {
                break answer;
            }
            if Instant::now() >= deadline {
                let taken = self.bucket.get(&site.job(&id, "claim"), OBJECT_BYTES_MAX).await?.is_some();
                break Answer::Failed(Failure {
                    error: match taken {
                        true => "the renderer that took the publish has not answered".into(),
                        false => "no renderer has taken the publish".into(),
                    },
                    hint: Some(format!("start `bake renderer --site {site}`, or look at its log")),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        for part in ["request", "claim", "result"] {
            self.bucket.delete(&site.job(&id, part)).await?;
        }
        Ok(answer)
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, BucketError> {
        let Some(object) = self.bucket.get(key, OBJECT_BYTES_MAX).await? else { return Ok(None) };
        match serde_json::from_slice(&object.bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let reason = format!("it is damaged: {error}");
                Err(BucketError::Denied { op: "get", key: key.to_owned(), reason })
            }
        }
    }

    /// Takes requests for a site, one after another, for ever.
    pub async fn serve(&self, site: &Site, publisher: &Publisher, handle: &Handle) {
        let mut was_failing = false;
        loop {
            match self.take(site, publisher, handle).await {
                Ok(()) => was_failing = false,
                Err(error) if was_failing => tracing::debug!(%error, "jobs still cannot be looked for"),
                Err(error) => {
                    tracing::warn!(%error, "jobs cannot be looked for; trying again");
                    was_failing = true;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn take(&self, site: &Site, publisher: &Publisher, handle: &Handle) -> Result<(), BucketError> {
        let prefix = site.jobs_prefix();
        let listing = self.bucket.list(&prefix, None, LISTED_MAX).await?;
        let part = |key: &String, part: &str| {
            key.strip_prefix(&prefix)?.strip_suffix(part)?.strip_suffix('/').map(str::to_owned)
        };
        let claimed: Vec<String> = listing.keys.iter().filter_map(|k| part(k, "claim")).collect();
        for id in listing.keys.iter().filter_map(|k| part(k, "request")) {
            if claimed.contains(&id) {
                continue;
            }
            let claim = self.bucket.create(&site.job(&id, "claim"), bytes::Bytes::new()).await?;
            if claim == Written::Refused {
                continue;
            }
            let answer = match self.read::<Request>(&site.job(&id, "request")).await? {
                Some(Request { version: 1, request }) => publish(publisher, handle, request).await,
                Some(Request { version, .. }) => Answer::Failed(Failure {
                    error: format!("the request has version {version}, and this renderer reads version 1"),
                    hint: Some("run the same version everywhere".into()),
                }),
                // Whoever asked waits no more.
                None => continue,
            };
            self.bucket.put(&site.job(&id, "result"), encode(&answer)).await?;
        }
        Ok(())
    }
}

async fn publish(publisher: &Publisher, handle: &Handle, request: PublishRequest) -> Answer {
    let sources = match &request.sources {
        Some(lines) => match publisher.received(lines).await {
            Ok(sources) => Some(sources),
            Err(error) => return Answer::Failed(Failure::from(&error)),
        },
        None => None,
    };
    match handle.publish(request, sources).await {
        Ok(published) => Answer::Published(Box::new(published)),
        Err(failure) => Answer::Failed(failure),
    }
}

fn encode(value: &impl Serialize) -> bytes::Bytes {
    // Strings, numbers and lists only: nothing in it can fail to be JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[async_trait::async_trait]
impl origin::Render for Jobs {
    async fn publish(
        &self,
        site: &Site,
        request: PublishRequest,
        _: Option<Vec<SourceFile>>,
    ) -> Result<Published, Failure> {
        match self.ask(site, request).await {
            Ok(Answer::Published(published)) => Ok(*published),
            Ok(Answer::Failed(failure)) => Err(failure),
            Err(error) => Err(Failure {
                error: format!("the publish could not be handed to a renderer: {error}"),
                hint: Some("see whether the bucket can be reached".into()),
            }),
        }
    }
}
