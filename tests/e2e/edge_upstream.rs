//! `bake edge --upstream`: in front of servers that know nothing of it, as its operators see it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::upstream::{Answer, Upstream, response};
use crate::harness::{Process, Reply, Request, SOON, World, http, wait_for, wait_until};

const TOKEN: &str = "a-token-of-the-tests";
/// Fields of what may be stored.
pub const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=600")];

/// An edge with an admin address.
pub struct Edge<'w> {
    world: &'w World,
    /// Its process.
    pub process: Process,
    /// Where browsers find it.
    pub address: String,
    /// Where operators do.
    pub admin: String,
}

impl<'w> Edge<'w> {
    /// Starts one.
    pub fn start(world: &'w World, args: &[&str]) -> Self {
        let mut all = vec!["edge", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        all.extend(args);
        let process = world.bake(".", &all).var("BAKE_ADMIN_TOKEN", TOKEN).start();
        Self::of(world, process)
    }

    /// Starts one before these upstreams.
    pub fn front(world: &'w World, upstreams: &[&Upstream], args: &[&str]) -> Self {
        let mut all = Vec::new();
        for upstream in upstreams {
            all.extend(["--upstream", &upstream.url]);
        }
        all.extend(args);
        Self::start(world, &all)
    }

    fn of(world: &'w World, mut process: Process) -> Self {
        process.wait_for_text("admin at ", SOON);
        let said = process.stdout();
        let find = |what: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(what)).unwrap();
            line.split(' ').next().unwrap().to_owned()
        };
        let (address, admin) = (find("edge at "), find("admin at "));
        Self { world, process, address, admin }
    }

    /// GETs a target.
    pub fn get(&self, target: &str) -> Reply {
        self.ask(Request::get(target))
    }

    /// Asks as a client of `site.test`.
    pub fn ask(&self, request: Request) -> Reply {
        let request = request.field("Host", "site.test");
        request.send(&self.address).unwrap_or_else(|e| panic!("{request:?}: {e}"))
    }

    /// Asks as an operator.
    pub fn admin(&self, method: &str, path: &str) -> Reply {
        self.operate(Request::new(method, path))
    }

    /// Sends an operator's request.
    pub fn operate(&self, request: Request) -> Reply {
        request.field("Authorization", &format!("Bearer {TOKEN}")).send(&self.admin).unwrap()
    }

    /// Runs a command that finds it.
    pub fn bake(&self, args: &[&str]) -> crate::harness::Done {
        self.world.bake(".", args).var("BAKE_API", &self.admin).var("BAKE_TOKEN", TOKEN).run()
    }

    /// The sum of a metric, of those with these labels.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("GET", "/metrics").text();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|r| r.starts_with(['{', ' ']) && labels.iter().all(|l| r.contains(l)))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// An upstream that always answers this.
pub fn answers(body: &'static str) -> Upstream {
    Upstream::start(move |_| Answer::Send(response(200, &FRESH, body)))
}

#[test]
fn operators_see_and_purge_behind_a_token() {
    let world = World::new();
    let upstream = Upstream::start(|asked| {
        let fields =
            if asked.target() == "/cookie" { &[("set-cookie", "a=b"), FRESH[0]][..] } else { &FRESH[..] };
        Answer::Send(response(200, fields, "hello"))
    });
    // Each thread keeps its own connections.
    let edge = Edge::front(&world, &[&upstream], &["--threads", "1"]);
    assert_eq!(
        edge.get("/a").field("cache-status").unwrap(),
        "Bakehouse; fwd=uri-miss; fwd-status=200; ttl=600; stored"
    );
    for _ in 0..3 {
        assert!(edge.get("/a").field("cache-status").unwrap().starts_with("Bakehouse; hit"));
    }
    edge.get("/cookie");

    // Health is open, all else is not, and none of it is on the public address.
    assert_eq!(Request::get("/healthz").send(&edge.admin).unwrap().status, 200);
    assert_eq!(Request::get("/readyz").send(&edge.admin).unwrap().status, 200);
    for path in ["/metrics", "/v1/live", "/v1/top?seconds=1"] {
        assert_eq!(Request::get(path).send(&edge.admin).unwrap().status, 401, "{path}");
        let wrong = Request::get(path).field("Authorization", "Bearer wrong");
        assert_eq!(wrong.send(&edge.admin).unwrap().status, 401, "{path}");
    }
    assert_eq!(Request::new("POST", "/v1/purge").body("{}").send(&edge.admin).unwrap().status, 401);
    let before = upstream.asked().len();
    edge.get("/metrics");
    assert_eq!(upstream.asked().len(), before + 1, "the public address knows no /metrics of its own");

    assert_eq!(edge.metric("bakehouse_edge_results_total", &["result=\"hit\""]), 3.0);
    assert_eq!(edge.metric("bakehouse_edge_not_stored_total", &["reason=\"set-cookie\""]), 1.0);
    assert_eq!(edge.metric("bakehouse_edge_response_seconds_count", &["result=\"hit\""]), 3.0);
    assert!(edge.metric("bakehouse_edge_hit_ratio", &[]) > 0.4);
    let requests = edge.metric("bakehouse_edge_upstream_requests_total", &[]);
    let reused = edge.metric("bakehouse_edge_upstream_reused_total", &[]);
    assert_eq!((requests, reused), (3.0, 2.0), "connections are kept");
    let ratio = edge.metric("bakehouse_edge_upstream_reuse_ratio", &[&upstream.url]);
    assert!((ratio - 2.0 / 3.0).abs() < 1e-9, "{ratio}");
    assert_eq!(upstream.connections(), 1);

    let done = edge.bake(&["purge", "--url", "http://site.test/a", "--reason", "a test"]).success();
    // What a busy machine did not count soon is told as that.
    let receipts = [": applied, 1 dropped", ": applied, at least "];
    assert!(receipts.iter().any(|receipt| done.stdout.contains(receipt)), "{}", done.stdout);
    assert!(edge.get("/a").field("cache-status").unwrap().contains("fwd=uri-miss"));
    edge.bake(&["purge", "--all", "--soft"]).success();
    assert!(edge.get("/a").field("cache-status").unwrap().contains("fwd=stale"));
    for selector in [["--prefix", "/"], ["--group", "any"]] {
        edge.bake(&["purge", selector[0], selector[1], "--wait"]).success();
    }
    edge.bake(&["purge", "--all"]).success();
    edge.world
        .bake(".", &["purge", "--all"])
        .var("BAKE_API", &edge.admin)
        .var("BAKE_TOKEN", "no")
        .run()
        .code(1);

    // What no edge understands covers nothing, and all of it is told.
    edge.get("/kept");
    let urls = ["--url", "a b", "--url", "kept", "--url", "/kept/other"];
    let wrong = [&["purge", "--prefix", "blog/", "--prefix", "/kept?a=", "--group", ""], &urls[..]].concat();
    let refused = edge.bake(&wrong).code(1);
    for text in [
        "`a b` is neither",
        "`kept` is neither",
        "`blog/` is neither",
        "`/kept?a=` has a query",
        "a cache group has 1 to 1024 bytes",
    ] {
        assert!(refused.stderr.contains(text), "{text}: {}", refused.stderr);
    }
    let is_kept = || edge.get("/kept").field("cache-status").unwrap().starts_with("Bakehouse; hit");
    assert!(is_kept());
    edge.bake(&["purge", "--prefix", "http://other.test/"]).success();
    assert!(is_kept());
    edge.bake(&["purge", "--prefix", "http://Site.test:80/ke"]).success();
    assert!(!is_kept());
    for (api, text) in [
        ("127.0.0.1:8090", "`127.0.0.1:8090` is no URL of an API\nhint: write it with http://"),
        ("localhost:8090", "`localhost:8090` is no URL of an API"),
        (&edge.address, "and not as an API does"),
    ] {
        let refused =
            edge.world.bake(".", &["edge", "top", "--admin", api]).var("BAKE_TOKEN", "t").run().code(1);
        assert!(
            refused.stderr.contains(text) && refused.stderr.contains("\nhint: "),
            "{text}: {}",
            refused.stderr
        );
    }

    let top = edge.bake(&["edge", "top", "--seconds", "1"]).success();
    for text in ["avoidable misses:", "1 x set-cookie", "site.test/cookie", "remedy:"] {
        assert!(top.stdout.contains(text), "{text}: {}", top.stdout);
    }
}

#[test]
fn counters_are_there_before_they_count() {
    let world = World::new();
    let upstream = answers("hello");
    let edge = Edge::front(&world, &[&upstream], &[]);
    let text = edge.admin("GET", "/metrics").text();
    for name in ["connections_refused_total", "turns_refused_total", "dropped_total", "memory_short_bytes"] {
        let line = format!("bakehouse_edge_{name} 0");
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}

#[test]
fn what_cannot_be_told_to_upstreams_is_refused() {
    let world = World::new();
    let start = |name: &'static str| {
        let args = ["edge", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--name", name];
        world.bake(".", &args)
    };
    for name in ["x,y", "a b", "a(b", "http://a", ""] {
        let refused = start(name).run().code(1);
        let told = [format!("`{name}` cannot be the name of an edge"), "hint: ".into()];
        assert!(told.iter().all(|text| refused.stderr.contains(text)), "{name}: {}", refused.stderr);
    }
    for path in ["healthz", "/a b", "/a#b", ""] {
        let args =
            ["edge", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--health-path", path];
        let refused = world.bake(".", &args).run().code(1);
        let told = [format!("`{path}` cannot be asked for by health checks"), "hint: give a path".into()];
        assert!(told.iter().all(|text| refused.stderr.contains(text)), "{path}: {}", refused.stderr);
    }
    let url = "http://127.0.0.1:1";
    let twice = ["edge", "--upstream", url, "--upstream", "HTTP://127.0.0.1:1", "--listen", "127.0.0.1:0"];
    let refused = world.bake(".", &twice).run().code(1);
    assert!(refused.stderr.contains(&format!("the upstream `{url}` is named twice")), "{}", refused.stderr);
    start("edge.example:8080").start().wait_for_text("edge at ", SOON);
}

#[test]
fn an_open_admin_address_needs_a_token() {
    let world = World::new();
    let args = ["edge", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin"];
    let refused = world.bake(".", &[&args[..], &["0.0.0.0:0"]].concat()).run().code(2);
    assert!(refused.stderr.contains("--admin-token"), "{}", refused.stderr);
    // On loopback one is made.
    let mut process = world.bake(".", &[&args[..], &["127.0.0.1:0"]].concat()).start();
    process.wait_for_text("with the token ", SOON);
    let said = process.stdout();
    let words: Vec<&str> =
        said.lines().find_map(|l| l.strip_prefix("admin at ")).unwrap().split(' ').collect();
    let (admin, token) = (words[0], words[4]);
    let ask = |token: &str| {
        Request::get("/metrics")
            .field("Authorization", &format!("Bearer {token}"))
            .send(admin)
            .unwrap()
            .status
    };
    assert_eq!((ask(token), ask("other")), (200, 401));
}

#[test]
fn each_decision_is_told_with_its_clause() {
    let world = World::new();
    let upstream = Upstream::start(|asked| {
        let fields: &[(&str, &str)] = match asked.target() {
            "/private" => &[("cache-control", "private, max-age=9")],
            _ => &[("cache-control", "s-maxage=600"), ("vary", "accept-language"), ("etag", "\"1\"")],
        };
        Answer::Send(response(200, fields, "hello"))
    });
    let edge = Edge::front(&world, &[&upstream], &[]);
    let admin = [("BAKE_API", edge.admin.as_str()), ("BAKE_TOKEN", TOKEN)];
    let log = |args: &[&str]| world.bake(".", &[&["edge", "log"], args].concat()).vars(&admin).start();
    let mut all = log(&["--count", "4"]);
    let mut misses = log(&["host=site.test", "path=/p", "result=miss", "--json", "--count", "1"]);
    let mut refused = log(&["status=405", "--json", "--count", "1"]);
    // All read from now on.
    wait_until("readers of the trace", SOON, || {
        edge.get("/warm");
        !all.stdout().is_empty()
    });
    let said = wait_for("the trace of a miss that is not stored", SOON, || {
        edge.get("/private");
        edge.get("/hit");
        misses.ended().map(|_| misses.stdout())
    });
    let record: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&record["status"], &record["target"]), (&200.into(), &"/private".into()));
    let steps = record["steps"].as_array().unwrap();
    let by = |clause: &str| steps.iter().any(|step| step["clause"] == clause);
    assert!(by("RFC 9111 §5.2.2.7"), "private: {record}");
    let said = wait_for("the trace of a request that is refused", SOON, || {
        edge.ask(Request::new("TRACE", "/refused"));
        refused.ended().map(|_| refused.stdout())
    });
    let record: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let facts = ["method", "host", "target", "result"].map(|name| record[name].as_str().unwrap());
    assert_eq!(facts, ["TRACE", "site.test", "/refused", "failed"]);
    assert_eq!(record["steps"][0]["clause"], "RFC 9110 §15.5.6", "{record}");
    wait_until("four requests", SOON, || {
        edge.get("/hit");
        all.ended().is_some()
    });
    assert!(all.stdout().contains("nothing is stored"), "{}", all.stdout());
    assert_eq!(world.bake(".", &["edge", "log", "color=red"]).vars(&admin).run().code(1).stdout, "");

    let why = edge.bake(&["edge", "why", "http://site.test/hit"]).success().stdout;
    for text in [
        "key http://site.test /hit",
        "chosen by accept-language (none)",
        "lifetime 600.000 s (s-maxage",
        "hit: it is fresh",
    ] {
        assert!(why.contains(text), "{text}: {why}");
    }
    let other =
        edge.bake(&["edge", "why", "http://site.test/hit", "-H", "Accept-Language: de"]).success().stdout;
    assert!(other.contains("other fields:") && other.contains("RFC 9111 §4.1"), "{other}");
    let nothing = edge.bake(&["edge", "why", "http://site.test/nowhere"]).success().stdout;
    assert!(nothing.contains("nothing is stored"), "{nothing}");
    for url in ["not a URL", "/a", "ftp://site.test/a", "http://me@site.test/a", "http://site.test:99999/a"] {
        let refused = edge.bake(&["edge", "why", url]).code(1);
        assert!(refused.stderr.contains("hint: give a URL such as"), "{url}: {}", refused.stderr);
    }
}

#[test]
fn what_clients_and_upstreams_say_steers_no_operators_terminal() {
    let world = World::new();
    let upstream =
        Upstream::start(|_| Answer::Send(response(200, &[FRESH[0], ("etag", "\"\u{9b}2J\"")], "hello")));
    let edge = Edge::front(&world, &[&upstream], &[]);
    let admin = [("BAKE_API", edge.admin.as_str()), ("BAKE_TOKEN", TOKEN)];
    let ask = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        http::raw(&edge.address, request.as_bytes()).unwrap();
    };
    for args in [&["edge", "log", "status=400", "--count", "1"][..], &["edge", "top", "--seconds", "2"]] {
        let mut reading = world.bake(".", args).vars(&admin).start();
        wait_until("its end", SOON, || {
            ask("/\u{1b}[2J");
            reading.ended().is_some()
        });
        let said = reading.stdout();
        assert!(said.contains("/\\u{1b}[2J"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    // As JSON, it means what it was.
    let mut reading = world.bake(".", &["edge", "log", "--count", "1", "--json"]).vars(&admin).start();
    wait_until("its end", SOON, || {
        ask("/\u{9b}2J\u{7f}");
        reading.ended().is_some()
    });
    let said = reading.stdout();
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
    let record: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(record["target"], "/\u{9b}2J\u{7f}", "{said}");
    ask("/a");
    let raw = edge.operate(Request::new("POST", "/v1/why").body(r#"{"url":"http://h/a"}"#)).text();
    assert!(raw.contains("\\u009b2J") && !raw.contains(char::is_control), "{raw:?}");
    let why = edge.bake(&["edge", "why", "http://h/a"]).success().stdout;
    assert!(why.contains("\\u{9b}2J") && !why.contains('\u{9b}'), "{why:?}");
}

#[test]
fn what_others_say_steers_no_terminal_that_shows_a_log() {
    let world = World::new();
    let upstream = answers("hello");
    for format in ["text", "json"] {
        let edge = Edge::front(&world, &[&upstream], &["--log", "info", "--log-format", format]);
        let purge = r#"{"selectors":[{"group":"a\u009b2J"}],"reason":"b\u009b2J\u007f\u001b\r"}"#;
        let reply = edge.operate(Request::new("POST", "/v1/purge").body(purge));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let Edge { mut process, .. } = edge;
        process.wait_for_text("purged", SOON);
        let said = process.stderr();
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        if format == "json" {
            let event: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert_eq!(event["reason"], "b\u{9b}2J\u{7f}\u{1b}\r", "{said}");
        }
    }
}

#[test]
fn what_the_trace_had_no_time_for_is_said() {
    let world = World::new();
    let record = r#"{"time_ms":0,"id":"1","client":"::1","method":"GET","host":"h","target":"/a","status":200,"result":"hit","us":9,"bytes":1,"steps":[{"what":"hit: it is fresh","clause":"RFC 9111 §4.2"}]}"#;
    let lines = format!("{{\"missed\":7}}\n\n{record}\n");
    let admin = Upstream::start(move |_| Answer::Send(response(200, &[], &lines)));
    let log = |args: &[&str]| {
        let all = ["edge", "log", "--count", "1", "--api", &admin.url, "--token", TOKEN];
        world.bake(".", &[&all[..], args].concat()).run().success().stdout
    };
    let said = log(&[]);
    assert!(said.starts_with("7 more came too fast to be told\n"), "{said}");
    assert!(said.ends_with("GET h/a 200 hit 9 µs 1 B ::1\n    hit: it is fresh [RFC 9111 §4.2]\n"), "{said}");
    // For machines it stays as it is.
    assert_eq!(log(&["--json"]), format!("{{\"missed\":7}}\n{record}\n"));
}

#[test]
fn one_that_fails_is_passed_over_tried_by_one_and_comes_back() {
    let world = World::new();
    let flaky = answers("flaky");
    let edge = Edge::front(&world, &[&flaky], &["--breaker-failures", "3", "--slow-start-seconds", "0"]);
    assert_eq!(edge.get("/0").status, 200);
    flaky.fall_over(true);
    for n in 1..=3 {
        assert_eq!(edge.get(&format!("/{n}")).status, 502);
    }
    assert_eq!(edge.metric("bakehouse_edge_upstream_circuit_open", &[]), 1.0);
    flaky.fall_over(false);
    // The next request is the trial, and it is back.
    assert_eq!(edge.get("/4").status, 200);
    assert_eq!(edge.metric("bakehouse_edge_upstream_circuit_open", &[]), 0.0);

    // With another beside it nobody notices.
    let (first, second) = (answers("first"), answers("second"));
    let args = ["--balance", "first", "--breaker-failures", "2", "--slow-start-seconds", "0"];
    let edge = Edge::front(&world, &[&first, &second], &args);
    assert_eq!(edge.get("/a").text(), "first");
    first.fall_over(true);
    for n in 0..20 {
        assert_eq!(edge.get(&format!("/{n}")).text(), "second");
    }
    assert!(edge.metric("bakehouse_edge_upstream_retries_total", &[]) >= 1.0);
    // Nor is it forgotten while the other answers.
    let mut number = 0;
    let opened = || edge.metric("bakehouse_edge_upstream_circuit_open", &[&first.url]);
    wait_until("the circuit to open", SOON, || {
        number += 1;
        edge.get(&format!("/gone/{number}"));
        opened() == 1.0
    });
    first.fall_over(false);
    wait_until("the first one to be back", SOON, || {
        number += 1;
        edge.get(&format!("/back/{number}")).text() == "first"
    });
    assert_eq!(opened(), 0.0);
}

#[test]
fn health_checks_find_out_before_clients_do() {
    let world = World::new();
    let sick = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&sick);
    let first = Upstream::start(move |asked| {
        let status = if asked.target() == "/health" && says.load(Ordering::SeqCst) { 500 } else { 200 };
        Answer::Send(response(status, &FRESH, "first"))
    });
    let second = answers("second");
    let args = [
        "--balance",
        "first",
        "--health-path",
        "/health",
        "--health-seconds",
        "1",
        "--slow-start-seconds",
        "0",
    ];
    let edge = Edge::front(&world, &[&first, &second], &args);
    let asked = AtomicUsize::new(0);
    let next = || edge.get(&format!("/{}", asked.fetch_add(1, Ordering::SeqCst))).text();
    wait_until("the healthy one to be chosen", SOON, || next() == "second");
    assert_eq!(edge.metric("bakehouse_edge_upstream_up", &[&first.url]), 0.0);
    sick.store(false, Ordering::SeqCst);
    wait_until("the first one to be back", SOON, || next() == "first");
}

#[test]
fn one_that_hangs_and_passes_its_checks_costs_one_client_at_a_time() {
    let world = World::new();
    let first = Upstream::start(|asked| match asked.target() {
        "/health" => Answer::Send(response(200, &[], "well")),
        _ => Answer::Held(Vec::new(), response(200, &FRESH, "first")),
    });
    let second = answers("second");
    let args = ["--balance", "first", "--first-byte-ms", "3000", "--health-path", "/health"];
    let edge = Edge::front(&world, &[&first, &second], &[&args[..], &["--health-seconds", "1"]].concat());
    let hung = || first.asked().iter().filter(|asked| asked.target() != "/health").count();
    assert_eq!((edge.get("/0").text().as_str(), hung()), ("second", 1));
    // After a pause the next one tries it, and waits.
    let mut tries = Vec::new();
    wait_until("the trial", SOON, || {
        let (address, request) = (edge.address.clone(), Request::get(&format!("/try/{}", tries.len())));
        tries.push(std::thread::spawn(move || request.field("Host", "site.test").send(&address).unwrap()));
        hung() > 1
    });
    for n in 1..=10 {
        assert_eq!((edge.get(&format!("/{n}")).text().as_str(), hung()), ("second", 2));
    }
    first.release();
    for trial in tries {
        assert_eq!(trial.join().unwrap().status, 200);
    }
    let mut number = 10;
    wait_until("the first one to be back", SOON, || {
        number += 1;
        edge.get(&format!("/{number}")).text() == "first"
    });
}

#[test]
fn what_follows_a_response_never_begins_the_next() {
    let world = World::new();
    let evil = "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 4\r\n\r\nevil";
    let upstream = Upstream::start(move |asked| {
        let good = |body: &str| response(200, &FRESH, body);
        Answer::Send(match asked.target() {
            "/more" => [good("good"), evil.into()].concat(),
            "/empty" => [response(204, &FRESH, "")[..].to_vec(), evil.into()].concat(),
            "/split" => {
                let split = "b\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\nx-b: evil";
                response(200, &[("x-a", split), FRESH[0]], "evil")
            }
            "/lengths" => {
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 40\r\n\r\ngood".to_vec()
            }
            "/both" => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n".to_vec(),
            "/fold" => b"HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 4\r\n\r\ngood".to_vec(),
            "/noise" => b"\0\0\0\r\n\r\n".to_vec(),
            _ => good("right"),
        })
    });
    let edge = Edge::front(&world, &[&upstream], &["--breaker-failures", "0"]);
    for (n, target) in
        ["/more", "/empty", "/split", "/lengths", "/both", "/fold", "/noise"].iter().enumerate()
    {
        let first = edge.get(target);
        assert!(!first.has("evil"), "{target}: {first:?}");
        for m in 0..3 {
            let next = edge.get(&format!("/next/{n}/{m}"));
            assert_eq!((next.status, next.text().as_str()), (200, "right"), "after {target}");
        }
    }
}

#[test]
fn tls_is_verified_and_unix_sockets_work() {
    let world = World::new();
    let ca = format!("{}/tests/fixtures/tls/ca.pem", env!("CARGO_MANIFEST_DIR"));
    let secure = Upstream::start_tls(|_| Answer::Send(response(200, &FRESH, "secret")));
    let edge = Edge::front(&world, &[&secure], &["--upstream-ca", &ca]);
    assert_eq!(edge.get("/").text(), "secret");
    assert_eq!(secure.named(), [Some("localhost".to_owned())], "the upstream's name, not the client's Host");
    assert_eq!(secure.asked()[0].field("host"), Some("site.test"), "the client's Host is kept");
    // Neither an unknown authority nor another name will do.
    let stranger = Edge::front(&world, &[&secure], &[]);
    assert_eq!(stranger.get("/").status, 504);
    let by_address = secure.url.replace("localhost", "127.0.0.1");
    let misnamed = Edge::start(&world, &["--upstream", &by_address, "--upstream-ca", &ca]);
    assert_eq!(misnamed.get("/").status, 504);
    assert_eq!(secure.asked().len(), 1);
    // An authority's own certificate, as a self-signed one often is, is told as that.
    let authority = ["authority.pem", "authority-key.pem"];
    let own = Upstream::start_tls_with(authority, |_| Answer::Send(response(200, &FRESH, "secret")));
    let ca = ca.replace("ca.pem", "authority.pem");
    let mut edge = Edge::front(&world, &[&own], &["--upstream-ca", &ca]);
    assert_eq!(edge.get("/").status, 504);
    edge.process.wait_for_text("its certificate is an authority's (CA:TRUE)", SOON);

    let local =
        Upstream::start_unix(&world.path("app.sock"), |_| Answer::Send(response(200, &FRESH, "local")));
    let edge = Edge::front(&world, &[&local], &["--upstream-host", "app.internal:81"]);
    assert_eq!(edge.get("/").text(), "local");
    assert_eq!(local.asked()[0].field("host"), Some("app.internal:81"));
}

#[test]
fn certificates_are_read_again() {
    let world = World::new();
    let fixture = |name: &str| {
        std::fs::read_to_string(format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let secure = Upstream::start_tls(|_| Answer::Send(response(200, &FRESH, "secret")));
    world.write("conf/bakehouse.toml", format!("[edge]\nupstream = [\"{}\"]\n", secure.url));
    // No authority of that server's, at first: its own certificate is none.
    world.write("ca.pem", fixture("cert.pem"));
    let ca = world.path("ca.pem");
    let args = ["--config", "conf", "--upstream-ca", ca.to_str().unwrap(), "--breaker-failures", "0"];
    let edge = Edge::start(&world, &args);
    let reload = || edge.bake(&["edge", "reload"]).success();
    assert_eq!(edge.get("/1").status, 504);
    reload();
    assert_eq!(edge.get("/2").status, 504);
    world.write("ca.pem", fixture("ca.pem"));
    reload();
    assert_eq!(edge.get("/3").text(), "secret");
    // What has not changed keeps its connections, and an authority that is gone takes them with it.
    reload();
    assert_eq!((edge.get("/4").text().as_str(), secure.asked().len()), ("secret", 2));
    assert_eq!(edge.metric("bakehouse_edge_upstream_reused_total", &[]), 1.0);
    world.write("ca.pem", fixture("cert.pem"));
    reload();
    assert_eq!((edge.get("/5").status, secure.asked().len()), (504, 2));
    assert_eq!(edge.metric("bakehouse_edge_upstream_connections_total", &[]), 1.0, "counters go on");
}

#[test]
fn deadlines_of_upstreams_run_out() {
    let world = World::new();
    // TCP takes the connection, and nobody answers the handshake.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let ca = format!("{}/tests/fixtures/tls/ca.pem", env!("CARGO_MANIFEST_DIR"));
    let args = ["--upstream", &url, "--upstream-ca", &ca, "--connect-ms", "150", "--first-byte-ms", "600000"];
    let edge = Edge::start(&world, &args);
    assert_eq!(edge.get("/").status, 504);
    assert!(edge.process.stderr().contains("not within 150 ms"), "{}", edge.process.stderr());
    assert_eq!(edge.metric("bakehouse_edge_upstream_errors_total", &[]), 1.0);

    // One that stalls in the middle of its content, again and again, until it is mended.
    let stalls = Arc::new(AtomicBool::new(true));
    let stalling = Arc::clone(&stalls);
    let upstream = Upstream::start(move |_| {
        let whole = response(200, &FRESH, "all of it");
        if !stalling.load(Ordering::SeqCst) {
            return Answer::Send(whole);
        }
        let (first, second) = whole.split_at(whole.len() - 3);
        Answer::Held(first.to_vec(), second.to_vec())
    });
    let args = ["--idle-ms", "100", "--breaker-failures", "3", "--slow-start-seconds", "0"];
    let edge = Edge::front(&world, &[&upstream], &args);
    for n in 1..=3 {
        let request = Request::get(&format!("/{n}")).field("Host", "site.test");
        assert!(request.send(&edge.address).is_err(), "the client sees that it is not whole");
    }
    assert_eq!(edge.metric("bakehouse_edge_upstream_errors_total", &[]), 3.0);
    assert_eq!(edge.metric("bakehouse_edge_upstream_circuit_open", &[]), 1.0);
    stalls.store(false, Ordering::SeqCst);
    assert_eq!(edge.get("/4").text(), "all of it");
    wait_until("the circuit to close", SOON, || {
        edge.metric("bakehouse_edge_upstream_circuit_open", &[]) == 0.0
    });
}

#[test]
fn one_that_is_back_takes_its_part_slowly() {
    const REQUESTS: usize = 200;
    let world = World::new();
    let (first, second) = (answers("first"), answers("second"));
    // So slowly that it is hardly begun when the test is over: a sixteenth of its turns.
    let edge = Edge::front(&world, &[&first, &second], &["--slow-start-seconds", "86400", "--retries", "1"]);
    let asked = AtomicUsize::new(0);
    let next = || edge.get(&format!("/{}", asked.fetch_add(1, Ordering::SeqCst))).text();
    let share = || (0..REQUESTS).filter(|_| next() == "first").count();
    assert_eq!(share(), REQUESTS / 2, "by turns");
    first.fall_over(true);
    wait_until("a failure", SOON, || {
        next();
        edge.metric("bakehouse_edge_upstream_errors_total", &[&first.url]) > 0.0
    });
    first.fall_over(false);
    wait_until("the first one to be back", SOON, || next() == "first");
    // A sixteenth of its hundred turns; thirty are out of reach of chance.
    let slowly = share();
    assert!(slowly < 30, "{slowly} of {REQUESTS}");
    assert!(edge.metric("bakehouse_edge_upstream_retries_total", &[&second.url]) >= 1.0);
    assert_eq!(edge.metric("bakehouse_edge_upstream_retries_total", &[&first.url]), 0.0);
}

#[test]
fn one_that_would_refuse_is_no_retry() {
    let world = World::new();
    let first = answers("first");
    let second = Upstream::start(|_| Answer::Held(Vec::new(), response(200, &FRESH, "second")));
    first.fall_over(true);
    second.fall_over(true);
    let args = ["--balance", "first", "--breaker-failures", "1"];
    let edge = Edge::front(&world, &[&first, &second], &args);
    assert_eq!(edge.get("/0").status, 502);
    second.fall_over(false);
    let ask = Request::get("/1").field("Host", "site.test");
    let address = edge.address.clone();
    let trial = std::thread::spawn(move || ask.send(&address).unwrap());
    wait_until("the trial", SOON, || second.asked().len() == 1);
    // While it is tried by one, another is not sent there.
    assert_eq!(edge.get("/2").status, 502);
    assert_eq!(edge.metric("bakehouse_edge_upstream_retries_total", &[&second.url]), 2.0);
    second.release();
    assert_eq!(trial.join().unwrap().text(), "second");
}

#[test]
fn a_slow_upload_does_not_keep_all_others_from_one_that_is_back() {
    let world = World::new();
    let upstream = answers("hello");
    let edge = Edge::front(&world, &[&upstream], &["--breaker-failures", "1", "--content-seconds", "3600"]);
    upstream.fall_over(true);
    assert_eq!(edge.get("/1").status, 502);
    upstream.fall_over(false);
    let mut upload = http::connect(&edge.address).unwrap();
    let request = "POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9\r\n\r\nslow";
    upload.write_all(request.as_bytes()).unwrap();
    let in_flight = || edge.metric("bakehouse_edge_upstream_in_flight", &[&upstream.url]);
    wait_until("the trial", SOON, || in_flight() == 1.0);
    wait_until("another one", SOON, || edge.get("/2").status == 200);
    assert_eq!(in_flight(), 1.0);
}

#[test]
fn what_is_removed_from_requests_is_counted() {
    let world = World::new();
    let upstream = answers("hello");
    let edge = Edge::front(&world, &[&upstream], &[]);
    edge.get("/");
    assert_eq!(edge.metric("bakehouse_edge_claims_removed_total", &[]), 0.0);
    edge.ask(
        Request::get("/a")
            .field("X-Forwarded-Ssl", "on")
            .field("True-Client-IP", "6.6.6.6")
            .field("A_b", "c"),
    );
    assert_eq!(edge.metric("bakehouse_edge_claims_removed_total", &[]), 3.0);
}

#[test]
fn the_access_log_has_a_line_for_each_response() {
    let world = World::new();
    let upstream = answers("hello");
    let path = world.path("access.log");
    world.write("conf/bakehouse.toml", "");
    let args = ["--access-log", path.to_str().unwrap(), "--access-log-format", "json", "--config", "conf"];
    let edge = Edge::front(&world, &[&upstream], &args);
    let lines = |file: &str| {
        let text = std::fs::read_to_string(world.path(file)).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()).collect::<Vec<_>>()
    };
    edge.ask(Request::get("/a?b=c").field("User-Agent", "te\"st").field("Referer", "http://r/"));
    edge.get("/a?b=c");
    wait_until("two lines", SOON, || lines("access.log").len() == 2);
    let logged = lines("access.log");
    let facts = |n: usize| {
        let line = &logged[n];
        [&line["method"], &line["host"], &line["target"], &line["result"], &line["client"]]
            .map(|v| v.as_str().unwrap().to_owned())
    };
    assert_eq!(facts(0), ["GET", "site.test", "/a?b=c", "uri-miss", "127.0.0.1"]);
    assert_eq!(facts(1), ["GET", "site.test", "/a?b=c", "hit", "127.0.0.1"]);
    assert_eq!((&logged[0]["user_agent"], &logged[0]["referer"]), (&"te\"st".into(), &"http://r/".into()));
    assert_eq!((&logged[1]["status"], &logged[1]["bytes"]), (&200.into(), &5.into()));
    // Moved away and opened again.
    std::fs::rename(&path, world.path("access.log.1")).unwrap();
    edge.process.signal(Signal::HUP);
    wait_until("a line in the new file", SOON, || {
        edge.get("/a?b=c");
        !lines("access.log").is_empty()
    });
    // Also where the configuration is wrong; and that it cannot be is said.
    world.write("conf/bakehouse.toml", "nonsense");
    std::fs::rename(&path, world.path("access.log.2")).unwrap();
    let failed = edge.bake(&["edge", "reload"]).code(1);
    assert!(failed.stderr.contains("nonsense"), "{}", failed.stderr);
    assert!(path.exists());
    world.write("conf/bakehouse.toml", "");
    std::fs::rename(&path, world.path("access.log.3")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let failed = edge.bake(&["edge", "reload"]).code(1);
    assert!(failed.stderr.contains("cannot be opened: Is a directory (os error 21)\n"), "{}", failed.stderr);
    assert!(failed.stderr.contains("hint: see that"), "{}", failed.stderr);
    std::fs::remove_dir(&path).unwrap();
    let done = edge.bake(&["edge", "reload"]).success().stdout;
    assert!(done.starts_with("the access log was opened again; memory"), "{done}");
    // What is left is written at the end.
    edge.get("/last");
    let Edge { mut process, .. } = edge;
    process.signal(Signal::TERM);
    assert!(process.wait(SOON).success());
    assert!(lines("access.log").iter().any(|line| line["target"] == "/last"));
}

#[test]
fn a_configuration_is_read_again() {
    let world = World::new();
    let (old, new) = (answers("old"), answers("new"));
    let write = |url: &str| world.write("conf/bakehouse.toml", format!("[edge]\nupstream = [\"{url}\"]\n"));
    write(&old.url);
    let edge = Edge::start(&world, &["--config", "conf"]);
    assert_eq!(edge.get("/1").text(), "old");
    assert_eq!(edge.metric("bakehouse_edge_upstream_up", &[&old.url]), 1.0);
    write(&new.url);
    edge.process.signal(Signal::HUP);
    let count = AtomicUsize::new(0);
    wait_until("the new upstream", SOON, || {
        edge.get(&format!("/2/{}", count.fetch_add(1, Ordering::SeqCst))).text() == "new"
    });
    // Who is gone is not up, and what was counted stays.
    let of = |name: &str, upstream: &Upstream| edge.metric(name, &[&upstream.url]);
    assert_eq!(of("bakehouse_edge_upstream_up", &new), 1.0);
    assert_eq!(of("bakehouse_edge_upstream_up", &old), 0.0);
    assert_eq!(of("bakehouse_edge_upstream_reuse_ratio", &old), 0.0);
    assert!(of("bakehouse_edge_upstream_requests_total", &old) >= 1.0);
    // What is wrong changes nothing, and is said.
    world.write("conf/bakehouse.toml", "[edge.clients]\nquery_only = [\"a\"]\nquery_without = [\"b\"]\n");
    let failed = edge.bake(&["edge", "reload"]).code(1);
    assert!(failed.stderr.contains("bakehouse.toml:2:1"), "{}", failed.stderr);
    write("nonsense");
    let failed = edge.bake(&["edge", "reload"]).code(1);
    assert!(failed.stderr.contains("nonsense"), "{}", failed.stderr);
    assert!(failed.stderr.contains("hint: give scheme and host only"), "{}", failed.stderr);
    assert_eq!(edge.get("/3").text(), "new");
    assert!(edge.get("/1").field("cache-status").unwrap().contains("hit"), "the cache stays");
}

#[test]
fn limits_rules_and_memory_are_read_again() {
    let world = World::new();
    let upstream = Upstream::start(|asked| {
        let kind = [("cache-control", "max-age=600"), ("x-target", asked.target())];
        let body =
            if asked.target().starts_with("/large") { "x".repeat(1 << 20) } else { "small".to_owned() };
        Answer::Send(response(200, &kind, &body))
    });
    let write = |more: &str| {
        world.write("conf/bakehouse.toml", format!("[edge]\nupstream = [\"{}\"]\n{more}", upstream.url))
    };
    write("memory = 268435456\n");
    let edge = Edge::start(&world, &["--config", "conf", "--head-seconds", "10"]);
    assert!(edge.get("/a?utm_source=x").text() == "small" && edge.get("/a").text() == "small");
    assert_eq!(upstream.asked().len(), 2, "the whole query counts");
    for n in 0..150 {
        assert_eq!(edge.get(&format!("/large/{n}")).status, 200);
    }
    let held = edge.metric("bakehouse_edge_store_bytes", &[]);
    assert!(held > 140e6, "{held}");
    write("memory = 100000000\n[edge.clients]\nquery_without = [\"utm_*\"]\nhead_bytes = 1024\n");
    let done = edge.bake(&["edge", "reload"]).success();
    assert!(done.stdout.contains("memory, limits and rules"), "{}", done.stdout);
    wait_until("a smaller store", SOON, || edge.metric("bakehouse_edge_store_bytes", &[]) < 70e6);
    assert!(edge.get("/b?utm_source=x").field("x-target").unwrap() == "/b", "the rule holds");
    assert!(edge.get("/b").field("cache-status").unwrap().contains("hit"));
    let long = edge.ask(Request::get("/b").field("X-Long", &"x".repeat(2_000)));
    assert_eq!(long.status, 431, "the limit holds");
    // What is wrong is said with its line, and changes nothing.
    write("[edge.clients]\nhead_bytes = 5\n");
    let failed = edge.bake(&["edge", "reload"]).code(1);
    assert!(
        failed.stderr.contains("bakehouse.toml:4") && failed.stderr.contains("1024"),
        "{}",
        failed.stderr
    );
    assert!(edge.get("/b").field("cache-status").unwrap().contains("hit"), "the cache stays");
}

/// Which of the switches beside the rules are on.
#[derive(Debug, PartialEq, Eq)]
struct Switches {
    client_validation: bool,
    set_cookie: bool,
    s_maxage: bool,
    targeted_field: bool,
    trust_forwarded: bool,
}

impl Switches {
    const OFF: Self = Self {
        client_validation: false,
        set_cookie: false,
        s_maxage: false,
        targeted_field: false,
        trust_forwarded: false,
    };
    const ON: Self = Self {
        client_validation: true,
        set_cookie: true,
        s_maxage: true,
        targeted_field: true,
        trust_forwarded: true,
    };

    /// An upstream whose responses show them.
    fn upstream() -> Upstream {
        Upstream::start(|asked| {
            let fields: &[(&str, &str)] = match asked.target() {
                "/cookie" => &[FRESH[0], ("set-cookie", "a=b")],
                "/stale" => &[("cache-control", "s-maxage=0, stale-while-revalidate=600"), ("etag", "\"a\"")],
                "/targeted" => &[("own-cache-control", "max-age=600"), ("cache-control", "no-store")],
                _ => &FRESH,
            };
            Answer::Send(response(200, fields, asked.field("x-forwarded-for").unwrap()))
        })
    }

    fn of(edge: &Edge<'_>) -> Self {
        let second = |target: &str, request: Request| {
            edge.get(target);
            edge.ask(request).field("cache-status").unwrap().to_owned()
        };
        let is_hit = |target: &str| second(target, Request::get(target)).contains("; hit");
        let forced = Request::get("/forced").field("Cache-Control", "no-cache");
        Self {
            client_validation: second("/forced", forced).contains("fwd=request"),
            set_cookie: is_hit("/cookie"),
            s_maxage: is_hit("/stale"),
            targeted_field: is_hit("/targeted"),
            trust_forwarded: edge.ask(Request::get("/who").field("X-Forwarded-For", "192.0.2.7")).text()
                == "192.0.2.7, 127.0.0.1",
        }
    }
}

#[test]
fn rules_are_switched_by_flags_and_by_configuration() {
    let world = World::new();
    let upstream = Switches::upstream();
    assert_eq!(Switches::of(&Edge::front(&world, &[&upstream], &[])), Switches::OFF);
    let flags = [
        "--client-validation=obey",
        "--set-cookie=store",
        "--s-maxage=lifetime",
        "--targeted-field=Own-Cache-Control",
        "--trust-forwarded=127.0.0.0/8",
    ];
    assert_eq!(Switches::of(&Edge::front(&world, &[&upstream], &flags)), Switches::ON);
    let clients = "client_validation = \"obey\"\nset_cookie = \"store\"\ns_maxage = \"lifetime\"\n\
                   targeted_field = [\"Own-Cache-Control\"]\ntrust_forwarded = [\"127.0.0.0/8\"]\n";
    world.write(
        "conf/bakehouse.toml",
        format!("[edge]\nupstream = [\"{}\"]\n[edge.clients]\n{clients}", upstream.url),
    );
    assert_eq!(Switches::of(&Edge::start(&world, &["--config", "conf"])), Switches::ON);
    // A flag says more than the configuration.
    let off = ["--client-validation=ignore", "--set-cookie=for-all", "--s-maxage=strict"];
    let off = [&["--config", "conf"][..], &off, &["--targeted-field=X-None", "--trust-forwarded=10.0.0.0/8"]];
    assert_eq!(Switches::of(&Edge::start(&world, &off.concat())), Switches::OFF);
}

#[test]
fn responses_that_are_not_kept_for_their_cookie_are_counted_and_logged() {
    let world = World::new();
    let upstream = Upstream::start(|asked| {
        let fields = [FRESH[0], ("set-cookie", "a=b"), ("content-location", asked.target())];
        Answer::Send(response(200, &fields, "x"))
    });
    let mut edge = Edge::front(&world, &[&upstream], &[]);
    let line = |host: &str, target: &str| {
        format!("not stored: the response sets a cookie host=\"{host}\" url=\"{target}\"")
    };
    edge.get("/get");
    edge.process.wait_for_text(&line("site.test", "/get"), SOON);
    // What a POST brings could answer a GET as well, but for its cookie.
    edge.ask(Request::new("POST", "/post"));
    edge.process.wait_for_text(&line("site.test", "/post"), SOON);
    for _ in 0..3 {
        edge.get("/many");
    }
    assert_eq!(edge.metric("bakehouse_edge_set_cookie_total", &[]), 5.0);
    assert_eq!(edge.metric("bakehouse_edge_not_stored_total", &["reason=\"set-cookie\""]), 5.0);
    // A site that sets cookies everywhere does not fill the log.
    edge.process.wait_for_text(&line("site.test", "/many"), SOON);
    assert_eq!(edge.process.stderr().matches("sets a cookie").count(), 3, "{}", edge.process.stderr());
}

#[test]
fn what_one_client_makes_of_a_response_is_not_held_for_others() {
    let world = World::new();
    let upstream = Upstream::start(|asked| {
        let (line, length) = (asked.text.lines().next().unwrap(), asked.field("content-length"));
        let told = format!("{line} {} {length:?}", asked.field("host").unwrap());
        let fields = [FRESH[0], ("etag", "\"a\""), ("content-location", "/"), ("x-asked", &told)];
        Answer::Send(response(200, &fields, "x"))
    });
    let edge = Edge::front(&world, &[&upstream], &["--query-without", "utm_*"]);
    let plain = Some("GET / HTTP/1.1 site.test None");
    assert_eq!(edge.get("/").field("x-asked"), plain);
    for request in [
        Request::new("HEAD", "/").body("evil"),
        Request::new("HEAD", "/?utm_x=evil").field("If-Match", "*"),
        Request::new("POST", "/?utm_x=evil"),
    ] {
        // It is answered by what it asked for, and nobody else is.
        assert_ne!(edge.ask(request.clone()).field("x-asked"), plain, "{request:?}");
        assert_eq!(edge.get("/").field("x-asked"), plain, "{request:?}");
    }
    // A default port is no other host.
    let port = Request::get("/port").field("Host", "site.test:80").send(&edge.address).unwrap();
    assert_eq!(port.field("x-asked"), Some("GET /port HTTP/1.1 site.test None"));
}

#[test]
fn a_successor_takes_over_without_a_dropped_connection() {
    let world = World::new();
    let upstream = answers("hello");
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "10"];
    let mut edges = vec![Edge::front(&world, &[&upstream], &args)];
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, stop) = (edges[0].address.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut served = 0;
                while !stop.load(Ordering::SeqCst) {
                    // A new connection each time.
                    let reply = Request::get("/").send(&address).expect("a connection was dropped");
                    assert_eq!(reply.status, 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    for _ in 0..3 {
        let before = edges.pop().unwrap();
        let after = Edge::front(&world, &[&upstream], &args);
        assert_eq!((&after.address, &after.admin), (&before.address, &before.admin));
        let Edge { mut process, .. } = before;
        assert!(process.wait(SOON).success(), "the one before ends by itself");
        edges.push(after);
    }
    stop.store(true, Ordering::SeqCst);
    let served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(served > 0);
}

/// A client that asks again on the same connection.
pub struct Kept {
    stream: BufReader<TcpStream>,
    answered: usize,
    /// The content of the last answer.
    pub content: Vec<u8>,
}

impl Kept {
    /// Connects.
    pub fn connect(address: &str) -> Self {
        let stream = http::connect(address).expect("a connection was refused");
        Self { stream: BufReader::new(stream), answered: 0, content: Vec::new() }
    }

    /// Whether the server has closed it, between two requests.
    pub fn is_closed(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let closed = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !matches!(closed, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Asks, and reads the answer to its end; says whether another request may follow.
    pub fn ask(&mut self, target: &str) -> std::io::Result<bool> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut goes_on) = (0, true);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", bytes)) => length = bytes.parse().unwrap(),
                Some(("connection", "close")) => goes_on = false,
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        self.content = vec![0; length];
        self.stream.read_exact(&mut self.content)?;
        self.answered += 1;
        Ok(goes_on)
    }

    /// Asks until told that no other request may follow, or until `is_over`.
    fn ask_on(&mut self, is_over: impl Fn() -> bool) {
        while !self.is_closed() && !is_over() {
            // Mostly hits, and now and then what goes the long way.
            let target =
                if self.answered % 9 == 4 { format!("/{:p}/{}", self, self.answered) } else { "/".into() };
            match self.ask(&target) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => panic!("a request was lost after {} answers: {error}", self.answered),
            }
        }
    }
}

/// Clients that ask all the time.
const BUSY: usize = 8;

#[test]
fn a_successor_loses_no_request_of_a_kept_connection() {
    let world = World::new();
    let upstream = answers("hello");
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "10"];
    let mut edge = Edge::front(&world, &[&upstream], &args);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..BUSY)
        .map(|_| {
            let (address, stop) = (edge.address.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut connections = 0;
                while !stop.load(Ordering::SeqCst) {
                    Kept::connect(&address).ask_on(|| stop.load(Ordering::SeqCst));
                    connections += 1;
                }
                connections
            })
        })
        .collect();
    for _ in 0..3 {
        let after = Edge::front(&world, &[&upstream], &args);
        let mut before = std::mem::replace(&mut edge, after).process;
        assert!(before.wait(SOON).success(), "the one before ends by itself");
        assert!(!before.stderr().contains("cut off"), "{}", before.stderr());
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let connections: usize = client.join().unwrap();
        assert!(connections > 3, "each process had one of its own: {connections}");
    }
}

#[test]
fn the_end_loses_no_request_of_a_kept_connection() {
    let world = World::new();
    let upstream = answers("hello");
    let mut edge = Edge::front(&world, &[&upstream], &["--drain-seconds", "10"]);
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..BUSY)
        .map(|_| {
            let (mut client, answered) = (Kept::connect(&edge.address), Arc::clone(&answered));
            std::thread::spawn(move || {
                assert!(client.ask("/").unwrap());
                answered.fetch_add(1, Ordering::SeqCst);
                client.ask_on(|| false);
            })
        })
        .collect();
    wait_until("all clients", SOON, || answered.load(Ordering::SeqCst) == BUSY);
    edge.process.signal(Signal::TERM);
    for client in clients {
        client.join().unwrap();
    }
    assert!(edge.process.wait(SOON).success());
    assert!(!edge.process.stderr().contains("cut off"), "{}", edge.process.stderr());
}

#[test]
fn what_operators_ask_is_for_the_successor_while_the_one_before_still_ends() {
    let world = World::new();
    let upstream = Upstream::start(|_| Answer::Held(Vec::new(), response(200, &FRESH, "hello")));
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "60"];
    let mut before = Edge::front(&world, &[&upstream], &args);
    let mut client = http::connect(&before.address).unwrap();
    client.write_all(b"GET /held HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request", SOON, || !upstream.asked().is_empty());

    // One that cannot start leaves it alone.
    let in_the_way = world.path("handover.sock.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let failing = ["edge", "--upstream", &upstream.url, "--listen", "127.0.0.1:0"];
    let failed = world.bake(".", &[&failing[..], &args].concat()).run().code(1);
    assert!(failed.stderr.contains("is in the way of the socket for a successor"), "{}", failed.stderr);
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(Request::get("/readyz").send(&before.admin).unwrap().status, 200);

    let after = Edge::front(&world, &[&upstream], &[&args[..], &["--name", "successor"]].concat());
    for _ in 0..20 {
        let done = after.bake(&["purge", "--all"]).success();
        assert!(done.stdout.contains("edge successor: applied"), "{}", done.stdout);
    }
    assert!(before.process.ended().is_none(), "it has a request under way");
    upstream.release();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(before.process.wait(SOON).success());
}

#[test]
fn who_comes_while_the_edge_ends_is_not_kept_waiting() {
    let world = World::new();
    let upstream = Upstream::start(|_| Answer::Held(Vec::new(), response(200, &FRESH, "hello")));
    let mut edge = Edge::front(&world, &[&upstream], &["--drain-seconds", "60"]);
    let mut client = http::connect(&edge.address).unwrap();
    client.write_all(b"GET /held HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").unwrap();
    wait_until("the request", SOON, || !upstream.asked().is_empty());
    edge.process.signal(Signal::TERM);
    wait_until("the end of connections", SOON, || http::connect(&edge.address).is_err());
    // Operators are told so, and see what is still under way.
    assert_eq!(Request::get("/readyz").send(&edge.admin).unwrap().status, 503);
    assert_eq!(edge.metric("bakehouse_edge_connections", &[]), 1.0);
    upstream.release();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(edge.process.wait(SOON).success());
}

#[test]
fn addresses_of_a_successor_that_differ_are_said_to_be_ignored() {
    let world = World::new();
    let upstream = answers("hello");
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap()];
    let before = Edge::front(&world, &[&upstream], &args);
    let other = ["edge", "--listen", "127.0.0.1:1", "--upstream", &upstream.url];
    let mut after = world.bake(".", &[&other[..], &args].concat()).start();
    after.wait_for_text("--listen", SOON);
    after.wait_for_text("--admin", SOON);
    let said = format!("edge at {}", before.address);
    after.wait_for_text(&said, SOON);
    assert!(before.get("/").has("hello"));
}

#[test]
fn load_balancers_say_who_their_clients_are() {
    let world = World::new();
    let upstream = answers("hello");
    let log = world.path("access.log");
    let args = ["--proxy-protocol-from", "127.0.0.0/8", "--access-log", log.to_str().unwrap()];
    let edge = Edge::front(&world, &[&upstream], &args);
    let ask = |header: &[u8], target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let reply = http::raw(&edge.address, &[header, request.as_bytes()].concat()).unwrap_or_default();
        String::from_utf8_lossy(&reply).into_owned()
    };
    assert!(ask(b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\r\n", "/1").starts_with("HTTP/1.1 200"));
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 8, 127, 0, 0, 1, 0, 1, 0, 80]);
    assert!(ask(&v2, "/2").starts_with("HTTP/1.1 200"));
    let clients: Vec<String> =
        upstream.asked().iter().map(|asked| asked.field("x-forwarded-for").unwrap().to_owned()).collect();
    assert_eq!(clients, ["192.0.2.7", "192.0.2.8"]);
    // Without a header nobody is served.
    assert_eq!(ask(b"", "/3"), "");
    assert_eq!(upstream.asked().len(), 2);
    // An IPv4 address is the same in whichever form it comes, in the log too.
    assert!(ask(b"PROXY TCP6 ::ffff:192.0.2.9 ::1 5000 80\r\n", "/4").starts_with("HTTP/1.1 200"));
    wait_until("its line", SOON, || world.read("access.log").contains("GET /4"));
    let log = world.read("access.log");
    assert!(log.lines().any(|line| line.starts_with("192.0.2.9 - - ")), "{log}");
}

/// Clients at once for one cold object.
const CROWD: usize = 10_000;

#[test]
fn a_crowd_for_one_cold_object_is_one_request() {
    let world = World::new();
    let rest = "y".repeat(1_000);
    let whole = format!("first{rest}");
    let (first, second) = {
        let bytes = response(200, &FRESH, &whole);
        let cut = bytes.len() - rest.len();
        (bytes[..cut].to_vec(), bytes[cut..].to_vec())
    };
    let upstream = Upstream::start(move |_| Answer::Held(first.clone(), second.clone()));
    let edge =
        Edge::front(&world, &[&upstream], &["--connections-per-client", "20000", "--idle-ms", "300000"]);
    let limit = Duration::from_secs(120);
    let mut clients: Vec<TcpStream> = (0..CROWD)
        .map(|_| {
            let mut client = http::connect(&edge.address).unwrap();
            client.set_read_timeout(Some(limit)).unwrap();
            client.write_all(b"GET /cold HTTP/1.1\r\nHost: site.test\r\n\r\n").unwrap();
            client
        })
        .collect();
    // Each has its first bytes while the last are still held back.
    for client in &mut clients {
        let mut seen = Vec::new();
        let mut chunk = [0; 2_048];
        while !seen.ends_with(b"\r\n\r\nfirst") {
            let read = client.read(&mut chunk).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&chunk[..read]);
        }
        assert!(seen.starts_with(b"HTTP/1.1 200"));
    }
    upstream.release();
    for client in &mut clients {
        let mut body = vec![0; rest.len()];
        client.read_exact(&mut body).unwrap();
        assert!(body.iter().all(|byte| *byte == b'y'));
    }
    assert_eq!(upstream.asked().len(), 1);
    assert_eq!(edge.metric("bakehouse_edge_collapsed_total", &[]) as usize, CROWD - 1);
}
