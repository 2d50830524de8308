//! Highlighted code outlives its process: a build, a publish from a fresh checkout and a start find it as others left it.

use std::path::PathBuf;

use crate::harness::{Up, World, files, settle, site};
use crate::roles::Roles;

const BLOCKS: usize = 6;

/// A site in its own look, with a block of code on each of six pages.
fn write(world: &World, at: &str) {
    site::small(world, at);
    world.write(&format!("{at}/bakehouse.toml"), "");
    for number in 0..BLOCKS {
        let code = format!("One:\n\n```rust\nfn f{number}() -> u32 {{\n    {number}\n}}\n```\n");
        world.write(&format!("{at}/content/code{number}.md"), site::page(&format!("Code {number}"), &code));
    }
    template(world, at, "first");
}

/// The template of all pages, in another state.
fn template(world: &World, at: &str, state: &str) {
    let text = format!("<title>{state}</title>{{{{ page.content | safe }}}}");
    world.write(&format!("{at}/templates/page.html"), text);
}

/// What a command logs of its render: outputs that were rendered, and blocks that were highlighted.
fn counts(log: &str) -> (usize, usize) {
    let count = |name: &str| {
        let at = log.find(name).unwrap_or_else(|| panic!("no {name} in:\n{log}")) + name.len();
        log[at..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    (count("rendered="), count("highlighted="))
}

/// A build into `out`, which must be as one that knows nothing; what it says on standard error.
fn build(world: &World, out: &str) -> String {
    let done = world.bake("site", &["build", "--out", &format!("../{out}"), "--log", "info"]).ok();
    let clean = tempfile::tempdir_in(world.folder()).unwrap();
    let args = ["build", "--out", clean.path().to_str().unwrap(), "--no-memo", "--log", "info"];
    let (_, highlighted) = counts(&world.bake("site", &args).ok().stderr);
    assert_eq!(highlighted, BLOCKS, "a build that is to know nothing knows something");
    assert!(files(clean.path()) == files(&world.path(out)), "not what a clean build makes");
    done.stderr
}

fn packs(world: &World) -> Vec<PathBuf> {
    let folder = world.path("site/.bakehouse/blocks");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_build_highlights_what_no_build_has() {
    let world = World::new();
    write(&world, "site");
    settle();
    assert_eq!(counts(&build(&world, "out")).1, BLOCKS);
    template(&world, "site", "second");
    settle();
    let (rendered, highlighted) = counts(&build(&world, "out"));
    assert!(rendered >= BLOCKS && highlighted == 0, "{rendered} rendered, {highlighted} highlighted");
    // Into another folder, and in other colours.
    assert_eq!(counts(&build(&world, "other")).1, 0);
    let config = world.read("site/zola.toml") + "[markdown.highlighting]\ntheme = \"dracula\"\n";
    world.write("site/zola.toml", config);
    settle();
    assert_eq!(counts(&build(&world, "out")).1, 0);
    world.write("site/content/code2.md", site::page("Code 2", "```rust\nfn other() {}\n```\n"));
    settle();
    assert_eq!(counts(&build(&world, "out")).1, 1);
    assert_eq!(counts(&build(&world, "other")).1, 0);
    assert!(packs(&world).len() <= 2);
}

#[test]
fn a_build_that_failed_has_not_highlighted_in_vain() {
    let world = World::new();
    write(&world, "site");
    world.write("site/templates/404.html", "{{ section.nope.nope }}");
    world.bake("site", &["build", "--out", "../out"]).run().failure();
    std::fs::remove_file(world.path("site/templates/404.html")).unwrap();
    assert_eq!(counts(&build(&world, "out")).1, 0);
}

#[test]
fn a_damaged_pack_costs_time_and_is_told_of_once() {
    let world = World::new();
    write(&world, "site");
    settle();
    build(&world, "out");
    let damage = |change: fn(&mut Vec<u8>)| {
        let [pack] = packs(&world).try_into().unwrap();
        let mut bytes = std::fs::read(&pack).unwrap();
        change(&mut bytes);
        std::fs::write(pack, bytes).unwrap();
    };
    let told = |log: &str| log.matches("is damaged").count();
    let changes: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[20] ^= 1,
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() / 2),
        Vec::clear,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        damage(change);
        // Where nothing changed it is not looked at.
        let log = world.bake("site", &["build", "--out", "../out", "--log", "info"]).ok();
        assert_eq!((counts(&log.stderr), told(&log.stderr)), ((0, 0), 0));
        template(&world, "site", &format!("state {i}"));
        settle();
        let log = build(&world, "out");
        assert!(counts(&log).1 > 0 && told(&log) == 1, "{log}");
        template(&world, "site", &format!("state {i} again"));
        settle();
        let log = build(&world, "out");
        assert_eq!((counts(&log).1, told(&log)), (0, 0));
    }
    std::fs::remove_dir_all(world.path("site/.bakehouse/blocks")).unwrap();
    template(&world, "site", "last");
    settle();
    let log = build(&world, "out");
    assert_eq!((counts(&log).1, told(&log)), (BLOCKS, 0));
}

#[test]
fn a_fresh_checkout_highlights_what_no_publish_has() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    let publish = |site: &str| {
        let done = world.bake(site, &["publish", "--log", "info"]).vars(&roles.bucket.vars()).ok();
        let log = format!("{}{}", done.stdout, done.stderr);
        (counts(&log), log.matches("is damaged").count())
    };
    let prefix = "sites/main/memo/blocks/";
    let damage = |with: &str| {
        world.write("noise", with);
        for key in roles.bucket.keys(&world, prefix) {
            let object = format!("s3://{}/{key}", roles.bucket.name);
            roles.bucket.aws(&world, &["s3", "cp", world.path("noise").to_str().unwrap(), &object]).success();
        }
    };
    write(&world, "site");
    assert_eq!(publish("site").0.1, BLOCKS);
    let kept = roles.bucket.keys(&world, prefix);
    assert_eq!(kept.len(), 1, "{kept:?}");

    write(&world, "fresh");
    template(&world, "fresh", "second");
    let ((rendered, highlighted), _) = publish("fresh");
    assert!(rendered >= BLOCKS && highlighted == 0, "{rendered} rendered, {highlighted} highlighted");
    assert_eq!(roles.bucket.keys(&world, prefix), kept);

    // Where nothing changed it is not asked for: that it is damaged is not noticed.
    damage("no pack");
    write(&world, "another");
    template(&world, "another", "second");
    assert_eq!(publish("another"), ((0, 0), 0));
    template(&world, "another", "third");
    let ((_, highlighted), told) = publish("another");
    assert_eq!((highlighted, told), (BLOCKS, 1));
    template(&world, "another", "fourth");
    let ((_, highlighted), told) = publish("another");
    assert_eq!((highlighted, told), (0, 0));
}

#[test]
fn a_second_start_highlights_nothing_again() {
    let world = World::new();
    write(&world, "site");
    let up = world.up("site");
    let highlighted = |up: &Up<'_>| up.metric("bakehouse_code_blocks_highlighted_total", &[]);
    assert_eq!(highlighted(&up), BLOCKS as f64);
    assert!(up.interrupt().success());
    let up = world.up("site");
    template(&world, "site", "second");
    up.wait_text("/code1/", "second");
    assert_eq!(highlighted(&up), 0.0);
}
