//! What a 304, or the answer to a HEAD, says about stored responses (RFC 9111 §4.3.4, §4.3.5).

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use crate::{
    clock,
    edge::Edge,
    inbound::Inbound,
    key::Key,
    plan::Plan,
    policy::{
        directives::Control,
        freshness::{Freshness, Receipt},
        storing::{self, Asked, NoStore, storing},
        validate::{self, Tag},
        vary::{self, Selection},
    },
    purge::{Began, Mark},
    reply::Reply,
    store::Stored,
};

/// A stored response that the upstream has confirmed, with its new fields.
#[derive(Debug)]
pub(crate) struct Confirmed {
    pub(crate) stored: Arc<Stored>,
    /// Why it is not kept like this, and so is for the one who asked alone.
    pub(crate) refused: Option<NoStore>,
    /// What came with the confirmation for the one who asked alone; the stored response is without it.
    pub(crate) own: HeaderMap,
    /// Whether it was another cache that has confirmed it, which says how old it is.
    pub(crate) is_aged: bool,
}

/// A response without content that renews stored ones.
#[derive(Clone, Copy)]
struct Renewal<'a> {
    key: &'a Key,
    request: &'a HeaderMap,
    asked: Asked<'a>,
    /// Its fields.
    fields: &'a HeaderMap,
    /// Whether these are all that the response has.
    is_whole: bool,
    receipt: Receipt,
    began: Began,
}

impl Edge {
    /// Renews all stored responses that a 304 speaks of; the one to answer with comes back.
    pub(crate) fn confirmed(
        &self,
        plan: &Plan,
        reply: &Reply,
        receipt: Receipt,
        began: Began,
    ) -> Option<Confirmed> {
        let renewal = Renewal {
            key: plan.key(),
            request: &plan.request,
            asked: plan.asked(),
            fields: &reply.headers,
            // What a release serves always has a type.
            is_whole: plan.site.is_some() && reply.headers.contains_key(header::CONTENT_TYPE),
            receipt,
            began,
        };
        let tag = Tag::of(&reply.headers).filter(|tag| !tag.weak);
        let found = &plan.found;
        if plan.site.is_some() {
            // The tag of a site's content is its digest: whatever has it is that content.
            let is_ok = |stored: &&Arc<Stored>| stored.status == StatusCode::OK;
            let asked = found.held().filter(is_ok);
            let agrees = |held: &&Arc<Stored>| {
                !validate::selected(&reply.headers, &plan.ask.headers, &[&held.head()]).is_empty()
            };
            let stored = match tag {
                Some(tag) => found.with_tag(tag).filter(is_ok).or(asked.filter(agrees))?,
                None => asked.filter(agrees)?,
            };
            return Some(self.renewed(renewal, stored));
        }
        let selected = found.selected.iter().chain(&found.unverified).chain(&found.parts);
        let candidates: Vec<&Arc<Stored>> = selected.filter(|stored| stored.status.is_success()).collect();
        let heads: Vec<HeaderMap> = candidates.iter().map(|stored| stored.head()).collect();
        let heads: Vec<&HeaderMap> = heads.iter().collect();
        let mut answer = None;
        for index in validate::selected(&reply.headers, &plan.ask.headers, &heads) {
            let renewed = self.renewed(renewal, candidates[index]);
            if answer.is_none() && candidates[index].part().is_none() {
                answer = Some(renewed);
            }
        }
        // Another variant's, which we named in our condition: its content is this one's as well.
        let other = || {
            let stored = found.with_tag(tag?).filter(|stored| stored.status == StatusCode::OK)?;
            Some(self.renewed(renewal, stored))
        };
        answer.or_else(other)
    }

    /// What the 200 that answered a HEAD says about stored GET responses: those that agree with it are updated, the
    /// others are stale.
    pub(crate) fn learn_from_head(
        &self,
        inbound: &Inbound,
        key: &Key,
        reply: &Reply,
        receipt: Receipt,
        began: Began,
    ) {
        // What content, or a parameter that does not count, has made of it is not what a GET by this key brings.
        let is_as_keyed = !inbound.has_content && inbound.target == *key.target;
        if reply.status != StatusCode::OK || !is_as_keyed {
            return;
        }
        let renewal = Renewal {
            key,
            request: &inbound.headers,
            asked: Asked {
                method: &Method::GET,
                authorized: inbound.headers.contains_key(header::AUTHORIZATION),
                directives: inbound.directives,
                is_located: false,
            },
            fields: &reply.headers,
            is_whole: false,
            receipt,
            began,
        };
        let found = self.store.find(key, &inbound.headers, &self.log);
        for stored in found.selected.iter().chain(&found.parts) {
            let length = match stored.part() {
                Some(part) => part.length,
                None => Some(stored.body().len() as u64),
            };
            let is_ok = stored.status == StatusCode::OK || stored.part().is_some();
            if is_ok && validate::agrees(&reply.headers, &stored.head(), length) {
                self.renewed(renewal, stored);
            } else {
                stored.make_stale(clock::boot_ms());
            }
        }
    }

    /// A new copy of a stored response with the fields of a renewal.
    fn renewed(&self, renewal: Renewal<'_>, stored: &Arc<Stored>) -> Confirmed {
        let Renewal { key, fields, receipt, began, .. } = renewal;
        let settings = self.settings();
        let rules = &settings.rules;
        let change = if renewal.is_whole { validate::replace } else { validate::update };
        let mut head = change(&stored.head(), fields);
        let control = Control::of(&head, &rules.targets);
        // Age and Date are those of the new response (RFC 9111 §4.3.4); Age is not kept in what is stored.
        let mut dated = head.clone();
        match fields.get(header::AGE) {
            Some(age) => dated.insert(header::AGE, age.clone()),
            None => dated.remove(header::AGE),
        };
        if !fields.contains_key(header::DATE) {
            dated.remove(header::DATE);
            head.remove(header::DATE);
        }
        let freshness = Freshness::of(stored.status, &dated, &control, receipt, rules.s_maxage);
        let own = storing::fields_for_one(fields, &control);
        let is_aged = fields.contains_key(header::AGE);
        storing::strip_for_storage(&mut head, &control);
        if let Some(range) = stored.part().and_then(crate::policy::range::ContentRange::to_value) {
            dated.insert(header::CONTENT_RANGE, range);
        }
        let names = vary::names(&head);
        let verdict = storing(renewal.asked, stored.status, &dated, &control, &freshness, rules)
            .and(if names.is_some() { Ok(()) } else { Err(NoStore::VaryStar) });
        let names_known: &[HeaderName] = names.as_deref().unwrap_or_default();
        let selection = Selection::of(names_known, renewal.request);
        metrics::counter!("bakehouse_edge_body_bytes_reused_total").increment(stored.body().len() as u64);
        let body = stored.stored_body();
        let mut copy =
            self.copy(key, stored.status, Cow::Owned(head), body, freshness, selection, receipt.wall, began);
        copy.make_part(stored.part());
        if let Err(reason) = verdict {
            // This one answer was confirmed. What is held may not be used again, unless it is the request alone that forbids
            // to keep anything: nobody ends what others share.
            if reason.is_of_response() {
                stored.apply(Mark::Unverified);
            }
            return Confirmed { stored: Arc::new(copy), refused: Some(reason), own, is_aged };
        }
        match self.store.insert(copy, began, &self.log) {
            Ok(stored) | Err(stored) => Confirmed { stored, refused: None, own, is_aged },
        }
    }
}
