//! Sites in several languages.

use crate::shown;
use crate::support::{errors, render, text, with};

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
        "F true fr/ https://x.example/fr/p/ https://x.example/fr/x.css en rtlltr en:content/p.md fr:content/p.fr.md "
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
