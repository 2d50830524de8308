//! A response from wherever it came.

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

use crate::{
    body::Source,
    error::EdgeError,
    policy::{forward, status},
    upstream::Answer,
};

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
    /// From an upstream, without fields of the connection; `Via` tells that it came to the edge of this name where it did not
    /// come by HTTP/1.1 (RFC 9110 §7.6.3). A 426 says to which protocol to change (§15.5.22): the one that can be changed to here
    /// is said anew, any other is one of the upstream's own connection.
    ///
    /// # Errors
    /// Where it is no final response: a 101 that nobody asked for would hand over the connection.
    pub(crate) fn of(answer: Answer, name: &str) -> Result<Self, EdgeError> {
        let Answer { status, version, mut headers, body, upstream, .. } = answer;
        if status.is_informational() {
            let reason = format!("{} in place of a final response", status.as_u16());
            return Err(EdgeError::BadResponse { upstream, reason });
        }
        let needs_websocket = status == StatusCode::UPGRADE_REQUIRED && forward::offers_websocket(&headers);
        forward::strip_connection(&mut headers);
        status::settle(&mut headers);
        if needs_websocket {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if version < Version::HTTP_11 {
            forward::add_via(&mut headers, Version::HTTP_10, name);
        }
        Ok(Self { status, headers, source: Source::Stream(body), digest: None })
    }
}
