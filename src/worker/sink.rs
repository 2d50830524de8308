//! Hands what was rendered, and what it was rendered from, to a draft.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use renderer::{SourceFile, Sources, data, front_matter};

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
    // Files elsewhere are recorded because the configuration names them or something asked for them, which may be new.
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
        let digest = match file.digest() {
            Ok(digest) => digest,
            Err(error) if !is_published(path) => {
                // What asked for it did without.
                tracing::warn!(path, %error, "a file beside the site's folders cannot be read, and is not recorded");
                continue;
            }
            Err(e) => return Err(Stop::passing(anyhow::anyhow!("`{path}` cannot be read: {e}"))),
        };
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

/// The files that a release is rendered from, and is recorded with: what lies in a site's own folders, the configuration
/// beside them, and files elsewhere that a source of data, a template or a content names.
pub fn published_sources<'a>(
    sources: &'a Sources,
    config: &Config,
) -> impl Iterator<Item = (&'a str, &'a SourceFile)> {
    let files = &files_of(config) | &named(sources);
    sources.iter().filter(move |(path, _)| is_published(path) || files.contains(*path))
}

/// Files elsewhere that stand in quotes in a template, in a content that is one, or in front matter, as in
/// `load_data(path="prices.json")`: whoever sends sources has not rendered them, and cannot know what was read.
fn named(sources: &Sources) -> BTreeSet<String> {
    if sources.iter().all(|(path, _)| is_published(path)) {
        return BTreeSet::new();
    }
    let may_name = |path: &str| match path.split_once('/') {
        Some(("content", name)) => name.ends_with(".md"),
        Some((folder, inside)) => {
            folder == "templates" || folder == "themes" && inside.contains("/templates/")
        }
        None => false,
    };
    let texts = sources.iter().filter(|(path, _)| may_name(path)).filter_map(|(path, file)| {
        // What cannot be read is said by whoever renders it.
        let text = String::from_utf8_lossy(&file.read().ok()?).into_owned();
        let is_template = !path.ends_with(".md") || text.contains("{{") || text.contains("{%");
        if is_template { Some(text) } else { front_matter(&text).map(str::to_owned) }
    });
    texts.flat_map(|text| quoted(&text, sources)).collect()
}

/// Files elsewhere that sources of data are.
pub(super) fn files_of(config: &Config) -> BTreeSet<String> {
    config.source.iter().filter_map(|source| Some(source.file()?.path.clone())).collect()
}

/// The files elsewhere that stand in quotes in a text.
fn quoted(text: &str, sources: &Sources) -> Vec<String> {
    let parts = text.split(['"', '\'', '`']).map(|part| part.trim_start_matches('/'));
    parts.filter(|part| !is_published(part) && sources.get(part).is_some()).map(str::to_owned).collect()
}

pub(super) fn is_published(path: &str) -> bool {
    const FOLDERS: [&str; 8] =
        ["content", "templates", "static", "sass", "themes", "data", "i18n", "schemas"];
    match path.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder),
        None => path.ends_with(".toml") && !path.starts_with("Cargo"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_elsewhere_are_sent_where_they_are_named() {
        let files = [
            ("zola.toml", "[extra]\nkey = \"keys/deploy.pem\""),
            ("keys/deploy.pem", ""),
            ("content/a.md", "{{ load_data(path=\"/notes/oven.json\") }}"),
            ("content/b.md", "+++\nextra.data = \"notes/rye.json\"\n+++\nThis is \"notes/mentioned.json\"."),
            ("notes/rye.json", ""),
            ("themes/t/templates/page.html", "{% set x = load_data(path='rates.csv') %}"),
            ("notes/oven.json", ""),
            ("notes/mentioned.json", ""),
            ("notes/other.json", ""),
            ("rates.csv", ""),
            ("rolls.csv", ""),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), bytes::Bytes::from_static(text.as_bytes())));
        let sources = Sources::from_files(files);
        let rolls = "[[source]]\nname = \"rolls\"\ntype = \"file\"\npath = \"rolls.csv\"\n";
        let (config, _) = Config::despite(rolls);
        let sent =
            published_sources(&sources, &config).map(|(path, _)| path).filter(|path| !is_published(path));
        assert_eq!(sent.collect::<Vec<_>>(), ["notes/oven.json", "notes/rye.json", "rates.csv", "rolls.csv"]);
    }
}
