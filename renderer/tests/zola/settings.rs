//! Keys of the configuration.

use renderer::Renderer;

use crate::support::{errors, input, render, render_with, sources, text, with};

#[test]
fn without_a_bakehouse_toml_nothing_changes_the_output() {
    let (summary, files) = render(&with(&[
        ("content/soon.md", "+++\ntitle = \"S\"\ndate = 2099-01-01\n+++\n![missing](none.png)"),
        ("content/over.md", "+++\ntitle = \"O\"\nexpiry_date = 2001-01-01\n+++\n"),
        ("static/app.css", "a{}"),
        ("templates/page.html", "{{ get_url(path='app.css', cachebust=true) }} {{ page.content | safe }}"),
    ]))
    .unwrap();
    assert_eq!((summary.pages, summary.next_change), (2, None));
    assert!(files.contains_key("app.css") && !files.values().any(|file| file.immutable));
    insta::assert_snapshot!(text(&files, "soon/index.html"), @r#"https://x.example/sub/app.css?h=5f546eb4606b5c2b7d2a <p><img src="https://x.example/sub/soon/none.png" alt="missing" /></p>"#);
}

#[test]
fn tables_that_zola_leaves_unchecked_may_have_other_keys() {
    let config = "base_url = \"https://x.example\"\ntaxonomies = [{name = \"tags\", rss = true}]\n[search]\nx = 1\n[slugify]\nx = 1\n[link_checker]\nx = 1\n";
    assert!(render(&with(&[("zola.toml", config)])).is_ok());
    assert!(errors(&with(&[("zola.toml", config), ("bakehouse.toml", "")])).contains("unknown key `rss`"));
}

#[test]
fn what_is_read_and_not_used_is_told() {
    let (summary, _) = render(&with(&[(
        "zola.toml",
        "base_url = \"https://x.example\"\n[markdown.highlighting]\ntheme = \"nord\"\nextra_grammars = [\"a.json\"]\n",
    )]))
    .unwrap();
    assert_eq!(summary.warnings.len(), 1);
    assert!(summary.warnings[0].message.contains("`extra_grammars` is not supported"));
}

#[test]
fn another_configuration_may_be_named() {
    let files = with(&[
        ("other.toml", "base_url = \"https://o.example\"\n"),
        ("templates/index.html", "{{ config.base_url }}"),
    ]);
    let mut input = input(sources(&files));
    input.options.config = Some("other.toml".to_owned());
    let (_, files) = render_with(&Renderer::new(1 << 20), &input).unwrap();
    assert_eq!(text(&files, "index.html"), "https://o.example");
}

#[test]
fn keys_that_are_not_known() {
    insta::assert_snapshot!(errors(&with(&[
        ("zola.toml", "base_url = \"https://x.example\"\ncompile_sas = true\n[markdown]\nhighlight_code = true\n"),
    ])), @r"
    error: unknown key `compile_sas`
     --> zola.toml:2:1
      |
    2 | compile_sas = true
      | ^
    hint: did you mean `compile_sass`?

    error: unknown key `highlight_code` in [markdown]
     --> zola.toml:4:1
      |
    4 | highlight_code = true
      | ^
    hint: use the table [markdown.highlighting]
    ");
    let (_, files) = render(&with(&[("content/a.md", "+++\nno_such_key = 1\n+++\n")])).unwrap();
    assert!(files.contains_key("a/index.html"));
}
