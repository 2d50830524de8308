//! `bake build`: a plain folder of files, for any host.
//!
//! A build begins with what the last one into the same folder knew (its [`Record`]): only what something changed for is
//! rendered, and where nothing did, nothing is. What somebody else did to the files of a build is noticed and mended.

mod blocks;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use release::File;
use renderer::data::{DataSet, Faults};
use renderer::{
    BaseUrl, Explanation, Handed, Memo, Outputs, Place, Readers, Reason, RenderId, Renderer, Sink,
    SinkClosed, Summary, Written,
};

use self::blocks::FolderBlocks;
use self::record::Record;
use crate::failure::{self, HintExt};
use crate::print::{counted, say, tell};
use crate::render::{self, Folder};

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
    /// Render everything, and keep nothing for the next build: as on a machine that never built the site
    #[arg(long)]
    no_memo: bool,
    /// Say why an output was rendered or was not: its URL path, or its file below DIR
    #[arg(long, value_name = "PATH", conflicts_with = "no_memo")]
    explain: Option<String>,
}

/// Runs the command.
pub async fn run(args: BuildArgs) -> anyhow::Result<()> {
    let began = Instant::now();
    render::check_folder(&args.folder)?;
    refuse_sources(&args.folder, &args.out)?;
    make_folder(&args.out)?;
    let place = record::place(&args.folder, &args.out)?;
    let record = Record::load(&place);
    let memo = if args.no_memo { None } else { record.memo() };
    // What may have happened to the output is found out while the folder is listed.
    let (folder, damaged) = std::thread::scope(|scope| {
        let look = || if memo.is_some() { record.outputs.damaged(&args.out) } else { Vec::new() };
        let damaged = scope.spawn(look);
        (Folder::open_again(&args.folder, args.config.as_deref(), memo.as_ref()), damaged.join())
    });
    let (folder, damaged) =
        (folder?, damaged.map_err(|_| anyhow::anyhow!("the output could not be looked at"))?);
    let (data, failed) = folder.fetch_data().await;
    let build = Build { args, folder, place, record, damaged };
    let (summary, explained) = tokio::task::spawn_blocking(move || build.run(data, failed, memo)).await??;
    for warning in &summary.warnings {
        tell!("{}", warning.as_warning());
    }
    if let Some((output, explanation)) = &explained {
        explain(output, explanation);
    }
    let Summary { pages, outputs, rendered, highlighted, .. } = summary;
    tracing::info!(rendered, outputs, highlighted, "rendered");
    let ms = began.elapsed().as_millis();
    let made = format!("{}, {} in {ms} ms", counted(pages as u64, "page"), counted(outputs as u64, "file"));
    match rendered {
        0 => say!("{made}: nothing to render"),
        _ if rendered == outputs => say!("{made}"),
        _ => say!("{made}: {rendered} rendered"),
    }
    Ok(())
}

struct Build {
    args: BuildArgs,
    folder: Folder,
    /// Where its record lies.
    place: PathBuf,
    /// What the last build left.
    record: Record,
    /// Files of the output that are not as it left them.
    damaged: Vec<String>,
}

impl Build {
    fn run(
        mut self,
        data: DataSet,
        failed: Faults,
        memo: Option<Memo>,
    ) -> anyhow::Result<(Summary, Option<(String, Explanation)>)> {
        let base_url = self.args.base_url.take().map_or(BaseUrl::Configured, BaseUrl::Given);
        let mut input = self.folder.input(data, jiff::Timestamp::now(), base_url, self.args.drafts);
        input.faults.append(failed);
        input.options.config = self.args.config.take();
        let output = self.args.explain.as_deref().map(output_of);
        if let Some(memo) = &memo
            && self.damaged.is_empty()
            && output.is_none()
            && input.faults.is_empty()
            && memo.is_current(&input)
        {
            return Ok((memo.summary(), None));
        }
        let (renderer, since) = self.renderer(memo);
        if let Some(since) = since {
            renderer.distrust(since, self.damaged.iter().map(String::as_str));
        }
        let mut files = std::mem::take(&mut self.record.outputs.files);
        let sink = FolderSink { out: &self.args.out, former: &files, changes: Mutex::default() };
        let result = match &output {
            Some(output) => renderer
                .explain(&input, since, &sink, output)
                .map(|(summary, explanation)| (summary, Some(explanation))),
            None => renderer.render(&input, since, &sink).map(|summary| (summary, None)),
        };
        // Of a site with something wrong in it too: it is not highlighted again when that is mended.
        if let Err(error) = renderer.keep_blocks() {
            tracing::warn!(%error, "code that this build has highlighted was not kept");
        }
        let Changes { written, removed, failed } = sink.close();
        let done = match failed {
            Some(error) => Err(error),
            None => render::content(result),
        };
        let (summary, explanation) = match done {
            Ok(done) => done,
            Err(error) => {
                // What is known is of before, and what was written since then is not.
                files.extend(written.into_keys().map(|path| (path, Written::DOUBTED)));
                let memo = self.record.memo_bytes();
                Record::save(&self.place, &Outputs { files }, |out| out.write_all(&memo));
                return Err(error);
            }
        };
        if summary.handed == Handed::All {
            for gone in files.keys().filter(|path| !written.contains_key(*path)) {
                remove(&self.args.out, gone, &self.args.out)?;
            }
            files = written;
        } else {
            files.retain(|path, _| !removed.contains(path));
            files.extend(written);
        }
        let outputs = Outputs { files };
        Record::save(&self.place, &outputs, |out| renderer.write_memo(&input, &summary, Readers::Own, out));
        // The process ends here: taking all of that apart piece by piece would only take time.
        std::mem::forget((renderer, input, outputs));
        Ok((summary, output.zip(explanation)))
    }

    /// A renderer that knows what the last build knew, and the name of that render.
    fn renderer(&self, memo: Option<Memo>) -> (Renderer, Option<RenderId>) {
        if self.args.no_memo {
            return (Renderer::for_one_render(render::ONE_RENDER_BYTES_MAX), None);
        }
        let (renderer, render) = match memo.map(|memo| memo.renderer(render::ONE_RENDER_BYTES_MAX)) {
            Some((renderer, render)) => (renderer, Some(render)),
            None => (Renderer::new(render::ONE_RENDER_BYTES_MAX), None),
        };
        (renderer.with_blocks(Arc::new(FolderBlocks::of(&self.args.folder))), render)
    }
}

/// The file of a URL or path: `/blog/`, `blog` and `https://example.com/blog/#top` are `blog/index.html`.
fn output_of(path: &str) -> String {
    let url_path = match path.split_once("://") {
        Some((_, rest)) => Some(rest.find('/').map_or("/", |at| &rest[at..])),
        None => path.starts_with('/').then_some(path),
    };
    let plain = url_path.and_then(|path| release::url::site_path(path.split(['?', '#']).next()?));
    let path = plain.as_deref().unwrap_or(path);
    let path = path.trim_start_matches("./").trim_start_matches('/');
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "" if folder.is_empty() => "index.html".to_owned(),
        "" => format!("{folder}/index.html"),
        _ if name.contains('.') => path.to_owned(),
        _ => format!("{path}/index.html"),
    }
}

/// Says why an output was rendered, or was not.
fn explain(output: &str, explanation: &Explanation) {
    let Explanation { known, changed, rendered, removed, replanned, page } = explanation;
    let is_withheld = |place: &&Place| place.mark.is_some_and(|mark| mark.withheld);
    if let Some(place) = page.as_ref().filter(|place| !is_withheld(place)) {
        say!("{output} is no output of this site: it makes {}, which can be explained", place.output);
        return;
    }
    if let Some((place, mark)) = page.as_ref().and_then(|place| Some((place, place.mark?))) {
        let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
        let why = match mark.reason {
            Reason::Draft => "is a draft, or in a section that is".to_owned(),
            Reason::Future(at) => format!("is of {}, which is to come", day(at)),
            Reason::Expired(at) => format!("expired on {}", day(at)),
        };
        say!("{} is left out: {} {why}", place.output, place.file);
        return;
    }
    let things = match (rendered, known) {
        (true, None) => {
            say!("{output} was rendered: the last build did not make it, or is not remembered");
            return;
        }
        (false, None) => {
            say!("{output} is no output of this site");
            return;
        }
        (true, Some(_)) if changed.is_empty() && *replanned => {
            say!("{output} was rendered: something else makes it now, or it leads elsewhere");
            return;
        }
        (true, Some(_)) if changed.is_empty() => {
            say!("{output} was rendered: the file was not as the last build had left it");
            return;
        }
        (true, Some(_)) => {
            say!("{output} was rendered, because of what it read this is different now:");
            changed
        }
        (false, Some(_)) if *removed && changed.is_empty() => {
            say!("{output} is made no more: nothing asks for it");
            return;
        }
        (false, Some(_)) if !changed.is_empty() => {
            say!("{output} is made no more; of what it read this is different now:");
            changed
        }
        (false, Some(read)) => {
            say!("{output} was not rendered: all that it read is as it was:");
            read
        }
    };
    things.iter().for_each(|thing| say!("  {thing}"));
}

/// Refuses an output folder whose files the next build would take for sources.
fn refuse_sources(site: &Path, out: &Path) -> anyhow::Result<()> {
    let absolute = |path: &Path| -> std::io::Result<PathBuf> {
        // What does not exist yet is no link either.
        let there = path.ancestors().find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
        Ok(match there {
            Some((above, real)) => real.join(path.strip_prefix(above).unwrap_or(path)),
            None => std::env::current_dir()?.join(path),
        })
    };
    let at = absolute(out)?;
    for name in ["content", "static", "templates", "sass", "themes"] {
        let sources = site.join(name);
        if sources.is_dir() && at.starts_with(absolute(&sources)?) {
            let (out, sources) = (out.display(), sources.display());
            return Err(anyhow::anyhow!("`{out}` is in `{sources}`, which the site is made of")).hint(|| {
                "the next build would take its own output for sources: choose a place beside them with --out, \
                 such as `public`"
                    .into()
            });
        }
    }
    Ok(())
}

/// What a build did to a folder.
#[derive(Default)]
struct Changes {
    written: BTreeMap<String, Written>,
    removed: BTreeSet<String>,
    /// What went wrong first.
    failed: Option<anyhow::Error>,
}

/// Writes files below a folder.
struct FolderSink<'a> {
    out: &'a Path,
    /// What the last build has put there.
    former: &'a BTreeMap<String, Written>,
    changes: Mutex<Changes>,
}

/// What to do where a file cannot be written for want of room.
fn room_hint(error: &std::io::Error) -> Option<String> {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    full.then(|| "free space there, or choose another place with --out; then build again".into())
}

/// What stands where a file of the output, or a folder above it, is to be.
fn in_the_way(out: &Path, path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some("a folder is there".into());
    }
    let above = path.ancestors().skip(1).take_while(|above| above.starts_with(out));
    let file = above.filter(|above| above.exists() && !above.is_dir()).last()?;
    Some(format!("`{}` is a file, and a folder is needed there", file.display()))
}

/// Makes the folder that is written to, if it is not there.
fn make_folder(out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)
        .with_context(|| format!("the folder `{}` cannot be made", out.display()))
        .hint(|| "choose another place with --out".into())
}

impl FolderSink<'_> {
    fn write(&self, file: &File) -> anyhow::Result<Written> {
        release::file::check_path(&file.path)?;
        let path = self.out.join(&file.path);
        let put = || {
            std::fs::create_dir_all(path.parent().unwrap_or(self.out))?;
            let mut out = std::fs::File::create(&path)?;
            out.write_all(&file.body)?;
            out.metadata()
        };
        let written = match put() {
            Err(_) if in_the_way(self.out, &path).is_some() => {
                self.clear(&file.path)?;
                put()
            }
            written => written,
        };
        let meta = written.map_err(|error| {
            let failed = format!("`{}` cannot be written", path.display());
            if let Some(thing) = in_the_way(self.out, &path) {
                let hint = "move it away or remove it, or choose another place with --out; then build again";
                return failure::hinted(anyhow::anyhow!("{failed}: {thing}"), Some(hint.into()));
            }
            let hint = room_hint(&error);
            failure::hinted(anyhow::Error::new(error).context(failed), hint)
        })?;
        Ok(Written::of(&meta))
    }

    /// Removes what the last build has put where a file, or a folder above it, is to be now, and this one has not.
    fn clear(&self, path: &str) -> anyhow::Result<()> {
        let below = format!("{path}/");
        let formers = self.former.range(below.clone()..).map(|(former, _)| former.as_str());
        let formers = formers.take_while(|former| former.starts_with(&below));
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for former in above.chain(formers) {
            if self.former.contains_key(former) && !changes.written.contains_key(former) {
                // Folders above it may be about to get other files.
                let place = if former.len() < path.len() { former } else { path };
                let stays = place.rsplit_once('/').map_or("", |(folder, _)| folder);
                remove(self.out, former, &self.out.join(stays))?;
            }
        }
        Ok(())
    }

    fn note(&self, note: impl FnOnce(&mut Changes) -> anyhow::Result<()>) -> Result<(), SinkClosed> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut changes).map_err(|error| {
            changes.failed.get_or_insert(error);
            SinkClosed
        })
    }

    fn close(self) -> Changes {
        self.changes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for FolderSink<'_> {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        let written = self.write(&file);
        self.note(|changes| {
            changes.written.insert(file.path, written?);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        let removed = remove(self.out, path, self.out);
        self.note(|changes| {
            changes.removed.insert(path.to_owned());
            removed
        })
    }
}

/// Removes a file, and folders below `stays` that are empty without it.
fn remove(out: &Path, path: &str, stays: &Path) -> anyhow::Result<()> {
    release::file::check_path(path)?;
    let file = out.join(path);
    match std::fs::remove_file(&file) {
        // A folder may be in its place by now, or a file in that of a folder above it.
        Err(e)
            if !matches!(
                e.kind(),
                ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory
            ) =>
        {
            return Err(e).with_context(|| format!("`{}` cannot be removed", file.display()));
        }
        _ => {}
    }
    let mut folder = file.parent();
    while let Some(parent) = folder.filter(|p| *p != stays && std::fs::remove_dir(p).is_ok()) {
        folder = parent.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_by_files_and_as_browsers_show_their_addresses() {
        for (path, output) in [
            ("", "index.html"),
            ("/", "index.html"),
            ("https://a.example", "index.html"),
            ("blog", "blog/index.html"),
            ("./blog/", "blog/index.html"),
            ("https://a.example/caf%C3%A9/?q=1#top", "caf\u{e9}/index.html"),
            ("/a/b.css?h=1", "a/b.css"),
            ("100%/what#.txt", "100%/what#.txt"),
        ] {
            assert_eq!(output_of(path), output, "{path}");
        }
    }
}
