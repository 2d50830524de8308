//! HTML with fewer bytes and the same meaning, for `minify_html`.
//!
//! White space that no browser shows goes, comments go, attribute values lose quotes that HTML does not ask for. Text,
//! scripts, styles and preformatted content stay as they are. What is no tag is text: nothing is repaired.

use crate::markup::{Kind, Markup, end_of};

/// Elements before, after and within whose edges white space is not shown.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "base",
    "blockquote",
    "body",
    "caption",
    "col",
    "colgroup",
    "dd",
    "details",
    "dialog",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "legend",
    "li",
    "link",
    "main",
    "menu",
    "meta",
    "nav",
    "noscript",
    "ol",
    "optgroup",
    "option",
    "p",
    "pre",
    "script",
    "search",
    "section",
    "source",
    "style",
    "summary",
    "table",
    "tbody",
    "td",
    "template",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "track",
    "ul",
];

/// Whether an element stands for itself, and not within a line of text.
pub(crate) fn is_block(element: &str) -> bool {
    BLOCKS.contains(&element)
}

/// Elements whose content is copied as it is.
const KEPT: &[&str] = &["pre", "textarea", "script", "style"];

/// An HTML document, made smaller.
pub(crate) fn html(text: &str) -> String {
    let mut writer = Writer { out: String::with_capacity(text.len()), space: false, at_edge: true };
    let mut rest = text;
    while !rest.is_empty() {
        let Some(open) = rest.find('<') else {
            writer.text(rest);
            break;
        };
        let (before, tag) = rest.split_at(open);
        writer.text(before);
        rest = match Markup::read(tag) {
            Some(markup) => {
                let after = &tag[markup.length..];
                match &markup.kind {
                    Kind::Comment => after,
                    Kind::Verbatim => {
                        writer.edge(true);
                        writer.out.push_str(&tag[..markup.length]);
                        after
                    }
                    Kind::Close(name) => {
                        writer.close(name);
                        after
                    }
                    Kind::Open { name, attributes, empty } => {
                        writer.open(name, attributes, *empty);
                        match KEPT.iter().find(|kept| **kept == name.as_str() && !empty) {
                            Some(kept) => {
                                let end = end_of(after, kept);
                                writer.out.push_str(&after[..end]);
                                &after[end..]
                            }
                            None => after,
                        }
                    }
                }
            }
            None => {
                writer.text("<");
                &tag[1..]
            }
        };
    }
    writer.out
}

struct Writer {
    out: String,
    /// White space came and was not written yet.
    space: bool,
    /// Whether white space here is not shown.
    at_edge: bool,
}

impl Writer {
    fn text(&mut self, text: &str) {
        for (i, word) in text.split([' ', '\t', '\n', '\r', '\u{c}']).enumerate() {
            self.space |= i > 0;
            if word.is_empty() {
                continue;
            }
            if self.space && !self.at_edge {
                self.out.push(' ');
            }
            self.out.push_str(word);
            (self.space, self.at_edge) = (false, false);
        }
    }

    /// What comes next is a block's edge, or not: then white space before it is kept.
    fn edge(&mut self, block: bool) {
        if !block && self.space && !self.at_edge {
            self.out.push(' ');
            self.at_edge = true;
        }
        self.space = false;
        if block {
            self.at_edge = true;
        }
    }

    fn close(&mut self, name: &str) {
        let block = BLOCKS.contains(&name);
        self.edge(block);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn open(&mut self, name: &str, attributes: &[(&str, Option<&str>)], empty: bool) {
        let block = BLOCKS.contains(&name) || name == "br";
        self.edge(block);
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes {
            self.out.push(' ');
            self.out.push_str(key);
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.out.push('=');
                self.value(value);
            }
        }
        // Within SVG and MathML, the slash is what ends an element; after an unquoted value it would be part of it.
        if empty {
            self.out.push_str(if attributes.is_empty() { "/" } else { " /" });
        }
        self.out.push('>');
        if !block
            && matches!(name, "img" | "input" | "button" | "select" | "textarea" | "video" | "audio" | "svg")
        {
            self.at_edge = false;
        }
    }

    fn value(&mut self, value: &str) {
        let bare = |c: char| !(c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '=' | '<' | '>' | '`'));
        if value.chars().all(bare) {
            self.out.push_str(value);
            return;
        }
        let quote = if value.contains('"') { '\'' } else { '"' };
        self.out.push(quote);
        self.out.push_str(value);
        self.out.push(quote);
    }
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn white_space_that_is_not_shown_goes() {
        insta::assert_snapshot!(
            html("<!doctype html>\n<html>\n <head>\n  <meta charset=\"utf-8\">\n  <title> A  b </title>\n </head>\n <body>\n  <p class=\"x y\">One <b> two</b>\n three</p>\n  <!-- gone -->\n  FOO  <a href=\"/x?a=1\">BAR</a> <a href=\"/y/\">BAZ</a>\n </body>\n</html>\n"),
            @r#"<!doctype html><html><head><meta charset=utf-8><title>A b</title></head><body><p class="x y">One <b>two</b> three</p>FOO <a href="/x?a=1">BAR</a> <a href=/y/>BAZ</a></body></html>"#
        );
    }

    #[test]
    fn content_that_is_shown_as_written_stays() {
        for same in [
            "<pre><code>a\n  b &lt;c></code></pre>",
            "<script>if (a < b) {\n  x(\"</p>\")\n}</script>",
            "<style>\na  > b {}\n</style>",
            "<textarea> a\n b</textarea>",
            "<p>1 < 2 and 3 > 2</p>",
            "<p title='say \"x\"'>a</p>",
            "<svg><linearGradient id=a /></svg>",
            "<input value=\"a b\" disabled>",
            "<p>a<",
            "<p>a</",
        ] {
            assert_eq!(html(same), same);
        }
    }

    #[test]
    fn images_in_text_keep_their_distance() {
        assert_eq!(html("<p>a <img src=\"x\"> b</p>"), "<p>a <img src=x> b</p>");
        assert_eq!(html("<p>a <b>b</b> <i>c</i></p>"), "<p>a <b>b</b> <i>c</i></p>");
    }
}
