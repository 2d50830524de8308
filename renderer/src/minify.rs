//! HTML with fewer bytes and the same meaning, for `minify_html`.
//!
//! White space that no browser shows goes, comments go, attribute values lose quotes that HTML does not ask for. Text,
//! scripts, styles and preformatted content stay as they are. What is no tag is text: nothing is repaired.

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

/// Where the closing tag of an element begins, or the end.
fn end_of(text: &str, name: &str) -> usize {
    let mut from = 0;
    while let Some(i) = text[from..].find("</") {
        let at = from + i;
        let after = &text.as_bytes()[at + 2..];
        if after.len() >= name.len() && after[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return at;
        }
        from = at + 2;
    }
    text.len()
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

enum Kind<'a> {
    Comment,
    /// A doctype, a conditional comment, a processing instruction.
    Verbatim,
    Close(String),
    Open {
        name: String,
        attributes: Vec<(&'a str, Option<&'a str>)>,
        empty: bool,
    },
}

/// A piece of markup, and its length in bytes.
struct Markup<'a> {
    kind: Kind<'a>,
    length: usize,
}

impl<'a> Markup<'a> {
    /// Reads what begins with `<`; none where it is text.
    fn read(text: &'a str) -> Option<Self> {
        if let Some(comment) = text.strip_prefix("<!--") {
            let length = comment.find("-->").map_or(text.len(), |i| i + 7);
            let kind = if comment.starts_with("[if") || comment.starts_with("<![") {
                Kind::Verbatim
            } else {
                Kind::Comment
            };
            return Some(Self { kind, length });
        }
        if text.starts_with("<!") || text.starts_with("<?") {
            return Some(Self { kind: Kind::Verbatim, length: text.find('>')? + 1 });
        }
        let closing = text.starts_with("</");
        let start = if closing { 2 } else { 1 };
        let name_length = text[start..].find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))?;
        let name = &text[start..start + name_length];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let mut at = start + name_length;
        let mut attributes = Vec::new();
        loop {
            at += text[at..].len() - text[at..].trim_start().len();
            let rest = &text[at..];
            if let Some(rest) = rest.strip_prefix("/") {
                if rest.starts_with('>') {
                    let kind = Kind::Open { name: own_name(name), attributes, empty: true };
                    return Some(Self { kind, length: at + 2 });
                }
                at += 1;
                continue;
            }
            if rest.starts_with('>') {
                let kind = if closing {
                    Kind::Close(own_name(name))
                } else {
                    Kind::Open { name: own_name(name), attributes, empty: false }
                };
                return Some(Self { kind, length: at + 1 });
            }
            let key_end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '='))?;
            // An equals sign at the start is part of the name (HTML 13.2.5.32).
            let key_end = if key_end == 0 { 1 } else { key_end };
            let key = &rest[..key_end];
            at += key_end;
            let after = text[at..].trim_start();
            let Some(value) = after.strip_prefix('=') else {
                attributes.push((key, None));
                continue;
            };
            let value = value.trim_start();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (content, used) = match quote {
                Some(quote) => {
                    let end = value[1..].find(quote)?;
                    (&value[1..=end], end + 2)
                }
                None => {
                    let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>')?;
                    (&value[..end], end)
                }
            };
            at = text.len() - value.len() + used;
            attributes.push((key, Some(content)));
        }
    }
}

/// Names of HTML are lower-case; those of SVG keep their form.
fn own_name(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        name.to_ascii_lowercase()
    } else {
        name.to_owned()
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
