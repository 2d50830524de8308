//! A real Chromium, driven over its debugging pipe; and what axe-core and Lighthouse, in one, say of pages.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Process;
use super::world::World;
use super::{LOOK_EVERY, SOON};

/// Longest wait for the answer to one command.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for Lighthouse: some seconds a page and device, more on a busy machine.
const LIGHTHOUSE_LIMIT: Duration = Duration::from_secs(220);

/// Flags for a browser that asks nobody and has no screen.
pub const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running browser, killed when dropped.
pub struct Browser {
    _process: Process,
    commands: File,
    answers: Receiver<Value>,
    last: Cell<u64>,
    complaints: RefCell<Vec<String>>,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Whether it is a phone.
    pub phone: bool,
}

/// One of its pages.
pub struct Page<'b> {
    browser: &'b Browser,
    session: String,
}

impl Browser {
    /// Starts it.
    pub fn start(world: &World) -> Self {
        let pipes = [world.path("browser-in"), world.path("browser-out")];
        for pipe in &pipes {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
        // The browser reads commands from 3 and writes answers to 4.
        let script = "exec chromium \"$@\" 3<browser-in 4>browser-out";
        let profile = format!("--user-data-dir={}", world.path("browser-profile").display());
        let mut args = vec!["-c", script, "chromium", "--remote-debugging-pipe", &profile];
        args.extend(FLAGS);
        let process = world.program("sh", ".", &args).start();
        let commands = OpenOptions::new().write(true).open(&pipes[0]).unwrap();
        let mut out = File::open(&pipes[1]).unwrap();
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let (mut bytes, mut part) = (Vec::new(), [0; 64 << 10]);
            while let Ok(length @ 1..) = out.read(&mut part) {
                bytes.extend_from_slice(&part[..length]);
                while let Some(end) = bytes.iter().position(|b| *b == 0) {
                    let message: Vec<u8> = bytes.drain(..=end).collect();
                    let message = serde_json::from_slice(&message[..end]).unwrap();
                    if sender.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        Self { _process: process, commands, answers, last: Cell::new(0), complaints: RefCell::default() }
    }

    fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.try_call(session, method, params).unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// Fails where the page is just being replaced by another.
    fn try_call(&self, session: Option<&str>, method: &str, params: &Value) -> Result<Value, String> {
        let id = self.last.get() + 1;
        self.last.set(id);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        (&self.commands).write_all(format!("{message}\0").as_bytes()).unwrap();
        let end = Instant::now() + ANSWER_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left).unwrap_or_else(|e| panic!("{message}: {e}"));
            self.complaints.borrow_mut().extend(complaint(&answer));
            if answer["id"] == id {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.to_string()),
                };
            }
        }
    }

    /// Opens a page.
    pub fn open(&self, url: &str) -> Page<'_> {
        let target = self.call(
            None,
            "Target.createTarget",
            &json!({"url": url, "newWindow": true, "width": 900, "height": 600}),
        );
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session =
            self.call(None, "Target.attachToTarget", &attach)["sessionId"].as_str().unwrap().to_owned();
        let page = Page { browser: self, session };
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
        page
    }
}

/// What a message says that went wrong in a page, if it does.
fn complaint(message: &Value) -> Option<String> {
    let params = &message["params"];
    let bad = |level: &Value| matches!(level.as_str(), Some("error" | "warning" | "assert"));
    match message["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if bad(&params["type"]) => Some(params["args"].to_string()),
        "Log.entryAdded" if bad(&params["entry"]["level"]) => Some(params["entry"].to_string()),
        _ => None,
    }
}

/// The folder of the packages for Node that `./test` installs.
pub fn node_modules() -> PathBuf {
    installed("BAKE_TEST_NODE_MODULES")
}

/// Runs Lighthouse on these pages as a phone and as a desktop computer, at most `tries` times where the performance is
/// below `wanted`. The script beside this file says what comes back.
pub fn lighthouse(world: &World, tries: u32, wanted: u32, urls: &[String]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/lighthouse.mjs");
    let (node, modules) = (installed("BAKE_TEST_NODE"), node_modules());
    let numbers = [tries.to_string(), wanted.to_string()];
    let mut args =
        vec!["-c", "CHROME_PATH=$(command -v chromium) exec \"$@\"", "node", node.to_str().unwrap(), script];
    args.extend([modules.to_str().unwrap(), &numbers[0], &numbers[1]]);
    args.extend(urls.iter().map(String::as_str));
    let done = world.program("sh", ".", &args).run_within(LIGHTHOUSE_LIMIT).success();
    serde_json::from_str(&done.stdout).unwrap()
}

/// Where `./test` has installed something.
pub fn installed(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{variable} names no file: run ./test, which installs what tests need"));
    assert!(path.exists(), "{} is missing: run ./test, which installs it", path.display());
    path
}

impl Page<'_> {
    /// Prefers light or dark colours, and that they change at once.
    pub fn colours(&self, scheme: &str) {
        let feature = |name: &str, value: &str| json!({"name": name, "value": value});
        let still = feature("prefers-reduced-motion", "reduce");
        let features = json!({"features": [feature("prefers-color-scheme", scheme), still]});
        self.browser.call(Some(&self.session), "Emulation.setEmulatedMedia", &features);
    }

    /// Loads an address anew in this view, in light colours. From now on the page's complaints are kept.
    pub fn look(&self, url: &str, view: View) {
        let call = |method: &str, params: &Value| self.browser.call(Some(&self.session), method, params);
        let size = json!({"width": view.size.0, "height": view.size.1, "deviceScaleFactor": 1, "mobile": view.phone});
        call("Emulation.setDeviceMetricsOverride", &size);
        self.colours("light");
        call("Runtime.enable", &json!({}));
        call("Log.enable", &json!({}));
        // Where the old page is at the same address, only this tells it from the new one.
        self.eval("window.before = true");
        call("Page.navigate", &json!({"url": url}));
        self.wait("!window.before && document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What went wrong in pages since this was last asked.
    pub fn complaints(&self) -> Vec<String> {
        self.browser.complaints.take()
    }

    /// What axe-core finds wrong with the page: each rule, and the elements that break it.
    pub fn axe(&self) -> Vec<String> {
        let script = node_modules().join("axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&script).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
        self.eval(&format!("if (!window.axe) {{ {axe} }}; typeof axe.run"));
        let found = self.eval(
            "axe.run({resultTypes: ['violations']}).then((found) => found.violations.map((rule) =>
             `${rule.id}: ${rule.help}: ` + rule.nodes.map((node) => `${node.html} ${node.failureSummary}`).join('; ')))",
        );
        found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    fn try_eval(&self, script: &str) -> Result<Value, String> {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.browser.try_call(Some(&self.session), "Runtime.evaluate", &params)?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            error => Err(error.to_string()),
        }
    }

    /// The value of an expression.
    pub fn eval(&self, script: &str) -> Value {
        self.try_eval(script).unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The value of an expression as text.
    pub fn text(&self, script: &str) -> String {
        self.eval(script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true; one that throws, as between two pages, is not.
    pub fn wait(&self, script: &str) {
        let end = Instant::now() + SOON;
        loop {
            let now = self.try_eval(script);
            if now == Ok(Value::Bool(true)) {
                return;
            }
            let page = || self.try_eval("document.documentElement.outerHTML");
            assert!(Instant::now() < end, "waited in vain for {script}: {now:?}\n{:?}", page());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Clicks an element in its middle, with the Alt key held.
    pub fn alt_click(&self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}});
              const r = e.getBoundingClientRect(); return [r.left + 5, r.top + r.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1, "modifiers": 1});
            self.browser.call(Some(&self.session), "Input.dispatchMouseEvent", &params);
        }
    }
}
