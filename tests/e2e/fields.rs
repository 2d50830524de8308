//! Response fields by path: a part of a release like the content that they come with.

use crate::harness::{Request, SOON, World, site, wait_until};
use crate::roles::Roles;

#[test]
fn response_fields_by_path() {
    let world = World::new();
    site::small(&world, "site");
    world
        .write("site/content/embed.md", "+++\ntitle = \"Embed\"\naliases = [\"widget\"]\n+++\nFor frames.\n");
    let rules = |embed: &str, more: &str| {
        format!(
            "[[response]]\npath = \"/embed/\"\nfields.{embed}\n{more}\n[[response]]\npath = \"/**\"\n\
             fields.Strict-Transport-Security = \"max-age=31536000\"\nfields.X-Frame-Options = \"DENY\"\n\n\
             [[response]]\npath = \"/*.txt\"\nfields.Access-Control-Allow-Origin = \"*\"\n"
        )
    };
    let csp = "Content-Security-Policy = \"frame-ancestors 'self'\"";
    let link = "fields.Link = \"</plain.txt>; rel=preload; as=fetch\"\n";
    world.write("site/bakehouse.toml", rules(csp, link));
    let up = world.up("site");
    let has = |path: &str, fields: &[(&str, Option<&str>)]| {
        let reply = up.get(path);
        for (name, value) in fields {
            assert_eq!(reply.field(name), *value, "{path} {name}: {reply:?}");
        }
        reply
    };
    let all = [("strict-transport-security", Some("max-age=31536000")), ("x-frame-options", Some("DENY"))];
    for path in ["/", "/about/", "/about", "/nowhere", "/widget", "/plain.txt", "/blog/first/"] {
        has(path, &all);
        has(path, &[("content-security-policy", None)]);
    }
    let framed = [
        ("content-security-policy", Some("frame-ancestors 'self'")),
        ("link", Some("</plain.txt>; rel=preload; as=fetch")),
    ];
    let tag = has("/embed/", &framed).field("etag").unwrap().to_owned();
    has("/plain.txt", &[("access-control-allow-origin", Some("*"))]);
    has("/about/", &[("access-control-allow-origin", None)]);

    // Only what has other fields is published; a copy that is confirmed by its tag has them too.
    let before = up.active();
    world.write("site/bakehouse.toml", rules("Content-Security-Policy = \"frame-ancestors *\"", ""));
    wait_until("the release with other fields", SOON, || up.active() != before);
    let diff = up.bake(&["diff", &before, &up.active()]).success().stdout;
    let changed: Vec<&str> =
        diff.lines().filter(|line| line.trim_start().starts_with(['~', '+', '-'])).collect();
    assert_eq!(changed.len(), 1, "{diff}");
    assert!(changed[0].contains("embed/index.html"), "{diff}");
    wait_until("other fields at the edge", SOON, || {
        up.get("/embed/").field("content-security-policy") == Some("frame-ancestors *")
    });
    has(
        "/embed/",
        &[("link", None), ("etag", Some(&tag)), ("content-type", Some("text/html; charset=utf-8"))],
    );
    let fresh = up.send(&Request::get("/embed/").field("If-None-Match", &tag));
    assert_eq!((fresh.status, fresh.field("content-security-policy")), (304, Some("frame-ancestors *")));

    // What the server owns is refused with its place, and what was served stays.
    world.write("site/bakehouse.toml", rules("Cache-Control = \"no-store\"", ""));
    world.bake("site", &["build", "--out", "out"]).run().code(1).says(&[
        "bakehouse.toml:3:",
        "the response field `Cache-Control` cannot be given",
        "hint: how long responses may be kept stands in [[cache]]",
    ]);
    has("/embed/", &[("content-security-policy", Some("frame-ancestors *"))]);
}

#[test]
fn an_edge_that_reads_the_bucket_sends_them_too() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let rule = "[[response]]\npath = \"/**\"\nfields.X-Frame-Options = \"DENY\"\n";
    world.write("site/bakehouse.toml", rule);
    world.write("site/static/_redirects", "/shop https://shop.example/ 307\n");
    roles.publish("site", &[]).success();
    let origin = roles.origin();
    let edge = roles.edge(&[&origin]);
    drop(origin);
    let page = edge.get("/blog/second/");
    assert_eq!((page.status, page.field("x-frame-options")), (200, Some("DENY")), "{page:?}");
    let moved = edge.get("/shop");
    assert_eq!((moved.status, moved.field("location")), (307, Some("https://shop.example/")), "{moved:?}");
    assert_eq!(moved.field("x-frame-options"), Some("DENY"));
}
