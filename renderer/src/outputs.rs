//! The files that a build has put into a folder, for the next one to tell what somebody else has done to them.
//!
//! Owns the list and its bytes. Writing the files, and where the list lies, is for whoever builds.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Files of a folder by path below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// Each as it was when it had been written.
    pub files: BTreeMap<String, Written>,
}

/// A file as it was when it had been written: size, and when it was modified, in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(u64, i64, i64);

impl Written {
    /// A file that is not to be taken for what it should be: the next build makes it again, or removes it.
    pub const DOUBTED: Self = Self(u64::MAX, 0, 0);

    /// From what the file system says.
    pub fn of(meta: &Metadata) -> Self {
        Self(meta.len(), meta.mtime(), meta.mtime_nsec())
    }
}

impl Outputs {
    /// The list as bytes, with their digest before them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; blake3::OUT_LEN];
        // Nothing in a list is without a length, and a vector takes all.
        bytes.extend(postcard::to_stdvec(self).unwrap_or_default());
        let digest = blake3::hash(&bytes[blake3::OUT_LEN..]);
        bytes[..blake3::OUT_LEN].copy_from_slice(digest.as_bytes());
        bytes
    }

    /// A list as [`Outputs::to_bytes`] gives it; none where it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (digest, list) = bytes.split_first_chunk::<{ blake3::OUT_LEN }>()?;
        if blake3::hash(list).as_bytes() != digest {
            return None;
        }
        postcard::from_bytes(list).ok()
    }

    /// The files in `folder` that are not as they were written.
    pub fn damaged(&self, folder: &Path) -> Vec<String> {
        let as_written = |path: &str, written: &Written| {
            fs::symlink_metadata(folder.join(path))
                .is_ok_and(|meta| meta.is_file() && Written::of(&meta) == *written)
        };
        let damaged = self.files.iter().filter(|(path, written)| !as_written(path, written));
        damaged.map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_or_is_refused() {
        let files = [("a/index.html".to_owned(), Written(3, -1, 5)), ("b".to_owned(), Written(0, 7, 0))];
        let outputs = Outputs { files: files.into() };
        let bytes = outputs.to_bytes();
        assert_eq!(Outputs::from_bytes(&bytes), Some(outputs));
        for place in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[place] ^= 1;
            assert_eq!(Outputs::from_bytes(&broken), None);
            assert_eq!(Outputs::from_bytes(&bytes[..place]), None);
        }
    }
}
