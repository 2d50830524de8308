//! What is hot, missed and slow: one look at the live trace, bounded in time and memory.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use crate::{
    Edge,
    avoidable::{self, Avoidable},
    trace::{BEHIND, Reader, Record},
    upstream::UpstreamState,
};

/// URLs that are told of in each list.
const LISTED_MAX: usize = 20;
/// URLs that are counted; requests for more are counted together.
const URLS_MAX: usize = 20_000;

/// What one URL came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UrlCount {
    /// Host, path and query.
    pub url: String,
    /// Requests.
    pub requests: u64,
    /// Those that were not answered from the store.
    pub misses: u64,
    /// Microseconds that responses took on average.
    pub us_mean: u64,
    /// Of the slowest.
    pub us_max: u64,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Top {
    /// For how long was looked, in milliseconds.
    pub looked_ms: u64,
    /// Requests seen.
    pub requests: u64,
    /// Of them, answered from the store.
    pub hits: u64,
    /// Requests that came too fast to be looked at.
    pub missed: u64,
    /// Most requests.
    pub hot: Vec<UrlCount>,
    /// Most requests that were not answered from the store.
    pub misses: Vec<UrlCount>,
    /// Slowest responses.
    pub slow: Vec<UrlCount>,
    /// What is under way now.
    pub live: Live,
    /// The commonest avoidable misses since the start.
    pub avoidable: Vec<Avoidable>,
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Fetches.
    pub fetches: usize,
    /// Copies held.
    pub entries: usize,
    /// Bytes in use.
    pub bytes: usize,
    /// Each upstream.
    pub upstreams: Vec<UpstreamState>,
}

#[derive(Debug, Default)]
struct Seen {
    urls: HashMap<String, UrlCount>,
    requests: u64,
    hits: u64,
    missed: u64,
}

impl Seen {
    fn add(&mut self, record: &Record) {
        if record.result == BEHIND {
            return;
        }
        self.requests += 1;
        let is_hit = record.result == "hit";
        self.hits += u64::from(is_hit);
        let url = avoidable::url(&record.host, &record.target);
        let url = if self.urls.len() >= URLS_MAX && !self.urls.contains_key(&url) {
            "(others)".into()
        } else {
            url
        };
        let count = self.urls.entry(url).or_default();
        // The sum until the end, where it becomes the mean.
        count.us_mean = count.us_mean.saturating_add(record.us);
        count.us_max = count.us_max.max(record.us);
        count.requests += 1;
        count.misses += u64::from(!is_hit);
    }

    fn most(&self, of: impl Fn(&UrlCount) -> u64) -> Vec<UrlCount> {
        let mut list: Vec<_> = self.urls.iter().filter(|(_, count)| of(count) > 0).collect();
        list.sort_by(|(a, m), (b, n)| of(n).cmp(&of(m)).then_with(|| a.cmp(b)));
        list.truncate(LISTED_MAX);
        let told = |(url, count): (&String, &UrlCount)| UrlCount {
            url: url.clone(),
            us_mean: count.us_mean / count.requests.max(1),
            ..count.clone()
        };
        list.into_iter().map(told).collect()
    }
}

impl Edge {
    /// What is under way now.
    pub fn live(&self) -> Live {
        let state = self.state();
        Live {
            fetches: state.flights,
            entries: state.entries,
            bytes: state.bytes,
            upstreams: self.upstreams(),
        }
    }

    /// Looks at requests for a while.
    pub(crate) async fn top(&self, mut reader: Reader, time: Duration) -> Top {
        let started = tokio::time::Instant::now();
        let mut seen = Seen::default();
        while let Ok(Some(next)) = tokio::time::timeout_at(started + time, reader.next()).await {
            match next {
                Ok(record) => seen.add(&record),
                Err(missed) => seen.missed += missed,
            }
        }
        drop(reader);
        Top {
            looked_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            requests: seen.requests,
            hits: seen.hits,
            missed: seen.missed,
            hot: seen.most(|count| count.requests),
            misses: seen.most(|count| count.misses),
            slow: seen.most(|count| count.us_max),
            live: self.live(),
            avoidable: self.misses.list(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_takes_little_whatever_is_asked_for() {
        const BYTES_MAX: usize = 16 << 20;
        let mut seen = Seen::default();
        for n in 0..60_000 {
            seen.add(&Record {
                time_ms: 0,
                id: "1".into(),
                client: "192.0.2.1".into(),
                method: "GET".into(),
                host: "h".into(),
                target: format!("/{n}{}", "a".repeat(8 << 10)),
                status: 504,
                result: "failed",
                us: 1,
                bytes: 5,
                steps: Vec::new(),
            });
        }
        let bytes: usize = seen.urls.keys().map(|url| url.len() + size_of::<UrlCount>()).sum();
        assert!(bytes <= BYTES_MAX, "{bytes}");
        let hot = seen.most(|count| count.requests);
        assert_eq!((hot.len(), hot[0].url.as_str(), seen.requests), (LISTED_MAX, "(others)", 60_000));
    }
}
