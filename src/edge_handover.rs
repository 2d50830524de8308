//! A restart without a dropped connection: a new process takes the listening sockets of the one that runs.
//!
//! The sockets themselves move, over a Unix socket of the same user. Two processes that each bind the address would do for
//! most connections, but those that wait in the queue of the one that closes would be reset.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio_util::sync::CancellationToken;

use crate::failure::HintExt;

/// How long either side waits for the other: a process that hangs must not keep its successor from starting.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the sockets come with: whether the last one is the admin address's.
const WITH_ADMIN: u8 = 1;
const WITHOUT_ADMIN: u8 = 0;
/// What the successor says once it is about to serve, and what it is answered.
const READY: u8 = b'r';
const YOURS: u8 = b'y';

/// The listening sockets of an edge.
#[derive(Debug)]
pub struct Sockets {
    /// For browsers.
    pub listener: TcpListener,
    /// For operators.
    pub admin: Option<TcpListener>,
}

impl Sockets {
    /// The same sockets once more.
    pub fn try_clone(&self) -> anyhow::Result<Self> {
        let text = "a listening socket cannot be kept for a successor";
        Ok(Self {
            listener: self.listener.try_clone().context(text)?,
            admin: self.admin.as_ref().map(TcpListener::try_clone).transpose().context(text)?,
        })
    }
}

/// The conversation with the process that runs, until its successor serves.
#[derive(Debug)]
pub struct Handover(UnixStream);

impl Handover {
    /// Takes the sockets of the process that offers them at `path`; `None`: there is none.
    pub fn take(path: &Path) -> anyhow::Result<Option<(Self, Sockets)>> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("`{}` cannot be reached", path.display()));
            }
        };
        let sockets = receive(&stream)
            .with_context(|| format!("the process at `{}` does not hand over its sockets", path.display()))
            .hint(|| "end it, or start with another --handover".into())?;
        Ok(Some((Self(stream), sockets)))
    }

    /// Tells the process that runs to take no more connections, of operators neither.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let mut answer = [0];
        self.0
            .write_all(&[READY])
            .and_then(|()| self.0.read_exact(&mut answer))
            .context("the process that ran before did not let go")?;
        anyhow::ensure!(answer == [YOURS], "the process that ran before did not let go");
        Ok(())
    }
}

/// The sockets of this process, for a successor.
#[derive(Debug)]
pub struct Offer {
    /// Where it is prepared.
    prepared: PathBuf,
    path: PathBuf,
}

impl Offer {
    /// Prepares to offer sockets at `path`, in the background; `handed_over` once a successor is about to serve.
    pub fn prepare(path: &Path, sockets: Sockets, handed_over: CancellationToken) -> anyhow::Result<Self> {
        let failed = || format!("no successor can be waited for at `{}`", path.display());
        let mut prepared = path.as_os_str().to_owned();
        prepared.push(".new");
        let prepared = PathBuf::from(prepared);
        match std::fs::remove_file(&prepared) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(failed),
        }
        let listener = UnixListener::bind(&prepared).with_context(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&prepared, mode).with_context(failed)?;
        // A thread of its own: it waits in calls that block, and ends with the process.
        std::thread::Builder::new()
            .name("handover".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    let handing = stream.map_err(anyhow::Error::from);
                    match handing.and_then(|stream| hand_over(stream, &sockets, &handed_over)) {
                        Ok(()) => return,
                        Err(error) => tracing::warn!(error = format!("{error:#}"), "a handover failed"),
                    }
                }
            })
            .with_context(failed)?;
        Ok(Self { prepared, path: path.to_owned() })
    }

    /// From now on a successor finds it. Until then it finds the offer of the process before, where there is one.
    pub fn begin(self) -> anyhow::Result<()> {
        std::fs::rename(&self.prepared, &self.path)
            .with_context(|| format!("no successor can be waited for at `{}`", self.path.display()))
    }
}

/// One successor: sockets out, and its word that it serves.
fn hand_over(
    mut stream: UnixStream,
    sockets: &Sockets,
    handed_over: &CancellationToken,
) -> anyhow::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(&stream).context("who asks cannot be told")?;
    anyhow::ensure!(peer.uid == rustix::process::geteuid(), "another user asks for the sockets");
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![sockets.listener.as_fd()];
    fds.extend(sockets.admin.as_ref().map(AsFd::as_fd));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    anyhow::ensure!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there are too many sockets");
    let kind = [if sockets.admin.is_some() { WITH_ADMIN } else { WITHOUT_ADMIN }];
    sendmsg(&stream, &[IoSlice::new(&kind)], &mut control, SendFlags::NOSIGNAL)?;
    let mut word = [0];
    stream.read_exact(&mut word).context("the successor did not start")?;
    anyhow::ensure!(word == [READY], "the successor did not start");
    // Before the answer: from then on, what operators ask is for the successor.
    handed_over.cancel();
    stream.write_all(&[YOURS]).context("the successor did not start")
}

/// Sockets of one process.
const SOCKETS_MAX: usize = 2;

fn receive(stream: &UnixStream) -> anyhow::Result<Sockets> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut kind)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let mut listeners = fds.into_iter().map(TcpListener::from);
    let listener = listeners.next().context("no socket came")?;
    let admin = listeners.next();
    anyhow::ensure!(admin.is_some() == (kind == [WITH_ADMIN]), "a socket is missing");
    Ok(Sockets { listener, admin })
}
