//! Broken sites of every kind, a folder each in `tests/fixtures/broken`: what a build says of them, to the letter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{Preview, SOON, World, site};

/// The names of what is in a folder, without their endings.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn each_broken_site_is_explained() {
    let world = World::new();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let sites = tests.join("fixtures/broken");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots/broken");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for kind in names(&sites) {
        copy(&sites.join(&kind), &world.path(&kind));
        let built = world.bake(&kind, &["build", "--out", "../out"]).run().code(1);
        settings.bind(|| insta::assert_snapshot!(&*kind, built.stderr));
        let checked = world.bake(&kind, &["check"]).run().code(1);
        assert!(
            checked.stdout.contains("error: ") || checked.stderr.contains("error: "),
            "{kind}: {}",
            checked.stderr
        );
    }
    assert_eq!(names(&tests.join("snapshots/broken")), names(&sites), "each message is of a site");
}

/// Of more errors than anyone reads at once it is said how many there are, wherever they are told.
#[test]
fn errors_beyond_those_that_are_shown_are_counted() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    for n in 0..250 {
        world.write(&format!("site/content/page-{n:03}.md"), "+++\ntitle = 1\n+++\n");
    }
    let last = "--> content/page-199.md:2:1";
    let build = world.bake("site", &["build", "--out", "../out"]).run().code(1);
    assert!(build.stderr.ends_with("and 50 more errors\n"), "{}", build.stderr);
    build.says(&[last]);
    up.bake(&["publish"]).code(1).says(&[last, "and 50 more errors"]);
    world.bake("site", &["check"]).run().code(1).says(&[last, "and 50 more errors\n", "error: 250 errors, "]);
    let checked = world.bake("site", &["check", "--json"]).run().code(1).json();
    assert_eq!((&checked["errors"], &checked["more"]), (&250.into(), &50.into()));
    let mut preview = Preview::start(&world, "site", &[], &[]);
    preview.process.wait_for_text("250 errors: ", SOON);
}
