//! No address vanishes silently: a publish names what leads to nothing any more, and the alias that is missing.

use crate::harness::{SOON, World, site, wait_until};
use crate::roles::Roles;

#[test]
fn a_publish_names_the_addresses_that_vanish() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let publish = |args: &[&str]| roles.publish("site", args);
    let first = publish(&[]).success();
    assert!(!first.stderr.contains("leads to nothing"), "{}", first.stderr);

    // One page has moved, one is gone, one was only changed.
    let text = world.read("site/content/blog/first.md");
    world.write("site/content/blog/dark.md", text.replace("2024-01-01", "2024-01-02"));
    std::fs::remove_file(world.path("site/content/blog/first.md")).unwrap();
    std::fs::remove_file(world.path("site/content/blog/third.md")).unwrap();
    world.write("site/content/about.md", site::page("About", "Changed."));
    let words = [
        "warning: /blog/first/ leads to nothing any more",
        "content/blog/dark.md now, write aliases = [\"blog/first\"]",
        "warning: /blog/third/ leads to nothing any more",
        "write aliases = [\"blog/third\"]",
    ];
    let plan = publish(&["--plan"]).success().says(&words);
    assert!(!plan.stderr.contains("/about/") && !plan.stderr.contains("/tags/"), "{}", plan.stderr);

    // Who wants to be held back is.
    world.write("site/bakehouse.toml", "[publish]\nvanished = \"fail\"\n");
    let before = roles.bucket.journal().0.seq;
    publish(&[]).code(1).says(&["/blog/first/ would lead to nothing", "/blog/third/", "hint:", "[publish]"]);
    assert_eq!(roles.bucket.journal().0.seq, before);

    // With the aliases nothing has vanished.
    let text = world.read("site/content/blog/dark.md");
    let alias = "aliases = [\"blog/first\", \"blog/third\"]\n";
    world.write("site/content/blog/dark.md", text.replace("[taxonomies]", &format!("{alias}[taxonomies]")));
    let done = publish(&[]).success();
    assert!(!done.stderr.contains("nothing any more"), "{}", done.stderr);

    // An alias that goes is an address that goes; who allows it hears nothing.
    world.write("site/content/blog/dark.md", text);
    publish(&[]).code(1).says(&["/blog/first/ would lead to nothing"]);
    world.write("site/bakehouse.toml", "[publish]\nvanished = \"allow\"\n");
    let done = publish(&[]).success();
    assert!(!done.stderr.contains("nothing any more"), "{}", done.stderr);
}

#[test]
fn a_save_says_so_too() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    std::fs::rename(world.path("site/content/about.md"), world.path("site/content/who-we-are.md")).unwrap();
    up.wait_text("/who-we-are/", "Two ovens");
    wait_until("the warning", SOON, || {
        let said = up.process.stderr();
        said.contains("warning: /about/ leads to nothing any more")
            && said.contains("content/who-we-are.md now, write aliases = [\"about\"]")
    });
}
