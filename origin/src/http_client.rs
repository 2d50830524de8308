//! The HTTP client of this crate: HTTP/1.1 over TCP, or over TLS by rustls on ring with the machine's certificates.
//!
//! One for buckets and fellow origins alike. The SDK's own client would bring HTTP/2 and a second TLS set-up, which take
//! half a minute of a first build and serve no store better.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error, connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// To a server that does not even accept a connection.
const CONNECT_MS_MAX: u64 = 3_000;
/// Less than our own server and the known ones wait: a connection should not be closed under a request.
const POOL_IDLE_MS_MAX: u64 = 60_000;
const POOL_CONNECTIONS_IDLE_MAX: usize = 64;

/// A pool of connections; a clone shares it.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<connect::HttpConnector>, SdkBody>,
}

impl Http {
    /// A client for `http://` alone, or also for `https://`: then it reads the certificates that the machine trusts,
    /// which takes some time.
    ///
    /// # Errors
    /// Where the machine trusts no certificate.
    pub fn new(with_tls: bool) -> io::Result<Self> {
        let builder = HttpsConnectorBuilder::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = if with_tls {
            builder.with_provider_and_native_roots(provider)?
        } else {
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)));
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(POOL_IDLE_MS_MAX))
            .pool_max_idle_per_host(POOL_CONNECTIONS_IDLE_MAX)
            .build(connector);
        Ok(Self { client })
    }

    /// Sends a request; the response's head has arrived when this returns. The caller sets the deadline.
    ///
    /// # Errors
    /// Where there is no connection, or it ended before the response's head.
    pub async fn send(&self, request: Request<SdkBody>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await
    }
}

impl HttpClient for Http {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// Deadlines of an attempt and of a call are the SDK's; only that of connecting is set here.
impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = http.send(request).await.map_err(classify)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What the SDK is told, and so whether it repeats the request: any failure of a connection may have passed by then.
fn classify(error: Error) -> ConnectorError {
    if error.is_connect() {
        let timed_out = chain(&error).any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
        });
        let told =
            if timed_out { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) };
        return told.never_connected();
    }
    let user =
        chain(&error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user));
    if user {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    }
}

fn chain<'a>(error: &'a Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}
