//! Expressions of Tera 1 as expressions of Tera 2, token by token: what is not known to differ stays as it was written.

mod filters;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeSet;

use super::names::Languages;
pub(super) use filters::{DATE_PATTERN, date_pattern_template};
use filters::{end_of_filter, filters, is_fraction, term};
pub(super) use token::has_outside;
pub(super) use token::{Arguments, Call, Token, arguments, calls, read, replace_calls, separated, write};
use token::{KEYWORDS, before, closing, next};

/// Renamed tests, and the name that their argument has now.
const TESTS: &[(&str, &str, &str)] = &[
    ("starting_with", "starting_with", "pat"),
    ("ending_with", "ending_with", "pat"),
    ("containing", "containing", "pat"),
    ("matching", "matching", "pat"),
    ("divisibleby", "divisible_by", "divisor"),
    ("object", "map", ""),
];

/// An expression in its new form. With `lenient`, what may be missing is asked for with `?.`, as in a condition.
pub(super) fn convert(mut tokens: Vec<Token>, lenient: bool) -> String {
    rename(&mut tokens);
    items(&mut tokens);
    tests(&mut tokens);
    filters(&mut tokens);
    if lenient {
        chains(&mut tokens, 0, usize::MAX);
    }
    write(&tokens)
}

/// An expression whose value is used. `and` and `or` gave true or false and not one of their sides, and they, `not` and
/// tests passed over what is missing.
pub(super) fn convert_value(tokens: Vec<Token>) -> String {
    let joined = has_outside(&tokens, &["and", "or"]);
    let text = convert(tokens.clone(), joined || has_outside(&tokens, &["not", "is"]));
    if joined { format!("true if {} else false", text.trim()) } else { text }
}

/// An expression that is shown. A whole number was shown without `.0`.
pub(super) fn convert_shown(tokens: Vec<Token>) -> String {
    let has_fraction = may_have_fraction(&tokens);
    let shown = convert_value(tokens);
    if has_fraction { format!("({}) | str | trim_end(pat=\".0\")", shown.trim()) } else { shown }
}

/// What a variable is set to: a whole number is one where it is shown, too.
pub(super) fn convert_set(tokens: Vec<Token>) -> String {
    let has_fraction = may_have_fraction(&tokens) && tokens.len() > 1;
    let value = convert_value(tokens);
    let value = value.trim();
    if has_fraction { format!("({value}) if ({value}) % 1 else ({value}) | int") } else { value.to_owned() }
}

/// What stands in for what is missing: a whole number is one there, too.
fn convert_default(tokens: Vec<Token>) -> String {
    let is_reckoned = may_have_fraction(&tokens) && tokens.len() > 1;
    if is_reckoned { format!("({})", convert_set(tokens)) } else { convert(tokens, true) }
}

/// Whether the value of an expression is reckoned and may have a fraction.
fn may_have_fraction(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    let has_fraction = tokens.iter().any(|token| {
        depth += usize::from(token.is("(") || token.is("[") || token.is("{"));
        depth = depth.saturating_sub(usize::from(token.is(")") || token.is("]") || token.is("}")));
        depth == 0 && is_fraction(token)
    });
    has_fraction
        && !has_outside(tokens, &["|", "and", "or", "not", "is", "in", "==", "!=", "<", ">", "<=", ">="])
}

/// Functions that took the default language where they were asked for none, and take that of what is rendered now.
const WITH_LANGUAGE: [&str; 7] =
    ["get_page", "get_section", "get_url", "get_taxonomy", "get_taxonomy_url", "get_taxonomy_term", "trans"];

/// An expression that asks for that language where it asked for none; of a file for that in its name.
pub(super) fn ask_for_language(tokens: &mut Vec<Token>, languages: &Languages) {
    let mut i = 0;
    while i < tokens.len() {
        let free = before(tokens, i).is_none_or(|b| !(tokens[b].is(".") || tokens[b].is("|")));
        if free
            && WITH_LANGUAGE.iter().any(|name| tokens[i].is(name))
            && let Some(open) = next(tokens, i + 1).filter(|open| tokens[*open].is("("))
        {
            let end = closing(tokens, open).min(tokens.len() - 1);
            let given = arguments(&tokens[open + 1..end]);
            let of = |wanted: &str| {
                given
                    .iter()
                    .find(|(name, _)| name.as_deref() == Some(wanted))
                    .map(|(_, value)| value.as_slice())
            };
            let is_url = tokens[i].is("get_url");
            let language = match of("path") {
                Some([Token::Text(path)]) if is_url && !path[1..].starts_with("@/") => None,
                Some([Token::Text(path)]) => {
                    Some(language_of(path.trim_matches(['"', '\'', '`']), languages))
                }
                Some(path) => Some(language_of_value(path, languages)),
                None => Some(format!("\"{}\"", languages.own)),
            };
            if let Some(language) = language
                && of("lang").is_none()
                && !given.is_empty()
            {
                let last = before(tokens, end).unwrap_or(open);
                let comma = if tokens[last].is(",") { " " } else { ", " };
                tokens.insert(last + 1, Token::Done(format!("{comma}lang={language}")));
            }
        }
        i += 1;
    }
}

/// The language in the name of a file.
fn language_of(path: &str, languages: &Languages) -> String {
    let (path, _) = path.split_once('#').unwrap_or((path, ""));
    let named = languages.others.iter().find(|code| path.ends_with(&format!(".{code}.md")));
    format!("\"{}\"", named.unwrap_or(&languages.own))
}

/// The same of a name that is known when the template runs.
fn language_of_value(path: &[Token], languages: &Languages) -> String {
    let is_plain = path.iter().all(|token| matches!(token, Token::Word(_)) || token.is("."));
    let value = convert(path.to_vec(), false);
    let value = if is_plain { value.trim().to_owned() } else { format!("({})", value.trim()) };
    let named = languages
        .others
        .iter()
        .map(|code| format!("\"{code}\" if {value} is ending_with(pat=\".{code}.md\") else "));
    format!("{}\"{}\"", named.collect::<String>(), languages.own)
}

/// The result of a component is safe, and a filter that puts it into another text would make that safe too, by escaping
/// it. Where nothing was to be escaped, all are texts like any other: the components among the arguments of `replace`, and
/// the `variables` that have been set to one.
pub(super) fn keep_unsafe(tokens: &mut Vec<Token>, variables: &BTreeSet<String>) {
    let is_component = |token: &Token| match token {
        Token::Done(made) => made.starts_with('<'),
        Token::Word(name) => variables.contains(name),
        _ => false,
    };
    let mut i = 0;
    while i < tokens.len() {
        let named = tokens[i].is("|").then(|| next(tokens, i + 1)).flatten();
        let Some(name) =
            named.filter(|name| tokens[*name].is("replace") || tokens[*name].is("regex_replace"))
        else {
            i += 1;
            continue;
        };
        let end = end_of_filter(tokens, name);
        for at in (name + 1..end).rev() {
            let alone = before(tokens, at).is_some_and(|equals| tokens[equals].is("="))
                && next(tokens, at + 1).is_some_and(|after| tokens[after].is(",") || tokens[after].is(")"));
            if alone && is_component(&tokens[at]) {
                tokens.splice(at + 1..=at, read(" | str"));
            }
        }
        let start = term(tokens, i);
        if start + 1 == before(tokens, i).map_or(0, |last| last + 1) && is_component(&tokens[start]) {
            tokens.splice(start + 1..=start, read(" | str"));
            i += 4;
        }
        i = name.max(i) + 1;
    }
}

/// The component that a whole expression is.
pub(super) fn component(tokens: &[Token]) -> Option<&str> {
    let mut solid = tokens.iter().filter(|token| !matches!(token, Token::Space(_)));
    match (solid.next(), solid.next()) {
        (Some(Token::Done(made)), None) if made.starts_with('<') => Some(made),
        _ => None,
    }
}

/// Whether a whole expression is a component.
pub(super) fn is_component(tokens: &[Token]) -> bool {
    component(tokens).is_some()
}

/// Whether an expression ends by saying that nothing is to be escaped.
pub(super) fn ends_safe(tokens: &[Token]) -> bool {
    before(tokens, tokens.len()).is_some_and(|last| {
        tokens[last].is("safe") && before(tokens, last).is_some_and(|bar| tokens[bar].is("|"))
    })
}

/// What asks whether a parameter was given, for parameters that are now `none` where they are not.
pub(super) fn ask_for_none(tokens: &[Token], parameters: &BTreeSet<String>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let free = before(&out, out.len()).is_none_or(|b| !(out[b].is(".") || out[b].is("|")));
        let known = free && matches!(&tokens[i], Token::Word(name) if parameters.contains(name));
        if known && let Some((made, end)) = asked(tokens, i, parameters) {
            out.push(Token::Done(made));
            i = end;
        } else {
            out.push(tokens[i].clone());
            i += 1;
        }
    }
    out
}

/// `name is defined` or `name | default(value=…)` at `at`, and where it ends.
fn asked(tokens: &[Token], at: usize, parameters: &BTreeSet<String>) -> Option<(String, usize)> {
    let name = tokens[at].as_str();
    let first = next(tokens, at + 1)?;
    let second = next(tokens, first + 1)?;
    if tokens[first].is("is") {
        let (is_not, test) =
            if tokens[second].is("not") { (true, next(tokens, second + 1)?) } else { (false, second) };
        return match (tokens[test].as_str(), is_not) {
            ("defined", false) | ("undefined", true) => Some((format!("{name} is not none"), test + 1)),
            ("defined", true) | ("undefined", false) => Some((format!("{name} is none"), test + 1)),
            _ => None,
        };
    }
    let open = next(tokens, second + 1).filter(|open| tokens[*open].is("("))?;
    if !(tokens[first].is("|") && tokens[second].is("default")) {
        return None;
    }
    let end = closing(tokens, open).min(tokens.len() - 1);
    let given = arguments(&tokens[open + 1..end]);
    let (_, value) = given.into_iter().find(|(name, _)| name.as_deref() == Some("value"))?;
    let value = convert_default(ask_for_none(&value, parameters));
    Some((format!("({name} if {name} is not none else {value})"), end + 1))
}

/// Filters that leave nothing to escape, or say that nothing is to be.
const ESCAPED: [&str; 14] = [
    "safe",
    "escape",
    "escape_xml",
    "slugify",
    "urlencode",
    "urlencode_strict",
    "base64_encode",
    "date",
    "length",
    "int",
    "float",
    "round",
    "abs",
    "wordcount",
];

/// Functions that say of what they give that nothing in it is to be escaped.
const SAFE: [&str; 2] = ["get_url", "get_taxonomy_url"];

/// Whether what an expression shows was escaped: no truth, no number, no address, no result of a macro.
pub(super) fn is_escaped(tokens: &[Token]) -> bool {
    const NO_TEXT: [&str; 16] =
        ["and", "or", "not", "is", "in", "==", "!=", "<", ">", "<=", ">=", "+", "-", "*", "/", "%"];
    let solid: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Space(_))).collect();
    let is_safe_call = match solid.as_slice() {
        [Token::Word(name), open, .., close]
            if SAFE.contains(&name.as_str()) && open.is("(") && close.is(")") =>
        {
            next(tokens, 0)
                .and_then(|at| next(tokens, at + 1))
                .is_some_and(|open| next(tokens, closing(tokens, open) + 1).is_none())
        }
        _ => false,
    };
    let is_number = matches!(solid.as_slice(), [Token::Number(_)])
        || solid.last().is_some_and(|last| {
            ["width", "height", "nth", "index", "index0"].iter().any(|name| last.is(name))
        });
    let last_filter =
        has_outside(tokens, &["|"]).then(|| tokens.iter().rposition(|token| token.is("|"))).flatten();
    let by_filter = last_filter
        .and_then(|bar| next(tokens, bar + 1))
        .is_some_and(|name| ESCAPED.iter().any(|filter| tokens[name].is(filter)));
    !(is_safe_call
        || is_number
        || by_filter
        || is_component(tokens)
        || has_outside(tokens, &NO_TEXT)
        || has_outside(tokens, &["safe"]))
}

/// Renamed keys of `config`.
const CONFIG: &[(&str, &str)] = &[
    ("generate_feed", "generate_feeds"),
    ("generate_rss", "generate_feeds"),
    ("feed_filename", "feed_filenames[0]"),
];

fn rename(tokens: &mut [Token]) {
    for i in 0..tokens.len() {
        if tokens[i].is(".")
            && i > 0
            && tokens[i - 1].is("config")
            && let Some((_, new)) =
                CONFIG.iter().find(|(old, _)| tokens.get(i + 1).is_some_and(|t| t.is(old)))
        {
            tokens[i + 1] = Token::Done((*new).to_owned());
        }
        let called = next(tokens, i + 1).is_some_and(|open| tokens[open].is("("));
        let free = before(tokens, i).is_none_or(|b| !(tokens[b].is(".") || tokens[b].is("|")));
        if !called || !free {
            continue;
        }
        if tokens[i].is("get_file_hash") {
            tokens[i] = Token::Word("get_hash".to_owned());
        } else if tokens[i].is("get_taxonomy_url")
            && let Some(open) = next(tokens, i + 1)
        {
            for j in open..closing(tokens, open).min(tokens.len()) {
                if tokens[j].is("name") && next(tokens, j + 1).is_some_and(|e| tokens[e].is("=")) {
                    tokens[j] = Token::Word("term".to_owned());
                }
            }
        }
    }
}

/// `list.0` is `list[0]` now.
fn items(tokens: &mut Vec<Token>) {
    let mut i = 0;
    while i + 1 < tokens.len() {
        if tokens[i].is(".") && matches!(tokens[i + 1], Token::Number(_)) {
            let number = tokens.remove(i + 1);
            tokens[i] = Token::Mark("[".to_owned());
            tokens.insert(i + 1, number);
            tokens.insert(i + 2, Token::Mark("]".to_owned()));
        }
        i += 1;
    }
}

/// Arguments of tests have names now.
fn tests(tokens: &mut Vec<Token>) {
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i].is("is")
            && let Some(mut at) = next(tokens, i + 1)
        {
            if tokens[at].is("not")
                && let Some(after) = next(tokens, at + 1)
            {
                at = after;
            }
            // Texts could not be walked through then.
            if tokens[at].is("iterable") {
                let is_not = next(tokens, i + 1) != Some(at);
                let start = term(tokens, i);
                let operand = write(&tokens[start..i]);
                let operand = operand.trim();
                let asked = if is_not {
                    format!("({operand} is not array and {operand} is not map)")
                } else {
                    format!("({operand} is array or {operand} is map)")
                };
                let asked = read(&asked);
                i = start + asked.len();
                tokens.splice(start..=at, asked);
                continue;
            }
            if let Some((_, new, argument)) = TESTS.iter().find(|(old, ..)| tokens[at].is(old)) {
                tokens[at] = Token::Word((*new).to_owned());
                if let Some(open) = next(tokens, at + 1).filter(|open| tokens[*open].is("("))
                    && let Some(first) = next(tokens, open + 1)
                    && !next(tokens, first + 1).is_some_and(|e| tokens[e].is("="))
                {
                    let name = [Token::Word((*argument).to_owned()), Token::Mark("=".to_owned())];
                    tokens.splice(open + 1..=open, name);
                }
            }
        }
        i += 1;
    }
}

/// Fields of what may be missing, between two tokens.
fn chains(tokens: &mut Vec<Token>, from: usize, to: usize) {
    let mut i = from;
    let mut to = to.min(tokens.len());
    while i < to.min(tokens.len()) {
        let asked = i > 0 && tokens[i - 1].is("?");
        let value = i > 0
            && (matches!(tokens[i - 1], Token::Word(_)) || tokens[i - 1].is("]") || tokens[i - 1].is(")"));
        if tokens[i].is(".") && value && !asked {
            tokens[i] = Token::Mark("?.".to_owned());
        } else if tokens[i].is("[")
            && value
            && !asked
            && !matches!(&tokens[i - 1], Token::Word(word) if KEYWORDS.contains(&word.as_str()))
        {
            let end = closing(tokens, i).min(tokens.len());
            if let Some(key) = field(&tokens[i + 1..end]) {
                let given = format!("{key} if {key} is defined and {key} is not none else \"\"");
                to -= end - i - 2;
                tokens.splice(i + 1..end, [Token::Done(given)]);
            }
            tokens.insert(i, Token::Mark("?".to_owned()));
            i += 1;
            to += 1;
        }
        i += 1;
    }
}

/// A field such as `config.author`, which may be missing or nothing and then names nothing: no key may be that now.
fn field(tokens: &[Token]) -> Option<String> {
    let words: Vec<&str> = tokens.iter().step_by(2).map(Token::as_str).collect();
    let dots = tokens.iter().skip(1).step_by(2).all(|token| token.is("."));
    let named = tokens.iter().step_by(2).all(|token| matches!(token, Token::Word(_)));
    (words.len() > 1 && tokens.len() % 2 == 1 && dots && named && words[0] != "loop")
        .then(|| words.join("?."))
}
