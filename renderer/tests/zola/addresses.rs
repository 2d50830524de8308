//! Where pages are found.

use renderer::{BaseUrl, Renderer};

use crate::shown;
use crate::support::{errors, input, render, render_with, sources, text, with};

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
