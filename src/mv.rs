//! `bake mv`: a page or a section moves, links follow, and its old address leads to the new one.

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use renderer::{BaseUrl, Relocation, Renderer, Rewrite};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::failure::HintExt;
use crate::print::{counted, say};
use crate::render::{self, Folder};

/// Move a page or a section: links to it are rewritten, and its old address becomes an alias
///
/// Both are paths below `content/`, or of files there. A page moves with its translations, a folder with all that is in
/// it. A NEW that ends in a slash is a folder to move into.
#[derive(Debug, clap::Args)]
pub struct MvArgs {
    /// What moves: `blog/first.md`, or a folder such as `blog`
    #[arg(value_name = "OLD")]
    old: String,
    /// Where to
    #[arg(value_name = "NEW")]
    new: String,
    /// Folder that holds `content/`
    #[arg(default_value = ".", value_name = "SITE")]
    folder: PathBuf,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Configuration to read, by its path below SITE, in place of `zola.toml` or `config.toml`
    #[arg(long, short, value_name = "FILE")]
    config: Option<String>,
}

/// Runs the command.
pub async fn run(args: MvArgs) -> anyhow::Result<()> {
    let folder = Folder::open(&args.folder, args.config.as_deref())?;
    let (old, new) = (below_content(&args.folder, &args.old)?, below_content(&args.folder, &args.new)?);
    // Pages made of data have no files that could move, but links from files to them must still be good.
    let (data, failed) = folder.fetch_data().await;
    for problem in failed.errors() {
        tracing::warn!(problem = problem.message, "a source cannot be read; its pages are not known");
    }
    let mut input = folder.input(data, jiff::Timestamp::now(), BaseUrl::Configured, true);
    input.options.config = args.config;
    let plan = move || Renderer::for_one_render(render::ONE_RENDER_BYTES_MAX).relocate(&input, &old, &new);
    let plan = render::content(tokio::task::spawn_blocking(plan).await?)?;
    check(&args.folder, &plan)?;
    if args.dry_run {
        return show(&plan);
    }
    carry_out(&args.folder, &plan)?;
    let (from, to) = plan.folder.as_ref().or(plan.renames.first()).context("nothing moves")?;
    say!("moved {from} to {to}");
    for rewrite in &plan.rewrites {
        say!(
            "rewrote {}",
            plan.renames.iter().find(|(from, _)| *from == rewrite.path).map_or(&rewrite.path, |(_, to)| to)
        );
    }
    for alias in &plan.aliases {
        say!("{alias} leads to the new address");
    }
    for (new, other) in &plan.parted {
        say!("note: {new} is no translation of {other} any more: translations have one name");
    }
    if let Some((old, new)) = plan.files.first() {
        let count = counted(plan.files.len() as u64, "file");
        let (old, new) = (release::url::escape(old), release::url::escape(new));
        say!("note: no alias leads to {count} beside it; a line of static/_redirects does: {old} {new}");
    }
    Ok(())
}

/// A path as it was typed, below `content/`; a slash at its end stays.
fn below_content(site: &Path, typed: &str) -> anyhow::Result<String> {
    let plain = typed.strip_prefix("@/").unwrap_or(typed);
    let content = fs::canonicalize(site.join("content"))?;
    let absolute = lexical(&std::env::current_dir()?.join(plain));
    let inside = absolute.strip_prefix(&content).ok().filter(|_| plain == typed);
    let path = match inside {
        Some(inside) => inside.to_str().context("the path is not valid UTF-8")?.to_owned(),
        None => plain.strip_prefix("content/").unwrap_or(plain).trim_end_matches('/').to_owned(),
    };
    Ok(if typed.ends_with('/') { format!("{path}/") } else { path })
}

/// A path without `.` and `..`, for what need not be there.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Fails where something is in the way that is no part of the site, such as a hidden file.
fn check(site: &Path, plan: &Relocation) -> anyhow::Result<()> {
    let targets = match &plan.folder {
        Some((_, to)) => vec![to],
        None => plan.renames.iter().map(|(_, to)| to).collect(),
    };
    for to in targets {
        let path = site.join(to);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(anyhow::anyhow!("`{}` is there already", path.display()))
                .hint(|| "nothing is overwritten: remove it, or choose another name".into());
        }
    }
    Ok(())
}

/// Writes new texts beside the old ones first, so that a full disk changes nothing; then puts each in its place.
fn carry_out(site: &Path, plan: &Relocation) -> anyhow::Result<()> {
    let mut written: Vec<(tempfile::NamedTempFile, PathBuf)> = Vec::new();
    for rewrite in &plan.rewrites {
        // A link to a file elsewhere stays one.
        let path = fs::canonicalize(site.join(&rewrite.path))?;
        let failed = || format!("`{}` cannot be written", path.display());
        anyhow::ensure!(
            fs::read(&path).with_context(failed)? == rewrite.before.as_bytes(),
            "`{}` was changed meanwhile",
            path.display()
        );
        let folder = path.parent().unwrap_or(site);
        let mut file = tempfile::Builder::new()
            .prefix(".bake-mv-")
            .suffix("~")
            .tempfile_in(folder)
            .with_context(failed)?;
        file.write_all(rewrite.after().as_bytes()).with_context(failed)?;
        file.as_file().set_permissions(fs::metadata(&path)?.permissions()).with_context(failed)?;
        file.as_file().sync_all().with_context(failed)?;
        written.push((file, path));
    }
    for (file, path) in written {
        file.persist(&path).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let moves = match &plan.folder {
        Some(folder) => std::slice::from_ref(folder),
        None => &plan.renames[..],
    };
    for (from, to) in moves {
        let (from, to) = (site.join(from), site.join(to));
        let failed = || format!("`{}` cannot be moved to `{}`", from.display(), to.display());
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let moved = match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            // Some file systems cannot promise it; nothing was there a moment ago.
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&from, &to),
            moved => moved.map_err(std::io::Error::from),
        };
        moved.with_context(failed)?;
    }
    Ok(())
}

/// Prints what would change, as a diff.
fn show(plan: &Relocation) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (from, to) in &plan.renames {
        writeln!(out, "rename {from} => {to}")?;
    }
    for rewrite in &plan.rewrites {
        writeln!(out, "\n--- {}", rewrite.path)?;
        hunks(rewrite, &mut out)?;
    }
    Ok(())
}

/// The lines that change, without those around them.
fn hunks(rewrite: &Rewrite, out: &mut impl Write) -> std::io::Result<()> {
    let text = rewrite.before.as_str();
    let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |i| i + 1);
    let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |i| at + i + 1);
    let mut edits = rewrite.edits.iter().peekable();
    while let Some((first, put)) = edits.next() {
        let start = line_start(first.start);
        // A line that is put between two changes neither.
        let whole = first.is_empty() && first.start == start && put.ends_with('\n');
        let mut end = if whole { start } else { line_end(first.end) };
        let mut new = format!("{}{put}", &text[start..first.start]);
        let mut at = first.end;
        while let Some((next, put)) = edits.next_if(|(next, _)| next.start < end) {
            new.push_str(&text[at..next.start]);
            new.push_str(put);
            at = next.end;
            end = end.max(line_end(at));
        }
        new.push_str(&text[at..end]);
        writeln!(out, "@@ line {} @@", text[..start].matches('\n').count() + 1)?;
        for (sign, lines) in [('-', &text[start..end]), ('+', new.as_str())] {
            for line in lines.lines() {
                writeln!(out, "{sign}{line}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_the_lines_that_change() {
        let before = "+++\ntitle = 1\n+++\na b c\nd\n".to_owned();
        let at = |word: &str| before.find(word).map(|i| i..i + word.len()).unwrap();
        let edits =
            vec![(14..14, "aliases = []\n".to_owned()), (at("a b"), "A b".into()), (at("c"), "C".into())];
        let mut out = Vec::new();
        hunks(&Rewrite { path: "x".into(), before, edits }, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "@@ line 3 @@\n+aliases = []\n@@ line 4 @@\n-a b c\n+A b C\n");
    }
}
