//! A running `bake up`.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::bucket::Bucket;
use super::http::{Reply, Request};
use super::process::{Done, Process};
use super::world::{Run, World};
use super::{SOON, wait_for, wait_until};

/// A running `bake up`, killed when dropped.
pub struct Up<'w> {
    world: &'w World,
    site: String,
    /// The process.
    pub process: Process,
    /// What stands in `up.json`.
    pub json: Value,
}

impl<'w> Up<'w> {
    pub(super) fn start(world: &'w World, site: &str, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let process = Self::launch(world, site, args, vars);
        Self::attach(world, site, process)
    }

    /// Starts it without waiting.
    pub fn launch(world: &World, site: &str, args: &[&str], vars: &[(&str, &str)]) -> Process {
        Self::command(world, site, args, vars).start()
    }

    /// Its command; `--data` is `data` beside the site, not in it.
    pub fn command<'a>(world: &'a World, site: &str, args: &[&str], vars: &[(&str, &str)]) -> Run<'a> {
        let site_path = world.path(site);
        let data = data_of(world, site);
        let mut all = vec!["up", site_path.to_str().unwrap(), "--data", data.to_str().unwrap()];
        for flag in ["--listen", "--api", "--bucket-listen"] {
            if !args.contains(&flag) {
                all.extend([flag, "127.0.0.1:0"]);
            }
        }
        all.extend(args);
        world.bake(".", &all).vars(vars)
    }

    /// Waits until a launched process serves.
    pub fn attach(world: &'w World, site: &str, process: Process) -> Self {
        Self::attach_at(world, site, process, &data_of(world, site).join("up.json"))
    }

    /// The same, where its data folder is seen at another path than its own.
    pub fn attach_at(world: &'w World, site: &str, mut process: Process, path: &Path) -> Self {
        let json = wait_for("up.json", Duration::from_secs(40), || {
            let ended = process.ended();
            let json: Option<Value> =
                std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            // One that an earlier process left behind is not ours.
            let ours = json.filter(|json| json["pid"].as_u64() == Some(process.pid().into()));
            assert!(ours.is_some() || ended.is_none(), "bake up ended: {ended:?}");
            ours
        });
        Self { world, site: site.to_owned(), process, json }
    }

    /// Address of the edge.
    pub fn edge(&self) -> &str {
        self.json["edge"].as_str().unwrap()
    }

    /// Address of the API.
    pub fn api(&self) -> &str {
        self.json["api"].as_str().unwrap()
    }

    /// Its token.
    pub fn token(&self) -> &str {
        self.json["token"].as_str().unwrap()
    }

    /// Its bucket.
    pub fn bucket(&self) -> Bucket {
        Bucket::from_json(&self.json["bucket"])
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        data_of(self.world, &self.site)
    }

    /// GETs a path from the edge.
    pub fn get(&self, path: &str) -> Reply {
        self.send(&Request::get(path))
    }

    /// Sends a request to the edge.
    pub fn send(&self, request: &Request) -> Reply {
        request.send(self.edge()).unwrap_or_else(|e| panic!("{request:?}: {e}"))
    }

    /// Calls the API with the token.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let mut request =
            Request::new(method, path).field("Authorization", &format!("Bearer {}", self.token()));
        if !body.is_null() {
            request = request.field("Content-Type", "application/json").body(body.to_string());
        }
        request.send(self.api()).unwrap_or_else(|e| panic!("{request:?}: {e}"))
    }

    /// Waits until a path at the edge holds a text.
    pub fn wait_text(&self, path: &str, text: &str) -> Reply {
        wait_for(&format!("`{text}` at {path}"), SOON, || {
            let reply = self.get(path);
            reply.has(text).then_some(reply)
        })
    }

    /// Waits until a path at the edge has a status.
    pub fn wait_status(&self, path: &str, status: u16) {
        wait_until(&format!("{status} at {path}"), SOON, || self.get(path).status == status);
    }

    /// Runs `bake` against it.
    pub fn bake(&self, args: &[&str]) -> Done {
        self.bake_run(args).run()
    }

    /// That command, not yet started.
    pub fn bake_run(&self, args: &[&str]) -> Run<'w> {
        self.world.bake(&self.site, args).var("BAKE_API", self.api()).var("BAKE_TOKEN", self.token())
    }

    /// The releases, newest first.
    pub fn releases(&self) -> Vec<Value> {
        let reply = self.call("GET", "/v1/releases", &Value::Null);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json().as_array().unwrap().clone()
    }

    /// The id of the release that is served.
    pub fn active(&self) -> String {
        let releases = self.releases();
        let active = releases.iter().find(|r| r["active"] == true).expect("an active release");
        active["id"].as_str().unwrap().to_owned()
    }

    /// The fold of the journal.
    pub fn state(&self) -> Value {
        let reply = self.call("GET", "/v1/status", &Value::Null);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["sites"][0]["state"].clone()
    }

    /// Sum of all metrics whose line begins with `name` and holds all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric(self.api(), name, labels)
    }

    /// Stops it as Ctrl-C does, within the promised time.
    pub fn interrupt(mut self) -> ExitStatus {
        self.process.signal(Signal::INT);
        self.process.wait(Duration::from_secs(5))
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// Sum of all metrics at `/metrics` whose name is `name` and whose labels hold all of `labels`.
pub fn metric(base: &str, name: &str, labels: &[&str]) -> f64 {
    let reply = Request::get("/metrics").send(base).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = reply.text();
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|r| r.starts_with(['{', ' ']) && labels.iter().all(|l| r.contains(l)))
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Beside the site; for a site outside of the world, in the world.
fn data_of(world: &World, site: &str) -> PathBuf {
    let inside = !site.starts_with('/');
    world.path(&if inside { format!("{site}.data") } else { "outside.data".to_owned() })
}
