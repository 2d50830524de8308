//! The operators' address, and who would keep operators from it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use support::{Upstream, front, read_response, send};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

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
