//! Front matter of Hugo under the names of here.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::{Timestamp, civil};
use toml::value::Datetime;
use toml::{Table, Value};

use super::Note;
use super::settings::{Found, Settings};
use super::table::{find, take, text, texts};
use super::tree::{Entry, Kind, join, urlized};
use crate::library::dated_name;

/// Where the date of a page is looked for.
const DATES: [&str; 6] = ["date", "publishdate", "pubdate", "published", "lastmod", "modified"];
/// The same of the moment that it is to come, and to go.
const PUBLISHED: [&str; 3] = ["publishdate", "pubdate", "published"];
const EXPIRES: [&str; 2] = ["expirydate", "unpublishdate"];
const CHANGED: [&str; 2] = ["lastmod", "modified"];

/// Keys that mean something to Hugo or its templates, and nothing here.
const NOT_CONVERTED: [&str; 9] = [
    "layout",
    "type",
    "outputs",
    "resources",
    "sitemap",
    "translationkey",
    "markup",
    "iscjklanguage",
    "dates",
];

/// What is said of a `cascade` with a target.
pub(super) const SOME_PAGES: &str = "a `cascade` to some pages only is not converted";

/// The date of a page.
pub(super) fn date(matter: &Table, name: &str, settings: &Settings) -> Option<Datetime> {
    let from_name = || dated_name(name).filter(|_| settings.dated_names)?.0.parse().ok();
    let own = DATES.iter().find_map(|key| moment(find(matter, key)?));
    own.or_else(from_name)
}

/// The front matter of a page or a section.
pub(super) fn convert(
    entry: &mut Entry,
    settings: &Settings,
    found: &mut Found,
    notes: &mut Vec<Note>,
) -> Table {
    let mut matter = std::mem::take(&mut entry.matter);
    let is_section = entry.kind == Kind::Section;
    let mut out = Table::new();
    let mut extra = Table::new();
    let note = |notes: &mut Vec<Note>, text: &str| notes.push(Note::new(&entry.old, text));
    for key in ["title", "description"] {
        if let Some(value) = take(&mut matter, key).as_ref().and_then(text) {
            out.insert(key.to_owned(), value.into());
        }
    }
    if !out.contains_key("description")
        && let Some(summary) = find(&matter, "summary").and_then(text)
    {
        take(&mut matter, "summary");
        out.insert("description".to_owned(), summary.into());
    }
    if !is_section {
        dates(&mut matter, &mut out, &mut extra, settings.now, found, |text| note(notes, text));
    }
    take(&mut matter, "slug");
    for (key, value) in [("slug", &entry.placed.slug), ("path", &entry.placed.path)] {
        if let Some(value) = value {
            out.insert(key.to_owned(), value.as_str().into());
        }
    }
    let aliases = take(&mut matter, "aliases").iter().flat_map(texts).collect::<Vec<_>>();
    let is_redirected = settings.has_language_redirect && entry.address == "/";
    let below_language = (entry.language.is_none() && (settings.in_folder_of_language || is_redirected))
        .then(|| format!("/{}{}", settings.language, entry.address));
    let aliases = aliases.iter().map(|alias| rooted(entry, alias, settings));
    let aliases = aliases.chain(entry.placed.alias.clone()).chain(below_language);
    let aliases: Vec<Value> = aliases.map(Value::from).collect();
    if !aliases.is_empty() {
        out.insert("aliases".to_owned(), Value::Array(aliases));
    }
    let of_menu = MenuEntry {
        name: find(&matter, "linkTitle").or_else(|| out.get("title")).and_then(text).unwrap_or_default(),
        path: format!("@/{}", entry.new),
        weight: find(&matter, "weight").and_then(whole).unwrap_or(0),
    };
    if entry.language.is_none() {
        found.titles.insert(of_menu.path.clone(), of_menu.name.clone());
    }
    let mut terms = Table::new();
    for (name, value) in matter {
        let lower = name.to_lowercase();
        if settings.taxonomies.contains(&lower) {
            let list = terms_of(&value, |text| note(notes, text));
            if is_section && !list.is_empty() {
                note(notes, &format!("`{name}` is not converted: a section has no terms"));
            } else if !list.is_empty() {
                let language = entry.language.as_ref().unwrap_or(&settings.language);
                found.taxonomies.entry(language.clone()).or_default().insert(lower.clone());
                terms.insert(lower, Value::Array(list));
            }
            continue;
        }
        match (lower.as_str(), value) {
            ("weight", value) => match whole(&value) {
                // None and the first are the same.
                Some(0) => {}
                Some(weight @ 1..) => drop(out.insert("weight".to_owned(), weight.into())),
                _ => note(notes, &format!("`{name}` is not converted: a weight is 1 or more, not {value}")),
            },
            ("draft", value) => {
                if text(&value).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
                    out.insert("draft".to_owned(), true.into());
                }
            }
            ("author" | "authors", value) if !is_section && !texts(&value).is_empty() => {
                let names = texts(&value).into_iter().map(Value::from).collect();
                out.insert("authors".to_owned(), Value::Array(names));
            }
            ("headless", Value::Boolean(headless)) => {
                if headless && !is_section {
                    out.insert("render".to_owned(), false.into());
                }
            }
            ("build" | "_build", Value::Table(build)) => match built(&build) {
                Built::Whole => {}
                Built::Hidden => drop(out.insert("hidden".to_owned(), true.into())),
                Built::Not => drop(out.insert("render".to_owned(), false.into())),
                Built::Listed => {
                    note(notes, &format!("`{name}` is not converted: the page has an address, too"))
                }
            },
            ("summary" | "linktitle", value) => {
                note(notes, &format!("`{name}` is in [extra] now: the built-in theme does not show it"));
                extra.insert(name, value);
            }
            ("menu" | "menus", value) => {
                for menu in menus(&value) {
                    match menu {
                        (menu, _) if menu == "main" && entry.language.is_some() => {
                            note(
                                notes,
                                "the main menu is that of the default language: this entry is left out",
                            );
                        }
                        (menu, entry_of) if menu == "main" => {
                            lost_of_menu(&entry_of).for_each(|lost| note(notes, &lost));
                            let own = of_menu.clone();
                            let name = find(&entry_of, "name").and_then(text).unwrap_or(own.name);
                            let weight = find(&entry_of, "weight").and_then(whole);
                            let weight = weight.unwrap_or(own.weight);
                            found.menu.push(MenuEntry { name, path: own.path, weight });
                        }
                        (menu, _) => note(notes, &format!("the menu `{menu}` is not converted")),
                    }
                }
            }
            ("params", Value::Table(params)) => extra.extend(params),
            ("cascade", value) => {
                if !cascades(&value).1.is_empty() {
                    note(notes, SOME_PAGES);
                }
            }
            (lower, value) if NOT_CONVERTED.contains(&lower) => {
                note(notes, &format!("`{name}` is not converted"));
                // Templates may ask for it.
                if ["layout", "type"].contains(&lower) {
                    extra.insert(lower.to_owned(), value);
                }
            }
            (_, value) => {
                extra.insert(name, value);
            }
        }
    }
    let is = |key: &str, value: bool| out.get(key) == Some(&Value::Boolean(value));
    if is("draft", true) || is("render", false) {
        found.unpublished.insert(of_menu.path);
    }
    if !terms.is_empty() {
        out.insert("taxonomies".to_owned(), Value::Table(terms));
    }
    if !extra.is_empty() {
        out.insert("extra".to_owned(), Value::Table(extra));
    }
    out
}

/// A whole number, also one that is written as a text, `"01"`.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_integer().or_else(|| value.as_str()?.trim().parse().ok())
}

/// The terms that a page has of a taxonomy.
fn terms_of(value: &Value, mut note: impl FnMut(&str)) -> Vec<Value> {
    let terms: Vec<String> = texts(value).into_iter().filter(|term| !term.trim().is_empty()).collect();
    for term in &terms {
        let slug = slug::slugify(term);
        if urlized(term, true) != slug {
            note(&format!("the term {term:?} has another address: it ends in {slug:?}"));
        }
    }
    terms.into_iter().map(Value::from).collect()
}

/// Where a page is, by `build`.
enum Built {
    Whole,
    /// At its address, and in no list.
    Hidden,
    /// In lists, and at no address.
    Listed,
    Not,
}

fn built(build: &Table) -> Built {
    let is = |key: &str, words: [&str; 2]| {
        let word = find(build, key).and_then(text);
        word.is_some_and(|word| word == "false" || words.contains(&word.as_str()))
    };
    match (is("render", ["never", "link"]), is("list", ["never", "local"])) {
        (false, false) => Built::Whole,
        (false, true) => Built::Hidden,
        (true, false) => Built::Listed,
        (true, true) => Built::Not,
    }
}

/// What an entry of the main menu says that has no counterpart.
pub(super) fn lost_of_menu(entry: &Table) -> impl Iterator<Item = String> {
    let lost = ["parent", "pre", "post", "params"].into_iter().filter(|key| find(entry, key).is_some());
    lost.map(|key| format!("`{key}` of an entry of the main menu is not converted"))
}

/// An entry of the main menu.
#[derive(Debug, Clone)]
pub(super) struct MenuEntry {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) weight: i64,
}

/// `menus: main`, `menus: [main, footer]`, or a table a menu.
fn menus(value: &Value) -> Vec<(String, Table)> {
    match value {
        Value::Table(all) => {
            let table = |value: &Value| value.as_table().cloned().unwrap_or_default();
            all.iter().map(|(name, value)| (name.clone(), table(value))).collect()
        }
        names => texts(names).into_iter().map(|name| (name, Table::new())).collect(),
    }
}

/// What a `cascade` says of all, and what of some only.
pub(super) fn cascades(value: &Value) -> (Vec<&Table>, Vec<&Table>) {
    let all: Vec<&Table> = match value {
        Value::Array(list) => list.iter().filter_map(Value::as_table).collect(),
        one => one.as_table().into_iter().collect(),
    };
    all.into_iter().partition(|table| find(table, "target").or_else(|| find(table, "_target")).is_none())
}

/// An alias from the root of the site on: what does not begin there is beside the page.
fn rooted(entry: &Entry, alias: &str, settings: &Settings) -> String {
    // What the address of a page does not begin with any more.
    let below = match entry.language {
        None if settings.in_folder_of_language => format!("/{}", settings.language),
        _ => String::new(),
    };
    let prefix = entry.language.as_ref().map(|code| format!("/{code}")).unwrap_or_default();
    let mut path = match alias.strip_prefix('/') {
        Some(_) => format!("{below}{prefix}{alias}"),
        None => {
            let address = entry.address.trim_matches('/');
            let above = address.rsplit_once('/').map_or("", |(above, _)| above);
            format!("{below}/{}", join(above, alias))
        }
    };
    let section = entry.folder.split('/').next().unwrap_or_default();
    if settings.is_ugly(section)
        && !path.ends_with('/')
        && !path.rsplit('/').next().unwrap_or_default().contains('.')
    {
        path.push_str(".html");
    }
    path
}

fn dates(
    matter: &mut Table,
    out: &mut Table,
    extra: &mut Table,
    now: Timestamp,
    found: &mut Found,
    mut note: impl FnMut(&str),
) {
    let mut read = |names: &[&str]| {
        let mut first = None;
        for name in names {
            let Some(value) = find(matter, name) else { continue };
            match moment(value) {
                Some(date) => first = first.or(Some(date)),
                None => note(&format!("`{name}` is no date that can be read")),
            }
        }
        first
    };
    let (date, published, changed, expires) =
        (read(&DATES), read(&PUBLISHED), read(&CHANGED), read(&EXPIRES));
    for name in DATES.iter().chain(&EXPIRES) {
        take(matter, name);
    }
    let is_to_come = date.as_ref().and_then(seconds).is_some_and(|date| date > now.as_second());
    found.has_times |= is_to_come || published.is_some() || expires.is_some();
    let later = |a: &Datetime, b: &Datetime| seconds(a).zip(seconds(b)).is_some_and(|(a, b)| a > b);
    match (date, published) {
        // It must not be out before.
        (Some(date), Some(published)) if later(&published, &date) => {
            note(
                "`publishDate` is the date now, which holds the page back until then; the date is in [extra]",
            );
            extra.insert("date".to_owned(), Value::Datetime(date));
            out.insert("date".to_owned(), Value::Datetime(published));
        }
        (Some(date), _) => drop(out.insert("date".to_owned(), Value::Datetime(date))),
        (None, _) => {}
    }
    for (key, date) in [("updated", changed), ("expiry_date", expires)] {
        if let Some(date) = date {
            out.insert(key.to_owned(), Value::Datetime(date));
        }
    }
}

fn moment(value: &Value) -> Option<Datetime> {
    match value {
        Value::Datetime(date) => Some(*date),
        // Seconds since 1970.
        Value::Integer(seconds) => Timestamp::from_second(*seconds).ok()?.to_string().parse().ok(),
        Value::String(text) => day_or_moment(text).or_else(|| as_in_letters(text)),
        _ => None,
    }
}

/// How mail, Unix and Go write a date, but for the day of the week and names of zones.
const IN_LETTERS: [&str; 6] = [
    "%d %b %Y",
    "%d %b %Y %H:%M:%S %z",
    "%d %b %y %H:%M %z",
    "%d-%b-%y %H:%M:%S %z",
    "%b %d %H:%M:%S %Y",
    "%b %d %H:%M:%S %z %Y",
];

/// `02 Jan 2026`, `Fri, 02 Jan 2026 10:00:00 +0100`, `Fri Jan  2 10:00:00 UTC 2026`: Hugo reads these too. To it, a zone that is
/// named and not counted is UTC.
fn as_in_letters(text: &str) -> Option<Datetime> {
    let is_day = |word: &str| word.ends_with("day") || DAYS.contains(&word);
    let is_zone = |word: &str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase());
    let words = text.split_whitespace().map(|word| word.trim_end_matches(',')).filter(|word| !is_day(word));
    let plain = words.map(|word| if is_zone(word) { "+0000" } else { word }).collect::<Vec<_>>().join(" ");
    IN_LETTERS.iter().find_map(|format| {
        let read = BrokenDownTime::parse(format, &plain).ok()?;
        let shown = match (read.offset(), read.hour()) {
            (Some(offset), _) => {
                let moment = offset.to_timestamp(read.to_datetime().ok()?).ok()?;
                moment.display_with_offset(offset).to_string()
            }
            (None, Some(_)) => read.to_datetime().ok()?.to_string(),
            (None, None) => read.to_date().ok()?.to_string(),
        };
        shown.parse().ok()
    })
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A moment to compare with: a day is its midnight in UTC.
fn seconds(date: &Datetime) -> Option<i64> {
    let text = date.to_string();
    let civil = || Some(format!("{}Z", text.parse::<civil::DateTime>().ok()?));
    let moment = text.parse::<Timestamp>().ok().or_else(|| civil()?.parse().ok());
    Some(moment?.as_second())
}

/// `2026-01-02` or a moment, as TOML has them; Hugo allows a space before the offset, and offsets without a colon.
fn day_or_moment(text: &str) -> Option<Datetime> {
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
        for (written, read) in [
            ("02 Jan 2026", "2026-01-02"),
            ("Fri, 02 Jan 2026 10:00:00 +0100", "2026-01-02T10:00:00+01:00"),
            ("Fri, 2 Jan 2026 10:00:00 GMT", "2026-01-02T10:00:00+00:00"),
            ("02 Jan 26 10:00 CET", "2026-01-02T10:00:00+00:00"),
            ("Friday, 02-Jan-26 10:00:00 UTC", "2026-01-02T10:00:00+00:00"),
            ("Fri Jan  2 10:00:00 2026", "2026-01-02T10:00:00"),
            ("Fri Jan  2 10:00:00 UTC 2026", "2026-01-02T10:00:00+00:00"),
            ("Fri Jan 02 10:00:00 -0700 2026", "2026-01-02T10:00:00-07:00"),
        ] {
            let shown = moment(&Value::from(written)).map(|date| date.to_string());
            assert_eq!(shown.as_deref(), Some(read), "{written}");
        }
        let shown = moment(&Value::from(1_767_348_000)).map(|date| date.to_string());
        assert_eq!(shown.as_deref(), Some("2026-01-02T10:00:00Z"));
        // Hugo reads none of these either.
        for written in ["January 2, 2026", "01/02/2026", "2 Jan"] {
            assert!(moment(&Value::from(written)).is_none(), "{written}");
        }
        let second = |text: &str| seconds(&day_or_moment(text).unwrap());
        assert!(second("2026-01-02T00:00:01Z") > second("2026-01-02"));
        assert!(second("2026-01-02T00:30:00+01:00") < second("2026-01-02"));
    }
}
