//! What is counted, under which names. Through the `metrics` facade: the shell decides where it goes.

use crate::policy::reuse::Forward;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Result {
    /// From the store.
    Hit,
    /// By way of an upstream.
    Forwarded(Forward),
    /// By a stale copy in place of a failure.
    Stale,
    /// By an error page.
    Failed,
}

impl Result {
    /// Counts one.
    pub(crate) fn count(self) {
        let (result, reason) = match self {
            Self::Hit => ("hit", "none"),
            Self::Forwarded(forward) => ("forward", forward.as_str()),
            Self::Stale => ("stale", "none"),
            Self::Failed => ("failed", "none"),
        };
        metrics::counter!("bakehouse_edge_results_total", "result" => result, "reason" => reason)
            .increment(1);
    }
}

/// Content that is not what its name says is neither sent nor stored; it is told of.
pub(crate) fn corrupted(path: &str, upstream: &str) {
    metrics::counter!("bakehouse_edge_corrupted_total").increment(1);
    tracing::error!(path, upstream, "content does not match its digest; not used");
}

/// Says in words what the metrics mean; the shell calls it once its recorder is installed.
pub fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    counter!("bakehouse_edge_requests_total", "Requests received.");
    counter!(
        "bakehouse_edge_results_total",
        "Requests by result, and by the reason for which they were forwarded."
    );
    counter!("bakehouse_edge_collapsed_total", "Requests that waited for another request's response.");
    counter!("bakehouse_edge_upstream_requests_total", "Requests sent to an upstream.");
    counter!("bakehouse_edge_upstream_errors_total", "Requests that an upstream did not answer.");
    counter!("bakehouse_edge_sent_bytes_total", "Content sent from the store, in bytes.");
    counter!("bakehouse_edge_body_bytes_reused_total", "Content that a 304 spared fetching, in bytes.");
    counter!("bakehouse_edge_dropped_total", "Copies that activations and purges dropped or marked.");
    counter!("bakehouse_edge_corrupted_total", "Content that did not match its digest, and was not used.");
    counter!("bakehouse_edge_set_cookie_total", "Responses not stored because they set a cookie.");
    counter!(
        "bakehouse_edge_bucket_reads_total",
        "Responses made from the bucket because no origin answered."
    );
    counter!("bakehouse_edge_evictions_total", "Copies evicted to make room.");
    gauge!("bakehouse_edge_store_bytes", "Bytes in use by stored responses and responses in flight.");
    gauge!("bakehouse_edge_store_entries", "Copies held.");
    gauge!("bakehouse_edge_connections", "Open client connections.");
    gauge!("bakehouse_edge_upstreams_up", "Upstreams that are not being passed over.");
    gauge!("bakehouse_edge_journal_seq", "Last applied journal entry, by site.");
    gauge!("bakehouse_edge_leased", "Whether the lease is in force (1) or lapsed (0), by site.");
}

impl crate::Edge {
    /// Sets the gauges; the shell calls it before each scrape.
    pub fn refresh_gauges(&self) {
        let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; bytes beyond 2^53 do not occur")]
        metrics::gauge!("bakehouse_edge_store_bytes").set(self.store.bytes() as f64);
        metrics::gauge!("bakehouse_edge_store_entries").set(number(self.store.entries()));
        metrics::gauge!("bakehouse_edge_upstreams_up").set(number(self.upstreams.up()));
        metrics::counter!("bakehouse_edge_evictions_total").absolute(self.store.evictions());
        for site in self.state().sites {
            let name = site.site.to_string();
            #[expect(clippy::cast_precision_loss, reason = "a journal has fewer than 2^53 entries")]
            metrics::gauge!("bakehouse_edge_journal_seq", "site" => name.clone()).set(site.seq as f64);
            metrics::gauge!("bakehouse_edge_leased", "site" => name).set(f64::from(u8::from(site.leased)));
        }
    }
}
