//! What a render knows outlives its process: the next build, publish or start renders what something changed for.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, SystemTime};

use crate::harness::{Fate, Proxy, SOON, World, files, paths, settle, site, wait_until};
use crate::roles::{Roles, TOKEN};

/// Files below a folder, by path, with their bytes and when they were modified.
fn dated(root: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let file = |path: PathBuf| (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
    paths(root).into_iter().map(|(name, path)| (name, file(path))).collect()
}

/// The paths that differ in bytes or time.
fn touched(
    before: &BTreeMap<String, (Vec<u8>, SystemTime)>,
    after: &BTreeMap<String, (Vec<u8>, SystemTime)>,
) -> Vec<String> {
    let paths = before.keys().chain(after.keys());
    let mut touched: Vec<String> =
        paths.filter(|path| before.get(*path) != after.get(*path)).cloned().collect();
    touched.sort();
    touched.dedup();
    touched
}

/// The folder holds just what a build that knows nothing makes.
fn is_clean(world: &World) {
    let clean = tempfile::tempdir_in(world.folder()).unwrap();
    world.bake("site", &["build", "--out", clean.path().to_str().unwrap(), "--no-memo"]).ok();
    assert!(files(clean.path()) == files(&world.path("out")));
}

fn record(world: &World) -> PathBuf {
    let folder = world.path("site/.bakehouse/builds");
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    // Builds into other folders have theirs beside it: this is of the first.
    entries.into_iter().min_by_key(|path| path.metadata().unwrap().ino()).unwrap()
}

#[test]
fn a_build_renders_what_something_changed_for() {
    let world = World::new();
    site::small(&world, "site");
    settle();
    let build = |args: &[&str]| world.bake("site", &[&["build", "--out", "../out"], args].concat()).ok();
    build(&[]).says(&["4 pages"]);
    let first = dated(&world.path("out"));

    build(&[]).says(&["4 pages", "nothing to render"]);
    assert_eq!(touched(&first, &dated(&world.path("out"))), Vec::<String>::new());

    world.write("site/content/about.md", site::page("About", "Three ovens."));
    settle();
    build(&[]).says(&["1 rendered"]);
    let second = dated(&world.path("out"));
    assert_eq!(touched(&first, &second), ["about/index.html"]);
    is_clean(&world);
    build(&[]).says(&["nothing to render"]);

    // A title is in lists and in the navigation of all pages; not in what has no navigation.
    world.write("site/content/about.md", site::page("About us", "Three ovens."));
    settle();
    build(&[]);
    let third = dated(&world.path("out"));
    let renamed = touched(&second, &third);
    assert!(renamed.contains(&"index.html".to_owned()), "{renamed:?}");
    assert!(!renamed.contains(&"robots.txt".to_owned()) && renamed.len() < third.len(), "{renamed:?}");
    is_clean(&world);

    std::fs::remove_file(world.path("site/content/blog/first.md")).unwrap();
    build(&[]);
    assert!(!world.path("out/blog/first").exists());
    is_clean(&world);
}

#[test]
fn a_file_that_comes_and_goes_between_builds_leaves_nothing() {
    let world = World::new();
    site::small(&world, "site");
    settle();
    let build = || world.bake("site", &["build", "--out", "../out"]).ok();
    // So new that its time says nothing of whether it has changed since.
    world.write("site/content/new.md", site::page("New", "Only for a while."));
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    std::fs::File::open(world.path("site/content/new.md")).unwrap().set_modified(soon).unwrap();
    build();
    assert!(world.path("out/new/index.html").exists());
    std::fs::remove_file(world.path("site/content/new.md")).unwrap();
    build();
    assert!(!world.path("out/new").exists());
    is_clean(&world);
}

#[test]
fn a_file_that_becomes_a_folder_is_one_in_the_output_too() {
    let world = World::new();
    site::small(&world, "site");
    let build = || world.bake("site", &["build", "--out", "../out"]).ok();
    let (file, within) = ("site/static/shop", "site/static/shop/deep/list.txt");
    for _ in 0..2 {
        world.write(file, "a file");
        build();
        is_clean(&world);
        std::fs::remove_file(world.path(file)).unwrap();
        world.write(within, "a file in a folder");
        build();
        is_clean(&world);
        std::fs::remove_dir_all(world.path(file)).unwrap();
    }
    // What somebody else has put there stays.
    world.write("out/shop/mine.txt", "of somebody else");
    world.write(file, "a file");
    world.bake("site", &["build", "--out", "../out"]).run().failure().says(&["a folder is there"]);
    assert_eq!(world.read("out/shop/mine.txt"), "of somebody else");
}

#[test]
fn what_a_build_that_failed_has_written_is_made_good_by_the_next() {
    let world = World::new();
    site::small(&world, "site");
    settle();
    let build = || world.bake("site", &["build", "--out", "../out"]);
    build().ok();
    let about = world.read("site/content/about.md");
    world.write("site/content/about.md", site::page("About", "Written by a build that failed."));
    world.write("site/content/new.md", site::page("New", "New."));
    world.write("site/templates/404.html", "{{ section.nope.nope }}");
    settle();
    build().run().failure();
    std::fs::remove_file(world.path("site/templates/404.html")).unwrap();
    std::fs::rename(world.path("site/content/new.md"), world.path("site/content/newer.md")).unwrap();
    world.write("site/content/about.md", about);
    settle();
    build().ok();
    assert!(!world.path("out/new").exists());
    is_clean(&world);
}

#[test]
fn what_somebody_did_to_the_output_is_mended() {
    let world = World::new();
    site::small(&world, "site");
    settle();
    let build = || world.bake("site", &["build", "--out", "../out"]).ok();
    build();
    std::fs::remove_file(world.path("out/about/index.html")).unwrap();
    world.write("out/blog/index.html", "not what was built");
    world.write("out/mine.txt", "of somebody else");
    // An edit may keep size and time.
    let page = world.path("out/blog/first/index.html");
    let modified = page.metadata().unwrap().modified().unwrap();
    world.write(
        "out/blog/first/index.html",
        world.read("out/blog/first/index.html").replace("first", "worst"),
    );
    std::fs::File::options().write(true).open(&page).unwrap().set_modified(modified).unwrap();
    build().says(&["3 rendered"]);
    assert_eq!(world.read("out/mine.txt"), "of somebody else");
    std::fs::remove_file(world.path("out/mine.txt")).unwrap();
    is_clean(&world);
    std::fs::remove_dir_all(world.path("out")).unwrap();
    build();
    is_clean(&world);
}

#[test]
fn a_memo_that_is_damaged_costs_time_alone() {
    let world = World::new();
    site::small(&world, "site");
    settle();
    let build = || world.bake("site", &["build", "--out", "../out"]).ok();
    build();
    let place = record(&world);
    let whole = std::fs::read(&place).unwrap();
    for at in [0, 40, whole.len() / 2, whole.len() - 1] {
        let mut broken = whole.clone();
        broken[at] ^= 0x20;
        std::fs::write(&place, &broken).unwrap();
        world.write("site/content/about.md", site::page("About", &format!("Byte {at}.")));
        build();
        is_clean(&world);
    }
    std::fs::write(&place, &whole[..whole.len() / 2]).unwrap();
    build();
    is_clean(&world);
}

#[test]
fn what_the_environment_says_is_read_and_not_kept() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/templates/404.html", "{{ get_env(name=\"BAKERY_SECRET\", default=\"none\") }}");
    settle();
    let build =
        |secret: &str| world.bake("site", &["build", "--out", "../out"]).var("BAKERY_SECRET", secret).ok();
    build("rye-and-water");
    assert_eq!(world.read("out/404.html"), "rye-and-water");
    build("rye-and-water").says(&["nothing to render"]);
    build("spelt-and-salt").says(&["1 rendered"]);
    assert_eq!(world.read("out/404.html"), "spelt-and-salt");
    let place = record(&world);
    assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read(place).unwrap();
    assert!(!kept.windows(14).any(|window| window == b"spelt-and-salt"));
}

#[test]
fn a_build_explains_itself() {
    let world = World::new();
    site::small(&world, "site");
    settle();
    let explain = |path: &str| world.bake("site", &["build", "--out", "../out", "--explain", path]).ok();
    explain("/about/").says(&["about/index.html was rendered", "is not remembered"]);
    explain("/about/").says(&["was not rendered", "content of content/about.md"]);
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    settle();
    explain("https://bread.example/about")
        .says(&["about/index.html was rendered", "text of content/about.md"]);
    explain("nowhere/").says(&["nowhere/index.html is no output of this site"]);
    explain("content/about.md").says(&["content/about.md is no output", "it makes about/index.html"]);
    // What goes because nobody asks for it: all that it read is as it was.
    world.write("site/content/about.md", "+++\ntitle = \"About\"\naliases = [\"us\"]\n+++\n");
    settle();
    explain("/us/").says(&["us/index.html was rendered"]);
    world.write("site/content/about.md", "+++\ntitle = \"About\"\nslug = \"who\"\naliases = [\"us\"]\n+++\n");
    settle();
    explain("/us/").says(&["us/index.html was rendered: something else makes it now, or it leads elsewhere"]);
    world.write("site/content/about.md", site::page("About", "Four ovens."));
    settle();
    explain("/us/").says(&["us/index.html is made no more: nothing asks for it"]);
    // A page that is there and is left out.
    world.write("site/bakehouse.toml", "");
    for (line, why) in [
        ("draft = true", "is a draft"),
        ("date = 2999-01-02", "is of 2999-01-02, which is to come"),
        ("expiry_date = 2001-01-02", "expired on 2001-01-02"),
    ] {
        world.write("site/content/about.md", format!("+++\ntitle = \"About\"\n{line}\n+++\n"));
        settle();
        explain("/about/").says(&["about/index.html is left out: content/about.md", why]);
    }
}

/// How many outputs a command says that it rendered.
fn rendered(log: &str) -> usize {
    let at = log.find("rendered=").unwrap_or_else(|| panic!("nothing was rendered:\n{log}"));
    log[at + 9..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Makes a folder one that nothing was published from yet.
fn forget(world: &World, site: &str) {
    std::fs::remove_dir_all(world.path(&format!("{site}/.bakehouse/memo"))).unwrap();
}

#[test]
fn a_publish_where_nothing_changed_asks_for_no_memo() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let through = roles.bucket.at(proxy.address());
    // How many outputs were rendered, and how many requests were about what renderers know.
    let publish = |site: &str| {
        let seen = proxy.seen().len();
        let done = world.bake(site, &["publish", "--log", "info"]).vars(&through.vars()).ok();
        let asked = proxy.seen()[seen..].iter().filter(|(asked, _)| asked.contains("memo")).count();
        (rendered(&format!("{}{}", done.stdout, done.stderr)), asked)
    };
    let (all, _) = publish("site");
    assert_eq!(publish("site"), (0, 0));
    // A checkout elsewhere asks once, and so does this one when the other has published.
    site::small(&world, "fresh");
    let (rendered, asked) = publish("fresh");
    assert!(rendered == 0 && asked > 0, "{rendered} rendered, {asked} asked");
    assert_eq!(publish("fresh"), (0, 0));
    for folder in ["fresh", "site"] {
        world.write(&format!("{folder}/content/about.md"), site::page("About", "Three ovens."));
        let (rendered, asked) = publish(folder);
        assert!(rendered == usize::from(folder == "fresh") && asked > 0, "{folder}: {rendered}, {asked}");
        assert_eq!(publish(folder), (0, 0), "{folder}");
    }
    // What is damaged here is not believed, and the bucket has another.
    let here = world.path("site/.bakehouse/memo/main");
    let mut bytes = std::fs::read(&here).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&here, bytes).unwrap();
    let (rendered, asked) = publish("site");
    assert!(rendered == 0 && asked > 0 && all > 10, "{rendered} rendered, {asked} asked");
}

#[test]
fn a_fresh_checkout_publishes_what_it_changes() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    let publish = |site: &str| {
        let done = world.bake(site, &["publish", "--log", "info"]).vars(&roles.bucket.vars()).ok();
        rendered(&format!("{}{}", done.stdout, done.stderr))
    };
    site::small(&world, "site");
    let all = publish("site");
    assert!(all > 10, "{all}");
    let memos = roles.bucket.keys(&world, "sites/main/memo/");
    assert_eq!(memos.len(), 1, "{memos:?}");

    site::small(&world, "fresh");
    assert_eq!(publish("fresh"), 0);
    world.write("fresh/content/about.md", site::page("About", "Three ovens."));
    assert_eq!(publish("fresh"), 1);
    // A checkout that is behind brings back what it has, though the memo is older than what is live.
    site::small(&world, "behind");
    assert_eq!(publish("behind"), 1);
    let (state, _) = roles.bucket.journal();
    assert_eq!(state.seq, 3);

    // A page that is gone is gone, and what is damaged is not used.
    std::fs::remove_file(world.path("behind/content/blog/first.md")).unwrap();
    assert!(publish("behind") < all);
    world.write("noise", "no memo");
    for key in roles.bucket.keys(&world, "sites/main/memo/") {
        let object = format!("s3://{}/{key}", roles.bucket.name);
        roles.bucket.aws(&world, &["s3", "cp", world.path("noise").to_str().unwrap(), &object]).success();
    }
    world.write("behind/content/about.md", site::page("About", "Four ovens."));
    forget(&world, "behind");
    assert!(publish("behind") > 10);
}

/// Holds that what is live is what a publish makes that nobody ever published before.
fn is_live(world: &World, roles: &Roles<'_>, site: &str, name: &str) {
    world.bake(site, &["publish"]).vars(&roles.bucket.vars()).var("BAKE_SITE", name).ok();
    let root = |name: &str| roles.bucket.journal_of(name).0.active.unwrap().root;
    assert_eq!(root("main"), root(name), "{name}");
}

#[test]
fn a_bucket_that_fails_over_what_renderers_know_costs_time_alone() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let code = "```rust\nfn oven() {}\n```";
    world.write("site/content/code.md", site::page("Code", code));
    roles.publish("site", &[]).success();
    let proxy = Proxy::start(&roles.bucket.endpoint, |_, _| Fate::Pass);
    let through = roles.bucket.at(proxy.address());
    let fates = [
        ("GET", Fate::Refuse(500)),
        ("GET", Fate::Refuse(403)),
        ("GET", Fate::Refuse(404)),
        ("GET", Fate::HalfReply),
        ("GET", Fate::LoseReply),
        ("PUT", Fate::Refuse(403)),
        ("PUT", Fate::LoseReply),
        ("DELETE", Fate::Refuse(403)),
    ];
    for (n, (of, fate)) in fates.into_iter().enumerate() {
        proxy.decide(move |method, target| match method == of && target.contains("memo") {
            true => fate,
            false => Fate::Pass,
        });
        forget(&world, "site");
        world.write("site/content/about.md", site::page("About", &format!("{n} ovens.")));
        world.write("site/templates/page.html", format!("{n} {{{{ page.content | safe }}}}"));
        let done = world.bake("site", &["publish", "--log", "info"]).vars(&through.vars()).ok();
        if of == "GET" && !matches!(fate, Fate::Refuse(404)) {
            done.says(&["what other renderers know cannot be read; everything is rendered"]);
        }
        is_live(&world, &roles, "site", &format!("clean{n}"));
    }
}

#[test]
fn nobody_waits_for_what_a_renderer_keeps_for_others() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let origin = roles.origin();
    let is_memo = |method: &str, target: &str| method == "PUT" && target.contains("/memo/");
    let proxy = Proxy::start(&roles.bucket.endpoint, move |method, target| match is_memo(method, target) {
        true => Fate::Hold,
        false => Fate::Pass,
    });
    let _renderer = world
        .bake("elsewhere", &["renderer"])
        .vars(&roles.bucket.at(proxy.address()).vars())
        .var("BAKE_ORIGINS", &origin.address)
        .var("BAKE_TOKEN", TOKEN)
        .start();
    let publish = |limit: Duration| {
        let run = world.bake("site", &["publish"]).var("BAKE_API", &origin.address).var("BAKE_TOKEN", TOKEN);
        run.run_within(limit).success()
    };
    publish(Duration::from_secs(45));
    wait_until("a memo that is uploaded", SOON, || {
        proxy.seen().iter().any(|(asked, fate)| asked.contains("/memo/") && *fate == Fate::Hold)
    });
    // A request to the bucket that gets no answer is given up after half a minute.
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    publish(SOON);
    is_live(&world, &roles, "site", "clean");
}

#[test]
fn a_publish_that_is_killed_while_it_keeps_what_it_knows_costs_time_alone() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let (asked, asks) = mpsc::channel();
    let (go_on, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let proxy = Proxy::start(&roles.bucket.endpoint, move |method, target| {
        if method == "PUT" && target.contains("/memo/") {
            asked.send(()).unwrap();
            waits.lock().unwrap().recv().ok();
            return Fate::LoseRequest;
        }
        Fate::Pass
    });
    world.write("site/templates/page.html", "{{ page.title }}");
    std::fs::remove_dir_all(world.path("site/content/blog")).unwrap();
    // Nobody begins with what is there, so that there is much to keep.
    for key in roles.bucket.keys(&world, "sites/main/memo/") {
        roles.bucket.aws(&world, &["s3", "rm", &format!("s3://{}/{key}", roles.bucket.name)]).success();
    }
    forget(&world, "site");
    let vars = roles.bucket.at(proxy.address()).vars();
    let mut publish = world.bake("site", &["publish"]).vars(&vars).start();
    asks.recv_timeout(SOON).unwrap();
    publish.kill();
    drop(go_on);
    is_live(&world, &roles, "site", "clean");
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    roles.publish("site", &[]).success();
    is_live(&world, &roles, "site", "cleaner");
}

#[test]
fn what_another_site_or_an_earlier_life_of_the_bucket_left_is_not_believed() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    let copy = |from: &str, to: &str| {
        let place = |path: &str| format!("s3://{}/sites/{path}", roles.bucket.name);
        roles.bucket.aws(&world, &["s3", "cp", "--recursive", &place(from), &place(to)]).success();
    };
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    copy("main/memo/", "kept/memo/");
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    world.bake("site", &["publish"]).vars(&roles.bucket.vars()).var("BAKE_SITE", "second").ok();
    let publish = || {
        let done = world.bake("site", &["publish", "--log", "info"]).vars(&roles.bucket.vars());
        done.var("BAKE_SITE", "second").ok()
    };
    // Of the first activation too, and of a release with the very page that is to be published now.
    copy("kept/memo/", "second/memo/");
    forget(&world, "site");
    site::small(&world, "site");
    publish().says(&["it is of another site or another release"]);
    world.bake("site", &["publish"]).vars(&roles.bucket.vars()).var("BAKE_SITE", "clean").ok();
    let root = |name: &str| roles.bucket.journal_of(name).0.active.unwrap().root;
    assert_eq!(root("second"), root("clean"));
    // All but what renderers know is begun anew: the number of the first activation is that of another release.
    world.write("site/content/about.md", site::page("About", "Four ovens."));
    let everything = format!("s3://{}/sites/main/", roles.bucket.name);
    roles.bucket.aws(&world, &["s3", "rm", "--recursive", &everything]).success();
    roles.publish("site", &[]).success();
    copy("kept/memo/", "main/memo/");
    forget(&world, "site");
    site::small(&world, "site");
    let done = roles.publish("site", &["--log", "info"]).success();
    done.says(&["of a release that cannot be read; everything is rendered"]);
    is_live(&world, &roles, "site", "cleaner");
}

#[test]
fn a_second_start_renders_nothing_again() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    assert!(up.metric("bakehouse_outputs_rendered_total", &[]) > 10.0);
    assert!(up.interrupt().success());
    let up = world.up("site");
    assert_eq!(up.metric("bakehouse_outputs_rendered_total", &[]), 0.0);
    world.write("site/content/about.md", site::page("About", "Three ovens."));
    up.wait_text("/about/", "Three ovens.");
    assert_eq!(up.metric("bakehouse_outputs_rendered_total", &[]), 1.0);
}
