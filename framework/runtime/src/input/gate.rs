//! Reads the channels of a task in turn and passes down what they deliver.

use flott_core::{
    Batch, CheckpointId, OperatorUid, ProcessingTime, Record, Result, StreamElement,
    element::{Barrier, Signal},
    operator::{Downstream, Head, Next, StepTime, TaskEvent},
    snapshot::OperatorSnapshot,
};

use crate::{
    exchange::{LocalReceiver, RemoteReceiver},
    input::{Alignment, BarrierAligner, WatermarkMerger},
};

/// The receiving end of one channel.
pub(crate) enum Receiver<T> {
    /// From this process.
    Local(LocalReceiver<T>),
    /// From another process.
    Remote(RemoteReceiver<T>),
}

/// The input of one task.
pub struct InputGate<T: Record> {
    receivers: Vec<Receiver<T>>,
    aligner: BarrierAligner,
    watermarks: WatermarkMerger,
    target: Box<dyn Downstream<T>>,
    next: usize,
}

impl<T: Record> InputGate<T> {
    /// An input over these channels into `target`.
    #[must_use]
    pub(crate) fn new(receivers: Vec<Receiver<T>>, target: Box<dyn Downstream<T>>) -> Self {
        let channels = receivers.len();
        Self {
            receivers,
            aligner: BarrierAligner::new(channels),
            watermarks: WatermarkMerger::new(channels),
            target,
            next: 0,
        }
    }

    /// The next element of any channel that may be read, in turn.
    fn next_element(&mut self) -> Result<Option<(usize, StreamElement<T>)>> {
        for _ in 0..self.receivers.len() {
            let channel = self.next;
            self.next = if channel + 1 == self.receivers.len() { 0 } else { channel + 1 };
            if self.aligner.is_blocked(channel) {
                continue;
            }
            let element = match &mut self.receivers[channel] {
                Receiver::Local(receiver) => receiver.next(),
                Receiver::Remote(receiver) => receiver.next()?,
            };
            if let Some(element) = element {
                return Ok(Some((channel, element)));
            }
        }
        Ok(None)
    }

    fn on_batch(&mut self, channel: usize, mut batch: Batch<T>) -> Result<()> {
        self.target.batch(&mut batch)?;
        batch.clear();
        match &mut self.receivers[channel] {
            Receiver::Local(receiver) => receiver.recycle(batch),
            Receiver::Remote(receiver) => receiver.recycle(batch),
        }
        Ok(())
    }
}

impl<T: Record> Head for InputGate<T> {
    fn open(&mut self) -> Result<()> {
        self.target.open()
    }

    fn is_ready(&mut self) -> bool {
        self.target.is_ready()
    }

    fn resume(&mut self) -> Result<bool> {
        self.target.resume()
    }

    fn read(&mut self, _time: StepTime) -> Result<Next> {
        if let Some(signal) = self.watermarks.next_signal() {
            return Ok(Next::Signal(signal));
        }
        let Some((channel, element)) = self.next_element()? else { return Ok(Next::Nothing) };
        match element {
            StreamElement::Batch(batch) => self.on_batch(channel, batch)?,
            StreamElement::Signal(signal) => self.watermarks.on_signal(channel, signal),
            StreamElement::Barrier(barrier) => {
                if self.aligner.on_barrier(channel, barrier.checkpoint) == Alignment::Aligned {
                    return Ok(Next::Barrier(barrier));
                }
            }
        }
        Ok(Next::Progress)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.target.signal(signal)
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.target.barrier(barrier, snapshots)
    }

    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        self.target.event(event, committed)
    }

    fn flush(&mut self) -> Result<()> {
        self.target.flush()
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        self.target.next_timer()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use flott_core::{EventTime, Watermark};

    use super::*;
    use crate::{
        exchange::{LocalSender, local_channel},
        slot::SlotWaker,
        task::{Progress, Task, tests::task},
    };

    /// Notes what comes. Needs three more goes for each watermark, and has room for as many as it is given.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<SlowState>>);

    #[derive(Default)]
    struct SlowState {
        log: Vec<String>,
        goes: usize,
        room: usize,
    }

    impl Slow {
        fn note(&self, text: impl Into<String>) {
            self.0.lock().unwrap().log.push(text.into());
        }
    }

    impl Downstream<u64> for Slow {
        fn open(&mut self) -> Result<()> {
            Ok(())
        }
        fn batch(&mut self, batch: &mut Batch<u64>) -> Result<()> {
            self.note(format!("{:?}", batch.records));
            Ok(())
        }
        fn signal(&mut self, signal: Signal) -> Result<()> {
            if let Signal::Watermark(watermark) = signal {
                self.0.lock().unwrap().goes = 3;
                self.note(format!("to {}", watermark.0));
            } else {
                self.note(format!("{signal:?}"));
            }
            Ok(())
        }
        fn barrier(
            &mut self,
            barrier: Barrier,
            _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
        ) -> Result<()> {
            self.note(format!("barrier {}", barrier.checkpoint));
            Ok(())
        }
        fn event(
            &mut self,
            _event: TaskEvent,
            _committed: &mut Vec<(OperatorUid, CheckpointId)>,
        ) -> Result<()> {
            Ok(())
        }
        fn resume(&mut self) -> Result<bool> {
            let mut state = self.0.lock().unwrap();
            if state.goes == 0 {
                return Ok(true);
            }
            state.goes -= 1;
            state.room -= 1;
            state.log.push("go".into());
            Ok(false)
        }
        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
        fn is_ready(&mut self) -> bool {
            self.0.lock().unwrap().room > 0
        }
        fn next_timer(&self) -> Option<ProcessingTime> {
            None
        }
    }

    /// A task with a gate of two channels.
    fn gate() -> (Task, Vec<LocalSender<u64>>, Slow) {
        let channel = || local_channel(SlotWaker::default(), SlotWaker::default());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| channel()).unzip();
        let target = Slow::default();
        let receivers = receivers.into_iter().map(Receiver::Local).collect();
        (task(Box::new(InputGate::new(receivers, Box::new(target.clone())))), senders, target)
    }

    fn step(task: &mut Task, target: &Slow, room: usize) -> (Progress, Vec<String>) {
        target.0.lock().unwrap().room = room;
        let progress = task.step(StepTime::default()).unwrap();
        (progress, std::mem::take(&mut target.0.lock().unwrap().log))
    }

    #[test]
    fn nothing_overtakes_what_a_watermark_has_made_due() {
        let (mut gate, mut senders, target) = gate();
        for sender in &mut senders {
            sender.send(StreamElement::Signal(Signal::Watermark(Watermark(EventTime(5)))));
            sender.send(StreamElement::Barrier(Barrier { checkpoint: CheckpointId(1) }));
            sender.send(StreamElement::Signal(Signal::End));
        }
        let seen = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let progress = |texts: &[&str]| (Progress::Made, seen(texts));
        assert_eq!(step(&mut gate, &target, 0), (Progress::None, vec![]));
        assert_eq!(step(&mut gate, &target, 2), progress(&["to 5", "go", "go"]));
        assert_eq!(step(&mut gate, &target, 0), (Progress::None, vec![]));
        let rest = ["go", "barrier 1", "to 9223372036854775807", "go", "go"];
        assert_eq!(step(&mut gate, &target, 3), progress(&rest));
        assert_eq!(step(&mut gate, &target, 2), progress(&["go", "End"]));
        assert_eq!(step(&mut gate, &target, 2), (Progress::None, vec![]));
    }

    #[test]
    fn records_on_idle_channels_pass_and_do_not_hold_back_event_time() {
        let (mut gate, mut senders, target) = gate();
        for sender in &mut senders {
            sender.send(StreamElement::Signal(Signal::Watermark(Watermark(EventTime(5)))));
            sender.send(StreamElement::Signal(Signal::Idle));
        }
        step(&mut gate, &target, 20);
        senders[0].send_batch(&mut Batch { records: vec![7], times: vec![] });
        assert_eq!(step(&mut gate, &target, 20).1, ["[7]"]);
        senders[1].send(StreamElement::Signal(Signal::Watermark(Watermark(EventTime(9)))));
        assert_eq!(step(&mut gate, &target, 20).1, ["to 9", "go", "go", "go"]);
    }
}
