//! What a text begins with, up to its mark `<!-- more -->`.

use std::ops::Range;
use std::sync::LazyLock;

use pulldown_cmark::{CowStr, Event, TagEnd};
use regex::Regex;

use super::{Writer, push_html};

static REFERENCE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"<sup class="footnote-reference"[^>]*><a [^>]*>[^<]*</a></sup>"#).ok());
static MORE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)<!--\s*more\s*-->").ok());

/// Where HTML has the mark that ends a summary.
pub(super) fn more(html: &str) -> Option<Range<usize>> {
    if !html.contains("<!--") {
        return None;
    }
    MORE.as_ref()?.find(html).map(|found| found.range())
}

/// The end of a summary.
pub(super) struct Cut {
    /// How many events are before it.
    at: usize,
    /// What is open there.
    open: Vec<TagEnd>,
    /// Whether `summary-cutoff.html` says that the text goes on.
    is_told: bool,
}

impl<'a> Writer<'_, 'a> {
    pub(super) fn mark_more(&mut self, open: &[TagEnd]) {
        self.more = Some(self.cut(self.out.len(), open));
        self.out.push(Event::Html("<span id=\"continue-reading\"></span>".into()));
    }

    pub(super) fn cut(&self, at: usize, open: &[TagEnd]) -> Cut {
        Cut { at, open: open.to_vec(), is_told: open.len() > self.untold }
    }

    /// The first events as HTML, with what is open there closed.
    pub(super) fn summary(&mut self, Cut { at, open, is_told }: Cut) -> String {
        let mut head: Vec<Event<'a>> = self.out[..at].to_vec();
        if !open.is_empty() {
            trim_end(&mut head);
        }
        let mut told = String::new();
        if is_told {
            match self.around.summary_cutoff(&self.unreferred(head.iter().cloned())) {
                Ok(html) => told = html,
                Err(message) => self.problem(0, message),
            }
        }
        let told = std::iter::once(Event::InlineHtml(told.into()));
        let tail = open.iter().rev().map(|end| Event::End(*end));
        let mut summary = self.unreferred(head.into_iter().chain(told).chain(tail));
        summary.truncate(summary.trim_end().len());
        summary
    }

    /// Events as HTML, without what refers to notes: these are numbered with it.
    fn unreferred(&self, events: impl Iterator<Item = Event<'a>>) -> String {
        let mut html = String::new();
        push_html(self.is_marked, &mut html, events);
        REFERENCE.as_ref().map_or_else(|| html.clone(), |re| re.replace_all(&html, "").into_owned())
    }
}

fn is_reference(event: &Event<'_>) -> bool {
    match event {
        Event::FootnoteReference(_) => true,
        Event::InlineHtml(html) => html.starts_with("<sup class=\"footnote-reference\""),
        _ => false,
    }
}

/// Removes the white space that events end with, and references to notes in it.
fn trim_end(events: &mut Vec<Event<'_>>) {
    while let Some(last) = events.last_mut() {
        match last {
            Event::SoftBreak | Event::HardBreak => {}
            event if is_reference(event) => {}
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
