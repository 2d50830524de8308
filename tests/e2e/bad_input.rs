//! Everything that can be wrong with what is given: one clear message, the old release stays, nothing hangs.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use crate::harness::http::{connect, raw};
use crate::harness::{Reply, Request, SOON, Up, World, site, wait_until};

/// A way to break a site.
struct Breakage {
    /// Files to write, and their content.
    files: Vec<(&'static str, Vec<u8>)>,
    /// What the message must hold.
    words: &'static [&'static str],
}

fn breakages() -> Vec<Breakage> {
    let of = |files: &[(&'static str, &[u8])], words| Breakage {
        files: files.iter().map(|(path, content)| (*path, content.to_vec())).collect(),
        words,
    };
    let about = |text: &str, words| of(&[("content/about.md", text.as_bytes())], words);
    let content = |text: &str, words| about(&site::page("About", text), words);
    let template = |text: &[u8], words| of(&[("templates/page.html", text)], words);
    let config = |text: &[u8], words| of(&[("zola.toml", text)], words);
    let bakehouse = |text: &[u8], words| of(&[("bakehouse.toml", text)], words);
    let huge = vec![b'a'; (10 << 20) + 1];
    vec![
        about("+++\ntitle = \"About\n+++\nText.\n", &["content/about.md:2"]),
        about("---\ntitle: [About\n---\nText.\n", &["content/about.md:"]),
        about("+++\ntitle = \"About\"\nText without an end.\n", &["content/about.md", "+++"]),
        about("+++\ntitle = 3\n+++\n", &["content/about.md:2:1", "`title` is a text, not a number"]),
        of(
            &[("content/about.md", b"+++\ntitle = \"About\"\n+++\nInvalid: \xff\xfe\n")],
            &["content/about.md", "UTF-8"],
        ),
        content("\nA [link](@/nowhere.md).", &["content/about.md:5:", "nowhere.md"]),
        content("\n{{ nope() }}", &["content/about.md:5:4", "unknown function `nope`", "`bake import`"]),
        content("\n{{ \"a\" | upperr }}", &["content/about.md:5:10", "unknown filter `upperr`", "`upper`?"]),
        content("\n{{ <Nope /> }}", &["content/about.md:5:", "unknown component `Nope`", "component Nope"]),
        content(
            "\n{% include \"about.html\" %}",
            &["content/about.md:5:12", "unknown template `about.html`", "templates/about.html"],
        ),
        content("\n{{ 1 }} {{ page.title", &["content/about.md:5:22", "{% raw %}"]),
        of(
            &[("content/twin.md", b"+++\ntitle = \"Twin\"\npath = \"about\"\n+++\n")],
            &["content/twin.md", "content/about.md", "about/"],
        ),
        of(&[("static/about", b"A file.\n")], &["static/about", "content/about.md", "`about/index.html`"]),
        about("+++\naliases = [\"../../x\"]\n+++\n", &["content/about.md", "`../../x/index.html`", "`..`"]),
        about("+++\npath = \"../x\"\n+++\n", &["content/about.md:2", "`path` leads out", "`..`"]),
        of(
            &[
                ("bakehouse.toml", b""),
                ("content/about.md", site::page("About", "\n![An oven](oven.png)").as_bytes()),
            ],
            &["content/about.md:5:1", "oven.png", "static/"],
        ),
        of(
            &[
                ("bakehouse.toml", b""),
                ("content/about.md", site::page("About", "\n<img src=\"/oven.png\">").as_bytes()),
            ],
            &["content/about.md:5:11", "/oven.png", "static/"],
        ),
        of(&[("content/huge.md", &huge)], &["content/huge.md", "10485761", "page_bytes_max"]),
        template(b"<p>{{ page.title }</p>", &["templates/page.html:1:", "`{{ … }}`"]),
        template(b"<p>\xff</p>", &["templates/page.html:1:4", "UTF-8"]),
        template(b"<p>\n{{ no_such_function() }}</p>", &["templates/page.html:2:4", "no_such_function"]),
        template(b"{% extends \"page.html\" %}", &["page.html"]),
        template(b"{% include \"page.html\" %}", &["page.html"]),
        of(
            &[
                ("templates/page.html", b"{% include \"a.html\" %}"),
                ("templates/a.html", b"{% include \"b.html\" %}"),
                ("templates/b.html", b"{% include \"c.html\" %}"),
                ("templates/c.html", b"{% include \"a.html\" %}"),
            ],
            &["templates/a.html", "includes itself", "a.html → b.html → c.html → a.html"],
        ),
        config(
            b"base_url = \"https://bread.example\"\nbase_ulr = 1\n",
            &["zola.toml:2:1", "base_ulr", "base_url"],
        ),
        config(b"base_url = \n", &["zola.toml:1", "`key = value`"]),
        config(
            b"base_url = \"https://bread.example\"\nfeed_limit = \"ten\"\n",
            &["zola.toml:2:14", "\"ten\", expected a whole number", "without quotes"],
        ),
        config(b"base_url = \"\xff\"\n", &["zola.toml:1:13", "UTF-8"]),
        bakehouse(b"[[schedul]]\nname = \"x\"\n", &["bakehouse.toml:1:3", "schedul", "`schedule`?"]),
        bakehouse(b"[edge]\nmemory = \"three\"\n", &["bakehouse.toml:2:10", "\"three\"", "such as `512MiB`"]),
        bakehouse(b"site = \"x\"\nhosts = [\"\xff\"]\n", &["bakehouse.toml:2", "UTF-8"]),
        bakehouse(b"[images]\nquality = 0\n", &["bakehouse.toml", "quality = 0", "from 1 to 100"]),
        bakehouse(
            b"[[schedule]]\nname = \"x\"\ncron = \"61 * * * *\"\n",
            &["bakehouse.toml", "61 * * * *", "five fields"],
        ),
        bakehouse(
            b"\n[[source]]\nname = \"x\"\ntype = \"sql\"\ndatabase = \"no.db\"\n",
            &["bakehouse.toml:2", "`x`", "`query`"],
        ),
    ]
}

impl Breakage {
    /// Breaks the site, and says what was there before.
    fn make(&self, world: &World) -> Vec<(String, Option<Vec<u8>>)> {
        let of = |(path, content): &(&str, Vec<u8>)| {
            let path = format!("site/{path}");
            let before = std::fs::read(world.path(&path)).ok();
            // At once: half of what is too large is not.
            world.write("written", content);
            std::fs::create_dir_all(world.path(&path).parent().unwrap()).unwrap();
            std::fs::rename(world.path("written"), world.path(&path)).unwrap();
            (path, before)
        };
        self.files.iter().map(of).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.files.iter().map(|(path, _)| *path).collect()
    }
}

/// What was there, or nothing, put back.
fn restore(world: &World, before: &[(String, Option<Vec<u8>>)]) {
    for (path, before) in before.iter().rev() {
        match before {
            Some(bytes) => world.write(path, bytes),
            None => std::fs::remove_file(world.path(path)).unwrap(),
        }
    }
}

#[test]
fn a_build_names_the_file_and_what_to_do() {
    let world = World::new();
    site::small(&world, "site");
    for breakage in breakages() {
        let before = breakage.make(&world);
        let done = world
            .bake("site", &["build", "--out", "../out"])
            .run()
            .code(1)
            .says(&["error: ", "hint: "])
            .says(breakage.words);
        let said = &done.stderr;
        assert!(said.len() < 4_000, "one clear message, not {} bytes:\n{said}", said.len());
        for inner in ["error: error", "__tera", "Some(", "struct "] {
            assert!(!said.contains(inner), "`{inner}` is not for people:\n{said}");
        }
        restore(&world, &before);
    }
    world.bake("site", &["build", "--out", "../out"]).ok();
}

#[test]
fn the_old_release_stays_live_through_every_breakage() {
    let world = World::new();
    site::small(&world, "site");
    let mut up = world.up("site");
    for (round, breakage) in breakages().into_iter().enumerate() {
        let said = |up: &Up<'_>| up.process.stderr().matches("not published").count();
        let errors = said(&up);
        let before = breakage.make(&world);
        wait_until(&format!("an error about {:?}", breakage.names()), SOON, || {
            assert!(up.process.ended().is_none());
            said(&up) > errors
        });
        assert!(up.get("/about/").has("Two ovens"), "{:?}", breakage.names());
        assert_eq!(up.get("/blog/first/").status, 200);
        assert_eq!(up.get("/huge/").status, 404);
        restore(&world, &before);
        let text = format!("Round {round} is over.");
        world.write(
            "site/content/blog/first.md",
            format!("+++\ntitle = \"The first\"\ndate = 2024-01-01\n+++\n{text}\n"),
        );
        up.wait_text("/blog/first/", &text);
    }
}

#[test]
fn a_page_of_100_mb_is_refused_by_a_limit_that_can_be_set() {
    let world = World::new();
    site::small(&world, "site");
    let mut up = world.up("site");
    let file = std::fs::File::create(world.path("site/content/huge.md")).unwrap();
    file.set_len(100 << 20).unwrap();
    let limit = ["content/huge.md", "104857600", "10485760", "hint:", "page_bytes_max"];
    world.bake("site", &["build", "--out", "../out"]).run().code(1).says(&limit);
    up.process.wait_for_text("content/huge.md", SOON);
    assert!(up.get("/about/").has("Two ovens"), "the old release stays live");
    assert_eq!(up.get("/huge/").status, 404);

    // What is too large is said by the site, in both directions.
    std::fs::remove_file(world.path("site/content/huge.md")).unwrap();
    let large = site::page("Large", &"Bread and rolls.\n".repeat(700_000));
    assert!(large.len() > 11 << 20);
    world.write("large/zola.toml", "base_url = \"https://bread.example\"\n");
    world.write("large/content/large.md", large);
    let build = || world.bake("large", &["build", "--out", "../large.out"]);
    build().run().code(1).says(&["content/large.md", "10485760"]);
    world.write("large/bakehouse.toml", "[limits]\npage_bytes_max = 12_000_000\n");
    build().ok();
    assert!(world.read("large.out/large/index.html").contains("Bread and rolls."));
    world.write("large/bakehouse.toml", "[limits]\npage_bytes_max = 11_000_000\n");
    build().run().code(1).says(&["content/large.md", "11000000"]);
}

#[test]
fn a_static_file_that_takes_the_place_of_a_page_is_told() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/static/about/index.html", "<p>By hand.</p>");
    world.write("site/static/robots.txt", "By hand.");
    world.write("site/static/atom.xml", "By hand.");
    let build = || world.bake("site", &["build", "--out", "../out"]).ok();
    assert_eq!(build().stderr, "", "as Zola has it");
    world.write("site/bakehouse.toml", "");
    let words = ["static/about/index.html", "content/about.md", "hint: "];
    // Also by a build that finds nothing to do.
    for _ in 0..2 {
        let done = build().says(&["warning: "]).says(&words);
        assert_eq!(done.stderr.matches("warning: ").count(), 1, "{}", done.stderr);
    }
    let done = world.bake("site", &["check"]).run().says(&["warning: "]).says(&words);
    assert_eq!(done.stderr.matches("takes the place").count(), 1, "{}", done.stderr);
    let mut up = world.up("site");
    for word in words {
        up.process.wait_for_text(word, SOON);
    }
    assert!(up.get("/about/").has("By hand."));
}

#[test]
fn a_missing_image_is_an_error_where_there_is_a_bakehouse_toml() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/content/about.md", site::page("About", "![An oven](oven.png)"));
    world.bake("site", &["build", "--out", "../out"]).ok();
    world.write("site/bakehouse.toml", "");
    let words = ["content/about.md:4", "oven.png", "hint:"];
    world.bake("site", &["build", "--out", "../out"]).run().code(1).says(&words);
    let html = "Before.\n\n<p><img src=\"oven.png\"></p>";
    world.write("site/content/about.md", site::page("About", html));
    let words = ["content/about.md:6", "oven.png", "hint:"];
    world.bake("site", &["build", "--out", "../out"]).run().code(1).says(&words);
    world.bake("site", &["check"]).run().code(1).says(&words);
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    let world = World::new();
    site::small(&world, "site");
    let config = world.read("site/zola.toml");
    world.write("site/zola.toml", format!("generate_feed = true\n{config}"));
    world
        .bake("site", &["build", "--out", "../out"])
        .run()
        .code(1)
        .says(&["generate_feed", "`generate_feeds`"]);
}

/// `bake` in a mount namespace of its own, after a script made the mounts; `$1` is the world's folder.
fn in_namespace(world: &World, mounts: &str, args: &[&str]) -> crate::harness::Process {
    let script = format!("set -e; {mounts}; shift; exec \"$@\"");
    let folder = world.folder().to_str().unwrap().to_owned();
    let mut all = vec!["--mount", "--", "sh", "-c", &script, "sh", &folder, env!("CARGO_BIN_EXE_bake")];
    all.extend(args);
    if !rustix::process::getuid().is_root() {
        // In a user namespace, whoever makes it may mount.
        all.insert(0, "--map-root-user");
    }
    world.program("unshare", ".", &all).start()
}

#[test]
fn a_folder_that_is_read_only_is_named() {
    let world = World::new();
    site::small(&world, "site");
    world.write("ro/keep", "");
    let ro = world.path("ro");
    let site = world.path("site");
    let mounts = "mount -t tmpfs -o ro tmpfs \"$1/ro\"";
    let listen = ["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--bucket-listen", "127.0.0.1:0"];
    let data = ro.join("data");
    let mut args = vec!["up", site.to_str().unwrap(), "--data", data.to_str().unwrap()];
    args.extend(listen);
    let mut process = in_namespace(&world, mounts, &args);
    assert_eq!(process.wait(SOON).code(), Some(1));
    let said = process.stderr();
    assert!(said.contains(ro.to_str().unwrap()) && said.contains("ead-only"), "{said}");
    assert!(said.contains("hint:"), "{said}");

    let out = ro.join("out");
    let args = ["build", site.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut process = in_namespace(&world, mounts, &args);
    assert_eq!(process.wait(SOON).code(), Some(1));
    let said = process.stderr();
    assert!(said.contains(ro.to_str().unwrap()) && said.contains("ead-only"), "{said}");
}

#[test]
fn a_site_on_a_read_only_medium_is_served() {
    let world = World::new();
    site::small(&world, "site");
    let mounts = "mount --bind \"$1/site\" \"$1/site\"; mount -o remount,bind,ro \"$1/site\"";
    let site = world.path("site");
    let data = world.path("site.data");
    let process = in_namespace(
        &world,
        mounts,
        &[
            "up",
            site.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
            "--bucket-listen",
            "127.0.0.1:0",
        ],
    );
    let up = Up::attach(&world, "site", process);
    assert!(up.get("/about/").has("Two ovens"));
}

#[test]
fn a_full_disk_keeps_the_old_release_and_is_said() {
    let world = World::new();
    site::small(&world, "site");
    std::fs::create_dir_all(world.path("site.data")).unwrap();
    let mounts = "mount -t tmpfs -o size=24m tmpfs \"$1/site.data\"";
    let site = world.path("site");
    let data = world.path("site.data");
    let process = in_namespace(
        &world,
        mounts,
        &[
            "up",
            site.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
            "--bucket-listen",
            "127.0.0.1:0",
        ],
    );
    // The folder as that process sees it.
    let inside = format!("/proc/{}/root{}", process.pid(), data.display());
    let mut up = Up::attach_at(&world, "site", process, &Path::new(&inside).join("up.json"));
    let filler = Path::new(&inside).join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let block = vec![1_u8; 4_096];
    while file.write_all(&block).is_ok() {}
    drop(file);

    world.write("site/content/about.md", site::page("About", "There is no room for this."));
    up.process.wait_for_text("trying again", SOON);
    let said = up.process.stderr();
    assert!(said.contains("o space left") && said.contains("hint: free space"), "{said}");
    assert!(said.lines().filter(|line| line.contains("ERROR")).count() <= 1, "{said}");
    assert!(up.get("/about/").has("Two ovens"));
    assert_eq!(up.get("/blog/first/").status, 200);
    std::fs::remove_file(&filler).unwrap();
    // By itself.
    up.wait_text("/about/", "There is no room for this.");
}

#[test]
fn a_build_onto_a_full_disk_says_what_to_do() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/static/large.bin", vec![1; 3 << 20]);
    world.write("out/keep", "");
    let (site, out) = (world.path("site"), world.path("out"));
    let args = ["build", site.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut process = in_namespace(&world, "mount -t tmpfs -o size=2m tmpfs \"$1/out\"", &args);
    assert_eq!(process.wait(SOON).code(), Some(1));
    let said = process.stderr();
    // Whichever was written when the large one had taken the room.
    assert!(said.contains("/out/") && said.contains("o space left"), "{said}");
    assert!(said.contains("hint: free space"), "{said}");
}

#[test]
fn a_corrupted_blob_is_never_served_and_is_reported() {
    let world = World::new();
    site::small(&world, "site");
    world.write("site/static/whole.txt", "These bytes are whole.\n");
    let up = world.up("site");
    let bucket = up.bucket();
    let digest = blake3::hash(b"These bytes are whole.\n").to_hex().to_string();
    let keys = bucket.keys(&world, "sites/");
    let key = keys.iter().find(|k| k.contains("/blobs/") && k.ends_with(&digest)).expect("the blob");
    let put = |content: &[u8]| {
        world.write("blob", content);
        bucket
            .aws(&world, &["s3api", "put-object", "--bucket", &bucket.name, "--key", key, "--body", "blob"])
            .success();
    };
    put(b"These bytes are wrong.\n");
    assert!(up.interrupt().success());
    // A process that has never seen the right bytes.
    let mut up = world.up("site");
    for _ in 0..3 {
        let reply = up.get("/whole.txt");
        assert!(reply.status >= 500, "{reply:?}");
        assert!(!reply.has("wrong"));
    }
    up.process.wait_for_text(&digest, SOON);
    assert!(up.metric("bakehouse_digest_mismatches_total", &[]) >= 1.0);
    assert_eq!(up.get("/about/").status, 200, "other pages are none the worse");
    // Mended, it is fetched again by itself.
    let bucket = up.bucket();
    world.write("blob", "These bytes are whole.\n");
    bucket
        .aws(&world, &["s3api", "put-object", "--bucket", &bucket.name, "--key", key, "--body", "blob"])
        .success();
    up.wait_text("/whole.txt", "These bytes are whole.");
}

#[test]
fn malformed_requests_get_an_answer_or_a_closed_connection() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let requests: Vec<Vec<u8>> = vec![
        b"\r\n\r\n\r\n".to_vec(),
        b"nonsense\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\nName: \x00\r\n\r\n".to_vec(),
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        vec![0; 4_096],
    ];
    for request in &requests {
        for base in [up.edge(), up.api(), up.bucket().endpoint.as_str()] {
            let mut bytes = request.clone();
            if bytes.ends_with(b"\r\n\r\n") {
                // So that what is answered at all is answered to its end.
                let at = bytes.len() - 2;
                bytes.splice(at..at, b"Connection: close\r\n".iter().copied());
            }
            let reply = half_closed(base, &bytes);
            if !reply.is_empty() {
                let text = String::from_utf8_lossy(&reply).into_owned();
                assert!(text.starts_with("HTTP/1."), "{request:?} at {base}: {text}");
                let ours = ["500", "502", "503", "504"].iter().any(|s| text[9..].starts_with(s));
                assert!(!ours, "{request:?} at {base}: {text}");
            }
        }
    }
    assert_eq!(up.get("/about/").status, 200);
}

/// Sends, says that nothing more comes, and reads to the end.
/// Each thing once, and no Rust.
#[test]
fn a_bucket_that_cannot_be_used_is_named_in_a_line() {
    let world = World::new();
    site::small(&world, "site");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let publish = |vars: &[(&str, &str)]| {
        let done = world.bake("site", &["publish", "--bucket-name", "b", "--bucket-endpoint", &endpoint]);
        let done = done.var("AWS_EC2_METADATA_DISABLED", "true").vars(vars).run().failure();
        let line = done.stderr.lines().find(|line| line.starts_with("error: ")).unwrap().to_owned();
        assert!(!line.contains(" { ") && line.matches("probe/verdict").count() == 1, "{line}");
        line
    };
    let line = publish(&[("BAKE_BUCKET_ACCESS_KEY_ID", "A"), ("BAKE_BUCKET_SECRET_ACCESS_KEY", "secret")]);
    assert_eq!(line.matches("Connection refused").count(), 1, "{line}");
    assert_eq!(publish(&[]).matches("no credentials: ").count(), 1);
}

fn half_closed(base: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(base).unwrap();
    let mut reply = Vec::new();
    // A server may close at any point: that is an answer too.
    if stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write)).is_ok() {
        std::io::Read::read_to_end(&mut stream, &mut reply).ok();
    }
    reply
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let bucket = up.bucket().endpoint;
    let words = |base: &str, reply: &Reply| match reply.field("content-type").unwrap_or("none") {
        // Each as all its other errors.
        "text/html; charset=utf-8" if base == up.edge() => reply.text(),
        "application/json" if base == up.api() => {
            let failure = reply.json();
            assert!(failure["hint"].is_string(), "{failure}");
            failure["error"].as_str().unwrap().to_owned()
        }
        "application/xml" if base == bucket => {
            reply.text().split("<Message>").nth(1).unwrap().split('<').next().unwrap().to_owned()
        }
        other => panic!("{other} from {base}: {reply:?}"),
    };
    for base in [up.edge(), up.api(), bucket.as_str()] {
        let nonsense = Request::new("NON SENSE", "/about/").send(base).unwrap();
        assert_eq!(nonsense.status, 400, "{base}: {nonsense:?}");
        let said = words(base, &nonsense);
        assert!(said.contains("malformed") || base == up.edge(), "{base}: {said}");
        // The bucket's bound holds for what it has not read yet.
        let long = Request::get("/about/")
            .field("X-Long", &"x".repeat(if base == bucket { 200 << 10 } else { 64 << 10 }));
        let reply = long.send(base).unwrap_or_else(|e| panic!("{base}: {e}"));
        assert_eq!(reply.status, 431, "{base}: {reply:?}");
        assert!(words(base, &reply).contains("head"), "{base}: {reply:?}");
    }
    for server in ["origin", "bucket"] {
        let label = format!("server=\"{server}\"");
        wait_until("what was counted", SOON, || {
            up.metric("bakehouse_unreadable_requests_total", &[&label]) == 2.0
        });
    }
    let target = format!("/{}", "a".repeat(64 << 10));
    let reply =
        raw(up.edge(), format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
    let text = String::from_utf8_lossy(&reply);
    assert!(
        ["414", "431", "400", "404"].iter().any(|s| text.starts_with(&format!("HTTP/1.1 {s}"))),
        "{text}"
    );
    assert_eq!(up.get("/about/").status, 200);
}

#[test]
fn bodies_of_the_api_are_bounded_and_checked() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    for body in ["", "nonsense", "{}", "[]", r#"{"selectors": []}"#, r#"{"selectors": [{"colour": "red"}]}"#]
    {
        let reply = Request::new("POST", "/v1/purge")
            .field("Authorization", &format!("Bearer {}", up.token()))
            .field("Content-Type", "application/json")
            .body(body)
            .send(up.api())
            .unwrap();
        assert!((400..500).contains(&reply.status), "{body}: {reply:?}");
        assert!(reply.json()["error"].is_string(), "{body}: {reply:?}");
    }
    assert_eq!(up.state()["seq"], 1);
}
