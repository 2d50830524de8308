//! What holds for the repository as a whole: which crate may know which, which licences are linked, and that
//! ARCHITECTURE.md names only what is there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `cargo metadata` of the whole graph, all features on.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--all-features", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn siblings_do_not_know_each_other() {
    let metadata = metadata();
    let members: BTreeSet<&str> = list(&metadata["workspace_members"]).iter().map(text).collect();
    let ours: Vec<&Value> =
        list(&metadata["packages"]).iter().filter(|p| members.contains(text(&p["id"]))).collect();
    let names: BTreeSet<&str> = ours.iter().map(|p| text(&p["name"])).collect();
    assert_eq!(names, BTreeSet::from(["bakehouse", "edge", "origin", "release", "renderer"]));

    // Of any kind: for tests too, a sibling would be a way round the seam.
    let arrows: BTreeMap<&str, BTreeSet<&str>> = ours
        .iter()
        .map(|p| {
            let name = text(&p["name"]);
            let known = list(&p["dependencies"]).iter().map(|d| text(&d["name"]));
            (name, known.filter(|d| *d != name && names.contains(d)).collect())
        })
        .collect();
    let release = BTreeSet::from(["release"]);
    assert_eq!(arrows["release"], BTreeSet::new());
    assert_eq!(arrows["renderer"], release);
    assert_eq!(arrows["origin"], release);
    assert_eq!(arrows["edge"], release);
    assert_eq!(arrows["bakehouse"], BTreeSet::from(["edge", "origin", "release", "renderer"]));
}

#[test]
fn the_core_is_pure() {
    let metadata = metadata();
    let release = list(&metadata["packages"]).iter().find(|p| text(&p["name"]) == "release").unwrap();
    let impure = ["tokio", "hyper", "axum", "reqwest", "tracing", "metrics", "rustix", "rand", "notify"];
    let found: Vec<&str> = list(&release["dependencies"])
        .iter()
        .filter(|d| d["kind"].is_null())
        .map(|d| text(&d["name"]))
        .filter(|name| impure.contains(name) || name.starts_with("aws-"))
        .collect();
    assert!(found.is_empty(), "`release` has no clock, network, log or random numbers of its own: {found:?}");
}

/// Whether an SPDX expression can be satisfied by permissive licences alone.
fn permissive(expression: &str) -> bool {
    const ALLOWED: [&str; 15] = [
        "MIT",
        "MIT-0",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "IJG",
        "ISC",
        "NCSA",
        "Unicode-3.0",
        "Unlicense",
        "Zlib",
    ];
    let expression = expression.trim();
    // The old way of writing `OR`.
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    let parts = |separator: &str| -> Option<Vec<String>> {
        let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
        for (i, c) in expression.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ if depth == 0 && expression[i..].starts_with(separator) => {
                    parts.push(expression[start..i].to_owned());
                    start = i + separator.len();
                }
                _ => {}
            }
        }
        parts.push(expression[start..].to_owned());
        (parts.len() > 1).then_some(parts)
    };
    if let Some(parts) = parts(" OR ") {
        return parts.iter().any(|p| permissive(p));
    }
    if let Some(parts) = parts(" AND ") {
        return parts.iter().all(|p| permissive(p));
    }
    match expression.strip_prefix('(').and_then(|e| e.strip_suffix(')')) {
        Some(inner) => permissive(inner),
        None => ALLOWED.contains(&expression.as_str()),
    }
}

#[test]
fn licence_expressions_are_understood() {
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR LGPL-2.1-or-later", true),
        ("MIT AND LGPL-2.1-or-later", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND EUPL-1.2", false),
        ("Apache-2.0 / MIT", true),
        ("Apache-2.0/MIT", true),
        ("", false),
    ] {
        assert_eq!(permissive(expression), expected, "{expression}");
    }
}

#[test]
fn everything_linked_is_permissive() {
    let metadata = metadata();
    let bad: Vec<String> = list(&metadata["packages"])
        .iter()
        .filter(|p| !permissive(text(&p["license"])))
        .map(|p| format!("{} {}: {}", text(&p["name"]), text(&p["version"]), p["license"]))
        .collect();
    assert!(bad.is_empty(), "licences that may not be linked:\n{}", bad.join("\n"));
}

#[test]
fn what_must_stay_out_is_out() {
    let metadata = metadata();
    let out: BTreeMap<&str, &str> = BTreeMap::from([
        ("arborium-nginx", "its grammar is GPL"),
        ("giallo", "EUPL"),
        ("aws-lc-sys", "minutes of C build; TLS is rustls on ring"),
        ("openssl-sys", "TLS is rustls on ring"),
    ]);
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        assert!(!out.contains_key(name), "{name} is in the graph: {}", out[name]);
    }
}

/// Every function that a fuzzer is meant for has one, and `just fuzz` runs it: a file that is no target of the workspace of
/// fuzzers is not built.
#[test]
fn everything_that_can_be_fuzzed_is() {
    let read =
        |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let source = read("edge/src/fuzz.rs");
    let functions: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub fn ")?.strip_suffix("(bytes: &[u8]) {"))
        .collect();
    assert!(functions.len() >= 7 && functions.len() == source.matches("\npub fn ").count(), "{functions:?}");
    let folder = root().join("fuzz/fuzz_targets");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".rs").expect("a target").to_owned())
        .collect();
    let manifest = read("fuzz/Cargo.toml");
    let listed = |key: &str, of: &dyn Fn(&str) -> String| -> BTreeSet<String> {
        let values = manifest.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        values.map(|value| of(value.trim_matches('"'))).collect()
    };
    let mut names = listed("name", &str::to_owned);
    assert!(names.remove("bakehouse-fuzz"), "the package itself: {names:?}");
    assert_eq!(names, files, "each file is a target");
    assert_eq!(
        listed("path", &str::to_owned),
        files.iter().map(|name| format!("fuzz_targets/{name}.rs")).collect()
    );
    for name in functions {
        let target = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.contains(&format!("edge::fuzz::{name}(bytes)")), "{name}: {target}");
    }
    // All of the folder are run.
    assert!(read("fuzz/run").contains("for source in fuzz_targets/*.rs; do"));
    assert!(read("justfile").contains("    fuzz/run {{seconds}} {{targets}}\n"));
}

/// The fuzzers have a lock file of their own, and are built by it as it is.
#[test]
fn the_lock_file_of_the_fuzzers_is_up_to_date() {
    let lock = std::fs::read_to_string(root().join("fuzz/Cargo.lock")).expect("fuzz/Cargo.lock");
    let metadata = metadata();
    for ours in ["edge", "release"] {
        let named = format!("name = \"{ours}\"\n");
        let entry = lock.split("[[package]]\n").find(|entry| entry.starts_with(&named)).expect("an entry");
        // A version follows the name where there are several.
        let locked: BTreeSet<&str> =
            entry.lines().filter_map(|line| line.strip_prefix(" \"")?.split([' ', '"']).next()).collect();
        let package = list(&metadata["packages"]).iter().find(|p| text(&p["name"]) == ours).unwrap();
        let needed =
            list(&package["dependencies"]).iter().filter(|d| d["kind"] != "dev" && d["optional"] == false);
        let missing: Vec<&str> =
            needed.map(|d| text(&d["name"])).filter(|name| !locked.contains(name)).collect();
        assert!(
            missing.is_empty(),
            "`cargo check` in fuzz/ adds to its lock file what {ours} needs: {missing:?}"
        );
    }
}

/// What `text` names in backquotes or links to that has the shape of a path of this repository.
fn named_paths(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    quoted
        .chain(linked)
        .map(|word| word.split(['#', ':']).next().unwrap_or_default().trim_end_matches(['.', ',']))
        .filter(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            !word.starts_with(['/', '.', '-'])
                && word.chars().all(plain)
                && (word.contains('/') || is_file_name(word))
        })
        .map(str::to_owned)
        .collect()
}

/// Whether the file `tracked` is, or lies in, what `path` names; a lone name may be anywhere.
fn is_at(tracked: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let below =
        |at: &str| tracked == at || tracked.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
    below(path) || (!path.contains('/') && tracked.rsplit('/').next() == Some(path))
}

fn is_file_name(word: &str) -> bool {
    let known = ["rs", "md", "toml", "html", "css", "js", "xml", "lock"];
    word.rsplit_once('.').is_some_and(|(stem, ending)| !stem.is_empty() && known.contains(&ending))
}

#[test]
fn architecture_names_only_what_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let paths = named_paths(&text);
    assert!(paths.len() > 20, "a code map names many files; found {paths:?}");
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let tracked = String::from_utf8(output.stdout).unwrap();
    let tracked: Vec<&str> = tracked.split_terminator('\0').collect();
    let gone: Vec<&String> = paths.iter().filter(|path| !tracked.iter().any(|t| is_at(t, path))).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is not there: {gone:?}");
}
