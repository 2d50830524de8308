//! The pieces of an expression, and where they belong together.

/// What a call is given: names and values.
pub(in crate::import) type Arguments = Vec<(Option<String>, Vec<Token>)>;

/// A token, or the white space between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) enum Token {
    Word(String),
    Number(String),
    /// With its quotes.
    Text(String),
    Mark(String),
    Space(String),
    /// What is already in its new form.
    Done(String),
}

impl Token {
    pub(in crate::import) fn as_str(&self) -> &str {
        match self {
            Self::Word(s)
            | Self::Number(s)
            | Self::Text(s)
            | Self::Mark(s)
            | Self::Space(s)
            | Self::Done(s) => s,
        }
    }

    pub(in crate::import) fn is(&self, text: &str) -> bool {
        !matches!(self, Self::Text(_) | Self::Done(_)) && self.as_str() == text
    }
}

/// Tokens as text. Within quotes a backslash was a letter like any other, and begins an escape now.
pub(in crate::import) fn write(tokens: &[Token]) -> String {
    let mut out = String::new();
    for token in tokens {
        match token {
            Token::Text(text) => out.push_str(&text.replace('\\', "\\\\")),
            token => out.push_str(token.as_str()),
        }
    }
    out
}

/// How many brackets may stand within each other. Tera itself reads no more than 40.
const DEPTH_MAX: usize = 64;

/// Splits an expression. One that is too deep to be read by Tera either is left as it is.
pub(in crate::import) fn read(text: &str) -> Vec<Token> {
    const MARKS: [&str; 7] = ["::", "==", "!=", ">=", "<=", "//", "**"];
    let mut out: Vec<Token> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = |ends: &dyn Fn(char) -> bool| rest.find(|c: char| ends(c)).unwrap_or(rest.len());
        let (token, used) = if first.is_whitespace() {
            let end = length(&|c| !c.is_whitespace());
            (Token::Space(rest[..end].to_owned()), end)
        } else if first.is_alphabetic() || first == '_' {
            let end = length(&|c| !(c.is_alphanumeric() || c == '_'));
            (Token::Word(rest[..end].to_owned()), end)
        } else if first.is_ascii_digit() {
            // After a dot, a number is the place of an item.
            let item = out.last().is_some_and(|token| token.is("."));
            let end = length(&|c| !(c.is_ascii_digit() || (c == '.' && !item)));
            (Token::Number(rest[..end].to_owned()), end)
        } else if matches!(first, '"' | '\'' | '`') {
            let end = rest[1..].find(first).map_or(rest.len(), |i| i + 2);
            (Token::Text(rest[..end].to_owned()), end)
        } else {
            let end = MARKS
                .iter()
                .find(|mark| rest.starts_with(**mark))
                .map_or(first.len_utf8(), |mark| mark.len());
            (Token::Mark(rest[..end].to_owned()), end)
        };
        out.push(token);
        rest = &rest[used..];
    }
    if depth(&out) > DEPTH_MAX { vec![Token::Done(text.to_owned())] } else { out }
}

/// How many brackets stand within each other at most.
fn depth(tokens: &[Token]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in tokens {
        if token.is("(") || token.is("[") || token.is("{") {
            depth += 1;
            deepest = deepest.max(depth);
        } else if token.is(")") || token.is("]") || token.is("}") {
            depth = depth.saturating_sub(1);
        }
    }
    deepest
}

/// Where the bracket that opens at `open` is closed, or the end.
pub(in crate::import) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        if token.is("(") || token.is("[") || token.is("{") {
            depth += 1;
        } else if token.is(")") || token.is("]") || token.is("}") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return i;
            }
        }
    }
    tokens.len()
}

pub(in crate::import) fn next(tokens: &[Token], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|i| !matches!(tokens[*i], Token::Space(_)))
}

pub(in crate::import) fn before(tokens: &[Token], from: usize) -> Option<usize> {
    (0..from).rev().find(|i| !matches!(tokens[*i], Token::Space(_)))
}

/// The arguments within brackets, split at their commas: name and value, or a value alone.
pub(in crate::import) fn arguments(tokens: &[Token]) -> Arguments {
    let mut parts: Vec<Vec<Token>> = vec![Vec::new()];
    let mut depth = 0_usize;
    for token in tokens {
        if token.is("(") || token.is("[") || token.is("{") {
            depth += 1;
        } else if token.is(")") || token.is("]") || token.is("}") {
            depth = depth.saturating_sub(1);
        } else if token.is(",") && depth == 0 {
            parts.push(Vec::new());
            continue;
        }
        if let Some(last) = parts.last_mut() {
            last.push(token.clone());
        }
    }
    let trimmed = |tokens: &[Token]| -> Vec<Token> {
        let from = next(tokens, 0).unwrap_or(tokens.len());
        let to = before(tokens, tokens.len()).map_or(from, |i| i + 1);
        tokens[from..to].to_vec()
    };
    parts
        .iter()
        .map(|part| trimmed(part))
        .filter(|part| !part.is_empty())
        .map(|part| match (part.first(), next(&part, 1)) {
            (Some(Token::Word(name)), Some(equals)) if part[equals].is("=") => {
                (Some(name.clone()), trimmed(&part[equals + 1..]))
            }
            _ => (None, part),
        })
        .collect()
}

/// Arguments between which commas may be missing, with all of them.
pub(in crate::import) fn separated(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for (i, token) in tokens.iter().enumerate() {
        let named =
            matches!(token, Token::Word(_)) && next(&tokens, i + 1).is_some_and(|at| tokens[at].is("="));
        if named && before(&out, out.len()).is_some_and(|last| !out[last].is(",")) {
            out.push(Token::Mark(",".to_owned()));
        }
        out.push(token.clone());
    }
    out
}

/// A call of a macro, by the name that it was imported under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Call {
    pub(in crate::import) space: String,
    pub(in crate::import) name: String,
    pub(in crate::import) arguments: Arguments,
}

/// An expression with what stands for each call of a macro.
pub(in crate::import) fn replace_calls(tokens: &[Token], made: &dyn Fn(Call) -> String) -> Vec<Token> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        if let Some((call, end)) = call_at(tokens, i) {
            out.push(Token::Done(made(call)));
            i = end;
        } else {
            out.push(tokens[i].clone());
            i += 1;
        }
    }
    out
}

/// All calls of macros, those among the arguments of others too.
pub(in crate::import) fn calls(tokens: &[Token]) -> impl Iterator<Item = Call> + '_ {
    (0..tokens.len()).filter_map(|i| call_at(tokens, i).map(|(call, _)| call))
}

fn call_at(tokens: &[Token], at: usize) -> Option<(Call, usize)> {
    let (Token::Word(space), Token::Mark(colons), Token::Word(name)) =
        (tokens.get(at)?, tokens.get(at + 1)?, tokens.get(at + 2)?)
    else {
        return None;
    };
    let open = next(tokens, at + 3)?;
    if colons != "::" || !tokens[open].is("(") {
        return None;
    }
    let end = closing(tokens, open);
    let arguments = arguments(&tokens[open + 1..end.min(tokens.len())]);
    Some((Call { space: space.clone(), name: name.clone(), arguments }, (end + 1).min(tokens.len())))
}

/// Whether any of these stands outside of all brackets.
pub(in crate::import) fn has_outside(tokens: &[Token], wanted: &[&str]) -> bool {
    let mut depth = 0_usize;
    tokens.iter().any(|token| {
        if token.is("(") || token.is("[") || token.is("{") {
            depth += 1;
        } else if token.is(")") || token.is("]") || token.is("}") {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && wanted.iter().any(|word| token.is(word))
    })
}

pub(in crate::import) fn ends_value(token: &Token) -> bool {
    match token {
        Token::Word(word) => !KEYWORDS.contains(&word.as_str()),
        Token::Number(_) | Token::Text(_) | Token::Done(_) => true,
        token => token.is(")") || token.is("]"),
    }
}

pub(in crate::import) const KEYWORDS: [&str; 11] =
    ["in", "and", "or", "not", "is", "if", "elif", "for", "set", "set_global", "else"];

pub(in crate::import) fn opening(tokens: &[Token], close: usize) -> usize {
    let mut depth = 0_usize;
    for i in (0..=close).rev() {
        if tokens[i].is(")") || tokens[i].is("]") || tokens[i].is("}") {
            depth += 1;
        } else if tokens[i].is("(") || tokens[i].is("[") || tokens[i].is("{") {
            depth -= 1;
            if depth == 0 {
                return i;
            }
        }
    }
    0
}
