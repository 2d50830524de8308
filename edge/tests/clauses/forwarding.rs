//! RFC 9110 §7.6, RFC 9112 §6.3, RFC 8586, RFC 7239, RFC 9211.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use edge::{EdgeConfig, Mode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    DEADLINE, Reply, Running, Upstream, eventually, field, find, front, read_head, read_response, run, send,
    upstream_config,
};

async fn trusting(upstream: &Upstream, networks: &[&str]) -> Running {
    let mut config = upstream_config(&[upstream]);
    config.settings.trusted = networks.iter().map(|network| network.parse().unwrap()).collect();
    run(config).await
}

#[tokio::test]
async fn loops_are_marked_and_found() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    edge.ask("GET", "/", &[("cdn-loop", "other; v=1"), ("connection", "cdn-loop, via")]).await;
    assert_eq!(field(&upstream.requests()[0], "cdn-loop").as_deref(), Some("other; v=1, test-edge"));
    let seen = edge.ask("GET", "/", &[("cdn-loop", "other, test-edge")]).await;
    assert_eq!((seen.status, seen.field("cache-status")), (508, None));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn forwards_are_counted_down() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let here = edge.ask("OPTIONS", "/", &[("max-forwards", "0")]).await;
    assert_eq!((here.status, here.field("allow").is_some()), (204, true));
    assert!(upstream.requests().is_empty());
    edge.ask("OPTIONS", "/", &[("max-forwards", "3")]).await;
    assert_eq!(field(&upstream.requests()[0], "max-forwards").as_deref(), Some("2"));
}

#[tokio::test]
async fn that_there_is_no_content_is_said_where_content_has_a_meaning() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    for (method, said) in
        [("POST", Some("0")), ("PUT", Some("0")), ("QUERY", Some("0")), ("X-OWN", Some("0")), ("GET", None)]
    {
        edge.ask(method, "/", &[("content-length", "00")]).await;
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(field(&seen, "content-length").as_deref(), said, "{seen}");
        assert!(seen.ends_with("\r\n\r\n") && field(&seen, "transfer-encoding").is_none(), "{seen}");
    }
}

/// What is claimed about a request in fields that no key has.
const CLAIMS: [(&str, &str); 25] = [
    ("forwarded", "for=6.6.6.6;host=evil;proto=https"),
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-host", "evil"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-ssl", "on"),
    ("x-forwarded-protocol", "https"),
    ("x-forwarded-uri", "/evil"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-no-such", "evil"),
    ("x-url-scheme", "https"),
    ("front-end-https", "on"),
    ("x-http-host-override", "evil"),
    ("x-original-url", "/evil"),
    ("x-original-uri", "/evil"),
    ("x-original-method", "DELETE"),
    ("x-rewrite-url", "/evil"),
    ("x-rewrite-uri", "/evil"),
    ("x-http-method-override", "DELETE"),
    ("X_Forwarded_Host", "evil"),
    ("x_own", "evil"),
    ("x-real-ip", "6.6.6.6"),
    ("true-client-ip", "6.6.6.6"),
    ("x-client-ip", "6.6.6.6"),
    ("proxy", "http://evil"),
];

#[tokio::test]
async fn what_clients_claim_is_replaced() {
    // As a framework that believes all of it.
    let upstream = Upstream::start(|head| {
        let told: Vec<String> = CLAIMS.iter().filter_map(|(name, _)| field(head, name)).collect();
        send(200, &[("cache-control", "max-age=60")], &told.join(" "))
    })
    .await;
    // Another network is trusted, not this client's.
    let edge = trusting(&upstream, &["10.0.0.0/8"]).await;
    let poisoned = edge.ask("GET", "/", &CLAIMS).await;
    let told = "for=127.0.0.1;host=site.test;proto=http 127.0.0.1 site.test http";
    assert_eq!(poisoned.text(), told);
    let asked = upstream.requests().remove(0);
    for (name, _) in CLAIMS {
        let value = match name {
            "forwarded" => Some("for=127.0.0.1;host=site.test;proto=http"),
            "x-forwarded-for" => Some("127.0.0.1"),
            "x-forwarded-host" => Some("site.test"),
            "x-forwarded-proto" => Some("http"),
            _ => None,
        };
        assert_eq!(field(&asked, name).as_deref(), value, "{name}");
    }
    assert_eq!(field(&asked, "host").as_deref(), Some("site.test"));
    // The next gets what was made for one who claims nothing.
    eventually("the store", || edge.edge.state().flights == 0).await;
    let next = edge.get("/").await;
    assert!(next.cache_status().contains("hit") && next.text() == told, "{}", next.head);
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_and_not_for_what() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = trusting(&upstream, &["127.0.0.0/8"]).await;
    // Whatever it passes on of its clients' claims about the request itself would be unkeyed.
    edge.ask("GET", "/", &CLAIMS).await;
    let asked = upstream.requests().remove(0);
    for (name, value) in CLAIMS {
        let kept = match name {
            "x-real-ip" | "true-client-ip" | "x-client-ip" | "x-forwarded-user" | "x-forwarded-no-such" => {
                Some(value)
            }
            // What is keyed, and this hop.
            "forwarded" => Some("for=6.6.6.6;host=evil;proto=https, for=127.0.0.1;host=evil;proto=https"),
            "x-forwarded-for" => Some("6.6.6.6, 127.0.0.1"),
            "x-forwarded-host" => Some("evil"),
            "x-forwarded-proto" => Some("https"),
            _ => None,
        };
        assert_eq!(field(&asked, name).as_deref(), kept, "{name}");
    }
    assert_eq!(field(&asked, "host").as_deref(), Some("evil"));
}

#[tokio::test]
async fn who_asks_of_a_trusted_proxy_is_told_to_operators() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let rows = [("127.0.0.0/8", "192.0.2.7", "front.test"), ("10.0.0.0/8", "127.0.0.1", "site.test")];
    for (trusted, client, host) in rows {
        let edge = trusting(&upstream, &[trusted]).await;
        let mut trace = edge.trace().await;
        // That it passes on what its client says of the connection changes nothing.
        let says = [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 127.0.0.9"),
            ("x-forwarded-host", "front.test"),
            ("connection", "x-forwarded-for, X-Forwarded-Host"),
        ];
        for result in ["uri-miss", "hit"] {
            edge.ask("GET", "/", &says).await;
            eventually("the store", || edge.edge.state().flights == 0).await;
            let told = trace.next().await;
            let told = ["result", "client", "host"].map(|name| told[name].as_str().unwrap().to_owned());
            assert_eq!(told, [result, client, host], "{trusted}");
        }
    }
}

#[tokio::test]
async fn a_request_keeps_the_name_that_a_trusted_proxy_gave_it() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let id = ("x-request-id", "0b9b9a5e-8c8d-4c3f-9d5b-3a1f0c6d2e7f");
    let long = "a".repeat(129);
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let rows: [Row<'_>; 5] = [
        ("127.0.0.0/8", &[id], true),
        ("10.0.0.0/8", &[id], false),
        // What is no name is replaced.
        ("127.0.0.0/8", &[("x-request-id", &long)], false),
        ("127.0.0.0/8", &[("x-request-id", "a b")], false),
        ("127.0.0.0/8", &[id, ("x-request-id", "other")], false),
    ];
    for (trusted, fields, is_kept) in rows {
        let edge = trusting(&upstream, &[trusted]).await;
        for result in ["uri-miss", "hit"] {
            let seen = edge.ask("GET", "/", fields).await;
            assert!(seen.cache_status().contains(result), "{}", seen.head);
            let told = seen.field("x-request-id").unwrap();
            assert_eq!(told == id.1, is_kept, "{trusted} {fields:?} {result} {told}");
            eventually("the store", || edge.edge.state().flights == 0).await;
            if result == "uri-miss" {
                let asked = upstream.requests().pop().unwrap();
                assert_eq!(field(&asked, "x-request-id"), Some(told), "{trusted} {fields:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_keyed() {
    let upstream = Upstream::start(|head| {
        let told = field(head, "x-forwarded-proto").unwrap();
        send(200, &[("cache-control", "max-age=60"), ("location", "/x")], &told)
    })
    .await;
    let edge = trusting(&upstream, &["127.0.0.0/8"]).await;
    let https = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-host", "Front.test"),
    ];
    // What is http and what is https are two origins, whoever carries them.
    assert_eq!(edge.ask("GET", "/", &https).await.text(), "https");
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert_eq!(edge.ask("GET", "/", &[("forwarded", "for=192.0.2.8;host=front.test")]).await.text(), "http");
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert!(edge.ask("GET", "/", &https).await.cache_status().contains("hit"));
    let asked = upstream.requests();
    assert_eq!(asked.len(), 2);
    for (name, value) in [
        ("host", "front.test"),
        ("x-forwarded-host", "front.test"),
        ("x-forwarded-for", "192.0.2.7, 127.0.0.1"),
        ("forwarded", "for=127.0.0.1;host=front.test;proto=https"),
    ] {
        assert_eq!(field(&asked[0], name).as_deref(), Some(value), "{name}");
    }
}

/// RFC 9110 §4.2.3: with its default port a host is the same, and so has the same key; nobody hears which of both was said.
#[tokio::test]
async fn a_default_port_is_neither_keyed_nor_told() {
    let upstream = Upstream::start(|head| send(200, &[("cache-control", "max-age=60")], head)).await;
    let edge = trusting(&upstream, &["127.0.0.0/8"]).await;
    for (proto, host, told) in [
        ("http", "site.test:80", "site.test"),
        ("http", "site.test:", "site.test"),
        ("http", "site.test:443", "site.test:443"),
        ("https", "site.test:443", "site.test"),
        ("https", "site.test:80", "site.test:80"),
        ("http", "[::1]:80", "[::1]"),
    ] {
        for path in ["/", "/post"] {
            let method = if path == "/" { "GET" } else { "POST" };
            let text =
                format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-proto: {proto}\r\n\r\n");
            let seen = edge.raw(text.as_bytes(), false).await;
            eventually("the store", || edge.edge.state().flights == 0).await;
            for name in ["host", "x-forwarded-host"] {
                assert_eq!(field(seen.text(), name).as_deref(), Some(told), "{method} {proto} {host} {name}");
            }
        }
    }
}

/// RFC 9110 §7.4.
#[tokio::test]
async fn what_is_asked_for_by_https_must_have_come_so() {
    let upstream = Upstream::start(|head| {
        let told = field(head, "x-forwarded-proto").unwrap();
        send(200, &[("cache-control", "max-age=60")], &told)
    })
    .await;
    let told =
        ["", "x-forwarded-proto: https\r\n", "x-forwarded-proto: http\r\n", "forwarded: proto=https\r\n"];
    for (networks, statuses) in [([].as_slice(), [421; 4]), (&["127.0.0.0/8"], [200, 200, 421, 200])] {
        let edge = trusting(&upstream, networks).await;
        // What is held for http is no answer either.
        assert_eq!(edge.raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", false).await.status, 200);
        for (fields, status) in told.into_iter().zip(statuses) {
            let request = format!("GET https://a/ HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            let seen = edge.raw(request.as_bytes(), false).await;
            assert_eq!(seen.status, status, "{networks:?} {fields:?}");
            assert!(status == 421 || seen.text() == "https", "{networks:?} {fields:?} {}", seen.text());
        }
    }
}

/// RFC 9110 §9.3.7, RFC 9112 §3.2.4: OPTIONS about the server is answered here, by the rules for any other target.
#[tokio::test]
async fn options_of_the_server_are_answered_here() {
    let upstream = Upstream::start(|_| send(200, &[], "theirs")).await;
    for (networks, secure) in [([].as_slice(), 421), (&["127.0.0.0/8"], 204)] {
        let edge = trusting(&upstream, networks).await;
        for (target, fields, status) in [
            ("*", "", 204),
            ("http://a", "", 204),
            ("HTTP://a", "max-forwards: 3\r\n", 204),
            ("https://a", "", secure),
            ("https://a", "max-forwards: 0\r\n", secure),
            ("https://a", "x-forwarded-proto: https\r\n", secure),
            ("https://a", "x-forwarded-proto: http\r\n", 421),
            ("https://a/", "max-forwards: 0\r\n", secure),
            ("/", "max-forwards: 0\r\n", 204),
        ] {
            let request = format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            let seen = edge.raw(request.as_bytes(), false).await;
            assert_eq!(seen.status, status, "{networks:?} {target} {fields:?}");
            assert!(status != 204 || seen.field("allow").unwrap().contains("OPTIONS"), "{target}");
        }
        assert_eq!(upstream.requests().len(), 0);
    }
    // With a path, or a query, it is a resource that is asked about.
    let edge = front(&[&upstream]).await;
    for target in ["/", "http://a/", "http://a?b"] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(edge.raw(request.as_bytes(), false).await.text(), "theirs", "{target}");
    }
}

#[tokio::test]
async fn cache_status_is_appended_and_date_supplied() {
    let upstream = Upstream::start(|head| {
        if head.starts_with("GET /fails") {
            return Reply::Close;
        }
        let status = if head.starts_with("GET /unread") { "HIT from inner" } else { "Inner; hit; ttl=5" };
        let fields = [("cache-status", status), ("cache-control", "max-age=60"), ("via", "1.1 inner")];
        send(200, &fields, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    // What is no list would take ours along.
    let told = "Bakehouse; fwd=uri-miss; fwd-status=200; ttl=60; stored";
    assert_eq!(edge.get("/unread").await.cache_status(), told);
    let seen = edge.get("/").await;
    assert_eq!(
        seen.cache_status(),
        "Inner; hit; ttl=5, Bakehouse; fwd=uri-miss; fwd-status=200; ttl=60; stored"
    );
    assert_eq!(seen.field("via").as_deref(), Some("1.1 inner, 1.1 test-edge"));
    eventually("the store", || edge.edge.state().flights == 0).await;
    let hit = edge.get("/").await;
    assert!(hit.cache_status().starts_with("Inner; hit; ttl=5, Bakehouse; hit; ttl="));
    assert!(hit.field("date").is_some() && hit.field("age").is_some());
    let failed = edge.get("/fails").await;
    assert_eq!((failed.status, failed.field("cache-status")), (502, None));
    assert_eq!(failed.field("cache-control").as_deref(), Some("no-store"));
}

/// RFC 9110 §7.6.3: `Via` says by which version a response came, also when it is stored.
#[tokio::test]
async fn via_says_how_a_response_came() {
    let upstream = Upstream::start(|head| {
        let is_old = head.contains("/1.0");
        let control = if head.contains("/alone") { "no-store" } else { "max-age=60" };
        let body = if head.starts_with("HEAD ") { "" } else { "x" };
        let version = if is_old { "1.0" } else { "1.1" };
        let text = format!(
            "HTTP/{version} 200 OK\r\nvia: 1.1 inner\r\netag: \"a\"\r\ncache-control: {control}\r\ncontent-length: 1\r\n\r\n{body}"
        );
        if is_old { Reply::SendAndClose(text.into()) } else { Reply::Send(text.into()) }
    })
    .await;
    let edge = front(&[&upstream]).await;
    for version in ["1.0", "1.1"] {
        let told = format!("1.1 inner, {version} test-edge");
        let is_told = async |method: &str, path: &str, fields: &[(&str, &str)], status: u16| {
            let seen = edge.ask(method, &format!("/{version}/{path}"), fields).await;
            eventually("the store", || edge.edge.state().flights == 0).await;
            assert_eq!((seen.status, seen.field("via").as_ref()), (status, Some(&told)), "{method} {path}");
        };
        is_told("HEAD", "a", &[], 200).await;
        is_told("GET", "a", &[], 200).await;
        let sent = upstream.requests().len();
        is_told("GET", "a", &[], 200).await;
        is_told("HEAD", "a", &[], 200).await;
        is_told("GET", "a", &[("if-none-match", "\"a\"")], 304).await;
        is_told("GET", "a", &[("range", "bytes=0-0")], 206).await;
        // The long way.
        is_told("GET", "a", &[("cdn-loop", "other")], 200).await;
        assert_eq!(upstream.requests().len(), sent, "all of these are hits");
        is_told("GET", "alone", &[], 200).await;
        is_told("POST", "a", &[("content-length", "0")], 200).await;
    }
}

#[tokio::test]
async fn bytes_after_a_content_begin_no_response() {
    // The second is what a broken or hostile upstream slips in behind the first.
    let connections = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let connections = Arc::clone(&connections);
        move |head| {
            connections.fetch_add(1, Ordering::SeqCst);
            let path = head.split(' ').nth(1).unwrap();
            let good = format!(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}\r\n\r\n{path}",
                path.len()
            );
            let evil = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nevil";
            Reply::Send(format!("{good}{evil}").into_bytes())
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    for n in 0..20 {
        let path = format!("/{n}");
        let seen = edge.get(&path).await;
        assert_eq!((seen.status, seen.text()), (200, path.as_str()));
        eventually("the store", || edge.edge.state().flights == 0).await;
        assert_eq!(edge.get(&path).await.text(), path);
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[tokio::test]
async fn a_get_with_content_is_neither_stored_nor_answered_from_the_store() {
    let upstream = Upstream::start(|head| {
        let text = field(head, "content-length").unwrap_or_else(|| "none".into());
        send(200, &[("cache-control", "max-age=60")], &text)
    })
    .await;
    let edge = front(&[&upstream]).await;
    let with = b"GET / HTTP/1.1\r\nhost: site.test\r\ncontent-length: 2\r\n\r\nhi";
    let seen = edge.raw(with, false).await;
    assert_eq!(seen.text(), "2");
    assert!(seen.cache_status().contains("fwd=bypass"));
    assert_eq!(edge.get("/").await.text(), "none");
    assert_eq!(edge.raw(with, false).await.text(), "2");
}

#[tokio::test]
async fn interim_responses_reach_all_who_wait_at_once() {
    let final_head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok";
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nset-cookie: a=b\r\n\
                 connection: x-hop\r\nx-hop: 1\r\n\r\n";
    let upstream = Upstream::script(vec![Reply::Parts(vec![early.into(), final_head.into()])]).await;
    let edge = front(&[&upstream]).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = edge.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    // A client of HTTP/1.0 gets the final response alone.
    let mut old = edge.connect().await;
    old.write_all(b"GET / HTTP/1.0\r\nhost: site.test\r\n\r\n").await.unwrap();
    upstream.wait_for(1).await;
    eventually("all requests", || edge.edge.state().waiting == 3).await;
    upstream.permit(1);
    for stream in &mut streams {
        let (head, rest) = read_head(stream).await;
        assert!(head.starts_with("HTTP/1.1 103 "), "{head}");
        assert_eq!(field(&head, "link").as_deref(), Some("</a.css>; rel=preload"));
        // A cookie would be for one of them.
        assert_eq!((field(&head, "x-hop"), field(&head, "set-cookie"), rest.len()), (None, None, 0));
    }
    upstream.permit(1);
    for stream in &mut streams {
        let seen = read_response(stream, false).await;
        assert_eq!((seen.status, seen.text()), (200, "ok"));
    }
    assert_eq!(read_response(&mut old, false).await.status, 200);
    // Not stored.
    let hit = edge.get("/").await;
    assert_eq!((hit.status, hit.field("link")), (200, None));
    assert!(hit.cache_status().contains("hit"));
}

/// What comes before a response to `Authorization` is as little for others as that one mostly is (RFC 9111 §3.5).
#[tokio::test]
async fn who_waits_with_authorization_hears_no_interim_response_to_another() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </own>; rel=preload\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\ncache-control: public, max-age=60\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::script(vec![Reply::Parts(vec![early.into(), last.into()])]).await;
    let edge = front(&[&upstream]).await;
    let ask = async |who: &str| {
        let mut stream = edge.connect().await;
        let request = format!("GET / HTTP/1.1\r\nhost: site.test\r\nauthorization: {who}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let mut first = ask("one").await;
    upstream.wait_for(1).await;
    let mut second = ask("two").await;
    eventually("the second request", || edge.edge.state().waiting == 1).await;
    upstream.permit(2);
    let (head, _) = read_head(&mut first).await;
    assert!(head.starts_with("HTTP/1.1 103 "), "{head}");
    let seen = read_response(&mut second, false).await;
    assert_eq!((seen.status, seen.text()), (200, "ok"));
    assert!(seen.cache_status().contains("collapsed"), "{}", seen.head);
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_no_response() {
    let upstream = Upstream::start(|_| {
        Reply::Send(
            b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec(),
        )
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.get("/").await.status, 502);
    assert_eq!(edge.ask("POST", "/", &[("content-length", "0")]).await.status, 502);
}

#[tokio::test]
async fn trailers_go_through_and_are_not_stored() {
    let text = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                2\r\nok\r\n0\r\nx-sum: 7\r\nset-cookie: a=b\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::Send(text.into())).await;
    let edge = front(&[&upstream]).await;
    for (path, fields, expected) in [
        ("/1", "te: trailers\r\nconnection: te\r\n", "2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"),
        ("/2", "", "2\r\nok\r\n0\r\n\r\n"),
        // Stored without them, and so of known length.
        ("/1", "te: trailers\r\nconnection: te\r\n", "ok"),
    ] {
        let mut stream = edge.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (_, mut body) = read_head(&mut stream).await;
        while body.len() < expected.len() {
            assert!(stream.read_buf(&mut body).await.unwrap() > 0);
        }
        assert_eq!(String::from_utf8_lossy(&body), expected, "{path}");
        eventually("the store", || edge.edge.state().flights == 0).await;
    }
    let asked = upstream.requests();
    assert_eq!(field(&asked[0], "te").as_deref(), Some("trailers"));
    assert_eq!((field(&asked[1], "te"), asked.len()), (None, 2));
}

/// What an upstream gets of a POST in chunks with these trailers, each of them announced.
async fn told_with_trailers(trailers: &[(&str, &str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let is_whole = |bytes: &[u8]| {
            find(bytes, b"\r\n0\r\n").is_some_and(|at| find(&bytes[at + 3..], b"\r\n\r\n").is_some())
        };
        while !is_whole(&bytes) {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(bytes).unwrap()
    });
    let edge = run(EdgeConfig::new(Mode::Upstream { urls: vec![url] }, "test-edge")).await;
    let names: Vec<&str> = trailers.iter().map(|(name, _)| *name).collect();
    let lines: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntrailer: {}\r\n\r\n2\r\nhi\r\n0\r\n{lines}\r\n",
        names.join(", ")
    );
    assert_eq!(edge.raw(request.as_bytes(), false).await.status, 200);
    tokio::time::timeout(DEADLINE, seen).await.unwrap().unwrap()
}

#[tokio::test]
async fn trailers_of_a_request_go_through() {
    let seen = told_with_trailers(&[("x-sum", "7")]).await;
    assert!(seen.ends_with("2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"), "{seen}");
}

/// RFC 9110 §6.5.1.
#[tokio::test]
async fn what_clients_may_not_claim_they_may_not_claim_in_trailers() {
    let claims = [
        ("x-original-url", "/evil"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("via", "1.1 z"),
        ("cdn-loop", "z"),
        ("cookie", "a=b"),
        ("authorization", "Basic eA=="),
        ("if-match", "\"x\""),
        ("content-length", "9"),
    ];
    for kept in [&[][..], &[("x-sum", "7")]] {
        let seen = told_with_trailers(&[&claims[..], kept].concat()).await;
        let lines: String = kept.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        assert!(seen.ends_with(&format!("\r\n2\r\nhi\r\n0\r\n{lines}\r\n")), "{seen}");
        // What is told of the way is told in the head, and by the edge.
        assert_eq!(field(&seen, "via").as_deref(), Some("1.1 test-edge"), "{seen}");
        assert_eq!(field(&seen, "x-forwarded-for").as_deref(), Some("127.0.0.1"), "{seen}");
    }
}

#[tokio::test]
async fn only_websocket_tunnels_and_only_after_the_101() {
    let upstream = Upstream::start(|head| {
        if field(head, "upgrade").is_some() && !head.starts_with("GET /no") {
            return Reply::Send(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\nhello".to_vec());
        }
        send(200, &[("cache-control", "max-age=60")], "plain")
    })
    .await;
    let edge = front(&[&upstream]).await;
    let ask = |path: &str, protocol: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: {protocol}\r\nsec-websocket-key: x\r\n\r\n"
        )
    };
    let mut stream = edge.connect().await;
    stream.write_all(ask("/", "websocket").as_bytes()).await.unwrap();
    let (head, mut rest) = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(field(&head, "sec-websocket-accept").as_deref(), Some("y"));
    while rest.len() < 5 {
        assert!(stream.read_buf(&mut rest).await.unwrap() > 0);
    }
    assert_eq!(rest, b"hello");
    // Refused by the upstream, or another protocol: a plain response, and the connection stays HTTP.
    assert_eq!(edge.raw(ask("/no", "websocket").as_bytes(), false).await.text(), "plain");
    assert_eq!(edge.raw(ask("/other", "h2c").as_bytes(), false).await.text(), "plain");
    assert_eq!(field(upstream.requests().last().unwrap(), "upgrade"), None);
}

/// RFC 9110 §7.8, RFC 6455 §4.1.
/// RFC 9110 §15.5.22, §7.8: a 426 names the protocol to change to, as far as it can be changed to here.
#[tokio::test]
async fn a_426_names_the_one_protocol_that_is_tunnelled() {
    for (offers, told) in [
        ("upgrade: websocket\r\nconnection: upgrade\r\n", Some("websocket")),
        ("upgrade: h2c, WebSocket\r\nconnection: close, Upgrade\r\n", Some("websocket")),
        ("upgrade: h2c, TLS/1.0\r\nconnection: upgrade\r\n", None),
        ("", None),
    ] {
        for control in ["no-store", "max-age=60"] {
            let text =
                format!("HTTP/1.1 426 X\r\n{offers}cache-control: {control}\r\ncontent-length: 2\r\n\r\nup");
            let upstream = Upstream::start(move |_| Reply::SendAndClose(text.clone().into())).await;
            let edge = front(&[&upstream]).await;
            for _ in 0..2 {
                let seen = edge.get("/").await;
                eventually("the store", || edge.edge.state().flights == 0).await;
                assert_eq!((seen.status, seen.text()), (426, "up"));
                assert_eq!(seen.field("upgrade").as_deref(), told, "{offers}");
                assert_eq!(seen.field("connection").as_deref(), told.map(|_| "upgrade"), "{offers}");
            }
            assert_eq!(upstream.requests().len(), if control == "no-store" { 2 } else { 1 });
        }
    }
    // Of any other response it is a field of the connection.
    let upstream =
        Upstream::start(|_| send(200, &[("upgrade", "websocket"), ("connection", "upgrade")], "x")).await;
    let seen = front(&[&upstream]).await.get("/").await;
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (None, None));
}

#[tokio::test]
async fn a_101_to_another_protocol_is_no_tunnel() {
    let upstream = Upstream::start(|head| {
        let fields = match head.split(' ').nth(1).unwrap() {
            "/h2c" => "connection: upgrade\r\nupgrade: h2c\r\n",
            "/both" => "connection: upgrade\r\nupgrade: websocket, h2c\r\n",
            "/none" => "connection: upgrade\r\n",
            _ => "upgrade: websocket\r\n",
        };
        Reply::Send(format!("HTTP/1.1 101 X\r\n{fields}\r\nhello").into())
    })
    .await;
    let edge = front(&[&upstream]).await;
    for path in ["/h2c", "/both", "/none", "/unconnected"] {
        let ask = format!(
            "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n"
        );
        let seen = edge.raw(ask.as_bytes(), false).await;
        assert_eq!((seen.status, seen.complete, seen.field("upgrade")), (502, true, None), "{path}");
        assert!(!seen.text().contains("hello"), "{path}");
    }
}

#[tokio::test]
async fn interim_responses_are_bounded_in_number_and_any_is_passed_on() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let upstream = Upstream::start(move |head| match head.split(' ').nth(1).unwrap() {
        "/100" => Reply::Send(format!("HTTP/1.1 100 Continue\r\n\r\n{ok}").into()),
        "/199" => Reply::Send(format!("HTTP/1.1 199 Own\r\nx-a: 1\r\n\r\n{ok}").into()),
        path => {
            let count = path[path.len() - 3..].parse().unwrap();
            Reply::Send(format!("{}{ok}", hint.repeat(count)).into())
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    let rows = [("GET /100", 1), ("GET /199", 1), ("GET /020", 20), ("POST /020", 20), ("GET /032", 32)];
    for (asked, count) in rows.into_iter().chain([("GET /500", 32), ("POST /500", 32)]) {
        let mut stream = edge.connect().await;
        let request = format!("{asked} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while find(&bytes, b"\r\n\r\nok").is_none() {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        let text = String::from_utf8(bytes).unwrap();
        let told = (text.matches("HTTP/1.1 1").count(), text.matches("HTTP/1.1 200").count());
        assert_eq!(told, (count, 1), "{asked}");
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_a_failure_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let given_up = Arc::new(AtomicUsize::new(0));
    let ended = Arc::clone(&given_up);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let ended = Arc::clone(&ended);
            tokio::spawn(async move {
                drop(stream.read(&mut [0; 4096]).await);
                while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await.is_ok() {}
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let mut config = EdgeConfig::new(Mode::Upstream { urls: vec![url] }, "test-edge");
    config.deadlines.first_byte = Duration::from_millis(500);
    config.upstream.retries_max = 0;
    let edge = run(config).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let (mut bytes, end) = (Vec::new(), b"</html>");
    let all = async {
        while find(&bytes, end).is_none() {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("an end");
    let text = String::from_utf8(bytes).unwrap();
    let (interim, last) = (text.matches("HTTP/1.1 103").count(), text.matches("HTTP/1.1 504").count());
    assert!((1..=32).contains(&interim) && last == 1, "{text}");
    eventually("the end of that connection", || given_up.load(Ordering::SeqCst) == 1).await;
}

/// RFC 9111 §4.1: what an upstream was told is what a response was chosen by, not what a client claims.
#[tokio::test]
async fn a_response_that_varies_by_its_client_is_not_for_another() {
    let upstream = Upstream::start(|head| {
        let by = if head.starts_with("GET /id") { "x-request-id" } else { "x-forwarded-for, x-original-url" };
        let told = [field(head, "x-forwarded-for"), field(head, "x-original-url")];
        send(200, &[("cache-control", "max-age=60"), ("vary", by)], &format!("{told:?}"))
    })
    .await;
    let edge = front(&[&upstream]).await;
    let from = async |client: &str, fields: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{client}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(edge.address.parse().unwrap()).await.unwrap();
        let text = format!("GET / HTTP/1.1\r\nhost: site.test\r\n{fields}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let seen = read_response(&mut stream, false).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        (seen.text().to_owned(), seen.cache_status().contains("hit"))
    };
    let told = |client: &str| format!("[Some(\"{client}\"), None]");
    assert_eq!(from("127.0.0.1", "").await, (told("127.0.0.1"), false));
    assert_eq!(from("127.0.0.2", "").await, (told("127.0.0.2"), false));
    // Neither a claim nor what is never sent on makes a variant, or selects one.
    assert_eq!(from("127.0.0.2", "x-forwarded-for: 127.0.0.1\r\n").await, (told("127.0.0.2"), true));
    assert_eq!(from("127.0.0.1", "x-original-url: /evil\r\n").await, (told("127.0.0.1"), true));
    assert_eq!(upstream.requests().len(), 2);
    // Each request has an id of its own.
    edge.ask("GET", "/id", &[("x-request-id", "1")]).await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert!(!edge.ask("GET", "/id", &[("x-request-id", "1")]).await.cache_status().contains("hit"));
}

/// RFC 9112 §6.1, §6.3.
#[tokio::test]
async fn a_response_that_ends_in_two_places_is_none() {
    let upstream = Upstream::start(|head| {
        let framing = match head.split(' ').nth(1).unwrap() {
            "/both" => "content-length: 50\r\ntransfer-encoding: chunked\r\n",
            "/coded" => "transfer-encoding: gzip, chunked\r\n",
            "/twice" => "transfer-encoding: chunked, chunked\r\n",
            _ => "transfer-encoding: chunked\r\n",
        };
        let text =
            format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{framing}\r\n2\r\nok\r\n0\r\n\r\n");
        Reply::Send(text.into())
    })
    .await;
    let edge = front(&[&upstream]).await;
    for path in ["/both", "/coded", "/twice"] {
        let seen = edge.get(path).await;
        assert_eq!((seen.status, seen.complete, seen.field("cache-status")), (502, true, None), "{path}");
        assert_eq!(edge.edge.state().entries, 0, "{path}");
    }
    assert_eq!(edge.get("/chunked").await.text(), "ok");
}

/// RFC 9112 §8: where the end of the connection ends the content, one that broke must not end like one that is whole.
#[tokio::test]
async fn clients_of_http_1_0_see_a_break() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let upstream = Upstream::start(move |asked| match asked.split(' ').nth(1).unwrap() {
        "/broken" => Reply::SendAndClose(format!("{head}4\r\nhalf\r\n").into()),
        "/stalled" => Reply::Parts(vec![format!("{head}4\r\nhalf\r\n").into(), Vec::new()]),
        _ => Reply::Send(format!("{head}5\r\nwhole\r\n0\r\n\r\n").into()),
    })
    .await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.drain = Duration::from_millis(100);
    let edge = run(config).await;
    let ask = async |path: &str| {
        let mut stream = edge.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        stream
    };
    let read = async |stream: &mut tokio::net::TcpStream, bytes: &mut Vec<u8>| {
        tokio::time::timeout(DEADLINE, stream.read_to_end(bytes)).await.unwrap().map_err(|error| error.kind())
    };
    let mut bytes = Vec::new();
    read(&mut ask("/whole").await, &mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("\r\n\r\nwhole") && field(&text, "content-length").is_none(), "{text}");
    let ended = read(&mut ask("/broken").await, &mut Vec::new()).await;
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
    // One that is cut off at the end of a drain is not whole either.
    let mut stalled = ask("/stalled").await;
    upstream.permit(1);
    let (head, mut rest) = read_head(&mut stalled).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    edge.stop.cancel();
    assert_eq!(read(&mut stalled, &mut rest).await, Err(std::io::ErrorKind::ConnectionReset));
}

/// RFC 9112 §5.1: white space before a colon is removed from a response before it goes on.
#[tokio::test]
async fn white_space_before_a_colon_is_removed_from_a_response() {
    let text =
        "HTTP/1.1 200 X\r\ncache-control : max-age=60\r\nX-Odd \t: 1\r\ncontent-length : 4\r\n\r\nbody";
    let upstream = Upstream::script(vec![Reply::Send(text.into())]).await;
    let edge = front(&[&upstream]).await;
    for told in ["fwd=uri-miss", "hit"] {
        let seen = edge.get("/").await;
        assert_eq!((seen.status, seen.text(), seen.field("x-odd").as_deref()), (200, "body", Some("1")));
        assert!(seen.cache_status().contains(told), "{}", seen.head);
    }
}
