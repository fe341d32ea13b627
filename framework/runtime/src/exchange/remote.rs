//! The two ends of a channel between processes, and the link to a peer that carries all channels to and from it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use flott_core::{
    Batch, Error, Record, Result, StreamElement,
    record::{ForeignCheck, Unreadable},
};
use tokio::sync::Notify;

use crate::{
    exchange::{
        CREDIT_BYTES, FRAME_BYTES_MAX, FRAME_BYTES_TARGET, RECORD_BYTES_MAX,
        frame::{self, BODY_OVERHEAD_MAX, ChannelId, DATA_BODY, Frame, HEADER_BYTES},
    },
    slot::SlotWaker,
};

/// Frame buffers kept for reuse per connection.
const SPARE_BUFFERS: usize = 32;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves these queues consistent: every change is a single push or pop.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames on their way to one peer. Bounded by the credit of the channels that fill it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: Mutex<VecDeque<Vec<u8>>>,
    spare: Mutex<Vec<Vec<u8>>>,
    pub(crate) filled: Notify,
}

impl Outbox {
    fn buffer(&self) -> Vec<u8> {
        lock(&self.spare).pop().unwrap_or_default()
    }

    fn push(&self, frame: Vec<u8>) {
        lock(&self.frames).push_back(frame);
        self.filled.notify_one();
    }

    /// Takes all frames.
    pub(crate) fn take(&self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut *lock(&self.frames))
    }

    /// Gives the buffer of a written frame back.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE_BUFFERS && buffer.capacity() <= 4 * FRAME_BYTES_TARGET {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// What a sending channel may still send.
#[derive(Debug)]
struct Credit {
    bytes: AtomicI64,
    sender: SlotWaker,
}

/// Frames received for one channel and not worked off.
#[derive(Debug)]
struct Inbox {
    frames: Mutex<VecDeque<Vec<u8>>>,
    count: AtomicUsize,
    bytes: AtomicUsize,
    receiver: SlotWaker,
}

/// Everything between this process and one other.
#[derive(Debug, Default)]
pub struct PeerLink {
    pub(crate) outbox: Arc<Outbox>,
    credits: HashMap<ChannelId, Arc<Credit>>,
    inboxes: HashMap<ChannelId, Arc<Inbox>>,
    pub(crate) is_lost: Arc<AtomicBool>,
}

/// The sending end of a channel to another process, before it knows its record type.
#[derive(Debug)]
pub struct RemoteOutput {
    pub(crate) channel: ChannelId,
    pub(crate) outbox: Arc<Outbox>,
    credit: Arc<Credit>,
}

/// The receiving end of a channel from another process, before it knows its record type.
#[derive(Debug)]
pub struct RemoteInput {
    pub(crate) channel: ChannelId,
    pub(crate) outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    pub(crate) is_lost: Arc<AtomicBool>,
}

impl PeerLink {
    /// Adds a channel to the peer; `sender` is the slot of the sending subtask.
    #[must_use]
    pub fn output(&mut self, channel: ChannelId, sender: SlotWaker) -> RemoteOutput {
        let bytes = i64::try_from(CREDIT_BYTES).expect("the credit window is small");
        let credit = Arc::new(Credit { bytes: AtomicI64::new(bytes), sender });
        self.credits.insert(channel, Arc::clone(&credit));
        RemoteOutput { channel, outbox: Arc::clone(&self.outbox), credit }
    }

    /// Adds a channel from the peer; `receiver` is the slot of the receiving subtask.
    #[must_use]
    pub fn input(&mut self, channel: ChannelId, receiver: SlotWaker) -> RemoteInput {
        let inbox = Arc::new(Inbox {
            frames: Mutex::default(),
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            receiver,
        });
        self.inboxes.insert(channel, Arc::clone(&inbox));
        let (outbox, is_lost) = (Arc::clone(&self.outbox), Arc::clone(&self.is_lost));
        RemoteInput { channel, outbox, inbox, is_lost }
    }

    /// Takes a frame from the peer.
    ///
    /// # Errors
    /// When the frame is none, is for an unknown channel, or exceeds the channel's credit.
    pub(crate) fn receive(&self, bytes: Vec<u8>) -> Result<()> {
        let unknown = |channel| Error::transient(format!("a frame for the unknown channel {channel:?}"));
        match frame::parse(bytes)? {
            Frame::Credit { channel, bytes } => {
                let credit = self.credits.get(&channel).ok_or_else(|| unknown(channel))?;
                credit.bytes.fetch_add(i64::from(bytes), Ordering::AcqRel);
                credit.sender.wake();
            }
            Frame::Data { channel, bytes } => {
                let inbox = self.inboxes.get(&channel).ok_or_else(|| unknown(channel))?;
                let held = inbox.bytes.fetch_add(bytes.len(), Ordering::AcqRel);
                // The last frame may overdraw the credit.
                if held > CREDIT_BYTES + FRAME_BYTES_MAX {
                    return Err(Error::transient(format!("channel {channel:?} ignores its credit")));
                }
                lock(&inbox.frames).push_back(bytes);
                inbox.count.fetch_add(1, Ordering::Release);
                inbox.receiver.wake();
            }
        }
        Ok(())
    }
}

/// Encodes elements into frames and sends them as far as credit reaches.
pub(crate) struct RemoteSender {
    output: RemoteOutput,
    frame: Vec<u8>,
    /// Complete frames without credit: at most the output of one input batch or of one go of firing.
    waiting: VecDeque<Vec<u8>>,
    /// Made with the first batch, whose type it is for.
    check: Option<ForeignCheck>,
    failure: Option<Error>,
    record_bytes_max: usize,
}

impl RemoteSender {
    pub(crate) fn new(output: RemoteOutput) -> Self {
        Self {
            output,
            frame: Vec::new(),
            waiting: VecDeque::new(),
            check: None,
            failure: None,
            record_bytes_max: RECORD_BYTES_MAX,
        }
    }

    fn open_frame(&mut self) -> &mut Vec<u8> {
        if self.frame.is_empty() {
            self.frame = self.output.outbox.buffer();
            frame::begin_data(self.output.channel, &mut self.frame);
        }
        &mut self.frame
    }

    pub(crate) fn send_batch<T: Record>(&mut self, batch: &mut Batch<T>) {
        if let Err(error) = self.check_foreign(batch) {
            self.failure = Some(error.into());
            return batch.clear();
        }
        let mut start = 0;
        while start < batch.len() {
            let record_bytes_max = self.record_bytes_max;
            match frame::encode_batch(batch, start, record_bytes_max, self.open_frame()) {
                Ok(end) => start = end,
                Err(error) => {
                    // The task fails: what the frame holds is not sent any more.
                    self.frame.clear();
                    self.failure = Some(error);
                    break;
                }
            }
            if self.frame.len() >= FRAME_BYTES_TARGET || start < batch.len() {
                self.flush();
            }
        }
        batch.clear();
    }

    /// Reads back what foreign types there are in the first batch, and in the first record of each later one.
    fn check_foreign<T: Record>(&mut self, batch: &Batch<T>) -> Result<(), Unreadable> {
        let records = if self.check.is_none() { batch.len() } else { batch.len().min(1) };
        let check = self.check.get_or_insert_with(|| ForeignCheck::new(&T::schema()));
        if !check.is_needed() {
            return Ok(());
        }
        batch.records[..records].iter().try_for_each(|record| check.record(record))
    }

    pub(crate) fn send_control<T>(&mut self, element: &StreamElement<T>) {
        frame::encode_control(element, self.open_frame());
    }

    /// Completes the open frame and sends it, if there is credit.
    pub(crate) fn flush(&mut self) {
        if self.frame.is_empty() {
            return;
        }
        let frame = std::mem::take(&mut self.frame);
        frame::finish(self.output.channel, frame, &mut |frame| self.waiting.push_back(frame));
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while self.output.credit.bytes.load(Ordering::Acquire) > 0
            && let Some(frame) = self.waiting.pop_front()
        {
            let bytes = i64::try_from(frame.len()).expect("a frame is short");
            self.output.credit.bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.output.outbox.push(frame);
        }
    }

    /// Moves what waits; whether there is credit for more.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.send_waiting();
        self.waiting.is_empty() && self.output.credit.bytes.load(Ordering::Acquire) > 0
    }

    /// The first failure since the last call.
    pub(crate) fn take_failure(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Decodes the frames of one channel and gives credit back.
pub(crate) struct RemoteReceiver<T> {
    input: RemoteInput,
    frame: Vec<u8>,
    position: usize,
    /// The beginning of a body that came in parts.
    parts: Vec<u8>,
    owed: usize,
    spare: Vec<Batch<T>>,
    record_bytes_max: usize,
}

impl<T: Record> RemoteReceiver<T> {
    pub(crate) fn new(input: RemoteInput) -> Self {
        Self {
            input,
            frame: Vec::new(),
            position: 0,
            parts: Vec::new(),
            owed: 0,
            spare: Vec::new(),
            record_bytes_max: RECORD_BYTES_MAX,
        }
    }

    /// The next element.
    pub(crate) fn next(&mut self) -> Result<Option<StreamElement<T>>> {
        if self.position >= self.frame.len() && !self.next_frame()? {
            return Ok(None);
        }
        let mut body = &self.frame[self.position..];
        let element = frame::decode_element(&mut body, || self.spare.pop().unwrap_or_default())?;
        self.position = self.frame.len() - body.len();
        Ok(Some(element))
    }

    /// Gives an empty batch back for reuse.
    pub(crate) fn recycle(&mut self, batch: Batch<T>) {
        if self.spare.is_empty() {
            self.spare.push(batch);
        }
    }

    /// Takes a frame, or all that is there of one that comes in parts. Returns `true` if it is complete.
    fn next_frame(&mut self) -> Result<bool> {
        while let Some(frame) = self.take_frame() {
            let is_part = frame::is_part(&frame);
            if is_part || !self.parts.is_empty() {
                self.parts.extend_from_slice(&frame[DATA_BODY..]);
                if self.parts.len() > self.record_bytes_max + BODY_OVERHEAD_MAX {
                    let channel = self.input.channel;
                    return Err(Error::transient(format!("parts without end on channel {channel:?}")));
                }
                if is_part {
                    continue;
                }
                (self.frame, self.position) = (std::mem::take(&mut self.parts), 0);
            } else {
                (self.frame, self.position) = (frame, DATA_BODY);
            }
            if self.position >= self.frame.len() {
                return Err(Error::transient(format!("an empty frame on channel {:?}", self.input.channel)));
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.pay_back();
        if self.input.inbox.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let frame = lock(&self.input.inbox.frames).pop_front()?;
        self.input.inbox.count.fetch_sub(1, Ordering::AcqRel);
        self.input.inbox.bytes.fetch_sub(frame.len(), Ordering::AcqRel);
        self.owed += frame.len() + HEADER_BYTES - DATA_BODY;
        Some(frame)
    }

    /// The credit of frames that are worked off goes back in quarters of the window, so that credit frames are rare.
    fn pay_back(&mut self) {
        if self.owed >= CREDIT_BYTES / 4 && !self.input.is_lost.load(Ordering::Relaxed) {
            let bytes = u32::try_from(self.owed).expect("the credit window is small");
            let mut frame = self.input.outbox.buffer();
            frame::credit(self.input.channel, bytes, &mut frame);
            self.input.outbox.push(frame);
            self.owed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use flott_core::{Schema, record::DecodeError};

    use super::*;

    const CHANNEL: ChannelId = ChannelId { edge: 0, from: 0, to: 0 };

    fn deliver(from: &PeerLink, to: &PeerLink) -> usize {
        let frames = from.outbox.take();
        let count = frames.len();
        frames.into_iter().for_each(|frame| to.receive(frame[4..].to_vec()).unwrap());
        count
    }

    #[test]
    fn credit_bounds_what_is_under_way_and_comes_back() {
        let (mut here, mut there) = (PeerLink::default(), PeerLink::default());
        let mut sender = RemoteSender::new(here.output(CHANNEL, SlotWaker::default()));
        let mut receiver = RemoteReceiver::<u64>::new(there.input(CHANNEL, SlotWaker::default()));
        let (mut sent, mut received, mut stalls) = (0u64, 0u64, 0);
        while received < 1_000_000 {
            while sent < 1_000_000 && sender.is_ready() {
                let records: Vec<u64> = (sent..sent + 1000).collect();
                sent += 1000;
                sender.send_batch(&mut Batch { records, times: vec![] });
            }
            if sent == 1_000_000 {
                sender.flush();
            } else {
                stalls += 1;
                assert!((sent - received) * 8 < 2 * CREDIT_BYTES as u64, "too much is under way");
            }
            sender.is_ready();
            deliver(&here, &there);
            while let Some(StreamElement::Batch(batch)) = receiver.next().unwrap() {
                for value in batch.records {
                    assert_eq!(value, received);
                    received += 1;
                }
            }
            deliver(&there, &here);
        }
        assert!(stalls > 5);
    }

    #[test]
    fn memory_comes_back_also_past_control_elements() {
        let (mut here, mut there) = (PeerLink::default(), PeerLink::default());
        let mut sender = RemoteSender::new(here.output(CHANNEL, SlotWaker::default()));
        let mut receiver = RemoteReceiver::<u64>::new(there.input(CHANNEL, SlotWaker::default()));
        receiver.recycle(Batch { records: Vec::with_capacity(1000), times: vec![] });
        sender.send_control(&StreamElement::<u64>::Signal(flott_core::Signal::Idle));
        sender.send_batch(&mut Batch { records: vec![7u64], times: vec![] });
        sender.flush();
        deliver(&here, &there);
        assert!(matches!(receiver.next().unwrap(), Some(StreamElement::Signal(_))));
        let Some(StreamElement::Batch(batch)) = receiver.next().unwrap() else { panic!("a batch was sent") };
        assert_eq!((batch.records.capacity(), &batch.records[..]), (1000, &[7][..]));
    }

    fn connected<T: Record>() -> (PeerLink, RemoteSender, PeerLink, RemoteReceiver<T>) {
        let (mut here, mut there) = (PeerLink::default(), PeerLink::default());
        let sender = RemoteSender::new(here.output(CHANNEL, SlotWaker::default()));
        let receiver = RemoteReceiver::new(there.input(CHANNEL, SlotWaker::default()));
        (here, sender, there, receiver)
    }

    #[test]
    fn a_record_larger_than_a_frame_passes_in_parts_under_the_credit() {
        let (here, mut sender, there, mut receiver) = connected::<String>();
        let large = |letter: &str| letter.repeat(5 * CREDIT_BYTES);
        let records = vec!["before".to_string(), large("x"), "between".into(), large("y")];
        sender.send_batch(&mut Batch { records: records.clone(), times: vec![] });
        sender.send_control(&StreamElement::<String>::Signal(flott_core::Signal::Idle));
        sender.flush();
        let (mut received, mut is_idle, mut rounds) = (Vec::new(), false, 0);
        while !is_idle {
            rounds += 1;
            sender.is_ready();
            let frames = here.outbox.take();
            let under_way: usize = frames.iter().map(Vec::len).sum();
            assert!(under_way <= CREDIT_BYTES + FRAME_BYTES_MAX + 4, "{under_way} bytes are under way");
            for frame in frames {
                assert!(frame.len() - 4 <= FRAME_BYTES_MAX);
                there.receive(frame[4..].to_vec()).unwrap();
            }
            while let Some(element) = receiver.next().unwrap() {
                match element {
                    StreamElement::Batch(batch) => received.extend(batch.records),
                    _ => is_idle = true,
                }
            }
            deliver(&there, &here);
        }
        assert!(received == records && rounds > 8);
    }

    /// Returns `true` if a record with an encoding of this length passes behind one in the same frame.
    fn passes(record: usize, before: usize, record_bytes_max: usize) -> Result<bool> {
        let (here, mut sender, there, mut receiver) = connected::<String>();
        (sender.record_bytes_max, receiver.record_bytes_max) = (record_bytes_max, record_bytes_max);
        let mut empty = Vec::new();
        String::new().encode(&mut empty);
        let records = vec!["b".repeat(before), "r".repeat(record - empty.len())];
        sender.send_batch(&mut Batch { records: records.clone(), times: vec![flott_core::EventTime(1); 2] });
        sender.flush();
        sender.take_failure()?;
        deliver(&here, &there);
        let mut received = Vec::new();
        while let Some(StreamElement::Batch(batch)) = receiver.next()? {
            received.extend(batch.records);
        }
        Ok(received == records)
    }

    #[test]
    fn whether_a_record_is_too_large_does_not_depend_on_what_else_is_sent() {
        let max = 300_000;
        for before in [0, 1000, FRAME_BYTES_TARGET - 100, FRAME_BYTES_TARGET, 2 * FRAME_BYTES_TARGET] {
            assert!(passes(max, before, max).unwrap(), "{before} bytes before");
            let error = passes(max + 1, before, max).unwrap_err();
            assert_eq!(error.kind(), flott_core::ErrorKind::User);
            assert!(
                error.to_string().contains("a record takes 300001 bytes encoded; at most 300000"),
                "{error}"
            );
        }
    }

    /// A foreign type that does not read back odd numbers.
    struct Even(u64);

    impl Record for Even {
        const FIXED_SIZE: Option<usize> = None;
        fn schema() -> Schema {
            Schema::Foreign { name: "Even".into(), version: 1 }
        }
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }
        fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
            u64::decode(input).map(|number| Self(number & !1))
        }
        fn duplicate(&self) -> Self {
            Self(self.0)
        }
        fn check_foreign(&self, _check: &mut ForeignCheck) -> Result<(), Unreadable> {
            let why = "it reads back another value than it wrote".into();
            if self.0.is_multiple_of(2) { Ok(()) } else { Err(Unreadable { name: "Even".into(), why }) }
        }
    }

    #[test]
    fn a_foreign_value_that_cannot_be_read_back_is_not_sent() {
        for (batches, is_sent) in
            [([&[2, 4][..], &[6]], true), ([&[2, 3], &[6]], false), ([&[2], &[3, 4]], false)]
        {
            let (_here, mut sender, _there, _receiver) = connected::<Even>();
            for numbers in batches {
                let records = numbers.iter().copied().map(Even).collect();
                sender.send_batch(&mut Batch { records, times: vec![] });
            }
            let failure = sender.take_failure().err();
            assert_eq!(failure.is_none(), is_sent, "{batches:?}");
            if let Some(failure) = failure {
                assert_eq!(failure.kind(), flott_core::ErrorKind::User);
                assert!(failure.to_string().contains("type `Even`"), "{failure}");
            }
        }
    }

    #[test]
    fn parts_without_end_are_refused() {
        let (_here, mut sender, there, mut receiver) = connected::<String>();
        receiver.record_bytes_max = 1_000_000;
        sender.send_batch(&mut Batch { records: vec!["x".repeat(FRAME_BYTES_MAX)], times: vec![] });
        sender.flush();
        let part = sender.output.outbox.take().pop_front().unwrap();
        let error = (0..20).find_map(|_| {
            there.receive(part[4..].to_vec()).unwrap();
            receiver.next().err()
        });
        assert!(error.unwrap().to_string().contains("parts without end"));
    }

    #[test]
    fn frames_for_unknown_channels_are_refused() {
        let mut out = Vec::new();
        frame::credit(CHANNEL, 5, &mut out);
        assert!(PeerLink::default().receive(out[4..].to_vec()).is_err());
    }
}
