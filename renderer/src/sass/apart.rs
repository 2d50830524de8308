//! Style sheets compiled in a process of its own.
//!
//! The compiler bounds nothing: a function that calls itself without an end takes all of the stack, a `@while` that stays true all
//! of the time, and what they make all of the memory. In a process of its own that ends nothing else. Which bounds it has is for
//! the shell to say, which also says how it is started.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Compiled, Wanted, sheets};
use crate::diagnostic::Diagnostic;
use crate::sources::Sources;

/// Bytes of a message between the two: above all that a site's style sheets have.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;

static PROGRAM: OnceLock<(PathBuf, &'static str)> = OnceLock::new();

/// Has style sheets compiled by `program`, which calls [`serve`] where its one argument is `argument`. Without this they are compiled
/// where they are wanted.
pub fn compile_sass_with(program: PathBuf, argument: &'static str) {
    // The first one stays.
    PROGRAM.get_or_init(|| (program, argument));
}

/// What is to be compiled.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    files: Vec<(String, Bytes)>,
    folders: Vec<String>,
    wanted: Vec<Wanted>,
}

/// Compiles what it reads, and writes each style sheet as soon as it is made.
///
/// # Errors
/// What the system says of reading and writing; that the other side sends what is none of this.
pub fn serve(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let Some(Order { files, folders, wanted }) = read(&mut from)? else { return Ok(()) };
    let sources = Sources::from_files(files);
    for compiled in sheets(&sources, &folders, &wanted) {
        write(&mut to, &compiled)?;
    }
    Ok(())
}

/// Writes a message that [`read`] reads.
fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// A message; none where no more comes.
fn read<T: for<'de> Deserialize<'de>>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u64::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

/// Compiles style sheets, in their order; none of them where no process can be had for that.
pub(super) fn compile(sources: &Sources, folders: &[String], wanted: &[Wanted]) -> Option<Vec<Compiled>> {
    let (program, argument) = PROGRAM.get()?;
    let is_sheet = |path: &str| matches!(path.rsplit_once('.'), Some((_, "scss" | "sass" | "css")));
    let files = sources.iter().filter(|(path, _)| is_sheet(path));
    let files = files.filter_map(|(path, file)| Some((path.to_owned(), file.read().ok()?))).collect();
    let mut order = Order { files, folders: folders.to_vec(), wanted: wanted.to_vec() };
    let mut made = Vec::with_capacity(wanted.len());
    while !order.wanted.is_empty() {
        let mut command = Command::new(program);
        // What stops this process by the terminal is not the style sheet's fault.
        command.process_group(0);
        command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::warn!(%error, "no process for style sheets can be started");
                return None;
            }
        };
        let before = made.len();
        let talked = talk(&mut child, &order, &mut made);
        let ended = child.wait();
        order.wanted.drain(..(made.len() - before).min(order.wanted.len()));
        // The one that ended it; those behind it are another process's.
        if !order.wanted.is_empty() {
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::debug!(%how, ?talked, "the process for style sheets has ended early");
            let endless = order.wanted.remove(0);
            let wrong = Diagnostic::in_file(
                endless.path,
                "the style sheet has no end, or takes more stack, memory or time than one may",
            )
            .hint("look for a function or a mixin that calls itself, and for a `@while` that stays true");
            // Nobody knows what it has asked for.
            let asked = order.files.iter().map(|(path, _)| path.clone()).collect();
            made.push(Compiled { css: Err(wrong), asked });
        }
    }
    Some(made)
}

/// Hands an order over, and takes what is made of it.
fn talk(child: &mut Child, order: &Order, made: &mut Vec<Compiled>) -> io::Result<()> {
    if let Some(mut to) = child.stdin.take() {
        write(&mut to, order)?;
    }
    if let Some(mut from) = child.stdout.take() {
        while let Some(compiled) = read(&mut from)? {
            made.push(compiled);
        }
    }
    Ok(())
}
