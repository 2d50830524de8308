//! What renderers of a site know, in its bucket: whoever publishes next begins with it, a fresh checkout and a second
//! renderer too.
//!
//! A memo belongs to the release whose outputs it knows. It is written now and then, not with each publish: one that
//! is some releases old makes the next render do what these have changed, and no more. Nothing is lost with it.

mod blocks;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use origin::policy::Rules;
use release::Digest;
use release::bucket::Bucket;
use release::keys::Site;
use renderer::{MEMO_BYTES_MAX, Memo, RenderId, Renderer};
use serde::{Deserialize, Serialize};

pub use blocks::BucketBlocks;

/// Bytes of one object; what is larger has several.
const PART_BYTES_MAX: usize = 32 << 20;
/// Objects of one memo, and keys that are looked at.
const PARTS_MAX: usize = 1_000;
/// Memos that are kept: the newest may have been written by a newer program, or be of a release after a rollback.
const KEPT: usize = 2;
/// Level of zstd: a memo is read as often as it is written.
const LEVEL: i32 = 1;

/// The first line of a memo.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Number of the activation, and root of its manifest.
    seq: u64,
    root: Digest,
    /// Of the rules that its entries got their policies and fields by.
    rules: Digest,
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
    /// Where they are.
    pub bucket: &'a Arc<dyn Bucket>,
    /// Whose they are.
    pub site: &'a Site,
}

impl Memos<'_> {
    /// The newest memo that is of activation `seq` or older, of this program, and of these rules; none where there is none.
    ///
    /// # Errors
    /// Where the bucket gives no answer.
    pub async fn load(
        &self,
        seq: u64,
        rules: &Rules,
        memory_bytes_max: usize,
    ) -> anyhow::Result<Option<Known>> {
        let kept = self.list().await?;
        for (at, parts) in kept.range(..=seq).rev().take(KEPT) {
            let mut whole = Vec::new();
            for part in 0..*parts {
                let Some(object) = self.bucket.get(&self.site.memo(*at, part), PART_BYTES_MAX as u64).await?
                else {
                    break;
                };
                whole.extend_from_slice(&object.bytes);
            }
            let rules = digest_of(rules);
            let read = tokio::task::spawn_blocking(move || read(&whole, &rules, memory_bytes_max)).await?;
            match read {
                Some(known) if known.seq == *at => return Ok(Some(known)),
                _ => tracing::info!(seq = at, "what a renderer knew of this release cannot be used"),
            }
        }
        Ok(None)
    }

    /// Keeps what a renderer knows of the release that activation `seq` has made active, and drops what is older.
    ///
    /// # Errors
    /// Where the bucket does not take it.
    pub async fn store(
        &self,
        seq: u64,
        root: Digest,
        rules: &Rules,
        write_memo: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let head = Head { version: 1, seq, root, rules: digest_of(rules) };
        let whole = tokio::task::spawn_blocking(move || write(&head, write_memo)).await??;
        let parts: Vec<Bytes> = (0..whole.len())
            .step_by(PART_BYTES_MAX)
            .map(|from| whole.slice(from..whole.len().min(from + PART_BYTES_MAX)))
            .collect();
        anyhow::ensure!(
            parts.len() <= PARTS_MAX / KEPT,
            "a memo of {} bytes is too large to keep",
            whole.len()
        );
        // The first part last: with it the memo is whole.
        for (part, bytes) in parts.iter().enumerate().rev() {
            self.bucket.put(&self.site.memo(seq, part), bytes.clone()).await?;
        }
        let kept = self.list().await?;
        let stay = kept.keys().rev().nth(KEPT - 1).copied().unwrap_or(0);
        for (old, parts) in kept.range(..stay) {
            for part in 0..*parts {
                self.bucket.delete(&self.site.memo(*old, part)).await?;
            }
        }
        Ok(())
    }

    /// Numbers of activations that there are memos of, each with how many parts it has.
    async fn list(&self) -> anyhow::Result<BTreeMap<u64, usize>> {
        let prefix = self.site.memo_prefix();
        let listing = self.bucket.list(&prefix, None, PARTS_MAX).await?;
        let mut kept: BTreeMap<u64, usize> = BTreeMap::new();
        for key in &listing.keys {
            let parsed = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
            if let Some(seq) = parsed.and_then(|(seq, _)| seq.parse().ok()) {
                *kept.entry(seq).or_default() += 1;
            }
        }
        Ok(kept)
    }
}

fn digest_of(rules: &Rules) -> Digest {
    Digest::of(format!("{rules:?}").as_bytes())
}

fn write(
    head: &Head,
    write_memo: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> anyhow::Result<Bytes> {
    let mut whole = serde_json::to_vec(head)?;
    whole.push(b'\n');
    let mut packed = zstd::Encoder::new(whole, LEVEL)?;
    write_memo(&mut packed)?;
    Ok(packed.finish()?.into())
}

fn read(whole: &[u8], rules: &Digest, memory_bytes_max: usize) -> Option<Known> {
    let end = whole.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&whole[..end]).ok()?;
    if head.version != 1 || head.rules != *rules {
        return None;
    }
    let mut memo = Vec::new();
    let unpacked = zstd::Decoder::new(&whole[end + 1..]).ok()?;
    unpacked.take(MEMO_BYTES_MAX).read_to_end(&mut memo).ok()?;
    let (renderer, render) = Memo::open(memo.into())?.renderer(memory_bytes_max);
    Some(Known { renderer, render, seq: head.seq, root: head.root })
}
