//! Why a publish did not come about.

use std::collections::BTreeSet;

use release::wire::Failure;

use crate::failure;

/// Why a publish did not come about.
pub(super) enum Stop {
    /// A rollback holds it back.
    Held(Failure),
    /// Another publish was faster.
    Outdated,
    /// These sources have not answered yet, and nothing in the batch goes without them.
    Slow(BTreeSet<String>),
    /// Something failed; `passing` where it may go by itself.
    Failed { error: anyhow::Error, passing: bool },
}

impl Stop {
    pub(super) fn of(error: origin::Error) -> Self {
        match &error {
            origin::Error::Held { .. } => Self::Held(Failure::from(&error)),
            origin::Error::Outdated { .. } => Self::Outdated,
            _ => {
                let (hint, passing) = (error.hint(), error.is_transient());
                Self::failed(error, hint, passing)
            }
        }
    }

    fn failed(error: impl Into<anyhow::Error>, hint: Option<String>, passing: bool) -> Self {
        Self::Failed { error: failure::hinted(error, hint), passing }
    }

    pub(super) fn into_error(self) -> (anyhow::Error, bool) {
        match self {
            Self::Failed { error, passing } => (error, passing),
            Self::Held(failure) => (anyhow::anyhow!(failure.error), false),
            Self::Outdated => (anyhow::anyhow!("another publish was faster"), true),
            Self::Slow(called) => (anyhow::anyhow!("sources have not answered yet: {called:?}"), true),
        }
    }

    pub(super) fn passing(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed { error: error.into(), passing: true }
    }

    pub(super) fn lasting(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed { error: error.into(), passing: false }
    }
}

/// Runs what keeps a processor busy where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|e| Stop::lasting(anyhow::anyhow!("the render ended badly: {e}")))
}
