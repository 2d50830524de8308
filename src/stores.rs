//! The stores that the configuration names, opened and proved.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use origin::bucket::embedded::Credentials;
use origin::bucket::probe::probe;
use origin::bucket::s3::{Checksums, Config as S3Config, S3Bucket};
use origin::journal::Journal;
use origin::publish::Publisher;
use release::bucket::Bucket;
use release::keys::Site;
use release::reader::Reader;

use crate::config::{Config, Secret, Store};
use crate::failure::{self, HintExt};

/// Flags of every role that talks to a bucket.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreArgs {
    /// URL of the S3-compatible store [default: AWS's, or what AWS variables and profiles say]
    #[arg(long, env = "BAKE_BUCKET_ENDPOINT", value_name = "URL")]
    bucket_endpoint: Option<String>,
    /// Name of the bucket
    #[arg(long, env = "BAKE_BUCKET_NAME", value_name = "NAME")]
    bucket_name: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "BAKE_BUCKET_REGION", value_name = "REGION")]
    bucket_region: Option<String>,
    /// The operator's word that only one process ever writes; for stores without conditional writes
    #[arg(long, env = "BAKE_BUCKET_SINGLE_WRITER")]
    single_writer: bool,
}

/// A bucket for everything, and one for the journal, which may be the same.
#[derive(Debug, Clone)]
pub struct Stores {
    /// Blobs, trees, releases.
    pub bucket: Arc<dyn Bucket>,
    /// The journal and its checkpoint.
    pub journal: Arc<dyn Bucket>,
}

impl Stores {
    /// A publisher of a site, for a process that has no origin.
    pub async fn publisher(&self, site: &Site) -> anyhow::Result<Arc<Publisher>> {
        let journal = Journal::open(self.journal.clone(), site.clone(), "bake".to_owned(), None)
            .await
            .map_err(|e| failure::hinted(e.clone(), e.hint()))?;
        let reader = Reader::new(self.bucket.clone(), site.clone(), NODES_BYTES_MAX);
        Ok(Publisher::new(journal, Arc::new(reader)))
    }
}

/// Bytes of manifest nodes that a publisher keeps in memory.
const NODES_BYTES_MAX: u64 = 64 << 20;

impl StoreArgs {
    /// What flags and configuration say together.
    pub fn merge(&self, config: &Config) -> Store {
        let mut store = config.bucket.clone();
        let take = |into: &mut Option<String>, from: &Option<String>| {
            if from.is_some() {
                into.clone_from(from);
            }
        };
        take(&mut store.endpoint, &self.bucket_endpoint);
        take(&mut store.name, &self.bucket_name);
        take(&mut store.region, &self.bucket_region);
        store.single_writer |= self.single_writer;
        store
    }
}

/// Opens the stores; for one who `writes`, proves that the journal's keeps its promises.
pub async fn open(store: &Store, config: &Config, writes: bool) -> anyhow::Result<Stores> {
    let bucket = connect(store).await?;
    let (journal, journal_store) = match &config.journal {
        Some(own) => (connect(own).await?, own),
        None => (bucket.clone(), store),
    };
    if writes {
        prove(&journal, journal_store.single_writer).await?;
    }
    Ok(Stores { bucket: Arc::new(bucket), journal: Arc::new(journal) })
}

async fn connect(store: &Store) -> anyhow::Result<S3Bucket> {
    let bucket = store
        .name
        .clone()
        .context("no bucket is named")
        .hint(|| "give --bucket-name, or `name` in the table [bucket] of bakehouse.toml".into())?;
    let credentials = match (&store.access_key_id, &store.secret_access_key) {
        (Some(id), Some(Secret(secret))) => {
            Some(Credentials { access_key_id: id.clone(), secret_access_key: secret.clone() })
        }
        (None, None) => None,
        _ => {
            return Err(anyhow::anyhow!(
                "only one of access_key_id and secret_access_key is given for `{bucket}`"
            ))
            .hint(|| "give both, or neither and let the AWS variables or a profile say".into());
        }
    };
    let checksums = if store.checksums { Checksums::WhenSupported } else { Checksums::WhenRequired };
    let config = S3Config {
        endpoint: store.endpoint.clone(),
        region: store.region.clone(),
        bucket,
        credentials,
        path_style: None,
        checksums,
    };
    S3Bucket::new(config).await.context("the certificates that this machine trusts cannot be read")
}

/// Fails unless the store keeps the promises that a journal needs.
async fn prove(bucket: &S3Bucket, single_writer: bool) -> anyhow::Result<()> {
    let verdict = probe(bucket, SystemTime::now()).await;
    let result = verdict.and_then(|verdict| verdict.require(single_writer));
    result.map_err(|error| {
        let hint = error.hint();
        failure::hinted(error, hint)
    })
}
