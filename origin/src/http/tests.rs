//! The service over real connections, on a bucket in memory.

use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use release::bucket::Bucket;
use release::bucket::memory::MemoryBucket;
use release::keys::Site;
use release::record::Trigger;
use release::wire::{EdgeProgress, Failure, Poll, PublishRequest, Published, Receipt};
use release::{Digest, File, ReleaseId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::publish::{About, Done, Outcome, SourceFile};
use crate::{OriginConfig, Render};

mod unreadable;

const OPERATOR: &str = "operator-token";
const EDGE: &str = "edge-token";

struct World {
    bucket: Arc<MemoryBucket>,
    origin: Arc<Origin>,
    address: String,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

fn site() -> Site {
    "main".parse().unwrap()
}

async fn world_with(bucket: Arc<MemoryBucket>, change: impl FnOnce(&mut OriginConfig)) -> World {
    let mut config = OriginConfig::new("origin-1", bucket.clone(), OPERATOR);
    config.edge_token = EDGE.into();
    config.is_public = true;
    change(&mut config);
    let origin = Origin::new(config).unwrap();
    origin.open(&site()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let until = Box::pin(stop.clone().cancelled_owned());
    let server = tokio::spawn(serve(listener, Arc::clone(&origin), until));
    World { bucket, origin, address, stop, server }
}

async fn world() -> World {
    world_with(Arc::default(), |_| {}).await
}

fn page(path: &str, body: impl Into<Bytes>) -> File {
    let content_type = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    };
    File {
        path: path.into(),
        body: body.into(),
        status: if path == "404.html" { 404 } else { 200 },
        fields: vec![("content-type".into(), content_type.into())],
        groups: vec![format!("page:{path}")],
        immutable: false,
    }
}

fn text(n: usize) -> String {
    "All bread is good bread.\n".repeat(n)
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|l| l.split_once(": "));
        fields.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl World {
    async fn publish(&self, files: Vec<File>) -> Done {
        self.publish_to(&site(), vec![], files).await
    }

    async fn publish_to(&self, name: &Site, hosts: Vec<String>, files: Vec<File>) -> Done {
        let site = self.origin.open(name).await.unwrap();
        let draft = site.publisher().begin(Trigger::Manual, Arc::default()).await.unwrap();
        let sink = draft.sink();
        tokio::task::spawn_blocking(move || files.into_iter().try_for_each(|f| sink.file(f)))
            .await
            .unwrap()
            .unwrap();
        let about = About {
            created: crate::clock::wall(),
            author: "someone".into(),
            message: "for a test".into(),
            hosts,
            pages: 1,
            renderer: "test".into(),
            next_change: None,
        };
        match draft.finish(about).await.unwrap() {
            Outcome::Published(done) => done,
            Outcome::Unchanged(release) => panic!("{release} is unchanged"),
        }
    }

    /// Sends a request as it stands, and reads until the connection ends.
    async fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut bytes = Vec::new();
        // A server that refuses early may reset the connection.
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Reply { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
    }

    async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !fields.iter().any(|(n, _)| *n == "Host") {
            request.push_str("Host: example.org\r\n");
        }
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(bytes).await
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send("GET", path, fields, b"").await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let authorization = format!("Bearer {OPERATOR}");
        self.send(method, path, &[("Authorization", &authorization)], &body).await
    }

    async fn poll(&self, query: &str) -> Poll {
        let authorization = format!("Bearer {EDGE}");
        let reply = self.get(&format!("/v1/journal?{query}"), &[("Authorization", &authorization)]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        serde_json::from_slice(&reply.body).unwrap()
    }
}

#[tokio::test]
async fn a_page_is_served_with_everything_that_belongs_to_it() {
    let world = world().await;
    world
        .publish(vec![
            page("index.html", text(100)),
            page("blog/index.html", text(50)),
            page("été/index.html", text(5)),
            page("404.html", text(60)),
            File {
                status: 301,
                fields: vec![("location".into(), "/blog/".into())],
                ..page("old/index.html", "moved")
            },
        ])
        .await;
    let reply = world.get("/", &[]).await;
    assert_eq!((reply.status, reply.text()), (200, text(100)));
    assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(reply.field("cache-control"), Some("max-age=0, must-revalidate"));
    assert_eq!(reply.field("cache-groups"), Some("\"page:index.html\""));
    assert_eq!(reply.field("vary"), Some("accept-encoding"));
    assert!(reply.field("bakehouse-cache-control").unwrap().starts_with("max-age=31536000"));
    let etag = reply.field("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", Digest::of(text(100).as_bytes())));

    let head = world.send("HEAD", "/", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), Some(text(100).len().to_string().as_str()));

    let fresh = world.get("/", &[("If-None-Match", &format!("\"x\", W/{etag}"))]).await;
    assert_eq!((fresh.status, fresh.body.len(), fresh.field("etag")), (304, 0, Some(etag.as_str())));
    let coded = world.get("/", &[("Accept-Encoding", "gzip;q=0.5, br;q=0.1, zstd;q=0.1")]).await;
    assert_eq!((coded.status, coded.field("content-encoding")), (200, Some("gzip")));
    assert!(coded.body.len() < 500 && coded.field("etag") != Some(etag.as_str()));
    // A tag of another coding is another representation.
    let other = world.get("/", &[("Accept-Encoding", "gzip"), ("If-None-Match", &etag)]).await;
    assert_eq!(other.status, 200);

    let slash = world.get("/blog?a=1", &[]).await;
    assert_eq!((slash.status, slash.field("location")), (308, Some("/blog/?a=1")));
    let moved = world.get("/old/", &[]).await;
    assert_eq!((moved.status, moved.field("location")), (301, Some("/blog/")));
    for path in ["/%C3%A9t%C3%A9/", "/blog/../%c3%a9t%c3%a9/"] {
        assert_eq!(world.get(path, &[]).await.text(), text(5), "{path}");
    }
    for path in ["/none", "/%ff", "/blog/x%00y"] {
        let missing = world.get(path, &[("If-None-Match", "*"), ("Range", "bytes=0-1")]).await;
        assert_eq!((missing.status, missing.text()), (404, text(60)), "{path}");
    }
    let post = world.send("POST", "/", &[], b"x").await;
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(post.field("x-request-id").map(str::len), Some(16));
    let named = world.get("/", &[("X-Request-Id", "my-id.1")]).await;
    assert_eq!(named.field("x-request-id"), Some("my-id.1"));
}

#[tokio::test]
async fn ranges_cross_the_pieces_of_large_content() {
    let world = world().await;
    let large: Vec<u8> = (0..3_500_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    world.publish(vec![page("large.bin", large.clone()), page("small.bin", "0123456789")]).await;
    let whole = world.get("/large.bin", &[]).await;
    assert!(whole.body == large);
    let length = large.len();
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=1048570-1048585", 1_048_570..1_048_586),
        ("bytes=1000000-3200000", 1_000_000..3_200_001),
        ("bytes=3400000-", 3_400_000..length),
        ("bytes=-5", length - 5..length),
    ] {
        let part = world.get("/large.bin", &[("Range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        let content_range = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
        assert_eq!(part.field("content-range"), Some(content_range.as_str()));
        assert_eq!(part.field("content-length"), Some(expected.len().to_string().as_str()));
        assert!(part.body == large[expected], "{range}");
    }
    let small = world.get("/small.bin", &[("Range", "bytes=2-4")]).await;
    assert_eq!((small.status, small.text().as_str()), (206, "234"));
    let past = world.get("/small.bin", &[("Range", "bytes=10-")]).await;
    assert_eq!((past.status, past.field("content-range")), (416, Some("bytes */10")));
    let changed = world.get("/small.bin", &[("Range", "bytes=2-4"), ("If-Range", "\"other\"")]).await;
    assert_eq!((changed.status, changed.text().as_str()), (200, "0123456789"));
}

#[tokio::test]
async fn corrupted_content_is_never_served_and_mends_itself() {
    let world = world().await;
    let large = vec![5u8; 2_500_000];
    world.publish(vec![page("a.bin", "whole bytes"), page("large.bin", large.clone())]).await;
    let key = site().blob(&Digest::of(b"whole bytes"));
    world.bucket.tamper(&key, Some(Bytes::from_static(b"wrong bytes")));
    let reply = world.get("/a.bin", &[]).await;
    assert_eq!((reply.status, reply.field("cache-control")), (502, Some("no-store")));
    assert!(!reply.text().contains("wrong"));
    world.bucket.tamper(&key, None);
    assert_eq!(world.get("/a.bin", &[]).await.status, 502);
    world.bucket.tamper(&key, Some(Bytes::from_static(b"whole bytes")));
    assert_eq!(world.get("/a.bin", &[]).await.text(), "whole bytes");

    // Damage in a later piece cuts the response off before it.
    let key = site().blob(&Digest::of(&large));
    let mut damaged = large.clone();
    damaged[2_200_000] = 6;
    world.bucket.tamper(&key, Some(damaged.into()));
    let reply = world.get("/large.bin", &[]).await;
    assert_eq!(reply.field("content-length"), Some("2500000"));
    assert_eq!(reply.body.len(), 2 << 20);
}

#[tokio::test]
async fn edges_name_their_release_and_need_a_token() {
    let world = world().await;
    let first = world.publish(vec![page("index.html", "1")]).await.release;
    world.publish(vec![page("index.html", "2"), page("v1/journal", "a page")]).await;
    let token = format!("Bearer {EDGE}");
    let get = async |path: &str, release: &str, token: &str| {
        world.get(path, &[("Bakehouse-Release", release), ("Authorization", token)]).await
    };
    assert_eq!(get("/", first.as_str(), &token).await.text(), "1");
    assert_eq!(world.get("/", &[]).await.text(), "2");
    assert_eq!(get("/", first.as_str(), "Bearer wrong").await.status, 401);
    assert_eq!(get("/", "nonsense", &token).await.status, 400);
    let unknown: ReleaseId = "20990101-000000-00000000".parse().unwrap();
    let reply = get("/", unknown.as_str(), &token).await;
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    let active = world.origin.site(None).unwrap().journal().seen().state.active.clone().unwrap().release;
    assert_eq!(get("/v1/journal", active.as_str(), &token).await.text(), "a page");
}

#[tokio::test]
async fn an_origin_that_is_not_public_wants_a_token_for_everything() {
    let world = world_with(Arc::default(), |c| c.is_public = false).await;
    world.publish(vec![page("index.html", "1")]).await;
    assert_eq!(world.get("/", &[]).await.status, 401);
    assert_eq!(world.get("/", &[("Authorization", &format!("Bearer {EDGE}"))]).await.text(), "1");
    assert_eq!(world.get("/healthz", &[]).await.status, 200);
}

#[tokio::test]
async fn the_api_opens_to_its_tokens_alone() {
    let world = world().await;
    for (method, path) in [
        ("GET", "/v1/journal"),
        ("POST", "/v1/wake"),
        ("POST", "/v1/purge"),
        ("POST", "/v1/publish"),
        ("POST", "/v1/blobs/missing"),
        ("PUT", "/v1/blobs/abc"),
        ("GET", "/v1/releases"),
        ("GET", "/v1/diff"),
        ("POST", "/v1/rollback"),
        ("POST", "/v1/resume"),
        ("GET", "/v1/status"),
        ("GET", "/v1/receipts/1"),
    ] {
        for token in ["", "Bearer wrong", "Bearer ", "Basic Og=="] {
            let reply = world.send(method, path, &[("Authorization", token)], b"").await;
            assert_eq!(reply.status, 401, "{method} {path} {token}");
            assert!(reply.json()["error"].is_string() && reply.json()["hint"].is_string());
        }
        let edge = world.send(method, path, &[("Authorization", &format!("Bearer {EDGE}"))], b"").await;
        let expected = if path == "/v1/journal" || path == "/v1/wake" { 200..300 } else { 403..404 };
        assert!(expected.contains(&edge.status), "{method} {path}: {}", edge.status);
    }
    for body in ["", "nonsense", "{}", "[]", r#"{"selectors":[]}"#, r#"{"selectors":[{"colour":"red"}]}"#] {
        let authorization = format!("Bearer {OPERATOR}");
        let fields = [("Authorization", authorization.as_str())];
        let reply = world.send("POST", "/v1/purge", &fields, body.as_bytes()).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.json()["error"].is_string());
    }
    assert_eq!(world.call("GET", "/v1/nonsense", Value::Null).await.status, 404);
    assert_eq!(world.call("DELETE", "/v1/purge", Value::Null).await.status, 405);
    assert_eq!(world.call("GET", "/v1/status", Value::Null).await.json()["sites"][0]["state"]["seq"], 0);
}

#[tokio::test]
async fn a_purge_says_what_it_means_and_who_has_applied_it() {
    let world = world().await;
    world.publish(vec![page("index.html", "1"), page("blog/a/index.html", "2"), page("blog/b", "3")]).await;
    // An edge polls, and stays with its poll while the purge comes.
    world.poll("edge=e1&after=main:1&wait_ms=0").await;
    let selectors =
        json!([{"url": "/blog/a"}, {"url": "/none"}, {"prefix": "/blog/"}, {"group": "g"}, "all"]);
    let purge = world.call("POST", "/v1/purge", json!({"selectors": selectors, "wait": true}));
    let edge = async {
        let poll = world.poll("edge=e1&after=main:1&wait_ms=3000").await;
        assert_eq!(poll.sites[0].entries.len(), 1);
        assert!(!poll.sites[0].reset);
        world.poll("edge=e1&after=main:2&ack=main:2:7&wait_ms=0").await;
    };
    let (reply, ()) = tokio::join!(purge, edge);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let receipt: Receipt = serde_json::from_slice(&reply.body).unwrap();
    let paths: Vec<_> = receipt.selectors.iter().map(|s| s.paths).collect();
    assert_eq!(paths, [Some(1), Some(0), Some(2), None, Some(3)]);
    assert_eq!((receipt.committed.seq, receipt.applied_everywhere, receipt.complete), (2, true, true));
    assert_eq!((receipt.edges[0].edge.as_str(), receipt.edges[0].dropped.dropped), ("e1", 7));
    let again = world.call("GET", "/v1/receipts/2", Value::Null).await;
    assert_eq!(again.json()["edges"][0]["dropped"], 7);
    assert_eq!(world.call("GET", "/v1/receipts/9", Value::Null).await.status, 400);
}

#[tokio::test]
async fn a_receipt_that_waits_for_nobody_tells_of_edges_that_are_quick() {
    let world = world().await;
    world.publish(vec![page("index.html", "1")]).await;
    world.poll("edge=e1&after=main:1&wait_ms=0").await;
    let purge = || world.call("POST", "/v1/purge", json!({"selectors": ["all"]}));
    // On a busy machine the edge may be late.
    let mut seq = 1;
    let told = loop {
        let edge = async {
            world.poll(&format!("edge=e1&after=main:{seq}&wait_ms=3000")).await;
            world.poll(&format!("edge=e1&after=main:{0}&ack=main:{0}:7&wait_ms=0", seq + 1)).await;
        };
        let (reply, ()) = tokio::join!(purge(), edge);
        seq += 1;
        let receipt: Receipt = serde_json::from_slice(&reply.body).unwrap();
        if receipt.applied_everywhere || seq > 10 {
            break receipt;
        }
    };
    assert_eq!((told.applied_everywhere, told.edges[0].dropped.dropped), (true, 7));
    let receipt: Receipt = serde_json::from_slice(&purge().await.body).unwrap();
    assert_eq!((receipt.applied_everywhere, receipt.edges[0].state), (false, EdgeProgress::Pending));
}

#[tokio::test]
async fn a_poll_brings_diffs_and_waits_for_news() {
    let world = world().await;
    world.publish(vec![page("index.html", "1"), page("a", "1")]).await;
    let start = world.poll("").await;
    assert!(start.sites[0].reset && start.sites[0].entries.is_empty());
    assert_eq!(start.sites[0].state.seq, 1);
    let began = Instant::now();
    let quiet = world.poll("after=main:1&wait_ms=300").await;
    assert!(began.elapsed() >= Duration::from_millis(290) && quiet.sites[0].entries.is_empty());
    let (poll, _) = tokio::join!(
        world.poll("after=main:1&wait_ms=3000"),
        world.publish(vec![page("index.html", "2"), page("a", "1")])
    );
    assert!(began.elapsed() < Duration::from_secs(3));
    let diff = poll.sites[0].entries[0].diff.as_ref().unwrap();
    assert_eq!(diff.changed, ["index.html"]);
    // A poll of what is no longer kept, or never was, begins anew.
    assert!(world.poll("after=main:77&wait_ms=0").await.sites[0].reset);
    assert!(poll.sites[0].verified_ms < 3_000);
}

#[tokio::test]
async fn a_rollback_and_a_resume() {
    let world = world().await;
    let first = world.publish(vec![page("index.html", "1")]).await.release;
    let reply = world.call("POST", "/v1/rollback", Value::Null).await;
    assert_eq!(reply.status, 409, "{}", reply.text());
    let second = world.publish(vec![page("index.html", "2")]).await.release;
    let reply = world.call("POST", "/v1/rollback", Value::Null).await.json();
    assert_eq!(reply["release"], json!(first));
    assert_eq!(reply["diff"]["changed"], json!(["index.html"]));
    assert_eq!(world.get("/", &[]).await.text(), "1");
    let held = |status: Value| status["sites"][0]["state"]["held"].clone();
    assert_eq!(held(world.call("GET", "/v1/status", Value::Null).await.json()), json!(true));
    assert_eq!(world.call("POST", "/v1/resume", Value::Null).await.status, 200);
    assert_eq!(held(world.call("GET", "/v1/status", Value::Null).await.json()), json!(false));
    let reply = world.call("POST", "/v1/rollback", json!({"release": second})).await.json();
    assert_eq!(reply["release"], json!(second));
    let none = world.call("POST", "/v1/rollback", json!({"release": "20990101-000000-00000000"})).await;
    assert_eq!(none.status, 404);
    let releases = world.call("GET", "/v1/releases", Value::Null).await.json();
    assert_eq!(releases.as_array().unwrap().len(), 2);
    let active = releases.as_array().unwrap().iter().find(|r| r["active"] == json!(true)).unwrap();
    assert_eq!(active["id"], json!(second));
    let diff = world.call("GET", &format!("/v1/diff?from={first}&to={second}"), Value::Null).await.json();
    assert_eq!(diff["changed"], json!(["index.html"]));
}

struct Echo;

#[async_trait]
impl Render for Echo {
    async fn publish(
        &self,
        site: &Site,
        request: PublishRequest,
        sources: Option<Vec<SourceFile>>,
    ) -> Result<Published, Failure> {
        let names: Vec<_> = sources.unwrap_or_default().into_iter().map(|s| (s.path, s.bytes)).collect();
        Err(Failure { error: format!("{site}: {names:?}"), hint: request.message })
    }
}

#[tokio::test]
async fn files_are_sent_and_handed_to_the_renderer() {
    let world = world().await;
    assert_eq!(world.call("POST", "/v1/publish", json!({})).await.status, 501);
    world.origin.set_render(Arc::new(Echo));
    let digest = Digest::of(b"text");
    let missing = world.call("POST", "/v1/blobs/missing", json!([digest])).await;
    assert_eq!(missing.json(), json!([digest]));
    let authorization = format!("Bearer {OPERATOR}");
    let put = async |body: &[u8]| {
        let fields = [("Authorization", authorization.as_str())];
        world.send("PUT", &format!("/v1/blobs/{digest}"), &fields, body).await.status
    };
    assert_eq!((put(b"other").await, put(b"text").await), (400, 204));
    let request = json!({"sources": [{"path": "content/a.md", "digest": digest}], "message": "m"});
    let reply = world.call("POST", "/v1/publish", request).await;
    assert_eq!((reply.status, reply.json()["hint"].as_str()), (422, Some("m")));
    assert_eq!(reply.json()["error"], "main: [(\"content/a.md\", b\"text\")]");
    let unsent = json!({"sources": [{"path": "b", "digest": Digest::of(b"never sent")}]});
    assert_eq!(world.call("POST", "/v1/publish", unsent).await.status, 400);
}

#[tokio::test]
async fn receipts_count_the_edges_of_fellows() {
    let first = world().await;
    let second = world_with(Arc::clone(&first.bucket), |c| {
        c.fellows = vec![format!("http://{}", first.address)];
    })
    .await;
    first.publish(vec![page("index.html", "1")]).await;
    first.poll("edge=e1&after=main:1&wait_ms=0").await;
    second.origin.site(None).unwrap().journal().look().await.unwrap();
    let purge = second.call("POST", "/v1/purge", json!({"selectors": ["all"], "wait": true}));
    let edge = async {
        // The fellow is woken by the commit.
        let poll = first.poll("edge=e1&after=main:1&wait_ms=3000").await;
        assert_eq!(poll.sites[0].state.seq, 2);
        first.poll("edge=e1&after=main:2&ack=main:2:1&wait_ms=0").await;
    };
    let (reply, ()) = tokio::join!(purge, edge);
    let receipt: Receipt = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((receipt.edges.len(), receipt.complete, receipt.applied_everywhere), (1, true, true));
    first.stop.cancel();
    first.server.await.unwrap();
    let reply = second.call("POST", "/v1/purge", json!({"selectors": ["all"]})).await.json();
    assert_eq!((&reply["complete"], &reply["applied_everywhere"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn sites_are_told_apart_by_host() {
    let world = world().await;
    world.publish_to(&site(), vec!["a.example".into()], vec![page("index.html", "a")]).await;
    let other: Site = "other".parse().unwrap();
    world.publish_to(&other, vec!["B.example".into()], vec![page("index.html", "b")]).await;
    for (host, expected) in [
        ("a.example", (200, "a")),
        ("b.EXAMPLE:8080", (200, "b")),
        ("c.example", (404, "no site answers to this host\n")),
    ] {
        let reply = world.get("/", &[("Host", host)]).await;
        let text = reply.text();
        // Readiness comes with the first look.
        if reply.status != 503 {
            assert_eq!((reply.status, text.as_str()), expected, "{host}");
        }
    }
    let reply = world.call("POST", "/v1/purge", json!({"selectors": ["all"]})).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let reply = world.call("POST", "/v1/purge", json!({"selectors": ["all"], "site": "other"})).await;
    assert_eq!(reply.json()["site"], "other");
}

#[tokio::test]
async fn an_origin_finds_the_sites_of_its_bucket() {
    let first = world().await;
    first.publish(vec![page("index.html", "1")]).await;
    for name in ["main-2", "main.x", "main0", "z"] {
        first.publish_to(&name.parse().unwrap(), vec![], vec![page("index.html", name)]).await;
    }
    let origin = Origin::new(OriginConfig::new("o2", first.bucket.clone(), OPERATOR)).unwrap();
    assert!(!origin.is_ready());
    origin.follow();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !origin.is_ready() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let names: Vec<_> = origin.status().sites.iter().map(|s| s.site.to_string()).collect();
    assert_eq!(names, ["main", "main-2", "main.x", "main0", "z"]);
}

#[tokio::test]
async fn a_stop_ends_polls_and_serves_what_is_under_way() {
    let world = world().await;
    world.publish(vec![page("index.html", "1")]).await;
    let began = Instant::now();
    let poll = async {
        let poll = world.poll("edge=e1&after=main:1&wait_ms=3000").await;
        assert_eq!(poll.sites[0].state.seq, 1);
    };
    let stop = async {
        let mut polls = world.origin.edges().watch();
        polls.changed().await.unwrap();
        world.stop.cancel();
    };
    tokio::join!(poll, stop);
    world.server.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_the_bucket_an_origin_says_so_and_recovers() {
    let world = world().await;
    world.publish(vec![page("index.html", "1")]).await;
    let key = world.bucket.keys().into_iter().find(|k| k.contains("/blobs/")).unwrap();
    let blob = world.bucket.get(&key, 1 << 20).await.unwrap().unwrap();
    world.bucket.fail([release::bucket::memory::Fault { op: "get", done: false }; 40]);
    let mut was_refused = false;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = world.get("/", &[]).await;
        match reply.status {
            503 => was_refused = true,
            200 if was_refused => break,
            // The follower's looks take faults too.
            status => assert_eq!(status, 200),
        }
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(world.get("/", &[]).await.body, blob.bytes);
}
