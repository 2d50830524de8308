//! The parts of a process that serves: begun one after the other, ended the other way round.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Parts that run, in the order in which they were begun: each may need those before it.
pub struct Parts {
    running: Vec<Part>,
    failed: mpsc::Sender<anyhow::Error>,
    failures: mpsc::Receiver<anyhow::Error>,
}

struct Part {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Parts {
    pub fn new() -> Self {
        // One failure ends the process; others may follow from it.
        let (failed, failures) = mpsc::channel(1);
        Self { running: Vec::new(), failed, failures }
    }

    /// Begins a part that ends by itself when it is asked to `stop`.
    pub fn begin<T>(&mut self, name: &'static str, stop: CancellationToken, part: T)
    where
        T: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let failed = self.failed.clone();
        let task = tokio::spawn(async move {
            let error = match tokio::spawn(part).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(error) => error.into(),
            };
            let error = error.context(format!("{name} has ended"));
            if let Err(mpsc::error::TrySendError::Full(error)) = failed.try_send(error) {
                tracing::error!(error = format!("{error:#}"), "a part ended badly, after another");
            }
        });
        self.running.push(Part { stop, task });
    }

    /// Begins a part that may be broken off wherever it waits.
    pub fn begin_endless<T>(&mut self, name: &'static str, part: T)
    where
        T: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let until = stop.clone();
        self.begin(name, stop, async move { until.run_until_cancelled(part).await.unwrap_or(Ok(())) });
    }

    /// Ready when a part has failed.
    pub async fn failure(&mut self) -> anyhow::Error {
        match self.failures.recv().await {
            Some(error) => error,
            // The sender is held here.
            None => std::future::pending().await,
        }
    }

    /// Asks each part to stop and waits for it, the youngest first.
    pub async fn end(mut self) {
        while let Some(part) = self.running.pop() {
            part.stop.cancel();
            if let Err(error) = part.task.await {
                tracing::error!(%error, "a part ended badly");
            }
        }
    }
}
