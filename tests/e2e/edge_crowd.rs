//! Many who ask an edge for the same at the same time, of an upstream in trouble.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::edge_upstream::{Edge, FRESH};
use crate::harness::upstream::{Answer, Upstream, response};
use crate::harness::{SOON, World, http, wait_until};

const CROWD: usize = 100;

/// So many who have asked.
fn crowd(edge: &Edge<'_>, target: &str) -> Vec<TcpStream> {
    let ask = |_| {
        let mut client = http::connect(&edge.address).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client
    };
    (0..CROWD).map(ask).collect()
}

/// What each of them got: whole or not.
fn got(crowd: Vec<TcpStream>) -> Vec<String> {
    let read = |mut client: TcpStream| {
        let mut all = Vec::new();
        // It may be cut off.
        let _ended = client.read_to_end(&mut all);
        String::from_utf8(all).unwrap()
    };
    crowd.into_iter().map(read).collect()
}

#[test]
fn a_crowd_is_not_held_up_twice_by_an_upstream_that_stalls() {
    let world = World::new();
    let head = b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 5\r\n\r\n";
    let upstream = Upstream::start(move |_| Answer::Held(Vec::new(), head.to_vec()));
    let edge = Edge::front(&world, &[&upstream], &["--idle-ms", "300"]);
    let waiting = crowd(&edge, "/");
    wait_until("all but one to wait", SOON, || {
        edge.metric("bakehouse_edge_collapsed_total", &[]) >= (CROWD - 1) as f64
    });
    // From now on its head is there, and nothing of its content.
    upstream.release();
    for answer in got(waiting) {
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    }
    assert_eq!(upstream.asked().len(), 1, "one who waited for so long is not asked to wait again");
}

#[test]
fn who_comes_after_a_response_broke_off_gets_another() {
    let world = World::new();
    let (first, rest) = ("f".repeat(1 << 10), "r".repeat(7 << 10));
    let whole = response(200, &FRESH, &format!("{first}{rest}"));
    let (begins, ends) = {
        let (begins, ends) = whole.split_at(whole.len() - rest.len());
        (begins.to_vec(), ends.to_vec())
    };
    let upstream = Upstream::start(move |_| Answer::Held(begins.clone(), ends.clone()));
    let edge = Edge::front(&world, &[&upstream], &["--idle-ms", "300"]);
    // They come for longer than the upstream is waited for.
    for _ in 0..2 {
        for answer in got(crowd(&edge, "/")) {
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&first), "{answer}");
        }
    }
    let before = upstream.asked().len();
    assert!(before >= 2, "what broke off is asked for again");
    upstream.release();
    for answer in got(crowd(&edge, "/")) {
        assert!(answer.ends_with(&format!("{first}{rest}")), "{answer}");
    }
    assert_eq!(upstream.asked().len(), before + 1);
}
