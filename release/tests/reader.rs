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
use release::tree::{Diff, Edits, Node, Rendered, Tree};
use release::{Coding, CodingName, Content, Digest, Entry, Policy};

type Items = BTreeMap<String, Arc<Entry>>;

fn entry(text: &str) -> Arc<Entry> {
    let identity = Coding::of(CodingName::Identity, 0, text.as_bytes());
    Arc::new(Entry {
        status: 200,
        fields: vec![],
        content: Content { blob: identity.digest, identity, coded: vec![] },
        groups: vec![],
        policy: Arc::new(Policy { browser: "max-age=0".into(), edge: "max-age=60".into() }),
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
async fn a_diff_and_an_edit_pass_over_what_differs_in_codings_alone() {
    let bucket = Arc::new(MemoryBucket::default());
    let mut items = site(5_000);
    let before = store(&bucket, &items).await;
    for entry in items.values_mut() {
        let mut recoded = Entry::clone(entry);
        recoded.content.coded.push(Coding::of(CodingName::Br, 1, b"recoded"));
        *entry = Arc::new(recoded);
    }
    let after = store(&bucket, &items).await;
    bucket.forget_requests();
    assert_eq!(reader(&bucket).diff(before, after).await.unwrap(), Diff::default());
    assert_eq!(bucket.requests().len(), 2, "the roots alone are read");

    bucket.forget_requests();
    let responses = items.iter().map(|(p, e)| (p.clone(), e.response(p).digest())).collect();
    let diff = reader(&bucket).diff_rendered(before, &Rendered::new(responses)).await.unwrap();
    assert_eq!((diff, bucket.requests().len()), (Diff::default(), 1));

    bucket.forget_requests();
    let edits = Edits::from([("s4/p4/index.html".to_owned(), Some(entry("changed")))]);
    let edited = reader(&bucket).edit(before, &edits).await.unwrap();
    assert_eq!((edited.nodes.len(), bucket.requests().len()), (2, 2), "a leaf and the root");
}

#[tokio::test]
async fn edits_move_the_cuts_of_every_level() {
    let bucket = Arc::new(MemoryBucket::default());
    let mut items = site(80_000);
    let bits = |path: &str| Digest::of(path.as_bytes()).trailing_zero_bits();
    // A path that ends an inner node, and another that the site lacks.
    let cut = items.keys().find(|p| bits(p) >= 16).unwrap().clone();
    let another = (0..).map(|n| format!("s5/q{n}/index.html")).find(|p| bits(p) >= 16).unwrap();
    let mut root = store(&bucket, &items).await;
    for edit in [
        (cut.clone(), None),
        (another.clone(), Some(entry("new"))),
        (cut, Some(entry("again"))),
        (another, None),
    ] {
        match &edit.1 {
            Some(entry) => items.insert(edit.0.clone(), Arc::clone(entry)),
            None => items.remove(&edit.0),
        };
        bucket.forget_requests();
        let edited = reader(&bucket).edit(root, &Edits::from([edit])).await.unwrap();
        let reads = bucket.requests().len();
        root = store(&bucket, &items).await;
        assert_eq!(edited.root, root);
        assert!(reads <= 8 && edited.nodes.len() <= 8, "{reads} read, {} written", edited.nodes.len());
    }
}

#[tokio::test]
async fn a_tree_of_the_first_version_is_read_and_brought_up() {
    let bucket = Arc::new(MemoryBucket::default());
    let mut items = site(3_000);
    let new = Tree::build(&items);
    store(&bucket, &items).await;
    // The same leaves, and the root as the first version wrote it.
    let Node::Inner(children) = Node::decode(&new.nodes[&new.root]).unwrap() else { panic!("one leaf") };
    #[derive(serde::Serialize)]
    enum NodeV1<'a> {
        #[expect(dead_code, reason = "its place in the order is part of the encoding")]
        Leaf,
        Inner(Vec<(&'a str, Digest, u64)>),
    }
    let old = children.iter().map(|c| (c.last.as_str(), c.node, c.paths)).collect();
    let old = Bytes::from(postcard::to_extend(&NodeV1::Inner(old), vec![1]).unwrap());
    let root = Digest::of(&old);
    bucket.put(&format!("sites/main/trees/{root}"), old).await.unwrap();
    let reader = reader(&bucket);
    assert_eq!(reader.entries(root).await.unwrap(), items);
    assert_eq!(reader.diff(root, new.root).await.unwrap(), Diff::default());
    assert_eq!(reader.diff(root, root).await.unwrap(), Diff::default());
    let edits = Edits::from([("s4/p4/index.html".to_owned(), Some(entry("changed")))]);
    let edited = reader.edit(root, &edits).await.unwrap();
    items.insert("s4/p4/index.html".into(), entry("changed"));
    assert_eq!(edited.root, Tree::build(&items).root);
    assert_eq!(edited.nodes.len(), 2, "leaves are written as before, and are there");
}

#[tokio::test]
async fn paths_resolve_as_a_web_server_would() {
    let bucket = Arc::new(MemoryBucket::default());
    let mut items: Items = ["index.html", "a/index.html", "b", "404.html"]
        .into_iter()
        .map(|p| (p.to_owned(), entry(p)))
        .collect();
    let mut moved = (*entry("moved")).clone();
    (moved.status, moved.fields) = (301, vec![("location".into(), "/a/".into())]);
    items.insert("m/index.html".into(), Arc::new(moved));
    let root = store(&bucket, &items).await;
    let assets = store(&bucket, &[("old.123.css".to_owned(), entry("css"))].into()).await;
    let reader = reader(&bucket);
    for (path, expected) in [
        ("/", "found index.html"),
        ("/index.html", "found index.html"),
        ("/a/", "found a/index.html"),
        ("/a", "slash /a/"),
        ("/m/", "found m/index.html"),
        ("/m", "found m/index.html"),
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
            let diff = Diff::between(&a, &b);
            prop_assert_eq!(&reader.diff(old, new).await.unwrap(), &diff);
            let responses = b.iter().map(|(p, e)| (p.clone(), e.response(p).digest())).collect();
            let rendered = Rendered::new(responses);
            prop_assert_eq!(&reader.diff_rendered(old, &rendered).await.unwrap(), &diff);
            let edits: Edits = diff.paths().map(|p| (p.to_owned(), b.get(p).cloned())).collect();
            let edited = reader.edit(old, &edits).await.unwrap();
            let (built, after) = (Tree::build(&a), Tree::build(&b));
            prop_assert_eq!(edited.root, after.root);
            prop_assert!(after.nodes.keys().all(|d| edited.nodes.contains_key(d) || built.nodes.contains_key(d)));
            prop_assert!(edited.nodes.keys().all(|d| after.nodes.contains_key(d)));
            let found = reader.found(new, diff.paths()).await.unwrap();
            prop_assert!(diff.paths().all(|p| found.get(p).map(|f| &**f) == b.get(p).map(|e| &**e)));
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
