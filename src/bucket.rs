//! `bake bucket`: the embedded S3 server alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use origin::bucket::embedded::{self, Credentials, FolderStore};

use crate::data_folder::DataFolder;
use crate::failure::HintExt;
use crate::print::say;
use crate::{listen, stop};

/// Serve a folder as an S3-compatible bucket
///
/// The keys are those of BAKE_BUCKET_ACCESS_KEY_ID and BAKE_BUCKET_SECRET_ACCESS_KEY, or are made at
/// the first start and kept in DATA/keys.json.
#[derive(Debug, clap::Args)]
pub struct BucketArgs {
    /// Folder for objects and keys
    #[arg(long, env = "BAKE_DATA", default_value = ".bakehouse", value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes any
    #[arg(long, env = "BAKE_BUCKET_LISTEN", default_value = "127.0.0.1:8082", value_name = "ADDR", value_parser = listen::address)]
    listen: SocketAddr,
    /// Name of the bucket, made where it is missing
    #[arg(long, env = "BAKE_BUCKET_NAME", default_value = "bakehouse", value_name = "NAME")]
    bucket_name: String,
    /// Access key
    #[arg(long, env = "BAKE_BUCKET_ACCESS_KEY_ID", value_name = "KEY")]
    access_key_id: Option<String>,
    /// Secret key
    #[arg(
        long,
        env = "BAKE_BUCKET_SECRET_ACCESS_KEY",
        hide_env_values = true,
        requires = "access_key_id",
        value_name = "SECRET"
    )]
    secret_access_key: Option<String>,
}

/// Runs the command.
pub async fn run(args: BucketArgs) -> anyhow::Result<()> {
    let data = DataFolder::open(&args.data)?;
    let credentials = match (args.access_key_id, args.secret_access_key) {
        (Some(access_key_id), Some(secret_access_key)) => Credentials { access_key_id, secret_access_key },
        _ => {
            let keys = data.keys()?;
            Credentials { access_key_id: keys.access_key_id, secret_access_key: keys.secret_access_key }
        }
    };
    listen::raise_open_files();
    let listener = listen::bind(args.listen, "--listen")?;
    let store = open_folder(&data.path().join("bucket"), &args.bucket_name)?;
    say!(
        "bucket `{}` at {} (keys in {})",
        args.bucket_name,
        listen::url(&listener)?,
        data.path().join("keys.json").display()
    );
    embedded::serve(listener, store, credentials, Box::pin(stop::asked())).await;
    Ok(())
}

/// Opens a folder as a store with one bucket.
pub fn open_folder(folder: &Path, bucket: &str) -> anyhow::Result<FolderStore> {
    FolderStore::open(folder, [bucket])
        .with_context(|| format!("the bucket's folder `{}` cannot be used", folder.display()))
        .hint(|| "see whether the disk is full or read-only, or choose another folder with --data".into())
}
