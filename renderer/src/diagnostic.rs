//! What is wrong with a site, said so that its author can mend it.
//!
//! Every step of a render appends to one list, so that an author sees all errors at once and not the first; of a great many
//! the first, and how many more there are.
//! Owns the shape of a message (place, excerpt, hint) and its text form; leaves out who prints it.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

/// The longest excerpt of a source line that a message shows, in bytes: a minified line must not fill a terminal.
const EXCERPT_BYTES_MAX: usize = 160;

/// How many diagnostics a render keeps; others are counted.
pub const DIAGNOSTICS_MAX: usize = 200;

/// Diagnostics beyond those that are kept which are told apart, so that none is counted twice: of more it is said that they
/// are at least so many.
const COUNTED_MAX: usize = 100_000;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Diagnostic {
    /// The file at fault, site-relative, where one is known.
    pub path: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// What failed on what value: lower case, no period.
    pub message: String,
    /// The line of the source, or as much of it as is shown.
    pub excerpt: Option<String>,
    /// Characters at the head of the line that are not shown: a sign stands for them in the excerpt.
    pub skipped: u32,
    /// What to do next.
    pub hint: Option<String>,
    /// How many other outputs met the same in the same place.
    pub others: u32,
}

impl Diagnostic {
    /// A message that belongs to no file.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            path: None,
            line: None,
            column: None,
            message: message.into(),
            excerpt: None,
            skipped: 0,
            hint: None,
            others: 0,
        }
    }

    /// A message about a file.
    pub fn in_file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..Self::new(message) }
    }

    /// That a file of the site cannot be read, and what is to be done about it.
    pub(crate) fn unreadable(path: impl Into<String>, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => Some("it went while the site was read: try again"),
            io::ErrorKind::PermissionDenied => Some("let the user who runs `bake` read it"),
            _ => None,
        };
        Self::in_file(path, format!("the file cannot be read: {error}")).maybe_hint(hint.map(str::to_owned))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint where there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        if hint.is_some() {
            self.hint = hint;
        }
        self
    }

    /// Points at a byte of `text`, which is the whole file: fills in line, column and excerpt.
    #[must_use]
    pub fn at(mut self, text: &str, offset: usize) -> Self {
        let offset = text.floor_char_boundary(offset);
        let start = line_start(text, offset);
        let (line, column) = line_and_column(text, offset);
        self.line = Some(u32::try_from(line).unwrap_or(u32::MAX));
        self.column = Some(u32::try_from(column).unwrap_or(u32::MAX));
        let end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        self.show(text[start..end].trim_end(), offset - start);
        self
    }

    /// The column within the excerpt, in characters, from 1.
    pub fn caret(&self) -> Option<u32> {
        // The sign for what is not shown is a character too.
        self.column.map(|column| column.saturating_sub(self.skipped).max(1) + u32::from(self.skipped > 0))
    }

    /// The hint, and how many other outputs it is for.
    pub fn advice(&self) -> Option<String> {
        let hint = self.hint.as_ref()?;
        Some(match self.others {
            0 => hint.clone(),
            1 => format!("{hint}, and one more output"),
            others => format!("{hint}, and {others} more outputs"),
        })
    }

    /// What it is about: there is one of a place, however many outputs meet it.
    fn subject(&self) -> (&Option<String>, Option<u32>, Option<u32>, &str) {
        (&self.path, self.line, self.column, &self.message)
    }

    /// Points at a line and column of `text`, both from 1.
    #[must_use]
    pub fn at_line(mut self, text: &str, line: usize, column: usize) -> Self {
        self.line = Some(u32::try_from(line.max(1)).unwrap_or(u32::MAX));
        self.column = Some(u32::try_from(column.max(1)).unwrap_or(u32::MAX));
        if let Some(line) = text.lines().nth(line.saturating_sub(1)) {
            let at = line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
            self.show(line, at);
        } else if line > 1 {
            // Parsers say of a text that ends too early that this is behind its last line.
            return self.at(text, text.trim_end().len());
        }
        self
    }

    /// Shows a line, or of a long one what is around the byte `at`.
    fn show(&mut self, line: &str, at: usize) {
        let half = EXCERPT_BYTES_MAX / 2;
        let from = if line.len() <= EXCERPT_BYTES_MAX || at <= EXCERPT_BYTES_MAX - half / 2 {
            0
        } else {
            line.floor_char_boundary(at.min(line.len()) - half)
        };
        let to = line.floor_char_boundary((from + EXCERPT_BYTES_MAX).min(line.len()));
        let head = if from > 0 { "…" } else { "" };
        let tail = if to < line.len() { "…" } else { "" };
        self.excerpt = Some(format!("{head}{}{tail}", &line[from..to]));
        self.skipped = u32::try_from(line[..from].chars().count()).unwrap_or(u32::MAX);
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write("error", f)
    }
}

/// A diagnostic of what is not wrong enough to stop.
struct Warning<'a>(&'a Diagnostic);

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write("warning", f)
    }
}

impl Diagnostic {
    /// Shown as a warning, not as an error.
    pub fn as_warning(&self) -> impl fmt::Display + '_ {
        Warning(self)
    }

    fn write(&self, head: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{head}: {}", self.message)?;
        let width = self.line.map_or(1, |line| line.to_string().len());
        if let Some(path) = &self.path {
            write!(f, "\n{:width$}--> {path}", "")?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
                if let Some(column) = self.column {
                    write!(f, ":{column}")?;
                }
            }
        }
        if let (Some(line), Some(excerpt)) = (self.line, &self.excerpt) {
            write!(f, "\n{:width$} |\n{line} | {excerpt}\n{:width$} |", "", "")?;
            if let Some(column) = self.caret() {
                write!(f, " ")?;
                let mut before = 1;
                for c in excerpt.chars().take(column as usize - 1) {
                    f.write_str(if c == '\t' { "\t" } else { " " })?;
                    before += 1;
                }
                // A place may be behind the last letter of its line, though never far on a line that was cut.
                for _ in before..column.min(before + 1) {
                    f.write_str(" ")?;
                }
                write!(f, "^")?;
            }
        }
        match self.advice() {
            Some(advice) => write!(f, "\nhint: {advice}"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a site, in the order of files and lines. Never empty when it is returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    /// The first of them, up to [`DIAGNOSTICS_MAX`]: which, no timing of threads decides.
    list: Vec<Diagnostic>,
    /// What others are about, as hashes.
    beyond: HashSet<u64>,
    /// Others that nothing else is known of.
    unseen: usize,
}

impl Errors {
    /// Adds one. What is wrong in one place of a template is said once, however many outputs meet it.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let Err(at) = self.list.binary_search(&diagnostic) else { return };
        let is_known = |i: &usize| {
            let known = self.list.get(*i);
            diagnostic.line.is_some() && known.is_some_and(|known| known.subject() == diagnostic.subject())
        };
        if let Some(i) = [at, at.wrapping_sub(1)].into_iter().find(is_known) {
            let known = &mut self.list[i];
            if known.hint != diagnostic.hint {
                known.others += diagnostic.others + 1;
                // Whichever thread came first.
                known.hint = known.hint.take().min(diagnostic.hint);
            }
            return;
        }
        self.list.insert(at, diagnostic);
        if self.list.len() > DIAGNOSTICS_MAX
            && let Some(last) = self.list.pop()
            && self.beyond.len() < COUNTED_MAX
        {
            let mut hasher = DefaultHasher::new();
            last.subject().hash(&mut hasher);
            if last.line.is_none() {
                last.hint.hash(&mut hasher);
            }
            self.beyond.insert(hasher.finish());
        }
    }

    /// Whether of further ones it is only said how many there are.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= DIAGNOSTICS_MAX
    }

    /// Counts one of which nothing is said, since it would take long to say where it is.
    pub(crate) fn count(&mut self) {
        self.unseen += 1;
    }

    /// Adds all that is wrong elsewhere.
    pub fn append(&mut self, other: Self) {
        self.extend(other.list);
        self.beyond.extend(other.beyond.into_iter().take(COUNTED_MAX - self.beyond.len()));
        self.unseen += other.unseen;
    }

    /// The same in other words, or in other places.
    pub(crate) fn reworded(mut self, reword: impl FnOnce(&mut [Diagnostic])) -> Self {
        let mut list = std::mem::take(&mut self.list);
        reword(&mut list);
        self.extend(list);
        self
    }

    /// The first of them, up to [`DIAGNOSTICS_MAX`].
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// How many there are beyond these.
    pub fn more(&self) -> usize {
        self.beyond.len() + self.unseen
    }

    /// Of how many nothing is shown, in words.
    pub fn and_more(&self) -> Option<String> {
        let (more, at_least) = (self.more(), if self.beyond.len() < COUNTED_MAX { "" } else { "at least " });
        let s = if more == 1 { "" } else { "s" };
        (more > 0).then(|| format!("and {at_least}{more} more error{s}"))
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.more() == 0
    }

    /// `Ok` where nothing is wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Where the line begins that has a byte of `text`, at which a character begins.
fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |i| i + 1)
}

/// The line of a byte of `text`, and its column in characters, from 1.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let offset = text.floor_char_boundary(offset);
    let line = memchr::memchr_iter(b'\n', &text.as_bytes()[..offset]).count() + 1;
    (line, text[line_start(text, offset)..offset].chars().count() + 1)
}

impl Extend<Diagnostic> for Errors {
    fn extend<T: IntoIterator<Item = Diagnostic>>(&mut self, more: T) {
        more.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }
}

impl FromIterator<Diagnostic> for Errors {
    fn from_iter<T: IntoIterator<Item = Diagnostic>>(all: T) -> Self {
        let mut errors = Self::default();
        errors.extend(all);
        errors
    }
}

impl From<Diagnostic> for Errors {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::from_iter([diagnostic])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.list.iter().map(ToString::to_string).chain(self.and_more());
        for (i, text) in all.enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// The name among `known` that `wrong` was probably meant to be.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    for name in known {
        let score = strsim::jaro_winkler(wrong, name);
        // Names may come in any order, and equal sites must give equal messages.
        if score > 0.78 && best.is_none_or(|(s, other)| score > s || (score == s && name < other)) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_excerpt_and_hint() {
        let text = "a\n\tbroken here\nc\n";
        let shown =
            Diagnostic::in_file("content/x.md", "link to nowhere").at(text, 3).hint("mend it").to_string();
        assert_eq!(
            shown,
            "error: link to nowhere\n --> content/x.md:2:2\n  |\n2 | \tbroken here\n  | \t^\nhint: mend it"
        );
    }

    #[test]
    fn of_a_long_line_what_is_around_the_place_is_shown() {
        let text = format!("{}é wrong {}", "a ".repeat(200), "b ".repeat(200));
        let at = text.find("wrong").unwrap();
        for diagnostic in [
            Diagnostic::new("m").at(&text, at),
            Diagnostic::new("m").at_line(&text, 1, text[..at].chars().count() + 1),
        ] {
            assert_eq!(diagnostic.column, Some(403));
            let shown = diagnostic.to_string();
            let lines: Vec<&str> = shown.lines().collect();
            let caret = lines[3].chars().position(|c| c == '^').unwrap();
            assert!(lines[2].chars().skip(caret).collect::<String>().starts_with("wrong"), "{shown}");
            assert!(lines[2].len() < 200 && lines[2].ends_with('…'), "{shown}");
        }
        let end = Diagnostic::new("m").at(&text, text.len()).to_string();
        assert!(end.lines().nth(2).unwrap().ends_with('b'), "{end}");
    }

    #[test]
    fn one_place_is_named_once() {
        let at = |page: &str| {
            Diagnostic::in_file("templates/a.html", "x").at("y", 0).hint(format!("it was rendering {page}"))
        };
        let mut errors = Errors::default();
        ["b", "a", "c", "a"].iter().for_each(|page| errors.push(at(page)));
        errors.push(Diagnostic::new("x"));
        assert_eq!(errors.list().len(), 2);
        assert!(errors.to_string().contains("hint: it was rendering a, and 2 more outputs"), "{errors}");
    }

    #[test]
    fn of_many_the_first_are_shown_and_the_others_counted() {
        let of = |n: usize| Diagnostic::in_file(format!("content/{n:04}.md"), "x").at("y", 0);
        let mut errors = Errors::default();
        // Whatever comes first, and however often.
        (0..300).chain(0..300).for_each(|n| errors.push(of(n * 7 % 300)));
        let shown: Vec<_> = errors.list().iter().filter_map(|d| d.path.clone()).collect();
        assert_eq!((shown.len(), errors.more()), (DIAGNOSTICS_MAX, 100));
        assert_eq!((&*shown[0], &*shown[199]), ("content/0000.md", "content/0199.md"));
        assert!(errors.to_string().ends_with("\n\nand 100 more errors"), "{errors}");
        let mut others = Errors::default();
        others.push(of(299));
        others.push(of(300));
        others.count();
        errors.append(others);
        assert_eq!(errors.more(), 102);
    }

    #[test]
    fn finds_the_nearest_name() {
        assert_eq!(nearest("tilte", ["title", "date"]), Some("title"));
        assert_eq!(nearest("zzz", ["title", "date"]), None);
    }
}
