//! Hands what was rendered, and what it was rendered from, to a draft.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use renderer::{Sources, data};

use super::known::Recorded;
use super::stop::Stop;
use crate::config::Config;

/// Hands rendered files to a draft, and keeps the reason why it took one no more.
pub(super) struct DraftSink {
    pub(super) sink: origin::publish::Sink,
    refused: Mutex<Option<origin::Error>>,
}

impl DraftSink {
    pub(super) fn new(sink: origin::publish::Sink) -> Self {
        Self { sink, refused: Mutex::default() }
    }

    fn note(&self, result: Result<(), origin::Error>) -> Result<(), renderer::SinkClosed> {
        result.map_err(|error| {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            renderer::SinkClosed
        })
    }

    pub(super) fn refused(&self) -> Result<(), Stop> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.take().map_or(Ok(()), |error| Err(Stop::of(error)))
    }
}

impl renderer::Sink for DraftSink {
    fn put(&self, file: release::File) -> Result<(), renderer::SinkClosed> {
        self.note(self.sink.file(file))
    }

    fn remove(&self, path: &str) -> Result<(), renderer::SinkClosed> {
        self.note(self.sink.remove(path))
    }
}

/// Hands over what was rendered from: all of it, or what differs from what is recorded already.
pub(super) fn hand_over(
    sink: &origin::publish::Sink,
    input: &renderer::Input,
    recording: &Recorded,
    before: Recorded,
) -> Result<(), Stop> {
    let Recorded { sources, data, files } = recording;
    let changes = sources.changes_since(&before.sources);
    let changes = changes.into_iter().filter(|(path, _)| is_published(path));
    // Files elsewhere are recorded because the configuration names them, which may be new.
    let elsewhere = files.union(&before.files).filter(|path| !is_published(path));
    let elsewhere = elsewhere.map(|path| {
        let file = sources.get(path).filter(|_| files.contains(path));
        (path.as_str(), file)
    });
    for (path, file) in changes.chain(elsewhere) {
        let Some(file) = file else {
            sink.remove_source(path).map_err(Stop::of)?;
            continue;
        };
        let failed = |e| Stop::passing(anyhow::anyhow!("`{path}` cannot be read: {e}"));
        let digest = file.digest().map_err(failed)?;
        let (sources, name) = (sources.clone(), path.to_owned());
        let read = move || sources.get(&name).ok_or(std::io::ErrorKind::NotFound)?.read();
        sink.source_with(path, digest.into(), read).map_err(Stop::of)?;
    }
    for (name, snapshot) in input.data.iter().filter(|(name, _)| data.contains(*name)) {
        sink.data(&data::record_path(name), snapshot.to_bytes().into()).map_err(Stop::of)?;
    }
    for name in before.data.difference(data) {
        sink.remove_source(&data::record_path(name)).map_err(Stop::of)?;
    }
    Ok(())
}

/// The files that a release is rendered from, and is recorded with: what lies in a site's own folders,
/// the configuration beside them, and the files that it names as sources of data.
pub fn published_sources<'a>(
    sources: &'a Sources,
    config: &Config,
) -> impl Iterator<Item = (&'a str, &'a renderer::SourceFile)> {
    let files = files_of(config);
    sources.iter().filter(move |(path, _)| is_published(path) || files.contains(*path))
}

/// The files that sources of data are.
pub(super) fn files_of(config: &Config) -> BTreeSet<String> {
    config.source.iter().filter_map(|source| Some(source.file()?.path.clone())).collect()
}

pub(super) fn is_published(path: &str) -> bool {
    const FOLDERS: [&str; 8] =
        ["content", "templates", "static", "sass", "themes", "data", "i18n", "schemas"];
    match path.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder),
        None => path.ends_with(".toml") && !path.starts_with("Cargo"),
    }
}
