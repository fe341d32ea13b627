use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, Request},
};

use crate::error::{Error, Result};

/// The fate of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As if there were no proxy.
    Pass,
    /// The broker never sees it; the client gets this answer, made by [`ProxiedRequest::answer`].
    Answer(Vec<u8>),
    /// The broker never sees it, and nothing is answered.
    Swallow,
    /// The broker never sees it, and the connection breaks.
    Break,
    /// The broker carries it out; the client gets this answer instead of the broker's.
    AnswerAfter(Vec<u8>),
    /// The broker carries it out and answers; the connection breaks instead of the answer.
    BreakAfter,
}

/// A request on its way to the broker.
#[derive(Clone, Debug)]
pub struct ProxiedRequest {
    header: RequestHeader,
    /// Without the length prefix.
    frame: Bytes,
}

impl ProxiedRequest {
    /// Reads a frame without its length prefix.
    pub(super) fn read(frame: Bytes) -> Result<Self> {
        // The newer header of flexible versions only adds to the end of this one.
        const HEADER_VERSION: i16 = 1;
        let header = RequestHeader::decode(&mut frame.clone(), HEADER_VERSION);
        let header = header.map_err(|error| malformed(&error))?;
        Ok(Self { header, frame })
    }

    /// Kafka's number of this kind of request.
    #[must_use]
    pub fn api_key(&self) -> i16 {
        self.header.request_api_key
    }

    /// By which its answer is known.
    #[must_use]
    pub fn correlation_id(&self) -> i32 {
        self.header.correlation_id
    }

    /// The name that the client gives itself: `flott` when the JobManager settles, `rdkafka` when a task reads or writes.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or_default()
    }

    /// The request itself, if it is an `R`.
    ///
    /// # Panics
    /// When it is said to be one and cannot be read.
    #[must_use]
    pub fn decode<R: Request>(&self) -> Option<R> {
        if self.api_key() != R::KEY {
            return None;
        }
        let (mut frame, version) = (self.frame.clone(), self.header.request_api_version);
        let decode = |frame: &mut Bytes| {
            RequestHeader::decode(frame, R::header_version(version))?;
            R::decode(frame, version)
        };
        Some(decode(&mut frame).unwrap_or_else(|error| panic!("{}", malformed(&error))))
    }

    /// The frame of an answer to this request, an `R`.
    ///
    /// # Panics
    /// When the answer cannot be written in the version that was asked for.
    #[must_use]
    pub fn answer<R: Request>(&self, answer: &R::Response) -> Vec<u8> {
        let version = self.header.request_api_version;
        let header = ResponseHeader::default().with_correlation_id(self.correlation_id());
        let mut frame = BytesMut::new();
        let written = header
            .encode(&mut frame, R::Response::header_version(version))
            .and_then(|()| answer.encode(&mut frame, version));
        written.unwrap_or_else(|error| panic!("{}", malformed(&error)));
        frame.to_vec()
    }

    pub(super) fn frame(&self) -> &Bytes {
        &self.frame
    }
}

/// The correlation id of an answer without its length prefix.
pub(super) fn answered(mut frame: &[u8]) -> Option<i32> {
    (frame.len() >= 4).then(|| frame.get_i32())
}

fn malformed(error: &impl std::fmt::Display) -> Error {
    Error::Unexpected(format!("malformed Kafka message: {error}"))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::{EndTxnRequest, EndTxnResponse, MetadataRequest},
        protocol::StrBytes,
    };

    use super::*;

    fn request(version: i16) -> ProxiedRequest {
        let header = RequestHeader::default()
            .with_request_api_key(EndTxnRequest::KEY)
            .with_request_api_version(version)
            .with_correlation_id(77)
            .with_client_id(Some(StrBytes::from_static_str("flott")));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, EndTxnRequest::header_version(version)).unwrap();
        let body = EndTxnRequest::default().with_producer_epoch(5).with_committed(true);
        body.encode(&mut frame, version).unwrap();
        ProxiedRequest::read(frame.freeze()).unwrap()
    }

    #[test]
    fn requests_of_old_and_of_flexible_versions_are_read_and_answered() {
        for version in [1, 3] {
            let request = request(version);
            assert_eq!((request.client_id(), request.correlation_id()), ("flott", 77));
            let body = request.decode::<EndTxnRequest>().unwrap();
            assert!(body.committed && body.producer_epoch == 5);
            assert!(request.decode::<MetadataRequest>().is_none());

            let answer = request.answer::<EndTxnRequest>(&EndTxnResponse::default().with_error_code(-1));
            assert_eq!(answered(&answer), Some(77));
            let mut rest = Bytes::from(answer);
            ResponseHeader::decode(&mut rest, EndTxnResponse::header_version(version)).unwrap();
            assert_eq!(EndTxnResponse::decode(&mut rest, version).unwrap().error_code, -1);
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(ProxiedRequest::read(Bytes::from_static(b"GET / HTTP")).is_err());
        assert_eq!(answered(b"abc"), None);
    }
}
