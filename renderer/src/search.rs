//! Search indexes: elasticlunr's inverted index, or fuse's list of pages with their text.
//!
//! What a page adds to its index is made when the page is rendered, and remembered: an index is put together from that.

mod elasticlunr;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::Hash;
use bytes::Bytes;
use rayon::prelude::*;
use release::File;
use serde::Serialize;

use self::elasticlunr::Terms;
use crate::config::{Config, IndexFormat, SearchConfig};
use crate::diagnostic::Diagnostic;
use crate::front_matter::Date;
use crate::job::plain_file;
use crate::library::{Content, Library, PageId, SectionId};
use crate::markup::{self, Markup};
use crate::math;
use crate::site::{Rendered, Site};

/// The library that reads elasticlunr's index, in the version whose index we write.
pub(crate) const ELASTICLUNR: &[u8] = include_bytes!("../vendor/elasticlunr.min.js");

/// One page in an index.
#[derive(Debug, Clone, Serialize)]
struct Item {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// Elements of which nothing is read: what is in them is no text, or drawn.
const UNREAD: [&str; 6] = ["script", "style", "pre", "svg", "math", "template"];

/// The text of HTML: markup goes, and blocks of code with it; special characters are escaped, and no line is empty. A formula
/// of content is its source.
fn text_of(html: &str, has_math: bool) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = memchr::memchr(b'<', rest.as_bytes()) {
        add_text(&mut out, &rest[..start]);
        let tail = &rest[start..];
        if let Some((source, after)) = math::source(tail).filter(|_| has_math) {
            out.push_str(source);
            rest = after;
            continue;
        }
        let Some(Markup { kind, length }) = Markup::read(tail) else {
            out.push_str("&lt;");
            rest = &tail[1..];
            continue;
        };
        rest = &tail[length..];
        if let markup::Kind::Open { name, empty: false, .. } = kind
            && UNREAD.contains(&name.as_str())
        {
            rest = &rest[markup::end_of(rest, &name)..];
        }
    }
    add_text(&mut out, rest);
    let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Adds a text of HTML, in which only what must be is escaped.
fn add_text(out: &mut String, text: &str) {
    for c in markup::decoded(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\u{a0}' => out.push_str("&nbsp;"),
            c => out.push(c),
        }
    }
}

/// Bytes of what pages add to their indexes that a renderer remembers; what more pages add is made anew for each index.
const FRAGMENTS_BYTES_MAX: usize = 128 << 20;

/// What a page adds to its index.
#[derive(Debug)]
struct Fragment {
    item: Item,
    terms: Terms,
}

impl Fragment {
    /// About what it occupies, in bytes.
    fn bytes(&self) -> usize {
        let Item { url, title, description, date, body, path } = &self.item;
        let texts = [title, description, date, body, path].into_iter().flatten().map(String::len);
        url.len() + texts.sum::<usize>() + self.terms.bytes() + 300
    }
}

/// What pages add to their indexes, by source.
#[derive(Default)]
pub(crate) struct Fragments(Mutex<Known>);

#[derive(Default)]
struct Known {
    fragments: HashMap<Arc<str>, Remembered>,
    bytes: usize,
}

struct Remembered {
    /// What it is made from, but for what templates in the text and around its headings read.
    key: Hash,
    /// The render that made it, and whether that one notes what is read.
    render: u64,
    tracked: bool,
    lang: Arc<str>,
    fragment: Arc<Fragment>,
}

impl Fragments {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // It is whole between any two statements that can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fragment that was made from the same. A render that notes what is read renders a page anew whenever its content
    /// reads something else, and that makes another fragment; other renders know only what they have made themselves.
    fn get(&self, site: &Site, of: &Source<'_>) -> Option<Arc<Fragment>> {
        let known = self.lock();
        let found = known.fragments.get(of.source).filter(|known| known.key == of.key)?;
        let holds = found.render == site.render() || (found.tracked && site.is_tracked());
        holds.then(|| found.fragment.clone())
    }

    fn forget(&self, source: &Arc<str>) {
        let mut known = self.lock();
        if let Some(before) = known.fragments.remove(source) {
            known.bytes -= before.fragment.bytes();
        }
    }

    fn put(&self, site: &Site, of: &Source<'_>, fragment: &Arc<Fragment>) {
        self.forget(of.source);
        let mut known = self.lock();
        let bytes = fragment.bytes();
        if known.bytes + bytes > FRAGMENTS_BYTES_MAX {
            return;
        }
        known.bytes += bytes;
        let (render, tracked) = (site.render(), site.is_tracked());
        let (lang, fragment) = (of.lang.clone(), fragment.clone());
        let remembered = Remembered { key: of.key, render, tracked, lang, fragment };
        known.fragments.insert(of.source.clone(), remembered);
    }

    /// Forgets what is in no index of this language.
    fn keep(&self, lang: &str, sources: &HashSet<&Arc<str>>) {
        let mut known = self.lock();
        let Known { fragments, bytes } = &mut *known;
        fragments.retain(|source, remembered| {
            let keeps = *remembered.lang != *lang || sources.contains(source);
            if !keeps {
                *bytes -= remembered.fragment.bytes();
            }
            keeps
        });
    }
}

/// A content that an index has.
struct Source<'a> {
    content: Content,
    source: &'a Arc<str>,
    lang: &'a Arc<str>,
    key: Hash,
}

impl<'a> Source<'a> {
    fn of(site: &'a Site, config: &SearchConfig, content: Content) -> Self {
        let library = &site.library;
        let source = site.source_of(content);
        let (lang, date) = match content {
            Content::Page(id) => {
                let page = library.page(id);
                (&page.lang, page.date.as_ref().map(|date| &*date.text))
            }
            Content::Section(id) => (&library.section(id).lang, None),
        };
        let mut hasher = blake3::Hasher::new();
        if let Some(text) = site.text_value(source, false) {
            hasher.update(text.as_bytes());
        }
        hasher.update(format!("{config:?}\0{}", date.unwrap_or_default()).as_bytes());
        Self { content, source, lang, key: hasher.finalize() }
    }

    fn make(&self, site: &Site, config: &SearchConfig, rendered: &Rendered) -> Fragment {
        let library = &site.library;
        let text = config.include_content.then(|| {
            let mut text = text_of(rendered.content.as_str().unwrap_or(""), site.math);
            if let Some(max) = config.truncate_content_length
                && let Some((cut, _)) = text.char_indices().nth(max)
            {
                text.truncate(cut);
            }
            text
        });
        let (title, description, date, path, shown) = match self.content {
            Content::Page(id) => {
                let page = library.page(id);
                let description = page.matter().description.as_deref();
                (page.title(), description, page.date.as_ref(), &page.path, &*page.path)
            }
            Content::Section(id) => {
                let section = library.section(id);
                let matter = &section.matter;
                let (title, description) = (matter.title.as_deref(), matter.description.as_deref());
                (title, description, None, &section.path, site.shown_path(section))
            }
        };
        let item = Item {
            url: site.permalink(path, false),
            title: config.include_title.then(|| title.unwrap_or_default().to_owned()),
            description: config.include_description.then(|| description.unwrap_or_default().to_owned()),
            // An index for Fuse has no dates.
            date: match date.map(Date::time) {
                None if !site.beyond_zola => None,
                date => Some(date.unwrap_or_default()),
            }
            .filter(|_| config.include_date && config.index_format.is_elasticlunr()),
            body: text,
            path: config.include_path.then(|| shown.to_owned()),
        };
        let terms = match config.index_format.is_elasticlunr() {
            true => elasticlunr::terms(config, self.lang, &item),
            false => Terms::default(),
        };
        Fragment { item, terms }
    }

    fn fragment(&self, site: &Arc<Site>, config: &SearchConfig) -> Result<Arc<Fragment>, Vec<Diagnostic>> {
        if let Some(known) = site.memory.fragments.get(site, self) {
            return Ok(known);
        }
        let rendered = match self.content {
            Content::Page(id) => site.page_html(id, false)?,
            Content::Section(id) => site.section_html(id, false)?,
        };
        let made = Arc::new(self.make(site, config, &rendered));
        site.memory.fragments.put(site, self, &made);
        Ok(made)
    }
}

/// Remembers what a content that has been rendered adds to its index.
pub(crate) fn remember(site: &Site, content: Content, rendered: &Rendered) {
    let library = &site.library;
    let (lang, is_searched) = match content {
        Content::Page(id) => {
            let (page, matter) = (library.page(id), library.page(id).matter());
            (&page.lang, matter.in_search_index && matter.render && !page.hidden)
        }
        Content::Section(id) => (&library.section(id).lang, is_section_searched(site, id)),
    };
    if !is_searched || !site.config.search_index_for(lang) {
        // What it adds later may not be what it added.
        site.memory.fragments.forget(site.source_of(content));
        return;
    }
    let config = settings(site, lang);
    let source = Source::of(site, config, content);
    site.memory.fragments.put(site, &source, &Arc::new(source.make(site, config, rendered)));
}

/// The settings of a language's index. In Zola one for Fuse has those of the default language.
fn settings<'a>(site: &'a Site, lang: &str) -> &'a SearchConfig {
    let own = site.config.search_for(lang);
    if site.beyond_zola || own.index_format.is_elasticlunr() { own } else { &site.config.search }
}

/// Whether an index has a section. A front page that no file describes has no words: only Zola's index has it.
fn is_section_searched(site: &Site, id: SectionId) -> bool {
    let section = site.library.section(id);
    let matter = &section.matter;
    let has_words = section.parsed.is_some() || !site.beyond_zola;
    matter.in_search_index && matter.redirect_to.is_none() && has_words && !section.hidden
}

/// The pages that a language's index holds: those that sections list, each as often as one does. A page that no section
/// holds is none of them.
pub(crate) fn pages(library: &Library, lang: &str) -> Vec<PageId> {
    let sections = library.sections.iter().filter(|s| *s.lang == *lang && s.matter.in_search_index);
    let listed = sections.flat_map(|section| section.pages.iter().copied());
    let is_searched = |id: &PageId| {
        let matter = library.page(*id).matter();
        matter.in_search_index && matter.render
    };
    let mut pages: Vec<PageId> = listed.filter(is_searched).collect();
    pages.sort_unstable();
    pages
}

/// What an index has, of each content.
type Made = Result<Vec<Arc<Fragment>>, Vec<Diagnostic>>;

/// The contents that a language's index has.
fn contents(site: &Site, lang: &str) -> Vec<Content> {
    let library = &site.library;
    let sections = (0..library.sections.len() as SectionId)
        .filter(|id| *library.section(*id).lang == *lang && is_section_searched(site, *id))
        .map(Content::Section);
    let mut pages = pages(library, lang);
    // Zola's index for Fuse has a page of a transparent section more than once.
    if site.beyond_zola || site.config.search_for(lang).index_format.is_elasticlunr() {
        pages.dedup();
    }
    sections.chain(pages.into_iter().map(Content::Page)).collect()
}

/// The search index of a language.
pub(crate) fn files(site: &Arc<Site>, lang: &str) -> Result<Vec<File>, Vec<Diagnostic>> {
    let config = settings(site, lang);
    let contents = contents(site, lang);
    let fragment = |content: &Content| Source::of(site, config, *content).fragment(site, config);
    let fragments: Made = contents.par_iter().map(fragment).collect();
    let fragments = fragments?;
    site.memory.fragments.keep(lang, &contents.iter().map(|content| site.source_of(*content)).collect());
    Ok(vec![plain_file(&index_name(config, lang), text(config, lang, fragments)?)])
}

/// The text of a language's index, for a template that asks for its digest. It is made by this thread alone: one that
/// waits for others may take up another output meanwhile, which would wait for this one.
pub(crate) fn alone(site: &Arc<Site>, lang: &str) -> Result<Bytes, Vec<Diagnostic>> {
    let config = settings(site, lang);
    let fragment = |content: &Content| Source::of(site, config, *content).fragment(site, config);
    let fragments: Made = contents(site, lang).iter().map(fragment).collect();
    text(config, lang, fragments?)
}

fn text(
    config: &SearchConfig,
    lang: &str,
    mut fragments: Vec<Arc<Fragment>>,
) -> Result<Bytes, Vec<Diagnostic>> {
    fragments.sort_by(|a, b| a.item.url.cmp(&b.item.url));
    let json = if config.index_format.is_elasticlunr() {
        elasticlunr::index(config, lang, &fragments)
    } else {
        let items: Vec<&Item> = fragments.iter().map(|fragment| &fragment.item).collect();
        serde_json::to_string(&items)
            .map_err(|e| vec![Diagnostic::new(format!("the search index cannot be written: {e}"))])?
    };
    let text = match config.index_format {
        IndexFormat::ElasticlunrJson | IndexFormat::FuseJson => json,
        IndexFormat::ElasticlunrJavascript | IndexFormat::FuseJavascript => {
            format!("window.searchIndex = {json};")
        }
    };
    Ok(Bytes::from(text))
}

/// The language whose index is an output.
pub(crate) fn language_of<'a>(config: &'a Config, output: &str) -> Option<&'a str> {
    let is_it =
        |lang: &&str| config.search_index_for(lang) && output == index_name(config.search_for(lang), lang);
    config.language_codes().into_iter().find(is_it)
}

/// The file name of a language's index.
pub(crate) fn index_name(config: &SearchConfig, lang: &str) -> String {
    let extension = match config.index_format {
        IndexFormat::ElasticlunrJson | IndexFormat::FuseJson => "json",
        IndexFormat::ElasticlunrJavascript | IndexFormat::FuseJavascript => "js",
    };
    format!("search_index.{lang}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_markup() {
        assert_eq!(text_of("<p>a <b>b</b>&amp;c</p>\n<script>x</script>\n<p>d", false), "a b&amp;c\nd");
        assert_eq!(text_of("a <pre><code>x</code></pre> <pre-view>b</pre-view>", false), "a b");
        assert_eq!(text_of("a<!-- <b> > --> b&quot;\u{a0}c", false), "a b\"&nbsp;c");
        assert_eq!(
            text_of("<a title=\"x>y\">&copy; &#8230; 1 < 2 > &x;</a>", false),
            "© … 1 &lt; 2 &gt; &amp;x;"
        );
        assert_eq!(text_of("a <SVG><title>b</title></SVG> <svg/>c<template>d</template>", false), "a c");
    }
}
