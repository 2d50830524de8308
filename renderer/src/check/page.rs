//! What one output says: which addresses it names, which ids and headings it has, which images have no words.

use std::collections::HashSet;

use crate::markup::{self, Kind, Markup, decoded, end_of};

/// Characters of a heading that are kept.
const HEADING_CHARS_MAX: usize = 80;
/// Findings of one sort that are kept of one output.
const KEPT_MAX: usize = 20;

/// What names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Use {
    /// Something to go to.
    Link,
    /// Something that the page is made of: an image, a script, a style sheet, a font.
    File,
}

/// A heading.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Title {
    pub(super) level: u8,
    pub(super) text: String,
}

/// What an output says.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Addresses as they are meant, not as they are escaped.
    pub(super) references: Vec<(Use, String)>,
    /// All that a fragment can name.
    pub(super) ids: HashSet<String>,
    /// Ids that came more than once.
    pub(super) repeated: Vec<String>,
    pub(super) headings: Vec<Title>,
    /// Sources of images without `alt`.
    pub(super) wordless: Vec<String>,
    /// Sources of images whose `alt` is empty.
    pub(super) decorative: Vec<String>,
    /// What relative addresses begin at, where the page says so.
    pub(super) base: Option<String>,
}

/// The attributes of a tag, by lower-case name.
struct Attributes<'a>(&'a [(&'a str, Option<&'a str>)]);

impl Attributes<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(decoded(value.unwrap_or_default()).trim().to_owned())
    }

    fn is(&self, name: &str, values: &[&str]) -> bool {
        self.get(name).is_some_and(|value| values.iter().any(|v| value.eq_ignore_ascii_case(v)))
    }
}

/// Reads an HTML document.
pub(super) fn html(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<Title> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let Some(open) = memchr::memchr(b'<', rest.as_bytes()) else {
            break;
        };
        let (before, tag) = rest.split_at(open);
        if let Some(heading) = &mut heading {
            heading.text.push_str(&decoded(before));
        }
        let Some(markup) = Markup::read(tag) else {
            rest = &tag[1..];
            continue;
        };
        rest = &tag[markup.length..];
        match &markup.kind {
            Kind::Open { name, attributes, empty } => {
                let name = name.to_ascii_lowercase();
                page.tag(&name, &Attributes(attributes));
                if let Some(level) = heading_level(&name) {
                    page.close(heading.replace(Title { level, text: String::new() }));
                }
                if !empty && matches!(name.as_str(), "script" | "style" | "textarea" | "title") {
                    let end = end_of(rest, &name);
                    if name == "style" {
                        page.style(&rest[..end]);
                    }
                    rest = &rest[end..];
                }
            }
            Kind::Close(name) if heading_level(&name.to_ascii_lowercase()).is_some() => {
                page.close(heading.take());
            }
            _ => {}
        }
    }
    page.close(heading);
    page
}

/// The addresses that a style sheet names.
pub(super) fn css(text: &str) -> Page {
    let mut page = Page::default();
    page.style(text);
    page
}

/// The addresses that a feed, a sitemap or a drawing names.
pub(super) fn xml(text: &str) -> Page {
    let mut page = Page::default();
    let mut rest = text;
    while let Some(open) = memchr::memchr(b'<', rest.as_bytes()) {
        let tag = &rest[open..];
        let Some(markup) = Markup::read(tag) else {
            rest = &tag[1..];
            continue;
        };
        rest = &tag[markup.length..];
        let Kind::Open { name, attributes, empty } = &markup.kind else { continue };
        let attributes = Attributes(attributes);
        for key in ["href", "xlink:href", "src", "url"] {
            if let Some(value) = attributes.get(key) {
                page.add(Use::Link, value);
            }
        }
        if !empty && matches!(name.as_str(), "loc" | "link") {
            let end = memchr::memchr(b'<', rest.as_bytes()).unwrap_or(rest.len());
            page.add(Use::Link, decoded(&rest[..end]).trim().to_owned());
        }
        if name == "style" && !empty {
            let end = end_of(rest, name);
            page.style(&rest[..end]);
        }
    }
    page
}

fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', level @ b'1'..=b'6'] => Some(level - b'0'),
        _ => None,
    }
}

impl Page {
    fn add(&mut self, of: Use, address: String) {
        if !address.is_empty() {
            self.references.push((of, address));
        }
    }

    fn close(&mut self, heading: Option<Title>) {
        if let Some(Title { level, text }) = heading {
            let words: Vec<&str> = text.split_whitespace().collect();
            let text = words.join(" ").chars().take(HEADING_CHARS_MAX).collect();
            self.headings.push(Title { level, text });
        }
    }

    fn style(&mut self, text: &str) {
        markup::style_addresses(text).into_iter().for_each(|address| self.add(Use::File, address.to_owned()));
    }

    fn tag(&mut self, name: &str, attributes: &Attributes<'_>) {
        if let Some(id) = attributes.get("id").filter(|id| !id.is_empty())
            && !self.ids.insert(id.clone())
            && self.repeated.len() < KEPT_MAX
            && !self.repeated.contains(&id)
        {
            self.repeated.push(id);
        }
        if let Some(style) = attributes.get("style").filter(|style| style.contains("url(")) {
            self.style(&style);
        }
        let mut take = |of: Use, key: &str| {
            if let Some(value) = attributes.get(key) {
                self.add(of, value);
            }
        };
        match name {
            "a" | "area" => {
                take(Use::Link, "href");
                self.ids.extend(attributes.get("name"));
            }
            "link" => self.link(attributes),
            "img" => {
                take(Use::File, "src");
                self.image(attributes);
            }
            "input" if attributes.is("type", &["image"]) => take(Use::File, "src"),
            "script" | "iframe" | "frame" | "embed" | "audio" | "track" => take(Use::File, "src"),
            "source" => {
                take(Use::File, "src");
                self.set(attributes.get("srcset"));
            }
            "video" => {
                take(Use::File, "src");
                take(Use::File, "poster");
            }
            "object" => take(Use::File, "data"),
            "use" | "image" => {
                take(Use::File, "href");
                take(Use::File, "xlink:href");
            }
            "base" => self.base = self.base.take().or_else(|| attributes.get("href")),
            "meta" => self.meta(attributes),
            _ => {}
        }
    }

    fn link(&mut self, attributes: &Attributes<'_>) {
        let rel = attributes.get("rel").unwrap_or_default().to_ascii_lowercase();
        let rels: Vec<&str> = rel.split_whitespace().collect();
        // These name a host and ask for nothing.
        if rels.iter().any(|rel| matches!(*rel, "preconnect" | "dns-prefetch")) {
            return;
        }
        let pages = ["canonical", "alternate", "next", "prev", "author", "license", "help", "search", "me"];
        let of = if rels.iter().any(|rel| pages.contains(rel)) { Use::Link } else { Use::File };
        if let Some(href) = attributes.get("href") {
            self.add(of, href);
        }
        self.set(attributes.get("imagesrcset"));
    }

    fn image(&mut self, attributes: &Attributes<'_>) {
        self.set(attributes.get("srcset"));
        let source = attributes.get("src").unwrap_or_default();
        let said_otherwise = attributes.is("role", &["presentation", "none"])
            || attributes.is("aria-hidden", &["true"])
            || attributes.get("aria-label").is_some()
            || attributes.get("aria-labelledby").is_some();
        let kept = match attributes.get("alt") {
            None if !said_otherwise => &mut self.wordless,
            Some(alt) if alt.is_empty() => &mut self.decorative,
            _ => return,
        };
        if kept.len() < KEPT_MAX && !kept.contains(&source) {
            kept.push(source);
        }
    }

    fn set(&mut self, value: Option<String>) {
        let Some(value) = value else { return };
        markup::choices(&value).for_each(|address| self.add(Use::File, address.to_owned()));
    }

    fn meta(&mut self, attributes: &Attributes<'_>) {
        let Some(content) = attributes.get("content") else { return };
        let images =
            ["og:image", "og:image:url", "og:image:secure_url", "og:audio", "og:video", "twitter:image"];
        if attributes.is("property", &images) || attributes.is("name", &images) {
            self.add(Use::File, content);
        } else if attributes.is("http-equiv", &["refresh"])
            && let Some((_, address)) = content.split_once(['=', ';'])
        {
            let address = address.trim_start();
            let address = address.strip_prefix("url=").or(address.strip_prefix("URL=")).unwrap_or(address);
            self.add(Use::Link, address.trim_matches(['"', '\'', ' ']).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(page: &Page) -> Vec<&str> {
        page.references.iter().map(|(_, address)| address.as_str()).collect()
    }

    #[test]
    fn all_that_names_an_address_is_read() {
        let page = html(
            "<!doctype html><base href=/b/><LINK REL=stylesheet HREF='a.css'><link rel=preconnect href=//no>\
             <meta property=og:image content=https:&#x2F;&#x2F;x/o.png><meta http-equiv=refresh content='0; url=/r/'>\
             <style>@import 'i.css'; /* url(no.png) */ a{background:url( \"u.png\" )}</style>\
             <script src=s.js>document.write('<img src=no>')</script><!-- <img src=no> -->\
             <a href='/l/?a=1&amp;b=2#f' name=old>x</a><img src=1.png srcset='2.png 1x, 3,4.png 2x,5.png'>\
             <video src=v.mp4 poster=p.jpg></video><svg><use href='#i'/></svg><p style=\"background:url('w.png')\">a < b</p>",
        );
        assert_eq!(
            named(&page),
            [
                "a.css",
                "https://x/o.png",
                "/r/",
                "i.css",
                "u.png",
                "s.js",
                "/l/?a=1&b=2#f",
                "1.png",
                "2.png",
                "3,4.png",
                "5.png",
                "v.mp4",
                "p.jpg",
                "#i",
                "w.png"
            ]
        );
        assert_eq!(page.base.as_deref(), Some("/b/"));
        assert!(page.ids.contains("old"));
        let feed =
            xml("<?xml version='1.0'?><feed><link href='https://x/'/><loc> https://x/a/ </loc></feed>");
        assert_eq!(named(&feed), ["https://x/", "https://x/a/"]);
    }

    #[test]
    fn headings_ids_and_words_are_noticed() {
        let page = html(
            "<h1 id=a>One <em>two</em>\n three</h1><H2>&lt;b&gt;</H2><p id=a><p id=b><img src=x><img src=y alt=''>\
             <img src=z alt=z><img src=q role=presentation>",
        );
        let headings: Vec<_> = page.headings.iter().map(|h| (h.level, h.text.as_str())).collect();
        assert_eq!(headings, [(1, "One two three"), (2, "<b>")]);
        assert_eq!(
            (page.repeated, page.wordless, page.decorative),
            (vec!["a".into()], vec!["x".into()], vec!["y".into()])
        );
    }

    #[test]
    fn nothing_that_is_broken_stops_it() {
        for text in [
            "<",
            "<a href",
            "<a href='x",
            "<h1>",
            "<style>url(",
            "<img srcset=','>",
            "</",
            "<!--",
            "<script>",
        ] {
            html(text);
            css(text);
            xml(text);
        }
        css("url('x");
        css("@import ");
    }
}
