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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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

/// Waits for longer than a tick of the kernel's clock: files that were written just before a build are read again by the next.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

/// Where all files below a folder are, by their paths below it.
pub fn paths(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), path);
            }
        }
    }
    found
}

/// All files below a folder, by their paths below it.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    paths(root).into_iter().map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}
