//! Expressions of Tera 1 as expressions of Tera 2, token by token: what is not known to differ stays as it was written.

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

pub(super) fn write(tokens: &[Token]) -> String {
    tokens.iter().map(Token::as_str).collect()
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

/// A call of a macro, by the name that it was imported under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) space: String,
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

/// The call that an expression is, but for `| safe` after it.
pub(super) fn whole_call(tokens: &[Token]) -> Option<Call> {
    let start = next(tokens, 0)?;
    let (call, end) = call_at(tokens, start)?;
    let rest: String = write(&tokens[end..]).split_whitespace().collect();
    matches!(rest.as_str(), "" | "|safe").then_some(call)
}

/// Whether a macro is called anywhere.
pub(super) fn calls_macro(tokens: &[Token]) -> bool {
    (0..tokens.len()).any(|i| call_at(tokens, i).is_some())
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
pub(super) fn convert(text: &str, lenient: bool) -> String {
    let mut tokens = read(text);
    rename(&mut tokens);
    items(&mut tokens);
    tests(&mut tokens);
    filters(&mut tokens);
    if lenient {
        chains(&mut tokens, 0, usize::MAX);
    }
    write(&tokens)
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
                    tokens.insert(open + 1, Token::Mark(format!("{argument}=")));
                }
            }
        }
        i += 1;
    }
}

/// Where the operand of a filter at `bar` begins: a value with its fields, calls and earlier filters.
fn operand(tokens: &[Token], bar: usize) -> usize {
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

/// Whether the piece at `at` belongs to the piece that begins at `start`.
fn start_needs_more(tokens: &[Token], start: usize, at: usize) -> bool {
    let (first, previous) = (&tokens[start], &tokens[at]);
    let links = |token: &Token| token.is(".") || token.is("|") || token.is("?") || token.is("::");
    let ends_value = matches!(previous, Token::Word(word) if !KEYWORDS.contains(&word.as_str()))
        || previous.is(")")
        || previous.is("]");
    links(first) || links(previous) || ((first.is("(") || first.is("[")) && ends_value)
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
        let open = next(tokens, name + 1).filter(|open| tokens[*open].is("("));
        let end = open.map_or(name, |open| closing(tokens, open).min(tokens.len() - 1));
        let given = open.map_or_else(Vec::new, |open| arguments(&tokens[open + 1..end]));
        let argument = |wanted: &str| {
            given
                .iter()
                .find(|(name, _)| name.as_deref() == Some(wanted))
                .map(|(_, value)| convert(&write(value), false))
        };
        if let Some((_, new)) = FILTERS.iter().find(|(old, _)| tokens[name].is(old)) {
            tokens[name] = Token::Word((*new).to_owned());
        } else if ["concat", "slice", "filter", "map"].iter().any(|old| tokens[name].is(old)) {
            let start = operand(tokens, i);
            let list = write(&tokens[start..i]).trim().to_owned();
            let made = match tokens[name].as_str() {
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
                    format!(
                        "{list}[{}:{}]",
                        argument("start").unwrap_or_default(),
                        argument("end").unwrap_or_default()
                    )
                }
                "map" => format!("[it.{} for it in {list}]", field(argument("attribute"))),
                _ => match argument("value") {
                    Some(value) => format!(
                        "[it for it in {list} if it?.{} == {value}]",
                        field(argument("attribute")).replace('.', "?.")
                    ),
                    None => format!(
                        "[it for it in {list} if it?.{}]",
                        field(argument("attribute")).replace('.', "?.")
                    ),
                },
            };
            tokens.splice(start..=end, [Token::Done(made)]);
            i = start + 1;
            continue;
        } else if let Some(open) = open {
            let gone: &[&str] = match tokens[name].as_str() {
                "int" | "float" => &["default"],
                "round" if argument("method").as_deref() == Some("\"common\"") => &["method"],
                "unique" => &["attribute", "case_sensitive"],
                _ => &[],
            };
            if given.iter().any(|(name, _)| name.as_deref().is_some_and(|name| gone.contains(&name))) {
                let kept: Vec<String> = given
                    .iter()
                    .filter(|(name, _)| !name.as_deref().is_some_and(|name| gone.contains(&name)))
                    .map(|(name, value)| match name {
                        Some(name) => format!("{name}={}", write(value)),
                        None => write(value),
                    })
                    .collect();
                let list = if kept.is_empty() { String::new() } else { format!("({})", kept.join(", ")) };
                tokens.splice(open..=end, [Token::Done(list)]);
            }
        }
        if tokens[name].is("default") {
            let start = operand(tokens, i);
            let length = tokens.len();
            chains(tokens, start, i);
            i += tokens.len() - length;
        }
        i += 1;
    }
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
            ("a ~ b | slice(start=1, end=n)", "a ~ b[1:n]"),
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
            ("pages | map(attribute=\"date\")", "[it.date for it in pages]"),
            ("n | int(default=0)", "n | int"),
            ("n | round(method=\"common\", precision=1)", "n | round(precision=1)"),
            ("n | round(method=\"ceil\")", "n | round(method=\"ceil\")"),
            ("page.extra.a | default(value=\"x.y\")", "page?.extra?.a | default(value=\"x.y\")"),
            ("get_taxonomy_url(kind=\"tags\", name=t)", "get_taxonomy_url(kind=\"tags\", term=t)"),
            ("\"a.0 | as_str\"", "\"a.0 | as_str\""),
            ("1.5 + 2", "1.5 + 2"),
        ] {
            assert_eq!(convert(old, false), new);
        }
        assert_eq!(convert("page.extra.a and not b[c].d", true), "page?.extra?.a and not b?[c]?.d");
    }

    #[test]
    fn calls_of_macros() {
        let call = whole_call(&read(" m::link(a=1, b=f(x, y)) | safe ")).unwrap();
        assert_eq!((call.space.as_str(), call.name.as_str(), call.arguments.len()), ("m", "link", 2));
        assert_eq!(write(&call.arguments[1].1), "f(x, y)");
        assert!(whole_call(&read("m::link() ~ 1")).is_none());
        assert!(calls_macro(&read("m::link() ~ 1")));
    }

    #[test]
    fn any_text_is_read_and_written_again() {
        for text in ["", "a b", "((", "\"open", "a.", "|", "is", "x is", "a | ", "]", "ü.0"] {
            assert_eq!(write(&read(text)), text);
            convert(text, true);
        }
    }
}
