//! The memo of the release that a folder was published as, beside that folder: who publishes it again asks the bucket for no
//! memo, as long as nobody else has published since.
//!
//! It is what the bucket has, byte for byte, and is believed no more than that.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use release::keys::Site;
use tempfile::NamedTempFile;

use super::PACKED_BYTES_MAX;
use crate::system::{DATA, keep_out_of_git};

/// Where it lies.
#[derive(Debug, Clone)]
pub struct Beside(PathBuf);

impl Beside {
    /// That of a site, for publishes of this folder.
    pub fn of(folder: &Path, site: &Site) -> Self {
        Self(folder.join(DATA).join("memo").join(site.to_string()))
    }

    /// What was kept last, if anything.
    pub(super) fn read(&self) -> Option<Vec<u8>> {
        let length = fs::metadata(&self.0).ok()?.len();
        (length <= PACKED_BYTES_MAX as u64).then(|| fs::read(&self.0).ok())?
    }

    /// Keeps a memo in place of the last. A folder that cannot be written to can be published all the same.
    pub(super) fn keep(&self, whole: &[u8]) {
        if let Err(error) = self.replace(whole) {
            tracing::debug!(file = %self.0.display(), %error, "what this publish knows was not kept beside the site");
        }
    }

    fn replace(&self, whole: &[u8]) -> io::Result<()> {
        let folder = self.0.parent().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(folder)?;
        folder.parent().into_iter().for_each(keep_out_of_git);
        let mut new = NamedTempFile::new_in(folder)?;
        new.write_all(whole)?;
        new.persist(&self.0)?;
        Ok(())
    }
}
