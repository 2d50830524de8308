//! Content with shortcodes as content with components.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{self, Arguments, Token};
use super::shortcode::NTH;
use super::template;
use crate::library::comment;
use crate::templates::pieces::{Piece, content_pieces, offset};

/// All shortcodes.
pub(super) type Shortcodes = BTreeMap<String, Shortcode>;

/// What content has to know of a shortcode.
#[derive(Debug, Default)]
pub(super) struct Shortcode {
    /// What it takes: what else it was given was passed over.
    pub(super) takes: BTreeSet<String>,
    /// Whether its lines stand for themselves, and can be one line.
    pub(super) is_block: bool,
}

/// Converts the body of a page; the second are the shortcodes that no template defines, and where each is called first.
pub(super) fn convert(text: &str, shortcodes: &Shortcodes) -> (String, BTreeMap<String, usize>) {
    let mut out = String::with_capacity(text.len());
    let mut unknown = BTreeMap::new();
    let mut miss = |found: Option<(String, Arguments)>, inside: &str| {
        if let Some((name, _)) = found {
            unknown.entry(name).or_insert_with(|| offset(text, inside));
        }
    };
    let mut open: Vec<String> = Vec::new();
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    let mut counted = |name: &str, mut arguments: Arguments| {
        let takes = &shortcodes[name].takes;
        arguments.retain(|(key, _)| key.as_ref().is_none_or(|key| key == "body" || takes.contains(key)));
        if takes.contains(NTH) {
            let call = calls.entry(name.to_owned()).or_default();
            *call += 1;
            arguments.push((Some(NTH.to_owned()), vec![Token::Number(call.to_string())]));
        }
        arguments
    };
    for piece in calls_apart(text) {
        match piece {
            Piece::Open(text) => raw(&mut out, text),
            Piece::Text(text) | Piece::Comment(text) => push_text(&mut out, text),
            Piece::Print(inside, ..) => match (escaped(inside), shortcode(inside)) {
                (Some(shown), _) => raw(&mut out, &format!("{{{{{shown}}}}}")),
                (None, Some((name, arguments))) if shortcodes.contains_key(&name) => {
                    let (body, arguments): (Arguments, Arguments) = counted(&name, arguments)
                        .into_iter()
                        .partition(|(key, _)| key.as_deref() == Some("body"));
                    match body.first() {
                        None => {
                            let call = template::call(&name, &arguments, " />");
                            let in_line = shortcodes[&name].is_block && !is_alone(text, inside);
                            out.push_str(&format!("{{{{{call}{}}}}}", if in_line { IN_LINE } else { "" }));
                        }
                        Some((_, body)) => {
                            out.push_str(&format!("{{% {} %}}", template::call(&name, &arguments, ">")));
                            push_body(&mut out, body);
                            out.push_str(&format!("{{% </{name}> %}}"));
                        }
                    }
                }
                (None, found) => {
                    miss(found, inside);
                    raw(&mut out, &format!("{{{{{inside}}}}}"));
                }
            },
            Piece::Tag(inside, ..) => match (escaped(inside), shortcode(inside)) {
                (Some(shown), _) => raw(&mut out, &format!("{{%{shown}%}}")),
                (None, Some((name, arguments))) if shortcodes.contains_key(&name) => {
                    let arguments = counted(&name, arguments);
                    out.push_str(&format!("{{% {} -%}}", template::call(&name, &arguments, ">")));
                    open.push(name);
                }
                (None, None) if inside.trim() == "end" => match open.pop() {
                    // The white space around a body was not part of it.
                    Some(name) => out.push_str(&format!("{{%- </{name}> %}}")),
                    None => raw(&mut out, "{% end %}"),
                },
                (None, found) => {
                    miss(found, inside);
                    raw(&mut out, &format!("{{%{inside}%}}"));
                }
            },
        }
    }
    (out, unknown)
}

/// Where a call stood in a list, in a quotation or among words, what it showed was part of that, and lines of its own would
/// end it.
const IN_LINE: &str = r#" | str | replace(from="\n", to=" ") | trim"#;

/// Whether a call has its line for itself.
fn is_alone(body: &str, inside: &str) -> bool {
    let start = offset(body, inside).saturating_sub(2);
    let before = body[..start].rsplit('\n').next().unwrap_or("");
    let after = body[start..].split_once("}}").map_or("", |(_, after)| after);
    before.is_empty() && after.split('\n').next().is_none_or(|rest| rest.trim().is_empty())
}

/// How many braces that open nothing are told from calls that follow them before these end.
const STRAY_MAX: usize = 16;

/// The pieces of a content. What begins as one and is no call was text, and calls may follow within it.
fn calls_apart(body: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    push_calls_apart(&mut out, body, 0);
    out
}

fn push_calls_apart<'t>(out: &mut Vec<Piece<'t>>, body: &'t str, depth: usize) {
    for piece in content_pieces(body) {
        let is_stray = match piece {
            Piece::Print(inside, ..) | Piece::Tag(inside, ..) => {
                escaped(inside).is_none() && shortcode(inside).is_none() && inside.trim() != "end"
            }
            piece => matches!(piece, Piece::Open(_)),
        };
        let whole = piece.whole(body);
        if is_stray && depth < STRAY_MAX && ["{{", "{%"].iter().any(|open| whole[2..].contains(open)) {
            out.push(Piece::Open(&whole[..2]));
            push_calls_apart(out, &whole[2..], depth + 1);
        } else {
            out.push(piece);
        }
    }
}

/// The shortcodes that a page calls, with what they are given.
pub(super) fn calls(body: &str) -> impl Iterator<Item = (String, Arguments)> {
    calls_apart(body).into_iter().filter_map(|piece| match piece {
        Piece::Print(inside, ..) | Piece::Tag(inside, ..) => shortcode(inside),
        _ => None,
    })
}

/// `/* … */`: a shortcode that was to be shown, not called.
fn escaped(inside: &str) -> Option<&str> {
    inside.trim().strip_prefix("/*")?.strip_suffix("*/")
}

/// Text in which comments of the template language were text too.
fn push_text(out: &mut String, mut text: &str) {
    while let Some((open, end)) = comment(text) {
        // One that does not end would be an error.
        let end = end.unwrap_or(open + 2);
        out.push_str(&text[..open]);
        raw(out, &text[open..end]);
        text = &text[end..];
    }
    out.push_str(text);
}

/// A body that was handed over as an argument.
fn push_body(out: &mut String, body: &[Token]) {
    match body {
        [Token::Text(quoted)] => {
            let text = quoted.trim_matches(|c| quoted.starts_with(c));
            if ["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
                raw(out, text);
            } else {
                out.push_str(text);
            }
        }
        body => out.push_str(&format!("{{{{ {} }}}}", expression::write(body))),
    }
}

/// Text that is not to be read as a template.
fn raw(out: &mut String, text: &str) {
    if text.contains("endraw") {
        // It would end here.
        out.push_str(&format!("{{{{ {} }}}}", expression::write(&[Token::Text(format!("`{text}`"))])));
        return;
    }
    out.push_str("{% raw %}");
    out.push_str(text);
    out.push_str("{% endraw %}");
}

/// `name(arguments)`; commas between arguments may be missing.
fn shortcode(inside: &str) -> Option<(String, Arguments)> {
    let text = inside.trim();
    let open = text.find('(')?;
    let name = text[..open].trim();
    let arguments = text[open + 1..].strip_suffix(')')?;
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    Some((name.to_owned(), expression::arguments(&expression::separated(expression::read(arguments)))))
}

#[cfg(test)]
mod tests {
    use super::{Shortcode, Shortcodes, convert};

    #[test]
    fn calls_are_rewritten_and_all_else_stays_text() {
        let known =
            [("youtube", "id autoplay n list s"), ("quote", "author"), ("note", "a"), ("fig", "a nth")];
        let takes =
            |names: &str| Shortcode { takes: names.split(' ').map(str::to_owned).collect(), is_block: false };
        let known: Shortcodes =
            known.into_iter().map(|(name, names)| (name.to_owned(), takes(names))).collect();
        let (made, unknown) = convert(
            "## A {#b}\n{{ youtube(id=\"x\" autoplay=true, n=3 list=[1, -2] s=\"a\\b\") }}\n{% quote(author='V') %}\nIn {% note() %}x{% end %}\n{% end %}\n{{ note(body=\"*x* \\y\\\n\", a=1) }}{{ note(body='{{ z }}') }}{{ note(body=3) }}\n{{ fig(a=1) }}{% fig() %}x{% end %}\n{{/* youtube(id=1) */}} ${{ secrets.X }} {% if %} {{ gone(a=1) }}\n{% raw %}{{ a }}{% endraw %}\n",
            &known,
        );
        insta::assert_snapshot!(made, @r#"
        ## A {#b}
        {{<youtube id="x" autoplay={true} n={3} list={[1, -2]} s="a\\b" />}}
        {% <quote author={'V'}> -%}
        In {% <note> -%}x{%- </note> %}
        {%- </quote> %}
        {% <note a={1}> %}*x* \y\
        {% </note> %}{% <note> %}{% raw %}{{ z }}{% endraw %}{% </note> %}{% <note> %}{{ 3 }}{% </note> %}
        {{<fig a={1} nth={1} />}}{% <fig nth={2}> -%}x{%- </fig> %}
        {% raw %}{{ youtube(id=1) }}{% endraw %} ${% raw %}{{ secrets.X }}{% endraw %} {% raw %}{% if %}{% endraw %} {% raw %}{{ gone(a=1) }}{% endraw %}
        {% raw %}{% raw %}{% endraw %}{% raw %}{{ a }}{% endraw %}{{ `{% endraw %}` }}
        "#);
        assert_eq!(unknown.into_keys().collect::<Vec<_>>(), ["gone"]);
        let (made, _) =
            convert("`{{` and `{%`, {{ a {{ youtube(id=1) }} {% {{ youtube(id=2) }} {% b", &known);
        insta::assert_snapshot!(made, @"`{% raw %}{{{% endraw %}` and `{% raw %}{%{% endraw %}`, {% raw %}{{{% endraw %} a {{<youtube id={1} />}} {% raw %}{%{% endraw %} {{<youtube id={2} />}} {% raw %}{% b{% endraw %}");
        let (made, _) = convert("a {# b #} {# c\n# D {#d}\n{{ youtube(id=1) }} {#", &known);
        insta::assert_snapshot!(made, @r"
        a {% raw %}{# b #}{% endraw %} {% raw %}{#{% endraw %} c
        # D {#d}
        {{<youtube id={1} />}} {% raw %}{#{% endraw %}
        ");
        let known: Shortcodes =
            [("fig".to_owned(), Shortcode { is_block: true, ..Shortcode::default() })].into();
        let (made, _) = convert(
            "{{ fig() }}\na {{ fig() }}\n> {{ fig() }}\n1. b\n   {{ fig() }}  \n{{ fig() }} c",
            &known,
        );
        insta::assert_snapshot!(made, @r##"
        {{<fig />}}
        a {{<fig /> | str | replace(from="\n", to=" ") | trim}}
        > {{<fig /> | str | replace(from="\n", to=" ") | trim}}
        1. b
           {{<fig /> | str | replace(from="\n", to=" ") | trim}}  
        {{<fig /> | str | replace(from="\n", to=" ") | trim}} c
        "##);
        let deep = "{{ ".repeat(100_000);
        assert!(convert(&deep, &known).0.len() > deep.len());
    }
}
