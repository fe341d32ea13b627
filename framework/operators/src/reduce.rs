//! The running reduction of a keyed stream.

use std::marker::PhantomData;

use flott_core::{
    Batch, CheckpointId, Error, Key, Record, Result,
    operator::{Operator, OperatorContext, Output},
    snapshot::OperatorSnapshot,
    state::{StateBackend, StateDeclaration, ValueTable},
};

use crate::keyed::{BatchKeys, parts, prefetch_range};

const STATE: &str = "value";

/// Merges each record into the value of its key and emits the value. The first record of a key is its first value.
///
/// ```
/// # use flott_core::testkit::{MapBackend, OperatorHarness, Seen};
/// use flott_operators::reduce::KeyedReduce;
///
/// // Records are (card, cents): the sum so far of each card.
/// let sum = KeyedReduce::new(|sum: &mut (u64, i64), payment: (u64, i64)| sum.1 += payment.1, |p| p.0, MapBackend);
/// # let mut harness = OperatorHarness::new(sum)?;
/// # harness.records([((1, 10), 0), ((2, 5), 1), ((1, 7), 2)])?;
/// # assert_eq!(harness.take(), [Seen::Record((1, 10), 0), Seen::Record((2, 5), 1), Seen::Record((1, 17), 2)]);
/// # Ok::<(), flott_core::Error>(())
/// ```
pub struct KeyedReduce<K, T, F, S, B> {
    reduce: F,
    key: S,
    backend: B,
    values: Option<Box<dyn ValueTable<T>>>,
    keys: BatchKeys<K>,
    record: PhantomData<fn(T)>,
}

impl<K: Key, T: Record, F, S, B> KeyedReduce<K, T, F, S, B>
where
    F: FnMut(&mut T, T) + Send,
    S: Fn(&T) -> K + Send,
    B: StateBackend,
{
    /// Merges by `reduce`, per key that `key` finds in the records, with state in `backend`.
    pub fn new(reduce: F, key: S, backend: B) -> Self {
        Self { reduce, key, backend, values: None, keys: BatchKeys::default(), record: PhantomData }
    }

    /// The state it keeps.
    #[must_use]
    pub fn declarations() -> Vec<StateDeclaration> {
        vec![StateDeclaration::value::<K, T>(STATE)]
    }
}

impl<K: Key, T: Record, F, S, B> Operator for KeyedReduce<K, T, F, S, B>
where
    F: FnMut(&mut T, T) + Send,
    S: Fn(&T) -> K + Send,
    B: StateBackend,
{
    type In = T;
    type Out = T;

    fn open(&mut self, context: &mut OperatorContext) -> Result<()> {
        let (keys, declaration) = (context.keys(), StateDeclaration::value::<K, T>(STATE));
        self.values = Some(self.backend.value::<K, T>(&declaration, keys, &mut context.restored)?);
        Ok(())
    }

    fn process(&mut self, batch: &mut Batch<T>, out: &mut Output<T>) -> Result<()> {
        let results = crate::emptied(out)?;
        let values = self.values.as_deref_mut().ok_or_else(not_open)?;
        let (reduce, len) = (&mut self.reduce, batch.len());
        self.keys.fill(batch.records.iter().map(&self.key));
        values.begin_batch(self.keys.share());
        results.records.reserve(len);
        let mut records = batch.records.drain(..);
        let mut merge = |_at: usize, value: Option<&mut T>| {
            let record = records.next()?;
            match value {
                Some(value) => {
                    reduce(value, record);
                    results.records.push(value.duplicate());
                    None
                }
                None => {
                    results.records.push(record.duplicate());
                    Some(record)
                }
            }
        };
        for part in parts(len) {
            if let Some(range) = prefetch_range(part.start, len) {
                values.prefetch(range);
            }
            values.update(part, &mut merge);
        }
        drop(records);
        values.end_batch();
        results.times.append(&mut batch.times);
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot> {
        let values = self.values.as_deref_mut().ok_or_else(not_open)?;
        Ok(OperatorSnapshot::new(vec![values.snapshot()]))
    }
}

fn not_open() -> Error {
    Error::internal("an operator is opened before it is used")
}

#[cfg(test)]
mod tests {
    use flott_core::testkit::{MapBackend, OperatorHarness, Seen, Step, verify};

    use super::*;

    #[test]
    fn the_value_runs_on_through_batches_and_restores() {
        let make =
            || KeyedReduce::new(|sum: &mut (u8, u64), (_, n)| sum.1 += n, |record| record.0, MapBackend);
        let records = |range: std::ops::Range<u64>| {
            Step::Records(range.map(|n| (((n % 3) as u8, n), n as i64 * 10)).collect())
        };
        let seen = verify(make, &[records(0..200), Step::Watermark(5), records(200..1000), Step::End]);
        let (mut sums, mut expected) = ([0; 3], Vec::new());
        for n in 0..1000 {
            sums[n as usize % 3] += n;
            expected.push(Seen::Record(((n % 3) as u8, sums[n as usize % 3]), n as i64 * 10));
        }
        expected.insert(200, Seen::Watermark(5));
        expected.push(Seen::End);
        assert_eq!(seen, expected);
    }

    #[test]
    fn records_need_no_event_time() {
        let longest = |longest: &mut String, text: String| {
            if text.len() > longest.len() {
                *longest = text;
            }
        };
        let operator = KeyedReduce::new(longest, |text: &String| text.chars().next(), MapBackend);
        let mut harness = OperatorHarness::new(operator).unwrap();
        let words = ["ant", "bee", "antelope", "ape"].map(|text| (text.to_owned(), i64::MIN));
        harness.records(words).unwrap();
        let expected = ["ant", "bee", "antelope", "antelope"];
        assert_eq!(harness.take(), expected.map(|text| Seen::Record(text.to_owned(), i64::MIN)));
    }
}
