//! What takes too long ends. Each connection says in two numbers until when it may go on reading and writing; four
//! times a second all of them are looked at, and those that are late are dropped with their socket. To set a deadline
//! is one store, and there are no timers: looking at ten thousand numbers takes some microseconds.
//!
//! What the kernel holds for each is looked at in passing: a client that takes nothing of that is as late as one that takes
//! nothing of what is written. Only of connections that were in use since the last look, or for which something was held, is
//! the kernel asked.

use std::{
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use slab::Slab;
use tokio::{net::TcpStream, task::AbortHandle};

use super::{
    connection::READ_BYTES,
    held::{Held, STALLED_MS, STALLED_SHORT_MS, UNREAD_BYTES},
    unread::{self, FRESH_BYTES, READ_BYTES_NARROW},
    unsent::{self, Bound, Unsent},
};
use crate::{
    Edge, clock,
    config::{CONNECTION_BYTES, Limits},
    policy::freshness::Millis,
    sockets::{RECORD_BYTES, buffers},
    turns::TURN_BYTES,
};

/// Between two looks, and so how late a deadline can be.
const TICK: Duration = Duration::from_millis(250);
/// The same while much is in passing: what the kernel holds must be known before it is too much.
const TICK_SHORT: Duration = Duration::from_millis(100);
/// Connections of one look at a time: who begins or ends one meanwhile waits for the rest of these.
const LOOKED_AT_ONCE: usize = 256;
/// How long a request may be on its way.
const CROSSING: Duration = Duration::from_millis(250);
/// So many are ended at one look because others wait for their turn.
const ENDED_FOR_TURNS_MAX: usize = 64;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// What a connection waits to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A new connection's first byte.
    Start,
    /// The next request's first byte.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a request's content.
    Content,
    /// Bytes of a tunnel, in either direction.
    Tunnel,
    /// What a client still sends after its connection was closed to it.
    Linger,
    /// A request that was on its way when a silent connection was closed.
    Crossing,
}

impl Reading {
    const ALL: [Self; 7] =
        [Self::Start, Self::Idle, Self::Head, Self::Content, Self::Tunnel, Self::Linger, Self::Crossing];

    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Content => "content",
            Self::Tunnel => "tunnel",
            Self::Linger | Self::Crossing => "linger",
        }
    }
}

/// One connection's deadlines. Its thread writes them with each request, so no other connection's may lie beside them: that
/// may be another thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot {
    /// When reading is late, in milliseconds times eight, and what is read.
    read: AtomicU64,
    /// When writing is late, in milliseconds.
    write: AtomicU64,
    /// What was written, in bytes.
    written_bytes: AtomicU64,
    /// What is kept for its client, which takes no more for now, in bytes.
    kept_bytes: AtomicUsize,
    /// What has come of a head that has not ended, as far as it is counted by itself, in bytes.
    head_bytes: AtomicUsize,
    /// What the kernel is known to hold for it, in bytes of memory.
    held_bytes: AtomicUsize,
    /// Whether its response still comes from an upstream, which waits for the client.
    streams: AtomicBool,
    /// Whether the kernel may take more than the connection's bound.
    lift: AtomicU8,
    /// Whether its place is wanted: it ends where nobody asks on it.
    is_wanted: AtomicBool,
    limits: Limits,
}

/// It may not.
const LIFT_NONE: u8 = 0;
/// It may have done so, and what it took may still be there.
const LIFT_KEPT: u8 = 1;
/// It may now.
const LIFT_USED: u8 = 2;

fn millis(limit: Duration) -> Millis {
    Millis::try_from(limit.as_millis()).unwrap_or(Millis::MAX / 16)
}

fn late(now: Millis, limit: Duration) -> Millis {
    now.saturating_add(millis(limit))
}

/// How long a connection must have been silent before it ends for no request of its own. One that was just taken or just
/// answered is about to ask: its request is waited for even at the end, and the answer says that it is the last.
const SILENT_MS: Millis = 1_000;

impl Slot {
    /// From now on this is waited for.
    pub(crate) fn reads(&self, what: Reading) {
        self.reads_at(what, clock::boot_ms());
    }

    /// The same, by a clock that was read already.
    pub(crate) fn reads_at(&self, what: Reading, now: Millis) {
        let limit = match what {
            Reading::Idle => self.limits.idle,
            Reading::Start | Reading::Head => self.limits.header_read,
            Reading::Content => self.limits.content_idle,
            Reading::Tunnel => self.limits.tunnel_idle,
            Reading::Linger => self.limits.linger,
            Reading::Crossing => CROSSING,
        };
        self.read.store(late(now, limit).saturating_mul(8) | what as u64, Ordering::Relaxed);
    }

    /// This is waited for, for so long and no longer.
    pub(crate) fn reads_within(&self, what: Reading, now: Millis, left_ms: Millis) {
        self.read.store(now.saturating_add(left_ms).saturating_mul(8) | what as u64, Ordering::Relaxed);
    }

    /// How long a client may take for a part of a request's content.
    pub(crate) fn content_ms(&self) -> Millis {
        millis(self.limits.content_idle)
    }

    /// Nothing is waited for.
    pub(crate) fn rests(&self) {
        self.read.store(NEVER, Ordering::Relaxed);
    }

    /// So many bytes were written; by the connection's own thread.
    pub(crate) fn wrote(&self, bytes: usize) {
        // No read-modify-write is needed: nobody else writes.
        let before = self.written_bytes.load(Ordering::Relaxed);
        self.written_bytes.store(before.wrapping_add(bytes as u64), Ordering::Release);
    }

    /// So many bytes are kept for the client, which takes no more for now.
    pub(crate) fn keeps(&self, bytes: usize) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes have come of a head that has not ended.
    pub(crate) fn holds(&self, bytes: usize) {
        self.head_bytes.store(bytes, Ordering::Relaxed);
    }

    /// There is no memory for more of it: the connection ends.
    pub(crate) fn is_too_much(&self) {
        count_late(End::Memory.as_str());
    }

    /// The kernel holds so much for it.
    fn is_held(&self, bytes: usize, edge: &Edge) {
        let before = self.held_bytes.swap(bytes, Ordering::Relaxed);
        edge.unsent.found(before, bytes);
        edge.store.books().allowance().draws(before, bytes);
    }

    /// What it was known to hold.
    fn held(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Since when a head is waited for, and what has come of it, where that is long and much.
    fn head(&self, now: Millis) -> Option<(Millis, usize)> {
        let (at, Reading::Head) = self.waits_for()? else { return None };
        let bytes = self.head_bytes.load(Ordering::Relaxed);
        let since = at.saturating_sub(millis(self.limits.header_read));
        (bytes > 0 && now.saturating_sub(since) >= STALLED_MS).then_some((since, bytes))
    }

    /// Whether the response that is written still comes from an upstream.
    pub(crate) fn streams(&self, streams: bool) {
        self.streams.store(streams, Ordering::Relaxed);
    }

    /// Little is held: what was lifted and is not in use is for others.
    fn settle(&self, edge: &Edge) {
        if self.lift.load(Ordering::Relaxed) == LIFT_KEPT
            && self.lift.compare_exchange(LIFT_KEPT, LIFT_NONE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            edge.unsent.lower(edge.store.books().allowance());
        }
    }

    /// The client must take something from now on.
    pub(crate) fn writes(&self) {
        self.write.store(late(clock::boot_ms(), self.limits.write_stall), Ordering::Relaxed);
    }

    /// The client has.
    pub(crate) fn written(&self) {
        self.write.store(NEVER, Ordering::Relaxed);
    }

    fn waits_for(&self) -> Option<(Millis, Reading)> {
        let read = self.read.load(Ordering::Relaxed);
        let what = Reading::ALL.get(usize::try_from(read % 8).unwrap_or(usize::MAX))?;
        Some((read / 8, *what))
    }

    /// Since when nobody has asked for anything, or been answered, where that is so long that it can be closed, and whether something
    /// was asked before that. Who began to ask and has not come to an end by then has not asked.
    fn silent_since(&self, now: Millis) -> Option<(bool, Millis)> {
        let (at, what) = self.waits_for()?;
        let limit = match what {
            Reading::Idle => self.limits.idle,
            Reading::Start | Reading::Head => self.limits.header_read,
            _ => return None,
        };
        let since = at.saturating_sub(millis(limit));
        (since.saturating_add(SILENT_MS) <= now).then_some((what != Reading::Start, since))
    }
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    bound: Arc<Bound>,
    task: Option<AbortHandle>,
    /// Open for as long as it stands here.
    socket: Option<RawFd>,
    held: Held,
    /// Has the task look whether it may end.
    waker: Option<Waker>,
}

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It waits to read for too long.
    Read(Reading),
    /// Its client takes nothing for too long.
    Write,
    /// Its client takes nothing or little, or does not end a head, and too much of the memory is in passing.
    Memory,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read(what) => what.as_str(),
            Self::Write => "write",
            Self::Memory => "memory",
        }
    }
}

/// A socket, for as long as it stands in its entry.
fn open(socket: Option<&RawFd>) -> Option<BorrowedFd<'_>> {
    let socket = *socket?;
    #[expect(unsafe_code, reason = "the socket belongs to its task, which may end it at any time")]
    // SAFETY: its task takes it out of its entry before it closes it, and waits for our lock to do so.
    Some(unsafe { BorrowedFd::borrow_raw(socket) })
}

fn count_late(what: &'static str) {
    metrics::counter!("bakehouse_edge_late_total", "what" => what).increment(1);
}

impl Entry {
    /// Looks at what the kernel holds for it. What its client takes in a second, in bytes, where that is too little of much.
    fn look(&mut self, edge: &Edge, is_tight: bool, now: Millis) -> Option<u64> {
        let socket = open(self.socket.as_ref())?;
        let read = self.slot.read.load(Ordering::Relaxed);
        // While a response is written, no deadline moves; and what has come on others is about to be read, unless there is much.
        let is_silent = read != NEVER && read == self.held.read && self.held.bytes == 0;
        if is_silent && !is_tight && self.slot.held() == 0 {
            return None;
        }
        self.held.read = read;
        // Before what is held, so that a client has not taken what is written meanwhile.
        let written = self.slot.written_bytes.load(Ordering::Acquire);
        let buffers = buffers(socket);
        // Mostly nothing is held, and to ask how much costs as much again.
        let held = if buffers.sent > 0 { unsent::queued(socket) } else { 0 };
        self.held.note(written, held, now);
        let is_tunnel = matches!(self.slot.waits_for(), Some((_, Reading::Tunnel)));
        // Where nothing is waited for, content may have come that its upstream has yet to take. Of a tunnel, little may lie here and
        // more at its other end.
        self.held.note_unread(
            match buffers.received {
                received @ 1.. if is_tunnel => received.max(UNREAD_BYTES),
                received if read == NEVER => received,
                _ => 0,
            },
            now,
        );
        let has_some = self.held.bytes > 0 || read == NEVER || is_tunnel || is_tight;
        self.slot.is_held(if has_some { buffers.bytes } else { 0 }, edge);
        if self.bound.allows(self.held.bytes) {
            self.slot.settle(edge);
        }
        let taken = written.saturating_sub(self.held.bytes as u64);
        self.held.pace(self.slot.kept_bytes.load(Ordering::Relaxed), taken, now)
    }

    /// Whether something has come that was not read.
    fn is_asked(&self) -> bool {
        open(self.socket.as_ref()).is_some_and(|socket| buffers(socket).received > 0)
    }

    /// Why it has to end at `now`.
    fn end(&self, now: Millis) -> Option<End> {
        let limits = &self.slot.limits;
        let stalled = self.held.stalled_ms(now) >= millis(limits.write_stall);
        if stalled || self.slot.write.load(Ordering::Relaxed) <= now {
            return Some(End::Write);
        }
        let (at, what) = self.slot.waits_for()?;
        let at = match what {
            // Silence begins when the client has taken what it was sent.
            Reading::Idle | Reading::Linger if self.held.bytes > 0 => return None,
            Reading::Idle => at.max(late(self.held.since, limits.idle)),
            Reading::Linger => at.max(late(self.held.since, limits.linger)),
            _ => at,
        };
        (at <= now).then_some(End::Read(what))
    }

    /// Ends it.
    fn finish(&self, why: End) {
        let Some(task) = &self.task else { return };
        let socket = open(self.socket.as_ref());
        if let Some(socket) =
            socket.filter(|_| matches!(why, End::Write | End::Memory | End::Read(Reading::Tunnel)))
        {
            // Its peer does not take what the kernel holds: that goes at once, and not after minutes.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        task.abort();
        count_late(why.as_str());
    }
}

/// The deadlines of all connections of a listener.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines {
    edge: Arc<Edge>,
    entries: Arc<Mutex<Slab<Entry>>>,
    draining: Arc<AtomicBool>,
}

/// A connection's place; it ends with the connection.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) slot: Arc<Slot>,
    bound: Arc<Bound>,
    index: usize,
    all: Deadlines,
    /// What its client may bring before it has asked for something; none once it has.
    fresh_bytes: AtomicUsize,
    /// Whether the kernel takes more of its client than it would by itself, for content.
    is_widened: AtomicBool,
    /// Whether the kernel takes least of what is written to it.
    is_tight: AtomicBool,
}

impl Deadlines {
    pub(crate) fn new(edge: Arc<Edge>) -> Self {
        Self { edge, entries: Arc::default(), draining: Arc::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Slab<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, which has to send a head.
    pub(crate) fn place(&self, limits: Limits) -> Place {
        let slot = Arc::new(Slot {
            read: AtomicU64::new(NEVER),
            write: AtomicU64::new(NEVER),
            written_bytes: AtomicU64::new(0),
            kept_bytes: AtomicUsize::new(0),
            head_bytes: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            streams: AtomicBool::new(false),
            lift: AtomicU8::new(LIFT_NONE),
            is_wanted: AtomicBool::new(false),
            limits,
        });
        slot.reads(Reading::Start);
        let bound = Arc::new(self.edge.unsent.bound(self.edge.current().memory_bytes_max));
        let entry = Entry {
            slot: Arc::clone(&slot),
            bound: Arc::clone(&bound),
            task: None,
            socket: None,
            held: Held::default(),
            waker: None,
        };
        let index = self.entries().insert(entry);
        let all = self.clone();
        Place {
            slot,
            bound,
            index,
            all,
            fresh_bytes: AtomicUsize::new(0),
            is_widened: AtomicBool::new(false),
            is_tight: AtomicBool::new(false),
        }
    }

    /// Names the task that is dropped when this place is late. The task may have ended already.
    pub(crate) fn watch(&self, index: usize, slot: &Arc<Slot>, task: AbortHandle) {
        if let Some(entry) = self.entries().get_mut(index)
            && Arc::ptr_eq(&entry.slot, slot)
        {
            entry.task = Some(task);
        }
    }

    /// Whether connections are to end with the request that they are at.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on connections end with their next answer, or once they have been silent for a while.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.look();
    }

    /// Drops all that are left.
    pub(crate) fn end(&self) {
        for (_, entry) in self.entries().iter() {
            entry.task.iter().for_each(AbortHandle::abort);
        }
    }

    /// Drops what is late, and wakes what may end by itself: only its own task can tell whether a request has just come.
    fn look(&self) {
        let now = clock::boot_ms();
        let draining = self.is_draining();
        let (mut stalled, mut slow, mut heads, mut silent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let books = self.edge.store.books();
        let (is_short, is_tight) = (books.wanted_bytes() > 0, books.is_tight());
        let stalled_ms = if books.short_bytes() > 0 { STALLED_SHORT_MS } else { STALLED_MS };
        let is_waited_for = self.edge.unread.was_waited_for();
        let mut next = 0;
        loop {
            let mut entries = self.entries();
            let end = entries.capacity().min(next + LOOKED_AT_ONCE);
            for index in next..end {
                let Some(entry) = entries.get_mut(index) else { continue };
                if let Some(pace) = entry.look(&self.edge, is_tight, now) {
                    slow.push((pace, index));
                }
                if let Some(why) = entry.end(now) {
                    entry.finish(why);
                    continue;
                }
                heads.extend(entry.slot.head(now).map(|(since, _)| (since, index)));
                match (entry.held.stuck_since(now, stalled_ms), entry.slot.silent_since(now)) {
                    (Some(since), _) => stalled.push((since, index)),
                    (None, Some(_)) if draining => entry.waker.iter().for_each(Waker::wake_by_ref),
                    (None, Some(since)) if is_short || is_waited_for => silent.push((since, index)),
                    _ => {}
                }
            }
            if end == entries.capacity() {
                break;
            }
            next = end;
        }
        let short = self.relieve_of_silent(silent, is_waited_for);
        let short = self.relieve_of_stalled(stalled, short, |held| held.stuck_since(now, stalled_ms));
        let beyond = self.edge.store.books().passing_beyond().max(short);
        let beyond = self.relieve_of_heads(heads, beyond, now);
        self.relieve_of_slow(slow, beyond);
    }

    /// Where memory was measured to be short, or somebody waits for some, ends those first that have never asked for anything, then
    /// those that have not for longest; of the former all where they are waited for. Returns how much it is short of then.
    fn relieve_of_silent(&self, mut silent: Vec<((bool, Millis), usize)>, is_waited_for: bool) -> usize {
        let mut short = self.edge.store.books().wanted_bytes();
        silent.sort_unstable();
        let entries = self.entries();
        for ((has_asked, _), index) in silent {
            if short == 0 && (has_asked || !is_waited_for) {
                break;
            }
            // Another may have come in its place, of which its own task knows; and a request that it had no time for.
            let Some(entry) = entries.get(index).filter(|entry| !entry.is_asked()) else { continue };
            let was_wanted = entry.slot.is_wanted.swap(true, Ordering::Relaxed);
            entry.waker.iter().for_each(Waker::wake_by_ref);
            // One that has not ended since has no time to.
            if !was_wanted {
                short = short.saturating_sub(CONNECTION_BYTES + RECORD_BYTES);
            }
        }
        short
    }

    /// Where the kernel holds too much in all, or memory is `short` of so many bytes, ends those first of which nothing was taken
    /// for longest. Returns what it is short of then.
    fn relieve_of_stalled(
        &self,
        mut stalled: Vec<(Millis, usize)>,
        mut short: usize,
        stuck_since: impl Fn(&Held) -> Option<Millis>,
    ) -> usize {
        let most = Unsent::held_bytes_max(self.edge.current().memory_bytes_max);
        let mut beyond = self.edge.unsent.held().saturating_sub(most);
        stalled.sort_unstable();
        let entries = self.entries();
        for (since, index) in stalled {
            if beyond == 0 && short == 0 {
                break;
            }
            // Another may have come in its place.
            if let Some(entry) = entries.get(index).filter(|entry| stuck_since(&entry.held) == Some(since)) {
                entry.finish(End::Memory);
                beyond = beyond.saturating_sub(entry.slot.held());
                short = short.saturating_sub(entry.slot.held());
            }
        }
        short
    }

    /// Where `beyond` bytes too many are in use, ends those first whose head has not ended for longest. Returns how much is still
    /// too much.
    fn relieve_of_heads(&self, mut heads: Vec<(Millis, usize)>, mut beyond: usize, now: Millis) -> usize {
        heads.sort_unstable();
        let entries = self.entries();
        for (since, index) in heads {
            if beyond == 0 {
                break;
            }
            // Another may have come in its place.
            let Some(entry) = entries.get(index) else { continue };
            if let Some((_, bytes)) = entry.slot.head(now).filter(|(began, _)| *began == since) {
                entry.finish(End::Memory);
                beyond = beyond.saturating_sub(bytes);
            }
        }
        beyond
    }

    /// Where `beyond` bytes too many are in use, or all turns are taken and others wait for one, ends those
    /// first that take least of what is kept for them.
    fn relieve_of_slow(&self, mut slow: Vec<(u64, usize)>, mut beyond: usize) {
        let mut turns = self.edge.turns.waiting().min(ENDED_FOR_TURNS_MAX);
        slow.sort_unstable();
        let entries = self.entries();
        for (_, index) in slow {
            if beyond == 0 && turns == 0 {
                return;
            }
            // Another may have come in its place.
            let Some(entry) = entries.get(index).filter(|entry| entry.held.kept.is_some()) else { continue };
            let streams = entry.slot.streams.load(Ordering::Relaxed);
            let frees = entry.slot.kept_bytes.load(Ordering::Relaxed) + if streams { TURN_BYTES } else { 0 };
            if streams || (beyond > 0 && frees >= TURN_BYTES) {
                entry.finish(End::Memory);
                beyond = beyond.saturating_sub(frees);
                turns = turns.saturating_sub(usize::from(streams));
            }
        }
    }

    /// Looks again and again, for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            self.look();
            let tick = if self.edge.store.books().is_tight() { TICK_SHORT } else { TICK };
            tokio::time::sleep(tick).await;
        }
    }
}

impl Place {
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Bytes that may be handed to the kernel at once.
    pub(super) fn write_bytes_max(&self, stream: &TcpStream) -> usize {
        if self.slot.lift.load(Ordering::Relaxed) == LIFT_USED {
            usize::MAX
        } else if self.is_tight(stream) {
            unsent::TIGHT_BYTES
        } else {
            self.bound.write_bytes_max()
        }
    }

    /// Whether there are many connections and no memory is left to them until it is measured again: then the kernel holds next to
    /// nothing of a response, what is on its way included.
    pub(super) fn is_tight(&self, stream: &TcpStream) -> bool {
        if !self.is_narrow() {
            return false;
        }
        let is_tight = self.all.edge.store.books().allowance().left() == 0;
        if self.is_tight.swap(is_tight, Ordering::Relaxed) != is_tight
            && let Err(error) = unsent::set_tight(stream, is_tight)
        {
            tracing::debug!(%error, "what the kernel takes for a connection could not be bounded");
        }
        is_tight
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.all.is_draining()
    }

    /// Bounds what the kernel takes for this connection, and from now on looks at it, until this place is dropped: before
    /// the socket is.
    pub(crate) fn take(&self, stream: &TcpStream) -> std::io::Result<()> {
        if let Some(entry) = self.all.entries().get_mut(self.index) {
            entry.socket = Some(stream.as_raw_fd());
        }
        self.bound.set(stream)
    }

    /// Its client takes no more for now: what the kernel holds for it counts at once, and not with the next look, where there are many
    /// or that is much.
    pub(super) fn is_held_up(&self, stream: &TcpStream) {
        if self.is_narrow() || self.slot.lift.load(Ordering::Relaxed) == LIFT_USED {
            self.slot.is_held(buffers(stream.as_fd()).bytes, &self.all.edge);
        }
    }

    /// Whether there are so many connections that each should do with little.
    pub(crate) fn is_narrow(&self) -> bool {
        self.bound.is_narrow()
    }

    /// Bytes of one read of heads.
    pub(super) fn read_bytes_max(&self) -> usize {
        if self.is_narrow() { READ_BYTES_NARROW } else { READ_BYTES }
    }

    /// Notes what its client may bring before it has asked for something. Where there are many connections, has the kernel take
    /// little of that. Returns what it has taken by then, in bytes of memory.
    pub(crate) fn begins(&self, stream: &TcpStream) -> usize {
        let bytes = unread::fresh_bytes(stream);
        self.fresh_bytes.store(bytes, Ordering::Relaxed);
        self.all.edge.unread.comes(bytes);
        if !self.is_narrow() {
            return 0;
        }
        if bytes == FRESH_BYTES {
            unread::narrow(stream);
        }
        buffers(stream.as_fd()).received
    }

    /// Has the kernel take more of content that is wanted, until [`Self::narrow`].
    pub(super) fn widen(&self, stream: &TcpStream) {
        if self.is_narrow() && !self.is_widened.swap(true, Ordering::Relaxed) {
            unread::widen(stream);
        }
    }

    /// The content has come.
    pub(super) fn narrow(&self, stream: &TcpStream) {
        if self.is_widened.swap(false, Ordering::Relaxed) {
            unread::narrow(stream);
        }
    }

    /// Something was asked, or nothing will be.
    pub(super) fn has_come(&self) {
        self.all.edge.unread.came(self.fresh_bytes.swap(0, Ordering::Relaxed));
    }

    /// Has the kernel take more of a file than the bound, where that may be; in any case until [`Self::lower`].
    pub(super) fn lift(&self, stream: &TcpStream) -> std::io::Result<()> {
        // What is kept of an earlier one waits, too.
        if self.is_tight(stream) {
            return Ok(());
        }
        let edge = &self.all.edge;
        let has = self.slot.lift.swap(LIFT_USED, Ordering::AcqRel) != LIFT_NONE;
        let lift = || edge.unsent.lift(edge.current().memory_bytes_max, edge.store.books().allowance());
        if has || lift() {
            return unsent::set_lifted(stream);
        }
        self.slot.lift.store(LIFT_NONE, Ordering::Release);
        Ok(())
    }

    /// Takes it back, once the client has taken what was written meanwhile.
    pub(super) fn lower(&self, stream: &TcpStream) -> std::io::Result<()> {
        let used = (LIFT_USED, LIFT_KEPT);
        if self.slot.lift.compare_exchange(used.0, used.1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return self.bound.set(stream);
        }
        Ok(())
    }

    /// Names the task that is woken once it may end.
    pub(crate) fn wakes(&self, waker: &Waker) {
        if let Some(entry) = self.all.entries().get_mut(self.index) {
            entry.waker = Some(waker.clone());
        }
    }

    /// Whether the connection is to end now, unless a request has come meanwhile.
    pub(crate) fn may_end(&self) -> bool {
        (self.is_draining() || self.slot.is_wanted.load(Ordering::Relaxed))
            && self.slot.silent_since(clock::boot_ms()).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.has_come();
        self.all.entries().try_remove(self.index);
        self.slot.is_held(0, &self.all.edge);
        if self.slot.lift.swap(LIFT_NONE, Ordering::AcqRel) != LIFT_NONE {
            self.all.edge.unsent.lower(self.all.edge.store.books().allowance());
        }
    }
}
