use super::*;
use crate::{policy::freshness::lasting, purge::Applied};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use proptest::prelude::*;
use release::{journal::Selector, tree::Diff};

pub(crate) fn copy(store: &Store, key: &Key, tag: &str, size: usize) -> Stored {
    let mut head = HeaderMap::new();
    head.insert(header::ETAG, HeaderValue::from_str(tag).unwrap());
    let freshness = lasting(1_000);
    let body = Bytes::from(vec![b'x'; size]).into();
    let groups = ["g".into()];
    let common = store.common(key, &head, false);
    Stored::new(
        &key.target,
        common,
        StatusCode::OK,
        &head,
        body,
        &freshness,
        Selection::default(),
        0,
        &groups,
        0,
    )
}

fn key(path: &str) -> Key {
    Key::of_site(&"main".into(), path)
}

fn purge(log: &PurgeLog, store: &Store, entry: Applied) -> u64 {
    let entry = Arc::new(entry);
    log.push(Arc::clone(&entry));
    for index in 0..store.lists() {
        store.sweep_list(index, log);
    }
    entry.worsened()
}

#[test]
fn memory_is_bounded_and_the_hot_survive_a_scan() {
    let (store, log) = (Store::new(1 << 20), PurgeLog::default());
    let hot: Vec<Key> = (0..20).map(|n| key(&format!("/hot/{n}"))).collect();
    for key in &hot {
        store.insert(copy(&store, key, "\"a\"", 8_192), Began::default(), &log).unwrap();
    }
    for n in 0..2_000 {
        for key in &hot {
            store.find(key, &HeaderMap::new(), &log);
        }
        store
            .insert(copy(&store, &key(&format!("/scan/{n}")), "\"a\"", 8_192), Began::default(), &log)
            .unwrap();
        assert!(store.bytes() <= 1 << 20);
    }
    for key in &hot {
        assert!(store.find(key, &HeaderMap::new(), &log).live.is_some(), "{key:?}");
    }
    assert!(store.evictions() > 1_800);
    // Replacing one key for ever grows nothing.
    for _ in 0..10_000 {
        store.insert(copy(&store, &hot[0], "\"b\"", 100), Began::default(), &log).unwrap();
    }
    assert!(store.names() < 1_500 + store.entries());
}

/// However many threads answer with a copy at once: its count is that of the list, and nobody who answers changes it.
#[test]
fn a_hit_changes_no_count_that_threads_share() {
    const THREADS: usize = 4;
    let (store, log) = (Store::new(1 << 20), PurgeLog::default());
    let stored = store.insert(copy(&store, &key("/a"), "\"a\"", 8_192), Began::default(), &log).unwrap();
    let counts = |stored: &Arc<Stored>| (Arc::strong_count(stored), Arc::weak_count(stored));
    let books = || (store.bytes(), store.entries(), store.names());
    let (before, books_before) = (counts(&stored), books());
    let all_in = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..100 {
                    let seen = store.hit(
                        key("/a").borrowed(),
                        |_| Some(true),
                        &log,
                        |stored| {
                            all_in.wait();
                            let seen = counts(stored);
                            all_in.wait();
                            Some(seen)
                        },
                    );
                    assert_eq!(seen, Some(before));
                }
            });
        }
    });
    assert_eq!((counts(&stored), books()), (before, books_before));
}

#[test]
fn what_is_too_large_is_not_stored_and_evicts_nothing() {
    let (store, log) = (Store::new(1 << 20), PurgeLog::default());
    store.insert(copy(&store, &key("/a"), "\"a\"", 10), Began::default(), &log).unwrap();
    assert!(store.insert(copy(&store, &key("/b"), "\"a\"", 1 << 20), Began::default(), &log).is_err());
    assert_eq!(store.entries(), 1);
}

#[test]
fn what_is_being_sent_is_counted_until_it_was_sent() {
    let (store, log) = (Arc::new(Store::new(1 << 20)), PurgeLog::default());
    let large = |path: &str| store.insert(copy(&store, &key(path), "\"a\"", 300_000), Began::default(), &log);
    let books = |store: &Store| (store.bytes(), store.books().passing());
    let sent = large("/s").unwrap();
    let bytes = sent.bytes();
    assert_eq!(books(&store), (bytes, 0));
    // However many read it, it is in memory once.
    let readers = [sent.content(), sent.content()];
    drop(sent);
    assert_eq!(books(&store), (bytes, bytes));
    // Others go first, since it would give nothing back, and where all are read nothing does.
    for path in ["/a", "/b", "/c", "/d"] {
        large(path).unwrap();
        assert!(store.bytes() <= 1 << 20);
    }
    assert_eq!((store.entries(), store.evictions()), (3, 2));
    let held = |path: &str| store.look(&key(path), &HeaderMap::new(), &log).live;
    assert!(held("/s").is_some());
    // Of what was purged, the bytes are in use until it was sent.
    purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::Url("/s".into())], None));
    assert!(held("/s").is_none());
    assert_eq!(books(&store), (3 * bytes, bytes));
    let mut memory = store.reservation();
    assert!(memory.grow(50_000) && !memory.grow(1 << 20));
    assert_eq!((store.entries(), store.books().passing_beyond() > 0), (0, true));
    memory.hold(0);
    // What is merely stored makes room for what is too much, and nobody else has to.
    let stored = large("/e").unwrap().bytes();
    for (beyond, short) in [(0, 0), (stored, 0), (stored + 1, 1)] {
        store.books().measure(1_000 + beyond, 1_000);
        assert_eq!(store.books().short_bytes(), short);
    }
    purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::All], None));
    drop(readers);
    assert_eq!(books(&store), (0, 0));
}

#[test]
fn marks_only_get_stronger() {
    let (store, log) = (Store::new(1 << 20), PurgeLog::default());
    store.insert(copy(&store, &key("/a"), "\"a\"", 10), Began::default(), &log).unwrap();
    let url = [Selector::Url("/a".into())];
    let site = || Some("main".into());
    assert_eq!(purge(&log, &store, Applied::purge(site(), &url, Some(7))), 1);
    let soft = store.find(&key("/a"), &HeaderMap::new(), &log).live.unwrap();
    assert_eq!(soft.stale_from(), Some(7));
    drop(soft);
    assert_eq!(purge(&log, &store, Applied::purge(site(), &url, None)), 1);
    assert_eq!(purge(&log, &store, Applied::purge(site(), &url, Some(9))), 0);
    assert!(!store.find(&key("/a"), &HeaderMap::new(), &log).any);
    assert_eq!((store.entries(), store.bytes()), (0, 0));
}

#[test]
fn a_soft_purge_revives_nothing_that_a_hard_one_covers() {
    let url = [Selector::Url("/a".into())];
    // Both in force and neither swept: whoever reads the copy, or the sweep, finds out.
    for order in [[None, Some(9)], [Some(9), None]] {
        for is_swept in [false, true] {
            let (store, log) = (Store::new(1 << 20), PurgeLog::default());
            store.insert(copy(&store, &key("/a"), "\"a\"", 10), Began::default(), &log).unwrap();
            let held = Arc::clone(&store.copies(&key("/a"))[0]);
            for soft_at in order {
                log.push(Arc::new(Applied::purge(Some("main".into()), &url, soft_at)));
            }
            if is_swept {
                for index in 0..store.lists() {
                    store.sweep_list(index, &log);
                }
                assert_eq!((store.entries(), store.bytes()), (0, held.bytes()), "{order:?}");
            }
            assert_eq!(held.life(&log), Life::Dropped, "{order:?}");
            assert!(!store.find(&key("/a"), &HeaderMap::new(), &log).any, "{order:?}");
        }
    }
}

#[test]
fn a_fetch_that_an_entry_overtook_is_not_stored() {
    let (store, log) = (Store::new(1 << 20), PurgeLog::default());
    let started = log.now();
    purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::Group("g".into())], None));
    assert!(store.insert(copy(&store, &key("/a"), "\"a\"", 10), started, &log).is_err());
    assert!(store.insert(copy(&store, &key("/a"), "\"a\"", 10), log.now(), &log).is_ok());
    // A soft purge does as well: the copy would be stale at once, and must not pass for fresh.
    let started = log.now();
    purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::All], Some(1)));
    assert!(store.insert(copy(&store, &key("/b"), "\"a\"", 10), started, &log).is_err());
}

#[test]
fn superseded_bodies_are_found_again() {
    let (store, log) = (Store::new(1 << 20), PurgeLog::default());
    store.insert(copy(&store, &key("/"), "\"a\"", 10), Began::default(), &log).unwrap();
    let step = |changed: &str| {
        Applied::step("main".into(), &Diff { changed: vec![changed.into()], ..Diff::default() })
    };
    assert_eq!(purge(&log, &store, step("index.html")), 1);
    let found = store.find(&key("/"), &HeaderMap::new(), &log);
    assert!(found.live.is_none() && found.superseded.is_some());
    store.insert(copy(&store, &key("/"), "\"b\"", 10), log.now(), &log).unwrap();
    assert_eq!(purge(&log, &store, step("index.html")), 1);
    let found = store.find(&key("/"), &HeaderMap::new(), &log);
    assert!(found.with_tag(Tag { weak: false, opaque: b"a" }).is_some());
    assert!(found.with_tag(Tag { weak: false, opaque: b"b" }).is_some());
    // Back to the first: its kept copy gives way to the new one.
    store.insert(copy(&store, &key("/"), "\"a\"", 10), log.now(), &log).unwrap();
    assert_eq!(store.entries(), 2);
    // Another page's step touches nothing, and a removed page is not shown again.
    assert_eq!(purge(&log, &store, step("x/index.html")), 0);
    let removed = Diff { removed: vec!["index.html".into()], ..Diff::default() };
    assert_eq!(purge(&log, &store, Applied::step("main".into(), &removed)), 1);
    let found = store.find(&key("/"), &HeaderMap::new(), &log);
    assert!(found.live.is_none() && found.superseded.is_none() && found.bodies.len() == 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens in whatever order: the bound holds, nothing that a purge covers is found, and the books
    /// balance in the end.
    #[test]
    fn the_books_balance(ops in proptest::collection::vec((0u8..6, 0usize..20, 0usize..150_000), 1..200)) {
        let (store, log) = (Store::new(1 << 20), PurgeLog::default());
        for (op, n, size) in ops {
            let key = key(&format!("/{n}/"));
            let url = [Selector::Url(format!("/{n}/"))];
            let path = format!("{n}/index.html");
            let site = || Some("main".into());
            match op {
                0 | 1 => drop(store.insert(copy(&store, &key, &format!("\"{size}\""), size), log.now(), &log)),
                2 => drop(store.find(&key, &HeaderMap::new(), &log)),
                3 => {
                    purge(&log, &store, Applied::purge(site(), &url, None));
                    prop_assert!(!store.find(&key, &HeaderMap::new(), &log).any);
                }
                4 => {
                    let diff = Diff { changed: vec![path], ..Diff::default() };
                    purge(&log, &store, Applied::step("main".into(), &diff));
                    prop_assert!(store.find(&key, &HeaderMap::new(), &log).live.is_none());
                }
                _ => {
                    store.invalidate(&key, log.now(), &log);
                    prop_assert!(store.find(&key, &HeaderMap::new(), &log).live.is_none());
                }
            }
            prop_assert!(store.bytes() <= 1 << 20);
        }
        purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::All], None));
        prop_assert_eq!((store.bytes(), store.entries()), (0, 0));
    }
}
