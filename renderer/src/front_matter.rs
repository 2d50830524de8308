//! The head of a content file: TOML between `+++` lines or YAML between `---` lines.
//!
//! Owns splitting and typing; both formats become one set of values first, so that a key means the same in either.
//! Unknown keys are errors in sections and ignored in pages, as in Zola.

use std::sync::{Arc, LazyLock};

use jiff::tz::TimeZone;
use regex::Regex;
use serde::{Deserialize, Serialize};
use tera::{Map, Value};

use crate::config::AnchorLinks;
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::limits::FRONT_MATTER_BYTES_MAX;
use crate::sources::Sources;
use crate::toml_words;
use crate::value;

/// A date as it was written, and the instant it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Date {
    /// As templates show it.
    pub(crate) text: Box<str>,
    /// Seconds since 1970; what has no offset is UTC.
    pub(crate) seconds: i64,
    /// The calendar day that was written.
    pub(crate) year: i16,
    pub(crate) month: i8,
    pub(crate) day: i8,
}

impl Date {
    /// Reads `YYYY-MM-DD`, RFC 3339 with or without offset, and the other ways in which YAML writes a timestamp.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let written = if text.len() > 10 { timestamp(text) } else { None };
        let text = written.as_deref().unwrap_or(text);
        let head = text.get(..10)?;
        let day: jiff::civil::Date = head.parse().ok()?;
        let seconds = if text.len() == 10 {
            day.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp().as_second()
        } else if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            instant.as_second()
        } else {
            let written: jiff::civil::DateTime = text.parse().ok()?;
            written.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp().as_second()
        };
        Some(Self { text: text.into(), seconds, year: day.year(), month: day.month(), day: day.day() })
    }

    /// Its time, as RFC 3339 writes it: that of a day is where it begins.
    pub(crate) fn time(&self) -> String {
        if self.text.len() > 10 { self.instant() } else { format!("{}T00:00:00Z", self.text) }
    }

    /// The date for machines: a day as it is, a time as RFC 3339 writes it. Without an offset it is UTC.
    pub(crate) fn instant(&self) -> String {
        let text = &*self.text;
        let Some((_, time)) = text.split_once(['T', 't']) else { return text.to_owned() };
        match time.find(['Z', 'z', '+', '-']) {
            None => format!("{text}Z"),
            Some(at) if matches!(&time[at..], "z" | "+00:00" | "-00:00") => {
                format!("{}Z", &text[..text.len() - time[at..].len()])
            }
            Some(_) => text.to_owned(),
        }
    }
}

/// A timestamp of YAML as RFC 3339 writes it; none where it is written so, or where it is none.
fn timestamp(text: &str) -> Option<String> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let form = r"^(\d{4})-(\d\d?)-(\d\d?)(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(\.\d+)?[ \t]*(?:(Z)|([-+])(\d\d?)(?::?(\d\d))?)?$";
        Regex::new(form).ok()
    });
    let found = FORM.as_ref()?.captures(text)?;
    let part = |i: usize| found.get(i).map_or("", |part| part.as_str());
    let offset = match part(9) {
        "" => part(8).to_owned(),
        sign => format!("{sign}{:0>2}:{:0>2}", part(10), part(11)),
    };
    let [month, day, hour] = [2, 3, 4].map(part);
    let (year, minute, second, fraction) = (part(1), part(5), part(6), part(7));
    let written = format!("{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute}:{second}{fraction}{offset}");
    (written != text).then_some(written)
}

/// The front matter of a page.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PageMatter {
    pub(crate) title: Option<Box<str>>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) updated: Option<Date>,
    pub(crate) date: Option<Date>,
    pub(crate) expiry_date: Option<Date>,
    pub(crate) draft: bool,
    pub(crate) render: bool,
    pub(crate) slug: Option<Box<str>>,
    pub(crate) path: Option<Box<str>>,
    /// In the order written.
    pub(crate) taxonomies: Vec<(Box<str>, Vec<Box<str>>)>,
    pub(crate) weight: Option<i64>,
    pub(crate) authors: Vec<Box<str>>,
    pub(crate) aliases: Vec<Box<str>>,
    pub(crate) template: Option<Box<str>>,
    pub(crate) in_search_index: bool,
    pub(crate) include_in_feeds: bool,
    /// Not said: as the section that holds it.
    pub(crate) hidden: Option<bool>,
    pub(crate) cache_groups: Vec<Box<str>>,
    /// `None` stands for an empty map: most pages have no extra, and there are many pages.
    #[serde(with = "crate::memo::values")]
    pub(crate) extra: Option<Value>,
    /// Keys that mean nothing.
    pub(crate) unknown: Vec<Box<str>>,
}

impl PageMatter {
    /// Whether the page stands where it would stand with this one: its address, which lists have it and where, which
    /// outputs there are beside it. What it says of itself may differ.
    pub(crate) fn stands_as(&self, other: &Self) -> bool {
        let Self {
            title: _,
            description: _,
            updated,
            date,
            expiry_date,
            draft,
            render,
            slug,
            path,
            taxonomies,
            weight,
            authors: _,
            aliases,
            template,
            in_search_index,
            include_in_feeds,
            hidden,
            cache_groups: _,
            extra: _,
            unknown: _,
        } = self;
        (updated, date, expiry_date) == (&other.updated, &other.date, &other.expiry_date)
            && (slug, path, taxonomies) == (&other.slug, &other.path, &other.taxonomies)
            && (weight, aliases, template) == (&other.weight, &other.aliases, &other.template)
            && (draft, render, hidden) == (&other.draft, &other.render, &other.hidden)
            && (in_search_index, include_in_feeds) == (&other.in_search_index, &other.include_in_feeds)
    }
}

/// How a section orders its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum SortBy {
    #[default]
    None,
    Date,
    UpdateDate,
    Title,
    TitleBytes,
    Weight,
    Slug,
    Permalink,
}

impl SortBy {
    /// What a page must have to be sorted.
    pub(crate) fn needed(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Date => "`date`",
            Self::UpdateDate => "`updated` or `date`",
            Self::Title | Self::TitleBytes => "`title`",
            Self::Weight => "`weight`",
            Self::Slug => "`slug`",
            Self::Permalink => "address",
        }
    }
}

/// The front matter of a section.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SectionMatter {
    pub(crate) title: Option<Box<str>>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) sort_by: SortBy,
    pub(crate) weight: i64,
    pub(crate) template: Option<Box<str>>,
    pub(crate) paginate_by: Option<usize>,
    pub(crate) paginate_reversed: bool,
    pub(crate) paginate_path: Box<str>,
    pub(crate) insert_anchor_links: Option<AnchorLinks>,
    pub(crate) render: bool,
    pub(crate) draft: bool,
    pub(crate) redirect_to: Option<Box<str>>,
    pub(crate) in_search_index: bool,
    pub(crate) transparent: bool,
    /// Not said: as the section that holds it.
    pub(crate) hidden: Option<bool>,
    pub(crate) page_template: Option<Box<str>>,
    pub(crate) aliases: Vec<Box<str>>,
    pub(crate) generate_feeds: bool,
    pub(crate) cache_groups: Vec<Box<str>>,
    #[serde(with = "crate::memo::values")]
    pub(crate) extra: Option<Value>,
}

impl Default for SectionMatter {
    fn default() -> Self {
        Self {
            title: None,
            description: None,
            sort_by: SortBy::None,
            weight: 0,
            template: None,
            paginate_by: None,
            paginate_reversed: false,
            paginate_path: "page".into(),
            insert_anchor_links: None,
            render: true,
            draft: false,
            redirect_to: None,
            in_search_index: true,
            transparent: false,
            hidden: None,
            page_template: None,
            aliases: Vec::new(),
            generate_feeds: false,
            cache_groups: Vec::new(),
            extra: None,
        }
    }
}

const PAGE_KEYS: &[&str] = &[
    "title",
    "description",
    "updated",
    "date",
    "expiry_date",
    "draft",
    "render",
    "slug",
    "path",
    "taxonomies",
    "weight",
    "authors",
    "aliases",
    "template",
    "in_search_index",
    "include_in_feeds",
    "hidden",
    "cache_groups",
    "extra",
];

const SECTION_KEYS: &[&str] = &[
    "title",
    "description",
    "sort_by",
    "weight",
    "template",
    "paginate_by",
    "paginate_reversed",
    "paginate_path",
    "insert_anchor_links",
    "render",
    "draft",
    "redirect_to",
    "in_search_index",
    "transparent",
    "hidden",
    "page_template",
    "aliases",
    "generate_feeds",
    "cache_groups",
    "extra",
];

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
        if line.trim_end() == fence {
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

    fn at_key(&self, name: &str, message: String) -> Diagnostic {
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
    if message.contains("tab character") {
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

/// What the engine calls a kind of value, in words for authors.
pub(crate) fn in_words(kind: &str) -> &str {
    match kind.trim_start_matches('&') {
        "map/struct" | "Map" => "a table",
        "array" | "[Value]" | "Vec<Value>" => "a list",
        "string" | "str" | "String" => "a text",
        "bool" => "true or false",
        "i64" | "u64" | "i128" | "u128" | "f64" | "i32" | "u32" | "usize" | "u8" => "a number",
        "none" => "nothing",
        "undefined" => "something that is not defined",
        _ => kind,
    }
}

struct Reader<'a> {
    place: &'a Place<'a>,
    values: Map,
    errors: Errors,
}

impl Reader<'_> {
    fn take(&mut self, name: &'static str) -> Option<Value> {
        let found = self.values.shift_remove(&value::key(name))?;
        if found.is_none() { None } else { Some(found) }
    }

    fn wrong(&mut self, name: &str, expected: &str, got: &Value) {
        let kind = match in_words(got.name()) {
            "a list" if expected == "a list of texts" => "a list of other things",
            kind => kind,
        };
        self.errors.push(
            self.place
                .at_key(name, format!("`{name}` is {expected}, not {kind}"))
                .hint(format!("write {expected}, or leave the key out")),
        );
    }

    fn text(&mut self, name: &'static str) -> Option<Box<str>> {
        let found = self.take(name)?;
        match found.as_str() {
            Some(text) => Some(text.into()),
            None => {
                self.wrong(name, "a text", &found);
                None
            }
        }
    }

    fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.maybe_flag(name).unwrap_or(default)
    }

    fn maybe_flag(&mut self, name: &'static str) -> Option<bool> {
        let found = self.take(name)?;
        if found.as_bool().is_none() {
            self.wrong(name, "true or false", &found);
        }
        found.as_bool()
    }

    fn integer(&mut self, name: &'static str) -> Option<i64> {
        let found = self.take(name)?;
        match found.as_i64() {
            Some(number) => Some(number),
            None => {
                self.wrong(name, "a whole number", &found);
                None
            }
        }
    }

    fn count(&mut self, name: &'static str) -> Option<usize> {
        let number = self.integer(name)?;
        let count = usize::try_from(number).ok();
        if count.is_none() {
            let message = format!("`{name}` is a whole number from 0 on, not {number}");
            self.errors.push(self.place.at_key(name, message).hint("write how many, or leave the key out"));
        }
        count
    }

    fn date(&mut self, name: &'static str) -> Option<Date> {
        let found = self.take(name)?;
        let Some(text) = found.as_str() else {
            self.wrong(name, "a date", &found);
            return None;
        };
        let date = Date::parse(text);
        if date.is_none() {
            self.errors.push(
                self.place
                    .at_key(name, format!("`{name}` is no date: {text}"))
                    .hint("write 2026-01-31 or 2026-01-31T10:30:00Z"),
            );
        }
        date
    }

    fn texts(&mut self, name: &'static str) -> Vec<Box<str>> {
        let Some(found) = self.take(name) else { return Vec::new() };
        let list = found
            .as_array()
            .map(|list| list.iter().map(|v| v.as_str().map(Box::from)).collect::<Option<Vec<_>>>());
        match list.flatten() {
            Some(list) => list,
            None => {
                self.wrong(name, "a list of texts", &found);
                Vec::new()
            }
        }
    }

    fn extra(&mut self) -> Option<Value> {
        let found = self.take("extra")?;
        match found.as_map() {
            Some(map) if map.is_empty() => None,
            Some(_) => Some(found),
            None => {
                self.wrong("extra", "a table", &found);
                None
            }
        }
    }

    fn taxonomies(&mut self) -> Vec<(Box<str>, Vec<Box<str>>)> {
        let Some(found) = self.take("taxonomies") else { return Vec::new() };
        let Some(map) = found.as_map() else {
            self.wrong("taxonomies", "a table", &found);
            return Vec::new();
        };
        let mut out = Vec::new();
        for (kind, terms) in map {
            let kind = kind.to_string();
            let list = terms.as_array().map(|list| {
                list.iter().map(|v| v.as_str().map(Box::from)).collect::<Option<Vec<Box<str>>>>()
            });
            match list.flatten() {
                Some(list) if list.iter().any(|term| term.trim().is_empty()) => {
                    let wrong = self.place.at_key(&kind, format!("`{kind}` has an empty term"));
                    self.errors.push(wrong.hint("remove the empty text from the list"));
                }
                Some(list) => out.push((kind.into_boxed_str(), list)),
                None => self.wrong(&kind, "a list of texts", terms),
            }
        }
        out
    }
}

/// Types the front matter of a page.
///
/// # Errors
/// Each key with a value that it cannot have.
pub(crate) fn page(place: &Place<'_>, values: Map) -> Result<PageMatter, Errors> {
    let mut reader = Reader { place, values, errors: Errors::default() };
    let matter = PageMatter {
        title: reader.text("title"),
        description: reader.text("description"),
        updated: reader.date("updated"),
        date: reader.date("date"),
        expiry_date: reader.date("expiry_date"),
        draft: reader.flag("draft", false),
        render: reader.flag("render", true),
        slug: reader.text("slug"),
        path: reader.text("path"),
        taxonomies: reader.taxonomies(),
        weight: reader.integer("weight"),
        authors: reader.texts("authors"),
        aliases: reader.texts("aliases"),
        template: reader.text("template"),
        in_search_index: reader.flag("in_search_index", true),
        include_in_feeds: reader.flag("include_in_feeds", true),
        hidden: reader.maybe_flag("hidden"),
        cache_groups: reader.texts("cache_groups"),
        extra: reader.extra(),
        unknown: Vec::new(),
    };
    let unknown = reader.values.keys().map(|name| name.to_string().into()).collect();
    let matter = PageMatter { unknown, ..matter };
    if let Some(path) = &matter.path
        && path.trim_matches('/').is_empty()
        && !path.contains('/')
    {
        let wrong = place.at_key("path", "`path` is empty".to_owned());
        reader.errors.push(wrong.hint("write \"/\" for the front page, or leave the key out"));
    }
    for (name, given) in [("path", &matter.path), ("slug", &matter.slug)] {
        if given.as_deref().is_some_and(|p| p.split('/').any(|part| part == "..")) {
            let wrong = place.at_key(name, format!("`{name}` leads out of the site"));
            reader.errors.push(wrong.hint("write an address of this site, without `..`"));
        }
    }
    reader.errors.into_result()?;
    Ok(matter)
}

/// Says that a page has a key that means nothing: sites pass with it, as they do with Zola.
pub(crate) fn unknown_key(
    sources: &Sources,
    page: &str,
    name: &str,
    others: usize,
    is_taxonomy: bool,
) -> Diagnostic {
    let more = if others > 0 { format!(", and of {others} more") } else { String::new() };
    let message = format!("unknown key `{name}` in the front matter of a page{more}");
    let hint = match nearest(name, PAGE_KEYS.iter().copied()) {
        _ if is_taxonomy => format!("terms go into [taxonomies], as `{name}` there"),
        Some(near) => format!("did you mean `{near}`?"),
        None => "data of your own goes into [extra]".to_owned(),
    };
    point(sources, Diagnostic::in_file(page, message).hint(hint), "", &[name])
}

/// Types the front matter of a section.
///
/// # Errors
/// Each unknown key, and each key with a value that it cannot have.
pub(crate) fn section(place: &Place<'_>, values: Map) -> Result<SectionMatter, Errors> {
    let mut reader = Reader { place, values, errors: Errors::default() };
    let sort_by = reader.text("sort_by");
    let anchors = reader.text("insert_anchor_links");
    let mut matter = SectionMatter {
        title: reader.text("title"),
        description: reader.text("description"),
        sort_by: SortBy::None,
        weight: reader.integer("weight").unwrap_or(0),
        template: reader.text("template"),
        paginate_by: reader.count("paginate_by").filter(|n| *n > 0),
        paginate_reversed: reader.flag("paginate_reversed", false),
        paginate_path: reader.text("paginate_path").unwrap_or_else(|| "page".into()),
        insert_anchor_links: None,
        render: reader.flag("render", true),
        draft: reader.flag("draft", false),
        redirect_to: reader.text("redirect_to"),
        in_search_index: reader.flag("in_search_index", true),
        transparent: reader.flag("transparent", false),
        hidden: reader.maybe_flag("hidden"),
        page_template: reader.text("page_template"),
        aliases: reader.texts("aliases"),
        generate_feeds: reader.flag("generate_feeds", false),
        cache_groups: reader.texts("cache_groups"),
        extra: reader.extra(),
    };
    const SORTS: [(&str, SortBy); 8] = [
        ("none", SortBy::None),
        ("date", SortBy::Date),
        ("update_date", SortBy::UpdateDate),
        ("title", SortBy::Title),
        ("title_bytes", SortBy::TitleBytes),
        ("weight", SortBy::Weight),
        ("slug", SortBy::Slug),
        ("permalink", SortBy::Permalink),
    ];
    if let Some(name) = sort_by {
        match SORTS.iter().find(|(known, _)| **known == *name) {
            Some((_, sort)) => matter.sort_by = *sort,
            None => {
                let near = nearest(&name, SORTS.iter().map(|(known, _)| *known));
                reader.errors.push(
                    place.at_key("sort_by", format!("pages cannot be sorted by `{name}`")).hint(
                        near.map_or_else(
                            || format!("known are {}", SORTS.map(|(known, _)| known).join(", ")),
                            |near| format!("did you mean `{near}`?"),
                        ),
                    ),
                );
            }
        }
    }
    if let Some(name) = anchors {
        match AnchorLinks::parse(&name) {
            Some(anchors) => matter.insert_anchor_links = Some(anchors),
            None => reader.errors.push(
                place
                    .at_key("insert_anchor_links", format!("`insert_anchor_links` cannot be `{name}`"))
                    .hint("one of none, left, right, heading"),
            ),
        }
    }
    let unknown: Vec<String> = reader.values.keys().map(ToString::to_string).collect();
    for name in unknown {
        let near = nearest(&name, SECTION_KEYS.iter().copied());
        reader.errors.push(
            place.at_key(&name, format!("unknown key `{name}` in the front matter of a section")).hint(
                match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "data of your own goes into [extra]".to_owned(),
                },
            ),
        );
    }
    reader.errors.into_result()?;
    Ok(matter)
}

/// Shared text for an `Arc<str>`.
pub(crate) fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_page(text: &str) -> Result<PageMatter, Errors> {
        let split = split("content/x.md", text)?;
        let (format, matter, offset) = split.matter.unwrap_or((Format::Toml, "", 0));
        let place = Place { path: "content/x.md", text, matter, offset };
        page(&place, values(&place, format)?)
    }

    #[test]
    fn toml_and_yaml_mean_the_same() {
        let a = parse_page("+++\ntitle = \"T\"\ndate = 2026-01-09T10:30:00Z\n[taxonomies]\ntags = [\"a\"]\n[extra]\nx = 1\n+++\nbody").unwrap();
        let b = parse_page(
            "---\ntitle: T\ndate: 2026-01-09T10:30:00Z\ntaxonomies:\n  tags: [a]\nextra: {x: 1}\n---\nbody",
        )
        .unwrap();
        assert_eq!(a.title, b.title);
        assert_eq!(a.date, b.date);
        assert_eq!(a.taxonomies, b.taxonomies);
        assert_eq!(a.extra, b.extra);
        assert_eq!(a.date.unwrap().seconds, 1_767_954_600);
    }

    #[test]
    fn errors_have_lines() {
        let errors = parse_page("+++\ntitle = \"T\"\ndate = \n+++\n").unwrap_err();
        assert_eq!(errors.list()[0].line, Some(3));
        let errors = parse_page("+++\ntitle = 1\ndraft = \"x\"\n+++\n").unwrap_err();
        assert_eq!(errors.list().iter().map(|d| d.line).collect::<Vec<_>>(), [Some(2), Some(3)]);
        let errors = parse_page("---\ntitle: [\n---\n").unwrap_err();
        assert!(errors.list()[0].line.unwrap() >= 2);
        let errors = parse_page("+++\ntitle = 1\n").unwrap_err();
        assert!(errors.list()[0].message.contains("not closed"));
    }

    #[test]
    fn dates() {
        assert_eq!(Date::parse("2026-01-05").unwrap().seconds, 1_767_571_200);
        assert_eq!(Date::parse("2026-01-05T01:00:00+01:00").unwrap().seconds, 1_767_571_200);
        assert_eq!(Date::parse("2026-01-05 00:00:00").unwrap().seconds, 1_767_571_200);
        for (yaml, written) in [
            ("2001-12-15T02:59:43.1Z", "2001-12-15T02:59:43.1Z"),
            ("2001-12-14t21:59:43.10-05:00", "2001-12-14T21:59:43.10-05:00"),
            ("2001-12-14 21:59:43.10 -5", "2001-12-14T21:59:43.10-05:00"),
            ("2001-12-15 2:59:43.10", "2001-12-15T02:59:43.10"),
            ("2001-2-5 02:59:43 +02:00", "2001-02-05T02:59:43+02:00"),
        ] {
            assert_eq!(&*Date::parse(yaml).unwrap().text, written);
        }
        assert!(Date::parse("2002/10/12").is_none());
        assert!(Date::parse("2026-13-05").is_none());
        assert!(Date::parse("über").is_none());
    }
}
