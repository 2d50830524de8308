//! Content in, files out.
//!
//! A render is a pure function of its recorded inputs: the site's files, the recorded data of its dynamic sources,
//! its options, and the time. This crate owns that function, how data is fetched, and when; it leaves out where files
//! go. Names, layout, front matter and template variables are those of Zola 0.23.
//!
//! In reading order: `sources` → `config` → `front_matter` → `library` → `markdown` → `site` → `job` → `render`;
//! beside them `reads` → `view` → `graph`, which say what a change touches.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod data;
mod diagnostic;
mod limits;
pub mod schedule;
mod sources;

mod addition;
mod bibtex;
mod blocks;
pub mod check;
mod config;
mod data_file;
mod filters;
mod front_matter;
mod functions;
mod graph;
mod headings;
mod highlight;
pub mod identity;
mod images;
pub mod import;
mod job;
mod kept;
mod library;
mod lines;
mod locales;
mod markdown;
mod markup;
mod math;
mod memo;
mod memory;
mod mime;
mod minify;
mod outputs;
mod places;
mod reads;
mod redirects;
mod relocate;
mod remote;
mod render;
mod sass;
mod schemas;
mod scope;
mod search;
mod site;
mod slugs;
mod templates;
mod theme;
mod toml_words;
mod value;
mod view;
mod whole;

pub use blocks::{BlockStore, PACKS_BYTES_MAX, Pack, Stored};
pub use config::{CONFIG_NAMES, config_errors};
pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Errors};
pub use front_matter::front_matter;
pub use graph::Explanation;
pub use images::{ImageFormat, ImageOptions};
pub use library::dated_name;
pub use limits::Limits;
pub use memo::{MEMO_BYTES_MAX, Memo, Readers};
pub use mime::of as media_type;
pub use outputs::{Outputs, Written};
pub use places::{Mark, Place, Reason};
pub use relocate::{Relocation, Rewrite};
pub use render::{BaseUrl, Handed, Input, Options, RenderId, Renderer, Sink, SinkClosed, Summary};
pub use sass::apart::{compile_sass_with, serve as serve_sass};
pub use sources::{SourceFile, Sources};
pub use toml_words::{TomlWords, from_toml, right_tables};
pub use whole::Whole;
