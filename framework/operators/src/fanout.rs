//! One stream, several readers.

use flott_core::{
    Barrier, Batch, CheckpointId, OperatorUid, ProcessingTime, Record, Result, Signal,
    operator::{Downstream, TaskEvent},
    snapshot::OperatorSnapshot,
};

/// A link that feeds several others: each gets its own copy of the records, the last one the records themselves.
pub struct Fanout<T: Record> {
    targets: Vec<Box<dyn Downstream<T>>>,
    copy: Batch<T>,
}

impl<T: Record> Fanout<T> {
    /// Feeds `targets`.
    #[must_use]
    pub fn new(targets: Vec<Box<dyn Downstream<T>>>) -> Self {
        Self { targets, copy: Batch::new() }
    }

    fn each(&mut self, action: impl FnMut(&mut Box<dyn Downstream<T>>) -> Result<()>) -> Result<()> {
        self.targets.iter_mut().try_for_each(action)
    }
}

impl<T: Record> Downstream<T> for Fanout<T> {
    fn open(&mut self) -> Result<()> {
        self.each(|target| target.open())
    }

    fn batch(&mut self, batch: &mut Batch<T>) -> Result<()> {
        let Some((last, others)) = self.targets.split_last_mut() else {
            batch.clear();
            return Ok(());
        };
        for target in others {
            self.copy.clear();
            self.copy.records.extend(batch.records.iter().map(T::duplicate));
            self.copy.times.extend_from_slice(&batch.times);
            target.batch(&mut self.copy)?;
        }
        last.batch(batch)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.each(|target| target.signal(signal))
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.each(|target| target.barrier(barrier, snapshots))
    }

    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        self.each(|target| target.event(event, committed))
    }

    fn resume(&mut self) -> Result<bool> {
        let mut is_done = true;
        self.each(|target| {
            is_done &= target.resume()?;
            Ok(())
        })?;
        Ok(is_done)
    }

    fn flush(&mut self) -> Result<()> {
        self.each(|target| target.flush())
    }

    fn is_ready(&mut self) -> bool {
        let mut is_ready = true;
        for target in &mut self.targets {
            // No short cut: every reader gets its chance to move what waits.
            is_ready &= target.is_ready();
        }
        is_ready
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        self.targets.iter().filter_map(|target| target.next_timer()).min()
    }
}

#[cfg(test)]
mod tests {
    use flott_core::{
        EventTime, Watermark,
        testkit::{Collector, Seen},
    };

    use super::*;

    #[test]
    fn every_reader_gets_everything_in_order() {
        let readers = [Collector::<String>::default(), Collector::default(), Collector::default()];
        let mut fanout = Fanout::new(readers.iter().map(|reader| Box::new(reader.clone()) as _).collect());
        let mut batch = Batch::new();
        for _round in 0..2 {
            batch.push("a".to_owned(), EventTime(1));
            batch.push("b".to_owned(), EventTime(2));
            fanout.batch(&mut batch).unwrap();
            fanout.signal(Signal::Watermark(Watermark(EventTime(2)))).unwrap();
            fanout.barrier(Barrier { checkpoint: CheckpointId(3) }, &mut Vec::new()).unwrap();
            assert!(batch.is_empty());
            for reader in &readers {
                let (a, b) = (Seen::Record("a".into(), 1), Seen::Record("b".into(), 2));
                assert_eq!(reader.take(), [a, b, Seen::Watermark(2), Seen::Barrier(3)]);
            }
        }
    }

    #[test]
    fn one_reader_without_room_stalls_the_stream() {
        let readers = [Collector::<u8>::default(), Collector::default()];
        let mut fanout = Fanout::new(readers.iter().map(|reader| Box::new(reader.clone()) as _).collect());
        assert!(fanout.is_ready());
        readers[0].stall(true);
        assert!(!fanout.is_ready());
        assert_eq!(
            readers.map(|reader| reader.asked()),
            [2, 2],
            "one that waits does not keep others from moving"
        );
    }
}
