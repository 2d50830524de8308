//! Where links and images lead, and how they are written.

use std::fmt::Write as _;
use std::ops::Range;

use pulldown_cmark::{CowStr, Event, LinkType, Tag, TagEnd};
use pulldown_cmark_escape::escape_href;

use super::{Broken, ContentLink, Picture, Problem, Spanned, Writer};
use crate::highlight::escape;

impl<'a> Writer<'_, 'a> {
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
                        broken: Some(Broken::Link(plain)),
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

    pub(super) fn link(
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
        if dest.is_empty() {
            self.result.problems.push(Problem {
                at: range.start,
                message: "the link has no address".into(),
                broken: Some(Broken::NoAddress),
                hint: Some("write where it leads between the brackets: [text](@/file.md)"),
            });
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

    pub(super) fn image(
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

    /// An image of this site that is shown, as it is written and as its address.
    pub(super) fn needs_image(&mut self, address: &str, written: &str, at: usize) {
        match self.around.image_exists(address) {
            Some(false) => self.result.problems.push(Problem {
                at,
                message: format!("the image `{written}` does not exist"),
                broken: Some(Broken::Image),
                hint: Some("put it into the page's folder, or into `static/` and begin its address with `/`"),
            }),
            Some(true) => self.result.images.push(address.to_owned()),
            None => {}
        }
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
