//! The `config` variable of templates.

use std::collections::BTreeSet;

use tera::{Map, Value};

use super::{
    Config, ExcludePaginated, HighlightStyle, IndexFormat, MarkdownConfig, SearchConfig, TaxonomyConfig,
};
use crate::value::{self, key};

impl Config {
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
