//! Links in a site's folder to files that are written elsewhere: who watches the folder hears nothing of what they lead to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::Heard;

/// Links that are followed; of what more lead to, the next look at the whole folder tells.
const LINKS_MAX: usize = 10_000;
/// Links after each other that a file is reached by, as the system bounds them.
const STEPS_MAX: usize = 40;
/// Folders in which links are looked for at once: links from folder to folder multiply them.
const FOLDERS_MAX: usize = 200_000;
const DEPTH_MAX: usize = 64;

/// Files that links lead to, and what watches their folders.
pub(super) struct Links {
    heard: Heard,
    /// A notification of its own: where one watches a folder under two names, it tells only the later.
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
    /// By a file that is on their way, the last one included.
    by_file: HashMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Links {
    pub(super) fn new(heard: Heard) -> Self {
        Self { heard, watcher: None, watched: HashSet::new(), by_file: HashMap::new() }
    }

    /// The links that lead to a file.
    pub(super) fn to(&self, file: &Path) -> impl Iterator<Item = &PathBuf> {
        self.by_file.get(file).into_iter().flatten()
    }

    /// Follows the link at a path, or all those below it.
    pub(super) fn follow(&mut self, path: &Path) -> notify::Result<()> {
        let mut folders = vec![(path.to_owned(), 0)];
        let mut looked_at = 0;
        while let Some((path, depth)) = folders.pop() {
            let Ok(entries) = fs::read_dir(&path) else {
                self.file(&path)?;
                continue;
            };
            looked_at += 1;
            if depth == DEPTH_MAX || looked_at == FOLDERS_MAX {
                continue;
            }
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && entry.file_name() != ".git" => {
                        folders.push((entry.path(), depth + 1));
                    }
                    Ok(kind) if kind.is_symlink() => folders.push((entry.path(), depth + 1)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Follows the link at a path, if it is one.
    fn file(&mut self, link: &Path) -> notify::Result<()> {
        let mut at = link.to_owned();
        for _ in 0..STEPS_MAX {
            let Ok(to) = fs::read_link(&at) else { break };
            let to = at.parent().unwrap_or(&at).join(to);
            // As the notification will name it.
            let (Some(folder), Some(name)) = (to.parent(), to.file_name()) else { break };
            let Ok(folder) = fs::canonicalize(folder) else { break };
            at = folder.join(name);
            if !self.by_file.contains_key(&at) && self.by_file.len() >= LINKS_MAX {
                tracing::warn!(link = %link.display(), "more links than are followed: saves of its file go unnoticed");
                break;
            }
            self.by_file.entry(at.clone()).or_default().insert(link.to_owned());
            self.watch(folder)?;
        }
        Ok(())
    }

    fn watch(&mut self, folder: PathBuf) -> notify::Result<()> {
        if self.watched.contains(&folder) {
            return Ok(());
        }
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(notify::recommended_watcher(self.heard.clone())?),
        };
        match watcher.watch(&folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(folder);
                Ok(())
            }
            // It has just gone, or nobody may look into it.
            Err(error) if matches!(&error.kind, ErrorKind::PathNotFound) => Ok(()),
            Err(notify::Error { kind: ErrorKind::Io(error), .. })
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
