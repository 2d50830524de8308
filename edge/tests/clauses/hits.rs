//! The short way of a hit and the long one are one opinion: whatever is asked, both say the same.

use crate::support::{Seen, Upstream, eventually, field, front, send};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A response without what is made for each: its id, its age, and the random boundary of its parts.
fn told(seen: &Seen) -> (u16, Vec<String>, String) {
    let mut lines: Vec<String> = seen
        .head
        .lines()
        .filter(|line| !["x-request-id:", "age:", "cache-status:"].iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    lines.sort();
    let boundary =
        seen.field("content-type").and_then(|kind| Some(kind.split_once("boundary=")?.1.to_owned()));
    let without =
        |text: &str| boundary.as_ref().map_or(text.to_owned(), |boundary| text.replace(boundary, "B"));
    (seen.status, lines.iter().map(|line| without(line)).collect(), without(seen.text()))
}

#[tokio::test]
async fn both_ways_say_the_same() {
    let body: String = (0..200).map(|n| format!("{n:010}")).collect();
    let upstream = Upstream::start(move |head| {
        let path = head.split(' ').nth(1).unwrap();
        let mut fields = vec![("cache-control", "max-age=600"), ("content-type", "text/plain")];
        fields.extend(match path {
            "/strong" => vec![("etag", "\"a\""), ("last-modified", MODIFIED)],
            "/weak" => vec![("etag", "W/\"a\""), ("last-modified", MODIFIED)],
            "/digest" => vec![("etag", "\"a\""), ("content-digest", "sha-256=:AAAA:")],
            "/strange" => {
                vec![("etag", "\"a\""), ("content-range", "bytes 0-1/9"), ("last-modified", "never")]
            }
            "/vary" => vec![("vary", "accept, origin, accept-language, x-forwarded-for"), ("etag", "\"a\"")],
            "/coded" => vec![("vary", "accept-encoding"), ("etag", "\"a\"")],
            _ => vec![],
        });
        let status = if path == "/gone" { 404 } else { 200 };
        let text = if path == "/empty" { "" } else { &body };
        let told = field(head, "accept").unwrap_or_default();
        send(status, &fields, &format!("{told}{text}"))
    })
    .await;
    let edge = front(&[&upstream]).await;
    let since = format!("if-modified-since: {MODIFIED}\r\n");
    let dated = format!("range: bytes=0-1\r\nif-range: {MODIFIED}\r\n");
    let both = format!("if-none-match: \"b\"\r\n{since}");
    let asked = [
        "",
        "range: bytes=0-9\r\n",
        "range: bytes=-5\r\n",
        "range: bytes=1990-\r\n",
        "range: bytes=0-1,1000-1001\r\n",
        "range: bytes=,0-0,\r\n",
        "range: bytes=5000-\r\n",
        "range: bytes=-0\r\n",
        "range: bytes=1-0\r\n",
        "range: lines=0-1\r\n",
        "range: bytes=0-1\r\nrange: bytes=0-1\r\n",
        "range: bytes=0-1\r\nif-range: \"a\"\r\n",
        "range: bytes=0-1\r\nif-range: W/\"a\"\r\n",
        "range: bytes=0-1\r\nif-range: \"b\"\r\n",
        "range: bytes=0-1\r\nif-none-match: \"a\"\r\n",
        "range: bytes=0-1\r\nif-none-match: \"b\"\r\n",
        &dated,
        "if-none-match: \"a\"\r\n",
        "if-none-match: W/\"a\"\r\n",
        "if-none-match: \"b\", \"a\"\r\n",
        "if-none-match: *\r\n",
        "if-modified-since: never\r\n",
        "if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT\r\n",
        "if-modified-since: Sun, 06 Nov 1994 08:49:38 GMT\r\n",
        &since,
        &both,
        "accept: a/b, c/d;q=0.5\r\n",
        "accept: C/D;q=0.5\r\naccept: a/b\r\n",
        "accept: a/b, c/d;q=0.5\r\naccept-language: en, de;q=0.5\r\norigin: https://a\r\n",
        "accept: a/b, c/d;q=0.5\r\naccept-language: DE;q=0.5, en\r\norigin: https://a\r\n",
        "accept-encoding: gzip, br\r\nrange: bytes=0-1\r\n",
        "x-forwarded-for: 192.0.2.7\r\n",
    ];
    for path in ["/strong", "/weak", "/digest", "/strange", "/vary", "/coded", "/bare", "/gone", "/empty"] {
        for fields in asked {
            for method in ["GET", "HEAD"] {
                let ask = async |more: &str| {
                    let text = format!("{method} {path} HTTP/1.1\r\nhost: site.test\r\n{fields}{more}\r\n");
                    let seen = edge.raw(text.as_bytes(), method == "HEAD").await;
                    eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
                    seen
                };
                // A GET first, without what makes an answer another, so that it is held.
                let plain = fields
                    .split_inclusive("\r\n")
                    .filter(|line| line.starts_with("accept") || line.starts_with("origin"));
                let text =
                    format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n{}\r\n", plain.collect::<String>());
                edge.raw(text.as_bytes(), false).await;
                eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
                let requests = upstream.requests().len();
                // A field of proxies on the way sends it the long way, and changes nothing else.
                let (short, long) = (ask("").await, ask("via: 1.1 other\r\n").await);
                assert_eq!(told(&short), told(&long), "{method} {path} {fields}");
                assert!(
                    long.cache_status().contains("; hit; ttl="),
                    "{method} {path} {fields} {}",
                    long.head
                );
                assert_eq!(upstream.requests().len(), requests, "{method} {path} {fields}");
            }
        }
    }
}

/// RFC 9112 §3.2: a host that is none is refused, whatever is held for what it looks like.
#[tokio::test]
async fn a_host_that_is_none_hits_nothing() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=600")], "held")).await;
    let edge = front(&[&upstream]).await;
    for (host, status) in [("h:81", 200), ("h:81", 200), ("h:81:80", 400), ("h:81:", 400)] {
        let seen = edge.raw(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes(), false).await;
        assert_eq!(seen.status, status, "{host}");
        eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    }
    assert_eq!(upstream.requests().len(), 1);
}
