//! Sends what a task emits over the channels of one edge.

use flott_core::{
    Batch, OperatorUid, ProcessingTime, Record, Result, StreamElement,
    element::{Barrier, Signal},
    operator::{Downstream, TaskEvent},
    snapshot::OperatorSnapshot,
};

use crate::{
    exchange::{LocalSender, RemoteSender},
    output::Partitioner,
};

enum Sender<T> {
    Local(LocalSender<T>),
    Remote(RemoteSender),
}

/// One output of a task.
pub struct ExchangeOutput<T: Record> {
    partitioner: Box<dyn Partitioner<T>>,
    /// Records on their way to each channel, not yet a full batch.
    buffers: Vec<Batch<T>>,
    senders: Vec<Sender<T>>,
}

impl<T: Record> ExchangeOutput<T> {
    pub(crate) fn new(
        partitioner: Box<dyn Partitioner<T>>,
        local_or_remote: Vec<Result<LocalSender<T>, RemoteSender>>,
    ) -> Self {
        let buffers = local_or_remote.iter().map(|_| Batch::new()).collect();
        let senders = local_or_remote
            .into_iter()
            .map(|sender| sender.map_or_else(Sender::Remote, Sender::Local))
            .collect();
        Self { partitioner, buffers, senders }
    }

    fn send_buffers(&mut self, is_wanted: impl Fn(&Batch<T>) -> bool) {
        for (buffer, sender) in self.buffers.iter_mut().zip(&mut self.senders) {
            if is_wanted(buffer) {
                match sender {
                    Sender::Local(sender) => sender.send_batch(buffer),
                    Sender::Remote(sender) => sender.send_batch(buffer),
                }
            }
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
        self.send_buffers(|buffer| !buffer.is_empty());
        for sender in &mut self.senders {
            match sender {
                Sender::Local(sender) => sender.send(element()),
                Sender::Remote(sender) => {
                    sender.send_control(&element());
                    if is_urgent {
                        sender.flush();
                    }
                }
            }
        }
    }
}

impl<T: Record> Downstream<T> for ExchangeOutput<T> {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &mut Batch<T>) -> Result<()> {
        self.partitioner.partition(batch, &mut self.buffers);
        self.send_buffers(Batch::is_full);
        self.take_failure()
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.send_control(|| StreamElement::Signal(signal), signal == Signal::End);
        Ok(())
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.send_control(|| StreamElement::Barrier(barrier), true);
        Ok(())
    }

    fn event(&mut self, _event: TaskEvent) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.send_buffers(|buffer| !buffer.is_empty());
        for sender in &mut self.senders {
            if let Sender::Remote(sender) = sender {
                sender.flush();
            }
        }
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
