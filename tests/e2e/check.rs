//! `bake check`: what it says, how it ends, and how it treats other hosts.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::upstream::{Answer, Upstream, response};
use crate::harness::{World, site};

#[test]
fn a_site_is_checked_and_nothing_is_written() {
    let world = World::new();
    site::small(&world, "site");
    world.write(
        "site/content/about.md",
        "+++\ntitle = \"About\"\n+++\n\n[plain](/plain.txt) [third](@/blog/third.md)\n",
    );
    let done = world.bake("site", &["check"]).ok();
    assert!(done.stdout.contains("0 errors, 0 warnings in 6 pages"), "{}{}", done.stdout, done.stderr);

    world.write(
        "site/content/about.md",
        "+++\ntitle = \"About\"\n+++\n\nSee [the blog](/blgo/), [x](@/blog/first.md#no).\n\n![](/oven.png)\n",
    );
    let done = world.bake("site", &["check", "."]).run().code(1);
    done.says(&[
        "error: the link `/blgo/` leads to nothing",
        " --> content/about.md:5:",
        "hint: did you mean `/blog/`?",
        "`@/blog/first.md#no`",
        "error: the file `/oven.png` does not exist",
        " --> content/about.md:7:",
        "warning: no output names the file",
        " --> static/plain.txt",
        "errors, 2 warnings in 6 pages",
    ]);
    let json = world.bake("site", &["check", "--json"]).run().code(1);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["errors"], 3, "{report}");
    let rules: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
    for rule in ["link", "fragment", "missing-file", "alt-text", "unused-file"] {
        assert!(rules.contains(&rule), "{rule}: {rules:?}");
    }
    assert_eq!(report["findings"][0]["path"], "content/about.md");
    assert!(!world.path("site/.bakehouse").exists() && !world.path("site/public").exists());

    // Warnings alone are no failure, unless they are to be.
    world.write("site/content/about.md", site::page("About", "Nothing."));
    world.bake("site", &["check"]).ok();
    world.bake("site", &["check", "--deny-warnings"]).run().code(1).says(&["0 errors, 1 warning in"]);
    world.bake("site", &["check", "--external", "--skip-external-links"]).run().code(2);
    world.bake(".", &["check", "nowhere"]).run().code(1).says(&["nowhere", "hint:"]);

    // A configuration that says nothing is in the report like all else.
    world.write("site/bakehouse.toml", "[edge]\nmemroy = \"1 GiB\"\n");
    let report = world.bake("site", &["check", "--json"]).run().code(1).json();
    assert_eq!((&report["errors"], &report["findings"][0]["line"]), (&1.into(), &2.into()), "{report}");
}

/// What is wrong with `bakehouse.toml` hides nothing of the pages, and what they lack for it is not told.
#[test]
fn pages_are_looked_at_beside_a_configuration_that_is_wrong() {
    let world = World::new();
    site::small(&world, "site");
    let write = |path: &str, text: &str| world.write(&format!("site/{path}"), text);
    write("templates/page.html", "{{ data.loaves[0].name }} {{ page.content | safe }}");
    write("content/about.md", "+++\ntitle = \"About\"\n+++\n$\\frac12$\n\n[x](@/nowhere.md) [own](#gone)\n");
    write("data/loaves.csv", "name\nRye\n");
    let source = "[[source]]\nname = \"loaves\"\ntype = \"file\"\npath = \"data/loaves.csv\"\n[markdown]\nmath = true\n";
    let said = |config: String| {
        write("bakehouse.toml", &config);
        let done = world.bake("site", &["check"]).run().code(1);
        let done = done.says(&["`@/nowhere.md` leads to no content", "`#gone` leads to a heading"]);
        assert!(!done.stderr.contains("loaves") && !done.stderr.contains("frac"), "{}", done.stderr);
        done.stderr
    };
    // Its good parts are in force.
    assert!(said(format!("nonsense = 1\n{source}")).contains("unknown key `nonsense`"));
    // What a source would have given is not missed, whether its own table is wrong or nothing can be read.
    assert!(
        said(source.replace("file", "fiel").replace("\"loaves\"", "\"rolls\""))
            .contains("unknown variant `fiel`")
    );
    assert!(said(format!("[edge\n{source}")).contains("bakehouse.toml:1"));
}

#[test]
fn the_documentation_of_the_repository_is_good() {
    let world = World::new();
    let done = world.bake(".", &["check", env!("CARGO_MANIFEST_DIR"), "--deny-warnings"]).ok();
    assert!(done.stdout.contains("0 errors, 0 warnings"), "{}", done.stdout);
}

/// An internet of one machine: a proxy that answers for every host.
fn internet() -> Upstream {
    let busy = AtomicUsize::new(0);
    Upstream::start(move |asked| {
        let method = asked.text.split(' ').next().unwrap_or_default();
        let html = [("content-type", "text/html")];
        let answer = |status: u16, fields: &[(&str, &str)], body: &str| {
            let whole = response(status, fields, body);
            // A response to HEAD has no content, whatever its length says.
            let end = if method == "HEAD" { whole.len() - body.len() } else { whole.len() };
            Answer::Send(whole[..end].to_vec())
        };
        match asked.target() {
            "http://good.bread.net/" => answer(200, &html, "good"),
            "http://good.bread.net/places" => answer(200, &html, "<h2 id=\"oven\">Oven</h2>"),
            "http://get.bread.net/" if method == "HEAD" => answer(405, &[], ""),
            "http://get.bread.net/" => answer(200, &html, "good"),
            "http://moved.bread.net/" => answer(301, &[("location", "http://good.bread.net/")], ""),
            "http://trap.bread.net/" => answer(302, &[("location", "http://127.0.0.1:1/")], ""),
            "http://loop.bread.net/" => answer(302, &[("location", "http://loop.bread.net/")], ""),
            "http://busy.bread.net/" if busy.fetch_add(1, Ordering::SeqCst) == 0 => {
                answer(429, &[("retry-after", "1")], "")
            }
            "http://busy.bread.net/" => answer(200, &html, "good"),
            "http://shy.bread.net/" => answer(403, &[], ""),
            "http://jar.bread.net/" => {
                answer(302, &[("location", "http://jar.bread.net/"), ("set-cookie", "a=b")], "")
            }
            weary if weary.starts_with("http://weary.bread.net/") => {
                answer(429, &[("retry-after", "7200")], "")
            }
            mute if mute.starts_with("http://mute.bread.net/") => Answer::Send(b"nonsense\r\n\r\n".to_vec()),
            _ => answer(404, &[], "gone"),
        }
    })
}

#[test]
fn other_hosts_are_asked_politely_and_remembered() {
    let world = World::new();
    site::small(&world, "site");
    std::fs::remove_file(world.path("site/static/plain.txt")).unwrap();
    let links = |names: &[&str]| {
        let links: Vec<String> = names.iter().map(|name| format!("- <http://{name}>\n")).collect();
        world.write("site/content/about.md", site::page("About", &links.concat()));
    };
    let internet = internet();
    let check = |args: &[&str]| {
        let all: Vec<&str> = ["check"].iter().chain(args).copied().collect();
        world
            .bake("site", &all)
            .var("HTTP_PROXY", &internet.url)
            .var("XDG_CACHE_HOME", world.path("cache"))
            .run()
    };
    links(&[
        "good.bread.net/",
        "get.bread.net/",
        "busy.bread.net/",
        "good.bread.net/places#oven",
        "good.bread.net/places#oven:~:text=Oven",
        "127.0.0.1:1/",
    ]);
    // Nobody is asked unless someone wants that.
    let done = check(&[]).code(0);
    assert!(done.stdout.contains("to other hosts were not asked for"), "{}", done.stdout);
    assert!(internet.asked().is_empty());
    let done = check(&["--external"]).code(0);
    assert!(done.stdout.contains("(4 to other hosts)"), "{}{}", done.stdout, done.stderr);
    let asked = internet.asked();
    assert!(asked.iter().all(|a| a.field("user-agent").unwrap_or_default().starts_with("bakehouse/")));
    let methods: Vec<&str> = asked.iter().map(|a| a.text.split(' ').next().unwrap()).collect();
    assert!(methods.contains(&"HEAD") && methods.contains(&"GET"), "{methods:?}");
    // Answers are kept between two runs, for their owner alone.
    let before = internet.asked().len();
    check(&["--external"]).code(0);
    assert_eq!(internet.asked().len(), before);
    let cache = world.path("cache/bakehouse/links.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&cache).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // A host that wants to be left alone is, and one that does not answer is not asked for each of its links.
    let many = |host: &str| (0..8).map(|n| format!("{host}.bread.net/{n}")).collect::<Vec<_>>();
    let all = [many("weary"), many("mute"), vec!["jar.bread.net/".to_owned()]].concat();
    links(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let before = internet.asked().len();
    check(&["--external"]).code(1).says(&[
        "was not looked at: its server asks for fewer requests",
        "error: the link `http://mute.bread.net/0` cannot be reached",
        "was not looked at: its host does not answer",
        "warning: the link `http://jar.bread.net/` was not looked at: its server redirects who brings no cookies",
    ]);
    let asked = internet.asked().split_off(before);
    let of = |host: &str| asked.iter().filter(|a| a.target().contains(host)).count();
    assert!(of("weary") <= 2 && (6..=7).contains(&of("mute")), "{} {}", of("weary"), of("mute"));

    links(&[
        "gone.bread.net/x",
        "moved.bread.net/",
        "trap.bread.net/",
        "loop.bread.net/",
        "shy.bread.net/",
        "good.bread.net/places#fridge",
    ]);
    check(&["--external"]).code(1).says(&[
        "error: the link `http://gone.bread.net/x` is answered with 404",
        " --> content/about.md:4:",
        "warning: the link `http://moved.bread.net/` has moved for good",
        "hint: write http://good.bread.net/",
        "`http://trap.bread.net/` is redirected to where no public host is",
        "`http://loop.bread.net/` is redirected more than 10 times",
        "warning: the link `http://shy.bread.net/` is answered with 403",
        "`http://good.bread.net/places#fridge` names a place that is not on its page",
        "4 errors, 2 warnings",
    ]);
    // The configuration can ask for it, and say how bad it is.
    let config = world.read("site/zola.toml");
    world.write(
        "site/zola.toml",
        format!("{config}[link_checker]\nexternal_level = \"warn\"\nskip_prefixes = [\"http://loop.\"]\n"),
    );
    check(&[]).code(0).says(&["warning: the link `http://gone.bread.net/x`"]);
    let done = check(&["--skip-external-links"]).code(0);
    assert!(!done.stderr.contains("gone.bread.net"), "{}", done.stderr);
}
