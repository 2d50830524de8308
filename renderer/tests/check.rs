//! What a check finds in whole sites, and that it finds nothing in good ones.

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod support;

use renderer::check::{Report, Rule, Severity};
use renderer::{Input, Renderer};

use support::{input, sources, with};

fn check(files: &[(&str, &str)]) -> Report {
    check_input(&input(sources(files)))
}

fn check_input(input: &Input) -> Report {
    Renderer::for_one_render(1 << 20).check(input)
}

/// Every finding as it is shown.
fn shown(report: &Report) -> String {
    let lines = report.findings.iter().map(|finding| match finding.severity {
        Severity::Error => finding.diagnostic.to_string(),
        Severity::Warning => finding.diagnostic.as_warning().to_string(),
    });
    lines.collect::<Vec<_>>().join("\n\n")
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_good_site_has_no_findings() {
    let report = check(&with(&[
        (
            "templates/page.html",
            "<link rel=stylesheet href=\"{{ get_url(path='style.css') }}\"><h1>{{ page.title }}</h1>{{ page.content | safe }}<img src=/sub/logo.png alt=Logo>",
        ),
        ("static/style.css", "body { background: url(bg.png) } /* url(no.png) */"),
        ("static/bg.png", "png"),
        ("static/logo.png", "png"),
        ("static/favicon.ico", "ico"),
        ("content/_index.md", "+++\ntitle = \"Home\"\n+++\n"),
        (
            "content/a/index.md",
            "+++\ntitle = \"A\"\naliases = [\"old\"]\n+++\n## One\n\n[b](@/b.md#two) [self](#one) [old](/sub/old/) [up](../b) ![loaf](loaf.png) [mail](mailto:a@b.example)\n",
        ),
        ("content/a/loaf.png", "png"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n## Two\n\n### Three\n\n[x](https://elsewhere.example/)\n"),
    ]));
    assert_eq!(shown(&report), "");
    assert_eq!(report.pages, 3);
    assert_eq!(report.external.len(), 1);
}

#[test]
fn every_mistake_is_shown_where_it_is() {
    let report = check(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntitle = \"X\"\n"),
        (
            "templates/page.html",
            "<!doctype html>\n<link rel=\"stylesheet\" href=\"/gone.css\">\n<h1>{{ page.title }}</h1>{{ page.content | safe }}",
        ),
        ("templates/lost.html", "{{ page.title }}"),
        ("content/_index.md", "+++\ntitle = \"Home\"\n+++\n"),
        (
            "content/a/index.md",
            "+++\ntitle = \"A\"\n+++\n\nSee [b](/bee/) and [c](../see).\n\n![](loaf.png)\n\n# Again\n\n#### Deep\n\n<img src=\"none.jpg\">\n\n[x][ref]\n\n[ref]: /b/#nowhere\n",
        ),
        ("content/a/loaf.png", "png"),
        ("content/a/notes.txt", "notes"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n[x](#x)\n\n<p id='x'><p id=x>\n"),
        ("content/c/stray.png", "png"),
        ("content/c/see.md", "+++\ntitle = \"C\"\n+++\n"),
        ("static/unused.js", "1"),
    ]));
    insta::assert_snapshot!(shown(&report), @r#"
    error: the link `/bee/` leads to nothing
     --> content/a/index.md:5:9
      |
    5 | See [b](/bee/) and [c](../see).
      |         ^

    error: the link `../see` leads to nothing
     --> content/a/index.md:5:24
      |
    5 | See [b](/bee/) and [c](../see).
      |                        ^
    hint: did you mean `/c/see/`?

    warning: the image `https://x.example/a/loaf.png` has no words
     --> content/a/index.md:7:1
      |
    7 | ![](loaf.png)
      | ^
    hint: write what it shows between the brackets; what only decorates is <img alt="" src=…>

    warning: `Again` is a second heading of the first level
     --> content/a/index.md:9:1
      |
    9 | # Again
      | ^
    hint: `A` is the first; headings in the text begin with the second level

    warning: the heading `Deep` is of level 4 and follows one of level 1
      --> content/a/index.md:11:1
       |
    11 | #### Deep
       | ^
    hint: make it level 2: tools that read pages aloud go by levels

    warning: the image `none.jpg` has no `alt`
      --> content/a/index.md:13:6
       |
    13 | <img src="none.jpg">
       |      ^
    hint: say in `alt` what it shows, or alt="" if it only decorates

    error: the file `none.jpg` does not exist
      --> content/a/index.md:13:11
       |
    13 | <img src="none.jpg">
       |           ^

    error: the link `/b/#nowhere` names a place that is not on its page
      --> content/a/index.md:17:8
       |
    17 | [ref]: /b/#nowhere
       |        ^
    hint: no element of `b/index.html` has that id

    warning: no output names the file
     --> content/a/notes.txt
    hint: remove it, or link to it

    warning: the id `x` is there more than once
     --> content/b.md:6:4
      |
    6 | <p id='x'><p id=x>
      |    ^
    hint: a link to it leads to the first; give the others ids of their own

    warning: the file is not published: it lies beside no page that takes it along
     --> content/c/stray.png
    hint: put it into the folder of a page that is an index.md, into that of a section, or into static/

    warning: no output names the file
     --> static/unused.js
    hint: remove it, or link to it

    warning: no output uses the template
     --> templates/lost.html
    hint: remove it, or name it in `template` of front matter

    error: the file `/gone.css` does not exist, on /a/, /b/, /c/see/
     --> templates/page.html:2:30
      |
    2 | <link rel="stylesheet" href="/gone.css">
      |                              ^
    "#);
}

#[test]
fn redirects_of_the_file_lead_somewhere() {
    let lines = "# Moved\n/one /b/ 301\n/two   /bee/ 302\n/three /b/#nowhere\n/four /b/?x=1#two\n/five /notes.txt\n/six https://x.example/sub/gone\n/seven /b/#top\n/eight https://elsewhere.example/x#y\n/nine https://x.example/beside\n/ten /one\n";
    let report = check(&with(&[
        ("bakehouse.toml", ""),
        ("static/_redirects", lines),
        ("static/notes.txt", "notes"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n## Two\n"),
    ]));
    insta::assert_snapshot!(shown(&report), @r"
        error: the redirect of `/two` leads to `/bee/`, which is nothing
         --> static/_redirects:3:8
          |
        3 | /two   /bee/ 302
          |        ^

        error: the redirect of `/three` leads to `/b/#nowhere`, a place that is not on its page
         --> static/_redirects:4:8
          |
        4 | /three /b/#nowhere
          |        ^
        hint: no element of `b/index.html` has that id

        error: the redirect of `/six` leads to `https://x.example/sub/gone`, which is nothing
         --> static/_redirects:7:6
          |
        7 | /six https://x.example/sub/gone
          |      ^
        hint: if something else is at that address, name it in `skip_prefixes` of [link_checker]

        warning: the redirect of `/nine` leads to `https://x.example/beside`, on this host, but outside of the site
          --> static/_redirects:10:7
           |
        10 | /nine https://x.example/beside
           |       ^
        hint: all of the site is below https://x.example/sub
        ");
    assert_eq!(report.external.len(), 1);
    // Without the file that is ours, the lines mean nothing.
    let report = check(&with(&[("static/_redirects", lines)]));
    assert_eq!(rules(&report), []);
    // Nor do fields of responses that other hosts would read.
    let headers = ("static/_headers", "/*\n  X-Frame-Options: DENY\n");
    assert_eq!(rules(&check(&with(&[headers]))), []);
    assert_eq!(rules(&check(&with(&[headers, ("bakehouse.toml", "")]))), [Rule::UnusedFile]);
    // A circle is told once, and not at each line that leads there.
    let report = check(&with(&[("bakehouse.toml", ""), ("static/_redirects", "/in /a\n/a /b\n/b /a\n")]));
    insta::assert_snapshot!(shown(&report), @r"
    error: the redirect leads back to itself: /a → /b → /a
     --> static/_redirects:2:1
      |
    2 | /a /b
      | ^
    hint: let one of them lead to a page
    ");
}

/// Names are told as they have to be written there, and never that of the page itself.
#[test]
fn links_are_mended_in_the_words_that_they_are_in() {
    let start = "+++\ntitle = \"Start\"\n+++\n[a](https://x.example/sub/guide/start/) [b](/sub/sart/) [c](/sub/loaf/)\n\
                 [d](https://x.example/sub/api/)\n";
    let site = |config: &str| {
        let config = format!("base_url = \"https://x.example/sub\"\n{config}");
        let loaf = "+++\ntitle = \"Loaf\"\n+++\n[s](https://x.example/sub/guide/start/)\n";
        let mut files: Vec<(&str, &str)> =
            with(&[("content/start.md", start), ("content/bread/loaf.md", loaf)]);
        files.retain(|(path, _)| *path != "zola.toml");
        files.push(("zola.toml", &config));
        shown(&check(&files))
    };
    insta::assert_snapshot!(site(""), @r"
    error: the link `https://x.example/sub/guide/start/` leads to nothing
     --> content/bread/loaf.md:4:5
      |
    4 | [s](https://x.example/sub/guide/start/)
      |     ^
    hint: if something else is at that address, name it in `skip_prefixes` of [link_checker]

    error: the link `https://x.example/sub/guide/start/` leads to nothing
     --> content/start.md:4:5
      |
    4 | [a](https://x.example/sub/guide/start/) [b](/sub/sart/) [c](/sub/loaf/)
      |     ^
    hint: if something else is at that address, name it in `skip_prefixes` of [link_checker]

    error: the link `/sub/sart/` leads to nothing
     --> content/start.md:4:45
      |
    4 | [a](https://x.example/sub/guide/start/) [b](/sub/sart/) [c](/sub/loaf/)
      |                                             ^

    error: the link `/sub/loaf/` leads to nothing
     --> content/start.md:4:61
      |
    4 | [a](https://x.example/sub/guide/start/) [b](/sub/sart/) [c](/sub/loaf/)
      |                                                             ^
    hint: did you mean `/sub/bread/loaf/`?

    error: the link `https://x.example/sub/api/` leads to nothing
     --> content/start.md:5:5
      |
    5 | [d](https://x.example/sub/api/)
      |     ^
    hint: if something else is at that address, name it in `skip_prefixes` of [link_checker]
    ");
    let skipped = "[link_checker]\nskip_prefixes = [\"https://x.example/sub/guide/\"]\n";
    assert!(!site(skipped).contains("guide/start/` leads"));
}

#[test]
fn a_broken_link_hides_nothing_else_of_its_page() {
    let page = "+++\ntitle = \"B\"\n+++\n[a](@/no.md) [b](/sub/nowhere/)\n\n![c](/sub/no.png) [d](/c/)\n\n\
                ![e](e.svg) <img src=\"e.svg\">\n\n![f](f.png)\n";
    let report = check(&with(&[
        ("zola.toml", "base_url = \"https://x.example/sub\"\ncompile_sass = true\n"),
        ("bakehouse.toml", ""),
        ("content/b.md", page),
        ("content/c.md", "+++\ntitle = \"C\"\n+++\n[b](@/b.md)\n"),
        ("static/b/e.svg", "<svg/>"),
        ("sass/look.scss", "body {\n  background: url(\"no.png\");\n}\n"),
    ]));
    insta::assert_snapshot!(shown(&report), @r#"
    error: the link `@/no.md` leads to no content
     --> content/b.md:4:1
      |
    4 | [a](@/no.md) [b](/sub/nowhere/)
      | ^
    hint: did you mean `@/b.md`?

    error: the link `/sub/nowhere/` leads to nothing
     --> content/b.md:4:18
      |
    4 | [a](@/no.md) [b](/sub/nowhere/)
      |                  ^

    error: the image `/sub/no.png` does not exist
     --> content/b.md:6:1
      |
    6 | ![c](/sub/no.png) [d](/c/)
      | ^
    hint: put it into the page's folder, or into `static/` and begin its address with `/`

    warning: the link `/c/` is on this host, but outside of the site
     --> content/b.md:6:23
      |
    6 | ![c](/sub/no.png) [d](/c/)
      |                       ^
    hint: did you mean `/sub/c/`?

    warning: the image `e.svg` has no `alt`
     --> content/b.md:8:18
      |
    8 | ![e](e.svg) <img src="e.svg">
      |                  ^
    hint: say in `alt` what it shows, or alt="" if it only decorates

    error: the image `f.png` does not exist
      --> content/b.md:10:1
       |
    10 | ![f](f.png)
       | ^
    hint: put it into the page's folder, or into `static/` and begin its address with `/`

    error: the file `/sub/no.png` does not exist, on /look.css
     --> sass/look.scss:2:20
      |
    2 |   background: url("no.png");
      |                    ^
    "#);
}

#[test]
fn what_is_wrong_with_extra_is_found() {
    let report = check(&with(&[
        ("bakehouse.toml", ""),
        ("schemas/page.json", "{ \"required\": [\"by\"] }"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n"),
    ]));
    assert_eq!(rules(&report), [Rule::Render]);
    assert_eq!(report.findings[0].diagnostic.path.as_deref(), Some("content/b.md"));
}

#[test]
fn what_a_template_says_on_every_page_is_said_once() {
    let mut files: Vec<(&str, &str)> =
        with(&[("templates/page.html", "<a href=\"{{ config.base_url }}/nowhere/\">x</a>")]);
    let names: Vec<String> = (0..80).map(|n| format!("content/p{n:02}.md")).collect();
    files.extend(names.iter().map(|name| (name.as_str(), "+++\ntitle = \"P\"\n+++\n")));
    let report = check(&files);
    assert_eq!(rules(&report), [Rule::Link]);
    let message = &report.findings[0].diagnostic.message;
    assert_eq!(
        message,
        "the link `https://x.example/sub/nowhere/` leads to nothing, on /p00/, /p01/, /p02/ and 77 more"
    );
}

#[test]
fn a_render_that_fails_is_a_finding_and_hides_no_other() {
    let report = check(&with(&[
        ("templates/odd.html", "{{ page.no.such }}"),
        ("content/a.md", "+++\ntitle = \"A\"\n+++\n[b](@/b.md) [c](/sub/c/) [b](/sub/b)\n"),
        ("content/b.md", "+++\ntitle = \"B\"\ntemplate = \"odd.html\"\n+++\n"),
        ("content/b2.md", "+++\ntitle = \"B\"\ntemplate = \"odd.html\"\n+++\n"),
        ("content/d.md", "+++\ntitle = \"D\"\n+++\n[gone](@/gone.md)\n"),
        ("static/unused.png", "x"),
    ]));
    let errors: Vec<_> = report.findings.iter().map(|f| (f.rule, f.diagnostic.path.as_deref())).collect();
    assert_eq!(
        errors,
        [
            (Rule::Link, Some("content/a.md")),
            (Rule::Render, Some("content/d.md")),
            (Rule::Render, Some("templates/odd.html")),
        ],
        "{}",
        shown(&report)
    );
    let advice = report.findings[2].diagnostic.advice();
    assert_eq!(advice.as_deref(), Some("it was rendering content/b.md, and one more output"));
    // What keeps a site from being read at all is shown alone.
    let report = check(&with(&[
        ("content/a.md", "+++\ntitle = \n+++\n"),
        ("content/b.md", "+++\nweight = \"x\"\n+++\n"),
    ]));
    assert_eq!(rules(&report), [Rule::Render, Rule::Render], "{}", shown(&report));
}

#[test]
fn a_template_that_fails_hides_no_link_to_a_heading() {
    let report = check(&with(&[
        ("templates/odd.html", "{{ page.no.such }}"),
        ("content/a.md", "+++\ntitle = \"A\"\ntemplate = \"odd.html\"\n+++\n## There\n[own](#gone)\n"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n[good](@/a.md#there) [bad](@/a.md#their)\n"),
    ]));
    let shown = shown(&report);
    for words in
        ["`#gone` leads to a heading", "`@/a.md#their` leads to a heading", "field `no` is not defined"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(report.counts().0, 3, "{shown}");
}

/// An address that a broken page gives itself is not missed, and others are.
#[test]
fn what_a_broken_page_may_be_is_not_missed() {
    let report = check(&with(&[
        ("content/a.md", "+++\ntitle = \"A\naliases = [\"old\"]\n+++\n"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n[a](/sub/old/) [b](/sub/new/)\n"),
    ]));
    let shown = shown(&report);
    assert!(shown.contains("content/a.md:2:") && shown.contains("/sub/new/"), "{shown}");
    assert!(!shown.contains("/sub/old/` leads"), "{shown}");
}

#[test]
fn the_link_checker_of_the_configuration_is_heeded() {
    let config = "base_url = \"https://x.example\"\n[link_checker]\ninternal_level = \"warn\"\nexternal_level = \"warn\"\nskip_prefixes = [\"https://skip.example/\"]\nskip_anchor_prefixes = [\"https://x.example/b/\"]\nignored_files = [\"content/old/*\"]\n";
    let report = check(&with(&[
        ("zola.toml", config),
        ("bakehouse.toml", ""),
        (
            "content/a.md",
            "+++\ntitle = \"A\"\n+++\n[b](/b/#script) [c](/c/) [d](https://skip.example/x) [e](https://e.example/y)\n",
        ),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n"),
        (
            "content/old/c.md",
            "+++\ntitle = \"C\"\n+++\n[f](https://f.example/) ![x](gone.png) [e](https://e.example/y)\n",
        ),
    ]));
    assert!(report.asks_for_external);
    assert_eq!(report.counts(), (0, 2), "{}", shown(&report));
    assert_eq!(
        report.external.iter().map(|link| link.url.as_str()).collect::<Vec<_>>(),
        ["https://e.example/y"]
    );
}

#[test]
fn an_image_that_no_copy_can_be_made_of_is_told() {
    let mut whole = Vec::new();
    let encoder = png::Encoder::new(&mut whole, 9, 9);
    encoder.write_header().unwrap().write_image_data(&[7; 81]).unwrap();
    let files = with(&[
        (
            "templates/page.html",
            "{% for size in [1, 2] %}{% set made = resize_image(path='cut.png', width=size, height=size) %}<img alt=x src=\"{{ made.url }}\">{% endfor %}",
        ),
        ("content/_index.md", "+++\n+++\n"),
        ("content/a.md", "+++\ntitle = \"A\"\n+++\n"),
    ]);
    let checked = |length: usize| {
        let texts = files.iter().map(|(path, text)| (*path, text.as_bytes()));
        let all = texts.chain([("static/cut.png", &whole[..length])]);
        let file = |(path, bytes): (&str, &[u8])| (path.to_owned(), bytes::Bytes::copy_from_slice(bytes));
        check_input(&input(renderer::Sources::from_files(all.map(file))))
    };
    let report = checked(whole.len());
    assert_eq!(report.counts(), (0, 0), "{}", shown(&report));
    let report = checked(whole.len() - 20);
    assert_eq!(report.counts(), (1, 0), "{}", shown(&report));
    assert!(shown(&report).contains("cannot be resized: ") && shown(&report).contains("--> static/cut.png"));
}

#[test]
fn a_file_counts_as_used_wherever_it_is_named() {
    let mut files: Vec<(&str, &str)> = with(&[
        (
            "templates/page.html",
            "<meta property=\"og:image\" content=\"{{ get_url(path='card.png') }}\"><script>load(\"js/a.js\")</script>{% set d = load_data(path=\"static/data.json\") %}{{ d.x }}",
        ),
        ("content/_index.md", "+++\n+++\n"),
        ("content/a.md", "+++\ntitle = \"A\"\n+++\n"),
        ("static/card.png", "x"),
        ("static/js/a.js", "import './b.js'"),
        ("static/js/b.js", "1"),
        ("static/data.json", "{\"x\": 1}"),
        ("static/site.webmanifest", "{\"icons\": [{\"src\": \"icons\\/i.png\"}]}"),
        ("static/icons/i.png", "x"),
        ("static/.well-known/x", "x"),
        ("static/page.html", "<a href='file%20name.pdf'>x</a>"),
        ("static/file name.pdf", "x"),
        ("static/js/c.js", "1"),
    ]);
    files.push(("templates/parts.html", "{% component part(x) %}{{ x }}{% endcomponent part %}"));
    files.push(("content/b.md", "+++\ntitle = \"B\"\n+++\n{{ <part x=\"1\" /> }}\n"));
    let report = check(&files);
    let found: Vec<_> = report.findings.iter().filter_map(|f| f.diagnostic.path.as_deref()).collect();
    assert_eq!(found, ["static/js/c.js"], "{}", shown(&report));
}

#[test]
fn equal_sites_give_equal_reports() {
    let mut files: Vec<(&str, &str)> =
        with(&[("templates/page.html", "<a href=\"/nowhere/\">x</a><img src=x.png>")]);
    let names: Vec<String> = (0..200).map(|n| format!("content/p{n:03}.md")).collect();
    files.extend(
        names.iter().map(|name| (name.as_str(), "+++\ntitle = \"P\"\n+++\n[x](gone.png) [y](#no)\n")),
    );
    let input = input(sources(&files));
    let first = shown(&check_input(&input));
    for _ in 0..3 {
        assert_eq!(shown(&check_input(&input)), first);
    }
    assert!(first.contains("on /p000/"), "{first}");
}
