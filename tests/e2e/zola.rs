//! A site of other people, made for Zola 0.22: what its readers see when it was imported.

use std::path::Path;

use crate::harness::World;
use crate::harness::browser::installed;

#[test]
fn a_site_for_zola_022_is_imported_with_its_pages_texts_and_links() {
    let world = World::new();
    let old = installed("BAKE_TEST_ZOLA_SITE");
    world.bake(".", &["import", "zola", old.to_str().unwrap(), "--out", "site"]).ok();
    world.bake(".", &["build", "site", "--out", "public"]).ok();

    let pages = pages(&old.join("content"));
    assert!(pages.len() > 10, "{pages:?}");
    for (name, title) in &pages {
        let html = world.read(&format!("public/{name}index.html"));
        assert!(html.contains(&format!("<title>{title}")), "{name}: no title {title}:\n{html}");
        // What is about templates in the text is in code.
        let text = without_code(&html);
        for syntax in ["{{", "}}", "{%", "%}", "endraw", "endcomponent"] {
            assert!(!text.contains(syntax), "{name} shows {syntax}:\n{text}");
        }
    }
    // A shortcode with a body, one with an argument, and code that shows what ends raw text.
    let terminals = world.read("public/extending/index.html");
    assert!(terminals.matches("<pre class=\"terminal").count() > 3, "{terminals}");
    assert!(terminals.contains("<code>{% raw %}…{% endraw %}</code>"), "{terminals}");

    // Its pictures are made elsewhere; all else that is linked is there.
    let checked = world.bake("site", &["check"]).run();
    let said = format!("{}{}", checked.stdout, checked.stderr);
    let broken: Vec<&str> =
        said.lines().filter(|line| line.starts_with("error: the ") && !line.contains("/assets/")).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(said.contains(" links ("), "{said}");
}

/// A page without the elements that hold code.
fn without_code(html: &str) -> String {
    let mut text = html.to_owned();
    for element in ["pre", "code", "script", "style"] {
        let end = format!("</{element}>");
        while let Some(open) = text.find(&format!("<{element}")) {
            let close = text[open..].find(&end).map_or(text.len(), |at| open + at + end.len());
            text.replace_range(open..close, "");
        }
    }
    text
}

/// The pages of a folder of content: where they are, and what they are called.
fn pages(content: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(content).unwrap().map(|file| file.unwrap().path());
    let page = |file: std::path::PathBuf| {
        let name = file.file_name()?.to_str()?.strip_suffix(".md")?.to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let title =
            text.lines().find_map(|line| line.strip_prefix("title = \""))?.strip_suffix('"')?.to_owned();
        let title = title.replace('&', "&amp;");
        Some((if name == "_index" { String::new() } else { format!("{name}/") }, title))
    };
    files.filter_map(page).collect()
}
