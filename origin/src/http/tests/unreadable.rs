//! Requests that cannot be read: each gets one message, whatever came before it on its connection.

use super::*;

#[tokio::test]
async fn malformed_and_oversized_requests_are_refused() {
    let world = world().await;
    let large =
        format!("GET / HTTP/1.1\r\nConnection: close\r\nX: {}\r\n\r\n", "a".repeat(HEADER_BYTES_MAX + 1));
    let huge = format!("GET / HTTP/1.1\r\nConnection: close\r\nX: {}", "a".repeat(4 * HEADER_BYTES_MAX));
    let many = format!("GET / HTTP/1.1\r\nConnection: close\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    for (request, status, word) in [
        (large, 431, "larger than 65536 bytes"),
        (huge, 431, "larger than 65536 bytes"),
        (many, 431, "more than 256 fields"),
        ("NONSENSE\r\n\r\n".to_owned(), 400, "malformed"),
        ("\x16\x03\x01\x02".repeat(9), 400, "malformed"),
    ] {
        let reply = world.raw(request).await;
        assert_eq!((reply.status, reply.field("content-type")), (status, Some("application/json")));
        let failure = reply.json();
        assert!(failure["error"].as_str().unwrap().contains(word), "{failure}");
        assert!(failure["hint"].is_string(), "{failure}");
    }
    let request = format!(
        "POST /v1/purge HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: 999999999\r\n\r\n"
    );
    assert_eq!(world.raw(request).await.status, 413);
    assert_eq!(world.get("/healthz", &[]).await.status, 200);
}

/// A request that no parser takes.
const NONSENSE: &str = "NONSENSE\r\n\r\n";

/// Writes each of `parts` once its text before has come, and reads until the connection ends.
async fn conversation(world: &World, parts: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(&world.address).await.unwrap();
    let (mut bytes, mut seen) = (Vec::new(), 0);
    for (before, part) in parts {
        while !String::from_utf8_lossy(&bytes[seen..]).contains(before) {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut bytes)).await;
            let read =
                read.unwrap_or_else(|_| panic!("no {before:?} in {}", String::from_utf8_lossy(&bytes)));
            assert_ne!(read.unwrap(), 0, "no {before:?} in {}", String::from_utf8_lossy(&bytes));
        }
        seen = bytes.len();
        stream.write_all(part.as_bytes()).await.unwrap();
    }
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    read.expect("an end of the connection").unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What comes before the one message of a conversation with a request that cannot be read, which must end it.
#[track_caller]
fn before_the_message(said: &str, status: &str) -> String {
    let (before, answer) = said.rsplit_once(&format!(" {status} ")).unwrap_or_else(|| panic!("{said}"));
    let (before, version) = before.split_at(before.len() - "HTTP/1.1".len());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(version == "HTTP/1.0" || head.contains("connection: close\r\n"), "{said}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{said}");
    let failure: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert!(failure["error"].is_string() && failure["hint"].is_string(), "{said}");
    assert!(!before.contains("\"hint\""), "{said}");
    before.to_owned()
}

async fn world_with_pages() -> World {
    let world = world().await;
    world
        .publish(vec![
            page("index.html", text(1)),
            page("a/index.html", text(1)),
            page("large", text(200_000)),
        ])
        .await;
    world
}

#[tokio::test]
async fn one_that_comes_after_another_was_served_is_told_what_is_wrong() {
    let world = world_with_pages().await;
    let get = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(4 * HEADER_BYTES_MAX));
    let wrong = "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: -1\r\n\r\n";
    for (request, status) in [(NONSENSE, "400"), (long.as_str(), "431"), (wrong, "400")] {
        // After the answer, and without waiting for it.
        for said in [
            conversation(&world, &[("", get), ("good bread", get), ("good bread", request)]).await,
            conversation(&world, &[("", &[get, get, request].concat())]).await,
        ] {
            let before = before_the_message(&said, status);
            assert_eq!(before.matches("200 OK").count(), 2, "{said}");
            assert!(before.ends_with(&text(1)), "{said}");
        }
    }
    // To one who asked for a head alone, no content may be sent.
    let head = format!("HEAD {}", NONSENSE);
    let said = conversation(&world, &[("", get), ("good bread", &head)]).await;
    let (_, last) = said.rsplit_once("HTTP/1.1 ").unwrap();
    assert!(
        last.starts_with("400 ") && last.ends_with("\r\n\r\n") && last.contains("application/json"),
        "{said}"
    );
}

#[tokio::test]
async fn answers_of_every_kind_stay_as_they_are_before_one_that_cannot_be_read() {
    let world = world_with_pages().await;
    let etag = Digest::of(text(1).as_bytes());
    let host = "Host: example.org";
    let authorization = format!("Authorization: Bearer {OPERATOR}");
    let put = format!("PUT /v1/blobs/{} HTTP/1.1\r\n{host}\r\n{authorization}\r\n", Digest::of(b"text"));
    let cases = [
        ("content of many pieces", format!("GET /large HTTP/1.1\r\n{host}\r\n\r\n"), "200"),
        ("a head alone", format!("HEAD / HTTP/1.1\r\n{host}\r\n\r\n"), "200"),
        ("a head alone of many pieces", format!("HEAD /large HTTP/1.1\r\n{host}\r\n\r\n"), "200"),
        ("not modified", format!("GET / HTTP/1.1\r\n{host}\r\nIf-None-Match: \"{etag}\"\r\n\r\n"), "304"),
        ("a redirect", format!("GET /a HTTP/1.1\r\n{host}\r\n\r\n"), "308"),
        ("an upload", format!("{put}Content-Length: 4\r\n\r\ntext"), "204"),
        (
            "an upload in chunks",
            format!("{put}Transfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n"),
            "204",
        ),
        (
            "an upload to be continued",
            format!("{put}Expect: 100-continue\r\nContent-Length: 4\r\n\r\ntext"),
            "204",
        ),
        (
            "content that nobody reads",
            format!("POST / HTTP/1.1\r\n{host}\r\nContent-Length: 4\r\n\r\ntext"),
            "405",
        ),
        (
            "a wish for another protocol",
            format!("GET / HTTP/1.1\r\n{host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            "200",
        ),
        ("HTTP/1.0", format!("GET / HTTP/1.0\r\n{host}\r\nConnection: keep-alive\r\n\r\n"), "200"),
    ];
    for (what, request, status) in cases {
        let plain = request.replacen("Expect: 100-continue\r\n", "", 1);
        let alone = world.raw(plain.replacen(host, &format!("{host}\r\nConnection: close"), 1)).await;
        assert_eq!(alone.status.to_string(), status, "{what}: {}", alone.head);
        // Twice, since the second could be taken for hyper's own where the first is.
        let said = conversation(&world, &[("", &[&request, &request, NONSENSE].concat())]).await;
        let before = before_the_message(&said, "400");
        let answers: Vec<_> =
            before.split("HTTP/1.").filter(|a| a.get(2..5).is_some_and(|s| s == status)).collect();
        assert_eq!(answers.len(), 2, "{what}: {said:.2000}");
        assert_eq!(
            before.matches("100 Continue").count(),
            if plain == request { 0 } else { 2 },
            "{said:.2000}"
        );
        for answer in answers {
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), alone.body.len(), "{what}: {said:.2000}");
        }
    }
}

#[tokio::test]
async fn content_of_a_refused_upload_is_not_taken_for_a_request() {
    let world = world_with_pages().await;
    let upload = format!(
        "POST /v1/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: 999999999\r\n"
    );
    for expect in ["", "Expect: 100-continue\r\n"] {
        let request = format!("{upload}{expect}\r\n{NONSENSE}");
        let said = world.raw(request).await;
        assert_eq!(said.status, 413, "{}", said.head);
        assert!(said.json()["error"].as_str().unwrap().contains("body"), "{}", said.text());
    }
}
