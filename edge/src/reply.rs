//! A response from wherever it came.

use http::{HeaderMap, StatusCode};

use crate::{body::Source, error::EdgeError, policy::forward, upstream::Answer};

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
    /// From an upstream, without fields of the connection.
    ///
    /// # Errors
    /// Where it is no final response: a 101 that nobody asked for would hand over the connection.
    pub(crate) fn of(answer: Answer) -> Result<Self, EdgeError> {
        let Answer { status, mut headers, body, upstream, .. } = answer;
        if status.is_informational() {
            let reason = format!("{} in place of a final response", status.as_u16());
            return Err(EdgeError::BadResponse { upstream, reason });
        }
        forward::strip_connection(&mut headers);
        Ok(Self { status, headers, source: Source::Stream(body), digest: None })
    }
}
