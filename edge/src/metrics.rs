//! What is counted, under which names. Through the `metrics` facade: the shell decides where it goes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::policy::{reuse::Forward, status::CacheStatus};

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
    /// By this server, about itself.
    Local,
}

impl Result {
    /// What `Cache-Status` says, in one word: a copy that is served although it was too old stands in for a failure.
    pub(crate) fn of(status: &CacheStatus) -> Self {
        match (status.forward, status.ttl_seconds) {
            (None, _) => Self::Hit,
            // What has just come may be too old as well.
            (Some(_), Some(ttl)) if ttl < 0 && status.forward_status.is_none_or(|s| s.is_server_error()) => {
                Self::Stale
            }
            (Some(forward), _) => Self::Forwarded(forward),
        }
    }

    /// Each that there is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Hit).chain(SELDOM)
    }

    /// One word: `hit`, `stale`, `failed`, `local`, or why it was forwarded.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Forwarded(forward) => forward.as_str(),
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Local => "local",
        }
    }

    /// What its counter is labelled with: the result, and the reason.
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Hit => ("hit", "none"),
            Self::Forwarded(forward) => ("forward", forward.as_str()),
            Self::Stale => ("stale", "none"),
            Self::Failed => ("failed", "none"),
            Self::Local => ("local", "none"),
        }
    }

    /// Counts one.
    pub(crate) fn count(self) {
        match SELDOM.iter().position(|seldom| *seldom == self) {
            Some(index) => count(|counts| counts.seldom[index].add(1)),
            None => count(|counts| counts.hits.add(1)),
        }
    }
}

/// All results but hits, in the order in which they are counted.
const SELDOM: [Result; 10] = [
    Result::Forwarded(Forward::Bypass),
    Result::Forwarded(Forward::Method),
    Result::Forwarded(Forward::UriMiss),
    Result::Forwarded(Forward::VaryMiss),
    Result::Forwarded(Forward::Partial),
    Result::Forwarded(Forward::Request),
    Result::Forwarded(Forward::Stale),
    Result::Stale,
    Result::Failed,
    Result::Local,
];

/// A number that one thread writes and a scrape reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds to it; for the thread that it belongs to.
    pub(crate) fn add(&self, n: u64) {
        // No read-modify-write is needed: nobody else writes.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The same for any thread.
    fn add_among_others(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets of a histogram of times: the upper bounds are powers of two, from 16 µs to 16 s, and the last has none.
const BUCKETS: usize = 22;
/// The first upper bound, in microseconds, as a power of two.
const FIRST_BUCKET_BITS: u32 = 4;

/// How long something took.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Count; BUCKETS],
    sum_us: Count,
}

impl Histogram {
    /// Notes one; for the thread that it belongs to.
    fn add(&self, duration: Duration) {
        self.note(duration, Count::add);
    }

    /// The same for any thread.
    pub(crate) fn add_among_others(&self, duration: Duration) {
        self.note(duration, Count::add_among_others);
    }

    fn note(&self, duration: Duration, add: impl Fn(&Count, u64)) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        add(&self.buckets[bucket(us)], 1);
        add(&self.sum_us, us);
    }
}

/// The first bucket whose upper bound is not below.
fn bucket(us: u64) -> usize {
    let bits = u64::BITS - us.saturating_sub(1).leading_zeros();
    usize::try_from(bits.saturating_sub(FIRST_BUCKET_BITS)).unwrap_or(0).min(BUCKETS - 1)
}

/// What one thread has counted. A hit writes to nothing that another thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counts {
    /// Requests received.
    pub(crate) requests: Count,
    /// Requests answered from the store.
    pub(crate) hits: Count,
    /// Requests with each of the other results.
    seldom: [Count; SELDOM.len()],
    /// Requests that waited for another's response.
    pub(crate) collapsed: Count,
    /// Content sent from the store, in bytes.
    pub(crate) sent_bytes: Count,
    latency: [Histogram; LATENCIES.len()],
}

/// The histograms' names for a result.
const LATENCIES: [&str; 5] = ["hit", "forward", "stale", "failed", "local"];

impl Counts {
    /// Notes how long a response took, from the end of the request's head to the end of the response.
    pub(crate) fn latency(&self, result: Result, duration: Duration) {
        let index = match result {
            Result::Hit => 0,
            Result::Forwarded(_) => 1,
            Result::Stale => 2,
            Result::Failed => 3,
            Result::Local => 4,
        };
        self.latency[index].add(duration);
    }
}

/// Of every thread that has ever counted; a server has a fixed number of them.
static THREADS: Mutex<Vec<Arc<Counts>>> = Mutex::new(Vec::new());

thread_local! {
    static COUNTS: Arc<Counts> = {
        let counts = Arc::<Counts>::default();
        THREADS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counts));
        counts
    };
}

/// Counts in this thread's own numbers.
pub(crate) fn count(add: impl FnOnce(&Counts)) {
    // A thread that is ending counts no more.
    let _ = COUNTS.try_with(|counts| add(counts));
}

fn sum(of: impl Fn(&Counts) -> u64) -> u64 {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|counts| of(counts)).sum()
}

/// How long it took to the heads of responses, by the upstream's label.
static FIRST_BYTES: Mutex<BTreeMap<String, Arc<Histogram>>> = Mutex::new(BTreeMap::new());

/// That of an upstream; the same one whenever there is an upstream with this label.
pub(crate) fn first_bytes(label: &str) -> Arc<Histogram> {
    let mut all = FIRST_BYTES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(label.to_owned()).or_default())
}

/// The histograms, as Prometheus reads them. They do not go through the facade: it cannot take those that each thread counts, and
/// keeps each observation until somebody asks, which costs more than all else that is counted of a miss.
pub fn metrics_text() -> String {
    const RESPONSES: &str = "bakehouse_edge_response_seconds";
    const UPSTREAMS: &str = "bakehouse_edge_upstream_first_byte_seconds";
    let mut text = String::new();
    begin(&mut text, RESPONSES, "From the end of a request's head to the end of its response.");
    for (index, result) in LATENCIES.iter().enumerate() {
        let of = |count: fn(&Histogram, usize) -> u64, at| sum(|counts| count(&counts.latency[index], at));
        write_histogram(&mut text, RESPONSES, ("result", result), of);
    }
    begin(&mut text, UPSTREAMS, "From a request sent to an upstream to the head of its response.");
    for (label, held) in FIRST_BYTES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        write_histogram(&mut text, UPSTREAMS, ("upstream", label), |count, at| count(held, at));
    }
    text
}

/// Says what the histograms of a name mean. Writing to a string cannot fail.
fn begin(text: &mut String, name: &str, meaning: &str) {
    let _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} histogram");
}

/// Writes the histogram with a label, whose escapes are those of Rust's texts; `of` asks it, or several of them together, for a
/// number.
fn write_histogram(
    text: &mut String,
    name: &str,
    (label, value): (&str, &str),
    of: impl Fn(fn(&Histogram, usize) -> u64, usize) -> u64,
) {
    let mut total = 0;
    for bucket in 0..BUCKETS {
        total += of(|held, bucket| held.buckets[bucket].get(), bucket);
        let bound = if bucket + 1 == BUCKETS {
            "+Inf".to_owned()
        } else {
            #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
            let seconds = (1u64 << (bucket as u32 + FIRST_BUCKET_BITS)) as f64 / 1e6;
            seconds.to_string()
        };
        let _ = writeln!(text, "{name}_bucket{{{label}={value:?},le=\"{bound}\"}} {total}");
    }
    let us = of(|held, _| held.sum_us.get(), 0);
    let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
    let _ = writeln!(text, "{name}_sum{{{label}={value:?}}} {seconds}.{rest:06}");
    let _ = writeln!(text, "{name}_count{{{label}={value:?}}} {total}");
}

/// Content that is not what its name says is neither sent nor stored; it is told of.
pub(crate) fn corrupted(path: &str, upstream: &str) {
    metrics::counter!("bakehouse_edge_corrupted_total").increment(1);
    tracing::error!(path, upstream, "content does not match its digest; not used");
}

/// Says in words what the metrics mean; the shell calls it once its recorder is installed.
pub fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    // Those that may never count anything are there all the same: whoever watches for the first would see no change by it.
    let from_zero = |name: &'static str, meaning: &'static str| {
        counter!(name, meaning);
        metrics::counter!(name).absolute(0);
    };
    counter!("bakehouse_edge_requests_total", "Requests received.");
    counter!(
        "bakehouse_edge_results_total",
        "Requests by result, and by the reason for which they were forwarded."
    );
    counter!("bakehouse_edge_collapsed_total", "Requests that waited for another request's response.");
    counter!("bakehouse_edge_upstream_requests_total", "Requests sent to an upstream.");
    counter!(
        "bakehouse_edge_upstream_errors_total",
        "Requests that an upstream did not answer, or whose content broke off or stalled."
    );
    counter!(
        "bakehouse_edge_upstream_retries_total",
        "Requests sent to an upstream after another one had failed."
    );
    counter!("bakehouse_edge_upstream_connections_total", "Connections made to an upstream.");
    counter!("bakehouse_edge_upstream_reused_total", "Responses that came on a connection used before.");
    from_zero("bakehouse_edge_access_log_dropped_total", "Lines of the access log that were not written.");
    counter!("bakehouse_edge_not_stored_total", "Responses not stored, by the reason.");
    gauge!("bakehouse_edge_hit_ratio", "Share of responses from the store since the start.");
    gauge!("bakehouse_edge_upstream_up", "Whether an upstream is asked before others in trouble.");
    gauge!(
        "bakehouse_edge_upstream_circuit_open",
        "Whether an upstream is left alone but for one trial at a time."
    );
    gauge!(
        "bakehouse_edge_upstream_reuse_ratio",
        "Share of the requests to an upstream that a connection used before served."
    );
    gauge!("bakehouse_edge_upstream_in_flight", "Requests under way at an upstream.");
    counter!("bakehouse_edge_sent_bytes_total", "Content sent from the store, in bytes.");
    from_zero("bakehouse_edge_body_bytes_reused_total", "Content that a 304 spared fetching, in bytes.");
    from_zero("bakehouse_edge_dropped_total", "Copies that activations and purges dropped or marked.");
    from_zero("bakehouse_edge_corrupted_total", "Content that did not match its digest, and was not used.");
    from_zero("bakehouse_edge_set_cookie_total", "Responses not stored because they set a cookie.");
    from_zero(
        "bakehouse_edge_bucket_reads_total",
        "Responses made from the bucket because no origin answered.",
    );
    counter!("bakehouse_edge_evictions_total", "Copies evicted to make room.");
    counter!("bakehouse_edge_refused_total", "Requests refused for what they are, by status.");
    from_zero(
        "bakehouse_edge_claims_removed_total",
        "Request fields removed because they claim what is not part of the key and nobody has verified.",
    );
    from_zero(
        "bakehouse_edge_ambiguous_paths_total",
        "Requests not answered from memory at once, for a path that some servers take for another one.",
    );
    counter!("bakehouse_edge_late_total", "Connections ended because they took too long, by what for.");
    from_zero(
        "bakehouse_edge_left_behind_total",
        "Responses broken off because their clients took nothing while others waited for the same.",
    );
    from_zero(
        "bakehouse_edge_connections_refused_total",
        "Connections closed because their client had too many.",
    );
    from_zero(
        "bakehouse_edge_proxy_header_invalid_total",
        "Connections of load balancers closed for their PROXY header.",
    );
    from_zero(
        "bakehouse_edge_interim_dropped_total",
        "Interim responses (1xx) beyond what a client is sent.",
    );
    gauge!("bakehouse_edge_store_bytes", "Bytes in use by stored responses and responses in flight.");
    gauge!("bakehouse_edge_store_entries", "Copies held.");
    gauge!(
        "bakehouse_edge_memory_short_bytes",
        "What stored responses leave free because the process takes more than was counted."
    );
    gauge!(
        "bakehouse_edge_passing_bytes",
        "Those of them that are in flight, of connections, or of copies being sent."
    );
    gauge!("bakehouse_edge_turns_waiting", "Requests to upstreams that wait until others have ended.");
    from_zero(
        "bakehouse_edge_turns_refused_total",
        "Requests to upstreams that waited too long, because as many as there is memory for were under way.",
    );
    gauge!("bakehouse_edge_connections", "Open client connections.");
    gauge!("bakehouse_edge_connections_max", "As many may be open; beyond, new ones wait.");
    from_zero(
        "bakehouse_edge_connections_waited_total",
        "Connections that had to wait because as many as may be were open.",
    );
    gauge!(
        "bakehouse_edge_unsent_bytes",
        "What the kernel holds of responses that clients have not taken, and of content that upstreams have not."
    );
    from_zero(
        "bakehouse_edge_memory_files_refused_total",
        "Large bodies that got no file in memory, and are copied for each client.",
    );
    metrics::gauge!("bakehouse_edge_memory_short_bytes").set(0.0);
    gauge!("bakehouse_edge_upstreams_up", "Upstreams that are not being passed over.");
    gauge!("bakehouse_edge_journal_seq", "Last applied journal entry, by site.");
    gauge!("bakehouse_edge_leased", "Whether the lease is in force (1) or lapsed (0), by site.");
}

/// The share of hits among all responses so far; 0 before the first.
fn hit_ratio() -> f64 {
    let of = |index: usize| sum(|counts| counts.latency[index].buckets.iter().map(Count::get).sum());
    share(of(0), (0..LATENCIES.len()).map(of).sum())
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// The gauges of an upstream, by its label.
fn tell_upstream(label: String, values: [f64; 4]) {
    const NAMES: [&str; 4] = [
        "bakehouse_edge_upstream_up",
        "bakehouse_edge_upstream_circuit_open",
        "bakehouse_edge_upstream_in_flight",
        "bakehouse_edge_upstream_reuse_ratio",
    ];
    for (name, value) in NAMES.into_iter().zip(values) {
        metrics::gauge!(name, "upstream" => label.clone()).set(value);
    }
}

impl crate::Edge {
    /// Sets the gauges; the shell calls it before each scrape.
    pub fn refresh_gauges(&self) {
        let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; bytes beyond 2^53 do not occur")]
        let bytes = |n: usize| n as f64;
        metrics::gauge!("bakehouse_edge_store_bytes").set(bytes(self.store.bytes()));
        metrics::gauge!("bakehouse_edge_store_entries").set(number(self.store.entries()));
        metrics::gauge!("bakehouse_edge_passing_bytes").set(bytes(self.store.books().passing()));
        metrics::gauge!("bakehouse_edge_turns_waiting").set(number(self.turns.waiting()));
        metrics::gauge!("bakehouse_edge_unsent_bytes").set(bytes(self.unsent.held()));
        metrics::gauge!("bakehouse_edge_connections_max").set(number(self.current().connections_max()));
        metrics::gauge!("bakehouse_edge_upstreams_up").set(number(self.upstreams.up()));
        metrics::counter!("bakehouse_edge_evictions_total").absolute(self.store.evictions());
        let results = |of: Result, total: u64| {
            let (result, reason) = of.labels();
            metrics::counter!("bakehouse_edge_results_total", "result" => result, "reason" => reason)
                .absolute(total);
        };
        results(Result::Hit, sum(|counts| counts.hits.get()));
        for (index, seldom) in SELDOM.into_iter().enumerate() {
            results(seldom, sum(|counts| counts.seldom[index].get()));
        }
        metrics::counter!("bakehouse_edge_collapsed_total").absolute(sum(|counts| counts.collapsed.get()));
        metrics::counter!("bakehouse_edge_requests_total").absolute(sum(|counts| counts.requests.get()));
        metrics::counter!("bakehouse_edge_sent_bytes_total").absolute(sum(|counts| counts.sent_bytes.get()));
        metrics::gauge!("bakehouse_edge_hit_ratio").set(hit_ratio());
        if let Some(log) = &self.access_log {
            metrics::counter!("bakehouse_edge_access_log_dropped_total").absolute(log.dropped());
        }
        let upstreams = self.upstreams();
        for gone in self.upstreams.told_before(&upstreams) {
            tell_upstream(gone, [0.0; 4]);
        }
        for upstream in upstreams {
            let flag = |on: bool| f64::from(u8::from(on));
            let reuse = share(upstream.reused, upstream.requests);
            let gauges = [flag(upstream.up), flag(upstream.circuit_open), number(upstream.in_flight), reuse];
            tell_upstream(upstream.url, gauges);
        }
        for site in self.state().sites {
            let name = site.site.to_string();
            #[expect(clippy::cast_precision_loss, reason = "a journal has fewer than 2^53 entries")]
            metrics::gauge!("bakehouse_edge_journal_seq", "site" => name.clone()).set(site.seq as f64);
            metrics::gauge!("bakehouse_edge_leased", "site" => name).set(f64::from(u8::from(site.leased)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_their_bounds_say() {
        let rows = [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (1 << 20, 16), ((1 << 20) + 1, 17)];
        for (us, index) in rows {
            assert_eq!(bucket(us), index, "{us}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn threads_are_summed() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..1_000 {
                        count(|counts| counts.latency(Result::Stale, Duration::from_micros(20)));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for _ in 0..2 {
            first_bytes("http://up.test").add_among_others(Duration::from_micros(17));
        }
        let text = metrics_text();
        for line in [
            "bakehouse_edge_response_seconds_bucket{result=\"stale\",le=\"0.000016\"} 0",
            "bakehouse_edge_response_seconds_bucket{result=\"stale\",le=\"0.000032\"} 4000",
            "bakehouse_edge_response_seconds_bucket{result=\"stale\",le=\"+Inf\"} 4000",
            "bakehouse_edge_response_seconds_sum{result=\"stale\"} 0.080000",
            "bakehouse_edge_response_seconds_count{result=\"stale\"} 4000",
            "bakehouse_edge_upstream_first_byte_seconds_bucket{upstream=\"http://up.test\",le=\"0.000016\"} 0",
            "bakehouse_edge_upstream_first_byte_seconds_bucket{upstream=\"http://up.test\",le=\"0.000032\"} 2",
            "bakehouse_edge_upstream_first_byte_seconds_count{upstream=\"http://up.test\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
