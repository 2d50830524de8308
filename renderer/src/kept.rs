//! The state of a site that one render leaves to the next.
//!
//! After most saves every address, list and order is what it was: a text has changed, or a title. Then the state of
//! before is taken over with these contents in it, and only what rests on them is looked at, so that the cost follows
//! the change and not the site. Where another process rendered last, its memo tells what the state was made from: the
//! state is made anew then, but again only what rests on these contents is looked at. Where anything else differs,
//! everything is.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::{DataSet, RowPage};
use crate::graph::Value;
use crate::job::Plan;
use crate::library::{self, CONTENT, Content, Library, Making, ParsedFiles, Taken};
use crate::memo;
use crate::reads::Node;
use crate::render::Input;
use crate::site::{Pages, Site};
use crate::sources::Stamp;
use crate::templates::Fields;
use crate::view::Values;

/// Files whose contents are taken over one by one; after more, such as a checkout, everything is made anew.
const FILES_MAX: usize = 64;

/// What a render that ended well was made from.
pub(crate) struct Kept {
    pub(crate) site: Site,
    pub(crate) plan: Plan,
    pub(crate) values: Values,
    pub(crate) data: Arc<DataSet>,
    pub(crate) rows: Arc<Vec<RowPage>>,
}

impl Kept {
    /// Takes over the files of `making`, and says what they touch; none where more differs than the contents of some
    /// files, or where these contents move anything.
    pub(crate) fn take(&mut self, input: &Input, making: &Making<'_>) -> Option<(Touched, Vec<Taken>)> {
        let library = &self.site.library;
        let is_due = library.next_change.is_some_and(|at| input.now.as_second() >= at);
        let same_rows = Arc::ptr_eq(&self.rows, &input.row_pages) || self.rows == input.row_pages;
        let same_data = Arc::ptr_eq(&self.data, &input.data) || self.data == input.data;
        if is_due || input.now < self.site.now || !same_rows || !same_data {
            return None;
        }
        let files = input.sources.differing(&self.site.sources, FILES_MAX)?;
        let taken = self.site.library.take(making, contents(&files)?)?;
        let touched = Touched::of(&self.site, &taken);
        self.values.update(&touched.contents);
        Some((touched, taken))
    }
}

/// These files, if all of them are contents.
fn contents<'a, 'b>(files: &'a [&'b str]) -> Option<&'a [&'b str]> {
    files.iter().all(|path| path.starts_with(CONTENT) && path.ends_with(".md")).then_some(files)
}

/// What a render of another process was made from, as its memo tells: of the files those that can be told from others
/// without reading them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Before<Files> {
    pub(crate) options: Value,
    /// Data of the dynamic sources, and the pages that rows of it made.
    pub(crate) data: Value,
    /// In seconds since 1970: when it was, and when a date makes the next one differ.
    pub(crate) now: i64,
    pub(crate) next_change: Option<i64>,
    /// How many files there were.
    pub(crate) count: usize,
    pub(crate) files: Files,
}

impl Before<Vec<Stamp>> {
    /// Whether a render of `input` would give the same, as far as its files do.
    pub(crate) fn fits(&self, input: &Input) -> bool {
        let now = input.now.as_second();
        now >= self.now
            && self.next_change.is_none_or(|at| now < at)
            && memo::options(input) == self.options
            && memo::data(input) == self.data
    }

    /// What `site`, which `input` makes, touches in the site that this is of; none where more differs than the contents of
    /// some files, of which `parsed` tells what they said then, or where these contents move anything.
    pub(crate) fn touched(&self, input: &Input, site: &Site, parsed: &ParsedFiles) -> Option<Touched> {
        // What is no more could hide behind what was left out because its times told nothing.
        if input.sources.len() != self.count || !self.fits(input) {
            return None;
        }
        let files = input.sources.differing_from(&self.files, FILES_MAX)?;
        let taken = site.library.taken(parsed, contents(&files)?)?;
        Some(Touched::of(site, &taken))
    }
}

/// Contents that are not what they were in the render before, and what has them in it. Addresses, orders, templates,
/// data and files of other kinds are the same.
#[derive(Default)]
pub(crate) struct Touched {
    contents: HashSet<Content>,
    sources: BTreeSet<Arc<str>>,
    /// Sections by source, terms and taxonomies by id.
    lists: BTreeSet<Arc<str>>,
    /// Whether front matter differs, and the sitemap shows it. Addresses and dates do not.
    sitemap: bool,
}

impl Touched {
    /// What the files touch that a site has taken over.
    fn of(site: &Site, taken: &[Taken]) -> Self {
        let mut touched = Self::default();
        for Taken { content, source, parsed, same_matter } in taken {
            touched.add(site, *content);
            if *same_matter {
                continue;
            }
            touched.sitemap = site.engine.needs("sitemap.xml").extra;
            // What shows its title beside its own.
            let library = &site.library;
            let lang = match content {
                Content::Page(id) => &library.page(*id).lang,
                Content::Section(id) => &library.section(*id).lang,
            };
            let linked = parsed.linked.iter().filter_map(|target| library.content_id(target));
            let others = library.translations_of(source, lang).iter().copied().chain(linked);
            others.for_each(|other| touched.add(site, other));
        }
        touched
    }

    /// Adds a content, and the pages that have it beside them.
    pub(crate) fn add(&mut self, site: &Site, content: Content) {
        self.add_alone(site, content);
        if let Content::Page(id) = content
            && site.engine.mentioned.any(Fields::BESIDE)
        {
            let page = site.library.page(id);
            let beside = [page.lower, page.higher].into_iter().flatten();
            beside.for_each(|id| self.add_alone(site, Content::Page(id)));
        }
    }

    fn add_alone(&mut self, site: &Site, content: Content) {
        if !self.contents.insert(content) {
            return;
        }
        let source = site.source_of(content);
        self.sources.insert(source.clone());
        let relative = source.strip_prefix(CONTENT).unwrap_or(source);
        let named = library::canonical(relative, &site.config);
        if named != relative {
            self.sources.insert(format!("{CONTENT}{named}").into());
        }
        if let Content::Page(id) = content {
            self.add_lists(&site.library, id);
        }
    }

    /// Adds the content of that source, if there is one.
    pub(crate) fn add_source(&mut self, site: &Site, source: &str) {
        let found = source.strip_prefix(CONTENT).and_then(|relative| site.library.content_id(relative));
        if let Some(content) = found {
            self.add(site, content);
        }
    }

    fn add_lists(&mut self, library: &Library, id: library::PageId) {
        let mut holder = library.page(id).section;
        while let Some(section) = holder.map(|id| library.section(id)) {
            self.lists.insert(section.source.clone());
            holder = if section.matter.transparent { section.parent } else { None };
        }
        for taxonomy in &library.taxonomies {
            let terms = taxonomy.terms.iter().filter(|term| term.pages.contains(&id));
            let before = self.lists.len();
            self.lists.extend(terms.map(|term| term.id.clone()));
            if self.lists.len() > before {
                self.lists.insert(taxonomy.id.clone());
            }
        }
    }

    /// Whether the value of a node may be another one than in the render before.
    pub(crate) fn may_differ(&self, node: &Node) -> bool {
        match Hinge::of(node) {
            Hinge::Source(source) => self.sources.contains(source),
            Hinge::List(list) => self.lists.contains(list),
            Hinge::Sitemap => self.sitemap,
            Hinge::Nothing => true,
            Hinge::Said | Hinge::Else => false,
        }
    }

    /// The tags that nodes have whose value may be another one. Others may have them, too.
    pub(crate) fn tags(&self) -> impl Iterator<Item = u16> {
        let sources = self.sources.iter().map(Hinge::Source);
        let lists = self.lists.iter().map(Hinge::List);
        let sitemap = self.sitemap.then_some(Hinge::Sitemap);
        sources.chain(lists).chain(sitemap).chain([Hinge::Nothing]).map(|hinge| hinge.tag())
    }
}

/// What of a save it hangs on whether a node's value may be another one.
enum Hinge<'a> {
    /// Whether it touched this content.
    Source(&'a Arc<str>),
    /// Whether it touched one of this list.
    List(&'a Arc<str>),
    /// Whether it touched what the sitemap shows.
    Sitemap,
    /// Any save may do it.
    Nothing,
    /// No save of contents alone does, and it says something to whoever renders.
    Said,
    /// No save of contents alone does.
    Else,
}

/// Tags of [`Hinge::Said`] and [`Hinge::Else`]; those of names are larger.
pub(crate) const SAID: u16 = 2;
pub(crate) const ELSE: u16 = 3;

/// The tag of a node: what a look at all nodes goes by, since that reads no other memory than theirs.
pub(crate) fn tag(node: &Node) -> u16 {
    Hinge::of(node).tag()
}

impl<'a> Hinge<'a> {
    fn of(node: &'a Node) -> Self {
        match node {
            Node::Page(source, _, _) | Node::Section(source, _, _) => Self::Source(source),
            Node::Around(source) | Node::Text(source, _) | Node::Source(source) => Self::Source(source),
            Node::Members(list, _, _) => Self::List(list),
            Node::Term(list, Pages::All, _, _) | Node::Taxonomy(list, Pages::All, _, _) => Self::List(list),
            Node::Sitemap => Self::Sitemap,
            Node::Search(_) | Node::File(_) => Self::Nothing,
            Node::Elsewhere | Node::Environment(_) | Node::Day(_) => Self::Nothing,
            Node::Config | Node::Template(_) | Node::Engine | Node::Data | Node::DataOf(_) => Self::Else,
            Node::Term(..) | Node::Taxonomy(..) | Node::TermNamed(..) => Self::Else,
            Node::Names | Node::Pager(..) | Node::First(..) | Node::Feed(_) => Self::Else,
            Node::Link(..) => Self::Else,
            Node::Output(_) | Node::Static(_) | Node::Generated(_) | Node::Assets => Self::Else,
            Node::Copy(_) | Node::Warning(_) => Self::Said,
        }
    }

    /// Two that differ seldom have the same.
    fn tag(&self) -> u16 {
        match self {
            // Always the same for a name in this process; nothing is lost where two names meet.
            Self::Source(name) | Self::List(name) => {
                let hash = ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(&***name);
                (hash as u16).max(ELSE + 1)
            }
            Self::Sitemap => 0,
            Self::Nothing => 1,
            Self::Said => SAID,
            Self::Else => ELSE,
        }
    }
}

/// Some tags.
pub(crate) struct Tags(Box<[u64]>);

impl FromIterator<u16> for Tags {
    fn from_iter<T: IntoIterator<Item = u16>>(all: T) -> Self {
        let mut tags = vec![0; (1 << 16) / 64];
        all.into_iter().for_each(|tag| tags[usize::from(tag) / 64] |= 1 << (tag % 64));
        Self(tags.into())
    }
}

impl Tags {
    pub(crate) fn has(&self, tag: u16) -> bool {
        self.0[usize::from(tag) / 64] & 1 << (tag % 64) != 0
    }
}
