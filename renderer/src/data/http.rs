//! A JSON API: GET, bounded in time, bytes, redirects and pages. Secrets of the environment go into header fields and
//! the URL; they are sent to the configured host alone and appear in no error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Map, Value};

use super::config::{HttpConfig, SourceConfig};
use super::error::{CellError, DataError, show};
use super::snapshot::Snapshot;

/// Redirects that are followed for one page: `http` → `https` → `www` → path, and one to spare.
const REDIRECTS_MAX: usize = 5;
/// Time for a connection, TLS included; within the source's `timeout`.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What servers see as our name.
const USER_AGENT: &str = concat!("bakehouse/", env!("CARGO_PKG_VERSION"));

pub(super) async fn get(
    source: &SourceConfig,
    config: &HttpConfig,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Snapshot, DataError> {
    let fetcher = Fetcher::new(source, config, env)?;
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let mut bytes_left = source.bytes_max;
    let mut url = fetcher.start.clone();
    let mut asked = BTreeSet::new();
    loop {
        asked.insert(url.clone());
        let body = fetcher.body(&url, bytes_left).await?;
        bytes_left -= body.len();
        let shown = fetcher.show(&url);
        let mut document: Value = serde_json::from_slice(&body).map_err(|error| DataError::Json {
            name: source.name.clone(),
            url: shown.clone(),
            error,
        })?;
        drop(body);
        let next = config.paging.as_ref().and_then(|paging| document.pointer(&paging.next).cloned());
        let Some(Value::Array(items)) = document.pointer_mut(&config.rows).map(Value::take) else {
            return Err(fetcher.no_rows(shown, &document));
        };
        if rows.len() + items.len() > source.rows_max {
            return Err(DataError::TooManyRows { name: source.name.clone(), rows_max: source.rows_max });
        }
        for item in items {
            match item {
                Value::Object(row) => rows.push(row),
                other => {
                    return Err(CellError {
                        name: source.name.clone(),
                        row: rows.len() + 1,
                        column: "(whole row)".into(),
                        value: show(&other),
                        problem: "must be an object".into(),
                    }
                    .into());
                }
            }
        }
        let Some(paging) = &config.paging else { break };
        let next = match next {
            None | Some(Value::Null) => break,
            Some(Value::String(link)) if link.is_empty() => break,
            Some(Value::String(link)) => link,
            Some(other) => {
                return Err(fetcher.bad_link(&url, &show(&other), "the link to the next page is not a text"));
            }
        };
        let Ok(following) = url.join(&next) else {
            return Err(fetcher.bad_link(
                &url,
                "an invalid address",
                "the link to the next page cannot be read",
            ));
        };
        let shown = fetcher.show(&following);
        if following.origin() != fetcher.start.origin() {
            return Err(fetcher.bad_link(&url, &shown, "the next page is on another host"));
        }
        if asked.contains(&following) {
            return Err(fetcher.bad_link(&url, &shown, "that page was read already"));
        }
        if asked.len() >= paging.pages_max {
            return Err(fetcher.bad_link(
                &url,
                &shown,
                &format!("it has more than {} pages (`pages_max`)", paging.pages_max),
            ));
        }
        url = following;
    }
    Ok(Snapshot::new(rows))
}

struct Fetcher<'a> {
    source: &'a SourceConfig,
    config: &'a HttpConfig,
    client: Client,
    start: Url,
    headers: HeaderMap,
    /// Value → the variable it came from.
    secrets: BTreeMap<String, String>,
}

impl<'a> Fetcher<'a> {
    fn new(
        source: &'a SourceConfig,
        config: &'a HttpConfig,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Self, DataError> {
        let wrong = |key: &str, problem: &str| DataError::Config {
            name: source.name.clone(),
            key: key.to_owned(),
            problem: problem.to_owned(),
        };
        let mut secrets = BTreeMap::new();
        let expanded = expand(&source.name, "url", &config.url, env, &mut secrets)?;
        let start: Url = expanded.parse().map_err(|_| wrong("url", "is not an address"))?;
        if !matches!(start.scheme(), "http" | "https") {
            return Err(wrong("url", "must begin with http:// or https://"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (field, value) in &config.headers {
            let key = format!("headers.{field}");
            let name: HeaderName =
                field.parse().map_err(|_| wrong(&key, "is not the name of a header field"))?;
            let value = expand(&source.name, &key, value, env, &mut secrets)?;
            let mut value: HeaderValue =
                value.parse().map_err(|_| wrong(&key, "has a value that no header field can hold"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls(&source.name)?)
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX.min(source.timeout))
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| DataError::System {
                name: source.name.clone(),
                problem: chain(error.without_url()),
            })?;
        Ok(Self { source, config, client, start, headers, secrets })
    }

    /// The body of a page, after redirects.
    async fn body(&self, url: &Url, bytes_max: usize) -> Result<Vec<u8>, DataError> {
        let mut url = url.clone();
        let asked = self.show(&url);
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client.get(url.clone());
            // Own fields (tokens, mostly) are for the configured host; a redirect does not carry them elsewhere.
            if url.origin() == self.start.origin() {
                request = request.headers(self.headers.clone());
            } else {
                request = request.header(ACCEPT, "application/json");
            }
            let response = request.send().await.map_err(|error| self.unreachable(&url, error))?;
            let status = response.status();
            if status == StatusCode::OK {
                return self.read(response, &url, bytes_max).await;
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let (true, Some(target)) = (is_redirect(status), target) else {
                return Err(DataError::Status {
                    name: self.source.name.clone(),
                    url: self.show(&url),
                    status: status.as_u16(),
                });
            };
            let Ok(following) = url.join(target) else {
                return Err(self.bad_link(&url, "an invalid address", "the redirect cannot be read"));
            };
            if following.scheme() != "https" && following.scheme() != self.start.scheme() {
                return Err(self.bad_link(&url, &self.show(&following), "a redirect may not leave https"));
            }
            url = following;
        }
        Err(DataError::Redirects { name: self.source.name.clone(), url: asked, redirects_max: REDIRECTS_MAX })
    }

    async fn read(&self, mut response: Response, url: &Url, bytes_max: usize) -> Result<Vec<u8>, DataError> {
        let too_large =
            || DataError::TooLarge { name: self.source.name.clone(), bytes_max: self.source.bytes_max };
        let announced = response.content_length().unwrap_or(0);
        if usize::try_from(announced).map_or(true, |announced| announced > bytes_max) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(url, error))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, url: &Url, error: reqwest::Error) -> DataError {
        DataError::Request {
            name: self.source.name.clone(),
            url: self.show(url),
            problem: self.redact(&chain(error.without_url())),
        }
    }

    fn bad_link(&self, url: &Url, target: &str, problem: &str) -> DataError {
        DataError::Link {
            name: self.source.name.clone(),
            url: self.show(url),
            target: self.redact(target),
            problem: problem.to_owned(),
        }
    }

    fn no_rows(&self, url: String, document: &Value) -> DataError {
        let found = match document.pointer(&self.config.rows) {
            None => "nothing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a text",
            Some(Value::Array(_)) => "an array",
            Some(Value::Object(_)) => "an object",
        };
        DataError::Rows { name: self.source.name.clone(), url, pointer: self.config.rows.clone(), found }
    }

    /// An address for people: without what may be secret (user, query, variables).
    fn show(&self, url: &Url) -> String {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Only addresses without a host have no place for a user, and those are refused.
        let _ = (url.set_username(""), url.set_password(None));
        self.redact(url.as_str())
    }

    fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, variable) in &self.secrets {
            text = text.replace(value.as_str(), &format!("${{{variable}}}"));
        }
        text
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// An error and all its reasons in one line; reqwest's own message alone says only "error sending request".
fn chain(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut reason = std::error::Error::source(&error);
    while let Some(error) = reason {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        reason = error.source();
    }
    text
}

/// `${NAME}` → the variable's value.
fn expand(
    name: &str,
    key: &str,
    text: &str,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
    secrets: &mut BTreeMap<String, String>,
) -> Result<String, DataError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((variable, after)) = after.split_once('}') else {
            return Err(DataError::Config {
                name: name.to_owned(),
                key: key.to_owned(),
                problem: "has a `${` without `}`".to_owned(),
            });
        };
        let value = env(variable).ok_or_else(|| DataError::Variable {
            name: name.to_owned(),
            key: key.to_owned(),
            variable: variable.to_owned(),
        })?;
        out.push_str(before);
        out.push_str(&value);
        if !value.is_empty() {
            secrets.insert(value, variable.to_owned());
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// TLS on ring, trusting what this machine trusts. Made once: reading the certificates takes milliseconds. Where there
/// are none (a bare container), plain http works all the same, and https says that it knows no issuer.
fn tls(name: &str) -> Result<rustls::ClientConfig, DataError> {
    static CONFIG: OnceLock<rustls::ClientConfig> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(reasons = ?found.errors, "no trusted certificates on this machine: https sources will fail");
    }
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| DataError::System { name: name.to_owned(), problem: format!("TLS: {error}") })?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| config).clone())
}
