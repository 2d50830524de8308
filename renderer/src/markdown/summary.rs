//! What a text begins with, up to its mark `<!-- more -->`.

use std::ops::Range;
use std::sync::LazyLock;

use pulldown_cmark::{CowStr, Event, TagEnd};
use regex::Regex;

use super::{Writer, push_html};

static MORE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)<!--\s*more\s*-->").ok());

/// Where HTML has the mark that ends a summary.
pub(super) fn more(html: &str) -> Option<Range<usize>> {
    if !html.contains("<!--") {
        return None;
    }
    MORE.as_ref()?.find(html).map(|found| found.range())
}

impl<'a> Writer<'_, 'a> {
    pub(super) fn mark_more(&mut self, open: &[TagEnd]) {
        self.more = Some((self.out.len(), open.to_vec()));
        self.out.push(Event::Html("<span id=\"continue-reading\"></span>".into()));
    }

    /// The first events as HTML, with what is open there closed.
    pub(super) fn summary(&mut self, at: usize, open: &[TagEnd]) -> String {
        let is_reference = |event: &Event<'_>| match event {
            Event::FootnoteReference(_) => true,
            Event::InlineHtml(html) => html.starts_with("<sup class=\"footnote-reference\""),
            _ => false,
        };
        let mut head: Vec<Event<'a>> =
            self.out[..at].iter().filter(|event| !is_reference(event)).cloned().collect();
        if !open.is_empty() {
            trim_end(&mut head);
        }
        let mut summary = String::new();
        push_html(self.is_marked, &mut summary, head.iter().cloned());
        if !open.is_empty() {
            let cut = self.around.summary_cutoff(&summary);
            summary.clear();
            let tail = open.iter().rev().map(|end| Event::End(*end));
            match cut {
                Ok(cut) => {
                    let cut = std::iter::once(Event::InlineHtml(cut.into()));
                    push_html(self.is_marked, &mut summary, head.into_iter().chain(cut).chain(tail));
                }
                Err(message) => self.problem(0, message),
            }
        }
        summary.truncate(summary.trim_end().len());
        summary
    }
}

/// Removes the white space that events end with.
fn trim_end(events: &mut Vec<Event<'_>>) {
    while let Some(last) = events.last_mut() {
        match last {
            Event::SoftBreak | Event::HardBreak => {}
            Event::Text(text) => {
                let kept = text.trim_end();
                if !kept.is_empty() {
                    *text = CowStr::from(kept.to_owned());
                    return;
                }
            }
            _ => return,
        }
        events.pop();
    }
}
