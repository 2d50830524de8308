//! The configuration of a site for Zola 0.22 and older, with the keys of 0.23.

use toml::{Table, Value};

/// Converts a configuration, and says what could not be kept.
pub(super) fn convert(mut config: Table) -> (Table, Vec<String>) {
    let mut notes = Vec::new();
    let mut highlighting = Table::new();
    feeds(&mut config);
    move_highlighting(&mut config, &mut highlighting, &mut notes);
    if let Some(Value::Table(markdown)) = config.get_mut("markdown") {
        move_highlighting(markdown, &mut highlighting, &mut notes);
    }
    for (old, new) in [("rss_limit", "feed_limit"), ("language_code", "default_language")] {
        if let Some(value) = config.remove(old) {
            config.entry(new.to_owned()).or_insert(value);
        }
    }
    for gone in ["extra_syntaxes", "extra_syntaxes_and_themes"] {
        if config.remove(gone).is_some() {
            notes.push(format!("`{gone}` is dropped: grammars and themes of Sublime Text are not read"));
        }
    }
    languages(&mut config);
    taxonomies(config.get_mut("taxonomies"));
    if let Some(Value::Table(languages)) = config.get_mut("languages") {
        for (_, language) in languages.iter_mut() {
            if let Value::Table(language) = language {
                feeds(language);
                taxonomies(language.get_mut("taxonomies"));
            }
        }
    }
    if !highlighting.is_empty() {
        let markdown = config.entry("markdown").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(markdown) = markdown {
            markdown.entry("highlighting").or_insert(Value::Table(highlighting));
        }
    }
    (config, notes)
}

fn feeds(table: &mut Table) {
    for old in ["generate_feed", "generate_rss", "feed", "rss"] {
        if let Some(value @ Value::Boolean(_)) = table.get(old).cloned() {
            table.remove(old);
            table.entry("generate_feeds").or_insert(value);
        }
    }
    if let Some(value) = table.remove("feed_filename") {
        table.entry("feed_filenames").or_insert(Value::Array(vec![value]));
    }
}

fn move_highlighting(table: &mut Table, to: &mut Table, notes: &mut Vec<String>) {
    let on = table.remove("highlight_code").is_none_or(|value| value == Value::Boolean(true));
    let theme = table.remove("highlight_theme");
    let css = table.remove("highlight_themes_css");
    if table.remove("extra_syntaxes_and_themes").is_some() {
        notes.push(
            "`extra_syntaxes_and_themes` is dropped: grammars and themes of Sublime Text are not read"
                .to_owned(),
        );
    }
    match theme {
        Some(Value::String(name)) if on && name == "css" => {
            to.insert("style".to_owned(), "class".into());
            to.insert("theme".to_owned(), "github-light".into());
            notes.push(
                "code had classes without a theme: `giallo.css` is made now, link it or choose colours in it"
                    .to_owned(),
            );
        }
        Some(Value::String(name)) if on => {
            to.insert("theme".to_owned(), name.into());
        }
        _ => {}
    }
    if css.is_some() {
        notes.push(
            "`highlight_themes_css` is dropped: with `style = \"class\"` one style sheet a theme is made"
                .to_owned(),
        );
    }
}

/// `languages = [{ code = "fr" }]` as `[languages.fr]`.
fn languages(config: &mut Table) {
    let Some(Value::Array(list)) = config.get("languages").cloned() else { return };
    let mut table = Table::new();
    for language in list {
        if let Value::Table(mut language) = language
            && let Some(Value::String(code)) = language.remove("code")
        {
            if let Some(index) = language.remove("search") {
                language.insert("build_search_index".to_owned(), index);
            }
            table.insert(code, Value::Table(language));
        }
    }
    config.insert("languages".to_owned(), Value::Table(table));
    // Texts were by language at the root.
    let Some(Value::Table(texts)) = config.get("translations").cloned() else { return };
    if !texts.values().all(Value::is_table) {
        return;
    }
    let own = config.get("default_language").and_then(Value::as_str).unwrap_or("en").to_owned();
    config.remove("translations");
    for (code, texts) in texts {
        if code == own {
            config.insert("translations".to_owned(), texts);
        } else if let Some(Value::Table(languages)) = config.get_mut("languages")
            && let Some(Value::Table(language)) = languages.get_mut(&code)
        {
            language.insert("translations".to_owned(), texts);
        }
    }
}

fn taxonomies(list: Option<&mut Value>) {
    for taxonomy in list.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Table(taxonomy) = taxonomy {
            taxonomy.remove("lang");
            if let Some(feed) = taxonomy.remove("rss") {
                taxonomy.entry("feed").or_insert(feed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::convert;

    #[test]
    fn old_keys_become_new_ones() {
        let old = "base_url = \"https://x.example\"\ngenerate_feed = true\nfeed_filename = \"rss.xml\"\nlanguages = [{code = \"fr\", feed = true}]\ntaxonomies = [{name = \"tags\", rss = true, lang = \"en\"}]\n[markdown]\nhighlight_code = true\nhighlight_theme = \"monokai\"\nrender_emoji = true\n[translations.en]\na = \"b\"\n[translations.fr]\na = \"c\"\n";
        let (made, notes) = convert(toml::from_str(old).unwrap());
        insta::assert_snapshot!(toml::to_string(&made).unwrap(), @r#"
        base_url = "https://x.example"
        generate_feeds = true
        feed_filenames = ["rss.xml"]

        [languages.fr]
        generate_feeds = true

        [languages.fr.translations]
        a = "c"

        [[taxonomies]]
        name = "tags"
        feed = true

        [markdown]
        render_emoji = true

        [markdown.highlighting]
        theme = "monokai"

        [translations]
        a = "b"
        "#);
        assert!(notes.is_empty());
    }
}
