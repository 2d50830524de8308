//! Brings together what a render needs: the site's files, its configuration, its data.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use renderer::data::{self, DataSet, Faults, FileRows};
use renderer::{BaseUrl, CONFIG_NAMES, Diagnostic, Errors, Input, Limits, Memo, Options, Sources};

use crate::config::{self, Config};
use crate::failure::{Content, HintExt};

/// Bytes of content that a renderer keeps within its only render: feeds and lists ask for a page's soon after it was made,
/// if at all.
pub const ONE_RENDER_BYTES_MAX: usize = 4 << 20;

/// A site's folder, listed.
pub struct Folder {
    /// Where it is.
    pub root: PathBuf,
    /// Its `bakehouse.toml`.
    pub config: Config,
    /// Its files.
    pub sources: Sources,
}

impl Folder {
    /// Lists the folder; `given` is the name of the configuration that its render reads, if not the usual one.
    pub fn open(root: &Path, given: Option<&str>) -> anyhow::Result<Self> {
        Self::open_again(root, given, None)
    }

    /// Lists the folder; what a memo knows of it is not read again.
    pub fn open_again(root: &Path, given: Option<&str>, memo: Option<&Memo>) -> anyhow::Result<Self> {
        let config = config_in(root, given)?;
        let sources = match memo {
            Some(memo) => memo.sources(root).from_folder_again(&limits(&config)),
            None => Sources::from_folder(root, &limits(&config)),
        };
        let sources = content(sources)?;
        Ok(Self { root: root.to_owned(), config, sources })
    }

    /// Lists the folder although something is wrong with its `bakehouse.toml`, of which what is right is taken. The second is
    /// what is wrong, and what may lack for it.
    ///
    /// # Errors
    /// Where the folder cannot be listed: that, and what is wrong.
    pub fn open_despite(root: &Path, mut wrong: Errors) -> Result<(Self, Faults), Errors> {
        let text = std::fs::read_to_string(root.join(config::FILE)).unwrap_or_default();
        let (config, unknown) = Config::despite(&text);
        match Sources::from_folder(root, &limits(&config)) {
            Ok(sources) => {
                let mut faults = Faults::default();
                faults.add_config(wrong, unknown);
                Ok((Self { root: root.to_owned(), config, sources }, faults))
            }
            Err(more) => {
                wrong.append(more);
                Err(wrong)
            }
        }
    }

    /// Asks every source that is not a file; the second is what is wrong with those that failed.
    pub async fn fetch_data(&self) -> (DataSet, Faults) {
        let (mut good, mut failed) = (DataSet::new(), Faults::default());
        for (name, result) in data::fetch_all(self.config.asked(), &self.root, &environment).await {
            match result {
                Ok(snapshot) => {
                    good.insert(name, snapshot);
                }
                Err(error) => {
                    let source = self.config.source.iter().filter(|source| source.name == name);
                    source.for_each(|source| failed.add_unread(source, &self.sources, &error));
                }
            }
        }
        (good, failed)
    }

    /// All that a render reads.
    pub fn input(&self, data: DataSet, now: Timestamp, base_url: BaseUrl, drafts: bool) -> Input {
        let options = Options { drafts, base_url, ..options(&self.config) };
        input(self.sources.clone(), &self.config, data, now, options)
    }
}

/// All that a render reads, from sources that may come from a bucket; `data` is that of what was asked.
pub fn input(
    sources: Sources,
    config: &Config,
    mut data: DataSet,
    now: Timestamp,
    options: Options,
) -> Input {
    let (mut rows, mut faults) = (Vec::new(), Faults::default());
    for source in &config.source {
        if let Some(file) = source.file() {
            let FileRows { snapshot, pages, errors } =
                data::from_file(source, file, &sources, options.source_lines);
            faults.add(source, snapshot.is_some(), errors);
            rows.extend(pages);
            if let Some(snapshot) = snapshot {
                data.insert(source.name.as_str(), snapshot);
            }
        } else if let Some(snapshot) = data.get(&source.name) {
            match data::pages(source, snapshot) {
                Ok(pages) => rows.extend(pages),
                Err(error) => {
                    let wrong = Diagnostic::new(error.to_string()).maybe_hint(error.hint());
                    faults.add(source, true, wrong.into());
                }
            }
        }
    }
    Input { sources, data: Arc::new(data), row_pages: Arc::new(rows), faults, now, options }
}

/// Fails unless `root` holds a site: content, or what says that there is one. Where nobody has written anything yet, a front
/// page can be all of it.
pub fn check_folder(root: &Path) -> anyhow::Result<()> {
    let content = root.join("content");
    match std::fs::metadata(&content) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && CONFIG_NAMES.iter().any(|name| root.join(name).is_file()) =>
        {
            Ok(())
        }
        Ok(_) => Err(anyhow::anyhow!("`{}` is not a folder", content.display())),
        Err(error) => Err(error)
            .with_context(|| format!("there is no site in `{}`: `{}`", root.display(), content.display())),
    }
    .hint(|| "name the folder that holds `content/`".into())
}

/// How the configuration says to render.
pub fn options(config: &Config) -> Options {
    Options {
        limits: limits(config),
        images: config.images.clone(),
        math: config.markdown.math,
        ..Options::default()
    }
}

/// The bounds that the configuration sets.
pub fn limits(config: &Config) -> Limits {
    Limits { page_bytes_max: config.limits.page_bytes_max.get(), ..Limits::default() }
}

/// A variable of the environment, for secrets of sources.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Errors of the content as this crate's.
pub fn content<T>(result: Result<T, Errors>) -> anyhow::Result<T> {
    result.map_err(|errors| Content(errors).into())
}

/// The configuration of the site in a folder.
pub fn config_in(root: &Path, given: Option<&str>) -> anyhow::Result<Config> {
    check_folder(root)?;
    Config::of_site(root).map_err(|error| match Sources::from_folder(root, &Limits::default()) {
        Ok(sources) => and_of_render(error, &sources, given),
        Err(_) => error,
    })
}

/// Adds to what is wrong with `bakehouse.toml` what is wrong with the configuration that a render would read.
fn and_of_render(error: anyhow::Error, sources: &Sources, given: Option<&str>) -> anyhow::Error {
    match error.downcast::<Content>() {
        Ok(Content(mut errors)) => {
            errors.append(renderer::config_errors(sources, given));
            Content(errors).into()
        }
        Err(error) => error,
    }
}

/// The configuration among a site's sources.
pub fn config_of(sources: &Sources) -> anyhow::Result<Config> {
    let text = match sources.get(config::FILE) {
        Some(file) => {
            let length = file.bytes_len();
            anyhow::ensure!(
                length <= config::BYTES_MAX,
                "`{}` has {length} bytes; {} are allowed",
                config::FILE,
                config::BYTES_MAX
            );
            let bytes = file.read().with_context(|| format!("`{}` cannot be read", config::FILE))?;
            config::text_of(bytes.to_vec(), Path::new(config::FILE))?
        }
        None => String::new(),
    };
    Config::parse(&text, Path::new(config::FILE), &environment)
        .map_err(|error| and_of_render(error, sources, None))
}
