//! Templates and content as a row of texts, prints, tags and comments: the one place that knows where each of them ends.

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    /// `{{ … }}`: what is within, and whether white space goes before and after.
    Print(&'t str, bool, bool),
    /// `{% … %}`.
    Tag(&'t str, bool, bool),
    /// `{# … #}`, all of it.
    Comment(&'t str),
    /// What begins as one of those and has no end: all that is left.
    Open(&'t str),
}

/// Splits a template; what is within `{% raw %}` is text.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    split(text, true)
}

/// Splits content of Zola 0.22, where `{#` begins no comment but the id of a heading, and `{% raw %}` is text as well.
pub(crate) fn content_pieces(text: &str) -> Vec<Piece<'_>> {
    split(text, false)
}

/// Where a part of a text begins in it, in bytes.
pub(crate) fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

impl<'t> Piece<'t> {
    /// All of it, with the signs around it; `text` is what was split.
    pub(crate) fn whole(&self, text: &'t str) -> &'t str {
        match *self {
            Self::Text(whole) | Self::Comment(whole) | Self::Open(whole) => whole,
            Self::Print(inside, left, right) | Self::Tag(inside, left, right) => {
                let start = offset(text, inside);
                &text[start - 2 - usize::from(left)..start + inside.len() + 2 + usize::from(right)]
            }
        }
    }

    /// Its text, without the signs around code.
    pub(crate) fn inside(&self) -> &'t str {
        match *self {
            Self::Text(inside)
            | Self::Comment(inside)
            | Self::Open(inside)
            | Self::Print(inside, ..)
            | Self::Tag(inside, ..) => inside,
        }
    }

    /// The code of a tag, also of one without an end.
    pub(crate) fn tag(&self) -> Option<&'t str> {
        match *self {
            Self::Tag(inside, ..) => Some(inside),
            Self::Open(rest) => rest.strip_prefix("{%").map(|code| code.trim_start_matches('-')),
            _ => None,
        }
    }
}

fn split(text: &str, is_template: bool) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(open) = find_open(rest, is_template) {
        let (before, at) = rest.split_at(open);
        if !before.is_empty() {
            out.push(Piece::Text(before));
        }
        let Some(end) = end_of(at, is_template) else {
            out.push(Piece::Open(at));
            return out;
        };
        let inside = &at[2..end];
        let whole = &at[..end + 2];
        rest = &at[end + 2..];
        let (left, right) = (inside.starts_with('-'), inside.len() > 1 && inside.ends_with('-'));
        let plain = inside.strip_prefix('-').unwrap_or(inside);
        let plain = if right { plain.strip_suffix('-').unwrap_or(plain) } else { plain };
        match at.as_bytes()[1] {
            b'{' => out.push(Piece::Print(plain, left, right)),
            b'%' => {
                out.push(Piece::Tag(plain, left, right));
                if is_template && plain.trim() == "raw" {
                    let (raw, after) = rest.split_at(raw_end(rest));
                    out.push(Piece::Text(raw));
                    rest = after;
                }
            }
            _ => out.push(Piece::Comment(whole)),
        }
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    out
}

fn find_open(text: &str, is_template: bool) -> Option<usize> {
    let begins = |at: &usize| match text.as_bytes().get(at + 1) {
        Some(b'{' | b'%') => true,
        Some(b'#') => is_template && !is_heading_id(&text[at + 2..]),
        _ => false,
    };
    memchr::memchr_iter(b'{', text.as_bytes()).find(begins)
}

/// Whether this is what follows `{#` in the id of a heading.
fn is_heading_id(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.' | ':'));
    end.is_some_and(|end| end > 0 && text[end..].starts_with('}'))
}

/// Where the end of the print, tag or comment stands that a text begins with; not within quotes, nor, of a print, where a brace
/// is open. Content may be no template at all: there, what would have no end has the nearest.
fn end_of(text: &str, is_template: bool) -> Option<usize> {
    let close = match text.as_bytes()[1] {
        b'{' => "}}",
        b'%' => "%}",
        _ => return Some(text[2..].find("#}")? + 2),
    };
    let bytes = text.as_bytes();
    let (mut quote, mut depth, mut escaped) = (None, 0_usize, false);
    for (i, byte) in bytes.iter().enumerate().skip(2) {
        match (quote, byte) {
            _ if std::mem::take(&mut escaped) => {}
            // Strings of Tera 1 have no escapes.
            (Some(_), b'\\') => escaped = is_template,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'' | b'`') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            // A tag ends even where a brace is open.
            (None, _) if bytes[i..].starts_with(close.as_bytes()) => return Some(i),
            (None, _) => {}
        }
    }
    let nearest = || Some(text[2..].find(close)? + 2);
    if is_template { None } else { nearest() }
}

/// Where the tag that ends raw text begins.
fn raw_end(text: &str) -> usize {
    let is_end = |at: &usize| {
        let tag = text[*at..].strip_prefix("{%");
        tag.is_some_and(|tag| tag.trim_start_matches('-').trim_start().starts_with("endraw"))
    };
    memchr::memchr_iter(b'{', text.as_bytes()).find(is_end).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Piece::{Comment, Open, Print, Tag, Text};
    use super::*;

    #[test]
    fn each_piece_ends_where_the_engine_ends_it() {
        for (text, expected) in [
            ("a{{ b }}c", vec![Text("a"), Print(" b ", false, false), Text("c")]),
            ("{%- if a -%}", vec![Tag(" if a ", true, true)]),
            ("{# {{ a }} #}b", vec![Comment("{# {{ a }} #}"), Text("b")]),
            ("{{ {\"a\": {\"}}\": {}}} }}b", vec![Print(" {\"a\": {\"}}\": {}}} ", false, false), Text("b")]),
            (r#"{{ "\"}}" }}b"#, vec![Print(r#" "\"}}" "#, false, false), Text("b")]),
            ("{{ <a b={c}/>}}", vec![Print(" <a b={c}/>", false, false)]),
            ("{% set a = {\"%}\": {}} %}", vec![Tag(" set a = {\"%}\": {}} ", false, false)]),
            ("{{ a } }}", vec![Print(" a } ", false, false)]),
            ("# a {#b} {{ c }}", vec![Text("# a {#b} "), Print(" c ", false, false)]),
            (
                "{% raw %}{{ {# {% endraw %}",
                vec![Tag(" raw ", false, false), Text("{{ {# "), Tag(" endraw ", false, false)],
            ),
            ("a {% if", vec![Text("a "), Open("{% if")]),
            ("{{ 'a }} {{ b }}", vec![Open("{{ 'a }} {{ b }}")]),
            ("{{ { }} {% b %}", vec![Open("{{ { }} {% b %}")]),
            ("{# a", vec![Open("{# a")]),
            ("{{}}{{-}}{%%}", vec![Print("", false, false), Print("", true, false), Tag("", false, false)]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
        let content = r#"it {{ isn't }} {# a {% b "\" %}"#;
        let expected =
            [Text("it "), Print(" isn't ", false, false), Text(" {# a "), Tag(r#" b "\" "#, false, false)];
        assert_eq!(content_pieces(content), expected);
    }

    proptest! {
        #[test]
        fn pieces_are_all_of_a_text(parts in prop::collection::vec("(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|[-{}'\"aé ]| raw | endraw )", 0..40)) {
            let text = parts.concat();
            for pieces in [pieces(&text), content_pieces(&text)] {
                let wholes: String = pieces.iter().map(|piece| piece.whole(&text)).collect();
                prop_assert_eq!(&wholes, &text);
            }
        }
    }
}
