//! `bake edge` as its operators run it: what they watch it with, and what they give it.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::edge_upstream::{Edge, FRESH, answers};
use crate::harness::upstream::{Answer, Upstream, response};
use crate::harness::{Request, SOON, World, http, wait_until};

const TOKEN: &str = "a-token-of-the-tests";
const RECORD: &str = r#"{"time_ms":0,"id":"1","client":"::1","method":"GET","host":"h","target":"/a","status":200,"result":"hit","us":9,"bytes":1,"steps":[]}"#;

#[test]
fn whoever_reads_the_trace_goes_on_after_a_restart() {
    let world = World::new();
    let upstream = answers("hello");
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap()];
    let before = Edge::front(&world, &[&upstream], &args);
    let admin = [("BAKE_API", before.admin.as_str()), ("BAKE_TOKEN", TOKEN)];
    let mut reading = world.bake(".", &["edge", "log"]).vars(&admin).start();
    wait_until("a request", SOON, || {
        before.get("/before");
        reading.stdout().contains("/before")
    });
    let after = Edge::front(&world, &[&upstream], &args);
    wait_until("a request to the successor", SOON, || {
        after.get("/after");
        reading.stdout().contains("/after")
    });
    let said = reading.stderr();
    assert!(said.contains("the edge stops or restarts, and is waited for"), "{said}");
    assert!(said.contains("the edge is back at "), "{said}");
    // It waits for one that has gone, too.
    let Edge { mut process, .. } = after;
    process.signal(Signal::TERM);
    assert!(process.wait(SOON).success());
    let told = || reading.stderr().matches("is waited for").count();
    wait_until("its end to be told", SOON, || told() == 2);
    assert_eq!(reading.ended(), None);
}

#[test]
fn an_edge_that_goes_while_it_is_asked_is_waited_for() {
    let world = World::new();
    let top = r#"{"looked_ms":1000,"requests":7,"hits":3,"missed":0,"hot":[],"misses":[],"slow":[],"avoidable":[],
        "live":{"fetches":0,"entries":1,"bytes":9,"upstreams":[]}}"#;
    let edge = Upstream::start(move |asked| {
        let answer = if asked.target() == "/v1/log" { format!("{RECORD}\n") } else { top.to_owned() };
        Answer::Send(response(200, &[], &answer))
    });
    for (args, expected) in [
        (&["edge", "top", "--seconds", "1"][..], "7 requests in 1000 ms, 3 hits"),
        (&["edge", "log", "--count", "2"], "GET h/a 200 hit"),
    ] {
        edge.fall_over(true);
        let mut watching = world.bake(".", args).var("BAKE_API", &edge.url).var("BAKE_TOKEN", TOKEN).start();
        wait_until("it to be told", SOON, || watching.stderr().contains("is waited for"));
        edge.fall_over(false);
        assert!(watching.wait(SOON).success());
        assert!(watching.stdout().contains(expected), "{}", watching.stdout());
        assert!(watching.stderr().contains("the edge is back at "), "{}", watching.stderr());
    }
    // One that is back may have another token.
    let asked = AtomicUsize::new(0);
    let refuses = Upstream::start(move |_| {
        let status = if asked.fetch_add(1, Ordering::SeqCst) == 0 { 200 } else { 401 };
        Answer::Send(response(status, &[], "{\"error\":\"the token is missing or wrong\"}"))
    });
    let told = world.bake(".", &["edge", "log", "--api", &refuses.url, "--token", TOKEN]).run().code(1);
    assert!(told.stderr.contains("error: the token is missing or wrong"), "{}", told.stderr);
}

#[test]
fn failures_of_many_requests_do_not_fill_the_log() {
    let world = World::new();
    let upstream = answers("hello");
    let edge = Edge::front(&world, &[&upstream], &[]);
    upstream.fall_over(true);
    let left_out = "WARN events like the next are left out, since there were too many: ";
    let mut asked = 0;
    wait_until("what was left out to be told", SOON, || {
        asked += 1;
        edge.get("/");
        edge.process.stderr().contains(left_out)
    });
    let said = edge.process.stderr();
    let told = said.matches("no response").count();
    let counts = said.lines().filter_map(|line| line.strip_prefix(left_out)?.parse::<usize>().ok());
    let missing: usize = counts.sum();
    assert!(missing > 0 && told < asked, "{asked} failed, {told} were told: {said}");
}

#[test]
fn a_client_that_goes_amid_its_upload_is_no_warning() {
    let world = World::new();
    let upstream = answers("hello");
    let edge = Edge::front(&world, &[&upstream], &[]);
    let mut client = http::connect(&edge.address).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9\r\n\r\nbegin").unwrap();
    drop(client);
    wait_until("the end of the upload", SOON, || {
        edge.metric("bakehouse_edge_results_total", &["failed"]) == 1.0
    });
    upstream.fall_over(true);
    edge.get("/after");
    wait_until("the failure to be told", SOON, || edge.process.stderr().contains("no response"));
    let said = edge.process.stderr();
    assert_eq!(said.matches("no response").count(), 1, "{said}");
    assert!(said.contains("/after"), "{said}");
}

#[test]
fn an_explanation_says_which_parts_are_stored() {
    let world = World::new();
    let fields = [FRESH[0], ("etag", "\"1\""), ("content-range", "bytes 2-6/10")];
    let upstream = Upstream::start(move |_| Answer::Send(response(206, &fields, "hello")));
    let edge = Edge::front(&world, &[&upstream], &[]);
    edge.ask(Request::get("/").field("Range", "bytes=2-6"));
    let why = edge.bake(&["edge", "why", "http://site.test/"]).success().stdout;
    assert!(why.contains("selected: 206, 5 B (bytes 2-6/10), live, \"1\""), "{why}");
}

#[test]
fn each_answer_counts_as_one_result() {
    const CLIENTS: usize = 10;
    let world = World::new();
    // Of those who wait, none may have what the first one gets.
    let upstream = Upstream::start(|asked| {
        let fields = match asked.target() {
            "/old" => &[FRESH[0], ("age", "9999")][..],
            _ => &[("cache-control", "private, max-age=9")],
        };
        Answer::Held(Vec::new(), response(200, fields, "hello"))
    });
    let edge = Edge::front(&world, &[&upstream], &[]);
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let address = edge.address.clone();
            std::thread::spawn(move || {
                Request::get("/").field("Host", "site.test").send(&address).unwrap().status
            })
        })
        .collect();
    let waiting = (CLIENTS - 1) as f64;
    wait_until("the others to wait", SOON, || edge.metric("bakehouse_edge_collapsed_total", &[]) >= waiting);
    upstream.release();
    for status in asking {
        assert_eq!(status.join().unwrap(), 200);
    }
    assert_eq!(edge.get("/old").status, 200);
    upstream.fall_over(true);
    assert_eq!(edge.get("/failed").status, 502);
    let results = |of: &[&str]| edge.metric("bakehouse_edge_results_total", of);
    let all = edge.metric("bakehouse_edge_requests_total", &[]);
    assert_eq!((results(&[]), all), (all, (CLIENTS + 2) as f64));
    assert_eq!((results(&["forward"]), results(&["failed"])), ((CLIENTS + 1) as f64, 1.0));
}

#[test]
fn an_upstream_that_is_not_checked_any_more_has_passed_nothing() {
    let world = World::new();
    let sick = Upstream::start(|asked| {
        Answer::Send(response(if asked.target() == "/health" { 500 } else { 200 }, &FRESH, "hello"))
    });
    let configure = |more: &str| {
        world.write("conf/bakehouse.toml", format!("[edge]\nupstream = [\"{}\"]\n{more}", sick.url));
    };
    configure("health_path = \"/health\"\n");
    let edge = Edge::start(&world, &["--config", "conf", "--health-seconds", "1", "--log", "info"]);
    let is_up = || edge.metric("bakehouse_edge_upstream_up", &[]);
    wait_until("the checks to fail", SOON, || is_up() == 0.0);
    configure("");
    edge.bake(&["edge", "reload"]).success();
    assert_eq!(is_up(), 1.0);
    let said = edge.process.stderr();
    assert!(said.contains("upstream is not checked any more, and counts as healthy"), "{said}");
    assert!(!said.contains("passes"), "{said}");
}

#[test]
fn a_handover_takes_the_place_of_nothing_but_a_socket() {
    let world = World::new();
    let start = |path: &str| {
        let path = world.path(path);
        let args = ["edge", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--handover"];
        world.bake(".", &[&args[..], &[path.to_str().unwrap()]].concat()).run().code(1).stderr
    };
    for (in_the_way, path) in [("mine", "mine"), ("next.new", "next")] {
        world.write(in_the_way, "precious");
        let told = start(path);
        assert!(told.contains(&format!("{in_the_way}` is in the way of the socket")), "{told}");
        assert!(told.contains("hint: name a path where nothing is with --handover"), "{told}");
        assert_eq!(std::fs::read_to_string(world.path(in_the_way)).unwrap(), "precious");
    }
    let told = start("nowhere/edge.sock");
    assert!(told.contains("hint: see that its folder is there"), "{told}");
}

#[test]
fn what_an_edge_is_given_and_cannot_use_is_said() {
    let world = World::new();
    world.write("conf/other.toml", "");
    let edge = ["edge", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"];
    let told = world.bake(".", &[&edge[..], &["--config", "conf"]].concat()).run().code(1).stderr;
    assert!(told.contains("there is no `conf/bakehouse.toml`"), "{told}");
    assert!(told.contains("hint: name the folder that holds a bakehouse.toml"), "{told}");
    for name in ["BAKE_ADMIN_TOKEN", "BAKE_EDGE_TOKEN"] {
        let admin = [&edge[..], &["--admin", "127.0.0.1:0"]].concat();
        let told = world.bake(".", &admin).var(name, "").run().code(2).stderr;
        assert!(told.contains("a value is required"), "{name}: {told}");
    }
    world.write("conf/bakehouse.toml", "[edge.clients]\ntrust_forwarded = [\"10.0.0.0/99\"]\n");
    let told = world.bake(".", &[&edge[..], &["--config", "conf"]].concat()).run().code(1).stderr;
    assert!(told.starts_with("error: `10.0.0.0/99` is neither an address nor a network"), "{told}");
}

#[test]
fn limits_do_not_go_with_the_file_that_sets_them() {
    let world = World::new();
    let upstream = answers("hello");
    world.write("conf/bakehouse.toml", "[edge.clients]\nconnections = 7\n");
    let edge = Edge::front(&world, &[&upstream], &["--config", "conf"]);
    std::fs::remove_file(world.path("conf/bakehouse.toml")).unwrap();
    let told = edge.bake(&["edge", "reload"]).code(1).stderr;
    assert!(told.contains("there is no `conf/bakehouse.toml`"), "{told}");
    assert_eq!(edge.metric("bakehouse_edge_connections_max", &[]), 7.0);
}

#[test]
fn an_access_log_that_cannot_be_written_is_told_each_time() {
    let world = World::new();
    let upstream = answers("hello");
    // A pipe that nobody reads is never open.
    let pipe = world.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let args =
        ["edge", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--access-log", "pipe"];
    let told = world.bake(".", &args).run().code(1).stderr;
    assert!(told.contains("the access log `pipe` cannot be opened: it takes too long"), "{told}");
    assert!(told.contains("hint: see that its folder is there"), "{told}");

    let path = world.path("access.log");
    symlink("/dev/full", &path).unwrap();
    let edge = Edge::front(&world, &[&upstream], &["--access-log", path.to_str().unwrap()]);
    let failed = || edge.process.stderr().matches("the access log cannot be written").count();
    let written = || edge.process.stderr().matches("the access log is written again").count();
    for times in 1..=2 {
        wait_until("that it cannot be written", SOON, || {
            edge.get("/a");
            failed() == times
        });
        std::fs::remove_file(&path).unwrap();
        edge.bake(&["edge", "reload"]).success();
        wait_until("that it is written again", SOON, || {
            edge.get("/a");
            written() == times
        });
        std::fs::remove_file(&path).unwrap();
        symlink("/dev/full", &path).unwrap();
        edge.bake(&["edge", "reload"]).success();
    }
}
