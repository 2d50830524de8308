//! HTML that stands in a text.

use std::ops::Range;
use std::sync::LazyLock;

use pulldown_cmark::{Event, TagEnd};
use regex::Regex;

use super::{Spanned, Writer, summary::more};
use crate::markup::{self, Markup, decoded};

static IDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\s(?:id|name)\s*=\s*(?:"([^"]+)"|'([^']+)'|([^\s"'>]+))"#).ok());

impl<'a> Writer<'_, 'a> {
    /// A block of it, which may hold the mark that ends the summary.
    pub(super) fn html_block(&mut self, inside: &[Spanned<'a>], range: &Range<usize>, open: &[TagEnd]) {
        let html: String = inside
            .iter()
            .filter_map(|(event, _)| match event {
                Event::Html(text) | Event::Text(text) => Some(&**text),
                _ => None,
            })
            .collect();
        self.html(&html, range);
        let Some(at) = more(&html).filter(|_| self.more.is_none()) else {
            self.mark(range);
            self.out.push(Event::Html(html.into()));
            return;
        };
        let (before, after) = (&html[..at.start], html[at.end..].trim_start_matches('\n'));
        if !before.trim().is_empty() {
            self.mark(range);
            self.out.push(Event::Html(before.to_owned().into()));
        }
        self.mark_more(open);
        if !after.is_empty() {
            self.out.push(Event::Html(format!("\n{after}").into()));
        }
    }

    /// HTML that stands in the text: its ids, and the images it shows.
    pub(super) fn html(&mut self, html: &str, range: &Range<usize>) {
        self.collect_ids(html);
        let mut rest = html;
        while let Some(open) = memchr::memchr(b'<', rest.as_bytes()) {
            let tag = &rest[open..];
            let Some(Markup { kind, length }) = Markup::read(tag) else {
                rest = &tag[1..];
                continue;
            };
            rest = &tag[length..];
            let markup::Kind::Open { name, attributes, empty } = kind else { continue };
            if name == "script" && !empty {
                rest = &rest[markup::end_of(rest, &name)..];
            }
            let source = attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case("src"));
            if let Some((_, Some(written))) = source
                && name.eq_ignore_ascii_case("img")
                && !written.is_empty()
                && !written.starts_with('#')
            {
                // In a quote, lines of the text begin with what is no part of the HTML.
                let at = self.text[range.clone()].find(written).unwrap_or(0);
                self.needs_image(decoded(written).trim(), written, range.start + at);
            }
        }
    }

    pub(super) fn collect_ids(&mut self, html: &str) {
        if let Some(re) = IDS.as_ref() {
            for found in re.captures_iter(html) {
                if let Some(id) = found.iter().skip(1).flatten().next() {
                    self.result.anchors.push(id.as_str().to_owned());
                }
            }
        }
    }
}
