#![no_main]

use release::{
    Digest,
    journal::{Checkpoint, JournalEntry, State},
    record::Release,
};

// What is read can be folded, and is written as it was read.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = JournalEntry::decode(bytes) {
        assert_eq!(JournalEntry::decode(&entry.encode()).as_ref().ok(), Some(&entry));
        drop(State::default().apply(&entry, Digest::of(bytes)));
    }
    drop(Checkpoint::decode(bytes));
    drop(Release::decode(bytes));
});
