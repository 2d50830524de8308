//! The embedded bucket as the real `aws` command line sees it (awscli from PyPI).
//!
//! `./test` installs it, and names it by `BAKE_TEST_AWS`. A missing one fails these tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use origin::bucket::embedded::{Credentials, FolderStore, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The `aws` that `./test` installs.
fn aws() -> PathBuf {
    let installed = || {
        // This test lies in target/PROFILE/deps.
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
        target.join("peers/aws/bin/aws")
    };
    let path = std::env::var_os("BAKE_TEST_AWS").map_or_else(installed, PathBuf::from);
    assert!(path.exists(), "no aws at {}: ./test installs it", path.display());
    path
}

/// A server on a thread of its own, so that the test may wait for processes.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("store");
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let store = FolderStore::open(&folder, ["site"]).unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let keys = Credentials {
                    access_key_id: "AKIDTEST".to_owned(),
                    secret_access_key: "secret".to_owned(),
                };
                let until = Box::pin(async move {
                    let _ = stopped.await;
                });
                serve(listener, store, keys, until).await;
            });
        });
        Self { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread), dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let program = aws();
        Command::new(&program)
            .args(["--endpoint-url", &format!("http://{}", self.address)])
            .args(arguments)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("PYTHONWARNINGS", "ignore")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_ENDPOINT_URL")
            .output()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}; ./test installs it", program.display()))
    }

    /// Standard output of a command that succeeds.
    fn aws(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "aws {arguments:?}: {}\n{}", output.status, both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Both outputs of a command that fails.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "aws {arguments:?} succeeded:\n{}", both(&output));
        // 254: the service answered with an error; 1: a transfer failed; 255: so did the command.
        assert!(matches!(output.status.code(), Some(1 | 254 | 255)), "{}\n{}", output.status, both(&output));
        both(&output)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!((stopped, ended), (Some(Ok(())), Some(Ok(())))), "the server failed");
        }
    }
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(count)
    .collect()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn it_lists_reads_and_writes() {
    let server = Server::start();
    for name in ["tree/index.html", "tree/a", "tree/b/one.css", "tree/b/two words.txt", "tree/ü/☃.md"] {
        write(&server.path(name), name.as_bytes());
    }
    server.aws(&["s3", "sync", "tree", "s3://site/", "--no-progress"]);
    let listed = server.aws(&["s3", "ls", "s3://site/", "--recursive"]);
    let keys: Vec<&str> =
        listed.lines().map(|line| line.splitn(4, char::is_whitespace).last().unwrap().trim()).collect();
    assert_eq!(keys.len(), 5, "{listed}");
    for key in ["a", "b/one.css", "b/two words.txt", "index.html", "ü/☃.md"] {
        assert!(keys.iter().any(|line| line.ends_with(key)), "{key} in {listed}");
    }
    let top = server.aws(&["s3", "ls", "s3://site/"]);
    assert!(top.contains("PRE b/") && top.contains("index.html") && !top.contains("one.css"), "{top}");

    let page = server.aws(&[
        "s3api",
        "list-objects-v2",
        "--bucket",
        "site",
        "--delimiter",
        "/",
        "--query",
        "[Contents[].Key, CommonPrefixes[].Prefix]",
        "--output",
        "json",
    ]);
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page, serde_json::json!([["a", "index.html"], ["b/", "ü/"]]));
    // Pages of two, put together by the command line.
    let all = server.aws(&[
        "s3api",
        "list-objects-v2",
        "--bucket",
        "site",
        "--page-size",
        "2",
        "--query",
        "Contents[].Key",
        "--output",
        "json",
    ]);
    let all: Vec<String> = serde_json::from_str(&all).unwrap();
    assert_eq!(all, ["a", "b/one.css", "b/two words.txt", "index.html", "ü/☃.md"]);
    let first = server.aws(&[
        "s3api",
        "list-objects-v2",
        "--bucket",
        "site",
        "--max-items",
        "1",
        "--query",
        "[Contents[].Key, NextToken]",
        "--output",
        "json",
    ]);
    assert!(first.contains("\"a\""), "{first}");

    server.aws(&["s3", "sync", "s3://site/", "back", "--no-progress"]);
    assert_eq!(std::fs::read(server.path("back/ü/☃.md")).unwrap(), "tree/ü/☃.md".as_bytes());
    assert_eq!(server.aws(&["s3", "cp", "s3://site/b/one.css", "-"]), "tree/b/one.css");
    let head = server.aws(&[
        "s3api",
        "head-object",
        "--bucket",
        "site",
        "--key",
        "b/one.css",
        "--query",
        "ContentType",
    ]);
    assert_eq!(head.trim(), "\"text/css\"");
    server.aws(&["s3", "mv", "s3://site/a", "s3://site/moved", "--no-progress"]);
    server.aws(&["s3", "rm", "s3://site/b/", "--recursive"]);
    let left = server.aws(&["s3", "ls", "s3://site/", "--recursive"]);
    assert_eq!(left.lines().count(), 3, "{left}");
    assert!(server.aws(&["s3", "ls"]).contains("site"));
    server.aws(&["s3", "mb", "s3://another"]);
    server.aws(&["s3", "rb", "s3://another"]);
    assert!(server.refused(&["s3", "rb", "s3://site"]).contains("BucketNotEmpty"));
}

#[test]
fn it_is_refused_a_conditional_write_as_aws_would_refuse_it() {
    let server = Server::start();
    write(&server.path("one"), b"one");
    write(&server.path("two"), b"two");
    let put = |file: &str, condition: &[&str]| {
        let mut arguments = vec!["s3api", "put-object", "--bucket", "site", "--key", "k", "--body", file];
        arguments.extend(condition);
        server.run(&arguments)
    };
    assert!(put("one", &["--if-none-match", "*"]).status.success());
    let second = put("two", &["--if-none-match", "*"]);
    // 254 by version 2 of the command line, 255 by version 1: the service answered with an error.
    assert!(matches!(second.status.code(), Some(254 | 255)), "{}", both(&second));
    assert!(
        both(&second).contains("An error occurred (PreconditionFailed) when calling the PutObject operation"),
        "{}",
        both(&second)
    );
    let etag = server.aws(&[
        "s3api",
        "head-object",
        "--bucket",
        "site",
        "--key",
        "k",
        "--query",
        "ETag",
        "--output",
        "text",
    ]);
    let etag = etag.trim();
    assert!(put("two", &["--if-match", etag]).status.success());
    assert!(both(&put("one", &["--if-match", etag])).contains("PreconditionFailed"));
    assert_eq!(server.aws(&["s3", "cp", "s3://site/k", "-"]), "two");
}

#[test]
fn it_uploads_a_large_file_in_parts() {
    let server = Server::start();
    let bytes = random_bytes(20 << 20);
    write(&server.path("large"), &bytes);
    server.aws(&["s3", "cp", "large", "s3://site/large", "--no-progress"]);
    let etag = server.aws(&["s3api", "head-object", "--bucket", "site", "--key", "large", "--query", "ETag"]);
    assert!(etag.contains("-3"), "three parts of 8 MiB: {etag}");
    server.aws(&["s3", "cp", "s3://site/large", "returned", "--no-progress"]);
    assert!(std::fs::read(server.path("returned")).unwrap() == bytes, "the same bytes came back");
    let range = [
        "s3api",
        "get-object",
        "--bucket",
        "site",
        "--key",
        "large",
        "--range",
        "bytes=10000000-10000009",
        "part",
    ];
    server.aws(&range);
    assert_eq!(std::fs::read(server.path("part")).unwrap(), bytes[10_000_000..10_000_010]);
    assert!(server.aws(&["s3api", "list-multipart-uploads", "--bucket", "site"]).trim_end().len() < 400);
    write(&server.path("part"), b"some text");
    // Each of the checksums that the command line can send.
    for algorithm in ["CRC32", "SHA1", "SHA256"] {
        let put = [
            "s3api",
            "put-object",
            "--bucket",
            "site",
            "--key",
            algorithm,
            "--body",
            "part",
            "--checksum-algorithm",
            algorithm,
        ];
        assert!(server.aws(&put).contains(&format!("Checksum{algorithm}")));
        server.aws(&["s3", "cp", &format!("s3://site/{algorithm}"), "-"]);
    }
    let wrong = [
        "s3api",
        "put-object",
        "--bucket",
        "site",
        "--key",
        "w",
        "--body",
        "part",
        "--checksum-crc32",
        "AAAAAA==",
    ];
    assert!(server.refused(&wrong).contains("BadDigest"));
    let wrong = [
        "s3api",
        "put-object",
        "--bucket",
        "site",
        "--key",
        "w",
        "--body",
        "part",
        "--content-md5",
        "AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    assert!(server.refused(&wrong).contains("BadDigest"));
    assert!(server.refused(&["s3api", "head-object", "--bucket", "site", "--key", "w"]).contains("404"));
}

#[test]
fn its_presigned_requests_expire() {
    let server = Server::start();
    write(&server.path("one"), b"presigned");
    server.aws(&["s3", "cp", "one", "s3://site/a b/one", "--no-progress"]);
    let get = |url: &str| {
        let output =
            Command::new("curl").args(["--silent", "--write-out", " %{http_code}", url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // Left alone, version 1 of the command line still presigns by Signature Version 2.
    for version in ["s3", "s3v4"] {
        write(
            &server.path(".aws/config"),
            format!("[default]\ns3 =\n  signature_version = {version}\n").as_bytes(),
        );
        let url = server.aws(&["s3", "presign", "s3://site/a b/one", "--expires-in", "60"]);
        assert_eq!(get(url.trim()), "presigned 200", "{url}");
        let other = url.trim().replace("/one?", "/two?");
        assert!(get(&other).contains("SignatureDoesNotMatch"), "{other}");
        let short = server.aws(&["s3", "presign", "s3://site/a b/one", "--expires-in", "1"]);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let answer = get(short.trim());
            if answer.ends_with(" 403") {
                assert!(answer.contains("AccessDenied") && answer.contains("expired"), "{answer}");
                break;
            }
            assert!(std::time::Instant::now() < deadline, "still valid: {answer}");
        }
    }
}
