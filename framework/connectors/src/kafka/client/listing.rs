//! The answer to ListTransactions, read piece by piece.
//!
//! It names every transactional id of every application on the broker, a week back: hundreds of megabytes on a busy cluster, of
//! which a job wants the few that are its own. So it is not kept as a whole. No I/O.

use flott_core::{Error, ErrorKind, Result};

use super::{
    code::KafkaCode,
    transactions::{ListedTransaction, TransactionPhase},
};

/// Longest part of the answer that has to be there as a whole: one entry with a name of 32 KiB at most.
const PART_BYTES_MAX: usize = 128 << 10;
/// Own transactional ids that one broker may list.
const FOUND_MAX: usize = 1_000_000;

/// Reads a response of versions 0 to 2, from behind its correlation id, and keeps the transactions whose id begins with a stem.
#[derive(Debug)]
pub(super) struct Listing {
    stem: String,
    step: Step,
    code: KafkaCode,
    /// Bytes that have arrived and are not parsed yet.
    rest: Vec<u8>,
    found: Vec<ListedTransaction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    HeaderTags,
    Code,
    UnknownStateCount,
    UnknownStates(u32),
    EntryCount,
    Entries(u32),
    Tags,
    Done,
}

/// The parsed part; none while more bytes are needed.
type Parsed<T> = Result<Option<T>>;

impl Listing {
    pub(super) fn new(stem: &str) -> Self {
        Self {
            stem: stem.into(),
            step: Step::HeaderTags,
            code: KafkaCode::NONE,
            rest: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Takes the next bytes of the response.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when they are no such response.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut input = Input(&rest);
        while self.step != Step::Done {
            let before = input;
            if self.advance(&mut input)?.is_none() {
                input = before;
                break;
            }
        }
        if input.0.len() > PART_BYTES_MAX || (self.step == Step::Done && !input.0.is_empty()) {
            return Err(malformed());
        }
        self.rest = input.0.to_vec();
        Ok(())
    }

    /// The broker's answer, when all of it has come.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when it is cut short.
    pub(super) fn finish(self) -> Result<(KafkaCode, Vec<ListedTransaction>)> {
        if self.step == Step::Done { Ok((self.code, self.found)) } else { Err(malformed()) }
    }

    fn advance(&mut self, input: &mut Input<'_>) -> Parsed<()> {
        let next = match self.step {
            Step::HeaderTags => input.tags()?.map(|()| Step::Code),
            Step::Code => input.take(6).map(|head| {
                // The throttle time comes first.
                self.code = KafkaCode(i16::from_be_bytes([head[4], head[5]]));
                Step::UnknownStateCount
            }),
            Step::UnknownStateCount => {
                input.varint()?.map(|count| Step::UnknownStates(count.saturating_sub(1)))
            }
            Step::UnknownStates(0) => Some(Step::EntryCount),
            Step::UnknownStates(left) => input.string()?.map(|_| Step::UnknownStates(left - 1)),
            Step::EntryCount => input.varint()?.map(|count| Step::Entries(count.saturating_sub(1))),
            Step::Entries(0) => Some(Step::Tags),
            Step::Entries(left) => self.entry(input)?.map(|()| Step::Entries(left - 1)),
            Step::Tags => input.tags()?.map(|()| Step::Done),
            Step::Done => None,
        };
        if let Some(next) = next {
            self.step = next;
        }
        Ok(next.map(drop))
    }

    fn entry(&mut self, input: &mut Input<'_>) -> Parsed<()> {
        let Some(id) = input.string()? else { return Ok(None) };
        let Some(producer_id) = input.take(8) else { return Ok(None) };
        let Some(phase) = input.string()? else { return Ok(None) };
        if input.tags()?.is_none() {
            return Ok(None);
        }
        if id.starts_with(self.stem.as_bytes()) {
            if self.found.len() == FOUND_MAX {
                let text = format!("a broker lists more than {FOUND_MAX} transactional ids {}…", self.stem);
                return Err(Error::transient(text));
            }
            self.found.push(ListedTransaction {
                transactional_id: String::from_utf8_lossy(id).into_owned(),
                producer_id: i64::from_be_bytes(producer_id.try_into().expect("eight bytes were taken")),
                phase: TransactionPhase::parse(&String::from_utf8_lossy(phase)),
            });
        }
        Ok(Some(()))
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::Unreachable, "malformed Kafka message: no list of transactions")
}

/// Bytes that are read from the front. `None`: more have to come.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Kafka's unsigned variable-length number of 32 bits.
    fn varint(&mut self) -> Parsed<u32> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let Some(&[byte]) = self.take(1) else { return Ok(None) };
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map(Some).map_err(|_| malformed());
            }
        }
        Err(malformed())
    }

    /// A compact string; no string is an empty one.
    fn string(&mut self) -> Parsed<&'a [u8]> {
        let Some(length) = self.varint()? else { return Ok(None) };
        let length = length.saturating_sub(1) as usize;
        if length > PART_BYTES_MAX { Err(malformed()) } else { Ok(self.take(length)) }
    }

    /// Tagged fields, which are passed over.
    fn tags(&mut self) -> Parsed<()> {
        let Some(count) = self.varint()? else { return Ok(None) };
        for _ in 0..count {
            let Some(_tag) = self.varint()? else { return Ok(None) };
            let Some(length) = self.varint()? else { return Ok(None) };
            if length as usize > PART_BYTES_MAX {
                return Err(malformed());
            }
            if self.take(length as usize).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::{
        messages::{
            ListTransactionsResponse, ProducerId, ResponseHeader, TransactionalId,
            list_transactions_response::TransactionState,
        },
        protocol::{Encodable, HeaderVersion, StrBytes},
    };

    use super::*;

    /// A response from behind its correlation id.
    fn response(ids: impl Iterator<Item = String>) -> Vec<u8> {
        let state = |id| {
            TransactionState::default()
                .with_transactional_id(TransactionalId(StrBytes::from_string(id)))
                .with_producer_id(ProducerId(7))
                .with_transaction_state(StrBytes::from_static_str("Ongoing"))
        };
        let response = ListTransactionsResponse::default()
            .with_error_code(15)
            .with_unknown_state_filters(vec![StrBytes::from_static_str("Odd")])
            .with_transaction_states(ids.map(state).collect());
        let mut bytes = BytesMut::new();
        ResponseHeader::default().encode(&mut bytes, ListTransactionsResponse::header_version(1)).unwrap();
        response.encode(&mut bytes, 1).unwrap();
        bytes[4..].to_vec()
    }

    fn names() -> impl Iterator<Item = String> {
        ["p.a.g1.0.0", "q.a.g1.0.0", "p.a.g2.0.0", "p"].into_iter().map(String::from)
    }

    #[test]
    fn the_ids_of_one_sink_are_kept_wherever_the_answer_is_split() {
        let bytes = response(names());
        for split in 0..bytes.len() {
            let mut listing = Listing::new("p.a.g");
            listing.feed(&bytes[..split]).unwrap();
            listing.feed(&bytes[split..]).unwrap();
            let (code, found) = listing.finish().unwrap();
            assert_eq!(code, KafkaCode::COORDINATOR_NOT_AVAILABLE);
            let ids: Vec<_> = found.iter().map(|found| found.transactional_id.as_str()).collect();
            assert_eq!(ids, ["p.a.g1.0.0", "p.a.g2.0.0"], "split at {split}");
            assert_eq!((found[0].producer_id, &found[0].phase), (7, &TransactionPhase::Ongoing));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_an_error() {
        let bytes = response(names());
        for cut in 0..bytes.len() {
            let mut listing = Listing::new("p.a.g");
            listing.feed(&bytes[..cut]).unwrap();
            assert!(listing.finish().is_err());
        }
        assert!(Listing::new("p").feed(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn memory_is_bounded_by_what_is_kept() {
        let bytes = response((0..200_000).map(|number| format!("stranger-{number}")).chain(names()));
        let mut listing = Listing::new("p.a.g");
        for piece in bytes.chunks(64 << 10) {
            listing.feed(piece).unwrap();
            assert!(listing.rest.capacity() < 2 * PART_BYTES_MAX);
        }
        assert_eq!(listing.finish().unwrap().1.len(), 2);
        // A name that claims to be longer than any.
        let mut listing = Listing::new("p");
        assert!(listing.feed(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
        assert!(Listing::new("p").feed(&[0xff; 8]).is_err());
    }
}
