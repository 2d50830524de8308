//! Asking sources: one, or all of them at once.

use std::path::Path;
use std::time::{Instant, SystemTime};

use futures_util::{StreamExt, stream};

use super::config::{SourceConfig, SourceKind};
use super::error::DataError;
use super::page::pages;
use super::snapshot::Snapshot;
use super::{http, sql};

/// Sources that are asked at the same time. A render has few, and more at once would only queue elsewhere.
const CONCURRENT_MAX: usize = 8;

/// Asks a source and checks its rows, so that what is returned makes its pages without an error. One that is a
/// [file](SourceConfig::file) cannot be asked.
///
/// `root` is the site's folder; `env` looks a variable of the environment up.
///
/// # Errors
/// Why there is no data: see [`DataError`]. The caller keeps the data that it has.
pub async fn fetch(
    source: &SourceConfig,
    root: &Path,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Snapshot, DataError> {
    let began = Instant::now();
    let result = checked(source, root, env).await;
    let outcome = result.as_ref().map_or_else(DataError::kind, |_| "ok");
    metrics::counter!("bakehouse_source_fetches_total", "source" => source.name.clone(), "outcome" => outcome)
        .increment(1);
    metrics::histogram!("bakehouse_source_fetch_seconds", "source" => source.name.clone())
        .record(began.elapsed().as_secs_f64());
    result
}

async fn checked(
    source: &SourceConfig,
    root: &Path,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Snapshot, DataError> {
    let asked = async {
        match &source.kind {
            SourceKind::Sql(config) => sql::query(source, config, root).await,
            SourceKind::Http(config) => http::get(source, config, env).await,
            SourceKind::File(_) => Err(DataError::Config {
                name: source.name.clone(),
                key: "type".into(),
                problem: "\"file\" is read with the site: there is nobody to ask".into(),
            }),
        }
    };
    let snapshot = tokio::time::timeout(source.timeout, asked).await.unwrap_or_else(|_| {
        Err(DataError::Timeout {
            name: source.name.clone(),
            timeout_ms: u64::try_from(source.timeout.as_millis()).unwrap_or(u64::MAX),
        })
    })?;
    pages(source, &snapshot)?;
    Ok(snapshot)
}

/// Asks sources concurrently, each with its own deadline; one that fails holds no other back. In the order of `sources`.
pub async fn fetch_all<'a>(
    sources: impl IntoIterator<Item = &'a SourceConfig>,
    root: &Path,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Vec<(String, Result<Snapshot, DataError>)> {
    let asked: Vec<_> = sources
        .into_iter()
        .map(|source| async move { (source.name.clone(), fetch(source, root, env).await) })
        .collect();
    stream::iter(asked).buffered(CONCURRENT_MAX).collect().await
}

/// What tells whether a source's file was written to, without reading it. Two that are equal: nothing was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    database: Option<FileState>,
    wal: Option<FileState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    len: u64,
    modified: Option<SystemTime>,
}

/// The fingerprint of an SQL source: its database and the write-ahead log beside it, where a commit may stay for hours.
/// `None` for sources without a file.
#[must_use]
pub fn fingerprint(source: &SourceConfig, root: &Path) -> Option<Fingerprint> {
    let SourceKind::Sql(config) = &source.kind else { return None };
    let database = root.join(&config.database);
    let mut wal = database.clone().into_os_string();
    wal.push("-wal");
    // A reader makes and removes an empty log: it says nothing, and would set off the next read for ever.
    let wal = state(Path::new(&wal)).filter(|state| state.len > 0);
    Some(Fingerprint { database: state(&database), wal })
}

fn state(path: &Path) -> Option<FileState> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(FileState { len: metadata.len(), modified: metadata.modified().ok() })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use axum::Router;
    use axum::routing::get;
    use serde::Deserialize;

    use super::super::{DataSet, from_file};
    use super::*;
    use crate::schedule::{Schedule, ScheduleConfig};
    use crate::{Limits, Sources};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Newsroom {
        source: Vec<SourceConfig>,
        schedule: Vec<ScheduleConfig>,
    }

    /// The example of the repository, as it is committed, with its API on another port.
    #[tokio::test]
    async fn the_newsroom_is_right() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/newsroom");
        let text = std::fs::read_to_string(root.join("bakehouse.toml")).unwrap();
        let mut site: Newsroom = toml::from_str(&text).unwrap();
        let names = site.source.iter().map(|source| source.name.as_str());
        assert_eq!(Schedule::all(&site.schedule, names).unwrap().len(), 1);

        let weather = std::fs::read_to_string(root.join("weather.json")).unwrap();
        let router = Router::new().route("/weather", get(move || async move { weather }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let files: Vec<SourceConfig> = site.source.extract_if(.., |source| source.file().is_some()).collect();
        for source in &mut site.source {
            if let SourceKind::Http(config) = &mut source.kind {
                config.url = config.url.replace("127.0.0.1:8099", &address.to_string());
            }
        }
        let mut set = DataSet::new();
        for (name, result) in fetch_all(&site.source, &root, &|_| None).await {
            set.insert(name, result.unwrap());
        }
        let paths: Vec<String> = site
            .source
            .iter()
            .flat_map(|source| pages(source, set.get(&source.name).unwrap()).unwrap())
            .map(|page| page.path)
            .collect();
        assert_eq!(
            paths,
            [
                "news/rows-that-are-pages.md",
                "news/an-api-can-be-away.md",
                "news/clocks-that-jump.md",
                "weather/bremen.md",
                "weather/lord-howe.md",
                "weather/new-york.md",
                "weather/são-paulo.md",
            ]
        );
        let sources = Sources::from_folder(&root, &Limits::default()).unwrap();
        let [staff] = files.as_slice() else { panic!("{files:?}") };
        let pages = from_file(staff, staff.file().unwrap(), &sources, false).pages;
        let paths: Vec<&str> = pages.iter().map(|page| page.path.as_str()).collect();
        assert_eq!(paths, ["staff/ida.md", "staff/tomas.md", "staff/mei.md"]);
    }
}
