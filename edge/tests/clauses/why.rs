//! What `why` says a request gets is what it gets.

use http::{HeaderMap, HeaderName, HeaderValue};
use release::journal::Selector;

use crate::support::{Reply, Running, Seen, Upstream, eventually, field, front, send};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn answer(head: &str) -> Reply {
    let with = |control: &str, more: &[(&str, &str)]| {
        let fields =
            [&[("cache-control", control), ("etag", "\"a\""), ("last-modified", DATE)], more].concat();
        send(200, &fields, "12345678")
    };
    match head.split([' ', '?']).nth(1).unwrap() {
        "/stale" => with("max-age=60", &[("age", "61")]),
        "/behind" => with("max-age=60, stale-while-revalidate=600", &[("age", "61")]),
        "/strict" => with("s-maxage=60, stale-while-revalidate=600", &[("age", "61")]),
        "/no-cache" => with("no-cache", &[]),
        "/language" => with("max-age=600", &[("vary", "accept-language")]),
        "/scheme" => with("max-age=600", &[("vary", "x-forwarded-proto")]),
        "/part" => {
            let range = field(head, "range").unwrap_or_default();
            let fields = [("cache-control", "max-age=600"), ("etag", "\"a\"")];
            match range.as_str() {
                "bytes=0-3" => {
                    send(206, &[&fields[..], &[("content-range", "bytes 0-3/8")]].concat(), "1234")
                }
                _ => send(200, &fields, "12345678"),
            }
        }
        "/missing" => send(404, &[("cache-control", "max-age=600")], "nothing"),
        _ => with("max-age=600", &[]),
    }
}

/// As `Cache-Status` says it, in one word.
fn result(seen: &Seen) -> String {
    let status = seen.cache_status();
    let mut words = status.split("; ").skip(1);
    match words.find_map(|word| word.strip_prefix("fwd=").or((word == "hit").then_some(word))) {
        Some(word) => word.to_owned(),
        None => "failed".to_owned(),
    }
}

/// Asks why, then the edge.
async fn compare(edge: &Running, path: &str, fields: &[(&str, &str)]) -> (String, u16, String) {
    let mut map = HeaderMap::new();
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n");
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    if fields.iter().any(|(name, _)| *name == "content-length") {
        request.push('x');
    }
    let why = edge.edge.why(&format!("http://site.test{path}"), &map).unwrap();
    let seen = edge.raw(request.as_bytes(), false).await;
    assert_eq!(why.result, result(&seen), "{path} {fields:?}: {why:?}, but {}", seen.head);
    if let Some(status) = why.status {
        assert_eq!(status, seen.status, "{path} {fields:?}: {why:?}");
    }
    assert_eq!(why.status.is_some(), matches!(why.result, "hit" | "failed"), "{why:?}");
    assert!(why.clause.is_some(), "{why:?}");
    (why.result.to_owned(), seen.status, format!("{} [{}]", why.verdict, why.clause.unwrap()))
}

#[tokio::test]
async fn a_row_for_each_decision() {
    let upstream = Upstream::start(answer).await;
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, u16, &'static str);
    const ONLY: &str = "only-if-cached";
    let rows: [Row; 34] = [
        ("/live", &[], "hit", 200, "it is fresh [RFC 9111 §4.2]"),
        ("/live", &[("if-match", "\"x\"")], "bypass", 200, "judge its condition [RFC 9111 §4.3.2]"),
        ("/live", &[("if-unmodified-since", DATE)], "bypass", 200, "[RFC 9111 §4.3.2]"),
        ("/live", &[("content-length", "1")], "bypass", 200, "has content [RFC 9110 §9.3.1]"),
        (
            "/live",
            &[("cache-control", "only-if-cached, min-fresh=9999")],
            "failed",
            504,
            "[RFC 9111 §5.2.1.7]",
        ),
        ("/live", &[("cache-control", "min-fresh=9999")], "request", 200, "[RFC 9111 §5.2.1.3]"),
        ("/live", &[("cache-control", ONLY)], "hit", 200, "it is fresh"),
        ("/live", &[("cache-control", "no-cache")], "hit", 200, "it is fresh"),
        ("/live", &[("range", "bytes=9-")], "hit", 416, "[RFC 9110 §15.5.17]"),
        ("/live", &[("range", "bytes=0-3")], "hit", 206, "[RFC 9110 §15.3.7.1]"),
        ("/live", &[("range", "bytes=0-0,7-7")], "hit", 206, "[RFC 9110 §15.3.7.1]"),
        ("/live", &[("range", "bytes=0-3"), ("if-range", "\"b\"")], "hit", 200, "[RFC 9110 §14.2]"),
        ("/live", &[("range", "lines=0-3")], "hit", 200, "it is fresh"),
        ("/live", &[("if-none-match", "\"a\"")], "hit", 304, "[RFC 9111 §4.3.2]"),
        ("/live", &[("if-none-match", "\"b\"")], "hit", 200, "it is fresh"),
        ("/live", &[("if-modified-since", DATE)], "hit", 304, "[RFC 9111 §4.3.2]"),
        ("/live", &[("if-none-match", "\"a\""), ("range", "bytes=9-")], "hit", 304, "[RFC 9111 §4.3.2]"),
        ("/live", &[("cdn-loop", "test-edge")], "failed", 508, "[RFC 8586 §2]"),
        ("/missing", &[("if-none-match", "*"), ("range", "bytes=0-1")], "hit", 404, "it is fresh"),
        ("/none", &[("cache-control", ONLY)], "failed", 504, "nothing is stored; 504"),
        ("/none", &[], "uri-miss", 200, "nothing is stored [RFC 9111 §4"),
        ("/stale", &[("cache-control", ONLY)], "failed", 504, "[RFC 9111 §5.2.1.7]"),
        ("/stale", &[("cache-control", "max-stale")], "hit", 200, "[RFC 9111 §5.2.1.2]"),
        ("/stale", &[], "stale", 200, "validated: it is stale [RFC 9111 §4.2]"),
        ("/behind", &[], "hit", 200, "validated behind [RFC 5861 §3]"),
        ("/strict", &[], "stale", 200, "[RFC 9111 §5.2.2.10]"),
        ("/no-cache", &[], "stale", 200, "[RFC 9111 §5.2.2.4]"),
        ("/language", &[], "hit", 200, "it is fresh"),
        ("/language", &[("accept-language", "de")], "vary-miss", 200, "[RFC 9111 §4.1]"),
        ("/scheme", &[("x-forwarded-proto", "https")], "hit", 200, "it is fresh"),
        ("/part", &[("range", "bytes=1-2")], "hit", 206, "[RFC 9110 §15.3.7.1]"),
        ("/part", &[("range", "bytes=1-2"), ("if-none-match", "\"a\"")], "hit", 304, "[RFC 9111 §4.3.2]"),
        ("/part", &[("cache-control", ONLY)], "failed", 504, "only parts are stored; 504"),
        ("/part", &[], "partial", 200, "only parts are stored [RFC 9111 §3.3]"),
    ];
    // What one row has done must not decide about the next.
    for (path, fields, result, status, said) in rows {
        let edge = front(&[&upstream]).await;
        match path {
            "/none" => {}
            "/part" => drop(edge.ask("GET", path, &[("range", "bytes=0-3")]).await),
            _ => drop(edge.get(path).await),
        }
        let got = compare(&edge, path, fields).await;
        assert_eq!((got.0.as_str(), got.1), (result, status), "{path} {fields:?}: {}", got.2);
        assert!(got.2.contains(said), "{path} {fields:?}: {}", got.2);
    }
}

/// For a second after a failure what is stale answers without another attempt.
#[tokio::test]
async fn what_answers_since_an_attempt_has_failed_is_told() {
    let upstream = Upstream::start(|head| match field(head, "if-none-match") {
        None => send(200, &[("cache-control", "max-age=0, stale-if-error=60"), ("etag", "\"a\"")], "old"),
        Some(_) => send(503, &[], "busy"),
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    let mut asked = HeaderMap::new();
    asked.insert("range", HeaderValue::from_static("bytes=0-1"));
    let why = || edge.edge.why("http://site.test/", &asked).unwrap();
    eventually("the store", || edge.edge.state().flights == 0).await;
    assert_eq!((why().result, why().status), ("stale", None));
    // A second may be over before it is asked why.
    for _ in 0..20 {
        assert_eq!(edge.get("/").await.text(), "old");
        let why = why();
        if why.result == "hit" {
            assert_eq!((why.status, why.clause), (Some(206), Some("RFC 9110 §15.3.7.1")), "{why:?}");
            assert!(
                why.verdict.contains("validated: it is stale; nobody is asked: that has just"),
                "{why:?}"
            );
            return;
        }
    }
    panic!("{:?}", why());
}

#[tokio::test]
async fn what_a_copy_was_chosen_by_is_told() {
    let upstream = Upstream::start(|_| {
        let fields =
            [("cache-control", "max-age=60"), ("vary", "Cookie, X-None"), ("vary", "Accept-Language")];
        send(200, &fields, "x")
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.ask("GET", "/", &[("accept-language", "DE"), ("cookie", "who=me")]).await;
    let why = edge.edge.why("http://site.test/", &HeaderMap::new()).unwrap();
    assert_eq!(why.variants[0].vary, "accept-language: de; cookie (not shown); x-none (none)");
}

#[tokio::test]
async fn what_became_of_a_copy_is_told() {
    let upstream = Upstream::start(answer).await;
    let edge = front(&[&upstream]).await;
    edge.get("/live").await;
    edge.ask("POST", "/live", &[("content-length", "0")]).await;
    let of = |path: &str| edge.edge.why(&format!("http://site.test{path}"), &HeaderMap::new()).unwrap();
    let why = of("/live");
    let [copy] = &why.variants[..] else { panic!("{why:?}") };
    assert_eq!((copy.life, copy.clause), ("invalidated", "RFC 9111 §4.4"), "{why:?}");
    assert!(copy.decision.starts_with("validated: an unsafe request"), "{why:?}");
    assert_eq!(why.verdict, copy.decision);
    assert_eq!(compare(&edge, "/live", &[]).await.0, "stale");
    assert_eq!(of("/live").variants[0].life, "live");

    let url = [Selector::Url("/live".into())];
    edge.edge.purge_local(&url, true).await;
    let why = of("/live");
    assert_eq!((why.variants[0].life, why.result), ("live", "stale"), "{why:?}");
    assert!(why.variants[0].freshness.contains("a soft purge ended it"), "{why:?}");
    assert_eq!(compare(&edge, "/live", &[]).await.0, "stale");
    edge.edge.purge_local(&url, false).await;
    assert_eq!(compare(&edge, "/live", &[]).await.0, "uri-miss");
    // Looking is no visit, and no request.
    let asked = upstream.requests().len();
    of("/live");
    assert_eq!(upstream.requests().len(), asked);
}
