//! A queue between two subtasks of one process. Ownership moves, nothing is encoded; empty batches come back for reuse.

use std::collections::VecDeque;

use flott_core::{Batch, StreamElement};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{exchange::QUEUE_ELEMENTS, slot::SlotWaker};

/// The sending end.
pub(crate) struct LocalSender<T> {
    queue: Producer<StreamElement<T>>,
    /// What did not fit: at most the output of one input batch or of one go of firing, because a task that is not ready does
    /// nothing more.
    waiting: VecDeque<StreamElement<T>>,
    recycled: Consumer<Batch<T>>,
    receiver: SlotWaker,
}

/// The receiving end.
pub(crate) struct LocalReceiver<T> {
    queue: Consumer<StreamElement<T>>,
    recycled: Producer<Batch<T>>,
    sender: SlotWaker,
}

/// A queue from a task of the slot `sender` to one of the slot `receiver`.
pub(crate) fn local_channel<T>(sender: SlotWaker, receiver: SlotWaker) -> (LocalSender<T>, LocalReceiver<T>) {
    let (producer, consumer) = RingBuffer::new(QUEUE_ELEMENTS);
    let (recycle, recycled) = RingBuffer::new(QUEUE_ELEMENTS);
    (
        LocalSender { queue: producer, waiting: VecDeque::new(), recycled, receiver },
        LocalReceiver { queue: consumer, recycled: recycle, sender },
    )
}

impl<T> LocalSender<T> {
    /// Sends the records of `batch`, which is empty afterwards and may have got recycled memory.
    pub(crate) fn send_batch(&mut self, batch: &mut Batch<T>) {
        let empty = self.recycled.pop().unwrap_or_default();
        self.send(StreamElement::Batch(std::mem::replace(batch, empty)));
    }

    /// Sends an element, or keeps it until there is room.
    pub(crate) fn send(&mut self, element: StreamElement<T>) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(element);
        } else if let Err(rtrb::PushError::Full(element)) = self.queue.push(element) {
            self.waiting.push_back(element);
        } else {
            self.receiver.wake();
        }
    }

    /// Moves what waits; whether there is room for more.
    pub(crate) fn is_ready(&mut self) -> bool {
        if !self.waiting.is_empty() {
            let mut has_moved = false;
            while !self.queue.is_full()
                && let Some(element) = self.waiting.pop_front()
            {
                has_moved |= self.queue.push(element).is_ok();
            }
            if has_moved {
                self.receiver.wake();
            }
        }
        self.waiting.is_empty() && !self.queue.is_full()
    }
}

impl<T> LocalReceiver<T> {
    /// The next element.
    pub(crate) fn next(&mut self) -> Option<StreamElement<T>> {
        let element = self.queue.pop().ok()?;
        // Looked at after the pop: a sender that found the queue full did so before it, so that one slot is free now.
        if self.queue.slots() + 1 >= QUEUE_ELEMENTS {
            self.sender.wake();
        }
        Some(element)
    }

    /// Gives an empty batch back to the sender.
    pub(crate) fn recycle(&mut self, batch: Batch<T>) {
        // When the ring is full the batch is dropped: the sender has enough of them.
        let _ = self.recycled.push(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_in_order() {
        let (mut sender, mut receiver) = local_channel(SlotWaker::default(), SlotWaker::default());
        for value in 0..20u64 {
            sender.send_batch(&mut Batch { records: vec![value], times: vec![] });
        }
        assert!(!sender.is_ready());
        let mut received = vec![];
        while received.len() < 20 {
            while let Some(StreamElement::Batch(batch)) = receiver.next() {
                received.extend(batch.records);
            }
            sender.is_ready();
        }
        assert_eq!(received, (0..20).collect::<Vec<_>>());
        assert!(sender.is_ready());
    }

    #[test]
    fn memory_comes_back() {
        let (mut sender, mut receiver) = local_channel(SlotWaker::default(), SlotWaker::default());
        let mut batch = Batch { records: Vec::<u64>::with_capacity(1000), times: vec![] };
        sender.send_batch(&mut batch);
        let Some(StreamElement::Batch(received)) = receiver.next() else { panic!("a batch was sent") };
        receiver.recycle(received);
        sender.send_batch(&mut batch);
        assert_eq!(batch.records.capacity(), 1000);
    }
}
