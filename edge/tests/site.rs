//! The edge behind Bakehouse origins: following the journal, exact invalidation, warm rollbacks, and what is left when
//! origins and the bucket are gone.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use edge::{EdgeConfig, Mode, OnLapse, SitesConfig};
use release::{
    Coding, CodingName, Content, Digest, Entry, Policy, ReleaseId, answer,
    bucket::{Bucket, memory::MemoryBucket},
    journal::{Activation, Cause, Effect, EntryId, JournalEntry, Purge, Selector, State},
    keys::Site,
    reader::Reader,
    record::Trigger,
    tree::Tree,
    wire::{Poll, PolledEntry, SitePoll},
};
use support::{Reply, Running, Upstream, eventually, field, response, run_with};
use tokio::sync::Notify;

/// A site: its bucket, its journal, and what its origins know.
struct World {
    bucket: Arc<MemoryBucket>,
    reader: Arc<Reader>,
    site: Site,
    told: Mutex<Told>,
    news: Notify,
    origins: AtomicOrigins,
}

#[derive(Default)]
struct Told {
    state: State,
    entries: Vec<PolledEntry>,
    files: HashMap<String, BTreeMap<String, Arc<Entry>>>,
    roots: HashMap<String, Digest>,
    count: u32,
    fetched: Vec<String>,
    acks: Vec<String>,
}

#[derive(Default)]
struct AtomicOrigins {
    send_diffs: AtomicBool,
    corrupt: AtomicBool,
    behind: AtomicBool,
    /// Content is asked for in vain; polls and checks are answered.
    hangs: AtomicBool,
    /// Polls are answered with 503.
    deaf: AtomicBool,
    verified_ms: AtomicU64,
}

const TOKEN: &str = "edge-token";

impl World {
    fn new() -> Arc<Self> {
        let bucket = Arc::new(MemoryBucket::default());
        let site: Site = "main".parse().unwrap();
        let reader = Arc::new(Reader::new(Arc::clone(&bucket) as Arc<dyn Bucket>, site.clone(), 1 << 20));
        let origins = AtomicOrigins::default();
        origins.send_diffs.store(true, Ordering::SeqCst);
        Arc::new(Self { bucket, reader, site, told: Mutex::default(), news: Notify::new(), origins })
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    async fn entry_of(&self, body: &str, path: &str) -> Entry {
        let gzip = format!("gz:{body}");
        let whole = [body.as_bytes(), gzip.as_bytes()].concat();
        let blob = Digest::of(&whole);
        self.bucket.put(&self.site.blob(&blob), Bytes::from(whole.clone())).await.unwrap();
        let coded = if body.len() > 40 {
            vec![Coding::of(CodingName::Gzip, body.len() as u64, gzip.as_bytes())]
        } else {
            vec![]
        };
        Entry {
            status: 200,
            fields: vec![("content-type".into(), "text/html; charset=utf-8".into())],
            content: Content { blob, identity: Coding::of(CodingName::Identity, 0, body.as_bytes()), coded },
            groups: vec![format!("page:{path}")],
            policy: Policy { browser: "max-age=0, must-revalidate".into(), edge: "max-age=31536000".into() }
                .into(),
        }
    }

    /// Publishes a release with these files, and activates it.
    async fn publish(&self, files: &[(&str, &str)]) -> ReleaseId {
        let mut entries = BTreeMap::new();
        for (path, body) in files {
            entries.insert((*path).to_owned(), Arc::new(self.entry_of(body, path).await));
        }
        let tree = Tree::build(&entries);
        for (digest, bytes) in &tree.nodes {
            self.bucket.put(&self.site.node(digest), bytes.clone()).await.unwrap();
        }
        let id = {
            let mut told = self.told();
            told.count += 1;
            let id: ReleaseId = format!("20261123-181500-{:08x}", told.count).parse().unwrap();
            told.files.insert(id.to_string(), entries);
            told.roots.insert(id.to_string(), tree.root);
            id
        };
        self.activate(&id, Cause::Publish(Trigger::Manual)).await;
        id
    }

    async fn activate(&self, id: &ReleaseId, cause: Cause) -> u64 {
        let (root, base, diff) = {
            let told = self.told();
            let before = told.state.active.as_ref().map(|active| told.files[active.release.as_str()].clone());
            let diff = before.map(|before| release::tree::Diff::between(&before, &told.files[id.as_str()]));
            (told.roots[id.as_str()], told.state.base(), diff)
        };
        let diff = if self.origins.send_diffs.load(Ordering::SeqCst) { diff } else { None };
        let activation = Activation { release: id.clone(), root, assets: root, hosts: vec![], base, cause };
        self.commit(vec![Effect::Activate(activation)], diff).await
    }

    async fn purge(&self, selector: Selector, soft: bool) -> u64 {
        let purge = Purge { selectors: vec![selector], soft, reason: None };
        self.commit(vec![Effect::Purge(purge)], None).await
    }

    async fn commit(&self, effects: Vec<Effect>, diff: Option<release::tree::Diff>) -> u64 {
        let (seq, key, bytes) = {
            let mut told = self.told();
            let entry = JournalEntry {
                version: 1,
                id: EntryId(7),
                prev: told.state.last,
                at: "2026-11-23T18:15:00Z".parse().unwrap(),
                by: "test".into(),
                effects,
            };
            let bytes = entry.encode();
            let digest = Digest::of(&bytes);
            told.state.apply(&entry, digest).unwrap();
            let seq = told.state.seq;
            told.entries.push(PolledEntry { seq, digest, entry, diff });
            (seq, self.site.journal(seq), bytes)
        };
        self.bucket.create(&key, Bytes::from(bytes)).await.unwrap();
        self.news.notify_waiters();
        seq
    }

    /// An origin of this site.
    async fn origin(self: &Arc<Self>) -> Upstream {
        let world = Arc::clone(self);
        Upstream::start(move |head| {
            let (world, head) = (Arc::clone(&world), head.to_owned());
            Reply::Later(Arc::new(move || {
                let (world, head) = (Arc::clone(&world), head.clone());
                Box::pin(async move { world.answer(&head).await })
            }))
        })
        .await
    }

    async fn answer(&self, head: &str) -> Vec<u8> {
        if head.starts_with("GET /healthz ") {
            return response(200, &[], "alive\n");
        }
        if field(head, "authorization").as_deref() != Some("Bearer edge-token") {
            return response(401, &[], "");
        }
        let target = head.split(' ').nth(1).unwrap();
        if let Some(query) = target.strip_prefix("/v1/journal?") {
            return self.poll(query).await;
        }
        if self.origins.behind.load(Ordering::SeqCst) {
            return response(503, &[], "behind");
        }
        self.told().fetched.push(target.to_owned());
        if self.origins.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let release = field(head, answer::RELEASE_FIELD).unwrap();
        let root = self.told().roots[&release];
        let path = release::url::site_path(target).unwrap();
        let resolution = answer::resolve(&self.reader, root, root, &path).await.unwrap();
        let made = resolution.head(field(head, "accept-encoding").as_deref(), None);
        let fields: Vec<(&str, &str)> = made
            .fields
            .iter()
            .filter(|(name, _)| name != "content-length")
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let etag = made.fields.iter().find(|(name, _)| name == "etag").map(|(_, value)| value.clone());
        if let (Some(etag), Some(tags)) = (etag, field(head, "if-none-match"))
            && tags.split(", ").any(|tag| tag == etag)
        {
            return response(304, &fields, "");
        }
        let body = match (&made.coding, resolution.entry()) {
            (Some(coding), Some(entry)) => {
                let bytes = self.reader.content(&entry.content, coding).await.unwrap();
                String::from_utf8(bytes.to_vec()).unwrap()
            }
            _ => String::new(),
        };
        let body = if self.origins.corrupt.load(Ordering::SeqCst) {
            // The last one, so that of large content only the last piece is wrong.
            body.rsplit_once('a').map_or(body.clone(), |(before, after)| format!("{before}b{after}"))
        } else {
            body
        };
        response(made.status, &fields, &body)
    }

    async fn poll(&self, query: &str) -> Vec<u8> {
        let parameters: HashMap<&str, &str> =
            query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(parameters["edge"], "edge%2D1");
        if let Some(acks) = parameters.get("ack") {
            self.told().acks.extend(acks.split(',').map(str::to_owned));
        }
        let after: Option<u64> =
            parameters.get("after").map(|after| after.strip_prefix("main:").unwrap().parse().unwrap());
        let wait = Duration::from_millis(parameters["wait_ms"].parse().unwrap());
        let end = tokio::time::Instant::now() + wait;
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if self.origins.deaf.load(Ordering::SeqCst) {
                return response(503, &[], "deaf");
            }
            {
                let told = self.told();
                if after.is_none_or(|after| told.state.seq > after) || tokio::time::Instant::now() >= end {
                    let entries = match after {
                        Some(after) => {
                            told.entries.iter().filter(|entry| entry.seq > after).cloned().collect()
                        }
                        None => vec![],
                    };
                    let poll = Poll {
                        origin: "origin".into(),
                        sites: vec![SitePoll {
                            site: self.site.clone(),
                            state: told.state.clone(),
                            verified_ms: self.origins.verified_ms.load(Ordering::SeqCst),
                            entries,
                            reset: after.is_none(),
                        }],
                    };
                    return response(200, &[], &serde_json::to_string(&poll).unwrap());
                }
            }
            let _ = tokio::time::timeout_at(end, news).await;
        }
    }

    fn fetched(&self) -> Vec<String> {
        std::mem::take(&mut self.told().fetched)
    }
}

fn config(origins: &[&Upstream]) -> EdgeConfig {
    let sites = SitesConfig {
        origins: origins.iter().map(|origin| origin.url.clone()).collect(),
        token: TOKEN.into(),
        sites: vec!["main".parse().unwrap()],
        lease: Duration::from_secs(10),
        on_lapse: OnLapse::Serve,
    };
    EdgeConfig::new(Mode::Sites(sites), "edge-1")
}

async fn start(config: EdgeConfig, bucket: Option<Arc<MemoryBucket>>) -> Running {
    let edge = run_with(config, bucket.map(|bucket| bucket as Arc<dyn Bucket>)).await;
    eventually("the first look at the journal", || edge.edge.is_ready()).await;
    edge
}

async fn applied(edge: &Running, seq: u64) {
    eventually("the entry", || edge.edge.state().sites[0].seq >= seq).await;
}

const LONG: &str = "a page that is long enough to be worth a coding of its own";

#[tokio::test]
async fn an_activation_drops_exactly_what_differs() {
    let world = World::new();
    world
        .publish(&[
            ("index.html", "home 1"),
            ("a/index.html", LONG),
            ("b/index.html", "b 1"),
            ("404.html", "none"),
        ])
        .await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    let home = edge.get("/?utm=1").await;
    assert_eq!((home.status, home.text()), (200, "home 1"));
    assert_eq!(home.field("cache-control").as_deref(), Some("max-age=0, must-revalidate"));
    assert_eq!(home.field(answer::EDGE_CACHE_CONTROL), None);
    assert!(edge.get("/").await.cache_status().contains("hit"));
    let slash = edge.get("/a?x=1").await;
    assert_eq!((slash.status, slash.field("location").as_deref()), (308, Some("/a/?x=1")));
    assert_eq!(edge.ask("GET", "/a/", &[("accept-encoding", "gzip")]).await.text(), format!("gz:{LONG}"));
    assert_eq!(edge.get("/a/").await.text(), LONG);
    assert_eq!((edge.get("/b/").await.status, edge.get("/nowhere").await.status), (200, 404));
    assert_eq!(edge.edge.state().entries, 6);
    world.fetched();
    world.publish(&[("index.html", "home 2"), ("a/index.html", LONG), ("404.html", "none")]).await;
    applied(&edge, 2).await;
    let home = edge.get("/").await;
    assert_eq!(home.text(), "home 2");
    // A removed page is not there any more; what did not differ is still held.
    assert_eq!(edge.get("/b/").await.status, 404);
    for (path, fields) in
        [("/a", [("x", "y")]), ("/a/", [("accept-encoding", "gzip")]), ("/nowhere", [("x", "y")])]
    {
        let seen = edge.ask("GET", path, &fields).await;
        assert!(seen.cache_status().contains("hit"), "{path} {}", seen.cache_status());
    }
    assert_eq!(world.fetched(), ["/", "/b/"]);
    eventually("the acknowledgement", || world.told().acks.contains(&"main:2:2".to_owned())).await;
}

#[tokio::test]
async fn a_rollback_fetches_no_content_again() {
    let world = World::new();
    let first = world.publish(&[("index.html", "home 1"), ("a/index.html", LONG)]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    for path in ["/", "/a/"] {
        edge.get(path).await;
    }
    world.publish(&[("index.html", "home 2"), ("a/index.html", "a 2")]).await;
    applied(&edge, 2).await;
    assert_eq!((edge.get("/").await.text(), edge.get("/a/").await.text()), ("home 2", "a 2"));
    let seq = world.activate(&first, Cause::Rollback).await;
    applied(&edge, seq).await;
    for (path, body) in [("/", "home 1"), ("/a/", LONG)] {
        let seen = edge.get(path).await;
        assert_eq!(seen.text(), body);
        assert!(seen.cache_status().contains("fwd-status=304"), "{}", seen.cache_status());
        assert!(edge.get(path).await.cache_status().contains("hit"));
    }
}

#[tokio::test]
async fn without_a_diff_everything_held_is_compared_before_use() {
    let world = World::new();
    world.publish(&[("index.html", "home 1"), ("a/index.html", LONG)]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    for path in ["/", "/a/"] {
        edge.get(path).await;
    }
    world.origins.send_diffs.store(false, Ordering::SeqCst);
    world.publish(&[("index.html", "home 2"), ("a/index.html", LONG)]).await;
    applied(&edge, 2).await;
    let home = edge.get("/").await;
    assert_eq!(home.text(), "home 2");
    let same = edge.get("/a/").await;
    assert_eq!(same.text(), LONG);
    assert!(same.cache_status().contains("fwd-status=304"), "{}", same.cache_status());
    assert!(edge.get("/a/").await.cache_status().contains("hit"));
}

#[tokio::test]
async fn purges_of_the_journal_are_applied_and_acknowledged() {
    let world = World::new();
    world.publish(&[("index.html", "home"), ("a/index.html", "a"), ("b/index.html", "b")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    for (selector, dropped) in [
        (Selector::Url("http://any.test/a/?x=1".into()), 1),
        (Selector::Prefix("/b".into()), 1),
        (Selector::Group("page:index.html".into()), 1),
        (Selector::Url("/nothing".into()), 0),
        (Selector::All, 3),
    ] {
        for path in ["/", "/a/", "/b/"] {
            edge.get(path).await;
        }
        let seq = world.purge(selector, false).await;
        eventually("the acknowledgement", || world.told().acks.contains(&format!("main:{seq}:{dropped}")))
            .await;
        assert_eq!(edge.edge.state().entries, 3 - dropped);
    }
}

#[tokio::test]
async fn a_starting_edge_serves_nothing_before_its_first_look() {
    let world = World::new();
    world.publish(&[("index.html", "home")]).await;
    // Every look of the origin began long before the edge did.
    world.origins.verified_ms.store(60_000, Ordering::SeqCst);
    let origin = world.origin().await;
    let edge = run_with(config(&[&origin]), None).await;
    origin.wait_for(3).await;
    let early = edge.get("/").await;
    assert_eq!((early.status, early.field("retry-after").as_deref()), (503, Some("1")));
    world.origins.verified_ms.store(0, Ordering::SeqCst);
    eventually("readiness", || edge.edge.is_ready()).await;
    assert_eq!(edge.get("/").await.text(), "home");
}

#[tokio::test]
async fn an_origin_that_is_behind_or_corrupt_is_passed_over() {
    let world = World::new();
    world.publish(&[("index.html", "a home"), ("a/index.html", "a page")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), Some(Arc::clone(&world.bucket))).await;
    world.origins.corrupt.store(true, Ordering::SeqCst);
    assert_eq!(edge.get("/").await.text(), "a home");
    world.origins.corrupt.store(false, Ordering::SeqCst);
    world.origins.behind.store(true, Ordering::SeqCst);
    assert_eq!(edge.get("/a/").await.text(), "a page");
    assert!(edge.get("/").await.cache_status().contains("hit"));
}

#[tokio::test]
async fn corrupt_content_is_never_sent() {
    let world = World::new();
    world.publish(&[("index.html", "a home")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    world.origins.corrupt.store(true, Ordering::SeqCst);
    let seen = edge.get("/").await;
    assert_eq!((seen.status, edge.edge.state().entries), (502, 0));
    world.origins.corrupt.store(false, Ordering::SeqCst);
    assert_eq!(edge.get("/").await.text(), "a home");
}

fn leased(edge: &support::Running) -> f64 {
    edge.edge.refresh_gauges();
    support::meters::gauge("leased{site=\"main\"}")
}

#[tokio::test]
async fn pages_are_served_while_origins_and_then_the_bucket_are_gone() {
    support::meters::install();
    let world = World::new();
    world.publish(&[("index.html", "home 1"), ("a/index.html", LONG), ("404.html", "none")]).await;
    let origin = world.origin().await;
    let mut config = config(&[&origin]);
    if let Mode::Sites(sites) = &mut config.mode {
        sites.lease = Duration::from_millis(1_500);
    }
    let edge = start(config, Some(Arc::clone(&world.bucket))).await;
    assert_eq!(edge.get("/").await.text(), "home 1");
    origin.stop();
    // What is held is served; what is not comes from the bucket, codings included.
    assert_eq!(edge.get("/").await.text(), "home 1");
    assert_eq!(edge.ask("GET", "/a/", &[("accept-encoding", "gzip")]).await.text(), format!("gz:{LONG}"));
    let slash = edge.get("/a").await;
    assert_eq!((slash.status, slash.field("location").as_deref()), (308, Some("/a/")));
    assert_eq!(edge.get("/nowhere").await.text(), "none");
    // The journal is followed in the bucket itself, and keeps the lease.
    world.origins.send_diffs.store(false, Ordering::SeqCst);
    world.publish(&[("index.html", "home 2"), ("a/index.html", LONG), ("404.html", "none")]).await;
    applied(&edge, 2).await;
    eventually("the lease", || leased(&edge) == 1.0).await;
    assert_eq!(edge.get("/").await.text(), "home 2");
    let same = edge.ask("GET", "/a/", &[("accept-encoding", "gzip")]).await;
    assert!(same.cache_status().contains("hit; ttl=") && !same.cache_status().contains("detail"));
    // Now the bucket goes too.
    for key in world.bucket.keys() {
        world.bucket.tamper(&key, None);
    }
    world.bucket.fail((0..1_000_000).map(|_| release::bucket::memory::Fault { op: "get", done: false }));
    eventually("the lease's end", || leased(&edge) == 0.0 && !edge.edge.state().sites[0].leased).await;
    let lapsed = edge.get("/").await;
    assert_eq!(lapsed.text(), "home 2");
    assert!(lapsed.cache_status().contains("detail=lease-expired"), "{}", lapsed.cache_status());
    assert!(edge.get("/unknown").await.status >= 500);
}

#[tokio::test]
async fn what_was_read_from_the_bucket_is_acknowledged_when_an_origin_answers_again() {
    let world = World::new();
    world.publish(&[("index.html", "home 1"), ("404.html", "none")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), Some(Arc::clone(&world.bucket))).await;
    assert_eq!(edge.get("/").await.text(), "home 1");
    world.origins.deaf.store(true, Ordering::SeqCst);
    world.publish(&[("index.html", "home 2"), ("404.html", "none")]).await;
    applied(&edge, 2).await;
    assert!(world.told().acks.iter().all(|ack| !ack.starts_with("main:2:")));
    world.origins.deaf.store(false, Ordering::SeqCst);
    eventually("the acknowledgement", || world.told().acks.iter().any(|ack| ack.starts_with("main:2:")))
        .await;
}

#[tokio::test]
async fn an_origin_that_hangs_costs_one_miss_at_a_time_where_there_is_a_bucket() {
    let world = World::new();
    world.publish(&[("a.txt", "a"), ("b.txt", "b"), ("c.txt", "c"), ("d.txt", "d"), ("e.txt", "e")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), Some(Arc::clone(&world.bucket))).await;
    world.origins.hangs.store(true, Ordering::SeqCst);
    assert_eq!(edge.get("/a.txt").await.text(), "a");
    // Polls and health checks are answered meanwhile. After a pause one miss tries it.
    eventually("the end of the pause", || edge.edge.upstreams()[0].up).await;
    assert_eq!(world.fetched(), ["/a.txt"]);
    let others = async {
        eventually("the trial", || !world.told().fetched.is_empty()).await;
        for name in ["c", "d", "e"] {
            assert_eq!(edge.get(&format!("/{name}.txt")).await.text(), name);
        }
        assert_eq!(world.fetched(), ["/b.txt"]);
    };
    let (trial, ()) = tokio::join!(edge.get("/b.txt"), others);
    assert_eq!(trial.text(), "b");
}

#[tokio::test]
async fn a_superseded_copy_stands_in_when_nothing_else_can_be_had() {
    let world = World::new();
    world.publish(&[("index.html", "home 1"), ("gone/index.html", "gone"), ("p/index.html", "p")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    for path in ["/", "/gone/", "/p/"] {
        edge.get(path).await;
    }
    world.publish(&[("index.html", "home 2"), ("p/index.html", "p")]).await;
    let seq = world.purge(Selector::Url("/p/".into()), false).await;
    applied(&edge, seq).await;
    world.origins.behind.store(true, Ordering::SeqCst);
    let old = edge.get("/").await;
    assert_eq!((old.status, old.text()), (200, "home 1"));
    assert!(
        old.cache_status().contains("fwd=stale") && old.cache_status().contains("detail="),
        "{}",
        old.cache_status()
    );
    // Neither what was removed nor what was purged comes back.
    assert!(edge.get("/gone/").await.status >= 500 && edge.get("/p/").await.status >= 500);
    world.origins.behind.store(false, Ordering::SeqCst);
    assert_eq!(edge.get("/").await.text(), "home 2");
}

#[tokio::test]
async fn a_lapsed_lease_can_mean_refusal() {
    let world = World::new();
    world.publish(&[("index.html", "home 1")]).await;
    let origin = world.origin().await;
    let mut config = config(&[&origin]);
    if let Mode::Sites(sites) = &mut config.mode {
        sites.lease = Duration::from_millis(400);
        sites.on_lapse = OnLapse::Refuse;
    }
    let edge = start(config, None).await;
    origin.stop();
    eventually("the lease's end", || !edge.edge.state().sites[0].leased).await;
    assert_eq!(edge.get("/").await.status, 503);
}

#[tokio::test]
async fn only_get_and_head_are_served() {
    let world = World::new();
    world.publish(&[("index.html", "home")]).await;
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    let post = edge.raw(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n", false).await;
    assert_eq!((post.status, post.field("allow").as_deref()), (405, Some("GET, HEAD")));
    let head = edge.ask("HEAD", "/", &[]).await;
    assert_eq!((head.status, head.field("content-length").as_deref()), (200, Some("4")));
    assert!(edge.get("/").await.cache_status().contains("hit"));
    let part = edge.ask("GET", "/", &[("range", "bytes=0-1")]).await;
    assert_eq!((part.status, part.text()), (206, "ho"));
}

#[tokio::test]
async fn large_content_is_checked_piece_by_piece_and_rescued_from_the_bucket() {
    let large = "a".repeat(2_500_000);
    let world = World::new();
    world.publish(&[("large.txt", &large), ("other.txt", &large)]).await;
    let origin = world.origin().await;
    world.origins.corrupt.store(true, Ordering::SeqCst);
    // With a bucket: the good pieces of the origin, then the rest from there.
    let edge = start(config(&[&origin]), Some(Arc::clone(&world.bucket))).await;
    let seen = edge.get("/large.txt").await;
    assert_eq!((seen.complete, seen.body.len()), (true, large.len()));
    assert!(seen.body.iter().all(|byte| *byte == b'a'));
    assert_eq!(seen.field(answer::CHUNKS_FIELD), None);
    assert!(edge.get("/large.txt").await.cache_status().contains("hit"));
    let part = edge.ask("GET", "/large.txt", &[("range", "bytes=2499999-")]).await;
    assert_eq!((part.status, part.text()), (206, "a"));
    // Without one: the break is seen, and nothing is stored.
    let alone = start(config(&[&origin]), None).await;
    let seen = alone.get("/large.txt").await;
    assert!(!seen.complete && seen.body.len() == 2 << 20 && seen.body.iter().all(|byte| *byte == b'a'));
    eventually("the end of the fetch", || alone.edge.state().flights == 0).await;
    assert_eq!(alone.edge.state().entries, 0);
    // Without an origin: from the bucket alone.
    origin.stop();
    let seen = edge.get("/other.txt").await;
    assert_eq!((seen.complete, seen.body.len()), (true, large.len()));
}

#[tokio::test]
async fn a_site_begins_with_its_first_release() {
    let world = World::new();
    let origin = world.origin().await;
    let edge = start(config(&[&origin]), None).await;
    let early = edge.get("/").await;
    assert_eq!((early.status, early.field("retry-after").as_deref()), (503, Some("1")));
    assert!(early.text().contains("Nothing is published here yet"));
    world.publish(&[("index.html", "home")]).await;
    applied(&edge, 1).await;
    assert_eq!(edge.get("/").await.text(), "home");
}
