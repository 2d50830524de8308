//! Highlighted code of a site's builds: packs below the site's `.bakehouse/blocks/`, for builds into any folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use release::Digest;
use renderer::{BlockStore, Pack, Stored};

use crate::system::{DATA, keep_out_of_git};

/// Files that are opened: there are fewer, unless many builds wrote at once.
const PACKS_MAX: usize = 64;

/// The packs of a site's folder.
#[derive(Debug)]
pub struct FolderBlocks(PathBuf);

impl FolderBlocks {
    /// Those of a site.
    pub fn of(site: &Path) -> Self {
        Self(site.join(DATA).join("blocks"))
    }

    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        self.0.parent().into_iter().for_each(keep_out_of_git);
        Ok(())
    }

    fn read(&self) -> io::Result<Vec<Pack>> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            // Others are on their way in.
            let Some(name) = name.to_str().filter(|name| name.parse::<Digest>().is_ok()) else { continue };
            match File::open(self.0.join(name)) {
                Ok(file) if packs.len() < PACKS_MAX => {
                    packs.push(Pack::open(name.to_owned(), Stored::File(file)))
                }
                Ok(_) => break,
                // Another build has put it into one of its own.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(packs)
    }
}

impl BlockStore for FolderBlocks {
    fn packs(&self) -> Vec<Pack> {
        match self.read() {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(folder = %self.0.display(), %error, "highlighted code of earlier builds cannot be read");
                Vec::new()
            }
            read => read.unwrap_or_default(),
        }
    }

    fn scratch(&self) -> io::Result<File> {
        self.make()?;
        tempfile::tempfile_in(&self.0)
    }

    fn put(&self, write: &dyn Fn(&mut dyn Write) -> io::Result<Digest>) -> io::Result<Pack> {
        self.make()?;
        let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(&self.0)?);
        let name = write(&mut file)?.to_string();
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let file = file.persist(self.0.join(&name))?;
        Ok(Pack::open(name, Stored::File(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
