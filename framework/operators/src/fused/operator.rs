//! Runs a chain of closures over batches.

use std::{cell::Cell, mem};

use flott_core::{
    Batch, EventTime, Result,
    operator::{Operator, Output},
};

use super::{Shape, Transform};

/// A chain of stateless closures as an operator.
#[derive(Clone, Debug)]
pub struct FusedOperator<C> {
    transform: C,
}

impl<C: Transform> FusedOperator<C> {
    /// Results that are laid out like the records they are made of take their place: `collect` then works in place,
    /// which needs no capacity check per record.
    const IS_IN_PLACE: bool =
        size_of::<C::In>() == size_of::<C::Out>() && align_of::<C::In>() == align_of::<C::Out>();

    /// Runs `transform`.
    #[must_use]
    pub fn new(transform: C) -> Self {
        Self { transform }
    }

    fn one_to_one(&mut self, batch: &mut Batch<C::In>, results: &mut Batch<C::Out>) {
        let records = batch.records.drain(..).map(|record| {
            let mut result = None;
            let applied = self.transform.apply(record, EventTime::MIN, &mut |record, _time| {
                result = Some(record);
                Ok(())
            });
            debug_assert!(applied.is_ok(), "a transform of shape One does not fail");
            result.expect("a transform of shape One gives one record")
        });
        results.records.extend(records);
        mem::swap(&mut batch.times, &mut results.times);
    }

    /// Transforms `records` one to at most one, up to the first that fails. `keep` is told of each whether it is kept.
    #[inline(always)]
    fn one_to_at_most_one(
        &mut self,
        records: &mut Vec<C::In>,
        results: &mut Vec<C::Out>,
        mut keep: impl FnMut(bool),
    ) -> Result<()> {
        let mut failure = None;
        let step = |record| {
            if failure.is_some() {
                return None;
            }
            let mut result = None;
            let applied = self.transform.apply(record, EventTime::MIN, &mut |record, _time| {
                result = Some(record);
                Ok(())
            });
            if let Err(error) = applied {
                failure = Some(error);
            }
            keep(result.is_some());
            result
        };
        if Self::IS_IN_PLACE {
            *results = mem::take(records).into_iter().filter_map(step).collect();
        } else {
            results.reserve(records.len());
            results.extend(records.drain(..).filter_map(step));
        }
        failure.map_or(Ok(()), Err)
    }

    fn without_times(&mut self, batch: &mut Batch<C::In>, results: &mut Batch<C::Out>) -> Result<()> {
        self.one_to_at_most_one(&mut batch.records, &mut results.records, |_| ())
    }

    fn with_times(&mut self, batch: &mut Batch<C::In>, results: &mut Batch<C::Out>) -> Result<()> {
        let times = Cell::from_mut(&mut batch.times[..]).as_slice_of_cells();
        let (mut unread, mut kept) = (times.iter(), 0);
        let result = self.one_to_at_most_one(&mut batch.records, &mut results.records, |is_kept| {
            // Written whether it is kept or not: the next one takes its place if not. There is no branch to mispredict.
            if let (Some(time), Some(place)) = (unread.next(), times.get(kept)) {
                place.set(time.get());
            }
            kept += usize::from(is_kept);
        });
        mem::swap(&mut batch.times, &mut results.times);
        results.times.truncate(kept);
        result
    }

    fn one_to_many(&mut self, batch: &mut Batch<C::In>, out: &mut Output<C::Out>) -> Result<()> {
        for (record, time) in batch.drain() {
            self.transform.apply(record, time, &mut |record, time| {
                out.emit_at(record, time);
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl<C: Transform> Operator for FusedOperator<C> {
    type In = C::In;
    type Out = C::Out;

    fn process(&mut self, batch: &mut Batch<C::In>, out: &mut Output<C::Out>) -> Result<()> {
        if C::SHAPE == Shape::Many {
            return self.one_to_many(batch, out);
        }
        let results = crate::emptied(out)?;
        if C::SHAPE == Shape::One {
            self.one_to_one(batch, results);
            Ok(())
        } else if batch.times.is_empty() {
            self.without_times(batch, results)
        } else {
            self.with_times(batch, results)
        }
    }
}
