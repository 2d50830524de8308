//! Rows of data: of dynamic sources, which are not in the site's folder, and of files, which are.
//!
//! Owns the `[[source]]` tables of `bakehouse.toml` ([`SourceConfig`]), fetching them ([`fetch()`], [`fetch_all`]) or
//! reading them with the site ([`from_file`]), when those that fail are asked again ([`Retries`]), the recorded result ([`Snapshot`], [`DataSet`]) and the pages that
//! rows make ([`pages`]), and what is wrong with them ([`Faults`]). Leaves out: when to fetch (`schedule`), where snapshots are stored, and how pages are rendered.
//! A fetch that fails fails as a whole, so that the caller can keep the snapshot it has; there is no half of a source.

mod backoff;
mod config;
mod error;
mod faults;
mod fetch;
mod file;
pub(crate) mod http;
mod lines;
mod page;
mod retries;
mod snapshot;
mod sql;

pub use backoff::Backoff;
pub(crate) use config::written;
pub use config::{
    BYTES_MAX_DEFAULT, FileConfig, FileFormat, HttpConfig, PageConfig, Paging, ROWS_MAX_DEFAULT,
    SourceConfig, SourceKind, SqlConfig, TIMEOUT_DEFAULT,
};
pub use error::{CellError, DataError};
pub use faults::{Faults, Unknown};
pub use fetch::{Fingerprint, fetch, fetch_all, fingerprint};
pub use file::{FileRows, from_file};
pub use page::{RowPage, pages};
pub use retries::{Failing, Retries};
pub use snapshot::{DataSet, Snapshot, record_path};
