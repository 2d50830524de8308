//! The content of pages and sections as HTML: its templates run, its markdown rendered, what it leads to noted.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, PoisonError};

use blake3::Hash;
use bytes::Bytes;
use tera::{Context, Map, Value};

use super::{Capped, Parts, Site, anchor_hash, encode_path};
use crate::config::{AnchorLinks, Level, MarkdownConfig};
use crate::diagnostic::Diagnostic;
use crate::front_matter;
use crate::graph;
use crate::highlight::{self, Fence};
use crate::images::{self, Shown};
use crate::library::{CONTENT, Content, PageId, Parsed, SectionId, guard_heading_ids};
use crate::lines::Lines;
use crate::markdown::{self, ContentLink, Heading, Picture, Problem, Surroundings};
use crate::reads::{Node, note, noted, unnoted};
use crate::scope::Scope;
use crate::slugs::Slugify;
use crate::templates::{self, Fields};
use crate::value::{self, key};

/// The content of a page or section as templates get it, and what it used.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) content: Value,
    pub(crate) summary: Value,
    /// Made into a value where a template asks for it: as one it takes several times as much.
    pub(crate) toc: Box<[Heading]>,
    pub(crate) facts: Arc<Facts>,
    links: Box<[ContentLink]>,
    images: Box<[String]>,
    /// Images by the address that the content gives, and what they are shown with.
    shown: Box<[(String, Shown)]>,
    /// What it read beside its own text.
    reads: Box<[Node]>,
}

/// What is known of a content for the check of links to headings.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Facts {
    pub(crate) anchors: Box<[u64]>,
    /// Links to headings.
    pub(crate) links: Box<[ContentLink]>,
}

/// What its own templates see of a page or section: its text is not there yet, nor is it said how it stands to others.
fn unborn(value: Value) -> Value {
    let mut map = value.into_map().unwrap_or_default();
    let lists = ["toc", "translations", "backlinks"].map(|name| (name, Value::from(Vec::<Value>::new())));
    let nothing = ["summary", "lower", "higher"].map(|name| (name, Value::none()));
    for (name, empty) in lists.into_iter().chain(nothing).chain([("content", Value::from(""))]) {
        map.entry(key(name)).or_insert(empty);
    }
    value::map(map)
}

impl Site {
    /// The rendered content of a page.
    pub(crate) fn page_html(
        self: &Arc<Self>,
        id: PageId,
        absolute: bool,
    ) -> Result<Arc<Rendered>, Vec<Diagnostic>> {
        self.html(&self.of_page(id, absolute), &self.library.page(id).parsed)
    }

    /// The rendered content of a section.
    pub(crate) fn section_html(
        self: &Arc<Self>,
        id: SectionId,
        absolute: bool,
    ) -> Result<Arc<Rendered>, Vec<Diagnostic>> {
        match &self.library.section(id).parsed {
            Some(parsed) => self.html(&self.of_section(id, absolute), parsed),
            None => Ok(Arc::new(Rendered::empty())),
        }
    }

    /// The rendered content of a source file, if it has any.
    pub(crate) fn content_html(
        self: &Arc<Self>,
        source: &str,
        absolute: bool,
    ) -> Option<Result<Arc<Rendered>, Vec<Diagnostic>>> {
        if let Some(id) = self.library.page_of(source) {
            return Some(self.page_html(id, absolute));
        }
        self.library.section_of(source).map(|id| self.section_html(id, absolute))
    }

    /// What is known of a content whose output could not be made.
    pub(crate) fn facts_despite(self: &Arc<Self>, source: &str) -> Option<Arc<Facts>> {
        let known = self.broken.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
        // Else it is its template that fails.
        known.or_else(|| Some(self.content_html(source, false)?.ok()?.facts.clone()))
    }

    /// The digest of a content's text and of what it becomes HTML by.
    pub(crate) fn text_value(&self, source: &str, absolute: bool) -> Option<Hash> {
        if let Some(id) = self.library.page_of(source) {
            return Some(self.text_digest(&self.of_page(id, absolute), &self.library.page(id).parsed));
        }
        let id = self.library.section_of(source)?;
        let parsed = self.library.section(id).parsed.as_ref()?;
        Some(self.text_digest(&self.of_section(id, absolute), parsed))
    }

    fn of_page(&self, id: PageId, absolute: bool) -> Of<'_> {
        let page = self.library.page(id);
        Of {
            content: Content::Page(id),
            source: &page.source,
            lang: &page.lang,
            path: &page.path,
            anchors: self.anchors_of(page),
            absolute,
        }
    }

    fn of_section(&self, id: SectionId, absolute: bool) -> Of<'_> {
        let section = self.library.section(id);
        Of {
            content: Content::Section(id),
            source: &section.source,
            lang: &section.lang,
            path: &section.path,
            anchors: section.matter.insert_anchor_links.unwrap_or(self.config.markdown.insert_anchor_links),
            absolute,
        }
    }

    fn text_digest(&self, of: &Of<'_>, parsed: &Parsed) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(parsed.digest.as_bytes());
        hasher.update(self.look.as_bytes());
        hasher.update(self.permalink(of.path, of.absolute).as_bytes());
        // What is in a page and in a section is the same text and not the same template.
        let is_section = matches!(of.content, Content::Section(_));
        hasher.update(&[0, of.anchors as u8, u8::from(parsed.templated), u8::from(is_section)]);
        hasher.update(of.lang.as_bytes());
        // Blocks and warnings say the file that they are of.
        hasher.update(&[0]).update(of.source.as_bytes());
        hasher.finalize()
    }

    fn html(self: &Arc<Self>, of: &Of<'_>, parsed: &Parsed) -> Result<Arc<Rendered>, Vec<Diagnostic>> {
        let is_noted = self.is_tracked() || self.lacks_content();
        let mut name = self.text_digest(of, parsed);
        if parsed.templated || self.engine.asks_within_content || !is_noted {
            // What a template reads is not known here, so it is good for this render only, and so is what was rendered while
            // nobody noted what it read.
            let mut hasher = blake3::Hasher::new();
            hasher.update(name.as_bytes()).update(&self.render.to_le_bytes());
            name = hasher.finalize();
        }
        if let Some(known) = self.memory.html.get(&name)
            && unnoted(|| self.still_holds(&known, of))
        {
            for wish in known.shown.iter().flat_map(|(_, shown)| &shown.copies) {
                self.images.add(wish);
            }
            self.keep(of, &known);
            return Ok(known);
        }
        if self.library.stand_ins.contains(of.source) {
            // What is wrong with it has been told.
            return Err(Vec::new());
        }
        let render = || self.render_content(of, parsed, &self.permalink(of.path, of.absolute));
        let (rendered, reads) = if is_noted { noted(render) } else { (render(), Box::default()) };
        let rendered = Arc::new(Rendered { reads, ..rendered? });
        self.memory.html.insert(name, rendered.clone(), rendered.bytes());
        self.keep(of, &rendered);
        Ok(rendered)
    }

    /// Keeps what a graph must know of a content.
    fn keep(&self, of: &Of<'_>, rendered: &Rendered) {
        let Some(fresh) = &self.fresh else { return };
        let name = (Arc::clone(of.source), of.absolute);
        if fresh.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name) {
            return;
        }
        let text = Node::Text(name.0.clone(), of.absolute);
        let content = graph::Content {
            parts: Parts::of(&rendered.content, &rendered.summary, &rendered.toc),
            facts: rendered.facts.clone(),
            reads: rendered.reads.iter().cloned().chain([text]).collect(),
        };
        fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(name, content);
    }

    fn still_holds(&self, rendered: &Rendered, of: &Of<'_>) -> bool {
        rendered.links.iter().all(|link| {
            link.target.is_empty()
                || self.resolve(&link.target, of.absolute).as_deref() == Some(&link.resolved)
        }) && rendered.images.iter().all(|image| self.image_exists(image, of) != Some(false))
            && rendered.shown.iter().all(|(image, shown)| {
                self.image_file(image, of) == Some((shown.source.clone(), shown.digest))
            })
    }

    fn render_content(
        self: &Arc<Self>,
        of: &Of<'_>,
        parsed: &Parsed,
        permalink: &str,
    ) -> Result<Rendered, Vec<Diagnostic>> {
        let unreadable = |e: io::Error| vec![Diagnostic::unreadable(&**of.source, &e)];
        let bytes = match &parsed.text {
            Some(text) => Bytes::copy_from_slice(text.as_bytes()),
            None => match self.sources.get(of.source) {
                Some(file) => file.read().map_err(unreadable)?,
                None => return Err(unreadable(io::ErrorKind::NotFound.into())),
            },
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| unreadable(io::Error::other(e)))?;
        let body = text.get(parsed.body as usize..).unwrap_or("");
        let expanded = if parsed.templated { Some(self.expand(of, text, body)?) } else { None };
        if parsed.templated {
            let found = templates::arguments::warnings([(of.source, text, text.len() - body.len())]);
            found.into_iter().for_each(|warning| self.warn(warning));
        }
        let lines = (self.source_lines && parsed.text.is_none()).then(|| {
            let at = text.len() - body.len();
            match &expanded {
                Some(expanded) => Lines::of_expanded(of.source, text, at, expanded),
                None => Lines::of_file(of.source, text, at),
            }
        });
        let around = Around { site: self, of, permalink, lines, shown: RefCell::default() };
        let html = markdown::render(expanded.as_deref().unwrap_or(body), &around);
        let told = |problem: Problem| {
            // The place in a template's output says nothing; the link's text does.
            let at = match (&expanded, problem.link()) {
                (None, _) => Some(parsed.body as usize + problem.at),
                (Some(_), Some(target)) => front_matter::written(text, &format!("@/{target}")),
                (Some(_), None) => {
                    let words = problem.message.split('`').nth(1);
                    words.and_then(|words| front_matter::written(text, words))
                }
            };
            let near = problem.link().and_then(|target| self.near_target(target));
            let (message, word) = match problem.message.rsplit_once(", did you mean ") {
                Some((message, word)) => (message, Some(format!("did you mean {word}"))),
                None => (problem.message.as_str(), None),
            };
            let hint = near.or(word).or_else(|| problem.hint.map(str::to_owned));
            let diagnostic = Diagnostic::in_file(&**of.source, message);
            match at {
                Some(at) if parsed.text.is_none() => diagnostic.at(text, at),
                _ => diagnostic,
            }
            .maybe_hint(hint)
        };
        let mut links = html.links;
        for link in &mut links {
            link.at = if expanded.is_none() { link.at + parsed.body as usize } else { 0 };
        }
        let facts = Arc::new(Facts {
            anchors: html.anchors.iter().map(|a| anchor_hash(a)).collect(),
            links: links.iter().filter(|link| link.anchor.is_some()).cloned().collect(),
        });
        let (passing, problems): (Vec<_>, Vec<_>) =
            html.problems.into_iter().partition(|problem| self.passes_over(problem));
        if !problems.is_empty() {
            // What a row would have made is not missed beside it.
            let lacks = |target: &str| self.faults.lacks_page(&format!("{CONTENT}{target}"));
            let told: Vec<_> =
                problems.into_iter().filter(|p| !p.link().is_some_and(lacks)).map(told).collect();
            let Some(found) = &self.found else {
                self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(of.source.clone(), facts);
                return Err(told);
            };
            found.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        }
        passing.into_iter().for_each(|problem| self.warn(told(problem)));
        Ok(Rendered {
            content: Value::from(html.body),
            summary: html.summary.map_or_else(Value::none, Value::from),
            toc: html.toc.into(),
            facts,
            links: links.into(),
            images: html.images.into(),
            shown: around.shown.into_inner().into(),
            reads: Box::from([]),
        })
    }

    /// Whether a problem of markdown is only to be told of.
    pub(crate) fn passes_over(&self, problem: &Problem) -> bool {
        // What has no output of its own reads nothing else of it.
        note(|| Node::Config);
        problem.broken.is_some() && self.config.link_checker.internal_level == Level::Warn
    }

    /// Runs content that is a template.
    fn expand(self: &Arc<Self>, of: &Of<'_>, text: &str, body: &str) -> Result<String, Vec<Diagnostic>> {
        // It may call any component, and read any data.
        note(|| Node::Engine);
        note(|| Node::Data);
        let mut context = self.context(of.lang, of.absolute);
        self.place(&mut context, of.path);
        let scope =
            Scope::new(self.clone(), Arc::clone(of.source), of.absolute, Fields::default()).for_content();
        let front = Fields::FRONT.alone();
        match of.content {
            Content::Page(id) => {
                context.insert_value("page", unborn(self.page_value(id, front, of.absolute)));
            }
            Content::Section(id) => {
                let section = self.section_value(id, front, of.absolute, true);
                context.insert_value("section", unborn(section));
            }
        }
        let guarded = guard_heading_ids(body);
        let mut out = Capped::new(self.limits.output_bytes_max);
        let done = scope.enter(|| self.engine.tera.render_str_to(&guarded, &context, false, &mut out));
        match done {
            Ok(()) => String::from_utf8(out.bytes).map_err(|_| {
                vec![Diagnostic::in_file(
                    &**of.source,
                    "the content's templates made what is not valid UTF-8",
                )]
            }),
            Err(e) if self.may_follow(&e, Some(text)) => Err(Vec::new()),
            Err(e) => {
                let told = templates::explain_content(
                    &e,
                    of.source,
                    text,
                    text.len() - body.len(),
                    &self.engine,
                    &|name| self.template_file(name),
                );
                Err(told.into_iter().map(|told| self.at_data(told)).collect())
            }
        }
    }

    /// Whether an image of this site exists. Not asked of other hosts' images, nor of copies that templates ask for.
    fn image_exists(&self, target: &str, of: &Of<'_>) -> Option<bool> {
        if !self.beyond_zola {
            return None;
        }
        let path = self.image_path(target, of)?;
        if path.starts_with(images::FOLDER) {
            return None;
        }
        Some(self.has_output_file(&path))
    }

    /// The output that an image's address in content leads to; none where that is not of this site.
    fn image_path(&self, target: &str, of: &Of<'_>) -> Option<String> {
        let plain = target.split(['?', '#']).next().unwrap_or(target);
        let bases = [&self.base.absolute, &self.base.links].into_iter().filter(|base| !base.is_empty());
        let mut inside = bases.filter_map(|base| plain.strip_prefix(base.as_str()));
        let path = inside.find(|path| path.is_empty() || path.starts_with('/')).unwrap_or(plain);
        if path.starts_with("//") || path.split('/').next().is_some_and(|first| first.contains(':')) {
            return None;
        }
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        if !path.starts_with('/') {
            return Some(join(of.path.trim_matches('/'), &path));
        }
        let path = path.trim_start_matches('/');
        // An address names the folder that the site has on its host, where it has one. Where links leave it out, either is good:
        // what is written for one of the two addresses cannot be right at the other.
        let host_folder = self.base.absolute.splitn(4, '/').nth(3);
        let within = host_folder.and_then(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
        let within = within.filter(|_| !self.base.links.is_empty() || !self.has_output_file(path));
        Some(within.unwrap_or(path).to_owned())
    }

    /// The file of an image in content, and its digest.
    fn image_file(&self, target: &str, of: &Of<'_>) -> Option<(Arc<str>, Hash)> {
        let path = self.image_path(target, of)?;
        note(|| Node::Output(path.as_str().into()));
        let source = self.copied_source(&path)?;
        note(|| Node::Source(source.clone()));
        let digest = self.sources.get(&source)?.digest().ok()?;
        Some((source, digest))
    }

    /// What an image in content is shown with; none where that is not asked for, or it is no file of this site.
    fn shown(&self, target: &str, of: &Of<'_>) -> Result<Option<Shown>, String> {
        if !self.image_options.is_on() {
            return Ok(None);
        }
        let Some((source, digest)) = self.image_file(target, of) else { return Ok(None) };
        let header = self.images.header(digest, || self.sources.get(&source)?.read().ok());
        // A drawing need not say its size.
        if header.is_none() && !source.ends_with(".svg") {
            self.warn(
                Diagnostic::in_file(
                    &*source,
                    "the image is in no format that is known, so that its size is not told",
                )
                .hint("see that the file is whole, and that Git LFS has fetched it"),
            );
        }
        let shown = Shown::new(source, digest, header.as_deref(), &self.image_options)?;
        for wish in &shown.copies {
            note(|| Node::Copy(wish.clone()));
            self.images.add(wish);
        }
        Ok(Some(shown))
    }
}

impl Rendered {
    fn empty() -> Self {
        Self {
            content: Value::from(""),
            summary: Value::none(),
            toc: Box::from([]),
            facts: Arc::default(),
            links: Box::from([]),
            images: Box::from([]),
            shown: Box::from([]),
            reads: Box::from([]),
        }
    }

    /// About what it occupies, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        400 + self.content.as_str().map_or(0, str::len)
            + self.summary.as_str().map_or(0, str::len)
            + self.facts.anchors.len() * 150
            + self.links.len() * 200
            + self.shown.iter().map(|(_, shown)| 200 + shown.copies.len() * 200).sum::<usize>()
            + self.reads.len() * 50
    }
}

/// The content that is rendered.
struct Of<'a> {
    content: Content,
    source: &'a Arc<str>,
    lang: &'a str,
    path: &'a str,
    anchors: AnchorLinks,
    absolute: bool,
}

struct Around<'a> {
    site: &'a Arc<Site>,
    of: &'a Of<'a>,
    permalink: &'a str,
    lines: Option<Lines<'a>>,
    /// Images so far.
    shown: RefCell<Vec<(String, Shown)>>,
}

impl Surroundings for Around<'_> {
    fn config(&self) -> &MarkdownConfig {
        &self.site.config.markdown
    }

    fn has_math(&self) -> bool {
        self.site.math
    }

    fn slugify_anchors(&self) -> Slugify {
        self.site.config.slugify.anchors
    }

    fn anchor_links(&self) -> AnchorLinks {
        self.of.anchors
    }

    fn permalink(&self) -> &str {
        self.permalink
    }

    fn resolve(&self, target: &str) -> Option<String> {
        self.site.resolve(target, self.of.absolute)
    }

    fn anchor_link(&self, id: &str, level: u8, title: &str) -> Result<String, String> {
        let heading = [("id", Value::from(id)), ("level", Value::from(level)), ("title", Value::from(title))];
        self.site.within_content("anchor-link.html", self.of, heading)
    }

    fn summary_cutoff(&self, summary: &str) -> Result<String, String> {
        self.site.within_content("summary-cutoff.html", self.of, [("summary", Value::from(summary))])
    }

    fn code(&self, fence: &Fence, code: &str) -> Result<String, String> {
        self.site.code(fence, code)
    }

    fn image_exists(&self, source: &str) -> Option<bool> {
        self.site.image_exists(source, self.of)
    }

    fn picture(&self, target: &str) -> Result<Option<Picture>, String> {
        let Some(shown) = self.site.shown(target, self.of)? else { return Ok(None) };
        let picture = shown.size.map(|(width, height)| {
            let mut choices: Vec<(String, u32)> = shown
                .copies
                .iter()
                .map(|wish| {
                    let path = format!("/{}", wish.path());
                    (self.site.permalink(&encode_path(&path), self.of.absolute), wish.width)
                })
                .collect();
            if shown.with_itself && !choices.is_empty() {
                choices.push((target.to_owned(), width));
            }
            let sizes = self.site.image_options.sizes.clone();
            let sizes = sizes.unwrap_or_else(|| format!("(max-width: {width}px) 100vw, {width}px"));
            Picture { width, height, choices, sizes }
        });
        self.shown.borrow_mut().push((target.to_owned(), shown));
        Ok(picture)
    }

    fn place(&self, at: usize) -> Option<String> {
        self.lines.as_ref().map(|lines| lines.place(at))
    }
}

impl Site {
    /// Renders a template that is within a content, with these variables.
    fn within_content<const N: usize>(
        self: &Arc<Self>,
        template: &str,
        of: &Of<'_>,
        variables: [(&'static str, Value); N],
    ) -> Result<String, String> {
        // It is handed no configuration, but functions answer by that.
        if self.engine.asks_within_content {
            note(|| Node::Config);
        }
        let mut context = Context::new();
        context.insert_value("lang", Value::from(of.lang));
        for (name, value) in variables {
            context.insert_value(name, value);
        }
        let scope =
            Scope::new(self.clone(), Arc::clone(of.source), of.absolute, Fields::default()).for_content();
        scope
            .enter(|| self.engine.tera.render(template, &context))
            .map_err(|e| format!("the template {template} failed: {e}"))
    }

    /// A code block as HTML.
    pub(crate) fn code(&self, fence: &Fence, code: &str) -> Result<String, String> {
        let block = self.code_style.block(fence, code, &self.memory.blocks);
        if block.unknown && self.code_style.strict {
            let near = highlight::nearest_language(&fence.language);
            let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("code in `{}` cannot be highlighted{near}", fence.language));
        }
        Ok(block.html)
    }
}

/// Headings as templates have them.
pub(super) fn toc_value(headings: &[Heading], permalink: &str) -> Value {
    Value::from(
        headings
            .iter()
            .map(|heading| {
                let mut map = Map::with_capacity(5);
                map.insert(key("level"), Value::from(heading.level));
                map.insert(key("id"), Value::from(heading.id.as_str()));
                map.insert(key("title"), Value::from(heading.title.as_str()));
                map.insert(key("permalink"), Value::from(format!("{permalink}#{}", heading.id)));
                map.insert(key("children"), toc_value(&heading.children, permalink));
                value::map(map)
            })
            .collect::<Vec<_>>(),
    )
}

/// A relative reference within a folder, without leaving the site.
fn join(folder: &str, reference: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in reference.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_in_the_site() {
        assert_eq!(join("a/b", "../c.png"), "a/c.png");
        assert_eq!(join("a", "../../../c.png"), "c.png");
    }
}
