//! The command line: help, exit codes, a plain folder of files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::{World, site};

#[test]
fn help_is_complete() {
    let world = World::new();
    let help = world.bake(".", &["--help"]).ok().stdout;
    for command in [
        "up", "build", "publish", "releases", "diff", "rollback", "resume", "purge", "origin", "edge",
        "renderer", "bucket",
    ] {
        assert!(help.lines().any(|l| l.trim_start().starts_with(command)), "{command} is missing:\n{help}");
        let own = world.bake(".", &[command, "--help"]).ok().stdout;
        assert!(own.contains("Usage: bake"), "{own}");
    }
    // A command appears when it works, not before.
    for later in ["jobs", "gc", "verify", "why"] {
        assert!(!help.lines().any(|l| l.trim_start().starts_with(&format!("{later} "))), "{later}:\n{help}");
    }
    let version = world.bake(".", &["--version"]).ok().stdout;
    assert_eq!(version.trim(), format!("bake {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2() {
    let world = World::new();
    world.bake(".", &["bulid"]).run().code(2).says(&["build"]);
    world.bake(".", &["up", "--lisen", "x"]).run().code(2).says(&["--listen"]);
    world.bake(".", &["up", "--listen", "nonsense"]).run().code(2).says(&["nonsense"]);
    world.bake(".", &[]).run().code(2);
}

#[test]
fn a_folder_that_is_no_site_is_named() {
    let world = World::new();
    for args in [["build", "nowhere", "--out", "x"], ["build", ".", "--out", "x"]] {
        world.bake("empty", &args).run().code(1).says(&["error:", "content", "hint:"]);
    }
}

/// All files below a folder.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

#[test]
fn build_writes_a_plain_folder_the_same_each_time() {
    let world = World::new();
    site::small(&world, "site");
    world.bake("site", &["build", "--out", "../one"]).ok();
    world
        .bake(".", &["build", "site", "--out", "two"])
        .var("RAYON_NUM_THREADS", "1")
        .var("TZ", "Asia/Tokyo")
        .ok();
    let (one, two) = (files(&world.path("one")), files(&world.path("two")));
    assert!(one.keys().eq(two.keys()), "{:?} and {:?}", one.keys(), two.keys());
    for (path, bytes) in &one {
        assert!(bytes == &two[path], "{path} differs from one build to the next");
    }
    for path in [
        "index.html",
        "about/index.html",
        "blog/index.html",
        "blog/first/index.html",
        "tags/index.html",
        "tags/rye/index.html",
        "404.html",
        "sitemap.xml",
        "robots.txt",
        "atom.xml",
        "plain.txt",
    ] {
        assert!(one.contains_key(path), "{path} is missing: {:?}", one.keys());
    }
}

#[test]
fn what_is_served_is_what_is_built() {
    let world = World::new();
    site::small(&world, "site");
    let base = "https://bread.example";
    world.bake("site", &["build", "--out", "../out"]).ok();
    let up = world.up_with("site", &["--base-url", base], &[]);
    for (path, bytes) in files(&world.path("out")) {
        let url = format!("/{path}");
        let reply = up.get(&url);
        assert!(
            reply.body == bytes,
            "{path} differs:\n{}\n{}",
            reply.text(),
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn a_build_that_fails_leaves_what_was_there() {
    let world = World::new();
    site::small(&world, "site");
    world.bake("site", &["build", "--out", "../out"]).ok();
    let before = files(&world.path("out"));
    world.write("site/content/about.md", "+++\ntitle = \n+++\n");
    world.bake("site", &["build", "--out", "../out"]).run().code(1).says(&["content/about.md:2", "hint:"]);
    assert!(files(&world.path("out")) == before);
}
