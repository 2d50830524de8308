//! Uploads, many at a time, while rendering goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use release::bucket::Bucket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;
use crate::failpoint::failpoint;

/// Uploads at a time: enough to fill a long line with small objects.
const UPLOADS_MAX: usize = 32;
/// Bytes of content that wait for their upload at most, but for one object that is larger; then
/// renderers wait.
const WAITING_BYTES_MAX: u64 = 64 << 20;

/// What is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Blob,
    Node,
    Record,
}

#[derive(Debug)]
struct Job {
    what: What,
    key: String,
    bytes: Bytes,
}

/// What was uploaded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Uploaded {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
struct Progress {
    waiting: u64,
    uploaded: Uploaded,
    failed: Option<Error>,
}

#[derive(Debug, Default)]
struct Shared {
    progress: Mutex<Progress>,
    room: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.room.notify_all();
    }
}

/// The uploads of one publish. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Uploader {
    queue: Queue,
    task: JoinHandle<()>,
}

/// Where renderers put content that is to be uploaded.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    jobs: mpsc::UnboundedSender<Option<Job>>,
    shared: Arc<Shared>,
}

impl Queue {
    /// Queues a blob. Blocks the thread while too much is waiting.
    ///
    /// # Errors
    /// The error of an upload that failed before.
    pub(super) fn push(&self, key: String, bytes: Bytes) -> Result<(), Error> {
        let length = bytes.len() as u64;
        let mut progress = self.shared.lock();
        while progress.failed.is_none()
            && progress.waiting > 0
            && progress.waiting + length > WAITING_BYTES_MAX
        {
            progress = self.shared.room.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = &progress.failed {
            return Err(error.clone());
        }
        progress.waiting += length;
        drop(progress);
        self.send(What::Blob, key, bytes);
        Ok(())
    }

    fn send(&self, what: What, key: String, bytes: Bytes) {
        if self.jobs.send(Some(Job { what, key, bytes })).is_err() {
            self.shared.fail(Error::Gone("the upload"));
        }
    }
}

impl Uploader {
    /// Begins to upload what will come.
    pub(super) fn start(bucket: Arc<dyn Bucket>) -> Self {
        let (jobs, mut queued) = mpsc::unbounded_channel::<Option<Job>>();
        let shared = Arc::new(Shared::default());
        let queue = Queue { jobs, shared: Arc::clone(&shared) };
        let task = tokio::spawn(async move {
            // The end is sent as a job of its own: renderers keep their senders.
            let jobs = futures_util::stream::poll_fn(move |cx| queued.poll_recv(cx).map(Option::flatten));
            jobs.for_each_concurrent(UPLOADS_MAX, |job| {
                let (bucket, shared) = (Arc::clone(&bucket), Arc::clone(&shared));
                async move {
                    let length = job.bytes.len() as u64;
                    let is_blob = job.what == What::Blob;
                    if shared.lock().failed.is_none() {
                        // A task of its own each, so that signing uses all processors.
                        let result = tokio::spawn(put(bucket, job)).await;
                        match result.unwrap_or(Err(Error::Gone("the upload"))) {
                            Ok(()) => {
                                let mut progress = shared.lock();
                                progress.uploaded.objects += 1;
                                progress.uploaded.bytes += length;
                            }
                            Err(error) => shared.fail(error),
                        }
                    }
                    if is_blob {
                        shared.lock().waiting -= length;
                        shared.room.notify_all();
                    }
                }
            })
            .await;
        });
        Self { queue, task }
    }

    /// Where renderers put content.
    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Queues what is in memory anyway.
    pub(super) fn offer(&self, what: What, key: String, bytes: Bytes) {
        if what == What::Blob {
            self.queue.shared.lock().waiting += bytes.len() as u64;
        }
        self.queue.send(what, key, bytes);
    }

    /// Waits for all uploads.
    pub(super) async fn finish(mut self) -> Result<Uploaded, Error> {
        // A task that is gone has noted why.
        let _ = self.queue.jobs.send(None);
        let ended = (&mut self.task).await;
        let progress = self.queue.shared.lock();
        match (&progress.failed, ended) {
            (Some(error), _) => Err(error.clone()),
            (None, Err(_)) => Err(Error::Gone("the upload")),
            (None, Ok(())) => Ok(progress.uploaded),
        }
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        self.task.abort();
        self.queue.shared.fail(Error::Gone("the upload"));
    }
}

async fn put(bucket: Arc<dyn Bucket>, job: Job) -> Result<(), Error> {
    match job.what {
        What::Blob => failpoint!("publish::before_blob"),
        What::Node => failpoint!("publish::before_node"),
        What::Record => failpoint!("publish::before_record"),
    }
    bucket.put(&job.key, job.bytes).await?;
    match job.what {
        What::Blob => failpoint!("publish::after_blob"),
        What::Node => failpoint!("publish::after_node"),
        What::Record => failpoint!("publish::after_record"),
    }
    Ok(())
}
