//! How a failure reaches a person: what failed, and on a line of its own what to do next.

use crate::print::{self, tell};
use std::fmt;

/// The exit code where nobody reads what a command prints: that of a process which SIGPIPE ends.
const UNREAD: u8 = 128 + 13;

/// An error with a hint.
#[derive(Debug)]
pub struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words(&self.error))
    }
}

impl std::error::Error for Hinted {}

/// Wrong use of the command line that clap cannot see: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What is wrong with the site and its configuration: every place, each with its own hint, ready to print.
#[derive(Debug)]
pub struct Content(pub renderer::Errors);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end())
    }
}

impl std::error::Error for Content {}

/// An error with a hint, where there is one.
pub fn hinted(error: impl Into<anyhow::Error>, hint: Option<String>) -> anyhow::Error {
    match hint {
        Some(hint) => Hinted { error: error.into(), hint }.into(),
        None => error.into(),
    }
}

/// Adds a hint to what failed.
pub trait HintExt<T> {
    /// What to do next, as one sentence.
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T>;

    /// As [`HintExt::hint`], where there may be none.
    fn maybe_hint(self, hint: Option<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| hinted(error, Some(hint())))
    }

    fn maybe_hint(self, hint: Option<String>) -> anyhow::Result<T> {
        self.map_err(|error| hinted(error, hint))
    }
}

/// The error with its causes. Many say theirs already, which is not said again.
pub fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// The error as it is printed: what failed, and the hint on a line of its own.
pub fn text(error: &anyhow::Error) -> String {
    let text = words(error);
    // Errors of the content come with their own heads.
    let head = if text.starts_with("error: ") { "" } else { "error: " };
    let hint = hint_of(error).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{head}{text}{hint}")
}

/// Prints the error and returns the exit code.
pub fn report(error: &anyhow::Error) -> u8 {
    if print::is_unread(error) {
        return UNREAD;
    }
    tell!("{}", text(error));
    if error.is::<Usage>() { 2 } else { 1 }
}

/// The error of this type that lies below hints.
pub fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    match error.downcast_ref::<Hinted>() {
        Some(hinted) => find(&hinted.error),
        None => error.downcast_ref(),
    }
}

/// The hint that goes with an error.
pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|e| e.downcast_ref::<Hinted>()).map(|hinted| hinted.hint.as_str())
}
