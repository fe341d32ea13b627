//! The calls of librdkafka that rdkafka does not offer: batches in, batches out, and offsets committed in a transaction
//! for a group that has no consumer. The only file with unsafe code.
//!
//! Partitions are consumed through librdkafka's simple consumer: no group, no coordinator, one queue.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, c_void},
    marker::PhantomData,
    ptr, slice,
    time::Duration,
};

use flott_core::{Error, ErrorKind, EventTime, Result};
use rdkafka::{
    TopicPartitionList,
    bindings::{
        RD_KAFKA_MSG_F_COPY, RD_KAFKA_MSG_F_PARTITION, rd_kafka_consume_batch_queue,
        rd_kafka_consume_start_queue, rd_kafka_consume_stop, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_new, rd_kafka_error_code, rd_kafka_error_destroy,
        rd_kafka_error_string, rd_kafka_flush, rd_kafka_header_get_all, rd_kafka_last_error,
        rd_kafka_message_destroy, rd_kafka_message_errstr, rd_kafka_message_headers, rd_kafka_message_t,
        rd_kafka_message_timestamp, rd_kafka_produce_batch, rd_kafka_queue_destroy, rd_kafka_queue_new,
        rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_send_offsets_to_transaction,
        rd_kafka_timestamp_type_t, rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t,
    },
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, Producer, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::{
    failure::{code_failure, failure},
    message::{KafkaHeaders, KafkaMessage},
};

/// What comes out of a consumer's queue.
pub(super) enum Consumed<'a> {
    Message(KafkaMessage<'a>),
    /// All records before `offset` have come; there are no others for now.
    EndOfPartition {
        partition: i32,
        offset: i64,
    },
    Failed {
        partition: i32,
        code: RDKafkaErrorCode,
        text: String,
    },
}

/// A consumer of one topic's partitions.
pub(super) struct BatchConsumer {
    client: Option<BaseConsumer>,
    topic_name: String,
    topic: *mut rd_kafka_topic_t,
    queue: *mut rd_kafka_queue_t,
    started: BTreeSet<i32>,
    slots: Vec<*mut rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread; the pointers in `slots` are dead between calls.
unsafe impl Send for BatchConsumer {}

impl BatchConsumer {
    pub(super) fn new(client: BaseConsumer, topic: &str) -> Result<Self> {
        let name = c_string(topic)?;
        let handle = client.client().native_ptr();
        // SAFETY: the handle is alive as long as `client` is; the name is copied.
        let (topic_handle, queue) = unsafe {
            (rd_kafka_topic_new(handle, name.as_ptr(), ptr::null_mut()), rd_kafka_queue_new(handle))
        };
        let consumer = Self {
            client: Some(client),
            topic_name: topic.into(),
            topic: topic_handle,
            queue,
            started: BTreeSet::new(),
            slots: Vec::new(),
        };
        if topic_handle.is_null() {
            return Err(last_failure(format!("Kafka topic {topic:?}")));
        }
        Ok(consumer)
    }

    pub(super) fn client(&self) -> &BaseConsumer {
        self.client.as_ref().expect("is taken by drop alone")
    }

    /// Begins to fetch a partition.
    pub(super) fn start(&mut self, partition: i32, offset: i64) -> Result<()> {
        // SAFETY: topic and queue are alive until drop.
        let code = unsafe { rd_kafka_consume_start_queue(self.topic, partition, offset, self.queue) };
        if code != 0 {
            return Err(last_failure(format!("Kafka topic {}, partition {partition}", self.topic_name)));
        }
        self.started.insert(partition);
        Ok(())
    }

    /// Stops fetching a partition; what has been fetched still comes. Returns at once.
    pub(super) fn pause(&mut self, partition: i32) -> Result<()> {
        if self.started.contains(&partition) {
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.topic_name, partition);
            let what = || format!("Kafka topic {}, partition {partition}", self.topic_name);
            self.client().pause(&list).map_err(|error| failure(what(), &error))?;
        }
        Ok(())
    }

    /// Hands over what has been fetched, without waiting; returns how much. The first error ends it.
    pub(super) fn consume(
        &mut self,
        messages_max: usize,
        mut each: impl FnMut(Consumed<'_>) -> Result<()>,
    ) -> Result<usize> {
        self.slots.resize(messages_max, ptr::null_mut());
        // SAFETY: the array has room for as many pointers as told.
        let count =
            unsafe { rd_kafka_consume_batch_queue(self.queue, 0, self.slots.as_mut_ptr(), messages_max) };
        let Ok(count) = usize::try_from(count) else {
            return Err(last_failure(format!("Kafka topic {}", self.topic_name)));
        };
        let messages = Messages(&self.slots[..count]);
        for &message in messages.0 {
            // SAFETY: librdkafka gave a valid message, which `Messages` keeps until the end of this call.
            each(unsafe { read(message, &self.topic_name) })?;
        }
        Ok(count)
    }
}

impl Drop for BatchConsumer {
    fn drop(&mut self) {
        // Closing waits for broker threads, and this may be a slot's thread.
        let closing = Closing {
            client: self.client.take(),
            topic: self.topic,
            queue: self.queue,
            started: std::mem::take(&mut self.started),
        };
        super::background::run("kafka-close", move || drop(closing));
    }
}

/// The handles of a consumer that is no longer used.
struct Closing {
    client: Option<BaseConsumer>,
    topic: *mut rd_kafka_topic_t,
    queue: *mut rd_kafka_queue_t,
    started: BTreeSet<i32>,
}

// SAFETY: as for `BatchConsumer`.
unsafe impl Send for Closing {}

impl Drop for Closing {
    fn drop(&mut self) {
        // SAFETY: each handle is destroyed once, and before the client that it belongs to.
        unsafe {
            for &partition in &self.started {
                rd_kafka_consume_stop(self.topic, partition);
            }
            rd_kafka_queue_destroy(self.queue);
            if !self.topic.is_null() {
                rd_kafka_topic_destroy(self.topic);
            }
        }
        self.client.take();
    }
}

/// Messages that are given back when this goes.
struct Messages<'a>(&'a [*mut rd_kafka_message_t]);

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for &message in self.0 {
            // SAFETY: the messages came from the queue, each once, and nothing borrows from them any more.
            unsafe { rd_kafka_message_destroy(message) };
        }
    }
}

/// # Safety
/// `message` must be valid for `'a`.
unsafe fn read<'a>(message: *mut rd_kafka_message_t, topic: &'a str) -> Consumed<'a> {
    // SAFETY: promised by the caller.
    let fields = unsafe { &*message };
    if fields.err == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as above.
        let millis = unsafe { rd_kafka_message_timestamp(message, &mut kind) };
        return Consumed::Message(KafkaMessage {
            topic,
            partition: fields.partition,
            offset: fields.offset,
            timestamp: (millis >= 0).then_some(EventTime(millis)),
            // SAFETY: librdkafka tells pointer and length of memory that belongs to the message.
            key: unsafe { bytes(fields.key, fields.key_len) },
            // SAFETY: as for the key.
            value: unsafe { bytes(fields.payload, fields.len) },
            headers: KafkaHeaders::native(NativeHeaders { message, borrowed: PhantomData }),
        });
    }
    let (partition, code) = (fields.partition, RDKafkaErrorCode::from(fields.err));
    if code == RDKafkaErrorCode::PartitionEOF {
        return Consumed::EndOfPartition { partition, offset: fields.offset };
    }
    // SAFETY: the text is valid as long as the message is.
    let text = unsafe { text(rd_kafka_message_errstr(message)) };
    Consumed::Failed { partition, code, text }
}

/// # Safety
/// Unless it is null, `pointer` must be valid for `length` bytes and `'a`.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer.cast(), length) })
}

/// # Safety
/// Unless it is null, `pointer` must be a C string.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Headers inside a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct NativeHeaders<'a> {
    message: *const rd_kafka_message_t,
    borrowed: PhantomData<&'a ()>,
}

impl<'a> NativeHeaders<'a> {
    pub(super) fn at(self, index: usize) -> Option<(&'a str, Option<&'a [u8]>)> {
        let mut headers = ptr::null_mut();
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the message outlives `'a`, and so does what its headers point to.
        unsafe {
            if rd_kafka_message_headers(self.message, &mut headers)
                != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
                || rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length)
                    != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return None;
            }
            Some((CStr::from_ptr(name).to_str().unwrap_or_default(), bytes(value, length)))
        }
    }
}

/// A record to produce, without headers or a time of its own.
#[derive(Clone, Copy, Default)]
pub(super) struct Outgoing<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    /// `None`: by the key.
    pub(super) partition: Option<i32>,
}

/// How far [`BatchProducer::produce`] came.
pub(super) struct Produced {
    /// Records taken.
    pub(super) count: usize,
    /// Why the next one was not taken.
    pub(super) refusal: Option<RDKafkaErrorCode>,
}

/// A producer with a handle to its topic.
pub(super) struct BatchProducer<C: ProducerContext + 'static> {
    topic: *mut rd_kafka_topic_t,
    producer: Option<BaseProducer<C>>,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl<C: ProducerContext + 'static> Send for BatchProducer<C> {}
// SAFETY: and from several at a time.
unsafe impl<C: ProducerContext + 'static> Sync for BatchProducer<C> {}

impl<C: ProducerContext + 'static> BatchProducer<C> {
    pub(super) fn new(producer: BaseProducer<C>, topic: &str) -> Result<Self> {
        let name = c_string(topic)?;
        // SAFETY: the client is alive; the name is copied.
        let handle =
            unsafe { rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if handle.is_null() {
            return Err(last_failure(format!("Kafka topic {topic:?}")));
        }
        Ok(Self { topic: handle, producer: Some(producer) })
    }

    pub(super) fn client(&self) -> &BaseProducer<C> {
        self.producer.as_ref().expect("is taken by drop alone")
    }

    /// Copies records into the producer's queue, in order, without waiting.
    pub(super) fn produce<'a>(&self, records: impl Iterator<Item = Outgoing<'a>>) -> Produced {
        let mut messages: Vec<_> = records.map(|record| message(&record)).collect();
        let count = i32::try_from(messages.len()).expect("a batch is short");
        let flags = RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_PARTITION;
        // SAFETY: keys and values are valid for the call and copied by it.
        unsafe { rd_kafka_produce_batch(self.topic, PARTITION_BY_KEY, flags, messages.as_mut_ptr(), count) };
        let is_refused =
            |message: &rd_kafka_message_t| message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let first = messages.iter().position(is_refused);
        Produced {
            count: first.unwrap_or(messages.len()),
            refusal: first.map(|index| RDKafkaErrorCode::from(messages[index].err)),
        }
    }

    /// Has sent what was produced, whatever `linger.ms` says. Waits until all of it is reported and the reports are served by
    /// another thread, at most for `patience`; returns whether that is so.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let timeout_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // rdkafka's own call does not pass the time on: librdkafka would not notice it.
        // SAFETY: the client outlives the call.
        let code = unsafe { rd_kafka_flush(self.client().client().native_ptr(), timeout_ms) };
        code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// Commits `offset` of partition 0 of `topic` for `group` inside the open transaction. Blocks.
    pub(super) fn send_marker(
        &self,
        group: &str,
        topic: &str,
        (offset, metadata): (i64, &str),
        timeout: Duration,
    ) -> Result<()> {
        let what = || format!("cannot write the commit marker of {group}");
        let group_name = c_string(group)?;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset));
        added.map_err(|error| failure(what(), &error))?;
        if let Some(mut element) = list.find_partition(topic, 0) {
            element.set_metadata(metadata);
        }
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: list and client outlive the call; the metadata object is destroyed once; a returned error is read
        // before it is destroyed.
        unsafe {
            let group = rd_kafka_consumer_group_metadata_new(group_name.as_ptr());
            let handle = self.client().client().native_ptr();
            let error = rd_kafka_send_offsets_to_transaction(handle, list.ptr(), group, timeout_ms);
            rd_kafka_consumer_group_metadata_destroy(group);
            if error.is_null() {
                return Ok(());
            }
            let (code, text) =
                (RDKafkaErrorCode::from(rd_kafka_error_code(error)), text(rd_kafka_error_string(error)));
            rd_kafka_error_destroy(error);
            Err(code_failure(what(), code, &text))
        }
    }
}

impl<C: ProducerContext + 'static> Drop for BatchProducer<C> {
    fn drop(&mut self) {
        // SAFETY: destroyed once, before its client.
        unsafe { rd_kafka_topic_destroy(self.topic) };
        self.producer.take();
    }
}

/// librdkafka's RD_KAFKA_PARTITION_UA.
const PARTITION_BY_KEY: i32 = -1;

fn message(record: &Outgoing<'_>) -> rd_kafka_message_t {
    let parts = |bytes: Option<&[u8]>| match bytes {
        // An empty value is not a missing one: the pointer tells them apart.
        Some(bytes) => (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()),
        None => (ptr::null_mut(), 0),
    };
    let ((key, key_len), (payload, len)) = (parts(record.key), parts(record.value));
    rd_kafka_message_t {
        err: rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: record.partition.unwrap_or(PARTITION_BY_KEY),
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: ptr::null_mut(),
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(ErrorKind::Settings, format!("{text:?} contains a zero byte")))
}

fn last_failure(what: impl std::fmt::Display) -> Error {
    // SAFETY: reads a thread-local number.
    let code = RDKafkaErrorCode::from(unsafe { rd_kafka_last_error() });
    code_failure(what, code, &code.to_string())
}
