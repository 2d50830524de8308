//! Freeing what purges and activations cover. Whoever reads a copy finds out by itself whether it is covered, so nobody
//! waits for this: it goes through the store in a thread of its own, in slices, and takes what those who serve leave of
//! the processors. The thread lives while there is something to do.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use crate::{purge::PurgeLog, store::Store};

/// What a slice does, in work: some tens of microseconds, which a request that meets it may wait.
const SLICE_WORK: usize = 64 * COPY_WORK;
/// To look at a list's beginning.
const LIST_WORK: usize = 16;
/// To look at a copy, which lies anywhere in memory.
const COPY_WORK: usize = 256;
/// To take it out and free it, beside that.
const FREE_WORK: usize = 3 * COPY_WORK;
/// To look at a piece of the queues.
const PIECE_WORK: usize = 16 * COPY_WORK;
/// How much it gives way to others: where they want all processors, it gets a tenth of one.
const NICE: i32 = 10;
/// Slices before it gives way: what a small cache drops is counted soon where others want all processors, too.
const SLICES_FIRST: usize = 64;
/// How long it rests after a slice where it does not give way.
const REST: Duration = Duration::from_micros(100);
/// What makes room in a step towards a smaller store.
const STEP_BYTES: usize = 256 << 10;
/// Lists that are swept at once on a thread that serves.
const LISTS_AT_ONCE: usize = 64;

/// Who goes through the store.
#[derive(Debug)]
pub(crate) struct Sweeper {
    store: Arc<Store>,
    log: Arc<PurgeLog>,
    state: Mutex<State>,
    /// Entries for which all copies were looked at, and counted.
    swept: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    /// The last entry for which a sweep is wanted.
    wanted: u64,
    /// The size that the store is brought to; `None`: it has it.
    bytes_max: Option<usize>,
}

impl Sweeper {
    pub(crate) fn new(store: Arc<Store>, log: Arc<PurgeLog>) -> Arc<Self> {
        Arc::new(Self { store, log, state: Mutex::default(), swept: watch::Sender::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all copies looked at for the entries up to `epoch`, soon.
    pub(crate) fn want(self: &Arc<Self>, epoch: u64) {
        let mut state = self.state();
        state.wanted = state.wanted.max(epoch);
        if std::mem::replace(&mut state.is_running, true) {
            return;
        }
        drop(state);
        let sweeper = Arc::clone(self);
        let spawned = thread::Builder::new().name("sweep".into()).spawn(move || {
            let (mut slices, mut gives_way) = (0, false);
            sweeper.run(|| {
                slices += 1;
                if slices == SLICES_FIRST {
                    // It is the thread's alone, not the process's.
                    gives_way = rustix::process::nice(NICE).is_ok();
                }
                if gives_way { thread::yield_now() } else { thread::sleep(REST) }
            });
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread could be started to free what was purged; it is freed here");
            self.run(thread::yield_now);
        }
    }

    /// Waits until all copies were looked at for the entries up to `epoch`.
    pub(crate) async fn swept(&self, epoch: u64) {
        // The sender lives as long as this.
        let _ = self.swept.subscribe().wait_for(|swept| *swept >= epoch).await;
    }

    /// Has the store take no more than this. What makes room for it does so in small steps.
    pub(crate) fn resize(self: &Arc<Self>, bytes_max: usize) {
        let before = self.state().bytes_max.replace(bytes_max);
        if before.is_some() || self.step(bytes_max) {
            return;
        }
        let sweeper = Arc::clone(self);
        let shrink = move || {
            while let Some(bytes_max) = sweeper.size() {
                if sweeper.step(bytes_max) {
                    give_back();
                } else {
                    thread::sleep(REST);
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("shrink".into()).spawn(shrink.clone()) {
            tracing::warn!(%error, "no thread could be started to make the store smaller; it is done here");
            shrink();
        }
    }

    /// The size that the store is on its way to.
    pub(crate) fn size(&self) -> Option<usize> {
        self.state().bytes_max
    }

    /// One step towards a size; whether it is reached.
    fn step(&self, bytes_max: usize) -> bool {
        let is_there = self.store.resize(bytes_max, STEP_BYTES);
        if is_there {
            // Unless another size was asked for meanwhile.
            let mut state = self.state();
            if state.bytes_max == Some(bytes_max) {
                state.bytes_max = None;
            }
        }
        is_there
    }

    /// Frees at once what is covered in these lists.
    pub(crate) async fn sweep_lists(&self, lists: &[usize]) {
        for lists in lists.chunks(LISTS_AT_ONCE) {
            for index in lists {
                self.store.sweep_list(*index, &self.log);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Goes through everything until nothing more is wanted, with a rest after each slice.
    fn run(&self, mut rest: impl FnMut()) {
        loop {
            let epoch = self.log.epoch();
            let mut done = 0;
            let mut rest_after = |work: usize| {
                done += work;
                // The log forgets what it cannot hold, and then copies must go that nothing covered.
                if done >= SLICE_WORK && !self.log.presses(epoch) {
                    done = 0;
                    rest();
                }
            };
            for index in 0..self.store.lists() {
                let (copies, gone) = self.store.sweep_list(index, &self.log);
                rest_after(LIST_WORK + COPY_WORK * copies + FREE_WORK * gone);
            }
            self.swept.send_replace(epoch);
            let mut piece = 0;
            while self.store.sweep_names(piece) {
                piece += 1;
                rest_after(PIECE_WORK);
            }
            let mut state = self.state();
            if state.wanted <= epoch {
                state.is_running = false;
                return;
            }
        }
    }
}

/// Has the allocator give what is free back to the system. It keeps it otherwise, which is right while a store is filled
/// again.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(
            unsafe_code,
            reason = "the allocator's own function, which has no safe wrapper in the libraries used here"
        )]
        // SAFETY: it may be called at any time, by any thread.
        unsafe {
            malloc_trim(0);
        }
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "see `give_back`")]
unsafe extern "C" {
    fn malloc_trim(pad: usize) -> i32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::Key,
        policy::same_origin::Scheme,
        purge::{Applied, Began},
        store::tests::copy,
    };
    use http::HeaderMap;
    use release::journal::Selector;
    use std::time::Instant;

    fn until(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn a_purge_is_in_force_before_it_is_swept_and_leaves_nothing_behind() {
        const COPIES: usize = 20_000;
        let (store, log) = (Arc::new(Store::new(64 << 20)), Arc::new(PurgeLog::default()));
        let sweeper = Sweeper::new(Arc::clone(&store), Arc::clone(&log));
        let scope: Arc<str> = "main".into();
        let key = |n: usize| Key::of_site(&scope, &format!("/{}/{n}", n % 2));
        for n in 0..COPIES {
            store.insert(copy(&store, &key(n), "\"a\"", 100), Began::default(), &log).unwrap();
        }
        let purge = |selector: Selector| {
            let entry = Arc::new(Applied::purge(Some("main".into()), &[selector], None));
            (log.push(Arc::clone(&entry)), entry)
        };
        let hit = |n: usize| store.hit(key(n).borrowed(), |_| Some(true), &log, |_| Some(())).is_some();
        assert!(hit(0) && hit(1));
        let (epoch, entry) = purge(Selector::Prefix("/1/".into()));
        assert!(hit(0) && !hit(1) && !store.find(&key(1), &HeaderMap::new(), &log).any);
        assert_eq!(store.entries(), COPIES, "nothing is freed yet");
        // A second entry before the first is swept: each copy counts for the one that came first.
        let (last, all) = purge(Selector::All);
        sweeper.want(last);
        tokio::time::timeout(Duration::from_secs(20), sweeper.swept(epoch)).await.unwrap();
        assert_eq!((entry.worsened(), all.worsened()), (COPIES as u64 / 2, COPIES as u64 / 2));
        assert_eq!(store.entries(), 0);
        // The names of what is gone go last.
        until(|| (store.bytes(), store.names()) == (0, 0));
    }

    #[tokio::test]
    async fn a_url_is_freed_wherever_it_lies() {
        let (store, log) = (Arc::new(Store::new(64 << 20)), Arc::new(PurgeLog::default()));
        let sweeper = Sweeper::new(Arc::clone(&store), Arc::clone(&log));
        let insert = |host: &str, target: &str| {
            let key = Key::of_upstream(Scheme::Http, host, target);
            store.insert(copy(&store, &key, "\"a\"", 100), log.now(), &log).unwrap();
        };
        let purge = |url: &str| {
            let entry = Arc::new(Applied::purge(None, &[Selector::Url(url.into())], None));
            log.push(Arc::clone(&entry));
            entry
        };
        for n in 0..1_000 {
            insert("a", &format!("/{n}"));
        }
        for target in ["/%7ex", "/~x", "/~x?q", "/y/../~x?r"] {
            insert("a", target);
            insert("b", target);
        }
        let of_one_host = purge("http://b/~x");
        sweeper.sweep_lists(&of_one_host.lists(&store).unwrap()).await;
        assert_eq!((of_one_host.worsened(), store.entries()), (4, 1_004));
        let of_all = purge("/~x");
        sweeper.sweep_lists(&of_all.lists(&store).unwrap()).await;
        assert_eq!((of_all.worsened(), store.entries()), (4, 1_000));
        assert_eq!(purge("/~x").lists(&store), Some(Vec::new()));
        // With many queries nobody knows where they lie, until they are gone.
        for n in 0..100 {
            insert("a", &format!("/?{n}"));
        }
        let of_many = purge("/");
        assert_eq!(of_many.lists(&store), None);
        sweeper.want(log.epoch());
        tokio::time::timeout(Duration::from_secs(20), sweeper.swept(log.epoch())).await.unwrap();
        assert_eq!((of_many.worsened(), store.entries()), (100, 1_000));
        assert_eq!(purge("/").lists(&store), Some(Vec::new()));
    }

    #[test]
    fn a_smaller_store_makes_room_and_a_larger_one_has_it() {
        let (store, log) = (Arc::new(Store::new(64 << 20)), Arc::new(PurgeLog::default()));
        let sweeper = Sweeper::new(Arc::clone(&store), Arc::clone(&log));
        let scope: Arc<str> = "main".into();
        let fill = || {
            for n in 0..3_000 {
                let key = Key::of_site(&scope, &format!("/{n}"));
                store.insert(copy(&store, &key, "\"a\"", 10_000), log.now(), &log).unwrap();
            }
        };
        fill();
        assert_eq!(store.entries(), 3_000);
        sweeper.resize(8 << 20);
        until(|| sweeper.size().is_none());
        assert!(store.bytes() <= 8 << 20 && store.entries() > 500, "{}", store.entries());
        // Another size before the first is reached: the last one counts.
        sweeper.resize(2 << 20);
        sweeper.resize(64 << 20);
        until(|| sweeper.size().is_none());
        fill();
        assert_eq!(store.entries(), 3_000);
    }
}
