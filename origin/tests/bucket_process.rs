//! The embedded bucket and its client as processes: killed at any moment, racing on one folder, and finding their
//! credentials where the AWS tools do.
//!
//! Each test runs this program again, for one test alone, with `BAKE_TEST_PART` saying that it plays the other part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use origin::bucket::embedded::{Credentials, FolderStore, serve};
use origin::bucket::s3::{Config, S3Bucket};
use release::bucket::{Bucket, BucketError, Written};
use tokio::net::TcpListener;

const PART: &str = "BAKE_TEST_PART";
const FOLDER: &str = "BAKE_TEST_FOLDER";

fn is_part() -> bool {
    std::env::var_os(PART).is_some()
}

fn keys() -> Credentials {
    Credentials { access_key_id: "AKIDTEST".to_owned(), secret_access_key: "secret".to_owned() }
}

fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(PART, "1").stdout(Stdio::piped());
    command
}

/// Starts the server of a folder; its endpoint.
async fn start(folder: &Path) -> String {
    let store = FolderStore::open(folder, ["site"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, store, keys(), Box::pin(std::future::pending())));
    endpoint
}

async fn client(endpoint: String) -> S3Bucket {
    let (bucket, credentials) = ("site".to_owned(), Some(keys()));
    S3Bucket::new(Config { endpoint: Some(endpoint), bucket, credentials, ..Config::default() })
        .await
        .unwrap()
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// The lines that a part prints for its parent; the test harness puts words of its own in front of the first.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output: ChildStdout = child.stdout.take().unwrap();
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    lines.filter_map(|line| Some(line.split_once("say ")?.1.to_owned()))
}

fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "say {text}").and_then(|()| output.flush()).unwrap();
}

fn content(key: &str, number: u64) -> String {
    format!("{key} {number} ").repeat(1 + (number as usize * 37) % 4000)
}

/// Writes and says what was acknowledged, until it is killed.
async fn write_forever() {
    let bucket = client(start(&folder()).await).await;
    let run: u128 = rand::random();
    for round in 0_u64.. {
        let new = format!("new/{run}/{round}");
        let (created, overwritten) = tokio::join!(
            bucket.create(&new, Bytes::from(content(&new, round))),
            bucket.put("same", Bytes::from(content("same", round))),
        );
        assert_eq!(created.unwrap(), Written::Yes);
        overwritten.unwrap();
        say(&format!("{new} {round}"));
        say(&format!("same {round}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    if is_part() {
        return write_forever().await;
    }
    const ROUNDS: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut command = again("a_killed_server_has_lost_nothing_that_it_acknowledged");
        let mut child = command.env(FOLDER, dir.path()).spawn().unwrap();
        // Each run counts from 0 again.
        acknowledged.remove("same");
        let (mut said, kill_at) = (0, 3 + 7 * round);
        for line in lines(&mut child) {
            // A line may be cut by the signal.
            if let Some((key, Ok(number))) = line.split_once(' ').map(|(key, number)| (key, number.parse())) {
                acknowledged.insert(key.to_owned(), number);
            }
            said += 1;
            if said == kill_at {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said >= kill_at, "it ended by itself");

        let bucket = client(start(dir.path()).await).await;
        for (key, number) in &acknowledged {
            let object = bucket.get(key, 1 << 20).await.unwrap().unwrap_or_else(|| panic!("{key} is lost"));
            let text = std::str::from_utf8(&object.bytes).unwrap();
            let found: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(
                if key == "same" { found >= *number } else { found == *number },
                "{key}: {found}, not {number}"
            );
            assert!(text == content(key, found), "{key} is torn");
        }
    }
    // The servers that this process started are alive: theirs are the only temporary folders.
    let temps = std::fs::read_dir(dir.path().join(".bakehouse/temp")).unwrap().count();
    assert_eq!(temps, ROUNDS, "what the killed ones left is removed");
}

async fn serve_until_the_parent_ends() {
    say(&start(&folder()).await);
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    input.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_creators_at_two_processes_one_wins() {
    if is_part() {
        return serve_until_the_parent_ends().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut children, mut buckets) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut command = again("of_creators_at_two_processes_one_wins");
        let mut child = command.env(FOLDER, dir.path()).stdin(Stdio::piped()).spawn().unwrap();
        let mut said = lines(&mut child);
        let endpoint = said.next().unwrap();
        for _ in 0..8 {
            buckets.push(client(endpoint.clone()).await);
        }
        children.push((child, said));
    }
    for race in 0..50 {
        let key = format!("race/{race}");
        let attempts = buckets.iter().map(|bucket| bucket.create(&key, Bytes::from_static(b"first")));
        assert_eq!(wins(futures_util::future::join_all(attempts).await), 1, "creations of race {race}");
        let tag = buckets[0].get(&key, 100).await.unwrap().unwrap().tag;
        let attempts = buckets.iter().enumerate().map(|(at, bucket)| {
            let (key, tag) = (&key, &tag);
            async move { bucket.replace(key, Bytes::from(format!("second by {at}")), tag).await }
        });
        assert_eq!(wins(futures_util::future::join_all(attempts).await), 1, "replacements of race {race}");
    }
    for (mut child, said) in children {
        drop(child.stdin.take());
        said.for_each(drop);
        assert!(child.wait().unwrap().success());
    }
}

fn wins(outcomes: Vec<Result<Written, BucketError>>) -> usize {
    outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == Written::Yes).count()
}

async fn write_with_the_standard_chain() {
    let bucket = S3Bucket::new(Config { bucket: "site".to_owned(), ..Config::default() }).await.unwrap();
    let key = std::env::var("BAKE_TEST_KEY").unwrap();
    match bucket.put(&key, Bytes::from_static(b"by the chain")).await {
        Ok(()) => say("written"),
        Err(error) => say(&error.to_string().replace('\n', " ")),
    }
}

/// Answers each request with the keys, as a container's agent does.
async fn agent() -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const BODY: &str = r#"{"AccessKeyId":"AKIDTEST","SecretAccessKey":"secret","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let fields = format!("content-type: application/json\r\ncontent-length: {}", BODY.len());
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\nconnection: close\r\n\r\n{BODY}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/keys")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_found_where_the_aws_tools_find_them() {
    if is_part() {
        return write_with_the_standard_chain().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let endpoint = start(dir.path()).await;
    let bucket = client(endpoint.clone()).await;
    let (config, secrets) = (dir.path().join("config"), dir.path().join("credentials"));
    std::fs::write(&config, format!("[profile baker]\nregion = eu-north-1\nendpoint_url = {endpoint}\n"))
        .unwrap();
    std::fs::write(&secrets, "[baker]\naws_access_key_id = AKIDTEST\naws_secret_access_key = secret\n")
        .unwrap();
    let (config, secrets) = (config.to_str().unwrap(), secrets.to_str().unwrap());
    let agent = agent().await;
    let at = ("AWS_ENDPOINT_URL", &endpoint[..]);
    let places = [
        (
            "variables",
            vec![("AWS_ACCESS_KEY_ID", "AKIDTEST"), ("AWS_SECRET_ACCESS_KEY", "secret"), at],
            "written",
        ),
        (
            "profile",
            vec![
                ("AWS_CONFIG_FILE", config),
                ("AWS_SHARED_CREDENTIALS_FILE", secrets),
                ("AWS_PROFILE", "baker"),
            ],
            "written",
        ),
        ("container", vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent), at], "written"),
        ("nowhere", vec![at], "no credentials"),
    ];
    for (name, variables, expected) in places {
        let mut command = again("credentials_are_found_where_the_aws_tools_find_them");
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("AWS_") {
                command.env_remove(variable);
            }
        }
        command.env("HOME", dir.path()).env("AWS_EC2_METADATA_DISABLED", "true").env("BAKE_TEST_KEY", name);
        let mut child = command.envs(variables).spawn().unwrap();
        let said = tokio::task::spawn_blocking(move || {
            let said: Vec<String> = lines(&mut child).collect();
            child.wait().unwrap();
            said.join(" ")
        });
        let said = said.await.unwrap();
        assert!(said.contains(expected), "{name}: {said}");
        assert_eq!(bucket.get(name, 100).await.unwrap().is_some(), expected == "written", "{name}");
    }
}
