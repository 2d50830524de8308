//! What commands print.
//!
//! Whoever reads may leave, as `head` does, or a log that is started again. A command that only prints ends then; all else goes
//! on with its work, which nobody has asked to end.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use release::ReleaseId;
use release::tree::Diff;
use release::wire::{self, EdgeProgress, EdgeReceipt, Receipt};
use serde::Serialize;

use crate::failure::HintExt;
use crate::system::SystemArgs;

/// Paths that are listed one by one; of more, only the number is said.
const PATHS_SHOWN: usize = 8;

/// Prints a line on standard output, as `println!` does, where somebody reads it.
macro_rules! say {
    ($($line:tt)*) => { $crate::print::line(&mut std::io::stdout().lock(), format_args!($($line)*)) };
}

/// Prints a line on standard error, as `eprintln!` does, where somebody reads it.
macro_rules! tell {
    ($($line:tt)*) => { $crate::print::line(&mut std::io::stderr().lock(), format_args!($($line)*)) };
}

pub(crate) use {say, tell};

/// Writes a line, where somebody reads it.
pub fn line(out: &mut impl Write, line: fmt::Arguments<'_>) {
    let text = line.to_string();
    if let Err(error) = writeln!(out, "{}", plain(&text)).and_then(|()| out.flush()) {
        tracing::debug!(%error, "nobody reads what is printed");
    }
}

/// Text in which what steers a terminal stands as what it is: commands print words of other people's requests and responses, too.
pub fn plain(text: &str) -> Cow<'_, str> {
    plain_but(text, &['\n', '\t'])
}

/// The same, with these controls left as they are.
pub fn plain_but<'a>(text: &'a str, left: &[char]) -> Cow<'a, str> {
    let steers = |c: char| c.is_control() && !left.contains(&c);
    if !text.contains(steers) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    plain.into()
}

/// Whether this is the end of a command because nobody reads what it prints.
pub fn is_unread(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `1 page`, `2 pages`.
pub fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Prints a value as JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let json = wire::plain(serde_json::to_string_pretty(value)?);
    writeln!(std::io::stdout().lock(), "{json}")?;
    Ok(())
}

/// Prints rows in columns that line up.
pub fn table<const N: usize>(rows: &[[String; N]]) -> anyhow::Result<()> {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = std::io::stdout().lock();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:w$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints every path that differs.
pub fn diff(diff: &Diff) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (sign, paths) in [('+', &diff.added), ('~', &diff.changed), ('-', &diff.removed)] {
        for path in paths {
            writeln!(out, "{sign} {path}")?;
        }
    }
    writeln!(out, "{}", counts(diff))?;
    Ok(())
}

/// Prints what differs, the first paths by name.
pub fn changes(diff: &Diff) {
    for (sign, paths) in [('+', &diff.added), ('~', &diff.changed), ('-', &diff.removed)] {
        for path in paths.iter().take(PATHS_SHOWN) {
            say!("  {sign} {path}");
        }
        if paths.len() > PATHS_SHOWN {
            say!("  {sign} and {} more", paths.len() - PATHS_SHOWN);
        }
    }
    say!("  {}", counts(diff));
}

/// `1 added, 3 changed, 0 removed`.
pub fn counts(diff: &Diff) -> String {
    format!("{} added, {} changed, {} removed", diff.added.len(), diff.changed.len(), diff.removed.len())
}

/// Prints the receipt of a purge.
pub fn receipt(receipt: &Receipt, soft: bool) {
    let kind = if soft { "soft purge" } else { "purge" };
    say!("{kind} committed as journal entry {} of site `{}`", receipt.committed.seq, receipt.committed.site);
    for line in &receipt.selectors {
        let meaning = match line.paths {
            Some(0) => "matches nothing of the active release".to_owned(),
            Some(1) => "1 path".to_owned(),
            Some(n) => format!("{n} paths"),
            None => "committed".to_owned(),
        };
        say!("  {}: {meaning}", line.selector);
    }
    edges(&receipt.edges);
    if !receipt.complete {
        say!("  not every origin answered: there may be edges that are not listed");
    }
    say!("{}", if receipt.applied_everywhere { "applied everywhere" } else { "not yet applied everywhere" });
}

/// Prints how far each edge is.
pub fn edges(edges: &[EdgeReceipt]) {
    for edge in edges {
        let state = match edge.state {
            EdgeProgress::Applied => format!("applied, {}", edge.dropped),
            EdgeProgress::Pending => "not yet".to_owned(),
            EdgeProgress::Lapsed => "silent for a whole lease".to_owned(),
        };
        say!("  edge {}: {state}", edge.edge);
    }
}

/// Fails where a command was to wait and an edge has not applied what it waited for.
pub fn all_applied(waited: bool, edges: &[EdgeReceipt]) -> anyhow::Result<()> {
    let late: Vec<&str> =
        edges.iter().filter(|e| e.state != EdgeProgress::Applied).map(|e| e.edge.as_str()).collect();
    if !waited || late.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!("committed, but not applied by: {}", late.join(", ")))
        .hint(|| "an edge that is silent serves no more than its lease allows; look at its log".into())
}

/// A release's name, or that there is none.
pub fn release(release: Option<&ReleaseId>) -> String {
    release.map_or_else(|| "no release".to_owned(), ToString::to_string)
}

/// The `site` of a query, to put behind others.
pub fn site_query(system: &SystemArgs) -> String {
    system.site.as_ref().map(|site| format!("&site={site}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert!(matches!(plain("säg\t\n\u{202e}"), Cow::Borrowed(_)));
        assert_eq!(plain("a\x1b[2J\r\x7f\u{9b}b"), "a\\u{1b}[2J\\u{d}\\u{7f}\\u{9b}b");
    }
}
