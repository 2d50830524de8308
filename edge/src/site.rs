//! Release content on its way in: from an origin, or from the bucket by manifest where no origin can answer. Both name
//! the same release, so both give the same bytes; each is checked against its digest before it is used.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use release::{Digest, answer, entry::CHUNK_BYTES, journal::Active, url};

use crate::{
    Edge,
    body::{Checked, Pieces, Rescue, Source},
    error::EdgeError,
    journal::SiteHandle,
    metrics::corrupted,
    policy::{forward, validate::Tag},
    reply::Reply,
    respond::usize_of,
    upstream::{Answer, Ask},
};

/// How long the bucket may take to the first verified byte.
const BUCKET_DEADLINE: Duration = Duration::from_secs(10);
/// How long an origin may take to the head of a response, with others or a bucket behind it.
const ORIGIN_FIRST_BYTE: Duration = Duration::from_secs(5);

impl Edge {
    /// Fetches what a site path comes to in the release in force. `tags`: bodies at hand. `ask`: what an origin is told beside.
    pub(crate) async fn fetch_of_site(
        &self,
        site: &Arc<SiteHandle>,
        path: &str,
        accept_encoding: Option<&str>,
        host: &str,
        tags: &[HeaderValue],
        ask: Ask,
    ) -> Result<Reply, EdgeError> {
        let active = site.active().ok_or(EdgeError::Unpublished)?;
        let mut failed = EdgeError::NoUpstream;
        if !self.upstreams.is_empty() {
            let ask = self.ask_of_origin(&active, path, accept_encoding, host, tags, ask);
            // A second try is for content that did not match; the order of origins has turned by then.
            for _ in 0..2 {
                let answer = self
                    .upstreams
                    .send_where(&ask, site.reader.is_some(), Some(ORIGIN_FIRST_BYTE), |answer| {
                        !is_answer(answer.status)
                    })
                    .await;
                match answer {
                    Ok(answer) if is_answer(answer.status) => {
                        match self.verified(site, &active, path, accept_encoding, answer).await {
                            Ok(reply) => return Ok(reply),
                            Err(error) => failed = error,
                        }
                    }
                    Ok(answer) => {
                        failed = EdgeError::NoOrigin {
                            last: format!("{} said {}", answer.upstream, answer.status),
                        };
                        break;
                    }
                    Err(error) => {
                        failed = error;
                        break;
                    }
                }
            }
        }
        if site.reader.is_none() {
            return Err(failed);
        }
        metrics::counter!("bakehouse_edge_bucket_reads_total").increment(1);
        match tokio::time::timeout(
            BUCKET_DEADLINE,
            self.fetch_from_bucket(site, &active, path, accept_encoding, tags),
        )
        .await
        {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                if let EdgeError::Bucket(release::reader::ReadError::Corrupted { .. }) = &error {
                    corrupted(path, "the bucket");
                }
                tracing::warn!(%error, origins = %failed, path, "neither origins nor the bucket could answer");
                Err(error)
            }
            Err(_) => Err(EdgeError::FirstByte {
                upstream: "the bucket".into(),
                ms: u64::try_from(BUCKET_DEADLINE.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    fn ask_of_origin(
        &self,
        active: &Active,
        path: &str,
        accept_encoding: Option<&str>,
        host: &str,
        tags: &[HeaderValue],
        mut ask: Ask,
    ) -> Ask {
        let headers = &mut ask.headers;
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(header::HOST, host);
        }
        if let Some(bearer) = self.bearer() {
            headers.insert(header::AUTHORIZATION, bearer);
        }
        if let Ok(release) = HeaderValue::from_str(active.release.as_str()) {
            headers.insert(HeaderName::from_static(answer::RELEASE_FIELD), release);
        }
        if let Some(Ok(accept)) = accept_encoding.map(HeaderValue::from_str) {
            headers.insert(header::ACCEPT_ENCODING, accept);
        }
        let joined = tags.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
        if let (false, Ok(value)) = (joined.is_empty(), HeaderValue::from_bytes(&joined)) {
            headers.insert(header::IF_NONE_MATCH, value);
        }
        ask.target = url::escape(path);
        ask
    }

    /// Takes an origin's answer, its content checked: up to a mebibyte before the first byte is used, above that piece
    /// by piece. Where the digests of the pieces cannot be had, the last part is held back until the whole is checked.
    async fn verified(
        &self,
        site: &SiteHandle,
        active: &Active,
        path: &str,
        accept_encoding: Option<&str>,
        answer: Answer,
    ) -> Result<Reply, EdgeError> {
        let mut headers = answer.headers;
        forward::strip_connection(&mut headers);
        let digest = digest_of(&headers);
        let mut reply = Reply { status: answer.status, headers, source: Source::Whole(None), digest: None };
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(reply);
        }
        if answer.body.exact().is_none_or(|length| length > CHUNK_BYTES) {
            let Some(digest) = digest else {
                reply.source = Source::Stream(answer.body);
                return Ok(reply);
            };
            let rescue = Rescue {
                reader: site.reader.clone(),
                root: active.root,
                assets: active.assets,
                path: path.to_owned(),
                accept_encoding: accept_encoding.map(str::to_owned),
                digest,
            };
            let chunks = match chunks_of(&reply.headers) {
                Some(chunks) => Some(chunks),
                None => rescue.pieces(0).await.map(|pieces| pieces.coding.chunks),
            };
            reply.headers.remove(answer::CHUNKS_FIELD);
            match (chunks, answer.body.exact()) {
                (Some(chunks), Some(length)) if chunks.len() as u64 == length.div_ceil(CHUNK_BYTES) => {
                    let (body, upstream) = (answer.body, answer.upstream);
                    let buffer = BytesMut::new();
                    let checked = Checked { body, chunks, next: 0, buffer, upstream, rescue };
                    reply.source = Source::Checked(Box::new(checked));
                }
                _ => {
                    reply.source = Source::Stream(answer.body);
                    reply.digest = Some(digest);
                }
            }
            return Ok(reply);
        }
        // Until whoever receives it counts it.
        let mut memory = self.store.reservation();
        memory.hold(answer.body.exact().map_or(0, usize_of));
        let bytes = answer.body.collect(CHUNK_BYTES).await?.ok_or(EdgeError::UpstreamBroke)?;
        if digest.is_some_and(|digest| Digest::of(&bytes) != digest) {
            corrupted(path, &answer.upstream);
            return Err(EdgeError::Corrupted { path: path.to_owned(), upstream: answer.upstream });
        }
        reply.source = Source::Whole(Some(bytes));
        Ok(reply)
    }

    async fn fetch_from_bucket(
        &self,
        site: &SiteHandle,
        active: &Active,
        path: &str,
        accept_encoding: Option<&str>,
        tags: &[HeaderValue],
    ) -> Result<Reply, EdgeError> {
        let reader = site.reader.as_ref().ok_or(EdgeError::NoUpstream)?;
        let resolution = answer::resolve(reader, active.root, active.assets, path).await?;
        let head = resolution.head(accept_encoding, None);
        let mut headers = HeaderMap::new();
        for (name, value) in &head.fields {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                headers.append(name, value);
            }
        }
        let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
        let mut reply = Reply { status, headers, source: Source::Whole(None), digest: None };
        if let Some(etag) = reply.headers.get(header::ETAG)
            && tags.contains(etag)
            && status == StatusCode::OK
        {
            reply.headers.remove(header::CONTENT_LENGTH);
            reply.status = StatusCode::NOT_MODIFIED;
            return Ok(reply);
        }
        let (Some(coding), Some(entry)) = (head.coding, resolution.entry()) else {
            return Ok(reply);
        };
        reply.source = if coding.length > CHUNK_BYTES {
            Source::Pieces(Box::new(Pieces {
                reader: Arc::clone(reader),
                content: entry.content.clone(),
                coding,
                next: 0,
            }))
        } else {
            Source::Whole(Some(reader.content(&entry.content, &coding).await?))
        };
        Ok(reply)
    }
}

/// Whether a status is the site's own word. 5xx is an origin in trouble or behind; 401 and 403 mean that it does not
/// know us.
fn is_answer(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN
}

/// The digest that a release's entity tag is.
fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    let tag = Tag::of(headers).filter(|tag| !tag.weak)?;
    std::str::from_utf8(tag.opaque).ok()?.parse().ok()
}

/// The digests of the pieces that an origin names.
fn chunks_of(headers: &HeaderMap) -> Option<Vec<Digest>> {
    let text = headers.get(answer::CHUNKS_FIELD)?.to_str().ok()?;
    text.split(',').map(|digest| digest.trim().parse().ok()).collect()
}
