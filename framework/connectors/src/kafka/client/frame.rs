//! Requests to bytes, bytes to responses. No I/O.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flott_core::{Error, ErrorKind, Result, ResultExt};
use kafka_protocol::{
    messages::{RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

/// Longest response that is accepted, in bytes.
pub(super) const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// First correlation id of a connection. Not a small number, so that bytes which are no Kafka response hardly ever
/// carry the id that is waited for, and are refused before anything in them is believed.
pub(super) const CORRELATION_FIRST: i32 = 0x466c_6f74;

/// The whole frame of `request`, length prefix included.
pub(super) fn encode<R: Request>(request: &R, version: i16, correlation: i32) -> Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("flott")));
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(version)).map_err(malformed)?;
    request.encode(&mut frame, version).map_err(malformed)?;
    let length = i32::try_from(frame.len() - 4).or_error(ErrorKind::Internal, "request too long")?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// Checks the length prefix of a response.
pub(super) fn response_length(prefix: i32) -> Result<usize> {
    match usize::try_from(prefix) {
        Ok(length) if (4..=RESPONSE_BYTES_MAX).contains(&length) => Ok(length),
        _ => Err(Error::new(
            ErrorKind::Unreachable,
            format!(
                "no Kafka response: its length field says {prefix}, allowed are 4 to {RESPONSE_BYTES_MAX} bytes; \
                 is this a Kafka port, and does security.protocol fit it?"
            ),
        )),
    }
}

/// Length in bytes of the part behind the correlation id, for a response that is read piece by piece because it may be long.
/// `head` is its length field and its correlation id.
pub(super) fn long_response_length(head: (i32, i32), correlation: i32) -> Result<usize> {
    match (usize::try_from(head.0), head.1) {
        (Ok(length @ 4..), found) if found == correlation => Ok(length - 4),
        _ => Err(Error::new(ErrorKind::Unreachable, "no response to our request: other correlation id")),
    }
}

/// The response in `frame` (without its length prefix).
pub(super) fn decode<R: Request>(frame: Bytes, version: i16, correlation: i32) -> Result<R::Response> {
    let mut frame = frame;
    if frame.len() < 4 || frame.slice(..4).get_i32() != correlation {
        return Err(Error::new(ErrorKind::Unreachable, "no response to our request: other correlation id"));
    }
    ResponseHeader::decode(&mut frame, R::Response::header_version(version)).map_err(malformed)?;
    let response = R::Response::decode(&mut frame, version).map_err(malformed)?;
    if frame.has_remaining() {
        let text = format!("malformed Kafka message: {} bytes left over", frame.remaining());
        return Err(Error::new(ErrorKind::Unreachable, text));
    }
    Ok(response)
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unreachable, format!("malformed Kafka message: {error}"))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

    use super::*;

    fn response(correlation: i32, code: i16) -> BytesMut {
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut frame, EndTxnResponse::header_version(3)).unwrap();
        EndTxnResponse::default().with_error_code(code).encode(&mut frame, 3).unwrap();
        frame
    }

    #[test]
    fn a_request_starts_with_its_length_key_version_and_correlation() {
        let mut frame = encode(&EndTxnRequest::default(), 3, 7).unwrap();
        assert_eq!(frame.get_i32() as usize, frame.remaining());
        assert_eq!((frame.get_i16(), frame.get_i16(), frame.get_i32()), (26, 3, 7));
    }

    #[test]
    fn a_response_is_decoded_whole() {
        let decoded = decode::<EndTxnRequest>(response(5, 90).freeze(), 3, 5).unwrap();
        assert_eq!(decoded.error_code, 90);
    }

    #[test]
    fn what_is_no_response_to_this_request_is_an_error() {
        let whole = response(5, 90);
        assert!(decode::<EndTxnRequest>(whole.clone().freeze(), 3, 6).is_err(), "other correlation id");
        for length in 0..whole.len() {
            assert!(decode::<EndTxnRequest>(whole.clone().freeze().slice(..length), 3, 5).is_err());
        }
        let mut long = whole;
        long.put_u8(0);
        assert!(decode::<EndTxnRequest>(long.freeze(), 3, 5).unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn a_long_response_has_any_length_and_our_correlation_id() {
        assert_eq!(long_response_length((i32::MAX, 7), 7).unwrap(), i32::MAX as usize - 4);
        assert_eq!(long_response_length((4, 7), 7).unwrap(), 0);
        for bad in [(3, 7), (-1, 7), (100, 8)] {
            assert!(long_response_length(bad, 7).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_are_checked_before_allocation() {
        assert_eq!(response_length(4).unwrap(), 4);
        assert_eq!(response_length(64 << 20).unwrap(), RESPONSE_BYTES_MAX);
        for bad in [-1, 0, 3, (64 << 20) + 1, i32::from_be_bytes(*b"HTTP"), i32::MIN] {
            assert!(response_length(bad).is_err(), "{bad}");
        }
    }
}
