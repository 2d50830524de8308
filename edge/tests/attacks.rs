//! What attacks and mistakes come to: a status, or the end of the connection, and a metric.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{path::Path, time::Duration};

use edge::{LogFormat, LogTarget};
use support::{
    Reply, Running, Upstream, eventually, meters, read_head, read_response, response, run, send,
    upstream_config,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn upstream() -> Upstream {
    meters::install();
    Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await
}

async fn opened(edge: &Running, bytes: &[u8]) -> TcpStream {
    let mut stream = edge.connect().await;
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Waits for the end of a connection, and returns what came before.
async fn end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(support::DEADLINE, stream.read_to_end(&mut all)).await.expect("no end");
    all
}

async fn logged(log: &Path, lines: usize) -> Vec<serde_json::Value> {
    let text = || std::fs::read_to_string(log).unwrap();
    eventually("the log", || text().matches('\n').count() >= lines).await;
    // The last may be being written.
    let text = text();
    let (whole, _) = text.rsplit_once('\n').unwrap();
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log_of(name: &str) -> std::path::PathBuf {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(std::fs::remove_file(&log));
    log
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_counted_and_logged() {
    let upstream = upstream().await;
    let log = log_of("attacks.log");
    let mut config = upstream_config(&[&upstream]);
    config.access_log = Some((LogTarget::File(log.clone()), LogFormat::Json));
    let edge = run(config).await;
    let many = "a: b\r\n".repeat(101);
    let endless = format!("a: {}\r\n", "x".repeat(70_000));
    let long = format!("/{}", "x".repeat(20_000));
    // The request line, its fields, the status, and what of the request line is known.
    let rows: [(&str, &str, u16, (&str, &str)); 25] = [
        // Smuggling: what can be read in two ways.
        ("POST /a HTTP/1.1", "content-length: 1\r\ntransfer-encoding: chunked\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "content-length: 1\r\ncontent-length: 2\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "content-length: 1, 1\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "content-length: +1\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "content-length : 1\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "transfer-encoding: chunked, x\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "transfer-encoding: gzip, chunked\r\n", 501, ("POST", "/a")),
        ("POST /a HTTP/1.0", "transfer-encoding: chunked\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "transfer-encoding: chunked\r\n\r\nz\r\n", 400, ("POST", "/a")),
        ("POST /a HTTP/1.1", "transfer-encoding: chunked\r\n\r\n1\r\nab\r\n", 400, ("POST", "/a")),
        ("GET /a HTTP/1.1", "a: b\r\n c\r\n", 400, ("GET", "/a")),
        ("GET /a HTTP/1.1", "a: b\nc: d\r\n", 400, ("GET", "/a")),
        ("GET /a HTTP/1.1", "a: b\rc\r\n", 400, ("GET", "/a")),
        ("GET /a HTTP/1.1", "a: b\0\r\n", 400, ("GET", "/a")),
        // Too much of it.
        ("GET /a HTTP/1.1", &many, 431, ("GET", "/a")),
        ("GET /a HTTP/1.1", &endless, 431, ("GET", "/a")),
        (&format!("GET {long} HTTP/1.1"), "", 414, ("GET", &long[..4_096])),
        // Not for us.
        ("CONNECT h:443 HTTP/1.1", "", 405, ("CONNECT", "h:443")),
        ("TRACE /a HTTP/1.1", "", 405, ("TRACE", "/a")),
        ("GET /a HTTP/1.1", "host: other\r\n", 400, ("GET", "/a")),
        ("GET /a#b HTTP/1.1", "", 400, ("GET", "/a#b")),
        ("GET /a HTTP/1.1", "expect: tea\r\n", 417, ("GET", "/a")),
        ("GET /a HTTP/2.0", "", 505, ("GET", "/a")),
        ("GET  /a HTTP/1.1", "", 400, ("GET", "")),
        ("\x16\x03\x01 hello", "", 400, ("-", "-")),
    ];
    let count = rows.len();
    for (at, (line, fields, status, (method, target))) in rows.into_iter().enumerate() {
        let metric = format!("refused_total{{status=\"{status}\"}}");
        let failed = || {
            edge.edge.refresh_gauges();
            meters::counter("results_total{result=\"failed\",reason=\"none\"}")
        };
        let before = (meters::counter(&metric), failed());
        let request = format!("{line}\r\nhost: site.test\r\n{fields}\r\n");
        let mut stream = opened(&edge, request.as_bytes()).await;
        let seen = read_response(&mut stream, false).await;
        let name = format!("{line} {:?}", &fields[..fields.len().min(60)]);
        assert_eq!(seen.status, status, "{name}");
        assert_eq!(seen.field("connection").as_deref(), Some("close"), "{name}");
        assert!(seen.field("cache-status").is_none() || seen.cache_status().contains("fwd"), "{name}");
        assert!(end(&mut stream).await.is_empty(), "{name}");
        assert_eq!((meters::counter(&metric), failed()), (before.0 + 1, before.1 + 1), "{name}");
        let line = &logged(&log, at + 1).await[at];
        let facts = [&line["method"], &line["target"], &line["result"], &line["client"]].map(|v| v.as_str());
        assert_eq!(facts, [method, target, "failed", "127.0.0.1"].map(Some), "{name}");
        assert_eq!((&line["status"], &line["id"]), (&status.into(), &seen.field("x-request-id").into()));
    }
    assert_eq!(logged(&log, count).await.len(), count);
    // None of it was stored.
    assert_eq!(edge.get("/a").await.text(), "x");
}

/// What one server takes for another path than the next does is sent on, and kept, byte for byte: neither is answered with
/// what belongs to the other.
#[tokio::test]
async fn path_tricks_are_kept_apart_and_sent_on_as_they_are() {
    meters::install();
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        send(200, &[("cache-control", "max-age=60")], &path)
    })
    .await;
    let edge = run(upstream_config(&[&upstream])).await;
    let paths = [
        "/secret",
        "/a/../secret",
        "/a/%2e%2e/secret",
        "/a/%2E%2E/secret",
        "/a/..%2fsecret",
        "/./secret",
        "//secret",
        "/secret/",
        "/secret;a",
        "/%73ecret",
        "/secret%00",
        "/a/..\\secret",
        "/secret%3f",
    ];
    for round in 0..2 {
        for path in paths {
            let seen = edge.get(path).await;
            assert_eq!((seen.status, seen.text()), (200, path));
            assert_eq!(seen.cache_status().starts_with("Bakehouse; hit"), round == 1, "{path}");
        }
    }
    let asked: Vec<String> =
        upstream.requests().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(asked, paths);
    // All but those that name one thing in one way: `/secret`, `/secret/`, `/secret;a`, `/%73ecret` and `/secret%3f`.
    assert_eq!(meters::counter("ambiguous_paths_total"), paths.len() as u64 - 5);
}

#[tokio::test]
async fn who_is_slow_is_ended_and_counted_by_what_for() {
    let upstream = upstream().await;
    let mut config = upstream_config(&[&upstream]);
    let short = Duration::from_millis(300);
    config.settings.limits.header_read = short;
    config.settings.limits.idle = short;
    config.settings.limits.content_idle = short;
    config.settings.limits.linger = short;
    let edge = run(config).await;
    let rows: [(&str, &[u8]); 5] = [
        ("start", b""),
        ("head", b"GET / HTTP/1.1\r\nhost"),
        ("idle", b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("content", b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf"),
        ("linger", b"GET / HTTP/1.9\r\n\r\n"),
    ];
    for (what, bytes) in rows {
        let metric = format!("late_total{{what=\"{what}\"}}");
        let before = meters::counter(&metric);
        let mut stream = opened(&edge, bytes).await;
        eventually(what, || meters::counter(&metric) == before + 1).await;
        end(&mut stream).await;
    }
}

/// Content that comes byte by byte is not waited for any longer than content that does not come.
#[tokio::test]
async fn content_must_come_on() {
    let upstream = upstream().await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.content_idle = Duration::from_secs(1);
    let edge = run(config).await;
    let mut stream = opened(&edge, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n").await;
    let drips = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(support::DEADLINE, drips).await.expect("it still goes on");
    assert_eq!(meters::counter("late_total{what=\"content\"}"), 1);
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_no_more() {
    let upstream = upstream().await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.connections_per_client_max = 1;
    let edge = run(config.clone()).await;
    let ask = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut first = opened(&edge, ask).await;
    assert_eq!(read_response(&mut first, false).await.status, 200);
    assert!(end(&mut edge.connect().await).await.is_empty());
    assert_eq!(meters::counter("connections_refused_total"), 1);

    // Behind a load balancer it is the client that it names.
    config.settings.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    let edge = run(config).await;
    let named =
        |client: &str| [format!("PROXY TCP4 {client} 127.0.0.1 1234 80\r\n").as_bytes(), ask].concat();
    let mut first = opened(&edge, &named("192.0.2.7")).await;
    assert_eq!(read_response(&mut first, false).await.status, 200);
    assert!(end(&mut opened(&edge, &named("192.0.2.7")).await).await.is_empty());
    assert_eq!(meters::counter("connections_refused_total"), 2);
    let mut other = opened(&edge, &named("192.0.2.8")).await;
    assert_eq!(read_response(&mut other, false).await.status, 200);
    // The balancer itself looks as often as it likes.
    for _ in 0..2 {
        let own = [b"PROXY UNKNOWN\r\n", &ask[..]].concat();
        assert_eq!(edge.raw(&own, false).await.status, 200);
    }
    drop(first);
    let mut again = false;
    while !again {
        let mut stream = opened(&edge, &named("192.0.2.7")).await;
        again = tokio::time::timeout(support::DEADLINE, stream.read(&mut [0; 1]))
            .await
            .unwrap()
            .is_ok_and(|n| n > 0);
    }
    assert_eq!(meters::counter("proxy_header_invalid_total"), 0);
    assert!(end(&mut opened(&edge, ask).await).await.is_empty());
    assert_eq!(meters::counter("proxy_header_invalid_total"), 1);
}

#[tokio::test]
async fn a_flood_of_interim_responses_is_cut_off() {
    meters::install();
    let early = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let whole = [early, response(200, &[], "page")].concat();
    let upstream = Upstream::script(vec![Reply::Send(whole)]).await;
    let edge = run(upstream_config(&[&upstream])).await;
    let mut stream = opened(&edge, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (mut head, mut rest) = read_head(&mut stream).await;
    let mut interims = 0;
    while head.starts_with("HTTP/1.1 103 ") {
        interims += 1;
        while support::find(&rest, b"\r\n\r\n").is_none() {
            assert!(stream.read_buf(&mut rest).await.unwrap() > 0);
        }
        let after = rest.split_off(support::find(&rest, b"\r\n\r\n").unwrap() + 4);
        head = String::from_utf8(std::mem::replace(&mut rest, after)).unwrap();
    }
    assert!(head.starts_with("HTTP/1.1 200 ") && interims <= 32, "{interims} {head}");
    let dropped = meters::counter("interim_dropped_total");
    assert!(dropped > 0, "{interims} passed on");
}

/// A response of which the client takes a part, and goes, has taken as long as it was there, and was as many bytes as went out.
#[tokio::test]
async fn what_is_abandoned_is_logged_as_it_was() {
    const BODY_BYTES: u64 = 20 << 20;
    meters::install();
    let body = "x".repeat(BODY_BYTES as usize);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "max-age=60")], &body)).await;
    let log = log_of("abandoned.log");
    let mut config = upstream_config(&[&upstream]);
    config.access_log = Some((LogTarget::File(log.clone()), LogFormat::Json));
    let edge = run(config).await;
    assert_eq!(edge.get("/").await.body.len() as u64, BODY_BYTES);
    logged(&log, 1).await;
    let before = hits_within();
    let ask = b"GET / HTTP/1.1\r\nhost: site.test\r\nuser-agent: a\r\nreferer: b\r\n\r\n";
    let mut stream = opened(&edge, ask).await;
    let mut some = [0; 300];
    stream.read_exact(&mut some).await.unwrap();
    let stays = Duration::from_millis(300);
    tokio::time::sleep(stays).await;
    assert_eq!(logged(&log, 1).await.len(), 1, "it has not ended");
    drop(stream);
    let line = &logged(&log, 2).await[1];
    assert_eq!((&line["result"], &line["status"]), (&"hit".into(), &200.into()));
    assert_eq!((&line["user_agent"], &line["referer"]), (&"a".into(), &"b".into()));
    let (bytes, us) = (line["bytes"].as_u64().unwrap(), line["us"].as_u64().unwrap());
    assert!(bytes > 0 && bytes < BODY_BYTES, "{bytes}");
    assert!(u128::from(us) >= stays.as_micros(), "{us}");
    // One that is taken is as long as it is.
    assert_eq!(edge.get("/").await.body.len() as u64, BODY_BYTES);
    assert_eq!(logged(&log, 3).await[2]["bytes"], BODY_BYTES);
    // So it is in the histogram.
    let after = hits_within();
    assert_eq!(after[1] - before[1], 2);
    assert!(after[0] - before[0] < 2, "one took longer: {before:?} {after:?}");
}

#[tokio::test]
async fn a_websocket_is_logged_as_sent_on() {
    let changed = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::Send(changed.into())).await;
    let log = log_of("websocket.log");
    let mut config = upstream_config(&[&upstream]);
    config.access_log = Some((LogTarget::File(log.clone()), LogFormat::Json));
    let edge = run(config).await;
    let asked = "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut stream = opened(&edge, asked.as_bytes()).await;
    assert!(read_head(&mut stream).await.0.starts_with("HTTP/1.1 101 "));
    drop(stream);
    let line = &logged(&log, 1).await[0];
    assert_eq!((&line["status"], &line["result"]), (&101.into(), &"bypass".into()));
}

/// Hits that took at most 262 ms, and all.
fn hits_within() -> [u64; 2] {
    let text = edge::metrics_text();
    ["bucket{result=\"hit\",le=\"0.262144\"} ", "count{result=\"hit\"} "].map(|name| {
        let name = format!("bakehouse_edge_response_seconds_{name}");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

#[tokio::test]
async fn upstreams_that_are_passed_over_are_counted() {
    let upstream = upstream().await;
    let edge = run(upstream_config(&[&upstream])).await;
    edge.edge.refresh_gauges();
    assert_eq!(meters::gauge("upstreams_up"), 1.0);
    upstream.stop();
    for path in 0..10 {
        assert!(edge.get(&format!("/{path}")).await.status >= 500);
    }
    edge.edge.refresh_gauges();
    assert_eq!(meters::gauge("upstreams_up"), 0.0);
}
