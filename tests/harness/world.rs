//! A fresh folder, and the log of every command that ran in it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use super::process::{Done, Log, Process};
use super::up::Up;

/// How long a command may take that is not a server.
const COMMAND_LIMIT: Duration = Duration::from_secs(45);

/// A folder of one test. When the test fails, all that ran is printed; when it passes, no process may have panicked.
pub struct World {
    folder: tempfile::TempDir,
    logs: RefCell<Vec<Rc<Log>>>,
}

impl World {
    /// A fresh, empty one.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bake-test-").tempdir().unwrap();
        Self { folder, logs: RefCell::default() }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder().join(path)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }

    /// Reads a text file.
    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
    }

    /// `bake` with these arguments in this folder of the world.
    pub fn bake(&self, folder: &str, args: &[&str]) -> Run<'_> {
        self.program(env!("CARGO_BIN_EXE_bake"), folder, args)
    }

    /// Any program.
    pub fn program(&self, program: &str, folder: &str, args: &[&str]) -> Run<'_> {
        let mut command = Command::new(program);
        std::fs::create_dir_all(self.path(folder)).unwrap();
        command.args(args).current_dir(self.path(folder)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder()).env("LANG", "C.UTF-8").env("RUST_BACKTRACE", "1");
        Run { world: self, command, is_read: true }
    }

    /// Starts `bake up` on the site in this folder, and waits until it serves.
    pub fn up(&self, site: &str) -> Up<'_> {
        Up::start(self, site, &[], &[])
    }

    /// The same with further arguments and variables.
    pub fn up_with(&self, site: &str, args: &[&str], vars: &[(&str, &str)]) -> Up<'_> {
        Up::start(self, site, args, vars)
    }

    fn log(&self, command: &Command) -> Rc<Log> {
        let mut logs = self.logs.borrow_mut();
        let log = Rc::new(Log::new(command, self.folder(), logs.len()));
        logs.push(Rc::clone(&log));
        log
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let logs = self.logs.borrow();
        if std::thread::panicking() {
            for log in logs.iter() {
                eprintln!("{log}");
            }
            return;
        }
        for log in logs.iter() {
            assert!(!log.stderr().contains("panicked at"), "a process panicked:\n{log}");
        }
    }
}

/// A command about to run.
pub struct Run<'w> {
    world: &'w World,
    command: Command,
    is_read: bool,
}

impl Run<'_> {
    /// Adds a variable.
    pub fn var(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds variables.
    pub fn vars(mut self, vars: &[(impl AsRef<str>, impl AsRef<str>)]) -> Self {
        for (name, value) in vars {
            self.command.env(name.as_ref(), value.as_ref());
        }
        self
    }

    /// Nobody reads what it writes: its streams are pipes that are closed at their other end.
    pub fn unread(mut self) -> Self {
        self.is_read = false;
        self
    }

    /// Starts it and leaves it running.
    pub fn start(mut self) -> Process {
        let log = self.world.log(&self.command);
        Process::start(&mut self.command, log, self.is_read)
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.run_within(COMMAND_LIMIT)
    }

    /// Runs it to its end, which must come within `limit`.
    pub fn run_within(self, limit: Duration) -> Done {
        let mut process = self.start();
        let status = process.wait(limit);
        Done { status, stdout: process.stdout(), stderr: process.stderr(), log: process.log() }
    }

    /// Runs it to its end, which must be a success.
    pub fn ok(self) -> Done {
        self.run().success()
    }
}
