//! Whole sites, small ones.

mod text;

use super::*;

fn import(files: &[(&str, &str)]) -> Result<Imported, Errors> {
    let file = |(path, text): &(&str, &str)| ((*path).to_owned(), Bytes::from((*text).to_owned()));
    convert(&Sources::from_files(files.iter().map(file)), "2026-06-01T12:00:00Z".parse().unwrap())
}

/// A site with these files beside its settings.
fn imported(settings: &str, files: &[(&str, &str)]) -> Imported {
    let all: Vec<_> = files.iter().copied().chain([("hugo.toml", settings)]).collect();
    import(&all).unwrap()
}

fn text(made: &Imported, path: &str) -> String {
    let bytes = made.files.get(path).unwrap_or_else(|| panic!("{path} is not among {:?}", made.files.keys()));
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn notes(made: &Imported) -> Vec<String> {
    made.notes.iter().map(|note| format!("{}: {}", note.path, note.text)).collect()
}

#[test]
fn front_matter_of_three_kinds() {
    for text in ["+++\na = 1\n+++\nB", "---\na: 1\nb:\n---\nB", "{\"a\": 1}\nB"] {
        let (matter, body) = split(text).unwrap();
        assert_eq!(matter, toml::from_str("a = 1").unwrap(), "{text}");
        assert_eq!(body, "B");
    }
    assert_eq!(split("No front matter").unwrap().1, "No front matter");
    assert_eq!(split("{{< x >}}").unwrap().1, "{{< x >}}");
    assert!(split("---\na: [\n---\n").is_err());
}

#[test]
fn what_is_no_site_for_hugo_is_refused() {
    let error = |files: &[(&str, &str)]| import(files).unwrap_err().to_string();
    let nothing = error(&[("content/a.md", "")]);
    assert!(
        nothing.contains("there is no site for Hugo") && nothing.contains("hugo.toml, hugo.yaml"),
        "{nothing}"
    );
    assert!(nothing.contains("config/_default/"), "{nothing}");
    for of_zola in [
        ("zola.toml", "base_url = \"https://x.example\""),
        ("config.toml", "base_url = \"https://x.example\""),
    ] {
        let error = error(&[of_zola]);
        assert!(error.contains("this is a site for Zola") && error.contains("bake import zola"), "{error}");
    }
    let broken = error(&[("hugo.yaml", "a: [")]);
    assert!(broken.contains("the settings cannot be read") && broken.contains("--> hugo.yaml"), "{broken}");
    assert!(import(&[("config.toml", "baseURL = \"https://x.example\"")]).is_ok());
}

#[test]
fn front_matter_under_the_names_of_here() {
    let made = imported(
        "",
        &[(
            "content/posts/a.md",
            "---\ntitle: 2024\ndescription:\nsummary: Short.\nlinkTitle: A\ndate: 2026-01-02\npublishDate: 2026-01-05\n\
             expiryDate: 2027-01-01\nlastmod: 2026-02-03\nweight: 0\ndraft: true\nslug: aa\nauthor: Ida\ntags: one\n\
             categories: [1, b]\naliases: [old, /x/y.html]\nlayout: wide\ntype: post\nmenu: {main: {weight: 3}, side: {}}\n\
             resources: [{src: x}]\nheadless: true\nown: {k: v}\nParams: {p: 1}\n---\n",
        )],
    );
    insta::assert_snapshot!(text(&made, "content/posts/a.md"), @r#"
    +++
    title = "2024"
    description = "Short."
    date = 2026-01-05
    updated = 2026-02-03
    expiry_date = 2027-01-01
    slug = "aa"
    aliases = ["/posts/old", "/x/y.html"]
    draft = true
    authors = ["Ida"]
    render = false

    [taxonomies]
    tags = ["one"]
    categories = ["1", "b"]

    [extra]
    date = 2026-01-02
    linkTitle = "A"
    layout = "wide"
    type = "post"
    p = 1

    [extra.own]
    k = "v"
    +++
    "#);
    assert_eq!(
        notes(&made).iter().filter_map(|note| note.strip_prefix("content/posts/a.md: ")).collect::<Vec<_>>(),
        [
            "`layout` is not converted",
            "`linkTitle` is in [extra] now: the built-in theme does not show it",
            "`publishDate` is the date now, which holds the page back until then; the date is in [extra]",
            "`resources` is not converted",
            "`type` is not converted",
            "the menu `side` is not converted"
        ]
    );
    assert!(made.files.contains_key("bakehouse.toml"), "dates hold pages back only beside it");
    let config = text(&made, "zola.toml");
    assert!(!config.contains("[[extra.menu]]"), "{config}");
    assert!(notes(&made).iter().any(|note| note.contains("the entry \"A\" of the main menu")));
}

#[test]
fn the_main_menu_is_in_its_order_and_says_what_it_loses() {
    let made = imported(
        "theme = \"t\"\n[outputs]\nhome = [\"HTML\", \"RSS\", \"JSON\"]\n[[menus.main]]\nname = \"Last\"\nurl = \"/l\"\nparent = \"x\"\n\
         [[menus.main]]\nname = \"Second\"\nurl = \"/s\"\nweight = 9\n[[menus.main]]\nname = \"Nowhere\"\n",
        &[("content/a.md", "---\nmenu: main\nweight: 5\ntitle: First\n---\n")],
    );
    let config = text(&made, "zola.toml");
    let names: Vec<&str> =
        config.split("[[extra.menu]]\nname = ").skip(1).filter_map(|s| s.lines().next()).collect();
    assert_eq!(names, ["\"First\"", "\"Second\"", "\"Last\""]);
    let notes = notes(&made);
    for note in [
        "`parent` of an entry of the main menu",
        "without `url` and `pageRef`, is left out",
        "the setting `outputs`",
        "the setting `theme`",
    ] {
        assert!(notes.iter().any(|said| said.contains(note)), "{note}: {notes:?}");
    }
}

#[test]
fn the_menu_is_that_of_the_default_language_and_of_what_is_published() {
    let made = imported(
        "defaultContentLanguage = \"en\"\n[[menus.side]]\nname = \"S\"\nurl = \"/s/\"\n[languages.en]\nweight = 1\n\
         [[languages.en.menus.main]]\nname = \"Posts\"\npageRef = \"/posts\"\n[[languages.en.menus.main]]\nidentifier = \"n\"\npageRef = \"notes\"\n\
         [[languages.en.menus.main]]\nname = \"Later\"\nurl = \"/later/\"\n[languages.de]\nweight = 2\n",
        &[
            ("content/_index.de.md", "---\ntitle: Start\nmenu: main\n---\n"),
            ("content/posts/_index.md", "---\ntitle: Posts\nmenu: main\n---\n"),
            ("content/posts/_index.de.md", "---\ntitle: Beiträge\n---\n"),
            ("content/notes/a.md", "---\ntitle: A\n---\n"),
            ("content/later.md", "---\ntitle: Later\ndraft: true\n---\n"),
            ("content/soon.md", "---\ntitle: Soon\nmenu: main\ndraft: true\n---\n"),
        ],
    );
    let config = text(&made, "zola.toml");
    let menu = config.split("[[extra.menu]]\n").skip(1).map(|entry| entry.trim().replace('\n', ", "));
    insta::assert_snapshot!(menu.collect::<Vec<_>>().join("\n"), @r#"
    name = "Notes", path = "@/notes/_index.md"
    name = "Posts", path = "@/posts/_index.md"
    "#);
    let notes = notes(&made);
    for note in [
        "content/_index.de.md: the main menu is that of the default language",
        "the entry \"Later\" of the main menu leads to a page that is not published",
        "the entry \"Soon\" of the main menu leads to a page that is not published",
        "the menu `side` is not converted",
    ] {
        assert!(notes.iter().any(|said| said.contains(note)), "{note}: {notes:?}");
    }
}

#[test]
fn texts_of_templates_are_kept_by_language() {
    let made = imported(
        "[languages.en]\nweight = 1\n[languages.de]\nweight = 2\n",
        &[
            ("i18n/en.toml", "[more]\nother = \"More\"\n"),
            ("i18n/de.yaml", "more: Mehr\n"),
            ("i18n/fr.json", "{\"more\": \"Plus\"}"),
            ("content/a.md", "x"),
        ],
    );
    let config: Table = toml::from_str(&text(&made, "zola.toml")).unwrap();
    assert_eq!(config["translations"]["more"].as_str(), Some("More"));
    assert_eq!(config["languages"]["de"]["translations"]["more"].as_str(), Some("Mehr"));
    assert_eq!(
        notes(&made).iter().filter(|note| note.contains("i18n")).collect::<Vec<_>>(),
        ["i18n/fr.json: not converted: the site has no language `fr`"]
    );
}

#[test]
fn addresses_below_the_default_language_are_aliases() {
    let made = imported(
        "defaultContentLanguageInSubdir = true\n[languages.en]\nweight = 1\n[languages.de]\nweight = 2\n",
        &[
            ("content/posts/a.md", "---\ntitle: A\naliases: [/b/, c]\n---\n"),
            ("content/notes/n.md", "---\ntitle: N\n---\n"),
            ("content/posts/a.de.md", "---\ntitle: A\n---\n"),
            ("content/posts/_index.md", "---\ntitle: P\n---\n"),
        ],
    );
    let page = text(&made, "content/posts/a.md");
    assert!(page.contains("aliases = [\"/en/b/\", \"/en/posts/c\", \"/en/posts/a/\"]"), "{page}");
    assert!(text(&made, "content/notes/_index.md").contains("aliases = [\"/en/notes/\"]"));
    assert!(text(&made, "content/posts/_index.md").contains("aliases = [\"/en/posts/\"]"));
    assert!(!text(&made, "content/posts/a.de.md").contains("aliases"));
    assert!(notes(&made).iter().any(|note| note.contains("addresses were below /en/")));
}

#[test]
fn the_code_of_the_default_language_leads_to_the_front_page() {
    let front = |config: &str| {
        let files =
            [("content/_index.md", "---\ntitle: Home\n---\n"), ("content/p.md", "---\ntitle: P\n---\n")];
        let made = imported(config, &files);
        assert!(!text(&made, "content/p.md").contains("aliases"));
        text(&made, "content/_index.md")
    };
    let two = "[languages.en]\nweight = 1\n[languages.de]\nweight = 2\n";
    assert!(front(two).contains("aliases = [\"/en/\"]"));
    assert!(!front(&format!("disableDefaultLanguageRedirect = true\n{two}")).contains("aliases"));
    assert!(!front(&format!("{two}baseURL = \"https://de.example\"\n")).contains("aliases"));
    assert!(!front("").contains("aliases"));
}

#[test]
fn a_date_in_a_name_leaves_the_slug_behind_it() {
    let made = imported(
        "[frontmatter]\ndate = [\":filename\", \":default\"]\n[permalinks]\nblog = \"/:year/:slugorfilename/\"\n",
        &[("content/blog/2024-02-03-named.md", "---\ntitle: T\n---\n")],
    );
    let page = text(&made, "content/blog/2024-02-03-named.md");
    assert!(page.contains("path = \"2024/named\""), "{page}");
}

#[test]
fn each_space_of_a_name_is_a_hyphen_in_its_address() {
    let made = imported(
        "[permalinks]\n\"p--q\" = \"/:section/:slug/\"\n",
        &[
            ("content/Foo & Co/A - B.md", "---\ntitle: T\n---\n[c](<C & 50% D.md>)"),
            ("content/Foo & Co/C & 50% D.md", "---\ntitle: T\n---\n"),
            ("content/Foo & Co/E.md", "---\ntitle: T\nslug: My & Own\n---\n"),
            ("content/P & Q/F.md", "---\ntitle: T & U\n---\n"),
        ],
    );
    let page = text(&made, "content/foo--co/a---b.md");
    assert!(page.contains("path = \"foo--co/a---b\""), "{page}");
    assert!(page.contains("(<@/foo--co/c--50-d.md>)"), "{page}");
    assert!(text(&made, "content/foo--co/e.md").contains("slug = \"my-own\""));
    assert!(text(&made, "content/p--q/f.md").contains("slug = \"t-u\""));
    assert!(text(&made, "content/p--q/_index.md").contains("title = \"P Q\""));
}

#[test]
fn addresses_stay() {
    let page = |matter: &str| format!("+++\ntitle = \"A\"\n{matter}\n+++\n");
    let files = [
        ("content/Some Folder/A Page.md", page("")),
        ("content/posts/2026-01-02-dated.md", page("")),
        ("content/posts/a_b v1.2.md", page("")),
        ("content/posts/bundle/index.md", page("slug = \"other\"\naliases = [\"was\"]")),
        ("content/posts/file.md", page("url = \"/x/y.html\"")),
        ("content/posts/feed.md", page("url = \"/feed.txt\"")),
        ("content/news/n.md", page("date = 2026-04-05\nslug = \"s\"")),
        ("content/docs/_index.md", page("url = \"/handbook/\"\naliases = [\"manual\"]")),
        ("content/docs/sub/d.md", page("")),
        ("content/docs/more/_index.md", page("slug = \"Even More\"")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let made = imported("[permalinks]\nnews = \"/n/:year/:month/:slug/\"\n", &files);
    let says = |path: &str, expected: &[&str]| {
        let text = text(&made, &format!("content/{path}"));
        for line in expected {
            assert!(text.contains(line), "{path}: {line} is not in\n{text}");
        }
        let keys = ["path = ", "slug = ", "aliases = "].iter().filter(|key| text.contains(**key)).count();
        assert_eq!(keys, expected.len(), "{path}:\n{text}");
    };
    says("some-folder/a-page.md", &[]);
    says("posts/2026-01-02-dated.md", &[]);
    says("posts/a_b-v1.2.md", &["path = \"posts/a_b-v1.2\""]);
    says("posts/bundle/index.md", &["slug = \"other\"", "aliases = [\"/posts/was\"]"]);
    says("posts/file.md", &["path = \"x/y\"", "aliases = [\"/x/y.html\"]"]);
    says("posts/feed.md", &[]);
    says("news/n.md", &["path = \"n/2026/04/s\""]);
    says("docs/_index.md", &["aliases = [\"/manual\", \"/handbook/\"]"]);
    says("docs/sub/d.md", &[]);
    says("docs/more/_index.md", &["aliases = [\"/docs/even-more/\"]"]);
    assert!(text(&made, "content/some-folder/_index.md").contains("title = \"Some Folder\""));
    assert!(text(&made, "zola.toml").contains("paths_keep_dates = true"));
    for note in [
        "content/posts/file.md: a page has an address with a slash at its end: \"x/y.html\" is an alias",
        "content/posts/feed.md: a page cannot be at \"feed.txt\": it has the address of its file",
        "content/docs/_index.md: a section has the address of its folder: `url` is an alias, \"/handbook/\"",
    ] {
        assert!(notes(&made).iter().any(|said| said == note), "{note}: {:#?}", notes(&made));
    }
}

#[test]
fn what_descends_and_what_is_bundled() {
    let made = imported(
        "[taxonomies]\nauthor = \"authors\"\n[[cascade]]\nall = 1\n[[cascade]]\nsome = 1\ntarget = { path = \"/x\" }\n",
        &[
            ("content/_index.md", "+++\ntitle = \"Home\"\n[cascade]\nshelf = \"home\"\nweight = 5\n+++\n"),
            ("content/docs/_index.md", "+++\ntitle = \"Docs\"\n[cascade.params]\nshelf = \"docs\"\n+++\n"),
            ("content/docs/a.md", "+++\ntitle = \"A\"\nauthors = [\"Ida\", \"C++\"]\ntags = [\"t\"]\n+++\n"),
            ("content/docs/b/index.md", "+++\ntitle = \"B\"\nweight = 1\n+++\n"),
            ("content/docs/b/notes.md", "+++\ntitle = \"Notes\"\n+++\n"),
            ("content/authors/ida/_index.md", "+++\ntitle = \"Ida P.\"\n+++\n"),
        ],
    );
    let page = text(&made, "content/docs/a.md");
    for line in [
        "weight = 5",
        "[taxonomies]\nauthors = [\"Ida\", \"C++\"]",
        "tags = [\"t\"]",
        "all = 1",
        "shelf = \"docs\"",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    assert!(text(&made, "content/docs/b/index.md").contains("weight = 1"));
    assert!(text(&made, "content/docs/_index.md").contains("sort_by = \"weight\"\ngenerate_feeds = true"));
    assert!(
        notes(&made).contains(
            &"content/docs/a.md: the term \"C++\" has another address: it ends in \"c\"".to_owned()
        )
    );
    for path in ["content/docs/b/notes.md", "content/authors/ida/_index.md", "content/authors/_index.md"] {
        assert!(!made.files.contains_key(path), "{path}");
    }
    assert!(notes(&made).contains(&"hugo.toml: a `cascade` to some pages only is not converted".to_owned()));
}

#[test]
fn languages_by_name_and_by_folder() {
    let page = "+++\ntitle = \"A\"\naliases = [\"/old\"]\n+++\n";
    let files = [
        ("config/_default/hugo.toml", "baseURL = \"https://x.example/\"\ndefaultContentLanguage = \"en\"\n"),
        (
            "config/_default/languages.toml",
            "[en]\ntitle = \"E\"\n[de]\ntitle = \"D\"\ncontentDir = \"inhalt\"\n[fr]\ntitle = \"F\"\n",
        ),
        ("config/_default/params.toml", "own = 1\n"),
        ("config/production/hugo.toml", "title = \"P\"\n"),
        ("content/a.md", page),
        ("content/a.fr.md", page),
        ("inhalt/a.md", page),
    ];
    let made = import(&files).unwrap();
    let paths: Vec<_> = made.files.keys().filter(|path| path.starts_with("content/")).cloned().collect();
    assert_eq!(paths, ["content/a.de.md", "content/a.fr.md", "content/a.md"]);
    assert!(text(&made, "content/a.de.md").contains("aliases = [\"/de/old\"]"));
    let config = text(&made, "zola.toml");
    for line in [
        "bottom_footnotes = true",
        "title = \"E\"",
        "[languages.de]\ntitle = \"D\"",
        "[languages.fr]\ntitle = \"F\"",
        "own = 1",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
    assert_eq!(notes(&made), ["config/production/hugo.toml: settings of an environment are not converted"]);
}

#[test]
fn a_default_language_may_name_a_country() {
    let settings = "defaultContentLanguage = \"pt-BR\"\nlanguageCode = \"pt\"\n[languages.pt-br]\ntitle = \"Pão\"\n[languages.en]\n";
    let made =
        imported(settings, &[("content/a.pt-br.md", "+++\ntitle = \"A\"\n+++\n"), ("content/a.en.md", "")]);
    let config = text(&made, "zola.toml");
    assert!(
        config.contains("default_language = \"pt-br\"") && config.contains("title = \"Pão\""),
        "{config}"
    );
    assert!(!config.contains("[languages.pt-br"), "{config}");
    assert!(made.files.contains_key("content/a.md") && made.files.contains_key("content/a.en.md"));
    let of = |settings: &str| text(&imported(settings, &[]), "zola.toml");
    assert!(of("languageCode = \"fr-CH\"").contains("default_language = \"fr\""));
    assert!(of("").contains("default_language = \"en\""));
}

#[test]
fn numbers_are_titles_and_summaries_too() {
    let page = ("content/a.md", "---\ntitle: 2024\nsummary: 12\n---\n");
    let made = import(&[("hugo.yaml", "title: 1984\nlanguages:\n  de:\n    title: 1985\n"), page]).unwrap();
    let config = text(&made, "zola.toml");
    assert!(config.contains("title = \"1984\"") && config.contains("title = \"1985\""), "{config}");
    let page = text(&made, "content/a.md");
    assert!(page.contains("title = \"2024\"") && page.contains("description = \"12\""), "{page}");
}

/// Each of these took minutes, or all of the stack.
#[test]
fn an_alias_is_of_one_page() {
    let made = imported(
        "",
        &[
            ("content/a.md", "---\ntitle: A\naliases: [/old/, /b/, /a/, /old]\n---\n"),
            ("content/b.md", "---\ntitle: B\naliases: [/old, /older/index.html]\n---\n"),
            ("content/c.md", "---\ntitle: C\naliases: [/older/]\n---\n"),
        ],
    );
    assert!(text(&made, "content/a.md").contains("aliases = [\"/old/\"]"));
    assert!(text(&made, "content/b.md").contains("aliases = [\"/older/index.html\"]"));
    assert!(!text(&made, "content/c.md").contains("aliases"));
    assert_eq!(
        notes(&made)[..4],
        [
            "content/a.md: the alias \"/a/\" is left out: a page is there",
            "content/a.md: the alias \"/b/\" is left out: a page is there",
            "content/b.md: the alias \"/old\" is left out: content/a.md has it, too",
            "content/c.md: the alias \"/older/\" is left out: content/b.md has it, too",
        ]
    );
}

#[test]
fn weights_may_be_texts() {
    let made = imported(
        "[[menus.main]]\nname = \"X\"\nurl = \"/x/\"\nweight = \"20\"\n[[menus.main]]\nname = \"Y\"\nurl = \"/y/\"\nweight = \"3\"\n",
        &[("content/s/a.md", "---\ntitle: A\nweight: \"01\"\n---\n")],
    );
    assert!(text(&made, "content/s/a.md").contains("weight = 1\n"));
    let config = text(&made, "zola.toml");
    assert!(config.find("\"Y\"") < config.find("\"X\""), "{config}");
    assert!(notes(&made).iter().all(|note| !note.contains("weight")), "{:?}", notes(&made));
}

#[test]
fn a_page_to_come_stays_one() {
    let with = |date: &str| {
        let page = format!("---\ntitle: A\ndate: {date}\n---\n");
        imported("", &[("content/a.md", &page)]).files.contains_key("bakehouse.toml")
    };
    assert!(with("2026-06-02") && !with("2026-06-01"));
}

#[test]
fn terms_of_sections_are_listed() {
    let made =
        imported("", &[("content/s/_index.md", "---\ntitle: S\ntags: [a, \"\"]\ncategories: []\n---\n")]);
    assert!(!text(&made, "content/s/_index.md").contains("tags"));
    let said: Vec<_> = notes(&made).into_iter().filter(|note| note.contains("terms")).collect();
    assert_eq!(said, ["content/s/_index.md: `tags` is not converted: a section has no terms"]);
}

#[test]
fn files_of_a_bundle_are_found_wherever_it_is() {
    let made = imported(
        "[permalinks]\nposts = \"/:year/:slug/\"\n",
        &[
            (
                "content/posts/My Trip/index.md",
                "---\ntitle: T\ndate: 2026-01-02\n---\n![p](Pic.png) [q](gone.pdf)\n",
            ),
            ("content/posts/My Trip/Pic.png", ""),
        ],
    );
    assert_eq!(
        notes(&made).iter().filter(|note| note.contains("leads to")).collect::<Vec<_>>(),
        ["content/posts/My Trip/index.md: the link to \"gone.pdf\" leads to nothing that was found"]
    );
}
