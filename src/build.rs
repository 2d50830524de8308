//! `bake build`: a plain folder of files, for any host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use release::{Digest, File};
use renderer::{BaseUrl, Renderer, Sink, SinkClosed};

use crate::failure::HintExt;
use crate::render::{self, Folder};
use crate::system::DATA;

/// Render the site to a folder of files
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Folder that holds `content/`
    #[arg(default_value = ".", value_name = "SITE")]
    folder: PathBuf,
    /// Where to write; files of an earlier build that are no longer made are removed, others are left
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Address that links begin with, in place of the configured `base_url`
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Render drafts too
    #[arg(long)]
    drafts: bool,
    /// Configuration to read, by its path below SITE, in place of `zola.toml` or `config.toml`
    #[arg(long, short, value_name = "FILE")]
    config: Option<String>,
}

/// Runs the command.
pub async fn run(args: BuildArgs) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let base_url = args.base_url.map_or(BaseUrl::Configured, BaseUrl::Given);
    let folder = Folder::open(&args.folder)?;
    let (data, failed) = folder.fetch_data().await;
    if !failed.is_empty() {
        return Err(anyhow::anyhow!(failed.join("\n"))).hint(|| {
            "a build has no earlier data to fall back on: see that the source can be reached".into()
        });
    }
    let summary = tokio::task::spawn_blocking(move || {
        let sink = FolderSink::new(&args.out)?;
        let mut input = folder.input(data, jiff::Timestamp::now(), base_url, args.drafts)?;
        input.options.config = args.config;
        let result = Renderer::for_one_render(render::ONE_RENDER_BYTES_MAX).render(&input, None, &sink);
        let files = sink.close()?;
        let summary = render::content(result)?;
        Record::replace(&args.folder, &args.out, files)?;
        anyhow::Ok(summary)
    })
    .await??;
    for warning in &summary.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{} pages, {} files in {} ms", summary.pages, summary.outputs, began.elapsed().as_millis());
    Ok(())
}

/// Writes files below a folder.
struct FolderSink {
    out: PathBuf,
    written: Mutex<(BTreeSet<String>, Option<anyhow::Error>)>,
}

impl FolderSink {
    fn new(out: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(out)
            .with_context(|| format!("the folder `{}` cannot be made", out.display()))
            .hint(|| "choose another place with --out".into())?;
        Ok(Self { out: out.to_owned(), written: Mutex::default() })
    }

    fn write(&self, file: &File) -> anyhow::Result<()> {
        release::file::check_path(&file.path)?;
        let path = self.out.join(&file.path);
        let folder = path.parent().unwrap_or(&self.out);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, &file.body));
        written.with_context(|| format!("`{}` cannot be written", path.display()))
    }

    /// The paths that were written, or what went wrong first.
    fn close(self) -> anyhow::Result<BTreeSet<String>> {
        match self.written.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            (files, None) => Ok(files),
            (_, Some(error)) => Err(error),
        }
    }
}

impl Sink for FolderSink {
    fn remove(&self, _: &str) -> Result<(), SinkClosed> {
        // A render of its own hands over everything; the record of the last build says what is gone.
        Ok(())
    }

    fn put(&self, file: File) -> Result<(), SinkClosed> {
        let result = self.write(&file);
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok(()) => {
                written.0.insert(file.path);
                Ok(())
            }
            Err(error) => {
                written.1.get_or_insert(error);
                Err(SinkClosed)
            }
        }
    }
}

/// What earlier builds wrote to a folder, so that what is no longer made can be removed, and nothing
/// else.
struct Record;

impl Record {
    fn replace(site: &Path, out: &Path, files: BTreeSet<String>) -> anyhow::Result<()> {
        let folder = site.join(DATA).join("builds");
        let absolute = std::fs::canonicalize(out)?;
        let name = Digest::of(absolute.as_os_str().as_encoded_bytes()).short();
        let record = folder.join(format!("{name}.json"));
        if let Ok(bytes) = std::fs::read(&record) {
            let earlier: BTreeSet<String> = serde_json::from_slice(&bytes).unwrap_or_default();
            for gone in earlier.difference(&files) {
                if release::file::check_path(gone).is_ok() {
                    remove(out, gone)?;
                }
            }
        }
        // A site in a read-only folder can be built all the same; only the next build removes nothing.
        let kept = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&record, serde_json::to_vec(&files)?));
        if let Err(error) = kept {
            tracing::warn!(file = %record.display(), %error, "the list of files written was not kept");
        }
        Ok(())
    }
}

/// Removes a file, and folders that are empty without it.
fn remove(out: &Path, path: &str) -> anyhow::Result<()> {
    let file = out.join(path);
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("`{}` cannot be removed", file.display()));
        }
        _ => {}
    }
    let mut folder = file.parent();
    while let Some(parent) = folder.filter(|p| *p != out && std::fs::remove_dir(p).is_ok()) {
        folder = parent.parent();
    }
    Ok(())
}
