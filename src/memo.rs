//! What renderers of a site know, in its bucket: whoever publishes next begins with it, a fresh checkout and a second
//! renderer too.
//!
//! A memo belongs to the release whose outputs it knows. It is written now and then, not with each publish: one that
//! is some releases old makes the next render do what these have changed, and no more. Nothing is lost with it.

#[cfg(test)]
mod attacks;
mod beside;
mod blocks;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use origin::policy::Rules;
use release::Digest;
use release::bucket::{Bucket, BucketError};
use release::keys::Site;
use renderer::{MEMO_BYTES_MAX, Memo, RenderId, Renderer};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use beside::Beside;
pub use blocks::BucketBlocks;

/// Bytes of one object of a memo.
const PART_BYTES_MAX: usize = 32 << 20;
/// Bytes of all objects of a memo: a million pages take less.
const PACKED_BYTES_MAX: usize = 512 << 20;
/// Keys that are looked at.
const KEYS_MAX: usize = 1_000;
/// Memos that are kept: the newest may have been written by a newer program, or be of a release after a rollback.
const KEPT: usize = 2;
/// Level of zstd: a memo is read as often as it is written.
const LEVEL: i32 = 1;
/// First bytes of a memo: a digest of all that follows them, how many bytes that are, and the end of the line.
const SEAL_BYTES: usize = 64 + 1 + LENGTH_DIGITS + 1;
const LENGTH_DIGITS: usize = 20;
/// First bytes of a memo of version 1, which had no seal.
const FIRST_FORMAT: &[u8] = b"{\"version\":1,";
/// What reading or writing what renderers know may take: publishes wait for it, and to render everything takes no longer.
const BUCKET_TIME_MAX: Duration = Duration::from_secs(60);

/// The line after the seal.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Whose it is: a memo of another site is right in itself.
    site: String,
    /// Number of the activation, and root of its manifest.
    seq: u64,
    root: Digest,
    /// Of the rules that its entries got their policies and fields by.
    rules: Digest,
}

/// Why a memo is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Useless {
    Damaged,
    Misplaced,
    OtherRules,
    OtherProgram,
}

impl fmt::Display for Useless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "it is damaged, or parts of it are missing",
            Self::Misplaced => "it is of another site or another release",
            Self::OtherRules => "the caching rules are others now",
            Self::OtherProgram => "another version of the program wrote it",
        })
    }
}

/// What a renderer knew of a release.
pub struct Known {
    /// The renderer, and the render that has just the outputs of the release.
    pub renderer: Renderer,
    /// Its name.
    pub render: RenderId,
    /// Number of the activation.
    pub seq: u64,
    /// Root of its manifest.
    pub root: Digest,
}

/// The memos of one site.
pub struct Memos<'a> {
    bucket: &'a dyn Bucket,
    site: &'a Site,
    /// Where the one of the last publish from here is, if it is kept here too.
    beside: Option<&'a Beside>,
    /// Bytes of one object; what is larger has several.
    part_bytes_max: usize,
}

impl<'a> Memos<'a> {
    /// Those of `site` in `bucket`.
    pub fn new(bucket: &'a dyn Bucket, site: &'a Site, beside: Option<&'a Beside>) -> Self {
        Self { bucket, site, beside, part_bytes_max: PART_BYTES_MAX }
    }

    /// The newest memo that is of activation `seq`, whose manifest has the root `root`, or of an older one, of this program, and of
    /// these rules; none where there is none.
    ///
    /// # Errors
    /// Where the bucket gives no answer, or not in time.
    pub async fn load(
        &self,
        seq: u64,
        root: Digest,
        rules: &Rules,
        memory_bytes_max: usize,
    ) -> anyhow::Result<Option<Known>> {
        if let Some(beside) = self.beside.cloned() {
            let (site, rules) = (self.site.to_string(), digest_of(rules));
            let found = move || read(&beside.read()?, &site, seq, &rules, memory_bytes_max).ok();
            let known = tokio::task::spawn_blocking(found).await?;
            if let Some(known) = known.filter(|known| known.root == root) {
                return Ok(Some(known));
            }
        }
        in_time(self.newest(seq, rules, memory_bytes_max)).await
    }

    async fn newest(
        &self,
        seq: u64,
        rules: &Rules,
        memory_bytes_max: usize,
    ) -> anyhow::Result<Option<Known>> {
        let kept = self.list().await?;
        for at in kept.range(..=seq).rev().take(KEPT).map(|(at, _)| *at) {
            let read = match self.whole(at).await? {
                Ok(whole) => {
                    let (site, rules) = (self.site.to_string(), digest_of(rules));
                    let beside = self.beside.filter(|_| at == seq).cloned();
                    let read = move || {
                        let known = read(&whole, &site, at, &rules, memory_bytes_max)?;
                        beside.inspect(|beside| beside.keep(&whole));
                        Ok(known)
                    };
                    tokio::task::spawn_blocking(read).await?
                }
                Err(useless) => Err(useless),
            };
            match read {
                Ok(known) => return Ok(Some(known)),
                Err(why @ (Useless::Damaged | Useless::Misplaced)) => {
                    tracing::warn!(seq = at, %why, "what a renderer knew of this release cannot be used; it costs time alone");
                }
                Err(why) => {
                    tracing::info!(seq = at, %why, "what a renderer knew of this release cannot be used");
                }
            }
        }
        Ok(None)
    }

    /// The bytes of a memo, from all of its parts.
    async fn whole(&self, seq: u64) -> anyhow::Result<Result<Vec<u8>, Useless>> {
        let mut whole = Vec::new();
        for part in 0.. {
            match self.bucket.get(&self.site.memo(seq, part), self.part_bytes_max as u64).await {
                Ok(Some(object)) => whole.extend_from_slice(&object.bytes),
                Ok(None) | Err(BucketError::TooLarge { .. }) => break,
                Err(error) => return Err(error.into()),
            }
            if whole.starts_with(FIRST_FORMAT) {
                return Ok(Err(Useless::OtherProgram));
            }
            match sealed_length(&whole) {
                Some(length) if whole.len() >= length => return Ok(Ok(whole)),
                // All parts but the last are full.
                Some(_) if whole.len() == (part + 1) * self.part_bytes_max => {}
                _ => break,
            }
        }
        Ok(Err(Useless::Damaged))
    }

    /// A memo of the release that activation `seq` has made active, for [`Memos::put`].
    ///
    /// # Errors
    /// Where `write_memo` fails, or it is too large.
    pub async fn pack(
        &self,
        seq: u64,
        root: Digest,
        rules: &Rules,
        write_memo: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<Bytes> {
        let head = Head { version: 2, site: self.site.to_string(), seq, root, rules: digest_of(rules) };
        let whole = tokio::task::spawn_blocking(move || write(&head, write_memo)).await??;
        anyhow::ensure!(
            whole.len() <= PACKED_BYTES_MAX,
            "a memo of {} bytes is too large to keep: {PACKED_BYTES_MAX} are the most",
            whole.len()
        );
        Ok(whole)
    }

    /// Keeps a memo, and drops what is older. Whoever does not wait for the end leaves nothing that is taken for one.
    ///
    /// # Errors
    /// Where the bucket does not take it, or not in time.
    pub async fn put(&self, seq: u64, packed: &Bytes) -> anyhow::Result<()> {
        in_time(self.replace(seq, packed)).await?;
        if let Some(beside) = self.beside.cloned() {
            let packed = packed.clone();
            tokio::task::spawn_blocking(move || beside.keep(&packed)).await?;
        }
        Ok(())
    }

    async fn replace(&self, seq: u64, whole: &Bytes) -> anyhow::Result<()> {
        // The first part last: with it the memo is whole.
        for from in (0..whole.len()).step_by(self.part_bytes_max).rev() {
            let bytes = whole.slice(from..whole.len().min(from + self.part_bytes_max));
            self.bucket.put(&self.site.memo(seq, from / self.part_bytes_max), bytes).await?;
        }
        // Newer ones are of whoever published since, or of nobody: they say nothing of which are old.
        let kept = self.list().await?;
        for (_, keys) in kept.range(..=seq).rev().skip(KEPT) {
            for key in keys {
                self.bucket.delete(key).await?;
            }
        }
        Ok(())
    }

    /// Numbers of activations that there are memos of, each with the keys of its parts.
    async fn list(&self) -> anyhow::Result<BTreeMap<u64, Vec<String>>> {
        let prefix = self.site.memo_prefix();
        let listing = self.bucket.list(&prefix, None, KEYS_MAX).await?;
        let mut kept: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for key in listing.keys {
            let parsed = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
            if let Some(seq) = parsed.and_then(|(seq, _)| seq.parse().ok()) {
                kept.entry(seq).or_default().push(key);
            }
        }
        Ok(kept)
    }
}

/// What a bucket does within [`BUCKET_TIME_MAX`].
async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = timeout(BUCKET_TIME_MAX, work).await;
    done.with_context(|| format!("the bucket took more than {} s", BUCKET_TIME_MAX.as_secs()))?
}

fn digest_of(rules: &Rules) -> Digest {
    Digest::of(format!("{rules:?}").as_bytes())
}

fn write(
    head: &Head,
    write_memo: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> anyhow::Result<Bytes> {
    let mut whole = vec![0; SEAL_BYTES];
    serde_json::to_writer(&mut whole, head)?;
    whole.push(b'\n');
    let mut packed = zstd::Encoder::new(whole, LEVEL)?;
    write_memo(&mut packed)?;
    let mut whole = packed.finish()?;
    let (seal, sealed) = whole.split_at_mut(SEAL_BYTES);
    seal.copy_from_slice(seal_of(sealed).as_bytes());
    Ok(whole.into())
}

fn seal_of(sealed: &[u8]) -> String {
    format!("{} {:0LENGTH_DIGITS$}\n", Digest::of(sealed), sealed.len())
}

/// How long a memo is that begins so, by its seal; none where that cannot be.
fn sealed_length(start: &[u8]) -> Option<usize> {
    let digits = start.get(SEAL_BYTES - 1 - LENGTH_DIGITS..SEAL_BYTES - 1)?;
    let length = std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?.checked_add(SEAL_BYTES)?;
    (length <= PACKED_BYTES_MAX).then_some(length)
}

fn read(
    whole: &[u8],
    site: &str,
    seq: u64,
    rules: &Digest,
    memory_bytes_max: usize,
) -> Result<Known, Useless> {
    // Nothing is unpacked, and nothing believed, before it is known to be what was written.
    let (seal, sealed) = whole.split_at_checked(SEAL_BYTES).ok_or(Useless::Damaged)?;
    if seal != seal_of(sealed).as_bytes() {
        return Err(Useless::Damaged);
    }
    let end = sealed.iter().position(|byte| *byte == b'\n').ok_or(Useless::Damaged)?;
    let head: Head = serde_json::from_slice(&sealed[..end]).map_err(|_| Useless::OtherProgram)?;
    if head.version != 2 {
        return Err(Useless::OtherProgram);
    }
    if head.site != site || head.seq != seq {
        return Err(Useless::Misplaced);
    }
    if head.rules != *rules {
        return Err(Useless::OtherRules);
    }
    let mut memo = Vec::new();
    let unpacked = zstd::Decoder::new(&sealed[end + 1..]).map_err(|_| Useless::Damaged)?;
    unpacked.take(MEMO_BYTES_MAX).read_to_end(&mut memo).map_err(|_| Useless::Damaged)?;
    let memo = Memo::open(memo.into()).ok_or(Useless::OtherProgram)?;
    let (renderer, render) = memo.renderer(memory_bytes_max);
    Ok(Known { renderer, render, seq: head.seq, root: head.root })
}
