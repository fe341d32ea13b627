//! The wire format between TaskManagers.
//!
//! A frame is a `u32` length of what follows, a kind byte, a channel id and a body, all little-endian. The length is
//! checked against [`FRAME_BYTES_MAX`] before anything is allocated. The body of a data frame is a sequence of elements:
//! a tag byte and, for a batch, the number of records, a byte that says whether times follow, the times, the records.
//! A body that does not fit into one frame, because of a large record, begins in frames of kind part and ends in a data
//! frame.

use flott_core::{
    BATCH_RECORDS_MAX, Batch, Error, EventTime, Record, Result, StreamElement,
    element::{Barrier, Signal},
    record::{decode_all, encode_all, take},
    time::Watermark,
};

use crate::exchange::FRAME_BYTES_TARGET;

/// Largest frame.
pub const FRAME_BYTES_MAX: usize = 2 * FRAME_BYTES_TARGET;

/// Largest encoding of a record that passes between processes. A record of this size takes as much memory several times.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Maximum size of the body of one frame, or of the bodies of its parts together, beside the largest record.
pub(crate) const BODY_OVERHEAD_MAX: usize = 2 * FRAME_BYTES_TARGET;

/// Bytes before the body: length, kind, channel.
pub(crate) const HEADER_BYTES: usize = 4 + 1 + 12;

const DATA: u8 = 1;
const CREDIT: u8 = 2;
const PART: u8 = 3;

const BATCH: u8 = 1;
const WATERMARK: u8 = 2;
const IDLE: u8 = 3;
const END: u8 = 4;
const BARRIER: u8 = 5;

/// One lane between two subtasks in different processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The edge of the job graph.
    pub edge: u32,
    /// The sending subtask.
    pub from: u32,
    /// The receiving subtask.
    pub to: u32,
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Elements, or a part of them; the body starts at [`DATA_BODY`] of the buffer.
    Data { channel: ChannelId, bytes: Vec<u8> },
    /// The receiver of this channel has worked off so many bytes.
    Credit { channel: ChannelId, bytes: u32 },
}

/// Where the body starts in the buffer of a received data frame, which lacks the length.
pub(crate) const DATA_BODY: usize = HEADER_BYTES - 4;

/// Starts a data frame in an empty buffer.
pub(crate) fn begin_data(channel: ChannelId, out: &mut Vec<u8>) {
    begin(DATA, channel, out);
}

fn begin(kind: u8, channel: ChannelId, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    for part in [channel.edge, channel.from, channel.to] {
        out.extend_from_slice(&part.to_le_bytes());
    }
}

/// Writes the length into a complete data frame and hands it to `send`, in parts if it is too long.
pub(crate) fn finish(channel: ChannelId, mut frame: Vec<u8>, send: &mut impl FnMut(Vec<u8>)) {
    if frame.len() - 4 <= FRAME_BYTES_MAX {
        write_length(&mut frame);
        return send(frame);
    }
    let mut bodies = frame[HEADER_BYTES..].chunks(FRAME_BYTES_MAX - DATA_BODY).peekable();
    while let Some(body) = bodies.next() {
        let kind = if bodies.peek().is_some() { PART } else { DATA };
        let mut part = Vec::with_capacity(HEADER_BYTES + body.len());
        begin(kind, channel, &mut part);
        part.extend_from_slice(body);
        write_length(&mut part);
        send(part);
    }
}

fn write_length(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - 4).expect("FRAME_BYTES_MAX fits into 32 bits");
    frame[..4].copy_from_slice(&length.to_le_bytes());
}

/// A complete credit frame.
pub(crate) fn credit(channel: ChannelId, bytes: u32, out: &mut Vec<u8>) {
    begin(CREDIT, channel, out);
    out.extend_from_slice(&bytes.to_le_bytes());
    write_length(out);
}

/// Returns `true` if more of the body of a received data frame follows in the next one.
pub(crate) fn is_part(bytes: &[u8]) -> bool {
    bytes.first() == Some(&PART)
}

/// Reads what follows the length.
///
/// # Errors
/// When it is no frame.
pub(crate) fn parse(bytes: Vec<u8>) -> Result<Frame> {
    let mut input = &bytes[..];
    let kind = u8::decode(&mut input)?;
    let channel = ChannelId {
        edge: u32::decode(&mut input)?,
        from: u32::decode(&mut input)?,
        to: u32::decode(&mut input)?,
    };
    match kind {
        DATA | PART => Ok(Frame::Data { channel, bytes }),
        CREDIT => Ok(Frame::Credit { channel, bytes: u32::decode(&mut input)? }),
        other => Err(Error::transient(format!("a frame of unknown kind {other}"))),
    }
}

/// Appends a control element.
pub(crate) fn encode_control<T>(element: &StreamElement<T>, out: &mut Vec<u8>) {
    match element {
        StreamElement::Batch(_) => unreachable!("batches go through encode_batch"),
        StreamElement::Signal(Signal::Watermark(watermark)) => {
            out.push(WATERMARK);
            watermark.0.encode(out);
        }
        StreamElement::Signal(Signal::Idle) => out.push(IDLE),
        StreamElement::Signal(Signal::End) => out.push(END),
        StreamElement::Barrier(barrier) => {
            out.push(BARRIER);
            barrier.checkpoint.0.encode(out);
        }
    }
}

/// Appends records of `batch` from `start` on until the frame is large enough; returns where it stopped.
///
/// # Errors
/// When a record takes more than `record_bytes_max`.
pub(crate) fn encode_batch<T: Record>(
    batch: &Batch<T>,
    start: usize,
    record_bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let room = FRAME_BYTES_TARGET.saturating_sub(out.len());
    let rest = batch.len() - start;
    let end = match T::FIXED_SIZE {
        Some(size) => start + rest.min((room / size.max(1)).max(1)),
        None => batch.len(),
    };
    out.push(BATCH);
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(u8::from(!batch.times.is_empty()));
    let end = if T::FIXED_SIZE.is_some() {
        encode_times(batch, start, end, out);
        encode_all(&batch.records[start..end], out);
        end
    } else {
        encode_until_full(batch, start, record_bytes_max, out)?
    };
    let count = u32::try_from(end - start).expect("a batch is short");
    out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
    Ok(end)
}

fn encode_times<T>(batch: &Batch<T>, start: usize, end: usize, out: &mut Vec<u8>) {
    if !batch.times.is_empty() {
        encode_all(&batch.times[start..end], out);
    }
}

/// Records of varying size: how many fit is known only when they are encoded, so times come after the records' bytes
/// have been measured.
fn encode_until_full<T: Record>(
    batch: &Batch<T>,
    start: usize,
    record_bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let times_at = out.len();
    let (mut end, mut last_at) = (start, times_at);
    while end < batch.len() && (end == start || out.len() < FRAME_BYTES_TARGET) {
        last_at = out.len();
        batch.records[end].encode(out);
        end += 1;
    }
    // Only the last record can be large: no other one comes behind it.
    let length = out.len() - last_at;
    if length > record_bytes_max {
        return Err(Error::user(format!(
            "a record takes {length} bytes encoded; at most {record_bytes_max} can pass between TaskManagers. \
             Store large values elsewhere and send where they are"
        )));
    }
    if !batch.times.is_empty() {
        let mut times = Vec::with_capacity((end - start) * 8);
        encode_times(batch, start, end, &mut times);
        out.splice(times_at..times_at, times);
    }
    Ok(end)
}

/// Reads one element, if it is a batch into what `empty` gives.
///
/// # Errors
/// When the bytes are no element.
pub(crate) fn decode_element<T: Record>(
    input: &mut &[u8],
    empty: impl FnOnce() -> Batch<T>,
) -> Result<StreamElement<T>> {
    Ok(match u8::decode(input)? {
        BATCH => StreamElement::Batch(decode_batch(input, empty())?),
        WATERMARK => StreamElement::Signal(Signal::Watermark(Watermark(EventTime::decode(input)?))),
        IDLE => StreamElement::Signal(Signal::Idle),
        END => StreamElement::Signal(Signal::End),
        BARRIER => {
            let checkpoint = flott_core::CheckpointId(u64::decode(input)?);
            StreamElement::Barrier(Barrier { checkpoint })
        }
        other => return Err(Error::transient(format!("an element of unknown kind {other} in a frame"))),
    })
}

fn decode_batch<T: Record>(input: &mut &[u8], mut batch: Batch<T>) -> Result<Batch<T>> {
    let count = u32::decode(input)? as usize;
    if count > FRAME_BYTES_TARGET.max(2 * BATCH_RECORDS_MAX) * 8 {
        return Err(Error::transient(format!("a batch of {count} records in a frame")));
    }
    batch.clear();
    if bool::decode(input)? {
        let mut times = take(input, count * 8)?;
        decode_all(&mut times, count, &mut batch.times)?;
    }
    decode_all(input, count, &mut batch.records)?;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use flott_core::CheckpointId;

    use super::*;

    const CHANNEL: ChannelId = ChannelId { edge: 1, from: 2, to: 3 };

    fn round_trip<T: Record + PartialEq + std::fmt::Debug + Clone>(batch: &Batch<T>) -> usize {
        let (mut start, mut frames) = (0, 0);
        let mut received = Batch::new();
        while start < batch.len() {
            let mut out = Vec::new();
            begin_data(CHANNEL, &mut out);
            start = encode_batch(batch, start, RECORD_BYTES_MAX, &mut out).unwrap();
            let mut sent = Vec::new();
            finish(CHANNEL, out, &mut |frame| sent.push(frame));
            let [out] = &sent[..] else { panic!("{} frames", sent.len()) };
            assert_eq!(u32::from_le_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
            let Frame::Data { channel, bytes } = parse(out[4..].to_vec()).unwrap() else { panic!("data") };
            assert_eq!(channel, CHANNEL);
            let mut body = &bytes[DATA_BODY..];
            let StreamElement::Batch(mut part) = decode_element::<T>(&mut body, Batch::new).unwrap() else {
                panic!("batch")
            };
            assert!(body.is_empty());
            received.append(&mut part);
            frames += 1;
        }
        assert_eq!(received.records, batch.records);
        assert_eq!(received.times, batch.times);
        frames
    }

    #[test]
    fn batches_survive_the_wire() {
        let times: Vec<_> = (0..1000).map(EventTime).collect();
        assert_eq!(round_trip(&Batch { records: (0..1000u64).collect(), times: times.clone() }), 1);
        assert_eq!(round_trip(&Batch { records: (0..1000u64).collect(), times: vec![] }), 1);
        let texts: Vec<_> = (0..1000).map(|i| "x".repeat(i)).collect();
        assert!(round_trip(&Batch { records: texts.clone(), times }) > 5);
        round_trip(&Batch { records: texts, times: vec![] });
        round_trip(&Batch { records: vec![(); 10], times: vec![] });
    }

    #[test]
    fn control_elements_survive_the_wire() {
        for element in [
            StreamElement::<u64>::Signal(Signal::Watermark(Watermark(EventTime(-5)))),
            StreamElement::Signal(Signal::Idle),
            StreamElement::Signal(Signal::End),
            StreamElement::Barrier(Barrier { checkpoint: CheckpointId(9) }),
        ] {
            let mut out = Vec::new();
            encode_control(&element, &mut out);
            let decoded = decode_element::<u64>(&mut &out[..], Batch::new).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{element:?}"));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(parse(vec![]).is_err());
        assert!(parse(vec![9; 40]).is_err());
        assert!(parse(vec![1, 2]).is_err());
        let hostile = [&[BATCH][..], &u32::MAX.to_le_bytes(), &[0]].concat();
        assert!(decode_element::<u64>(&mut &hostile[..], Batch::new).is_err());
        assert!(decode_element::<String>(&mut &[BATCH, 1, 0, 0, 0, 1][..], Batch::new).is_err());
        assert!(decode_element::<u64>(&mut &[77u8][..], Batch::new).is_err());
    }
}
