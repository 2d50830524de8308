//! What markdown becomes.

use renderer::Renderer;

use crate::shown;
use crate::support::{errors, input, render, render_with, sources, text, with};

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
