//! The pages of a section or a term, some at a time.

use std::sync::Arc;

use tera::{Map, Value};

use crate::library::{PageId, Section, Taxonomy, Term, pagers_path};
use crate::reads::{Node, note};
use crate::site::Site;
use crate::templates::Fields;
use crate::value::{self, key};

/// What `paginator` is, on page `n` of some pages.
pub(crate) struct Pager<'a> {
    pub(crate) ids: &'a [PageId],
    pub(crate) size: usize,
    reversed: bool,
    n: usize,
    /// The source of a section, or the id of a term.
    of: &'a Arc<str>,
    path: &'a str,
    paginate_path: &'a str,
}

impl Pager<'_> {
    fn number(&self) -> usize {
        self.ids.len().div_ceil(self.size).max(1)
    }

    pub(crate) fn path_of(&self, n: usize) -> String {
        if n == 1 {
            self.path.to_owned()
        } else {
            format!("{}{n}/", pagers_path(self.path, self.paginate_path))
        }
    }

    /// The pages of this pager.
    pub(crate) fn slice(&self) -> Vec<PageId> {
        let range = self.ids.iter().copied().skip((self.n - 1) * self.size).take(self.size);
        if !self.reversed {
            return range.collect();
        }
        self.ids.iter().rev().copied().skip((self.n - 1) * self.size).take(self.size).collect()
    }

    /// What templates see of it.
    pub(super) fn value(&self, site: &Arc<Site>, fields: Fields) -> Value {
        note(|| Node::Pager(self.of.clone(), self.n));
        let number = self.number();
        let slice = self.slice();
        let link = |n: usize| Value::from(site.permalink(&self.path_of(n), false));
        let mut map = Map::with_capacity(12);
        map.insert(key("paginate_by"), Value::from(self.size));
        map.insert(
            key("base_url"),
            Value::from(site.permalink(&pagers_path(self.path, self.paginate_path), false)),
        );
        map.insert(key("number_pagers"), Value::from(number));
        map.insert(key("first"), link(1));
        map.insert(key("last"), link(number));
        map.insert(key("previous"), if self.n > 1 { link(self.n - 1) } else { Value::none() });
        map.insert(key("next"), if self.n < number { link(self.n + 1) } else { Value::none() });
        map.insert(
            key("pages"),
            Value::from(slice.iter().map(|id| site.page_value(*id, fields, false)).collect::<Vec<_>>()),
        );
        map.insert(key("current_index"), Value::from(self.n));
        map.insert(key("total_pages"), Value::from(self.ids.len()));
        value::map(map)
    }
}

/// Pager `n` of a section that is paginated.
pub(crate) fn section_pager(section: &Section, n: usize) -> Option<Pager<'_>> {
    Some(Pager {
        ids: &section.pages,
        size: section.matter.paginate_by?,
        reversed: section.matter.paginate_reversed,
        n,
        of: &section.source,
        path: &section.path,
        paginate_path: &section.matter.paginate_path,
    })
}

/// Pager `n` of a term that is paginated.
pub(crate) fn term_pager<'a>(taxonomy: &'a Taxonomy, term: &'a Term, n: usize) -> Option<Pager<'a>> {
    Some(Pager {
        ids: &term.pages,
        size: taxonomy.config.paginate_by.filter(|n| *n > 0)?,
        reversed: false,
        n,
        of: &term.id,
        path: &term.path,
        paginate_path: taxonomy.config.paginate_path(),
    })
}
