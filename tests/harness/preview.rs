//! A running `bake preview`.

use super::http::{Reply, Request};
use super::process::Process;
use super::world::World;
use super::{SOON, wait_for, wait_until};

/// A running `bake preview`, killed when dropped.
pub struct Preview {
    /// The process.
    pub process: Process,
    url: String,
}

impl Preview {
    /// Starts it on the site in this folder, at any port, and waits until it listens.
    pub fn start(world: &World, site: &str, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut all = vec!["preview", site];
        if !args.iter().any(|arg| matches!(*arg, "--port" | "--listen")) {
            all.extend(["--port", "0"]);
        }
        all.extend(args);
        let mut process = world.bake(".", &all).vars(vars).start();
        let url = wait_for("the address of the preview", SOON, || {
            let said = process.stdout();
            let found = said.split_once(" is at ").and_then(|(_, rest)| rest.split_once('\n'));
            assert!(found.is_some() || process.ended().is_none(), "it ended: {}", process.stderr());
            Some(found?.0.to_owned())
        });
        Self { process, url }
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        let end = self.url.match_indices('/').nth(2).map_or(self.url.len(), |(at, _)| at);
        &self.url[..end]
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Reply {
        self.send(&Request::get(path))
    }

    /// Sends a request.
    pub fn send(&self, request: &Request) -> Reply {
        request.send(self.url()).unwrap_or_else(|e| panic!("{request:?}: {e}"))
    }

    /// Waits until a path has a text.
    pub fn wait_text(&self, path: &str, text: &str) -> Reply {
        wait_for(&format!("`{text}` at {path}"), SOON, || {
            let reply = self.get(path);
            reply.has(text).then_some(reply)
        })
    }

    /// Waits until a path has a status.
    pub fn wait_status(&self, path: &str, status: u16) {
        wait_until(&format!("{status} at {path}"), SOON, || self.get(path).status == status);
    }
}
