//! A site for Hugo: its settings, its front matter, its text, and the layout of its content. Its templates are another
//! language.

mod anchor;
mod bare;
mod body;
mod embedded;
mod gather;
mod i18n;
mod matter;
mod settings;
mod shortcode;
mod table;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use toml::{Table, Value};

use self::body::Context;
use self::matter::{MenuEntry, lost_of_menu};
use self::settings::{Found, Settings};
use self::table::Loose;
use self::tree::{Entry, Kind, Name, Places, of_file};
use super::{Imported, Note};
use crate::diagnostic::Errors;
use crate::library::{dated_name, is_templated};
use crate::sources::Sources;

/// Converts a site.
pub(super) fn convert(sources: &Sources, now: Timestamp) -> Result<Imported, Errors> {
    let mut made = Imported::default();
    let mut settings = Settings::read(sources, now, &mut made.notes)?;
    let mut site = Site::default();
    for (path, file) in sources.iter() {
        let Ok(bytes) = file.read() else {
            made.note(path, "the file cannot be read");
            continue;
        };
        site.take(path, bytes, &settings, &mut made);
    }
    site.bundled(&mut made);
    site.cascade(&settings);
    if settings.cascade.as_ref().is_some_and(|value| !matter::cascades(value).1.is_empty()) {
        made.note(&settings.file, matter::SOME_PAGES);
    }
    let is_section = |entry: &&Entry| entry.kind == Kind::Section && !entry.folder.is_empty();
    let folders = site.entries.iter().filter(is_section).map(|entry| entry.folder.clone()).collect();
    for entry in &mut site.entries {
        if let Some(text) = entry.place(&settings, &folders) {
            made.note(&entry.old, &text);
        }
    }
    let sections = site.sections_without_text();
    let mut places = Places::of(&site.entries, &sections, &settings);
    for path in made.files.keys() {
        let address = path.strip_prefix("static/").or_else(|| path.strip_prefix("content/"));
        places.add_file(format!("/{}", address.unwrap_or(path)));
    }
    let context = Context { settings: &settings, places: &places, own: &site.shortcodes };
    let mut found = Found { texts: std::mem::take(&mut site.texts), ..Found::default() };
    let mut converted: BTreeMap<String, (Table, String)> = BTreeMap::new();
    for entry in &mut site.entries {
        let text = body::convert(entry, &context, &mut made.notes);
        let matter = matter::convert(entry, &settings, &mut found, &mut made.notes);
        if is_templated(&text) {
            found.templated.push(escaped(&entry.new));
        }
        if converted.insert(entry.new.clone(), (matter, text)).is_some() {
            made.note(
                &entry.old,
                "another file has the same name without capitals and signs: one of them is left out",
            );
        }
    }
    for (language, folder) in sections {
        let mut matter = Table::new();
        matter.insert("title".to_owned(), titled(&folder).into());
        if language.is_none() {
            found.titles.insert(format!("@/{folder}/_index.md"), titled(&folder));
            if settings.in_folder_of_language {
                let alias = format!("/{}/{folder}/", settings.language);
                matter.insert("aliases".to_owned(), Value::Array(vec![alias.into()]));
            }
        }
        let suffix = language.map(|code| format!(".{code}")).unwrap_or_default();
        converted.insert(format!("{folder}/_index{suffix}.md"), (matter, String::new()));
    }
    site.one_page_each_alias(&mut converted, &places, &mut made);
    finish_sections(&mut converted, settings.has_feeds(), &mut made);
    main_menu(&mut settings, &site, &places, &mut found, &mut made);
    for (path, (matter, text)) in converted {
        made.files.insert(format!("content/{path}"), Bytes::from(format!("+++\n{matter}+++\n{text}")));
    }
    if found.has_times {
        made.files.insert("bakehouse.toml".to_owned(), Bytes::from_static(TIMES.as_bytes()));
    }
    let config = settings.write(found, &mut made);
    made.files.insert("zola.toml".to_owned(), Bytes::from(config.to_string()));
    made.notes.sort();
    made.notes.dedup();
    Ok(made)
}

/// With this file dates in the future hold pages back, as they do for Hugo.
const TIMES: &str = "# Dates in the future hold pages back, and `expiry_date` takes them away.\n";

/// The content of a site.
#[derive(Default)]
struct Site {
    entries: Vec<Entry>,
    /// Names of the site's own shortcodes.
    shortcodes: BTreeSet<String>,
    themes: BTreeSet<String>,
    /// Texts of templates, by language.
    texts: BTreeMap<String, BTreeMap<String, String>>,
}

impl Site {
    /// Takes a file: content to be converted later, or what is copied as it is.
    fn take(&mut self, path: &str, bytes: Bytes, settings: &Settings, made: &mut Imported) {
        let inside = settings
            .content
            .iter()
            .find_map(|(folder, language)| Some((path.strip_prefix(folder.as_str())?, language.as_deref())));
        if let Some((inside, language)) = inside {
            self.content(path, inside, language, bytes, settings, made);
        } else if let Some(inside) =
            settings.statics.iter().find_map(|folder| path.strip_prefix(folder.as_str()))
        {
            made.files.insert(format!("static/{inside}"), bytes);
        } else if path.starts_with("data/") {
            made.files.insert(path.to_owned(), bytes);
            made.note(
                path,
                "data is read by a template, as load_data(path=…), or as a [[source]] of bakehouse.toml",
            );
        } else if let Some(inside) = path.strip_prefix("layouts/") {
            let name = ["shortcodes/", "_shortcodes/"].iter().find_map(|folder| inside.strip_prefix(folder));
            if let Some((name, _)) = name.and_then(|name| name.split_once('.')) {
                self.shortcodes.insert(name.to_owned());
            }
            made.note(path, "templates of Hugo are not converted");
        } else if let Some(inside) = path.strip_prefix("themes/") {
            let theme = inside.split('/').next().unwrap_or(inside);
            if self.themes.insert(theme.to_owned()) {
                made.note(&format!("themes/{theme}"), "themes of Hugo are not converted");
            }
        } else if let Some((code, extension)) = path.strip_prefix("i18n/").and_then(i18n::language) {
            self.texts_of(path, (&code, extension), &bytes, settings, made);
        } else if ["assets/", "i18n/", "archetypes/"].iter().any(|folder| path.starts_with(folder)) {
            made.note(path, "not converted");
        }
    }

    fn content(
        &mut self,
        path: &str,
        inside: &str,
        of_folder: Option<&str>,
        bytes: Bytes,
        settings: &Settings,
        made: &mut Imported,
    ) {
        let Some(name) = Name::of(inside, of_folder, settings) else {
            if [".html", ".adoc", ".org", ".rst", ".pandoc"].iter().any(|end| inside.ends_with(end)) {
                made.note(path, "only markdown is content here: the file is copied as it is");
            }
            let cut = inside.rfind('/').map_or(0, |at| at + 1);
            let folder = of_file(&inside[..cut], settings.lowers);
            made.files.insert(format!("content/{folder}{}", &inside[cut..]), bytes);
            return;
        };
        let first = inside.split('/').next().unwrap_or_default().to_lowercase();
        if settings.taxonomies.contains(&first) && inside.contains('/') && name.stem == "_index" {
            made.note(path, "what a taxonomy and its terms say of themselves is not converted");
            return;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            made.note(path, "the page is not valid UTF-8");
            return;
        };
        match split(text) {
            Ok((matter, body)) => self.entries.push(Entry::new(path, name, matter, body, settings)),
            Err(problem) => {
                made.note(
                    path,
                    &format!("the front matter cannot be read, and the page is left out: {problem}"),
                );
            }
        }
    }

    /// Takes texts for templates.
    fn texts_of(
        &mut self,
        path: &str,
        (code, extension): (&str, &str),
        bytes: &Bytes,
        settings: &Settings,
        made: &mut Imported,
    ) {
        if code != settings.language && settings.other_languages().all(|other| other != code) {
            made.note(path, &format!("not converted: the site has no language `{code}`"));
            return;
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not valid UTF-8".to_owned());
        match text.and_then(|text| i18n::texts(extension, text)) {
            Ok(texts) => {
                texts.notes.iter().for_each(|note| made.note(path, note));
                self.texts.entry(code.to_owned()).or_default().extend(texts.texts);
            }
            Err(problem) => made.note(path, &format!("the texts cannot be read: {problem}")),
        }
    }

    /// Leaves out what belongs to a page and is none itself.
    fn bundled(&mut self, made: &mut Imported) {
        let is_bundle = |entry: &&Entry| entry.kind == Kind::Bundle;
        let bundles: BTreeSet<String> =
            self.entries.iter().filter(is_bundle).map(|entry| entry.folder.clone()).collect();
        self.entries.retain(|entry| {
            let mut folders = entry.folder.match_indices('/').map(|(at, _)| &entry.folder[..=at]);
            let within = folders.any(|folder| {
                bundles.contains(folder) && !(entry.kind == Kind::Bundle && entry.folder == folder)
            });
            if within {
                made.note(
                    &entry.old,
                    "it is a file of the page in its folder, which only a template shows: it is left out",
                );
            }
            !within
        });
    }

    /// Hands down what sections and settings say of all pages below them.
    fn cascade(&mut self, settings: &Settings) {
        // A key, its value, and whether it is one of `params`.
        let handed = |value: Option<&Value>| -> Vec<(String, Value, bool)> {
            let tables = value.map(|value| matter::cascades(value).0).unwrap_or_default();
            let entries = tables.into_iter().flatten().flat_map(|(key, value)| match value {
                Value::Table(params) if key.eq_ignore_ascii_case("params") => {
                    params.iter().map(|(key, value)| (key.clone(), value.clone(), true)).collect()
                }
                _ => vec![(key.clone(), value.clone(), false)],
            });
            entries.filter(|(key, ..)| key != "cascade").collect()
        };
        let from = |entry: &Entry| {
            let table = handed(table::find(&entry.matter, "cascade"));
            (entry.language.clone(), entry.folder.clone(), table)
        };
        let mut above: Vec<_> =
            self.entries.iter().filter(|entry| entry.kind == Kind::Section).map(from).collect();
        // The nearest first.
        above.sort_by_key(|(_, folder, _)| std::cmp::Reverse(folder.len()));
        let of_all = handed(settings.cascade.as_ref());
        for entry in &mut self.entries {
            let nearer = above.iter().filter(|(language, folder, _)| {
                *language == entry.language && entry.folder.starts_with(folder.as_str())
            });
            let handed = nearer.map(|(.., table)| table).chain([&of_all]);
            for (key, value, is_param) in handed.flatten() {
                let is_there = table::find(&entry.matter, key).is_some()
                    || table::find(&entry.matter, &format!("params.{key}")).is_some();
                match entry.matter.entry("params").or_insert_with(|| Value::Table(Table::new())) {
                    _ if is_there => {}
                    Value::Table(params) if *is_param => drop(params.insert(key.clone(), value.clone())),
                    _ => drop(entry.matter.insert(key.clone(), value.clone())),
                }
            }
        }
    }

    /// Leaves out aliases where there is something else: for Hugo whoever is written last has the address.
    fn one_page_each_alias(
        &self,
        converted: &mut BTreeMap<String, (Table, String)>,
        places: &Places,
        made: &mut Imported,
    ) {
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        for entry in &self.entries {
            let Some((matter, _)) = converted.get_mut(&entry.new) else { continue };
            let Some(Value::Array(aliases)) = matter.get_mut("aliases") else { continue };
            aliases.retain(|alias| {
                let alias = alias.as_str().unwrap_or_default();
                let address = format!("/{}", alias.trim_matches('/').trim_end_matches("index.html"));
                let address = format!("{}/", address.trim_end_matches('/'));
                if places.is_page(&address) {
                    made.note(&entry.old, &format!("the alias {alias:?} is left out: a page is there"));
                    return false;
                }
                let other = taken.get(&address).copied();
                if let Some(other) = other.filter(|other| *other != entry.old) {
                    made.note(&entry.old, &format!("the alias {alias:?} is left out: {other} has it, too"));
                }
                taken.entry(address).or_insert(&entry.old);
                other.is_none()
            });
            if aliases.is_empty() {
                matter.remove("aliases");
            }
        }
    }

    /// The folders at the top that are sections without saying so.
    fn sections_without_text(&self) -> Vec<(Option<String>, String)> {
        let top = |entry: &Entry| {
            let (folder, rest) = entry.new.split_once('/')?;
            // A bundle right below is no folder of pages.
            let is_bundle = entry.kind == Kind::Bundle && !rest.contains('/');
            (!is_bundle).then(|| (entry.language.clone(), folder.to_owned()))
        };
        let all: BTreeSet<_> = self.entries.iter().filter_map(top).collect();
        let is_there = |(language, folder): &(Option<String>, String)| {
            self.entries.iter().any(|entry| {
                entry.kind == Kind::Section
                    && entry.language == *language
                    && entry
                        .new
                        .strip_prefix(folder.as_str())
                        .is_some_and(|rest| rest.starts_with("/_index."))
            })
        };
        all.into_iter().filter(|section| !is_there(section)).collect()
    }
}

/// Sections have feeds, and say how their pages are sorted: for Hugo by weight, then by date, then by title.
fn finish_sections(converted: &mut BTreeMap<String, (Table, String)>, has_feeds: bool, made: &mut Imported) {
    let is_section = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with("_index."));
    let language = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".md");
        name.rsplit_once('.').map(|(_, code)| code.to_owned())
    };
    let sections: Vec<String> = converted.keys().filter(|path| is_section(path)).cloned().collect();
    let folder = |path: &str| path[..path.rfind('/').map_or(0, |at| at + 1)].to_owned();
    let mut pages: BTreeMap<&String, Vec<(String, bool, bool)>> = BTreeMap::new();
    for (path, (matter, _)) in converted.iter().filter(|(path, _)| !is_section(path)) {
        let above =
            |section: &&String| path.starts_with(&folder(section)) && language(section) == language(path);
        let Some(section) = sections.iter().filter(above).max_by_key(|section| section.len()) else {
            continue;
        };
        let name = path.trim_end_matches("/index.md").rsplit('/').next().unwrap_or(path);
        let has_date = matter.contains_key("date") || dated_name(name).is_some();
        pages.entry(section).or_default().push((path.clone(), matter.contains_key("weight"), has_date));
    }
    for section in &sections {
        let pages = pages.get(section).map(Vec::as_slice).unwrap_or_default();
        let weights = pages.iter().filter(|(_, has_weight, _)| *has_weight).count();
        let dates = pages.iter().filter(|(.., has_date)| *has_date).count();
        let by = match pages.len() {
            0 => None,
            all if weights == all => Some("weight"),
            all if dates * 2 > all => Some("date"),
            _ => Some("title"),
        };
        if weights > 0 && by != Some("weight") {
            let text = "some of its pages have a weight and some have none: they are sorted without weights";
            made.note(&format!("content/{section}"), text);
        }
        for (path, ..) in pages.iter().filter(|(.., has_date)| by == Some("date") && !has_date) {
            let text = "its section is sorted by date, and it has none: no list has it";
            made.note(&format!("content/{path}"), text);
        }
        let Some((matter, _)) = converted.get_mut(section) else { continue };
        // What is no table comes first.
        let (tables, mut keys): (Table, Table) =
            std::mem::take(matter).into_iter().partition(|(_, value)| value.is_table());
        if let Some(by) = by {
            keys.insert("sort_by".to_owned(), by.into());
        }
        if has_feeds && section.contains('/') {
            keys.insert("generate_feeds".to_owned(), true.into());
        }
        *matter = keys.into_iter().chain(tables).collect();
    }
}

/// The main menu: what the settings say, and what pages say of themselves under names that those have not.
fn main_menu(settings: &mut Settings, site: &Site, places: &Places, found: &mut Found, made: &mut Imported) {
    let mut menu: Vec<MenuEntry> = Vec::new();
    for entry in &settings.menu(&mut made.notes) {
        lost_of_menu(entry).for_each(|lost| made.note(&settings.file, &lost));
        match menu_entry(entry, site, places, &found.titles) {
            Some(entry) => menu.push(entry),
            None => made.note(
                &settings.file,
                "an entry of the main menu without a name, or without `url` and `pageRef`, is left out",
            ),
        }
    }
    let mut all = std::mem::take(&mut found.menu);
    all.retain(|entry| menu.iter().all(|other| other.name != entry.name));
    all.extend(menu);
    all.retain(|entry| {
        let is_published = !found.unpublished.contains(&entry.path);
        if !is_published {
            let what = "leads to a page that is not published: it is left out";
            made.note(&settings.file, &format!("the entry {:?} of the main menu {what}", entry.name));
        }
        is_published
    });
    found.menu = all;
}

/// An entry of the main menu as the built-in theme reads it.
fn menu_entry(
    entry: &Table,
    site: &Site,
    places: &Places,
    titles: &BTreeMap<String, String>,
) -> Option<MenuEntry> {
    let get = |key: &str| table::find(entry, key).and_then(table::text);
    let weight = table::find(entry, "weight").and_then(matter::whole).unwrap_or(0);
    // A menu of the settings is that of the default language.
    let home = site.entries.iter().find(|entry| entry.language.is_none()).or(site.entries.first())?;
    let path = match (get("pageRef"), get("url")) {
        (Some(page), _) => {
            places.content(home, &page).map(|target| format!("@/{}", target.file)).unwrap_or(page)
        }
        (None, Some(url)) if url.contains(':') => url,
        (None, Some(url)) => {
            let url = format!("/{}", url.trim_start_matches('/'));
            places.at(home, &url).map(|target| format!("@/{}", target.file)).unwrap_or(url)
        }
        (None, None) => return None,
    };
    let of_page = || titles.get(&path).cloned();
    let name = get("name").or_else(of_page).or_else(|| get("title")).or_else(|| get("identifier"))?;
    Some(MenuEntry { name, path, weight })
}

/// The title that Hugo gives to a folder: `my-posts` is `My Posts`.
fn titled(folder: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    };
    folder.split(['-', '_']).filter(|part| !part.is_empty()).map(word).collect::<Vec<_>>().join(" ")
}

/// A path as a glob that means nothing but it.
fn escaped(path: &str) -> String {
    path.chars().map(|c| if "*?[]{}!".contains(c) { format!("[{c}]") } else { c.to_string() }).collect()
}

/// The front matter of a page, and its text.
fn split(text: &str) -> Result<(Table, &str), String> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    for (fence, format) in [("+++", "toml"), ("---", "yaml")] {
        let Some(rest) =
            text.strip_prefix(fence).and_then(|rest| rest.trim_start_matches([' ', '\r']).strip_prefix('\n'))
        else {
            continue;
        };
        let mut at = 0;
        for line in rest.split_inclusive('\n') {
            if line.trim_end() == fence {
                return Ok((table::read(format, &rest[..at])?, &rest[at + line.len()..]));
            }
            at += line.len();
        }
        return Err(format!("there is no second `{fence}`"));
    }
    if text.starts_with('{') && !text.starts_with("{{") && !text.starts_with("{%") {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Loose>();
        return match values.next() {
            Some(Ok(value)) => {
                Ok((value.table()?, text[values.byte_offset()..].trim_start_matches(['\r', '\n'])))
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Ok((Table::new(), text)),
        };
    }
    Ok((Table::new(), text))
}

#[cfg(test)]
mod tests;
