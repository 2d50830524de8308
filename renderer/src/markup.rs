//! HTML as a row of tags and texts, for what makes it smaller and for what looks for mistakes in it.
//!
//! Nothing is repaired and no tree is built: what is no tag is text.

use std::borrow::Cow;

use pulldown_cmark::{CowStr, Event, Parser};

/// Where the closing tag of an element begins, or the end.
pub(crate) fn end_of(text: &str, name: &str) -> usize {
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

/// The addresses of a `srcset`: each has a width or a density behind it, and commas are between them.
pub(crate) fn choices(set: &str) -> impl Iterator<Item = &str> {
    let mut rest = set;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (address, after) = rest.split_at(end);
        let bare = address.trim_end_matches(',');
        rest = if bare.len() < address.len() {
            after
        } else {
            after.find(',').map_or("", |comma| &after[comma + 1..])
        };
        (!bare.is_empty()).then_some(bare)
    })
}

/// What stands in `url(…)` and behind `@import`, outside of comments.
pub(crate) fn style_addresses(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let next = ["/*", "url(", "@import"]
            .iter()
            .filter_map(|word| Some((memchr::memmem::find(rest.as_bytes(), word.as_bytes())?, *word)))
            .min();
        let Some((at, word)) = next else { break };
        rest = &rest[at + word.len()..];
        match word {
            "/*" => rest = rest.find("*/").map_or("", |end| &rest[end + 2..]),
            "url(" => {
                let inner = rest.trim_start();
                let (value, after) = match quoted(inner) {
                    Some(found) => found,
                    None => inner.split_at(inner.find(')').unwrap_or(inner.len())),
                };
                let value = value.trim();
                // A variable, or an escape that is nowhere in an address that people write.
                if !value.contains(['\\', '{', '$']) {
                    out.push(value);
                }
                rest = after;
            }
            _ => {
                if let Some((value, after)) = quoted(rest.trim_start()) {
                    out.push(value);
                    rest = after;
                }
            }
        }
    }
    out
}

/// A text in quotes at the start, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let end = text[1..].find(quote)? + 1;
    Some((&text[1..end], &text[end + 1..]))
}

/// What a piece of markup is.
pub(crate) enum Kind<'a> {
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
pub(crate) struct Markup<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) length: usize,
}

impl<'a> Markup<'a> {
    /// Reads what begins with `<`; none where it is text.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
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

/// Text as it is meant: with the characters that references such as `&amp;` and `&#x2F;` stand for.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        match reference(rest) {
            Some((meant, length)) => {
                out.push_str(&meant);
                rest = &rest[length..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What the reference stands for that a text begins with, and the reference's length in bytes.
fn reference(text: &str) -> Option<(CowStr<'_>, usize)> {
    // The longest is `&CounterClockwiseContourIntegral;`.
    let end = text.bytes().take(33).position(|b| b == b';')?;
    let (reference, name) = (&text[..=end], &text[1..end]);
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => match name.strip_prefix('#') {
            Some(number) => {
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)?
            }
            None if name.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                return Some((named(reference)?, end + 1));
            }
            None => return None,
        },
    };
    Some((CowStr::from(c), end + 1))
}

/// What a reference by name stands for: markdown knows all of them.
fn named(reference: &str) -> Option<CowStr<'_>> {
    let mut texts = Parser::new(reference).filter_map(|event| match event {
        Event::Text(text) => Some(text),
        _ => None,
    });
    let meant = texts.next().filter(|text| **text != *reference);
    meant.filter(|_| texts.next().is_none())
}

/// Whether a fragment is good on every page: none, the top (HTML 7.4.6.4), or a text to find.
pub(crate) fn names_the_top(fragment: &str) -> bool {
    let place = place_in(fragment);
    place.is_empty() || place.eq_ignore_ascii_case("top")
}

/// The place that a fragment names: what stands before a text to find.
pub(crate) fn place_in(fragment: &str) -> &str {
    fragment.split(":~:").next().unwrap_or(fragment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        for (text, meant) in [
            ("a&amp;b", "a&b"),
            ("https:&#x2F;&#47;x", "https://x"),
            ("&lt;&quot;&#39;", "<\"'"),
            ("a & b &unknown; &#xZ; &#1114112; &", "a & b &unknown; &#xZ; &#1114112; &"),
            ("é&ampé;", "é&ampé;"),
            ("&copy;&hellip;&NotEqualTilde;&amP;", "©…≂̸&amP;"),
        ] {
            assert_eq!(decoded(text), meant, "{text}");
        }
    }
}
