//! With few file descriptors, large bodies are kept without files. A process of its own, whose descriptors are few.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Upstream, meters, run, send, upstream_config};

#[tokio::test]
async fn large_bodies_leave_descriptors_to_connections() {
    const DESCRIPTORS: u64 = 80;
    const BODY_BYTES: usize = 300 << 10;
    meters::install();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum }).unwrap();
    let body = "x".repeat(BODY_BYTES);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "max-age=60")], &body)).await;
    let edge = run(upstream_config(&[&upstream])).await;
    // Five eighths are for clients.
    edge.edge.refresh_gauges();
    assert_eq!(meters::gauge("connections_max"), (DESCRIPTORS / 8 * 5) as f64);
    for round in 0..2 {
        for path in 0..30 {
            let seen = edge.get(&format!("/{path}")).await;
            assert_eq!((seen.status, seen.body.len()), (200, BODY_BYTES));
            assert_eq!(seen.cache_status().starts_with("Bakehouse; hit"), round == 1);
        }
    }
    // A quarter is for files.
    assert_eq!(meters::counter("memory_files_refused_total"), 30 - DESCRIPTORS / 4);
}
