//! The data of a site's dynamic sources in a process that runs on: what each gave when it was last read well, which are
//! being asked, and when those that fail are asked again.
//!
//! Each source is asked by a task of its own, so that one that never answers holds up nobody but those who want its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use renderer::data::{self, Backoff, DataError, DataSet, Fingerprint, Retries, Snapshot, SourceConfig};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::config::Config;
use crate::{failure, render};

/// First and longest wait before what failed is tried again.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

/// How long anyone waits for answers: most sources give theirs within it.
const GRACE: Duration = Duration::from_millis(100);

/// Sources that are asked at the same time.
const CONCURRENT_MAX: usize = 8;

/// Which sources to ask, beside those that are due: all, some, or none.
#[derive(Debug)]
pub enum Ask {
    /// Every one.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl Ask {
    /// None.
    pub const NONE: Self = Self::Some(BTreeSet::new());

    /// Asks these too; none stand for all.
    pub fn add(&mut self, sources: Option<BTreeSet<String>>) {
        match (&mut *self, sources) {
            (Self::All, _) => {}
            (_, None) => *self = Self::All,
            (Self::Some(names), Some(more)) => names.extend(more),
        }
    }
}

/// The last good data of each source.
pub struct Fetched {
    /// Where relative paths of sources begin.
    root: PathBuf,
    good: DataSet,
    /// How each source that gave its data was configured then, and what its file was like.
    read: BTreeMap<String, (SourceConfig, Option<Fingerprint>)>,
    asked: BTreeMap<String, Asked>,
    tasks: JoinSet<Result<Snapshot, DataError>>,
    permits: Arc<Semaphore>,
    retries: Retries,
    /// Why sources failed when they were asked last.
    failed: BTreeMap<String, DataError>,
}

/// A source that is being asked.
struct Asked {
    task: AbortHandle,
    config: SourceConfig,
    /// Of before it is read: what is written meanwhile is read again.
    fingerprint: Option<Fingerprint>,
}

impl Fetched {
    /// Nothing yet, of a site in this folder.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            good: DataSet::new(),
            read: BTreeMap::new(),
            asked: BTreeMap::new(),
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            retries: Retries::new(BACKOFF),
            failed: BTreeMap::new(),
        }
    }

    /// Takes over what another process read.
    pub fn seed(&mut self, name: &str, snapshot: Snapshot) {
        self.good.insert(name, snapshot);
    }

    /// Asks the sources that are called for, those whose next try is due, those whose file or configuration has changed
    /// since they were read, and those without data. Waits for these last, and a moment for the others. Returns the names
    /// of those that were asked. Nothing is lost where it is given up.
    pub async fn refresh(&mut self, config: &Config, ask: &Ask) -> BTreeSet<String> {
        let called = self.ask(config, ask);
        self.answered(&self.lacking(config)).await;
        // Those that take longer answer later, or fail.
        let _late = tokio::time::timeout(GRACE, self.answered(&called)).await;
        called
    }

    fn ask(&mut self, config: &Config, ask: &Ask) -> BTreeSet<String> {
        let names = || config.asked().map(|s| s.name.as_str());
        self.retries.retain(names());
        self.failed.retain(|name, _| names().any(|n| n == name));
        let due = self.retries.due(Timestamp::now());
        let mut called = BTreeSet::new();
        for source in config.asked() {
            let name = &source.name;
            let asked = self.asked.get(name);
            let is_new = asked.is_none_or(|asked| asked.config != *source);
            let wanted = match ask {
                Ask::All => true,
                Ask::Some(names) => names.contains(name),
            };
            let print = data::fingerprint(source, &self.root);
            // What another process read is asked for when something else calls for it.
            let changed = || match self.read.get(name) {
                Some((config, before)) => config != source || *before != print,
                None => self.good.get(name).is_none() || print.is_some(),
            };
            if !wanted && !(is_new && (due.contains(name) || changed())) {
                continue;
            }
            called.insert(name.clone());
            if is_new {
                self.begin(source.clone(), print);
            }
        }
        called
    }

    fn begin(&mut self, config: SourceConfig, fingerprint: Option<Fingerprint>) {
        let (source, root, permits) = (config.clone(), self.root.clone(), Arc::clone(&self.permits));
        let task = self.tasks.spawn(async move {
            // Nobody closes it.
            let _permit = permits.acquire().await;
            data::fetch(&source, &root, &render::environment).await
        });
        if let Some(before) = self.asked.insert(config.name.clone(), Asked { task, config, fingerprint }) {
            before.task.abort();
        }
    }

    /// Waits until none of these sources is being asked any more.
    async fn answered(&mut self, names: &BTreeSet<String>) {
        while self.asked.keys().any(|name| names.contains(name)) {
            self.next().await;
        }
    }

    /// The next source that has answered or failed; waits for ever where none is asked. Whether its data is other than
    /// before, and what is wrong with it. Nothing is lost where it is given up.
    pub async fn next(&mut self) -> (bool, Option<String>) {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else { std::future::pending().await };
            let id = match &ended {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            let Some(name) =
                self.asked.iter().find(|(_, asked)| asked.task.id() == id).map(|(name, _)| name.clone())
            else {
                // It was asked for in another way since.
                continue;
            };
            let Some(asked) = self.asked.remove(&name) else { continue };
            return match ended {
                Ok((_, Ok(snapshot))) => {
                    if let Some(failing) = self.retries.succeeded(&name) {
                        tracing::info!(
                            source = name,
                            attempts = failing.attempts,
                            "the source can be read again"
                        );
                    }
                    self.failed.remove(&name);
                    self.read.insert(name.clone(), (asked.config, asked.fingerprint));
                    let is_new = self.good.get(&name) != Some(&snapshot);
                    self.good.insert(name, snapshot);
                    (is_new, None)
                }
                Ok((_, Err(error))) => {
                    self.retries.failed(&name, Timestamp::now(), rand::random());
                    let text = error.to_string();
                    self.failed.insert(name, error);
                    (false, Some(text))
                }
                Err(error) => {
                    self.retries.failed(&name, Timestamp::now(), rand::random());
                    (false, Some(format!("asking the source `{name}` ended badly: {error}")))
                }
            };
        }
    }

    /// Whether any of these sources is being asked.
    pub fn is_asking(&self, names: &BTreeSet<String>) -> bool {
        self.asked.keys().any(|name| names.contains(name))
    }

    /// The configured sources that have never given data.
    fn lacking(&self, config: &Config) -> BTreeSet<String> {
        let lacks = |name: &&String| self.good.get(name).is_none();
        config.asked().map(|s| &s.name).filter(lacks).cloned().collect()
    }

    /// What is wrong with these sources.
    ///
    /// # Errors
    /// Where one fails and there is no earlier data of it: half a site is worse than none.
    pub fn problems(&self, config: &Config, names: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
        let lacking = self.lacking(config);
        if lacking.is_empty() {
            let told = |name: &String| names.contains(name) && !self.asked.contains_key(name);
            let failed = self.failed.iter().filter(|(name, _)| told(name));
            return Ok(failed.map(|(_, error)| error.to_string()).collect());
        }
        let errors = || lacking.iter().filter_map(|name| self.failed.get(name));
        let texts: Vec<String> = errors().map(ToString::to_string).collect();
        let error = anyhow::anyhow!("{}; there is no earlier data to fall back on", texts.join("; "));
        Err(failure::hinted(error, errors().find_map(DataError::hint)))
    }

    /// The data of the sources that are configured now.
    pub fn data_of(&self, config: &Config) -> DataSet {
        let known = |s: &SourceConfig| Some((s.name.clone(), self.good.get(&s.name)?.clone()));
        config.asked().filter_map(known).collect()
    }

    /// When the next failed source is asked again.
    pub fn next_try(&self) -> Option<Timestamp> {
        let tries = self.retries.failing().iter().filter(|(name, _)| !self.asked.contains_key(*name));
        tries.map(|(_, failing)| failing.again).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(query: &str) -> Config {
        let sql = |name: &str, query: &str| {
            format!("[[source]]\nname = '{name}'\ntype = 'sql'\ndatabase = 'x.db'\nquery = '{query}'\n")
        };
        toml::from_str(&(sql("one", query) + &sql("two", "SELECT a FROM t"))).unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn rows(fetched: &Fetched, config: &Config, name: &str) -> String {
        let data = fetched.data_of(config);
        String::from_utf8(data.get(name).unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn what_fails_keeps_its_last_good_data() {
        let folder = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(folder.path().join("x.db")).unwrap();
        database.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
        let mut fetched = Fetched::new(folder.path().to_owned());

        let good = config("SELECT a FROM t");
        assert_eq!(
            fetched.refresh(&good, &Ask::NONE).await,
            names(&["one", "two"]),
            "what has no data is asked"
        );
        assert_eq!(fetched.problems(&good, &names(&["one", "two"])).unwrap(), [""; 0]);
        assert!(fetched.refresh(&good, &Ask::NONE).await.is_empty(), "nothing has changed");

        let bad = config("SELECT b FROM t");
        let called = fetched.refresh(&bad, &Ask::NONE).await;
        assert_eq!(called, names(&["one"]), "what is configured anew is asked");
        let problems = fetched.problems(&bad, &called).unwrap();
        assert!(problems.len() == 1 && problems[0].contains("one"), "{problems:?}");
        assert!(rows(&fetched, &bad, "one").contains("\"a\":1"));
        assert!(fetched.next_try().is_some());

        database.execute_batch("UPDATE t SET a = 2").unwrap();
        assert_eq!(
            fetched.refresh(&good, &Ask::NONE).await,
            names(&["one", "two"]),
            "their file was written"
        );
        assert!(rows(&fetched, &good, "one").contains("\"a\":2"));
        assert_eq!(fetched.next_try(), None);
    }

    #[tokio::test]
    async fn half_a_site_is_none() {
        let folder = tempfile::tempdir().unwrap();
        rusqlite::Connection::open(folder.path().join("x.db"))
            .unwrap()
            .execute_batch("CREATE TABLE t (a)")
            .unwrap();
        let mut fetched = Fetched::new(folder.path().to_owned());
        let bad = config("SELECT b FROM t");
        let called = fetched.refresh(&bad, &Ask::All).await;
        let error = fetched.problems(&bad, &called).unwrap_err();
        assert!(error.to_string().contains("no earlier data"), "{error}");
    }
}
