//! RFC 9111 §4.4, RFC 9110 §9.3.3, RFC 9875.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncWriteExt;

use crate::support::{Reply, Running, Upstream, eventually, field, front, read_response, response, send};

async fn post(edge: &Running, path: &str) -> u16 {
    let request = format!("POST {path} HTTP/1.1\r\nhost: site.test\r\ncontent-length: 2\r\n\r\nhi");
    edge.raw(request.as_bytes(), false).await.status
}

async fn is_hit(edge: &Running, path: &str) -> bool {
    let seen = edge.get(path).await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    seen.cache_status().contains("hit")
}

#[tokio::test]
async fn references_are_resolved_and_all_variants_marked() {
    let upstream = Upstream::start(|head| {
        if head.starts_with("PURR ") {
            return send(200, &[("location", "../a"), ("content-location", "http://SITE.test:80/b#x")], "");
        }
        send(200, &[("cache-control", "max-age=60"), ("vary", "x-v"), ("etag", "\"a\"")], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for path in ["/d/self", "/a", "/b", "/c"] {
        for variant in ["1", "2"] {
            edge.ask("GET", path, &[("x-v", variant)]).await;
        }
    }
    eventually("the store", || edge.edge.state().entries == 8).await;
    // A method that is not known may have changed anything.
    assert_eq!(edge.ask("PURR", "/d/self", &[]).await.status, 200);
    // Marked, not freed.
    assert_eq!(edge.edge.state().entries, 8);
    for (path, hit) in [("/d/self", false), ("/a", false), ("/b", false), ("/c", true)] {
        for variant in ["1", "2"] {
            let seen = edge.ask("GET", path, &[("x-v", variant)]).await;
            assert_eq!(seen.cache_status().contains("hit"), hit, "{path} {}", seen.cache_status());
            let conditional = upstream.requests().last().is_some_and(|r| field(r, "if-none-match").is_some());
            assert!(hit || conditional, "{path}");
        }
    }
}

/// RFC 10008: a question with content, which is sent on, and changes nothing.
#[tokio::test]
async fn a_query_invalidates_nothing_and_is_not_answered_from_the_store() {
    let upstream = Upstream::start(|head| {
        let body = if head.starts_with("QUERY") { "found" } else { "page" };
        send(200, &[("cache-control", "max-age=60"), ("content-location", "/")], body)
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    for n in 0..2 {
        let asked = b"QUERY / HTTP/1.1\r\nhost: site.test\r\ncontent-length: 2\r\n\r\nhi";
        let seen = edge.raw(asked, false).await;
        assert_eq!((seen.status, seen.text()), (200, "found"));
        assert_eq!(upstream.requests().len(), n + 2);
        assert!(is_hit(&edge, "/").await);
    }
}

#[tokio::test]
async fn groups_end_within_their_origin_and_do_not_cascade() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap();
        if head.starts_with("POST /fails") {
            return send(500, &[("cache-group-invalidation", "\"one\"")], "");
        }
        if head.starts_with("POST") {
            return send(200, &[("cache-group-invalidation", "\"one\", \"none\"")], "");
        }
        let groups = match path {
            "/one" => "\"one\"",
            "/both" => "\"two\", \"one\"",
            "/two" => "\"two\"",
            "/case" => "\"ONE\"",
            // A safe request's response invalidates nothing.
            _ => {
                return send(
                    200,
                    &[("cache-control", "max-age=60"), ("cache-group-invalidation", "\"one\"")],
                    "x",
                );
            }
        };
        send(200, &[("cache-control", "max-age=60"), ("cache-groups", groups)], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for path in ["/one", "/both", "/two", "/case", "/get"] {
        edge.get(path).await;
    }
    edge.raw(b"GET /one HTTP/1.1\r\nhost: other.test\r\n\r\n", false).await;
    eventually("the store", || edge.edge.state().entries == 6).await;
    assert_eq!(post(&edge, "/fails").await, 500);
    assert!(is_hit(&edge, "/one").await && is_hit(&edge, "/both").await);
    assert_eq!(post(&edge, "/x").await, 200);
    assert!(!is_hit(&edge, "/one").await && !is_hit(&edge, "/both").await);
    assert!(is_hit(&edge, "/two").await && is_hit(&edge, "/case").await);
    let other = edge.raw(b"GET /one HTTP/1.1\r\nhost: other.test\r\n\r\n", false).await;
    assert!(other.cache_status().contains("hit"));
    // Validated since, they count again.
    assert!(is_hit(&edge, "/one").await && is_hit(&edge, "/both").await);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_save_what_it_changed() {
    let upstream = Upstream::start(|head| {
        if head.starts_with("POST") {
            return Reply::Parts(vec![response(200, &[], "")]);
        }
        send(200, &[("cache-control", "max-age=60")], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    assert!(is_hit(&edge, "/").await);
    let mut stream = edge.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: site.test\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
    upstream.wait_for(2).await;
    drop(stream);
    upstream.permit(1);
    let mut hit = true;
    let end = tokio::time::Instant::now() + crate::support::DEADLINE;
    while hit && tokio::time::Instant::now() < end {
        hit = is_hit(&edge, "/").await;
    }
    assert!(!hit);
}

/// What a POST brings may have been made before a purge that came while it was under way.
#[tokio::test]
async fn a_post_that_a_purge_overtook_is_not_stored() {
    for is_purged in [true, false] {
        let upstream = Upstream::start(|head| {
            if head.starts_with("POST") {
                let fields = [("cache-control", "max-age=60"), ("content-location", "/")];
                return Reply::Parts(vec![response(200, &fields, "posted")]);
            }
            send(200, &[("cache-control", "max-age=60")], "got")
        })
        .await;
        let edge = std::sync::Arc::new(front(&[&upstream]).await);
        let posted = tokio::spawn({
            let edge = std::sync::Arc::clone(&edge);
            async move { post(&edge, "/").await }
        });
        upstream.wait_for(1).await;
        if is_purged {
            edge.edge.purge_local(&[release::journal::Selector::Url("/".into())], false).await;
        }
        upstream.permit(1);
        assert_eq!(posted.await.unwrap(), 200);
        let expected = if is_purged { "got" } else { "posted" };
        assert_eq!(edge.get("/").await.text(), expected);
    }
}

#[tokio::test]
async fn a_fetch_that_an_unsafe_reply_overtook_is_not_stored() {
    let upstream = Upstream::start(|head| {
        if head.starts_with("POST") {
            return send(204, &[], "");
        }
        Reply::Parts(vec![response(200, &[("cache-control", "max-age=60")], "old")])
    })
    .await;
    let edge = std::sync::Arc::new(front(&[&upstream]).await);
    let early = tokio::spawn({
        let edge = std::sync::Arc::clone(&edge);
        async move { edge.get("/").await }
    });
    upstream.wait_for(1).await;
    assert_eq!(post(&edge, "/").await, 204);
    upstream.permit(2);
    let early = early.await.unwrap();
    assert_eq!(early.text(), "old");
    let told = early.cache_status();
    assert!(!told.contains("stored") && told.ends_with("; detail=superseded"), "{told}");
    assert!(!is_hit(&edge, "/").await);
}

/// What names other groups covers no response that is of none of them.
#[tokio::test]
async fn a_fetch_during_which_another_group_is_purged_is_stored() {
    for (group, is_stored) in [("theirs", true), ("ours", false)] {
        let fields = [("cache-control", "max-age=60"), ("cache-groups", "\"ours\"")];
        let upstream = Upstream::start(move |_| Reply::Parts(vec![response(200, &fields, "content")])).await;
        let edge = std::sync::Arc::new(front(&[&upstream]).await);
        let early = tokio::spawn({
            let edge = std::sync::Arc::clone(&edge);
            async move { edge.get("/").await }
        });
        upstream.wait_for(1).await;
        edge.edge.purge_local(&[release::journal::Selector::Group(group.into())], false).await;
        upstream.permit(2);
        let told = early.await.unwrap().cache_status();
        assert_eq!(
            (told.contains("; stored"), told.contains("superseded")),
            (is_stored, !is_stored),
            "{told}"
        );
        assert_eq!(is_hit(&edge, "/").await, is_stored, "{group}");
    }
}

#[tokio::test]
async fn a_post_that_is_its_own_location_is_kept() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).unwrap();
        if head.starts_with("GET") {
            return send(200, &[("cache-control", "max-age=60"), ("etag", "\"old\"")], "old");
        }
        let located = if path == "/other" { "/elsewhere" } else { path };
        let fields = [("cache-control", "max-age=60"), ("content-location", located), ("etag", "\"new\"")];
        send(200, if path == "/bare" { &fields[1..] } else { &fields }, "new")
    })
    .await;
    let edge = front(&[&upstream]).await;
    for (path, text, hit) in [("/self?q", "new", true), ("/other", "old", false), ("/bare", "old", false)] {
        edge.get(path).await;
        assert!(is_hit(&edge, path).await);
        // Conditions of a POST are the upstream's to judge.
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: site.test\r\nif-none-match: \"new\"\r\ncontent-length: 2\r\n\r\nhi"
        );
        let seen = edge.raw(request.as_bytes(), false).await;
        assert_eq!((seen.status, seen.text()), (200, "new"), "{path}");
        let seen = edge.get(path).await;
        assert_eq!((seen.text(), seen.cache_status().contains("hit")), (text, hit), "{path}");
    }
}

/// RFC 9111 §4.3.4.
#[tokio::test]
async fn all_that_a_304_selects_is_valid_again() {
    let is_changed = AtomicBool::new(false);
    let upstream = Upstream::start(move |head| {
        if head.starts_with("POST") {
            is_changed.store(true, Ordering::SeqCst);
            return send(200, &[], "");
        }
        if is_changed.load(Ordering::SeqCst) {
            return send(304, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "");
        }
        let vary = if field(head, "x-a").as_deref() == Some("1") { "x-a" } else { "x-b" };
        send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("vary", vary)], "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    let ask = async |a: &str, b: &str| {
        let seen = edge.ask("GET", "/", &[("x-a", a), ("x-b", b)]).await;
        eventually("the store", || edge.edge.state().flights == 0).await;
        seen
    };
    ask("1", "9").await;
    ask("2", "2").await;
    assert_eq!(edge.edge.state().entries, 2);
    assert_eq!(post(&edge, "/").await, 200);
    let both = ask("1", "2").await;
    assert!(both.cache_status().contains("fwd=stale; fwd-status=304"), "{}", both.head);
    let before = upstream.requests().len();
    for (a, b) in [("1", "9"), ("9", "2")] {
        let seen = ask(a, b).await;
        assert!(seen.cache_status().contains("; hit"), "{a} {b} {}", seen.head);
    }
    assert_eq!(upstream.requests().len(), before);
}

/// Of two POSTs that overlap nobody knows which was the last: what either of them brings may be what was before the other.
#[tokio::test]
async fn what_a_post_brings_is_not_kept_if_another_has_overtaken_it() {
    let upstream = Upstream::start(|head| {
        let located = [("cache-control", "max-age=60"), ("content-location", "/")];
        match field(head, "x-which").as_deref() {
            Some("slow") => Reply::Parts(vec![response(200, &located, "one")]),
            Some("quick") => send(200, &[], "two is done"),
            _ => send(200, &[("cache-control", "max-age=60")], "two"),
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    for quick in ["POST /", "DELETE /", "PUT /other"] {
        let mut slow = edge.connect().await;
        let ask = |line: &str, which: &str| {
            format!("{line} HTTP/1.1\r\nhost: site.test\r\nx-which: {which}\r\ncontent-length: 0\r\n\r\n")
        };
        let before = upstream.requests().len();
        slow.write_all(ask("POST /", "slow").as_bytes()).await.unwrap();
        upstream.wait_for(before + 1).await;
        assert_eq!(edge.raw(ask(quick, "quick").as_bytes(), false).await.text(), "two is done");
        upstream.permit(1);
        assert_eq!(read_response(&mut slow, false).await.text(), "one");
        let is_kept = quick == "PUT /other";
        eventually("the store", || !is_kept || edge.edge.state().entries > 0).await;
        assert_eq!(edge.get("/").await.text(), if is_kept { "one" } else { "two" }, "{quick}");
        edge.edge.purge_local(&[release::journal::Selector::All], false).await;
    }
}

/// RFC 9111 §3.3: only of a GET is kept what is not complete.
#[tokio::test]
async fn a_post_that_breaks_off_leaves_nothing() {
    let located = [("cache-control", "max-age=60"), ("content-location", "/"), ("etag", "\"a\"")];
    let upstream = Upstream::start(move |head| {
        let whole = response(200, &located, "0123456789");
        if head.starts_with("GET") {
            Reply::Send(whole)
        } else {
            Reply::SendAndClose(whole[..whole.len() - 5].to_vec())
        }
    })
    .await;
    let edge = front(&[&upstream]).await;
    let seen = edge.ask("POST", "/", &[("content-length", "0")]).await;
    assert_eq!((seen.status, seen.complete), (200, false));
    assert_eq!(edge.get("/").await.text(), "0123456789");
    assert_eq!(field(&upstream.requests()[1], "range"), None);
}
