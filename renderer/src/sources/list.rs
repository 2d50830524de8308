//! Lists a folder: what of it is part of a site, within bounds.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Place, SourceFile, Sources, Stat};
use crate::diagnostic::{Diagnostic, Errors};
use crate::limits::{FOLDER_DEPTH_MAX, Limits};

/// What is at the top of a site's folder and is not part of the site: outputs, and the folders of other tools.
const SKIPPED_AT_TOP: &[&str] = &["target", "public", "node_modules"];

/// A listing that goes on: what it has found, and what is wrong.
pub(super) struct Lister<'a> {
    root: Arc<Path>,
    limits: &'a Limits,
    previous: Option<&'a Sources>,
    pub(super) files: BTreeMap<Arc<str>, Arc<SourceFile>>,
    pub(super) errors: Errors,
    /// The folders from the top down to the one that is listed, by device and inode.
    above: Vec<(u64, u64)>,
    /// How many were listed: one that links lead to counts each time.
    folders: usize,
}

impl<'a> Lister<'a> {
    pub(super) fn new(root: Arc<Path>, limits: &'a Limits, previous: Option<&'a Sources>) -> Self {
        let (files, errors) = (BTreeMap::new(), Errors::default());
        Self { root, limits, previous, files, errors, above: Vec::new(), folders: 0 }
    }

    /// Lists the whole folder.
    pub(super) fn all(&mut self) {
        let root = Arc::clone(&self.root);
        // A folder that cannot be looked at cannot be listed, and says so there.
        self.above.extend(fs::metadata(&root).ok().map(|meta| (meta.dev(), meta.ino())));
        self.folder(&root, "", 0);
        if self.errors.is_empty() && self.files.len() > self.limits.files_max {
            self.errors.push(Diagnostic::new(format!(
                "the site has {} files, the limit is {}",
                self.files.len(),
                self.limits.files_max
            )));
        }
    }

    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) {
        self.folders += 1;
        if self.folders == self.limits.files_max {
            self.errors.push(
                Diagnostic::new(format!("the site has more than {} folders", self.limits.files_max))
                    .hint("links that lead to folders with links multiply them"),
            );
        }
        if depth > FOLDER_DEPTH_MAX {
            self.errors.push(
                Diagnostic::in_file(prefix, format!("folders are nested deeper than {FOLDER_DEPTH_MAX}"))
                    .hint("links from folder to folder do this"),
            );
            return;
        }
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(e) => {
                let shown = if prefix.is_empty() { folder.display().to_string() } else { prefix.to_owned() };
                self.errors.push(Diagnostic::in_file(shown, format!("the folder cannot be read: {e}")));
                return;
            }
        };
        for item in listing {
            if self.files.len() > self.limits.files_max || self.folders >= self.limits.files_max {
                return;
            }
            let item = match item {
                Ok(item) => item,
                Err(e) => {
                    self.errors
                        .push(Diagnostic::in_file(prefix, format!("the folder cannot be listed: {e}")));
                    return;
                }
            };
            let name = item.file_name();
            let Some(name) = name.to_str() else {
                self.errors.push(
                    Diagnostic::in_file(
                        format!("{prefix}{}", name.to_string_lossy()),
                        "the file name is not valid UTF-8",
                    )
                    .hint("rename the file"),
                );
                continue;
            };
            if is_editor_file(name)
                || (depth == 0 && (name.starts_with('.') || SKIPPED_AT_TOP.contains(&name)))
            {
                continue;
            }
            if name == ".git" {
                continue;
            }
            let path = format!("{prefix}{name}");
            // What is no link is looked at by its name in the folder, which takes the system half the time.
            let is_link = item.file_type().is_ok_and(|kind| kind.is_symlink());
            let meta = match if is_link { fs::metadata(item.path()) } else { item.metadata() } {
                Ok(meta) => meta,
                // Removed between listing and looking, as editors do when they save: it is not there.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => {
                    self.errors.push(Diagnostic::unreadable(path, &e));
                    continue;
                }
            };
            if meta.is_dir() {
                let id = (meta.dev(), meta.ino());
                if is_link && let Some(to) = self.above.iter().position(|above| *above == id) {
                    let to = path.split('/').take(to).collect::<Vec<_>>().join("/");
                    let to = if to.is_empty() { "the site itself".to_owned() } else { format!("`{to}`") };
                    self.errors.push(
                        Diagnostic::in_file(path, format!("the link leads back to {to}, which it is in"))
                            .hint("remove it: nothing could be listed to its end"),
                    );
                    continue;
                }
                self.above.push(id);
                self.folder(&item.path(), &format!("{path}/"), depth + 1);
                self.above.pop();
            } else if meta.is_file() {
                self.file(path, Stat::of(&meta));
            }
        }
    }

    /// Takes a file.
    pub(super) fn file(&mut self, path: String, stat: Stat) {
        if stat.bytes > self.limits.file_bytes_max {
            self.errors.push(
                Diagnostic::in_file(
                    path,
                    format!("the file has {} bytes, the limit is {}", stat.bytes, self.limits.file_bytes_max),
                )
                .hint("large media belong on a host for them"),
            );
            return;
        }
        let kept = self
            .previous
            .and_then(|previous| previous.files.get(path.as_str()))
            .filter(|(_, known)| matches!(&known.place, Place::Disk { stat: before, .. } if *before == stat));
        let (path, file) = match kept {
            Some((path, known)) => (path.clone(), known.clone()),
            None => {
                let path: Arc<str> = Arc::from(path);
                let place = Place::Disk { root: self.root.clone(), path: path.clone(), stat };
                (path, Arc::new(SourceFile { place, digest: OnceLock::new() }))
            }
        };
        self.files.insert(path, file);
    }
}

/// Whether a listing has what is at this path, if it is a file.
pub(crate) fn is_listed(path: &str) -> bool {
    let mut names = path.split('/');
    let top = path.split('/').next().unwrap_or_default();
    !top.starts_with('.')
        && !SKIPPED_AT_TOP.contains(&top)
        && path.split('/').count() <= FOLDER_DEPTH_MAX + 1
        && names.all(|name| !matches!(name, "" | "." | ".." | ".git") && !is_editor_file(name))
}

/// What editors write beside a file: backups, locks, swap files, vim's probe.
fn is_editor_file(name: &str) -> bool {
    name.ends_with('~')
        || name.starts_with(".#")
        || name == "4913"
        || name == ".DS_Store"
        || (name.starts_with('.')
            && (name.ends_with(".swp") || name.ends_with(".swx") || name.ends_with(".swo")))
}
