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
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What servers see as our name.
pub(crate) const USER_AGENT: &str = concat!("bakehouse/", env!("CARGO_PKG_VERSION"));

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
        let items = match document.pointer_mut(&config.rows) {
            Some(Value::Array(items)) => std::mem::take(items),
            _ => return Err(fetcher.no_rows(shown, &document)),
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
        if asked.len() >= paging.pages_max() {
            return Err(fetcher.bad_link(
                &url,
                &shown,
                &format!("it has more than {} pages (`pages_max`)", paging.pages_max()),
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
            .tls_backend_preconfigured(
                tls().map_err(|problem| DataError::System { name: source.name.clone(), problem })?,
            )
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
        for (value, variable) in self.secrets.iter().filter(|(value, _)| !value.is_empty()) {
            text = text.replace(value.as_str(), &format!("${{{variable}}}"));
        }
        text
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// An error and all its reasons in one line; reqwest's own message alone says only "error sending request".
/// An error with its reasons.
pub(crate) fn chain(error: reqwest::Error) -> String {
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
            // Also as an address spells it: errors show addresses.
            if let Ok(mut url) = Url::parse("http://x/") {
                url.set_path(&value);
                secrets.insert(url.path().trim_start_matches('/').to_owned(), variable.to_owned());
            }
            secrets.insert(value.to_lowercase(), variable.to_owned());
            secrets.insert(value, variable.to_owned());
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// TLS on ring, trusting what this machine trusts. Made once: reading the certificates takes milliseconds. Where there
/// are none (a bare container), plain http works all the same, and https says that it knows no issuer.
/// TLS with the certificates that this machine trusts.
pub(crate) fn tls() -> Result<rustls::ClientConfig, String> {
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
            .map_err(|error| format!("TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| config).clone())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;
    use std::sync::Mutex;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::extract::Request;
    use axum::http::header;
    use axum::response::{IntoResponse, Redirect};
    use axum::routing::get;
    use futures_util::stream;
    use serde_json::json;

    use super::super::{DataError, Snapshot, SourceConfig, fetch, fetch_all};

    /// A server on loopback; it ends with the test's runtime.
    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn json_route(body: &str) -> axum::routing::MethodRouter {
        let body = body.to_owned();
        get(move || async move { ([(header::CONTENT_TYPE, "application/json")], body) })
    }

    fn source(url: &str, keys: &str) -> SourceConfig {
        toml::from_str(&format!("name = 'api'\ntype = 'http'\nurl = '{url}'\n{keys}")).unwrap()
    }

    fn env(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret".to_owned())
    }

    async fn ask(url: &str, keys: &str) -> Result<Snapshot, DataError> {
        fetch(&source(url, keys), Path::new("/nowhere"), &env).await
    }

    async fn error(url: &str, keys: &str) -> String {
        ask(url, keys).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn gives_rows_from_where_the_pointer_says() {
        let base = serve(
            Router::new()
                .route("/list", json_route(r#"[{"b":1,"a":null},{"b":2}]"#))
                .route("/deep", json_route(r#"{"data":{"items":[{"x":"ä"}]}}"#)),
        )
        .await;
        assert_eq!(
            ask(&format!("{base}/list"), "").await.unwrap().to_value(),
            json!([{"a":null,"b":1},{"b":2}])
        );
        let deep = ask(&format!("{base}/deep"), "rows = '/data/items'").await.unwrap();
        assert_eq!(deep.to_value(), json!([{"x":"ä"}]));
        assert_eq!(
            error(&format!("{base}/deep"), "rows = '/data'").await,
            format!("source `api`: {base}/deep: expected an array at `/data`, found an object")
        );
        assert!(error(&format!("{base}/deep"), "rows = '/none'").await.ends_with("found nothing"));
    }

    #[tokio::test]
    async fn sends_header_fields_with_secrets_to_the_configured_host_only() {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let record = |name: &'static str, seen: &std::sync::Arc<Mutex<Vec<String>>>| {
            let seen = seen.clone();
            move |request: &Request| {
                let token = request.headers().get("x-token").map(|value| value.to_str().unwrap().to_owned());
                seen.lock().unwrap().push(format!("{name} {token:?}"));
            }
        };
        let there = record("there", &seen);
        let elsewhere = serve(Router::new().route(
            "/",
            get(move |request: Request| async move {
                there(&request);
                "[]"
            }),
        ))
        .await;
        let here = record("here", &seen);
        let base = serve(Router::new().route(
            "/",
            get(move |request: Request| async move {
                here(&request);
                Redirect::temporary(&format!("{elsewhere}/"))
            }),
        ))
        .await;
        ask(&format!("{base}/?key=${{TOKEN}}"), "[headers]\nx-token = 'Bearer ${TOKEN}'").await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["here Some(\"Bearer s3cret\")", "there None"]);
    }

    #[tokio::test]
    async fn no_error_shows_a_secret() {
        let base = serve(Router::new().route("/s3cret/json", json_route("nope"))).await;
        for (url, keys) in [
            (format!("{base}/${{TOKEN}}/x?k=${{TOKEN}}"), "[headers]\nx = '${TOKEN}'"),
            (format!("{base}/${{TOKEN}}/json"), ""),
            ("http://user:s3cret@127.0.0.1:1/${TOKEN}".to_owned(), ""),
            (base.clone(), "[headers]\nx = \"${TOKEN}\\n\""),
        ] {
            let error = ask(&url, keys).await.unwrap_err();
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("s3cret"), "{text}");
        }
        let spelled = |_: &str| Some("s3 Crët/x".to_owned());
        let error =
            fetch(&source(&format!("{base}/a/${{T}}/"), ""), Path::new("/"), &spelled).await.unwrap_err();
        assert_eq!(error.to_string(), format!("source `api`: {base}/a/${{T}}/ answered 404"));
        let missing = ask(&base, "[headers]\nauthorization = 'Bearer ${OTHER}'").await.unwrap_err();
        assert_eq!(
            missing.to_string(),
            "source `api`: `headers.authorization` needs the environment variable OTHER, which is not set"
        );
        assert!(!missing.is_transient());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_fails_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let refused = ask(&gone, "").await.unwrap_err();
        assert!(refused.to_string().contains("refused"), "{refused}");
        assert!(refused.is_transient());
        // TLS to a server that speaks none: an error, whatever certificates this machine has.
        let base = serve(Router::new()).await;
        let plain = ask(&base.replace("http:", "https:"), "").await.unwrap_err();
        assert_eq!(plain.kind(), "unreachable", "{plain}");
        let base = serve(Router::new().route(
            "/500",
            get(|| async { (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "[]").into_response() }),
        ))
        .await;
        assert_eq!(error(&format!("{base}/500"), "").await, format!("source `api`: {base}/500 answered 500"));
        assert_eq!(error(&format!("{base}/404"), "").await, format!("source `api`: {base}/404 answered 404"));
    }

    #[tokio::test]
    async fn is_bounded_in_time_bytes_and_rows() {
        let rows: Vec<_> = (0..20).map(|id| json!({"id": id})).collect();
        let base = serve(
            Router::new()
                .route("/silent", get(|| async { std::future::pending::<&str>().await }))
                .route(
                    "/stuck",
                    get(|| async {
                        let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"[")) });
                        Body::from_stream(futures_util::StreamExt::chain(first, stream::pending()))
                    }),
                )
                .route(
                    "/endless",
                    get(|| async {
                        Body::from_stream(stream::repeat_with(|| {
                            Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096]))
                        }))
                    }),
                )
                .route("/announced", get(|| async { " ".repeat(5000) }))
                .route("/rows", json_route(&serde_json::Value::from(rows).to_string())),
        )
        .await;
        for path in ["silent", "stuck"] {
            assert_eq!(
                error(&format!("{base}/{path}"), "timeout = '60ms'").await,
                "source `api`: no complete answer within 60 ms"
            );
        }
        for path in ["endless", "announced"] {
            assert_eq!(
                error(&format!("{base}/{path}"), "bytes_max = 4999").await,
                "source `api`: more than 4999 bytes"
            );
        }
        assert_eq!(error(&format!("{base}/rows"), "rows_max = 19").await, "source `api`: more than 19 rows");
        assert_eq!(ask(&format!("{base}/rows"), "rows_max = 20").await.unwrap().len(), 20);
    }

    #[tokio::test]
    async fn what_is_no_json_or_no_row_is_named() {
        let base = serve(
            Router::new()
                .route("/html", get(|| async { "<html>" }))
                .route("/half", json_route(r#"[{"a":1}"#))
                .route("/deep", json_route(&"[".repeat(100_000)))
                .route("/latin1", get(|| async { Bytes::from_static(b"[{\"a\":\"\xe4\"}]") }))
                .route("/mixed", json_route(r#"[{"a":1},7]"#)),
        )
        .await;
        for path in ["html", "half", "deep", "latin1"] {
            let text = error(&format!("{base}/{path}"), "").await;
            assert!(
                text.starts_with(&format!("source `api`: {base}/{path} did not answer with JSON: ")),
                "{text}"
            );
        }
        assert_eq!(
            error(&format!("{base}/mixed"), "").await,
            "source `api`: row 2: column `(whole row)` must be an object (value: 7)"
        );
    }

    #[tokio::test]
    async fn redirects_are_followed_but_not_for_ever() {
        let base = serve(
            Router::new()
                .route("/a", get(|| async { Redirect::permanent("/b") }))
                .route("/b", get(|| async { Redirect::to("list") }))
                .route("/list", json_route("[{}]"))
                .route("/loop", get(|| async { Redirect::temporary("/loop") }))
                .route("/file", get(|| async { Redirect::temporary("file:///etc/passwd") }))
                .route("/nowhere", get(|| async { axum::http::StatusCode::FOUND })),
        )
        .await;
        assert_eq!(ask(&format!("{base}/a"), "").await.unwrap().len(), 1);
        assert_eq!(
            error(&format!("{base}/loop"), "").await,
            format!("source `api`: {base}/loop redirects more than 5 times")
        );
        assert!(error(&format!("{base}/file"), "").await.contains("leads to file:///etc/passwd"));
        assert!(error(&format!("{base}/nowhere"), "").await.ends_with("answered 302"));
    }

    #[tokio::test]
    async fn follows_pages_within_bounds_on_the_same_host() {
        let base = serve(
            Router::new()
                .route("/1", json_route(r#"{"rows":[{"id":1}],"next":"/2"}"#))
                .route("/2", json_route(r#"{"rows":[{"id":2}],"next":"3?x=1"}"#))
                .route("/3", json_route(r#"{"rows":[{"id":3}],"next":null}"#))
                .route("/round", json_route(r#"{"rows":[],"next":"/round"}"#))
                .route("/away", json_route(r#"{"rows":[],"next":"http://other.example/2"}"#))
                .route("/odd", json_route(r#"{"rows":[],"next":7}"#)),
        )
        .await;
        let keys = "rows = '/rows'\n[paging]\nnext = '/next'\n";
        let all = ask(&format!("{base}/1"), keys).await.unwrap();
        assert_eq!(all.to_value(), json!([{"id":1},{"id":2},{"id":3}]));
        let few = error(&format!("{base}/1"), &format!("{keys}pages_max = 2")).await;
        assert_eq!(
            few,
            format!("source `api`: {base}/2 leads to {base}/3: it has more than 2 pages (`pages_max`)")
        );
        assert!(error(&format!("{base}/round"), keys).await.ends_with("that page was read already"));
        assert!(error(&format!("{base}/away"), keys).await.ends_with("the next page is on another host"));
        assert!(error(&format!("{base}/odd"), keys).await.contains("is not a text"));
        // The limits are for all pages together.
        assert!(
            error(&format!("{base}/1"), &format!("rows_max = 2\n{keys}")).await.ends_with("more than 2 rows")
        );
        assert!(
            error(&format!("{base}/1"), &format!("bytes_max = 50\n{keys}"))
                .await
                .ends_with("more than 50 bytes")
        );
    }

    #[tokio::test]
    async fn one_that_fails_holds_no_other_back() {
        let base = serve(
            Router::new()
                .route("/good", json_route("[{}]"))
                .route("/silent", get(|| async { std::future::pending::<&str>().await })),
        )
        .await;
        let mut bad = source(&format!("{base}/silent"), "timeout = '60ms'");
        bad.name = "bad".into();
        let good = source(&format!("{base}/good"), "");
        let results = fetch_all([&bad, &good], Path::new("/nowhere"), &env).await;
        assert!(matches!(&results[0], (name, Err(DataError::Timeout { .. })) if name == "bad"));
        assert!(matches!(&results[1], (name, Ok(snapshot)) if name == "api" && snapshot.len() == 1));
    }

    #[tokio::test]
    async fn a_bad_row_fails_the_source() {
        let base =
            serve(Router::new().route("/", json_route(r#"[{"id":1,"t":"x"},{"id":2,"t":null}]"#))).await;
        assert_eq!(
            error(&base, "[page]\nslug = 'id'\ntitle = 't'").await,
            "source `api`: row 2: column `t` must not be null (value: null)"
        );
    }
}
