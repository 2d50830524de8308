//! Where rendered content is kept: in memory up to a bound, what is beyond it in a file without a name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Keeps bodies.
#[derive(Debug)]
pub struct Store {
    memory_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory_bytes: usize,
    file: Option<Arc<File>>,
    /// Where the file ends, and what is free before that: start → length. Free neighbours are one.
    end: u64,
    free: BTreeMap<u64, u64>,
}

/// A body that is kept; its room is free again when it is dropped.
#[derive(Debug)]
pub struct Body {
    store: Arc<Store>,
    bytes_len: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    File(Arc<File>, u64),
}

impl Store {
    /// Keeps at most this much in memory.
    pub fn new(memory_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { memory_bytes_max, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a body.
    ///
    /// # Errors
    /// Where there is no more room on the disk.
    pub fn keep(self: &Arc<Self>, bytes: Bytes) -> io::Result<Body> {
        let bytes_len = bytes.len();
        let body = |place| Body { store: Arc::clone(self), bytes_len, place };
        let mut state = self.state();
        if bytes.is_empty() || state.memory_bytes + bytes_len <= self.memory_bytes_max {
            state.memory_bytes += bytes_len;
            return Ok(body(Place::Memory(bytes)));
        }
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = Arc::new(tempfile::tempfile()?);
                state.file = Some(Arc::clone(&file));
                file
            }
        };
        let start = state.take(bytes_len as u64);
        drop(state);
        // From here on the body gives its room back, written or not.
        let kept = body(Place::File(Arc::clone(&file), start));
        file.write_all_at(&bytes, start)?;
        Ok(kept)
    }
}

impl State {
    /// Takes room in the file: the first that is free and long enough, or else at its end.
    fn take(&mut self, length: u64) -> u64 {
        let found = self.free.iter().find(|(_, free)| **free >= length).map(|(start, free)| (*start, *free));
        let Some((start, free)) = found else {
            let start = self.end;
            self.end += length;
            return start;
        };
        self.free.remove(&start);
        if free > length {
            self.free.insert(start + length, free - length);
        }
        start
    }

    fn give_back(&mut self, mut start: u64, mut length: u64) {
        if let Some(after) = self.free.remove(&(start + length)) {
            length += after;
        }
        if let Some((before, free)) = self.free.range(..start).next_back().map(|(s, l)| (*s, *l))
            && before + free == start
        {
            self.free.remove(&before);
            (start, length) = (before, free + length);
        }
        if start + length == self.end {
            self.end = start;
        } else {
            self.free.insert(start, length);
        }
    }
}

impl Body {
    /// The bytes.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(&self) -> io::Result<Bytes> {
        match &self.place {
            Place::Memory(bytes) => Ok(bytes.clone()),
            Place::File(file, start) => {
                let mut bytes = vec![0; self.bytes_len];
                file.read_exact_at(&mut bytes, *start)?;
                Ok(bytes.into())
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut state = self.store.state();
        match self.place {
            Place::Memory(_) => state.memory_bytes -= self.bytes_len,
            Place::File(_, start) => state.give_back(start, self.bytes_len as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_memory_is_read_back_and_its_room_used_again() {
        let store = Store::new(10);
        let text = |letter: char, n: usize| Bytes::from(letter.to_string().repeat(n));
        let mut kept: Vec<(Bytes, Body)> = Vec::new();
        for round in 0..50_usize {
            for (i, letter) in ('a'..='z').enumerate() {
                let bytes = text(letter, 1 + (i * 7 + round) % 23);
                kept.push((bytes.clone(), store.keep(bytes).unwrap()));
                if kept.len() > 20 {
                    kept.remove((i * 5 + round) % 20);
                }
            }
            for (bytes, body) in &kept {
                assert_eq!(body.read().unwrap(), bytes);
            }
            let state = store.state();
            assert!(state.memory_bytes <= 10);
            assert!(state.end < 2_000, "the file grows: {}", state.end);
        }
        drop(kept);
        let state = store.state();
        assert_eq!((state.memory_bytes, state.end, state.free.len()), (0, 0, 0));
    }
}
