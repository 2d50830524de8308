//! Restarts of an edge: what its successor says holds for the process that drains, too.

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;

use crate::edge_upstream::{Edge, FRESH, Kept};
use crate::harness::proxy::{Fate, Proxy};
use crate::harness::upstream::{Answer, Upstream, response};
use crate::harness::{Process, Request, SOON, World, http, site, wait_for, wait_until};
use crate::roles::{Roles, TOKEN};

/// Each answer says which it is; what is below `/held` waits.
fn counts() -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |asked| {
        let content = format!("answer {}", count.fetch_add(1, Ordering::SeqCst));
        let response = response(200, &FRESH, &content);
        if asked.target().starts_with("/held") {
            Answer::Held(Vec::new(), response)
        } else {
            Answer::Send(response)
        }
    })
}

/// A request that keeps a process from ending while it drains.
fn held(upstream: &Upstream, address: &str) -> TcpStream {
    let before = upstream.asked().len();
    let mut client = http::connect(address).unwrap();
    let request = format!("GET /held/{before} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    wait_until("the request", SOON, || upstream.asked().len() > before);
    client
}

#[test]
fn a_purge_holds_for_processes_that_still_drain() {
    let world = World::new();
    let upstream = counts();
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "60"];
    // Connections on which nothing is asked are closed, and a busy machine may take long to start two processes.
    let (edges, _held) = wait_for("connections that outlive two successors", SOON, || {
        let (mut edges, mut holding, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for name in ["first", "second", "third"] {
            let edge = Edge::front(&world, &[&upstream], &[&args[..], &["--name", name]].concat());
            holding.push(held(&upstream, &edge.address));
            let mut client = Kept::connect(&edge.address);
            assert!(client.ask("/a").unwrap());
            let before = client.content.clone();
            assert!(client.ask("/a").unwrap());
            assert_eq!(client.content, before, "it is stored");
            kept.push((client, before));
            edges.push(edge);
        }
        let purged = edges[2].operate(Request::new("POST", "/v1/purge").body(r#"{"selectors":["all"]}"#));
        let receipt = purged.json();
        let named: Vec<_> = receipt["edges"].as_array().unwrap().iter().map(|e| e["edge"].clone()).collect();
        assert_eq!(named, ["third", "second (draining)", "first (draining)"], "{receipt}");
        assert_eq!(receipt["applied_everywhere"], true, "{receipt}");
        if kept.iter().any(|(client, _)| client.is_closed()) {
            upstream.release();
            return None;
        }
        for (client, before) in &mut kept {
            client.ask("/a").unwrap();
            assert_ne!(client.content, *before, "{}", String::from_utf8_lossy(before));
        }
        Some((edges, holding))
    });
    upstream.release();
    for mut edge in edges.into_iter().take(2) {
        assert!(edge.process.wait(SOON).success());
    }
}

#[test]
fn a_process_that_has_drained_passes_purges_on_to_one_that_still_drains() {
    let world = World::new();
    let upstream = counts();
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "60", "--log", "info"];
    let start = |name| Edge::front(&world, &[&upstream], &[&args[..], &["--name", name]].concat());
    let mut first = start("first");
    let _held = held(&upstream, &first.address);
    let mut second = start("second");
    let third = start("third");
    // Nobody asks anything of it.
    second.process.wait_for_text("what purges say is passed on", SOON);
    let receipt = third.operate(Request::new("POST", "/v1/purge").body(r#"{"selectors":["all"]}"#)).json();
    let named: Vec<_> = receipt["edges"].as_array().unwrap().iter().map(|e| e["edge"].clone()).collect();
    assert_eq!(named, ["third", "second (draining)", "first (draining)"], "{receipt}");
    upstream.release();
    assert!(first.process.wait(SOON).success());
    assert!(second.process.wait(SOON).success());
}

#[test]
fn a_receipt_says_that_a_process_which_drains_says_nothing() {
    let world = World::new();
    let upstream = counts();
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "60"];
    let mut before = Edge::front(&world, &[&upstream], &args);
    let _held = held(&upstream, &before.address);
    let after = Edge::front(&world, &[&upstream], &[&args[..], &["--name", "successor"]].concat());
    before.process.signal(Signal::STOP);
    let told = after.bake(&["purge", "--all", "--wait"]).code(1);
    let said = "edge successor (draining): not yet\nnot yet applied everywhere";
    assert!(told.stdout.contains(said), "{}", told.stdout);
    assert!(told.stderr.contains("committed, but not applied by: successor (draining)"), "{}", told.stderr);
    before.process.signal(Signal::CONT);
    upstream.release();
    assert!(before.process.wait(SOON).success());
    // It has ended, and nobody waits for it any more.
    let told = after.bake(&["purge", "--all", "--wait"]).success();
    assert!(!told.stdout.contains("draining"), "{}", told.stdout);
}

/// Offers a listening socket as an edge does, to a successor that is started here; `answer` sees its word and answers.
fn offers(world: &World, answer: impl FnOnce(&Process, UnixStream)) -> (Process, TcpListener) {
    let path = world.path("handover.sock");
    let offer = UnixListener::bind(&path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let args = ["edge", "--upstream", "http://127.0.0.1:1", "--handover", path.to_str().unwrap()];
    let successor = world.bake(".", &args).start();
    let (mut stream, _) = offer.accept().unwrap();
    let sockets = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&sockets)));
    sendmsg(&stream, &[IoSlice::new(&[0])], &mut control, SendFlags::empty()).unwrap();
    let mut word = [0];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(word, [b'r']);
    answer(&successor, stream);
    (successor, listener)
}

#[test]
fn a_successor_serves_where_the_one_before_has_ended_without_a_word() {
    let world = World::new();
    let (mut successor, listener) = offers(&world, |_, stream| drop(stream));
    successor.wait_for_text("edge at ", SOON);
    assert!(successor.stderr().contains("has ended meanwhile"), "{}", successor.stderr());
    let reply = Request::get("/").send(&listener.local_addr().unwrap().to_string()).unwrap();
    assert_eq!(reply.status, 504, "nobody is there, and it says so");
}

#[test]
fn a_reload_that_comes_before_an_edge_serves_does_not_end_it() {
    let world = World::new();
    let (mut successor, _listener) = offers(&world, |successor, mut stream| {
        successor.signal(Signal::HUP);
        stream.write_all(b"y").unwrap();
    });
    successor.wait_for_text("edge at ", SOON);
}

#[test]
fn a_successor_for_which_the_one_before_waits_no_more_does_not_serve() {
    let world = World::new();
    let (mut successor, _listener) = offers(&world, |_, mut stream| stream.write_all(b"n").unwrap());
    assert_eq!(successor.wait(SOON).code(), Some(1));
    let said = "error: the process that ran before does not let go: it waited for too long";
    assert!(successor.stderr().contains(said), "{}", successor.stderr());
}

#[test]
fn a_successor_that_follows_a_journal_takes_over_when_it_knows_what_is_published() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    roles.publish("site", &[]).success();
    let origin = roles.origin();
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "10"];
    let mut edge = roles.edge_of(&origin.address, &args);
    wait_until("an edge that serves", SOON, || edge.get("/").status == 200);
    let stop = Arc::new(AtomicBool::new(false));
    let client = {
        let (address, stop) = (edge.address.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let reply = Request::get("/").send(&address).expect("a connection was dropped");
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
        })
    };
    for _ in 0..5 {
        let after = roles.edge_of(&origin.address, &args);
        assert!(edge.process.wait(SOON).success());
        edge = after;
    }
    // One that hears nothing leaves it as it is.
    let deaf = Proxy::start(&origin.address, |_, _| Fate::Hold);
    let edge_args = ["edge", "--listen", "127.0.0.1:0", "--origin", deaf.address()];
    let failed = world
        .bake(".", &[&edge_args[..], &args].concat())
        .var("BAKE_EDGE_TOKEN", "none")
        .run_within(SOON * 2)
        .code(1);
    assert!(
        failed.stderr.contains("nothing told the edge what is published within 10 s"),
        "{}",
        failed.stderr
    );
    assert_eq!(edge.get("/").status, 200);
    stop.store(true, Ordering::SeqCst);
    client.join().unwrap();
}

#[test]
fn a_process_that_drains_and_hears_nothing_of_the_journal_is_cut() {
    let world = World::new();
    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    world.write("site/static/large.bin", vec![0; 16 << 20]);
    roles.publish("site", &[]).success();
    let origin = roles.origin();
    let ears = Proxy::start(&origin.address, |_, _| Fate::Pass);
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "60"];
    let mut before = roles.edge_of(ears.address(), &args);
    wait_until("an edge that serves", SOON, || before.get("/plain.txt").status == 200);
    // A client that takes no more of a response than its beginning keeps it from ending by itself.
    let mut client = http::connect(&before.address).unwrap();
    client.write_all(b"GET /large.bin HTTP/1.1\r\nHost: site.test\r\n\r\n").unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).unwrap();
    assert_eq!(status, *b"HTTP/1.1 200");
    ears.decide(|_, _| Fate::Hold);
    wait_until("a poll that is held", SOON, || {
        ears.seen().iter().any(|(asked, fate)| asked.contains("/v1/journal") && *fate == Fate::Hold)
    });
    let _after = roles.edge_of(&origin.address, &args);
    let receipt = world
        .bake(".", &["purge", "--url", "/plain.txt", "--wait", "--json"])
        .var("BAKE_API", &origin.address)
        .var("BAKE_TOKEN", TOKEN)
        .ok()
        .json();
    assert_eq!(receipt["applied_everywhere"], true, "{receipt}");
    assert!(before.process.wait(SOON).success());
    before.process.wait_for_text("its connections are cut", SOON);
}

/// Asks a process twice to stop, while it waits for the content of a request at this address.
fn stop_twice(process: &mut Process, address: &str, token: &str) {
    let mut client = http::connect(address).unwrap();
    let request = format!(
        "POST /v1/purge HTTP/1.1\r\nHost: site.test\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut interim = [0; 25];
    client.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    client.write_all(b"{").unwrap();
    process.signal(Signal::TERM);
    wait_until("the end of connections", SOON, || http::connect(address).is_err());
    assert!(process.ended().is_none(), "it has a request under way");
    process.signal(Signal::INT);
    assert_eq!(process.wait(SOON).code(), Some(1));
    let said = process.stderr();
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("error")).collect();
    assert_eq!(errors, ["error: asked to stop while it did so: what was under way is cut off"], "{said}");
    // Closed, or reset.
    assert!(client.read(&mut [0]).unwrap_or(0) == 0);
}

#[test]
fn a_first_signal_ends_a_process_that_drains_for_its_successor() {
    let world = World::new();
    let upstream = counts();
    let socket = world.path("handover.sock");
    let args = ["--handover", socket.to_str().unwrap(), "--drain-seconds", "60"];
    let mut before = Edge::front(&world, &[&upstream], &args);
    let mut client = held(&upstream, &before.address);
    let _after = Edge::front(&world, &[&upstream], &args);
    assert!(before.process.ended().is_none(), "it has a request under way");
    before.process.signal(Signal::TERM);
    assert_eq!(before.process.wait(SOON).code(), Some(1));
    let said = before.process.stderr();
    assert!(said.contains("error: asked to stop while it did so"), "{said}");
    assert!(client.read(&mut [0]).unwrap_or(0) == 0);
}

#[test]
fn a_second_signal_ends_a_process_that_drains() {
    let world = World::new();
    let upstream = counts();
    let log = world.path("access.log");
    let args = ["--drain-seconds", "60", "--access-log", log.to_str().unwrap()];
    let mut edge = Edge::front(&world, &[&upstream], &args);
    assert_eq!(edge.get("/a").status, 200);
    stop_twice(&mut edge.process, &edge.address, "");
    assert!(world.read("access.log").contains("/a"), "{}", world.read("access.log"));

    let roles = Roles::bucket(&world);
    site::small(&world, "site");
    let mut origin = roles.origin();
    stop_twice(&mut origin.process, &origin.address, TOKEN);

    let mut up = world.up("site");
    let (api, token) = (up.api().to_owned(), up.token().to_owned());
    stop_twice(&mut up.process, &api, &token);
    assert!(!up.data().join("up.json").exists());
}
