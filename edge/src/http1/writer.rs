//! Writing to a client that must take what is sent to it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    time::Duration,
};

use rustix::{fs::sendfile, io::writev};
use socket2::SockRef;
use tokio::{
    io::{AsyncWrite, Interest},
    net::{TcpStream, tcp::WriteHalf},
    task::consume_budget,
};

use super::{
    deadlines::Place,
    unsent::{self, TIGHT_BYTES},
};
use crate::stored_body::MemoryFile;

/// A client must take this much, or all there is, before its deadline begins anew; one that takes single bytes would
/// otherwise hold a response for ever.
pub(super) const PROGRESS_BYTES_MIN: usize = 4 << 10;

/// The writing half of a connection.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    half: WriteHalf<'a>,
    place: &'a Place,
    taken: usize,
    waits: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(half: WriteHalf<'a>, place: &'a Place) -> Self {
        Self { half, place, taken: 0, waits: false }
    }

    /// Writes all, in as few calls as the client's pace allows.
    pub(crate) async fn write(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.write_noting(parts, &mut |_| {}).await
    }

    /// The same, and tells how many bytes went out with each call.
    pub(crate) async fn write_noting(
        &mut self,
        mut parts: &mut [IoSlice<'_>],
        note: &mut impl FnMut(usize),
    ) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let left = parts.iter().map(|part| part.len()).sum();
            let written = self
                .hand(left, |stream, most| {
                    let (first, rest) = at_most(parts, most);
                    Ok(writev(stream, first.as_ref().map_or(rest, std::slice::from_ref))?)
                })
                .await?;
            note(written);
            IoSlice::advance_slices(&mut parts, written);
        }
        self.took_all();
        Ok(())
    }

    /// Writes `length` bytes of a file from `offset` on, and tells how many went out with each call; the kernel sends its pages
    /// as they are.
    pub(crate) async fn write_file(
        &mut self,
        file: &MemoryFile,
        mut offset: u64,
        mut length: usize,
        note: &mut impl FnMut(usize),
    ) -> io::Result<()> {
        self.place.lift(self.half.as_ref())?;
        while length > 0 {
            let send =
                |stream: &TcpStream, most| Ok(sendfile(stream, file, Some(&mut offset), length.min(most))?);
            let sent = self.hand(length, send).await?;
            note(sent);
            length = length.saturating_sub(sent);
        }
        self.place.lower(self.half.as_ref())?;
        self.took_all();
        Ok(())
    }

    /// Hands the kernel something of `left` bytes as soon as it takes more: `send` is told how much at most. Returns how much it
    /// took.
    async fn hand(
        &mut self,
        left: usize,
        mut send: impl FnMut(&TcpStream, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            // A client that takes all at once is not to keep its thread from all others.
            consume_budget().await;
            let stream = self.half.as_ref();
            let most = self.place.write_bytes_max(stream);
            let sent = stream.try_io(Interest::WRITABLE, || {
                if most < usize::MAX && !unsent::has_room(stream) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                send(stream, most)
            });
            match sent {
                Ok(sent) => {
                    self.took(sent)?;
                    return Ok(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.begins_to_wait(left);
                    self.half.as_ref().writable().await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The client takes nothing for now, and so many bytes are kept for it: its deadline begins, unless it runs already.
    fn begins_to_wait(&mut self, kept: usize) {
        self.place.slot.keeps(kept);
        if !self.waits {
            self.waits = true;
            self.taken = 0;
            self.place.is_held_up(self.half.as_ref());
            self.place.slot.writes();
        }
    }

    /// The client took some bytes.
    fn took(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.place.slot.wrote(bytes);
        self.taken = self.taken.saturating_add(bytes);
        if self.waits && self.taken >= PROGRESS_BYTES_MIN {
            self.waits = false;
            self.place.slot.written();
        }
        Ok(())
    }

    /// The client took all there was.
    fn took_all(&mut self) {
        self.place.slot.keeps(0);
        if self.waits {
            self.waits = false;
            self.place.slot.written();
        }
    }

    /// Writes what the socket takes at once; 0: nothing, for now.
    pub(crate) fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let is_tight = self.place.is_tight(self.half.as_ref());
        if is_tight && !unsent::has_room(self.half.as_ref()) {
            return Ok(0);
        }
        let (first, rest) = at_most(parts, if is_tight { TIGHT_BYTES } else { usize::MAX });
        match self.half.try_write_vectored(first.as_ref().map_or(rest, std::slice::from_ref)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written.inspect(|written| self.place.slot.wrote(*written)),
        }
    }

    /// Whether the connection is reset, should it be dropped from now on, in place of ended: of a content that ends with the
    /// connection an end says that it is whole (RFC 9112 §8).
    pub(crate) fn resets_when_dropped(&self, resets: bool) -> io::Result<()> {
        SockRef::from(self.half.as_ref()).set_linger(resets.then_some(Duration::ZERO))
    }

    /// Says that nothing more will come.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut self.half).poll_shutdown(cx)).await
    }
}

/// The first of `parts`, cut where it alone is more than `most` bytes; or those of them that come to no more.
fn at_most<'a, 'b>(parts: &'a [IoSlice<'b>], most: usize) -> (Option<IoSlice<'a>>, &'a [IoSlice<'b>]) {
    let mut bytes = 0usize;
    let fit = parts.iter().take_while(|part| {
        bytes = bytes.saturating_add(part.len());
        bytes <= most
    });
    match fit.count() {
        0 => (parts.first().map(|part| IoSlice::new(&part[..most.min(part.len())])), parts),
        count => (None, &parts[..count]),
    }
}
