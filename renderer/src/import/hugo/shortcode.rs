//! Calls of shortcodes in a text: where they are, and what they are given.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of a call between its braces; what is longer is text, so that one brace does not have all behind it read.
const CALL_BYTES_MAX: usize = 4 << 10;

/// A piece of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// A call that is shown, not run: its text without the signs that say so.
    Shown(String),
    Tag(Tag<'a>),
}

/// A call, or the end of one.
#[derive(Debug, PartialEq)]
pub(super) struct Tag<'a> {
    pub(super) name: &'a str,
    /// As it is written.
    pub(super) text: &'a str,
    pub(super) at: Range<usize>,
    pub(super) is_end: bool,
    /// Whether it ends itself: `{{< x />}}`.
    pub(super) is_empty: bool,
    /// The arguments, with their names if they have some.
    arguments: Vec<(Option<&'a str>, Cow<'a, str>)>,
}

impl Piece<'_> {
    /// What it is as text.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Shown(text) => text,
            Self::Tag(tag) => tag.text,
        }
    }
}

impl Tag<'_> {
    /// An argument by its name, or else by its place where names are not used.
    pub(super) fn argument(&self, name: &str, place: usize) -> Option<&str> {
        let named = self
            .arguments
            .iter()
            .find(|(known, _)| known.is_some_and(|known| known.eq_ignore_ascii_case(name)));
        let found = named.or_else(|| self.arguments.get(place).filter(|(name, _)| name.is_none()));
        found.map(|(_, value)| value.as_ref())
    }

    /// An argument that has a name.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.argument(name, usize::MAX)
    }
}

/// Splits a text.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let (mut done, mut from) = (0, 0);
    while let Some(open) = text[from..].find("{{").map(|at| from + at) {
        from = open + 2;
        let close = match text.as_bytes().get(open + 2) {
            Some(b'<') => ">}}",
            Some(b'%') => "%}}",
            _ => continue,
        };
        let inner = &text[open + 3..];
        let inner = &inner[..inner.floor_char_boundary(CALL_BYTES_MAX)];
        // What is shown may hold its own ends.
        let shown = inner.trim_start().starts_with("/*");
        let end = if shown { format!("*/{close}") } else { close.to_owned() };
        let Some(length) = end_of(inner, &end, !shown) else { continue };
        let end = open + 3 + length + end.len();
        let piece = if shown {
            let word = inner[..length].trim_start().strip_prefix("/*").unwrap_or_default();
            Some(Piece::Shown(format!("{}{word}{close}", &text[open..open + 3])))
        } else {
            tag(&inner[..length], &text[open..end], open..end).map(Piece::Tag)
        };
        let Some(piece) = piece else { continue };
        if done < open {
            out.push(Piece::Text(&text[done..open]));
        }
        out.push(piece);
        (done, from) = (end, end);
    }
    if done < text.len() {
        out.push(Piece::Text(&text[done..]));
    }
    out
}

/// The piece that ends each call, which may hold calls of the same name.
pub(super) fn ends(pieces: &[Piece<'_>]) -> Vec<Option<usize>> {
    let mut ends = vec![None; pieces.len()];
    let mut open: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        let Piece::Tag(tag) = piece else { continue };
        let open = open.entry(tag.name).or_default();
        if !tag.is_end && !tag.is_empty {
            open.push(at);
        } else if let Some(begin) = open.pop_if(|_| tag.is_end) {
            ends[begin] = Some(at);
        }
    }
    ends
}

/// Where `end` is, outside of quotes.
fn end_of(text: &str, end: &str, quotes: bool) -> Option<usize> {
    let first = text.find(end)?;
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().take_while(|_| quotes) {
        match quote {
            Some(open) => {
                if byte == open && !escaped {
                    quote = None;
                }
                escaped = byte == b'\\' && !escaped && open == b'"';
            }
            None if at >= first && text.as_bytes()[at..].starts_with(end.as_bytes()) => return Some(at),
            None if matches!(byte, b'"' | b'`') => quote = Some(byte),
            None => {}
        }
    }
    // A quote that is not closed is none.
    Some(first)
}

fn tag<'a>(inner: &'a str, text: &'a str, at: Range<usize>) -> Option<Tag<'a>> {
    let inner = inner.trim();
    let (inner, is_empty) = match inner.strip_suffix('/') {
        Some(rest) => (rest.trim_end(), true),
        None => (inner, false),
    };
    let (inner, is_end) = match inner.strip_prefix('/') {
        Some(rest) => (rest.trim_start(), true),
        None => (inner, false),
    };
    let end = inner.find(char::is_whitespace).unwrap_or(inner.len());
    let name = &inner[..end];
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "_-/.".contains(c)) {
        return None;
    }
    Some(Tag { name, text, at, is_end, is_empty, arguments: arguments(&inner[end..]) })
}

fn arguments(text: &str) -> Vec<(Option<&str>, Cow<'_, str>)> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word =
            rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '`')).unwrap_or(rest.len());
        let name = rest[word..].starts_with('=').then(|| &rest[..word]).filter(|name| !name.is_empty());
        if name.is_some() {
            rest = rest[word + 1..].trim_start();
        }
        let (value, length) = value(rest);
        out.push((name, value));
        rest = rest[length..].trim_start();
    }
    out
}

/// A value at the head of a text, and its length with quotes.
fn value(text: &str) -> (Cow<'_, str>, usize) {
    if let Some(rest) = text.strip_prefix('`') {
        let end = rest.find('`').unwrap_or(rest.len());
        return (Cow::Borrowed(&rest[..end]), (end + 2).min(text.len()));
    }
    let Some(rest) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (Cow::Borrowed(&text[..end]), end.max(1).min(text.len()));
    };
    let mut value = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Cow::Owned(value), at + 2),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c)) => value.push(c),
                None => {}
            },
            c => value.push(c),
        }
    }
    (Cow::Owned(value), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<Tag<'_>> {
        let tag = |piece| match piece {
            Piece::Tag(tag) => Some(tag),
            _ => None,
        };
        pieces(text).into_iter().filter_map(tag).collect()
    }

    #[test]
    fn calls_and_their_arguments() {
        let text = "{{< figure src=\"a \\\"b\\\".png\" alt=`x >}} y` w=3 >}}{{% note %}}in{{% /note %}}{{<ref \"a.md\">}}{{< br />}}";
        let found = tags(text);
        let names: Vec<_> = found.iter().map(|tag| (tag.name, tag.is_end, tag.is_empty)).collect();
        assert_eq!(
            names,
            [
                ("figure", false, false),
                ("note", false, false),
                ("note", true, false),
                ("ref", false, false),
                ("br", false, true)
            ]
        );
        let figure = &found[0];
        assert_eq!(figure.named("src"), Some("a \"b\".png"));
        assert_eq!(figure.named("ALT"), Some("x >}} y"));
        assert_eq!(figure.named("w"), Some("3"));
        assert_eq!(found[3].argument("path", 0), Some("a.md"));
        assert_eq!(found[3].argument("path", 1), None);
        assert_eq!(&text[found[4].at.clone()], "{{< br />}}");
    }

    #[test]
    fn calls_end_with_their_own_ends() {
        let all =
            pieces("{{< a >}}{{< a >}}{{< b >}}{{< /a >}}{{< a />}}{{< /a >}}{{< /b >}}{{< /a >}}{{< a >}}");
        assert_eq!(ends(&all), [Some(5), Some(3), Some(6), None, None, None, None, None, None]);
    }

    #[test]
    fn what_is_no_call_is_text() {
        let text = "a {{ b }} {{<}} {{< c";
        assert_eq!(pieces(text), [Piece::Text(text)]);
        let shown = pieces("x {{</* ref \"y\" */>}}{{%/* z */%}}");
        assert_eq!(
            shown,
            [
                Piece::Text("x "),
                Piece::Shown("{{< ref \"y\" >}}".to_owned()),
                Piece::Shown("{{% z %}}".to_owned())
            ]
        );
    }
}
