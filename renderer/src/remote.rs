//! What `load_data(url=…)` gets: answers of other servers, asked for while pages are made.
//!
//! The one place where templates reach beyond the sources. An answer is kept for a while, so that all pages of a
//! render see the same and a save does not ask again; everything else that is fetched is a declared source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use blake3::Hash;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};

use crate::data::http::{CONNECT_MAX, USER_AGENT, chain, tls};

/// For one request, redirects included: a page waits for it.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// How long an answer is good.
const ANSWER_KEPT: Duration = Duration::from_secs(60);
/// The largest answer, in bytes: it is held in memory.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How many answers are kept.
const ANSWERS_MAX: usize = 1_000;
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) url: String,
    pub(crate) post: bool,
    /// `name=value`, as templates write them.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Option<String>,
    pub(crate) content_type: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request is not one.
    Wrong(String),
    /// The server was not reached, or did not answer with success.
    Missing(String),
}

type Answer = Result<Bytes, Failure>;

/// An answer that is there or on its way, and when it was asked for.
struct Asked {
    at: Instant,
    answer: Arc<OnceLock<Answer>>,
}

/// Answers of other servers.
#[derive(Default)]
pub(crate) struct Remote {
    answers: Mutex<HashMap<Hash, Asked>>,
}

impl Remote {
    /// The body of the answer; who asks the same at the same time waits for the same.
    pub(crate) fn fetch(&self, request: &Request) -> Answer {
        let name = blake3::hash(format!("{request:?}").as_bytes());
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.retain(|_, asked| asked.at.elapsed() < ANSWER_KEPT);
            if answers.len() >= ANSWERS_MAX {
                answers.clear();
            }
            answers
                .entry(name)
                .or_insert_with(|| Asked { at: Instant::now(), answer: Arc::default() })
                .answer
                .clone()
        };
        answer.get_or_init(|| ask(request)).clone()
    }
}

/// Asks on a thread of its own: whoever renders may be within a runtime, where one must not wait.
fn ask(request: &Request) -> Answer {
    let broken =
        |problem: &dyn std::fmt::Display| Failure::Missing(format!("no request can be made: {problem}"));
    std::thread::scope(|scope| {
        let asking = std::thread::Builder::new().name("load_data".to_owned()).spawn_scoped(scope, || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| broken(&e))?;
            runtime.block_on(send(request))
        });
        match asking {
            Ok(asking) => asking.join().unwrap_or_else(|_| Err(broken(&"the client failed"))),
            Err(e) => Err(broken(&e)),
        }
    })
}

async fn send(request: &Request) -> Answer {
    let wrong = |problem: String| Failure::Wrong(problem);
    let url: Url = request.url.parse().map_err(|_| wrong(format!("`{}` is no address", request.url)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("`{url}` does not begin with http:// or https://")));
    }
    let mut headers = HeaderMap::new();
    for line in &request.headers {
        let parsed = line.split_once('=').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
        });
        let Some((name, mut value)) = parsed else {
            // The value may be a secret.
            let name = line.split('=').next().unwrap_or_default();
            return Err(wrong(format!("the header field `{name}` is not written `name=value`")));
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    if let Some(kind) = &request.content_type {
        let value = kind.parse().map_err(|_| wrong(format!("`{kind}` is no media type")))?;
        headers.insert(CONTENT_TYPE, value);
    }
    let missing =
        |e: reqwest::Error| Failure::Missing(format!("`{url}` cannot be read: {}", chain(e.without_url())));
    let client = Client::builder()
        .tls_backend_preconfigured(tls().map_err(Failure::Missing)?)
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .connect_timeout(CONNECT_MAX)
        .timeout(REQUEST_MAX)
        .build()
        .map_err(missing)?;
    let method = if request.post { Method::POST } else { Method::GET };
    let mut asking = client.request(method, url.clone()).headers(headers);
    if let Some(body) = &request.body {
        asking = asking.body(body.clone());
    }
    let mut response = asking.send().await.map_err(missing)?;
    if !response.status().is_success() {
        return Err(Failure::Missing(format!("`{url}` answers {}", response.status().as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(missing)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Failure::Missing(format!("`{url}` answers with more than {BODY_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Bytes::from(body))
}
