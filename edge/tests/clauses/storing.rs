//! RFC 9111 §3, and the switches beside it.

use std::sync::atomic::{AtomicUsize, Ordering};

use edge::policy::{query::QueryKey, rules::SetCookie};
use http::HeaderName;

use tokio::io::AsyncWriteExt;

use crate::support::{
    Reply, Running, Upstream, eventually, field, front, read_head, run, send, upstream_config,
};

async fn is_hit(edge: &Running, path: &str) -> bool {
    edge.get(path).await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    edge.get(path).await.cache_status().contains("hit")
}

#[tokio::test]
async fn any_final_status_with_explicit_freshness_is_kept() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap();
        let (status, bare) = path[1..].split_once('/').unwrap();
        let fields = [("cache-control", "max-age=60")];
        send(status.parse().unwrap(), if bare == "bare" { &[] } else { &fields }, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for status in [200, 201, 302, 307, 400, 403, 404, 410, 418, 499, 500, 502, 503, 599] {
        assert!(is_hit(&edge, &format!("/{status}/fresh")).await, "{status}");
        assert!(!is_hit(&edge, &format!("/{status}/bare")).await, "{status}");
    }
}

#[tokio::test]
async fn strange_fields_are_kept_untouched() {
    let upstream = Upstream::start(|_| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("content-encoding", "x-unknown"),
            ("content-range", "bytes 0-0/9"),
            ("x-bytes", "\"a\\\"b\", c"),
        ];
        send(200, &fields, "whole")
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert!(is_hit(&edge, "/").await);
    let hit = edge.get("/").await;
    assert_eq!((hit.status, hit.text()), (200, "whole"));
    for (name, value) in
        [("content-encoding", "x-unknown"), ("content-range", "bytes 0-0/9"), ("x-bytes", "\"a\\\"b\", c")]
    {
        assert_eq!(hit.field(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn cookies_are_kept_by_the_switch() {
    let upstream = Upstream::start(|head| {
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let control = match head.split(' ').nth(1).unwrap() {
            "/explicit" => "max-age=60",
            "/public" => "max-age=60, public",
            "/shared" => "s-maxage=60",
            "/named" => "max-age=60, no-cache=\"set-cookie\"",
            _ => return send(200, &[modified, ("set-cookie", "a=b")], "x"),
        };
        send(200, &[("cache-control", control), ("set-cookie", "a=b")], "x")
    })
    .await;
    for (set_cookie, explicit) in [(SetCookie::ForAll, false), (SetCookie::Store, true)] {
        let mut config = upstream_config(&[&upstream]);
        config.settings.rules.set_cookie = set_cookie;
        let edge = run(config).await;
        for (path, hit) in [
            ("/explicit", explicit),
            ("/public", true),
            ("/shared", true),
            ("/named", true),
            ("/heuristic", false),
        ] {
            assert_eq!(is_hit(&edge, path).await, hit, "{set_cookie:?} {path}");
        }
        assert_eq!(edge.get("/public").await.field("set-cookie").as_deref(), Some("a=b"));
        assert_eq!(edge.get("/named").await.field("set-cookie"), None);
    }
}

/// RFC 9110 §5.6.4, RFC 9111 §5.2.
#[tokio::test]
async fn quotes_hide_only_what_is_quoted() {
    let upstream = Upstream::start(|head| {
        let control = match head.split(' ').nth(1).unwrap() {
            "/quoted" => "max-age=60, x=\"a, no-store\"",
            "/open" => "max-age=60, x=\"unterminated, no-store",
            "/inside" => "x=a\"b, no-store, c\"d, max-age=60",
            _ => "max-age=60, private=\"x-a, no-store",
        };
        send(200, &[("cache-control", control)], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert!(is_hit(&edge, "/quoted").await);
    for path in ["/open", "/inside", "/private"] {
        assert!(!is_hit(&edge, path).await, "{path}");
        assert!(edge.get(path).await.cache_status().contains("detail=no-store"), "{path}");
    }
}

#[tokio::test]
async fn fields_for_one_client_reach_that_one_alone() {
    let upstream = Upstream::start(|_| {
        let fields = [("cache-control", "max-age=60, private=\"x-mine\""), ("x-mine", "1"), ("x-all", "2")];
        send(200, &fields, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    let own = edge.get("/").await;
    assert_eq!((own.field("x-mine").as_deref(), own.field("x-all").as_deref()), (Some("1"), Some("2")));
    eventually("the store", || edge.edge.state().flights == 0).await;
    let other = edge.get("/").await;
    assert!(other.cache_status().contains("hit"));
    assert_eq!((other.field("x-mine"), other.field("x-all").as_deref()), (None, Some("2")));
}

/// RFC 9111 §5.2.2.4, §5.2.2.7: what comes with a 304 for the one who asked is for that one as well.
#[tokio::test]
async fn fields_of_a_304_for_one_client_reach_that_one_alone() {
    for scope in ["private", "no-cache"] {
        for (then, status, is_kept) in
            [("max-age=60", 200, true), ("max-age=60", 304, true), ("private", 200, false)]
        {
            let count = AtomicUsize::new(0);
            let upstream = Upstream::start(move |head| {
                let number = count.fetch_add(1, Ordering::Relaxed).to_string();
                let is_known = field(head, "if-none-match").is_some();
                let control =
                    format!("{}, {scope}=\"set-cookie\"", if is_known { then } else { "max-age=0" });
                let fields = [("cache-control", &*control), ("etag", "\"a\""), ("set-cookie", &number)];
                send(if is_known { 304 } else { 200 }, &fields, if is_known { "" } else { "x" })
            })
            .await;
            let edge = front(&[&upstream]).await;
            assert_eq!(edge.get("/").await.field("set-cookie").as_deref(), Some("0"), "{scope} {then}");
            eventually("the store", || edge.edge.state().flights == 0).await;
            let conditions: &[(&str, &str)] = if status == 304 { &[("if-none-match", "\"a\"")] } else { &[] };
            let asker = edge.ask("GET", "/", conditions).await;
            assert_eq!(
                (asker.status, asker.field("set-cookie").as_deref()),
                (status, Some("1")),
                "{scope} {then}"
            );
            let other = edge.get("/").await;
            let is_hit = other.cache_status().contains("hit");
            assert_eq!((is_hit, other.field("set-cookie").is_none()), (is_kept, is_kept), "{scope} {then}");
        }
    }
}

#[tokio::test]
async fn targeted_fields_are_those_of_the_list_in_its_order() {
    let upstream = Upstream::start(|_| {
        let fields = [
            ("mine-cache-control", "max-age=60"),
            ("cdn-cache-control", "no-store"),
            ("cache-control", "no-store"),
            ("expires", "0"),
        ];
        send(200, &fields, "x")
    })
    .await;
    for (targets, hit) in [
        (vec![], false),
        (vec!["cdn-cache-control"], false),
        (vec!["mine-cache-control", "cdn-cache-control"], true),
        (vec!["cdn-cache-control", "mine-cache-control"], false),
        (vec!["absent", "mine-cache-control"], true),
    ] {
        let mut config = upstream_config(&[&upstream]);
        config.settings.rules.targets = targets.iter().map(|name| HeaderName::from_static(name)).collect();
        let edge = run(config).await;
        assert_eq!(is_hit(&edge, "/").await, hit, "{targets:?}");
    }
}

/// RFC 9213 §2.1, RFC 9651 §3.2, §4.2: all lines are one dictionary; one that is not valid is ignored.
#[tokio::test]
async fn a_targeted_field_is_a_structured_one() {
    const ROWS: [(&[&str], &str, bool); 13] = [
        (&["max-age=60"], "no-store", true),
        (&["max-age=60", "public"], "no-store", true),
        (&["public", "", "max-age=60"], "no-store", true),
        (&["max-age=60", "no-store"], "max-age=60", false),
        (&["no-store", "no-store=?0, max-age=60"], "no-store", true),
        (&["max-age=60;a=b, x=\"no-store\""], "no-store", true),
        (&["max-age=999999999999999"], "no-store", true),
        // Not valid: upper case, a comma at the end, an integer out of range, a line that is none.
        (&["MAX-AGE=60"], "no-store", false),
        (&["NO-STORE"], "max-age=60", true),
        (&["max-age=60,"], "no-store", false),
        (&["max-age=9999999999999999"], "no-store", false),
        (&["no-store", "max-age=60,"], "max-age=60", true),
        (&["max-age=60", "é"], "no-store", false),
    ];
    let upstream = Upstream::start(|head| {
        let index: usize = head.split(' ').nth(1).unwrap()[1..].parse().unwrap();
        let (lines, control, _) = ROWS[index];
        let lines = lines.iter().map(|line| ("CDN-Cache-Control", *line));
        let fields: Vec<(&str, &str)> = lines.chain([("cache-control", control)]).collect();
        send(200, &fields, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (index, (lines, control, hit)) in ROWS.into_iter().enumerate() {
        assert_eq!(is_hit(&edge, &format!("/{index}")).await, hit, "{lines:?} {control}");
    }
}

#[tokio::test]
async fn what_is_not_keyed_is_not_forwarded() {
    let upstream = Upstream::start(|head| {
        let fields = [("cache-control", "max-age=60"), ("content-location", "/post")];
        send(200, &fields, head.split(' ').nth(1).unwrap())
    })
    .await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.rules.query = QueryKey::Without(vec!["utm_*".into()]);
    let edge = run(config).await;
    assert_eq!(edge.get("/a?utm_source=x&page=2").await.text(), "/a?page=2");
    eventually("the store", || edge.edge.state().flights == 0).await;
    let hit = edge.get("/a?page=2&utm_medium=y").await;
    assert_eq!((hit.text(), hit.cache_status().contains("hit")), ("/a?page=2", true));
    // An unsafe request is forwarded as it is, and ends the copy that its URI is kept under.
    assert_eq!(edge.ask("DELETE", "/a?utm_x=1&page=2", &[]).await.text(), "/a?utm_x=1&page=2");
    assert!(edge.get("/a?page=2").await.cache_status().contains("fwd=stale"));
    // Nor does what it brings stand for what is kept.
    assert_eq!(edge.ask("POST", "/post?utm_x=1", &[]).await.text(), "/post?utm_x=1");
    assert_eq!(edge.get("/post").await.text(), "/post");
}

#[tokio::test]
async fn encodings_make_no_more_variants_than_there_are() {
    let upstream = Upstream::start(|head| {
        if head.starts_with("HEAD ") {
            return send(200, &[], "");
        }
        let encodings = field(head, "accept-encoding").unwrap_or_else(|| "none".into());
        send(200, &[("cache-control", "max-age=60"), ("vary", "Accept-Encoding")], &encodings)
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (sent, seen, requests) in [
        ("gzip, deflate, br", "br,deflate,gzip", 1),
        ("br;q=0.9, deflate;q=0.1, GZIP;q=0.9", "br,deflate,gzip", 1),
        ("gzip, deflate, br, made-up-1", "br,deflate,gzip", 1),
        ("br;q=0.9, deflate;q=0.1, GZIP", "br;q=0.9,deflate;q=0.5,gzip", 2),
        ("br;q=0.1, deflate, gzip;q=0.2", "br;q=0.9,deflate;q=0.5,gzip", 2),
        ("made-up-2", "identity", 3),
        ("identity", "identity", 3),
        ("gzip;q=0", "identity", 3),
        ("gzip", "gzip", 4),
    ] {
        assert_eq!(edge.ask("GET", "/", &[("accept-encoding", sent)]).await.text(), seen, "{sent}");
        eventually("the store", || edge.edge.state().flights == 0).await;
        let gets = upstream.requests().iter().filter(|asked| asked.starts_with("GET ")).count();
        assert_eq!(gets, requests, "{sent}");
        // What may become or renew a copy asks as a GET does.
        for method in ["HEAD", "POST"] {
            edge.ask(method, "/other", &[("accept-encoding", sent)]).await;
            let told = upstream.requests().pop().unwrap();
            assert_eq!(field(&told, "accept-encoding").as_deref(), Some(seen), "{method} {sent}");
        }
    }
    assert_eq!(edge.get("/").await.text(), "none");
    edge.ask("HEAD", "/other", &[]).await;
    assert_eq!(field(&upstream.requests().pop().unwrap(), "accept-encoding"), None);
}

/// RFC 9111 §4.1: white space and empty members mean nothing where a field is a list, and only there.
#[tokio::test]
async fn only_lists_are_compared_as_lists() {
    let upstream = Upstream::start(|head| {
        send(200, &[("cache-control", "max-age=60"), ("vary", "user-agent, prefer")], head)
    })
    .await;
    let edge = front(&[&upstream]).await;
    let ask = async |agent: &str, prefer: &str| {
        let seen = edge.ask("GET", "/", &[("user-agent", agent), ("prefer", prefer)]).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        (field(seen.text(), "user-agent").unwrap(), seen.cache_status().contains("hit"))
    };
    let (wide, tight) = ("A (KHTML,  like Gecko,, x)", "A (KHTML,like Gecko,x)");
    for (agent, prefer, hit) in [
        (wide, "a, b", false),
        (wide, "a,,b ", true),
        (tight, "a, b", false),
        (tight, "a,b", true),
        (wide, "a,b", true),
        (wide, "a b", false),
    ] {
        assert_eq!(ask(agent, prefer).await, (agent.to_owned(), hit), "{agent} {prefer}");
    }
}

#[tokio::test]
async fn variants_of_one_url_are_bounded() {
    let upstream = Upstream::start(|head| {
        let fields = [("cache-control", "max-age=60"), ("vary", "x-v")];
        send(200, &fields, &field(head, "x-v").unwrap_or_default())
    })
    .await;
    let edge = front(&[&upstream]).await;
    for n in 0..100 {
        let text = n.to_string();
        assert_eq!(edge.ask("GET", "/", &[("x-v", &text)]).await.text(), text);
        eventually("the store", || edge.edge.state().flights == 0).await;
        assert!(edge.edge.state().entries <= 32);
    }
    // The latest are those that are held.
    assert!(edge.ask("GET", "/", &[("x-v", "99")]).await.cache_status().contains("hit"));
    assert!(edge.ask("GET", "/", &[("x-v", "0")]).await.cache_status().contains("fwd=vary-miss"));
}

#[tokio::test]
async fn what_ends_with_a_reset_did_not_end() {
    let text = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: close\r\n\r\nhalf";
    let upstream = Upstream::script(vec![
        Reply::SendAndReset(text.into()),
        send(200, &[("cache-control", "max-age=60")], "whole"),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    upstream.permit(1);
    eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    assert_eq!(edge.edge.state().entries, 0);
    let seen = edge.get("/").await;
    assert_eq!((seen.text(), seen.cache_status().contains("fwd=uri-miss")), ("whole", true));
}

/// RFC 6585 §3 to §6: these are for one client or for one network.
#[tokio::test]
async fn what_is_said_to_one_client_is_never_kept() {
    let upstream = Upstream::start(|head| {
        let status = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        send(status, &[("cache-control", "public, max-age=60"), ("etag", "\"a\"")], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for status in [428, 429, 431, 511] {
        assert!(!is_hit(&edge, &format!("/{status}")).await, "{status}");
    }
}

/// RFC 9111 §5.2.2.4, §5.2.2.7: what is named there is not kept; without these fields nobody could tell what is.
#[tokio::test]
async fn what_tells_how_to_use_a_response_is_not_for_one_client() {
    for scope in ["private", "no-cache"] {
        for name in ["vary", "x-mine, Cache-Control", "content-encoding", "cdn-cache-control"] {
            let upstream = Upstream::start(move |head| {
                let language = field(head, "accept-language").unwrap_or_default();
                let is_known = field(head, "if-none-match").is_some();
                let age = if is_known { 60 } else { 0 };
                let control = format!("max-age={age}, {scope}=\"{name}\"");
                let mut fields = vec![("cache-control", &*control), ("etag", "\"a\"")];
                if !is_known {
                    fields.extend([("vary", "accept-language"), ("content-encoding", "x-b")]);
                }
                send(if is_known { 304 } else { 200 }, &fields, &language)
            })
            .await;
            let edge = front(&[&upstream]).await;
            for language in ["en", "de", "en", "fr"] {
                let seen = edge.ask("GET", "/", &[("accept-language", language)]).await;
                eventually("the store", || edge.edge.state().flights == 0).await;
                assert!(!seen.cache_status().contains("hit"), "{scope} {name} {}", seen.head);
                assert_eq!(seen.field("content-encoding").as_deref(), Some("x-b"), "{scope} {name}");
            }
        }
    }
}

/// RFC 9111 §4.1: a field that ends here is told anew, and selects as it is told.
#[tokio::test]
async fn a_response_that_varies_by_what_is_told_anew() {
    let upstream = Upstream::start(|head| {
        let name = head.split(['/', ' ']).nth(2).unwrap();
        let told = field(head, name).unwrap_or_default();
        send(200, &[("cache-control", "max-age=60"), ("vary", name)], &told)
    })
    .await;
    let edge = front(&[&upstream]).await;
    let with: &[(&str, &str)] = &[("te", "trailers"), ("connection", "te")];
    for (path, told) in [("/te", "trailers"), ("/connection", "te")] {
        for kind in ["fwd", "hit"] {
            for (fields, text) in [(with, told), (&[], "")] {
                let seen = edge.ask("GET", path, fields).await;
                eventually("the store", || edge.edge.state().flights == 0).await;
                assert_eq!(seen.text(), text, "{path} {}", seen.head);
                assert!(seen.cache_status().contains(kind), "{path} {}", seen.head);
            }
        }
    }
}
