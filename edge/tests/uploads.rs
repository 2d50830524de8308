//! Content of requests on its way to upstreams: what a client does with it is not its upstream's fault.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use support::{Reply, Running, Upstream, eventually, read_head, read_response, run, send, upstream_config};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// What an upstream may take for a step.
const STEP: Duration = Duration::from_millis(300);

async fn front(upstream: &Upstream) -> Running {
    let mut config = upstream_config(&[upstream]);
    (config.deadlines.first_byte, config.deadlines.idle) = (STEP, STEP);
    run(config).await
}

/// An upstream that begins its response to content whose length it is not told before that has come, and ends it when it is
/// permitted.
async fn early() -> Upstream {
    let begins = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhal\r\n";
    Upstream::start(move |_| Reply::Parts(vec![begins.into(), "1\r\nf\r\n0\r\n\r\n".into()])).await
}

/// A request with such content, whose response has begun.
async fn begun(upstream: &Upstream, edge: &Running) -> TcpStream {
    upstream.permit(1);
    let mut client = edge.connect().await;
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await
        .unwrap();
    let (head, _) = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client
}

#[tokio::test]
async fn content_may_take_longer_than_its_answer() {
    let upstream = Upstream::start(|_| send(200, &[], "got it")).await;
    let edge = front(&upstream).await;
    let mut client = edge.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\n").await.unwrap();
    for byte in b"upload" {
        tokio::time::sleep(STEP / 3).await;
        client.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(read_response(&mut client, false).await.text(), "got it");
    // A pause is no reason either.
    client.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\na").await.unwrap();
    tokio::time::sleep(STEP * 2).await;
    client.write_all(b"b").await.unwrap();
    assert_eq!(read_response(&mut client, false).await.text(), "got it");
    assert_eq!(edge.edge.upstreams()[0].failures, 0);
}

#[tokio::test]
async fn who_takes_content_and_says_nothing_is_given_up() {
    let upstream = Upstream::start(|_| Reply::Silence).await;
    let edge = front(&upstream).await;
    let seen = edge.raw(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nab", false).await;
    assert_eq!((seen.status, edge.edge.upstreams()[0].failures), (504, 1));
}

#[tokio::test]
async fn a_response_may_wait_for_the_rest_of_the_content() {
    let upstream = early().await;
    let edge = front(&upstream).await;
    let mut client = begun(&upstream, &edge).await;
    tokio::time::sleep(STEP * 2).await;
    assert_eq!(edge.edge.upstreams()[0].failures, 0);
    upstream.permit(1);
    let mut whole = Vec::new();
    while !whole.ends_with(b"0\r\n\r\n") {
        let read = tokio::io::AsyncReadExt::read_buf(&mut client, &mut whole);
        assert!(tokio::time::timeout(support::DEADLINE, read).await.unwrap().unwrap() > 0, "it broke off");
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_not_the_upstreams_failure() {
    let upstream = early().await;
    let edge = front(&upstream).await;
    for _ in 0..6 {
        let mut client = begun(&upstream, &edge).await;
        client.write_all(b"no chunk\r\n").await.unwrap();
        eventually("the end", || edge.edge.upstreams()[0].in_flight == 0).await;
        upstream.permit(1);
    }
    assert_eq!(edge.edge.upstreams()[0].failures, 0);
}
