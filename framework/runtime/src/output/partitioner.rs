//! Which subtask a record goes to.

use std::marker::PhantomData;

use flott_core::{BATCH_RECORDS_MAX, Batch, Key, MaxParallelism, Record};

/// Distributes the records of a batch over the channels of an output.
pub trait Partitioner<T>: Send {
    /// Moves all records of `batch` into `buffers`, of which there is one per channel.
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]);
}

/// To the only channel.
#[derive(Debug, Default)]
pub struct ForwardPartitioner;

impl<T> Partitioner<T> for ForwardPartitioner {
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]) {
        move_all(batch, &mut buffers[0]);
    }
}

/// A batch to one channel after the other.
#[derive(Debug, Default)]
pub struct RebalancePartitioner {
    next: usize,
}

impl<T> Partitioner<T> for RebalancePartitioner {
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]) {
        self.next = (self.next + 1) % buffers.len();
        move_all(batch, &mut buffers[self.next]);
    }
}

fn move_all<T>(batch: &mut Batch<T>, buffer: &mut Batch<T>) {
    if buffer.is_empty() {
        std::mem::swap(batch, buffer);
    } else {
        buffer.append(batch);
    }
}

/// By the key group of the record's key.
pub struct HashPartitioner<T, K, S> {
    key_of: S,
    max_parallelism: MaxParallelism,
    /// Channel by key group.
    owners: Vec<u16>,
    marker: PhantomData<fn(&T) -> K>,
}

impl<T, K: Key, S: Fn(&T) -> K> HashPartitioner<T, K, S> {
    /// Routes to `parallelism` subtasks.
    ///
    /// # Panics
    /// When `parallelism` is zero or above the number of key groups.
    #[must_use]
    pub fn new(key_of: S, max_parallelism: MaxParallelism, parallelism: u32) -> Self {
        assert!(parallelism > 0 && parallelism as usize <= max_parallelism.groups());
        let owner = |group| {
            let group = flott_core::KeyGroup(u16::try_from(group).expect("at most 32768 key groups"));
            let subtask = max_parallelism.subtask(group, parallelism);
            u16::try_from(subtask.0).expect("not more subtasks than key groups")
        };
        let owners = (0..max_parallelism.groups()).map(owner).collect();
        Self { key_of, max_parallelism, owners, marker: PhantomData }
    }

    #[inline]
    fn channel(&self, record: &T) -> usize {
        let group = self.max_parallelism.key_group((self.key_of)(record).key_hash());
        usize::from(self.owners[usize::from(group.0)])
    }
}

impl<T: Record, K: Key, S: Fn(&T) -> K + Send> Partitioner<T> for HashPartitioner<T, K, S> {
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]) {
        let room = batch.len().max(BATCH_RECORDS_MAX);
        buffers.iter_mut().for_each(|buffer| buffer.records.reserve(room));
        if batch.times.is_empty() && buffers.iter().all(|buffer| buffer.times.is_empty()) {
            for record in batch.records.drain(..) {
                let channel = self.channel(&record);
                buffers[channel].records.push(record);
            }
        } else {
            for (record, time) in batch.drain() {
                let channel = self.channel(&record);
                buffers[channel].push(record, time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flott_core::EventTime;

    use super::*;

    #[test]
    fn hash_partitioning_sends_a_key_to_the_owner_of_its_group() {
        let max = MaxParallelism::default();
        let mut partitioner = HashPartitioner::new(|value: &u64| *value, max, 3);
        let mut batch = Batch { records: (0..3000).collect(), times: vec![] };
        let mut buffers = [Batch::new(), Batch::new(), Batch::new()];
        partitioner.partition(&mut batch, &mut buffers);
        assert!(batch.is_empty());
        assert_eq!(buffers.iter().map(Batch::len).sum::<usize>(), 3000);
        for (channel, buffer) in (0..).zip(&buffers) {
            assert!(buffer.len() > 900, "channel {channel} got {}", buffer.len());
            for value in &buffer.records {
                assert_eq!(max.subtask(max.key_group(value.key_hash()), 3).0, channel);
            }
        }
    }

    #[test]
    fn times_go_with_their_records() {
        let mut partitioner = HashPartitioner::new(|value: &u64| *value, MaxParallelism::default(), 2);
        let mut buffers = [Batch::new(), Batch::new()];
        let mut untimed = Batch { records: vec![7, 8, 9], times: vec![] };
        partitioner.partition(&mut untimed, &mut buffers);
        let mut timed = Batch { records: vec![1, 2], times: vec![EventTime(1), EventTime(2)] };
        partitioner.partition(&mut timed, &mut buffers);
        for buffer in &mut buffers {
            for (value, time) in buffer.drain() {
                assert_eq!(time, if value < 3 { EventTime(value as i64) } else { EventTime::MIN });
            }
        }
    }
}
