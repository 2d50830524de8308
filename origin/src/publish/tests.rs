//! Publishing to a bucket in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use release::File;
use release::bucket::memory::{Fault, MemoryBucket};
use release::journal::{Activation, Cause, Effect};

use super::*;
use crate::policy::Policies;

struct World {
    bucket: Arc<MemoryBucket>,
    publisher: Arc<Publisher>,
}

async fn publisher(bucket: &Arc<MemoryBucket>) -> Arc<Publisher> {
    let site: Site = "main".parse().unwrap();
    let journal = Journal::open(bucket.clone(), site.clone(), "test".into(), None).await.unwrap();
    let reader = Arc::new(Reader::new(bucket.clone(), site, 64 << 20));
    Publisher::new(journal, reader)
}

async fn world() -> World {
    let bucket = Arc::new(MemoryBucket::default());
    World { publisher: publisher(&bucket).await, bucket }
}

fn page(path: &str, text: &str) -> File {
    File {
        path: path.into(),
        body: format!("<h1>{text}</h1>").repeat(40).into(),
        status: 200,
        fields: vec![("Content-Type".into(), "text/html; charset=utf-8".into())],
        groups: vec![format!("page:{path}")],
        immutable: false,
    }
}

fn pages(texts: &[(&str, &str)]) -> Vec<File> {
    texts.iter().map(|(path, text)| page(path, text)).collect()
}

fn about() -> About {
    static SECONDS: AtomicU32 = AtomicU32::new(0);
    let second = i64::from(SECONDS.fetch_add(1, Ordering::Relaxed));
    About {
        created: Timestamp::from_second(1_795_000_000 + second).unwrap(),
        author: "someone".into(),
        message: String::new(),
        hosts: vec![],
        pages: 1,
        renderer: "test".into(),
        next_change: None,
    }
}

async fn publish(publisher: &Arc<Publisher>, trigger: Trigger, files: &[File]) -> Result<Outcome, Error> {
    let draft = publisher.begin(trigger, Arc::default()).await?;
    hand_over(&draft, files);
    draft.finish(about()).await
}

fn hand_over(draft: &Draft, files: &[File]) {
    let sink = draft.sink();
    for file in files {
        sink.file(file.clone()).unwrap();
        sink.source(&format!("content/{}", file.path), file.body.clone()).unwrap();
    }
}

fn done(outcome: Result<Outcome, Error>) -> Done {
    match outcome.unwrap() {
        Outcome::Published(done) => done,
        Outcome::Unchanged(release) => panic!("{release} is unchanged"),
    }
}

#[tokio::test]
async fn a_second_publish_uploads_what_differs_and_asks_for_no_more() {
    let World { bucket, publisher } = world().await;
    let names: Vec<String> = (0..2_000).map(|n| format!("blog/{n}/index.html")).collect();
    let mut files: Vec<File> = names.iter().map(|n| page(n, n)).collect();
    let first = done(publish(&publisher, Trigger::Start, &files).await);
    assert_eq!(first.diff.added.len(), 2_000);
    assert_eq!(first.committed.seq, 1);

    files[7].body = Bytes::from("<h1>new</h1>".repeat(50));
    bucket.forget_requests();
    let second = done(publish(&publisher, Trigger::Watch, &files).await);
    assert_eq!(second.diff.changed, ["blog/7/index.html"]);
    let requests = bucket.requests();
    let count = |part: &str| requests.iter().filter(|(_, key)| key.contains(part)).count();
    let (blobs, nodes) = (count("/blobs/"), count("/trees/"));
    // The page with its codings, and its source; a leaf and the root of both trees.
    assert_eq!(blobs, 2, "{requests:?}");
    assert!(nodes <= 6, "{requests:?}");
    assert!(requests.len() <= blobs + nodes + 4, "{requests:?}");

    // The release is what was handed over.
    let release = publisher.reader.release(&second.release).await.unwrap();
    assert_eq!(release.parent, Some(first.release));
    let entries = publisher.reader.entries(release.root).await.unwrap();
    assert_eq!(entries.len(), 2_000);
    let entry = &entries["blog/7/index.html"];
    assert_eq!(entry.fields, [("content-type".to_owned(), "text/html; charset=utf-8".to_owned())]);
    let body = publisher.reader.content(&entry.content, &entry.content.identity).await.unwrap();
    assert_eq!(body, files[7].body);
}

#[tokio::test]
async fn what_changes_nothing_makes_no_release() {
    let World { bucket, publisher } = world().await;
    let files = pages(&[("index.html", "a"), ("b/index.html", "b")]);
    let first = done(publish(&publisher, Trigger::Manual, &files).await);
    bucket.forget_requests();
    let again = publish(&publisher, Trigger::Manual, &files).await.unwrap();
    assert_eq!(again, Outcome::Unchanged(first.release.clone()));
    assert_eq!(bucket.requests(), []);

    // New data and new sources that show nowhere: only who asks for a publish gets one.
    for (trigger, released) in [(Trigger::Watch, false), (Trigger::Manual, true)] {
        let draft = publisher.begin(trigger.clone(), Arc::default()).await.unwrap();
        hand_over(&draft, &files);
        draft.sink().data("data/rows.json", Bytes::from(format!("{trigger:?}"))).unwrap();
        draft.sink().source("content/draft.md", Bytes::from_static(b"later")).unwrap();
        let outcome = draft.finish(about()).await.unwrap();
        assert_eq!(matches!(&outcome, Outcome::Published(d) if d.diff.is_empty()), released, "{trigger:?}");
    }
    let sources = publisher.sources(&BTreeMap::new()).await.unwrap().unwrap();
    let named: Vec<_> = sources.iter().map(|s| (s.path.as_str(), s.data)).collect();
    let expected =
        [("content/b/index.html", false), ("content/draft.md", false), ("content/index.html", false)];
    assert_eq!(named, expected);
    let data = publisher.data("data/").await.unwrap();
    let named: Vec<_> = data.iter().map(|s| (s.path.as_str(), &s.bytes[..], s.data)).collect();
    assert_eq!(named, [("data/rows.json", &b"Manual"[..], true)]);

    // A page that will fall due is something to know.
    let draft = publisher.begin(Trigger::Watch, Arc::default()).await.unwrap();
    hand_over(&draft, &files);
    let due = About { next_change: Some(Timestamp::from_second(1_900_000_000).unwrap()), ..about() };
    assert!(matches!(draft.finish(due).await.unwrap(), Outcome::Published(_)));
}

#[tokio::test]
async fn equal_content_has_an_equal_root_whatever_came_before() {
    let (a, b) = (world().await, world().await);
    let files = pages(&[("index.html", "a"), ("b/index.html", "b")]);
    let fresh = done(publish(&a.publisher, Trigger::Manual, &files).await).release;
    let other = [File { fields: vec![], ..page("x", "a") }, page("y.html", "b")];
    done(publish(&b.publisher, Trigger::Manual, &other).await);
    let later = done(publish(&b.publisher, Trigger::Manual, &files).await).release;
    let root = |w: &World, id| {
        let reader = Arc::clone(&w.publisher.reader);
        async move { reader.release(&id).await.unwrap().root }
    };
    assert_eq!(root(&a, fresh).await, root(&b, later).await);
}

#[tokio::test]
async fn hashed_assets_outlive_the_release_that_made_them() {
    let World { publisher, .. } = world().await;
    let asset = |name: &str| File { immutable: true, ..page(name, name) };
    done(publish(&publisher, Trigger::Manual, &[page("index.html", "1"), asset("a.1.css")]).await);
    done(publish(&publisher, Trigger::Manual, &[page("index.html", "2"), asset("a.2.css")]).await);
    let active = publisher.journal.seen().state.active.clone().unwrap();
    let assets = publisher.reader.entries(active.assets).await.unwrap();
    assert_eq!(assets.keys().collect::<Vec<_>>(), ["a.1.css", "a.2.css"]);
    assert!(assets["a.1.css"].policy.browser.contains("immutable"));
}

#[tokio::test]
async fn of_two_publishers_the_loser_is_told_and_wins_the_next_time() {
    let World { bucket, publisher } = world().await;
    let other = self::publisher(&bucket).await;
    let draft = publisher.begin(Trigger::Manual, Arc::default()).await.unwrap();
    hand_over(&draft, &pages(&[("index.html", "mine")]));
    let theirs = done(publish(&other, Trigger::Manual, &pages(&[("index.html", "theirs")])).await);
    let error = draft.finish(about()).await.unwrap_err();
    let Error::Outdated { winner: Some(winner), .. } = error else { panic!("{error}") };
    assert_eq!(winner.release, theirs.release);
    let mine = done(publish(&publisher, Trigger::Manual, &pages(&[("index.html", "mine")])).await);
    assert_eq!(mine.diff.changed, ["index.html"]);
    assert_eq!(mine.committed.seq, 2);
}

#[tokio::test]
async fn a_path_twice_is_an_error() {
    let World { publisher, .. } = world().await;
    let draft = publisher.begin(Trigger::Manual, Arc::default()).await.unwrap();
    draft.sink().file(page("a", "1")).unwrap();
    let error = draft.sink().file(page("a", "1")).unwrap_err();
    assert_eq!(error.to_string(), "two files are to be served at `a`");
    let error = draft
        .sink()
        .file(File { fields: vec![("location".into(), "a\r\nb".into())], ..page("b", "") })
        .unwrap_err();
    assert!(matches!(error, Error::BadField { .. }));
    assert!(matches!(draft.sink().file(page("../a", "")), Err(Error::BadPath(_))));
}

#[tokio::test]
async fn an_upload_that_fails_leaves_the_old_release() {
    let World { bucket, publisher } = world().await;
    done(publish(&publisher, Trigger::Manual, &pages(&[("index.html", "1")])).await);
    bucket.fail([Fault { op: "put", done: false }]);
    let files = pages(&[("index.html", "2")]);
    let error = publish(&publisher, Trigger::Manual, &files).await.unwrap_err();
    assert!(matches!(error, Error::Bucket(_)), "{error}");
    assert_eq!(publisher.journal.look().await.unwrap().state.seq, 1);
    assert_eq!(done(publish(&publisher, Trigger::Manual, &files).await).committed.seq, 2);
}

#[tokio::test]
async fn a_rollback_holds_back_what_nobody_asked_for() {
    let World { publisher, .. } = world().await;
    let files = pages(&[("index.html", "1")]);
    let first = done(publish(&publisher, Trigger::Manual, &files).await);
    let record = publisher.reader.release(&first.release).await.unwrap();
    let rollback = Effect::Activate(Activation {
        release: first.release.clone(),
        root: record.root,
        assets: record.assets,
        hosts: vec![],
        base: Some(1),
        cause: Cause::Rollback,
    });
    publisher.journal.commit(vec![rollback]).await.unwrap();
    let error = publish(&publisher, Trigger::Watch, &files).await.unwrap_err();
    assert!(matches!(error, Error::Held { .. }), "{error}");
    done(publish(&publisher, Trigger::Manual, &pages(&[("index.html", "2")])).await);
    assert!(!publisher.journal.seen().state.held);
}

/// A site of as many pages, published by a process that is gone.
async fn published_before(pages: usize) -> (Arc<MemoryBucket>, Vec<File>) {
    let bucket = Arc::new(MemoryBucket::default());
    let names: Vec<String> = (0..pages).map(|n| format!("blog/{n}/index.html")).collect();
    let files: Vec<File> = names.iter().map(|n| page(n, n)).collect();
    done(publish(&publisher(&bucket).await, Trigger::Manual, &files).await);
    bucket.forget_requests();
    (bucket, files)
}

#[tokio::test]
async fn a_process_that_just_started_reads_and_writes_what_differs() {
    let (bucket, mut files) = published_before(2_000).await;
    let count = |op: &str, part: &str| {
        bucket.requests().iter().filter(|(o, key)| *o == op && key.contains(part)).count()
    };

    // Nothing differs: the roots say so.
    let fresh = publisher(&bucket).await;
    assert!(matches!(publish(&fresh, Trigger::Manual, &files).await.unwrap(), Outcome::Unchanged(_)));
    assert_eq!((count("get", "/trees/"), count("put", "")), (2, 0), "{:?}", bucket.requests());

    // A page differs: its leaf and the root of both trees, and its blob and its source's.
    files[7].body = Bytes::from("<h1>new</h1>".repeat(50));
    bucket.forget_requests();
    let fresh = publisher(&bucket).await;
    let second = done(publish(&fresh, Trigger::Manual, &files).await);
    assert_eq!(second.diff.changed, ["blog/7/index.html"]);
    let (read, written) = (count("get", "/trees/"), count("put", "/trees/"));
    assert_eq!((read, written, count("get", "/blobs/"), count("put", "/blobs/")), (4, 4, 0, 2));

    // The tree is the one that a first publish would have made.
    let again = Arc::new(MemoryBucket::default());
    let whole = done(publish(&publisher(&again).await, Trigger::Manual, &files).await);
    let (a, b) = (fresh.reader.release(&second.release).await.unwrap(), publisher(&again).await);
    let b = b.reader.release(&whole.release).await.unwrap();
    assert_eq!((a.root, a.sources, a.counts), (b.root, b.sources, b.counts));
}

#[tokio::test]
async fn what_moved_is_not_uploaded_again() {
    let (bucket, mut files) = published_before(300).await;
    files[7].path = "elsewhere/index.html".into();
    files[7].groups.clear();
    let moved = done(publish(&publisher(&bucket).await, Trigger::Manual, &files).await);
    assert_eq!((moved.diff.added.len(), moved.diff.removed.len()), (1, 1));
    assert!(!bucket.requests().iter().any(|(op, key)| *op == "put" && key.contains("/blobs/")));
}

#[tokio::test]
async fn a_copy_is_not_uploaded_again() {
    let World { bucket, publisher } = world().await;
    let mut files = pages(&[("a/index.html", "a"), ("b/index.html", "b")]);
    done(publish(&publisher, Trigger::Manual, &files).await);
    files.push(File { path: "copy/index.html".into(), ..files[0].clone() });
    bucket.forget_requests();
    let copied = done(publish(&publisher, Trigger::Manual, &files).await);
    assert_eq!(copied.diff.added, ["copy/index.html"]);
    assert!(!bucket.requests().iter().any(|(op, key)| *op == "put" && key.contains("/blobs/")));
    // Once the original has changed, the base has the content at the copy alone.
    files[0] = page("a/index.html", "new");
    done(publish(&publisher, Trigger::Manual, &files).await);
    files.remove(2);
    done(publish(&publisher, Trigger::Manual, &files).await);
    files.push(page("c/index.html", "a"));
    bucket.forget_requests();
    done(publish(&publisher, Trigger::Manual, &files).await);
    let blobs = bucket.requests().iter().filter(|(op, key)| *op == "put" && key.contains("/blobs/")).count();
    assert_eq!(blobs, 2, "what no base reaches any more is uploaded again, the page and its source");
}

#[tokio::test]
async fn a_renderer_may_hand_over_what_differs_alone() {
    let (bucket, files) = published_before(2_000).await;
    let round = async |publisher: &Arc<Publisher>| {
        let draft = publisher.begin(Trigger::Watch, Arc::default()).await.unwrap();
        let sink = draft.sink();
        // One that differs, one that does not, one that is new, one that is gone, one that never was.
        let text = draft.base_seq().unwrap().to_string();
        sink.file(page("blog/7/index.html", &text)).unwrap();
        sink.file(files[8].clone()).unwrap();
        sink.file(page(&format!("new/{text}"), "new")).unwrap();
        sink.remove(&format!("blog/{text}/index.html")).unwrap();
        sink.remove("never").unwrap();
        sink.source("content/new", Bytes::from(text.clone())).unwrap();
        draft.keep_other_files().unwrap();
        draft.keep_other_sources().unwrap();
        let done = done(draft.finish(about()).await);
        assert_eq!(done.diff.added, [format!("new/{text}")]);
        assert_eq!(done.diff.changed, ["blog/7/index.html"]);
        assert_eq!(done.diff.removed, [format!("blog/{text}/index.html")]);
        let release = publisher.reader.release(&done.release).await.unwrap();
        assert_eq!(release.counts.paths, 2_000);
        let entries = publisher.reader.entries(release.root).await.unwrap();
        assert_eq!(entries.len(), 2_000);
        let bytes: u64 = entries.values().map(|e| e.content.identity.length).sum();
        assert_eq!(release.counts.bytes, bytes);
        assert_eq!(publisher.reader.entries(release.sources).await.unwrap().len(), 2_001);
    };
    // One that has just started, the same again, and another that has just started.
    let one = self::publisher(&bucket).await;
    round(&one).await;
    round(&one).await;
    round(&self::publisher(&bucket).await).await;
    // Nothing that differs at all.
    let publisher = self::publisher(&bucket).await;
    let draft = publisher.begin(Trigger::Watch, Arc::default()).await.unwrap();
    draft.sink().file(files[9].clone()).unwrap();
    draft.keep_other_files().unwrap();
    draft.keep_other_sources().unwrap();
    assert!(matches!(draft.finish(about()).await.unwrap(), Outcome::Unchanged(_)));
}

#[tokio::test]
async fn what_waits_to_be_compared_has_a_bound() {
    let bucket = Arc::new(MemoryBucket::default());
    let body = Bytes::from(vec![7; 1 << 20]);
    let file = |n: u64| File { body: body.clone(), fields: vec![], ..page(&format!("image/{n}.png"), "") };
    let mut files: Vec<File> = (0..=WAITING_BYTES_MAX >> 20).map(file).collect();
    let publish = async |publisher: &Arc<Publisher>, files: &[File]| {
        let draft = publisher.begin(Trigger::Manual, Arc::default()).await.unwrap();
        let (sink, files) = (draft.sink(), files.to_vec());
        let over = move || files.into_iter().try_for_each(|file| sink.file(file));
        tokio::task::spawn_blocking(over).await.unwrap().unwrap();
        draft.finish(about()).await.unwrap()
    };
    publish(&publisher(&bucket).await, &files).await;
    files[3].body = Bytes::from_static(b"another");
    let Outcome::Published(done) = publish(&publisher(&bucket).await, &files).await else { panic!() };
    assert_eq!(done.diff, Diff { changed: vec!["image/3.png".into()], ..Diff::default() });
    assert!(matches!(publish(&publisher(&bucket).await, &files).await, Outcome::Unchanged(_)));
}

#[tokio::test]
async fn a_plan_uploads_nothing() {
    let World { bucket, publisher } = world().await;
    done(publish(&publisher, Trigger::Manual, &pages(&[("index.html", "1"), ("old", "1")])).await);
    bucket.forget_requests();
    let draft = publisher.begin_plan(Arc::new(Policies::default())).await.unwrap();
    hand_over(&draft, &pages(&[("index.html", "2"), ("new", "1")]));
    let plan = draft.plan(about()).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let diff = Diff { added: names(&["new"]), changed: names(&["index.html"]), removed: names(&["old"]) };
    assert_eq!(plan.diff, diff);
    assert!(plan.changes && plan.uploads >= 3, "{plan:?}");
    assert!(bucket.requests().iter().all(|(op, _)| *op == "get"), "{:?}", bucket.requests());
}

/// Everything that the active release serves, read by someone who has never seen it.
async fn served(bucket: &Arc<MemoryBucket>) -> Option<BTreeMap<String, Bytes>> {
    let fresh = publisher(bucket).await;
    let active = fresh.journal.seen().state.active.clone()?;
    let record = fresh.reader.release(&active.release).await.unwrap();
    assert_eq!((record.root, record.assets), (active.root, active.assets));
    let mut all = BTreeMap::new();
    for (path, entry) in fresh.reader.entries(active.root).await.unwrap() {
        for coding in entry.content.codings() {
            fresh.reader.content(&entry.content, coding).await.unwrap();
        }
        let body = fresh.reader.content(&entry.content, &entry.content.identity).await.unwrap();
        all.insert(path, body);
    }
    for source in fresh.sources(&BTreeMap::new()).await.unwrap().unwrap() {
        assert!(!source.bytes.is_empty());
    }
    Some(all)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    /// Whatever requests are lost, and wherever the publish is cut off: the site is the old one or
    /// the new one, whole, and the next publish succeeds.
    #[test]
    fn a_publish_that_goes_wrong_leaves_a_whole_site(
        faults in proptest::collection::vec((0usize..3, proptest::bool::ANY), 0..8),
        cut_off_after in proptest::option::of(0usize..30),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let World { bucket, publisher } = world().await;
            let old = pages(&[("index.html", "old"), ("same", "same")]);
            let new = pages(&[("index.html", "new"), ("same", "same"), ("more", "more")]);
            let bodies = |files: &[File]| -> BTreeMap<String, Bytes> {
                files.iter().map(|f| (f.path.clone(), f.body.clone())).collect()
            };
            done(publish(&publisher, Trigger::Manual, &old).await);
            bucket.forget_requests();
            bucket.fail(faults.into_iter().map(|(op, done)| Fault { op: ["put", "create", "get"][op], done }));
            let publishing = tokio::spawn({
                let publisher = Arc::clone(&publisher);
                let new = new.clone();
                async move { publish(&publisher, Trigger::Manual, &new).await }
            });
            if let Some(requests) = cut_off_after {
                while bucket.requests().len() < requests && !publishing.is_finished() {
                    tokio::task::yield_now().await;
                }
                publishing.abort();
            }
            let result = publishing.await;
            // A write of the journal that is under way goes on by itself.
            publisher.journal.idle().await;
            bucket.mend();
            let now = served(&bucket).await.unwrap();
            match result {
                Ok(Ok(_)) => proptest::prop_assert_eq!(&now, &bodies(&new)),
                Ok(Err(Error::Unknown { .. })) | Err(_) => {
                    proptest::prop_assert!(now == bodies(&new) || now == bodies(&old));
                }
                Ok(Err(_)) => proptest::prop_assert_eq!(&now, &bodies(&old)),
            }
            let next = self::publisher(&bucket).await;
            let last = pages(&[("index.html", "last")]);
            done(publish(&next, Trigger::Manual, &last).await);
            proptest::prop_assert_eq!(served(&bucket).await.unwrap(), bodies(&last));
            Ok(())
        })?;
    }
}
