//! A bucket in memory for tests: honest about conditions, and as faulty as it is told to be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Bucket, BucketError, Listing, Object, Written};
use crate::Digest;

/// A bucket in memory.
#[derive(Debug, Default)]
pub struct MemoryBucket {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    requests: Vec<(&'static str, String)>,
    faults: Vec<Fault>,
}

/// What goes wrong with the next request of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// `get`, `put`, `create`, `replace`, `list` or `delete`.
    pub op: &'static str,
    /// Whether the work is done before the reply is lost.
    pub done: bool,
}

impl MemoryBucket {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets requests go wrong, each fault one request, in the order given.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// Takes back the faults that have not come about.
    pub fn mend(&self) {
        self.lock().faults.clear();
    }

    /// Every request so far: what was asked of which key.
    pub fn requests(&self) -> Vec<(&'static str, String)> {
        self.lock().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.lock().requests.clear();
    }

    /// Replaces or removes an object behind everyone's back.
    pub fn tamper(&self, key: &str, bytes: Option<Bytes>) {
        let mut inner = self.lock();
        match bytes {
            Some(bytes) => inner.objects.insert(key.to_owned(), bytes),
            None => inner.objects.remove(key),
        };
    }

    /// An object, without a request.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.lock().objects.get(key).cloned()
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Does `work` and answers, or loses the answer, as faults say.
    fn run<T>(
        &self,
        op: &'static str,
        key: &str,
        work: impl FnOnce(&mut BTreeMap<String, Bytes>) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let mut inner = self.lock();
        inner.requests.push((op, key.to_owned()));
        let fault = inner.faults.iter().position(|f| f.op == op).map(|i| inner.faults.remove(i));
        let lost = || BucketError::Unknown { op, key: key.to_owned(), source: "the reply was lost".into() };
        match fault {
            Some(Fault { done: false, .. }) => Err(lost()),
            Some(Fault { done: true, .. }) => work(&mut inner.objects).and(Err(lost())),
            None => work(&mut inner.objects),
        }
    }
}

fn tag(bytes: &Bytes) -> String {
    Digest::of(bytes).to_string()
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Object>, BucketError> {
        self.run("get", key, |objects| match objects.get(key) {
            Some(bytes) if bytes.len() as u64 > bytes_max => {
                Err(BucketError::TooLarge { key: key.to_owned(), max: bytes_max })
            }
            found => Ok(found.map(|bytes| Object { bytes: bytes.clone(), tag: tag(bytes) })),
        })
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BucketError> {
        self.run("get", key, |objects| {
            let part = |bytes: &Bytes| {
                let end = range.end.min(bytes.len() as u64);
                bytes.slice(range.start.min(end) as usize..end as usize)
            };
            Ok(objects.get(key).map(part))
        })
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.run("put", key, |objects| {
            objects.insert(key.to_owned(), bytes);
            Ok(())
        })
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<Written, BucketError> {
        self.run("create", key, |objects| {
            if objects.contains_key(key) {
                return Ok(Written::Refused);
            }
            objects.insert(key.to_owned(), bytes);
            Ok(Written::Yes)
        })
    }

    async fn replace(&self, key: &str, bytes: Bytes, expected: &str) -> Result<Written, BucketError> {
        self.run("replace", key, |objects| {
            if objects.get(key).map(tag).as_deref() != Some(expected) {
                return Ok(Written::Refused);
            }
            objects.insert(key.to_owned(), bytes);
            Ok(Written::Yes)
        })
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Listing, BucketError> {
        self.run("list", prefix, |objects| {
            let mut keys: Vec<String> = objects
                .keys()
                .filter(|k| k.starts_with(prefix) && after.is_none_or(|a| k.as_str() > a))
                .take(max + 1)
                .cloned()
                .collect();
            let more = keys.len() > max;
            keys.truncate(max);
            Ok(Listing { keys, more })
        })
    }

    async fn delete(&self, key: &str) -> Result<(), BucketError> {
        self.run("delete", key, |objects| {
            objects.remove(key);
            Ok(())
        })
    }
}
