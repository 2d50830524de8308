//! Content of requests on its way to upstreams: what a client does with it is not its upstream's fault.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use support::{
    Reply, Running, Upstream, eventually, field, read_head, read_response, run, send, upstream_config,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

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
        let read = client.read_buf(&mut whole);
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

/// An edge in front of an upstream that the test itself is, and their first connection once a request with this content is on
/// its way: with as much of it as fits, which nobody has read.
async fn stuck(content: Vec<u8>) -> (Running, TcpStream, TcpStream, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = vec![format!("http://{}", listener.local_addr().unwrap())];
    let edge = run(edge::EdgeConfig::new(edge::Mode::Upstream { urls }, "test-edge")).await;
    let client = edge.connect().await.into_std().unwrap();
    let sending = TcpStream::from_std(client.try_clone().unwrap()).unwrap();
    let length = content.len();
    let sent = tokio::spawn(async move {
        let mut sending = sending;
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n");
        sending.write_all(head.as_bytes()).await.unwrap();
        // The other end may have had enough.
        sending.write_all(&content).await.ok();
    });
    let (upstream, _) = listener.accept().await.unwrap();
    upstream.readable().await.unwrap();
    // All who hand it on wait for room.
    tokio::time::sleep(STEP).await;
    assert!(!sent.is_finished(), "there is more room than content");
    (edge, TcpStream::from_std(client).unwrap(), upstream, sent)
}

/// Content of which each part can be told from all others.
fn numbers(bytes: usize) -> Vec<u8> {
    (0..bytes / 8).flat_map(|n| format!("{n:07}\n").into_bytes()).collect()
}

#[tokio::test]
async fn an_upstream_that_answers_early_still_gets_all_of_the_content() {
    let content = numbers(32 << 20);
    let (_edge, mut client, mut upstream, sent) = stuck(content.clone()).await;
    // The whole response, or the beginning of one.
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let seen = read_response(&mut client, false).await;
    assert_eq!((seen.text(), seen.field("connection")), ("ok", None));
    let (_, mut received) = read_head(&mut upstream).await;
    while received.len() < content.len() {
        let read = tokio::time::timeout(support::DEADLINE, upstream.read_buf(&mut received)).await;
        assert!(read.unwrap().unwrap() > 0, "it broke off after {} bytes", received.len());
    }
    assert!(received == content, "some of it was lost or changed");
    sent.await.unwrap();
    // And both connections go on.
    client.write_all(b"GET /next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let (head, _) = read_head(&mut upstream).await;
    assert!(head.starts_with("GET /next "), "{head}");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\non").await.unwrap();
    assert_eq!(read_response(&mut client, false).await.text(), "on");
}

#[tokio::test]
async fn who_sends_what_nobody_takes_any_more_is_told_that_the_connection_ends() {
    for answer in ["", "HTTP/1.1 413 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"] {
        let (_edge, mut client, mut upstream, _sent) = stuck(numbers(32 << 20)).await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
        drop(upstream);
        let (head, _) = read_head(&mut client).await;
        let told = (&head[9..12], field(&head, "connection"));
        assert_eq!(told, (if answer.is_empty() { "502" } else { "413" }, Some("close".into())), "{head}");
    }
}

/// An edge in front of an upstream that the test itself is, and their first connection once a client that waits to be told has
/// asked.
async fn asked_first() -> (Running, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = vec![format!("http://{}", listener.local_addr().unwrap())];
    let mut config = edge::EdgeConfig::new(edge::Mode::Upstream { urls }, "test-edge");
    config.deadlines.word = support::DEADLINE;
    let edge = run(config).await;
    let mut client = edge.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut upstream = listener.accept().await.unwrap().0;
    let (head, content) = read_head(&mut upstream).await;
    assert_eq!((field(&head, "expect").as_deref(), &*content), (Some("100-continue"), &b""[..]));
    (edge, client, upstream)
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_by_the_upstream() {
    let (_edge, mut client, mut upstream) = asked_first().await;
    upstream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await.unwrap();
    let (head, rest) = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 103 ") && rest.is_empty(), "{head}{rest:?}");
    upstream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    let (head, rest) = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 100 ") && rest.is_empty(), "{head}{rest:?}");
    client.write_all(b"upload").await.unwrap();
    let mut content = [0; 6];
    upstream.read_exact(&mut content).await.unwrap();
    assert_eq!(&content, b"upload");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ngot it").await.unwrap();
    // Of the two 100s, the upstream's was asked for by the edge.
    assert_eq!(read_response(&mut client, false).await.text(), "got it");
}

#[tokio::test]
async fn content_that_is_refused_before_it_is_sent_stays_where_it_is() {
    let (edge, mut client, mut upstream) = asked_first().await;
    upstream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    let seen = read_response(&mut client, false).await;
    assert_eq!((seen.status, seen.text(), seen.field("connection").as_deref()), (413, "no", Some("close")));
    // The upstream gets none of it, nor anything else on this connection.
    assert_eq!(upstream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(edge.edge.upstreams()[0].failures, 0);
}
