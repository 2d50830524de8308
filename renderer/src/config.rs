//! `zola.toml` (or `config.toml`): what a site says about itself, its keys those of Zola 0.23.
//!
//! Owns what the keys are; beside it `load` reads the files of a site, `parse` a text with its unknown keys and wrong values,
//! and `shown` makes the `config` variable that templates see. `bakehouse.toml` belongs to the program; only its presence
//! matters here.

mod load;
mod parse;
mod shown;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::slugs::Slugify;
use crate::sources::Sources;

pub use load::config_errors;
pub(crate) use parse::{UnknownKey, key_offset, unknown_keys};

/// The names a configuration may have, in the order they are looked for.
pub const CONFIG_NAMES: [&str; 2] = ["zola.toml", "config.toml"];

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

/// Which file of the sources is the configuration.
pub(crate) fn config_path(sources: &Sources, given: Option<&str>) -> Option<String> {
    match given {
        Some(path) => sources.get(path).map(|_| path.to_owned()),
        None => CONFIG_NAMES.iter().find(|name| sources.get(name).is_some()).map(|name| (*name).to_owned()),
    }
}

impl Config {
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
}
