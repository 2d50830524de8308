//! What a build leaves for the next one into the same folder: the files it wrote, and what the renderer knows.
//!
//! One file below the site's `.bakehouse/builds/`, replaced as a whole: the length of the list of files (8 bytes,
//! little-endian), the list, the renderer's memo. Without it, or where it is damaged, everything is rendered; what is in
//! it decides which files are removed, so that nothing is which no build wrote.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use release::Digest;
use renderer::{MEMO_BYTES_MAX, Memo, Outputs};

use crate::system::{DATA, keep_out_of_git};

/// What a build left.
#[derive(Debug, Default)]
pub struct Record {
    /// The files that it wrote, or left as they were.
    pub outputs: Outputs,
    memo: Bytes,
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
        let (length, rest) = bytes.split_first_chunk()?;
        let (outputs, memo) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Self { outputs: Outputs::from_bytes(outputs)?, memo: bytes.slice_ref(memo) })
    }

    /// What the renderer knew, as it was written.
    pub fn memo_bytes(&self) -> Bytes {
        self.memo.clone()
    }

    /// What the renderer knew.
    pub fn memo(&self) -> Option<Memo> {
        Memo::open(self.memo.clone())
    }

    /// Writes the record of a build. A site in a read-only folder can be built all the same; only the next build renders
    /// everything, and removes nothing.
    pub fn save(
        place: &Path,
        outputs: &Outputs,
        write_memo: impl Fn(&mut (dyn Write + Send)) -> io::Result<()>,
    ) {
        let new = place.with_extension(format!("{}.new", std::process::id()));
        let save = || -> io::Result<()> {
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)?;
                folder.parent().into_iter().for_each(keep_out_of_git);
            }
            // Digests of the environment are nobody else's business.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            let mut file = BufWriter::new(file);
            let outputs = outputs.to_bytes();
            file.write_all(&(outputs.len() as u64).to_le_bytes())?;
            file.write_all(&outputs)?;
            write_memo(&mut file)?;
            file.flush()?;
            fs::rename(&new, place)
        };
        if let Err(error) = save() {
            // Not there at all, if that is what failed.
            fs::remove_file(&new).ok();
            tracing::warn!(file = %place.display(), %error, "what this build knows was not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("builds").join("0123");
        fs::create_dir_all(place.join("a folder in its place")).unwrap();
        Record::save(&place, &Outputs::default(), |out| out.write_all(b"memo"));
        let names = fs::read_dir(place.parent().unwrap()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["0123"]);
        fs::remove_dir_all(&place).unwrap();
        Record::save(&place, &Outputs::default(), |out| out.write_all(b"memo"));
        assert_eq!(Record::load(&place).memo_bytes(), "memo");
    }
}
