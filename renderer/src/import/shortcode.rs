//! Shortcodes as components.

use std::collections::BTreeSet;

use super::content::Shortcode;
use super::expression;
use super::macros::BODY;
use super::names::Names;
use super::template::{self, Converted, Converter};
use super::variables::Variables;
use crate::minify;
use crate::templates::pieces::{Piece, pieces};

/// What every shortcode could see.
const AROUND: [&str; 5] = ["page", "section", "config", "lang", "taxonomy"];

/// The number of a call on its page, which every shortcode was given.
pub(super) const NTH: &str = "nth";

/// Where the component of a shortcode is kept, below its folder and without an ending, and the shortcode's name. `file` is
/// below `shortcodes/`.
pub(super) fn name_of(file: &str) -> (&str, &str) {
    let path = file.rsplit_once('.').map_or(file, |(path, _)| path);
    (path, path.rsplit('/').next().unwrap_or(path))
}

/// The template that the component of a shortcode is, where no other template has that name.
pub(super) fn component_file(file: &str, names: &Names) -> String {
    let (path, _) = name_of(file);
    let usual = format!("components/{path}.html");
    if names.files.contains(&usual) { format!("components/shortcodes/{path}.html") } else { usual }
}

/// Shortcodes that older versions brought along: what each takes, and its component.
pub(super) const BROUGHT: [(&str, &[&str], &str); 4] = [
    (
        "gist",
        &["url", "class", "file"],
        "{% component gist(url, class = none, file = none) %}
<div{% if class %} class=\"{{ class | str | escape }}\"{% endif %}><script src=\"{{ url | escape }}.js{% if file %}?file={{ file | urlencode_strict }}{% endif %}\"></script></div>
{% endcomponent gist %}
",
    ),
    (
        "streamable",
        &["id", "class"],
        "{% component streamable(id, class = none) %}
<div{% if class %} class=\"{{ class | str | escape }}\"{% endif %}><iframe src=\"https://streamable.com/e/{{ id | str | escape }}\" title=\"Streamable video\" loading=\"lazy\" allowfullscreen></iframe></div>
{% endcomponent streamable %}
",
    ),
    (
        "vimeo",
        &["id", "class"],
        "{% component vimeo(id, class = none) %}
<div{% if class %} class=\"{{ class | str | escape }}\"{% endif %}><iframe src=\"https://player.vimeo.com/video/{{ id | str | escape }}\" title=\"Vimeo video\" loading=\"lazy\" allowfullscreen></iframe></div>
{% endcomponent vimeo %}
",
    ),
    (
        "youtube",
        &["id", "autoplay", "class", "playlist"],
        "{% component youtube(id, autoplay = none, class = none, playlist = none) %}
{% set list = \"list=\" ~ playlist if playlist else none -%}
{% set play = \"autoplay=1\" if autoplay else none -%}
{% set query = [it for it in [list, play] if it] | join(sep=\"&\") -%}
<div{% if class %} class=\"{{ class | str | escape }}\"{% endif %}><iframe src=\"https://www.youtube-nocookie.com/embed/{{ id | str | escape }}{% if query %}?{{ query | escape }}{% endif %}\" title=\"YouTube video\" loading=\"lazy\" allowfullscreen></iframe></div>
{% endcomponent youtube %}
",
    ),
];

/// A shortcode as a component: it names its parameters, which a shortcode did not. One of markdown keeps its lines. Macros
/// that it defines follow it: a component cannot hold others.
///
/// The second is what content has to know of it.
pub(super) fn shortcode(file: &str, text: &str, names: &Names) -> (Converted, Shortcode) {
    let (_, name) = name_of(file);
    let (text, macros) = without_macros(text);
    let text = text.as_str();
    let found = Variables::of(&pieces(text), BTreeSet::new());
    let own = names.spaces.get(&format!("shortcodes/{file}")).map_or("", String::as_str);
    let mut converter = Converter::new(names, own);
    converter.escapes = !file.ends_with(".md");
    converter.is_preformatted = is_lined(text);
    converter.is_shortcode = true;
    converter.macro_name = name.to_owned();
    let mut parameters = Vec::new();
    for (variable, default) in &found.free {
        if variable == BODY {
            continue;
        }
        if variable == NTH {
            parameters.push(format!("{NTH} = 1"));
            continue;
        }
        let around = AROUND.contains(&variable.as_str());
        let sign = if around { "@" } else { "" };
        parameters.push(match default {
            Some(default)
                if !found.optional.contains(variable)
                    && names.given.is_like(name, variable, &expression::read(default)) =>
            {
                format!("{variable} = {}", expression::write(&expression::read(default)))
            }
            None if !around && !found.optional.contains(variable) && found.always.contains(variable) => {
                variable.clone()
            }
            _ => {
                converter.parameters.insert(variable.clone());
                format!("{sign}{variable} = none")
            }
        });
    }
    // What only the macros read that it calls.
    let imports =
        pieces(text).iter().filter_map(Piece::tag).filter_map(template::import_of).collect::<Vec<_>>();
    let lent: BTreeSet<&String> =
        imports.iter().filter_map(|(file, _)| names.lent.get(file)).flatten().collect();
    let lent = lent.into_iter().filter(|variable| {
        *variable != BODY && !found.free.contains_key(*variable) && names.given.has(name, variable)
    });
    parameters.extend(lent.map(|variable| format!("{variable} = none")));
    // What only the templates read that it includes.
    let included = names.read_by_includes(&pieces(text));
    parameters.extend(included.into_iter().filter(|name| !found.free.contains_key(name)).filter_map(
        |read| {
            let around = AROUND.contains(&read.as_str());
            (around || names.given.has(name, &read))
                .then(|| format!("{}{read} = none", if around { "@" } else { "" }))
        },
    ));
    parameters.dedup();
    // Those that must be given come first, to be read as such, and those that the page gives last.
    parameters.sort_by_key(|parameter| (parameter.starts_with('@'), parameter.contains(" = ")));
    let name_of = |parameter: &String| {
        let own = parameter.trim_start_matches('@');
        own.split_once(" = ").map_or(own, |(name, _)| name).to_owned()
    };
    let takes = parameters.iter().map(name_of).collect();
    converter.run(text);
    let head = format!("component {name}({})", parameters.join(", "));
    let is_html = !file.ends_with(".md");
    let known = Shortcode { takes, is_block: is_html && is_block(text) && !is_lined(text) };
    converter.out = if !is_html {
        format!("{{% {head} %}}{}{{% endcomponent {name} %}}\n", converter.out)
    } else {
        // What may stand within a line brings none of its own.
        let (open, close) = if is_block(text) { ("%}", "{%") } else { ("-%}", "{%-") };
        format!("{{% {head} {open}\n{}\n{close} endcomponent {name} %}}\n", tighten(&converter.out))
    };
    let shown = std::mem::take(&mut converter.out);
    converter.is_shortcode = false;
    converter.run(&macros);
    let macros = if is_html { tighten(&converter.out) } else { converter.out };
    converter.out = if macros.is_empty() { shown } else { format!("{shown}{macros}\n") };
    (converter.converted(), known)
}

/// A shortcode, and the macros that it defines.
fn without_macros(text: &str) -> (String, String) {
    let (mut left, mut macros, mut in_macro) = (String::new(), String::new(), false);
    for piece in pieces(text) {
        let word = piece.tag().and_then(|tag| tag.split_whitespace().next());
        in_macro |= word == Some("macro");
        let out = if in_macro { &mut macros } else { &mut left };
        out.push_str(piece.whole(text));
        if word == Some("endmacro") {
            macros.push('\n');
            in_macro = false;
        }
    }
    (left, macros)
}

/// Whether the first element of a shortcode is one that stands for itself. One of text or style is found within lines, too.
fn is_block(text: &str) -> bool {
    let first = pieces(text).into_iter().find_map(|piece| match piece {
        Piece::Text(text) => text.trim_start().strip_prefix('<').map(str::to_owned),
        _ => None,
    });
    let name = first.map(|tag| tag.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
    name.is_some_and(|name| minify::is_block(&name) && !matches!(name.as_str(), "script" | "style"))
}

/// Where lines are what they are.
const PREFORMATTED: [&str; 3] = ["<pre", "<textarea", "```"];

/// Whether the lines of a text mean something.
pub(super) fn is_lined(text: &str) -> bool {
    ["<script", "<style"].iter().chain(&PREFORMATTED).any(|tag| text.contains(tag))
}

/// A component's output becomes part of a page's markdown, where an empty line ends a block of HTML or a paragraph, and an
/// indented one begins code: lines lose their indentation, and empty ones go, also those that tags would leave behind, but
/// for preformatted text.
pub(super) fn tighten(text: &str) -> String {
    if PREFORMATTED.iter().any(|tag| text.contains(tag)) {
        return text.trim_matches('\n').to_owned();
    }
    let mut out: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let in_line = pieces(line);
        let only_tags = in_line.iter().all(|piece| match piece {
            Piece::Text(text) => text.trim().is_empty(),
            piece => matches!(piece, Piece::Tag(..) | Piece::Comment(_)),
        });
        if let Some((open, inside, close)) = condition(line, &in_line) {
            out.extend([without_line_end(open), inside.to_owned(), without_line_end(close)]);
        } else if only_tags || (line.ends_with("%}") && !line.contains("{%")) {
            out.push(without_line_end(line));
        } else {
            out.push(line.to_owned());
        }
    }
    out.join("\n")
}

/// A line that is all within one condition, and so empty for some calls: the tags, and what is between.
fn condition<'a>(line: &'a str, pieces: &[Piece<'_>]) -> Option<(&'a str, &'a str, &'a str)> {
    let [Piece::Tag(open, ..), inside @ .., Piece::Tag(close, ..)] = pieces else { return None };
    let is_one = open.trim().starts_with("if ")
        && close.trim() == "endif"
        && !inside.iter().any(|piece| matches!(piece, Piece::Tag(..)))
        && !inside.is_empty();
    let (start, end) = (line.find("%}")? + 2, line.rfind("{%")?);
    (is_one && start < end).then(|| (&line[..start], &line[start..end], &line[end..]))
}

/// A tag or a comment that takes the white space after it away.
fn without_line_end(tag: &str) -> String {
    for close in ["%}", "#}"] {
        if let Some(inside) = tag.strip_suffix(close).filter(|inside| !inside.ends_with('-')) {
            return format!("{inside}-{close}");
        }
    }
    tag.to_owned()
}
