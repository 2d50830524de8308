//! `bake purge` and its receipts.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Request, SOON, Up, World, site, wait_until};
use crate::roles::{Roles, TOKEN};

/// Whether the edge answers from its memory.
fn hit(up: &Up<'_>, path: &str) -> bool {
    let reply = up.get(path);
    assert_eq!(reply.status, 200, "{path}");
    let status = reply.field("cache-status").unwrap_or_else(|| panic!("no cache-status: {reply:?}"));
    status.contains("; hit")
}

fn warm(up: &Up<'_>, paths: &[&str]) {
    for path in paths {
        up.get(path);
        assert!(hit(up, path), "{path} is not kept");
    }
}

const PATHS: [&str; 4] = ["/about/", "/blog/first/", "/blog/second/", "/plain.txt"];

/// Purges, and tells which of [`PATHS`] the edge still has.
fn left_after(args: &[&str]) -> (Vec<&'static str>, Value) {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    warm(&up, &PATHS);
    let mut all = vec!["purge", "--wait", "--json"];
    all.extend(args);
    let receipt = up.bake(&all).success().json();
    assert_eq!(receipt["applied_everywhere"], json!(true), "{receipt}");
    (PATHS.into_iter().filter(|p| hit(&up, p)).collect(), receipt)
}

#[test]
fn by_url() {
    let (left, receipt) = left_after(&["--url", "/about/"]);
    assert_eq!(left, ["/blog/first/", "/blog/second/", "/plain.txt"]);
    assert_eq!(receipt["edges"][0]["dropped"], json!(1), "{receipt}");
    assert_eq!(receipt["edges"][0]["state"], json!("applied"), "{receipt}");
    assert_eq!(receipt["selectors"][0]["paths"], json!(1), "{receipt}");
    assert!(receipt["seq"].as_u64().unwrap() > 1);
}

#[test]
fn by_prefix() {
    let (left, _) = left_after(&["--prefix", "/blog/"]);
    assert_eq!(left, ["/about/", "/plain.txt"]);
}

#[test]
fn by_group() {
    let (left, _) = left_after(&["--group", "page:/blog/first/"]);
    assert_eq!(left, ["/about/", "/blog/second/", "/plain.txt"]);
}

#[test]
fn by_tag_which_is_an_alias() {
    let (left, _) = left_after(&["--tag", "section:/blog/"]);
    assert!(left.contains(&"/about/") && !left.contains(&"/blog/first/"), "{left:?}");
}

#[test]
fn everything() {
    let (left, receipt) = left_after(&["--all"]);
    assert_eq!(left, [""; 0]);
    // All, or what a busy machine has counted within a second.
    let edge = &receipt["edges"][0];
    assert!(edge["dropped"].as_u64() >= Some(PATHS.len() as u64) || edge["counting"] == true, "{receipt}");
}

#[test]
fn several_at_once_are_one_entry() {
    let (left, receipt) = left_after(&["--url", "/about/", "--url", "/plain.txt", "--prefix", "/blog/f"]);
    assert_eq!(left, ["/blog/second/"]);
    assert_eq!(receipt["selectors"].as_array().unwrap().len(), 3);
}

#[test]
fn the_receipt_reads_well() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    warm(&up, &["/about/"]);
    let done = up.bake(&["purge", "--url", "/about/", "--wait"]).success();
    let said = done.stdout.to_lowercase();
    for word in ["/about/", "applied", "1"] {
        assert!(said.contains(word), "no `{word}`: {said}");
    }
}

#[test]
fn a_wait_names_the_edges_that_do_not_answer() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let lease = ("BAKE_EDGE_LEASE_SECONDS", "3");
    let origin = roles.origin_with(&[lease]);
    let [well, hung] = ["edge-well", "edge-hung"].map(|name| {
        let edge = roles.edge_with(&[&origin], &[lease, ("BAKE_NAME", name)]);
        assert_eq!(edge.get("/about/").status, 200);
        edge
    });
    hung.process.signal(Signal::STOP);
    let purge = |args: &[&str]| {
        let run = world.bake(".", &[&["purge", "--url", "/about/"], args].concat());
        run.var("BAKE_API", &origin.address).var("BAKE_TOKEN", TOKEN).run()
    };
    // Without --wait it does not matter.
    purge(&[]).success();
    let done = purge(&["--wait"]).code(1);
    assert!(done.stdout.contains("edge edge-well: applied"), "{}", done.stdout);
    assert!(done.stdout.contains("edge edge-hung: silent for a whole lease"), "{}", done.stdout);
    assert!(done.stderr.contains("committed, but not applied by: edge-hung\nhint: "), "{}", done.stderr);
    // It is committed: whoever comes back has it.
    assert!(!well.get("/about/").field("cache-status").unwrap().contains("; hit"));
    hung.process.signal(Signal::CONT);
    let (state, _) = roles.bucket.journal();
    assert_eq!(state.seq, 3);
    wait_until("the receipt of the one that hung", SOON, || {
        let receipt = origin.call("GET", "/v1/receipts/3", "").unwrap().json();
        let edges = receipt["edges"].as_array().unwrap();
        edges.iter().any(|edge| edge["edge"] == "edge-hung" && edge["state"] == "applied")
    });
}

#[test]
fn a_soft_purge_leaves_the_copy_to_be_renewed() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    warm(&up, &["/about/"]);
    up.bake(&["purge", "--soft", "--wait", "--url", "/about/"]).success();
    let status = up.get("/about/").field("cache-status").unwrap().to_owned();
    assert!(status.contains("hit") || status.contains("fwd=stale"), "{status}");
    wait_until("the copy's renewal", SOON, || hit(&up, "/about/"));
}

#[test]
fn a_url_that_matches_nothing_is_reported_as_that() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let receipt = up.bake(&["purge", "--url", "/no/such/page/", "--json"]).success().json();
    assert_eq!(receipt["selectors"][0]["paths"], json!(0), "{receipt}");
    up.bake(&["purge", "--url", "/no/such/page/"]).success().says(&["/no/such/page/", "match", "nothing"]);
}

#[test]
fn a_url_of_a_host_that_the_release_does_not_serve_matches_nothing() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/bakehouse.toml", "hosts = [\"bread.example\"]\n");
    let up = world.up("site");
    warm(&up, &["/about/"]);
    for foreign in [["--url", "https://cake.example/about/"], ["--prefix", "https://cake.example/about"]] {
        up.bake(&["purge", foreign[0], foreign[1]]).success().says(&[foreign[1], "match", "nothing"]);
        let receipt = up.bake(&["purge", "--wait", "--json", foreign[0], foreign[1]]).success().json();
        assert_eq!(receipt["selectors"][0]["paths"], json!(0), "{receipt}");
        assert_eq!(receipt["edges"][0]["dropped"], json!(0), "{receipt}");
        assert!(hit(&up, "/about/"), "{foreign:?}");
    }
    // Its own host, with whatever port, and the edge's own address.
    for own in ["https://Bread.example:8443/about/", &format!("{}/about/", up.edge()), "/about/"] {
        warm(&up, &["/about/"]);
        let receipt = up.bake(&["purge", "--wait", "--json", "--url", own]).success().json();
        assert_eq!(receipt["selectors"][0]["paths"], json!(1), "{own}: {receipt}");
        assert!(!hit(&up, "/about/"), "{own}");
    }
}

#[test]
fn urls_are_normalised() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    for url in
        [format!("{}/blog/../about/", up.edge()), format!("{}/%61bout/", up.edge()), "/x/../about/".into()]
    {
        warm(&up, &["/about/"]);
        up.bake(&["purge", "--wait", "--url", &url]).success();
        assert!(!hit(&up, "/about/"), "{url}");
    }
}

#[test]
fn no_token_no_purge() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    warm(&up, &["/about/"]);
    let seq = up.state()["seq"].clone();
    let body = json!({ "selectors": ["all"] }).to_string();
    for authorization in [None, Some("Bearer wrong"), Some("Basic Og=="), Some("Bearer ")] {
        let mut request =
            Request::new("POST", "/v1/purge").field("Content-Type", "application/json").body(body.clone());
        if let Some(value) = authorization {
            request = request.field("Authorization", value);
        }
        let reply = request.send(up.api()).unwrap();
        assert_eq!(reply.status, 401, "{authorization:?}: {reply:?}");
        assert!(reply.field("www-authenticate").is_some_and(|w| w.starts_with("Bearer")), "{reply:?}");
        assert!(reply.json()["error"].is_string());
        // Nor is it on the public listener.
        assert_ne!(request.send(up.edge()).unwrap().status, 200);
    }
    world
        .bake(".", &["purge", "--all"])
        .var("BAKE_API", up.api())
        .var("BAKE_TOKEN", "wrong")
        .run()
        .code(1)
        .says(&["token", "hint:"]);
    assert_eq!(up.state()["seq"], seq);
    assert!(hit(&up, "/about/"));
}

#[test]
fn every_path_of_the_api_wants_the_token() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    for (method, path) in [
        ("GET", "/v1/journal?wait_ms=0"),
        ("POST", "/v1/wake"),
        ("POST", "/v1/publish"),
        ("POST", "/v1/blobs/missing"),
        ("GET", "/v1/releases"),
        ("GET", "/v1/status"),
        ("GET", "/v1/diff"),
        ("POST", "/v1/rollback"),
        ("POST", "/v1/resume"),
        ("GET", "/v1/receipts/1"),
    ] {
        let reply = Request::new(method, path).send(up.api()).unwrap();
        assert_eq!(reply.status, 401, "{method} {path}: {reply:?}");
    }
}

#[test]
fn reason_and_selectors_stand_in_the_journal() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let receipt = up
        .bake(&["purge", "--url", "/about/", "--group", "g", "--reason", "wrong prices", "--json"])
        .success()
        .json();
    let seq = receipt["seq"].as_u64().unwrap();
    let bucket = up.bucket();
    let keys = bucket.keys(&world, "sites/");
    let key = keys
        .iter()
        .find(|k| k.contains("/journal/") && k.rsplit('/').next().unwrap().parse() == Ok(seq))
        .unwrap_or_else(|| panic!("no entry {seq}: {keys:?}"));
    let entry: Value = serde_json::from_slice(&bucket.get(&world, key)).unwrap();
    let purge = entry["effects"].as_array().unwrap().iter().find(|e| e["kind"] == "purge").unwrap();
    assert_eq!(purge["reason"], json!("wrong prices"));
    assert_eq!(purge["soft"], json!(false));
    assert_eq!(purge["selectors"].as_array().unwrap().len(), 2);
    assert_eq!(purge["selectors"][1], json!({ "group": "g" }));
}

#[test]
fn usage_is_explained() {
    let world = World::new();
    world.bake(".", &["purge"]).run().code(2).says(&["--url", "--all"]);
    world.bake(".", &["purge", "--all", "--nonsense"]).run().code(2).says(&["--nonsense"]);
    // Nobody to talk to.
    world
        .bake(".", &["purge", "--all"])
        .var("BAKE_API", "http://127.0.0.1:1")
        .var("BAKE_TOKEN", "t")
        .run()
        .code(1)
        .says(&["127.0.0.1:1", "hint:"]);
}
