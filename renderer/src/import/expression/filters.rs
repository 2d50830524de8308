//! Filters: what each was for, and what there is in its place.

use super::token::{Token, arguments, before, closing, ends_value, has_outside, next, opening, read, write};
use super::{chains, convert, convert_default};

/// Renamed filters.
const FILTERS: &[(&str, &str)] = &[
    ("as_str", "str"),
    ("linebreaksbr", "newlines_to_br"),
    ("trim_start_matches", "trim_start"),
    ("trim_end_matches", "trim_end"),
    ("escape", "escape_html"),
    ("escape_xml", "escape_html"),
];

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

/// Whether a token says that a value is a number that may have a fraction.
fn is_reckoned(token: &Token) -> bool {
    is_fraction(token) || ["+", "-", "*"].iter().any(|operator| token.is(operator))
}

/// Whether a token makes a number that may have a fraction out of whole ones.
pub(super) fn is_fraction(token: &Token) -> bool {
    token.is("/") || matches!(token, Token::Number(number) if number.contains('.'))
}

/// Where the value before `bar` begins, with its fields, calls and filters.
pub(super) fn term(tokens: &[Token], bar: usize) -> usize {
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
    let links =
        |token: &Token| token.is(".") || token.is("?.") || token.is("|") || token.is("?") || token.is("::");
    links(first) || links(previous) || ((first.is("(") || first.is("[")) && ends_value(previous))
}

pub(super) fn filters(tokens: &mut Vec<Token>) {
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
        // Of what was reckoned, the whole part was taken.
        if tokens[name].is("int")
            && tokens[start..i].iter().any(is_reckoned)
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
pub(super) fn end_of_filter(tokens: &[Token], name: usize) -> usize {
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
    let there = |attribute: &Attribute| match attribute.of_item("?").as_str() {
        "it" => "it is not none".to_owned(),
        field => format!("{field} is defined and {field} is not none"),
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
            let attribute = Attribute::of(argument("attribute"));
            format!("[{} for it in {list} if {}]", attribute.of_item(""), there(&attribute))
        }
        "filter" => {
            let attribute = Attribute::of(argument("attribute"));
            match argument("value") {
                Some(value) => {
                    format!("[it for it in {list} if {} == {value}]", attribute.of_item("?"))
                }
                None => format!("[it for it in {list} if {}]", there(&attribute)),
            }
        }
        "group_by" => match Attribute::of(argument("attribute")) {
            // What all pages have needs no question.
            Attribute::Path(path) if !NONE_FIELDS.contains(&&*path) && path != "lang" => {
                let attribute = Attribute::Path(path);
                format!("[it for it in {list} if {}] | group_by(attribute={attribute})", there(&attribute))
            }
            _ => return None,
        },
        "unique" if argument("attribute").is_some() => {
            let attribute = Attribute::of(argument("attribute"));
            let those = format!("[it for it in {list} if {}]", there(&attribute));
            format!("[it[0] for key, it in {those} | group_by(attribute={attribute})]")
        }
        // What is no number stopped nothing.
        "int" | "float" if argument("base").is_none() => {
            let default = argument("default")?;
            let asked = format!("{list} is number or {list} is matching(pat=\"{NUMBER}\")");
            let whole = if name == "int" { " | round(method=\"floor\") | int" } else { "" };
            format!("({list} | float{whole} if {asked} else {default})")
        }
        "truncate" if argument("length").is_none() => {
            let end = argument("end").map_or_else(String::new, |end| format!(", end={end}"));
            format!("{list} | truncate(length=255{end})")
        }
        // Without a word, units were of 1024 and had the names of others.
        "filesizeformat" if argument("binary").is_none() => format!(
            "{list} | filesize_format | replace(from=\"KiB\", to=\"kB\") | replace(from=\"iB\", to=\"B\")"
        ),
        "indent" => {
            let (sign, width) = repeated(argument("prefix")?.trim_matches(['"', '\'', '`']))?;
            let others = given.iter().filter(|(key, _)| key.as_deref() != Some("prefix"));
            let others =
                others.filter_map(|(key, value)| Some(format!(", {}={}", key.as_ref()?, write(value))));
            let others = others.collect::<String>();
            format!("{list} | indent(width={width}, indentation=\"{sign}\"{others})")
        }
        "addslashes" => ['\\', '"', '\'']
            .iter()
            .fold(list, |text, sign| format!("{text} | replace(from=\"\\{sign}\", to=\"\\\\\\{sign}\")")),
        "default" if may_be_none(operand) => {
            let mut operand = operand.to_vec();
            chains(&mut operand, 0, usize::MAX);
            let value = given.iter().find(|(name, _)| name.as_deref() == Some("value"))?;
            format!("({} or {})", write(&operand).trim(), convert_default(value.1.clone()))
        }
        _ => return None,
    })
}

/// Texts that are numbers.
const NUMBER: &str = "^ *[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)? *$";

/// The sign that a text is made of, and how many of it there are.
fn repeated(text: &str) -> Option<(char, usize)> {
    let first = text.chars().next()?;
    text.chars().all(|sign| sign == first).then(|| (first, text.chars().count()))
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

/// Parts of a date, and what stands for them in Unicode's patterns.
const DATE_PARTS: [(char, &str); 18] = [
    ('Y', "y"),
    ('y', "yy"),
    ('m', "MM"),
    ('d', "dd"),
    ('e', "d"),
    ('B', "MMMM"),
    ('b', "MMM"),
    ('h', "MMM"),
    ('A', "EEEE"),
    ('a', "EEE"),
    ('H', "HH"),
    ('I', "hh"),
    ('M', "mm"),
    ('S', "ss"),
    ('p', "a"),
    ('F', "y-MM-dd"),
    ('T', "HH:mm:ss"),
    ('R', "HH:mm"),
];

/// The same, of parts such as `%-d`.
const DATE_PARTS_WITHOUT_ZEROS: [(char, &str); 7] =
    [('m', "M"), ('d', "d"), ('e', "d"), ('H', "H"), ('I', "h"), ('M', "m"), ('S', "s")];

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
        let find = |parts: &[(char, &'static str)], letter| {
            parts.iter().find_map(|(part, pattern)| (*part == letter).then_some(*pattern))
        };
        let part = match chars.next()? {
            '%' => {
                text.push('%');
                continue;
            }
            '-' => find(&DATE_PARTS_WITHOUT_ZEROS, chars.next()?)?,
            letter => find(&DATE_PARTS, letter)?,
        };
        end_text(&mut out, &mut text);
        out.push_str(part);
    }
    end_text(&mut out, &mut text);
    Some(out)
}

/// A component that does for a format that is only known when the template runs what [`date_pattern`] does.
pub(in crate::import) const DATE_PATTERN: &str = "zola.date_pattern";

/// Its template. A letter that is no part is quoted by way of a sign that dates do not have.
pub(in crate::import) fn date_pattern_template() -> String {
    let mut out = format!(
        "{{% component {DATE_PATTERN}(format) %}}{{% if format is containing(pat=\"%\") %}}{{{{ format\n  \
         | replace(from=\"'\", to=\"''\")\n  \
         | regex_replace(pattern=\"(%-?[A-Za-z])|([A-Za-z][A-Za-z']*)\", rep=\"${{1}}¦${{2}}¦\")\n  \
         | replace(from=\"¦¦\", to=\"\") | replace(from=\"¦\", to=\"'\")\n"
    );
    let parts = DATE_PARTS.iter().map(|(part, pattern)| (format!("%{part}"), pattern));
    let without_zeros = DATE_PARTS_WITHOUT_ZEROS.iter().map(|(part, pattern)| (format!("%-{part}"), pattern));
    for (from, to) in parts.chain(without_zeros) {
        out.push_str(&format!("  | replace(from=\"{from}\", to=\"{to}\")\n"));
    }
    out + &format!(
        "  | safe }}}}{{% else %}}{{{{ format | safe }}}}{{% endif %}}{{% endcomponent {DATE_PATTERN} %}}\n"
    )
}

/// What some parts of a date were, which stand for nothing or for something else now.
const PARTS: [(char, &str); 5] = [
    ('+', "%Y-%m-%dT%H:%M:%S%.f%:z"),
    ('c', "%a %b %e %H:%M:%S %Y"),
    ('r', "%I:%M:%S %p"),
    ('v', "%e-%b-%Y"),
    ('x', "%m/%d/%y"),
];

/// A format of a date in no language.
fn date_format(format: &str) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        let part = if c == '%' { chars.next() } else { None };
        match part.map(|part| (part, PARTS.iter().find(|(old, _)| *old == part))) {
            Some((_, Some((_, new)))) => out.push_str(new),
            Some((part, None)) => out.extend([c, part]),
            None => out.push(c),
        }
    }
    out
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
        "unique" => &["case_sensitive"],
        "date" | "default" | "join" | "split" => &[],
        _ => return,
    };
    let is_date = tokens[name].is("date");
    let in_language = is_date && given.iter().any(|(key, _)| is(key, &["locale"]));
    let kept = given.iter().filter(|(key, _)| !is(key, gone)).map(|(key, value)| {
        let value = match (tokens[name].as_str(), value.as_slice()) {
            // Here alone `\n` was a line's end.
            ("join" | "split", [Token::Text(pattern)])
                if pattern.contains("\\n") || pattern.contains("\\t") =>
            {
                pattern.clone()
            }
            ("date", [Token::Text(format)]) if is(key, &["format"]) => {
                let quote = &format[..1];
                let format = format.trim_matches(['"', '\'', '`']);
                let pattern = if in_language { date_pattern(format) } else { Some(date_format(format)) };
                let pattern = pattern.as_deref().unwrap_or(format);
                // Words in a pattern are in quotes themselves.
                let quote =
                    [quote, "\"", "`"].into_iter().find(|quote| !pattern.contains(quote)).unwrap_or(quote);
                format!("{quote}{pattern}{quote}")
            }
            ("date", _) if in_language && is(key, &["format"]) => {
                format!("<{DATE_PATTERN} format={{{}}} />", convert(value.clone(), false))
            }
            ("default", _) => convert_default(value.clone()),
            _ => convert(value.clone(), false),
        };
        key.as_ref().map_or(value.clone(), |key| format!("{key}={value}"))
    });
    let mut kept: Vec<String> = kept.collect();
    if in_language && !given.iter().any(|(key, _)| is(key, &["format"])) {
        kept.push("format=\"y-MM-dd\"".to_owned());
    }
    let bracket = |bracket: &str| Token::Mark(bracket.to_owned());
    let list = [bracket("("), Token::Done(kept.join(", ")), bracket(")")];
    tokens.splice(open..=end, list.into_iter().filter(|_| !kept.is_empty()));
}

/// What filters of lists ask their items for.
enum Attribute {
    /// A path such as `extra.names.0`; an empty one is the item itself.
    Path(String),
    /// One that is known when the template runs.
    Value(String),
}

impl Attribute {
    fn of(argument: Option<String>) -> Self {
        let written = argument.unwrap_or_default();
        let quote = written.chars().next().filter(|sign| ['"', '\'', '`'].contains(sign));
        let literal = quote
            .and_then(|quote| written[1..].strip_suffix(quote))
            .filter(|path| !path.contains(['"', '\'', '`']));
        match literal {
            Some(path) => Self::Path(path.to_owned()),
            None if written.is_empty() => Self::Path(written),
            None => Self::Value(written),
        }
    }

    /// The same of the item `it`.
    fn of_item(&self, ask: &str) -> String {
        let path = match self {
            Self::Path(path) => path,
            Self::Value(value) => return format!("it{ask}[{value}]"),
        };
        path.split('.').filter(|part| !part.is_empty()).fold("it".to_owned(), |path, part| {
            let is_name = part.chars().all(|c| c.is_alphanumeric() || c == '_');
            if part.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("{path}{ask}[{part}]")
            } else if is_name && !part.starts_with(|c: char| c.is_numeric()) {
                format!("{path}{ask}.{part}")
            } else {
                format!("{path}{ask}[\"{part}\"]")
            }
        })
    }
}

/// As it is written in an argument.
impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "\"{path}\""),
            Self::Value(value) => f.write_str(value),
        }
    }
}
