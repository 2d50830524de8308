//! Receiving a body to its end: for all who read along, and for the store.

use std::{borrow::Cow, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    body::{OutBody, Source},
    books::Reservation,
    clock,
    edge::Edge,
    fill::{Fill, PIECE_BYTES},
    flight::Listing,
    groups::groups_of,
    key::Key,
    metrics::corrupted,
    policy::{
        date,
        directives::Control,
        forward,
        freshness::{Freshness, Receipt},
        range::{self, ContentRange, Span},
        storing::NoStore,
        validate::Tag,
        vary::Selection,
    },
    purge::Began,
    respond::usize_of,
    store::Stored,
    stored_body::{self, StoredBody},
};

/// Up to this size parts are joined whatever it costs.
const JOIN_BYTES_FREE: u64 = 1 << 20;
/// Beyond it, so many bytes at most are copied for each that was received.
const JOIN_COST_MAX: u64 = 16;

/// What is being received, by whose rules it is kept, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiving<'a> {
    pub(crate) key: &'a Key,
    pub(crate) fill: &'a Arc<Fill>,
    /// Which part of the content it is; `None`: all of it.
    pub(crate) part: Option<ContentRange>,
    /// Bytes at its beginning that were held, and are in the fill already.
    pub(crate) beginning: usize,
    /// What the whole must come to.
    pub(crate) digest: Option<release::Digest>,
    /// Whether it answers a GET: of no other is kept what is not complete (RFC 9111 §3.3).
    pub(crate) is_of_get: bool,
    pub(crate) began: Began,
}

impl Edge {
    /// Receives a body to its end, for all readers and for the store.
    pub(crate) async fn receive(
        &self,
        what: Receiving<'_>,
        mut source: Source,
        mut listing: Option<Listing<'_>>,
    ) {
        let Receiving { key, fill, digest, .. } = what;
        let guard = EndOnDrop(fill);
        let object_bytes_max = self.object_bytes_max();
        let mut memory = Reservation::of_used(&self.store);
        let mut is_kept = true;
        let mut hasher = digest.map(|_| blake3::Hasher::new());
        let mut total = what.beginning as u64;
        // The last part of a body of known length is held back until the body is stored: who has it all and asks
        // again finds it, and who was sent wrong bytes sees the response break off.
        let mut last = Bytes::new();
        while let Some(chunk) = source.chunk().await {
            let Ok(chunk) = chunk else {
                tracing::warn!(url = %key.target, "the upstream's response broke off");
                if is_kept {
                    self.keep_beginning(&what, total, &mut memory);
                }
                return;
            };
            if chunk.is_empty() {
                continue;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            total += chunk.len() as u64;
            let is_too_large = total > object_bytes_max as u64
                || (total > stored_body::FILE_BYTES_MIN as u64 && memory.is_crowded());
            if is_kept && (is_too_large || !memory.grow(chunk.len() + PIECE_BYTES)) {
                is_kept = false;
                fill.stream_only();
                listing = None;
            }
            if !is_kept {
                // However much there was to read when it turned out to be too large.
                if !room(fill, &mut memory, chunk.len()).await {
                    return;
                }
            }
            if fill.length == Some(total) {
                last = chunk;
            } else {
                fill.push(chunk);
            }
        }
        if fill.length.is_some_and(|length| length != total) {
            if is_kept {
                self.keep_beginning(&what, total, &mut memory);
            }
            return;
        }
        if let (Some(digest), Some(hasher)) = (digest, hasher)
            && release::Digest::from(hasher.finalize()) != digest
        {
            corrupted(&key.target, "the origin");
            return;
        }
        if is_kept {
            let mut pieces = fill.pieces();
            pieces.extend((!last.is_empty()).then(|| last.clone()));
            if let Some(stored) = self.keep(&what, pieces, &mut memory)
                && stored.part().is_none()
                && what.part.is_none()
            {
                let content = stored.content();
                last = content.slice(content.len() - last.len()..);
                fill.lean_on(&content);
                // It counts as stored now.
                memory.hold(0);
            }
        }
        // What follows a rest may be about that alone, as a digest is.
        if let Some(trailers) = source.trailers().filter(|_| what.beginning == 0) {
            fill.set_trailers(trailers);
        }
        drop(listing);
        fill.push(last);
        fill.end(true);
        fill.keep(memory);
        drop(guard);
    }

    /// Stores what arrived of a whole that broke off as a part, to be completed by asking for the rest (RFC 9111 §3.3).
    fn keep_beginning(&self, what: &Receiving<'_>, total: u64, memory: &mut Reservation) {
        let fill = what.fill;
        let (true, None, None, StatusCode::OK, Some(length)) =
            (what.is_of_get, what.part, what.digest, fill.status, fill.length)
        else {
            return;
        };
        let is_combined = Tag::of(&fill.head).is_some_and(|tag| !tag.weak);
        let takes_ranges = fill.head.get(header::ACCEPT_RANGES).is_none_or(|value| value != "none");
        if !is_combined || !takes_ranges || total == 0 || total >= length || what.key.of_site {
            return;
        }
        let part = ContentRange { span: Span { start: 0, end: total }, length: Some(length) };
        self.keep(&Receiving { part: Some(part), ..*what }, fill.pieces(), memory);
    }

    /// Stores what was received, for which `memory` was taken.
    fn keep(
        &self,
        what: &Receiving<'_>,
        pieces: Vec<Bytes>,
        memory: &mut Reservation,
    ) -> Option<Arc<Stored>> {
        let Receiving { key, fill, began, .. } = *what;
        let copy = |status, head: Cow<'_, HeaderMap>, body: StoredBody| {
            let (freshness, selection) = (fill.freshness.clone(), fill.selection.clone());
            self.copy(key, status, head, body, freshness, selection, fill.wall, began)
        };
        // Until readers go on with what is stored, there are two of it.
        let received = memory.bytes();
        if !memory.grow(received) {
            tracing::debug!(url = %key.target, "there is no room to store it");
            return None;
        }
        let stored = match what.part {
            None => copy(fill.status, Cow::Borrowed(&fill.head), StoredBody::of(pieces)),
            Some(part) => {
                let body = Bytes::from(pieces.concat());
                if part.span.bytes() != body.len() as u64 {
                    tracing::warn!(url = %key.target, "a part is not as long as it says; not stored");
                    return None;
                }
                let mut head = fill.head.clone();
                let (part, body) = self.with_held_parts(what, part, body, &mut head);
                let body = StoredBody::from(body);
                range::strip_of_content(&mut head);
                if part.is_whole() {
                    // Nothing is missing any more (RFC 9111 §3.4).
                    copy(StatusCode::OK, Cow::Owned(head), body)
                } else {
                    let mut stored = copy(StatusCode::PARTIAL_CONTENT, Cow::Owned(head), body);
                    stored.make_part(Some(part));
                    stored
                }
            }
        };
        memory.hold(received);
        if self.store.was_evicted(key) {
            self.misses.note("evicted", key.host().unwrap_or(&key.scope), &key.target);
        }
        let inserted = self.store.insert(stored, began, &self.log);
        if inserted.is_err() {
            tracing::debug!(url = %key.target, reason = NoStore::Superseded.as_str(), "not stored");
        }
        inserted.ok()
    }

    /// A part together with those held that it touches and that are of the same representation, whose fields go into `head`
    /// (RFC 9111 §3.4).
    fn with_held_parts(
        &self,
        what: &Receiving<'_>,
        part: ContentRange,
        body: Bytes,
        head: &mut HeaderMap,
    ) -> (ContentRange, Bytes) {
        let (mut part, mut body) = (part, body);
        let held = self.store.parts(what.key, &what.fill.selection, &self.log);
        for stored in held {
            let Some(held_part) = stored.part() else { continue };
            let Some(joined) = part.joined(held_part) else { continue };
            let bytes = joined.span.bytes();
            let fits = bytes <= self.object_bytes_max() as u64;
            // Many small parts of a large content would copy it again and again.
            let held_head = stored.head();
            let worth_it =
                bytes <= JOIN_BYTES_FREE || joined.is_whole() || bytes / JOIN_COST_MAX <= part.span.bytes();
            if !fits || !worth_it || part.span.contains(held_part.span) || !range::combine(head, &held_head) {
                continue;
            }
            let mut whole = BytesMut::with_capacity(usize_of(bytes));
            // Where both have a byte it is the same one: the tag is strong.
            let (first, first_part, second, second_part) = if part.span.start <= held_part.span.start {
                (&*body, part, stored.body(), held_part)
            } else {
                (stored.body(), held_part, &*body, part)
            };
            whole.extend_from_slice(first);
            let known = first_part.span.end.saturating_sub(second_part.span.start);
            whole.extend_from_slice(second.get(usize_of(known)..).unwrap_or_default());
            body = whole.freeze();
            part = joined;
            *head = range::combined(&held_head, head);
        }
        (part, body)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    pub(crate) fn copy(
        &self,
        key: &Key,
        status: StatusCode,
        mut head: Cow<'_, HeaderMap>,
        body: StoredBody,
        freshness: Freshness,
        selection: Selection,
        wall: i64,
        began: Began,
    ) -> Stored {
        let groups = groups_of(&head, key.of_site);
        if !head.contains_key(header::DATE)
            && let Ok(date) = HeaderValue::from_str(&date::format(wall))
        {
            // A recipient with a clock supplies a missing Date (RFC 9110 §6.6.1).
            head.to_mut().insert(header::DATE, date);
        }
        if head.contains_key(header::CONTENT_LENGTH) {
            head.to_mut().remove(header::CONTENT_LENGTH);
        }
        let common = self.store.common(key, &head, forward::is_via_http_1_0(&head, &self.config.name));
        let target = &key.target;
        Stored::new(target, common, status, &head, body, &freshness, selection, wall, &groups, began.epoch)
    }

    /// Content of a release for one client alone, checked on its way.
    pub(crate) fn stream_for_one(
        self: &Arc<Self>,
        headers: &HeaderMap,
        status: StatusCode,
        source: Source,
        digest: Option<release::Digest>,
    ) -> OutBody {
        let control = Control::of(headers, &self.current().rules.targets);
        let now = clock::boot_ms();
        let receipt = Receipt { asked: now, got: now, wall: clock::wall() };
        let freshness = Freshness::of(status, headers, &control, receipt, self.current().rules.s_maxage);
        let length = source.length();
        let fill = Arc::new(Fill::new(
            status,
            HeaderMap::new(),
            freshness,
            Selection::default(),
            receipt.wall,
            length,
        ));
        let Some(reader) = fill.reader(0, None) else { return OutBody::empty() };
        fill.stream_only();
        let memory = Reservation::of_used(&self.store);
        self.tasks.spawn(async move { pump(&fill, memory, source, digest).await });
        OutBody::Fill(reader)
    }
}

/// Waits until the slowest reader has caught up, and holds memory for what it has yet to read and so much more; `false`:
/// nobody reads.
async fn room(fill: &Fill, memory: &mut Reservation, more: usize) -> bool {
    let is_read = fill.room(memory.is_tight()).await;
    if is_read {
        memory.hold(fill.held() + more);
    }
    is_read
}

/// Receives a body that is not stored. The last part is held back until the whole is checked.
async fn pump(
    fill: &Arc<Fill>,
    mut memory: Reservation,
    mut source: Source,
    digest: Option<release::Digest>,
) {
    let guard = EndOnDrop(fill);
    let mut hasher = blake3::Hasher::new();
    let mut last = Bytes::new();
    while let Some(chunk) = source.chunk().await {
        let Ok(chunk) = chunk else { return };
        if !room(fill, &mut memory, last.len() + chunk.len()).await {
            return;
        }
        if digest.is_some() {
            hasher.update(&chunk);
        }
        fill.push(std::mem::replace(&mut last, chunk));
    }
    if digest.is_some_and(|digest| release::Digest::from(hasher.finalize()) != digest) {
        corrupted("content for one client", "the origin");
        return;
    }
    fill.push(last);
    fill.end(true);
    fill.keep(memory);
    drop(guard);
}

/// A fill that is dropped unfinished is broken, and its readers see that.
struct EndOnDrop<'a>(&'a Arc<Fill>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end(false);
    }
}
