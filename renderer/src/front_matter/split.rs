//! Where the head of a file is, and what it says as values; places in it, for messages.

use tera::Map;

use crate::diagnostic::{Diagnostic, Errors};
use crate::limits::FRONT_MATTER_BYTES_MAX;
use crate::sources::Sources;
use crate::{toml_words, value};

/// What was found at the head of a file.
#[derive(Debug)]
pub(crate) struct Split<'a> {
    /// The text between the fences, and where it begins in the file; none where there is no front matter.
    pub(crate) matter: Option<(Format, &'a str, usize)>,
    /// Where the body begins.
    pub(crate) body: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Yaml,
}

/// Finds the front matter.
///
/// # Errors
/// A fence that is not closed.
pub(crate) fn split<'a>(path: &str, text: &'a str) -> Result<Split<'a>, Diagnostic> {
    let bom = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let start = bom + (text[bom..].len() - text[bom..].trim_start().len());
    let rest = &text[start..];
    let (format, fence) = if rest.starts_with("+++") {
        (Format::Toml, "+++")
    } else if rest.starts_with("---") {
        (Format::Yaml, "---")
    } else {
        return Ok(Split { matter: None, body: bom });
    };
    let first_line_end = rest.find('\n').map_or(rest.len(), |i| i + 1);
    if !rest[..first_line_end].trim_end()[3..].is_empty() {
        return Ok(Split { matter: None, body: bom });
    }
    let mut offset = first_line_end;
    for line in rest[first_line_end..].split_inclusive('\n') {
        if line.trim() == fence {
            let matter = &rest[first_line_end..offset];
            if matter.len() > FRONT_MATTER_BYTES_MAX {
                return Err(Diagnostic::in_file(
                    path,
                    format!(
                        "the front matter has {} bytes, the limit is {FRONT_MATTER_BYTES_MAX}",
                        matter.len()
                    ),
                )
                .hint("move data into a file, which `load_data` reads"));
            }
            return Ok(Split {
                matter: Some((format, matter, start + first_line_end)),
                body: start + offset + line.len(),
            });
        }
        offset += line.len();
    }
    Err(Diagnostic::in_file(path, format!("the front matter is not closed by a line `{fence}`"))
        .at(text, start)
        .hint(format!("add a line `{fence}` after the last key")))
}

/// Where words of a content's text are written: in that, or else in its front matter, which its templates may show.
pub(crate) fn written(text: &str, words: &str) -> Option<usize> {
    let body = split("", text).map_or(0, |split| split.body);
    text[body..].find(words).map(|at| body + at).or_else(|| text.find(words))
}

/// Where a front matter is, for messages.
pub(crate) struct Place<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) matter: &'a str,
    pub(crate) offset: usize,
}

impl Place<'_> {
    /// Where a key is written, in bytes of the file.
    fn key(&self, name: &str) -> Option<usize> {
        let lines = || {
            self.matter.split_inclusive('\n').scan(self.offset, |offset, line| {
                *offset += line.len();
                let trimmed = line.trim_start_matches([' ', '\t', '[', '"', '\'']);
                Some((*offset - trimmed.len(), trimmed))
            })
        };
        let ends_key =
            |rest: &str| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', ':', ']', '.']);
        let first = lines().find(|(_, line)| line.strip_prefix(name).is_some_and(ends_key)).map(|(at, _)| at);
        // Behind a dot: `extra.name = 1`.
        first.or_else(|| {
            lines().find_map(|(at, line)| {
                let dotted = line[..line.find(['=', ':', ']'])?].match_indices('.');
                dotted.map(|(dot, _)| dot + 1).find_map(|i| {
                    let bare = line[i..].trim_start_matches([' ', '"', '\'']);
                    bare.strip_prefix(name).is_some_and(ends_key).then_some(at + line.len() - bare.len())
                })
            })
        })
    }

    pub(super) fn at_key(&self, name: &str, message: String) -> Diagnostic {
        let diagnostic = Diagnostic::in_file(self.path, message);
        match self.key(name) {
            Some(at) => diagnostic.at(self.text, at),
            None if self.matter.is_empty() => diagnostic,
            None => diagnostic.at(self.text, self.offset),
        }
    }
}

/// Points at what a diagnostic is about in the front matter of its file: the value, or else the first of these keys that is
/// there.
pub(crate) fn point(sources: &Sources, diagnostic: Diagnostic, value: &str, keys: &[&str]) -> Diagnostic {
    let path = diagnostic.path.clone().unwrap_or_default();
    let Some(bytes) = sources.get(&path).and_then(|file| file.read().ok()) else { return diagnostic };
    let Ok(text) = std::str::from_utf8(&bytes) else { return diagnostic };
    let Ok(Split { matter: Some((_, matter, offset)), .. }) = split(&path, text) else { return diagnostic };
    let place = Place { path: &path, text, matter, offset };
    let value = if value.is_empty() { None } else { matter.find(value) };
    match value.map(|at| offset + at).or_else(|| keys.iter().find_map(|key| place.key(key))) {
        Some(at) => diagnostic.at(text, at),
        None => diagnostic,
    }
}

/// The values of a front matter.
///
/// # Errors
/// What its format refuses, with its place in the file.
pub(crate) fn values(place: &Place<'_>, format: Format) -> Result<Map, Errors> {
    match format {
        Format::Toml => match toml::from_str::<toml::Table>(place.matter) {
            Ok(table) => Ok(value::from_toml_table(&table).into_map().unwrap_or_default()),
            Err(_) => {
                let told = |(at, message): (usize, String)| {
                    let message = format!("broken front matter: {}", one_line(&message));
                    let broken = Diagnostic::in_file(place.path, &*message);
                    let hint = if message.contains("duplicate key") {
                        "remove one of the two"
                    } else {
                        toml_hint(&place.matter[at..])
                    };
                    broken.at(place.text, place.offset + at).hint(hint)
                };
                let mut errors: Vec<_> = toml_words::mistakes(place.matter).into_iter().map(told).collect();
                // What is no TOML seldom becomes any within its line.
                errors.dedup_by_key(|broken| broken.line);
                Err(errors.into_iter().collect())
            }
        },
        Format::Yaml => {
            let broken = |message: String, location: Option<(usize, usize)>| {
                let diagnostic = Diagnostic::in_file(place.path, format!("broken front matter: {message}"));
                let before = place.text[..place.offset].lines().count();
                let hint = yaml_hint(&diagnostic.message, place.matter);
                match location {
                    Some((line, column)) => diagnostic.at_line(place.text, before + line, column),
                    None => diagnostic.at(place.text, place.offset),
                }
                .hint(hint)
            };
            let parsed: serde_norway::Value = serde_norway::from_str(place.matter).map_err(|e| {
                let text = e.to_string();
                let location = e.location().map(|l| (l.line(), l.column()));
                let location = second_key(&text, place.matter).map(|line| (line, 1)).or(location);
                broken(text.split(" at line ").next().unwrap_or(&text).to_owned(), location)
            })?;
            if parsed.is_null() {
                return Ok(Map::new());
            }
            let converted = value::from_yaml(&parsed).map_err(|message| broken(message, None))?;
            Ok(converted.into_map().ok_or_else(|| broken("it is no list of keys".to_owned(), None))?)
        }
    }
}

/// The line that has a key again, where the parser says so of the list of keys.
fn second_key(message: &str, matter: &str) -> Option<usize> {
    let key = message.split_once("duplicate entry with key \"")?.1.split('"').next()?;
    let is_of = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'));
    matter.lines().enumerate().filter(|(_, line)| is_of(line)).nth(1).map(|(n, _)| n + 1)
}

/// What to do about TOML that goes wrong where `rest` begins.
fn toml_hint(rest: &str) -> &'static str {
    if rest.starts_with(':') {
        return "write `=`; `key: value` is YAML, and stands between `---` lines";
    }
    if rest.starts_with(['“', '”', '‘', '’']) {
        return "write straight quotes: key = \"value\"";
    }
    "the front matter between `+++` lines is TOML: key = \"value\""
}

/// What to do about YAML of which the parser says this.
fn yaml_hint(message: &str, matter: &str) -> &'static str {
    if message.contains("mapping values are not allowed") {
        return "a text with `: ` in it is written in quotes: key: \"one: two\"";
    }
    if message.contains("duplicate entry") {
        return "remove one of the two";
    }
    let is_tab =
        message.contains("cannot start any token") && matter.lines().any(|line| line.starts_with('\t'));
    if is_tab || message.contains("tab character") {
        return "indent with spaces";
    }
    if matter.lines().any(|line| line.contains(" = ")) {
        return "`key = value` is TOML, and stands between `+++` lines; YAML is key: value";
    }
    "the front matter between `---` lines is YAML: key: value"
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
