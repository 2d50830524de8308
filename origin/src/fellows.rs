//! The other origins that this one knows of: they are woken after a commit, and asked which edges
//! they have.

use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use axum::http::Uri;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use release::keys::Site;
use release::wire::{EdgeReceipt, Receipt};

use crate::Error;
use crate::http_client::Http;

/// How long a fellow may take to answer: receipts wait for it.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);
/// Bytes of the largest answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The other origins that this one knows of.
#[derive(Debug, Clone)]
pub struct Fellows {
    urls: Vec<String>,
    token: String,
    http: Http,
}

impl Fellows {
    /// Fellows at these addresses (`http://host:port`), to whom `token` says who asks.
    ///
    /// # Errors
    /// [`Error::BadFellow`] where one is no http or https address.
    pub fn new(urls: &[String], token: String) -> Result<Self, Error> {
        let bad = |url: &String, reason: String| Error::BadFellow { url: url.clone(), reason };
        let check = |url: &String| {
            let uri: Uri = url.parse().map_err(|e: http::uri::InvalidUri| bad(url, e.to_string()))?;
            if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
                return Err(bad(url, "`http://host:port` is expected".into()));
            }
            Ok(url.trim_end_matches('/').to_owned())
        };
        let urls = urls.iter().map(check).collect::<Result<Vec<_>, _>>()?;
        // The machine's certificates are only read where they are needed.
        let http = Http::new(urls.iter().any(|u| u.starts_with("https:")))
            .map_err(|e| bad(&urls.join(", "), format!("no certificates to trust: {e}")))?;
        Ok(Self { urls, token, http })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Tells all that there is something to read. One that does not hear it looks within a second.
    pub async fn wake(&self) {
        let calls = self.urls.iter().map(|url| self.call(Method::POST, url, "/v1/wake"));
        for (url, result) in self.urls.iter().zip(join_all(calls).await) {
            if let Err(reason) = result {
                metrics::counter!("bakehouse_fellow_failures_total").increment(1);
                tracing::debug!(fellow = url, reason, "a fellow origin was not woken");
            }
        }
    }

    /// Which edges the others have, and whether all of them answered.
    pub async fn progress(&self, site: &Site, seq: u64) -> (Vec<EdgeReceipt>, bool) {
        let path = format!("/v1/receipts/{seq}?site={site}&local=true");
        let calls = self.urls.iter().map(|url| async {
            let bytes = self.call(Method::GET, url, &path).await?;
            let receipt: Receipt = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
            Ok::<_, String>(receipt.edges)
        });
        let (mut edges, mut complete) = (Vec::new(), true);
        for (url, result) in self.urls.iter().zip(join_all(calls).await) {
            match result {
                Ok(more) => edges.extend(more),
                Err(reason) => {
                    metrics::counter!("bakehouse_fellow_failures_total").increment(1);
                    tracing::warn!(fellow = url, reason, "a fellow origin did not say which edges it has");
                    complete = false;
                }
            }
        }
        (edges, complete)
    }

    async fn call(&self, method: Method, url: &str, path: &str) -> Result<Bytes, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(SdkBody::empty())
            .map_err(|e| e.to_string())?;
        let exchange = async {
            let response = self.http.send(request).await.map_err(|e| e.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let bytes = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
            let good = matches!(status, StatusCode::OK | StatusCode::NO_CONTENT);
            if good { Ok(bytes) } else { Err(format!("it answered {status}")) }
        };
        tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .map_err(|_| "it did not answer in time".to_owned())?
    }
}
