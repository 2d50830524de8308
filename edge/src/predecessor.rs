//! The process that ran before, for as long as it answers clients on connections that it has: what is said to be in force must be
//! so there, too. How it is reached is the business of the shell.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use release::{
    journal::Selector,
    keys::Site,
    wire::{EdgeProgress, EdgeReceipt},
};

use crate::Edge;

/// How long a process that drains may take to apply entries that its successor has applied.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// The process whose listening sockets this one has taken over.
pub trait Predecessor: fmt::Debug + Send + Sync {
    /// Has a purge put in force there and in those before it; none of them is in the list once it has ended.
    fn purge<'a>(&'a self, selectors: &'a [Selector], soft: bool) -> BoxFuture<'a, Vec<EdgeReceipt>>;

    /// Waits until it has let go and has applied these entries, or answers nobody any more.
    fn catch_up<'a>(&'a self, at: &'a [(Site, u64)]) -> BoxFuture<'a, ()>;
}

impl Edge {
    /// Purges this cache and those of the processes before this one that still answer clients: in force there when this
    /// returns, unless one of them says nothing.
    pub async fn purge(&self, selectors: &[Selector], soft: bool) -> Vec<EdgeReceipt> {
        let before = async {
            match &self.config.predecessor {
                Some(predecessor) => predecessor.purge(selectors, soft).await,
                None => Vec::new(),
            }
        };
        let (dropped, before) = tokio::join!(self.purge_local(selectors, soft), before);
        let own = EdgeReceipt { edge: self.config.name.clone(), state: EdgeProgress::Applied, dropped };
        [vec![own], before].concat()
    }

    /// What a process that drains does before its successor says for both that these entries are applied: it waits until that
    /// is so, and cuts its connections where that takes too long.
    pub async fn catch_up(&self, at: &[(Site, u64)]) {
        // Whoever only asks whether this process is there has nothing of those before it cut.
        if at.is_empty() {
            return;
        }
        let caught_up = async {
            for (site, seq) in at {
                self.applied(site, *seq).await;
            }
            if let Some(predecessor) = &self.config.predecessor {
                predecessor.catch_up(at).await;
            }
        };
        if tokio::time::timeout(CATCH_UP_MAX, caught_up).await.is_err() {
            tracing::warn!(
                "the journal cannot be followed while the process drains: its connections are cut"
            );
            self.cut();
        }
    }

    /// Has a drain end at once, now or once it begins.
    pub fn cut(&self) {
        self.cut.cancel();
    }
}
