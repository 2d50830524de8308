//! `zola.toml` (or `config.toml`): what a site says about itself, its keys those of Zola 0.23.
//!
//! Owns parsing, the check for unknown keys, and the `config` variable that templates see. `bakehouse.toml` belongs
//! to the program; only its presence matters here.

mod load;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tera::{Map, Value};

use crate::diagnostic::{Diagnostic, Errors, nearest};
use crate::library::globs;
use crate::slugs::Slugify;
use crate::sources::Sources;
use crate::toml_words::{from_toml, read_partly};
use crate::value::{self, key};

pub use load::config_errors;

/// The names a configuration may have, in the order they are looked for.
pub(crate) const CONFIG_NAMES: [&str; 2] = ["zola.toml", "config.toml"];

/// The file whose presence turns on what Bakehouse does beyond Zola.
pub(crate) const BAKEHOUSE_NAME: &str = "bakehouse.toml";

/// A site's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Where the site is published, without a trailing slash.
    pub(crate) base_url: String,
    /// The same as it was written: what templates put together themselves begins with this.
    #[serde(skip)]
    pub(crate) base_url_written: String,
    /// The site's title.
    pub(crate) title: Option<String>,
    /// The site's description.
    pub(crate) description: Option<String>,
    /// The language of content whose file name says none.
    pub(crate) default_language: String,
    /// The folder under `themes/`.
    pub(crate) theme: Option<String>,
    pub(crate) output_dir: String,
    pub(crate) preserve_dotfiles_in_output: bool,
    pub(crate) compile_sass: bool,
    pub(crate) minify_html: bool,
    pub(crate) ignored_content: Vec<String>,
    pub(crate) ignored_static: Vec<String>,
    pub(crate) skip_content_templating: Vec<String>,
    pub(crate) hard_link_static: bool,
    pub(crate) generate_feeds: bool,
    pub(crate) feed_limit: Option<usize>,
    pub(crate) feed_filenames: Vec<String>,
    pub(crate) taxonomies: Vec<TaxonomyConfig>,
    pub(crate) taxonomy_root: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) build_search_index: bool,
    pub(crate) generate_sitemap: bool,
    pub(crate) generate_robots_txt: bool,
    pub(crate) exclude_paginated_pages_in_sitemap: ExcludePaginated,
    pub(crate) slugify: SlugifyConfig,
    pub(crate) markdown: MarkdownConfig,
    pub(crate) link_checker: LinkChecker,
    pub(crate) search: SearchConfig,
    pub(crate) languages: BTreeMap<String, LanguageConfig>,
    pub(crate) translations: BTreeMap<String, toml::Value>,
    pub(crate) extra: toml::Table,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            base_url_written: String::new(),
            title: None,
            description: None,
            default_language: "en".to_owned(),
            theme: None,
            output_dir: "public".to_owned(),
            preserve_dotfiles_in_output: false,
            compile_sass: false,
            minify_html: false,
            ignored_content: Vec::new(),
            ignored_static: Vec::new(),
            skip_content_templating: Vec::new(),
            hard_link_static: false,
            generate_feeds: false,
            feed_limit: None,
            feed_filenames: vec!["atom.xml".to_owned()],
            taxonomies: Vec::new(),
            taxonomy_root: None,
            author: None,
            build_search_index: false,
            generate_sitemap: true,
            generate_robots_txt: true,
            exclude_paginated_pages_in_sitemap: ExcludePaginated::None,
            slugify: SlugifyConfig::default(),
            markdown: MarkdownConfig::default(),
            link_checker: LinkChecker::default(),
            search: SearchConfig::default(),
            languages: BTreeMap::new(),
            translations: BTreeMap::new(),
            extra: toml::Table::new(),
        }
    }
}

/// One taxonomy.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct TaxonomyConfig {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) paginate_by: Option<usize>,
    #[serde(default)]
    pub(crate) paginate_path: Option<String>,
    #[serde(default)]
    pub(crate) feed: bool,
    #[serde(default = "yes")]
    pub(crate) render: bool,
}

fn yes() -> bool {
    true
}

impl TaxonomyConfig {
    pub(crate) fn paginate_path(&self) -> &str {
        self.paginate_path.as_deref().unwrap_or("page")
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SlugifyConfig {
    pub(crate) paths: Slugify,
    pub(crate) paths_keep_dates: bool,
    pub(crate) taxonomies: Slugify,
    pub(crate) anchors: Slugify,
}

/// Whether pagers are left out of the sitemap.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExcludePaginated {
    #[default]
    None,
    All,
}

/// `[markdown]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct MarkdownConfig {
    pub(crate) highlighting: Option<HighlightConfig>,
    pub(crate) render_emoji: bool,
    pub(crate) external_links_class: Option<String>,
    pub(crate) external_links_target_blank: bool,
    pub(crate) external_links_no_follow: bool,
    pub(crate) external_links_no_referrer: bool,
    pub(crate) external_links_external: bool,
    pub(crate) smart_punctuation: bool,
    pub(crate) definition_list: bool,
    pub(crate) bottom_footnotes: bool,
    pub(crate) lazy_async_image: bool,
    pub(crate) insert_anchor_links: AnchorLinks,
    pub(crate) github_alerts: bool,
}

impl Default for MarkdownConfig {
    fn default() -> Self {
        Self {
            highlighting: None,
            render_emoji: false,
            external_links_class: None,
            external_links_target_blank: false,
            external_links_no_follow: false,
            external_links_no_referrer: false,
            external_links_external: true,
            smart_punctuation: false,
            definition_list: false,
            bottom_footnotes: false,
            lazy_async_image: false,
            insert_anchor_links: AnchorLinks::None,
            github_alerts: false,
        }
    }
}

/// `[markdown.highlighting]`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct HighlightConfig {
    pub(crate) error_on_missing_language: bool,
    pub(crate) style: HighlightStyle,
    pub(crate) theme: Option<String>,
    pub(crate) light_theme: Option<String>,
    pub(crate) dark_theme: Option<String>,
    pub(crate) extra_grammars: Vec<String>,
    pub(crate) extra_themes: Vec<String>,
    pub(crate) data_attr_position: DataAttr,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HighlightStyle {
    #[default]
    Inline,
    Class,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DataAttr {
    Pre,
    #[default]
    Code,
    Both,
    None,
}

/// Where the link to a heading goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize, Hash)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnchorLinks {
    #[default]
    None,
    Left,
    Right,
    Heading,
}

impl AnchorLinks {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "left" => Self::Left,
            "right" => Self::Right,
            "heading" => Self::Heading,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Left => "left",
            Self::Right => "right",
            Self::Heading => "heading",
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LinkChecker {
    pub(crate) skip_prefixes: Vec<String>,
    pub(crate) skip_anchor_prefixes: Vec<String>,
    pub(crate) internal_level: Level,
    /// Patterns of files whose links to other hosts are not asked for.
    pub(crate) ignored_files: Vec<String>,
    /// None where the site does not say: then other hosts are not asked.
    pub(crate) external_level: Option<Level>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    #[default]
    Error,
    Warn,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct SearchConfig {
    pub(crate) include_title: bool,
    pub(crate) include_description: bool,
    pub(crate) include_date: bool,
    pub(crate) include_path: bool,
    pub(crate) include_content: bool,
    pub(crate) truncate_content_length: Option<usize>,
    pub(crate) index_format: IndexFormat,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            include_title: true,
            include_description: false,
            include_date: false,
            include_path: false,
            include_content: true,
            truncate_content_length: None,
            index_format: IndexFormat::ElasticlunrJavascript,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IndexFormat {
    ElasticlunrJson,
    ElasticlunrJavascript,
    FuseJson,
    FuseJavascript,
}

impl IndexFormat {
    pub(crate) fn is_elasticlunr(self) -> bool {
        matches!(self, Self::ElasticlunrJson | Self::ElasticlunrJavascript)
    }
}

/// `[languages.CODE]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LanguageConfig {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) generate_feeds: bool,
    pub(crate) feed_filenames: Option<Vec<String>>,
    pub(crate) taxonomies: Vec<TaxonomyConfig>,
    pub(crate) build_search_index: bool,
    pub(crate) search: SearchConfig,
    pub(crate) translations: BTreeMap<String, String>,
}

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

/// Which file of the sources is the configuration.
pub(crate) fn config_path(sources: &Sources, given: Option<&str>) -> Option<String> {
    match given {
        Some(path) => sources.get(path).map(|_| path.to_owned()),
        None => CONFIG_NAMES.iter().find(|name| sources.get(name).is_some()).map(|name| (*name).to_owned()),
    }
}

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

    /// All languages, the default one first.
    pub(crate) fn language_codes(&self) -> Vec<&str> {
        let mut codes = vec![self.default_language.as_str()];
        codes.extend(self.languages.keys().map(String::as_str).filter(|code| *code != self.default_language));
        codes
    }

    pub(crate) fn is_default(&self, lang: &str) -> bool {
        lang == self.default_language
    }

    pub(crate) fn has_language(&self, lang: &str) -> bool {
        self.is_default(lang) || self.languages.contains_key(lang)
    }

    /// Whether `.code` before `.md` in a file's name is a language; only where there are several.
    pub(crate) fn names_language(&self, code: &str) -> bool {
        !self.languages.is_empty() && self.has_language(code)
    }

    fn other(&self, lang: &str) -> Option<&LanguageConfig> {
        if self.is_default(lang) { None } else { self.languages.get(lang) }
    }

    pub(crate) fn title_for(&self, lang: &str) -> Option<&str> {
        match self.other(lang) {
            Some(other) => other.title.as_deref(),
            None => self.title.as_deref(),
        }
    }

    pub(crate) fn description_for(&self, lang: &str) -> Option<&str> {
        match self.other(lang) {
            Some(other) => other.description.as_deref(),
            None => self.description.as_deref(),
        }
    }

    pub(crate) fn feeds_for(&self, lang: &str) -> bool {
        self.other(lang).map_or(self.generate_feeds, |other| other.generate_feeds)
    }

    pub(crate) fn feed_filenames_for(&self, lang: &str) -> &[String] {
        self.other(lang).and_then(|other| other.feed_filenames.as_deref()).unwrap_or(&self.feed_filenames)
    }

    pub(crate) fn taxonomies_for(&self, lang: &str) -> &[TaxonomyConfig] {
        match self.other(lang) {
            Some(other) => &other.taxonomies,
            None => &self.taxonomies,
        }
    }

    pub(crate) fn search_index_for(&self, lang: &str) -> bool {
        self.other(lang).map_or(self.build_search_index, |other| other.build_search_index)
    }

    /// Whether pages need the library that reads elasticlunr's index.
    pub(crate) fn loads_elasticlunr(&self) -> bool {
        self.language_codes()
            .into_iter()
            .any(|lang| self.search_index_for(lang) && self.search_for(lang).index_format.is_elasticlunr())
    }

    pub(crate) fn search_for(&self, lang: &str) -> &SearchConfig {
        self.other(lang).map_or(&self.search, |other| &other.search)
    }

    /// The text of a key in a language.
    pub(crate) fn translation(&self, key: &str, lang: &str) -> Option<&str> {
        match self.other(lang) {
            Some(other) => other.translations.get(key).map(String::as_str),
            None => match self.translations.get(key) {
                Some(toml::Value::String(text)) => Some(text),
                _ => None,
            },
        }
    }

    /// The keys that `translation` knows in a language.
    pub(crate) fn translation_keys(&self, lang: &str) -> Vec<&str> {
        match self.other(lang) {
            Some(other) => other.translations.keys().map(String::as_str).collect(),
            None => self.translations.keys().map(String::as_str).collect(),
        }
    }

    /// The `config` variable of templates, in a language.
    pub(crate) fn to_value(&self, lang: &str, base_url: &str) -> Value {
        let mut out = Map::new();
        let text = |s: Option<&str>| s.map_or_else(Value::none, Value::from);
        out.insert(key("base_url"), Value::from(base_url));
        out.insert(key("mode"), Value::from("build"));
        out.insert(key("title"), text(self.title_for(lang)));
        out.insert(key("description"), text(self.description_for(lang)));
        out.insert(key("default_language"), Value::from(self.default_language.as_str()));
        out.insert(key("theme"), text(self.theme.as_deref()));
        for name in ["generate_feeds", "generate_feed"] {
            out.insert(key(name), Value::from(self.feeds_for(lang)));
        }
        out.insert(key("feed_filenames"), Value::from(self.feed_filenames_for(lang).to_vec()));
        out.insert(key("feed_limit"), self.feed_limit.map_or_else(Value::none, Value::from));
        out.insert(
            key("taxonomies"),
            Value::from(self.taxonomies_for(lang).iter().map(TaxonomyConfig::to_value).collect::<Vec<_>>()),
        );
        out.insert(key("taxonomy_root"), text(self.taxonomy_root.as_deref()));
        out.insert(key("author"), text(self.author.as_deref()));
        out.insert(key("build_search_index"), Value::from(self.search_index_for(lang)));
        out.insert(key("compile_sass"), Value::from(self.compile_sass));
        out.insert(key("minify_html"), Value::from(self.minify_html));
        out.insert(key("generate_sitemap"), Value::from(self.generate_sitemap));
        out.insert(key("generate_robots_txt"), Value::from(self.generate_robots_txt));
        out.insert(
            key("exclude_paginated_pages_in_sitemap"),
            Value::from(match self.exclude_paginated_pages_in_sitemap {
                ExcludePaginated::None => "none",
                ExcludePaginated::All => "all",
            }),
        );
        out.insert(key("extra"), value::from_toml_table(&self.extra));
        out.insert(key("markdown"), self.markdown.to_value());
        out.insert(key("search"), self.search_for(lang).to_value());
        // The others, by their codes: what is said of this one stands above.
        let others: BTreeSet<&str> = self.language_codes().into_iter().filter(|code| *code != lang).collect();
        let others = others.into_iter().map(|code| (value::owned_key(code), self.language_value(code)));
        out.insert(key("languages"), value::map(others.collect()));
        out.insert(key("translations"), self.translations_value(lang));
        value::map(out)
    }

    fn language_value(&self, code: &str) -> Value {
        let mut out = Map::new();
        let text = |s: Option<&str>| s.map_or_else(Value::none, Value::from);
        let taxonomies = self.taxonomies_for(code).iter().map(TaxonomyConfig::to_value);
        out.insert(key("title"), text(self.title_for(code)));
        out.insert(key("description"), text(self.description_for(code)));
        out.insert(key("taxonomies"), Value::from(taxonomies.collect::<Vec<_>>()));
        out.insert(key("generate_feeds"), Value::from(self.feeds_for(code)));
        out.insert(key("feed_filenames"), Value::from(self.feed_filenames_for(code).to_vec()));
        out.insert(key("build_search_index"), Value::from(self.search_index_for(code)));
        out.insert(key("search"), self.search_for(code).to_value());
        out.insert(key("translations"), self.translations_value(code));
        value::map(out)
    }

    fn translations_value(&self, lang: &str) -> Value {
        let known = self.translation_keys(lang).into_iter();
        let texts = known.filter_map(|k| Some((value::owned_key(k), self.translation(k, lang)?.into())));
        value::map(texts.collect())
    }
}

impl TaxonomyConfig {
    pub(crate) fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert(key("name"), Value::from(self.name.as_str()));
        out.insert(key("slug"), Value::from(slug::slugify(&self.name)));
        out.insert(key("paginate_by"), self.paginate_by.map_or_else(Value::none, Value::from));
        out.insert(key("paginate_path"), self.paginate_path.as_deref().map_or_else(Value::none, Value::from));
        out.insert(key("feed"), Value::from(self.feed));
        out.insert(key("render"), Value::from(self.render));
        value::map(out)
    }
}

impl MarkdownConfig {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert(key("render_emoji"), Value::from(self.render_emoji));
        out.insert(key("smart_punctuation"), Value::from(self.smart_punctuation));
        out.insert(key("definition_list"), Value::from(self.definition_list));
        out.insert(key("bottom_footnotes"), Value::from(self.bottom_footnotes));
        out.insert(key("github_alerts"), Value::from(self.github_alerts));
        out.insert(key("lazy_async_image"), Value::from(self.lazy_async_image));
        out.insert(key("external_links_target_blank"), Value::from(self.external_links_target_blank));
        out.insert(key("external_links_no_follow"), Value::from(self.external_links_no_follow));
        out.insert(key("external_links_no_referrer"), Value::from(self.external_links_no_referrer));
        out.insert(key("external_links_external"), Value::from(self.external_links_external));
        let class = self.external_links_class.as_deref();
        out.insert(key("external_links_class"), class.map_or_else(Value::none, Value::from));
        out.insert(key("insert_anchor_links"), Value::from(self.insert_anchor_links.name()));
        let highlighting = match &self.highlighting {
            None => Value::none(),
            Some(h) => {
                let mut map = Map::new();
                let text = |s: &Option<String>| s.as_deref().map_or_else(Value::none, Value::from);
                map.insert(key("error_on_missing_language"), Value::from(h.error_on_missing_language));
                map.insert(key("theme"), text(&h.theme));
                map.insert(key("light_theme"), text(&h.light_theme));
                map.insert(key("dark_theme"), text(&h.dark_theme));
                map.insert(
                    key("style"),
                    Value::from(if h.style == HighlightStyle::Class { "class" } else { "inline" }),
                );
                value::map(map)
            }
        };
        out.insert(key("highlighting"), highlighting);
        value::map(out)
    }
}

impl SearchConfig {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        let format = match self.index_format {
            IndexFormat::ElasticlunrJson => "elasticlunr_json",
            IndexFormat::ElasticlunrJavascript => "elasticlunr_javascript",
            IndexFormat::FuseJson => "fuse_json",
            IndexFormat::FuseJavascript => "fuse_javascript",
        };
        out.insert(key("index_format"), Value::from(format));
        out.insert(key("include_title"), Value::from(self.include_title));
        out.insert(key("include_description"), Value::from(self.include_description));
        out.insert(key("include_date"), Value::from(self.include_date));
        out.insert(key("include_path"), Value::from(self.include_path));
        out.insert(key("include_content"), Value::from(self.include_content));
        let length = self.truncate_content_length;
        out.insert(key("truncate_content_length"), length.map_or_else(Value::none, Value::from));
        value::map(out)
    }
}

fn check_keys(path: &str, text: &str, table: &toml::Table, is_strict: bool, errors: &mut Errors) {
    let mut check = |table: &toml::Table, known: &[&str], within: &str| {
        for name in table.keys() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let place = key_offset(text, within, name);
            let shown = if within.is_empty() {
                format!("unknown key `{name}`")
            } else {
                format!("unknown key `{name}` in [{within}]")
            };
            let hint = match GONE.iter().find(|(gone, _)| gone == name) {
                Some((_, instead)) => Some((*instead).to_owned()),
                None => match nearest(name, known.iter().copied()) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None => Some("data of your own goes into [extra]".to_owned()),
                },
            };
            errors.push(Diagnostic::in_file(path, shown).at(text, place).maybe_hint(hint));
        }
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

/// Puts a theme's `[extra]` under the site's own.
pub(crate) fn merge_extra(site: &mut toml::Table, theme: &toml::Table) {
    for (name, value) in theme {
        match site.get_mut(name) {
            None => {
                site.insert(name.clone(), value.clone());
            }
            Some(toml::Value::Table(own)) => {
                if let toml::Value::Table(theirs) = value {
                    merge_extra(own, theirs);
                }
            }
            Some(_) => {}
        }
    }
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
