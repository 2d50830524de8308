//! The edge in front of an upstream that knows nothing of it, bytes checked on both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use edge::{EdgeConfig, Mode};
use release::journal::Selector;
use support::{
    Reply, Upstream, eventually, field, front, read_head, read_response, response, run, send, upstream_config,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_miss_is_stored_and_the_next_is_a_hit() {
    let upstream = Upstream::script(vec![send(
        200,
        &[
            ("cache-control", "max-age=60"),
            ("x-a", "1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-request-id", "theirs"),
        ],
        "hello",
    )])
    .await;
    let edge = front(&[&upstream]).await;
    let fields = [("x-original-url", "/evil"), ("connection", "x-mine"), ("x-mine", "1"), ("cookie", "a=b")];
    let miss = edge.ask("GET", "/a?b=c", &fields).await;
    assert_eq!((miss.status, miss.text()), (200, "hello"));
    assert_eq!(miss.cache_status(), "Bakehouse; fwd=uri-miss; fwd-status=200; ttl=60; stored");
    assert_eq!(miss.field("via").as_deref(), Some("1.1 test-edge"));
    assert!(miss.field("x-hop").is_none());
    let hit = edge.get("/a?b=c").await;
    assert_eq!((hit.status, hit.text(), hit.field("x-a").as_deref()), (200, "hello", Some("1")));
    assert!(hit.cache_status().starts_with("Bakehouse; hit; ttl="), "{}", hit.cache_status());
    assert_eq!(hit.field("age").as_deref(), Some("0"));
    // One id each, of this request.
    let ids = [&miss, &hit].map(|reply| reply.field("x-request-id").unwrap());
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 16), "{ids:?}");
    let asked = upstream.requests();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{}", asked[0]);
    for (name, value) in [
        ("host", Some("site.test")),
        ("via", Some("1.1 test-edge")),
        ("x-original-url", None),
        ("x-mine", None),
        ("cookie", Some("a=b")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some("site.test")),
    ] {
        assert_eq!(field(&asked[0], name).as_deref(), value, "{name}");
    }
    // Another query is another key; HEAD is answered from the stored GET.
    assert_eq!(edge.get("/a?b=d").await.status, 500);
    let head = edge.ask("HEAD", "/a?b=c", &[]).await;
    assert_eq!((head.status, head.field("content-length").as_deref()), (200, Some("5")));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_large_body_is_the_same_from_its_file_however_slowly_it_is_read() {
    let body: String = (0..400_000).map(|i| format!("{i:07}\n")).collect();
    let whole = body.clone();
    let upstream =
        Upstream::start(move |_| send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], &body))
            .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.get("/large").await.text(), whole);
    let files = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .filter(|link| link.to_string_lossy().contains("bakehouse-body"))
            .count()
    };
    eventually("a file for the body", || files() == 1).await;
    // Two on one connection, read in small parts with pauses: what follows a body begins where it ends.
    let mut stream = edge.connect().await;
    let request = "GET /large HTTP/1.1\r\nhost: site.test\r\n";
    stream.write_all(format!("{request}\r\n{request}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let (mut read, mut part) = (Vec::new(), vec![0; 128 << 10]);
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        match stream.read(&mut part).await.unwrap() {
            0 => break,
            bytes => read.extend_from_slice(&part[..bytes]),
        }
    }
    let mut rest = std::str::from_utf8(&read).unwrap();
    for _ in 0..2 {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap();
        assert!(field(head, "cache-status").unwrap().starts_with("Bakehouse; hit"), "{head}");
        assert_eq!(field(head, "content-length"), Some(whole.len().to_string()));
        let (body, after) = after.split_at(whole.len());
        assert!(body == whole);
        rest = after;
    }
    assert_eq!(rest, "");
    let range = edge.ask("GET", "/large", &[("range", "bytes=2000000-2000015")]).await;
    assert_eq!((range.status, range.body.as_slice()), (206, &whole.as_bytes()[2_000_000..2_000_016]));
    let head = edge.ask("HEAD", "/large", &[]).await;
    assert_eq!(head.field("content-length"), Some(whole.len().to_string()));
    assert!(head.body.is_empty());
    assert_eq!(upstream.requests().len(), 1);
    // A client that leaves in the middle is no matter for the next.
    let mut leaves = edge.connect().await;
    leaves.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    leaves.read_exact(&mut part).await.unwrap();
    drop(leaves);
    assert_eq!(edge.get("/large").await.text(), whole);
    edge.edge.purge_local(&[Selector::All], false).await;
    eventually("the file to go", || files() == 0).await;
}

#[tokio::test]
async fn what_is_not_for_all_is_not_shared() {
    let bodies = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::start(move |head| {
        let n = bodies.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let fields: &[(&str, &str)] = match path.as_str() {
            "/private" => &[("cache-control", "private, max-age=60")],
            "/no-store" => &[("cache-control", "no-store, max-age=60")],
            "/cookie" => &[("cache-control", "max-age=60"), ("set-cookie", "id=1")],
            "/authorized" => &[("cache-control", "max-age=60")],
            "/nothing" => &[],
            "/zero" => &[("cache-control", "max-age=0"), ("etag", "\"a\"")],
            "/targeted" => &[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")],
            _ => &[("cache-control", "max-age=60"), ("vary", "*")],
        };
        send(200, fields, &format!("{n}"))
    })
    .await;
    let edge = front(&[&upstream]).await;
    for path in ["/private", "/no-store", "/cookie", "/authorized", "/nothing", "/zero", "/targeted", "/star"]
    {
        let fields: &[(&str, &str)] =
            if path == "/authorized" { &[("authorization", "Basic eA==")] } else { &[] };
        let first = edge.ask("GET", path, fields).await;
        let second = edge.get(path).await;
        assert_ne!(first.body, second.body, "{path}");
        assert!(!second.cache_status().contains("hit"), "{path}: {}", second.cache_status());
    }
}

#[tokio::test]
async fn a_hundred_clients_are_one_upstream_request_and_read_along() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n";
    let upstream =
        Upstream::script(vec![Reply::Parts(vec![format!("{head}first").into_bytes(), b"secon".to_vec()])])
            .await;
    let edge = std::sync::Arc::new(front(&[&upstream]).await);
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let edge = std::sync::Arc::clone(&edge);
            tokio::spawn(async move {
                let mut stream = edge.connect().await;
                stream.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
                let (head, mut body) = read_head(&mut stream).await;
                while body.len() < 5 {
                    let mut byte = [0; 1];
                    stream.read_exact(&mut byte).await.unwrap();
                    body.push(byte[0]);
                }
                (stream, head, body)
            })
        })
        .collect();
    upstream.wait_for(1).await;
    upstream.permit(1);
    let mut streams = Vec::new();
    for client in clients {
        // All have the first half while the second has not been sent.
        let (stream, head, body) = client.await.unwrap();
        assert_eq!(&body[..], b"first");
        streams.push((stream, head));
    }
    upstream.permit(1);
    let mut collapsed = 0;
    for (mut stream, head) in streams {
        let mut rest = [0; 5];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"secon");
        collapsed += usize::from(field(&head, "cache-status").unwrap().contains("collapsed"));
    }
    assert_eq!((upstream.requests().len(), collapsed), (1, 99));
}

#[tokio::test]
async fn followers_of_what_cannot_be_shared_are_released_at_once() {
    let upstream =
        Upstream::start(|_| Reply::Parts(vec![response(200, &[("cache-control", "private")], "mine")])).await;
    let edge = std::sync::Arc::new(front(&[&upstream]).await);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let edge = std::sync::Arc::clone(&edge);
            tokio::spawn(async move { edge.get("/mine").await })
        })
        .collect();
    upstream.wait_for(1).await;
    eventually("the others to wait", || edge.edge.state().waiting == 19).await;
    upstream.permit(1);
    // Now all the others ask for themselves, at the same time.
    upstream.wait_for(20).await;
    upstream.permit(19);
    let mut released = 0;
    for client in clients {
        let seen = client.await.unwrap();
        assert_eq!(seen.text(), "mine");
        released += usize::from(seen.cache_status().contains("collapsed=?0"));
    }
    assert_eq!((upstream.requests().len(), released), (20, 19));
}

#[tokio::test]
async fn variants_are_told_apart_and_asked_for_once_each() {
    let upstream = Upstream::start(|head| {
        let language = field(head, "accept-language").unwrap_or_default();
        send(200, &[("cache-control", "max-age=60"), ("vary", "Accept-Language")], &language)
    })
    .await;
    let edge = front(&[&upstream]).await;
    for language in ["de", "en", "fr"] {
        for expected in ["fwd=", "hit"] {
            let seen = edge.ask("GET", "/v", &[("accept-language", language)]).await;
            assert_eq!(seen.text(), language);
            assert!(seen.cache_status().contains(expected), "{language}: {}", seen.cache_status());
        }
    }
    assert_eq!(upstream.requests().len(), 3);
    assert!(
        edge.ask("GET", "/v", &[("accept-language", "it")]).await.cache_status().contains("fwd=vary-miss")
    );
}

#[tokio::test]
async fn a_stale_copy_is_validated_and_renewed_by_a_304() {
    let upstream = Upstream::script(vec![
        send(
            200,
            &[
                ("cache-control", "max-age=0"),
                ("etag", "\"a\""),
                ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("x-a", "1"),
            ],
            "body",
        ),
        send(304, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-a", "2")], ""),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.get("/").await.text(), "body");
    let renewed = edge.get("/").await;
    assert_eq!((renewed.status, renewed.text(), renewed.field("x-a").as_deref()), (200, "body", Some("2")));
    assert!(renewed.cache_status().starts_with("Bakehouse; fwd=stale; fwd-status=304; ttl=60; stored"));
    let asked = upstream.requests();
    assert_eq!(field(&asked[1], "if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(field(&asked[1], "if-modified-since").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let hit = edge.get("/").await;
    assert!(hit.cache_status().contains("hit") && hit.field("x-a").as_deref() == Some("2"));
    // The client's own conditions are answered from the store.
    let not_modified = edge.ask("GET", "/", &[("if-none-match", "W/\"a\"")]).await;
    assert_eq!((not_modified.status, not_modified.field("etag").as_deref()), (304, Some("\"a\"")));
    assert_eq!(not_modified.field("content-length"), None);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_miss_with_conditions_is_fetched_whole() {
    let upstream =
        Upstream::script(vec![send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "body")])
            .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.ask("GET", "/", &[("if-none-match", "\"a\"")]).await.status, 304);
    assert_eq!(field(&upstream.requests()[0], "if-none-match"), None);
    assert_eq!(edge.get("/").await.text(), "body");
}

#[tokio::test]
async fn ranges_are_cut_from_what_is_stored() {
    let upstream = Upstream::script(vec![send(
        200,
        &[("cache-control", "max-age=60"), ("etag", "\"a\"")],
        "0123456789",
    )])
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    let part = edge.ask("GET", "/", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("content-range").as_deref(), Some("bytes 2-4/10"));
    assert_eq!(part.field("content-length").as_deref(), Some("3"));
    assert_eq!(edge.ask("GET", "/", &[("range", "bytes=-3")]).await.text(), "789");
    let beyond = edge.ask("GET", "/", &[("range", "bytes=10-")]).await;
    assert_eq!((beyond.status, beyond.field("content-range").as_deref()), (416, Some("bytes */10")));
    let other = edge.ask("GET", "/", &[("range", "bytes=2-4"), ("if-range", "\"b\"")]).await;
    assert_eq!((other.status, other.text()), (200, "0123456789"));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn stale_while_revalidate_answers_first_and_asks_behind() {
    let upstream = Upstream::script(vec![
        send(200, &[("cache-control", "max-age=0, stale-while-revalidate=60")], "old"),
        send(200, &[("cache-control", "max-age=60")], "new"),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    let stale = edge.get("/").await;
    assert_eq!(stale.text(), "old");
    assert!(stale.cache_status().contains("hit") && stale.cache_status().contains("stale-while-revalidate"));
    upstream.wait_for(2).await;
    eventually("the revalidation", || edge.edge.state().flights == 0).await;
    let fresh = edge.get("/").await;
    assert_eq!(fresh.text(), "new");
    assert!(fresh.cache_status().starts_with("Bakehouse; hit; ttl="));
}

#[tokio::test]
async fn what_fails_behind_an_answer_is_not_asked_for_with_each() {
    const ANSWERS: usize = 20;
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => send(200, &[("cache-control", "max-age=0, stale-while-revalidate=60")], "old"),
        _ => send(503, &[], "in trouble"),
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    let began = tokio::time::Instant::now();
    for _ in 0..ANSWERS {
        assert_eq!(edge.get("/").await.text(), "old");
        eventually("the revalidation", || edge.edge.state().flights == 0).await;
    }
    let behind = upstream.requests().len() - 1;
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    // One may begin before it is known that the one before has failed.
    assert!((1..=ANSWERS / 4 + seconds).contains(&behind), "{behind} in {seconds} s");
}

#[tokio::test]
async fn stale_stands_in_for_errors_only_where_it_may() {
    let upstream = Upstream::start({
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        move |head| {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            if !seen.lock().unwrap().insert(path.clone()) {
                return if path.starts_with("/down") { Reply::Close } else { send(503, &[], "busy") };
            }
            let control = match path.as_str() {
                "/sie" => "max-age=0, stale-if-error=60",
                "/must" | "/down-must" => "max-age=0, must-revalidate, stale-if-error=60",
                "/down" => "max-age=0",
                _ => "max-age=0",
            };
            send(200, &[("cache-control", control), ("etag", "\"a\"")], "old")
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (path, status, detail) in [
        ("/sie", 200, "stale-if-error"),
        ("/must", 503, ""),
        ("/plain", 503, ""),
        ("/down", 200, "disconnected"),
        ("/down-must", 504, ""),
    ] {
        assert_eq!(edge.get(path).await.text(), "old");
        let seen = edge.get(path).await;
        assert_eq!(seen.status, status, "{path} {}", seen.cache_status());
        assert!(seen.cache_status().contains(detail), "{path} {}", seen.cache_status());
        // The error is not kept.
        let again = edge.get(path).await;
        assert!(status != 200 || (again.text() == "old" && again.cache_status().contains(detail)), "{path}");
    }
}

#[tokio::test]
async fn the_next_upstream_is_asked_when_one_fails() {
    let good = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "good")).await;
    let busy = Upstream::start(|_| send(503, &[], "busy")).await;
    let broken = Upstream::start(|_| Reply::Close).await;
    let gone = Upstream::start(|_| Reply::Close).await;
    gone.stop();
    let edge = front(&[&gone, &broken, &busy, &good]).await;
    for n in 0..8 {
        let seen = edge.get(&format!("/{n}")).await;
        assert_eq!((seen.status, seen.text()), (200, "good"));
    }
    assert_eq!(good.requests().len(), 8);
    // With content it is sent once, wherever that leads.
    let post = front(&[&broken, &good]).await;
    let seen = post.raw(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi", false).await;
    assert_eq!(seen.status, 502);
    assert_eq!(good.requests().len(), 8);
    // Where no connection was made, nothing was sent yet.
    let post = front(&[&gone, &good]).await;
    let seen = post.raw(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi", false).await;
    assert_eq!((seen.status, good.requests().len()), (200, 9));
    assert!(good.requests()[8].ends_with("\r\n\r\nhi"));
}

#[tokio::test]
async fn who_finds_one_kept_connection_dead_tries_no_other() {
    const KEPT: usize = 5;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let together = std::sync::Arc::new(tokio::sync::Barrier::new(KEPT));
    tokio::spawn(async move {
        loop {
            let (mut stream, together) = (listener.accept().await.unwrap().0, together.clone());
            // Answers once, and has forgotten the connection by the next request on it.
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let count = stream.read(&mut asked).await.unwrap();
                if asked[..count].starts_with(b"GET /kept") {
                    together.wait().await;
                }
                stream.write_all(&response(200, &[], "good")).await.unwrap();
                let _ = stream.read(&mut asked).await;
            });
        }
    });
    let edge = run(EdgeConfig::new(Mode::Upstream { urls: vec![url] }, "test-edge")).await;
    let at_once = ["/kept/1", "/kept/2", "/kept/3", "/kept/4", "/kept/5"].map(|path| edge.get(path));
    for seen in futures_util::future::join_all(at_once).await {
        assert_eq!(seen.status, 200);
    }
    let seen = edge.get("/next").await;
    assert_eq!((seen.status, seen.text()), (200, "good"));
}

#[tokio::test]
async fn who_is_not_sent_on_while_an_upstream_is_tried_is_told_to_come_again() {
    let upstream = Upstream::script(vec![Reply::Close, Reply::Silence]).await;
    let mut config = upstream_config(&[&upstream]);
    config.upstream.breaker.failures = 1;
    let edge = run(config).await;
    assert_eq!(edge.get("/").await.status, 502);
    let mut trial = edge.connect().await;
    trial.write_all(b"GET /trial HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    upstream.wait_for(2).await;
    let refused = edge.get("/").await;
    assert_eq!((refused.status, refused.field("retry-after").as_deref()), (503, Some("1")));
}

#[tokio::test]
async fn a_silent_upstream_is_given_up() {
    let silent = Upstream::start(|_| Reply::Silence).await;
    let mut config = upstream_config(&[&silent]);
    config.deadlines.first_byte = std::time::Duration::from_millis(50);
    let edge = run(config).await;
    let seen = edge.get("/").await;
    assert_eq!(seen.status, 504);
    assert!(seen.field("cache-status").is_none() && seen.field("x-request-id").is_some());
    assert_eq!(seen.field("cache-control").as_deref(), Some("no-store"));
}

#[tokio::test]
async fn what_breaks_off_is_not_stored_and_the_client_sees_it() {
    let half = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\nhalf";
    let chunked =
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let whole = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n2\r\n!!\r\n0\r\n\r\n";
    let upstream = Upstream::script(vec![
        Reply::SendAndClose(half.into()),
        Reply::SendAndClose(chunked.into()),
        Reply::Send(whole.into()),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    for _ in 0..2 {
        let seen = edge.get("/").await;
        assert!(!seen.complete && seen.status == 200);
    }
    let seen = edge.get("/").await;
    assert_eq!((seen.complete, seen.text()), (true, "half!!"));
    let hit = edge.get("/").await;
    assert!(hit.cache_status().contains("hit") && hit.field("content-length").as_deref() == Some("6"));
}

#[tokio::test]
async fn a_body_that_breaks_before_its_first_byte_is_no_response() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::SendAndClose(head.into())).await;
    let edge = front(&[&upstream]).await;
    // Whoever asked is told, whether it may be stored or not.
    for request in ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\ncontent-length: 0\r\n"] {
        let seen = edge.raw(format!("{request}host: h\r\n\r\n").as_bytes(), false).await;
        assert_eq!((seen.status, seen.complete), (502, true), "{request}");
    }
    // So is who would be sent a head together with chunks that are none.
    let bad =
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n";
    let chunked = Upstream::start(move |_| Reply::Send(bad.into())).await;
    let of_chunked = front(&[&chunked]).await;
    assert_eq!([of_chunked.get("/").await.status, of_chunked.ask("POST", "/", &[]).await.status], [502, 502]);
    // A HEAD has all of it, and so has who is sent nothing.
    assert_eq!(edge.ask("HEAD", "/head", &[]).await.status, 200);
    // Another upstream is asked, where that changes nothing; the client sees nothing of it.
    let good = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "good")).await;
    let edge = front(&[&upstream, &good]).await;
    for n in 0..4 {
        let seen = edge.get(&format!("/{n}")).await;
        assert_eq!((seen.status, seen.text()), (200, "good"));
    }
    // What has no length may be a stream of events: its head goes out before there is one.
    let events = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::Parts(vec![events.into(), "0\r\n\r\n".into()])).await;
    let edge = front(&[&upstream]).await;
    upstream.permit(1);
    let mut stream = edge.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let (head, _) = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_stored_after_a_clean_close() {
    let upstream = Upstream::script(vec![Reply::SendAndClose(
        b"HTTP/1.0 200 OK\r\ncache-control: max-age=60\r\n\r\nall".to_vec(),
    )])
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.get("/").await.text(), "all");
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert!(edge.get("/").await.cache_status().contains("hit"));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_fill() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\n";
    let upstream =
        Upstream::script(vec![Reply::Parts(vec![format!("{head}ab").into_bytes(), b"cd".to_vec()])]).await;
    let edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n").await.unwrap();
    upstream.wait_for(1).await;
    upstream.permit(1);
    read_head(&mut stream).await;
    drop(stream);
    upstream.permit(1);
    eventually("the store", || edge.edge.state().entries == 1).await;
    let hit = edge.get("/").await;
    assert_eq!((hit.text(), hit.cache_status().contains("hit")), ("abcd", true));
}

#[tokio::test]
async fn a_purge_overtakes_a_fetch_in_flight() {
    let upstream = Upstream::script(vec![
        Reply::Parts(vec![response(200, &[("cache-control", "max-age=60")], "old")]),
        send(200, &[("cache-control", "max-age=60")], "new"),
    ])
    .await;
    let edge = std::sync::Arc::new(front(&[&upstream]).await);
    let early = tokio::spawn({
        let edge = std::sync::Arc::clone(&edge);
        async move { edge.get("/p").await }
    });
    upstream.wait_for(1).await;
    assert_eq!(edge.edge.purge_local(&[Selector::Url("http://site.test/p".into())], false).await.dropped, 0);
    // A later request does not join the flight that the purge has overtaken.
    let later = edge.get("/p").await;
    assert_eq!(later.text(), "new");
    upstream.permit(1);
    assert_eq!(early.await.unwrap().text(), "old");
    eventually("the flights' end", || edge.edge.state().flights == 0).await;
    let hit = edge.get("/p").await;
    assert_eq!((hit.text(), hit.cache_status().contains("hit")), ("new", true));
}

#[tokio::test]
async fn purges_take_what_they_name() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let group = if path.starts_with("/blog") { "\"blog\", \"all\"" } else { "\"all\"" };
        let tags = if path == "/c" { "50%off, café, path:%2Fc" } else { "" };
        send(200, &[("cache-control", "max-age=60"), ("cache-groups", group), ("cache-tag", tags)], &path)
    })
    .await;
    let edge = front(&[&upstream]).await;
    let paths = ["/", "/blog/a", "/blog/a?x=1", "/blog/b", "/c"];
    let fill = async || {
        for path in paths {
            edge.get(path).await;
        }
        assert_eq!(edge.edge.state().entries, 5);
    };
    for (selector, dropped) in [
        (Selector::Url("http://site.test/blog/a".into()), 2),
        (Selector::Url("http://site.test/blog/a?x=1".into()), 1),
        (Selector::Url("http://other.test/blog/a".into()), 0),
        (Selector::Prefix("/blog/".into()), 3),
        (Selector::Group("blog".into()), 3),
        (Selector::Group("BLOG".into()), 0),
        (Selector::Group("50%off".into()), 1),
        (Selector::Group("café".into()), 1),
        (Selector::Group("path:%2Fc".into()), 1),
        (Selector::All, 5),
    ] {
        fill().await;
        assert_eq!(
            edge.edge.purge_local(std::slice::from_ref(&selector), false).await.dropped,
            dropped,
            "{selector}"
        );
        assert_eq!(edge.edge.state().entries, 5 - usize::try_from(dropped).unwrap());
    }
    assert_eq!(edge.edge.state().bytes, 0);
    fill().await;
    // Soft: still there, validated before the next use.
    let before = upstream.requests().len();
    assert_eq!(edge.edge.purge_local(&[Selector::Url("/c".into())], true).await.dropped, 1);
    assert!(edge.get("/c").await.cache_status().contains("fwd=stale"));
    assert_eq!(upstream.requests().len(), before + 1);
}

#[tokio::test]
async fn unsafe_requests_invalidate() {
    let upstream = Upstream::start(|head| {
        if head.starts_with("POST /fails") {
            return send(500, &[], "");
        }
        if head.starts_with("POST") {
            return send(201, &[("location", "/other"), ("content-location", "http://evil.test/keep")], "");
        }
        send(200, &[("cache-control", "max-age=60")], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for path in ["/a", "/other", "/keep", "/fails"] {
        edge.get(path).await;
    }
    for path in ["/a", "/fails"] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: site.test\r\ncontent-length: 2\r\n\r\nhi");
        let seen = edge.raw(request.as_bytes(), false).await;
        assert!(seen.cache_status().contains("fwd=method"), "{}", seen.cache_status());
    }
    for (path, hit) in [("/a", false), ("/other", false), ("/keep", true), ("/fails", true)] {
        let seen = edge.get(path).await;
        assert_eq!(seen.cache_status().contains("hit"), hit, "{path} {}", seen.cache_status());
    }
    assert!(upstream.requests().iter().any(|r| r.starts_with("POST /a ") && r.ends_with("hi")));
}

#[tokio::test]
async fn malformed_requests_reach_no_upstream() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let big = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(10_000));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: h\r\n{many}\r\n");
    let rows: [(&str, u16); 15] = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: u@h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: h/x\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nhost: h\r\n\r\n", 405),
        ("CONNECT h:80 HTTP/1.1\r\nhost: h\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nhost: h\r\nx : y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: h\r\nx: a\0b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +1\r\n\r\na", 400),
        ("POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (&long, 414),
        (&big, 431),
        (&many, 431),
    ];
    for (request, status) in rows {
        let seen = edge.raw(request.as_bytes(), false).await;
        assert_eq!(seen.status, status, "{:?}", &request[..request.len().min(80)]);
    }
    assert!(upstream.requests().is_empty(), "{:?}", upstream.requests());
}

#[tokio::test]
async fn two_framings_never_make_a_second_request() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let smuggle = b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 35\r\ntransfer-encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /evil HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut stream = edge.connect().await;
    stream.write_all(smuggle).await.unwrap();
    let first = read_response(&mut stream, false).await;
    // Either it is refused, or its chunked framing alone counts, to us and to the upstream.
    if first.status != 400 {
        upstream.wait_for(1).await;
        let asked = upstream.requests();
        assert!(asked[0].starts_with("POST /a "), "{asked:?}");
        assert!(field(&asked[0], "content-length").is_none_or(|v| v == "0"), "{asked:?}");
    }
}

#[tokio::test]
async fn a_loop_is_refused() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.ask("GET", "/", &[("via", "1.1 other, 1.1 test-edge")]).await.status, 508);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn only_if_cached_reaches_no_upstream() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let edge = front(&[&upstream]).await;
    let only = [("cache-control", "only-if-cached")];
    assert_eq!(edge.ask("GET", "/", &only).await.status, 504);
    // Nor do those that no stored response can answer (RFC 9111 §5.2.1.7).
    let websocket = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "x")];
    let bypasses: [&[(&str, &str)]; 3] =
        [&[("if-match", "\"a\"")], &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")], &websocket];
    for more in bypasses {
        assert_eq!(edge.ask("GET", "/", &[&only[..], more].concat()).await.status, 504, "{more:?}");
    }
    assert_eq!(edge.ask("HEAD", "/", &[only[0], ("if-match", "*")]).await.status, 504);
    let content =
        b"GET / HTTP/1.1\r\nhost: h\r\ncache-control: only-if-cached\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(edge.raw(content, false).await.status, 504);
    assert!(upstream.requests().is_empty());
    edge.get("/").await;
    assert_eq!(edge.ask("GET", "/", &only).await.text(), "x");
    // A reload does not reach the upstream.
    assert!(
        edge.ask("GET", "/", &[("cache-control", "no-cache"), ("pragma", "no-cache")])
            .await
            .cache_status()
            .contains("hit")
    );
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_body_too_large_to_store_streams_through() {
    let size = 3_000_000usize;
    let upstream = Upstream::start(move |head| {
        let body = "x".repeat(size);
        if head.contains("/sized") {
            return send(200, &[("cache-control", "max-age=60")], &body);
        }
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n";
        Reply::Send(format!("{head}{size:x}\r\n{body}\r\n0\r\n\r\n").into_bytes())
    })
    .await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = 4 << 20;
    let edge = run(config).await;
    for path in ["/sized", "/unsized"] {
        for _ in 0..2 {
            let seen = edge.get(path).await;
            assert_eq!((seen.complete, seen.body.len()), (true, size), "{path}");
            assert!(!seen.cache_status().contains("hit"));
        }
    }
    eventually("the end of the fills", || edge.edge.state().flights == 0 && edge.edge.state().bytes == 0)
        .await;
    assert_eq!(edge.edge.state().entries, 0);
}

#[tokio::test]
async fn shutdown_lets_requests_in_flight_end() {
    let upstream = Upstream::script(vec![Reply::Parts(vec![response(200, &[], "late")])]).await;
    let mut edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut idle = edge.connect().await;
    upstream.wait_for(1).await;
    edge.stop.cancel();
    // The idle connection is closed, the other answered.
    let mut nothing = [0; 1];
    assert_eq!(idle.read(&mut nothing).await.unwrap_or(0), 0);
    upstream.permit(1);
    assert_eq!(read_response(&mut stream, false).await.text(), "late");
    tokio::time::timeout(support::DEADLINE, &mut edge.served).await.unwrap().unwrap().unwrap();
}
