//! The batch calls of librdkafka, which rdkafka does not offer, as far as the hand-written loops need them.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_void},
    mem::ManuallyDrop,
    ptr, slice,
};

use rdkafka::{
    ClientContext,
    bindings::{
        RD_KAFKA_MSG_F_COPY, RD_KAFKA_MSG_F_PARTITION, rd_kafka_consume_batch_queue,
        rd_kafka_consume_start_queue, rd_kafka_message_destroy, rd_kafka_message_t, rd_kafka_produce_batch,
        rd_kafka_queue_new, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_topic_new, rd_kafka_topic_t,
    },
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, Producer, ProducerContext},
};

/// Messages of one call.
const MESSAGES_MAX: usize = 4096;

/// Reads the partitions of a topic. Its handles live as long as the process: to close a client that still has some would
/// take for ever.
pub(super) struct BatchConsumer {
    _client: ManuallyDrop<BaseConsumer>,
    queue: *mut rd_kafka_queue_t,
    messages: Vec<*mut rd_kafka_message_t>,
}

/// A message that was read.
pub(super) struct Message<'a> {
    /// Where it was read.
    pub(super) partition: i32,
    /// At which position.
    pub(super) offset: i64,
    /// What it says.
    pub(super) payload: &'a [u8],
}

impl BatchConsumer {
    /// Reads so many partitions from their beginning.
    pub(super) fn new(client: BaseConsumer, topic: &str, partitions: i32) -> Self {
        let name = CString::new(topic).unwrap_or_default();
        let handle = client.client().native_ptr();
        // SAFETY: the client is kept; the name is copied; topic and queue are never destroyed.
        let queue = unsafe {
            let (topic, queue) =
                (rd_kafka_topic_new(handle, name.as_ptr(), ptr::null_mut()), rd_kafka_queue_new(handle));
            for partition in 0..partitions {
                rd_kafka_consume_start_queue(topic, partition, 0, queue);
            }
            queue
        };
        Self { _client: ManuallyDrop::new(client), queue, messages: vec![ptr::null_mut(); MESSAGES_MAX] }
    }

    /// Visits what has been fetched; waits a little for the first message.
    pub(super) fn consume<E>(
        &mut self,
        mut visit: impl FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // SAFETY: the array has room for as many pointers as told.
        let count = unsafe {
            rd_kafka_consume_batch_queue(self.queue, 10, self.messages.as_mut_ptr(), self.messages.len())
        };
        let mut result = Ok(());
        for &message in &self.messages[..usize::try_from(count).unwrap_or(0)] {
            // SAFETY: librdkafka gave a valid message, destroyed below and not used after that.
            unsafe {
                let fields = &*message;
                if result.is_ok() && fields.err == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let payload = slice::from_raw_parts(fields.payload.cast(), fields.len);
                    let (partition, offset) = (fields.partition, fields.offset);
                    result = visit(Message { partition, offset, payload });
                }
                rd_kafka_message_destroy(message);
            }
        }
        result
    }
}

/// Writes to a topic, many records at a time.
pub(super) struct BatchTopic(*mut rd_kafka_topic_t);

impl BatchTopic {
    /// The topic of a producer, which must outlive it.
    pub(super) fn new<C: ClientContext + ProducerContext>(producer: &BaseProducer<C>, topic: &str) -> Self {
        let name = CString::new(topic).unwrap_or_default();
        // SAFETY: the producer is alive; the name is copied.
        Self(unsafe { rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) })
    }

    /// Copies records into the producer's queue; returns how many there was room for.
    pub(super) fn produce<'a>(&self, payloads: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut messages: Vec<_> = payloads.map(message).collect();
        let count = i32::try_from(messages.len()).unwrap_or(0);
        let flags = RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_PARTITION;
        // SAFETY: payloads are valid for the call and copied by it. Partition -1 means any.
        unsafe { rd_kafka_produce_batch(self.0, -1, flags, messages.as_mut_ptr(), count) };
        let is_refused =
            |message: &rd_kafka_message_t| message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        messages.iter().position(is_refused).unwrap_or(messages.len())
    }
}

fn message(payload: &[u8]) -> rd_kafka_message_t {
    rd_kafka_message_t {
        err: rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: -1,
        payload: payload.as_ptr().cast_mut().cast::<c_void>(),
        len: payload.len(),
        key: ptr::null_mut(),
        key_len: 0,
        offset: 0,
        _private: ptr::null_mut(),
    }
}
