//! A new file of content: whether the site still builds with it.

use std::sync::Arc;

use bytes::Bytes;

use crate::diagnostic::{Diagnostic, Errors};
use crate::job;
use crate::render::{Input, Renderer};

impl Renderer {
    /// What would be wrong with a site for a new file alone, such as an address that another page has already. What is wrong at
    /// a place in the file itself, such as a key that a schema requires, is for its author to mend.
    pub fn wrong_with_new(&self, input: &Input, path: &str, text: &str) -> Vec<Diagnostic> {
        let mut input = input.clone();
        input.options.drafts = true;
        let before = input.clone();
        input.sources = input.sources.changed(&[], [(path.to_owned(), Bytes::from(text.to_owned()))]);
        let with = self.wrong_with_plan(&input);
        if with.is_empty() {
            return Vec::new();
        }
        let known = self.wrong_with_plan(&before);
        let is_own = |wrong: &Diagnostic| wrong.path.as_deref() == Some(path) && wrong.line.is_some();
        with.list().iter().filter(|wrong| !is_own(wrong) && !known.list().contains(wrong)).cloned().collect()
    }

    /// What is wrong with a site before anything of it is made.
    fn wrong_with_plan(&self, input: &Input) -> Errors {
        let mut errors = Errors::default();
        match self.prepare(input, &mut errors) {
            Ok((site, _)) => {
                job::plan(&Arc::new(site), &mut errors);
            }
            Err(wrong) => errors.append(wrong),
        }
        errors
    }
}
