//! The operators' address, and who would keep operators from it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{sync::Arc, time::Duration};

use edge::AdminConfig;
use support::{TOKEN, Upstream, front, read_response, send};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Connections to the address that are open at once.
const CONNECTIONS_MAX: usize = 64;

#[tokio::test]
async fn who_takes_nothing_of_what_is_sent_keeps_no_place() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let first = edge.operate("GET", "/healthz", "").await;
    let address = first.peer_addr().unwrap();
    drop(first);
    let health = b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut stuck = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stuck.push(tokio::spawn(async move {
            // Without a token, and without end: until nothing is taken, and then until it is ended.
            while stream.write_all(&health.repeat(1_000)).await.is_ok() {}
        }));
    }
    let answers = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed before it is asked.
        stream.write_all(health).await.ok();
        stream.read(&mut [0; 64]).await.unwrap_or(0) > 0
    };
    let full = async { while answers().await {} };
    tokio::time::timeout(support::DEADLINE, full).await.expect("all places are taken");
    let free = async {
        while !answers().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), free).await.expect("nobody gives up a place");
    for stream in stuck {
        stream.await.unwrap();
    }
}

#[tokio::test]
async fn a_question_with_more_fields_than_a_request_has_is_refused() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    for (count, status) in [(100, 200), (101, 400), (40_000, 400)] {
        let fields: Vec<String> = (0..count).map(|n| format!("\"x-{n}: y\"")).collect();
        let question = format!("{{\"url\":\"http://h/\",\"fields\":[{}]}}", fields.join(","));
        let mut stream = edge.operate("POST", "/v1/why", &question).await;
        assert_eq!(read_response(&mut stream, false).await.status, status, "{count}");
    }
}

#[tokio::test]
async fn a_purge_that_comes_while_another_process_takes_over_is_not_said_to_be_done() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let handed_over = CancellationToken::new();
    let config = AdminConfig {
        token: TOKEN.into(),
        metrics: Arc::new(String::new),
        reload: Arc::new(|| Ok(String::new())),
    };
    tokio::spawn(edge::serve_admin(listener, Arc::clone(&edge.edge), config, handed_over.clone()));
    let content = r#"{"selectors":["all"]}"#;
    let head = format!(
        "POST /v1/purge HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    handed_over.cancel();
    stream.write_all(content.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream, false).await.status, 503);
}

#[tokio::test]
async fn errors_have_one_form() {
    let upstream = Upstream::start(|_| send(200, &[], "x")).await;
    let edge = front(&[&upstream]).await;
    let large = "x".repeat((1 << 20) + 1);
    for (method, path, content, status) in [
        ("POST", "/v1/purge", large.as_str(), 413),
        ("POST", "/v1/purge", r#"{"selectors":["all"],"sofft":true}"#, 400),
        ("POST", "/v1/log", &large, 413),
        ("POST", "/v1/log", r#"{"terms":["status=5xx"]}"#, 400),
        ("POST", "/v1/why", &large, 413),
        ("POST", "/v1/why", "{", 400),
        ("POST", "/v1/why", r#"{"url":"http://h/","headers":[]}"#, 400),
        ("GET", "/v1/top?seconds=x", "", 400),
        ("GET", "/v1/top?second=1", "", 400),
        ("GET", "/v1/nothing", "", 404),
        ("GET", "/v1/purge", "", 405),
    ] {
        let mut stream = edge.operate(method, path, content).await;
        let response = read_response(&mut stream, false).await;
        let told: serde_json::Value = serde_json::from_str(response.text()).unwrap_or_default();
        assert_eq!(response.status, status, "{method} {path}");
        assert!(told["error"].is_string(), "{method} {path}: {}", response.text());
    }
}
