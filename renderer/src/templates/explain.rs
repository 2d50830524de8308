//! What is wrong with templates, in our words, with file, line and the nearest right name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use tera::{ErrorKind, Tera};

use super::Sheaf;
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::{filters, functions};

static PLACE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^error: (.*)\n\s*--> (.+):(\d+):(\d+)$").ok());

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
                        .at(text, report.span().range.start),
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
            errors.push(diagnostic.maybe_hint(near.map(|near| format!("did you mean `{near}`?"))));
        }
        _ => {
            let message = error.to_string();
            let found = PLACE.as_ref().map_or_else(Vec::new, |re| {
                re.captures_iter(&message)
                    .map(|c| {
                        (
                            c[1].to_owned(),
                            c[2].to_owned(),
                            c[3].parse().unwrap_or(1),
                            c[4].parse().unwrap_or(1),
                        )
                    })
                    .collect::<Vec<(String, String, usize, usize)>>()
            });
            for (text, name, line, column) in &found {
                let source = texts.get(name).map_or("", String::as_str);
                let mut diagnostic = Diagnostic::in_file(file_of(name, sheaves), lower_first(text))
                    .at_line(source, *line, *column);
                if let Some(wrong) = text.split('`').nth(1) {
                    let kind = text.split_whitespace().nth(1).unwrap_or_default();
                    let gone = filters::GONE.iter().find(|(gone, _)| kind == "filter" && *gone == wrong);
                    if let Some((_, instead)) = gone {
                        errors.push(diagnostic.hint(format!("since Tera 2 it is {instead}")));
                        continue;
                    }
                    let near = match kind {
                        "filter" => nearest(wrong, filters::NAMES.iter().copied()),
                        "test" => nearest(wrong, filters::TESTS.iter().copied()),
                        "function" => nearest(wrong, functions::NAMES.iter().copied()),
                        _ => nearest(wrong, texts.keys().map(String::as_str)),
                    };
                    diagnostic = diagnostic.maybe_hint(near.map(|near| format!("did you mean `{near}`?")));
                }
                errors.push(diagnostic);
            }
            if found.is_empty() {
                errors.push(Diagnostic::new(lower_first(&message)));
            }
        }
    }
    errors.sorted()
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
    if let ErrorKind::RenderingError(report) | ErrorKind::SyntaxError(report) = error.kind() {
        let shown = error.to_string();
        // The report holds the source line, but gives it away only as part of its text.
        let excerpt =
            shown.lines().nth(3).and_then(|line| line.split_once("| ")).map(|(_, code)| code.to_owned());
        let span = report.span();
        let mut message = lower_first(report.message());
        let mut hint = format!("it was rendering {rendered}");
        // The engine lists all fields; the nearest one is what an author wants.
        let listed = message
            .split_once(". Available fields: ")
            .or_else(|| message.split_once(". Available variables: "));
        if let Some((short, known)) = listed {
            let wrong = short.split('`').nth(1).unwrap_or_default();
            if let Some(near) = nearest(wrong, known.split(", ")) {
                hint = format!("did you mean `{near}`? {hint}");
            }
            message = short.to_owned();
        }
        if let Some(source) = std::error::Error::source(error) {
            message = format!("{message}: {source}");
        }
        return Diagnostic {
            path: Some(folders(report.filename())),
            line: u32::try_from(span.start_line).ok(),
            column: u32::try_from(span.start_col + 1).ok(),
            message,
            excerpt,
            hint: Some(hint),
            others: 0,
        };
    }
    let mut message = lower_first(&error.to_string());
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    Diagnostic::new(message).hint(format!("it was rendering {rendered}"))
}
