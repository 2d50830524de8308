//! What a renderer hands over: finished files, before they have digests or codings.

use bytes::Bytes;

/// The longest manifest path, in bytes: what S3 allows a key.
pub const PATH_BYTES_MAX: usize = 1_024;

/// One rendered output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it lies in the output folder: `blog/first/index.html`; no leading slash.
    /// See [`check_path`].
    pub path: String,
    /// The content of the response, without any content coding.
    pub body: Bytes,
    /// The status of the response: 200, that of a redirect (301, 302, 303, 307, 308), 404 for `404.html`.
    pub status: u16,
    /// Response fields that belong to the content (`content-type`, `location`, …): lower-case names.
    pub fields: Vec<(String, String)>,
    /// Cache groups (RFC 9875) the response is a member of.
    pub groups: Vec<String>,
    /// Whether the path names the content by digest, so that it can never change.
    pub immutable: bool,
}

/// Why a text cannot be the path of an output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Nothing there.
    #[error("the path is empty")]
    Empty,
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("the path is {0} bytes long; {PATH_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// An empty, `.` or `..` segment: it would mean another place than it says.
    #[error("the path `{0}` has an empty, `.` or `..` segment")]
    Segment(String),
    /// A control character, which no URL can carry visibly.
    #[error("the path `{}` has a control character", .0.escape_debug())]
    Control(String),
}

/// Checks that `path` can be the path of an output: relative, at most [`PATH_BYTES_MAX`] bytes, no
/// empty or dot segments, no control characters.
///
/// # Errors
/// Says which of these it is.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    if path.is_empty() {
        return Err(BadPath::Empty);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(BadPath::TooLong(path.len()));
    }
    if path.chars().any(char::is_control) {
        return Err(BadPath::Control(path.to_owned()));
    }
    if path.split('/').any(|s| matches!(s, "" | "." | "..")) {
        return Err(BadPath::Segment(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_another_place_are_refused() {
        for good in ["index.html", "a/b.css", "été/index.html", "...", "a b"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", "a\n", &"x".repeat(1_025)] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }
}
