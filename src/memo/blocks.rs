//! Highlighted code of a site in its bucket: packs that are named by their digests, for all who publish.
//!
//! They are of no release: a block is right under its name, whoever put it there. What has gone meanwhile is highlighted
//! again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use release::Digest;
use release::bucket::{Bucket, BucketError, OBJECT_BYTES_MAX};
use release::keys::Site;
use renderer::{BlockStore, PACKS_BYTES_MAX, Pack, Stored};
use tokio::runtime::Handle;

use super::{LEVEL, in_time};

/// Objects that are read: there are fewer, unless many published at once.
const PACKS_MAX: usize = 64;
/// Objects that are read at the same time.
const READ_AT_ONCE: usize = 4;
/// Bytes of all packs that are read: half of them leave room for those of many who published at once.
const READ_BYTES_MAX: u64 = 2 * PACKS_BYTES_MAX;

/// The packs of a site in its bucket.
#[derive(Debug)]
pub struct BucketBlocks {
    bucket: Arc<dyn Bucket>,
    site: Site,
    /// Renderers ask from threads of their own.
    runtime: Handle,
}

impl BucketBlocks {
    /// Those of a site. Asked for within a runtime, which answers as long as it runs.
    pub fn new(bucket: Arc<dyn Bucket>, site: Site) -> Self {
        Self { bucket, site, runtime: Handle::current() }
    }

    async fn read(&self) -> anyhow::Result<Vec<Pack>> {
        let prefix = self.site.blocks_prefix();
        let listing = self.bucket.list(&prefix, None, PACKS_MAX).await?;
        let read = |key: String| async move {
            let object = self.bucket.get(&key, OBJECT_BYTES_MAX).await;
            (key, object)
        };
        let mut objects = stream::iter(listing.keys).map(read).buffered(READ_AT_ONCE);
        let (mut packs, mut room) = (Vec::new(), READ_BYTES_MAX);
        while let Some((key, object)) = objects.next().await {
            let object = match object {
                Ok(Some(object)) => object.bytes,
                // Another publisher has put it into one of its own.
                Ok(None) => continue,
                Err(BucketError::TooLarge { .. }) => Bytes::new(),
                Err(error) => return Err(error.into()),
            };
            let name = key.strip_prefix(&prefix).unwrap_or_default().to_owned();
            let is_itself = Digest::of(&object).to_string() == name;
            let bytes = if is_itself { unpacked(&object, room).unwrap_or_default() } else { Vec::new() };
            room -= bytes.len() as u64;
            packs.push(Pack::open(name, self.stored(bytes)));
        }
        Ok(packs)
    }

    /// A pack to be read from: of a file of this process, or of memory where it gets none.
    fn stored(&self, pack: Vec<u8>) -> Stored {
        let written = self.scratch().and_then(|mut file| file.write_all(&pack).map(|()| file));
        written.map_or_else(|_| Stored::Memory(pack), Stored::File)
    }
}

/// The pack in an object; damaged where it is cut, because it has more than so many bytes.
fn unpacked(object: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut pack = Vec::new();
    zstd::Decoder::new(object)?.take(bytes_max).read_to_end(&mut pack)?;
    Ok(pack)
}

impl BlockStore for BucketBlocks {
    fn packs(&self) -> Vec<Pack> {
        self.runtime.block_on(in_time(self.read())).unwrap_or_else(|error| {
            tracing::warn!(%error, "highlighted code of earlier publishes cannot be read; it is highlighted again");
            Vec::new()
        })
    }

    fn scratch(&self) -> io::Result<File> {
        tempfile::tempfile()
    }

    fn put(&self, write: &dyn Fn(&mut dyn Write) -> io::Result<Digest>) -> io::Result<Pack> {
        let mut pack = Vec::new();
        write(&mut pack)?;
        let object = zstd::encode_all(pack.as_slice(), LEVEL)?;
        let digest = Digest::of(&object);
        let key = self.site.blocks(&digest);
        self.runtime.block_on(self.bucket.put(&key, object.into())).map_err(io::Error::other)?;
        Ok(Pack::open(digest.to_string(), self.stored(pack)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let key = self.site.blocks_prefix() + name;
        self.runtime.block_on(self.bucket.delete(&key)).map_err(io::Error::other)
    }
}
