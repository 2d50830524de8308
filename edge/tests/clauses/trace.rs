//! What the live trace tells of a request: each decision, with the clause that made it.

use crate::support::{Reply, Upstream, eventually, field, front, send};

/// The clauses of a record.
fn clauses(record: &serde_json::Value) -> Vec<&str> {
    let steps = record["steps"].as_array().unwrap();
    steps.iter().filter_map(|step| step["clause"].as_str()).collect()
}

fn answer(head: &str) -> Reply {
    let fresh = [("cache-control", "max-age=600"), ("etag", "\"a\"")];
    match head.split(' ').nth(1).unwrap() {
        _ if field(head, "if-match").is_some() => send(412, &[], ""),
        "/groups" => send(200, &[("cache-group-invalidation", "\"a\"")], ""),
        "/located" => send(200, &[("location", "/held")], ""),
        "/stale" => {
            let control = "max-age=60, stale-while-revalidate=600";
            send(200, &[("cache-control", control), ("etag", "\"a\""), ("age", "61")], "x")
        }
        _ => send(200, &fresh, &"x".repeat(1_000)),
    }
}

#[tokio::test]
async fn each_decision_has_its_clause() {
    let upstream = Upstream::start(answer).await;
    let edge = front(&[&upstream]).await;
    edge.get("/held").await;
    let mut trace = edge.trace().await;
    type Row = (&'static str, &'static str, u16, &'static str, &'static str);
    let rows: [Row; 16] = [
        ("GET /held", "", 200, "hit", "RFC 9111 §4.2"),
        ("GET /held", "range: bytes=0-1\r\n", 206, "hit", "RFC 9110 §15.3.7.1"),
        ("GET /held", "range: bytes=0-1,500-501\r\n", 206, "hit", "RFC 9110 §15.3.7.2"),
        ("GET /held", "range: bytes=5000-\r\n", 416, "hit", "RFC 9110 §15.5.17"),
        ("GET /held", "range: bytes=0-1\r\nif-range: \"b\"\r\n", 200, "hit", "RFC 9110 §14.2"),
        ("GET /held", "if-none-match: \"a\"\r\n", 304, "hit", "RFC 9111 §4.3.2"),
        ("GET /held", "if-match: \"b\"\r\n", 412, "bypass", "RFC 9111 §4.3.2"),
        ("GET /held", "content-length: 1\r\n", 200, "bypass", "RFC 9110 §9.3.1"),
        (
            "GET /held",
            "cache-control: only-if-cached, min-fresh=9999\r\n",
            504,
            "failed",
            "RFC 9111 §5.2.1.7",
        ),
        ("GET /1", "range: bytes=0-1\r\n", 206, "uri-miss", "RFC 9110 §15.3.7.1"),
        ("GET /2", "if-none-match: \"a\"\r\n", 304, "uri-miss", "RFC 9111 §4.3.2"),
        ("GET /3", "range: bytes=5000-\r\n", 416, "uri-miss", "RFC 9110 §15.5.17"),
        ("OPTIONS *", "", 204, "local", "RFC 9110 §9.3.7"),
        ("OPTIONS /held", "max-forwards: 0\r\n", 204, "local", "RFC 9110 §7.6.2"),
        ("POST /held", "content-length: 0\r\n", 200, "method", "RFC 9111 §4.4"),
        ("POST /groups", "content-length: 0\r\n", 200, "method", "RFC 9875 §3"),
    ];
    for (line, fields, status, result, clause) in rows {
        let content = if fields == "content-length: 1\r\n" { "x" } else { "" };
        let request = format!("{line} HTTP/1.1\r\nhost: site.test\r\n{fields}\r\n{content}");
        let seen = edge.raw(request.as_bytes(), false).await;
        let record = trace.next().await;
        assert_eq!(
            (seen.status, record["status"].as_u64()),
            (status, Some(status.into())),
            "{line} {fields}"
        );
        assert_eq!(record["result"], result, "{line} {fields}: {record}");
        assert!(clauses(&record).contains(&clause), "{line} {fields}: {record}");
    }
}

/// RFC 9111 §4.4: by what its response says, a request may invalidate more than what it was sent to.
#[tokio::test]
async fn what_else_a_request_invalidates_is_told() {
    let upstream = Upstream::start(answer).await;
    let edge = front(&[&upstream]).await;
    let mut trace = edge.trace().await;
    for (path, times) in [("/held", 1), ("/located", 2)] {
        edge.ask("POST", path, &[("content-length", "0")]).await;
        let record = trace.next().await;
        let by: Vec<&str> = clauses(&record).into_iter().filter(|by| *by == "RFC 9111 §4.4").collect();
        assert_eq!(by.len(), times, "{path}: {record}");
    }
}

#[tokio::test]
async fn a_validation_behind_an_answer_has_a_record_of_its_own() {
    let upstream = Upstream::start(answer).await;
    let edge = front(&[&upstream]).await;
    edge.get("/stale").await;
    let mut trace = edge.trace().await;
    let seen = edge.get("/stale").await;
    assert!(seen.cache_status().contains("hit") && seen.cache_status().contains("stale-while-revalidate"));
    let (mut answered, mut behind) = (trace.next().await, trace.next().await);
    if answered["result"] == "behind" {
        (answered, behind) = (behind, answered);
    }
    assert_eq!((&answered["result"], &behind["result"]), (&"hit".into(), &"behind".into()));
    assert_eq!((&answered["id"], &behind["status"]), (&behind["id"], &200.into()));
    assert!(clauses(&behind).starts_with(&["RFC 5861 §3"]), "{behind}");
    assert!(clauses(&behind).contains(&"RFC 9111 §3"), "what came of it: {behind}");
    let said = behind["steps"].to_string();
    assert!(said.contains("answered 200"), "{said}");
}

#[tokio::test]
async fn what_stands_in_without_an_attempt_says_so() {
    let upstream = Upstream::start(|head| match field(head, "if-none-match") {
        None => send(200, &[("cache-control", "max-age=0, stale-if-error=60"), ("etag", "\"a\"")], "x"),
        Some(_) => send(503, &[], "busy"),
    })
    .await;
    let edge = front(&[&upstream]).await;
    edge.get("/").await;
    eventually("the store", || edge.edge.state().flights == 0).await;
    let mut trace = edge.trace().await;
    let (mut asked, mut spared) = (0, 0);
    // The first fails; one of those after it comes within a second.
    while spared == 0 {
        assert_eq!(edge.get("/").await.text(), "x");
        let record = trace.next().await;
        let said = record["steps"].to_string();
        assert_eq!(clauses(&record).last(), Some(&"RFC 5861 §4"), "{said}");
        if said.contains("nobody is asked") {
            assert_eq!((&record["result"], said.contains("answered 503")), (&"hit".into(), false), "{said}");
            spared += 1;
        } else {
            assert!(said.contains("answered 503"), "{said}");
            asked += 1;
            assert!(asked < 20, "{said}");
        }
    }
    assert!(asked > 0 && upstream.requests().len() == 1 + asked);
}

/// Who reads may lag behind by a thousand records.
#[tokio::test]
async fn a_record_of_a_long_request_is_short() {
    let upstream = Upstream::start(answer).await;
    let edge = front(&[&upstream]).await;
    let mut trace = edge.trace().await;
    let long = "a".repeat(30_000);
    let request = format!("{long} /{long} HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(edge.raw(request.as_bytes(), false).await.status, 414);
    let record = trace.next().await;
    let lengths = ["method", "target"].map(|name| record[name].as_str().unwrap().len());
    assert!(lengths.iter().all(|length| (1..=4 << 10).contains(length)), "{lengths:?}");
}
