//! What a render is made from, and how.

use std::sync::Arc;

use jiff::Timestamp;

use crate::data::{DataSet, Faults, RowPage};
use crate::diagnostic::{Diagnostic, Errors};
use crate::images::ImageOptions;
use crate::library;
use crate::limits::Limits;
use crate::sources::Sources;

/// What a render is a function of.
#[derive(Debug, Clone)]
pub struct Input {
    /// The site's files.
    pub sources: Sources,
    /// The recorded data of dynamic sources.
    pub data: Arc<DataSet>,
    /// The pages that rows of these sources make.
    pub row_pages: Arc<Vec<RowPage>>,
    /// What is wrong with the data, or with rows.
    pub faults: Faults,
    /// The render's time: `now()` in templates, and what dates of pages are compared with.
    pub now: Timestamp,
    /// How to render.
    pub options: Options,
}

impl Input {
    /// What is wrong, said of rows where pages were made of them.
    pub(crate) fn at_rows(&self, errors: Errors) -> Errors {
        errors.reworded(|list| self.point_at_rows(list.iter_mut()))
    }

    pub(crate) fn point_at_rows<'a>(&self, wrong: impl Iterator<Item = &'a mut Diagnostic>) {
        library::at_rows(&self.sources, &self.row_pages, wrong);
    }
}

/// How to render.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether drafts are rendered, and pages whose time has not come or is over.
    pub drafts: bool,
    /// What links begin with.
    pub base_url: BaseUrl,
    /// Whether outputs are handed over although something is wrong with others, which then stay as they were:
    /// [`Summary::errors`](super::Summary::errors) says what. For previews.
    pub keep_going: bool,
    /// Whether blocks of content say which line of which file they come from, in the attribute `data-bake-source`,
    /// and the summary where the outputs of pages do. For previews; nothing else of an output depends on it.
    pub source_lines: bool,
    /// The configuration's name, if not `zola.toml` or `config.toml`.
    pub config: Option<String>,
    /// Bounds.
    pub limits: Limits,
    /// What images in content are shown with; only where there is a `bakehouse.toml`.
    pub images: ImageOptions,
    /// Whether `$` and `$$` in content are around formulas in TeX; only where there is a `bakehouse.toml`.
    pub math: bool,
}

/// What links begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BaseUrl {
    /// The configuration's `base_url`.
    #[default]
    Configured,
    /// Nothing: links in pages are root-relative; feeds, the sitemap and canonical addresses keep `base_url`.
    RootRelative,
    /// This address.
    Given(String),
}
