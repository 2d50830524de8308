//! What is wrong, as pages show it.

use renderer::{Diagnostic, Errors};
use serde::Serialize;

use crate::failure::{self, Content};

/// Something that is wrong, ready for the script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What failed on what value.
    pub message: String,
    path: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
    excerpt: Option<String>,
    /// The column within the excerpt.
    caret: Option<u32>,
    hint: Option<String>,
    /// All of it, for terminals.
    #[serde(skip)]
    pub text: String,
}

impl Problem {
    /// Whether it is about a file of the site.
    pub fn is_in(&self, file: &str) -> bool {
        self.path.as_deref() == Some(file)
    }

    /// Whether it is about this line of a file of the site.
    pub fn is_at(&self, file: &str, line: usize) -> bool {
        self.is_in(file) && self.line.is_some_and(|at| at as usize == line)
    }

    /// Whether it is the same thing in the same place, whatever was rendered there.
    pub fn is_that_of(&self, other: &Self) -> bool {
        (&self.path, self.line, self.column, &self.message)
            == (&other.path, other.line, other.column, &other.message)
    }
}

impl From<&Diagnostic> for Problem {
    fn from(diagnostic: &Diagnostic) -> Self {
        let (hint, caret, text) = (diagnostic.advice(), diagnostic.caret(), diagnostic.to_string());
        let Diagnostic { path, line, column, message, excerpt, .. } = diagnostic.clone();
        Self { message, path, line, column, excerpt, caret, hint, text }
    }
}

/// Problems of a site, and how many more there are.
pub fn all_of(errors: &Errors) -> (Vec<Problem>, usize) {
    (errors.list().iter().map(Problem::from).collect(), errors.more())
}

/// All that an error says, one problem for each place, and how many more there are.
pub fn problems(error: &anyhow::Error) -> (Vec<Problem>, usize) {
    match error.downcast_ref::<Content>() {
        Some(Content(errors)) => all_of(errors),
        None => {
            let (message, text) = (failure::words(error), failure::text(error));
            let hint = failure::hint_of(error).map(str::to_owned);
            (vec![Problem { message, hint, text, ..Problem::default() }], 0)
        }
    }
}
