//! Releases, comparisons, rollback, resume.

use serde_json::{Value, json};

use crate::harness::{SOON, Up, World, site, wait_until};

/// Saves a text to the page `about` and waits until it is live; the id of the release.
fn publish(world: &World, up: &Up<'_>, text: &str) -> String {
    world.write("site/content/about.md", site::page("About", text));
    up.wait_text("/about/", text);
    up.active()
}

#[test]
fn releases_are_listed_newest_first() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let first = up.active();
    let second = publish(&world, &up, "Text two.");
    let published = up.bake(&["publish", "--message", "by hand", "--json"]).success().json();
    assert!(published["committed"].is_null(), "nothing changed: {published}");
    world.write("site/content/about.md", site::page("About", "Text three."));
    // The watcher and the command both see the save; whoever is first makes the release.
    up.bake(&["publish", "--message", "by hand", "--json"]).success();
    up.wait_text("/about/", "Text three.");
    let releases = up.releases();
    assert_eq!(releases.len(), 3, "{releases:#?}");
    assert_eq!(releases[1]["id"], json!(second));
    assert_eq!(releases[2]["id"], json!(first));
    assert_eq!(releases[0]["parent"], json!(second));
    assert_eq!(releases[0]["active"], json!(true));
    assert!(releases[0]["counts"]["paths"].as_u64().unwrap() > 10);
    let listed = up.bake(&["releases"]).success();
    for release in &releases {
        assert!(listed.stdout.contains(release["id"].as_str().unwrap()), "{}", listed.stdout);
    }
    assert_eq!(up.bake(&["releases", "--json"]).success().json(), json!(releases));
    let newest = up.bake(&["releases", "--json", "--limit", "1"]).success().json();
    assert_eq!(newest, json!(releases[..1]));
}

#[test]
fn diff_tells_what_was_added_changed_and_removed() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let first = up.active();
    world.write("site/content/fresh.md", site::page("Fresh", "A page more."));
    up.wait_text("/fresh/", "A page more.");
    std::fs::remove_file(world.path("site/static/plain.txt")).unwrap();
    up.wait_status("/plain.txt", 404);
    let last = publish(&world, &up, "Changed.");
    let diff = up.bake(&["diff", &first, &last, "--json"]).success().json();
    let paths = |kind: &str| -> Vec<String> {
        diff[kind].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(paths("added"), ["fresh/index.html"]);
    assert_eq!(paths("removed"), ["plain.txt"]);
    assert!(paths("changed").contains(&"about/index.html".to_owned()), "{diff}");
    assert!(!paths("changed").contains(&"blog/first/index.html".to_owned()), "{diff}");
    up.bake(&["diff", &first, &last]).success().says(&["fresh/", "plain.txt", "about/"]);
    up.bake(&["diff", &first, "20200101-000000-00000000"])
        .code(1)
        .says(&["20200101-000000-00000000", "hint:"]);
    up.bake(&["diff", &first, "nonsense"]).says(&["nonsense"]);
}

#[test]
fn rollback_is_warm() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let first = up.active();
    publish(&world, &up, "Text two.");
    // Everything is in the edge's memory now, both forms of the page that differs too.
    let paths = ["/", "/about/", "/blog/", "/blog/first/", "/blog/second/", "/blog/third/", "/plain.txt"];
    for path in paths {
        assert_eq!(up.get(path).status, 200);
    }
    let rolled = up.bake(&["rollback", "--wait", "--json"]).success().json();
    assert_eq!(rolled["release"], json!(first));
    assert_eq!(rolled["diff"]["changed"], json!(["about/index.html"]));
    assert_eq!(rolled["edges"][0]["state"], json!("applied"), "{rolled}");
    let before = up.metric("bakehouse_edge_upstream_requests_total", &[]);
    for path in paths.iter().filter(|p| **p != "/about/") {
        let reply = up.get(path);
        assert_eq!(reply.status, 200);
        let status = reply.field("cache-status").unwrap();
        assert!(status.contains("hit"), "{path}: {status}");
    }
    assert_eq!(
        up.metric("bakehouse_edge_upstream_requests_total", &[]),
        before,
        "what both releases share was fetched again"
    );
    assert!(up.get("/about/").has("Two ovens, one baker."));
}

#[test]
fn rollback_goes_to_the_release_before_or_to_any() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let first = up.active();
    let second = publish(&world, &up, "Text two.");
    let third = publish(&world, &up, "Text three.");
    up.bake(&["rollback"]).success().says(&[&second]);
    up.wait_text("/about/", "Text two.");
    // Back and forth: what was active before is now the third.
    up.bake(&["rollback"]).success();
    up.wait_text("/about/", "Text three.");
    assert_eq!(up.active(), third);
    up.bake(&["rollback", &first]).success();
    up.wait_text("/about/", "Two ovens, one baker.");
    assert_eq!(up.active(), first);
    up.bake(&["rollback", "20200101-000000-00000000"]).code(1).says(&["20200101-000000-00000000", "hint:"]);
    assert_eq!(up.active(), first);
    assert_eq!(up.releases().len(), 3, "a rollback makes no release");
}

#[test]
fn a_rollback_without_a_release_before_it_says_so() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    up.bake(&["rollback"]).code(1).says(&["error:"]);
    assert_eq!(up.get("/about/").status, 200);
}

#[test]
fn a_rollback_holds_back_saves_until_resume_also_over_a_restart() {
    let world = World::new();
    site::small(&world, "site");
    let mut up = world.up("site");
    let first = up.active();
    publish(&world, &up, "Text two.");
    up.bake(&["rollback"]).success();
    up.wait_text("/about/", "Two ovens, one baker.");
    assert_eq!(up.state()["held"], json!(true));

    world.write("site/content/about.md", site::page("About", "Text three, held."));
    up.process.wait_for_text("resume", SOON);
    assert!(up.get("/about/").has("Two ovens, one baker."));
    assert_eq!(up.active(), first);

    assert!(up.interrupt().success());
    let up = world.up("site");
    assert!(up.get("/about/").has("Two ovens, one baker."), "the start published over the rollback");
    assert_eq!(up.active(), first);
    assert_eq!(up.state()["held"], json!(true));

    up.bake(&["resume"]).success().says(&["saves and schedules publish again"]);
    up.bake(&["resume"]).success().says(&["there was nothing to resume"]);
    up.wait_text("/about/", "Text three, held.");
    assert_eq!(up.state()["held"], json!(false));
    publish(&world, &up, "Text four.");
}

#[test]
fn a_publish_by_hand_ends_a_rollback() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    publish(&world, &up, "Text two.");
    up.bake(&["rollback"]).success();
    up.wait_text("/about/", "Two ovens, one baker.");
    up.bake(&["publish", "--message", "forward again"]).success();
    up.wait_text("/about/", "Text two.");
    assert_eq!(up.state()["held"], json!(false));
    publish(&world, &up, "Text three.");
}

#[test]
fn publish_plan_changes_nothing() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let first = up.active();
    publish(&world, &up, "Text two.");
    up.bake(&["rollback"]).success();
    let plan = up.bake(&["publish", "--plan", "--json"]).success().json();
    assert_eq!(plan["diff"]["changed"], json!(["about/index.html"]), "{plan}");
    assert_eq!(plan["committed"], Value::Null);
    up.bake(&["publish", "--plan"]).success().says(&["about/"]);
    assert_eq!(up.active(), first);
    assert!(up.get("/about/").has("Two ovens, one baker."));
}

#[test]
fn publish_wait_ends_when_the_edge_has_it() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    publish(&world, &up, "Text two.");
    up.bake(&["rollback", "--wait"]).success();
    assert!(up.get("/about/").has("Two ovens, one baker."));
    let published = up.bake(&["publish", "--wait", "--json"]).success().json();
    assert_eq!(published["edges"][0]["state"], json!("applied"), "{published}");
    assert!(up.get("/about/").has("Text two."), "--wait ended too early");
}

#[test]
fn hashed_assets_of_earlier_releases_stay_reachable() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let style = |text: &str| -> String {
        let at = text.find(".css").expect("a style sheet") + 4;
        let start = text[..at].rfind(['"', '=', '/']).unwrap();
        text[start + 1..at].trim_matches('/').to_owned()
    };
    let old = format!("/{}", style(&up.get("/").text()));
    let reply = up.get(&old);
    assert_eq!(reply.status, 200, "{old}");
    assert!(reply.field("cache-control").unwrap().contains("immutable"), "{reply:?}");
    // The theme's style, replaced by one's own.
    world.write("site/static/style.css", "body { color: red }\n");
    wait_until("another style", SOON, || format!("/{}", style(&up.get("/").text())) != old);
    assert_eq!(up.get(&old).status, 200, "an open tab lost its styles");
    up.bake(&["rollback"]).success();
    wait_until("the old style", SOON, || format!("/{}", style(&up.get("/").text())) == old);
    assert_eq!(up.get(&old).status, 200);
}
