//! The configuration of a site for Zola 0.22 and older, with the keys of 0.23.

use toml::{Table, Value};

use crate::config::{UnknownKey, key_offset, unknown_keys};

/// What could not be kept, and where the text says it.
type Notes = Vec<(usize, String)>;

/// Converts a configuration, whose text is `text`, and says what could not be kept.
pub(super) fn convert(mut config: Table, text: &str) -> (Table, Notes) {
    let mut notes = Notes::new();
    let mut highlighting = Table::new();
    feeds(&mut config);
    move_highlighting(&mut config, &mut highlighting, &mut notes, text);
    if let Some(Value::Table(markdown)) = config.get_mut("markdown") {
        move_highlighting(markdown, &mut highlighting, &mut notes, text);
    }
    for (old, new) in [("rss_limit", "feed_limit"), ("language_code", "default_language")] {
        if let Some(value) = config.remove(old) {
            config.entry(new.to_owned()).or_insert(value);
        }
    }
    languages(&mut config);
    taxonomies_of_languages(&mut config);
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
    for UnknownKey { within, name, .. } in unknown_keys(&config, false) {
        let mut table = Some(&mut config);
        for part in within.split('.').filter(|part| !part.is_empty()) {
            table = table.and_then(|table| table.get_mut(part)?.as_table_mut());
        }
        table.map(|table| table.remove(&name));
        let at = key_offset(text, &within, &name);
        let within = if within.is_empty() { within } else { format!(" in [{within}]") };
        notes.push((
            at,
            format!(
                "the key `{name}`{within} is dropped: nothing reads it; data of your own goes into [extra]"
            ),
        ));
    }
    (config, notes)
}

fn feeds(table: &mut Table) {
    for old in ["generate_feed", "generate_rss", "feed", "rss"] {
        if let Some(value @ Value::Boolean(_)) = table.get(old).cloned() {
            table.remove(old);
            // Who wrote this had it under that name.
            if old.ends_with("rss") && !table.contains_key("feed_filename") {
                table.entry("feed_filenames").or_insert(Value::Array(vec!["rss.xml".into()]));
            }
            table.entry("generate_feeds").or_insert(value);
        }
    }
    if let Some(value) = table.remove("feed_filename") {
        table.entry("feed_filenames").or_insert(Value::Array(vec![value]));
    }
}

fn move_highlighting(table: &mut Table, to: &mut Table, notes: &mut Notes, text: &str) {
    let mut say = |key: &str, words: &str| notes.push((key_offset(text, "", key), words.to_owned()));
    let asked = table.remove("highlight_code");
    let on = asked.as_ref().is_none_or(|value| *value == Value::Boolean(true));
    // The theme of who asked for none.
    let usual = asked.filter(|_| on).map(|_| "base16-ocean-dark".into());
    let theme = table.remove("highlight_theme").or(usual);
    let css = table.remove("highlight_themes_css");
    for gone in ["extra_syntaxes", "extra_syntaxes_and_themes"] {
        if table.remove(gone).is_some() {
            say(gone, &format!("`{gone}` is dropped: grammars and themes of Sublime Text are not read"));
        }
    }
    match theme {
        Some(Value::String(name)) if on && name == "css" => {
            to.insert("style".to_owned(), "class".into());
            to.insert("theme".to_owned(), "github-light".into());
            say(
                "highlight_theme",
                "code had classes without a theme: `giallo.css` is made now, link it or choose colours in it",
            );
        }
        Some(Value::String(name)) if on => {
            to.insert("theme".to_owned(), name.into());
        }
        _ => {}
    }
    if css.is_some() {
        say(
            "highlight_themes_css",
            "`highlight_themes_css` is dropped: with `style = \"class\"` one style sheet a theme is made",
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

/// Taxonomies of all languages stood at the root, and those of others than the default one said which.
fn taxonomies_of_languages(config: &mut Table) {
    let own = config.get("default_language").and_then(Value::as_str).unwrap_or("en").to_owned();
    let Some(Value::Array(list)) = config.get_mut("taxonomies") else { return };
    let language = |taxonomy: &Value| {
        let code = taxonomy.get("lang").and_then(Value::as_str);
        code.filter(|code| *code != own).map(str::to_owned)
    };
    let (kept, others) = std::mem::take(list).into_iter().partition(|taxonomy| language(taxonomy).is_none());
    *list = kept;
    for taxonomy in others {
        let code = language(&taxonomy);
        let table = config.get_mut("languages").zip(code).and_then(|(all, code)| all.get_mut(code));
        if let Some(Value::Table(table)) = table
            && let Value::Array(list) = table.entry("taxonomies").or_insert_with(|| Value::Array(Vec::new()))
        {
            list.push(taxonomy);
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
        let (made, notes) = convert(toml::from_str(old).unwrap(), old);
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

    #[test]
    fn taxonomies_go_to_their_languages() {
        let old = "base_url = \"https://x.example\"\nlanguages = [{code = \"fr\"}]\ntaxonomies = [{name = \"tags\"}, {name = \"tags\", lang = \"fr\", rss = true}, {name = \"auteurs\", lang = \"fr\"}]\n";
        let (made, notes) = convert(toml::from_str(old).unwrap(), old);
        insta::assert_snapshot!(toml::to_string(&made).unwrap(), @r#"
        base_url = "https://x.example"

        [[languages.fr.taxonomies]]
        name = "tags"
        feed = true

        [[languages.fr.taxonomies]]
        name = "auteurs"

        [[taxonomies]]
        name = "tags"
        "#);
        assert!(notes.is_empty());
    }

    #[test]
    fn highlighting_without_a_theme_had_one() {
        for (old, theme) in [("true", Some("base16-ocean-dark")), ("false", None)] {
            let old = format!("[markdown]\nhighlight_code = {old}\n");
            let (made, _) = convert(toml::from_str(&old).unwrap(), &old);
            let highlighting = made["markdown"].get("highlighting");
            assert_eq!(highlighting.and_then(|table| table["theme"].as_str()), theme);
        }
    }

    #[test]
    fn feeds_from_before_atom_keep_their_names() {
        for (old, names) in [
            ("generate_rss = true\n", "[\"rss.xml\"] [\"rss.xml\"]"),
            ("generate_rss = true\nfeed_filename = \"news.xml\"\n", "[\"news.xml\"] [\"rss.xml\"]"),
        ] {
            let old = format!(
                "base_url = \"https://x.example\"\n{old}languages = [{{code = \"fr\", rss = true}}]\n"
            );
            let (made, _) = convert(toml::from_str(&old).unwrap(), &old);
            let french = &made["languages"]["fr"]["feed_filenames"];
            assert_eq!(format!("{} {french}", made["feed_filenames"]), names);
        }
    }

    #[test]
    fn keys_that_nothing_reads_are_dropped_and_named() {
        let old = "base_url = \"https://x.example\"\nplugins = [\"a\"]\n[markdown]\nsafe = false\nextra_syntaxes = []\n[languages.fr]\nbase_url = \"https://x.example/fr\"\n[extra]\nplugins = 1\n";
        let (made, notes) = convert(toml::from_str(old).unwrap(), old);
        insta::assert_snapshot!(toml::to_string(&made).unwrap(), @r#"
        base_url = "https://x.example"

        [markdown]

        [languages.fr]

        [extra]
        plugins = 1
        "#);
        let notes: Vec<String> = notes
            .into_iter()
            .map(|(at, text)| format!("{}: {text}", old[..at].lines().count() + 1))
            .collect();
        insta::assert_snapshot!(notes.join("\n"), @"
        5: `extra_syntaxes` is dropped: grammars and themes of Sublime Text are not read
        2: the key `plugins` is dropped: nothing reads it; data of your own goes into [extra]
        4: the key `safe` in [markdown] is dropped: nothing reads it; data of your own goes into [extra]
        7: the key `base_url` in [languages.fr] is dropped: nothing reads it; data of your own goes into [extra]
        ");
    }
}
