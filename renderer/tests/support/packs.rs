//! Packs of highlighted code in memory: what processes that come one after the other would have in a folder or a bucket.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "a module of several test binaries")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use release::Digest;
use renderer::{BlockStore, Pack, Stored};

#[derive(Default)]
pub struct Packs {
    pub kept: Mutex<BTreeMap<String, Vec<u8>>>,
    /// How often they were read.
    pub read: AtomicUsize,
}

impl BlockStore for Packs {
    fn packs(&self) -> Vec<Pack> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let kept = self.kept.lock().unwrap();
        kept.iter().map(|(name, bytes)| Pack::open(name.clone(), Stored::Memory(bytes.clone()))).collect()
    }

    fn scratch(&self) -> io::Result<File> {
        tempfile::tempfile()
    }

    fn put(&self, write: &dyn Fn(&mut dyn Write) -> io::Result<Digest>) -> io::Result<Pack> {
        let mut bytes = Vec::new();
        let name = write(&mut bytes)?.to_string();
        self.kept.lock().unwrap().insert(name.clone(), bytes.clone());
        Ok(Pack::open(name, Stored::Memory(bytes)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.kept.lock().unwrap().remove(name);
        Ok(())
    }
}
