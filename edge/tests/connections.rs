//! How many connections there may be, which is counted for a process: alone in its own, whatever runs the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use edge::EdgeConfig;
use support::{Upstream, meters, read_response, run, send, upstream_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn beyond_all_connections_new_ones_wait_and_are_counted() {
    meters::install();
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.connections_max = 1;
    beyond_one_new_ones_wait(config, 1).await;
    // However many are allowed, there must be memory for them.
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = 40 << 10;
    beyond_one_new_ones_wait(config, 2).await;
}

async fn beyond_one_new_ones_wait(config: EdgeConfig, waited: u64) {
    let edge = run(config).await;
    let ask = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut first = edge.connect().await;
    first.write_all(ask).await.unwrap();
    assert_eq!(read_response(&mut first, false).await.status, 200);
    let mut second = edge.connect().await;
    second.write_all(ask).await.unwrap();
    let soon = tokio::time::timeout(Duration::from_millis(100), second.read(&mut [0; 1])).await;
    assert!(soon.is_err(), "it waits");
    edge.edge.refresh_gauges();
    assert_eq!((meters::gauge("connections"), meters::gauge("connections_max")), (1.0, 1.0));
    assert_eq!(meters::counter("connections_waited_total"), waited - 1);
    drop(first);
    assert_eq!(read_response(&mut second, false).await.status, 200);
    assert_eq!(meters::counter("connections_waited_total"), waited);
}
