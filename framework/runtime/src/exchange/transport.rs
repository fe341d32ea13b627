//! The parts of a connection between processes.

use std::{future::Future, pin::Pin};

use flott_core::Result;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A two-way byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A handshake under way. It has no time limit of its own: its caller sets one.
pub type Handshake<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>>> + Send + 'a>>;

/// Authenticates both ends of a connection as members of one cluster, and encrypts the data that follows.
pub trait SecureTransport: Send + Sync {
    /// Takes a connection.
    ///
    /// # Errors
    /// When the peer does not prove itself. It has learnt nothing but that it is refused.
    fn accept(&self, stream: TcpStream) -> Handshake<'_>;

    /// Opens a connection. The peer has proven itself when this returns; whether it accepts this process shows when
    /// something is read.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](flott_core::ErrorKind::Settings) when the peer does not prove itself.
    fn dial(&self, stream: TcpStream) -> Handshake<'_>;
}

/// A connection to another TaskManager. Plain TCP has a variant of its own, so that it costs no virtual call.
pub(super) enum PeerStream {
    Plain(TcpStream),
    Secure(Box<dyn ByteStream>),
}
