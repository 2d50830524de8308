//! What a worker knows of the active release, and keeps for the renderers after it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use origin::policy::Rules;
use origin::publish::Draft;
use release::Digest;
use renderer::{Handed, Readers, RenderId, Sources};

use tokio::sync::mpsc;

use super::Worker;
use super::reason::Reason;
use super::stop::Stop;
use crate::memo::Memos;

/// What a release was made of. The next publish on it hands over what differs from that, and no more.
#[derive(Clone)]
pub(super) struct Known {
    /// Number of the activation, and root of its manifest.
    pub(super) seq: u64,
    pub(super) root: Digest,
    /// The render that has just these outputs, and the rules by which they are kept and have their fields.
    pub(super) render: RenderId,
    pub(super) rules: Rules,
    /// What is recorded as its sources; none where that is not known.
    pub(super) recorded: Option<Recorded>,
}

/// What is recorded with a release.
#[derive(Clone, Default)]
pub(super) struct Recorded {
    pub(super) sources: Sources,
    /// Names of the data of sources that were asked.
    pub(super) data: BTreeSet<String>,
    /// Files elsewhere that are recorded.
    pub(super) files: BTreeSet<String>,
}

/// What a memo would be of.
pub(super) struct Unwritten {
    /// What was rendered last, and what came of it.
    pub(super) input: renderer::Input,
    pub(super) summary: renderer::Summary,
    /// Outputs that were rendered since a memo was written.
    pub(super) rendered: usize,
    /// More than so many make another one worth it.
    pub(super) least: usize,
}

/// Outputs that were rendered since a memo was written before another one is: writing it costs more than it spares
/// where few are.
pub(super) const MEMO_RENDERED_MIN: usize = 1_000;

/// Pause between two looks for a reason while a memo is uploaded.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Worker {
    pub(super) fn knows(
        &self,
        seq: u64,
        root: Digest,
        render: RenderId,
        recorded: Option<Recorded>,
    ) -> Known {
        Known { seq, root, render, rules: self.rules.clone(), recorded }
    }

    /// What is known of the draft's base: by this worker, or else by a renderer that was here before. Where others
    /// have published since, what they changed is rendered again.
    pub(super) async fn base_known(&mut self, draft: &Draft) -> Result<Option<Known>, Stop> {
        let Some((seq, root)) = draft.base_seq().zip(draft.base_root()) else { return Ok(None) };
        if !std::mem::replace(&mut self.recalled, true) && self.known.is_none() {
            self.recall(seq, root).await;
        }
        let Some(known) = self.known.take() else { return Ok(None) };
        // The number alone says nothing where the bucket was begun anew, or restored from another one.
        if (known.seq, known.root) == (seq, root) {
            return Ok(Some(known));
        }
        let differing = match draft.differing(known.root).await {
            Ok(differing) => differing,
            Err(error) if error.is_transient() => {
                self.known = Some(known);
                return Err(Stop::of(error));
            }
            Err(error) => {
                tracing::warn!(%error, "what is known is of a release that cannot be read; everything is rendered");
                return Ok(None);
            }
        };
        self.renderer.distrust(known.render, differing.iter().map(String::as_str));
        Ok(Some(Known { seq, root, recorded: None, ..known }))
    }

    fn memos(&self) -> Memos<'_> {
        Memos::new(&*self.setup.bucket, &self.setup.site, self.setup.beside.as_ref())
    }

    /// Takes over what another renderer knew of release `seq`, or of one before it.
    pub(super) async fn recall(&mut self, seq: u64, root: Digest) {
        let found = self.memos().load(seq, root, &self.rules, self.setup.memory_bytes_max).await;
        match found {
            Ok(Some(memo)) => {
                self.renderer = Arc::new(memo.renderer.with_blocks(self.blocks.clone()));
                self.known = Some(self.knows(memo.seq, memo.root, memo.render, None));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "what other renderers know cannot be read; everything is rendered")
            }
        }
    }

    /// Lets the renderer make ready what the next save asks for, while what it made is uploaded.
    pub(super) fn expect_saves(&mut self) {
        let renderer = Arc::clone(&self.renderer);
        self.ready = Some(tokio::task::spawn_blocking(move || renderer.expect_saves()));
    }

    /// Waits for that: of two that work with what a renderer knows, one goes without.
    pub(super) async fn be_ready(&mut self) {
        if let Some(ready) = self.ready.take()
            && let Err(error) = ready.await
        {
            tracing::warn!(%error, "the renderer is not ready for saves; the next one takes longer");
        }
    }

    /// Waits until there is a reason to publish, which stays where it is.
    async fn reason_waits(&self) {
        while self.reasons.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Notes what was rendered, for the next memo.
    pub(super) fn remember(&mut self, input: renderer::Input, summary: renderer::Summary) {
        let least = match &self.unwritten {
            None if summary.handed == Handed::All => 0,
            // One that is due and was put off is still due.
            Some(before) if before.rendered > before.least => before.least,
            _ => MEMO_RENDERED_MIN.max(summary.outputs / 4),
        };
        let rendered = self.unwritten.take().map_or(0, |before| before.rendered) + summary.rendered;
        self.unwritten = Some(Unwritten { input, summary, rendered, least });
    }

    /// Writes what the renderer knows of the active release to the bucket, if more than `least` outputs were rendered
    /// since that was done last. With `gives_way` it is put off as soon as there is a reason to publish.
    pub(super) async fn write_memo(&mut self, least: usize, gives_way: bool) {
        self.be_ready().await;
        let (Some(unwritten), Some(known)) = (&self.unwritten, &self.known) else { return };
        if unwritten.rendered <= least || known.render != unwritten.summary.render {
            return;
        }
        let renderer = Arc::clone(&self.renderer);
        let keep = tokio::task::spawn_blocking(move || renderer.keep_blocks());
        if let Err(error) = keep.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            tracing::warn!(%error, "highlighted code was not kept; the next one to start highlights it again");
        }
        let (input, summary) = (unwritten.input.clone(), unwritten.summary.clone());
        let renderer = Arc::clone(&self.renderer);
        let reasons = gives_way.then(|| self.handle.reasons.clone());
        let write = move |out: &mut (dyn Write + Send)| {
            renderer.write_memo(&input, &summary, Readers::All, &mut GivesWay { out, reasons })
        };
        let memos = self.memos();
        let stored = match memos.pack(known.seq, known.root, &known.rules, write).await {
            Ok(packed) => tokio::select! {
                stored = memos.put(known.seq, &packed) => stored,
                () = self.reason_waits(), if gives_way => Ok(()),
            },
            packed => packed.map(drop),
        };
        if gives_way && !self.reasons.is_empty() {
            tracing::debug!("what the renderer knows is kept later: there is something to publish");
            return;
        }
        if let Err(error) = stored {
            tracing::warn!(%error, "what the renderer knows was not kept; the next one to start renders everything");
        }
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.rendered = 0;
        }
        // Many outputs at once leave gaps, as much again as what stays.
        tokio::task::spawn_blocking(edge::give_back);
    }
}

/// Passes on what is written until there is a reason to publish.
struct GivesWay<'a> {
    out: &'a mut (dyn Write + Send),
    /// None where it does not matter.
    reasons: Option<mpsc::Sender<Reason>>,
}

impl Write for GivesWay<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.reasons {
            Some(reasons) if reasons.capacity() < reasons.max_capacity() => {
                Err(io::Error::other("there is something to publish"))
            }
            _ => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
