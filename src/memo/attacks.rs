//! Whatever is done to what renderers keep in a bucket: who begins with it makes what a renderer makes that knows nothing,
//! and leaves it whole for the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use release::File;
use release::bucket::memory::{Fault, MemoryBucket};
use renderer::{Handed, Input, Options, Readers, Sink, SinkClosed, Sources, Summary};

use super::*;

/// Buckets that something is done to, unless `BAKE_TEST_ROUNDS` says how many.
const ROUNDS: u64 = 80;
/// So few that a memo has several parts.
const PART_BYTES: usize = 700;
const MEMORY_BYTES: usize = 1 << 20;
const PAGES: u64 = 5;

type Outputs = BTreeMap<String, File>;

#[derive(Default)]
struct Taken(Mutex<(Outputs, Vec<String>)>);

impl Sink for Taken {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        self.0.lock().unwrap().0.insert(file.path.clone(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        self.0.lock().unwrap().1.push(path.to_owned());
        Ok(())
    }
}

/// A site that lists its pages, in one of many states; each differs from all others in some page and some block of code.
fn site(name: &str, state: u64) -> Input {
    let mut files = vec![
        ("zola.toml".to_owned(), format!("base_url = \"https://{name}.example\"\n")),
        ("content/_index.md".to_owned(), "+++\ntitle = \"Home\"\n+++\n".to_owned()),
        (
            "templates/index.html".to_owned(),
            "{% for p in section.pages %}{{ p.title }} {% endfor %}".to_owned(),
        ),
        ("templates/page.html".to_owned(), "{{ page.title }}{{ page.content | safe }}".to_owned()),
    ];
    for page in 0..PAGES {
        // A state has another text on one page, another title on one, and lacks one.
        let differs = |by: u64| if (state + by) % PAGES == page { state } else { 0 };
        if state > 0 && (state + 2) % PAGES == page {
            continue;
        }
        let text = format!(
            "+++\ntitle = \"{page} of {name}, {}\"\n+++\n```rust\nfn f{page}() -> u64 {{\n    {}\n}}\n```\n",
            differs(1),
            differs(0)
        );
        files.push((format!("content/p{page}.md"), text));
    }
    Input {
        sources: Sources::from_files(files.into_iter().map(|(path, text)| (path, Bytes::from(text)))),
        data: Arc::default(),
        row_pages: Arc::default(),
        faults: renderer::data::Faults::default(),
        now: "2026-06-01T12:00:00Z".parse().unwrap(),
        options: Options::default(),
    }
}

fn clean(input: &Input) -> Outputs {
    let taken = Taken::default();
    Renderer::for_one_render(MEMORY_BYTES).render(input, None, &taken).unwrap();
    taken.0.into_inner().unwrap().0
}

/// The root that the manifest of a release in that state would have.
fn root(name: &str, state: u64) -> Digest {
    Digest::of(format!("{name} {state}").as_bytes())
}

/// Renders with what another renderer knew, if anything; what comes of it for who has the outputs of that one.
fn render(
    known: Option<(Arc<Renderer>, RenderId)>,
    blocks: Arc<BucketBlocks>,
    input: &Input,
    before: Outputs,
) -> (Arc<Renderer>, Summary, Outputs) {
    let (renderer, since) = match known {
        Some((renderer, render)) => (renderer, Some(render)),
        None => (Arc::new(Renderer::new(MEMORY_BYTES).with_blocks(blocks)), None),
    };
    let taken = Taken::default();
    let summary = renderer.render(input, since, &taken).unwrap();
    let (put, removed) = taken.0.into_inner().unwrap();
    let mut outputs = if summary.handed == Handed::All { Outputs::new() } else { before };
    removed.iter().for_each(|path| drop(outputs.remove(path)));
    outputs.extend(put);
    (renderer, summary, outputs)
}

/// A publisher that has just started.
struct Publisher {
    bucket: Arc<MemoryBucket>,
    site: Site,
}

impl Publisher {
    fn memos(&self) -> Memos<'_> {
        Memos { part_bytes_max: PART_BYTES, ..Memos::new(&*self.bucket, &self.site, None) }
    }

    /// Publishes a state on top of the one before, and keeps what it knows. How many outputs it rendered.
    async fn publish(&self, state: u64) -> usize {
        let name = self.site.to_string();
        // The worker goes on without what cannot be read.
        let loaded = self
            .memos()
            .load(state - 1, root(&name, state - 1), &Rules::default(), MEMORY_BYTES)
            .await
            .unwrap_or_default();
        let bucket: Arc<dyn Bucket> = self.bucket.clone();
        let blocks = Arc::new(BucketBlocks::new(bucket, self.site.clone()));
        let mut before = Outputs::new();
        let known = loaded.map(|known| {
            // It is of a release of this site, and says of which.
            assert_eq!(known.root, root(&name, known.seq));
            before = clean(&site(&name, known.seq));
            (Arc::new(known.renderer.with_blocks(blocks.clone())), known.render)
        });
        let (is_new, input) = (known.is_none(), site(&name, state));
        let work = move || {
            let (renderer, summary, outputs) = render(known, blocks, &input, before);
            assert!(outputs == clean(&input), "not what a clean render makes");
            assert_eq!(summary.handed == Handed::All, is_new);
            (renderer, summary, input)
        };
        let (renderer, summary, input) = tokio::task::spawn_blocking(work).await.unwrap();
        let rendered = summary.rendered;
        // Faults that are still to come are for this.
        drop(self.keep(&renderer, &input, &summary, state).await);
        self.bucket.mend();
        self.keep(&renderer, &input, &summary, state).await.unwrap();
        rendered
    }

    async fn keep(
        &self,
        renderer: &Arc<Renderer>,
        input: &Input,
        summary: &Summary,
        state: u64,
    ) -> anyhow::Result<()> {
        let keeping = Arc::clone(renderer);
        tokio::task::spawn_blocking(move || keeping.keep_blocks()).await??;
        let (renderer, input, summary) = (Arc::clone(renderer), input.clone(), summary.clone());
        let write =
            move |out: &mut (dyn Write + Send)| renderer.write_memo(&input, &summary, Readers::All, out);
        let memos = self.memos();
        let root = root(&self.site.to_string(), state);
        memos.put(state, &memos.pack(state, root, &Rules::default(), write).await?).await
    }
}

/// Does something to one object of many, with the objects of a bucket that another site has.
fn attack(random: &mut StdRng, bucket: &MemoryBucket, others: &BTreeMap<String, Bytes>, huge: &Bytes) {
    let keys: Vec<String> = bucket.keys().into_iter().filter(|key| key.contains("/main/memo/")).collect();
    let (Some(one), Some(two)) = (keys.choose(random), keys.choose(random)) else { return };
    let bytes = bucket.object(one).unwrap();
    let set = |key: &str, bytes: Vec<u8>| bucket.tamper(key, Some(bytes.into()));
    let at = random.random_range(0..bytes.len().max(1));
    match random.random_range(0..14) {
        0 => set(one, bytes[..at.min(bytes.len())].to_vec()),
        1 if !bytes.is_empty() => {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << random.random_range(0..8);
            set(one, bytes);
        }
        2 => {
            let other = bucket.object(two).unwrap();
            bucket.tamper(one, Some(other));
            bucket.tamper(two, Some(bytes));
        }
        3 => bucket.tamper(two, Some(bytes)),
        4 => bucket.tamper(one, None),
        5 => keys.iter().for_each(|key| bucket.tamper(key, None)),
        6 => set(one, (0..random.random_range(0..4_000)).map(|_| random.random()).collect()),
        7 => bucket.tamper(one, Some(huge.clone())),
        8 => set(one, Vec::new()),
        9 => set(one, [&bytes[..], &bytes[..]].concat()),
        // What another site has in this place, or in any.
        10 => bucket.tamper(one, others.get(&one.replace("/main/", "/other/")).cloned()),
        11 => {
            let others: Vec<&Bytes> = others.values().collect();
            bucket.tamper(one, others.choose(random).map(|other| Bytes::clone(other)));
        }
        // Keys that nobody wrote.
        12 => {
            for key in ["00000000000000000002/0009", "99999999999999999999/0000", "x", "blocks/x", "7/0000"] {
                bucket.tamper(&format!("sites/main/memo/{key}"), Some(bytes.clone()));
            }
        }
        _ => {
            let op = *["get", "list", "put", "delete"].choose(random).unwrap();
            bucket.fail((0..random.random_range(1..6)).map(|_| Fault { op, done: random.random() }));
        }
    }
}

fn all(bucket: &MemoryBucket) -> BTreeMap<String, Bytes> {
    bucket.keys().into_iter().map(|key| (key.clone(), bucket.object(&key).unwrap())).collect()
}

/// An older program has left its memo, and nothing is wrong with that.
#[tokio::test]
async fn a_memo_of_the_first_format_is_old_and_not_damaged() {
    let publisher = Publisher { bucket: Arc::default(), site: "main".parse().unwrap() };
    let head = format!("{{\"version\":1,\"seq\":3,\"root\":\"{}\"}}\n", Digest::of(b""));
    publisher.bucket.put(&publisher.site.memo(3, 0), Bytes::from(head.repeat(4))).await.unwrap();
    assert_eq!(publisher.memos().whole(3).await.unwrap(), Err(Useless::OtherProgram));
    publisher.bucket.put(&publisher.site.memo(4, 0), Bytes::from("{".repeat(400))).await.unwrap();
    assert_eq!(publisher.memos().whole(4).await.unwrap(), Err(Useless::Damaged));
}

#[test]
fn whatever_is_done_to_it_costs_time_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let of = |site: &str| Publisher { bucket: Arc::default(), site: site.parse().unwrap() };
        let (main, other) = (of("main"), of("other"));
        let all_of_them = main.publish(1).await;
        for state in 2..4 {
            assert!(main.publish(state).await < all_of_them);
        }
        assert_eq!(main.memos().list().await.unwrap().keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert!(main.memos().list().await.unwrap().values().all(|parts| parts.len() > 2));
        other.publish(1).await;
        other.publish(2).await;
        other.publish(3).await;
        let (whole, others) = (all(&main.bucket), all(&other.bucket));
        let huge = Bytes::from(vec![7; release::bucket::OBJECT_BYTES_MAX as usize + 1]);
        let rounds = std::env::var("BAKE_TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
        let mut warm = 0;
        for seed in 0..rounds {
            let mut random = StdRng::seed_from_u64(seed);
            main.bucket.keys().iter().for_each(|key| main.bucket.tamper(key, None));
            whole.iter().for_each(|(key, bytes)| main.bucket.tamper(key, Some(bytes.clone())));
            main.bucket.mend();
            for _ in 0..random.random_range(1..4) {
                attack(&mut random, &main.bucket, &others, &huge);
            }
            let round = main.publish(4);
            let rendered = tokio::time::timeout(Duration::from_secs(20), round).await;
            warm += usize::from(rendered.unwrap_or_else(|_| panic!("round {seed} hangs")) < all_of_them);
            // The next one begins with what this one has kept.
            let next = main.publish(5).await;
            assert!(next < all_of_them, "round {seed}: {next} rendered");
        }
        assert!(warm > 0 && warm < rounds as usize, "{warm}");
    });
}
