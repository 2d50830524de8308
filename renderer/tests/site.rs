//! Whole sites, rendered: what comes out, that it is always the same, and what is said when it cannot be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use release::File;
use renderer::data::{DataSet, RowPage, Snapshot};
use renderer::{BaseUrl, ImageOptions, Input, Limits, Reason, Renderer, Sources, Whole};

use support::{CONFIG, errors, input, render, render_with, sources, text, with};

#[test]
fn a_site_without_templates_has_the_built_in_theme() {
    let (summary, files) = render(&[
        CONFIG,
        ("bakehouse.toml", ""),
        ("content/_index.md", "+++\ntitle = \"Home\"\n+++\nWelcome."),
        ("content/docs/_index.md", "+++\ntitle = \"Docs\"\n+++\n"),
        ("content/docs/a.md", "+++\ntitle = \"A\"\n+++\n## One\n\n```rust\nfn main() {}\n```\n\n## Two\n"),
    ])
    .unwrap();
    assert_eq!((summary.pages, summary.sections), (1, 2));
    let page = text(&files, "docs/a/index.html");
    assert!(page.contains("<a-k>fn</a-k>"), "{page}");
    let style = files.keys().find(|path| path.starts_with("style.") && path.ends_with(".css")).unwrap();
    assert!(files[style].immutable);
    assert!(page.contains(&format!("https://x.example/sub/{style}")), "{page}");
    assert_eq!(files["404.html"].status, 404);
    assert!(files["docs/a/index.html"].groups.contains(&"page:/docs/a/".to_owned()));
    assert!(files["docs/a/index.html"].groups.contains(&"section:/docs/".to_owned()));
    assert!(files["docs/a/index.html"].groups.contains(&"template:page.html".to_owned()));
}

#[test]
fn the_built_in_theme_is_in_the_language_of_the_page() {
    let (_, files) = render(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntitle = \"X\"\n[extra.labels]\ncopy = \"Copy \\\"it\\\"\"\n[languages.de]\n[languages.ar-EG]\n[languages.ja]\n[languages.es]\n"),
        ("content/a.md", "+++\ntitle = \"A\"\ndate = 2026-03-04\n+++\n"),
        ("content/a.de.md", "+++\ntitle = \"A\"\ndate = 2026-03-04\n+++\n"),
        ("content/a.es.md", "+++\ntitle = \"A\"\ndate = 2026-03-04\n+++\n"),
        ("content/a.ja.md", "+++\ntitle = \"A\"\ndate = 2026-03-04\n+++\n"),
        ("content/a.ar-EG.md", "+++\ntitle = \"A\"\ndate = 2026-03-04\n+++\n"),
    ])
    .unwrap();
    for (path, head, date) in [
        ("a", "<html lang=\"en\">", ">4 March 2026</time>"),
        ("de/a", "<html lang=\"de\">", ">4. März 2026</time>"),
        ("es/a", "<html lang=\"es\">", ">4 de marzo de 2026</time>"),
        ("ja/a", "<html lang=\"ja\">", ">2026年3月4日</time>"),
        ("ar-EG/a", "<html lang=\"ar-EG\" dir=\"rtl\">", "مارس"),
    ] {
        let page = text(&files, &format!("{path}/index.html"));
        assert!(page.contains(head) && page.contains(date), "{path}: {page}");
        // A script has words too.
        assert!(page.contains(".js\" data-copy=\"Copy &quot;it&quot;\"></script>"), "{page}");
    }
}

/// A page without a title has a name all the same, and so has the link to the front page: on a site without a title, and in a
/// language that has none of its own.
#[test]
fn the_built_in_theme_names_what_has_no_title() {
    let (_, files) = render(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\n[languages.de]\n"),
        ("content/_index.md", "Welcome."),
        ("content/_index.de.md", "+++\ntitle = \"Brot\"\n+++\n"),
        ("content/docs/_index.md", ""),
        ("content/docs/rye.md", "Rye."),
        ("content/docs/rye.de.md", "+++\ntitle = \"Roggen\"\n+++\n"),
    ])
    .unwrap();
    for (path, title, heading, brand) in [
        ("index.html", "Home", "Home", "Home"),
        ("docs/index.html", "/docs/", "/docs/", "Home"),
        ("docs/rye/index.html", "rye", "rye", "Home"),
        ("de/index.html", "Brot", "Brot", "Brot"),
        ("de/docs/rye/index.html", "Roggen", "Roggen", "Brot"),
        ("404.html", "Page not found", "Page not found", "Home"),
    ] {
        let page = text(&files, path);
        for part in
            [format!("<title>{title}</title>"), format!("<h1>{heading}</h1>"), format!("</svg>{brand}</a>")]
        {
            assert!(page.contains(&part), "{part}: {page}");
        }
        assert!(!page.contains("title=\"\"") && !page.contains("content=\"\""), "{page}");
    }
}

#[test]
fn a_template_of_ones_own_may_extend_the_built_in_theme() {
    let own = (
        "templates/index.html",
        "{% extends \"base.html\" %}{% block main %}<h1>Mine</h1>{% endblock main %}",
    );
    let styles = |files: &BTreeMap<String, File>| {
        files
            .keys()
            .filter(|path| path.starts_with("style.") && path.ends_with(".css"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let page = ("content/a.md", "+++\ntitle = \"A\"\n+++\nText.");
    for beyond_zola in [true, false] {
        let mut files = vec![CONFIG, own, page];
        files.extend(beyond_zola.then_some(("bakehouse.toml", "")));
        let (_, files) = render(&files).unwrap();
        let [style] = &styles(&files)[..] else { panic!("{:?}", files.keys().collect::<Vec<_>>()) };
        assert!(text(&files, "index.html").contains("<h1>Mine</h1>"));
        for path in ["index.html", "a/index.html"] {
            assert!(text(&files, path).contains(style.as_str()), "{path}");
        }
    }
    // A site that looks its own way throughout gets no file of the theme.
    let (_, files) = render(&with(&[page])).unwrap();
    assert!(styles(&files).is_empty(), "{:?}", styles(&files));
    // What it has no template for falls to the theme, with all that it needs.
    let tagged = "+++\n[taxonomies]\ntags = [\"x\"]\n+++\n";
    let tags = "base_url = \"https://x.example\"\ntaxonomies = [{ name = \"tags\" }]\n";
    let (_, files) = render(&with(&[("zola.toml", tags), ("content/b.md", tagged)])).unwrap();
    assert!(text(&files, "tags/x/index.html").contains(&styles(&files)[0]));
}

#[test]
fn root_relative_links_in_pages_and_full_ones_elsewhere() {
    let files = with(&[
        ("zola.toml", "base_url = \"https://x.example/sub\"\ngenerate_feeds = true\n"),
        (
            "templates/page.html",
            "{{ page.permalink }} {{ current_url }} {{ get_url(path='a.css') }} {{ page.content | safe }}",
        ),
        ("content/a.md", "+++\ntitle = \"A\"\ndate = 2026-01-01\naliases = [\"old\"]\n+++\n[b](@/b.md)"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n"),
    ]);
    let mut input = input(sources(&files));
    input.options.base_url = BaseUrl::RootRelative;
    let (_, files) = render_with(&Renderer::new(1 << 20), &input).unwrap();
    insta::assert_snapshot!(text(&files, "a/index.html"), @r#"
    /a/ https://x.example/sub/a/ /a.css <p><a href="/b/">b</a></p>
    "#);
    assert!(text(&files, "atom.xml").contains("https://x.example/sub/a/"));
    assert!(text(&files, "sitemap.xml").contains("<loc>https://x.example/sub/a/</loc>"));
    let alias = &files["old/index.html"];
    assert_eq!(alias.status, 308);
    assert!(alias.fields.contains(&("location".to_owned(), "/a/".to_owned())));
}

#[test]
fn dates_publish_only_beside_a_bakehouse_toml() {
    let site = with(&[
        ("content/past.md", "+++\ntitle = \"P\"\ndate = 2026-05-01\n+++\n"),
        ("content/soon.md", "+++\ntitle = \"S\"\ndate = 2026-07-01\n+++\n"),
        ("content/over.md", "+++\ntitle = \"O\"\nexpiry_date = 2026-05-02\n+++\n"),
        ("content/ends.md", "+++\ntitle = \"E\"\nexpiry_date = 2026-06-02T00:00:00Z\n+++\n"),
    ]);
    let (summary, files) = render(&site).unwrap();
    assert_eq!(summary.pages, 4);
    assert_eq!(summary.next_change, None);
    assert!(files.contains_key("soon/index.html"));
    let mut beyond = site.clone();
    beyond.push(("bakehouse.toml", ""));
    let (summary, files) = render(&beyond).unwrap();
    assert_eq!(summary.pages, 2);
    assert!(!files.contains_key("soon/index.html") && !files.contains_key("over/index.html"));
    assert_eq!(summary.next_change, Some("2026-06-02T00:00:00Z".parse().unwrap()));
}

/// A photo that was taken with the camera held upright: wider in the file than it is shown.
fn photo(width: u16, height: u16) -> Bytes {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 80);
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    encoder.add_app_segment(1, exif.to_vec()).unwrap();
    let pixels = vec![90; usize::from(width) * usize::from(height)];
    encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Luma).unwrap();
    bytes.into()
}

#[test]
fn images_of_content_have_their_size_and_copies_where_a_site_asks() {
    let page = "+++\ntitle = \"P\"\n+++\n![up \\<b>](a%20b.jpg \"t\") ![](/wide.jpg?x) ![](https://y.example/i.png) ![](@/q/c.jpg)\n";
    let site = |more: &[(&str, &str)]| {
        let texts = with(&[("content/p/index.md", page), ("content/q/index.md", "+++\n+++\n")]);
        let texts =
            texts.iter().chain(more).map(|(path, text)| ((*path).to_owned(), Bytes::from(text.to_string())));
        let photos = [
            ("content/p/a b.jpg", photo(80, 60)),
            ("content/q/c.jpg", photo(20, 10)),
            ("static/wide.jpg", photo(60, 80)),
        ];
        let mut input =
            input(Sources::from_files(texts.chain(photos.map(|(path, bytes)| (path.to_owned(), bytes)))));
        input.options.images = ImageOptions {
            widths: [40, 70].map(|width| Whole::new(width).unwrap()).to_vec(),
            ..ImageOptions::default()
        };
        input
    };
    let (_, files) = render_with(&Renderer::new(16 << 20), &site(&[])).unwrap();
    assert!(!text(&files, "p/index.html").contains("width"));
    let renderer = Renderer::new(16 << 20);
    let (_, files) = render_with(&renderer, &site(&[("bakehouse.toml", "")])).unwrap();
    let filters = vec![(r"\.[0-9a-f]{16}\.", ".DIGEST.")];
    insta::with_settings!({ filters => filters }, {
        insta::assert_snapshot!(text(&files, "p/index.html").replace(" <img", "\n<img"), @r#"
        P|<p><img src="https://x.example/sub/p/a%20b.jpg" alt="up &lt;b&gt;" title="t" width="60" height="80" srcset="https://x.example/sub/processed_images/a%20b.DIGEST.jpg 40w, https://x.example/sub/p/a%20b.jpg 60w" sizes="(max-width: 60px) 100vw, 60px" />
        <img src="/wide.jpg?x" alt="" width="80" height="60" srcset="https://x.example/sub/processed_images/wide.DIGEST.jpg 40w, https://x.example/sub/processed_images/wide.DIGEST.jpg 70w, /wide.jpg?x 80w" sizes="(max-width: 80px) 100vw, 80px" />
        <img src="https://y.example/i.png" alt="" />
        <img src="https://x.example/sub/q/c.jpg" alt="" width="10" height="20" /></p>
        "#);
    });
    let copies: Vec<&String> = files.keys().filter(|path| path.starts_with("processed_images/")).collect();
    assert_eq!(copies.len(), 3, "{copies:?}");
    let narrow = files.iter().find(|(path, _)| path.starts_with("processed_images/a b.")).unwrap().1;
    assert_eq!((&narrow.body[..3], narrow.immutable), (&b"\xff\xd8\xff"[..], true));
    // What is remembered asks for its copies again, and not beyond a change of its image.
    let (_, again) = render_with(&renderer, &site(&[("bakehouse.toml", "")])).unwrap();
    assert_eq!(again, files);
}

#[test]
fn an_image_that_cannot_be_read_is_named() {
    let mut bytes = photo(80, 60).to_vec();
    bytes.truncate(200);
    let texts = with(&[("content/p.md", "+++\n+++\n![x](/a.jpg)\n"), ("bakehouse.toml", "")]);
    let texts = texts.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from(*text)));
    let mut input = input(Sources::from_files(texts.chain([("static/a.jpg".to_owned(), bytes.into())])));
    input.options.images = ImageOptions { widths: vec![Whole::new(40).unwrap()], ..ImageOptions::default() };
    let error = render_with(&Renderer::new(1 << 20), &input).unwrap_err().to_string();
    assert!(error.contains("static/a.jpg") && error.contains("cannot be resized"), "{error}");
}

#[test]
fn formulas_are_mathml_where_a_site_asks() {
    let page = "+++\ntitle = \"P\"\n+++\nIt costs \\$5, and $a < b$.\n\n<!-- more -->\n\n## On $x^2$\n\n> $$\n> \\frac{1}{2}\n> $$\n\n![$y$](https://y.example/i.png)\n";
    let config = "base_url = \"https://x.example\"\nbuild_search_index = true\nminify_html = true\nskip_content_templating = [\"deep.md\"]\n[search]\nindex_format = \"fuse_json\"\n[markdown]\nlazy_async_image = true\n";
    let mut site = with(&[("content/p.md", page), ("zola.toml", config)]);
    let template =
        "{{ page.toc[0].id }}|{{ page.toc[0].title }}|{{ page.summary | safe }}|{{ page.content | safe }}";
    site.retain(|(path, _)| *path != "templates/page.html");
    site.push(("templates/page.html", template));
    let math = |site: &[(&str, &str)]| {
        let mut input = input(sources(site));
        input.options.math = true;
        render_with(&Renderer::new(1 << 20), &input)
    };
    let (_, files) = math(&site).unwrap();
    assert!(text(&files, "p/index.html").contains("$a &lt; b$"));
    site.push(("bakehouse.toml", ""));
    assert!(!text(&render(&site).unwrap().1, "p/index.html").contains("<math"));
    let (_, files) = math(&site).unwrap();
    insta::assert_snapshot!(text(&files, "p/index.html"), @r#"on-x-2|On x^2|<p>It costs $5, and <math alttext="a &lt; b"><mi>a</mi><mo>&lt;</mo><mi>b</mi></math>.</p>|<p>It costs $5, and <math alttext="a &lt; b"><mi>a</mi><mo>&lt;</mo><mi>b</mi></math>.</p><span id=continue-reading></span><h2 id=on-x-2>On <math alttext=x^2><msup><mi>x</mi><mn>2</mn></msup></math></h2><blockquote><p><math alttext=\frac{1}{2} display=block><mfrac><mn>1</mn><mn>2</mn></mfrac></math></p></blockquote><p><img alt=y decoding=async loading=lazy src=https://y.example/i.png /></p>"#);
    insta::assert_snapshot!(text(&files, "search_index.en.json"), @r#"[{"url":"https://x.example/p/","title":"P","body":"It costs $5, and a &lt; b.\nOn x^2\n\\frac{1}{2}"}]"#);
    for (body, what, place) in [
        ("Words.\n\nMore $x + \\foo$.", "the formula `", "content/p.md:6:11"),
        ("> $$\n> x +\n> {\n> $$", "the formula `", "content/p.md:4:3"),
        ("> $$\n> x +\n> \\foo\n> $$", "the formula `", "content/p.md:4:3"),
        ("{{ 1 }} and\n\nMore $x + \\foo$.", "the formula `", "content/p.md:6:7"),
        ("Words.\n\nAs in $\\eqref{one}$.", "`\\eqref{one}` refers to", "content/p.md:6:8"),
    ] {
        let page = format!("+++\ntitle = \"P\"\n+++\n{body}\n\n## A heading\n");
        let mut site = site.clone();
        site.retain(|(path, _)| *path != "content/p.md");
        site.push(("content/p.md", &page));
        let error = math(&site).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(what), "{error}");
    }
    let deep = format!("${}x{}$\n", "{".repeat(100_000), "}".repeat(100_000));
    site.push(("content/deep.md", &deep));
    let error = math(&site).unwrap_err().to_string();
    assert!(error.contains("the limit is 10000"), "{error}");
}

#[test]
fn rows_make_pages_and_data() {
    let mut data = DataSet::new();
    let row = serde_json::json!({"name": "first"});
    data.insert("news", Snapshot::new(vec![row.as_object().unwrap().clone()]));
    let mut front_matter = toml::Table::new();
    front_matter.insert("title".to_owned(), "Row".into());
    let mut input = input(sources(&with(&[
        ("content/news/_index.md", "+++\ntitle = \"News\"\n+++\n"),
        ("templates/index.html", "{{ data.news[0].name }} {{ get_data(name='news') | length }}"),
    ])));
    input.data = Arc::new(data);
    input.row_pages = Arc::new(vec![RowPage {
        path: "news/row.md".to_owned(),
        front_matter,
        body: "*body* {{ no template }}".to_owned(),
        source: "news".to_owned(),
        row: 1,
        place: None,
    }]);
    let (_, files) = render_with(&Renderer::new(1 << 20), &input).unwrap();
    assert_eq!(text(&files, "index.html"), "first 1");
    assert_eq!(text(&files, "news/row/index.html"), "Row|<p><em>body</em> {{ no template }}</p>\n");
    assert!(files["news/row/index.html"].groups.contains(&"source:news".to_owned()));
    assert!(files["index.html"].groups.contains(&"source:news".to_owned()));
    assert!(text(&files, "news/index.html").contains("Row,"));
    // An editor is sent to the row, or to what names a source that is in no file.
    let sources = sources(&with(&[
        (
            "bakehouse.toml",
            "hosts = [\"news\"]\n[[source]]\nname = 'other'\n[[source]]\ntype = \"sql\"\nname = \"news\"\n",
        ),
        ("content/news/_index.md", ""),
    ]));
    let mut rows = vec![input.row_pages[0].clone(); 2];
    rows[1].path = "news/other.md".to_owned();
    rows[1].place = Some(("data/news.csv".into(), 7));
    let mut input = Input { sources, row_pages: Arc::new(rows), ..input };
    input.options.source_lines = true;
    let (summary, _) = render_with(&Renderer::new(1 << 20), &input).unwrap();
    let places = summary.places.iter().map(|place| (&*place.source, &*place.file, place.line));
    let places: Vec<_> = places.filter(|(source, ..)| source.starts_with("content/news/")).collect();
    let expected = [
        ("content/news/other.md", "data/news.csv", 7),
        ("content/news/row.md", "bakehouse.toml", 6),
        ("content/news/_index.md", "content/news/_index.md", 1),
    ];
    assert!(expected.iter().all(|place| places.contains(place)) && places.len() == 3, "{places:?}");
}

#[test]
fn pagers_terms_and_static_files() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\", paginate_by = 1, feed = true}]\n"),
        ("templates/section.html", "{% for p in paginator.pages %}{{ p.title }}{% endfor %} {{ paginator.current_index }}/{{ paginator.number_pagers }} {{ paginator.next }}"),
        ("templates/taxonomy_list.html", "{% for t in terms %}{{ t.name }} {{ t.pages | length }} {% endfor %}"),
        ("templates/taxonomy_single.html", "{{ term.name }}: {% for p in paginator.pages %}{{ p.title }}{% endfor %}"),
        ("content/b/_index.md", "+++\nsort_by = \"date\"\npaginate_by = 2\n+++\n"),
        ("content/b/1.md", "+++\ntitle = \"1\"\ndate = 2026-01-01\n[taxonomies]\ntags = [\"A b\"]\n+++\n"),
        ("content/b/2.md", "+++\ntitle = \"2\"\ndate = 2026-01-02\n[taxonomies]\ntags = [\"a b\", \"c\"]\n+++\n"),
        ("content/b/3.md", "+++\ntitle = \"3\"\ndate = 2026-01-03\n+++\n"),
        ("static/robots.txt", "mine"),
        ("static/b/1/index.html", "static"),
    ]))
    .unwrap();
    assert_eq!(text(&files, "b/index.html"), "32 1/2 https://x.example/b/page/2/");
    assert_eq!(text(&files, "b/page/2/index.html"), "1 2/2 ");
    assert_eq!(files["b/page/1/index.html"].status, 308);
    assert_eq!(text(&files, "tags/index.html"), "A b 2 c 1 ");
    assert_eq!(text(&files, "tags/a-b/page/2/index.html"), "A b: 2");
    assert!(text(&files, "tags/a-b/atom.xml").contains("<title>2</title>"));
    assert_eq!(text(&files, "robots.txt"), "mine");
    assert_eq!(text(&files, "b/1/index.html"), "static");
}

#[test]
fn what_a_static_file_takes_the_place_of_is_said_beside_a_bakehouse_toml() {
    let mut files = with(&[
        (
            "zola.toml",
            "base_url = \"https://x.example\"\ngenerate_feeds = true\ntaxonomies = [{ name = \"tags\" }]\n",
        ),
        ("templates/taxonomy_list.html", "list"),
        ("templates/taxonomy_single.html", "term"),
        ("content/a.md", "+++\naliases = [\"older\"]\n[taxonomies]\ntags = [\"x\"]\n+++\n"),
        ("content/b/index.md", ""),
        ("content/b/data.txt", "the bundle's"),
        ("static/a/index.html", "static"),
        ("static/older/index.html", "static"),
        ("static/tags/x/index.html", "static"),
        ("static/b/data.txt", "static"),
        ("static/404.html", "static"),
        ("static/robots.txt", "static"),
        ("static/sitemap.xml", "static"),
        ("static/atom.xml", "static"),
    ]);
    for beyond_zola in [false, true] {
        files.extend(beyond_zola.then_some(("bakehouse.toml", "")));
        let renderer = Renderer::new(1 << 20);
        for round in 0..2 {
            let (summary, made) = render_with(&renderer, &input(sources(&files))).unwrap();
            for path in ["a/index.html", "older/index.html", "tags/x/index.html", "b/data.txt", "atom.xml"] {
                assert_eq!(text(&made, path), "static", "{path}");
            }
            let said: Vec<_> = summary.warnings.iter().map(|w| w.message.as_str()).collect();
            let all = [
                "it takes the place of content/a.md as the output `a/index.html`",
                "it takes the place of content/b/data.txt as the output `b/data.txt`",
                "it takes the place of an alias in content/a.md as the output `older/index.html`",
                "it takes the place of the term `x` of the taxonomy `tags` (en) as the output `tags/x/index.html`",
            ];
            let all: &[&str] = if beyond_zola { &all } else { &[] };
            assert_eq!(said, all, "in round {round}");
            assert!(summary.warnings.iter().all(|w| w.path.is_some() && w.hint.is_some()));
        }
    }
}

#[test]
fn a_file_where_others_need_a_folder_is_an_error_that_names_both() {
    let mut files = with(&[
        ("content/a.md", ""),
        ("content/s/_index.md", "+++\ngenerate_feeds = true\n+++\n"),
        ("content/s/b.md", ""),
        ("static/a", "a file"),
        ("static/s", "a file"),
    ]);
    insta::assert_snapshot!(errors(&files), @r"
    error: the output `a` is a file, where content/a.md needs a folder for `a/index.html`
     --> static/a
    hint: rename one of the two, or give the page another `slug` or `path`

    error: the output `s` is a file, where the feed s/atom.xml needs a folder for `s/atom.xml`
     --> static/s
    hint: rename one of the two, or give the page another `slug` or `path`
    ");
    files.retain(|(path, _)| !path.starts_with("static/"));
    assert!(render(&files).is_ok());
    // Lines of redirects, the folder of the copies of images, an alias.
    let lines = "# moved\n/old.html /\n/robots.txt/us /\n";
    let mut others = with(&[("bakehouse.toml", ""), ("static/_redirects", lines)]);
    others.push(("static/old.html/loaf.png", ""));
    others.push(("static/processed_images", "a file"));
    others.push(("content/b.md", "+++\naliases = [\"older.html\", \"older.html/b\"]\n+++\n"));
    insta::assert_snapshot!(errors(&others), @r"
    error: the output `older.html` is a file, where an alias in content/b.md needs a folder for `older.html/b/index.html`
     --> content/b.md
    hint: rename one of the two, or give the page another `slug` or `path`

    error: the output `old.html` is a file, where static/old.html/loaf.png needs a folder for `old.html/loaf.png`
     --> static/_redirects:2:1
      |
    2 | /old.html /
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does

    error: the output `robots.txt` is a file, where static/_redirects needs a folder for `robots.txt/us/index.html`
     --> static/_redirects:3:1
      |
    3 | /robots.txt/us /
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does

    error: the output `processed_images` is a file, where the render itself needs a folder for `processed_images/`
     --> static/processed_images
    hint: rename one of the two, or give the page another `slug` or `path`
    ");
    // A file of a bundle, where another page is.
    files.extend([("content/b/index.md", ""), ("content/b/c/index.html", "a file"), ("bakehouse.toml", "")]);
    assert!(render(&files).is_ok());
    files.push(("content/d.md", "+++\npath = \"b/c\"\n+++\n"));
    insta::assert_snapshot!(errors(&files), @r"
    error: the output `b/c/index.html` is also made by content/d.md
     --> content/b/c/index.html
    hint: rename the file, or give the content another `slug` or `path`
    ");
}

#[test]
fn an_image_that_is_none_is_told_as_long_as_it_is_shown() {
    let files = with(&[
        ("bakehouse.toml", ""),
        ("content/a.md", "+++\n+++\n![x](/i.png) ![y](/j.svg)\n"),
        ("static/i.png", "version https://git-lfs.github.com/spec/v1\n"),
        ("static/j.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
    ]);
    let mut input = input(sources(&files));
    input.options.images.dimensions = true;
    let renderer = Renderer::new(1 << 20);
    for round in 0..2 {
        let (summary, _) = render_with(&renderer, &input).unwrap();
        let said: Vec<_> = summary.warnings.iter().map(|w| w.path.as_deref()).collect();
        assert_eq!(said, [Some("static/i.png")], "in round {round}");
    }
}

/// An address from `/` on begins with the folder that the site has on its host.
#[test]
fn images_are_found_below_the_folder_of_the_address_of_the_site() {
    let photo = photo(1200, 800);
    let render = |body: &str, root_relative: bool| {
        let page = format!("+++\n+++\n{body}\n");
        let files = with(&[("bakehouse.toml", "")]);
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from(*text)));
        let more = [
            ("static/loaf.jpg", photo.clone()),
            ("static/sub/inner.jpg", photo.clone()),
            ("content/p.md", Bytes::from(page)),
        ];
        let more = more.map(|(path, bytes)| (path.to_owned(), bytes));
        let mut input = input(Sources::from_files(files.chain(more)));
        input.options.images.dimensions = true;
        if root_relative {
            input.options.base_url = renderer::BaseUrl::RootRelative;
        }
        let (_, files) = render_with(&Renderer::new(1 << 20), &input).map_err(|e| e.to_string())?;
        Ok::<_, String>(text(&files, "p/index.html"))
    };
    for (address, published, at_the_root) in [
        ("/sub/loaf.jpg", true, true),
        ("/sub/sub/inner.jpg", true, true),
        // Right where the site has no folder alone.
        ("/sub/inner.jpg", false, true),
    ] {
        for (root_relative, is_good) in [(false, published), (true, at_the_root)] {
            match render(&format!("![x]({address})"), root_relative) {
                Ok(page) => {
                    assert!(is_good, "{address}, {root_relative}: {page}");
                    assert!(page.contains(" width=\""), "{address}, {root_relative}: {page}");
                }
                Err(error) => {
                    assert!(!is_good, "{address}, {root_relative}: {error}");
                    assert!(error.contains("does not exist"), "{error}");
                }
            }
        }
    }
}

#[test]
fn images_in_html_must_exist_beside_a_bakehouse_toml() {
    let page = |body: &str| -> &'static str { format!("+++\n+++\n\n{body}\n").leak() };
    let site = |body: &str, root_relative: bool| {
        let mut files =
            with(&[("bakehouse.toml", ""), ("static/i/loaf.png", ""), ("content/p/beside.png", "")]);
        files.push(("content/p/index.md", page(body)));
        let mut input = input(sources(&files));
        if root_relative {
            input.options.base_url = renderer::BaseUrl::RootRelative;
        }
        render_with(&Renderer::new(1 << 20), &input).map_err(|e| e.to_string())
    };
    for root_relative in [false, true] {
        for body in [
            "<img src=\"gone.png\">",
            "A text with <img alt=x src='gone.png'> in it.",
            "<p>\n<IMG SRC=/i/gone.png>\n</p>",
            "<img src=\"/sub/i/gone.png?x=1\">",
            "<img src=\"https://x.example/sub/i/gone.png\">",
            "![x](https://x.example/sub/i/gone.png)",
            "<img src=\"../../i/gone.png\">",
            "> <img src=\"gone.png\">",
            "{{ 1 + 1 }} <img src=\"gone.png\">",
        ] {
            let error = site(body, root_relative).map(|_| ()).expect_err(body);
            assert!(error.contains("gone.png") && error.contains("does not exist"), "{body}: {error}");
            assert!(error.contains("--> content/p/index.md:") && error.contains("hint: "), "{body}: {error}");
        }
        for body in [
            "<img src=\"beside.png\">",
            "<img src=\"/i/loaf.png?v=1\"><img src=\"/sub/i/loaf.png\"><img src=../i/loaf.png>",
            "<img src=\"https://x.example/sub/i/loaf.png#x\">",
            "<img src=\"https://x.example.org/sub/gone.png\"><img src=\"//y.example/gone.png\">",
            "<img src=\"data:image/gif;base64,R0lGODlhAQABAAAAACw=\"><img src=\"\"><img>",
            "<img src=\"/processed_images/copy.png\">",
            "<!-- <img src=\"gone.png\"> -->\n\n    <img src=\"gone.png\">\n\n`<img src=\"gone.png\">`",
            "<script>\nlet image = '<img src=\"gone.png\">';\n</script>",
        ] {
            site(body, root_relative).map(|_| ()).expect(body);
        }
    }
    // What was found is looked for again in the next render.
    let renderer = Renderer::new(1 << 20);
    let body = page("<img src=\"/i/loaf.png\">");
    let mut files = with(&[("bakehouse.toml", ""), ("static/i/loaf.png", ""), ("content/p.md", body)]);
    render_with(&renderer, &input(sources(&files))).unwrap();
    files.retain(|(path, _)| !path.ends_with("loaf.png"));
    render_with(&renderer, &input(sources(&files))).unwrap_err();
}

#[test]
fn a_file_of_redirects() {
    let redirects = "# moved\n/old /a/#top 301\n/away https://y.example/?q=1 302 # far\n/feed.xml /a.html\n";
    let files = with(&[
        ("content/a.md", "+++\ntitle = \"A\"\naliases = [\"older\"]\n+++\n"),
        ("static/_redirects", redirects),
    ]);
    let (_, plain) = render(&files).unwrap();
    assert_eq!(text(&plain, "_redirects"), redirects, "without a bakehouse.toml it is a file like any other");
    assert!(!plain.contains_key("old/index.html"));

    let mut files = files;
    files.push(("bakehouse.toml", ""));
    let (_, made) = render(&files).unwrap();
    assert!(!made.contains_key("_redirects"));
    let row = |path: &str| {
        let file = &made[path];
        let to = file.fields.iter().find(|(name, _)| name == "location").map(|(_, to)| to.as_str());
        assert!(text(&made, path).contains(to.unwrap()), "{path}: {}", text(&made, path));
        (file.status, to.unwrap().to_owned())
    };
    assert_eq!(row("old/index.html"), (301, "https://x.example/sub/a/#top".into()));
    assert_eq!(row("away/index.html"), (302, "https://y.example/?q=1".into()));
    assert_eq!(row("feed.xml/index.html"), (308, "https://x.example/sub/a.html".into()));
    assert_eq!(row("older/index.html"), (308, "https://x.example/sub/a/".into()));

    let mut root_relative = input(sources(&files));
    root_relative.options.base_url = renderer::BaseUrl::RootRelative;
    let (_, made) = render_with(&Renderer::new(1 << 20), &root_relative).unwrap();
    assert!(made["old/index.html"].fields.contains(&("location".into(), "/a/#top".into())));
}

#[test]
fn redirects_take_nobody_s_place() {
    let redirects = "/a /b/\n/older /b/\n/robots.txt /b/\n/pic.png /b/\n/x /y\n/y /s/\n/404.html /\n";
    let files = with(&[
        ("bakehouse.toml", ""),
        ("content/a.md", "+++\naliases = [\"older\"]\n+++\n"),
        ("content/b.md", ""),
        ("content/s/_index.md", "+++\nredirect_to = \"x\"\n+++\n"),
        ("static/pic.png", "x"),
        ("static/_redirects", redirects),
    ]);
    insta::assert_snapshot!(errors(&files), @r"
    error: the output `a/index.html` is also made by content/a.md
     --> static/_redirects:1:1
      |
    1 | /a /b/
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does

    error: the output `older/index.html` is also made by an alias in content/a.md
     --> static/_redirects:2:1
      |
    2 | /older /b/
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does

    error: the output `robots.txt` is also made by the render itself
     --> static/_redirects:3:1
      |
    3 | /robots.txt /b/
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does

    error: the output `pic.png` is also made by static/pic.png
     --> static/_redirects:4:1
      |
    4 | /pic.png /b/
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does

    error: the redirect leads back to itself: /x → /y → /s/index.html → /x
     --> static/_redirects:5:1
      |
    5 | /x /y
      | ^
    hint: let one of them lead to a page

    error: the output `404.html` is also made by the render itself
     --> static/_redirects:7:1
      |
    7 | /404.html /
      | ^
    hint: remove the line, or what is at its address: a redirect stands where nothing else does
    ");
}

#[test]
fn broken_links_have_file_line_and_column() {
    insta::assert_snapshot!(errors(&with(&[
        ("content/a.md", "+++\ntitle = \"A\"\n+++\nText.\n\nA [link](@/bb.md).\n"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n[x](@/a.md#nowhere)"),
    ])), @r"
    error: the link `@/bb.md` leads to no content
     --> content/a.md:6:3
      |
    6 | A [link](@/bb.md).
      |   ^
    hint: did you mean `@/b.md`?

    error: the link `@/a.md#nowhere` leads to a heading that does not exist
     --> content/b.md:4:1
      |
    4 | [x](@/a.md#nowhere)
      | ^
    ");
    insta::assert_snapshot!(errors(&with(&[
        ("content/a.md", "+++\ntitle = \"A\"\n+++\n## Here\n"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n[x](@/a.md#here) [y](@/a.md#nowhere) [up](#top) [up](#) [up](@/a.md#Top) [text](@/a.md#here:~:text=x) [escaped](@/a.md#%68ere)"),
    ])), @r"
    error: the link `@/a.md#nowhere` leads to a heading that does not exist
     --> content/b.md:4:18
      |
    4 | [x](@/a.md#here) [y](@/a.md#nowhere) [up](#top) [up](#) [up](@/a.md#Top) [text](@/a.md#here:~:text=x) [escaped](@/a.md#%68ere)
      |                  ^
    hint: the headings of content/a.md are `#here`
    ");
}

#[test]
fn what_is_wrong_with_a_text_is_not_looked_for_in_the_front_matter_that_says_the_same() {
    let told = errors(&with(&[(
        "content/a.md",
        "+++\ntitle = \"A\"\nextra = { from = \"@/bb.md\", shown = \"@/cc.md\" }\n+++\n{{ page.title }} [b](@/bb.md) [c]({{ page.extra.shown }})\n",
    )]));
    assert!(told.contains("content/a.md:5:22") && told.contains("content/a.md:3:38"), "{told}");
    let told = errors(&with(&[(
        "content/a.md",
        "+++\ntitle = \"A\"\nextra.up = \"#up\"\n+++\n{{ page.title }} [up](#up)\n",
    )]));
    assert!(told.contains("content/a.md:5:23"), "{told}");
}

#[test]
fn an_argument_that_nothing_takes_is_a_warning_in_its_place() {
    let renderer = Renderer::new(1 << 20);
    let site = with(&[
        ("content/a.md", "+++\ntitle = \"A\"\n+++\n{{ get_url(path=\"@/a.md\", lnag=\"en\") }}\n"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n"),
        (
            "templates/page.html",
            "{{ page.title }}\n{{ get_url(path='x', traling_slash=true) }}{{ 'x' | upper(x=1) }}",
        ),
    ]);
    let input = input(sources(&site));
    for _ in 0..2 {
        let (summary, files) = render_with(&renderer, &input).unwrap();
        assert!(text(&files, "b/index.html").ends_with("/xX"), "{}", text(&files, "b/index.html"));
        let warnings: Vec<String> = summary.warnings.iter().map(|d| d.as_warning().to_string()).collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(warnings.join("\n"), @r#"
            warning: `get_url` has no argument `lnag`, and passes over it
             --> content/a.md:4:27
              |
            4 | {{ get_url(path="@/a.md", lnag="en") }}
              |                           ^
            hint: did you mean `lang`?
            warning: `get_url` has no argument `traling_slash`, and passes over it
             --> templates/page.html:2:22
              |
            2 | {{ get_url(path='x', traling_slash=true) }}{{ 'x' | upper(x=1) }}
              |                      ^
            hint: did you mean `trailing_slash`?
            warning: `upper` has no argument `x`, and passes over it
             --> templates/page.html:2:59
              |
            2 | {{ get_url(path='x', traling_slash=true) }}{{ 'x' | upper(x=1) }}
              |                                                           ^
            hint: it takes none: leave it out
            "#);
        }
    }
}

#[test]
fn a_key_of_a_page_that_means_nothing_is_a_warning_once() {
    let config = "base_url = \"https://x.example\"\ntaxonomies = [{ name = \"tags\" }]\n";
    let page = "+++\ntitle = \"A\"\ntags = [\"x\"]\n+++\n";
    let (summary, _) = render(&with(&[
        ("zola.toml", config),
        ("content/a.md", page),
        ("content/b.md", page),
        ("content/c.md", "+++\ntitle = \"C\"\nwieght = 1\n+++\n"),
        ("templates/taxonomy_list.html", ""),
        ("templates/taxonomy_single.html", ""),
    ]))
    .unwrap();
    let warnings: Vec<String> = summary.warnings.iter().map(|d| d.as_warning().to_string()).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r#"
    warning: unknown key `tags` in the front matter of a page, and of 1 more
     --> content/a.md:3:1
      |
    3 | tags = ["x"]
      | ^
    hint: terms go into [taxonomies], as `tags` there
    warning: unknown key `wieght` in the front matter of a page
     --> content/c.md:3:1
      |
    3 | wieght = 1
      | ^
    hint: did you mean `weight`?
    "#);
}

#[test]
fn extra_is_held_to_schemas() {
    let schema = r#"{
        "properties": { "rating": { "type": "integer", "maximum": 5 }, "hero": { "$ref": "/schemas/shared.json#/$defs/hero" } },
        "additionalProperties": false
    }"#;
    let hero = r#"{ "$defs": { "hero": { "type": "object", "required": ["src"] } } }"#;
    let site = [
        ("zola.toml", "base_url = \"https://x.example\"\ntheme = \"t\"\n[languages.de]\n"),
        ("bakehouse.toml", ""),
        ("schemas/blog/page.json", schema),
        ("schemas/shared.json", hero),
        ("schemas/blgo/page.json", "{}"),
        (
            "themes/t/schemas/section.json",
            r#"{ "properties": { "layout": { "enum": ["wide", "narrow"] } } }"#,
        ),
        ("content/a.md", "+++\nextra.free = true\n+++\n"),
        ("content/blog/_index.md", "+++\n[extra]\nlayout = \"wired\"\n+++\n"),
        ("content/blog/b/index.de.md", "+++\ntitle = \"B\"\n[extra]\nraiting = 3\n+++\n"),
        ("content/blog/c.md", "---\nextra:\n  rating: 9\n  hero:\n    scr: a.jpg\n---\n"),
    ];
    let mut input = input(sources(&with(&site)));
    input.row_pages = Arc::new(vec![RowPage {
        path: "blog/row.md".to_owned(),
        front_matter: toml::from_str("[extra]\nrating = \"best\"").unwrap(),
        body: String::new(),
        source: "rates".to_owned(),
        row: 3,
        place: None,
    }]);
    let failed = |input: &Input| render_with(&Renderer::new(1 << 20), input).unwrap_err().to_string();
    insta::assert_snapshot!(failed(&input), @r#"
        error: `extra.layout` is "wired", which themes/t/schemas/section.json does not know
         --> content/blog/_index.md:3:1
          |
        3 | layout = "wired"
          | ^
        hint: did you mean "wide"?

        error: `extra.raiting` is unknown to schemas/blog/page.json
         --> content/blog/b/index.de.md:4:1
          |
        4 | raiting = 3
          | ^
        hint: did you mean `rating`?

        error: `extra.rating` is not at most 5, as schemas/blog/page.json wants it
         --> content/blog/c.md:3:3
          |
        3 |   rating: 9
          |   ^

        error: `extra.hero` has no `src`, and schemas/shared.json requires it
         --> content/blog/c.md:4:3
          |
        4 |   hero:
          |   ^

        error: row 3 of source `rates`: `extra.rating` is a text, and schemas/blog/page.json wants a whole number
         --> content/blog/row.md
        "#);
    // A schema that is none is said alone: nothing can be held to it.
    let broken = with(&[&site[..], &[("schemas/blog/page.json", "{ \"type\": []")]].concat());
    insta::assert_snapshot!(errors(&broken), @r#"
        error: the schema is no JSON: EOF while parsing an object
         --> schemas/blog/page.json:1:12
          |
        1 | { "type": []
          |            ^
        "#);
    // Zola knows no schemas.
    let plain: Vec<_> = with(&site).into_iter().filter(|(path, _)| *path != "bakehouse.toml").collect();
    render(&plain).unwrap();
    let good: Vec<_> =
        with(&site).into_iter().filter(|(path, _)| !path.starts_with("content/blog/")).collect();
    let (summary, _) = render(&good).unwrap();
    let warnings: Vec<String> = summary.warnings.iter().map(|d| d.as_warning().to_string()).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r"
        warning: the schema is for `content/blgo/`, which is not there
         --> schemas/blgo/page.json
        warning: the schema is for `content/blog/`, which is not there
         --> schemas/blog/page.json
        ");
}

#[test]
fn the_theme_speaks_of_each_language_by_its_address() {
    let config = "base_url = \"https://x.example\"\ngenerate_feeds = true\nfeed_filenames = [\"rss.xml\", \"atom.xml\"]\n[languages.de]\ngenerate_feeds = true\nfeed_filenames = [\"rss.xml\", \"atom.xml\"]\n[extra]\nmenu = [{ name = \"Blog\", path = \"@/blog/_index.md\" }, { name = \"A\", path = \"@/blog/a.md\" }, { name = \"Docs\", path = \"/docs/\" }]\n";
    let site = [
        ("zola.toml", config),
        ("bakehouse.toml", ""),
        ("content/_index.md", "+++\n+++\n"),
        ("content/_index.de.md", "+++\n+++\n"),
        ("content/blog/_index.md", "+++\n+++\n"),
        ("content/blog/_index.de.md", "+++\n+++\n"),
        ("content/blog/a.md", "+++\ndate = 2026-01-02\n+++\n"),
        ("content/blog/b.de.md", "+++\ndate = 2026-01-02\n+++\n"),
    ];
    let (_, files) = render(&site).unwrap();
    for name in ["rss.xml", "atom.xml"] {
        for folder in ["", "de/"] {
            let feed = text(&files, &format!("{folder}{name}"));
            let own = format!("href=\"https://x.example/{folder}{name}\"");
            assert!(feed.contains(&own), "{own} in {feed}");
            assert!(
                feed.contains(&format!("https://x.example/{folder}<"))
                    || feed.contains(&format!("\"https://x.example/{folder}\"")),
                "{feed}"
            );
        }
    }
    let page = text(&files, "de/index.html");
    // What is not translated is shown in the language that it has.
    for link in ["/de/blog/\">Blog", "/blog/a/\">A", "/docs/\">Docs"] {
        assert!(page.contains(&format!("https://x.example{link}")), "{link} in {page}");
    }
    // A template of a site's own gets what Zola gives it.
    let own = ("templates/rss.xml", "<rss>{{ feed_url }}</rss>");
    let (_, files) = render(&[&site[..], &[own]].concat()).unwrap();
    assert_eq!(text(&files, "de/rss.xml"), "<rss>https://x.example/rss.xml</rss>");
}

#[test]
fn bytes_that_are_no_text_and_pages_too_large() {
    let mut files: Vec<(String, Bytes)> =
        with(&[]).into_iter().map(|(p, t)| (p.to_owned(), Bytes::from_static(t.as_bytes()))).collect();
    files.push(("content/a.md".to_owned(), Bytes::from_static(b"ab\n\xff")));
    files.push(("content/b.md".to_owned(), Bytes::from(vec![b'x'; 2_000])));
    let mut input = input(Sources::from_files(files));
    input.options.limits = Limits { page_bytes_max: 1_000, ..Limits::default() };
    let errors = render_with(&Renderer::new(1 << 20), &input).unwrap_err().to_string();
    insta::assert_snapshot!(errors, @r"
    error: the file is not valid UTF-8
     --> content/a.md:2:1
      |
    2 | 
      | ^
    hint: save it as UTF-8

    error: the page has 2000 bytes, the limit is 1000
     --> content/b.md
    hint: split the page, or raise page_bytes_max in bakehouse.toml
    ");
}

/// An editor has removed what was listed a moment ago.
#[test]
fn files_that_go_while_a_site_is_read_are_told_with_what_to_do() {
    for file in ["content/a.md", "templates/page.html", "static/x.txt", "static/_redirects"] {
        let site = tempfile::tempdir().unwrap();
        for (path, text) in [CONFIG, ("bakehouse.toml", ""), ("content/b.md", ""), (file, "")] {
            std::fs::create_dir_all(site.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(site.path().join(path), text).unwrap();
        }
        let listed = Sources::from_folder(site.path(), &Limits::default()).unwrap();
        std::fs::remove_file(site.path().join(file)).unwrap();
        let told = render_with(&Renderer::new(1 << 20), &input(listed)).unwrap_err().to_string();
        assert!(
            told.contains(file) && told.contains("hint: it went while the site was read: try again"),
            "{told}"
        );
    }
}

#[test]
fn output_without_end_is_cut() {
    let files = with(&[
        (
            "templates/page.html",
            "{% for a in range(end=1000) %}{% for b in range(end=1000) %}0123456789{% endfor %}{% endfor %}",
        ),
        ("content/a.md", ""),
    ]);
    let mut input = input(sources(&files));
    input.options.limits.output_bytes_max = 1 << 20;
    let errors = render_with(&Renderer::new(1 << 20), &input).unwrap_err().to_string();
    assert!(errors.contains("grows beyond 1048576 bytes"), "{errors}");
}

#[test]
fn two_pages_that_ask_for_each_other_end() {
    let (_, files) = render(&with(&[
        ("content/a.md", "{% set p = get_page(path='b.md') %}{{ p.title }}"),
        ("content/b.md", "+++\ntitle = \"B\"\n+++\n{% set p = get_page(path='a.md') %}{{ p.path }}"),
    ]))
    .unwrap();
    assert_eq!(text(&files, "a/index.html"), "|<p>B</p>\n");
}

/// The site of the fixture, in memory.
fn fixture() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/zola");
    Sources::from_folder(&root, &Limits::default()).unwrap()
}

#[test]
fn the_zola_fixture_renders_as_zola_renders_it() {
    let (summary, files) = render_with(&Renderer::new(16 << 20), &input(fixture())).unwrap();
    assert_eq!((summary.pages, summary.sections, summary.outputs), (15, 8, 61));
    insta::assert_snapshot!(files.keys().cloned().collect::<Vec<_>>().join("\n"));
    for path in [
        "index.html",
        "blog/first/index.html",
        "blog/p/2/index.html",
        "docs/deep/leaf/index.html",
        "atom.xml",
        "tags/bread/index.html",
    ] {
        insta::assert_snapshot!(path.replace('/', "_"), text(&files, path));
    }
}

#[test]
fn threads_and_memory_change_no_byte() {
    let sources = fixture();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let four = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let renderer = Renderer::new(16 << 20);
    let (_, first) = one.install(|| render_with(&renderer, &input(sources.clone()))).unwrap();
    let (_, again) = four.install(|| render_with(&renderer, &input(sources.clone()))).unwrap();
    let (_, fresh) = four.install(|| render_with(&Renderer::new(0), &input(sources))).unwrap();
    assert!(first == again);
    assert!(first == fresh);
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("+++\n".to_owned()),
            Just("---\n".to_owned()),
            Just("title = \"T\"\n".to_owned()),
            Just("title: T\n".to_owned()),
            Just("date = 2026-01-01\n".to_owned()),
            Just("[extra]\nx = [1, {a = 2}]\n".to_owned()),
            Just("{{ page.title }}".to_owned()),
            Just("{% raw %}".to_owned()),
            Just("{% endraw %}".to_owned()),
            Just("[a](@/b.md#c)".to_owned()),
            Just("![i](x.png)".to_owned()),
            Just("```rust,linenos,hl_lines=1-9999999999\n".to_owned()),
            Just("## A {#b .c}\n".to_owned()),
            Just("[^1]".to_owned()),
            Just("[^1]: n\n".to_owned()),
            Just("<!-- more -->".to_owned()),
            Just("> [!NOTE]\n> x\n".to_owned()),
            Just("| a |\n|---|\n| b |\n".to_owned()),
            Just(":tada:".to_owned()),
            Just("\u{feff}".to_owned()),
            Just("\n\n".to_owned()),
            "\\PC{0,12}",
        ],
        0..14,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever a page holds, a render ends, with files or with messages, and always with the same.
    #[test]
    fn any_page_renders_or_is_explained(body in any_text(), other in any_text(), name in "[a-zA-Z0-9 ._ü-]{1,12}") {
        let page = format!("content/{name}.md");
        let files = [
            CONFIG,
            ("bakehouse.toml", ""),
            (page.as_str(), body.as_str()),
            ("content/b.md", other.as_str()),
            ("content/s/_index.md", body.as_str()),
        ];
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let four = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        let first = one.install(|| render(&files));
        let second = four.install(|| render(&files));
        prop_assert_eq!(first.map_err(|e| e.to_string()), second.map_err(|e| e.to_string()));
    }

    #[test]
    fn any_configuration_is_read_or_explained(config in any_text(), template in any_text()) {
        let text = format!("base_url = \"https://x.example\"\n{config}");
        let files = [("zola.toml", text.as_str()), ("templates/page.html", template.as_str()), ("content/a.md", "")];
        let first = render(&files);
        let second = render(&files);
        prop_assert_eq!(first.map_err(|e| e.to_string()), second.map_err(|e| e.to_string()));
    }
}

/// Also where both are to be at one address.
#[test]
fn a_section_is_not_what_a_page_of_the_same_text_is() {
    let text = "{{ page.title }}";
    let files = [CONFIG, ("content/_s.md", text), ("content/s/_index.md", text)];
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let wrong = one.install(|| render(&files)).unwrap_err().to_string();
    assert!(wrong.contains("variable `page` is not defined\n --> content/s/_index.md"), "{wrong}");
    assert!(wrong.contains("is also made by content/_s.md"), "{wrong}");
}

/// A page without what previews add to it.
fn without_marks(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some(at) = rest.find(" data-bake-source=\"") {
        out.push_str(&rest[..at]);
        let mark = &rest[at + 1..];
        let value = mark.find('"').unwrap() + 1;
        rest = &mark[value + mark[value..].find('"').unwrap() + 1..];
    }
    out + rest
}

#[test]
fn source_lines_are_added_for_previews_and_change_nothing_else() {
    let body = "+++\ntitle = \"A\"\n+++\nOne *a*[^n]\nand on.\n\n<!-- more -->\n\n## Head {.c}\n\n- item\n  on\n- [x] done\n\n  - deep\n\n\
                > quote\n\n| a | b |\n|:--|---|\n| 1 | 2 |\n\n```rust\nfn main() {}\n```\n\n    indented\n\n<div id=\"x\">\nhtml\n</div>\n\n\
                <!-- comment -->\n\n***\n\n3. three\n\n![i](/i.png)\n\n[^n]: note\n";
    let templated = "+++\ntitle = \"B\"\n+++\nFirst.\n\n{% for i in range(end=3) %}\nNumber {{ i }}.\n\n{% endfor %}\nLast.\n";
    let files = with(&[
        (
            "zola.toml",
            "base_url = \"https://x.example\"\ngenerate_feeds = true\n[markdown]\nbottom_footnotes = true\n",
        ),
        ("content/a.md", body),
        ("content/b.md", templated),
        (
            "templates/index.html",
            "{% for p in section.pages %}{{ p.title }}: {{ p.summary | safe }}{% endfor %}",
        ),
    ]);
    let renderer = Renderer::new(16 << 20);
    let mut input = input(sources(&files));
    let (summary, plain) = render_with(&renderer, &input).unwrap();
    assert!(summary.places.is_empty());
    // The same renderer: what it remembers of one kind of render is not used for the other.
    input.options.source_lines = true;
    let (_, marked) = render_with(&renderer, &input).unwrap();
    input.options.source_lines = false;
    assert_eq!(render_with(&renderer, &input).unwrap().1, plain);
    assert_eq!(marked.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (path, file) in &plain {
        assert!(!text(&plain, path).contains("data-bake"), "{path}");
        assert_eq!(without_marks(&text(&marked, path)), String::from_utf8_lossy(&file.body), "{path}");
    }
    let page = text(&marked, "a/index.html");
    for (tag, line) in [
        ("<p%>One", 4),
        ("<h2 id=\"head\" class=\"c\"%>", 9),
        ("<p%>item", 11),
        ("<li%>deep", 15),
        ("<blockquote%>", 17),
        ("<table%>", 19),
        ("<tr%><td", 21),
        ("<div% id=\"x\">", 29),
        ("<hr% />", 35),
    ] {
        let mark = format!(" data-bake-source=\"content/a.md:{line}\"");
        // Attributes of ours come first.
        let tag = match tag.split_once(' ') {
            Some((name, rest)) if !name.contains('%') => format!("{name}{mark} {}", rest.replace('%', "")),
            _ => tag.replace('%', &mark),
        };
        assert!(page.contains(&tag), "no {tag} in\n{page}");
    }
    assert!(page.contains("<pre data-bake-source=\"content/a.md:24\""), "{page}");
    assert!(page.contains("<!-- comment -->"), "{page}");
    assert!(text(&marked, "index.html").contains("A: <p data-bake-source=\"content/a.md:4\">"));
    let page = text(&marked, "b/index.html");
    for (words, line) in [("First.", 4), ("Number 0.", 6), ("Number 2.", 6), ("Last.", 10)] {
        let tag = format!("<p data-bake-source=\"content/b.md:{line}\">{words}");
        assert!(page.contains(&tag), "no {tag} in\n{page}");
    }
}

#[test]
fn previews_are_told_what_a_build_leaves_out() {
    let files = [
        CONFIG,
        ("bakehouse.toml", ""),
        ("content/plain.md", "+++\ntitle = \"P\"\ndate = 2026-05-31\n+++\n"),
        ("content/later.md", "+++\ntitle = \"L\"\ndate = 2026-06-02\n+++\n"),
        ("content/over.md", "+++\ntitle = \"O\"\nexpiry_date = 2026-05-01\n+++\n"),
        ("content/draft.md", "+++\ntitle = \"D\"\ndraft = true\n+++\n"),
        ("content/wip/_index.md", "+++\ntitle = \"W\"\ndraft = true\n+++\n"),
        ("content/wip/in.md", "+++\ntitle = \"I\"\n+++\n"),
        ("content/list/_index.md", "+++\ntitle = \"S\"\npaginate_by = 1\n+++\n"),
        ("content/list/one.md", "+++\ntitle = \"1\"\n+++\n"),
        ("content/list/two.md", "+++\ntitle = \"2\"\n+++\n"),
    ];
    let told = |files: &[(&str, &str)]| {
        let mut input = input(sources(files));
        input.options.source_lines = true;
        input.options.drafts = true;
        let (summary, outputs) = render_with(&Renderer::new(16 << 20), &input).unwrap();
        let mut lines: Vec<String> = summary
            .places
            .iter()
            .map(|place| {
                assert!(outputs.contains_key(&place.output), "{place:?}");
                let mark = place.mark.map(|mark| {
                    let reason = match mark.reason {
                        Reason::Draft => "draft".to_owned(),
                        Reason::Future(at) => format!("from {at}"),
                        Reason::Expired(at) => format!("until {at}"),
                    };
                    format!(", {reason}, {}", if mark.withheld { "withheld" } else { "published" })
                });
                format!("{} {}{}", place.output, place.source, mark.unwrap_or_default())
            })
            .collect();
        lines.sort();
        lines.join("\n")
    };
    insta::assert_snapshot!(told(&files), @r"
    draft/index.html content/draft.md, draft, withheld
    later/index.html content/later.md, from 2026-06-02T00:00:00Z, withheld
    list/index.html content/list/_index.md
    list/one/index.html content/list/one.md
    list/page/2/index.html content/list/_index.md
    list/two/index.html content/list/two.md
    over/index.html content/over.md, until 2026-05-01T00:00:00Z, withheld
    plain/index.html content/plain.md
    wip/in/index.html content/wip/in.md, draft, withheld
    wip/index.html content/wip/_index.md, draft, withheld
    ");
    // Without that file, dates withhold nothing.
    let zola: Vec<_> = files.iter().filter(|(path, _)| *path != "bakehouse.toml").copied().collect();
    assert!(told(&zola).contains("later/index.html content/later.md, from 2026-06-02T00:00:00Z, published"));
}
