//! The upstreams of one configuration, which a reload puts others in place of.

use std::{collections::HashSet, sync::Arc};

use http::{HeaderValue, uri::PathAndQuery};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Deadlines, UpstreamOptions,
    address::Address,
    exchange::Exchange,
    health::{self, HealthCheck},
    tls::Trust,
    upstream::Upstream,
};
use crate::{books::Books, error::EdgeError};

/// The upstreams of one configuration.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) list: Vec<Arc<Upstream>>,
    pub(super) options: UpstreamOptions,
    pub(super) exchange: Exchange,
    /// Of those that speak TLS.
    trust: Option<Trust>,
    /// Which say when connections have to do with little memory.
    pub(super) books: Arc<Books>,
    /// Ends its health checks.
    pub(super) checks: CancellationToken,
    _ends: DropGuard,
}

impl Set {
    pub(super) fn new(
        urls: &[String],
        deadlines: Deadlines,
        options: UpstreamOptions,
        books: &Arc<Books>,
        before: Option<&Set>,
    ) -> Result<Self, EdgeError> {
        let addresses = urls.iter().map(|url| Address::parse(url)).collect::<Result<Vec<_>, _>>()?;
        let mut labels = HashSet::new();
        if let Some(same) = addresses.iter().find(|address| !labels.insert(&address.label)) {
            return Err(EdgeError::SameUpstream { url: same.label.clone() });
        }
        let trust = if addresses.iter().any(|address| address.tls.is_some()) {
            Some(Trust::read(options.ca.as_deref())?)
        } else {
            None
        };
        if let Some(HealthCheck { path, .. }) = &options.health {
            let is_path = path.starts_with('/')
                && path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == path);
            if !is_path {
                return Err(EdgeError::BadHealthPath { path: path.clone() });
            }
        }
        let host = match &options.host {
            Some(host) => {
                let is_authority =
                    host.parse::<http::uri::Authority>().is_ok_and(|parsed| !parsed.as_str().contains('@'));
                let value = HeaderValue::from_str(host).ok().filter(|_| is_authority);
                Some(value.ok_or_else(|| EdgeError::BadHost { host: host.clone() })?)
            }
            None => None,
        };
        // Who stays keeps its connections, unless they are made in another way now.
        let same = before.filter(|before| {
            before.exchange.deadlines.connect == deadlines.connect
                && before.options.idle_connection == options.idle_connection
        });
        // A file of the same name may hold other certificates by now.
        let same_trust = same.is_some_and(|before| match (&before.trust, &trust) {
            (Some(before), Some(now)) => now.is_as(before),
            _ => false,
        });
        let tls = trust.as_ref().map(|trust| &trust.config);
        let list: Vec<Arc<Upstream>> = addresses
            .into_iter()
            .map(|address| {
                let kept = same
                    .filter(|_| address.tls.is_none() || same_trust)
                    .and_then(|before| before.list.iter().find(|u| u.label() == address.label));
                kept.cloned().unwrap_or_else(|| {
                    let idle = options.idle_connection;
                    Arc::new(Upstream::new(address, tls, deadlines.connect, idle, books))
                })
            })
            .collect();
        let exchange = Exchange { deadlines, breaker: options.breaker, host };
        let (books, checks) = (Arc::clone(books), CancellationToken::new());
        let ends = checks.clone().drop_guard();
        Ok(Self { list, options, exchange, trust, books, checks, _ends: ends })
    }

    /// Begins to check them, where that is asked for.
    pub(super) fn check(&self) {
        for upstream in &self.list {
            let Some(check) = &self.options.health else {
                upstream.is_unchecked();
                continue;
            };
            let (upstream, exchange) = (Arc::clone(upstream), self.exchange.clone());
            tokio::spawn(health::watch(upstream, check.clone(), exchange, self.checks.clone()));
        }
    }
}
