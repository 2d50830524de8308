//! The process that compiles style sheets for another of this program, within bounds: a style sheet without an end takes it, and
//! nothing else.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, io, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The one argument of such a process.
const ARGUMENT: &str = "//sass";
/// Seconds of the processor that all style sheets of a site may take.
const CPU_SECONDS_MAX: u64 = 10;
/// Bytes of memory.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the stack, far more than any that ends has been seen to take; only what is used of it is memory.
const STACK_BYTES: usize = 64 << 20;

/// Has style sheets compiled in such processes; where this is one, does that and returns what it ends with.
pub fn start() -> Option<ExitCode> {
    if env::args_os().nth(1).as_deref() == Some(OsStr::new(ARGUMENT)) {
        return Some(serve());
    }
    // The one is there even when an update has put another file in its place.
    let own = PathBuf::from("/proc/self/exe");
    if let Some(program) = own.exists().then_some(own).or_else(|| env::current_exe().ok()) {
        renderer::compile_sass_with(program, ARGUMENT);
    }
    None
}

fn serve() -> ExitCode {
    let limits = [
        (Resource::Cpu, CPU_SECONDS_MAX),
        (Resource::Data, MEMORY_BYTES_MAX),
        // What ends so is nobody's to look into.
        (Resource::Core, 0),
    ];
    for (what, most) in limits {
        // What is bounded to less already stays so; where no bound can be set, there is none, as in any other process.
        let most = getrlimit(what).maximum.map_or(most, |least| least.min(most));
        let _ = setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) });
    }
    let work = || renderer::serve_sass(io::stdin().lock(), io::stdout().lock());
    match thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
