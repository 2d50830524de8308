//! Sections, their lists and the neighbours in them.

use crate::shown;
use crate::support::{render, text, with};

#[test]
fn pages_that_are_not_rendered_are_in_no_list() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\"}]\n[languages.fr]\n"),
        ("content/s/_index.md", "+++\ntitle = \"S\"\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\nrender = false\ntaxonomies.tags = [\"x\"]\n+++\n*text*"),
        ("content/s/a.fr.md", "+++\ntitle = \"F\"\n+++\n"),
        (
            "templates/page.html",
            "{% for t in page.translations %}{{ t.lang }}{% endfor %} {% set a = get_page(path='s/a.md', lang='en') %}{{ a.content | safe }}",
        ),
    ]))
    .unwrap();
    assert_eq!(text(&files, "s/index.html"), "S|");
    assert_eq!(text(&files, "fr/s/a/index.html"), "fr <p><em>text</em></p>\n");
    assert!(!files.keys().any(|path| path.starts_with("tags/")));
}

#[test]
fn hidden_content_is_made_but_not_listed() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\nbuild_search_index = true\ntaxonomies = [{name = \"tags\"}]\n[search]\nindex_format = \"fuse_json\"\n"),
        ("templates/index.html", "{% for s in section.subsections %}{{ s }} {% endfor %}"),
        ("content/s/_index.md", "+++\ntitle = \"S\"\nhidden = true\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\ndate = 2026-01-01\n+++\n"),
        ("content/s/b.md", "+++\ntitle = \"B\"\nhidden = false\ndate = 2026-01-02\n+++\n"),
        ("content/t/_index.md", "+++\ntitle = \"T\"\n+++\n"),
        ("content/t/c.md", "+++\ntitle = \"C\"\nhidden = true\n[taxonomies]\ntags = [\"none\"]\n+++\n"),
    ]))
    .unwrap();
    assert!(!files.contains_key("tags/none/index.html"));
    assert_eq!(text(&files, "index.html"), "t/_index.md ");
    assert_eq!(text(&files, "s/index.html"), "S|B,");
    assert_eq!(text(&files, "t/index.html"), "T|");
    for path in ["s/a/index.html", "t/c/index.html"] {
        assert!(files.contains_key(path));
    }
    let listed = format!("{}{}", text(&files, "atom.xml"), text(&files, "search_index.en.json"));
    assert!(listed.contains("/s/b/") && !listed.contains("/s/a/") && !listed.contains("/t/c/"), "{listed}");
}

#[test]
fn sections_have_neighbours_and_pages_tell_all_of_themselves() {
    let (_, files) = render(&with(&[
        ("templates/section.html", "{{ section.lower?.title or '-' }} {{ section.higher?.title or '-' }} {{ section.aliases | join(sep=',') }}"),
        ("templates/page.html", "{{ page.aliases | join(sep=',') }} {{ page.reading_time }} {{ page.colocated_path or '-' }} {{ page.components | join(sep='+') }} {{ page.ancestors | join(sep='+') }} {{ page.year }}-{{ page.month }}-{{ page.day }} {{ page.lower?.title or '-' }}{{ page.higher?.title or '-' }} {{ page.backlinks | length }}{{ page.assets | join(sep=',') }}"),
        ("content/a/_index.md", "+++\ntitle = \"A\"\nweight = 2\nsort_by = \"date\"\naliases = [\"x\", \"y\"]\n+++\n"),
        ("content/b/_index.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n"),
        ("content/a/p/index.md", "+++\ntitle = \"P\"\ndate = 2026-02-03\naliases = [\"old\"]\n+++\nWords."),
        ("content/a/p/f.txt", "f"),
        ("content/a/q.md", "+++\ntitle = \"Q\"\ndate = 2026-02-04\n+++\n[p](@/a/p/index.md) [f](@/a/p/f.txt)"),
    ]))
    .unwrap();
    assert_eq!(text(&files, "a/index.html"), "B - x,y");
    assert_eq!(text(&files, "b/index.html"), "- A ");
    assert_eq!(
        text(&files, "a/p/index.html"),
        "old 1 a/p/ a+p _index.md+a/_index.md 2026-2-3 Q- 1/a/p/f.txt"
    );
    for alias in ["x/index.html", "old/index.html"] {
        assert_eq!(files[alias].status, 308);
    }
}

#[test]
fn pages_and_sections_have_their_neighbours_wherever_they_are_shown() {
    const BESIDE: &str = "{{ p.lower.title or '-' }}<{{ p.title }}<{{ p.higher.title or '-' }}";
    let pages = |of: &str| format!("{{% for p in {of} %}}{BESIDE} {{% endfor %}}").leak() as &str;
    let of = |get: &str| format!("{{% set p = {get} %}}{BESIDE} ");
    let page = [
        of("get_page(path='s/b.md')"),
        of("get_section(path='s/y/_index.md')"),
        "{{ p.lower.pages | length }}{{ p.lower.higher is defined }}".to_owned(),
    ];
    let files = with(&[
        (
            "zola.toml",
            "base_url = \"https://x.example\"\ngenerate_feeds = true\nfeed_filenames = [\"f.json\"]\ntaxonomies = [{name = \"tags\"}]\n",
        ),
        (
            "templates/section.html",
            format!(
                "{}{{% if section.higher %}}{{{{ section.higher.pages | length }}}}{{% endif %}}",
                pages("section.pages")
            )
            .leak(),
        ),
        ("templates/page.html", page.concat().leak()),
        ("templates/f.json", pages("pages")),
        ("templates/taxonomy_list.html", pages("terms[0].pages")),
        ("templates/taxonomy_single.html", pages("term.pages")),
        ("content/s/_index.md", "+++\ntitle = \"S\"\nsort_by = \"weight\"\n+++\n"),
        (
            "content/s/a.md",
            "+++\ntitle = \"A\"\nweight = 1\ndate = 2026-01-03\ntaxonomies.tags = [\"t\"]\n+++\n",
        ),
        ("content/s/b.md", "+++\ntitle = \"B\"\nweight = 2\ndate = 2026-01-02\n+++\n"),
        ("content/s/c.md", "+++\ntitle = \"C\"\nweight = 3\ndate = 2026-01-01\n+++\n"),
        ("content/s/x/_index.md", "+++\ntitle = \"X\"\nweight = 1\n+++\n"),
        ("content/s/y/_index.md", "+++\ntitle = \"Y\"\nweight = 2\n+++\n"),
        ("content/s/x/d.md", "+++\ntitle = \"D\"\n+++\n"),
    ]);
    let (_, files) = render(&files).map_err(|e| e.to_string()).unwrap();
    assert_eq!(text(&files, "s/index.html"), "-<A<B A<B<C B<C<- ");
    assert_eq!(text(&files, "s/x/index.html"), "-<D<- 0");
    assert_eq!(text(&files, "f.json"), "-<A<B A<B<C B<C<- ");
    for list in ["tags/index.html", "tags/t/index.html"] {
        assert_eq!(text(&files, list), "-<A<B ", "{list}");
    }
    assert_eq!(text(&files, "s/a/index.html"), "A<B<C X<Y<- 1true");
}

#[test]
fn backlinks_are_in_the_order_of_their_addresses() {
    let link = "+++\ntitle = \"LINK\"\n+++\n[p](@/p.md)";
    let named = |name: &str| link.replace("LINK", name).leak() as &'static str;
    let links = [
        ("content/s/_index.md", named("S")),
        ("content/s/a.md", named("A")),
        ("content/b.md", named("B").replace("+++\n[", "slug = \"z\"\n+++\n[").leak() as &str),
        ("content/c.md", named("C")),
    ];
    assert_eq!(shown("{% for b in page.backlinks %}{{ b.title }} {% endfor %}", &links), "C S A B ");
}

#[test]
fn a_link_to_a_heading_beside_it_counts_where_there_is_no_bakehouse_toml() {
    let linking = |more: &[(&'static str, &'static str)]| {
        let page = ("content/p.md", "+++\ntitle = \"P\"\n+++\n[h](#h)\n\n# H\n");
        let link = ("content/q.md", "+++\ntitle = \"Q\"\n+++\n[p](@/p.md)");
        let code = ("content/r.md", "+++\ntitle = \"R\"\n+++\n```md\n[p](@/p.md)\n```\n");
        let template = "{% for b in page.backlinks %}{{ b.title }} {% endfor %}";
        shown(template, &[&[page, link, code], more].concat())
    };
    assert_eq!(linking(&[]), "P Q ");
    assert_eq!(linking(&[("bakehouse.toml", "")]), "Q ");
}

#[test]
fn subsections_stand_as_the_pages_beside_them_and_transparent_sections_name_no_neighbours() {
    let list = |sort: &str| {
        let (_, files) = render(&with(&[
            ("templates/section.html", "{% for s in section.subsections %}{{ s }} {% endfor %}"),
            ("templates/page.html", "{{ page.lower?.slug or '-' }}{{ page.higher?.slug or '-' }}"),
            ("content/s/_index.md", format!("+++\nsort_by = \"{sort}\"\n+++\n").leak()),
            ("content/s/a/_index.md", "+++\ntitle = \"Beta\"\nweight = 1\n+++\n"),
            ("content/s/b/_index.md", "+++\ntitle = \"alpha\"\nweight = 2\n+++\n"),
            ("content/s/c/_index.md", "+++\n+++\n"),
            ("content/s/t/_index.md", "+++\nweight = 3\ntransparent = true\nsort_by = \"slug\"\n+++\n"),
            ("content/s/t/x.md", ""),
            ("content/s/t/y.md", ""),
        ]))
        .unwrap();
        (text(&files, "s/index.html").replace("/_index.md", ""), text(&files, "s/t/x/index.html"))
    };
    let lists = ["title", "title_bytes", "permalink", "weight"].map(list);
    let [title, bytes, permalink, weight] = &lists;
    assert_eq!((title.0.as_str(), bytes.0.as_str()), ("s/b s/a ", "s/a s/b "));
    assert_eq!((permalink.0.as_str(), weight.0.as_str()), ("s/a s/b s/c s/t ", "s/c s/a s/b s/t "));
    // `weight` and the titles find nothing to sort pages by.
    assert_eq!((permalink.1.as_str(), title.1.as_str()), ("-y", "--"));
}

#[test]
fn a_list_in_parts_may_number_them_right_below_it_and_leads_nowhere_else() {
    let (_, files) = render(&with(&[
        ("templates/section.html", "{{ paginator.base_url }} {{ paginator.next or '-' }}"),
        ("content/s/_index.md", "+++\npaginate_by = 1\npaginate_path = \"\"\nredirect_to = \"/a/\"\n+++\n"),
        ("content/s/a.md", ""),
        ("content/s/b.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    let base = "https://x.example/sub/s/";
    assert_eq!(text(&files, "s/index.html"), format!("{base} {base}2/"));
    assert_eq!(text(&files, "s/2/index.html"), format!("{base} -"));
    assert!(text(&files, "s/1/index.html").contains(base));
    assert!(text(&files, "sitemap.xml").contains("/s/2/"));
}

#[test]
fn transparent_sections_orphans_and_inherited_templates() {
    let (_, files) = render(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ngenerate_feeds = true\n"),
        ("templates/section.html", "{% for p in section.pages %}{{ p.slug }} {% endfor %}"),
        ("templates/other.html", "other {{ page.title }}"),
        ("content/s/_index.md", "+++\nsort_by = \"weight\"\npage_template = \"other.html\"\n+++\n"),
        ("content/s/a.md", "+++\ntitle = \"A\"\nweight = 2\n+++\n"),
        ("content/s/2026/_index.md", "+++\ntransparent = true\nsort_by = \"weight\"\n+++\n"),
        ("content/s/2026/b.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n"),
        ("content/s/2026/c.md", "+++\ntitle = \"C\"\nweight = 3\ntemplate = \"page.html\"\n+++\n"),
        ("content/loose/o.md", "+++\ntitle = \"O\"\ndate = 2026-01-01\n+++\n"),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "s/index.html"), "b a c ");
    assert_eq!(text(&files, "s/2026/index.html"), "b c ");
    assert_eq!(text(&files, "s/2026/b/index.html"), "other B");
    assert_eq!(text(&files, "s/2026/c/index.html"), "C|");
    assert_eq!(text(&files, "loose/o/index.html"), "O|");
    assert!(!files.contains_key("loose/index.html"));
    for everywhere in ["sitemap.xml", "atom.xml"] {
        assert!(text(&files, everywhere).contains("https://x.example/loose/o/"), "{everywhere}");
    }
}

#[test]
fn what_sections_say_for_all_below_them_reaches_through_transparent_ones_and_bare_folders() {
    let (_, files) = render(&with(&[
        ("templates/other.html", "other {{ page.ancestors | join(sep=' ') }}"),
        ("templates/index.html", "{{ section.subsections | join(sep=' ') }}"),
        ("content/s/_index.md", "+++\ntransparent = true\npage_template = \"other.html\"\n+++\n"),
        ("content/s/2026/_index.md", "+++\ntransparent = true\n+++\n"),
        ("content/s/2026/a.md", ""),
        ("content/h/_index.md", "+++\nhidden = true\n+++\n"),
        ("content/h/bare/t/_index.md", "+++\ntitle = \"T\"\n+++\n"),
        ("content/h/bare/t/b.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "s/2026/a/index.html"), "other _index.md");
    assert_eq!(text(&files, "h/bare/t/index.html"), "T|");
    assert_eq!(text(&files, "index.html"), "s/_index.md");
}

#[test]
fn sections_say_how_they_are_paginated_and_have_all_their_pages() {
    let section = "{{ section.paginate_by or '-' }} {{ section.paginate_reversed }} {% for p in section.pages %}{{ p.slug }} {% endfor %}| {% if paginator is defined %}{% for p in paginator.pages %}{{ p.slug }} {% endfor %}{% endif %}";
    let (_, files) = render(&with(&[
        ("templates/section.html", section),
        ("content/s/_index.md", "+++\nsort_by = \"slug\"\npaginate_by = 2\npaginate_reversed = true\n+++\n"),
        ("content/s/a.md", ""),
        ("content/s/b.md", ""),
        ("content/s/c.md", ""),
        ("content/t/_index.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    assert_eq!(text(&files, "s/index.html"), "2 true a b c | c b ");
    assert_eq!(text(&files, "s/page/2/index.html"), "2 true a b c | a ");
    assert_eq!(text(&files, "t/index.html"), "- false | ");
}

#[test]
fn pagers_forwards_and_backwards_and_sections_that_lead_elsewhere() {
    let (_, files) = render(&with(&[
        ("templates/section.html", "{% for p in paginator.pages %}{{ p.slug }} {% endfor %}{{ paginator.current_index }}/{{ paginator.number_pagers }} {{ paginator.total_pages }} {{ paginator.first }} {{ paginator.last }} {{ paginator.base_url }} {{ paginator.previous or '-' }} {{ paginator.next or '-' }}"),
        ("content/s/_index.md", "+++\nsort_by = \"slug\"\npaginate_by = 2\npaginate_reversed = true\npaginate_path = \"n\"\n+++\n"),
        ("content/s/a.md", ""),
        ("content/s/b.md", ""),
        ("content/s/c.md", ""),
        ("content/r/_index.md", "+++\nredirect_to = \"s/\"\n+++\n"),
        ("content/e/_index.md", "+++\nredirect_to = \"https://e.example/x\"\n+++\n"),
        ("content/h/_index.md", "+++\nredirect_to = \"s/#a\"\n+++\n"),
        ("content/f/_index.md", "+++\nredirect_to = \"/atom.xml\"\n+++\n"),
        ("content/u.md", ""),
        ("templates/page.html", "{% for path in ['a#b', 'atom.xml', 'a.xml'] %}{{ get_url(path=path, trailing_slash=true) }} {% endfor %}"),
        ("content/n/_index.md", "+++\nrender = false\n+++\n"),
        ("content/n/d.md", ""),
    ]))
    .map_err(|e| e.to_string())
    .unwrap();
    let base = "https://x.example/sub/s/";
    assert_eq!(text(&files, "s/index.html"), format!("c b 1/2 3 {base} {base}n/2/ {base}n/ - {base}n/2/"));
    assert_eq!(text(&files, "s/n/2/index.html"), format!("a 2/2 3 {base} {base}n/2/ {base}n/ {base} -"));
    for (path, to) in
        [("s/n/1/index.html", base), ("r/index.html", base), ("e/index.html", "https://e.example/x")]
    {
        assert!(text(&files, path).contains(&format!("url={to}\"")), "{path}");
    }
    assert!(!files.contains_key("n/index.html") && files.contains_key("n/d/index.html"));
    assert!(text(&files, "h/index.html").contains("url=https://x.example/sub/s/#a\""));
    assert!(text(&files, "f/index.html").contains("url=https://x.example/sub/atom.xml\""));
    assert_eq!(
        text(&files, "u/index.html"),
        "https://x.example/sub/a#b https://x.example/sub/atom.xml https://x.example/sub/a.xml/ "
    );
}

#[test]
fn without_a_bakehouse_toml_parts_of_a_front_page_say_their_path_without_its_language() {
    let pager = |bakehouse: bool| {
        let mut site = with(&[
            ("zola.toml", "base_url = \"https://x.example\"\n[languages.fr]\n"),
            ("content/_index.fr.md", "+++\npaginate_by = 1\n+++\n"),
            ("content/a.fr.md", ""),
            ("content/b.fr.md", ""),
            ("content/s/_index.fr.md", "+++\npaginate_by = 1\n+++\n"),
            ("content/s/a.fr.md", ""),
            ("content/s/b.fr.md", ""),
            ("templates/index.html", "{{ current_path }} {{ current_url }}"),
            ("templates/section.html", "{{ current_path }}"),
        ]);
        site.extend(bakehouse.then_some(("bakehouse.toml", "")));
        let (_, files) = render(&site).unwrap();
        ["fr/index.html", "fr/page/2/index.html", "fr/s/page/2/index.html"].map(|path| text(&files, path))
    };
    let url = "https://x.example/fr";
    let first = format!("/fr/ {url}/");
    assert_eq!(pager(false), [first.clone(), format!("/page/2/ {url}/page/2/"), "/fr/s/page/2/".into()]);
    assert_eq!(pager(true), [first, format!("/fr/page/2/ {url}/page/2/"), "/fr/s/page/2/".into()]);
}

#[test]
fn without_a_bakehouse_toml_the_path_of_a_front_page_without_a_file_begins_as_in_zola() {
    let front = |bakehouse: bool| {
        let mut site = with(&[
            (
                "zola.toml",
                "base_url = \"https://x.example\"\nbuild_search_index = true\n[search]\nindex_format = \"fuse_json\"\ninclude_path = true\n[languages.fr]\nbuild_search_index = true\n[languages.fr.search]\ninclude_path = true\n",
            ),
            ("content/a.fr.md", ""),
            (
                "templates/index.html",
                "{{ section.path }} {{ section.components | length }} {{ current_path }} {{ current_url }}",
            ),
        ]);
        site.extend(bakehouse.then_some(("bakehouse.toml", "")));
        let (_, files) = render(&site).unwrap();
        let index = text(&files, "search_index.fr.json");
        (text(&files, "index.html"), text(&files, "fr/index.html"), index.contains("\"path\":\"fr/\""))
    };
    let first = "/ 0 / https://x.example/".to_owned();
    assert_eq!(front(false), (first.clone(), "fr/ 0 fr/ https://x.example/fr/".into(), true));
    assert_eq!(front(true), (first, "/fr/ 1 /fr/ https://x.example/fr/".into(), false));
}

#[test]
fn orders_of_pages() {
    let list = |sort: &str| {
        let section = format!("+++\nsort_by = \"{sort}\"\n+++\n").leak();
        let (summary, files) = render(&with(&[
            ("content/s/_index.md", section),
            ("templates/section.html", "{% for p in section.pages %}{{ p.slug }} {% endfor %}"),
            ("content/s/a.md", "+++\ntitle = \"item 10\"\ndate = 2026-01-01\nweight = 3\n+++\n"),
            (
                "content/s/b.md",
                "+++\ntitle = \"Item 9\"\ndate = 2026-01-01\nweight = 1\nupdated = 2026-05-01\n+++\n",
            ),
            ("content/s/c.md", "+++\ntitle = \"élan\"\ndate = 2026-02-01\nweight = 1\n+++\n"),
        ]))
        .unwrap();
        assert!(summary.warnings.is_empty());
        text(&files, "s/index.html")
    };
    assert_eq!(list("date"), "c a b ");
    assert_eq!(list("update_date"), "b c a ");
    assert_eq!(list("weight"), "b c a ");
    assert_eq!(list("title"), "c b a ");
    assert_eq!(list("title_bytes"), "b a c ");
    assert_eq!(list("slug"), "a b c ");
    assert_eq!(list("permalink"), "a b c ");
}
