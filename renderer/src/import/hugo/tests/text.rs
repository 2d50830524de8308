//! The text of pages.

use super::*;

/// The text of one page, and what is said of it.
fn body(settings: &str, markdown: &str) -> (String, Vec<String>) {
    let files = [
        ("content/posts/a.md", format!("+++\ntitle = \"A\"\n+++\n{markdown}")),
        ("content/posts/b.md", "+++\ntitle = \"B\"\nslug = \"bee\"\n+++\n".to_owned()),
        ("content/posts/pic.png", String::new()),
        ("content/posts/bundle/index.md", "---\ntitle: Bundle\n---\n".to_owned()),
        ("content/Über uns.md", "+++\ntitle = \"Us\"\n+++\n".to_owned()),
        ("static/s.css", String::new()),
        ("layouts/shortcodes/gist.html", String::new()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let made = imported(settings, &files);
    let page = text(&made, "content/posts/a.md");
    let said = notes(&made)
        .into_iter()
        .filter_map(|note| Some(note.strip_prefix("content/posts/a.md: ")?.to_owned()));
    (page.split_once("+++\n").unwrap().1.split_once("+++\n").unwrap().1.to_owned(), said.collect())
}

#[test]
fn links_lead_to_files() {
    let (made, said) = body(
        "",
        "[1](b.md) [2](./b.md#x) [3](../bee/) [4](/posts/bee/) [5](bundle/index.md) [6](/posts/b.md) [7](../../über-uns/)\n\
         [8](b) [9](gone.md) [10](../pic.png) [11](/s.css) [12](https://x.example/b.md) [13](#x) `[14](b.md)` [15][r]\n\
         <a href=\"b.md\">16</a> [17](../) [18](../../tags/x/)\n\n[r]: b.md \"B\"\n",
    );
    assert_eq!(
        made,
        "[1](@/posts/b.md) [2](@/posts/b.md#x) [3](@/posts/b.md) [4](/posts/bee/) [5](@/posts/bundle/index.md) [6](@/posts/b.md) [7](@/über-uns.md)\n\
         [8](@/posts/b.md) [9](gone.md) [10](../pic.png) [11](/s.css) [12](https://x.example/b.md) [13](#x) `[14](b.md)` [15][r]\n\
         <a href=\"/posts/bee/\">16</a> [17](@/posts/_index.md) [18](../../tags/x/)\n\n[r]: @/posts/b.md \"B\"\n"
    );
    assert_eq!(
        said,
        [
            "it has HTML, which Hugo left out (`markup.goldmark.renderer.unsafe`) and which is shown now",
            "the link to \"gone.md\" leads to nothing that was found"
        ]
    );
}

#[test]
fn references_are_links() {
    let (made, said) = body(
        "baseURL = \"https://x.example/sub/\"",
        "[1]({{< ref \"b.md\" >}}) [2]({{% relref `/posts/b#x` %}}) [3]({{<relref path=\"bundle\">}} \"T\") [4]({{< ref \"#x\" >}})\n\
         [5]({{< ref \"gone\" >}}) <a href='{{< ref \"b\" >}}'>6</a> [7][r]\n\n[r]: {{< ref \"b\" >}}\n",
    );
    assert_eq!(
        made,
        "[1](@/posts/b.md) [2](@/posts/b.md#x) [3](@/posts/bundle/index.md \"T\") [4](#x)\n\
         [5]({{< ref \"gone\" >}}) <a href='/sub/posts/bee/'>6</a> [7][r]\n\n[r]: @/posts/b.md\n"
    );
    assert!(said.contains(&"`ref` to \"gone\" leads to no page".to_owned()), "{said:?}");
}

#[test]
fn a_colon_that_begins_nothing_stays() {
    assert_eq!(
        body("", "Choose port\n:0 for any.\n\nBread\n: Of rye.\n").0,
        "Choose port\n\\:0 for any.\n\nBread\n: Of rye.\n"
    );
}

#[test]
fn code_and_bare_addresses() {
    let settings = "[markup.goldmark.renderer]\nunsafe = true\n";
    let (made, said) = body(
        settings,
        "See https://x.example/a_(b)_c, or (http://y.example). <https://z.example>\n\n\
         ```go {hl_lines=[1,\"3-5\"],linenos=true,style=monokai}\nhttps://x.example {{ .Title }}\n```\n\n\
         {{< highlight py \"linenos=table,hl_lines=2 4-5\" >}}\na```\n{{< /highlight >}}\n",
    );
    assert_eq!(
        made,
        "See <https://x.example/a_(b)_c>, or (<http://y.example>). <https://z.example>\n\n\
         ```go,hl_lines=1 3-5,linenos\nhttps://x.example {{ .Title }}\n```\n\n\
         ````py,linenos,hl_lines=2 4-5\na```\n````\n"
    );
    assert_eq!(said, ["`style` of a block of code is not converted"]);
    assert_eq!(
        body("markup.goldmark.extensions.linkify = false", "https://x.example").0,
        "https://x.example"
    );
}

#[test]
fn anchors_stay() {
    let text = "## Plain\n## A -- b\n## What's `new`? ##\n### *C++* [and](/x) co\n## Own {#mine}\n\nÜber *uns*\n----\n\n`## What's`\n";
    assert_eq!(
        body("", text).0,
        "## Plain\n## A -- b {#a--b}\n## What's `new`? {#whats-new}\n### *C++* [and](/x) co\n## Own {#mine}\n\nÜber *uns* {#über-uns}\n----\n\n`## What's`\n"
    );
    assert_eq!(body("markup.goldmark.parser.autoHeadingIDType = \"blackfriday\"", text).0, text);
}

#[test]
fn shortcodes_become_what_they_stand_for_or_stay() {
    let (made, said) = body(
        "[params]\ngreeting = \"Hi\"\n",
        "{{< param greeting >}} {{< x user=\"a\" id=\"1\" >}} {{< comment >}}no{{< /comment >}}.\n\n\
         {{< details summary=\"More *here*\" >}}\n{{< param \"title\" >}}\n{{< /details >}}\n\n\
         {{< gist a 1 >}} {{% note %}}**in**{{% /note %}} {{</* ref \"y\" */>}} {{ z }} {% raw %}\n",
    );
    assert_eq!(
        made,
        "Hi <a href=\"https://x.com/a/status/1\">x.com/a/status/1</a> .\n\n\
         <details><summary>More <em>here</em></summary>\n\nA\n\n</details>\n\n\
         {{< gist a 1 >}} {{% note %}}**in**{{% /note %}} {{< ref \"y\" >}} {{ z }} {% raw %}\n"
    );
    assert_eq!(
        said,
        [
            "the shortcode `gist` is not converted: it is shown as it is written",
            "the shortcode `note` is not converted: it is shown as it is written",
            "the shortcode `x` is a link now: what it showed is on another host"
        ],
        "the site has a shortcode `gist` of its own"
    );
}

#[test]
fn braces_are_text() {
    let page = "+++\ntitle = \"A\"\n+++\n";
    let files = [
        ("content/a [1].md", format!("{page}{{{{ x }}}}")),
        ("content/b.md", format!("{page}{{% if %}}")),
        ("content/c.md", format!("{page}{{ x }} {{#id}}")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let config = text(&imported("", &files), "zola.toml");
    assert!(config.contains("skip_content_templating = [\"a-1.md\", \"b.md\"]"), "{config}");
}

#[test]
fn pages_that_are_made_to_take_long_do_not() {
    let nested = format!("{}deep{}", "{{< details >}}".repeat(20_000), "{{< /details >}}".repeat(20_000));
    let (made, said) = body("", &nested);
    assert!(made.contains("deep") && made.starts_with("<details><summary>Details</summary>"));
    assert!(said.iter().any(|note| note.contains("`details` is not converted")), "{said:?}");
    for markdown in [
        "{{< a >}}".repeat(60_000),
        "{{<".repeat(150_000),
        "{{< \\\" >}} ".repeat(30_000),
        format!("https://x.example{}", ")".repeat(500_000)),
        "# a?\n".repeat(50_000),
        format!("```go {{{}}}\nx\n```\n", "a=1 ".repeat(300_000)),
        format!("a\n{}", "{.b}*".repeat(100_000)),
        "a\n{.b}\n".repeat(50_000),
    ] {
        let began = std::time::Instant::now();
        let settings =
            "markup.goldmark.renderer.unsafe = true\nmarkup.goldmark.parser.attribute.block = true\n";
        body(settings, &markdown);
        assert!(began.elapsed().as_secs() < 20, "{markdown:.20}: {:?}", began.elapsed());
    }
}

#[test]
fn what_follows_an_element_is_markdown() {
    let (made, _) = body(
        "",
        "{{< figure src=\"x.png\" >}}\n*a*\n{{< youtube v >}}\n{{< details >}}x{{< /details >}}\n\n*b* {{< youtube v >}} *c*\n",
    );
    let html = shown(&made);
    for word in ["<em>a</em>", "<em>b</em>", "<em>c</em>", "<p>x</p>"] {
        assert!(html.contains(word), "{word}: {made}\n{html}");
    }
}

fn shown(markdown: &str) -> String {
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(markdown));
    html
}

#[test]
fn attributes_of_blocks_are_left_out() {
    let text = "A para\n{.lead #x}\n\n```\na\n{.b}\n```\n\n{.alone}\n\nb {.c}\n\n> q\n{title=\"t\"}\n";
    let on = "markup.goldmark.parser.attribute.block = true";
    let (made, said) = body(on, text);
    assert_eq!(made, "A para\n\n```\na\n{.b}\n```\n\n{.alone}\n\nb {.c}\n\n> q\n");
    assert_eq!(said, ["attributes of blocks, such as `{.lead}`, are left out"]);
    assert_eq!(body("", text).0, text);
}
