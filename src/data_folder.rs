//! The folder where `bake up` keeps its bucket and its keys: `SITE/.bakehouse` unless told otherwise.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::failure::HintExt;
use crate::system::{DATA, UpFile, keep_out_of_git};

/// An open data folder. While it lives, no other process opens the same.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

/// Keys that are made once and kept: whoever has them may write.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keys {
    /// Of the embedded bucket.
    pub access_key_id: String,
    /// Of the embedded bucket.
    pub secret_access_key: String,
    /// For all of the API.
    pub token: String,
    /// For polling and fetching, which is what edges do.
    pub edge_token: String,
}

impl DataFolder {
    /// Opens the folder, and makes it where it is missing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("the data folder `{}` cannot be made", path.display()))
            .hint(|| "choose a folder that can be written to with --data".into())?;
        let path = std::fs::canonicalize(path)?;
        if path.ends_with(DATA) {
            keep_out_of_git(&path);
        }
        let lock = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .with_context(|| format!("`{}` cannot be opened", lock.display()))
            .hint(|| "choose a folder that can be written to with --data".into())?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let who = match UpFile::read(&path) {
                    Ok(Some(up)) => format!(" (process {}, {})", up.pid, up.edge),
                    _ => String::new(),
                };
                Err(anyhow::anyhow!("another `bake` runs on `{}` already{who}", path.display()))
                    .hint(|| "stop it first, or give this one a folder of its own with --data".into())
            }
            Err(error) => Err(error).with_context(|| format!("`{}` cannot be locked", path.display())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys; made at the first call.
    pub fn keys(&self) -> anyhow::Result<Keys> {
        let path = self.path.join("keys.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("`{}` is damaged", path.display()))
                .hint(|| {
                    "remove the file: new keys are made, and what runs with the old ones must be told".into()
                }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let keys = Keys {
                    access_key_id: format!("BAKE{}", random_hex(8).to_uppercase()),
                    secret_access_key: random_hex(20),
                    token: random_hex(16),
                    edge_token: random_hex(16),
                };
                self.write_private("keys.json", &serde_json::to_vec_pretty(&keys)?)?;
                Ok(keys)
            }
            Err(e) => Err(e).with_context(|| format!("`{}` cannot be read", path.display())),
        }
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let write = || -> std::io::Result<()> {
            // The temporary file has mode 0600 from the start.
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.path)?.sync_all()
        };
        write()
            .with_context(|| format!("`{}` cannot be written", path.display()))
            .hint(|| "see whether the disk is full or the folder read-only".into())
    }

    /// Removes `up.json`.
    pub fn remove_up_file(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(UpFile::path(&self.path)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("`{}` cannot be removed", UpFile::path(&self.path).display()))
            }
            _ => Ok(()),
        }
    }
}

/// Random bytes as hexadecimal digits, from the system's generator.
pub fn random_hex(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_opened_once_and_its_keys_are_kept_and_private() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        let folder = DataFolder::open(&path).unwrap();
        let error = DataFolder::open(&path).unwrap_err();
        assert!(format!("{error:#}").starts_with("another `bake` runs on"), "{error:#}");
        let token = folder.keys().unwrap().token;
        assert_eq!(folder.keys().unwrap().token, token);
        let mode = std::fs::metadata(path.join("keys.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
