//! What the kernel holds of a response that it has not sent. By itself it takes up to 4 MiB for a client that reads slowly,
//! which nobody counts: with ten thousand of them, 40 GiB. What is on its way to a client is no part of this, so that a fast
//! one far away is sent as much as its connection carries.

use std::io;

use tokio::net::TcpStream;

/// Bytes that the kernel takes of a response before they have been sent.
const UNSENT_BYTES_MAX: u32 = 256 << 10;

/// Bounds what the kernel takes of what is written to a client.
///
/// # Errors
/// Where the system does not know the option.
pub(crate) fn bound(stream: &TcpStream) -> io::Result<()> {
    set(stream, UNSENT_BYTES_MAX)
}

/// Lets the kernel take as much as it likes: of a file it refers to the pages, which are counted as what is stored, and takes
/// none for itself. In small parts a MiB would cost half as much again.
///
/// # Errors
/// Where the system does not know the option.
pub(super) fn lift(stream: &TcpStream) -> io::Result<()> {
    // The system's default, which is no bound.
    set(stream, 0)
}

#[cfg(target_os = "linux")]
fn set(stream: &TcpStream, bytes_max: u32) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes_max)
}

#[cfg(not(target_os = "linux"))]
fn set(_: &TcpStream, _: u32) -> io::Result<()> {
    Ok(())
}
