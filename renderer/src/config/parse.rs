//! A configuration's text: which keys there are, and what is wrong with keys and values.

use super::{Config, SearchConfig};
use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::library::globs;
use crate::toml_words::{from_toml, read_partly};

const ROOT_KEYS: &[&str] = &[
    "base_url",
    "title",
    "description",
    "default_language",
    "theme",
    "output_dir",
    "preserve_dotfiles_in_output",
    "compile_sass",
    "minify_html",
    "ignored_content",
    "ignored_static",
    "skip_content_templating",
    "hard_link_static",
    "generate_feeds",
    "feed_limit",
    "feed_filenames",
    "taxonomies",
    "taxonomy_root",
    "author",
    "build_search_index",
    "generate_sitemap",
    "generate_robots_txt",
    "exclude_paginated_pages_in_sitemap",
    "slugify",
    "markdown",
    "link_checker",
    "search",
    "languages",
    "translations",
    "extra",
    "mode",
];

const TABLE_KEYS: &[(&str, &[&str])] = &[
    ("slugify", &["paths", "paths_keep_dates", "taxonomies", "anchors"]),
    (
        "markdown",
        &[
            "highlighting",
            "render_emoji",
            "external_links_class",
            "external_links_target_blank",
            "external_links_no_follow",
            "external_links_no_referrer",
            "external_links_external",
            "smart_punctuation",
            "definition_list",
            "bottom_footnotes",
            "lazy_async_image",
            "insert_anchor_links",
            "github_alerts",
        ],
    ),
    (
        "markdown.highlighting",
        &[
            "error_on_missing_language",
            "style",
            "theme",
            "light_theme",
            "dark_theme",
            "extra_grammars",
            "extra_themes",
            "data_attr_position",
        ],
    ),
    (
        "link_checker",
        &["skip_prefixes", "skip_anchor_prefixes", "internal_level", "external_level", "ignored_files"],
    ),
    (
        "search",
        &[
            "include_title",
            "include_description",
            "include_date",
            "include_path",
            "include_content",
            "truncate_content_length",
            "index_format",
        ],
    ),
];

/// Tables in which Zola passes over keys that it does not know, as in those of taxonomies.
const UNCHECKED: &[&str] = &["slugify", "link_checker", "search"];

const TAXONOMY_KEYS: &[&str] = &["name", "paginate_by", "paginate_path", "feed", "render", "lang"];

const LANGUAGE_KEYS: &[&str] = &[
    "title",
    "description",
    "generate_feeds",
    "feed_filenames",
    "taxonomies",
    "build_search_index",
    "search",
    "translations",
];

/// Keys that older versions had or that belong elsewhere, and what to write instead.
const GONE: &[(&str, &str)] = &[
    ("highlight_code", "use the table [markdown.highlighting]"),
    ("highlight_theme", "use `theme` in [markdown.highlighting]"),
    ("highlight_themes_css", "use `style = \"class\"` in [markdown.highlighting]"),
    ("generate_feed", "it is called `generate_feeds` now"),
    ("feed_filename", "it is a list now, `feed_filenames`"),
    ("generate_rss", "it is called `generate_feeds` now"),
    ("math", "Zola does not know it: it goes into [markdown] of bakehouse.toml"),
    (
        "extra_syntaxes_and_themes",
        "grammars are built in; themes go to `extra_themes` in [markdown.highlighting]",
    ),
];

impl Config {
    /// Parses a configuration.
    ///
    /// # Errors
    /// Each unknown key, with the nearest known one; each value that a key cannot have; what TOML itself refuses, with its
    /// place. Unless `is_strict`, tables that Zola leaves unchecked may have others.
    pub(crate) fn parse(path: &str, text: &str, is_strict: bool) -> Result<Self, Errors> {
        let table: toml::Table = from_toml(path, text, &|_| None)?;
        let mut errors = Errors::default();
        check_keys(path, text, &table, is_strict, &mut errors);
        if !table.contains_key("base_url") {
            let hint =
                "say where the site will be published, for instance base_url = \"https://example.com\"";
            errors.push(Diagnostic::in_file(path, "`base_url` is missing").hint(hint));
        }
        let (config, wrong) = read_partly::<Self>(path, text, &|_| None);
        errors.append(wrong);
        let Some(mut config) = config else { return Err(errors) };
        errors.append(config.written_twice(path, text));
        config.adopt_default_language();
        config.base_url_written = config.base_url.clone();
        while config.base_url.ends_with('/') {
            config.base_url.pop();
        }
        // Another language has the usual feed, not those of the root.
        for other in config.languages.values_mut() {
            // One format for all languages, as Zola has it.
            other.search.index_format = config.search.index_format;
            other.feed_filenames.get_or_insert_with(|| Self::default().feed_filenames);
        }
        config.check_values(path, text, &mut errors);
        errors.into_result()?;
        Ok(config)
    }

    /// Says which texts are of the right kind and still cannot be used.
    fn check_values(&self, path: &str, text: &str, errors: &mut Errors) {
        let written =
            |value: &str| text.find(&format!("\"{value}\"")).or_else(|| text.find(&format!("'{value}'")));
        for code in self.languages.keys().chain([&self.default_language]).filter(|code| !is_code(code)) {
            let wrong = Diagnostic::in_file(path, format!("`{code}` is no code of a language"));
            let table = ["]", "."].map(|end| text.find(&format!("[languages.{code}{end}")));
            let at = table.into_iter().flatten().min().map(|at| at + "[languages.".len());
            let wrong = wrong.hint("write one such as `en`, `pt-BR` or `zh-Hant`");
            errors.push(match at.or_else(|| written(code)) {
                Some(at) => wrong.at(text, at),
                None => wrong,
            });
        }
        let mut wrong = |value: &str, diagnostic: Diagnostic| {
            errors.push(match written(value) {
                Some(at) => diagnostic.at(text, at),
                None => diagnostic,
            });
        };
        let others = self.languages.values().flat_map(|other| &other.feed_filenames);
        for name in self.feed_filenames.iter().chain(others.flatten()) {
            if name.is_empty() || name.contains("..") {
                let message = format!("`{name}` is no file name for a feed");
                let hint = "write names such as \"atom.xml\" in `feed_filenames`";
                wrong(name, Diagnostic::in_file(path, message).hint(hint));
            }
        }
        let patterns = [&self.ignored_content, &self.ignored_static, &self.skip_content_templating];
        for pattern in patterns.into_iter().chain([&self.link_checker.ignored_files]).flatten() {
            if let Err(diagnostic) = globs(path, std::slice::from_ref(pattern)) {
                wrong(
                    pattern,
                    diagnostic.hint("write a path with `*` for any name and `**` for any folders"),
                );
            }
        }
    }

    /// What the root says of the default language, and `[languages.CODE]`, too: one of the two would be passed over.
    fn written_twice(&self, path: &str, text: &str) -> Errors {
        let code = &self.default_language;
        let Some(own) = self.languages.get(code) else { return Errors::default() };
        let both = [("title", &self.title, &own.title), ("description", &self.description, &own.description)];
        let both = both.into_iter().filter(|(_, root, own)| root.is_some() && own.is_some());
        let within = format!("languages.{code}");
        let told = |(key, ..): (&str, _, _)| {
            let message = format!("`{key}` of the language `{code}` is written at the root, too");
            let wrong = Diagnostic::in_file(path, message).at(text, key_offset(text, &within, key));
            wrong.hint("keep one of the two")
        };
        both.map(told).collect()
    }

    /// What `[languages.CODE]` says of the default language, as if it stood at the root; what the root says goes first.
    fn adopt_default_language(&mut self) {
        let Some(own) = self.languages.remove(&self.default_language) else { return };
        self.title = self.title.take().or(own.title);
        self.description = self.description.take().or(own.description);
        self.generate_feeds |= own.generate_feeds;
        self.build_search_index |= own.build_search_index;
        if let Some(names) =
            own.feed_filenames.filter(|_| self.feed_filenames == Self::default().feed_filenames)
        {
            self.feed_filenames = names;
        }
        if self.taxonomies.is_empty() {
            self.taxonomies = own.taxonomies;
        }
        if self.search == SearchConfig::default() {
            self.search = own.search;
        }
        for (key, text) in own.translations {
            self.translations.entry(key).or_insert(toml::Value::String(text));
        }
    }
}

fn check_keys(path: &str, text: &str, table: &toml::Table, is_strict: bool, errors: &mut Errors) {
    for unknown in unknown_keys(table, is_strict) {
        let UnknownKey { within, name, known } = unknown;
        let place = key_offset(text, &within, &name);
        let shown = if within.is_empty() {
            format!("unknown key `{name}`")
        } else {
            format!("unknown key `{name}` in [{within}]")
        };
        let hint = match GONE.iter().find(|(gone, _)| *gone == name) {
            Some((_, instead)) => Some((*instead).to_owned()),
            None => match nearest(&name, known.iter().copied()) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => Some("data of your own goes into [extra]".to_owned()),
            },
        };
        errors.push(Diagnostic::in_file(path, shown).at(text, place).maybe_hint(hint));
    }
}

/// A key that a table cannot have.
pub(crate) struct UnknownKey {
    /// The table, its parts joined with dots; empty for the root.
    pub(crate) within: String,
    pub(crate) name: String,
    known: &'static [&'static str],
}

/// The keys of a configuration that nothing reads. Unless `is_strict`, tables that Zola leaves unchecked may have others.
pub(crate) fn unknown_keys(table: &toml::Table, is_strict: bool) -> Vec<UnknownKey> {
    let mut out = Vec::new();
    let mut check = |table: &toml::Table, known: &'static [&'static str], within: &str| {
        let unknown = table.keys().filter(|name| !known.contains(&name.as_str()));
        out.extend(unknown.map(|name| UnknownKey { within: within.to_owned(), name: name.clone(), known }));
    };
    check(table, ROOT_KEYS, "");
    for (within, known) in TABLE_KEYS.iter().filter(|(within, _)| is_strict || !UNCHECKED.contains(within)) {
        let mut at = Some(table);
        for part in within.split('.') {
            at = at.and_then(|t| t.get(part)).and_then(toml::Value::as_table);
        }
        if let Some(found) = at {
            check(found, known, within);
        }
    }
    let mut taxonomies = |list: Option<&toml::Value>| {
        for taxonomy in list.filter(|_| is_strict).and_then(toml::Value::as_array).into_iter().flatten() {
            if let Some(found) = taxonomy.as_table() {
                check(found, TAXONOMY_KEYS, "taxonomies");
            }
        }
    };
    taxonomies(table.get("taxonomies"));
    if let Some(languages) = table.get("languages").and_then(toml::Value::as_table) {
        for (_, language) in languages {
            taxonomies(language.get("taxonomies"));
        }
        for (code, language) in languages {
            if let Some(found) = language.as_table() {
                check(found, LANGUAGE_KEYS, &format!("languages.{code}"));
            }
        }
    }
    out
}

/// Where a key is written, as nearly as text tells: the first line after its table's header that begins with it.
pub(crate) fn key_offset(text: &str, within: &str, name: &str) -> usize {
    let start = if within.is_empty() { 0 } else { text.find(&format!("[{within}]")).unwrap_or(0) };
    let mut offset = start;
    let mut anywhere = None;
    for line in text[start..].split_inclusive('\n') {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let bare = trimmed.strip_prefix('[').unwrap_or(trimmed).trim_start_matches(['"', '\'', '[']);
        if let Some(rest) = bare.strip_prefix(name)
            && rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', ']', '.'])
        {
            return offset + indent;
        }
        if anywhere.is_none()
            && let Some(i) = line.find(name)
        {
            anywhere = Some(offset + i);
        }
        offset += line.len();
    }
    anywhere.unwrap_or(start)
}

/// Whether a name may be that of a language: a code of letters, and what else tells it from others.
fn is_code(name: &str) -> bool {
    name.split(['-', '_']).enumerate().all(|(i, part)| match i {
        0 => (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()),
        _ => (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let errors = Config::parse("zola.toml", "base_url = \"https://x.example/\"\ntilte = \"x\"\n", false)
            .unwrap_err();
        assert_eq!(errors.list()[0].line, Some(2));
        assert_eq!(errors.list()[0].hint.as_deref(), Some("did you mean `title`?"));
    }

    #[test]
    fn all_unknown_keys_are_named() {
        let text = "base_url = \"https://x.example\"\nhighlight_code = true\n[markdown]\nrender_emojis = true\n[slugify]\npath = \"on\"\n";
        let lines = |is_strict| -> Vec<_> {
            Config::parse("zola.toml", text, is_strict).unwrap_err().list().iter().map(|d| d.line).collect()
        };
        assert_eq!(lines(true), [Some(2), Some(4), Some(6)]);
        assert_eq!(lines(false), [Some(2), Some(4)]);
    }
}
