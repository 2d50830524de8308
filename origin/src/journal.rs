//! The journal's writer, and what this process has read of it.
//!
//! One [`Journal`] a site and process. It keeps the fold of all entries read so far and the last of
//! them; [`Journal::look`] reads on, and [`Journal::commit`] writes. Writing follows these rules:
//!
//! - An entry is created under the next number, with a random id. Whatever the store says but a
//!   clear yes, the number is read: our id means committed, another's that it lost, nothing that the
//!   same bytes are sent again. Giving up means filling the number with a no-op, so that a request
//!   still on its way is refused; where that fails too, the outcome is reported as unknown.
//! - A loser folds the winner and takes the next number; its activation only while the base is still
//!   the last activation.
//! - Effects that arrive during a write go together in the next entry, at most one activation each.
//! - A predecessor that does not match stops all writing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use release::bucket::{Bucket, BucketError, OBJECT_BYTES_MAX, Written};
use release::journal::{CHECKPOINT_EVERY, Checkpoint, ENTRY_BYTES_MAX, EntryId, FoldError};
use release::journal::{Effect, JournalEntry, State};
use release::keys::Site;
use release::log::{self, ENTRIES_MAX, LogError, Numbered};
use release::{Digest, wire};
use tokio::sync::{oneshot, watch};

use crate::Error;
use crate::clock::{Moment, wall};
use crate::failpoint::failpoint;

/// Entries that are kept in memory for edges that are a little behind.
pub const RECENT_MAX: usize = 256;
/// Bytes of entries that are kept in memory for them.
const RECENT_BYTES_MAX: u64 = 4 << 20;
/// Effects that may wait for the write under way: beyond, callers are turned away.
pub const WAITING_MAX: usize = 1_024;
/// How often the same bytes are sent before the writer gives up.
const ATTEMPTS_MAX: u32 = 5;
/// How often a writer may lose to others before it gives up.
const LOST_MAX: u32 = 200;
/// Milliseconds of the first pause between attempts; each pause doubles it.
const PAUSE_MS: u64 = 20;

/// What this process knows of a site's journal.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The fold.
    pub state: State,
    /// When the last look at the bucket that found this state began.
    pub looked: Moment,
    /// The last entries, oldest first, dense, ending with `state.seq`.
    recent: VecDeque<Arc<Recent>>,
    recent_bytes: u64,
}

/// An entry that was read or written lately.
#[derive(Debug)]
pub struct Recent {
    /// The entry.
    pub numbered: Numbered,
    /// Root of the manifest that was active before it.
    pub before: Option<Digest>,
    /// Whether it made another release active: an activation may also have come too late.
    pub activated: Option<Digest>,
    bytes: u64,
}

impl Seen {
    fn new(state: State, looked: Moment) -> Self {
        Self { state, looked, recent: VecDeque::new(), recent_bytes: 0 }
    }

    /// Entries after `seq`, oldest first; none where they are not all kept any more.
    pub fn since(&self, seq: u64) -> Option<Vec<Arc<Recent>>> {
        let behind = usize::try_from(self.state.seq.checked_sub(seq)?).ok()?;
        let skip = self.recent.len().checked_sub(behind)?;
        Some(self.recent.iter().skip(skip).cloned().collect())
    }

    fn apply(&mut self, numbered: Numbered, bytes: u64) -> Result<(), FoldError> {
        let before = self.state.active.as_ref().map(|a| a.root);
        self.state.apply(&numbered.entry, numbered.digest)?;
        let active = self.state.active.as_ref();
        let activated = active.filter(|a| a.seq == numbered.seq).map(|a| a.root);
        self.recent.push_back(Arc::new(Recent { numbered, before, activated, bytes }));
        self.recent_bytes += bytes;
        while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.bytes;
        }
        Ok(())
    }
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Number of the entry.
    pub seq: u64,
    /// Its time.
    pub at: Timestamp,
    /// The state after it.
    pub state: State,
}

impl Receipt {
    /// The receipt as the API sends it.
    pub fn committed(&self, site: &Site) -> wire::Committed {
        wire::Committed { site: site.clone(), seq: self.seq, at: self.at }
    }
}

#[derive(Debug)]
struct Waiting {
    effects: Vec<Effect>,
    bytes: u64,
    reply: oneshot::Sender<Result<Receipt, Error>>,
}

impl Waiting {
    fn activation(&self) -> Option<Option<u64>> {
        self.effects.iter().find_map(|e| match e {
            Effect::Activate(a) => Some(a.base),
            _ => None,
        })
    }
}

/// A site's journal: what was read of it, and the way to write to it.
#[derive(Debug)]
pub struct Journal {
    bucket: Arc<dyn Bucket>,
    site: Site,
    by: String,
    seen: watch::Sender<Arc<Seen>>,
    queue: Mutex<VecDeque<Waiting>>,
    /// Held by whoever reads on or writes: the fold moves in one place at a time.
    turn: tokio::sync::Mutex<()>,
    stopped: Mutex<Option<Error>>,
    /// Number of the last entry that this process wrote.
    wrote: watch::Sender<u64>,
    read_only: Option<String>,
}

/// How an attempt to place an entry under a number ended.
enum Placed {
    Mine(Numbered, u64),
    Lost(Numbered, u64),
    /// Not written, and it never will be: the store refused, or a no-op took the place.
    Not(Error, Option<(Numbered, u64)>),
    Unknown(Error),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Reads a site's journal to its end. A site without one is a site without entries.
    ///
    /// `by` is the writer's name in entries. `read_only` says why nothing may be written, where that is
    /// so: a store that does not keep conditional writes apart would fork the journal.
    ///
    /// # Errors
    /// Where the bucket gives no answer, or the journal is damaged.
    pub async fn open(
        bucket: Arc<dyn Bucket>,
        site: Site,
        by: String,
        read_only: Option<String>,
    ) -> Result<Arc<Self>, Error> {
        let looked = Moment::now();
        let state = log::checkpoint(&*bucket, &site).await?;
        let journal = Self {
            bucket,
            site,
            by,
            seen: watch::Sender::new(Arc::new(Seen::new(state, looked))),
            queue: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            stopped: Mutex::default(),
            wrote: watch::Sender::new(0),
            read_only,
        };
        let turn = journal.turn.lock().await;
        let read = journal.read_on().await;
        drop(turn);
        read?;
        Ok(Arc::new(journal))
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Where it lies.
    pub(crate) fn bucket(&self) -> &dyn Bucket {
        &*self.bucket
    }

    /// What was read so far.
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen.borrow())
    }

    /// What was read so far, and a way to wait for more.
    pub fn watch(&self) -> watch::Receiver<Arc<Seen>> {
        self.seen.subscribe()
    }

    /// A way to wait for entries that this process writes: numbers of the last.
    pub fn wrote(&self) -> watch::Receiver<u64> {
        self.wrote.subscribe()
    }

    /// Why nothing is written (any more), if that is so.
    pub fn stopped(&self) -> Option<Error> {
        let read_only = || self.read_only.clone().map(Error::ReadOnly);
        lock(&self.stopped).clone().or_else(read_only)
    }

    /// Reads on from what is known, to the end.
    ///
    /// # Errors
    /// Where the bucket gives no answer, or the journal is damaged or forked: then nothing is written
    /// any more either.
    pub async fn look(&self) -> Result<Arc<Seen>, Error> {
        let asked = Moment::now();
        let _turn = self.turn.lock().await;
        let seen = self.seen();
        // Another look that began after this was asked for is as good.
        if seen.looked > asked {
            return Ok(seen);
        }
        self.read_on().await?;
        Ok(self.seen())
    }

    /// Waits until nothing is being written.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        drop(self.turn.lock().await);
    }

    async fn read_on(&self) -> Result<(), Error> {
        loop {
            let looked = Moment::now();
            let mut state = self.seen().state.clone();
            let result = log::advance(&*self.bucket, &self.site, &mut state).await;
            let read = match result {
                Ok(read) => read,
                Err(error) => return Err(self.note(error)),
            };
            let more = read.len() == ENTRIES_MAX;
            self.advance(read.into_iter().map(|n| (n, 0)).collect(), (!more).then_some(looked))?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Takes entries that follow on what is known, and when the look began that found no more.
    fn advance(&self, entries: Vec<(Numbered, u64)>, looked: Option<Moment>) -> Result<(), Error> {
        if entries.is_empty() {
            // Nobody waits for the time of a look alone.
            self.seen.send_if_modified(|seen| {
                let seen = Arc::make_mut(seen);
                seen.looked = looked.map_or(seen.looked, |l| l.max(seen.looked));
                false
            });
            return Ok(());
        }
        let mut seen = Seen::clone(&self.seen());
        for (numbered, bytes) in entries {
            let bytes = if bytes == 0 { numbered.entry.encode().len() as u64 } else { bytes };
            let applied = seen.apply(numbered, bytes);
            applied.map_err(|source| self.note(LogError::Forked { site: self.site.clone(), source }))?;
        }
        seen.looked = looked.map_or(seen.looked, |l| l.max(seen.looked));
        self.seen.send_replace(Arc::new(seen));
        Ok(())
    }

    /// Remembers an error after which nothing may be written.
    fn note(&self, error: LogError) -> Error {
        if !matches!(error, LogError::Bucket(_)) {
            let mut stopped = lock(&self.stopped);
            if stopped.is_none() {
                tracing::error!(site = %self.site, %error, "nothing is written to the journal any more");
                metrics::counter!("bakehouse_journal_stopped_total").increment(1);
                *stopped = Some(Error::Stopped { site: self.site.clone(), reason: error.to_string() });
            }
        }
        error.into()
    }

    /// Puts effects into the journal, in one entry; at most one of them may be an activation. It
    /// goes on when the caller no longer waits.
    ///
    /// # Errors
    /// - [`Error::Outdated`]: the activation's base is not the last activation any more.
    /// - [`Error::Unknown`]: it may be committed or not.
    /// - Anything else: it is not committed, and never will be.
    pub async fn commit(self: &Arc<Self>, effects: Vec<Effect>) -> Result<Receipt, Error> {
        if effects.iter().filter(|e| matches!(e, Effect::Activate(_))).count() > 1 {
            return Err(Error::BadRequest("an entry can hold one activation".into()));
        }
        let bytes = self.entry(0, None, effects.clone()).encode().len() as u64;
        if bytes > ENTRY_BYTES_MAX {
            return Err(Error::EntryTooLarge { bytes, max: ENTRY_BYTES_MAX });
        }
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = lock(&self.queue);
            if queue.len() >= WAITING_MAX {
                return Err(Error::Overloaded { site: self.site.clone(), waiting: queue.len() });
            }
            queue.push_back(Waiting { effects, bytes, reply });
        }
        // A task of its own: a caller that goes away must not take others' effects with it.
        let journal = Arc::clone(self);
        tokio::spawn(async move { journal.drain().await });
        answer.await.unwrap_or(Err(Error::Gone("the journal's writer")))
    }

    /// Writes what waits, one entry after another.
    async fn drain(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        loop {
            let batch = self.batch();
            if batch.is_empty() {
                return;
            }
            if let Some(error) = self.stopped() {
                answer_all(batch, &Err(error));
                continue;
            }
            self.write(batch).await;
        }
    }

    /// What goes into the next entry: in order, up to a second activation or the size of an entry.
    fn batch(&self) -> Vec<Waiting> {
        let mut queue = lock(&self.queue);
        let mut batch: Vec<Waiting> = Vec::new();
        let (mut bytes, mut activations) = (0, 0);
        while let Some(next) = queue.front() {
            activations += usize::from(next.activation().is_some());
            bytes += next.bytes;
            if !batch.is_empty() && (activations > 1 || bytes > ENTRY_BYTES_MAX) {
                break;
            }
            batch.extend(queue.pop_front());
        }
        batch
    }

    fn entry(&self, id: u128, prev: Option<Digest>, effects: Vec<Effect>) -> JournalEntry {
        let version = JournalEntry::VERSION;
        JournalEntry { version, id: EntryId(id), prev, at: wall(), by: self.by.clone(), effects }
    }

    async fn write(self: &Arc<Self>, mut batch: Vec<Waiting>) {
        for lost in 0..LOST_MAX {
            let state = self.seen().state.clone();
            let outdated = |w: &Waiting| w.activation().is_some_and(|base| !state.accepts(base));
            if let Some(at) = batch.iter().position(outdated) {
                let error =
                    Error::Outdated { site: self.site.clone(), winner: state.active.clone().map(Box::new) };
                answer_all(vec![batch.remove(at)], &Err(error));
            }
            if batch.is_empty() {
                return;
            }
            let effects = batch.iter().flat_map(|w| w.effects.iter().cloned()).collect();
            let entry = self.entry(rand::random(), state.last, effects);
            let began = Moment::now();
            match self.place(state.seq + 1, entry).await {
                Placed::Mine(numbered, bytes) => {
                    let (seq, at) = (numbered.seq, numbered.entry.at);
                    let result = self.advance(vec![(numbered, bytes)], Some(began));
                    let receipt = result.map(|()| Receipt { seq, at, state: self.seen().state.clone() });
                    metrics::counter!("bakehouse_journal_entries_total").increment(1);
                    answer_all(batch, &receipt);
                    self.wrote.send_replace(seq);
                    if seq.is_multiple_of(CHECKPOINT_EVERY) {
                        let journal = Arc::clone(self);
                        tokio::spawn(async move { journal.checkpoint().await });
                    }
                    return;
                }
                Placed::Lost(winner, bytes) => {
                    metrics::counter!("bakehouse_journal_lost_total").increment(1);
                    if let Err(error) = self.advance(vec![(winner, bytes)], None) {
                        return answer_all(batch, &Err(error));
                    }
                    // Many writers that go on at once would go on losing to each other at once.
                    if lost > 4 {
                        pause(lost.min(6)).await;
                    }
                }
                Placed::Not(error, filled) => {
                    let folded = self.advance(filled.into_iter().collect(), None);
                    return answer_all(batch, &Err(folded.err().unwrap_or(error)));
                }
                Placed::Unknown(error) => {
                    metrics::counter!("bakehouse_journal_unknown_total").increment(1);
                    return answer_all(batch, &Err(error));
                }
            }
        }
        let seq = self.seen().state.seq + 1;
        let reason = format!("{LOST_MAX} entries of others came first");
        answer_all(batch, &Err(Error::NotCommitted { site: self.site.clone(), seq, reason }));
    }

    /// Places an entry under a number, by the rules above.
    async fn place(&self, seq: u64, entry: JournalEntry) -> Placed {
        failpoint!("journal::before_create");
        let (id, prev) = (entry.id, entry.prev);
        let (placed, reason, sure) = self.try_place(seq, entry).await;
        failpoint!("journal::after_create");
        if let Some(placed) = placed {
            return placed;
        }
        let not = |reason| Error::NotCommitted { site: self.site.clone(), seq, reason };
        if sure {
            return Placed::Not(not(reason), None);
        }
        // The last request may still be on its way: something else must stand in its place before
        // anyone is told that it is not committed.
        tracing::warn!(site = %self.site, seq, reason, "giving up on a journal entry, filling its number");
        let filler = self.entry(rand::random(), prev, Vec::new());
        match self.try_place(seq, filler).await.0 {
            Some(Placed::Mine(filler, bytes)) => Placed::Not(not(reason), Some((filler, bytes))),
            // A request that was given up on may have arrived after all.
            Some(Placed::Lost(found, bytes)) if found.entry.id == id => Placed::Mine(found, bytes),
            Some(Placed::Lost(found, bytes)) => Placed::Lost(found, bytes),
            _ => Placed::Unknown(Error::Unknown { site: self.site.clone(), seq, reason }),
        }
    }

    /// Sends an entry until it is known what stands under the number. Otherwise nothing, with the
    /// last reason, and whether it is sure that no request of ours is still on its way.
    async fn try_place(&self, seq: u64, entry: JournalEntry) -> (Option<Placed>, String, bool) {
        let key = self.site.journal(seq);
        let bytes = Bytes::from(entry.encode());
        let digest = Digest::of(&bytes);
        let length = bytes.len() as u64;
        let mine = Numbered { seq, digest, entry };
        let mut reason = String::new();
        let mut sure = true;
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                pause(attempt).await;
            }
            match self.bucket.create(&key, bytes.clone()).await {
                Ok(Written::Yes) => return (Some(Placed::Mine(mine, length)), reason, sure),
                Ok(Written::Refused) => "the store refused it, and then had none".clone_into(&mut reason),
                Err(
                    error @ (BucketError::Full { .. }
                    | BucketError::Denied { .. }
                    | BucketError::TooLarge { .. }),
                ) => {
                    return (None, error.to_string(), sure);
                }
                Err(error @ BucketError::Unknown { .. }) => {
                    sure = false;
                    reason = error.to_string();
                }
            }
            match log::read_entry(&*self.bucket, &self.site, seq).await {
                Ok(Some(found)) if found.digest == digest => {
                    return (Some(Placed::Mine(mine, length)), reason, sure);
                }
                Ok(Some(found)) => return (Some(Placed::Lost(found, 0)), reason, sure),
                Ok(None) => {}
                Err(LogError::Bucket(error)) => reason = error.to_string(),
                // Something stands there that nobody can read: the number is taken, and not by us.
                Err(error) => return (None, self.note(error).to_string(), true),
            }
        }
        (None, reason, sure)
    }

    /// Writes the checkpoint, unless there is a later one. What goes wrong costs readers a few more
    /// reads, and nothing else.
    async fn checkpoint(&self) {
        failpoint!("journal::before_checkpoint");
        let fold = self.seen().state.clone();
        let key = self.site.head();
        let bytes = Bytes::from(Checkpoint::new(fold.clone()).encode());
        let result = match self.bucket.get(&key, OBJECT_BYTES_MAX).await {
            Ok(Some(object)) => match Checkpoint::decode(&object.bytes) {
                Ok(there) if there.fold.seq >= fold.seq => return,
                _ => self.bucket.replace(&key, bytes, &object.tag).await,
            },
            Ok(None) => self.bucket.create(&key, bytes).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(Written::Yes) => metrics::counter!("bakehouse_journal_checkpoints_total").increment(1),
            Ok(Written::Refused) => {
                tracing::debug!(site = %self.site, "another checkpoint was written meanwhile");
            }
            Err(error) => {
                metrics::counter!("bakehouse_journal_checkpoint_failures_total").increment(1);
                tracing::warn!(site = %self.site, %error, "the journal's checkpoint was not written");
            }
        }
    }
}

fn answer_all(batch: Vec<Waiting>, result: &Result<Receipt, Error>) {
    for waiting in batch {
        // A caller that has gone away needs no answer.
        let _ = waiting.reply.send(result.clone());
    }
}

async fn pause(attempt: u32) {
    let most = PAUSE_MS << attempt.min(8);
    tokio::time::sleep(Duration::from_millis(rand::random_range(most / 2..=most))).await;
}

#[cfg(test)]
mod tests;
