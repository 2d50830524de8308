//! A site for Hugo: its front matter and the layout of its content. Its templates are another language.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use toml::{Table, Value};

use super::{Imported, Note};
use crate::sources::Sources;

/// The files that may hold a site's settings, in the order in which they are looked for.
const CONFIGS: [&str; 6] =
    ["hugo.toml", "hugo.yaml", "hugo.json", "config.toml", "config.yaml", "config.json"];

/// Converts a site.
pub(super) fn convert(sources: &Sources) -> Imported {
    let mut made = Imported::default();
    let mut taxonomies: BTreeSet<String> = ["tags".to_owned(), "categories".to_owned()].into();
    let mut used = BTreeSet::new();
    let config = CONFIGS.iter().find_map(|name| Some((*name, sources.get(name)?)));
    let settings = config.and_then(|(name, file)| {
        let table = file.read().ok().and_then(|bytes| table(name, std::str::from_utf8(&bytes).ok()?));
        if table.is_none() {
            made.note(name, "the settings cannot be read");
        }
        table
    });
    let mut settings = settings.unwrap_or_default();
    if let Some(Value::Table(own)) = settings.get("taxonomies") {
        taxonomies = own.values().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for (path, file) in sources.iter() {
        let Ok(bytes) = file.read() else {
            made.note(path, "the file cannot be read");
            continue;
        };
        if let Some(inside) = path.strip_prefix("content/") {
            if !inside.ends_with(".md") {
                if inside.ends_with(".html") || inside.ends_with(".adoc") || inside.ends_with(".org") {
                    made.note(path, "only markdown is content here: the file is copied as it is");
                }
                made.files.insert(path.to_owned(), bytes);
                continue;
            }
            let Ok(text) = std::str::from_utf8(&bytes) else {
                made.note(path, "the page is not valid UTF-8");
                continue;
            };
            if let Some(cut) = inside.find('/') {
                folders.insert(inside[..cut].to_owned());
            }
            let page = page(path, text, &taxonomies, &mut used, &mut made.notes);
            made.files.insert(path.to_owned(), Bytes::from(page));
        } else if path.starts_with("static/") {
            made.files.insert(path.to_owned(), bytes);
        } else if let Some(inside) = path.strip_prefix("data/") {
            made.files.insert(format!("data/{inside}"), bytes);
            made.note(path, "data is read by a template: load_data(path=…)");
        } else if path.starts_with("layouts/") || path.starts_with("themes/") {
            made.notes.push(Note::new(path, "templates of Hugo are not converted"));
        } else if path.starts_with("assets/") || path.starts_with("i18n/") || path.starts_with("archetypes/")
        {
            made.note(path, "not converted");
        }
    }
    // A folder of pages is a section only where it says so.
    for folder in folders {
        let index = format!("content/{folder}/_index.md");
        let page = format!("content/{folder}/index.md");
        if !made.files.contains_key(&index) && !made.files.contains_key(&page) {
            let title = folder.replace(['-', '_'], " ");
            made.files
                .insert(index, Bytes::from(format!("+++\ntitle = {title:?}\nsort_by = \"date\"\n+++\n")));
        }
    }
    let config = zola_toml(&mut settings, &used);
    made.files.insert("zola.toml".to_owned(), Bytes::from(toml::to_string(&config).unwrap_or_default()));
    for name in settings.keys() {
        made.note(config_name(sources), &format!("the setting `{name}` is not converted"));
    }
    made
}

fn config_name(sources: &Sources) -> &'static str {
    CONFIGS.iter().find(|name| sources.get(name).is_some()).copied().unwrap_or("hugo.toml")
}

/// A table in any of the three formats.
fn table(name: &str, text: &str) -> Option<Table> {
    match name.rsplit('.').next() {
        Some("yaml") => serde_norway::from_str(text).ok(),
        Some("json") => serde_json::from_str(text).ok(),
        _ => toml::from_str(text).ok(),
    }
}

fn zola_toml(settings: &mut Table, used: &BTreeSet<String>) -> Table {
    let mut out = Table::new();
    let base = settings.remove("baseURL").or_else(|| settings.remove("baseurl"));
    let base = base.and_then(|value| value.as_str().map(str::to_owned)).filter(|url| url.contains("://"));
    out.insert("base_url".to_owned(), base.unwrap_or_else(|| "https://example.com".to_owned()).into());
    if let Some(title) = settings.remove("title") {
        out.insert("title".to_owned(), title);
    }
    let language = settings.remove("defaultContentLanguage").or_else(|| settings.remove("languageCode"));
    if let Some(Value::String(code)) = language {
        out.insert(
            "default_language".to_owned(),
            code.split('-').next().unwrap_or("en").to_lowercase().into(),
        );
    }
    out.insert("generate_feeds".to_owned(), true.into());
    settings.remove("taxonomies");
    let list = used.iter().map(|name| {
        let mut taxonomy = Table::new();
        taxonomy.insert("name".to_owned(), name.as_str().into());
        Value::Table(taxonomy)
    });
    let list: Vec<Value> = list.collect();
    if !list.is_empty() {
        out.insert("taxonomies".to_owned(), Value::Array(list));
    }
    if let Some(Value::Table(params)) = settings.remove("params") {
        if let Some(description) = params.get("description").filter(|value| value.is_str()) {
            out.insert("description".to_owned(), description.clone());
        }
        out.insert("extra".to_owned(), Value::Table(params));
    }
    out
}

/// A page: its front matter in TOML under the names of here, its text with what can be told of its shortcodes.
fn page(
    path: &str,
    text: &str,
    taxonomies: &BTreeSet<String>,
    used: &mut BTreeSet<String>,
    notes: &mut Vec<Note>,
) -> String {
    let (matter, body) = split(text);
    let Some(mut matter) = matter else {
        notes.push(Note::new(path, "the front matter cannot be read: the page is kept as it is"));
        return text.to_owned();
    };
    let section = path.ends_with("/_index.md") || path.contains("/_index.");
    let mut out = Table::new();
    let mut terms = Table::new();
    let mut extra = Table::new();
    for (name, value) in std::mem::take(&mut matter) {
        let lower = name.to_lowercase();
        if taxonomies.contains(&lower) {
            let list = match value {
                Value::String(term) => vec![Value::String(term)],
                Value::Array(list) => list,
                _ => continue,
            };
            if !list.is_empty() && !section {
                used.insert(lower.clone());
                terms.insert(lower, Value::Array(list));
            }
            continue;
        }
        match (lower.as_str(), section) {
            ("title" | "description" | "weight" | "draft" | "aliases", _) => {
                out.insert(lower, value);
            }
            ("slug" | "authors", false) => {
                out.insert(lower, value);
            }
            ("date" | "expirydate" | "lastmod", false) => {
                let key = match lower.as_str() {
                    "date" => "date",
                    "lastmod" => "updated",
                    _ => "expiry_date",
                };
                let text = value.as_datetime().map(ToString::to_string).or(value.as_str().map(str::to_owned));
                match text.and_then(|text| day_or_moment(&text)) {
                    Some(date) => {
                        out.insert(key.to_owned(), Value::Datetime(date));
                    }
                    None => notes.push(Note::new(path, &format!("`{name}` is no date that can be read"))),
                }
            }
            ("author", false) => {
                out.insert("authors".to_owned(), Value::Array(vec![value]));
            }
            ("url", false) => {
                if let Some(url) = value.as_str() {
                    out.insert("path".to_owned(), url.trim_start_matches('/').into());
                }
            }
            ("params", _) => {
                if let Value::Table(params) = value {
                    extra.extend(params);
                }
            }
            (
                "layout" | "type" | "outputs" | "cascade" | "menu" | "menus" | "headless" | "build"
                | "_build",
                _,
            ) => {
                notes.push(Note::new(path, &format!("`{name}` is not converted")));
            }
            _ => {
                extra.insert(name, value);
            }
        }
    }
    if !terms.is_empty() {
        out.insert("taxonomies".to_owned(), Value::Table(terms));
    }
    if !extra.is_empty() {
        out.insert("extra".to_owned(), Value::Table(extra));
    }
    let body = shortcodes(path, body, notes);
    format!("+++\n{}+++\n{body}", toml::to_string(&out).unwrap_or_default())
}

/// `2026-01-02` or a moment, as TOML has them; Hugo allows a space before the offset, and offsets without a colon.
fn day_or_moment(text: &str) -> Option<toml::value::Datetime> {
    let mut plain = text.trim().replacen(" +", "+", 1).replacen(" -", "-", 1);
    let tail = plain.as_bytes().last_chunk::<5>();
    if plain.len() > 10
        && tail.is_some_and(|[sign, digits @ ..]| {
            matches!(sign, b'+' | b'-') && digits.iter().all(u8::is_ascii_digit)
        })
    {
        plain.insert(plain.len() - 2, ':');
    }
    plain.parse().or_else(|_| plain.get(..10).unwrap_or("").parse()).ok()
}

fn split(text: &str) -> (Option<Table>, &str) {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    for (fence, name) in [("+++", "x.toml"), ("---", "x.yaml")] {
        if let Some(rest) =
            text.strip_prefix(fence).and_then(|rest| rest.trim_start_matches([' ', '\r']).strip_prefix('\n'))
        {
            let mut at = 0;
            for line in rest.split_inclusive('\n') {
                if line.trim_end() == fence {
                    return (table(name, &rest[..at]), &rest[at + line.len()..]);
                }
                at += line.len();
            }
            return (None, text);
        }
    }
    if text.starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Table>();
        if let Some(Ok(matter)) = values.next() {
            let end = values.byte_offset();
            return (Some(matter), text[end..].trim_start_matches(['\r', '\n']));
        }
        return (None, text);
    }
    (Some(Table::new()), text)
}

/// Shortcodes of Hugo become text: `ref` and `relref` links, all others are kept for a person to look at.
fn shortcodes(path: &str, body: &str, notes: &mut Vec<Note>) -> String {
    let mut out = String::with_capacity(body.len());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut rest = body;
    while let Some(at) = rest.find("{{") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("}}") else { break };
        let whole = &tag[..end + 2];
        rest = &tag[end + 2..];
        let inside = whole[2..end].trim_matches(['<', '>', '%']).trim();
        let name = inside.trim_start_matches('/').split_whitespace().next().unwrap_or("");
        if matches!(name, "ref" | "relref")
            && let Some(target) = inside.split(['"', '`']).nth(1)
        {
            let target = target.trim_start_matches('/');
            let file = if target.contains(".md") || target.contains('#') {
                target.to_owned()
            } else {
                format!("{target}.md")
            };
            out.push_str(&format!("@/{file}"));
            continue;
        }
        if !name.is_empty() && !inside.starts_with('/') {
            *seen.entry(name.to_owned()).or_default() += 1;
        }
        out.push_str("{% raw %}");
        out.push_str(whole);
        out.push_str("{% endraw %}");
    }
    out.push_str(rest);
    for (name, times) in seen {
        let times = if times == 1 { String::new() } else { format!(", {times} times") };
        notes.push(Note::new(
            path,
            &format!("the shortcode `{name}` is not converted{times}: it is shown as it is written"),
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_people_write_them() {
        for (written, read) in [
            ("2026-01-02", "2026-01-02"),
            ("2026-01-02T10:00:00+01:00", "2026-01-02T10:00:00+01:00"),
            ("2026-01-02 10:00:00 +0100", "2026-01-02T10:00:00+01:00"),
            ("2026-01-02T10:00:00-0530", "2026-01-02T10:00:00-05:30"),
            ("2026-01-02 about noon", "2026-01-02"),
        ] {
            assert_eq!(
                day_or_moment(written).map(|date| date.to_string()).as_deref(),
                Some(read),
                "{written}"
            );
        }
        assert!(day_or_moment("yesterday").is_none());
    }

    #[test]
    fn front_matter_of_three_kinds() {
        for text in ["+++\na = 1\n+++\nB", "---\na: 1\n---\nB", "{\"a\": 1}\nB"] {
            let (matter, body) = split(text);
            assert_eq!(matter.unwrap().get("a"), Some(&Value::Integer(1)), "{text}");
            assert_eq!(body, "B");
        }
        assert_eq!(split("No front matter").1, "No front matter");
        assert!(split("---\na: [\n---\n").0.is_none());
    }
}
