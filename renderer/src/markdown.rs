//! Markdown to HTML, with what a site adds to it: links to content, anchors, footnotes, summaries, colours.
//!
//! A pure function of the text and its [`Surroundings`]; what it used of the site (links, images) is reported with the
//! result, so that a remembered result can be checked without rendering again.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;

use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};
use pulldown_cmark_escape::escape_href;
use regex::Regex;

use crate::config::{AnchorLinks, MarkdownConfig};
use crate::highlight::{Fence, escape};
use crate::lines;
use crate::markup::{self, Markup, decoded};
use crate::math::{self, Formulas, Reference};
use crate::slugs::{self, Slugify};

/// What markdown is rendered within.
pub(crate) trait Surroundings {
    fn config(&self) -> &MarkdownConfig;
    /// Whether `$` and `$$` are around formulas.
    fn has_math(&self) -> bool {
        false
    }
    fn slugify_anchors(&self) -> Slugify;
    fn anchor_links(&self) -> AnchorLinks;
    /// The address of the page, for links relative to it.
    fn permalink(&self) -> &str;
    /// The address of a content file or of a co-located file, by its path below `content/`.
    fn resolve(&self, target: &str) -> Option<String>;
    /// The link that is set beside a heading.
    fn anchor_link(&self, id: &str, level: u8, title: &str) -> Result<String, String>;
    /// What a summary that is cut within a line ends with.
    fn summary_cutoff(&self, summary: &str) -> Result<String, String>;
    /// A code block as HTML.
    fn code(&self, fence: &Fence, code: &str) -> Result<String, String>;
    /// Whether an image of this site exists; `None` where that is not checked.
    fn image_exists(&self, source: &str) -> Option<bool>;
    /// What an image of this site is shown with; none where it is shown as it is.
    fn picture(&self, _target: &str) -> Result<Option<Picture>, String> {
        Ok(None)
    }
    /// File and line of a byte of the text, where blocks are to say where they come from.
    fn place(&self, _at: usize) -> Option<String> {
        None
    }
}

/// What an image is shown with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// In pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Addresses that a browser chooses from, each with its width in pixels; none where there is no choice.
    pub(crate) choices: Vec<(String, u32)>,
    /// How wide it is shown, for that choice.
    pub(crate) sizes: String,
}

/// A heading, for tables of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) level: u8,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) children: Vec<Heading>,
}

/// A link to content, and what it became.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ContentLink {
    /// The path below `content/`; empty for the page itself.
    pub(crate) target: String,
    pub(crate) anchor: Option<String>,
    pub(crate) resolved: String,
    /// Where it is in the text, in bytes.
    pub(crate) at: usize,
}

/// What was wrong, and where in the text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) at: usize,
    pub(crate) message: String,
    /// The path of a link that leads nowhere.
    pub(crate) broken: Option<String>,
    /// What to do about it.
    pub(crate) hint: Option<&'static str>,
}

/// A rendered text.
#[derive(Debug, Default)]
pub(crate) struct Html {
    pub(crate) body: String,
    pub(crate) summary: Option<String>,
    pub(crate) toc: Vec<Heading>,
    /// All ids that a link may name.
    pub(crate) anchors: Vec<String>,
    pub(crate) links: Vec<ContentLink>,
    pub(crate) images: Vec<String>,
    pub(crate) external: Vec<String>,
    pub(crate) problems: Vec<Problem>,
}

/// As much of a formula as a message shows, in bytes.
const FORMULA_SHOWN_BYTES_MAX: usize = 60;

static MORE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)<!--\s*more\s*-->").ok());
static IDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\s(?:id|name)\s*=\s*(?:"([^"]+)"|'([^']+)'|([^\s"'>]+))"#).ok());

/// Where HTML has the mark that ends a summary.
fn more(html: &str) -> Option<Range<usize>> {
    if !html.contains("<!--") {
        return None;
    }
    MORE.as_ref()?.find(html).map(|found| found.range())
}

/// What markdown means under a configuration; `math` is whether it has formulas.
pub(crate) fn options(config: &MarkdownConfig, math: bool) -> Options {
    let mut options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES;
    options.set(Options::ENABLE_SMART_PUNCTUATION, config.smart_punctuation);
    options.set(Options::ENABLE_DEFINITION_LIST, config.definition_list);
    options.set(Options::ENABLE_GFM, config.github_alerts);
    options.set(Options::ENABLE_MATH, math);
    options
}

/// Renders a text.
pub(crate) fn render(text: &str, around: &dyn Surroundings) -> Html {
    let options = options(around.config(), around.has_math());
    let events = merged(Parser::new_ext(text, options).into_offset_iter());
    let mut writer = Writer {
        around,
        text,
        formulas: Formulas::default(),
        result: Html::default(),
        out: Vec::with_capacity(events.len()),
        headings: Vec::new(),
        ids: HashSet::new(),
        tried: HashMap::new(),
        more: None,
        footnotes: Footnotes::default(),
        link_ends: Vec::new(),
        is_marked: false,
    };
    if around.has_math() {
        writer.missed_formulas(&events);
    }
    writer.reserve_ids(&events);
    if around.config().bottom_footnotes {
        writer.footnotes = Footnotes::of(&events);
    }
    writer.walk(&events);
    writer.finish(text.len())
}

type Spanned<'a> = (Event<'a>, Range<usize>);

/// The parser splits text at everything that might have meant something; emoji and titles want it whole.
fn merged<'a>(events: impl Iterator<Item = Spanned<'a>>) -> Vec<Spanned<'a>> {
    let mut out: Vec<Spanned<'a>> = Vec::new();
    for (event, range) in events {
        if let (Event::Text(more), Some((Event::Text(text), before))) = (&event, out.last_mut()) {
            let joined = format!("{text}{more}");
            *text = CowStr::from(joined);
            before.end = range.end;
            continue;
        }
        out.push((event, range));
    }
    out
}

/// The notes of a text whose notes stand at its end.
#[derive(Default)]
struct Footnotes<'a> {
    /// Names in the order of their first use, as it is written: a note that refers to another one does so where it stands.
    used: Vec<Footnote<'a>>,
    /// The number of the note at each reference, by where that is in the text, and which of its references it is.
    references: HashMap<usize, (usize, usize)>,
}

struct Footnote<'a> {
    name: CowStr<'a>,
    times: usize,
    /// What is between start and end of its definition.
    definition: Option<Vec<Spanned<'a>>>,
}

impl<'a> Footnotes<'a> {
    fn of(events: &[Spanned<'a>]) -> Self {
        let mut found = Self::default();
        let mut by_name: HashMap<CowStr<'a>, usize> = HashMap::new();
        let mut definitions: HashMap<CowStr<'a>, &[Spanned<'a>]> = HashMap::new();
        for (i, (event, range)) in events.iter().enumerate() {
            match event {
                Event::Start(Tag::FootnoteDefinition(name)) => {
                    definitions.entry(name.clone()).or_insert_with(|| &events[i + 1..skip_to_end(events, i)]);
                }
                Event::FootnoteReference(name) => {
                    let index = *by_name.entry(name.clone()).or_insert_with(|| {
                        found.used.push(Footnote { name: name.clone(), times: 0, definition: None });
                        found.used.len() - 1
                    });
                    found.used[index].times += 1;
                    found.references.insert(range.start, (index + 1, found.used[index].times));
                }
                _ => {}
            }
        }
        for note in &mut found.used {
            note.definition = definitions.remove(&note.name).map(<[_]>::to_vec);
        }
        found
    }
}

struct Writer<'s, 'a> {
    around: &'s dyn Surroundings,
    text: &'a str,
    formulas: Formulas,
    result: Html,
    out: Vec<Event<'a>>,
    headings: Vec<(u8, String, String)>,
    ids: HashSet<String>,
    tried: HashMap<String, usize>,
    /// Where in `out` the summary ends, and what is open there.
    more: Option<(usize, Vec<TagEnd>)>,
    footnotes: Footnotes<'a>,
    /// Whether each open link was written by us.
    link_ends: Vec<bool>,
    /// Whether there are marks of lines among the events.
    is_marked: bool,
}

impl<'a> Writer<'_, 'a> {
    /// Ids that an author chose are taken before any is made.
    fn reserve_ids(&mut self, events: &[Spanned<'a>]) {
        for (event, _) in events {
            if let Event::Start(Tag::Heading { id: Some(id), .. }) = event {
                self.ids.insert(id.to_string());
            }
        }
    }

    fn walk(&mut self, events: &[Spanned<'a>]) {
        let mut open: Vec<TagEnd> = Vec::new();
        let mut i = 0;
        while i < events.len() {
            let (event, range) = &events[i];
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let end = skip_to_end(events, i);
                    let code: String = events[i + 1..end]
                        .iter()
                        .filter_map(|(e, _)| if let Event::Text(t) = e { Some(&**t) } else { None })
                        .collect();
                    let info = match kind {
                        pulldown_cmark::CodeBlockKind::Fenced(info) => &**info,
                        pulldown_cmark::CodeBlockKind::Indented => "",
                    };
                    match self.around.code(&Fence::parse(info), &code) {
                        Ok(html) => {
                            // The line of the code, not of its fence.
                            self.mark(
                                events.get(i + 1).filter(|_| i + 1 < end).map_or(range, |(_, text)| text),
                            );
                            self.out.push(Event::Html(html.into()));
                        }
                        Err(message) => self.problem(range.start, message),
                    }
                    i = end + 1;
                    continue;
                }
                Event::Start(Tag::Heading { level, id, classes, attrs }) => {
                    let end = skip_to_end(events, i);
                    self.mark(range);
                    self.heading(*level, id.as_deref(), classes, attrs, &events[i + 1..end], &open);
                    i = end + 1;
                    continue;
                }
                Event::Start(Tag::FootnoteDefinition(_)) if self.around.config().bottom_footnotes => {
                    i = skip_to_end(events, i) + 1;
                    continue;
                }
                Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                    let end = skip_to_end(events, i);
                    self.image(*link_type, dest_url, title, id, &events[i + 1..end], range);
                    i = end + 1;
                    continue;
                }
                Event::Start(Tag::HtmlBlock) => {
                    let end = skip_to_end(events, i);
                    let html: String = events[i + 1..end]
                        .iter()
                        .filter_map(
                            |(e, _)| if let Event::Html(t) | Event::Text(t) = e { Some(&**t) } else { None },
                        )
                        .collect();
                    self.html(&html, range);
                    match more(&html).filter(|_| self.more.is_none()) {
                        None => {
                            self.mark(range);
                            self.out.push(Event::Html(html.into()));
                        }
                        Some(at) => {
                            let (before, after) =
                                (&html[..at.start], html[at.end..].trim_start_matches('\n'));
                            if !before.trim().is_empty() {
                                self.mark(range);
                                self.out.push(Event::Html(before.to_owned().into()));
                            }
                            self.mark_more(&open);
                            if !after.is_empty() {
                                self.out.push(Event::Html(format!("\n{after}").into()));
                            }
                        }
                    }
                    i = end + 1;
                    continue;
                }
                Event::InlineHtml(html) | Event::Html(html) => {
                    if self.more.is_none() && more(html).is_some() {
                        self.mark_more(&open);
                    } else {
                        self.html(html, range);
                        self.out.push(event.clone());
                    }
                }
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    self.link(*link_type, dest_url, title, id, range);
                    open.push(TagEnd::Link);
                }
                Event::End(TagEnd::Link) => {
                    open.pop();
                    let ours = self.link_ends.pop().unwrap_or(false);
                    self.out.push(if ours {
                        Event::InlineHtml("</a>".into())
                    } else {
                        Event::End(TagEnd::Link)
                    });
                }
                Event::FootnoteReference(name) if self.around.config().bottom_footnotes => {
                    self.footnote_reference(name, range)
                }
                Event::InlineMath(tex) => self.formula(tex, false, range),
                Event::DisplayMath(tex) => self.formula(tex, true, range),
                Event::Text(text) => {
                    let text = self.emoji(text);
                    self.out.push(Event::Text(text));
                }
                Event::Start(tag) => {
                    if let Tag::FootnoteDefinition(name) = tag {
                        self.result.anchors.push(name.to_string());
                    }
                    open.push(tag.to_end());
                    if is_marked_block(tag) {
                        self.mark(range);
                    }
                    self.out.push(event.clone());
                }
                Event::End(_) => {
                    open.pop();
                    self.out.push(event.clone());
                }
                Event::Rule => {
                    self.mark(range);
                    self.out.push(Event::Rule);
                }
                _ => self.out.push(event.clone()),
            }
            i += 1;
        }
    }

    /// What becomes of events that are not written yet; a summary that would end in them ends before them, where this is open.
    fn walked(&mut self, events: &[Spanned<'a>], open: &[TagEnd]) -> Vec<Event<'a>> {
        let (start, had_more) = (self.out.len(), self.more.is_some());
        self.walk(events);
        if !had_more && let Some(more) = &mut self.more {
            *more = (start, open.to_vec());
        }
        self.out.drain(start..).collect()
    }

    fn problem(&mut self, at: usize, message: String) {
        self.result.problems.push(Problem { at, message, broken: None, hint: None });
    }

    fn missed_formulas(&mut self, events: &[Spanned<'a>]) {
        for at in math::missed(self.text, events) {
            let shown = self.text[at..].lines().next().unwrap_or_default();
            let why = "no dollar in its paragraph ends it, or its braces do not match";
            self.wrong_formula(at, shown, why);
        }
    }

    fn wrong_formula(&mut self, at: usize, tex: &str, why: &str) {
        let shown = tex.trim().lines().next().unwrap_or_default();
        let shown = &shown[..shown.floor_char_boundary(FORMULA_SHOWN_BYTES_MAX)];
        self.result.problems.push(Problem {
            at,
            message: format!("the formula `{shown}` cannot be shown: {why}"),
            broken: None,
            hint: Some("a dollar sign that is no formula's is written `\\$`"),
        });
    }

    fn formula(&mut self, tex: &str, is_block: bool, range: &Range<usize>) {
        match self.formulas.html(tex, is_block) {
            Ok(html) => {
                // A label in it is an id.
                self.collect_ids(&html);
                self.out.push(Event::InlineHtml(html.into()));
            }
            Err(wrong) => {
                // In a quote, lines of the text begin with what is no part of the formula.
                let dollars = if is_block { 2 } else { 1 };
                let is_whole =
                    self.text.get(range.start + dollars..).is_some_and(|text| text.starts_with(tex));
                let at = range.start + if is_whole { dollars + wrong.at } else { 0 };
                self.wrong_formula(at, tex, &wrong.message);
            }
        }
    }

    /// Has the block of the next event say where it comes from.
    fn mark(&mut self, range: &Range<usize>) {
        if let Some(place) = self.around.place(range.start) {
            self.is_marked = true;
            self.out.push(lines::mark(&place));
        }
    }

    fn mark_more(&mut self, open: &[TagEnd]) {
        self.more = Some((self.out.len(), open.to_vec()));
        self.out.push(Event::Html("<span id=\"continue-reading\"></span>".into()));
    }

    /// An image of this site that is shown, as it is written and as its address.
    fn needs_image(&mut self, address: &str, written: &str, at: usize) {
        match self.around.image_exists(address) {
            Some(false) => self.result.problems.push(Problem {
                at,
                message: format!("the image `{written}` does not exist"),
                broken: None,
                hint: Some("put it into the page's folder, or into `static/` and begin its address with `/`"),
            }),
            Some(true) => self.result.images.push(address.to_owned()),
            None => {}
        }
    }

    /// HTML that stands in the text: its ids, and the images it shows.
    fn html(&mut self, html: &str, range: &Range<usize>) {
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

    fn collect_ids(&mut self, html: &str) {
        if let Some(re) = IDS.as_ref() {
            for found in re.captures_iter(html) {
                if let Some(id) = found.iter().skip(1).flatten().next() {
                    self.result.anchors.push(id.as_str().to_owned());
                }
            }
        }
    }

    fn emoji(&self, text: &CowStr<'a>) -> CowStr<'a> {
        if !self.around.config().render_emoji || !text.contains(':') {
            return text.clone();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = &**text;
        while let Some(start) = rest.find(':') {
            let (before, after) = rest.split_at(start);
            out.push_str(before);
            let found = after[1..].find(':').and_then(|end| {
                let name = &after[1..=end];
                let plausible = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-'));
                plausible.then(|| emojis::get_by_shortcode(name)).flatten().map(|emoji| (emoji, end + 2))
            });
            match found {
                Some((emoji, length)) => {
                    out.push_str(emoji.as_str());
                    rest = &after[length..];
                }
                None => {
                    out.push(':');
                    rest = &after[1..];
                }
            }
        }
        out.push_str(rest);
        CowStr::from(out)
    }

    fn heading(
        &mut self,
        level: HeadingLevel,
        id: Option<&str>,
        classes: &[CowStr<'a>],
        attrs: &[(CowStr<'a>, Option<CowStr<'a>>)],
        inner: &[Spanned<'a>],
        open: &[TagEnd],
    ) {
        let inside = self.walked(inner, open);
        let mut title = String::new();
        let mut images = 0;
        for event in &inside {
            match event {
                // What stands in for an image is not read out.
                Event::Start(Tag::Image { .. }) => images += 1,
                Event::End(TagEnd::Image) => images -= 1,
                _ if images > 0 => {}
                Event::Text(text) | Event::Code(text) => title.push_str(text),
                Event::InlineHtml(html) => {
                    if let Some((tex, _)) = math::source(html) {
                        title.push_str(&math::unescape(tex));
                    }
                }
                _ => {}
            }
        }
        let title = title.trim().to_owned();
        let id = match id {
            Some(id) => id.to_owned(),
            None => self.new_id(&slugs::anchor(&title, self.around.slugify_anchors())),
        };
        let number = level as u8;
        self.out.push(Event::Start(Tag::Heading {
            level,
            id: Some(id.clone().into()),
            classes: classes.to_vec(),
            attrs: attrs.to_vec(),
        }));
        match self.around.anchor_links() {
            AnchorLinks::None => self.out.extend(inside),
            side => {
                let link = match self.around.anchor_link(&id, number, &title) {
                    Ok(link) => link,
                    Err(message) => {
                        self.problem(inner.first().map_or(0, |(_, range)| range.start), message);
                        String::new()
                    }
                };
                self.collect_ids(&link);
                let (before, after) = match side {
                    AnchorLinks::Left => (link, String::new()),
                    AnchorLinks::Heading => around_heading(&link),
                    AnchorLinks::Right | AnchorLinks::None => (String::new(), link),
                };
                self.out.push(Event::InlineHtml(before.into()));
                self.out.extend(inside);
                self.out.push(Event::InlineHtml(after.into()));
            }
        }
        self.out.push(Event::End(TagEnd::Heading(level)));
        self.result.anchors.push(id.clone());
        self.headings.push((number, id, title));
    }

    fn new_id(&mut self, base: &str) -> String {
        if self.ids.insert(base.to_owned()) {
            return base.to_owned();
        }
        // Counted on from the last one tried: a page of ten thousand equal headings must not try them all each time.
        let mut n = self.tried.get(base).copied().unwrap_or(0);
        loop {
            n += 1;
            let id = format!("{base}-{n}");
            if self.ids.insert(id.clone()) {
                self.tried.insert(base.to_owned(), n);
                return id;
            }
        }
    }

    /// What a link's target becomes.
    fn target(&mut self, dest: &str, range: &Range<usize>) -> String {
        if let Some(inside) = dest.strip_prefix("@/") {
            let (path, anchor) = match inside.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (inside, None),
            };
            let plain = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
            return match self.around.resolve(&plain) {
                Some(resolved) => {
                    self.result.links.push(ContentLink {
                        target: plain,
                        anchor: anchor.filter(|a| !a.is_empty()).map(str::to_owned),
                        resolved: resolved.clone(),
                        at: range.start,
                    });
                    match anchor {
                        Some(anchor) => format!("{resolved}#{anchor}"),
                        None => resolved,
                    }
                }
                None => {
                    // Where that is no error, a content that comes to be there is seen by it.
                    self.result.links.push(ContentLink {
                        target: plain.clone(),
                        anchor: None,
                        resolved: String::new(),
                        at: range.start,
                    });
                    self.result.problems.push(Problem {
                        at: range.start,
                        message: format!("the link `{dest}` leads to no content"),
                        broken: Some(plain),
                        hint: Some("name a file by its path below `content/`"),
                    });
                    dest.to_owned()
                }
            };
        }
        if let Some(anchor) = dest.strip_prefix('#') {
            if !anchor.is_empty() {
                self.result.links.push(ContentLink {
                    target: String::new(),
                    anchor: Some(anchor.to_owned()),
                    resolved: String::new(),
                    at: range.start,
                });
                // A summary or a feed shows it elsewhere too.
                return format!("{}{dest}", self.around.permalink());
            }
            return dest.to_owned();
        }
        if is_colocated(dest) {
            return format!("{}{dest}", self.around.permalink());
        }
        dest.to_owned()
    }

    fn link(
        &mut self,
        link_type: LinkType,
        dest: &CowStr<'a>,
        title: &CowStr<'a>,
        id: &CowStr<'a>,
        range: &Range<usize>,
    ) {
        if link_type == LinkType::Email {
            self.link_ends.push(false);
            self.out.push(Event::Start(Tag::Link {
                link_type,
                dest_url: dest.clone(),
                title: title.clone(),
                id: id.clone(),
            }));
            return;
        }
        let target = self.target(dest, range);
        if !is_external(dest) {
            self.link_ends.push(false);
            self.out.push(Event::Start(Tag::Link {
                link_type: LinkType::Inline,
                dest_url: target.into(),
                title: title.clone(),
                id: id.clone(),
            }));
            return;
        }
        self.result.external.push(target.clone());
        let config = self.around.config();
        let mut rel = Vec::new();
        if config.external_links_target_blank {
            rel.push("noopener");
        }
        if config.external_links_no_follow {
            rel.push("nofollow");
        }
        if config.external_links_no_referrer {
            rel.push("noreferrer");
        }
        let mut open = String::from("<a");
        if let Some(class) = &config.external_links_class {
            open.push_str(" class=\"");
            escape(&mut open, class);
            open.push('"');
        }
        if config.external_links_external {
            rel.push("external");
        }
        if !rel.is_empty() {
            let _ = write!(open, " rel=\"{}\"", rel.join(" "));
        }
        if config.external_links_target_blank {
            open.push_str(" target=\"_blank\"");
        }
        open.push_str(" href=\"");
        let _ = escape_href(&mut open, &target);
        open.push('"');
        if !title.is_empty() {
            open.push_str(" title=\"");
            escape(&mut open, title);
            open.push('"');
        }
        open.push('>');
        self.link_ends.push(true);
        self.out.push(Event::InlineHtml(open.into()));
    }

    fn image(
        &mut self,
        link_type: LinkType,
        dest: &CowStr<'a>,
        title: &CowStr<'a>,
        id: &CowStr<'a>,
        inner: &[Spanned<'a>],
        range: &Range<usize>,
    ) {
        let target = if dest.starts_with('#') { dest.to_string() } else { self.target(dest, range) };
        let mut picture = None;
        // A link to content that leads nowhere has been told.
        if !target.starts_with("@/") {
            self.needs_image(&target, dest, range.start);
        }
        if !is_external(dest) && !dest.starts_with("data:") {
            picture = self.around.picture(&target).unwrap_or_else(|message| {
                self.problem(range.start, message);
                None
            });
        }
        let is_lazy = self.around.config().lazy_async_image;
        if !is_lazy && picture.is_none() {
            self.out.push(Event::Start(Tag::Image {
                link_type,
                dest_url: target.into(),
                title: title.clone(),
                id: id.clone(),
            }));
            let inner = inner.iter().map(|(event, _)| event);
            let said: Vec<Event<'a>> = inner.filter_map(|event| self.said(event)).collect();
            self.out.extend(said);
            self.out.push(Event::End(TagEnd::Image));
            return;
        }
        let mut html = String::from("<img src=\"");
        let _ = escape_href(&mut html, &target);
        html.push_str("\" alt=\"");
        for event in inner.iter().filter_map(|(event, _)| self.said(event)) {
            match event {
                Event::Text(text)
                | Event::Code(text)
                | Event::InlineMath(text)
                | Event::DisplayMath(text) => escape(&mut html, &text),
                Event::SoftBreak | Event::HardBreak => html.push(' '),
                _ => {}
            }
        }
        html.push('"');
        if !title.is_empty() {
            html.push_str(" title=\"");
            escape(&mut html, title);
            html.push('"');
        }
        if let Some(picture) = picture {
            picture.write(&mut html);
        }
        if is_lazy {
            html.push_str(" loading=\"lazy\" decoding=\"async\"");
        }
        html.push_str(" />");
        self.out.push(Event::InlineHtml(html.into()));
    }

    /// What stands in for an image says of what is written for it: no markup.
    fn said(&self, event: &Event<'a>) -> Option<Event<'a>> {
        match event {
            Event::InlineHtml(_) => None,
            Event::Text(text) => Some(Event::Text(self.emoji(text))),
            event => Some(event.clone()),
        }
    }

    fn footnote_reference(&mut self, name: &CowStr<'a>, range: &Range<usize>) {
        let Some(&(number, times)) = self.footnotes.references.get(&range.start) else { return };
        let mut html = String::from("<sup class=\"footnote-reference\" id=\"fr-");
        escape(&mut html, name);
        let _ = write!(html, "-{times}\"><a href=\"#fn-");
        let _ = escape_href(&mut html, name);
        let _ = write!(html, "\">[{number}]</a></sup>");
        self.result.anchors.push(format!("fr-{name}-{times}"));
        self.out.push(Event::InlineHtml(html.into()));
    }

    fn write_footnotes(&mut self) {
        let mut items: Vec<Event<'a>> = Vec::new();
        for Footnote { name, times, definition } in std::mem::take(&mut self.footnotes.used) {
            let Some(definition) = definition else { continue };
            let mut inside = self.walked(&definition, &[]);
            let mut back = String::new();
            for n in 1..=times {
                back.push_str(" <a href=\"#fr-");
                let _ = escape_href(&mut back, &name);
                let _ = write!(back, "-{n}\">↩");
                if n > 1 {
                    let _ = write!(back, "{n}");
                }
                back.push_str("</a>");
            }
            // In the note's last paragraph, or else below all of it.
            let paragraph = inside.iter().rposition(|event| *event == Event::End(TagEnd::Paragraph));
            inside.insert(paragraph.unwrap_or(inside.len()), Event::InlineHtml(back.into()));
            self.result.anchors.push(format!("fn-{name}"));
            let mut open = String::from("<li id=\"fn-");
            escape(&mut open, &name);
            open.push_str("\">\n");
            items.push(Event::Html(open.into()));
            items.extend(inside);
            items.push(Event::Html("</li>\n".into()));
        }
        if items.is_empty() {
            return;
        }
        self.out.push(Event::Html("<section class=\"footnotes\">\n<ol class=\"footnotes-list\">\n".into()));
        self.out.extend(items);
        self.out.push(Event::Html("</ol>\n</section>\n".into()));
    }

    fn finish(mut self, length: usize) -> Html {
        self.write_footnotes();
        if let Some((at, open)) = &self.more {
            let is_reference = |event: &Event<'_>| match event {
                Event::FootnoteReference(_) => true,
                Event::InlineHtml(html) => html.starts_with("<sup class=\"footnote-reference\""),
                _ => false,
            };
            let mut head: Vec<Event<'a>> =
                self.out[..*at].iter().filter(|event| !is_reference(event)).cloned().collect();
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
                    Err(message) => {
                        self.result.problems.push(Problem { at: 0, message, broken: None, hint: None });
                    }
                }
            }
            summary.truncate(summary.trim_end().len());
            self.result.summary = Some(summary);
            self.result.anchors.push("continue-reading".to_owned());
        }
        let mut body = String::with_capacity(length * 3 / 2);
        push_html(self.is_marked, &mut body, self.out.into_iter());
        for reference in self.formulas.references() {
            match reference {
                Reference::Met { early, late } => {
                    body = body.replace(&early, &late);
                    self.result.summary = self.result.summary.map(|summary| summary.replace(&early, &late));
                }
                Reference::Unknown(label) => {
                    let written = format!("\\eqref{{{label}}}");
                    self.result.problems.push(Problem {
                        at: self.text.find(&written).or_else(|| self.text.find("\\eqref")).unwrap_or(0),
                        message: format!("`{written}` refers to an equation that the page does not have"),
                        broken: None,
                        hint: Some("an equation gets its label by `\\label{…}` in it"),
                    });
                }
            }
        }
        self.result.body = body;
        self.result.toc = nest(self.headings);
        self.result
    }
}

impl Picture {
    /// Writes its attributes.
    fn write(&self, html: &mut String) {
        let _ = write!(html, " width=\"{}\" height=\"{}\"", self.width, self.height);
        if self.choices.is_empty() {
            return;
        }
        html.push_str(" srcset=\"");
        for (i, (address, width)) in self.choices.iter().enumerate() {
            if i > 0 {
                html.push_str(", ");
            }
            let _ = escape_href(&mut *html, address);
            let _ = write!(html, " {width}w");
        }
        html.push_str("\" sizes=\"");
        escape(html, &self.sizes);
        html.push('"');
    }
}

fn push_html<'a>(is_marked: bool, out: &mut String, events: impl Iterator<Item = Event<'a>>) {
    if is_marked { lines::push_html(out, events) } else { html::push_html(out, events) }
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

/// Blocks whose tag says where they come from; lists and definitions leave that to what is in them.
fn is_marked_block(tag: &Tag<'_>) -> bool {
    use Tag::{BlockQuote, DefinitionListDefinition, DefinitionListTitle, Item, Paragraph, Table, TableRow};
    matches!(
        tag,
        Paragraph
            | BlockQuote(_)
            | Item
            | Table(_)
            | TableRow
            | DefinitionListTitle
            | DefinitionListDefinition
    )
}

fn skip_to_end(events: &[Spanned<'_>], start: usize) -> usize {
    let mut depth = 0_usize;
    for (i, (event, _)) in events.iter().enumerate().skip(start) {
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    events.len().saturating_sub(1).max(start)
}

/// Headings as a tree: each holds the deeper ones that follow it.
fn nest(headings: Vec<(u8, String, String)>) -> Vec<Heading> {
    let mut roots: Vec<Heading> = Vec::new();
    for (level, id, title) in headings {
        let heading = Heading { level, id, title, children: Vec::new() };
        let mut list = &mut roots;
        // A heading belongs to the last one above it that is less deep.
        while list.last().is_some_and(|last| last.level < level) {
            let end = list.len() - 1;
            list = &mut list[end].children;
        }
        list.push(heading);
    }
    roots
}

/// What makes a whole heading the link that a template writes: its tags, without what is between them.
fn around_heading(link: &str) -> (String, String) {
    let open = link.match_indices("<a").find_map(|(start, _)| {
        let tag = &link[start..=start + link[start..].find('>')?];
        tag[2..].starts_with(|c: char| c.is_whitespace() || c == '>').then(|| tag.to_owned())
    });
    open.map_or_else(Default::default, |open| (open, "</a>".to_owned()))
}

fn is_external(dest: &str) -> bool {
    dest.starts_with("http://") || dest.starts_with("https://") || dest.starts_with("//")
}

/// Whether a target is to be found from the page's own address, wherever the text is shown: a file beside the page or in a
/// folder there, or the page itself with a query. What leads out of the folder stays as it is.
fn is_colocated(dest: &str) -> bool {
    let has_scheme = dest.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    !dest.is_empty() && !dest.starts_with(['/', '#']) && !dest.starts_with("..") && !has_scheme
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Test(MarkdownConfig, AnchorLinks);

    impl Surroundings for Test {
        fn config(&self) -> &MarkdownConfig {
            &self.0
        }
        fn slugify_anchors(&self) -> Slugify {
            Slugify::On
        }
        fn anchor_links(&self) -> AnchorLinks {
            self.1
        }
        fn permalink(&self) -> &str {
            "https://x.example/p/"
        }
        fn resolve(&self, target: &str) -> Option<String> {
            (target == "a.md").then(|| "https://x.example/a/".to_owned())
        }
        fn anchor_link(&self, id: &str, _: u8, _: &str) -> Result<String, String> {
            Ok(format!("<a href=\"#{id}\">#</a>"))
        }
        fn summary_cutoff(&self, _: &str) -> Result<String, String> {
            Ok("…".to_owned())
        }
        fn code(&self, fence: &Fence, code: &str) -> Result<String, String> {
            let known = crate::blocks::Blocks::new(0);
            Ok(crate::highlight::CodeStyle::new(None, false).block(fence, code, &known).html)
        }
        fn image_exists(&self, _: &str) -> Option<bool> {
            None
        }
    }

    fn test(text: &str) -> Html {
        let config = MarkdownConfig {
            bottom_footnotes: true,
            render_emoji: true,
            external_links_target_blank: true,
            ..MarkdownConfig::default()
        };
        render(text, &Test(config, AnchorLinks::None))
    }

    #[test]
    fn links_and_images() {
        let html = test(
            "[a](@/a.md#x) [b](b.csv) [c](https://c.example?a=1&b=2 \"t\") ![i](i.png) <m@x.example> :tada: [no](@/no.md) [q](?q=1)",
        );
        insta::assert_snapshot!(html.body, @r#"<p><a href="https://x.example/a/#x">a</a> <a href="https://x.example/p/b.csv">b</a> <a rel="noopener external" target="_blank" href="https://c.example?a=1&amp;b=2" title="t">c</a> <img src="https://x.example/p/i.png" alt="i" /> <a href="mailto:m@x.example">m@x.example</a> 🎉 <a href="@/no.md">no</a> <a href="https://x.example/p/?q=1">q</a></p>"#);
        assert_eq!(html.links[0].anchor.as_deref(), Some("x"));
        assert_eq!(html.problems[0].broken.as_deref(), Some("no.md"));
    }

    #[test]
    fn headings_summary_and_notes() {
        let html = test(
            "Intro[^n].\n\n<!-- more -->\n\n# A\n\n## B `c`\n\n### B c\n\n## B {#own}\n\n[^n]: Note[^m].\n\n[^m]: More.\n",
        );
        assert_eq!(html.summary.as_deref(), Some("<p>Intro.</p>"));
        assert_eq!(html.toc.len(), 1);
        assert_eq!(html.toc[0].children.iter().map(|h| h.id.as_str()).collect::<Vec<_>>(), ["b-c", "own"]);
        assert_eq!(html.toc[0].children[0].children[0].id, "b-c-1");
        insta::assert_snapshot!(html.body, @r##"
        <p>Intro<sup class="footnote-reference" id="fr-n-1"><a href="#fn-n">[1]</a></sup>.</p>
        <span id="continue-reading"></span>
        <h1 id="a">A</h1>
        <h2 id="b-c">B <code>c</code></h2>
        <h3 id="b-c-1">B c</h3>
        <h2 id="own">B</h2>
        <section class="footnotes">
        <ol class="footnotes-list">
        <li id="fn-n">
        <p>Note<sup class="footnote-reference" id="fr-m-1"><a href="#fn-m">[2]</a></sup>. <a href="#fr-n-1">↩</a></p>
        </li>
        <li id="fn-m">
        <p>More. <a href="#fr-m-1">↩</a></p>
        </li>
        </ol>
        </section>
        "##);
    }

    #[test]
    fn a_summary_closes_what_is_open() {
        let html = test("- a *b <!-- more --> c*\n");
        assert_eq!(html.summary.as_deref(), Some("<ul>\n<li>a <em>b…</em></li>\n</ul>"));
    }
}
