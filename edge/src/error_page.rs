//! A page of our own.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{body::OutBody, metrics::Result as Counted, policy::forward::REQUEST_ID, respond::Response};

/// An error page, readable and small.
pub(crate) fn error_page(code: StatusCode, text: &str, is_head: bool, id: Option<&HeaderValue>) -> Response {
    let reason = code.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{code} {reason}</title><style>body{{font:1.1rem/1.6 \
         system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem;color-scheme:light dark}}</style>\
         <h1>{reason}</h1><p>{text}</p></html>\n",
        code = code.as_u16(),
    );
    let length = page.len();
    let body = if is_head { OutBody::empty() } else { OutBody::whole(page.into()) };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id.clone());
    }
    Response { status: code, headers, body, result: Counted::Failed }
}
