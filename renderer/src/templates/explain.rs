//! What is wrong with templates, in our words, with file, line and the nearest right name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use tera::{ErrorKind, Tera};

use super::{Engine, Sheaf, scan};
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::{filters, functions};

static PLACE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^error: (.*)\n\s*--> (.+):(\d+):(\d+)$").ok());

/// The name that the engine gives to content.
const CONTENT: &str = "__tera_one_off";
const RAW: &str = "literal `{{` in content is written within {% raw %} and {% endraw %}";
const TAGS: &str =
    "a tag ends as it begins: `{{ … }}`, `{% … %}`, `{# … #}`; what begins a block needs its end";

/// The file that a template's name stands for.
fn file_of(name: &str, sheaves: &[Sheaf]) -> String {
    for sheaf in sheaves {
        if sheaf.folder.is_empty() {
            continue;
        }
        if sheaf.prefix.is_empty() && sheaf.templates.contains_key(name) {
            return format!("{}{name}", sheaf.folder);
        }
        if let Some(bare) = name.strip_prefix(&*sheaf.prefix).filter(|_| !sheaf.prefix.is_empty())
            && sheaf.templates.contains_key(bare)
        {
            return format!("{}{bare}", sheaf.folder);
        }
    }
    name.to_owned()
}

pub(super) fn explain_build(
    error: &tera::Error,
    texts: &BTreeMap<String, String>,
    sheaves: &[Sheaf],
) -> Errors {
    let mut errors = Errors::default();
    if matches!(error.kind(), ErrorKind::SyntaxError(_)) {
        // The engine stops at the first broken template; an author wants all of them.
        for (name, text) in texts {
            let mut alone = Tera::new();
            if let Err(e) = alone.add_raw_template(name, text)
                && let ErrorKind::SyntaxError(report) = e.kind()
            {
                errors.push(
                    Diagnostic::in_file(file_of(name, sheaves), lower_first(report.message()))
                        .at(text, report.span().range.start)
                        .hint(TAGS),
                );
            }
        }
        return errors.sorted();
    }
    match error.kind() {
        ErrorKind::CircularExtend { tpl, inheritance_chain } => errors.push(
            Diagnostic::in_file(file_of(tpl, sheaves), "the template extends itself")
                .hint(format!("the circle is {}", inheritance_chain.join(" → "))),
        ),
        ErrorKind::CircularInclude { tpl, include_chain } => errors.push(
            Diagnostic::in_file(file_of(tpl, sheaves), "the template includes itself")
                .hint(format!("the circle is {}", include_chain.join(" → "))),
        ),
        ErrorKind::MissingParent { current, parent } => {
            let near = nearest(parent, texts.keys().map(String::as_str));
            let mut diagnostic = Diagnostic::in_file(
                file_of(current, sheaves),
                format!("the template extends `{parent}`, which does not exist"),
            );
            if let Some(text) = texts.get(current)
                && let Some(at) = text.find(parent.as_str())
            {
                diagnostic = diagnostic.at(text, at);
            }
            errors.push(diagnostic.hint(near.map_or_else(
                || format!("create templates/{parent}"),
                |near| format!("did you mean `{near}`?"),
            )));
        }
        _ => {
            let message = error.to_string();
            let found = reports(&message);
            let known = Known {
                templates: texts.keys().map(String::as_str).collect(),
                components: scan::components(texts.values().map(String::as_str)),
            };
            for Report { text, name, line, column } in &found {
                let source = texts.get(*name).map_or("", String::as_str);
                errors.push(
                    Diagnostic::in_file(file_of(name, sheaves), lower_first(text))
                        .at_line(source, *line, *column)
                        .maybe_hint(known.instead_of(text)),
                );
            }
            if found.is_empty() {
                errors.push(Diagnostic::new(lower_first(&message)));
            }
        }
    }
    errors.sorted()
}

/// One of the engine's reports of names that it does not know.
struct Report<'m> {
    text: &'m str,
    name: &'m str,
    line: usize,
    column: usize,
}

fn reports(message: &str) -> Vec<Report<'_>> {
    let Some(place) = PLACE.as_ref() else { return Vec::new() };
    let found = place.captures_iter(message).map(|c| c.extract().1);
    found
        .map(|[text, name, line, column]| Report {
            text,
            name,
            line: line.parse().unwrap_or(1),
            column: column.parse().unwrap_or(1),
        })
        .collect()
}

/// Names of a site that its templates may say.
struct Known<'a> {
    templates: Vec<&'a str>,
    components: Vec<&'a str>,
}

impl Known<'_> {
    /// What to write instead of a name that is unknown, by a report such as "Unknown filter `upperr`".
    fn instead_of(&self, report: &str) -> Option<String> {
        let wrong = report.split('`').nth(1)?;
        let kind = report.split_whitespace().nth(1)?;
        let gone = filters::GONE.iter().find(|(gone, _)| kind == "filter" && *gone == wrong);
        if let Some((_, instead)) = gone {
            return Some(format!("since Tera 2 it is {instead}"));
        }
        let known = match kind {
            "filter" => filters::NAMES,
            "test" => filters::TESTS,
            "function" => functions::NAMES,
            "component" => &self.components,
            _ => &self.templates,
        };
        Some(match nearest(wrong, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match kind {
                "component" => {
                    format!(
                        "define it in a template: {{% component {wrong}() %}} … {{% endcomponent {wrong} %}}"
                    )
                }
                "template" => format!("create templates/{wrong}"),
                _ => format!("known are {}", known.join(", ")),
            },
        })
    }
}

fn lower_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !text.starts_with("UTF") => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// What went wrong while a template was rendered, with the place in the template.
pub(crate) fn explain_render(
    error: &tera::Error,
    rendered: &str,
    folders: &dyn Fn(&str) -> String,
) -> Diagnostic {
    let mut diagnostic = explain(error, folders);
    let near = diagnostic.hint.map_or_else(String::new, |near| format!("{near} "));
    diagnostic.hint = Some(format!("{near}it was rendering {rendered}"));
    diagnostic
}

/// What went wrong while content was rendered that is a template: `text` is its file, in which it begins at `body`.
pub(crate) fn explain_content(
    error: &tera::Error,
    source: &str,
    text: &str,
    body: usize,
    engine: &Engine,
    folders: &dyn Fn(&str) -> String,
) -> Vec<Diagnostic> {
    let before = text[..body].matches('\n').count();
    let here =
        |message, line, column| Diagnostic::in_file(source, message).at_line(text, before + line, column);
    if let ErrorKind::Msg(message) = error.kind() {
        let found = reports(message);
        if !found.is_empty() {
            let known =
                Known { templates: engine.names(), components: engine.tera.get_component_names().collect() };
            let of = |report: Report<'_>| {
                here(lower_first(report.text), report.line, report.column)
                    .maybe_hint(known.instead_of(report.text))
            };
            return found.into_iter().map(of).collect();
        }
        // Such words say that the engine knows content by no name.
        if message.contains("render_str") {
            let tag = ["{% extends", "{% block"].iter().find_map(|tag| text[body..].find(tag));
            return vec![
                Diagnostic::in_file(source, "content neither extends a template nor has blocks")
                    .at(text, body + tag.unwrap_or(0))
                    .hint("choose a `template` in the front matter; content may include templates, and call components"),
            ];
        }
    }
    let mut diagnostic = explain(error, folders);
    match (diagnostic.path.as_deref(), diagnostic.line, diagnostic.column) {
        (Some(CONTENT), Some(line), Some(column)) => {
            let literal = matches!(error.kind(), ErrorKind::SyntaxError(_))
                || diagnostic.message.ends_with("is not defined");
            let hint = diagnostic.hint.or_else(|| literal.then(|| RAW.to_owned()));
            diagnostic = here(diagnostic.message, line as usize, column as usize).maybe_hint(hint);
        }
        (None, ..) => diagnostic.path = Some(source.to_owned()),
        _ => {}
    }
    let hint = diagnostic.hint.take().unwrap_or_else(|| format!("it was rendering {source}"));
    vec![diagnostic.hint(hint)]
}

/// What the engine says, with its place, and the nearest right name as the hint.
fn explain(error: &tera::Error, folders: &dyn Fn(&str) -> String) -> Diagnostic {
    if let ErrorKind::RenderingError(report) | ErrorKind::SyntaxError(report) = error.kind() {
        let shown = error.to_string();
        // The report holds the source line, but gives it away only as part of its text.
        let excerpt =
            shown.lines().nth(3).and_then(|line| line.split_once("| ")).map(|(_, code)| code.to_owned());
        let span = report.span();
        let mut message = lower_first(report.message());
        let mut hint = None;
        // The engine lists all fields; the nearest one is what an author wants.
        let listed = message
            .split_once(". Available fields: ")
            .or_else(|| message.split_once(". Available variables: "));
        if let Some((short, known)) = listed {
            let wrong = short.split('`').nth(1).unwrap_or_default();
            hint = nearest(wrong, known.split(", ")).map(|near| format!("did you mean `{near}`?"));
            message = short.to_owned();
        }
        if let Some(source) = std::error::Error::source(error) {
            message = format!("{message}: {source}");
        }
        return Diagnostic {
            path: Some(folders(report.filename())),
            line: u32::try_from(span.start_line).ok(),
            column: u32::try_from(span.start_col + 1).ok(),
            excerpt,
            hint,
            ..Diagnostic::new(message)
        };
    }
    let mut message = lower_first(&error.to_string());
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    Diagnostic::new(message)
}
