//! The embedded bucket as its clients see it: aws-sdk-s3 and our own client over it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials as Keys, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use bytes::Bytes;
use origin::bucket::embedded::{Credentials, FolderStore, Limits, serve};
use origin::bucket::s3::{Checksums, Config, S3Bucket};
use release::bucket::{Bucket, BucketError, Written};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    dir: Option<tempfile::TempDir>,
}

fn credentials() -> Credentials {
    Credentials { access_key_id: "AKIDTEST".to_owned(), secret_access_key: "the secret".to_owned() }
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::on(dir.path(), Limits::default()).await;
        server.dir = Some(dir);
        server
    }

    async fn on(dir: &Path, limits: Limits) -> Self {
        let store = FolderStore::open_with(dir, ["site"], limits).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let until = Box::pin(async move {
            let _ = stopped.await;
        });
        let served = tokio::spawn(serve(listener, store, credentials(), until));
        Self { address, stop: Some(stop), served, dir: None }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self) -> Client {
        self.client_with("the secret")
    }

    fn client_with(&self, secret: &str) -> Client {
        let config = aws_sdk_s3::config::Builder::new()
            .behavior_version_latest()
            .endpoint_url(self.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(Keys::new("AKIDTEST", secret, None, None, "test"))
            .http_client(origin::http_client::Http::new(false).unwrap())
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    async fn bucket(&self) -> S3Bucket {
        S3Bucket::new(self.config()).await.unwrap()
    }

    fn config(&self) -> Config {
        Config {
            endpoint: Some(self.endpoint()),
            bucket: "site".to_owned(),
            credentials: Some(credentials()),
            ..Config::default()
        }
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), self.served).await.expect("drained in time").unwrap();
    }
}

fn code<E: ProvideErrorMetadata, R>(result: Result<R, SdkError<E>>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    }
}

fn status<E, R>(result: Result<R, SdkError<E>>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(error) => error.raw_response().expect("an answer").status().as_u16(),
    }
}

fn body(text: &str) -> ByteStream {
    ByteStream::from(text.as_bytes().to_vec())
}

async fn keys(client: &Client, page: i32) -> Vec<String> {
    let mut keys = Vec::new();
    let mut pages = client.list_objects_v2().bucket("site").max_keys(page).into_paginator().send();
    while let Some(page) = pages.next().await {
        keys.extend(page.unwrap().contents.unwrap_or_default().into_iter().map(|object| object.key.unwrap()));
    }
    keys
}

#[tokio::test]
async fn an_object_returns_as_it_was_put() {
    let server = Server::start().await;
    let client = server.client();
    client
        .put_object()
        .bucket("site")
        .key("a/b.html")
        .body(body("hello"))
        .content_type("text/html; charset=utf-8")
        .cache_control("max-age=5")
        .content_encoding("br")
        .content_language("fr")
        .content_disposition("inline")
        .metadata("mixed", "Some Value")
        .send()
        .await
        .unwrap();
    let got = client.get_object().bucket("site").key("a/b.html").send().await.unwrap();
    assert_eq!(got.content_type(), Some("text/html; charset=utf-8"));
    assert_eq!(got.cache_control(), Some("max-age=5"));
    assert_eq!(got.content_encoding(), Some("br"));
    assert_eq!(got.content_language(), Some("fr"));
    assert_eq!(got.content_disposition(), Some("inline"));
    assert_eq!(got.metadata().unwrap()["mixed"], "Some Value");
    assert_eq!(got.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(got.content_length(), Some(5));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");

    let head = client.head_object().bucket("site").key("a/b.html").send().await.unwrap();
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(head.metadata().unwrap()["mixed"], "Some Value");

    let copied =
        client.copy_object().bucket("site").key("copy").copy_source("site/a/b.html").send().await.unwrap();
    assert_eq!(copied.copy_object_result().unwrap().e_tag(), head.e_tag());
    let head = client.head_object().bucket("site").key("copy").send().await.unwrap();
    assert_eq!(head.cache_control(), Some("max-age=5"));

    assert_eq!(code(client.get_object().bucket("site").key("absent").send().await), "NoSuchKey");
    assert_eq!(code(client.get_object().bucket("other").key("absent").send().await), "NoSuchBucket");
    client.delete_object().bucket("site").key("copy").send().await.unwrap();
    client.delete_object().bucket("site").key("copy").send().await.unwrap();
    assert_eq!(keys(&client, 10).await, ["a/b.html"]);
    server.stop().await;
}

#[tokio::test]
async fn any_key_is_a_key() {
    let server = Server::start().await;
    let client = server.client();
    let mut all: Vec<String> = [
        "a",
        "a/b",
        "a/",
        "..",
        ".",
        "../..",
        "/",
        "//",
        "/lead",
        "a//b",
        "a/../b",
        "%2E%2E",
        "a b+c",
        "ü/☃/𝄞",
        "a?b#c&d=e",
        "quote'\"",
        "~!@$^*(){}[]|\\<>;:,",
        "a\tb",
        "trailing.",
        ".hidden",
        "CON",
        "a%2Fb",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("x".repeat(1024));
    all.push("é".repeat(512));
    all.push("s/".repeat(512));
    for (at, key) in all.iter().enumerate() {
        let answer = client.put_object().bucket("site").key(key).body(body(&at.to_string())).send().await;
        assert!(answer.is_ok(), "{key:?}: {answer:?}");
    }
    for (at, key) in all.iter().enumerate() {
        let got = client.get_object().bucket("site").key(key).send().await.unwrap();
        assert_eq!(got.body.collect().await.unwrap().to_vec(), at.to_string().into_bytes(), "{key:?}");
    }
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(keys(&client, 3).await, sorted);
    let too_long = "x".repeat(1025);
    let answer = client.put_object().bucket("site").key(&too_long).body(body("")).send().await;
    assert_eq!(code(answer), "KeyTooLongError");
    // Nothing but the store's own folders lies beside the bucket.
    let mut names: Vec<_> = std::fs::read_dir(server.dir.as_ref().unwrap().path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".bakehouse", "site"]);
    for key in &all {
        client.delete_object().bucket("site").key(key).send().await.unwrap();
    }
    // Emptied folders went too, or the bucket could not be removed.
    client.delete_bucket().bucket("site").send().await.unwrap();
    assert_eq!(code(client.put_object().bucket("site").key("a").body(body("")).send().await), "NoSuchBucket");
    server.stop().await;
}

#[tokio::test]
async fn conditions_of_writes_hold() {
    let server = Server::start().await;
    let client = server.client();
    let put = || client.put_object().bucket("site").key("k").body(body("one"));
    let first = put().if_none_match("*").send().await.unwrap();
    let again = put().if_none_match("*").send().await;
    assert_eq!(status(again), 412);
    assert_eq!(code(put().if_none_match("*").send().await), "PreconditionFailed");
    assert_eq!(
        code(put().if_match("\"00000000000000000000000000000000\"").send().await),
        "PreconditionFailed"
    );
    let etag = first.e_tag().unwrap();
    client.put_object().bucket("site").key("k").body(body("two")).if_match(etag).send().await.unwrap();
    assert_eq!(code(put().if_match(etag).send().await), "PreconditionFailed");
    assert_eq!(code(put().key("none").if_match(etag).send().await), "NoSuchKey");
    assert_eq!(code(put().if_none_match("\"e\"").send().await), "NotImplemented");
    let gone = client.delete_object().bucket("site").key("k").if_match(etag).send().await;
    assert_eq!(code(gone), "PreconditionFailed");
    let now = client.head_object().bucket("site").key("k").send().await.unwrap();
    client.delete_object().bucket("site").key("k").if_match(now.e_tag().unwrap()).send().await.unwrap();
    assert_eq!(status(client.head_object().bucket("site").key("k").send().await), 404);
    server.stop().await;
}

#[tokio::test]
async fn conditions_and_ranges_of_reads_hold() {
    let server = Server::start().await;
    let client = server.client();
    let big: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    client.put_object().bucket("site").key("big").body(big.clone().into()).send().await.unwrap();
    client.put_object().bucket("site").key("small").body(body("0123456789")).send().await.unwrap();
    client.put_object().bucket("site").key("empty").body(body("")).send().await.unwrap();
    let get = |key: &str| client.get_object().bucket("site").key(key);
    for (range, expected) in [
        ("bytes=0-0", Some(0..1)),
        ("bytes=5-300000", Some(5..300_001)),
        ("bytes=999999-", Some(999_999..1_000_000)),
        ("bytes=-7", Some(999_993..1_000_000)),
        ("bytes=-2000000", Some(0..1_000_000)),
        ("bytes=999999-5000000", Some(999_999..1_000_000)),
        ("bytes=1000000-", None),
        ("bytes=-0", None),
    ] {
        let expected: Option<Range<usize>> = expected;
        match expected {
            Some(expected) => {
                let got = get("big").range(range).send().await.unwrap();
                let content_range = format!("bytes {}-{}/1000000", expected.start, expected.end - 1);
                assert_eq!(got.content_range(), Some(&content_range[..]), "{range}");
                assert_eq!(got.body.collect().await.unwrap().to_vec(), big[expected], "{range}");
            }
            None => {
                let refused = get("big").range(range).send().await;
                assert_eq!(status(refused), 416, "{range}");
            }
        }
    }
    assert_eq!(get("big").send().await.unwrap().body.collect().await.unwrap().to_vec(), big);
    let part = get("small").range("bytes=2-3").send().await.unwrap();
    assert_eq!(part.body.collect().await.unwrap().to_vec(), b"23");
    assert_eq!(code(get("empty").range("bytes=0-").send().await), "InvalidRange");
    assert_eq!(get("empty").send().await.unwrap().content_length(), Some(0));

    let head = client.head_object().bucket("site").key("small").send().await.unwrap();
    let (etag, modified) = (head.e_tag().unwrap(), *head.last_modified().unwrap());
    assert_eq!(status(get("small").if_none_match(etag).send().await), 304);
    assert_eq!(status(get("small").if_none_match("\"x\"").send().await), 200);
    assert_eq!(status(get("small").if_match("\"x\"").send().await), 412);
    assert_eq!(status(get("small").if_match(etag).send().await), 200);
    assert_eq!(status(get("small").if_modified_since(modified).send().await), 304);
    let before = aws_sdk_s3::primitives::DateTime::from_secs(modified.secs() - 1);
    assert_eq!(status(get("small").if_modified_since(before).send().await), 200);
    assert_eq!(status(get("small").if_unmodified_since(before).send().await), 412);
    assert_eq!(status(get("small").if_unmodified_since(modified).send().await), 200);
    // If-Match decides over If-Unmodified-Since, If-None-Match over If-Modified-Since (RFC 9110 §13.2.2).
    assert_eq!(status(get("small").if_match(etag).if_unmodified_since(before).send().await), 200);
    assert_eq!(status(get("small").if_none_match("\"x\"").if_modified_since(modified).send().await), 200);
    server.stop().await;
}

#[tokio::test]
async fn checksums_are_verified() {
    let server = Server::start().await;
    let client = server.client();
    for (at, algorithm) in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("k{at}");
        client
            .put_object()
            .bucket("site")
            .key(&key)
            .body(body("hello"))
            .checksum_algorithm(algorithm.clone())
            .send()
            .await
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error:?}"));
        let got = client
            .get_object()
            .bucket("site")
            .key(&key)
            .checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled)
            .send()
            .await
            .unwrap();
        assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
    }
    // A stream: aws-chunked with a trailer.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![9; 700_000]).unwrap();
    let stream = ByteStream::from_path(file.path()).await.unwrap();
    client.put_object().bucket("site").key("stream").body(stream).send().await.unwrap();
    let head = client
        .head_object()
        .bucket("site")
        .key("stream")
        .checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(700_000));
    assert!(head.checksum_crc32().or(head.checksum_crc64_nvme()).is_some(), "{head:?}");

    let put = || client.put_object().bucket("site").key("wrong").body(body("hello"));
    assert_eq!(code(put().checksum_crc32("AAAAAA==").send().await), "BadDigest");
    assert_eq!(code(put().checksum_sha256("AAAA").send().await), "BadDigest");
    assert_eq!(code(put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await), "BadDigest");
    assert_eq!(code(put().content_md5("nonsense").send().await), "InvalidDigest");
    assert_eq!(status(client.head_object().bucket("site").key("wrong").send().await), 404);
    put().content_md5("XUFAKrxLKna5cZ2REBfFkg==").send().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn listings_have_pages_and_delimiters() {
    let server = Server::start().await;
    let client = server.client();
    for key in ["a", "a/1", "a/2", "b/c/1", "b/d", "b-", "z"] {
        client.put_object().bucket("site").key(key).body(body(key)).send().await.unwrap();
    }
    let list = || client.list_objects_v2().bucket("site");
    let lines = |page: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| {
        let keys: Vec<String> =
            page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect();
        let prefixes: Vec<String> =
            page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()).collect();
        (keys, prefixes)
    };
    let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let page = list().delimiter("/").send().await.unwrap();
    assert_eq!(lines(&page), (text(&["a", "b-", "z"]), text(&["a/", "b/"])));
    assert_eq!(page.key_count(), Some(5));
    let page = list().delimiter("/").prefix("b/").send().await.unwrap();
    assert_eq!(lines(&page), (text(&["b/d"]), text(&["b/c/"])));
    let page = list().start_after("a/1").max_keys(2).send().await.unwrap();
    assert_eq!(lines(&page), (text(&["a/2", "b-"]), text(&[])));
    assert_eq!(page.is_truncated(), Some(true));
    let page = list().continuation_token(page.next_continuation_token().unwrap()).send().await.unwrap();
    assert_eq!(lines(&page), (text(&["b/c/1", "b/d", "z"]), text(&[])));
    assert_eq!(page.is_truncated(), Some(false));
    let page = list().max_keys(0).send().await.unwrap();
    assert_eq!((lines(&page), page.is_truncated()), ((text(&[]), text(&[])), Some(false)));
    assert_eq!(code(list().continuation_token("zz").send().await), "InvalidArgument");
    assert_eq!(code(list().max_keys(-1).send().await), "InvalidArgument");
    assert_eq!(code(client.list_objects_v2().bucket("none").send().await), "NoSuchBucket");

    // The first version of the operation, page by page.
    let mut seen = Vec::new();
    let mut marker = None;
    loop {
        let page = client
            .list_objects()
            .bucket("site")
            .delimiter("/")
            .max_keys(1)
            .set_marker(marker)
            .send()
            .await
            .unwrap();
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        seen.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
        marker = page.next_marker().map(str::to_owned);
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    assert_eq!(seen, ["a", "a/", "b-", "b/", "z"]);

    let delete = Delete::builder()
        .set_objects(Some(
            ["a", "b/d", "absent"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap()).to_vec(),
        ))
        .build()
        .unwrap();
    let deleted = client.delete_objects().bucket("site").delete(delete).send().await.unwrap();
    assert_eq!(deleted.deleted().len(), 3);
    assert_eq!(keys(&client, 100).await, ["a/1", "a/2", "b-", "b/c/1", "z"]);
    server.stop().await;
}

#[tokio::test]
async fn multipart_uploads_become_objects() {
    let server = Server::start().await;
    let client = server.client();
    let five = vec![1_u8; 5 << 20];
    let start = |key: &str| client.create_multipart_upload().bucket("site").key(key).content_type("x/y");
    let id = start("m").send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for (number, bytes) in [(1, five.clone()), (2, b"the end".to_vec())] {
        let done = client
            .upload_part()
            .bucket("site")
            .key("m")
            .upload_id(&id)
            .part_number(number)
            .body(bytes.into())
            .send()
            .await
            .unwrap();
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(done.e_tag).build());
    }
    let listed = client.list_parts().bucket("site").key("m").upload_id(&id).send().await.unwrap();
    assert_eq!(listed.parts().iter().map(|part| part.size().unwrap()).collect::<Vec<_>>(), [5 << 20, 7]);
    let uploads = client.list_multipart_uploads().bucket("site").send().await.unwrap();
    assert_eq!(uploads.uploads().len(), 1);

    let complete = |id: &str, parts: Vec<CompletedPart>| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        client.complete_multipart_upload().bucket("site").key("m").upload_id(id).multipart_upload(parts)
    };
    let swapped = parts.iter().rev().cloned().collect();
    assert_eq!(code(complete(&id, swapped).send().await), "InvalidPartOrder");
    let wrong = vec![CompletedPart::builder().part_number(1).e_tag("\"0\"").build()];
    assert_eq!(code(complete(&id, wrong).send().await), "InvalidPart");
    let done = complete(&id, parts.clone()).if_none_match("*").send().await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-2\""), "{done:?}");
    assert_eq!(code(complete(&id, parts).send().await), "NoSuchUpload");
    let got = client.get_object().bucket("site").key("m").send().await.unwrap();
    assert_eq!(got.content_type(), Some("x/y"));
    assert_eq!(got.e_tag(), done.e_tag());
    let mut whole = five.clone();
    whole.extend(b"the end");
    assert!(got.body.collect().await.unwrap().to_vec() == whole, "the parts in order");

    // Too small a part in the middle, and a name that is taken.
    let id = start("m").send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for number in [1, 2] {
        let part =
            client.upload_part().bucket("site").key("m").upload_id(&id).part_number(number).body(body("x"));
        let done = part.send().await.unwrap();
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(done.e_tag).build());
    }
    assert_eq!(code(complete(&id, parts.clone()).send().await), "EntityTooSmall");
    parts.pop();
    assert_eq!(code(complete(&id, parts.clone()).if_none_match("*").send().await), "PreconditionFailed");
    client.abort_multipart_upload().bucket("site").key("m").upload_id(&id).send().await.unwrap();
    assert_eq!(code(complete(&id, parts).send().await), "NoSuchUpload");
    let hostile = client.list_parts().bucket("site").key("m").upload_id("../../site").send().await;
    assert_eq!(code(hostile), "NoSuchUpload");
    assert!(client.list_multipart_uploads().bucket("site").send().await.unwrap().uploads().is_empty());
    server.stop().await;
}

/// One request over a connection of its own; status line and all that followed.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    // The rest of a request that was refused early makes the kernel reset the connection, after the answer.
    assert!(read.is_ok(), "no end of the answer to {request:.80}: {:.200}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn get_request(uri: &str) -> String {
    let uri: http::Uri = uri.parse().unwrap();
    format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        uri.path_and_query().unwrap(),
        uri.authority().unwrap()
    )
}

#[tokio::test]
async fn only_the_right_signature_opens_the_door() {
    let server = Server::start().await;
    let client = server.client();
    client.put_object().bucket("site").key("k").body(body("secret")).send().await.unwrap();
    let wrong = server.client_with("another secret");
    assert_eq!(code(wrong.get_object().bucket("site").key("k").send().await), "SignatureDoesNotMatch");
    assert_eq!(
        code(wrong.put_object().bucket("site").key("n").body(body("")).send().await),
        "SignatureDoesNotMatch"
    );

    let now = std::time::SystemTime::now();
    let presign = |age: u64, life: u64| {
        let config = PresigningConfig::builder()
            .start_time(now - Duration::from_secs(age))
            .expires_in(Duration::from_secs(life))
            .build()
            .unwrap();
        client.get_object().bucket("site").key("k").presigned(config)
    };
    let good = presign(0, 60).await.unwrap();
    let answer = raw(server.address, &get_request(good.uri())).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("secret"), "{answer}");
    let expired = presign(120, 60).await.unwrap();
    let answer = raw(server.address, &get_request(expired.uri())).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("expired"), "{answer}");
    let tampered = good.uri().replace("/k?", "/other?");
    assert!(raw(server.address, &get_request(&tampered)).await.contains("SignatureDoesNotMatch"));
    let longer = expired.uri().replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    assert!(raw(server.address, &get_request(&longer)).await.contains("SignatureDoesNotMatch"));

    let anonymous = raw(server.address, &get_request(&format!("{}/site/k", server.endpoint()))).await;
    assert!(anonymous.starts_with("HTTP/1.1 403") && anonymous.contains("AccessDenied"), "{anonymous}");
    let v2 =
        "GET /site/k HTTP/1.1\r\nhost: x\r\nauthorization: AWS AKIDTEST:abc\r\nconnection: close\r\n\r\n";
    assert!(raw(server.address, v2).await.contains("Version 4"));
    let v2 =
        format!("{}/site/k?AWSAccessKeyId=AKIDTEST&%53ignature=abc&Expires=9999999999", server.endpoint());
    assert!(raw(server.address, &get_request(&v2)).await.contains("SignatureDoesNotMatch"));
    let write = get_request(&v2).replace("GET ", "DELETE ");
    assert!(raw(server.address, &write).await.contains("Version 4"));
    server.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_answered() {
    let server = Server::start().await;
    for request in [
        "GET /%ff%fe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /site?list-type=2&max-keys=abc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "PUT /site/k HTTP/1.1\r\nhost: x\r\nauthorization: AWS4-HMAC-SHA256 nonsense\r\nconnection: close\r\n\r\n".to_owned(),
        "NONSENSE\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlong: {}\r\n\r\n", "x".repeat(300_000)),
    ] {
        let answer = raw(server.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{request:.60} → {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_an_error_of_s3() {
    let server = Server::start().await;
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(300_000));
    for (request, status, code) in [
        ("NONSENSE\r\n\r\n", "400 Bad Request", "BadRequest"),
        (&many, "431 Request Header Fields Too Large", "RequestHeaderSectionTooLarge"),
        (&long, "431 Request Header Fields Too Large", "RequestHeaderSectionTooLarge"),
        (&long.replace("GET", "PUT"), "431 Request Header Fields Too Large", "RequestHeaderSectionTooLarge"),
    ] {
        let answer = raw(server.address, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(&format!("<Error><Code>{code}</Code><Message>The ")), "{answer}");
        assert!(head.contains("content-type: application/xml\r\n"), "{answer}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    }
    // To one who asked for a head alone, no content may be sent.
    let answer = raw(server.address, &long.replace("GET", "HEAD")).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    // So is one that comes after another was served.
    let answer = raw(server.address, "GET /?x HTTP/1.1\r\nhost: x\r\n\r\nNONSENSE\r\n\r\n").await;
    let (denied, unreadable) = answer.split_once("HTTP/1.1 400 Bad Request\r\n").unwrap();
    assert!(denied.contains("AccessDenied") && !denied.contains("BadRequest"), "{answer}");
    assert!(
        unreadable.contains("<Error><Code>BadRequest</Code><Message>The request is not HTTP"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn objects_beyond_the_limit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on(dir.path(), Limits { object_bytes_max: 1000, ..Limits::default() }).await;
    let client = server.client();
    client.put_object().bucket("site").key("k").body(vec![0; 1000].into()).send().await.unwrap();
    let refused = client.put_object().bucket("site").key("k2").body(vec![0; 1001].into()).send().await;
    assert_eq!(code(refused), "EntityTooLarge");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_creators_one_wins() {
    // Two servers on one folder, each creator with connections of its own.
    let dir = tempfile::tempdir().unwrap();
    let servers =
        [Server::on(dir.path(), Limits::default()).await, Server::on(dir.path(), Limits::default()).await];
    let mut buckets = Vec::new();
    for at in 0..16 {
        buckets.push(Arc::new(servers[at % 2].bucket().await));
    }
    for race in 0..50 {
        let key = format!("races/{race}");
        let attempts = buckets.iter().enumerate().map(|(at, bucket)| {
            let (bucket, key) = (Arc::clone(bucket), key.clone());
            tokio::spawn(async move { (at, bucket.create(&key, Bytes::from(at.to_string())).await.unwrap()) })
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        let winners: Vec<usize> = outcomes
            .into_iter()
            .map(Result::unwrap)
            .filter_map(|(at, written)| (written == Written::Yes).then_some(at))
            .collect();
        assert_eq!(winners.len(), 1, "race {race}");
        let object = buckets[0].get(&key, 100).await.unwrap().unwrap();
        assert_eq!(object.bytes, winners[0].to_string());

        let attempts = buckets.iter().enumerate().map(|(at, bucket)| {
            let (bucket, key, tag) = (Arc::clone(bucket), key.clone(), object.tag.clone());
            tokio::spawn(async move {
                bucket.replace(&key, Bytes::from(format!("{at} again")), &tag).await.unwrap()
            })
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        let wins = outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == Written::Yes).count();
        assert_eq!(wins, 1, "replacements of race {race}");
    }
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn our_client_does_what_the_trait_says() {
    let server = Server::start().await;
    for checksums in [Checksums::WhenRequired, Checksums::WhenSupported] {
        let bucket = S3Bucket::new(Config { checksums, ..server.config() }).await.unwrap();
        let key = format!("{checksums:?}/k");
        assert_eq!(bucket.get(&key, 10).await.unwrap(), None);
        assert_eq!(bucket.get_range(&key, 0..1).await.unwrap(), None);
        assert_eq!(bucket.create(&key, Bytes::from_static(b"12345")).await.unwrap(), Written::Yes);
        assert_eq!(bucket.create(&key, Bytes::from_static(b"12345")).await.unwrap(), Written::Refused);
        let object = bucket.get(&key, 5).await.unwrap().unwrap();
        assert_eq!(object.bytes, "12345");
        assert!(matches!(bucket.get(&key, 4).await, Err(BucketError::TooLarge { max: 4, .. })));
        assert_eq!(bucket.get_range(&key, 1..3).await.unwrap().unwrap(), "23");
        assert!(bucket.get_range(&key, 4..9).await.is_err());
        assert_eq!(
            bucket.replace(&key, Bytes::from_static(b"new"), &object.tag).await.unwrap(),
            Written::Yes
        );
        assert_eq!(
            bucket.replace(&key, Bytes::from_static(b"newer"), &object.tag).await.unwrap(),
            Written::Refused
        );
        assert_eq!(bucket.replace("none", Bytes::new(), &object.tag).await.unwrap(), Written::Refused);
        bucket.put(&key, Bytes::from_static(b"put")).await.unwrap();
        bucket.delete(&key).await.unwrap();
        bucket.delete(&key).await.unwrap();
        assert_eq!(bucket.get(&key, 10).await.unwrap(), None);
    }
    let bucket = server.bucket().await;
    for key in ["l/1", "l/2", "l/3", "m"] {
        bucket.put(key, Bytes::new()).await.unwrap();
    }
    let page = bucket.list("l/", None, 2).await.unwrap();
    assert_eq!((page.keys, page.more), (vec!["l/1".to_owned(), "l/2".to_owned()], true));
    let page = bucket.list("l/", Some("l/2"), 2).await.unwrap();
    assert_eq!((page.keys, page.more), (vec!["l/3".to_owned()], false));

    let other = S3Bucket::new(Config { bucket: "other".to_owned(), ..server.config() }).await.unwrap();
    let denied = other.get("k", 10).await.unwrap_err();
    assert!(
        matches!(&denied, BucketError::Denied { reason, .. } if reason.contains("NoSuchBucket")),
        "{denied}"
    );
    let keys = Credentials { access_key_id: "WHO".to_owned(), secret_access_key: "?".to_owned() };
    let stranger = S3Bucket::new(Config { credentials: Some(keys), ..server.config() }).await.unwrap();
    let denied = stranger.create("k", Bytes::new()).await.unwrap_err();
    assert!(
        matches!(&denied, BucketError::Denied { reason, .. } if reason.contains("InvalidAccessKeyId")),
        "{denied}"
    );
    let endpoint = server.endpoint();
    server.stop().await;
    // The port is closed now.
    let gone = S3Bucket::new(Config {
        endpoint: Some(endpoint),
        bucket: "site".to_owned(),
        credentials: Some(credentials()),
        ..Config::default()
    });
    let error = gone.await.unwrap().create("k", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, BucketError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn the_probe_finds_nothing_wrong() {
    let server = Server::start().await;
    let bucket = server.bucket().await;
    let verdict = origin::bucket::probe::probe(&bucket, std::time::SystemTime::now()).await.unwrap();
    assert_eq!((verdict.flaws.len(), verdict.from_record), (0, false));
    let verdict = origin::bucket::probe::probe(&bucket, std::time::SystemTime::now()).await.unwrap();
    assert_eq!((verdict.flaws.len(), verdict.from_record), (0, true));
    assert_eq!(bucket.list("", None, 10).await.unwrap().keys, ["probe/verdict"]);
    server.stop().await;
}

#[tokio::test]
async fn a_restart_finds_everything_and_removes_what_was_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::on(dir.path(), Limits::default()).await;
    server.bucket().await.put("a/b", Bytes::from_static(b"kept")).await.unwrap();
    server.stop().await;
    // As a killed process leaves it: a folder whose lock nobody holds.
    let dead = dir.path().join(".bakehouse/temp/dead");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("lock"), "").unwrap();
    std::fs::write(dead.join("0"), "half a bod").unwrap();
    let other = FolderStore::open(dir.path(), ["site"]).unwrap();
    let server = Server::on(dir.path(), Limits::default()).await;
    assert!(!dead.exists());
    // That of a living process is left alone.
    assert_eq!(std::fs::read_dir(dir.path().join(".bakehouse/temp")).unwrap().count(), 2);
    drop(other);
    assert_eq!(server.bucket().await.get("a/b", 10).await.unwrap().unwrap().bytes, "kept");
    server.stop().await;
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let server = Server::start().await;
    let client = server.client();
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let signed = client.put_object().bucket("site").key("k").presigned(config).await.unwrap();
    let uri: http::Uri = signed.uri().parse().unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: {}\r\ncontent-length: 2000000\r\n\r\n",
        uri.path_and_query().unwrap(),
        server.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![1; 1_000_000]).await.unwrap();
    let temps = server.dir.as_ref().unwrap().path().join(".bakehouse/temp");
    let files = || {
        let folder = std::fs::read_dir(&temps).unwrap().next().unwrap().unwrap().path();
        std::fs::read_dir(folder).unwrap().count()
    };
    wait_for(|| files() == 2).await;
    drop(stream);
    wait_for(|| files() == 1).await;
    assert_eq!(status(client.head_object().bucket("site").key("k").send().await), 404);
    server.stop().await;
}

async fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not happen in time");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn streams_without_checksums_are_taken() {
    let server = Server::start().await;
    let config = server.client().config().to_builder();
    let client = Client::from_conf(
        config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired).build(),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![9; 300_000]).unwrap();
    let stream = ByteStream::from_path(file.path()).await.unwrap();
    client.put_object().bucket("site").key("stream").body(stream).send().await.unwrap();
    let head = client.head_object().bucket("site").key("stream").send().await.unwrap();
    assert_eq!(head.content_length(), Some(300_000));
    server.stop().await;
}
