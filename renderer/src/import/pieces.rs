//! Templates and content as a row of texts, tags and comments.

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// `{{ … }}`: what is within, and whether white space goes before and after.
    Print(&'a str, bool, bool),
    /// `{% … %}`.
    Tag(&'a str, bool, bool),
    Comment(&'a str),
}

/// Splits a template; what is within `{% raw %}` is text.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    split(text, true)
}

/// Splits content, where `{#` begins no comment but the id of a heading, and `{% raw %}` is text as well.
pub(super) fn content_pieces(text: &str) -> Vec<Piece<'_>> {
    split(text, false)
}

fn split(text: &str, is_template: bool) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(open) = find_open(rest, is_template) {
        let (before, at) = rest.split_at(open);
        let (close, kind) = match &at[..2] {
            "{{" => ("}}", 0),
            "{%" => ("%}", 1),
            _ => ("#}", 2),
        };
        let Some(end) = end_of(&at[2..], close) else { break };
        if !before.is_empty() {
            out.push(Piece::Text(before));
        }
        let whole = &at[..end + 4];
        let inside = &at[2..end + 2];
        let (left, right) = (inside.starts_with('-'), inside.len() > 1 && inside.ends_with('-'));
        let plain = inside.strip_prefix('-').unwrap_or(inside);
        let plain = if right { plain.strip_suffix('-').unwrap_or(plain) } else { plain };
        rest = &at[whole.len()..];
        match kind {
            0 => out.push(Piece::Print(plain, left, right)),
            1 => {
                out.push(Piece::Tag(plain, left, right));
                if is_template && plain.trim() == "raw" {
                    let length = raw_end(rest);
                    out.push(Piece::Text(&rest[..length]));
                    rest = &rest[length..];
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

fn find_open(text: &str, comments: bool) -> Option<usize> {
    let mut from = 0;
    while let Some(i) = text[from..].find('{') {
        let at = from + i;
        match text.as_bytes().get(at + 1) {
            Some(b'{' | b'%') => return Some(at),
            Some(b'#') if comments => return Some(at),
            _ => {}
        }
        from = at + 1;
    }
    None
}

/// Where a tag ends; not within quotes.
fn end_of(text: &str, close: &str) -> Option<usize> {
    if close == "#}" {
        return text.find(close);
    }
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, _) if text[i..].starts_with(close) => return Some(i),
            (None, _) => {}
        }
    }
    text.find(close)
}

/// Where the tag that ends raw text begins.
fn raw_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(i) = text[from..].find("{%") {
        let at = from + i;
        let tag = text[at + 2..].trim_start_matches('-').trim_start();
        if tag.starts_with("endraw") {
            return at;
        }
        from = at + 2;
    }
    text.len()
}
