//! Addresses and links as Zola makes them: a site's pages, and those of others that link to them, rest on these.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use renderer::{BaseUrl, Renderer};

use support::{errors, input, render, render_with, sources, text, with};

/// What the templates and files of a site make of one output.
fn made(path: &str, more: &[(&'static str, &'static str)]) -> String {
    let (_, files) = render(&with(more)).map_err(|e| e.to_string()).unwrap();
    text(&files, path)
}

#[test]
fn links_to_headings_of_the_page_itself_work_elsewhere_too() {
    let page = ("content/p.md", "+++\n+++\n[up](#top) [a](#a) ![](#b)\n\n<!-- more -->\n\n# Top\n\n# A\n");
    let own =
        ("templates/page.html", "{{ page.summary | safe }}{{ '[x](#y)' | markdown(inline=true) | safe }}");
    let page_alone = ("content/p.md", "+++\n+++\n[a](#a) [up](#)\n\n<!-- more -->\n\n# A\n");
    assert_eq!(
        made("p/index.html", &[page_alone, own]),
        "<p><a href=\"https://x.example/sub/p/#a\">a</a> <a href=\"#\">up</a></p><a href=\"https://x.example/sub/p/#y\">x</a>"
    );
    assert!(made("p/index.html", &[page]).contains("<img src=\"#b\""));
    assert!(errors(&with(&[("content/p.md", "+++\n+++\n[a](#a)")])).contains("#a"));
}

#[test]
fn all_that_has_a_name_can_be_linked_to() {
    let page = "+++\n+++\nA[^n]. [b](#fn-n) [c](#fr-n-1) [d](#mark) [e](#continue-reading)\n\n<!-- more -->\n\n<a name=\"mark\"></a>\n\n[^n]: N.\n";
    let config = ("zola.toml", "base_url = \"https://x.example\"\n[markdown]\nbottom_footnotes = true\n");
    assert!(made("p/index.html", &[config, ("content/p.md", page)]).contains("https://x.example/p/#fn-n"));
    assert!(
        made("p/index.html", &[("content/p.md", "+++\n+++\nA[^n]. [b](#n)\n\n[^n]: N.\n")]).contains("/p/#n")
    );
}

#[test]
fn a_whole_heading_becomes_the_link_that_the_template_writes() {
    let config =
        ("zola.toml", "base_url = \"https://x.example\"\n[markdown]\ninsert_anchor_links = \"heading\"\n");
    let page = ("content/p.md", "+++\n+++\n## A *b*\n");
    assert_eq!(
        made("p/index.html", &[config, page]),
        "|<h2 id=\"a-b\"><a class=\"zola-anchor\" href=\"#a-b\" aria-label=\"Anchor link for: a-b\">A <em>b</em></a></h2>\n"
    );
    let own = (
        "templates/anchor-link.html",
        "<abbr>!</abbr>\n<a\n href=\"#{{ id }}\" title='{{ title }}'><b>#</b></a>\n",
    );
    assert_eq!(
        made("p/index.html", &[config, page, own]),
        "|<h2 id=\"a-b\"><a\n href=\"#a-b\" title='A b'>A <em>b</em></a></h2>\n"
    );
    let none = ("templates/anchor-link.html", "#");
    assert_eq!(made("p/index.html", &[config, page, none]), "|<h2 id=\"a-b\">A <em>b</em></h2>\n");
}

#[test]
fn what_leads_elsewhere_has_its_own_template() {
    let page = ("content/p.md", "+++\naliases = [\"old\"]\n+++\n");
    // A page's template may have any name.
    let other = ("templates/redirect.html", "{{ page.extra.to }}");
    assert!(made("old/index.html", &[page, other]).contains("<a href=\"https://x.example/sub/p/\">"));
    let own = ("templates/internal/alias.html", "{{ lang }} to {{ url }}");
    assert_eq!(made("old/index.html", &[page, own]), "en to https://x.example/sub/p/");
}

#[test]
fn addresses_are_written_as_they_are() {
    let config = "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n[slugify]\npaths = \"safe\"\ntaxonomies = \"safe\"\n";
    let files = with(&[
        ("zola.toml", config),
        ("content/日本 (1).md", "+++\naliases = [\"a b\"]\n[taxonomies]\ntags = [\"Tag: ü?\"]\n+++\n"),
        ("content/q.md", "+++\n+++\n[q](@/日本%20(1).md)"),
        ("templates/taxonomy_list.html", "{% for t in terms %}{{ t.permalink }}{% endfor %}"),
        ("templates/taxonomy_single.html", "{{ get_taxonomy_url(kind='tags', term='Tag: ü?') }}"),
        ("templates/page.html", "{{ page.permalink }} {{ page.content | safe }}"),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "日本 (1)/index.html"), "https://x.example/日本 (1)/ ");
    assert_eq!(text(&files, "tags/Tag ü/index.html"), "https://x.example/tags/Tag ü/");
    assert_eq!(text(&files, "tags/index.html"), "https://x.example/tags/Tag ü/");
    assert!(text(&files, "sitemap.xml").contains("<loc>https://x.example/日本 (1)/</loc>"));
    let link = "<a href=\"https://x.example/%E6%97%A5%E6%9C%AC%20(1)/\">";
    assert!(text(&files, "q/index.html").contains(link), "{}", text(&files, "q/index.html"));
    // A response field has ASCII only.
    let field = files["a b/index.html"].fields.iter().find(|(name, _)| name == "location").unwrap();
    assert_eq!(field.1, "https://x.example/%E6%97%A5%E6%9C%AC%20(1)/");
}

#[test]
fn addresses_of_paths_end_without_a_slash_unless_asked() {
    let config = ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n");
    let template = "{% for path in ['/', 'a/', '/a', 'a.css', ''] %}{{ get_url(path=path) }} {{ get_url(path=path, trailing_slash=true) }} {{ get_url(path=path, lang='fr') }}\n{% endfor %}";
    let page = ("content/p.md", "");
    let files = with(&[config, page, ("templates/page.html", template)]);
    let at = |base: BaseUrl| {
        let mut input = input(sources(&files));
        input.options.base_url = base;
        text(&render_with(&Renderer::new(1 << 20), &input).unwrap().1, "p/index.html")
    };
    insta::assert_snapshot!(at(BaseUrl::Configured), @r"
    https://x.example https://x.example/ https://x.example/fr
    https://x.example/a https://x.example/a/ https://x.example/fr/a
    https://x.example/a https://x.example/a/ https://x.example/fr/a
    https://x.example/a.css https://x.example/a.css/ https://x.example/fr/a.css
    https://x.example https://x.example/ https://x.example/fr
    ");
    assert!(at(BaseUrl::RootRelative).starts_with("/ / /fr\n/a /a/ /fr/a\n"));
}

#[test]
fn a_base_url_is_shown_as_it_was_written() {
    let files = with(&[
        ("zola.toml", "base_url = \"https://x.example/\"\ngenerate_feeds = true\n"),
        ("content/p.md", "+++\ndate = 2026-01-01\n+++\n"),
        ("templates/page.html", "{{ config.base_url }} {{ page.permalink }} {{ get_url(path='a') }}"),
    ]);
    let (_, files) = render(&files).unwrap();
    assert_eq!(text(&files, "p/index.html"), "https://x.example/ https://x.example/p/ https://x.example/a");
    assert!(
        text(&files, "atom.xml")
            .contains("<link rel=\"alternate\" type=\"text/html\" href=\"https://x.example/\"/>")
    );
}

#[test]
fn a_path_of_its_own_is_taken_as_it_is() {
    let files = with(&[
        ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n"),
        ("content/s/_index.md", ""),
        ("content/s/a.md", "+++\npath = \"/Old_Name.html\"\n+++\n"),
        ("content/s/a.fr.md", "+++\npath = \"nom/ancien/\"\n+++\n"),
        ("templates/page.html", "{{ page.lang }} {{ page.path }}"),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "Old_Name.html/index.html"), "en /Old_Name.html/");
    assert_eq!(text(&files, "nom/ancien/index.html"), "fr /nom/ancien/");
}

#[test]
fn ancestors_are_the_sections_above_that_are_not_seen_through() {
    let files = with(&[
        ("templates/page.html", "{{ page.ancestors | join(sep=' ') }}"),
        ("templates/section.html", "{{ section.ancestors | join(sep=' ') }}"),
        ("content/s/_index.md", ""),
        ("content/s/t/_index.md", "+++\ntransparent = true\n+++\n"),
        ("content/s/t/a.md", ""),
        ("content/s/t/u/_index.md", ""),
        ("content/s/t/u/b.md", ""),
        ("content/s/loose/c.md", ""),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "s/t/a/index.html"), "_index.md s/_index.md");
    assert_eq!(text(&files, "s/t/u/index.html"), "_index.md s/_index.md s/t/_index.md");
    assert_eq!(text(&files, "s/t/u/b/index.html"), "_index.md s/_index.md s/t/_index.md s/t/u/_index.md");
    // No section holds it.
    assert_eq!(text(&files, "s/loose/c/index.html"), "");
}

#[test]
fn terms_are_in_the_order_of_their_addresses() {
    let page = "+++\n[taxonomies]\ntags = [\"Zürich\", \"Écrit\", \"c++\", \"C#\", \"b\"]\n+++\n";
    let list = made(
        "tags/index.html",
        &[
            ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n"),
            ("content/p.md", page),
            ("templates/taxonomy_list.html", "{% for t in terms %}{{ t.name }}={{ t.slug }} {% endfor %}"),
            ("templates/taxonomy_single.html", ""),
        ],
    );
    assert_eq!(list, "b=b C#=c Écrit=ecrit Zürich=zurich ");
}

#[test]
fn translations_name_pages_that_can_be_got() {
    let files = with(&[
        ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n"),
        ("content/p.md", "+++\ntitle = \"E\"\n+++\n"),
        ("content/p.fr.md", "+++\ntitle = \"F\"\n+++\n"),
        ("content/_index.fr.md", "+++\ntitle = \"H\"\n+++\n"),
        (
            "templates/page.html",
            "{% for t in page.translations %}{% set p = get_page(path=t.path, lang=t.lang) %}{{ p.title }} {% endfor %}",
        ),
        (
            "templates/index.html",
            "{% for t in section.translations %}{% set s = get_section(path=t.path, lang=t.lang) %}{{ s.path }} {% endfor %}",
        ),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "p/index.html"), "E F ");
    assert_eq!(text(&files, "index.html"), "/ /fr/ ");
}

#[test]
fn another_language_has_feeds_of_its_own_names() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\nfeed_filenames = [\"rss.xml\"]\n[languages.fr]\ngenerate_feeds = true\n"),
        ("content/p.fr.md", "+++\ndate = 2026-01-01\n+++\n"),
    ]))
    .unwrap();
    assert!(files.contains_key("fr/atom.xml") && !files.contains_key("fr/rss.xml"));
}

#[test]
fn unknown_names_in_templates_are_all_told_with_what_to_write() {
    let shown = errors(&with(&[
        ("content/p.md", ""),
        ("content/q.md", ""),
        (
            "templates/page.html",
            "{{ [1] | slice(end=1) }}{% if 1 is divisibleby(divisor=1) %}{% endif %}{{ 1 | rond }}",
        ),
    ]));
    for hint in ["it is `list[start:end]`", "did you mean `divisible_by`?", "did you mean `round`?"] {
        assert!(shown.contains(hint), "{shown}");
    }
    let shown = errors(&with(&[
        ("content/p.md", ""),
        ("content/q.md", ""),
        ("templates/page.html", "{{ page.titel }}"),
    ]));
    assert_eq!(shown.matches("error:").count(), 1, "{shown}");
    assert!(shown.contains("it was rendering content/p.md, and one more output"), "{shown}");
}
