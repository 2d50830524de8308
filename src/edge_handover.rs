//! A restart without a dropped connection: a new process takes the listening sockets of the one that runs.
//!
//! The sockets themselves move, over a Unix socket of the same user. Two processes that each bind the address would do for
//! most connections, but those that wait in the queue of the one that closes would be reset.
//!
//! The conversation goes on while the one before drains: it is told of purges, as lines of JSON.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use edge::{Edge, Predecessor};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use release::journal::Selector;
use release::keys::Site;
use release::wire::{Dropped, EdgeProgress, EdgeReceipt};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;

use crate::failure::HintExt;

/// How long either side waits for the other: a process that hangs must not keep its successor from starting.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a successor may take from the sockets to its word that it serves: it waits for what it needs, too.
const START_MAX: Duration = PATIENCE.saturating_mul(2);
/// How long a process that drains may take to answer its successor.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Bytes of a message between the two: what the admin address takes, as it stands in JSON.
const MESSAGE_BYTES_MAX: u64 = 8 << 20;
/// What the sockets come with: whether the last one is the admin address's.
const WITH_ADMIN: u8 = 1;
const WITHOUT_ADMIN: u8 = 0;
/// Between two looks whether the process before has ended.
const LOOK_FOR_END: Duration = Duration::from_millis(500);
/// Between two looks whether the edge is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What the successor says once it is about to serve, and what it is answered. Where the one before has ended, nothing is.
const READY: u8 = b'r';
const YOURS: u8 = b'y';
const MINE: u8 = b'n';

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

/// What is at this path will be replaced: it may be an old socket, and nothing else.
fn only_a_socket(path: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(path) {
        Ok(is) if !is.file_type().is_socket() => {
            Err(anyhow::anyhow!("`{}` is in the way of the socket for a successor", path.display()))
                .hint(|| "name a path where nothing is with --handover, such as /run/bake-edge.sock".into())
        }
        _ => Ok(()),
    }
}

/// The conversation with the process that runs, until its successor serves.
#[derive(Debug)]
pub struct Handover(UnixStream);

impl Handover {
    /// Takes the sockets of the process that offers them at `path`; `None`: there is none.
    pub fn take(path: &Path) -> anyhow::Result<Option<(Self, Sockets)>> {
        // To whoever connects, a file looks like a socket where nobody listens.
        only_a_socket(path)?;
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
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

    /// Tells the process that runs to take no more connections, of operators neither, once the edge is ready to answer them. One
    /// that has ended meanwhile leaves the sockets to this one alone.
    pub async fn finish(mut self, edge: &Edge, before: &Before) -> anyhow::Result<()> {
        let ready = async {
            while !edge.is_ready() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, ready).await;
        let seconds = PATIENCE.as_secs();
        waited.with_context(|| format!("nothing told the edge what is published within {seconds} s")).hint(
            || "see whether an origin or the bucket can be reached; the process that runs goes on".into(),
        )?;
        match self.ask().context("the process that ran before does not let go")? {
            Some(YOURS) => {}
            Some(_) => anyhow::bail!("the process that ran before does not let go: it waited for too long"),
            None => {
                tracing::warn!("the process that ran before has ended meanwhile");
                before.let_go.cancel();
                return Ok(());
            }
        }
        self.0.set_nonblocking(true).context("the process that ran before cannot be told of purges")?;
        let stream = tokio::net::UnixStream::from_std(self.0)
            .context("the process that ran before cannot be told of purges")?;
        *before.stream.lock().await = Some(BufReader::new(stream));
        before.let_go.cancel();
        Ok(())
    }

    /// Says that this process is about to serve. Returns what is answered; `None`: who would answer has ended.
    fn ask(&mut self) -> std::io::Result<Option<u8>> {
        match self.0.write_all(&[READY]) {
            // What it said before it went can still be read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written?,
        }
        let mut answer = [0];
        match self.0.read_exact(&mut answer) {
            Ok(()) => Ok(Some(answer[0])),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What a process that drains is told by its successor. The answer is a line of JSON too, a list of receipts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Purge { selectors: Vec<Selector>, soft: bool },
    CatchUp { at: Vec<(Site, u64)> },
}

/// The process that ran before, as its successor reaches it.
#[derive(Debug)]
pub struct Before {
    /// What receipts call it where it says nothing.
    name: String,
    /// `None`: it has not let go, or it has ended.
    stream: Arc<tokio::sync::Mutex<Option<BufReader<tokio::net::UnixStream>>>>,
    let_go: CancellationToken,
}

impl Before {
    /// Of the successor that is called this.
    pub fn of(successor: &str) -> Self {
        Self { name: draining(successor), stream: Arc::default(), let_go: CancellationToken::new() }
    }

    /// Waits until it has ended: who is told of purges passes them on to it for as long as it answers clients.
    pub async fn ended(&self) {
        let mut is_said = false;
        loop {
            // Nothing that it has not applied. That it has ended shows when it is told something.
            self.tell(Word::CatchUp { at: Vec::new() }).await;
            // Who tells it something now waits for its answer.
            if self.stream.try_lock().is_ok_and(|stream| stream.is_none()) {
                return;
            }
            if !std::mem::replace(&mut is_said, true) {
                tracing::info!(
                    "the process before this one still answers clients: what purges say is passed on to it"
                );
            }
            tokio::time::sleep(LOOK_FOR_END).await;
        }
    }

    /// Its answer; `None`: it has not said in time that it has done this.
    async fn tell(&self, word: Word) -> Option<Vec<EdgeReceipt>> {
        self.let_go.cancelled().await;
        let telling = async {
            let mut held = Arc::clone(&self.stream).lock_owned().await;
            // To its end, whoever waits: what is left of an answer would be taken for the next one.
            let told = tokio::spawn(async move {
                let Some(stream) = &mut *held else { return Ok(Vec::new()) };
                let line = line_of(&word)?;
                let answer = match stream.write_all(&line).await {
                    Ok(()) => read_line(stream).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(Some(answer)) => anyhow::Ok(serde_json::from_slice(&answer)?),
                    // It has ended.
                    Ok(None) | Err(_) => {
                        *held = None;
                        Ok(Vec::new())
                    }
                }
            });
            told.await.map_err(anyhow::Error::from).flatten()
        };
        match tokio::time::timeout(ANSWER_MAX, telling).await {
            Ok(Ok(receipts)) => Some(receipts),
            Ok(Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "the process that drains is not understood");
                None
            }
            Err(_) => {
                tracing::warn!("the process that drains says nothing");
                None
            }
        }
    }
}

impl Predecessor for Before {
    fn purge<'a>(&'a self, selectors: &'a [Selector], soft: bool) -> BoxFuture<'a, Vec<EdgeReceipt>> {
        async move {
            let told = self.tell(Word::Purge { selectors: selectors.to_vec(), soft }).await;
            told.unwrap_or_else(|| {
                let (state, dropped) = (EdgeProgress::Pending, Dropped::default());
                vec![EdgeReceipt { edge: self.name.clone(), state, dropped }]
            })
        }
        .boxed()
    }

    fn catch_up<'a>(&'a self, at: &'a [(Site, u64)]) -> BoxFuture<'a, ()> {
        self.tell(Word::CatchUp { at: at.to_vec() }).map(drop).boxed()
    }
}

/// What receipts call an edge that drains.
fn draining(edge: &str) -> String {
    format!("{edge} (draining)")
}

/// What either side says, as a line.
fn line_of(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The next line; `None`: there is none.
async fn read_line(stream: &mut BufReader<tokio::net::UnixStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    Ok(line.ends_with(b"\n").then_some(line))
}

/// Does what the successor says, until this process or the successor has ended.
async fn follow(stream: UnixStream, edge: &Edge) -> anyhow::Result<()> {
    stream.set_nonblocking(true)?;
    let mut stream = BufReader::new(tokio::net::UnixStream::from_std(stream)?);
    while let Some(line) = read_line(&mut stream).await? {
        // What is not understood may be a purge.
        let word = serde_json::from_slice(&line).inspect_err(|_| edge.cut())?;
        let receipts = match word {
            Word::Purge { selectors, soft } => {
                let mut receipts = edge.purge(&selectors, soft).await;
                receipts.iter_mut().take(1).for_each(|own| own.edge = draining(&own.edge));
                receipts
            }
            Word::CatchUp { at } => {
                edge.catch_up(&at).await;
                Vec::new()
            }
        };
        stream.write_all(&line_of(&receipts)?).await?;
    }
    Ok(())
}

/// The sockets of this process, for a successor.
#[derive(Debug)]
pub struct Offer {
    /// Where it is prepared.
    prepared: PathBuf,
    path: PathBuf,
    waits: JoinHandle<()>,
}

/// An offer that a successor finds.
#[derive(Debug)]
pub struct Offered(JoinHandle<()>);

impl Offered {
    /// Ready once the successor has been told that the sockets are its own: it gives up where this process ends before. To be
    /// waited for only once they are handed over.
    pub async fn answered(self) {
        let waited = tokio::task::spawn_blocking(move || self.0.join()).await;
        if !matches!(waited, Ok(Ok(()))) {
            tracing::warn!("the successor may not know that this process ends");
        }
    }
}

impl Offer {
    /// Prepares to offer sockets at `path`, in the background; `handed_over` once a successor is about to serve.
    pub fn prepare(
        path: &Path,
        sockets: Sockets,
        edge: Arc<Edge>,
        handed_over: CancellationToken,
    ) -> anyhow::Result<Self> {
        let failed = || format!("no successor can be waited for at `{}`", path.display());
        let mut prepared = path.as_os_str().to_owned();
        prepared.push(".new");
        let prepared = PathBuf::from(prepared);
        only_a_socket(&prepared)?;
        match std::fs::remove_file(&prepared) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(failed),
        }
        let listener = UnixListener::bind(&prepared)
            .with_context(failed)
            .hint(|| "see that its folder is there, and that the edge may write to it".into())?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&prepared, mode).with_context(failed)?;
        let runtime = tokio::runtime::Handle::current();
        let wait = move || {
            for stream in listener.incoming() {
                let handing = stream.map_err(anyhow::Error::from);
                match handing.and_then(|stream| hand_over(stream, &sockets, &handed_over)) {
                    Ok(stream) => {
                        let edge = Arc::clone(&edge);
                        runtime.spawn(async move {
                            if let Err(error) = follow(stream, &edge).await {
                                tracing::warn!(error = format!("{error:#}"), "the successor is not heard");
                            }
                        });
                    }
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "a handover failed"),
                }
                if handed_over.is_cancelled() {
                    return;
                }
            }
        };
        // A thread of its own: it waits in calls that block, and ends with the process.
        let waits = std::thread::Builder::new().name("handover".into()).spawn(wait).with_context(failed)?;
        Ok(Self { prepared, path: path.to_owned(), waits })
    }

    /// From now on a successor finds it. Until then it finds the offer of the process before, where there is one.
    pub fn begin(self) -> anyhow::Result<Offered> {
        std::fs::rename(&self.prepared, &self.path)
            .with_context(|| format!("no successor can be waited for at `{}`", self.path.display()))?;
        Ok(Offered(self.waits))
    }
}

/// One successor: sockets out, and its word that it serves. Returns the conversation with it.
fn hand_over(
    mut stream: UnixStream,
    sockets: &Sockets,
    handed_over: &CancellationToken,
) -> anyhow::Result<UnixStream> {
    let peer = rustix::net::sockopt::socket_peercred(&stream).context("who asks cannot be told")?;
    anyhow::ensure!(peer.uid == rustix::process::geteuid(), "another user asks for the sockets");
    stream.set_read_timeout(Some(START_MAX))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![sockets.listener.as_fd()];
    fds.extend(sockets.admin.as_ref().map(AsFd::as_fd));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    anyhow::ensure!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there are too many sockets");
    let kind = [if sockets.admin.is_some() { WITH_ADMIN } else { WITHOUT_ADMIN }];
    sendmsg(&stream, &[IoSlice::new(&kind)], &mut control, SendFlags::NOSIGNAL)?;
    let mut word = [0];
    if stream.read_exact(&mut word).is_err() || word != [READY] {
        // So that it does not take this process for one that has ended.
        stream.write_all(&[MINE]).context("the successor did not start")?;
        anyhow::bail!("the successor did not start in time");
    }
    // Before the answer: from then on, what operators ask is for the successor.
    handed_over.cancel();
    stream.write_all(&[YOURS]).context("the successor did not start")?;
    Ok(stream)
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
