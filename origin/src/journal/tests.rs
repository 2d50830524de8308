//! The writer against a bucket that loses requests and replies.

use proptest::prelude::*;
use release::bucket::memory::{Fault, MemoryBucket};
use release::journal::{Activation, Cause, Notice, Purge, Selector};
use release::record::Trigger;

use super::*;

fn site() -> Site {
    "main".parse().unwrap()
}

async fn open(bucket: &Arc<MemoryBucket>, by: &str) -> Arc<Journal> {
    Journal::open(bucket.clone(), site(), by.into(), None).await.unwrap()
}

fn purge(name: &str) -> Effect {
    Effect::Purge(Purge { selectors: vec![Selector::Group(name.into())], soft: false, reason: None })
}

fn activation(n: u32, base: Option<u64>) -> Effect {
    Effect::Activate(Activation {
        release: format!("20261123-181500-{n:08x}").parse().unwrap(),
        root: Digest::of(&n.to_be_bytes()),
        assets: Digest::of(b"assets"),
        hosts: vec![],
        base,
        cause: Cause::Publish(Trigger::Manual),
    })
}

/// Every entry in the bucket, read afresh.
async fn history(bucket: &MemoryBucket) -> (State, Vec<JournalEntry>) {
    let mut state = State::default();
    let mut all = Vec::new();
    loop {
        let read = log::advance(bucket, &site(), &mut state).await.unwrap();
        if read.is_empty() {
            return (state, all);
        }
        all.extend(read.into_iter().map(|n| n.entry));
    }
}

fn groups(entries: &[JournalEntry]) -> Vec<String> {
    let effects = entries.iter().flat_map(|e| &e.effects);
    let names = effects.filter_map(|e| match e {
        Effect::Purge(p) => Some(p.selectors[0].to_string()),
        Effect::Activate(a) => Some(a.release.to_string()),
        _ => None,
    });
    names.collect()
}

#[tokio::test]
async fn lost_replies_do_not_lose_entries() {
    for done in [false, true] {
        let bucket = Arc::new(MemoryBucket::default());
        let journal = open(&bucket, "a").await;
        bucket.fail([Fault { op: "create", done }]);
        let receipt = journal.commit(vec![purge("x")]).await.unwrap();
        assert_eq!(receipt.seq, 1);
        assert_eq!(groups(&history(&bucket).await.1), ["group x"], "done: {done}");
    }
}

#[tokio::test]
async fn giving_up_fills_the_number() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    bucket.fail([Fault { op: "create", done: false }; ATTEMPTS_MAX as usize]);
    let error = journal.commit(vec![purge("x")]).await.unwrap_err();
    assert!(matches!(error, Error::NotCommitted { seq: 1, .. }), "{error}");
    let (state, entries) = history(&bucket).await;
    assert_eq!((state.seq, entries[0].effects.len()), (1, 0));
    assert_eq!(journal.commit(vec![purge("y")]).await.unwrap().seq, 2);
}

#[tokio::test]
async fn silence_to_the_end_is_reported_as_unknown() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    let attempts = ATTEMPTS_MAX as usize * 2;
    bucket.fail([Fault { op: "create", done: true }].repeat(attempts));
    bucket.fail([Fault { op: "get", done: false }].repeat(attempts));
    let error = journal.commit(vec![purge("x")]).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { seq: 1, .. }), "{error}");
    // It was written after all, and the next commit finds it.
    assert_eq!(journal.commit(vec![purge("y")]).await.unwrap().seq, 2);
    assert_eq!(groups(&history(&bucket).await.1), ["group x", "group y"]);
}

#[tokio::test]
async fn a_request_that_arrives_after_it_was_given_up_on_counts_once() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    // All replies are lost, and all reads but the last, which the filler makes.
    bucket.fail([Fault { op: "create", done: true }; ATTEMPTS_MAX as usize]);
    bucket.fail([Fault { op: "get", done: false }; ATTEMPTS_MAX as usize]);
    assert_eq!(journal.commit(vec![purge("x")]).await.unwrap().seq, 1);
    assert_eq!(groups(&history(&bucket).await.1), ["group x"]);
}

#[tokio::test]
async fn an_activation_counts_only_on_its_base_and_a_purge_goes_on() {
    let bucket = Arc::new(MemoryBucket::default());
    let (a, b) = (open(&bucket, "a").await, open(&bucket, "b").await);
    a.commit(vec![activation(1, None)]).await.unwrap();
    let error = b.commit(vec![activation(2, None)]).await.unwrap_err();
    let Error::Outdated { winner: Some(winner), .. } = error else { panic!("{error}") };
    assert_eq!(winner.seq, 1);
    a.commit(vec![Effect::Notice(Notice::Resume)]).await.unwrap();
    assert_eq!(b.commit(vec![purge("x")]).await.unwrap().seq, 3);
    assert_eq!(b.commit(vec![activation(2, Some(1))]).await.unwrap().seq, 4);
    assert_eq!(a.look().await.unwrap().state, b.seen().state);
}

#[tokio::test]
async fn what_arrives_during_a_write_is_one_entry_with_one_activation() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    let turn = journal.turn.lock().await;
    let waiting: Vec<_> = [
        purge("1"),
        activation(1, None),
        purge("2"),
        activation(2, None),
        activation(3, Some(1)),
        purge("3"),
    ]
    .into_iter()
    .map(|effect| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.commit(vec![effect]).await.map(|r| r.seq) })
    })
    .collect();
    while lock(&journal.queue).len() < 6 {
        tokio::task::yield_now().await;
    }
    drop(turn);
    let mut results = Vec::new();
    for task in waiting {
        results.push(task.await.unwrap().ok());
    }
    assert_eq!(results, [Some(1), Some(1), Some(1), None, Some(2), Some(2)]);
}

#[tokio::test]
async fn a_fork_stops_all_writing() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    journal.commit(vec![purge("x")]).await.unwrap();
    let stranger = journal.entry(1, Some(Digest::of(b"another history")), vec![]);
    bucket.tamper(&site().journal(2), Some(stranger.encode().into()));
    assert!(journal.look().await.is_err());
    let error = journal.commit(vec![purge("y")]).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
    assert!(!bucket.keys().contains(&site().journal(3)));
}

#[tokio::test]
async fn the_checkpoint_is_written_every_so_often_and_never_goes_back() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    for n in 0..CHECKPOINT_EVERY {
        journal.commit(vec![purge(&n.to_string())]).await.unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !bucket.keys().contains(&site().head()) {
        assert!(std::time::Instant::now() < deadline, "no checkpoint");
        tokio::task::yield_now().await;
    }
    bucket.forget_requests();
    let fresh = open(&bucket, "b").await;
    assert_eq!(fresh.seen().state, journal.seen().state);
    assert_eq!(bucket.requests().len(), 3, "the head, its entry, and the end");
    let later = Checkpoint::new(State { seq: 1_000, ..State::default() });
    bucket.put(&site().head(), later.encode().into()).await.unwrap();
    journal.checkpoint().await;
    let head = bucket.get(&site().head(), 1 << 20).await.unwrap().unwrap();
    assert_eq!(Checkpoint::decode(&head.bytes).unwrap(), later);
}

#[tokio::test]
async fn the_last_entries_are_kept_for_edges_that_are_behind() {
    let bucket = Arc::new(MemoryBucket::default());
    let journal = open(&bucket, "a").await;
    for n in 0..RECENT_MAX + 10 {
        journal.commit(vec![purge(&n.to_string())]).await.unwrap();
    }
    let seen = journal.seen();
    let seqs = |seq| seen.since(seq).map(|e| e.iter().map(|r| r.numbered.seq).collect::<Vec<_>>());
    assert_eq!(seqs(seen.state.seq), Some(vec![]));
    assert_eq!(seqs(seen.state.seq - 2), Some(vec![seen.state.seq - 1, seen.state.seq]));
    assert_eq!(seqs(10).map(|s| s.len()), Some(RECENT_MAX));
    assert_eq!(seqs(9), None);
    assert_eq!(seqs(seen.state.seq + 1), None);
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let op = prop_oneof![3 => Just("create"), 1 => Just("get")];
    let fault = (op, any::<bool>()).prop_map(|(op, done)| Fault { op, done });
    proptest::collection::vec(fault, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is lost and whoever comes first: one history; what was acknowledged is in it once,
    /// what was refused is not in it, and activations follow on each other.
    #[test]
    fn any_interleaving_leaves_one_history(
        faults in faults(),
        writers in proptest::collection::vec(proptest::collection::vec((any::<bool>(), 0u64..3), 1..6), 2..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let bucket = Arc::new(MemoryBucket::default());
            let mut journals = Vec::new();
            for n in 0..writers.len() {
                journals.push(open(&bucket, &n.to_string()).await);
            }
            bucket.fail(faults);
            let mut tasks = Vec::new();
            for (w, actions) in writers.into_iter().enumerate() {
                let journal = Arc::clone(&journals[w]);
                tasks.push(tokio::spawn(async move {
                    let mut results = Vec::new();
                    for (n, (activate, yields)) in actions.into_iter().enumerate() {
                        let n = (w * 100 + n) as u32;
                        let base = journal.seen().state.base();
                        let effect = if activate { activation(n, base) } else { purge(&n.to_string()) };
                        let name = if activate {
                            format!("20261123-181500-{n:08x}")
                        } else {
                            format!("group {n}")
                        };
                        for _ in 0..yields {
                            tokio::task::yield_now().await;
                        }
                        results.push((name, journal.commit(vec![effect]).await));
                    }
                    results
                }));
            }
            let mut results = Vec::new();
            for task in tasks {
                results.extend(task.await.unwrap());
            }
            bucket.mend();
            let (_, entries) = history(&bucket).await;
            let there = groups(&entries);
            for (name, result) in &results {
                let times = there.iter().filter(|n| *n == name).count();
                match result {
                    Ok(receipt) => {
                        prop_assert_eq!(times, 1, "{} is acknowledged", name);
                        let entry = &entries[receipt.seq as usize - 1];
                        prop_assert!(groups(std::slice::from_ref(entry)).contains(name));
                    }
                    Err(Error::Unknown { .. }) => prop_assert!(times <= 1, "{} is unknown", name),
                    Err(error) => prop_assert_eq!(times, 0, "{} was refused: {}", name, error),
                }
            }
            let mut base = None;
            for (n, entry) in entries.iter().enumerate() {
                if let Some(activation) = entry.activation() {
                    prop_assert_eq!(activation.base, base, "entry {}", n + 1);
                    base = Some(n as u64 + 1);
                }
            }
            Ok(())
        })?;
    }
}
