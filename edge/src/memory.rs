//! What the process takes of the memory, measured. The books of the store know what is held and what is reserved; what they
//! cannot know, such as the gaps that an allocator keeps after ten thousand requests at once, copies that were evicted
//! while slow clients still read them, or what the kernel takes for connections, is found out here, and what is stored makes room
//! for it.

use std::{fs, sync::Arc, thread, time::Duration};

use crate::{config::Settings, edge::Edge, sockets::RECORD_BYTES, stored_body, sweep::give_back};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks after which gaps may be given back again: it goes through all of the allocator's memory, and who allocates waits.
const LOOKS_BETWEEN: u32 = 20;
/// With less than this part of the memory left, room is made: what comes in between two looks must have some.
const LEFT_PART: usize = 16;
/// And so much beside, or another such part where that is less: a small memory is filled sooner.
const LEFT_BYTES: usize = 16 << 20;
/// The same while much is in passing: a tenth of a second may bring a seventh of a gigabyte, and the allocator keeps more gaps.
const LEFT_PART_SHORT: usize = 6;
/// So many looks after that the gaps are still there, and what was waited for comes at once: the clients have gone.
const LOOKS_SHORT: u32 = 200;
/// What a process that takes nearly all of the memory by itself may take beside, as a part of it: nobody can make room for that.
const BEFORE_PART: usize = 4;
/// What is stored gets back what it has given, by steps of this part of the memory.
const STEP_PART: usize = 128;

impl Edge {
    /// Looks at what the process takes for as long as this edge lives, and has what is stored make room where that comes near
    /// to the memory that it may take. For a process that is nothing but this edge.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn watch_memory(self: &Arc<Self>) -> std::io::Result<()> {
        let edge = Arc::downgrade(self);
        let watch = move || {
            let mut room = Room { before: process_bytes().unwrap_or(0), ..Room::default() };
            while let Some(edge) = edge.upgrade().filter(|edge| !edge.stop.is_cancelled()) {
                room.look(&edge);
                drop(edge);
                thread::sleep(LOOK_EVERY);
            }
        };
        thread::Builder::new().name("memory".into()).spawn(watch).map(drop)
    }
}

/// What is stored has made room, by so much.
#[derive(Debug, Default)]
struct Room {
    bytes: usize,
    /// What the process took before it served anybody.
    before: usize,
    /// The settings that it was made under.
    settings: Option<Arc<Settings>>,
    looks: u32,
    /// Looks for which it counts as much in passing.
    short: u32,
}

impl Room {
    fn look(&mut self, edge: &Edge) {
        let settings = edge.settings();
        if !self.settings.as_ref().is_some_and(|known| Arc::ptr_eq(known, &settings)) {
            *self = Self { settings: Some(Arc::clone(&settings)), before: self.before, ..Self::default() };
        }
        // While room is being made, it is not yet known whether it is enough.
        let (Some(mut taken), None) = (taken_bytes(edge), edge.sweeper.size()) else { return };
        let all = settings.memory_bytes_max;
        self.short = if edge.store.books().is_short() { LOOKS_SHORT } else { self.short.saturating_sub(1) };
        let left = all / if self.short > 0 { LEFT_PART_SHORT } else { LEFT_PART };
        let tight = (all - left - (all / LEFT_PART).min(LEFT_BYTES)).max(self.before + all / BEFORE_PART);
        self.looks = self.looks.saturating_sub(1);
        if taken > tight && self.looks == 0 {
            self.looks = LOOKS_BETWEEN;
            give_back();
            taken = taken_bytes(edge).unwrap_or(taken);
        }
        let books = edge.store.books();
        books.measure(taken, tight);
        edge.unsent.is_free(tight.saturating_sub(taken).min(books.allowance().left()));
        let bytes = if taken > tight {
            (self.bytes + (taken - tight) + all / STEP_PART).min(settings.store_bytes_max())
        } else if taken < tight - 2 * (all / STEP_PART) {
            self.bytes.saturating_sub(all / STEP_PART)
        } else {
            self.bytes
        };
        if bytes != self.bytes {
            self.bytes = bytes;
            metrics::gauge!("bakehouse_edge_memory_short_bytes").set(bytes as f64);
            edge.sweeper.resize(settings.store_bytes_max() - bytes);
        }
    }
}

/// What is taken for an edge: by its process, and by the kernel for its connections. `None`: the system does not say.
fn taken_bytes(edge: &Edge) -> Option<usize> {
    let of_clients = edge.unsent.taken() + edge.unsent.connections() * RECORD_BYTES;
    Some(process_bytes()? + of_clients + edge.store.books().upstreams().bytes())
}

/// What the process takes: its own memory, its program, the tables that map both, and bodies in files.
fn process_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix(':')?.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()
    };
    let own = kilobytes("RssAnon")? + kilobytes("RssFile")? + kilobytes("VmPTE")?;
    Some(own * 1024 + stored_body::file_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_takes_is_known() {
        let before = process_bytes().unwrap();
        let held = vec![1u8; 64 << 20];
        let after = process_bytes().unwrap();
        assert!(after > before + held.len() / 2, "{before} {after}");
    }
}
