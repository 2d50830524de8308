//! The edge in front of an upstream that knows nothing of it, bytes checked on both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use release::journal::Selector;
use support::{
    Reply, Upstream, eventually, field, front, read_head, read_response, response, run, send, upstream_config,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_miss_is_stored_and_the_next_is_a_hit() {
    let upstream = Upstream::script(vec![send(
        200,
        &[("cache-control", "max-age=60"), ("x-a", "1"), ("connection", "x-hop"), ("x-hop", "1")],
        "hello",
    )])
    .await;
    let edge = front(&[&upstream]).await;
    let fields = [("x-original-url", "/evil"), ("connection", "x-mine"), ("x-mine", "1"), ("cookie", "a=b")];
    let miss = edge.ask("GET", "/a?b=c", &fields).await;
    assert_eq!((miss.status, miss.text()), (200, "hello"));
    assert_eq!(miss.cache_status(), "Bakehouse; fwd=uri-miss; fwd-status=200; ttl=60; stored");
    assert_eq!(miss.field("via").as_deref(), Some("1.1 test-edge"));
    assert!(miss.field("x-request-id").is_some() && miss.field("x-hop").is_none());
    let hit = edge.get("/a?b=c").await;
    assert_eq!((hit.status, hit.text(), hit.field("x-a").as_deref()), (200, "hello", Some("1")));
    assert!(hit.cache_status().starts_with("Bakehouse; hit; ttl="), "{}", hit.cache_status());
    assert_eq!(hit.field("age").as_deref(), Some("0"));
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
