//! Macros: their parameters, and what they read beyond them.

use std::collections::BTreeSet;

use super::expression::{self, Arguments, Token};
use super::variables::Variables;
use crate::templates::pieces::Piece;

/// The name and the parameters of a macro, by what follows the word `macro` in its first tag.
pub(super) fn head_of_macro(rest: &str) -> (&str, Arguments) {
    let (name, parameters) = rest.split_once('(').unwrap_or((rest, ")"));
    let parameters = parameters.trim_end().strip_suffix(')').unwrap_or(parameters);
    (name.trim(), expression::arguments(&expression::read(parameters)))
}

/// The name of a parameter, with a default or without one.
pub(super) fn parameter((name, value): &(Option<String>, Vec<Token>)) -> String {
    name.clone().unwrap_or_else(|| expression::write(value))
}

/// How many pieces there are before the end of the macro that they begin in.
pub(super) fn end_of_macro(pieces: &[Piece<'_>]) -> usize {
    let is_end = |piece: &Piece<'_>| piece.tag().is_some_and(|tag| tag.trim().starts_with("endmacro"));
    pieces.iter().position(is_end).unwrap_or(pieces.len())
}

/// Whether a macro asks for fields of a parameter, and does not compare it.
pub(super) fn is_only_asked_for_fields(body: &[Piece<'_>], parameter: &str) -> bool {
    let (mut asked, mut compared) = (false, false);
    for piece in body {
        let (Piece::Tag(inside, ..) | Piece::Print(inside, ..)) = piece else { continue };
        let tokens = expression::read(inside);
        let solid: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Space(_))).collect();
        for pair in solid.windows(2).filter(|pair| pair[0].is(parameter)) {
            asked |= pair[1].is(".") || pair[1].is("[");
            compared |= pair[1].is("==") || pair[1].is("!=") || pair[1].is("~");
        }
    }
    asked && !compared
}

pub(super) fn in_space(space: &str, name: &str) -> String {
    if space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

/// What every macro could see without being given it.
pub(super) const SEEN: [&str; 10] = [
    "page",
    "section",
    "config",
    "lang",
    "taxonomy",
    "term",
    "terms",
    "paginator",
    "current_path",
    "current_url",
];

/// The macros of a template: what the first tag of each says behind its first word, and what follows that.
pub(super) fn macros<'p, 't>(pieces: &'p [Piece<'t>]) -> impl Iterator<Item = (&'t str, &'p [Piece<'t>])> {
    pieces.iter().enumerate().filter_map(|(i, piece)| match *piece {
        Piece::Tag(tag, ..) => Some((tag.trim().strip_prefix("macro ")?, &pieces[i + 1..])),
        _ => None,
    })
}

/// Whether a macro reads the body of a shortcode.
pub(super) fn reads_body(rest: &str, inside: &[Piece<'_>]) -> bool {
    seen(rest, inside).1.iter().any(|(name, _)| name == BODY)
}

/// What a shortcode and a component have between their first and their last tag.
pub(super) const BODY: &str = "body";

/// What the macros of a template read that they are not given, and not all could see.
pub(super) fn read_unseen(pieces: &[Piece<'_>]) -> BTreeSet<String> {
    macros(pieces).flat_map(|(rest, inside)| seen(rest, inside).1).map(|(name, _)| name).collect()
}

/// What the macro whose first tag says `rest` takes from where it is called: what all could see, and all else, and whether
/// it may be missing. `inside` begins with its body.
pub(super) fn seen(rest: &str, inside: &[Piece<'_>]) -> (BTreeSet<String>, Vec<(String, bool)>) {
    let given = rest.split_once('(').map_or("", |(_, parameters)| parameters);
    let given = given.split([',', ')']).filter_map(|one| one.split('=').next());
    let given = given.map(|name| name.trim().to_owned()).collect();
    let found = Variables::of(&inside[..end_of_macro(inside)], given);
    let (seen, unknown) =
        found.free.into_keys().partition::<BTreeSet<String>, _>(|name| SEEN.contains(&name.as_str()));
    let unknown = unknown.into_iter().map(|name| {
        let is_optional = found.optional.contains(&name);
        (name, is_optional)
    });
    (seen, unknown.collect())
}
