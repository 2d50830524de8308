//! A file of redirects: each line answers with its status, wherever a site is served from.

use crate::harness::{SOON, World, site, wait_until};
use crate::roles::Roles;

#[test]
fn a_file_of_redirects_is_served_built_and_counted() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/bakehouse.toml", "");
    world.write(
        "site/static/_redirects",
        "# from the old site\n/imprint /about/#who 301\n/shop https://shop.example/?from=bread 302\n/old/page.html /blog/\n",
    );
    let up = world.up("site");
    for (path, status, to) in [
        ("/imprint", 301, "/about/#who"),
        ("/imprint/", 301, "/about/#who"),
        ("/imprint?x=1", 301, "/about/#who"),
        ("/shop", 302, "https://shop.example/?from=bread"),
        ("/old/page.html", 308, "/blog/"),
    ] {
        for _ in 0..2 {
            let reply = up.get(path);
            assert_eq!((reply.status, reply.field("location")), (status, Some(to)), "{path}: {reply:?}");
        }
    }
    assert_eq!(up.get("/_redirects").status, 404);

    // A save reaches the edge: another status, a line that is new, one that is gone.
    world.write("site/static/_redirects", "/imprint /about/ 302\n/new /blog/\n/old/page.html /blog/\n");
    up.wait_status("/new", 308);
    let reply = up.get("/imprint");
    assert_eq!((reply.status, reply.field("location")), (302, Some("/about/")));
    assert_eq!(up.get("/shop").status, 404);
    wait_until("the warning", SOON, || {
        up.process.stderr().contains("warning: /shop/ leads to nothing any more")
    });
    drop(up);

    world.bake("site", &["build", "--out", "out"]).run().success();
    assert!(world.read("site/out/imprint/index.html").contains("https://bread.example/about/"));
    assert!(!world.path("site/out/_redirects").exists());
    world.write("site/static/_redirects", "/a /b\n/news/* /blog/:splat\n");
    world.bake("site", &["build", "--out", "out"]).run().code(1).says(&[
        "static/_redirects:2:1",
        "`/news/*` stands for more than one address",
        "hint: write a line for each address",
    ]);

    // A page that has moved is not gone where a line says where it is.
    world.write("site/bakehouse.toml", "[publish]\nvanished = \"fail\"\n");
    world.write("site/static/_redirects", "");
    let roles = Roles::bucket(&world);
    roles.publish("site", &[]).success();
    std::fs::remove_file(world.path("site/content/blog/third.md")).unwrap();
    roles.publish("site", &[]).code(1).says(&["/blog/third/ would lead to nothing"]);
    world.write("site/static/_redirects", "/blog/third /blog/\n");
    roles.publish("site", &[]).success();
}
