//! What a render hands over, and what it tells of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use release::File;

use crate::diagnostic::{Diagnostic, Errors};
use crate::places::Place;

/// Names a render of a [`Renderer`](super::Renderer): 1, 2, 3, …, those that failed included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RenderId(pub(super) u64);

/// What a render handed to its sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handed {
    /// Every output.
    #[default]
    All,
    /// Outputs that may differ from those of the render that was named, and the paths that are gone.
    Changes,
}

/// Where files go. Called from several threads, in no particular order; every path comes once.
pub trait Sink: Sync {
    /// Takes a file.
    ///
    /// # Errors
    /// That no more files are wanted; the render stops.
    fn put(&self, file: File) -> Result<(), SinkClosed>;

    /// Takes a file that is a copy of the site's file `source`.
    ///
    /// # Errors
    /// As for [`Sink::put`].
    fn put_copy(&self, file: File, source: &str) -> Result<(), SinkClosed> {
        let _ = source;
        self.put(file)
    }

    /// The output at `path`, which the render that was named had, is no more. Called only where
    /// [`Handed::Changes`] comes of it, and never for a path that is put in the same render.
    ///
    /// # Errors
    /// As for [`Sink::put`].
    fn remove(&self, path: &str) -> Result<(), SinkClosed>;
}

/// The receiver of files has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of rendered files has gone")]
pub struct SinkClosed;

/// What a render made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// This render, for a later one to say what has changed since.
    pub render: RenderId,
    /// What the sink was given.
    pub handed: Handed,
    /// Pages.
    pub pages: usize,
    /// Sections.
    pub sections: usize,
    /// Files of all kinds.
    pub outputs: usize,
    /// Of these, files that were made in this render, whether or not they differ.
    pub rendered: usize,
    /// Blocks of code that were highlighted in this render: not those that were known.
    pub highlighted: usize,
    /// Whether search indexes were left for a render to come: those that were handed over earlier are out of date.
    pub postponed: bool,
    /// Files that were copied: static ones, co-located ones, the theme's.
    pub assets: usize,
    /// When a date in the future makes the next render differ; only where there is a `bakehouse.toml`.
    pub next_change: Option<Timestamp>,
    /// What is not wrong enough to stop.
    pub warnings: Vec<Diagnostic>,
    /// Where the outputs of pages come from; only with [`Options::source_lines`](super::Options::source_lines).
    pub places: Vec<Place>,
    /// All that is wrong; only with [`Options::keep_going`](super::Options::keep_going).
    pub errors: Errors,
    /// Of that, what kept an output from being made, by output.
    pub failed: BTreeMap<String, Vec<Diagnostic>>,
}
