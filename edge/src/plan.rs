//! What a fetch asks for: which fields, and which conditions, by what is held.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    collapse::What,
    edge::Edge,
    inbound::Inbound,
    journal::SiteHandle,
    key::Key,
    policy::{
        directives::RequestDirectives,
        storing::{Asked, NoStore},
        validate,
        vary::Codings,
    },
    store::{Found, Stored},
    upstream::Ask,
};

/// Tags of held bodies that are sent along with a fetch.
const TAGS_MAX: usize = 8;

/// A fetch and all that it needs.
pub(crate) struct Plan {
    pub(crate) what: What,
    pub(crate) ask: Ask,
    pub(crate) site: Option<Arc<SiteHandle>>,
    pub(crate) accept_encoding: Option<String>,
    pub(crate) host: String,
    pub(crate) request: Arc<HeaderMap>,
    pub(crate) directives: RequestDirectives,
    pub(crate) found: Found,
    pub(crate) tags: Vec<HeaderValue>,
    /// The beginning of the content, which is held; the rest is asked for.
    pub(crate) beginning: Option<Arc<Stored>>,
    /// Whether the conditions are the client's, so that a 304 is.
    pub(crate) is_for_client: bool,
}

impl Plan {
    pub(crate) fn key(&self) -> &Key {
        &self.what.key
    }

    /// What the storing decision needs to know of the request.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.ask.method,
            authorized: self.what.authorized,
            directives: self.directives,
            is_located: false,
        }
    }

    /// Whether a response of this status to a request for a range may be stored; `has_kin`: it goes with a part that is held.
    pub(crate) fn of_range(&self, status: StatusCode, has_kin: bool) -> Result<(), NoStore> {
        let asked_for = |name| self.ask.headers.contains_key(name);
        match status {
            // A part that was not asked for is nobody's.
            StatusCode::PARTIAL_CONTENT if !asked_for(header::RANGE) => Err(NoStore::Status),
            // One whose client said that it holds another need not say what it is a part of (RFC 9110 §15.3.7).
            StatusCode::PARTIAL_CONTENT if asked_for(header::IF_RANGE) && !has_kin => Err(NoStore::Range),
            // That a range does not exist says nothing about the whole.
            StatusCode::RANGE_NOT_SATISFIABLE if asked_for(header::RANGE) => Err(NoStore::Range),
            // An upstream in trouble over one part says nothing about those that are held, which it would replace, being a
            // response to all requests for this; a cache need not store what it may (RFC 9111 §3).
            status
                if status.is_server_error() && asked_for(header::RANGE) && !self.found.parts.is_empty() =>
            {
                Err(NoStore::Range)
            }
            _ => Ok(()),
        }
    }

    /// Makes it a question of this edge's own, for which nobody waits: what a client said of its request, as `only-if-cached`, it
    /// said of the answer that it got (RFC 9111 §5.2.1).
    pub(crate) fn make_own(&mut self) {
        self.directives = RequestDirectives::default();
        for name in [header::CACHE_CONTROL, header::PRAGMA] {
            if self.ask.headers.remove(&name).is_some() {
                Arc::make_mut(&mut self.request).remove(name);
            }
        }
    }

    /// Asks for the whole, whatever is held.
    pub(crate) fn ask_whole(&mut self) {
        self.found = Found::default();
        self.tags.clear();
        self.beginning = None;
        self.is_for_client = false;
        validate::strip_conditions(&mut self.ask.headers);
    }
}

impl Edge {
    /// What to ask for. `alone`: nobody waits for it but the one who asks.
    pub(crate) fn plan(
        &self,
        inbound: &Inbound,
        what: What,
        site: Option<&Arc<SiteHandle>>,
        found: Found,
        alone: bool,
    ) -> Plan {
        let mut headers = self.onward_fields(inbound);
        validate::strip_conditions(&mut headers);
        // What is keyed is what is asked for, so that no response depends on what did not choose it.
        let accept_encoding = inbound
            .headers
            .contains_key(header::ACCEPT_ENCODING)
            .then(|| Codings::of(&inbound.headers).to_string());
        if let Some(value) = accept_encoding.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::ACCEPT_ENCODING, value);
        }
        let held = found.held();
        let mut tags: Vec<HeaderValue> = Vec::new();
        // Every body at hand can answer, whichever variant, coding or release it was fetched for (RFC 9111 §4.1). But for a
        // site, whose tags are digests, not in a coding that the client may not understand: there are upstreams that give
        // the same tag to both.
        let codings = Codings::of(&inbound.headers);
        for stored in &found.bodies {
            // An upstream answers 304 only in place of 200 (RFC 9110 §13.2.1).
            if stored.status == StatusCode::OK
                && (site.is_some() || codings.accept(&stored.head()))
                && let Some(tag) = stored.strong_tag()
                && !tags.contains(&tag)
                && tags.len() < TAGS_MAX
            {
                tags.push(tag);
            }
        }
        let (mut beginning, mut is_for_client) = (None, false);
        // What could not be stored once it is whole is not worth putting together.
        let may_store = !what.authorized && !inbound.directives.no_store;
        let whole_max = if may_store { self.object_bytes_max() as u64 } else { 0 };
        if let Some((range, if_range)) = &what.range {
            headers.insert(header::RANGE, range.clone());
            if let Some(if_range) = if_range {
                headers.insert(header::IF_RANGE, if_range.clone());
            }
            tags.clear();
        } else if let Some(held) = held {
            for (name, value) in held.selection().fields() {
                match value {
                    Some(value) => headers.insert(name, value),
                    None => headers.remove(name),
                };
            }
            // A 304 stands for a success (RFC 9110 §15.4.5): a condition about anything else would ask about something else.
            let about = if held.status.is_success() { held.head() } else { HeaderMap::new() };
            validate::make_conditional(&mut headers, &about, &tags);
        } else if let Some((stored, range)) = found.parts.iter().find_map(|stored| rest_of(stored, whole_max))
        {
            headers.insert(header::RANGE, range);
            if let Some(tag) = stored.strong_tag() {
                headers.insert(header::IF_RANGE, tag.clone());
            }
            beginning = Some(Arc::clone(stored));
            tags.clear();
        } else if !tags.is_empty() {
            validate::make_conditional(&mut headers, &HeaderMap::new(), &tags);
        } else if alone && site.is_none() && found.parts.is_empty() {
            // What is for this client alone need not come again if it has it (RFC 9110 §13.1).
            is_for_client = validate::copy_conditions(&mut headers, &inbound.headers);
        }
        let ask = Ask::new(Method::GET, inbound.target.clone(), headers);
        Plan {
            what,
            ask,
            site: site.cloned(),
            accept_encoding,
            host: inbound.host.clone(),
            request: Arc::clone(&inbound.headers),
            directives: inbound.directives,
            found,
            tags,
            beginning,
            is_for_client,
        }
    }
}

/// What to ask for to complete a part that begins at the beginning, has a strong tag, and is one of at most `whole_max`
/// bytes.
fn rest_of(stored: &Arc<Stored>, whole_max: u64) -> Option<(&Arc<Stored>, HeaderValue)> {
    let fits = |length| length <= whole_max;
    let part = stored.part().filter(|part| part.span.start == 0 && part.length.is_some_and(fits))?;
    stored.strong_tag()?;
    let range = HeaderValue::from_str(&format!("bytes={}-", part.span.end)).ok()?;
    Some((stored, range))
}
