//! The embedded bucket, as the real `aws` sees it.

use serde_json::Value;

use crate::harness::{World, site};
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

#[test]
fn aws_lists_reads_writes_and_is_refused_as_aws_would() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let bucket = up.bucket();
    let name = bucket.name.as_str();
    world.write("body", "hello");
    world.write("big", vec![7_u8; 20 << 20]);
    let s3 = |args: &[&str]| bucket.aws(&world, args);
    let put = |key: &str, extra: &[&str]| {
        let mut args = vec!["s3api", "put-object", "--bucket", name, "--key", key, "--body", "body"];
        args.extend(extra);
        s3(&args)
    };

    assert!(s3(&["s3", "ls"]).success().stdout.contains(name));
    // Keys of every shape.
    let long = format!("t/{}", "k".repeat(1_022));
    let keys = ["t/a", "t/a/b", "t/a/b/c", "t/..", "t/../x", "t/ü ß+&=%", "t/a//b", long.as_str()];
    for key in keys {
        put(key, &[]).success();
        assert_eq!(bucket.get(&world, key), b"hello", "{key}");
    }
    let mut listed = bucket.keys(&world, "t/");
    let mut expected: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    put(&format!("{long}x"), &[]).code(254).says(&["KeyTooLong"]);

    // Conditional writes.
    put("t/once", &["--if-none-match", "*"]).success();
    put("t/once", &["--if-none-match", "*"]).code(254).says(&["PreconditionFailed"]);
    let head =
        s3(&["s3api", "head-object", "--bucket", name, "--key", "t/once", "--output", "json"]).success();
    let tag = head.json()["ETag"].as_str().unwrap().to_owned();
    put("t/once", &["--if-match", "\"00000000000000000000000000000000\""])
        .code(254)
        .says(&["PreconditionFailed"]);
    put("t/once", &["--if-match", &tag]).success();
    put("t/none", &["--if-match", &tag]).code(254).says(&["NoSuchKey"]);

    // Multipart, and ranges.
    s3(&["s3", "cp", "big", &format!("s3://{name}/t/big")]).success();
    s3(&["s3", "cp", &format!("s3://{name}/t/big"), "copy"]).success();
    assert!(std::fs::read(world.path("copy")).unwrap() == vec![7_u8; 20 << 20], "another content");
    s3(&["s3api", "get-object", "--bucket", name, "--key", "t/a", "--range", "bytes=1-3", "part"]).success();
    assert_eq!(world.read("part"), "ell");

    // Pages and delimiters.
    let listed = s3(&[
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
    ])
    .success()
    .json();
    let prefixes: Vec<&str> =
        listed["CommonPrefixes"].as_array().unwrap().iter().map(|p| p["Prefix"].as_str().unwrap()).collect();
    assert!(prefixes.contains(&"t/a/") && prefixes.contains(&"t/../"), "{prefixes:?}");

    // A presigned request, and its end.
    let url = s3(&["s3", "presign", &format!("s3://{name}/t/a"), "--expires-in", "300"]).success();
    let got = world.program("curl", ".", &["-sf", url.stdout.trim()]).ok();
    assert_eq!(got.stdout, "hello");
    let forged = url.stdout.trim().replace("X-Amz-Expires=300", "X-Amz-Expires=301");
    world.program("curl", ".", &["-sf", &forged]).run().code(22);

    // Wrong credentials, missing keys.
    s3(&["s3api", "get-object", "--bucket", name, "--key", "t/gone", "x"]).code(254).says(&["NoSuchKey"]);
    world
        .program(
            "curl",
            ".",
            &["-s", "-o", "x", "-w", "%{http_code}", &format!("{}/{name}/t/a", bucket.endpoint)],
        )
        .ok()
        .says(&["403"]);
    s3(&["s3", "rm", &format!("s3://{name}/t/a")]).success();
    s3(&["s3api", "get-object", "--bucket", name, "--key", "t/a", "x"]).code(254).says(&["NoSuchKey"]);
    assert_eq!(bucket.get(&world, "t/a/b"), b"hello");
    // The site never noticed.
    assert_eq!(up.get("/about/").status, 200);
}

#[test]
fn checksums_are_checked() {
    let world = World::new();
    site::small(&world, "site");
    let up = world.up("site");
    let bucket = up.bucket();
    world.write("body", "hello");
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"] {
        let args = ["s3api", "put-object", "--bucket", &bucket.name, "--key", "t/sum", "--body", "body"];
        let mut all = args.to_vec();
        all.extend(["--checksum-algorithm", algorithm]);
        let done = bucket.aws(&world, &all);
        // The plain Python client has no CRC32C of its own.
        if !done.stderr.contains("botocore[crt]") && !done.stderr.contains("Missing Dependency") {
            done.success();
        }
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
fn the_bucket_alone() {
    let world = World::new();
    let data = world.path("data");
    let args = ["bucket", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let start = || world.bake(".", &args).vars(&KEYS).start();
    let mut process = start();
    let bucket = bucket_of(&mut process);
    world.write("body", "hello");
    let args = ["s3api", "put-object", "--bucket", &bucket.name, "--key", "k", "--body", "body"];
    bucket.aws(&world, &args).success();
    process.kill();
    // Acknowledged is kept.
    let mut process = start();
    let bucket = bucket_of(&mut process);
    assert_eq!(bucket.get(&world, "k"), b"hello");
}
