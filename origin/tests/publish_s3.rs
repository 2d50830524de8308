//! Publishing and serving through the built-in bucket, over S3's own protocol.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]

use std::sync::Arc;

use origin::bucket::embedded::{Credentials, FolderStore, serve};
use origin::bucket::s3::{Config, S3Bucket};
use origin::publish::{About, Done, Outcome, Publisher};
use origin::{Error, Origin, OriginConfig};
use release::File;
use release::keys::Site;
use release::record::Trigger;
use tokio::net::TcpListener;

struct World {
    _folder: tempfile::TempDir,
    endpoint: String,
    credentials: Credentials,
}

fn site() -> Site {
    "main".parse().unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path(), ["bakehouse"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let credentials = Credentials { access_key_id: "key".into(), secret_access_key: "secret".into() };
        tokio::spawn(serve(listener, store, credentials.clone(), Box::pin(std::future::pending())));
        Self { _folder: folder, endpoint, credentials }
    }

    /// An origin of its own, as another process would have it.
    async fn origin(&self, name: &str) -> Arc<Origin> {
        let config = Config {
            endpoint: Some(self.endpoint.clone()),
            bucket: "bakehouse".into(),
            credentials: Some(self.credentials.clone()),
            ..Config::default()
        };
        let bucket = Arc::new(S3Bucket::new(config).await.unwrap());
        Origin::new(OriginConfig::new(name, bucket, "token")).unwrap()
    }
}

fn page(n: usize, text: &str) -> File {
    File {
        path: format!("blog/{n}/index.html"),
        body: format!("<h1>{n}</h1><p>{text}</p>").repeat(20).into(),
        status: 200,
        fields: vec![("content-type".into(), "text/html; charset=utf-8".into())],
        groups: vec![],
        immutable: false,
    }
}

async fn publish(publisher: &Arc<Publisher>, files: Vec<File>) -> Result<Done, Error> {
    let draft = publisher.begin(Trigger::Watch, Arc::default()).await?;
    let about = About {
        created: origin::clock::wall(),
        author: "someone".into(),
        message: String::new(),
        hosts: vec![],
        pages: files.len() as u64,
        renderer: "test".into(),
        next_change: None,
    };
    let sink = draft.sink();
    let handed = tokio::task::spawn_blocking(move || files.into_iter().try_for_each(|f| sink.file(f)));
    handed.await.unwrap()?;
    match draft.finish(about).await? {
        Outcome::Published(done) => Ok(done),
        Outcome::Unchanged(release) => panic!("{release} is unchanged"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_finds_what_was_published() {
    let world = World::new().await;
    let first = world.origin("first").await.open(&site()).await.unwrap();
    let mut files: Vec<File> = (0..300).map(|n| page(n, "old")).collect();
    publish(first.publisher(), files.clone()).await.unwrap();
    files[4] = page(4, "new");
    let done = publish(first.publisher(), files.clone()).await.unwrap();
    assert_eq!(done.diff.changed, ["blog/4/index.html"]);

    let second = world.origin("second").await.open(&site()).await.unwrap();
    assert_eq!(second.journal().seen().state, first.journal().seen().state);
    files[5] = page(5, "newer");
    let done = publish(second.publisher(), files).await.unwrap();
    assert_eq!(done.diff.changed, ["blog/5/index.html"]);
    assert!(done.uploaded <= 5, "{} objects were uploaded", done.uploaded);
    assert_eq!(second.releases(10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_that_race_leave_one_history_and_lose_nothing() {
    let world = World::new().await;
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let origin = world.origin(&writer.to_string()).await;
        tasks.push(tokio::spawn(async move {
            let site = origin.open(&site()).await.unwrap();
            let mut committed = Vec::new();
            for round in 0..5 {
                let text = format!("{writer} {round}");
                loop {
                    match publish(site.publisher(), vec![page(writer, &text)]).await {
                        Ok(done) => break committed.push(done.committed.seq),
                        Err(Error::Outdated { .. }) => {
                            site.journal().look().await.unwrap();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            committed
        }));
    }
    let mut committed = Vec::new();
    for task in tasks {
        committed.extend(task.await.unwrap());
    }
    committed.sort_unstable();
    assert_eq!(committed, (1..=20).collect::<Vec<u64>>());
    let fresh = world.origin("fresh").await.open(&site()).await.unwrap();
    assert_eq!(fresh.journal().seen().state.seq, 20);
}
