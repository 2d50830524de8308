//! Broken sites of every kind, a folder each in `tests/fixtures/broken`: what a build says of them, to the letter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::World;

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
