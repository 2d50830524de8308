//! A process, its streams in files, ended with the test.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;

/// Lines of a stream that are printed when a test fails.
const LINES_SHOWN_MAX: usize = 80;

/// What ran, and what it said.
pub struct Log {
    command: String,
    folder: Option<PathBuf>,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Cell<Option<ExitStatus>>,
}

impl Log {
    pub(super) fn new(command: &Command, world: &Path, number: usize) -> Self {
        let logs = world.join(".logs");
        std::fs::create_dir_all(&logs).unwrap();
        let vars = command.get_envs().filter_map(|(n, v)| Some((n.to_str()?, v?.to_str()?)));
        let usual = ["PATH", "HOME", "LANG", "RUST_BACKTRACE"];
        let vars: String =
            vars.filter(|(n, _)| !usual.contains(n)).map(|(n, v)| format!("{n}={v:?} ")).collect();
        let args: String = command.get_args().map(|a| format!(" {}", a.to_string_lossy())).collect();
        Self {
            command: format!("{vars}{}{args}", command.get_program().to_string_lossy()),
            folder: command.get_current_dir().map(Path::to_owned),
            stdout: logs.join(format!("{number}.out")),
            stderr: logs.join(format!("{number}.err")),
            status: Cell::new(None),
        }
    }

    /// What it wrote to standard output until now.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it wrote to standard error until now.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "──── {}", self.command)?;
        writeln!(f, "folder: {}", self.folder.as_deref().unwrap_or(Path::new("?")).display())?;
        match self.status.get() {
            Some(status) => writeln!(f, "status: {status}")?,
            None => writeln!(f, "status: running, or ended by the test")?,
        }
        for (name, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let lines: Vec<&str> = text.lines().collect();
            let left_out = lines.len().saturating_sub(LINES_SHOWN_MAX);
            writeln!(f, "{name}: {} lines, {left_out} left out", lines.len())?;
            for line in &lines[left_out..] {
                writeln!(f, "  │ {line}")?;
            }
        }
        Ok(())
    }
}

/// A running process. Killed when dropped.
pub struct Process {
    child: Child,
    log: Rc<Log>,
}

impl Process {
    pub(super) fn start(command: &mut Command, log: Rc<Log>, is_read: bool) -> Self {
        let stream = |path: &Path| match is_read {
            true => Stdio::from(File::create(path).unwrap()),
            false => Stdio::from(std::io::pipe().unwrap().1),
        };
        command.stdin(Stdio::null()).stdout(stream(&log.stdout)).stderr(stream(&log.stderr));
        let child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", log.command));
        Self { child, log }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output until now.
    pub fn stdout(&self) -> String {
        self.log.stdout()
    }

    /// What it wrote to standard error until now.
    pub fn stderr(&self) -> String {
        self.log.stderr()
    }

    pub(super) fn log(&self) -> Rc<Log> {
        Rc::clone(&self.log)
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        if status.is_some() {
            self.log.status.set(status);
        }
        status
    }

    /// Its exit status, for which it has `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of: {}", self.log.command);
        wait_for(&what, limit, || self.ended())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        self.log.status.set(Some(status));
    }

    /// Waits until it has written this to either stream.
    pub fn wait_for_text(&mut self, text: &str, limit: Duration) {
        let what = format!("`{text}` from: {}", self.log.command);
        wait_for(&what, limit, || {
            if self.stdout().contains(text) || self.stderr().contains(text) {
                return Some(());
            }
            assert!(self.ended().is_none(), "it ended before it said `{text}`:\n{}", self.log);
            None
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Ending before it is killed is no failure.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A process that has ended.
pub struct Done {
    /// How.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    pub(super) log: Rc<Log>,
}

impl Done {
    /// It must have ended with 0.
    pub fn success(self) -> Self {
        assert!(self.status.success(), "expected success:\n{}", self.log);
        self
    }

    /// It must have ended with this exit code.
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "exit code:\n{}", self.log);
        self
    }

    /// It must have ended with another exit code than 0.
    pub fn failure(self) -> Self {
        assert!(!self.status.success(), "expected failure:\n{}", self.log);
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON: {e}\n{}", self.log))
    }

    /// Both streams must, together, hold all of these, in any case of letters.
    pub fn says(self, words: &[&str]) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr).to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "it does not say `{word}`:\n{}", self.log);
        }
        self
    }
}
