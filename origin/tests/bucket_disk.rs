//! The embedded bucket on disks that refuse: full ones and read-only ones.
//!
//! Permissions prove nothing to root, so each test runs itself again in a mount namespace of its own, over a small
//! tmpfs. That needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use origin::bucket::embedded::{Credentials, FolderStore, StoreError, serve};
use origin::bucket::s3::{Config, S3Bucket};
use release::bucket::{Bucket, BucketError, Written};
use tokio::net::TcpListener;

const DISK: &str = "BAKE_TEST_DISK";

/// In the namespace: the folder of the tmpfs. Outside: runs the test named `test` there, and returns `None`.
fn disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let dir = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=2m none \"$BAKE_TEST_DISK\" && exec \"$0\" --exact \"$1\" --nocapture";
    // In a user namespace, whoever makes it may mount.
    let user = (!rustix::process::getuid().is_root()).then_some("--map-root-user");
    let output = Command::new("unshare")
        .args(user)
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(DISK, dir.path())
        .output()
        .expect("unshare, of util-linux");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
    None
}

async fn bucket(folder: &Path) -> S3Bucket {
    let store = FolderStore::open(folder, ["site"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let keys = Credentials { access_key_id: "AKIDTEST".to_owned(), secret_access_key: "secret".to_owned() };
    tokio::spawn(serve(listener, store, keys.clone(), Box::pin(std::future::pending())));
    S3Bucket::new(Config {
        endpoint: Some(endpoint),
        bucket: "site".to_owned(),
        credentials: Some(keys),
        ..Config::default()
    })
    .await
    .unwrap()
}

fn files(folder: &Path) -> usize {
    let temps = std::fs::read_dir(folder.join(".bakehouse/temp")).unwrap();
    temps.map(|temp| std::fs::read_dir(temp.unwrap().path()).unwrap().count()).sum()
}

fn remount(disk: &Path, how: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_what_was() {
    let Some(disk) = disk("a_full_disk_is_told_and_leaves_what_was") else { return };
    let folder = disk.join("store");
    let bucket = bucket(&folder).await;
    bucket.put("k", Bytes::from_static(b"before")).await.unwrap();
    for attempt in
        [bucket.put("k", vec![1; 3 << 20].into()).await, bucket.put("l", vec![1; 3 << 20].into()).await]
    {
        let error = attempt.unwrap_err();
        assert!(
            matches!(&error, BucketError::Full { reason, .. }
                if reason.contains("507 InsufficientStorage") && reason.contains("No space left")
                    && reason.contains("free space")),
            "{error}"
        );
    }
    let error = bucket.create("m", vec![1; 3 << 20].into()).await.unwrap_err();
    assert!(matches!(error, BucketError::Full { .. }), "{error}");
    assert_eq!(files(&folder), 1, "only the lock: partial files are gone");
    assert_eq!(bucket.get("k", 100).await.unwrap().unwrap().bytes, "before");
    assert_eq!(bucket.list("", None, 10).await.unwrap().keys, ["k"]);
    assert_eq!(bucket.create("m", Bytes::from_static(b"small")).await.unwrap(), Written::Yes);
}

#[tokio::test]
async fn a_read_only_folder_is_told_and_still_read() {
    let Some(disk) = disk("a_read_only_folder_is_told_and_still_read") else { return };
    let folder = disk.join("store");
    let bucket = bucket(&folder).await;
    bucket.put("k", Bytes::from_static(b"before")).await.unwrap();
    // The server's own lock is open for writing, and so the kernel refuses to remount: what is mounted over it is not.
    let bind = Command::new("mount").arg("--bind").arg(&disk).arg(&disk).status().unwrap();
    assert!(bind.success());
    remount(&disk, "bind,ro");
    let error = bucket.put("k", Bytes::from_static(b"after")).await.unwrap_err();
    assert!(
        matches!(&error, BucketError::Denied { reason, .. }
            if reason.contains("AccessDenied") && reason.contains("Read-only file system") && reason.contains("writable")),
        "{error}"
    );
    let error = bucket.delete("k").await.unwrap_err();
    assert!(matches!(error, BucketError::Denied { .. }), "{error}");
    assert_eq!(bucket.get("k", 100).await.unwrap().unwrap().bytes, "before");
    let refused = FolderStore::open(&folder, ["site"]).unwrap_err();
    assert!(matches!(&refused, StoreError::Io { .. }), "{refused}");
    assert!(refused.hint().unwrap().contains("writable"), "{refused}");
}
