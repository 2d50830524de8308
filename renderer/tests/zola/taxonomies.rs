//! Terms, and what has none.

use crate::shown;
use crate::support::{errors, render, text, with};

#[test]
fn a_terms_name_must_leave_an_address() {
    let files = with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n"),
        ("content/a.md", "+++\n[taxonomies]\ntags = [\"!!\"]\n+++\n"),
    ]);
    insta::assert_snapshot!(errors(&files), @r#"
    error: the term `!!` leaves nothing for its address
     --> content/a.md:3:10
      |
    3 | tags = ["!!"]
      |          ^
    hint: give it a letter or a digit, or set `taxonomies = "safe"` in [slugify]
    "#);
}

#[test]
fn taxonomies_without_content() {
    let config = (
        "zola.toml",
        "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}, {name = \"none\"}]\ntaxonomy_root = \"/By_All\"\n",
    );
    let tagged = ("content/p.md", "+++\n[taxonomies]\ntags = [\"A b\"]\n+++\n");
    let lists =
        [("templates/taxonomy_list.html", "list"), ("templates/taxonomy_single.html", "{{ term.name }}")];
    let template = "{% set tags = get_taxonomy(kind='tags') %}{{ get_taxonomy(kind='unknown', required=false) is none }} {{ tags.items | length }} {{ get_taxonomy_url(kind='tags', term='A b') }} {{ get_taxonomy_url(kind='tags', term='z', required=false) is none }} {% set t = get_taxonomy_term(kind='tags', term='A b', include_pages=false) %}{{ t.page_count }}{{ t.pages | length }}{{ t.slug }} {{ get_taxonomy_term(kind='tags', term='z', required=false) is none }}";
    let more = [config, tagged, lists[0], lists[1]];
    assert_eq!(shown(template, &more), "true 1 https://x.example/By_All/tags/a-b/ true 10a-b true");
    let empty = "{% set empty = get_taxonomy(kind='none') %}{{ empty.items | length }}";
    assert_eq!(shown(empty, &more), "0");
}

#[test]
fn taxonomies_without_terms_are_found_and_in_the_sitemap() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}, {name = \"My Kinds\"}, {name = \"none\", render = false}]\n"),
        ("content/p.md", "+++\n[taxonomies]\n\"My Kinds\" = [\"a\"]\n+++\n"),
        ("templates/page.html", "{% set t = get_taxonomy(kind='tags') %}{{ t.items | length }} {{ t.permalink }} {% set k = get_taxonomy(kind='my-kinds') %}{{ k.items[0].name }} {{ get_taxonomy_url(kind='my-kinds', term='a') }} {{ get_taxonomy_url(kind='My Kinds', term='a') }}"),
        ("templates/taxonomy_list.html", ""),
        ("templates/taxonomy_single.html", ""),
        ("templates/sitemap.xml", "{% for e in entries %}{{ e.permalink }} {% endfor %}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(
        text(&files, "sitemap.xml"),
        "https://x.example/ https://x.example/my-kinds/ https://x.example/my-kinds/a/ https://x.example/p/ https://x.example/tags/ "
    );
    assert_eq!(
        text(&files, "p/index.html"),
        "0 https://x.example/tags/ a https://x.example/my-kinds/a/ https://x.example/my-kinds/a/"
    );
    assert!(!files.contains_key("tags/index.html"));
}
