//! What is coloured in a block of code: stretches of text that do not overlap, and the bytes that these are kept as.
//!
//! Owns the flattening of marks that lie in one another. It is our own: it sorts, where arborium's walks a hash map, and
//! equal input must give equal bytes. Colours and markup are not known here, so that what is kept outlives them.

use std::cmp::Reverse;
use std::sync::LazyLock;

use arborium_theme::highlights::HIGHLIGHTS;

use super::grammar;

/// Longer blocks are shown without colours: nobody reads them, and parsing what is no code of its language is slow.
pub(crate) const HIGHLIGHT_BYTES_MAX: usize = 256 << 10;

/// The tags that themes have colours for. A token is kept with its tag's place among them.
static TAGS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut tags: Vec<_> = HIGHLIGHTS.iter().map(|def| def.tag).filter(|tag| !tag.is_empty()).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
});

/// A stretch of text in one colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// As themes name the colour.
    pub(crate) tag: &'static str,
}

impl Token {
    /// The tokens of a block in order, of marks in one another the innermost; none where the language, in small letters, is
    /// unknown.
    pub(crate) fn all(language: &str, code: &str) -> Option<Vec<Self>> {
        let mut marks = grammar::grammar(language)?.marks(code);
        // The outermost first.
        marks.sort_unstable_by_key(|mark| (mark.start, Reverse(mark.end), mark.pattern, mark.tag));
        let mut tokens: Vec<Self> = Vec::with_capacity(marks.len());
        let mut stack: Vec<(usize, &'static str)> = Vec::new();
        let mut position = 0;
        let advance = |to: usize,
                       position: &mut usize,
                       stack: &mut Vec<(usize, &'static str)>,
                       tokens: &mut Vec<Self>| {
            while *position < to {
                while stack.last().is_some_and(|(end, _)| *end <= *position) {
                    stack.pop();
                }
                let Some((end, tag)) = stack.last().copied() else {
                    *position = to;
                    return;
                };
                let until = end.min(to);
                match tokens.last_mut() {
                    Some(last) if last.tag == tag && last.end == *position => last.end = until,
                    _ => tokens.push(Self { start: *position, end: until, tag }),
                }
                *position = until;
            }
        };
        for (i, mark) in marks.iter().enumerate() {
            // Of several marks of one range, the last pattern's wins.
            if marks.get(i + 1).is_some_and(|next| next.start == mark.start && next.end == mark.end) {
                continue;
            }
            advance(mark.start, &mut position, &mut stack, &mut tokens);
            stack.push((mark.end, mark.tag));
        }
        advance(code.len(), &mut position, &mut stack, &mut tokens);
        Some(tokens)
    }

    /// Tokens as bytes, two or three for each; none where one has a tag that no theme knows.
    pub(crate) fn pack(tokens: &[Self]) -> Option<Vec<u8>> {
        let mut position = 0;
        let pair = |token: &Self| {
            let tag = TAGS.binary_search(&token.tag).ok()?;
            let gap = token.start - std::mem::replace(&mut position, token.end);
            Some((gap * TAGS.len() + tag, token.end - token.start))
        };
        let pairs: Vec<(usize, usize)> = tokens.iter().map(pair).collect::<Option<_>>()?;
        postcard::to_stdvec(&pairs).ok()
    }

    /// The tokens of `code` from the bytes of [`Token::pack`]; none where these cannot be of that code.
    pub(crate) fn unpack(bytes: &[u8], code: &str) -> Option<Vec<Self>> {
        let pairs: Vec<(usize, usize)> = postcard::from_bytes(bytes).ok()?;
        let mut position = 0_usize;
        let token = |(gap, length): (usize, usize)| {
            let start = position.checked_add(gap / TAGS.len())?;
            let end = start.checked_add(length)?;
            position = end;
            let is_text = code.is_char_boundary(start) && code.is_char_boundary(end);
            is_text.then_some(Self { start, end, tag: TAGS[gap % TAGS.len()] })
        };
        pairs.into_iter().map(token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_from_their_bytes() {
        for (language, code) in [
            ("rust", "fn main() {\n    // Größe\n    let x = \"ü\";\n}\n"),
            ("html", "<p class=\"a\">ü</p>\n<script>const x = 1;</script>\n"),
            ("toml", ""),
        ] {
            let tokens = Token::all(language, code).unwrap();
            let bytes = Token::pack(&tokens).unwrap();
            assert!(bytes.len() <= 1 + 3 * tokens.len(), "{} bytes for {}", bytes.len(), tokens.len());
            assert_eq!(Token::unpack(&bytes, code), Some(tokens));
            assert_eq!(Token::unpack(&bytes[..bytes.len() / 2], code), None);
        }
        let tokens = Token::all("rust", "fn main() {}").unwrap();
        assert_eq!(Token::unpack(&Token::pack(&tokens).unwrap(), "fn"), None, "it is longer than the code");
        assert_eq!(Token::pack(&[Token { start: 0, end: 1, tag: "none" }]), None);
    }
}
