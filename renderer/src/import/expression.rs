//! Expressions of Tera 1 as expressions of Tera 2, token by token: what is not known to differ stays as it was written.

use std::collections::BTreeSet;

/// What a call is given: names and values.
pub(super) type Arguments = Vec<(Option<String>, Vec<Token>)>;

/// A token, or the white space between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
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
    fn as_str(&self) -> &str {
        match self {
            Self::Word(s)
            | Self::Number(s)
            | Self::Text(s)
            | Self::Mark(s)
            | Self::Space(s)
            | Self::Done(s) => s,
        }
    }

    fn is(&self, text: &str) -> bool {
        !matches!(self, Self::Text(_) | Self::Done(_)) && self.as_str() == text
    }
}

/// Tokens as text. Within quotes a backslash was a letter like any other, and begins an escape now.
pub(super) fn write(tokens: &[Token]) -> String {
    let mut out = String::new();
    for token in tokens {
        match token {
            Token::Text(text) => out.push_str(&text.replace('\\', "\\\\")),
            token => out.push_str(token.as_str()),
        }
    }
    out
}

/// Splits an expression.
pub(super) fn read(text: &str) -> Vec<Token> {
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
    out
}

/// Where the bracket that opens at `open` is closed, or the end.
fn closing(tokens: &[Token], open: usize) -> usize {
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

fn next(tokens: &[Token], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|i| !matches!(tokens[*i], Token::Space(_)))
}

fn before(tokens: &[Token], from: usize) -> Option<usize> {
    (0..from).rev().find(|i| !matches!(tokens[*i], Token::Space(_)))
}

/// The arguments within brackets, split at their commas: name and value, or a value alone.
pub(super) fn arguments(tokens: &[Token]) -> Arguments {
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
pub(super) fn separated(tokens: Vec<Token>) -> Vec<Token> {
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
pub(super) struct Call {
    pub(super) space: String,
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

/// An expression with what stands for each call of a macro.
pub(super) fn replace_calls(tokens: &[Token], made: &dyn Fn(Call) -> String) -> Vec<Token> {
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
pub(super) fn calls(tokens: &[Token]) -> impl Iterator<Item = Call> + '_ {
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

/// Renamed filters.
const FILTERS: &[(&str, &str)] = &[
    ("as_str", "str"),
    ("linebreaksbr", "newlines_to_br"),
    ("trim_start_matches", "trim_start"),
    ("trim_end_matches", "trim_end"),
    ("escape", "escape_html"),
    ("escape_xml", "escape_html"),
];

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

/// An expression that is shown. A quotient that is a whole number was shown without `.0`.
pub(super) fn convert_shown(tokens: Vec<Token>) -> String {
    let is_quotient = has_outside(&tokens, &["/"])
        && !has_outside(&tokens, &["|", "and", "or", "not", "is", "in", "==", "!="]);
    let shown = convert_value(tokens);
    if is_quotient { format!("({}) | str | trim_end(pat=\".0\")", shown.trim()) } else { shown }
}

/// Whether any of these stands outside of all brackets.
fn has_outside(tokens: &[Token], wanted: &[&str]) -> bool {
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

/// Functions that took the default language where they were asked for none, and take that of what is rendered now.
const WITH_LANGUAGE: [&str; 7] =
    ["get_page", "get_section", "get_url", "get_taxonomy", "get_taxonomy_url", "get_taxonomy_term", "trans"];

/// An expression that asks for that language where it asked for none. Which one a path has that is no literal says itself.
pub(super) fn ask_for_language(tokens: &mut Vec<Token>, language: &str) {
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
            let says_path = match of("path") {
                Some([Token::Text(path)]) => !tokens[i].is("get_url") || path[1..].starts_with("@/"),
                Some(_) => false,
                None => true,
            };
            if of("lang").is_none() && says_path && !given.is_empty() {
                let last = before(tokens, end).unwrap_or(open);
                let comma = if tokens[last].is(",") { " " } else { ", " };
                tokens.insert(last + 1, Token::Done(format!("{comma}lang=\"{language}\"")));
            }
        }
        i += 1;
    }
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

/// Whether a whole expression is a component.
pub(super) fn is_component(tokens: &[Token]) -> bool {
    let mut solid = tokens.iter().filter(|token| !matches!(token, Token::Space(_)));
    matches!((solid.next(), solid.next()), (Some(Token::Done(made)), None) if made.starts_with('<'))
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
    let value = convert(ask_for_none(&value, parameters), true);
    Some((format!("({name} if {name} is not none else {value})"), end + 1))
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

/// Where the operand of a filter at `bar` begins. A filter was for all that is joined or reckoned to the left of it, as
/// far as another filter.
fn operand(tokens: &[Token], bar: usize) -> usize {
    let mut start = term(tokens, bar);
    while !has_outside(&tokens[start..bar], &["|"])
        && let Some(sign) = before(tokens, start)
        && OPERATORS.iter().any(|operator| tokens[sign].is(operator))
        && before(tokens, sign).is_some_and(|left| ends_value(&tokens[left]))
    {
        let left = term(tokens, sign);
        if has_outside(&tokens[left..sign], &["|"]) {
            break;
        }
        start = left;
    }
    start
}

const OPERATORS: [&str; 6] = ["~", "+", "-", "*", "/", "%"];

/// Where the value before `bar` begins, with its fields, calls and filters.
fn term(tokens: &[Token], bar: usize) -> usize {
    let mut start = bar;
    while let Some(at) = before(tokens, start) {
        let token = &tokens[at];
        let joined = start == bar || start_needs_more(tokens, start, at);
        if !joined {
            break;
        }
        start = if token.is(")") || token.is("]") || token.is("}") { opening(tokens, at) } else { at };
    }
    start
}

fn ends_value(token: &Token) -> bool {
    match token {
        Token::Word(word) => !KEYWORDS.contains(&word.as_str()),
        Token::Number(_) | Token::Text(_) | Token::Done(_) => true,
        token => token.is(")") || token.is("]"),
    }
}

/// Whether the piece at `at` belongs to the piece that begins at `start`.
fn start_needs_more(tokens: &[Token], start: usize, at: usize) -> bool {
    let (first, previous) = (&tokens[start], &tokens[at]);
    let links =
        |token: &Token| token.is(".") || token.is("?.") || token.is("|") || token.is("?") || token.is("::");
    links(first) || links(previous) || ((first.is("(") || first.is("[")) && ends_value(previous))
}

const KEYWORDS: [&str; 11] =
    ["in", "and", "or", "not", "is", "if", "elif", "for", "set", "set_global", "else"];

fn opening(tokens: &[Token], close: usize) -> usize {
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

fn filters(tokens: &mut Vec<Token>) {
    let mut i = 0;
    while i < tokens.len() {
        if !tokens[i].is("|") {
            i += 1;
            continue;
        }
        let Some(name) = next(tokens, i + 1) else { break };
        let start = operand(tokens, i);
        if has_outside(&tokens[start..i], &OPERATORS) {
            let end = before(tokens, i).map_or(start, |last| last + 1);
            tokens.insert(end, Token::Mark(")".to_owned()));
            tokens.insert(start, Token::Mark("(".to_owned()));
            i += 2;
            continue;
        }
        let open = next(tokens, name + 1).filter(|open| tokens[*open].is("("));
        let end = open.map_or(name, |open| closing(tokens, open).min(tokens.len() - 1));
        let given = open.map_or_else(Vec::new, |open| arguments(&tokens[open + 1..end]));
        if let Some(made) = filter(&tokens[start..i], tokens[name].as_str(), &given) {
            tokens.splice(start..=end, [Token::Done(made)]);
            i = start + 1;
            continue;
        }
        // Of a quotient, its whole part was taken.
        if tokens[name].is("int")
            && tokens[start..i].iter().any(|token| token.is("/"))
            && !has_outside(&tokens[start..i], &["|"])
        {
            let round = read("| round(method=\"floor\") ");
            let length = round.len();
            tokens.splice(i..i, round);
            i += length;
            continue;
        }
        if let Some((_, new)) = FILTERS.iter().find(|(old, _)| tokens[name].is(old)) {
            tokens[name] = Token::Word((*new).to_owned());
        } else if let Some(open) = open {
            changed_arguments(tokens, name, open, end, &given);
        }
        if tokens[name].is("round")
            && !given.iter().any(|(name, value)| name.as_deref() == Some("precision") && write(value) != "0")
            && !followed_by(tokens, name, "int")
        {
            // A whole number was written without `.0`.
            let end = end_of_filter(tokens, name);
            tokens.splice(end + 1..=end, read(" | int"));
        }
        if tokens[name].is("default") {
            let length = tokens.len();
            chains(tokens, start, i);
            i += tokens.len() - length;
        }
        i += 1;
    }
}

/// Where the filter at `name` ends, with its arguments.
fn end_of_filter(tokens: &[Token], name: usize) -> usize {
    match next(tokens, name + 1) {
        Some(open) if tokens[open].is("(") => closing(tokens, open).min(tokens.len() - 1),
        _ => name,
    }
}

/// Whether the filter at `name` is followed by that one.
fn followed_by(tokens: &[Token], name: usize, filter: &str) -> bool {
    next(tokens, end_of_filter(tokens, name) + 1)
        .filter(|bar| tokens[*bar].is("|"))
        .and_then(|bar| next(tokens, bar + 1))
        .is_some_and(|name| tokens[name].is(filter))
}

/// A filter that is written without one now.
fn filter(operand: &[Token], name: &str, given: &[(Option<String>, Vec<Token>)]) -> Option<String> {
    let list = write(operand).trim().to_owned();
    let argument = |wanted: &str| {
        let value = given.iter().find(|(name, _)| name.as_deref() == Some(wanted))?;
        Some(convert(value.1.clone(), false))
    };
    // What a list's item has, which may be missing or nothing.
    let there = |attribute: &str| {
        let field = item(attribute, "?");
        format!("{field} is defined and {field} is not none")
    };
    Some(match name {
        "concat" => {
            let with = argument("with").unwrap_or_default();
            let single = with.starts_with(['"', '\'', '`'])
                || with.starts_with("get_page(")
                || with.starts_with("get_section(");
            match with.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')) {
                Some(inside) => format!("[...{list}, {inside}]"),
                None if single => format!("[...{list}, {with}]"),
                None if with.ends_with(".pages") => format!("[...{list}, ...{with}]"),
                // Either could be added: a list's items, or one item.
                None => format!("[...{list}, ...({with} if {with} is array else [{with}])]"),
            }
        }
        "slice" => {
            let list = if list.contains('|') { format!("({list})") } else { list };
            let (from, to) = (argument("start").unwrap_or_default(), argument("end").unwrap_or_default());
            format!("{list}[{from}:{to}]")
        }
        "map" => {
            let attribute = field(argument("attribute"));
            format!("[{} for it in {list} if {}]", item(&attribute, ""), there(&attribute))
        }
        "filter" => {
            let attribute = field(argument("attribute"));
            match argument("value") {
                Some(value) => {
                    format!("[it for it in {list} if {} == {value}]", item(&attribute, "?"))
                }
                None => format!("[it for it in {list} if {}]", there(&attribute)),
            }
        }
        "group_by" => {
            let attribute = field(argument("attribute"));
            // What all pages have needs no question.
            if NONE_FIELDS.contains(&attribute.as_str()) || attribute == "lang" {
                return None;
            }
            format!("[it for it in {list} if {}] | group_by(attribute=\"{attribute}\")", there(&attribute))
        }
        "truncate" if argument("length").is_none() => {
            let end = argument("end").map_or_else(String::new, |end| format!(", end={end}"));
            format!("{list} | truncate(length=255{end})")
        }
        "addslashes" => ['\\', '"', '\'']
            .iter()
            .fold(list, |text, sign| format!("{text} | replace(from=\"\\{sign}\", to=\"\\\\\\{sign}\")")),
        "default" if may_be_none(operand) => {
            let mut operand = operand.to_vec();
            chains(&mut operand, 0, usize::MAX);
            let value = given.iter().find(|(name, _)| name.as_deref() == Some("value"))?;
            format!("({} or {})", write(&operand).trim(), convert(value.1.clone(), true))
        }
        _ => return None,
    })
}

/// Fields that are there and have no value where nothing is known, for which `default` stood in.
const NONE_FIELDS: [&str; 17] = [
    "title",
    "description",
    "date",
    "updated",
    "year",
    "month",
    "day",
    "summary",
    "lower",
    "higher",
    "author",
    "previous",
    "next",
    "width",
    "height",
    "theme",
    "feed_limit",
];

/// Whether the operand of `default` is a field that may be `none`, or what another `default` became.
fn may_be_none(operand: &[Token]) -> bool {
    let Some(last) = before(operand, operand.len()) else { return false };
    match &operand[last] {
        Token::Done(made) => made.starts_with('(') && made.contains(" or "),
        Token::Word(name) => {
            last > 0
                && operand[last - 1].is(".")
                && NONE_FIELDS.contains(&name.as_str())
                && !operand.iter().any(|token| token.is("extra") || token.is("|"))
        }
        _ => false,
    }
}

/// The pattern of a date in a language, which was written with `%` as all others; none where it has no letter for a part.
fn date_pattern(format: &str) -> Option<String> {
    let (mut out, mut text) = (String::new(), String::new());
    let mut chars = format.chars();
    let end_text = |out: &mut String, text: &mut String| {
        if text.chars().any(|c| c.is_ascii_alphabetic() || c == '\'') {
            out.push_str(&format!("'{}'", text.replace('\'', "''")));
        } else {
            out.push_str(text);
        }
        text.clear();
    };
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let part = match chars.next()? {
            '%' => {
                text.push('%');
                continue;
            }
            'Y' => "y",
            'y' => "yy",
            'm' => "MM",
            'd' => "dd",
            'e' => "d",
            'B' => "MMMM",
            'b' | 'h' => "MMM",
            'A' => "EEEE",
            'a' => "EEE",
            'H' => "HH",
            'I' => "hh",
            'M' => "mm",
            'S' => "ss",
            'p' => "a",
            'F' => "y-MM-dd",
            'T' => "HH:mm:ss",
            'R' => "HH:mm",
            '-' => match chars.next()? {
                'm' => "M",
                'd' | 'e' => "d",
                'H' => "H",
                'I' => "h",
                'M' => "m",
                'S' => "s",
                _ => return None,
            },
            _ => return None,
        };
        end_text(&mut out, &mut text);
        out.push_str(part);
    }
    end_text(&mut out, &mut text);
    Some(out)
}

/// Arguments of a filter that are no more, that are read another way, or that were asked for only when they were needed.
fn changed_arguments(
    tokens: &mut Vec<Token>,
    name: usize,
    open: usize,
    end: usize,
    given: &[(Option<String>, Vec<Token>)],
) {
    let is = |key: &Option<String>, wanted: &[&str]| key.as_deref().is_some_and(|key| wanted.contains(&key));
    let common = |value: &[Token]| write(value).trim_matches(['"', '\'', '`']) == "common";
    let gone: &[&str] = match tokens[name].as_str() {
        "int" | "float" => &["default"],
        "round" if given.iter().any(|(key, value)| is(key, &["method"]) && common(value)) => &["method"],
        "unique" => &["attribute", "case_sensitive"],
        "date" if given.iter().any(|(key, _)| is(key, &["locale"])) => &[],
        "default" | "split" => &[],
        _ => return,
    };
    let is_date = tokens[name].is("date");
    let kept = given.iter().filter(|(key, _)| !is(key, gone)).map(|(key, value)| {
        let value = match (tokens[name].as_str(), value.as_slice()) {
            // Here alone `\n` was a line's end.
            ("split", [Token::Text(pattern)]) if pattern.contains("\\n") || pattern.contains("\\t") => {
                pattern.clone()
            }
            ("date", [Token::Text(format)]) if is(key, &["format"]) => {
                let quote = &format[..1];
                date_pattern(format.trim_matches(['"', '\'', '`']))
                    .map_or_else(|| format.clone(), |pattern| format!("{quote}{pattern}{quote}"))
            }
            ("default", _) => convert(value.clone(), true),
            _ => convert(value.clone(), false),
        };
        key.as_ref().map_or(value.clone(), |key| format!("{key}={value}"))
    });
    let mut kept: Vec<String> = kept.collect();
    if is_date && !given.iter().any(|(key, _)| is(key, &["format"])) {
        kept.push("format=\"y-MM-dd\"".to_owned());
    }
    let bracket = |bracket: &str| Token::Mark(bracket.to_owned());
    let list = [bracket("("), Token::Done(kept.join(", ")), bracket(")")];
    tokens.splice(open..=end, list.into_iter().filter(|_| !kept.is_empty()));
}

/// The field `a.0` of `it`.
fn item(attribute: &str, ask: &str) -> String {
    attribute.split('.').fold("it".to_owned(), |path, part| {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{path}{ask}[{part}]")
        } else {
            format!("{path}{ask}.{part}")
        }
    })
}

/// `"a.b"` as it stands after a dot.
fn field(attribute: Option<String>) -> String {
    attribute.unwrap_or_default().trim_matches(['"', '\'', '`']).to_owned()
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
            tokens.insert(i, Token::Mark("?".to_owned()));
            i += 1;
            to += 1;
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_changed() {
        for (old, new) in [
            ("a.0.b", "a[0].b"),
            ("x is starting_with(\"http\")", "x is starting_with(pat=\"http\")"),
            ("n is not divisibleby(2)", "n is not divisible_by(divisor=2)"),
            ("x is object", "x is map"),
            ("x is matching(pat=\"a\")", "x is matching(pat=\"a\")"),
            ("a | as_str | trim_start_matches(pat=\"./\")", "a | str | trim_start(pat=\"./\")"),
            ("section.pages | slice(end=5)", "section.pages[:5]"),
            ("a ~ b | slice(start=1, end=n)", "(a ~ b)[1:n]"),
            ("pages | concat(with=get_page(path=p))", "[...pages, get_page(path=p)]"),
            ("pages | concat(with=[1, 2])", "[...pages, 1, 2]"),
            ("pages | concat(with=s.pages)", "[...pages, ...s.pages]"),
            (
                "pages | filter(attribute=\"extra.a\", value=true) | length",
                "[it for it in pages if it?.extra?.a == true] | length",
            ),
            ("tags | concat(with=t)", "[...tags, ...(t if t is array else [t])]"),
            (
                "config.generate_feed and config.feed_filename",
                "config.generate_feeds and config.feed_filenames[0]",
            ),
            (
                "pages | map(attribute=\"date\")",
                "[it.date for it in pages if it?.date is defined and it?.date is not none]",
            ),
            ("n | int(default=0)", "n | int"),
            ("n | round(method=\"common\", precision=1)", "n | round(precision=1)"),
            ("n | round(method=\"ceil\")", "n | round(method=\"ceil\") | int"),
            ("page.extra.a | default(value=\"x.y\")", "page?.extra?.a | default(value=\"x.y\")"),
            ("get_taxonomy_url(kind=\"tags\", name=t)", "get_taxonomy_url(kind=\"tags\", term=t)"),
            ("\"a.0 | as_str\"", "\"a.0 | as_str\""),
            ("1.5 + 2", "1.5 + 2"),
        ] {
            assert_eq!(convert(read(old), false), new);
        }
        let condition = convert(read("page.extra.a and not b[c].d"), true);
        assert_eq!(condition, "page?.extra?.a and not b?[c]?.d");
    }

    #[test]
    fn values_are_what_they_were() {
        for (old, new) in [
            ("a.b.c or d.e", "true if a?.b?.c or d?.e else false"),
            ("not a.b", "not a?.b"),
            ("f(x=a or b)", "f(x=a or b)"),
            ("a ~ \".\" | f(x=1) | g", "(a ~ \".\") | f(x=1) | g"),
            ("a | f + 2 * b.c | g > -1 | h", "a | f + (2 * b.c) | g > -1 | h"),
            ("n / 2 | round", "(n / 2) | round | int"),
            (
                "a | split(pat=\" \") | map(attribute=\"b\")",
                "[it.b for it in a | split(pat=\" \") if it?.b is defined and it?.b is not none]",
            ),
            ("a.b | default(value=c) | slice(end=2)", "(a?.b | default(value=c))[:2]"),
            ("a | truncate | escape_xml", "a | truncate(length=255) | escape_html"),
            (
                "a | addslashes",
                r#"a | replace(from="\\", to="\\\\") | replace(from="\"", to="\\\"") | replace(from="\'", to="\\\'")"#,
            ),
            ("n | int(default=1) | f", "n | int | f"),
            ("p | filter(attribute=\"a.0\", value=1)", "[it for it in p if it?.a?[0] == 1]"),
            ("n / 2 | int(default=0) | f", "(n / 2) | round(method=\"floor\") | int | f"),
            ("a.b is defined", "a?.b is defined"),
            ("n | round(precision=0)", "n | round(precision=0) | int"),
            ("n | round(method=\"ceil\") | int", "n | round(method=\"ceil\") | int"),
            ("x | split(pat=\"\\n\") | join(sep='\\n')", "x | split(pat=\"\\n\") | join(sep='\\\\n')"),
            (
                "d | date(format=\"%-d de %B, %Y %H:%M\", locale=l)",
                "d | date(format=\"d' de 'MMMM, y HH:mm\", locale=l)",
            ),
            ("d | date(format='%j', locale=l)", "d | date(format='%j', locale=l)"),
            ("d | date(locale=\"de\")", "d | date(locale=\"de\", format=\"y-MM-dd\")"),
            ("d | date(format=\"%F\")", "d | date(format=\"%F\")"),
            ("x is matching(\"^\\d\")", "x is matching(pat=\"^\\\\d\")"),
            (
                "page.description | default(value=config.a.b) | safe",
                "(page?.description or config?.a?.b) | safe",
            ),
            ("page.extra.title | default(value=a.b)", "page?.extra?.title | default(value=a?.b)"),
            (
                "page.title | default(value=a.title) | default(value=\"x\")",
                "((page?.title or a?.title) or \"x\")",
            ),
            (
                "pages | group_by(attribute=\"extra.a\")",
                "[it for it in pages if it?.extra?.a is defined and it?.extra?.a is not none] | group_by(attribute=\"extra.a\")",
            ),
            ("pages | group_by(attribute=\"year\")", "pages | group_by(attribute=\"year\")"),
        ] {
            assert_eq!(convert_value(read(old)), new);
        }
    }

    #[test]
    fn quotients_are_shown_as_they_were() {
        assert_eq!(convert_shown(read(" n / 2 ")), "(n / 2) | str | trim_end(pat=\".0\")");
        assert_eq!(convert_shown(read("f(a=n / 2)")), "f(a=n / 2)");
        assert_eq!(convert_shown(read("n / 2 == 1")), "n / 2 == 1");
    }

    #[test]
    fn functions_ask_for_the_language_that_they_took() {
        for (old, new) in [
            ("get_section(path=\"a/_index.md\") ", "get_section(path=\"a/_index.md\", lang=\"de\") "),
            ("get_page(path=p)", "get_page(path=p)"),
            ("get_page(path=\"a.md\", lang=lang)", "get_page(path=\"a.md\", lang=lang)"),
            ("get_url(path=\"@/a.md\",)", "get_url(path=\"@/a.md\", lang=\"de\")"),
            ("get_url(path=\"a\") ~ x.trans()", "get_url(path=\"a\") ~ x.trans()"),
            ("trans(key=a) | upper", "trans(key=a, lang=\"de\") | upper"),
        ] {
            let mut tokens = read(old);
            ask_for_language(&mut tokens, "de");
            assert_eq!(write(&tokens), new);
        }
    }

    #[test]
    fn texts_of_components_go_into_others_unescaped() {
        let set = ["toc".to_owned()].into();
        for (old, new) in [
            ("a | replace(from=\"x\", to=m::f()) | safe", "a | replace(from=\"x\", to=<f> | str) | safe"),
            (
                "toc | replace(from=toc, to=b.toc) | safe",
                "toc | str | replace(from=toc | str, to=b.toc) | safe",
            ),
            ("m::f() | upper", "<f> | upper"),
        ] {
            let mut tokens = replace_calls(&read(old), &|call| format!("<{}>", call.name));
            keep_unsafe(&mut tokens, &set);
            assert_eq!(write(&tokens), new);
        }
        assert!(ends_safe(&read("a | safe ")) && !ends_safe(&read("safe")));
    }

    #[test]
    fn parameters_that_were_not_given_are_none() {
        let parameters = ["a".to_owned(), "c".to_owned()].into();
        for (old, new) in [
            ("a is defined and ba is defined", "a is not none and ba is defined"),
            ("x.a is not defined or a is not defined", "x.a is not defined or a is none"),
            (
                "a | default(value=c | default(value=1)) | f",
                "(a if a is not none else (c if c is not none else 1)) | f",
            ),
        ] {
            assert_eq!(convert(ask_for_none(&read(old), &parameters), false), new);
        }
    }

    #[test]
    fn calls_of_macros() {
        let tokens = read("\"x\" ~ m::link(a=1, b=m::f(x=y)) | safe");
        let found: Vec<Call> = calls(&tokens).collect();
        assert_eq!(found.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["link", "f"]);
        assert_eq!(write(&found[0].arguments[1].1), "m::f(x=y)");
        let made = replace_calls(&tokens, &|call| format!("<{}>", call.name));
        assert_eq!(write(&made), "\"x\" ~ <link> | safe");
    }

    #[test]
    fn any_text_is_read_and_written_again() {
        for text in ["", "a b", "((", "\"open", "a.", "|", "is", "x is", "a | ", "]", "ü.0"] {
            assert_eq!(write(&read(text)), text);
            convert(read(text), true);
            convert_value(read(text));
        }
    }
}
