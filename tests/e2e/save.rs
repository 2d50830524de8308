//! From a saved file to a served page.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use crate::harness::{SOON, Up, World, site, wait_until};

#[test]
fn a_save_in_place_is_live() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    world.write("site/content/about.md", site::page("About", "Saved in place."));
    up.wait_text("/about/", "Saved in place.");
    // One line tells what changed, and how long it took.
    wait_until("the line of the publish", SOON, || {
        let said = up.process.stdout();
        said.lines().any(|line| line.contains("about/index.html") && line.contains(" ms after the save"))
    });
}

#[test]
fn what_the_system_does_not_tell_of_is_live_soon_after_the_next_save() {
    let world = World::new();
    site::small(&world, "site");
    world.write("elsewhere.md", site::page("Linked", "As it was."));
    // Another name of the same file.
    std::fs::hard_link(world.path("elsewhere.md"), world.path("site/content/linked.md")).unwrap();
    let up = world.up("site");
    up.wait_text("/linked/", "As it was.");
    let releases = up.releases().len();
    for round in ["once", "twice"] {
        // No folder of the site is touched by this.
        world.write("elsewhere.md", site::page("Linked", &format!("Changed {round} under its other name.")));
        world.write("site/content/about.md", site::page("About", &format!("Saved {round}.")));
        up.wait_text("/about/", &format!("Saved {round}."));
        up.wait_text("/linked/", &format!("Changed {round} under its other name."));
    }
    assert_eq!(up.releases().len(), releases + 4, "each save and each change beside it is found once");
}

#[test]
fn the_search_index_of_a_large_site_follows_a_save() {
    let world = World::new();
    site::small(&world, "site");
    let config = "base_url = \"https://bread.example\"\nbuild_search_index = true\ntaxonomies = [{ name = \"tags\" }]\n";
    world.write("site/zola.toml", config);
    for number in 0..520 {
        world.write(&format!("site/content/blog/p{number}.md"), site::page("Post", "Some words."));
    }
    let up = world.up("site");
    let releases = up.releases().len();
    world.write("site/content/about.md", site::page("About", "An unheard-of zwieback."));
    up.wait_text("/about/", "zwieback");
    up.wait_text("/search_index.en.js", "zwieback");
    assert_eq!(up.releases().len(), releases + 2);
}

#[test]
fn a_save_by_rename_is_live() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    for round in 0..2 {
        let text = format!("Saved by rename {round}.");
        world.write("site/content/.about.md.tmp", site::page("About", &text));
        fs::rename(world.path("site/content/.about.md.tmp"), world.path("site/content/about.md")).unwrap();
        up.wait_text("/about/", &text);
    }
    assert_eq!(up.releases().len(), 3);
}

#[test]
fn a_save_as_vim_does_it_is_live() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let file = world.path("site/content/about.md");
    for round in 0..2 {
        let text = format!("Saved by vim {round}.");
        // A probe file, the old file set aside, the new one written, the old one removed.
        fs::write(world.path("site/content/4913"), "").unwrap();
        fs::remove_file(world.path("site/content/4913")).unwrap();
        fs::rename(&file, world.path("site/content/about.md~")).unwrap();
        fs::write(&file, site::page("About", &text)).unwrap();
        fs::remove_file(world.path("site/content/about.md~")).unwrap();
        up.wait_text("/about/", &text);
        assert_eq!(up.get("/").status, 200);
    }
}

#[test]
fn a_save_in_two_steps_is_one_publish() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let text = site::page("About", "Saved in two steps.");
    let mut file = fs::File::create(world.path("site/content/about.md")).unwrap();
    file.sync_all().unwrap();
    let (start, end) = text.split_at(20);
    file.write_all(start.as_bytes()).unwrap();
    file.flush().unwrap();
    file.write_all(end.as_bytes()).unwrap();
    drop(file);
    up.wait_text("/about/", "Saved in two steps.");
    assert_eq!(up.releases().len(), 2, "what was there between the steps was published");
}

#[test]
fn pages_come_and_go_with_their_files() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    assert_eq!(up.get("/blog/fourth/").status, 404);
    world.write("site/content/blog/fourth.md", "+++\ntitle = \"The fourth\"\ndate = 2024-01-04\n+++\nNew.\n");
    up.wait_text("/blog/fourth/", "New.");
    assert!(up.get("/blog/").has("The fourth"), "lists know it at the same moment");
    assert!(up.get("/sitemap.xml").has("/blog/fourth/"));
    fs::remove_file(world.path("site/content/blog/fourth.md")).unwrap();
    up.wait_status("/blog/fourth/", 404);
    assert!(!up.get("/blog/").has("The fourth"));
    // A whole folder, moved into place.
    world.write("new/_index.md", "+++\ntitle = \"News\"\n+++\n");
    world.write("new/one.md", site::page("One", "The first news."));
    fs::rename(world.path("new"), world.path("site/content/news")).unwrap();
    up.wait_text("/news/one/", "The first news.");
    fs::rename(world.path("site/content/news"), world.path("site/content/tidings")).unwrap();
    up.wait_text("/tidings/one/", "The first news.");
    up.wait_status("/news/one/", 404);
}

#[test]
fn content_that_is_moved_away_empties_no_site() {
    let world = World::new();
    site::small(&world, "site");
    let mut up = world.up("site");
    fs::rename(world.path("site/content"), world.path("away")).unwrap();
    up.process.wait_for_text("nothing in `content/` any more", SOON);
    assert!(up.get("/about/").has("Two ovens"));
    fs::rename(world.path("away"), world.path("site/content")).unwrap();
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    up.wait_text("/about/", "Three ovens.");
    fs::rename(world.path("site/content"), world.path("away")).unwrap();
    // Somebody may want it so.
    up.bake(&["publish"]).code(0);
    up.wait_status("/about/", 404);
}

#[test]
fn templates_static_files_and_configuration_are_watched_too() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    world.write("site/static/plain.txt", "other text\n");
    up.wait_text("/plain.txt", "other text");
    world.write(
        "site/templates/page.html",
        "<!doctype html><title>{{ page.title }}</title>OWN {{ page.content | safe }}",
    );
    up.wait_text("/about/", "OWN");
    let config = world.read("site/zola.toml").replace("title = \"Bread\"", "title = \"Rolls\"");
    world.write("site/zola.toml", config);
    up.wait_text("/", "Rolls");
}

#[test]
fn a_checkout_of_500_files_is_one_publish() {
    let world = World::new();
    site::small(&world, "site");
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(world.path("site"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let many = |text: &str| {
        for i in 0..500 {
            world.write(&format!("site/content/many/p{i}.md"), site::page(&format!("Page {i}"), text));
        }
    };
    world.write("site/content/many/_index.md", "+++\ntitle = \"Many\"\n+++\n");
    many("The old text.");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "old"]);
    git(&["checkout", "-q", "-b", "new"]);
    many("The new text.");
    git(&["commit", "-q", "-a", "-m", "new"]);
    git(&["checkout", "-q", "main"]);
    let up = world.up("site");
    assert!(up.get("/many/p250/").has("The old text."));
    git(&["checkout", "-q", "new"]);
    up.wait_text("/many/p499/", "The new text.");
    for page in ["/many/p0/", "/many/p250/", "/many/p1/"] {
        assert!(up.get(page).has("The new text."), "{page}");
    }
    assert_eq!(up.releases().len(), 2, "500 files are one publish");
}

#[test]
fn a_save_that_changes_nothing_makes_no_release() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let text = world.read("site/content/about.md");
    let mut quiet = 0;
    for (path, text) in [
        ("site/content/about.md", text.clone()),
        // A change of the source that gives the same page.
        ("site/content/about.md", text.replace("+++\ntitle", "+++\n\ntitle")),
        // What no page is made of.
        ("site/notes.txt", "shopping".to_owned()),
    ] {
        world.write(path, text);
        quiet += 1;
        wait_until(&format!("word of save {quiet}"), SOON, || {
            up.process.stdout().matches("nothing changed (watch)").count() >= quiet
        });
        assert_eq!(up.releases().len(), 1, "save {quiet} made a release");
    }
    world.write("site/content/blog/first.md", world.read("site/content/blog/first.md") + "Really new.\n");
    up.wait_text("/blog/first/", "Really new.");
    assert_eq!(up.releases().len(), 2);
}

#[test]
fn a_page_whose_time_is_to_come_is_told_of_without_paths() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/bakehouse.toml", "");
    let up = world.up("site");
    world.write("site/content/soon.md", "+++\ntitle = \"Soon\"\ndate = 2999-01-01\n+++\nLater.\n");
    wait_until("the line of the publish", SOON, || {
        let said = up.process.stdout();
        said.lines().any(|line| line.contains("no path differs yet; a page's time is still to come"))
    });
    assert!(!up.process.stdout().contains("()"), "{}", up.process.stdout());
    assert_eq!(up.releases().len(), 2);
    assert_eq!(up.get("/soon/").status, 404);
}

#[test]
fn a_publish_changes_exactly_what_differs() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let before = up.active();
    world.write("site/content/about.md", site::page("About", "Only this page differs."));
    up.wait_text("/about/", "Only this page differs.");
    let after = up.active();
    let diff = up.bake(&["diff", &before, &after, "--json"]).success().json();
    assert_eq!(diff["added"], serde_json::json!([]), "{diff}");
    assert_eq!(diff["removed"], serde_json::json!([]), "{diff}");
    let changed: Vec<&str> = diff["changed"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect();
    assert_eq!(changed, ["about/index.html"]);
}

/// As after `bake up 2>&1 | head`, or where a log is started again.
#[test]
fn saves_go_live_where_nobody_reads_what_is_printed() {
    let world = World::new();
    site::small(&world, "site");
    let process = Up::command(&world, "site", &["--log", "debug"], &[]).unread().start();
    let up = Up::attach(&world, "site", process);
    up.wait_text("/about/", "Two ovens");
    world.write("site/content/about.md", "+++\ntitle = \"About\n+++\nBroken.\n");
    wait_until("the failure", SOON, || up.metric("bakehouse_publish_failures_total", &[]) > 0.0);
    world.write("site/content/about.md", site::page("About", "Mended."));
    up.wait_text("/about/", "Mended.");
    // What only prints ends, as if by SIGPIPE.
    assert_eq!(world.bake("site", &["check", "--json"]).unread().run().status.code(), Some(141));
}

#[test]
fn a_broken_save_leaves_the_site_and_the_next_one_mends_it() {
    let world = World::new();
    site::small(&world, "site");
    let mut up = world.up("site");
    world.write("site/content/about.md", "+++\ntitle = \"About\n+++\nBroken.\n");
    up.process.wait_for_text("content/about.md:2", SOON);
    assert!(up.get("/about/").has("Two ovens"), "the old release stays");
    // Other saves do not go live while the site cannot be rendered; they do with the mended one.
    world.write("site/content/blog/first.md", site::page("The first", "Waiting."));
    world.write("site/content/about.md", site::page("About", "Mended."));
    up.wait_text("/about/", "Mended.");
    up.wait_text("/blog/first/", "Waiting.");
}
