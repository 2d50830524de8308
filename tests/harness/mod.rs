//! Starts the real `bake` in a fresh folder with a cleared environment, talks to it, and says everything about it
//! when a test fails.
//!
//! Nothing here sleeps for a fixed time: [`wait_for`] asks until a condition holds or its deadline has passed.

pub mod api;
pub mod browser;
pub mod bucket;
pub mod http;
pub mod preview;
pub mod process;
pub mod proxy;
pub mod site;
pub mod up;
pub mod upstream;
pub mod world;

pub use api::Api;
pub use browser::{Browser, Page};
pub use bucket::Bucket;
pub use http::{Reply, Request};
pub use preview::Preview;
pub use process::{Done, Process};
pub use proxy::{Fate, Proxy};
pub use up::Up;
pub use world::World;

use std::time::{Duration, Instant};

/// How long anything may take that should take a moment: two cores are shared by several tests.
pub const SOON: Duration = Duration::from_secs(20);

/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks until `check` gives something.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Asks until `check` holds.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub fn wait_until(what: &str, limit: Duration, mut check: impl FnMut() -> bool) {
    wait_for(what, limit, || check().then_some(()));
}
