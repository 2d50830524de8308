//! The embedded bucket, as the real `aws` sees it.

use serde_json::Value;

use crate::harness::{Bucket, Done, World, site};
use crate::roles::{KEYS, bucket_of};

#[test]
fn the_journal_of_a_running_site_can_be_read() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    world.write("site/content/about.md", site::page("About", "Changed."));
    up.wait_text("/about/", "Changed.");
    up.bake(&["purge", "--url", "/about/"]).success();
    let bucket = up.bucket();
    let keys = bucket.keys(&world, "sites/");
    let mut journal: Vec<&String> = keys.iter().filter(|k| k.contains("/journal/")).collect();
    journal.sort();
    assert_eq!(journal.len(), 3, "{journal:?}");
    let mut kinds = Vec::new();
    for (i, key) in journal.iter().enumerate() {
        // Dense, zero-padded, from 1.
        let seq = key.rsplit('/').next().unwrap();
        assert!(seq.starts_with('0') && seq.parse() == Ok(i + 1), "{key}");
        let entry: Value = serde_json::from_slice(&bucket.get(&world, key)).unwrap();
        assert_eq!(entry["prev"].is_null(), i == 0, "{entry}");
        kinds.extend(
            entry["effects"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(kinds, ["activate", "activate", "purge"]);
    for kind in ["/releases/", "/trees/", "/blobs/"] {
        assert!(keys.iter().any(|k| k.contains(kind)), "nothing in {kind}: {keys:?}");
    }
}

/// A running bucket with credentials of its own, and `body` to put into it.
fn alone(world: &World) -> (crate::harness::Process, Bucket) {
    let data = world.path("data");
    let args = ["bucket", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut process = world.bake(".", &args).vars(&KEYS).start();
    let bucket = bucket_of(&mut process);
    world.write("body", "hello");
    (process, bucket)
}

fn put(world: &World, bucket: &Bucket, key: &str, extra: &[&str]) -> Done {
    let mut args = vec!["s3api", "put-object", "--bucket", &bucket.name, "--key", key, "--body", "body"];
    args.extend(extra);
    bucket.aws(world, &args)
}

#[test]
fn aws_writes_reads_and_lists_keys_of_every_shape() {
    let world = World::new();
    let (_process, bucket) = alone(&world);
    assert!(bucket.aws(&world, &["s3", "ls"]).success().stdout.contains(&bucket.name));
    let long = format!("t/{}", "k".repeat(1_022));
    let keys = ["t/a", "t/a/b", "t/a/b/c", "t/..", "t/../x", "t/ü ß+&=%", "t/a//b", long.as_str()];
    for key in keys {
        put(&world, &bucket, key, &[]).success();
    }
    for key in ["t/a", "t/a/b", "t/..", "t/ü ß+&=%", long.as_str()] {
        assert_eq!(bucket.get(&world, key), b"hello", "{key}");
    }
    let mut listed = bucket.keys(&world, "t/");
    let mut expected: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    put(&world, &bucket, &format!("{long}x"), &[]).failure().says(&["KeyTooLong"]);
    // Removing one leaves what lies beneath.
    bucket.aws(&world, &["s3", "rm", &format!("s3://{}/t/a", bucket.name)]).success();
    bucket
        .aws(&world, &["s3api", "get-object", "--bucket", &bucket.name, "--key", "t/a", "x"])
        .failure()
        .says(&["NoSuchKey"]);
    assert_eq!(bucket.get(&world, "t/a/b"), b"hello");
}

#[test]
fn aws_is_refused_a_conditional_write_as_aws_would_refuse_it() {
    let world = World::new();
    let (_process, bucket) = alone(&world);
    put(&world, &bucket, "once", &["--if-none-match", "*"]).success();
    put(&world, &bucket, "once", &["--if-none-match", "*"]).failure().says(&["PreconditionFailed"]);
    let args = ["s3api", "head-object", "--bucket", &bucket.name, "--key", "once", "--output", "json"];
    let tag = bucket.aws(&world, &args).success().json()["ETag"].as_str().unwrap().to_owned();
    let other = "\"00000000000000000000000000000000\"";
    put(&world, &bucket, "once", &["--if-match", other]).failure().says(&["PreconditionFailed"]);
    put(&world, &bucket, "once", &["--if-match", &tag]).success();
    put(&world, &bucket, "none", &["--if-match", &tag]).failure().says(&["NoSuchKey"]);
}

#[test]
fn aws_sends_in_parts_reads_ranges_and_pages_through_listings() {
    let world = World::new();
    let (_process, bucket) = alone(&world);
    let name = bucket.name.as_str();
    world.write("big", vec![7_u8; 20 << 20]);
    let at = format!("s3://{name}/t/big");
    bucket.aws(&world, &["s3", "cp", "--quiet", "big", &at]).success();
    bucket.aws(&world, &["s3", "cp", "--quiet", &at, "copy"]).success();
    assert!(std::fs::read(world.path("copy")).unwrap() == vec![7_u8; 20 << 20], "another content");
    for key in ["t/a", "t/a/b", "t/b/c", "t/c"] {
        put(&world, &bucket, key, &[]).success();
    }
    let args = ["s3api", "get-object", "--bucket", name, "--key", "t/a", "--range", "bytes=1-3", "part"];
    bucket.aws(&world, &args).success();
    assert_eq!(world.read("part"), "ell");
    let args = [
        "s3api",
        "list-objects-v2",
        "--bucket",
        name,
        "--prefix",
        "t/",
        "--delimiter",
        "/",
        "--page-size",
        "2",
        "--output",
        "json",
    ];
    let listed = bucket.aws(&world, &args).success().json();
    let texts = |list: &str, key: &str| -> Vec<String> {
        listed[list].as_array().unwrap().iter().map(|p| p[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("CommonPrefixes", "Prefix"), ["t/a/", "t/b/"]);
    assert_eq!(texts("Contents", "Key"), ["t/a", "t/big", "t/c"]);
}

#[test]
fn only_who_has_the_keys_gets_in() {
    let world = World::new();
    let (_process, bucket) = alone(&world);
    put(&world, &bucket, "k", &[]).success();
    let at = format!("s3://{}/k", bucket.name);
    let url = bucket.aws(&world, &["s3", "presign", &at, "--expires-in", "300"]).success();
    let url = url.stdout.trim();
    let status = |url: &str| {
        let args = ["-s", "-o", "got", "-w", "%{http_code}", url];
        world.program("curl", ".", &args).ok().stdout
    };
    assert_eq!(status(url), "200");
    assert_eq!(world.read("got"), "hello");
    // A longer life than was signed for.
    let forged = url.replace("X-Amz-Expires=300", "X-Amz-Expires=301").replace("Expires=", "Expires=1");
    assert_ne!(forged, url);
    assert_eq!(status(&forged), "403");
    assert_eq!(status(&format!("{}/{}/k", bucket.endpoint, bucket.name)), "403");
    let stranger = Bucket::new(&bucket.endpoint, &bucket.name, KEYS[0].1, "another-secret");
    stranger.aws(&world, &["s3", "ls", &at]).failure().says(&["SignatureDoesNotMatch"]);
}

#[test]
fn checksums_are_checked() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let bucket = up.bucket();
    world.write("body", "hello");
    for algorithm in ["CRC32", "SHA1", "SHA256"] {
        let args = ["s3api", "put-object", "--bucket", &bucket.name, "--key", "t/sum", "--body", "body"];
        let mut all = args.to_vec();
        all.extend(["--checksum-algorithm", algorithm]);
        bucket.aws(&world, &all).success();
    }
    let wrong = "AAAAAA==";
    let args = [
        "s3api",
        "put-object",
        "--bucket",
        &bucket.name,
        "--key",
        "t/bad",
        "--body",
        "body",
        "--checksum-crc32",
        wrong,
    ];
    let done = bucket.aws(&world, &args);
    assert!(!done.status.success(), "a wrong checksum was accepted: {}", done.stdout);
    let keys = bucket.keys(&world, "t/");
    assert!(!keys.contains(&"t/bad".to_owned()), "{keys:?}");
}

#[test]
fn a_killed_bucket_keeps_what_it_acknowledged() {
    let world = World::new();
    let (mut process, bucket) = alone(&world);
    put(&world, &bucket, "k", &[]).success();
    process.kill();
    let (_process, bucket) = alone(&world);
    assert_eq!(bucket.get(&world, "k"), b"hello");
}
