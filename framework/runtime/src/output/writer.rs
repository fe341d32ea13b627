//! Sends what a task emits over the channels of one edge.

use flott_core::{
    Batch, CheckpointId, OperatorUid, ProcessingTime, Record, Result, StreamElement, Watermark,
    element::{Barrier, Signal},
    operator::{Downstream, TaskEvent},
    snapshot::OperatorSnapshot,
};

use crate::{
    exchange::{LocalSender, RemoteSender},
    output::Partitioner,
};

/// The sending end of one channel.
pub(crate) enum Sender<T> {
    Local(LocalSender<T>),
    Remote(RemoteSender),
}

/// One output of a task.
pub struct ExchangeOutput<T: Record> {
    partitioner: Box<dyn Partitioner<T>>,
    /// Records on their way to each channel, not yet a full batch.
    buffers: Vec<Batch<T>>,
    /// Watermarks that wait for the records before them. A later one takes the place of an earlier one, so that frequent
    /// watermarks do not make batches small; a watermark may always come later.
    watermarks: Vec<Option<Watermark>>,
    senders: Vec<Sender<T>>,
}

impl<T: Record> Sender<T> {
    fn send_batch(&mut self, batch: &mut Batch<T>) {
        match self {
            Self::Local(sender) => sender.send_batch(batch),
            Self::Remote(sender) => sender.send_batch(batch),
        }
    }

    fn send_control(&mut self, element: StreamElement<T>) {
        match self {
            Self::Local(sender) => sender.send(element),
            Self::Remote(sender) => sender.send_control(&element),
        }
    }

    fn flush(&mut self) {
        if let Self::Remote(sender) = self {
            sender.flush();
        }
    }
}

impl<T: Record> ExchangeOutput<T> {
    pub(crate) fn new(partitioner: Box<dyn Partitioner<T>>, senders: Vec<Sender<T>>) -> Self {
        let buffers = senders.iter().map(|_| Batch::new()).collect();
        let watermarks = vec![None; senders.len()];
        Self { partitioner, buffers, watermarks, senders }
    }

    fn send_full_buffers(&mut self) {
        let channels = self.buffers.iter_mut().zip(&mut self.watermarks).zip(&mut self.senders);
        for ((buffer, watermark), sender) in channels.filter(|((buffer, _), _)| buffer.is_full()) {
            sender.send_batch(buffer);
            send_watermark(watermark, sender);
        }
    }

    fn send_all_buffers(&mut self) {
        let channels = self.buffers.iter_mut().zip(&mut self.watermarks).zip(&mut self.senders);
        for ((buffer, watermark), sender) in channels {
            if !buffer.is_empty() {
                sender.send_batch(buffer);
            }
            send_watermark(watermark, sender);
        }
    }

    fn take_failure(&mut self) -> Result<()> {
        self.senders.iter_mut().try_for_each(|sender| match sender {
            Sender::Local(_) => Ok(()),
            Sender::Remote(sender) => sender.take_failure(),
        })
    }

    /// Sends a control element after all records before it.
    fn send_control(&mut self, element: impl Fn() -> StreamElement<T>, is_urgent: bool) {
        self.send_all_buffers();
        for sender in &mut self.senders {
            sender.send_control(element());
            if is_urgent {
                sender.flush();
            }
        }
    }
}

fn send_watermark<T: Record>(watermark: &mut Option<Watermark>, sender: &mut Sender<T>) {
    if let Some(watermark) = watermark.take() {
        sender.send_control(StreamElement::Signal(Signal::Watermark(watermark)));
    }
}

impl<T: Record> Downstream<T> for ExchangeOutput<T> {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &mut Batch<T>) -> Result<()> {
        self.partitioner.partition(batch, &mut self.buffers);
        self.send_full_buffers();
        self.take_failure()
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Watermark(watermark) => self.watermarks.fill(Some(watermark)),
            Signal::Idle | Signal::End => {
                self.send_control(|| StreamElement::Signal(signal), signal == Signal::End);
            }
        }
        self.take_failure()
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.send_control(|| StreamElement::Barrier(barrier), true);
        self.take_failure()
    }

    fn event(&mut self, _event: TaskEvent, _committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        Ok(())
    }

    fn resume(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        self.send_all_buffers();
        self.senders.iter_mut().for_each(Sender::flush);
        self.take_failure()
    }

    fn is_ready(&mut self) -> bool {
        let mut is_ready = true;
        for sender in &mut self.senders {
            // No short cut: every channel gets its chance to move what waits.
            is_ready &= match sender {
                Sender::Local(sender) => sender.is_ready(),
                Sender::Remote(sender) => sender.is_ready(),
            };
        }
        is_ready
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        None
    }
}

#[cfg(test)]
mod tests {
    use flott_core::{CheckpointId, EventTime, SubtaskIndex};

    use super::*;
    use crate::{
        exchange::{LocalReceiver, local_channel},
        output::RebalancePartitioner,
        slot::SlotWaker,
    };

    fn output() -> (ExchangeOutput<u64>, Vec<LocalReceiver<u64>>) {
        let channel = || local_channel(SlotWaker::default(), SlotWaker::default());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| channel()).unzip();
        let partitioner = Box::new(RebalancePartitioner::new(SubtaskIndex(0)));
        (ExchangeOutput::new(partitioner, senders.into_iter().map(Sender::Local).collect()), receivers)
    }

    fn watermark(time: i64) -> Signal {
        Signal::Watermark(Watermark(EventTime(time)))
    }

    fn received(receiver: &mut LocalReceiver<u64>) -> Vec<String> {
        let elements = std::iter::from_fn(|| receiver.next());
        let named = elements.map(|element| match element {
            StreamElement::Batch(batch) => format!("{} records", batch.len()),
            StreamElement::Signal(signal) => format!("{signal:?}"),
            StreamElement::Barrier(barrier) => format!("barrier {}", barrier.checkpoint),
        });
        named.collect()
    }

    #[test]
    fn watermarks_follow_the_records_before_them_and_do_not_make_batches_small() {
        let (mut output, mut receivers) = output();
        for time in 1..=3 {
            output.batch(&mut Batch { records: vec![7; 10], times: vec![] }).unwrap();
            output.signal(watermark(time)).unwrap();
        }
        assert!(received(&mut receivers[0]).is_empty());
        output.flush().unwrap();
        let latest = format!("{:?}", watermark(3));
        let expected = ["15 records".to_string(), latest];
        assert_eq!(received(&mut receivers[0]), expected);
        assert_eq!(received(&mut receivers[1]), expected);
    }

    #[test]
    fn a_barrier_comes_after_all_before_it() {
        let (mut output, mut receivers) = output();
        output.batch(&mut Batch { records: vec![7; 10], times: vec![] }).unwrap();
        output.signal(watermark(1)).unwrap();
        output.barrier(Barrier { checkpoint: CheckpointId(4) }, &mut Vec::new()).unwrap();
        let expected = ["5 records".to_string(), format!("{:?}", watermark(1)), "barrier 4".to_string()];
        assert_eq!(received(&mut receivers[0]), expected);
        assert_eq!(received(&mut receivers[1]), expected);
    }
}
