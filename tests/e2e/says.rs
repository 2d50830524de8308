//! What commands print for people, word for word.

use crate::harness::{Done, World, site};

/// What it printed, with what differs from run to run replaced.
fn said(done: &Done) -> String {
    let text = format!("{}{}", done.stdout, done.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

macro_rules! says {
    ($done:expr, @$expected:literal) => {
        insta::with_settings!({ filters => [
            (r"\d{8}-\d{6}-[0-9a-f]{8}", "[release]"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[time]"),
            (r"\d+ objects", "[n] objects"),
            // On a busy machine it may not be counted yet.
            (r"(at least )?\d+ dropped", "[n] dropped"),
        ] }, { insta::assert_snapshot!(said(&$done), @$expected) })
    };
}

#[test]
fn of_versions() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up_with("site", &[], &[("BAKE_AUTHOR", "baker")]);
    let first = up.active();
    world.write("site/content/about.md", site::page("About", "Another text."));
    up.wait_text("/about/", "Another text.");
    let second = up.active();
    says!(up.bake(&["diff", &first, &second]).success(), @r"
    ~ about/index.html
    0 added, 1 changed, 0 removed
    ");
    says!(up.bake(&["releases"]).success(), @r"
       RELEASE                   MADE                 BY     PATHS  WHY
    *  [release]  [time]  baker  17     watch
       [release]  [time]  baker  17     start
    ");
    says!(up.bake(&["rollback"]).success(), @r"
    rolled back to [release]
      ~ about/index.html
      0 added, 1 changed, 0 removed
    saves, schedules and restarts are held back until `bake publish` or `bake resume`
    ");
    says!(up.bake(&["publish", "--plan"]).success(), @r"
    a publish would replace [release] ([n] objects to upload)
      ~ about/index.html
      0 added, 1 changed, 0 removed
    ");
    says!(up.bake(&["rollback", "20200101-000000-00000000"]).code(1), @r"
    error: site `main` has no release [release]
    hint: `bake releases` lists what there is
    ");
}

#[test]
fn of_a_purge() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    assert_eq!(up.get("/about/").status, 200);
    says!(up.bake(&["purge", "--url", "/about/", "--url", "/gone/", "--group", "prices", "--wait"]).success(), @r"
    purge committed as journal entry 2 of site `main`
      url /about/: 1 path
      url /gone/: matches nothing of the active release
      group prices: committed
      edge up: applied, [n] dropped
    applied everywhere
    ");
    says!(world.bake(".", &["purge"]).run().code(2), @"error: say what to purge: --url, --prefix, --group or --all");
}

#[test]
fn of_a_broken_page() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/content/about.md", site::page("About", "See [this](@/blog/frist.md)."));
    says!(world.bake("site", &["build", "--out", "../out"]).run().code(1), @r"
    error: the link `@/blog/frist.md` leads to no content
     --> content/about.md:4:5
      |
    4 | See [this](@/blog/frist.md).
      |     ^
    hint: did you mean `@/blog/first.md`?
    ");
    world.write("site/content/about.md", "+++\ntitle = \"About\n+++\n");
    says!(world.bake("site", &["build", "--out", "../out"]).run().code(1), @r#"
    error: broken front matter: invalid basic string, expected `"`
     --> content/about.md:2:15
      |
    2 | title = "About
      |               ^
    hint: the front matter between `+++` lines is TOML: key = "value"
    "#);
}
