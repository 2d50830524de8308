//! The log of what made copies wrong: activations and purges, as they were applied. An entry takes effect in all
//! threads by one store to one number; a copy compares that number with the one it was last checked at. What is covered
//! is freed later, by `sweep`.
//!
//! Here is what an entry covers; where entries come from is the business of `journal`.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ahash::RandomState;
use http::StatusCode;
use release::{answer, journal::Selector, tree::Diff, url};

use crate::{
    groups::Groups,
    key::{Key, KeyRef},
    policy::{freshness::Millis, query::QueryKey},
    store::Store,
};

/// Entries that are remembered. A fetch that lasts over more is not stored.
const ENTRIES_MAX: usize = 4_096;

/// Keys whose invalidation is remembered for fetches in flight.
const KEYED_MAX: usize = 65_536;

/// What an applied entry does to the copies that it covers, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Stale from this moment.
    Soft(Millis),
    /// Must be compared with the new release before it is used.
    Unverified,
    /// Another content is served now; this one may stand in while nothing else can be had.
    Superseded,
    /// The path is gone. The body may serve a rollback; the copy is never shown.
    Removed,
    /// Gone for good.
    Dropped,
}

/// One applied entry.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The site, or `None` for everything that this cache holds.
    pub(crate) site: Option<Arc<str>>,
    /// What it covers.
    pub(crate) cover: Cover,
    /// Copies that it has made worse so far.
    worsened: AtomicU64,
}

/// What an entry covers, and how.
#[derive(Debug)]
pub(crate) enum Cover {
    /// Everything in the scope.
    All(Mark),
    /// The differences between two releases, as site paths.
    Paths {
        /// Paths that are still there, or are new.
        changed: HashSet<String>,
        /// Paths that are gone.
        removed: HashSet<String>,
        /// Whether the page for missing paths differs, and so every 404.
        missing: bool,
    },
    /// The selectors of a purge.
    Selected {
        /// Any of these.
        matchers: Vec<Matcher>,
        /// [`Mark::Soft`], [`Mark::Unverified`] or [`Mark::Dropped`].
        mark: Mark,
    },
}

/// A selector, ready to be compared.
#[derive(Debug)]
pub(crate) enum Matcher {
    /// A URL.
    Url {
        /// Host and port; `None` matches any.
        host: Option<String>,
        /// The normalised path.
        path: String,
        /// The queries, or none; `None` matches any.
        queries: Option<Vec<Option<String>>>,
    },
    /// The beginning of a normalised path.
    Prefix {
        /// Host and port; `None` matches any.
        host: Option<String>,
        /// The beginning.
        path: String,
    },
    /// A cache group.
    Group {
        /// As an upstream spells it.
        name: String,
        /// As it stands in the field of a release's content.
        escaped: String,
    },
    /// Any of these, as an upstream spells them, of one origin alone (RFC 9875 §2).
    GroupsOf {
        /// The scope of its keys.
        scope: Arc<str>,
        /// The groups.
        groups: HashSet<Box<str>, RandomState>,
    },
    /// Everything.
    All,
}

/// What an entry needs to know of a copy.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    key: KeyRef<'a>,
    /// `None` for a fetch whose response has not arrived.
    response: Option<(StatusCode, Groups<'a>)>,
    path: OnceCell<Cow<'a, str>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(key: KeyRef<'a>, response: Option<(StatusCode, Groups<'a>)>) -> Self {
        Self { key, response, path: OnceCell::new() }
    }

    /// Whether a purge for this host means it. A site's journal speaks of that site, whichever of its hosts it names.
    fn is_of(&self, host: Option<&str>) -> bool {
        self.key.of_site || host.is_none_or(|host| self.key.host() == Some(host))
    }

    /// The path in the spelling of purges, made once for all entries that ask.
    fn path(&self) -> &str {
        self.path.get_or_init(|| self.key.normal_path())
    }
}

impl Matcher {
    /// From the journal's selector. A URL that cannot be read covers everything: the entry is committed, and to
    /// pass it over would leave wrong copies.
    pub(crate) fn of(selector: &Selector) -> Self {
        match selector {
            Selector::Url(text) => match text.parse::<url::Target>() {
                Ok(target) => {
                    let queries = target.query.is_some().then(|| vec![target.query.clone()]);
                    Self::Url { host: host_of(&target), path: target.path, queries }
                }
                Err(_) => Self::All,
            },
            Selector::Prefix(text) => match text.parse::<url::Target>() {
                Ok(target) => Self::Prefix { host: host_of(&target), path: prefix_of(text) },
                Err(_) => Self::All,
            },
            Selector::Group(name) => Self::Group { name: name.clone(), escaped: answer::group_name(name) },
            Selector::All => Self::All,
        }
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Url { host, path, queries } => {
                // A site's pages have no query variants.
                let key = subject.key;
                let has =
                    |queries: &[Option<String>], query| queries.iter().any(|one| one.as_deref() == query);
                let query_matches =
                    key.of_site || queries.as_ref().is_none_or(|queries| has(queries, key.query()));
                subject.is_of(host.as_deref()) && query_matches && subject.path() == path
            }
            Self::Prefix { host, path } => {
                subject.is_of(host.as_deref()) && subject.path().starts_with(path.as_str())
            }
            Self::Group { name, escaped } => subject.response.is_none_or(|(_, groups)| {
                groups.contains(escaped) || (!subject.key.of_site && groups.contains(name))
            }),
            Self::GroupsOf { scope, groups: named } => {
                let of_scope = !subject.key.of_site && *subject.key.scope == **scope;
                let is_named = |groups: Groups<'_>| groups.iter().any(|group| named.contains(group));
                of_scope && subject.response.is_none_or(|(_, groups)| is_named(groups))
            }
            Self::All => true,
        }
    }
}

fn host_of(target: &url::Target) -> Option<String> {
    let (_, host) = target.authority.as_ref()?.split_once("://")?;
    Some(host.to_owned())
}

/// A prefix's spelling is that of normalised paths, but dot segments at its end are part of a longer name.
fn prefix_of(text: &str) -> String {
    let path = match text.split_once("://") {
        Some((_, rest)) if !text.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => text,
    };
    let rooted = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    match rooted.rsplit_once('/') {
        Some((folder, last)) => {
            let folder = url::normalise(&format!("{folder}/")).into_owned();
            let last = url::normalise(&format!("/x{last}")).into_owned();
            format!("{folder}{}", last.strip_prefix("/x").unwrap_or_default())
        }
        None => rooted,
    }
}

impl Applied {
    fn new(site: Option<Arc<str>>, cover: Cover) -> Self {
        Self { site, cover, worsened: AtomicU64::new(0) }
    }

    /// A purge.
    pub(crate) fn purge<'a>(
        site: Option<Arc<str>>,
        selectors: impl IntoIterator<Item = &'a Selector>,
        soft_at: Option<Millis>,
    ) -> Self {
        let mark = soft_at.map_or(Mark::Dropped, Mark::Soft);
        Self::new(site, Cover::Selected { matchers: selectors.into_iter().map(Matcher::of).collect(), mark })
    }

    /// The same where only some parameters of a query count: a URL means what it is keyed by, too.
    pub(crate) fn keyed_by(mut self, key: &QueryKey) -> Self {
        if let Cover::Selected { matchers, .. } = &mut self.cover {
            for matcher in matchers {
                if let Matcher::Url { queries: Some(queries), .. } = matcher
                    && let [Some(query)] = &queries[..]
                {
                    let keyed = key.target(&format!("?{query}")).strip_prefix('?').map(str::to_owned);
                    queries.push(keyed);
                }
            }
        }
        self
    }

    /// What an upstream's `Cache-Group-Invalidation` names: copies of the same origin in any of these groups are validated
    /// before their next use.
    pub(crate) fn groups(scope: &Arc<str>, groups: Vec<Box<str>>) -> Self {
        let named = Matcher::GroupsOf { scope: Arc::clone(scope), groups: groups.into_iter().collect() };
        Self::new(None, Cover::Selected { matchers: vec![named], mark: Mark::Unverified })
    }

    /// The step from one release to another.
    pub(crate) fn step(site: Arc<str>, diff: &Diff) -> Self {
        let dependents = |paths: &mut dyn Iterator<Item = &String>| -> HashSet<String> {
            paths.flat_map(|path| url::dependents(path)).collect()
        };
        let missing = diff.paths().any(|path| path == "404.html");
        let mut changed = dependents(&mut diff.changed.iter().chain(&diff.added));
        let removed: HashSet<String> =
            dependents(&mut diff.removed.iter()).into_iter().filter(|path| !changed.contains(path)).collect();
        changed.shrink_to_fit();
        Self::new(Some(site), Cover::Paths { changed, removed, missing })
    }

    /// Everything of a site (or of all), in one way.
    pub(crate) fn all(site: Option<Arc<str>>, mark: Mark) -> Self {
        Self::new(site, Cover::All(mark))
    }

    /// Copies that it has made worse so far: all, once a sweep that began after it has ended.
    pub(crate) fn worsened(&self) -> u64 {
        self.worsened.load(Ordering::Acquire)
    }

    /// Counts a copy that it has made worse.
    pub(crate) fn count(&self) {
        self.worsened.fetch_add(1, Ordering::AcqRel);
    }

    /// What this entry does to a copy or fetch; `None`: it does not cover it.
    pub(crate) fn mark(&self, subject: &Subject<'_>) -> Option<Mark> {
        if let Some(site) = &self.site
            && !(subject.key.of_site && **site == *subject.key.scope)
        {
            return None;
        }
        match &self.cover {
            Cover::All(mark) => Some(*mark),
            Cover::Paths { changed, removed, missing } => {
                let path = subject.key.target;
                if removed.contains(path) {
                    Some(Mark::Removed)
                } else if changed.contains(path) {
                    Some(Mark::Superseded)
                } else {
                    let is_missing =
                        subject.response.is_none_or(|(status, _)| status == StatusCode::NOT_FOUND);
                    (*missing && is_missing).then_some(Mark::Superseded)
                }
            }
            Cover::Selected { matchers, mark } => {
                matchers.iter().any(|m| m.matches(subject)).then_some(*mark)
            }
        }
    }

    /// The only lists of the store in which it can cover anything, each once, where they are known.
    pub(crate) fn lists(&self, store: &Store) -> Option<Vec<usize>> {
        let of_site = |site, path: &str| store.list(&Key::of_site(site, path));
        let mut lists = Vec::new();
        match (&self.site, &self.cover) {
            (Some(site), Cover::Paths { changed, removed, missing: false }) => {
                lists.extend(changed.iter().chain(removed).map(|path| of_site(site, path)));
            }
            (site, Cover::Selected { matchers, .. }) => {
                for matcher in matchers {
                    let Matcher::Url { path, .. } = matcher else { return None };
                    match site {
                        Some(site) => lists.push(of_site(site, &url::site_path(path)?)),
                        None => lists.extend(store.lists_of_path(path)?),
                    }
                }
            }
            _ => return None,
        }
        lists.sort_unstable();
        lists.dedup();
        Some(lists)
    }
}

/// When something began, as far as the log knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Began {
    /// Entries applied by then.
    pub(crate) epoch: u64,
    /// Keys invalidated by then.
    keyed: u64,
}

/// The bounded log, and the number that says how much was applied.
///
/// What unsafe requests invalidate is one key each and comes as often as clients like: it is kept beside the log, so
/// that it never pushes an entry out of it.
#[derive(Debug, Default)]
pub(crate) struct PurgeLog {
    epoch: Epoch,
    entries: RwLock<VecDeque<Arc<Applied>>>,
    hasher: RandomState,
    keyed: RwLock<Keyed>,
}

/// How many entries were applied. Each hit reads it, so it lies apart from the locks that each fetch takes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Epoch(AtomicU64);

#[derive(Debug, Default)]
struct Keyed {
    count: u64,
    /// Fetches that began before this are covered, whatever they are for: their keys are forgotten.
    floor: u64,
    last: HashMap<u64, u64>,
}

impl PurgeLog {
    /// How many entries were applied so far.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.0.load(Ordering::Acquire)
    }

    /// Now, for a fetch that begins.
    pub(crate) fn now(&self) -> Began {
        let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner).count;
        Began { epoch: self.epoch(), keyed }
    }

    /// Adds an entry; it is in force when this returns.
    pub(crate) fn push(&self, entry: Arc<Applied>) -> u64 {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.push_back(entry);
        if entries.len() > ENTRIES_MAX {
            entries.pop_front();
        }
        self.epoch.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether copies that nobody has asked for must be brought up to date, before the log forgets what did not cover
    /// them.
    pub(crate) fn wants_sweep(epoch: u64) -> bool {
        epoch.is_multiple_of(ENTRIES_MAX as u64 / 2)
    }

    /// Whether so many entries came since `epoch` that a sweep must not rest.
    pub(crate) fn presses(&self, epoch: u64) -> bool {
        self.epoch() - epoch > ENTRIES_MAX as u64 / 4
    }

    /// Notes that a key is invalid for all that began before (RFC 9111 §4.4).
    pub(crate) fn invalidate(&self, key: &Key) {
        let hash = key.borrowed().hash(&self.hasher);
        let mut keyed = self.keyed.write().unwrap_or_else(PoisonError::into_inner);
        keyed.count += 1;
        if keyed.last.len() >= KEYED_MAX {
            keyed.last.clear();
            keyed.floor = keyed.count;
        }
        let count = keyed.count;
        keyed.last.insert(hash, count);
    }

    /// Whether an unsafe request has made this key invalid since.
    pub(crate) fn invalidated(&self, began: Began, key: KeyRef<'_>) -> bool {
        let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        keyed.count != began.keyed
            && (began.keyed < keyed.floor
                || keyed.last.get(&key.hash(&self.hasher)).is_some_and(|at| *at > began.keyed))
    }

    /// Shows the entries after `epoch`, the oldest first, until `is_enough` says so. Returns the epoch that they lead to, and
    /// whether all of them are still remembered: where not, what began at `epoch` is covered. Allocates nothing.
    pub(crate) fn since(&self, epoch: u64, mut is_enough: impl FnMut(&Applied) -> bool) -> (u64, bool) {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.epoch.0.load(Ordering::Acquire);
        let missed = usize::try_from(now.saturating_sub(epoch)).unwrap_or(usize::MAX);
        let Some(first) = entries.len().checked_sub(missed) else { return (now, false) };
        for entry in entries.range(first..) {
            if is_enough(entry) {
                break;
            }
        }
        (now, true)
    }

    /// Whether anything applied since covers a fetch; of one whose response has not arrived, nobody knows the groups.
    pub(crate) fn covers_fetch(
        &self,
        began: Began,
        key: &Key,
        response: Option<(StatusCode, Groups<'_>)>,
    ) -> bool {
        if self.invalidated(began, key.borrowed()) {
            return true;
        }
        if self.epoch() == began.epoch {
            return false;
        }
        let subject = Subject::new(key.borrowed(), response);
        let mut is_covered = false;
        let (_, remembered) = self.since(began.epoch, |entry| {
            is_covered = entry.mark(&subject).is_some();
            is_covered
        });
        is_covered || !remembered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::same_origin::Scheme;

    fn subject(key: &Key) -> Subject<'_> {
        Subject::new(key.borrowed(), Some((StatusCode::OK, Groups::default())))
    }

    #[test]
    fn urls() {
        let purge = |text: &str| Applied::purge(None, &[Selector::Url(text.into())], None);
        let key = |host: &str, target: &str| Key::of_upstream(Scheme::Http, host, target);
        let rows = [
            ("http://h/a", "h", "/a", true),
            ("HTTP://H:80/a", "H:80", "/a", true),
            ("https://h/a", "h", "/a", true),
            ("http://h/a", "other", "/a", false),
            ("http://h/a", "h", "/a?x=1", true),
            ("http://h/a?x=1", "h", "/a?x=1", true),
            ("http://h/a?x=1", "h", "/a?x=2", false),
            ("http://h/a?x=1", "h", "/a", false),
            ("http://h/a#f", "h", "/a", true),
            ("/a", "any", "/a", true),
            ("/%7Ea/../b", "any", "/b", true),
            ("/b", "any", "/%7Ea/../b", true),
            ("/a", "any", "/a/", false),
            ("/a", "any", "/A", false),
        ];
        for (text, host, target, covered) in rows {
            assert_eq!(
                purge(text).mark(&subject(&key(host, target))).is_some(),
                covered,
                "{text} {host} {target}"
            );
        }
    }

    #[test]
    fn a_url_means_what_it_is_keyed_by() {
        let key = QueryKey::Without(vec!["utm_*".into()]);
        let covered = |url: &str, target: &str| {
            let purge = Applied::purge(None, &[Selector::Url(url.into())], None).keyed_by(&key);
            purge.mark(&subject(&Key::of_upstream(Scheme::Http, "h", target))).is_some()
        };
        assert!(
            covered("/a?utm_x=1&b=2", "/a?b=2") && covered("/a?utm_x=1", "/a") && covered("/a?b", "/a?b")
        );
        // What was stored under another rule.
        assert!(covered("/a?utm_x=1", "/a?utm_x=1"));
        assert!(
            !covered("/a?utm_x=1", "/a?b=2") && !covered("/a?b=2&utm_x=1", "/a") && !covered("/a?b", "/a?")
        );
    }

    #[test]
    fn prefixes_are_bytes_of_the_path() {
        let purge = |text: &str| Applied::purge(None, &[Selector::Prefix(text.into())], None);
        let covered = |text: &str, target: &str| {
            purge(text).mark(&subject(&Key::of_upstream(Scheme::Http, "h", target))).is_some()
        };
        // Those of a host are of that host alone.
        assert!(covered("http://H:80/b", "/b/c") && covered("https://h", "/x"));
        assert!(
            !covered("http://other/b", "/b")
                && !covered("http://h:81/", "/b")
                && !covered("http://h/b", "/a")
        );
        assert!(covered("/blog/", "/blog/a") && covered("/blo", "/blog") && covered("/", "/x"));
        assert!(!covered("/blog/", "/blog") && !covered("/b", "/a?/b"));
        assert!(covered("/caf%C3%A9", "/caf%c3%a9/x"));
        assert!(covered("/to/http://h/", "/to/http://h/x") && !covered("/to/http://h/", "/x"));
        assert!(covered("/a.", "/a.css") && covered("/a/.", "/a/.well-known"));
    }

    #[test]
    fn a_step_covers_what_depends_on_the_paths() {
        let site: Arc<str> = "main".into();
        let diff = Diff {
            added: vec!["new/index.html".into()],
            changed: vec!["index.html".into(), "a.css".into()],
            removed: vec!["old/index.html".into()],
        };
        let step = Applied::step(Arc::clone(&site), &diff);
        let mark = |path: &str| step.mark(&subject(&Key::of_site(&site, path)));
        for path in ["/", "/index.html", "/a.css", "/new", "/new/", "/new/index.html"] {
            assert_eq!(mark(path), Some(Mark::Superseded), "{path}");
        }
        for path in ["/old", "/old/", "/old/index.html"] {
            assert_eq!(mark(path), Some(Mark::Removed), "{path}");
        }
        for path in ["/b.css", "/new/x", "/a.css/"] {
            assert_eq!(mark(path), None, "{path}");
        }
        // Another site's copies, and those of upstreams, are not touched.
        assert_eq!(step.mark(&subject(&Key::of_site(&"other".into(), "/"))), None);
        assert_eq!(step.mark(&subject(&Key::of_upstream(Scheme::Http, "main", "/"))), None);
        let missing =
            Applied::step(Arc::clone(&site), &Diff { changed: vec!["404.html".into()], ..Diff::default() });
        let key = Key::of_site(&site, "/nowhere");
        let of = |status| missing.mark(&Subject::new(key.borrowed(), Some((status, Groups::default()))));
        assert_eq!((of(StatusCode::NOT_FOUND), of(StatusCode::OK)), (Some(Mark::Superseded), None));
    }

    /// An upstream names its groups as it likes; what a release's content is served with is escaped.
    #[test]
    fn groups_are_called_what_they_are_called_where_they_are_named() {
        let site: Arc<str> = "main".into();
        let (theirs, ours) = (Key::of_upstream(Scheme::Http, "h", "/"), Key::of_site(&site, "/"));
        for name in ["a", "50%off", "path:%2Fa", "a\"b", "a\\b", "café", "a%22b"] {
            let purge = Applied::purge(None, &[Selector::Group(name.into())], None);
            let covered = |key: &Key, held: &str| {
                let groups = Groups::join(&[held.into()]);
                purge
                    .mark(&Subject::new(key.borrowed(), Some((StatusCode::OK, Groups::joined(&groups)))))
                    .is_some()
            };
            assert!(covered(&theirs, name) && !covered(&theirs, "other"), "{name}");
            assert!(covered(&ours, &answer::group_name(name)), "{name}");
        }
        let quoted = Applied::purge(None, &[Selector::Group("a%22b".into())], None);
        let groups = Groups::join(&["a%22b".into()]);
        let of_site = Subject::new(ours.borrowed(), Some((StatusCode::OK, Groups::joined(&groups))));
        assert!(quoted.mark(&of_site).is_none(), "of content that is `a\"b`");
    }

    #[test]
    fn groups_of_one_origin_alone() {
        let groups = Groups::join(&["a".into(), "b".into()]);
        let key = Key::of_upstream(Scheme::Http, "h", "/x");
        let marked = |key: &Key, named: &str| {
            let subject = Subject::new(key.borrowed(), Some((StatusCode::OK, Groups::joined(&groups))));
            Applied::groups(&Key::of_upstream(Scheme::Http, "h", "/").scope, vec![named.into()])
                .mark(&subject)
        };
        assert_eq!(marked(&key, "a"), Some(Mark::Unverified));
        assert_eq!(marked(&key, "A"), None);
        assert_eq!(marked(&Key::of_upstream(Scheme::Https, "h", "/x"), "a"), None);
        assert_eq!(marked(&Key::of_upstream(Scheme::Http, "h:81", "/x"), "a"), None);
        assert_eq!(marked(&Key::of_site(&"http://h".into(), "/x"), "a"), None);
    }

    #[test]
    fn what_is_forgotten_covers() {
        let log = PurgeLog::default();
        let key = Key::of_upstream(Scheme::Http, "h", "/a");
        let start = log.now();
        let other = || Arc::new(Applied::purge(None, &[Selector::Url("/b".into())], None));
        for _ in 0..ENTRIES_MAX {
            log.push(other());
        }
        assert!(!log.covers_fetch(start, &key, None));
        log.push(other());
        assert!(log.covers_fetch(start, &key, None));
    }

    #[test]
    fn an_invalidated_key_covers_what_began_before() {
        let log = PurgeLog::default();
        let (key, other) =
            (Key::of_upstream(Scheme::Http, "h", "/a"), Key::of_upstream(Scheme::Http, "h", "/b"));
        let before = log.now();
        log.invalidate(&key);
        assert!(log.covers_fetch(before, &key, None) && !log.covers_fetch(before, &other, None));
        assert!(!log.covers_fetch(log.now(), &key, None));
        for n in 0..KEYED_MAX {
            log.invalidate(&Key::of_upstream(Scheme::Http, "h", &format!("/{n}")));
        }
        assert!(log.covers_fetch(before, &other, None), "what is no longer remembered covers");
    }
}
