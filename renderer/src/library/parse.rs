//! What a content file, or a row that makes a page, says.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use globset::GlobSet;
use pulldown_cmark::{Event, Options, Parser, Tag};
use unicode_segmentation::UnicodeSegmentation;

use super::{CONTENT, Making, Matter, Parsed, relative};
use crate::config::BAKEHOUSE_NAME;
use crate::data::{self, RowPage};
use crate::diagnostic::{Diagnostic, Errors, line_and_column};
use crate::front_matter::{self, Format, Place};
use crate::schemas;
use crate::sources::Sources;
use crate::templates::Wants;
use crate::value;
use crate::view::half;

/// A parsed file and its path.
pub(super) type ParsedFile = (Arc<str>, Arc<Parsed>);

/// What is wrong with a file, and what it says where that is plain all the same: its `extra` alone may be against a schema.
pub(super) struct Unfit {
    pub(super) errors: Errors,
    pub(super) parsed: Option<Arc<Parsed>>,
}

impl From<Errors> for Unfit {
    fn from(errors: Errors) -> Self {
        Self { errors, parsed: None }
    }
}

impl From<Diagnostic> for Unfit {
    fn from(wrong: Diagnostic) -> Self {
        Errors::from(wrong).into()
    }
}

/// Whether a file of `content/` is a page or a section.
pub(super) fn kind_of(path: &str) -> schemas::Of {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with("_index.") { schemas::Of::Section } else { schemas::Of::Page }
}

pub(super) fn parse_file(making: &Making<'_>, skipped: &GlobSet, path: &str) -> Result<ParsedFile, Unfit> {
    let Some(file) = making.sources.get(path) else {
        return Err(Diagnostic::in_file(path, "the file is gone").into());
    };
    if file.bytes_len() > making.limits.page_bytes_max {
        return Err(Diagnostic::in_file(
            path,
            format!("the page has {} bytes, the limit is {}", file.bytes_len(), making.limits.page_bytes_max),
        )
        .hint("split the page, or raise page_bytes_max in bakehouse.toml")
        .into());
    }
    let unreadable = |e| Diagnostic::unreadable(path, &e);
    if let Some((shared, known)) = making.known.get_key_value(path)
        && known.digest == file.digest().map_err(unreadable)?
        && (known.words > 0 || !making.wants.words)
    {
        return Ok((shared.clone(), known.clone()));
    }
    let bytes = file.read().map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        Diagnostic::in_file(path, "the file is not valid UTF-8")
            .at(&good, good.len())
            .hint("save it as UTF-8")
    })?;
    let split = front_matter::split(path, text)?;
    let (format, matter, offset) = split.matter.unwrap_or((Format::Toml, "", 0));
    let matter_value = half(&blake3::hash(matter.as_bytes()));
    let place = Place { path, text, matter, offset };
    let values = front_matter::values(&place, format)?;
    let of = kind_of(path);
    let mut errors: Errors =
        making.schemas.check(of, &place, format, values.get(&value::key("extra"))).into_iter().collect();
    let typed = match of {
        schemas::Of::Section => {
            front_matter::section(&place, values).map(|matter| Matter::Section(Box::new(matter)))
        }
        schemas::Of::Page => front_matter::page(&place, values).map(|matter| Matter::Page(Box::new(matter))),
    };
    let matter = match typed {
        Ok(matter) => matter,
        Err(more) => {
            errors.append(more);
            return Err(errors.into());
        }
    };
    let body = &text[split.body..];
    let inside = relative(path);
    let templated = is_templated(body) && !skipped.is_match(inside) && !skipped.is_match(path);
    let (words, characters) = if making.wants.words { count_words(body) } else { (0, 0) };
    let parsed = Parsed {
        digest: file.digest().map_err(unreadable)?,
        matter_value,
        matter,
        body: u32::try_from(split.body).unwrap_or(u32::MAX),
        templated,
        wants: if templated { Wants::of(body) } else { Wants::default() },
        may_have_summary: templated || may_have_summary(body),
        words,
        characters,
        text: None,
        linked: linked(body),
    };
    let parsed = Arc::new(parsed);
    if errors.is_empty() {
        return Ok((Arc::from(path), parsed));
    }
    Err(Unfit { errors, parsed: Some(parsed) })
}

pub(super) fn parse_row(making: &Making<'_>, row: &RowPage) -> Result<ParsedFile, Errors> {
    let path = format!("{CONTENT}{}", row.path);
    if row.body.len() as u64 > making.limits.page_bytes_max {
        return Err(Diagnostic::in_file(
            path,
            format!(
                "row {} of source `{}` has {} bytes, the limit is {}",
                row.row,
                row.source,
                row.body.len(),
                making.limits.page_bytes_max
            ),
        )
        .into());
    }
    let place = Place { path: &path, text: "", matter: "", offset: 0 };
    let values = value::from_toml_table(&row.front_matter).into_map().unwrap_or_default();
    let extra = values.get(&value::key("extra"));
    let found = making.schemas.check(schemas::Of::Page, &place, Format::Toml, extra);
    let typed = front_matter::page(&place, values);
    let matter = match typed {
        Ok(matter) if found.is_empty() => matter,
        typed => {
            let mut errors = typed.err().unwrap_or_default();
            errors.extend(found);
            return Err(errors);
        }
    };
    let written = row.front_matter.to_string();
    let matter_value = half(&blake3::hash(written.as_bytes()));
    let mut hasher = blake3::Hasher::new();
    hasher.update(written.as_bytes());
    hasher.update(&[0]);
    hasher.update(row.body.as_bytes());
    let (words, characters) = if making.wants.words { count_words(&row.body) } else { (0, 0) };
    let parsed = Parsed {
        digest: hasher.finalize(),
        matter_value,
        matter: Matter::Page(Box::new(matter)),
        body: 0,
        // Data is not trusted with templates: a row that says `{{` means just that.
        templated: false,
        wants: Wants::default(),
        may_have_summary: may_have_summary(&row.body),
        words,
        characters,
        text: Some(Arc::from(row.body.as_str())),
        linked: linked(&row.body),
    };
    Ok((Arc::from(path), Arc::new(parsed)))
}

/// Says of which row something is wrong, and points at it, or at the source that has it.
pub(super) fn of_row(sources: &Sources, row: &RowPage, wrong: Diagnostic) -> Diagnostic {
    let message = format!("row {} of source `{}`: {}", row.row, row.source, wrong.message);
    let wrong = Diagnostic { message, ..wrong };
    let Some((path, line)) = place_of_row(sources, row) else { return wrong };
    let wrong = Diagnostic { path: Some(path.to_string()), ..wrong };
    match sources.text(&path) {
        Ok((_, text)) => Diagnostic { column: None, ..wrong.at_line(&text, line, 1) },
        Err(_) => wrong,
    }
}

/// Pages made of rows have no files of their own: what is wrong with one is said of its row.
pub(crate) fn at_rows<'a>(
    sources: &Sources,
    rows: &[RowPage],
    wrong: impl Iterator<Item = &'a mut Diagnostic>,
) {
    let mut known: Option<HashMap<&str, &RowPage>> = None;
    for one in wrong.filter(|one| one.line.is_none() && !rows.is_empty()) {
        let known = known.get_or_insert_with(|| rows.iter().map(|row| (row.path.as_str(), row)).collect());
        let path = one.path.as_deref().filter(|path| sources.get(path).is_none());
        let row = path.and_then(|path| known.get(path.strip_prefix(CONTENT)?));
        if let Some(row) = row.filter(|row| place_of_row(sources, row).is_some()) {
            *one = of_row(sources, row, one.clone());
        }
    }
}

/// The file and the line that a row is in, or else those that name its source.
pub(crate) fn place_of_row(sources: &Sources, row: &RowPage) -> Option<(Arc<str>, usize)> {
    row.place.clone().or_else(|| {
        let (_, text) = sources.text(BAKEHOUSE_NAME).ok()?;
        let at = data::written(&text, &row.source)?;
        Some((BAKEHOUSE_NAME.into(), line_and_column(&text, at).0))
    })
}

/// Whether a body is a template at all: most are not, and are spared the engine. What begins and never ends is text.
pub(crate) fn is_templated(body: &str) -> bool {
    let has = |open, close| {
        let open = memchr::memmem::find(body.as_bytes(), open);
        open.is_some_and(|i| memchr::memmem::find(&body.as_bytes()[i + 2..], close).is_some())
    };
    let has_comment = || comment(body).is_some_and(|(_, end)| end.is_some());
    has(b"{{", b"}}") || has(b"{%", b"%}") || (has(b"{#", b"#}") && has_comment())
}

/// Where the first comment of the template language that content has begins, and where it ends, if it does: `{#id}` after a
/// heading begins none.
pub(crate) fn comment(body: &str) -> Option<(usize, Option<usize>)> {
    let mut start = 0;
    for line in body.split_inclusive('\n') {
        let id = heading_id(line);
        if let Some((at, _)) = line.match_indices("{#").find(|(at, _)| Some(*at) != id) {
            let open = start + at;
            return Some((open, body[open + 2..].find("#}").map(|length| open + length + 4)));
        }
        start += line.len();
    }
    None
}

/// Where `{#id}` begins in a line that is a heading: no sign of a comment is in the id, or ends it.
fn heading_id(line: &str) -> Option<usize> {
    let text = line.trim_start_matches(' ');
    let level = text.len() - text.trim_start_matches('#').len();
    if line.len() - text.len() > 3 || !(1..=6).contains(&level) || !text[level..].starts_with(' ') {
        return None;
    }
    line.match_indices("{#").map(|(at, _)| at).find(|at| {
        let after = &line[at + 2..];
        let id = after.split(['{', '}', '\n']).next().unwrap_or_default();
        let is_name = !id.is_empty() && !id.starts_with(|c: char| c.is_whitespace() || c == '#');
        is_name && !id.ends_with('#') && after[id.len()..].starts_with('}')
    })
}

/// Content as the engine may read it: ids of headings are printed.
pub(crate) fn guard_heading_ids(body: &str) -> Cow<'_, str> {
    if !body.contains("{#") {
        return body.into();
    }
    let mut out = String::with_capacity(body.len() + 16);
    for line in body.split_inclusive('\n') {
        match heading_id(line) {
            Some(at) => {
                out.push_str(&line[..at]);
                out.push_str("{{ \"{#\" }}");
                out.push_str(&line[at + 2..]);
            }
            None => out.push_str(line),
        }
    }
    out.into()
}

/// Whether a comment begins like the mark that ends a summary.
pub(super) fn may_have_summary(body: &str) -> bool {
    memchr::memmem::find_iter(body.as_bytes(), b"<!--")
        .any(|i| body[i + 4..].trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("more")))
}

/// Words, and letters of all kinds, outside of what stands between three backticks.
pub(super) fn count_words(body: &str) -> (u32, u32) {
    let (mut words, mut characters) = (0, 0);
    for text in body.split("```").step_by(2) {
        words += text.unicode_words().count();
        characters += text.chars().filter(|c| c.is_alphabetic()).count();
    }
    (u32::try_from(words).unwrap_or(u32::MAX), u32::try_from(characters).unwrap_or(u32::MAX))
}

/// The targets of links to content; an empty one where a link leads to a heading beside it. Code has no links.
pub(super) fn linked(body: &str) -> Box<[Box<str>]> {
    let mut found: Vec<(usize, &str)> = memchr::memchr2_iter(b'@', b'#', body.as_bytes())
        .filter_map(|i| {
            // In its place, or where a reference is defined.
            let before = body[..i].trim_end_matches(['<', ' ']);
            if !before.ends_with("](") && !before.ends_with("]:") {
                return None;
            }
            let rest = &body[i..];
            let ends: &[char] = if body[..i].ends_with('<') { &['>', '\n'] } else { &[')', ' ', '\n', '\r'] };
            let written = &rest[..rest.find(ends).unwrap_or(rest.len())];
            match written.split_once('#').unwrap_or((written, "")) {
                ("", heading) => (!heading.is_empty()).then_some((i, "")),
                (path, _) => Some((i, path.strip_prefix("@/")?)),
            }
        })
        .collect();
    let may_have_code = || ["`", "~~~", "    ", "\t"].iter().any(|sign| body.contains(sign));
    if !found.is_empty() && may_have_code() {
        // What is indented is code, unless it is of a note or a definition.
        let notes = Options::ENABLE_FOOTNOTES | Options::ENABLE_DEFINITION_LIST;
        let code: Vec<Range<usize>> = Parser::new_ext(body, notes)
            .into_offset_iter()
            .filter(|(event, _)| matches!(event, Event::Code(_) | Event::Start(Tag::CodeBlock(_))))
            .map(|(_, range)| range)
            .collect();
        found.retain(|(at, _)| {
            let next = code.partition_point(|range| range.end <= *at);
            code.get(next).is_none_or(|range| !range.contains(at))
        });
    }
    let decoded = |path: &str| percent_encoding::percent_decode_str(path).decode_utf8_lossy().into();
    found.into_iter().map(|(_, path)| decoded(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_content_are_found_outside_of_code() {
        let body = "[a](@/a.md#x) [b]( <@/b c.md> \"t\") [d](@/%C3%A9.md)\n[e]: @/e.md\n[f](#g) [h](#) # [i](j) k@/l.md\n\
                    `[m](@/m.md)`\n\n- ```md\n  [n](@/n.md)\n  ```\n  [o](@/o.md)\n";
        assert_eq!(*linked(body), ["a.md", "b c.md", "é.md", "e.md", "", "o.md"].map(Box::from));
        let indented = "a[^1]\n\n[^1]: note\n\n    [b](@/b.md)\n\ntext\n\n    [c](@/c.md)\n";
        assert_eq!(*linked(indented), ["b.md"].map(Box::from));
    }

    #[test]
    fn template_syntax_is_seen() {
        assert!(is_templated("a {{ b }}"));
        assert!(is_templated("{% raw %}"));
        assert!(!is_templated("a { b } {#id}"));
        assert!(is_templated("a {# b #}"));
        for text in ["a {{ b", "a }} {{ b", "a {% b }}", "## A {#b}\n#", "a {# b"] {
            assert!(!is_templated(text), "{text}");
        }
    }

    #[test]
    fn heading_ids_are_no_comments() {
        for (body, comments) in [
            ("## A {#b}\n", None),
            ("  ## A {#b #c .d} e\n", None),
            ("## A {#b#}\n", Some("{#b#}")),
            ("## A {# b #}\n", Some("{# b #}")),
            ("## A {#b} {#c#}\n", Some("{#c#}")),
            ("## A {#b#} {#c}\n", Some("{#b#}")),
            ("A {#b}\n\nc #}\n", Some("{#b}\n\nc #}")),
        ] {
            let found = comment(body).and_then(|(open, end)| body.get(open..end?));
            assert_eq!(found, comments, "{body}");
        }
        assert_eq!(guard_heading_ids("## A {#b}\n{# c #}\n"), "## A {{ \"{#\" }}b}\n{# c #}\n");
        assert_eq!(guard_heading_ids("# A {#b#} {#c}"), "# A {#b#} {{ \"{#\" }}c}");
    }
}
