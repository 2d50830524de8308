//! A real Chromium, driven over its debugging pipe.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Process;
use super::world::World;
use super::{LOOK_EVERY, SOON};

/// Longest wait for the answer to one command.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

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
        Self { _process: process, commands, answers, last: Cell::new(0) }
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

impl Page<'_> {
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
