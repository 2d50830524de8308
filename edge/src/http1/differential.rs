//! Our parser beside hyper's, on requests that were tampered with: what both take for a request, both take for the same one,
//! and what hyper refuses we refuse. Where we differ we are the stricter: lone LF, two lengths though equal, a length beside
//! chunks, transfer codings that are not known, requests without a host, fragments, control characters in extensions.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::{
    decoder::{Decoder, Part},
    head,
    target::{self, Target},
};

/// A request as it was understood: method, target, content.
type Understood = (String, String, Vec<u8>);

/// How the bytes of a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    /// After a request, or within one.
    Short,
    /// With one that is refused.
    Refused,
    /// With one that is the last on its connection.
    Last,
}

fn ours(bytes: &[u8]) -> (Vec<Understood>, End) {
    let local: SocketAddr = ([127, 0, 0, 1], 80).into();
    let (mut buffer, mut understood) = (BytesMut::from(bytes), Vec::new());
    loop {
        let _ = buffer.split_to(head::blank(&buffer));
        let copy = buffer.clone();
        let mut room = head::room();
        let head = match head::parse(&copy, &mut room) {
            Ok(Some(head)) => head,
            Ok(None) => return (understood, End::Short),
            Err(_) => return (understood, End::Refused),
        };
        let judged = (|| Ok::<_, super::Refusal>((head.wire()?, head.map()?, target::of(&head, local)?)))();
        let Ok((wire, _, (_, target, _))) = judged else { return (understood, End::Refused) };
        let target = match target {
            Target::Path(path) => path,
            Target::Server => "*".into(),
        };
        let _ = buffer.split_to(head.bytes);
        let (mut decoder, mut content) = (Decoder::new(wire.framing), Vec::new());
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Part::Data(data)) => content.extend_from_slice(&data),
                Ok(Part::Trailers(_)) => {}
                Ok(Part::End) => break,
                Ok(Part::Wait) => return (understood, End::Short),
                Err(_) => return (understood, End::Refused),
            }
        }
        understood.push((head.method.to_owned(), target, content));
        if !wire.keep_alive {
            return (understood, End::Last);
        }
    }
}

async fn hypers(bytes: &[u8]) -> Vec<Understood> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let understood: Arc<Mutex<Vec<Understood>>> = Arc::default();
    let note = Arc::clone(&understood);
    let service = service_fn(move |request: Request<Incoming>| {
        let note = Arc::clone(&note);
        async move {
            let (parts, content) = request.into_parts();
            if let Ok(content) = content.collect().await {
                let target = parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
                note.lock().unwrap().push((parts.method.to_string(), target, content.to_bytes().to_vec()));
            }
            Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    // An error is a refusal, or the end of the bytes within a request.
    let _ = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service)
        .await;
    drop(client);
    std::mem::take(&mut *understood.lock().unwrap())
}

/// Lines and contents at which parsers part.
const LINES: [&str; 24] = [
    "host: h\r\n",
    "host: h\r\n",
    "content-length: 3\r\n",
    "content-length: 3\r\n",
    "Content-Length:5\r\n",
    "content-length: 03\r\n",
    "content-length: +3\r\n",
    "content-length: 3, 3\r\n",
    "content-length: 0\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding:\tchunked \r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, identity\r\n",
    "transfer-encoding: \x0bchunked\r\n",
    "transfer-encoding : chunked\r\n",
    "transfer-encoding\r\n : chunked\r\n",
    "x-a: b\r\n",
    "x-a: b\n",
    "x-a: b\r\n c\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "connection: transfer-encoding\r\n",
    "te: trailers\r\n",
];
const CONTENTS: [&str; 12] = [
    "",
    "abc",
    "abcde",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n",
    "3 ;a\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabc0\r\n\r\n",
    "0000000000000000003\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n",
];
const BYTES: &[u8] = b"\r\n\t \0:;,+-0x9aZ\x0b\x7f\x80\xff";

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let request = (
        prop_oneof!["GET", "POST"],
        prop_oneof![9 => Just("1.1"), 1 => Just("1.0")],
        proptest::collection::vec(proptest::sample::select(&LINES[..]), 0..4),
        proptest::sample::select(&CONTENTS[..]),
    )
        .prop_map(|(method, version, lines, content)| {
            format!("{method} /a?b HTTP/{version}\r\nhost: h\r\n{}\r\n{content}", lines.concat()).into_bytes()
        });
    let tampering = (any::<prop::sample::Index>(), 0u8..3, proptest::sample::select(BYTES));
    let tamperings = proptest::collection::vec(tampering, 0..3);
    (proptest::collection::vec(request, 1..4), tamperings).prop_map(|(requests, tamperings)| {
        let mut bytes = requests.concat();
        for (index, how, byte) in tamperings {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_both_accept_both_understand_alike(bytes in requests()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let theirs = runtime.block_on(hypers(&bytes));
        let (ours, end) = ours(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            prop_assert_eq!(ours, theirs, "request {} of {:?}", index, text);
        }
        prop_assert!(ours.len() <= theirs.len(), "hyper refuses what is accepted here: {:?} of {:?}", ours.last(), text);
        prop_assert!(ours.len() == theirs.len() || end != End::Short, "waits where hyper does not: {text:?}");
    }
}
