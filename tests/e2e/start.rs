//! Starting, stopping, starting again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::http::connect;
use crate::harness::{Request, SOON, Up, World, site, wait_until};

/// Every page of this repository's own documentation, as site paths.
fn documentation() -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|e| e == "md") {
                let name = path.strip_prefix(root).unwrap().with_extension("");
                let name = name.to_str().unwrap();
                let name = name.strip_suffix("_index").unwrap_or(name).trim_end_matches('/');
                found.push(if name.is_empty() { "/".into() } else { format!("/{name}/") });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("content");
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found
}

#[test]
fn up_serves_the_documentation_of_a_fresh_clone() {
    let world = World::new();
    let up = world.up(env!("CARGO_MANIFEST_DIR"));
    let paths = documentation();
    assert!(paths.len() > 15, "{paths:?}");
    for path in &paths {
        let reply = up.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(reply.has("</html>"), "{path}");
    }
    // It says where everything is, and what to try next.
    let said = up.process.stdout();
    for word in [up.edge(), up.api(), up.bucket().endpoint.as_str(), "bake "] {
        assert!(said.contains(word), "it does not say {word}: {said}");
    }
}

#[test]
fn links_and_assets_of_the_documentation_all_lead_somewhere() {
    let world = World::new();
    let up = world.up(env!("CARGO_MANIFEST_DIR"));
    let mut todo = vec!["/".to_owned()];
    let mut seen = std::collections::BTreeSet::from(["/".to_owned()]);
    let mut dead = Vec::new();
    while let Some(path) = todo.pop() {
        let reply = up.get(&path);
        if !matches!(reply.status, 200 | 301 | 308) {
            dead.push((path, reply.status));
            continue;
        }
        if !reply.field("content-type").is_some_and(|t| t.starts_with("text/html")) {
            continue;
        }
        let text = reply.text();
        for attribute in ["href=\"", "src=\"", "href=/", "src=/"] {
            for rest in text.split(attribute).skip(1) {
                let rooted = attribute.ends_with('/');
                let link = rest.split(if rooted { [' ', '>'] } else { ['"', '"'] }).next().unwrap();
                let link = if rooted { format!("/{link}") } else { link.to_owned() };
                let link = link.split('#').next().unwrap().to_owned();
                if link.starts_with('/') && !link.starts_with("//") && seen.insert(link.clone()) {
                    todo.push(link);
                }
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:?}");
    assert!(seen.len() > 25, "{seen:?}");
}

#[test]
fn up_json_says_where_everything_is_and_is_private() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let path = up.data().join("up.json");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let keys: Vec<&String> = up.json.as_object().unwrap().keys().collect();
    for key in ["pid", "edge", "api", "admin", "bucket", "token"] {
        assert!(keys.iter().any(|k| *k == key), "{keys:?}");
    }
    for url in [up.edge(), up.api(), up.bucket().endpoint.as_str()] {
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert!(!url.ends_with(":0"), "{url}");
    }
    // Commands run in the site find the system by it, when the data is where it is unless told otherwise.
    assert_eq!(up.get("/").status, 200);
}

#[test]
fn commands_in_the_folder_of_a_site_see_into_its_edge() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    up.get("/");
    up.get("/");
    let bake = |args: &[&str]| world.bake("site", args).var("BAKE_DATA", up.data().to_str().unwrap()).run();
    let url = format!("{}/", up.edge());
    let why = bake(&["edge", "why", &url]).success();
    assert!(why.stdout.contains("hit: it is fresh"), "{}", why.stdout);
    let top = bake(&["edge", "top", "--seconds", "1", "--json"]).success();
    assert!(top.stdout.trim_start().starts_with('{'), "{}", top.stdout);
    let mut log = world
        .bake("site", &["edge", "log", "--count", "1", "path=/"])
        .var("BAKE_DATA", up.data().to_str().unwrap())
        .start();
    wait_until("a request in the log", SOON, || {
        up.get("/");
        log.stdout().contains("GET ")
    });
    assert!(log.wait(SOON).success());
    assert!(log.stdout().contains(" 200 hit "), "{}", log.stdout());
    world.write("site/bakehouse.toml", "[edge]\nmemory = 100000000\n[edge.clients]\nconnections = 500\n");
    bake(&["edge", "reload"]).success();
    world.write("site/bakehouse.toml", "[edge.clients]\nconnections = 0\n");
    let failed = bake(&["edge", "reload"]).code(1);
    assert!(failed.stderr.contains("bakehouse.toml:2"), "{}", failed.stderr);
    // A folder without a running system says what to do.
    let none = world.bake(".", &["edge", "top"]).run().code(1);
    assert!(none.stderr.contains("`bake up`"), "{}", none.stderr);
}

#[test]
fn commands_in_the_folder_of_a_site_find_its_bake_up() {
    let world = World::new();
    site::small(&world, "site");
    let mut process = world
        .bake(
            "site",
            &["up", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--bucket-listen", "127.0.0.1:0"],
        )
        .start();
    let path = world.path("site/.bakehouse/up.json");
    wait_until("up.json", SOON, || {
        assert!(process.ended().is_none());
        path.exists()
    });
    let releases = world.bake("site", &["releases", "--json"]).ok();
    assert_eq!(releases.json().as_array().unwrap().len(), 1, "{}", releases.stdout);
    process.signal(rustix::process::Signal::INT);
    assert!(process.wait(Duration::from_secs(5)).success());
    // Without it, the command says so.
    world.bake("site", &["releases"]).run().code(1).says(&["hint:"]);
}

#[test]
fn a_second_up_on_the_same_data_is_refused() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let data = up.data();
    let site = world.path("site");
    world
        .bake(
            ".",
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
        )
        .run()
        .code(1)
        .says(&["error:", data.to_str().unwrap(), "hint:"]);
    // The first one is none the worse for it.
    assert_eq!(up.get("/").status, 200);
    assert!(data.join("up.json").exists());
}

#[test]
fn interrupt_stops_within_five_seconds_and_a_restart_reuses_what_is_there() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let before = up.active();
    let data = up.data();
    let status = up.interrupt();
    assert!(status.success(), "{status}");
    assert!(!data.join("up.json").exists(), "up.json outlives its process");

    let up = world.up("site");
    assert_eq!(up.active(), before);
    assert_eq!(up.releases().len(), 1, "a start that finds nothing new makes no release");
    assert!(up.get("/blog/first/").has("This is the first post."));
}

#[test]
fn interrupt_stops_within_five_seconds_also_with_open_connections() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    // One that says nothing, one in the middle of a head, a poll of the journal.
    let idle = crate::harness::http::connect(up.edge()).unwrap();
    let mut half = crate::harness::http::connect(up.edge()).unwrap();
    std::io::Write::write_all(&mut half, b"GET / HTTP/1.1\r\nHost:").unwrap();
    let api = crate::harness::http::connect(up.api()).unwrap();
    assert!(up.interrupt().success());
    drop((idle, half, api));
}

#[test]
fn connections_without_a_request_do_not_hold_up_the_end() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let bucket = up.bucket().endpoint;
    let mut open = Vec::new();
    // As browsers keep them: some that were used, one that was opened ahead, and one that broke off in a head.
    for base in [up.edge(), up.api(), bucket.as_str()] {
        for said in ["GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "", "GET / HTTP/1.1\r\nHo"] {
            let mut client = connect(base).unwrap();
            client.write_all(said.as_bytes()).unwrap();
            if said.ends_with("\r\n\r\n") {
                assert_ne!(client.read(&mut [0; 4 << 10]).unwrap(), 0);
            }
            open.push(client);
        }
    }
    // An edge waits a second for who was just answered: perhaps it asks again.
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    assert!(up.interrupt().success());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(open);
}

/// Bytes of a download that takes longer than it takes to press Ctrl-C: more than the system keeps for a client.
const LARGE_BYTES: usize = 64 << 20;

/// A client that has begun to read a large file.
fn download<'w>(world: &'w World) -> (Up<'w>, BufReader<TcpStream>) {
    site::small(world, "site");
    let large: Vec<u8> = (0..LARGE_BYTES).map(|at| (at / 1_024) as u8).collect();
    world.write("site/static/large.bin", large);
    let up = world.up("site");
    let mut client = connect(up.edge()).unwrap();
    client.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut client = BufReader::new(client);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        client.read_line(&mut line).unwrap();
    }
    (up, client)
}

#[test]
fn a_download_in_flight_is_finished_before_the_end() {
    let world = World::new();
    let (mut up, mut client) = download(&world);
    up.process.signal(Signal::INT);
    up.process.wait_for_text("stopping", SOON);
    let mut body = vec![0; LARGE_BYTES];
    client.read_exact(&mut body).unwrap();
    assert!(body.iter().enumerate().all(|(at, byte)| *byte == (at / 1_024) as u8), "torn");
    assert!(up.process.wait(Duration::from_secs(5)).success());
}

#[test]
fn a_download_that_nobody_reads_does_not_hold_up_the_end() {
    let world = World::new();
    let (up, client) = download(&world);
    assert!(up.interrupt().success());
    drop(client);
}

#[test]
fn a_start_takes_what_was_changed_while_nothing_ran() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    assert!(up.interrupt().success());
    world.write("site/content/about.md", site::page("About", "Three ovens now."));
    let up = world.up("site");
    assert!(up.get("/about/").has("Three ovens now."), "up.json came before the first render had ended");
    assert_eq!(up.releases().len(), 2);
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let world = World::new();
    site::small(&world, "site");
    let mut seqs = Vec::new();
    let mut actives = Vec::new();
    for round in 0..3 {
        let up = world.up("site");
        if let Some(seq) = seqs.last() {
            assert!(up.state()["seq"].as_u64().unwrap() >= *seq, "an acknowledged entry is gone");
            let ids: Vec<Value> = up.releases().iter().map(|r| r["id"].clone()).collect();
            for id in &actives {
                assert!(ids.iter().any(|i| i == id), "release {id} is gone");
            }
        }
        let text = format!("Round {round}.");
        world.write("site/content/about.md", site::page("About", &text));
        up.wait_text("/about/", &text);
        let purge = up.bake(&["purge", "--url", "/about/", "--reason", &text, "--json"]).success();
        seqs.push(purge.json()["seq"].as_u64().unwrap());
        actives.push(up.active());
        up.kill();
    }
    let up = world.up("site");
    assert!(up.get("/about/").has("Round 2."));
    assert_eq!(up.active(), *actives.last().unwrap());
}

#[test]
fn a_kill_at_any_moment_of_a_start_is_survived() {
    let world = World::new();
    site::small(&world, "site");
    // Each time a little further on: after the first sign of life that has not been seen yet.
    for milestone in ["bucket", "sites", "journal"] {
        let mut process = Up::launch(&world, "site", &[], &[]);
        let data = world.path("site.data");
        wait_until(milestone, SOON, || {
            assert!(process.ended().is_none());
            fn any(folder: &Path, name: &str) -> bool {
                std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
                    entry.file_name().to_string_lossy().contains(name)
                        || (entry.path().is_dir() && any(&entry.path(), name))
                })
            }
            data.join("up.json").exists() || any(&data, milestone)
        });
        process.kill();
    }
    let up = world.up("site");
    assert!(up.get("/blog/first/").has("This is the first post."));
}

#[test]
fn the_api_says_how_it_is() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    for path in ["/healthz", "/readyz"] {
        let reply = Request::get(path).send(up.api()).unwrap();
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    let metrics = Request::get("/metrics").send(up.api()).unwrap();
    assert_eq!(metrics.status, 200);
    assert!(metrics.has("# TYPE bakehouse_"), "{}", metrics.text());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = World::new();
    site::small(&world, "site");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--api", "--bucket-listen"] {
        let mut process = Up::launch(&world, "site", &[flag, &address], &[]);
        assert_eq!(process.wait(SOON).code(), Some(1), "{flag}");
        let said = process.stderr();
        assert!(said.contains(&address) && said.contains("hint:"), "{flag}: {said}");
        assert!(!world.path("site.data/up.json").exists());
    }
}
