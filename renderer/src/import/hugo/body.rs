//! The text of a page: calls of shortcodes, links, fences.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag as Start, TagEnd};

use super::Note;
use super::anchor::Ids;
use super::bare;
use super::embedded;
use super::settings::Settings;
use super::shortcode::{Piece, Tag, ends, pieces};
use super::table::{find, text};
use super::tree::{Entry, Places};
use crate::highlight::escape;
use crate::relocate::links;

/// What pages are converted with.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) places: &'a Places,
    /// Shortcodes that the site has templates for: they may be others than Hugo's of these names.
    pub(super) own: &'a BTreeSet<String>,
}

/// The text of an entry as it is written here.
pub(super) fn convert(entry: &Entry, context: &Context<'_>, notes: &mut Vec<Note>) -> String {
    let mut said = BTreeSet::new();
    let mut body = Body { entry, context, said: &mut said, left: BTreeMap::new() };
    let pieces = pieces(&entry.body);
    let calls = Calls { text: &entry.body, ends: ends(&pieces), pieces };
    let called = body.shortcodes(&calls, 0..calls.pieces.len(), 0);
    for (name, times) in std::mem::take(&mut body.left) {
        let times = if times == 1 { String::new() } else { format!(", {times} times") };
        body.say(format!("the shortcode `{name}` is not converted{times}: it is shown as it is written"));
    }
    let out = body.markdown(&called);
    notes.extend(said.iter().map(|text| Note::new(&entry.old, text)));
    out
}

/// Calls within calls that are followed; those within these stay as they are.
const DEPTH_MAX: usize = 32;

/// A text and the calls in it.
struct Calls<'a> {
    text: &'a str,
    pieces: Vec<Piece<'a>>,
    /// The piece that ends each call.
    ends: Vec<Option<usize>>,
}

impl Calls<'_> {
    /// What is between a call and the piece that ends it.
    fn text(&self, tag: &Tag<'_>, end: usize) -> &str {
        match &self.pieces[end] {
            Piece::Tag(close) => &self.text[tag.at.end..close.at.start],
            _ => "",
        }
    }
}

struct Body<'a> {
    entry: &'a Entry,
    context: &'a Context<'a>,
    /// What is to be said, each once.
    said: &'a mut BTreeSet<String>,
    /// Calls that stay as they are.
    left: BTreeMap<String, usize>,
}

impl Body<'_> {
    fn say(&mut self, text: String) {
        self.said.insert(text);
    }

    /// The text of some of the pieces. `depth` is how many calls it is within.
    fn shortcodes(&mut self, calls: &Calls<'_>, within: Range<usize>, depth: usize) -> String {
        let mut out = String::new();
        let mut at = within.start;
        let mut is_html = false;
        while at < within.end {
            let piece = &calls.pieces[at];
            let begin = at + 1;
            at = begin;
            let was_html = std::mem::take(&mut is_html);
            let tag = match piece {
                Piece::Tag(tag) if !tag.is_end => tag,
                piece => {
                    // Up to an empty line all would be HTML, too.
                    if was_html && goes_on(piece.text()) {
                        out.push('\n');
                    }
                    out.push_str(piece.text());
                    continue;
                }
            };
            let end = calls.ends[begin - 1].filter(|end| *end < within.end && depth < DEPTH_MAX);
            match self.call(calls, tag, end.map(|end| begin..end), depth, &out) {
                Some(made) => {
                    is_html = ["</figure>", "</iframe>", "</details>"].iter().any(|end| made.ends_with(end));
                    out.push_str(&made);
                    if let Some(end) = end.filter(|_| takes_inner(tag.name)) {
                        at = end + 1;
                    }
                }
                None => {
                    *self.left.entry(tag.name.to_owned()).or_default() += 1;
                    out.push_str(tag.text);
                }
            }
        }
        out
    }

    /// What a call becomes behind the text `before`, with these pieces up to its end; none where it stays.
    fn call(
        &mut self,
        calls: &Calls<'_>,
        tag: &Tag<'_>,
        inner: Option<Range<usize>>,
        depth: usize,
        before: &str,
    ) -> Option<String> {
        if self.context.own.contains(tag.name) {
            return None;
        }
        match (tag.name, inner) {
            ("ref" | "relref", _) => self.reference(tag, before),
            ("param", _) => {
                let name = tag.argument("name", 0)?;
                let own =
                    find(&self.entry.matter, "params").and_then(|params| find(params.as_table()?, name));
                let own = own.or_else(|| find(&self.entry.matter, name));
                text(own.or_else(|| find(&self.context.settings.params, name))?)
            }
            ("details", Some(inner)) => {
                let inner = self.shortcodes(calls, inner, depth + 1);
                Some(embedded::details(tag, &inner))
            }
            ("comment", Some(_)) => Some(String::new()),
            ("highlight", Some(inner)) => {
                let (fence, unknown) = embedded::highlight(tag, calls.text(tag, inner.end))?;
                self.options_left(&unknown);
                Some(fence)
            }
            ("x" | "twitter" | "tweet" | "instagram", _) => {
                let link = embedded::post(tag)?;
                self.say(format!(
                    "the shortcode `{}` is a link now: what it showed is on another host",
                    tag.name
                ));
                Some(link)
            }
            _ => embedded::element(tag),
        }
    }

    /// The address of content: by its file, where markdown wants an address.
    fn reference(&mut self, tag: &Tag<'_>, before: &str) -> Option<String> {
        if tag.named("lang").or(tag.named("outputFormat")).is_some() {
            return None;
        }
        let whole = tag.argument("path", 0)?;
        let (path, fragment) = whole.split_at(whole.find('#').unwrap_or(whole.len()));
        if path.is_empty() {
            return Some(fragment.to_owned());
        }
        let Some(target) = self.context.places.content(self.entry, path) else {
            self.say(format!("`{}` to {whole:?} leads to no page", tag.name));
            return Some(tag.text.to_owned());
        };
        let line = before.rsplit('\n').next().unwrap_or(before).trim_end_matches('<').trim_end();
        let in_markdown = before.ends_with("](") || before.ends_with("](<") || line.ends_with("]:");
        Some(if in_markdown {
            format!("@/{}{fragment}", target.file)
        } else {
            format!("{}{}{fragment}", self.context.settings.base_path(), target.address)
        })
    }

    fn options_left(&mut self, unknown: &[String]) {
        for name in unknown {
            self.say(format!("`{name}` of a block of code is not converted"));
        }
    }

    /// Rewrites links and fences, and makes links of bare addresses.
    fn markdown(&mut self, text: &str) -> String {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_HEADING_ATTRIBUTES
            | Options::ENABLE_DEFINITION_LIST;
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for target in links::markdown(text, options).targets {
            if let Some(new) = self.link(&target.address, target.markdown) {
                edits.push((target.at, new));
            }
        }
        if self.context.settings.anchors {
            anchors(text, options, self.context.settings.typographer, &mut edits);
        }
        let mut plain: Option<Range<usize>> = None;
        let mut inside = 0_usize;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match &event {
                Event::Text(_) if inside == 0 => {
                    if self.context.settings.attributes
                        && let Some(line) = attributes(text, &range)
                    {
                        edits.push((line, String::new()));
                        self.say("attributes of blocks, such as `{.lead}`, are left out".to_owned());
                        continue;
                    }
                    plain = Some(match plain.take() {
                        Some(open) if open.end == range.start => open.start..range.end,
                        open => {
                            self.bare_addresses(text, open, &mut edits);
                            range
                        }
                    });
                    continue;
                }
                Event::Start(Start::CodeBlock(kind)) => {
                    inside += 1;
                    if let CodeBlockKind::Fenced(info) = kind
                        && let Some((new, unknown)) = embedded::fence(info)
                    {
                        let line = text[range.clone()].lines().next().unwrap_or_default();
                        if let Some(at) = line.find(&**info).map(|at| range.start + at) {
                            edits.push((at..at + info.len(), new));
                            self.options_left(&unknown);
                        }
                    }
                }
                Event::Start(Start::DefinitionListDefinition) => {
                    // For Hugo a colon begins one only with a space behind it.
                    let at =
                        range.start + (text[range.start..].len() - text[range.start..].trim_start().len());
                    if text[at..]
                        .strip_prefix(':')
                        .is_some_and(|rest| !rest.starts_with([' ', '\t', '\r', '\n']))
                    {
                        edits.push((at..at, "\\".to_owned()));
                    }
                }
                Event::Start(Start::Link { .. } | Start::Image { .. }) => inside += 1,
                Event::End(TagEnd::Link | TagEnd::Image | TagEnd::CodeBlock) => {
                    inside = inside.saturating_sub(1)
                }
                _ => {}
            }
            self.bare_addresses(text, plain.take(), &mut edits);
        }
        self.bare_addresses(text, plain, &mut edits);
        edits.sort_by_key(|(range, _)| range.start);
        let mut out = String::with_capacity(text.len() + 64);
        let mut done = 0;
        for (range, new) in edits {
            if range.start >= done {
                out.push_str(&text[done..range.start]);
                out.push_str(&new);
                done = range.end;
            }
        }
        out.push_str(&text[done..]);
        self.html_shown();
        out
    }

    fn bare_addresses(
        &self,
        text: &str,
        range: Option<Range<usize>>,
        edits: &mut Vec<(Range<usize>, String)>,
    ) {
        let Some(range) = range.filter(|_| self.context.settings.linkify) else { return };
        let found = bare::addresses(&text[range.clone()]).into_iter();
        edits.extend(found.map(|(at, link)| (range.start + at.start..range.start + at.end, link)));
    }

    /// Where a link leads now; none where it stays as it is.
    fn link(&mut self, link: &str, in_markdown: bool) -> Option<String> {
        let is_elsewhere = link.starts_with("//")
            || link.split_once(':').is_some_and(|(scheme, _)| {
                !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
            });
        if link.is_empty() || is_elsewhere || link.starts_with(['#', '?', '@', '{']) {
            return None;
        }
        let (path, rest) = link.split_at(link.find(['#', '?']).unwrap_or(link.len()));
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        let (entry, places) = (self.entry, self.context.places);
        let of_file = decoded.ends_with(".md") || decoded.ends_with(".markdown");
        if !of_file {
            if places.is_file(entry, &decoded) {
                return None;
            }
            // An address that has stayed is the same link as before.
            if decoded.starts_with('/') && places.at(entry, &decoded).is_some() {
                return None;
            }
        }
        let target = if of_file { places.content(entry, &decoded) } else { None };
        let target = target.or_else(|| places.at(entry, &decoded));
        let target = target.or_else(|| places.content(entry, &decoded).filter(|_| !decoded.starts_with('/')));
        let Some(target) = target else {
            if of_file || !decoded.starts_with('/') {
                self.say(format!("the link to {link:?} leads to nothing that was found"));
            }
            return None;
        };
        Some(if in_markdown && !rest.starts_with('?') {
            format!("@/{}{rest}", target.file)
        } else if of_file {
            format!("{}{}{rest}", self.context.settings.base_path(), target.address)
        } else {
            return None;
        })
    }

    /// Says that HTML is shown which was not.
    fn html_shown(&mut self) {
        if self.context.settings.html {
            return;
        }
        let mut text = String::new();
        for piece in pieces(&self.entry.body) {
            if let Piece::Text(part) = piece {
                text.push_str(part);
            }
        }
        let is_html = |event: Event<'_>| match event {
            Event::Html(html) | Event::InlineHtml(html) => !html.trim_start().starts_with("<!--"),
            _ => false,
        };
        if Parser::new_ext(&text, Options::ENABLE_TABLES).any(is_html) {
            self.say(
                "it has HTML, which Hugo left out (`markup.goldmark.renderer.unsafe`) and which is shown now"
                    .to_owned(),
            );
        }
    }
}

/// The line of attributes that a text is, such as `{.lead}`, below what they are for.
fn attributes(text: &str, at: &Range<usize>) -> Option<Range<usize>> {
    let rest = text[at.start..].strip_prefix('{')?;
    let begin = text[..at.start].trim_end_matches([' ', '\t']).strip_suffix('\n')?.len();
    let inside = rest.split('\n').next().unwrap_or_default();
    let end = at.start + 1 + inside.len();
    let inside = inside.trim_end().strip_suffix('}')?;
    let above = text[..begin].rsplit('\n').next().unwrap_or_default();
    let is_attributes = inside.starts_with(['.', '#']) || inside.contains('=');
    (is_attributes && !inside.contains(['{', '}']) && !above.trim().is_empty()).then_some(begin..end)
}

/// Writes the ids of headings that would get another one. Signs that were made of hyphens are in none.
fn anchors(text: &str, options: Options, typographer: bool, edits: &mut Vec<(Range<usize>, String)>) {
    let mut ids = Ids::default();
    let mut heading: Option<(String, usize)> = None;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Start::Heading { id: Some(id), .. }) => ids.written(&id),
            Event::Start(Start::Heading { id: None, classes, .. }) if classes.is_empty() => {
                heading = Some((String::new(), range.start));
            }
            Event::End(TagEnd::Heading(_)) => {
                let Some((words, end)) = heading.take() else { continue };
                let rest = text[end..].lines().next().unwrap_or_default();
                // What closes a heading goes.
                if rest.trim().trim_matches('#').is_empty()
                    && let Some(id) = ids.of(&words)
                {
                    edits.push((end..end + rest.len(), format!(" {{#{id}}}")));
                }
            }
            event => {
                let Some((words, end)) = &mut heading else { continue };
                *end = range.end.max(*end);
                match event {
                    Event::Text(part) if typographer => {
                        words.push_str(&part.replace("---", "").replace("--", ""));
                    }
                    Event::Text(part) | Event::Code(part) => words.push_str(&part),
                    Event::SoftBreak | Event::HardBreak => words.push(' '),
                    _ => {}
                }
            }
        }
    }
}

/// Whether a text goes on in the next line.
fn goes_on(text: &str) -> bool {
    let next = text.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n');
    next.is_some_and(|next| next.split_once('\n').is_none_or(|(line, _)| !line.trim().is_empty()))
}

/// Whether what is between a call and its end is part of what it becomes.
fn takes_inner(name: &str) -> bool {
    ["details", "comment", "highlight"].contains(&name)
}

/// Text that an attribute or an element may hold.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(&mut out, text);
    out
}
