//! What Zola's documentation promises to a site, key by key and function by function.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use base64::Engine as _;
use bytes::Bytes;
use renderer::{BaseUrl, Renderer, Sources};
use sha2::{Digest as _, Sha256, Sha512};

use support::{errors, input, render, render_with, sources, text, with};

/// What a page's template makes of a site.
fn shown(template: &'static str, more: &[(&'static str, &'static str)]) -> String {
    let mut files = with(&[("content/p.md", "+++\ntitle = \"P\"\n+++\n"), ("templates/page.html", template)]);
    for (path, content) in more {
        files.retain(|(known, _)| known != path);
        files.push((path, content));
    }
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    text(&files, "p/index.html")
}

/// A picture of two colours, as a file.
fn png(width: u32, height: u32) -> Bytes {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| if i % width < width / 2 { [255, 0, 0] } else { [0, 0, 255] })
        .collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    out.into()
}

#[test]
fn without_a_bakehouse_toml_nothing_changes_the_output() {
    let (summary, files) = render(&with(&[
        ("content/soon.md", "+++\ntitle = \"S\"\ndate = 2099-01-01\n+++\n![missing](none.png)"),
        ("content/over.md", "+++\ntitle = \"O\"\nexpiry_date = 2001-01-01\n+++\n"),
        ("static/app.css", "a{}"),
        ("templates/page.html", "{{ get_url(path='app.css', cachebust=true) }} {{ page.content | safe }}"),
    ]))
    .unwrap();
    assert_eq!((summary.pages, summary.next_change), (2, None));
    assert!(files.contains_key("app.css") && !files.values().any(|file| file.immutable));
    insta::assert_snapshot!(text(&files, "soon/index.html"), @r#"https://x.example/sub/app.css?h=5f546eb4606b5c2b7d2a <p><img src="https://x.example/sub/soon/none.png" alt="missing" /></p>"#);
}

#[test]
fn the_section_of_the_default_language_counts_as_the_root() {
    let config = "base_url = \"https://x.example\"\ndefault_language = \"en\"\n[languages.en]\ntitle = \"English\"\ngenerate_feeds = true\ntaxonomies = [{name = \"tags\"}]\n[languages.en.translations]\nhello = \"Hello\"\n[languages.fr]\ntitle = \"Français\"\n[languages.fr.translations]\nhello = \"Bonjour\"\n";
    let page = "+++\ntitle = \"P\"\ndate = 2026-01-01\n[taxonomies]\ntags = [\"a\"]\n+++\n";
    let template = "{{ config.title }} {{ trans(key='hello') }} {{ trans(key='hello', lang='fr') }} {% for code, l in config.languages %}{{ code }}={{ l.title }};{{ l.translations.hello }} {% endfor %}";
    let files = with(&[
        ("zola.toml", config),
        ("content/p.md", page),
        ("content/p.fr.md", page.replace("tags = [\"a\"]", "").leak()),
        ("content/_index.en.md", "+++\ntitle = \"Start\"\n+++\n"),
        ("content/_index.fr.md", "+++\ntitle = \"Début\"\n+++\n"),
        ("content/about.en.md", "+++\ntitle = \"About\"\n+++\n[home](@/_index.md) [p](@/p.md)"),
        ("templates/page.html", template),
        ("templates/taxonomy_list.html", ""),
        ("templates/taxonomy_single.html", ""),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "p/index.html"), "English Hello Bonjour fr=Français;Bonjour ");
    // Each language sees the others.
    assert_eq!(text(&files, "fr/p/index.html"), "Français Bonjour Bonjour en=English;Hello ");
    assert!(text(&files, "index.html").starts_with("Start|"));
    assert!(text(&files, "fr/index.html").starts_with("Début|"));
    for path in ["about/index.html", "tags/a/index.html", "atom.xml"] {
        assert!(files.contains_key(path), "{path}");
    }
}

#[test]
fn pages_of_other_languages_are_found_by_their_canonical_path() {
    let languages = "base_url = \"https://x.example\"\n[languages.fr]\n";
    let one = "{% set p = get_page(path='p.md', lang='fr') %}{% set s = get_section(path='_index.md', lang='fr') %}{{ p.title }} {{ get_page(path='q.md', lang='fr', allow_missing=true) is none }} {{ s.path }} {{ get_url(path='@/p.md', lang='fr') }} {{ get_url(path='x.css', lang='fr') }} {{ lang }} {{ text_direction(lang='ar') }}{{ text_direction() }} {% for t in page.translations %}{{ t.lang }}:{{ t.path }} {% endfor %}";
    assert_eq!(
        shown(
            one,
            &[
                ("zola.toml", languages),
                ("content/p.fr.md", "+++\ntitle = \"F\"\n+++\n"),
                ("content/q.md", "")
            ]
        ),
        "F true /fr/ https://x.example/fr/p/ https://x.example/fr/x.css en rtlltr en:content/p.md fr:content/p.fr.md "
    );
}

#[test]
fn languages_are_in_the_order_of_their_codes() {
    let template = "{% for code, _ in config.languages %}{{ code }} {% endfor %}| {% for t in page.translations %}{{ t.lang }} {% endfor %}";
    let mut files = with(&[
        ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n[languages.ar]\n"),
        ("templates/page.html", template),
    ]);
    files.extend([("content/p.md", ""), ("content/p.fr.md", ""), ("content/p.ar.md", "")]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "p/index.html"), "ar fr | ar en fr ");
    assert_eq!(text(&files, "fr/p/index.html"), "ar en | ar en fr ");
}

#[test]
fn what_is_asked_for_is_in_the_language_of_what_asks() {
    let config = "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n[translations]\nhello = \"Hello\"\n[languages.fr]\n\
                  taxonomies = [{name = \"tags\"}]\n[languages.fr.translations]\nhello = \"Bonjour\"\n[languages.ar]\n";
    let en = "+++\ntitle = \"E\"\n[taxonomies]\ntags = [\"t\"]\n+++\n";
    let fr = "+++\ntitle = \"F\"\n[taxonomies]\ntags = [\"t\"]\n+++\n";
    let template = "{% for path in ['s/a.md', 's/a.fr.md'] %}{% set p = get_page(path=path) %}{{ p.title }} {% endfor %}{% set e = get_page(path='s/a.fr.md', lang='en') %}{{ e.title }} {% for path in ['s/_index.md', 's/_index.fr.md'] %}{% set s = get_section(path=path) %}{{ s.title }} {% endfor %}{{ get_page(path='only.md', allow_missing=true) is none }} {{ trans(key='hello') }} {{ get_taxonomy_url(kind='tags', term='t') }} {% set t = get_taxonomy(kind='tags') %}{{ t.items[0].permalink }} {{ text_direction() }} {{ get_url(path='/', lang='fr') }} {{ get_url(path='fr', lang='fr') }} {{ get_url(path='x.css') }} {{ get_url(path='@/s/a.md') }} {{ <in_a_component /> }} {{ <told lang={lang} /> }}";
    let files = with(&[
        ("zola.toml", config),
        ("templates/page.html", template),
        ("templates/taxonomy_list.html", ""),
        ("templates/taxonomy_single.html", ""),
        (
            "templates/components.html",
            "{% component in_a_component() %}{% set p = get_page(path='s/a.md') %}{{ p.title }}{% endcomponent %}{% component told(lang: string) %}{% set p = get_page(path='s/a.md') %}{{ p.title }}{% endcomponent %}",
        ),
        ("content/s/_index.md", "+++\ntitle = \"Es\"\n+++\n"),
        ("content/s/_index.fr.md", "+++\ntitle = \"Ef\"\n+++\n"),
        ("content/s/a.md", en),
        ("content/s/a.fr.md", fr),
        ("content/only.md", en),
    ]);
    let (_, made) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(
        text(&made, "s/a/index.html"),
        "E E E Es Es false Hello https://x.example/tags/t/ https://x.example/tags/t/ ltr https://x.example/fr https://x.example/fr https://x.example/x.css https://x.example/s/a/ E E"
    );
    assert_eq!(
        text(&made, "fr/s/a/index.html"),
        "F F E Ef Ef true Bonjour https://x.example/fr/tags/t/ https://x.example/fr/tags/t/ ltr https://x.example/fr https://x.example/fr https://x.example/x.css https://x.example/fr/s/a/ E F"
    );
    let mut files = files;
    files.retain(|(path, _)| *path != "templates/page.html");
    files.push(("templates/page.html", "{% set p = get_page(path='only.md') %}"));
    let error = render(&files).unwrap_err().to_string();
    assert!(error.contains("the page `only.md` is not there in `fr`"), "{error}");
}

#[test]
fn the_built_in_theme_brings_its_files_where_a_page_shows_it() {
    let site = |more: &[(&'static str, &'static str)]| {
        let mut files = vec![
            ("zola.toml", "base_url = \"https://x.example\"\n"),
            ("templates/index.html", "mine"),
            ("content/_index.md", ""),
        ];
        files.extend(more);
        let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
        files.keys().any(|path| path.starts_with("style."))
    };
    assert!(!site(&[]));
    assert!(!site(&[("templates/page.html", "mine"), ("content/a.md", "")]));
    assert!(!site(&[("content/a.md", "+++\ntemplate = \"index.html\"\n+++\n")]));
    assert!(site(&[("content/a.md", "")]));
    assert!(site(&[("content/s/_index.md", "")]));
    assert!(site(&[("templates/own.html", "{% extends \"base.html\" %}")]));
}

#[test]
fn pagers_leave_the_sitemap_when_told() {
    let section = "+++\npaginate_by = 1\n+++\n";
    let site = |config| {
        let pages = [
            ("content/s/a.md", "+++\ntitle = \"A\"\n+++\n"),
            ("content/s/b.md", "+++\ntitle = \"B\"\n+++\n"),
        ];
        let mut files = with(&[("zola.toml", config), ("content/s/_index.md", section)]);
        files.extend(pages);
        text(&render(&files).unwrap().1, "sitemap.xml")
    };
    assert!(site("base_url = \"https://x.example\"\n").contains("/s/page/2/"));
    assert!(
        !site("base_url = \"https://x.example\"\nexclude_paginated_pages_in_sitemap = \"all\"\n")
            .contains("/s/page/")
    );
}

#[test]
fn external_links_say_so() {
    let link = ("content/p.md", "+++\n+++\n[a](https://a.example) [b](@/p.md)");
    let template = "{{ page.content | safe }}";
    assert_eq!(
        shown(template, &[link]),
        "<p><a rel=\"external\" href=\"https://a.example\">a</a> <a href=\"https://x.example/sub/p/\">b</a></p>\n"
    );
    let off = "base_url = \"https://x.example\"\n[markdown]\nexternal_links_external = false\nexternal_links_class = \"e\"\n";
    assert!(
        shown(template, &[link, ("zola.toml", off)]).contains("<a class=\"e\" href=\"https://a.example\">")
    );
}

#[test]
fn summaries_end_where_they_are_cut() {
    let page = ("content/p.md", "+++\n+++\nOne *two <!-- more --> three*\n");
    assert_eq!(shown("{{ page.summary | safe }}", &[page]), "<p>One <em>two…</em></p>");
    let own =
        ("templates/summary-cutoff.html", "[{{ lang }}{% if summary is matching(pat='two') %}!{% endif %}]");
    assert_eq!(shown("{{ page.summary | safe }}", &[page, own]), "<p>One <em>two[en!]</em></p>");
    let whole = ("content/p.md", "+++\n+++\nOne.\n\n<!-- more -->\n\nTwo.\n");
    assert_eq!(shown("{{ page.summary | safe }}", &[whole]), "<p>One.</p>");
    let in_a_heading = ("content/p.md", "+++\n+++\nOne.\n\n# *Two <!-- more --> three*\n");
    assert_eq!(shown("{{ page.summary | safe }}", &[in_a_heading]), "<p>One.</p>");
    let noted = ("content/p.md", "+++\n+++\nOne[^1].\n\n[^1]: Two[^1].\n\n<!-- more -->\n");
    assert!(shown("{{ page.summary | safe }}", &[noted]).starts_with("<p>One.</p>\n<div"));
    assert!(shown("{{ page.summary | safe }}", &[noted]).contains("<p>Two.</p>"));
    let numbered =
        ("content/p.md", "+++\n+++\nB[^b], a[^a].\n\n[^a]: A.\n\n[^b]: B.\n\nC[^a] <!-- more -->\n");
    assert_eq!(
        shown("{{ page.summary | safe | striptags | spaceless }}", &[numbered]),
        "B, a.\n2\nA.\n\n1\nB.\n\nC…"
    );
    // Behind a link to another site nothing says that the text goes on, but in what begins later.
    let behind_a_link = ("content/p.md", "+++\n+++\n[x](https://i.example) *one <!-- more -->*\n");
    assert!(shown("{{ page.summary | safe }}", &[behind_a_link]).ends_with("<em>one…</em></p>"));
    let behind_a_link = ("content/p.md", "+++\n+++\n- [x](https://i.example) one <!-- more --> two\n");
    assert!(shown("{{ page.summary | safe }}", &[behind_a_link]).ends_with("</a> one</li>\n</ul>"));
    let behind_a_link = ("content/p.md", "+++\n+++\n[x](https://i.example)\n\none <!-- more --> two\n");
    assert!(shown("{{ page.summary | safe }}", &[behind_a_link]).ends_with("<p>one…</p>"));
    let in_a_block = ("content/p.md", "+++\n+++\n<p>One.</p>\n<!-- More -->\n<p>Two.</p>\n");
    assert_eq!(shown("{{ page.summary | safe }}", &[in_a_block]), "<p>One.</p>");
    assert_eq!(
        shown("{{ page.content | safe }}", &[in_a_block]),
        "<p>One.</p>\n<span id=\"continue-reading\"></span>\n<p>Two.</p>\n"
    );
}

#[test]
fn notes_are_numbered_as_they_are_written() {
    let config = ("zola.toml", "base_url = \"https://x.example\"\n[markdown]\nbottom_footnotes = true\n");
    let page = (
        "content/p.md",
        "+++\n+++\nA[^a].\n\n[^a]: See[^b].\n\n[^b]: That's it.\n\n    - and more\n\nC[^c], and again[^a].\n\n[^c]: See[^a].\n\n[^d]: Unused.\n",
    );
    insta::assert_snapshot!(shown("{{ page.content | safe }}", &[config, page]), @r##"
    <p>A<sup class="footnote-reference" id="fr-a-1"><a href="#fn-a">[1]</a></sup>.</p>
    <p>C<sup class="footnote-reference" id="fr-c-1"><a href="#fn-c">[3]</a></sup>, and again<sup class="footnote-reference" id="fr-a-2"><a href="#fn-a">[1]</a></sup>.</p>
    <section class="footnotes">
    <ol class="footnotes-list">
    <li id="fn-a">
    <p>See<sup class="footnote-reference" id="fr-b-1"><a href="#fn-b">[2]</a></sup>. <a href="#fr-a-1">↩</a> <a href="#fr-a-2">↩2</a> <a href="#fr-a-3">↩3</a></p>
    </li>
    <li id="fn-b">
    <p>That's it. <a href="#fr-b-1">↩</a></p>
    <ul>
    <li>and more</li>
    </ul>
    </li>
    <li id="fn-c">
    <p>See<sup class="footnote-reference" id="fr-a-3"><a href="#fn-a">[1]</a></sup>. <a href="#fr-c-1">↩</a></p>
    </li>
    </ol>
    </section>
    "##);
    let named = ("content/p.md", "+++\n+++\nA[^größe].\n\n[^größe]: G.\n");
    let html = shown("{{ page.content | safe }}", &[config, named]);
    assert!(html.contains("<a href=\"#fn-größe\">") && html.contains("<a href=\"#fr-größe-1\">"), "{html}");
    let twice = ("content/p.md", "+++\n+++\nA[^a].\n\n[^a]: One.\n\n[^a]: Two.\n");
    assert_eq!(shown("{{ page.content | safe }}", &[config, twice]).matches("<li id=\"fn-a\">").count(), 2);
}

#[test]
fn content_is_a_template_where_one_begins_and_ends() {
    for (content, expected) in [
        ("a {# b #} c", "<p>a  c</p>"),
        ("a {{ b", "<p>a {{ b</p>"),
        ("a {% b }}", "<p>a {% b }}</p>"),
        ("a }} {{ b {# c", "<p>a }} {{ b {# c</p>"),
        (" ## A {#b}\n\n{{ 1 + 1 }}", "<h2 id=\"b\">A</h2>\n<p>2</p>"),
        ("## A {#b#} {#c .d}\n\n{{ 2 }}", "<h2 id=\"c\" class=\"d\">A</h2>\n<p>2</p>"),
        ("## A {#b}\n\n{# c #}d", "<h2 id=\"b\">A</h2>\n<p>d</p>"),
    ] {
        let content = format!("+++\n+++\n{content}").leak();
        let made = shown("{{ page.content | safe }}", &[("content/p.md", content)]);
        assert_eq!(made.trim(), expected, "{content}");
    }
}

#[test]
fn what_stands_in_for_an_image_is_plain_text() {
    let page = ("content/p.md", "+++\n+++\n![*a* `b` <b>c</b> :smile: [d](/e)](https://i.example/i.png)");
    for lazy in [false, true] {
        let config = format!(
            "base_url = \"https://x.example\"\n[markdown]\nrender_emoji = true\nlazy_async_image = {lazy}\n"
        );
        let made = shown("{{ page.content | safe }}", &[page, ("zola.toml", config.leak())]);
        assert!(made.contains("alt=\"a b c 😄 d\""), "{made}");
    }
}

#[test]
fn an_unknown_emoji_takes_its_second_colon_along() {
    let config = ("zola.toml", "base_url = \"https://x.example\"\n[markdown]\nrender_emoji = true\n");
    let page = (
        "content/p.md",
        "+++\n+++\n:smile::+1: 9:30:smile: 9:45:smile: A:B:smile: a:none:smile::white_check_mark:",
    );
    assert_eq!(
        shown("{{ page.content | safe }}", &[config, page]),
        "<p>😄👍 9:30:smile: 9:45😄 A:B😄 a:none:smile:✅</p>\n"
    );
}

#[test]
fn drawings_are_as_large_as_their_numbers_say() {
    let drawing = ("static/d.svg", "<svg width=\"210mm\" height=\"297.6mm\" viewBox=\"0 0 210 297\"/>");
    let template = "{% set m = get_image_metadata(path='d.svg') %}{{ m.width }}x{{ m.height }}";
    assert_eq!(shown(template, &[drawing]), "210x297");
    // What content shows a drawing with is what browsers make of it.
    assert_eq!(shown(template, &[drawing, ("bakehouse.toml", "")]), "794x1125");
}

#[test]
fn files_of_languages_that_the_site_does_not_have() {
    let sections = [("content/_index.de.md", "+++\ntitle = \"De\"\n+++\n"), ("content/s/_index.md", "")];
    let both = |config: &'static str, more: &[(&'static str, &'static str)]| {
        let mut files = with(&[("zola.toml", config), ("content/s/_index.de.md", "")]);
        files.extend(sections.iter().chain(more));
        files
    };
    let (summary, made) =
        render(&both("base_url = \"https://x.example\"\n", &[("content/p.de.md", "")])).unwrap();
    assert!(made.contains_key("s/index.html") && made.contains_key("p-de/index.html"));
    assert_eq!(summary.warnings.len(), 2, "{:?}", summary.warnings);
    assert_eq!(summary.warnings[0].message, "`de` is no language of the site: the section is left out");
    let several = "base_url = \"https://x.example\"\n[languages.fr]\n";
    assert!(render(&both(several, &[("content/v1.2.md", "")])).is_ok());
    let said = errors(&both(several, &[("content/p.de.md", "")]));
    assert!(said.contains("`de` is no language of the site") && said.contains("content/p.de.md"), "{said}");
}

#[test]
fn files_beside_a_page_of_another_language_are_found() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n"),
        ("content/b/index.fr.md", "[x](@/b/i.txt)"),
        ("content/b/i.txt", ""),
        ("content/s/_index.fr.md", ""),
        ("content/s/i.txt", ""),
        ("templates/page.html", "{{ page.content | safe }}{{ get_url(path='@/s/i.txt') }}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(
        text(&files, "fr/b/index.html"),
        "<p><a href=\"https://x.example/fr/b/i.txt\">x</a></p>\nhttps://x.example/fr/s/i.txt"
    );
    assert!(files.contains_key("fr/b/i.txt") && files.contains_key("fr/s/i.txt"));
}

#[test]
fn patterns_leave_out_static_files_of_the_site_alone() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntheme = \"t\"\nignored_static = [\"*.psd\"]\n"),
        ("themes/t/static/a.psd", ""),
        ("static/b.psd", ""),
        ("static/c/d.psd", ""),
    ]))
    .unwrap();
    let made: Vec<&String> = files.keys().filter(|path| path.ends_with(".psd")).collect();
    assert_eq!(made, ["a.psd"]);
}

#[test]
fn pages_that_are_not_rendered_are_in_no_list() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n[languages.fr]\n"),
        ("content/s/_index.md", "+++\ntitle = \"S\"\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\nrender = false\ntaxonomies.tags = [\"x\"]\n+++\n*text*"),
        ("content/s/a.fr.md", "+++\ntitle = \"F\"\n+++\n"),
        (
            "templates/page.html",
            "{% for t in page.translations %}{{ t.lang }}{% endfor %} {% set a = get_page(path='s/a.md', lang='en') %}{{ a.content | safe }}",
        ),
    ]))
    .unwrap();
    assert_eq!(text(&files, "s/index.html"), "S|");
    assert_eq!(text(&files, "fr/s/a/index.html"), "fr <p><em>text</em></p>\n");
    assert!(!files.keys().any(|path| path.starts_with("tags/")));
}

#[test]
fn only_beside_a_bakehouse_toml_does_all_lead_somewhere() {
    let config = "base_url = \"https://x.example\"\nbuild_search_index = true\ntaxonomies = [{name = \"tags\"}]\n\
                  [search]\nindex_format = \"fuse_json\"\n";
    let site = with(&[
        ("zola.toml", config),
        ("content/s/_index.md", "+++\nsort_by = \"date\"\n+++\n"),
        ("content/s/undated.md", "+++\n+++\n"),
        ("content/s/silent/index.md", "+++\nrender = false\n+++\n"),
        ("content/s/silent/c.txt", "c"),
    ]);
    let front = "{\"url\":\"https://x.example/\",\"title\":\"\",\"body\":\"\"}";
    for beyond in [false, true] {
        let mut site = site.clone();
        site.extend(beyond.then_some(("bakehouse.toml", "")));
        let (_, files) = render(&site).unwrap();
        assert_eq!(files.contains_key("s/silent/c.txt"), beyond);
        assert_eq!(text(&files, "sitemap.xml").contains("https://x.example/tags/"), !beyond);
        assert_eq!(text(&files, "search_index.en.json").contains(front), !beyond);
        assert!(files.contains_key("s/undated/index.html"));
    }
}

#[test]
fn an_address_that_two_claim() {
    let files = |bakehouse| {
        let mut files = with(&[
            ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n"),
            ("templates/taxonomy_list.html", "terms"),
            ("templates/taxonomy_single.html", "term"),
            ("content/tags/_index.md", "+++\ntitle = \"Tags\"\n+++\n"),
            (
                "content/p.md",
                "+++\naliases = [\"p\", \"tags/a\", \"tags/b\"]\ntaxonomies.tags = [\"a\"]\n+++\n",
            ),
        ]);
        files.extend(bakehouse);
        files
    };
    // What content has not claimed twice is no error, as in Zola.
    let (summary, made) = render(&files(None)).unwrap();
    assert_eq!(summary.warnings.len(), 2);
    assert_eq!(text(&made, "tags/index.html"), "Tags|");
    assert_eq!(text(&made, "tags/a/index.html"), "term");
    assert!(text(&made, "tags/b/index.html").contains("url=https://x.example/p/"));
    assert!(
        errors(&files(Some(("bakehouse.toml", "")))).contains("the output `tags/index.html` is also made by")
    );
    // A file that is hidden is no page, nor is one in a folder that is left out.
    let config = ("zola.toml", "base_url = \"https://x.example\"\nignored_content = [\"**/old\"]\n");
    let (_, files) =
        render(&with(&[config, ("content/a/old/b/p.md", ""), ("content/a/older.md", "")])).unwrap();
    assert!(files.contains_key("a/older/index.html") && !files.contains_key("a/old/b/p/index.html"));
    // Patterns are matched with whole paths there.
    let config = (
        "zola.toml",
        "base_url = \"https://x.example\"\nignored_content = [\"*/p.md\", \"**/content/a/*\", \"/b/*\"]\n",
    );
    let contents = ["content/p.md", "content/a/q.md", "content/b/r.md", "content/c/content/a/s.md"];
    let (_, files) = render(&with(&[&[config], &contents.map(|path| (path, ""))[..]].concat())).unwrap();
    let left: Vec<&String> = files.keys().filter(|path| path.ends_with("/index.html")).collect();
    assert_eq!(left, ["b/r/index.html"]);
    assert!(render(&with(&[("content/p.md", ""), ("content/.p.md", "")])).is_ok());
    let twice = ("content/q.md", "+++\naliases = [\"p\"]\n+++\n");
    assert!(
        errors(&with(&[("content/p.md", ""), twice])).contains("the output `p/index.html` is also made by")
    );
}

#[test]
fn hidden_content_is_made_but_not_listed() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\nbuild_search_index = true\ntaxonomies = [{name = \"tags\"}]\n[search]\nindex_format = \"fuse_json\"\n"),
        ("templates/index.html", "{% for s in section.subsections %}{{ s }} {% endfor %}"),
        ("content/s/_index.md", "+++\ntitle = \"S\"\nhidden = true\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\ndate = 2026-01-01\n+++\n"),
        ("content/s/b.md", "+++\ntitle = \"B\"\nhidden = false\ndate = 2026-01-02\n+++\n"),
        ("content/t/_index.md", "+++\ntitle = \"T\"\n+++\n"),
        ("content/t/c.md", "+++\ntitle = \"C\"\nhidden = true\n[taxonomies]\ntags = [\"none\"]\n+++\n"),
    ]))
    .unwrap();
    assert!(!files.contains_key("tags/none/index.html"));
    assert_eq!(text(&files, "index.html"), "t/_index.md ");
    assert_eq!(text(&files, "s/index.html"), "S|B,");
    assert_eq!(text(&files, "t/index.html"), "T|");
    for path in ["s/a/index.html", "t/c/index.html"] {
        assert!(files.contains_key(path));
    }
    let listed = format!("{}{}", text(&files, "atom.xml"), text(&files, "search_index.en.json"));
    assert!(listed.contains("/s/b/") && !listed.contains("/s/a/") && !listed.contains("/t/c/"), "{listed}");
}

#[test]
fn sections_have_neighbours_and_pages_tell_all_of_themselves() {
    let (_, files) = render(&with(&[
        ("templates/section.html", "{{ section.lower?.title or '-' }} {{ section.higher?.title or '-' }} {{ section.aliases | join(sep=',') }}"),
        ("templates/page.html", "{{ page.aliases | join(sep=',') }} {{ page.reading_time }} {{ page.colocated_path or '-' }} {{ page.components | join(sep='+') }} {{ page.ancestors | join(sep='+') }} {{ page.year }}-{{ page.month }}-{{ page.day }} {{ page.lower?.title or '-' }}{{ page.higher?.title or '-' }} {{ page.backlinks | length }}{{ page.assets | join(sep=',') }}"),
        ("content/a/_index.md", "+++\ntitle = \"A\"\nweight = 2\nsort_by = \"date\"\naliases = [\"x\", \"y\"]\n+++\n"),
        ("content/b/_index.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n"),
        ("content/a/p/index.md", "+++\ntitle = \"P\"\ndate = 2026-02-03\naliases = [\"old\"]\n+++\nWords."),
        ("content/a/p/f.txt", "f"),
        ("content/a/q.md", "+++\ntitle = \"Q\"\ndate = 2026-02-04\n+++\n[p](@/a/p/index.md) [f](@/a/p/f.txt)"),
    ]))
    .unwrap();
    assert_eq!(text(&files, "a/index.html"), "B - x,y");
    assert_eq!(text(&files, "b/index.html"), "- A ");
    assert_eq!(
        text(&files, "a/p/index.html"),
        "old 1 a/p/ a+p _index.md+a/_index.md 2026-2-3 Q- 1/a/p/f.txt"
    );
    for alias in ["x/index.html", "old/index.html"] {
        assert_eq!(files[alias].status, 308);
    }
}

#[test]
fn pages_and_sections_have_their_neighbours_wherever_they_are_shown() {
    const BESIDE: &str = "{{ p.lower.title or '-' }}<{{ p.title }}<{{ p.higher.title or '-' }}";
    let pages = |of: &str| format!("{{% for p in {of} %}}{BESIDE} {{% endfor %}}").leak() as &str;
    let of = |get: &str| format!("{{% set p = {get} %}}{BESIDE} ");
    let page = [
        of("get_page(path='s/b.md')"),
        of("get_section(path='s/y/_index.md')"),
        "{{ p.lower.pages | length }}{{ p.lower.higher is defined }}".to_owned(),
    ];
    let files = with(&[
        (
            "zola.toml",
            "base_url = \"https://x.example\"\ngenerate_feeds = true\nfeed_filenames = [\"f.json\"]\ntaxonomies = [{name = \"tags\"}]\n",
        ),
        (
            "templates/section.html",
            format!(
                "{}{{% if section.higher %}}{{{{ section.higher.pages | length }}}}{{% endif %}}",
                pages("section.pages")
            )
            .leak(),
        ),
        ("templates/page.html", page.concat().leak()),
        ("templates/f.json", pages("pages")),
        ("templates/taxonomy_list.html", pages("terms[0].pages")),
        ("templates/taxonomy_single.html", pages("term.pages")),
        ("content/s/_index.md", "+++\ntitle = \"S\"\nsort_by = \"weight\"\n+++\n"),
        (
            "content/s/a.md",
            "+++\ntitle = \"A\"\nweight = 1\ndate = 2026-01-03\ntaxonomies.tags = [\"t\"]\n+++\n",
        ),
        ("content/s/b.md", "+++\ntitle = \"B\"\nweight = 2\ndate = 2026-01-02\n+++\n"),
        ("content/s/c.md", "+++\ntitle = \"C\"\nweight = 3\ndate = 2026-01-01\n+++\n"),
        ("content/s/x/_index.md", "+++\ntitle = \"X\"\nweight = 1\n+++\n"),
        ("content/s/y/_index.md", "+++\ntitle = \"Y\"\nweight = 2\n+++\n"),
        ("content/s/x/d.md", "+++\ntitle = \"D\"\n+++\n"),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "s/index.html"), "-<A<B A<B<C B<C<- ");
    assert_eq!(text(&files, "s/x/index.html"), "-<D<- 0");
    assert_eq!(text(&files, "f.json"), "-<A<B A<B<C B<C<- ");
    for list in ["tags/index.html", "tags/t/index.html"] {
        assert_eq!(text(&files, list), "-<A<B ", "{list}");
    }
    assert_eq!(text(&files, "s/a/index.html"), "A<B<C X<Y<- 1true");
}

#[test]
fn backlinks_are_in_the_order_of_their_addresses() {
    let link = "+++\ntitle = \"LINK\"\n+++\n[p](@/p.md)";
    let named = |name: &str| link.replace("LINK", name).leak() as &'static str;
    let links = [
        ("content/s/_index.md", named("S")),
        ("content/s/a.md", named("A")),
        ("content/b.md", named("B").replace("+++\n[", "slug = \"z\"\n+++\n[").leak() as &str),
        ("content/c.md", named("C")),
    ];
    assert_eq!(shown("{% for b in page.backlinks %}{{ b.title }} {% endfor %}", &links), "C S A B ");
}

#[test]
fn subsections_stand_as_the_pages_beside_them_and_transparent_sections_name_no_neighbours() {
    let list = |sort: &str| {
        let (_, files) = render(&with(&[
            ("templates/section.html", "{% for s in section.subsections %}{{ s }} {% endfor %}"),
            ("templates/page.html", "{{ page.lower?.slug or '-' }}{{ page.higher?.slug or '-' }}"),
            ("content/s/_index.md", format!("+++\nsort_by = \"{sort}\"\n+++\n").leak()),
            ("content/s/a/_index.md", "+++\ntitle = \"Beta\"\nweight = 1\n+++\n"),
            ("content/s/b/_index.md", "+++\ntitle = \"alpha\"\nweight = 2\n+++\n"),
            ("content/s/c/_index.md", "+++\n+++\n"),
            ("content/s/t/_index.md", "+++\nweight = 3\ntransparent = true\nsort_by = \"slug\"\n+++\n"),
            ("content/s/t/x.md", ""),
            ("content/s/t/y.md", ""),
        ]))
        .unwrap();
        (text(&files, "s/index.html").replace("/_index.md", ""), text(&files, "s/t/x/index.html"))
    };
    let lists = ["title", "title_bytes", "permalink", "weight"].map(list);
    let [title, bytes, permalink, weight] = &lists;
    assert_eq!((title.0.as_str(), bytes.0.as_str()), ("s/b s/a ", "s/a s/b "));
    assert_eq!((permalink.0.as_str(), weight.0.as_str()), ("s/a s/b s/c s/t ", "s/c s/a s/b s/t "));
    // `weight` and the titles find nothing to sort pages by.
    assert_eq!((permalink.1.as_str(), title.1.as_str()), ("-y", "--"));
}

#[test]
fn a_list_in_parts_may_number_them_right_below_it_and_leads_nowhere_else() {
    let (_, files) = render(&with(&[
        ("templates/section.html", "{{ paginator.base_url }} {{ paginator.next or '-' }}"),
        ("content/s/_index.md", "+++\npaginate_by = 1\npaginate_path = \"\"\nredirect_to = \"/a/\"\n+++\n"),
        ("content/s/a.md", ""),
        ("content/s/b.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    let base = "https://x.example/sub/s/";
    assert_eq!(text(&files, "s/index.html"), format!("{base} {base}2/"));
    assert_eq!(text(&files, "s/2/index.html"), format!("{base} -"));
    assert!(text(&files, "s/1/index.html").contains(base));
    assert!(text(&files, "sitemap.xml").contains("/s/2/"));
}

#[test]
fn tables_that_zola_leaves_unchecked_may_have_other_keys() {
    let config = "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\", rss = true}]\n[search]\nx = 1\n[slugify]\nx = 1\n[link_checker]\nx = 1\n";
    assert!(render(&with(&[("zola.toml", config)])).is_ok());
    assert!(errors(&with(&[("zola.toml", config), ("bakehouse.toml", "")])).contains("unknown key `rss`"));
}

#[test]
fn markdown_in_templates_links_from_the_page_that_it_is_on() {
    let template = "{{ '[x](y.png) [a](#q)' | markdown | safe }}";
    let html = shown(template, &[]);
    assert_eq!(
        html.trim(),
        "<p><a href=\"https://x.example/sub/p/y.png\">x</a> <a href=\"https://x.example/sub/p/#q\">a</a></p>"
    );
}

#[test]
fn links_that_lead_to_no_content_may_be_warned_of_only() {
    let config = "base_url = \"https://x.example\"\n[link_checker]\ninternal_level = \"warn\"\n";
    let site = |more: &[(&'static str, &'static str)]| {
        let mut files = with(&[
            ("zola.toml", config),
            ("content/p.md", "+++\n+++\n[x](@/nope.md)"),
            ("templates/page.html", "{{ page.content | safe }}{{ '[y](@/nope.md)' | markdown | safe }}"),
        ]);
        files.extend_from_slice(more);
        sources(&files)
    };
    let renderer = Renderer::new(1 << 20);
    let (summary, files) = render_with(&renderer, &input(site(&[]))).unwrap();
    assert_eq!(text(&files, "p/index.html").matches("href=\"@/nope.md\"").count(), 2);
    assert_eq!(summary.warnings.len(), 2, "{:?}", summary.warnings);
    let (summary, files) = render_with(&renderer, &input(site(&[("content/nope.md", "")]))).unwrap();
    assert_eq!(text(&files, "p/index.html").matches("href=\"https://x.example/nope/\"").count(), 2);
    assert!(summary.warnings.is_empty());
}

#[test]
fn content_sees_of_itself_what_is_known_before_it_is_there() {
    let content = "+++\ntitle = \"T\"\n+++\n{{ page.title }}{{ page.toc | length }}{{ page.content }}{{ page.translations | length }}{{ page.backlinks | length }}{% if page.summary or page.lower or page.higher %}x{% endif %}";
    assert!(shown("{{ page.content | safe }}", &[("content/p.md", content)]).contains("T000"));
}

#[test]
fn images_and_line_breaks_are_not_in_the_names_of_headings() {
    let content = "+++\n+++\n# ![logo](https://e.example/l.png) Name\n\na\nb\n===\n";
    let toc = "{% for h in page.toc %}{{ h.id }}={{ h.title }};{% endfor %}";
    assert_eq!(shown(toc, &[("content/p.md", content)]), "name= Name;ab=ab;");
}

#[test]
fn templates_that_look_fields_up_by_other_means_find_them_all() {
    let site = |template: &'static str| {
        let (_, files) = render(&with(&[
            (
                "zola.toml",
                "base_url = \"https://x.example\"\n[extra]\nfield = \"summary\"\nwords = \"word_count\"\n",
            ),
            ("templates/section.html", template),
            ("content/s/_index.md", "+++\nsort_by = \"slug\"\n+++\n"),
            ("content/s/a.md", "+++\ntitle = \"A\"\n+++\nIn short\n<!-- more -->\nat length"),
            ("content/s/b.md", "+++\ntitle = \"B\"\n+++\n"),
        ]))
        .map_err(|e| e.to_string())
        .unwrap();
        text(&files, "s/index.html")
    };
    assert_eq!(site("{% set p = section.pages[0] %}{{ p[config.extra.words] }}"), "5");
    assert!(site("{% set p = section.pages[0] %}{{ p[config.extra.field] }}").contains("In short"));
    let keys = site("{% set p = section.pages[0] %}{% for k, v in p %}{{ k }} {% endfor %}");
    assert!(keys.contains("title") && keys.contains("permalink"), "{keys}");
    for walk in ["section.pages[0]", "section.pages | last", "section.pages[0].higher"] {
        let keys = site(&*format!("{{% for k, v in {walk} %}}{{{{ k }}}} {{% endfor %}}").leak());
        assert!(keys.contains("title") && keys.contains("permalink"), "{walk}: {keys}");
    }
    assert!(site("{{ section }}").contains("reading_time"));
    // What is there is so, though nothing of it is read.
    assert_eq!(site("{% set s = get_section(path='s/_index.md') %}{% if s %}yes{% endif %}"), "yes");
    assert_eq!(
        site("{{ section.pages[0] == section.pages[1] }} {{ section.pages | unique | length }}"),
        "false 2"
    );
}

#[test]
fn a_page_and_a_section_equal_themselves() {
    let post = |n: u8| format!("+++\ntitle = \"P{n}\"\nweight = {n}\ntaxonomies.tags = [\"a\"]\n+++\n*{n}*");
    let (one, two) = (post(1), post(2));
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n"),
        ("content/s/_index.md", "+++\ntitle = \"S\"\nsort_by = \"weight\"\n+++\n*s*"),
        ("content/s/a.md", one.leak()),
        ("content/s/b.md", two.leak()),
        ("templates/page.html", "{% set s = get_section(path='s/_index.md') %}{% for p in s.pages %}{{ p.title }}{% if p == page %}!{% endif %} {% endfor %}{{ page in s.pages }} {{ get_page(path='s/a.md') == page }} {% set t = get_taxonomy_term(kind='tags', term='a') %}{{ t.pages is containing(pat=page) }} {{ page.content | safe }}"),
        ("templates/section.html", "{{ section == get_section(path='s/_index.md') }} {{ section.pages | length }} {{ section.content | safe }}"),
        ("templates/taxonomy_list.html", ""),
        ("templates/taxonomy_single.html", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "s/a/index.html"), "P1! P2 true true true <p><em>1</em></p>\n");
    assert_eq!(text(&files, "s/b/index.html"), "P1 P2! true false true <p><em>2</em></p>\n");
    assert_eq!(text(&files, "s/index.html"), "true 2 <p><em>s</em></p>\n");
}

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
fn files_are_looked_up_in_the_documented_order() {
    let template = "{{ load_data(path='a.txt') }}{{ load_data(path='b.txt') }}{{ load_data(path='c.txt') }}{{ load_data(path='d.txt') }}{{ load_data(path='@/c.txt') }} {{ load_data(path='p/e.txt') }}{{ load_data(path='none.txt', required=false) is none }} {{ get_hash(path='css/x.css', sha_type=256, base64=false) | truncate(length=6, end='') }} {{ get_url(path='search_index.en.js', cachebust=true) is containing(pat='?h=') }}";
    let made = shown(
        template,
        &[
            ("zola.toml", "base_url = \"https://x.example\"\ntheme = \"t\"\nbuild_search_index = true\n"),
            ("a.txt", "root"),
            ("static/a.txt", "no"),
            ("content/a.txt", "no"),
            ("static/b.txt", "-static"),
            ("content/b.txt", "no"),
            ("themes/t/static/b.txt", "no"),
            ("content/c.txt", "-content"),
            ("themes/t/static/c.txt", "no"),
            ("themes/t/static/d.txt", "-theme"),
            ("themes/t/sass/css/x.scss", "a { b: c }"),
            ("content/p.md", ""),
            ("content/p/index.md", "+++\nslug = \"q\"\n+++\n"),
            ("content/q/index.md", "+++\npath = \"p\"\nrender = false\n+++\n"),
            ("content/q/e.txt", "beside"),
        ],
    );
    assert_eq!(made, "root-static-content-theme-content besidetrue d1c454 true");
}

#[test]
fn files_of_content_are_named_as_files_are() {
    let template = "{% set b = get_page(path='./a/./b.md') %}{% set a = get_section(path='a//_index.md') %}{% set same = get_page(path='@/./a/b.md') %}{{ b.title }} {{ a.title }} {{ same.title }} {{ get_page(path='/a/b.md', allow_missing=true) is none }}";
    let more = [
        ("content/a/_index.md", "+++\ntitle = \"A\"\n+++\n"),
        ("content/a/b.md", "+++\ntitle = \"B\"\n+++\n"),
    ];
    assert_eq!(shown(template, &more), "B A B true");
}

/// What `integrity` says of a script must be true of the very bytes, or no browser runs it.
#[test]
fn a_search_index_has_the_digest_that_templates_say() {
    let config = "base_url = \"https://x.example\"\nbuild_search_index = true\n[languages.de]\nbuild_search_index = true\n";
    let template = "{{ get_hash(path='search_index.en.js', sha_type=256) }} {{ get_hash(path='/search_index.de.js', sha_type=512, base64=false) }}";
    let pages = [("content/p.md", "Words."), ("content/q.md", "More."), ("content/r.de.md", "Noch eins.")];
    let mut site = with(&[("zola.toml", config), ("templates/page.html", template)]);
    site.extend(pages);
    let (_, files) = render(&site).unwrap();
    let (english, german) = (&files["search_index.en.js"].body, &files["search_index.de.js"].body);
    let english = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(english));
    let german: String = Sha512::digest(german).iter().map(|byte| format!("{byte:02x}")).collect();
    for page in ["p/index.html", "q/index.html", "de/r/index.html"] {
        assert_eq!(text(&files, page), format!("{english} {german}"), "{page}");
    }
    // A content is part of what it would ask for.
    site.push(("content/s.md", "{{ get_hash(path='search_index.en.js') }}"));
    assert!(errors(&site).contains("there is no file `search_index.en.js`"), "{}", errors(&site));
}

#[test]
fn data_of_every_format() {
    let template = "{% set d = load_data(path='d.FORMAT') %}{{ d }}";
    for (file, content, expected) in [
        ("d.toml", "a = 1\n[b]\nc = 2026-01-02", r#"{"a": 1, "b": {"c": "2026-01-02"}}"#),
        ("d.json", "{\"a\": [1, 2.5]}", r#"{"a": [1, 2.5]}"#),
        ("d.yaml", "a: [x]", r#"{"a": ["x"]}"#),
        ("d.yml", "a: 1", r#"{"a": 1}"#),
        ("d.csv", "n,t\n1,a b", r#"{"headers": ["n", "t"], "records": [["1", "a b"]]}"#),
        ("d.xml", "<r><i>1</i><i>2</i></r>", r#"{"r": {"i": [1, 2]}}"#),
        ("d.bibtex", "@book{k, title = {T}}", "{\"preambles\""),
        ("d.bib", "@book{k}", "@book{k}"),
        ("d.txt", "{{ as is }}", "{{ as is }}"),
    ] {
        let template = template.replace("d.FORMAT", file).replace("{{ d }}", "{{ d | safe }}").leak();
        let made = shown(template, &[(file, content)]);
        assert!(made.starts_with(expected), "{file}: {made}");
    }
    assert_eq!(
        shown(
            "{% set l = load_data(literal='{\"a\": 1}', format='json') %}{% set d = load_data(path='d.txt', format='json') %}{{ l.a }}{{ d[0] }}",
            &[("d.txt", "[7]")]
        ),
        "17"
    );
    let wrong = errors(&with(&[
        ("content/p.md", ""),
        ("d.json", "{"),
        ("templates/page.html", "{{ load_data(path='d.json') }}"),
    ]));
    assert!(wrong.contains("d.json") && wrong.contains("line 1"), "{wrong}");
    let wrong = errors(&with(&[
        ("content/p.md", ""),
        ("templates/page.html", "{{ load_data(literal='x', format='jsn') }}"),
    ]));
    assert!(wrong.contains("did you mean `json`?"), "{wrong}");
}

#[test]
fn data_from_other_servers() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        // Three different requests; a fourth would be one that was asked twice.
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body_follows = |seen: &str| seen.starts_with("POST") && !seen.ends_with("question");
            loop {
                let n = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
                let seen = String::from_utf8_lossy(&request).into_owned();
                if n == 0 || (seen.contains("\r\n\r\n") && !body_follows(&seen)) {
                    break;
                }
            }
            let request = String::from_utf8(request).unwrap();
            let answer = match request.split(' ').nth(1).unwrap() {
                "/json" => "200 OK\r\ncontent-length: 9\r\n\r\n{\"n\": 42}",
                "/post" => "200 OK\r\ncontent-length: 2\r\n\r\nok",
                _ => "404 Not Found\r\ncontent-length: 0\r\n\r\n",
            };
            asked.push(request);
            write!(stream, "HTTP/1.1 {answer}").unwrap();
        }
        asked
    });
    let template = format!(
        "{{% set d = load_data(url='http://{address}/json', format='json') %}}{{{{ d.n }}}} {{{{ load_data(url='http://{address}/post', method='POST', content_type='text/plain', headers=['x-own=yes'], body='question') }}}} {{{{ load_data(url='http://{address}/none', required=false) is none }}}}"
    )
    .leak();
    let (_, files) =
        render(&with(&[("content/a.md", ""), ("content/b.md", ""), ("templates/page.html", template)]))
            .map_err(|e| e.to_string())
            .unwrap();
    assert_eq!(text(&files, "a/index.html"), "42 ok true");
    assert_eq!(text(&files, "b/index.html"), "42 ok true");
    let asked = server.join().unwrap();
    let post = asked.iter().find(|request| request.starts_with("POST /post")).unwrap();
    assert!(post.contains("x-own: yes") && post.contains("content-type: text/plain"), "{post}");
    let gone = format!("{{{{ load_data(url='http://{address}/none') }}}}").leak();
    let told = errors(&with(&[("content/a.md", ""), ("templates/page.html", gone)]));
    assert!(told.contains("cannot be read"), "{told}");
}

fn with_images(template: &'static str) -> Sources {
    Sources::from_files(image_files(template))
}

fn image_files(template: &'static str) -> Vec<(String, Bytes)> {
    let mut files: Vec<(String, Bytes)> = with(&[
        ("content/p/index.md", "+++\ntitle = \"P\"\n+++\n"),
        ("templates/page.html", template),
        ("static/d.svg", "<svg width='30' height='20'></svg>"),
    ])
    .into_iter()
    .map(|(path, text)| (path.to_owned(), Bytes::from_static(text.as_bytes())))
    .collect();
    files.push(("content/p/i.png".to_owned(), png(300, 200)));
    files
}

#[test]
fn a_processed_image_is_immutable_where_there_is_a_bakehouse_toml() {
    let template = "{% set i = resize_image(path='p/i.png', width=30, height=20) %}{{ i.url }}";
    let mut sources = image_files(template);
    for expected in [false, true] {
        let (_, files) = render_with(&Renderer::new(1 << 20), &input(Sources::from_files(sources.clone())))
            .map_err(|e| e.to_string())
            .unwrap();
        let made = files.values().find(|file| file.path.starts_with("processed_images/")).unwrap();
        assert_eq!(made.immutable, expected);
        sources.push(("bakehouse.toml".to_owned(), Bytes::new()));
    }
}

#[test]
fn images_of_other_sizes() {
    let template = "{% for asset in page.assets %}{% set i = resize_image(path=asset, width=100, height=100) %}{{ i.url }} {{ i.static_path }} {{ i.width }}x{{ i.height }} of {{ i.orig_width }}x{{ i.orig_height }}\n{% endfor %}{% set w = resize_image(path='p/i.png', width=30, op='fit_width', format='webp', filter='triangle') %}{{ w.url }}\n{% set j = resize_image(path='@/p/i.png', height=20, op='fit_height', format='jpg', quality=90) %}{{ j.url }}{% set a = resize_image(path='p/i.png', height=20, op='fit_height', format='avif', quality=60, speed=10) %}{{ a.url }}{% set s = get_image_metadata(path='d.svg') %}{% set m = get_image_metadata(path='p/i.png') %}\n{{ m.width }}x{{ m.height }} {{ m.format }} {{ m.mime }} {{ s.width }} {{ s.mime }} {{ get_image_metadata(path='no.png', allow_missing=true) is none }}";
    let (_, files) = render_with(&Renderer::new(1 << 20), &input(with_images(template)))
        .map_err(|e| e.to_string())
        .unwrap();
    let page = text(&files, "p/index.html");
    let made: Vec<&String> = files.keys().filter(|path| path.starts_with("processed_images/i.")).collect();
    assert_eq!(made.len(), 4, "{made:?}");
    for path in &made {
        assert!(page.contains(&format!("https://x.example/sub/{path}")), "{page}");
        let size = imagesize::blob_size(&files[*path].body).unwrap();
        let expected = match path.rsplit('.').next().unwrap() {
            "png" => (100, 100),
            "webp" | "jpg" | "avif" => (30, 20),
            other => panic!("{other}"),
        };
        assert_eq!((size.width, size.height), expected, "{path}");
    }
    assert!(page.contains(" static/processed_images/i.") && page.contains(" 100x100 of 300x200"), "{page}");
    assert!(page.ends_with("\n300x200 png image/png 30 text/svg+xml true"), "{page}");
}

#[test]
fn copies_of_images_have_the_names_that_zola_gives_them() {
    let mut sources = image_files("{{ resize_image(path='p/i.png', width=240, height=180) }}");
    for name in ["i.0123456789abcdef.png", "i.png"] {
        sources.push((format!("static/processed_images/{name}"), png(1, 1)));
    }
    let copies = |sources: &[(String, Bytes)]| {
        let (_, files) = render_with(&Renderer::new(1 << 20), &input(Sources::from_files(sources.to_vec())))
            .map_err(|e| e.to_string())
            .unwrap();
        files.into_keys().filter(|path| path.starts_with("processed_images/")).collect::<Vec<_>>()
    };
    // What Zola made earlier lies in `static/`, and it takes away what nothing asks for.
    assert_eq!(copies(&sources), ["processed_images/i.e56439cae39cc6a6.png"]);
    sources.push(("bakehouse.toml".to_owned(), Bytes::new()));
    let copies = copies(&sources);
    assert_eq!(copies.len(), 3, "{copies:?}");
    assert!(!copies.contains(&"processed_images/i.e56439cae39cc6a6.png".to_owned()), "{copies:?}");
}

#[test]
fn what_cannot_be_resized_is_told() {
    for (template, problem) in [
        ("{{ resize_image(path='d.svg', width=1, height=1) }}", "cannot be resized: PNG, JPEG, WebP and GIF"),
        ("{{ resize_image(path='p/i.png', width=1, height=1, format='avif', speed=11) }}", "from 1 to 10"),
        ("{{ resize_image(path='p/i.png', width=1) }}", "needs `height`"),
        ("{{ resize_image(path='p/i.pgn', width=1, height=1) }}", "there is no image `p/i.pgn`"),
        ("{{ resize_image(path='p/i.png', width=1, height=1, op='fil') }}", "did you mean `fill`?"),
    ] {
        let result = render_with(&Renderer::new(1 << 20), &input(with_images(template)));
        let told = result.unwrap_err().to_string();
        assert!(told.contains(problem), "{told}");
    }
}

#[test]
fn filters_and_tests_of_templates() {
    for (template, expected) in [
        (
            "{{ 'a *b* [p](@/p.md)' | markdown(inline=true) | safe }}",
            "a <em>b</em> <a href=\"https://x.example/sub/p/\">p</a>",
        ),
        ("{{ ':tada: a' | markdown }}", "&lt;p&gt;:tada: a&lt;/p&gt;\n"),
        ("{{ 'a?b' | base64_encode }} {{ 'YT9i' | base64_decode }}", "YT9i a?b"),
        (
            "{{ 'World Hello' | regex_replace(pattern=`(?P<s>[a-zA-Z]+) (?P<g>[a-zA-Z]+)`, rep=`$g $s`) }}",
            "Hello World",
        ),
        ("{{ 1000000 | num_format }} {{ 1000000 | num_format(locale='en-IN') }}", "1,000,000 10,00,000"),
        (
            "{{ '2026-01-05' | date(format='%d.%m.%Y') }} {{ '2026-01-05' | date(locale='fr', format='d MMMM y') }} {{ '2026-03-05' | date(locale='de', format='EEE, d. MMM y') }}",
            "05.01.2026 5 janvier 2026 Do., 5. März 2026",
        ),
        (
            "{% for l in ['en_GB', 'en-US', 'ca_ES', 'ar_SA', 'zh_TW', 'pt-PT', 'sr-Latn-RS'] %}{{ '2026-09-03T15:04:00' | date(locale=l, format='d MMM y|LLLL|ccc|a') }}\n{% endfor %}",
            "3 Sept 2026|September|Thu|pm\n3 Sep 2026|September|Thu|PM\n3 de set. 2026|setembre|dj.|p. m.\n٣ سبتمبر ٢٠٢٦|سبتمبر|الخميس|م\n3 9月 2026|9月|週四|下午\n3 set. 2026|setembro|quinta|p.m.\n3 sep 2026|septembar|čet|PM\n",
        ),
        (
            "{{ '2026-09-03' | date(locale='fi', format=\"d. MMMM y 'klo' H kn\") }}",
            "3. syyskuuta 2026 klo 0 kn",
        ),
        (
            "{{ '2026-09-03' | date(locale='fr', format=\"'le' d, 'l''an' y, ''yy '''d'''\") | safe }}",
            "le 3, l'an 2026, '26 'd'",
        ),
        (
            "{{ '<p>a  <b>b</b></p>' | striptags }} {{ '<p> <b>b</b> </p>' | spaceless | safe }}",
            "a  b <p><b>b</b></p>",
        ),
        ("{{ 'a b/c' | urlencode }} {{ 'a b/c' | urlencode_strict }}", "a%20b/c a%20b%2Fc"),
        ("{{ {'a': 1} | json_encode | safe }}", "{\"a\":1}"),
        ("{{ 'Ein Test!' | slugify }}", "ein-test"),
        (
            "{{ '2026-01-01' is before(other='2026-01-02') }}{{ '2026-01-01' is after(other='2026-01-02') }}{{ 'ab' is matching(pat='^a') }}",
            "truefalsetrue",
        ),
        ("{{ [1, 2, 3] | shuffle(seed=7) | length }}{{ get_random(start=3, end=4) }}", "33"),
        (
            "{{ get_hash(literal='Hello World', sha_type=256, base64=false) }}",
            "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e",
        ),
        (
            "{{ now() | date(format='%Y') }} {{ now(timezone='Europe/Berlin') | date(format='%H') }}",
            "2026 14",
        ),
        (
            "{{ now() }} {{ now(timezone='Europe/Berlin') }} {{ now(timestamp=true) }}",
            "2026-06-01T12:00:00Z 2026-06-01T14:00:00+02:00[Europe/Berlin] 1780315200",
        ),
        ("{{ get_env(name='BAKE_NO_SUCH', default='d') }}", "d"),
        (
            "{{ get_url(path='x') }} {{ get_url(path='x', trailing_slash=true) }} {{ get_url(path='@/p.md#a') }}",
            "https://x.example/sub/x https://x.example/sub/x/ https://x.example/sub/p/#a",
        ),
        (
            "{{ current_path }} {{ current_url }} {{ config.mode }} {{ config.base_url }}",
            "/p/ https://x.example/sub/p/ build https://x.example/sub",
        ),
    ] {
        assert_eq!(shown(template, &[]), expected, "{template}");
    }
    assert!(shown("{{ __tera_context }}", &[]).contains("relative_path"));
}

#[test]
fn content_is_a_template_with_components() {
    let page = (
        "content/p.md",
        "+++\ntitle = \"P\"\n+++\n# H {#own}\n\n{{<note kind=\"tip\" n={2} />}}\n\n{% <box> %}\n*inside*\n{% </box> %}\n\n{{ page.title }} {{ config.title }} {% raw %}{{ raw }}{% endraw %}\n",
    );
    let components = (
        "templates/components.html",
        "{% component note(kind: string, n = 1, @page = {}) %}<i class=\"{{ kind }}\">{{ n }} {{ page.title }}</i>{% endcomponent note %}{% component box() %}<div>\n\n{{ body | safe }}\n</div>{% endcomponent box %}",
    );
    insta::assert_snapshot!(shown("{{ page.content | safe }}", &[page, components]), @r#"
    <h1 id="own">H</h1>
    <p><i class="tip">2 P</i></p>
    <div>
    <p><em>inside</em></p>
    </div>
    <p>P X {{ raw }}</p>
    "#);
    let skipped = ("zola.toml", "base_url = \"https://x.example\"\nskip_content_templating = [\"p.md\"]\n");
    assert!(shown("{{ page.content | safe }}", &[page, components, skipped]).contains("{{ page.title }}"));
}

#[test]
fn themes_lend_templates_styles_files_and_settings() {
    let (_, files) = render(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntheme = \"t\"\n[extra]\nown = 1\n[extra.deep]\na = \"site\"\n"),
        ("themes/t/theme.toml", "name = \"t\"\n[extra]\nown = 2\nlent = 3\n[extra.deep]\na = \"theme\"\nb = \"theme\"\n"),
        ("themes/t/templates/page.html", "{% block a %}theme{% endblock a %} {{ config.extra.own }}{{ config.extra.lent }} {{ config.extra.deep.a }} {{ config.extra.deep.b }}"),
        ("themes/t/templates/index.html", "theme's index {% include 'part.html' %}"),
        ("themes/t/templates/part.html", "part"),
        ("themes/t/sass/style.scss", "a { b { c: d } }"),
        ("themes/t/static/f.txt", "theme"),
        ("themes/t/static/g.txt", "theme"),
        ("static/g.txt", "site"),
        ("templates/page.html", "{% extends \"t/templates/page.html\" %}{% block a %}site over {{ super() }}{% endblock a %}"),
        ("templates/part.html", "own part"),
        ("content/a.md", ""),
    ])
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "a/index.html"), "site over theme 13 site theme");
    assert_eq!(text(&files, "index.html"), "theme's index own part");
    assert_eq!(text(&files, "style.css"), "a b{c:d}");
    assert_eq!((text(&files, "f.txt"), text(&files, "g.txt")), ("theme".to_owned(), "site".to_owned()));
}

#[test]
fn static_files_are_ignored_in_the_site_alone() {
    let config = "base_url = \"https://x.example\"\ntheme = \"t\"\nignored_static = [\"*.psd\"]\n";
    let (_, files) = render(&[
        ("zola.toml", config),
        ("themes/t/templates/page.html", ""),
        ("themes/t/static/theirs.psd", "theme"),
        ("themes/t/static/both.psd", "theme"),
        ("static/both.psd", "site"),
        ("static/own.psd", "site"),
        ("content/p.md", ""),
    ])
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "theirs.psd"), "theme");
    assert_eq!(text(&files, "both.psd"), "theme");
    assert!(!files.contains_key("own.psd"));
}

#[test]
fn files_that_zola_takes_for_no_templates_are_read_where_one_names_them() {
    let site = |page: &'static str| {
        with(&[
            ("templates/page.html", page),
            ("templates/app.js", "const a = `{{b}}`; {% c %}"),
            ("templates/theme.css", "a{{{"),
            ("templates/icon.svg", "<svg>{{ page.title }}</svg>"),
            ("content/p.md", "+++\ntitle = \"P\"\n+++\n"),
        ])
    };
    let (_, files) = render(&site("{% include 'icon.svg' %}")).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "p/index.html"), "<svg>P</svg>");
    assert!(errors(&site("{% include 'app.js' %}")).contains("templates/app.js:1:"));
    let mut beyond = site("");
    beyond.push(("bakehouse.toml", ""));
    assert!(errors(&beyond).contains("templates/theme.css:1:"));
}

#[test]
fn search_indexes_of_both_kinds() {
    let site = |format: &str, more: &[(&'static str, &'static str)]| {
        let config = format!(
            "base_url = \"https://x.example\"\nbuild_search_index = true\n[search]\nindex_format = \"{format}\"\ninclude_description = true\ninclude_date = true\ninclude_path = true\ntruncate_content_length = 5\n"
        );
        let files = [
            ("zola.toml", &*config.leak()),
            ("content/_index.md", "+++\ntitle = \"Home\"\n+++\nWelcome"),
            (
                "content/a.md",
                "+++\ntitle = \"A\"\ndescription = \"D\"\ndate = 2026-01-02\n+++\n**Bold** text",
            ),
            ("content/b.md", "+++\ntitle = \"B\"\nin_search_index = false\n+++\n"),
            ("content/loose/o.md", "+++\ntitle = \"No section lists it\"\n+++\n"),
        ];
        render(&with(&[&files, more].concat())).unwrap().1
    };
    let files = site("fuse_json", &[]);
    insta::assert_snapshot!(text(&files, "search_index.en.json"), @r#"[{"url":"https://x.example/","title":"Home","description":"","body":"Welco","path":"/"},{"url":"https://x.example/a/","title":"A","description":"D","body":"Bold ","path":"/a/"}]"#);
    assert!(!files.contains_key("elasticlunr.min.js"));
    let files = site("fuse_javascript", &[]);
    assert!(text(&files, "search_index.en.js").starts_with("window.searchIndex = [{"));
    let files = site("elasticlunr_javascript", &[]);
    assert!(text(&files, "elasticlunr.min.js").contains("elasticlunr"));
    let index = text(&files, "search_index.en.js");
    assert!(index.starts_with("window.searchIndex = {") && index.ends_with("};"), "{index}");
    assert!(index.contains("\"fields\":[\"title\",\"description\",\"date\",\"path\",\"body\"]"), "{index}");
    assert!(index.contains("\"date\":\"2026-01-02T00:00:00Z\""), "{index}");
    // Without a date, what follows it moves up, as in Zola; in a site of our own it stays in its place.
    let index =
        |more: &[(&'static str, &'static str)]| text(&site("elasticlunr_json", more), "search_index.en.json");
    let moved = r#"{"date":"/","description":"","id":"https://x.example/","path":"Welco","title":"Home"}"#;
    assert!(index(&[]).contains(moved), "{}", index(&[]));
    let own = index(&[("bakehouse.toml", "")]);
    let in_place =
        r#"{"body":"Welco","date":"","description":"","id":"https://x.example/","path":"/","title":"Home"}"#;
    assert!(own.contains(in_place), "{own}");
}

#[test]
fn feeds_without_a_page_and_of_sections_that_are_not_rendered() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\nfeed_filenames = [\"atom.xml\", \"rss.xml\", \"all.json\"]\n[languages.fr]\ngenerate_feeds = true\n"),
        ("templates/all.json", "{{ feed_url }} {{ last_updated is defined }} {{ pages | length }}"),
        ("content/undated.md", ""),
        ("content/s/_index.md", "+++\nrender = false\ngenerate_feeds = true\n+++\n"),
        ("content/s/a.md", "+++\ndate = 2026-01-01\n+++\n"),
        ("content/t/_index.md", "+++\ngenerate_feeds = true\n+++\n"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "all.json"), "https://x.example/all.json true 1");
    assert_eq!(text(&files, "s/all.json"), "https://x.example/s/all.json true 1");
    assert_eq!(text(&files, "t/all.json"), "https://x.example/t/all.json false 0");
    assert!(!text(&files, "t/atom.xml").contains("<updated>") && text(&files, "t/atom.xml").contains("<id>"));
    assert!(!text(&files, "t/rss.xml").contains("lastBuildDate"));
    assert!(files.contains_key("fr/atom.xml"));
}

#[test]
fn feeds_are_as_old_as_the_greatest_of_their_dates_as_text() {
    let updated = |dates: [&'static str; 2]| {
        let [a, b] = dates.map(|dates| &*format!("+++\n{dates}\n+++\n").leak());
        let config = "base_url = \"https://x.example\"\ngenerate_feeds = true\n";
        let feed = ("templates/atom.xml", "{{ last_updated }}");
        let files = with(&[("zola.toml", config), ("content/a.md", a), ("content/b.md", b), feed]);
        text(&render(&files).map_err(|e| e.to_string()).unwrap().1, "atom.xml")
    };
    let dates = ["date = 2026-01-01T23:00:00-05:00", "date = 2026-01-02T01:00:00Z"];
    assert_eq!(updated(dates), "2026-01-01T23:00:00-05:00");
    let dates =
        ["date = 2026-01-01\nupdated = 2026-03-01T23:00:00-05:00", "date = 2026-02-01\nupdated = 2026-03-02"];
    assert_eq!(updated(dates), "2026-03-02");
}

#[test]
fn feeds_of_any_name_and_of_languages_sections_and_terms() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntitle = \"X\"\ngenerate_feeds = true\nfeed_filenames = [\"atom.xml\", \"rss.xml\", \"all.json\"]\nfeed_limit = 1\nauthor = \"Us\"\ntaxonomies = [{name = \"tags\", feed = true}]\n[languages.fr]\ngenerate_feeds = true\nfeed_filenames = [\"rss.xml\"]\ntaxonomies = [{name = \"tags\", feed = true}]\n"),
        ("templates/all.json", "{{ feed_url }} {{ lang }} {{ pages | length }} {{ last_updated }} {{ section is defined }} {{ term is defined }} {{ taxonomy is defined }}"),
        ("templates/taxonomy_list.html", ""),
        ("templates/taxonomy_single.html", ""),
        ("content/s/_index.md", "+++\ntitle = \"S\"\ngenerate_feeds = true\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\ndate = 2026-01-01\nauthors = [\"Me\"]\n[taxonomies]\ntags = [\"t\"]\n+++\n"),
        ("content/s/b.md", "+++\ntitle = \"B\"\ndate = 2026-01-02\nupdated = 2026-03-01\n+++\nText & more."),
        ("content/s/c.md", "+++\ntitle = \"C\"\ndate = 2026-01-03\ninclude_in_feeds = false\n+++\n"),
        ("content/s/d.md", "+++\ntitle = \"D\"\n+++\n"),
        ("content/e.md", "+++\ntitle = \"E\"\ndate = 2025-01-01\nupdated = 2026-04-01\n+++\n"),
        ("content/s/a.fr.md", "+++\ntitle = \"F\"\ndate = 2026-01-01\n[taxonomies]\ntags = [\"t\"]\n+++\n"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    let feeds: Vec<&str> = files
        .keys()
        .map(String::as_str)
        .filter(|p| p.ends_with(".json") || p.ends_with("atom.xml") || p.ends_with("rss.xml"))
        .collect();
    assert_eq!(
        feeds,
        [
            "all.json",
            "atom.xml",
            "fr/rss.xml",
            "fr/tags/t/rss.xml",
            "rss.xml",
            "s/all.json",
            "s/atom.xml",
            "s/rss.xml",
            "tags/t/all.json",
            "tags/t/atom.xml",
            "tags/t/rss.xml",
        ]
    );
    // The latest of all its posts, also of those that are beyond its limit.
    assert_eq!(text(&files, "all.json"), "https://x.example/all.json en 1 2026-04-01 false false false");
    assert_eq!(text(&files, "s/all.json"), "https://x.example/s/all.json en 1 2026-03-01 true false false");
    assert_eq!(
        text(&files, "tags/t/all.json"),
        "https://x.example/tags/t/all.json en 1 2026-01-01 false true true"
    );
    let rss = text(&files, "rss.xml");
    assert!(
        rss.contains("<pubDate>Fri, 02 Jan 2026 00:00:00 +0000</pubDate>")
            && rss.contains("Text &amp;amp; more."),
        "{rss}"
    );
    assert!(text(&files, "tags/t/atom.xml").contains("<author><name>Me</name></author>"));
}

#[test]
fn feeds_of_sections_see_all_of_the_section() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example/sub\"\nfeed_filenames = [\"all.txt\", \"some.txt\"]\n"),
        ("bakehouse.toml", ""),
        ("templates/all.txt", "{{ section.content | safe }}{{ section.toc | length }} {% for p in section.pages %}{{ p.title }} {{ p.content | safe }}{% endfor %}"),
        ("templates/some.txt", "{{ section.title }} {{ section.pages | length }} {{ pages | length }}"),
        ("content/s/_index.md", "+++\ntitle = \"S\"\nsort_by = \"title\"\ngenerate_feeds = true\n+++\n# H\n[a](@/s/a.md)"),
        ("content/s/a.md", "+++\ntitle = \"A\"\n+++\n*a*"),
        ("content/s/b.md", "+++\ntitle = \"B\"\ndate = 2026-01-02\n+++\n*b*"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    insta::assert_snapshot!(text(&files, "s/all.txt"), @r#"
    <h1 id="h">H</h1>
    <p><a href="https://x.example/sub/s/a/">a</a></p>
    1 A <p><em>a</em></p>
    B <p><em>b</em></p>
    "#);
    assert_eq!(text(&files, "s/some.txt"), "S 2 1");
}

#[test]
fn transparent_sections_orphans_and_inherited_templates() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\n"),
        ("templates/section.html", "{% for p in section.pages %}{{ p.slug }} {% endfor %}"),
        ("templates/other.html", "other {{ page.title }}"),
        ("content/s/_index.md", "+++\nsort_by = \"weight\"\npage_template = \"other.html\"\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\nweight = 2\n+++\n"),
        ("content/s/2026/_index.md", "+++\ntransparent = true\nsort_by = \"weight\"\n+++\n"),
        ("content/s/2026/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n"),
        ("content/s/2026/c.md", "+++\ntitle = \"C\"\nweight = 3\ntemplate = \"page.html\"\n+++\n"),
        ("content/loose/o.md", "+++\ntitle = \"O\"\ndate = 2026-01-01\n+++\n"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "s/index.html"), "b a c ");
    assert_eq!(text(&files, "s/2026/index.html"), "b c ");
    assert_eq!(text(&files, "s/2026/b/index.html"), "other B");
    assert_eq!(text(&files, "s/2026/c/index.html"), "C|");
    assert_eq!(text(&files, "loose/o/index.html"), "O|");
    assert!(!files.contains_key("loose/index.html"));
    for everywhere in ["sitemap.xml", "atom.xml"] {
        assert!(text(&files, everywhere).contains("https://x.example/loose/o/"), "{everywhere}");
    }
}

#[test]
fn sections_say_how_they_are_paginated_and_have_all_their_pages() {
    let section = "{{ section.paginate_by or '-' }} {{ section.paginate_reversed }} {% for p in section.pages %}{{ p.slug }} {% endfor %}| {% if paginator is defined %}{% for p in paginator.pages %}{{ p.slug }} {% endfor %}{% endif %}";
    let (_, files) = render(&with(&[
        ("templates/section.html", section),
        ("content/s/_index.md", "+++\nsort_by = \"slug\"\npaginate_by = 2\npaginate_reversed = true\n+++\n"),
        ("content/s/a.md", ""),
        ("content/s/b.md", ""),
        ("content/s/c.md", ""),
        ("content/t/_index.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "s/index.html"), "2 true a b c | c b ");
    assert_eq!(text(&files, "s/page/2/index.html"), "2 true a b c | a ");
    assert_eq!(text(&files, "t/index.html"), "- false | ");
}

#[test]
fn templates_know_the_version_of_zola() {
    let (_, files) = render(&with(&[
        ("content/p.md", ""),
        ("templates/page.html", "{{ zola_version }}"),
        ("templates/404.html", "{{ zola_version }}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "p/index.html"), "0.23.6");
    assert_eq!(text(&files, "404.html"), "0.23.6");
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

#[test]
fn words_are_counted_by_language_and_beside_code() {
    let config = ("zola.toml", "base_url = \"https://x.example\"\n[languages.ja]\n[languages.zh-Hans]\n");
    let (_, files) = render(&with(&[
        config,
        ("content/p.md", "one ```two three``` four\n\n~~~\nfive\n~~~\n\n```\nsix\n```\nseven"),
        ("content/p.ja.md", "カタカナとひらがな、Rust 2。"),
        ("content/p.zh-Hans.md", "你好，世界。"),
        ("templates/page.html", "{{ page.word_count }} {{ page.reading_time }}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "p/index.html"), "4 1");
    assert_eq!(text(&files, "ja/p/index.html"), "13 1");
    assert_eq!(text(&files, "zh-Hans/p/index.html"), "4 1");
}

#[test]
fn assets_of_a_page_are_named_as_in_content_and_those_of_a_section_as_published() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n"),
        ("content/2026-01-01-p/index.md", "+++\nslug = \"q\"\n+++\n"),
        ("content/2026-01-01-p/index.fr.md", ""),
        ("content/2026-01-01-p/a.txt", "a"),
        ("content/2026-01-01-p/in/b.txt", "b"),
        ("content/s/_index.fr.md", ""),
        ("content/s/c.txt", "c"),
        ("content/s/D.txt", "d"),
        ("content/s/a.txt", "a"),
        (
            "templates/page.html",
            "{% for path in page.assets %}{{ path }} {{ load_data(path=path) }} {% endfor %}",
        ),
        ("templates/section.html", "{{ section.assets | join(sep=' ') }}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    let assets = "/2026-01-01-p/a.txt a /2026-01-01-p/in/b.txt b ";
    assert_eq!(text(&files, "q/index.html"), assets);
    assert_eq!(text(&files, "fr/p/index.html"), assets);
    assert_eq!(text(&files, "fr/s/index.html"), "/fr/s/a.txt /fr/s/c.txt /fr/s/D.txt");
    assert!(files.contains_key("q/in/b.txt") && files.contains_key("fr/p/a.txt"));
}

#[test]
fn files_below_a_page_are_its_own_and_those_below_a_section_are_not() {
    let (_, files) = render(&with(&[
        ("content/a/index.md", ""),
        ("content/a/b/index.md", "+++\nslug = \"c\"\n+++\n"),
        ("content/a/b/x.txt", "x"),
        ("content/a/s/_index.md", ""),
        ("content/a/s/in/y.txt", "y"),
        ("templates/page.html", "{{ page.assets | join(sep=' ') }}"),
        ("templates/section.html", "{{ section.assets | join(sep=' ') }}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "a/index.html"), "/a/b/x.txt /a/s/in/y.txt");
    assert_eq!(text(&files, "a/c/index.html"), "/a/b/x.txt");
    assert_eq!(text(&files, "a/s/index.html"), "");
    for path in ["a/b/x.txt", "a/c/x.txt", "a/s/in/y.txt"] {
        assert!(files.contains_key(path), "{path}: {:?}", files.keys());
    }
}

#[test]
fn settings_that_templates_may_ask_for() {
    let config = (
        "zola.toml",
        "base_url = \"https://x.example\"\ngenerate_feeds = true\nexclude_paginated_pages_in_sitemap = \"all\"\n",
    );
    let template = "{{ config.generate_feed }} {{ config.generate_feeds }} {{ config.exclude_paginated_pages_in_sitemap }}";
    assert_eq!(shown(template, &[config]), "true true all");
}

#[test]
fn style_sheets_in_folders_of_partials_are_partials() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ncompile_sass = true\n"),
        ("sass/a.scss", "@use \"_lib/in/b\";"),
        ("sass/_lib/in/b.scss", "b { c: d }"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "a.css").trim(), "b{c:d}");
    assert!(!files.keys().any(|path| path.contains("_lib")));
}

#[test]
fn pagers_of_a_section_without_pages_are_not_in_the_sitemap() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\n"),
        ("content/none/_index.md", "+++\npaginate_by = 2\n+++\n"),
        ("content/one/_index.md", "+++\npaginate_by = 2\n+++\n"),
        ("content/one/a.md", ""),
        ("templates/section.html", ""),
        ("templates/sitemap.xml", "{% for e in entries %}{{ e.permalink }} {% endfor %}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(
        text(&files, "sitemap.xml"),
        "https://x.example/ https://x.example/none/ https://x.example/one/ https://x.example/one/a/ https://x.example/one/page/1/ "
    );
    assert!(files.contains_key("none/page/1/index.html"));
}

#[test]
fn times_in_a_sitemap_have_an_offset() {
    let (_, files) = render(&with(&[
        ("content/a.md", "+++\ndate = 2026-08-12\n+++\n"),
        ("content/b.md", "+++\ndate = 2026-08-12T14:36:26\n+++\n"),
        ("content/c.md", "+++\ndate = 2026-08-12T14:36:26.25-05:00\n+++\n"),
        ("content/d.md", "+++\ndate = 2020-01-01\nupdated = 2026-08-12T14:36:26+00:00\n+++\n"),
        ("templates/sitemap.xml", "{% for e in entries %}{{ e.updated or '-' }} {% endfor %}"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(
        text(&files, "sitemap.xml"),
        "- 2026-08-12 2026-08-12T14:36:26Z 2026-08-12T14:36:26.25-05:00 2026-08-12T14:36:26Z "
    );
}

#[test]
fn pagers_forwards_and_backwards_and_sections_that_lead_elsewhere() {
    let (_, files) = render(&with(&[
        ("templates/section.html", "{% for p in paginator.pages %}{{ p.slug }} {% endfor %}{{ paginator.current_index }}/{{ paginator.number_pagers }} {{ paginator.total_pages }} {{ paginator.first }} {{ paginator.last }} {{ paginator.base_url }} {{ paginator.previous or '-' }} {{ paginator.next or '-' }}"),
        ("content/s/_index.md", "+++\nsort_by = \"slug\"\npaginate_by = 2\npaginate_reversed = true\npaginate_path = \"n\"\n+++\n"),
        ("content/s/a.md", ""),
        ("content/s/b.md", ""),
        ("content/s/c.md", ""),
        ("content/r/_index.md", "+++\nredirect_to = \"s/\"\n+++\n"),
        ("content/e/_index.md", "+++\nredirect_to = \"https://e.example/x\"\n+++\n"),
        ("content/h/_index.md", "+++\nredirect_to = \"s/#a\"\n+++\n"),
        ("content/f/_index.md", "+++\nredirect_to = \"/atom.xml\"\n+++\n"),
        ("content/u.md", ""),
        ("templates/page.html", "{% for path in ['a#b', 'atom.xml', 'a.xml'] %}{{ get_url(path=path, trailing_slash=true) }} {% endfor %}"),
        ("content/n/_index.md", "+++\nrender = false\n+++\n"),
        ("content/n/d.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    let base = "https://x.example/sub/s/";
    assert_eq!(text(&files, "s/index.html"), format!("c b 1/2 3 {base} {base}n/2/ {base}n/ - {base}n/2/"));
    assert_eq!(text(&files, "s/n/2/index.html"), format!("a 2/2 3 {base} {base}n/2/ {base}n/ {base} -"));
    for (path, to) in
        [("s/n/1/index.html", base), ("r/index.html", base), ("e/index.html", "https://e.example/x")]
    {
        assert!(text(&files, path).contains(&format!("url={to}\"")), "{path}");
    }
    assert!(!files.contains_key("n/index.html") && files.contains_key("n/d/index.html"));
    assert!(text(&files, "h/index.html").contains("url=https://x.example/sub/s/#a\""));
    assert!(text(&files, "f/index.html").contains("url=https://x.example/sub/atom.xml\""));
    assert_eq!(
        text(&files, "u/index.html"),
        "https://x.example/sub/a#b https://x.example/sub/atom.xml https://x.example/sub/a.xml/ "
    );
}

#[test]
fn a_sitemap_of_many_addresses_is_split() {
    let mut files = with(&[]);
    let many: Vec<String> = (0..30_001).map(|i| format!("content/{i}.md")).collect();
    files.extend(many.into_iter().map(|path| (&*path.leak(), "")));
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    insta::assert_snapshot!(text(&files, "sitemap.xml"), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
    <sitemap><loc>https://x.example/sub/sitemap1.xml</loc></sitemap>
    <sitemap><loc>https://x.example/sub/sitemap2.xml</loc></sitemap>
    </sitemapindex>
    "#);
    assert_eq!(text(&files, "sitemap1.xml").matches("<loc>").count(), 30_000);
    assert_eq!(text(&files, "sitemap2.xml").matches("<loc>").count(), 2);
}

#[test]
fn code_keeps_its_text_whatever_its_dress() {
    let page = (
        "content/p.md",
        "+++\n+++\n```rust,linenos,linenostart=5,hl_lines=1,hide_lines=2,name=a.rs\nlet a = 1;\nlet b = 2;\nlet c = 3;\n```\n",
    );
    let site = |highlighting: &str| {
        let config =
            format!("base_url = \"https://x.example\"\n[markdown.highlighting]\n{highlighting}\n").leak();
        let mut files =
            with(&[("zola.toml", config), page, ("templates/page.html", "{{ page.content | safe }}")]);
        files.push(("templates/x.html", ""));
        render(&files).map_err(|e| e.to_string()).unwrap().1
    };
    let classes = site(
        "style = \"class\"\nlight_theme = \"github-light\"\ndark_theme = \"nord\"\ndata_attr_position = \"both\"",
    );
    let html = text(&classes, "p/index.html");
    assert!(classes.contains_key("giallo-light.css") && classes.contains_key("giallo-dark.css"));
    assert_eq!(html.matches("data-lang=\"rust\"").count(), 2, "{html}");
    assert_eq!(html.matches("data-name=\"a.rs\"").count(), 2, "{html}");
    let plain: String =
        html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    assert_eq!(plain.trim(), "5let a = 1;\n7let c = 3;", "{html}");
    assert!(html.contains("<mark"), "{html}");
    let one = site("style = \"class\"\ntheme = \"nord\"");
    assert!(one.contains_key("giallo.css"));
    let inline = text(&site("theme = \"nord\"\ndata_attr_position = \"none\""), "p/index.html");
    assert!(inline.contains("style=\"") && !inline.contains("data-lang"), "{inline}");
    let unknown = [
        (
            "zola.toml",
            "base_url = \"https://x.example\"\n[markdown.highlighting]\ntheme = \"nord\"\nerror_on_missing_language = true\n",
        ),
        ("content/p.md", "+++\n+++\n```klingon\nx\n```\n```latex\nx\n```\n"),
    ];
    let said = errors(&with(&unknown));
    assert!(said.contains("klingon") && !said.contains("latex"), "{said}");
}

#[test]
fn orders_of_pages() {
    let list = |sort: &str| {
        let section = format!("+++\nsort_by = \"{sort}\"\n+++\n").leak();
        let (summary, files) = render(&with(&[
            ("content/s/_index.md", section),
            ("templates/section.html", "{% for p in section.pages %}{{ p.slug }} {% endfor %}"),
            ("content/s/a.md", "+++\ntitle = \"item 10\"\ndate = 2026-01-01\nweight = 3\n+++\n"),
            (
                "content/s/b.md",
                "+++\ntitle = \"Item 9\"\ndate = 2026-01-01\nweight = 1\nupdated = 2026-05-01\n+++\n",
            ),
            ("content/s/c.md", "+++\ntitle = \"élan\"\ndate = 2026-02-01\nweight = 1\n+++\n"),
        ]))
        .unwrap();
        assert!(summary.warnings.is_empty());
        text(&files, "s/index.html")
    };
    assert_eq!(list("date"), "c a b ");
    assert_eq!(list("update_date"), "b c a ");
    assert_eq!(list("weight"), "b c a ");
    assert_eq!(list("title"), "c b a ");
    assert_eq!(list("title_bytes"), "b a c ");
    assert_eq!(list("slug"), "a b c ");
    assert_eq!(list("permalink"), "a b c ");
}

#[test]
fn dates_in_the_names_of_files() {
    let (_, files) = render(&with(&[
        ("templates/page.html", "{{ page.date or '-' }}"),
        ("content/2018-10-10.md", ""),
        ("content/2018-10-11-hello-world.md", ""),
        ("content/2018-10-12 -new one.md", "+++\ndate = 2020-01-01\n+++\n"),
        ("content/2018-10-13_bundle/index.md", ""),
        ("content/2018-10-14T10:20:30Z-moment.md", ""),
        ("content/2018-10-99-no-date.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    for (path, date) in [
        ("2018-10-10", "2018-10-10"),
        ("hello-world", "2018-10-11"),
        ("new-one", "2020-01-01"),
        ("bundle", "2018-10-13"),
        ("moment", "2018-10-14T10:20:30Z"),
        ("2018-10-99-no-date", "-"),
    ] {
        assert_eq!(text(&files, &format!("{path}/index.html")), date, "{path}");
    }
}

#[test]
fn strategies_of_slugs() {
    let site = |slugify: &str| {
        let config = format!("base_url = \"https://x.example\"\n[slugify]\n{slugify}\n").leak();
        let (_, files) = render(&with(&[
            ("zola.toml", config),
            ("content/2026-01-02_Ün Post.md", "+++\n+++\n## Grüße an alle\n"),
        ]))
        .unwrap();
        let page = files.iter().find(|(path, _)| path.ends_with("ost/index.html")).unwrap();
        (page.0.clone(), String::from_utf8(page.1.body.to_vec()).unwrap())
    };
    let (path, body) = site("");
    assert_eq!(path, "un-post/index.html");
    assert!(body.contains("id=\"grusse-an-alle\""), "{body}");
    assert_eq!(site("paths_keep_dates = true").0, "2026-01-02-un-post/index.html");
    let (path, body) = site("paths = \"safe\"\nanchors = \"safe\"");
    assert_eq!(path, "Ün Post/index.html");
    assert!(body.contains("id=\"Grüße_an_alle\""), "{body}");
    assert_eq!(site("paths = \"off\"").0, "Ün Post/index.html");
    // White space at the end of a heading counts, such as before an image.
    let config = ("zola.toml", "base_url = \"https://x.example\"\n[slugify]\nanchors = \"safe\"\n");
    let page = ("content/p.md", "+++\n+++\n# A b ![i](https://i.example/i.png)\n");
    assert!(shown("{{ page.content | safe }}", &[config, page]).starts_with("<h1 id=\"A_b_\">"));
    // Folders keep their names, but for the one that is a page.
    let names = [
        ("content/My_Docs/_index.md", ""),
        ("content/My_Docs/Part A/Page_One.md", ""),
        ("content/My_Docs/Big_Page/index.md", ""),
        ("content/My_Docs/Big_Page/Sub_Dir/A b.png", "x"),
    ];
    let (_, files) = render(&with(&names)).unwrap();
    for path in ["My_Docs", "My_Docs/Part A/page-one", "My_Docs/big-page"] {
        assert!(files.contains_key(&format!("{path}/index.html")), "{path}");
    }
    assert!(files.contains_key("My_Docs/big-page/Sub_Dir/A b.png"));
    let beside = ["LICENSE", "a.tmp", "#a.txt#", ".#a.txt", "a.txt~", ".swp", "a.tar.gz", ".hidden.txt"];
    let beside: Vec<_> = beside
        .iter()
        .map(|name| (&*format!("content/p/{name}").leak(), "x"))
        .chain([("content/p/index.md", "")])
        .collect();
    let (_, files) = render(&with(&beside)).unwrap();
    let kept: Vec<_> = files.keys().filter(|path| path.starts_with("p/")).collect();
    assert_eq!(kept, ["p/.hidden.txt", "p/a.tar.gz", "p/index.html"]);
    // A slug is one part of an address, whatever it is made of.
    let slug = ("content/a.md", "+++\nslug = \"One/Two\"\n+++\n");
    assert!(render(&with(&[slug])).unwrap().1.contains_key("one-two/index.html"));
}

#[test]
fn links_begin_at_the_page_unless_they_lead_out_of_it() {
    let page = "[a](sub/a.txt) [b](./b) [c](c/) [d](?q) [e](../e) [f](/f) [g](x-y:g) [h](//h.example/) ![i](sub/i.png)";
    let (_, files) = render(&with(&[
        ("content/p/index.md", page),
        ("content/p/sub/a.txt", "a"),
        ("templates/page.html", "{{ page.content | safe }}"),
    ]))
    .unwrap();
    let html = text(&files, "p/index.html");
    let here = "https://x.example/sub/p/";
    for target in ["sub/a.txt", "./b", "c/", "?q", "sub/i.png"] {
        assert!(html.contains(&format!("\"{here}{target}\"")), "{target}: {html}");
    }
    for target in ["../e", "/f", "x-y:g", "//h.example/"] {
        assert!(html.contains(&format!("\"{target}\"")), "{target}: {html}");
    }
}

#[test]
fn smaller_html_says_the_same() {
    let config = ("zola.toml", "base_url = \"https://x.example\"\nminify_html = true\n");
    let template = "<html>\n <body>\n  <!-- c -->\n  <p class=\"a\">One  <b>two</b>\n  three</p>\n <pre> a\n  b</pre>\n </body>\n</html>\n";
    assert_eq!(
        shown(template, &[config]),
        "<html><body><p class=a>One <b>two</b> three</p><pre> a\n  b</pre></body></html>"
    );
}

#[test]
fn what_is_read_and_not_used_is_told() {
    let (summary, _) = render(&with(&[(
        "zola.toml",
        "base_url = \"https://x.example\"\n[markdown.highlighting]\ntheme = \"nord\"\nextra_grammars = [\"a.json\"]\n",
    )]))
    .unwrap();
    assert_eq!(summary.warnings.len(), 1);
    assert!(summary.warnings[0].message.contains("`extra_grammars` is not supported"));
}

#[test]
fn drafts_and_other_addresses() {
    let files = with(&[
        ("content/d.md", "+++\ntitle = \"D\"\ndraft = true\n+++\n"),
        ("content/s/_index.md", "+++\ndraft = true\n+++\n"),
        ("content/s/e.md", ""),
    ]);
    let (summary, _) = render(&files).unwrap();
    assert_eq!((summary.pages, summary.sections), (0, 1));
    let mut input = input(sources(&files));
    input.options.drafts = true;
    input.options.base_url = BaseUrl::Given("https://y.example/z/".to_owned());
    let (summary, files) = render_with(&Renderer::new(1 << 20), &input).unwrap();
    assert_eq!((summary.pages, summary.sections), (2, 2));
    assert!(text(&files, "sitemap.xml").contains("<loc>https://y.example/z/s/e/</loc>"));
}

#[test]
fn another_configuration_may_be_named() {
    let files = with(&[
        ("other.toml", "base_url = \"https://o.example\"\n"),
        ("templates/index.html", "{{ config.base_url }}"),
    ]);
    let mut input = input(sources(&files));
    input.options.config = Some("other.toml".to_owned());
    let (_, files) = render_with(&Renderer::new(1 << 20), &input).unwrap();
    assert_eq!(text(&files, "index.html"), "https://o.example");
}

#[test]
fn keys_that_are_not_known() {
    insta::assert_snapshot!(errors(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ncompile_sas = true\n[markdown]\nhighlight_code = true\n"),
    ])), @r"
    error: unknown key `compile_sas`
     --> zola.toml:2:1
      |
    2 | compile_sas = true
      | ^
    hint: did you mean `compile_sass`?

    error: unknown key `highlight_code` in [markdown]
     --> zola.toml:4:1
      |
    4 | highlight_code = true
      | ^
    hint: use the table [markdown.highlighting]
    ");
    let (_, files) = render(&with(&[("content/a.md", "+++\nno_such_key = 1\n+++\n")])).unwrap();
    assert!(files.contains_key("a/index.html"));
}

#[test]
fn footnotes_alerts_definitions_and_lazy_images() {
    let config = (
        "zola.toml",
        "base_url = \"https://x.example\"\n[markdown]\nrender_emoji = true\nsmart_punctuation = true\ndefinition_list = true\ngithub_alerts = true\nlazy_async_image = true\ninsert_anchor_links = \"right\"\n",
    );
    let page = (
        "content/p.md",
        "+++\n+++\n## \"A\"... {#a}\n\nTerm\n: Meaning :smile:\n\n> [!TIP]\n> Do.\n\n- [x] done\n\n| a |\n|--:|\n| ~~b~~ |\n\n![i](https://i.example/i.png)\n\nX[^1].\n\n[^1]: Note.\n",
    );
    insta::assert_snapshot!(shown("{{ page.content | safe }}", &[config, page]), @r##"
    <h2 id="a">“A”…<a class="zola-anchor" href="#a" aria-label="Anchor link for: a">🔗</a></h2>
    <dl>
    <dt>Term</dt>
    <dd>Meaning 😄</dd>
    </dl>
    <blockquote class="markdown-alert-tip">
    <p>Do.</p>
    </blockquote>
    <ul>
    <li><input disabled="" type="checkbox" checked=""/>
    done</li>
    </ul>
    <table><thead><tr><th style="text-align: right">a</th></tr></thead><tbody>
    <tr><td style="text-align: right"><del>b</del></td></tr>
    </tbody></table>
    <p><img src="https://i.example/i.png" alt="i" loading="lazy" decoding="async" /></p>
    <p>X<sup class="footnote-reference"><a href="#1">1</a></sup>.</p>
    <div class="footnote-definition" id="1"><sup class="footnote-definition-label">1</sup>
    <p>Note.</p>
    </div>
    "##);
}
