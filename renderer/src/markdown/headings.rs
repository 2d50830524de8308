//! Headings: their ids, the links beside them, and the table of contents.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Tag, TagEnd};

use super::{Heading, Spanned, Writer};
use crate::config::AnchorLinks;
use crate::{math, slugs};

impl<'a> Writer<'_, 'a> {
    pub(super) fn heading(
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
}

/// Headings as a tree: each holds the deeper ones that follow it.
pub(super) fn nest(headings: Vec<(u8, String, String)>) -> Vec<Heading> {
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
