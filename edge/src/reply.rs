//! A response from wherever it came.

use http::{HeaderMap, StatusCode};

use crate::{body::Source, policy::forward, upstream::Answer};

/// A response from wherever it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) source: Source,
    /// What the content must come to.
    pub(crate) digest: Option<release::Digest>,
}

impl Reply {
    pub(crate) fn of(answer: Answer) -> Self {
        let mut headers = answer.headers;
        forward::strip_connection(&mut headers);
        Self { status: answer.status, headers, source: Source::Stream(answer.body), digest: None }
    }
}
