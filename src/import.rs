//! `bake import`: a site made for another program as a site of here, and what is left to do by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use release::File;
use renderer::import::{self, Imported};
use renderer::{BaseUrl, Input, Limits, Options, Renderer, Sink, SinkClosed, Sources};

use crate::failure::HintExt;
use crate::print::say;
use crate::render;

/// How many differing pages are shown; further ones are counted.
const SHOWN_MAX: usize = 50;

/// Convert a site made for another program
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// What it was made for
    #[arg(value_enum)]
    from: From,
    /// Folder of the site
    #[arg(value_name = "SITE")]
    site: PathBuf,
    /// Where to write the converted site: a folder that is empty or not there
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// What the other program made of the site: both outputs are compared
    #[arg(long, value_name = "DIR")]
    compare: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum From {
    /// Zola 0.22 and older: macros and shortcodes become components, old keys new ones
    Zola,
    /// Hugo: front matter and the layout of content; its templates are not converted
    Hugo,
}

/// Runs the command.
pub async fn run(args: ImportArgs) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || convert(&args)).await?
}

fn convert(args: &ImportArgs) -> anyhow::Result<()> {
    if std::fs::read_dir(&args.out).is_ok_and(|mut folder| folder.next().is_some()) {
        return Err(anyhow::anyhow!("`{}` is not empty", args.out.display()))
            .hint(|| "name a folder that is empty or not there: nothing is overwritten".into());
    }
    let sources = render::content(Sources::from_folder(&args.site, &Limits::default()))?;
    let made = match args.from {
        From::Zola => render::content(import::zola(&sources))?,
        From::Hugo => render::content(import::hugo(&sources, jiff::Timestamp::now()))?,
    };
    write(&args.out, &made)?;
    for note in &made.notes {
        say!("look at {note}");
    }
    say!("{} files written to {}, {} to look at", made.files.len(), args.out.display(), made.notes.len());
    match &args.compare {
        Some(old) => compare(old, made),
        None => Ok(()),
    }
}

fn write(out: &Path, made: &Imported) -> anyhow::Result<()> {
    for (path, bytes) in &made.files {
        let file = out.join(path);
        let folder = file.parent().unwrap_or(out);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, bytes))
            .with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    Ok(())
}

#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, String>>);

impl Sink for Kept {
    fn remove(&self, _: &str) -> Result<(), SinkClosed> {
        // One render hands over everything.
        Ok(())
    }

    fn put(&self, file: File) -> Result<(), SinkClosed> {
        let text = String::from_utf8_lossy(&file.body).into_owned();
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(file.path, text);
        Ok(())
    }
}

/// Says how the output of the converted site differs from the old output: in files, words and links.
fn compare(old: &Path, made: Imported) -> anyhow::Result<()> {
    let input = Input {
        sources: Sources::from_files(made.files),
        data: std::sync::Arc::default(),
        row_pages: std::sync::Arc::default(),
        faults: renderer::data::Faults::default(),
        now: jiff::Timestamp::now(),
        options: Options { base_url: BaseUrl::Configured, ..Options::default() },
    };
    let kept = Kept::default();
    render::content(Renderer::for_one_render(16 << 20).render(&input, None, &kept))?;
    let new = kept.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = Sources::from_folder(old, &Limits::default());
    let before = render::content(before)?;
    let old_paths: BTreeSet<&str> = before.iter().map(|(path, _)| path).collect();
    let mut shown = 0;
    let mut differ = 0;
    let mut say = |line: String| {
        if shown < SHOWN_MAX {
            say!("{line}");
        }
        shown += 1;
    };
    for path in &old_paths {
        let Some(now) = new.get(*path) else {
            say(format!("- {path}: is not made any more"));
            differ += 1;
            continue;
        };
        if ![".html", ".xml", ".txt", ".json"].iter().any(|end| path.ends_with(end)) {
            continue;
        }
        let was = before.get(path).map(|file| file.read()).transpose()?.unwrap_or_default();
        let was = String::from_utf8_lossy(&was);
        for (what, a, b) in [("words", words(&was), words(now)), ("links", links(&was), links(now))] {
            if let Some((a, b)) = first_difference(&a, &b) {
                say(format!("~ {path}: {what} differ: `{a}` was, `{b}` is"));
                differ += 1;
                break;
            }
        }
    }
    for path in new.keys().filter(|path| !old_paths.contains(path.as_str())) {
        say(format!("+ {path}: is new"));
    }
    say!("{} files before, {} now, {differ} differ", old_paths.len(), new.len());
    Ok(())
}

/// The visible words of a page.
fn words(html: &str) -> Vec<String> {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        let tag = &rest[open..];
        // Highlighters split words.
        let splits =
            ["<span", "</span", "<mark", "</mark", "<a-", "</a-"].iter().any(|name| tag.starts_with(name));
        let hidden = ["script", "style"].iter().find(|name| tag[1..].starts_with(**name));
        let end = match hidden {
            Some(name) => tag.find(&format!("</{name}>")).map(|i| i + name.len() + 3),
            None => tag.find('>').map(|i| i + 1),
        };
        if !splits {
            text.push(' ');
        }
        rest = end.map_or("", |end| &tag[end..]);
    }
    text.push_str(rest);
    let text =
        text.replace("&quot;", "\"").replace("&#x27;", "'").replace("&#x2F;", "/").replace("&amp;", "&");
    text.split_whitespace().map(str::to_owned).collect()
}

/// The addresses that a page links to, without their queries.
fn links(html: &str) -> Vec<String> {
    let mut out = Vec::new();
    for name in ["href=\"", "src=\""] {
        for (at, _) in html.match_indices(name) {
            let value = html[at + name.len()..].split('"').next().unwrap_or("");
            out.push(value.split('?').next().unwrap_or("").replace("&amp;", "&").replace("&#x2F;", "/"));
        }
    }
    out
}

fn first_difference(a: &[String], b: &[String]) -> Option<(String, String)> {
    let at = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i))?;
    let shown = |list: &[String]| list.get(at).cloned().unwrap_or_else(|| "nothing".to_owned());
    Some((shown(a), shown(b)))
}
