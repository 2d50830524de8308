//! What is left of a connection after a 101: bytes, both ways, until one side ends or both are silent for too long.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::{
    connection::SCRATCH,
    deadlines::{Place, Reading},
};
use crate::upstream::Upgraded;

/// What the kernel may hold of either direction for the upstream of a tunnel, in bytes, where there are many connections.
const TUNNEL_BYTES: usize = 8 << 10;

/// An upstream's connection after its 101.
#[derive(Debug)]
pub(crate) struct Tunnel(Upgraded);

impl Tunnel {
    pub(crate) fn new(upgraded: Upgraded) -> Self {
        Self(upgraded)
    }

    /// Copies until both directions have ended, or one has broken. `early` is what the client has sent already.
    pub(crate) async fn run(self, client: &mut TcpStream, early: BytesMut, place: &Place) -> io::Result<()> {
        let slot = &place.slot;
        slot.reads(Reading::Tunnel);
        let Upgraded { mut io, early: told, under_way: _counted } = self.0;
        if place.is_narrow() {
            io.bound(TUNNEL_BYTES);
        }
        let (mut from_upstream, mut to_upstream) = tokio::io::split(*io);
        let (mut from_client, mut to_client) = client.split();
        let up = async {
            to_upstream.write_all(&early).await?;
            drop(early);
            pass(&mut from_client, &mut to_upstream, place, |_| {}).await
        };
        let down = async {
            to_client.write_all(&told).await?;
            slot.wrote(told.len());
            drop(told);
            pass(&mut from_upstream, &mut to_client, place, |bytes| slot.wrote(bytes)).await
        };
        tokio::try_join!(up, down)?;
        from_upstream.unsplit(to_upstream).is_over();
        Ok(())
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    place: &Place,
    wrote: impl Fn(usize),
) -> io::Result<()> {
    loop {
        let part = next(from, place.read_bytes_max()).await?;
        if part.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(&part).await?;
        wrote(part.len());
        // Bytes that have arrived are the sign of life; bytes that nobody takes are not.
        place.slot.reads(Reading::Tunnel);
    }
}

/// What comes next, at most so many bytes; empty at the end. Whoever waits for it needs no room: nearly all tunnels are silent at any time.
async fn next(from: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Bytes> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut into = ReadBuf::new(&mut scratch[..bytes_max]);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut into))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(into.filled())))
        })
    })
    .await
}
