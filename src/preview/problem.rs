//! What is wrong, as pages show it.

use renderer::Diagnostic;
use serde::Serialize;

use crate::config;
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
}

impl From<&Diagnostic> for Problem {
    fn from(diagnostic: &Diagnostic) -> Self {
        let (hint, caret, text) = (diagnostic.advice(), diagnostic.caret(), diagnostic.to_string());
        let Diagnostic { path, line, column, message, excerpt, .. } = diagnostic.clone();
        Self { message, path, line, column, excerpt, caret, hint, text }
    }
}

/// All that an error says, one problem for each place.
pub fn problems(error: &anyhow::Error) -> Vec<Problem> {
    match error.downcast_ref::<Content>() {
        Some(Content(errors)) => errors.0.iter().map(Problem::from).collect(),
        None => {
            let mut problem = placed(&format!("{error:#}"));
            problem.hint = failure::hint_of(error).map(str::to_owned);
            problem.text = failure::text(error);
            vec![problem]
        }
    }
}

/// A message that may begin with a place in `bakehouse.toml`: `bakehouse.toml:3:1: unknown field`.
fn placed(message: &str) -> Problem {
    let mut parts = message.splitn(4, ':');
    let mut part = || parts.next().unwrap_or_default();
    if let (config::FILE, Ok(line), Ok(column), text) = (part(), part().parse(), part().parse(), part()) {
        let (path, message) = (Some(config::FILE.to_owned()), text.trim_start().to_owned());
        return Problem { message, path, line: Some(line), column: Some(column), ..Problem::default() };
    }
    Problem { message: message.to_owned(), ..Problem::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_configuration_can_be_clicked() {
        let problem = placed("bakehouse.toml:3:1: unknown field `x`: y");
        assert_eq!(
            (problem.path.as_deref(), problem.line, problem.column),
            (Some("bakehouse.toml"), Some(3), Some(1))
        );
        assert_eq!(problem.message, "unknown field `x`: y");
        for plain in ["source `a`: 3:1: no", "bakehouse.toml: not UTF-8", ""] {
            assert_eq!((placed(plain).message.as_str(), placed(plain).path), (plain, None));
        }
    }
}
