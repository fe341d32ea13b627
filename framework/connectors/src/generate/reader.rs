use std::{ops::Range, sync::Arc};

use flott_core::{
    BATCH_RECORDS_MAX, Batch, CheckpointId, Record, Result,
    operator::StepTime,
    source::{SourceOutput, SourceReader, SourceStatus, Split},
};

use super::{block::BlockSplit, pace::Pace};

/// Reads splits of numbers, smallest number first.
pub(crate) struct GenerateReader<T, F> {
    make: Arc<F>,
    pace: Option<Pace>,
    splits: Vec<BlockSplit>,
    /// Splits that have not ended, by their position in `splits`.
    active: Vec<usize>,
    /// Splits that ended and are not reported yet.
    ended: Vec<usize>,
    has_all_splits: bool,
    batch: Batch<T>,
    last_taken: Range<u64>,
}

impl<T: Record, F: Fn(u64) -> T + Send + Sync + 'static> GenerateReader<T, F> {
    pub(super) fn new(make: Arc<F>, pace: Option<Pace>) -> Self {
        Self {
            make,
            pace,
            splits: Vec::new(),
            active: Vec::new(),
            ended: Vec::new(),
            has_all_splits: false,
            batch: Batch::new(),
            last_taken: 0..0,
        }
    }

    pub(crate) fn unpaced(make: Arc<F>) -> Self {
        Self::new(make, None)
    }

    /// The position in `active` of the split whose turn it is.
    fn turn(&self) -> Option<usize> {
        (0..self.active.len()).min_by_key(|&position| self.splits[self.active[position]].next())
    }
}

impl<T: Record, F: Fn(u64) -> T + Send + Sync + 'static> SourceReader for GenerateReader<T, F> {
    type Out = T;

    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()> {
        for split in splits {
            let split = BlockSplit::decode(&split)?;
            let list = if split.is_ended() { &mut self.ended } else { &mut self.active };
            list.push(self.splits.len());
            self.splits.push(split);
        }
        Ok(())
    }

    fn no_more_splits(&mut self) {
        self.has_all_splits = true;
    }

    fn poll(&mut self, time: StepTime, out: &mut dyn SourceOutput<T>) -> Result<SourceStatus> {
        for split in self.ended.drain(..) {
            out.split_ended(split)?;
        }
        let Some(turn) = self.turn() else {
            return Ok(if self.has_all_splits { SourceStatus::End } else { SourceStatus::Idle });
        };
        let allowed = match &mut self.pace {
            None => BATCH_RECORDS_MAX as u64,
            Some(pace) => pace.allowed(time.now, self.active.len()),
        };
        if allowed == 0 {
            return Ok(SourceStatus::Idle);
        }
        let position = self.active[turn];
        let numbers = self.splits[position].take(allowed);
        if let Some(pace) = &mut self.pace {
            pace.spend(numbers.end - numbers.start);
        }
        self.last_taken = numbers.clone();
        let make = &*self.make;
        self.batch.records.extend(numbers.map(make));
        out.batch(position, &mut self.batch)?;
        self.batch.clear();
        if self.splits[position].is_ended() {
            self.active.swap_remove(turn);
            out.split_ended(position)?;
        }
        Ok(SourceStatus::More)
    }

    fn position(&self, split: usize) -> Option<String> {
        self.splits.get(split)?;
        let Range { start, end } = self.last_taken;
        Some(format!("numbers {start} to {}", end.checked_sub(1)?))
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<Split>> {
        Ok(self.splits.iter().map(BlockSplit::encode).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flott_core::{MonotonicTime, source::Source};

    use super::super::GenerateSource;
    use super::*;

    #[derive(Default)]
    struct Collected {
        records: Vec<u64>,
        ended: BTreeSet<usize>,
    }

    impl SourceOutput<u64> for Collected {
        fn batch(&mut self, split: usize, batch: &mut Batch<u64>) -> Result<()> {
            assert!(!self.ended.contains(&split));
            self.records.append(&mut batch.records);
            Ok(())
        }

        fn split_ended(&mut self, split: usize) -> Result<()> {
            assert!(self.ended.insert(split), "split {split} ended twice");
            Ok(())
        }
    }

    fn reader(make: fn(u64) -> u64) -> GenerateReader<u64, fn(u64) -> u64> {
        GenerateReader::unpaced(Arc::new(make))
    }

    fn splits(count: u64) -> Vec<Split> {
        let source = GenerateSource::bounded(count, |n| n);
        source.enumerator().unwrap().discover(&BTreeSet::new(), true).unwrap().splits
    }

    #[test]
    fn one_reader_yields_all_numbers_in_order_also_after_restores() {
        let mut out = Collected::default();
        let mut reader = reader(|n| n);
        reader.add_splits(splits(100_000)).unwrap();
        reader.no_more_splits();
        let mut steps = 0;
        while reader.poll(StepTime::default(), &mut out).unwrap() != SourceStatus::End {
            steps += 1;
            if steps % 7 == 0 {
                let snapshot = reader.snapshot(CheckpointId(steps)).unwrap();
                reader = self::reader(|n| n);
                reader.add_splits(snapshot).unwrap();
                reader.no_more_splits();
                out.ended.clear();
            }
        }
        assert_eq!(out.records, (0..100_000).collect::<Vec<_>>());
        assert_eq!(out.ended.len(), 12);
    }

    #[test]
    fn without_splits_it_waits_until_none_will_come() {
        let mut out = Collected::default();
        let mut reader = reader(|n| n);
        assert_eq!(reader.poll(StepTime::default(), &mut out).unwrap(), SourceStatus::Idle);
        reader.no_more_splits();
        assert_eq!(reader.poll(StepTime::default(), &mut out).unwrap(), SourceStatus::End);
    }

    #[test]
    fn few_records_make_few_splits() {
        assert_eq!(splits(0).len(), 1);
        assert_eq!(splits(1).len(), 1);
        assert_eq!(splits(1025).len(), 2);
    }

    #[test]
    fn a_rate_is_kept() {
        let source = GenerateSource::unbounded(|n| n).rate(5000.0).splits(4);
        let metrics = std::sync::Arc::default();
        let uid = flott_core::OperatorUid::new("g").unwrap();
        let context =
            flott_core::source::ReaderContext { uid, subtask: flott_core::SubtaskIndex(0), metrics };
        let mut reader = source.reader(&context).unwrap();
        let found = source.enumerator().unwrap().discover(&BTreeSet::new(), true).unwrap();
        reader.add_splits(found.splits).unwrap();
        let mut out = Collected::default();
        for millis in 0..2000 {
            let time = StepTime { now: MonotonicTime::from_millis(millis), ..StepTime::default() };
            while reader.poll(time, &mut out).unwrap() == SourceStatus::More {}
        }
        assert!((9_900..=10_000).contains(&out.records.len()), "{}", out.records.len());
    }
}
