//! The variables of a template that it does not set itself.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{self, Token};
use crate::templates::pieces::Piece;

#[derive(Default)]
pub(super) struct Variables {
    /// With the literal that stands for them where they are not given.
    pub(super) free: BTreeMap<String, Option<String>>,
    /// Those that are asked for before they are used, and not only with a literal for where they are not given.
    pub(super) optional: BTreeSet<String>,
    /// Those that are used whatever is asked, and so have to be given.
    pub(super) always: BTreeSet<String>,
    /// Conditions and loops that are open.
    depth: usize,
}

const RESERVED: [&str; 14] = [
    "in",
    "and",
    "or",
    "not",
    "is",
    "true",
    "false",
    "True",
    "False",
    "loop",
    "__tera_context",
    "self",
    "none",
    "as",
];

impl Variables {
    pub(super) fn of(pieces: &[Piece<'_>], mut bound: BTreeSet<String>) -> Self {
        let mut out = Self::default();
        for piece in pieces {
            match piece {
                Piece::Print(inside, ..) => out.add_value(&expression::read(inside), &bound),
                Piece::Tag(inside, ..) => {
                    let trimmed = inside.trim();
                    let word = trimmed.split(|c: char| c.is_whitespace()).next().unwrap_or("");
                    let rest = trimmed[word.len()..].trim();
                    match word {
                        "if" | "elif" => {
                            out.add(&expression::read(rest), &bound, true);
                            out.depth += usize::from(word == "if");
                        }
                        "endif" | "endfor" => out.depth = out.depth.saturating_sub(1),
                        "set" | "set_global" => {
                            let (variable, value) = rest.split_once('=').unwrap_or((rest, ""));
                            out.add_value(&expression::read(value), &bound);
                            bound.insert(variable.trim().to_owned());
                        }
                        "for" => {
                            if let Some((variables, list)) = rest.split_once(" in ") {
                                out.add(&expression::read(list), &bound, false);
                                bound.extend(variables.split(',').map(|name| name.trim().to_owned()));
                            }
                            out.depth += 1;
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        out
    }

    /// Adds those of a value, in which `and`, `or` and `not` passed over what is missing.
    fn add_value(&mut self, tokens: &[Token], bound: &BTreeSet<String>) {
        self.add(tokens, bound, expression::has_outside(tokens, &["and", "or", "not"]));
    }

    fn add(&mut self, tokens: &[Token], bound: &BTreeSet<String>, condition: bool) {
        let solid: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Space(_))).collect();
        let text = |i: usize| {
            solid.get(i).map_or("", |token| match token {
                Token::Word(s) | Token::Mark(s) => s.as_str(),
                _ => "",
            })
        };
        for (i, token) in solid.iter().enumerate() {
            let Token::Word(word) = token else { continue };
            let before = if i == 0 { "" } else { text(i - 1) };
            let earlier = if i < 2 { "" } else { text(i - 2) };
            let after = text(i + 1);
            let named = matches!(before, "." | "|" | "is" | "::") || (before == "not" && earlier == "is");
            if named
                || matches!(after, "(" | "=" | "::")
                || RESERVED.contains(&word.as_str())
                || bound.contains(word)
            {
                continue;
            }
            let asked = after == "is" && matches!(text(i + 2), "defined" | "undefined" | "not");
            let has_default = after == "|" && text(i + 2) == "default";
            let default = if has_default { literal(&solid[i..]) } else { None };
            if asked || condition || (has_default && default.is_none()) {
                self.optional.insert(word.clone());
            } else if self.depth == 0 {
                self.always.insert(word.clone());
            }
            let entry = self.free.entry(word.clone()).or_default();
            if entry.is_none() {
                *entry = default;
            }
        }
    }
}

/// The literal of `name | default(value=…)`.
fn literal(tokens: &[&Token]) -> Option<String> {
    match tokens {
        [_, _, _, _, Token::Word(value), Token::Mark(equals), literal, Token::Mark(close), ..]
            if value == "value" && equals == "=" && close == ")" =>
        {
            match literal {
                Token::Text(text) | Token::Number(text) => Some(text.clone()),
                Token::Word(word) if word == "true" || word == "false" => Some(word.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}
