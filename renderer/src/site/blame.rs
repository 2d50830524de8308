//! What is not to be told of an output, since it may be wrong only for what another content lacks.
//!
//! A content that cannot be parsed has a stand-in that says next to nothing. Its own errors are told; those that follow
//! from what it does not say would send an author to the wrong file, and go with it.

use std::error::Error as _;

use tera::ErrorKind;

use super::Site;
use crate::library::{CONTENT, SectionId};
use crate::reads::{Node, has_noted};
use crate::templates::{Field, assigned};

/// Keys that the configuration has in any site.
const OF_CONFIG: [&str; 2] = ["base_url", "default_language"];

impl Site {
    /// Whether what was read so far rests on a content that another stands in for, so that an error may be there for that
    /// reason alone. `text` is that of the content that is rendered, if it is a template.
    pub(crate) fn may_follow(&self, error: &tera::Error, text: Option<&str>) -> bool {
        self.lacks_template() || self.lacks_data() && !self.is_own(error, text)
    }

    /// Whether the template may be another than the one that a section asks for which cannot be parsed.
    pub(crate) fn lacks_template(&self) -> bool {
        let library = &self.library;
        !library.stand_ins.is_empty()
            && has_noted(|node| match node {
                Node::Around(source) => library.page_of(source).is_some_and(|id| {
                    let above = library.page(id).ancestors.iter().chain(&library.page(id).section);
                    above.into_iter().any(|id| library.stand_ins.contains(&library.section(*id).source))
                }),
                _ => false,
            })
    }

    /// Whether anything is left out that would be there if nothing were wrong with contents and data.
    pub(crate) fn lacks_content(&self) -> bool {
        self.library.lacks_content() || !self.faults.is_empty()
    }

    /// Whether a value that was read is not what it would be if all contents could be parsed.
    fn lacks_data(&self) -> bool {
        let library = &self.library;
        let faults = &self.faults;
        let lacks_page = |source: &str| faults.lacks_page(source) && library.page_of(source).is_none();
        let stands_in = |source: &str| library.stand_ins.contains(source) || lacks_page(source);
        // What nobody knows anything of is in no list.
        let misses = |section: SectionId| {
            library.stand_ins.iter().filter_map(|source| library.page_of(source)).any(|id| {
                let page = library.page(id);
                page.section == Some(section) || page.ancestors.contains(&section)
            })
        };
        let folder = |source: &str| source[..source.rfind('/').map_or(0, |end| end + 1)].to_owned();
        self.lacks_content()
            && has_noted(|node| match node {
                Node::Page(source, ..) | Node::Section(source, ..) => stands_in(source),
                Node::Members(source, ..) | Node::First(source, _) => {
                    faults.lacks_pages_in(&folder(source)) || library.section_of(source).is_some_and(misses)
                }
                Node::Term(..) | Node::Taxonomy(..) | Node::TermNamed(..) => true,
                Node::Link(target, _) => lacks_page(&format!("{CONTENT}{target}")),
                Node::Data => faults.lacks_data(None),
                Node::DataOf(source) => faults.lacks_data(Some(source)),
                _ => false,
            })
    }

    /// Whether an error is there whatever contents say: something is named that no template gives a value, or that no page,
    /// section or configuration has.
    fn is_own(&self, error: &tera::Error, text: Option<&str>) -> bool {
        let report = match error.kind() {
            ErrorKind::RenderingError(report) => report,
            ErrorKind::SyntaxError(_) | ErrorKind::Msg(_) => return error.source().is_none(),
            _ => return false,
        };
        let message = report.message();
        let named = |head: &str| message.strip_prefix(head)?.split_once("` is not defined");
        if let Some((name, _)) = named("Variable `") {
            let is_assigned = |text: &str| assigned(text).any(|assigned| assigned == name);
            return !self.engine.assigned.contains(name) && !text.is_some_and(is_assigned);
        }
        if let Some((_, rest)) = named("Field `")
            && let Some(fields) = rest.strip_prefix(". Available fields: ")
        {
            let known: Vec<&str> = fields.split(", ").collect();
            return known.iter().all(|name| Field::ALL.iter().any(|field| field.name() == *name))
                || OF_CONFIG.iter().all(|name| known.contains(name));
        }
        message.contains(" in component call. Possible argument(s) are: ")
    }
}
