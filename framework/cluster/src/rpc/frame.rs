//! Frames: a length of four bytes, little-endian, then a message.

use flott_core::{Error, ErrorKind, Result, ResultExt};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame of a registered peer: committables and splits of a checkpoint travel in one.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest frame of a peer that has not yet said who it is.
pub(crate) const HELLO_BYTES_MAX: usize = 1024;

/// Bytes that are allocated before they have arrived.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// The first bytes of a TLS connection, of any version.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 3];

/// The first bytes of the answer of a TLS peer to anything that is not TLS.
const TLS_ALERT: [u8; 2] = [0x15, 3];

const MAGIC: [u8; 4] = *b"FLTC";
const VERSION: u16 = 1;

/// The first bytes of a TaskManager's connection.
fn preamble() -> [u8; 6] {
    let [low, high] = VERSION.to_le_bytes();
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, low, high]
}

pub(crate) async fn write_preamble(writer: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    writer.write_all(&preamble()).await.or_error(ErrorKind::Transient, "cannot send")
}

pub(crate) async fn read_preamble(reader: &mut (impl AsyncRead + Unpin)) -> Result<()> {
    let mut bytes = [0; 6];
    reader.read_exact(&mut bytes).await.or_error(ErrorKind::Transient, "the connection ended")?;
    if bytes.starts_with(&TLS_HANDSHAKE) {
        return Err(Error::transient(
            "the connection begins as TLS does; this process has neither `secret_file` nor `tls_cert`",
        ));
    }
    if bytes != preamble() {
        return Err(Error::transient(format!(
            "the connection begins with {bytes:02x?}, which no TaskManager of this version sends"
        )));
    }
    Ok(())
}

/// Waits for the first bytes of an answer.
///
/// # Errors
/// [`ErrorKind::Settings`] when they are TLS and not frames.
pub(crate) async fn expect_no_tls(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<()> {
    let begun = reader.fill_buf().await.or_error(ErrorKind::Transient, "cannot receive")?;
    if begun.starts_with(&TLS_ALERT) {
        return Err(Error::new(
            ErrorKind::Settings,
            "it speaks TLS; this process has neither `secret_file` nor `tls_cert`",
        ));
    }
    Ok(())
}

/// A message as a frame.
pub(crate) fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(message, bytes).or_error(ErrorKind::Internal, "cannot encode a message")?;
    let length = bytes.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX).ok_or_else(|| {
        Error::internal(format!("a message of {length} bytes; at most {FRAME_BYTES_MAX} can be sent"))
    })?;
    bytes[..4].copy_from_slice(&prefix.to_le_bytes());
    Ok(bytes)
}

/// Reads one message of at most `bytes_max` bytes. None when the peer closed the connection between two frames.
pub(crate) async fn read<M: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> Result<Option<M>> {
    let mut prefix = [0; 4];
    let first = reader.read(&mut prefix).await.or_error(ErrorKind::Transient, "cannot receive")?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut prefix[first..]).await.or_error(ErrorKind::Transient, "cannot receive")?;
    let length = u32::from_le_bytes(prefix) as usize;
    if length > bytes_max {
        return Err(Error::transient(format!("a frame of {length} bytes; at most {bytes_max} are allowed")));
    }
    let mut bytes = Vec::with_capacity(length.min(READ_AHEAD_BYTES));
    let read = reader.take(length as u64).read_to_end(&mut bytes).await;
    if read.or_error(ErrorKind::Transient, "cannot receive")? < length {
        return Err(Error::transient("the connection ended inside a frame"));
    }
    postcard::from_bytes(&bytes).map(Some).or_error(ErrorKind::Transient, "a frame holds no valid message")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_text(bytes: &[u8]) -> Result<Option<String>> {
        read(&mut &*bytes, 100).await
    }

    #[tokio::test]
    async fn messages_are_read_as_they_were_written() {
        let bytes = encode(&"brisk").unwrap();
        assert_eq!(read_text(&bytes).await.unwrap().as_deref(), Some("brisk"));
        assert_eq!(read_text(&[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn garbage_is_an_error_and_allocates_nothing() {
        let error = read_text(&[0xff; 50]).await.unwrap_err().to_string();
        assert!(error.contains("a frame of 4294967295 bytes"), "{error}");
        let error = read_text(&[5, 0, 0, 0, 9, 9]).await.unwrap_err().to_string();
        assert!(error.contains("inside a frame"), "{error}");
        let error = read_text(&[2, 0, 0, 0, 9, 9]).await.unwrap_err().to_string();
        assert!(error.contains("no valid message"), "{error}");
        let error = read_preamble(&mut &b"GET / HTTP/1.1"[..]).await.unwrap_err().to_string();
        assert!(error.contains("no TaskManager"), "{error}");
    }

    #[tokio::test]
    async fn one_end_with_tls_and_one_without_is_said_at_both() {
        let error = read_preamble(&mut &[0x16, 3, 1, 0, 200, 1][..]).await.unwrap_err().to_string();
        assert!(error.contains("neither `secret_file` nor"), "{error}");
        let error = expect_no_tls(&mut &[0x15, 3, 3, 0, 2, 2, 50][..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        // A short frame, and one as long as those two bytes of an alert say.
        assert!(expect_no_tls(&mut &[1, 0, 0, 0, 1][..]).await.is_ok());
        assert!(expect_no_tls(&mut &[0x15, 0, 3, 0, 2][..]).await.is_ok());
    }
}
