//! What a build leaves for the next one into the same folder: the files it wrote, and what the renderer knows.
//!
//! One file below the site's `.bakehouse/builds/`, replaced as a whole. Without it, or where it is damaged, everything is
//! rendered; what is in it decides which files are removed, so that nothing is which no build wrote.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use release::Digest;
use renderer::{MEMO_BYTES_MAX, Memo};
use serde::{Deserialize, Serialize};

use crate::system::DATA;

/// What a build left.
#[derive(Debug, Default)]
pub struct Record {
    /// The files that it wrote, or left as they were, by path below the folder.
    pub outputs: BTreeMap<String, Written>,
    memo: Bytes,
}

/// A file as it was when it had been written: size, and when it was modified, in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(u64, i64, i64);

impl Written {
    /// From what the file system says.
    pub fn of(meta: &Metadata) -> Self {
        Self(meta.len(), meta.mtime(), meta.mtime_nsec())
    }
}

/// Where the record of builds of a site into the folder `out`, which exists, lies.
pub fn place(site: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let absolute = fs::canonicalize(out)?;
    let name = Digest::of(absolute.as_os_str().as_encoded_bytes()).short();
    Ok(site.join(DATA).join("builds").join(name))
}

impl Record {
    /// Reads the record; an empty one where there is none that can be used.
    pub fn load(place: &Path) -> Self {
        Self::read(place).unwrap_or_default()
    }

    fn read(place: &Path) -> Option<Self> {
        if fs::metadata(place).ok()?.len() > MEMO_BYTES_MAX {
            return None;
        }
        let bytes = Bytes::from(fs::read(place).ok()?);
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let outputs = serde_json::from_slice(&bytes[..end]).ok()?;
        Some(Self { outputs, memo: bytes.slice(end + 1..) })
    }

    /// What the renderer knew.
    pub fn memo(&self) -> Option<Memo> {
        Memo::open(self.memo.clone())
    }

    /// The files in `out` that are not as they were written.
    pub fn damaged(&self, out: &Path) -> Vec<String> {
        let as_written = |path: &str, written: &Written| {
            fs::symlink_metadata(out.join(path))
                .is_ok_and(|meta| meta.is_file() && Written::of(&meta) == *written)
        };
        let damaged = self.outputs.iter().filter(|(path, written)| !as_written(path, written));
        damaged.map(|(path, _)| path.clone()).collect()
    }

    /// Writes the record of a build. A site in a read-only folder can be built all the same; only the next build renders
    /// everything, and removes nothing.
    pub fn save(
        place: &Path,
        outputs: &BTreeMap<String, Written>,
        write_memo: impl Fn(&mut dyn Write) -> io::Result<()>,
    ) {
        let save = || -> io::Result<()> {
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)?;
            }
            let new = place.with_extension(format!("{}.new", std::process::id()));
            // Digests of the environment are nobody else's business.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            let mut file = BufWriter::new(file);
            serde_json::to_writer(&mut file, outputs)?;
            file.write_all(b"\n")?;
            write_memo(&mut file)?;
            file.flush()?;
            fs::rename(&new, place)
        };
        if let Err(error) = save() {
            tracing::warn!(file = %place.display(), %error, "what this build knows was not kept");
        }
    }
}
