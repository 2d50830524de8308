//! Manifests written to a bucket and read back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use release::answer::{Resolution, resolve};
use release::bucket::Bucket;
use release::bucket::memory::MemoryBucket;
use release::reader::{ReadError, Reader};
use release::tree::{Diff, Tree};
use release::{Coding, CodingName, Content, Digest, Entry, Policy};

type Items = BTreeMap<String, Arc<Entry>>;

fn entry(text: &str) -> Arc<Entry> {
    let identity = Coding::of(CodingName::Identity, 0, text.as_bytes());
    Arc::new(Entry {
        status: 200,
        fields: vec![],
        content: Content { blob: identity.digest, identity, coded: vec![] },
        groups: vec![],
        policy: Policy { browser: "max-age=0".into(), edge: "max-age=60".into() },
    })
}

async fn store(bucket: &MemoryBucket, items: &Items) -> Digest {
    let tree = Tree::build(items);
    for (digest, bytes) in tree.nodes {
        bucket.put(&format!("sites/main/trees/{digest}"), bytes).await.unwrap();
    }
    tree.root
}

fn reader(bucket: &Arc<MemoryBucket>) -> Reader {
    Reader::new(bucket.clone(), "main".parse().unwrap(), 64 << 20)
}

fn site(pages: usize) -> Items {
    (0..pages).map(|i| (format!("s{}/p{i}/index.html", i % 9), entry(&i.to_string()))).collect()
}

#[tokio::test]
async fn a_diff_reads_only_the_nodes_that_differ() {
    let bucket = Arc::new(MemoryBucket::default());
    let mut items = site(20_000);
    let before = store(&bucket, &items).await;
    items.insert("s4/p4/index.html".into(), entry("changed"));
    let after = store(&bucket, &items).await;
    bucket.forget_requests();
    let reader = reader(&bucket);
    let diff = reader.diff(before, after).await.unwrap();
    assert_eq!(diff, Diff { changed: vec!["s4/p4/index.html".into()], ..Diff::default() });
    let reads = bucket.requests().len();
    assert!(reads <= 6, "{reads} nodes were read");
}

#[tokio::test]
async fn paths_resolve_as_a_web_server_would() {
    let bucket = Arc::new(MemoryBucket::default());
    let items: Items = ["index.html", "a/index.html", "b", "404.html"]
        .into_iter()
        .map(|p| (p.to_owned(), entry(p)))
        .collect();
    let root = store(&bucket, &items).await;
    let assets = store(&bucket, &[("old.123.css".to_owned(), entry("css"))].into()).await;
    let reader = reader(&bucket);
    for (path, expected) in [
        ("/", "found index.html"),
        ("/index.html", "found index.html"),
        ("/a/", "found a/index.html"),
        ("/a", "slash /a/"),
        ("/b", "found b"),
        ("/b/", "missing"),
        ("/old.123.css", "found old.123.css"),
        ("/c", "missing"),
    ] {
        let found = match resolve(&reader, root, assets, path).await.unwrap() {
            Resolution::Found { path, .. } => format!("found {path}"),
            Resolution::Slash { to, .. } => format!("slash {to}"),
            Resolution::Missing(page) => {
                assert!(page.is_some());
                "missing".into()
            }
        };
        assert_eq!(found, expected, "{path}");
    }
}

#[tokio::test]
async fn corrupted_and_missing_objects_are_named() {
    let bucket = Arc::new(MemoryBucket::default());
    let root = store(&bucket, &site(10)).await;
    let key = format!("sites/main/trees/{root}");
    bucket.tamper(&key, Some(Bytes::from_static(b"\x01nonsense")));
    let error = reader(&bucket).entry(root, "x").await.unwrap_err();
    assert!(matches!(&error, ReadError::Corrupted { key: k, .. } if *k == key), "{error}");
    bucket.tamper(&key, None);
    let error = reader(&bucket).entry(root, "x").await.unwrap_err();
    assert_eq!(error.to_string(), format!("the object `{key}` is missing from the bucket"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn trees_answer_as_maps_do(
        before in proptest::collection::btree_map("[a-c/]{1,5}", 0u8..3, 0..700),
        edits in proptest::collection::vec(("[a-c/]{1,5}", proptest::option::of(0u8..3)), 0..40),
        prefix in "[a-c/]{0,3}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let items = |m: &BTreeMap<String, u8>| -> Items {
            m.iter().map(|(k, v)| (k.clone(), entry(&v.to_string()))).collect()
        };
        let mut after = before.clone();
        for (path, value) in edits {
            match value {
                Some(value) => after.insert(path, value),
                None => after.remove(&path),
            };
        }
        let (a, b) = (items(&before), items(&after));
        runtime.block_on(async {
            let bucket = Arc::new(MemoryBucket::default());
            let (old, new) = (store(&bucket, &a).await, store(&bucket, &b).await);
            let reader = reader(&bucket);
            prop_assert_eq!(reader.diff(old, new).await.unwrap(), Diff::between(&a, &b));
            prop_assert_eq!(&reader.entries(new).await.unwrap(), &b);
            let under = reader.under(new, &prefix, 20).await.unwrap();
            let expected: Vec<_> = b.keys().filter(|k| k.starts_with(&prefix)).take(20).cloned().collect();
            prop_assert_eq!(under, expected);
            for path in before.keys().take(20) {
                let found = reader.entry(new, path).await.unwrap();
                prop_assert_eq!(found.as_ref(), b.get(path).map(|e| &**e));
            }
            Ok(())
        })?;
    }
}
