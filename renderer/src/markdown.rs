//! Markdown to HTML, with what a site adds to it: links to content, anchors, footnotes, summaries, colours.
//!
//! A pure function of the text and its [`Surroundings`]; what it used of the site (links, images) is reported with the
//! result, so that a remembered result can be checked without rendering again.

mod footnotes;
mod formulas;
mod headings;
mod html;
mod links;
mod summary;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd};

use self::footnotes::Footnotes;
use self::summary::{Cut, more};
use crate::config::{AnchorLinks, MarkdownConfig};
use crate::highlight::Fence;
use crate::lines;
use crate::math::Formulas;
use crate::slugs::Slugify;

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
    /// What leads nowhere.
    pub(crate) broken: Option<Broken>,
    /// What to do about it.
    pub(crate) hint: Option<&'static str>,
}

/// What `internal_level` of a site may only warn of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A link to content, by its path.
    Link(String),
    Image,
    /// A link whose address is left out.
    NoAddress,
}

impl Problem {
    /// The path of a link that leads to no content.
    pub(crate) fn link(&self) -> Option<&str> {
        match &self.broken {
            Some(Broken::Link(target)) => Some(target),
            Some(Broken::Image | Broken::NoAddress) | None => None,
        }
    }
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
        untold: 0,
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

/// Whether a text between two colons can be the name of an emoji.
fn is_shortcode(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| matches!(b, b'a'..=b'z' | b'1' | b'2' | b'3' | b'8' | b'+' | b'-'))
        && bytes.all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

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

struct Writer<'s, 'a> {
    around: &'s dyn Surroundings,
    text: &'a str,
    formulas: Formulas,
    result: Html,
    out: Vec<Event<'a>>,
    headings: Vec<(u8, String, String)>,
    ids: HashSet<String>,
    tried: HashMap<String, usize>,
    more: Option<Cut>,
    /// How much of what is open was so when the last link to another site ended. As in Zola, a summary that ends in that,
    /// and in nothing that began later, does not say that it is cut.
    untold: usize,
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
                Event::Start(tag) if self.is_whole(tag) => {
                    let end = skip_to_end(events, i);
                    self.whole(tag, &events[i + 1..end], range, &open);
                    i = end;
                }
                event => self.event(event, range, &mut open),
            }
            i += 1;
        }
    }

    /// Whether what is between start and end of it is needed at its start.
    fn is_whole(&self, tag: &Tag<'a>) -> bool {
        match tag {
            Tag::CodeBlock(_) | Tag::Heading { .. } | Tag::Image { .. } | Tag::HtmlBlock => true,
            Tag::FootnoteDefinition(_) => self.around.config().bottom_footnotes,
            _ => false,
        }
    }

    fn whole(&mut self, tag: &Tag<'a>, inside: &[Spanned<'a>], range: &Range<usize>, open: &[TagEnd]) {
        match tag {
            Tag::CodeBlock(kind) => self.code_block(kind, inside, range),
            Tag::Heading { level, id, classes, attrs } => {
                self.mark(range);
                self.heading(*level, id.as_deref(), classes, attrs, inside, open);
            }
            Tag::Image { link_type, dest_url, title, id } => {
                self.image(*link_type, dest_url, title, id, inside, range);
            }
            Tag::HtmlBlock => self.html_block(inside, range, open),
            // A note, which is written at the end.
            _ => {}
        }
    }

    fn event(&mut self, event: &Event<'a>, range: &Range<usize>, open: &mut Vec<TagEnd>) {
        match event {
            Event::InlineHtml(html) | Event::Html(html) => {
                if self.more.is_none() && more(html).is_some() {
                    self.mark_more(open);
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
                self.untold = if ours { open.len() } else { self.untold.min(open.len()) };
                self.out.push(if ours { Event::InlineHtml("</a>".into()) } else { Event::End(TagEnd::Link) });
            }
            Event::FootnoteReference(name) if self.around.config().bottom_footnotes => {
                self.footnote_reference(name, range);
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
                self.untold = self.untold.min(open.len());
                self.out.push(event.clone());
            }
            Event::Rule => {
                self.mark(range);
                self.out.push(Event::Rule);
            }
            _ => self.out.push(event.clone()),
        }
    }

    /// What becomes of events that are not written yet; a summary that would end in them ends before them, where this is open.
    fn walked(&mut self, events: &[Spanned<'a>], open: &[TagEnd]) -> Vec<Event<'a>> {
        let (start, had_more) = (self.out.len(), self.more.is_some());
        self.walk(events);
        if !had_more && self.more.is_some() {
            self.more = Some(self.cut(start, open));
        }
        self.out.drain(start..).collect()
    }

    fn problem(&mut self, at: usize, message: String) {
        self.result.problems.push(Problem { at, message, broken: None, hint: None });
    }

    /// Has the block of the next event say where it comes from.
    fn mark(&mut self, range: &Range<usize>) {
        if let Some(place) = self.around.place(range.start) {
            self.is_marked = true;
            self.out.push(lines::mark(&place));
        }
    }

    fn code_block(&mut self, kind: &CodeBlockKind<'a>, inside: &[Spanned<'a>], range: &Range<usize>) {
        let code: String = inside
            .iter()
            .filter_map(|(event, _)| if let Event::Text(text) = event { Some(&**text) } else { None })
            .collect();
        let info = match kind {
            CodeBlockKind::Fenced(info) => &**info,
            CodeBlockKind::Indented => "",
        };
        match self.around.code(&Fence::parse(info), &code) {
            Ok(html) => {
                // The line of the code, not of its fence.
                self.mark(inside.first().map_or(range, |(_, text)| text));
                self.out.push(Event::Html(html.into()));
            }
            Err(message) => self.problem(range.start, message),
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
            let name = after[1..].split_once(':').map(|(name, _)| name).filter(|name| is_shortcode(name));
            // As in Zola, a name of no emoji takes the colon behind it along: `at 10:30:smile:` has none.
            let length = name.map_or(1, |name| name.len() + 2);
            match name.and_then(emojis::get_by_shortcode) {
                Some(emoji) => out.push_str(emoji.as_str()),
                None => out.push_str(&after[..length]),
            }
            rest = &after[length..];
        }
        out.push_str(rest);
        CowStr::from(out)
    }

    fn finish(mut self, length: usize) -> Html {
        self.write_footnotes();
        if let Some(cut) = self.more.take() {
            self.result.summary = Some(self.summary(cut));
            self.result.anchors.push("continue-reading".to_owned());
        }
        let mut body = String::with_capacity(length * 3 / 2);
        push_html(self.is_marked, &mut body, std::mem::take(&mut self.out).into_iter());
        self.result.body = body;
        self.fill_references();
        self.result.toc = headings::nest(self.headings);
        self.result
    }
}

fn push_html<'a>(is_marked: bool, out: &mut String, events: impl Iterator<Item = Event<'a>>) {
    if is_marked { lines::push_html(out, events) } else { pulldown_cmark::html::push_html(out, events) }
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
        assert_eq!(html.problems[0].link(), Some("no.md"));
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
