//! What is left of a connection after a 101: bytes, both ways, until one side ends or both are silent for too long.

use std::io;

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::deadlines::{Reading, Slot};
use crate::upstream::Upgraded;

/// Bytes that are under way in one direction.
const BUFFER_BYTES: usize = 16 << 10;

/// An upstream's connection after its 101.
#[derive(Debug)]
pub(crate) struct Tunnel(Upgraded);

impl Tunnel {
    pub(crate) fn new(upgraded: Upgraded) -> Self {
        Self(upgraded)
    }

    /// Copies until both directions have ended, or one has broken. `early` is what the client has sent already.
    pub(crate) async fn run(self, client: &mut TcpStream, early: BytesMut, slot: &Slot) -> io::Result<()> {
        slot.reads(Reading::Tunnel);
        let Upgraded { io, early: told } = self.0;
        let (mut from_upstream, mut to_upstream) = tokio::io::split(*io);
        let (mut from_client, mut to_client) = client.split();
        let up = async {
            to_upstream.write_all(&early).await?;
            drop(early);
            pass(&mut from_client, &mut to_upstream, slot, |_| {}).await
        };
        let down = async {
            to_client.write_all(&told).await?;
            slot.wrote(told.len());
            drop(told);
            pass(&mut from_upstream, &mut to_client, slot, |bytes| slot.wrote(bytes)).await
        };
        tokio::try_join!(up, down)?;
        Ok(())
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    slot: &Slot,
    wrote: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(BUFFER_BYTES);
        if from.read_buf(&mut buffer).await? == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer).await?;
        wrote(buffer.len());
        // Bytes that have arrived are the sign of life; bytes that nobody takes are not.
        slot.reads(Reading::Tunnel);
        buffer.clear();
    }
}
