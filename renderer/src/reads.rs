//! What outputs read of a site, noticed while they are rendered.
//!
//! Owns the names of everything that can be read ([`Node`]) and the note-taking, which is a matter of the thread: whoever
//! hands a part of the site to a template says so here, and nobody passes a recorder around. What a node's value is now,
//! and what follows from its change, is for `graph` to say.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use ahash::AHashSet;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::images::Wish;
use crate::site::Pages;
use crate::templates::{Field, Fields};

/// Something that an output can read. Contents are named by their source file, whether it exists or not: what was looked
/// for in vain is read too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Node {
    /// The configuration with its theme's, the options and where links begin.
    Config,
    /// A template with all it extends, includes and calls, by the name it is asked for.
    Template(Arc<str>),
    /// All templates: content may call any component.
    Engine,
    /// All data of dynamic sources.
    Data,
    /// The data of one source.
    DataOf(Arc<str>),
    /// A page as lists have it: its front matter, what follows from names, and of its content the fields named.
    Page(Arc<str>, Fields, bool),
    /// The template of a page, its section, its neighbours.
    Around(Arc<str>),
    /// A section, without its pages.
    Section(Arc<str>, Fields, bool),
    /// The pages of a section, in order, each as [`Node::Page`].
    Members(Arc<str>, Fields, bool),
    /// A term, by its id, with its pages or only their number.
    Term(Arc<str>, Pages, Fields, bool),
    /// A taxonomy, by its id, with all its terms.
    Taxonomy(Arc<str>, Pages, Fields, bool),
    /// The path of the term of that name, in the taxonomy of that id.
    TermNamed(Arc<str>, Arc<str>),
    /// Which pages one pager has, of a section by its source or of a term by its id, and how many there are.
    Pager(Arc<str>, usize),
    /// The files of all contents: what a name that leads nowhere may have meant.
    Names,
    /// Which pages a feed has, by its output.
    Feed(Arc<str>),
    /// All addresses with their dates.
    Sitemap,
    /// All that a language's search index has.
    Search(Arc<str>),
    /// The source text of a content and all that decides how it becomes HTML, but for links and functions.
    Text(Arc<str>, bool),
    /// Where a link to content leads.
    Link(Arc<str>, bool),
    /// The file that a template or a link finds under a path, by its digest.
    File(Arc<str>),
    /// One file of the sources, by its digest.
    Source(Arc<str>),
    /// Whether a file, not a page, has this output, and which one is copied there.
    Output(Arc<str>),
    /// The static file that takes an output's place.
    Static(Arc<str>),
    /// A file that is made before pages.
    Generated(Arc<str>),
    /// The names of the built-in theme's files.
    Assets,
    /// The answer of another server: nobody knows it before it is asked.
    Elsewhere,
    /// A copy of an image, which is made for whoever asked.
    Copy(Arc<Wish>),
    /// What is not quite right, and must be said as long as it is so.
    Warning(Arc<Diagnostic>),
    /// A variable of the environment.
    Environment(Arc<str>),
    /// The day of the render, in a time zone.
    Day(Arc<str>),
    /// Which pages are the first so many of a section, by its source, and how many it has.
    First(Arc<str>, usize),
}

/// What an author calls it.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole says more than its parts.
        const PARTS: [(Field, &str); 3] =
            [(Field::Content, "content"), (Field::Summary, "summary"), (Field::Toc, "headings")];
        let parts = |fields: &Fields| {
            PARTS
                .iter()
                .find(|(field, _)| fields.any(Fields::of(&[*field])))
                .map_or("front matter", |(_, part)| part)
        };
        match self {
            Self::Config => write!(f, "the configuration, or options of the command"),
            Self::Template(name) => write!(f, "template {name}, or what it extends, includes or calls"),
            Self::Engine => {
                write!(f, "any template, since content is a template that may call all components")
            }
            Self::Data => write!(f, "data of the dynamic sources"),
            Self::DataOf(name) => write!(f, "data of source {name}"),
            Self::Page(source, fields, _) | Self::Section(source, fields, _) => {
                write!(f, "{} of {source}", parts(fields))
            }
            Self::Around(source) => write!(f, "template, section or neighbours of {source}"),
            Self::Members(source, fields, _) => {
                write!(f, "list of pages of {source}, with their {}", parts(fields))
            }
            Self::Term(path, Pages::All, fields, _) => {
                write!(f, "pages of the term {path}, with their {}", parts(fields))
            }
            Self::Term(path, _, _, _) => write!(f, "number of pages of the term {path}"),
            Self::Taxonomy(path, Pages::All, fields, _) => {
                write!(f, "terms of {path} and their pages, with their {}", parts(fields))
            }
            Self::Taxonomy(path, _, _, _) => write!(f, "terms of {path}, and how many pages each has"),
            Self::TermNamed(path, name) => write!(f, "path of the term {name} in {path}"),
            Self::Pager(path, n) => write!(f, "which pages pager {n} of {path} has"),
            Self::Names => write!(f, "names of all contents"),
            Self::Feed(path) => write!(f, "which pages the feed {path} has"),
            Self::Sitemap => write!(f, "all addresses with their dates"),
            Self::Search(lang) => write!(f, "all that the search index for {lang} has"),
            Self::Text(source, _) => write!(f, "text of {source}, or how markdown is rendered"),
            Self::Link(target, _) => write!(f, "where @/{target} leads"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Source(path) => write!(f, "file {path}"),
            Self::Output(path) => write!(f, "which file is copied to {path}"),
            Self::Static(path) => write!(f, "static file for {path}"),
            Self::Generated(path) => write!(f, "generated file {path}"),
            Self::Assets => write!(f, "files of the built-in theme"),
            Self::Elsewhere => write!(f, "answer of another server, which is asked each time"),
            Self::Copy(wish) => write!(f, "copy {} of an image", wish.path()),
            Self::Warning(warning) => write!(f, "warning: {}", warning.message),
            Self::Environment(name) => write!(f, "variable {name} of the environment"),
            Self::First(source, n) => {
                write!(f, "which pages are the first {n} of {source}, and how many it has")
            }
            Self::Day(zone) => write!(f, "today's date in {zone}"),
        }
    }
}

/// Notes that a set is kept for; few outputs read more.
const ROOM_MAX: usize = 4_096;

thread_local! {
    /// Notes in the making, the innermost last; none while nobody wants any.
    static NOTES: RefCell<Vec<Option<AHashSet<Node>>>> = const { RefCell::new(Vec::new()) };
    /// An empty set that has room for as many notes as the last one took.
    static ROOM: Cell<Option<AHashSet<Node>>> = const { Cell::new(None) };
}

/// Takes away what was begun, also when a template panics.
struct Begun;

impl Begun {
    fn new(notes: Option<AHashSet<Node>>) -> Self {
        NOTES.with_borrow_mut(|all| all.push(notes));
        Self
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        NOTES.with_borrow_mut(Vec::pop);
    }
}

/// Does `work` and says what it read, which those who asked for it have not read thereby.
pub(crate) fn noted<T>(work: impl FnOnce() -> T) -> (T, Box<[Node]>) {
    let begun = Begun::new(Some(ROOM.take().unwrap_or_default()));
    let done = work();
    let mut read = NOTES.with_borrow_mut(|all| all.last_mut().and_then(Option::take)).unwrap_or_default();
    drop(begun);
    let nodes = read.drain().collect();
    if read.capacity() <= ROOM_MAX {
        ROOM.set(Some(read));
    }
    (done, nodes)
}

/// Does `work` without taking notes.
pub(crate) fn unnoted<T>(work: impl FnOnce() -> T) -> T {
    let _begun = Begun::new(None);
    work()
}

/// Notes that something was read.
pub(crate) fn note(node: impl FnOnce() -> Node) {
    NOTES.with_borrow_mut(|all| {
        if let Some(Some(notes)) = all.last_mut() {
            notes.insert(node());
        }
    });
}

/// Whether one of the notes that are being taken is such a one.
pub(crate) fn has_noted(is: impl FnMut(&Node) -> bool) -> bool {
    NOTES.with_borrow(|all| all.last().is_some_and(|notes| notes.iter().flatten().any(is)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notes_its_own() {
        note(|| Node::Assets);
        let (inner, outer) = noted(|| {
            note(|| Node::Config);
            note(|| Node::Config);
            assert!(has_noted(|node| *node == Node::Config) && !has_noted(|node| *node == Node::Assets));
            unnoted(|| note(|| Node::Engine));
            let ((), inner) = noted(|| note(|| Node::Data));
            inner
        });
        assert_eq!(&*inner, [Node::Data]);
        assert_eq!(&*outer, [Node::Config]);
        assert_eq!(noted(|| ()).1.len(), 0);
    }
}
