//! What is being rendered on this thread: how template functions find their site.
//!
//! The engine outlives a render and its functions are registered once, so they cannot own the site they work on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tera::{Error, TeraResult};

use crate::site::{Pages, Site};
use crate::templates::Fields;

/// The rendering of one output, or of one content.
pub(crate) struct Scope {
    pub(crate) site: Arc<Site>,
    /// Whether permalinks have scheme and host even where pages link root-relatively.
    pub(crate) absolute: bool,
    /// Content that is a template sees other content without its text, so that two pages cannot wait for each other.
    pub(crate) in_content: bool,
    /// What the template asks of other pages.
    pub(crate) fields: Fields,
    /// What it asks of the pages of terms.
    pub(crate) pages: Pages,
    /// The output or file, for messages and random numbers.
    pub(crate) name: Arc<str>,
    calls: Cell<u64>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Scope>>> = const { RefCell::new(None) };
}

/// Puts the scope back that was there before, also when a template panics.
struct Restore(Option<Rc<Scope>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with_borrow_mut(|current| *current = before);
    }
}

impl Scope {
    pub(crate) fn new(site: Arc<Site>, name: impl Into<Arc<str>>, absolute: bool, fields: Fields) -> Self {
        Self {
            site,
            absolute,
            in_content: false,
            fields,
            pages: Pages::All,
            name: name.into(),
            calls: Cell::new(0),
        }
    }

    pub(crate) fn for_content(mut self) -> Self {
        self.in_content = true;
        self.fields = Fields::FRONT.alone();
        self.pages = Pages::All;
        self
    }

    /// Runs `work` within this scope.
    pub(crate) fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        let before = CURRENT.with_borrow_mut(|current| current.replace(Rc::new(self)));
        let _restore = Restore(before);
        work()
    }

    /// Calls `work` with the scope of this thread. Nothing that other threads write is written for that: a page may ask for
    /// hundreds of sections.
    pub(crate) fn with<T>(work: impl FnOnce(&Self) -> TeraResult<T>) -> TeraResult<T> {
        let current = CURRENT.with_borrow(Clone::clone);
        match current {
            Some(scope) => work(&scope),
            None => Err(Error::message("this is known only while a site is rendered")),
        }
    }

    /// How many calls of its kind came before this one.
    pub(crate) fn next_call(&self) -> u64 {
        let n = self.calls.get();
        self.calls.set(n + 1);
        n
    }
}
