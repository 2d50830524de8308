//! `bake mv`: links follow, the old address leads on, nothing else changes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::{World, site};

/// Every file below a folder.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, at: &Path, out: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(folder, &path, out);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                out.insert(name, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(folder, folder, &mut out);
    out
}

/// A site in which much is linked to what moves.
fn linked(world: &World) {
    site::small(world, "site");
    std::fs::remove_file(world.path("site/static/plain.txt")).unwrap();
    let write = |path: &str, text: &str| world.write(&format!("site/{path}"), text);
    write(
        "zola.toml",
        "base_url = \"https://bread.example\"\ntitle = \"Bread\"\ntaxonomies = [{ name = \"tags\" }]\n\
         [languages.fr]\ntaxonomies = [{ name = \"tags\" }]\n[extra]\nnav = [\"@/rye/index.md\", \"@/about.md\"]\n",
    );
    write(
        "content/rye/index.md",
        "+++\ntitle = \"Rye\" # a loaf\ndate = 2024-02-01\n\n[extra]\nnext = \"@/about.md\"\n+++\n\n## Crumb\n\n![The crumb](crumb.png) [about](../about/) [first](@/blog/first.md) [self](#crumb)\n",
    );
    write("content/rye/index.fr.md", "---\ntitle: Seigle\n---\n\n[pain](@/rye/index.md)\n");
    write("content/rye/crumb.png", "png");
    write(
        "content/about.md",
        "+++\ntitle = \"About\"\n[extra]\nbest = \"@/rye/index.md#crumb\"\n+++\n\nOur [rye](@/rye/index.md#crumb), [again][r], [by address](/rye/), [full](https://bread.example/rye/#crumb).\n\n![Crumb](@/rye/crumb.png) `[code](@/rye/index.md)` <a href=\"/rye/\">html</a> {{ get_url(path=\"@/rye/index.md\") }}\n\n```md\n[code](@/rye/index.md)\n```\n\n[r]: @/rye/index.md \"Rye\"\n",
    );
    write(
        "templates/404.html",
        "{% set p = get_page(path=\"rye/index.md\") %}<h1>Try {{ p.title }}</h1><a href=\"{{ get_url(path='@/rye/index.md') }}\">x</a>",
    );
}

#[test]
fn a_bundle_moves_with_all_that_names_it() {
    let world = World::new();
    linked(&world);
    world.bake("site", &["check", "--deny-warnings"]).ok();
    let before = tree(&world.path("site"));
    let dry = world.bake("site", &["mv", "rye", "blog/dark-rye", "--dry-run"]).ok();
    for line in [
        "rename content/rye/crumb.png => content/blog/dark-rye/crumb.png",
        "--- content/about.md",
        "-best = \"@/rye/index.md#crumb\"",
        "+best = \"@/blog/dark-rye/index.md#crumb\"",
        "+aliases = [\"rye\"]",
    ] {
        assert!(dry.stdout.contains(line), "{line} is missing:\n{}", dry.stdout);
    }
    assert_eq!(tree(&world.path("site")), before);

    let done = world.bake("site", &["mv", "content/rye/index.md", "blog/dark-rye/index.md"]).ok();
    let done = done
        .says(&["no alias leads to 2 files beside it", ": /fr/rye/crumb.png /fr/blog/dark-rye/crumb.png"]);
    assert!(done.stdout.contains("moved content/rye to content/blog/dark-rye"), "{}", done.stdout);
    assert!(done.stdout.contains("/rye/ leads to the new address"), "{}", done.stdout);
    assert!(!world.path("site/content/rye").exists());
    assert_eq!(
        world.read("site/content/blog/dark-rye/index.md"),
        "+++\ntitle = \"Rye\" # a loaf\ndate = 2024-02-01\naliases = [\"rye\"]\n\n[extra]\nnext = \"@/about.md\"\n+++\n\n## Crumb\n\n![The crumb](crumb.png) [about](@/about.md) [first](@/blog/first.md) [self](#crumb)\n"
    );
    assert_eq!(
        world.read("site/content/blog/dark-rye/index.fr.md"),
        "---\ntitle: Seigle\naliases: [\"fr/rye\"]\n---\n\n[pain](@/blog/dark-rye/index.md)\n"
    );
    assert_eq!(
        world.read("site/content/about.md"),
        "+++\ntitle = \"About\"\n[extra]\nbest = \"@/blog/dark-rye/index.md#crumb\"\n+++\n\nOur [rye](@/blog/dark-rye/index.md#crumb), [again][r], [by address](/blog/dark-rye/), [full](https://bread.example/blog/dark-rye/#crumb).\n\n![Crumb](@/blog/dark-rye/crumb.png) `[code](@/rye/index.md)` <a href=\"/blog/dark-rye/\">html</a> {{ get_url(path=\"@/blog/dark-rye/index.md\") }}\n\n```md\n[code](@/rye/index.md)\n```\n\n[r]: @/blog/dark-rye/index.md \"Rye\"\n"
    );
    assert!(world.read("site/zola.toml").contains("nav = [\"@/blog/dark-rye/index.md\", \"@/about.md\"]"));
    let template = world.read("site/templates/404.html");
    assert!(
        template.contains("path=\"blog/dark-rye/index.md\"")
            && template.contains("'@/blog/dark-rye/index.md'")
    );
    // What was good stays good, and the old address leads on.
    world.bake("site", &["check", "--deny-warnings"]).ok();
    world.bake("site", &["build", "--out", "../out"]).ok();
    assert!(world.read("out/rye/index.html").contains("https://bread.example/blog/dark-rye/"));
    // Back again: the alias of the place it returns to goes.
    world.bake("site", &["mv", "blog/dark-rye", "rye"]).ok();
    assert!(world.read("site/content/rye/index.md").contains("aliases = [\"blog/dark-rye\"]"));
    world.bake("site", &["check", "--deny-warnings"]).ok();
}

#[test]
fn a_section_moves_with_its_pages_and_a_page_with_its_translations() {
    let world = World::new();
    linked(&world);
    world.bake("site", &["mv", "blog", "news/posts"]).ok();
    assert!(world.read("site/content/news/posts/_index.md").contains("aliases = [\"blog\"]"));
    assert!(
        world.read("site/content/news/posts/first.md").contains("aliases = [\"blog/first\"]\n[taxonomies]")
    );
    assert!(world.read("site/content/rye/index.md").contains("(@/news/posts/first.md)"));
    world.write("site/content/about.fr.md", site::page("À propos", "[en](@/about.md)"));
    world.bake("site", &["mv", "about", "news/"]).ok();
    assert!(world.read("site/content/news/about.fr.md").contains("[en](@/news/about.md)"));
    assert!(world.read("site/content/news/about.fr.md").contains("aliases = [\"fr/about\"]"));
    assert!(world.read("site/content/rye/index.md").contains("[about](@/news/about.md)"));
    world.bake("site", &["check", "--deny-warnings"]).ok();
}

#[test]
fn rows_redirects_and_the_theme_follow_too() {
    let world = World::new();
    linked(&world);
    world.write("site/zola.toml", format!("theme = \"t\"\n{}", world.read("site/zola.toml")));
    world.write(
        "site/themes/t/templates/index.html",
        "{% set p = get_page(path=\"rye/index.md\") %}{{ p.title }}",
    );
    world.write(
        "site/bakehouse.toml",
        "[[source]]\nname = \"rows\"\ntype = \"file\"\npath = \"rows.csv\"\n\
         [source.page]\nsection = \"blog\"\nslug = \"slug\"\ntitle = \"slug\"\nbody = \"body\"\n",
    );
    world.write("site/rows.csv", "slug,body\none,See [rye](@/rye/index.md#crumb) and [it](@/about.md)\n");
    world.write("site/data/more.json", "{\"text\": \"a [rye](@/rye/index.md), @/rye/index.mdx\"}\n");
    world.write(
        "site/static/_redirects",
        "/loaf /rye/#crumb 302 # ours\n/full https://bread.example/rye/\n/x /about/\n",
    );
    world.bake("site", &["mv", "rye", "blog/dark"]).ok();
    assert_eq!(
        world.read("site/rows.csv"),
        "slug,body\none,See [rye](@/blog/dark/index.md#crumb) and [it](@/about.md)\n"
    );
    assert_eq!(
        world.read("site/data/more.json"),
        "{\"text\": \"a [rye](@/blog/dark/index.md), @/rye/index.mdx\"}\n"
    );
    assert_eq!(
        world.read("site/static/_redirects"),
        "/loaf /blog/dark/#crumb 302 # ours\n/full https://bread.example/blog/dark/\n/x /about/\n"
    );
    assert!(world.read("site/themes/t/templates/index.html").contains("\"blog/dark/index.md\""));
    world.bake("site", &["check"]).ok();
}

#[test]
fn addresses_are_followed_below_a_path_and_to_odd_names() {
    let world = World::new();
    linked(&world);
    let config = world.read("site/zola.toml");
    world.write("site/zola.toml", config.replace("bread.example\"", "bread.example/sub\""));
    world.write("site/bakehouse.toml", "");
    world.write(
        "site/static/_redirects",
        "/loaf /rye/\n/crumb /rye/crumb.png\n/full https://bread.example/sub/rye/\n",
    );
    world.write(
        "site/content/about.md",
        site::page(
            "About",
            "[page](@/rye/index.md) [file](/sub/rye/index.html#crumb) <a href='/sub/rye/index.html#crumb'>file</a>\n\n\
             <p style='background: url(/sub/rye/crumb.png)'>a</p>\n\n\
             <img alt=\"b\" srcset=\"/sub/rye/crumb.png 1x, /sub/rye/crumb.png 2x\">\n",
        ),
    );
    world.bake("site", &["check", "--deny-warnings"]).ok();
    let told = world.bake("site", &["mv", "rye", "odd (1), R&D/rye"]).ok().stdout;
    assert!(told.contains(" /fr/rye/crumb.png /fr/odd%20(1),%20R&D/rye/crumb.png"), "{told}");
    let odd = "/odd%20%281%29%2C%20R%26D/rye";
    assert_eq!(
        world.read("site/static/_redirects"),
        format!("/loaf {odd}/\n/crumb {odd}/crumb.png\n/full https://bread.example/sub{odd}/\n")
    );
    let about = world.read("site/content/about.md");
    assert_eq!(about.matches("/rye/index.html").count(), 0, "{about}");
    assert_eq!(about.matches(&format!("/sub{odd}/")).count(), 5, "{about}");
    world.bake("site", &["check", "--deny-warnings"]).ok();
}

#[test]
fn what_cannot_move_stays_and_is_said() {
    let world = World::new();
    linked(&world);
    world.write("site/content/taken.md", "+++\ntitle = \"T\"\nslug = \"free\"\n+++\n");
    world.write("site/content/hidden/old.md~", "");
    let before = tree(&world.path("site"));
    for (old, new, words) in [
        ("blgo", "news", "did you mean"),
        ("blog", "rye", "there is content at `rye` already"),
        ("blog/first.md", "blog/second.md", "not overwritten"),
        ("blog", "blog/inner", "into itself"),
        ("about.md", "free.md", "also made by"),
        ("about.md", "../evil.md", "no path below content/"),
        ("_index.md", "home.md", "front page"),
        ("rye", "loaf.md", "is a folder"),
        ("rye", "hidden", "is there already"),
    ] {
        let done = world.bake("site", &["mv", old, new]).run().code(1);
        done.says(&["error:", words]);
        assert_eq!(tree(&world.path("site")), before, "{old} {new}");
    }
    world.bake("site", &["mv", "about.md"]).run().code(2);
}

/// One translation alone can move where no template asks for it by the name that all of them had.
#[test]
fn a_translation_that_moves_alone_is_told_apart() {
    let world = World::new();
    linked(&world);
    let before = tree(&world.path("site"));
    let asks = world.read("site/templates/404.html");
    world.write(
        "site/templates/section.html",
        "{% set p = get_page(path=\"rye/index.md\", lang=\"fr\") %}{{ p.title }}",
    );
    let refused = world.bake("site", &["mv", "rye/index.fr.md", "rye/seigle.fr.md"]).run().code(1);
    refused.says(&["`rye/index.md` is not there in `fr`", " --> templates/section.html:1:"]);
    world.write("site/templates/section.html", "");
    std::fs::remove_file(world.path("site/templates/section.html")).unwrap();
    assert_eq!((tree(&world.path("site")), world.read("site/templates/404.html")), (before, asks));
    let done = world.bake("site", &["mv", "rye/index.fr.md", "seigle.fr.md"]).ok();
    assert!(
        done.stdout.contains("note: content/seigle.fr.md is no translation of content/rye/index.md any more"),
        "{}",
        done.stdout
    );
    world.bake("site", &["check"]).ok();
}
