//! Notices that files of a site's folder have changed, and waits until whoever changes them is done.
//!
//! Editors save by writing in place, by writing beside and renaming, or in two steps with an empty
//! file in between; version control writes hundreds of files. Each of these is one change. A file that
//! is being written counts as open until it is closed; a change is over when nothing is open and
//! nothing has happened for a moment.

mod links;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, EventHandler, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use self::links::Links;
use crate::failure::{self, HintExt, hinted};
use crate::print::tell;

/// Quiet after which a change is over.
const QUIET: Duration = Duration::from_millis(15);
/// The same where many files are written: whoever writes them may be held up between two.
const QUIET_MANY: Duration = Duration::from_millis(120);
const MANY: usize = 16;
/// Quiet after which a change is over though a file is still open, or is empty as between two steps.
const QUIET_OPEN: Duration = Duration::from_millis(300);
/// After this a change is over whatever happens: a file that is written without end must not keep
/// all others from being published.
const CHANGE_MAX: Duration = Duration::from_secs(3);
/// Events that are kept while nobody asks for them; more than that only means `look again`.
const EVENTS_MAX: usize = 4_096;

/// Paths of a change that are told apart; of more, all are looked at.
const PATHS_MAX: usize = 256;

/// Folders at the top of a site that hold no sources, and may be huge.
const NOT_SOURCES: [&str; 3] = ["target", "node_modules", "public"];

/// How long it takes until a folder that cannot be watched is tried again: twice as long after each try that fails.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Watches a site's folder, for as long as it lives: a folder that cannot be watched is tried again and again.
pub struct Watch {
    root: PathBuf,
    /// None while the folder cannot be watched.
    folder: Option<Folder>,
    again: Duration,
    /// Why not, as it was told last.
    told: Option<String>,
}

impl Watch {
    /// Begins to watch `root`. Hidden folders at its top, such as our own, are left out. Why it cannot be watched, if it
    /// cannot, is said on standard error.
    pub fn start(root: &Path) -> Self {
        let mut watch = Self { root: root.to_owned(), folder: None, again: AGAIN_MIN, told: None };
        match Folder::watch(root) {
            Ok(folder) => watch.folder = Some(folder),
            Err(error) => watch.lose(&error),
        }
        watch
    }

    /// Waits for the next change and until it is over. After a time in which the folder could not be watched, that anything
    /// may have changed is a change.
    pub async fn changed(&mut self) -> Change {
        loop {
            if let Some(folder) = &mut self.folder {
                match folder.changed().await {
                    Ok(change) => return change,
                    Err(error) => self.lose(&error),
                }
            }
            tokio::time::sleep(self.again).await;
            match Folder::watch(&self.root) {
                Ok(folder) => {
                    tell!("`{}` is watched again", self.root.display());
                    (self.folder, self.again, self.told) = (Some(folder), AGAIN_MIN, None);
                    return Change { saved: SystemTime::now(), paths: None };
                }
                Err(error) => {
                    self.again = (self.again * 2).min(AGAIN_MAX);
                    self.lose(&error);
                }
            }
        }
    }

    fn lose(&mut self, error: &anyhow::Error) {
        self.folder = None;
        let text = failure::text(error);
        if self.told.as_ref() != Some(&text) {
            tell!("{text}");
            tell!("saves are not noticed until the folder can be watched, which is tried again and again");
            self.told = Some(text);
        }
    }
}

/// A folder that is watched.
struct Folder {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
    /// What links lead to.
    links: Links,
    events: mpsc::Receiver<notify::Result<Event>>,
    /// Whether there were more events than are kept.
    lost: Arc<AtomicBool>,
}

/// Takes events from the system.
#[derive(Clone)]
struct Heard {
    sender: mpsc::Sender<notify::Result<Event>>,
    lost: Arc<AtomicBool>,
}

impl EventHandler for Heard {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        // Where the channel is full, those waiting in it say already that something changed.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(event) {
            self.lost.store(true, Ordering::Release);
            tracing::debug!("more changes at once than are told apart");
        }
    }
}

/// A change that is over.
#[derive(Debug)]
pub struct Change {
    /// When the newest of the changed files was written or put in its place: the moment of the save.
    pub saved: SystemTime,
    /// What may have changed, relative to the folder; none where that may be anything.
    pub paths: Option<BTreeSet<String>>,
}

impl Folder {
    fn watch(root: &Path) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let heard = Heard { sender, lost: Arc::clone(&lost) };
        let watcher = notify::recommended_watcher(heard.clone())
            .context("the system's file notification cannot be used")
            .hint(|| {
                "where too many programs use it, raise fs.inotify.max_user_instances with sysctl".into()
            })?;
        let links = Links::new(heard);
        let mut folder =
            Self { root: root.to_owned(), watcher, watched: HashSet::new(), links, events, lost };
        folder.add(root, RecursiveMode::NonRecursive)?;
        folder.watch_folders()?;
        Ok(folder)
    }

    fn add(&mut self, folder: &Path, mode: RecursiveMode) -> anyhow::Result<()> {
        self.watcher.watch(folder, mode).map_err(|error| unwatched(folder, error))
    }

    fn follow_links(&mut self, path: &Path) -> anyhow::Result<()> {
        self.links.follow(path).map_err(|error| unwatched(path, error))
    }

    /// Watches the folders at the top that may hold sources.
    fn watch_folders(&mut self) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(&self.root)
            .with_context(|| format!("`{}` cannot be read", self.root.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let folder = entry.path();
            if name.starts_with('.') || NOT_SOURCES.contains(&name.as_ref()) {
                continue;
            }
            if !folder.is_dir() {
                if may_be_source(Path::new(&*name)) {
                    self.follow_links(&folder)?;
                }
                continue;
            }
            if folder.join("Cargo.toml").exists() || self.watched.contains(&folder) {
                // A folder of program sources, as beside this project's own content, holds no content.
                continue;
            }
            match std::fs::read_dir(&folder) {
                // It holds nothing that could be rendered, such as `lost+found`.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                // It has just gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                _ => {}
            }
            self.add(&folder, RecursiveMode::Recursive)?;
            self.follow_links(&folder)?;
            self.watched.insert(folder);
        }
        Ok(())
    }

    /// Watches a folder that has come into one that is watched. The watcher does so by itself, and gets to it after this event:
    /// what is written meanwhile, after the files were listed for this change, would be noticed by nobody.
    fn watch_new(&mut self, folder: &Path) -> anyhow::Result<()> {
        if self.watched.iter().any(|watched| folder.starts_with(watched)) {
            match self.add(folder, RecursiveMode::Recursive) {
                // It has gone again.
                Err(_) if !folder.is_dir() => return Ok(()),
                added => added?,
            }
        }
        self.follow_links(folder)
    }

    /// As [`Watch::changed`]; fails where changes may go unnoticed from here on.
    async fn changed(&mut self) -> anyhow::Result<Change> {
        let mut burst = Burst::default();
        let mut is_open = false;
        loop {
            let event = if burst.touched.is_empty() && !burst.rescan {
                self.events.recv().await
            } else {
                let left = burst.left();
                if left.is_zero() {
                    break;
                }
                let quiet = if is_open { QUIET_OPEN - burst.quiet() } else { burst.quiet() };
                match tokio::time::timeout(quiet.min(left), self.events.recv()).await {
                    Ok(event) => event,
                    // Only now, and not with each of thousands of events, all files are looked at.
                    Err(_) if !is_open && left > quiet && burst.is_unfinished() => {
                        is_open = true;
                        continue;
                    }
                    Err(_) => break,
                }
            };
            is_open = false;
            match event {
                Some(Ok(event)) => self.note(&mut burst, event)?,
                Some(Err(error)) => {
                    return Err(unwatched(&self.root, error));
                }
                None => anyhow::bail!("file notification has ended"),
            }
        }
        burst.rescan |= self.lost.swap(false, Ordering::AcqRel);
        Ok(Change { saved: burst.saved(), paths: burst.paths(&self.root) })
    }

    fn note(&mut self, burst: &mut Burst, event: Event) -> anyhow::Result<()> {
        if event.need_rescan() {
            burst.rescan = true;
        }
        let paths = event.paths.into_iter();
        let paths: Vec<PathBuf> = paths
            .flat_map(|path| self.links.to(&path).cloned().chain([path.clone()]).collect::<Vec<_>>())
            .collect();
        for path in paths {
            let Ok(inside) = path.strip_prefix(&self.root) else { continue };
            let is_gone = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
            if is_gone && inside.as_os_str().is_empty() {
                anyhow::bail!("`{}` is no longer where it was", self.root.display());
            }
            let mut names = inside.components().map(|c| c.as_os_str().to_string_lossy());
            let top = names.next().unwrap_or_default();
            let hidden = top.starts_with('.') || names.any(|n| n.starts_with(".#") || n == ".git");
            // What is no more shows no more what it was.
            let has_left = matches!(
                event.kind,
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From))
            );
            let was_folder = has_left && self.watched.remove(&path);
            let is_folder = was_folder || path.is_dir();
            if inside.components().count() == 1 && !is_folder && !may_be_source(inside) {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if hidden || is_of_database(&name) || name.ends_with('~') || NOT_SOURCES.contains(&top.as_ref()) {
                continue;
            }
            if !matches!(event.kind, EventKind::Access(_))
                && std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink())
            {
                // It may lead elsewhere than before, which nobody tells of a folder either. To look there is an access.
                self.follow_links(&path)?;
                if path.is_dir() && self.watched.iter().any(|folder| path.starts_with(folder)) {
                    self.add(&path, RecursiveMode::Recursive)?;
                }
            }
            match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                    burst.open.remove(&path);
                    burst.touch(path);
                }
                EventKind::Access(_) => {}
                EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To))
                    if path.is_dir() =>
                {
                    match path.parent() == Some(&self.root) {
                        true => self.watch_folders()?,
                        false => self.watch_new(&path)?,
                    }
                    // What was written into it before it was watched, nobody tells.
                    burst.rescan = true;
                    burst.touch(path);
                }
                EventKind::Modify(ModifyKind::Data(_)) => {
                    burst.open.insert(path.clone());
                    burst.touch(path);
                }
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                    burst.open.remove(&path);
                    burst.touch(path);
                }
                _ => burst.touch(path),
            }
        }
        Ok(())
    }
}

/// Whether a file is one of those that reading a database makes and removes beside it.
pub fn is_of_database(name: &str) -> bool {
    ["-wal", "-shm", "-journal"].iter().any(|end| name.ends_with(end))
}

/// Whether a file beside `content/` may be configuration or data: logs and the like are written there
/// too, by this very process perhaps, and must not set off a publish each.
fn may_be_source(name: &Path) -> bool {
    const ENDINGS: [&str; 14] = [
        "toml", "json", "yaml", "yml", "csv", "tsv", "md", "txt", "xml", "bib", "bibtex", "db", "sqlite",
        "sqlite3",
    ];
    name.extension().is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn unwatched(folder: &Path, error: notify::Error) -> anyhow::Error {
    let hint = matches!(error.kind, notify::ErrorKind::MaxFilesWatch).then(|| {
        "the system's limit of watches is reached: raise fs.inotify.max_user_watches with sysctl".into()
    });
    hinted(anyhow::Error::new(error).context(format!("`{}` cannot be watched", folder.display())), hint)
}

/// A change that may not be over.
#[derive(Default)]
struct Burst {
    began: Option<Instant>,
    touched: HashSet<PathBuf>,
    open: HashSet<PathBuf>,
    rescan: bool,
}

impl Burst {
    fn touch(&mut self, path: PathBuf) {
        self.began.get_or_insert_with(Instant::now);
        self.touched.insert(path);
    }

    /// What may have changed, relative to `root`; none where that may be anything.
    fn paths(&self, root: &Path) -> Option<BTreeSet<String>> {
        if self.rescan || self.touched.len() > PATHS_MAX {
            return None;
        }
        let inside = |path: &PathBuf| Some(path.strip_prefix(root).ok()?.to_str()?.to_owned());
        self.touched.iter().map(inside).collect()
    }

    /// How long it must be quiet.
    fn quiet(&self) -> Duration {
        if self.touched.len() < MANY { QUIET } else { QUIET_MANY }
    }

    /// How much longer it may take.
    fn left(&self) -> Duration {
        self.began.map_or(CHANGE_MAX, |began| CHANGE_MAX.saturating_sub(began.elapsed()))
    }

    /// Whether a file is still open, or is empty as between two steps.
    fn is_unfinished(&self) -> bool {
        let is_empty = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == 0);
        !self.open.is_empty() || self.touched.iter().any(is_empty)
    }

    /// When the newest of the changed files was written or put in its place; now, where none is left.
    fn saved(&self) -> SystemTime {
        let times = self.touched.iter().filter_map(|path| changed(path));
        times.max().unwrap_or_else(SystemTime::now).min(SystemTime::now())
    }
}

/// When a file last changed in any way. Its time of modification may be that of another day: a file that is moved, copied or
/// checked out can bring it along, and anyone can set it.
fn changed(path: &Path) -> Option<SystemTime> {
    let meta = std::fs::metadata(path).ok()?;
    let (seconds, nanoseconds) = (meta.ctime().try_into().ok()?, meta.ctime_nsec().try_into().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn one_change(act: impl FnOnce(&Path) + Send + 'static) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("content");
        std::fs::create_dir(&content).unwrap();
        std::fs::write(content.join("a.md"), "before").unwrap();
        let mut watch = Watch::start(folder.path());
        let work = tokio::task::spawn_blocking(move || act(&content));
        watch.changed().await;
        work.await.unwrap();
        let mut more = 0;
        while tokio::time::timeout(QUIET_OPEN * 2, watch.changed()).await.is_ok() {
            more += 1;
        }
        1 + more
    }

    #[tokio::test]
    async fn a_change_names_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("content");
        std::fs::create_dir(&content).unwrap();
        let mut watch = Watch::start(folder.path());
        std::fs::write(content.join("a.md"), "text").unwrap();
        let change = watch.changed().await;
        assert_eq!(change.paths.unwrap().into_iter().collect::<Vec<_>>(), ["content/a.md"]);
        std::fs::create_dir(content.join("new")).unwrap();
        std::fs::write(content.join("new/b.md"), "text").unwrap();
        assert_eq!(watch.changed().await.paths, None);
    }

    /// Whether a save is noticed as that of this file, sooner or later: a folder that has just come may not be watched at once.
    async fn is_noticed(watch: &mut Watch, file: &str, save: impl Fn()) -> bool {
        for _ in 0..50 {
            save();
            let change = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await;
            if change.ok().and_then(|change| change.paths).is_some_and(|paths| paths.contains(file)) {
                return true;
            }
        }
        false
    }

    #[tokio::test]
    async fn what_links_lead_to_is_watched() {
        let world = tempfile::tempdir().unwrap();
        let (content, beyond) = (world.path().join("site/content"), world.path().join("beyond"));
        std::fs::create_dir_all(&content).unwrap();
        for folder in ["one", "two"] {
            std::fs::create_dir_all(beyond.join(folder)).unwrap();
            std::fs::write(beyond.join(folder).join("a.md"), folder).unwrap();
        }
        let link = |to: &Path, at: &str| {
            std::os::unix::fs::symlink(to, content.join(".new")).unwrap();
            std::fs::rename(content.join(".new"), content.join(at)).unwrap();
        };
        link(&beyond.join("hop.md"), "a.md");
        std::os::unix::fs::symlink("one/a.md", beyond.join("hop.md")).unwrap();
        let mut watch = Watch::start(&world.path().join("site"));
        let save = |file: &str| {
            std::fs::write(beyond.join("new"), "after").unwrap();
            std::fs::rename(beyond.join("new"), beyond.join(file)).unwrap();
        };
        assert!(is_noticed(&mut watch, "content/a.md", || save("one/a.md")).await);
        // A step of the way.
        assert!(is_noticed(&mut watch, "content/a.md", || save("hop.md")).await);
        // Another target, and a folder that is linked meanwhile.
        link(&beyond.join("two/a.md"), "a.md");
        for change in ["of the link", "of the file"] {
            assert!(is_noticed(&mut watch, "content/a.md", || save("two/a.md")).await, "{change}");
        }
        for folder in ["one", "two"] {
            link(&beyond.join(folder), "linked");
            let save = || save(&format!("{folder}/b.md"));
            assert!(is_noticed(&mut watch, "content/linked/b.md", save).await, "{folder}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_was_away_is_watched_again() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, away) = (parent.path().join("site"), parent.path().join("away"));
        std::fs::create_dir_all(folder.join("content")).unwrap();
        let mut watch = Watch::start(&folder);
        std::fs::rename(&folder, &away).unwrap();
        let back = async {
            tokio::time::sleep(AGAIN_MIN / 2).await;
            std::fs::rename(&away, &folder).unwrap();
        };
        let (change, ()) = tokio::join!(watch.changed(), back);
        assert_eq!(change.paths, None);
        std::fs::write(folder.join("content/a.md"), "text").unwrap();
        assert_eq!(watch.changed().await.paths.unwrap().into_iter().collect::<Vec<_>>(), ["content/a.md"]);
    }

    #[tokio::test]
    async fn a_folder_that_comes_under_another_name_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("content/inner")).unwrap();
        let mut watch = Watch::start(folder.path());
        let rename = |from: &str, to: &str| std::fs::rename(path(from), path(to)).unwrap();
        for (from, to) in [("content", "old"), ("old", "content"), ("content/inner", "content/other")] {
            rename(from, to);
            let file = format!("{to}/a.md");
            assert!(
                is_noticed(&mut watch, &file, || std::fs::write(path(&file), "text").unwrap()).await,
                "{to}"
            );
        }
        // And so is that one goes, and another comes.
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::rename(path("content"), elsewhere.path().join("content")).unwrap();
        let gone = tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.unwrap();
        assert!(gone.paths.is_none_or(|paths| paths.contains("content")));
        std::fs::create_dir(path("content")).unwrap();
        let save = || std::fs::write(path("content/b.md"), "text").unwrap();
        assert!(is_noticed(&mut watch, "content/b.md", save).await);
    }

    #[tokio::test]
    async fn a_folder_that_comes_is_watched_before_its_coming_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let (site, many) = (parent.path().join("site"), parent.path().join("many"));
        std::fs::create_dir_all(site.join("content")).unwrap();
        // So many folders that it takes the watcher longer to get to the last than a change takes to be over.
        for i in 0..4_000 {
            std::fs::create_dir_all(many.join(i.to_string())).unwrap();
        }
        let last = std::fs::read_dir(&many).unwrap().last().unwrap().unwrap().file_name();
        let mut watch = Watch::start(&site);
        std::fs::rename(&many, site.join("content/many")).unwrap();
        assert_eq!(watch.changed().await.paths, None);
        std::fs::write(site.join("content/many").join(last).join("a.md"), "text").unwrap();
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_brings_an_old_time_is_saved_now() {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("content");
        std::fs::create_dir(&content).unwrap();
        let old = folder.path().join("old.tmp");
        std::fs::write(&old, "text").unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(hour_ago).unwrap();
        let mut watch = Watch::start(folder.path());
        std::fs::rename(&old, content.join("a.md")).unwrap();
        let age = watch.changed().await.saved.elapsed().unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
    }

    #[tokio::test]
    async fn every_way_of_saving_is_one_change() {
        let ways: [fn(&Path); 4] = [
            |folder| std::fs::write(folder.join("a.md"), "after").unwrap(),
            |folder| {
                std::fs::write(folder.join("a.md.tmp"), "after").unwrap();
                std::fs::rename(folder.join("a.md.tmp"), folder.join("a.md")).unwrap();
            },
            |folder| {
                std::fs::write(folder.join("a.md"), "").unwrap();
                std::fs::write(folder.join("a.md"), "after").unwrap();
            },
            |folder| {
                for i in 0..500 {
                    std::fs::write(folder.join(format!("{i}.md")), "after").unwrap();
                }
            },
        ];
        for (i, way) in ways.into_iter().enumerate() {
            // Where the machine is busy, whoever saves or watches may be held up for longer than a save is waited for.
            let mut counts = Vec::new();
            while counts.len() < 10 && counts.last() != Some(&1) {
                counts.push(one_change(way).await);
            }
            assert_eq!(counts.last(), Some(&1), "way {i}: {counts:?}");
        }
    }
}
