//! What is wrong with the data of a site, and what the site lacks for it.

use std::collections::BTreeSet;

use super::config::{SourceConfig, written};
use super::error::DataError;
use crate::config::BAKEHOUSE_NAME;
use crate::diagnostic::{Diagnostic, Errors};
use crate::library::CONTENT;
use crate::sources::Sources;

/// What is wrong with the data of a site. It is told with all else that is wrong, but for what is missing for it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub(crate) errors: Errors,
    /// Sources of which there is no data.
    sources: BTreeSet<String>,
    /// Folders, from `content/` to a slash, with pages that would be made by rows.
    folders: BTreeSet<String>,
    /// What there may be that nothing else is known of.
    unknown: Unknown,
}

/// What a site may lack of sources that cannot be read from its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Data of sources.
    pub data: bool,
    /// Pages that rows make.
    pub pages: bool,
}

impl Faults {
    /// Adds what is wrong with a source.
    pub fn add(&mut self, source: &SourceConfig, has_data: bool, errors: Errors) {
        if errors.is_empty() {
            return;
        }
        self.errors.append(errors);
        if !has_data {
            self.sources.insert(source.name.clone());
        }
        self.folders.extend(source.page.as_ref().map(|page| match &*page.section {
            "" => CONTENT.to_owned(),
            section => format!("{CONTENT}{section}/"),
        }));
    }

    /// Adds that a source gave no data, at its name among the site's files.
    pub fn add_unread(&mut self, source: &SourceConfig, sources: &Sources, error: &DataError) {
        let wrong = Diagnostic::new(error.to_string()).maybe_hint(error.hint());
        let named = sources.text(BAKEHOUSE_NAME).ok().and_then(|(_, text)| {
            let at = written(&text, &source.name)?;
            Some(Diagnostic { path: Some(BAKEHOUSE_NAME.to_owned()), ..wrong.clone() }.at(&text, at))
        });
        self.add(source, false, named.unwrap_or(wrong).into());
    }

    /// Adds what is wrong with a configuration, and what may lack for it.
    pub fn add_config(&mut self, errors: Errors, unknown: Unknown) {
        self.errors.append(errors);
        self.lack(unknown);
    }

    fn lack(&mut self, unknown: Unknown) {
        self.unknown.data |= unknown.data;
        self.unknown.pages |= unknown.pages;
    }

    /// Adds what is wrong elsewhere.
    pub fn append(&mut self, other: Self) {
        self.lack(other.unknown);
        self.errors.append(other.errors);
        self.sources.extend(other.sources);
        self.folders.extend(other.folders);
    }

    /// All that is wrong.
    pub fn errors(&self) -> &[Diagnostic] {
        self.errors.list()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether there is no data of a source, or of any.
    pub(crate) fn lacks_data(&self, source: Option<&str>) -> bool {
        self.unknown.data || source.map_or(!self.sources.is_empty(), |source| self.sources.contains(source))
    }

    /// Whether a row may have made the page of this file, if it is not there.
    pub(crate) fn lacks_page(&self, file: &str) -> bool {
        self.unknown.pages || file.rfind('/').is_some_and(|end| self.folders.contains(&file[..=end]))
    }

    /// Whether pages may lack below a folder.
    pub(crate) fn lacks_pages_in(&self, folder: &str) -> bool {
        self.unknown.pages || self.folders.iter().any(|lacking| lacking.starts_with(folder))
    }

    /// Folders of outputs in which pages may lack.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = String> {
        let folders = self.folders.iter().map(|folder| folder[CONTENT.len()..].to_owned());
        folders.chain(self.unknown.pages.then(String::new))
    }
}
