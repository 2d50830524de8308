//! Slips of syntax that authors make, and what to write instead: blocks that are not closed, words of Tera 1 and of other
//! languages.

use super::arguments;
use super::pieces::{Piece, offset, pieces};
use crate::diagnostic::nearest;

/// Tags that templates have.
const TAGS: &[&str] = &[
    "if",
    "elif",
    "else",
    "endif",
    "for",
    "endfor",
    "set",
    "endset",
    "set_global",
    "block",
    "endblock",
    "extends",
    "include",
    "raw",
    "endraw",
    "filter",
    "endfilter",
    "component",
    "endcomponent",
    "break",
    "continue",
];

/// Those of them that must be closed.
const BLOCKS: [&str; 7] = ["if", "for", "block", "filter", "component", "set", "set_global"];

/// What to do about all that is as Tera 1 had it.
const IMPORT: &str = "`bake import zola` converts a whole site";

/// What is written otherwise, and how.
const OTHERWISE: [(&str, &str); 4] = [
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("!", "write `not`"),
    ("$", "names have no sign before them"),
];

/// What the engine says where nothing is written wrongly by itself, and what to do about it.
const SAID: [(&str, &str); 16] = [
    ("invalid field of `loop`", "write one of these"),
    ("already contains a", "give one of the two another name, or remove it"),
    ("defined more than once", "leave one of the two out"),
    ("can only be used in a for loop", "write it between {% for … %} and {% endfor %}"),
    ("cannot be used inside a", "write it outside of that"),
    ("cannot be written inside a", "write it outside of that"),
    ("cannot be written in another tag", "write it outside of all tags, or into a template of its own"),
    ("cannot be nested in other tags", "write it at the top of the template"),
    ("already extending", "a template extends one other: remove one of the two"),
    ("expected \"string\" or {expression}", "a text is in quotes, and all else in braces: name={1}"),
    ("must use tag syntax", "write {% <name> %} … {% </name> %}"),
    ("but expected else", "a choice has both sides: `a if condition else b`"),
    ("first element of a chain", "filters take the place of methods: value | name(argument=…)"),
    ("unexpected end of raw block", "add {% endraw %}"),
    ("closing comment tag", "add `#}`"),
    ("is a reserved keyword", "choose another name"),
];

/// What is wrong, in better words than the engine's.
pub(super) struct Slip {
    /// Where, in bytes.
    pub(super) at: usize,
    /// None where the engine's words say it.
    pub(super) message: Option<String>,
    pub(super) hint: String,
}

/// What was meant where the engine says this of the byte `at` of a text; none where that is not plain.
pub(super) fn of(message: &str, text: &str, at: usize) -> Option<Slip> {
    let at = text.floor_char_boundary(at);
    let rest = text[at..].trim_start();
    let hinted = |hint: String| Slip { at, message: None, hint };
    if message.to_ascii_lowercase().starts_with("unexpected end of input") {
        let (at, word) = open(text).pop()?;
        let hint = format!("add {{% end{word} %}}");
        return Some(Slip { at, message: Some(format!("`{word}` is not closed")), hint });
    }
    if message.to_ascii_lowercase().starts_with("unknown tag") {
        return Some(match word_of(rest) {
            "macro" | "endmacro" => hinted(format!(
                "macros are components since Tera 2: {{% component name(argument) %}} … {{% endcomponent name %}}; {IMPORT}"
            )),
            "import" => hinted(format!(
                "components are known everywhere, without an import: remove the tag; {IMPORT}"
            )),
            word @ ("else" | "elif") => match open(&text[..at]).pop() {
                Some((_, open)) => Slip {
                    at,
                    message: Some(format!("`{word}` belongs to {}: what is open is `{open}`", owner(word))),
                    hint: format!("write {{% end{open} %}} before it"),
                },
                None => Slip {
                    at,
                    message: Some(format!("`{word}` belongs to {}, and none is open", owner(word))),
                    hint: "remove it, or write {% if … %} before".into(),
                },
            },
            word if word.starts_with("end") => match open(&text[..at]).pop() {
                Some((_, open)) => Slip {
                    at,
                    message: Some(format!("`{word}` closes what is not open: what is open is `{open}`")),
                    hint: format!("write {{% end{open} %}}"),
                },
                None => Slip {
                    at,
                    message: Some(format!("`{word}` closes what is not open")),
                    hint: "remove it, or open the block before".into(),
                },
            },
            word => hinted(format!("did you mean `{}`?", nearest(word, TAGS.iter().copied())?)),
        });
    }
    if message.to_ascii_lowercase().starts_with("unexpected escape character") {
        return Some(hinted("a backslash in a text is written twice: `\\\\`".into()));
    }
    if message.contains("in the opening tag, found")
        && let [opened, closed] = *message.split('`').skip(1).step_by(2).collect::<Vec<_>>()
    {
        return Some(hinted(format!("write `{opened}` in both, or leave `{closed}` out")));
    }
    let component = message.strip_suffix('\'').and_then(|said| said.rsplit('\'').next());
    match component {
        Some(name) if message.contains("doesn't match opening tag") => {
            return Some(hinted(format!("write {{% </{name}> %}}")));
        }
        Some(name) if message.starts_with("Unclosed component") => {
            return Some(hinted(format!("add {{% </{name}> %}}")));
        }
        _ => {}
    }
    let lower = message.to_ascii_lowercase();
    if let Some((_, hint)) = SAID.iter().find(|(said, _)| lower.contains(said)) {
        return Some(hinted((*hint).into()));
    }
    if rest.starts_with('?') && !text[..at].trim_end().ends_with(['{', '%']) {
        return Some(hinted("a choice is written `a if condition else b`".into()));
    }
    if word_of(rest) == "if" && text[..at].trim_end().ends_with("else") {
        return Some(hinted("write `elif` for `else if`".into()));
    }
    if rest.starts_with("::") {
        let hint =
            format!("macros are components since Tera 2: {{{{ <name argument={{value}} /> }}}}; {IMPORT}");
        return Some(hinted(hint));
    }
    let is_end = |end: &str| rest.trim_start_matches('-').starts_with(end);
    if let Some((open_at, open)) = bracket(&text[..at]) {
        if is_end("}}") || is_end("%}") {
            let end = match open {
                '(' => ')',
                '[' => ']',
                _ => '}',
            };
            let message = Some(format!("`{open}` is not closed"));
            return Some(Slip { at: open_at, message, hint: format!("add `{end}`") });
        }
        let is_argument = text[..at].trim_end().ends_with(['(', ',']);
        if open == '(' && is_argument && message.contains("expected identifier") {
            let called = text[..open_at].trim_end();
            let name =
                &called[called.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1)..];
            let first = arguments::of(name).and_then(|taken| taken.first()).copied().unwrap_or("name");
            return Some(hinted(format!("arguments are given by name: {name}({first}=…)")));
        }
    }
    if rest.starts_with(['.', '[']) && text[..at].ends_with([')', '}', ']']) {
        let hint = "only what has a name has fields: {% set made = … %}, and then `made` with the field";
        return Some(hinted(hint.into()));
    }
    let (_, instead) = OTHERWISE.iter().find(|(wrong, _)| rest.starts_with(wrong))?;
    Some(hinted((*instead).into()))
}

/// The last bracket that is open in the tag that a text ends within, and where.
fn bracket(text: &str) -> Option<(usize, char)> {
    let begin = text.rfind("{{").max(text.rfind("{%"))? + 2;
    let mut open = Vec::new();
    let mut quote = None;
    for (at, c) in text[begin..].char_indices() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => open.push((begin + at, c)),
            (None, ')' | ']' | '}') => drop(open.pop()),
            _ => {}
        }
    }
    open.pop().filter(|_| quote.is_none())
}

fn word_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The blocks that are open at the end of a text: where their tags have their words, and these.
fn open(text: &str) -> Vec<(usize, &str)> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    for code in pieces(text).iter().filter_map(Piece::tag).map(str::trim_start) {
        let word = word_of(code);
        if let Some(closed) = word.strip_prefix("end") {
            if let Some(i) = open
                .iter()
                .rposition(|(_, open)| *open == closed || (closed == "set" && *open == "set_global"))
            {
                open.truncate(i);
            }
        } else if BLOCKS.contains(&word) && !(word.starts_with("set") && code.contains('=')) {
            open.push((offset(text, code), word));
        }
    }
    open
}

/// What a tag in the middle of a block stands in.
fn owner(word: &str) -> &'static str {
    if word == "else" { "an `if` or a `for`" } else { "an `if`" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_blocks_are_known() {
        let words = |text| open(text).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
        assert_eq!(words("{% if a %}{# {% for #}{% set x = 1 %}{%- for b in c -%}{% endfor %}"), ["if"]);
        assert_eq!(words("{% raw %}{% if %}{% endraw %}{% set x %}a{% endset %}"), [""; 0]);
        assert_eq!(words("{% block a %}{% component b() %}"), ["block", "component"]);
        assert_eq!(open("é {%- if a"), [(7, "if")]);
    }

    #[test]
    fn slips_are_told() {
        let said = |message, text: &str, before: &str| {
            let slip = of(message, text, text.find(before).unwrap()).unwrap();
            format!("{} {:?} {}", slip.at, slip.message, slip.hint)
        };
        assert_eq!(
            said("unexpected end of input", "x{% if a %}", "{%"),
            "4 Some(\"`if` is not closed\") add {% endif %}"
        );
        assert_eq!(
            said("unknown tag", "{% for a in b %}{% endif %}", "endif"),
            "19 Some(\"`endif` closes what is not open: what is open is `for`\") write {% endfor %}"
        );
        assert!(said("unknown tag", "{% macro x() %}", "macro").contains("component"));
        assert!(said("unknown tag", "{% inclde 'x' %}", "inclde").contains("`include`"));
        assert!(said("unexpected character", "{% if a && b %}", "&&").ends_with("write `and`"));
        assert!(
            said("unexpected escape character", r#"{{ a | x(y="\s") }}"#, "\"").ends_with(r"twice: `\\`")
        );
        let field = said("found `.` but expected }}", "{{ load_data(path='a.csv').records }}", ".records");
        assert!(field.contains("{% set made = … %}"), "{field}");
        let unclosed = "found `}}` but expected ,";
        for (text, at, told) in [
            ("a(b {{ get_url(path=\"x)\" }}", "}}", "14 Some(\"`(` is not closed\") add `)`"),
            ("{% for a in [1, (2) -%}", "-%}", "12 Some(\"`[` is not closed\") add `]`"),
            ("{{ {'x': {} }}", "}}", "3 Some(\"`{` is not closed\") add `}`"),
        ] {
            assert_eq!(said(unclosed, text, at), told, "{text}");
        }
        let expected = "found string but expected identifier";
        assert!(said(expected, "{{ get_url('x') }}", "'x'").ends_with("by name: get_url(path=…)"));
        assert!(said(expected, "{% if a is matching( \"[\") %}", "\"[").ends_with("matching(pat=…)"));
        assert!(said(expected, "{{ a | mine(b=1, \"c\") }}", "\"c").ends_with("mine(name=…)"));
        assert!(said("found identifier but expected %}", "{% else if a %}", "if a").contains("`elif`"));
        assert!(said("unexpected character", "{{ a ? b : c }}", "?").ends_with("`a if condition else b`"));
        assert!(of("unexpected character", "{{ ? }}", 3).is_none());
        let alone = said("unknown tag", "x{% else %}", "else");
        assert_eq!(
            alone,
            "4 Some(\"`else` belongs to an `if` or a `for`, and none is open\") remove it, or write {% if … %} before"
        );
        let within = said("unknown tag", "{% if a %}{% filter upper %}{% elif b %}", "elif");
        assert!(within.ends_with("write {% endfilter %} before it"), "{within}");
    }
}
