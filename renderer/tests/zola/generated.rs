//! Feeds, sitemaps and search indexes.

use base64::Engine as _;
use sha2::{Digest as _, Sha256, Sha512};

use crate::support::{errors, render, text, with};

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
fn an_index_for_fuse_has_a_page_once_for_each_section_that_lists_it() {
    let listed = |format: &str, more: &[(&'static str, &'static str)]| {
        let config = format!(
            "base_url = \"https://x.example\"\nbuild_search_index = true\n[search]\nindex_format = \"{format}\"\n"
        );
        let mut files = with(&[
            ("zola.toml", &*config.leak()),
            ("content/_index.md", "+++\n+++\n"),
            ("content/s/_index.md", "+++\ntransparent = true\n+++\n"),
            ("content/s/a.md", "+++\ntitle = \"A\"\n+++\n"),
        ]);
        files.extend(more);
        let index = text(&render(&files).map_err(|e| e.to_string()).unwrap().1, "search_index.en.json");
        index.matches("\"title\":\"A\"").count()
    };
    assert_eq!(listed("fuse_json", &[]), 2);
    assert_eq!(listed("fuse_json", &[("bakehouse.toml", "")]), 1);
    assert_eq!(listed("elasticlunr_json", &[]), 1);
}

#[test]
fn an_index_for_fuse_has_what_the_default_language_says() {
    let french = |format: &str, more: &[(&'static str, &'static str)]| {
        let config = format!(
            "base_url = \"https://x.example\"\nbuild_search_index = true\n[search]\nindex_format = \"{format}\"\n\
             include_description = true\n[languages.fr]\nbuild_search_index = true\n"
        );
        let described = ("content/_index.fr.md", "+++\ndescription = \"mots\"\n+++\n");
        let mut files = with(&[("zola.toml", &*config.leak()), described]);
        files.extend(more);
        text(&render(&files).map_err(|e| e.to_string()).unwrap().1, "search_index.fr.json").contains("mots")
    };
    assert!(french("fuse_json", &[]));
    assert!(!french("fuse_json", &[("bakehouse.toml", "")]));
    assert!(!french("elasticlunr_json", &[]));
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
fn a_feed_in_a_folder_has_a_template_in_that_folder() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\nfeed_filenames = [\"all.json\", \"by/day/all.json\"]\n[languages.fr]\ngenerate_feeds = true\nfeed_filenames = [\"by/day/all.json\"]\n"),
        ("templates/all.json", "at the top: {{ feed_url }}"),
        ("templates/by/day/all.json", "by day: {{ feed_url }}"),
        ("content/s/_index.md", "+++\ngenerate_feeds = true\n+++\n"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "all.json"), "at the top: https://x.example/all.json");
    assert_eq!(text(&files, "by/day/all.json"), "by day: https://x.example/by/day/all.json");
    assert_eq!(text(&files, "fr/by/day/all.json"), "by day: https://x.example/by/day/all.json");
    assert_eq!(text(&files, "s/all.json"), "at the top: https://x.example/s/all.json");
    assert_eq!(text(&files, "s/by/day/all.json"), "by day: https://x.example/s/by/day/all.json");
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
