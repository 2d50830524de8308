//! RFC 9110 §14, RFC 9111 §3.3 and §3.4.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Reply, Running, Seen, Upstream, eventually, field, front, response, send};

const DIGITS: &str = "0123456789";

/// Sends parts of [`DIGITS`] as asked, each with this tag.
async fn parts(tag: &'static str) -> Upstream {
    Upstream::start(move |head| {
        let fields = [("cache-control", "max-age=60"), ("etag", tag)];
        match field(head, "range").as_deref() {
            Some("bytes=0-4") => part("bytes 0-4/10", tag, "01234"),
            Some("bytes=5-9" | "bytes=5-" | "bytes=-5") => part("bytes 5-9/10", tag, "56789"),
            Some("bytes=3-6") => part("bytes 3-6/10", tag, "3456"),
            _ => send(200, &fields, DIGITS),
        }
    })
    .await
}

fn part(range: &str, tag: &str, body: &str) -> Reply {
    send(206, &[("cache-control", "max-age=60"), ("etag", tag), ("content-range", range)], body)
}

async fn range(edge: &Running, range: &str) -> Seen {
    let seen = edge.ask("GET", "/", &[("range", range)]).await;
    eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    seen
}

#[tokio::test]
async fn several_ranges_are_one_multipart_response() {
    let body: String = (0..100).map(|n| format!("{n:010}")).collect();
    let whole = body.clone();
    let upstream = Upstream::start(move |_| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("content-type", "text/x-numbers"),
            ("content-digest", "sha-256=:AAAA:"),
            ("content-md5", "AAAA"),
            ("repr-digest", "sha-256=:BBBB:"),
        ];
        send(200, &fields, &whole)
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(edge.get("/").await.field("content-digest").as_deref(), Some("sha-256=:AAAA:"));
    let seen = range(&edge, "bytes=990-,0-9").await;
    assert_eq!((seen.status, seen.complete), (206, true));
    let kind = seen.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let expected = format!(
        "--{boundary}\r\nContent-Type: text/x-numbers\r\nContent-Range: bytes 990-999/1000\r\n\r\n0000000099\
         \r\n--{boundary}\r\nContent-Type: text/x-numbers\r\nContent-Range: bytes 0-9/1000\r\n\r\n0000000000\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(seen.text(), expected);
    assert_eq!(seen.field("content-length"), Some(expected.len().to_string()));
    for name in ["content-range", "content-digest", "content-md5"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.field("repr-digest").as_deref(), Some("sha-256=:BBBB:"));
    // One part: the same without its digest.
    let one = range(&edge, "bytes=0-9").await;
    assert_eq!((one.status, one.text(), one.field("content-digest")), (206, "0000000000", None));
    // More ranges than are looked at, or more bytes than the whole: the whole.
    let many = format!("bytes={}", (0..50).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(","));
    for set in [many.as_str(), "bytes=0-499,700-999"] {
        let seen = range(&edge, set).await;
        assert_eq!((seen.status, seen.text()), (200, body.as_str()));
    }
    // Not for a HEAD, nor where If-Range does not hold; 416 says nothing of the content.
    assert_eq!(edge.ask("HEAD", "/", &[("range", "bytes=0-9")]).await.status, 200);
    let beyond = range(&edge, "bytes=1000-").await;
    assert_eq!((beyond.status, beyond.field("content-range").as_deref()), (416, Some("bytes */1000")));
    for name in ["cache-control", "repr-digest", "content-digest", "content-md5"] {
        assert_eq!(beyond.field(name), None, "{name}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// RFC 9110 §14.1.2: the last bytes of nothing are all of it.
#[tokio::test]
async fn ranges_of_nothing() {
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "")).await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    for (asked, status, told) in [
        ("bytes=-5", 200, None),
        ("bytes=0-1,-5", 200, None),
        ("bytes=-0", 416, Some("bytes */0")),
        ("bytes=0-", 416, Some("bytes */0")),
    ] {
        let seen = range(&edge, asked).await;
        assert_eq!((seen.status, seen.field("content-range").as_deref()), (status, told), "{asked}");
        assert_eq!(seen.field("content-length").as_deref(), Some("0"), "{asked}");
        assert!(seen.cache_status().contains("hit"), "{asked}");
    }
}

#[tokio::test]
async fn parts_are_kept_and_combined_under_a_strong_tag() {
    let upstream = parts("\"a\"").await;
    let edge = front(&[&upstream]).await;
    let first = range(&edge, "bytes=0-4").await;
    assert_eq!((first.status, first.text()), (206, "01234"));
    assert_eq!(first.cache_status(), "Bakehouse; fwd=uri-miss; fwd-status=206; ttl=60; stored");
    assert_eq!(field(&upstream.requests()[0], "range").as_deref(), Some("bytes=0-4"));
    for (asked, text, told) in [("bytes=0-4", "01234", "bytes 0-4/10"), ("bytes=2-3", "23", "bytes 2-3/10")] {
        let hit = range(&edge, asked).await;
        assert_eq!((hit.status, hit.text()), (206, text), "{asked}");
        assert_eq!(hit.field("content-range").as_deref(), Some(told));
        assert!(hit.cache_status().contains("hit"), "{}", hit.cache_status());
    }
    // A client that holds it already.
    let held = edge.ask("GET", "/", &[("range", "bytes=2-3"), ("if-none-match", "\"a\"")]).await;
    assert_eq!(held.status, 304);
    assert_eq!(upstream.requests().len(), 1);
    let second = range(&edge, "bytes=3-6").await;
    assert_eq!((second.text(), upstream.requests().len()), ("3456", 2));
    assert!(second.cache_status().contains("fwd=partial"), "{}", second.cache_status());
    // What both hold together, and nothing twice.
    assert_eq!((range(&edge, "bytes=1-6").await.text(), edge.edge.state().entries), ("123456", 1));
    assert_eq!(range(&edge, "bytes=-5").await.text(), "56789");
    assert_eq!(upstream.requests().len(), 3);
    // Nothing is missing any more.
    let whole = edge.get("/").await;
    assert_eq!((whole.status, whole.text(), whole.field("content-range")), (200, DIGITS, None));
    assert!(whole.cache_status().contains("hit"));
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn parts_that_an_unsafe_request_made_invalid_are_said_to_be_stale() {
    let upstream = parts("\"v\"").await;
    let edge = front(&[&upstream]).await;
    range(&edge, "bytes=0-4").await;
    assert_eq!(edge.ask("POST", "/", &[]).await.status, 200);
    let again = range(&edge, "bytes=0-4").await;
    assert_eq!((again.status, again.text()), (206, "01234"));
    // Not that other request fields chose what is stored, for which there would be another remedy.
    assert!(again.cache_status().contains("fwd=stale"), "{}", again.cache_status());
}

#[tokio::test]
async fn parts_without_a_strong_tag_stay_apart() {
    let upstream = parts("W/\"a\"").await;
    let edge = front(&[&upstream]).await;
    range(&edge, "bytes=0-4").await;
    range(&edge, "bytes=5-9").await;
    let whole = edge.get("/").await;
    assert_eq!((whole.status, whole.text()), (200, DIGITS));
    assert_eq!(field(&upstream.requests()[2], "range"), None);
}

#[tokio::test]
async fn a_part_that_is_not_as_long_as_it_says_is_not_kept() {
    let upstream = Upstream::start(|_| part("bytes 0-5/10", "\"a\"", "01234")).await;
    let edge = front(&[&upstream]).await;
    for _ in 0..2 {
        let seen = range(&edge, "bytes=0-5").await;
        assert_eq!((seen.status, seen.text()), (206, "01234"));
        assert!(seen.cache_status().ends_with("fwd-status=206; detail=range"), "{}", seen.cache_status());
    }
    assert_eq!(upstream.requests().len(), 2);
}

/// There are upstreams that give one tag to a content and to what a coding makes of it.
#[tokio::test]
async fn parts_in_different_codings_stay_apart() {
    for (first, second) in [(None, Some("gzip")), (Some("gzip"), None), (Some("gzip"), Some("br"))] {
        let upstream = Upstream::start(move |head| {
            let coded = |coding: Option<&'static str>, range, body| {
                let mut fields =
                    vec![("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-range", range)];
                fields.extend(coding.map(|coding| ("content-encoding", coding)));
                send(206, &fields, body)
            };
            match field(head, "range").as_deref() {
                Some("bytes=0-4") => coded(first, "bytes 0-4/10", "01234"),
                Some("bytes=5-9") => coded(second, "bytes 5-9/10", "fghij"),
                _ => send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], DIGITS),
            }
        })
        .await;
        let edge = front(&[&upstream]).await;
        range(&edge, "bytes=0-4").await;
        range(&edge, "bytes=5-9").await;
        assert_eq!(edge.get("/").await.text(), DIGITS, "{first:?} {second:?}");
    }
}

#[tokio::test]
async fn a_beginning_is_completed() {
    let upstream = parts("\"a\"").await;
    let edge = front(&[&upstream]).await;
    range(&edge, "bytes=0-4").await;
    let whole = edge.get("/").await;
    assert_eq!((whole.status, whole.text(), whole.complete), (200, DIGITS, true));
    assert_eq!(whole.field("content-length").as_deref(), Some("10"));
    assert_eq!(whole.field("content-range"), None);
    // What is told is what came, not what it made (RFC 9211 §2.3).
    assert_eq!(whole.cache_status(), "Bakehouse; fwd=partial; fwd-status=206; ttl=60; stored");
    let asked = upstream.requests().remove(1);
    assert_eq!(field(&asked, "range").as_deref(), Some("bytes=5-"));
    assert_eq!(field(&asked, "if-range").as_deref(), Some("\"a\""));
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert!(edge.get("/").await.cache_status().contains("hit"));
    assert_eq!(upstream.requests().len(), 2);
}

/// RFC 9110 §6.5.1, RFC 9530 §2: what follows a rest is about that, and not about the whole that it completes.
#[tokio::test]
async fn what_follows_a_rest_does_not_follow_the_whole() {
    let upstream = Upstream::start(|head| {
        if field(head, "range").as_deref() == Some("bytes=0-4") {
            return part("bytes 0-4/10", "\"a\"", "01234");
        }
        let head = "HTTP/1.1 206 X\r\ncache-control: max-age=60\r\netag: \"a\"\r\ncontent-range: bytes 5-9/10\r\n\
                    transfer-encoding: chunked\r\ntrailer: content-digest\r\n\r\n";
        Reply::Send(format!("{head}5\r\n56789\r\n0\r\ncontent-digest: sha-256=:AAAA:\r\n\r\n").into())
    })
    .await;
    let edge = front(&[&upstream]).await;
    range(&edge, "bytes=0-4").await;
    let mut stream = edge.connect().await;
    let request = b"GET / HTTP/1.1\r\nhost: site.test\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut seen = String::new();
    stream.read_to_string(&mut seen).await.unwrap();
    let (head, content) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && field(head, "trailer").is_none(), "{head}");
    // However many chunks it comes in, nothing follows the last.
    assert!(content.contains("56789\r\n") && content.ends_with("\r\n0\r\n\r\n"), "{content}");
    assert!(!content.contains("AAAA"), "{content}");
}

#[tokio::test]
async fn a_rest_that_does_not_fit_is_not_joined() {
    // Another tag, and another beginning.
    for rest in
        [part("bytes 5-9/10", "\"b\"", "vwxyz"), part("bytes 6-9/10", "\"a\"", "6789"), send(416, &[], "")]
    {
        let upstream = Upstream::script(vec![
            part("bytes 0-4/10", "\"a\"", "01234"),
            rest,
            send(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], "new"),
        ])
        .await;
        let edge = front(&[&upstream]).await;
        range(&edge, "bytes=0-4").await;
        let whole = edge.get("/").await;
        assert_eq!((whole.status, whole.text(), whole.complete), (200, "new", true));
        let asked = upstream.requests();
        assert_eq!((asked.len(), field(&asked[2], "range"), field(&asked[2], "if-range")), (3, None, None));
    }
}

#[tokio::test]
async fn an_upstream_that_ignores_ranges_is_stored_whole() {
    let upstream =
        Upstream::script(vec![send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], DIGITS)])
            .await;
    let edge = front(&[&upstream]).await;
    let cut = range(&edge, "bytes=2-4").await;
    assert_eq!((cut.status, cut.text()), (206, "234"));
    assert_eq!(cut.field("content-range").as_deref(), Some("bytes 2-4/10"));
    assert_eq!(edge.get("/").await.text(), DIGITS);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn what_a_range_brings_never_passes_for_the_whole() {
    // That a range does not exist, a part that is not as long as it says, and parts of several kinds.
    let cases = [
        send(416, &[("cache-control", "max-age=60"), ("content-range", "bytes */10")], "none"),
        send(206, &[("cache-control", "max-age=60"), ("content-range", "bytes 0-4/10")], "012"),
        send(
            206,
            &[("cache-control", "max-age=60"), ("content-type", "multipart/byteranges; boundary=B")],
            "--B--",
        ),
    ];
    for case in cases {
        let upstream =
            Upstream::script(vec![case, send(200, &[("cache-control", "max-age=60")], DIGITS)]).await;
        let edge = front(&[&upstream]).await;
        assert_ne!(range(&edge, "bytes=0-4").await.status, 200);
        assert_eq!(edge.edge.state().entries, 0);
        let whole = edge.get("/").await;
        assert_eq!((whole.status, whole.text()), (200, DIGITS));
    }
    // A part that nobody asked for is nobody's.
    let upstream = Upstream::script(vec![part("bytes 0-4/10", "\"a\"", "01234")]).await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    assert_eq!(edge.edge.state().entries, 0);
}

/// Answers any one range of `content` properly.
fn served(head: &str, content: &str, tag: &str) -> Reply {
    let fields = [("cache-control", "max-age=60"), ("etag", tag)];
    let Some(set) = field(head, "range").filter(|_| field(head, "if-range").is_none_or(|held| held == tag))
    else {
        return send(200, &fields, content);
    };
    let (first, last) = set.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let length = content.len();
    let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, (last + 1).min(length)),
        (Ok(first), Err(_)) => (first, length),
        (Err(_), Ok(suffix)) => (length - suffix.min(length), length),
        (Err(_), Err(_)) => (0, length),
    };
    if start >= end {
        return send(416, &[], "");
    }
    part(&format!("bytes {start}-{}/{length}", end - 1), tag, &content[start..end])
}

#[tokio::test]
async fn whatever_is_asked_in_whatever_order_the_bytes_are_right() {
    let content: String = (0..40u8).map(|n| char::from(b'A' + n)).collect();
    for seed in 1..=12u64 {
        let text = content.clone();
        let upstream = Upstream::start(move |head| served(head, &text, "\"a\"")).await;
        let edge = front(&[&upstream]).await;
        let mut state = seed;
        let mut random = |below: usize| {
            // A linear congruence is random enough, and the same each time.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..30 {
            let (a, b) = (random(40), random(12));
            let (set, start, end) = match random(4) {
                0 => (format!("bytes={a}-"), a, 40),
                1 => (format!("bytes=-{}", b + 1), 40 - b - 1, 40),
                _ => (format!("bytes={a}-{}", a + b), a, (a + b + 1).min(40)),
            };
            let seen = range(&edge, &set).await;
            assert_eq!((seen.status, seen.text()), (206, &content[start..end]), "seed {seed}: {set}");
            assert_eq!(
                seen.field("content-range"),
                Some(format!("bytes {start}-{}/40", end - 1)),
                "seed {seed}"
            );
            if random(15) == 0 {
                assert_eq!(edge.get("/").await.text(), content, "seed {seed}");
            }
        }
        let whole = edge.get("/").await;
        assert_eq!((whole.status, whole.text()), (200, content.as_str()), "seed {seed}");
    }
}

#[tokio::test]
async fn a_beginning_of_what_cannot_be_kept_is_left_alone() {
    let content = "x".repeat(3_000_000);
    let upstream = Upstream::start(move |head| served(head, &content, "\"a\"")).await;
    let mut config = crate::support::upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = 4 << 20;
    let edge = crate::support::run(config).await;
    assert_eq!(range(&edge, "bytes=0-9").await.status, 206);
    let whole = edge.get("/").await;
    assert_eq!((whole.status, whole.complete, whole.body.len()), (200, true, 3_000_000));
    assert_eq!((upstream.requests().len(), field(&upstream.requests()[1], "range")), (2, None));
}

/// An error over one part, however long it says that it is fresh, does not take the place of those that are held.
#[tokio::test]
async fn an_error_over_one_part_leaves_the_others() {
    let upstream = Upstream::start(|head| match field(head, "range").as_deref() {
        Some("bytes=0-4") => part("bytes 0-4/10", "\"a\"", "01234"),
        _ => send(503, &[("cache-control", "max-age=60")], "busy"),
    })
    .await;
    let edge = front(&[&upstream]).await;
    assert_eq!(range(&edge, "bytes=0-4").await.status, 206);
    // Neither where another part is asked for nor where the rest is, to make it whole.
    assert_eq!(range(&edge, "bytes=5-9").await.status, 503);
    assert_eq!(edge.get("/").await.status, 503);
    assert!(field(&upstream.requests()[2], "range").is_some());
    eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    let seen = range(&edge, "bytes=0-4").await;
    assert_eq!((seen.status, seen.text(), upstream.requests().len()), (206, "01234", 3));
    // Where nothing is held there is nothing to lose, and the upstream is spared.
    let upstream = Upstream::start(|_| send(503, &[("cache-control", "max-age=60")], "busy")).await;
    let edge = front(&[&upstream]).await;
    for _ in 0..2 {
        assert_eq!(range(&edge, "bytes=0-4").await.status, 503);
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// RFC 9111 §3.3, §3.4.
#[tokio::test]
async fn what_broke_off_is_completed_and_never_passes_for_the_whole() {
    let head = |fields: &str| {
        format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{fields}content-length: 10\r\n\r\nhello")
    };
    let rest = "HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\netag: \"a\"\r\ncontent-range: bytes 5-9/10\r\n\
                content-length: 5\r\n\r\nworld";
    let whole = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\nhelloworld";
    let broken = head("etag: \"a\"\r\n");
    let upstream = Upstream::script(vec![
        Reply::SendAndClose(broken.into()),
        Reply::Send(rest.into()),
        // Without a strong tag, or where ranges are refused, nothing is kept.
        Reply::SendAndClose(head("etag: W/\"a\"\r\n").into()),
        Reply::Send(whole.into()),
        Reply::SendAndClose(head("etag: \"a\"\r\naccept-ranges: none\r\n").into()),
        Reply::Send(whole.into()),
    ])
    .await;
    let edge = front(&[&upstream]).await;
    let broken = async |path: &str| {
        let mut stream = edge.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n\r\n").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // The client sees the break: fewer bytes than promised.
        drop(stream.read_to_end(&mut bytes).await);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("content-length: 10") && text.ends_with("\r\n\r\nhello"), "{text}");
    };
    broken("/a").await;
    // What is there answers a range; all else of it needs the upstream.
    let range = edge.ask("GET", "/a", &[("range", "bytes=1-3")]).await;
    assert_eq!(
        (range.status, range.text(), range.field("content-range").as_deref()),
        (206, "ell", Some("bytes 1-3/10"))
    );
    assert_eq!(upstream.requests().len(), 1);
    let seen = edge.get("/a").await;
    assert_eq!((seen.status, seen.text()), (200, "helloworld"));
    assert!(seen.cache_status().contains("fwd=partial"), "{}", seen.cache_status());
    let asked = &upstream.requests()[1];
    assert_eq!(
        (field(asked, "range").as_deref(), field(asked, "if-range").as_deref()),
        (Some("bytes=5-"), Some("\"a\""))
    );
    assert!(edge.get("/a").await.cache_status().contains("hit"));
    for path in ["/b", "/c"] {
        broken(path).await;
        assert_eq!(edge.get(path).await.text(), "helloworld");
        assert_eq!(field(upstream.requests().last().unwrap(), "range"), None);
    }
}

/// The parts of a `multipart/byteranges`: what each says it is, and its bytes.
fn parts_of(seen: &Seen) -> Vec<(String, String)> {
    let kind = seen.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert_eq!(seen.field("content-length"), Some(seen.text().len().to_string()));
    let text = seen.text().strip_suffix(&format!("\r\n--{boundary}--\r\n")).unwrap();
    let (text, delimiter) = (format!("\r\n{text}"), format!("\r\n--{boundary}\r\n"));
    let parts = text.split(&delimiter).skip(1).map(|part| {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        (field(head, "content-range").unwrap(), body.to_owned())
    });
    parts.collect()
}

fn thousand() -> String {
    (0..100).map(|n| format!("{n:010}")).collect()
}

#[tokio::test]
async fn several_ranges_of_what_is_not_held_are_cut_from_one_fetch() {
    let content = thousand();
    let upstream = Upstream::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 1000\r\n\r\n";
        let (first, rest) = content.split_at(505);
        Reply::Parts(vec![format!("{head}{first}").into(), rest.into()])
    })
    .await;
    let edge = std::sync::Arc::new(front(&[&upstream]).await);
    let ask = |set: &'static str| {
        let edge = std::sync::Arc::clone(&edge);
        tokio::spawn(async move { edge.ask("GET", "/", &[("range", set)]).await })
    };
    let sets = ["bytes=0-9,500-509", "bytes=20-29, -10", "bytes=-10,20-29", "bytes=1000-,2000-"];
    let waiting = sets.map(ask);
    upstream.wait_for(1).await;
    eventually("all to wait", || edge.edge.state().waiting == sets.len() - 1).await;
    upstream.permit(2);
    let mut seen = Vec::new();
    for one in waiting {
        seen.push(one.await.unwrap());
    }
    let part = |n: usize| (format!("bytes {}-{}/1000", n * 10, n * 10 + 9), format!("{n:010}"));
    assert_eq!((seen[0].status, parts_of(&seen[0])), (206, vec![part(0), part(50)]));
    assert_eq!((seen[1].status, parts_of(&seen[1])), (206, vec![part(2), part(99)]));
    // What comes first in the answer and last in the content would be waited for: the whole is as good.
    assert_eq!((seen[2].status, seen[2].text()), (200, thousand().as_str()));
    assert_eq!((seen[3].status, seen[3].field("content-range").as_deref()), (416, Some("bytes */1000")));
    // One request for the whole, and all else from the store.
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert_eq!(parts_of(&range(&edge, sets[2]).await), vec![part(99), part(2)]);
    assert_eq!((upstream.requests().len(), field(&upstream.requests()[0], "range")), (1, None));
}

#[tokio::test]
async fn parts_answer_several_ranges_and_say_what_does_not_exist() {
    let content = thousand();
    for (tag, together) in [("\"a\"", true), ("W/\"a\"", false)] {
        let text = content.clone();
        let upstream = Upstream::start(move |head| served(head, &text, tag)).await;
        let edge = front(&[&upstream]).await;
        range(&edge, "bytes=0-9").await;
        range(&edge, "bytes=900-999").await;
        let beyond = range(&edge, "bytes=1000-").await;
        assert_eq!((beyond.status, beyond.field("content-range").as_deref()), (416, Some("bytes */1000")));
        assert_eq!((beyond.body.len(), beyond.field("etag"), upstream.requests().len()), (0, None, 2));
        // If-Range of another content: what is held says nothing.
        let other = edge.ask("GET", "/", &[("range", "bytes=1000-"), ("if-range", "\"b\"")]).await;
        assert_eq!((other.status, upstream.requests().len()), (200, 3), "{}", other.head);
        // That was the whole, and is stored: begin anew.
        let edge = front(&[&upstream]).await;
        range(&edge, "bytes=0-9").await;
        range(&edge, "bytes=900-999").await;
        let before = upstream.requests().len();
        let several = range(&edge, "bytes=-10,0-4").await;
        assert_eq!(several.status, if together { 206 } else { 200 }, "{}", several.head);
        if together {
            let expected = [("bytes 990-999/1000", "0000000099"), ("bytes 0-4/1000", "00000")];
            let expected = expected.map(|(range, text)| (range.to_owned(), text.to_owned()));
            assert_eq!(parts_of(&several), expected);
            assert!(several.cache_status().starts_with("Bakehouse; hit; ttl="));
        }
        assert_eq!(upstream.requests().len(), before + usize::from(!together));
    }
}

/// Whatever their tag: of two that do not even agree how long the content is, nobody knows what they are parts of.
#[tokio::test]
async fn parts_of_contents_of_different_lengths_stay_apart() {
    let content = thousand();
    let upstream = Upstream::start(move |head| match field(head, "range").as_deref() {
        Some("bytes=0-9") => part("bytes 0-9/1000", "\"a\"", &content[..10]),
        Some("bytes=900-909") => part("bytes 900-909/1001", "\"a\"", &content[900..910]),
        _ => send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], &content),
    })
    .await;
    let edge = front(&[&upstream]).await;
    range(&edge, "bytes=0-9").await;
    range(&edge, "bytes=900-909").await;
    // Each of them answers alone.
    for (asked, told) in [("bytes=2-3", "bytes 2-3/1000"), ("bytes=902-903", "bytes 902-903/1001")] {
        let seen = range(&edge, asked).await;
        assert!(seen.cache_status().starts_with("Bakehouse; hit"), "{}", seen.head);
        assert_eq!(seen.field("content-range").as_deref(), Some(told));
    }
    let before = upstream.requests().len();
    let several = range(&edge, "bytes=0-4,900-904").await;
    assert!(several.cache_status().starts_with("Bakehouse; fwd=partial"), "{}", several.head);
    assert!(upstream.requests().len() > before);
}

#[tokio::test]
async fn several_ranges_of_what_is_not_kept_are_sent_on_and_bounded() {
    let content = "x".repeat(3_000_000);
    let upstream = Upstream::start(move |head| match field(head, "range") {
        Some(set) => {
            send(206, &[("content-type", "multipart/byteranges; boundary=B"), ("x-set", &set)], "--B--")
        }
        None => send(200, &[("cache-control", "max-age=60")], &content),
    })
    .await;
    let mut config = crate::support::upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = 4 << 20;
    let edge = crate::support::run(config).await;
    let many = format!("bytes={}", ["0-"; 12].join(","));
    // Too large to be stored, as its head says: it is asked again, and from then on at once.
    for (requests, set, sent) in [
        (2, "bytes=0-9,500-509", "bytes=0-9,500-509"),
        (3, "bytes=500-,0-9,5-20", "bytes=500-,0-20"),
        (4, &many, "bytes=0-"),
    ] {
        let seen = range(&edge, set).await;
        assert_eq!((seen.status, seen.text(), seen.field("x-set").as_deref()), (206, "--B--", Some(sent)));
        assert_eq!(upstream.requests().len(), requests);
    }
    // The same where the cache has no part in it.
    let bypass = edge.ask("GET", "/", &[("if-match", "\"a\""), ("range", "bytes=0-,0-,0-,0-")]).await;
    assert_eq!(bypass.field("x-set").as_deref(), Some("bytes=0-"));
    let many = format!("bytes={}", ["0-"; 40].join(","));
    let bypass = edge.ask("GET", "/", &[("if-match", "\"a\""), ("range", &many)]).await;
    assert_eq!((bypass.status, bypass.body.len()), (200, 3_000_000));
}

/// Sends parts of [`DIGITS`]. Only to one who does not say that it holds another does it say what they are parts of
/// (RFC 9110 §15.3.7); each has its own digest.
async fn lean() -> Upstream {
    Upstream::start(|head| {
        let said = [
            ("content-type", "text/x-digits"),
            ("content-encoding", "x-own"),
            ("content-language", "en"),
            ("x-many", "1"),
            ("x-many", "2"),
        ];
        let (range, body) = match field(head, "range").as_deref() {
            Some("bytes=0-4") => ("bytes 0-4/10", "01234"),
            Some("bytes=5-9" | "bytes=5-") => ("bytes 5-9/10", "56789"),
            Some("bytes=7-8") => ("bytes 7-8/10", "78"),
            _ => return send(500, &[], ""),
        };
        let digest = format!("sha-256=:{body}:");
        let mut fields = vec![("etag", "\"a\""), ("content-range", range), ("content-digest", &digest)];
        match field(head, "if-range") {
            None => {
                fields.extend(said.iter().chain(&[("cache-control", "max-age=60"), ("repr-digest", "whole")]))
            }
            Some(_) => fields.push(("x-many", "3")),
        }
        send(206, &fields, body)
    })
    .await
}

/// Whether a response has the fields that [`lean`] tells once, and `x-many` as told.
fn says_all(seen: &Seen, many: &str) {
    for (name, value) in [
        ("content-type", "text/x-digits"),
        ("content-encoding", "x-own"),
        ("content-language", "en"),
        ("cache-control", "max-age=60"),
        ("repr-digest", "whole"),
        ("etag", "\"a\""),
        ("x-many", many),
    ] {
        assert_eq!(seen.field(name).as_deref(), Some(value), "{name} {}", seen.head);
    }
    // A part's digest is not that of anything else.
    assert_eq!(seen.field("content-digest"), None, "{}", seen.head);
}

/// RFC 9111 §3.4, RFC 9530 §2.
#[tokio::test]
async fn what_is_combined_has_the_fields_of_all_parts_the_latest_first() {
    // A beginning that is completed, and two ranges that touch.
    for joins in [false, true] {
        let upstream = lean().await;
        let edge = front(&[&upstream]).await;
        let first = range(&edge, "bytes=0-4").await;
        assert_eq!(first.field("content-digest").as_deref(), Some("sha-256=:01234:"));
        if joins {
            let rest = edge.ask("GET", "/", &[("range", "bytes=5-9"), ("if-range", "\"a\"")]).await;
            assert_eq!((rest.status, rest.text(), rest.field("content-type")), (206, "56789", None));
            assert_eq!(rest.field("content-digest").as_deref(), Some("sha-256=:56789:"));
            assert!(rest.cache_status().contains("; stored"), "{}", rest.head);
            eventually("the store", || edge.edge.state().flights == 0).await;
        }
        for hit in [joins, true] {
            let whole = edge.get("/").await;
            assert_eq!((whole.status, whole.text(), whole.field("content-range")), (200, DIGITS, None));
            assert_eq!(whole.cache_status().contains("; hit"), hit, "{}", whole.head);
            says_all(&whole, "3");
            eventually("the store", || edge.edge.state().flights == 0).await;
        }
        assert_eq!(upstream.requests().len(), 2);
    }
    // Those that do not touch are of one representation all the same.
    let upstream = lean().await;
    let edge = front(&[&upstream]).await;
    range(&edge, "bytes=0-4").await;
    edge.ask("GET", "/", &[("range", "bytes=7-8"), ("if-range", "\"a\"")]).await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    let hit = range(&edge, "bytes=7-8").await;
    assert_eq!(
        (hit.status, hit.text(), hit.field("content-range").as_deref()),
        (206, "78", Some("bytes 7-8/10"))
    );
    says_all(&hit, "3");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn what_broke_off_keeps_its_fields() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\netag: \"a\"\r\ncontent-type: text/x-digits\r\n\
                content-digest: sha-256=:AAAA:\r\ncontent-length: 10\r\n\r\n01234";
    let rest = [("etag", "\"a\""), ("content-range", "bytes 5-9/10"), ("content-digest", "sha-256=:BBBB:")];
    let upstream = Upstream::script(vec![Reply::SendAndClose(head.into()), send(206, &rest, "56789")]).await;
    let edge = front(&[&upstream]).await;
    assert!(!edge.get("/").await.complete);
    eventually("the store", || edge.edge.state().flights == 0).await;
    for hit in [false, true] {
        let whole = edge.get("/").await;
        assert_eq!((whole.status, whole.text()), (200, DIGITS));
        assert_eq!(whole.cache_status().contains("; hit"), hit, "{}", whole.head);
        assert_eq!(whole.field("content-type").as_deref(), Some("text/x-digits"));
        assert_eq!(whole.field("content-digest"), None, "{}", whole.head);
        eventually("the store", || edge.edge.state().flights == 0).await;
    }
}

#[tokio::test]
async fn a_part_that_does_not_say_of_what_is_not_kept_by_itself() {
    let upstream = lean().await;
    let edge = front(&[&upstream]).await;
    let part = edge.ask("GET", "/", &[("range", "bytes=7-8"), ("if-range", "\"a\"")]).await;
    assert_eq!((part.status, part.text(), part.field("x-many").as_deref()), (206, "78", Some("3")));
    eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    assert_eq!(edge.edge.state().entries, 0);
    let other = range(&edge, "bytes=7-8").await;
    assert_eq!(
        (other.field("content-type").as_deref(), upstream.requests().len()),
        (Some("text/x-digits"), 2)
    );
}

#[tokio::test]
async fn a_rest_that_may_not_be_kept_is_not_sent_for_the_whole() {
    for forbidden in [("vary", "*"), ("vary", "no name"), ("cache-control", "no-store")] {
        let rest = [("etag", "\"a\""), ("content-range", "bytes 5-9/10"), forbidden];
        let upstream = Upstream::script(vec![
            part("bytes 0-4/10", "\"a\"", "01234"),
            send(206, &rest, "56789"),
            send(200, &[("etag", "\"a\""), forbidden], DIGITS),
        ])
        .await;
        let edge = front(&[&upstream]).await;
        range(&edge, "bytes=0-4").await;
        let whole = edge.get("/").await;
        assert_eq!(
            (whole.status, whole.text(), upstream.requests().len()),
            (200, DIGITS, 3),
            "{forbidden:?}"
        );
    }
}

/// RFC 9110 §15.3.7.2.
#[tokio::test]
async fn several_parts_say_each_for_itself_which_they_are() {
    let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 0-0/9")];
    let content = thousand();
    let upstream = Upstream::start(move |_| send(200, &fields, &content)).await;
    let edge = front(&[&upstream]).await;
    // Cut as it arrives, and from the store.
    for _ in 0..2 {
        let seen = range(&edge, "bytes=0-9,500-509").await;
        assert_eq!((seen.status, seen.field("content-range")), (206, None));
        assert_eq!(parts_of(&seen)[1], ("bytes 500-509/1000".to_owned(), format!("{:010}", 50)));
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// RFC 9110 §13.1.5: a client that says of two that it holds them has said of none.
#[tokio::test]
async fn two_conditions_of_a_range_are_none_that_holds() {
    let upstream =
        Upstream::start(|_| send(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "0123456789"))
            .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    let twice = [("range", "bytes=0-1"), ("if-range", "\"a\""), ("if-range", "\"b\"")];
    let seen = edge.ask("GET", "/", &twice).await;
    assert_eq!((seen.status, seen.text()), (200, "0123456789"), "{}", seen.head);
}

/// The beginning of a content of 10,000 bytes, and then nothing.
fn beginning() -> Vec<u8> {
    let mut bytes = response(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], &"b".repeat(10_000));
    bytes.truncate(bytes.len() - 9_900);
    bytes
}

/// A part is promised only once there is some of it: where the upstream breaks off before, its client is told so, or gets what
/// may stand in.
#[tokio::test]
async fn a_part_of_what_breaks_off_before_it_is_not_promised() {
    let late = ["bytes=5000-5009", "bytes=5000-5009,9000-9009"];
    let breaks = || Reply::SendAndReset(beginning());
    let stale = Some("fwd=stale; ttl=0; detail=disconnected");
    let whole = |control| send(200, &[("cache-control", control), ("etag", "\"a\"")], &"a".repeat(10_000));
    let part = |control| {
        let fields =
            [("cache-control", control), ("etag", "\"a\""), ("content-range", "bytes 5000-5009/10000")];
        send(206, &fields, &"a".repeat(10))
    };
    let rows = [
        ("", vec![breaks()], late[0], 502, None),
        ("", vec![breaks()], late[1], 502, None),
        ("", vec![breaks()], "bytes=50-5009", 206, Some("fwd-status=200")),
        ("bytes=0-9", vec![whole("max-age=0"), breaks()], late[0], 206, stale),
        ("bytes=0-9", vec![whole("max-age=0, must-revalidate"), breaks()], late[0], 504, None),
        (late[0], vec![part("max-age=0"), breaks()], late[0], 206, stale),
    ];
    for (first, replies, wanted, status, told) in rows {
        let upstream = Upstream::script(replies).await;
        let edge = front(&[&upstream]).await;
        if !first.is_empty() {
            range(&edge, first).await;
        }
        let before = upstream.requests().len();
        let fields = [("range", wanted)];
        let asking = edge.ask("GET", "/", &fields);
        let breaking = async {
            upstream.wait_for(before + 1).await;
            upstream.permit(1);
        };
        let (seen, ()) = tokio::join!(asking, breaking);
        assert_eq!(seen.status, status, "{first} {wanted}");
        assert_eq!(seen.complete, wanted != "bytes=50-5009");
        match told {
            Some(told) => assert!(seen.cache_status().contains(told), "{wanted} {}", seen.cache_status()),
            None => assert_eq!(seen.field("cache-status"), None),
        }
        if told.is_some_and(|told| told.contains("disconnected")) {
            assert_eq!(seen.text(), "aaaaaaaaaa");
        }
        eventually("the end of the fetch", || edge.edge.state().flights == 0).await;
    }
}
