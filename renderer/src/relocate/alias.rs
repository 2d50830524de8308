//! The aliases in a front matter, changed in place: all else keeps its spelling, its order and its comments.

use std::ops::Range;

use tera::{Map, Value};

use crate::diagnostic::{Diagnostic, Errors};
use crate::front_matter::{self, Format, Place};
use crate::value::key;

/// What to put where in a text.
pub(super) type Edit = (Range<usize>, String);

/// The edit after which a file's aliases are what they are without `gone` and with `new`; none where they are that already.
///
/// # Errors
/// A front matter that cannot be read, and one that is written so that no line can be added to it.
pub(super) fn edit(path: &str, text: &str, new: &str, gone: &str) -> Result<Option<Edit>, Errors> {
    let split = front_matter::split(path, text)?;
    let Some((format, matter, offset)) = split.matter else {
        let start = if text.starts_with('\u{feff}') { 3 } else { 0 };
        return Ok(Some((start..start, format!("+++\naliases = [{}]\n+++\n", quoted(new)))));
    };
    let values = front_matter::values(&Place { path, text, matter, offset }, format)?;
    let before = aliases(&values);
    let mut after: Vec<String> = before.iter().filter(|alias| plain(alias) != plain(gone)).cloned().collect();
    let kept = after.len() == before.len();
    if !after.iter().any(|alias| plain(alias) == plain(new)) {
        after.push(new.to_owned());
    }
    if after == before {
        return Ok(None);
    }
    let end = if matter.contains("\r\n") { "\r\n" } else { "\n" };
    let list = after.iter().map(|alias| quoted(alias)).collect::<Vec<_>>().join(", ");
    let mut tries: Vec<Edit> = Vec::new();
    match (format, value_of(matter, format)) {
        (_, Some(value)) if matter[value.clone()].starts_with('[') => {
            if kept {
                tries.push(append(matter, value.clone(), new));
            }
            tries.push((value, format!("[{list}]")));
        }
        (Format::Yaml, Some(value)) => {
            if kept {
                tries.extend(append_line(matter, value.clone(), new, end));
            }
            tries.push((value, format!(" [{list}]{end}")));
        }
        (Format::Toml, _) => {
            let at = first_table(matter);
            let line =
                if at == matter.len() && !matter.is_empty() && !matter.ends_with('\n') { end } else { "" };
            tries.push((at..at, format!("{line}aliases = [{list}]{end}")));
        }
        (Format::Yaml, None) => {
            tries.push((matter.len()..matter.len(), format!("aliases: [{list}]{end}")));
        }
    }
    // The change is right if it reads so: this is what keeps an edit of text as safe as one of values.
    let others = without_aliases(values);
    for (range, put) in tries {
        let mut changed = matter.to_owned();
        changed.replace_range(range.clone(), &put);
        let place = Place { path, text: &changed, matter: &changed, offset: 0 };
        if let Ok(values) = front_matter::values(&place, format)
            && aliases(&values) == after
            && without_aliases(values) == others
        {
            return Ok(Some((range.start + offset..range.end + offset, put)));
        }
    }
    Err(Diagnostic::in_file(path, "the alias cannot be added to this front matter")
        .at(text, offset)
        .hint(format!("write aliases = [{list}] yourself, then move the page again"))
        .into())
}

/// Aliases are paths; slashes around them mean nothing.
fn plain(alias: &str) -> &str {
    alias.trim().trim_matches('/')
}

fn aliases(values: &Map) -> Vec<String> {
    let list = values.get(&key("aliases")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|alias| Some(alias.as_str()?.to_owned())).collect()
}

fn without_aliases(mut values: Map) -> Map {
    values.shift_remove(&key("aliases"));
    values
}

/// A text that means the same in TOML and in YAML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Where TOML's first table begins, and so its top-level keys end; comments right above it belong to it.
fn first_table(matter: &str) -> usize {
    let (mut at, mut keys_end, mut depth, mut long) = (0, 0, 0_i32, None);
    for line in matter.split_inclusive('\n') {
        let bare = line.trim();
        let inside = depth > 0 || long.is_some();
        if !inside && bare.starts_with('[') {
            return keys_end;
        }
        (depth, long) = nesting(line, depth, long);
        at += line.len();
        if inside || !(bare.is_empty() || bare.starts_with('#')) {
            keys_end = at;
        }
    }
    if keys_end == 0 { at } else { keys_end }
}

/// How deep in brackets, and in which long text, the end of a line is.
fn nesting(line: &str, mut depth: i32, mut long: Option<&'static str>) -> (i32, Option<&'static str>) {
    let mut rest = line;
    while !rest.is_empty() {
        if let Some(quotes) = long {
            match rest.find(quotes) {
                Some(end) => (rest, long) = (&rest[end + 3..], None),
                None => return (depth, long),
            }
            continue;
        }
        if let Some(quotes) = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(*quotes)) {
            (rest, long) = (&rest[3..], Some(quotes));
            continue;
        }
        let Some(c) = rest.chars().next() else { break };
        match c {
            '#' => return (depth, None),
            '"' | '\'' => {
                rest = &rest[1..];
                rest = text_end(rest, c).map_or("", |end| &rest[end..]);
                continue;
            }
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        rest = &rest[c.len_utf8()..];
    }
    (depth, None)
}

/// Where a list in brackets ends, behind the closing one.
fn closing(list: &str) -> Option<usize> {
    let (mut rest, mut depth) = (list, 0_usize);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '#' => rest.find('\n')?,
            '"' | '\'' => 1 + text_end(&rest[1..], c)?,
            c => c.len_utf8(),
        };
        rest = &rest[length..];
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(list.len() - rest.len());
        }
    }
    None
}

/// Where a text that was opened by a quote ends, behind the closing one.
fn text_end(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Where the value of the top-level key `aliases` is.
fn value_of(matter: &str, format: Format) -> Option<Range<usize>> {
    let (mut at, mut depth, mut long) = (0, 0, None);
    let top = if format == Format::Toml { first_table(matter) } else { matter.len() };
    for line in matter[..top].split_inclusive('\n') {
        // A line of a text or a list is no key; of YAML only what is not indented is one.
        let inside = format == Format::Toml && (depth > 0 || long.is_some());
        (depth, long) = nesting(line, depth, long);
        if inside {
            at += line.len();
            continue;
        }
        let sign = if format == Format::Toml { '=' } else { ':' };
        let bare = if format == Format::Toml { line.trim_start() } else { line };
        let rest = ["aliases", "\"aliases\"", "'aliases'"].iter().find_map(|name| bare.strip_prefix(name));
        if let Some(rest) = rest.and_then(|rest| rest.trim_start_matches([' ', '\t']).strip_prefix(sign)) {
            let start = at + line.len() - rest.trim_start_matches([' ', '\t']).len();
            let value = &matter[start..];
            if value.starts_with('[') {
                return Some(start..start + closing(value)?);
            }
            // A YAML list, an item a line.
            let items = value.split_inclusive('\n').enumerate().take_while(|(n, line)| {
                let bare = line.trim_start();
                *n == 0 || bare.is_empty() || bare.starts_with(['-', '#']) || line.starts_with([' ', '\t'])
            });
            return Some(start..start + items.map(|(_, line)| line.len()).sum::<usize>());
        }
        at += line.len();
    }
    None
}

/// One more item at the end of a list in brackets.
fn append(matter: &str, value: Range<usize>, new: &str) -> Edit {
    let inner = &matter[value.start + 1..value.end - 1];
    let used = inner.trim_end();
    let at = value.start + 1 + used.len();
    if used.trim_start().is_empty() {
        return (value.start + 1..value.start + 1, quoted(new));
    }
    // An item a line keeps it so, with the space that the first one has.
    let indent = inner.strip_prefix("\r\n").or(inner.strip_prefix('\n'));
    match indent {
        Some(first) => {
            let end = if inner.starts_with('\r') { "\r\n" } else { "\n" };
            let space = &first[..first.len() - first.trim_start().len()];
            let (comma, tail) = if used.ends_with(',') { ("", ",") } else { (",", "") };
            (at..at, format!("{comma}{end}{space}{}{tail}", quoted(new)))
        }
        None if used.ends_with(',') => (at..at, format!(" {}", quoted(new))),
        None => (at..at, format!(", {}", quoted(new))),
    }
}

/// One more item at the end of a YAML list with an item a line.
fn append_line(matter: &str, value: Range<usize>, new: &str, end: &str) -> Option<Edit> {
    let list = &matter[value.clone()];
    let last = list.lines().rfind(|line| line.trim_start().starts_with('-'))?;
    let space = &last[..last.len() - last.trim_start().len()];
    let at = value.start + list.rfind(last)? + last.len();
    Some((at..at, format!("{end}{space}- {}", quoted(new))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, new: &str, gone: &str) -> String {
        let mut out = text.to_owned();
        if let Some((range, put)) = edit("content/x.md", text, new, gone).unwrap() {
            out.replace_range(range, &put);
        }
        out
    }

    #[test]
    fn only_the_aliases_change() {
        for (before, after) in [
            ("text", "+++\naliases = [\"old\"]\n+++\ntext"),
            ("+++\n+++\n", "+++\naliases = [\"old\"]\n+++\n"),
            (
                "+++\ntitle = \"T\" # mine\n\n# about tags\n[taxonomies]\ntags = [\"a\"]\n+++\n",
                "+++\ntitle = \"T\" # mine\naliases = [\"old\"]\n\n# about tags\n[taxonomies]\ntags = [\"a\"]\n+++\n",
            ),
            (
                "+++\naliases = []\ntitle='T'\n[extra]\naliases = [1]\n+++\n",
                "+++\naliases = [\"old\"]\ntitle='T'\n[extra]\naliases = [1]\n+++\n",
            ),
            ("+++\naliases=['a'] # c ]\n+++\n", "+++\naliases=['a', \"old\"] # c ]\n+++\n"),
            (
                "+++\naliases = [\n  \"a]\", # [\n  \"b\",\n]\n+++\n",
                "+++\naliases = [\n  \"a]\", # [\n  \"b\",\n  \"old\",\n]\n+++\n",
            ),
            (
                "+++\ndescription = \"\"\"\n[not]\naliases = []\n\"\"\"\n[extra]\n+++\n",
                "+++\ndescription = \"\"\"\n[not]\naliases = []\n\"\"\"\naliases = [\"old\"]\n[extra]\n+++\n",
            ),
            ("+++\r\ntitle = \"T\"\r\n+++\r\n", "+++\r\ntitle = \"T\"\r\naliases = [\"old\"]\r\n+++\r\n"),
            ("---\ntitle: T\n---\n", "---\ntitle: T\naliases: [\"old\"]\n---\n"),
            ("---\naliases: [a]\ntitle: T\n---\n", "---\naliases: [a, \"old\"]\ntitle: T\n---\n"),
            (
                "---\naliases:\n  - a\n  - b # c\ntitle: T\n---\n",
                "---\naliases:\n  - a\n  - b # c\n  - \"old\"\ntitle: T\n---\n",
            ),
            ("---\naliases:\n- a\ntitle: T\n---\n", "---\naliases:\n- a\n- \"old\"\ntitle: T\n---\n"),
            ("+++\naliases = [\"/old/\"]\n+++\n", "+++\naliases = [\"/old/\"]\n+++\n"),
        ] {
            assert_eq!(edited(before, "old", "new"), after);
        }
    }

    #[test]
    fn an_alias_that_is_the_new_place_goes() {
        assert_eq!(
            edited("+++\naliases = [\"/new/\", \"a\"]\n+++\n", "old", "new"),
            "+++\naliases = [\"a\", \"old\"]\n+++\n"
        );
        assert_eq!(
            edited("---\naliases:\n  - new\ntitle: T\n---\n", "old", "new"),
            "---\naliases: [\"old\"]\ntitle: T\n---\n"
        );
    }

    #[test]
    fn what_cannot_be_edited_is_said() {
        let error = edit("content/x.md", "---\n{title: T}\n---\n", "old", "new").unwrap_err();
        assert!(error.to_string().contains("hint: write aliases"), "{error}");
    }
}
