//! One site as this process serves it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use release::answer::{Resolution, resolve};
use release::bucket::Bucket;
use release::journal::Selector;
use release::keys::Site;
use release::log;
use release::reader::{ReadError, Reader};
use release::tree::Diff;
use release::url::{Target, site_path};
use release::wire::{DIFF_BYTES_MAX, PolledEntry, ReleaseLine, SelectorReceipt, SitePoll};
use release::{Digest, ReleaseId};

use crate::Error;
use crate::clock::Moment;
use crate::journal::{Journal, Seen};
use crate::publish::Publisher;

/// Roots of releases and diffs between them that are remembered.
const REMEMBERED_MAX: usize = 256;
/// Entries that are read again from the bucket for an edge that is behind what is in memory.
const REREAD_MAX: u64 = 64;
/// Paths that a selector's receipt counts up to.
const COUNTED_MAX: usize = 10_000;
/// Objects that are read at a time.
const READS_MAX: usize = 32;

/// A diff, unless it is too long to be sent.
type ShortDiff = Option<Arc<Diff>>;

/// One site as this process serves it.
#[derive(Debug)]
pub struct ServedSite {
    journal: Arc<Journal>,
    reader: Arc<Reader>,
    publisher: Arc<Publisher>,
    roots: Mutex<HashMap<ReleaseId, Roots>>,
    /// Diffs that are short enough to be sent, or none.
    diffs: Mutex<HashMap<(Digest, Digest), ShortDiff>>,
}

/// The two trees that answer requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots {
    /// Of the manifest.
    pub manifest: Digest,
    /// Of the hashed assets of all kept releases.
    pub assets: Digest,
}

impl ServedSite {
    pub(crate) fn new(journal: Arc<Journal>, reader: Arc<Reader>, publisher: Arc<Publisher>) -> Self {
        Self { journal, reader, publisher, roots: Mutex::default(), diffs: Mutex::default() }
    }

    /// The site's name.
    pub fn name(&self) -> &Site {
        self.journal.site()
    }

    /// Its journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// The way to read its objects.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// The way to publish it.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    fn bucket(&self) -> &dyn Bucket {
        &**self.reader.bucket()
    }

    /// The trees of a release; of the active one where none is named. None where it is not known.
    ///
    /// # Errors
    /// Where the release's record cannot be read.
    pub async fn roots(&self, release: Option<&ReleaseId>) -> Result<Option<Roots>, Error> {
        let seen = self.journal.seen();
        let active = seen.state.active.as_ref();
        // A rollback keeps the assets of today: the activation says which, not the release.
        if let Some(active) = active.filter(|a| release.is_none_or(|r| *r == a.release)) {
            return Ok(Some(Roots { manifest: active.root, assets: active.assets }));
        }
        let Some(release) = release else { return Ok(None) };
        if let Some(roots) = self.roots.lock().unwrap_or_else(PoisonError::into_inner).get(release) {
            return Ok(Some(*roots));
        }
        let record = match self.reader.release(release).await {
            Ok(record) => record,
            Err(ReadError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let roots = Roots { manifest: record.root, assets: record.assets };
        remember(&self.roots, release.clone(), roots);
        Ok(Some(roots))
    }

    /// What differs between two manifests, if that is short enough to be sent.
    async fn short_diff(&self, before: Digest, after: Digest) -> Result<ShortDiff, Error> {
        let key = (before, after);
        if let Some(diff) = self.diffs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(diff.clone());
        }
        let diff = self.reader.diff(before, after).await?;
        let bytes = serde_json::to_vec(&diff).map_or(usize::MAX, |json| json.len());
        let diff = (bytes <= DIFF_BYTES_MAX).then(|| Arc::new(diff));
        remember(&self.diffs, key, diff.clone());
        Ok(diff)
    }

    /// News for an edge that knows everything up to `after`.
    pub(crate) async fn news(&self, seen: &Seen, after: Option<u64>) -> SitePoll {
        let mut entries = Vec::new();
        let mut reset = true;
        if let Some(recent) = after.and_then(|seq| seen.since(seq)) {
            reset = false;
            for recent in recent {
                let numbered = &recent.numbered;
                let diff = match (recent.before, recent.activated) {
                    (Some(before), Some(after)) => {
                        let diff = self.short_diff(before, after).await;
                        // Without it the edge compares what it holds, which is slower and as right.
                        diff.unwrap_or_else(|error| {
                            tracing::warn!(site = %self.name(), %error, "a diff could not be made");
                            None
                        })
                    }
                    _ => None,
                };
                entries.push(PolledEntry {
                    seq: numbered.seq,
                    digest: numbered.digest,
                    entry: numbered.entry.clone(),
                    diff: diff.map(|d| Diff::clone(&d)),
                });
            }
        } else if let Some(after) = after.filter(|a| seen.state.seq.saturating_sub(*a) <= REREAD_MAX)
            && after < seen.state.seq
        {
            match self.reread(after, seen.state.seq).await {
                Ok(read) => (entries, reset) = (read, false),
                Err(error) => tracing::warn!(site = %self.name(), %error, "entries cannot be read again"),
            }
        }
        SitePoll {
            site: self.name().clone(),
            state: seen.state.clone(),
            verified_ms: Moment::now().ms_since(seen.looked),
            entries,
            reset,
        }
    }

    async fn reread(&self, after: u64, upto: u64) -> Result<Vec<PolledEntry>, Error> {
        let reads = (after + 1..=upto).map(|seq| async move {
            let read = log::read_entry(self.journal.bucket(), self.name(), seq).await?;
            let missing = || Error::BadRequest(format!("journal entry {seq} is missing"));
            let log::Numbered { seq, digest, entry } = read.ok_or_else(missing)?;
            Ok::<_, Error>(PolledEntry { seq, digest, entry, diff: None })
        });
        stream::iter(reads).buffered(READS_MAX).try_collect().await
    }

    /// What a selector means in the active release.
    ///
    /// # Errors
    /// Where the manifest cannot be read.
    pub async fn count(&self, selector: &Selector) -> Result<SelectorReceipt, Error> {
        let receipt = |paths| Ok(SelectorReceipt { selector: selector.clone(), paths });
        let state = self.journal.seen().state.clone();
        let Some(active) = state.active else { return receipt(None) };
        if !selector.is_of(&active.hosts) {
            return receipt(Some(0));
        }
        // Edges hold a site's pages under their paths, whichever of its hosts a URL was written with.
        let of_text = |text: &str| text.parse::<Target>().ok().and_then(|t| site_path(&t.path));
        let paths = match selector {
            Selector::Url(url) => match of_text(url) {
                Some(path) => match resolve(&self.reader, active.root, active.assets, &path).await? {
                    Resolution::Missing(_) => Some(0),
                    Resolution::Found { .. } | Resolution::Slash { .. } => Some(1),
                },
                None => None,
            },
            Selector::Prefix(prefix) => match of_text(prefix) {
                Some(path) => {
                    let prefix = path.trim_start_matches('/');
                    let under = self.reader.under(active.root, prefix, COUNTED_MAX).await?;
                    Some(under.len() as u64)
                }
                None => None,
            },
            Selector::All => {
                let all = self.reader.node(active.root).await?.paths();
                Some(all.min(COUNTED_MAX as u64))
            }
            Selector::Group(_) => None,
        };
        receipt(paths)
    }

    /// The newest releases, at most `max`.
    ///
    /// # Errors
    /// Where the bucket gives no answer, or a record cannot be read.
    pub async fn releases(&self, max: usize) -> Result<Vec<ReleaseLine>, Error> {
        let prefix = self.name().releases_prefix();
        let mut ids: std::collections::VecDeque<ReleaseId> = Default::default();
        let mut after: Option<String> = None;
        loop {
            let listing = self.bucket().list(&prefix, after.as_deref(), 1_000).await?;
            // Names sort by age. A key that is no release's is none of ours.
            ids.extend(listing.keys.iter().filter_map(|k| k.strip_prefix(&prefix)?.parse().ok()));
            // Those of one second are told apart by their records only.
            let second = |id: &ReleaseId| id.as_str().get(..15).map(str::to_owned);
            while ids.len() > max && ids.front().map(second) < ids.get(ids.len() - max).map(second) {
                ids.pop_front();
            }
            match listing.keys.last().filter(|_| listing.more) {
                Some(last) => after = Some(last.clone()),
                None => break,
            }
        }
        let active = self.journal.seen().state.active.clone().map(|a| a.release);
        let reads = ids.into_iter().rev().map(|id| async {
            let record = self.reader.release(&id).await?;
            Ok::<_, Error>(ReleaseLine {
                active: active.as_ref() == Some(&id),
                id,
                parent: record.parent,
                created: record.created,
                author: record.author,
                message: record.message,
                trigger: record.trigger,
                counts: record.counts,
            })
        });
        let mut lines: Vec<ReleaseLine> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        lines.sort_by_key(|line| std::cmp::Reverse(line.created));
        lines.truncate(max);
        Ok(lines)
    }

    /// What differs between two releases.
    ///
    /// # Errors
    /// [`Error::NoRelease`] where one does not exist; otherwise that a tree cannot be read.
    pub async fn diff(&self, from: &ReleaseId, to: &ReleaseId) -> Result<Diff, Error> {
        let root = |id: ReleaseId| async move {
            let missing = || Error::NoRelease { site: self.name().clone(), release: id.clone() };
            Ok::<_, Error>(self.roots(Some(&id)).await?.ok_or_else(missing)?.manifest)
        };
        let (from, to) = futures_util::try_join!(root(from.clone()), root(to.clone()))?;
        Ok(self.reader.diff(from, to).await?)
    }
}

fn remember<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
    map.insert(key, value);
}
