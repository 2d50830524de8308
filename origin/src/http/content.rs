//! Content of releases, for edges and for browsers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use release::answer::{self, RELEASE_FIELD, Resolution};
use release::entry::CHUNK_BYTES;
use release::reader::{ReadError, Reader};
use release::{Coding, Content, ReleaseId, url};

use super::access::{Role, role};
use super::condition::{Verdict, evaluate, joined, range_applies};
use super::range::{Asked, read};
use crate::site::ServedSite;
use crate::{Error, Origin};

/// Seconds after which to ask again for what is not known yet.
const RETRY_AFTER: &str = "1";

/// Answers a request for content.
pub(super) async fn serve(origin: Arc<Origin>, request: Request) -> Response {
    let is_get = match *request.method() {
        Method::GET => true,
        Method::HEAD => false,
        Method::OPTIONS => return with_allow(plain(StatusCode::NO_CONTENT, "")),
        _ => {
            return with_allow(plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are answered here\n",
            ));
        }
    };
    // A body is not read, and could not be shared while this waits.
    let (parts, _) = request.into_parts();
    match answer(&origin, &parts, is_get).await {
        Ok(response) | Err(response) => response,
    }
}

async fn answer(origin: &Origin, request: &Parts, is_get: bool) -> Result<Response, Response> {
    let headers = &request.headers;
    let named = headers.get(RELEASE_FIELD);
    let trusted = role(origin.config(), headers).is_some_and(|r| r >= Role::Edge);
    if !trusted && (named.is_some() || !origin.config().is_public) {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a token is wanted here\n");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Err(response);
    }
    let release = match named.map(|v| v.to_str().unwrap_or_default().parse::<ReleaseId>()) {
        None => None,
        Some(Ok(release)) => Some(release),
        Some(Err(error)) => return Err(plain(StatusCode::BAD_REQUEST, format!("{error}\n"))),
    };
    let host = request.uri.host().or_else(|| headers.get(header::HOST).and_then(|h| h.to_str().ok()));
    let Some(site) = origin.site_of_host(host.unwrap_or_default()) else {
        // An origin that has just started may not have seen the site yet.
        return Err(match origin.is_ready() {
            true => plain(StatusCode::NOT_FOUND, "no site answers to this host\n"),
            false => retry(plain(StatusCode::SERVICE_UNAVAILABLE, "no site is known yet\n")),
        });
    };
    let roots = site.roots(release.as_ref()).await.map_err(|e| failed(&e))?;
    let Some(roots) = roots else {
        origin.wake();
        let text = match release {
            Some(release) => format!("release {release} is not known here yet\n"),
            None => "nothing has been published yet\n".to_owned(),
        };
        return Err(retry(plain(StatusCode::SERVICE_UNAVAILABLE, text)));
    };
    let reader = site.reader();
    let resolution = match url::site_path(request.uri.path()) {
        Some(path) => answer::resolve(reader, roots.manifest, roots.assets, &path).await,
        // No site has such a path.
        None => reader.entry(roots.manifest, "404.html").await.map(Resolution::Missing),
    };
    let resolution = resolution.map_err(|e| failed(&e.into()))?;
    let accept = joined(headers, &header::ACCEPT_ENCODING);
    let head = resolution.head(accept.as_deref(), request.uri.query());
    let content = resolution.entry().map(|e| &e.content);
    let Some((content, coding)) = content.zip(head.coding.as_ref()) else {
        return Ok(respond(head.status, &head.fields, Body::empty()));
    };
    let mut fields = head.fields.clone();
    // Conditions and ranges are for answers that would be 200 without them (RFC 9110 §13.2.1, §14.2).
    if head.status == 200 {
        set(&mut fields, "accept-ranges", "bytes".into());
        let etag = coding.etag();
        match evaluate(headers, &etag) {
            Verdict::Go => {}
            Verdict::NotModified => {
                fields.retain(|(name, _)| in_304(name));
                return Ok(respond(304, &fields, Body::empty()));
            }
            Verdict::Failed => {
                return Ok(plain(StatusCode::PRECONDITION_FAILED, "the condition does not hold\n"));
            }
        }
        let asked = headers.get(header::RANGE).and_then(|r| r.to_str().ok());
        if is_get && asked.is_some() && range_applies(headers, &etag) {
            match read(asked, coding.length) {
                Asked::Whole => {}
                Asked::Part(part) => {
                    let mut fields = head.fields.clone();
                    set(&mut fields, "content-length", (part.end - part.start).to_string());
                    let (first, last) = (part.start, part.end - 1);
                    set(&mut fields, "content-range", format!("bytes {first}-{last}/{}", coding.length));
                    let body = body(&site, content, coding, part).await?;
                    return Ok(respond(206, &fields, body));
                }
                Asked::Unsatisfiable => {
                    let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "there are no such bytes\n");
                    let range = HeaderValue::from_str(&format!("bytes */{}", coding.length));
                    range.ok().map(|r| response.headers_mut().insert(header::CONTENT_RANGE, r));
                    return Ok(response);
                }
            }
        }
    }
    let body = if is_get { body(&site, content, coding, 0..coding.length).await? } else { Body::empty() };
    Ok(respond(head.status, &fields, body))
}

/// What a 304 repeats: all that may have changed while the content stayed what it was, so that whoever holds a copy
/// has the fields of this release (RFC 9110 §15.4.5, RFC 9111 §3.2).
fn in_304(name: &str) -> bool {
    !matches!(name, "content-length" | answer::CHUNKS_FIELD)
}

fn set(fields: &mut Vec<(String, String)>, name: &str, value: String) {
    fields.retain(|(n, _)| n != name);
    fields.push((name.to_owned(), value));
}

/// Some bytes of a coding. The first piece is verified before this returns, so that content which is
/// damaged there is never begun; pieces of large content after that as they are sent.
async fn body(
    site: &Arc<ServedSite>,
    content: &Content,
    coding: &Coding,
    range: std::ops::Range<u64>,
) -> Result<Body, Response> {
    if range.is_empty() {
        return Ok(Body::empty());
    }
    // Content without pieces of its own is one piece.
    let size = if coding.chunks.is_empty() { u64::MAX } else { CHUNK_BYTES };
    let (first, last) = (range.start / size, (range.end - 1) / size);
    let slice = move |index: u64, bytes: &Bytes| {
        let at = index.saturating_mul(size);
        let (from, to) = (range.start.saturating_sub(at), (range.end - at).min(bytes.len() as u64));
        bytes.slice(from as usize..to as usize)
    };
    let bytes = piece(site.reader(), content, coding, first).await.map_err(|e| failed(&e.into()))?;
    let begin = slice(first, &bytes);
    if first == last {
        return Ok(Body::from(begin));
    }
    let (site, content, coding) = (Arc::clone(site), content.clone(), coding.clone());
    let source = Arc::new((site, content, coding));
    let rest = stream::iter(first + 1..=last).then(move |index| {
        let (source, slice) = (Arc::clone(&source), slice);
        async move {
            let (site, content, coding) = &*source;
            let bytes = piece(site.reader(), content, coding, index).await.map_err(|error| {
                // The connection is cut: less than was promised is never taken for the whole.
                tracing::error!(%error, "content could not be sent to its end");
                std::io::Error::other(error.to_string())
            })?;
            Ok::<_, std::io::Error>(slice(index, &bytes))
        }
    });
    Ok(Body::from_stream(stream::iter([Ok(begin)]).chain(rest)))
}

/// Reads a piece, and once more where its bytes are wrong: they may have been damaged on the way.
async fn piece(reader: &Reader, content: &Content, coding: &Coding, index: u64) -> Result<Bytes, ReadError> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let error = match reader.chunk(content, coding, index).await {
        Err(error @ ReadError::Corrupted { .. }) => error,
        other => return other,
    };
    metrics::counter!("bakehouse_digest_mismatches_total", "at" => "origin").increment(1);
    tracing::error!(%error, "the bucket gave other bytes than were asked for; they are not served, and read again");
    reader.chunk(content, coding, index).await
}

fn failed(error: &Error) -> Response {
    let status = match error {
        Error::Bucket(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    tracing::error!(%error, hint = error.hint(), "content cannot be served");
    metrics::counter!("bakehouse_content_failures_total").increment(1);
    // Names of objects are no concern of the public.
    let response = plain(status, "the content cannot be had at the moment\n");
    if status == StatusCode::SERVICE_UNAVAILABLE { retry(response) } else { response }
}

fn retry(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    response
}

fn with_allow(mut response: Response) -> Response {
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// A short text that no cache keeps.
fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status != StatusCode::NO_CONTENT {
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    response
}

fn respond(status: u16, fields: &[(String, String)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields {
        // Publishing checks both; a manifest of another program's might hold anything.
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => tracing::warn!(name, "a field of the manifest cannot be sent"),
        }
    }
    *response.headers_mut() = headers;
    response
}
