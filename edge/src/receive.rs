//! Receiving a body to its end: for all who read along, and for the store.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    body::{OutBody, Source},
    clock,
    edge::Edge,
    fill::Fill,
    flight::Listing,
    groups::groups_of,
    key::Key,
    metrics::corrupted,
    policy::{
        date,
        directives::Control,
        freshness::{Freshness, Receipt},
        storing::{self, NoStore},
        vary::Selection,
    },
    purge::Began,
    store::Stored,
};

impl Edge {
    /// Receives a body to its end, for all readers and for the store.
    #[expect(clippy::too_many_arguments, reason = "what is received, by whose rules, on whose behalf")]
    pub(crate) async fn receive(
        &self,
        key: &Key,
        fill: &Arc<Fill>,
        mut source: Source,
        digest: Option<release::Digest>,
        control: &Control,
        began: Began,
        listing: Listing<'_>,
    ) {
        let guard = EndOnDrop(fill);
        let object_bytes_max = self.object_bytes_max();
        let mut reservation = Some(self.store.reservation());
        let mut listing = Some(listing);
        let mut hasher = digest.map(|_| blake3::Hasher::new());
        let mut total = 0u64;
        // The last part of a body of known length is held back until the body is stored: who has it all and asks
        // again finds it, and who was sent wrong bytes sees the response break off.
        let mut last = Bytes::new();
        while let Some(chunk) = source.chunk().await {
            let Ok(chunk) = chunk else {
                tracing::warn!(url = %key.target, "the upstream's response broke off");
                return;
            };
            if chunk.is_empty() {
                continue;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            total += chunk.len() as u64;
            let fits = total <= object_bytes_max as u64
                && reservation.as_mut().is_some_and(|reservation| reservation.grow(chunk.len()));
            if !fits && reservation.take().is_some() {
                fill.stream_only();
                listing = None;
            }
            if reservation.is_none() && !fill.room().await {
                return;
            }
            if fill.length == Some(total) {
                last = chunk;
            } else {
                fill.push(chunk);
            }
        }
        if fill.length.is_some_and(|length| length != total) {
            return;
        }
        if let (Some(digest), Some(hasher)) = (digest, hasher)
            && release::Digest::from(hasher.finalize()) != digest
        {
            corrupted(&key.target, "the origin");
            return;
        }
        if reservation.is_some() {
            let body = match (fill.whole(), last.is_empty()) {
                (whole, true) => whole,
                (whole, false) if whole.is_empty() => Bytes::copy_from_slice(&last),
                (whole, false) => [whole, last.clone()].concat().into(),
            };
            let mut head = fill.head.clone();
            storing::strip_for_storage(&mut head, control);
            drop(reservation.take());
            let copy = self.copy(
                key,
                fill.status,
                head,
                body,
                fill.freshness.clone(),
                fill.selection.clone(),
                fill.wall,
                began,
            );
            if self.store.insert(copy, began, &self.log).is_err() {
                tracing::debug!(url = %key.target, reason = NoStore::Superseded.as_str(), "not stored");
            }
        }
        drop(listing);
        fill.push(last);
        fill.end(true);
        drop(guard);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    pub(crate) fn copy(
        &self,
        key: &Key,
        status: StatusCode,
        mut head: HeaderMap,
        body: Bytes,
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
            head.insert(header::DATE, date);
        }
        head.remove(header::CONTENT_LENGTH);
        Stored::new(key.clone(), status, head, body, freshness, selection, wall, groups, began.epoch)
    }

    /// Content of a release for one client alone, checked on its way.
    pub(crate) fn stream_for_one(
        self: &Arc<Self>,
        headers: &HeaderMap,
        status: StatusCode,
        source: Source,
        digest: Option<release::Digest>,
    ) -> OutBody {
        let control = Control::of(headers, &self.targets);
        let now = clock::boot_ms();
        let receipt = Receipt { asked: now, got: now, wall: clock::wall() };
        let freshness = Freshness::of(status, headers, &control, receipt);
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
        self.tasks.spawn(async move { pump(&fill, source, digest).await });
        OutBody::Fill(reader)
    }
}

/// Receives a body that is not stored. The last part is held back until the whole is checked.
async fn pump(fill: &Arc<Fill>, mut source: Source, digest: Option<release::Digest>) {
    let guard = EndOnDrop(fill);
    let mut hasher = blake3::Hasher::new();
    let mut last = Bytes::new();
    while let Some(chunk) = source.chunk().await {
        let Ok(chunk) = chunk else { return };
        if !fill.room().await {
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
    drop(guard);
}

/// A fill that is dropped unfinished is broken, and its readers see that.
struct EndOnDrop<'a>(&'a Arc<Fill>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end(false);
    }
}
