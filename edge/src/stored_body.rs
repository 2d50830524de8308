//! Bodies as they are stored: large ones in a file in memory, whose pages the kernel sends as they are (`sendfile`),
//! where a write copies them for each client.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    process::{Resource, getrlimit},
};

/// Bytes from which a body gets a file: below, a copy costs less than a second call.
pub(crate) const FILE_BYTES_MIN: usize = 256 << 10;
/// The part of the process's file descriptors that bodies may take; connections need the rest.
const DESCRIPTORS_PART: u64 = 4;

/// Files in memory that are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// Bytes that they take.
static OPEN_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes that bodies in files take, stored or only still read: no number that the system has of a process says it, since their
/// pages count as the process's only once it has looked at them.
pub(crate) fn file_bytes() -> usize {
    OPEN_BYTES.load(Ordering::Relaxed)
}

/// A body that is to be stored.
#[derive(Debug)]
pub(crate) enum StoredBody {
    /// Among the bytes of its copy.
    Heap(Bytes),
    /// In a file of its own.
    File(Arc<MemoryFile>),
}

/// A sealed file in memory, which nobody can change or shorten: one body and nothing else.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    file: File,
    /// Its pages.
    pages: Mmap,
    _open: Open,
}

/// One of the files that are open, of so many bytes.
#[derive(Debug)]
struct Open(usize);

impl Open {
    /// `None`: there are as many as there may be.
    fn one(bytes: usize) -> Option<Self> {
        static FILES_MAX: OnceLock<usize> = OnceLock::new();
        let files_max = *FILES_MAX.get_or_init(|| {
            let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            usize::try_from(descriptors / DESCRIPTORS_PART).unwrap_or(usize::MAX)
        });
        let before = OPEN.fetch_add(1, Ordering::Relaxed);
        OPEN_BYTES.fetch_add(bytes, Ordering::Relaxed);
        let open = Self(bytes);
        (before < files_max).then_some(open)
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        OPEN_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl From<Bytes> for StoredBody {
    fn from(bytes: Bytes) -> Self {
        Self::of(vec![bytes])
    }
}

impl StoredBody {
    /// Copies a large body into a file, piece by piece, so that it is not in memory a third time; where there can be no file,
    /// and of a small one, the pieces are joined.
    pub(crate) fn of(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(Bytes::len).sum();
        if length >= FILE_BYTES_MIN {
            match MemoryFile::of(&pieces, length) {
                Ok(file) => return Self::File(Arc::new(file)),
                Err(error) => {
                    metrics::counter!("bakehouse_edge_memory_files_refused_total").increment(1);
                    tracing::debug!(%error, "a large body is kept without a file: it is copied for each client");
                }
            }
        }
        match <[Bytes; 1]>::try_from(pieces) {
            Ok([only]) => Self::Heap(only),
            Err(pieces) => Self::Heap(pieces.concat().into()),
        }
    }
}

impl MemoryFile {
    /// Its pages.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.pages
    }

    fn of(pieces: &[Bytes], length: usize) -> io::Result<Self> {
        let too_many = || io::Error::other("bodies have as many file descriptors as they may");
        let open = Open::one(length).ok_or_else(too_many)?;
        let mut file =
            File::from(memfd_create("bakehouse-body", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        for piece in pieces {
            file.write_all(piece)?;
        }
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        #[expect(
            unsafe_code,
            reason = "a mapping is sound while nobody can change the file, and it was just sealed"
        )]
        // SAFETY: the seals hold for as long as the file exists, so its pages neither change nor go.
        let pages = unsafe { MmapOptions::new().map_copy_read_only(&file) }?;
        Ok(Self { file, pages, _open: open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_bodies_get_a_file_and_it_reads_as_they_were() {
        for length in [0, 1, FILE_BYTES_MIN - 1, FILE_BYTES_MIN, (1 << 20) + 7] {
            let bytes: Bytes = (0..length).map(|i| (i % 251) as u8).collect();
            let body = StoredBody::from(bytes.clone());
            let StoredBody::File(file) = body else {
                assert!(length < FILE_BYTES_MIN, "{length}");
                continue;
            };
            assert!(length >= FILE_BYTES_MIN && *file.bytes() == bytes, "{length}");
            let mut file = file.file.try_clone().unwrap();
            assert!(file.write_all(b"x").is_err() && file.set_len(1).is_err(), "sealed");
        }
    }
}
