//! What imported sites show, which is what they showed before.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod support;

use std::collections::BTreeMap;

use release::File;
use renderer::{Renderer, Sources};

use support::{input, render_with, sources, text};

/// What a site for Zola 0.22 shows when it was imported.
fn imported(files: &[(&str, &str)]) -> (BTreeMap<String, File>, Vec<String>) {
    let made = renderer::import::zola(&sources(files)).unwrap();
    let notes = made.notes.iter().map(|note| note.text.clone()).collect();
    let (_, files) =
        render_with(&Renderer::for_one_render(1 << 20), &input(Sources::from_files(made.files))).unwrap();
    (files, notes)
}

/// A file that was asked for without a language was that of its name.
#[test]
fn imported_templates_ask_for_the_files_that_they_asked_for() {
    let index = "{% for path in [\"a.md\", \"a.fr.md\"] %}{% set page = get_page(path=path) %}{{ page.title }} \
                 {{ get_url(path=\"@/\" ~ path) }} {% endfor %}{% set page = get_page(path=\"a.fr.md\") %}{{ page.title }}";
    let (files, _) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n[languages.fr]\n"),
        ("content/_index.md", "+++\n+++\n"),
        ("content/_index.fr.md", "+++\n+++\n"),
        ("content/a.md", "+++\ntitle = \"Loaf\"\n+++\n"),
        ("content/a.fr.md", "+++\ntitle = \"Pain\"\n+++\n"),
        ("templates/index.html", index),
        ("templates/page.html", ""),
    ]);
    let expected = "Loaf https://x.example/a/ Pain https://x.example/fr/a/ Pain";
    assert_eq!(
        (text(&files, "index.html"), text(&files, "fr/index.html")),
        (expected.into(), expected.into())
    );
}

/// A macro saw what the shortcode was given that called it.
#[test]
fn imported_macros_see_what_their_shortcode_is_given() {
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        ("content/_index.md", "+++\n+++\n{{ fig(src=\"a.png\", alt=\"A\") }}\n\n{{ fig(src=\"b.png\") }}\n"),
        ("templates/index.html", "{% import \"m.html\" as m %}{{ section.content | safe }}{{ m::plain() }}"),
        (
            "templates/m.html",
            "{% macro img(class) %}<img class=\"{{ class }}\" src=\"{{ src }}\"{% if alt %} alt=\"{{ alt }}\"{% endif %}>{% endmacro %}\
             {% macro plain() %}{% if src is defined %}{{ src }}{% else %}none{% endif %}{% endmacro %}",
        ),
        ("templates/shortcodes/fig.html", "{% import \"m.html\" as m %}<div>{{ m::img(class=\"x\") }}</div>"),
    ]);
    assert_eq!(notes, [""; 0]);
    let html = text(&files, "index.html");
    for part in ["<img class=\"x\" src=\"a.png\" alt=\"A\">", "<img class=\"x\" src=\"b.png\">", "none"] {
        assert!(html.contains(part), "{part}: {html}");
    }
}

/// What a filter made of a part of a template stood as it was.
#[test]
fn imported_filters_of_parts_are_not_escaped() {
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        ("content/_index.md", "+++\n+++\n"),
        ("templates/index.html", "{% filter markdown %}*x* {{ \"<\" }}{% endfilter %}"),
    ]);
    assert_eq!((text(&files, "index.html"), notes), ("<p><em>x</em> &lt;</p>\n".to_owned(), vec![]));
}

/// A template that a shortcode or a macro includes saw what these are given, and the page.
#[test]
fn imported_includes_see_what_includes_them_is_given() {
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        ("content/_index.md", "+++\n+++\n{{ card(name=\"Rye\", big=true) }}\n\n{{ card(name=\"Oat\") }}\n"),
        ("templates/index.html", "{% import \"m.html\" as m %}{{ section.content | safe }}{{ m::lang() }}"),
        ("templates/m.html", "{% macro lang() %}{% include \"lang.html\" %}{% endmacro %}"),
        ("templates/lang.html", "in {{ lang }} {{ section.path }}"),
        ("templates/card.html", "<b>{{ name }}{% if big %}!{% endif %}</b>{% include \"lang.html\" %}"),
        ("templates/shortcodes/card.html", "<div>{% include \"card.html\" %}</div>"),
    ]);
    let html = text(&files, "index.html");
    assert_eq!(notes, [""; 0]);
    let expected = "<div><b>Rye!</b>in en /</div>\n<div><b>Oat</b>in en /</div>\nin en /";
    assert_eq!(html, expected);
}

/// A shortcode escaped what it showed, and had a body without the white space around it; content escapes nothing.
#[test]
fn imported_shortcodes_escape_what_they_escaped() {
    let content = "+++\n+++\n{{ fig(alt='a \"b\" <c>', width=5) }}\n\n{% pre() %}\na --> b\n{% end %}\n\n\
                   {% pre() %}{{ fig(alt=\"x\", width=1) }}{% end %}\n";
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        ("content/_index.md", content),
        (
            "templates/index.html",
            "{% import \"m.html\" as m %}{{ section.content | safe }}{{ m::b(t=\"<i>\") }}",
        ),
        ("templates/m.html", "{% macro b(t) %}<b>{{ t }}</b>{% endmacro %}"),
        (
            "templates/shortcodes/fig.html",
            "{% import \"m.html\" as m %}<p><img alt=\"{{ alt }}\" width={{ width }}>{{ m::b(t=alt) }}</p>",
        ),
        ("templates/shortcodes/pre.html", "<pre>{{ body }}</pre>"),
    ]);
    let html = text(&files, "index.html");
    assert_eq!(notes, [""; 0]);
    for part in [
        "<p><img alt=\"a &quot;b&quot; &lt;c&gt;\" width=5><b>a &quot;b&quot; &lt;c&gt;</b></p>",
        "<pre>a --&gt; b</pre>",
        "&lt;p&gt;&lt;img alt=&quot;x&quot; width=1&gt;&lt;b&gt;x&lt;/b&gt;",
        "<b>&lt;i&gt;</b>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
}

/// A macro was HTML where a shortcode called it, as the shortcode was: neither its indentation nor its lines meant anything
/// in markdown. And it read the body.
#[test]
fn imported_macros_stay_html_where_shortcodes_call_them() {
    let macros = "{% macro box(item) %}\n<section>\n    <h2>\n        {{ item }}\n    </h2>\n    {% if body %}\n        <div>\n            {{ body | markdown | safe }}\n        </div>\n    {% endif %}\n</section>\n{% endmacro %}\n";
    let shown = "{% import \"m.html\" as m %}\n<article>\n    {{ m::box(item=title) }}\n</article>\n";
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        (
            "content/_index.md",
            "+++\n+++\n{{ show(title=\"A\") }}\n\n{% show(title=\"B\") %}\n*x*\n{% end %}\n",
        ),
        ("templates/index.html", "{{ section.content | safe }}"),
        ("templates/m.html", macros),
        ("templates/shortcodes/show.html", shown),
    ]);
    assert_eq!(notes, [""; 0]);
    let html = text(&files, "index.html");
    assert!(!html.contains("<pre") && !html.contains("&lt;"), "{html}");
    assert!(html.contains("<div>\n<p><em>x</em></p>\n</div>\n</section>"), "{html}");
    assert_eq!(html.matches("<section>").count(), 2, "{html}");
}

/// A shortcode was part of the item, the quotation or the paragraph that it stood in.
#[test]
fn imported_shortcodes_stay_in_what_they_stand_in() {
    let content = "+++\n+++\n1. {{ fig(src=\"a\") }}\n2. b\n   {{ fig(src=\"b\") }}\n\n> {{ fig(src=\"c\", via=\"v\") }}\n\nIn {{ fig(src=\"d\") }} a line.\n\n{{ fig(src=\"e\") }}\n";
    // What one branch alone shows need not be given.
    let figure =
        "<figure>\n    <img src=\"{{ src }}\">\n{% if src == \"c\" %}{{ via }}{% endif %}\n</figure>\n";
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        ("content/_index.md", content),
        ("templates/index.html", "{{ section.content | safe }}"),
        ("templates/shortcodes/fig.html", figure),
    ]);
    assert_eq!(notes, [""; 0]);
    insta::assert_snapshot!(text(&files, "index.html"), @r#"
    <ol>
    <li><figure> <img src="a"> </figure>
    </li>
    <li>b<figure> <img src="b"> </figure>
    </li>
    </ol>
    <blockquote>
    <figure> <img src="c"> v </figure>
    </blockquote>
    <p>In <figure> <img src="d"> </figure> a line.</p>
    <figure>
    <img src="e">
    </figure>
    "#);
}

/// The body of a shortcode was HTML as it stood, with all its lines.
#[test]
fn imported_bodies_keep_their_empty_lines() {
    let content = "+++\n+++\n{% graph() %}\nA-->B\n\n    B-->C & D\n{% end %}\n\n{% note() %}\n*a*\n\n```\nb\n\n\n  c\n```\n{% end %}\n\n{% code() %}\nd\n\ne\n{% end %}\n";
    let (files, notes) = imported(&[
        ("config.toml", "base_url = \"https://x.example\"\n"),
        ("content/_index.md", content),
        ("templates/index.html", "{{ section.content | safe }}"),
        ("templates/shortcodes/graph.html", "<div class=\"graph\">\n  {{ body }}\n</div>\n"),
        ("templates/shortcodes/note.html", "<aside>\n  {{ body | markdown | safe }}\n</aside>\n"),
        ("templates/shortcodes/code.html", "<pre>{{ body | safe }}</pre>\n"),
    ]);
    assert_eq!(notes, [""; 0]);
    let html = text(&files, "index.html").replace("&#10;", "\n");
    assert!(html.contains("A--&gt;B\n\n    B--&gt;C &amp; D\n</div>"), "{html}");
    assert!(
        html.contains("<p><em>a</em></p>") && html.contains("b\n\n\n  c\n</code></pre>\n</aside>"),
        "{html}"
    );
    assert!(html.contains("<pre>d\n\ne</pre>"), "{html}");
}

/// A format that a configuration gives is known when the template runs.
#[test]
fn imported_dates_of_languages_take_formats_from_anywhere() {
    let index = "{% set format = config.extra.format | default(value=\"%F\") %}{% for f in [format, \"%F\", \"d. MMM\", \"%Y年%m月%d日\", \"%A %e d'o'c'%y\"] %}\
                 {{ \"2024-03-05T14:07:00Z\" | date(format=f, locale=\"fr\") | safe }}\n{% endfor %}\
                 {{ \"2024-03-05\" | date(format=\"%-d o'clock %B\", locale=\"fr\") | safe }}";
    let (files, notes) = imported(&[
        (
            "config.toml",
            "base_url = \"https://x.example\"\n[extra]\nformat = \"%-d de %B, l'an %Y à %H:%M\"\n",
        ),
        ("content/_index.md", "+++\n+++\n"),
        ("templates/index.html", index),
    ]);
    insta::assert_snapshot!(text(&files, "index.html"), @r"
    5 de mars, l'an 2024 à 14:07
    2024-03-05
    5. mars
    2024年03月05日
    mardi 5 d'o'c'24
    5 o'clock mars
    ");
    assert!(notes.is_empty(), "{notes:?}");
}
