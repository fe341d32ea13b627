//! What goes over the connections of an attempt: frames, and signs of life.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::exchange::{
    FRAME_BYTES_MAX, FRAME_BYTES_TARGET, PeerIndex, PeerLink, PeerPatience, silence::Silence,
    transport::PeerStream,
};

/// A frame without content: somebody is there.
pub(super) const HEARTBEAT: [u8; 4] = 0u32.to_le_bytes();

/// The connections of one attempt. Dropping it closes them.
#[derive(Default)]
pub struct ExchangeSession {
    tasks: JoinSet<()>,
}

impl ExchangeSession {
    pub(super) fn attach(
        &mut self,
        peer: PeerIndex,
        link: PeerLink,
        stream: PeerStream,
        patience: PeerPatience,
        on_lost: &Arc<dyn Fn(PeerIndex, Error) + Send + Sync>,
    ) {
        let on_lost = Arc::clone(on_lost);
        match stream {
            PeerStream::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                self.serve(peer, link, reader, writer, patience, on_lost);
            }
            PeerStream::Secure(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                self.serve(peer, link, reader, writer, patience, on_lost);
            }
        }
    }

    fn serve<R, W>(
        &mut self,
        peer: PeerIndex,
        link: PeerLink,
        reader: R,
        writer: W,
        patience: PeerPatience,
        on_lost: Arc<dyn Fn(PeerIndex, Error) + Send + Sync>,
    ) where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        self.tasks.spawn(async move {
            let was_heard = AtomicBool::new(false);
            let ended = tokio::select! {
                ended = read_frames(Hearing { reader, was_heard: &was_heard }, &link) => ended,
                ended = write_frames(writer, &link, patience.heartbeat_interval) => ended,
                error = notice_silence(&was_heard, patience) => Err(error),
            };
            link.is_lost.store(true, Ordering::Relaxed);
            if let Err(error) = ended {
                on_lost(
                    peer,
                    error.with_kind(ErrorKind::Transient).context("connection to a TaskManager lost"),
                );
            }
        });
    }
}

async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    link: &PeerLink,
    heartbeat_interval: Duration,
) -> Result<()> {
    let mut heartbeats = ticks(heartbeat_interval);
    loop {
        tokio::select! {
            () = link.outbox.filled.notified() => {
                for frame in link.outbox.take() {
                    writer.write_all(&frame).await?;
                    link.outbox.recycle(frame);
                }
            }
            _ = heartbeats.tick() => writer.write_all(&HEARTBEAT).await?,
        }
        // Of a plain connection there is nothing to flush.
        writer.flush().await?;
    }
}

/// Ticks that are late push back those that follow.
fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns when the peer is lost.
async fn notice_silence(was_heard: &AtomicBool, patience: PeerPatience) -> Error {
    let mut ticks = ticks(patience.heartbeat_interval);
    let mut silence = Silence::new(patience.heartbeat_interval, patience.heartbeat_timeout);
    loop {
        ticks.tick().await;
        if silence.on_interval(was_heard.swap(false, Ordering::Relaxed)) {
            return Error::transient(format!("nothing was heard for {:?}", patience.heartbeat_timeout));
        }
    }
}

/// A connection that notes that something has come.
struct Hearing<'a, R> {
    reader: R,
    was_heard: &'a AtomicBool,
}

impl<R: AsyncRead + Unpin> AsyncRead for Hearing<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.reader).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.was_heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

async fn read_frames(reader: Hearing<'_, impl AsyncRead + Unpin>, link: &PeerLink) -> Result<()> {
    let mut reader = BufReader::with_capacity(2 * FRAME_BYTES_TARGET, reader);
    loop {
        let length = reader.read_u32_le().await? as usize;
        if length == 0 {
            continue;
        }
        if length > FRAME_BYTES_MAX {
            return Err(Error::transient(format!(
                "a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed"
            )));
        }
        // Allocate as bytes arrive, not as the length claims.
        let mut bytes = Vec::with_capacity(length.min(4 * FRAME_BYTES_TARGET));
        let read = (&mut reader).take(length as u64).read_to_end(&mut bytes).await?;
        if read < length {
            return Err(Error::transient("the connection ended inside a frame"));
        }
        link.receive(bytes)?;
    }
}
