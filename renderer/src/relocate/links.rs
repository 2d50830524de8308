//! Where a text names other content: the targets of links, and quoted paths in template code and data.

use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag};

use crate::markup::{Kind, Markup, choices, decoded, end_of, style_addresses};

/// A target of a link, and where it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) at: Range<usize>,
    /// As it is meant, without escapes.
    pub(crate) address: String,
    /// Whether it is markdown's: there `@/` names content.
    pub(crate) markdown: bool,
}

/// What links and template code in markdown stand on.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) targets: Vec<Target>,
    /// Where code is shown, in which nothing is meant.
    pub(crate) code: Vec<Range<usize>>,
}

/// Reads markdown.
pub(crate) fn markdown(text: &str, options: Options) -> Named {
    let mut named = Named::default();
    let events: Vec<(Event<'_>, Range<usize>)> = {
        let parser = Parser::new_ext(text, options);
        for (_, definition) in parser.reference_definitions().iter() {
            let span = definition.span.clone();
            if let Some(after) = text[span.clone()].find("]:") {
                named.take(text, span.start + after + 2..span.end, &definition.dest);
            }
        }
        parser.into_offset_iter().collect()
    };
    let mut html: Option<Range<usize>> = None;
    for (i, (event, range)) in events.iter().enumerate() {
        if let Event::Html(_) | Event::InlineHtml(_) = event {
            // A tag may go on in the next line.
            html = Some(match html.take() {
                Some(open) if open.end == range.start => open.start..range.end,
                open => {
                    named.html(text, open);
                    range.clone()
                }
            });
            continue;
        }
        match event {
            Event::Code(_) => named.code.push(range.clone()),
            Event::Start(Tag::CodeBlock(_)) => named.code.push(range.clone()),
            Event::Start(Tag::Link { link_type, dest_url, .. }) => match link_type {
                LinkType::Inline => {
                    let inner = inner_end(&events[i + 1..], range, 1);
                    named.inline(text, inner..range.end, dest_url);
                }
                LinkType::Autolink => named.take(text, range.start..range.end, dest_url),
                _ => {}
            },
            Event::Start(Tag::Image { link_type: LinkType::Inline, dest_url, .. }) => {
                let inner = inner_end(&events[i + 1..], range, 2);
                named.inline(text, inner..range.end, dest_url);
            }
            _ => {}
        }
    }
    named.html(text, html);
    named.targets.sort_by_key(|target| target.at.start);
    named.targets.dedup_by_key(|target| target.at.start);
    named
}

/// Where the words of a link end: behind the last of what is within it.
fn inner_end(after: &[(Event<'_>, Range<usize>)], link: &Range<usize>, opening: usize) -> usize {
    after
        .iter()
        .take_while(|(_, range)| range.start < link.end)
        .filter(|(event, range)| range.end < link.end && !matches!(event, Event::End(_)))
        .map(|(_, range)| range.end)
        .max()
        .unwrap_or(0)
        .max(link.start + opening)
}

impl Named {
    fn inline(&mut self, text: &str, range: Range<usize>, address: &str) {
        if let Some(open) = text[range.clone()].find("](") {
            self.take(text, range.start + open + 2..range.end, address);
        }
    }

    /// Takes an address that stands first in a range; what is written with escapes is left alone.
    fn take(&mut self, text: &str, range: Range<usize>, address: &str) {
        let part = &text[range.clone()];
        let bare = part.trim_start().trim_start_matches('<');
        if bare.starts_with(address) && !address.is_empty() {
            let start = range.start + part.len() - bare.len();
            let at = start..start + address.len();
            self.targets.push(Target { at, address: address.to_owned(), markdown: true });
        }
    }

    /// Takes the addresses in a piece of HTML.
    fn html(&mut self, text: &str, range: Option<Range<usize>>) {
        let Some(range) = range else { return };
        let (mut rest, mut offset) = (&text[range.clone()], range.start);
        while let Some(open) = rest.find('<') {
            (rest, offset) = (&rest[open..], offset + open);
            let Some(markup) = Markup::read(rest) else {
                (rest, offset) = (&rest[1..], offset + 1);
                continue;
            };
            if let Kind::Open { name, attributes, .. } = &markup.kind {
                let valued = attributes.iter().filter_map(|(attribute, value)| Some((*attribute, (*value)?)));
                let mut found: Vec<&str> =
                    valued.flat_map(|(attribute, value)| addresses(name, attribute, value)).collect();
                if name == "style" {
                    let inside = &rest[markup.length..];
                    found.extend(style_addresses(&inside[..end_of(inside, name)]));
                }
                self.targets.extend(found.into_iter().map(|address| {
                    // It is a part of the text, and so has its place there.
                    let start = offset + (address.as_ptr() as usize - rest.as_ptr() as usize);
                    let at = start..start + address.len();
                    Target { at, address: decoded(address).into_owned(), markdown: false }
                }));
            }
            (rest, offset) = (&rest[markup.length..], offset + markup.length);
        }
    }
}

/// The addresses that an attribute of an element has.
fn addresses<'t>(element: &str, attribute: &str, value: &'t str) -> Vec<&'t str> {
    let is = |known: &&str| attribute.eq_ignore_ascii_case(known);
    if ["srcset", "imagesrcset"].iter().any(is) {
        choices(value).collect()
    } else if is(&"style") {
        style_addresses(value)
    } else if ["href", "xlink:href", "src", "poster"].iter().any(is) || (element == "object" && is(&"data")) {
        vec![value]
    } else {
        Vec::new()
    }
}

/// All texts in quotes, without their quotes: where paths of content stand in templates and data.
pub(crate) fn quoted(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for (line_at, line) in lines(text) {
        for quote in ['"', '\'', '`'] {
            let mut from = 0;
            while let Some(open) = line[from..].find(quote).map(|i| from + i) {
                let Some(length) = line[open + 1..].find(quote) else { break };
                out.push(line_at + open + 1..line_at + open + 1 + length);
                // The closing quote may be the opening one of the next: what is not a text is no path either.
                from = open + 1 + length;
            }
        }
    }
    out.sort_by_key(|range| range.start);
    out
}

/// All that may be a link to content, wherever it stands in a text: `@/` up to what ends a link in markdown, a cell or a value.
pub(crate) fn mentioned(text: &str) -> impl Iterator<Item = Range<usize>> {
    let ends = |c: char| c.is_whitespace() || "\"'`()<>[]{}|\\,;".contains(c);
    let end = move |start: usize| text[start..].find(ends).map_or(text.len(), |end| start + end);
    text.match_indices("@/").map(move |(start, _)| start..end(start))
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// The parts of a content's text that are template code.
pub(crate) fn code_of_templates(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find(['{']).map(|i| from + i) {
        let close = match text.as_bytes().get(open + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                from = open + 1;
                continue;
            }
        };
        let end = text[open..].find(close).map_or(text.len(), |i| open + i);
        out.push(open..end);
        from = end.max(open + 1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_their_places() {
        let text = "[a](@/a.md#x \"t\") ![i *j*](<i j.png>) [](e.md) [r][ref] <https://h.example/p/> `[c](@/c.md)`\n\n    [d](@/d.md)\n\n```\n[f](@/f.md)\n```\n\n<a\n href=\"/h/\">[in](@/in.md)</a>\n\n[ref]: @/r.md 'x'\n[![img](@/i.png)](@/l.md) [esc](a\\_b.md)\n\n<picture><source SRCSET='s.png 1x, /t.png?a&amp;b 2x'></picture>\n<object data=o.svg></object>\n<p style='a: url(u.png)'>\n\n<style>\na { b: url(\"v.png\") }\n</style>\n";
        let named = markdown(text, Options::empty());
        let found: Vec<_> = named.targets.iter().map(|t| &text[t.at.clone()]).collect();
        assert_eq!(
            found,
            [
                "@/a.md#x",
                "i j.png",
                "e.md",
                "https://h.example/p/",
                "/h/",
                "@/in.md",
                "@/r.md",
                "@/i.png",
                "@/l.md",
                "s.png",
                "/t.png?a&amp;b",
                "o.svg",
                "u.png",
                "v.png"
            ]
        );
        let of_html = ["/h/", "s.png", "/t.png?a&b", "o.svg", "u.png", "v.png"];
        assert!(named.targets.iter().all(|t| t.markdown != of_html.contains(&&*t.address)));
    }

    #[test]
    fn quoted_texts_have_their_places() {
        let text = "path=\"a.md\" x='@/b.md'\nit's \"c\"";
        let found: Vec<_> = quoted(text).into_iter().map(|range| &text[range]).collect();
        assert!(["a.md", "@/b.md", "c"].iter().all(|part| found.contains(part)), "{found:?}");
        let text = "1,[a](@/a.md#x),\"see @/b.md; @/c/d.md\"";
        let found: Vec<_> = mentioned(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["@/a.md#x", "@/b.md", "@/c/d.md"]);
        let code = code_of_templates("a {{ b }} {# c #} {% d %} { e");
        assert_eq!(code, [2..7, 18..23]);
    }
}
