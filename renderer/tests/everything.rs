//! A site that uses everything, `fixture/everything/`, and all that comes out of it; and that nothing is missing in it.
//!
//! `other.toml` renders the same sources with the settings that exclude those of `zola.toml`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[expect(dead_code, reason = "this site is a folder")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use regex::Regex;
use release::File;
use renderer::data::{DataSet, RowPage, Snapshot};
use renderer::{ImageOptions, Input, Limits, Renderer, Sources, Whole};

use support::{input, render_with};

/// What `bakehouse.toml` says, which the shell reads for the renderer, and the data of its sources.
fn everything() -> Input {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/everything");
    let mut input = input(Sources::from_folder(&root, &Limits::default()).unwrap());
    input.options.math = true;
    input.options.images = ImageOptions {
        dimensions: true,
        widths: [32, 64].map(|width| Whole::new(width).unwrap()).to_vec(),
        quality: Whole::new(80),
        sizes: Some("(max-width: 50rem) 100vw, 50rem".to_owned()),
        ..ImageOptions::default()
    };
    let mut data = DataSet::new();
    let row = |name: &str, value: f64| {
        serde_json::json!({"name": name, "value": value}).as_object().unwrap().clone()
    };
    data.insert("rates", Snapshot::new(vec![row("rye", 4.2), row("wheat", 3.0)]));
    input.data = Arc::new(data);
    input.row_pages = Arc::new(vec![RowPage {
        path: "bread/from-a-row.md".to_owned(),
        front_matter: toml::from_str("title = \"From a row\"\ndate = 2026-01-10\n[extra]\nvalue = 4.2\n")
            .unwrap(),
        body: "*Not* a {{ template }}.".to_owned(),
        source: "rates".to_owned(),
        row: 1,
        place: None,
    }]);
    input
}

/// An output as text: how it is served, and its text, or what is to be said of other bytes.
fn shown(file: &File) -> String {
    let mut out = format!("{} {}\n", file.status, file.groups.join(" "));
    for (name, value) in &file.fields {
        out += &format!("{name}: {value}\n");
    }
    if file.immutable {
        out += "immutable\n";
    }
    out.push('\n');
    match std::str::from_utf8(&file.body) {
        Ok(text) => out += text,
        Err(_) => {
            let size = imagesize::blob_size(&file.body).unwrap();
            out += &format!(
                "{:?}, {} × {}",
                imagesize::image_type(&file.body).unwrap(),
                size.width,
                size.height
            );
        }
    }
    out
}

/// The program's own files, and names by their bytes: other tests look at these.
fn ours(path: &str) -> bool {
    let theme = Path::new(env!("CARGO_MANIFEST_DIR")).join("theme/static");
    let hashed = Regex::new(r"^(.+)\.[0-9a-f]{16}\.(\w+)$").unwrap();
    hashed.captures(path).is_some_and(|c| theme.join(format!("{}.{}", &c[1], &c[2])).exists())
        || path == "elasticlunr.min.js"
}

fn snapshots(folder: &str, files: &BTreeMap<String, File>) {
    let digest = r"\.[0-9a-f]{16}\.";
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("snapshots/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // A digest is of the theme's bytes, or of a copy's and how it was made.
    settings.add_filter(digest, ".DIGEST.");
    let digest = Regex::new(digest).unwrap();
    let mut copies = Vec::new();
    settings.bind(|| {
        let mut paths: Vec<_> = files.keys().map(|path| digest.replace(path, ".DIGEST.")).collect();
        paths.sort();
        insta::assert_snapshot!("outputs", paths.join("\n"));
        for (path, file) in files.iter().filter(|(path, _)| !ours(path)) {
            if path.starts_with("processed_images/") {
                copies.push(format!("{}\n{}\n", digest.replace(path, "."), shown(file)));
            } else {
                insta::assert_snapshot!(path.replace('/', "__"), shown(file));
            }
        }
        copies.sort();
        insta::assert_snapshot!("copies_of_images", copies.join("\n"));
    });
}

#[test]
fn a_site_of_everything() {
    let (summary, files) =
        render_with(&Renderer::new(16 << 20), &everything()).map_err(|e| e.to_string()).unwrap();
    assert_eq!(summary.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    snapshots("everything", &files);
}

#[test]
fn a_site_of_everything_with_other_settings() {
    let mut input = everything();
    input.options.config = Some("other.toml".to_owned());
    let (_, files) = render_with(&Renderer::new(16 << 20), &input).map_err(|e| e.to_string()).unwrap();
    snapshots("everything_otherwise", &files);
}

/// Text of a file of the repository.
fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The texts in quotes of a list in the program, such as `const KEYS: &[&str] = &["a", "b"];`.
fn listed(file: &str, list: &str) -> Vec<String> {
    let text = repository(file);
    let start = text.find(&format!("const {list}: ")).unwrap_or_else(|| panic!("{file} has no {list}"));
    let end = start + text[start..].find("];\n").unwrap();
    Regex::new("\"([a-z0-9_]+)\"")
        .unwrap()
        .captures_iter(&text[start..end])
        .map(|c| c[1].to_owned())
        .collect()
}

/// The words in code of the first column of the tables below a heading of the documentation.
fn documented(file: &str, heading: &str) -> Vec<String> {
    let text = repository(&format!("content/{file}"));
    let start = text.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("{file} has no {heading}"));
    let below = &text[start + heading.len()..];
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let next = Regex::new(&format!(r"\n#{{1,{level}}} ")).unwrap();
    let below = &below[..next.find(below).map_or(below.len(), |found| found.start())];
    let code = Regex::new("`([^`]+)`").unwrap();
    let rows = below.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| code.captures_iter(cell).map(|c| c[1].to_owned())).collect()
}

/// The text below a heading of the documentation, to the next heading of its level or above.
fn section(file: &str, heading: &str) -> String {
    let text = repository(&format!("content/{file}"));
    let start = text.find(&format!("\n{heading}")).unwrap_or_else(|| panic!("{file} has no {heading}")) + 1;
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let next = Regex::new(&format!(r"\n#{{1,{level}}} ")).unwrap();
    let end = next.find(&text[start..]).map_or(text.len(), |found| start + found.start());
    text[start..end].to_owned()
}

#[test]
fn every_key_is_documented() {
    let mut missing = BTreeSet::new();
    let mut check = |keys: Vec<String>, file: &str, heading: &str| {
        assert!(!keys.is_empty(), "no keys for {heading}");
        let text = section(file, heading);
        let is_there =
            |key: &str| text.contains(&format!("`{key}`")) || text.contains(&format!("### [{key}]"));
        missing
            .extend(keys.into_iter().filter(|key| !is_there(key)).map(|key| format!("{key} in {heading}")));
    };
    let config = "reference/configuration.md";
    let program = "renderer/src/config/parse.rs";
    let root: Vec<String> =
        listed(program, "ROOT_KEYS").into_iter().filter(|key| key != "languages").collect();
    check(root, config, "## zola.toml");
    check(listed(program, "LANGUAGE_KEYS"), config, "### [languages.CODE]");
    check(listed(program, "TAXONOMY_KEYS"), "write/sections.md", "## Taxonomies");
    let text = repository(program);
    let tables = &text[text.find("const TABLE_KEYS").unwrap()..];
    let tables = &tables[..tables.find("];\n").unwrap()];
    let table = Regex::new(r#"\(\s*"([a-z_.]+)",\s*&\[([^\]]*)\]"#).unwrap();
    let quoted = Regex::new("\"([a-z0-9_.]+)\"").unwrap();
    let quoted = |text: &str| quoted.captures_iter(text).map(|c| c[1].to_owned()).collect::<Vec<_>>();
    for found in table.captures_iter(tables) {
        check(quoted(&found[2]), config, &format!("### [{}]", &found[1]));
    }

    let matter = repository("renderer/src/front_matter/typed.rs");
    let page = &matter[matter.find("let matter = PageMatter {").unwrap()..];
    let page = &page[..page.find("};").unwrap()];
    let read = Regex::new(r#"([a-z_]+): reader\."#).unwrap();
    let keys = read.captures_iter(page).map(|c| c[1].to_owned()).collect();
    check(keys, "write/pages.md", "## Front matter");
    check(
        listed("renderer/src/front_matter/typed.rs", "SECTION_KEYS"),
        "write/sections.md",
        "## Front matter of a section",
    );

    // Those of `bakehouse.toml`, by their tables.
    let text = repository("src/config.rs");
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for list in ["const TEXTS: ", "const VALUES: "] {
        let keys = &text[text.find(list).unwrap()..];
        for key in quoted(&keys[..keys.find("];\n").unwrap()]) {
            let (table, key) = key.rsplit_once('.').unwrap_or(("", &key));
            tables.entry(table.to_owned()).or_default().push(key.to_owned());
        }
    }
    assert!(tables.len() > 5, "{tables:?}");
    for (table, keys) in tables {
        let heading = match table.as_str() {
            "" => "## bakehouse.toml".to_owned(),
            "markdown" => "### [markdown] in bakehouse.toml".to_owned(),
            // It says that its keys are those.
            "journal" => "### [bucket]".to_owned(),
            table => format!("### [{table}]"),
        };
        let keys = keys.into_iter().filter(|key| !["cache", "response"].contains(&key.as_str()));
        check(keys.collect(), config, &heading);
    }
    assert!(missing.is_empty(), "not in content/: {missing:#?}");
}

#[test]
fn nothing_is_missing_in_the_site_of_everything() {
    let input = everything();
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (path, file) in input.sources.iter() {
        if let Ok(text) = String::from_utf8(file.read().unwrap().to_vec()) {
            texts.insert(path, text);
        }
    }
    let all = |wanted: &dyn Fn(&str) -> bool| -> String {
        texts.iter().filter(|(path, _)| wanted(path)).map(|(_, text)| text.as_str()).collect()
    };
    let configuration = all(&|path| ["zola.toml", "other.toml"].contains(&path));
    let own_configuration = all(&|path| path == "bakehouse.toml");
    let templates = all(&|path| path.contains("templates/"));
    let pages = all(&|path| path.starts_with("content/") && !path.contains("_index."));
    let sections = all(&|path| path.contains("_index."));
    let key = r"(?m)(^|[{,.\[] ?)NAME\]?( =|:|\.|\n)";
    let mut missing = BTreeSet::new();
    let mut check = |names: Vec<String>, text: &str, how: &str, but: &[(&str, &str)]| {
        assert!(!names.is_empty());
        for (name, _) in but {
            assert!(names.iter().any(|known| known == name), "`{name}` needs no exception: it is in no list");
        }
        for name in names.iter().filter(|name| !but.iter().any(|(known, _)| known == name)) {
            let found = Regex::new(&how.replace("NAME", &regex::escape(name))).unwrap().is_match(text);
            if !found {
                missing.insert(format!("{name} ({how})"));
            }
        }
    };

    // Settings, by the documentation and by the program.
    let config = "reference/configuration.md";
    for heading in ["## zola.toml", "### [markdown]", "### [markdown.highlighting]", "### [slugify]"] {
        check(documented(config, heading), &configuration, key, &[]);
    }
    check(documented(config, "### [images] {#images}"), &own_configuration, key, &[]);
    check(documented(config, "### [markdown] in bakehouse.toml {#math}"), &own_configuration, key, &[]);
    let program = "renderer/src/config/parse.rs";
    check(listed(program, "ROOT_KEYS"), &configuration, key, &[("mode", "Zola writes it for templates")]);
    let unused = [
        ("extra_grammars", "not supported, and a warning"),
        ("extra_themes", "files of editors, which would be the largest of the site"),
    ];
    check(listed(program, "TABLE_KEYS"), &configuration, key, &unused);
    check(
        listed(program, "TAXONOMY_KEYS"),
        &configuration,
        key,
        &[("lang", "an error since there are languages")],
    );
    check(listed(program, "LANGUAGE_KEYS"), &configuration, key, &[]);

    // Front matter.
    check(documented("write/pages.md", "## Front matter"), &pages, key, &[]);
    check(documented("write/sections.md", "## Front matter of a section"), &sections, key, &[]);
    check(listed("renderer/src/front_matter/typed.rs", "SECTION_KEYS"), &sections, key, &[]);
    check(documented("write/sections.md", "## Taxonomies"), &configuration, key, &[]);

    // Content.
    let words = documented("write/markdown.md", "## Code").into_iter();
    let words = words.map(|word| word.split('=').next().unwrap().to_owned()).collect();
    check(words, &pages, r"```rust.*\bNAME\b", &[]);
    let kinds = ["NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION"].map(str::to_owned).to_vec();
    check(kinds, &pages, r"> \[!NAME\]", &[]);

    // Templates.
    check(documented("write/templates.md", "## The built-in theme"), &configuration, key, &[]);
    let labels = repository("content/write/templates.md");
    let labels = labels.lines().find(|line| line.starts_with("The words are ")).unwrap();
    let labels = Regex::new("`([a-z_]+)`").unwrap().captures_iter(labels).map(|c| c[1].to_owned()).collect();
    check(labels, &configuration, r"(?m)^NAME = ", &[]);
    check(
        documented("write/templates.md", "## Images and data"),
        &templates,
        r"resize_image\([^)]*\bNAME=",
        &[],
    );
    check(documented("write/templates.md", "## Variables"), &templates, r"\bNAME\b", &[]);
    check(listed("renderer/src/functions.rs", "NAMES"), &templates, r"\bNAME\(", &[]);
    check(listed("renderer/src/filters.rs", "NAMES"), &templates, r"\| NAME\b", &[]);
    check(listed("renderer/src/filters.rs", "TESTS"), &templates, r"\bis (not )?NAME\b", &[]);
    let fields = repository("renderer/src/templates.rs");
    let fields = Regex::new(r#"(?m)^    [A-Z][A-Za-z]+ = "([a-z_]+)",$"#)
        .unwrap()
        .captures_iter(&fields)
        .map(|c| c[1].to_owned())
        .collect();
    check(fields, &templates, r"\b[ps]\.NAME\b", &[]);
    assert!(missing.is_empty(), "not in tests/fixture/everything: {missing:#?}");
}
