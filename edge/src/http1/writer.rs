//! Writing to a client that must take what is sent to it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
};

use tokio::{io::AsyncWrite, net::tcp::WriteHalf};

use super::deadlines::Slot;

/// A client must take this much, or all there is, before its deadline begins anew; one that takes single bytes would
/// otherwise hold a response for ever.
const PROGRESS_BYTES_MIN: usize = 4 << 10;

/// The writing half of a connection.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    half: WriteHalf<'a>,
    slot: &'a Slot,
    taken: usize,
    waits: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(half: WriteHalf<'a>, slot: &'a Slot) -> Self {
        Self { half, slot, taken: 0, waits: false }
    }

    /// Writes all, in as few calls as the client's pace allows.
    pub(crate) async fn write(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let written = std::future::poll_fn(|cx| {
                let poll = Pin::new(&mut self.half).poll_write_vectored(cx, parts);
                if poll.is_pending() && !self.waits {
                    self.waits = true;
                    self.taken = 0;
                    self.slot.writes();
                }
                poll
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.taken = self.taken.saturating_add(written);
            if self.waits && self.taken >= PROGRESS_BYTES_MIN {
                self.waits = false;
                self.slot.written();
            }
            IoSlice::advance_slices(&mut parts, written);
        }
        if self.waits {
            self.waits = false;
            self.slot.written();
        }
        Ok(())
    }

    /// Writes what the socket takes at once; 0: nothing, for now.
    pub(crate) fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.half.try_write_vectored(parts) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Says that nothing more will come.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut self.half).poll_shutdown(cx)).await
    }
}
