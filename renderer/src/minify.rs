//! HTML with fewer bytes and the same meaning, for `minify_html`.
//!
//! White space that no browser shows goes, and with it that between two elements within one that is there for its layout
//! alone, such as `div`: Zola leaves it out too. Comments go, attribute values lose quotes that HTML does not ask for, and
//! quotes and `>` are written as themselves, as is all in a text field. Scripts and styles stay as they are, and so does
//! white space in preformatted content. What is no tag is text, and a `<` in it is a reference: nothing else is repaired.

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
    "main",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "pre",
    "search",
    "section",
    "source",
    "summary",
    "table",
    "tbody",
    "td",
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

/// Elements that hold other elements and no text of their own.
const LAYOUT: &[&str] = &[
    "article",
    "aside",
    "blockquote",
    "body",
    "colgroup",
    "datalist",
    "dialog",
    "div",
    "dl",
    "fieldset",
    "figure",
    "footer",
    "form",
    "head",
    "header",
    "hgroup",
    "html",
    "main",
    "map",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "picture",
    "section",
    "select",
    "svg",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
];

/// Elements without content.
const VOID: &[&str] =
    &["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];

/// Elements whose content is no markup.
const KEPT: &[&str] = &["textarea", "script", "style"];

/// Whether an element that may lack its end ends where another begins (HTML 13.1.2.4).
fn ends_at(element: &str, next: &str) -> bool {
    match element {
        "p" => is_block(next),
        "li" | "tr" | "option" => next == element,
        "dt" | "dd" => matches!(next, "dt" | "dd"),
        "td" | "th" => matches!(next, "td" | "th" | "tr"),
        _ => false,
    }
}

/// A text with the characters that need no reference there.
fn plain(text: &str) -> String {
    ["&quot;", "&#34;"].iter().fold(text.replace("&gt;", ">"), |text, quote| text.replace(quote, "\""))
}

/// A text where no element can be: a `<` begins one only where it would end what holds the text.
fn alone(text: &str) -> String {
    let text = plain(text);
    if text.contains("&lt;/") { text } else { text.replace("&lt;", "<") }
}

/// An HTML document, made smaller.
pub(crate) fn html(text: &str) -> String {
    let out = String::with_capacity(text.len());
    let mut writer = Writer { out, within: Vec::new(), space: false, at_edge: true };
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
                                match *kept {
                                    "textarea" => writer.out.push_str(&alone(&after[..end])),
                                    _ => writer.out.push_str(&after[..end]),
                                }
                                &after[end..]
                            }
                            None => after,
                        }
                    }
                }
            }
            None => {
                writer.text("&lt;");
                &tag[1..]
            }
        };
    }
    writer.out
}

struct Writer {
    out: String,
    /// The elements that are open.
    within: Vec<String>,
    /// White space came and was not written yet.
    space: bool,
    /// Whether white space here is not shown.
    at_edge: bool,
}

impl Writer {
    fn text(&mut self, text: &str) {
        if self.within.iter().any(|element| element == "pre") {
            self.out.push_str(&plain(text));
            return;
        }
        let laid_out = self.within.last().is_none_or(|element| LAYOUT.contains(&element.as_str()));
        if laid_out && text.trim_ascii().is_empty() {
            return;
        }
        for (i, word) in text.split([' ', '\t', '\n', '\r', '\u{c}']).enumerate() {
            self.space |= i > 0;
            if word.is_empty() {
                continue;
            }
            if self.space && !self.at_edge {
                self.out.push(' ');
            }
            let in_title = self.within.last().is_some_and(|element| element == "title");
            self.out.push_str(&if in_title { alone(word) } else { plain(word) });
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
        if let Some(open) = self.within.iter().rposition(|element| element == name) {
            self.within.truncate(open);
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn open(&mut self, name: &str, attributes: &[(&str, Option<&str>)], empty: bool) {
        let block = BLOCKS.contains(&name) || name == "br";
        self.edge(block);
        if self.within.last().is_some_and(|last| ends_at(last, name)) {
            self.within.pop();
        }
        if !empty && !VOID.contains(&name) {
            self.within.push(name.to_owned());
        }
        self.out.push('<');
        self.out.push_str(name);
        // In one order, by which like tags are alike to what compresses them.
        let mut written: Vec<(&str, Value)> =
            attributes.iter().map(|(key, value)| (*key, Value::of(value.unwrap_or_default()))).collect();
        written.sort_by_key(|(key, value)| (value.quote.is_none(), *key));
        for (key, value) in written {
            self.out.push(' ');
            self.out.push_str(key);
            value.write(&mut self.out);
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
}

/// The value of an attribute, and what it must stand between.
struct Value {
    text: String,
    quote: Option<char>,
}

impl Value {
    fn of(written: &str) -> Self {
        let text = written.replace("&gt;", ">");
        let is_bare = |c: char| !(c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '=' | '<' | '>' | '`'));
        let quote = (!text.chars().all(is_bare)).then(|| if text.contains('"') { '\'' } else { '"' });
        Self { text, quote }
    }

    fn write(&self, out: &mut String) {
        if self.text.is_empty() {
            return;
        }
        out.push('=');
        out.extend(self.quote);
        out.push_str(&self.text);
        out.extend(self.quote);
    }
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn white_space_that_is_not_shown_goes() {
        insta::assert_snapshot!(
            html("<!doctype html>\n<html>\n <head>\n  <meta charset=\"utf-8\">\n  <title> A  b </title>\n </head>\n <body>\n  <p class=\"x y\">One <b> two</b>\n three</p>\n  <!-- gone -->\n  FOO  <a href=\"/x?a=1\">BAR</a> <a href=\"/y/\">BAZ</a>\n </body>\n</html>\n"),
            @r#"<!doctype html><html><head><meta charset=utf-8><title>A b</title></head><body><p class="x y">One <b>two</b> three</p>FOO <a href="/x?a=1">BAR</a><a href=/y/>BAZ</a></body></html>"#
        );
    }

    #[test]
    fn content_that_is_shown_as_written_stays() {
        for same in [
            "<pre><code>a\n  b &lt;c></code></pre>",
            "<script>if (a < b) {\n  x(\"</p>\")\n}</script>",
            "<style>\na  > b {}\n</style>",
            "<textarea> a\n b</textarea>",
            "<p title='say \"x\"'>a</p>",
            "<svg><linearGradient id=a /></svg>",
            "<input value=\"a b\" disabled>",
        ] {
            assert_eq!(html(same), same);
        }
    }

    #[test]
    fn white_space_between_elements_of_a_layout_goes() {
        for (html_before, smaller) in [
            (
                "<div> <b>a</b> <!-- x --> <b>b</b> c <b>d</b> </div>",
                "<div><b>a</b><b>b</b> c <b>d</b></div>",
            ),
            (
                "<ul><li><b>a</b> <b>b</b> <li><b>c</b> </ul> <b>d</b> <b>e</b>",
                "<ul><li><b>a</b> <b>b</b><li><b>c</b></ul><b>d</b><b>e</b>",
            ),
            (
                "<nav><p><b>a</b> <b>b</b><div><b>c</b> <br> <b>d</b></div></nav>",
                "<nav><p><b>a</b> <b>b</b><div><b>c</b><br><b>d</b></div></nav>",
            ),
            (
                "<table> <tr> <td> <b>a</b> <b>b</b> <td><b>c</b> </table>",
                "<table><tr><td><b>a</b> <b>b</b><td><b>c</b></table>",
            ),
            ("<div><x-y> <b>a</b> <b>b</b></x-y></div>", "<div><x-y><b>a</b> <b>b</b></x-y></div>"),
        ] {
            assert_eq!(html(html_before), smaller);
        }
    }

    #[test]
    fn texts_need_few_references() {
        assert_eq!(
            html("<p title=\"&quot;\">&lt;a href=&quot;x&quot;&gt; &amp;quot; &amp;</p>"),
            "<p title=&quot;>&lt;a href=\"x\"> &amp;quot; &amp;</p>"
        );
        assert_eq!(html("<title>a &lt;b&gt;</title>"), "<title>a <b></title>");
        assert_eq!(html("<title>a &lt;/title&gt;</title>"), "<title>a &lt;/title></title>");
        assert_eq!(
            html("<pre><i class=\"&quot;\">&quot;</i> &lt; <  &gt;</pre>"),
            "<pre><i class=&quot;>\"</i> &lt; &lt;  ></pre>"
        );
        assert_eq!(
            html("<p>1 < 2 and 3 > 2 <<< </p><p>a<"),
            "<p>1 &lt; 2 and 3 > 2 &lt;&lt;&lt;</p><p>a&lt;"
        );
        assert_eq!(html("<textarea> a &lt;b&gt;</textarea>"), "<textarea> a <b></textarea>");
        assert_eq!(html("<textarea>&lt;/textarea&gt;</textarea>"), "<textarea>&lt;/textarea></textarea>");
        assert_eq!(
            html("<meta name=\"description\" content=\"a -&gt; b\" class=\"c\" />"),
            "<meta content=\"a -> b\" class=c name=description />"
        );
    }

    #[test]
    fn tags_in_what_is_preformatted_are_tags() {
        assert_eq!(
            html(
                "<pre>\n a <!-- b --><a href=\"/x/\">  c </a>\n<script>if (a < b) {}</script></pre> <b>d</b>"
            ),
            "<pre>\n a <a href=/x/>  c </a>\n<script>if (a < b) {}</script></pre><b>d</b>"
        );
    }

    #[test]
    fn what_is_not_shown_parts_no_words_and_joins_none() {
        assert_eq!(
            html("<p>a <script>x</script> b <style>y</style>c</p>"),
            "<p>a <script>x</script>b <style>y</style>c</p>"
        );
    }

    #[test]
    fn images_in_text_keep_their_distance() {
        assert_eq!(html("<p>a <img src=\"x\"> b</p>"), "<p>a <img src=x> b</p>");
        assert_eq!(html("<p>a <b>b</b> <i>c</i></p>"), "<p>a <b>b</b> <i>c</i></p>");
    }
}
