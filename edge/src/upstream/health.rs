//! Active health checks: each upstream is asked for a path now and then, whether or not clients come.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header};
use tokio_util::sync::CancellationToken;

use super::{Ask, exchange::Exchange, upstream::Upstream};

/// How upstreams are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path (and query) to ask for with GET; 2xx and 3xx are healthy.
    pub path: String,
    /// Between two checks of one upstream.
    pub interval: Duration,
    /// For the whole of a check.
    pub deadline: Duration,
    /// Passed checks in a row after which one that failed counts as healthy again.
    pub passes: u32,
    /// Failed checks in a row after which one counts as unhealthy.
    pub failures: u32,
}

impl HealthCheck {
    /// The defaults for a path.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_secs(5),
            deadline: Duration::from_secs(2),
            passes: 2,
            failures: 3,
        }
    }
}

/// Results in a row.
#[derive(Debug, Default)]
struct Run {
    passes: u32,
    failures: u32,
}

impl Run {
    /// What the upstream counts as after one more result; `None`: as before.
    fn add(&mut self, passed: bool, check: &HealthCheck) -> Option<bool> {
        if passed {
            self.failures = 0;
            self.passes = self.passes.saturating_add(1);
            (self.passes >= check.passes).then_some(true)
        } else {
            self.passes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= check.failures).then_some(false)
        }
    }
}

/// Checks one upstream until `stop`.
pub(super) async fn watch(
    upstream: Arc<Upstream>,
    check: HealthCheck,
    exchange: Exchange,
    stop: CancellationToken,
) {
    let mut run = Run::default();
    loop {
        let passed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            passed = passes(&upstream, &check, &exchange) => passed,
        };
        if let Some(healthy) = run.add(passed, &check) {
            upstream.set_healthy(healthy);
        }
        // Not all edges and all upstreams in step.
        let jitter = rand::random_range(0.9..1.1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(check.interval.mul_f64(jitter)) => {}
        }
    }
}

async fn passes(upstream: &Arc<Upstream>, check: &HealthCheck, exchange: &Exchange) -> bool {
    let mut headers = HeaderMap::new();
    if let Ok(host) = HeaderValue::from_str(&upstream.address.authority) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bakehouse-health-check"));
    let ask = Ask::new(Method::GET, check.path.clone(), headers);
    let answer = tokio::time::timeout(check.deadline, exchange.check(upstream, &ask)).await;
    matches!(answer, Ok(Some(status)) if status.is_success() || status.is_redirection())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_several_in_a_row() {
        let check = HealthCheck { passes: 2, failures: 3, ..HealthCheck::new("/") };
        let mut run = Run::default();
        let results = [false, false, true, false, false, false, false, true, false, true, true];
        let said: Vec<Option<bool>> = results.iter().map(|passed| run.add(*passed, &check)).collect();
        let (no, yes) = (Some(false), Some(true));
        assert_eq!(said, [None, None, None, None, None, no, no, None, None, None, yes]);
    }
}
