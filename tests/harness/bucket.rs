//! A bucket as an operator sees it: an endpoint with credentials, open to the real `aws`.

use std::path::PathBuf;

use origin::bucket::embedded::Credentials;
use origin::bucket::s3::{Config, S3Bucket};
use release::journal::{JournalEntry, State};
use release::log;
use serde_json::Value;

use super::process::Done;
use super::world::World;

/// How to reach a bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// URL of the S3 endpoint.
    pub endpoint: String,
    /// Name of the bucket.
    pub name: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Bucket {
    /// From the `bucket` of an `up.json`.
    pub fn from_json(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("no {key} in {json}")).to_owned();
        Self {
            endpoint: text("endpoint"),
            name: text("name"),
            region: text("region"),
            access_key_id: text("access_key_id"),
            secret_access_key: text("secret_access_key"),
        }
    }

    /// One whose credentials are known.
    pub fn new(endpoint: &str, name: &str, access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            name: name.to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
        }
    }

    /// The same bucket by another address.
    pub fn at(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self.clone() }
    }

    /// The variables by which `bake` finds it.
    pub fn vars(&self) -> Vec<(String, String)> {
        [
            ("BAKE_BUCKET_ENDPOINT", &self.endpoint),
            ("BAKE_BUCKET_NAME", &self.name),
            ("BAKE_BUCKET_REGION", &self.region),
            ("BAKE_BUCKET_ACCESS_KEY_ID", &self.access_key_id),
            ("BAKE_BUCKET_SECRET_ACCESS_KEY", &self.secret_access_key),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .to_vec()
    }

    /// Runs the real `aws` on it.
    pub fn aws(&self, world: &World, args: &[&str]) -> Done {
        let program = aws();
        let mut all = vec!["--endpoint-url", &self.endpoint, "--region", &self.region];
        all.extend(args);
        world
            .program(program.to_str().unwrap(), ".", &all)
            .var("AWS_ACCESS_KEY_ID", &self.access_key_id)
            .var("AWS_SECRET_ACCESS_KEY", &self.secret_access_key)
            .var("AWS_EC2_METADATA_DISABLED", "true")
            .var("AWS_PAGER", "")
            .run()
    }

    /// The journal of the site, read by the product's own client, and what it comes to.
    ///
    /// # Panics
    /// Where it has forked.
    pub fn journal(&self) -> (State, Vec<JournalEntry>) {
        self.journal_of("main")
    }

    /// The same of another site.
    ///
    /// # Panics
    /// Where it has forked.
    pub fn journal_of(&self, site: &str) -> (State, Vec<JournalEntry>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bucket = S3Bucket::new(Config {
                endpoint: Some(self.endpoint.clone()),
                region: Some(self.region.clone()),
                bucket: self.name.clone(),
                credentials: Some(Credentials {
                    access_key_id: self.access_key_id.clone(),
                    secret_access_key: self.secret_access_key.clone(),
                }),
                ..Config::default()
            })
            .await
            .unwrap();
            let (mut state, mut entries) = (State::default(), Vec::new());
            loop {
                let more = log::advance(&bucket, &site.parse().unwrap(), &mut state).await;
                let more = more.expect("the journal never forks");
                if more.is_empty() {
                    return (state, entries);
                }
                entries.extend(more.into_iter().map(|numbered| numbered.entry));
            }
        })
    }

    /// The bytes of an object, through `aws`.
    pub fn get(&self, world: &World, key: &str) -> Vec<u8> {
        let to = world.path("object");
        self.aws(world, &["s3api", "get-object", "--bucket", &self.name, "--key", key, to.to_str().unwrap()])
            .success();
        std::fs::read(to).unwrap()
    }

    /// All keys with a prefix, through `aws`.
    pub fn keys(&self, world: &World, prefix: &str) -> Vec<String> {
        let args =
            ["s3api", "list-objects-v2", "--bucket", &self.name, "--prefix", prefix, "--output", "json"];
        let listed = self.aws(world, &args).success();
        let json: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
        let objects = json["Contents"].as_array().cloned().unwrap_or_default();
        objects.iter().map(|o| o["Key"].as_str().unwrap().to_owned()).collect()
    }
}

/// The `aws` that `./test` installs.
fn aws() -> PathBuf {
    let path = std::env::var_os("BAKE_TEST_AWS").map(PathBuf::from).unwrap_or_else(|| {
        // The binary lies in target/PROFILE.
        let target = PathBuf::from(env!("CARGO_BIN_EXE_bake")).ancestors().nth(2).unwrap().to_owned();
        target.join("peers/aws/bin/aws")
    });
    assert!(path.exists(), "no aws at {}: ./test installs it", path.display());
    path
}
