//! When a process that serves is asked to stop, by Ctrl-C (SIGINT) or SIGTERM: once, and it ends what is under way; again, and it
//! ends at once.

use std::sync::{LazyLock, Once};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

static ONCE: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
static AGAIN: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// Ready when the process is asked to stop. Commands that do not wait for this end where they are.
pub async fn asked() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        tokio::spawn(listen());
    });
    ONCE.cancelled().await;
}

/// It stops without being asked to: whoever asks from now on does so while it stops.
pub fn begins() {
    ONCE.cancel();
}

/// Ready when it is asked again, or for the first time, while it stops.
pub async fn asked_again() -> anyhow::Error {
    AGAIN.cancelled().await;
    anyhow::anyhow!("asked to stop while it did so: what was under way is cut off")
}

async fn listen() {
    let waits_for = |kind, name| {
        signal(kind).inspect_err(|error| tracing::warn!(%error, "{name} cannot be waited for")).ok()
    };
    let mut interrupts = waits_for(SignalKind::interrupt(), "SIGINT");
    let mut terminates = waits_for(SignalKind::terminate(), "SIGTERM");
    while !AGAIN.is_cancelled() {
        tokio::select! {
            () = next(&mut interrupts) => {}
            () = next(&mut terminates) => {}
        }
        if ONCE.is_cancelled() { &AGAIN } else { &ONCE }.cancel();
    }
}

async fn next(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}
