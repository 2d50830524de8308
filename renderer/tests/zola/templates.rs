//! What templates see and call.

use crate::shown;
use crate::support::{errors, render, text, with};

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
fn templates_rest_on_those_that_they_stand_in_for() {
    for more in [&[][..], &[("bakehouse.toml", "")]] {
        let mut site = with(&[
            ("templates/robots.txt", "{% include \"__zola_builtins/robots.txt\" %}\nCrawl-delay: 1\n"),
            ("templates/404.html", "{% include '__zola_builtins/404.html' %}"),
        ]);
        site.extend(more);
        let (_, files) = render(&site).map_err(|e| e.to_string()).unwrap();
        let robots = text(&files, "robots.txt");
        assert!(robots.starts_with("User-agent: *\nDisallow:\n"), "{robots}");
        assert!(robots.trim_end().ends_with("\nCrawl-delay: 1"), "{robots}");
        assert!(text(&files, "404.html").contains("<h1>404 Not Found</h1>"));
    }
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
fn filters_and_tests_of_templates() {
    for (template, expected) in [
        (
            "{{ 'a *b* [p](@/p.md)' | markdown(inline=true) | safe }}",
            "a <em>b</em> <a href=\"https://x.example/sub/p/\">p</a>",
        ),
        ("{{ ':tada: a' | markdown }}", "&lt;p&gt;:tada: a&lt;/p&gt;\n"),
        ("{{ 'नमस्ते' | length }} {{ 'e\u{301}a' | truncate(length=1) }}", "6 e…"),
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
fn settings_that_templates_may_ask_for() {
    let config = (
        "zola.toml",
        "base_url = \"https://x.example\"\ngenerate_feeds = true\nexclude_paginated_pages_in_sitemap = \"all\"\n",
    );
    let template = "{{ config.generate_feed }} {{ config.generate_feeds }} {{ config.exclude_paginated_pages_in_sitemap }}";
    assert_eq!(shown(template, &[config]), "true true all");
}
