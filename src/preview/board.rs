//! What the preview shows: each output as it was last made, what is wrong since then and with which of them, and what of it
//! is news to a page in a browser.

use std::collections::{BTreeMap, HashMap, VecDeque};

use release::tree::Diff;
use release::url;
use renderer::{Diagnostic, Errors, Mark, Place, Reason, Sources};
use serde::Serialize;

use super::insert::Badge;
use super::output::Output;
use super::problem::{Problem, all_of, problems};

/// Renders of which it is known what they changed; a page that missed more is loaded again.
const CHANGES_MAX: usize = 64;
/// Changed files that are named one by one.
const ASSETS_MAX: usize = 1_000;
/// Errors that a list in a page has; the terminal has all.
const ERRORS_MAX: usize = 50;
/// Pages that went and came at once, by pairs, that are compared to see which moved.
const COMPARED_MAX: usize = 1_000_000;
/// Links to withheld pages that are marked.
const MARKS_MAX: usize = 1_000;

/// What a render made, before it is shown.
#[derive(Debug, Default)]
pub struct Batch {
    /// Outputs that may be new.
    pub made: HashMap<String, Output>,
    /// Outputs that are no more.
    pub gone: Vec<String>,
    /// Whether `made` is every output.
    pub is_all: bool,
    /// Where the outputs of pages come from.
    pub places: Vec<Place>,
    /// All that is wrong.
    pub errors: Errors,
    /// Of that, what kept an output from being made.
    pub failed: BTreeMap<String, Vec<Diagnostic>>,
}

/// What a render changed for those who look.
#[derive(Debug, Default)]
struct Changes {
    version: u64,
    /// Files that are no pages; none where there are too many to name.
    assets: Option<Vec<String>>,
    /// Pages that have another address now.
    moved: HashMap<String, String>,
}

/// What is shown.
#[derive(Debug)]
pub struct Board {
    /// Tells this process from an earlier one at the same address.
    boot: String,
    /// The path that addresses begin with: empty, or `/docs`.
    pub base: String,
    /// Counts the renders that ended, well or not.
    pub version: u64,
    /// Whether anything has been rendered.
    pub is_rendered: bool,
    /// All that is wrong.
    problems: Vec<Problem>,
    /// How much more is.
    more: usize,
    /// Of that, what kept an output from being made.
    failed: HashMap<String, Vec<Problem>>,
    /// Whether nothing could be rendered for it.
    is_whole: bool,
    /// The files of the site, as they were listed last.
    pub sources: Sources,
    outputs: HashMap<String, Output>,
    places: HashMap<String, Place>,
    /// Of the last renders, and the last of those before them.
    changes: VecDeque<Changes>,
    forgotten: u64,
}

/// What an address comes to.
#[derive(Debug)]
pub enum Look<'a> {
    /// An output.
    Found(&'a str, &'a Output),
    /// The address of a folder without its slash; with it.
    Slash(String),
    /// Nothing; the site's page for that.
    Missing(Option<&'a Output>),
}

/// What is new to a page, as its script reads it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct News {
    page: Fate,
    /// Where the page went.
    to: Option<String>,
    /// Where the site begins.
    home: String,
    /// The file and the line that the page comes from, and its badge.
    file: Option<String>,
    line: Option<usize>,
    mark: Option<Badge>,
    /// Addresses of other files that changed; none where that is not known.
    assets: Option<Vec<String>>,
    /// What is wrong with the page.
    errors: Told,
    /// What is wrong with others.
    others: Told,
    /// Whether nothing renders.
    whole: bool,
    /// Addresses of pages that a build leaves out, and what they are.
    marks: BTreeMap<String, &'static str>,
}

/// The first of some problems, and how many more there are.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Told {
    list: Vec<Problem>,
    left_out: usize,
}

impl Told {
    /// Of these problems, and `more`.
    fn new(mut problems: Vec<&Problem>, more: usize) -> Self {
        let left_out = problems.len().saturating_sub(ERRORS_MAX) + more;
        problems.truncate(ERRORS_MAX);
        Self { list: problems.into_iter().cloned().collect(), left_out }
    }
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is as it was.
    Same,
    /// It is another.
    Changed,
    /// It is at another address.
    Moved,
    /// It is not there any more.
    Gone,
}

impl Board {
    /// Shows nothing yet. `boot` is of this process alone; `base` begins addresses.
    pub fn new(boot: String, base: String) -> Self {
        Self {
            boot,
            base,
            version: 0,
            is_rendered: false,
            problems: Vec::new(),
            more: 0,
            failed: HashMap::new(),
            is_whole: false,
            sources: Sources::default(),
            outputs: HashMap::new(),
            places: HashMap::new(),
            changes: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Nothing could be rendered: what is shown stays, with this beside it.
    pub fn fail(&mut self, error: &anyhow::Error) {
        self.version += 1;
        (self.problems, self.more) = problems(error);
        self.failed.clear();
        self.is_whole = true;
    }

    /// Shows what a render made, and says what differs. What could not be made stays as it is.
    pub fn show(&mut self, mut batch: Batch) -> Diff {
        self.version += 1;
        self.is_rendered = true;
        (self.problems, self.more) = all_of(&batch.errors);
        let failed = batch.failed.iter();
        self.failed =
            failed.map(|(path, why)| (path.clone(), why.iter().map(Problem::from).collect())).collect();
        self.is_whole = false;
        let mut diff = Diff::default();
        if batch.is_all {
            batch.gone =
                self.outputs.keys().filter(|path| !batch.made.contains_key(*path)).cloned().collect();
        }
        for path in batch.gone {
            if self.outputs.remove(&path).is_some() {
                diff.removed.push(path);
            }
        }
        for (path, output) in batch.made {
            match self.outputs.get(&path) {
                Some(before) if before.is_same(&output) => continue,
                Some(_) => diff.changed.push(path.clone()),
                None => diff.added.push(path.clone()),
            }
            self.outputs.insert(path, output);
        }
        for paths in [&mut diff.added, &mut diff.changed, &mut diff.removed] {
            paths.sort_unstable();
        }
        let places = batch.places.into_iter().map(|place| (place.output.clone(), place)).collect();
        let before = std::mem::replace(&mut self.places, places);
        let assets: Vec<String> = diff
            .paths()
            .filter(|path| self.outputs.get(*path).is_some_and(|output| !output.is_html()))
            .take(ASSETS_MAX + 1)
            .map(str::to_owned)
            .collect();
        self.changes.push_back(Changes {
            version: self.version,
            assets: (assets.len() <= ASSETS_MAX).then_some(assets),
            moved: self.moved(&before, &diff),
        });
        if self.changes.len() > CHANGES_MAX
            && let Some(oldest) = self.changes.pop_front()
        {
            self.forgotten = oldest.version;
        }
        diff
    }

    /// Pages that have another address: those whose file has; those whose folder has another name, or is elsewhere; and the one
    /// that took the place of the only one that went.
    fn moved(&self, before: &HashMap<String, Place>, diff: &Diff) -> HashMap<String, String> {
        let mut gone = diff.removed.iter().filter_map(|path| before.get(path)).peekable();
        if gone.peek().is_none() {
            return HashMap::new();
        }
        let added: Vec<&Place> = diff.added.iter().filter_map(|path| self.places.get(path)).collect();
        let mut moved: HashMap<String, String> = HashMap::new();
        let mut lost = Vec::new();
        for place in gone {
            match added.iter().find(|new| new.source == place.source) {
                Some(new) => {
                    moved.insert(place.output.clone(), new.output.clone());
                }
                None => lost.push(place),
            }
        }
        let unclaimed: Vec<&&Place> =
            added.iter().filter(|new| !moved.values().any(|to| *to == new.output)).collect();
        if let ([lost], [found]) = (&lost[..], &unclaimed[..]) {
            moved.insert(lost.output.clone(), found.output.clone());
            return moved;
        }
        if lost.len().saturating_mul(unclaimed.len()) > COMPARED_MAX {
            return moved;
        }
        let found = lost.iter().filter_map(|lost| {
            let most = unclaimed.iter().map(|new| in_common(&lost.source, &new.source)).max()?;
            let mut nearest = unclaimed.iter().filter(|new| in_common(&lost.source, &new.source) == most);
            let found = nearest.next().filter(|_| most > 0 && nearest.next().is_none())?;
            Some((lost.output.clone(), found.output.clone()))
        });
        let found: Vec<_> = found.collect();
        moved.extend(found);
        moved
    }

    /// What is wrong with the page of a site path: what kept it from being made, and what is wrong with its file. All that
    /// is wrong where nothing renders.
    pub fn wrong_with(&self, path: Option<&str>) -> Vec<&Problem> {
        if self.is_whole {
            return self.problems.iter().collect();
        }
        let Some(path) = path else { return Vec::new() };
        let output = url::manifest_path(path);
        let outputs = [format!("{output}/index.html"), output];
        let mut found: Vec<&Problem> = Vec::new();
        for output in &outputs {
            let place = self.places.get(output);
            // Rows share a file.
            let is_of = |problem: &&Problem, place: &Place| {
                problem.is_in(&place.source) || problem.is_at(&place.file, place.line)
            };
            let of_file = self.problems.iter().filter(|problem| place.is_some_and(|p| is_of(problem, p)));
            for problem in self.failed.get(output).into_iter().flatten().chain(of_file) {
                if !found.contains(&problem) {
                    found.push(problem);
                }
            }
        }
        found
    }

    /// What a site path comes to; without one nothing does.
    pub fn look(&self, path: Option<&str>) -> Look<'_> {
        let Some(path) = path else { return self.missing() };
        let output = url::manifest_path(path);
        if let Some((name, found)) = self.outputs.get_key_value(&output) {
            return Look::Found(name, found);
        }
        if !path.ends_with('/') && self.outputs.contains_key(&format!("{output}/index.html")) {
            return Look::Slash(format!("{path}/"));
        }
        self.missing()
    }

    fn missing(&self) -> Look<'_> {
        Look::Missing(self.outputs.get("404.html"))
    }

    /// The site path of a request, below the base; none where it is beside that, or no site has it.
    pub fn site_path(&self, address: &str) -> Option<String> {
        let path = url::site_path(address)?;
        let inside = path.strip_prefix(self.base.as_str())?;
        inside.starts_with('/').then(|| inside.to_owned())
    }

    /// The address of a site path.
    pub fn address(&self, site_path: &str) -> String {
        url::escape(&format!("{}{site_path}", self.base))
    }

    /// The address of an output.
    fn address_of(&self, output: &str) -> String {
        let path = match output.strip_suffix("index.html") {
            Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
            _ => output,
        };
        self.address(&format!("/{path}"))
    }

    /// What a page shows now, for the question of what is new: `BOOT-VERSION-IDENTITY`.
    pub fn seen(&self, path: Option<&str>) -> String {
        let (boot, version) = (&self.boot, self.version);
        format!("{boot}-{version}-{}", self.state(path))
    }

    fn state(&self, path: Option<&str>) -> String {
        if !self.is_rendered {
            return "unrendered".to_owned();
        }
        match self.look(path) {
            Look::Found(_, output) => output.identity(),
            Look::Slash(_) => "slash".to_owned(),
            // Its errors stand in its place, as for one that is asked for now.
            Look::Missing(_) if !self.wrong_with(path).is_empty() => "failed".to_owned(),
            Look::Missing(page) => format!("{MISSING}{}", page.map(Output::identity).unwrap_or_default()),
        }
    }

    /// What is new to a page that shows what `seen` says.
    pub fn news(&self, path: Option<&str>, seen: &str) -> News {
        let mut parts = seen.splitn(3, '-');
        let mut part = || parts.next().unwrap_or_default();
        let (boot, version, before) = (part(), part().parse::<u64>().unwrap_or(0), part());
        let known = boot == self.boot;
        let state = self.state(path);
        let later = || self.changes.iter().filter(|changes| changes.version > version);
        let mut to = None;
        let page = if state == before {
            Fate::Same
        } else if state.starts_with(MISSING) && !before.starts_with(MISSING) {
            let output = path.map(url::manifest_path).unwrap_or_default();
            // Where it went may have moved on since.
            let mut at = output.as_str();
            for changes in later().filter(|_| known) {
                at = changes.moved.get(at).map_or(at, String::as_str);
            }
            to = (at != output && self.outputs.contains_key(at)).then(|| self.address_of(at));
            if to.is_some() { Fate::Moved } else { Fate::Gone }
        } else {
            Fate::Changed
        };
        let assets = later().map(|changes| changes.assets.as_deref()).collect::<Option<Vec<_>>>();
        let assets = assets.filter(|_| known && version >= self.forgotten);
        let assets =
            assets.map(|lists| lists.into_iter().flatten().map(|path| self.address_of(path)).collect());
        let place = match self.look(path) {
            Look::Found(output, _) => self.place(output),
            _ => None,
        };
        let (place, mark) = place.unzip();
        let errors = self.wrong_with(path);
        let is_own = |problem: &&Problem| errors.iter().any(|own| own.is_that_of(problem));
        let others = self.problems.iter().filter(|problem| !is_own(problem)).collect();
        News {
            page,
            to,
            file: place.map(|place| place.file.clone()),
            line: place.map(|place| place.line),
            mark: mark.flatten(),
            home: self.address("/"),
            assets,
            errors: Told::new(errors, 0),
            others: Told::new(others, self.more),
            whole: self.is_whole,
            marks: self.marks(),
        }
    }

    fn marks(&self) -> BTreeMap<String, &'static str> {
        let marked = self.places.values().filter_map(|place| {
            let label = match place.mark?.reason {
                Reason::Draft => "draft",
                Reason::Future(_) => "future",
                Reason::Expired(_) => "expired",
            };
            Some((self.address_of(&place.output), label))
        });
        marked.take(MARKS_MAX).collect()
    }

    /// Where an output comes from, and its badge.
    pub fn place(&self, output: &str) -> Option<(&Place, Option<Badge>)> {
        let place = self.places.get(output)?;
        Some((place, place.mark.map(badge)))
    }

    /// The file of the template that made an output: of the site, or of its theme.
    pub fn template(&self, output: &Output) -> Option<String> {
        let name = output.template.as_deref()?;
        let own = format!("templates/{name}");
        if self.sources.get(&own).is_some() {
            return Some(own);
        }
        let ending = format!("/{own}");
        let theirs = self.sources.under("themes/").find(|(path, _)| path.ends_with(&ending));
        theirs.map(|(path, _)| path.to_owned())
    }
}

/// What the state of an address begins with that comes to nothing.
const MISSING: &str = "missing";

fn badge(mark: Mark) -> Badge {
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (label, what) = match mark.reason {
        Reason::Draft => ("Draft".to_owned(), "It is a draft, or in a section that is".to_owned()),
        Reason::Future(at) => (format!("Future: {}", day(at)), format!("Its date is {}", day(at))),
        Reason::Expired(at) => (format!("Expired: {}", day(at)), format!("It expired on {}", day(at))),
    };
    let detail = match mark.withheld {
        true => format!("{what}: a build leaves this page out."),
        false => format!("{what}. A build has this page: without a bakehouse.toml, dates withhold nothing."),
    };
    Badge { label, detail }
}

/// How many names at their ends two paths have in common.
fn in_common(one: &str, other: &str) -> usize {
    one.rsplit('/').zip(other.rsplit('/')).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use release::File;

    use super::*;
    use crate::preview::store::Store;

    fn board() -> (Board, Arc<Store>) {
        (Board::new("b".into(), String::new()), Store::new(1 << 20))
    }

    fn output(store: &Arc<Store>, path: &str, body: &str) -> (String, Output) {
        let file = File {
            path: path.to_owned(),
            body: Bytes::from(body.to_owned()),
            status: 200,
            fields: vec![("content-type".into(), renderer::media_type(path).into())],
            groups: Vec::new(),
            immutable: false,
        };
        (path.to_owned(), Output::new(store, file, None).unwrap())
    }

    fn batch(store: &Arc<Store>, made: &[(&str, &str)], pages: &[(&str, &str)]) -> Batch {
        Batch {
            made: made.iter().map(|(path, body)| output(store, path, body)).collect(),
            is_all: true,
            places: pages
                .iter()
                .map(|(output, source)| Place {
                    output: (*output).into(),
                    source: (*source).into(),
                    file: (*source).into(),
                    line: 1,
                    mark: None,
                })
                .collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn the_pages_of_a_folder_with_another_name_are_followed() {
        let before = [
            ("b/index.html", "b/_index.md"),
            ("b/x/index.html", "b/x.md"),
            ("b/y/index.html", "b/y/index.md"),
        ];
        let to = [
            ("n/x/index.html", "n/x.md"),
            ("n/index.html", "n/_index.md"),
            ("n/new/index.html", "n/new/index.md"),
            ("n/y/index.html", "n/y/index.md"),
        ];
        let (mut board, store) = board();
        let made =
            |pages: &[(&'static str, &str)]| pages.iter().map(|(path, _)| (*path, "x")).collect::<Vec<_>>();
        board.show(batch(&store, &made(&before), &before));
        let seen = board.seen(Some("/b/x/"));
        board.show(batch(&store, &made(&to), &to));
        for page in ["/b/", "/b/x/", "/b/y/"] {
            let news = board.news(Some(page), &seen);
            assert_eq!((news.page, news.to), (Fate::Moved, Some(page.replacen("/b/", "/n/", 1))), "{page}");
        }
    }

    #[test]
    fn a_page_hears_of_itself_and_of_files_that_are_no_pages() {
        let (mut board, store) = board();
        let files = [("a/index.html", "<a href=x?h=1>"), ("b/index.html", "b"), ("s.css", "1")];
        let first = board.show(batch(&store, &files, &[]));
        assert_eq!((first.added.len(), first.changed.len()), (3, 0));
        let seen = board.seen(Some("/a/"));
        let news = board.news(Some("/a/"), &seen);
        assert_eq!((news.page, news.assets), (Fate::Same, Some(Vec::new())));
        // A digest in the page is news of the file alone.
        let files = [("a/index.html", "<a href=x?h=2>"), ("b/index.html", "other"), ("s.css", "2")];
        assert_eq!(board.show(batch(&store, &files, &[])).changed.len(), 3);
        let news = board.news(Some("/a/"), &seen);
        assert_eq!((news.page, news.assets), (Fate::Same, Some(vec!["/s.css".into()])));
        let files = [("a/index.html", "new"), ("s.css", "2")];
        assert_eq!(board.show(batch(&store, &files, &[])).removed, ["b/index.html"]);
        assert_eq!(board.news(Some("/a/"), &seen).page, Fate::Changed);
        // Of what was before another process's start, nothing is known.
        let other = board.seen(Some("/a/")).replacen('b', "c", 1);
        let news = board.news(Some("/a/"), &other);
        assert_eq!((news.page, news.assets), (Fate::Same, None));
    }

    #[test]
    fn a_page_that_goes_says_where_to() {
        let (mut board, store) = board();
        board.show(batch(&store, &[("a/index.html", "a")], &[("a/index.html", "content/a.md")]));
        let seen = board.seen(Some("/a/"));
        // Another slug, then another file name.
        board.show(batch(&store, &[("b/index.html", "a")], &[("b/index.html", "content/a.md")]));
        assert_eq!(board.news(Some("/a/"), &seen).to.as_deref(), Some("/b/"));
        board.show(batch(&store, &[("c/index.html", "a")], &[("c/index.html", "content/c.md")]));
        let news = board.news(Some("/a/"), &seen);
        assert_eq!((news.page, news.to.as_deref()), (Fate::Moved, Some("/c/")));
        // Of two that come it might be either.
        let two = [("d/index.html", "content/d.md"), ("e/index.html", "content/e.md")];
        board.show(batch(&store, &[("d/index.html", "d"), ("e/index.html", "e")], &two));
        let news = board.news(Some("/a/"), &seen);
        assert_eq!((news.page, news.to), (Fate::Gone, None));
    }

    #[test]
    fn what_was_missed_for_long_is_not_told() {
        let (mut board, store) = board();
        board.show(batch(&store, &[("a/index.html", "a")], &[]));
        let seen = board.seen(Some("/a/"));
        for i in 0..=CHANGES_MAX {
            assert!(board.news(Some("/a/"), &seen).assets.is_some(), "{i}");
            board.show(batch(&store, &[("a/index.html", "a"), ("x.js", &i.to_string())], &[]));
        }
        assert_eq!(board.news(Some("/a/"), &seen).assets, None);
    }

    #[test]
    fn a_failure_leaves_what_is_shown() {
        let (mut board, store) = board();
        board.fail(&anyhow::anyhow!("broken"));
        assert!(board.seen(Some("/a/")).ends_with("-unrendered"));
        board.show(batch(&store, &[("a/index.html", "a"), ("404.html", "no")], &[]));
        assert_eq!(board.news(Some("/a/"), "").errors.list, []);
        board.fail(&anyhow::anyhow!("broken"));
        let news = board.news(Some("/a/"), "");
        assert_eq!((&*news.errors.list[0].message, news.whole), ("broken", true));
        assert!(matches!(board.look(Some("/a/")), Look::Found("a/index.html", _)));
        assert!(matches!(board.look(Some("/a")), Look::Slash(to) if to == "/a/"));
        assert!(matches!(board.look(Some("/x")), Look::Missing(Some(_))));
    }

    #[test]
    fn what_is_wrong_is_told_where_it_is() {
        let (mut board, store) = board();
        let made = [("a/index.html", "a"), ("b/index.html", "b")];
        let places = [("a/index.html", "content/a.md"), ("c/index.html", "content/c.md")];
        let in_file = |path: &str| Diagnostic::in_file(path, "wrong");
        // What several pages meet is told once, with the first of them.
        let template = in_file("templates/page.html").hint("it was rendering content/b.md");
        let first = in_file("templates/page.html").hint("it was rendering content/a1.md");
        board.show(Batch {
            errors: [in_file("content/a.md"), in_file("content/c.md"), first].into_iter().collect(),
            failed: [("b/index.html".to_owned(), vec![template.clone()])].into(),
            ..batch(&store, &made, &places)
        });
        let files = |path: &str| -> Vec<String> {
            let news = board.news(Some(path), "");
            assert!(!news.whole && news.errors.list.len() + news.others.list.len() == 3);
            news.errors.list.into_iter().map(|problem| problem.text).collect()
        };
        for (path, file) in [
            ("/a/", Some("content/a.md")),
            ("/b/", Some("templates/page.html")),
            ("/c/", Some("content/c.md")),
            ("/c", Some("content/c.md")),
            ("/d/", None),
        ] {
            let told = file.map(|file| match template.path.as_deref() == Some(file) {
                true => template.to_string(),
                false => in_file(file).to_string(),
            });
            assert_eq!(files(path), Vec::from_iter(told), "{path}");
        }
    }

    #[test]
    fn a_page_that_is_broken_from_the_start_takes_the_place_of_none() {
        let (mut board, store) = board();
        let made = [("404.html", "no")];
        board.show(batch(&store, &made, &[]));
        let seen = board.seen(Some("/a/"));
        let errors = Errors::from(Diagnostic::in_file("content/a.md", "wrong"));
        let places = [("a/index.html", "content/a.md")];
        board.show(Batch { errors, ..batch(&store, &made, &places) });
        // It is loaded again, and its errors are all there is.
        assert_eq!(board.news(Some("/a/"), &seen).page, Fate::Changed);
        let seen = board.seen(Some("/a/"));
        board.show(batch(&store, &[("404.html", "no"), ("a/index.html", "a")], &places));
        assert_eq!(board.news(Some("/a/"), &seen).page, Fate::Changed);
        assert_eq!(board.news(Some("/b/"), &board.seen(Some("/b/"))).page, Fate::Same);
    }

    #[test]
    fn of_many_errors_a_page_has_the_first_and_their_number() {
        let (mut board, store) = board();
        let errors = (0..250).map(|n| Diagnostic::in_file(format!("content/{n:03}.md"), "wrong")).collect();
        board.show(Batch { errors, ..batch(&store, &[("a/index.html", "a")], &[]) });
        let others = board.news(Some("/a/"), "").others;
        assert_eq!((others.list.len(), others.left_out), (ERRORS_MAX, 250 - ERRORS_MAX));
    }

    #[test]
    fn addresses_begin_with_the_base() {
        let board = Board::new("b".into(), "/docs".into());
        assert_eq!(board.site_path("/docs/caf%C3%A9/").as_deref(), Some("/café/"));
        for beside in ["/", "/docs", "/docsx/", "/x", "/%ff", "/docs/../x"] {
            assert_eq!(board.site_path(beside), None, "{beside}");
        }
        assert_eq!(board.address_of("café/index.html"), "/docs/caf%C3%A9/");
        assert_eq!(board.address_of("index.html"), "/docs/");
        assert_eq!(board.address_of("xindex.html"), "/docs/xindex.html");
    }
}
