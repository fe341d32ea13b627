//! Both directions of a connection, each served by a task of its own, so that reading never waits for writing.

use std::{io, time::Duration};

use flott_core::{Error, LeaderEpoch, Result};
use flott_runtime::exchange::ByteStream;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::{
    frame::{self, FRAME_BYTES_MAX},
    message::Envelope,
};

/// Messages that wait to be written at most. A peer that does not read so many is as good as lost.
const OUTBOX_MESSAGES: usize = 16_384;

/// Time to write what is left when a connection is closed in good order.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The reading half of a connection.
pub(crate) type Reader = BufReader<ReadHalf<Box<dyn ByteStream>>>;

/// Splits a stream.
pub(crate) fn split(stream: Box<dyn ByteStream>) -> (Reader, WriteHalf<Box<dyn ByteStream>>) {
    let (reader, writer) = tokio::io::split(stream);
    (BufReader::new(reader), writer)
}

/// Makes small messages leave at once.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// The sending end of a connection. Dropping it writes what waits and closes the connection.
pub(crate) struct Outbox<M> {
    epoch: LeaderEpoch,
    frames: mpsc::Sender<Vec<u8>>,
    messages: std::marker::PhantomData<fn(M)>,
}

impl<M: Serialize> Outbox<M> {
    /// Starts to write to `writer`; the handle ends when everything is written or the connection is broken.
    pub(crate) fn start(
        epoch: LeaderEpoch,
        writer: WriteHalf<Box<dyn ByteStream>>,
    ) -> (Self, JoinHandle<()>) {
        let (frames, waiting) = mpsc::channel(OUTBOX_MESSAGES);
        let writing = tokio::spawn(write_frames(writer, waiting));
        (Self { epoch, frames, messages: std::marker::PhantomData }, writing)
    }

    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// When the connection is broken or the peer does not read.
    pub(crate) fn send(&self, message: M) -> Result<()> {
        let frame = frame::encode(&Envelope { epoch: self.epoch, message })?;
        self.frames.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::transient("the peer does not read its messages"),
            mpsc::error::TrySendError::Closed(_) => Error::transient("the connection is closed"),
        })
    }
}

async fn write_frames(mut writer: WriteHalf<Box<dyn ByteStream>>, mut waiting: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = waiting.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            tracing::debug!(%error, "cannot write to a connection");
            return;
        }
        if waiting.is_empty() && writer.flush().await.is_err() {
            return;
        }
    }
    let _ = timeout(FLUSH_TIMEOUT, writer.shutdown()).await;
}

/// The next message of this reign; older ones are passed over. None when the peer closed the connection.
///
/// # Errors
/// When the connection breaks or the peer sends garbage.
pub(crate) async fn receive<M: DeserializeOwned>(
    reader: &mut Reader,
    epoch: LeaderEpoch,
) -> Result<Option<M>> {
    loop {
        let Some(envelope) = frame::read::<Envelope<M>>(reader, FRAME_BYTES_MAX).await? else {
            return Ok(None);
        };
        if envelope.epoch == epoch {
            return Ok(Some(envelope.message));
        }
        tracing::debug!(epoch = envelope.epoch.0, current = epoch.0, "ignored a message of another reign");
    }
}
