//! The settings of a site for Hugo: what they say of its content, and `zola.toml` made of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use toml::{Table, Value};

use super::gather::gather;
use super::matter::MenuEntry;
use super::table::{find, take, text, texts};
use super::{Imported, Note};
use crate::diagnostic::Errors;
use crate::sources::Sources;

/// Settings that say how Hugo works, and nothing of a site.
const OF_HUGO: [&str; 15] = [
    "publishdir",
    "resourcedir",
    "cachedir",
    "caches",
    "timeout",
    "ignorelogs",
    "ignorewarnings",
    "security",
    "enablerobotstxt",
    "pluralizelisttitles",
    "capitalizelisttitles",
    "reflinkserrorlevel",
    "reflinksnotfoundurl",
    "archetypedir",
    "nobuildlock",
];

/// What a language says of itself to templates.
const OF_LANGUAGE: [&str; 5] = ["languagecode", "locale", "languagename", "label", "weight"];

/// What is to be known of a site before its content is read.
#[derive(Debug)]
pub(super) struct Settings {
    /// The file that notes name.
    pub(super) file: String,
    /// When the site is converted.
    pub(super) now: Timestamp,
    /// What is still to be converted.
    rest: Table,
    pub(super) base_url: String,
    pub(super) language: String,
    /// The other languages, by code.
    languages: BTreeMap<String, Table>,
    /// Folders of content, each with the language that it is of, the deeper ones first.
    pub(super) content: Vec<(String, Option<String>)>,
    /// Folders of static files.
    pub(super) statics: Vec<String>,
    /// The names of taxonomies that front matter uses.
    pub(super) taxonomies: BTreeSet<String>,
    /// Addresses of pages by the first folder that they are in.
    pub(super) permalinks: BTreeMap<String, String>,
    /// Whether addresses end in `.html`, or in which sections.
    ugly: Option<Value>,
    /// Whether addresses are in small letters.
    pub(super) lowers: bool,
    /// Whether dates at the head of file names are dates.
    pub(super) dated_names: bool,
    /// Whether HTML in markdown is shown.
    pub(super) html: bool,
    /// Whether quotes, dashes and dots become those of printers.
    pub(super) typographer: bool,
    /// Whether headings have ids as on GitHub.
    pub(super) anchors: bool,
    /// Whether blocks have attributes in a line below them.
    pub(super) attributes: bool,
    /// Whether addresses in a text become links.
    pub(super) linkify: bool,
    pub(super) params: Table,
    /// What descends to all pages.
    pub(super) cascade: Option<Value>,
    /// Whether the pages of the default language were below its code.
    pub(super) in_folder_of_language: bool,
    /// Whether the code of the default language alone leads to the front page: where there are others, and on one host.
    pub(super) has_language_redirect: bool,
}

impl Settings {
    /// Finds and reads the settings.
    ///
    /// # Errors
    /// Where this is no site for Hugo, and settings that cannot be read.
    pub(super) fn read(sources: &Sources, now: Timestamp, notes: &mut Vec<Note>) -> Result<Self, Errors> {
        let (file, mut rest) = gather(sources, notes)?;
        let base_url = string(&mut rest, "baseURL").filter(|url| url.contains("://"));
        let language = default_language(&mut rest);
        let mut languages = languages(&mut rest);
        let content = content_folders(&mut rest, &mut languages);
        let statics =
            take(&mut rest, "staticDir").map_or_else(|| vec!["static".to_owned()], |value| texts(&value));
        say_of_all(&mut rest, languages.remove(&language).unwrap_or_default());
        let taxonomies = match take(&mut rest, "taxonomies") {
            Some(Value::Table(own)) => {
                own.values().filter_map(text).map(|name| name.to_lowercase()).collect()
            }
            _ => ["tags".to_owned(), "categories".to_owned()].into(),
        };
        let permalinks = permalinks(take(&mut rest, "permalinks"), &file, notes);
        let lowers = take(&mut rest, "disablePathToLower") != Some(Value::Boolean(true));
        let dated_names = find(&rest, "frontmatter.date")
            .is_some_and(|list| texts(list).iter().any(|from| from.eq_ignore_ascii_case(":filename")));
        let params = table(&mut rest, "params");
        let is = |path: &str, value: bool| find(&rest, path) == Some(&Value::Boolean(value));
        let html = is("markup.goldmark.renderer.unsafe", true);
        let anchors = !is("markup.goldmark.parser.autoHeadingID", false)
            && find(&rest, "markup.goldmark.parser.autoHeadingIDType")
                .is_none_or(|by| by.as_str() == Some("github"));
        let typographer = !is("markup.goldmark.extensions.typographer", false)
            && !is("markup.goldmark.extensions.typographer.disable", true);
        let attributes = is("markup.goldmark.parser.attribute.block", true);
        let linkify = !is("markup.goldmark.extensions.linkify", false);
        let ugly = take(&mut rest, "uglyURLs").filter(|value| *value != Value::Boolean(false));
        let cascade = take(&mut rest, "cascade");
        let in_folder_of_language = take(&mut rest, "defaultContentLanguageInSubdir")
            == Some(Value::Boolean(true))
            && !languages.is_empty();
        let is_off = take(&mut rest, "disableDefaultLanguageRedirect") == Some(Value::Boolean(true));
        let has_language_redirect = !is_off
            && !languages.is_empty()
            && !languages.values().any(|language| find(language, "baseURL").is_some());
        if in_folder_of_language {
            let said = format!(
                "addresses were below /{language}/ and are at the root now: those of pages and sections are aliases, and those of terms, of feeds and of files are not"
            );
            notes.push(Note::new(&file, &said));
        }
        Ok(Self {
            file,
            now,
            base_url: base_url
                .map_or_else(|| "https://example.com".to_owned(), |url| url.trim_end_matches('/').to_owned()),
            language,
            languages,
            content,
            statics: statics.iter().map(|name| folder(name)).collect(),
            taxonomies,
            permalinks,
            ugly,
            lowers,
            dated_names,
            html,
            typographer,
            anchors,
            attributes,
            linkify,
            params,
            cascade,
            in_folder_of_language,
            has_language_redirect,
            rest,
        })
    }

    /// Codes of the languages beside the default one.
    pub(super) fn other_languages(&self) -> impl Iterator<Item = &str> {
        self.languages.keys().map(String::as_str)
    }

    /// Whether the pages of a section have addresses that end in `.html`.
    pub(super) fn is_ugly(&self, section: &str) -> bool {
        match &self.ugly {
            Some(Value::Table(sections)) => sections.get(section) == Some(&Value::Boolean(true)),
            ugly => ugly.is_some(),
        }
    }

    /// Whether a site has feeds, and so have its sections.
    pub(super) fn has_feeds(&self) -> bool {
        let off = find(&self.rest, "disableKinds").map(texts).unwrap_or_default();
        let formats = find(&self.rest, "outputs.home").map(texts);
        let is_rss = |name: &String| name.eq_ignore_ascii_case("rss");
        !off.iter().any(is_rss) && formats.is_none_or(|formats| formats.iter().any(is_rss))
    }

    /// The path of `base_url`, without a slash at its end.
    pub(super) fn base_path(&self) -> &str {
        let host = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        host.find('/').map_or("", |at| &host[at..])
    }

    /// Takes the entries of the main menu; other menus are noted.
    pub(super) fn menu(&mut self, notes: &mut Vec<Note>) -> Vec<Table> {
        let menus = take(&mut self.rest, "menus").or_else(|| take(&mut self.rest, "menu"));
        let Some(Value::Table(menus)) = menus else { return Vec::new() };
        let mut main = Vec::new();
        for (name, entries) in menus {
            match entries {
                Value::Array(entries) if name == "main" => {
                    main.extend(entries.into_iter().filter_map(|entry| match entry {
                        Value::Table(entry) => Some(entry),
                        _ => None,
                    }));
                }
                _ => notes.push(Note::new(&self.file, &format!("the menu `{name}` is not converted"))),
            }
        }
        main
    }

    /// `zola.toml`: of the settings what has a counterpart, and what was found out by the content. All else is noted.
    pub(super) fn write(mut self, found: Found, made: &mut Imported) -> Table {
        let mut out = Table::new();
        out.insert("base_url".to_owned(), self.base_url.clone().into());
        if let Some(title) = take(&mut self.rest, "title").as_ref().and_then(text) {
            out.insert("title".to_owned(), title.into());
        }
        if let Some(description) = self.params.get("description").filter(|value| value.is_str()) {
            out.insert("description".to_owned(), description.clone());
        }
        out.insert("default_language".to_owned(), self.language.clone().into());
        let feeds = self.has_feeds();
        let off: Vec<String> = take(&mut self.rest, "disableKinds").iter().flat_map(texts).collect();
        let is_off = |kind: &str| off.iter().any(|name| name.eq_ignore_ascii_case(kind));
        if feeds {
            out.insert("generate_feeds".to_owned(), true.into());
            out.insert("feed_filenames".to_owned(), Value::Array(vec!["index.xml".into()]));
            if let Some(limit @ Value::Integer(1..)) = find(&self.rest, "services.rss.limit") {
                out.insert("feed_limit".to_owned(), limit.clone());
            }
            made.files.insert("templates/index.xml".to_owned(), FEED.into());
        }
        if is_off("sitemap") {
            out.insert("generate_sitemap".to_owned(), false.into());
        }
        let taxonomies =
            |used: &BTreeSet<String>| taxonomies(used, feeds, !is_off("taxonomy") && !is_off("term"));
        if feeds && !found.taxonomies.is_empty() {
            made.note(
                &self.file,
                "each term has a feed, and a taxonomy as a whole has none, such as /tags/index.xml",
            );
        }
        let none = BTreeSet::new();
        let used = |code: &str| found.taxonomies.get(code).unwrap_or(&none);
        if !used(&self.language).is_empty() {
            out.insert("taxonomies".to_owned(), taxonomies(used(&self.language)));
        }
        if !found.templated.is_empty() {
            out.insert(
                "skip_content_templating".to_owned(),
                Value::Array(found.templated.into_iter().map(Value::from).collect()),
            );
        }
        if !self.dated_names {
            let mut slugify = Table::new();
            slugify.insert("paths_keep_dates".to_owned(), true.into());
            out.insert("slugify".to_owned(), Value::Table(slugify));
        }
        out.insert("markdown".to_owned(), Value::Table(self.markdown()));
        // Hugo says nothing of links that lead nowhere, and a site that it builds has some.
        let warn = Table::from_iter([("internal_level".to_owned(), "warn".into())]);
        out.insert("link_checker".to_owned(), Value::Table(warn));
        let mut texts = found.texts;
        let mut translations = |code: &str| {
            let texts = texts.remove(code).filter(|texts| !texts.is_empty())?;
            Some(Value::Table(texts.into_iter().map(|(name, text)| (name, text.into())).collect()))
        };
        let own_texts = translations(&self.language);
        for (code, mut table) in std::mem::take(&mut self.languages) {
            let mut language = Table::new();
            if let Some(title) = take(&mut table, "title").as_ref().and_then(text) {
                language.insert("title".to_owned(), title.into());
            }
            if feeds {
                language.insert("generate_feeds".to_owned(), true.into());
                language.insert("feed_filenames".to_owned(), Value::Array(vec!["index.xml".into()]));
            }
            if !used(&code).is_empty() {
                language.insert("taxonomies".to_owned(), taxonomies(used(&code)));
            }
            if let Some(texts) = translations(&code) {
                language.insert("translations".to_owned(), texts);
            }
            for name in table.keys().filter(|name| !OF_LANGUAGE.contains(&name.to_lowercase().as_str())) {
                made.note(&self.file, &format!("the setting `languages.{code}.{name}` is not converted"));
            }
            let all = out.entry("languages").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(all) = all {
                all.insert(code, Value::Table(language));
            }
        }
        if let Some(texts) = own_texts {
            out.insert("translations".to_owned(), texts);
        }
        let mut extra = std::mem::take(&mut self.params);
        if !found.menu.is_empty() {
            extra.insert("menu".to_owned(), menu(found.menu));
        }
        if !extra.is_empty() {
            out.insert("extra".to_owned(), Value::Table(extra));
        }
        self.note_rest(made);
        out
    }

    /// Names what is left.
    fn note_rest(&self, made: &mut Imported) {
        for name in self.rest.keys().filter(|name| !OF_HUGO.contains(&name.to_lowercase().as_str())) {
            let used = [("services", "services.rss"), ("outputs", "outputs.home")];
            let only = used.iter().any(|(table, key)| {
                name.eq_ignore_ascii_case(table)
                    && self.rest[name].as_table().is_some_and(|t| t.len() == 1)
                    && find(&self.rest, key).is_some_and(|of_it| {
                        texts(of_it)
                            .iter()
                            .all(|format| ["html", "rss"].contains(&format.to_lowercase().as_str()))
                    })
            });
            if !only {
                made.note(&self.file, &format!("the setting `{name}` is not converted"));
            }
        }
    }

    /// `[markdown]`, and of `[markup]` what is not in it.
    fn markdown(&mut self) -> Table {
        let mut out = Table::new();
        let definitions = find(&self.rest, "markup.goldmark.extensions.definitionList");
        out.insert("definition_list".to_owned(), (definitions != Some(&Value::Boolean(false))).into());
        out.insert("bottom_footnotes".to_owned(), true.into());
        out.insert("smart_punctuation".to_owned(), self.typographer.into());
        if take(&mut self.rest, "enableEmoji") == Some(Value::Boolean(true)) {
            out.insert("render_emoji".to_owned(), true.into());
        }
        let Some(Value::Table(mut markup)) = take(&mut self.rest, "markup") else { return out };
        take(&mut markup, "defaultMarkdownHandler");
        if let Some(Value::Table(mut goldmark)) = take(&mut markup, "goldmark") {
            if let Some(Value::Table(renderer)) = goldmark.get_mut("renderer") {
                take(renderer, "unsafe");
            }
            if let Some(Value::Table(parser)) = goldmark.get_mut("parser") {
                take(parser, "attribute");
                if self.anchors {
                    take(parser, "autoHeadingIDType");
                    take(parser, "autoHeadingID");
                }
            }
            if let Some(Value::Table(extensions)) = goldmark.get_mut("extensions") {
                for known in ["typographer", "definitionList", "linkify"] {
                    take(extensions, known);
                }
            }
            goldmark.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
            for (name, value) in goldmark {
                markup.insert(format!("goldmark.{name}"), value);
            }
        }
        for (name, value) in markup {
            self.rest.insert(format!("markup.{name}"), value);
        }
        out
    }
}

fn string(table: &mut Table, name: &str) -> Option<String> {
    take(table, name).as_ref().and_then(text)
}

/// Takes a table; an empty one where there is none.
fn table(of: &mut Table, name: &str) -> Table {
    match take(of, name) {
        Some(Value::Table(table)) => table,
        _ => Table::new(),
    }
}

/// A folder's name with a slash at its end.
fn folder(name: &str) -> String {
    format!("{}/", name.trim_matches('/'))
}

fn default_language(settings: &mut Table) -> String {
    let default = string(settings, "defaultContentLanguage");
    let (code, locale) = (string(settings, "languageCode"), string(settings, "locale"));
    // What programs of readers are told may name a country, too.
    let told = code.or(locale);
    let told = told.as_deref().and_then(|told| told.split(['-', '_']).next());
    default.or_else(|| told.map(str::to_owned)).unwrap_or_else(|| "en".to_owned()).to_lowercase()
}

/// The languages that are on, by code.
fn languages(settings: &mut Table) -> BTreeMap<String, Table> {
    let table = |(code, value): (String, Value)| match value {
        Value::Table(table) => Some((code.to_lowercase(), table)),
        _ => None,
    };
    let mut languages: BTreeMap<String, Table> =
        self::table(settings, "languages").into_iter().filter_map(table).collect();
    for code in take(settings, "disableLanguages").iter().flat_map(texts) {
        languages.remove(&code.to_lowercase());
    }
    languages.retain(|_, table| take(table, "disabled") != Some(Value::Boolean(true)));
    languages
}

/// Folders of content, each with the language that it is of, the deeper ones first.
fn content_folders(
    settings: &mut Table,
    languages: &mut BTreeMap<String, Table>,
) -> Vec<(String, Option<String>)> {
    let own = languages
        .iter_mut()
        .filter_map(|(code, table)| Some((folder(&string(table, "contentDir")?), Some(code.clone()))));
    let mut folders: Vec<_> = own.collect();
    let of_all = string(settings, "contentDir").unwrap_or_else(|| "content".to_owned());
    folders.push((folder(&of_all), None));
    folders.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
    folders
}

/// What the default language says of itself is said of the site.
fn say_of_all(settings: &mut Table, own: Table) {
    for (key, value) in own {
        match (key.to_lowercase().as_str(), value) {
            ("menus" | "menu", Value::Table(mut own)) => {
                let of_all = take(settings, "menus").or_else(|| take(settings, "menu"));
                if let Some(Value::Table(of_all)) = of_all {
                    for (name, menu) in of_all {
                        own.entry(name).or_insert(menu);
                    }
                }
                settings.insert("menus".to_owned(), Value::Table(own));
            }
            ("params", Value::Table(own)) => {
                let mut params = table(settings, "params");
                params.extend(own);
                settings.insert("params".to_owned(), Value::Table(params));
            }
            (name, _) if OF_LANGUAGE.contains(&name) => {}
            (_, value) => {
                take(settings, &key);
                settings.insert(key, value);
            }
        }
    }
}

/// What content has told of a site.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Taxonomies that pages have terms of, by language.
    pub(super) taxonomies: BTreeMap<String, BTreeSet<String>>,
    /// Globs of pages with braces that are text.
    pub(super) templated: Vec<String>,
    pub(super) menu: Vec<MenuEntry>,
    /// What menus call pages of the default language, by `@/` and their files.
    pub(super) titles: BTreeMap<String, String>,
    /// Drafts, and pages without an address, by the same.
    pub(super) unpublished: BTreeSet<String>,
    /// Texts of templates, by language.
    pub(super) texts: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether a page says when it is to come or to go.
    pub(super) has_times: bool,
}

/// The feed of Hugo has another name than those that there are templates for.
const FEED: &str = "{% include \"rss.xml\" %}\n";

/// `taxonomies`: those that pages have terms of.
fn taxonomies(used: &BTreeSet<String>, feeds: bool, render: bool) -> Value {
    let taxonomy = |name: &String| {
        let mut taxonomy = Table::new();
        taxonomy.insert("name".to_owned(), name.as_str().into());
        if feeds {
            taxonomy.insert("feed".to_owned(), true.into());
        }
        if !render {
            taxonomy.insert("render".to_owned(), false.into());
        }
        Value::Table(taxonomy)
    };
    Value::Array(used.iter().map(taxonomy).collect())
}

/// `[[extra.menu]]`, as the built-in theme reads it.
fn menu(mut entries: Vec<MenuEntry>) -> Value {
    // What has no weight comes last.
    entries.sort_by(|a, b| (a.weight == 0, a.weight, &a.name).cmp(&(b.weight == 0, b.weight, &b.name)));
    let entry = |MenuEntry { name, path, .. }| {
        Value::Table(
            [("name".to_owned(), name.into()), ("path".to_owned(), path.into())].into_iter().collect(),
        )
    };
    Value::Array(entries.into_iter().map(entry).collect())
}

/// Patterns of the addresses of pages, by their first folder.
fn permalinks(value: Option<Value>, file: &str, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(Value::Table(table)) = value else { return out };
    for (name, value) in table {
        match value {
            Value::String(pattern) => {
                out.insert(name.to_lowercase(), pattern);
            }
            Value::Table(pages) if name == "page" => {
                let patterns =
                    pages.iter().filter_map(|(name, value)| Some((name.to_lowercase(), text(value)?)));
                out.extend(patterns);
            }
            Value::Table(kind) if kind.is_empty() => {}
            _ => notes.push(Note::new(file, &format!("the setting `permalinks.{name}` is not converted"))),
        }
    }
    out
}
