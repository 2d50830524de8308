//! The bounds of a render. Content may come from anyone; none of it may exhaust a renderer.

/// Bounds that a site's owner may raise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest page source, in bytes. Markdown beyond this is a mistake or an attack; 10 MiB is War and Peace thrice.
    pub page_bytes_max: u64,
    /// The largest file of any other kind, in bytes: it is held in memory while it is written.
    pub file_bytes_max: u64,
    /// The largest rendered output, in bytes: a template that loops over everything within a loop grows without end.
    pub output_bytes_max: u64,
    /// How many files a site may have.
    pub files_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page_bytes_max: 10 << 20,
            file_bytes_max: 1 << 30,
            output_bytes_max: 256 << 20,
            files_max: 2_000_000,
        }
    }
}

/// How deep folders may be nested; beyond it a link to a parent folder is the likely reason.
pub(crate) const FOLDER_DEPTH_MAX: usize = 64;

/// The largest front matter, in bytes.
pub(crate) const FRONT_MATTER_BYTES_MAX: usize = 1 << 20;
