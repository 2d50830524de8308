//! What is spoken with clients, bytes on the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use support::{
    Reply, Upstream, eventually, field, front, read_head, read_response, response, run, send, upstream_config,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        send(200, &[("cache-control", "max-age=60")], &path)
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/b").await;
    let mut stream = edge.connect().await;
    let all = ["/a", "/b", "/c", "/b"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n\r\n"));
    stream.write_all(all.concat().as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while seen.windows(4).filter(|w| w == b"\r\n\r\n").count() < 4 || !seen.ends_with(b"/b") {
        let mut chunk = [0; 4096];
        let n = tokio::time::timeout(support::DEADLINE, stream.read(&mut chunk)).await.unwrap().unwrap();
        assert!(n > 0);
        seen.extend_from_slice(&chunk[..n]);
    }
    let text = String::from_utf8(seen).unwrap();
    let bodies: Vec<&str> = text.split("\r\n\r\n").skip(1).map(|part| &part[..2]).collect();
    assert_eq!(bodies, ["/a", "/b", "/c", "/b"]);
}

#[tokio::test]
async fn heads_may_come_byte_by_byte() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let edge = front(&[&upstream]).await;
    for _ in 0..2 {
        let mut stream = edge.connect().await;
        for byte in b"\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(read_response(&mut stream, false).await.text(), "x");
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// RFC 9110 §2.5: a later minor version is served as the latest that is known, another major one is not.
#[tokio::test]
async fn a_later_minor_version_is_served_as_the_latest_that_is_known() {
    let upstream = Upstream::start(|_| {
        Reply::Send(
            b"HTTP/1.3 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    // A miss, and hits, one of them byte by byte, and all on one connection: it is kept, as that of 1.1 is.
    stream.write_all(b"GET / HTTP/1.2\r\nhost: h\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut stream, false).await.text(), "x");
    eventually("the store", || edge.edge.state().flights == 0).await;
    for byte in b"GET / HTTP/1.9\r\nhost: h\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let seen = read_response(&mut stream, false).await;
    assert!(seen.head.starts_with("HTTP/1.1 200 ") && seen.cache_status().contains("hit"), "{}", seen.head);
    for version in ["1.1", "1.4"] {
        stream.write_all(format!("GET / HTTP/{version}\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(read_response(&mut stream, false).await.text(), "x");
    }
    let requests = upstream.requests();
    assert!(matches!(&requests[..], [one] if one.starts_with("GET / HTTP/1.1\r\n")), "{requests:?}");
    // What 1.1 asks of a request, a later one does.
    for (line, status) in [("GET / HTTP/1.2", 400), ("GET / HTTP/2.0", 505), ("GET / HTTP/0.9", 505)] {
        let seen = edge.raw(format!("{line}\r\n\r\n").as_bytes(), false).await;
        assert_eq!(seen.status, status, "{line}");
    }
}

#[tokio::test]
async fn content_is_asked_for_when_it_is_wanted() {
    let upstream = Upstream::start(|_| send(200, &[], "got it")).await;
    let mut config = upstream_config(&[&upstream]);
    config.deadlines.word = Duration::from_millis(1);
    let edge = run(config).await;
    let mut stream = edge.connect().await;
    // The upstream is one that does not know of it.
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let (head, _) = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_response(&mut stream, false).await.text(), "got it");
    let asked = upstream.requests();
    assert!(asked[0].ends_with("hello") && field(&asked[0], "expect").is_some(), "{asked:?}");
    // The connection goes on, with chunked content and its trailers passed over.
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n\
              x-t: 1\r\n\r\nGET /next HTTP/1.1\r\nhost: h\r\n\r\n",
        )
        .await
        .unwrap();
    // The scripted upstream reads sized content only, so what it takes for the next request shows the framing.
    let (head, _) = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
}

#[tokio::test]
async fn an_early_answer_is_seen_and_ends_the_connection() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    // Nobody ever asks for this content.
    stream.write_all(b"TRACE / HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
    stream.write_all(&vec![b'x'; 60_000]).await.unwrap();
    let seen = read_response(&mut stream, false).await;
    assert_eq!((seen.status, seen.field("connection").as_deref()), (405, Some("close")));
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn interim_responses_come_first_but_not_to_http_1_0() {
    let early =
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
    let parts =
        || Reply::Parts(vec![early.to_vec(), response(200, &[("cache-control", "no-store")], "page")]);
    let upstream = Upstream::script(vec![parts(), parts(), parts()]).await;
    let edge = front(&[&upstream]).await;
    for (at, method) in ["GET", "POST"].into_iter().enumerate() {
        let mut stream = edge.connect().await;
        stream.write_all(format!("{method} / HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        upstream.wait_for(at + 1).await;
        upstream.permit(1);
        // It is here before the final response has begun.
        let (head, _) = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 103 ") && field(&head, "link").is_some(), "{head}");
        assert!(field(&head, "x-hop").is_none() && field(&head, "connection").is_none(), "{head}");
        upstream.permit(1);
        assert_eq!(read_response(&mut stream, false).await.text(), "page");
    }
    let mut stream = edge.connect().await;
    stream.write_all(b"GET / HTTP/1.0\r\nhost: h\r\n\r\n").await.unwrap();
    upstream.wait_for(3).await;
    upstream.permit(2);
    let seen = read_response(&mut stream, false).await;
    assert_eq!((seen.status, seen.text()), (200, "page"));
}

#[tokio::test]
async fn http_1_0_gets_no_chunks_and_trailers_only_who_takes_them() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::Send(chunked.into())).await;
    let edge = front(&[&upstream]).await;
    let old = edge.raw(b"GET / HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n", false).await;
    assert!(
        old.field("transfer-encoding").is_none() && old.field("content-length").is_none(),
        "{}",
        old.head
    );
    assert_eq!((old.text(), old.field("connection").as_deref()), ("body", Some("close")));
    for (te, takes) in [("", false), ("te: trailers\r\n", true)] {
        let mut stream = edge.connect().await;
        let request = format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{te}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        tokio::time::timeout(support::DEADLINE, stream.read_to_end(&mut all)).await.unwrap().unwrap();
        let all = String::from_utf8(all).unwrap();
        assert!(all.contains("\r\n\r\n4\r\nbody\r\n0\r\n"), "{all}");
        assert_eq!(all.ends_with("0\r\nx-sum: 7\r\n\r\n"), takes, "{all}");
    }
}

#[tokio::test]
async fn a_websocket_is_tunnelled_after_the_101() {
    let upstream = Upstream::start(|head| {
        if field(head, "upgrade").is_none() {
            return send(200, &[], "plain");
        }
        Reply::Send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-accept: abc\r\n\r\nfrom upstream"
                .to_vec(),
        )
    })
    .await;
    let edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    stream
        .write_all(
            b"GET /ws HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-key: k\r\n\r\n",
        )
        .await
        .unwrap();
    let (head, mut rest) = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(field(&head, "sec-websocket-accept").as_deref(), Some("abc"));
    assert_eq!(field(&head, "connection").as_deref(), Some("upgrade"));
    while rest.len() < "from upstream".len() {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.unwrap();
        rest.push(byte[0]);
    }
    assert_eq!(rest, b"from upstream");
    // The scripted upstream takes what comes next for a request: bytes pass that were never looked at.
    stream.write_all(b"RAW bytes\r\n\r\n").await.unwrap();
    upstream.wait_for(2).await;
    assert!(upstream.requests()[1].starts_with("RAW bytes"));
    // It is under way until it ends.
    let in_flight = || edge.edge.upstreams()[0].in_flight;
    assert_eq!(in_flight(), 1);
    drop(stream);
    eventually("its end", || in_flight() == 0).await;
    // Any other protocol is not passed on.
    let other = edge.ask("GET", "/ws", &[("connection", "upgrade"), ("upgrade", "h2c")]).await;
    assert_eq!(other.text(), "plain");
}

#[tokio::test]
async fn slow_clients_are_ended() {
    let big = "x".repeat(8 << 20);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "max-age=60")], &big)).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = 128 << 20;
    let short = Duration::from_millis(300);
    config.settings.limits.header_read = short;
    config.settings.limits.idle = short;
    config.settings.limits.content_idle = short;
    config.settings.limits.write_stall = short;
    let edge = run(config).await;
    // A head that never ends, a silence after a response, content that stops.
    let starts: [&[u8]; 4] = [
        b"",
        b"GET / HTTP/1.1\r\nhost",
        b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf",
    ];
    for start in starts {
        let mut stream = edge.connect().await;
        stream.write_all(start).await.unwrap();
        let mut all = Vec::new();
        let ended = tokio::time::timeout(support::DEADLINE, stream.read_to_end(&mut all)).await;
        assert!(ended.is_ok(), "{:?} still hangs", String::from_utf8_lossy(start));
    }
    // A client that takes nothing: what was in flight for it is let go.
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    upstream.wait_for(1).await;
    eventually("the fill", || edge.edge.state().entries == 1).await;
    // Writing to what the other side has closed fails.
    eventually(
        "the connection's end",
        || matches!(stream.try_write(b"\r\n"), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock),
    )
    .await;
}

#[tokio::test]
async fn connections_and_requests_are_bounded() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.connections_per_client_max = 2;
    config.settings.limits.requests_per_connection_max = 2;
    let edge = run(config).await;
    let (mut first, _second) = (edge.connect().await, edge.connect().await);
    for last in [false, true] {
        first.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let seen = read_response(&mut first, false).await;
        assert_eq!(seen.field("connection").as_deref() == Some("close"), last, "{}", seen.head);
    }
    let mut third = edge.connect().await;
    assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn the_end_answers_who_asks_and_closes_who_is_silent() {
    let upstream = Upstream::start(|head| match head.split(' ').nth(1) {
        Some("/hit") => send(200, &[("cache-control", "max-age=60")], "x"),
        _ => send(200, &[("cache-control", "no-store")], "x"),
    })
    .await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.drain = support::DEADLINE * 3;
    config.settings.limits.linger = support::DEADLINE * 3;
    let edge = run(config).await;
    edge.get("/hit").await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n\r\n");
    let mut kept = Vec::new();
    for path in ["/hit", "/miss", "/silent"] {
        let mut stream = edge.connect().await;
        stream.write_all(request(path).as_bytes()).await.unwrap();
        assert!(read_response(&mut stream, false).await.field("connection").is_none());
        kept.push((path, stream));
    }
    // One that has asked for nothing yet, taken before the end.
    kept.push(("/silent", edge.connect().await));
    edge.get("/hit").await;
    edge.stop.cancel();
    eventually("the end of the listener", || std::net::TcpStream::connect(&edge.address).is_err()).await;
    for (path, stream) in &mut kept {
        if *path != "/silent" {
            stream.write_all(request(path).as_bytes()).await.unwrap();
            let last = read_response(stream, false).await;
            assert_eq!((last.status, last.field("connection").as_deref()), (200, Some("close")), "{path}");
        }
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(support::DEADLINE, stream.read_to_end(&mut rest)).await.unwrap();
        assert!(closed.is_ok() && rest.is_empty(), "{path}: {closed:?}");
        // What crosses the close is passed over, not reset.
        stream.write_all(request("/crossing").as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "{path}");
    }
    drop(kept);
    let served = tokio::time::timeout(support::DEADLINE, async {
        while !edge.served.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    assert!(served.await.is_ok(), "connections that were closed hold nothing up");
}

#[tokio::test]
async fn a_load_balancer_says_who_the_client_is() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    let edge = run(config).await;
    let seen =
        edge.raw(b"PROXY TCP4 192.0.2.7 127.0.0.1 1234 80\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", false).await;
    assert_eq!(seen.status, 200);
    assert_eq!(field(&upstream.requests()[0], "x-forwarded-for").as_deref(), Some("192.0.2.7"));
    // Without a header, or with a broken one, there is no answer.
    for bytes in [&b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"[..], b"PROXY TCP4 a b c d\r\n", b"PROXY TCP9 "] {
        let mut stream = edge.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        let _ = tokio::time::timeout(support::DEADLINE, stream.read_to_end(&mut all)).await.unwrap();
        assert!(all.is_empty());
    }
    assert_eq!(upstream.requests().len(), 1);
    // Nobody else is believed.
    let other = front(&[&upstream]).await;
    assert_eq!(other.raw(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 80\r\n\r\n", false).await.status, 400);
}
