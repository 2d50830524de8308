//! The files that a build has put into a folder, for the next one to tell what somebody else has done to them.
//!
//! Owns the list and its bytes. Writing the files, and where the list lies, is for whoever builds.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sources::Stat;

/// What the digest of a list begins with, so that a list of another version is none.
const VERSION: &str = "bakehouse outputs 2";

/// Files of a folder by path below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// Each as it was when it had been written.
    pub files: BTreeMap<String, Written>,
}

/// A file as it was when it had been written. An edit shows also where it keeps size and time of modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(Option<Stat>);

impl Written {
    /// A file that is not to be taken for what it should be: the next build makes it again, or removes it.
    pub const DOUBTED: Self = Self(None);

    /// From what the file system says.
    pub fn of(meta: &Metadata) -> Self {
        Self(Some(Stat::of(meta)))
    }
}

impl Outputs {
    /// The list as bytes, with their digest before them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; blake3::OUT_LEN];
        // Nothing in a list is without a length, and a vector takes all.
        bytes.extend(postcard::to_stdvec(self).unwrap_or_default());
        let digest = blake3::derive_key(VERSION, &bytes[blake3::OUT_LEN..]);
        bytes[..blake3::OUT_LEN].copy_from_slice(&digest);
        bytes
    }

    /// A list as [`Outputs::to_bytes`] gives it; none where it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (digest, list) = bytes.split_first_chunk::<{ blake3::OUT_LEN }>()?;
        if blake3::derive_key(VERSION, list) != *digest {
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

    /// A folder with a file in it, and its list.
    fn built() -> (tempfile::TempDir, Outputs) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.html");
        fs::write(&path, "before").unwrap();
        let written = Written::of(&fs::metadata(&path).unwrap());
        let files = [("a.html".to_owned(), written), ("gone".to_owned(), Written::DOUBTED)];
        (folder, Outputs { files: files.into() })
    }

    #[test]
    fn a_list_comes_back_or_is_refused() {
        let (_folder, outputs) = built();
        let bytes = outputs.to_bytes();
        assert_eq!(Outputs::from_bytes(&bytes), Some(outputs));
        for place in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[place] ^= 1;
            assert_eq!(Outputs::from_bytes(&broken), None);
            assert_eq!(Outputs::from_bytes(&bytes[..place]), None);
        }
    }

    #[test]
    fn an_edit_that_keeps_size_and_time_shows() {
        let (folder, outputs) = built();
        assert_eq!(outputs.damaged(folder.path()), ["gone"]);
        let path = folder.path().join("a.html");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        // Longer than a tick of the kernel's clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "after!").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(outputs.damaged(folder.path()), ["a.html", "gone"]);
        // So does another file in its place.
        let (folder, outputs) = built();
        let (path, beside) = (folder.path().join("a.html"), folder.path().join("b.html"));
        fs::copy(&path, &beside).unwrap();
        fs::File::options()
            .write(true)
            .open(&beside)
            .unwrap()
            .set_modified(fs::metadata(&path).unwrap().modified().unwrap())
            .unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(outputs.damaged(folder.path()), ["a.html", "gone"]);
    }
}
