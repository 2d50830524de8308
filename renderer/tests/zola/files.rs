//! Files beside the content, themes and style sheets.

use crate::shown;
use crate::support::{render, text, with};

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
fn smaller_html_says_the_same() {
    let config = ("zola.toml", "base_url = \"https://x.example\"\nminify_html = true\n");
    let template = "<html>\n <body>\n  <!-- c -->\n  <p class=\"a\">One  <b>two</b>\n  three</p>\n <pre> a\n  b</pre>\n </body>\n</html>\n";
    assert_eq!(
        shown(template, &[config]),
        "<html><body><p class=a>One <b>two</b> three</p><pre> a\n  b</pre></body></html>"
    );
}
